//! A group's log for tests: a plain list of records, and images of it as a disk would hold them.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod member;

use std::collections::BTreeSet;
use std::rc::Rc;

use base::record::{EntryKind, Record, RecordHeader, RecordKind, Records, record_space, write_record};
use base::{GroupId, LogIndex, Prng, SyncEpoch, Term};
use raft::{Config, HardState, Log};

/// The group of all tests.
pub const GROUP: GroupId = GroupId(1);

/// One record with its padding.
#[derive(Debug)]
pub struct Entry {
    pub raw: Vec<u8>,
    pub term: Term,
    pub crc: u32,
    pub kind: EntryKind,
}

impl Entry {
    pub fn payload(&self) -> &[u8] {
        Record::parse(&self.raw).expect("written here").0.payload()
    }
}

/// What a disk holds of a group: the log and the hard state.
#[derive(Clone, Debug)]
pub struct Image {
    pub first: u64,
    pub before: (Term, u32),
    pub entries: Vec<Rc<Entry>>,
    /// Entries whose bytes are lost.
    pub lost: BTreeSet<u64>,
    pub hard_state: HardState,
}

impl Image {
    pub fn empty() -> Image {
        Image {
            first: 1,
            before: (Term(0), 0),
            entries: Vec::new(),
            lost: BTreeSet::new(),
            hard_state: HardState::default(),
        }
    }

    pub fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }

    pub fn entry(&self, index: u64) -> Option<&Rc<Entry>> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    pub fn term(&self, index: u64) -> Option<Term> {
        if index + 1 == self.first { Some(self.before.0) } else { self.entry(index).map(|entry| entry.term) }
    }

    /// The log restarts behind `(index, term)`; what follows it stays if it belongs there.
    pub fn install(&mut self, index: u64, term: Term, crc: u32) {
        if self.term(index) == Some(term) {
            return self.compact(index);
        }
        (self.first, self.before) = (index + 1, (term, crc));
        self.entries.clear();
        self.lost.clear();
    }

    /// Drops the entries up to `index`.
    pub fn compact(&mut self, index: u64) {
        if index >= self.first {
            let last = self.entry(index).expect("only what is held is dropped");
            self.before = (last.term, last.crc);
            self.entries.drain(..=usize::try_from(index - self.first).unwrap());
            self.first = index + 1;
            self.lost.retain(|lost| *lost > index);
        }
    }
}

/// The log in memory; its open epoch is closed by the test, or now and then in the middle of a step.
pub struct TestLog {
    pub image: Image,
    pub open: u64,
    /// Something was written in the open epoch.
    pub is_written: bool,
    /// Epochs that were closed in the middle of a step, for the test to sync.
    pub closed: Vec<(u64, Image)>,
    /// A full frame is closed once in so many entries; 0 is never.
    pub closes_one_in: u64,
    pub prng: Prng,
    is_truncating: bool,
}

impl TestLog {
    pub fn new(image: Image, open: u64, seed: u64) -> TestLog {
        TestLog {
            image,
            open,
            is_written: false,
            closed: Vec::new(),
            closes_one_in: 0,
            prng: Prng::new(seed),
            is_truncating: false,
        }
    }

    /// Closes the open epoch: what the log is now will be on disk when it is synced.
    pub fn close(&mut self) -> (u64, Image) {
        self.is_written = false;
        self.open += 1;
        (self.open - 1, self.image.clone())
    }

    /// The bytes of entries as they travel.
    pub fn bytes(&self, first: u64, count: u16) -> Vec<u8> {
        assert!(self.image.lost.range(first..first + u64::from(count)).next().is_none(), "a lost entry is sent");
        (first..first + u64::from(count)).flat_map(|i| self.image.entry(i).expect("held").raw.clone()).collect()
    }

