//! What of a group is on disk: the sync epochs that its writes wait for, and the ABA rule.
//!
//! ```text
//! append 5..10 (term 1)  in epoch 3                 ring (3,10)
//! truncate 6, append 6..8 (term 2) in epoch 4       ring (3, 5) (4, 8)
//! truncate 6, append 6..10 (term 1 again) in 5      ring (3, 5) (4, 5) (5,10)
//! synced 3: persisted 5     synced 4: 5             synced 5: 10
//! ```

use std::collections::VecDeque;

use base::{LogIndex, SyncEpoch, mutate};

use crate::HardState;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Pair {
    epoch: SyncEpoch,
    last_index: LogIndex,
    /// All bytes ever written, up to this pair.
    written_bytes: u64,
}

/// The unsynced entries of one group.
///
/// Each epoch that is not persisted has a pair of its own, so a sync moves `persisted_index` as far as it reaches, however
/// many epochs wait behind it. Their number is bounded by the log: one open frame, and the closed ones, which hold no more
/// than a core may have unsynced.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct EpochRing {
    /// Epochs ascend.
    pairs: VecDeque<Pair>,
    persisted_index: LogIndex,
    written_bytes: u64,
    synced_bytes: u64,
}

impl EpochRing {
    pub(crate) fn new(persisted_index: LogIndex) -> EpochRing {
        EpochRing { pairs: VecDeque::new(), persisted_index, written_bytes: 0, synced_bytes: 0 }
    }

    /// Every entry up to here is on disk, as it is now in the log.
    pub(crate) fn persisted_index(&self) -> LogIndex {
        self.persisted_index
    }

    /// Bytes written and not known to be on disk.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.written_bytes - self.synced_bytes
    }

    /// The entry at `last_index` is written and persisted by `epoch`.
    pub(crate) fn note_written(&mut self, epoch: SyncEpoch, last_index: LogIndex, bytes: u64) {
        self.written_bytes += bytes;
        let pair = Pair { epoch, last_index, written_bytes: self.written_bytes };
        match self.pairs.back_mut() {
            Some(newest) if newest.epoch >= epoch => *newest = Pair { epoch: newest.epoch, ..pair },
            _ => self.pairs.push_back(pair),
        }
    }

    /// Entries from `index` on are gone: no sync of what they were may cover what replaces them.
    pub(crate) fn note_truncated(&mut self, index: LogIndex) {
        self.persisted_index = self.persisted_index.min(index.prev());
        // Without this a sync of bytes that were replaced would speak for what replaced them.
        base::mark::hit!("raft.epochs.truncation_cuts_a_pair", self.pairs.iter().any(|pair| pair.last_index >= index));
        let last = mutate!(MUT_16A, index.prev(), LogIndex(u64::MAX));
        self.pairs.iter_mut().for_each(|pair| pair.last_index = pair.last_index.min(last));
    }

    /// Everything of `epoch` and before is on disk. True if `persisted_index` rose.
    pub(crate) fn handle_synced(&mut self, epoch: SyncEpoch) -> bool {
        let mut newest = None;
        while let Some(pair) = self.pairs.pop_front_if(|pair| pair.epoch <= epoch) {
            newest = Some(pair);
        }
        let Some(newest) = newest else { return false };
        self.synced_bytes = newest.written_bytes;
        let rose = newest.last_index > self.persisted_index;
        base::mark::hit!("raft.epochs.sync_raises_nothing", !rose);
        self.persisted_index = self.persisted_index.max(newest.last_index);
        rose
    }

    /// The log restarted behind a persisted snapshot at `index` and now ends at `last_index`.
    pub(crate) fn note_installed(&mut self, index: LogIndex, last_index: LogIndex) {
        self.note_truncated(last_index.next());
        self.persisted_index = self.persisted_index.max(index);
    }
}

/// Term and vote: as they are, as they were handed out, as they are on disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HardStates {
    pub(crate) current: HardState,
    emitted: HardState,
    awaits_epoch: Option<HardState>,
    flying: VecDeque<(SyncEpoch, HardState)>,
    persisted: HardState,
}

impl HardStates {
    pub(crate) fn new(persisted: HardState) -> HardStates {
        HardStates { current: persisted, emitted: persisted, awaits_epoch: None, flying: VecDeque::new(), persisted }
    }

