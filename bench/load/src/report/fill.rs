//! From what a run left to a result: every field of the schema that a run can know.

mod stages;

use hdrhistogram::Histogram;

use super::result::{
    ALL_OPS, BenchResult, Checks, Clock, Cost, Durability, ErrorCount, Host, HostSeries, Interval, Latency, LatencyCi,
    Load, LoopKind, Mix, Reason, Steady, Target, Throughput, Time, Tool, Verdict, VerdictClass,
};
use super::{hlog, json};
use crate::generator::Loop;
use crate::keep;
use crate::op::OpKind;
use crate::phases::Second;
use crate::recorder::{self, KindHistograms};
use crate::session::{Plan, RunResult};
use crate::stats;
use crate::steady::Trend;
use crate::verdict::Class;
use crate::{host, verdict};

/// The bootstrap's seed: one run gives one interval.
const SEED: u64 = 0x0062_656e_6368;

/// Percentiles that are told, with where they stand in a [`Latency`].
pub(super) const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// What a run does not know of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What measures.
    pub tool: Tool,
    /// The command line.
    pub command: String,
    /// Who is asked, as far as the caller knows.
    pub target: Target,
}

/// All that a run found.
#[must_use]
pub fn result(run: &RunResult, plan: &Plan, about: &About) -> BenchResult {
    let (outcome, counts) = (&run.outcome, &run.outcome.total.counts);
    let mix = &plan.stream.mix;
    let achieved = counts.achieved as f64 / outcome.measured_s.max(1e-9);
    let measured: Vec<&Second> = outcome.seconds.iter().filter(|second| second.is_measured).collect();
    BenchResult {
        tool: about.tool.clone(),
        command: about.command.clone(),
        partial: outcome.is_interrupted,
        time: Time { start_unix_ms: run.observed.window_unix_ms, duration_s: outcome.measured_s },
        mix: Mix { name: mix.name.clone(), version: mix.version, hash: mix.hash },
        seed: plan.stream.seed,
        stream_hash: outcome.hash.0,
        result_hash: result_hash(run),
        load: load(run, plan, achieved),
        target: target(run, about),
        host: machine(run),
        host_series: host_series(run, &measured),
        latency: latency(run),
        throughput: throughput(run, &measured, achieved),
        errors: counts.errors.iter().map(|(kind, count)| error(kind.name(), *count)).collect(),
        steady: steady(run, plan, &measured),
        stages: stages::all(run),
        cost: cost(run),
        checks: checks(run),
        faults: run.faults.clone(),
        verdict: judged(&run.verdict),
        ..BenchResult::default()
    }
}

/// The interval log of a run: each kind and clock of each second of the window.
///
/// Errors: those of `out`.
pub fn interval_log(run: &RunResult, plan: &Plan, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let begin = run.kept.first().map_or(0, |second| second.second);
    // One histogram at a time: all of them would be hundreds of megabytes.
    let lines = run.kept.iter().flat_map(|second| {
        second.kinds().flat_map(move |kind| {
            recorder::Clock::ALL.into_iter().filter_map(move |clock| {
                Some(hlog::Line {
                    at: std::time::Duration::from_secs(second.second - begin),
                    length: std::time::Duration::from_secs(1),
                    op: kind.name(),
                    clock: in_schema_clock(clock),
                    histogram: second.histogram(kind, clock)?,
                })
            })
        })
    });
    let mix = &plan.stream.mix;
    hlog::write(out, run.observed.window_unix_ms, &format!("dropstone bench {}/{}", mix.name, mix.version), lines)
}

/// Of what the checks found: equal for two runs whose clusters ended with the same files.
fn result_hash(run: &RunResult) -> u64 {
    let Some(checks) = &run.checks else { return 0 };
    let words =
        [u64::from(checks.namespaces as u32), checks.files, checks.lost, checks.doubled, checks.violations_in_all];
    words.iter().fold(base::mix64(run.outcome.hash.0), |hash, word| base::mix64(hash ^ word))
}

fn load(run: &RunResult, plan: &Plan, achieved: f64) -> Load {
    let counts = &run.outcome.total.counts;
    let (kind, arrival, offered, clients) = match plan.pacing {
        Loop::Open { .. } => {
            let offered = counts.offered as f64 / run.outcome.measured_s.max(1e-9);
            // The rate that was asked for where it is one; a ramp has none.
            let rate = if plan.stream.arrival.has_one_rate() { plan.stream.rate } else { offered };
            (LoopKind::Open, plan.stream.arrival.name().to_owned(), rate, 0)
        }
        Loop::Closed { clients, .. } => (LoopKind::Closed, String::new(), 0.0, u64::from(clients)),
    };
    Load {
        kind,
        arrival,
        rate_offered: offered,
        rate_achieved: achieved,
        inflight_max: plan.in_flight_max as u64,
        late: counts.late,
        skipped: counts.skipped,
        raced: counts.raced,
        namespaces: plan.stream.mix.population.namespaces,
        connections: plan.cores * plan.lanes as u32,
        clients,
        generator_cores: plan.cores,
        generator_busy_max: run.outcome.busy_max,
    }
}

