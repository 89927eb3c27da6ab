//! Rows on the core that were read ahead: held until their token is released, then kept while there is room.
//!
//! Coherent by construction: a fill takes the newest value any memtable has, and every write updates the row if it is
//! here. Absent rows are remembered as such. Eviction is a clock over the rows that nobody holds.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::key::GroupLife;

/// What a row costs beside its bytes: its slot, its place in the index and two heap headers.
const ROW_OVERHEAD_BYTES: usize = 160;

/// A held row; give it back with [`RowCache::unhold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    slot: u32,
    generation: u32,
}

struct Slot {
    /// Whose row, and its key; `None` when the slot is free.
    row: Option<(GroupLife, Arc<[u8]>)>,
    value: Option<Vec<u8>>,
    holds: u32,
    /// Tells this use of the slot from the one before.
    generation: u32,
    /// Read since the hand came by.
    touched: Cell<bool>,
}

/// Where the rows of one life are.
type KeyIndex = HashMap<Arc<[u8]>, u32>;

/// The rows of all groups of one core.
pub(crate) struct RowCache {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashMap<GroupLife, KeyIndex>,
    hand: usize,
    bytes: usize,
    bytes_max: usize,
}

impl RowCache {
    pub(crate) fn new(bytes_max: usize) -> RowCache {
        RowCache { slots: Vec::new(), free: Vec::new(), index: HashMap::new(), hand: 0, bytes: 0, bytes_max }
    }

    /// Takes a row that was read; with `hold` it stays until it is given back.
    pub(crate) fn fill(&mut self, id: GroupLife, key: &[u8], value: Option<Vec<u8>>, hold: bool) -> Option<Hold> {
        let slot = match self.find(id, key) {
            Some(slot) => {
                self.set(slot, value);
                slot
            }
            None => self.insert(id, key, value),
        };
        let hold = hold.then(|| self.hold_slot(slot));
        self.evict();
        hold
    }

    /// Holds a row that is here.
    pub(crate) fn hold(&mut self, id: GroupLife, key: &[u8]) -> Option<Hold> {
        self.find(id, key).map(|slot| self.hold_slot(slot))
    }

    /// Gives a hold back; the row stays while there is room.
    pub(crate) fn unhold(&mut self, hold: Hold) {
        let slot = &mut self.slots[hold.slot as usize];
        // A life that was dropped took its held rows along.
        if slot.generation == hold.generation && slot.holds > 0 {
            slot.holds -= 1;
        }
    }

    /// It has had rows of this life, and may have some.
    pub(crate) fn has(&self, id: GroupLife) -> bool {
        self.index.contains_key(&id)
    }

    /// The row was written: if it is here, it changes here too.
    pub(crate) fn update(&mut self, id: GroupLife, key: &[u8], value: Option<&[u8]>) {
        if let Some(slot) = self.find(id, key) {
            self.set(slot, value.map(<[u8]>::to_vec));
        }
    }

    /// Drops all rows of a life, held ones too.
    pub(crate) fn forget(&mut self, id: GroupLife) {
        for slot in self.index.remove(&id).unwrap_or_default().into_values() {
            self.free_slot(slot);
        }
    }

    /// Rows released may have made room necessary: call it after giving holds back.
    pub(crate) fn evict(&mut self) {
        // Two turns of the clock: the first clears the marks, the second finds what nobody read meanwhile.
        let mut steps = self.slots.len() * 2;
        while self.bytes > self.bytes_max && steps > 0 {
            steps -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &self.slots[self.hand];
            if slot.holds > 0 || slot.touched.replace(false) {
                continue;
            }
            let Some((id, key)) = slot.row.clone() else { continue };
            if let Some(rows) = self.index.get_mut(&id) {
                rows.remove(&key);
            }
            self.free_slot(self.hand as u32);
        }
    }

    /// What is known of a row: `None` nothing, `Some(None)` that it is absent.
    pub(crate) fn get(&self, id: GroupLife, key: &[u8]) -> Option<Option<&[u8]>> {
        let slot = &self.slots[self.find(id, key)? as usize];
        slot.touched.set(true);
        Some(slot.value.as_deref())
    }

