//! The table and the JSON document of the log's benchmark.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::gates::Level;
use super::meter::Window;

/// The table: two lines a level and backend, then the ratios and the gates.
#[must_use]
pub fn table(levels: &[Level]) -> String {
    let mut out = String::new();
    let head = [
        "in flight",
        "arm",
        "commands/s",
        "commit p50",
        "p99",
        "p99.9 us",
        "command p50",
        "p99",
        "p99.9 us",
        "cmds/commit",
        "cpu ns/cmd",
        "cpu ns/byte",
        "core ns/cmd",
        "dev KiB/commit",
        "flush/commit",
        "majflt",
        "alloc/cmd",
        "copies",
    ];
    let line = |out: &mut String, cells: &[String]| {
        for (at, cell) in cells.iter().enumerate() {
            let width = head[at].len().max(6);
            let _ = write!(out, "{cell:>width$} ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    };
    line(&mut out, &head.map(str::to_owned));
    for level in levels {
        let copies = level.backend.copies().to_string();
        line(&mut out, &cells(level, level.backend.name(), &level.log, copies));
        line(&mut out, &cells(level, "raw", &level.raw, "0".to_owned()));
    }
    for level in levels {
        let (low, high) = level.range(|ratios| ratios.rate);
        let (p99_low, p99_high) = level.range(|ratios| ratios.p99);
        let _ = writeln!(
            out,
            "\n{} in flight, {} over raw, {} pairs: rate {:.3} ({low:.3} to {high:.3}); of a commit p50 {:.3}, \
             p99 {:.3} ({p99_low:.3} to {p99_high:.3})",
            level.in_flight,
            level.backend,
            level.ratios.len(),
            level.median(|ratios| ratios.rate),
            level.median(|ratios| ratios.p50),
            level.median(|ratios| ratios.p99),
        );
        for gate in level.gates() {
            let verdict = if gate.holds { "holds" } else { "FAILS" };
            let _ = writeln!(out, "  {verdict}  {}: {:.4} ({})", gate.name, gate.seen, gate.limit);
        }
    }
    out
}

fn cells(level: &Level, arm: &str, window: &Window, copies: String) -> Vec<String> {
    let commands = window.commands.max(1) as f64;
    let commits = window.commits.max(1) as f64;
    let cpu_ns = window.usage.process_ms as f64 * 1e6;
    let bytes = commands * f64::from(level.command_bytes);
    let device = |of: fn(&reactor::device::DeviceCounters) -> Option<f64>| window.device.as_ref().and_then(of);
    let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    vec![
        level.in_flight.to_string(),
        arm.to_owned(),
        format!("{:.0}", window.rate()),
        format!("{:.0}", window.commit_us(0.5)),
        format!("{:.0}", window.commit_us(0.99)),
        format!("{:.0}", window.commit_us(0.999)),
        format!("{:.0}", window.command_us(0.5)),
        format!("{:.0}", window.command_us(0.99)),
        format!("{:.0}", window.command_us(0.999)),
        format!("{:.1}", commands / commits),
        format!("{:.0}", cpu_ns / commands),
        format!("{:.2}", cpu_ns / bytes),
        format!("{:.0}", window.usage.thread_ns as f64 / commands),
        or_dash(device(|counters| Some(counters.bytes as f64 / 1024.0)).map(|kib| kib / commits)),
        or_dash(device(|counters| counters.flushes.map(|flushes| flushes as f64)).map(|flushes| flushes / commits)),
        window.usage.major_faults.to_string(),
        format!("{:.5}", window.allocations as f64 / commands),
        copies,
    ]
}

/// The same as one document.
#[must_use]
pub fn json(levels: &[Level]) -> Value {
    let window = |window: &Window| {
        json!({
            "commands": window.commands, "commits": window.commits, "bytes": window.bytes,
            "seconds": window.took.0 as f64 / 1e9, "commands_per_s": window.rate(),
            "p50_us": window.command_us(0.5), "p99_us": window.command_us(0.99), "p999_us": window.command_us(0.999),
            "commit_p50_us": window.commit_us(0.5), "commit_p99_us": window.commit_us(0.99),
            "process_cpu_ms": window.usage.process_ms, "core_cpu_ns": window.usage.thread_ns,
            "major_faults": window.usage.major_faults, "minor_faults": window.usage.minor_faults,
            "allocations": window.allocations,
            "device": window.device.map(|device| {
                json!({ "writes": device.writes, "bytes": device.bytes, "flushes": device.flushes })
            }),
        })
    };
    let level = |level: &Level| {
        let gates = level.gates();
        let gates = gates
            .iter()
            .map(|gate| json!({ "name": gate.name, "seen": gate.seen, "limit": gate.limit, "holds": gate.holds }));
        let ratios =
            level.ratios.iter().map(|ratios| json!({ "rate": ratios.rate, "p99": ratios.p99, "p50": ratios.p50 }));
        json!({
            "backend": level.backend.name(), "in_flight": level.in_flight, "command_bytes": level.command_bytes,
            "log": window(&level.log), "raw": window(&level.raw), "copies": level.backend.copies(),
            "ratios": ratios.collect::<Vec<_>>(), "gates": gates.collect::<Vec<_>>(),
        })
    };
    json!({ "schema": 1, "levels": levels.iter().map(level).collect::<Vec<_>>() })
}
