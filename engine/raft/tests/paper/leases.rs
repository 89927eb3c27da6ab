//! Thesis 6.4.1: leases. Their start is when the leader sent; what ends them ends them before anything leaves.

use base::mono::Span;
use base::{LogIndex, Mono, NodeId, Term};
use raft::{Body, ConfigChange, Input, NO_HINT, Outcome, ReadPath, ReadsConfirmed, Role, Settings};

use crate::common::member::Member;
use crate::common::voters;

const LEASE_MS: u64 = 450;

/// A leader of these voters whose no-op is committed and applied; whose acks echo nothing, so it has no lease yet.
fn settled(ids: &[u64]) -> Member {
    settled_with(ids, Settings::default())
}

fn settled_with(ids: &[u64], settings: Settings) -> Member {
    let mut leader = Member::leader_with(1, voters(ids), &[], settings);
    leader.drain();
    leader.sync();
    for from in ids.iter().filter(|id| **id != 1) {
        ack(&mut leader, *from, 1, Mono(0));
    }
    leader.drain();
    leader.step(Input::Applied { index: LogIndex(1) });
    leader.drain();
    leader.wait(100);
    leader
}

/// An AppendResp that echoes this.
fn ack(leader: &mut Member, from: u64, index: u64, echo_mono: Mono) {
    let body = Body::AppendResp {
        term: leader.raft.term(),
        index: LogIndex(index),
        rejected: false,
        busy: false,
        faulty: false,
        hint_index: NO_HINT,
        hint_term: Term(0),
        read_position: 0,
        echo_mono,
    };
    leader.receive(from, body);
}

/// A HeartbeatAck that echoes this.
fn echo(leader: &mut Member, from: u64, echo_mono: Mono) {
    echo_at(leader, from, echo_mono, 0);
}

fn echo_at(leader: &mut Member, from: u64, echo_mono: Mono, read_position: u64) {
    let term = leader.raft.term();
    leader.receive(from, Body::HeartbeatAck { term, read_position, quiesce: false, echo_mono });
}

fn lease(leader: &Member) -> Option<Mono> {
    leader.raft.lease_until(leader.now)
}

fn end(start: Mono) -> Option<Mono> {
    Some(start + Span::from_ms(LEASE_MS))
}

fn ms(start: Mono, ms: u64) -> Mono {
    start + Span::from_ms(ms)
}

fn read(leader: &mut Member) -> Option<ReadPath> {
    let outcome = leader.step(Input::Read { now: leader.now });
    assert!(matches!(outcome, Outcome::ReadJoined { .. }), "{outcome:?}");
    leader.drain().reads_confirmed.map(|confirmed| confirmed.path)
}

#[test]
fn a_lease_begins_when_the_leader_sent_and_not_when_the_answer_came() {
    let mut leader = settled(&[1, 2, 3]);
    assert_eq!(lease(&leader), None, "nobody has echoed anything");
    let sent = leader.now;
    leader.wait(300);
    echo(&mut leader, 2, sent);
    assert_eq!(lease(&leader), end(sent));
    leader.wait(LEASE_MS - 300 - 1);
    assert_eq!(lease(&leader), end(sent));
    leader.wait(1);
    assert_eq!(lease(&leader), None, "its end is no part of it");
}

#[test]
fn the_quorum_th_newest_echo_counts() {
    let mut leader = settled(&[1, 2, 3, 4, 5]);
    let sent = leader.now;
    leader.wait(200);
    echo(&mut leader, 2, ms(sent, 200));
    assert_eq!(lease(&leader), None, "two of five");
    echo(&mut leader, 3, ms(sent, 50));
    assert_eq!(lease(&leader), end(ms(sent, 50)));
    echo(&mut leader, 4, ms(sent, 100));
    assert_eq!(lease(&leader), end(ms(sent, 100)));
}

#[test]
fn an_ack_that_comes_twice_or_late_extends_nothing() {
    let mut leader = settled(&[1, 2, 3]);
    let sent = leader.now;
    leader.wait(100);
    echo(&mut leader, 2, ms(sent, 60));
    assert_eq!(lease(&leader), end(ms(sent, 60)));
    leader.wait(100);
    echo(&mut leader, 2, ms(sent, 60));
    echo(&mut leader, 2, sent);
    echo(&mut leader, 3, sent);
    assert_eq!(lease(&leader), end(ms(sent, 60)));
}

