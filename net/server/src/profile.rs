//! The latency profile of one core: each answered request's stages, counted once it has left.
//!
//! ```text
//!  shard's Timing ──reply──▶ pending place ──mark on the connection──▶ send completes ──▶ interval ──second──▶ metrics thread
//! ```
//! Always on. A turn takes six stamps; a command costs one mark and two records, what it shares with the others of its
//! entry is recorded once for all. Nothing is allocated in steady state: places, intervals and histograms are kept.
//! Source: docs/design/profile.md.

mod interval;
mod near;
mod totals;
mod wide;

use base::stages::{Lengths, ON, OP_CLASSES, OpClass, Stage, Stamp};
use base::{CoreId, GroupId, Mono, NodeId};
use reactor::clock::StampClock;
use reactor::flight::{EventKind, Flight};
use reactor::probes;
use shard::Timing;
use transport::Mark;
use wire::{Explanation, StageTime, explain};

pub use interval::{Counts, Interval, Slow, TOTAL};
pub use near::Near;
pub use totals::{Feed, Totals, Watch};
pub use wide::Wide;

/// Places begun with; more are made while more answers wait to leave.
const PLACES: usize = 256;
/// One request of so many is recorded in the flight ring.
const SAMPLE_EVERY: u32 = 1024;

/// An answered request, or all of an entry, until the last reply has left.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    timing: Timing,
    /// Up to the reply. Units: nanoseconds.
    lengths: Lengths,
    /// Replies that have not left.
    waiting: u32,
    /// Of those that have, by class.
    sent: [u32; OP_CLASSES],
}

/// The profile of one core.
pub struct CoreProfile {
    clock: StampClock,
    /// When the turn began.
    begun: Stamp,
    last: Stamp,
    places: Vec<Place>,
    free: Vec<u32>,
    /// By the turn's timings: the place, once a reply wants one.
    turn: Vec<Option<u32>>,
    interval: Box<Interval>,
    feed: Feed,
    next_swap: Mono,
    /// Replies that never left: their connection closed first.
    lost: u64,
    flight: Option<Flight>,
    /// Requests until the next one of the sample is recorded.
    until_sample: u32,
}

impl CoreProfile {
    /// Nothing seen yet. `clock` was calibrated once for the process; `feed` takes the intervals.
    #[must_use]
    pub fn new(clock: StampClock, feed: Feed, now: Mono) -> CoreProfile {
        CoreProfile {
            clock,
            begun: Stamp::default(),
            last: Stamp::default(),
            places: Vec::with_capacity(PLACES),
            free: Vec::with_capacity(PLACES),
            turn: Vec::new(),
            interval: Box::default(),
            feed,
            next_swap: now + interval::EVERY,
            lost: 0,
            flight: None,
            until_sample: SAMPLE_EVERY,
        }
    }

    /// Records into this ring from now on.
    #[must_use]
    pub fn with_flight(mut self, flight: Option<Flight>, incarnation: u64) -> CoreProfile {
        self.flight = flight;
        let now = self.clock.stamp();
        if let Some(flight) = &mut self.flight {
            flight.record(now, EventKind::Boot, 0, GroupId(0), incarnation);
        }
        self
    }

    /// When the turn began.
    #[must_use]
    pub fn begun(&self) -> Stamp {
        self.begun
    }

    /// The last border.
    #[must_use]
    pub fn last(&self) -> Stamp {
        self.last
    }

    /// A turn that had work is over.
    pub fn end_turn(&mut self, core: CoreId, requests: u64) {
        let ticks = self.last.ticks() - self.begun.ticks();
        probes::turn(core.0, requests, self.clock.ns(self.last.units_since(self.begun)));
        if let Some(flight) = &mut self.flight {
            flight.record(self.begun, EventKind::Turn, requests, GroupId(0), ticks);
        }
    }

    /// A durable write that was handed out then has ended; it was reaped in this turn.
    pub fn note_sync(&mut self, core: CoreId, since: Stamp) {
        probes::sync(core.0, self.clock.ns(self.begun.units_since(since)));
        if let Some(flight) = &mut self.flight {
            let ticks = self.begun.ticks().saturating_sub(since.ticks());
            flight.record(since, EventKind::Sync, 0, GroupId(0), ticks);
        }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self) -> Stamp {
        self.begun = self.clock.stamp();
        self.last = self.begun;
        self.begun
    }

    /// A border that any clock is read at.
    pub fn stamp(&mut self) -> Stamp {
        self.last = self.clock.stamp();
        self.last
    }

    /// A border that only a cheap clock is read at.
    pub fn stamp_if_cheap(&mut self) -> Stamp {
        self.last = self.clock.stamp_or(self.last);
        self.last
    }

    /// The replies of a turn are about to be written: these are their times so far.
    pub fn begin_replies(&mut self, timings: usize) {
        self.turn.clear();
        self.turn.resize(timings, None);
    }

    /// A reply that shares timing number `at`; returns the name for the mark on its connection.
    pub fn name(&mut self, at: u32, class: OpClass, timing: &Timing) -> u64 {
        let place = match self.turn[at as usize] {
            Some(place) => place,
            None => {
                let place = self.begin_place(timing);
                self.turn[at as usize] = Some(place);
                place
            }
        };
        self.name_of(place, class)
    }

