//! Thesis 3.10, 4.2 and 4.3: members and the transfer of leadership.

use base::record::EntryKind;
use base::{LogIndex, NodeId, Term};
use raft::{Body, Config, ConfigChange, Input, Outcome, Outgoing, Role};

use crate::common::member::{Member, appends, chain};
use crate::common::{entry, records, voters};

fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn replace(remove: &[u64], add_voters: &[u64]) -> ConfigChange {
    ConfigChange { add_voters: ids(add_voters), add_learners: Vec::new(), remove: ids(remove) }
}

fn change(member: &mut Member, change: &ConfigChange) -> Outcome {
    member.step(Input::ChangeConfig { change, now: member.now })
}

/// A leader of three whose own entry is committed, and whom both followers follow.
fn settled() -> Member {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 1);
    leader.receive_ack(3, 1);
    leader.drain();
    leader
}

fn asked_to_take_over(sent: &[Outgoing]) -> Vec<u64> {
    let is_ask = |message: &&Outgoing| matches!(message.body, Body::TimeoutNow { .. });
    sent.iter().filter(is_ask).map(|message| message.to.0).collect()
}

/// A leader of three whose removal the other two hold: it is committed.
fn leaving() -> Member {
    let mut leader = settled();
    change(&mut leader, &replace(&[1], &[]));
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 2);
    leader.receive_ack(3, 2);
    leader
}

#[test]
fn no_change_before_an_entry_of_the_own_term_is_committed() {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[1]);
    assert_eq!(change(&mut leader, &replace(&[3], &[4])), Outcome::ConfigBusy);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 2);
    assert!(matches!(change(&mut leader, &replace(&[3], &[4])), Outcome::Proposed { index: LogIndex(3), .. }));
    assert_eq!(change(&mut leader, &replace(&[2], &[5])), Outcome::ConfigBusy, "one at a time");
}

#[test]
fn a_replacement_needs_both_halves_and_is_left_by_itself() {
    let mut leader = settled();
    assert!(matches!(change(&mut leader, &replace(&[2, 3], &[4, 5])), Outcome::Proposed { .. }));
    assert!(leader.raft.config().is_joint(), "in force at once");
    let effects = leader.drain();
    assert!(effects.config_changed);
    assert_eq!(appends(&effects.send_now), [(4, 2, 0), (5, 2, 0), (2, 1, 1), (3, 1, 1)]);
    leader.sync();
    leader.receive_ack(4, 2);
    leader.receive_ack(5, 2);
    assert_eq!(leader.commit(), 1, "the old half has not agreed");
    leader.receive_ack(2, 2);
    assert_eq!(leader.commit(), 2);
    assert_eq!((leader.raft.config(), leader.last()), (&voters(&[1, 4, 5]), 3));
    leader.sync();
    leader.receive_ack(2, 3);
    assert_eq!(leader.commit(), 2, "who has left does not count");
    leader.receive_ack(4, 3);
    assert_eq!(leader.commit(), 3);
    assert!(leader.raft.is_leader());
}

#[test]
fn a_joint_configuration_is_left_only_when_it_is_committed_itself() {
    let mut leader = settled();
    leader.propose(b"x");
    change(&mut leader, &replace(&[3], &[4]));
    leader.drain();
    leader.sync();
    for from in [2, 4] {
        leader.receive_ack(from, 2);
    }
    assert_eq!((leader.commit(), leader.raft.config().is_joint()), (2, true));
    leader.receive_ack(2, 3);
    assert_eq!((leader.commit(), leader.raft.config()), (3, &voters(&[1, 2, 4])));
    assert_eq!(change(&mut leader, &replace(&[4], &[])), Outcome::ConfigBusy, "the next one is not committed yet");
}

#[test]
fn a_leader_that_was_removed_steps_down_once_that_is_committed_and_hands_over() {
    let mut leader = leaving();
    assert_eq!((leader.commit(), leader.raft.config()), (2, &voters(&[2, 3])));
    assert_eq!(leader.propose(b"x"), Outcome::NotLeader { hint: None });
    leader.sync();
    leader.receive_ack(3, 3);
    assert_eq!((leader.commit(), leader.raft.is_leader()), (2, true), "its own disk does not count any more");
    leader.receive_ack(2, 3);
    assert_eq!((leader.commit(), leader.raft.role()), (3, Role::Follower));
    assert_eq!(asked_to_take_over(&leader.sends()).len(), 1);
    assert_eq!(leader.raft.next_deadline(), base::Mono::MAX, "and never campaigns again");
}

