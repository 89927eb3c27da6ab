//! One group on this core: its consensus state and what waits for it.

use std::collections::{BTreeMap, VecDeque};

use base::stages::{OpClass, Slot, Stage, Stamp};
use base::{Acct, GroupId, Jid, LogIndex, Mono, NodeId, Nsid, SyncEpoch, Term};
use meta::payload::Builder;
use raft::Raft;

use crate::stages::EntryTiming;
use crate::state_hashes::StateHashes;
use crate::{Ticket, Timing};

/// An entry that this leader proposed, with those who wait for its commands, in their order.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub index: LogIndex,
    pub term: Term,
    pub tickets: Vec<Ticket>,
    /// What each of them asked for, for the profile.
    pub classes: Vec<OpClass>,
    pub timing: EntryTiming,
}

impl Proposed {
    /// What is known of its time once its outcomes are, which they are at the next border.
    pub fn timing(&self, group: GroupId, is_cold: bool, now: Stamp) -> Timing {
        let EntryTiming { mut slot, bytes, closed_by, .. } = self.timing;
        if is_cold {
            slot.mark(Stage::Prefetch, now);
        }
        Timing { slot, group, index: self.index, commands: self.tickets.len() as u16, bytes, closed_by, is_cold }
    }
}

/// What the answer of a read looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `meta`'s encoding.
    Native,
    /// [`crate::MetadataAnswer`], of a lookup by path.
    Metadata,
}

/// A read on its way: joined, then confirmed, then served once enough is applied.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub ticket: Ticket,
    pub acct: base::Acct,
    pub nsid: Nsid,
    pub query: meta::Query,
    /// What its answer looks like.
    pub form: Form,
    /// How it was confirmed, once it was.
    pub path: Option<raft::ReadPath>,
    pub slot: Slot,
    pub class: OpClass,
}

/// Someone who hears of a namespace's journal: once at the beginning, then whenever the head has passed what was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watcher {
    pub ticket: Ticket,
    /// For whom; 0 is the system, which may watch everything.
    pub acct: Acct,
    pub told: Option<Jid>,
}

/// Why a group's apply stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApplyWait {
    /// It does not.
    None,
    /// Rows are being fetched under this token.
    Store(u64),
    /// Entries are being faulted in from the log.
    Log,
    /// The row of its feature level is being fetched.
    Level,
}

pub(crate) struct Group {
    pub id: GroupId,
    pub raft: Raft,
    /// In the shard's dirty list.
    pub is_dirty: bool,
    /// When raft wants a tick.
    pub deadline: Mono,
    /// When it may start its election: its deadline has passed, and the core's budget had no place before.
    pub election: Option<Mono>,

    /// This turn's commands and who sent them.
    pub batch: Builder,
    pub batch_tickets: Vec<Ticket>,
    pub batch_classes: Vec<OpClass>,
    /// This turn's reads.
    pub turn_reads: Vec<Read>,
    /// This turn's reads that are served here although this node does not lead.
    pub turn_follower_reads: Vec<Read>,

    /// Entries proposed here and not yet applied, by index.
    pub proposed: VecDeque<Proposed>,
    /// Reads by position, until confirmed.
    pub joined: VecDeque<(u64, Read)>,
    /// Reads at a follower, by its own positions, until the leader has confirmed them and enough is applied.
    pub follower_joined: VecDeque<(u64, Read)>,
    /// Reads by read index, until applied.
    pub confirmed: VecDeque<(LogIndex, Read)>,
    pub watchers: BTreeMap<Nsid, Vec<Watcher>>,

