//! The log of a node in a model, and what its disk holds: lists of records that are shared, never changed.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base::record::{EntryKind, Record, RecordHeader, RecordKind, record_space, write_record};
use base::{GroupId, LogIndex, SyncEpoch, Term};
use ours::{HardState, Log};

/// The group of all models.
pub const GROUP: GroupId = GroupId(1);

/// One record with its padding.
#[derive(Debug)]
pub struct Entry {
    /// Its bytes as they travel.
    pub raw: Vec<u8>,
    /// Its term.
    pub term: Term,
    /// Its crc, which covers the crc of the entry before.
    pub crc: u32,
    /// What it carries.
    pub kind: EntryKind,
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The crc covers everything, term and predecessors included.
        (self.term, self.crc).hash(state);
    }
}

/// A log and a hard state, in memory or as a disk holds them.
#[derive(Clone, Debug, Hash, Default)]
pub struct Image {
    /// From index 1 on.
    pub entries: Vec<Arc<Entry>>,
    /// Term and vote.
    pub hard_state: HardState,
    /// The entry whose bytes are lost, if one is; its term and crc are known.
    pub faulty: Option<LogIndex>,
}

impl Image {
    /// The entry at `index`, if held.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// The last index.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Is it the same log with the same hard state?
    #[must_use]
    pub fn is_same(&self, other: &Image) -> bool {
        self.hard_state == other.hard_state
            && self.faulty == other.faulty
            && self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(|(a, b)| (a.term, a.crc) == (b.term, b.crc))
    }
}

/// The log that the core writes to. Nothing is compacted in a model.
#[derive(Clone, Debug)]
pub struct ModelLog {
    /// What is in memory.
    pub image: Image,
    /// The open epoch.
    pub open: SyncEpoch,
    /// A broken driver: a joint configuration is written as the one it leads to.
    pub skips_joint: bool,
}

impl ModelLog {
    fn push(&mut self, entry: Entry) -> SyncEpoch {
        self.image.entries.push(Arc::new(entry));
        self.open
    }
}

impl Log for ModelLog {
    fn first_index(&self) -> LogIndex {
        LogIndex(1)
    }

    fn last_index(&self) -> LogIndex {
        LogIndex(self.image.last())
    }

    fn term_before_first(&self) -> Term {
        Term(0)
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        if index == LogIndex(0) { Some(Term(0)) } else { self.image.entry(index.0).map(|entry| entry.term) }
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        if index == LogIndex(0) { Some(0) } else { self.image.entry(index.0).map(|entry| entry.crc) }
    }

    fn fit(&self, first: LogIndex, last: LogIndex, _bytes_max: u32) -> (LogIndex, u32) {
        // A handful of empty entries always fits.
        (last, u32::try_from(last.0 - first.0 + 1).expect("a handful"))
    }

    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch {
        assert!(index == self.last_index().next(), "entry {index} behind {}", self.last_index());
        let direct = match ours::Config::decode(payload) {
            Ok(config) if kind == EntryKind::Config && self.skips_joint => Some(config.leave().encode()),
            _ => None,
        };
        let payload = direct.as_deref().unwrap_or(payload);
        let prev_crc = self.crc(self.last_index()).expect("the last entry is held");
        let header =
            RecordHeader { kind: RecordKind::Entry, flags: kind as u8, life: 0, group: GROUP, prev_crc, index, term };
        let mut raw = vec![0; record_space(payload.len())];
        let (_, crc) = write_record(&mut raw, &header, payload);
        self.push(Entry { raw, term, crc, kind })
    }

    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch {
        let mut raw = record.raw().to_vec();
        raw.resize(record_space(record.payload().len()), 0);
        let kind = record.entry_kind().expect("checked when it was received");
        self.push(Entry { raw, term: record.header().term, crc: record.crc(), kind })
    }

    fn truncate_from(&mut self, index: LogIndex) {
        self.image.entries.truncate(usize::try_from(index.0 - 1).expect("a handful"));
        self.image.faulty.take_if(|faulty| *faulty >= index);
    }

    fn first_faulty_above(&self, index: LogIndex) -> Option<LogIndex> {
        self.image.faulty.filter(|faulty| *faulty > index)
    }

    fn is_faulty(&self, index: LogIndex) -> bool {
        self.image.faulty == Some(index)
    }

    fn rewrite(&mut self, record: Record<'_>) -> SyncEpoch {
        let index = record.header().index;
        assert!(self.image.faulty.take() == Some(index), "entry {index} was not faulty");
        self.open
    }

    fn config_payload(&self, index: LogIndex) -> Option<Vec<u8>> {
        let entry =
            self.image.entry(index.0).filter(|entry| entry.kind == EntryKind::Config && !self.is_faulty(index))?;
        Some(Record::parse(&entry.raw).expect("written by this log").0.payload().to_vec())
    }
}
