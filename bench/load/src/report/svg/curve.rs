//! Latency against rate: what a sweep found.

use super::axis::{Scale, Unit};
use super::{Area, Plot, legend};
use crate::report::result::{CurvePoint, Sweep};
use crate::report::words;

const HEIGHT: f64 = 420.0;

/// The lines: class, name, figure.
type Figure = fn(&CurvePoint) -> Option<f64>;
const LINES: [(&str, &str, Figure); 4] = [
    ("s1", "p50", |point| point.p50_us),
    ("s2 dash", "p90", |point| point.p90_us),
    ("s3", "p99", |point| point.p99_us),
    ("s4 dot2", "p99.9", |point| point.p999_us),
];

/// The curve of `sweep`; `None` with fewer than two levels.
#[must_use]
pub fn curve(sweep: &Sweep) -> Option<String> {
    let mut levels: Vec<&CurvePoint> = sweep.curve.iter().collect();
    if levels.len() < 2 {
        levels = sweep.searched.iter().collect();
    }
    levels.sort_by(|a, b| a.rate_achieved.total_cmp(&b.rate_achieved));
    if levels.len() < 2 {
        return None;
    }
    let rates = levels.iter().map(|level| level.rate_achieved);
    let times = levels.iter().flat_map(|level| LINES.map(|line| (line.2)(level))).flatten();
    let area = Area {
        left: 70.0,
        right: 945.0,
        top: 34.0,
        bottom: HEIGHT - 50.0,
        x: Scale::linear(rates.chain(sweep.rate_slo), Unit::Rate),
        y: Scale::log(times, Unit::Time),
    };
    let mut plot = Plot::new(HEIGHT);
    area.draw_y(&mut plot, "response");
    area.draw_x(&mut plot, "operations answered");
    slo(&mut plot, &area, sweep);
    for (class, _, figure) in LINES {
        let known = levels.iter().filter_map(|level| Some((level.rate_achieved, figure(level)?)));
        plot.path(&format!("line {class}"), &area.points(known));
        for level in &levels {
            let Some(time) = figure(level) else { continue };
            let shape = if level.met { "dot" } else { "ring" };
            plot.dot(&format!("{shape} {class}"), area.point((level.rate_achieved, time)), 3.5);
        }
    }
    if let Some(knee) = sweep.knee {
        let at = area.point((knee.rate, knee.p99_us));
        plot.dot("kneemark", at, 9.0);
        plot.text("label end", (at.0 - 14.0, at.1 - 10.0), &format!("knee, {}", words::rate(knee.rate)));
    }
    legend(&mut plot, &area, &LINES.map(|(class, name, _)| (class_of(class), name)));
    hits(&mut plot, &area, &levels);
    Some(plot.finish("curve", "Latency against rate", &description(sweep, &levels)))
}

fn class_of(class: &str) -> &'static str {
    match class {
        "s1" => "line s1",
        "s2 dash" => "line s2 dash",
        "s3" => "line s3",
        _ => "line s4 dot2",
    }
}

fn slo(plot: &mut Plot, area: &Area, sweep: &Sweep) {
    let Some(rate) = sweep.rate_slo else { return };
    if let Some([low, high]) = sweep.rate_slo_ci95 {
        let (left, right) = (area.x_of(low), area.x_of(high));
        plot.rect("band", (left, area.top), (right - left, area.bottom - area.top));
    }
    let x = area.x_of(rate);
    plot.line("mark", (x, area.top), (x, area.bottom));
    let said = format!("{} within {}", words::rate(rate), sweep.slo);
    let is_right = x > (area.left + area.right) / 2.0;
    let (class, shift) = if is_right { ("label end", -7.0) } else { ("label start", 7.0) };
    plot.text(class, (x + shift, area.top + 14.0), &said);
}

fn hits(plot: &mut Plot, area: &Area, levels: &[&CurvePoint]) {
    let places: Vec<f64> = levels.iter().map(|level| area.x_of(level.rate_achieved)).collect();
    for (at, level) in levels.iter().enumerate() {
        let left = if at == 0 { area.left } else { (places[at - 1] + places[at]) / 2.0 };
        let right = places.get(at + 1).map_or(area.right, |next| (places[at] + next) / 2.0);
        let mut said = format!("{} answered of {}", words::rate(level.rate_achieved), words::rate(level.rate_offered));
        for (_, name, figure) in LINES {
            said += &format!("\n{name}  {}", words::time_or_dash(figure(level)));
        }
        said += &format!("\nerrors  {}\n{}", words::percent(level.errors_share), met(level));
        plot.hit((left, area.top), (right - left, area.bottom - area.top), &said);
    }
}

fn met(level: &CurvePoint) -> &'static str {
    if level.met { "met the SLO" } else { "broke the SLO" }
}

fn description(sweep: &Sweep, levels: &[&CurvePoint]) -> String {
    let best = match sweep.rate_slo {
        Some(rate) => format!("the highest rate within {} is {}", sweep.slo, words::rate(rate)),
        None => format!("no rate is within {}", sweep.slo),
    };
    let each = levels.iter().map(|level| {
        format!(
            "{}: p50 {}, p99 {}",
            words::rate(level.rate_achieved),
            words::time_or_dash(level.p50_us),
            words::time_or_dash(level.p99_us)
        )
    });
    format!("{} levels; {best}. {}", levels.len(), each.collect::<Vec<_>>().join("; "))
}
