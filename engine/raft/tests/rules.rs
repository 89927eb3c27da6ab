//! The rules of the papers and of docs/design/raft.md, one test each, on one node whose peers are played by the test.
//! Source: Ongaro and Ousterhout 2014 ("Raft"), Ongaro's thesis 2014.

#[allow(dead_code, reason = "shared with the swarm, which uses the rest")]
#[path = "swarm/log_twin.rs"]
mod log_twin;
#[path = "rules/rig.rs"]
mod rig;

use base::mono::Span;
use base::{LogIndex, NodeId, Term};
use raft::{Body, Input, Log, Outcome, Progress, Role};
use rig::{INCARNATION, LEASE, Rig, acked, append_resp, appends, granted};

// Elections.

#[test]
fn a_node_votes_once_in_a_term_and_repeats_that_vote() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
    rig.ask_vote(2, 2, (1, 1), false);
    assert_eq!(granted(&rig.sync()), [2]);
    rig.ask_vote(3, 2, (1, 5), false);
    assert_eq!(granted(&rig.sync()), []);
    rig.ask_vote(2, 2, (1, 1), false);
    let again = rig.drain();
    assert_eq!(granted(&again), [2], "it is on disk already, so it leaves at once");
}

#[test]
fn a_vote_goes_to_a_log_that_is_as_long_or_of_a_later_term() {
    for (last, is_granted) in [((2, 2), false), ((1, 9), false), ((2, 3), true), ((2, 4), true), ((3, 1), true)] {
        let mut rig = Rig::new(&[1, 2, 3], 3, &[1, 2, 2]);
        rig.ask_vote(2, 4, last, false);
        assert_eq!(!granted(&rig.sync()).is_empty(), is_granted, "last (term, index) {last:?}");
        assert_eq!(rig.raft.term(), Term(4), "the term counts, granted or not");
    }
}

#[test]
fn unsynced_entries_count_when_a_vote_is_asked_for() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
    rig.append(2, 1, &[1, 1, 1], 1, 0);
    rig.now = rig.now + LEASE;
    rig.ask_vote(3, 2, (1, 2), false);
    assert_eq!(granted(&rig.sync()), []);
}

#[test]
fn nobody_votes_in_the_first_half_second_of_a_life() {
    for (forced, waited) in [(false, 499), (true, 499), (false, 500)] {
        let mut rig = Rig::just_booted(&[1, 2, 3], 1, &[1]);
        rig.now = rig.now + Span::from_ms(waited);
        rig.ask_vote(2, 2, (1, 1), forced);
        let is_early = waited < 500;
        assert_eq!(granted(&rig.sync()).is_empty(), is_early);
        assert_eq!(rig.raft.term(), if is_early { Term(1) } else { Term(2) });
    }
}

#[test]
fn who_hears_a_leader_votes_for_nobody_unless_that_leader_asked_for_it() {
    for (waited, forced, is_granted) in [(499, false, false), (499, true, true), (500, false, true)] {
        let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
        rig.append(2, 1, &[1], 1, 0);
        rig.now = rig.now + Span::from_ms(waited);
        rig.ask_vote(3, 2, (1, 1), forced);
        assert_eq!(!granted(&rig.sync()).is_empty(), is_granted);
        assert_eq!(rig.raft.term().0, if is_granted { 2 } else { 1 });
    }
}

#[test]
fn a_pre_vote_changes_nothing() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
    let (term, incarnation) = (Term(7), 4);
    rig.message(2, Body::PreVote { term, last_index: LogIndex(1), last_term: Term(1), incarnation });
    assert!(rig.drain().iter().any(|out| out.body == Body::PreVoteResp { term, rejected: false, incarnation }));
    assert_eq!((rig.raft.term(), rig.raft.vote()), (Term(1), None));
}

#[test]
fn a_higher_term_makes_a_follower_of_every_role() {
    let mut leader = Rig::leader(&[1, 2, 3], 2, &[1]);
    leader.message(2, append_resp(3, 1, true, (0, 0)));
    assert_eq!((leader.raft.role(), leader.raft.term()), (Role::Follower, Term(3)));
    let mut candidate = Rig::new(&[1, 2, 3], 1, &[1]);
    candidate.campaign();
    assert_eq!(candidate.raft.role(), Role::Candidate);
    candidate.append(3, 3, &[1], 1, 0);
    assert_eq!((candidate.raft.role(), candidate.raft.leader()), (Role::Follower, Some(NodeId(3))));
}

