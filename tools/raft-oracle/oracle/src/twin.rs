//! A log in memory beside the disk that lags behind it. One twin serves our core as [`ours::Log`] and the raft crate,
//! through [`Shared`], as [`raft::Storage`]; both keep the same bytes.
//!
//! What is written is seen at once and survives only once its epoch is synced. Nothing is ever compacted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use base::record::{EntryKind, Record, RecordHeader, RecordKind, record_space, write_record};
use base::{GroupId, LogIndex, NodeId, SyncEpoch, Term};
use raft::eraftpb;

/// The only group.
pub const GROUP: GroupId = GroupId(7);

/// One entry with its record's bytes, padding included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its term.
    pub term: Term,
    /// What it carries.
    pub kind: EntryKind,
    /// Of the record; it covers the crc of the entry before, hence the whole prefix.
    pub crc: u32,
    /// The record.
    pub bytes: Rc<[u8]>,
}

impl Held {
    /// The payload inside the record.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        Record::parse(&self.bytes).expect("the twin wrote this record").0.payload()
    }
}

/// Term, vote and, for the raft crate, the commit index that it keeps beside them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The term.
    pub term: Term,
    /// Node 0 is none.
    pub vote: NodeId,
    /// Lossy; 0 for our core, which does not store it.
    pub commit: LogIndex,
}

/// A log and a hard state, as memory or as a disk holds them.
#[derive(Clone, Default)]
pub struct Image {
    entries: Vec<Held>,
    /// The newest hard state.
    pub hard: HardState,
}

#[derive(Clone)]
enum Op {
    Append(Held),
    Truncate(LogIndex),
    Hard(HardState),
}

impl Image {
    /// The last entry; 0 when there is none.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        LogIndex(self.entries.len() as u64)
    }

    /// The entry at `index`.
    #[must_use]
    pub fn get(&self, index: LogIndex) -> Option<&Held> {
        self.entries.get(index.0.checked_sub(1)? as usize)
    }

    /// Its term; 0 at index 0.
    #[must_use]
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index == LogIndex(0) { Some(Term(0)) } else { self.get(index).map(|held| held.term) }
    }

    /// Its crc; 0 at index 0.
    #[must_use]
    pub fn crc(&self, index: LogIndex) -> Option<u32> {
        if index == LogIndex(0) { Some(0) } else { self.get(index).map(|held| held.crc) }
    }

    /// The terms of all entries, from index 1 on.
    #[must_use]
    pub fn terms(&self) -> Vec<u64> {
        self.entries.iter().map(|held| held.term.0).collect()
    }

    fn perform(&mut self, op: &Op) {
        match op {
            Op::Append(held) => self.entries.push(held.clone()),
            Op::Truncate(index) => self.entries.truncate(index.0 as usize - 1),
            Op::Hard(hard) => self.hard = *hard,
        }
    }
}

/// The log of one node.
#[derive(Clone, Default)]
pub struct Twin {
    /// As the node sees it.
    pub memory: Image,
    /// As a crash would leave it.
    pub disk: Image,
    ops: VecDeque<(u64, Op)>,
    /// The epoch that takes what is written now.
    pub open: u64,
    /// Everything of this epoch and before is on disk.
    pub persisted: u64,
    /// What happened since somebody looked last: entries written, and where the log was cut.
    pub appended: Vec<LogIndex>,
    /// See `appended`.
    pub truncated: Vec<LogIndex>,
}

impl Twin {
    /// Empty, with epoch 1 open.
    #[must_use]
    pub fn new() -> Twin {
        Twin { open: 1, ..Twin::default() }
    }

    fn write(&mut self, op: Op) -> SyncEpoch {
        self.memory.perform(&op);
        self.ops.push_back((self.open, op));
        SyncEpoch(self.open)
    }

    /// Writes a hard state into the open epoch.
    pub fn set_hard(&mut self, hard: HardState) -> SyncEpoch {
        self.write(Op::Hard(hard))
    }

    /// Ends the open epoch: from now on it may be synced.
    pub fn close(&mut self) -> u64 {
        self.open += 1;
        self.open - 1
    }

    /// The newest epoch that holds something, synced or not.
    #[must_use]
    pub fn newest_unsynced(&self) -> Option<u64> {
        self.ops.back().map(|(epoch, _)| *epoch)
    }

    /// Everything of `epoch` and before is on disk.
    pub fn sync(&mut self, epoch: u64) {
        while let Some((_, op)) = self.ops.pop_front_if(|(of, _)| *of <= epoch) {
            self.disk.perform(&op);
        }
        self.persisted = self.persisted.max(epoch);
    }

