//! What checkers see of a run: events in the order in which they happened, in true time.
//!
//! The world reports and never judges; a checker judges and never looks into the world or into another checker.

use base::{Acct, GroupId, LogIndex, Mono, NodeId, Nsid, Term};
use raft::{Body, Config, Raft, Role};

/// True time of the simulation in ns since its begin; no node ever sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(pub u64);

/// A claim that does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{checker}: {what}")]
pub struct Violation {
    /// The checker's name, as its file's.
    pub checker: &'static str,
    /// What was seen, with nodes, groups and indexes.
    pub what: String,
}

/// The frequent kinds of events that a checker wants to see. All others reach every checker, so a time that has passed is
/// noticed soon enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wants(u8);

impl Wants {
    /// None of them.
    pub const NONE: Wants = Wants(0);
    /// [`Event::Turn`] when something of the group is new: its role, its term, vote or leader, the entries of its log, how
    /// far they are persisted, committed or applied, its members, its health, or whether it has a lease.
    pub const NEWS: Wants = Wants(1);
    /// [`Event::Turn`] always: also what peers have acked, how long a lease lasts, which entries are faulty.
    pub const TURNS: Wants = Wants(1 | 2);
    /// [`Event::Sent`].
    pub const SENT: Wants = Wants(4);
    /// [`Event::Read`].
    pub const READ: Wants = Wants(8);
    /// All of them.
    pub const ALL: Wants = Wants(15);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Wants) -> Wants {
        Wants(self.0 | other.0)
    }

    /// Are all of `other` among these?
    #[must_use]
    pub const fn has(self, other: Wants) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A checker: one claim.
pub trait Checker {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

    /// What it wants to see of the frequent events.
    fn wants(&self) -> Wants {
        Wants::ALL
    }

    /// Something happened.
    ///
    /// # Errors
    /// The claim does not hold.
    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation>;
}

/// One group's log on one node, as its owner sees it.
pub trait LogView {
    /// The first entry held.
    fn first_index(&self) -> LogIndex;
    /// The last entry held, persisted or not; `first_index - 1` when none is.
    fn last_index(&self) -> LogIndex;
    /// The term of a held entry, or of the one before the first.
    fn term(&self, index: LogIndex) -> Option<Term>;
    /// The chained crc of a held entry, or of the one before the first: it names the entry's bytes and all before it.
    fn crc(&self, index: LogIndex) -> Option<u32>;
    /// Its identity is known and its bytes are lost.
    fn is_faulty(&self, index: LogIndex) -> bool {
        let _ = index;
        false
    }
    /// Appends the entry's payload (`meta::payload` for commands) to `out`; false when it is not in memory.
    fn payload(&self, index: LogIndex, out: &mut Vec<u8>) -> bool;
}

/// What a leader knows of one follower, for the checkers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerMark {
    /// Who it is.
    pub id: NodeId,
    /// It holds, persisted, all of the leader's entries up to here.
    pub match_index: LogIndex,
    /// The next entry to send.
    pub next_index: LogIndex,
}

/// The followers as their leader sees them: [`Raft`] itself, or a list in tests.
pub trait PeersView {
    /// The peer at `at`, from 0; none beyond the last.
    fn peer(&self, at: usize) -> Option<PeerMark>;
}

impl PeersView for Raft {
    fn peer(&self, at: usize) -> Option<PeerMark> {
        let peer = self.peers().get(at)?;
        Some(PeerMark { id: peer.id, match_index: peer.match_index, next_index: peer.next_index })
    }
}

impl PeersView for Vec<PeerMark> {
    fn peer(&self, at: usize) -> Option<PeerMark> {
        self.get(at).copied()
    }
}

