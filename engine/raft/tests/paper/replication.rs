//! Raft 5.3 and 5.4.2, figure 2; thesis 10.2.1.

use base::limits::{INFLIGHTS_MAX, UNCOMMITTED_BYTES_MAX};
use base::record::EntryKind;
use base::{LogIndex, NodeId, Term};
use raft::{Alarm, Body, Config, HardState, Input, Outcome, Progress};

use crate::common::member::{Member, acks, appends, chain};
use crate::common::{entry, records, voters};

fn follower(terms: &[u64]) -> Member {
    Member::new(1, voters(&[1, 2, 3]), terms)
}

fn leader(terms: &[u64]) -> Member {
    Member::leader(1, voters(&[1, 2, 3]), terms)
}

fn progress(member: &Member, id: u64) -> (u64, u64, Progress) {
    let peer = member.raft.peers().iter().find(|peer| peer.id == NodeId(id)).unwrap();
    (peer.match_index.0, peer.next_index.0, peer.progress)
}

#[test]
fn a_follower_without_the_previous_entry_writes_nothing_and_hints() {
    // Its last entry of a term not above the leader's previous one: that may match.
    for (own, leaders, prev, hint) in [
        (&[1, 1][..], &[1, 1, 1, 1, 1][..], 4, (2, 1)),
        (&[1, 1, 2, 2, 2][..], &[1, 1, 1, 3, 3][..], 3, (2, 1)),
        (&[1, 1, 4, 4][..], &[1, 1, 5, 5, 5][..], 4, (4, 4)),
        (&[3, 3][..], &[1, 1, 1][..], 2, (0, 0)),
    ] {
        let mut member = follower(own);
        member.receive_append(2, 9, leaders, prev, 0);
        member.drain();
        member.sync();
        member.receive_append(2, 9, leaders, prev, 0);
        assert_eq!(acks(&member.sends()), [(prev, true, hint)], "{own:?} and {leaders:?}");
        assert_eq!(member.terms(), own);
    }
}

#[test]
fn a_short_or_late_message_truncates_nothing() {
    let mut member = follower(&[1, 1, 1, 1]);
    member.receive_append(2, 1, &[1, 1], 1, 0);
    member.receive_append(2, 1, &[1, 1, 1], 3, 0);
    assert_eq!(member.terms(), [1, 1, 1, 1]);
    assert_eq!(acks(&member.sends()), [(3, false, (0, 0))], "never more than the messages matched");
}

#[test]
fn a_conflict_truncates_and_the_rest_is_appended() {
    let mut member = follower(&[1, 1, 2, 2, 2]);
    member.receive_append(2, 3, &[1, 1, 3], 1, 0);
    assert_eq!(member.terms(), [1, 1, 3]);
    assert_eq!(member.raft.persisted_index(), LogIndex(2));
}

#[test]
fn an_ack_waits_for_the_sync_and_one_answers_for_all() {
    let mut member = follower(&[1]);
    member.receive_append(2, 1, &[1, 1], 1, 0);
    member.receive_append(2, 1, &[1, 1, 1], 2, 0);
    let effects = member.drain();
    assert_eq!((effects.send_now.len(), effects.send_after_sync.len()), (0, 1));
    let ack = effects.send_after_sync[0];
    assert_eq!(acks(&member.raft.release(&ack).into_iter().collect::<Vec<_>>()), [(1, false, (0, 0))]);
    member.sync();
    assert_eq!(acks(&[member.raft.release(&ack).unwrap()]), [(3, false, (0, 0))]);
    member.receive_append(2, 1, &[1, 1, 1], 2, 0);
    assert_eq!(acks(&member.sends()), [(3, false, (0, 0))], "what is persisted is acked at once");
}

#[test]
fn an_ack_of_entries_that_were_replaced_meanwhile_is_not_released() {
    let mut member = follower(&[1]);
    member.receive_append(2, 1, &[1, 1, 1, 1], 1, 0);
    let ack = member.drain().send_after_sync[0];
    let epoch = member.log.close().0;
    member.receive_append(3, 2, &[1, 1, 2], 2, 0);
    member.drain();
    member.step(Input::Synced { epoch: base::SyncEpoch(epoch) });
    assert_eq!((member.raft.release(&ack), member.raft.persisted_index()), (None, LogIndex(2)));
    member.sync();
    assert_eq!(member.raft.persisted_index(), LogIndex(3));
}

