//! What only a leader keeps: its followers, the reads that wait, the bytes that are not through yet, a transfer.

use std::collections::VecDeque;

use base::limits::{UNAPPLIED_BYTES_MAX, UNCOMMITTED_BYTES_MAX};
use base::{LogIndex, Mono, NodeId};

use crate::follower_read::Ask;
use crate::lease::Lease;
use crate::progress::Peer;
use crate::read::ReadQueue;

/// Leadership on its way to another node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Transfer {
    pub(crate) target: NodeId,
    pub(crate) deadline: Mono,
    pub(crate) is_asked: bool,
}

/// A leader's state; empty on others.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Lead {
    pub(crate) peers: Vec<Peer>,
    pub(crate) reads: ReadQueue,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) lease: Lease,
    /// Followers that asked for a read index, by position.
    pub(crate) asks: VecDeque<Ask>,
    pub(crate) backlog: Backlog,
    /// The end of the own log: only this node appends to it now.
    pub(crate) last_index: LogIndex,
    /// Who left with the newest configuration, to be told once that is committed.
    pub(crate) leaving: Vec<NodeId>,
    /// The no-op of this term.
    pub(crate) first_index: LogIndex,
    /// The own lowest faulty entry, and since when it is that one.
    pub(crate) stuck: Option<(LogIndex, Mono)>,
}

impl Lead {
    pub(crate) fn peer(&self, id: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    pub(crate) fn peer_mut(&mut self, id: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    pub(crate) fn clear(&mut self) {
        self.peers.clear();
        self.reads.clear();
        self.transfer = None;
        self.lease = Lease::default();
        self.asks.clear();
        self.backlog.clear();
        self.first_index = LogIndex(0);
        self.last_index = LogIndex(0);
        self.leaving.clear();
        self.stuck = None;
    }
}

/// Bytes of a leader's proposals that are uncommitted, and committed but not applied.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Backlog {
    uncommitted: VecDeque<(LogIndex, u64)>,
    unapplied: VecDeque<(LogIndex, u64)>,
    uncommitted_bytes: u64,
    unapplied_bytes: u64,
}

impl Backlog {
    /// May a proposal of so many bytes enter? One always fits an empty group.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        (self.uncommitted.is_empty() || self.uncommitted_bytes + bytes <= UNCOMMITTED_BYTES_MAX)
            && self.unapplied_bytes < UNAPPLIED_BYTES_MAX
    }

    pub(crate) fn uncommitted_bytes(&self) -> u64 {
        self.uncommitted_bytes
    }

    pub(crate) fn note_proposed(&mut self, index: LogIndex, bytes: u64) {
        self.uncommitted.push_back((index, bytes));
        self.uncommitted_bytes += bytes;
    }

    pub(crate) fn note_committed(&mut self, commit_index: LogIndex) {
        while let Some((index, bytes)) = self.uncommitted.front().copied().filter(|(index, _)| *index <= commit_index) {
            self.uncommitted.pop_front();
            self.uncommitted_bytes -= bytes;
            self.unapplied.push_back((index, bytes));
            self.unapplied_bytes += bytes;
        }
    }

    pub(crate) fn note_applied(&mut self, applied_index: LogIndex) {
        while let Some((_, bytes)) = self.unapplied.front().copied().filter(|(index, _)| *index <= applied_index) {
            self.unapplied.pop_front();
            self.unapplied_bytes -= bytes;
        }
    }

    fn clear(&mut self) {
        self.uncommitted.clear();
        self.unapplied.clear();
        self.uncommitted_bytes = 0;
        self.unapplied_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_move_from_uncommitted_to_unapplied_to_gone() {
        let mut backlog = Backlog::default();
        assert!(backlog.fits(UNCOMMITTED_BYTES_MAX * 2), "one proposal always fits an empty group");
        backlog.note_proposed(LogIndex(1), UNCOMMITTED_BYTES_MAX);
        assert!(!backlog.fits(1));
        backlog.note_committed(LogIndex(1));
        assert!(!backlog.fits(1), "what is not applied counts too");
        backlog.note_applied(LogIndex(1));
        assert!(backlog.fits(1));
    }
}