#[test]
fn a_candidate_asks_for_votes_only_once_its_own_is_on_disk() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
    rig.campaign();
    let asks = |sent: &[raft::Outgoing]| sent.iter().filter(|out| matches!(out.body, Body::RequestVote { .. })).count();
    assert_eq!(asks(&rig.drain()), 0);
    assert_eq!(asks(&rig.sync()), 2);
    rig.message(2, Body::VoteResp { term: Term(2), rejected: false, incarnation: INCARNATION - 1 });
    assert_eq!(rig.raft.role(), Role::Candidate, "a grant to an earlier life does not count");
    rig.message(2, Body::VoteResp { term: Term(2), rejected: false, incarnation: INCARNATION });
    assert_eq!(rig.raft.role(), Role::Leader);
}

#[test]
fn a_vote_leaves_only_once_it_is_on_disk() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
    rig.ask_vote(2, 2, (1, 1), false);
    assert_eq!(granted(&rig.drain()), []);
    assert_eq!(granted(&rig.sync()), [2]);
}

#[test]
fn a_single_voter_elects_itself_and_commits_what_is_on_its_disk() {
    let mut rig = Rig::new(&[1], 1, &[1]);
    rig.campaign();
    assert_eq!(rig.raft.role(), Role::Candidate);
    rig.sync();
    assert_eq!((rig.raft.role(), rig.commit), (Role::Leader, LogIndex(0)));
    rig.propose();
    rig.sync();
    assert_eq!(rig.commit, LogIndex(3));
}

#[test]
fn a_leader_that_hears_no_quorum_for_a_second_steps_down() {
    let mut rig = Rig::leader(&[1, 2, 3], 2, &[1]);
    let start = rig.now;
    for (waited, is_leader) in [(999, true), (1000, false)] {
        rig.now = start + Span::from_ms(waited);
        rig.raft.step(&mut rig.log, Input::Tick { now: rig.now });
        assert_eq!(rig.raft.is_leader(), is_leader);
    }
    assert_eq!(rig.raft.term(), Term(2));
}

// Replication and commit.

#[test]
fn entries_of_earlier_terms_are_committed_only_by_one_of_the_own() {
    let mut rig = Rig::leader(&[1, 2, 3], 4, &[1, 2]);
    rig.sync();
    rig.ack(2, 2);
    rig.drain();
    assert_eq!(rig.commit, LogIndex(0), "a majority holds entry 2, but it is of term 2");
    rig.ack(2, 3);
    rig.drain();
    assert_eq!(rig.commit, LogIndex(3));
}

#[test]
fn a_leader_counts_itself_by_its_own_disk() {
    let mut rig = Rig::leader(&[1, 2, 3], 2, &[1]);
    rig.ack(2, 2);
    rig.drain();
    assert_eq!(rig.commit, LogIndex(0));
    rig.sync();
    assert_eq!(rig.commit, LogIndex(2));
    rig.propose();
    rig.drain();
    rig.ack(2, 3);
    rig.ack(3, 3);
    rig.drain();
    assert_eq!(rig.commit, LogIndex(3), "the followers alone are a majority");
}

#[test]
fn a_conflict_cuts_the_log_and_a_short_stale_message_does_not() {
    let mut rig = Rig::new(&[1, 2, 3], 3, &[1, 1, 2, 2]);
    rig.append(2, 3, &[1, 1], 1, 0);
    assert_eq!(rig.terms(), [1, 1, 2, 2]);
    assert_eq!(acked(&rig.drain()), [2], "no more than the message matched");
    rig.append(2, 3, &[1, 1, 3], 2, 0);
    assert_eq!(rig.terms(), [1, 1, 3]);
    rig.append(2, 3, &[1, 1], 0, 0);
    assert_eq!(rig.terms(), [1, 1, 3]);
}

