//! Which rows the last memtables had, in bits: a row that none of them had costs a line of memory or two, and not a way down
//! the tree of each and a look at the filter of each table that they became.
//!
//! ```text
//! memtables, the newest first:   active  frozen  frozen | tables of level 0 ...               | tables that were found
//! filters:                      |------- 17 -------|------------ 16 ------------|--- 15 ---|  | those of the crate
//! ```
//!
//! A filter takes the rows of so many memtables in a row, and goes when none of them, nor a table that one became, is left.
//! It is a blocked Bloom filter: all bits of a row lie in one line of the processor's caches.
//! Source: Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::key::GroupLife;

/// Memtables of a filter: as many as are merged at a time when they are tables of level 0.
const MEMTABLES: u64 = 8;
/// Bytes of memtables for which a filter has a line. Rows take some 150 of them with their place in a tree, so each has 19
/// bits, and one question in hundreds is answered wrong; then the tables' own filters are asked.
const BYTES_PER_LINE: usize = 4096;
/// Words of a line: 64 bytes.
const WORDS: usize = 8;
/// Bits of a row in its line.
const BITS: u32 = 5;
/// Bits that choose one of a line's.
const CHOICE: u32 = (WORDS * 64).ilog2();

/// The hash of a row's group, life and key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RowHash(pub(crate) u64);

/// Makes hashes, the same for all of a store. Its seed is secret, so that nobody can choose names that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowHasher {
    seed: u64,
}

impl RowHasher {
    pub(crate) fn new() -> RowHasher {
        RowHasher { seed: RandomState::new().hash_one(0) }
    }

    pub(crate) fn hash(self, (group, life): GroupLife, key: &[u8]) -> RowHash {
        RowHash(xxh3_64_with_seed(key, self.seed ^ (u64::from(group.0) << 16 | u64::from(life))))
    }
}

/// Which filter knows the rows of a memtable, and of the table that it becomes.
pub(crate) type FilterNumber = u64;

/// The filters of a store.
pub(crate) struct RowFilters {
    bytes_each: usize,
    /// Number of the first.
    first: FilterNumber,
    /// Oldest first, without gaps. The last takes rows.
    filters: VecDeque<RowFilter>,
    /// Memtables of the last.
    memtables: u64,
}

/// What the filters say of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    first: FilterNumber,
    /// By filter, from the first on: it may know the row.
    may_have: u64,
}

impl RowFilters {
    /// For memtables of so many bytes, the first of which begins now.
    pub(crate) fn new(memtable_bytes: usize) -> RowFilters {
        let bytes_each = memtable_bytes * MEMTABLES as usize;
        RowFilters { bytes_each, first: 0, filters: VecDeque::from([RowFilter::new(bytes_each)]), memtables: 1 }
    }

    /// That of the memtable that takes rows.
    pub(crate) fn newest(&self) -> FilterNumber {
        self.first + self.filters.len() as u64 - 1
    }

    /// Another memtable takes rows from now on; returns its filter.
    pub(crate) fn next_memtable(&mut self) -> FilterNumber {
        // With as many as can be told of, the last one goes on: it errs more often.
        if self.memtables >= MEMTABLES && self.filters.len() < u64::BITS as usize {
            self.filters.push_back(RowFilter::new(self.bytes_each));
            self.memtables = 0;
        }
        self.memtables += 1;
        self.newest()
    }

    /// The row is in the memtable that takes rows.
    pub(crate) fn insert(&mut self, hash: RowHash) {
        if let Some(newest) = self.filters.back_mut() {
            newest.insert(hash);
        }
    }

    /// Which memtables and tables may have the row.
    pub(crate) fn ask(&self, hash: RowHash) -> Told {
        let bit = |(at, filter): (usize, &RowFilter)| u64::from(filter.may_have(hash)) << at;
        Told { first: self.first, may_have: self.filters.iter().enumerate().map(bit).sum() }
    }

    /// Nobody asks those before `oldest` any more.
    pub(crate) fn forget_before(&mut self, oldest: FilterNumber) {
        while self.first < oldest.min(self.newest()) {
            self.filters.pop_front();
            self.first += 1;
        }
    }
}

impl Told {
    /// False: nothing of this filter has the row.
    pub(crate) fn may_have(self, filter: FilterNumber) -> bool {
        filter.checked_sub(self.first).is_none_or(|at| at >= u64::from(u64::BITS) || self.may_have >> at & 1 == 1)
    }
}

/// Says of a row that it may be there, or that it is not.
struct RowFilter {
    lines: Vec<[u64; WORDS]>,
}

