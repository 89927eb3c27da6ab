//! `dropstone sim mutations`: seeded bugs are hunted, the shortest schedules that show them are kept and replayed.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Common;
use crate::json::Document;

/// Seeds after which a seeded bug counts as not seen.
const SEEDS_MAX: u64 = 240;

/// See [`crate::cli`].
#[derive(Args, Debug)]
pub(crate) struct MutationArgs {
    /// Only these, as `16a`, or `16` for all letters of it; all when none is named.
    ids: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Seeds to try for each.
    #[arg(long, default_value_t = SEEDS_MAX)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Hunts for each bug, from first seeds far apart; the table has their mean.
    #[arg(long, default_value_t = 1)]
    repeat: u64,
    /// Seeds of the longest hunt that are still enough.
    #[arg(long, default_value_t = SEEDS_MAX)]
    most: u64,
    /// Seeds of the median bug, by the mean of its hunts, that are still enough.
    #[arg(long, default_value_t = 60)]
    median: u64,
    /// Write the shortest schedule found that kills each to this folder, as ID.txt. Those that are there and kill still
    /// stay as they are; remove a file to have it made anew.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Simulated minutes to spend on shortening one schedule; a core does about five of them in a second.
    #[arg(long, default_value_t = 150)]
    keep_minutes: u64,
    /// Hunt for nothing: each schedule kept in this folder must still kill its bug by the same checker, and be green
    /// without it.
    #[arg(long, value_name = "FOLDER", conflicts_with = "keep")]
    replay: Option<PathBuf>,
    /// Write the table to this file.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Bugs that need not be found: known gaps, each with a line in docs/TESTING.md.
    #[arg(long, value_delimiter = ',')]
    known: Vec<String>,
}

/// Without seeded bugs in the build there is nothing to find.
#[cfg(not(mutations))]
pub(crate) fn hunt_all(_: &MutationArgs, _: &mut Document) -> u8 {
    crate::cli::complain("this build has no seeded bugs; run `cargo xtask sim mutations`")
}

/// Switches on one bug after the other; each must be seen by a checker, soon enough.
#[cfg(mutations)]
pub(crate) fn hunt_all(args: &MutationArgs, document: &mut Document) -> u8 {
    hunting::hunt_all(args, document)
}

#[cfg(mutations)]
mod hunting {
    use std::time::{Duration, Instant};

    use base::mutations::Mutation;

    use super::MutationArgs;
    use crate::cli::{GREEN, THIN, VIOLATION, complain};
    use crate::json::Document;
    use crate::keeping::{keep_all, replay_all};
    use crate::mutants::{Hunt, Tool, hunt, hunt_in_matrix, table, tool_of};

    /// Simulated nanoseconds of a minute.
    const NS_PER_MINUTE: u64 = 60_000_000_000;
    /// Between the first seeds of two hunts for one bug.
    const HUNTS_APART: u64 = 100_000;

    pub(super) fn hunt_all(args: &MutationArgs, document: &mut Document) -> u8 {
        let is_wanted = |id: &str| {
            let number = id.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            args.ids.is_empty() || args.ids.iter().any(|wanted| wanted == id || wanted == number)
        };
        let wanted: Vec<Mutation> =
            base::mutations::ALL.iter().copied().filter(|mutation| is_wanted(mutation.id)).collect();
        if wanted.is_empty() {
            return complain("no seeded bug has such a number");
        }
        let (of_tests, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(Mutation::is_for_tests);
        for mutation in of_tests {
            println!("{:>4}  {}: `cargo xtask mutants {}`", mutation.id, mutation.checkers.join(" "), mutation.id);
        }
        let options = args.common.options();
        if let Some(folder) = &args.replay {
            return replay_all(folder, &wanted, &args.known);
        }
        if let Some(folder) = &args.keep {
            return keep_all(folder, &wanted, &options, args.keep_minutes * NS_PER_MINUTE);
        }
        let mut hunts = Vec::new();
        for mutation in wanted {
            let begin = Instant::now();
            let firsts = (0..args.repeat.max(1)).map(|round| args.first + round * HUNTS_APART);
            let found = match tool_of(mutation.id) {
                Tool::Matrix(set) => hunt_in_matrix(mutation, set),
                Tool::Seeds => hunt(mutation, &options, firsts, args.seeds, args.threads),
            };
            report(&found, begin.elapsed());
            hunts.push(found);
        }
        document.set("mutations", crate::json::hunts(&hunts));
        if let Some(path) = &args.table
            && let Err(error) = std::fs::write(path, table(&hunts))
        {
            return complain(&format!("could not write {}: {error}", path.display()));
        }
        judge(&hunts, args)
    }

    fn report(found: &Hunt, wall: Duration) {
        let Mutation { id, what, .. } = found.mutation;
        println!("{id:>4}  {}  [{:.0} s]  {what}", found.line(), wall.as_secs_f64());
        if let Some(kill) = found.kills.iter().flatten().next() {
            println!("      {}", kill.what.lines().next().unwrap_or_default());
        }
    }

    /// The last lines and the exit code.
    fn judge(hunts: &[Hunt], args: &MutationArgs) -> u8 {
        let killed = hunts.iter().filter(|hunt| hunt.is_killed()).count();
        let expected = hunts.iter().filter(|hunt| hunt.is_expected()).count();
        let mut means: Vec<f64> = hunts.iter().filter(|hunt| hunt.is_killed()).map(Hunt::mean).collect();
        means.sort_by(f64::total_cmp);
        let median = means.get(means.len() / 2).copied().unwrap_or_default();
        let longest = hunts.iter().filter(|hunt| hunt.is_killed()).map(Hunt::longest).max().unwrap_or_default();
        println!(
            "mutations: {killed}/{}, {expected} by an expected checker, {} by others alone, median {median:.1} seeds, \
             longest hunt {longest}",
            hunts.len(),
            killed - expected,
        );
        let is_known = |hunt: &Hunt| args.known.iter().any(|id| id == hunt.mutation.id);
        let ids = |hunts: Vec<&Hunt>| hunts.iter().map(|hunt| hunt.mutation.id).collect::<Vec<_>>().join(", ");
        let open: Vec<&Hunt> = hunts.iter().filter(|hunt| !hunt.is_killed() && !is_known(hunt)).collect();
        let late: Vec<&Hunt> =
            hunts.iter().filter(|hunt| hunt.is_killed() && hunt.longest() > args.most && !is_known(hunt)).collect();
        let mut code = GREEN;
        if median > args.median as f64 {
            println!("thin: the median bug needs {median:.1} seeds, {} are wanted", args.median);
            code = THIN;
        }
        if !late.is_empty() {
            println!("thin: more than {} seeds until they are seen: {}", args.most, ids(late));
            code = THIN;
        }
        if !open.is_empty() {
            println!("VIOLATION: nobody sees {}", ids(open));
            code = VIOLATION;
        }
        code
    }
}
