//! Storage faults, rule by rule (docs/design/raft.md, "Storage faults").

use base::record::Records;
use base::{LogIndex, NodeId, Term};
use raft::{Alarm, Body, Config, HardState, Health, Input, Log, NO_HINT, Outcome, Outgoing};

use crate::common::member::{Member, acks, appends, chain};
use crate::common::{records, voters};

/// Node 1 of so many voters, whose log of these terms is damaged; 2 s after its start, in the term of its last entry.
fn damaged(count: u64, terms: &[u64], health: Health, lost: &[u64]) -> Member {
    let config = voters(&(1..=count).collect::<Vec<_>>());
    let hard_state = HardState { term: Term(*terms.last().unwrap()), vote: NodeId(0) };
    let mut member = Member::damaged(1, config, terms, hard_state, health, lost);
    member.wait(2000);
    member
}

fn tick(member: &mut Member) -> Vec<Outgoing> {
    member.step(Input::Tick { now: member.now });
    member.sends()
}

/// Peer, first entry, its term, last entry and doubt term of every question.
fn asks(sent: &[Outgoing]) -> Vec<(u64, u64, u64, u64, u64)> {
    let one = |message: &Outgoing| match message.body {
        Body::EntryFetch { first_index, first_term, last_index, doubt_term, .. } => {
            Some((message.to.0, first_index.0, first_term.0, last_index.0, doubt_term.0))
        }
        _ => None,
    };
    sent.iter().filter_map(one).collect()
}

/// Entries `first ..` of a log of these terms, as a peer answers with.
fn receive_copy(member: &mut Member, from: u64, terms: &[u64], first: u64, count: u16) {
    let bytes: Vec<u8> =
        chain(terms)[first as usize - 1..].iter().take(count.into()).flat_map(|e| e.raw.clone()).collect();
    let body = answer(1, first, (1, 1), Health::Clean, count, false);
    let (from, now) = (NodeId(from), member.now);
    member.step(Input::Message { from, body, entries: records(&bytes, count, first), now });
}

fn answer(term: u64, first: u64, last: (u64, u64), health: Health, count: u16, absent: bool) -> Body {
    Body::EntryFetchResp {
        term: Term(term),
        first_index: LogIndex(first),
        last_index: LogIndex(last.1),
        last_term: Term(last.0),
        health,
        count,
        rejected: false,
        absent,
    }
}

fn absent(member: &mut Member, from: u64, term: u64, first: u64) {
    member.receive(from, answer(term, first, (1, 1), Health::Clean, 0, true));
}

fn told(member: &mut Member, from: u64, term: u64, last: (u64, u64), health: Health) {
    member.receive(from, answer(term, last.1 + 1, last, health, 0, true));
}

/// Does it vote for node 2, whose last entry is this, in a term of its own?
fn votes_for(member: &mut Member, last: (u64, u64)) -> bool {
    let term = Term(member.raft.term().0 + 1);
    let (last_term, last_index) = (Term(last.0), LogIndex(last.1));
    member.receive(2, Body::RequestVote { term, last_index, last_term, incarnation: 1, forced: false });
    let votes = member.drain().send_after_sync.into_iter();
    votes.fold(None, |_, out| match out.body {
        Body::VoteResp { rejected, .. } => Some(!rejected),
        _ => None,
    }) == Some(true)
}

fn is_asking_for_votes(sent: &[Outgoing]) -> bool {
    sent.iter().any(|out| matches!(out.body, Body::PreVote { .. } | Body::RequestVote { .. }))
}

// Faulty.

#[test]
fn faulty_entries_count_as_present_in_votes() {
    assert!(!votes_for(&mut damaged(3, &[1, 1, 2], Health::Faulty, &[3]), (1, 2)));
    assert!(!votes_for(&mut damaged(3, &[1, 1, 2], Health::Faulty, &[1]), (1, 9)));
    assert!(votes_for(&mut damaged(3, &[1, 1, 2], Health::Faulty, &[3]), (2, 3)));
}

