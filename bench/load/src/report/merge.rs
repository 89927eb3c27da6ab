//! Several results of the same work as one: repeats of a run, or parts of a load that ran beside each other.
//!
//! Histograms are added, percentiles are computed anew and never averaged. Intervals are those between the results, where
//! there are three or more; with two they hold the intervals of both.

use hdrhistogram::Histogram;

use super::fill::{QUANTILES, error, percentile};
use super::json;
use super::result::{ALL_OPS, BenchResult, Checks, Clock, Cost, HostSeries, Latency, LatencyCi, Repeat, Span, Stage};
use crate::stats;

/// Why results are not added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MergeError {
    /// None was given.
    #[error("name at least one result")]
    None,
    /// They are of different work.
    #[error("results of different work are not added: {0}")]
    Unlike(String),
    /// A histogram is missing.
    #[error("a result keeps no histogram of {0}; percentiles cannot be computed anew")]
    NoHistogram(String),
}

/// Repeats of one run, one after the other, as one result.
///
/// Errors: [`MergeError`].
pub fn repeats(results: &[BenchResult]) -> Result<BenchResult, MergeError> {
    let [first, others @ ..] = results else { return Err(MergeError::None) };
    for other in others {
        alike("mix", &(&first.mix.name, first.mix.version), &(&other.mix.name, other.mix.version))?;
        alike("seed", &first.seed, &other.seed)?;
        alike("loop", &first.load.kind, &other.load.kind)?;
        alike("offered rate", &(first.load.rate_offered as u64), &(other.load.rate_offered as u64))?;
        alike("driver", &first.target.driver, &other.target.driver)?;
    }
    if others.is_empty() {
        return Ok(first.clone());
    }
    let repeats: Vec<Repeat> = results.iter().flat_map(of_result).collect();
    let mut all = first.clone();
    all.partial = results.iter().any(|result| result.partial);
    all.time.duration_s = results.iter().map(|result| result.time.duration_s).sum();
    all.latency = latency(results, &repeats)?;
    series(&mut all, others);
    let rates: Vec<f64> = repeats.iter().map(|repeat| repeat.rate_achieved).collect();
    all.load.rate_achieved = weighted(results, |result| Some(result.load.rate_achieved)).unwrap_or(0.0);
    all.throughput.mean = all.load.rate_achieved;
    all.throughput.ci95 = stats::between_runs(&rates).map(stats::Interval::span).or(all.throughput.ci95);
    for other in others {
        all.load.late += other.load.late;
        all.load.skipped += other.load.skipped;
        all.load.raced += other.load.raced;
        all.load.generator_busy_max = all.load.generator_busy_max.max(other.load.generator_busy_max);
        for one in &other.errors {
            match all.errors.iter_mut().find(|mine| mine.kind == one.kind) {
                Some(mine) => mine.count += one.count,
                None => all.errors.push(error(&one.kind, one.count)),
            }
        }
        add_checks(&mut all.checks, &other.checks);
        // The worst of all, with the causes of all.
        all.verdict.class = all.verdict.class.max(other.verdict.class);
        for reason in &other.verdict.reasons {
            if !all.verdict.reasons.iter().any(|mine| mine.code == reason.code) {
                all.verdict.reasons.push(reason.clone());
            }
        }
        // Each repeat sends the same stream; how far it gets differs.
        if all.stream_hash != other.stream_hash {
            all.stream_hash = 0;
        }
    }
    all.stages = stages(results);
    all.cost = cost(results);
    all.repeats = repeats;
    Ok(all)
}

/// The figures of one result as a repeat; those of its own repeats where it has some.
#[must_use]
pub fn of_result(result: &BenchResult) -> Vec<Repeat> {
    if !result.repeats.is_empty() {
        return result.repeats.clone();
    }
    let all = result.headline().cloned().unwrap_or_default();
    vec![Repeat {
        start_unix_ms: result.time.start_unix_ms,
        rate_achieved: result.load.rate_achieved,
        p50_us: all.p50_us,
        p90_us: all.p90_us,
        p99_us: all.p99_us,
        p999_us: all.p999_us,
        p9999_us: all.p9999_us,
        max_us: all.max_us,
        errors_share: result.errors_share(),
        cost: result.cost.clone(),
        verdict: result.verdict.clone(),
    }]
}

