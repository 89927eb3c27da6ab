//! Counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the owner did since the start, and what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteStats {
    /// Items now.
    pub items: u64,
    /// Bytes of those items in their segments.
    pub item_bytes: u64,
    /// Bytes of memory in all.
    pub memory_bytes: u64,
    /// Items that were put in.
    pub inserts: u64,
    /// Of those, known by a ghost.
    pub ghost_hits: u64,
    /// Items that were replaced in place or by a new copy.
    pub replaced: u64,
    /// Items that were unlinked because they were no longer true.
    pub invalidated: u64,
    /// Items that had to go for others.
    pub evictions: u64,
    /// Items that were copied on because they had been used.
    pub survivors: u64,
    /// Items that were moved to their other bucket.
    pub displaced: u64,
    /// Items that found no room, or were too large.
    pub refused: u64,
    /// Fills that came too late.
    pub fills_changed: u64,
}

/// What one reader met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadStats {
    /// Answers.
    pub hits: u64,
    /// Nothing was there.
    pub misses: u64,
    /// The group may not answer here.
    pub not_here: u64,
}

/// Counts of one reader, which one core writes.
#[derive(Debug, Default)]
pub(crate) struct ReadCounts {
    pub hits: Count,
    pub misses: Count,
    pub not_here: Count,
}

/// Not added to atomically: it has one writer, and costs it no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Counts one more; the count before.
    pub fn one(&self) -> u64 {
        let count = self.0.load(Relaxed);
        self.0.store(count + 1, Relaxed);
        count
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