#[test]
fn a_faulty_node_asks_everybody_and_does_not_campaign() {
    let mut member = damaged(3, &[1, 1, 2, 2], Health::Faulty, &[2, 3]);
    let sent = tick(&mut member);
    assert_eq!(asks(&sent), [(2, 2, 1, 3, 3), (3, 2, 1, 3, 3)]);
    assert!(!is_asking_for_votes(&sent));
    member.step(Input::Campaign { now: member.now });
    assert!(!is_asking_for_votes(&member.sends()));
    assert_eq!(asks(&tick(&mut member)), [], "not before the next round");
    member.wait(200);
    assert_eq!(asks(&tick(&mut member)).len(), 2);
}

#[test]
fn an_intact_copy_is_written_again_and_the_log_is_clean_once_that_is_on_disk() {
    let terms = [1, 1, 2, 2];
    let mut member = damaged(3, &terms, Health::Faulty, &[2, 4]);
    tick(&mut member);
    receive_copy(&mut member, 2, &terms, 2, 1);
    assert_eq!(asks(&member.sends()), [(2, 4, 2, 4, 3)], "who had this one may have the next");
    receive_copy(&mut member, 2, &terms, 4, 1);
    assert_eq!((member.log.first_faulty(), member.raft.health()), (None, Health::Faulty), "not on disk yet");
    assert_eq!(member.raft.persisted_index(), LogIndex(1));
    member.sync();
    assert_eq!(member.drain().health, Some(Health::Clean));
    assert_eq!(member.raft.persisted_index(), LogIndex(4));
    member.wait(1000);
    assert!(is_asking_for_votes(&tick(&mut member)));
}

#[test]
fn a_copy_of_another_entry_is_not_taken() {
    let mut member = damaged(3, &[1, 1, 2], Health::Faulty, &[2]);
    tick(&mut member);
    // Of another term, and of the same term behind another entry.
    receive_copy(&mut member, 2, &[1, 2], 2, 1);
    receive_copy(&mut member, 2, &[0, 1], 2, 1);
    assert_eq!(member.log.first_faulty(), Some(LogIndex(2)));
}

#[test]
fn a_faulty_entry_is_not_applied_before_it_is_whole() {
    let terms = [1, 1, 1, 1];
    let mut member = damaged(3, &terms, Health::Faulty, &[3]);
    member.receive_heartbeat(2, 1, 4);
    assert_eq!(member.drain().commit, Some(LogIndex(2)));
    receive_copy(&mut member, 3, &terms, 3, 1);
    assert_eq!(member.drain().commit, Some(LogIndex(4)));
}

#[test]
fn to_a_leader_a_faulty_entry_is_missing_and_is_written_again() {
    let terms = [1, 1, 1, 1];
    let mut member = damaged(3, &terms, Health::Faulty, &[3]);
    // Committed entries too: the short cut for them would keep the leader from writing it.
    member.receive_heartbeat(2, 1, 4);
    member.drain();
    member.receive_append(2, 1, &terms, 4, 4);
    let sent = member.sends();
    assert_eq!(acks(&sent), [(4, true, (2, 1))]);
    assert!(sent.iter().any(|out| matches!(out.body, Body::AppendResp { faulty: true, .. })));
    member.receive_append(2, 1, &terms, 2, 4);
    let effects = member.drain();
    assert_eq!(acks(&effects.send_now), [], "the copy is not on disk");
    member.sync();
    let released: Vec<Outgoing> = effects.send_after_sync.iter().filter_map(|out| member.raft.release(out)).collect();
    assert_eq!(acks(&released), [(4, false, (0, 0))]);
    assert_eq!(member.raft.health(), Health::Clean);
}

#[test]
fn a_faulty_node_acks_below_its_first_faulty_entry() {
    let terms = [1, 1, 1, 1];
    let mut member = damaged(3, &terms, Health::Faulty, &[2, 4]);
    member.receive_append(2, 1, &terms[..3], 1, 0);
    let effects = member.drain();
    member.sync();
    let released: Vec<Outgoing> = effects.send_after_sync.iter().filter_map(|out| member.raft.release(out)).collect();
    assert_eq!(acks(&released), [(3, false, (0, 0))]);
}

