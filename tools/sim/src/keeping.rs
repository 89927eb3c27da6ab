//! Schedules kept of seeded bugs: the shortest one found that shows each, written once and replayed for ever.
//!
//! A kept schedule must kill its bug by the checker it names, and be green without the bug: so it proves the checker, and
//! that the bug alone is to blame. Compiled under `--cfg mutations` alone.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base::mutations::{self, Mutation};

use crate::caught::run_caught;
use crate::cli::{GREEN, THIN, VIOLATION, complain};
use crate::hunting::{comment, failure_of, read, schedules, shrink_until};
use crate::mutants::{Kill, Tool, hunt, tool_of};
use crate::run::Options;
use crate::schedule::Schedule;

/// A kept file of so many bytes is short enough; of a longer one other seeds are tried.
const BYTES_GOOD: usize = 4_000;
/// Longer ones are not kept.
const BYTES_MAX: usize = 48_000;
/// Where kills to be shortened are looked for.
struct Rung {
    /// Faults end then, and the run with them; 0: runs as long as they are drawn.
    length_ms: u64,
    /// Seeds tried at most.
    seeds: u64,
    /// Kills that are shortened at most.
    kills: usize,
}

/// An early kill takes a tenth of the time to shorten, and comes out shorter: such are looked for first.
const RUNGS: [Rung; 2] = [Rung { length_ms: 12_000, seeds: 60, kills: 2 }, Rung { length_ms: 0, seeds: 240, kills: 3 }];

/// What is written for one bug.
#[derive(Clone, Debug)]
struct Kept {
    /// The file.
    text: String,
    /// The seed it came from.
    seed: u64,
    /// The checker that fails.
    checker: String,
}

/// Hunts a bug and shortens its kills, for `limit_ns` of simulated time each, until one is short enough; the shortest is what is kept.
///
/// # Errors
/// None is short, or what came out is not green without the bug.
fn keep(mutation: Mutation, options: &Options, limit_ns: u64) -> Result<Kept, String> {
    let (mut best, mut why): (Option<Kept>, String) = (None, "no seed shows it".to_owned());
    for Rung { length_ms, seeds, kills } in RUNGS {
        let mut options = options.clone();
        if length_ms > 0 {
            (options.size.length_ms, options.stops_with_faults) = (Some(length_ms), true);
        }
        let mut first = 0;
        for _ in 0..kills {
            let found = hunt(mutation, &options, std::iter::once(first), seeds.saturating_sub(first), 1);
            let Some(kill) = found.kills.into_iter().flatten().next() else { break };
            first = kill.seed + 1;
            // That the right code is red under what is left is rare: it is looked for from the start when it was.
            let shortened = shorten(mutation, &kill, &options, limit_ns, Care::AtTheEnd);
            match shortened.or_else(|_| shorten(mutation, &kill, &options, limit_ns, Care::Always)) {
                Ok(kept) if best.as_ref().is_none_or(|best| kept.text.len() < best.text.len()) => best = Some(kept),
                Ok(_) => {}
                Err(reason) => why = reason,
            }
            if best.as_ref().is_some_and(|best| best.text.len() <= BYTES_GOOD) {
                break;
            }
        }
        if best.as_ref().is_some_and(|best| best.text.len() <= BYTES_MAX) {
            break;
        }
    }
    match best {
        Some(best) if best.text.len() <= BYTES_MAX => Ok(best),
        Some(best) => Err(format!("the shortest schedule, of seed {}, has {} bytes", best.seed, best.text.len())),
        None => Err(why),
    }
}

fn with_bug<T>(mutation: Mutation, act: impl FnOnce() -> T) -> T {
    mutations::switch(Some(mutation));
    let out = act();
    mutations::switch(None);
    out
}

/// When a schedule that kills must be shown to be green without the bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Care {
    AtTheEnd,
    Always,
}

fn shorten(mutation: Mutation, kill: &Kill, options: &Options, limit_ns: u64, care: Care) -> Result<Kept, String> {
    let recording = Options { is_recording: true, ..options.clone() };
    let report = with_bug(mutation, || run_caught(kill.seed, &recording));
    let (Some(failure), Some(schedule)) = (failure_of(&report), report.schedule) else {
        return Err(format!("seed {} does not fail again", kill.seed));
    };
    let skips = options.skips.clone();
    let replaying = |candidate: &Schedule| Options { skips: skips.clone(), ..Options::replaying(candidate) };
    let checker = failure.checker.clone();
    // Of simulated time, so that what comes out is the same on any machine.
    let spent_ns = Cell::new(0);
    let run_one = |seed: u64, options: &Options| {
        let report = run_caught(seed, options);
        spent_ns.set(spent_ns.get() + report.simulated_ns);
        report
    };
    let mut run = |candidate: &Schedule, stops_with_faults: bool| {
        let options = replaying(candidate);
        let killing = Options { stops_with_faults, ..options.clone() };
        let failure = failure_of(&with_bug(mutation, || run_one(candidate.seed, &killing)))?;
        let is_judged = care == Care::Always && failure.checker == checker;
        (!is_judged || run_one(candidate.seed, &options).violation.is_none()).then_some(failure)
    };
    let shrunk = shrink_until(&|| spent_ns.get() >= limit_ns, schedule, failure, &mut run);
    let what = judge(mutation, &shrunk.schedule)?;
    let why = format!("{}: {}", mutation.id, mutation.what);
    let saw = what.lines().next().unwrap_or_default();
    let text = comment(&why) + &comment(saw) + &shrunk.schedule.print();
    Ok(Kept { text, seed: kill.seed, checker: shrunk.failure.checker })
}

