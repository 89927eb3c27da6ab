//! Summaries for a terminal: one result in about eight lines, two results as a table.

mod comparison;

pub use comparison::comparison;

use super::result::{ALL_OPS, BenchResult, Clock, Latency, LoopKind, Stage, Verdict, VerdictClass};
use super::words;

/// Below this width a line's parts stand below each other.
const WIDE_COLUMNS: usize = 100;

/// Stages shown per line; those below 1 % of the total are added up.
const STAGE_SHARE_MIN: f64 = 0.01;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns of the terminal.
    pub columns: usize,
    /// True for ANSI colours.
    pub has_colour: bool,
}

impl Style {
    /// No colour, wide: for files and pipes.
    pub const PLAIN: Style = Style { columns: 160, has_colour: false };

    /// `text` in an ANSI colour, where colours are wanted.
    #[must_use]
    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A verdict in its colour: green, yellow, red.
    #[must_use]
    pub fn verdict(&self, class: VerdictClass) -> String {
        let code = match class {
            VerdictClass::Valid => "1;32",
            VerdictClass::AtLeast => "1;33",
            VerdictClass::Invalid => "1;31",
        };
        self.paint(code, class.name())
    }
}

/// One result: what was run, rate, latency, stages, cost, checks, verdict. Ends with a line end.
#[must_use]
pub fn summary(result: &BenchResult, style: &Style) -> String {
    let mut out = String::new();
    if !result.note.is_empty() {
        out += &laid_painted("note", &style.paint("1;33", "note"), std::slice::from_ref(&result.note), style);
    }
    let mut line = |head: &str, parts: Vec<String>| out += &laid(head, &parts, style);
    line("", about(result));
    if result.load.kind == LoopKind::Closed {
        line("note", vec![words::CLOSED_LOOP.to_owned()]);
    }
    if result.partial {
        line("note", vec!["interrupted: figures are of the part that ran".to_owned()]);
    }
    line("rate", rates(result));
    for clock in [Clock::Response, Clock::Service] {
        if let Some(latency) = result.latency_of(ALL_OPS, clock) {
            line(clock.name(), percentiles(latency));
        }
    }
    if let Some(parts) = stages(result) {
        line("stages@p99", parts);
    }
    let costs = cost(result);
    if !costs.is_empty() {
        line("cost/op", costs);
    }
    for fault in &result.faults {
        let back = fault
            .recovered_ms
            .map_or_else(|| "not recovered".to_owned(), |ms| format!("recovered after {}", words::time(ms * 1e3)));
        let gone = format!("no answer for {}", words::time(fault.unavailable_ms * 1e3));
        line("fault", vec![format!("{} at {} s", fault.kind, words::three(fault.at_s)), gone, back]);
    }
    if let Some(sweep) = &result.sweep {
        line("sweep", sweep_parts(sweep));
    }
    line("target", vec![target(result)]);
    line("checked", vec![words::checks(result)]);
    result.checks.violations.iter().take(5).for_each(|wrong| line("WRONG", vec![wrong.clone()]));
    out += &verdict(&result.verdict, result, style);
    out
}

fn about(result: &BenchResult) -> Vec<String> {
    let mix = format!("{}/{} {}", result.mix.name, result.mix.version, words::load(result));
    let tool = format!("dropstone {}", tool(result));
    let hashes = format!("seed {:x}  stream {:016x}", result.seed, result.stream_hash);
    vec![mix, format!("{} s", words::three(result.time.duration_s)), hashes, tool]
}

/// Version and commit of what measured.
pub(super) fn tool(result: &BenchResult) -> String {
    let commit = if result.tool.git.is_empty() { String::new() } else { format!(" ({})", result.tool.git) };
    format!("{}{commit}", result.tool.version)
}

fn target(result: &BenchResult) -> String {
    let target = &result.target;
    let nodes = format!("{} node{}", target.nodes, if target.nodes == 1 { "" } else { "s" });
    format!("{} {}, {nodes}; {}", target.driver, target.version, words::durability(&target.durability))
}

