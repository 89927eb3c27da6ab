//! `dropstone sim shrink` and `replay`: from a failure to the few faults and operations that make it, and back.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::caught::run_caught;
use crate::cli::{Common, GREEN, THIN, VIOLATION, complain};
use crate::failure::tell;
use crate::json::Document;
use crate::run::{Options, Report};
use crate::schedule::Schedule;
use crate::shrink::{Failure, Shrunk, Try, shrink};

/// See [`crate::cli`].
#[derive(Args, Debug)]
pub(crate) struct ShrinkArgs {
    /// The seed that fails.
    seed: u64,
    #[command(flatten)]
    common: Common,
    /// Where to write the schedule; `sim-SEED.txt` here when not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Seconds to spend at most.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

/// See [`crate::cli`].
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Files written by `shrink` or `run --record`, or folders of such.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn failure_of(report: &Report) -> Option<Failure> {
    let violation = report.violation.as_ref()?;
    Some(Failure { checker: violation.checker.to_owned(), at_ms: report.simulated_ns.div_ceil(1_000_000) })
}

fn replaying(schedule: &Schedule, common: &Common) -> Options {
    let given = common.options();
    Options { skips: given.skips, ..Options::replaying(schedule) }
}

/// Tells how far it is: in place on a terminal, else a line now and then.
struct Ticker {
    begin: Instant,
    told: Instant,
    is_live: bool,
}

impl Ticker {
    fn new() -> Ticker {
        let now = Instant::now();
        Ticker { begin: now, told: now, is_live: std::io::stderr().is_terminal() }
    }

    fn tell(&mut self, best: &Schedule, tries: u32) {
        let every = Duration::from_millis(if self.is_live { 300 } else { 10_000 });
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let operations = best.operations.as_ref().map_or(0, Vec::len);
        let (faults, length_ms) = (best.faults.len(), best.size.length_ms.unwrap_or_default());
        let wall = self.begin.elapsed().as_secs();
        let line =
            format!("{wall} s: {tries} tries, {faults} faults and {operations} operations left in {length_ms} ms");
        if self.is_live {
            eprint!("\r{line} ");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("shrinking, {line}");
        }
    }

    fn end(&self) {
        if self.is_live {
            eprintln!();
        }
    }
}

/// Shortens until `is_over`, telling of it. `run` is how a candidate fails.
pub(crate) fn shrink_until(
    is_over: &dyn Fn() -> bool,
    schedule: Schedule,
    failure: Failure,
    run: &mut Try<'_>,
) -> Shrunk {
    let mut ticker = Ticker::new();
    let mut shrunk = shrink(schedule, failure, run, &mut |best, tries| {
        ticker.tell(best, tries);
        !is_over()
    });
    ticker.end();
    shrunk.schedule.fails = Some(shrunk.failure.checker.clone());
    shrunk
}

/// `text` as comment lines.
pub(crate) fn comment(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
}

/// Finds the shortest schedule under which a seed still fails.
pub(crate) fn shrink_seed(args: &ShrinkArgs, document: &mut Document) -> u8 {
    let report = run_caught(args.seed, &Options { is_recording: true, ..args.common.options() });
    let (Some(failure), Some(schedule)) = (failure_of(&report), report.schedule) else {
        println!("seed {} does not fail: nothing to shorten", args.seed);
        return GREEN;
    };
    let operations = schedule.operations.as_ref().map_or(0, Vec::len);
    println!(
        "seed {} fails by {} after {} faults and {operations} operations; shortening",
        args.seed,
        failure.checker,
        schedule.faults.len(),
    );
    let limit = Duration::from_secs(args.seconds);
    let mut run = |candidate: &Schedule, stops_with_faults: bool| {
        let options = Options { stops_with_faults, ..replaying(candidate, &args.common) };
        failure_of(&run_caught(candidate.seed, &options))
    };
    let begin = Instant::now();
    let shrunk = shrink_until(&|| begin.elapsed() >= limit, schedule, failure, &mut run);
    let violation = run_caught(args.seed, &replaying(&shrunk.schedule, &args.common)).violation;
    let why = violation.map(|violation| violation.to_string()).unwrap_or_default();
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("sim-{}.txt", args.seed)));
    if let Err(error) = std::fs::write(&path, comment(&why) + &shrunk.schedule.print()) {
        return complain(&format!("could not write {}: {error}", path.display()));
    }
    document.set("seed", args.seed);
    document.set("faults_left", shrunk.schedule.faults.len());
    document.set("tries", shrunk.tries);
    document.set("is_minimal", shrunk.is_minimal);
    println!(
        "{} faults and {} operations are left after {} tries{}: {}\n{why}\nagain: dropstone sim replay {}",
        shrunk.schedule.faults.len(),
        shrunk.schedule.operations.as_ref().map_or(0, Vec::len),
        shrunk.tries,
        if shrunk.is_minimal { "" } else { " (time ran out)" },
        path.display(),
        path.display(),
    );
    VIOLATION
}

/// The files named, and those in the folders named, in order.
pub(crate) fn schedules(paths: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> =
                std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
            inside.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
            inside.sort();
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The schedule in a file, or what is wrong with it.
pub(crate) fn read(path: &Path) -> Result<Schedule, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("could not read {}: {error}", path.display()))?;
    Schedule::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// How the schedule of a file fails, told whole; `None` when it does not.
fn replay_one(path: &Path, common: &Common) -> Result<Option<String>, String> {
    let schedule = read(path)?;
    let options = replaying(&schedule, common);
    let report = run_caught(schedule.seed, &options);
    let again = format!("dropstone sim replay {}", path.display());
    Ok(report.violation.is_some().then(|| tell(&report, &options, &again)))
}

/// Runs kept schedules; each must be green.
pub(crate) fn replay(args: &ReplayArgs, document: &mut Document) -> u8 {
    let files = match schedules(&args.paths) {
        Ok(files) => files,
        Err(error) => return complain(&format!("could not list the schedules: {error}")),
    };
    let mut failed = 0;
    for path in &files {
        match replay_one(path, &args.common) {
            Ok(None) => {}
            Ok(Some(text)) => {
                failed += 1;
                print!("{}: {text}", path.display());
            }
            Err(complaint) => return complain(&complaint),
        }
    }
    document.set("schedules", files.len());
    document.set("failed", failed);
    println!("replay: {} schedules, {failed} failed", files.len());
    match (failed, files.len()) {
        (0, 0) => THIN,
        (0, _) => GREEN,
        _ => VIOLATION,
    }
}
