//! Slots by the hash of what lies in them, for the caches of rows and of blocks.

/// Slots by hash: open addressing, each cell with a part of the hash, so that a search looks at few slots.
pub(crate) struct HashIndex {
    /// Shape: a power of two, at most half of them in use.
    cells: Vec<Cell32>,
    used: usize,
}

/// `slot` is one more than the slot's number; 0 in a free cell.
#[derive(Clone, Copy, Default)]
struct Cell32 {
    mark: u32,
    slot: u32,
}

impl HashIndex {
    /// Shape: `cells` is a power of two.
    pub(crate) fn new(cells: usize) -> HashIndex {
        HashIndex { cells: vec![Cell32::default(); cells], used: 0 }
    }

    /// Slots that are in it.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The cell where a search begins. It is made of the bits that a cell holds, so that cells can be moved.
    fn home(&self, mark: u32) -> usize {
        mark as usize & (self.cells.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }

    /// The slot that `is_it`, of those put in under this hash.
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mark = hash as u32;
        let mut at = self.home(mark);
        while self.cells[at].slot != 0 {
            let cell = self.cells[at];
            if cell.mark == mark && is_it(cell.slot - 1) {
                return Some(cell.slot - 1);
            }
            at = self.next(at);
        }
        None
    }

    /// Puts a slot in; it is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.used + 1) * 2 > self.cells.len() {
            let double = HashIndex::new(self.cells.len() * 2);
            let old = std::mem::replace(self, double);
            old.cells.into_iter().filter(|cell| cell.slot != 0).for_each(|cell| self.put(cell));
        }
        self.put(Cell32 { mark: hash as u32, slot: slot + 1 });
    }

    fn put(&mut self, cell: Cell32) {
        let mut at = self.home(cell.mark);
        while self.cells[at].slot != 0 {
            at = self.next(at);
        }
        self.cells[at] = cell;
        self.used += 1;
    }

    /// Takes a slot out, if it is there under this hash.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let mut hole = self.home(hash as u32);
        while self.cells[hole].slot != slot + 1 {
            if self.cells[hole].slot == 0 {
                return;
            }
            hole = self.next(hole);
        }
        // What lies behind moves up, if a search for it comes by the hole.
        let mut at = self.next(hole);
        while self.cells[at].slot != 0 {
            let mask = self.cells.len() - 1;
            let way = at.wrapping_sub(self.home(self.cells[at].mark)) & mask;
            if way >= (at.wrapping_sub(hole) & mask) {
                self.cells[hole] = self.cells[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.cells[hole] = Cell32::default();
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use base::Prng;

    use super::*;

    #[test]
    fn the_index_holds_what_a_map_holds() {
        let (mut dice, mut index, mut map) = (Prng::new(3), HashIndex::new(8), HashMap::new());
        for slot in 0..20_000u32 {
            // Few homes, so that cells pile up and go round.
            let hash = dice.below(40) << dice.below(5);
            index.insert(hash, slot);
            map.insert(slot, hash);
            if dice.one_in(2) || map.len() > 300 {
                let slot = *map.keys().min().unwrap();
                index.remove(map.remove(&slot).unwrap(), slot);
            }
            let probe = dice.below(u64::from(slot) + 1) as u32;
            let hash = map.get(&probe).copied();
            assert_eq!(hash.and_then(|hash| index.find(hash, |slot| slot == probe)), hash.map(|_| probe));
            assert_eq!(index.used, map.len());
        }
    }
}