#[test]
fn an_ack_leaves_after_the_sync_and_never_says_more_than_is_on_disk() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
    rig.append(2, 1, &[1, 1], 1, 0);
    assert_eq!(acked(&rig.drain()), []);
    let early = rig.log.close();
    rig.append(2, 1, &[1, 1, 1], 2, 0);
    assert_eq!(acked(&rig.drain()), []);
    assert_eq!(acked(&rig.synced(early)), [2, 2], "asked too early, the second ack is lowered");
    rig.append(2, 1, &[1, 1, 1], 2, 0);
    assert_eq!(acked(&rig.drain()), []);
    assert_eq!(acked(&rig.sync()), [3]);
}

#[test]
fn a_sync_of_entries_that_were_replaced_acks_none_of_their_successors() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1]);
    rig.append(2, 1, &[1, 1, 1], 1, 0);
    rig.drain();
    let first = rig.log.close();
    rig.append(3, 2, &[1, 2, 2], 1, 0);
    rig.drain();
    let second = rig.log.close();
    assert_eq!(acked(&rig.synced(first)), []);
    assert_eq!(rig.raft.persisted_index(), LogIndex(1));
    rig.synced(second);
    assert_eq!(rig.raft.persisted_index(), LogIndex(3));
}

#[test]
fn a_rejection_names_the_last_entry_that_may_match_and_the_leader_jumps_there() {
    let mut follower = Rig::new(&[1, 2, 3], 5, &[1, 1, 4, 4, 4]);
    follower.append(2, 5, &[1, 1, 2, 2, 3, 5], 5, 0);
    let sent = follower.drain();
    let hint = sent.iter().find_map(|out| match out.body {
        Body::AppendResp { index, rejected: true, hint_index, hint_term, .. } => Some((index, hint_index, hint_term)),
        _ => None,
    });
    assert_eq!(hint, Some((LogIndex(5), LogIndex(2), Term(1))), "all of term 4 is passed over at once");

    let mut leader = Rig::leader(&[1, 2, 3], 6, &[1, 1, 3, 3, 5]);
    leader.message(2, append_resp(6, 5, true, (4, 2)));
    assert_eq!(appends(&leader.drain(), 2), [(2, 4)], "all of term 3 is passed over at once");
    leader.message(2, append_resp(6, 5, true, (1, 1)));
    assert_eq!(appends(&leader.drain(), 2), [], "an echo of the past");
}

#[test]
fn a_late_message_is_answered_with_what_is_committed() {
    let mut rig = Rig::new(&[1, 2, 3], 1, &[1, 1, 1]);
    rig.append(2, 1, &[1, 1, 1], 3, 3);
    rig.sync();
    rig.append(2, 1, &[1], 0, 0);
    assert_eq!(acked(&rig.drain()), [3]);
}

// Membership and transfer.

/// A leader of nodes 1, 2 and 3 in term 2 whose no-op, entry 2, is committed.
fn settled_leader() -> Rig {
    let mut rig = Rig::leader(&[1, 2, 3], 2, &[1]);
    rig.sync();
    rig.ack(2, 2);
    rig.ack(3, 2);
    rig.drain();
    assert_eq!(rig.commit, LogIndex(2));
    rig
}

#[test]
fn no_change_begins_before_the_own_term_has_committed_nor_beside_another() {
    let mut rig = Rig::leader(&[1, 2, 3], 2, &[1]);
    assert_eq!(rig.change(&[4], &[3]), Outcome::ConfigBusy);
    let mut rig = settled_leader();
    assert_eq!(rig.change(&[4], &[3]), Outcome::Proposed { index: LogIndex(3), term: Term(2) });
    assert_eq!(rig.change(&[5], &[]), Outcome::ConfigBusy);
}

#[test]
fn a_joint_configuration_needs_both_halves_and_is_then_left() {
    let mut rig = settled_leader();
    rig.change(&[4, 5], &[2, 3]);
    rig.sync();
    assert!(rig.raft.config().is_joint());
    rig.ack(4, 3);
    rig.ack(5, 3);
    rig.drain();
    assert_eq!(rig.commit, LogIndex(2), "the old half has only the leader");
    rig.ack(2, 3);
    rig.drain();
    assert_eq!(rig.commit, LogIndex(3));
    assert_eq!(rig.raft.config().incoming(), rig::nodes(&[1, 4, 5]));
    assert!(!rig.raft.config().is_joint(), "in force when it is appended");
}

