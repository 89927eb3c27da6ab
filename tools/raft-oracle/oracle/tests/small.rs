//! Small sizes of both oracles; the long ones are in README.md.

use raft_oracle::{differential, mixed};

#[test]
fn both_cores_do_the_same_in_the_same_state_but_for_the_rules() {
    let counts = differential::run(60_000, 1);
    assert!(counts.steps() >= 60_000);
    let unseen: Vec<_> = differential::RULES.into_iter().filter(|rule| !counts.rules.contains_key(rule)).collect();
    // Every other rule must have had its case, else it hides nothing and proves nothing.
    let rare = [differential::Rule::TimeoutNowFromLeader, differential::Rule::LateTimeoutNow];
    assert!(unseen.iter().all(|rule| rare.contains(rule)), "never seen: {unseen:?}");
    assert!(counts.commits > 100, "{counts:?}");
}

#[test]
fn a_run_is_its_seed() {
    assert_eq!(differential::run(5_000, 9), differential::run(5_000, 9));
    assert_eq!(mixed::run_seed(3, false), mixed::run_seed(3, false));
}

#[test]
fn mixed_clusters_stay_one_log_under_faults() {
    let (counts, failed) = mixed::run_seeds(0, 12, false);
    assert!(failed.is_empty(), "seeds {failed:?} failed");
    assert_eq!((counts.seeds, counts.two_theirs), (12, 6));
    assert!(counts.won_by_ours > 0 && counts.won_by_theirs > 0 && counts.crashes > 0 && counts.commits > 100);
}
