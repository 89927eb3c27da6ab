//! `dropstone bench`: load with an open loop, every answer checked, and a verdict on what the numbers are worth.

mod disturb;
mod place;
mod plan;
mod replay;
mod runs;
mod summary;
mod sweeps;
mod tell;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use base::mono::Span;
use clap::{Args, Subcommand, ValueEnum};
use load::faults::{FaultKind, FaultPlan};
use load::generator::Late;
use load::mix::Mix;
use load::op::OpKind;
use load::report::face::{self, CompareArgs, ReportArgs};
use load::report::result::{BenchResult, VerdictClass};
use load::report::table::Style;
use load::report::{files, json, merge, words};
use load::sweep::{Search, Slo};

use crate::cluster::Target;
use crate::exit::usage;
use place::PlaceArgs;
use plan::LoadArgs;
use replay::{ReplayArgs, TraceCommand};
use runs::Request;
use tell::{View, ViewArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0 VALID    1 the promise of a sweep or of check is not kept    2 AT-LEAST    3 INVALID
  4 wrong answer or lost write    64 usage or mix error    69 target not available
  130 interrupted; what was seen until then is kept";

/// Load a cluster and tell how fast it is, and what that number is worth.
///
/// Operations are due by a schedule and count from then, whether the cluster keeps up or not.
/// It makes accounts of its own, named bench-..., and leaves them: use a cluster that is for this.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Start a cluster of three on this machine, load it for 20 s, stop it; nothing is left.
    #[command(after_help = EXIT_CODES)]
    Quick(QuickArgs),
    /// Start a cluster of three, find out how fast it is, and draw latency against rate: three minutes, one page.
    #[command(after_help = CURVE_HELP)]
    Curve(CurveArgs),
    /// Load a cluster with a mix at a rate.
    #[command(after_help = EXIT_CODES, after_long_help = RUN_HELP)]
    Run(RunArgs),
    /// Send the operations of a recorded run once more: at the same times, so many times as fast, or as fast as it goes.
    #[command(after_help = EXIT_CODES, after_long_help = replay::REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Look at a recorded run.
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Find the highest rate at which a promise is kept, and the curve of latency below it.
    #[command(after_help = SWEEP_HELP)]
    Sweep(SweepArgs),
    /// Pass or fail a cluster that is there, by size: 150, 1,000, 8,000 or 15,000 writes a second for a minute.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// List the mixes that are built in, and the kinds of operations.
    #[command(visible_alias = "list")]
    Mixes,
    /// Measure the generator alone, against a target that answers at once.
    Null(NullArgs),
    #[command(visible_alias = "show")]
    Report(ReportArgs),
    #[command(visible_alias = "diff")]
    Compare(CompareArgs),
    /// Make one result of repeats that were measured one by one: histograms are added, intervals are between the runs.
    #[command(after_help = MERGE_HELP)]
    Merge(MergeArgs),
}

const RUN_HELP: &str = "\
Examples:
  dropstone bench run --mix sync --scale 0.1 --rate 5000
  dropstone bench run --mix put-small --closed --clients 64 --duration 10s
  dropstone bench run --mix null --value-size 16 --closed --clients 1024 --duration 10s --cluster 3
  dropstone bench run --mix spotify --rate 20k --arrival 'onoff(1s,4s,3)' --target 10.0.0.1:7100
  dropstone bench run --mix sync --scale 0.1 --rate 500 --cluster 3 --repeat 3
  dropstone bench run --mix sync --scale 0.1 --rate 500 --cluster 3 --fault 10s:kill-leader,20s:pause=n2:3s
  dropstone bench run --mix sync --scale 0.1 --rate 500 --cluster 3 --record sync.dstrace

A trace (--record) holds when each operation was due, what it did, where, and how large it was; no name, no content.
`dropstone bench replay` sends it once more, `dropstone bench trace show` tells what is in it.

Faults, only with --cluster, at a time since the begin of the window:
  TIME:kill-leader   TIME:kill=N   TIME:kill-all   TIME:pause=N:TIME
  What is killed ends with SIGKILL and is started again a second later.

Files in --out: report.html, result.json, run.hlog, series.csv, response.hgrm, service.hgrm.

Exit codes: as `dropstone bench run -h` says.";

const SWEEP_HELP: &str = "\
Examples:
  dropstone bench sweep --mix put-small --slo 'p99<20ms,err<0.01%'
  dropstone bench sweep --mix sync --scale 0.1 --cluster 3 --from 500

