//! Groups whose state was damaged or dropped: they take part in consensus, serve nothing, and get their state back.

use shard::Notice;

use super::*;

const GROUP: fn() -> GroupId = || base::group_of(ROOT, GROUPS);

/// Damages a node's rows of the group; what its shard then said of it.
fn damage(world: &mut World, id: NodeId) -> Vec<(GroupId, Notice)> {
    world.shard(id).store_mut().damage(GROUP());
    world.turn();
    let said: Vec<_> = std::iter::from_fn(|| world.shard(id).poll_notice()).collect();
    assert!(
        matches!(said.first(), Some((group, Notice::StateLost { .. })) if *group == GROUP()),
        "node {id}: {said:?}"
    );
    said
}

fn is_lost(world: &mut World, id: NodeId) -> bool {
    world.shard(id).status().iter().any(|status| status.group == GROUP() && status.is_state_lost)
}

fn notices(world: &mut World, id: NodeId) -> Vec<Notice> {
    std::iter::from_fn(|| world.shard(id).poll_notice()).map(|(_, notice)| notice).collect()
}

fn fill(world: &mut World, session: SessionId, count: u64) {
    for at in 0..count {
        let path = format!("/folder {at}");
        let outcome = world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&path));
        assert!(outcome.is_ok(), "{outcome:?}");
        if at % 20 == 0 {
            world.nodes.values_mut().filter_map(|node| node.shard.as_mut()).for_each(Shard::checkpoint_soon);
        }
    }
}

fn followers(world: &mut World) -> (NodeId, Vec<NodeId>) {
    let leader = world.leader(GROUP()).expect("somebody leads");
    (leader, world.nodes.keys().copied().filter(|id| *id != leader).collect())
}

#[test]
fn a_follower_whose_rows_are_damaged_takes_a_snapshot_while_the_others_serve() {
    let mut world = World::new(31, 8);
    let session = begin(&mut world);
    fill(&mut world, session, 100);
    let (leader, others) = followers(&mut world);
    let other_group = (0..GROUPS).map(GroupId).find(|group| *group != GROUP()).unwrap();
    let before = world.shard(others[0]).applied_index(other_group);
    damage(&mut world, others[0]);
    assert_eq!(world.shard(others[0]).applied_index(GROUP()), LogIndex(0));
    assert_eq!(world.shard(others[0]).applied_index(other_group), before, "other groups are not touched");
    // It counts still: with it and the leader alone, entries are committed.
    let outcome = world.command(500, header(session, 101, ROOT), &mkdir("/meanwhile"));
    assert!(outcome.is_ok(), "{outcome:?}");
    world.ensure_same(&[1, 2, 3]);
    assert!(!is_lost(&mut world, others[0]));
    assert_eq!(world.leader(GROUP()), Some(leader));
    assert!(!world.parts.is_empty(), "its log does not reach back, so it needs a snapshot");
    assert_eq!(notices(&mut world, others[0]), [Notice::StateBack]);
    assert_eq!(listing(&mut world, others[0]).len(), 101);
}

#[test]
fn a_leader_whose_rows_are_damaged_hands_over_and_nothing_wrong_is_read() {
    let mut world = World::new(32, 8);
    let session = begin(&mut world);
    fill(&mut world, session, 100);
    let (leader, _) = followers(&mut world);
    // Asked before the damage is met, and answered after it.
    let query = meta::Query::Head;
    let mut bytes = Vec::new();
    query.encode(&mut bytes);
    world.shard(leader).store_mut().set_cold(true);
    world.shard(leader).handle_query(Ticket { connection: 1, request: 79, kind: 2 }, GROUP(), Acct(1), ROOT, &bytes);
    damage(&mut world, leader);
    world.run(Span::from_ms(1_500));
    if let Some((status, body)) = world.answers.remove(&79) {
        let is_right = status == Status::Ok && body.len() > 1;
        assert!(is_right || matches!(status, Status::NotLeader(_)), "{status:?} {body:?}");
    }
    assert_ne!(world.leader(GROUP()), Some(leader), "who cannot serve does not lead");
    let outcome = world.command(500, header(session, 101, ROOT), &mkdir("/after"));
    assert!(outcome.is_ok(), "{outcome:?}");
    world.ensure_same(&[1, 2, 3]);
    assert!(!is_lost(&mut world, leader));
}

#[test]
fn a_group_whose_log_is_whole_is_applied_anew_without_a_snapshot() {
    let mut world = World::new(33, 10_000);
    let session = begin(&mut world);
    fill(&mut world, session, 100);
    for id in (1..=3).map(NodeId) {
        damage(&mut world, id);
    }
    world.ensure_same(&[1, 2, 3]);
    assert!(world.parts.is_empty(), "{:?}", world.parts);
    assert_eq!(listing(&mut world, NodeId(1)).len(), 100);
    assert!((1..=3).all(|id| !is_lost(&mut world, NodeId(id))));
}

