//! `dropstone sim`: one seed, many seeds, the same seed twice, and how fast that goes.
//!
//! Exit codes: 0 green, 2 usage, 3 green but too thin to prove anything, 4 a claim was broken.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};

use crate::coverage::{Coverage, MESSAGES, ROLES};
use crate::fault::Class;
use crate::json::Document;
use crate::profile::Profile;
use crate::run::{Options, Report, run as run_seed};
use crate::schedule::Schedule;
use crate::swarm::{Progress, Totals, swarm};

/// All went well.
pub const GREEN: u8 = 0;
/// The arguments make no sense.
pub const USAGE: u8 = 2;
/// Nothing was found, and too little was tried.
pub const THIN: u8 = 3;
/// A claim was broken.
pub const VIOLATION: u8 = 4;

/// Simulate a whole cluster on one thread, with faults of every kind.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct SimArgs {
    #[command(subcommand)]
    command: Command,
    /// Write a report in JSON to this file.
    #[arg(long, global = true, value_name = "FILE")]
    report: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
A report is one JSON object. All commands: format, command, verdict (green, thin, violation, usage), exit, wall_s, revision
(of DROPSTONE_REVISION), has_checks. Those that run seeds: options, runs, simulated_hours, events, operations,
acknowledged, crashes, disks_lost, elections, faults_total, faults, failures, thin, speed, coverage.
Exit codes: 0 green  2 usage  3 green but too thin to prove anything  4 a claim was broken";

#[derive(Subcommand, Debug)]
enum Command {
    /// One seed.
    Run(RunArgs),
    /// Many seeds; stops at the first failure.
    Swarm(SwarmArgs),
    /// Each seed twice: nothing may differ.
    Determinism(DeterminismArgs),
    /// How fast it is.
    Bench(BenchArgs),
    /// Run a failing seed's faults with ever less of them, and write what is left.
    Shrink(crate::hunting::ShrinkArgs),
    /// Run schedules that were kept: files, or folders of them.
    Replay(crate::hunting::ReplayArgs),
    /// Switch on one seeded bug after the other, until a checker sees each.
    Mutations(crate::hunting::MutationArgs),
    /// Lost bytes, lost files, failed operations: the storage-fault matrix.
    Matrix(crate::matrix::MatrixArgs),
    /// A crash after every I/O of short scripts.
    Sweep(crate::sweep::SweepArgs),
}

/// What is common to all.
#[derive(Args, Debug, Clone)]
pub(crate) struct Common {
    /// standard, dense, clock, hopeless or liar.
    #[arg(long, default_value = "dense", value_parser = profile)]
    profile: Profile,
    /// Classes of faults that never strike, e.g. NET1,PROC5.
    #[arg(long, value_delimiter = ',', value_parser = class)]
    without: Vec<Class>,
    /// Only these classes strike.
    #[arg(long, value_delimiter = ',', value_parser = class, conflicts_with = "without")]
    only: Vec<Class>,
    /// Checkers that are not asked, by name.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// Damage what is durable: lost and misdirected writes, rot, torn sectors.
    #[arg(long)]
    damage: bool,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// The seed.
    seed: u64,
    #[command(flatten)]
    common: Common,
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Write the faults that struck to this file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Strike the faults of this file, and no others.
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct SwarmArgs {
    /// How many from 0, or FROM..TO.
    #[arg(long, default_value = "1000", value_parser = seeds)]
    seeds: Seeds,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[command(flatten)]
    common: Common,
    /// Go on after failures.
    #[arg(long)]
    keep_going: bool,
    /// Strikes of each class that prove enough; 0 asks for none.
    #[arg(long, default_value_t = 0)]
    gate: u64,
    /// Percent of the marks to be reached that prove enough; 0 asks for none.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    mark_gate: u32,
    /// List the marks, those never reached first.
    #[arg(long)]
    marks: bool,
}

#[derive(Args, Debug)]
struct DeterminismArgs {
    /// How many from 0, or FROM..TO.
    #[arg(default_value = "500", value_parser = seeds)]
    seeds: Seeds,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct BenchArgs {
    /// Wall seconds to spend.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(flatten)]
    common: Common,
}

/// `from..to`.
#[derive(Clone, Debug)]
struct Seeds(std::ops::Range<u64>);

fn profile(name: &str) -> Result<Profile, String> {
    Profile::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Profile::ALL.into_iter().map(Profile::name).collect();
        format!("no such profile; choose one of {}", names.join(", "))
    })
}