    /// Memory is lost. Epochs up to `reached` had made it to the disk, though nobody heard of it.
    pub fn crash(&mut self, reached: u64) {
        self.sync(reached);
        self.ops.clear();
        self.memory = self.disk.clone();
        self.open += 1000;
        self.persisted = self.open - 1;
        self.appended.clear();
        self.truncated.clear();
    }

    /// The records of `count` entries from `first` on, as a message carries them; `None` when one is not held.
    #[must_use]
    pub fn records(&self, first: LogIndex, count: u16) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for index in first.0..first.0 + u64::from(count) {
            bytes.extend_from_slice(&self.memory.get(LogIndex(index))?.bytes);
        }
        Some(bytes)
    }

    /// Writes an entry of any term at the end: its record is built here.
    pub fn append(&mut self, kind: EntryKind, term: Term, payload: &[u8]) -> SyncEpoch {
        let index = self.memory.last().next();
        let prev_crc = self.memory.crc(index.prev()).expect("the last entry is held");
        let header =
            RecordHeader { kind: RecordKind::Entry, flags: kind as u8, life: 0, group: GROUP, prev_crc, index, term };
        let mut bytes = vec![0; record_space(payload.len())];
        let (_, crc) = write_record(&mut bytes, &header, payload);
        self.push(Held { term, kind, crc, bytes: bytes.into() })
    }

    /// Drops the entries from `index` on.
    pub fn truncate(&mut self, index: LogIndex) {
        assert!(LogIndex(1) <= index && index <= self.memory.last(), "truncates at {index}, beyond the log");
        self.truncated.push(index);
        self.write(Op::Truncate(index));
    }

    fn push(&mut self, held: Held) -> SyncEpoch {
        self.appended.push(self.memory.last().next());
        self.write(Op::Append(held))
    }
}

impl ours::Log for Twin {
    fn first_index(&self) -> LogIndex {
        LogIndex(1)
    }

    fn last_index(&self) -> LogIndex {
        self.memory.last()
    }

    fn term_before_first(&self) -> Term {
        Term(0)
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        self.memory.term(index)
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        self.memory.crc(index)
    }

    fn fit(&self, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32) {
        let bytes = |index| self.memory.get(index).expect("a leader sends what it holds").bytes.len() as u32;
        let (mut end, mut total) = (first, bytes(first));
        while end < last && total + bytes(end.next()) <= bytes_max {
            end = end.next();
            total += bytes(end);
        }
        (end, total)
    }

    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch {
        assert_eq!(index, self.memory.last().next(), "a gap in the log");
        self.append(kind, term, payload)
    }

    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch {
        let header = record.header();
        assert_eq!(header.index, self.memory.last().next(), "a gap in the log");
        let mut bytes = record.raw().to_vec();
        bytes.resize(record_space(record.payload().len()), 0);
        let kind = record.entry_kind().expect("entries have a kind");
        self.push(Held { term: header.term, kind, crc: record.crc(), bytes: bytes.into() })
    }

    fn truncate_from(&mut self, index: LogIndex) {
        self.truncate(index);
    }

    fn first_faulty_above(&self, _index: LogIndex) -> Option<LogIndex> {
        None
    }

    fn is_faulty(&self, _index: LogIndex) -> bool {
        false
    }

    fn rewrite(&mut self, record: Record<'_>) -> SyncEpoch {
        panic!("entry {} was never faulty", record.header().index)
    }

    fn config_payload(&self, _index: LogIndex) -> Option<Vec<u8>> {
        None
    }
}

/// A twin that the raft crate reads; its owner writes. The voters never change.
#[derive(Clone)]
pub struct Shared {
    /// The log.
    pub twin: Rc<RefCell<Twin>>,
    /// The members.
    pub voters: Vec<u64>,
}

impl raft::Storage for Shared {
    fn initial_state(&self) -> raft::Result<raft::RaftState> {
        let hard = self.twin.borrow().memory.hard;
        let mut state = eraftpb::HardState::default();
        (state.term, state.vote, state.commit) = (hard.term.0, hard.vote.0, hard.commit.0);
        Ok(raft::RaftState::new(state, eraftpb::ConfState::from((self.voters.clone(), vec![]))))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: raft::GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        let twin = self.twin.borrow();
        let held = |index| twin.memory.get(LogIndex(index)).map(|held| crate::adapter::entry(LogIndex(index), held));
        let mut entries = Vec::new();
        for index in low..high {
            entries.push(held(index).ok_or(raft::Error::Store(raft::StorageError::Unavailable))?);
        }
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let term = self.twin.borrow().memory.term(LogIndex(index));
        term.map(|term| term.0).ok_or(raft::Error::Store(raft::StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.twin.borrow().memory.last().0)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<eraftpb::Snapshot> {
        Err(raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable))
    }
}
