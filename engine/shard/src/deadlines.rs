//! The deadlines of all groups, without a look at each of them: a heap of lower bounds, corrected when they come up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use base::Mono;

/// Deadlines by local group. A deadline that moves later, as every contact of a leader moves it, costs nothing until its
/// old value comes up.
///
/// Invariant: `queued[at]` is at or before the group's deadline, and the heap holds it unless it is [`Mono::MAX`].
#[derive(Default, Debug)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Mono, u32)>>,
    queued: Vec<Mono>,
}

impl Deadlines {
    /// The group's deadline is now `deadline`.
    pub(crate) fn set(&mut self, at: u32, deadline: Mono) {
        let at_index = at as usize;
        if self.queued.len() <= at_index {
            self.queued.resize(at_index + 1, Mono::MAX);
        }
        if deadline < self.queued[at_index] {
            self.queued[at_index] = deadline;
            self.heap.push(Reverse((deadline, at)));
        }
    }

    /// No deadline is before this.
    pub(crate) fn earliest(&self) -> Mono {
        self.heap.peek().map_or(Mono::MAX, |Reverse((deadline, _))| *deadline)
    }

    /// Takes out a group whose bound has come up; its true deadline must be set again.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<u32> {
        while let Some(Reverse((deadline, at))) = self.heap.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.heap.pop();
            // An entry that an earlier one replaced is stale.
            if self.queued[at as usize] == deadline {
                self.queued[at as usize] = Mono::MAX;
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moved_later_comes_up_once_and_is_set_again() {
        let mut deadlines = Deadlines::default();
        deadlines.set(3, Mono(10));
        deadlines.set(3, Mono(30));
        deadlines.set(1, Mono(20));
        assert_eq!(deadlines.earliest(), Mono(10));
        assert_eq!(deadlines.pop_due(Mono(9)), None);
        assert_eq!(deadlines.pop_due(Mono(15)), Some(3));
        deadlines.set(3, Mono(30));
        assert_eq!(deadlines.pop_due(Mono(15)), None);
        assert_eq!((deadlines.pop_due(Mono(40)), deadlines.pop_due(Mono(40))), (Some(1), Some(3)));
        assert_eq!(deadlines.earliest(), Mono::MAX);
    }

    #[test]
    fn a_deadline_that_moved_earlier_is_not_lost_and_not_told_twice() {
        let mut deadlines = Deadlines::default();
        deadlines.set(0, Mono(50));
        deadlines.set(0, Mono(5));
        assert_eq!(deadlines.pop_due(Mono(60)), Some(0));
        assert_eq!(deadlines.pop_due(Mono(60)), None);
        deadlines.set(0, Mono::MAX);
        assert_eq!(deadlines.earliest(), Mono::MAX);
    }

    #[test]
    fn the_same_deadlines_come_up_as_by_looking_at_all() {
        let mut prng = base::Prng::new(4);
        let (mut deadlines, mut all) = (Deadlines::default(), vec![Mono::MAX; 20]);
        for now in (0..5_000).map(Mono) {
            let at = prng.below(20) as usize;
            all[at] = if prng.one_in(10) { Mono::MAX } else { Mono(now.0 + prng.below(300)) };
            deadlines.set(at as u32, all[at]);
            assert!(deadlines.earliest() <= *all.iter().min().unwrap());
            let mut due = Vec::new();
            while let Some(at) = deadlines.pop_due(now) {
                if all[at as usize] <= now {
                    due.push(at as usize);
                    all[at as usize] = Mono::MAX;
                } else {
                    deadlines.set(at, all[at as usize]);
                }
            }
            assert!(all.iter().all(|deadline| *deadline > now), "a deadline was lost at {now:?}, told {due:?}");
        }
    }
}
