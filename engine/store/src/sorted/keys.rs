//! The keys of one node of a tree: the eight bytes of each that tell it from the others, behind what all of them share.
//!
//! ```text
//! node: heads: the next 8 bytes of each key, as a number | where each record lies | prefix, common to its keys (up to 24 bytes)
//! ```
//!
//! The heads are four lines of memory, eight of them each. A search looks at the last of every line first, all at once, and
//! then at the line where the key must be: a node that no cache holds is waited for once, where halving waits three times.

use std::cmp::Ordering;

use crate::arena::{Arena, RecordAt};

/// Keys of a node.
pub(super) const KEYS: usize = 32;
/// Bytes of a node's common prefix that are looked at.
const PREFIX_BYTES_MAX: usize = 24;

/// A key that is looked for, with what a node compares first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<'k> {
    pub(super) key: &'k [u8],
    /// Its first bytes as a node has its prefix.
    begin: [u64; PREFIX_BYTES_MAX / 8],
}

impl<'k> Probe<'k> {
    pub(super) fn new(key: &'k [u8]) -> Probe<'k> {
        Probe { key, begin: std::array::from_fn(|at| head_of(key, 8 * at)) }
    }
}

/// The bits of the first so many bytes of a prefix.
const MASKS: [[u64; PREFIX_BYTES_MAX / 8]; PREFIX_BYTES_MAX + 1] = {
    let mut masks = [[0; PREFIX_BYTES_MAX / 8]; PREFIX_BYTES_MAX + 1];
    let mut bytes = 1;
    while bytes <= PREFIX_BYTES_MAX {
        masks[bytes] = masks[bytes - 1];
        masks[bytes][(bytes - 1) / 8] |= 0xff << (56 - 8 * ((bytes - 1) % 8));
        bytes += 1;
    }
    masks
};

/// Heads of a line of memory.
const LINE: usize = 8;
/// In the place of a key that is not there: no head is above it.
const NO_HEAD: u64 = u64::MAX;
const _: () = assert!(KEYS == 4 * LINE);

/// The keys of a node, in order.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Keys {
    heads: [u64; KEYS],
    pub(super) records: [RecordAt; KEYS],
    /// In the order of keys, filled up with zeros: to compare eight bytes is to compare numbers.
    prefix: [u64; PREFIX_BYTES_MAX / 8],
    len: u16,
    /// Bytes of `prefix` in use: every key begins with them.
    skip: u16,
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
    pub(super) fn new() -> Keys {
        Keys {
            heads: [NO_HEAD; KEYS],
            records: [RecordAt::default(); KEYS],
            prefix: [0; PREFIX_BYTES_MAX / 8],
            len: 0,
            skip: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == KEYS
    }

    /// Something of each cache line that a search may look at.
    pub(super) fn touch(&self) -> u64 {
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

    /// The key begins with the prefix.
    fn is_begin_of(&self, Probe { key, begin }: &Probe<'_>) -> bool {
        let mask = &MASKS[usize::from(self.skip)];
        let words = self.prefix.iter().zip(begin).zip(mask);
        words.fold(0, |differs, ((ours, theirs), mask)| differs | ((ours ^ theirs) & mask)) == 0
            && usize::from(self.skip) <= key.len()
    }

    /// Where a key would go that does not begin with the prefix: before all or behind all.
    fn beside(&self, key: &[u8]) -> usize {
        let shared = self.shared_with(key);
        let theirs = self.prefix[shared / 8].to_be_bytes()[shared % 8];
        // A key that ends within the prefix is before all that begin with it.
        if key.get(shared).is_some_and(|byte| *byte > theirs) { self.len() } else { 0 }
    }

    /// Where the key is, or where it would go.
    pub(super) fn search(&self, arena: &Arena, probe: &Probe<'_>) -> Result<usize, usize> {
        let (skip, key) = (usize::from(self.skip), probe.key);
        if !self.is_begin_of(probe) {
            return Err(self.beside(key));
        }
        let head = head_of(key, skip);
        let mut low = self.heads_below(head);
        let mut high = low + self.heads[low..self.len()].iter().take_while(|other| **other == head).count();
        // High up in a tree many keys may have the same head.
        while low < high {
            let middle = low.midpoint(high);
            match arena.key(self.records[middle]).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// How many heads are below this one.
    fn heads_below(&self, head: u64) -> usize {
        let is_below = |at: usize| usize::from(self.heads[at] < head);
        let line = LINE * (is_below(LINE - 1) + is_below(2 * LINE - 1) + is_below(3 * LINE - 1));
        line + self.heads[line..line + LINE].iter().map(|other| usize::from(*other < head)).sum::<usize>()
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
    pub(super) fn insert(&mut self, arena: &Arena, at: usize, key: &[u8], record: RecordAt) {
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

    pub(super) fn remove(&mut self, at: usize) {
        let len = self.len();
        self.heads.copy_within(at + 1..len, at);
        self.records.copy_within(at + 1..len, at);
        self.heads[len - 1] = NO_HEAD;
        self.len -= 1;
    }

    /// Moves the keys from `from` on into a new node.
    pub(super) fn split_off(&mut self, arena: &Arena, from: usize) -> Keys {
        let mut right = self.clone();
        let len = self.len();
        right.heads.copy_within(from..len, 0);
        right.records.copy_within(from..len, 0);
        (right.len, self.len) = ((len - from) as u16, from as u16);
        right.heads[len - from..].fill(NO_HEAD);
        self.heads[from..].fill(NO_HEAD);
        self.lengthen_prefix(arena);
        right.lengthen_prefix(arena);
        right
    }
}
