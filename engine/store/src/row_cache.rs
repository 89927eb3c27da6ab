//! Rows on the core that were read ahead: held until their token is released, then kept while there is room.
//!
//! Coherent by construction: a fill takes the newest value any memtable has, and every write updates the row if it is
//! here. Absent rows are remembered as such. Eviction is a clock over the rows that nobody holds.
//!
//! A listing must not drive out what is read again and again. So when there is no room, a row that was not seen lately
//! is a guest: it goes when nobody holds it any more, and drives nothing out. What was seen lately is told by a small
//! table of hashes, which may be wrong about a row now and then.

use std::cell::Cell;

use base::IdMap;

use crate::hash_index::HashIndex;
use crate::key::GroupLife;
use crate::row_filter::{RowHash, RowHasher};

/// What a row costs beside its bytes: its slot, its place in the index and two heap headers.
const ROW_OVERHEAD_BYTES: usize = 128;
/// Rows that were seen lately, about.
const SEEN: usize = 1 << 15;
/// Places of the first index; a power of two.
const INDEX_MIN: usize = 1 << 10;

/// A held row; give it back with [`RowCache::unhold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    slot: u32,
    generation: u32,
}

struct Slot {
    /// Whose row, and its key; `None` when the slot is free.
    row: Option<(GroupLife, Box<[u8]>)>,
    value: Option<Vec<u8>>,
    hash: u64,
    holds: u32,
    /// Tells this use of the slot from the one before.
    generation: u32,
    /// It goes with its last hold.
    is_guest: bool,
    /// Read since the hand came by.
    touched: Cell<bool>,
}

/// The rows of all groups of one core.
pub(crate) struct RowCache {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashIndex,
    /// Rows of each life.
    lives: IdMap<GroupLife, usize>,
    hasher: RowHasher,
    /// Hashes of the rows that came lately.
    seen: Box<[u32]>,
    hand: usize,
    /// Of all rows but guests.
    bytes: usize,
    bytes_max: usize,
}

impl Slot {
    /// What it counts.
    fn bytes(&self) -> usize {
        let Some((_, key)) = self.row.as_ref().filter(|_| !self.is_guest) else { return 0 };
        key.len() + ROW_OVERHEAD_BYTES + self.value.as_ref().map_or(0, Vec::len)
    }
}

