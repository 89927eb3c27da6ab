//! Keys in order over an [`Arena`]: a B+tree whose nodes hold the eight bytes of each key that tell it from its neighbours, so
//! that a search looks at one record, and at none when the key is new.
//!
//! ```text
//! node: prefix, common to its keys (up to 24 bytes) | heads: the next 8 bytes of each, as a number | where each record lies
//! ```
//! Nodes are split and never merged: a memtable lives for minutes.

use std::cmp::Ordering;
use std::hint::black_box;

use crate::arena::{Arena, RecordAt};

/// Keys of a node.
const KEYS: usize = 32;
/// Bytes of a node's common prefix that are looked at.
const PREFIX_BYTES_MAX: usize = 24;
const NO_LEAF: u32 = u32::MAX;
/// Keys whose leaves are looked for side by side.
pub(crate) const SIDE_BY_SIDE: usize = 16;

/// The keys of a node, in order.
#[derive(Clone, Debug)]
struct Keys {
    len: u16,
    /// Bytes of `prefix` in use: every key begins with them.
    skip: u16,
    /// In the order of keys, filled up with zeros: to compare eight bytes is to compare numbers.
    prefix: [u64; PREFIX_BYTES_MAX / 8],
    heads: [u64; KEYS],
    records: [RecordAt; KEYS],
}

/// The eight bytes of a key behind the prefix, in the order of keys; a short key is filled up with zeros.
pub(crate) fn head_of(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*bytes);
    }
    if let Some(last) = key.last_chunk::<8>().filter(|_| !rest.is_empty()) {
        return u64::from_be_bytes(*last) << (8 * (8 - rest.len()));
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

/// Bytes that two keys share at their begin.
pub(crate) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

impl Keys {
    fn new() -> Keys {
        Keys {
            len: 0,
            skip: 0,
            prefix: [0; PREFIX_BYTES_MAX / 8],
            heads: [0; KEYS],
            records: [RecordAt::default(); KEYS],
        }
    }

    fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn is_full(&self) -> bool {
        self.len() == KEYS
    }

    /// Something of each cache line that a search may look at.
    fn touch(&self) -> u64 {
        let heads = self.heads.iter().step_by(8).fold(0, |sum, head| sum ^ head);
        heads ^ u64::from(self.skip) ^ u64::from(self.records[0].touch()) ^ u64::from(self.records[KEYS / 2].touch())
    }

    /// Bytes of the prefix that a key begins with.
    fn shared_with(&self, key: &[u8]) -> usize {
        let skip = usize::from(self.skip);
        for (word, at) in self.prefix.iter().zip((0..skip).step_by(8)) {
            let differs = (word ^ head_of(key, at)) & (u64::MAX << (64 - 8 * (skip - at).min(8)));
            if differs != 0 {
                return (at + differs.leading_zeros() as usize / 8).min(key.len());
            }
        }
        skip.min(key.len())
    }

    /// Where the key is, or where it would go.
    fn search(&self, arena: &Arena, key: &[u8]) -> Result<usize, usize> {
        let (skip, shared) = (usize::from(self.skip), self.shared_with(key));
        if shared < skip {
            let theirs = self.prefix[shared / 8].to_be_bytes()[shared % 8];
            // A key that ends within the prefix is before all that begin with it.
            return if key.get(shared).is_some_and(|byte| *byte > theirs) { Err(self.len()) } else { Err(0) };
        }
        let head = head_of(key, skip);
        let heads = &self.heads[..self.len()];
        let mut at = heads.partition_point(|other| *other < head);
        while at < heads.len() && heads[at] == head {
            match arena.key(self.records[at]).cmp(key) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(at),
                Ordering::Greater => break,
            }
        }
        Err(at)
    }

    /// Sets the prefix to `skip` bytes of `key`, which all keys share, and the heads to what follows.
    fn set_prefix(&mut self, arena: &Arena, key: &[u8], skip: usize) {
        self.skip = skip as u16;
        self.prefix = std::array::from_fn(|at| head_of(&key[..skip], 8 * at));
        for at in 0..self.len() {
            self.heads[at] = head_of(arena.key(self.records[at]), skip);
        }
    }

    /// The keys may have more in common than when they were more.
    fn lengthen_prefix(&mut self, arena: &Arena) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let (first, last) = (arena.key(self.records[0]), arena.key(self.records[last]));
        let skip = common(first, last).min(PREFIX_BYTES_MAX);
        if skip > usize::from(self.skip) {
            self.set_prefix(arena, first, skip);
        }
    }

    /// Puts a key before the one at `at`; there is room.
    fn insert(&mut self, arena: &Arena, at: usize, key: &[u8], record: RecordAt) {
        let skip = if self.len == 0 { key.len().min(PREFIX_BYTES_MAX) } else { self.shared_with(key) };
        if self.len == 0 || skip < usize::from(self.skip) {
            self.set_prefix(arena, key, skip);
        }
        let len = self.len();
        self.heads.copy_within(at..len, at + 1);
        self.records.copy_within(at..len, at + 1);
        self.heads[at] = head_of(key, skip);
        self.records[at] = record;
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        let len = self.len();
        self.heads.copy_within(at + 1..len, at);
        self.records.copy_within(at + 1..len, at);
        self.len -= 1;
    }

    /// Moves the keys from `from` on into a new node.
    fn split_off(&mut self, arena: &Arena, from: usize) -> Keys {
        let mut right = self.clone();
        let len = self.len();
        right.heads.copy_within(from..len, 0);
        right.records.copy_within(from..len, 0);
        (right.len, self.len) = ((len - from) as u16, from as u16);
        self.lengthen_prefix(arena);
        right.lengthen_prefix(arena);
        right
    }
}

