//! Snapshots on links that break, and receivers that lose their half.

use super::*;

/// Node 4, new and empty, is to learn the group by snapshot; runs until a part of it that is not the first was sent.
fn begin_snapshot(world: &mut World) -> (NodeId, u64) {
    let session = begin(world);
    for at in 0..60 {
        world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
        if at % 20 == 0 {
            (1..=3).for_each(|id| world.shard(NodeId(id)).checkpoint_soon());
        }
    }
    world.add_node(NodeId(4), 8, Vec::new());
    world.link_all();
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let change = raft::ConfigChange { add_learners: vec![NodeId(4)], ..raft::ConfigChange::default() };
    let (now, ticket) = (world.now, Ticket { connection: 1, request: 5, kind: 7 });
    world.shard(leader).handle_change_members(ticket, group, &change, now);
    for _ in 0..4_000 {
        if let Some((snapshot, _)) = world.parts.iter().find(|(_, part)| *part == 1) {
            return (leader, *snapshot);
        }
        world.turn();
    }
    panic!("no snapshot is on its way");
}

/// Node 4 votes in the group and holds what its leader holds.
fn assert_caught_up(world: &mut World, leader: NodeId) {
    let group = base::group_of(ROOT, GROUPS);
    let status = world.shard(leader).status();
    let there = status.iter().find(|s| s.group == group).unwrap();
    assert_eq!(there.voters, [1, 2, 3, 4].map(NodeId));
    let applied = world.shard(leader).applied_index(group);
    assert_eq!(world.shard(NodeId(4)).applied_index(group), applied);
}

#[test]
fn a_receiver_that_lost_its_half_of_a_snapshot_gets_another_at_once() {
    let mut world = World::new(9, 8);
    let (leader, broken) = begin_snapshot(&mut world);
    // The last part stays away; the sender hears that more than the offer arrived.
    for _ in 0..10 {
        world.turn();
        world.mail.retain(|mail| !matches!(mail.message, PeerOut::SnapshotPart { part: 2, .. }));
    }
    world.lose_parts();
    world.crash(NodeId(4));
    world.run(Span::from_ms(3_000));
    // The old stream is offered again, and cannot go back to where the receiver must begin.
    let offers: Vec<u64> = world.parts.iter().filter(|(_, part)| *part == 0).map(|(snapshot, _)| *snapshot).collect();
    assert_eq!(offers[..2], [broken, broken], "{:?}", world.parts);
    assert!(offers.len() == 3 && offers[2] != broken, "{:?}", world.parts);
    assert_caught_up(&mut world, leader);
}

#[test]
fn a_snapshot_goes_on_although_parts_and_answers_were_dropped_on_a_link_that_stands() {
    let mut world = World::new(9, 8);
    let (leader, id) = begin_snapshot(&mut world);
    world.lose_parts();
    world.run(Span::from_ms(1_900));
    let count = |world: &World, part| world.parts.iter().filter(|sent| **sent == (id, part)).count();
    assert_eq!(count(&world, 0), 1);
    world.run(Span::from_ms(1_100));
    assert_eq!((count(&world, 0), count(&world, 1)), (2, 2), "{:?}", world.parts);
    assert_caught_up(&mut world, leader);
}

#[test]
fn a_snapshot_whose_link_breaks_goes_on_where_it_stood() {
    let mut world = World::new(9, 8);
    let (leader, broken) = begin_snapshot(&mut world);
    for id in (1..=3).map(NodeId) {
        world.shard(id).handle_peer_down(NodeId(4));
        world.shard(NodeId(4)).handle_peer_down(id);
    }
    world.lose_parts();
    world.run(Span::from_ms(50));
    world.link_all();
    world.run(Span::from_ms(3_000));
    let count = |part| world.parts.iter().filter(|sent| **sent == (broken, part)).count();
    assert_eq!((count(0), count(1)), (2, 2), "{:?}", world.parts);
    // It was a learner; it caught up, and so it votes.
    assert_caught_up(&mut world, leader);
}
