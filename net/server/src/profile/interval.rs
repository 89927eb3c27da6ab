//! What a core counts in one second; filled by the core alone, handed over whole, given back empty.

use base::histogram::Histogram;
use base::mono::Span;
use base::stages::{Lengths, OP_CLASSES, OpClass, STAGES, Stage};
use shard::{QuorumCounts, Timing};
use wire::CoreCounters;

use super::Near;

/// How long one lasts.
pub const EVERY: Span = Span::from_ms(1000);
/// The place of the total behind those of the stages.
pub const TOTAL: usize = STAGES;
/// Slowest requests kept of each class.
const SLOW_MAX: usize = 16;

/// One of the slowest requests of its class and second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slow {
    /// Where its time went.
    pub lengths: Lengths,
    /// What it was part of.
    pub timing: Timing,
    /// Requests that took exactly this.
    pub count: u32,
}

/// What a core has counted since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Turns, requests, syncs and so on.
    pub counters: CoreCounters,
    /// Who completed quorums.
    pub quorums: QuorumCounts,
    /// Replies that never left.
    pub replies_lost: u64,
}

/// One second of one core.
#[derive(Default)]
pub struct Interval {
    /// By class: the stages and the total, each made when it is first used.
    histograms: [[Option<Box<Histogram>>; STAGES + 1]; OP_CLASSES],
    nears: [Option<Box<Near>>; OP_CLASSES],
    slow: [Vec<Slow>; OP_CLASSES],
    /// By class, once its list is full: the least total in it, which one that is not slow does not exceed. Else 0.
    slow_least: [u32; OP_CLASSES],
    /// At the end of it.
    pub counts: Counts,
}

impl Interval {
    /// Requests of a class have left: what each of them has of its own.
    /// True when they are among the slowest so far.
    pub(super) fn record_sent(&mut self, class: OpClass, lengths: &Lengths, timing: &Timing, count: u32) -> bool {
        self.record(class, Stage::Send as usize, lengths.of[Stage::Send as usize], count);
        self.record(class, TOTAL, lengths.total, count);
        self.nears[class as usize].get_or_insert_default().offer(lengths, count);
        let slow = &mut self.slow[class as usize];
        if slow.len() == SLOW_MAX && lengths.total <= self.slow_least[class as usize] {
            return false;
        }
        if slow.len() == SLOW_MAX {
            let least = slow.iter().enumerate().min_by_key(|(_, slow)| slow.lengths.total).map_or(0, |(at, _)| at);
            slow.swap_remove(least);
        }
        slow.reserve_exact(SLOW_MAX - slow.len());
        slow.push(Slow { lengths: *lengths, timing: *timing, count });
        if slow.len() == SLOW_MAX {
            self.slow_least[class as usize] = slow.iter().map(|slow| slow.lengths.total).min().unwrap_or(0);
        }
        true
    }

    /// The stages before the send, of all requests of a class that shared them.
    pub(super) fn record_stages(&mut self, class: OpClass, lengths: &Lengths, order: &[Stage], count: u32) {
        for stage in order.iter().filter(|stage| **stage != Stage::Send) {
            self.record(class, *stage as usize, lengths.of[*stage as usize], count);
        }
    }

    fn record(&mut self, class: OpClass, place: usize, ns: u32, count: u32) {
        self.histograms[class as usize][place].get_or_insert_default().record_n(u64::from(ns), count);
    }

    /// The histogram of a class and a stage, or of the total at [`TOTAL`], if anything was counted.
    #[must_use]
    pub fn histogram(&self, class: OpClass, place: usize) -> Option<&Histogram> {
        self.histograms[class as usize][place].as_deref().filter(|histogram| histogram.count() > 0)
    }

    /// The samples of a class.
    #[must_use]
    pub fn near(&self, class: OpClass) -> Option<&Near> {
        self.nears[class as usize].as_deref()
    }

    /// The slowest of a class, in no order.
    #[must_use]
    pub fn slow(&self, class: OpClass) -> &[Slow] {
        &self.slow[class as usize]
    }

    /// Counts nothing any more; the memory is kept.
    pub(super) fn clear(&mut self) {
        self.histograms
            .iter_mut()
            .flatten()
            .flatten()
            .filter(|histogram| histogram.count() > 0)
            .for_each(|h| h.clear());
        self.nears.iter_mut().flatten().for_each(|near| near.clear());
        self.slow.iter_mut().for_each(Vec::clear);
        self.slow_least = [0; OP_CLASSES];
        self.counts = Counts::default();
    }
}
