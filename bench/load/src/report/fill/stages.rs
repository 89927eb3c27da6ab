//! Where the time went: the nodes' histograms of the window, and the operations that asked.

use std::collections::{BTreeMap, BTreeSet};

use base::Span;
use hdrhistogram::Histogram;

use super::percentile;
use crate::observe::admin::ORDER;
use crate::recorder::{Clock, new_histogram};
use crate::report::json;
use crate::report::result::{ALL_OPS, Stage};
use crate::run::Sample;
use crate::session::RunResult;

/// Samples that a percentile's neighbourhood needs.
const SAMPLES_MIN: usize = 100;
/// What is called near p99.
const NEAR: (f64, f64) = (0.985, 0.995);
/// Samples near it that are added up at least, where so many are.
const NEAR_MIN: usize = 5;

/// The rows: all operations first, with the client's own, then each node, then each kind of operation.
pub fn all(run: &RunResult) -> Vec<Stage> {
    let near = near_p99(&run.outcome.samples);
    let mut rows = client_before(run, &near);
    rows.extend(ORDER.iter().filter_map(|stage| server(run, &near, ALL_OPS, ALL_OPS, stage)));
    rows.extend(client_after(run, &near));
    for node in run.observed.stages.keys() {
        let name = format!("n{node}");
        rows.extend(ORDER.iter().filter_map(|stage| server(run, &[], ALL_OPS, &name, stage)));
    }
    let classes: BTreeSet<&str> =
        run.observed.stages.values().flat_map(BTreeMap::keys).map(|key| key.0.as_str()).collect();
    for class in classes {
        rows.extend(ORDER.iter().filter_map(|stage| server(run, &[], class, ALL_OPS, stage)));
    }
    rows
}

/// The samples whose response is around the 99th percentile of all samples; none when there are too few.
fn near_p99(samples: &[Sample]) -> Vec<&Sample> {
    if samples.len() < SAMPLES_MIN {
        return Vec::new();
    }
    let mut sorted: Vec<&Sample> = samples.iter().collect();
    sorted.sort_by_key(|sample| sample.times.of(Clock::Response));
    let count = sorted.len();
    let at = |quantile: f64| (quantile * count as f64) as usize;
    let (low, high) = (at(NEAR.0), at(NEAR.1).max(at(NEAR.0) + NEAR_MIN).min(count));
    sorted[low.min(high - NEAR_MIN)..high].to_vec()
}

/// Units: microseconds.
fn mean(samples: &[&Sample], of: impl Fn(&Sample) -> Span) -> Option<f64> {
    let sum: u64 = samples.iter().map(|sample| of(sample).0).sum();
    (!samples.is_empty()).then(|| sum as f64 / 1e3 / samples.len() as f64)
}

/// A row of the client, from all samples, or from all operations where their times are known.
fn client(stage: &str, histogram: &Histogram<u64>, at_p99_us: Option<f64>) -> Stage {
    Stage {
        op: ALL_OPS.to_owned(),
        node: "client".to_owned(),
        stage: stage.to_owned(),
        count: histogram.len(),
        p50_us: percentile(histogram, 0.5),
        p99_us: percentile(histogram, 0.99),
        at_p99_us,
        hdr_base64: json::encode_histogram(histogram),
    }
}

fn of_samples(run: &RunResult, of: impl Fn(&Sample) -> Span) -> Histogram<u64> {
    let mut histogram = new_histogram();
    run.outcome.samples.iter().for_each(|sample| histogram.saturating_record(of(sample).0));
    histogram
}

/// What comes before the server's part.
fn client_before(run: &RunResult, near: &[&Sample]) -> Vec<Stage> {
    let own = |clock: Clock| {
        let histogram = run.outcome.total.histograms.over_all(clock);
        client(clock.name(), &histogram, mean(near, |sample| sample.times.of(clock)))
    };
    let mut rows = vec![own(Clock::PermitWait), own(Clock::SchedLag)];
    if !run.outcome.samples.is_empty() {
        let net = of_samples(run, |sample| sample.breakdown.net);
        rows.push(client("net", &net, mean(near, |sample| sample.breakdown.net)));
    }
    rows
}

/// What no stage has.
fn client_after(run: &RunResult, near: &[&Sample]) -> Option<Stage> {
    let unattributed = |sample: &Sample| sample.breakdown.unattributed(sample.times.of(Clock::Service));
    if run.outcome.samples.is_empty() {
        return None;
    }
    Some(client("unattributed", &of_samples(run, unattributed), mean(near, unattributed)))
}

/// One stage of a node, or all, for one kind, or all; `None` when nothing went through it.
fn server(run: &RunResult, near: &[&Sample], op: &str, node: &str, stage: &str) -> Option<Stage> {
    let mut histogram = new_histogram();
    for (id, stages) in &run.observed.stages {
        if node != ALL_OPS && node != format!("n{id}") {
            continue;
        }
        for ((class, name), counted) in stages {
            if name == stage && (op == ALL_OPS || op == class) {
                histogram.add(counted).expect("all histograms have the same bounds");
            }
        }
    }
    let of = |sample: &Sample| {
        let times = sample.breakdown.stages.iter().filter(|time| time.0 == stage);
        Span(times.map(|time| time.1.0).sum())
    };
    // What explanations do not tell, as the send, is in `net`.
    let is_told = near.iter().any(|sample| sample.breakdown.stages.iter().any(|time| time.0 == stage));
    let at_p99_us = mean(near, of).filter(|_| is_told);
    let is_there = !histogram.is_empty() || at_p99_us.is_some_and(|us| us > 0.0);
    is_there.then(|| Stage {
        op: op.to_owned(),
        node: node.to_owned(),
        stage: stage.to_owned(),
        count: histogram.len(),
        p50_us: percentile(&histogram, 0.5),
        p99_us: percentile(&histogram, 0.99),
        at_p99_us,
        // The parts of a whole can be had from the nodes.
        hdr_base64: if op == ALL_OPS && node == ALL_OPS { json::encode_histogram(&histogram) } else { String::new() },
    })
}
