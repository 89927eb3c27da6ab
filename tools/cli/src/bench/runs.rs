//! One run or several of the same, from a cluster to files and an exit code.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use base::mono::Span;
use load::drivers::native::PopulateError;
use load::faults::FaultPlan;
use load::generator::Loop;
use load::recorder::Window;
use load::report::result::{BenchResult, Tool};
use load::report::{face, files, fill, json, merge, table};
use load::session::{Extras, Plan, RunError, RunResult};

use super::disturb;
use super::place::{Place, PlaceArgs};
use super::replay::Recording;
use super::tell::{Teller, View};
use crate::cluster::Target;
use crate::exit::usage;

/// What is to be run.
pub struct Request<'a> {
    /// The load, for a cluster that is reached so.
    pub plan: &'a (dyn Fn(&Target) -> Result<Plan> + Sync),
    /// What is measured.
    pub duration: Span,
    /// Where the cluster comes from.
    pub place: &'a PlaceArgs,
    /// How often.
    pub repeat: u32,
    /// What is done to the cluster meanwhile.
    pub faults: FaultPlan,
    /// How it is shown.
    pub view: View,
    /// Where its trace goes.
    pub record: Option<PathBuf>,
    /// Where the files go.
    pub out: Option<PathBuf>,
}

/// One run's result, and what it left.
pub struct Finished {
    /// For all views.
    pub result: BenchResult,
    /// For the interval log.
    pub run: RunResult,
    plan: Plan,
}

impl Finished {
    /// What was planned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Leaves `run.hlog`.
    pub fn write_log(&self, path: &Path) -> std::io::Result<()> {
        fill::interval_log(&self.run, &self.plan, &mut BufWriter::new(File::create(path)?))
    }
}

/// Runs it as often as asked: a cluster of the bench's own is new each time, else the connections are. `None` when it was
/// interrupted before anything was measured.
pub fn all(request: &Request<'_>, target: &Target, stop: &AtomicBool) -> Result<Option<Vec<Finished>>> {
    let mut finished = Vec::new();
    for number in 1..=request.repeat {
        if request.repeat > 1 {
            eprintln!("repeat {number} of {}", request.repeat);
        }
        let place = request.place.open(target)?;
        if let Some(own) = &place.own {
            eprintln!("{} nodes on this machine, data in {} until the end", own.ids().count(), own.dir().display());
        }
        let mut plan = (request.plan)(&place.target)?;
        plan.records = request.record.is_some();
        plan.run = format!("{}-{number}", plan.run);
        let Some(one) = one(request, &place, plan, stop)? else { break };
        let is_interrupted = one.result.partial;
        finished.push(one);
        if is_interrupted {
            break;
        }
    }
    Ok((!finished.is_empty()).then_some(finished))
}

/// One run; `None` when it was interrupted before anything was measured.
pub fn one(request: &Request<'_>, place: &Place, mut plan: Plan, stop: &AtomicBool) -> Result<Option<Finished>> {
    let (client, map) = place.connect(&mut plan)?;
    let rate = match plan.pacing {
        Loop::Open { rate, .. } => Some(rate),
        Loop::Closed { .. } => None,
    };
    if !request.faults.0.is_empty() {
        disturb::check(&request.faults, place.own()?, request.duration).map_err(usage)?;
    }
    let made = |window: Window, is_over: &AtomicBool| match place.own() {
        Ok(own) => disturb::make(&request.faults, own, &client, window, is_over),
        Err(_) => Vec::new(),
    };
    let teller = Teller::new(request.view, &plan);
    let each = |second: &_, record: &_| teller.each(second, record);
    let extras = Extras {
        watch: place.watch(&map, rate),
        disturb: (!request.faults.0.is_empty()).then_some(&made),
        each: Some(&each),
    };
    let run = load::session::run_with(&plan, &extras, &client, stop, &|progress| teller.progress(progress));
    drop(teller);
    let run = match run {
        Ok(run) => run,
        Err(RunError::Populate(PopulateError::Interrupted)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let target = place.facts(&map, plan.stream.mix.is_null());
    let about = fill::About { tool: tool(), command: command(), target };
    let result = fill::result(&run, &plan, &about);
    Ok(Some(Finished { result, run, plan }))
}

/// All of it, for `bench run` and `bench quick`.
pub fn run(request: &Request<'_>, target: &Target, stop: &AtomicBool) -> Result<ExitCode> {
    let recording = request.record.as_deref().map(Recording::begin).transpose()?;
    let Some(finished) = all(request, target, stop)? else { return Ok(ExitCode::from(130)) };
    let results: Vec<BenchResult> = finished.iter().map(|one| one.result.clone()).collect();
    let result = merge::repeats(&results)?;
    if let Some(dir) = &request.out {
        write(&result, &finished, dir).with_context(|| format!("could not write to {}", dir.display()))?;
    }
    show(&result, target.json, request.out.as_deref());
    recording.map_or(Ok(()), |recording| recording.finish(&finished[0]))?;
    Ok(ExitCode::from(face::exit_code(&result)))
}

/// To stdout.
pub fn show(result: &BenchResult, is_json: bool, out: Option<&Path>) {
    if is_json {
        print!("{}", json::to_string(result));
        return;
    }
    print!("{}", table::summary(result, &super::style()));
    if let Some(dir) = out {
        println!("report      {}", dir.join(files::PAGE).display());
    }
}

/// Leaves all files in a directory.
pub fn write(result: &BenchResult, finished: &[Finished], dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    match finished {
        [one] => one.write_log(&dir.join(files::INTERVAL_LOG))?,
        several => {
            for (one, number) in several.iter().zip(1..) {
                one.write_log(&dir.join(format!("run-{number}.hlog")))?;
            }
        }
    }
    files::write(dir, result)
}

/// What measures.
pub fn tool() -> Tool {
    let git = option_env!("DROPSTONE_GIT").unwrap_or_default().to_owned();
    let features = if cfg!(feature = "profile-off") { vec!["profile-off".to_owned()] } else { Vec::new() };
    Tool { version: env!("CARGO_PKG_VERSION").to_owned(), git, features }
}

/// The command line, with the program's name alone.
pub fn command() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./:,%+".contains(c));
        if is_plain { word } else { format!("'{word}'") }
    });
    std::iter::once("dropstone".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Where files go unless told otherwise: a directory of this minute and mix.
pub fn default_out(mix: &str) -> PathBuf {
    let now = load::report::words::utc(reactor::clock::wall_ms());
    let now: String = now.trim_end_matches(" UTC").replace(' ', "T").replace(':', "");
    let name = Path::new(mix).file_stem().map_or_else(|| mix.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let wanted = PathBuf::from("bench-results").join(format!("{now}-{name}"));
    // Another run of the same minute has its own.
    let numbered = (2..100).map(|number| wanted.with_file_name(format!("{now}-{name}-{number}")));
    std::iter::once(wanted.clone()).chain(numbered).find(|dir| !dir.exists()).unwrap_or(wanted)
}
