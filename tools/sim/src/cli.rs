//! `dropstone sim`: one seed, many seeds, the same seed twice, and how fast that goes.
//!
//! Exit codes: 0 green, 2 usage, 3 green but too thin to prove anything, 4 a claim was broken.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};

use crate::caught::run_caught;
use crate::coverage::{Coverage, MESSAGES, ROLES};
use crate::failure::tell;
use crate::fault::Class;
use crate::json::Document;
use crate::profile::Profile;
use crate::run::{Options, run as run_seed};
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

/// Failures of a swarm that are told whole, each by another run; of the others there is a line.
const FAILURES_TOLD: usize = 3;

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
acknowledged, crashes, disks_lost, given_up, elections, faults_total, faults, failures, thin, speed, coverage.
Exit codes: 0 green  2 usage  3 green but too thin to prove anything  4 a claim was broken";

#[derive(Subcommand, Debug)]
enum Command {
    /// One seed.
    Run(RunArgs),
    /// Many seeds; stops at the first failure.
    Swarm(SwarmArgs),
    /// Each seed twice, and once more from the schedule that it recorded: nothing may differ.
    Determinism(DeterminismArgs),
    /// How fast it is.
    Bench(BenchArgs),
    /// Negative control: with clocks at half to twice their rate leases must be seen to fail, and without leases nothing.
    Control(ControlArgs),
    /// Run a failing seed with ever fewer of its faults and operations, and write what is left.
    Shrink(crate::hunting::ShrinkArgs),
    /// Run schedules that were kept: files, or folders of them.
    Replay(crate::hunting::ReplayArgs),
    /// Switch on one seeded bug after the other, until a checker sees each.
    Mutations(crate::mutating::MutationArgs),
    /// Lost bytes, lost files, failed operations: the storage-fault matrix.
    Matrix(crate::matrix::MatrixArgs),
    /// A crash after every I/O of short scripts.
    Sweep(crate::sweep::SweepArgs),
}

/// What is common to all.
#[derive(Args, Debug, Clone)]
pub(crate) struct Common {
    /// standard, dense, clock, clock-broken, hopeless, liar, upgrade or cached.
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
    /// Write the faults that struck and the operations that began to this file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Strike the faults and begin the operations of this file, and no others.
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
    /// With this seeded bug, as `16a`.
    #[cfg(mutations)]
    #[arg(long, value_name = "ID")]
    mutation: Option<String>,
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

#[derive(Args, Debug)]
struct ControlArgs {
    /// How many from 0, or FROM..TO.
    #[arg(long, default_value = "60", value_parser = seeds)]
    seeds: Seeds,
    /// Print every seed.
    #[arg(long)]
    verbose: bool,
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
        Options { without, skips: self.skip.clone(), ..Options::new(self.profile) }
    }

