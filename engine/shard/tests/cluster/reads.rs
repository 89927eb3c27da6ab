//! Reads through the shard: under a lease, by a round, at a follower.

use base::GroupId;

use super::*;

const GROUP: fn() -> GroupId = || base::group_of(ROOT, GROUPS);

fn list_query() -> Vec<u8> {
    let query =
        meta::Query::ListPage { at: meta::At::path(""), recursive: true, position: Vec::new(), limit: LIST_PAGE_MAX };
    let mut bytes = Vec::new();
    query.encode(&mut bytes);
    bytes
}

fn names(body: &[u8]) -> usize {
    match meta::Answer::decode(body).expect("answers decode") {
        meta::Answer::Page { entries, .. } => entries.len(),
        other => panic!("no page: {other:?}"),
    }
}

/// Asks `id` and waits for its answer.
fn ask(world: &mut World, id: NodeId, at_follower: bool) -> (Status, Vec<u8>) {
    let (ticket, query) = (Ticket { connection: 1, request: 78, kind: 2 }, list_query());
    // What arrives before the turn's time is sampled.
    let shard = world.shard(id);
    if at_follower {
        shard.handle_follower_query(ticket, GROUP(), Acct(1), ROOT, &query);
    } else {
        shard.handle_query(ticket, GROUP(), Acct(1), ROOT, &query);
    }
    for _ in 0..10_000 {
        world.turn();
        if let Some(answer) = world.answers.remove(&78) {
            return answer;
        }
    }
    panic!("a read was never answered");
}

fn followers(world: &mut World) -> (NodeId, Vec<NodeId>) {
    let leader = world.leader(GROUP()).expect("somebody leads");
    (leader, world.nodes.keys().copied().filter(|id| *id != leader).collect())
}

#[test]
fn a_follower_serves_what_was_acknowledged_before_and_only_when_it_was_asked_to() {
    for loss in [0, 8] {
        let mut world = World::new(3, 10_000);
        let session = begin(&mut world);
        let mut served = 0;
        for at in 0..30 {
            world.loss = 0;
            let outcome = world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
            assert!(outcome.is_ok(), "{outcome:?}");
            world.loss = loss;
            let (leader, followers) = followers(&mut world);
            for id in followers {
                assert_eq!(ask(&mut world, id, false).0, Status::NotLeader(leader));
                let (status, body) = ask(&mut world, id, true);
                match status {
                    Status::Ok => assert_eq!(names(&body), at as usize + 1, "a stale read at {id}"),
                    other => assert!(loss > 0 && matches!(other, Status::NotLeader(_)), "{other:?}"),
                }
                served += u32::from(status == Status::Ok);
            }
        }
        assert!(served >= 50, "{served} of 60 were served, with one message in {loss} lost");
        let counted: u64 = (1..=3).map(|id| world.shard(NodeId(id)).read_counts().follower).sum();
        assert_eq!(counted, u64::from(served));
    }
}

#[test]
fn the_leader_serves_under_its_lease_until_the_clock_jumps() {
    let mut world = World::new(4, 10_000);
    let session = begin(&mut world);
    world.command(100, header(session, 1, ROOT), &mkdir("/folder"));
    world.run(Span::from_ms(200));
    let (leader, others) = followers(&mut world);
    let now = world.now;
    let end = world.shard(leader).lease_until(GROUP()).expect("the others answer");
    assert!(end > now && end <= now + Span::from_ms(450), "{:?}", end.since(now));
    assert_eq!(world.shard(others[0]).lease_until(GROUP()), None);
    let (status, body) = ask(&mut world, leader, false);
    assert_eq!((status, names(&body)), (Status::Ok, 1));
    assert_eq!(world.now.since(now), STEP, "in the turn in which it came");
    let counts = world.shard(leader).read_counts();
    assert_eq!((counts.lease, counts.round), (1, 0));
    // Also by the question for followers.
    assert_eq!(ask(&mut world, leader, true).0, Status::Ok);
    assert_eq!(world.shard(leader).read_counts().lease, 2);

    let now = world.now;
    world.shard(leader).handle_clock_jump(now);
    assert_eq!(world.shard(leader).lease_until(GROUP()), None);
    assert_eq!(ask(&mut world, leader, false).0, Status::Ok, "never an error");
    assert!(world.now.since(now) > STEP, "a message went and came; what was sent before the jump did not count");
    world.run(Span::from_ms(200));
    assert!(world.shard(leader).lease_until(GROUP()).is_some(), "rounds sent later count");
}

/// Asks for what is at a path, and waits for the answer.
fn metadata(world: &mut World, id: NodeId, path: &str) -> (Status, Vec<u8>) {
    let ticket = Ticket { connection: 1, request: 79, kind: 2 };
    world.shard(id).handle_metadata(ticket, GROUP(), ROOT, path);
    for _ in 0..10_000 {
        world.turn();
        if let Some(answer) = world.answers.remove(&79) {
            return answer;
        }
    }
    panic!("a read was never answered");
}

#[test]
fn what_is_at_a_path_is_told_with_its_version_by_the_leader_alone() {
    use shard::{MetadataAnswer, MetadataKind};
    let mut world = World::new(5, 10_000);
    let session = begin(&mut world);
    world.command(100, header(session, 1, ROOT), &mkdir("/Folder"));
    let (leader, others) = followers(&mut world);
    let (status, body) = metadata(&mut world, leader, "/folder");
    let answer = MetadataAnswer::parse(&body).expect("it is an answer");
    assert_eq!((status, answer.kind), (Status::Ok, MetadataKind::Folder));
    let json = std::str::from_utf8(answer.json).expect("JSON is text");
    let head = r#"{".tag":"folder","name":"Folder","path_lower":"/folder","path_display":"/Folder","id":"id:"#;
    assert!(json.starts_with(head), "{json}");
    let first = answer.as_of;
    world.command(101, header(session, 2, ROOT), &mkdir("/another"));
    let (_, body) = metadata(&mut world, leader, "/folder");
    assert_eq!(MetadataAnswer::parse(&body).expect("it is an answer").as_of, first, "nothing of it has changed");

    let kind = |body: &[u8]| MetadataAnswer::parse(body).expect("it is an answer").kind;
    assert_eq!(kind(&metadata(&mut world, leader, "/none").1), MetadataKind::Absent);
    assert_eq!(kind(&metadata(&mut world, leader, "/a/").1), MetadataKind::Malformed);
    assert_eq!(metadata(&mut world, others[0], "/folder").0, Status::NotLeader(leader));
}

#[test]
fn reads_end_when_the_leader_is_gone() {
    let mut world = World::new(6, 10_000);
    begin(&mut world);
    let (leader, others) = followers(&mut world);
    drop(world.kill(leader));
    drop(world.kill(others[1]));
    let begun = world.now;
    let (status, _) = ask(&mut world, others[0], true);
    assert!(matches!(status, Status::NotLeader(_)), "{status:?}");
    assert!(world.now.since(begun) <= Span::from_ms(1100), "{:?}", world.now.since(begun));
}
