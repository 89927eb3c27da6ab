//! Groups that nobody uses: when they rest, and what wakes them (docs/design/raft.md, "Quiescence"; F4, E5).

use base::record::Records;
use base::{LogIndex, Mono, NodeId, Term};
use raft::{Body, Input, Outcome};

use crate::common::member::Member;
use crate::common::voters;

/// A leader of three whose no-op is committed, applied and known, and whose followers answer until `ms` have passed.
fn idle_leader(ms: u64) -> Member {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 1);
    leader.receive_ack(3, 1);
    leader.step(Input::Applied { index: LogIndex(1) });
    leader.drain();
    beats(&mut leader, ms);
    leader
}

/// Heartbeats that both followers ack, for so long.
fn beats(leader: &mut Member, ms: u64) {
    for _ in 0..ms / 50 {
        leader.wait(50);
        for peer in [2, 3] {
            leader.raft.heartbeat(NodeId(peer), leader.now);
            leader.receive_heartbeat_ack(peer, 0);
        }
        leader.drain();
    }
}

fn is_asking(leader: &mut Member, peer: u64) -> Option<bool> {
    match leader.raft.heartbeat(NodeId(peer), leader.now) {
        Some(Body::Heartbeat { quiesce, .. }) => Some(quiesce),
        _ => None,
    }
}

fn agree(leader: &mut Member, peer: u64) {
    let (term, echo_mono) = (leader.raft.term(), leader.now);
    leader.receive(peer, Body::HeartbeatAck { term, read_position: 0, quiesce: true, echo_mono });
}

fn resting_leader() -> Member {
    let mut leader = idle_leader(5_000);
    assert_eq!((is_asking(&mut leader, 2), is_asking(&mut leader, 3)), (Some(true), Some(true)));
    agree(&mut leader, 2);
    agree(&mut leader, 3);
    assert!(leader.raft.is_resting());
    leader
}

/// A follower of node 2 in term 3 that holds and has committed everything.
fn follower() -> Member {
    let mut follower = Member::new(1, voters(&[1, 2, 3]), &[1, 3]);
    follower.receive_heartbeat(2, 3, 2);
    follower.drain();
    follower.step(Input::Applied { index: LogIndex(2) });
    follower.drain();
    follower
}

fn ask(follower: &mut Member, commit: u64) -> Option<bool> {
    let body = Body::Heartbeat {
        term: Term(3),
        commit_index: LogIndex(commit),
        read_position: 0,
        quiesce: true,
        send_mono: follower.now,
    };
    follower.receive(2, body);
    follower.sends().iter().find_map(|message| match message.body {
        Body::HeartbeatAck { quiesce, .. } => Some(quiesce),
        _ => None,
    })
}

#[test]
fn a_leader_asks_after_five_idle_seconds_and_not_before() {
    let mut leader = idle_leader(4_900);
    assert_eq!(is_asking(&mut leader, 2), Some(false));
    beats(&mut leader, 100);
    assert_eq!(is_asking(&mut leader, 2), Some(true));
    for wish in 0..2 {
        let mut leader = idle_leader(4_900);
        let now = leader.now;
        if wish == 0 {
            leader.propose(b"x")
        } else {
            leader.step(Input::Read { now })
        };
        leader.drain();
        beats(&mut leader, 4_900);
        assert_ne!(is_asking(&mut leader, 2), Some(true));
    }
}

#[test]
fn it_lists_nobody_once_all_have_agreed_and_waits_for_nothing() {
    let mut leader = idle_leader(5_000);
    is_asking(&mut leader, 2);
    agree(&mut leader, 2);
    assert!(leader.raft.rests_with(NodeId(2)) && !leader.raft.is_resting());
    assert_eq!((is_asking(&mut leader, 2), is_asking(&mut leader, 3)), (None, Some(true)));
    agree(&mut leader, 3);
    assert!(leader.raft.is_resting());
    assert_eq!(is_asking(&mut leader, 3), None);
    assert_eq!(leader.raft.next_deadline(), Mono::MAX);
    leader.wait(60_000);
    leader.step(Input::Tick { now: leader.now });
    assert!(leader.raft.is_leader(), "who rests is not missed");
}

