//! The read cache of a shard: what any core may read of it, and until when.

use base::GroupId;
use cache::{Kind, Read, Rule, Writer, key};

use super::*;

const GROUP: fn() -> GroupId = || base::group_of(ROOT, GROUPS);

fn cached_world(seed: u64) -> World {
    let mut world = World::new(seed, 10_000);
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        let settings = cache::Settings::new(GROUPS, 1, 0, seed);
        world.shard(id).attach_cache(Writer::new(cache::leak(4 << 20), &settings).expect("it is large enough"));
    }
    world
}

/// Looks a path up at the shard of `id`.
fn look_up(world: &mut World, id: NodeId, path: &str) -> (Status, Vec<u8>) {
    let mut query = Vec::new();
    meta::Query::Lookup(meta::What::At(meta::At::path(path))).encode(&mut query);
    world.shard(id).handle_query(Ticket { connection: 1, request: 79, kind: 2 }, GROUP(), Acct(1), ROOT, &query);
    for _ in 0..10_000 {
        world.turn();
        if let Some(answer) = world.answers.remove(&79) {
            return answer;
        }
    }
    panic!("a read was never answered");
}

/// What another core of `id` reads now: kind and value, or why there is none.
fn read(world: &mut World, id: NodeId, path: &str) -> Result<(Kind, Vec<u8>), &'static str> {
    read_table(world, id, key::PATH, path)
}

fn read_table(world: &mut World, id: NodeId, table: u8, path: &str) -> Result<(Kind, Vec<u8>), &'static str> {
    let (now, reader) = (world.now, world.shard(id).cache_reader().expect("it has a cache"));
    let (mut wanted, mut buffer) = (Vec::new(), reader.value_buffer());
    key::encode(table, ROOT, path.as_bytes(), &mut wanted);
    match reader.get(GROUP().0 as usize, &wanted, Rule::Lease(now), &mut buffer) {
        Read::Hit(hit) => Ok((hit.kind, hit.value.to_vec())),
        Read::Miss => Err("miss"),
        Read::NotHere => Err("not here"),
    }
}

#[test]
fn any_core_of_the_leader_reads_what_the_shard_answered_until_it_changes() {
    let mut world = cached_world(11);
    let session = begin(&mut world);
    assert!(world.command(100, header(session, 1, ROOT), &mkdir("/a folder")).is_ok());
    world.run(Span::from_ms(200));
    let leader = world.leader(GROUP()).expect("somebody leads");
    assert_eq!(read(&mut world, leader, "/a folder"), Err("miss"));
    let (status, body) = look_up(&mut world, leader, "/A Folder");
    assert_eq!(status, Status::Ok);
    assert_eq!(read(&mut world, leader, "/a folder"), Ok((Kind::Folder, body.clone())));
    // And so does the shard, by the same lease, with the same bytes.
    let before = world.shard(leader).read_counts().lease;
    assert_eq!(look_up(&mut world, leader, "/a folder"), (Status::Ok, body));
    assert_eq!(world.shard(leader).read_counts().lease, before + 1);

    let (status, absent) = look_up(&mut world, leader, "/b");
    assert_eq!((status, meta::Answer::decode(&absent)), (Status::Ok, Ok(meta::Answer::NotFound)));
    assert_eq!(read(&mut world, leader, "/b"), Ok((Kind::Absent, Vec::new())));
    assert_eq!(look_up(&mut world, leader, "/b"), (Status::Ok, absent), "from the cache");
    assert!(world.command(101, header(session, 2, ROOT), &mkdir("/b")).is_ok());
    assert_eq!(read(&mut world, leader, "/b"), Err("miss"));
    let (_, body) = look_up(&mut world, leader, "/b");
    assert!(matches!(meta::Answer::decode(&body), Ok(meta::Answer::Entry(_))));
}

/// Looks a path up as the memcached port does: kind, version and JSON.
fn look_up_json(world: &mut World, id: NodeId, path: &str) -> (shard::MetadataKind, u64, Vec<u8>) {
    let ticket = Ticket { connection: 1, request: 78, kind: 2 };
    world.shard(id).handle_metadata(ticket, GROUP(), ROOT, path);
    for _ in 0..10_000 {
        world.turn();
        if let Some((status, body)) = world.answers.remove(&78) {
            let answer = shard::MetadataAnswer::parse(&body).expect("it is one");
            assert_eq!(status, Status::Ok);
            return (answer.kind, answer.as_of.0, answer.json.to_vec());
        }
    }
    panic!("a read was never answered");
}