#[test]
fn a_follower_commits_at_most_what_the_message_matched() {
    let mut member = follower(&[1, 1, 1, 1]);
    member.receive_append(2, 2, &[1, 1], 1, 4);
    assert_eq!(member.commit(), 2);
    member.receive_append(2, 2, &[1, 1, 1], 2, 1);
    assert_eq!(member.commit(), 2, "never back");
}

#[test]
fn a_heartbeat_commits_what_it_says_and_no_more_than_is_held() {
    let mut member = follower(&[1, 1, 1, 1]);
    member.receive_heartbeat(2, 1, 3);
    assert_eq!(member.commit(), 3);
    member.receive_heartbeat(2, 1, 9);
    assert_eq!(member.commit(), 4);
}

#[test]
fn a_message_below_the_commit_index_is_answered_with_it() {
    let mut member = follower(&[1, 1, 1, 1]);
    member.receive_append(2, 2, &[1, 1, 1], 1, 3);
    member.drain();
    member.sync();
    member.receive_append(2, 2, &[1, 1], 0, 0);
    assert_eq!(acks(&member.sends()), [(3, false, (0, 0))]);
    member.receive_append(2, 2, &[1, 1, 1, 1, 2], 0, 0);
    assert_eq!(member.terms(), [1, 1, 1, 1, 2], "what lies above it is taken all the same");
}

#[test]
fn corruption_stops_the_group() {
    let mut member = follower(&[1, 1]);
    member.receive_append(2, 2, &[1, 1], 1, 2);
    member.receive_append(2, 2, &[1, 2, 2], 0, 2);
    assert_eq!(member.drain().alarm, Some(Alarm::CommittedConflict));
    assert_eq!(member.terms(), [1, 1]);
    let mut member = follower(&[1, 1]);
    let body = Body::AppendEntries {
        term: Term(1),
        prev_index: LogIndex(2),
        prev_term: Term(1),
        prev_crc: chain(&[1, 1])[1].crc ^ 1,
        commit_index: LogIndex(0),
        read_position: 0,
        count: 0,
        send_mono: member.now,
    };
    member.receive(2, body);
    assert_eq!(member.drain().alarm, Some(Alarm::PrevCrc));
}

#[test]
fn messages_that_no_leader_sends_are_dropped_whole() {
    let mut member = follower(&[1]);
    let mut send = |count: u16, prev: u64, entries: &[crate::common::Entry]| {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.raw.clone()).collect();
        let body = Body::AppendEntries {
            term: Term(2),
            prev_index: LogIndex(prev),
            prev_term: Term(prev),
            prev_crc: 0,
            commit_index: LogIndex(9),
            read_position: 0,
            count,
            send_mono: member.now,
        };
        let entries = records(&bytes, entries.len() as u16, prev + 1);
        member.step(Input::Message { from: NodeId(2), body, entries, now: member.now });
        assert_eq!((member.last(), member.commit()), (1, 0));
    };
    let prev_crc = chain(&[1])[0].crc;
    send(2, 1, &[entry(EntryKind::Noop, 2, 2, prev_crc, &[])]);
    send(1, 1, &[entry(EntryKind::Noop, 2, 3, prev_crc, &[])]);
    send(1, 1, &[entry(EntryKind::Noop, 2, 0, prev_crc, &[])]);
    send(1, 1, &[entry(EntryKind::Config, 2, 2, prev_crc, b"not a config")]);
    send(1, 1, &[entry(EntryKind::Config, 2, 2, prev_crc, &Config::default().encode())]);
    assert_eq!(member.drain().alarm, None);
}

#[test]
fn only_entries_of_the_current_term_are_counted() {
    // Raft figure 8: entry 2 of term 2 on a quorum is not committed by counting.
    let mut leader = leader(&[1, 2]);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 2);
    assert_eq!(leader.commit(), 0);
    leader.receive_ack(2, 3);
    assert_eq!(leader.commit(), 3, "and with the first one of the own term all before it is");
}

#[test]
fn a_quorum_of_others_commits_ahead_of_the_own_disk() {
    let mut leader = leader(&[]);
    leader.drain();
    leader.receive_ack(2, 1);
    assert_eq!((leader.commit(), leader.raft.persisted_index()), (0, LogIndex(0)));
    leader.receive_ack(3, 1);
    assert_eq!((leader.commit(), leader.raft.persisted_index()), (1, LogIndex(0)));
}