/// One group on one node after a turn that touched it, and before any message of that turn leaves: plain values, so that
/// a checker never depends on what consensus thinks of itself.
#[derive(Clone, Copy)]
pub struct GroupView<'a> {
    /// The node.
    pub node: NodeId,
    /// Its incarnation: counts its starts.
    pub incarnation: u64,
    /// The group.
    pub group: GroupId,
    /// The node's own clock.
    pub now: Mono,
    /// What it is.
    pub role: Role,
    /// Its term, persisted or not.
    pub term: Term,
    /// Its vote in that term; 0 none.
    pub vote: NodeId,
    /// Whom it follows; itself when it leads, 0 when it knows none.
    pub leader: NodeId,
    /// The last entry that it knows to be committed.
    pub commit: LogIndex,
    /// The last entry that it believes to be on its disk.
    pub persisted: LogIndex,
    /// What its machine has applied.
    pub applied: LogIndex,
    /// Rolling hash of all that was applied: a function of the entries up to `applied` alone.
    pub state_hash: u64,
    /// The configuration in force.
    pub config: &'a Config,
    /// Its entry, or that of the snapshot that brought it; 0 at the log's beginning.
    pub config_index: LogIndex,
    /// It raised an alarm and does nothing any more.
    pub is_stopped: bool,
    /// Its disk lost what it had promised, it knows that, and takes part no more.
    pub is_quarantined: bool,
    /// Its last frame may be lost, acked or not: it votes only for who has all that it may have had.
    pub is_doubtful: bool,
    /// The end of the lease, by its own clock, under which it would serve a read now; none without one.
    pub lease_until: Option<Mono>,
    /// The followers, when it leads.
    pub peers: &'a dyn PeersView,
    /// Its log.
    pub log: &'a dyn LogView,
}

impl<'a> GroupView<'a> {
    /// What `raft` and its log show now.
    #[must_use]
    pub fn of(now: Mono, incarnation: u64, raft: &'a Raft, log: &'a dyn LogView, state: (LogIndex, u64)) -> Self {
        let (applied, state_hash) = state;
        GroupView {
            node: raft.id(),
            incarnation,
            group: raft.group(),
            now,
            role: raft.role(),
            term: raft.term(),
            vote: raft.vote().unwrap_or_default(),
            leader: raft.leader().unwrap_or_default(),
            commit: raft.commit_index(),
            persisted: raft.persisted_index(),
            applied,
            state_hash,
            config: raft.config(),
            config_index: raft.config_index(),
            is_stopped: raft.alarm().is_some(),
            is_quarantined: raft.health() == raft::Health::Quarantined,
            is_doubtful: raft.health() == raft::Health::RecoveringHead,
            lease_until: None,
            peers: raft,
            log,
        }
    }
}

/// How a client's operation was answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Path {
    /// A write.
    Write,
    /// A read at the leader, confirmed by a round.
    ReadIndex,
    /// A read at the leader under its lease.
    Lease,
    /// A read at a follower, with the leader's read index.
    Follower,
    /// A read that may be old: what the node has applied.
    Stale,
}

/// Where the server says that an operation took effect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token {
    /// The group.
    pub group: GroupId,
    /// A write: its entry. A read: the applied index that it saw.
    pub index: LogIndex,
    /// A write: its entry's term.
    pub term: Term,
    /// A write: its place in the entry, from 0.
    pub place: u32,
    /// How.
    pub path: Path,
    /// The node that answered.
    pub node: NodeId,
}

/// What a client asks.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// A command.
    Write(&'a meta::Command),
    /// A query; `stale` when the client did not ask for the newest.
    Read {
        /// What.
        query: &'a meta::Query,
        /// It may be old.
        is_stale_allowed: bool,
    },
}

/// What a stranger asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// A request of an unknown kind.
    Kind,
    /// A command of an unknown format.
    CommandFormat,
    /// A command of an unknown kind.
    CommandKind,
    /// A query of an unknown kind.
    QueryKind,
    /// A query about another account's namespace.
    Query,
    /// A command in another account's namespace.
    Command,
    /// A frame between nodes of an unknown version; `Unsupported` stands for a closed connection.
    PeerFrame,
}

