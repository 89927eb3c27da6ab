//! What comes out of a group. One `Effects` belongs to the core: cleared and reused, never freed.

use base::{LogIndex, NodeId, Term};

use crate::{Body, Health};

/// Term and vote, to be written into a state slot of the open epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct HardState {
    /// The current term.
    pub term: Term,
    /// The vote given in it; node 0 is none.
    pub vote: NodeId,
}

/// A message to send. Entries of an AppendEntries are `prev_index + 1 ..= prev_index + count` of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Outgoing {
    /// The receiver.
    pub to: NodeId,
    /// The message.
    pub body: Body,
}

/// How it was made sure that no other leader had committed anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReadPath {
    /// A quorum answered a message that was sent after the reads had arrived.
    Round,
    /// The leader's lease held, even if the answer that confirms the reads is what renewed it.
    Lease,
    /// The leader was asked by this follower, and answered by one of the other ways.
    Follower,
}

/// All reads at or below `position` may be served once `applied_index >= read_index`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReadsConfirmed {
    /// The position.
    pub position: u64,
    /// The index.
    pub read_index: LogIndex,
    /// By which way.
    pub path: ReadPath,
}

/// Who this node now is in the group, and who leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RoleChange {
    /// True when this node leads and its own-term no-op is not yet required to be committed.
    pub is_leader: bool,
    /// The term.
    pub term: Term,
    /// The leader, as far as known.
    pub leader: Option<NodeId>,
}

/// Something that must never happen did, and a human is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Alarm {
    /// Two leaders in one term.
    TwoLeaders,
    /// The terms match and the crcs do not: corruption, not a conflict.
    PrevCrc,
    /// A conflict at or below the commit index.
    CommittedConflict,
    /// A peer holds less than it had acked, and calls its log clean. It was told, and must be replaced.
    Amnesia(NodeId),
    /// A configuration in the log or in a snapshot cannot be read.
    BadConfig(LogIndex),
    /// A quorum has another state behind this entry than this node: what it holds is wrong. It is quarantined, and must
    /// be replaced.
    StateHash(LogIndex),
}

impl Alarm {
    /// Does the group of the node that raises it stop? Amnesia is a fault of another node.
    #[must_use]
    pub fn stops(&self) -> bool {
        !matches!(self, Alarm::Amnesia(_))
    }
}

/// The effects of one drain, in the order in which the shard must act on them.
#[derive(Default, Debug)]
pub struct Effects {
    /// Write this into the open epoch before anything else.
    pub hard_state: Option<HardState>,
    /// Into this turn's frames.
    pub send_now: Vec<Outgoing>,
    /// When the open epoch is persisted, after [`crate::Raft::release`].
    pub send_after_sync: Vec<Outgoing>,
    /// Apply up to here.
    pub commit: Option<LogIndex>,
    /// Serve reads.
    pub reads_confirmed: Option<ReadsConfirmed>,
    /// Waiting reads of earlier positions will never be confirmed: answer NotLeader.
    pub reads_dropped: bool,
    /// Serve reads of a follower: their index is applied. Their positions are not those of a leader's reads.
    pub follower_reads: Option<ReadsConfirmed>,
    /// Reads of a follower that wait still at or below this position will never be confirmed: answer NotLeader.
    pub follower_reads_dropped: Option<u64>,
    /// Role, term or leader changed.
    pub role: Option<RoleChange>,
    /// The configuration in force changed: its members (open and close links).
    pub config_changed: bool,
    /// These followers need a snapshot.
    pub need_snapshot: Vec<NodeId>,
    /// The worth of the log changed: make it outlive this process.
    pub health: Option<Health>,
    /// Tell a human; if it [stops](Alarm::stops), stop the group.
    pub alarm: Option<Alarm>,
}

impl Effects {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.hard_state = None;
        self.send_now.clear();
        self.send_after_sync.clear();
        self.commit = None;
        self.reads_confirmed = None;
        self.reads_dropped = false;
        self.follower_reads = None;
        self.follower_reads_dropped = None;
        self.role = None;
        self.config_changed = false;
        self.need_snapshot.clear();
        self.health = None;
        self.alarm = None;
    }
}
