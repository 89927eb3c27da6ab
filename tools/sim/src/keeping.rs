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
use crate::mutants::{Hunt, Kill, hunt};
use crate::run::Options;
use crate::schedule::Schedule;

/// A kept file of so many lines is short enough; of a longer one other seeds are tried.
const LINES_GOOD: usize = 300;
/// Longer ones are not kept.
const LINES_MAX: usize = 600;
/// Seeds that are shortened for one bug.
const SEEDS_SHORTENED: usize = 4;
/// Seeds searched for the next one to shorten.
const SEARCH_MAX: u64 = 60;

/// What is written for one bug.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The file.
    pub text: String,
    /// Its lines.
    pub lines: usize,
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
        match shorten(mutation, &kill, options, limit) {
            Ok(kept) if best.as_ref().is_none_or(|best| kept.lines < best.lines) => best = Some(kept),
            Ok(_) => {}
            Err(reason) => why = reason,
        }
        if best.as_ref().is_some_and(|best| best.lines <= LINES_GOOD) {
            break;
        }
    }
    match best {
        Some(best) if best.lines <= LINES_MAX => Ok(best),
        Some(best) => Err(format!("the shortest schedule, of seed {}, has {} lines", best.seed, best.lines)),
        None => Err(why),
    }
}

fn with_bug<T>(mutation: Mutation, act: impl FnOnce() -> T) -> T {
    mutations::switch(Some(mutation));
    let out = act();
    mutations::switch(None);
    out
}

fn shorten(mutation: Mutation, kill: &Kill, options: &Options, limit: Duration) -> Result<Kept, String> {
    let shrunk = with_bug(mutation, || {
        let report = run_caught(kill.seed, &Options { is_recording: true, ..options.clone() });
        let failure = failure_of(&report)?;
        let skips = options.skips.clone();
        let replay = |candidate: &Schedule| Options { skips: skips.clone(), ..Options::replaying(candidate) };
        Some(shrink_within(report.schedule?, failure, limit, replay))
    });
    let shrunk = shrunk.ok_or_else(|| format!("seed {} does not fail again", kill.seed))?;
    let what = judge(mutation, &shrunk.schedule)?;
    let why = format!("{}: {}", mutation.id, mutation.what);
    let saw = what.lines().next().unwrap_or_default();
    let text = comment(&why) + &comment(saw) + &shrunk.schedule.print();
    Ok(Kept { lines: text.lines().count(), text, seed: kill.seed, checker: shrunk.failure.checker })
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

/// Replays what a folder keeps of the bugs wanted; the exit code. Of those `known` to be seen by nobody none need be kept.
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
    wanted.iter().map(|mutation| mutation.id).filter(|id| !has(id) && !is_known(id)).collect()
}
