//! A node that is voted out of a group drops its rows, keeps what it promised, and comes back by a snapshot.

use raft::ConfigChange;

use super::*;

const GROUP: fn() -> GroupId = || base::group_of(ROOT, GROUPS);

fn fill(world: &mut World, session: SessionId, (from, until): (u64, u64)) {
    for at in from..until {
        let outcome = world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
        assert!(outcome.is_ok(), "{outcome:?}");
        if at % 20 == 0 {
            world.nodes.values_mut().filter_map(|node| node.shard.as_mut()).for_each(Shard::checkpoint_soon);
        }
    }
}

/// Asks whoever leads until it is so.
fn change(world: &mut World, change: &ConfigChange, is_done: impl Fn(&Config) -> bool) {
    for request in 0..40 {
        let Some(leader) = world.leader(GROUP()) else {
            world.run(Span::from_ms(200));
            continue;
        };
        if is_done(world.shard(leader).raft(GROUP()).unwrap().config()) {
            return world.run(Span::from_ms(300));
        }
        let (now, ticket) = (world.now, Ticket { connection: 1, request: 900_000 + request, kind: 1 });
        world.shard(leader).handle_change_members(ticket, GROUP(), change, now);
        world.run(Span::from_ms(200));
    }
    panic!("the members did not become what was asked for: {change:?}");
}

fn remove(world: &mut World, id: NodeId) {
    let out = ConfigChange { remove: vec![id], ..ConfigChange::default() };
    change(world, &out, |config| !config.is_member(id) && !config.is_joint());
}

fn add(world: &mut World, id: NodeId) {
    let voter = ConfigChange { add_voters: vec![id], ..ConfigChange::default() };
    change(world, &voter, |config| config.is_voter(id) && !config.is_joint());
}

fn rows(world: &mut World, id: NodeId) -> usize {
    world.shard(id).store().rows(GROUP()).len()
}

fn is_lost(world: &mut World, id: NodeId) -> bool {
    world.shard(id).status().iter().any(|status| status.group == GROUP() && status.is_state_lost)
}

fn follower(world: &mut World) -> NodeId {
    let leader = world.leader(GROUP()).expect("somebody leads");
    world.nodes.keys().copied().find(|id| *id != leader).unwrap()
}

/// Term, vote, and the last entry with its term.
fn promised(world: &mut World, id: NodeId) -> (base::Term, Option<NodeId>, LogIndex, Option<base::Term>) {
    let shard = world.shard(id);
    let last = shard.log().last_index(GROUP());
    let raft = shard.raft(GROUP()).unwrap();
    (raft.term(), raft.vote(), last, shard.log().term(GROUP(), last))
}

/// Sixty folders, and a follower that was voted out and dropped them.
fn one_is_out(seed: u64) -> (World, SessionId, NodeId) {
    let mut world = World::new(seed, 8);
    let session = begin(&mut world);
    fill(&mut world, session, (0, 60));
    let out = follower(&mut world);
    remove(&mut world, out);
    world.run(Span::from_ms(3_000));
    (world, session, out)
}

