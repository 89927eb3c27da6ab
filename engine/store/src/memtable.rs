//! Rows in memory: one writer, one version per key, and the machine row of every group it has rows of.

use std::collections::BTreeMap;

use base::{GroupId, IdMap, LogIndex};

use crate::arena::{Arena, Pieces};
use crate::key::GroupLife;
use crate::life_rows::{LifeRows, table_of};
use crate::machine_row::MachineRow;
use crate::merge::Layer;
use crate::row_filter::FilterNumber;
use crate::sorted::{LeavesAhead, SIDE_BY_SIDE, SortedRows, SpareLeaves, Spot};

/// A memtable. The active one is written by its core; frozen ones are shared and read-only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memtable {
    /// A record's key begins with the table byte. It is fresh if nothing below this memtable has the key: when it is deleted
    /// here, no tombstone is needed. Invariant: a tombstone is not fresh, nor is a row that was put over one.
    arena: Arena,
    lives: IdMap<GroupLife, LifeRows>,
    machines: BTreeMap<GroupId, MachineRow>,
    /// Of the nodes of all lives, and of the machine rows.
    more_bytes: usize,
    spare_leaves: Option<SpareLeaves>,
    /// What knows which rows are not here.
    filter: FilterNumber,
}

/// What a memtable leaves behind for the next ones: memory of rows and leaves of trees.
#[derive(Clone, Debug)]
pub(crate) struct Leftovers {
    pieces: Pieces,
    leaves: SpareLeaves,
}

/// Bytes of a memtable for which one leaf is kept: a leaf has about twenty rows.
const BYTES_PER_LEAF: usize = 2048;

impl Leftovers {
    /// Of memtables of so many bytes: as much as one of them has is kept.
    pub(crate) fn new(memtable_bytes: usize) -> Leftovers {
        Leftovers { pieces: Pieces::new(memtable_bytes), leaves: SpareLeaves::new(memtable_bytes / BYTES_PER_LEAF) }
    }
}

/// One life's rows, to be changed.
pub(crate) struct LifeMut<'a> {
    arena: &'a mut Arena,
    rows: &'a mut LifeRows,
    more_bytes: &'a mut usize,
    /// Where the next keys of the batch are, all of one table.
    ahead: LeavesAhead,
}

impl LifeMut<'_> {
    /// The next calls change the rows with these keys, in their order. Shape: a batch in ascending order; called before each
    /// of its rows with what is left of it.
    pub(crate) fn come_to<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]> + Clone) {
        if !self.ahead.is_empty() {
            return;
        }
        let Some(table) = keys.clone().next().map(table_of) else { return };
        let (tree, new_bytes) = self.rows.tree_mut(table);
        *self.more_bytes += new_bytes;
        self.ahead = tree.leaves_of(self.arena, keys.take_while(|key| table_of(key) == table).take(SIDE_BY_SIDE));
    }

    fn find(&mut self, key: &[u8]) -> Found<'_> {
        let (tree, new_bytes) = self.rows.tree_mut(table_of(key));
        *self.more_bytes += new_bytes;
        let near = self.ahead.next().and_then(|leaf| tree.find_in(self.arena, leaf, key));
        let spot = near.unwrap_or_else(|| tree.find(self.arena, key));
        if spot.is_err_and(Spot::is_behind_full) {
            // Rows that are added in order: the next ones go to the leaf that this one begins.
            self.ahead.clear();
        }
        Found { arena: self.arena, tree, more_bytes: self.more_bytes, spot }
    }

    /// Puts a row. `absent_below` is asked only when this memtable does not know the key: is it known that nothing
    /// below has it?
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], absent_below: impl FnOnce() -> bool) {
        let found = self.find(key);
        match found.spot {
            Ok(spot) => {
                let Found { arena, tree, .. } = found;
                let old = tree.record(spot);
                if !arena.set_value(old, Some(value)) {
                    let larger = arena.add(key, Some(value), arena.is_fresh(old));
                    tree.replace(spot, larger);
                    arena.give_back(old);
                }
            }
            Err(spot) => found.insert(spot, key, Some(value), absent_below()),
        }
    }

    /// Deletes a row: a fresh one vanishes, and one that nothing below has needs no tombstone.
    pub(crate) fn delete(&mut self, key: &[u8], absent_below: impl FnOnce() -> bool) {
        let found = self.find(key);
        match found.spot {
            Ok(spot) => {
                let Found { arena, tree, .. } = found;
                let record = tree.record(spot);
                if arena.is_fresh(record) {
                    tree.remove(spot);
                    arena.give_back(record);
                } else {
                    arena.set_value(record, None);
                }
            }
            Err(_) if absent_below() => {}
            Err(spot) => found.insert(spot, key, None, false),
        }
    }
}

