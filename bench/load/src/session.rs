//! A whole run against a cluster: fill it, let it settle, load it from as many cores as asked, check it, judge it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Mono, Span};
use client::Client;
use reactor::{clock, pin};

use crate::arrivals::Arrival;
use crate::content::Contents;
use crate::drivers::native::{
    Home, InspectError, NativeDriver, NativeError, NativeInspector, NativeSettings, PopulateError, populate,
};
use crate::drivers::null::NullDriver;
use crate::generator::{Ack, Generator, GeneratorSettings, Loop};
use crate::host::HostCounters;
use crate::mix::Mix;
use crate::phases::{Coordinator, Outcome, PhaseSettings, Second};
use crate::recorder::Window;
use crate::run::{CoreResult, INTERVAL, Orders, drive};
use crate::source::{Source, StreamSettings};
use crate::verdict::{Evidence, HostFacts, Verdict};
use crate::verify::{Checks, check};

/// The schedule begins so long after the threads are told to start: their models are made meanwhile.
const LEAD: Span = Span::from_ms(200);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is sent, and when.
    pub stream: StreamSettings,
    /// Open or closed; rate and clients are those of all generator cores.
    pub pacing: Loop,
    /// Operations in flight of all generator cores.
    pub in_flight_max: usize,
    /// How long.
    pub phases: PhaseSettings,
    /// Waited between filling and loading.
    pub settle: Span,
    /// Generator cores.
    pub cores: u32,
    /// Where they are pinned, one for each; empty leaves them to the system.
    pub cpus: Vec<usize>,
    /// Connections of each generator core to each core of the cluster.
    pub lanes: usize,
    /// `host:port` of the nodes.
    pub targets: Vec<String>,
    /// Raft groups of the cluster.
    pub groups: u32,
    /// How long an operation may take.
    pub deadline: Span,
    /// Before the next due time the ring is asked again and again for so long.
    pub spin: Span,
    /// Every acknowledged write is looked for afterwards.
    pub verifies: bool,
    /// Part of the operations that may fail.
    pub errors_max: f64,
    /// Generator and target share processors.
    pub is_shared: bool,
    /// Names the accounts that are made.
    pub run: String,
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Progress {
    /// So many namespaces of so many are filled.
    Filled(u32, u32),
    /// A second has passed.
    Second(Second),
    /// The load is over and the writes are looked for.
    Checking,
}

