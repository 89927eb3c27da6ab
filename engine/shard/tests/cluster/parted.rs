//! Replicas compare the hashes of their states: those in step never differ, and one that applied otherwise stops.

use base::GroupId;
use shard::Wrong;

use super::*;

const GROUP: fn() -> GroupId = || base::group_of(ROOT, GROUPS);

/// A release that takes Mkdir for a command of a kind that it has never heard of: its state is another one.
fn other_release(kind: u8) -> Option<u32> {
    if kind == 3 { None } else { meta::feature::level_of(kind) }
}

fn delete(path: &str) -> Command {
    Command::Delete(meta::Delete { at: meta::At::path(path), ..meta::Delete::default() })
}

impl World {
    /// `wrong` is restarted with that release.
    fn make_wrong(&mut self, wrong: NodeId) {
        self.nodes.get_mut(&wrong).expect("the node is there").release =
            Release { level_of: other_release, ..Release::THIS };
        self.crash(wrong);
        self.run(Span::from_ms(2000));
    }

    fn alarm(&mut self, id: NodeId) -> Option<raft::Alarm> {
        let status = self.shard(id).status();
        status.into_iter().find(|status| status.group == GROUP()).and_then(|status| status.alarm)
    }

    pub(super) fn lead(&mut self, id: NodeId) {
        for _ in 0..100 {
            match self.leader(GROUP()) {
                Some(leader) if leader == id => return,
                Some(leader) => {
                    let (ticket, now) = (Ticket { connection: 1, request: 5, kind: 8 }, self.now);
                    self.shard(leader).handle_transfer(ticket, GROUP(), id, now);
                }
                None => {}
            }
            self.run(Span::from_ms(50));
        }
        panic!("node {id} does not lead");
    }

    /// Neither commands nor reads of any kind are served.
    fn assert_silent(&mut self, id: NodeId) {
        let mut query = Vec::new();
        meta::Query::Head.encode(&mut query);
        let mut command = Vec::new();
        meta::encode_command(&header(SessionId(0), 0, ROOT), &mkdir("/no"), &mut command);
        let ticket = |request| Ticket { connection: 1, request, kind: 2 };
        let shard = self.shard(id);
        shard.handle_command(ticket(11), GROUP(), &command);
        shard.handle_query(ticket(12), GROUP(), Acct(1), ROOT, &query);
        shard.handle_follower_query(ticket(13), GROUP(), Acct(1), ROOT, &query);
        self.run(Span::from_ms(1500));
        for request in 11..14 {
            let answer = self.answers.remove(&request);
            assert!(matches!(answer, Some((Status::NotLeader(_), _))), "request {request}: {answer:?}");
        }
    }
}

#[test]
fn replicas_in_step_tell_their_states_and_find_no_difference_across_crashes_losses_and_snapshots() {
    for seed in 0..4 {
        let mut world = World::new(seed, if seed % 2 == 0 { 4 } else { 10_000 });
        let session = begin(&mut world);
        world.loss = 20;
        for at in 0..60 {
            if at % 9 == 4 {
                let victim = NodeId(1 + world.prng.below(3));
                world.shard(victim).checkpoint_soon();
                world.run(Span::from_ms(20));
                world.crash(victim);
            }
            let outcome = world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
            assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
        }
        world.loss = 0;
        world.ensure_same(&[1, 2, 3]);
        assert!(world.told > 60, "seed {seed}: {} told", world.told);
        assert_eq!(world.differences, [], "seed {seed}");
    }
}

