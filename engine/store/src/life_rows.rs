//! The rows of one life in a memtable: a tree of keys for each table.
//!
//! Keys of one table have much in common, those of two differ in their first byte and say nothing more about each other. So
//! the nodes of a table's tree know a long prefix, and the eight bytes behind it tell its keys apart; in a tree of all tables
//! the upper nodes knew no prefix, and most of their keys had the same eight bytes.

use crate::arena::{Arena, RecordAt};
use crate::sorted::{SortedRows, SpareLeaves};

/// The trees, in the order of their tables.
#[derive(Clone, Debug)]
pub(crate) struct LifeRows {
    /// The first byte of the keys of each tree.
    tables: Vec<u8>,
    trees: Vec<SortedRows>,
    spare: Option<SpareLeaves>,
}

/// The table of a key: its first byte.
pub(crate) fn table_of(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or(0)
}

impl LifeRows {
    /// None yet. Leaves are taken from `spare` first.
    pub(crate) fn new(spare: Option<SpareLeaves>) -> LifeRows {
        LifeRows { tables: Vec::new(), trees: Vec::new(), spare }
    }

    /// Memory of the nodes of all trees, about.
    pub(crate) fn node_bytes(&self) -> usize {
        self.trees.iter().map(SortedRows::node_bytes).sum()
    }

    fn place_of(&self, table: u8) -> Option<usize> {
        self.tables.iter().position(|known| *known == table)
    }

    /// The tree of a table, and the bytes of its nodes if it is a new one.
    pub(crate) fn tree_mut(&mut self, table: u8) -> (&mut SortedRows, usize) {
        let (at, new_bytes) = match self.place_of(table) {
            Some(at) => (at, 0),
            None => {
                let (at, tree) =
                    (self.tables.partition_point(|known| *known < table), SortedRows::new(self.spare.clone()));
                let bytes = tree.node_bytes();
                self.tables.insert(at, table);
                self.trees.insert(at, tree);
                (at, bytes)
            }
        };
        (&mut self.trees[at], new_bytes)
    }

    pub(crate) fn get(&self, arena: &Arena, key: &[u8]) -> Option<RecordAt> {
        self.trees[self.place_of(table_of(key))?].get(arena, key)
    }

    /// All records, in order.
    pub(crate) fn records<'a>(&'a self, arena: &'a Arena) -> impl Iterator<Item = RecordAt> + 'a {
        self.trees.iter().flat_map(|tree| tree.records(arena))
    }

    /// The records from `start` on, in order.
    pub(crate) fn range<'a>(&'a self, arena: &Arena, start: &[u8]) -> impl Iterator<Item = RecordAt> + 'a {
        let table = table_of(start);
        let first = self.tables.partition_point(|known| *known < table);
        let begun = self.place_of(table).map(|at| self.trees[at].range(arena, start));
        let behind = self.trees[first + usize::from(begun.is_some())..].iter().map(SortedRows::all);
        begun.into_iter().chain(behind).flatten()
    }

    /// Gives all its records back.
    pub(crate) fn clear(&mut self, arena: &mut Arena) {
        self.trees.iter_mut().for_each(|tree| tree.clear(arena));
        (self.tables, self.trees) = (Vec::new(), Vec::new());
    }

    /// Gives its leaves to the next memtable.
    pub(crate) fn give_leaves(self) {
        if let Some(spare) = &self.spare {
            self.trees.into_iter().for_each(|tree| spare.take_from(tree));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Prng;

    use super::*;

    #[test]
    fn rows_of_many_tables_come_in_the_order_of_their_keys_from_any_start_on() {
        let (mut dice, mut rows, mut arena) = (Prng::new(6), LifeRows::new(None), Arena::default());
        let mut map = BTreeMap::new();
        let key = |dice: &mut Prng| -> Vec<u8> {
            let bytes = dice.below(4) as usize;
            (0..bytes).map(|at| dice.below(if at == 0 { 9 } else { 40 }) as u8).collect()
        };
        for _ in 0..3_000 {
            let key = key(&mut dice);
            let (tree, bytes) = rows.tree_mut(table_of(&key));
            assert!(bytes == 0 || bytes == tree.node_bytes());
            if let Err(spot) = tree.find(&arena, &key) {
                let record = arena.add(&key, Some(&key), false);
                tree.insert(&mut arena, spot, &key, record);
                map.insert(key, record);
            }
        }
        assert!(rows.records(&arena).eq(map.values().copied()));
        for _ in 0..300 {
            let start = key(&mut dice);
            assert!(rows.range(&arena, &start).eq(map.range(start.clone()..).map(|(_, record)| *record)), "{start:?}");
            assert_eq!(rows.get(&arena, &start), map.get(&start).copied());
        }
        rows.clear(&mut arena);
        assert_eq!((rows.records(&arena).count(), rows.node_bytes(), arena.bytes()), (0, 0, 0));
    }
}