#[derive(Clone, Debug)]
struct Leaf {
    keys: Keys,
    next: u32,
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
}

/// A key's place: leaf and place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spot {
    leaf: u32,
    at: usize,
}

impl SortedRows {
    pub(crate) fn new() -> SortedRows {
        let leaf = Leaf { keys: Keys::new(), next: NO_LEAF };
        SortedRows { leaves: vec![Box::new(leaf)], inners: Vec::new(), root: 0, height: 0, path: Vec::new() }
    }

    /// Memory of its nodes, about.
    pub(crate) fn node_bytes(&self) -> usize {
        self.leaves.len() * size_of::<Leaf>() + self.inners.len() * size_of::<Inner>()
    }

    /// The leaf in which a key is, or would be.
    fn leaf_of(&self, arena: &Arena, key: &[u8]) -> u32 {
        (0..self.height).fold(self.root, |node, _| {
            let inner = &self.inners[node as usize];
            inner.children[child_of(&inner.keys, arena, key)]
        })
    }

    pub(crate) fn get(&self, arena: &Arena, key: &[u8]) -> Option<RecordAt> {
        let keys = &self.leaves[self.leaf_of(arena, key) as usize].keys;
        keys.search(arena, key).ok().map(|at| keys.records[at])
    }

    /// The leaves of up to [`SIDE_BY_SIDE`] keys, level by level: the memory is waited for once and not for each of them.
    pub(crate) fn leaves_of<'k>(
        &self,
        arena: &Arena,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> [u32; SIDE_BY_SIDE] {
        let mut nodes = [self.root; SIDE_BY_SIDE];
        for _ in 0..self.height {
            for (node, key) in nodes.iter_mut().zip(keys.clone()) {
                let inner = &self.inners[*node as usize];
                *node = inner.children[child_of(&inner.keys, arena, key)];
            }
        }
        if self.height > 0 {
            let touched =
                nodes.iter().zip(keys).fold(0, |sum, (node, _)| sum ^ self.leaves[*node as usize].keys.touch());
            black_box(touched);
        }
        nodes
    }

    /// As [`SortedRows::find`], in a leaf where the key may be. `None`: it is not sure that it belongs there, or the leaf is
    /// full; ask that one.
    pub(crate) fn find_in(&self, arena: &Arena, leaf: u32, key: &[u8]) -> Option<Result<Spot, Spot>> {
        let keys = &self.leaves[leaf as usize].keys;
        match keys.search(arena, key) {
            Ok(at) => Some(Ok(Spot { leaf, at })),
            // It has neighbours on both sides here.
            Err(at) if 0 < at && at < keys.len() && !keys.is_full() => Some(Err(Spot { leaf, at })),
            Err(_) => None,
        }
    }

    /// The place of a key, or where it would go; for the next change, with nothing in between.
    pub(crate) fn find(&mut self, arena: &Arena, key: &[u8]) -> Result<Spot, Spot> {
        self.path.clear();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let child = child_of(&inner.keys, arena, key);
            self.path.push((node, child));
            node = inner.children[child];
        }
        let spot = |at| Spot { leaf: node, at };
        self.leaves[node as usize].keys.search(arena, key).map(spot).map_err(spot)
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
        let mut right = Leaf { keys: leaf.keys.split_off(arena, middle), next: leaf.next };
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
        self.leaves.push(Box::new(right));
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
        let leaf = self.leaf_of(arena, start);
        let at = self.leaves[leaf as usize].keys.search(arena, start).unwrap_or_else(|at| at);
        RowsFrom { rows: self, spot: Spot { leaf, at } }
    }

    /// Gives all its records back.
    pub(crate) fn clear(&mut self, arena: &mut Arena) {
        let leaves = self.leaves.iter().map(|leaf| &leaf.keys);
        for keys in leaves.chain(self.inners.iter().map(|inner| &inner.keys)) {
            keys.records[..keys.len()].iter().for_each(|record| arena.give_back(*record));
        }
        *self = SortedRows::new();
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
fn child_of(keys: &Keys, arena: &Arena, key: &[u8]) -> usize {
    keys.search(arena, key).map_or_else(|at| at, |at| at + 1)
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
            let (mut rows, mut arena, mut map) = (SortedRows::new(), Arena::default(), BTreeMap::new());
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
        let (mut dice, mut rows, mut arena) = (Prng::new(11), SortedRows::new(), Arena::default());
        let mut near = 0;
        for _ in 0..400 {
            let mut batch: Vec<Vec<u8>> =
                (0..SIDE_BY_SIDE).map(|_| dice.below(40_000).to_be_bytes().to_vec()).collect();
            batch.sort();
            let leaves = rows.leaves_of(&arena, batch.iter().map(Vec::as_slice));
            for (key, leaf) in batch.iter().zip(leaves) {
                let found = rows.find_in(&arena, leaf, key);
                let wanted = rows.find(&arena, key);
                near += usize::from(found.is_some());
                assert!(found.is_none_or(|found| found == wanted), "{key:?}");
                if let Err(spot) = wanted {
                    let record = arena.add(key, Some(b"v"), false);
                    rows.insert(&mut arena, spot, key, record);
                }
            }
        }
        assert!(near > 4_000 && rows.height >= 1, "{near} of 6,400 are found where they were looked for");
    }

    #[test]
    fn rows_that_come_in_order_fill_their_leaves() {
        let (mut rows, mut arena) = (SortedRows::new(), Arena::default());
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
