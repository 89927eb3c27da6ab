//! A negative control of the lease checkers: with clocks at half to twice the right rate, which no lease is made for, they
//! must fire; and the same seeds without leases must be green, so that it is the leases that they saw.

use std::ops::Range;

use crate::caught::run_caught;
use crate::cli::{GREEN, THIN, VIOLATION};
use crate::profile::Profile;
use crate::run::Options;

/// Who may fire when leases do not hold: the two that are about leases, and those who see what a stale read brings.
const EXPECTED: [&str; 5] = ["freshness", "lease", "linear", "session", "model"];
/// Of these, who is about leases.
const WANTED: [&str; 2] = ["freshness", "lease"];
/// Claims about time, in true seconds: nodes that run at half the rate keep none of them.
const TIMED: [&str; 6] = ["leader", "progress", "converge", "wakeup", "fail_slow", "notify"];

/// Runs the seeds; [`GREEN`] when the control worked, [`THIN`] when no lease was seen to fail, [`VIOLATION`] when anything
/// else failed.
pub(crate) fn control(seeds: Range<u64>, is_verbose: bool) -> u8 {
    let skips = TIMED.map(str::to_owned).to_vec();
    let with = Options { skips, ..Options::new(Profile::ClockBroken) };
    let without = Options { has_no_leases: true, ..with.clone() };
    let (mut seen, mut wrong, mut tried) = (0u64, Vec::new(), 0u64);
    for seed in seeds {
        tried += 1;
        let found = run_caught(seed, &with).violation;
        if let Some(violation) = &found {
            seen += u64::from(WANTED.contains(&violation.checker));
            if !EXPECTED.contains(&violation.checker) {
                wrong.push((seed, "with leases", violation.clone()));
            }
        }
        // Only what failed has to be shown to be the leases' fault.
        let again = found.as_ref().and_then(|_| run_caught(seed, &without).violation);
        if is_verbose {
            let name =
                |violation: &Option<crate::observe::Violation>| violation.as_ref().map_or("green", |v| v.checker);
            println!("seed {seed}: with leases {}, without {}", name(&found), name(&again));
        }
        wrong.extend(again.map(|violation| (seed, "without leases", violation)));
    }
    println!("control: {tried} seeds, in {seen} a lease was seen to fail, {} other failures", wrong.len());
    for (seed, how, violation) in &wrong {
        println!("seed {seed} {how}: {violation}");
    }
    match (seen, wrong.is_empty()) {
        (_, false) => VIOLATION,
        (0, true) => THIN,
        (_, true) => GREEN,
    }
}
