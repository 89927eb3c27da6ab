//! Point and range reads over the tables of a version: the newest row of a key, from the blocks where they lie.

use std::cell::RefCell;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::block_cache::BlockCache;
use crate::block_rows::{Place, RowBlock};
use crate::tables::{BlockAt, Files, OpenTable, Run, TableSet};
use crate::tree::TreeError;

/// Point reads of a batch: first all keys are placed, then each is read. Where a key may lie is told by memory all over the
/// filters and the indexes; asked for one key behind the other, without a block in between, the waits for it overlap.
pub(crate) struct Lookups<'a> {
    set: &'a TableSet,
    cache: &'a RefCell<BlockCache>,
    /// Where the keys may lie, of each key the newest run first.
    places: Vec<KeyPlace<'a>>,
    /// How many places each key has.
    counts: Vec<u32>,
    /// Places and keys that were read.
    read: (usize, usize),
    /// Of each run the block in which a key was placed last.
    placed: Vec<Option<KeyPlace<'a>>>,
    /// The block that each run was read in last.
    last: Vec<Option<LastBlock<'a>>>,
}

/// The one block of a run that may have a key.
#[derive(Clone, Copy)]
struct KeyPlace<'a> {
    run: usize,
    table: &'a OpenTable,
    block: usize,
    at: BlockAt,
}

struct LastBlock<'a> {
    table: &'a OpenTable,
    block: usize,
    rows: RowBlock,
}

impl<'a> Lookups<'a> {
    pub(crate) fn new(set: &'a TableSet, cache: &'a RefCell<BlockCache>) -> Lookups<'a> {
        let last = set.runs.iter().map(|_| None).collect();
        let placed = vec![None; set.runs.len()];
        Lookups { set, cache, places: Vec::new(), counts: Vec::new(), read: (0, 0), placed, last }
    }

    /// Finds where a key may lie. Shape: in ascending order; those in one block cost one load of it, and all but the first of
    /// them no look at the filter.
    pub(crate) fn place(&mut self, key: &[u8]) -> Result<(), TreeError> {
        let (files, before) = (&self.set.files, self.places.len());
        let mut hash = None;
        for (run, tables) in self.set.runs.iter().enumerate() {
            // It is behind a key of that block: if it is anywhere in the run, it is there, and the block is read anyway.
            if let Some(place) = self.placed[run]
                && key <= place.table.block_end(files, place.block)?
            {
                self.places.push(place);
                continue;
            }
            let Some(table) = table_for(tables, key) else { continue };
            if !table.may_have(*hash.get_or_insert_with(|| xxh3_64(key)))? {
                continue;
            }
            let block = table.block_of(files, key)?;
            if let Some(at) = table.block_at(files, block)? {
                let place = KeyPlace { run, table, block, at };
                self.placed[run] = Some(place);
                self.places.push(place);
            }
        }
        self.counts.push((self.places.len() - before) as u32);
        Ok(())
    }

    /// The newest value below a seqno of the key that was placed first and not read yet: that is `key`.
    pub(crate) fn get(&mut self, key: &[u8], below: u64) -> Result<Option<Vec<u8>>, TreeError> {
        let (first, number) = self.read;
        let behind = first + self.counts[number] as usize;
        self.read = (behind, number + 1);
        for &KeyPlace { run, table, block, at } in &self.places[first..behind] {
            let last = &mut self.last[run];
            if last.as_ref().is_none_or(|last| last.block != block || !std::ptr::eq(last.table, table)) {
                let rows = table.load(&self.set.files, self.cache, at)?;
                *last = Some(LastBlock { table, block, rows });
            }
            let Some(LastBlock { rows, .. }) = last else { continue };
            if let Some(row) = rows.find(key, below).map_err(|_| table.malformed())? {
                return Ok(row.value.map(<[u8]>::to_vec));
            }
        }
        Ok(None)
    }
}

/// False when the filters know that no table of the runs has a row of the key: memory answers, nothing is read.
pub(crate) fn may_have<'a>(runs: impl Iterator<Item = &'a Run>, key: &[u8]) -> bool {
    let mut hash = None;
    runs.filter_map(|run| table_for(run, key)).any(|table| {
        // Who reads meets what is wrong with a filter.
        table.may_have(*hash.get_or_insert_with(|| xxh3_64(key))).unwrap_or(true)
    })
}

/// The one table of a run that may have a key.
fn table_for<'a>(run: &'a Run, key: &[u8]) -> Option<&'a OpenTable> {
    let at = run.partition_point(|table| table.max() < key);
    run.get(at).map(Arc::as_ref).filter(|table| table.min() <= key)
}