#[test]
fn an_echo_of_nothing_or_of_the_future_proves_nothing() {
    let mut leader = settled(&[1, 2, 3]);
    let (now, elected) = (leader.now, leader.now - Span::from_ms(101));
    echo(&mut leader, 2, Mono(0));
    echo(&mut leader, 2, ms(now, 1));
    assert_eq!(lease(&leader), None);
    echo(&mut leader, 2, elected);
    assert_eq!(lease(&leader), None, "sent before it led");
    let term = Term(leader.raft.term().0 - 1);
    leader.receive(2, Body::HeartbeatAck { term, read_position: 0, quiesce: false, echo_mono: now });
    assert_eq!(lease(&leader), None, "an ack of another term");
    echo(&mut leader, 2, now);
    assert_eq!(lease(&leader), end(now));
}

#[test]
fn an_append_ack_renews_a_lease_too() {
    let mut leader = settled(&[1, 2, 3]);
    let sent = leader.now;
    ack(&mut leader, 3, 1, sent);
    assert_eq!(lease(&leader), end(sent));
}

#[test]
fn a_read_under_a_lease_is_confirmed_in_its_turn_and_asks_nobody() {
    let mut leader = settled(&[1, 2, 3]);
    let now = leader.now;
    echo(&mut leader, 2, now);
    leader.drain();
    assert_eq!(leader.step(Input::Read { now }), Outcome::ReadJoined { position: 1 });
    let effects = leader.drain();
    let confirmed = ReadsConfirmed { position: 1, read_index: LogIndex(1), path: ReadPath::Lease };
    assert_eq!(effects.reads_confirmed, Some(confirmed));
    assert_eq!(effects.send_now, []);
    leader.wait(LEASE_MS);
    assert_eq!(leader.step(Input::Read { now: leader.now }), Outcome::ReadJoined { position: 2 });
    let effects = leader.drain();
    assert_eq!((effects.reads_confirmed, effects.send_now.len()), (None, 2), "without a lease a round leaves");
    echo_at(&mut leader, 2, now, 2);
    let confirmed = ReadsConfirmed { position: 2, path: ReadPath::Round, ..confirmed };
    assert_eq!(leader.drain().reads_confirmed, Some(confirmed));
}

#[test]
fn there_is_no_lease_before_an_entry_of_the_own_term_is_committed() {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[1, 1]);
    leader.drain();
    let now = leader.now;
    echo(&mut leader, 2, now);
    assert_eq!((lease(&leader), read(&mut leader)), (None, None));
    leader.sync();
    leader.receive_ack(2, 3);
    assert_eq!(lease(&leader), end(now));
    assert!(!leader.raft.is_own_term_applied(), "nothing may be published yet");
    leader.step(Input::Applied { index: LogIndex(3) });
    assert!(leader.raft.is_own_term_applied());
    assert_eq!(leader.drain().reads_confirmed.map(|confirmed| confirmed.path), Some(ReadPath::Lease));
}

#[test]
fn a_group_of_one_has_a_lease_at_all_times_unless_there_are_none() {
    for (length, path) in [(Some(Span::from_ms(LEASE_MS)), ReadPath::Lease), (None, ReadPath::Round)] {
        let mut leader = settled_with(&[1], Settings { lease: length, ..Settings::default() });
        leader.wait(100_000);
        assert_eq!(lease(&leader), length.map(|length| leader.now + length));
        assert_eq!(read(&mut leader), Some(path));
    }
}

#[test]
fn a_lease_that_could_outlive_the_loyalty_of_voters_is_refused_at_the_start() {
    let loyal = Span::from_ms(500);
    let max = Settings::lease_max(loyal);
    assert!((489_000..489_200).contains(&max.as_us()), "{max:?}");
    assert_eq!(Settings::lease_for(loyal), Some(Span::from_ms(450)));
    assert_eq!(Settings::lease_for(Span::from_ms(12)), None, "the grain of the clock eats it");
    let start = |lease| {
        let settings = Settings { lease, ..Settings::default() };
        std::panic::catch_unwind(|| drop(Member::new_with(1, voters(&[1]), &[], settings))).is_ok()
    };
    assert!(start(None) && start(Some(max)));
    assert!(!start(Some(Span(max.0 + 1))));
}

