//! Where times go: four histograms for each kind of operation, an interval set of one second and one total.
//!
//! ```text
//! intended ──permit_wait──▶ permit ──sched_lag──▶ sent ──────service──────▶ replied
//!    └───────────────────────────── response ───────────────────────────────┘
//! ```
//! `response = permit_wait + sched_lag + service` holds exactly. Totals hold the operations that were due inside the
//! window; an interval holds those that were answered in its second.

use std::collections::BTreeMap;

use base::{Mono, Span};
use hdrhistogram::Histogram;

use crate::judge::{ErrorKind, ViolationKind};
use crate::op::{OP_KINDS, OpKind};

/// The longest time told apart: 1000 s. What is longer counts as this.
const TIME_MAX_NS: u64 = 1_000_000_000_000;
const DIGITS: u8 = 3;

/// The clocks of an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Clock {
    /// From when it was wanted to its answer: what a user sees.
    Response,
    /// What the bound on operations in flight cost.
    PermitWait,
    /// What the generator itself cost.
    SchedLag,
    /// From the send to the answer.
    Service,
}

impl Clock {
    /// All, in the order of their numbers.
    pub const ALL: [Clock; 4] = [Clock::Response, Clock::PermitWait, Clock::SchedLag, Clock::Service];

    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Clock::Response => "response",
            Clock::PermitWait => "permit_wait",
            Clock::SchedLag => "sched_lag",
            Clock::Service => "service",
        }
    }
}

/// The four times of one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// When the schedule wanted it.
    pub intended: Mono,
    /// When a permit was free for it. Invariant: intended <= permit <= sent <= replied.
    pub permit: Mono,
    /// When it was handed to the network.
    pub sent: Mono,
    /// When its answer had arrived.
    pub replied: Mono,
}

impl Times {
    /// What a clock shows.
    #[must_use]
    pub fn of(&self, clock: Clock) -> Span {
        match clock {
            Clock::Response => self.replied.since(self.intended),
            Clock::PermitWait => self.permit.since(self.intended),
            Clock::SchedLag => self.sent.since(self.permit),
            Clock::Service => self.replied.since(self.sent),
        }
    }
}

/// Histograms of one kind, by clock. Units: nanoseconds.
pub type KindHistograms = [Histogram<u64>; 4];

/// An empty histogram: 1 ns to 1000 s, three digits.
#[must_use]
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_MAX_NS, DIGITS).expect("the bounds are constants that hdrhistogram takes")
}

/// Histograms of all kinds, each made at its first use.
#[derive(Clone, Debug, Default)]
pub struct Histograms {
    kinds: [Option<Box<KindHistograms>>; OP_KINDS],
}

impl Histograms {
    /// Records one operation, a closed loop's response being its service.
    pub fn record(&mut self, kind: OpKind, times: &Times) {
        let set = self.kinds[kind as usize].get_or_insert_with(|| Box::new(std::array::from_fn(|_| new_histogram())));
        for clock in Clock::ALL {
            set[clock as usize].saturating_record(times.of(clock).0);
        }
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: &Histograms) {
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            match (mine, theirs) {
                (_, None) => {}
                (Some(mine), Some(theirs)) => {
                    mine.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| {
                        mine.add(theirs).expect("all histograms have the same bounds");
                    });
                }
                (mine, Some(theirs)) => *mine = Some(theirs.clone()),
            }
        }
    }

    /// Those of one kind, if it occurred.
    #[must_use]
    pub fn of(&self, kind: OpKind) -> Option<&KindHistograms> {
        self.kinds[kind as usize].as_deref()
    }

    /// One clock over all kinds.
    #[must_use]
    pub fn over_all(&self, clock: Clock) -> Histogram<u64> {
        let mut sum = new_histogram();
        for set in self.kinds.iter().flatten() {
            sum.add(&set[clock as usize]).expect("all histograms have the same bounds");
        }
        sum
    }

    /// Operations recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kinds.iter().flatten().map(|set| set[0].len()).sum()
    }
}