#[test]
fn a_faulty_entry_is_not_served_and_not_absent() {
    let ask = |member: &mut Member, first: u64, term: u64| {
        let (first_index, first_term) = (LogIndex(first), Term(term));
        let last_index = LogIndex(first + 1);
        member.receive(2, Body::EntryFetch { term: Term(1), first_index, first_term, last_index, doubt_term: Term(1) });
        let body = member.sends().into_iter().map(|out| out.body).find(|body| body.entries().is_some());
        let Some(Body::EntryFetchResp { count, rejected, absent, .. }) = body else { panic!("no answer") };
        (count, rejected, absent)
    };
    let mut member = damaged(3, &[1, 1, 2, 2], Health::Faulty, &[2]);
    assert_eq!(ask(&mut member, 2, 1), (0, false, false));
    assert_eq!(ask(&mut member, 1, 1), (1, false, false), "up to the faulty one");
    assert_eq!(ask(&mut member, 3, 2), (2, false, false));
    assert_eq!(ask(&mut member, 3, 1), (0, false, true), "an entry of another term is not that entry");
    assert_eq!(ask(&mut member, 5, 2), (0, false, true));
    member.log.image.compact(1);
    assert_eq!(ask(&mut member, 1, 1), (0, true, false));
}

// Absent.

#[test]
fn what_enough_voters_never_had_is_cut() {
    let mut member = damaged(3, &[1, 1, 1], Health::Faulty, &[2]);
    tick(&mut member);
    absent(&mut member, 2, 2, 2);
    assert_eq!(member.last(), 3, "one of three voters is not enough");
    absent(&mut member, 3, 2, 2);
    assert_eq!((member.terms(), member.raft.health()), (vec![1], Health::Clean));
    assert_eq!(member.raft.term(), Term(2), "leaders that it acked the entry to are heard no more");
}

#[test]
fn absent_answers_of_a_term_in_which_the_entry_may_still_be_committed_do_not_count() {
    let mut member = damaged(3, &[1, 1, 1], Health::Faulty, &[2]);
    tick(&mut member);
    absent(&mut member, 2, 2, 2);
    absent(&mut member, 3, 1, 2);
    assert_eq!(member.last(), 3);
}

#[test]
fn absent_answers_count_from_voters_that_know_all_they_acked_and_for_the_lowest_faulty_entry() {
    let mut member = damaged(5, &[1, 1, 1], Health::Faulty, &[2, 3]);
    tick(&mut member);
    absent(&mut member, 2, 2, 2);
    absent(&mut member, 3, 2, 2);
    absent(&mut member, 4, 2, 3);
    assert_eq!(member.last(), 3, "another entry");
    member.receive(4, answer(2, 2, (1, 1), Health::RecoveringHead, 0, true));
    assert_eq!(member.last(), 3, "it may have had it");
    absent(&mut member, 6, 2, 2);
    assert_eq!(member.last(), 3, "no voter");
    member.receive(4, answer(2, 2, (1, 1), Health::Faulty, 0, true));
    assert_eq!(member.last(), 1);
}

#[test]
fn who_hears_no_leader_adopts_the_doubt_term_before_it_answers() {
    let ask = Body::EntryFetch {
        term: Term(1),
        first_index: LogIndex(2),
        first_term: Term(1),
        last_index: LogIndex(2),
        doubt_term: Term(5),
    };
    let mut member = damaged(3, &[1], Health::Clean, &[]);
    member.drain();
    member.receive(2, ask);
    assert_eq!((member.raft.term(), member.drain().send_now), (Term(5), vec![]), "its term is not on disk");
    member.sync();
    assert!(matches!(
        member.sends()[..],
        [Outgoing { body: Body::EntryFetchResp { term: Term(5), absent: true, .. }, .. }]
    ));

    let mut member = damaged(3, &[1], Health::Clean, &[]);
    member.drain();
    member.receive_heartbeat(3, 1, 0);
    member.drain();
    member.receive(2, ask);
    assert_eq!(member.raft.term(), Term(1));
    assert!(matches!(member.sends()[..], [Outgoing { body: Body::EntryFetchResp { term: Term(1), .. }, .. }]));
}

// RecoveringHead.

#[test]
fn a_lost_head_bars_votes_and_campaigns() {
    let mut member = damaged(3, &[1, 1], Health::RecoveringHead, &[]);
    assert!(!is_asking_for_votes(&tick(&mut member)));
    assert!(!votes_for(&mut member, (9, 9)));
    member.receive(2, Body::TimeoutNow { term: member.raft.term(), read_position: 0 });
    assert!(!is_asking_for_votes(&member.drain().send_after_sync));
}

