//! The tool against a target whose behaviour is known, in virtual time (docs/design/bench.md, "Testing the tool").

mod common;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use load::arrivals::Arrival;
use load::drivers::sim::Lie;
use load::generator::{Late, Loop};
use load::judge::ViolationKind;
use load::recorder::Clock;
use load::sweep::{Level, sweep};
use load::verdict::Class;

/// A12 row 1: of 10,000 op/s for 60 s a stall of one second hits 10,000 of 600,000, evenly from 0 to 1 s, so that 0.6 % of
/// all wait longer than 0.4 s... and p99 is 0.400 s. A tool that starts its clock at the send shows nothing of it.
#[test]
fn a_stall_of_one_second_is_seen_by_all_that_were_due_in_it() {
    let mut world = World::new("put-small", Arrival::Const, 10_000.0, 60.0);
    world.sim.stalls = vec![(at(20.0), seconds(1.0))];
    let ran = world.run();
    let response = ran.outcome.total.histograms.over_all(Clock::Response);
    assert_eq!(response.len(), 600_000);
    let p99 = response.value_at_quantile(0.99) as f64 / 1e9;
    assert!((p99 / 0.4 - 1.0).abs() < 0.02, "{p99}");
    let hit = response.count_between(1_000_000, u64::MAX);
    assert!((9_980..=10_010).contains(&hit), "{hit}");
    assert_eq!(response.value_at_quantile(0.98), 0, "all else is answered at once");
    assert_eq!(ran.codes(), [""; 0]);
}

/// The same with few permits: what waits for one is the target's fault and stands in the response all the same.
#[test]
fn with_few_permits_the_wait_is_permit_wait_and_the_response_stays() {
    let mut world = World::new("put-small", Arrival::Const, 10_000.0, 30.0);
    world.sim.stalls = vec![(at(10.0), seconds(1.0))];
    world.in_flight_max = 100;
    let ran = world.run();
    let histograms = &ran.outcome.total.histograms;
    let response = histograms.over_all(Clock::Response);
    // 3.3 % are hit, so 1 % of all waited longer than 0.7 s.
    let p99 = response.value_at_quantile(0.99) as f64 / 1e9;
    assert!((p99 / 0.7 - 1.0).abs() < 0.02, "{p99}");
    assert!(histograms.over_all(Clock::PermitWait).value_at_quantile(0.99) > 600_000_000);
    assert!(histograms.over_all(Clock::SchedLag).max() < 1_000_000, "the generator was never late");
    // Only those with a permit saw it in their service time.
    assert!(histograms.over_all(Clock::Service).count_between(1_000_000, u64::MAX) <= 200);
    assert!(ran.outcome.total.counts.waited > 9_000);
    assert_eq!(ran.verdict().class, Class::Valid);
}

#[test]
fn no_burst_beyond_what_is_owed_follows_a_quiet_moment() {
    let mut world = World::new("put-small", Arrival::Const, 1000.0, 10.0);
    world.sim.thefts = vec![(at(4.0), seconds(0.5))];
    for late in [Late::Send, Late::Pace] {
        world.pacing = Loop::Open { late, rate: 1000.0 };
        let ran = world.clone().run();
        let seconds = &ran.outcome.seconds;
        // 500 were owed, and nothing was earned by waiting: all seconds add up to what was due.
        assert_eq!(ran.outcome.total.counts.achieved, 10_000);
        assert!(seconds.iter().all(|second| second.achieved <= 1001), "{late:?}: {seconds:?}");
        let late_ones = ran.outcome.total.counts.late;
        // Sent at once, only what was due in the theft is late; paced at twice the rate, as many again.
        let expected = if late == Late::Send { 490..=500 } else { 980..=1000 };
        assert!(expected.contains(&late_ones), "{late:?}: {late_ones} late");
    }
}

#[test]
fn what_is_skipped_is_counted_and_makes_the_result_a_bound() {
    let mut world = World::new("put-small", Arrival::Const, 1000.0, 10.0);
    world.sim.thefts = vec![(at(4.0), seconds(0.5))];
    world.pacing = Loop::Open { late: Late::Skip(seconds(0.1)), rate: 1000.0 };
    let ran = world.run();
    assert!((398..=402).contains(&ran.outcome.total.counts.skipped), "{}", ran.outcome.total.counts.skipped);
    assert_eq!(ran.verdict().class, Class::AtLeast);
    assert!(ran.codes().contains(&"skipped"));
    assert_eq!(ran.checks.violations, []);
}