    pub(crate) fn is_unwritten(&self) -> bool {
        self.current != self.emitted
    }

    pub(crate) fn persisted(&self) -> HardState {
        self.persisted
    }

    pub(crate) fn is_persisted(&self) -> bool {
        self.current == self.persisted
    }

    /// What must be written, once.
    pub(crate) fn emit(&mut self) -> Option<HardState> {
        self.is_unwritten().then(|| {
            self.emitted = self.current;
            self.awaits_epoch = Some(self.current);
            self.current
        })
    }

    pub(crate) fn note_epoch(&mut self, epoch: SyncEpoch) {
        if let Some(hard_state) = self.awaits_epoch.take() {
            // One epoch keeps the last of its states.
            while self.flying.back().is_some_and(|(last, _)| *last >= epoch) {
                base::mark::hit!("raft.epochs.state_replaced");
                self.flying.pop_back();
            }
            self.flying.push_back((epoch, hard_state));
        }
    }

    pub(crate) fn handle_synced(&mut self, epoch: SyncEpoch) {
        while self.flying.front().is_some_and(|(first, _)| *first <= epoch) {
            self.persisted = self.flying.pop_front().expect("the front was just seen").1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_after_the_drawn_example() -> EpochRing {
        let mut ring = EpochRing::new(LogIndex(4));
        ring.note_written(SyncEpoch(3), LogIndex(10), 6);
        ring.note_truncated(LogIndex(6));
        ring.note_written(SyncEpoch(4), LogIndex(8), 3);
        ring.note_truncated(LogIndex(6));
        ring.note_written(SyncEpoch(5), LogIndex(10), 5);
        ring
    }

    #[test]
    fn a_sync_of_overwritten_entries_does_not_cover_their_successors() {
        let mut ring = ring_after_the_drawn_example();
        for (epoch, persisted) in [(3, 5), (4, 5), (5, 10)] {
            ring.handle_synced(SyncEpoch(epoch));
            assert_eq!(ring.persisted_index(), LogIndex(persisted), "epoch {epoch}");
        }
        assert_eq!(ring.unsynced_bytes(), 0);
    }

    #[test]
    fn one_sync_covers_all_epochs_before_it() {
        let mut ring = ring_after_the_drawn_example();
        assert!(ring.handle_synced(SyncEpoch(9)));
        assert_eq!(ring.persisted_index(), LogIndex(10));
        assert!(!ring.handle_synced(SyncEpoch(9)));
    }

    #[test]
    fn every_sync_counts_however_many_epochs_wait() {
        let mut ring = EpochRing::new(LogIndex(0));
        (1..=6).for_each(|i| ring.note_written(SyncEpoch(i), LogIndex(i), 1));
        // The writes never pause: each sync finds another epoch behind the last.
        for i in 7..=40 {
            assert!(ring.handle_synced(SyncEpoch(i - 6)));
            ring.note_written(SyncEpoch(i), LogIndex(i), 1);
            assert_eq!((ring.persisted_index(), ring.unsynced_bytes()), (LogIndex(i - 6), 6));
        }
        ring.handle_synced(SyncEpoch(40));
        assert_eq!((ring.persisted_index(), ring.unsynced_bytes()), (LogIndex(40), 0));
    }

    #[test]
    fn a_truncation_takes_back_what_was_persisted() {
        let mut ring = EpochRing::new(LogIndex(9));
        ring.note_truncated(LogIndex(4));
        assert_eq!(ring.persisted_index(), LogIndex(3));
    }

    #[test]
    fn each_written_term_and_vote_is_persisted_by_its_own_epoch() {
        let state = |term| HardState { term: base::Term(term), vote: base::NodeId(0) };
        let mut hard = HardStates::new(state(1));
        for term in [2, 3] {
            hard.current = state(term);
            assert_eq!(hard.emit(), Some(state(term)));
            assert_eq!(hard.emit(), None);
            hard.note_epoch(SyncEpoch(term));
        }
        hard.handle_synced(SyncEpoch(2));
        assert_eq!((hard.persisted(), hard.is_persisted()), (state(2), false));
        hard.handle_synced(SyncEpoch(3));
        assert!(hard.is_persisted());
    }
}