#[test]
fn the_commit_of_a_leaders_own_term_ends_the_doubt_once_it_is_on_disk() {
    let mut member = damaged(3, &[1, 1], Health::RecoveringHead, &[]);
    member.receive_append(2, 2, &[1, 1, 2], 2, 2);
    member.drain();
    member.sync();
    assert_eq!(member.raft.health(), Health::RecoveringHead, "a commit of an earlier term says nothing");
    member.receive_append(2, 2, &[1, 1, 2, 2], 3, 4);
    assert_eq!(member.raft.health(), Health::RecoveringHead, "not on disk");
    member.drain();
    member.sync();
    assert_eq!(member.drain().health, Some(Health::Clean));
}

#[test]
fn the_last_entries_of_enough_voters_are_a_floor_for_votes() {
    let mut member = damaged(3, &[1, 1], Health::RecoveringHead, &[]);
    tick(&mut member);
    told(&mut member, 2, 2, (1, 4), Health::Faulty);
    assert!(!votes_for(&mut member, (9, 9)));
    told(&mut member, 3, 2, (1, 3), Health::Clean);
    assert_eq!(member.raft.health(), Health::RecoveringHead, "a crash starts this anew");
    assert!(!votes_for(&mut member, (1, 3)));
    member.wait(600);
    assert!(votes_for(&mut member, (1, 4)));
}

#[test]
fn answers_of_an_old_term_end_no_doubt() {
    let mut member = damaged(3, &[1, 1], Health::RecoveringHead, &[]);
    tick(&mut member);
    told(&mut member, 2, 1, (1, 2), Health::Clean);
    told(&mut member, 3, 2, (1, 2), Health::Clean);
    assert_eq!(member.raft.health(), Health::RecoveringHead);
}

#[test]
fn a_floor_that_is_reached_ends_the_doubt_and_what_lies_before_it_is_fetched() {
    let terms = [1, 1, 1, 1];
    let mut member = damaged(3, &terms[..2], Health::RecoveringHead, &[]);
    tick(&mut member);
    told(&mut member, 2, 2, (1, 3), Health::RecoveringHead);
    told(&mut member, 3, 2, (1, 3), Health::RecoveringHead);
    member.drain();
    member.wait(200);
    assert_eq!(asks(&tick(&mut member)), [(2, 3, 0, 3, 2), (3, 3, 0, 3, 2)]);
    receive_copy(&mut member, 2, &terms, 3, 2);
    assert_eq!((member.last(), member.raft.health()), (3, Health::RecoveringHead), "to the floor, and not on disk");
    member.sync();
    assert_eq!(member.raft.health(), Health::Clean);
}

#[test]
fn after_the_wait_a_quorum_must_do_but_none_that_forgot() {
    for (health, ends) in [(Health::RecoveringHead, true), (Health::Quarantined, false)] {
        let mut member = damaged(3, &[1, 1], Health::RecoveringHead, &[]);
        tick(&mut member);
        told(&mut member, 2, 2, (1, 2), health);
        assert_eq!(member.raft.health(), Health::RecoveringHead);
        member.wait(30_000);
        tick(&mut member);
        assert_eq!(member.raft.health() == Health::Clean, ends, "{health:?}");
    }
}

#[test]
fn the_only_voter_has_nobody_to_ask() {
    let mut member = damaged(1, &[1, 1], Health::RecoveringHead, &[]);
    tick(&mut member);
    assert_eq!(member.raft.health(), Health::Clean);
}

#[test]
fn who_knows_no_voters_has_not_heard_them_all() {
    let hard_state = HardState { term: Term(1), vote: NodeId(0) };
    let mut member = Member::damaged(1, Config::default(), &[1], hard_state, Health::RecoveringHead, &[]);
    member.wait(60_000);
    tick(&mut member);
    assert_eq!(member.raft.health(), Health::RecoveringHead);
}

// Leaders, and amnesia.