fn rates(result: &BenchResult) -> Vec<String> {
    let load = &result.load;
    let interval = result.throughput.ci95.map_or_else(String::new, |ci| format!(" {}", words::span(ci, words::rate)));
    let mut parts = vec![format!("{} achieved{interval}", words::rate(load.rate_achieved))];
    parts.push(format!("{} late, {} skipped", words::whole(load.late), words::whole(load.skipped)));
    parts.push(format!("{} errors ({})", words::whole(result.errors_count()), words::percent(result.errors_share())));
    parts
}

fn percentiles(latency: &Latency) -> Vec<String> {
    let ci = &latency.ci95;
    let shown = [
        ("p50", latency.p50_us, ci.p50_us),
        ("p90", latency.p90_us, None),
        ("p99", latency.p99_us, ci.p99_us),
        ("p99.9", latency.p999_us, ci.p999_us),
        ("p99.99", latency.p9999_us, None),
    ];
    let part = |(name, value, ci): (&str, Option<f64>, Option<[f64; 2]>)| {
        let interval = ci.map_or_else(String::new, |ci| format!(" {}", words::span(ci, words::time)));
        format!("{name} {}{interval}", words::time_or_dash(value))
    };
    let mut parts: Vec<String> = shown.map(part).to_vec();
    parts.push(format!("max {}", words::time(latency.max_us)));
    parts
}

/// The stages of all operations and nodes, in time order.
pub(super) fn all_stages(result: &BenchResult) -> Vec<&Stage> {
    let is_whole = |stage: &&Stage| stage.op == ALL_OPS && (stage.node == ALL_OPS || stage.node == "client");
    result.stages.iter().filter(is_whole).collect()
}

fn stages(result: &BenchResult) -> Option<Vec<String>> {
    let times: Vec<(&str, f64)> =
        all_stages(result).iter().filter_map(|stage| Some((stage.stage.as_str(), stage.at_p99_us?))).collect();
    let total: f64 = times.iter().map(|time| time.1).sum();
    if total <= 0.0 {
        return None;
    }
    let (large, small): (Vec<_>, Vec<_>) = times.iter().partition(|time| time.1 / total >= STAGE_SHARE_MIN);
    let mut parts: Vec<String> = large.iter().map(|(name, us)| format!("{name} {}", words::time(*us))).collect();
    if !small.is_empty() {
        let others = if small.len() == 1 { "1 other".to_owned() } else { format!("{} others", small.len()) };
        parts.push(format!("{others} {}", words::time(small.iter().map(|time| time.1).sum())));
    }
    parts.push(format!("= {}", words::time(total)));
    Some(parts)
}

/// What an operation cost, one part per column that was counted.
pub(super) fn cost(result: &BenchResult) -> Vec<String> {
    let cost = &result.cost;
    let mut parts = Vec::new();
    if !cost.cpu_us.is_empty() {
        let roles: Vec<String> =
            cost.cpu_us.iter().map(|(role, us)| format!("{} us {role}", words::three(*us))).collect();
        parts.push(format!("cpu {}", roles.join(", ")));
    }
    let mut add = |value: Option<f64>, word: &dyn Fn(f64) -> String| parts.extend(value.map(word));
    add(cost.enters, &|value| format!("enters {}", words::three(value)));
    add(cost.syscalls, &|value| format!("syscalls {}", words::three(value)));
    add(cost.syncs, &|value| format!("syncs {}", words::three(value)));
    add(cost.ops_per_sync, &|value| format!("{} ops per sync", words::three(value)));
    add(cost.device_bytes, &|value| format!("device {} B/B", words::three(value)));
    add(cost.wire_bytes, &|value| format!("wire {}", words::bytes(value)));
    add(cost.allocations, &|value| format!("allocs {}", words::three(value)));
    add(cost.allocated_bytes, &|value| format!("allocated {}", words::bytes(value)));
    add(cost.context_switches, &|value| format!("switches {}", words::three(value)));
    add(cost.written_bytes, &|value| format!("written {}", words::bytes(value)));
    add(cost.run_delay_us, &|value| format!("run delay {} us", words::three(value)));
    add(cost.rss_bytes.map(|bytes| bytes as f64), &|value| format!("rss {}", words::bytes(value)));
    parts
}