fn alike<T: PartialEq + std::fmt::Debug>(what: &str, mine: &T, theirs: &T) -> Result<(), MergeError> {
    if mine == theirs { Ok(()) } else { Err(MergeError::Unlike(format!("{what} {mine:?} and {theirs:?}"))) }
}

/// A figure, weighed by the operations behind it; `None` where a result lacks it.
fn weighted(results: &[BenchResult], of: impl Fn(&BenchResult) -> Option<f64>) -> Option<f64> {
    let weight = |result: &BenchResult| result.headline().map_or(0.0, |all| all.count as f64);
    let weights: f64 = results.iter().map(weight).sum();
    let sum = results.iter().map(|result| Some(of(result)? * weight(result))).sum::<Option<f64>>()?;
    (weights > 0.0).then(|| sum / weights)
}

fn latency(results: &[BenchResult], repeats: &[Repeat]) -> Result<Vec<Latency>, MergeError> {
    let mut keys: Vec<(&str, Clock)> = Vec::new();
    for latency in results.iter().flat_map(|result| &result.latency) {
        if !keys.contains(&(&latency.op, latency.clock)) {
            keys.push((&latency.op, latency.clock));
        }
    }
    keys.into_iter().map(|(op, clock)| one_latency(results, repeats, op, clock)).collect()
}

fn one_latency(results: &[BenchResult], repeats: &[Repeat], op: &str, clock: Clock) -> Result<Latency, MergeError> {
    let parts: Vec<&Latency> = results.iter().filter_map(|result| result.latency_of(op, clock)).collect();
    let mut sum: Option<Histogram<u64>> = None;
    for part in parts.iter().filter(|part| part.count > 0) {
        let none = || MergeError::NoHistogram(format!("{op} {}", clock.name()));
        let histogram = json::decode_histogram(&part.hdr_base64).ok_or_else(none)?;
        match &mut sum {
            Some(sum) => sum.add(&histogram).map_err(|_| none())?,
            None => sum = Some(histogram),
        }
    }
    let Some(sum) = sum else {
        return Ok(Latency { op: op.to_owned(), clock, ..Latency::default() });
    };
    let [p50_us, p90_us, p99_us, p999_us, p9999_us] = QUANTILES.map(|quantile| percentile(&sum, quantile));
    let is_headline = op == ALL_OPS && clock == Clock::Response;
    Ok(Latency {
        op: op.to_owned(),
        clock,
        count: sum.len(),
        mean_us: sum.mean() / 1e3,
        p50_us,
        p90_us,
        p99_us,
        p999_us,
        p9999_us,
        max_us: parts.iter().map(|part| part.max_us).fold(0.0, f64::max),
        ci95: intervals(&parts, is_headline.then_some(repeats)),
        hdr_base64: json::encode_histogram(&sum),
    })
}

/// Between the runs where they are enough, else what holds the intervals of all.
fn intervals(parts: &[&Latency], repeats: Option<&[Repeat]>) -> LatencyCi {
    type Figure = (fn(&Latency) -> Option<f64>, fn(&Latency) -> Option<Span>, fn(&Repeat) -> Option<f64>);
    let of = |(figure, interval, of_repeat): Figure| -> Option<Span> {
        let values: Option<Vec<f64>> = match repeats {
            Some(repeats) => repeats.iter().map(of_repeat).collect(),
            None => parts.iter().map(|part| figure(part)).collect(),
        };
        if let Some(between) = values.as_deref().and_then(stats::between_runs) {
            return Some(between.span());
        }
        let within = parts.iter().map(|part| interval(part).map(stats::Interval::from));
        within.collect::<Option<Vec<_>>>()?.into_iter().reduce(stats::Interval::hull).map(stats::Interval::span)
    };
    LatencyCi {
        p50_us: of((|latency| latency.p50_us, |latency| latency.ci95.p50_us, |repeat| repeat.p50_us)),
        p90_us: of((|latency| latency.p90_us, |latency| latency.ci95.p90_us, |repeat| repeat.p90_us)),
        p99_us: of((|latency| latency.p99_us, |latency| latency.ci95.p99_us, |repeat| repeat.p99_us)),
        p999_us: of((|latency| latency.p999_us, |latency| latency.ci95.p999_us, |repeat| repeat.p999_us)),
        p9999_us: of((|latency| latency.p9999_us, |latency| latency.ci95.p9999_us, |repeat| repeat.p9999_us)),
    }
}

