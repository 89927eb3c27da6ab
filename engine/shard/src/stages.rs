//! Where the time of requests goes: stamps at the borders between the steps of a turn, kept by entry and by read.
//!
//! ```text
//! turn   begin ─▶ reap, mail ─▶ Decode ─▶ disk, store, deadlines ─▶ Admit ─▶ proposals ─▶ Propose ─▶ groups ─▶ Apply
//! ```
//! The loop takes the stamps and hands them in; all that happens between two borders ends at the later one, or, for what
//! the disk and the peers told, at the one before it. Commands of an entry share one slot, because all that they wait for
//! is the turn's, the frame's or the entry's. Nothing here decides anything. Source: docs/design/profile.md.

use std::collections::VecDeque;

use base::stages::{ON, OpClass, Slot, Stage, Stamp};
use base::{GroupId, LogIndex, NodeId, SyncEpoch};
use meta::{Query, Store};
use raft::{Body, Input};
use seglog::{Disk, SegLog};

use crate::{Shard, group::Group};

/// A place between two steps of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Border {
    /// All that arrived is read and handed over.
    Decode,
    /// Completions, the store and deadlines are seen to.
    Admit,
    /// The turn's commands are in the log's memory, its reads have joined.
    Propose,
    /// What was committed is applied, outcomes and answers are known.
    Apply,
    /// The replies are in the connections' buffers; operations of the log are handed out now.
    Reply,
}

/// The time of a request that was answered, and what it was part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// Its stamps, up to the outcome or answer; who delivers it adds the rest.
    pub slot: Slot,
    /// Its group.
    pub group: GroupId,
    /// A write: its entry. A read: the applied index that it saw.
    pub index: LogIndex,
    /// Commands of the entry; 1 for a read.
    pub commands: u16,
    /// Bytes of the entry's payload; 0 for a read.
    pub bytes: u32,
    /// Whose acknowledgement, or own disk, moved the commit index over it; 0 for a read.
    pub closed_by: NodeId,
    /// Rows had to be fetched for it.
    pub is_cold: bool,
}

/// The stamps of an entry on its way; its commands' answers share them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EntryTiming {
    pub slot: Slot,
    pub epoch: SyncEpoch,
    pub bytes: u32,
    pub closed_by: NodeId,
}

/// A batch of the log's frames on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct BatchStamps {
    upto: SyncEpoch,
    submit: Stamp,
    write: Option<Stamp>,
}

/// Who closed quorums, counted since the start. One count for each entry proposed here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QuorumCounts {
    /// Entries whose quorum this node's own disk completed.
    pub closed_by_own_disk: u64,
    /// Entries whose quorum a peer's acknowledgement completed.
    pub closed_by_peer: u64,
    /// Entries committed before they were on this node's disk.
    pub ahead_of_local: u64,
}

/// The stamps of a core's turn and of its log's batches in flight.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// The last border.
    pub now: Stamp,
    begin: Stamp,
    decoded: Stamp,
    admitted: Stamp,
    /// At most as many as the log has batches in flight.
    batches: VecDeque<BatchStamps>,
    /// Groups with proposals in this turn.
    pub proposing: Vec<u32>,
    pub quorums: QuorumCounts,
}

impl Stages {
    /// A request of this turn.
    pub fn begin_slot(&self) -> Slot {
        Slot::begun(self.begin)
    }

    /// A request of this turn that has reached its group.
    pub fn admit(&self, slot: &mut Slot) {
        slot.mark(Stage::Decode, self.decoded);
        slot.mark(Stage::Admit, self.admitted);
    }

    /// What the log has handed out, written and synced since the last look.
    pub fn follow<D: Disk>(&mut self, log: &SegLog<D>) {
        if !ON {
            return;
        }
        let (issued, written) = (log.issued_epoch(), log.written_epoch());
        if self.batches.back().map_or(log.persisted_epoch(), |batch| batch.upto) < issued {
            self.batches.push_back(BatchStamps { upto: issued, submit: self.now, write: None });
        }
        for batch in self.batches.iter_mut().filter(|batch| batch.upto <= written) {
            batch.write.get_or_insert(self.now);
        }
    }

