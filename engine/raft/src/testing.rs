//! What the tests under `tests/` see of this crate's inside: the arithmetic of quorums, and groups
//! compared without their past. No part of the interface.

use base::{LogIndex, NodeId, Prng, SyncEpoch};

use crate::epochs::{EpochRing, HardStates};
use crate::quorum::{Poll, count_poll, reached_by_quorum};
use crate::{Config, Raft};

/// The highest index that a quorum of `config` has reached; `None` when nobody votes.
#[must_use]
pub fn reached(config: &Config, index: impl Fn(NodeId) -> LogIndex) -> Option<LogIndex> {
    reached_by_quorum(config, index)
}

/// How a poll stands: won, lost, or open (`None`). `vote` is an answer, if one came.
#[must_use]
pub fn poll(config: &Config, vote: impl Fn(NodeId) -> Option<bool>) -> Option<bool> {
    match count_poll(config, vote) {
        Poll::Won => Some(true),
        Poll::Lost => Some(false),
        Poll::Open => None,
    }
}

/// Makes groups equal that differ only in how they came to be what they are: clocks, drawn deadlines, the order of
/// votes, bytes once written. `unsynced` are the epochs not yet persisted, ascending; they are renumbered from 1.
///
/// For model checkers, which must see that two paths meet. Called right after a drain, between two turns.
pub fn forget_history(raft: &mut Raft, unsynced: &[SyncEpoch]) {
    assert!(!raft.wants_hard_state(), "a group is compared after its drain");
    raft.prng = Prng::new(0);
    raft.deadline = raft.now;
    raft.last_contact = None;
    raft.votes.sort_unstable();
    raft.links.sort_unstable();
    for peer in &mut raft.lead.peers {
        (peer.last_answer, peer.last_append) = (raft.now, raft.now);
    }
    let mut epochs = EpochRing::new(raft.epochs.persisted_index());
    let mut hard = HardStates::new(raft.hard.persisted());
    for (number, epoch) in (1..).map(SyncEpoch).zip(unsynced) {
        if raft.epochs.handle_synced(*epoch) {
            epochs.note_written(number, raft.epochs.persisted_index(), 0);
        }
        let before = raft.hard.persisted();
        raft.hard.handle_synced(*epoch);
        if raft.hard.persisted() != before {
            hard.current = raft.hard.persisted();
            let _ = hard.emit();
            hard.note_epoch(number);
        }
    }
    assert!(hard.current == raft.hard.current, "a term or a vote lies outside the unsynced epochs");
    (raft.epochs, raft.hard) = (epochs, hard);
}
