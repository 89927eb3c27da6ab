//! `dropstone bench`: load with an open loop, every answer checked, and a verdict on what the numbers are worth.

mod plan;
mod summary;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use base::mono::Span;
use clap::{Args, Subcommand};
use client::{Client, ClientOptions};
use load::mix::Mix;
use load::op::OpKind;
use load::recorder::Clock;
use load::report::face::{self, CompareArgs, ReportArgs};
use load::report::table::Style;
use load::session::{Plan, Progress, RunError, RunResult};
use load::sweep::{Level, Probe, Slo, sweep};
use load::verdict::Class;
use server::exit::ExitCode as Code;

use crate::cluster::Target;
use crate::dev::TemporaryCluster;
use crate::exit::{exit, usage};
use plan::LoadArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0 VALID    1 the promise of a sweep is not kept    2 AT-LEAST    3 INVALID    4 wrong answer or lost write
  64 usage or mix error    69 target not available    130 interrupted; what was seen until then is printed";

/// Load a cluster and tell how fast it is, and what that number is worth.
///
/// Operations are due by a schedule and count from then, whether the cluster keeps up or not.
/// It makes accounts of its own, named bench-..., and leaves them: use a cluster that is for this.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Start a cluster of three on this machine, load it for 20 s, stop it; nothing is left.
    #[command(after_help = EXIT_CODES)]
    Quick(QuickArgs),
    /// Load a cluster with a mix at a rate.
    #[command(after_help = EXIT_CODES, after_long_help = RUN_HELP)]
    Run(RunArgs),
    /// Find the highest rate at which a promise is kept, and the curve of latency below it.
    #[command(after_help = EXIT_CODES)]
    Sweep(SweepArgs),
    /// List the mixes that are built in, and the kinds of operations.
    Mixes,
    /// Measure the generator alone, against a target that answers at once.
    Null(NullArgs),
    #[command(visible_alias = "show")]
    Report(ReportArgs),
    #[command(visible_alias = "diff")]
    Compare(CompareArgs),
}

const RUN_HELP: &str = "\
Examples:
  dropstone bench run --mix sync --scale 0.1 --rate 5000
  dropstone bench run --mix put-small --closed --clients 64 --duration 10s
  dropstone bench run --mix spotify --rate 20k --arrival 'onoff(1s,4s,3)' --target 10.0.0.1:7100

Exit codes: as `dropstone bench run -h` says.";

/// A cluster for the length of a benchmark.
#[derive(Args, Debug)]
pub struct QuickArgs {
    /// Where the cluster's directory is made; it goes at the end [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Operations per second.
    #[arg(long, value_name = "N", default_value = "500", value_parser = load::text::parse_rate)]
    rate: f64,
    /// How long is measured.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = load::text::parse_span)]
    duration: Span,
    /// Leave a result in this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// One run.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Operations per second: 500, 20k, 1.5M.
    #[arg(long, value_name = "N", value_parser = load::text::parse_rate, required_unless_present = "closed")]
    rate: Option<f64>,
    /// A closed loop: so many --clients, each waits for its answer.
    #[arg(long, conflicts_with = "rate", requires = "clients")]
    closed: bool,
    /// Clients of a closed loop.
    #[arg(long, value_name = "N", requires = "closed", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    clients: Option<u32>,
    /// How long a client thinks before it goes on.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = load::text::parse_span)]
    think: Span,
    /// How long is measured.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = load::text::parse_span)]
    duration: Span,
    /// Leave a result in this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A search.
#[derive(Args, Debug)]
pub struct SweepArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// What is promised: p50 p90 p99 p99.9 max err, each below a bound.
    #[arg(long, value_name = "TERMS", default_value = "p99<50ms,err<0.01%")]
    slo: Slo,
    /// The first rate.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = load::text::parse_rate)]
    from: f64,
    /// How long one rate is measured.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = load::text::parse_span)]
    level: Span,
    /// How long the rate found is measured once more.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = load::text::parse_span)]
    confirm: Span,
}

/// The generator alone.
#[derive(Args, Debug)]
pub struct NullArgs {
    /// How long.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = load::text::parse_span)]
    duration: Span,
}