Exit codes:
  0 found    1 no rate keeps the promise    4 wrong answer or lost write    64 usage    69 target not available
  130 interrupted";

const CURVE_HELP: &str = "\
Examples:
  dropstone bench curve
  dropstone bench curve --mix put-small --slo p99<20ms --dir /mnt/nvme

Exit codes:
  0 found    1 no rate keeps the promise    4 wrong answer or lost write    64 usage    130 interrupted";

const CHECK_HELP: &str = "\
Passes when at least 99 % of the rate is achieved, p99 is at most 50 ms, no answer takes more than 500 ms, and the
numbers are VALID.

Examples:
  dropstone bench check --size s
  dropstone bench check --size m --target 10.0.0.1:7100

Exit codes:
  0 PASS    1 FAIL    2 undecided: the numbers are only AT-LEAST    3 INVALID    4 wrong answer or lost write";

const MERGE_HELP: &str = "\
Examples:
  dropstone bench merge a/ b/ c/ -o all/

Exit codes:
  0 written    64 usage, no result there, or results of different work";

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
    #[command(flatten)]
    more: MoreArgs,
    /// Leave report.html, result.json and all other files in this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What `run` and `quick` have in common.
#[derive(Args, Clone, Debug)]
pub struct MoreArgs {
    /// So many times: with a cluster of the bench's own new processes each time, else new connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// What is done to the cluster, and when: 10s:kill-leader,20s:pause=n2:3s. Needs a cluster of the bench's own.
    #[arg(long, value_name = "TIME:KIND,...")]
    fault: Option<FaultPlan>,
    /// Kill the leader, or all nodes, at a time that the seed draws in the middle of the window; then look for every write.
    #[arg(long, value_name = "WHOM", value_enum, num_args = 0..=1, default_missing_value = "leader")]
    crash: Option<CrashWish>,
    #[command(flatten)]
    view: ViewArgs,
}

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum CrashWish {
    /// The node that leads most groups.
    Leader,
    /// Every node.
    All,
}

impl MoreArgs {
    /// Its faults. A run that looks at nothing afterwards makes no sense of a crash, whose time `seed` draws.
    fn faults(&self, duration: Span, place: &PlaceArgs, seed: u64, verifies: bool) -> Result<FaultPlan> {
        let mut plan = self.fault.clone().unwrap_or_default();
        if let Some(wish) = self.crash {
            let kind = if wish == CrashWish::All { FaultKind::KillAll } else { FaultKind::KillLeader };
            plan = plan.with(&FaultPlan::crash(kind, duration, seed));
            if !verifies {
                return Err(usage("--crash without --verify would look for nothing"));
            }
        }
        if !plan.0.is_empty() && !place.is_own() {
            return Err(usage("faults are only made in a cluster that the bench started: add --cluster 3"));
        }
        Ok(plan)
    }

    fn repeat(&self) -> u32 {
        self.repeat
    }

