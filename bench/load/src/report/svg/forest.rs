//! Ratios with their intervals, one under the other, around the line of no change.

use super::axis::{Scale, Unit};
use super::{Area, Plot, WIDTH};
use crate::report::compare::{Basis, Comparison, Decision, Row};
use crate::report::words;

const ROW: f64 = 30.0;
const TOP: f64 = 40.0;

/// The rows of `comparison` that have an interval; `None` when none has.
#[must_use]
pub fn forest(comparison: &Comparison) -> Option<String> {
    let rows: Vec<&Row> = comparison.rows.iter().filter(|row| row.interval.is_some()).collect();
    let limits = rows.iter().filter_map(|row| row.gate).map(|gate| gate.0.limit);
    let ends = rows.iter().filter_map(|row| row.interval).flat_map(|interval| [interval.low, interval.high]);
    let far = ends.chain(limits).filter(|ratio| ratio.is_finite()).map(|ratio| (ratio - 1.0).abs()).fold(0.0, f64::max);
    if rows.is_empty() {
        return None;
    }
    let reach = [0.02, 0.05, 0.1, 0.2, 0.5].into_iter().find(|reach| far <= *reach).unwrap_or(1.0);
    let bottom = TOP + rows.len() as f64 * ROW;
    let area = Area {
        left: 110.0,
        right: 690.0,
        top: TOP,
        bottom,
        x: Scale::Linear { low: -reach, high: reach, unit: Unit::Percent },
        y: Scale::Linear { low: 0.0, high: 1.0, unit: Unit::Count },
    };
    let mut plot = Plot::new(bottom + 44.0);
    area.draw_x(&mut plot, "change from base to new, with 95 % interval");
    let zero = area.x_of(0.0);
    plot.text("axis end", (780.0, TOP - 14.0), "change");
    plot.text("axis end", (WIDTH - 6.0, TOP - 14.0), "gate");
    for (at, row) in rows.iter().enumerate() {
        one(&mut plot, &area, row, TOP + at as f64 * ROW, at % 2 == 0);
    }
    plot.line("mark", (zero, area.top - 6.0), (zero, bottom));
    let description: Vec<String> = rows.iter().map(|row| said(row)).collect();
    Some(plot.finish("forest", "Change of each figure", &description.join("; ")))
}

fn one(plot: &mut Plot, area: &Area, row: &Row, y: f64, is_striped: bool) {
    let Some(interval) = row.interval else { return };
    if is_striped {
        plot.rect("stripe", (0.0, y), (WIDTH, ROW));
    }
    let middle = y + ROW / 2.0;
    let class = match verdict(row) {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Open => "open",
    };
    plot.text("label end", (area.left - 14.0, middle + 4.0), row.metric.name());
    let (low, high) = (area.x_of(interval.low - 1.0), area.x_of(interval.high - 1.0));
    let line = format!("interval {class}");
    plot.line(&line, (low, middle), (high, middle));
    for x in [low, high] {
        plot.line(&line, (x, middle - 5.0), (x, middle + 5.0));
    }
    let shape = if row.basis == Basis::Repeats { "dot" } else { "ring" };
    plot.dot(&format!("{shape} {class}"), (area.x_of(row.ratio - 1.0), middle), 4.5);
    plot.text("tick end", (780.0, middle + 4.0), &words::change(row.ratio));
    if let Some((gate, decision)) = row.gate {
        let x = area.x_of(gate.limit - 1.0);
        plot.line("limit", (x, y + 3.0), (x, y + ROW - 3.0));
        let class = match decision {
            Decision::Pass => "better",
            Decision::Undecided => "open",
            Decision::Fail => "worse",
        };
        plot.text(
            &format!("tick end strong {class}"),
            (WIDTH - 6.0, middle + 4.0),
            &format!("{gate} {}", decision.name()),
        );
    }
    plot.hit((0.0, y), (WIDTH, ROW), &said(row));
}

enum Verdict {
    Better,
    Worse,
    Open,
}

/// Better or worse only where the whole interval lies on one side of no change.
fn verdict(row: &Row) -> Verdict {
    let Some(interval) = row.interval else { return Verdict::Open };
    let grew = interval.low > 1.0;
    let shrank = interval.high < 1.0;
    match (grew, shrank, row.metric.is_better_high()) {
        (true, _, true) | (_, true, false) => Verdict::Better,
        (true, _, false) | (_, true, true) => Verdict::Worse,
        _ => Verdict::Open,
    }
}

fn said(row: &Row) -> String {
    let interval =
        row.interval.map_or_else(String::new, |interval| format!(" {}", words::span(interval.span(), words::change)));
    let (base, new) = (row.metric.show(row.base), row.metric.show(row.new));
    format!("{}: {base} to {new}, {}{interval}", row.metric.name(), words::change(row.ratio))
}
