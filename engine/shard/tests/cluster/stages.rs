//! The stages of requests: whatever happens, they sum to the total, and what is slow shows where it is.

use base::stages::{Lengths, OpClass, READ_STAGES, Stage, Stamp, WRITE_STAGES};
use shard::{Border, QuorumCounts, Timing};

use super::*;

/// The steps of a turn, with a stamp at each border: the twin's nanoseconds are the ticks.
pub(super) fn advance(shard: &mut TestShard, now: Mono, wall_ms: u64) -> Vec<Timing> {
    let stamp = Stamp::at(now.0);
    shard.end_stage(Border::Admit, stamp);
    shard.advance_proposals(now, wall_ms);
    shard.end_stage(Border::Propose, stamp);
    shard.advance_groups(now);
    shard.end_stage(Border::Apply, stamp);
    shard.replies().timings().to_vec()
}

fn is_write(timing: &Timing) -> bool {
    timing.slot.has(Stage::Propose)
}

fn lengths(timing: &Timing) -> Lengths {
    timing.slot.lengths(if is_write(timing) { &WRITE_STAGES } else { &READ_STAGES })
}

/// Milliseconds of a stage.
fn ms(timing: &Timing, stage: Stage) -> u64 {
    (u64::from(lengths(timing).of[stage as usize]) << base::stages::UNIT_SHIFT) / 1_000_000
}

/// The longest stage of a write, and how long it was.
fn longest(timing: &Timing) -> (Stage, u64) {
    WRITE_STAGES.into_iter().map(|stage| (stage, ms(timing, stage))).max_by_key(|(_, ms)| *ms).expect("there are some")
}

/// Makes a cluster whose group has been led a while, and takes away what was timed so far.
fn quiet_world(seed: u64) -> (World, SessionId, NodeId) {
    let mut world = World::new(seed, 10_000);
    let session = begin(&mut world);
    let leader = world.leader(base::group_of(ROOT, GROUPS)).expect("it leads");
    world.timings.clear();
    (world, session, leader)
}

/// The time of one command.
fn timed(world: &mut World, session: SessionId, sequence: u64) -> Timing {
    world.timings.clear();
    let outcome = world.command(100 + sequence, header(session, sequence, ROOT), &mkdir(&format!("/{sequence}")));
    assert!(outcome.is_ok(), "{outcome:?}");
    *world.timings.iter().rev().find(|timing| is_write(timing)).expect("a command is timed")
}

fn follower(leader: NodeId) -> NodeId {
    NodeId(leader.0 % 3 + 1)
}

fn other(leader: NodeId) -> NodeId {
    NodeId(follower(leader).0 % 3 + 1)
}

#[test]
fn a_slow_disk_of_a_leader_that_is_needed_shows_in_log_sync_and_nowhere_else() {
    let (mut world, session, leader) = quiet_world(1);
    world.kill(follower(leader));
    world.slow = Some(leader);
    let timing = timed(&mut world, session, 1);
    let (stage, span) = longest(&timing);
    assert!(stage == Stage::LogSync && span >= 150, "{stage:?} {span} ms");
    assert!(WRITE_STAGES.iter().all(|stage| *stage == Stage::LogSync || ms(&timing, *stage) < 20), "{timing:?}");
    assert_eq!(timing.closed_by, leader);
}

#[test]
fn a_slow_disk_of_the_only_follower_shows_in_quorum_and_nowhere_else() {
    let (mut world, session, leader) = quiet_world(2);
    world.kill(follower(leader));
    world.slow = Some(other(leader));
    let timing = timed(&mut world, session, 1);
    let (stage, span) = longest(&timing);
    assert!(stage == Stage::Quorum && span >= 130, "{stage:?} {span} ms");
    assert!(WRITE_STAGES.iter().all(|stage| *stage == Stage::Quorum || ms(&timing, *stage) < 20), "{timing:?}");
    assert_eq!(timing.closed_by, other(leader));
}

