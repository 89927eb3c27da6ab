//! Raft 5.2 and 5.4.1; thesis 4.2.3, 6.2 and 9.6.

use base::mono::Span;
use base::{LogIndex, NodeId, Term};
use raft::{Alarm, Body, Config, HardState, Input, Outcome, Role};

use crate::common::member::{Member, appends};
use crate::common::voters;

fn ask(member: &mut Member, from: u64, term: u64, last: (u64, u64), forced: bool) -> Vec<Body> {
    let body = Body::RequestVote {
        term: Term(term),
        last_term: Term(last.0),
        last_index: LogIndex(last.1),
        incarnation: 1,
        forced,
    };
    member.receive(from, body);
    member.drain().send_after_sync.iter().map(|message| message.body).collect()
}

fn granted(term: u64) -> Vec<Body> {
    vec![Body::VoteResp { term: Term(term), rejected: false, incarnation: 1 }]
}

fn refused(term: u64) -> Vec<Body> {
    vec![Body::VoteResp { term: Term(term), rejected: true, incarnation: 1 }]
}

#[test]
fn deadlines_lie_within_the_settings_and_differ_between_nodes() {
    let mut drawn: Vec<u64> = (1..=20)
        .map(|id| {
            let member = Member::just_booted(id, voters(&[id]), &[], HardState::default());
            member.raft.next_deadline().since(member.now).as_us()
        })
        .collect();
    assert!(drawn.iter().all(|us| (500_000..1_000_000).contains(us)), "{drawn:?}");
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 20);
}

#[test]
fn a_pre_vote_raises_no_term_anywhere() {
    let mut asker = Member::new(1, voters(&[1, 2, 3]), &[1, 2]);
    asker.pass_deadline();
    assert_eq!((asker.raft.role(), asker.raft.term()), (Role::PreCandidate, Term(2)));
    let effects = asker.drain();
    assert_eq!((effects.hard_state, effects.send_now.len()), (None, 2));
    let mut voter = Member::new(2, voters(&[1, 2, 3]), &[1, 2]);
    voter.receive(1, effects.send_now[0].body);
    let effects = voter.drain();
    assert_eq!((voter.raft.term(), voter.raft.vote(), effects.hard_state), (Term(2), None, None));
    let answer = Body::PreVoteResp { term: Term(3), rejected: false, incarnation: 7 };
    assert_eq!(effects.send_now[0].body, answer, "nothing is unsynced: the answer leaves at once");
}

#[test]
fn a_pre_candidate_that_is_refused_by_a_quorum_follows_in_the_same_term() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1, 2]);
    member.pass_deadline();
    for from in [2, 3] {
        member.receive(from, Body::PreVoteResp { term: Term(2), rejected: true, incarnation: 7 });
    }
    assert_eq!((member.raft.role(), member.raft.term()), (Role::Follower, Term(2)));
}

#[test]
fn request_votes_and_the_own_vote_wait_for_the_disk() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.pass_deadline();
    member.drain();
    member.receive(2, Body::PreVoteResp { term: Term(2), rejected: false, incarnation: 7 });
    let effects = member.drain();
    assert_eq!(effects.hard_state, Some(HardState { term: Term(2), vote: NodeId(1) }));
    assert_eq!((effects.send_now.len(), effects.send_after_sync.len()), (0, 2));
    // One vote of another node is there before the own one: not yet a quorum.
    member.receive(3, Body::VoteResp { term: Term(2), rejected: false, incarnation: 7 });
    assert_eq!(member.raft.role(), Role::Candidate);
    assert_eq!(member.raft.release(&effects.send_after_sync[0]), None, "not released before the sync");
    member.sync();
    assert_eq!(member.raft.role(), Role::Leader);
}