#[test]
fn an_answer_to_an_older_question_is_none() {
    let mut leader = idle_leader(5_000);
    is_asking(&mut leader, 2);
    let term = leader.raft.term();
    let old = Body::HeartbeatAck { term, read_position: 0, quiesce: true, echo_mono: Mono(leader.now.0 - 1) };
    leader.receive(2, old);
    assert!(!leader.raft.rests_with(NodeId(2)));
}

#[test]
fn what_was_sent_before_the_agreement_and_comes_late_wakes_nobody() {
    let mut leader = resting_leader();
    let term = leader.raft.term();
    let late = Body::HeartbeatAck { term, read_position: 0, quiesce: false, echo_mono: Mono(leader.now.0 - 1) };
    leader.receive(2, late);
    assert!(leader.raft.is_resting());
    // Of no message: it woke by itself, and says so.
    leader.receive(2, Body::HeartbeatAck { term, read_position: 0, quiesce: false, echo_mono: Mono(0) });
    assert!(!leader.raft.is_resting());

    let mut follower = follower();
    assert_eq!(ask(&mut follower, 2), Some(true));
    let asked = follower.now;
    let item = |send_mono| Body::Heartbeat {
        term: Term(3),
        commit_index: LogIndex(2),
        read_position: 0,
        quiesce: false,
        send_mono,
    };
    follower.wait(300);
    follower.receive(2, item(Mono(asked.0 - 1)));
    follower.receive(3, Body::PreVoteResp { term: Term(2), rejected: true, incarnation: 1 });
    assert_eq!((follower.raft.is_resting(), follower.sends().len()), (true, 0), "as good as lost");
    follower.receive(2, item(Mono(asked.0 + 1)));
    assert!(!follower.raft.is_resting());
}

#[test]
fn nobody_rests_while_a_member_lags_or_is_silent() {
    let mut lagging = idle_leader(0);
    lagging.propose(b"x");
    lagging.drain();
    lagging.sync();
    lagging.receive_ack(2, 2);
    lagging.step(Input::Applied { index: LogIndex(2) });
    beats(&mut lagging, 6_000);
    assert_eq!(is_asking(&mut lagging, 2), Some(false), "node 3 lacks an entry");

    let mut silent = idle_leader(4_800);
    for _ in 0..12 {
        silent.wait(50);
        silent.raft.heartbeat(NodeId(2), silent.now);
        silent.receive_heartbeat_ack(2, 0);
    }
    assert_eq!(is_asking(&mut silent, 2), Some(false), "node 3 was not heard of for 600 ms");
}

#[test]
fn a_member_that_falls_silent_while_the_others_rest_wakes_them() {
    let mut leader = idle_leader(5_000);
    is_asking(&mut leader, 2);
    agree(&mut leader, 2);
    for _ in 0..11 {
        leader.wait(50);
        is_asking(&mut leader, 3);
    }
    assert_eq!(is_asking(&mut leader, 2), Some(false), "node 2 is needed again");
    assert!(!leader.raft.rests_with(NodeId(2)));
}

#[test]
fn a_follower_agrees_only_with_everything_committed_and_applied() {
    let mut ready = follower();
    assert_eq!(ask(&mut ready, 2), Some(true));
    assert!(ready.raft.is_resting() && ready.raft.rests_with(NodeId(2)));
    assert_eq!(ready.raft.next_deadline(), Mono::MAX);
    assert_eq!(ask(&mut ready, 2), Some(true), "asked again, when its ack was lost");

    let mut behind = Member::new(1, voters(&[1, 2, 3]), &[1, 3]);
    assert_eq!(ask(&mut behind, 1), Some(false), "its log is longer than what is committed");
    assert_eq!(ask(&mut behind, 2), Some(false), "its machine has not applied it");
    assert!(behind.raft.next_deadline() < Mono::MAX);
}

