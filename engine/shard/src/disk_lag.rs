//! How long the oldest byte waits for the disk (docs/design/raft.md, "Slow disk").
//!
//! ```text
//!  written by now    epoch 4 ── in flight ──▶ persisted: its bytes no longer wait
//!                    epoch 5 ── since its own first byte, whatever syncs end meanwhile
//! ```

use std::collections::VecDeque;

use base::mono::Span;
use base::{Mono, SyncEpoch};

/// The epochs that are not persisted, and since when each has bytes.
#[derive(Debug, Default)]
pub(crate) struct DiskLag {
    /// Epochs and times ascend. At most one a turn, and no more than the log has frames that wait.
    waiting: VecDeque<(SyncEpoch, Mono)>,
    /// Beyond the bound, as the groups were last told.
    pub(crate) is_beyond: bool,
}

impl DiskLag {
    /// Everything written so far is persisted with `covering`; what is newer than the last call was written since `now`.
    pub(crate) fn note_written(&mut self, covering: SyncEpoch, persisted: SyncEpoch, now: Mono) {
        if covering > persisted && self.waiting.back().is_none_or(|(newest, _)| *newest < covering) {
            self.waiting.push_back((covering, now));
        }
    }

    /// Everything of `persisted` and before is on disk.
    pub(crate) fn handle_synced(&mut self, persisted: SyncEpoch) {
        while self.waiting.pop_front_if(|(epoch, _)| *epoch <= persisted).is_some() {}
    }

    /// The age of the oldest byte that is not on disk; 0 when all is.
    pub(crate) fn age(&self, now: Mono) -> Span {
        self.oldest().map_or(Span(0), |since| now.since(since))
    }

    /// Since when the oldest byte waits.
    pub(crate) fn oldest(&self) -> Option<Mono> {
        self.waiting.front().map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Span::from_ms(ms).0)
    }

    #[test]
    fn the_age_is_that_of_the_oldest_byte_though_syncs_end() {
        let mut lag = DiskLag::default();
        lag.note_written(SyncEpoch(1), SyncEpoch(0), at(100));
        // It is in flight; the open epoch fills.
        lag.note_written(SyncEpoch(2), SyncEpoch(0), at(150));
        lag.note_written(SyncEpoch(2), SyncEpoch(0), at(900));
        assert_eq!(lag.age(at(1_900)), Span::from_ms(1_800));
        lag.handle_synced(SyncEpoch(1));
        lag.note_written(SyncEpoch(3), SyncEpoch(1), at(1_900));
        assert_eq!(lag.age(at(1_900)), Span::from_ms(1_750), "not since the last sync");
        lag.handle_synced(SyncEpoch(2));
        assert_eq!((lag.age(at(2_000)), lag.oldest()), (Span::from_ms(100), Some(at(1_900))));
        lag.handle_synced(SyncEpoch(3));
        assert_eq!((lag.age(at(9_000)), lag.oldest()), (Span(0), None));
    }

    #[test]
    fn what_is_persisted_does_not_wait() {
        let mut lag = DiskLag::default();
        lag.note_written(SyncEpoch(7), SyncEpoch(7), at(1));
        assert_eq!(lag.oldest(), None);
        // Several epochs were closed in one turn: all their bytes are as old as the turn.
        lag.note_written(SyncEpoch(10), SyncEpoch(7), at(5));
        lag.handle_synced(SyncEpoch(9));
        assert_eq!(lag.oldest(), Some(at(5)));
    }
}