    fn view(&self, is_json: bool) -> View {
        self.view.choose(is_json)
    }
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
    #[command(flatten)]
    more: MoreArgs,
    /// Leave a trace of the operations in this file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Where the files go [default: bench-results/<time>-<mix>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
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
    /// Where the files go [default: bench-results/<time>-<mix>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A search in three minutes.
#[derive(Args, Debug)]
pub struct CurveArgs {
    /// A built-in mix (`dropstone bench mixes`), or a file.
    #[arg(long, value_name = "NAME|FILE", default_value = "quick")]
    mix: String,
    /// So many times the namespaces of the mix.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// What is promised: p50 p90 p99 p99.9 max err, each below a bound.
    #[arg(long, value_name = "TERMS", default_value = "p99<50ms,err<0.01%")]
    slo: Slo,
    /// The first rate; each that keeps the promise is doubled.
    #[arg(long, value_name = "N", default_value = "500", value_parser = load::text::parse_rate)]
    from: f64,
    /// How long one rate is measured.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = load::text::parse_span)]
    level: Span,
    /// Where the cluster's directory is made; it goes at the end [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the files go [default: bench-results/<time>-<mix>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A size to be checked.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// How many writes a second: s 150, m 1,000, l 8,000, xl 15,000.
    #[arg(long, value_enum)]
    size: Size,
    /// How long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = load::text::parse_span)]
    duration: Span,
    /// Leave report.html, result.json and all other files in this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// How large a cluster says it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Size {
    /// 150 writes a second.
    S,
    /// 1,000.
    M,
    /// 8,000.
    L,
    /// 15,000.
    Xl,
}

impl Size {
    fn rate(self) -> f64 {
        match self {
            Size::S => 150.0,
            Size::M => 1_000.0,
            Size::L => 8_000.0,
            Size::Xl => 15_000.0,
        }
    }
}

/// Several results.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Each a result.json, or the directory it lies in.
    #[arg(required = true, num_args = 2..=100)]
    results: Vec<PathBuf>,
    /// Where the files go.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
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
        BenchCommand::Merge(args) => merge_results(args, target),
        BenchCommand::Quick(args) => quick(args, target),
        BenchCommand::Curve(args) => curve(args, target),
        BenchCommand::Run(args) => run_load(args, target),
        BenchCommand::Replay(args) => replay::replay(args, target),
        BenchCommand::Trace(command) => replay::trace(command, target),
        BenchCommand::Sweep(args) => sweep(args, target),
        BenchCommand::Check(args) => check(args, target),
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
    let (load, place) = (LoadArgs::quick(), PlaceArgs::own(args.dir.clone()));
    let request = Request {
        plan: &|target| load.plan(target, Late::Send, Some(args.rate), None, args.duration),
        duration: args.duration,
        place: &place,
        repeat: args.more.repeat,
        faults: args.more.faults(args.duration, &place, load.seed_of_crash()?, load.how().verifies())?,
        view: args.more.view(target.json),
        record: None,
        out: args.out.clone(),
    };
    runs::run(&request, target, &*stop_flag()?)
}

fn run_load(args: &RunArgs, target: &Target) -> Result<ExitCode> {
    if args.record.is_some() && args.more.repeat > 1 {
        return Err(usage("--record writes the trace of one run; leave --repeat away"));
    }
    let is_null = args.load.is_null()?;
    if args.record.is_some() && is_null {
        return Err(usage("--record keeps operations on files; a null machine has none"));
    }
    let place = args.place.for_null(is_null);
    let how = args.load.how();
    let closed = args.clients.filter(|_| args.closed).map(|clients| (clients, args.think));
    let request = Request {
        plan: &|target| args.load.plan(target, how.late(), args.rate, closed, args.duration),
        duration: args.duration,
        place: &place,
        repeat: args.more.repeat,
        faults: args.more.faults(args.duration, &args.place, args.load.seed_of_crash()?, how.verifies())?,
        view: args.more.view(target.json),
        record: args.record.clone(),
        out: Some(args.out.clone().unwrap_or_else(|| runs::default_out(args.load.mix()))),
    };
    runs::run(&request, target, &*stop_flag()?)
}

fn sweep(args: &SweepArgs, target: &Target) -> Result<ExitCode> {
    let out = args.out.clone().unwrap_or_else(|| runs::default_out(args.load.mix()));
    let wanted = sweeps::Wanted {
        load: &args.load,
        place: &args.place.for_null(args.load.is_null()?),
        slo: &args.slo,
        from: args.from,
        level: args.level,
        confirm: args.confirm,
        warmup: Span::from_ms(2_000),
        search: Search::default(),
        out: &out,
    };
    sweeps::run(&wanted, target, View::QUIET, &*stop_flag()?)
}

fn curve(args: &CurveArgs, target: &Target) -> Result<ExitCode> {
    let out = args.out.clone().unwrap_or_else(|| runs::default_out(&format!("curve-{}", args.mix)));
    let load = LoadArgs::brief(&args.mix, args.scale);
    let wanted = sweeps::Wanted {
        load: &load,
        place: &PlaceArgs::own(args.dir.clone()).for_null(load.is_null()?),
        slo: &args.slo,
        from: args.from,
        level: args.level,
        confirm: Span(args.level.0.saturating_mul(2)),
        warmup: Span::from_ms(1_000),
        search: Search::BRIEF,
        out: &out,
    };
    sweeps::run(&wanted, target, View::QUIET, &*stop_flag()?)
}

/// What a cluster of any size must keep.
const CHECK_P99_US: f64 = 50_000.0;
const CHECK_MAX_US: f64 = 500_000.0;
const CHECK_ACHIEVED: f64 = 0.99;

