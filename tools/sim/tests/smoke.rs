//! A few seeds of each kind, whole: they must be green, do something, and do the same thing twice.

use sim::{Options, Profile, run};

/// Short runs, so that these tests stay quick without optimisation; the long ones are `dropstone sim swarm`.
fn short(options: Options) -> Options {
    let mut options = options;
    options.size.length_ms = Some(12_000);
    options
}

#[test]
fn dense_seeds_are_green_and_the_same_twice() {
    let (mut acknowledged, mut faults) = (0, 0);
    for seed in 0..6 {
        let options = short(Options::new(Profile::Dense));
        let first = run(seed, &options, &mut []);
        assert_eq!(first.violation, None, "seed {seed}");
        let again = run(seed, &options, &mut []);
        assert_eq!(first.trace_hash, again.trace_hash, "seed {seed}");
        acknowledged += first.acknowledged;
        faults += first.faults_total();
    }
    assert!(acknowledged > 300 && faults > 1000, "{acknowledged} operations, {faults} faults");
}

#[test]
fn what_comes_to_the_wrong_core_is_answered_through_it_and_the_same_twice() {
    let mut forwarded = 0;
    for seed in 0..4 {
        let mut options = short(Options::new(Profile::Dense));
        (options.size.cores, options.size.strays) = (Some(2 + seed as u16 % 2), Some(1));
        let first = run(seed, &options, &mut []);
        assert_eq!(first.violation, None, "seed {seed}");
        assert_eq!(first.trace_hash, run(seed, &options, &mut []).trace_hash, "seed {seed}");
        forwarded += first.forwarded;
    }
    assert!(forwarded > 200, "{forwarded} requests");
}

#[test]
fn a_calm_cluster_answers_everything() {
    let report = run(7, &short(Options::calm(Profile::Dense)), &mut []);
    assert_eq!((&report.violation, report.faults_total()), (&None, 0));
    assert!(report.acknowledged > 100, "{} operations", report.acknowledged);
    assert!(report.timed >= report.acknowledged, "{} of {} have a time", report.timed, report.acknowledged);
}

#[test]
fn what_was_recorded_replays_to_the_same_hash_and_parses_back() {
    let mut recorded = 0;
    for seed in 0..9 {
        let options = Options { is_recording: true, ..short(Options::new(Profile::Dense)) };
        let first = run(seed, &options, &mut []);
        assert_eq!(first.violation, None, "seed {seed}");
        let schedule = first.schedule.expect("it was recorded");
        // Probes are operations too, and follow from what happens.
        let begun = schedule.operations.as_ref().map_or(0, |begun| begun.len() as u64);
        assert!(begun <= first.operations, "seed {seed}: {begun} of {}", first.operations);
        recorded += begun;
        let parsed = sim::Schedule::parse(&schedule.print()).expect("what is printed parses");
        assert_eq!(parsed, schedule);
        let replayed = Options { is_recording: true, ..Options::replaying(&parsed) };
        let again = run(seed, &replayed, &mut []);
        assert_eq!(first.trace_hash, again.trace_hash, "seed {seed}");
        assert_eq!(again.schedule.as_ref(), Some(&schedule), "seed {seed}");
    }
    // A plan whose run ends in quiet is quiet all along in one so short.
    assert!(recorded > 500, "{recorded} operations");
}

#[test]
fn operations_left_out_are_not_begun_and_the_others_are() {
    let options = Options { is_recording: true, ..short(Options::new(Profile::Dense)) };
    let schedule = run(2, &options, &mut []).schedule.expect("it was recorded");
    let all = schedule.operations.clone().expect("operations are recorded");
    // What is begun behind the faults depends on how soon a quorum is healed.
    let is_kept = |begun: &&sim::begun::Begun| begun.client != 1 && begun.at < 12_000_000_000;
    let kept: Vec<_> = all.iter().filter(is_kept).cloned().collect();
    assert!(kept.len() < all.len() && kept.len() > 20, "{} of {}", kept.len(), all.len());
    let fewer = sim::Schedule { operations: Some(kept.clone()), ..schedule };
    let again = run(2, &Options { is_recording: true, ..Options::replaying(&fewer) }, &mut []);
    assert_eq!(again.schedule.and_then(|schedule| schedule.operations), Some(kept));
}

#[test]
fn every_kept_schedule_parses_and_says_who_fails() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut count = 0;
    for folder in [seeds.clone(), seeds.join("mutations")] {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("it was listed").path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                let text = std::fs::read_to_string(&path).expect("it was listed");
                let schedule =
                    sim::Schedule::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert!(schedule.fails.is_some() && text.starts_with("# "), "{} does not say why", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 0, "nothing is kept");
}

#[test]
fn seeds_differ() {
    let options = short(Options::new(Profile::Dense));
    let hashes: std::collections::BTreeSet<u128> = (0..3).map(|seed| run(seed, &options, &mut []).trace_hash).collect();
    assert_eq!(hashes.len(), 3);
}