fn target(run: &RunResult, about: &About) -> Target {
    let mut target = about.target.clone();
    target.durability = Durability { flushes_seen: run.observed.usage.flushes, ..target.durability };
    target
}

fn machine(run: &RunResult) -> Host {
    let place = run.observed.place.clone().unwrap_or_default();
    Host { fs: place.fs, device: place.device, ..host::describe() }
}

/// Empty unless the machine was seen in every second of the window.
fn host_series(run: &RunResult, measured: &[&Second]) -> HostSeries {
    let seen = measured.iter().map(|second| run.observed.host.get(second.second as usize).copied());
    let Some(seen) = seen.collect::<Option<Vec<_>>>() else { return HostSeries::default() };
    HostSeries {
        steal: seen.iter().map(|second| second.steal).collect(),
        psi_cpu: seen.iter().map(|second| second.psi_cpu).collect(),
        psi_io: seen.iter().map(|second| second.psi_io).collect(),
        load1: seen.iter().map(|second| second.load1).collect(),
    }
}

pub(super) fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// A percentile, where enough samples lie beyond it. Units: nanoseconds in, microseconds out.
pub(super) fn percentile(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    stats::is_shown(histogram.len(), quantile).then(|| us(histogram.value_at_quantile(quantile)))
}

fn in_schema_clock(clock: recorder::Clock) -> Clock {
    match clock {
        recorder::Clock::Response => Clock::Response,
        recorder::Clock::Service => Clock::Service,
        recorder::Clock::PermitWait => Clock::PermitWait,
        recorder::Clock::SchedLag => Clock::SchedLag,
    }
}

/// All kinds together first, then each; the four clocks of each.
fn latency(run: &RunResult) -> Vec<Latency> {
    let histograms = &run.outcome.total.histograms;
    let all: KindHistograms = recorder::Clock::ALL.map(|clock| histograms.over_all(clock));
    let kinds = OpKind::ALL.into_iter().filter_map(|kind| Some((Some(kind), histograms.of(kind)?)));
    let sets = std::iter::once((None, &all)).chain(kinds);
    let everything = all[0].len().max(1);
    let row = |kind: Option<OpKind>, clock: recorder::Clock, set: &KindHistograms| {
        let histogram = &set[clock as usize];
        let [p50_us, p90_us, p99_us, p999_us, p9999_us] = QUANTILES.map(|quantile| percentile(histogram, quantile));
        // Answers of one kind lie further apart than those of all.
        let lag = (run.outcome.thinning_lag as f64 * histogram.len() as f64 / everything as f64).ceil() as usize;
        Latency {
            op: kind.map_or(ALL_OPS, OpKind::name).to_owned(),
            clock: in_schema_clock(clock),
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            p9999_us,
            max_us: us(histogram.max()),
            ci95: intervals(run, kind, clock, histogram, lag.max(1)),
            hdr_base64: json::encode_histogram(histogram),
        }
    };
    sets.flat_map(|(kind, set)| recorder::Clock::ALL.map(|clock| row(kind, clock, set))).collect()
}

/// Of what users see, for each kind; and of the service over all. The rest has none.
fn intervals(
    run: &RunResult,
    kind: Option<OpKind>,
    clock: recorder::Clock,
    histogram: &Histogram<u64>,
    lag: usize,
) -> LatencyCi {
    let is_told = clock == recorder::Clock::Response || (clock == recorder::Clock::Service && kind.is_none());
    if !is_told {
        return LatencyCi::default();
    }
    let groups = keep::groups(&run.kept, kind, clock);
    let groups: Vec<&Histogram<u64>> = groups.iter().collect();
    let of = |quantile: f64| {
        percentile(histogram, quantile)?;
        let by_order = stats::order_interval(histogram, quantile, lag);
        let by_seconds = stats::percentile_interval(&groups, quantile, SEED);
        let wider = match (by_order, by_seconds) {
            (Some(a), Some(b)) => Some(a.hull(b)),
            (one, other) => one.or(other),
        };
        wider.map(|interval| [interval.low / 1e3, interval.high / 1e3])
    };
    let [p50_us, p90_us, p99_us, p999_us, p9999_us] = QUANTILES.map(of);
    LatencyCi { p50_us, p90_us, p99_us, p999_us, p9999_us }
}

fn throughput(run: &RunResult, measured: &[&Second], achieved: f64) -> Throughput {
    let rates: Vec<f64> = measured.iter().map(|second| second.achieved as f64).collect();
    let interval = |(at, second): (usize, &&Second)| Interval {
        at_s: at as f64,
        stages_us: run.observed.stages_us.get(second.second as usize).cloned().unwrap_or_default(),
        ..interval(second)
    };
    Throughput {
        mean: achieved,
        ci95: stats::mean_interval(&rates, SEED).map(stats::Interval::span),
        intervals: measured.iter().enumerate().map(interval).collect(),
    }
}

