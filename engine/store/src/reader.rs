//! The reading thread: rows ahead of apply, and the parts of outgoing snapshots.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use base::GroupId;
use base::limits::SNAPSHOT_PART_BYTES_MAX;
use lsm_tree::Table;
use xxhash_rust::xxh3::Xxh3;

use crate::block_cache::BlockCache;
use crate::job::{Done, RangeDone, ReadJob};
use crate::key::{self, GroupLife, Life, PREFIX_BYTES};
use crate::memtable::Memtable;
use crate::merge::{Layer, Merged};
use crate::packed::Packed;
use crate::part::PartWriter;
use crate::range_reads::Missing;
use crate::scrub::read_back;
use crate::table_reads::{self, Lookups};
use crate::tree::{RangeAt, Tree, TreeError};
use crate::worker::{Outbox, Worker};

/// A key that was looked for, and what was found.
type KeyDone = (Vec<u8>, Option<Vec<u8>>);

/// Reads the tree for the core.
pub(crate) struct Reader {
    tree: Arc<Tree>,
    outbox: Outbox,
    cache: RefCell<BlockCache>,
    snapshots: HashMap<u64, OutSnapshot>,
}

/// A group's rows as of one instant.
struct OutSnapshot {
    group: GroupId,
    life: Life,
    seqno: u64,
    memtables: Vec<Arc<Memtable>>,
    /// Where each part begins, and the hash of all before it: any part known can be read again.
    parts: Vec<(Vec<u8>, Xxh3)>,
}

impl Reader {
    /// Units: `cache_bytes` of blocks are kept.
    pub(crate) fn new(tree: Arc<Tree>, outbox: Outbox, cache_bytes: usize) -> Reader {
        let cache = RefCell::new(BlockCache::new(cache_bytes));
        Reader { tree, outbox, cache, snapshots: HashMap::new() }
    }
}

impl Worker for Reader {
    type Job = ReadJob;
    const NAME: &'static str = "read";

    fn handle(&mut self, job: ReadJob) -> Result<(), TreeError> {
        match job {
            ReadJob::Prefetch { seq, group, life, keys, ranges } => {
                let (mut done_keys, mut done_ranges) = (Vec::new(), Vec::new());
                let mut at = (Vec::new(), Vec::new());
                match self.fetch((group, life), keys, ranges, (&mut done_keys, &mut done_ranges), &mut at) {
                    // What was not read stays unknown; the groups of the damaged table hear of that first.
                    Err(TreeError::Corrupt(reason)) => self.report(reason, at)?,
                    done => done?,
                }
                self.outbox.send(Done::Prefetched { seq, keys: done_keys, ranges: done_ranges });
            }
            ReadJob::SnapshotBegin { snapshot, group, life, seqno, memtables } => {
                let parts = vec![(Vec::new(), Xxh3::new())];
                self.snapshots.insert(snapshot, OutSnapshot { group, life, seqno, memtables, parts });
            }
            ReadJob::SnapshotRead { snapshot, part } => {
                let Some(out) = self.snapshots.get_mut(&snapshot) else { return Ok(()) };
                let start = out.parts.get(part as usize).map(|(start, _)| start.as_slice()).unwrap_or_default();
                let at = (key::full(out.group, out.life, start), key::life_end(out.group, out.life));
                match out.read(&self.tree, part) {
                    Ok(Some((body, last))) => self.outbox.send(Done::SnapshotPart { snapshot, part, body, last }),
                    Ok(None) => {}
                    // The stream stands still until the group, which has lost its state, ends it.
                    Err(TreeError::Corrupt(reason)) => self.report(reason, at)?,
                    Err(error) => return Err(error),
                }
            }
            ReadJob::SnapshotEnd { snapshot } => drop(self.snapshots.remove(&snapshot)),
            ReadJob::Forget(tables) => drop(tables),
        }
        Ok(())
    }
}