#[test]
fn who_is_voted_out_drops_its_rows_and_log_and_forgets_no_vote() {
    for seed in 60..63 {
        let mut world = World::new(seed, 8);
        let session = begin(&mut world);
        fill(&mut world, session, (0, 60));
        let out = follower(&mut world);
        let other = (0..GROUPS).map(GroupId).find(|group| *group != GROUP()).unwrap();
        let applied = world.shard(out).applied_index(other);
        let before = promised(&mut world, out);
        assert!(rows(&mut world, out) > 60);
        remove(&mut world, out);
        world.run(Span::from_ms(3_000));
        assert_eq!((rows(&mut world, out), world.shard(out).applied_index(GROUP())), (0, LogIndex(0)), "seed {seed}");
        assert!(!is_lost(&mut world, out), "seed {seed}: nothing that somebody should look after");
        assert!(world.shard(out).applied_index(other) >= applied, "seed {seed}: other groups are not touched");
        let after = promised(&mut world, out);
        assert!(after.0 >= before.0 && after.2 >= before.2 && after.3 >= before.3, "seed {seed}: {before:?} {after:?}");
        assert!(after.0 > before.0 || after.1 == before.1, "seed {seed}: {before:?} {after:?}");
        // The log is cut behind what was applied once a flush has come, here of another group's rows.
        let elsewhere = (1..).map(|more| Nsid(ROOT.0 + more)).find(|nsid| base::group_of(*nsid, GROUPS) == other);
        world.command(7_000, header(session, 1, elsewhere.unwrap()), &mkdir("/elsewhere"));
        world.run(Span::from_ms(500));
        let (first, last) = (world.shard(out).log().first_index(GROUP()), after.2);
        assert!(last.0 - first.0 < 8, "seed {seed}: the log holds {first} to {last}");
        fill(&mut world, session, (60, 70));
        let leader = world.leader(GROUP()).unwrap();
        assert_eq!(listing(&mut world, leader).len(), 70);
        // What it promised outlives a stop, and nothing comes back by itself.
        world.crash(out);
        world.run(Span::from_ms(3_000));
        let again = promised(&mut world, out);
        assert!(again.0 >= after.0 && again.2 >= after.2 && again.3 >= after.3, "seed {seed}: {after:?} {again:?}");
        assert_eq!(rows(&mut world, out), 0, "seed {seed}");
    }
}

#[test]
fn who_is_taken_in_again_gets_a_state_by_snapshot() {
    for (seed, restarts) in [(64, false), (65, true)] {
        let (mut world, session, out) = one_is_out(seed);
        assert_eq!(rows(&mut world, out), 0);
        fill(&mut world, session, (60, 80));
        if restarts {
            world.crash(out);
            world.run(Span::from_ms(3_000));
        }
        world.parts.clear();
        add(&mut world, out);
        world.ensure_same(&[1, 2, 3]);
        assert!(!world.parts.is_empty(), "seed {seed}: its log does not reach back, so it needs a snapshot");
        assert!(!is_lost(&mut world, out), "seed {seed}");
        let count = rows(&mut world, out);
        assert!(count > 80, "seed {seed}: {count}");
        let outcome = world.command(5_000, header(session, 81, ROOT), &mkdir("/after"));
        assert!(outcome.is_ok(), "{outcome:?}");
        world.ensure_same(&[1, 2, 3]);
    }
}

/// A leader that removes itself leads until that is committed, and has its rows until then.
#[test]
fn a_leader_that_is_voted_out_hands_over_and_drops_its_rows() {
    let mut world = World::new(66, 8);
    let session = begin(&mut world);
    fill(&mut world, session, (0, 40));
    let out = world.leader(GROUP()).unwrap();
    remove(&mut world, out);
    world.run(Span::from_ms(3_000));
    assert_ne!(world.leader(GROUP()), Some(out));
    assert_eq!(rows(&mut world, out), 0);
    fill(&mut world, session, (40, 50));
    let leader = world.leader(GROUP()).unwrap();
    assert_eq!(listing(&mut world, leader).len(), 50);
}

/// Two that were left behind must not elect each other, whatever one of them has dropped: its last entry still counts.
#[test]
fn a_node_that_is_out_gives_no_vote_to_a_shorter_log() {
    let mut world = World::new(67, 8);
    let session = begin(&mut world);
    fill(&mut world, session, (0, 40));
    let out = follower(&mut world);
    remove(&mut world, out);
    world.run(Span::from_ms(3_000));
    let (term, _, last, last_term) = promised(&mut world, out);
    let from = world.nodes.keys().copied().find(|id| *id != out).unwrap();
    let ask = raft::Body::RequestVote {
        term: base::Term(term.0 + 5),
        last_index: last.prev(),
        last_term: last_term.unwrap(),
        incarnation: world.nodes[&from].incarnation,
        forced: true,
    };
    let now = world.now;
    let none = Records::check_entries(&[], 0, GROUP(), LogIndex(1)).unwrap();
    world.shard(out).handle_peer(from, GROUP(), ask, none, now);
    world.turn();
    let (_, vote, ..) = promised(&mut world, out);
    assert_ne!(vote, Some(from), "the log that asked ends before the own one");
}

