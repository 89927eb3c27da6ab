//! Entries in slots that are used again: an index is good until its entry is taken out.

/// A vector with holes.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts an entry in; where it is.
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = Some(entry);
            return at;
        }
        self.slots.push(Some(entry));
        u32::try_from(self.slots.len() - 1).expect("entries are bounded far below 2^32")
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let entry = self.slots.get_mut(at as usize)?.take();
        if entry.is_some() {
            self.free.push(at);
        }
        entry
    }

    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        self.slots.get(at as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    /// Entries that are there.
    pub(crate) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots, used or not: indexes are below it.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_only_then_holds_another_entry() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!((slab.remove(a), slab.remove(a), slab.get(a)), (Some('a'), None, None));
        assert_eq!((slab.insert('c'), slab.get(a), slab.get(b), slab.count()), (a, Some(&'c'), Some(&'b'), 2));
        *slab.get_mut(b).expect("it is there") = 'd';
        assert_eq!((slab.get(b), slab.slots()), (Some(&'d'), 2));
    }
}