#[test]
fn a_candidate_that_waits_for_its_disk_does_not_ask_anew() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.pass_deadline();
    member.receive(2, Body::PreVoteResp { term: Term(2), rejected: false, incarnation: 7 });
    member.drain();
    for _ in 0..5 {
        member.pass_deadline();
        assert_eq!((member.raft.role(), member.raft.term()), (Role::Candidate, Term(2)));
    }
    member.sync();
    assert!(member.raft.next_deadline() >= member.now + Span::from_ms(500), "its time begins with the sync");
}

#[test]
fn answers_to_an_earlier_life_are_dropped() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.pass_deadline();
    member.receive(2, Body::PreVoteResp { term: Term(2), rejected: false, incarnation: 6 });
    assert_eq!(member.raft.role(), Role::PreCandidate);
    member.receive(2, Body::PreVoteResp { term: Term(2), rejected: false, incarnation: 7 });
    member.drain();
    member.sync();
    member.receive(2, Body::VoteResp { term: Term(2), rejected: false, incarnation: 6 });
    assert_eq!(member.raft.role(), Role::Candidate);
}

#[test]
fn a_group_of_one_elects_itself_and_commits_with_syncs_alone() {
    let mut member = Member::new(1, voters(&[1]), &[]);
    member.pass_deadline();
    assert_eq!(member.raft.role(), Role::Candidate);
    member.sync();
    assert_eq!(member.raft.role(), Role::Candidate, "that sync did not hold its vote");
    member.drain();
    member.sync();
    assert_eq!((member.raft.role(), member.commit()), (Role::Leader, 0));
    assert!(matches!(member.propose(b"one"), Outcome::Proposed { index: LogIndex(2), term: Term(1) }));
    member.sync();
    assert_eq!(member.drain().commit, Some(LogIndex(2)));
}

#[test]
fn a_new_leader_appends_an_entry_of_its_term_and_probes_with_it() {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[1, 1]);
    assert_eq!(leader.terms(), [1, 1, 2]);
    let sent = leader.sends();
    assert_eq!(appends(&sent), [(2, 2, 1), (3, 2, 1)]);
}

#[test]
fn one_vote_is_given_per_term_and_given_again_to_the_same() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    assert_eq!(ask(&mut member, 2, 5, (1, 1), false), granted(5));
    assert_eq!(ask(&mut member, 3, 5, (9, 9), false), refused(5));
    assert_eq!(ask(&mut member, 2, 5, (1, 1), false), granted(5));
    assert_eq!(ask(&mut member, 3, 6, (9, 9), false), granted(6));
}

#[test]
fn a_vote_needs_a_log_as_good_as_ours_unsynced_entries_included() {
    for (last, is_granted) in [((3, 1), true), ((2, 3), true), ((2, 2), false), ((1, 9), false)] {
        let mut member = Member::new(1, voters(&[1, 2, 3]), &[1, 1]);
        member.receive_append(3, 2, &[1, 1, 2], 2, 0);
        member.wait(1000);
        let answer = ask(&mut member, 2, 7, last, false);
        assert!(answer.ends_with(&if is_granted { granted(7) } else { refused(7) }), "{last:?}");
    }
}

#[test]
fn who_hears_a_leader_refuses_in_silence_unless_the_leader_wishes_it() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.receive_heartbeat(3, 1, 0);
    member.drain();
    assert_eq!(ask(&mut member, 2, 2, (1, 1), false), []);
    let pre_vote = Body::PreVote { term: Term(2), last_index: LogIndex(1), last_term: Term(1), incarnation: 1 };
    member.receive(2, pre_vote);
    assert!(member.sends().is_empty());
    assert_eq!(member.raft.term(), Term(1));
    assert_eq!(ask(&mut member, 2, 2, (1, 1), true), granted(2));
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.receive_heartbeat(3, 1, 0);
    member.drain();
    member.wait(500);
    assert_eq!(ask(&mut member, 2, 2, (1, 1), false), granted(2));
}