    /// Committed up to here. Invariant: `applied <= commit`.
    pub commit: LogIndex,
    pub applied: LogIndex,
    pub wait: ApplyWait,
    /// Its feature level, once it was read; nothing is applied before.
    pub level: Option<u32>,
    /// Tokens of rows fetched for the entry that is being applied.
    pub apply_tokens: Vec<u64>,
    /// The newest epoch that holds something of this group; persisted when the log says so.
    pub last_epoch: SyncEpoch,
    /// A snapshot is being installed since then: appends are not taken.
    pub installing: Option<Mono>,
    /// An install is in the log and waits for this epoch: then raft hears of it.
    pub installed: Option<Installed>,
    /// What was applied is gone, or is being applied anew.
    pub lost: Option<crate::lost::Lost>,
    /// This node is out of it, and its rows are gone: nothing is applied. Invariant: `lost` then.
    pub dropped: Option<crate::removed::Dropped>,
    /// Memtables up to this one hold rows that were dropped since: their flush says nothing of the group.
    pub frozen_gone: u64,
    /// The configuration it began with here, encoded: in force while the machine row names none.
    pub initial: Vec<u8>,
    pub is_leader: bool,
    /// Who was asked to take over: the best guess of who leads while no leader is known.
    pub heir: NodeId,
    /// What replicas told of their states.
    pub hashes: StateHashes,
    /// Stopped by an alarm: nothing goes in any more.
    pub alarm: Option<raft::Alarm>,
}

#[derive(Debug, Clone)]
pub(crate) struct Installed {
    pub epoch: SyncEpoch,
    pub index: LogIndex,
    pub term: Term,
    pub config: Vec<u8>,
}

impl Group {
    pub fn new(id: GroupId, raft: Raft, applied: LogIndex, initial: Vec<u8>) -> Group {
        let deadline = raft.next_deadline();
        Group {
            id,
            raft,
            is_dirty: false,
            deadline,
            election: None,
            batch: Builder::default(),
            batch_tickets: Vec::new(),
            batch_classes: Vec::new(),
            turn_reads: Vec::new(),
            turn_follower_reads: Vec::new(),
            proposed: VecDeque::new(),
            joined: VecDeque::new(),
            follower_joined: VecDeque::new(),
            confirmed: VecDeque::new(),
            watchers: BTreeMap::new(),
            commit: applied,
            applied,
            wait: ApplyWait::None,
            level: None,
            apply_tokens: Vec::new(),
            last_epoch: SyncEpoch(0),
            installing: None,
            installed: None,
            lost: None,
            dropped: None,
            frozen_gone: 0,
            initial,
            is_leader: false,
            heir: NodeId(0),
            hashes: StateHashes::default(),
            alarm: None,
        }
    }

    /// Who leads, as far as this node knows; 0: nobody.
    pub fn leader_hint(&self) -> NodeId {
        self.raft.leader().unwrap_or(self.heir)
    }

    /// The lists of an entry that was answered serve the next one.
    pub fn keep_lists(&mut self, mut answered: Proposed) {
        if self.batch_tickets.capacity() == 0 {
            answered.tickets.clear();
            answered.classes.clear();
            (self.batch_tickets, self.batch_classes) = (answered.tickets, answered.classes);
        }
    }

    /// Reads that wait anywhere.
    pub fn reads_waiting(&self) -> usize {
        let follower = self.turn_follower_reads.len() + self.follower_joined.len();
        self.turn_reads.len() + self.joined.len() + self.confirmed.len() + follower
    }
}

/// What an operator sees of a group on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which.
    pub group: GroupId,
    /// What this node is in it.
    pub role: raft::Role,
    /// The current term.
    pub term: Term,
    /// Who leads, 0 unknown.
    pub leader: NodeId,
    /// The first entry held.
    pub first_index: LogIndex,
    /// The last entry held.
    pub last_index: LogIndex,
    /// Committed.
    pub commit_index: LogIndex,
    /// Applied.
    pub applied_index: LogIndex,
    /// On this node's disk.
    pub persisted_index: LogIndex,
    /// Rolling hash of all that was applied.
    pub state_hash: u64,
    /// The voters in force.
    pub voters: Vec<NodeId>,
    /// What the log is worth.
    pub health: raft::Health,
    /// An alarm stopped the group here.
    pub alarm: Option<raft::Alarm>,
    /// A replica whose state is another than this node's, if one was found.
    pub differs_from: Option<NodeId>,
    /// What was applied here is gone, or is being applied anew: nothing of the group is served here.
    pub is_state_lost: bool,
}
