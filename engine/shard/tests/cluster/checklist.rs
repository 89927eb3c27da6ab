//! Rules that only log, raft and machine together can show (docs/testing/checklist.md).

use base::limits::READS_WAITING_MAX;
use base::mono::Span;
use base::{Acct, GroupId, LogIndex, NodeId};
use raft::Body;
use seglog::{DiskOp, OpError, OpToken};
use shard::{PeerOut, Status, StopReason, Ticket};

use super::{GROUPS, ROOT, World, begin, header, mkdir};

/// The next sync on its way at a node, taken out.
fn take_sync(world: &mut World, id: NodeId) -> OpToken {
    for _ in 0..4_000 {
        let ops = &mut world.nodes.get_mut(&id).unwrap().ops;
        if let Some(at) = ops.iter().position(|(_, _, op)| matches!(op, DiskOp::Sync { .. })) {
            return ops.remove(at).1;
        }
        world.turn();
    }
    panic!("node {id} syncs nothing");
}

#[test]
fn a_failed_sync_stops_the_node_for_good_and_no_ack_leaves() {
    let mut world = World::new(12, 10_000);
    let session = begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let follower = (1..=3).map(NodeId).find(|id| *id != leader).unwrap();
    let held = world.shard(follower).raft(group).unwrap().persisted_index();
    let mut bytes = Vec::new();
    meta::encode_command(&header(session, 1, ROOT), &mkdir("/lost"), &mut bytes);
    let ticket = Ticket { connection: 1, request: 90, kind: 1 };
    world.shard(leader).handle_command(ticket, group, &bytes);
    // The sync that covers the new entry.
    let token = loop {
        let token = take_sync(&mut world, follower);
        let shard = world.shard(follower);
        if shard.log().last_index(group) > held {
            break token;
        }
        shard.handle_op_done(token, Ok(0));
    };
    let (now, before) = (world.now, world.shard(follower).log().persisted_epoch());
    let shard = world.shard(follower);
    shard.handle_op_done(token, Err(OpError::Errno(5)));
    assert!(
        matches!(shard.stop_reason(), Some(StopReason::Log(why)) if why.contains("sync")),
        "{:?}",
        shard.stop_reason()
    );
    for turn in 1..200u64 {
        let now = now + Span::from_ms(5 * turn);
        shard.begin_turn(now, 1_700_000_000_000);
        shard.handle_tick(now);
        shard.advance(now, 1_700_000_000_000);
        assert!(shard.poll_op().is_none(), "nothing is tried again");
        while let Some(message) = shard.poll_peer() {
            let is_ack =
                matches!(&message, PeerOut::Raft { body: Body::AppendResp { index, .. }, .. } if *index > held);
            assert!(!is_ack, "{message:?}");
        }
    }
    assert_eq!(shard.log().persisted_epoch(), before);
    assert_eq!(shard.raft(group).unwrap().persisted_index(), held);
    assert!(shard.stop_reason().is_some());
    // The others go on without it.
    drop(world.kill(follower));
    let outcome = world.command(91, header(session, 1, ROOT), &mkdir("/lost"));
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn compaction_waits_for_a_slow_follower_up_to_the_trailing_entries() {
    const TRAILING: u64 = 8;
    for (commands, needs_snapshot) in [(TRAILING - 2, false), (10 * TRAILING, true)] {
        let mut world = World::new(13, TRAILING);
        let session = begin(&mut world);
        world.ensure_same(&[1, 2, 3]);
        let group = base::group_of(ROOT, GROUPS);
        let leader = world.leader(group).unwrap();
        let slow = (1..=3).map(NodeId).find(|id| *id != leader).unwrap();
        let held = world.shard(slow).log().last_index(group);
        let (disk, store) = world.kill(slow);
        for at in 0..commands {
            world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
        }
        world.shard(leader).checkpoint_soon();
        world.run(Span::from_ms(200));
        let log = world.shard(leader).log();
        let (first, last) = (log.first_index(group), log.last_index(group));
        assert!(first > LogIndex(1), "{commands}: nothing was compacted");
        assert!(
            last.0 + 1 - first.0 >= TRAILING,
            "{commands}: {first} to {last} is less than what is kept for the slow"
        );
        assert_eq!(first > held.next(), needs_snapshot, "{commands}: {first}, and the follower holds {held}");
        let now = world.now;
        world.parts.clear();
        world.nodes.get_mut(&slow).unwrap().restart(disk, store, now);
        world.link_all();
        world.ensure_same(&[1, 2, 3]);
        assert_eq!(!world.parts.is_empty(), needs_snapshot, "{commands}: {:?}", world.parts);
    }
}

#[test]
fn machines_have_equal_hashes_at_every_index_that_several_of_them_reach() {
    let mut world = World::new(14, 16);
    world.hashes = Some(std::collections::BTreeMap::new());
    let session = begin(&mut world);
    for at in 0..60 {
        if at % 13 == 5 {
            let victim = NodeId(1 + world.prng.below(3));
            world.crash(victim);
        }
        if at % 20 == 10 {
            (1..=3).for_each(|id| world.shard(NodeId(id)).checkpoint_soon());
        }
        let outcome = world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    world.ensure_same(&[1, 2, 3]);
    let hashes = world.hashes.take().unwrap();
    let group = base::group_of(ROOT, GROUPS);
    let shared = hashes.iter().filter(|((of, _), seen)| *of == group && seen.1.count_ones() >= 2).count();
    assert!(shared >= 60, "only {shared} indexes were seen at two nodes");
    let different: std::collections::BTreeSet<u64> = hashes.values().map(|(hash, _)| *hash).collect();
    assert!(different.len() >= 60, "the hash hardly moves: {} values", different.len());
}

#[test]
fn reads_beyond_the_bound_are_refused_and_the_others_answered() {
    let mut world = World::new(15, 10_000);
    begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let mut query = Vec::new();
    meta::Query::Head.encode(&mut query);
    let more = 10;
    world.answers.clear();
    for request in 0..READS_WAITING_MAX as u64 + more {
        let ticket = Ticket { connection: 1, request, kind: 2 };
        world.shard(leader).handle_query(ticket, group, Acct(1), ROOT, &query);
    }
    world.run(Span::from_ms(200));
    let count = |status| world.answers.values().filter(|(of, _)| *of == status).count();
    assert_eq!((count(Status::Ok), count(Status::Overloaded)), (READS_WAITING_MAX, more as usize));
}

impl World {
    /// After a turn: what a machine is at an index, every machine is there.
    pub(super) fn compare_hashes(&mut self) {
        let Some(hashes) = &mut self.hashes else { return };
        for node in self.nodes.values() {
            for status in node.shard.iter().flat_map(|shard| shard.status()) {
                let key: (GroupId, LogIndex) = (status.group, status.applied_index);
                let seen = hashes.entry(key).or_insert((status.state_hash, 0u64));
                assert_eq!(seen.0, status.state_hash, "node {}: {key:?}", node.id);
                seen.1 |= 1 << node.id.0;
            }
        }
    }
}
