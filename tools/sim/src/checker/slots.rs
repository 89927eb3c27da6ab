//! A small sorted table: what a checker keeps per node, per group, or per both.

/// Values by key; new keys begin with the default. Tens of keys, looked up on every event: a binary search in one
/// array, iterated in order of keys.
#[derive(Clone, Debug)]
pub(crate) struct Slots<K, T> {
    keys: Vec<K>,
    values: Vec<T>,
}

impl<K, T> Default for Slots<K, T> {
    fn default() -> Self {
        Slots { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Ord + Copy, T: Default> Slots<K, T> {
    /// The value of `key`, made if it is new.
    pub(crate) fn of(&mut self, key: K) -> &mut T {
        let at = match self.keys.binary_search(&key) {
            Ok(at) => at,
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, T::default());
                at
            }
        };
        &mut self.values[at]
    }

    /// The value of `key`, if it is known.
    pub(crate) fn get(&self, key: K) -> Option<&T> {
        self.keys.binary_search(&key).ok().map(|at| &self.values[at])
    }

    /// All, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.keys.iter().copied().zip(&self.values)
    }

    /// All, ascending.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.keys.iter().copied().zip(&mut self.values)
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
}
