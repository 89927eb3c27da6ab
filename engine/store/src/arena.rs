//! Rows as bytes in large pieces of memory: a row of a memtable costs no allocation of its own, and freeing all of them is
//! freeing a few pieces.
//!
//! ```text
//! record: 0 u32 value_bytes, or u32::MAX for a delete   4 u32 room for the value   8 u16 key_bytes   10 u8 fresh   11 zero
//!        12 key, then the room; the next record begins at the next multiple of 8
//! ```

use std::sync::Arc;

use base::bytes::{align_up, get_u16, get_u32, put_u16, put_u32};
use crossbeam::queue::ArrayQueue;

/// Bytes of a piece: above the largest record.
const PIECE_BYTES: usize = 256 << 10;
const HEADER_BYTES: usize = 12;
/// A value that is not there: the row is deleted.
const DELETED: u32 = u32::MAX;
/// Records up to this size are used again when they are given back. Units: bytes, with padding.
const REUSED_BYTES_MAX: usize = 512;

/// Where a record lies, in units of 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RecordAt(u32);

/// Bytes of a line of the processor's caches.
const LINE_BYTES: usize = 64;

impl RecordAt {
    /// Something of the memory that it is in itself.
    pub(crate) fn touch(self) -> u32 {
        self.0
    }

    fn place(self) -> (usize, usize) {
        let at = self.0 as usize * 8;
        (at / PIECE_BYTES, at % PIECE_BYTES)
    }
}

/// Pieces that were used, for the next memtable: the system clears and maps fresh memory first, which was a twelfth of what a
/// commit costs.
#[derive(Clone, Debug)]
pub(crate) struct Pieces(Arc<ArrayQueue<Box<[u8]>>>);

impl Pieces {
    /// Keeps up to so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Pieces {
        Pieces(Arc::new(ArrayQueue::new((bytes_max / PIECE_BYTES).max(1))))
    }

    /// Nobody asks for records of this arena any more. What there is no room for stays with it.
    pub(crate) fn take_from(&self, arena: &mut Arena) {
        while let Some(piece) = arena.pieces.pop() {
            if let Err(piece) = self.0.push(piece) {
                return arena.pieces.push(piece);
            }
        }
    }
}

/// Records of any size; at most 32 GiB.
#[derive(Clone, Default, Debug)]
pub(crate) struct Arena {
    /// Where a new piece is looked for first.
    used_before: Option<Pieces>,
    pieces: Vec<Box<[u8]>>,
    /// Bytes used of the last piece.
    used: usize,
    /// Records that were given back, by their size in units of 8 bytes.
    free: Vec<Vec<RecordAt>>,
    free_bytes: usize,
}

impl Arena {
    /// One that takes its memory from there.
    pub(crate) fn new(pieces: Pieces) -> Arena {
        Arena { used_before: Some(pieces), ..Arena::default() }
    }

    /// Bytes in records that are in use, with their padding.
    pub(crate) fn bytes(&self) -> usize {
        self.pieces.len().saturating_sub(1) * PIECE_BYTES + self.used - self.free_bytes
    }

    /// A new record. `fresh` is kept for the caller.
    pub(crate) fn add(&mut self, key: &[u8], value: Option<&[u8]>, fresh: bool) -> RecordAt {
        let room = value.map_or(0, <[u8]>::len);
        let bytes = align_up(HEADER_BYTES + key.len() + room, 8);
        assert!(bytes <= PIECE_BYTES, "a row of {bytes} bytes is above the limits of keys and values");
        let room = bytes - HEADER_BYTES - key.len();
        let at = self.take(bytes);
        let record = self.record_mut(at);
        put_u32(record, 4, room as u32);
        put_u16(record, 8, key.len() as u16);
        (record[10], record[11]) = (u8::from(fresh), 0);
        record[HEADER_BYTES..HEADER_BYTES + key.len()].copy_from_slice(key);
        self.set_value(at, value);
        at
    }

    fn take(&mut self, bytes: usize) -> RecordAt {
        if let Some(at) = self.free.get_mut(bytes / 8).and_then(Vec::pop) {
            self.free_bytes -= bytes;
            return at;
        }
        if self.pieces.is_empty() || PIECE_BYTES - self.used < bytes {
            let used = self.used_before.as_ref().and_then(|pieces| pieces.0.pop());
            self.pieces.push(used.unwrap_or_else(|| vec![0; PIECE_BYTES].into_boxed_slice()));
            self.used = 0;
        }
        let at = RecordAt((((self.pieces.len() - 1) * PIECE_BYTES + self.used) / 8) as u32);
        self.used += bytes;
        at
    }