/// What another core of `id` reads now under the key that `put` puts together.
fn read_key(world: &mut World, id: NodeId, put: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>, &'static str> {
    let (now, reader) = (world.now, world.shard(id).cache_reader().expect("it has a cache"));
    let (mut wanted, mut buffer) = (Vec::new(), reader.value_buffer());
    put(&mut wanted);
    match reader.get(GROUP().0 as usize, &wanted, Rule::Lease(now), &mut buffer) {
        Read::Hit(hit) => Ok(hit.value.to_vec()),
        Read::Miss => Err("miss"),
        Read::NotHere => Err("not here"),
    }
}

/// Asks the shard of `id` for an account.
fn ask(world: &mut World, id: NodeId, acct: Acct, query: &meta::Query) -> meta::Answer {
    let mut bytes = Vec::new();
    query.encode(&mut bytes);
    world.shard(id).handle_query(Ticket { connection: 1, request: 77, kind: 2 }, GROUP(), acct, ROOT, &bytes);
    for _ in 0..10_000 {
        world.turn();
        if let Some((status, body)) = world.answers.remove(&77) {
            assert_eq!(status, Status::Ok);
            return meta::Answer::decode(&body).expect("it is an answer");
        }
    }
    panic!("a read was never answered");
}

#[test]
fn answers_by_node_and_heads_are_cached_and_over_with_the_next_change() {
    let mut world = cached_world(14);
    let session = begin(&mut world);
    assert!(world.command(100, header(session, 1, ROOT), &mkdir("/a")).is_ok());
    world.run(Span::from_ms(200));
    let leader = world.leader(GROUP()).expect("somebody leads");
    let by_path = meta::Query::Lookup(meta::What::At(meta::At::path("/a")));
    let meta::Answer::Entry(entry) = ask(&mut world, leader, Acct(1), &by_path) else { panic!("it is there") };
    let by_node = meta::Query::Lookup(meta::What::At(meta::At { node: entry.meta.node, path: String::new() }));
    for query in [by_node, meta::Query::Head] {
        let key = |out: &mut Vec<u8>| assert!(shard::cache_keys::put_query_key(ROOT, &query, out));
        assert_eq!(read_key(&mut world, leader, key), Err("miss"), "{query:?}");
        let answer = ask(&mut world, leader, Acct(1), &query);
        let cached = read_key(&mut world, leader, key).expect("it is cached");
        assert_eq!(meta::Answer::decode(&cached), Ok(answer.clone()));
        let before = world.shard(leader).cache_reads().hits;
        assert_eq!(ask(&mut world, leader, Acct(1), &query), answer);
        assert!(world.shard(leader).cache_reads().hits > before, "the shard answers from it too");
        let sequence = if query == meta::Query::Head { 3 } else { 2 };
        let path = format!("/{sequence}");
        assert!(world.command(100 + sequence, header(session, sequence, ROOT), &mkdir(&path)).is_ok());
        assert_eq!(read_key(&mut world, leader, key), Err("miss"), "{query:?}");
    }
}

#[test]
fn who_may_read_is_cached_and_who_may_not_is_told_nothing() {
    let mut world = cached_world(15);
    let session = begin(&mut world);
    assert!(world.command(100, header(session, 1, ROOT), &mkdir("/a")).is_ok());
    world.run(Span::from_ms(200));
    let leader = world.leader(GROUP()).expect("somebody leads");
    let query = meta::Query::Lookup(meta::What::At(meta::At::path("/a")));
    let rights = |out: &mut Vec<u8>| shard::cache_keys::put_rights_key(ROOT, out);
    for _ in 0..3 {
        assert!(matches!(ask(&mut world, leader, Acct(1), &query), meta::Answer::Entry(_)));
        assert_eq!(ask(&mut world, leader, Acct(2), &query), meta::Answer::NoAccess);
    }
    let cached = read_key(&mut world, leader, rights).expect("it is cached");
    let owner = meta::Rights { owner: Acct(1), is_shared: false };
    assert_eq!(shard::cache_keys::rights_of(&cached), Some(owner));
    // The row that has them is written with each change, and they stay as long as it says the same.
    assert!(world.command(101, header(session, 2, ROOT), &mkdir("/b")).is_ok());
    assert!(read_key(&mut world, leader, rights).is_ok());
    let member = |out: &mut Vec<u8>| shard::cache_keys::put_member_key(ROOT, Acct(2), out);
    assert_eq!(read_key(&mut world, leader, member), Err("miss"));
}

