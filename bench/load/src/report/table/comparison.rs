//! Two results as a table: figure, base, new, change with its interval, gate.

use super::{Style, clean, columns};
use crate::report::compare::{Basis, Comparison, Decision, Row};
use crate::report::words;

/// Columns of the drawn interval.
const PLOT_COLUMNS: usize = 33;

/// The table, notes below it and the decision at the end.
#[must_use]
pub fn comparison(comparison: &Comparison, style: &Style) -> String {
    let mut out = String::new();
    for side in [&comparison.base, &comparison.new] {
        let first = side.first();
        let runs = if side.runs() == 1 { "1 run".to_owned() } else { format!("{} runs", side.runs()) };
        let head = if std::ptr::eq(side, &comparison.base) { "base" } else { "new " };
        let tool = format!("dropstone {} ({})", first.tool.version, first.tool.git);
        out += &format!("{head}  {}  {runs}, {}, {}\n", clean(&side.name), clean(&tool), style.verdict(side.class()));
    }
    for unlike in &comparison.unlike {
        out += &format!("{}  {}\n", style.paint("1;31", "UNLIKE"), clean(unlike));
    }
    let has_plot = style.columns >= super::WIDE_COLUMNS;
    let scale = scale(&comparison.rows);
    let cells = |row: &Row| {
        let mut cells = vec![
            row.metric.name().to_owned(),
            row.metric.show(row.base),
            row.metric.show(row.new),
            words::change(row.ratio),
            row.interval.map_or_else(|| "-".to_owned(), |interval| words::span(interval.span(), words::change)),
        ];
        if has_plot {
            cells.push(plot(row, scale));
        }
        cells.push(gate(row, style));
        cells
    };
    let mut head = vec!["", "base", "new", "change", "95 % interval"];
    let axis = format!("{:<1$}", format!("-{scale:.0} %"), PLOT_COLUMNS - 5) + &format!("+{scale:.0} %");
    if has_plot {
        head.push(&axis);
    }
    head.push("gate");
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    rows.extend(comparison.rows.iter().map(cells));
    out += &format!("\n{}", aligned(&rows));
    for gate in &comparison.absent {
        out += &format!("{gate}: one side lacks the figure\n");
    }
    if !comparison.notes.is_empty() {
        out.push('\n');
    }
    comparison.notes.iter().for_each(|note| out += &format!("note  {}\n", clean(note)));
    if let Some(decision) = comparison.decision {
        out += &format!("\n{}\n", painted(decision, style));
    }
    out
}

fn painted(decision: Decision, style: &Style) -> String {
    let code = match decision {
        Decision::Pass => "1;32",
        Decision::Undecided => "1;33",
        Decision::Fail => "1;31",
    };
    style.paint(code, decision.name())
}

fn gate(row: &Row, style: &Style) -> String {
    match row.gate {
        Some((gate, decision)) => format!("{gate} {}", painted(decision, style)),
        None => String::new(),
    }
}

/// Half the width of the drawn axis, percent: a round figure that holds every interval, 100 at most.
fn scale(rows: &[Row]) -> f64 {
    let far = rows.iter().filter_map(|row| row.interval).flat_map(|interval| [interval.low, interval.high]);
    let farthest = far.filter(|ratio| ratio.is_finite()).map(|ratio| (ratio - 1.0).abs() * 100.0).fold(0.0, f64::max);
    [2.0, 5.0, 10.0, 20.0, 50.0].into_iter().find(|scale| farthest <= *scale).unwrap_or(100.0)
}

/// `     ├──●──┤│      `: the interval, the ratio in it, and the line of no change.
fn plot(row: &Row, scale: f64) -> String {
    let Some(interval) = row.interval else { return " ".repeat(PLOT_COLUMNS) };
    let half = (PLOT_COLUMNS / 2) as f64;
    let column = |ratio: f64| (half + ((ratio - 1.0) * 100.0 / scale).clamp(-1.0, 1.0) * half).round() as usize;
    let mut cells = vec![' '; PLOT_COLUMNS];
    cells[PLOT_COLUMNS / 2] = '│';
    let ends = (column(interval.low), column(interval.high));
    let (low, high) = (ends.0.min(ends.1), ends.0.max(ends.1));
    cells[low..=high].fill('─');
    (cells[low], cells[high]) = ('├', '┤');
    cells[column(row.ratio)] = if row.basis == Basis::Repeats { '●' } else { '○' };
    cells.into_iter().collect()
}

/// Figures to the right, the first and the last columns to the left.
fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| columns(&row[at])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[at] - columns(cell));
            let is_left = at == 0 || at >= 5;
            line += &if is_left { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}
