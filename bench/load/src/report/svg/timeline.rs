//! The run second by second: rate, latency and the machine, one above the other, with faults marked through all.

use super::axis::{Scale, Unit};
use super::{Area, Plot, legend};
use crate::report::result::{BenchResult, Interval};
use crate::report::words;

const PANEL: f64 = 150.0;
const GAP: f64 = 58.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 945.0;

/// One figure of a second.
type Figure = fn(&Interval) -> Option<f64>;

/// The timeline of `result`; `None` with fewer than two intervals.
#[must_use]
pub fn timeline(result: &BenchResult) -> Option<String> {
    let intervals = &result.throughput.intervals;
    let (first, last) = (intervals.first()?, intervals.last()?);
    if intervals.len() < 2 {
        return None;
    }
    let step = (last.at_s - first.at_s) / (intervals.len() - 1) as f64;
    let x = Scale::Linear { low: first.at_s, high: last.at_s + step, unit: Unit::Seconds };
    let has_host = !result.host_series.steal.is_empty() || !result.host_series.psi_cpu.is_empty();
    let panels = if has_host { 3 } else { 2 };
    let height = 44.0 + panels as f64 * PANEL + (panels - 1) as f64 * GAP + 42.0;
    let mut plot = Plot::new(height);
    let area = |panel: usize, y: Scale| {
        let top = 44.0 + panel as f64 * (PANEL + GAP);
        Area { left: LEFT, right: RIGHT, top, bottom: top + PANEL, x, y }
    };
    let rates = intervals.iter().flat_map(|at| [at.offered, at.achieved]);
    let rate_area = area(0, Scale::linear(rates, Unit::Rate));
    let times = intervals.iter().flat_map(|at| [at.p50_us, at.p99_us, at.p999_us, at.max_us]).flatten();
    let time_area = area(1, Scale::log(times, Unit::Time));
    let shares = result.host_series.steal.iter().chain(&result.host_series.psi_cpu).chain(&result.host_series.psi_io);
    let host_area = area(2, Scale::linear(shares.copied().chain([0.02]), Unit::Percent));

    rate(&mut plot, &rate_area, result, step);
    latency(&mut plot, &time_area, intervals, step);
    if has_host {
        host(&mut plot, &host_area, result, step);
    }
    let bottom = if has_host { host_area.bottom } else { time_area.bottom };
    faults(&mut plot, &rate_area, bottom, result);
    hits(&mut plot, &rate_area, bottom, result, step);
    Some(plot.finish("timeline", "The run, second by second", &description(result)))
}

/// One line through the middle of the intervals, broken where a figure is missing.
fn series(plot: &mut Plot, area: &Area, class: &str, figures: impl Iterator<Item = (f64, Option<f64>)>) {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (at, figure) in figures {
        match figure {
            Some(figure) => points.push(area.point((at, figure))),
            None => {
                plot.path(class, &points);
                points.clear();
            }
        }
    }
    plot.path(class, &points);
}

fn rate(plot: &mut Plot, area: &Area, result: &BenchResult, step: f64) {
    let intervals = &result.throughput.intervals;
    area.draw_y(plot, "throughput");
    area.draw_x(plot, "");
    let most = intervals.iter().map(|at| at.errors).max().unwrap_or(0);
    for at in intervals.iter().filter(|at| at.errors > 0) {
        // Errors are drawn per second on the same axis as answers.
        let (left, right) = (area.x_of(at.at_s), area.x_of(at.at_s + step));
        let top = area.y_of(at.errors as f64 / step).min(area.bottom - 2.0);
        plot.rect("errors", (left + 1.0, top), (right - left - 2.0, area.bottom - top));
    }
    let middle = |at: &Interval| at.at_s + step / 2.0;
    series(
        plot,
        area,
        "line s2 dash",
        intervals.iter().map(|at| (middle(at), (at.offered > 0.0).then_some(at.offered))),
    );
    series(plot, area, "line s1", intervals.iter().map(|at| (middle(at), Some(at.achieved))));
    let mut entries = vec![("line s1", "answered")];
    if intervals.iter().any(|at| at.offered > 0.0) {
        entries.push(("line s2 dash", "offered"));
    }
    if most > 0 {
        entries.push(("line serr", "errors"));
    }
    legend(plot, area, &entries);
}

