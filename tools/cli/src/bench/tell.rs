//! A run while it runs: one line a second on stderr, or the live view on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use hdrhistogram::Histogram;
use load::generator::Loop;
use load::phases::Second;
use load::recorder::{Clock, Record, new_histogram};
use load::report::fill::interval;
use load::report::tui::{Board, Mode, Screen};
use load::report::words;
use load::session::{Plan, Progress};

/// What is shown meanwhile.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ViewArgs {
    /// The live view, on a terminal that is large enough.
    #[arg(long)]
    tui: bool,
    /// Nothing until the end.
    #[arg(long, conflicts_with = "tui")]
    quiet: bool,
}

/// How a run is shown, chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View(Mode);

impl View {
    /// Nothing until the end.
    pub const QUIET: View = View(Mode::Quiet);
}

impl ViewArgs {
    /// The live view where it is wanted and possible; nothing where stdout is for machines.
    pub fn choose(self, is_json: bool) -> View {
        let has_no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        View(Mode::choose(self.tui, self.quiet || is_json, terminal(), has_no_color))
    }
}

/// Columns and rows of the terminal that stderr is; `None` where it is none.
fn terminal() -> Option<(usize, usize)> {
    let size = terminal_size::terminal_size_of(std::io::stderr())?;
    Some((usize::from(size.0.0), usize::from(size.1.0)))
}

/// Tells of one run. The terminal is as it was when this goes.
pub struct Teller {
    view: View,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    board: Board,
    screen: Screen,
    response: Option<Histogram<u64>>,
    is_begun: bool,
}

impl Teller {
    /// Of a run of `plan`.
    pub fn new(view: View, plan: &Plan) -> Teller {
        let load = match plan.pacing {
            Loop::Open { rate, .. } => format!("open loop, {}, {}", plan.stream.arrival.name(), words::rate(rate)),
            Loop::Closed { clients, .. } => format!("closed loop, {clients} clients"),
        };
        let mut board = Board::new(&format!("{}/{} {load}", plan.stream.mix.name, plan.stream.mix.version));
        board.phase = "fill".to_owned();
        let live = Live { board, ..Live::default() };
        Teller { view, live: Mutex::new(live) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears how far it is.
    pub fn progress(&self, progress: Progress) {
        let is_terminal = std::io::stderr().is_terminal();
        match (self.view.0, progress) {
            (Mode::Lines, Progress::Second(second)) => super::summary::print_second(&second),
            (Mode::Lines, Progress::Filled(done, all)) if is_terminal => {
                eprint!("\rfilled {done} of {all} namespaces{}", if done == all { "\n" } else { "" });
            }
            (Mode::Lines, Progress::Filled(done, all)) if done == all => eprintln!("filled {all} namespaces"),
            (Mode::Lines, Progress::Checking) => eprintln!("looking for every acknowledged write"),
            (Mode::Live, Progress::Checking) => self.draw(|live| live.board.phase = "check".to_owned()),
            _ => {}
        }
    }

    /// Hears every second, off the generator's cores.
    pub fn each(&self, second: &Second, record: &Record) {
        if self.view.0 != Mode::Live {
            return;
        }
        self.draw(|live| {
            live.board.phase = if second.is_measured { "measure" } else { "warm-up" }.to_owned();
            let sum = live.response.get_or_insert_with(new_histogram);
            sum.add(record.histograms.over_all(Clock::Response)).expect("all histograms have the same bounds");
            live.board.push(interval(second), sum);
        });
    }

    fn draw(&self, change: impl FnOnce(&mut Live)) {
        let mut live = self.lock();
        change(&mut live);
        let Some((columns, rows)) = terminal() else { return };
        let style = load::report::table::Style { columns, has_colour: true };
        let lines = live.board.render(&style, rows);
        let enter = if std::mem::replace(&mut live.is_begun, true) { "" } else { Screen::ENTER };
        let frame = live.screen.frame(&lines);
        // A terminal that is gone leaves nobody to tell.
        let _ = std::io::stderr().write_all(format!("{enter}{frame}").as_bytes());
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if self.lock().is_begun {
            let _ = std::io::stderr().write_all(Screen::LEAVE.as_bytes());
        }
    }
}