#[test]
fn a_slow_disk_that_no_quorum_needs_shows_in_no_stage_and_is_flagged() {
    let (mut world, session, leader) = quiet_world(3);
    world.slow = Some(leader);
    let before = world.shard(leader).quorum_counts();
    let timing = timed(&mut world, session, 1);
    assert!(WRITE_STAGES.iter().all(|stage| ms(&timing, *stage) < 20), "{timing:?}");
    assert!(timing.slot.is_committed_before_sync());
    assert_ne!(timing.closed_by, leader);
    let after = world.shard(leader).quorum_counts();
    assert_eq!(after.ahead_of_local, before.ahead_of_local + 1);
    assert_eq!(after.closed_by_peer + after.closed_by_own_disk, before.closed_by_peer + before.closed_by_own_disk + 1);
}

#[test]
fn a_read_waits_for_its_round_and_tells_what_it_was() {
    let (mut world, _, leader) = quiet_world(4);
    let group = base::group_of(ROOT, GROUPS);
    let mut bytes = Vec::new();
    meta::Query::Head.encode(&mut bytes);
    let ticket = Ticket { connection: 1, request: 78, kind: 2 };
    world.shard(leader).handle_query(ticket, group, Acct(1), ROOT, &bytes);
    world.run(Span::from_ms(100));
    let timing = *world.timings.iter().find(|timing| !is_write(timing)).expect("a read is timed");
    assert_eq!((timing.commands, timing.group, timing.closed_by), (1, group, NodeId(0)));
    assert!(timing.slot.has(Stage::Lease) && timing.slot.has(Stage::Lookup));
    let lengths = lengths(&timing);
    // It was handed over after a turn, so the next one's reading counts too.
    let waits = [Stage::Decode, Stage::Lease, Stage::ApplyWait].map(|stage| lengths.of[stage as usize]);
    assert_eq!(waits.iter().sum::<u32>(), lengths.total);
}

#[test]
fn stages_sum_to_the_total_through_crashes_lost_messages_and_changes_of_lead() {
    let mut timed = 0;
    for seed in 0..8 {
        let mut world = World::new(seed, 10_000);
        let session = begin(&mut world);
        world.loss = 15;
        for at in 0..40 {
            if at % 8 == 4 {
                let victim = NodeId(1 + world.prng.below(3));
                world.crash(victim);
            }
            let begun = world.now;
            world.timings.clear();
            let outcome = world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
            assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
            let took = world.now.since(begun).0 >> base::stages::UNIT_SHIFT;
            for timing in world.timings.iter().filter(|timing| is_write(timing)) {
                let lengths = lengths(timing);
                assert_eq!(lengths.of.iter().sum::<u32>(), lengths.total, "seed {seed}: {timing:?}");
                // A command that was tried again is timed from the try that was answered.
                assert!(u64::from(lengths.total) <= took, "seed {seed}: {timing:?}");
                assert!(timing.slot.has(Stage::Quorum) && timing.slot.has(Stage::Apply), "seed {seed}: {timing:?}");
                timed += 1;
            }
        }
        let counts = |id| world.nodes[&NodeId(id)].shard.as_ref().map_or(QuorumCounts::default(), Shard::quorum_counts);
        let closed: u64 = (1..=3).map(|id| counts(id).closed_by_own_disk + counts(id).closed_by_peer).sum();
        assert!(closed > 0, "seed {seed}");
    }
    assert!(timed >= 8 * 40, "{timed} commands were timed");
}

#[test]
fn what_a_command_asked_for_is_its_class() {
    let (mut world, session, leader) = quiet_world(6);
    let group = base::group_of(ROOT, GROUPS);
    let delete = Command::Delete(meta::Delete { at: meta::At::path("/none"), parent_rev: None });
    for (sequence, command) in [(1, mkdir("/a")), (2, delete)] {
        let mut bytes = Vec::new();
        meta::encode_command(&header(session, sequence, ROOT), &command, &mut bytes);
        let ticket = Ticket { connection: 1, request: 200 + sequence, kind: 1 };
        world.shard(leader).handle_command(ticket, group, &bytes);
    }
    world.classes.clear();
    world.run(Span::from_ms(200));
    // Both are of one entry and share its time.
    let classes: Vec<(u64, OpClass)> = world.classes.iter().map(|(request, (_, class))| (*request, *class)).collect();
    assert_eq!(classes, [(201, OpClass::Put), (202, OpClass::MoveDelete)]);
    assert_eq!(world.classes[&201].0, world.classes[&202].0);
}
