//! A run while it runs: a live view on a terminal, one line a second elsewhere.
//!
//! Plain ANSI and nothing else: a view is a list of lines, drawn by a pure function, and only the lines that changed
//! are written again. The caller owns the terminal, asks for its size, and calls once a second.

mod draw;

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::result::Interval;
use super::table::{Style, columns};
use super::words;

/// Seconds that are kept for the lines over time.
const HISTORY_MAX: usize = 600;

/// Nodes and stages that are shown.
const ROWS_MAX: usize = 32;

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The live view.
    Live,
    /// One line a second.
    Lines,
    /// Nothing until the end.
    Quiet,
}

impl Mode {
    /// The live view only where it was asked for, on a terminal that is large enough and whose user wants escapes.
    #[must_use]
    pub fn choose(wants_live: bool, wants_quiet: bool, terminal: Option<(usize, usize)>, has_no_color: bool) -> Mode {
        let is_fit = terminal.is_some_and(|(columns, rows)| columns >= 60 && rows >= 16);
        match (wants_quiet, wants_live && is_fit && !has_no_color) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Live,
            (false, false) => Mode::Lines,
        }
    }
}

/// One node of the target as far as the bench knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name, as `n1`.
    pub name: String,
    /// False when it does not answer.
    pub is_up: bool,
    /// Groups it leads.
    pub leads: u32,
    /// Its log's sync, 99th percentile.
    pub sync_p99_us: Option<f64>,
    /// The busiest of its cores, 0 to 1.
    pub busy: Option<f64>,
}

/// What is known of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// What runs: mix, load, target.
    pub title: String,
    /// What goes on: `warm-up`, `measure`, `check`.
    pub phase: String,
    /// Length of the phase, seconds; 0 when nobody knows.
    pub phase_s: f64,
    /// Mean time in each stage during the last interval, in time order.
    pub stages_us: Vec<(String, f64)>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Marks such as faults and changes of the rate: second and name.
    pub marks: VecDeque<(f64, String)>,
    seconds: VecDeque<Interval>,
    response: Option<Histogram<u64>>,
}

impl Board {
    /// A board with nothing on it.
    #[must_use]
    pub fn new(title: &str) -> Board {
        Board { title: title.to_owned(), ..Board::default() }
    }

    /// Takes the figures of one more second, and the response times of the run so far in nanoseconds.
    pub fn push(&mut self, second: Interval, response: &Histogram<u64>) {
        if self.seconds.len() == HISTORY_MAX {
            self.seconds.pop_front();
        }
        self.seconds.push_back(second);
        // One shape for the whole run, so its memory is used again; another shape is copied.
        let is_kept = self.response.as_mut().is_some_and(|kept| kept.set_to(response).is_ok());
        if !is_kept {
            self.response = Some(response.clone());
        }
    }

    /// Marks a moment; the oldest mark goes when there are many.
    pub fn mark(&mut self, at_s: f64, name: &str) {
        if self.marks.len() == ROWS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back((at_s, name.to_owned()));
    }

    /// The view: at most `rows` lines of at most `style.columns` columns.
    #[must_use]
    pub fn render(&self, style: &Style, rows: usize) -> Vec<String> {
        draw::board(self, style, rows)
    }

    fn last(&self) -> Option<&Interval> {
        self.seconds.back()
    }

    /// One figure of each second, oldest first; 0 where it is missing.
    fn figures(&self, figure: impl Fn(&Interval) -> Option<f64>) -> Vec<f64> {
        self.seconds.iter().map(|second| figure(second).unwrap_or(0.0)).collect()
    }
}

/// What stands on the terminal, so that only changed lines are written.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    shown: Vec<String>,
}

impl Screen {
    /// To be written before the first frame: another screen, no cursor.
    pub const ENTER: &'static str = "\x1b[?1049h\x1b[?25l\x1b[2J";

    /// To be written at the end, whatever the end is: cursor and screen as they were.
    pub const LEAVE: &'static str = "\x1b[?25h\x1b[?1049l";

    /// What makes the terminal show `lines`.
    pub fn frame(&mut self, lines: &[String]) -> String {
        let mut out = String::new();
        for row in 0..lines.len().max(self.shown.len()) {
            let new = lines.get(row).map_or("", String::as_str);
            if self.shown.get(row).map(String::as_str) != Some(new) {
                out += &format!("\x1b[{};1H{new}\x1b[K", row + 1);
            }
        }
        self.shown = lines.to_vec();
        out
    }

    /// Forgets what is shown, after a change of the terminal's size.
    pub fn reset(&mut self) -> &'static str {
        self.shown.clear();
        "\x1b[2J"
    }
}

/// The head of the lines of [`plain_line`].
#[must_use]
pub fn plain_head() -> String {
    plain(
        ["s", "offered", "achieved", "p50", "p99", "p99.9", "max", "inflight", "lag p99", "errors"].map(str::to_owned),
    )
}

