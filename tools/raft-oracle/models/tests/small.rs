//! The cheap plans, at every build: worlds that hold to their end, and broken twins in which the right rule fails.

use std::time::Duration;

use models::check::{Report, check};
use models::plan::Plan;
use models::plans;
use models::search::Bounds;

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(300), states: 1_000_000, counts_shapes: true };

fn plan(name: &str) -> Plan {
    plans::all().into_iter().find(|plan| plan.name == name).expect("a plan of this name")
}

fn run(plan: &Plan) -> Report {
    let report = check(plan, BOUNDS);
    assert!(report.is_expected(plan) && report.cut.is_none(), "{}: {report:?}", plan.name);
    report
}

fn broken(name: &str) -> Option<&'static str> {
    run(&plan(name)).broken.map(|(rule, _)| rule)
}

#[test]
fn small_worlds_hold_in_every_order() {
    for name in ["one-term", "elections-calm", "core-calm", "incarnation", "vote-after-sync"] {
        assert_eq!(run(&plan(name)).broken, None);
    }
}

#[test]
fn votes_before_the_sync_elect_two_leaders() {
    assert_eq!(broken("elections-broken"), Some("election safety"));
}

#[test]
fn acks_before_the_sync_commit_what_no_quorum_holds() {
    assert_eq!(broken("acks-broken"), Some("committed is durable"));
}

#[test]
fn acks_of_a_former_life_commit_what_no_quorum_holds() {
    assert_eq!(broken("incarnation-broken"), Some("committed is durable"));
}

#[test]
fn a_vote_for_a_former_life_elects_who_lacks_what_is_committed() {
    assert_eq!(broken("vote-after-sync-broken"), Some("leader completeness"));
}

#[test]
fn a_late_ask_to_take_over_breaks_a_lease() {
    assert_eq!(broken("lease-late-broken"), Some("lease exclusion"));
}

#[test]
fn exchanging_names_hides_no_state() {
    for name in ["one-term", "elections-calm", "core-calm"] {
        let alike = plan(name);
        let (few, many) = (run(&alike).unique, run(&Plan { alike: &[], ..alike }).unique);
        // Each state stands for at most six, and for six wherever the three nodes differ.
        assert!(few * 5 <= many && many <= few * 6, "{name}: {few} states stand for {many}");
    }
}

#[test]
fn messages_that_are_forgotten_could_do_nothing() {
    let mut differ = Vec::new();
    for name in ["one-term", "core-calm", "incarnation"] {
        let lean = plan(name);
        let (few, all) = (run(&lean), run(&Plan { keeps_messages: true, ..lean }));
        assert!(few.unique <= all.unique, "{name}: {} states, with all messages {}", few.unique, all.unique);
        if few.shapes < 20 || few.shapes != all.shapes {
            differ.push((name, few.shapes, all.shapes));
        }
    }
    assert_eq!(differ, []);
}

#[test]
fn a_bound_is_told() {
    let report = check(&plan("core-calm"), Bounds { states: 500, ..BOUNDS });
    assert!(report.cut.is_some_and(|cut| cut > 3) && report.broken.is_none(), "{report:?}");
}