#[test]
fn nobody_is_told_more_than_it_holds_and_the_leader_has_applied() {
    let mut leader = leader(&[]);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 1);
    assert_eq!(leader.commit(), 1);
    let told = |leader: &mut Member, peer| match leader.raft.heartbeat(NodeId(peer), leader.now) {
        Some(Body::Heartbeat { commit_index, .. }) => commit_index.0,
        other => panic!("{other:?}"),
    };
    leader.wait(50);
    assert_eq!((told(&mut leader, 2), told(&mut leader, 3)), (0, 0), "nothing is applied yet");
    leader.step(Input::Applied { index: LogIndex(1) });
    assert_eq!((told(&mut leader, 2), told(&mut leader, 3)), (1, 0), "node 3 acked nothing");
}

#[test]
fn an_append_replaces_the_heartbeat_of_a_peer_that_answers() {
    let mut leader = leader(&[]);
    leader.drain();
    leader.sync();
    assert_eq!(leader.raft.heartbeat(NodeId(2), leader.now), None);
    assert_eq!(leader.raft.heartbeat(NodeId(9), leader.now), None);
    leader.wait(50);
    assert!(leader.raft.heartbeat(NodeId(2), leader.now).is_some());
    leader.wait(60);
    leader.propose(b"x");
    leader.receive_ack(2, 1);
    leader.drain();
    assert!(leader.raft.heartbeat(NodeId(3), leader.now).is_some(), "node 3 has not answered for 110 ms");
}

#[test]
fn entries_leave_in_the_turn_of_the_proposal() {
    let mut leader = leader(&[]);
    leader.drain();
    leader.receive_ack(2, 1);
    assert_eq!(leader.propose(b"one"), Outcome::Proposed { index: LogIndex(2), term: Term(1) });
    assert_eq!(leader.propose(b"two"), Outcome::Proposed { index: LogIndex(3), term: Term(1) });
    assert_eq!(appends(&leader.sends()), [(2, 1, 2)], "node 3 is probed and has not answered");
    leader.propose(b"three");
    assert_eq!(appends(&leader.sends()), [(2, 3, 1)], "without waiting for the ack");
}

#[test]
fn logs_meet_in_as_many_rounds_as_there_are_terms() {
    let mut leader = leader(&[1, 1, 1, 1, 1, 1, 4, 4, 4, 4]);
    assert_eq!(appends(&leader.sends())[0], (2, 10, 1));
    // The follower holds 1 1 1 1 2 2 2 2 2 2 3 3: its last entry of a term up to 4 is entry 10, of term 2.
    leader.receive_rejection(2, 10, (10, 2));
    assert_eq!(progress(&leader, 2).1, 7, "the last of ours with a term up to 2 is entry 6");
    assert_eq!(appends(&leader.sends())[0].1, 6);
    leader.receive_rejection(2, 10, (10, 2));
    assert_eq!(progress(&leader, 2).1, 7, "an echo");
    leader.receive_rejection(2, 6, (4, 1));
    assert_eq!(appends(&leader.sends()), [(2, 4, 7)]);
    leader.receive_ack(2, 11);
    assert_eq!(progress(&leader, 2), (11, 12, Progress::Replicate));
}

#[test]
fn a_probe_is_one_message_until_something_answers() {
    let mut leader = leader(&[]);
    assert_eq!(appends(&leader.sends()).len(), 2);
    leader.propose(b"x");
    assert_eq!(appends(&leader.sends()), []);
    leader.wait(50);
    leader.receive_heartbeat_ack(2, 0);
    assert_eq!(appends(&leader.sends()), [(2, 0, 2)]);
}

#[test]
fn a_full_window_pauses_and_an_empty_message_finds_out_what_was_lost() {
    let mut leader = leader(&[]);
    leader.drain();
    leader.receive_ack(2, 1);
    for _ in 0..INFLIGHTS_MAX + 5 {
        leader.propose(b"x");
        leader.drain();
    }
    let next = 2 + INFLIGHTS_MAX as u64;
    assert_eq!(progress(&leader, 2), (1, next, Progress::Replicate));
    leader.wait(50);
    leader.receive_heartbeat_ack(2, 0);
    assert_eq!(appends(&leader.sends()), [(2, next - 1, 0)]);
    leader.receive_rejection(2, next - 1, (1, 1));
    assert_eq!(appends(&leader.sends())[0].1, 1, "it starts again behind what matched");
}

