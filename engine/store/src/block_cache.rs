//! Data blocks of the reading thread: kept while there is room, else loaded into memory that was used before.
//!
//! One thread reads, so nothing is locked. When there is no room, a block is kept only if it came lately already: reads all
//! over a large tree, and listings, drive nothing out, and their blocks go through the same few buffers.

use std::sync::Arc;

use crate::hash_index::HashIndex;
use crate::tree::TreeError;

/// What a block costs beside its bytes: its slot, its place in the index, two heap headers.
const BLOCK_OVERHEAD_BYTES: usize = 128;
/// Buffers that wait to be used again; more than a tree has runs.
const SPARE_MAX: usize = 32;
/// Larger ones are not used again.
const SPARE_BYTES_MAX: usize = 16 << 10;
/// Places of the first index; a power of two.
const INDEX_MIN: usize = 1 << 10;
/// Bytes of a block, about: by this and the room for blocks those that came lately are remembered.
const BLOCK_BYTES: usize = 4 << 10;

/// The rows of a block. Whoever reads them shares them with the cache.
pub(crate) type BlockBytes = Arc<Vec<u8>>;

/// The number of a table, and where the block begins in it. Units: bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct BlockId {
    pub(crate) table: u64,
    pub(crate) offset: u64,
}

impl BlockId {
    fn hash(self) -> u64 {
        let mixed = (self.table ^ self.offset.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }
}

/// Where the reading thread has its blocks from.
pub(crate) struct BlockCache {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashIndex,
    /// Hashes of the blocks that came lately.
    seen: Box<[u32]>,
    hand: usize,
    /// Of the blocks that are kept.
    bytes: usize,
    bytes_max: usize,
    /// Used lately; one that nobody reads any more takes the next block.
    spare: Vec<BlockBytes>,
    /// A block as it lies in its file.
    raw: Vec<u8>,
}

struct Slot {
    id: BlockId,
    /// `None`: the slot is free.
    block: Option<BlockBytes>,
    /// Read since the hand came by.
    is_touched: bool,
}

impl BlockCache {
    /// Units: `bytes_max` in bytes of memory, about.
    pub(crate) fn new(bytes_max: usize) -> BlockCache {
        let seen = (bytes_max / BLOCK_BYTES * 2).next_power_of_two().max(INDEX_MIN);
        BlockCache {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashIndex::new(INDEX_MIN),
            seen: vec![0; seen].into_boxed_slice(),
            hand: 0,
            bytes: 0,
            bytes_max,
            spare: Vec::with_capacity(SPARE_MAX),
            raw: Vec::new(),
        }
    }

    /// A block: one that is kept, or what `load` puts into the second of its buffers; the first is room for it.
    pub(crate) fn get(
        &mut self,
        id: BlockId,
        load: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> Result<(), TreeError>,
    ) -> Result<BlockBytes, TreeError> {
        let hash = id.hash();
        if let Some(at) = self.index.find(hash, |slot| self.slots[slot as usize].id == id) {
            let slot = &mut self.slots[at as usize];
            slot.is_touched = true;
            return Ok(slot.block.clone().expect("a slot that the index names is in use"));
        }
        let mut block = self.buffer();
        load(&mut self.raw, Arc::get_mut(&mut block).expect("nobody else has this buffer"))?;
        if !self.keep(id, hash, &block) {
            self.spare(block.clone());
        }
        Ok(block)
    }

    /// One that nobody reads: of those used lately the last.
    fn buffer(&mut self) -> BlockBytes {
        let free = self.spare.iter().rposition(|block| Arc::strong_count(block) == 1);
        free.map_or_else(BlockBytes::default, |at| self.spare.swap_remove(at))
    }

    fn spare(&mut self, block: BlockBytes) {
        if self.spare.len() < SPARE_MAX && block.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(block);
        }
    }

    /// Keeps a block if there is room, or if it came lately.
    fn keep(&mut self, id: BlockId, hash: u64, block: &BlockBytes) -> bool {
        let (bytes, was_seen) = (cost(block), self.was_seen(hash));
        let has_room = self.bytes + bytes <= self.bytes_max;
        if bytes > self.bytes_max || !(has_room || was_seen) {
            return false;
        }
        while self.bytes + bytes > self.bytes_max {
            self.evict_one();
        }
        let slot = Slot { id, block: Some(block.clone()), is_touched: false };
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(at as usize) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.index.insert(hash, at);
        self.bytes += bytes;
        true
    }