#[test]
fn a_replica_that_applied_otherwise_stops_and_stays_away_after_a_restart() {
    for (seed, leads) in [(2, false), (4, true)] {
        let mut world = World::new(seed, 10_000);
        let session = begin(&mut world);
        let wrong = NodeId(1 + seed % 3);
        world.make_wrong(wrong);
        // It applies two otherwise as a follower before anybody compares.
        world.nodes.values_mut().for_each(|node| node.hash_every = 1_000_000);
        (1..=3).for_each(|id| world.crash(NodeId(id)));
        world.run(Span::from_ms(2500));
        world.lead(NodeId(1 + wrong.0 % 3));
        for at in 0..2 {
            world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
        }
        world.run(Span::from_ms(300));
        assert_eq!(world.differences, [], "nothing was compared");
        // What a start applies anew is compared too: beyond that.
        world.nodes.values_mut().for_each(|node| node.hash_every = 48);
        (1..=3).for_each(|id| world.crash(NodeId(id)));
        world.run(Span::from_ms(2500));
        if leads {
            world.lead(wrong);
        }

        let mut at = 2;
        while world.alarm(wrong).is_none() && at < 80 {
            let outcome = world.command(100 + at, header(session, at + 1, ROOT), &delete("/nobody"));
            assert_eq!(outcome, Outcome::NotFound);
            world.run(Span::from_ms(20));
            at += 1;
        }
        assert!(matches!(world.alarm(wrong), Some(raft::Alarm::StateHash(_))), "seed {seed}");
        for id in (1..=3).map(NodeId).filter(|id| *id != wrong) {
            assert_eq!(world.alarm(id), None, "seed {seed}");
            let seen: Vec<_> = world.differences.iter().filter(|(by, _)| *by == id).collect();
            assert!(seen.iter().all(|(_, found)| (found.peer, found.group) == (wrong, GROUP())), "{seen:?}");
            assert_eq!(seen.last().map(|(_, found)| found.wrong), Some(Wrong::There), "seed {seed}, node {id}");
            assert!(seen.len() <= 2, "told once, and again when it was known who: {seen:?}");
        }
        let own = world.differences.iter().filter(|(by, found)| *by == wrong && found.wrong == Wrong::Here);
        assert_eq!(own.count(), 1, "seed {seed}");
        world.assert_silent(wrong);

        // The others go on, with one replica less; a restart changes nothing.
        assert!(world.command(200, header(session, at + 1, ROOT), &mkdir("/after")).is_ok(), "seed {seed}");
        world.crash(wrong);
        world.run(Span::from_ms(3000));
        let health = world.shard(wrong).status()[GROUP().0 as usize].health;
        assert_eq!(health, raft::Health::Quarantined, "seed {seed}");
        world.assert_silent(wrong);
        assert!(world.command(201, header(session, at + 2, ROOT), &mkdir("/later")).is_ok(), "seed {seed}");
        assert_ne!(world.leader(GROUP()), Some(wrong));
    }
}

#[test]
fn without_a_majority_both_alarm_and_go_on_until_a_third_decides() {
    let mut world = World::new(9, 10_000);
    let session = begin(&mut world);
    let wrong = NodeId(3);
    world.make_wrong(wrong);
    world.lead(NodeId(1));
    let (disk, store) = world.kill(NodeId(2));
    for at in 0..20 {
        world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
    }
    world.run(Span::from_ms(500));
    let told: Vec<_> = world.differences.iter().map(|(by, found)| (by.0, found.peer.0, found.wrong)).collect();
    assert!(told.contains(&(1, 3, Wrong::Unknown)) && told.contains(&(3, 1, Wrong::Unknown)), "{told:?}");
    assert_eq!(told.len(), 2, "each is told once: {told:?}");
    assert_eq!((world.alarm(NodeId(1)), world.alarm(wrong)), (None, None));
    assert_eq!(world.shard(NodeId(1)).status()[GROUP().0 as usize].differs_from, Some(wrong));

    let now = world.now;
    world.nodes.get_mut(&NodeId(2)).expect("the node is there").restart(disk, store, now);
    world.link_all();
    for at in 20..32 {
        world.command(100 + at, header(session, at + 1, ROOT), &delete("/nobody"));
        world.run(Span::from_ms(50));
    }
    assert!(matches!(world.alarm(wrong), Some(raft::Alarm::StateHash(_))));
    assert_eq!((world.alarm(NodeId(1)), world.alarm(NodeId(2))), (None, None));
    world.ensure_same(&[1, 2]);
}

#[test]
fn what_a_stranger_tells_or_a_learner_of_a_wrong_group_is_not_compared() {
    let mut world = World::new(4, 10_000);
    begin(&mut world);
    for index in (1..100).map(LogIndex) {
        world.shard(NodeId(1)).handle_state_hash(NodeId(9), GROUP(), index, 1);
        world.shard(NodeId(1)).handle_state_hash(NodeId(2), GroupId(77), index, 1);
    }
    world.run(Span::from_ms(100));
    assert_eq!(world.differences, []);
}
