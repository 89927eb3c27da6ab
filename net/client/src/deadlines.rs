//! When requests end that nobody answers.
//!
//! Nearly all of them are given the same time, so they come due in the order in which they came: those stand in a row, and
//! one that ended earlier is taken out only when it comes to the front.

use std::collections::{BTreeSet, VecDeque};

use base::Mono;

/// Ended ones that may stand in the row beside as many that have not.
const ENDED_MAX: usize = 1024;

/// Deadlines of requests, each with its id.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Ascending. Invariant: the first one has not ended.
    row: VecDeque<(Mono, u64)>,
    /// Of the row, those that have not ended.
    live: usize,
    /// Those that came due before one that was there already.
    others: BTreeSet<(Mono, u64)>,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, deadline: Mono, id: u64) {
        if self.row.back().is_none_or(|(last, _)| *last <= deadline) {
            self.row.push_back((deadline, id));
            self.live += 1;
        } else {
            self.others.insert((deadline, id));
        }
    }

    /// Takes one out that was inserted. `is_live`: has one of the others, of this deadline and id, not ended?
    pub(crate) fn remove(&mut self, deadline: Mono, id: u64, is_live: impl Fn(Mono, u64) -> bool) {
        if self.others.remove(&(deadline, id)) {
            return;
        }
        self.live -= 1;
        while let Some((deadline, id)) = self.row.front()
            && !is_live(*deadline, *id)
        {
            self.row.pop_front();
        }
        // One that is never answered must not hold all that came behind it.
        if self.row.len() > 2 * self.live + ENDED_MAX {
            self.row.retain(|(deadline, id)| is_live(*deadline, *id));
        }
    }

    /// The earliest.
    pub(crate) fn first(&self) -> Option<(Mono, u64)> {
        [self.row.front(), self.others.first()].into_iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    #[test]
    fn the_earliest_is_told_whatever_came_and_went_and_what_ended_is_not_kept() {
        let mut prng = Prng::new(7);
        let (mut deadlines, mut live) = (Deadlines::default(), BTreeSet::new());
        // Never answered, of the time that nearly all have.
        deadlines.insert(Mono(1_000_000), 0);
        live.insert((Mono(1_000_000), 0));
        for id in 1..50_000 {
            let within = if prng.one_in(50) { prng.below(900_000) } else { 1_000_000 };
            let entry = (Mono(id + within), id);
            deadlines.insert(entry.0, entry.1);
            live.insert(entry);
            if live.len() > 100 {
                let at = 1 + prng.below(live.len() as u64 - 1) as usize;
                let ended = *live.iter().nth(at).expect("it is one of them");
                live.remove(&ended);
                deadlines.remove(ended.0, ended.1, |deadline, id| live.contains(&(deadline, id)));
            }
            assert_eq!(deadlines.first(), live.first().copied());
            assert!(deadlines.row.len() <= 2 * live.len() + ENDED_MAX + 1);
        }
        while let Some(first) = live.pop_first() {
            assert_eq!(deadlines.first(), Some(first));
            deadlines.remove(first.0, first.1, |deadline, id| live.contains(&(deadline, id)));
        }
        assert_eq!((deadlines.first(), deadlines.row.len()), (None, 0));
    }
}
