//! What checkers see of a run: events in the order in which they happened, in true time.
//!
//! The world reports and never judges; a checker judges and never looks into the world or into another checker.

use base::{Acct, GroupId, LogIndex, Mono, NodeId, Nsid, Term};
use raft::{Body, Raft};

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

/// A checker: one claim.
pub trait Checker {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

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
    /// Appends the entry's payload (`meta::payload` for commands) to `out`; false when it is not in memory.
    fn payload(&self, index: LogIndex, out: &mut Vec<u8>) -> bool;
}

/// One group on one node after a turn that touched it.
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
    /// Its consensus state.
    pub raft: &'a Raft,
    /// Its log.
    pub log: &'a dyn LogView,
    /// What its machine has applied.
    pub applied: LogIndex,
    /// Rolling hash of all that was applied.
    pub state_hash: u64,
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
    /// Before a message that promises something left: term and vote that would survive a power cut of the sender right
    /// now, and the last entry that would. From the disk model, not from the node.
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
    /// All faults have ended; what must become live must now.
    Healed,
    /// The run is over; final states were reported by Turn events before this.
    End,
}
