//! Warm-up, window and what comes of them: adds up what the cores report, second by second, and decides when to measure.

use base::{Mono, Span};

use crate::recorder::{Clock, Record, Window};
use crate::run::{CoreResult, INTERVAL, Orders, Report, Sample};
use crate::stats;
use crate::steady::is_steady;
use crate::stream::StreamHash;
use crate::verdict::busy_of;

/// How long the phases last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhaseSettings {
    /// The measured window.
    pub duration: Span,
    /// The shortest warm-up.
    pub warmup_min: Span,
    /// The longest.
    pub warmup_max: Span,
    /// False: the window begins after the shortest warm-up, whatever was seen.
    pub waits_for_steady: bool,
    /// True: the window is all of a stream that ends, from its first operation to its last answer, and the times above
    /// do not matter.
    pub is_whole: bool,
}

/// A stream that is measured as a whole ends before: 30 days.
const WHOLE_MAX: Span = Span::from_ms(30 * 86_400_000);

/// A second over all cores. Latencies are of responses, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Second {
    /// Which one since the start, from 0.
    pub second: u64,
    /// It lies in the window.
    pub is_measured: bool,
    /// Operations that became due in it, as far as they were looked at.
    pub offered: u64,
    /// Operations answered in it.
    pub achieved: u64,
    /// Errors in it.
    pub errors: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// 99th percentile of what the generator itself was late.
    pub lag99_ns: u64,
    /// Operations on their way at its end.
    pub in_flight: usize,
    /// The busiest generator core, as a part of 1.
    pub busy: f64,
}

#[derive(Debug, Default)]
struct Partial {
    record: Record,
    reports: u32,
    in_flight: usize,
    busy: f64,
    /// The last answer of the cores that are over, and how many those are.
    over: (Mono, u32),
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The window, over all cores.
    pub total: Record,
    /// Every second, in order.
    pub seconds: Vec<Second>,
    /// What was measured.
    pub window: Window,
    /// Seconds of it that have passed; fewer than asked for after an interrupt.
    pub measured_s: f64,
    /// The second after which all was steady; `None` if that never was, or was not asked for.
    pub steady_at: Option<u64>,
    /// Steady, or not asked for.
    pub is_steady: bool,
    /// The busiest second of a core in the window.
    pub busy_max: f64,
    /// Operations that were due and never sent.
    pub unsent: u64,
    /// Operations that were sent and never answered.
    pub unanswered: u64,
    /// Operations of the schedule passed.
    pub index: u64,
    /// Of the stream.
    pub hash: StreamHash,
    /// It was cut short.
    pub is_interrupted: bool,
    /// Operations whose times the target explained, of all cores.
    pub samples: Vec<Sample>,
    /// Every so many-th response counts as independent of those before.
    pub thinning_lag: usize,
    /// Times in which no core had a good answer, in order.
    pub gaps: Vec<Window>,
    /// When the schedule began.
    pub start: Mono,
    /// Of each core, when each of its operations was due, if that was kept. Units: nanoseconds since the start.
    pub times: Vec<Vec<u64>>,
}

/// Adds up and decides.
#[derive(Debug)]
pub struct Coordinator {
    settings: PhaseSettings,
    start: Mono,
    cores: u32,
    partial: std::collections::BTreeMap<u64, Partial>,
    seconds: Vec<Second>,
    window: Window,
    steady_at: Option<u64>,
    is_steady: bool,
    /// The last whole second, until it is taken.
    whole: Option<(Second, Record)>,
}

impl Coordinator {
    /// One for so many generator cores, whose schedule begins at `start`.
    #[must_use]
    pub fn new(settings: PhaseSettings, start: Mono, cores: u32) -> Coordinator {
        Coordinator {
            settings,
            start,
            cores,
            partial: std::collections::BTreeMap::new(),
            seconds: Vec::new(),
            window: if settings.is_whole { whole_of(start) } else { Window::NEVER },
            steady_at: None,
            is_steady: !settings.waits_for_steady || settings.is_whole,
            whole: None,
        }
    }

    /// Takes a core's second in. Returns the second over all cores, once it is whole.
    pub fn handle_report(&mut self, report: &Report) -> Option<Second> {
        let partial = self.partial.entry(report.second).or_default();
        partial.record.histograms.add(&report.record.histograms);
        partial.record.counts.add(&report.record.counts);
        partial.reports += 1;
        partial.in_flight += report.in_flight;
        partial.busy = partial.busy.max(busy_of(&report.record));
        if let Some(at) = report.over_at
            && self.settings.is_whole
        {
            partial.over.0 = partial.over.0.max(at);
            partial.over.1 += 1;
        }
        if partial.reports < self.cores {
            return None;
        }
        let whole = self.partial.remove(&report.second).expect("it was just added to");
        if whole.over.1 == self.cores && self.window == whole_of(self.start) {
            // An answer at its last moment counts.
            self.window.until = whole.over.0 + Span(1);
        }
        let second = self.second_of(report.second, &whole);
        self.seconds.push(second);
        self.whole = Some((second, whole.record));
        self.decide(report.second);
        Some(second)
    }

    /// The second that was whole last and what was recorded in it; each is given once.
    pub fn take_whole(&mut self) -> Option<(Second, Record)> {
        self.whole.take()
    }

