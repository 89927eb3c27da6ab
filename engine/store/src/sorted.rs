//! Keys in order over an [`Arena`]: a B+tree whose nodes hold the eight bytes of each key that tell it from its neighbours, so
//! that a search looks at one record, and at none when the key is new.
//!
//! Nodes (`keys.rs`) are split and never merged: a memtable lives for minutes.

mod keys;

use std::hint::black_box;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::arena::{Arena, RecordAt};
use keys::{KEYS, Keys, Probe};
pub(crate) use keys::{common, head_of};

const NO_LEAF: u32 = u32::MAX;
/// Keys whose leaves are looked for side by side.
pub(crate) const SIDE_BY_SIDE: usize = 16;

#[derive(Clone, Debug)]
struct Leaf {
    keys: Keys,
    next: u32,
}

/// Leaves that were used, for the next memtable: those of a whole memtable are freed at once, off the core, and the allocator
/// gives such memory back to the system, which clears it again before the next use.
#[derive(Clone, Debug)]
pub(crate) struct SpareLeaves(Arc<ArrayQueue<Box<Leaf>>>);

impl SpareLeaves {
    /// Keeps up to so many.
    pub(crate) fn new(leaves_max: usize) -> SpareLeaves {
        SpareLeaves(Arc::new(ArrayQueue::new(leaves_max.max(1))))
    }

    /// Takes the leaves of rows that nobody asks for any more, as far as there is room.
    pub(crate) fn take_from(&self, rows: SortedRows) {
        for leaf in rows.leaves {
            if self.0.push(leaf).is_err() {
                return;
            }
        }
    }
}

/// Child `n` holds what is before key `n`, and what is not before key `n - 1`. Its keys are records of its own.
#[derive(Clone, Debug)]
struct Inner {
    keys: Keys,
    children: [u32; KEYS + 1],
}

/// The rows of one life. All its records lie in the one arena that every call is given.
#[derive(Clone, Debug)]
pub(crate) struct SortedRows {
    #[expect(clippy::vec_box, reason = "growing must not copy the nodes: it is done on a core")]
    leaves: Vec<Box<Leaf>>,
    #[expect(clippy::vec_box, reason = "as above")]
    inners: Vec<Box<Inner>>,
    /// A leaf when `height` is 0, else an inner node.
    root: u32,
    height: usize,
    /// Inner nodes from the root down, of the last search, and which child of each was taken.
    path: Vec<(u32, usize)>,
    /// Where a new leaf is looked for first.
    spare: Option<SpareLeaves>,
}

/// The leaves in which the next keys of a batch are, or would be, as long as no leaf is split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeavesAhead {
    leaves: [u32; SIDE_BY_SIDE],
    /// How many are known, and how many of them were taken.
    known: usize,
    taken: usize,
    /// Leaves of the tree when these were looked for: it grows with each split.
    of: usize,
}

impl LeavesAhead {
    /// None is known.
    pub(crate) fn none() -> LeavesAhead {
        LeavesAhead { leaves: [0; SIDE_BY_SIDE], known: 0, taken: 0, of: 0 }
    }

    /// All that are known were taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.known
    }

    /// Forgets those that were not taken.
    pub(crate) fn clear(&mut self) {
        self.taken = self.known;
    }

    /// That of the next key.
    pub(crate) fn next(&mut self) -> Option<LeafAhead> {
        let leaf = *self.leaves[..self.known].get(self.taken)?;
        self.taken += 1;
        Some(LeafAhead { leaf, of: self.of })
    }
}

/// One of [`LeavesAhead`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafAhead {
    leaf: u32,
    of: usize,
}

/// A key's place: leaf and place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spot {
    leaf: u32,
    at: usize,
}

impl SortedRows {
    /// None yet. Leaves are taken from `spare` first.
    pub(crate) fn new(spare: Option<SpareLeaves>) -> SortedRows {
        let leaves = vec![Box::new(Leaf { keys: Keys::new(), next: NO_LEAF })];
        SortedRows { leaves, inners: Vec::new(), root: 0, height: 0, path: Vec::new(), spare }
    }