/// The seconds and faults of the others behind those that are there.
fn series(all: &mut BenchResult, others: &[BenchResult]) {
    for other in others {
        let shift = all.throughput.intervals.len() as f64;
        let seconds = other.throughput.intervals.iter().cloned();
        all.throughput
            .intervals
            .extend(seconds.map(|second| super::result::Interval { at_s: second.at_s + shift, ..second }));
        let faults = other.faults.iter().cloned();
        all.faults.extend(faults.map(|fault| super::result::Fault { at_s: fault.at_s + shift, ..fault }));
        let (mine, theirs) = (&mut all.host_series, &other.host_series);
        mine.steal.extend(&theirs.steal);
        mine.psi_cpu.extend(&theirs.psi_cpu);
        mine.psi_io.extend(&theirs.psi_io);
        mine.load1.extend(&theirs.load1);
    }
    if all.host_series.steal.len() != all.throughput.intervals.len() {
        all.host_series = HostSeries::default();
    }
}

fn add_checks(all: &mut Checks, other: &Checks) {
    if all.mode != other.mode {
        // What was not checked everywhere was not checked.
        all.mode = "off".to_owned();
    }
    all.acks += other.acks;
    all.lost += other.lost;
    all.doubled += other.doubled;
    all.in_doubt += other.in_doubt;
    all.files += other.files;
    all.histories += other.histories;
    all.violations.extend(other.violations.iter().cloned());
}

fn stages(results: &[BenchResult]) -> Vec<Stage> {
    let [first, ..] = results else { return Vec::new() };
    let one = |stage: &Stage| {
        let is_it = |other: &&Stage| (&other.op, &other.node, &other.stage) == (&stage.op, &stage.node, &stage.stage);
        let parts: Vec<&Stage> = results.iter().filter_map(|result| result.stages.iter().find(is_it)).collect();
        let mut sum: Option<Histogram<u64>> = None;
        for histogram in parts.iter().filter_map(|part| json::decode_histogram(&part.hdr_base64)) {
            match &mut sum {
                // Another shape cannot be of the same tool; it is left out.
                Some(sum) => drop(sum.add(&histogram)),
                None => sum = Some(histogram),
            }
        }
        let at: Option<Vec<f64>> = parts.iter().map(|part| part.at_p99_us).collect();
        Stage {
            count: parts.iter().map(|part| part.count).sum(),
            p50_us: sum.as_ref().and_then(|sum| percentile(sum, 0.5)),
            p99_us: sum.as_ref().and_then(|sum| percentile(sum, 0.99)),
            // A mean over the operations near p99, as many of each repeat.
            at_p99_us: at.filter(|at| !at.is_empty()).map(|at| at.iter().sum::<f64>() / at.len() as f64),
            hdr_base64: sum.as_ref().map(json::encode_histogram).unwrap_or_default(),
            ..stage.clone()
        }
    };
    first.stages.iter().map(one).collect()
}