#[test]
fn a_slow_disk_a_higher_term_and_a_lost_quorum_end_a_lease() {
    let leased = || {
        let mut leader = settled(&[1, 2, 3]);
        let now = leader.now;
        echo(&mut leader, 2, now);
        assert!(lease(&leader).is_some());
        leader
    };
    let mut leader = leased();
    leader.step(Input::DiskLag { oldest_unsynced_us: 2_000_001, now: leader.now });
    assert_eq!((lease(&leader), leader.raft.role()), (None, Role::Follower));
    let mut leader = leased();
    leader.receive(3, Body::HeartbeatAck { term: Term(9), read_position: 0, quiesce: false, echo_mono: Mono(0) });
    assert_eq!((lease(&leader), leader.raft.role()), (None, Role::Follower));
    let mut leader = leased();
    leader.wait(1100);
    leader.pass_deadline();
    assert_eq!((lease(&leader), leader.raft.role()), (None, Role::Follower));
}

#[test]
fn a_new_office_begins_without_the_echoes_of_the_last_one() {
    let mut leader = settled(&[1, 2, 3]);
    let now = leader.now;
    echo(&mut leader, 2, now);
    leader.receive_heartbeat(3, 2, 0);
    leader.drain();
    leader.sync();
    leader.wait(1100);
    leader.step(Input::Campaign { now: leader.now });
    leader.receive(2, Body::PreVoteResp { term: Term(3), rejected: false, incarnation: 7 });
    leader.drain();
    leader.sync();
    leader.receive(2, Body::VoteResp { term: Term(3), rejected: false, incarnation: 7 });
    leader.drain();
    leader.sync();
    ack(&mut leader, 2, 2, Mono(0));
    assert_eq!((leader.raft.is_leader(), leader.commit()), (true, 2));
    echo(&mut leader, 2, now);
    assert_eq!(lease(&leader), None, "it was sent in the earlier office");
}

#[test]
fn a_leader_with_a_lease_refuses_votes_and_does_not_learn_the_term() {
    let mut leader = settled(&[1, 2, 3]);
    let now = leader.now;
    echo(&mut leader, 2, now);
    leader.wait(LEASE_MS - 1);
    let ask = |forced| Body::RequestVote {
        term: Term(5),
        last_index: LogIndex(9),
        last_term: Term(4),
        incarnation: 1,
        forced,
    };
    leader.receive(3, ask(false));
    assert_eq!((leader.raft.role(), leader.raft.term()), (Role::Leader, Term(1)));
    leader.receive(3, Body::PreVote { term: Term(5), last_index: LogIndex(9), last_term: Term(4), incarnation: 1 });
    let answers = |body: &Body| matches!(body, Body::PreVoteResp { .. } | Body::VoteResp { .. });
    assert!(!leader.drain().send_after_sync.iter().any(|message| answers(&message.body)));
    leader.receive(3, ask(true));
    assert_eq!((leader.raft.role(), leader.raft.term(), lease(&leader)), (Role::Follower, Term(5), None));
}

#[test]
fn who_promised_to_stay_does_not_vote_for_itself_either() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.receive_heartbeat(2, 1, 0);
    member.wait(499);
    member.step(Input::Campaign { now: member.now });
    assert_eq!(member.raft.role(), Role::Follower);
    member.wait(1);
    member.step(Input::Campaign { now: member.now });
    assert_eq!(member.raft.role(), Role::PreCandidate);
}