    /// Memory taken, about.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn find(&self, id: GroupLife, key: &[u8]) -> Option<u32> {
        self.index.get(&id)?.get(key).copied()
    }

    fn insert(&mut self, id: GroupLife, key: &[u8], value: Option<Vec<u8>>) -> u32 {
        let key: Arc<[u8]> = key.into();
        self.bytes += key.len() + ROW_OVERHEAD_BYTES + value.as_ref().map_or(0, Vec::len);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { row: None, value: None, holds: 0, generation: 0, touched: Cell::new(false) });
            (self.slots.len() - 1) as u32
        });
        self.index.entry(id).or_default().insert(key.clone(), slot);
        let at = &mut self.slots[slot as usize];
        at.row = Some((id, key));
        at.value = value;
        at.touched.set(false);
        slot
    }

    fn set(&mut self, slot: u32, value: Option<Vec<u8>>) {
        let at = &mut self.slots[slot as usize];
        self.bytes += value.as_ref().map_or(0, Vec::len);
        self.bytes -= at.value.as_ref().map_or(0, Vec::len);
        at.value = value;
    }

    fn hold_slot(&mut self, slot: u32) -> Hold {
        let at = &mut self.slots[slot as usize];
        at.holds += 1;
        Hold { slot, generation: at.generation }
    }

    fn free_slot(&mut self, slot: u32) {
        let at = &mut self.slots[slot as usize];
        if let Some((_, key)) = at.row.take() {
            self.bytes -= key.len() + ROW_OVERHEAD_BYTES + at.value.as_ref().map_or(0, Vec::len);
        }
        at.value = None;
        at.holds = 0;
        at.generation = at.generation.wrapping_add(1);
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use base::GroupId;

    use super::*;

    const ID: GroupLife = (GroupId(1), 1);

    #[test]
    fn released_rows_stay_until_room_is_needed_and_read_ones_stay_longer() {
        let mut cache = RowCache::new(3 * (ROW_OVERHEAD_BYTES + 2));
        let hold = cache.fill(ID, b"a", Some(b"1".to_vec()), true).unwrap();
        cache.fill(ID, b"b", None, false);
        cache.fill(ID, b"c", Some(b"3".to_vec()), false);
        assert_eq!(cache.get(ID, b"b"), Some(None), "absence is remembered");
        cache.fill(ID, b"d", Some(b"4".to_vec()), false);
        assert_eq!(cache.get(ID, b"c"), None, "the one row that is neither held nor read");
        assert_eq!(cache.get(ID, b"a"), Some(Some(&b"1"[..])));
        cache.unhold(hold);
        for at in 0..20u8 {
            cache.fill(ID, &[at], Some(vec![at]), false);
        }
        assert_eq!(cache.get(ID, b"a"), None);
        assert!(cache.bytes() <= 3 * (ROW_OVERHEAD_BYTES + 2));
    }

    #[test]
    fn a_write_changes_a_row_that_is_here_and_brings_none_in() {
        let mut cache = RowCache::new(1 << 20);
        cache.fill(ID, b"a", None, false);
        cache.update(ID, b"a", Some(b"new"));
        cache.update(ID, b"b", Some(b"new"));
        assert_eq!(cache.get(ID, b"a"), Some(Some(&b"new"[..])));
        assert_eq!(cache.get(ID, b"b"), None);
        cache.update(ID, b"a", None);
        assert_eq!(cache.get(ID, b"a"), Some(None));
    }

    #[test]
    fn a_forgotten_life_takes_its_rows_along_and_old_holds_do_no_harm() {
        let mut cache = RowCache::new(1 << 20);
        let hold = cache.fill(ID, b"a", None, true).unwrap();
        cache.forget(ID);
        assert_eq!(cache.bytes(), 0);
        let other = (GroupId(2), 1);
        cache.fill(other, b"x", None, true);
        cache.unhold(hold);
        assert_eq!(cache.slots[0].holds, 1, "the slot is another row's now");
    }
}