/// A12 row 2: a queue of known capacity. Two servers of 0.5 ms answer 4000 a second.
#[test]
fn a_sweep_finds_the_capacity_of_a_queue() {
    let slo = "p99<50ms".parse().unwrap();
    let found = sweep(&slo, 1000.0, 1, |rate, _| {
        let mut world = World::new("put-small", Arrival::Const, rate, 10.0);
        world.sim.servers = 2;
        world.sim.service = seconds(0.0005);
        let ran = world.run();
        let response = ran.outcome.total.histograms.over_all(Clock::Response);
        let is_drained = ran.outcome.unsent + ran.outcome.unanswered == 0;
        let p99_ns = response.value_at_quantile(0.99);
        Ok::<_, Infallible>(Level { rate, achieved: rate, p99_ns, is_drained, ..Level::default() })
    });
    let Ok(found) = found;
    let rate = found.rate_slo.unwrap();
    assert!((rate / 4000.0 - 1.0).abs() < 0.03, "{rate}");
}

/// Poisson arrivals and one server of fixed service: the mean wait of M/D/1 is rho / (2 mu (1 - rho)).
#[test]
fn a_queue_behaves_as_theory_says() {
    let mut world = World::new("put-small", Arrival::Poisson, 800.0, 100.0);
    world.sim.servers = 1;
    world.sim.service = seconds(0.001);
    let ran = world.run();
    let mean = ran.outcome.total.histograms.over_all(Clock::Response).mean() / 1e6;
    // 1 ms of service and 0.8 / (2 * 1 * 0.2) = 2 ms of waiting.
    assert!((mean / 3.0 - 1.0).abs() < 0.08, "{mean} ms");
    assert_eq!(ran.verdict().class, Class::Valid, "{:?}", ran.verdict());
}

/// A12 row 3, its second half.
#[test]
fn an_unsaturated_target_gets_what_was_offered() {
    let ran = World::new("quick", Arrival::Const, 20_000.0, 10.0).run();
    let counts = &ran.outcome.total.counts;
    assert_eq!((counts.offered, counts.skipped, counts.late), (200_000, 0, 0));
    assert!((counts.achieved as f64 / 200_000.0 - 1.0).abs() < 0.001, "{}", counts.achieved);
}

/// A12 row 5.
#[test]
fn a_starved_generator_says_at_least() {
    let mut world = World::new("put-small", Arrival::Poisson, 2000.0, 20.0);
    world.sim.service = seconds(0.0002);
    // 5 ms of each 100 ms are taken away from the generator.
    world.sim.thefts = (0..220).map(|k| (at(f64::from(k) * 0.1), seconds(0.005))).collect();
    let ran = world.run();
    assert_eq!(ran.verdict().class, Class::AtLeast);
    assert!(ran.codes().contains(&"sched_lag"), "{:?}", ran.codes());
}

#[test]
fn an_honest_target_is_never_accused() {
    for mix in ["quick", "spotify-w20", "upload-burst", "folder-move", "contended"] {
        let rate = if matches!(mix, "folder-move" | "upload-burst") { 10.0 } else { 1000.0 };
        let mut world = World::new(mix, Arrival::Poisson, rate, 10.0);
        world.sim.servers = 4;
        world.sim.service = seconds(0.002);
        world.sim.jitter = seconds(0.003);
        let ran = world.run();
        assert_eq!(ran.outcome.total.counts.violations, [].into(), "{mix}");
        assert_eq!(ran.checks.violations, [], "{mix}");
        assert!(ran.checks.acks > 50 && ran.checks.lost + ran.checks.doubled == 0, "{mix}: {:?}", ran.checks);
        assert_eq!(ran.outcome.total.counts.errors_in_all(), 0, "{mix}: {:?}", ran.outcome.total.counts);
    }
}

#[test]
fn writes_of_unknown_outcome_are_settled_and_nobody_is_accused() {
    let mut world = World::new("quick", Arrival::Poisson, 1000.0, 20.0);
    world.sim.fails_every = 50;
    world.sim.service = seconds(0.001);
    let ran = world.run();
    assert!(ran.checks.in_doubt > 100);
    assert_eq!(ran.checks.violations, []);
    assert_eq!(ran.codes(), ["errors"], "2 % of errors are too many");
}

/// A12 row 7.
#[test]
fn every_lie_is_found() {
    let lies = [
        (Lie::LostAck, ViolationKind::LostAck, "put-small"),
        (Lie::StaleRead, ViolationKind::StaleRead, "quick"),
        (Lie::DoubledWrite, ViolationKind::DoubledWrite, "put-small"),
        (Lie::TornBatch, ViolationKind::LostAck, "upload-burst"),
    ];
    for (lie, kind, mix) in lies {
        let (rate, every) = if mix == "upload-burst" { (10.0, 40) } else { (500.0, 400) };
        let mut world = World::new(mix, Arrival::Poisson, rate, 10.0);
        world.sim.lie = Some((lie, every));
        let ran = world.run();
        let during = ran.outcome.total.counts.violations.contains_key(&kind);
        let after = ran.checks.violations.iter().any(|violation| violation.kind == kind);
        assert!(during || after, "{lie:?}: {:?} {:?}", ran.outcome.total.counts.violations, ran.checks);
        assert!(ran.codes().contains(&"wrong_answers"), "{lie:?}");
        assert_eq!(ran.verdict().class, Class::Invalid);
    }
}