fn class(name: &str) -> Result<Class, String> {
    Class::from_name(&name.to_uppercase()).ok_or_else(|| "no such class of faults; NET1 to CTL2".to_owned())
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.replace('_', "").parse::<u64>().map_err(|_| format!("`{text}` is no number"));
    match text.split_once("..") {
        Some((from, to)) => Ok(Seeds(number(from)?..number(to)?)),
        None => Ok(Seeds(0..number(text)?)),
    }
}

impl Common {
    pub(crate) fn options(&self) -> Options {
        let without = if self.only.is_empty() {
            self.without.clone()
        } else {
            crate::fault::ALL.into_iter().filter(|class| !self.only.contains(class)).collect()
        };
        Options { without, skips: self.skip.clone(), damages_disks: self.damage, ..Options::new(self.profile) }
    }
}

/// Does what was asked; the process's exit code.
#[must_use]
pub fn run(args: &SimArgs) -> u8 {
    if cfg!(not(sim)) {
        eprintln!("note: without marks and the assertions of debug builds; `cargo xtask sim` has them");
    }
    let begin = Instant::now();
    let mut document = Document::default();
    let out = &mut document;
    let (name, exit) = match &args.command {
        Command::Run(args) => ("run", one(args, out)),
        Command::Swarm(args) => ("swarm", many(args, out)),
        Command::Determinism(args) => ("determinism", twice(args, out)),
        Command::Bench(args) => ("bench", bench(args, out)),
        Command::Shrink(args) => ("shrink", crate::hunting::shrink_seed(args, out)),
        Command::Replay(args) => ("replay", crate::hunting::replay(args, out)),
        Command::Mutations(args) => ("mutations", crate::hunting::hunt_all(args, out)),
        Command::Matrix(args) => ("matrix", verdict(crate::matrix::run(args, out))),
        Command::Sweep(args) => ("sweep", verdict(crate::sweep::run(args, out))),
    };
    let Some(path) = &args.report else { return exit };
    match document.write(path, name, exit, begin.elapsed().as_secs_f64()) {
        Ok(()) => exit,
        Err(error) => complain(&format!("could not write {}: {error}", path.display())),
    }
}

fn verdict(is_green: bool) -> u8 {
    if is_green { GREEN } else { VIOLATION }
}

fn one(args: &RunArgs, document: &mut Document) -> u8 {
    let mut options = Options { print: args.trace, is_recording: args.record.is_some(), ..args.common.options() };
    if let Some(path) = &args.schedule {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return complain(&format!("could not read {}: {error}", path.display())),
        };
        match Schedule::parse(&text) {
            Ok(schedule) => {
                options.size = schedule.size;
                options.profile = schedule.profile;
                options.schedule = Some(schedule.faults);
            }
            Err(error) => return complain(&error.to_string()),
        }
    }
    let begin = Instant::now();
    let report = run_seed(args.seed, &options, &mut options.checkers());
    let wall = begin.elapsed().as_secs_f64();
    let mut totals = Totals::default();
    totals.add(&report);
    document.set_options(&options);
    document.set_totals(&totals, wall);
    document.set_run(&report);
    println!(
        "seed {}: {:.1} s simulated in {:.3} s ({:.0}x), {} events, {} of {} operations acknowledged, {} crashes, {} \
         disks lost, {} elections, {} faults, hash {:032x}",
        report.seed,
        report.simulated_ns as f64 / 1e9,
        wall,
        report.simulated_ns as f64 / 1e9 / wall,
        report.events,
        report.acknowledged,
        report.operations,
        report.crashes,
        report.disks_lost,
        report.elections,
        report.faults_total(),
        report.trace_hash,
    );
    println!("{}", totals.faults_line());
    if let (Some(path), Some(schedule)) = (&args.record, &report.schedule)
        && let Err(error) = std::fs::write(path, schedule.print())
    {
        return complain(&format!("could not write {}: {error}", path.display()));
    }
    match &report.violation {
        None => GREEN,
        Some(violation) => {
            println!("VIOLATION at {:.6} s: {violation}", report.simulated_ns as f64 / 1e9);
            VIOLATION
        }
    }
}