#[test]
fn after_a_jump_of_the_clock_only_what_is_sent_later_counts() {
    let mut leader = settled(&[1, 2, 3]);
    let sent = leader.now;
    echo(&mut leader, 2, sent);
    echo(&mut leader, 3, sent);
    leader.wait(10);
    leader.step(Input::ClockJump { now: leader.now });
    assert_eq!(lease(&leader), None);
    assert_eq!(read(&mut leader), None, "a read takes a round");
    let jumped = leader.now;
    leader.wait(10);
    echo(&mut leader, 2, ms(sent, 5));
    echo(&mut leader, 3, jumped);
    assert_eq!(lease(&leader), None, "sent before the jump, or in its turn");
    echo(&mut leader, 2, ms(jumped, 1));
    assert_eq!(lease(&leader), end(ms(jumped, 1)));
    let mut alone = settled(&[1]);
    alone.step(Input::ClockJump { now: alone.now });
    assert_eq!(lease(&alone), None);
    alone.wait(1);
    assert!(lease(&alone).is_some());
}

#[test]
fn both_halves_of_a_joint_configuration_must_have_echoed() {
    let mut leader = settled(&[1, 2, 3]);
    let sent = leader.now;
    echo(&mut leader, 2, sent);
    let add = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let change = ConfigChange { add_voters: add(&[4, 5]), remove: add(&[2, 3]), ..ConfigChange::default() };
    leader.step(Input::ChangeConfig { change: &change, now: leader.now });
    assert_eq!(lease(&leader), None, "the new half has echoed nothing");
    leader.wait(50);
    echo(&mut leader, 4, ms(sent, 50));
    assert_eq!(lease(&leader), end(sent), "the older half counts");
    echo(&mut leader, 3, ms(sent, 30));
    assert_eq!(lease(&leader), end(ms(sent, 30)));
}

#[test]
fn heartbeats_go_on_while_a_follower_acks_what_was_sent_long_ago() {
    let mut leader = settled(&[1, 2, 3]);
    let sent = leader.now;
    leader.wait(300);
    leader.propose(b"x");
    leader.drain();
    echo(&mut leader, 2, sent);
    assert!(leader.raft.heartbeat(NodeId(2), leader.now).is_some(), "it answers, but its disk is slow");
    let now = leader.now;
    echo(&mut leader, 3, now);
    assert!(leader.raft.heartbeat(NodeId(3), now).is_none(), "its append says as much");
    echo(&mut leader, 2, now);
    assert_eq!(read(&mut leader), Some(ReadPath::Lease));
    assert!(leader.raft.heartbeat(NodeId(3), now).is_none(), "nobody waits for the position of that read");
}

// Transfer.

/// Asks node 2 to take over. The lease is gone and TimeoutNow leaves; returns the position in it.
fn hand_over(leader: &mut Member) -> u64 {
    let now = leader.now;
    echo(leader, 2, now);
    echo(leader, 3, now);
    leader.drain();
    assert!(lease(leader).is_some());
    assert_eq!(leader.step(Input::Transfer { target: NodeId(2), now }), Outcome::Done);
    assert_eq!(lease(leader), None, "before the message leaves");
    let position = |body: Body| match body {
        Body::TimeoutNow { read_position, .. } => Some(read_position),
        _ => None,
    };
    leader.sends().iter().find_map(|sent| position(sent.body)).expect("the target holds everything")
}

/// The transfer takes too long, while the others answer.
fn give_up(leader: &mut Member) {
    leader.wait(900);
    for from in [2, 3] {
        let now = leader.now;
        echo(leader, from, now);
    }
    leader.wait(150);
    leader.step(Input::Tick { now: leader.now });
    assert!(matches!(leader.propose(b"x"), Outcome::Proposed { .. }), "it was given up");
}

#[test]
fn a_transfer_takes_the_lease_and_an_abort_alone_does_not_bring_it_back() {
    let mut leader = settled(&[1, 2, 3]);
    let position = hand_over(&mut leader);
    for from in [2, 3] {
        let now = leader.now;
        echo(&mut leader, from, now);
    }
    assert_eq!((lease(&leader), read(&mut leader)), (None, None), "a read takes a round");
    give_up(&mut leader);
    for from in [2, 3] {
        let now = leader.now;
        echo_at(&mut leader, from, now, if from == 3 { 99 } else { position });
    }
    assert_eq!(lease(&leader), None, "the target may have the message still before it");
}