fn check(args: &CheckArgs, target: &Target) -> Result<ExitCode> {
    let load = LoadArgs::brief("put-small", 1.0);
    let request = Request {
        plan: &|target| load.plan(target, Late::Send, Some(args.size.rate()), None, args.duration),
        duration: args.duration,
        place: &args.place,
        repeat: 1,
        faults: FaultPlan::default(),
        view: args.view.choose(target.json),
        record: None,
        out: args.out.clone(),
    };
    let Some(finished) = runs::all(&request, target, &*stop_flag()?)? else { return Ok(ExitCode::from(130)) };
    let result = &finished[0].result;
    if let Some(dir) = &args.out {
        runs::write(result, &finished, dir).with_context(|| format!("could not write to {}", dir.display()))?;
    }
    runs::show(result, target.json, args.out.as_deref());
    let failed = failed_terms(result, args.size.rate());
    let (word, code) = match face::exit_code(result) {
        code @ (3 | 4 | 130) => ("FAIL", code),
        _ if !failed.is_empty() => ("FAIL", 1),
        code => (if code == 0 { "PASS" } else { "UNDECIDED" }, code),
    };
    let why = if failed.is_empty() { String::new() } else { format!(": {}", failed.join(", ")) };
    eprintln!("{word}{why}");
    Ok(ExitCode::from(code))
}

/// Which of the terms of `bench check` a result does not keep, in words.
fn failed_terms(result: &BenchResult, rate: f64) -> Vec<String> {
    let mut failed = Vec::new();
    let achieved = result.load.rate_achieved / rate;
    // A Poisson process itself does not send exactly its rate.
    let edges = 3.0 / (rate * result.time.duration_s).max(1.0).sqrt();
    if achieved < CHECK_ACHIEVED - edges {
        failed.push(format!(
            "achieved {} of the rate, not {}",
            words::percent(achieved),
            words::percent(CHECK_ACHIEVED)
        ));
    }
    let (p99, max) = result.headline().map_or((None, 0.0), |all| (all.p99_us, all.max_us));
    if p99.is_none_or(|p99| p99 > CHECK_P99_US) {
        failed.push(format!("p99 is {}, not {}", words::time_or_dash(p99), words::time(CHECK_P99_US)));
    }
    if max > CHECK_MAX_US {
        failed.push(format!("the slowest took {}, not {}", words::time(max), words::time(CHECK_MAX_US)));
    }
    if result.verdict.class == VerdictClass::Invalid {
        failed.push("the numbers are INVALID".to_owned());
    }
    failed
}

fn merge_results(args: &MergeArgs, target: &Target) -> Result<ExitCode> {
    let results = args.results.iter().map(|path| json::read(path)).collect::<Result<Vec<_>, _>>().map_err(usage)?;
    let all = merge::repeats(&results).map_err(usage)?;
    files::write(&args.out, &all).with_context(|| format!("could not write to {}", args.out.display()))?;
    runs::show(&all, target.json, Some(&args.out));
    Ok(ExitCode::SUCCESS)
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

#[cfg(test)]
mod tests {
    use load::report::result::{ALL_OPS, Latency, Load};

    use super::*;

    fn measured(rate: f64, p99: f64, max: f64) -> BenchResult {
        let all =
            Latency { op: ALL_OPS.to_owned(), count: 9_000, p99_us: Some(p99), max_us: max, ..Latency::default() };
        let mut result = BenchResult { latency: vec![all], ..BenchResult::default() };
        result.load = Load { rate_achieved: rate, ..Load::default() };
        (result.time.duration_s, result.verdict.class) = (60.0, VerdictClass::Valid);
        result
    }

    #[test]
    fn a_check_names_each_term_that_is_not_kept() {
        assert_eq!(failed_terms(&measured(150.0, 49_000.0, 499_000.0), 150.0), [""; 0]);
        assert_eq!(
            failed_terms(&measured(145.0, 49_000.0, 499_000.0), 150.0),
            [""; 0],
            "the noise of a Poisson process"
        );
        let failed = failed_terms(&measured(100.0, 51_000.0, 600_000.0), 150.0).join("; ");
        assert_eq!(
            failed,
            "achieved 67 % of the rate, not 99 %; p99 is 51.0 ms, not 50.0 ms; the slowest took 600 ms, not 500 ms"
        );
        let mut invalid = measured(150.0, 1.0, 1.0);
        invalid.verdict.class = VerdictClass::Invalid;
        assert_eq!(failed_terms(&invalid, 150.0), ["the numbers are INVALID"]);
    }
}