/// A leader of three whose two followers acked its no-op at 3, and follower 2 lives again.
fn leader_of_a_new_life() -> Member {
    let mut member = Member::leader(1, voters(&[1, 2, 3]), &[1, 1]);
    member.drain();
    member.sync();
    for (peer, incarnation) in [(2, 1), (3, 1)] {
        member.step(Input::PeerUp { peer: NodeId(peer), incarnation });
    }
    member.receive_ack(2, 3);
    member.receive_ack(3, 3);
    member.step(Input::Applied { index: LogIndex(3) });
    member.drain();
    member.step(Input::PeerUp { peer: NodeId(2), incarnation: 2 });
    member
}

fn reject(member: &mut Member, is_faulty: bool) {
    let mut body = Body::AppendResp {
        term: member.raft.term(),
        index: LogIndex(3),
        rejected: true,
        busy: false,
        faulty: is_faulty,
        hint_index: NO_HINT,
        hint_term: Term(0),
        read_position: 0,
        echo_mono: member.now,
    };
    if let Body::AppendResp { hint_index, hint_term, .. } = &mut body {
        (*hint_index, *hint_term) = (LogIndex(2), Term(1));
    }
    member.receive(2, body);
}

#[test]
fn a_clean_log_that_forgot_its_acks_is_called_a_liar_and_the_group_goes_on() {
    let mut member = leader_of_a_new_life();
    member.drain();
    reject(&mut member, false);
    let effects = member.drain();
    assert_eq!(effects.alarm, Some(Alarm::Amnesia(NodeId(2))));
    assert!(!effects.alarm.unwrap().stops() && member.raft.is_leader());
    let accusation = Body::Amnesia { term: member.raft.term(), acked_index: LogIndex(3) };
    assert!(effects.send_now.contains(&Outgoing { to: NodeId(2), body: accusation }));
    reject(&mut member, false);
    assert_eq!(member.drain().alarm, None, "told once");
}

#[test]
fn a_member_with_a_wrong_state_stops_says_nothing_more_and_is_quarantined_in_its_next_life() {
    let mut member = leader_of_a_new_life();
    member.drain();
    let outcome = member.step(Input::StateDiffers { index: LogIndex(2) });
    assert_eq!(outcome, Outcome::Done);
    let effects = member.drain();
    assert_eq!(effects.alarm, Some(Alarm::StateHash(LogIndex(2))));
    assert!(effects.alarm.unwrap().stops() && !member.raft.is_leader());
    assert_eq!(effects.health, Some(Health::Quarantined), "a restart must not undo it");
    assert!(effects.role.is_some_and(|role| !role.is_leader));
    assert_eq!((effects.send_now.len(), effects.send_after_sync.len(), effects.commit), (0, 0, None));
    let (payload, now) = (b"x".as_slice(), member.now);
    let refused = Outcome::NotLeader { hint: None };
    assert_eq!(member.step(Input::Propose { payload, now }), refused);
    assert_eq!(member.step(Input::FollowerRead { now }), refused);
}

#[test]
fn a_log_that_knows_of_its_loss_is_refilled_and_told_of_commits_when_it_has_caught_up() {
    let mut member = leader_of_a_new_life();
    let commits = |sent: &[Outgoing]| {
        let to_two = sent.iter().filter(|out| out.to == NodeId(2));
        let commit = |out: &Outgoing| match out.body {
            Body::AppendEntries { commit_index, .. } => Some(commit_index.0),
            _ => None,
        };
        to_two.filter_map(commit).collect::<Vec<_>>()
    };
    member.drain();
    reject(&mut member, true);
    let sent = member.drain();
    assert_eq!((sent.alarm, appends(&sent.send_now)), (None, vec![(2, 2, 1)]));
    assert_eq!(commits(&sent.send_now), [0]);
    member.receive_ack(2, 2);
    member.wait(200);
    let Some(Body::Heartbeat { commit_index, .. }) = member.raft.heartbeat(NodeId(2), member.now) else {
        panic!("a heartbeat is due");
    };
    assert_eq!(commit_index, LogIndex(0), "commits are the word that nothing acked is missing");
    member.receive_ack(2, 3);
    member.drain();
    member.wait(200);
    let Some(Body::Heartbeat { commit_index, .. }) = member.raft.heartbeat(NodeId(2), member.now) else {
        panic!("a heartbeat is due");
    };
    assert_eq!(commit_index, LogIndex(3));
}