/// Runs it.
pub fn run(command: &BenchCommand, target: &Target) -> Result<ExitCode> {
    // Not 1, which says that a gate failed.
    let shown = |done: Result<u8, face::FaceError>| done.map(ExitCode::from).map_err(usage);
    match command {
        BenchCommand::Report(args) => shown(face::report(args, target.json, &style())),
        BenchCommand::Compare(args) => shown(face::compare(args, target.json, &style())),
        BenchCommand::Quick(args) => quick(args, target),
        BenchCommand::Run(args) => run_once(args, target),
        BenchCommand::Sweep(args) => run_sweep(args, target),
        BenchCommand::Mixes => {
            mixes();
            Ok(ExitCode::SUCCESS)
        }
        BenchCommand::Null(args) => {
            let rate = plan::null_rate(args.duration);
            println!(
                "generator alone: {:.2} M requests/s on one core (put-small, closed loop, all recorded)",
                rate / 1e6
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn style() -> Style {
    face::stdout_style(terminal_size::terminal_size().map(|size| usize::from(size.0.0)))
}

/// SIGINT and SIGTERM set this; the run then ends with what was seen.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    reactor::signals::on_stop(move || seen.store(true, Ordering::Relaxed))
        .context("could not catch SIGINT and SIGTERM")?;
    Ok(stop)
}

fn quick(args: &QuickArgs, target: &Target) -> Result<ExitCode> {
    let stop = stop_flag()?;
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let cluster = TemporaryCluster::start(&parent)?;
    eprintln!("three nodes on this machine, data in {} until the end", cluster.dir().display());
    let target = Target { target: cluster.targets().to_vec(), ..target.clone() };
    let load = LoadArgs::quick();
    let plan = load.plan(&target, load::generator::Late::Send, Some(args.rate), None, args.duration)?;
    let (client, plan) = connect(plan)?;
    finish(load::session::run(&plan, &client, &stop, &tell(&target)), &plan, &target, args.out.as_deref())
}

fn run_once(args: &RunArgs, target: &Target) -> Result<ExitCode> {
    let closed = args.clients.filter(|_| args.closed).map(|clients| (clients, args.think));
    let plan = args.load.plan(target, args.load.late()?, args.rate, closed, args.duration)?;
    let stop = stop_flag()?;
    let (client, plan) = connect(plan)?;
    finish(load::session::run(&plan, &client, &stop, &tell(target)), &plan, target, args.out.as_deref())
}

/// Within a second: a cluster that does not answer, or is none, is told before anything is filled.
fn connect(mut plan: Plan) -> Result<(Client, Plan)> {
    let options = ClientOptions {
        connect_deadline: Span::from_ms(900),
        link_deadline: Span::from_ms(800),
        deadline: Span::from_ms(60_000),
        ..ClientOptions::default()
    };
    let client = Client::connect(&plan.targets, options).map_err(|error| exit(Code::Unavailable, error))?;
    let map = client.cluster_map()?;
    plan.groups = map.groups();
    Ok((client, plan))
}

/// One line a second, on stderr where the result goes to stdout.
fn tell(target: &Target) -> impl Fn(Progress) + Sync + use<> {
    let (is_json, is_terminal) = (target.json, std::io::stderr().is_terminal());
    move |progress| match progress {
        Progress::Second(second) if !is_json => summary::print_second(&second),
        Progress::Filled(done, all) if is_terminal => {
            eprint!("\rfilled {done} of {all} namespaces{}", if done == all { "\n" } else { "" });
        }
        Progress::Filled(done, all) if done == all => eprintln!("filled {all} namespaces"),
        Progress::Checking => eprintln!("looking for every acknowledged write"),
        Progress::Filled(..) | Progress::Second(_) => {}
    }
}

fn finish(
    result: Result<RunResult, RunError>,
    plan: &Plan,
    target: &Target,
    out: Option<&std::path::Path>,
) -> Result<ExitCode> {
    let result = match result {
        Ok(result) => result,
        Err(RunError::Populate(load::drivers::native::PopulateError::Interrupted)) => return Ok(ExitCode::from(130)),
        Err(error) => return Err(error.into()),
    };
    summary::print(&result, plan, target.json);
    if let Some(dir) = out {
        summary::write(&result, plan, dir).with_context(|| format!("could not write to {}", dir.display()))?;
    }
    Ok(ExitCode::from(code_of(&result)))
}

fn code_of(result: &RunResult) -> u8 {
    let is_wrong = result.verdict.reasons.iter().any(|reason| reason.code == "wrong_answers");
    match result.verdict.class {
        _ if is_wrong => 4,
        _ if result.outcome.is_interrupted => 130,
        Class::Valid => 0,
        Class::AtLeast => 2,
        Class::Invalid => 3,
    }
}

enum Ended {
    Interrupted,
    Wrong,
    Failed(anyhow::Error),
}

/// Each level gets fresh namespaces, so that what an earlier level left behind is no part of it.
fn run_sweep(args: &SweepArgs, target: &Target) -> Result<ExitCode> {
    let stop = stop_flag()?;
    let mut number = 0;
    let measure = |rate: f64, probe: Probe| {
        number += 1;
        let duration = if probe == Probe::Confirm { args.confirm } else { args.level };
        let level = one_level(args, target, (rate, number), duration, &stop)?;
        summary::print_level(&level, args.slo.holds(&level), probe);
        Ok(level)
    };
    match sweep(&args.slo, args.from, 1, measure) {
        Ok(found) => {
            summary::print_sweep(&found, target.json);
            Ok(ExitCode::from(u8::from(found.rate_slo.is_none())))
        }
        Err(Ended::Interrupted) => Ok(ExitCode::from(130)),
        Err(Ended::Wrong) => Ok(ExitCode::from(4)),
        Err(Ended::Failed(error)) => Err(error),
    }
}

fn one_level(
    args: &SweepArgs,
    target: &Target,
    (rate, number): (f64, u32),
    duration: Span,
    stop: &AtomicBool,
) -> Result<Level, Ended> {
    let plan = args.load.plan(target, load::generator::Late::Send, Some(rate), None, duration);
    let (client, mut plan) = plan.and_then(connect).map_err(Ended::Failed)?;
    plan.run = format!("{}-{number}", plan.run);
    plan.phases.waits_for_steady = false;
    plan.phases.warmup_min = Span::from_ms(2000);
    let result = load::session::run(&plan, &client, stop, &|_| {}).map_err(|error| match error {
        RunError::Populate(load::drivers::native::PopulateError::Interrupted) => Ended::Interrupted,
        other => Ended::Failed(other.into()),
    })?;
    if code_of(&result) == 4 {
        summary::print(&result, &plan, target.json);
        return Err(Ended::Wrong);
    }
    if result.outcome.is_interrupted {
        return Err(Ended::Interrupted);
    }
    let response = result.outcome.total.histograms.over_all(Clock::Response);
    let counts = &result.outcome.total.counts;
    Ok(Level {
        rate,
        achieved: counts.achieved as f64 / result.outcome.measured_s,
        p50_ns: response.value_at_quantile(0.5),
        p90_ns: response.value_at_quantile(0.9),
        p99_ns: response.value_at_quantile(0.99),
        p999_ns: response.value_at_quantile(0.999),
        max_ns: response.max(),
        errors: counts.errors_in_all() as f64 / counts.offered.max(1) as f64,
        is_drained: result.outcome.unsent + result.outcome.unanswered == 0,
    })
}

fn mixes() {
    println!("{:<14} {:>2} {:>7} {:>9}  about", "mix", "v", "writes", "namespaces");
    for mix in Mix::all_built_in() {
        let (name, version, about) = (&mix.name, mix.version, &mix.about);
        println!(
            "{name:<14} {version:>2} {:>6.1}% {:>9}  {about}",
            mix.write_share() * 100.0,
            mix.population.namespaces
        );
    }
    let kinds: Vec<&str> = OpKind::ALL.iter().map(|kind| kind.name()).collect();
    println!("operations: {}", kinds.join(" "));
    println!("a mix of your own: --mix FILE.toml; bench/load/mixes has these as examples");
}
