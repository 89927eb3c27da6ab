//! A log in memory beside the disk that lags behind it: what is written is seen at once and survives only once its
//! epoch is synced.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use base::record::{EntryKind, Record, RecordHeader, RecordKind, record_space, write_record};
use base::{GroupId, LogIndex, SyncEpoch, Term};
use raft::{HardState, Health, Log};

/// The only group.
pub const GROUP: GroupId = GroupId(7);

/// One entry with its record's bytes, padded.
#[derive(Clone)]
pub struct Entry {
    pub term: Term,
    pub kind: EntryKind,
    pub crc: u32,
    pub bytes: Rc<[u8]>,
}

impl Entry {
    pub fn payload(&self) -> Vec<u8> {
        Record::parse(&self.bytes).expect("the twin wrote this record").0.payload().to_vec()
    }
}

/// A log and a hard state, as memory or as a disk holds them.
#[derive(Clone, Default)]
pub struct Image {
    /// The last entry that is no longer held, its term and crc.
    pub base: (LogIndex, Term, u32),
    entries: VecDeque<Entry>,
    /// Entries whose bytes are lost; index, term and crc are known.
    pub lost: BTreeSet<LogIndex>,
    /// As a HEALTH record tells it: never Faulty.
    pub health: Health,
    pub hard: HardState,
}

#[derive(Clone)]
enum Op {
    Append(Entry),
    Truncate(LogIndex),
    Rewrite(LogIndex),
    Compact(LogIndex),
    Install { base: (LogIndex, Term, u32), keeps: bool },
    Hard(HardState),
    Health(Health),
}

impl Image {
    pub fn first(&self) -> LogIndex {
        self.base.0.next()
    }

    pub fn last(&self) -> LogIndex {
        LogIndex(self.base.0.0 + self.entries.len() as u64)
    }

    pub fn get(&self, index: LogIndex) -> Option<&Entry> {
        let at = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(at as usize)
    }

    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 { Some(self.base.1) } else { self.get(index).map(|entry| entry.term) }
    }

    pub fn crc(&self, index: LogIndex) -> Option<u32> {
        if index == self.base.0 { Some(self.base.2) } else { self.get(index).map(|entry| entry.crc) }
    }

    fn forget(&mut self, through: LogIndex) {
        let (term, crc) = (self.term(through).expect("held"), self.crc(through).expect("held"));
        self.entries.drain(..(through.0 - self.base.0.0) as usize);
        self.base = (through, term, crc);
    }

    fn perform(&mut self, op: &Op) {
        match op {
            Op::Rewrite(index) => {
                self.lost.remove(index);
            }
            Op::Append(entry) => self.entries.push_back(entry.clone()),
            Op::Truncate(index) => self.entries.truncate((index.0 - self.base.0.0 - 1) as usize),
            Op::Compact(through) => self.forget(*through),
            Op::Install { base, keeps: true } => self.forget(base.0),
            Op::Install { base, keeps: false } => {
                self.entries.clear();
                self.base = *base;
            }
            Op::Hard(hard) => self.hard = *hard,
            Op::Health(health) => self.health = *health,
        }
        let (first, last) = (self.first(), self.last());
        self.lost.retain(|index| first <= *index && *index <= last);
    }
}

/// The log of one node.
#[derive(Default)]
pub struct TwinLog {
    pub memory: Image,
    pub disk: Image,
    ops: VecDeque<(u64, Op)>,
    pub open: u64,
    pub persisted: u64,
    /// The disk before the newest frame on it, once frames may be damaged.
    before_last: Option<(u64, Image)>,
    pub keeps_frames: bool,
    /// What happened since somebody looked last: entries written, and where the log was cut.
    pub appended: Vec<(LogIndex, Term, u32)>,
    pub truncated: Vec<LogIndex>,
    /// The newest epoch written to since somebody looked last.
    pub wrote: Option<u64>,
}

impl TwinLog {
    pub fn new() -> TwinLog {
        TwinLog { open: 1, ..TwinLog::default() }
    }

    fn write(&mut self, op: Op) -> SyncEpoch {
        self.memory.perform(&op);
        self.ops.push_back((self.open, op));
        self.wrote = Some(self.open);
        SyncEpoch(self.open)
    }

    pub fn set_state(&mut self, hard: HardState) -> SyncEpoch {
        self.write(Op::Hard(hard))
    }

    pub fn set_health(&mut self, health: Health) -> SyncEpoch {
        self.write(Op::Health(health))
    }

    /// While the node is down: the newest frame was torn after it may have been acked. Where the log would end.
    pub fn head(&self) -> Option<LogIndex> {
        self.before_last.as_ref().map(|(_, image)| image.last())
    }

    /// What that frame had written again.
    pub fn head_rewrites(&self) -> Vec<LogIndex> {
        let lost = self.before_last.iter().flat_map(|(_, image)| &image.lost);
        lost.copied().filter(|index| !self.disk.lost.contains(index)).collect()
    }

