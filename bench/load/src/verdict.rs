//! What a result is worth: VALID, AT-LEAST or INVALID, with the reasons in words and numbers.

use std::fmt;

use crate::recorder::{Clock, Record};
use crate::run::{INTERVAL, Sample};

/// The class of a result, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// The number describes the target.
    Valid,
    /// The target may be better: a rate is a lower bound, a latency an upper one.
    AtLeast,
    /// The number describes nothing.
    Invalid,
}

impl Class {
    /// As it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Class::Valid => "VALID",
            Class::AtLeast => "AT-LEAST",
            Class::Invalid => "INVALID",
        }
    }
}

/// One reason.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reason {
    /// Its name in results.
    pub code: &'static str,
    /// What it makes of a result.
    pub class: Class,
    /// What was seen.
    pub value: f64,
    /// What would have been right.
    pub limit: f64,
    /// In words; `{value}` and `{limit}` stand for the numbers.
    words: &'static str,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: f64| {
            if number == number.trunc() { format!("{number:.0}") } else { format!("{number:.3}") }
        };
        f.write_str(&self.words.replace("{value}", &number(self.value)).replace("{limit}", &number(self.limit)))
    }
}

/// A verdict.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// The worst of the reasons.
    pub class: Class,
    /// All, the worst first.
    pub reasons: Vec<Reason>,
}

/// What the host did meanwhile; `None` is not known.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct HostFacts {
    /// Percent of the processors that another machine had.
    pub steal_percent: Option<f64>,
    /// Percent of the time in which something waited for a processor.
    pub psi_cpu_percent: Option<f64>,
    /// The generator shares processors with the target.
    pub is_shared: bool,
}

/// What a verdict looks at.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The window.
    pub total: &'a Record,
    /// Seconds of the window.
    pub seconds: f64,
    /// Operations per second that were wanted in it; `None` in a closed loop.
    pub offered_rate: Option<f64>,
    /// The busiest second of a generator core, as a part of 1.
    pub busy_max: f64,
    /// The warm-up ended because all was steady, or that was not asked for.
    pub is_steady: bool,
    /// Operations that were due and never sent.
    pub unsent: u64,
    /// Operations that were sent and never answered.
    pub unanswered: u64,
    /// Part of the operations that may fail.
    pub errors_max: f64,
    /// Wrong answers that the checks after the run found.
    pub violations_after: u64,
    /// The host.
    pub host: HostFacts,
}

/// Fewer operations say nothing.
const OPERATIONS_MIN: u64 = 1000;
const BUSY_MAX: f64 = 0.85;
const LAG_PART_MAX: f64 = 0.10;
const LAG_US_MIN: f64 = 20.0;
const ACHIEVED_MIN: f64 = 0.999;
const TICK_PART_MAX: f64 = 0.01;
/// Mean in flight may differ so far from rate times mean service (Little's law).
pub const LITTLE_PART_MAX: f64 = 0.05;
/// Every cause that a verdict may have.
pub const CODES: [&str; 14] = [
    "wrong_answers",
    "too_few",
    "errors",
    "not_steady",
    "not_drained",
    "littles_law",
    "steal",
    "generator_busy",
    "sched_lag",
    "not_achieved",
    "skipped",
    "psi_cpu",
    "tick",
    "unattributed",
];
/// Part of the responses that nobody accounts for, from which a verdict says so.
const UNATTRIBUTED_PART_MAX: f64 = 0.01;
const STEAL_PERCENT_MAX: f64 = 2.0;
const PSI_PERCENT_MAX: f64 = 10.0;