    /// Nobody asks for this record any more.
    pub(crate) fn give_back(&mut self, at: RecordAt) {
        let record = self.record(at);
        let bytes = align_up(HEADER_BYTES + self.key(at).len() + get_u32(record, 4).unwrap_or(0) as usize, 8);
        if bytes <= REUSED_BYTES_MAX {
            if self.free.len() <= bytes / 8 {
                self.free.resize_with(bytes / 8 + 1, Vec::new);
            }
            self.free[bytes / 8].push(at);
            self.free_bytes += bytes;
        }
    }

    fn record(&self, at: RecordAt) -> &[u8] {
        let (piece, start) = at.place();
        &self.pieces[piece][start..]
    }

    fn record_mut(&mut self, at: RecordAt) -> &mut [u8] {
        let (piece, start) = at.place();
        &mut self.pieces[piece][start..]
    }

    /// Something of the first lines of memory of a record.
    pub(crate) fn touch(&self, at: RecordAt) -> u8 {
        let record = self.record(at);
        record[0] ^ record.get(LINE_BYTES).copied().unwrap_or(0) ^ record.get(2 * LINE_BYTES).copied().unwrap_or(0)
    }

    pub(crate) fn key(&self, at: RecordAt) -> &[u8] {
        let record = self.record(at);
        &record[HEADER_BYTES..HEADER_BYTES + key_bytes(record)]
    }

    /// The value; `None` for a delete.
    pub(crate) fn value(&self, at: RecordAt) -> Option<&[u8]> {
        let record = self.record(at);
        let start = HEADER_BYTES + key_bytes(record);
        match get_u32(record, 0) {
            Some(DELETED) | None => None,
            Some(bytes) => Some(&record[start..start + bytes as usize]),
        }
    }

    pub(crate) fn is_fresh(&self, at: RecordAt) -> bool {
        self.record(at)[10] != 0
    }

    /// Puts another value in place of the old one; false when there is no room for it.
    pub(crate) fn set_value(&mut self, at: RecordAt, value: Option<&[u8]>) -> bool {
        let record = self.record_mut(at);
        let (start, room) = (HEADER_BYTES + key_bytes(record), get_u32(record, 4).unwrap_or(0) as usize);
        let Some(value) = value else {
            put_u32(record, 0, DELETED);
            return true;
        };
        if value.len() > room {
            return false;
        }
        put_u32(record, 0, value.len() as u32);
        record[start..start + value.len()].copy_from_slice(value);
        true
    }
}

fn key_bytes(record: &[u8]) -> usize {
    usize::from(get_u16(record, 8).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_what_was_put_in_and_are_used_again() {
        let mut arena = Arena::default();
        let one = arena.add(b"key", Some(b"value"), true);
        let two = arena.add(b"other", None, false);
        assert_eq!((arena.key(one), arena.value(one), arena.is_fresh(one)), (&b"key"[..], Some(&b"value"[..]), true));
        assert_eq!((arena.key(two), arena.value(two), arena.is_fresh(two)), (&b"other"[..], None, false));
        assert!(arena.set_value(one, Some(b"v")) && arena.value(one) == Some(b"v"));
        assert!(!arena.set_value(one, Some(&[7; 100])) && arena.value(one) == Some(b"v"));
        let bytes = arena.bytes();
        arena.give_back(one);
        assert!(arena.bytes() < bytes);
        let again = arena.add(b"kex", Some(b"vulue"), false);
        assert_eq!((again, arena.bytes(), arena.key(again)), (one, bytes, &b"kex"[..]));
        let large = vec![1; base::limits::VALUE_BYTES_MAX];
        let at: Vec<_> = (0..9).map(|_| arena.add(&[9; base::limits::KEY_BYTES_MAX], Some(&large), false)).collect();
        assert!(at.iter().all(|at| arena.value(*at) == Some(&large)));
        assert_eq!(arena.value(again), Some(&b"vulue"[..]));
    }

    #[test]
    fn pieces_that_were_used_are_used_again_up_to_the_bytes_that_may_wait() {
        let pieces = Pieces::new(3 * PIECE_BYTES);
        let mut first = Arena::new(pieces.clone());
        let large = vec![1; base::limits::VALUE_BYTES_MAX];
        let _: Vec<_> = (0..15).map(|_| first.add(b"key", Some(&large), true)).collect();
        assert_eq!(first.pieces.len(), 5);
        let at: Vec<_> = first.pieces.iter().map(|piece| piece.as_ptr()).collect();
        pieces.take_from(&mut first);
        assert_eq!((pieces.0.len(), first.pieces.len()), (3, 2));
        let mut second = Arena::new(pieces.clone());
        let records: Vec<_> = (0..15_u8).map(|at| second.add(&[at], Some(&large[usize::from(at)..]), false)).collect();
        assert!(second.pieces.iter().take(3).all(|piece| at.contains(&piece.as_ptr())) && second.pieces.len() == 5);
        for (record, at) in records.into_iter().zip(0_u8..) {
            let row = (second.key(record), second.value(record), second.is_fresh(record));
            assert_eq!(row, (&[at][..], Some(&large[usize::from(at)..]), false));
        }
    }
}