#[test]
fn the_json_of_a_path_is_cached_beside_its_answer_and_over_with_it() {
    let mut world = cached_world(13);
    let session = begin(&mut world);
    assert!(world.command(100, header(session, 1, ROOT), &mkdir("/a folder")).is_ok());
    world.run(Span::from_ms(200));
    let leader = world.leader(GROUP()).expect("somebody leads");
    let read_json = |world: &mut World, path| read_table(world, leader, key::PATH | key::JSON, path);
    assert_eq!(read_json(&mut world, "/a folder"), Err("miss"));
    look_up(&mut world, leader, "/a folder");
    assert_eq!(read_json(&mut world, "/a folder"), Err("miss"), "each form is filled by those who ask for it");
    let (kind, _, json) = look_up_json(&mut world, leader, "/A folder");
    assert!(kind == shard::MetadataKind::Folder && json.starts_with(b"{\".tag\":\"folder\""));
    assert_eq!(read_json(&mut world, "/a folder"), Ok((Kind::Folder, json)));
    assert!(read(&mut world, leader, "/a folder").is_ok(), "the other form stays");

    assert_eq!(look_up_json(&mut world, leader, "/b").0, shard::MetadataKind::Absent);
    assert_eq!(read_json(&mut world, "/b"), Ok((Kind::Absent, Vec::new())));
    assert!(world.command(101, header(session, 2, ROOT), &mkdir("/b")).is_ok());
    for path in ["/b", "/a folder"] {
        assert_eq!(read_json(&mut world, path), Err("miss"), "{path}: a folder came, so all of the namespace is over");
    }
    let (other, before) = (ROOT.0 + 4_000, world.shard(leader).cache_stats());
    let ticket = Ticket { connection: 1, request: 77, kind: 2 };
    world.shard(leader).handle_metadata(ticket, base::group_of(base::Nsid(other), GROUPS), base::Nsid(other), "/x");
    world.run(Span::from_ms(200));
    assert_eq!(world.shard(leader).cache_stats(), before, "of a namespace that does not exist nothing is cached");
}

#[test]
fn nobody_reads_at_a_follower_or_without_a_lease() {
    let mut world = cached_world(12);
    let session = begin(&mut world);
    assert!(world.command(100, header(session, 1, ROOT), &mkdir("/a")).is_ok());
    world.run(Span::from_ms(200));
    let leader = world.leader(GROUP()).expect("somebody leads");
    look_up(&mut world, leader, "/a");
    let follower = world.nodes.keys().copied().find(|id| *id != leader).expect("there are three");
    assert_eq!(read(&mut world, follower, "/a"), Err("not here"));
    let reader = world.shard(follower).cache_reader().expect("it has a cache");
    assert_eq!(reader.leader_hint(GROUP().0 as usize), Some(leader));
    assert!(read(&mut world, leader, "/a").is_ok());
    let now = world.now;
    world.shard(leader).handle_clock_jump(now);
    assert_eq!(read(&mut world, leader, "/a"), Err("not here"), "before anything else happens");
    assert_eq!(look_up(&mut world, leader, "/a").0, Status::Ok, "by a round");
    world.run(Span::from_ms(200));
    assert!(read(&mut world, leader, "/a").is_ok(), "with a new lease");
    let now = world.now;
    world.shard(leader).handle_transfer(Ticket { connection: 1, request: 80, kind: 2 }, GROUP(), follower, now);
    world.run(Span::from_ms(1000));
    assert_eq!(world.leader(GROUP()), Some(follower));
    assert_eq!(read(&mut world, leader, "/a"), Err("not here"));
    assert_eq!(look_up(&mut world, follower, "/a").0, Status::Ok);
    assert!(read(&mut world, follower, "/a").is_ok());
}
