//! The committed entries of one group, each once and in order, taken from whichever node can show them first.

use base::{LogIndex, Term};

use crate::observe::GroupView;

/// How far the entries were taken.
#[derive(Default)]
pub(crate) struct Committed {
    taken: u64,
    payload: Vec<u8>,
}

impl Committed {
    /// Hands out what `view` knows to be committed and was not taken yet, as far as its bytes are in memory.
    pub(crate) fn follow(&mut self, view: &GroupView<'_>, mut take: impl FnMut(LogIndex, Term, &[u8])) {
        while self.taken < view.commit.0 {
            let index = LogIndex(self.taken + 1);
            self.payload.clear();
            // Behind a snapshot, or cold: another node will show it.
            if index < view.log.first_index() || !view.log.payload(index, &mut self.payload) {
                return;
            }
            take(index, view.log.term(index).unwrap_or_default(), &self.payload);
            self.taken += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::Seat;

    #[test]
    fn each_entry_is_taken_once_from_who_has_it() {
        let mut committed = Committed::default();
        let mut taken = Vec::new();
        let mut follow = |seat: &Seat| committed.follow(&seat.view(), |index, term, _| taken.push((index.0, term.0)));
        follow(&Seat::with(1, &[1, 1, 2], 2));
        let mut compacted = Seat::with(2, &[1, 1, 2, 2, 2], 5);
        compacted.log.compact(4);
        follow(&compacted);
        follow(&Seat::with(1, &[1, 1, 2, 2], 4));
        follow(&compacted);
        assert_eq!(taken, [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]);
    }
}
