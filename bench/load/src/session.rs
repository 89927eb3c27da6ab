//! A whole run against a cluster: fill it, let it settle, load it from as many cores as asked, check it, judge it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{CoreId, Mono, Span};
use client::Client;
use reactor::{clock, pin};

use crate::arrivals::Arrival;
use crate::content::Contents;
use crate::drivers::native::{
    CountInspector, Home, InspectError, NativeDriver, NativeError, NativeInspector, NativeSettings, PopulateError,
    counts, populate,
};
use crate::drivers::null::NullDriver;
use crate::faults::{self, MadeFault};
use crate::generator::{Ack, Generator, GeneratorSettings, Loop};
use crate::host::HostCounters;
use crate::keep::{self, KeptSecond};
use crate::mix::Mix;
use crate::observe::{Observed, Watch, observe};
use crate::phases::{Coordinator, Outcome, PhaseSettings, Second};
use crate::recorder::{Record, Window};
use crate::report::result::Fault;
use crate::run::{CoreResult, INTERVAL, Orders, drive};
use crate::source::{Source, StreamSettings};
use crate::verdict::{Evidence, HostFacts, Verdict};
use crate::verify::{Checks, check, check_counts};

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
    /// All operations go to this core of each node, which takes those of others' groups there; none: to the owner.
    pub only_core: Option<CoreId>,
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
    /// It is kept when operations were due, so that a trace can be made of the run.
    pub records: bool,
    /// Names the accounts that are made.
    pub run: String,
}

impl Plan {
    /// It goes to a cluster of so many groups.
    pub fn set_groups(&mut self, groups: u32) {
        self.groups = groups;
        if self.stream.mix.is_null() {
            self.stream.mix = Arc::new((*self.stream.mix).clone().over_groups(groups));
        }
    }
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

/// Makes faults: hears the window and whether the run is over, and tells what it did.
pub type Disturb<'a> = &'a (dyn Fn(Window, &AtomicBool) -> Vec<MadeFault> + Sync);

/// Hears every second and what was recorded in it, off the generator's cores.
pub type Each<'a> = &'a (dyn Fn(&Second, &Record) + Sync);

/// What a run does beside its load.
#[derive(Clone, Default)]
pub struct Extras<'a> {
    /// What is watched.
    pub watch: Watch,
    /// Who disturbs.
    pub disturb: Option<Disturb<'a>>,
    /// Who looks on.
    pub each: Option<Each<'a>>,
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
    /// The seconds of the window, with their histograms.
    pub kept: Vec<KeptSecond>,
    /// What was seen of target and machine.
    pub observed: Observed,
    /// The faults that were made, and what they did.
    pub faults: Vec<Fault>,
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
    run_with(plan, &Extras::default(), client, stop, tell)
}

/// As [`run`], watched and disturbed.
///
/// Errors: [`RunError`].
pub fn run_with(
    plan: &Plan,
    extras: &Extras<'_>,
    client: &Client,
    stop: &AtomicBool,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<RunResult, RunError> {
    let filled = |done, all| tell(Progress::Filled(done, all));
    let is_null = plan.stream.mix.is_null();
    let homes = Arc::new(if is_null {
        counts(client, plan.groups)?
    } else {
        populate(client, &plan.stream, &plan.run, &clock::wall_ms, stop, filled)?
    });
    std::thread::sleep(Duration::from_nanos(plan.settle.0));
    let before = HostCounters::read();
    let begun = clock::mono();
    let Loaded { outcome, acks, start, kept, observed, made } = load(plan, extras, client, &homes, stop, tell)?;
    let seconds = clock::mono().since(begun).0 as f64 / 1e9;
    let host = HostCounters::read().since(&before, seconds, plan.is_shared);
    let checks = if plan.verifies {
        tell(Progress::Checking);
        let heads: Vec<u64> = homes.iter().map(|home| home.head).collect();
        Some(if is_null {
            check_counts(&heads, acks, &mut CountInspector(client.clone()))?
        } else {
            let mut inspector = NativeInspector::new(client.clone(), homes);
            check(&plan.stream, outcome.index, &heads, &acks, &mut inspector)?
        })
    } else {
        None
    };
    let faults = faults::judge(&made, outcome.window, start, &outcome.seconds, &outcome.gaps);
    let excused = faults::excused(&faults, outcome.window, start, &outcome.seconds);
    let mut verdict = Verdict::of(&Evidence {
        total: &without(&outcome.total, excused),
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
    verdict.note_unattributed(&outcome.samples);
    Ok(RunResult { outcome, checks, verdict, host, kept, observed, faults })
}

/// The window without so many errors, which faults that were asked for have made.
fn without(total: &Record, mut excused: u64) -> std::borrow::Cow<'_, Record> {
    if excused == 0 {
        return std::borrow::Cow::Borrowed(total);
    }
    let mut total = total.clone();
    for count in total.counts.errors.values_mut() {
        let taken = excused.min(*count);
        (*count, excused) = (*count - taken, excused - taken);
    }
    std::borrow::Cow::Owned(total)
}

/// What the load left.
struct Loaded {
    outcome: Outcome,
    acks: Vec<Ack>,
    start: Mono,
    kept: Vec<KeptSecond>,
    observed: Observed,
    made: Vec<MadeFault>,
}

/// What the generator cores share.
struct Shared<'a> {
    coordinator: Mutex<Coordinator>,
    whole: SyncSender<(Second, Record)>,
    stop: &'a AtomicBool,
    tell: &'a (dyn Fn(Progress) + Sync),
}

/// Seconds that wait to be kept; at this many a second is not kept rather than waited for.
const WHOLE_WAITING_MAX: usize = 64;

fn load(
    plan: &Plan,
    extras: &Extras<'_>,
    client: &Client,
    homes: &Arc<Vec<Home>>,
    stop: &AtomicBool,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<Loaded, RunError> {
    let start = clock::mono() + LEAD;
    // A core without a namespace of its own would have nothing to send.
    let cores = plan.cores.min(plan.stream.mix.population.namespaces);
    let plan = &Plan { cores, ..plan.clone() };
    let (whole, wholes) = sync_channel(WHOLE_WAITING_MAX);
    let coordinator = Mutex::new(Coordinator::new(plan.phases, start, cores));
    let shared = Shared { coordinator, whole, stop, tell };
    let window = || lock(&shared.coordinator).orders().window;
    let is_over = &AtomicBool::new(false);
    let (results, kept, observed, made) = std::thread::scope(|scope| {
        let keeper = scope.spawn(move || keep_all(&wholes, extras.each, is_over));
        let observer = scope.spawn(|| observe(&extras.watch, client, start, window, is_over));
        let disturber = extras.disturb.map(|disturb| scope.spawn(|| disturb_in(disturb, window, is_over)));
        let core = |core: u32| one_core(plan, homes, (core, start), extras.watch.explain_every, &shared);
        let threads: Vec<_> = (0..cores).map(|number| scope.spawn(move || core(number))).collect();
        let results: Vec<Result<CoreResult, RunError>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(RunError::Panicked))).collect();
        is_over.store(true, Ordering::Relaxed);
        let made = disturber.map(|thread| thread.join().unwrap_or_default()).unwrap_or_default();
        (results, keeper.join().unwrap_or_default(), observer.join().unwrap_or_default(), made)
    });
    let results = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    let coordinator = shared.coordinator.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (outcome, acks) = coordinator.finish(results, clock::mono());
    Ok(Loaded { outcome, acks, start, kept, observed, made })
}