fn latency(plot: &mut Plot, area: &Area, intervals: &[Interval], step: f64) {
    area.draw_y(plot, "response");
    area.draw_x(plot, "");
    let middle = |at: &Interval| at.at_s + step / 2.0;
    let lines: [(&str, &str, Figure); 4] = [
        ("line s1", "p50", |at| at.p50_us),
        ("line s3 dash", "p99", |at| at.p99_us),
        ("line s4 dot2", "p99.9", |at| at.p999_us),
        ("line s6 thin", "max", |at| at.max_us),
    ];
    let mut entries = Vec::new();
    for (class, name, figure) in lines.into_iter().filter(|line| intervals.iter().any(|at| line.2(at).is_some())) {
        series(plot, area, class, intervals.iter().map(|at| (middle(at), figure(at))));
        entries.push((class, name));
    }
    legend(plot, area, &entries);
}

fn host(plot: &mut Plot, area: &Area, result: &BenchResult, step: f64) {
    let (host, intervals) = (&result.host_series, &result.throughput.intervals);
    area.draw_y(plot, "machine of the generator");
    area.draw_x(plot, "since the begin of the window");
    let mut entries = Vec::new();
    let lines = [
        ("line s1", "PSI cpu", &host.psi_cpu),
        ("line s3 dash", "PSI io", &host.psi_io),
        ("line serr", "steal", &host.steal),
    ];
    for (class, name, figures) in lines.into_iter().filter(|line| !line.2.is_empty()) {
        let middles = intervals.iter().map(|at| at.at_s + step / 2.0);
        series(plot, area, class, middles.zip(figures.iter().map(|share| Some(*share))));
        entries.push((class, name));
    }
    legend(plot, area, &entries);
}

fn faults(plot: &mut Plot, area: &Area, bottom: f64, result: &BenchResult) {
    for fault in &result.faults {
        let x = area.x_of(fault.at_s);
        if let Some(ms) = fault.recovered_ms {
            let width = area.x_of(fault.at_s + ms / 1e3) - x;
            plot.rect("faultspan", (x, area.top), (width, bottom - area.top));
        }
        plot.line("fault", (x, area.top - 4.0), (x, bottom));
        let is_right = x > (area.left + area.right) / 2.0;
        let (class, shift) = if is_right { ("faultname end", -5.0) } else { ("faultname start", 5.0) };
        plot.text(class, (x + shift, area.top + 12.0), &fault.kind);
    }
}

fn hits(plot: &mut Plot, area: &Area, bottom: f64, result: &BenchResult, step: f64) {
    for (place, at) in result.throughput.intervals.iter().enumerate() {
        let (left, right) = (area.x_of(at.at_s), area.x_of(at.at_s + step));
        let mut said = format!("{} s\nanswered  {}", words::three(at.at_s), words::rate(at.achieved));
        if at.offered > 0.0 {
            said += &format!("\noffered  {}", words::rate(at.offered));
        }
        if at.errors > 0 {
            said += &format!("\nerrors  {}", words::whole(at.errors));
        }
        for (name, figure) in [("p50", at.p50_us), ("p99", at.p99_us), ("p99.9", at.p999_us), ("max", at.max_us)] {
            said += &format!("\n{name}  {}", words::time_or_dash(figure));
        }
        for (name, figures) in [("PSI cpu", &result.host_series.psi_cpu), ("steal", &result.host_series.steal)] {
            if let Some(share) = figures.get(place) {
                said += &format!("\n{name}  {}", words::percent(*share));
            }
        }
        for fault in result.faults.iter().filter(|fault| at.at_s <= fault.at_s && fault.at_s < at.at_s + step) {
            said += &format!("\nfault  {}", fault.kind);
        }
        plot.hit((left, area.top), (right - left, bottom - area.top), &said);
    }
}

fn description(result: &BenchResult) -> String {
    let intervals = &result.throughput.intervals;
    let lowest = intervals.iter().map(|at| at.achieved).fold(f64::INFINITY, f64::min);
    let highest = intervals.iter().map(|at| at.achieved).fold(0.0, f64::max);
    let slowest = intervals.iter().filter_map(|at| at.p99_us).fold(0.0, f64::max);
    let faults = result.faults.iter().map(|fault| format!(" {} at {} s.", fault.kind, words::three(fault.at_s)));
    format!(
        "{} intervals; answered {} to {}; the worst p99 of an interval is {}.{}",
        intervals.len(),
        words::rate(lowest),
        words::rate(highest),
        words::time(slowest),
        faults.collect::<String>()
    )
}
