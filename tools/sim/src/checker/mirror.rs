//! What a node's log was when a checker last looked at it: to see what is new, and what was replaced.

use base::{LogIndex, Term};

use crate::observe::LogView;

/// Terms and crcs of one log at the last look. Empty before the first.
#[derive(Clone, Default, Debug)]
pub(crate) struct Mirror {
    /// The index of the first entry kept; 0 before the first look.
    base: u64,
    entries: Vec<(Term, u32)>,
}

impl Mirror {
    /// Looks again. Returns the first index that is new or was replaced since; `last_index + 1` when nothing is.
    ///
    /// The crcs are chained: one that is equal says that all below are.
    pub(crate) fn look(&mut self, log: &dyn LogView) -> LogIndex {
        let (first, last) = (log.first_index().0, log.last_index().0);
        let mut keep = self.last().min(last);
        while keep >= self.base.max(first) && self.entry(keep) != Some(read(log, keep)) {
            keep -= 1;
        }
        // Behind a snapshot or after damage nothing of the old log may remain.
        if self.base == 0 || keep + 1 < first || keep + 1 < self.base || keep + 1 == self.base && first < self.base {
            self.base = first;
            self.entries.clear();
            keep = first - 1;
        }
        self.entries.truncate((keep + 1 - self.base) as usize);
        self.entries.extend((keep + 1..=last).map(|index| read(log, index)));
        LogIndex(keep + 1)
    }

    /// The entry at `index` at the last look.
    pub(crate) fn get(&self, index: LogIndex) -> Option<(Term, u32)> {
        self.entry(index.0)
    }

    fn entry(&self, index: u64) -> Option<(Term, u32)> {
        self.entries.get(usize::try_from(index.checked_sub(self.base)?).ok()?).copied().filter(|_| self.base > 0)
    }

    fn last(&self) -> u64 {
        (self.base + self.entries.len() as u64).saturating_sub(1)
    }
}

fn read(log: &dyn LogView, index: u64) -> (Term, u32) {
    (log.term(LogIndex(index)).unwrap_or_default(), log.crc(LogIndex(index)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::Twin;

    #[test]
    fn only_what_changed_is_new() {
        let mut mirror = Mirror::default();
        assert_eq!(mirror.look(&Twin::of(&[1, 1, 2])), LogIndex(1));
        assert_eq!(mirror.look(&Twin::of(&[1, 1, 2])), LogIndex(4));
        assert_eq!(mirror.look(&Twin::of(&[1, 1, 2, 2])), LogIndex(4));
        assert_eq!(mirror.look(&Twin::of(&[1, 3, 3, 3])), LogIndex(2));
        assert_eq!(mirror.look(&Twin::of(&[1])), LogIndex(2));
        assert_eq!(mirror.get(LogIndex(1)).unwrap().0, Term(1));
        assert_eq!(mirror.get(LogIndex(2)), None);
    }

    #[test]
    fn a_log_behind_a_snapshot_is_all_new() {
        let mut mirror = Mirror::default();
        mirror.look(&Twin::of(&[1, 1, 2]));
        let mut log = Twin::of(&[1, 1, 2, 2, 3, 3]);
        log.compact(4);
        assert_eq!(mirror.look(&log), LogIndex(5));
        assert_eq!((mirror.get(LogIndex(4)), mirror.get(LogIndex(6)).unwrap().0), (None, Term(3)));
        log.compact(5);
        assert_eq!(mirror.look(&log), LogIndex(7));
        let empty = Twin::default();
        assert_eq!(mirror.look(&empty), LogIndex(1));
        assert_eq!(mirror.look(&Twin::of(&[4])), LogIndex(1));
    }
}
