//! Reads at a follower: an index from the leader, then a wait until it is applied.

use base::limits::FOLLOWER_LAG_MAX;
use base::{LogIndex, NodeId, Term};
use raft::{Body, ConfigChange, Effects, Input, Outcome, ReadPath, ReadsConfirmed, Role, Settings};

use crate::common::member::Member;
use crate::common::voters;

const LEADER: u64 = 2;

/// Node 1 of three, which holds `entries` of term 1, has applied `applied` of them, and follows node 2.
fn follower(entries: u64, applied: u64) -> Member {
    let terms = vec![1; entries as usize];
    let mut member = Member::new(1, voters(&[1, 2, 3]), &terms);
    member.receive_heartbeat(LEADER, 1, entries);
    member.drain();
    member.sync();
    member.step(Input::Applied { index: LogIndex(applied) });
    member.drain();
    member
}

fn read(member: &mut Member) -> Outcome {
    member.step(Input::FollowerRead { now: member.now })
}

fn joined(position: u64) -> Outcome {
    Outcome::FollowerReadJoined { position }
}

fn served(position: u64, read_index: u64) -> Option<ReadsConfirmed> {
    Some(ReadsConfirmed { position, read_index: LogIndex(read_index), path: ReadPath::Follower })
}

/// (receiver, id) of every ask.
fn asks(effects: &Effects) -> Vec<(u64, u64)> {
    let one = |message: &raft::Outgoing| match message.body {
        Body::ReadIndex { read_id, .. } => Some((message.to.0, read_id)),
        _ => None,
    };
    effects.send_now.iter().filter_map(one).collect()
}

fn answer(member: &mut Member, read_id: u64, read_index: u64) {
    answer_of(member, LEADER, 7, read_id, Some(read_index));
}

fn answer_of(member: &mut Member, from: u64, incarnation: u64, read_id: u64, index: Option<u64>) {
    let (term, rejected) = (member.raft.term(), index.is_none());
    let read_index = LogIndex(index.unwrap_or(0));
    member.receive(from, Body::ReadIndexResp { term, read_id, incarnation, read_index, rejected });
}

#[test]
fn the_reads_of_a_turn_share_one_ask_and_are_served_once_its_index_is_applied() {
    let mut member = follower(3, 1);
    assert_eq!((read(&mut member), read(&mut member)), (joined(1), joined(1)));
    assert_eq!(asks(&member.drain()), [(LEADER, 1)]);
    answer(&mut member, 1, 3);
    assert_eq!(member.drain().follower_reads, None, "one of three is applied");
    member.step(Input::Applied { index: LogIndex(2) });
    assert_eq!(member.drain().follower_reads, None);
    member.step(Input::Applied { index: LogIndex(3) });
    assert!(member.raft.is_dirty());
    assert_eq!(member.drain().follower_reads, served(1, 3));
    assert_eq!(member.drain().follower_reads, None, "once");
}

#[test]
fn nothing_joins_an_ask_that_was_sent_and_an_answer_covers_what_was_asked_before() {
    let mut member = follower(3, 3);
    read(&mut member);
    member.drain();
    assert_eq!(read(&mut member), joined(2));
    assert_eq!(asks(&member.drain()), [(LEADER, 2)]);
    assert_eq!(read(&mut member), joined(3));
    member.drain();
    answer(&mut member, 2, 3);
    assert_eq!(member.drain().follower_reads, served(2, 3), "the first ask was lost");
    answer(&mut member, 1, 3);
    answer(&mut member, 2, 3);
    assert_eq!(member.drain().follower_reads, None, "answers that come late or twice");
    answer(&mut member, 3, 3);
    assert_eq!(member.drain().follower_reads, served(3, 3));
}

#[test]
fn a_lost_ask_is_repeated_and_given_up_after_a_second() {
    let mut member = follower(1, 1);
    read(&mut member);
    member.drain();
    let joined_at = member.now;
    assert_eq!(member.raft.next_deadline().since(joined_at).as_ms(), 100);
    for _ in 0..9 {
        member.wait(100);
        member.step(Input::Tick { now: member.now });
        let effects = member.drain();
        assert_eq!((asks(&effects), effects.follower_reads_dropped), (vec![(LEADER, 1)], None));
        member.receive_heartbeat(LEADER, 1, 1);
    }
    member.wait(100);
    member.step(Input::Tick { now: member.now });
    let effects = member.drain();
    assert_eq!((asks(&effects), effects.follower_reads_dropped), (vec![], Some(1)));
    assert_eq!(read(&mut member), joined(2), "a position is never used twice");
}