#[test]
fn a_new_leader_leaves_the_joint_configuration_that_it_finds() {
    let joint = voters(&[1, 2, 3]).change(&replace(&[2, 3], &[4, 5])).unwrap();
    let mut leader = Member::leader(1, joint, &[1]);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 2);
    assert!(leader.raft.config().is_joint());
    leader.receive_ack(4, 2);
    assert_eq!(leader.raft.config(), &voters(&[1, 4, 5]));
}

#[test]
fn a_truncated_configuration_is_undone() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    let next = voters(&[1, 2, 3]).change(&replace(&[3], &[4])).unwrap();
    let made = entry(EntryKind::Config, 2, 1, chain(&[1])[0].crc, &next.encode());
    let body = Body::AppendEntries {
        term: Term(1),
        prev_index: LogIndex(1),
        prev_term: Term(1),
        prev_crc: 0,
        commit_index: LogIndex(0),
        read_position: 0,
        count: 1,
        send_mono: member.now,
    };
    let entries = records(&made.raw, 1, 2);
    member.step(Input::Message { from: NodeId(2), body, entries, now: member.now });
    assert_eq!((member.raft.config(), member.raft.config_index()), (&next, LogIndex(2)));
    assert!(member.drain().config_changed);
    member.receive_append(3, 2, &[1, 2], 1, 0);
    assert_eq!((member.raft.config(), member.raft.config_index()), (&voters(&[1, 2, 3]), LogIndex(0)));
    assert!(member.drain().config_changed);
}

#[test]
fn learners_receive_and_do_not_count() {
    let mut leader = settled();
    let learn = ConfigChange { add_learners: ids(&[4]), ..ConfigChange::default() };
    change(&mut leader, &learn);
    leader.drain();
    leader.sync();
    leader.receive_ack(4, 2);
    assert_eq!(leader.commit(), 1);
    leader.receive_ack(2, 2);
    assert_eq!((leader.commit(), leader.raft.config().learners()), (2, &ids(&[4])[..]));
    assert_eq!(leader.raft.peers().len(), 3);
}

#[test]
fn senseless_changes_and_transfers_are_refused() {
    let mut leader = settled();
    assert_eq!(change(&mut leader, &replace(&[9], &[])), Outcome::ConfigRefused);
    assert_eq!(change(&mut leader, &replace(&[1, 2, 3], &[])), Outcome::ConfigRefused);
    assert_eq!(change(&mut leader, &ConfigChange::default()), Outcome::ConfigRefused);
    for target in [1, 9].map(NodeId) {
        assert_eq!(leader.step(Input::Transfer { target, now: leader.now }), Outcome::ConfigRefused);
    }
    assert_eq!(leader.last(), 1);
}

#[test]
fn a_node_out_of_the_group_is_told_when_it_asks_for_votes() {
    let mut leader = settled();
    change(&mut leader, &replace(&[3], &[]));
    for index in [2, 3] {
        leader.drain();
        leader.sync();
        leader.receive_ack(2, index);
        leader.receive_ack(3, index);
    }
    assert_eq!((leader.commit(), leader.raft.config()), (3, &voters(&[1, 2])));
    leader.drain();
    let ask = Body::PreVote { term: Term(2), last_index: LogIndex(2), last_term: Term(1), incarnation: 1 };
    leader.receive(3, ask);
    let told = leader.sends();
    assert_eq!(told[0].body, Body::Removed { term: Term(1), config_index: LogIndex(3) });
    let mut member = Member::new(3, voters(&[1, 2, 3]), &[1, 1]);
    member.receive(1, told[0].body);
    assert!(member.raft.is_removed());
    assert_eq!(member.raft.next_deadline(), base::Mono::MAX);
}

/// It has the configuration that puts it out, and never heard that this is committed: else it would ask for votes for ever.
#[test]
fn a_node_is_told_of_a_configuration_that_it_holds_and_does_not_know_to_be_committed() {
    let mut leader = leaving();
    let index = leader.raft.config_index();
    assert_eq!((index, leader.raft.config()), (LogIndex(3), &voters(&[2, 3])));
    leader.sync();
    // Another one leads from now on.
    leader.receive(
        2,
        Body::Heartbeat {
            term: Term(2),
            commit_index: LogIndex(0),
            read_position: 0,
            quiesce: false,
            send_mono: base::Mono(1),
        },
    );
    assert!(leader.raft.commit_index() < index && !leader.raft.is_removed());
    leader.receive(2, Body::Removed { term: Term(2), config_index: index.prev() });
    assert!(!leader.raft.is_removed(), "of an older configuration");
    leader.receive(2, Body::Removed { term: Term(2), config_index: index });
    assert!(leader.raft.is_removed());
}

