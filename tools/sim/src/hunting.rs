//! `dropstone sim shrink`, `replay` and `mutations`: from a failure to the few faults that make it, and back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::caught::{ASSERT, run_caught};
use crate::cli::{Common, GREEN, THIN, VIOLATION, complain};
use crate::run::{Options, Report};
use crate::schedule::Schedule;
use crate::shrink::{Failure, shrink};

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

/// See [`crate::cli`].
#[derive(Args, Debug)]
pub(crate) struct MutationArgs {
    /// Only these, as `16a`, or `16` for all letters of it; all when none is named.
    ids: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Seeds to try for each.
    #[arg(long, default_value_t = 240)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Write the table to this file.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Bugs that need not be found: known gaps, each with a line in docs/TESTING.md.
    #[arg(long, value_delimiter = ',')]
    known: Vec<String>,
}

fn failure_of(report: &Report) -> Option<Failure> {
    let violation = report.violation.as_ref()?;
    Some(Failure { checker: violation.checker.to_owned(), at_ms: report.simulated_ns.div_ceil(1_000_000) })
}

fn replaying(schedule: &Schedule, common: &Common) -> Options {
    let given = common.options();
    Options { skips: given.skips, damages_disks: given.damages_disks, ..Options::replaying(schedule) }
}

/// Finds the shortest schedule under which a seed still fails.
pub(crate) fn shrink_seed(args: &ShrinkArgs) -> u8 {
    let report = run_caught(args.seed, &Options { is_recording: true, ..args.common.options() });
    let Some(failure) = failure_of(&report) else {
        println!("seed {} does not fail: nothing to shorten", args.seed);
        return GREEN;
    };
    let Some(schedule) = report.schedule.filter(|_| failure.checker != ASSERT) else {
        return complain("an assertion of the code ended the run: its faults are lost; look at `run SEED` instead");
    };
    println!("seed {} fails by {} after {} faults; shortening", args.seed, failure.checker, schedule.faults.len());
    let begin = Instant::now();
    let limit = Duration::from_secs(args.seconds);
    let mut run = |candidate: &Schedule| failure_of(&run_caught(args.seed, &replaying(candidate, &args.common)));
    let shrunk = shrink(schedule, failure, &mut run, &mut || begin.elapsed() < limit);
    let violation = run_caught(args.seed, &replaying(&shrunk.schedule, &args.common)).violation;
    let why = violation.map(|violation| violation.to_string()).unwrap_or_default();
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("sim-{}.txt", args.seed)));
    if let Err(error) = std::fs::write(&path, format!("# {why}\n{}", shrunk.schedule)) {
        return complain(&format!("could not write {}: {error}", path.display()));
    }
    println!(
        "{} faults are left after {} tries{}: {}\n{why}\nagain: dropstone sim replay {}",
        shrunk.schedule.faults.len(),
        shrunk.tries,
        if shrunk.is_minimal { "" } else { " (time ran out)" },
        path.display(),
        path.display(),
    );
    VIOLATION
}

/// The files named, and those in the folders named, in order.
fn schedules(paths: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
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

fn replay_one(path: &Path, common: &Common) -> Result<Option<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("could not read {}: {error}", path.display()))?;
    let schedule = Schedule::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let report = run_caught(schedule.seed, &replaying(&schedule, common));
    Ok(report.violation.map(|violation| violation.to_string()))
}

/// Runs kept schedules; each must be green.
pub(crate) fn replay(args: &ReplayArgs) -> u8 {
    let files = match schedules(&args.paths) {
        Ok(files) => files,
        Err(error) => return complain(&format!("could not list the schedules: {error}")),
    };
    let mut failed = 0;
    for path in &files {
        match replay_one(path, &args.common) {
            Ok(None) => {}
            Ok(Some(what)) => {
                failed += 1;
                println!("{}: {what}", path.display());
            }
            Err(complaint) => return complain(&complaint),
        }
    }
    println!("replay: {} schedules, {failed} failed", files.len());
    match (failed, files.len()) {
        (0, 0) => THIN,
        (0, _) => GREEN,
        _ => VIOLATION,
    }
}

/// Without seeded bugs in the build there is nothing to find.
#[cfg(not(mutations))]
pub(crate) fn hunt_all(_: &MutationArgs) -> u8 {
    complain("this build has no seeded bugs; run `cargo xtask sim mutations`")
}

/// Switches on one bug after the other; each must be seen by a checker.
#[cfg(mutations)]
pub(crate) fn hunt_all(args: &MutationArgs) -> u8 {
    use crate::mutants::{hunt, table};
    let is_wanted = |id: &str| {
        let number = id.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        args.ids.is_empty() || args.ids.iter().any(|wanted| wanted == id || wanted == number)
    };
    let wanted: Vec<_> = base::mutations::ALL.iter().copied().filter(|mutation| is_wanted(mutation.id)).collect();
    if wanted.is_empty() {
        return complain("no seeded bug has such a number");
    }
    let (of_tests, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|mutation| mutation.is_for_tests());
    for mutation in of_tests {
        println!("{:>4}  {}: `cargo xtask mutants {}`", mutation.id, mutation.checkers.join(" "), mutation.id);
    }
    let options = args.common.options();
    let mut hunts = Vec::new();
    for mutation in wanted {
        let begin = Instant::now();
        let damage =
            Options { damages_disks: options.damages_disks || mutation.id.starts_with("12"), ..options.clone() };
        let found = hunt(mutation, &damage, args.first, args.seeds, args.threads);
        let seen = match &found.kill {
            Some(kill) => format!("{} after {} seeds (seed {})", kill.checker, kill.tried, kill.seed),
            None => format!("NOBODY in {} seeds", args.seeds),
        };
        println!("{:>4}  {seen}  [{:.0} s]  {}", mutation.id, begin.elapsed().as_secs_f64(), mutation.what);
        if let Some(kill) = &found.kill {
            println!("      {}", kill.what.lines().next().unwrap_or_default());
        }
        hunts.push(found);
    }
    let killed = hunts.iter().filter(|hunt| hunt.kill.is_some()).count();
    let expected = hunts.iter().filter(|hunt| hunt.is_expected()).count();
    let mut tried: Vec<u64> = hunts.iter().filter_map(|hunt| hunt.kill.as_ref()).map(|kill| kill.tried).collect();
    tried.sort_unstable();
    println!(
        "mutations: {killed}/{}, {expected} by an expected checker, median {} seeds, max {}",
        hunts.len(),
        tried.get(tried.len() / 2).copied().unwrap_or_default(),
        tried.last().copied().unwrap_or_default(),
    );
    if let Some(path) = &args.table
        && let Err(error) = std::fs::write(path, table(&hunts))
    {
        return complain(&format!("could not write {}: {error}", path.display()));
    }
    let is_open =
        |hunt: &&crate::mutants::Hunt| hunt.kill.is_none() && !args.known.iter().any(|id| id == hunt.mutation.id);
    if hunts.iter().any(|hunt| is_open(&hunt)) { VIOLATION } else { GREEN }
}
