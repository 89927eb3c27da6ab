//! Sentences of Raft figure 2, 5.1 to 5.5 that the other files do not show by themselves.

use base::{LogIndex, NodeId, Term};
use raft::{Body, Outcome, Role};

use crate::common::member::{Member, acks};
use crate::common::voters;

fn member(terms: &[u64]) -> Member {
    Member::new(1, voters(&[1, 2, 3]), terms)
}

fn candidate(terms: &[u64]) -> Member {
    let mut member = member(terms);
    member.pass_deadline();
    let term = Term(member.raft.term().0 + 1);
    member.receive(2, Body::PreVoteResp { term, rejected: false, incarnation: 7 });
    member.drain();
    assert_eq!((member.raft.role(), member.raft.term()), (Role::Candidate, term));
    member
}

/// Figure 2, candidates: AppendEntries of a new leader makes a follower.
#[test]
fn a_candidate_follows_the_leader_of_its_own_term() {
    let mut member = candidate(&[1]);
    member.receive_append(3, 2, &[1, 2], 1, 0);
    assert_eq!((member.raft.role(), member.raft.leader()), (Role::Follower, Some(NodeId(3))));
    assert_eq!((member.raft.term(), member.terms()), (Term(2), vec![1, 2]));
    assert_eq!(member.raft.vote(), Some(NodeId(1)), "the vote of the term stays given");
}

/// 5.2: a leader of a lower term is no leader; the candidate goes on.
#[test]
fn a_candidate_rejects_a_leader_of_a_lower_term_and_stays_one() {
    let mut member = candidate(&[1]);
    member.receive_append(3, 1, &[1, 1], 1, 0);
    assert_eq!((member.raft.role(), member.raft.term(), member.terms()), (Role::Candidate, Term(2), vec![1]));
}

/// 5.2: a vote is first come, first served, and a candidate has given its own to itself.
#[test]
fn a_candidate_gives_its_vote_to_nobody_else() {
    let mut member = candidate(&[1]);
    member.sync();
    member.drain();
    let (last_index, last_term) = (LogIndex(9), Term(1));
    let body = Body::RequestVote { term: Term(2), last_index, last_term, incarnation: 1, forced: true };
    member.receive(3, body);
    let refused = Body::VoteResp { term: Term(2), rejected: true, incarnation: 1 };
    assert_eq!(member.sends().iter().map(|message| message.body).collect::<Vec<_>>(), [refused]);
}

/// 5.2: a split vote ends with a new term once the deadline has passed again.
#[test]
fn after_a_split_vote_the_next_election_has_a_higher_term() {
    let mut member = candidate(&[1]);
    member.sync();
    member.pass_deadline();
    assert_eq!(
        (member.raft.role(), member.raft.term()),
        (Role::PreCandidate, Term(2)),
        "asked for before it is raised"
    );
    member.receive(3, Body::PreVoteResp { term: Term(3), rejected: false, incarnation: 7 });
    assert_eq!((member.raft.role(), member.raft.term()), (Role::Candidate, Term(3)));
    assert_eq!(member.raft.vote(), Some(NodeId(1)));
}

/// 5.1: terms rise and never fall.
#[test]
fn no_message_lowers_a_term() {
    let mut member = member(&[1, 4]);
    member.receive_append(2, 2, &[1, 2], 1, 0);
    member.receive_heartbeat(2, 3, 1);
    member.receive(3, Body::VoteResp { term: Term(2), rejected: false, incarnation: 7 });
    assert_eq!((member.raft.term(), member.terms(), member.commit()), (Term(4), vec![1, 4], 0));
}

/// Figure 2: commitIndex increases monotonically.
#[test]
fn a_late_message_with_a_lower_commit_takes_nothing_back() {
    let mut member = member(&[1, 1, 1]);
    member.receive_heartbeat(2, 1, 3);
    assert_eq!(member.commit(), 3);
    member.receive_heartbeat(2, 1, 1);
    member.receive_append(2, 1, &[1, 1, 1], 3, 2);
    assert_eq!(member.commit(), 3);
}

/// 5.5: requests are idempotent: entries that are there are ignored, and acked again.
#[test]
fn the_same_entries_twice_change_nothing_and_are_acked_twice() {
    let mut member = member(&[1]);
    for round in 0..2 {
        member.receive_append(2, 1, &[1, 1, 1], 1, 0);
        member.drain();
        member.sync();
        assert_eq!(member.terms(), [1, 1, 1], "round {round}");
        assert_eq!(member.raft.persisted_index(), LogIndex(3));
    }
    member.receive_append(2, 1, &[1, 1, 1], 1, 0);
    assert_eq!(acks(&member.sends()), [(3, false, (0, 0))]);
}

/// 5.3, leader append-only: a leader adds entries and never rewrites one.
#[test]
fn a_leader_appends_and_never_overwrites() {
    let mut member = Member::leader(1, voters(&[1, 2, 3]), &[1]);
    let before = member.terms();
    assert!(matches!(member.propose(b"x"), Outcome::Proposed { .. }));
    member.receive_rejection(2, 1, (0, 0));
    member.receive_append(3, 1, &[1, 1, 1], 1, 0);
    assert_eq!(member.terms()[..before.len()], before);
    assert_eq!(member.terms().len(), before.len() + 1);
}

/// 5.1: followers are passive: they issue no request of their own.
#[test]
fn a_follower_sends_nothing_unasked() {
    let mut member = member(&[1, 1]);
    member.drain();
    member.wait(100);
    assert!(member.sends().is_empty());
    member.receive_heartbeat(2, 1, 0);
    let sent = member.sends();
    assert!(sent.iter().all(|message| message.to == NodeId(2) && matches!(message.body, Body::HeartbeatAck { .. })));
    assert_eq!(sent.len(), 1);
}