    /// The command that repeats a seed.
    pub(crate) fn again(&self, seed: u64) -> String {
        let mut text = format!("dropstone sim run {seed} --profile {}", self.profile.name());
        let names = |classes: &[Class]| classes.iter().map(|class| class.name()).collect::<Vec<_>>().join(",");
        let mut add = |flag: &str, list: String| {
            if !list.is_empty() {
                text += &format!(" --{flag} {list}");
            }
        };
        add("without", names(&self.without));
        add("only", names(&self.only));
        add("skip", self.skip.join(","));
        text
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
        Command::Control(args) => ("control", crate::control::control(args.seeds.0.clone(), args.verbose)),
        Command::Shrink(args) => ("shrink", crate::hunting::shrink_seed(args, out)),
        Command::Replay(args) => ("replay", crate::hunting::replay(args, out)),
        Command::Mutations(args) => ("mutations", crate::mutating::hunt_all(args, out)),
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
                let Options { print, is_recording, skips, .. } = options;
                options = Options { print, is_recording, skips, ..Options::replaying(&schedule) };
            }
            Err(error) => return complain(&error.to_string()),
        }
    }
    #[cfg(mutations)]
    if let Some(id) = &args.mutation {
        let Some(mutation) = base::mutations::ALL.iter().find(|mutation| mutation.id == id) else {
            return complain("no seeded bug has such a number");
        };
        base::mutations::switch(Some(*mutation));
    }
    let begin = Instant::now();
    let report = run_caught(args.seed, &options);
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
    let fails = report.violation.as_ref().map(|violation| violation.checker.to_owned());
    if let (Some(path), Some(schedule)) = (&args.record, &report.schedule)
        && let Err(error) = std::fs::write(path, Schedule { fails, ..schedule.clone() }.print())
    {
        return complain(&format!("could not write {}: {error}", path.display()));
    }
    if report.violation.is_none() {
        return GREEN;
    }
    let schedule = args.schedule.as_ref().map(|path| format!(" --schedule {}", path.display()));
    print!("{}", tell(&report, &options, &(args.common.again(args.seed) + &schedule.unwrap_or_default())));
    VIOLATION
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
    for (place, (seed, (checker, what))) in totals.failures.iter().enumerate() {
        let again = args.common.again(*seed);
        if place < FAILURES_TOLD {
            print!("{}", tell(&run_caught(*seed, &options), &options, &again));
        } else {
            println!("seed {seed}: {checker}: {what}\n  again: {again}");
        }
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
         crashes ({:.0}/h), {} disks lost, {} given up, {} elections, {} faults ({:.0}/h)",
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
        totals.given_up,
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
    let recording = Options { is_recording: true, ..options.clone() };
    for seed in args.seeds.0.clone() {
        // The second run on another thread: nothing of a thread may matter.
        let first = run_seed(seed, &recording, &mut options.checkers());
        let again = std::thread::scope(|scope| {
            scope
                .spawn(|| run_seed(seed, &options, &mut options.checkers()))
                .join()
                .expect("the first run did not panic")
        });
        if first.trace_hash != again.trace_hash {
            println!("seed {seed}: two runs differ: {:032x} and {:032x}", first.trace_hash, again.trace_hash);
            document.set("differs", seed);
            show_difference(seed, &options, &options);
            return THIN;
        }
        let schedule = first.schedule.as_ref().expect("it was recorded");
        let replaying = Options { skips: options.skips.clone(), ..Options::replaying(schedule) };
        let replayed = run_seed(seed, &replaying, &mut options.checkers());
        if first.trace_hash != replayed.trace_hash {
            println!("seed {seed}: a run and the replay of what it recorded differ");
            document.set("differs", seed);
            show_difference(seed, &options, &replaying);
            return THIN;
        }
    }
    document.set("same", count);
    println!("same {count}/{count}");
    GREEN
}

/// Prints the first event that differs, with both neighbours, from two more runs that are made like the first two.
fn show_difference(seed: u64, one: &Options, other: &Options) {
    let both = |change: &dyn Fn(&mut Options)| {
        let [one, other] = [one, other].map(|options| {
            let mut options = options.clone();
            change(&mut options);
            options
        });
        let first = run_seed(seed, &one, &mut one.checkers());
        let again = || run_seed(seed, &other, &mut other.checkers());
        let again = std::thread::scope(|scope| scope.spawn(again).join().expect("the first run did not panic"));
        [first, again]
    };
    let [first, again] = both(&|options| options.keeps_steps = true).map(|report| report.steps.unwrap_or_default());
    let Some(at) = first_difference(&first, &again) else {
        println!("two more runs of it do not differ: what differed depends on more than the seed and the thread");
        return;
    };
    // Events count from 1 in the trace; those between have a hash and no text.
    let event = at as u64 + 1;
    let wanted = event.saturating_sub(NEIGHBOURS)..event + NEIGHBOURS + 1;
    let [first, again] = both(&|options| options.wanted_events = Some(wanted.clone())).map(|report| report.text);
    println!("the first event that differs is the {event}th; around it, and marked where the texts part:");
    let part = first.iter().zip(&again).position(|(a, b)| a != b).unwrap_or(first.len().min(again.len()));
    for (name, text) in [("one", &first), ("other", &again)] {
        println!("{name} run:");
        for (place, line) in text.iter().enumerate() {
            println!("{} {line}", if place == part { '>' } else { ' ' });
        }
    }
}

/// Events shown on each side of the first that differs.
const NEIGHBOURS: u64 = 4;

/// Where two lists part; none when they are equal.
fn first_difference(one: &[u64], other: &[u64]) -> Option<usize> {
    let both = one.len().min(other.len());
    let at = one.iter().zip(other).position(|(a, b)| a != b);
    at.or((one.len() != other.len()).then_some(both))
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
    fn two_runs_part_at_the_first_event_that_differs_or_that_one_lacks() {
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_difference(&[1, 2, 3], &[1, 4, 3]), Some(1));
        assert_eq!(first_difference(&[1, 2], &[1, 2, 3]), Some(2));
    }

    #[test]
    fn seeds_are_a_count_or_a_range() {
        assert_eq!(seeds("5").map(|seeds| seeds.0), Ok(0..5));
        assert_eq!(seeds("3..1_000").map(|seeds| seeds.0), Ok(3..1000));
        assert!(seeds("x").is_err() && seeds("3..y").is_err());
    }
}
