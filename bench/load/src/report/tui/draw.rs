//! The lines of the live view.

use super::{Board, Node, ROWS_MAX};
use crate::report::table::{Style, columns};
use crate::report::words;

const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const LEFT_EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

const DIM: &str = "2";
const BOLD: &str = "1";
const BLUE: &str = "34";
const CYAN: &str = "36";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "1;31";

/// Rows of the drawn histogram.
const HISTOGRAM_ROWS: usize = 4;

/// See [`Board::render`].
pub fn board(board: &Board, style: &Style, rows: usize) -> Vec<String> {
    let mut lines = head(board, style);
    lines.push(String::new());
    lines.extend(over_time(board, style));
    let histogram = histogram(board, style);
    let (stages, nodes) = (stages(board, style), nodes(board, style));
    // What does not fit is left out as a whole, the least needed first.
    for part in [stages, nodes, histogram, marks(board, style)] {
        if !part.is_empty() && lines.len() + 1 + part.len() <= rows {
            lines.push(String::new());
            lines.extend(part);
        }
    }
    lines.truncate(rows);
    lines.into_iter().map(|line| clipped(&line, style.columns)).collect()
}

fn head(board: &Board, style: &Style) -> Vec<String> {
    let elapsed = board.last().map_or(0.0, |second| second.at_s + 1.0);
    let clock =
        if board.phase_s > 0.0 { format!("{elapsed:.0}/{:.0} s", board.phase_s) } else { format!("{elapsed:.0} s") };
    let share = if board.phase_s > 0.0 { elapsed / board.phase_s } else { 0.0 };
    let room = style.columns.saturating_sub(columns(&board.phase) + columns(&clock) + 4);
    let bar = style.paint(BLUE, &bar(share, room));
    vec![style.paint(BOLD, &board.title), format!("{}  {bar}  {clock}", style.paint(CYAN, &board.phase))]
}

/// One line of blocks per figure: its name, its last value, and how it went.
fn over_time(board: &Board, style: &Style) -> Vec<String> {
    let room = style.columns.saturating_sub(24);
    let line = |name: &str, value: String, colour: &str, figures: Vec<f64>| {
        let recent = &figures[figures.len().saturating_sub(room)..];
        format!("{name:<10} {value:>11}  {}", style.paint(colour, &spark(recent)))
    };
    let last = board.last();
    let offered = last.map_or(0.0, |second| second.offered);
    let time = |figure: Option<f64>| words::time_or_dash(figure);
    let mut lines = Vec::new();
    if offered > 0.0 {
        lines.push(line("offered", words::rate(offered), DIM, board.figures(|second| Some(second.offered))));
    }
    let achieved = last.map_or(0.0, |second| second.achieved);
    lines.push(line("answered", words::rate(achieved), GREEN, board.figures(|second| Some(second.achieved))));
    lines.push(line("p50", time(last.and_then(|second| second.p50_us)), BLUE, board.figures(|second| second.p50_us)));
    lines.push(line("p99", time(last.and_then(|second| second.p99_us)), CYAN, board.figures(|second| second.p99_us)));
    lines.push(line(
        "p99.9",
        time(last.and_then(|second| second.p999_us)),
        CYAN,
        board.figures(|second| second.p999_us),
    ));
    lines.push(line("max", time(last.and_then(|second| second.max_us)), DIM, board.figures(|second| second.max_us)));
    let inflight = last.map_or(0, |second| second.inflight);
    lines.push(line("in flight", words::whole(inflight), YELLOW, board.figures(|second| Some(second.inflight as f64))));
    lines.push(line(
        "lag p99",
        time(last.and_then(|second| second.lag_p99_us)),
        DIM,
        board.figures(|second| second.lag_p99_us),
    ));
    let errors: u64 = board.seconds.iter().map(|second| second.errors).sum();
    let colour = if errors > 0 { RED } else { DIM };
    lines.push(line("errors", words::whole(errors), colour, board.figures(|second| Some(second.errors as f64))));
    lines
}

fn stages(board: &Board, style: &Style) -> Vec<String> {
    let total: f64 = board.stages_us.iter().map(|stage| stage.1).sum();
    if total <= 0.0 {
        return Vec::new();
    }
    let room = style.columns.saturating_sub(32);
    let row = |(name, us): &(String, f64)| {
        let bar = style.paint(BLUE, &bar(us / total, room));
        format!("{:<13} {:>9} {:>6}  {bar}", clipped(name, 13), words::time(*us), words::percent(us / total))
    };
    let mut lines = vec![style.paint(DIM, "stages, mean of the last second")];
    lines.extend(board.stages_us.iter().take(ROWS_MAX).map(row));
    lines
}

