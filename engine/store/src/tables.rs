//! The tables of one version of the tree, opened to be read by the reading thread. The core asks their filters alone.
//!
//! The crate's own readers make an allocation for each row, take locks for each block, and wait while a flush or a
//! compaction syncs the version file. So where the blocks of a table are, and what is in them, is read here. The formats are
//! those of the one version that is pinned.
//!
//! ```text
//! run: tables in key order, disjoint   version: runs, the newest first
//! index of a table: the last key of each block, in chunks of 16; of each key the eight bytes behind what the chunk shares,
//!   and of the last of each chunk those behind what all of them share: a search looks at numbers that lie together
//! ```

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering as Order};
use std::sync::{Arc, Mutex, OnceLock};

use lsm_tree::table::block::BlockType;
use lsm_tree::table::{Block, IndexBlock};
use lsm_tree::{DescriptorTable, GlobalTableId, Slice, Table, TreeId};

use crate::block_cache::{BlockCache, BlockId};
use crate::block_load::{BlockPlace, LoadError, load};
use crate::block_rows::{Malformed, RowBlock};
use crate::row_filter::FilterNumber;
use crate::sorted::{common, head_of};
use crate::tree::TreeError;

/// Blocks of a chunk of an index.
const CHUNK: usize = 16;

/// Where blocks come from.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) tree: TreeId,
    pub(crate) descriptors: Arc<DescriptorTable>,
}

/// The tables of a version.
pub(crate) struct TableSet {
    /// The version's number.
    pub(crate) id: u64,
    pub(crate) files: Files,
    /// Newest first.
    pub(crate) runs: Vec<Run>,
}

/// The tables as they were registered last, for the reading thread and the core: they never wait for a change of version.
pub(crate) struct Newest {
    /// The lock is held to copy or replace a pointer.
    set: Mutex<Arc<TableSet>>,
    /// How often it was replaced.
    changes: AtomicU64,
}

impl Newest {
    pub(crate) fn new(set: TableSet) -> Newest {
        Newest { set: Mutex::new(Arc::new(set)), changes: AtomicU64::new(0) }
    }

    pub(crate) fn get(&self) -> Arc<TableSet> {
        self.set.lock().expect("no thread panics while it holds the tables").clone()
    }

    /// Grows with every change that [`Newest::get`] shows from then on.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Order::Acquire)
    }

    /// Shows a set unless a newer one is shown; returns the one that goes.
    pub(crate) fn show(&self, new: Arc<TableSet>) -> Arc<TableSet> {
        let mut newest = self.set.lock().expect("no thread panics while it holds the tables");
        // Another thread may have shown a newer one meanwhile.
        let old = if newest.id <= new.id { std::mem::replace(&mut *newest, new) } else { new };
        drop(newest);
        self.changes.fetch_add(1, Order::Release);
        old
    }
}

/// Tables that do not overlap, in key order.
pub(crate) type Run = Vec<Arc<OpenTable>>;

/// A table; its index is read when it is first needed.
pub(crate) struct OpenTable {
    table: Table,
    index: OnceLock<TableIndex>,
    /// What knows its rows, if this process had them in memory.
    filter: Option<FilterNumber>,
}

struct TableIndex {
    /// The bytes of the crate's index block, in which the keys lie.
    data: Slice,
    blocks: Vec<BlockAt>,
    heads: Vec<u64>,
    /// Bytes that all keys of a chunk share, with the key before them too.
    shared: Vec<u32>,
    /// What the last keys of all chunks share.
    prefix: Vec<u8>,
    /// Of the last key of each chunk, behind `prefix`.
    tops: Vec<u64>,
}

/// A data block: its last key, and where it lies.
#[derive(Clone, Copy)]
pub(crate) struct BlockAt {
    offset: u64,
    bytes: u32,
    key: u32,
    key_bytes: u32,
}

impl TableSet {
    /// The tables of these runs; those that `old` has open stay so. `filters`: of new tables, by number.
    pub(crate) fn new(
        id: u64,
        files: Files,
        runs: Vec<Vec<Table>>,
        old: Option<&TableSet>,
        filters: &BTreeMap<u64, FilterNumber>,
    ) -> TableSet {
        let open = |table: Table| {
            let known = old.and_then(|old| old.runs.iter().flatten().find(|known| known.table.id() == table.id()));
            known.cloned().unwrap_or_else(|| {
                let filter = filters.get(&table.id()).copied();
                Arc::new(OpenTable { table, index: OnceLock::new(), filter })
            })
        };
        let runs = runs.into_iter().map(|run| run.into_iter().map(open).collect()).collect();
        TableSet { id, files, runs }
    }
}

