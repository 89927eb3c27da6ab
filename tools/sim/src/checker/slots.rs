//! A small sorted table: what a checker keeps per node, per group, or per both.

use base::{GroupId, NodeId, Nsid, Term};

/// A key that may name a place of its own, so that it is found without a search.
pub(crate) trait Key: Ord + Copy {
    /// Less than [`PLACES_MAX`] and unlike that of any other key; `usize::MAX` for a key that is searched.
    fn place(self) -> usize {
        usize::MAX
    }
}

/// Places that a table indexes at most.
const PLACES_MAX: usize = 1 << 12;
/// No value is at this place.
const NONE: u16 = u16::MAX;

impl Key for GroupId {
    fn place(self) -> usize {
        self.0 as usize
    }
}

impl Key for (GroupId, NodeId) {
    fn place(self) -> usize {
        match self {
            (GroupId(group @ 0..4), NodeId(node @ 0..0x400)) => (node << 2 | u64::from(group)) as usize,
            _ => usize::MAX,
        }
    }
}

impl Key for (GroupId, NodeId, NodeId) {
    fn place(self) -> usize {
        match self {
            (GroupId(group @ 0..4), NodeId(a @ 0..0x20), NodeId(b @ 0..0x20)) => {
                (a << 7 | b << 2 | u64::from(group)) as usize
            }
            _ => usize::MAX,
        }
    }
}

impl Key for Nsid {}
impl Key for (GroupId, Term) {}
impl Key for (u64, GroupId) {}
impl Key for (u64, Nsid) {}
#[cfg(test)]
impl Key for u8 {}

/// Values by key; new keys begin with the default. Tens of keys, looked up on every event: a place or a binary search in
/// one array, iterated in order of keys.
#[derive(Clone, Debug)]
pub(crate) struct Slots<K, T> {
    keys: Vec<K>,
    values: Vec<T>,
    /// Where the value of a place is.
    index: Vec<u16>,
}

impl<K, T> Default for Slots<K, T> {
    fn default() -> Self {
        Slots { keys: Vec::new(), values: Vec::new(), index: Vec::new() }
    }
}

impl<K: Key, T: Default> Slots<K, T> {
    /// The value of `key`, made if it is new.
    pub(crate) fn of(&mut self, key: K) -> &mut T {
        let at = match self.find(key) {
            Ok(at) => at,
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, T::default());
                self.index_from(at);
                at
            }
        };
        &mut self.values[at]
    }

    /// The value of `key`, if it is known.
    pub(crate) fn get(&self, key: K) -> Option<&T> {
        self.find(key).ok().map(|at| &self.values[at])
    }

    /// All, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.keys.iter().copied().zip(&self.values)
    }

    /// All, ascending.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.keys.iter().copied().zip(&mut self.values)
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        match self.index.get(key.place()) {
            Some(&at) if at != NONE => Ok(at as usize),
            _ => self.keys.binary_search(&key),
        }
    }

    /// Keys from `at` on have moved.
    fn index_from(&mut self, at: usize) {
        for at in at..self.keys.len().min(NONE as usize) {
            let place = self.keys[at].place();
            if place >= PLACES_MAX {
                continue;
            }
            if self.index.len() <= place {
                self.index.resize(place + 1, NONE);
            }
            self.index[place] = at as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_again_and_come_in_order() {
        let mut slots: Slots<u8, u32> = Slots::default();
        [5, 1, 3, 1].iter().for_each(|key| *slots.of(*key) += u32::from(*key));
        assert_eq!(slots.iter().map(|(key, value)| (key, *value)).collect::<Vec<_>>(), [(1, 2), (3, 3), (5, 5)]);
        assert_eq!((slots.get(3), slots.get(4)), (Some(&3), None));
        slots.iter_mut().for_each(|(_, value)| *value = 0);
        assert_eq!(slots.get(1), Some(&0));
    }

    #[test]
    fn keys_with_a_place_are_found_as_those_without() {
        let mut slots: Slots<(GroupId, NodeId), u64> = Slots::default();
        let keys = [(1, 900), (0, 5), (2, 1 << 40), (3, 1023), (0, 4), (9, 4), (1, 5), (0, 0)];
        let key = |(group, node)| (GroupId(group), NodeId(node));
        keys.iter().enumerate().for_each(|(at, name)| *slots.of(key(*name)) = at as u64);
        for (at, name) in keys.iter().enumerate() {
            assert_eq!(slots.get(key(*name)), Some(&(at as u64)), "{name:?}");
        }
        assert_eq!(slots.get(key((2, 5))), None);
        assert!(slots.iter().map(|(key, _)| key).is_sorted());
    }
}
