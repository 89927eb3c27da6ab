//! The null machine under crashes, lost messages and snapshots: what it acknowledged is counted.

use super::*;

/// Three nodes whose machine counts.
fn counting(seed: u64, trailing: u64) -> World {
    let mut world = World::new(seed, trailing);
    for id in (1..=3).map(NodeId) {
        drop(world.kill(id));
        let now = world.now;
        let node = world.nodes.get_mut(&id).unwrap();
        node.machine = MachineKind::Null;
        node.boot_new(now);
    }
    world.link_all();
    world.run(Span::from_ms(2500));
    world
}

/// Sends a command until it is acknowledged; the count that it got. Each try may have been counted.
fn count_one(world: &mut World, request: u64, group: GroupId) -> (u64, u64) {
    for tries in 1..=40 {
        let Some(leader) = world.leader(group) else {
            world.run(Span::from_ms(100));
            continue;
        };
        world.answers.remove(&request);
        let ticket = Ticket { connection: 1, request, kind: 9 };
        world.shard(leader).handle_null_command(ticket, group, b"sixteen bytes ..");
        for _ in 0..2000 {
            world.turn();
            match world.answers.remove(&request) {
                Some((Status::Ok, body)) => return (u64::from_le_bytes(body.try_into().unwrap()), tries),
                Some(_) => break,
                None => {}
            }
        }
    }
    panic!("request {request} was never answered");
}

/// The count as a linearizable read tells it.
fn count_of(world: &mut World, group: GroupId) -> u64 {
    let leader = world.leader(group).unwrap();
    let ticket = Ticket { connection: 1, request: 1, kind: 10 };
    world.shard(leader).handle_null_count(ticket, group);
    for _ in 0..2000 {
        world.turn();
        if let Some((status, body)) = world.answers.remove(&1) {
            assert_eq!(status, Status::Ok);
            return u64::from_le_bytes(body.try_into().unwrap());
        }
    }
    panic!("the count was never told");
}

#[test]
fn every_acknowledged_command_is_counted_over_crashes_and_lost_messages() {
    for seed in 0..6 {
        let mut world = counting(seed, 10_000);
        world.loss = 25;
        for group in (0..GROUPS).map(GroupId) {
            let (mut last, mut tries) = (0, 0);
            for at in 0..40 {
                if at % 9 == 4 {
                    let victim = NodeId(1 + world.prng.below(3));
                    world.crash(victim);
                }
                let (count, tried) = count_one(&mut world, 100 + at, group);
                assert!(count > last, "seed {seed}: {count} after {last}");
                (last, tries) = (count, tries + tried);
            }
            assert!((40..=tries).contains(&last), "seed {seed}: {last} of 40 commands in {tries} tries");
            assert_eq!(count_of(&mut world, group), last, "seed {seed}");
        }
        world.loss = 0;
        world.ensure_same(&[1, 2, 3]);
    }
}

#[test]
fn counts_go_by_checkpoint_and_snapshot_to_who_has_no_log_of_them() {
    let mut world = counting(3, 8);
    let group = GroupId(0);
    for at in 0..60 {
        count_one(&mut world, 100 + at, group);
        if at % 20 == 0 {
            (1..=3).for_each(|id| world.shard(NodeId(id)).checkpoint_soon());
        }
    }
    world.add_node(NodeId(4), 8, Vec::new());
    drop(world.kill(NodeId(4)));
    let now = world.now;
    let node = world.nodes.get_mut(&NodeId(4)).unwrap();
    node.machine = MachineKind::Null;
    node.boot_new(now);
    world.link_all();
    let leader = world.leader(group).unwrap();
    let change = raft::ConfigChange { add_learners: vec![NodeId(4)], ..raft::ConfigChange::default() };
    let ticket = Ticket { connection: 1, request: 5, kind: 7 };
    world.shard(leader).handle_change_members(ticket, group, &change, now);
    world.run(Span::from_ms(3_000));
    let there = world.shard(NodeId(4)).status().into_iter().find(|s| s.group == group).unwrap();
    assert!(there.first_index > LogIndex(1), "no snapshot was needed");
    assert_eq!(there.state_hash, count_of(&mut world, group));
}

#[test]
fn a_cluster_that_counts_refuses_files_and_one_of_files_refuses_to_count() {
    let mut world = counting(1, 100);
    let leader = world.leader(GroupId(0)).unwrap();
    let ticket = Ticket { connection: 1, request: 1, kind: 1 };
    let refused = |world: &mut World| {
        world.turn();
        let (status, body) = world.answers.remove(&1).unwrap();
        assert_eq!(status, Status::Refused);
        String::from_utf8(body).unwrap()
    };
    let mut command = Vec::new();
    meta::encode_command(&header(SessionId(0), 0, ROOT), &Command::Register { nonce: [9; 16] }, &mut command);
    world.shard(leader).handle_command(ticket, GroupId(0), &command);
    assert!(refused(&mut world).contains("machine is null"));
    let mut query = Vec::new();
    meta::Query::Head.encode(&mut query);
    world.shard(leader).handle_query(ticket, GroupId(0), Acct(0), ROOT, &query);
    assert!(refused(&mut world).contains("machine is null"));
    world.shard(leader).handle_watch(ticket, GroupId(0), Acct(0), ROOT);
    assert!(refused(&mut world).contains("machine is null"));

    let mut world = World::new(2, 100);
    world.run(Span::from_ms(2500));
    let leader = world.leader(GroupId(0)).unwrap();
    world.shard(leader).handle_null_command(ticket, GroupId(0), b"any");
    assert!(refused(&mut world).contains("machine is files"));
    world.shard(leader).handle_null_count(ticket, GroupId(0));
    assert!(refused(&mut world).contains("machine is files"));
}