#[test]
fn a_configuration_is_undone_when_its_entry_is_cut_off() {
    let mut rig = settled_leader();
    rig.change(&[4], &[3]);
    assert!(rig.raft.config().is_joint());
    rig.append(3, 3, &[1], 1, 0);
    assert!(rig.raft.config().is_joint(), "nothing conflicts yet");
    let mut follower = Rig::new(&[1, 2, 3], 2, &[1]);
    let config = follower.raft.config().clone();
    let joint = rig.log.records(LogIndex(2), 2);
    let entries = base::record::Records::check_entries(&joint, 2, log_twin::GROUP, LogIndex(2)).expect("sound");
    let body = Body::AppendEntries {
        term: Term(2),
        prev_index: LogIndex(1),
        prev_term: Term(1),
        prev_crc: 0,
        commit_index: LogIndex(0),
        read_position: 0,
        count: 2,
        send_mono: follower.now,
    };
    follower.raft.step(&mut follower.log, Input::Message { from: NodeId(2), body, entries, now: follower.now });
    assert!(follower.raft.config().is_joint());
    follower.append(3, 3, &[1, 3], 1, 0);
    assert_eq!(follower.raft.config(), &config);
}

#[test]
fn a_leader_that_is_removed_steps_down_once_that_is_committed() {
    let mut rig = settled_leader();
    rig.change(&[], &[1]);
    rig.sync();
    rig.ack(2, 3);
    rig.ack(3, 3);
    rig.sync();
    assert!(!rig.raft.config().is_joint());
    assert!(rig.raft.is_leader(), "the joint configuration is committed, the new one is not");
    assert_eq!(rig.raft.config().incoming(), rig::nodes(&[2, 3]));
    assert_eq!(rig.propose(), Outcome::NotLeader { hint: None });
    rig.ack(2, 4);
    assert!(rig.raft.is_leader(), "it does not count itself");
    rig.ack(3, 4);
    let sent = rig.drain();
    assert_eq!((rig.raft.role(), rig.commit), (Role::Follower, LogIndex(4)));
    assert!(sent.iter().any(|out| matches!(out.body, Body::TimeoutNow { .. })), "the next leader need not wait");
}

#[test]
fn a_transfer_waits_until_the_target_holds_everything_and_loses_nothing() {
    let mut rig = settled_leader();
    rig.propose();
    rig.sync();
    let now = rig.now;
    let asks = |sent: &[raft::Outgoing]| sent.iter().any(|out| matches!(out.body, Body::TimeoutNow { .. }));
    assert_eq!(rig.raft.step(&mut rig.log, Input::Transfer { target: NodeId(2), now }), Outcome::Done);
    assert!(!asks(&rig.drain()));
    assert_eq!(rig.propose(), Outcome::Transferring);
    rig.ack(2, 3);
    assert!(asks(&rig.drain()));
    assert_eq!(rig.commit, LogIndex(3));
    rig.now = rig.now + Span::from_ms(1000);
    rig.ack(3, 3);
    rig.raft.step(&mut rig.log, Input::Tick { now: rig.now });
    assert!(matches!(rig.propose(), Outcome::Proposed { .. }), "a transfer that took too long is given up");

    let mut target = Rig::new(&[1, 2, 3], 2, &[1, 2]);
    target.append(2, 2, &[1, 2], 2, 2);
    target.message(2, Body::TimeoutNow { term: Term(2), read_position: 0 });
    assert_eq!((target.raft.role(), target.raft.term()), (Role::Candidate, Term(3)));
    let sent = target.sync();
    assert!(sent.iter().any(|out| matches!(out.body, Body::RequestVote { forced: true, .. })));
}

// Snapshots.