fn cost(results: &[BenchResult]) -> Cost {
    let of = |figure: fn(&Cost) -> Option<f64>| weighted(results, |result| figure(&result.cost));
    let roles = results.iter().flat_map(|result| result.cost.cpu_us.keys());
    let cpu = |role: &String| {
        // A role that a repeat lacks, because leaders were elsewhere, used nothing in it.
        let each = weighted(results, |result| Some(result.cost.cpu_us.get(role).copied().unwrap_or(0.0)));
        (role.clone(), each.unwrap_or(0.0))
    };
    Cost {
        cpu_us: roles.map(cpu).collect(),
        enters: of(|cost| cost.enters),
        syscalls: of(|cost| cost.syscalls),
        syncs: of(|cost| cost.syncs),
        ops_per_sync: of(|cost| cost.syncs).filter(|syncs| *syncs > 0.0).map(|syncs| 1.0 / syncs),
        device_bytes: of(|cost| cost.device_bytes),
        wire_bytes: of(|cost| cost.wire_bytes),
        allocations: of(|cost| cost.allocations),
        allocated_bytes: of(|cost| cost.allocated_bytes),
        rss_bytes: results.iter().filter_map(|result| result.cost.rss_bytes).max(),
        context_switches: of(|cost| cost.context_switches),
        run_delay_us: of(|cost| cost.run_delay_us),
        written_bytes: of(|cost| cost.written_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::new_histogram;
    use crate::report::result::{Load, VerdictClass};

    fn run(p99_us: u64, rate: f64) -> BenchResult {
        let mut histogram = new_histogram();
        (1..=2_000).for_each(|at| histogram.record(at * p99_us / 2).expect("recorded"));
        let latency = Latency {
            op: ALL_OPS.to_owned(),
            count: histogram.len(),
            p99_us: percentile(&histogram, 0.99),
            hdr_base64: json::encode_histogram(&histogram),
            ci95: LatencyCi { p99_us: Some([p99_us as f64 * 0.9, p99_us as f64 * 1.1]), ..LatencyCi::default() },
            ..Latency::default()
        };
        let mut result = BenchResult {
            latency: vec![latency],
            load: Load { rate_offered: 1_000.0, rate_achieved: rate, ..Load::default() },
            ..BenchResult::default()
        };
        result.verdict.class = VerdictClass::Valid;
        result.cost.syncs = Some(0.5);
        result.throughput.intervals = vec![crate::report::result::Interval::default()];
        result
    }

    #[test]
    fn histograms_are_added_and_percentiles_computed_anew() {
        let all = repeats(&[run(1_000, 990.0), run(3_000, 1_000.0), run(3_100, 1_010.0)]).expect("alike");
        let latency = all.headline().expect("a headline");
        assert_eq!((latency.count, all.repeats.len(), all.throughput.intervals.len()), (6_000, 3, 3));
        // Two thirds of the samples are of the slow repeats: not the mean of three percentiles.
        assert!((3_000.0..3_080.0).contains(&latency.p99_us.expect("enough samples")), "{latency:?}");
        let [low, high] = latency.ci95.p99_us.expect("three repeats");
        assert!(low < 1_000.0 && high > 3_100.0, "between runs: {low} to {high}");
        let [low, high] = all.throughput.ci95.expect("three repeats");
        assert!(low < 990.0 && 1_010.0 < high);
        assert_eq!((all.load.rate_achieved, all.cost.syncs, all.cost.ops_per_sync), (1_000.0, Some(0.5), Some(2.0)));
    }

    #[test]
    fn the_worst_verdict_is_that_of_all() {
        let mut bad = run(1_000, 1_000.0);
        bad.verdict.class = VerdictClass::Invalid;
        bad.checks.lost = 1;
        let all = repeats(&[run(1_000, 1_000.0), bad]).expect("alike");
        assert_eq!((all.verdict.class, all.checks.lost, all.has_wrong_answers()), (VerdictClass::Invalid, 1, true));
        // Two runs have no interval between them: that which holds both.
        assert_eq!(all.headline().and_then(|all| all.ci95.p99_us), Some([900.0, 1_100.0]));
    }

    #[test]
    fn other_work_and_missing_histograms_are_refused() {
        let mut other = run(1_000, 1_000.0);
        other.mix.name = "spotify".to_owned();
        assert!(
            matches!(repeats(&[run(1_000, 1_000.0), other]), Err(MergeError::Unlike(what)) if what.contains("spotify"))
        );
        let mut bare = run(1_000, 1_000.0);
        bare.latency[0].hdr_base64.clear();
        assert!(matches!(repeats(&[bare, run(1_000, 1_000.0)]), Err(MergeError::NoHistogram(_))));
        assert_eq!(repeats(&[]), Err(MergeError::None));
        assert_eq!(repeats(&[run(5, 1.0)]).expect("itself"), run(5, 1.0));
    }
}
