//! The cheap plans, at every build: worlds that hold, and broken twins in which the right rule fails.

use models::check::check;
use models::plan;

fn run(name: &str) -> Option<&'static str> {
    let plan = plan::all().into_iter().find(|plan| plan.name == name).expect("a plan of this name");
    let report = check(&plan, 1);
    assert!(report.is_expected(&plan), "{name}: {report:?}");
    report.broken.map(|(rule, _)| rule)
}

#[test]
fn one_leader_and_its_entry_hold_in_every_order() {
    assert_eq!(run("one-term"), None);
}

#[test]
fn votes_before_the_sync_elect_two_leaders() {
    assert_eq!(run("elections-broken"), Some("election safety"));
}

#[test]
fn acks_before_the_sync_commit_what_no_quorum_holds() {
    assert_eq!(run("acks-broken"), Some("committed is durable"));
}

#[test]
fn acks_of_a_former_life_commit_what_no_quorum_holds() {
    assert_eq!(run("incarnation-broken"), Some("committed is durable"));
}