#[test]
fn the_lease_returns_once_the_target_acks_a_position_joined_after_it_was_asked() {
    let mut leader = settled(&[1, 2, 3]);
    let position = hand_over(&mut leader);
    give_up(&mut leader);
    // No read need come: the leader joins a position of its own, and the next heartbeats carry it.
    let beat = leader.raft.heartbeat(NodeId(2), leader.now).expect("it carries a new position");
    let Body::Heartbeat { read_position, .. } = beat else { panic!("{beat:?}") };
    assert!(read_position > position);
    let now = leader.now;
    echo_at(&mut leader, 2, now, read_position);
    assert_eq!(lease(&leader), end(now));
    // The target that acked it ignores the message when it comes at last.
    let mut target = Member::new(2, voters(&[1, 2, 3]), &[1]);
    target.receive(1, beat);
    target.receive(1, Body::TimeoutNow { term: Term(1), read_position: position });
    assert_eq!(target.raft.role(), Role::Follower);
}

#[test]
fn while_a_transfer_is_open_not_even_the_targets_ack_brings_the_lease_back() {
    let mut leader = settled(&[1, 2, 3]);
    let position = hand_over(&mut leader);
    assert_eq!(read(&mut leader), None);
    let now = leader.now;
    echo_at(&mut leader, 2, now, position + 1);
    assert_eq!(lease(&leader), None);
}

#[test]
fn two_transfers_that_failed_wait_for_both_targets() {
    let mut leader = settled(&[1, 2, 3]);
    hand_over(&mut leader);
    give_up(&mut leader);
    leader.drain();
    leader.sync();
    for from in [2, 3] {
        leader.receive_ack(from, 2);
    }
    leader.step(Input::Transfer { target: NodeId(3), now: leader.now });
    let asked = |sent: &raft::Outgoing| matches!(sent.body, Body::TimeoutNow { .. }) && sent.to == NodeId(3);
    assert!(leader.sends().iter().any(asked));
    give_up(&mut leader);
    let now = leader.now;
    let beat = leader.raft.heartbeat(NodeId(2), now).expect("due");
    let Body::Heartbeat { read_position, .. } = beat else { panic!("{beat:?}") };
    echo_at(&mut leader, 3, now, read_position);
    assert_eq!(lease(&leader), None, "node 2 has acked nothing since it was asked");
    echo_at(&mut leader, 2, now, read_position);
    assert_eq!(lease(&leader), end(now));
}

#[test]
fn who_has_not_heard_this_leader_does_not_take_over_from_it() {
    let mut target = Member::new(2, voters(&[1, 2, 3]), &[1]);
    target.receive(1, Body::TimeoutNow { term: Term(1), read_position: 3 });
    assert_eq!(target.raft.role(), Role::Follower, "in an earlier life it may have seen a later position");
}

#[test]
fn a_leader_that_was_voted_out_has_no_lease_when_it_asks_another_to_take_over() {
    let mut leader = settled(&[1, 2, 3]);
    let change = ConfigChange { remove: vec![NodeId(1)], ..ConfigChange::default() };
    leader.step(Input::ChangeConfig { change: &change, now: leader.now });
    for index in [2, 3] {
        let now = leader.now;
        leader.drain();
        leader.sync();
        ack(&mut leader, 2, index, now);
        ack(&mut leader, 3, index, now);
    }
    assert_eq!((leader.raft.role(), lease(&leader)), (Role::Follower, None));
    assert!(leader.sends().iter().any(|sent| matches!(sent.body, Body::TimeoutNow { .. })));
}

#[test]
fn a_leader_may_be_told_to_commit_nothing_beyond_its_own_disk() {
    for (is_bound, before) in [(false, 2), (true, 1)] {
        let settings = Settings { commit_requires_local_persisted: is_bound, ..Settings::default() };
        let mut leader = settled_with(&[1, 2, 3], settings);
        leader.propose(b"x");
        leader.drain();
        leader.receive_ack(2, 2);
        leader.receive_ack(3, 2);
        assert_eq!(leader.commit(), before);
        leader.sync();
        assert_eq!(leader.commit(), 2);
    }
}
