//! `dropstone bench run --record`, `bench replay` and `bench trace`: a run's operations in a file, and sent once more.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use base::Mono;
use base::mono::Span;
use clap::{Args, Subcommand};
use load::arrivals::Arrival;
use load::generator::{Loop, TIMES_MAX};
use load::mix::Mix;
use load::phases::PhaseSettings;
use load::report::words;
use load::session::Plan;
use load::source::StreamSettings;
use load::trace::{self, Facts, Found, Origin, Trace};
use reactor::clock;

use super::MoreArgs;
use super::place::PlaceArgs;
use super::plan::HowArgs;
use super::runs::{self, Finished, Request};
use crate::cluster::Target;
use crate::exit::usage;

/// What `bench replay --help` says at its end.
pub const REPLAY_HELP: &str = "\
The namespaces of the trace are made anew, with as many folders and files; names and contents are made up.
At --speed 1 operations are due when they were due in the run, and count from then; what was measured then is measured
now. With --as-fast each of the --clients sends the next operation once its own is answered, and all is measured.

Examples:
  dropstone bench run --mix sync --scale 0.1 --rate 2000 --record sync.dstrace
  dropstone bench replay sync.dstrace --cluster 3
  dropstone bench replay sync.dstrace --speed 2.5 --target 10.0.0.1:7100
  dropstone bench replay sync.dstrace --as-fast --clients 256

Exit codes:
  0 VALID    2 AT-LEAST    3 INVALID    4 wrong answer or lost write
  64 usage, or the trace is damaged    69 target not available    130 interrupted";

/// What `bench trace show --help` says at its end.
pub const SHOW_HELP: &str = "\
Exit codes:
  0 the trace is whole    3 it is damaged, and what is good is shown    64 it is no trace, or nothing of it is good";

/// Send the operations of a recorded run once more.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// A trace of `dropstone bench run --record FILE`.
    file: PathBuf,
    /// So many times as fast as it was recorded.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, conflicts_with = "as_fast")]
    speed: f64,
    /// As fast as it goes: a closed loop, until all is sent.
    #[arg(long)]
    as_fast: bool,
    /// Clients of --as-fast, each of which waits for its answer.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "as_fast", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    clients: u32,
    /// Of a file that is cut off or damaged: send what is good.
    #[arg(long)]
    good_part: bool,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    more: MoreArgs,
    /// Where the files go [default: bench-results/<time>-<trace>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Looks at traces.
#[derive(Subcommand, Debug)]
pub enum TraceCommand {
    /// Tell what is in a trace, and whether it is whole.
    #[command(after_help = SHOW_HELP)]
    Show(ShowArgs),
}

/// Which one.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A trace of `dropstone bench run --record FILE`.
    file: PathBuf,
}

/// `bench replay`.
pub fn replay(args: &ReplayArgs, target: &Target) -> Result<ExitCode> {
    let trace = Arc::new(whole(&args.file, args.good_part)?);
    let phases = phases(args, &trace)?;
    let faults = args.more.faults(phases.duration, &args.place, trace.origin.seed, args.how.verifies())?;
    if args.as_fast && !faults.0.is_empty() {
        return Err(usage("--as-fast ends when all is sent, so faults have no time; use --speed"));
    }
    let mix = Arc::new(Mix::of_trace(trace.clone()));
    let plan = |target: &Target| plan(args, &trace, &mix, phases, target);
    let request = Request {
        plan: &plan,
        duration: phases.duration,
        place: &args.place,
        repeat: args.more.repeat(),
        faults,
        view: args.more.view(target.json),
        record: None,
        out: Some(args.out.clone().unwrap_or_else(|| runs::default_out(&args.file.to_string_lossy()))),
    };
    runs::run(&request, target, &*super::stop_flag()?)
}

fn plan(args: &ReplayArgs, trace: &Trace, mix: &Arc<Mix>, phases: PhaseSettings, target: &Target) -> Result<Plan> {
    let rate = trace.ops.len() as f64 / (trace.end_us() as f64 / 1e6) * args.speed;
    let stream = StreamSettings {
        mix: mix.clone(),
        seed: trace.origin.seed,
        arrival: Arrival::Trace { speed: args.speed },
        rate,
        duration: Span(trace.end_us() * 1000),
    };
    let pacing = if args.as_fast {
        Loop::Closed { clients: args.clients, think: Span(0) }
    } else {
        Loop::Open { late: args.how.late(), rate }
    };
    args.how.plan(target, stream, pacing, phases)
}