    fn push(&mut self, entry: Entry) -> SyncEpoch {
        // A truncation and what replaces it lie in one frame.
        if self.closes_one_in > 0 && !self.is_truncating && self.is_written && self.prng.one_in(self.closes_one_in) {
            let closed = self.close();
            self.closed.push(closed);
        }
        self.is_truncating = false;
        self.is_written = true;
        self.image.entries.push(Rc::new(entry));
        SyncEpoch(self.open)
    }
}

/// A record with its padding.
pub fn entry(kind: EntryKind, index: u64, term: u64, prev_crc: u32, payload: &[u8]) -> Entry {
    let header = RecordHeader {
        kind: RecordKind::Entry,
        flags: kind as u8,
        life: 0,
        group: GROUP,
        prev_crc,
        index: LogIndex(index),
        term: Term(term),
    };
    let mut raw = vec![0; record_space(payload.len())];
    let (_, crc) = write_record(&mut raw, &header, payload);
    Entry { raw, term: Term(term), crc, kind }
}

/// Checks bytes as the codec does.
pub fn records(bytes: &[u8], count: u16, first: u64) -> Records<'_> {
    Records::check_entries(bytes, count, GROUP, LogIndex(first)).expect("the test made sound entries")
}

/// A configuration of these voters.
pub fn voters(ids: &[u64]) -> Config {
    Config::single(&ids.iter().copied().map(base::NodeId).collect::<Vec<_>>())
}

impl Log for TestLog {
    fn first_index(&self) -> LogIndex {
        LogIndex(self.image.first)
    }

    fn last_index(&self) -> LogIndex {
        LogIndex(self.image.last())
    }

    fn term_before_first(&self) -> Term {
        self.image.before.0
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        self.image.term(index.0)
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        if index.0 + 1 == self.image.first {
            Some(self.image.before.1)
        } else {
            self.image.entry(index.0).map(|entry| entry.crc)
        }
    }

    fn fit(&self, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32) {
        let mut bytes = 0;
        for index in first.0..=last.0 {
            let more = self.image.entry(index).expect("held").raw.len() as u32;
            if index > first.0 && bytes + more > bytes_max {
                return (LogIndex(index - 1), bytes);
            }
            bytes += more;
        }
        (last, bytes)
    }

    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch {
        assert_eq!(index, self.last_index().next());
        let prev_crc = self.crc(self.last_index()).unwrap_or(0);
        self.push(entry(kind, index.0, term.0, prev_crc, payload))
    }

    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch {
        let header = record.header();
        assert_eq!(header.index, self.last_index().next());
        let mut raw = record.raw().to_vec();
        raw.resize(record_space(record.payload().len()), 0);
        let kind = record.entry_kind().expect("checked before");
        self.push(Entry { raw, term: header.term, crc: record.crc(), kind })
    }

    fn truncate_from(&mut self, index: LogIndex) {
        assert!(index.0 >= self.image.first && index <= self.last_index(), "nothing to truncate at {index}");
        self.image.entries.truncate(usize::try_from(index.0 - self.image.first).unwrap());
        self.image.lost.retain(|lost| *lost < index.0);
        (self.is_truncating, self.is_written) = (true, true);
    }

    fn first_faulty_above(&self, index: LogIndex) -> Option<LogIndex> {
        self.image.lost.range(index.0 + 1..).next().copied().map(LogIndex)
    }

    fn is_faulty(&self, index: LogIndex) -> bool {
        self.image.lost.contains(&index.0)
    }

    fn rewrite(&mut self, record: Record<'_>) -> SyncEpoch {
        let index = record.header().index.0;
        let held = self.image.entry(index).expect("held");
        assert_eq!((held.term, held.crc), (record.header().term, record.crc()), "another entry {index}");
        assert!(self.image.lost.remove(&index), "entry {index} was not lost");
        self.is_written = true;
        SyncEpoch(self.open)
    }

    fn config_payload(&self, index: LogIndex) -> Option<Vec<u8>> {
        let entry = self.image.entry(index.0).filter(|entry| entry.kind == EntryKind::Config)?;
        if self.is_faulty(index) {
            return None;
        }
        Some(entry.payload().to_vec())
    }
}
