//! The plans: one feature at a time, each with twins whose driver is broken.

use base::NodeId;
use base::mono::Span;
use ours::ConfigChange;

use crate::plan::{Driver, Loss, Plan, Start, Timing};
use crate::search::Mark;
use crate::truth::Rule;

const ELECTED: &[Mark] = &[Mark::Elected, Mark::Committed];
const TWO: &[Mark] = &[Mark::Elected, Mark::Committed, Mark::SecondCommit];

/// All plans, by what they are about.
#[must_use]
pub fn all() -> Vec<Plan> {
    [core(), votes(), members(), faults(), heads(), leases(), rest()].concat()
}

/// Elections and replication: Raft figure 3.
fn core() -> Vec<Plan> {
    let one_term = Plan {
        name: "one-term",
        why: "one leader, an entry of its own, every order of messages, refusals told",
        term_max: 1,
        has_heartbeats: true,
        has_refusals: true,
        shows: ELECTED,
        ..Plan::BASE
    };
    let one_term_crash = Plan { name: "one-term-crash", why: "the same with a crash", crashes: 1, ..one_term.clone() };
    let calm = Plan {
        name: "elections-calm",
        why: "two terms without a crash, refusals told",
        has_refusals: true,
        shows: TWO,
        ..Plan::BASE
    };
    let elections = Plan {
        name: "elections",
        why: "two terms, a crash: who leads, and with which entries",
        crashes: 1,
        shows: TWO,
        ..Plan::BASE
    };
    let core_calm = Plan { name: "core-calm", why: "two terms, three entries", proposals: 1, shows: TWO, ..Plan::BASE };
    let core = Plan {
        name: "core",
        why: "two terms, three entries, a crash: the rules of Raft figure 3",
        crashes: 1,
        ..core_calm.clone()
    };
    let told = Plan {
        name: "core-told",
        why: "the same, and followers hear of commits beside new entries",
        has_heartbeats: true,
        is_long: true,
        ..core.clone()
    };
    let more =
        Plan { name: "core-more", why: "the same with four entries", proposals: 2, is_long: true, ..core.clone() };
    let twice = Plan { name: "core-twice", why: "a node crashes twice", crashes: 2, is_long: true, ..core.clone() };
    let refused = Plan {
        name: "core-refused",
        why: "the same, and refusals are told",
        has_refusals: true,
        is_long: true,
        ..core.clone()
    };
    let three_terms =
        Plan { name: "core-three-terms", why: "three terms, a crash", term_max: 3, is_long: true, ..elections.clone() };
    vec![
        elections.broken(
            "elections-broken",
            "votes are answered before they are on disk",
            Driver::VotesBeforeSync,
            Rule::ElectionSafety,
        ),
        core.broken(
            "core-broken",
            "entries are acked before they are on disk",
            Driver::AcksBeforeSync,
            Rule::LeaderCompleteness,
        ),
        core.broken("acks-broken", "the same", Driver::AcksBeforeSync, Rule::CommittedIsDurable),
        core.broken("core-changed", "the same", Driver::AcksBeforeSync, Rule::StateMachineSafety),
        core.broken("promise-broken", "the same", Driver::AcksBeforeSync, Rule::DiskFirst),
        core.broken("votes-match-broken", "votes are answered early", Driver::VotesBeforeSync, Rule::LogMatching),
        one_term,
        one_term_crash,
        calm,
        elections,
        core_calm,
        core,
        told,
        refused,
        more,
        twice,
        three_terms,
    ]
}

/// P1b: a vote for an earlier life, and the acks of one.
fn votes() -> Vec<Plan> {
    let vote = Plan {
        name: "vote-after-sync",
        why: "P1b: a candidate asks once its term, vote and last entry are on disk, and a vote is for one life",
        crashes: 1,
        leaders_max: 2,
        shows: ELECTED,
        ..Plan::BASE
    };
    let incarnation = Plan {
        name: "incarnation",
        why: "a peer that came back with less counts with what it holds, not with what it acked",
        term_max: 1,
        crashes: 1,
        loss: Loss::Tail,
        has_links: true,
        shows: ELECTED,
        ..Plan::BASE
    };
    vec![
        vote.broken(
            "vote-after-sync-broken",
            "asks at once, takes any answer",
            Driver::AsksBeforeSync,
            Rule::LeaderCompleteness,
        ),
        incarnation.broken("incarnation-broken", "old acks count", Driver::KeepsOldAcks, Rule::CommittedIsDurable),
        Plan {
            driver: Driver::AsksBeforeSyncOnly,
            name: "vote-one-cure",
            why: "asks at once, drops answers to a former life: one cure alone is enough",
            ..vote.clone()
        },
        Plan {
            driver: Driver::IgnoresIncarnations,
            name: "vote-other-cure",
            why: "asks late, takes any answer: so is the other",
            ..vote.clone()
        },
        vote,
        incarnation,
    ]
}

/// Joint consensus.
fn members() -> Vec<Plan> {
    let change = ConfigChange { add_voters: vec![NodeId(4)], remove: vec![NodeId(3)], add_learners: Vec::new() };
    let joint = Plan {
        name: "joint",
        why: "one of three voters is replaced by joint consensus, with a crash",
        start: Start::Led,
        spares: 1,
        alike: &[NodeId(1), NodeId(2)],
        crashes: 1,
        change: Some(change),
        shows: &[Mark::SecondCommit, Mark::Changed],
        ..Plan::BASE
    };
    vec![
        joint.broken("joint-broken", "one step to the new voters", Driver::SkipsJoint, Rule::LeaderCompleteness),
        joint,
    ]
}