#[test]
fn who_is_told_of_its_amnesia_votes_and_acks_no_more() {
    let mut member = damaged(3, &[1, 1], Health::Clean, &[]);
    member.receive(2, Body::Amnesia { term: Term(1), acked_index: LogIndex(5) });
    assert_eq!(member.drain().health, Some(Health::Quarantined));
    assert!(!votes_for(&mut member, (9, 9)));
    member.receive_append(3, 2, &[1, 1, 2], 2, 0);
    member.receive_heartbeat(3, 2, 2);
    member.sync();
    let effects = member.drain();
    assert!(acks(&effects.send_now).is_empty() && acks(&effects.send_after_sync).is_empty());
    assert!(!effects.send_now.iter().any(|out| matches!(out.body, Body::HeartbeatAck { .. })));
    assert_eq!((member.last(), member.commit()), (2, 0));
    member.wait(2000);
    assert!(!is_asking_for_votes(&tick(&mut member)));
}

#[test]
fn a_leader_whose_scrub_finds_a_fault_asks_and_goes_on_without_sending_it() {
    let mut member = Member::leader(1, voters(&[1, 2, 3]), &[1, 1, 1]);
    member.drain();
    member.sync();
    member.log.image.lost.insert(2);
    member.step(Input::FaultFound { now: member.now });
    let sent = member.sends();
    assert_eq!(asks(&sent), [(2, 2, 1, 2, 0), (3, 2, 1, 2, 0)], "for the bytes alone: no term is adopted for it");
    assert!(member.raft.is_leader());
    member.receive_rejection(2, 3, (0, 0));
    assert_eq!(appends(&member.sends()), [(2, 0, 1)], "up to the faulty entry");
    receive_copy(&mut member, 3, &[1, 1, 1], 2, 1);
    member.sync();
    assert_eq!(member.drain().health, Some(Health::Clean));
    member.receive_ack(2, 1);
    assert_eq!(appends(&member.sends()), [(2, 1, 3)]);
}

#[test]
fn a_fault_above_what_is_applied_is_news_though_an_older_one_lies_behind() {
    let mut member = Member::leader(1, voters(&[1, 2, 3]), &[1, 1, 1]);
    member.drain();
    member.sync();
    member.receive_ack(2, 4);
    member.drain();
    member.step(Input::Applied { index: LogIndex(2) });
    let knows = |member: &Member| member.raft.knows_faults(|index| member.log.first_faulty_above(index));
    member.log.image.lost.insert(1);
    assert!(!knows(&member));
    member.step(Input::FaultFound { now: member.now });
    member.sends();
    assert!(knows(&member));
    // The first of the log stays the same.
    member.log.image.lost.insert(4);
    assert!(!knows(&member));
    member.step(Input::FaultFound { now: member.now });
    assert!(knows(&member));
    assert_eq!(asks(&member.sends()), [(2, 4, 2, 4, 0), (3, 4, 2, 4, 0)], "what is applied is not needed first");
}

#[test]
fn a_leader_that_nobody_brings_its_faulty_entry_hands_over_and_may_then_cut_it() {
    let mut member = Member::leader(1, voters(&[1, 2, 3]), &[1, 1, 1]);
    member.drain();
    member.sync();
    // Node 2 holds what was before; entry 3 is nowhere else.
    member.receive_rejection(2, 3, (2, 1));
    member.receive_ack(2, 2);
    member.log.image.lost.insert(3);
    member.step(Input::FaultFound { now: member.now });
    let is_handing_over =
        |sent: &[Outgoing]| sent.iter().any(|out| matches!(out.body, Body::TimeoutNow { .. }) && out.to == NodeId(2));
    let wait = |member: &mut Member, ms| {
        member.wait(ms);
        member.receive_heartbeat_ack(2, 0);
        member.receive_heartbeat_ack(3, 0);
        tick(member)
    };
    let sent = wait(&mut member, 1);
    assert!(!is_handing_over(&sent) && !appends(&sent).iter().any(|(_, prev, count)| prev + u64::from(*count) > 2));
    absent(&mut member, 2, 2, 3);
    absent(&mut member, 3, 2, 3);
    assert!(!is_handing_over(&wait(&mut member, 900)), "it may still come");
    assert!(member.raft.is_leader() && member.last() == 4, "a leader does not cut");
    assert!(is_handing_over(&wait(&mut member, 200)));
    assert!(!member.raft.is_leader());
    // Its own questions now carry the doubt term, and the answers count.
    absent(&mut member, 2, 3, 3);
    assert_eq!(member.last(), 4);
    absent(&mut member, 3, 3, 3);
    assert_eq!((member.last(), member.raft.health()), (2, Health::Clean));
}