#[test]
fn a_state_that_is_lost_is_lost_after_a_restart_and_then_comes_back() {
    for seed in 40..44 {
        let mut world = World::new(seed, 8);
        let session = begin(&mut world);
        fill(&mut world, session, 100);
        let (_, others) = followers(&mut world);
        let victim = others[0];
        damage(&mut world, victim);
        world.crash(victim);
        assert!(is_lost(&mut world, victim), "seed {seed}");
        assert!(matches!(notices(&mut world, victim)[..], [Notice::StateLost { .. }]), "seed {seed}");
        let (first, raft) = (world.shard(victim).log().first_index(GROUP()), world.shard(victim).raft(GROUP()));
        assert!(first > LogIndex(1) && raft.is_some(), "seed {seed}: the log does not reach back, and stays");
        let outcome = world.command(500, header(session, 101, ROOT), &mkdir("/meanwhile"));
        assert!(outcome.is_ok(), "{outcome:?}");
        world.ensure_same(&[1, 2, 3]);
        assert!(!is_lost(&mut world, victim), "seed {seed}");
        assert_eq!(listing(&mut world, victim).len(), 101);
    }
}

#[test]
fn a_group_that_every_voter_has_lost_says_so_and_makes_nothing_up() {
    let mut world = World::new(34, 8);
    let session = begin(&mut world);
    fill(&mut world, session, 100);
    world.ensure_same(&[1, 2, 3]);
    for id in (1..=3).map(NodeId) {
        damage(&mut world, id);
    }
    world.run(Span::from_ms(8_000));
    let all: Vec<Notice> = (1..=3).flat_map(|id| notices(&mut world, NodeId(id))).collect();
    assert!(all.contains(&Notice::NoneHasIt), "{all:?}");
    assert!(!all.contains(&Notice::StateBack), "{all:?}");
    let leader = world.leader(GROUP()).expect("the log is whole, so somebody leads");
    let mut bytes = Vec::new();
    meta::encode_command(&header(session, 101, ROOT), &mkdir("/x"), &mut bytes);
    world.shard(leader).handle_command(Ticket { connection: 1, request: 600, kind: 1 }, GROUP(), &bytes);
    world.turn();
    assert_eq!(world.answers.remove(&600).map(|(status, _)| status), Some(Status::NotLeader(NodeId(0))));
}

#[test]
fn a_single_node_that_lost_a_state_serves_its_other_groups() {
    let mut world = World::new(35, 8);
    world.nodes.clear();
    world.add_node(NodeId(1), 8, vec![NodeId(1)]);
    let session = begin(&mut world);
    fill(&mut world, session, 60);
    let said = damage(&mut world, NodeId(1));
    assert_eq!(said.last(), Some(&(GROUP(), Notice::NoneHasIt)), "{said:?}");
    world.run(Span::from_ms(3_000));
    assert_eq!(notices(&mut world, NodeId(1)), [], "it is said once");
    let other_group = (0..GROUPS).map(GroupId).find(|group| *group != GROUP()).unwrap();
    let other = (1..).map(Nsid).find(|nsid| base::group_of(*nsid, GROUPS) == other_group).unwrap();
    let system = CommandHeader { acct: Acct(0), ..header(SessionId(0), 0, other) };
    let init = Command::NamespaceInit { owner: Acct(1), kind: meta::NamespaceKind::Root, grant_bytes: 1 << 40 };
    let outcome = world.command(700, system, &init);
    assert!(outcome.is_ok(), "{outcome:?}");
}

/// Nobody repairs an entry that was applied when its bytes went: who has to apply it anew gets a state.
#[test]
fn an_applied_entry_whose_bytes_are_gone_does_not_hold_up_who_applies_anew() {
    let mut world = World::new(36, 10_000);
    let session = begin(&mut world);
    fill(&mut world, session, 60);
    let (_, others) = followers(&mut world);
    let victim = others[0];
    world.shard(victim).checkpoint_soon();
    world.run(Span::from_ms(500));
    let (mut disk, store) = world.kill(victim);
    let path = b"/folder 15";
    let found = disk.segment_seqs().into_iter().find_map(|seq| {
        let bytes = disk.segment_bytes(seq);
        Some((seq, bytes.windows(path.len()).position(|window| window == path)?))
    });
    let (seq, offset) = found.expect("the entry is in the log");
    disk.damage(seq, offset, |bytes| bytes[0] ^= 1);
    let now = world.now;
    world.nodes.get_mut(&victim).unwrap().restart(disk, store, now);
    world.link_all();
    world.run(Span::from_ms(1_000));
    let faulty = world.shard(victim).log().first_faulty(GROUP()).expect("recovery found it");
    assert!(world.shard(victim).applied_index(GROUP()) > faulty, "its state is there");
    assert_eq!(world.shard(victim).log().first_index(GROUP()), LogIndex(1));
    damage(&mut world, victim);
    world.ensure_same(&[1, 2, 3]);
    assert!(!is_lost(&mut world, victim));
    assert!(!world.parts.is_empty(), "only a snapshot helps");
    assert_eq!(listing(&mut world, victim).len(), 60);
}