#[test]
fn a_busy_follower_is_probed_after_its_next_sign_of_life() {
    let mut leader = leader(&[]);
    leader.drain();
    leader.receive_ack(2, 1);
    leader.propose(b"x");
    leader.drain();
    let busy = Body::AppendResp {
        term: Term(1),
        index: LogIndex(0),
        rejected: false,
        busy: true,
        faulty: false,
        hint_index: raft::NO_HINT,
        hint_term: Term(0),
        read_position: 0,
        echo_mono: leader.now,
    };
    leader.receive(2, busy);
    assert_eq!(progress(&leader, 2), (1, 2, Progress::Probe { is_paused: true }));
    assert_eq!(appends(&leader.sends()), []);
    leader.wait(50);
    leader.receive_heartbeat_ack(2, 0);
    assert_eq!(appends(&leader.sends()), [(2, 1, 1)]);
}

#[test]
fn a_new_life_of_a_follower_counts_for_nothing_is_asked_where_the_old_one_stood_and_commit_stays() {
    let mut leader = leader(&[]);
    leader.drain();
    leader.sync();
    let up = |incarnation| Input::PeerUp { peer: NodeId(2), incarnation };
    leader.step(up(1));
    leader.receive_ack(2, 1);
    leader.step(up(1));
    assert_eq!(progress(&leader, 2), (1, 2, Progress::Probe { is_paused: false }));
    leader.step(up(2));
    assert_eq!(progress(&leader, 2), (0, 2, Progress::Probe { is_paused: false }));
    assert_eq!(leader.commit(), 1);
    leader.step(Input::PeerDown { peer: NodeId(2) });
    assert_eq!(progress(&leader, 2), (0, 2, Progress::Probe { is_paused: false }));
}

#[test]
fn too_much_in_doubt_is_refused_but_one_proposal_always_fits() {
    let mut leader = leader(&[]);
    let payload = vec![0; 1_000_000];
    let fits = UNCOMMITTED_BYTES_MAX / 1_000_048;
    for _ in 0..fits {
        assert!(matches!(leader.propose(&payload), Outcome::Proposed { .. }));
    }
    assert_eq!(leader.propose(&payload), Outcome::Overloaded);
    leader.drain();
    let last = leader.last();
    leader.receive_ack(2, last);
    leader.sync();
    assert_eq!(leader.commit(), last);
    assert!(matches!(leader.propose(&payload), Outcome::Proposed { .. }));
    leader.step(Input::Applied { index: LogIndex(last) });
    assert!(matches!(leader.propose(&payload), Outcome::Proposed { .. }));
}

#[test]
fn a_follower_names_the_leader() {
    let mut member = follower(&[1]);
    assert_eq!(member.propose(b"x"), Outcome::NotLeader { hint: None });
    member.receive_heartbeat(3, 1, 0);
    assert_eq!(member.propose(b"x"), Outcome::NotLeader { hint: Some(NodeId(3)) });
    let role = member.drain().role.unwrap();
    assert_eq!((role.is_leader, role.leader), (false, Some(NodeId(3))));
}

#[test]
fn a_configuration_that_cannot_be_read_at_the_start_stops_the_group() {
    let mut image = crate::common::Image::empty();
    image.entries.push(std::rc::Rc::new(entry(EntryKind::Config, 1, 1, 0, b"from the future")));
    let log = crate::common::TestLog::new(image, 1, 1);
    let boot = raft::Boot {
        id: NodeId(1),
        group: crate::common::GROUP,
        seed: 0,
        incarnation: 1,
        hard_state: HardState::default(),
        applied_index: LogIndex(0),
        commit_floor: LogIndex(0),
        config: voters(&[1]),
        config_index: LogIndex(0),
        health: raft::Health::Clean,
        now: base::Mono(1),
        settings: raft::Settings::default(),
    };
    assert_eq!(raft::Raft::new(boot, &log).alarm(), Some(Alarm::BadConfig(LogIndex(1))));
}