#[test]
fn questions_and_answers_of_any_term_depose_nobody() {
    let mut member = Member::leader(1, voters(&[1, 2, 3]), &[1]);
    member.drain();
    let (first_index, last_index) = (LogIndex(1), LogIndex(1));
    let ask = Body::EntryFetch { term: Term(9), first_index, first_term: Term(1), last_index, doubt_term: Term(9) };
    let (from, entries, now) = (NodeId(3), Records::EMPTY, member.now);
    member.step(Input::Message { from, body: ask, entries, now });
    member.receive(3, answer(9, 1, (1, 1), Health::Clean, 0, true));
    assert!(member.raft.is_leader());
    assert!(member.sends().iter().any(|out| matches!(out.body, Body::EntryFetchResp { count: 1, .. })));
}

/// A leader whose entries up to 5 are gone; peer 2 has acked 9 and then lost the bytes of an entry behind `sound`.
fn leader_of_one_that_lost(sound: u64) -> Member {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[1; 9]);
    leader.log.image.compact(5);
    leader.drain();
    leader.receive_ack(2, 10);
    leader.propose(b"x");
    leader.drain();
    // Entry 11 was sent, and the question behind it is refused.
    reject_for_loss(&mut leader, 11, sound);
    leader
}

fn reject_for_loss(leader: &mut Member, prev: u64, sound: u64) {
    let body = Body::AppendResp {
        term: leader.raft.term(),
        index: LogIndex(prev),
        rejected: true,
        busy: false,
        faulty: true,
        hint_index: LogIndex(sound),
        hint_term: Term(1),
        read_position: 0,
        echo_mono: leader.now,
    };
    leader.receive(2, body);
}

#[test]
fn bytes_that_were_acked_and_lost_and_are_compacted_everywhere_come_with_a_snapshot() {
    let mut leader = leader_of_one_that_lost(3);
    assert_eq!(leader.drain().need_snapshot, [NodeId(2)]);
    reject_for_loss(&mut leader, 11, 3);
    assert_eq!(leader.drain().need_snapshot, [], "asked for once");
}

#[test]
fn who_asks_a_leader_for_what_is_compacted_and_waits_for_it_gets_a_snapshot_although_nothing_is_sent() {
    let ask = |first: u64, doubt: u64| {
        let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[1; 9]);
        leader.log.image.compact(5);
        leader.drain();
        leader.sync();
        leader.receive_ack(2, 10);
        leader.drain();
        let (first_index, first_term, term) = (LogIndex(first), Term(1), leader.raft.term());
        let body = Body::EntryFetch { term, first_index, first_term, last_index: first_index, doubt_term: Term(doubt) };
        leader.receive(2, body);
        let first = leader.drain().need_snapshot;
        leader.receive(2, body);
        (first, leader.drain().need_snapshot)
    };
    assert_eq!(ask(4, 3), (vec![NodeId(2)], vec![]), "asked for once");
    assert_eq!(ask(7, 3), (vec![], vec![]), "it is held, and answered with");
    assert_eq!(ask(4, 0), (vec![], vec![]), "it has applied it and waits for nothing");
}

#[test]
fn one_that_fetches_lost_bytes_is_not_asked_again_before_it_is_heard_of() {
    let mut leader = leader_of_one_that_lost(7);
    let mut sent = appends(&leader.sends());
    for _ in 0..5 {
        reject_for_loss(&mut leader, 10, 7);
        sent.extend(appends(&leader.sends()));
    }
    assert!(sent.len() <= 1, "{sent:?}");
    leader.wait(100);
    leader.receive_heartbeat_ack(2, 0);
    assert_eq!(appends(&leader.sends()).len(), 1, "then it is");
}