/// Faulty entries, and the answers that let them be cut.
fn faults() -> Vec<Plan> {
    let absent = Plan {
        name: "absent",
        why: "a crash loses the bytes of the last entry: it is fetched, or cut once it is nowhere",
        start: Start::Led,
        term_max: 3,
        proposals: 1,
        crashes: 1,
        loss: Loss::Bytes,
        has_links: true,
        leaders_max: 2,
        shows: &[Mark::Committed, Mark::Recovered],
        ..Plan::BASE
    };
    let absent_five = Plan {
        name: "absent-five",
        why: "an acked entry is faulty at one of five, others do not have it yet: their answers are of a newer term",
        start: Start::Doubted,
        voters: 5,
        alike: &[NodeId(3), NodeId(4), NodeId(5)],
        candidates: &[NodeId(2)],
        term_max: 3,
        proposals: 1,
        crashes: 0,
        // The leader does not notice the new life.
        has_links: false,
        leaders_max: 2,
        ..absent.clone()
    };
    vec![
        absent.broken("absent-broken", "a faulty entry is cut at once", Driver::CutsFaulty, Rule::LeaderCompleteness),
        absent_five.broken(
            "absent-five-broken",
            "answers of an old term count",
            Driver::OldAnswersCount,
            Rule::LeaderCompleteness,
        ),
        absent,
        absent_five,
    ]
}

/// A lost head, and how its doubt ends.
fn heads() -> Vec<Plan> {
    let head = Plan {
        name: "head",
        why: "a crash loses the last entry, and that is known: no vote before a leader vouches to the new life, or all told",
        start: Start::Led,
        proposals: 1,
        crashes: 1,
        loss: Loss::Head,
        has_links: true,
        has_heartbeats: true,
        leaders_max: 2,
        shows: &[Mark::Committed, Mark::Recovered],
        ..Plan::BASE
    };
    let third = Plan {
        name: "head-third-term",
        why: "the same without heartbeats, and an election after everybody has taken the term that the asker names",
        term_max: 3,
        has_heartbeats: false,
        is_long: true,
        ..head.clone()
    };
    let head_five = Plan {
        name: "head-five",
        why: "an acked entry is lost at one of five, others do not have it yet: their answers are of a newer term",
        start: Start::Doubted,
        voters: 5,
        alike: &[NodeId(3), NodeId(4), NodeId(5)],
        candidates: &[NodeId(2)],
        term_max: 3,
        crashes: 0,
        // The leader does not notice the new life.
        has_links: false,
        has_heartbeats: false,
        ..head.clone()
    };
    vec![
        head.broken("head-broken", "the doubt is not kept", Driver::TrustsHead, Rule::LeaderCompleteness),
        head.broken(
            "head-life-broken",
            "what a leader said to the former life counts",
            Driver::KeepsConnections,
            Rule::LeaderCompleteness,
        ),
        head_five.broken(
            "head-five-broken",
            "answers of an old term count",
            Driver::OldAnswersCount,
            Rule::LeaderCompleteness,
        ),
        head,
        head_five,
        third,
    ]
}

/// Leases: across transfers, across time, across a start.
fn leases() -> Vec<Plan> {
    let abort = Plan {
        name: "lease-abort",
        why: "two transfers that may be given up: the lease comes back when the target can no longer take over",
        start: Start::Led,
        alike: &[],
        term_max: 2,
        transfers: 2,
        timing: Timing::Lease,
        has_heartbeat_acks: true,
        shows: &[Mark::SecondCommit, Mark::Resumed],
        ..Plan::BASE
    };
    let clock = Plan {
        name: "lease-clock",
        why: "time passes in quarters of a second: a lease ends before its voters forget",
        alike: &[NodeId(1), NodeId(2), NodeId(3)],
        transfers: 0,
        clock_max: 2,
        clock_step: Span::from_ms(250),
        shows: &[Mark::SecondCommit],
        ..abort.clone()
    };
    let clock_long = Plan {
        name: "lease-clock-long",
        why: "the same for three quarters of a second",
        clock_max: 3,
        is_long: true,
        ..clock.clone()
    };
    let start = Plan {
        name: "lease-start",
        why: "a voter that starts anew has forgotten whom it promised what",
        crashes: 1,
        ..clock.clone()
    };
    vec![
        abort.broken("lease-abort-broken", "any ack brings it back", Driver::ResumesSoon, Rule::LeaseExclusion),
        abort.broken("lease-late-broken", "a late TimeoutNow is obeyed", Driver::ObeysLate, Rule::LeaseExclusion),
        clock.broken("lease-clock-broken", "it counts from an ack", Driver::LeaseFromReceipt, Rule::LeaseExclusion),
        start.broken("lease-start-broken", "a new life votes at once", Driver::VotesAfterBoot, Rule::LeaseExclusion),
        abort,
        clock,
        start,
        clock_long,
    ]
}

/// Rest: the sets of resting groups that a pair compares.
fn rest() -> Vec<Plan> {
    let rest = Plan {
        name: "rest",
        why: "a group rests, is used, rests again: a follower that misses something is found by the compared hash",
        start: Start::Led,
        proposals: 1,
        timing: Timing::Rest,
        has_heartbeat_acks: true,
        shows: &[Mark::Rests],
        ..Plan::BASE
    };
    let elections = Plan {
        name: "rest-elections",
        why: "once loyalty is over another leader may be elected over who rests",
        proposals: 0,
        clock_max: 1,
        clock_step: Span::from_ms(500),
        ..rest.clone()
    };
    vec![rest.broken("rest-broken", "nothing is compared", Driver::ComparesNothing, Rule::RestIsWhole), rest, elections]
}