/// How an operation ended, as its client knows.
#[derive(Clone, Copy, Debug)]
pub enum Ended<'a> {
    /// A write was acknowledged with this outcome.
    Outcome(&'a meta::Outcome, Token),
    /// A read was answered.
    Answer(&'a meta::Answer, Token),
    /// It was certainly not done.
    NotDone,
    /// It may or may not have been done.
    Unknown,
}

/// What happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A node started (again): its groups as recovered, before it does anything.
    Boot {
        /// Which.
        node: NodeId,
        /// The incarnation it begins.
        incarnation: u64,
        /// All its groups.
        groups: &'a [GroupView<'a>],
    },
    /// A node stopped without warning.
    Crash {
        /// Which.
        node: NodeId,
        /// Unsynced writes may be lost; else only memory is.
        is_power_cut: bool,
    },
    /// A node's disk is gone for good; it comes back, if at all, under another id.
    DiskLost {
        /// Which.
        node: NodeId,
    },
    /// A node starts and its group is without something that its disk had said is durable; its Boot comes behind.
    Forgot {
        /// Which.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// `meta` tells of frames behind the last one that is there: of some group of the same core, perhaps.
        is_proven: bool,
        /// The node knows, and has quarantined the group.
        is_known: bool,
    },
    /// A turn touched a group.
    Turn(GroupView<'a>),
    /// A message of consensus left a node.
    Sent {
        /// The sender.
        from: NodeId,
        /// Its incarnation.
        incarnation: u64,
        /// The receiver.
        to: NodeId,
        /// The group.
        group: GroupId,
        /// The message.
        body: &'a Body,
    },
    /// A message of consensus is read by the node that it is for, whether or not it makes anything of it.
    Read {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// The receiver's incarnation.
        incarnation: u64,
        /// The group.
        group: GroupId,
        /// The message.
        body: &'a Body,
    },
    /// Before a message that promises something leaves: term and vote that would survive a power cut of the sender right
    /// now, and the last entry that would. From the disk model, not from the node. Also, of every node that is up, before
    /// the acknowledgement of a write leaves for its client.
    Durable {
        /// The sender.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// Term on disk.
        term: Term,
        /// Vote on disk; 0 none.
        vote: NodeId,
        /// Last entry on disk.
        last_index: LogIndex,
        /// Its term.
        last_term: Term,
    },
    /// A client begins an operation.
    Invoke {
        /// Unique in the run.
        operation: u64,
        /// Which client.
        client: u64,
        /// Whose rights.
        acct: Acct,
        /// Where.
        nsid: Nsid,
        /// What.
        asked: Asked<'a>,
    },
    /// It ended.
    Return {
        /// Of Invoke.
        operation: u64,
        /// How.
        ended: Ended<'a>,
    },
    /// A watcher was told a head.
    Head {
        /// The watch.
        operation: u64,
        /// The namespace.
        nsid: Nsid,
        /// The head.
        head: base::Jid,
    },
    /// Faults pause: these nodes run, hear each other, and nothing ails their disks. They are a quorum of every group, and
    /// must do without the others.
    Calm {
        /// Who; all nodes, perhaps.
        nodes: &'a [NodeId],
        /// Clients begin nothing new, and no node is left out: all must become equal.
        is_idle: bool,
    },
    /// Faults may strike again: the calm is over.
    Stir,
    /// Something foreign met a node: of another version, or of somebody who may not.
    Foreign {
        /// What.
        asked: Foreign,
        /// The answer; none when what came after it was answered and this was not.
        status: Option<wire::ReplyStatus>,
        /// Its body.
        body: &'a [u8],
    },
    /// The run gives a group up, which is not live although all nodes were healed: a group that could be is a violation.
    Stuck {
        /// Which.
        group: GroupId,
        /// The nodes that run, as they stand.
        views: &'a [GroupView<'a>],
    },
    /// The rows of a group in a node's store: when it offers a snapshot or has installed one, and at the end.
    Content {
        /// Which.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// What is applied.
        applied: LogIndex,
        /// Hash of all rows.
        hash: u64,
    },
    /// A node's tables hold the state of a group up to here, durably: a checkpoint.
    Checkpoint {
        /// Which.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// The last entry that is in it.
        applied: LogIndex,
    },
    /// All faults have ended; what must become live must now.
    Healed,
    /// The run is over; final states were reported by Turn events before this.
    End,
}

impl<'a> Event<'a> {
    /// The groups that the event shows as they stand: one after a turn, all of a node when it starts, none otherwise.
    #[must_use]
    pub fn views(&self) -> &[GroupView<'a>] {
        match self {
            Event::Turn(view) => std::slice::from_ref(view),
            Event::Boot { groups, .. } => groups,
            _ => &[],
        }
    }
}