    /// Did this block come lately? From now on it did.
    fn was_seen(&mut self, hash: u64) -> bool {
        let (place, mark) = (hash as usize & (self.seen.len() - 1), (hash >> 32) as u32 | 1);
        std::mem::replace(&mut self.seen[place], mark) == mark
    }

    /// Lets one go that was not read since the hand came by. Shape: there is one.
    fn evict_one(&mut self) {
        loop {
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            if std::mem::take(&mut slot.is_touched) {
                continue;
            }
            let Some(block) = slot.block.take() else { continue };
            self.index.remove(slot.id.hash(), self.hand as u32);
            self.free.push(self.hand as u32);
            self.bytes -= cost(&block);
            return self.spare(block);
        }
    }
}

/// What a block counts. Units: bytes.
fn cost(block: &BlockBytes) -> usize {
    block.capacity() + BLOCK_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    const BYTES: usize = 4000;

    fn id(number: u64) -> BlockId {
        BlockId { table: number % 7, offset: number * 3900 }
    }

    /// Gets block `number` and looks at its bytes; true when it was loaded.
    fn get(cache: &mut BlockCache, number: u64) -> bool {
        let mut is_loaded = false;
        let block = cache
            .get(id(number), |_, out| {
                is_loaded = true;
                out.clear();
                out.extend((0..BYTES).map(|at| (at as u64 + number) as u8));
                Ok(())
            })
            .unwrap();
        assert!(block.iter().zip(0..).all(|(byte, at)| *byte == (at as u64 + number) as u8), "block {number}");
        is_loaded
    }

    #[test]
    fn blocks_are_kept_while_there_is_room_and_one_pass_over_others_drives_none_out() {
        let mut cache = BlockCache::new(50 * (BYTES + BLOCK_OVERHEAD_BYTES));
        assert!((0..50).all(|number| get(&mut cache, number)));
        assert!((0..50).all(|number| !get(&mut cache, number)));
        assert!((100..1000).all(|number| get(&mut cache, number)));
        assert!((0..50).all(|number| !get(&mut cache, number)));
        assert!(cache.bytes <= cache.bytes_max && cache.index.len() == 50);
    }

    #[test]
    fn what_comes_again_takes_the_place_of_what_nobody_read() {
        let mut cache = BlockCache::new(50 * (BYTES + BLOCK_OVERHEAD_BYTES));
        (0..50).for_each(|number| assert!(get(&mut cache, number)));
        let loads = |cache: &mut BlockCache| (200..240).filter(|number| get(cache, *number)).count();
        assert_eq!((loads(&mut cache), loads(&mut cache)), (40, 40), "kept from the second time on");
        assert_eq!(loads(&mut cache), 0);
        assert!(cache.bytes <= cache.bytes_max);
    }

    #[test]
    fn a_block_that_is_read_stays_as_it_is_while_others_come_and_go() {
        let (mut cache, mut dice) = (BlockCache::new(10 * (BYTES + BLOCK_OVERHEAD_BYTES)), Prng::new(4));
        let mut read: Vec<(u64, BlockBytes)> = Vec::new();
        for _ in 0..1_500 {
            let number = dice.below(60);
            let make = |_: &mut Vec<u8>, out: &mut Vec<u8>| {
                out.clear();
                out.resize(number as usize * 50, number as u8);
                Ok(())
            };
            read.push((number, cache.get(id(number), make).unwrap()));
            if read.len() > 40 {
                read.swap_remove(dice.below(40) as usize);
            }
            let is_whole = |(number, block): &(u64, BlockBytes)| {
                block.len() == *number as usize * 50 && block.iter().all(|byte| *byte == *number as u8)
            };
            assert!(read.iter().all(is_whole));
            let kept: usize = cache.slots.iter().filter_map(|slot| slot.block.as_ref()).map(cost).sum();
            assert!(kept == cache.bytes && kept <= cache.bytes_max && cache.spare.len() <= SPARE_MAX);
        }
    }

    #[test]
    fn a_block_that_did_not_load_is_not_kept_and_one_above_all_room_is_given_and_let_go() {
        let mut cache = BlockCache::new(1 << 10);
        let failed = cache.get(id(1), |_, _| Err(TreeError::Corrupt("no".into())));
        assert!(failed.is_err() && cache.index.len() == 0);
        assert!(get(&mut cache, 1) && get(&mut cache, 1) && get(&mut cache, 1));
        assert_eq!((cache.bytes, cache.index.len()), (0, 0));
    }
}