/// What is measured: what was measured in the run, or all.
fn phases(args: &ReplayArgs, trace: &Trace) -> Result<PhaseSettings> {
    let whole = PhaseSettings {
        duration: Span(trace.end_us() * 1000),
        warmup_min: Span(0),
        warmup_max: Span(0),
        waits_for_steady: false,
        is_whole: true,
    };
    if args.as_fast {
        return Ok(whole);
    }
    if !(args.speed.is_finite() && (0.001..=1000.0).contains(&args.speed)) {
        return Err(usage("--speed must be from 0.001 to 1000; --as-fast knows no speed"));
    }
    let ns = |us: u64| (us as f64 * 1e3 / args.speed) as u64;
    let (from, until) = (ns(trace.origin.window_us.0), ns(trace.end_us()));
    // A window begins at a whole second, and not before the third one.
    const SECOND: u64 = 1_000_000_000;
    let from = (from.div_ceil(SECOND) * SECOND).max(2 * SECOND);
    if until < from + SECOND {
        let (has, needs) = (words::time(until as f64 / 1e3), words::time((from + SECOND) as f64 / 1e3));
        return Err(usage(format!(
            "at this speed the trace takes {has}, and {needs} are needed to measure a second of it: \
             lower --speed, or use --as-fast"
        )));
    }
    Ok(PhaseSettings {
        duration: Span(until - from),
        warmup_min: Span(from),
        warmup_max: Span(from),
        is_whole: false,
        ..whole
    })
}

fn found(file: &Path) -> Result<(Found, u64)> {
    let name = file.display();
    let bytes = std::fs::read(file).map_err(|error| usage(format!("could not read {name}: {error}")))?;
    let found = trace::read(&bytes).map_err(|error| usage(format!("{name}: {error}")))?;
    Ok((found, bytes.len() as u64))
}

/// A trace that may be sent.
fn whole(file: &Path, takes_part: bool) -> Result<Trace> {
    let (Found { trace, damage }, _) = found(file)?;
    let name = file.display();
    let (count, seconds) = (words::whole(trace.ops.len() as u64), trace.end_us() as f64 / 1e6);
    match damage {
        _ if trace.ops.is_empty() => Err(usage(format!("{name} holds no operation; record a longer run"))),
        Some(damage) if !takes_part => Err(usage(format!(
            "{name} is damaged {damage}; the {count} operations before, {seconds:.1} s, are good: \
             add --good-part to send these"
        ))),
        Some(damage) => {
            eprintln!("{name} is damaged {damage}; sending the {count} operations before, {seconds:.1} s");
            Ok(trace)
        }
        None => Ok(trace),
    }
}

/// `bench trace`.
pub fn trace(command: &TraceCommand, target: &Target) -> Result<ExitCode> {
    let TraceCommand::Show(ShowArgs { file }) = command;
    let (Found { trace, damage }, bytes) = found(file)?;
    let is_whole = damage.is_none();
    let facts = Facts::of(&trace, bytes, damage.map(|damage| damage.to_string()).unwrap_or_default());
    if target.json {
        println!("{}", serde_json::to_string_pretty(&facts).context("could not write the facts of a trace as JSON")?);
    } else {
        print!("{facts}");
    }
    Ok(ExitCode::from(if is_whole { 0 } else { 3 }))
}

/// A file that becomes a trace at the end of a run. Until then it has another name, and what was there before stays.
pub struct Recording {
    path: PathBuf,
    part: PathBuf,
    file: Option<File>,
}

impl Recording {
    /// Makes the file, so that a place where none can be made is told before the run and not after it.
    pub fn begin(path: &Path) -> Result<Recording> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part)
            .map_err(|error| usage(format!("could not make {}: {error}; give --record another", part.display())))?;
        Ok(Recording { path: path.to_owned(), part, file: Some(file) })
    }

    /// Writes the trace of a run.
    pub fn finish(mut self, one: &Finished) -> Result<()> {
        let (Some(file), outcome) = (self.file.take(), &one.run.outcome) else { return Ok(()) };
        let plan = one.plan();
        let mix = &plan.stream.mix;
        let us = |time: Mono| time.since(outcome.start).0 / 1000;
        let origin = Origin {
            mix: mix.name.clone(),
            version: mix.version,
            hash: mix.hash,
            seed: plan.stream.seed,
            start_unix_ms: clock::wall_ms().saturating_sub(clock::mono().since(outcome.start).0 / 1_000_000),
            is_closed: matches!(plan.pacing, Loop::Closed { .. }),
            window_us: (us(outcome.window.from), us(outcome.window.until)),
        };
        if outcome.times.iter().any(|times| times.len() >= TIMES_MAX) {
            eprintln!("the trace ends before the run: a generator core keeps {TIMES_MAX} operations at most");
        }
        let trace = trace::record(&plan.stream, &outcome.times, origin);
        let mut out = BufWriter::new(file);
        let write = |out: &mut BufWriter<File>| {
            trace::write(&trace, out)?;
            out.flush()?;
            std::fs::rename(&self.part, &self.path)
        };
        write(&mut out).with_context(|| format!("could not write {}", self.path.display()))?;
        let (count, path) = (words::whole(trace.ops.len() as u64), self.path.display());
        eprintln!("recorded {count} operations in {path}; `dropstone bench replay {path}` sends them once more");
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Gone already where it has become a trace.
        let _ = std::fs::remove_file(&self.part);
    }
}