#[test]
fn a_follower_does_not_rest_while_a_read_waits_in_it() {
    let mut follower = follower();
    let joined = follower.step(Input::FollowerRead { now: follower.now });
    assert_eq!(joined, Outcome::FollowerReadJoined { position: 1 });
    // Its ask is lost, and the leader, which knows of no read, wants to rest.
    follower.drain();
    assert_eq!(ask(&mut follower, 2), Some(false));
    let repeat = follower.raft.next_deadline();
    assert!(repeat.since(follower.now).as_ms() <= 100, "it asks again, and gives up in the end");
    follower.wait(1_000);
    follower.step(Input::Tick { now: follower.now });
    assert_eq!(follower.drain().follower_reads_dropped, Some(1));
    assert_eq!(ask(&mut follower, 2), Some(true));
}

#[test]
fn both_sides_count_the_same_share() {
    let (mut leader, mut follower) = (resting_leader(), Member::new(2, voters(&[1, 2, 3]), &[]));
    let noop = follower_bytes(&leader);
    let body = Body::AppendEntries {
        term: leader.raft.term(),
        prev_index: LogIndex(0),
        prev_term: Term(0),
        prev_crc: 0,
        commit_index: LogIndex(1),
        read_position: 0,
        count: 1,
        send_mono: leader.now,
    };
    let (from, now) = (NodeId(1), follower.now);
    follower.step(Input::Message { from, body, entries: crate::common::records(&noop, 1, 1), now });
    follower.drain();
    follower.sync();
    follower.step(Input::Applied { index: LogIndex(1) });
    let body = Body::Heartbeat {
        term: leader.raft.term(),
        commit_index: LogIndex(1),
        read_position: 0,
        quiesce: true,
        send_mono: now,
    };
    follower.receive(1, body);
    assert!(follower.raft.is_resting());
    assert_eq!(leader.raft.rest_hash(), follower.raft.rest_hash());
    leader.propose(b"more");
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 2);
    assert_ne!(leader.raft.rest_hash(), follower.raft.rest_hash());
}

fn follower_bytes(leader: &Member) -> Vec<u8> {
    leader.log.bytes(1, 1)
}

#[test]
fn any_input_but_a_tick_wakes_a_leader() {
    let now = resting_leader().now;
    let pre_vote = Body::PreVote { term: Term(2), last_index: LogIndex(1), last_term: Term(1), incarnation: 1 };
    let message = |body| Input::Message { from: NodeId(2), body, entries: Records::EMPTY, now };
    let awake = Body::HeartbeatAck { term: Term(1), read_position: 0, quiesce: false, echo_mono: Mono(0) };
    let wakes = [
        Input::Propose { payload: b"x", now },
        Input::Read { now },
        Input::Transfer { target: NodeId(2), now },
        Input::PeerDown { peer: NodeId(3) },
        Input::PeerUp { peer: NodeId(3), incarnation: 9 },
        message(pre_vote),
        message(awake),
    ];
    for (which, input) in wakes.into_iter().enumerate() {
        let mut leader = resting_leader();
        leader.step(input);
        assert!(!leader.raft.is_resting() && !leader.raft.rests_with(NodeId(2)), "input {which}");
        assert!(leader.raft.next_deadline() < Mono::MAX);
        assert!(is_asking(&mut leader, 2).is_some(), "input {which}: the next list names the group");
    }
    let mut leader = resting_leader();
    for input in [Input::Tick { now }, Input::PeerDown { peer: NodeId(9) }, Input::Applied { index: LogIndex(1) }] {
        leader.step(input);
        assert!(leader.raft.is_resting());
    }
}

#[test]
fn the_first_read_of_a_group_at_rest_wakes_it_and_pays_a_round() {
    let mut leader = resting_leader();
    leader.wait(20_000);
    let Outcome::ReadJoined { position } = leader.step(Input::Read { now: leader.now }) else { panic!("it leads") };
    assert!(leader.drain().reads_confirmed.is_none(), "no lease outlives rest");
    leader.receive_heartbeat_ack(2, position);
    assert_eq!(leader.drain().reads_confirmed.map(|reads| reads.position), Some(position));
}

