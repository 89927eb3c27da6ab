//! The changes of the entry being applied, on top of the store: read through, written all at once or dropped.

use std::ops::Range;

use base::GroupId;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::RowBatch;
use crate::rows::RowValue;
use crate::store::{Cold, Row, Rows, Store, Want};

/// Rows read by key and by range; what is not in memory is noted as wanted.
pub(crate) trait Source {
    /// Hands the value, or `None` for no row, to `read`.
    fn with<T>(&mut self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, Cold>;

    /// The first `rows_max` rows of a range, appended.
    fn scan(&mut self, keys: Range<Vec<u8>>, rows_max: u32, out: &mut Rows) -> Result<(), Cold>;

    /// The decoded row.
    fn row<R: RowValue>(&mut self, key: &[u8]) -> Result<Option<R>, Cold> {
        self.with(key, |value| value.map(R::decode))
    }

    /// Is there such a row?
    fn has(&mut self, key: &[u8]) -> Result<bool, Cold> {
        self.with(key, |value| value.is_some())
    }
}

/// The store alone, for queries.
pub(crate) struct View<'a, S> {
    pub store: &'a S,
    pub group: GroupId,
    pub wants: &'a mut Vec<Want>,
}

impl<S: Store> Source for View<'_, S> {
    fn with<T>(&mut self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, Cold> {
        match self.store.get(self.group, key) {
            Row::Hit(value) => Ok(read(Some(value))),
            Row::Absent => Ok(read(None)),
            Row::Cold => {
                base::mark::hit!("meta.store.key_cold");
                self.wants.push(Want::Key(key.to_vec()));
                Err(Cold)
            }
        }
    }

    fn scan(&mut self, keys: Range<Vec<u8>>, rows_max: u32, out: &mut Rows) -> Result<(), Cold> {
        let result = self.store.scan(self.group, &keys.start..&keys.end, rows_max, out);
        if result.is_err() {
            base::mark::hit!("meta.store.range_cold");
            self.wants.push(Want::Range { keys, rows_max });
        }
        result
    }
}

/// In place of a value's length: the row is deleted, or is as the store has it.
const DELETED: u32 = u32::MAX;
const UNCHANGED: u32 = u32::MAX - 1;
/// Rows that are looked through for a scan before they are put in order.
const UNSORTED_MAX: usize = 256;
/// What a large entry leaves behind is given back above this. Units: bytes of rows.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// A row that was changed.
#[derive(Clone, Copy)]
struct Changed {
    hash: u64,
    /// Where in the overlay's bytes the key lies.
    key: u32,
    key_bytes: u32,
    value: Place,
}

/// Where a value lies; `bytes` may be [`DELETED`] or [`UNCHANGED`].
#[derive(Clone, Copy)]
struct Place {
    at: u32,
    bytes: u32,
}

/// Of the hash index: `row` counts when `epoch` is the overlay's.
#[derive(Clone, Copy, Default)]
struct Cell {
    epoch: u32,
    row: u32,
}

/// What rows are sorted by, within their table: numbers that most keys differ in, then the key itself.
#[derive(Clone, Copy, Default)]
struct Sorted {
    nsid: u64,
    field: u128,
    row: u32,
}

/// Changed rows, with the way back to any mark. All that is allocated is used again by the next entry.
#[derive(Default)]
pub(crate) struct Overlay {
    /// Keys and values, in the order in which they came.
    bytes: Vec<u8>,
    rows: Vec<Changed>,
    /// By hash, open addressing. Shape: a power of two, at most half in use, or none.
    cells: Vec<Cell>,
    epoch: u32,
    /// Rows with what stood there before.
    undo: Vec<(u32, Place)>,
    /// The first so many rows by their keys.
    sorted: Vec<u32>,
    /// For the sort at the end.
    order: Vec<Sorted>,
}

