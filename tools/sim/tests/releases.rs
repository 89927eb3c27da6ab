//! Nodes of two releases, and a machine that errs: a few seeds of each, whole.

use sim::schedule::Size;
use sim::{Options, Profile, run};

fn of_size(profile: Profile, size: Size) -> Options {
    Options { size: Size { length_ms: Some(20_000), groups: Some(2), ..size }, ..Options::new(profile) }
}

#[test]
fn a_level_is_raised_under_load_and_faults_and_the_release_before_stops_and_loses_nothing() {
    for seed in 0..3 {
        let report = run(seed, &of_size(Profile::Upgrade, Size::default()), &mut of_all(&[]));
        assert_eq!(report.violation, None, "seed {seed}");
        assert!(report.acknowledged > 20, "seed {seed}: {}", report.acknowledged);
    }
}

#[test]
fn a_machine_that_errs_is_found_out_by_its_hashes_stopped_and_replaced() {
    // What it does before it is found out, these see too.
    let skips = ["state_equal", "model", "linear", "register", "session", "freshness", "once", "notify", "wakeup"];
    for (seed, calm) in [(1, true), (2, true), (3, false), (4, false)] {
        let size = Size { erring: Some(1 + seed as u32 % 3), hash_every: Some(8), ..Size::default() };
        let mut options = of_size(Profile::Dense, size);
        if calm {
            options.without = Options::calm(Profile::Dense).without;
        }
        // It ends only when the seat has another node, and all of them are equal.
        let report = run(seed, &options, &mut of_all(&skips));
        assert_eq!(report.violation, None, "seed {seed}");
        assert!(report.disks_lost > 0, "seed {seed}: nobody was replaced");
    }
}

#[test]
fn without_the_hashes_nobody_finds_out() {
    let skips = ["state_equal", "model", "linear", "register", "session", "freshness", "once", "notify", "wakeup"];
    let size = Size { erring: Some(2), hash_every: Some(0), ..Size::default() };
    let options = Options { without: Options::calm(Profile::Dense).without, ..of_size(Profile::Dense, size) };
    let report = run(1, &options, &mut of_all(&skips));
    assert_eq!(report.violation.map(|violation| violation.checker), Some("converge"));
}

fn of_all(skips: &[&str]) -> Vec<Box<dyn sim::observe::Checker>> {
    let mut checkers = sim::checker::all();
    checkers.retain(|checker| !skips.contains(&checker.name()));
    checkers
}