/// What `id` says to others of the group in one turn.
fn said_in_a_turn(world: &mut World, id: NodeId) -> Vec<(NodeId, raft::Body)> {
    world.mail.retain(|mail| mail.from != id);
    world.turn();
    let said = world.mail.iter().filter(|mail| mail.from == id).filter_map(|mail| match mail.message {
        PeerOut::Raft { to, group, body } if group == GROUP() => Some((to, body)),
        _ => None,
    });
    said.collect()
}

/// It is counted for what it acks, and the state that its log begins behind is gone here: the others that have it could go.
#[test]
fn who_dropped_its_rows_acks_nothing_before_it_has_a_state() {
    for (seed, restarts) in [(68, false), (69, true)] {
        let (mut world, session, out) = one_is_out(seed);
        fill(&mut world, session, (60, 61));
        let other = (0..GROUPS).map(GroupId).find(|group| *group != GROUP()).unwrap();
        let elsewhere = (1..).map(|more| Nsid(ROOT.0 + more)).find(|nsid| base::group_of(*nsid, GROUPS) == other);
        world.command(7_000, header(session, 1, elsewhere.unwrap()), &mkdir("/elsewhere"));
        world.run(Span::from_ms(500));
        if restarts {
            world.crash(out);
            world.run(Span::from_ms(1_000));
        }
        let from = world.leader(GROUP()).unwrap();
        let term = world.shard(from).raft(GROUP()).unwrap().term();
        let (_, _, last, last_term) = promised(&mut world, out);
        assert!(world.shard(out).log().first_index(GROUP()) > LogIndex(1), "seed {seed}: its log is cut");
        let (mut acks, mut asks) = (0, 0);
        for _ in 0..200 {
            let (commit_index, read_position, send_mono) = (LogIndex(0), 0, world.now);
            let beat = raft::Body::Heartbeat { term, commit_index, read_position, quiesce: false, send_mono };
            let append = raft::Body::AppendEntries {
                term,
                prev_index: last,
                prev_term: last_term.unwrap(),
                prev_crc: 0,
                commit_index,
                read_position,
                count: 0,
                send_mono,
            };
            for body in [beat, append] {
                let none = Records::check_entries(&[], 0, GROUP(), LogIndex(1)).unwrap();
                let now = world.now;
                world.shard(out).handle_peer(from, GROUP(), body, none, now);
            }
            for (to, body) in said_in_a_turn(&mut world, out) {
                acks += u32::from(matches!(body, raft::Body::AppendResp { rejected: false, .. }));
                let is_ask = matches!(body, raft::Body::EntryFetch { first_index: LogIndex(0), .. });
                asks += u32::from(is_ask && to == from);
            }
        }
        assert_eq!((acks, asks), (0, 1), "seed {seed}: acks, and asks for a state");
    }
}

/// The only voter commits nothing before the new one acks, so the state that it sends cannot name it yet.
#[test]
fn a_state_of_before_it_was_named_again_is_not_dropped() {
    let mut world = World::new(70, 8);
    let session = begin(&mut world);
    fill(&mut world, session, (0, 60));
    let leader = world.leader(GROUP()).unwrap();
    let others: Vec<NodeId> = world.nodes.keys().copied().filter(|id| *id != leader).collect();
    others.iter().for_each(|id| remove(&mut world, *id));
    world.run(Span::from_ms(3_000));
    assert_eq!((rows(&mut world, others[0]), rows(&mut world, others[1])), (0, 0));
    fill(&mut world, session, (60, 80));
    add(&mut world, others[0]);
    world.ensure_same(&[leader.0, others[0].0]);
    assert!(!is_lost(&mut world, others[0]));
    assert!(rows(&mut world, others[0]) > 80);
    // And it stays, with a leader that rests.
    world.run(Span::from_ms(5_000));
    assert!(rows(&mut world, others[0]) > 80);
}