    /// While the node is down: that frame is gone but for its terms and votes, which are written twice.
    pub fn lose_head(&mut self) {
        let (_, image) = self.before_last.take().expect("there is a frame");
        self.disk = Image { hard: self.disk.hard, health: Health::RecoveringHead, ..image };
        self.memory = self.disk.clone();
    }

    /// While the node is down: an entry loses its bytes.
    pub fn lose(&mut self, index: LogIndex) {
        self.disk.lost.insert(index);
        self.memory.lost.insert(index);
        // The frame before is not to bring them back.
        if let Some((_, image)) = &mut self.before_last
            && image.get(index).is_some()
        {
            image.lost.insert(index);
        }
    }

    pub fn compact(&mut self, through: LogIndex) -> SyncEpoch {
        self.write(Op::Compact(through))
    }

    pub fn install(&mut self, base: (LogIndex, Term, u32), keeps: bool) -> SyncEpoch {
        self.write(Op::Install { base, keeps })
    }

    /// Ends the open epoch: from now on it may be synced.
    pub fn close(&mut self) -> u64 {
        self.open += 1;
        self.open - 1
    }

    pub fn has_open_writes(&self) -> bool {
        self.ops.back().is_some_and(|(epoch, _)| *epoch == self.open)
    }

    /// Everything of `epoch` and before is on disk.
    pub fn sync(&mut self, epoch: u64) {
        while let Some((of, op)) = self.ops.pop_front_if(|(of, _)| *of <= epoch) {
            if self.keeps_frames && self.before_last.as_ref().is_none_or(|(frame, _)| *frame != of) {
                self.before_last = Some((of, self.disk.clone()));
            }
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
        self.wrote = None;
        self.appended.clear();
        self.truncated.clear();
    }

    /// The records of these entries, as a message carries them.
    pub fn records(&self, first: LogIndex, count: u16) -> Vec<u8> {
        let entries =
            (first.0..first.0 + u64::from(count)).map(|index| self.memory.get(LogIndex(index)).expect("held"));
        let last = LogIndex(first.0 + u64::from(count));
        assert!(self.memory.lost.range(first..last).next().is_none(), "an entry is sent whose bytes are lost");
        entries.flat_map(|entry| entry.bytes.iter().copied()).collect()
    }

    fn push(&mut self, entry: Entry) -> SyncEpoch {
        self.appended.push((self.memory.last().next(), entry.term, entry.crc));
        self.write(Op::Append(entry))
    }
}

impl Log for TwinLog {
    fn first_index(&self) -> LogIndex {
        self.memory.first()
    }

    fn last_index(&self) -> LogIndex {
        self.memory.last()
    }

    fn term_before_first(&self) -> Term {
        self.memory.base.1
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        self.memory.term(index)
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        self.memory.crc(index)
    }

    fn fit(&self, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32) {
        let (mut end, mut total) = (first, self.memory.get(first).expect("held").bytes.len() as u32);
        while end < last {
            let bytes = self.memory.get(end.next()).expect("held").bytes.len() as u32;
            if total + bytes > bytes_max {
                break;
            }
            (end, total) = (end.next(), total + bytes);
        }
        (end, total)
    }

    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch {
        assert_eq!(index, self.last_index().next());
        let mut bytes = vec![0; record_space(payload.len())];
        let prev_crc = self.memory.crc(index.prev()).expect("held");
        let header =
            RecordHeader { kind: RecordKind::Entry, flags: kind as u8, life: 0, group: GROUP, prev_crc, index, term };
        let (_, crc) = write_record(&mut bytes, &header, payload);
        self.push(Entry { term, kind, crc, bytes: bytes.into() })
    }

    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch {
        let header = record.header();
        assert_eq!(header.index, self.last_index().next());
        let mut bytes = record.raw().to_vec();
        bytes.resize(record_space(record.payload().len()), 0);
        let kind = record.entry_kind().expect("entries have a kind");
        self.push(Entry { term: header.term, kind, crc: record.crc(), bytes: bytes.into() })
    }

    fn truncate_from(&mut self, index: LogIndex) {
        assert!(self.first_index() <= index && index <= self.last_index());
        self.truncated.push(index);
        self.write(Op::Truncate(index));
    }

    fn first_faulty_above(&self, index: LogIndex) -> Option<LogIndex> {
        self.memory.lost.range(index.next()..).next().copied()
    }

    fn is_faulty(&self, index: LogIndex) -> bool {
        self.memory.lost.contains(&index)
    }

    fn rewrite(&mut self, record: Record<'_>) -> SyncEpoch {
        let index = record.header().index;
        assert!(self.is_faulty(index), "entry {index} is not faulty");
        assert_eq!((self.term(index), self.crc(index)), (Some(record.header().term), Some(record.crc())));
        self.write(Op::Rewrite(index))
    }

    fn config_payload(&self, index: LogIndex) -> Option<Vec<u8>> {
        let held = self.memory.get(index).filter(|_| !self.is_faulty(index));
        held.filter(|entry| entry.kind == EntryKind::Config).map(Entry::payload)
    }
}
