//! A whole run in virtual time: stream, generator, target and coordinator on one thread.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use load::arrivals::Arrival;
use load::content::Contents;
use load::drivers::sim::{SimDriver, SimSettings};
use load::generator::{Ack, Generator, GeneratorSettings, Late, Loop};
use load::keep::KeptSecond;
use load::mix::Mix;
use load::phases::{Coordinator, Outcome, PhaseSettings};
use load::run::drive;
use load::source::{Source, StreamSettings};
use load::verdict::{Evidence, HostFacts, Verdict};
use load::verify::{Checks, check};
use load::{Mono, Span};

pub const START: Mono = Mono(1_000_000_000);

/// What a run is made of.
#[derive(Clone)]
pub struct World {
    pub stream: StreamSettings,
    pub pacing: Loop,
    pub in_flight_max: usize,
    pub phases: PhaseSettings,
    pub sim: SimSettings,
}

/// What came of it.
pub struct Ran {
    pub outcome: Outcome,
    pub acks: Vec<Ack>,
    pub checks: Checks,
    /// The seconds of the window.
    pub kept: Vec<KeptSecond>,
    pub world: World,
}

pub fn seconds(seconds: f64) -> Span {
    Span((seconds * 1e9) as u64)
}

pub fn at(seconds: f64) -> Mono {
    START + self::seconds(seconds)
}

impl World {
    /// A mix at a rate for so many seconds, measured from the start on, over a target that answers at once.
    pub fn new(mix: &str, arrival: Arrival, rate: f64, duration: f64) -> World {
        let mut mix = Mix::built_in(mix).expect("a built-in mix").scaled(0.05);
        if mix.name == "folder-move" {
            // The same folder with fewer files: the target here is no tree.
            mix.population.files = load::sizes::Sizes::Const(500);
        }
        let mix = Arc::new(mix);
        World {
            stream: StreamSettings { mix, seed: 7, arrival, rate, duration: seconds(duration + 1.0) },
            pacing: Loop::Open { late: Late::Send, rate },
            in_flight_max: usize::MAX,
            phases: PhaseSettings {
                duration: seconds(duration),
                warmup_min: Span(0),
                warmup_max: seconds(60.0),
                waits_for_steady: false,
                is_whole: false,
            },
            sim: SimSettings { seed: 7, ..SimSettings::default() },
        }
    }

    pub fn run(self) -> Ran {
        self.run_until(&AtomicBool::new(false), |_| {})
    }

    /// Runs until all is measured or `stop` is set; `each` sees every second.
    pub fn run_until(self, stop: &AtomicBool, mut each: impl FnMut(u64)) -> Ran {
        let source = Source::new(&self.stream, START, (0, 1));
        let namespaces = self.stream.mix.population.namespaces;
        let mut driver = SimDriver::new(self.sim.clone(), &source, namespaces, START);
        let heads: Vec<u64> = (0..namespaces).map(|at| source.tree(at).live().count() as u64).collect();
        let settings = GeneratorSettings { pacing: self.pacing, in_flight_max: self.in_flight_max };
        let mut generator = Generator::new(source, Contents::new(self.stream.seed), settings, true, START);
        generator.keep_times(START);
        let mut coordinator = Coordinator::new(self.phases, START, 1);
        if let Some(window) = coordinator.orders().window {
            generator.set_window(window);
        }
        let mut kept = Vec::new();
        let result = drive(generator, &mut driver, (0, START), stop, |report| {
            coordinator.handle_report(&report);
            let whole = coordinator.take_whole().filter(|(second, _)| second.is_measured);
            kept.extend(whole.map(|(second, record)| KeptSecond::of(second.second, &record)));
            each(report.second);
            coordinator.orders()
        });
        let now = load::driver::Driver::now(&mut driver);
        let index = result.index;
        let (outcome, acks) = coordinator.finish(vec![result], now);
        let Ok(checks) = check(&self.stream, index, &heads, &acks, &mut driver);
        Ran { outcome, acks, checks, kept, world: self }
    }
}

impl Ran {
    pub fn verdict(&self) -> Verdict {
        let Outcome { total, measured_s, busy_max, is_steady, unsent, unanswered, .. } = &self.outcome;
        Verdict::of(&Evidence {
            total,
            seconds: *measured_s,
            offered_rate: matches!(self.world.pacing, Loop::Open { .. }).then_some(self.world.stream.rate),
            busy_max: *busy_max,
            is_steady: *is_steady,
            unsent: *unsent,
            unanswered: *unanswered,
            errors_max: 0.0001,
            violations_after: self.checks.violations_in_all,
            host: HostFacts::default(),
        })
    }

    pub fn codes(&self) -> Vec<&'static str> {
        self.verdict().reasons.iter().map(|reason| reason.code).collect()
    }
}
