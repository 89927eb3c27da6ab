//! A node's log as the specification keeps it: terms and chained crcs, and what a turn changed.

use base::{LogIndex, Term};

use crate::observe::LogView;

/// What names an entry together with its index: the crc covers its bytes and all before it; 0 is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Entry {
    pub term: Term,
    pub crc: u32,
}

impl Entry {
    /// Of one index: the same entry, as far as is known?
    pub fn is_same(self, other: Entry) -> bool {
        self.term == other.term && (self.crc == other.crc || self.crc == 0 || other.crc == 0)
    }
}

/// What a look found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Change {
    /// The first entry that was not there before; behind the last one when none is new.
    pub first_new: LogIndex,
    /// The first entry of before that is there no more, dropped prefixes aside.
    pub gone: Option<(LogIndex, Entry)>,
}

/// The entries `first ..= last`, and the one before them.
#[derive(Clone, Debug)]
pub(super) struct Log {
    first: u64,
    before: Entry,
    entries: Vec<Entry>,
}

impl Default for Log {
    fn default() -> Log {
        Log { first: 1, before: Entry::default(), entries: Vec::new() }
    }
}

impl Log {
    pub fn last(&self) -> LogIndex {
        LogIndex(self.first + self.entries.len() as u64 - 1)
    }

    pub fn get(&self, index: LogIndex) -> Option<Entry> {
        if index.0 + 1 == self.first {
            return Some(self.before);
        }
        self.entries.get(usize::try_from(index.0.checked_sub(self.first)?).ok()?).copied()
    }

    /// Term and index of the last entry: what votes are compared by.
    pub fn end(&self) -> (Term, LogIndex) {
        (self.get(self.last()).unwrap_or_default().term, self.last())
    }

    /// Becomes what `view` shows. Amortised: what is equal at the top is equal below, so only what changed is read.
    pub fn look(&mut self, view: &dyn LogView) -> Change {
        let (first, last, old_last) = (view.first_index().0, view.last_index().0, self.last().0);
        let mut same = old_last.min(last);
        while same >= self.first.max(first) && self.get(LogIndex(same)) != Some(read(view, same)) {
            same -= 1;
        }
        let is_connected = first >= self.first && same + 1 >= first;
        let gone = LogIndex((same + 1).max(first));
        let gone = self.get(gone).filter(|_| gone.0 >= self.first && gone.0 <= old_last).map(|entry| (gone, entry));
        if !is_connected {
            self.entries.clear();
            (self.first, same) = (first, first - 1);
        }
        self.entries.truncate((same + 1 - self.first) as usize);
        self.entries.extend((same + 1..=last).map(|index| read(view, index)));
        // Dropped prefixes go in large steps: a move of the rest each time would cost more than the memory.
        if first > self.first && (first - self.first) as usize * 2 >= self.entries.len() {
            self.entries.drain(..(first - self.first) as usize);
            self.first = first;
        }
        if self.first == first {
            self.before = read(view, first - 1);
        }
        Change { first_new: LogIndex(same + 1), gone }
    }
}

fn read(view: &dyn LogView, index: u64) -> Entry {
    let index = LogIndex(index);
    Entry { term: view.term(index).unwrap_or_default(), crc: view.crc(index).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::Twin;

    fn look(log: &mut Log, twin: &Twin) -> (u64, Option<u64>) {
        let change = log.look(twin);
        assert_eq!((log.last(), log.end().0), (twin.last_index(), twin.term(twin.last_index()).unwrap_or_default()));
        (change.first_new.0, change.gone.map(|gone| gone.0.0))
    }

    #[test]
    fn a_look_finds_what_came_and_what_went() {
        let mut log = Log::default();
        assert_eq!(look(&mut log, &Twin::default()), (1, None));
        assert_eq!(look(&mut log, &Twin::of(&[1, 1, 2])), (1, None));
        assert_eq!(look(&mut log, &Twin::of(&[1, 1, 2, 2])), (4, None));
        assert_eq!(look(&mut log, &Twin::of(&[1, 3])), (2, Some(2)));
        assert_eq!(look(&mut log, &Twin::of(&[1])), (2, Some(2)));
        assert_eq!(look(&mut log, &Twin::of(&[1])), (2, None));
    }

    #[test]
    fn a_dropped_prefix_is_no_loss_and_a_restart_behind_the_end_is_none() {
        let mut log = Log::default();
        look(&mut log, &Twin::of(&[1, 1, 2]));
        let mut twin = Twin::of(&[1, 1, 2, 2, 2]);
        twin.compact(2);
        assert_eq!(look(&mut log, &twin), (4, None));
        twin.compact(5);
        assert_eq!(look(&mut log, &twin), (6, None));
        let mut far = Twin::of(&[1, 1, 2, 2, 2, 2, 2, 3]);
        far.compact(7);
        assert_eq!(look(&mut log, &far), (8, None));
        assert_eq!((log.first, log.get(LogIndex(7)).unwrap().term), (8, Term(2)));
    }
}