#[test]
fn what_is_confirmed_and_never_applied_is_given_up_too() {
    let mut member = follower(3, 1);
    read(&mut member);
    member.drain();
    answer(&mut member, 1, 3);
    member.drain();
    member.wait(1000);
    member.receive_heartbeat(LEADER, 1, 3);
    assert!(member.raft.next_deadline() <= member.now);
    member.step(Input::Tick { now: member.now });
    assert_eq!(member.drain().follower_reads_dropped, Some(1));
}

#[test]
fn a_new_leader_a_new_term_or_none_drops_what_waits() {
    for change in 0..3 {
        let mut member = follower(1, 1);
        read(&mut member);
        member.drain();
        match change {
            0 => member.receive_heartbeat(3, 2, 0),
            1 => member.receive(
                3,
                Body::HeartbeatAck { term: Term(5), read_position: 0, quiesce: false, echo_mono: member.now },
            ),
            _ => {
                member.wait(1000);
                member.step(Input::Tick { now: member.now });
                assert_eq!(member.raft.role(), Role::PreCandidate);
            }
        }
        let effects = member.drain();
        assert_eq!((effects.follower_reads, effects.follower_reads_dropped), (None, Some(1)), "case {change}");
        answer_of(&mut member, LEADER, 7, 1, Some(1));
        assert_eq!(member.drain().follower_reads, None);
    }
}

#[test]
fn an_answer_counts_only_from_the_leader_and_for_this_life() {
    let mut member = follower(1, 1);
    read(&mut member);
    member.drain();
    answer_of(&mut member, LEADER, 6, 1, Some(1));
    answer_of(&mut member, 3, 7, 1, Some(1));
    let body =
        Body::ReadIndexResp { term: Term(0), read_id: 1, incarnation: 7, read_index: LogIndex(1), rejected: false };
    member.receive(LEADER, body);
    assert_eq!(member.drain().follower_reads, None);
    answer(&mut member, 1, 1);
    assert_eq!(member.drain().follower_reads, served(1, 1));
}

#[test]
fn a_refusal_drops_what_was_asked_and_nothing_that_came_later() {
    let mut member = follower(1, 1);
    read(&mut member);
    member.drain();
    read(&mut member);
    member.drain();
    answer_of(&mut member, LEADER, 7, 1, None);
    assert_eq!(member.drain().follower_reads_dropped, Some(1));
    answer(&mut member, 2, 1);
    assert_eq!(member.drain().follower_reads, served(2, 1));
}

#[test]
fn a_follower_that_is_far_behind_refuses() {
    let lag = FOLLOWER_LAG_MAX;
    let mut behind = follower(lag + 2, 1);
    assert_eq!(read(&mut behind), Outcome::NotLeader { hint: Some(NodeId(LEADER)) });
    let mut member = follower(lag + 1, 1);
    assert_eq!(read(&mut member), joined(1));
    member.drain();
    answer(&mut member, 1, lag + 2);
    assert_eq!(member.drain().follower_reads_dropped, Some(1), "it did not know how far the leader was");
}

#[test]
fn without_a_leader_nobody_reads() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    assert_eq!(read(&mut member), Outcome::NotLeader { hint: None });
    member.pass_deadline();
    assert_eq!(read(&mut member), Outcome::NotLeader { hint: None });
}

// At the leader.

fn leader(settings: Settings) -> Member {
    let mut leader = Member::leader_with(1, voters(&[1, 2, 3]), &[], settings);
    leader.drain();
    leader.sync();
    leader
}

const NO_LEASE: fn() -> Settings = || Settings { lease: None, ..Settings::default() };

fn ask(leader: &mut Member, from: u64, read_id: u64) {
    leader.receive(from, Body::ReadIndex { term: leader.raft.term(), read_id, incarnation: 40 + from });
}

