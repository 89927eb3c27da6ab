//! Raft 7: who needs a snapshot, and what an installed one means.

use base::mono::Span;
use base::{LogIndex, Mono, NodeId, Term};
use raft::{Body, Config, Input, Progress, Role};

use crate::common::member::{Member, acks, appends};
use crate::common::voters;

/// A leader whose entries up to 8 are gone, and node 2 stands at 3.
fn compacted() -> Member {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[1; 9]);
    leader.log.image.compact(8);
    leader.drain();
    leader.receive_rejection(2, 9, (3, 1));
    leader
}

fn progress(member: &Member) -> Progress {
    member.raft.peers()[0].progress
}

#[test]
fn a_follower_behind_the_log_gets_a_snapshot_asked_for_once() {
    let mut leader = compacted();
    assert_eq!(leader.drain().need_snapshot, [NodeId(2)]);
    leader.receive_heartbeat_ack(2, 0);
    leader.propose(b"x");
    let effects = leader.drain();
    assert_eq!((effects.need_snapshot, appends(&effects.send_now)), (vec![], vec![]));
}

#[test]
fn any_ack_that_reconnects_the_log_ends_the_snapshot() {
    let mut leader = compacted();
    leader.drain();
    leader.receive_ack(2, 7);
    assert!(matches!(progress(&leader), Progress::Snapshot { .. }), "entry 8 is gone");
    leader.receive_ack(2, 8);
    assert_eq!(progress(&leader), Progress::Replicate);
    assert_eq!(appends(&leader.sends()), [(2, 8, 2)]);
}

#[test]
fn a_report_ends_the_snapshot_and_a_failure_waits_for_a_sign_of_life() {
    let report = |installed: Option<u64>| Input::SnapshotReport { peer: NodeId(2), installed: installed.map(LogIndex) };
    let mut leader = compacted();
    leader.drain();
    leader.step(report(Some(9)));
    assert_eq!(appends(&leader.sends()), [(2, 9, 1)]);
    let mut leader = compacted();
    leader.drain();
    leader.step(report(None));
    assert!(leader.drain().need_snapshot.is_empty());
    leader.wait(50);
    leader.receive_heartbeat_ack(2, 0);
    // It may have been installed, and the ack lost: the lowest question that the log can ask tells.
    assert_eq!(appends(&leader.sends()), [(2, 8, 2)]);
    leader.receive_rejection(2, 8, (3, 1));
    assert_eq!(leader.drain().need_snapshot, [NodeId(2)]);
}

#[test]
fn a_snapshot_without_news_is_given_up() {
    let mut leader = compacted();
    leader.drain();
    let started = leader.now;
    leader.raft.snapshot_sent(NodeId(2), started + Span::from_ms(5000));
    while leader.now < started + Span::from_ms(16_000) {
        assert!(leader.raft.is_leader());
        let is_given_up = progress(&leader) == Progress::Probe { is_paused: true };
        assert_eq!(is_given_up, leader.now >= started + Span::from_ms(15_000), "{:?}", leader.now.since(started));
        leader.wait(1000);
        leader.receive_heartbeat_ack(3, 0);
        leader.step(Input::Tick { now: leader.now });
    }
}

#[test]
fn an_installed_snapshot_is_committed_acked_and_brings_its_configuration() {
    let mut member = Member::new(4, Config::default(), &[]);
    member.receive_heartbeat(2, 3, 0);
    member.drain();
    member.sync();
    member.log.image.install(20, Term(2), 0);
    // Until the group is told, it is busy and does not campaign.
    member.receive_append(2, 3, &[1, 1], 0, 0);
    assert!(matches!(member.sends()[..], [.., last] if matches!(last.body, Body::AppendResp { busy: true, .. })));
    let config = voters(&[2, 3, 4]);
    let installed = Input::SnapshotInstalled { index: LogIndex(20), term: Term(2), config: &config.encode() };
    member.step(installed);
    assert_eq!((member.commit(), member.raft.persisted_index()), (20, LogIndex(20)));
    assert_eq!((member.raft.applied_index(), member.raft.config()), (LogIndex(20), &config));
    let effects = member.drain();
    assert_eq!((effects.commit, effects.config_changed), (None, true));
    assert_eq!(acks(&effects.send_now), [(20, false, (0, 0))]);
    assert_ne!(member.raft.next_deadline(), Mono::MAX, "it votes from now on");
}

#[test]
fn a_log_that_holds_the_snapshot_keeps_what_follows_it() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1; 9]);
    member.log.image.install(5, Term(1), 0);
    let config = voters(&[1, 2, 3]);
    member.step(Input::SnapshotInstalled { index: LogIndex(5), term: Term(1), config: &config.encode() });
    assert_eq!((member.last(), member.commit(), member.raft.persisted_index()), (9, 5, LogIndex(9)));
}

#[test]
fn nobody_campaigns_on_a_log_that_was_just_restarted() {
    let mut member = Member::new(1, voters(&[1, 2, 3]), &[1]);
    member.log.image.install(20, Term(2), 0);
    member.pass_deadline();
    assert_eq!(member.raft.role(), Role::Follower);
}
