//! The changes of the entry being applied, on top of the store: read through, written all at once or dropped.

use std::collections::BTreeMap;
use std::ops::Range;

use base::GroupId;

use crate::rows::RowValue;
use crate::store::{Cold, Row, RowBatch, Rows, Store, Want};

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

/// A row as an entry leaves it; `None`: deleted.
type Change = Option<Vec<u8>>;

/// Changed rows, with the way back to any mark.
#[derive(Default)]
pub(crate) struct Overlay {
    rows: BTreeMap<Vec<u8>, Change>,
    /// Keys with what stood there before; `None`: nothing of this entry.
    undo: Vec<(Vec<u8>, Option<Change>)>,
}

impl Overlay {
    pub fn clear(&mut self) {
        self.rows.clear();
        self.undo.clear();
    }

    pub fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let before = self.rows.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    /// A point to which [`Overlay::rollback`] returns. Marks are used innermost first.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    pub fn rollback(&mut self, mark: usize) {
        while self.undo.len() > mark {
            match self.undo.pop().expect("the length was just looked at") {
                (key, Some(before)) => self.rows.insert(key, before),
                (key, None) => self.rows.remove(&key),
            };
        }
    }

    /// Everything, sorted by key; empty afterwards.
    pub fn drain_into(&mut self, batch: &mut RowBatch) {
        batch.rows.clear();
        batch.rows.extend(std::mem::take(&mut self.rows));
        self.undo.clear();
    }
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
    pub fn put(&mut self, key: Vec<u8>, row: &impl RowValue) {
        self.overlay.set(key, Some(row.encode()));
    }

    pub fn put_bytes(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.overlay.set(key, Some(value));
    }

    pub fn delete(&mut self, key: Vec<u8>) {
        self.overlay.set(key, None);
    }
}

impl<S: Store> Source for Txn<'_, S> {
    fn with<T>(&mut self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, Cold> {
        match self.overlay.rows.get(key) {
            Some(value) => Ok(read(value.as_deref())),
            None => self.view.with(key, read),
        }
    }

    fn scan(&mut self, keys: Range<Vec<u8>>, rows_max: u32, out: &mut Rows) -> Result<(), Cold> {
        if keys.start >= keys.end {
            return Ok(());
        }
        let over: Vec<_> = self.overlay.rows.range(keys.clone()).collect();
        // Rows that the overlay deletes must not leave the page short.
        let hidden = over.iter().filter(|(_, value)| value.is_none()).count();
        let mut rows = Rows::new();
        self.view.scan(keys, rows_max.saturating_add(hidden as u32), &mut rows)?;
        let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> = rows.into_iter().map(|(k, v)| (k, Some(v))).collect();
        merged.extend(over.into_iter().map(|(key, value)| (key.clone(), value.clone())));
        let live = merged.into_iter().filter_map(|(key, value)| value.map(|value| (key, value)));
        out.extend(live.take(rows_max as usize));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::store::Machine;

    #[test]
    fn a_scan_merges_the_overlay_and_a_rollback_takes_it_back() {
        let mut store = MemoryStore::new();
        let rows = (0..6u8).map(|i| (vec![1, i], Some(vec![i]))).collect();
        store.write(GroupId(1), &RowBatch { rows }, &Machine::default());
        let (mut overlay, mut wants) = (Overlay::default(), Vec::new());
        overlay.set(vec![1, 1], None);
        let mark = overlay.mark();
        overlay.set(vec![1, 2], Some(vec![22]));
        overlay.set(vec![1, 0], None);
        overlay.set(vec![1, 0], Some(vec![9]));
        let view = View { store: &store, group: GroupId(1), wants: &mut wants };
        let level_of = crate::feature::level_of;
        let mut txn = Txn { view, overlay: &mut overlay, stamp_ms: 0, level_of };
        let mut out = Rows::new();
        txn.scan(vec![1]..vec![2], 3, &mut out).unwrap();
        assert_eq!(out, [(vec![1, 0], vec![9]), (vec![1, 2], vec![22]), (vec![1, 3], vec![3])]);
        txn.overlay.rollback(mark);
        out.clear();
        txn.scan(vec![1]..vec![2], 3, &mut out).unwrap();
        assert_eq!(out, [(vec![1, 0], vec![0]), (vec![1, 2], vec![2]), (vec![1, 3], vec![3])]);
        let mut batch = RowBatch::default();
        overlay.drain_into(&mut batch);
        assert_eq!(batch.rows, [(vec![1, 1], None)]);
    }
}
