//! Rows in memory: one writer, one version per key, and the machine row of every group it has rows of.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use base::{GroupId, LogIndex};

use crate::key::GroupLife;
use crate::machine_row::MachineRow;
use crate::merge::Layer;

/// What a row costs beside its bytes: two heap headers and its share of a tree node.
const ROW_OVERHEAD_BYTES: usize = 80;

/// What a memtable knows of a key.
#[derive(Clone, Debug)]
struct Slot {
    value: Option<Vec<u8>>,
    /// Nothing below this memtable has the key: when it is deleted here, no tombstone is needed.
    /// Invariant: false for a tombstone, and for a row that was put over one.
    fresh: bool,
}

/// One life's rows; the key begins with the table byte.
#[derive(Clone, Debug, Default)]
struct LifeRows(BTreeMap<Vec<u8>, Slot>);

/// A memtable. The active one is written by its core; frozen ones are shared and read-only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memtable {
    rows: HashMap<GroupLife, LifeRows>,
    machines: BTreeMap<GroupId, MachineRow>,
    bytes: usize,
}

impl Memtable {
    /// Puts a row. `absent_below` is asked only when this memtable does not know the key: is it known that nothing
    /// below has it?
    pub(crate) fn put(&mut self, id: GroupLife, key: &[u8], value: &[u8], absent_below: impl FnOnce() -> bool) {
        let rows = &mut self.rows.entry(id).or_default().0;
        if let Some(slot) = rows.get_mut(key) {
            self.bytes -= slot.value.as_ref().map_or(0, Vec::len);
            match &mut slot.value {
                Some(old) => {
                    old.clear();
                    old.extend_from_slice(value);
                }
                None => slot.value = Some(value.to_vec()),
            }
        } else {
            rows.insert(key.to_vec(), Slot { value: Some(value.to_vec()), fresh: absent_below() });
            self.bytes += key.len() + ROW_OVERHEAD_BYTES;
        }
        self.bytes += value.len();
    }

    /// Deletes a row: a fresh one vanishes, and one that nothing below has needs no tombstone.
    pub(crate) fn delete(&mut self, id: GroupLife, key: &[u8], absent_below: impl FnOnce() -> bool) {
        let rows = &mut self.rows.entry(id).or_default().0;
        match rows.get_mut(key) {
            Some(slot) => {
                self.bytes -= slot.value.take().map_or(0, |value| value.len());
                if slot.fresh {
                    rows.remove(key);
                    self.bytes -= key.len() + ROW_OVERHEAD_BYTES;
                }
            }
            None if absent_below() => {}
            None => {
                rows.insert(key.to_vec(), Slot { value: None, fresh: false });
                self.bytes += key.len() + ROW_OVERHEAD_BYTES;
            }
        }
    }

    /// Sets the machine row of a group: what makes the batch before it stand.
    pub(crate) fn set_machine(&mut self, group: GroupId, row: MachineRow) {
        self.bytes += row.bytes();
        if let Some(old) = self.machines.insert(group, row) {
            self.bytes -= old.bytes();
        }
    }

    /// Drops all a group has here: another life of it became current.
    pub(crate) fn forget(&mut self, group: GroupId) {
        if let Some(row) = self.machines.remove(&group) {
            self.bytes -= row.bytes();
        }
        let bytes = &mut self.bytes;
        self.rows.retain(|id, rows| {
            if id.0 == group {
                *bytes -= rows.bytes();
            }
            id.0 != group
        });
    }

    /// What it knows: `None` nothing, `Some(None)` a delete.
    pub(crate) fn get(&self, id: GroupLife, key: &[u8]) -> Option<Option<&[u8]>> {
        self.rows.get(&id)?.0.get(key).map(|slot| slot.value.as_deref())
    }

    /// Its rows of a life from `start` on, before `end`.
    pub(crate) fn range<'a>(&'a self, id: GroupLife, start: &[u8], end: Option<&[u8]>) -> Layer<'a> {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let out_of_order = matches!(end, Bound::Excluded(end) if end <= start);
        match self.rows.get(&id) {
            Some(rows) if !out_of_order => Box::new(
                rows.0
                    .range::<[u8], _>((Bound::Included(start), end))
                    .map(|(key, slot)| (key.as_slice(), slot.value.as_deref())),
            ),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// A copy of one life's rows, as they are now.
    pub(crate) fn copy_life(&self, id: GroupLife) -> Memtable {
        let rows = self.rows.get(&id).map(|rows| (id, rows.clone())).into_iter().collect();
        Memtable { rows, ..Memtable::default() }
    }

    /// The machine rows of the groups written in it, by group.
    pub(crate) fn machines(&self) -> &BTreeMap<GroupId, MachineRow> {
        &self.machines
    }

    /// Each group written in it, with its applied index.
    pub(crate) fn applied(&self) -> Vec<(GroupId, LogIndex)> {
        self.machines.iter().map(|(group, row)| (*group, row.machine.applied_index)).collect()
    }

    /// Memory it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing was written in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.rows.is_empty()
    }
}

impl LifeRows {
    fn bytes(&self) -> usize {
        let row =
            |(key, slot): (&Vec<u8>, &Slot)| key.len() + ROW_OVERHEAD_BYTES + slot.value.as_ref().map_or(0, Vec::len);
        self.0.iter().map(row).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: GroupLife = (GroupId(3), 1);

    #[test]
    fn a_row_that_was_born_here_dies_here_without_a_tombstone() {
        let mut table = Memtable::default();
        table.put(ID, b"k", b"v", || true);
        table.delete(ID, b"k", || unreachable!("the memtable knows the key"));
        assert_eq!(table.get(ID, b"k"), None);
        assert_eq!(table.bytes(), 0);
        table.delete(ID, b"never", || true);
        assert_eq!(table.get(ID, b"never"), None);
    }

    #[test]
    fn a_row_put_over_a_tombstone_leaves_the_tombstone_when_it_is_deleted() {
        let mut table = Memtable::default();
        table.delete(ID, b"k", || false);
        table.put(ID, b"k", b"v", || unreachable!("the memtable knows the key"));
        assert_eq!(table.get(ID, b"k"), Some(Some(&b"v"[..])));
        table.delete(ID, b"k", || true);
        assert_eq!(table.get(ID, b"k"), Some(None), "or the older row below would come back");
    }

    #[test]
    fn bytes_are_counted_over_overwrites_and_forgetting() {
        let mut table = Memtable::default();
        table.put(ID, b"key", b"value", || false);
        table.put(ID, b"key", b"longer value", || false);
        assert_eq!(table.bytes(), 3 + 12 + ROW_OVERHEAD_BYTES);
        table.set_machine(ID.0, MachineRow::default());
        table.set_machine(ID.0, MachineRow::default());
        table.put((GroupId(4), 1), b"x", b"y", || false);
        table.forget(ID.0);
        assert_eq!(table.bytes(), 2 + ROW_OVERHEAD_BYTES);
        table.forget(GroupId(4));
        assert!(table.is_empty());
    }
}
