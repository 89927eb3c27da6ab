//! One group's part of the index: where its entries lie, their terms and crcs, and its state records.

use std::collections::VecDeque;

use base::{GroupId, LogIndex, NodeId, Term};

/// What recovery had to say of a group's last frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Health {
    /// At most a torn tail was cut that nobody can have counted on.
    #[default]
    Clean = 0,
    /// The last frames were cut though they may have been acknowledged: their head was good, their body was not.
    RecoveringHead = 1,
    /// Identities, votes or acknowledged entries are lost.
    Quarantined = 2,
}

impl Health {
    pub(crate) fn from_u8(number: u8) -> Option<Health> {
        [Health::Clean, Health::RecoveringHead, Health::Quarantined].into_iter().find(|health| *health as u8 == number)
    }
}

/// Where an entry's record lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Loc {
    /// The segment's sequence number.
    pub segment: u32,
    /// From segment start, in units of 8 bytes.
    pub offset: u32,
    /// Header and payload, without padding.
    pub bytes: u32,
    pub crc: u32,
}

impl Loc {
    /// Bytes with padding.
    pub fn space(&self) -> u32 {
        self.bytes.next_multiple_of(8)
    }

    pub fn start(&self) -> u32 {
        self.offset * 8
    }
}

/// Segments that hold the newest record of each kind; 0 for none. They pin the oldest segment until copied forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StateAt {
    pub hard_state: u64,
    pub prefix: u64,
    pub checkpoint: u64,
    pub health: u64,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupLog {
    pub group: GroupId,
    /// GROUP_NEW or a snapshot made it; false when only a term or vote is known.
    pub is_begun: bool,
    pub life: u32,
    /// The first index held, or to be held.
    pub first: LogIndex,
    /// Term and crc of the entry at `first - 1`.
    pub before: (Term, u32),
    /// Entries `first..`, in order; their segments never fall.
    pub locs: VecDeque<Loc>,
    /// Terms of the entries held: (first index of the run, term), ascending.
    pub runs: VecDeque<(LogIndex, Term)>,
    /// In force at `first - 1`; opaque.
    pub config: Vec<u8>,
    /// Held entries of kind Config with their payload; few.
    pub configs: Vec<(LogIndex, Vec<u8>)>,
    pub term: Term,
    pub vote: NodeId,
    pub checkpoint: Option<(LogIndex, Term)>,
    pub health: Health,
    pub at: StateAt,
    /// A truncation whose record waits for the entry that replaces it.
    pub truncated_from: Option<LogIndex>,
    /// The footer run being extended: (segment_seq, run, next index, term, life).
    pub footer_run: Option<(u64, u32, LogIndex, Term, u32)>,
}

impl GroupLog {
    pub fn new(group: GroupId) -> GroupLog {
        GroupLog {
            group,
            is_begun: false,
            life: 0,
            first: LogIndex(1),
            before: (Term(0), 0),
            locs: VecDeque::new(),
            runs: VecDeque::new(),
            config: Vec::new(),
            configs: Vec::new(),
            term: Term(0),
            vote: NodeId(0),
            checkpoint: None,
            health: Health::Clean,
            at: StateAt::default(),
            truncated_from: None,
            footer_run: None,
        }
    }

    /// `first - 1` when none is held.
    pub fn last(&self) -> LogIndex {
        LogIndex(self.first.0 + self.locs.len() as u64 - 1)
    }

    pub fn loc(&self, index: LogIndex) -> Option<&Loc> {
        self.locs.get(index.0.checked_sub(self.first.0)? as usize)
    }

    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index.next() == self.first {
            return Some(self.before.0);
        }
        if index < self.first || self.last() < index {
            return None;
        }
        let run = self.runs.partition_point(|(first, _)| *first <= index);
        Some(self.runs[run - 1].1)
    }

    pub fn crc_of(&self, index: LogIndex) -> Option<u32> {
        if index.next() == self.first { Some(self.before.1) } else { self.loc(index).map(|loc| loc.crc) }
    }

    pub fn last_crc(&self) -> u32 {
        self.locs.back().map_or(self.before.1, |loc| loc.crc)
    }

    pub fn push(&mut self, term: Term, loc: Loc) {
        let index = self.last().next();
        if self.runs.back().is_none_or(|(_, last)| *last != term) {
            self.runs.push_back((index, term));
        }
        self.locs.push_back(loc);
    }

    /// Drops the entries from `from` on.
    pub fn drop_suffix(&mut self, from: LogIndex) {
        self.locs.truncate(from.0.saturating_sub(self.first.0) as usize);
        while self.runs.back().is_some_and(|(first, _)| *first >= from) {
            self.runs.pop_back();
        }
        self.configs.retain(|(index, _)| *index < from);
        self.footer_run = None;
    }

    /// Drops the entries before `first` and sets what precedes it.
    pub fn drop_prefix(&mut self, first: LogIndex, before: (Term, u32), config: &[u8]) {
        let dropped = (first.0.saturating_sub(self.first.0) as usize).min(self.locs.len());
        self.locs.drain(..dropped);
        if self.locs.is_empty() {
            self.runs.clear();
        }
        while self.runs.get(1).is_some_and(|(start, _)| *start <= first) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.0 = run.0.max(first);
        }
        self.configs.retain(|(index, _)| *index >= first);
        self.first = first;
        self.before = before;
        self.config.clear();
        self.config.extend_from_slice(config);
    }

    /// Drops all entries; the next one is at `first`.
    pub fn reset(&mut self, life: u32, first: LogIndex, before: (Term, u32), config: &[u8]) {
        self.locs.clear();
        self.life = life;
        self.truncated_from = None;
        self.footer_run = None;
        self.drop_prefix(first, before, config);
    }

    /// Takes a term and vote if they are newer: the highest term wins, in one term a vote over none.
    pub fn merge_state(&mut self, term: Term, vote: NodeId, segment_seq: u64) {
        let is_newer = term > self.term || (term == self.term && (vote == self.vote || self.vote == NodeId(0)));
        if is_newer {
            (self.term, self.vote) = (term, vote);
            self.at.hard_state = self.at.hard_state.max(segment_seq);
        }
    }

    pub fn has_state(&self) -> bool {
        self.term != Term(0) || self.vote != NodeId(0)
    }

    /// The segment of the oldest entry held.
    pub fn oldest_segment(&self) -> Option<u64> {
        self.locs.front().map(|loc| u64::from(loc.segment))
    }
}