impl RowCache {
    pub(crate) fn new(bytes_max: usize, hasher: RowHasher) -> RowCache {
        RowCache {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashIndex::new(INDEX_MIN),
            lives: IdMap::default(),
            hasher,
            seen: vec![0; SEEN].into_boxed_slice(),
            hand: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes a row that was read; with `hold` it stays until it is given back.
    pub(crate) fn fill(&mut self, id: GroupLife, key: Vec<u8>, value: Option<Vec<u8>>, hold: bool) -> Option<Hold> {
        let hash = self.hash(id, &key);
        let slot = match self.find(id, &key, hash) {
            Some(slot) => {
                self.set(slot, value);
                slot
            }
            None => {
                let is_guest = !self.was_seen(hash) && self.bytes >= self.bytes_max / 8 * 7;
                if is_guest && !hold {
                    return None;
                }
                self.insert((id, key), hash, value, is_guest)
            }
        };
        let hold = hold.then(|| self.hold_slot(slot));
        self.evict();
        hold
    }

    /// Holds a row that is here.
    pub(crate) fn hold(&mut self, id: GroupLife, key: &[u8]) -> Option<Hold> {
        let slot = self.find(id, key, self.hash(id, key))?;
        let at = &mut self.slots[slot as usize];
        if std::mem::take(&mut at.is_guest) {
            // Two want it.
            self.bytes += at.bytes();
        }
        Some(self.hold_slot(slot))
    }

    /// Gives a hold back; the row stays while there is room.
    pub(crate) fn unhold(&mut self, hold: Hold) {
        let slot = &mut self.slots[hold.slot as usize];
        // A life that was dropped took its held rows along.
        if slot.generation == hold.generation && slot.holds > 0 {
            slot.holds -= 1;
            if slot.holds == 0 && slot.is_guest {
                self.remove(hold.slot);
            }
        }
    }

    /// It has rows of this life.
    pub(crate) fn has(&self, id: GroupLife) -> bool {
        self.lives.contains_key(&id)
    }

    /// The row of this hash was written: if it is here, it changes here too.
    pub(crate) fn update(&mut self, id: GroupLife, key: &[u8], hash: RowHash, value: Option<&[u8]>) {
        if let Some(slot) = self.find(id, key, hash.0) {
            self.set(slot, value.map(<[u8]>::to_vec));
        }
    }

    /// Drops all rows of a life, held ones too.
    pub(crate) fn forget(&mut self, id: GroupLife) {
        if self.lives.contains_key(&id) {
            for slot in 0..self.slots.len() as u32 {
                if self.slots[slot as usize].row.as_ref().is_some_and(|(of, _)| *of == id) {
                    self.remove(slot);
                }
            }
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
            if slot.holds == 0 && slot.row.is_some() && !slot.touched.replace(false) {
                self.remove(self.hand as u32);
            }
        }
    }

    /// What is known of the row of this hash: `None` nothing, `Some(None)` that it is absent.
    pub(crate) fn get(&self, id: GroupLife, key: &[u8], hash: RowHash) -> Option<Option<&[u8]>> {
        let slot = &self.slots[self.find(id, key, hash.0)? as usize];
        slot.touched.set(true);
        Some(slot.value.as_deref())
    }

    /// Memory taken, about.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn hash(&self, id: GroupLife, key: &[u8]) -> u64 {
        self.hasher.hash(id, key).0
    }

    fn find(&self, id: GroupLife, key: &[u8], hash: u64) -> Option<u32> {
        self.index.find(hash, |slot| {
            self.slots[slot as usize].row.as_ref().is_some_and(|(of, known)| *of == id && **known == *key)
        })
    }

    /// Did such a row come lately? From now on it did.
    fn was_seen(&mut self, hash: u64) -> bool {
        let (place, mark) = (hash as usize % SEEN, (hash >> 32) as u32);
        std::mem::replace(&mut self.seen[place], mark) == mark
    }

    fn insert(&mut self, row: (GroupLife, Vec<u8>), hash: u64, value: Option<Vec<u8>>, is_guest: bool) -> u32 {
        let (id, key) = (row.0, row.1.into_boxed_slice());
        *self.lives.entry(id).or_insert(0) += 1;
        let generation = |slot: u32| self.slots.get(slot as usize).map_or(0, |slot| slot.generation);
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        let (generation, touched) = (generation(at), Cell::new(false));
        let slot = Slot { row: Some((id, key)), value, hash, holds: 0, generation, is_guest, touched };
        self.bytes += slot.bytes();
        match self.slots.get_mut(at as usize) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.index.insert(hash, at);
        at
    }

    fn set(&mut self, slot: u32, value: Option<Vec<u8>>) {
        let at = &mut self.slots[slot as usize];
        self.bytes -= at.bytes();
        at.value = value;
        self.bytes += at.bytes();
    }

    fn hold_slot(&mut self, slot: u32) -> Hold {
        let at = &mut self.slots[slot as usize];
        at.holds += 1;
        Hold { slot, generation: at.generation }
    }

    /// Drops the row in a slot.
    fn remove(&mut self, slot: u32) {
        let at = &mut self.slots[slot as usize];
        self.bytes -= at.bytes();
        (at.holds, at.generation, at.value) = (0, at.generation.wrapping_add(1), None);
        let Some((id, _)) = at.row.take() else { return };
        self.index.remove(at.hash, slot);
        self.free.push(slot);
        if let Some(rows) = self.lives.get_mut(&id) {
            *rows -= 1;
            if *rows == 0 {
                self.lives.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::GroupId;

    use super::*;

    const ID: GroupLife = (GroupId(1), 1);

    fn get<'a>(cache: &'a RowCache, key: &[u8]) -> Option<Option<&'a [u8]>> {
        cache.get(ID, key, cache.hasher.hash(ID, key))
    }

    fn update(cache: &mut RowCache, key: &[u8], value: Option<&[u8]>) {
        cache.update(ID, key, cache.hasher.hash(ID, key), value);
    }

    #[test]
    fn released_rows_stay_until_room_is_needed_and_read_ones_stay_longer() {
        let mut cache = RowCache::new(3 * (ROW_OVERHEAD_BYTES + 2), RowHasher::new());
        let hold = cache.fill(ID, b"a".to_vec(), Some(b"1".to_vec()), true).unwrap();
        cache.fill(ID, b"b".to_vec(), None, false);
        cache.fill(ID, b"c".to_vec(), Some(b"3".to_vec()), false);
        assert_eq!(get(&cache, b"b"), Some(None), "absence is remembered");
        for _ in 0..2 {
            cache.fill(ID, b"d".to_vec(), Some(b"4".to_vec()), false);
        }
        assert_eq!(get(&cache, b"c"), None, "the one row that is neither held nor read");
        assert_eq!(get(&cache, b"a"), Some(Some(&b"1"[..])));
        cache.unhold(hold);
        for at in 0..20u8 {
            cache.fill(ID, vec![at], Some(vec![at]), false);
            cache.fill(ID, vec![at], Some(vec![at]), false);
        }
        assert_eq!(get(&cache, b"a"), None);
        assert!(cache.bytes() <= 3 * (ROW_OVERHEAD_BYTES + 2));
    }

    #[test]
    fn rows_that_come_once_drive_nothing_out_when_there_is_no_room() {
        let mut cache = RowCache::new(100 * (ROW_OVERHEAD_BYTES + 2), RowHasher::new());
        for at in 0..90u16 {
            cache.fill(ID, at.to_be_bytes().to_vec(), None, false);
        }
        let kept = cache.bytes();
        for page in 0..50u16 {
            let holds: Vec<_> = (0..200u16)
                .map(|at| cache.fill(ID, (1000 + page * 200 + at).to_be_bytes().to_vec(), None, true).unwrap())
                .collect();
            assert!((0..200u16).all(|at| get(&cache, &(1000 + page * 200 + at).to_be_bytes()).is_some()));
            holds.into_iter().for_each(|hold| cache.unhold(hold));
        }
        assert!((0..80u16).all(|at| get(&cache, &at.to_be_bytes()).is_some()));
        assert!(cache.bytes() <= cache.bytes_max && cache.bytes() >= kept);
        let wanted = 7777u16.to_be_bytes();
        for _ in 0..2 {
            let hold = cache.fill(ID, wanted.to_vec(), None, true).unwrap();
            cache.unhold(hold);
        }
        assert_eq!(get(&cache, &wanted), Some(None), "what comes again is kept");
    }

    #[test]
    fn a_write_changes_a_row_that_is_here_and_brings_none_in() {
        let mut cache = RowCache::new(1 << 20, RowHasher::new());
        cache.fill(ID, b"a".to_vec(), None, false);
        update(&mut cache, b"a", Some(b"new"));
        update(&mut cache, b"b", Some(b"new"));
        assert_eq!(get(&cache, b"a"), Some(Some(&b"new"[..])));
        assert_eq!(get(&cache, b"b"), None);
        update(&mut cache, b"a", None);
        assert_eq!(get(&cache, b"a"), Some(None));
    }

    #[test]
    fn a_forgotten_life_takes_its_rows_along_and_old_holds_do_no_harm() {
        let mut cache = RowCache::new(1 << 20, RowHasher::new());
        let hold = cache.fill(ID, b"a".to_vec(), None, true).unwrap();
        cache.forget(ID);
        assert_eq!((cache.bytes(), cache.has(ID)), (0, false));
        let other = (GroupId(2), 1);
        cache.fill(other, b"x".to_vec(), None, true);
        cache.unhold(hold);
        assert_eq!(cache.slots[0].holds, 1, "the slot is another row's now");
    }
}
