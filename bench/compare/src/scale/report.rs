//! What an axis showed: a table in Markdown, a plot, and every block as JSON.

use load::report::svg::{Point as Dot, Series, scale};
use serde_json::{Value, json};

use super::{Axis, Machine, Point};
use crate::args::ScaleArgs;
use crate::device::Flushes;
use crate::versus::quantile;

/// The form of the JSON. Fields are only ever added within a major version.
const SCHEMA: &str = "dropstone.compare.scale/1";

/// A whole file. It lies beside the pictures, so the command is told without the paths of a machine.
pub fn whole(axis: Axis, args: &ScaleArgs, host: &str, unix_ms: u64, found: Value) -> Value {
    let ScaleArgs { rounds, block, warm, in_flight, .. } = args;
    let options = format!("--rounds {rounds} --block {block}s --warm {warm}s --in-flight {in_flight}");
    json!({
        "schema": SCHEMA,
        "axis": axis.name(),
        "command": format!("dropstone-compare scale {} {options}", axis.name()),
        "host": host,
        "unix_ms": unix_ms,
        "found": found,
    })
}

/// Points with their blocks.
pub fn points_json(points: &[Point]) -> Value {
    let block = |block: &crate::block::Block| {
        let flushes = if let Flushes::Counted(count) = block.flushes { Some(count) } else { None };
        json!({
            "ops_per_s": block.rate(),
            "p50_us": quantile(block, 0.5),
            "p99_us": quantile(block, 0.99),
            "cluster_cpu_us_per_op": cpu(block),
            "flushes": flushes,
            "device_bytes": block.device_bytes,
            "class": block.class.name(),
            "reasons": block.reasons,
        })
    };
    let point = |point: &Point| {
        json!({
            "machine": point.machine.name(),
            "value": point.value,
            "connections": point.connections,
            "in_flight": point.settings.in_flight,
            "cores": point.shape.cores,
            "groups": point.shape.groups,
            "blocks": point.blocks.iter().map(block).collect::<Vec<_>>(),
        })
    };
    points.iter().map(point).collect()
}

/// Processor time of the nodes for an operation. Units: microseconds.
fn cpu(block: &crate::block::Block) -> Option<f64> {
    let done = block.record.counts.achieved;
    (done > 0).then(|| block.cpu_us / done as f64)
}

/// A row for each point.
pub fn points_table(axis: Axis, points: &[Point]) -> String {
    let mut out = format!(
        "| | {} | connections | ops/s, median (slowest to fastest) | p50, p99 ms | cluster cpu us/op | ops per cpu second \
         | verdict |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
        axis.words()
    );
    for point in points {
        let [low, high] = point.rates();
        let figure =
            |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        let ms = |q: f64| figure(point.median(|block| quantile(block, q)).map(|us| us / 1e3), 2);
        let cpu = point.median(cpu);
        out += &format!(
            "| {} | {} | {} | {} ({} to {}) | {}, {} | {} | {} | {} |\n",
            point.machine.name(),
            crate::report::whole(point.value.into()),
            crate::report::whole(point.connections as f64),
            crate::report::whole(point.median(|block| Some(block.rate())).unwrap_or(0.0)),
            crate::report::whole(low),
            crate::report::whole(high),
            ms(0.5),
            ms(0.99),
            figure(cpu, 2),
            cpu.map_or("-".to_owned(), |us| crate::report::whole(1e6 / us)),
            point.class().name(),
        );
    }
    out
}

/// The plot of an axis; `None` with fewer than two points.
pub fn plot(axis: Axis, points: &[Point]) -> Option<String> {
    let series = [Machine::Null, Machine::Files].map(|machine| {
        let own = points.iter().filter(|point| point.machine == machine && !point.blocks.is_empty());
        let dot = |point: &Point| {
            let rate = point.median(|block| Some(block.rate())).unwrap_or(0.0);
            Dot { x: point.place(axis), rate, rates: point.rates() }
        };
        Series { name: machine.name().to_owned(), points: own.map(dot).collect() }
    });
    let series: Vec<Series> = series.into_iter().filter(|series| !series.points.is_empty()).collect();
    scale(axis.name(), &format!("Throughput against {}", axis.words()), axis.words(), &series)
}