/// The schedule kills the bug by the checker that it names, and nothing fails under it without the bug: what the checker
/// says; else what is wrong.
fn judge(mutation: Mutation, schedule: &Schedule) -> Result<String, String> {
    let options = Options::replaying(schedule);
    let wanted = schedule.fails.as_deref().unwrap_or("a checker");
    let killed = with_bug(mutation, || run_caught(schedule.seed, &options)).violation;
    let Some(killed) = killed else {
        return Err(format!("with the bug nothing fails, and {wanted} should"));
    };
    if killed.checker != wanted {
        return Err(format!("with the bug {} fails, and {wanted} should: {}", killed.checker, killed.what));
    }
    match run_caught(schedule.seed, &options).violation {
        None => Ok(killed.to_string()),
        Some(violation) => Err(format!("without the bug it is red too: {violation}")),
    }
}

/// Writes to a folder what is to be kept of the bugs that seeds hunt, one after the other; the exit code. A file that is
/// there and kills still stays as it is.
pub(crate) fn keep_all(folder: &Path, wanted: &[Mutation], options: &Options, limit_ns: u64) -> u8 {
    if let Err(error) = std::fs::create_dir_all(folder) {
        return complain(&format!("could not make the folder of what is kept: {error}"));
    }
    let mut unkept = Vec::new();
    for mutation in wanted.iter().copied().filter(|mutation| tool_of(mutation.id) == Tool::Seeds) {
        let (id, begin) = (mutation.id, Instant::now());
        let path = folder.join(format!("{id}.txt"));
        if read(&path).is_ok_and(|schedule| judge(mutation, &schedule).is_ok()) {
            println!("{id:>4}  is kept, and kills still");
            continue;
        }
        let told = match keep(mutation, options, limit_ns) {
            Ok(Kept { text, seed, checker }) => match std::fs::write(&path, &text) {
                Ok(()) => format!("kept: {} bytes, seed {seed}, by {checker}", text.len()),
                Err(error) => return complain(&format!("could not write {}: {error}", path.display())),
            },
            Err(why) => {
                unkept.push(id);
                format!("NOT KEPT: {why}")
            }
        };
        println!("{id:>4}  {told}  [{:.0} s]  {}", begin.elapsed().as_secs_f64(), mutation.what);
    }
    if unkept.is_empty() {
        return GREEN;
    }
    println!("thin: no schedule could be kept of {}", unkept.join(", "));
    THIN
}

/// Replays what a folder keeps of the bugs wanted; the exit code. Of those `known`, and of what the matrix hunts, none need
/// be kept.
pub(crate) fn replay_all(folder: &Path, wanted: &[Mutation], known: &[String]) -> u8 {
    let files = match schedules(&[folder.to_owned()]) {
        Ok(files) => files,
        Err(error) => return complain(&format!("could not list {}: {error}", folder.display())),
    };
    let (mut replayed, mut failed) = (0, 0);
    for path in &files {
        let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !base::mutations::ALL.iter().any(|mutation| mutation.id == id) {
            return complain(&format!("{}: no seeded bug has this number; remove the file", path.display()));
        }
        let Some(mutation) = wanted.iter().find(|mutation| mutation.id == id) else { continue };
        replayed += 1;
        match read(path).and_then(|schedule| judge(*mutation, &schedule)) {
            Ok(_) => {}
            Err(why) => {
                failed += 1;
                println!(
                    "{id:>4}  {why}\n      keep another: cargo xtask sim mutations {id} --keep {}",
                    folder.display()
                );
            }
        }
    }
    println!("mutations: {replayed} kept schedules replayed, {failed} of them do not kill as they did");
    let missing = missing(&files, wanted, known);
    if !missing.is_empty() {
        println!("thin: no schedule is kept of {}", missing.join(", "));
    }
    match failed {
        0 if replayed == 0 || !missing.is_empty() => THIN,
        0 => GREEN,
        _ => VIOLATION,
    }
}

fn missing(files: &[PathBuf], wanted: &[Mutation], known: &[String]) -> Vec<&'static str> {
    let has = |id: &str| files.iter().any(|path| path.file_stem().is_some_and(|stem| stem == id));
    let is_known = |id: &str| known.iter().any(|known| known == id);
    let of_seeds = wanted.iter().map(|mutation| mutation.id).filter(|id| tool_of(id) == Tool::Seeds);
    of_seeds.filter(|id| !has(id) && !is_known(id)).collect()
}
