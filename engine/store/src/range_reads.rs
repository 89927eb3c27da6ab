//! Ranges that were read ahead, kept until their token is released.
//!
//! A range knows every row of its group between `start` and `covered`. It stays so: what is read from the tables is
//! merged with the memtables when it arrives, and later writes are laid over it.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;

use base::IdMap;
use meta::Rows;

use crate::key::{GroupLife, successor};
use crate::merge::{Layer, Merged};
use crate::packed::Packed;

/// One range; `id` names the prefetch and the place in its list.
pub(crate) struct RangeRead {
    pub(crate) id: (u64, u32),
    token: u64,
    start: Vec<u8>,
    end: Vec<u8>,
    rows_max: u32,
    /// Exclusive. Invariant: `start <= covered <= end`.
    covered: Vec<u8>,
    /// Rows as they were when they came, in order.
    pieces: Vec<Packed>,
    /// What was written since.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// What still has to be read so that a range answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) rows_max: u32,
}

/// All ranges of one core.
#[derive(Default)]
pub(crate) struct RangeReads {
    lives: IdMap<GroupLife, Vec<RangeRead>>,
}

impl RangeReads {
    /// Opens a range that covers nothing yet.
    pub(crate) fn open(&mut self, group: GroupLife, id: (u64, u32), token: u64, want: Missing) {
        self.lives.entry(group).or_default().push(RangeRead {
            id,
            token,
            covered: want.start.clone(),
            start: want.start,
            end: want.end,
            rows_max: want.rows_max,
            pieces: Vec::new(),
            changes: BTreeMap::new(),
        });
    }

    /// Adds rows of the tables that follow what is covered, under `layers` (the memtables, newest first, given the
    /// range to look at). `complete`: the tables have no more rows before the end. Returns what is missing still.
    pub(crate) fn extend<'a>(
        &mut self,
        group: GroupLife,
        id: (u64, u32),
        rows: Packed,
        complete: bool,
        layers: impl FnOnce(&[u8], &[u8]) -> Vec<Layer<'a>>,
    ) -> Option<Missing> {
        let range = self.lives.get_mut(&group)?.iter_mut().find(|range| range.id == id)?;
        let limit = match rows.last_key() {
            Some(key) if !complete => successor(key),
            _ => range.end.clone(),
        };
        let mut layers: Vec<_> = layers(&range.covered, &limit).into_iter().map(Iterator::peekable).collect();
        layers.retain_mut(|layer| layer.peek().is_some());
        if layers.is_empty() {
            range.pieces.push(rows);
        } else {
            range.pieces.push(merged(layers, &rows));
        }
        range.covered = limit;
        let known: usize = range.pieces.iter().map(Packed::len).sum();
        let missing = range.rows_max.saturating_sub(known as u32);
        if range.covered >= range.end || missing == 0 {
            return None;
        }
        Some(Missing { start: range.covered.clone(), end: range.end.clone(), rows_max: missing.saturating_mul(2) })
    }

    /// It has ranges of this life.
    pub(crate) fn has(&self, group: GroupLife) -> bool {
        self.lives.contains_key(&group)
    }

    /// The row was written: ranges that cover it change.
    pub(crate) fn update(&mut self, group: GroupLife, key: &[u8], value: Option<&[u8]>) {
        for range in self.lives.get_mut(&group).into_iter().flatten().filter(|range| range.covers(key)) {
            range.changes.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        }
    }

    /// Drops the ranges of a token.
    pub(crate) fn release(&mut self, group: GroupLife, token: u64) {
        if let Some(ranges) = self.lives.get_mut(&group) {
            ranges.retain(|range| range.token != token);
            if ranges.is_empty() {
                self.lives.remove(&group);
            }
        }
    }

    /// Drops all ranges of a life.
    pub(crate) fn forget(&mut self, group: GroupLife) {
        self.lives.remove(&group);
    }

    /// What the ranges know of a row: `None` nothing, `Some(None)` that it is absent.
    pub(crate) fn get(&self, group: GroupLife, key: &[u8]) -> Option<Option<&[u8]>> {
        let range = self.lives.get(&group)?.iter().find(|range| range.covers(key))?;
        Some(range.get(key))
    }

    /// Answers a scan when one range covers what it needs.
    pub(crate) fn scan(&self, group: GroupLife, start: &[u8], end: &[u8], rows_max: u32, out: &mut Rows) -> bool {
        self.lives.get(&group).into_iter().flatten().any(|range| range.scan(start, end, rows_max as usize, out))
    }
}

impl RangeRead {
    fn covers(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && key < self.covered.as_slice()
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        if let Some(change) = self.changes.get(key) {
            return change.as_deref();
        }
        let piece = self.pieces.iter().find(|piece| piece.last_key().is_some_and(|last| key <= last))?;
        let at = piece.lower_bound(key);
        (piece.key(at) == key).then(|| piece.value(at))
    }

