//! Thesis 6.4: reads by positions.

use base::{LogIndex, NodeId, Term};
use raft::{Body, Input, Outcome, ReadPath, ReadsConfirmed, Settings};

use crate::common::member::Member;
use crate::common::voters;

fn read(member: &mut Member) -> Outcome {
    member.step(Input::Read { now: member.now })
}

fn joined(position: u64) -> Outcome {
    Outcome::ReadJoined { position }
}

fn confirmed(position: u64, read_index: u64) -> Option<ReadsConfirmed> {
    Some(ReadsConfirmed { position, read_index: LogIndex(read_index), path: ReadPath::Round })
}

/// Its reads always take a round.
fn leader_without_lease(id: u64, config: raft::Config, terms: &[u64]) -> Member {
    Member::leader_with(id, config, terms, Settings { lease: None, ..Settings::default() })
}

/// A leader of three whose own entry, index 1, is committed; nothing waits to be sent.
fn settled() -> Member {
    let mut leader = leader_without_lease(1, voters(&[1, 2, 3]), &[]);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 1);
    leader.drain();
    leader
}

#[test]
fn a_read_is_confirmed_by_a_quorum_that_heard_of_it() {
    let mut leader = settled();
    assert_eq!(read(&mut leader), joined(1));
    assert_eq!(read(&mut leader), joined(1), "the reads of a turn share a position");
    let effects = leader.drain();
    assert_eq!(effects.reads_confirmed, None);
    let carries = |body: &Body| matches!(body, Body::Heartbeat { read_position: 1, .. });
    assert_eq!(effects.send_now.iter().filter(|message| carries(&message.body)).count(), 2, "a round leaves at once");
    leader.receive_heartbeat_ack(2, 0);
    assert_eq!(leader.drain().reads_confirmed, None, "an ack of a message from before");
    leader.receive_heartbeat_ack(2, 1);
    assert_eq!(leader.drain().reads_confirmed, confirmed(1, 1));
}

#[test]
fn nothing_joins_a_round_that_was_sent() {
    let mut leader = settled();
    assert_eq!(read(&mut leader), joined(1));
    leader.drain();
    assert_eq!(read(&mut leader), joined(2));
    leader.receive_heartbeat_ack(3, 1);
    assert_eq!(leader.drain().reads_confirmed, confirmed(1, 1));
    // A heartbeat between two turns is a round too.
    leader.wait(50);
    assert_eq!(read(&mut leader), joined(3));
    leader.raft.heartbeat(NodeId(2), leader.now).expect("due");
    assert_eq!(read(&mut leader), joined(4));
}

#[test]
fn each_batch_takes_the_index_of_its_own_time() {
    let mut leader = settled();
    read(&mut leader);
    leader.drain();
    leader.propose(b"x");
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 2);
    leader.receive_ack(3, 2);
    assert_eq!(leader.commit(), 2);
    assert_eq!(read(&mut leader), joined(2));
    leader.drain();
    leader.receive_heartbeat_ack(2, 1);
    assert_eq!(leader.drain().reads_confirmed, confirmed(1, 1));
    leader.receive_heartbeat_ack(2, 2);
    assert_eq!(leader.drain().reads_confirmed, confirmed(2, 2));
}

#[test]
fn reads_wait_for_an_entry_of_the_own_term() {
    let mut leader = leader_without_lease(1, voters(&[1, 2, 3]), &[1, 1]);
    assert_eq!(read(&mut leader), joined(1));
    leader.drain();
    leader.receive_heartbeat_ack(2, 1);
    assert_eq!(leader.drain().reads_confirmed, None);
    leader.sync();
    leader.receive_ack(2, 3);
    assert_eq!(leader.drain().reads_confirmed, confirmed(1, 3));
}

#[test]
fn a_group_of_one_reads_at_once() {
    let mut leader = leader_without_lease(1, voters(&[1]), &[]);
    assert_eq!(read(&mut leader), joined(1));
    assert_eq!(leader.drain().reads_confirmed, None, "its own entry is not synced yet");
    leader.sync();
    assert_eq!(leader.drain().reads_confirmed, confirmed(1, 1));
    assert_eq!(read(&mut leader), joined(2));
    assert_eq!(leader.drain().reads_confirmed, confirmed(2, 1));
}

#[test]
fn reads_that_wait_are_dropped_with_the_office() {
    let mut leader = settled();
    read(&mut leader);
    leader.drain();
    leader.receive_heartbeat(2, 2, 0);
    let effects = leader.drain();
    assert!(effects.reads_dropped);
    assert_eq!((effects.reads_confirmed, effects.role.unwrap().is_leader), (None, false));
    assert_eq!(read(&mut leader), Outcome::NotLeader { hint: Some(NodeId(2)) });
}

#[test]
fn a_follower_acks_a_new_position_before_its_disk_is_done() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[]);
    member.receive_heartbeat(2, 1, 0);
    member.drain();
    member.sync();
    let (payload, term) = (crate::common::member::chain(&[1]), Term(1));
    let body = Body::AppendEntries {
        term,
        prev_index: LogIndex(0),
        prev_term: Term(0),
        prev_crc: 0,
        commit_index: LogIndex(0),
        read_position: 5,
        count: 1,
        send_mono: member.now,
    };
    let entries = crate::common::records(&payload[0].raw, 1, 1);
    member.step(Input::Message { from: NodeId(2), body, entries, now: member.now });
    let effects = member.drain();
    assert!(matches!(effects.send_now[0].body, Body::HeartbeatAck { read_position: 5, .. }));
    assert!(matches!(effects.send_after_sync[0].body, Body::AppendResp { index: LogIndex(1), .. }));
}

#[test]
fn positions_of_one_term_mean_nothing_in_the_next() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[]);
    let beat = |term, read_position| Body::Heartbeat {
        term: Term(term),
        commit_index: LogIndex(0),
        read_position,
        quiesce: false,
        send_mono: base::Mono(0),
    };
    member.receive(2, beat(1, 9));
    member.drain();
    member.receive(3, beat(2, 1));
    let acks: Vec<Body> = member.drain().send_after_sync.iter().map(|message| message.body).collect();
    assert!(matches!(acks[..], [Body::HeartbeatAck { term: Term(2), read_position: 1, .. }]), "{acks:?}");
}