/// One second in one line, for logs and pipes.
#[must_use]
pub fn plain_line(second: &Interval) -> String {
    let offered = if second.offered > 0.0 { format!("{:.0}", second.offered) } else { "-".to_owned() };
    let time = words::time_or_dash;
    plain([
        format!("{:.0}", second.at_s),
        offered,
        format!("{:.0}", second.achieved),
        time(second.p50_us),
        time(second.p99_us),
        time(second.p999_us),
        time(second.max_us),
        second.inflight.to_string(),
        time(second.lag_p99_us),
        second.errors.to_string(),
    ])
}

fn plain(cells: [String; 10]) -> String {
    const WIDTHS: [usize; 10] = [5, 9, 9, 9, 9, 9, 9, 9, 9, 7];
    let padded = cells
        .iter()
        .zip(WIDTHS)
        .map(|(cell, width)| format!("{}{cell}", " ".repeat(width.saturating_sub(columns(cell)))));
    padded.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(seconds: usize) -> Board {
        let mut board = Board::new("sync/1 open loop, poisson, 4.00 k/s");
        let mut response = Histogram::<u64>::new_with_bounds(1, 1_000_000_000_000, 3).expect("valid bounds");
        board.phase = "measure".to_owned();
        board.phase_s = 30.0;
        for second in 0..seconds {
            (0..100).for_each(|at| response.record(400_000 + at * 9_000).expect("recorded"));
            let figures = Interval {
                at_s: second as f64,
                offered: 4_000.0,
                achieved: 3_990.0 + second as f64,
                p50_us: Some(612.0),
                p99_us: Some(1_860.0),
                p999_us: None,
                max_us: Some(7_300.0),
                inflight: 14,
                lag_p99_us: Some(20.0),
                errors: u64::from(second == 3),
                ..Interval::default()
            };
            board.push(figures, &response);
        }
        board.stages_us = vec![("net".to_owned(), 90.0), ("log_sync".to_owned(), 300.0), ("quorum".to_owned(), 140.0)];
        board.nodes = vec![
            Node { name: "n1".to_owned(), is_up: true, leads: 32, sync_p99_us: Some(900.0), busy: Some(0.4) },
            Node { name: "n2".to_owned(), is_up: false, ..Node::default() },
        ];
        board.mark(3.0, "kill-leader");
        board
    }

    #[test]
    fn the_view_fits_every_terminal() {
        for (width, rows) in [(60, 16), (80, 24), (132, 50), (200, 12), (20, 5), (1, 1), (0, 0)] {
            for seconds in [0, 1, 5, 700] {
                for has_colour in [false, true] {
                    let lines = board(seconds).render(&Style { columns: width, has_colour }, rows);
                    assert!(lines.len() <= rows, "{width}x{rows}: {} lines", lines.len());
                    for line in &lines {
                        assert!(columns(line) <= width, "{width}x{rows}: {} columns: {line:?}", columns(line));
                        assert!(has_colour || !line.contains('\x1b'), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_view_shows_rate_latency_stages_and_nodes() {
        let text = board(10).render(&Style { columns: 110, has_colour: false }, 40).join("\n");
        for part in [
            "sync/1",
            "measure",
            "10/30 s",
            "4.00 k/s",
            "p50",
            "612 us",
            "1.86 ms",
            "log_sync",
            "300 us",
            "n1",
            "32",
            "n2",
            "down",
            "kill-leader",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }

    #[test]
    fn only_changed_lines_are_written() {
        let mut screen = Screen::default();
        let lines = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(screen.frame(&lines(&["a", "b"])), "\x1b[1;1Ha\x1b[K\x1b[2;1Hb\x1b[K");
        assert_eq!(screen.frame(&lines(&["a", "c"])), "\x1b[2;1Hc\x1b[K");
        assert_eq!(screen.frame(&lines(&["a"])), "\x1b[2;1H\x1b[K");
        assert_eq!(screen.frame(&lines(&["a"])), "");
        screen.reset();
        assert_eq!(screen.frame(&lines(&["a"])), "\x1b[1;1Ha\x1b[K");
    }

    #[test]
    fn history_is_bounded() {
        assert_eq!(board(HISTORY_MAX + 50).seconds.len(), HISTORY_MAX);
        let mut board = board(1);
        (0..100).for_each(|at| board.mark(f64::from(at), "x"));
        assert_eq!(board.marks.len(), ROWS_MAX);
    }

    #[test]
    fn plain_lines_stand_below_their_head() {
        let board = board(1);
        let line = plain_line(board.last().expect("a second"));
        assert_eq!(columns(&line), columns(&plain_head()));
        assert!(line.contains("3990") && line.contains("612 us") && !line.contains('\x1b'), "{line}");
    }

    #[test]
    fn a_pipe_or_no_color_gets_lines() {
        let large = Some((120, 40));
        assert_eq!(Mode::choose(true, false, large, false), Mode::Live);
        assert_eq!(Mode::choose(true, false, large, true), Mode::Lines);
        assert_eq!(Mode::choose(true, false, None, false), Mode::Lines);
        assert_eq!(Mode::choose(true, false, Some((40, 40)), false), Mode::Lines);
        assert_eq!(Mode::choose(false, false, large, false), Mode::Lines);
        assert_eq!(Mode::choose(true, true, large, false), Mode::Quiet);
    }
}
