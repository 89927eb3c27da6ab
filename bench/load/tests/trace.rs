//! A run is recorded and sent once more, in virtual time: the same operations, at the same times.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::*;
use load::arrivals::Arrival;
use load::generator::Loop;
use load::mix::Mix;
use load::recorder::Clock;
use load::trace::{Facts, Origin, Trace, read, record, write};
use load::verdict::Class;

fn trace_of(ran: &Ran) -> Trace {
    let mix = &ran.world.stream.mix;
    let us = |time: load::Mono| time.since(ran.outcome.start).0 / 1000;
    let origin = Origin {
        mix: mix.name.clone(),
        version: mix.version,
        hash: mix.hash,
        seed: ran.world.stream.seed,
        start_unix_ms: 1_700_000_000_000,
        is_closed: matches!(ran.world.pacing, Loop::Closed { .. }),
        window_us: (us(ran.outcome.window.from), us(ran.outcome.window.until)),
    };
    record(&ran.world.stream, &ran.outcome.times, origin)
}

/// By way of a file.
fn through_a_file(trace: &Trace) -> Trace {
    let mut bytes = Vec::new();
    write(trace, &mut bytes).unwrap();
    let found = read(&bytes).unwrap();
    assert_eq!(found.damage, None);
    found.trace
}

/// The world that sends a trace at `speed`.
fn replay(trace: &Trace, speed: f64) -> World {
    let mut world = World::new("quick", Arrival::Trace { speed }, 1.0, 1.0);
    world.stream.mix = Arc::new(Mix::of_trace(Arc::new(trace.clone())));
    world.stream.seed = trace.origin.seed;
    // A window begins after two seconds at the earliest.
    let from = (trace.origin.window_us.0 as f64 / 1e6 / speed).max(2.0);
    world.phases.duration = seconds(trace.end_us() as f64 / 1e6 / speed - from);
    world
}

#[test]
fn a_replay_sends_the_same_operations_at_the_same_times() {
    for (mix, rate) in [("sync", 500.0), ("quick", 800.0), ("upload-burst", 5.0), ("folder-move", 10.0)] {
        let mut world = World::new(mix, Arrival::Poisson, rate, 10.0);
        world.sim.service = seconds(0.002);
        let ran = world.run();
        let trace = through_a_file(&trace_of(&ran));
        let mut world = replay(&trace, 1.0);
        world.sim.service = seconds(0.002);
        let again = world.run();
        assert_eq!(again.outcome.hash, ran.outcome.hash, "{mix}: paths, sizes, kinds and files are equal");
        let drift = again.outcome.times[0].iter().zip(&ran.outcome.times[0]).map(|(a, b)| a.abs_diff(*b)).max();
        assert_eq!(again.outcome.times[0].len(), ran.outcome.times[0].len());
        assert!(drift < Some(1000), "{mix}: {drift:?} ns");
        let of = |ran: &Ran| ran.outcome.total.histograms.over_all(Clock::Response);
        assert_eq!(of(&again).len(), of(&ran).len(), "{mix}");
        assert_eq!((again.checks.violations_in_all, again.checks.acks), (0, ran.checks.acks), "{mix}");
        assert_eq!(again.outcome.unsent, 0);
        // What was sent once more can be recorded once more.
        let third = trace_of(&again);
        assert!(third.ops == trace.ops && third.spaces == trace.spaces, "{mix}");
    }
}

#[test]
fn at_twice_the_speed_it_takes_half_the_time() {
    let ran = World::new("sync", Arrival::Poisson, 500.0, 20.0).run();
    let again = replay(&trace_of(&ran), 2.0).run();
    let count = |ran: &Ran| ran.outcome.total.histograms.count() as f64 / ran.outcome.measured_s;
    assert!((count(&again) / count(&ran) / 2.0 - 1.0).abs() < 0.02, "{} {}", count(&again), count(&ran));
    assert_eq!(again.verdict().class, Class::Valid, "{:?}", again.verdict());
    assert_eq!(again.outcome.hash, ran.outcome.hash);
}