/// A12 row 9, as far as the core goes: what was seen until then is whole.
#[test]
fn an_interrupt_leaves_what_was_seen_until_then() {
    let stop = AtomicBool::new(false);
    let mut world = World::new("quick", Arrival::Poisson, 1000.0, 60.0);
    world.sim.service = seconds(0.001);
    let ran = world.run_until(&stop, |second| {
        if second == 11 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(ran.outcome.is_interrupted);
    assert!((10.0..12.0).contains(&ran.outcome.measured_s), "{}", ran.outcome.measured_s);
    assert_eq!((ran.outcome.unsent, ran.outcome.unanswered), (0, 0));
    let count = ran.outcome.total.histograms.count();
    assert!((9_000..13_000).contains(&count), "{count}");
    assert_eq!(ran.checks.violations, []);
}

/// What was on its way when the run was cut short may be done or not; nobody is accused of either.
#[test]
fn an_interrupt_with_operations_on_their_way_accuses_nobody() {
    let stop = AtomicBool::new(false);
    let mut world = World::new("quick", Arrival::Poisson, 1000.0, 60.0);
    world.sim.servers = 1;
    world.sim.service = seconds(0.002);
    let ran = world.run_until(&stop, |second| {
        if second == 5 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(ran.outcome.is_interrupted && ran.outcome.unanswered > 1000, "{}", ran.outcome.unanswered);
    assert!(ran.checks.in_doubt > 400);
    assert_eq!(ran.checks.violations, []);
}

#[test]
fn closed_clients_wait_for_their_answers_and_a_stall_hides_from_them() {
    let mut world = World::new("put-small", Arrival::Const, 1.0, 10.0);
    world.pacing = Loop::Closed { clients: 8, think: seconds(0.0) };
    world.sim.servers = 8;
    world.sim.service = seconds(0.001);
    world.sim.stalls = vec![(at(5.0), seconds(1.0))];
    let ran = world.run();
    let histograms = &ran.outcome.total.histograms;
    // Nine seconds of 8 in a millisecond; the stall met 8 operations only.
    assert!((71_000..=72_100).contains(&histograms.count()), "{}", histograms.count());
    assert!(histograms.over_all(Clock::Response).value_at_quantile(0.999) < 1_100_000);
    assert_eq!(histograms.over_all(Clock::Response).max(), histograms.over_all(Clock::Service).max());
}

#[test]
fn an_overloaded_target_is_told_to_be_one() {
    let mut world = World::new("put-small", Arrival::Const, 3000.0, 20.0);
    world.sim.servers = 1;
    world.sim.service = seconds(0.001);
    world.in_flight_max = 500;
    let ran = world.run();
    assert_eq!(ran.verdict().class, Class::Invalid);
    assert!(ran.codes().contains(&"not_drained"), "{:?}", ran.codes());
    // 20 s of 2000 a second too many, and 10 s in which the backlog shrank by 1000 a second.
    assert!((29_000..34_000).contains(&ran.outcome.unsent), "{}", ran.outcome.unsent);
}

#[test]
fn a_full_driver_is_waited_for_as_a_permit_is() {
    let mut world = World::new("put-small", Arrival::Const, 2000.0, 10.0);
    world.sim.room = 10;
    world.sim.stalls = vec![(at(3.0), seconds(0.5))];
    let ran = world.run();
    let histograms = &ran.outcome.total.histograms;
    assert!(histograms.over_all(Clock::PermitWait).max() > 400_000_000);
    assert!(histograms.over_all(Clock::SchedLag).max() < 1_000_000);
}

#[test]
fn the_warm_up_lasts_until_all_is_steady() {
    let mut world = World::new("put-small", Arrival::Const, 1000.0, 10.0);
    world.sim.servers = 1;
    world.sim.service = seconds(0.0005);
    // Latency climbs at first: the queue is behind after a stall of 2 s at its start, for 4 s.
    world.sim.stalls = vec![(at(0.0), seconds(2.0))];
    world.phases.waits_for_steady = true;
    world.phases.warmup_min = seconds(5.0);
    let ran = world.run();
    assert!(ran.outcome.is_steady && ran.outcome.steady_at.unwrap() >= 4, "{:?}", ran.outcome.steady_at);
    let p99 = ran.outcome.total.histograms.over_all(Clock::Response).value_at_quantile(0.99);
    assert!(p99 < 1_000_000, "the stall is not in the window: {p99}");
}