impl Overlay {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.rows.clear();
        self.undo.clear();
        self.sorted.clear();
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.cells.fill(Cell::default());
            self.epoch = 1;
        }
    }

    fn key(&self, row: usize) -> &[u8] {
        let row = &self.rows[row];
        &self.bytes[row.key as usize..][..row.key_bytes as usize]
    }

    /// The row as it stands: `None` for one that is as the store has it, `Some(None)` for a deleted one.
    fn value(&self, row: usize) -> Option<Option<&[u8]>> {
        let Place { at, bytes } = self.rows[row].value;
        match bytes {
            UNCHANGED => None,
            DELETED => Some(None),
            _ => Some(Some(&self.bytes[at as usize..][..bytes as usize])),
        }
    }

    fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        if self.rows.is_empty() {
            return None;
        }
        let (_, row) = self.find(xxh3_64(key), key);
        row.and_then(|row| self.value(row))
    }

    /// Where in the index the key is or would be, and its row.
    fn find(&self, hash: u64, key: &[u8]) -> (usize, Option<usize>) {
        let mask = self.cells.len() - 1;
        let mut at = hash as usize & mask;
        while let Cell { epoch, row } = self.cells[at]
            && epoch == self.epoch
        {
            if self.rows[row as usize].hash == hash && self.key(row as usize) == key {
                return (at, Some(row as usize));
            }
            at = (at + 1) & mask;
        }
        (at, None)
    }

    /// The row of a key, which is made if there is none.
    fn row_of(&mut self, key: &[u8]) -> usize {
        if self.cells.len() <= self.rows.len() * 2 {
            self.grow();
        }
        let hash = xxh3_64(key);
        let (cell, known) = self.find(hash, key);
        if let Some(row) = known {
            return row;
        }
        let row = self.rows.len();
        self.cells[cell] = Cell { epoch: self.epoch, row: row as u32 };
        let place = Place { at: 0, bytes: UNCHANGED };
        self.rows.push(Changed { hash, key: len32(self.bytes.len()), key_bytes: len32(key.len()), value: place });
        self.bytes.extend_from_slice(key);
        row
    }

    fn grow(&mut self) {
        let cells = (self.cells.len() * 2).max(64);
        self.epoch = self.epoch.max(1);
        self.cells.clear();
        self.cells.resize(cells, Cell::default());
        for (row, changed) in self.rows.iter().enumerate() {
            let mut at = changed.hash as usize & (cells - 1);
            while self.cells[at].epoch == self.epoch {
                at = (at + 1) & (cells - 1);
            }
            self.cells[at] = Cell { epoch: self.epoch, row: row as u32 };
        }
    }

    /// Changes a row to what `write` appends.
    pub fn put(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let row = self.row_of(key);
        let at = self.bytes.len();
        write(&mut self.bytes);
        let place = Place { at: len32(at), bytes: len32(self.bytes.len() - at) };
        self.set(row, place);
    }

    /// The row is there no more.
    pub fn delete(&mut self, key: &[u8]) {
        let row = self.row_of(key);
        self.set(row, Place { at: 0, bytes: DELETED });
    }

    fn set(&mut self, row: usize, value: Place) {
        let before = std::mem::replace(&mut self.rows[row].value, value);
        self.undo.push((row as u32, before));
    }

    /// A point to which [`Overlay::rollback`] returns. Marks are used innermost first.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    pub fn rollback(&mut self, mark: usize) {
        while self.undo.len() > mark {
            let (row, before) = self.undo.pop().expect("the length was just looked at");
            self.rows[row as usize].value = before;
        }
    }

    /// The rows of a range that are not as the store has them, in order.
    fn range(&mut self, keys: &Range<Vec<u8>>) -> Vec<usize> {
        if self.rows.len() - self.sorted.len() > UNSORTED_MAX {
            let mut sorted = std::mem::take(&mut self.sorted);
            sorted.extend(sorted.len() as u32..self.rows.len() as u32);
            // It finds the ordered part again, and costs little more than the rest.
            sorted.sort_by(|one, other| self.key(*one as usize).cmp(self.key(*other as usize)));
            self.sorted = sorted;
        }
        let from = self.sorted.partition_point(|row| self.key(*row as usize) < keys.start.as_slice());
        let to = self.sorted.partition_point(|row| self.key(*row as usize) < keys.end.as_slice());
        let ordered = self.sorted[from..to].iter().map(|row| *row as usize);
        let rest = (self.sorted.len()..self.rows.len())
            .filter(|row| (keys.start.as_slice()..keys.end.as_slice()).contains(&self.key(*row)));
        let mut rows: Vec<usize> = ordered.chain(rest).filter(|row| self.value(*row).is_some()).collect();
        rows.sort_by(|one, other| self.key(*one).cmp(self.key(*other)));
        rows
    }

    /// Everything, sorted by key; empty afterwards.
    pub fn drain_into(&mut self, batch: &mut RowBatch) {
        batch.clear();
        let order = self.in_order();
        for sorted in &order {
            if let Some(value) = self.value(sorted.row as usize) {
                batch.push(self.key(sorted.row as usize), value);
            }
        }
        self.order = order;
        self.clear();
    }

    /// All rows by their keys. First by their table, where most came in order: journals and nodes count up.
    fn in_order(&mut self) -> Vec<Sorted> {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.resize(self.rows.len(), Sorted::default());
        let table = |row: usize| self.key(row).first().map_or(0, |table| usize::from(*table) + 1);
        let mut ends = [0_usize; 257];
        (0..self.rows.len()).for_each(|row| ends[table(row)] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum - *end;
        }
        for row in 0..self.rows.len() {
            let at = &mut ends[table(row)];
            let key = self.key(row);
            let (nsid, field) = (u64::from_be_bytes(part(key, 1)), u128::from_be_bytes(part(key, 9)));
            order[*at] = Sorted { nsid, field, row: row as u32 };
            *at += 1;
        }
        let mut start = 0;
        for end in ends {
            if end - start > 1 {
                order[start..end].sort_unstable_by(|one, other| {
                    let heads = (one.nsid, one.field).cmp(&(other.nsid, other.field));
                    heads.then_with(|| self.key(one.row as usize).cmp(self.key(other.row as usize)))
                });
            }
            start = end;
        }
        order
    }
}