impl Verdict {
    /// Judges a window.
    #[must_use]
    pub fn of(evidence: &Evidence<'_>) -> Verdict {
        let mut reasons = Vec::new();
        let mut add = |is_so: bool, code, class, value, limit, words| {
            debug_assert!(CODES.contains(&code), "{code}");
            if is_so {
                reasons.push(Reason { code, class, value, limit, words });
            }
        };
        use Class::{AtLeast, Invalid};
        let counts = &evidence.total.counts;
        let histograms = &evidence.total.histograms;
        let answered = histograms.count();
        let violations = counts.violations.values().sum::<u64>() + evidence.violations_after;
        add(violations > 0, "wrong_answers", Invalid, violations as f64, 0.0, "{value} wrong answers");
        let words = "{value} operations were measured; at least {limit} are needed: run longer or faster";
        add(answered < OPERATIONS_MIN, "too_few", Invalid, answered as f64, OPERATIONS_MIN as f64, words);
        let errors = counts.errors_in_all() as f64 / (answered + counts.errors_in_all()).max(1) as f64;
        let words = "{value} of the operations failed; at most {limit} may";
        add(errors > evidence.errors_max, "errors", Invalid, errors, evidence.errors_max, words);
        let words = "rate and latency had not become steady when the warm-up ended";
        add(!evidence.is_steady, "not_steady", Invalid, 0.0, 0.0, words);
        let lost = (evidence.unsent + evidence.unanswered) as f64;
        let words = "{value} operations were due and never answered, so the percentiles lack the slowest: offer less";
        add(lost > 0.0, "not_drained", Invalid, lost, 0.0, words);
        if let Some((value, limit)) = little(evidence) {
            let words = "{value} operations were in flight in the mean; by rate and latency it should be {limit}";
            add((value / limit - 1.0).abs() > LITTLE_PART_MAX, "littles_law", Invalid, value, limit, words);
        }
        let steal = evidence.host.steal_percent.unwrap_or(0.0);
        let words = "another machine took {value} % of the processors; at most {limit}";
        add(steal > STEAL_PERCENT_MAX, "steal", Invalid, steal, STEAL_PERCENT_MAX, words);

        let words = "a generator core was busy {value} of a second; at most {limit}: use more --cores";
        add(evidence.busy_max > BUSY_MAX, "generator_busy", AtLeast, evidence.busy_max, BUSY_MAX, words);
        let lag = histograms.over_all(Clock::SchedLag).value_at_quantile(0.99) as f64 / 1e3;
        let response = histograms.over_all(Clock::Response).value_at_quantile(0.5) as f64 / 1e3;
        let limit = (response * LAG_PART_MAX).max(LAG_US_MIN);
        let words = "the generator itself was late by {value} us at p99; at most {limit}";
        add(lag > limit, "sched_lag", AtLeast, lag, limit, words);
        if let Some(offered) = evidence.offered_rate {
            let part = counts.achieved as f64 / evidence.seconds / offered;
            // Answers of what was due before the window come in it, and the other way round: noise of the edges.
            let edges = 3.0 / (offered * evidence.seconds).sqrt();
            let words = "{value} of the offered rate was achieved while nothing waited for a permit; at least {limit}";
            let is_short = part < ACHIEVED_MIN - edges && counts.waited == 0;
            add(is_short, "not_achieved", AtLeast, part, ACHIEVED_MIN, words);
        }
        let words = "{value} operations were skipped because they were too late";
        add(counts.skipped > 0, "skipped", AtLeast, counts.skipped as f64, 0.0, words);
        let psi = evidence.host.psi_cpu_percent.unwrap_or(0.0);
        let words = "something waited for a processor in {value} % of the time, and generator and target share them";
        add(psi > PSI_PERCENT_MAX && evidence.host.is_shared, "psi_cpu", AtLeast, psi, PSI_PERCENT_MAX, words);
        let service = histograms.over_all(Clock::Service);
        let ticks = service.count_between(3_900_000, 4_100_000) as f64 / service.len().max(1) as f64;
        let around = service.count_between(3_500_000, 3_900_000) + service.count_between(4_100_000, 4_500_000);
        // A tick is a peak; a broad distribution that has some milliseconds in it anyway is none.
        let is_peak = ticks * service.len() as f64 > around as f64;
        let words = "{value} of the answers took 3.9 to 4.1 ms: a scheduler tick, not the disk";
        add(ticks > TICK_PART_MAX && is_peak, "tick", AtLeast, ticks, TICK_PART_MAX, words);
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.class));
        Verdict { class: reasons.first().map_or(Class::Valid, |reason| reason.class), reasons }
    }
}

impl Verdict {
    /// Adds that the target's stages do not explain the responses, where that is so. The class stays: the numbers are as
    /// good as before, but they are not explained.
    pub fn note_unattributed(&mut self, samples: &[Sample]) {
        let sum = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>() as f64;
        let unattributed = sum(|sample| sample.breakdown.unattributed(sample.times.of(Clock::Service)).0);
        let part = unattributed / sum(|sample| sample.times.of(Clock::Response).0).max(1.0);
        if part > UNATTRIBUTED_PART_MAX {
            self.reasons.push(Reason {
                code: "unattributed",
                class: Class::Valid,
                value: part,
                limit: UNATTRIBUTED_PART_MAX,
                words: "{value} of the responses is in no stage of the target: retries, redirects; at most {limit}",
            });
        }
    }
}

/// Operations in flight as they were counted, and as Little's law wants them; `None` where both are too small to tell.
fn little(evidence: &Evidence<'_>) -> Option<(f64, f64)> {
    let service = evidence.total.histograms.over_all(Clock::Service);
    let counted = evidence.total.counts.in_flight_ns as f64 / 1e9 / evidence.seconds;
    let wanted = service.mean() * service.len() as f64 / 1e9 / evidence.seconds;
    // The clock of a turn stands still while it runs, so very short services are not seen in what is counted; and
    // failures are in flight without a time of their own.
    let is_small = counted.max(wanted) < 0.5 || wanted == 0.0 || evidence.total.counts.errors_in_all() > 0;
    (!is_small).then_some((counted, wanted))
}

/// The length of the interval in which a core is busy at most.
#[must_use]
pub fn busy_of(record: &Record) -> f64 {
    1.0 - (record.counts.idle_ns as f64 / INTERVAL.0 as f64).min(1.0)
}

#[cfg(test)]
mod tests;
