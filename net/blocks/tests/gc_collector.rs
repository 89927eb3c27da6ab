//! The collector's rules one by one: what a mark must be before anything is moved.

use base::{BlockHash, GroupId, Nsid};
use blocks::GcConfig;
use blocks::gc::{Abandoned, Area, Collector, Job, Listed, Rules, Trashed};
use meta::{BlockPage, BlockScan};

const DAY: u64 = 24 * 60 * 60 * 1000;
const NOW: u64 = 1_800_000_000_000;
const OLD: BlockHash = BlockHash([1; 32]);
const YOUNG: BlockHash = BlockHash([2; 32]);
const DUE: BlockHash = BlockHash([3; 32]);
const RECENT: BlockHash = BlockHash([4; 32]);

fn rules() -> Rules {
    GcConfig::default().rules()
}

/// A collector of two groups that has listed one object of each kind and begins its mark.
fn listed() -> Collector {
    let mut collector = Collector::new(rules(), 2, 0, BlockHash::default(), 0);
    loop {
        let Job::List(area, byte) = collector.next(NOW) else { return collector };
        let mut object = |hash: BlockHash, age_ms| {
            if hash.0[0] == byte {
                let since_ms = NOW - age_ms;
                collector.handle_object(Listed { hash, since_ms, trashed_ms: since_ms });
            }
        };
        match area {
            Area::Blocks => {
                object(OLD, rules().grace_ms);
                object(YOUNG, rules().grace_ms - 1);
            }
            Area::Trash => {
                object(DUE, rules().trash_ms);
                object(RECENT, rules().trash_ms - 1);
            }
        }
        collector.handle_listed(true, NOW);
    }
}

fn page(group: u32, names: &[BlockHash]) -> BlockPage {
    BlockPage { group: GroupId(group), stamp_ms: NOW, names: names.to_vec(), next: None }
}

fn marked(groups: [&[BlockHash]; 2]) -> Collector {
    let mut collector = listed();
    for (names, group) in groups.iter().zip(0..) {
        let Job::Mark(scan) = collector.next(NOW) else { panic!("group {group} is due") };
        let (first, last) = (BlockHash::default(), BlockHash([0xff; 32]));
        assert_eq!(scan, BlockScan { group: GroupId(group), first, last, place: Default::default(), limit: 0 });
        collector.handle_page(&page(group, names));
    }
    collector
}

/// What a sweep does, to its end.
fn swept(collector: &mut Collector) -> Vec<Job> {
    let mut jobs = Vec::new();
    loop {
        let job = collector.next(NOW);
        match job {
            Job::Trash(..) | Job::Delete(_) | Job::Restore(_) => collector.handle_moved(Some(true)),
            Job::Check(_) => collector.handle_checked(Some(false)),
            _ => return jobs,
        }
        jobs.push(job);
    }
}

#[test]
fn unmarked_objects_move_on_when_their_time_has_come() {
    let mut collector = marked([&[], &[]]);
    let due = Trashed { hash: DUE, at_ms: NOW - rules().trash_ms };
    assert_eq!(swept(&mut collector), [Job::Trash(OLD, NOW - rules().grace_ms), Job::Delete(due)]);
    assert_eq!((collector.counts().trashed, collector.counts().deleted), (1, 1));
    assert_eq!(collector.next(NOW), Job::Tails(NOW - 8 * DAY));
}

#[test]
fn a_mark_of_any_group_keeps_a_block_and_brings_it_back() {
    let mut collector = marked([&[OLD], &[DUE, RECENT, YOUNG]]);
    let due = Trashed { hash: DUE, at_ms: NOW - rules().trash_ms };
    assert_eq!(swept(&mut collector), [Job::Restore(due)]);
}

#[test]
fn a_block_that_is_known_and_not_listed_is_looked_for() {
    let missing = BlockHash([9; 32]);
    let mut collector = marked([&[OLD, DUE], &[missing]]);
    let due = Trashed { hash: DUE, at_ms: NOW - rules().trash_ms };
    assert_eq!(swept(&mut collector), [Job::Restore(due), Job::Check(missing)]);
    assert_eq!(collector.counts().missing, 1);
}

