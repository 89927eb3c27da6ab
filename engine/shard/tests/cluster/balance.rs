//! Leaders are spread over the nodes, and commands meanwhile lose nothing but time.

use super::*;

const MANY: u32 = 12;

/// Groups that each node leads.
fn led(world: &mut World) -> Vec<u64> {
    (1..=3).map(|id| world.nodes[&NodeId(id)].shard.as_ref().map_or(0, |shard| shard.led().groups)).collect()
}

fn moved(world: &mut World) -> u64 {
    world.nodes.values().filter_map(|node| node.shard.as_ref()).map(|shard| shard.led().moved).sum()
}

fn transfer(world: &mut World, group: GroupId, from: NodeId, to: NodeId) -> (Status, String) {
    let (now, ticket) = (world.now, Ticket { connection: 1, request: 900, kind: 8 });
    world.shard(from).handle_transfer(ticket, group, to, now);
    world.turn();
    let (status, body) = world.answers.remove(&900).expect("it is answered at once");
    (status, String::from_utf8(body).expect("texts are UTF-8"))
}

#[test]
fn a_node_that_comes_back_gets_its_share_and_then_nothing_moves() {
    for seed in 0..4 {
        let mut world = World::of_groups(MANY, 200 + seed, 10_000);
        begin(&mut world);
        world.run(Span::from_ms(8_000));
        assert_eq!(led(&mut world), [4, 4, 4], "seed {seed}");
        let back = NodeId(1 + seed % 3);
        let (disk, store) = world.kill(back);
        world.run(Span::from_ms(6_000));
        let now = world.now;
        world.nodes.get_mut(&back).unwrap().restart(disk, store, now);
        world.link_all();
        world.run(Span::from_ms(3_000));
        // What it has by then it was voted for.
        let (before, has) = (moved(&mut world), led(&mut world)[back.0 as usize - 1]);
        world.run(Span::from_ms(9_000));
        assert_eq!(led(&mut world), [4, 4, 4], "seed {seed}");
        let moves = moved(&mut world);
        assert!(moves - before <= 4 - has.min(4) + 4, "seed {seed}: {} moves", moves - before);
        let (_, others) = traffic(&mut world, Span::from_ms(20_000));
        assert_eq!((moved(&mut world), others), (moves, 0), "seed {seed}: it goes on");
    }
}

#[test]
fn without_balance_nothing_moves_until_somebody_asks() {
    let mut world = World::of_groups(MANY, 7, 10_000);
    for id in 1..=3 {
        drop(world.kill(NodeId(id)));
        let node = world.nodes.get_mut(&NodeId(id)).unwrap();
        node.balance.is_on = false;
        node.boot_new(world.now);
    }
    world.link_all();
    world.run(Span::from_ms(2_500));
    for group in (0..MANY).map(GroupId) {
        let leader = world.leader(group).unwrap();
        if leader != NodeId(1) {
            assert_eq!(transfer(&mut world, group, leader, NodeId(1)).0, Status::Ok);
        }
        world.run(Span::from_ms(100));
    }
    world.run(Span::from_ms(20_000));
    assert_eq!(led(&mut world), [12, 0, 0]);
    let now = world.now;
    (1..=3).for_each(|id| world.shard(NodeId(id)).handle_balance(now));
    world.run(Span::from_ms(3_000));
    assert_eq!((led(&mut world), moved(&mut world)), (vec![4, 4, 4], 8));
}

#[test]
fn commands_of_a_group_on_its_way_wait_and_are_sent_to_who_takes_over() {
    let mut world = World::new(21, 10_000);
    let session = begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let target = (1..=3).map(NodeId).find(|id| *id != leader).unwrap();
    assert_eq!(transfer(&mut world, group, leader, target), (Status::Ok, String::new()));
    let mut bytes = Vec::new();
    meta::encode_command(&header(session, 1, ROOT), &mkdir("/waits"), &mut bytes);
    world.shard(leader).handle_command(Ticket { connection: 1, request: 77, kind: 1 }, group, &bytes);
    world.run(Span::from_ms(300));
    let (status, _) = world.answers.remove(&77).expect("it is answered when the lead has gone");
    assert_eq!(status, Status::NotLeader(target));
    assert!(world.command(78, header(session, 1, ROOT), &mkdir("/waits")).is_ok());
    assert_eq!(world.leader(group), Some(target));
}

#[test]
fn commands_of_a_group_that_nobody_takes_over_are_executed_where_they_waited() {
    let mut world = World::new(22, 10_000);
    let session = begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let target = (1..=3).map(NodeId).find(|id| *id != leader).unwrap();
    let begun = world.now;
    assert_eq!(transfer(&mut world, group, leader, target).0, Status::Ok);
    // It dies without a word, before it has read that it should take over.
    world.nodes.get_mut(&target).unwrap().shard = None;
    let mut bytes = Vec::new();
    meta::encode_command(&header(session, 1, ROOT), &mkdir("/waits"), &mut bytes);
    world.shard(leader).handle_command(Ticket { connection: 1, request: 77, kind: 1 }, group, &bytes);
    while !world.answers.contains_key(&77) {
        world.turn();
        assert!(world.now < begun + Span::from_ms(1_200), "a transfer is given up after a second");
    }
    let (status, body) = &world.answers[&77];
    assert_eq!(*status, Status::Ok);
    assert!(Outcome::decode(body).unwrap().is_ok());
}

#[test]
fn a_lead_is_refused_to_who_is_slow_or_does_not_vote() {
    let mut world = World::new(23, 10_000);
    let session = begin(&mut world);
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let slow = (1..=3).map(NodeId).find(|id| *id != leader).unwrap();
    world.slow = Some(slow);
    for at in 0..20 {
        world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
        world.run(Span::from_ms(100));
    }
    let leader = world.leader(group).unwrap();
    let (status, text) = transfer(&mut world, group, leader, slow);
    assert!(status == Status::Refused && text.contains("its disk is slow"), "{status:?} {text}");
    let (status, text) = transfer(&mut world, group, leader, NodeId(9));
    assert!(status == Status::Refused && text.contains("does not vote"), "{status:?} {text}");
    assert_eq!(transfer(&mut world, group, leader, leader).0, Status::Ok, "it leads already");
}