    /// Memory of its nodes, about.
    pub(crate) fn node_bytes(&self) -> usize {
        self.leaves.len() * size_of::<Leaf>() + self.inners.len() * size_of::<Inner>()
    }

    /// The leaf in which a key is, or would be.
    fn leaf_of(&self, arena: &Arena, probe: &Probe<'_>) -> u32 {
        (0..self.height).fold(self.root, |node, _| {
            let inner = &self.inners[node as usize];
            inner.children[child_of(&inner.keys, arena, probe)]
        })
    }

    pub(crate) fn get(&self, arena: &Arena, key: &[u8]) -> Option<RecordAt> {
        let probe = Probe::new(key);
        let keys = &self.leaves[self.leaf_of(arena, &probe) as usize].keys;
        keys.search(arena, &probe).ok().map(|at| keys.records[at])
    }

    /// The leaves of up to [`SIDE_BY_SIDE`] keys, level by level: the memory is waited for once and not for each of them.
    pub(crate) fn leaves_of<'k>(&self, arena: &Arena, keys: impl Iterator<Item = &'k [u8]>) -> LeavesAhead {
        let (mut leaves, mut probes) = ([self.root; SIDE_BY_SIDE], [Probe::new(&[]); SIDE_BY_SIDE]);
        let found = probes.iter_mut().zip(keys);
        let known = found.map(|(probe, key)| *probe = Probe::new(key)).count();
        for _ in 0..self.height {
            // The last child that a key went to, and the key.
            let (mut behind, mut before) = (NO_LEAF, &[][..]);
            for (node, probe) in leaves.iter_mut().zip(&probes[..known]) {
                let inner = &self.inners[*node as usize];
                // Rows that are added behind all others need no search.
                let is_behind = *node == behind && before <= probe.key;
                let child = if is_behind { inner.keys.len() } else { child_of(&inner.keys, arena, probe) };
                (behind, before) = (if child == inner.keys.len() { *node } else { NO_LEAF }, probe.key);
                *node = inner.children[child];
            }
        }
        if self.height > 0 {
            let found = leaves[..known].iter();
            black_box(found.fold(0, |sum, leaf| sum ^ self.leaves[*leaf as usize].keys.touch()));
        }
        LeavesAhead { leaves, known, taken: 0, of: self.leaves.len() }
    }

    /// As [`SortedRows::find`], in a leaf that was looked for before. `None`: it is not sure that the key belongs there, or the
    /// leaf is full; ask that one.
    pub(crate) fn find_in(&self, arena: &Arena, ahead: LeafAhead, key: &[u8]) -> Option<Result<Spot, Spot>> {
        let (leaf, keys) = (ahead.leaf, &self.leaves[ahead.leaf as usize].keys);
        match keys.search(arena, &Probe::new(key)) {
            Ok(at) => Some(Ok(Spot { leaf, at })),
            // A leaf that was split has lost what lies behind its last key.
            Err(at) if !keys.is_full() && (at < keys.len() || ahead.of == self.leaves.len()) => {
                Some(Err(Spot { leaf, at }))
            }
            Err(_) => None,
        }
    }

    /// The place of a key, or where it would go; for the next change, with nothing in between.
    pub(crate) fn find(&mut self, arena: &Arena, key: &[u8]) -> Result<Spot, Spot> {
        let probe = Probe::new(key);
        self.path.clear();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let child = child_of(&inner.keys, arena, &probe);
            self.path.push((node, child));
            node = inner.children[child];
        }
        let spot = |at| Spot { leaf: node, at };
        self.leaves[node as usize].keys.search(arena, &probe).map(spot).map_err(spot)
    }

    /// The record at a place that was found.
    pub(crate) fn record(&self, spot: Spot) -> RecordAt {
        self.leaves[spot.leaf as usize].keys.records[spot.at]
    }

    /// Another record with the same key.
    pub(crate) fn replace(&mut self, spot: Spot, record: RecordAt) {
        self.leaves[spot.leaf as usize].keys.records[spot.at] = record;
    }

    pub(crate) fn remove(&mut self, spot: Spot) {
        self.leaves[spot.leaf as usize].keys.remove(spot.at);
    }

    /// Puts a record where [`SortedRows::find`] said that its key goes.
    pub(crate) fn insert(&mut self, arena: &mut Arena, spot: Spot, key: &[u8], record: RecordAt) {
        let leaf = &mut self.leaves[spot.leaf as usize];
        if !leaf.keys.is_full() {
            return leaf.keys.insert(arena, spot.at, key, record);
        }
        // Rows that come in order leave full leaves behind.
        let middle = if spot.at == KEYS { KEYS } else { KEYS / 2 };
        let spare = self.spare.as_ref().and_then(|spare| spare.0.pop());
        let mut right = spare.unwrap_or_else(|| Box::new(Leaf { keys: Keys::new(), next: NO_LEAF }));
        (right.keys, right.next) = (leaf.keys.split_off(arena, middle), leaf.next);
        if spot.at < middle || (spot.at == middle && middle < KEYS) {
            leaf.keys.insert(arena, spot.at, key, record);
        } else {
            right.keys.insert(arena, spot.at - middle, key, record);
        }
        let new = self.leaves.len() as u32;
        self.leaves[spot.leaf as usize].next = new;
        let left = &self.leaves[spot.leaf as usize].keys;
        let (last, first) = (arena.key(left.records[left.len() - 1]), arena.key(right.keys.records[0]));
        // The shortest key that parts the two.
        let parting = first[..common(last, first) + 1].to_vec();
        self.leaves.push(right);
        self.insert_child(arena, parting, new);
    }

    /// Puts a node behind the one that the path led to; `key` parts them.
    fn insert_child(&mut self, arena: &mut Arena, key: Vec<u8>, child: u32) {
        let (mut key, mut child) = (key, child);
        while let Some((node, at)) = self.path.pop() {
            let record = arena.add(&key, None, false);
            let inner = &mut self.inners[node as usize];
            if !inner.keys.is_full() {
                inner.insert(arena, at, &key, record, child);
                return;
            }
            // The middle key goes up; what is behind it, and its child, goes into the new node.
            let middle = KEYS / 2;
            let mut right = Inner { keys: inner.keys.split_off(arena, middle), children: inner.children };
            right.children.copy_within(middle.., 0);
            let up = right.keys.records[0];
            right.keys.remove(0);
            right.children.copy_within(1.., 0);
            if at <= middle {
                inner.insert(arena, at, &key, record, child);
            } else {
                right.insert(arena, at - middle - 1, &key, record, child);
            }
            key = arena.key(up).to_vec();
            arena.give_back(up);
            child = self.inners.len() as u32;
            self.inners.push(Box::new(right));
        }
        let record = arena.add(&key, None, false);
        let mut root = Inner { keys: Keys::new(), children: [NO_LEAF; KEYS + 1] };
        root.keys.insert(arena, 0, &key, record);
        (root.children[0], root.children[1]) = (self.root, child);
        self.root = self.inners.len() as u32;
        self.inners.push(Box::new(root));
        self.height += 1;
    }

    /// The records from `start` on, in order.
    pub(crate) fn range<'a>(&'a self, arena: &Arena, start: &[u8]) -> RowsFrom<'a> {
        let probe = Probe::new(start);
        let leaf = self.leaf_of(arena, &probe);
        let at = self.leaves[leaf as usize].keys.search(arena, &probe).unwrap_or_else(|at| at);
        RowsFrom { rows: self, spot: Spot { leaf, at } }
    }

    /// The records, in order.
    pub(crate) fn all(&self) -> RowsFrom<'_> {
        RowsFrom { rows: self, spot: Spot { leaf: self.leftmost(), at: 0 } }
    }

    /// Gives all its records back.
    pub(crate) fn clear(&mut self, arena: &mut Arena) {
        let leaves = self.leaves.iter().map(|leaf| &leaf.keys);
        for keys in leaves.chain(self.inners.iter().map(|inner| &inner.keys)) {
            keys.records[..keys.len()].iter().for_each(|record| arena.give_back(*record));
        }
        *self = SortedRows::new(self.spare.take());
    }

    /// All records, in order. Those of a leaf are looked at together first, so that the memory is waited for once.
    pub(crate) fn records<'a>(&'a self, arena: &'a Arena) -> impl Iterator<Item = RecordAt> + 'a {
        let first = self.leftmost();
        let next = |leaf: &u32| Some(self.leaves[*leaf as usize].next).filter(|next| *next != NO_LEAF);
        std::iter::successors(Some(first), next).flat_map(|leaf| {
            let keys = &self.leaves[leaf as usize].keys;
            let records = &keys.records[..keys.len()];
            black_box(records.iter().fold(0, |sum, record| sum ^ arena.touch(*record)));
            records.iter().copied()
        })
    }

    fn leftmost(&self) -> u32 {
        (0..self.height).fold(self.root, |node, _| self.inners[node as usize].children[0])
    }
}