#[test]
fn a_follower_that_wakes_by_itself_tells_the_leader() {
    let mut follower = follower();
    ask(&mut follower, 2);
    follower.wait(10_000);
    let body = Body::PreVote { term: Term(4), last_index: LogIndex(2), last_term: Term(3), incarnation: 1 };
    let (now, input) =
        (follower.now, Input::Message { from: NodeId(3), body, entries: Records::EMPTY, now: follower.now });
    follower.raft.wake_for(&input, now, |_| Mono(now.0 - 20_000_000));
    follower.step(input);
    let sent = follower.sends();
    assert!(sent.iter().any(|m| m.to == NodeId(2) && matches!(m.body, Body::HeartbeatAck { quiesce: false, .. })));
    // Its leader's core was heard of 20 ms ago: it stays loyal.
    assert!(!sent.iter().any(|m| matches!(m.body, Body::PreVoteResp { rejected: false, .. })));
    assert!(!follower.raft.is_resting());
}

#[test]
fn woken_by_silence_it_waits_a_draw_from_now_and_its_promise_counts_from_the_last_frame() {
    let mut follower = follower();
    ask(&mut follower, 2);
    follower.wait(10_000);
    let (now, heard) = (follower.now, Mono(follower.now.0 - 500_000_000));
    follower.raft.wake(now, |_| heard);
    let deadline = follower.raft.next_deadline();
    assert!(now.0 + 500_000_000 <= deadline.0 && deadline.0 < now.0 + 1_000_000_000);
    let body = Body::PreVote { term: Term(4), last_index: LogIndex(2), last_term: Term(3), incarnation: 1 };
    follower.receive(3, body);
    let is_granted = |m: &raft::Outgoing| matches!(m.body, Body::PreVoteResp { rejected: false, .. });
    assert!(follower.sends().iter().any(is_granted), "nothing was promised since");
}

#[test]
fn without_the_setting_nobody_rests() {
    let mut leader = idle_leader(0);
    let mut boot = Member::boot_of(1, voters(&[1]), &[1]);
    boot.settings.quiesce_after = None;
    leader.raft = raft::Raft::new(boot, &leader.log);
    assert!(!leader.raft.is_resting());
    leader.step(Input::Campaign { now: leader.now });
    leader.drain();
    leader.sync();
    leader.drain();
    leader.sync();
    leader.step(Input::Applied { index: leader.raft.commit_index() });
    leader.wait(60_000);
    leader.step(Input::Tick { now: leader.now });
    assert!(leader.raft.is_leader() && !leader.raft.is_resting());
}

#[test]
fn a_slow_disk_draws_a_second_longer() {
    let mut follower = follower();
    follower.step(Input::DiskSlow { is_slow: true });
    for _ in 0..50 {
        follower.receive_heartbeat(2, 3, 2);
        let wait = follower.raft.next_deadline().since(follower.now).as_ms();
        assert!((1_500..2_000).contains(&wait), "{wait} ms");
    }
    follower.step(Input::DiskSlow { is_slow: false });
    follower.receive_heartbeat(2, 3, 2);
    assert!(follower.raft.next_deadline().since(follower.now).as_ms() < 1_000);
}

#[test]
fn who_stops_asks_the_best_follower_to_take_over() {
    let mut leader = idle_leader(0);
    leader.propose(b"x");
    leader.drain();
    leader.receive_ack(3, 2);
    leader.drain();
    assert_eq!(leader.raft.best_successor(|_| true), Some(NodeId(3)));
    assert_eq!(leader.raft.best_successor(|id| id != NodeId(3)), Some(NodeId(2)));
    let now = leader.now;
    assert!(leader.raft.hand_over_now(now, |_| true));
    assert!(!leader.raft.is_leader());
    let sent = leader.sends();
    assert!(sent.iter().any(|m| m.to == NodeId(3) && matches!(m.body, Body::TimeoutNow { .. })));
}

#[test]
fn a_lagging_disk_sends_no_heartbeats() {
    let mut leader = idle_leader(0);
    let now = leader.now;
    leader.step(Input::DiskLag { oldest_unsynced_us: 2_000_001, now });
    assert!(!leader.raft.is_leader());
    assert_eq!(leader.raft.heartbeat(NodeId(2), now), None);
    leader.step(Input::Campaign { now });
    assert_eq!(leader.raft.role(), raft::Role::Follower, "the gate is closed");
}
