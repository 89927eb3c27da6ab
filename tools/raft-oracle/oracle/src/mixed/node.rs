//! One node: log, machine, and the implementation that runs on it.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use base::{LogIndex, Mono, NodeId, Term, mix64};
use ours::{Body, Effects, Outgoing};
use raft::StateRole;

use crate::mixed::theirs::Theirs;
use crate::twin::Twin;

/// The implementation of a running node.
pub enum Engine {
    /// Our core, and the effects of its last drain.
    Ours(Box<ours::Raft>, Box<Effects>),
    /// The raft crate.
    Theirs(Box<Theirs>),
}

impl Engine {
    /// Does it lead?
    #[must_use]
    pub fn is_leader(&self) -> bool {
        match self {
            Engine::Ours(raft, _) => raft.is_leader(),
            Engine::Theirs(theirs) => theirs.raw.raft.state == StateRole::Leader,
        }
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Engine::Ours(raft, _) => raft.term(),
            Engine::Theirs(theirs) => Term(theirs.raw.raft.term),
        }
    }

    /// Its vote; node 0 is none.
    #[must_use]
    pub fn vote(&self) -> NodeId {
        match self {
            Engine::Ours(raft, _) => raft.vote().unwrap_or_default(),
            Engine::Theirs(theirs) => NodeId(theirs.raw.raft.vote),
        }
    }

    /// Its commit index.
    #[must_use]
    pub fn commit_index(&self) -> LogIndex {
        match self {
            Engine::Ours(raft, _) => raft.commit_index(),
            Engine::Theirs(theirs) => LogIndex(theirs.raw.raft.raft_log.committed),
        }
    }

    /// Panics if our core stopped. The raft crate panics by itself.
    pub fn check_alarm(&self) {
        if let Engine::Ours(raft, _) = self {
            assert_eq!(raft.alarm(), None, "{} raised an alarm", raft.id());
        }
    }
}

/// What was seen of this life; only ever rises.
#[derive(Default)]
pub struct Seen {
    /// Its term.
    pub term: Term,
    /// Its vote in it.
    pub vote: NodeId,
    /// Its commit index.
    pub commit: LogIndex,
    /// The newest term that it led.
    pub led: Term,
}

/// A node, up or down.
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Does it run our core?
    pub is_ours: bool,
    /// `None` while it is down.
    pub engine: Option<Engine>,
    /// Its log.
    pub twin: Rc<RefCell<Twin>>,
    /// Applied index and a hash of what was applied: as it is, and as a crash leaves it.
    pub machine: (LogIndex, u64),
    /// See `machine`.
    pub disk_machine: (LogIndex, u64),
    /// Counts its starts.
    pub incarnation: u64,
    /// What was seen of this life.
    pub seen: Seen,
    /// Told to apply up to here.
    pub commit: LogIndex,
    /// Our core's messages that wait for an epoch.
    pub after_sync: VecDeque<(u64, Outgoing)>,
    /// The newest epoch that holds something, and those to hear of.
    pub last_epoch: u64,
    /// Closed epochs on their way to the disk.
    pub flying: VecDeque<u64>,
    /// When the last of them arrives.
    pub sync_due: Mono,
    /// When the next timer fires.
    pub timer: Mono,
    /// Its disk is late, and it was told.
    pub is_lagging: bool,
    /// Its clock is ahead of the others' by this, in ns.
    pub skew: u64,
}

impl Node {
    /// A node that never ran.
    #[must_use]
    pub fn new(id: NodeId, is_ours: bool, skew: u64) -> Node {
        Node {
            id,
            is_ours,
            engine: None,
            twin: Rc::new(RefCell::new(Twin::new())),
            machine: (LogIndex(0), 0),
            disk_machine: (LogIndex(0), 0),
            incarnation: 0,
            seen: Seen::default(),
            commit: LogIndex(0),
            after_sync: VecDeque::new(),
            last_epoch: 0,
            flying: VecDeque::new(),
            sync_due: Mono(0),
            timer: Mono::MAX,
            is_lagging: false,
            skew,
        }
    }

    /// Memory is gone; of the epochs in flight the first `reached` got to the disk.
    pub fn crash(&mut self, reached: usize) {
        let epoch = self.flying.iter().take(reached).next_back().copied().unwrap_or(0);
        let fresh = Node::new(self.id, self.is_ours, self.skew);
        let old = std::mem::replace(self, fresh);
        old.twin.borrow_mut().crash(epoch);
        (self.twin, self.incarnation) = (old.twin, old.incarnation);
        (self.machine, self.disk_machine) = (old.disk_machine, old.disk_machine);
    }

    /// Term and crc of an entry in memory.
    #[must_use]
    pub fn term_and_crc(&self, twin: &Ref<'_, Twin>, index: LogIndex) -> Option<(Term, u32)> {
        twin.memory.get(index).map(|held| (held.term, held.crc))
    }

    /// Its crc.
    #[must_use]
    pub fn crc(&self, twin: &Ref<'_, Twin>, index: LogIndex) -> Option<u32> {
        self.term_and_crc(twin, index).map(|(_, crc)| crc)
    }

    /// Applies the next committed entry. False if there is none.
    pub fn apply_next(&mut self) -> bool {
        let (applied, hash) = self.machine;
        if applied >= self.commit {
            return false;
        }
        let twin = self.twin.borrow();
        let held = twin.memory.get(applied.next()).expect("a committed entry is held");
        self.machine = (applied.next(), mix64(hash ^ u64::from(held.crc)));
        true
    }

    /// The machine becomes durable, if the log on disk has it all.
    pub fn checkpoint(&mut self) {
        let twin = self.twin.borrow();
        let (applied, _) = self.machine;
        if applied > LogIndex(0) && twin.disk.crc(applied) == twin.memory.crc(applied) {
            self.disk_machine = self.machine;
        }
    }
}

/// A message on its way: our words, whoever sent it, and its records.
#[derive(Clone)]
pub struct Wire {
    /// The sender.
    pub from: NodeId,
    /// The message.
    pub body: Body,
    /// The records of an AppendEntries.
    pub bytes: Vec<u8>,
}