    /// What the cores are told.
    #[must_use]
    pub fn orders(&self) -> Orders {
        Orders { window: (self.window != Window::NEVER).then_some(self.window) }
    }

    /// Seconds so far.
    #[must_use]
    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// Joins the cores' ends.
    #[must_use]
    pub fn finish(self, results: Vec<CoreResult>, now: Mono) -> (Outcome, Vec<crate::generator::Ack>) {
        let mut outcome = Outcome {
            total: Record::default(),
            window: self.window,
            measured_s: self.window.until.min(now).since(self.window.from).0 as f64 / 1e9,
            steady_at: self.steady_at,
            is_steady: self.is_steady,
            busy_max: 0.0,
            seconds: self.seconds,
            unsent: 0,
            unanswered: 0,
            index: 0,
            hash: StreamHash::default(),
            is_interrupted: false,
            samples: Vec::new(),
            thinning_lag: 1,
            gaps: Vec::new(),
            start: self.start,
            times: Vec::new(),
        };
        outcome.gaps = common(results.iter().map(|result| result.gaps.as_slice()));
        outcome.thinning_lag = thinning_lag(&results);
        let measured = outcome.seconds.iter().filter(|second| second.is_measured);
        outcome.busy_max = measured.map(|second| second.busy).fold(0.0, f64::max);
        let mut acks = Vec::new();
        for result in results {
            outcome.total.histograms.add(&result.total.histograms);
            outcome.total.counts.add(&result.total.counts);
            outcome.unsent += result.unsent;
            outcome.unanswered += result.unanswered;
            outcome.index = outcome.index.max(result.index);
            outcome.hash = outcome.hash.join(result.hash);
            outcome.is_interrupted |= result.is_interrupted;
            outcome.samples.extend(result.samples);
            acks.extend(result.acks);
            outcome.times.push(result.times);
        }
        (outcome, acks)
    }

    fn second_of(&self, second: u64, whole: &Partial) -> Second {
        let response = whole.record.histograms.over_all(Clock::Response);
        let lag = whole.record.histograms.over_all(Clock::SchedLag);
        let counts = &whole.record.counts;
        let from = self.start + Span(second * INTERVAL.0);
        Second {
            second,
            is_measured: self.window.has(from) && from + INTERVAL <= self.window.until,
            offered: counts.offered,
            achieved: counts.achieved,
            errors: counts.errors_in_all(),
            p50_ns: response.value_at_quantile(0.5),
            p99_ns: response.value_at_quantile(0.99),
            p999_ns: response.value_at_quantile(0.999),
            max_ns: response.max(),
            lag99_ns: lag.value_at_quantile(0.99),
            in_flight: whole.in_flight,
            busy: whole.busy,
        }
    }

    /// The window begins a whole second after the decision, so that every core hears of it before.
    fn decide(&mut self, second: u64) {
        if self.window != Window::NEVER {
            return;
        }
        let passed = Span((second + 1) * INTERVAL.0);
        let rates: Vec<f64> = self.seconds.iter().map(|second| second.achieved as f64).collect();
        let p99s: Vec<f64> = self.seconds.iter().map(|second| second.p99_ns as f64).collect();
        let may_begin = passed.0 + INTERVAL.0 >= self.settings.warmup_min.0;
        let is_steady = self.settings.waits_for_steady && is_steady(&rates, &p99s);
        if is_steady && may_begin {
            (self.steady_at, self.is_steady) = (Some(second), true);
        }
        let is_over = passed.0 + INTERVAL.0 >= self.settings.warmup_max.0;
        if may_begin && (is_steady || !self.settings.waits_for_steady) || is_over {
            let from = self.start + passed + INTERVAL;
            self.window = Window { from, until: from + self.settings.duration };
        }
    }
}

/// The window of a stream that ends, before that is seen.
fn whole_of(start: Mono) -> Window {
    Window { from: start, until: start + WHOLE_MAX }
}

/// The cores' answers come in between each other: what lies `lag` apart in one lies as many times further apart in all.
/// A series that is correlated throughout counts as such.
fn thinning_lag(results: &[CoreResult]) -> usize {
    let of_core = |result: &CoreResult| {
        let series: Vec<f64> = result.series.iter().map(|ns| *ns as f64).collect();
        stats::thinning_lag(&series).unwrap_or((series.len() / 4).max(1))
    };
    results.iter().map(of_core).max().unwrap_or(1) * results.len().max(1)
}

/// The times that lie in a gap of every core.
fn common<'a>(mut gaps: impl Iterator<Item = &'a [Window]>) -> Vec<Window> {
    let first = gaps.next().map(<[Window]>::to_vec).unwrap_or_default();
    gaps.fold(first, |mine, theirs| {
        let parts = mine
            .iter()
            .flat_map(|a| theirs.iter().map(|b| Window { from: a.from.max(b.from), until: a.until.min(b.until) }));
        parts.filter(|part| part.from < part.until).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_all_is_where_the_gaps_of_each_meet() {
        let gap = |from, until| Window { from: Mono(from), until: Mono(until) };
        let (one, other) = (vec![gap(10, 50), gap(80, 90)], vec![gap(0, 20), gap(40, 85)]);
        assert_eq!(common([&*one, &*other].into_iter()), [gap(10, 20), gap(40, 50), gap(80, 85)]);
        assert_eq!(common([&*one].into_iter()), one);
        assert_eq!(common(std::iter::empty()), []);
    }
}
