//! [`Sparse`]: entries by index while a log is replayed, with gaps: stretches, of which there is nearly always one.
//!
//! A log of millions of entries is replayed into it: an entry behind the last one costs a push, and no search; and what
//! it became is taken over as it is.

use base::{LogIndex, Term};

use crate::stretch::{Loc, Stretch};

/// A map from log indexes to terms and places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sparse {
    /// Ascending, none empty; one may begin where the one before it ends.
    stretches: Vec<Stretch>,
}

impl Sparse {
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    pub fn clear(&mut self) {
        self.stretches.clear();
    }

    pub fn last(&self) -> Option<(LogIndex, &Loc)> {
        let stretch = self.stretches.last()?;
        Some((stretch.end().prev(), stretch.last()?))
    }

    pub fn get(&self, index: LogIndex) -> Option<(Term, &Loc)> {
        let stretch = self.stretches[..self.begun(index)].last()?;
        stretch.term(index).zip(stretch.loc(index))
    }

    /// Stretches that begin at or before `index`.
    fn begun(&self, index: LogIndex) -> usize {
        self.stretches.partition_point(|stretch| stretch.first() <= index)
    }

    /// Puts an entry in its place; in that of another, it has the same term.
    pub fn insert(&mut self, index: LogIndex, term: Term, loc: Loc) {
        if let Some(last) = self.stretches.last_mut()
            && last.end() == index
        {
            return last.push(term, loc);
        }
        let next = self.begun(index);
        match self.stretches[..next].last_mut() {
            Some(stretch) if index < stretch.end() => stretch.put(index, loc),
            Some(stretch) if index == stretch.end() => stretch.push(term, loc),
            _ => {
                let mut stretch = Stretch::at(index);
                stretch.push(term, loc);
                self.stretches.insert(next, stretch);
            }
        }
    }

    /// Drops what is before `first`.
    pub fn drop_before(&mut self, first: LogIndex) {
        let gone = self.stretches.partition_point(|stretch| stretch.end() <= first);
        self.stretches.drain(..gone);
        if let Some(stretch) = self.stretches.first_mut().filter(|stretch| stretch.first() < first) {
            stretch.drop_before(first);
        }
    }

    /// Drops what is at `from` or behind it.
    pub fn drop_from(&mut self, from: LogIndex) {
        self.stretches.truncate(self.stretches.partition_point(|stretch| stretch.first() < from));
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.drop_from(from);
        }
    }

    /// All entries, ascending.
    pub fn into_stretches(self) -> impl Iterator<Item = Stretch> {
        self.stretches.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Prng;

    use super::*;

    fn loc(number: u32) -> Loc {
        Loc { segment: 1, offset: number, bytes: 48, crc: number }
    }

    /// The same of a map that is known to be right.
    fn compare(sparse: &Sparse, map: &BTreeMap<LogIndex, (Term, Loc)>) {
        assert_eq!(sparse.last().map(|(i, l)| (i, *l)), map.iter().next_back().map(|(i, (_, l))| (*i, *l)));
        assert_eq!(sparse.is_empty(), map.is_empty());
        let get = |index| sparse.get(index).map(|(term, loc)| (term, *loc));
        (0..50).map(LogIndex).for_each(|index| assert_eq!(get(index), map.get(&index).copied(), "{index}"));
        let is_ordered = sparse.stretches.windows(2).all(|pair| pair[0].end() <= pair[1].first());
        assert!(is_ordered && sparse.stretches.iter().all(|stretch| !stretch.is_empty()), "{sparse:?}");
        let whole = sparse.clone().into_stretches().reduce(|mut whole, next| {
            if whole.end() == next.first() {
                whole.append(next);
            }
            whole
        });
        let Some(whole) = whole else { return };
        for (index, (term, loc)) in map.range(whole.first()..whole.end()) {
            assert_eq!((whole.term(*index), whole.loc(*index)), (Some(*term), Some(loc)), "{index}");
        }
        assert_eq!(map.range(whole.first()..whole.end()).count(), whole.len());
        assert!(whole.runs().zip(whole.runs().skip(1)).all(|(run, next)| run.0 < next.0 && run.1 != next.1));
    }

    #[test]
    fn it_holds_what_a_map_holds_whatever_is_put_in_and_dropped() {
        let mut dice = Prng::new(7);
        for _ in 0..300 {
            let (mut sparse, mut map) = (Sparse::default(), BTreeMap::<LogIndex, (Term, Loc)>::new());
            for step in 0..40 {
                let index = LogIndex(1 + dice.below(40));
                match dice.below(20) {
                    0 => {
                        sparse.drop_from(index);
                        map.split_off(&index);
                    }
                    1 => {
                        sparse.drop_before(index);
                        map = map.split_off(&index);
                    }
                    2 if step % 7 == 0 => {
                        sparse.clear();
                        map.clear();
                    }
                    _ => {
                        let index =
                            if dice.below(2) == 0 { index } else { sparse.last().map_or(index, |l| l.0.next()) };
                        let term = map.get(&index).map_or(Term(1 + step / 10), |(term, _)| *term);
                        sparse.insert(index, term, loc(step as u32));
                        map.insert(index, (term, loc(step as u32)));
                    }
                }
                compare(&sparse, &map);
            }
        }
    }
}
