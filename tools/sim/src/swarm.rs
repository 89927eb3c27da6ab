//! Many seeds on a few threads, added up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::caught::run_caught;
use crate::coverage::Coverage;
use crate::fault::{ALL, CLASSES, Class};
use crate::run::{Options, Report};

/// Seeds added up.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Runs that ended.
    pub seeds: u64,
    /// Simulated ns.
    pub simulated_ns: u64,
    /// Events handled.
    pub events: u64,
    /// Operations that clients began.
    pub operations: u64,
    /// Operations that were answered.
    pub acknowledged: u64,
    /// Processes that stopped without warning.
    pub crashes: u64,
    /// Disks that were lost.
    pub disks_lost: u64,
    /// Runs that ended because a group could not live any more, and was proven so.
    pub given_up: u64,
    /// Leaders that were elected.
    pub elections: u64,
    /// Faults, by class.
    pub faults: [u64; CLASSES],
    /// What they came by.
    pub coverage: Coverage,
    /// Runs that failed: seed, checker and what it saw; the first ones, by seed.
    pub failures: BTreeMap<u64, (String, String)>,
}

/// Failures kept.
const FAILURES_MAX: usize = 100;

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            seeds: 0,
            simulated_ns: 0,
            events: 0,
            operations: 0,
            acknowledged: 0,
            crashes: 0,
            disks_lost: 0,
            given_up: 0,
            elections: 0,
            faults: [0; CLASSES],
            coverage: Coverage::default(),
            failures: BTreeMap::new(),
        }
    }
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.simulated_ns += report.simulated_ns;
        self.events += report.events;
        self.operations += report.operations;
        self.acknowledged += report.acknowledged;
        self.crashes += report.crashes;
        self.disks_lost += report.disks_lost;
        self.given_up += report.given_up;
        self.elections += report.elections;
        self.faults.iter_mut().zip(report.faults).for_each(|(sum, count)| *sum += count);
        self.coverage.add(&report.coverage);
        if let Some(violation) = &report.violation
            && self.failures.len() < FAILURES_MAX
        {
            self.failures.insert(report.seed, (violation.checker.to_owned(), violation.what.clone()));
        }
    }

    /// Simulated hours.
    #[must_use]
    pub fn hours(&self) -> f64 {
        self.simulated_ns as f64 / 3.6e12
    }

    /// Faults of all classes.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Why a green result would prove too little; none when it proves enough.
    #[must_use]
    pub fn thin(&self, options: &Options, fault_gate: u64) -> Vec<String> {
        let mut why = Vec::new();
        if self.acknowledged < 200 * self.seeds {
            why.push(format!("{} operations acknowledged per seed, 200 wanted", self.acknowledged / self.seeds.max(1)));
        }
        let off = options.off();
        for class in ALL.into_iter().filter(|class| !off.contains(class)) {
            let count = self.faults[class as usize];
            if count < fault_gate {
                why.push(format!("{} struck {count} times, {fault_gate} wanted", class.name()));
            }
        }
        why
    }

    /// One line of fault counts.
    #[must_use]
    pub fn faults_line(&self) -> String {
        let count = |class: Class| format!("{} {}", class.name(), self.faults[class as usize]);
        ALL.into_iter().map(count).collect::<Vec<_>>().join("  ")
    }

    /// Marks reached of how many, as the last line of a report.
    #[must_use]
    pub fn marks_line(&self) -> String {
        let (reached, wanted) = self.coverage.share();
        format!("marks: {reached}/{wanted} hit")
    }
}

/// A swarm under way, for the line that tells of it.
#[derive(Clone, Debug)]
pub struct Progress {
    /// So far.
    pub totals: Totals,
    /// Seeds in all.
    pub seeds: u64,
    /// Wall time so far.
    pub elapsed: Duration,
}

/// Runs seeds `from..to` on `threads` threads; `tell` hears of it about twice a second and once at the end.
///
/// With `stops_early` no new seed begins after a failure.
pub fn swarm(
    seeds: std::ops::Range<u64>,
    threads: usize,
    options: &Options,
    stops_early: bool,
    mut tell: impl FnMut(&Progress) + Send,
) -> Totals {
    let begin = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let is_failed = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let count = seeds.end.saturating_sub(seeds.start);
    let work = || {
        while !(stops_early && is_failed.load(Ordering::Relaxed)) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report = run_caught(seed, options);
            is_failed.fetch_or(report.violation.is_some(), Ordering::Relaxed);
            totals.lock().expect("nobody panics while holding it").add(&report);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if begin.elapsed().as_millis() % 500 < 20 {
                let totals = totals.lock().expect("nobody panics while holding it").clone();
                tell(&Progress { totals, seeds: count, elapsed: begin.elapsed() });
            }
        }
    });
    let totals = totals.into_inner().expect("all workers are done");
    tell(&Progress { totals: totals.clone(), seeds: count, elapsed: begin.elapsed() });
    totals
}