/// The tree of a key, and where in it the key is or would go.
struct Found<'a> {
    arena: &'a mut Arena,
    tree: &'a mut SortedRows,
    more_bytes: &'a mut usize,
    spot: Result<Spot, Spot>,
}

impl Found<'_> {
    /// Puts a row where the key would go.
    fn insert(self, spot: Spot, key: &[u8], value: Option<&[u8]>, fresh: bool) {
        let Found { arena, tree, more_bytes, .. } = self;
        let record = arena.add(key, value, fresh);
        let before = tree.node_bytes();
        tree.insert(arena, spot, key, record);
        *more_bytes += tree.node_bytes() - before;
    }
}

impl Memtable {
    /// One that takes its memory from there; its rows are told to that filter.
    pub(crate) fn new(leftovers: &Leftovers, filter: FilterNumber) -> Memtable {
        let Leftovers { pieces, leaves } = leftovers.clone();
        Memtable { arena: Arena::new(pieces), spare_leaves: Some(leaves), filter, ..Memtable::default() }
    }

    /// Gives the memory of its rows back: it must not be asked any more. What is left, [`Memtable::dispose`] takes.
    pub(crate) fn give_back(&mut self, leftovers: &Leftovers) {
        leftovers.pieces.take_from(&mut self.arena);
    }

    /// Gives its leaves back and frees the rest. It takes milliseconds: not for a core.
    pub(crate) fn dispose(self) {
        self.lives.into_values().for_each(LifeRows::give_leaves);
    }