impl OpenTable {
    pub(crate) fn min(&self) -> &[u8] {
        self.table.metadata.key_range.min()
    }

    pub(crate) fn max(&self) -> &[u8] {
        self.table.metadata.key_range.max()
    }

    /// The filter of the memtable that it was, if this process had it.
    pub(crate) fn filter(&self) -> Option<FilterNumber> {
        self.filter
    }

    /// False when its filter knows that no row has a key of this hash (xxh3).
    pub(crate) fn may_have(&self, hash: u64) -> Result<bool, TreeError> {
        match &self.table.pinned_filter_block {
            Some(filter) => Ok(filter.maybe_contains_hash(hash)?),
            None => Ok(true),
        }
    }

    /// Its blocks are numbered from 0 to before this.
    pub(crate) fn blocks(&self, files: &Files) -> Result<usize, TreeError> {
        Ok(self.index(files)?.blocks.len())
    }

    /// The one block that may have a key; the number of blocks for a key behind all.
    pub(crate) fn block_of(&self, files: &Files, key: &[u8]) -> Result<usize, TreeError> {
        Ok(self.index(files)?.find(key))
    }

    /// The last key of a block.
    pub(crate) fn block_end(&self, files: &Files, number: usize) -> Result<&[u8], TreeError> {
        Ok(self.index(files)?.key(number))
    }

    /// Where a block lies; `None` behind the last.
    pub(crate) fn block_at(&self, files: &Files, number: usize) -> Result<Option<BlockAt>, TreeError> {
        Ok(self.index(files)?.blocks.get(number).copied())
    }

    /// A block, by its number.
    pub(crate) fn block(
        &self,
        files: &Files,
        cache: &RefCell<BlockCache>,
        number: usize,
    ) -> Result<RowBlock, TreeError> {
        self.load(files, cache, self.index(files)?.blocks[number])
    }

    /// A block, by its place.
    pub(crate) fn load(
        &self,
        files: &Files,
        cache: &RefCell<BlockCache>,
        BlockAt { offset, bytes, .. }: BlockAt,
    ) -> Result<RowBlock, TreeError> {
        let place = BlockPlace { offset, bytes, compression: self.table.metadata.data_block_compression };
        let rows = cache.borrow_mut().get(BlockId { table: self.table.id(), offset }, |raw, out| {
            load(&*self.file(files)?, place, raw, out).map_err(|error| match error {
                LoadError::Io(error) => TreeError::Io(error),
                LoadError::Malformed => self.malformed(),
            })
        })?;
        RowBlock::new(rows).map_err(|Malformed| self.malformed())
    }

    /// Its bytes are not what was written, or have their checksum and are not what they should be.
    pub(crate) fn malformed(&self) -> TreeError {
        TreeError::Corrupt(format!("a block of {} is malformed", self.table.path.display()))
    }

    fn file(&self, files: &Files) -> Result<Arc<File>, TreeError> {
        let id = GlobalTableId::from((files.tree, self.table.id()));
        if let Some(file) = files.descriptors.access_for_table(&id) {
            return Ok(file);
        }
        let file = Arc::new(File::open(&*self.table.path)?);
        files.descriptors.insert_for_table(id, file.clone());
        Ok(file)
    }

    fn index(&self, files: &Files) -> Result<&TableIndex, TreeError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = self.read_index(files)?;
        Ok(self.index.get_or_init(|| index))
    }

    fn read_index(&self, files: &Files) -> Result<TableIndex, TreeError> {
        let (regions, metadata) = (&self.table.regions, &self.table.metadata);
        let block = Block::from_file(&*self.file(files)?, regions.tli, metadata.index_block_compression)?;
        // An index in parts is one that this store never writes.
        if block.header.block_type != BlockType::Index || regions.index.is_some() {
            return Err(self.malformed());
        }
        let index = IndexBlock::new(block);
        let mut blocks = Vec::with_capacity(index.len());
        for item in index.iter() {
            let (begin, end) = (item.end_key.0, item.end_key.1);
            blocks.push(BlockAt {
                offset: *item.offset,
                bytes: item.size,
                key: begin as u32,
                key_bytes: (end - begin) as u32,
            });
        }
        Ok(TableIndex::new(index.as_slice().clone(), blocks))
    }
}

