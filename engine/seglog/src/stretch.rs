//! [`Stretch`]: entries at indexes that follow each other: where each lies, its crc, and the terms of all.

use std::collections::VecDeque;

use base::{LogIndex, Term};

use crate::chunks::Chunks;

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

/// Entries `first..`, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    first: LogIndex,
    locs: Chunks<Loc>,
    /// (first index of the run, term), ascending.
    runs: VecDeque<(LogIndex, Term)>,
}

impl Stretch {
    /// Without entries; the next one is at `first`.
    pub fn at(first: LogIndex) -> Stretch {
        Stretch { first, locs: Chunks::new(), runs: VecDeque::new() }
    }

    /// The first index held, or to be held.
    pub fn first(&self) -> LogIndex {
        self.first
    }

    /// The index behind the last one.
    pub fn end(&self) -> LogIndex {
        LogIndex(self.first.0 + self.locs.len() as u64)
    }

    pub fn is_empty(&self) -> bool {
        self.locs.is_empty()
    }

    pub fn len(&self) -> usize {
        self.locs.len()
    }

    /// In the order of their indexes.
    pub fn locs(&self) -> &Chunks<Loc> {
        &self.locs
    }

    /// (first index of the run, term), ascending.
    pub fn runs(&self) -> impl Iterator<Item = (LogIndex, Term)> {
        self.runs.iter().copied()
    }

    /// The place of an index, be it held or not; `None` before the first one.
    pub fn place(&self, index: LogIndex) -> Option<usize> {
        index.0.checked_sub(self.first.0).map(|at| at as usize)
    }

    pub fn loc(&self, index: LogIndex) -> Option<&Loc> {
        self.locs.get(self.place(index)?)
    }

    pub fn last(&self) -> Option<&Loc> {
        self.locs.back()
    }

    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index < self.first || self.end() <= index {
            return None;
        }
        match self.runs.back() {
            // Most of what is asked for is of the newest term.
            Some((first, term)) if *first <= index => Some(*term),
            _ => Some(self.runs[self.runs.partition_point(|(first, _)| *first <= index) - 1].1),
        }
    }

    pub fn push(&mut self, term: Term, loc: Loc) {
        if self.runs.back().is_none_or(|(_, last)| *last != term) {
            self.runs.push_back((self.end(), term));
        }
        self.locs.push(loc);
    }

    /// Another place for an entry that is held.
    pub fn put(&mut self, index: LogIndex, loc: Loc) {
        let held = self.place(index).and_then(|at| self.locs.get_mut(at));
        *held.expect("only the place of an entry that is held changes") = loc;
    }

    /// Puts all of `next`, which begins where this ends, behind it.
    pub fn append(&mut self, next: Stretch) {
        debug_assert_eq!(next.first, self.end());
        let last = self.runs.back().map(|(_, term)| *term);
        self.runs.extend(next.runs.into_iter().skip_while(|(_, term)| Some(*term) == last));
        self.locs.append(next.locs);
    }

    /// Drops the entries from `from` on.
    pub fn drop_from(&mut self, from: LogIndex) {
        self.locs.truncate(self.place(from).unwrap_or(0));
        while self.runs.back().is_some_and(|(first, _)| *first >= from) {
            self.runs.pop_back();
        }
    }

    /// Drops the entries before `first`, which is where this begins from now on.
    pub fn drop_before(&mut self, first: LogIndex) {
        self.locs.drop_front(self.place(first).unwrap_or(0));
        if self.locs.is_empty() {
            self.runs.clear();
        }
        while self.runs.get(1).is_some_and(|(start, _)| *start <= first) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.0 = run.0.max(first);
        }
        self.first = first;
    }

    /// Drops all entries; the next one is at `first`.
    pub fn clear(&mut self, first: LogIndex) {
        self.locs.clear();
        self.drop_before(first);
    }
}
