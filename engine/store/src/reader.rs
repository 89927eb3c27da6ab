//! The reading thread: rows ahead of apply, and the parts of outgoing snapshots.

use std::collections::HashMap;
use std::sync::Arc;

use base::GroupId;
use base::limits::SNAPSHOT_PART_BYTES_MAX;
use xxhash_rust::xxh3::Xxh3;

use crate::job::{Done, RangeDone, ReadJob};
use crate::key::{self, Life};
use crate::memtable::Memtable;
use crate::merge::{Layer, Merged};
use crate::part::PartWriter;
use crate::tree::{LATEST, RangeAt, Tree, TreeError};
use crate::worker::{Outbox, Worker};

/// Reads the tree for the core.
pub(crate) struct Reader {
    tree: Arc<Tree>,
    outbox: Outbox,
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
    pub(crate) fn new(tree: Arc<Tree>, outbox: Outbox) -> Reader {
        Reader { tree, outbox, snapshots: HashMap::new() }
    }
}

impl Worker for Reader {
    type Job = ReadJob;
    const NAME: &'static str = "read";

    fn handle(&mut self, job: ReadJob) -> Result<(), TreeError> {
        match job {
            ReadJob::Prefetch { seq, group, life, keys, ranges } => {
                let mut done_keys = Vec::with_capacity(keys.len());
                for row in keys {
                    let value = self.tree.get(&key::full(group, life, &row))?;
                    done_keys.push((row, value));
                }
                let mut done_ranges = Vec::with_capacity(ranges.len());
                for (at, want) in ranges {
                    let found = self.tree.range(&RangeAt {
                        group,
                        life,
                        start: &want.start,
                        end: Some(&want.end),
                        seqno: LATEST,
                        rows_max: want.rows_max as usize,
                        bytes_max: usize::MAX,
                    })?;
                    done_ranges.push(RangeDone { at, rows: found.rows, complete: found.complete });
                }
                self.outbox.send(Done::Prefetched { seq, keys: done_keys, ranges: done_ranges });
            }
            ReadJob::SnapshotBegin { snapshot, group, life, seqno, memtables } => {
                let parts = vec![(Vec::new(), Xxh3::new())];
                self.snapshots.insert(snapshot, OutSnapshot { group, life, seqno, memtables, parts });
            }
            ReadJob::SnapshotRead { snapshot, part } => {
                if let Some(out) = self.snapshots.get_mut(&snapshot)
                    && let Some((body, last)) = out.read(&self.tree, part)?
                {
                    self.outbox.send(Done::SnapshotPart { snapshot, part, body, last });
                }
            }
            ReadJob::SnapshotEnd { snapshot } => drop(self.snapshots.remove(&snapshot)),
        }
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
        let limit = match found.rows.last() {
            Some((key, _)) if !found.complete => Some(key::successor(key)),
            _ => None,
        };
        let mut layers: Vec<Layer<'_>> =
            self.memtables.iter().map(|table| table.range((group, life), start, limit.as_deref())).collect();
        layers.push(Box::new(found.rows.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())))));
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
