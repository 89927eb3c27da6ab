//! How a comparison is shown: a table for the terminal, one for a page, and JSON.

use load::stats::Interval;
use load::verdict::Class;
use serde_json::{Value, json};

use crate::device::Flushes;
use crate::target::Target;
use crate::versus::{Comparison, Ratio, Summary, quantile, ratio, summary};

/// The form of the JSON. Fields are only ever added within a major version.
pub const SCHEMA: &str = "dropstone.compare.versus/1";
const UNLIKE: &str = "UNLIKE: an acknowledgement means something else on each side, so these are no equals";

/// What stands above all tables.
#[derive(Clone, PartialEq, Debug)]
pub struct Setup {
    /// The exact command line.
    pub command: String,
    /// The mix, `file-commit/1`.
    pub mix: String,
    /// Of all that is random.
    pub seed: u64,
    /// How blocks lie: pairs, seconds of the window, seconds before it, seconds on a fresh cluster before all.
    pub blocks: [u64; 4],
    /// The machine: processors, kernel, file system's directory.
    pub host: String,
    /// Milliseconds since 1970.
    pub start_unix_ms: u64,
    /// It was interrupted: complete up to then.
    pub is_partial: bool,
}

/// Columns of a table: names, then rows.
struct Table {
    names: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// All of a run for a terminal.
#[must_use]
pub fn text(setup: &Setup, comparisons: &[Comparison]) -> String {
    let mut out = format!("{}\n", head(setup).join("\n"));
    for comparison in comparisons {
        out.push('\n');
        durability(comparison).iter().for_each(|line| out.push_str(&format!("{line}\n")));
        out.push_str(&aligned(&table(comparison)));
        ratios(comparison).iter().for_each(|line| out.push_str(&format!("{line}\n")));
        reasons(comparison).iter().for_each(|line| out.push_str(&format!("{line}\n")));
    }
    out
}

/// The same as Markdown.
#[must_use]
pub fn markdown(setup: &Setup, comparisons: &[Comparison]) -> String {
    let mut out = format!("{}\n", head(setup).join("  \n"));
    for comparison in comparisons {
        out.push('\n');
        durability(comparison).iter().for_each(|line| out.push_str(&format!("- {line}\n")));
        let Table { names, rows } = table(comparison);
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        out.push_str(&format!("\n{}", line(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())));
        out.push_str(&line(&names.iter().map(|_| "---".to_owned()).collect::<Vec<_>>()));
        rows.iter().for_each(|row| out.push_str(&line(row)));
        out.push('\n');
        ratios(comparison).iter().chain(&reasons(comparison)).for_each(|line| out.push_str(&format!("- {line}\n")));
    }
    out
}

fn head(setup: &Setup) -> Vec<String> {
    let [pairs, window, warm, prime] = setup.blocks;
    let blocks = format!("{pairs} pairs A B B A of {window} s after {warm} s, {prime} s before all");
    let mut lines = vec![
        format!("{} seed {:x}, closed loop, {blocks}", setup.mix, setup.seed),
        setup.host.clone(),
        setup.command.clone(),
    ];
    if setup.is_partial {
        lines.insert(0, "PARTIAL: interrupted; whole pairs up to then".to_owned());
    }
    lines
}

/// A row for each target: what its acknowledgement means, and what the device showed of it.
fn durability(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    for (arm, target) in comparison.targets.iter().enumerate() {
        let row = target.durability();
        let seen = seen(comparison, arm);
        let version = &comparison.versions[arm];
        lines.push(format!("{} {version}: {}", target.name(), comparison.work(arm)));
        lines.push(format!(
            "{}: acknowledged means {}; syncs: {}; reads: {}; {seen}",
            target.name(),
            row.ack,
            row.sync,
            row.reads
        ));
        let told = &comparison.told[arm];
        if !told.is_empty() {
            lines.push(format!("{} says when asked: {told}", target.name()));
        }
        lines.push(format!("{} loses: {}", target.name(), row.loses));
    }
    if comparison.is_unlike() {
        lines.insert(0, UNLIKE.to_owned());
    }
    lines
}

fn seen(comparison: &Comparison, arm: usize) -> String {
    let of_levels = comparison.levels.iter().map(|level| summary(level, arm).flushes);
    let all = of_levels.reduce(|sum, next| match (sum, next) {
        (Flushes::Counted(sum), Flushes::Counted(next)) => Flushes::Counted(sum + next),
        (Flushes::NotCounted(why), _) | (_, Flushes::NotCounted(why)) => Flushes::NotCounted(why),
    });
    match all {
        Some(Flushes::Counted(count)) => format!("{count} flushes of the device in its windows"),
        Some(Flushes::NotCounted(why)) => format!("flushes not counted: {why}"),
        None => "nothing was measured".to_owned(),
    }
}

fn table(comparison: &Comparison) -> Table {
    let names = vec![
        "in flight",
        "target",
        "ops/s",
        "slowest to fastest block",
        "p50 ms",
        "p99 ms",
        "cpu us/op",
        "flushes/op",
        "device B/op",
        "read back",
        "verdict",
    ];
    let mut rows = Vec::new();
    for level in comparison.levels.iter().filter(|level| !level.pairs.is_empty()) {
        for (arm, target) in comparison.targets.iter().enumerate() {
            rows.push(row(level.in_flight, *target, &summary(level, arm)));
        }
    }
    Table { names, rows }
}

fn row(in_flight: u32, target: Target, summary: &Summary) -> Vec<String> {
    let ms = |us: Option<f64>| us.map_or("-".to_owned(), |us| three(us / 1e3));
    let some = |value: Option<f64>| value.map_or("-".to_owned(), three);
    let checked =
        if summary.wrong == 0 { format!("{} of {0}", summary.checked) } else { format!("{} WRONG", summary.wrong) };
    vec![
        in_flight.to_string(),
        target.name().to_owned(),
        whole(summary.rate),
        format!("{} to {}", whole(summary.rates[0]), whole(summary.rates[1])),
        ms(summary.p50_us),
        ms(summary.p99_us),
        three(summary.cpu_us),
        some(summary.flushes_per_op),
        summary.device_bytes.map_or("-".to_owned(), whole),
        checked,
        summary.class.name().to_owned(),
    ]
}

/// Ratios with their intervals, first target over second.
fn ratios(comparison: &Comparison) -> Vec<String> {
    let [first, second] = comparison.targets.map(Target::name);
    let stamp = if comparison.is_unlike() { " (UNLIKE)" } else { "" };
    let mut lines = Vec::new();
    for level in comparison.levels.iter().filter(|level| !level.pairs.is_empty()) {
        let figures = figures(level).into_iter().filter_map(|(name, ratio)| Some((name, ratio?)));
        let parts: Vec<String> = figures.map(|(name, ratio)| format!("{name} {}", of_ratio(&ratio))).collect();
        lines.push(format!("{first} over {second}, {} in flight{stamp}: {}", level.in_flight, parts.join(", ")));
    }
    lines
}

fn figures(level: &crate::versus::Level<crate::block::Block>) -> [(&'static str, Option<Ratio>); 4] {
    let per_op = |block: &crate::block::Block| Some(block.cpu_us / block.record.counts.achieved.max(1) as f64);
    [
        ("rate", ratio(level, |block| Some(block.rate()))),
        ("p50", ratio(level, |block| quantile(block, 0.5))),
        ("p99", ratio(level, |block| quantile(block, 0.99))),
        ("cpu", ratio(level, per_op)),
    ]
}

fn of_ratio(ratio: &Ratio) -> String {
    let interval = |interval: Interval| format!(" [{} {}]", three(interval.low), three(interval.high));
    format!("{}{}", three(ratio.value), ratio.interval.map_or(" (one pair)".to_owned(), interval))
}

fn reasons(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    for level in &comparison.levels {
        for (arm, target) in comparison.targets.iter().enumerate() {
            let summary = summary(level, arm);
            if !summary.reasons.is_empty() && !level.pairs.is_empty() {
                let reasons = summary.reasons.join("; ");
                let class = if summary.class == Class::Valid { "note" } else { summary.class.name() };
                lines.push(format!("{class}: {}, {} in flight: {reasons}", target.name(), level.in_flight));
            }
        }
    }
    lines
}

/// Everything for machines.
#[must_use]
pub fn json(setup: &Setup, comparisons: &[Comparison]) -> Value {
    let [pairs, window_s, warm_s, prime_s] = setup.blocks;
    json!({
        "schema": SCHEMA,
        "tool": { "version": env!("CARGO_PKG_VERSION") },
        "command": setup.command,
        "time": { "start_unix_ms": setup.start_unix_ms },
        "mix": setup.mix,
        "seed": format!("{:016x}", setup.seed),
        "load": { "loop": "closed", "pairs": pairs, "window_s": window_s, "warm_s": warm_s, "prime_s": prime_s },
        "host": setup.host,
        "partial": setup.is_partial,
        "comparisons": comparisons.iter().map(of_comparison).collect::<Vec<_>>(),
    })
}

fn of_comparison(comparison: &Comparison) -> Value {
    let target = |arm: usize| {
        let target = comparison.targets[arm];
        let row = target.durability();
        json!({
            "target": target.name(),
            "version": comparison.versions[arm],
            "operation": comparison.work(arm),
            "durability": {
                "ack": row.ack, "sync": row.sync, "loses": row.loses, "reads": row.reads, "told": comparison.told[arm],
            },
        })
    };
    let levels = comparison.levels.iter().filter(|level| !level.pairs.is_empty());
    let levels = levels.map(|level| {
        let ratios = figures(level).map(|(name, ratio)| {
            let spans = |ratio: Ratio| json!({ "value": ratio.value, "ci95": ratio.interval.map(Interval::span) });
            (name.to_owned(), ratio.map_or(Value::Null, spans))
        });
        json!({
            "in_flight": level.in_flight,
            "arms": [of_arm(&summary(level, 0)), of_arm(&summary(level, 1))],
            "ratios": ratios.into_iter().collect::<serde_json::Map<_, _>>(),
            "blocks": level.pairs.iter().map(|pair| [of_block(&pair[0]), of_block(&pair[1])]).collect::<Vec<_>>(),
        })
    });
    json!({
        "targets": [target(0), target(1)],
        "unlike": comparison.is_unlike(),
        "levels": levels.collect::<Vec<_>>(),
    })
}

fn of_arm(summary: &Summary) -> Value {
    let (flushes, not_counted) = match summary.flushes {
        Flushes::Counted(count) => (Some(count), None),
        Flushes::NotCounted(why) => (None, Some(why)),
    };
    json!({
        "rate": summary.rate,
        "rates": summary.rates,
        "p50_us": summary.p50_us,
        "p99_us": summary.p99_us,
        "cpu_us": summary.cpu_us,
        "flushes_seen": flushes,
        "flushes_not_counted": not_counted,
        "flushes_per_op": summary.flushes_per_op,
        "device_bytes": summary.device_bytes,
        "read_back": summary.checked,
        "wrong": summary.wrong,
        "verdict": { "class": summary.class.name(), "reasons": summary.reasons },
    })
}

fn of_block(block: &crate::block::Block) -> Value {
    json!({
        "rate": block.rate(),
        "p50_us": quantile(block, 0.5),
        "p99_us": quantile(block, 0.99),
        "cpu_us": block.cpu_us / block.record.counts.achieved.max(1) as f64,
        "verdict": block.class.name(),
    })
}

fn aligned(table: &Table) -> String {
    let width = |at: usize| {
        let cells = table.rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or(0).max(table.names[at].chars().count())
    };
    let widths: Vec<usize> = (0..table.names.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        format!("{}\n", cells.join("  "))
    };
    let mut out = line(&mut table.names.iter().copied());
    table.rows.iter().for_each(|row| out.push_str(&line(&mut row.iter().map(String::as_str))));
    out
}

/// Three digits that say something.
fn three(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Rounded to a whole number, with thin groups of three: `1,234,567`.
pub(crate) fn whole(value: f64) -> String {
    load::report::words::whole(value.max(0.0).round() as u64)
}

#[cfg(test)]
mod tests;
