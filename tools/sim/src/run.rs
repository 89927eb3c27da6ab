//! One run: a seed, what it may do, and what came of it.

use base::NodeId;

use crate::begun::Begun;
use crate::coverage::Coverage;
use crate::fault::{ALL, CLASSES, Class};
use crate::observe::{Checker, Violation};
use crate::profile::Profile;
use crate::schedule::{Fault, Schedule, Size};
use crate::world::World;

/// What a run is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rates and length.
    pub profile: Profile,
    /// Size; what is not given is drawn.
    pub size: Size,
    /// Faults to strike instead of those that would be drawn.
    pub schedule: Option<Vec<Fault>>,
    /// Operations to begin instead of those that would be drawn.
    pub operations: Option<Vec<Begun>>,
    /// Classes that never strike.
    pub without: Vec<Class>,
    /// Checkers that are not asked, by name.
    pub skips: Vec<String>,
    /// No leader has a lease: reads are confirmed by a round.
    pub has_no_leases: bool,
    /// Keep the faults that struck and the operations that began, for [`Report::schedule`].
    pub is_recording: bool,
    /// The run is over, without a verdict, when faults end: for failures known to come before.
    pub stops_with_faults: bool,
    /// Print every event.
    pub print: bool,
    /// Keep the hash after each event, for [`Report::steps`].
    pub keeps_steps: bool,
    /// Keep the text of these events, for [`Report::text`].
    pub wanted_events: Option<std::ops::Range<u64>>,
}

impl Options {
    /// A run of a profile, everything drawn.
    #[must_use]
    pub fn new(profile: Profile) -> Options {
        Options {
            profile,
            size: Size::default(),
            schedule: None,
            operations: None,
            without: Vec::new(),
            skips: Vec::new(),
            has_no_leases: false,
            is_recording: false,
            stops_with_faults: false,
            print: false,
            keeps_steps: false,
            wanted_events: None,
        }
    }

    /// A run that repeats a schedule.
    #[must_use]
    pub fn replaying(schedule: &Schedule) -> Options {
        Options {
            size: schedule.size,
            schedule: Some(schedule.faults.clone()),
            operations: schedule.operations.clone(),
            ..Options::new(schedule.profile)
        }
    }

    /// No faults at all.
    #[must_use]
    pub fn calm(profile: Profile) -> Options {
        Options { without: ALL.to_vec(), ..Options::new(profile) }
    }

    /// The checkers of such a run.
    #[must_use]
    pub fn checkers(&self) -> Vec<Box<dyn Checker>> {
        let mut checkers = crate::checker::all();
        if self.profile.has_liars() {
            checkers = crate::liar::checkers(checkers);
        }
        checkers.retain(|checker| !self.skips.iter().any(|name| name == checker.name()));
        checkers
    }

    pub(crate) fn off(&self) -> &[Class] {
        &self.without
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What does not hold.
    pub violation: Option<Violation>,
    /// 128 bits of all that happened.
    pub trace_hash: u128,
    /// Simulated ns.
    pub simulated_ns: u64,
    /// Events handled.
    pub events: u64,
    /// Turns of cores.
    pub turns: u64,
    /// Requests whose stages were seen to sum to the time that they took.
    pub timed: u64,
    /// Of operations: requests that came to the wrong core of a node and were answered through it.
    pub forwarded: u64,
    /// Frames between nodes.
    pub frames: u64,
    /// Operations that clients began.
    pub operations: u64,
    /// Operations that were answered.
    pub acknowledged: u64,
    /// Processes that stopped without warning.
    pub crashes: u64,
    /// Disks that were lost.
    pub disks_lost: u64,
    /// 1 if the run ended because a group could not live any more, and was proven so.
    pub given_up: u64,
    /// Leaders that were elected.
    pub elections: u64,
    /// Faults, by class.
    pub faults: [u64; CLASSES],
    /// What it came by.
    pub coverage: Coverage,
    /// What struck, if it was recorded.
    pub schedule: Option<Schedule>,
    /// Hash after each event, if kept.
    pub steps: Option<Vec<u64>>,
    /// Text of the events that were wanted.
    pub text: Vec<String>,
    /// Events in the trace.
    pub traced: u64,
    /// Who sits on which seat at the end.
    pub nodes: Vec<NodeId>,
}

impl Report {
    /// Of a run in which nothing happened.
    pub(crate) fn empty(seed: u64) -> Report {
        Report {
            seed,
            violation: None,
            trace_hash: 0,
            simulated_ns: 0,
            events: 0,
            turns: 0,
            timed: 0,
            forwarded: 0,
            frames: 0,
            operations: 0,
            acknowledged: 0,
            crashes: 0,
            disks_lost: 0,
            given_up: 0,
            elections: 0,
            faults: [0; CLASSES],
            coverage: Coverage::default(),
            schedule: None,
            steps: None,
            text: Vec::new(),
            traced: 0,
            nodes: Vec::new(),
        }
    }

    /// Of a run that is over, wherever it ended.
    pub(crate) fn of(mut world: World<'_>) -> Report {
        world.coverage.take_marks();
        let (seed, shape) = (world.seed, world.shape.size());
        let nodes = world.nodes_by_seat();
        let World { violation, trace, injector, counts, coverage, now, options, begun, .. } = world;
        let faults = injector.counts();
        let record = options.is_recording.then(|| Schedule {
            seed,
            profile: options.profile,
            size: shape,
            faults: injector.into_record(),
            operations: Some(begun),
            fails: None,
        });
        Report {
            seed,
            violation,
            trace_hash: trace.digest(),
            simulated_ns: now,
            events: counts.events,
            turns: counts.turns,
            frames: counts.messages,
            operations: counts.operations,
            acknowledged: counts.acknowledged,
            timed: counts.timed,
            forwarded: counts.forwarded,
            crashes: counts.crashes,
            disks_lost: counts.disks_lost,
            given_up: counts.given_up,
            elections: counts.elections,
            faults,
            coverage,
            schedule: record,
            steps: trace.steps,
            text: trace.text,
            traced: trace.events,
            nodes,
        }
    }

    /// Faults of all classes.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.iter().sum()
    }
}

/// Runs a seed to its end, or to the first violation.
pub fn run(seed: u64, options: &Options, checkers: &mut [Box<dyn Checker>]) -> Report {
    crate::coverage::begin();
    let mut world = World::new(seed, options, checkers);
    world.run();
    Report::of(world)
}