    /// As [`CoreProfile::name`], of a reply that another core sent with its time. Those that come in a row and have all
    /// stages in common are counted together.
    pub fn name_forwarded(&mut self, class: OpClass, timing: &Timing) -> u64 {
        let last = self.turn.last().copied().flatten();
        let place = match last.filter(|place| self.places[*place as usize].timing == *timing) {
            Some(place) => place,
            None => {
                let place = self.begin_place(timing);
                self.turn.push(Some(place));
                place
            }
        };
        self.name_of(place, class)
    }

    /// A reply was lost outside of any connection's buffer: its connection had closed before it came.
    pub fn note_lost(&mut self) {
        self.lost += 1;
    }

    fn begin_place(&mut self, timing: &Timing) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        self.places[place as usize] = Place { timing: *timing, ..Place::default() };
        place
    }

    fn name_of(&mut self, place: u32, class: OpClass) -> u64 {
        self.places[place as usize].waiting += 1;
        u64::from(place) << 8 | u64::from(class as u8)
    }

    /// The replies of the turn are written.
    pub fn end_replies(&mut self) -> Stamp {
        let now = self.stamp();
        for place in self.turn.drain(..).flatten() {
            let place = &mut self.places[place as usize];
            place.timing.slot.mark(Stage::Reply, now);
            let order = order_of(&place.timing);
            place.lengths = place.timing.slot.lengths_ns(order, |units| self.clock.ns(units));
        }
        now
    }

    /// Replies have left, in a send whose completion was reaped in this turn, or never will.
    pub fn handle_mark(&mut self, mark: Mark, has_left: bool) {
        let at = (mark.name >> 8) as u32;
        let class = OpClass::from_u8(mark.name as u8).expect("marks are named by `name`");
        let place = &mut self.places[at as usize];
        if has_left {
            let total = self.clock.ns(self.begun.units_since(place.timing.slot.begin()));
            let mut lengths = place.lengths;
            let total = u32::try_from(total).unwrap_or(u32::MAX).max(lengths.total);
            lengths.of[Stage::Send as usize] = total - lengths.total;
            lengths.total = total;
            place.sent[class as usize] += mark.count;
            let is_slow = self.interval.record_sent(class, &lengths, &place.timing, mark.count);
            let is_sampled = mark.count >= self.until_sample;
            self.until_sample = if is_sampled { SAMPLE_EVERY } else { self.until_sample - mark.count };
            probes::request_done(place.timing.index.0, class as u8, u64::from(total));
            if let Some(flight) = self.flight.as_mut().filter(|_| is_slow || is_sampled) {
                let Timing { slot, group, index, .. } = place.timing;
                let ticks = self.begun.ticks().saturating_sub(slot.begin().ticks()) & ((1 << 56) - 1);
                flight.record(slot.begin(), EventKind::Request, index.0, group, u64::from(class as u8) << 56 | ticks);
            }
        } else {
            self.lost += u64::from(mark.count);
        }
        place.waiting -= mark.count;
        if place.waiting == 0 {
            let place = &self.places[at as usize];
            for (class, count) in OpClass::ALL.into_iter().zip(place.sent).filter(|(_, count)| *count > 0) {
                self.interval.record_stages(class, &place.lengths, order_of(&place.timing), count);
            }
            self.free.push(at);
        }
    }

    /// What a request whose reply is being written has to tell. `core` and `node` are this one's.
    #[must_use]
    pub fn explain(&self, class: OpClass, timing: &Timing, core: CoreId, node: NodeId) -> Explanation {
        let order = order_of(timing);
        let lengths = timing.slot.lengths_ns(order, |units| self.clock.ns(units));
        let stages = order.iter().map(|stage| StageTime { stage: *stage, ns: lengths.of[*stage as usize] });
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Explanation {
            class,
            flags: flag(timing.slot.is_committed_before_sync(), explain::COMMITTED_BEFORE_SYNC)
                | flag(timing.is_cold, explain::ROWS_FETCHED),
            core,
            commands: timing.commands,
            group: timing.group,
            node,
            closed_by: timing.closed_by,
            index: timing.index,
            stages: stages.filter(|time| !matches!(time.stage, Stage::Send)).collect(),
        }
    }

    /// Ends a second: hands the interval over and goes on in an empty one. Called in every turn.
    pub fn advance(&mut self, now: Mono, counts: impl FnOnce() -> interval::Counts) {
        if now < self.next_swap || !ON {
            return;
        }
        self.next_swap = now + interval::EVERY;
        if let Some(ppm) = self.clock.refine(now) {
            tracing::warn!(ppm, "the processor's counter changed its rate; the latency profile keeps the old one");
        }
        if let Some(flight) = &mut self.flight {
            flight.set_clock(&self.clock);
        }
        // None is back: the metrics thread is behind, and this interval lasts longer.
        let Some(empty) = self.feed.spare() else { return };
        self.interval.counts = counts();
        self.interval.counts.replies_lost = self.lost;
        let full = std::mem::replace(&mut self.interval, empty);
        if let Err(back) = self.feed.send(full) {
            self.interval = back;
        }
    }
}

/// The order of the stages: a write was proposed.
fn order_of(timing: &Timing) -> &'static [Stage] {
    let class = if timing.slot.has(Stage::Propose) { OpClass::Put } else { OpClass::Get };
    class.stages()
}

#[cfg(test)]
mod tests;