/// (receiver, id, incarnation, index) of every answer; `None` for a refusal.
fn answers(effects: &Effects) -> Vec<(u64, u64, u64, Option<u64>)> {
    let one = |message: &raft::Outgoing| match message.body {
        Body::ReadIndexResp { read_id, incarnation, read_index, rejected, .. } => {
            Some((message.to.0, read_id, incarnation, (!rejected).then_some(read_index.0)))
        }
        _ => None,
    };
    effects.send_now.iter().filter_map(one).collect()
}

#[test]
fn an_ask_is_a_read_that_joins_now_and_is_answered_when_a_round_sent_later_is_acked() {
    let mut leader = leader(NO_LEASE());
    ask(&mut leader, 2, 9);
    leader.drain();
    leader.receive_heartbeat_ack(3, 1);
    assert_eq!(answers(&leader.drain()), [], "no entry of its own term is committed");
    leader.receive_ack(3, 1);
    assert_eq!(answers(&leader.drain()), [(2, 9, 42, Some(1))]);
    ask(&mut leader, 2, 10);
    ask(&mut leader, 3, 4);
    ask(&mut leader, 2, 10);
    let effects = leader.drain();
    assert_eq!(answers(&effects), []);
    let rounds = effects.send_now.iter().filter(|sent| matches!(sent.body, Body::Heartbeat { read_position: 2, .. }));
    assert_eq!(rounds.count(), 2);
    leader.receive_heartbeat_ack(3, 1);
    assert_eq!(answers(&leader.drain()), [], "an ack of the round before");
    leader.receive_heartbeat_ack(3, 2);
    assert_eq!(answers(&leader.drain()), [(2, 10, 42, Some(1)), (3, 4, 43, Some(1))]);
}

#[test]
fn under_a_lease_an_ask_is_answered_in_its_turn() {
    let mut leader = leader(Settings::default());
    leader.receive_ack(3, 1);
    leader.drain();
    ask(&mut leader, 2, 9);
    let effects = leader.drain();
    assert_eq!(answers(&effects), [(2, 9, 42, Some(1))]);
    assert_eq!(effects.send_now.len(), 1, "no round");
}

#[test]
fn who_does_not_lead_refuses_and_who_loses_the_lead_forgets() {
    let mut member = follower(1, 1);
    ask(&mut member, 3, 5);
    assert_eq!(answers(&member.drain()), [(3, 5, 43, None)]);
    let mut leader = leader(NO_LEASE());
    leader.receive_ack(3, 1);
    leader.drain();
    ask(&mut leader, 2, 5);
    leader.drain();
    leader.receive_heartbeat(3, 2, 0);
    leader.receive_heartbeat_ack(2, 9);
    assert_eq!(answers(&leader.drain()), []);
}

#[test]
fn a_refusal_in_a_term_that_the_ask_brought_waits_until_that_is_on_disk() {
    let mut member = follower(1, 1);
    member.receive(3, Body::ReadIndex { term: Term(5), read_id: 5, incarnation: 43 });
    let effects = member.drain();
    assert_eq!(answers(&effects), []);
    let [waiting] = &effects.send_after_sync[..] else { panic!("one answer waits: {:?}", effects.send_after_sync) };
    assert_eq!(member.raft.release(waiting), None, "nothing is on disk yet");
    member.sync();
    let is_refusal = |body: Body| matches!(body, Body::ReadIndexResp { term: Term(5), read_id: 5, rejected: true, .. });
    assert!(member.raft.release(waiting).is_some_and(|message| is_refusal(message.body)));
}

#[test]
fn a_learner_reads_as_a_follower_does() {
    let change = ConfigChange { add_learners: vec![NodeId(4)], ..ConfigChange::default() };
    let config = voters(&[1, 2, 3]).change(&change).unwrap().leave();
    let mut member = Member::new(4, config, &[1]);
    member.receive_heartbeat(LEADER, 1, 1);
    member.step(Input::Applied { index: LogIndex(1) });
    assert_eq!(read(&mut member), joined(1));
    assert_eq!(asks(&member.drain()), [(LEADER, 1)]);
    assert!(member.raft.next_deadline() <= member.now + base::mono::Span::from_ms(100), "it is woken to ask again");
}

#[test]
fn a_follower_that_leads_by_now_reads_as_a_leader() {
    let mut leader = leader(Settings::default());
    assert_eq!(read(&mut leader), Outcome::ReadJoined { position: 1 });
}