impl TableIndex {
    fn new(data: Slice, blocks: Vec<BlockAt>) -> TableIndex {
        let (heads, chunks) = (Vec::with_capacity(blocks.len()), blocks.len().div_ceil(CHUNK));
        let (shared, tops) = (Vec::with_capacity(chunks), Vec::with_capacity(chunks));
        let mut index = TableIndex { data, blocks, heads, shared, prefix: Vec::new(), tops };
        let lasts = (0..chunks).map(|chunk| index.chunk(chunk).end - 1);
        let (first, last) = (lasts.clone().next(), lasts.clone().next_back());
        let (Some(first), Some(last)) = (first, last) else { return index };
        let prefix = &index.key(first)[..common(index.key(first), index.key(last))];
        let tops: Vec<_> = lasts.map(|last| head_of(index.key(last), prefix.len())).collect();
        (index.prefix, index.tops) = (prefix.to_vec(), tops);
        for chunk in 0..chunks {
            let Range { start, end } = index.chunk(chunk);
            let shared = common(index.key(start.saturating_sub(1)), index.key(end - 1));
            for number in start..end {
                let head = head_of(index.key(number), shared);
                index.heads.push(head);
            }
            index.shared.push(shared as u32);
        }
        index
    }

    /// The blocks of a chunk.
    fn chunk(&self, chunk: usize) -> Range<usize> {
        chunk * CHUNK..self.blocks.len().min((chunk + 1) * CHUNK)
    }

    fn key(&self, number: usize) -> &[u8] {
        let at = &self.blocks[number];
        &self.data[at.key as usize..(at.key + at.key_bytes) as usize]
    }

    /// The first block whose last key is not before `key`.
    fn find(&self, key: &[u8]) -> usize {
        let chunk = match begin_of(key, &self.prefix) {
            Ordering::Less => 0,
            Ordering::Equal => {
                let last = |chunk: usize| self.key(self.chunk(chunk).end - 1);
                lower_bound(&self.tops, head_of(key, self.prefix.len()), |chunk| last(chunk) < key)
            }
            Ordering::Greater => return self.blocks.len(),
        };
        if chunk == self.tops.len() {
            return self.blocks.len();
        }
        let (Range { start, end }, shared) = (self.chunk(chunk), self.shared[chunk] as usize);
        // Behind the first chunk a key lies between two that begin with what is shared, and so it does too.
        if chunk == 0 {
            match begin_of(key, &self.key(0)[..shared]) {
                Ordering::Less => return 0,
                Ordering::Equal => {}
                // Not so: the last key of the chunk is not before the key, and begins with what is shared.
                Ordering::Greater => return end - 1,
            }
        }
        start + lower_bound(&self.heads[start..end], head_of(key, shared), |at| self.key(start + at) < key)
    }
}

/// How the begin of a key compares with a prefix; a key that ends within it is before it.
fn begin_of(key: &[u8], prefix: &[u8]) -> Ordering {
    key[..prefix.len().min(key.len())].cmp(prefix)
}

/// The first place whose key is not before the one with this head; where heads are equal, `is_before` tells.
fn lower_bound(heads: &[u64], head: u64, is_before: impl Fn(usize) -> bool) -> usize {
    let mut low = heads.partition_point(|other| *other < head);
    let mut high = low + heads[low..].iter().take_while(|other| **other == head).count();
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    #[test]
    fn an_index_finds_the_first_block_that_ends_at_a_key_or_behind_it() {
        let mut dice = Prng::new(9);
        for _ in 0..200 {
            let mut keys: Vec<Vec<u8>> = (0..1 + dice.below(400))
                .map(|_| {
                    let begin: &[u8] =
                        [&b""[..], b"a-long-beginning-", b"a-long-beginnin", b"b"][dice.below(4) as usize];
                    let rest = (0..dice.below(14)).map(|_| dice.below(3) as u8);
                    begin.iter().copied().chain(rest).collect()
                })
                .collect();
            keys.sort();
            keys.dedup();
            let (mut data, mut blocks) = (Vec::new(), Vec::new());
            for key in &keys {
                blocks.push(BlockAt { offset: 0, bytes: 0, key: data.len() as u32, key_bytes: key.len() as u32 });
                data.extend_from_slice(key);
            }
            let index = TableIndex::new(Slice::from(data), blocks);
            for _ in 0..50 {
                let mut key = keys[dice.below(keys.len() as u64) as usize].clone();
                match dice.below(3) {
                    0 => key.push(dice.below(3) as u8),
                    1 => drop(key.pop()),
                    _ => {}
                }
                assert_eq!(index.find(&key), keys.partition_point(|end| *end < key), "{key:?}");
            }
        }
    }
}