fn sweep_parts(sweep: &super::result::Sweep) -> Vec<String> {
    let interval = sweep.rate_slo_ci95.map_or_else(String::new, |ci| format!(" {}", words::span(ci, words::rate)));
    let best = match sweep.rate_slo {
        Some(rate) => format!("{} within {}{interval}", words::rate(rate), sweep.slo),
        None => format!("no rate within {}", sweep.slo),
    };
    let mut parts = vec![best];
    if let Some(knee) = sweep.knee {
        parts.push(format!("knee {} at p99 {}", words::rate(knee.rate), words::time(knee.p99_us)));
    }
    if !sweep.saturated_first.is_empty() {
        parts.push(format!("full first: {}", sweep.saturated_first));
    }
    parts
}

fn verdict(verdict: &Verdict, result: &BenchResult, style: &Style) -> String {
    let lag = result.latency_of(ALL_OPS, Clock::SchedLag).and_then(|lag| lag.p99_us);
    let busy = format!("generator {} busy", words::percent(result.load.generator_busy_max));
    let parts = vec![busy, format!("lag p99 {}", words::time_or_dash(lag))];
    let mut out = laid_painted(verdict.class.name(), &style.verdict(verdict.class), &parts, style);
    for reason in &verdict.reasons {
        out += &laid("", &[words::reason(reason)], style);
    }
    out
}

const HEAD_COLUMNS: usize = 12;

fn laid(head: &str, parts: &[String], style: &Style) -> String {
    laid_painted(head, head, parts, style)
}

/// `head`, then the parts: side by side as far as they fit, else in lines below each other. `painted` is what is shown
/// of a head that is as wide as `head`. Parts may hold what a file says, so their escapes do not reach the terminal.
fn laid_painted(head: &str, painted: &str, parts: &[String], style: &Style) -> String {
    let pad = " ".repeat(HEAD_COLUMNS.saturating_sub(head.chars().count()).max(1));
    let mut out = format!("{painted}{pad}");
    let room = style.columns.saturating_sub(HEAD_COLUMNS).max(20);
    let gap = if style.columns >= WIDE_COLUMNS { "  " } else { " " };
    let mut used = 0;
    for part in parts.iter().map(|part| clean(part)) {
        let width = columns(&part);
        if used > 0 && used + gap.len() + width > room {
            out += &format!("\n{}", " ".repeat(HEAD_COLUMNS));
            used = 0;
        }
        if used > 0 {
            out += gap;
            used += gap.len();
        }
        out += &part;
        used += width;
    }
    format!("{}\n", out.trim_end())
}

/// `text` without control characters.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Columns that `text` takes, escapes left out.
pub(super) fn columns(text: &str) -> usize {
    let mut count = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_go_to_the_next_line_where_the_terminal_ends() {
        let parts: Vec<String> = (0..6).map(|at| format!("part number {at}")).collect();
        let narrow = laid("cost/op", &parts, &Style { columns: 50, has_colour: false });
        assert!(narrow.lines().count() == 3 && narrow.lines().all(|line| columns(line) <= 50), "{narrow}");
        assert_eq!(laid("cost/op", &parts, &Style::PLAIN).lines().count(), 1);
    }

    #[test]
    fn escapes_take_no_column() {
        let style = Style { columns: 80, has_colour: true };
        assert_eq!(columns(&style.verdict(VerdictClass::AtLeast)), 8);
        assert_eq!(Style::PLAIN.verdict(VerdictClass::Valid), "VALID");
    }
}