fn lock(coordinator: &Mutex<Coordinator>) -> std::sync::MutexGuard<'_, Coordinator> {
    coordinator.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Encodes the seconds of the window, off the generator's cores, until it is over and none waits.
fn keep_all(wholes: &Receiver<(Second, Record)>, each: Option<Each<'_>>, is_over: &AtomicBool) -> Vec<KeptSecond> {
    let mut kept = Vec::new();
    loop {
        let ended = is_over.load(Ordering::Relaxed);
        match wholes.recv_timeout(LOOK_EVERY) {
            Ok((second, record)) => {
                each.into_iter().for_each(|each| each(&second, &record));
                if second.is_measured && kept.len() < keep::SECONDS_MAX {
                    kept.push(KeptSecond::of(second.second, &record));
                }
            }
            Err(_) if ended => return kept,
            Err(_) => {}
        }
    }
}

/// How often is looked whether the window is known, or all is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn disturb_in(disturb: Disturb<'_>, window: impl Fn() -> Option<Window>, is_over: &AtomicBool) -> Vec<MadeFault> {
    while !is_over.load(Ordering::Relaxed) {
        if let Some(window) = window() {
            return disturb(window, is_over);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Vec::new()
}

fn one_core(
    plan: &Plan,
    homes: &Arc<Vec<Home>>,
    (core, start): (u32, Mono),
    explain_every: u64,
    shared: &Shared<'_>,
) -> Result<CoreResult, RunError> {
    if let Some(cpu) = plan.cpus.get(core as usize) {
        // Where the system refuses, the core runs where it may; its lag tells what that cost.
        let _ = pin::pin_to(*cpu);
    }
    let settings = NativeSettings {
        targets: plan.targets.clone(),
        groups: plan.groups,
        lanes: plan.lanes,
        only_core: plan.only_core,
        deadline: plan.deadline,
        spin: plan.spin,
        seed: plan.stream.seed,
    };
    let mut driver = NativeDriver::new(settings, homes.clone()).inspect_err(|_| {
        // The others would wait for this core's seconds for ever.
        shared.stop.store(true, Ordering::Relaxed);
    })?;
    driver.explain_every(explain_every);
    let source = Source::new(&plan.stream, start, (core, plan.cores));
    let contents = Contents::new(plan.stream.seed);
    let settings = GeneratorSettings {
        pacing: share_of(plan.pacing, core, plan.cores),
        in_flight_max: plan.in_flight_max.div_ceil(plan.cores as usize),
    };
    let mut generator = Generator::new(source, contents, settings, plan.verifies, start);
    if plan.records {
        generator.keep_times(start);
    }
    if let Some(window) = lock(&shared.coordinator).orders().window {
        generator.set_window(window);
    }
    Ok(drive(generator, &mut driver, (core, start), shared.stop, |report| {
        let mut coordinator = lock(&shared.coordinator);
        let second = coordinator.handle_report(&report);
        let whole = coordinator.take_whole();
        let orders = coordinator.orders();
        drop(coordinator);
        if let Some(whole) = whole {
            // A second that nobody has time for is missing from the log; waiting for it would spoil those to come.
            let _ = shared.whole.try_send(whole);
        }
        if let Some(second) = second {
            (shared.tell)(Progress::Second(second));
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