/// What came of it.
#[derive(Debug)]
pub struct RunResult {
    /// The load.
    pub outcome: Outcome,
    /// The checks, if there were any.
    pub checks: Option<Checks>,
    /// What it is worth.
    pub verdict: Verdict,
    /// The host meanwhile.
    pub host: HostFacts,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster was not filled.
    #[error(transparent)]
    Populate(#[from] PopulateError),
    /// A generator core could not begin.
    #[error(transparent)]
    Driver(#[from] NativeError),
    /// The writes could not be looked for.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A thread did not end well.
    #[error("a generator core panicked; its message stands above")]
    Panicked,
}

/// Runs a plan; `tell` hears how far it is. When `stop` is set it ends early, with what was seen until then.
///
/// Errors: [`RunError`].
pub fn run(
    plan: &Plan,
    client: &Client,
    stop: &AtomicBool,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<RunResult, RunError> {
    let filled = |done, all| tell(Progress::Filled(done, all));
    let homes = Arc::new(populate(client, &plan.stream, &plan.run, &clock::wall_ms, stop, filled)?);
    std::thread::sleep(Duration::from_nanos(plan.settle.0));
    let before = HostCounters::read();
    let begun = clock::mono();
    let (outcome, acks) = load(plan, &homes, stop, tell)?;
    let seconds = clock::mono().since(begun).0 as f64 / 1e9;
    let host = HostCounters::read().since(&before, seconds, plan.is_shared);
    let checks = if plan.verifies {
        tell(Progress::Checking);
        let heads: Vec<u64> = homes.iter().map(|home| home.head).collect();
        let mut inspector = NativeInspector::new(client.clone(), homes);
        Some(check(&plan.stream, outcome.index, &heads, &acks, &mut inspector)?)
    } else {
        None
    };
    let verdict = Verdict::of(&Evidence {
        total: &outcome.total,
        seconds: outcome.measured_s,
        offered_rate: matches!(plan.pacing, Loop::Open { .. })
            .then(|| outcome.total.counts.offered as f64 / outcome.measured_s.max(1e-9)),
        busy_max: outcome.busy_max,
        is_steady: outcome.is_steady,
        unsent: outcome.unsent,
        unanswered: outcome.unanswered,
        errors_max: plan.errors_max,
        violations_after: checks.as_ref().map_or(0, |checks| checks.violations_in_all),
        host,
    });
    Ok(RunResult { outcome, checks, verdict, host })
}

fn load(
    plan: &Plan,
    homes: &Arc<Vec<Home>>,
    stop: &AtomicBool,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<(Outcome, Vec<Ack>), RunError> {
    let start = clock::mono() + LEAD;
    // A core without a namespace of its own would have nothing to send.
    let cores = plan.cores.min(plan.stream.mix.population.namespaces);
    let plan = &Plan { cores, ..plan.clone() };
    let coordinator = Mutex::new(Coordinator::new(plan.phases, start, cores));
    let core = |core: u32| one_core(plan, homes, (core, start), stop, &coordinator, tell);
    let results: Vec<Result<CoreResult, RunError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|number| scope.spawn(move || core(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(RunError::Panicked))).collect()
    });
    let results = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    let coordinator = coordinator.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(coordinator.finish(results, clock::mono()))
}

fn one_core(
    plan: &Plan,
    homes: &Arc<Vec<Home>>,
    (core, start): (u32, Mono),
    stop: &AtomicBool,
    coordinator: &Mutex<Coordinator>,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<CoreResult, RunError> {
    if let Some(cpu) = plan.cpus.get(core as usize) {
        // Where the system refuses, the core runs where it may; its lag tells what that cost.
        let _ = pin::pin_to(*cpu);
    }
    let settings = NativeSettings {
        targets: plan.targets.clone(),
        groups: plan.groups,
        lanes: plan.lanes,
        deadline: plan.deadline,
        spin: plan.spin,
        seed: plan.stream.seed,
    };
    let mut driver = NativeDriver::new(settings, homes.clone()).inspect_err(|_| {
        // The others would wait for this core's seconds for ever.
        stop.store(true, Ordering::Relaxed);
    })?;
    let source = Source::new(&plan.stream, start, (core, plan.cores));
    let contents = Contents::new(plan.stream.seed);
    let settings = GeneratorSettings {
        pacing: share_of(plan.pacing, core, plan.cores),
        in_flight_max: plan.in_flight_max.div_ceil(plan.cores as usize),
    };
    let generator = Generator::new(source, contents, settings, plan.verifies, start);
    Ok(drive(generator, &mut driver, (core, start), stop, |report| {
        let mut coordinator = coordinator.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = coordinator.handle_report(&report);
        let orders = coordinator.orders();
        drop(coordinator);
        if let Some(second) = whole {
            tell(Progress::Second(second));
        }
        orders
    }))
}

/// What one core has of the whole load.
fn share_of(pacing: Loop, core: u32, cores: u32) -> Loop {
    match pacing {
        Loop::Open { late, rate } => Loop::Open { late, rate: rate / f64::from(cores) },
        Loop::Closed { clients, think } => {
            Loop::Closed { clients: clients / cores + u32::from(core < clients % cores), think }
        }
    }
}

/// Requests per second that one generator core makes, sends, judges and records when the target takes no time.
#[must_use]
pub fn null_rate(mix: Mix, seed: u64, duration: Span) -> f64 {
    let namespaces = mix.population.namespaces;
    let stream = StreamSettings { mix: Arc::new(mix), seed, arrival: Arrival::Poisson, rate: 1e6, duration };
    let start = clock::mono();
    let source = Source::new(&stream, start, (0, 1));
    let pacing = Loop::Closed { clients: 256, think: Span(0) };
    let settings = GeneratorSettings { pacing, in_flight_max: 65_536 };
    let generator = Generator::new(source, Contents::new(seed), settings, false, start);
    let mut driver = NullDriver::new(namespaces, clock::mono);
    let from = clock::mono() + INTERVAL + INTERVAL;
    let window = Window { from, until: from + duration };
    let orders = Orders { window: Some(window) };
    let result = drive(generator, &mut driver, (0, start), &AtomicBool::new(false), |_| orders);
    result.total.counts.achieved as f64 / (duration.0 as f64 / 1e9)
}