#[test]
fn right_after_its_start_a_node_votes_for_nobody_and_does_not_campaign() {
    let mut member = Member::just_booted(1, voters(&[1, 2, 3]), &[1], HardState { term: Term(1), vote: NodeId(0) });
    member.drain();
    assert_eq!(ask(&mut member, 2, 2, (1, 1), true), [], "not even when a transfer asks");
    member.wait(500);
    assert_eq!(ask(&mut member, 2, 2, (1, 1), false), granted(2));
}

#[test]
fn a_leader_of_the_past_is_told_the_term() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[5]);
    member.receive_heartbeat(2, 3, 0);
    member.receive_append(2, 3, &[3], 0, 0);
    let pre_vote = Body::PreVote { term: Term(4), last_index: LogIndex(9), last_term: Term(4), incarnation: 1 };
    member.receive(2, pre_vote);
    let sent = member.sends();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|message| message.body.term() == Term(5)));
    assert_eq!(member.terms(), [5]);
}

#[test]
fn a_leader_that_no_quorum_answers_steps_down() {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    leader.wait(600);
    leader.receive_heartbeat_ack(2, 0);
    let heard = leader.now;
    leader.pass_deadline();
    assert!(leader.raft.is_leader(), "node 2 answered 400 ms ago");
    assert_eq!(leader.raft.next_deadline(), heard + Span::from_ms(1000));
    leader.pass_deadline();
    assert_eq!((leader.raft.role(), leader.raft.term()), (Role::Follower, Term(1)));
}

#[test]
fn a_slow_disk_ends_leadership_and_forbids_campaigns() {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    leader.step(Input::DiskLag { oldest_unsynced_us: 2_000_001, now: leader.now });
    assert_eq!(leader.raft.role(), Role::Follower);
    assert_eq!(leader.raft.heartbeat(NodeId(2), leader.now), None);
    leader.pass_deadline();
    assert_eq!(leader.raft.role(), Role::Follower);
    leader.step(Input::DiskLag { oldest_unsynced_us: 0, now: leader.now });
    leader.pass_deadline();
    assert_eq!(leader.raft.role(), Role::PreCandidate);
}

#[test]
fn a_node_of_no_configuration_is_silent_but_votes_when_asked() {
    let mut member = Member::new(4, Config::default(), &[]);
    assert_eq!(member.raft.next_deadline(), base::Mono::MAX);
    member.step(Input::Campaign { now: member.now });
    assert_eq!(member.raft.role(), Role::Follower);
    assert_eq!(ask(&mut member, 2, 2, (1, 1), false), granted(2));
}

#[test]
fn two_leaders_of_one_term_stop_the_group() {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    leader.receive_heartbeat(2, 1, 0);
    assert_eq!(leader.drain().alarm, Some(Alarm::TwoLeaders));
    assert_eq!(leader.propose(b"x"), Outcome::NotLeader { hint: None });
    assert_eq!(leader.raft.next_deadline(), base::Mono::MAX);
    let mut follower = Member::new(1, voters(&[1, 2, 3]), &[1]);
    follower.receive_heartbeat(2, 1, 0);
    follower.receive_heartbeat(3, 1, 0);
    assert_eq!(follower.drain().alarm, Some(Alarm::TwoLeaders));
}

#[test]
fn a_message_of_a_term_that_is_over_is_not_released() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.receive(
        2,
        Body::RequestVote { term: Term(2), last_index: LogIndex(1), last_term: Term(1), incarnation: 1, forced: false },
    );
    let vote = member.drain().send_after_sync[0];
    member.receive_heartbeat(3, 3, 0);
    member.drain();
    member.sync();
    assert_eq!(member.raft.release(&vote), None);
}

#[test]
fn a_term_that_only_the_log_tells_is_adopted_without_a_vote_and_written() {
    let mut member = Member::just_booted(1, voters(&[1, 2]), &[1, 4], HardState { term: Term(3), vote: NodeId(2) });
    assert_eq!((member.raft.term(), member.raft.vote()), (Term(4), None));
    assert_eq!(member.drain().hard_state, Some(HardState { term: Term(4), vote: NodeId(0) }));
}