pub(crate) fn complain(text: &str) -> u8 {
    eprintln!("{text}");
    USAGE
}

fn many(args: &SwarmArgs, document: &mut Document) -> u8 {
    let options = args.common.options();
    let begin = Instant::now();
    let is_live = std::io::stderr().is_terminal();
    let totals = swarm(args.seeds.0.clone(), args.threads, &options, !args.keep_going, |progress| {
        if is_live {
            eprint!("\r{}", progress_line(progress));
            let _ = std::io::stderr().flush();
        }
    });
    if is_live {
        eprintln!();
    }
    println!("{}", totals_line(&totals, args.common.profile));
    println!("{}", totals.faults_line());
    println!("{}", kinds_line(&totals.coverage));
    document.set_options(&options);
    document.set("seeds", vec![args.seeds.0.start, args.seeds.0.end]);
    document.set_totals(&totals, begin.elapsed().as_secs_f64());
    for (seed, (checker, what)) in &totals.failures {
        println!("seed {seed}: {checker}: {what}");
        println!("  again: dropstone sim run {seed} --profile {}", args.common.profile.name());
    }
    let mut thin = if args.gate > 0 { totals.thin(&options, args.gate) } else { Vec::new() };
    thin.extend(totals.coverage.thin(args.mark_gate));
    document.set("thin", thin.clone());
    if args.marks {
        list_marks(&totals.coverage);
    }
    let exit = match (totals.failures.is_empty(), thin.is_empty()) {
        (false, _) => VIOLATION,
        (true, false) => THIN,
        (true, true) => GREEN,
    };
    if exit == THIN {
        thin.iter().for_each(|why| println!("thin: {why}"));
    }
    println!("{}", totals.marks_line());
    exit
}

fn kinds_line(coverage: &Coverage) -> String {
    let (messages, states) = coverage.kinds_seen();
    format!(
        "seen: {messages}/{} of message kinds x roles, {states} of role x health x progress",
        MESSAGES.len() * ROLES.len()
    )
}

/// Those never reached, those that should not be excused, and then all others, the rarest first.
fn list_marks(coverage: &Coverage) {
    coverage.missing().iter().for_each(|name| println!("mark never reached: {name}"));
    coverage.wrongly_excused().iter().for_each(|name| println!("mark reached although excused: {name}"));
    let mut reached: Vec<_> = coverage.reached().filter(|(_, count)| *count > 0).collect();
    reached.sort_by_key(|(_, count)| *count);
    reached.iter().for_each(|(name, count)| println!("mark {name}: {count}"));
}

fn progress_line(progress: &Progress) -> String {
    let totals = &progress.totals;
    let wall = progress.elapsed.as_secs_f64().max(0.001);
    format!(
        "{}/{} seeds, {:.1}/s, {:.0}x, {} faults, {} failures ",
        totals.seeds,
        progress.seeds,
        totals.seeds as f64 / wall,
        totals.simulated_ns as f64 / 1e9 / wall,
        totals.faults_total(),
        totals.failures.len()
    )
}

