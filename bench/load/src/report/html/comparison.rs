//! The page of a comparison: decision, change of each figure, both latencies in one plot, both environments.

use super::tables::grid;
use super::{note, page, plot, section, tone};
use crate::report::compare::{Basis, Comparison, Decision, Row, Side};
use crate::report::result::BenchResult;
use crate::report::svg::{self, escape};
use crate::report::words;

/// The page.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    let (base, new) = (comparison.base.first(), comparison.new.first());
    let mix = format!("{}/{}, {}", new.mix.name, new.mix.version, words::load(new));
    let mut body = format!(
        "<header><p class=\"kicker\">dropstone bench, comparison</p><h1>{}</h1><p>{}</p></header>\n",
        escape(&mix),
        escape(&format!("{} against {}", comparison.new.name, comparison.base.name)),
    );
    if !comparison.unlike.is_empty() {
        let what = comparison.unlike.join("; ");
        body += &format!("<div class=\"verdict bad\"><b>UNLIKE</b><p>{}</p></div>\n", escape(&what));
    }
    body += &decision(comparison);
    body += &plot(
        "Change of each figure",
        "New over base. Filled marks are medians of repeats with the interval between runs; hollow ones are single \
         runs. Green and red only where the whole interval lies on one side.",
        svg::forest(comparison),
    );
    body += &plot("Response by percentile", "", percentiles(base, new));
    body += &figures(comparison);
    if !comparison.notes.is_empty() {
        let notes: String = comparison.notes.iter().map(|text| note(text)).collect();
        body += &section("Notes", "", &notes);
    }
    body += &facts(&comparison.base, &comparison.new);
    page(&format!("{mix} compared - dropstone bench"), &body)
}

fn decision(comparison: &Comparison) -> String {
    let Some(decision) = comparison.decision else { return String::new() };
    let tone = match decision {
        Decision::Pass => "good",
        Decision::Undecided => "warn",
        Decision::Fail => "bad",
    };
    let gates = comparison.rows.iter().filter_map(|row| row.gate.map(|gate| (row, gate)));
    let mut list: String = gates
        .map(|(row, (gate, decision))| {
            let seen = format!("{gate} {}: {}", decision.name(), said(row));
            format!("<li>{}</li>", escape(&seen))
        })
        .collect();
    for gate in &comparison.absent {
        list += &format!("<li>{}</li>", escape(&format!("{gate} UNDECIDED: one side lacks the figure")));
    }
    format!("<div class=\"verdict {tone}\" role=\"status\"><b>{}</b><ul>{list}</ul></div>\n", decision.name())
}

fn said(row: &Row) -> String {
    let span = row.interval.map_or_else(|| "no interval".to_owned(), |span| words::span(span.span(), words::change));
    format!("{} {span}", words::change(row.ratio))
}

fn percentiles(base: &BenchResult, new: &BenchResult) -> Option<String> {
    let line = |name, class, result: &'_ BenchResult| result.headline().cloned().map(|latency| (name, class, latency));
    let lines = [line("base", "s6", base), line("new", "s1", new)];
    let lines: Vec<_> = lines.into_iter().flatten().collect();
    let lines: Vec<svg::Line<'_>> =
        lines.iter().map(|(name, class, latency)| svg::Line { name, class, latency }).collect();
    svg::percentiles(&lines)
}

fn figures(comparison: &Comparison) -> String {
    let row = |row: &Row| {
        let basis = match row.basis {
            Basis::Repeats => "repeats",
            Basis::WithinRun => "within the runs",
            Basis::Point => "counted once",
        };
        let interval = row.interval.map_or_else(|| "-".to_owned(), |span| words::span(span.span(), words::change));
        vec![
            row.metric.name().to_owned(),
            row.metric.show(row.base),
            row.metric.show(row.new),
            words::change(row.ratio),
            interval,
            basis.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = comparison.rows.iter().map(row).collect();
    section("Figures", "", &grid(&["figure", "base", "new", "change", "95 % interval", "interval from"], &rows))
}

/// Both environments, side by side; what differs is marked.
fn facts(base: &Side, new: &Side) -> String {
    let of = |side: &Side| {
        let result = side.first();
        let (tool, host, target) = (&result.tool, &result.host, &result.target);
        vec![
            ("verdict", side.class().name().to_owned()),
            ("runs", side.runs().to_string()),
            ("dropstone", format!("{} ({})", tool.version, tool.git)),
            ("mix", format!("{}/{}", result.mix.name, result.mix.version)),
            ("load", words::load(result)),
            ("window", format!("{} s", words::three(result.time.duration_s))),
            ("target", format!("{} {}, {} nodes, {} cores", target.driver, target.version, target.nodes, target.cores)),
            ("durability", words::durability(&target.durability)),
            ("machine", format!("{}, {} cores, {}", host.cpu, host.cores, host.virt)),
            ("kernel", host.kernel.clone()),
            ("disk", format!("{} on {}", host.fs, host.device)),
            ("checked", words::checks(result)),
            ("command", result.command.clone()),
        ]
    };
    let rows: String = of(base)
        .into_iter()
        .zip(of(new))
        .map(|((name, base), (_, new))| {
            let mark = if base == new { "" } else { " class=\"whole\"" };
            format!("<tr{mark}><td>{name}</td><td>{}</td><td>{}</td></tr>", escape(&base), escape(&new))
        })
        .collect();
    let verdicts = [base, new].map(|side| tone(side.class()));
    let head = format!(
        "<tr><th></th><th scope=\"col\" class=\"{}\">base: {}</th><th scope=\"col\" class=\"{}\">new: {}</th></tr>",
        verdicts[0],
        escape(&base.name),
        verdicts[1],
        escape(&new.name)
    );
    let table = format!(
        "<div class=\"scroll\"><table class=\"facts\"><thead>{head}</thead><tbody>{rows}</tbody></table></div>"
    );
    section("Both sides", "What differs is bold.", &table)
}