#[test]
fn a_follower_that_refuses_a_snapshot_is_asked_where_it_stands_before_it_gets_another() {
    let mut rig = settled_leader();
    rig.log.compact(LogIndex(2));
    rig.message(3, append_resp(2, 2, true, (0, 0)));
    rig.raft.step(&mut rig.log, Input::PeerUp { peer: NodeId(3), incarnation: 1 });
    rig.raft.step(&mut rig.log, Input::PeerUp { peer: NodeId(3), incarnation: 2 });
    rig.drain();
    // Its new life knows that it lost entries.
    let mut resp = append_resp(2, 2, true, (0, 0));
    if let Body::AppendResp { faulty, .. } = &mut resp {
        *faulty = true;
    }
    rig.message(3, resp);
    rig.drain();
    let progress = |rig: &Rig| rig.raft.peers().iter().find(|peer| peer.id == NodeId(3)).map(|peer| peer.progress);
    assert!(matches!(progress(&rig), Some(Progress::Snapshot { .. })));
    rig.raft.step(&mut rig.log, Input::SnapshotReport { peer: NodeId(3), installed: None });
    assert_eq!(appends(&rig.drain(), 3), [], "not in the same turn");
    rig.now = rig.now + Span::from_ms(50);
    rig.message(3, heartbeat_ack(0));
    assert_eq!(appends(&rig.drain(), 3), [(2, 0)]);
    rig.ack(3, 2);
    assert_eq!(progress(&rig), Some(Progress::Replicate));
}

#[test]
fn a_peer_that_begins_again_before_it_answered_is_asked_where_it_stood_and_gets_no_snapshot() {
    let mut rig = settled_leader();
    rig.log.compact(LogIndex(2));
    let stood = appends_after(&mut rig, &[]);
    assert_eq!(stood, [], "settled");
    for incarnation in 1..4 {
        let up = Input::PeerUp { peer: NodeId(3), incarnation };
        assert_eq!(appends_after(&mut rig, &[up]), [(2, 0)], "life {incarnation}");
    }
    let down = Input::PeerDown { peer: NodeId(3) };
    let up = Input::PeerUp { peer: NodeId(3), incarnation: 4 };
    assert_eq!(appends_after(&mut rig, &[down, up]), [(2, 0)]);
    rig.ack(3, 2);
    let peer = rig.raft.peers().iter().find(|peer| peer.id == NodeId(3)).map(|peer| (peer.progress, peer.match_index));
    assert_eq!(peer, Some((Progress::Replicate, LogIndex(2))));
}

/// What is sent to node 3 after these inputs: the entry before the first, and how many.
fn appends_after(rig: &mut Rig, inputs: &[Input<'static>]) -> Vec<(u64, u16)> {
    for input in inputs {
        rig.raft.step(&mut rig.log, *input);
    }
    appends(&rig.drain(), 3)
}

// Reads.

fn heartbeat_ack(read_position: u64) -> Body {
    Body::HeartbeatAck { term: Term(2), read_position, quiesce: false, echo_mono: base::Mono(0) }
}

#[test]
fn a_read_waits_for_an_own_entry_to_be_committed_and_for_a_quorum_to_answer_after_it() {
    let mut rig = Rig::leader(&[1, 2, 3], 2, &[1]);
    rig.sync();
    assert_eq!(rig.read(), Outcome::ReadJoined { position: 1 });
    rig.drain();
    rig.message(2, heartbeat_ack(1));
    rig.drain();
    assert_eq!(rig.reads, [], "nothing of term 2 is committed");
    rig.ack(2, 2);
    rig.drain();
    assert_eq!(rig.reads, [(1, LogIndex(2))]);
    assert_eq!(rig.read(), Outcome::ReadJoined { position: 2 });
    rig.drain();
    rig.message(2, heartbeat_ack(1));
    rig.drain();
    assert_eq!(rig.reads.len(), 1, "an answer from before the read proves nothing");
    rig.message(3, heartbeat_ack(2));
    rig.drain();
    assert_eq!(rig.reads, [(1, LogIndex(2)), (2, LogIndex(2))]);
}

#[test]
fn reads_of_a_turn_share_a_position_until_it_has_left() {
    let mut rig = settled_leader();
    assert_eq!((rig.read(), rig.read()), (Outcome::ReadJoined { position: 1 }, Outcome::ReadJoined { position: 1 }));
    rig.drain();
    assert_eq!(rig.read(), Outcome::ReadJoined { position: 2 });
    assert_eq!(rig.log.last_index(), LogIndex(2), "a read writes nothing");
}