/// A second as the schema has it, at its place since the start of the schedule; nothing of stages is known here.
#[must_use]
pub fn interval(second: &Second) -> Interval {
    let known = |ns: u64| (second.achieved > 0).then_some(us(ns));
    Interval {
        at_s: second.second as f64,
        offered: second.offered as f64,
        achieved: second.achieved as f64,
        errors: second.errors,
        p50_us: known(second.p50_ns),
        p99_us: known(second.p99_ns),
        p999_us: known(second.p999_ns),
        max_us: known(second.max_ns),
        inflight: second.in_flight as u64,
        lag_p99_us: known(second.lag99_ns),
        ..Interval::default()
    }
}

pub(super) fn error(kind: &str, count: u64) -> ErrorCount {
    ErrorCount { kind: kind.to_owned(), count }
}

fn steady(run: &RunResult, plan: &Plan, measured: &[&Second]) -> Option<Steady> {
    let rates: Vec<f64> = measured.iter().map(|second| second.achieved as f64).collect();
    let trend = Trend::of(&rates);
    let slope = trend.map_or(0.0, |trend| trend.slope * rates.len() as f64 / trend.mean.max(1e-9));
    let reached_s = run.outcome.steady_at.map(|second| (second + 1) as f64);
    plan.phases.waits_for_steady.then_some(Steady { reached_s, slope })
}

fn cost(run: &RunResult) -> Cost {
    let usage = &run.observed.usage;
    let operations = run.outcome.total.counts.achieved.max(1) as f64;
    let each = |count: Option<u64>| count.map(|count| count as f64 / operations);
    Cost {
        cpu_us: usage.cpu_us.iter().map(|(role, us)| (role.clone(), us / operations)).collect(),
        enters: each(usage.enters),
        syncs: each(usage.syncs),
        ops_per_sync: usage.syncs.filter(|syncs| *syncs > 0).map(|syncs| operations / syncs as f64),
        wire_bytes: each(usage.wire_bytes),
        rss_bytes: usage.rss_bytes,
        context_switches: each(usage.switches),
        run_delay_us: usage.run_delay_us.map(|us| us / operations),
        written_bytes: each(usage.written),
        ..Cost::default()
    }
}

fn checks(run: &RunResult) -> Checks {
    let during = run.outcome.total.counts.violations.iter();
    let mut violations: Vec<String> =
        during.map(|(kind, count)| format!("{}: {count} answers during the run", kind.name())).collect();
    let Some(checks) = &run.checks else {
        return Checks { mode: "off".to_owned(), violations, ..Checks::default() };
    };
    violations.extend(checks.violations.iter().map(|violation| {
        format!("{} in namespace {}: {}", violation.kind.name(), violation.namespace, violation.detail)
    }));
    Checks {
        mode: "full".to_owned(),
        acks: checks.acks,
        lost: checks.lost,
        doubled: checks.doubled,
        in_doubt: checks.in_doubt,
        files: checks.files,
        violations,
        ..Checks::default()
    }
}

fn judged(verdict: &verdict::Verdict) -> Verdict {
    let reason = |reason: &verdict::Reason| {
        let (code, value, limit) = in_schema(reason.code, reason.value, reason.limit);
        Reason { code: code.to_owned(), value, limit }
    };
    Verdict { class: class(verdict.class), reasons: verdict.reasons.iter().map(reason).collect() }
}

/// The class as the schema has it.
#[must_use]
pub fn class(class: Class) -> VerdictClass {
    match class {
        Class::Valid => VerdictClass::Valid,
        Class::AtLeast => VerdictClass::AtLeast,
        Class::Invalid => VerdictClass::Invalid,
    }
}

/// Code and units of a cause as the schema has them: shares where the verdict speaks of percent (docs/design/bench.md).
fn in_schema(code: &str, value: f64, limit: f64) -> (&str, f64, f64) {
    match code {
        "steal" | "psi_cpu" => (code, value / 100.0, limit / 100.0),
        "littles_law" => (code, (value / limit - 1.0).abs(), verdict::LITTLE_PART_MAX),
        "too_few" => ("too_few_operations", value, limit),
        "not_achieved" => ("achieved", value, limit),
        "tick" => ("scheduler_tick", value, limit),
        other => (other, value, limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_the_codes_and_units_of_the_schema() {
        assert_eq!(in_schema("psi_cpu", 87.5, 10.0), ("psi_cpu", 0.875, 0.1));
        assert_eq!(in_schema("littles_law", 12.0, 10.0).0, "littles_law");
        assert!((in_schema("littles_law", 12.0, 10.0).1 - 0.2).abs() < 1e-9);
        let words = |code: &str| {
            let (code, value, limit) = in_schema(code, 0.5, 0.25);
            crate::report::words::reason(&Reason { code: code.to_owned(), value, limit })
        };
        for code in verdict::CODES {
            let said = words(code);
            assert!(!said.starts_with(in_schema(code, 0.0, 0.0).0), "{code} has no words: {said}");
        }
        assert_eq!(words("never_heard_of"), "never_heard_of 0.50 (limit 0.25)");
    }
}