fn nodes(board: &Board, style: &Style) -> Vec<String> {
    if board.nodes.is_empty() {
        return Vec::new();
    }
    let row = |node: &Node| {
        let state = if node.is_up { style.paint(GREEN, "up  ") } else { style.paint(RED, "down") };
        let busy = node.busy.map_or_else(|| "-".to_owned(), words::percent);
        let sync = words::time_or_dash(node.sync_p99_us);
        format!("{:<8} {state} {:>7} {sync:>11} {busy:>7}", clipped(&node.name, 8), node.leads)
    };
    let mut lines = vec![style.paint(DIM, "node     state  leads    sync p99    busy")];
    lines.extend(board.nodes.iter().take(ROWS_MAX).map(row));
    lines
}

/// Response times on a logarithmic axis from the fastest to the slowest, with the places of the percentiles below.
fn histogram(board: &Board, style: &Style) -> Vec<String> {
    let Some(response) = board.response.as_ref().filter(|response| !response.is_empty()) else { return Vec::new() };
    let room = style.columns.saturating_sub(2).min(120);
    let (low, high) = (response.min_nz().max(100) as f64, response.max().max(200) as f64);
    if room < 20 || high <= low {
        return Vec::new();
    }
    let column = |value: f64| {
        let place = (value.max(low) / low).ln() / (high / low).ln();
        ((place * (room - 1) as f64) as usize).min(room - 1)
    };
    let mut counts = vec![0.0f64; room];
    for step in response.iter_recorded() {
        counts[column(step.value_iterated_to() as f64)] += step.count_at_value() as f64;
    }
    let most = counts.iter().copied().fold(1.0, f64::max);
    let mut lines = vec![style.paint(DIM, "response so far, logarithmic")];
    for row in (0..HISTOGRAM_ROWS).rev() {
        let cell = |count: &f64| {
            let level = count / most * (HISTOGRAM_ROWS * 8) as f64 - (row * 8) as f64;
            // What was seen at all is seen in the picture.
            let floor = if row == 0 && *count > 0.0 { 1.0 } else { 0.0 };
            EIGHTHS[level.max(floor).clamp(0.0, 8.0) as usize]
        };
        lines.push(style.paint(BLUE, &counts.iter().map(cell).collect::<String>()));
    }
    lines.push(axis(room, low, high, |quantile| column(response.value_at_quantile(quantile) as f64)));
    lines
}

/// `400 us        p50    p99 1.29 ms`.
fn axis(room: usize, low: f64, high: f64, place: impl Fn(f64) -> usize) -> String {
    let mut cells: Vec<char> = vec![' '; room];
    let mut put = |at: usize, text: &str| {
        let at = at.min(room.saturating_sub(text.chars().count()));
        let is_free = cells[at..].iter().take(text.chars().count() + 1).all(|cell| *cell == ' ');
        if is_free {
            text.chars().zip(&mut cells[at..]).for_each(|(c, cell)| *cell = c);
        }
    };
    put(0, &words::time(low / 1e3));
    put(room, &words::time(high / 1e3));
    for (quantile, name) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")] {
        put(place(quantile), name);
    }
    cells.into_iter().collect::<String>().trim_end().to_owned()
}

fn marks(board: &Board, style: &Style) -> Vec<String> {
    let recent = board.marks.iter().rev().take(4);
    recent.map(|(at, name)| format!("{} at {at:.0} s", style.paint(YELLOW, name))).collect()
}

/// Blocks from 0 to the largest figure.
fn spark(figures: &[f64]) -> String {
    let most = figures.iter().copied().fold(0.0, f64::max);
    let block = |figure: &f64| match figure {
        none if *none <= 0.0 || most <= 0.0 => ' ',
        some => EIGHTHS[((some / most * 8.0).ceil() as usize).clamp(1, 8)],
    };
    figures.iter().map(block).collect()
}

/// A bar of `room` columns at the most, in eighths.
fn bar(share: f64, room: usize) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * (room * 8) as f64).round() as usize;
    let mut out = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        out.push(LEFT_EIGHTHS[eighths % 8]);
    }
    out
}

/// `line` cut to `room` columns; escapes stay whole, and colours end.
fn clipped(line: &str, room: usize) -> String {
    if columns(line) <= room {
        return line.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            out.push(c);
            for part in chars.by_ref() {
                out.push(part);
                if part.is_ascii_alphabetic() {
                    break;
                }
            }
        } else if used < room {
            out.push(c);
            used += 1;
        }
    }
    out
}