/// It was given up for this reason, rests, and begins with a listing of the same range.
fn assert_given_up(mut collector: Collector, now_ms: u64, why: Abandoned) {
    assert_eq!(collector.next(now_ms), Job::GiveUp(why));
    assert_eq!(collector.next(now_ms), Job::Rest(now_ms + rules().again_ms));
    assert_eq!(collector.next(now_ms + rules().again_ms), Job::List(Area::Blocks, 0));
    assert_eq!(collector.counts().given_up, 1);
}

#[test]
fn one_group_that_cannot_be_read_ends_the_pass() {
    let mut collector = listed();
    collector.handle_page(&page(0, &[]));
    collector.handle_unreadable();
    assert_given_up(collector, NOW, Abandoned::Unreadable(GroupId(1)));
}

#[test]
fn an_answer_of_another_group_and_one_that_does_not_go_on_count_as_none() {
    let mut collector = listed();
    collector.handle_page(&page(1, &[OLD]));
    assert_given_up(collector, NOW, Abandoned::Unreadable(GroupId(0)));

    let mut collector = listed();
    let next = Some((Nsid(5), OLD));
    collector.handle_page(&BlockPage { next, ..page(0, &[OLD]) });
    let Job::Mark(scan) = collector.next(NOW) else { panic!("there is more of group 0") };
    assert_eq!((scan.group, scan.place), (GroupId(0), (Nsid(5), OLD)));
    collector.handle_page(&BlockPage { next, ..page(0, &[OLD]) });
    assert_given_up(collector, NOW, Abandoned::Unreadable(GroupId(0)));
}

#[test]
fn a_mark_and_a_sweep_of_more_than_seven_days_are_given_up() {
    assert_given_up(listed(), NOW + 7 * DAY + 1, Abandoned::TooLong);
    let mut collector = marked([&[], &[]]);
    assert!(matches!(collector.next(NOW), Job::Trash(..)));
    collector.handle_moved(Some(true));
    assert_given_up(collector, NOW + 7 * DAY + 1, Abandoned::TooLong);
    // A clock that ran back says nothing of how long it took.
    assert_given_up(marked([&[], &[]]), NOW - 1, Abandoned::TooLong);
}

#[test]
fn clocks_that_disagree_end_the_pass() {
    let skew = rules().skew_ms_max;
    for (stamp_ms, is_fine) in [(0, false), (NOW - skew - 1, false), (NOW - skew, true), (NOW + skew + 1, false)] {
        let mut collector = listed();
        (0..2).for_each(|group| collector.handle_page(&BlockPage { stamp_ms, ..page(group, &[]) }));
        match is_fine {
            true => assert!(matches!(collector.next(NOW), Job::Trash(..))),
            false => assert_given_up(collector, NOW, Abandoned::Clock),
        }
    }
    // A cluster without groups has no clock either.
    let mut collector = Collector::new(rules(), 0, 0, BlockHash::default(), 0);
    while let Job::List(..) = collector.next(NOW) {
        collector.handle_listed(true, NOW);
    }
    assert_eq!(collector.counts().given_up, 1);
}

#[test]
fn a_listing_that_failed_is_not_believed_and_a_failing_store_is_left_alone() {
    let mut collector = Collector::new(rules(), 1, 0, BlockHash::default(), 0);
    assert_eq!(collector.next(NOW), Job::List(Area::Blocks, 0));
    collector.handle_listed(false, NOW);
    assert_given_up(collector, NOW, Abandoned::Store);

    let mut collector = Collector::new(rules(), 1, 0, BlockHash::default(), 0);
    while let Job::List(area, byte) = collector.next(NOW) {
        if area == Area::Blocks {
            let mut hash = BlockHash::default();
            hash.0[0] = byte;
            collector.handle_object(Listed { hash, since_ms: 0, trashed_ms: 0 });
        }
        collector.handle_listed(true, NOW);
    }
    collector.handle_page(&page(0, &[]));
    let mut moves = 0;
    while let Job::Trash(..) = collector.next(NOW) {
        moves += 1;
        collector.handle_moved(None);
    }
    assert_eq!((moves, collector.counts().failed, collector.counts().trashed), (16, 16, 0));
    assert_eq!(collector.counts().given_up, 1);
}