/// Gives the rows from `start` on and before `end` to `take`, in order, until it says false: of each key the newest, and
/// none that is deleted. True when all were given.
pub(crate) fn range(
    set: &TableSet,
    cache: &RefCell<BlockCache>,
    start: &[u8],
    end: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<bool, TreeError> {
    let mut cursors = Vec::new();
    for run in &set.runs {
        cursors.extend(Cursor::begin(run, (&set.files, cache), start, end)?);
    }
    let mut bound = Vec::new();
    while let Some(first) = first_of(&cursors) {
        let Some(other) = other_key(&cursors, first) else {
            return cursors[first].give_while(|_| true, &mut take).map(|given| given != Given::Refused);
        };
        bound.clear();
        bound.extend_from_slice(other);
        if cursors[first].key == bound {
            if !cursors[first].give(&mut take) {
                return Ok(false);
            }
            // The others have older rows of the key.
            for at in (0..cursors.len()).rev() {
                if cursors[at].key == bound && !cursors[at].advance()? {
                    cursors.swap_remove(at);
                }
            }
            continue;
        }
        match cursors[first].give_while(|key| key < bound.as_slice(), &mut take)? {
            Given::Refused => return Ok(false),
            Given::All => drop(cursors.swap_remove(first)),
            Given::Some => {}
        }
    }
    Ok(true)
}

/// The cursor at the least key; of several the one with the newest row.
fn first_of(cursors: &[Cursor<'_>]) -> Option<usize> {
    let newer = |one: &Cursor<'_>, other: &Cursor<'_>| one.key.cmp(&other.key).then(other.seqno.cmp(&one.seqno));
    (0..cursors.len()).min_by(|one, other| newer(&cursors[*one], &cursors[*other]))
}

/// The least key of all others.
fn other_key<'a>(cursors: &'a [Cursor<'_>], first: usize) -> Option<&'a [u8]> {
    let others = cursors.iter().enumerate().filter(|(at, _)| *at != first);
    others.map(|(_, cursor)| cursor.key.as_slice()).min()
}

/// How far a cursor was given.
#[derive(PartialEq, Eq)]
enum Given {
    /// It has no more rows.
    All,
    /// To the first row that was not wanted.
    Some,
    /// To the one that was not taken.
    Refused,
}

/// A run at one of its rows.
struct Cursor<'a> {
    files: &'a Files,
    cache: &'a RefCell<BlockCache>,
    end: &'a [u8],
    /// The table it is in, and those behind.
    tables: &'a [Arc<OpenTable>],
    block: usize,
    rows: RowBlock,
    /// All rows of the block are before the end.
    is_inside: bool,
    place: Place,
    key: Vec<u8>,
    seqno: u64,
    /// Where the value lies in the block; `None`: a delete.
    value: Option<(usize, usize)>,
}

impl<'a> Cursor<'a> {
    /// At the first row from `start` on; `None` when there is none before `end`.
    fn begin(
        run: &'a Run,
        (files, cache): (&'a Files, &'a RefCell<BlockCache>),
        start: &[u8],
        end: &'a [u8],
    ) -> Result<Option<Cursor<'a>>, TreeError> {
        let tables = &run[run.partition_point(|table| table.max() < start)..];
        let Some(table) = tables.first().filter(|table| table.min() < end) else { return Ok(None) };
        let block = table.block_of(files, start)?;
        let rows = table.block(files, cache, block)?;
        let place = rows.seek(start).map_err(|_| table.malformed())?;
        let is_inside = table.block_end(files, block)? < end;
        let (key, seqno, value) = (Vec::new(), 0, None);
        let mut cursor = Cursor { files, cache, end, tables, block, rows, is_inside, place, key, seqno, value };
        while cursor.step()? {
            if cursor.key.as_slice() >= start {
                return Ok((cursor.key.as_slice() < end).then_some(cursor));
            }
        }
        Ok(None)
    }

    /// To the next row, of whatever key; false behind the last.
    fn step(&mut self) -> Result<bool, TreeError> {
        loop {
            let Some(table) = self.tables.first() else { return Ok(false) };
            if let Some(row) = self.rows.next(&mut self.place).map_err(|_| table.malformed())? {
                row.copy_key(&mut self.key);
                (self.seqno, self.value) = (row.seqno, row.value_at());
                return Ok(true);
            }
            self.block += 1;
            if self.block == table.blocks(self.files)? {
                (self.tables, self.block) = (&self.tables[1..], 0);
            }
            let Some(table) = self.tables.first() else { return Ok(false) };
            self.rows = table.block(self.files, self.cache, self.block)?;
            self.is_inside = table.block_end(self.files, self.block)? < self.end;
            self.place = Place::default();
        }
    }

    /// To the next key before the end; false when there is none.
    fn advance(&mut self) -> Result<bool, TreeError> {
        // Older rows of the key lie behind it in the block, or in the next one.
        loop {
            let Some(table) = self.tables.first() else { return Ok(false) };
            let Some(row) = self.rows.next(&mut self.place).map_err(|_| table.malformed())? else {
                let before = self.key.clone();
                while self.step()? {
                    if self.key != before {
                        return Ok(self.is_inside || self.key.as_slice() < self.end);
                    }
                }
                return Ok(false);
            };
            if row.cmp_key(&self.key).is_ne() {
                row.copy_key(&mut self.key);
                (self.seqno, self.value) = (row.seqno, row.value_at());
                return Ok(self.is_inside || self.key.as_slice() < self.end);
            }
        }
    }

    /// Gives its row, if it lives; false when it was not taken.
    fn give(&self, take: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        self.value.is_none_or(|value| take(&self.key, self.rows.bytes(value)))
    }

    /// Gives its rows while their keys are wanted.
    fn give_while(
        &mut self,
        is_wanted: impl Fn(&[u8]) -> bool,
        take: &mut impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Given, TreeError> {
        while is_wanted(&self.key) {
            if !self.give(take) {
                return Ok(Given::Refused);
            }
            if !self.advance()? {
                return Ok(Given::All);
            }
        }
        Ok(Given::Some)
    }
}
