//! [`Sparse`]: values by log index, kept as stretches without gaps, of which there is nearly always one.
//!
//! A log of millions of entries is replayed into it: an entry behind the last one costs a push, and no search.

use std::collections::VecDeque;

use base::LogIndex;

/// Values at `first`, `first + 1`, and so on; never empty.
#[derive(Clone, Debug)]
struct Stretch<T> {
    first: LogIndex,
    values: VecDeque<T>,
}

impl<T> Stretch<T> {
    /// The index behind the last one.
    fn end(&self) -> LogIndex {
        LogIndex(self.first.0 + self.values.len() as u64)
    }

    fn at(&self, index: LogIndex) -> usize {
        (index.0 - self.first.0) as usize
    }
}

/// A map from log indexes to values.
#[derive(Clone, Debug)]
pub(crate) struct Sparse<T> {
    /// Ascending; between two of them at least one index has no value.
    stretches: Vec<Stretch<T>>,
}

impl<T> Sparse<T> {
    pub fn new() -> Sparse<T> {
        Sparse { stretches: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    pub fn clear(&mut self) {
        self.stretches.clear();
    }

    pub fn last(&self) -> Option<(LogIndex, &T)> {
        let stretch = self.stretches.last()?;
        Some((stretch.end().prev(), stretch.values.back()?))
    }

    pub fn get(&self, index: LogIndex) -> Option<&T> {
        let stretch = self.stretches[..self.begun(index)].last().filter(|stretch| index < stretch.end())?;
        stretch.values.get(stretch.at(index))
    }

    /// Stretches that begin at or before `index`.
    fn begun(&self, index: LogIndex) -> usize {
        self.stretches.partition_point(|stretch| stretch.first <= index)
    }

    /// Puts a value in its place, in that of another if there is one.
    pub fn insert(&mut self, index: LogIndex, value: T) {
        if let Some(last) = self.stretches.last_mut()
            && last.end() == index
        {
            return last.values.push_back(value);
        }
        let next = self.begun(index);
        let follows = self.stretches.get(next).is_some_and(|stretch| stretch.first == index.next());
        match self.stretches[..next].last_mut() {
            Some(stretch) if index < stretch.end() => {
                let at = stretch.at(index);
                stretch.values[at] = value;
            }
            Some(stretch) if index == stretch.end() => {
                stretch.values.push_back(value);
                if follows {
                    let mut behind = self.stretches.remove(next);
                    self.stretches[next - 1].values.append(&mut behind.values);
                }
            }
            _ if follows => {
                let stretch = &mut self.stretches[next];
                stretch.first = index;
                stretch.values.push_front(value);
            }
            _ => self.stretches.insert(next, Stretch { first: index, values: [value].into() }),
        }
    }

    /// Drops what is before `first`.
    pub fn drop_before(&mut self, first: LogIndex) {
        let gone = self.stretches.partition_point(|stretch| stretch.end() <= first);
        self.stretches.drain(..gone);
        if let Some(stretch) = self.stretches.first_mut().filter(|stretch| stretch.first < first) {
            let at = stretch.at(first);
            stretch.values.drain(..at);
            stretch.first = first;
        }
    }

    /// Drops what is at `from` or behind it.
    pub fn drop_from(&mut self, from: LogIndex) {
        self.stretches.truncate(self.stretches.partition_point(|stretch| stretch.first < from));
        if let Some(stretch) = self.stretches.last_mut().filter(|stretch| from < stretch.end()) {
            let at = stretch.at(from);
            stretch.values.truncate(at);
        }
    }

    /// All values, ascending.
    pub fn into_values(self) -> impl Iterator<Item = (LogIndex, T)> {
        self.stretches.into_iter().flat_map(|stretch| (stretch.first.0..).map(LogIndex).zip(stretch.values))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Prng;

    use super::*;

    /// The same of a map that is known to be right.
    fn compare(sparse: &Sparse<u64>, map: &BTreeMap<LogIndex, u64>) {
        let all: Vec<_> = sparse.clone().into_values().collect();
        assert_eq!(all, map.iter().map(|(index, value)| (*index, *value)).collect::<Vec<_>>());
        assert_eq!(sparse.last().map(|(index, value)| (index, *value)), map.iter().next_back().map(|(i, v)| (*i, *v)));
        assert_eq!(sparse.is_empty(), map.is_empty());
        (0..50).map(LogIndex).for_each(|index| assert_eq!(sparse.get(index), map.get(&index), "{index}"));
        let gaps = sparse.stretches.windows(2).all(|pair| pair[0].end() < pair[1].first);
        assert!(gaps && sparse.stretches.iter().all(|stretch| !stretch.values.is_empty()), "{sparse:?}");
    }

    #[test]
    fn it_holds_what_a_map_holds_whatever_is_put_in_and_dropped() {
        let mut dice = Prng::new(7);
        for _ in 0..300 {
            let (mut sparse, mut map) = (Sparse::new(), BTreeMap::new());
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
                        sparse.insert(index, step);
                        map.insert(index, step);
                    }
                }
                compare(&sparse, &map);
            }
        }
    }
}