    /// The rows of a life, to be changed.
    pub(crate) fn life_mut(&mut self, id: GroupLife) -> LifeMut<'_> {
        let Memtable { arena, lives, more_bytes, spare_leaves, .. } = self;
        let rows = lives.entry(id).or_insert_with(|| LifeRows::new(spare_leaves.clone()));
        LifeMut { arena, rows, more_bytes, ahead: LeavesAhead::none() }
    }

    /// Sets the machine row of a group: what makes the batch before it stand.
    pub(crate) fn set_machine(&mut self, group: GroupId, row: MachineRow) {
        self.more_bytes += row.bytes();
        if let Some(old) = self.machines.insert(group, row) {
            self.more_bytes -= old.bytes();
        }
    }

    /// Drops all a group has here: another life of it became current.
    pub(crate) fn forget(&mut self, group: GroupId) {
        if let Some(row) = self.machines.remove(&group) {
            self.more_bytes -= row.bytes();
        }
        let Memtable { arena, lives, more_bytes, .. } = self;
        lives.retain(|id, rows| {
            if id.0 == group {
                *more_bytes -= rows.node_bytes();
                rows.clear(arena);
            }
            id.0 != group
        });
    }

    pub(crate) fn filter(&self) -> FilterNumber {
        self.filter
    }

    /// What it knows: `None` nothing, `Some(None)` a delete.
    pub(crate) fn get(&self, id: GroupLife, key: &[u8]) -> Option<Option<&[u8]>> {
        let record = self.lives.get(&id)?.get(&self.arena, key)?;
        Some(self.arena.value(record))
    }

    /// All its rows of a life.
    pub(crate) fn rows(&self, id: GroupLife) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let rows = self.lives.get(&id).into_iter().flat_map(|rows| rows.records(&self.arena));
        rows.map(|record| (self.arena.key(record), self.arena.value(record)))
    }

    /// Its rows of a life from `start` on, before `end`.
    pub(crate) fn range<'a>(&'a self, id: GroupLife, start: &[u8], end: Option<&[u8]>) -> Layer<'a> {
        let Some(rows) = self.lives.get(&id) else { return Box::new(std::iter::empty()) };
        let end = end.map(<[u8]>::to_vec);
        let rows = rows.range(&self.arena, start).map(|record| (self.arena.key(record), self.arena.value(record)));
        Box::new(rows.take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end.as_slice())))
    }

    /// A copy of one life's rows, as they are now.
    pub(crate) fn copy_life(&self, id: GroupLife) -> Memtable {
        let mut copy = Memtable::default();
        let mut life = copy.life_mut(id);
        for (key, value) in self.rows(id) {
            match value {
                Some(value) => life.put(key, value, || false),
                None => life.delete(key, || false),
            }
        }
        copy
    }

    /// The machine rows of the groups written in it, by group.
    pub(crate) fn machines(&self) -> &BTreeMap<GroupId, MachineRow> {
        &self.machines
    }

    /// Each group written in it, with its applied index; not those that were removed, which have no log any more.
    pub(crate) fn applied(&self) -> Vec<(GroupId, LogIndex)> {
        let here = self.machines.iter().filter(|(_, row)| !row.is_removed());
        here.map(|(group, row)| (*group, row.machine.applied_index)).collect()
    }

    /// Memory it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.bytes() + self.more_bytes
    }

    /// Nothing was written in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.lives.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: GroupLife = (GroupId(3), 1);

    #[test]
    fn a_row_that_was_born_here_dies_here_without_a_tombstone() {
        let mut table = Memtable::default();
        let empty = table.clone().life_mut(ID).arena.bytes();
        table.life_mut(ID).put(b"k", b"v", || true);
        table.life_mut(ID).delete(b"k", || unreachable!("the memtable knows the key"));
        assert_eq!(table.get(ID, b"k"), None);
        assert_eq!(table.arena.bytes(), empty);
        table.life_mut(ID).delete(b"never", || true);
        assert_eq!(table.get(ID, b"never"), None);
    }

    #[test]
    fn a_row_put_over_a_tombstone_leaves_the_tombstone_when_it_is_deleted() {
        let mut table = Memtable::default();
        table.life_mut(ID).delete(b"k", || false);
        table.life_mut(ID).put(b"k", b"v", || unreachable!("the memtable knows the key"));
        assert_eq!(table.get(ID, b"k"), Some(Some(&b"v"[..])));
        table.life_mut(ID).delete(b"k", || true);
        assert_eq!(table.get(ID, b"k"), Some(None), "or the older row below would come back");
    }

    #[test]
    fn a_value_that_grows_keeps_its_row_and_what_is_known_of_it() {
        let mut table = Memtable::default();
        table.life_mut(ID).put(b"fresh", b"v", || true);
        table.life_mut(ID).put(b"known", b"v", || false);
        for key in [b"fresh", b"known"] {
            table.life_mut(ID).put(key, &[7; 900], || unreachable!("the memtable knows the key"));
            assert_eq!(table.get(ID, key), Some(Some(&[7; 900][..])));
            table.life_mut(ID).delete(key, || unreachable!("the memtable knows the key"));
        }
        assert_eq!((table.get(ID, b"fresh"), table.get(ID, b"known")), (None, Some(None)));
    }

    #[test]
    fn bytes_are_counted_over_overwrites_and_forgetting() {
        let mut table = Memtable::default();
        table.life_mut(ID).put(b"key", b"value", || false);
        let once = table.bytes();
        table.life_mut(ID).put(b"key", b"other", || false);
        assert_eq!(table.bytes(), once);
        table.life_mut(ID).put(b"key", &[1; 300], || false);
        assert!(table.bytes() > once + 250 && table.bytes() < once + 350);
        table.set_machine(ID.0, MachineRow::default());
        table.set_machine(ID.0, MachineRow::default());
        table.life_mut((GroupId(4), 1)).put(b"x", b"y", || false);
        table.forget(ID.0);
        assert!(table.bytes() < once + 50 && table.bytes() > 0);
        table.forget(GroupId(4));
        assert!(table.is_empty() && table.bytes() == 0);
    }

    #[test]
    fn a_copy_of_a_life_has_its_rows_and_its_deletes_and_no_others() {
        let mut table = Memtable::default();
        (0..500_u32).for_each(|number| table.life_mut(ID).put(&number.to_be_bytes(), b"v", || false));
        (0..500_u32).step_by(3).for_each(|number| table.life_mut(ID).delete(&number.to_be_bytes(), || false));
        table.life_mut((GroupId(4), 1)).put(b"x", b"y", || false);
        let copy = table.copy_life(ID);
        assert!(copy.range(ID, &[], None).eq(table.range(ID, &[], None)));
        assert_eq!(copy.range(ID, &[], None).filter(|(_, value)| value.is_none()).count(), 167);
        assert_eq!(copy.get((GroupId(4), 1), b"x"), None);
        let (from, to) = (100_u32.to_be_bytes(), 200_u32.to_be_bytes());
        assert_eq!(copy.range(ID, &from, Some(&to)).count(), 100);
        assert_eq!(copy.range(ID, &to, Some(&from)).count(), 0);
    }
}
