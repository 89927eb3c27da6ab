//! What the tests under `tests/` see of this crate's inside: the arithmetic of quorums, and groups
//! compared without their past. No part of the interface.

use base::mono::Span;
use base::{LogIndex, Mono, NodeId, Prng, SyncEpoch};

use crate::drain::Outbox;
use crate::epochs::{EpochRing, HardStates};
use crate::lead::Backlog;
use crate::quorum::{Poll, count_poll, reached_by_quorum};
use crate::{Config, HardState, Raft};

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
/// votes, windows that never fill. `unsynced` are the epochs not yet persisted, ascending; they are renumbered from 1.
///
/// For model checkers, which must see that two paths meet. Called right after a drain, between two turns. Whoever uses
/// it tells the time with every input that takes one, never ticks a follower, and proposes so little that no bound of a window or a backlog is met. Times that leases
/// and rest depend on stay when either is on.
pub fn forget_history(raft: &mut Raft, unsynced: &[SyncEpoch]) {
    assert!(!raft.wants_hard_state(), "a group is compared after its drain");
    let (now, past, loyal) = (raft.now, raft.boot, raft.settings.election_min);
    let is_timed = raft.settings.lease.is_some() || raft.settings.quiesce_after.is_some();
    // Heartbeats leave whenever they are asked for: nothing sent before replaces one.
    let is_eager = raft.settings.heartbeat == Span(0);
    raft.prng = Prng::new(0);
    (raft.now, raft.deadline) = (past, past);
    raft.last_contact = raft.last_contact.filter(|contact| now.since(*contact) < loyal);
    raft.votes.sort_unstable();
    raft.links.sort_unstable();
    raft.lead.peers.sort_unstable_by_key(|peer| peer.id);
    raft.lead.leaving.sort_unstable();
    raft.lead.backlog = Backlog::default();
    for peer in &mut raft.lead.peers {
        peer.forget_window();
        if !is_timed {
            (peer.last_answer, peer.echo_mono) = (past, Mono(0));
        }
        if !is_timed || is_eager {
            (peer.last_append, peer.sent_commit) = (past, LogIndex(0));
        }
    }
    raft.faults.answers.sort_unstable_by_key(|(peer, _)| *peer);
    raft.faults.asks.sort_unstable_by_key(|(peer, _)| *peer);
    (raft.faults.since, raft.faults.next_ask, raft.faults.has_progressed) = (past, past, false);
    let mut epochs = EpochRing::new(raft.epochs.persisted_index());
    let mut hard = HardStates::new(raft.hard.persisted());
    for (number, epoch) in (1..).map(SyncEpoch).zip(unsynced) {
        if raft.epochs.handle_synced(*epoch) {
            epochs.note_written(number, raft.epochs.persisted_index(), 0);
        }
        let before = raft.hard.persisted();
        raft.hard.handle_synced(*epoch);
        if raft.hard.persisted() != before {
            hard.write(raft.hard.persisted(), number);
        }
    }
    assert!(hard.current == raft.hard.current, "a term or a vote lies outside the unsynced epochs");
    (raft.epochs, raft.hard) = (epochs, hard);
}

/// The group as it would be if nodes had other names: `name` gives each its new one. To compare and to hash only: it
/// cannot go on, since what it last told is forgotten, and its configurations keep the old names. So `name` may only
/// exchange nodes that stand in the same lists of each of them. [`forget_history`] comes first; transfers, reads of
/// followers and leases are not renamed, so they must be off.
#[must_use]
pub fn renamed(raft: &Raft, name: impl Fn(NodeId) -> NodeId) -> Raft {
    let mut raft = raft.clone();
    let name = |id: NodeId| if id == NodeId(0) { id } else { name(id) };
    let vote = |hard: HardState| HardState { vote: name(hard.vote), ..hard };
    assert!(raft.lead.transfer.is_none() && raft.lead.asks.is_empty(), "a transfer or a read is under way");
    raft.id = name(raft.id);
    raft.leader = name(raft.leader);
    let mut hard = HardStates::new(vote(raft.hard.persisted()));
    if raft.hard.current != raft.hard.persisted() {
        hard.write(vote(raft.hard.current), SyncEpoch(1));
    }
    raft.hard = hard;
    raft.votes.iter_mut().for_each(|(id, _)| *id = name(*id));
    raft.links.iter_mut().for_each(|(id, _)| *id = name(*id));
    raft.lead.peers.iter_mut().for_each(|peer| peer.id = name(peer.id));
    raft.lead.leaving.iter_mut().for_each(|id| *id = name(*id));
    raft.faults.answers.iter_mut().for_each(|(id, _)| *id = name(*id));
    raft.faults.asks.iter_mut().for_each(|(id, _)| *id = name(*id));
    raft.votes.sort_unstable();
    raft.links.sort_unstable();
    raft.lead.peers.sort_unstable_by_key(|peer| peer.id);
    raft.lead.leaving.sort_unstable();
    raft.faults.answers.sort_unstable_by_key(|(id, _)| *id);
    raft.faults.asks.sort_unstable_by_key(|(id, _)| *id);
    raft.outbox = Outbox::new(raft.applied_index, raft.hard.current.term);
    raft
}

impl HardStates {
    /// As if it had been handed out and put into this epoch.
    fn write(&mut self, hard_state: HardState, epoch: SyncEpoch) {
        self.current = hard_state;
        let _ = self.emit();
        self.note_epoch(epoch);
    }
}