/// What happened, beside times.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Operations that were due.
    pub offered: u64,
    /// Operations answered as they must be, races included.
    pub achieved: u64,
    /// Of them, noes that an overlapping operation explains.
    pub raced: u64,
    /// Sent more than a millisecond after they were due.
    pub late: u64,
    /// Dropped because they were too late.
    pub skipped: u64,
    /// Operations that waited for a permit.
    pub waited: u64,
    /// Errors by kind.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Violations by kind.
    pub violations: BTreeMap<ViolationKind, u64>,
    /// Nanoseconds in which the generator did nothing.
    pub idle_ns: u64,
    /// The sum over time of operations in flight, in nanoseconds.
    pub in_flight_ns: u128,
}

impl Counts {
    /// Adds all of another set.
    pub fn add(&mut self, other: &Counts) {
        self.offered += other.offered;
        self.achieved += other.achieved;
        self.raced += other.raced;
        self.late += other.late;
        self.skipped += other.skipped;
        self.waited += other.waited;
        self.idle_ns += other.idle_ns;
        self.in_flight_ns += other.in_flight_ns;
        other.errors.iter().for_each(|(kind, count)| *self.errors.entry(*kind).or_default() += count);
        other.violations.iter().for_each(|(kind, count)| *self.violations.entry(*kind).or_default() += count);
    }

    /// All errors.
    #[must_use]
    pub fn errors_in_all(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// The part of a run that is measured. Units: as the generator's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Its first moment.
    pub from: Mono,
    /// The first moment after it.
    pub until: Mono,
}

impl Window {
    /// None yet.
    pub const NEVER: Window = Window { from: Mono::MAX, until: Mono::MAX };

    /// Whether a time lies in it.
    #[must_use]
    pub fn has(&self, time: Mono) -> bool {
        self.from <= time && time < self.until
    }
}

/// One second, or the whole window.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Times.
    pub histograms: Histograms,
    /// All else.
    pub counts: Counts,
}

/// Times in the order of their answers that are kept, for telling how far apart they must lie to be independent.
const SERIES_MAX: usize = 16_384;
/// A time without a good answer that is kept.
const GAP_MIN: Span = Span::from_ms(20);
/// How many of those.
const GAPS_MAX: usize = 4_096;

/// Records of one generator core.
#[derive(Debug)]
pub struct Recorder {
    window: Window,
    series: Vec<u64>,
    gaps: Vec<Window>,
    /// The last good answer.
    good_at: Option<Mono>,
    /// The second under way.
    pub interval: Record,
    /// The window.
    pub total: Record,
}

impl Default for Recorder {
    fn default() -> Recorder {
        let (series, gaps) = (Vec::with_capacity(SERIES_MAX), Vec::new());
        let window = Window::NEVER;
        Recorder { window, series, gaps, good_at: None, interval: Record::default(), total: Record::default() }
    }
}

impl Recorder {
    /// From now on this is the window. It must not have begun yet.
    pub fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// The window.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// Counts in the interval, and in the window if `at` lies in it.
    pub fn count(&mut self, at: Mono, count: impl Fn(&mut Counts)) {
        count(&mut self.interval.counts);
        if self.window.has(at) {
            count(&mut self.total.counts);
        }
    }

    /// Records the times of an operation that was answered.
    pub fn record(&mut self, kind: OpKind, times: &Times) {
        debug_assert!(times.intended <= times.permit && times.permit <= times.sent && times.sent <= times.replied);
        self.interval.histograms.record(kind, times);
        if self.window.has(times.intended) {
            self.total.histograms.record(kind, times);
            if self.series.len() < SERIES_MAX {
                self.series.push(times.of(Clock::Response).0);
            }
        }
        self.note_good(times.replied);
    }

    fn note_good(&mut self, at: Mono) {
        let before = self.good_at.replace(at).unwrap_or(at);
        if at.since(before) >= GAP_MIN && self.gaps.len() < GAPS_MAX {
            self.gaps.push(Window { from: before, until: at });
        }
    }

    /// The first responses of the window, in the order of their answers. Units: nanoseconds.
    #[must_use]
    pub fn series(&self) -> &[u64] {
        &self.series
    }

    /// Times of 20 ms and more without a good answer, in order, since the first one until `end`.
    #[must_use]
    pub fn gaps(&self, end: Mono) -> Vec<Window> {
        let open = self.good_at.filter(|last| end.since(*last) >= GAP_MIN).map(|from| Window { from, until: end });
        self.gaps.iter().copied().chain(open).collect()
    }