    /// Marks an entry whose frame is on disk now.
    fn mark_synced(&self, entry: &mut EntryTiming) {
        if let Some(batch) = self.batches.iter().find(|batch| entry.epoch <= batch.upto) {
            entry.slot.mark(Stage::LogSubmit, batch.submit);
            entry.slot.mark(Stage::LogWrite, batch.write.unwrap_or(self.now));
        }
        entry.slot.mark(Stage::LogSync, self.now);
    }

    /// Marks all that a group proposed in this turn.
    fn mark_proposed(&self, group: &mut Group) {
        for entry in group.proposed.iter_mut().rev() {
            if entry.timing.slot.begin() != self.begin {
                break;
            }
            self.admit(&mut entry.timing.slot);
            entry.timing.slot.mark(Stage::Propose, self.now);
        }
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// A turn begins: its requests count from here. Called right after `enter`, in every turn or in none.
    pub fn begin_stages(&mut self, now: Stamp) {
        (self.stages.begin, self.stages.now) = (now, now);
    }

    /// A step of the turn has ended.
    pub fn end_stage(&mut self, border: Border, now: Stamp) {
        self.stages.now = now;
        match border {
            Border::Decode => self.stages.decoded = now,
            Border::Admit => self.stages.admitted = now,
            Border::Propose => {
                let mut groups = std::mem::take(&mut self.stages.proposing);
                groups.drain(..).for_each(|at| self.stages.mark_proposed(&mut self.groups[at as usize]));
                self.stages.proposing = groups;
            }
            Border::Apply => self.replies.mark_done(now),
            Border::Reply => {}
        }
    }

    /// Who completed the quorums of entries proposed here.
    #[must_use]
    pub fn quorum_counts(&self) -> QuorumCounts {
        self.stages.quorums
    }

    /// The group's entries up to `persisted` are on this node's disk.
    pub(crate) fn time_synced(&mut self, at: u32, persisted: SyncEpoch) {
        for entry in self.groups[at as usize].proposed.iter_mut().rev() {
            if entry.timing.epoch > persisted {
                continue;
            }
            if entry.timing.slot.has(Stage::LogSync) {
                break;
            }
            self.stages.mark_synced(&mut entry.timing);
        }
    }

    /// All frames up to `persisted` are on disk and every group has heard of it.
    pub(crate) fn end_batches(&mut self, persisted: SyncEpoch) {
        while self.stages.batches.pop_front_if(|batch| batch.upto <= persisted).is_some() {}
    }

    /// The commit index of a group led here has moved, completed by `closer`.
    pub(crate) fn time_quorum(&mut self, at: u32, closer: NodeId) {
        let group = &mut self.groups[at as usize];
        let (commit, me) = (group.raft.commit_index(), self.settings.node);
        for entry in group.proposed.iter_mut().take_while(|entry| entry.index <= commit) {
            if entry.timing.slot.has(Stage::Quorum) {
                continue;
            }
            let counts = &mut self.stages.quorums;
            *(if closer == me { &mut counts.closed_by_own_disk } else { &mut counts.closed_by_peer }) += 1;
            counts.ahead_of_local += u64::from(!entry.timing.slot.has(Stage::LogSync));
            entry.timing.slot.mark(Stage::Quorum, self.stages.now);
            entry.timing.closed_by = closer;
        }
    }
}

/// Who completes a quorum if this input does: who acknowledged, or the node itself.
pub(crate) fn closer(input: &Input<'_>, me: NodeId) -> NodeId {
    match input {
        Input::Message { from, body: Body::AppendResp { .. }, .. } => *from,
        _ => me,
    }
}

/// The class of an encoded command, by its kind (docs/design/metadata.md, "Commands").
pub(crate) fn class_of_command(command: &[u8]) -> OpClass {
    match command.get(1) {
        Some(2) => OpClass::Batch,
        Some(4..=7) => OpClass::MoveDelete,
        _ => OpClass::Put,
    }
}

/// The class of a query.
pub(crate) fn class_of_query(query: &Query) -> OpClass {
    match query {
        Query::ListPage { .. } | Query::ListAll { .. } | Query::Links { .. } | Query::Mounts { .. } => OpClass::List,
        Query::Delta { .. } | Query::DeltaIn(_) => OpClass::Delta,
        Query::Blocklist { .. } | Query::HasBlocks(_) => OpClass::Blocks,
        _ => OpClass::Get,
    }
}