impl Reader {
    /// Errors: `at` is then between which keys the read was.
    fn fetch(
        &self,
        (group, life): GroupLife,
        mut keys: Vec<Vec<u8>>,
        ranges: Vec<(u32, Missing)>,
        (done_keys, done_ranges): (&mut Vec<KeyDone>, &mut Vec<RangeDone>),
        at: &mut (Vec<u8>, Vec<u8>),
    ) -> Result<(), TreeError> {
        keys.sort_unstable();
        done_keys.reserve(keys.len());
        let (tables, below) = (self.tree.newest(), self.tree.below());
        let mut lookups = Lookups::new(&tables, &self.cache);
        let mut full = key::prefix(group, life).to_vec();
        let full_of = |full: &mut Vec<u8>, row: &[u8]| {
            full.truncate(PREFIX_BYTES);
            full.extend_from_slice(row);
        };
        for row in &keys {
            full_of(&mut full, row);
            lookups.place(&full).inspect_err(|_| *at = (full.clone(), full.clone()))?;
        }
        for row in keys {
            full_of(&mut full, &row);
            let value = lookups.get(&full, below).inspect_err(|_| *at = (full.clone(), full.clone()))?;
            done_keys.push((row, value));
        }
        done_ranges.reserve(ranges.len());
        for (place, want) in ranges {
            let bounds = || (key::full(group, life, &want.start), key::full(group, life, &want.end));
            done_ranges.push(self.read_range((group, life), place, &want).inspect_err(|_| *at = bounds())?);
        }
        Ok(())
    }

    fn read_range(&self, (group, life): GroupLife, at: u32, want: &Missing) -> Result<RangeDone, TreeError> {
        let (start, end) = (key::full(group, life, &want.start), key::full(group, life, &want.end));
        let mut rows = Packed::default();
        let complete = table_reads::range(&self.tree.newest(), &self.cache, &start, &end, |key, value| {
            let has_room = rows.len() < want.rows_max as usize;
            if has_room {
                rows.push(&key[PREFIX_BYTES..], value);
            }
            has_room
        })?;
        Ok(RangeDone { at, rows, complete })
    }

    /// A read between these keys met bytes that are not what was written: says which table is damaged.
    ///
    /// Errors: none is, so it is not the disk that is wrong.
    fn report(&self, reason: String, (first, last): (Vec<u8>, Vec<u8>)) -> Result<(), TreeError> {
        let keys = |table: &Table| table.metadata.key_range.clone();
        let mut tables = self.tree.tables();
        tables.retain(|table| **keys(table).min() <= *last && *first <= **keys(table).max());
        tables.sort_by_key(|table| keys(table).min().to_vec());
        let damage = tables.iter().find_map(read_back).ok_or(TreeError::Corrupt(reason))?;
        self.outbox.send(Done::Damaged(damage));
        Ok(())
    }
}

impl OutSnapshot {
    /// The bytes of a part and whether it is the last; `None` when the part before it was not read yet.
    fn read(&mut self, tree: &Tree, part: u32) -> Result<Option<(Vec<u8>, bool)>, TreeError> {
        let Some((mut start, mut hash)) = self.parts.get(part as usize).cloned() else { return Ok(None) };
        let mut writer = PartWriter::new();
        let last = loop {
            match self.fill(tree, &mut writer, &start)? {
                Filled::Full { next } => {
                    start = next;
                    break false;
                }
                Filled::Room { next: Some(next) } => start = next,
                Filled::Room { next: None } => break true,
            }
        };
        let body = writer.finish(&mut hash, last.then_some(part + 1));
        if !last && self.parts.len() == part as usize + 1 {
            self.parts.push((start, hash));
        }
        Ok(Some((body, last)))
    }

    /// Reads the tables once from `start` on and adds the rows they and the memtables have there.
    fn fill(&self, tree: &Tree, writer: &mut PartWriter, start: &[u8]) -> Result<Filled, TreeError> {
        let (group, life, seqno) = (self.group, self.life, self.seqno);
        let read =
            RangeAt { group, life, start, end: None, seqno, rows_max: usize::MAX, bytes_max: SNAPSHOT_PART_BYTES_MAX };
        let found = tree.range(&read)?;
        let limit = match found.rows.last_key() {
            Some(key) if !found.complete => Some(key::successor(key)),
            _ => None,
        };
        let mut layers: Vec<Layer<'_>> =
            self.memtables.iter().map(|table| table.range((group, life), start, limit.as_deref())).collect();
        layers.push(Box::new(found.rows.iter().map(|(key, value)| (key, Some(value)))));
        for (key, value) in Merged::new(layers).live() {
            if !writer.push(key, value) {
                return Ok(Filled::Full { next: key.to_vec() });
            }
        }
        Ok(Filled::Room { next: limit })
    }
}

/// How far one look into the tables brought a part.
enum Filled {
    /// The part is full; the next begins here.
    Full { next: Vec<u8> },
    /// It has room; look on from here, or that was all.
    Room { next: Option<Vec<u8>> },
}