fn totals_line(totals: &Totals, profile: Profile) -> String {
    let hours = totals.hours().max(1e-9);
    format!(
        "sim {}: {} seeds, {} failed, {:.2} simulated hours, {} events, {} operations acknowledged ({} per seed), {} \
         crashes ({:.0}/h), {} disks lost, {} elections, {} faults ({:.0}/h)",
        profile.name(),
        totals.seeds,
        totals.failures.len(),
        hours,
        totals.events,
        totals.acknowledged,
        totals.acknowledged / totals.seeds.max(1),
        totals.crashes,
        totals.crashes as f64 / hours,
        totals.disks_lost,
        totals.elections,
        totals.faults_total(),
        totals.faults_total() as f64 / hours,
    )
}

fn twice(args: &DeterminismArgs, document: &mut Document) -> u8 {
    let options = args.common.options();
    let count = args.seeds.0.end.saturating_sub(args.seeds.0.start);
    document.set_options(&options);
    document.set("seeds", vec![args.seeds.0.start, args.seeds.0.end]);
    for seed in args.seeds.0.clone() {
        // The second run on another thread: nothing of a thread may matter.
        let first = run_seed(seed, &options, &mut options.checkers());
        let again = std::thread::scope(|scope| {
            scope
                .spawn(|| run_seed(seed, &options, &mut options.checkers()))
                .join()
                .expect("the first run did not panic")
        });
        if first.trace_hash != again.trace_hash {
            println!("seed {seed}: two runs differ: {:032x} and {:032x}", first.trace_hash, again.trace_hash);
            document.set("differs", seed);
            show_difference(seed, &options);
            return THIN;
        }
    }
    document.set("same", count);
    println!("same {count}/{count}");
    GREEN
}

/// Prints the first event that differs, with its neighbours.
fn show_difference(seed: u64, options: &Options) {
    let stepping = Options { keeps_steps: true, ..options.clone() };
    let steps = |report: &Report| report.steps.clone().unwrap_or_default();
    let first = steps(&run_seed(seed, &stepping, &mut stepping.checkers()));
    let again = steps(&run_seed(seed, &stepping, &mut stepping.checkers()));
    let at = first.iter().zip(&again).position(|(a, b)| a != b).unwrap_or(first.len().min(again.len())) as u64;
    let wanted = Options { wanted_events: Some(at.saturating_sub(3)..at + 4), ..options.clone() };
    for name in ["one", "other"] {
        println!("{name} run, around event {at}:");
        run_seed(seed, &wanted, &mut wanted.checkers()).text.iter().for_each(|line| println!("  {line}"));
    }
}

fn bench(args: &BenchArgs, document: &mut Document) -> u8 {
    let options = args.common.options();
    let begin = Instant::now();
    let mut totals = Totals::default();
    let mut slowest = (0.0f64, 0);
    for seed in 0.. {
        let at = Instant::now();
        let report = run_seed(seed, &options, &mut options.checkers());
        let speed = report.simulated_ns as f64 / 1e9 / at.elapsed().as_secs_f64();
        if slowest.0 == 0.0 || speed < slowest.0 {
            slowest = (speed, seed);
        }
        totals.add(&report);
        if begin.elapsed().as_secs() >= args.seconds {
            break;
        }
    }
    let wall = begin.elapsed().as_secs_f64();
    document.set_options(&options);
    document.set_totals(&totals, wall);
    println!("{}", totals_line(&totals, args.common.profile));
    println!(
        "{:.0}x real time on one core, {:.0} seeds/h, {:.2} M events/s, {:.0} ns per event; slowest seed {}: {:.0}x",
        totals.simulated_ns as f64 / 1e9 / wall,
        totals.seeds as f64 * 3600.0 / wall,
        totals.events as f64 / wall / 1e6,
        wall * 1e9 / totals.events.max(1) as f64,
        slowest.1,
        slowest.0,
    );
    if totals.failures.is_empty() { GREEN } else { VIOLATION }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_count_or_a_range() {
        assert_eq!(seeds("5").map(|seeds| seeds.0), Ok(0..5));
        assert_eq!(seeds("3..1_000").map(|seeds| seeds.0), Ok(3..1000));
        assert!(seeds("x").is_err() && seeds("3..y").is_err());
    }
}
