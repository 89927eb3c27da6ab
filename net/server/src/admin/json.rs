//! `/debug/*.json`: what the profile knows, for tools. Fields are only ever added.

use base::NodeId;
use base::stages::{Lengths, OpClass};
use serde_json::{Map, Value, json};

use crate::profile::{Slow, TOTAL, Totals, Wide};

/// Slowest requests told of each class.
const SLOW_MAX: usize = 64;
/// Requests from this to that quantile are near p99.
const NEAR_P99: (f64, f64) = (0.985, 0.995);

/// Histograms since the start: who takes two and subtracts has a window, exactly.
///
/// Schema: `{format, node, ops: [{op, stages: [{stage, count, sum_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, counts:
/// [[up_to_ns, count]]}], at_p99: {requests, total_ns, stages: {stage: ns}}}], cores: [{core, counters, ..}]}`.
pub fn stages(node: NodeId, totals: &Totals) -> Value {
    let ops = totals.classes().map(|class| {
        let places = class.stages().iter().map(|stage| (stage.name(), *stage as usize)).chain([("total", TOTAL)]);
        let stages = places.map(|(name, place)| histogram(name, totals.histogram(class, place)));
        json!({ "op": class.name(), "stages": stages.collect::<Vec<_>>(), "at_p99": at_p99(totals, class) })
    });
    let cores = totals.cores().iter().zip(0..).map(|(counts, core)| {
        let counters = counts.counters.list().into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
        json!({
            "core": core,
            "counters": counters.collect::<Map<String, Value>>(),
            "closed_by_own_disk": counts.quorums.closed_by_own_disk,
            "closed_by_peer": counts.quorums.closed_by_peer,
            "ahead_of_local": counts.quorums.ahead_of_local,
            "replies_lost": counts.replies_lost,
        })
    });
    let (ops, cores) = (ops.collect::<Vec<_>>(), cores.collect::<Vec<_>>());
    json!({ "format": 1, "node": node.0, "ops": ops, "cores": cores })
}

/// Sums since the start: a few numbers, for who looks once a second.
///
/// Schema: `{format, node, ops: [{op, requests, total_ns, stages: {stage: ns}}]}`.
pub fn sums(node: NodeId, totals: &Totals) -> Value {
    let sum = |class: OpClass, place: usize| totals.histogram(class, place).sum() as u64;
    let ops = totals.classes().map(|class| {
        let stages = class.stages().iter().map(|stage| (stage.name().to_owned(), json!(sum(class, *stage as usize))));
        json!({
            "op": class.name(),
            "requests": totals.histogram(class, TOTAL).count(),
            "total_ns": sum(class, TOTAL),
            "stages": stages.collect::<Map<String, Value>>(),
        })
    });
    json!({ "format": 1, "node": node.0, "ops": ops.collect::<Vec<_>>() })
}

fn histogram(stage: &str, histogram: &Wide) -> Value {
    json!({
        "stage": stage,
        "count": histogram.count(),
        "sum_ns": histogram.sum() as u64,
        "p50_ns": histogram.percentile(0.5),
        "p90_ns": histogram.percentile(0.9),
        "p99_ns": histogram.percentile(0.99),
        "p999_ns": histogram.percentile(0.999),
        "max_ns": histogram.max(),
        "counts": histogram.counts().map(|(up_to, count)| json!([up_to, count])).collect::<Vec<_>>(),
    })
}

/// The mean of the requests kept whose total is near p99; null when none was kept there.
fn at_p99(totals: &Totals, class: OpClass) -> Value {
    let total = totals.histogram(class, TOTAL);
    // A percentile is the end of its counter, which is a part in 128 wide.
    let low = total.percentile(NEAR_P99.0);
    let mean = totals.near(class).mean(low - low / 128, total.percentile(NEAR_P99.1));
    mean.map_or(Value::Null, |(lengths, requests)| {
        json!({ "requests": requests, "total_ns": lengths.total, "stages": by_stage(class, &lengths) })
    })
}

fn by_stage(class: OpClass, lengths: &Lengths) -> Value {
    let stages = class.stages().iter().map(|stage| (stage.name().to_owned(), json!(lengths.of[*stage as usize])));
    Value::Object(stages.collect())
}

/// The slowest requests of the last minute, slowest first.
///
/// Schema: `{format, node, slow: [{op, core, seconds_ago, total_ns, stages, group, index, commands, bytes, closed_by,
/// committed_before_sync, rows_fetched, requests}]}`; `requests` is how many took exactly this, as commands of one entry do.
pub fn slow(node: NodeId, totals: &Totals) -> Value {
    let of_class = |class: OpClass| {
        totals.slowest(class, SLOW_MAX).into_iter().map(move |(core, seconds_ago, slow)| {
            let Slow { lengths, timing, count } = slow;
            json!({
                "op": class.name(),
                "core": core.0,
                "seconds_ago": seconds_ago,
                "total_ns": lengths.total,
                "stages": by_stage(class, &lengths),
                "group": timing.group.0,
                "index": timing.index.0,
                "commands": timing.commands,
                "bytes": timing.bytes,
                "closed_by": timing.closed_by.0,
                "committed_before_sync": timing.slot.is_committed_before_sync(),
                "rows_fetched": timing.is_cold,
                "requests": count,
            })
        })
    };
    let slow: Vec<Value> = OpClass::ALL.into_iter().flat_map(of_class).collect();
    json!({ "format": 1, "node": node.0, "slow": slow })
}