    fn scan(&self, start: &[u8], end: &[u8], rows_max: usize, out: &mut Rows) -> bool {
        let to = end.min(self.covered.as_slice());
        if start < self.start.as_slice() || to <= start {
            return false;
        }
        let before = out.len();
        let rows = self.pieces.iter().flat_map(|piece| piece.rows(piece.lower_bound(start)..piece.lower_bound(to)));
        let copied = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
        let mut changes = self.changes.range::<[u8], _>((Bound::Included(start), Bound::Excluded(to))).peekable();
        if changes.peek().is_none() {
            out.extend(rows.take(rows_max).map(copied));
        } else {
            let changes = changes.map(|(key, value)| (key.as_slice(), value.as_deref()));
            let layers: Vec<Layer<'_>> = vec![Box::new(changes), Box::new(rows.map(|(key, value)| (key, Some(value))))];
            out.extend(Merged::new(layers).live().take(rows_max).map(copied));
        }
        let answers = end <= self.covered.as_slice() || out.len() - before == rows_max;
        if !answers {
            out.truncate(before);
        }
        answers
    }
}

/// Rows of the tables under those of the memtables.
#[expect(clippy::map_identity, reason = "the rows of a layer are borrowed for longer than those of the tables")]
fn merged(layers: Vec<Peekable<Layer<'_>>>, rows: &Packed) -> Packed {
    let mut all: Vec<Layer<'_>> = Vec::with_capacity(layers.len() + 1);
    for layer in layers {
        all.push(Box::new(layer.map(|(key, value)| (key, value))));
    }
    all.push(Box::new(rows.iter().map(|(key, value)| (key, Some(value)))));
    let mut merged = Packed::default();
    Merged::new(all).live().for_each(|(key, value)| merged.push(key, value));
    merged
}

#[cfg(test)]
mod tests {
    use base::GroupId;

    use super::*;

    const GROUP: GroupLife = (GroupId(1), 1);

    fn rows(keys: &[&str]) -> Packed {
        let mut rows = Packed::default();
        keys.iter().for_each(|key| rows.push(key.as_bytes(), b"v"));
        rows
    }

    fn keys(reads: &RangeReads, start: &str, end: &str, rows_max: u32) -> Option<Vec<String>> {
        let mut out = Rows::new();
        let answered = reads.scan(GROUP, start.as_bytes(), end.as_bytes(), rows_max, &mut out);
        answered.then(|| out.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect())
    }

    fn open(rows_max: u32) -> RangeReads {
        let mut reads = RangeReads::default();
        let want = Missing { start: b"a".to_vec(), end: b"z".to_vec(), rows_max };
        reads.open(GROUP, (1, 0), 7, want);
        reads
    }

    #[test]
    fn a_range_asks_for_more_when_deletes_in_memory_took_its_rows() {
        let mut reads = open(2);
        let (first, second) = (rows(&["b", "c"]), rows(&["d", "e", "f"]));
        fn deleted<'a>() -> Layer<'a> {
            Box::new([(&b"b"[..], None), (b"c", None)].into_iter())
        }
        let missing = reads.extend(GROUP, (1, 0), first, false, |_, _| vec![deleted()]);
        assert_eq!(missing, Some(Missing { start: b"c\0".to_vec(), end: b"z".to_vec(), rows_max: 4 }));
        assert_eq!(reads.extend(GROUP, (1, 0), second, true, |_, _| vec![]), None);
        assert_eq!(keys(&reads, "a", "z", 2), Some(vec!["d".into(), "e".into()]));
        assert_eq!(
            keys(&reads, "a", "z", 4),
            Some(vec!["d".into(), "e".into(), "f".into()]),
            "the tables have no more"
        );
        assert_eq!(keys(&reads, "a", "zz", 4), None);
        assert_eq!(reads.get(GROUP, b"b"), Some(None));
        assert_eq!(reads.get(GROUP, b"zz"), None);
    }

    #[test]
    fn writes_change_a_range_and_a_release_drops_it() {
        let mut reads = open(10);
        let base = rows(&["b", "m"]);
        assert_eq!(reads.extend(GROUP, (1, 0), base, true, |_, _| vec![]), None);
        reads.update(GROUP, b"c", Some(b"new"));
        reads.update(GROUP, b"b", None);
        reads.update(GROUP, b"zz", Some(b"outside"));
        assert_eq!(keys(&reads, "a", "z", 10), Some(vec!["c".into(), "m".into()]));
        assert_eq!(keys(&reads, "b", "k", 1), Some(vec!["c".into()]));
        assert_eq!(keys(&reads, "a", "zz", 10), None);
        reads.release(GROUP, 7);
        assert_eq!(keys(&reads, "a", "z", 10), None);
    }
}
