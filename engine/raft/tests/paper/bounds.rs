//! What a group takes before it says no (docs/design/raft.md, "Flow control"; F1, F2).

use base::limits::{READS_WAITING_MAX, UNCOMMITTED_BYTES_MAX};
use base::{LogIndex, NodeId};
use raft::{Input, Outcome};

use crate::common::member::{Member, appends};
use crate::common::voters;

fn leader() -> Member {
    let mut leader = Member::leader(1, voters(&[1, 2, 3]), &[]);
    leader.drain();
    leader.sync();
    leader.receive_ack(2, 1);
    leader.receive_ack(3, 1);
    leader.step(Input::Applied { index: LogIndex(1) });
    leader.drain();
    leader
}

#[test]
fn uncommitted_bytes_are_bounded_and_known_to_the_core() {
    let mut leader = leader();
    assert_eq!(leader.raft.uncommitted_bytes(), 0);
    let payload = vec![1; 1 << 19];
    let mut taken = 0;
    while matches!(leader.propose(&payload), Outcome::Proposed { .. }) {
        taken += 1;
        assert!(leader.raft.uncommitted_bytes() <= UNCOMMITTED_BYTES_MAX);
    }
    assert_eq!(leader.propose(&payload), Outcome::Overloaded);
    assert_eq!(taken, 31, "16 MiB hold 31 half-megabytes and their headers");
    leader.drain();
    leader.sync();
    let last = leader.last();
    leader.receive_ack(2, last);
    assert_eq!(leader.raft.uncommitted_bytes(), 0);
    assert!(matches!(leader.propose(&payload), Outcome::Proposed { .. }), "15.5 MiB are not applied");
    leader.drain();
    leader.sync();
    let last = leader.last();
    leader.receive_ack(2, last);
    assert_eq!(leader.propose(&payload), Outcome::Overloaded, "committed and not applied counts too");
    leader.drain();
    leader.step(Input::Applied { index: LogIndex(last) });
    assert!(matches!(leader.propose(&payload), Outcome::Proposed { .. }));
}

#[test]
fn read_positions_that_wait_are_bounded() {
    let mut leader = leader();
    for _ in 0..READS_WAITING_MAX {
        assert!(matches!(leader.step(Input::Read { now: leader.now }), Outcome::ReadJoined { .. }));
        leader.raft.heartbeat(NodeId(2), leader.now);
    }
    assert_eq!(leader.step(Input::Read { now: leader.now }), Outcome::Overloaded);
}

#[test]
fn one_message_larger_than_the_window_takes_it_whole_and_never_waits_for_more() {
    let mut leader = leader();
    let payload = vec![1; 1_000_000];
    for _ in 0..8 {
        leader.propose(&payload);
    }
    let sent = appends(&leader.sends());
    let to_two: Vec<_> = sent.iter().filter(|(to, ..)| *to == 2).collect();
    // Each entry is above the soft bound of a message: one entry each, until 4 MiB are in flight, the last overshooting.
    assert_eq!(to_two.len(), 5, "{to_two:?}");
    assert!(to_two.iter().all(|(_, _, count)| *count == 1));
    leader.receive_ack(2, 2);
    assert_eq!(appends(&leader.sends()).iter().filter(|(to, ..)| *to == 2).count(), 1);
}