impl Spot {
    /// Behind the last key of a full leaf.
    pub(crate) fn is_behind_full(self) -> bool {
        self.at == KEYS
    }
}

impl Inner {
    /// Puts a key at `at` and its child behind it; there is room.
    fn insert(&mut self, arena: &Arena, at: usize, key: &[u8], record: RecordAt, child: u32) {
        let children = self.keys.len() + 1;
        self.keys.insert(arena, at, key, record);
        self.children.copy_within(at + 1..children, at + 2);
        self.children[at + 1] = child;
    }
}

/// A key that parts two nodes is the first that may lie in the right one.
fn child_of(keys: &Keys, arena: &Arena, probe: &Probe<'_>) -> usize {
    keys.search(arena, probe).map_or_else(|at| at, |at| at + 1)
}

/// Records in the order of their keys.
#[derive(Clone, Debug)]
pub(crate) struct RowsFrom<'a> {
    rows: &'a SortedRows,
    spot: Spot,
}

impl Iterator for RowsFrom<'_> {
    type Item = RecordAt;

    fn next(&mut self) -> Option<RecordAt> {
        while self.spot.leaf != NO_LEAF {
            let leaf = &self.rows.leaves[self.spot.leaf as usize];
            if self.spot.at < leaf.keys.len() {
                let record = leaf.keys.records[self.spot.at];
                self.spot.at += 1;
                return Some(record);
            }
            self.spot = Spot { leaf: leaf.next, at: 0 };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Prng;

    use super::*;

    /// Keys that share much, little and nothing, that are prefixes of each other, or zeros.
    fn key(dice: &mut Prng) -> Vec<u8> {
        let mut key = match dice.below(5) {
            0 => Vec::new(),
            1 => vec![0x10, 0, 0, 0, 0, 0, 0, 0, 7],
            2 => vec![0x11; 30],
            3 => vec![0; dice.below(12) as usize],
            _ => vec![0x12, dice.below(3) as u8, 0, 0, 0, 0, 0, 0],
        };
        let more = dice.below(9) as usize;
        key.extend((0..more).map(|_| dice.below(if more < 3 { 256 } else { 3 }) as u8));
        key
    }

    fn check(rows: &SortedRows, arena: &Arena, map: &BTreeMap<Vec<u8>, u64>, dice: &mut Prng) {
        assert_eq!(rows.leaves.iter().map(|leaf| leaf.keys.len()).sum::<usize>(), map.len());
        let value = |record| u64::from_le_bytes(arena.value(record).unwrap().try_into().unwrap());
        let start = key(dice);
        let found: Vec<_> = rows.range(arena, &start).map(|at| (arena.key(at).to_vec(), value(at))).collect();
        assert_eq!(found, map.range(start..).map(|(key, value)| (key.clone(), *value)).collect::<Vec<_>>());
        for _ in 0..20 {
            let key = key(dice);
            assert_eq!(rows.get(arena, &key).map(value), map.get(&key).copied());
        }
    }

    #[test]
    fn it_holds_what_a_map_holds_whatever_the_keys() {
        for seed in 0..60 {
            let mut dice = Prng::new(seed);
            let (mut rows, mut arena, mut map) = (SortedRows::new(None), Arena::default(), BTreeMap::new());
            let is_growing = dice.one_in(2);
            for step in 0..4_000_u64 {
                let key = key(&mut dice);
                let found = rows.find(&arena, &key);
                assert_eq!(found.is_ok(), map.contains_key(&key));
                match found {
                    Ok(spot) if !is_growing && dice.one_in(2) => {
                        arena.give_back(rows.record(spot));
                        rows.remove(spot);
                        map.remove(&key);
                    }
                    Ok(spot) => {
                        assert!(arena.set_value(rows.record(spot), Some(&step.to_le_bytes())));
                        map.insert(key, step);
                    }
                    Err(spot) => {
                        let record = arena.add(&key, Some(&step.to_le_bytes()), false);
                        rows.insert(&mut arena, spot, &key, record);
                        map.insert(key, step);
                    }
                }
                if step % 500 == 0 {
                    check(&rows, &arena, &map, &mut dice);
                }
            }
            check(&rows, &arena, &map, &mut dice);
            rows.clear(&mut arena);
            check(&rows, &arena, &BTreeMap::new(), &mut dice);
        }
    }

    #[test]
    fn a_key_is_found_in_the_leaf_that_was_looked_for_before_others_came() {
        let (mut dice, mut rows, mut arena) = (Prng::new(11), SortedRows::new(None), Arena::default());
        let mut near = 0;
        for round in 0..400_u64 {
            let number =
                |dice: &mut Prng, at| if round % 4 == 0 { 90_000 + 16 * round + at } else { dice.below(40_000) };
            let mut batch: Vec<Vec<u8>> =
                (0..SIDE_BY_SIDE as u64).map(|at| number(&mut dice, at).to_be_bytes().to_vec()).collect();
            if round % 7 != 0 {
                batch.sort();
            }
            let mut ahead = rows.leaves_of(&arena, batch.iter().map(Vec::as_slice));
            for key in &batch {
                let found = rows.find_in(&arena, ahead.next().unwrap(), key);
                let wanted = rows.find(&arena, key);
                near += usize::from(found.is_some());
                assert!(found.is_none_or(|found| found == wanted), "{key:?}");
                match wanted {
                    Ok(spot) if dice.one_in(3) => {
                        arena.give_back(rows.record(spot));
                        rows.remove(spot);
                    }
                    Ok(_) => {}
                    Err(spot) => {
                        let record = arena.add(key, Some(b"v"), false);
                        rows.insert(&mut arena, spot, key, record);
                    }
                }
            }
            assert!(ahead.is_empty() && ahead.next().is_none());
        }
        assert!(near > 5_000 && rows.height >= 1, "{near} of 6,400 are found where they were looked for");
    }

    #[test]
    fn leaves_of_rows_that_are_gone_serve_others() {
        let spare = SpareLeaves::new(100);
        let mut leaves = 0;
        for round in 0..4_u64 {
            let (mut rows, mut arena) = (SortedRows::new(Some(spare.clone())), Arena::default());
            for number in 0..5_000_u64 {
                let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ round).to_be_bytes();
                if let Err(spot) = rows.find(&arena, &key) {
                    let record = arena.add(&key, Some(&number.to_le_bytes()), false);
                    rows.insert(&mut arena, spot, &key, record);
                }
            }
            let keys: Vec<_> = rows.records(&arena).map(|at| arena.key(at).to_vec()).collect();
            assert!(keys.len() > 4_990 && keys.is_sorted());
            assert!(keys.iter().all(|key| rows.get(&arena, key).is_some()));
            assert_eq!(spare.0.len(), 0, "all were taken");
            leaves = rows.leaves.len();
            spare.take_from(rows);
            assert_eq!(spare.0.len(), 100);
        }
        assert!(leaves > 150);
    }

    #[test]
    fn rows_that_come_in_order_fill_their_leaves() {
        let (mut rows, mut arena) = (SortedRows::new(None), Arena::default());
        for number in 0..100_000_u64 {
            let key = number.to_be_bytes();
            let Err(spot) = rows.find(&arena, &key) else { panic!("{number} is there already") };
            let record = arena.add(&key, Some(b"v"), false);
            rows.insert(&mut arena, spot, &key, record);
        }
        assert!(rows.leaves.len() <= 100_000 / KEYS + 1 && rows.height >= 2);
        assert!(rows.range(&arena, &[]).zip(0_u64..).all(|(at, number)| arena.key(at) == number.to_be_bytes()));
    }
}
