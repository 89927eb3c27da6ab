//! What goes into a group, and what it says at once.

use base::record::Records;
use base::{LogIndex, Mono, NodeId, SyncEpoch, Term};

use crate::Body;

/// An event for one group. `now` is sampled once per turn, after that turn's receives were reaped.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// `next_deadline` has passed; there is no periodic tick.
    Tick {
        /// The turn's time.
        now: Mono,
    },
    /// The commands of this turn as the payload of one entry.
    Propose {
        /// The entry's payload (docs/design/raft.md, "Replication").
        payload: &'a [u8],
        /// The turn's time.
        now: Mono,
    },
    /// A message; `entries` belongs to AppendEntries and is empty otherwise.
    Message {
        /// The sender.
        from: NodeId,
        /// The message.
        body: Body,
        /// Its entries: checked, in the receive buffer.
        entries: Records<'a>,
        /// The turn's time.
        now: Mono,
    },
    /// Everything written in this epoch or before is on disk.
    Synced {
        /// The epoch.
        epoch: SyncEpoch,
    },
    /// The machine has applied up to here.
    Applied {
        /// The index.
        index: LogIndex,
    },
    /// Reads join the next read position.
    Read {
        /// The turn's time.
        now: Mono,
    },
    /// Reads at a follower join its next ask to the leader. At a leader the same as `Read`.
    FollowerRead {
        /// The turn's time.
        now: Mono,
    },
    /// The clock stood still while the machine was suspended, or jumped: no lease before a round sent later is acked.
    /// Told before anything else of the turn.
    ClockJump {
        /// The turn's time.
        now: Mono,
    },
    /// Change the members.
    ChangeConfig {
        /// What to change.
        change: &'a ConfigChange,
        /// The turn's time.
        now: Mono,
    },
    /// Hand leadership to `target`.
    Transfer {
        /// A voter.
        target: NodeId,
        /// The turn's time.
        now: Mono,
    },
    /// A snapshot is installed and the log restarted behind it (both persisted).
    SnapshotInstalled {
        /// The snapshot's last entry.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// The configuration in it, encoded.
        config: &'a [u8],
    },
    /// The snapshot that was being sent to `peer` arrived or failed.
    SnapshotReport {
        /// The receiver.
        peer: NodeId,
        /// It was installed up to here; `None` if it failed.
        installed: Option<LogIndex>,
    },
    /// A link to `peer` is up, spoken by this incarnation of it.
    PeerUp {
        /// The peer.
        peer: NodeId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// The link is down.
    PeerDown {
        /// The peer.
        peer: NodeId,
    },
    /// The age of the oldest unsynced byte crossed a bound.
    DiskLag {
        /// Microseconds; 0 when the lag is over.
        oldest_unsynced_us: u64,
        /// The turn's time.
        now: Mono,
    },
    /// The disk is slower than a node that leads should have, or no longer so: election draws are longer meanwhile.
    DiskSlow {
        /// It is.
        is_slow: bool,
    },
    /// What the machine applied is lost while the log is whole: said again and again, since each time a follower asks its
    /// leader for the state; and once when it is here again.
    StateLost {
        /// It is lost.
        is_lost: bool,
        /// The turn's time.
        now: Mono,
    },
    /// A scrub or a read found an entry whose bytes are lost, or the log forgot one.
    FaultFound {
        /// The turn's time.
        now: Mono,
    },
    /// A quorum has another state behind this entry than this node: the group stops here for good.
    StateDiffers {
        /// The entry.
        index: LogIndex,
    },
    /// Campaign before the deadline (tests and tools). Nothing happens on a node that is loyal to a leader still, or
    /// whose life has just begun.
    Campaign {
        /// The turn's time.
        now: Mono,
    },
}

impl Input<'_> {
    /// The turn's time, where the input carries it.
    #[must_use]
    pub fn now(&self) -> Option<Mono> {
        match *self {
            Input::Tick { now }
            | Input::Propose { now, .. }
            | Input::Message { now, .. }
            | Input::Read { now }
            | Input::FollowerRead { now }
            | Input::ClockJump { now }
            | Input::ChangeConfig { now, .. }
            | Input::Transfer { now, .. }
            | Input::DiskLag { now, .. }
            | Input::FaultFound { now }
            | Input::StateLost { now, .. }
            | Input::Campaign { now } => Some(now),
            Input::Synced { .. }
            | Input::DiskSlow { .. }
            | Input::Applied { .. }
            | Input::SnapshotInstalled { .. }
            | Input::SnapshotReport { .. }
            | Input::StateDiffers { .. }
            | Input::PeerUp { .. }
            | Input::PeerDown { .. } => None,
        }
    }
}

/// A set of membership changes, made in one joint step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfigChange {
    /// Become voters.
    pub add_voters: Vec<NodeId>,
    /// Become learners.
    pub add_learners: Vec<NodeId>,
    /// Leave.
    pub remove: Vec<NodeId>,
}

/// What `step` says at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// The proposal is this entry.
    Proposed {
        /// Its index.
        index: LogIndex,
        /// Its term.
        term: Term,
    },
    /// The reads wait for this position.
    ReadJoined {
        /// Counted from 1 in each term.
        position: u64,
    },
    /// The follower's reads wait for this position of its own.
    FollowerReadJoined {
        /// Counted from 1 in each life of the node.
        position: u64,
    },
    /// Ask the hint.
    NotLeader {
        /// Who leads, as far as known.
        hint: Option<NodeId>,
    },
    /// A bound is reached; try again later.
    Overloaded,
    /// Leadership is on its way to another node.
    Transferring,
    /// A configuration change is under way, or none may start yet.
    ConfigBusy,
    /// The change makes no sense (unknown member, no voter left, too many members).
    ConfigRefused,
}