impl RowFilter {
    /// An empty one, for so many bytes of memtables; the system clears its memory where it is first touched.
    fn new(bytes: usize) -> RowFilter {
        RowFilter { lines: vec![[0; WORDS]; (bytes / BYTES_PER_LINE).max(1)] }
    }

    fn insert(&mut self, hash: RowHash) {
        let at = self.line(hash);
        for (word, bit) in bits(hash) {
            self.lines[at][word] |= bit;
        }
    }

    fn may_have(&self, hash: RowHash) -> bool {
        let line = &self.lines[self.line(hash)];
        // All bits are asked for: that costs less than to guess where to stop.
        bits(hash).fold(true, |has, (word, bit)| has & (line[word] & bit != 0))
    }

    fn line(&self, RowHash(hash): RowHash) -> usize {
        (((hash >> 32) * self.lines.len() as u64) >> 32) as usize
    }
}

/// Word and bit of each of a row's bits.
fn bits(RowHash(hash): RowHash) -> impl Iterator<Item = (usize, u64)> {
    (0..BITS).map(move |at| {
        let choice = hash >> (at * CHOICE) & ((1 << CHOICE) - 1);
        ((choice / 64) as usize, 1 << (choice % 64))
    })
}

#[cfg(test)]
mod tests {
    use base::GroupId;

    use super::*;

    #[test]
    fn rows_that_are_there_are_told_and_few_others() {
        let hasher = RowHasher::new();
        let rows = 30_000;
        let mut filter = RowFilter::new(rows as usize * 150);
        let hash = |number: u64| hasher.hash((GroupId(number as u32 % 3), 1), &number.to_be_bytes());
        (0..rows).for_each(|number| filter.insert(hash(number)));
        assert!((0..rows).all(|number| filter.may_have(hash(number))));
        let wrong = (rows..11 * rows).filter(|number| filter.may_have(hash(*number))).count() as u64;
        assert!(wrong * 200 < 10 * rows, "{wrong} of {} rows that are not there", 10 * rows);
    }

    #[test]
    fn a_row_is_one_of_its_group_and_life() {
        let (hasher, mut filter) = (RowHasher::new(), RowFilter::new(1 << 20));
        filter.insert(hasher.hash((GroupId(1), 1), b"key"));
        assert!(!filter.may_have(hasher.hash((GroupId(1), 2), b"key")));
        assert!(!filter.may_have(hasher.hash((GroupId(2), 1), b"key")));
        assert!(RowFilter::new(0).lines.len() == 1, "the least memtable has a filter too");
    }

    #[test]
    fn each_memtable_is_told_of_until_nobody_asks_for_it() {
        let (hasher, mut filters) = (RowHasher::new(), RowFilters::new(1 << 20));
        let hash = |number: u64| hasher.hash((GroupId(1), 1), &number.to_be_bytes());
        // A row each, of many memtables.
        let mut of = vec![filters.newest()];
        filters.insert(hash(0));
        for number in 1..40 * MEMTABLES {
            of.push(filters.next_memtable());
            filters.insert(hash(number));
        }
        assert_eq!((of[0], of[MEMTABLES as usize - 1], of[MEMTABLES as usize]), (0, 0, 1));
        let told = |filters: &RowFilters, number: u64| filters.ask(hash(number)).may_have(of[number as usize]);
        assert!((0..40 * MEMTABLES).all(|number| told(&filters, number)));
        let wrong = (0..1000).filter(|number| (0..40).any(|at| filters.ask(hash(10_000 + number)).may_have(at)));
        assert!(wrong.count() < 20);
        filters.forget_before(17);
        assert!((0..40 * MEMTABLES).all(|number| told(&filters, number)), "of what is forgotten nothing is denied");
        assert_eq!((filters.first, filters.newest()), (17, 39));
        filters.forget_before(u64::MAX);
        assert_eq!((filters.first, filters.newest()), (39, 39), "the one that takes rows stays");
    }

    #[test]
    fn more_memtables_than_can_be_told_of_share_the_last_filter() {
        let (hasher, mut filters) = (RowHasher::new(), RowFilters::new(1 << 16));
        for _ in 0..100 * MEMTABLES {
            filters.next_memtable();
        }
        let hash = hasher.hash((GroupId(1), 1), b"key");
        filters.insert(hash);
        assert_eq!(filters.newest(), 63);
        assert!(filters.ask(hash).may_have(63) && !filters.ask(hash).may_have(62));
    }
}
