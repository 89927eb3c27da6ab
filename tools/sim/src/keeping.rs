//! Schedules kept of seeded bugs: the shortest one found that shows each, written once and replayed for ever.
//!
//! A kept schedule must kill its bug by the checker it names, and be green without the bug: so it proves the checker, and
//! that the bug alone is to blame. Compiled under `--cfg mutations` alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::mutations::{self, Mutation};

use crate::caught::run_caught;
use crate::cli::{GREEN, THIN, VIOLATION, complain};
use crate::hunting::{comment, failure_of, read, schedules, shrink_within};
use crate::mutants::{Hunt, Kill, Tool, hunt, tool_of};
use crate::run::Options;
use crate::schedule::Schedule;

/// A kept file of so many bytes is short enough; of a longer one other seeds are tried.
const BYTES_GOOD: usize = 4_000;
/// Longer ones are not kept.
const BYTES_MAX: usize = 48_000;
/// Seeds that are shortened for one bug.
const SEEDS_SHORTENED: usize = 4;
/// Seeds searched for the next one to shorten.
const SEARCH_MAX: u64 = 60;

/// What is written for one bug.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The file.
    pub text: String,
    /// The seed it came from.
    pub seed: u64,
    /// The checker that fails.
    pub checker: String,
}

/// Shortens the kills of a hunt, those by expected checkers first and the earliest of these, for `limit` each, until one is
/// short enough; the shortest is what is kept.
///
/// # Errors
/// None is short, or what came out is not green without the bug.
pub fn keep(found: &Hunt, options: &Options, limit: Duration) -> Result<Kept, String> {
    let mutation = found.mutation;
    let mut kills: Vec<Kill> = found.kills.iter().flatten().cloned().collect();
    kills.sort_by_key(|kill| (!found.is_by_expected(kill), kill.at));
    let (mut best, mut why): (Option<Kept>, String) = (None, "no seed shows it".to_owned());
    for round in 0..SEEDS_SHORTENED {
        let kill = match kills.get(round) {
            Some(kill) => kill.clone(),
            None => {
                let Some(last) = kills.iter().map(|kill| kill.seed).max() else { break };
                let next = hunt(mutation, options, std::iter::once(last + 1), SEARCH_MAX, 1).kills.remove(0);
                let Some(next) = next else { break };
                kills.push(next.clone());
                next
            }
        };
        // What the right code is not owed under either is seldom in the way: it is looked for when it was.
        let shortened = shorten(mutation, &kill, options, limit, Care::AtTheEnd);
        match shortened.or_else(|_| shorten(mutation, &kill, options, limit, Care::Always)) {
            Ok(kept) if best.as_ref().is_none_or(|best| kept.text.len() < best.text.len()) => best = Some(kept),
            Ok(_) => {}
            Err(reason) => why = reason,
        }
        if best.as_ref().is_some_and(|best| best.text.len() <= BYTES_GOOD) {
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

fn shorten(mutation: Mutation, kill: &Kill, options: &Options, limit: Duration, care: Care) -> Result<Kept, String> {
    let recording = Options { is_recording: true, ..options.clone() };
    let report = with_bug(mutation, || run_caught(kill.seed, &recording));
    let (Some(failure), Some(schedule)) = (failure_of(&report), report.schedule) else {
        return Err(format!("seed {} does not fail again", kill.seed));
    };
    let skips = options.skips.clone();
    let replaying = |candidate: &Schedule| Options { skips: skips.clone(), ..Options::replaying(candidate) };
    let checker = failure.checker.clone();
    let mut run = |candidate: &Schedule, stops_with_faults: bool| {
        let options = replaying(candidate);
        let killing = Options { stops_with_faults, ..options.clone() };
        let failure = failure_of(&with_bug(mutation, || run_caught(candidate.seed, &killing)))?;
        let is_judged = care == Care::Always && failure.checker == checker;
        (!is_judged || run_caught(candidate.seed, &options).violation.is_none()).then_some(failure)
    };
    let shrunk = shrink_within(schedule, failure, limit, &mut run);
    let what = judge(mutation, &shrunk.schedule)?;
    let why = format!("{}: {}", mutation.id, mutation.what);
    let saw = what.lines().next().unwrap_or_default();
    let text = comment(&why) + &comment(saw) + &shrunk.schedule.print();
    Ok(Kept { text, seed: kill.seed, checker: shrunk.failure.checker })
}

/// The file of a bug in a folder.
pub(crate) fn path_of(folder: &Path, mutation: Mutation) -> PathBuf {
    folder.join(format!("{}.txt", mutation.id))
}

/// What is kept of the bug in a folder kills it still, and is green without.
pub(crate) fn is_kept(folder: &Path, mutation: Mutation) -> bool {
    read(&path_of(folder, mutation)).is_ok_and(|schedule| judge(mutation, &schedule).is_ok())
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
