//! No watcher sleeps past an applied change (I12): metaservers, hubs, edges and watchers on one thread, from a seed.
//!
//! Links break, fall silent, lose frames and are slow; leaders, hubs and edges die and come back. Once all is well
//! again, every watcher hears of what it has not seen, long before the repair that compares all heads would tell it.

#[path = "model/world.rs"]
mod world;

use base::mono::Span;
use world::{Faults, World};

/// After the last fault: dials, silence and elections take their time, and then there is nothing left to wait for.
const HEAL: Span = Span::from_ms(6000);

fn judge(seed: u64, faults: Faults) {
    let mut world = World::new(seed, faults);
    world.run(Span::from_ms(12_000));
    world.heal();
    world.run(HEAL);
    let late = world.sleepers();
    assert!(late.is_empty(), "seed {seed}: asleep past a change: {late:?}");
    assert!(world.woken() > 100, "seed {seed}: {} wake-ups show nothing", world.woken());
}

#[test]
fn nobody_sleeps_past_a_change_when_links_fail() {
    (0..60).for_each(|seed| judge(seed, Faults { links: true, ..Faults::default() }));
}

#[test]
fn nobody_sleeps_past_a_change_when_frames_are_lost() {
    (100..160).for_each(|seed| judge(seed, Faults { frames: true, ..Faults::default() }));
}

#[test]
fn nobody_sleeps_past_a_change_when_leaders_die_before_they_tell() {
    (200..260).for_each(|seed| judge(seed, Faults { leaders: true, ..Faults::default() }));
}

#[test]
fn nobody_sleeps_past_a_change_when_hubs_and_edges_die() {
    (300..360).for_each(|seed| judge(seed, Faults { hubs: true, edges: true, ..Faults::default() }));
}

#[test]
fn nobody_sleeps_past_a_change_when_everything_fails() {
    let all = Faults { links: true, frames: true, leaders: true, hubs: true, edges: true };
    (400..460).for_each(|seed| judge(seed, all));
}

#[test]
fn without_faults_every_wake_up_is_quick_and_nothing_is_repaired() {
    for seed in 500..510 {
        let mut world = World::new(seed, Faults::default());
        world.run(Span::from_ms(3000));
        world.forget_slowest();
        world.run(Span::from_ms(70_000));
        assert!(world.sleepers().is_empty(), "seed {seed}");
        // Two links of at most 8 ms each; a namespace that is new to its hub costs two more, and the question. Steps of 4 ms.
        assert!(world.slowest() < Span::from_ms(60), "seed {seed}: {:?}", world.slowest());
        assert_eq!((world.repairs(), world.gaps()), (0, 0), "seed {seed}");
    }
}