#[test]
fn leadership_goes_to_a_node_that_holds_everything() {
    let mut leader = settled();
    leader.propose(b"x");
    assert_eq!(leader.step(Input::Transfer { target: NodeId(2), now: leader.now }), Outcome::Done);
    assert_eq!(asked_to_take_over(&leader.sends()), []);
    assert_eq!(leader.propose(b"y"), Outcome::Transferring);
    assert_eq!(change(&mut leader, &replace(&[3], &[])), Outcome::ConfigBusy);
    leader.receive_ack(2, 2);
    let sent = leader.sends();
    assert_eq!(asked_to_take_over(&sent), [2]);
    let mut target = Member::new(2, voters(&[1, 2, 3]), &[1]);
    target.receive_heartbeat(1, 1, 0);
    target.drain();
    target.receive(1, sent.iter().find(|message| message.to == NodeId(2)).unwrap().body);
    assert_eq!((target.raft.role(), target.raft.term()), (Role::Candidate, Term(2)));
    let asks = target.drain().send_after_sync;
    assert!(asks.iter().all(|ask| matches!(ask.body, Body::RequestVote { forced: true, .. })));
}

#[test]
fn a_transfer_that_takes_too_long_is_given_up() {
    let mut leader = settled();
    leader.propose(b"x");
    leader.step(Input::Transfer { target: NodeId(2), now: leader.now });
    leader.wait(900);
    leader.receive_heartbeat_ack(3, 0);
    leader.pass_deadline();
    leader.receive_heartbeat_ack(3, 0);
    assert_eq!(leader.propose(b"y"), Outcome::Proposed { index: LogIndex(3), term: Term(1) });
    // A copy that is late finds a target that saw a later read position.
    let mut target = Member::new(2, voters(&[1, 2, 3]), &[1]);
    let beat = |read_position| Body::Heartbeat {
        term: Term(1),
        commit_index: LogIndex(0),
        read_position,
        quiesce: false,
        send_mono: base::Mono(0),
    };
    target.receive(1, beat(4));
    target.receive(1, Body::TimeoutNow { term: Term(1), read_position: 3 });
    assert_eq!(target.raft.role(), Role::Follower);
}

#[test]
fn who_was_voted_out_leads_until_that_is_committed_if_nobody_else_can() {
    // Node 1 alone holds the entry that votes it out; the others refuse each other's shorter logs to nobody.
    let mut member = Member::new(1, voters(&[1, 2]), &[1]);
    let out = Config::single(&ids(&[2]));
    let joint = voters(&[1, 2]).change(&replace(&[1], &[])).unwrap();
    assert_eq!(joint.leave(), out);
    let first = entry(EntryKind::Config, 2, 1, chain(&[1])[0].crc, &joint.encode());
    let second = entry(EntryKind::Config, 3, 1, first.crc, &out.encode());
    let bytes = [first.raw, second.raw].concat();
    let body = Body::AppendEntries {
        term: Term(1),
        prev_index: LogIndex(1),
        prev_term: Term(1),
        prev_crc: 0,
        commit_index: LogIndex(2),
        read_position: 0,
        count: 2,
        send_mono: member.now,
    };
    let entries = records(&bytes, 2, 2);
    member.step(Input::Message { from: NodeId(2), body, entries, now: member.now });
    member.drain();
    member.sync();
    assert_eq!(member.raft.config(), &out);
    member.pass_deadline();
    assert_eq!(member.raft.role(), Role::PreCandidate);
    member.receive(2, Body::PreVoteResp { term: Term(2), rejected: false, incarnation: 7 });
    member.drain();
    member.sync();
    member.receive(2, Body::VoteResp { term: Term(2), rejected: false, incarnation: 7 });
    assert_eq!(member.raft.role(), Role::Leader);
    member.drain();
    member.receive_ack(2, 4);
    assert_eq!((member.commit(), member.raft.role()), (4, Role::Follower));
    assert_eq!(asked_to_take_over(&member.sends()), [2]);
}