    /// `in_flight` operations were on their way from `from` to `until`, of which the generator was idle for `idle`.
    pub fn pass(&mut self, from: Mono, until: Mono, in_flight: usize, idle: Span) {
        let area = |span: Span| u128::from(span.0) * in_flight as u128;
        let whole = until.since(from);
        self.interval.counts.in_flight_ns += area(whole);
        self.interval.counts.idle_ns += idle.0.min(whole.0);
        let inside = until.min(self.window.until).since(from.max(self.window.from));
        self.total.counts.in_flight_ns += area(inside);
        self.total.counts.idle_ns += idle.0.min(inside.0);
    }

    /// Ends the interval.
    pub fn take_interval(&mut self) -> Record {
        std::mem::take(&mut self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(base: u64) -> Times {
        Times { intended: Mono(base), permit: Mono(base + 10), sent: Mono(base + 30), replied: Mono(base + 1000) }
    }

    /// R2.
    #[test]
    fn response_is_the_sum_of_its_parts() {
        let mut prng = base::Prng::new(5);
        for _ in 0..10_000 {
            let mut at = [(); 4].map(|()| prng.below(1 << 40));
            at.sort_unstable();
            let [intended, permit, sent, replied] = at.map(Mono);
            let times = Times { intended, permit, sent, replied };
            let parts: u64 = Clock::ALL[1..].iter().map(|clock| times.of(*clock).0).sum();
            assert_eq!(times.of(Clock::Response).0, parts);
        }
    }

    /// R4, A12 row 8: merging is adding.
    #[test]
    fn three_generators_merged_are_one_with_the_same_operations() {
        let mut one = Histograms::default();
        let mut three = vec![Histograms::default(); 3];
        for k in 0..9_000u64 {
            let kind = if k % 5 == 0 { OpKind::Put } else { OpKind::Stat };
            let times = times(base::mix64(k) >> 30);
            one.record(kind, &times);
            three[(k % 3) as usize].record(kind, &times);
        }
        let mut merged = Histograms::default();
        three.iter().for_each(|part| merged.add(part));
        for kind in [OpKind::Put, OpKind::Stat] {
            assert_eq!(merged.of(kind), one.of(kind));
        }
        assert_eq!((merged.count(), merged.of(OpKind::Move)), (9_000, None));
    }

    #[test]
    fn the_window_takes_what_was_due_in_it() {
        let mut recorder = Recorder::default();
        recorder.set_window(Window { from: Mono(100), until: Mono(200) });
        for due in [50, 100, 199, 200] {
            recorder.record(OpKind::Put, &times(due));
            recorder.count(Mono(due), |counts| counts.offered += 1);
        }
        recorder.pass(Mono(50), Mono(150), 4, Span(30));
        assert_eq!((recorder.total.histograms.count(), recorder.total.counts.offered), (2, 2));
        assert_eq!((recorder.total.counts.in_flight_ns, recorder.interval.counts.in_flight_ns), (200, 400));
        assert_eq!(recorder.take_interval().histograms.count(), 4);
        assert_eq!(recorder.interval.histograms.count(), 0);
    }

    #[test]
    fn gaps_lie_between_good_answers_and_at_the_end() {
        let ms = |ms: u64| Mono(ms * 1_000_000);
        let mut recorder = Recorder::default();
        for replied in [100, 105, 200, 210] {
            let at = ms(replied);
            recorder.record(OpKind::Put, &Times { intended: at, permit: at, sent: at, replied: at });
        }
        let gap = |from, until| Window { from: ms(from), until: ms(until) };
        assert_eq!(recorder.gaps(ms(215)), [gap(105, 200)]);
        assert_eq!(recorder.gaps(ms(300)), [gap(105, 200), gap(210, 300)]);
        assert!(recorder.series().is_empty(), "nothing was due inside a window");
    }

    #[test]
    fn three_digits_are_kept_up_to_a_thousand_seconds() {
        let mut histogram = new_histogram();
        for value in [1, 999, 123_456_789, 999_000_000_000] {
            histogram.record(value).unwrap();
            let back = histogram.highest_equivalent(histogram.lowest_equivalent(value));
            assert!(back.abs_diff(value) <= value / 1000, "{value}: {back}");
        }
    }
}