/// The clock begins when an operation is due, as in every open loop.
#[test]
fn a_stall_is_seen_by_all_that_were_due_in_it() {
    let ran = World::new("put-small", Arrival::Const, 1000.0, 20.0).run();
    let mut world = replay(&trace_of(&ran), 1.0);
    world.sim.stalls = vec![(at(8.0), seconds(1.0))];
    let again = world.run();
    let hit = again.outcome.total.histograms.over_all(Clock::Response).count_between(1_000_000, u64::MAX);
    assert!((990..=1010).contains(&hit), "{hit}");
}

#[test]
fn as_fast_as_it_goes_all_is_sent_and_measured_and_then_it_ends() {
    let ran = World::new("sync", Arrival::Poisson, 500.0, 20.0).run();
    let trace = trace_of(&ran);
    let mut world = replay(&trace, 1.0);
    world.pacing = Loop::Closed { clients: 8, think: seconds(0.0) };
    world.phases.is_whole = true;
    (world.sim.servers, world.sim.service) = (8, seconds(0.001));
    let again = world.run();
    let operations = trace.ops.len() as u64;
    assert_eq!(again.outcome.total.counts.offered, operations);
    assert_eq!(again.outcome.total.histograms.count(), operations);
    // 8 servers of a millisecond do 8,000 a second.
    let wanted = operations as f64 / 8000.0;
    assert!((again.outcome.measured_s / wanted - 1.0).abs() < 0.01, "{} {wanted}", again.outcome.measured_s);
    assert_eq!(again.verdict().class, Class::Valid, "{:?}", again.verdict());
    assert_eq!(again.outcome.hash, ran.outcome.hash);
}

#[test]
fn an_interrupted_replay_leaves_what_was_seen_and_accuses_nobody() {
    let ran = World::new("quick", Arrival::Poisson, 1000.0, 20.0).run();
    let stop = AtomicBool::new(false);
    let mut world = replay(&trace_of(&ran), 1.0);
    world.sim.service = seconds(0.001);
    let again = world.run_until(&stop, |second| {
        if second == 5 {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(again.outcome.is_interrupted && again.outcome.measured_s < 5.0);
    assert_eq!(again.checks.violations, []);
    assert!(trace_of(&again).ops.len() > 5000);
}

/// What closed clients sent is in the order of its times.
#[test]
fn a_closed_loop_is_recorded_as_it_went() {
    let mut world = World::new("quick", Arrival::Const, 1.0, 5.0);
    world.pacing = Loop::Closed { clients: 4, think: seconds(0.0) };
    (world.sim.servers, world.sim.service) = (4, seconds(0.002));
    let ran = world.run();
    let trace = through_a_file(&trace_of(&ran));
    assert!((13_000..15_000).contains(&trace.ops.len()), "{}", trace.ops.len());
    assert!(trace.origin.is_closed && trace.ops.is_sorted_by_key(|op| op.at_us));
    let mut world = replay(&trace, 1.0);
    world.sim.service = seconds(0.002);
    let again = world.run();
    assert_eq!((again.outcome.hash, again.checks.violations_in_all), (ran.outcome.hash, 0));
}

#[test]
fn a_trace_tells_what_is_in_it() {
    let ran = World::new("sync", Arrival::Const, 500.0, 20.0).run();
    let facts = Facts::of(&trace_of(&ran), 100_000, String::new());
    assert_eq!((facts.rate_max, facts.operations), (500, 11_000));
    assert_eq!((facts.namespaces, facts.mix.as_str()), (100, "sync"));
    let put = facts.kinds.iter().find(|kind| kind.kind == "put").unwrap();
    assert!((3_900..4_500).contains(&put.count) && (350..490).contains(&put.updates), "{put:?}");
    assert!((50_000..80_000).contains(&put.size[0]), "median 64 KiB: {put:?}");
    let text = facts.to_string();
    assert!(text.contains("operations  11,000") && text.contains("whole"), "{text}");
}
