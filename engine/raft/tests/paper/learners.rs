//! Learners that catch up become voters (docs/design/raft.md, "Membership"; thesis 4.2.1; M4 to M6).

use base::NodeId;
use raft::{Body, ConfigChange, Input, Outcome};

use crate::common::member::Member;
use crate::common::voters;

fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// Everything the leader has is on its disk and at these followers.
fn commit_all(leader: &mut Member, followers: &[u64]) {
    for _ in 0..3 {
        leader.drain();
        leader.sync();
        let last = leader.last();
        followers.iter().for_each(|id| leader.receive_ack(*id, last));
    }
    leader.drain();
}

/// A leader of 1, 2, 3 with the learners 4 and 5, in Replicate.
fn with_learners() -> Member {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    commit_all(&mut leader, &[2, 3]);
    let change = ConfigChange { add_learners: ids(&[4, 5]), ..ConfigChange::default() };
    let now = leader.now;
    assert!(matches!(leader.step(Input::ChangeConfig { change: &change, now }), Outcome::Proposed { .. }));
    commit_all(&mut leader, &[2, 3]);
    assert_eq!(leader.raft.config().learners(), ids(&[4, 5]));
    leader
}

fn answer(leader: &mut Member, learner: u64, acked: u64, ms: u64) {
    for _ in 0..ms / 50 {
        leader.wait(50);
        leader.receive_ack(learner, acked);
        for id in [2, 3, learner] {
            leader.receive_heartbeat_ack(id, 0);
        }
    }
}

#[test]
fn close_for_half_a_second_makes_a_voter_by_one_joint_change() {
    let mut leader = with_learners();
    let last = leader.last();
    answer(&mut leader, 4, last, 500);
    assert!(!leader.raft.config().is_joint(), "450 ms since the first answer");
    answer(&mut leader, 4, last, 50);
    assert_eq!(leader.raft.config().incoming(), ids(&[1, 2, 3, 4]));
    assert_eq!(leader.raft.config().outgoing(), ids(&[1, 2, 3]));
    commit_all(&mut leader, &[2, 3, 4]);
    assert_eq!((leader.raft.config().is_joint(), leader.raft.config().learners()), (false, &ids(&[5])[..]));
}

#[test]
fn one_that_lags_by_entries_or_bytes_stays() {
    for (count, bytes) in [(1_100, 8), (9, 500_000)] {
        let mut leader = with_learners();
        let acked = leader.last();
        for _ in 0..count {
            leader.propose(&vec![7; bytes]);
        }
        commit_all(&mut leader, &[2, 3]);
        answer(&mut leader, 4, acked, 2_000);
        assert!(leader.raft.config().learners().contains(&NodeId(4)), "{count} entries of {bytes} bytes behind");
        let last = leader.last();
        answer(&mut leader, 4, last, 600);
        assert!(leader.raft.config().is_voter(NodeId(4)));
    }
}

#[test]
fn it_waits_while_another_change_is_open() {
    let mut leader = with_learners();
    let last = leader.last();
    answer(&mut leader, 4, last, 450);
    let change = ConfigChange { remove: ids(&[5]), ..ConfigChange::default() };
    let now = leader.now;
    leader.step(Input::ChangeConfig { change: &change, now });
    let index = leader.raft.config_index();
    answer(&mut leader, 4, last, 200);
    assert_eq!(leader.raft.config_index(), index);
    commit_all(&mut leader, &[2, 3]);
    let last = leader.last();
    answer(&mut leader, 4, last, 600);
    assert!(leader.raft.config().is_voter(NodeId(4)));
}

#[test]
fn without_the_setting_a_learner_stays_one() {
    let mut leader = with_learners();
    leader.with_settings(|settings| settings.promote_learners = false);
    leader.become_leader(&[2, 3]);
    commit_all(&mut leader, &[2, 3]);
    let last = leader.last();
    answer(&mut leader, 4, last, 2_000);
    assert_eq!(leader.raft.config().learners(), ids(&[4, 5]));
}

#[test]
fn a_removed_node_is_told_when_that_is_committed_and_not_before() {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    commit_all(&mut leader, &[2, 3]);
    let change = ConfigChange { remove: ids(&[3]), ..ConfigChange::default() };
    let now = leader.now;
    leader.step(Input::ChangeConfig { change: &change, now });
    let mut told = Vec::new();
    for _ in 0..4 {
        told.extend(leader.sends().into_iter().filter(|m| matches!(m.body, Body::Removed { .. })));
        let is_settled = !leader.raft.config().is_joint() && leader.raft.config_index() <= leader.raft.commit_index();
        assert_eq!(!told.is_empty(), is_settled);
        leader.sync();
        let last = leader.last();
        leader.receive_ack(2, last);
    }
    let index = leader.raft.config_index();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].to, NodeId(3));
    assert!(matches!(told[0].body, Body::Removed { config_index, .. } if config_index == index));
    assert_eq!(leader.raft.config().incoming(), ids(&[1, 2]));
}