/// `N` bytes of a key from `at` on; zeros behind its end, so that what a key begins with is not after it.
fn part<const N: usize>(key: &[u8], at: usize) -> [u8; N] {
    let rest = key.get(at..).unwrap_or_default();
    rest.first_chunk().copied().unwrap_or_else(|| {
        let mut bytes = [0; N];
        bytes[..rest.len()].copy_from_slice(rest);
        bytes
    })
}

fn len32(length: usize) -> u32 {
    u32::try_from(length).ok().filter(|length| *length < UNCHANGED).expect("an entry's rows take less than 4 GiB")
}

/// The store under the overlay, for commands.
pub(crate) struct Txn<'a, S> {
    pub view: View<'a, S>,
    pub overlay: &'a mut Overlay,
    /// Where in the entry's group and time we are.
    pub stamp_ms: u64,
    /// From which feature level on a kind of command is known.
    pub level_of: fn(u8) -> Option<u32>,
}

impl<S: Store> Txn<'_, S> {
    pub fn put(&mut self, key: impl AsRef<[u8]>, row: &impl RowValue) {
        self.overlay.put(key.as_ref(), |out| row.encode(out));
    }

    pub fn put_bytes(&mut self, key: impl AsRef<[u8]>, value: &[u8]) {
        self.overlay.put(key.as_ref(), |out| out.extend_from_slice(value));
    }

    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.overlay.delete(key.as_ref());
    }
}

