//! Tests of the profile of one core.

use base::stages::{Slot, UNIT_SHIFT, WRITE_STAGES};
use base::{GroupId, LogIndex};

use super::*;

/// A profile by the slow clock, and the totals of its node.
fn profile() -> (CoreProfile, Watch) {
    let (watch, feeds) = Watch::start(1).expect("a thread can be had");
    let feed = feeds.into_iter().next().expect("there is one core");
    (CoreProfile::new(StampClock::fallback(), feed, Mono(0)), watch)
}

/// A write that was reaped at `begin` and whose outcome was known after 160 ns for each stage.
fn timing(begin: u64) -> Timing {
    let mut slot = Slot::begun(Stamp::at(begin));
    for (stage, at) in WRITE_STAGES[..9].iter().zip(1..) {
        slot.mark(*stage, Stamp::at(begin + at * (10 << UNIT_SHIFT)));
    }
    Timing { slot, group: GroupId(3), index: LogIndex(7), commands: 4, closed_by: NodeId(2), ..Timing::default() }
}

/// Four commands of one entry, three of them on one connection, go through the profile.
fn answer_four(profile: &mut CoreProfile) -> [u64; 2] {
    let now = profile.begin_turn();
    let timing = timing(now.ticks() - 1_000_000);
    profile.begin_replies(1);
    let names =
        [OpClass::Put, OpClass::Put, OpClass::Put, OpClass::MoveDelete].map(|class| profile.name(0, class, &timing));
    profile.end_replies();
    assert_eq!(names[0], names[1]);
    [names[0], names[3]]
}

#[test]
fn commands_of_one_entry_are_counted_when_they_have_left_and_their_stages_sum_to_the_total() {
    let (mut profile, _watch) = profile();
    let [put, moved] = answer_four(&mut profile);
    profile.begin_turn();
    profile.handle_mark(Mark { name: put, count: 3 }, true);
    let count = |profile: &CoreProfile, class, place| profile.interval.histogram(class, place).map_or(0, |h| h.count());
    assert_eq!(count(&profile, OpClass::Put, TOTAL), 3);
    assert_eq!(count(&profile, OpClass::Put, Stage::LogSync as usize), 0, "the entry is not through yet");
    profile.begin_turn();
    profile.handle_mark(Mark { name: moved, count: 1 }, true);
    for (class, wanted) in [(OpClass::Put, 3), (OpClass::MoveDelete, 1)] {
        for stage in WRITE_STAGES {
            assert_eq!(count(&profile, class, stage as usize), wanted, "{class:?} {}", stage.name());
        }
        let sum: u128 =
            WRITE_STAGES.iter().map(|s| profile.interval.histogram(class, *s as usize).unwrap().sum()).sum();
        assert_eq!(sum, profile.interval.histogram(class, TOTAL).unwrap().sum());
        let sync = profile.interval.histogram(class, Stage::LogSync as usize).unwrap();
        assert_eq!(sync.max(), 160);
        let slow = profile.interval.slow(class);
        assert_eq!((slow.len(), slow[0].count, slow[0].timing.closed_by), (1, wanted as u32, NodeId(2)));
        assert_eq!(slow[0].lengths.of.iter().sum::<u32>(), slow[0].lengths.total);
    }
    assert_eq!(profile.free.len(), profile.places.len(), "the place is free again");
}

#[test]
fn replies_that_never_left_are_counted_as_lost_and_nowhere_else() {
    let (mut profile, _watch) = profile();
    let [put, moved] = answer_four(&mut profile);
    profile.handle_mark(Mark { name: put, count: 3 }, false);
    profile.handle_mark(Mark { name: moved, count: 1 }, true);
    assert_eq!(profile.lost, 3);
    assert!(profile.interval.histogram(OpClass::Put, TOTAL).is_none());
    assert!(profile.interval.histogram(OpClass::Put, Stage::LogSync as usize).is_none());
    assert_eq!(profile.interval.histogram(OpClass::MoveDelete, Stage::LogSync as usize).unwrap().count(), 1);
}

#[test]
fn a_second_reaches_the_totals_whole_and_comes_back_empty() {
    let (mut profile, watch) = profile();
    for second in 1..=3 {
        let [put, moved] = answer_four(&mut profile);
        profile.begin_turn();
        profile.handle_mark(Mark { name: put, count: 3 }, true);
        profile.handle_mark(Mark { name: moved, count: 1 }, true);
        let now = Mono(second * 1_000_000_000);
        // The one spare interval may still be with the metrics thread.
        while profile.interval.histogram(OpClass::Put, TOTAL).is_some() {
            profile.next_swap = now;
            profile.advance(now, || Counts {
                counters: wire::CoreCounters { turns: second, ..Default::default() },
                ..Default::default()
            });
            std::thread::yield_now();
        }
    }
    let totals = watch.totals();
    while totals.lock().histogram(OpClass::Put, TOTAL).count() < 9 {
        std::thread::yield_now();
    }
    let totals = totals.lock();
    assert_eq!(totals.histogram(OpClass::MoveDelete, Stage::Quorum as usize).count(), 3);
    assert_eq!(totals.cores()[0].counters.turns, 3);
    assert_eq!(totals.slowest(OpClass::Put, 2).len(), 2);
    assert_eq!(totals.slowest(OpClass::Put, 100).len(), 3);
    assert_eq!(totals.classes().collect::<Vec<_>>(), [OpClass::Put, OpClass::MoveDelete]);
    let (mean, _) = totals.near(OpClass::Put).mean(0, u64::MAX).unwrap();
    assert_eq!(mean.of.iter().sum::<u32>(), mean.total);
}

#[test]
fn an_explanation_has_all_stages_up_to_the_reply() {
    let (mut profile, _watch) = profile();
    let now = profile.begin_turn();
    let told = profile.explain(OpClass::Put, &timing(now.ticks() - 5_000), base::CoreId(1), NodeId(9));
    assert_eq!(told.stages.iter().map(|time| time.stage).collect::<Vec<_>>(), WRITE_STAGES[..10]);
    assert_eq!((told.total_ns(), told.commands, told.node, told.closed_by), (9 * 160, 4, NodeId(9), NodeId(2)));
}