impl<S: Store> Source for Txn<'_, S> {
    fn with<T>(&mut self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, Cold> {
        match self.overlay.get(key) {
            Some(value) => Ok(read(value)),
            None => self.view.with(key, read),
        }
    }

    fn scan(&mut self, keys: Range<Vec<u8>>, rows_max: u32, out: &mut Rows) -> Result<(), Cold> {
        if keys.start >= keys.end {
            return Ok(());
        }
        let over = self.overlay.range(&keys);
        if over.is_empty() {
            return self.view.scan(keys, rows_max, out);
        }
        // Rows that the overlay deletes must not leave the page short.
        let hidden = over.iter().filter(|row| self.overlay.value(**row) == Some(None)).count();
        let mut rows = Rows::new();
        self.view.scan(keys, rows_max.saturating_add(hidden as u32), &mut rows)?;
        let full = out.len() + rows_max as usize;
        let (mut over, mut under) = (over.into_iter().peekable(), rows.into_iter().peekable());
        while out.len() < full {
            let is_over = match (over.peek(), under.peek()) {
                (None, None) => break,
                (Some(row), Some((key, _))) => self.overlay.key(*row) <= key.as_slice(),
                (row, _) => row.is_some(),
            };
            if !is_over {
                out.extend(under.next());
                continue;
            }
            let row = over.next().expect("it was just looked at");
            let key = self.overlay.key(row);
            under.next_if(|(under, _)| under == key);
            if let Some(Some(value)) = self.overlay.value(row) {
                out.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Prng;

    use super::*;
    use crate::memory::MemoryStore;
    use crate::store::{Machine, Store};

    const GROUP: GroupId = GroupId(1);

    fn txn<'a>(store: &'a MemoryStore, overlay: &'a mut Overlay, wants: &'a mut Vec<Want>) -> Txn<'a, MemoryStore> {
        let view = View { store, group: GROUP, wants };
        Txn { view, overlay, stamp_ms: 0, level_of: crate::feature::level_of }
    }

    #[test]
    fn a_scan_merges_the_overlay_and_a_rollback_takes_it_back() {
        let mut store = MemoryStore::new();
        let rows = (0..6u8).map(|i| (vec![1, i], Some(vec![i]))).collect();
        store.write(GROUP, &rows, &Machine::default());
        let (mut overlay, mut wants) = (Overlay::default(), Vec::new());
        overlay.delete(&[1, 1]);
        let mark = overlay.mark();
        overlay.put(&[1, 2], |out| out.push(22));
        overlay.delete(&[1, 0]);
        overlay.put(&[1, 0], |out| out.push(9));
        let mut txn = txn(&store, &mut overlay, &mut wants);
        let mut out = Rows::new();
        txn.scan(vec![1]..vec![2], 3, &mut out).unwrap();
        assert_eq!(out, [(vec![1, 0], vec![9]), (vec![1, 2], vec![22]), (vec![1, 3], vec![3])]);
        txn.overlay.rollback(mark);
        out.clear();
        txn.scan(vec![1]..vec![2], 3, &mut out).unwrap();
        assert_eq!(out, [(vec![1, 0], vec![0]), (vec![1, 2], vec![2]), (vec![1, 3], vec![3])]);
        let mut batch = RowBatch::default();
        overlay.drain_into(&mut batch);
        assert!(batch.iter().eq([(&[1, 1][..], None)]));
    }

    /// Short keys, so that many are met again, and long ones that differ late.
    fn key(dice: &mut Prng) -> Vec<u8> {
        let mut key = vec![dice.below(3) as u8];
        key.resize(1 + dice.below(3) as usize * 9, 0);
        key.extend((0..dice.below(3)).map(|_| dice.below(4) as u8));
        key
    }

    #[test]
    fn the_overlay_reads_and_drains_as_a_map_does_through_rollbacks_and_scans() {
        let (mut dice, mut overlay, mut batch) = (Prng::new(11), Overlay::default(), RowBatch::default());
        for entry in 0..60 {
            let mut store = MemoryStore::new();
            let below: BTreeMap<_, _> = (0..dice.below(200)).map(|at| (key(&mut dice), vec![at as u8; 3])).collect();
            store.write(GROUP, &below.iter().map(|(key, value)| (key, Some(value))).collect(), &Machine::default());
            let (mut model, mut wants) = (BTreeMap::<Vec<u8>, Option<Vec<u8>>>::new(), Vec::new());
            let mut marks = Vec::new();
            // Some entries have more rows than are looked through unsorted.
            for step in 0..if entry % 4 == 0 { 1500 } else { 60 } {
                match dice.below(12) {
                    0 => marks.push((overlay.mark(), model.clone())),
                    1 if !marks.is_empty() => {
                        let (mark, before) = marks.pop().unwrap();
                        overlay.rollback(mark);
                        model = before;
                    }
                    2..4 => {
                        let key = key(&mut dice);
                        overlay.delete(&key);
                        model.insert(key, None);
                    }
                    4 => {
                        let (from, to, most) = (key(&mut dice), key(&mut dice), dice.below(40) as u32);
                        let mut wanted = below.clone();
                        for (key, value) in &model {
                            drop(match value {
                                Some(value) => wanted.insert(key.clone(), value.clone()),
                                None => wanted.remove(key),
                            });
                        }
                        let mut out = Rows::new();
                        txn(&store, &mut overlay, &mut wants).scan(from.clone()..to.clone(), most, &mut out).unwrap();
                        let wanted = wanted.into_iter().filter(|(key, _)| from <= *key && *key < to);
                        assert_eq!(out, wanted.take(most as usize).collect::<Vec<_>>(), "entry {entry}, step {step}");
                    }
                    _ => {
                        let mut key = key(&mut dice);
                        key.extend((entry % 4 == 0).then(|| dice.below(250) as u8));
                        let value = vec![step as u8; dice.below(20) as usize];
                        overlay.put(&key, |out| out.extend_from_slice(&value));
                        model.insert(key, Some(value));
                    }
                }
                let key = key(&mut dice);
                let wanted = model.get(&key).cloned().unwrap_or_else(|| below.get(&key).cloned());
                let read = txn(&store, &mut overlay, &mut wants).with(&key, |value| value.map(<[u8]>::to_vec));
                assert_eq!(read, Ok(wanted), "entry {entry}, step {step}");
            }
            overlay.drain_into(&mut batch);
            assert!(batch.iter().eq(model.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))));
            assert_eq!(overlay.mark(), 0);
        }
    }
}
