//! Rows in key order in one piece of memory: what a range read brings costs no allocation for each row.

use std::ops::Range;

/// Keys and values one behind the other, and where each begins.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    rows: Vec<Place>,
}

/// The key ends where the value begins, and the value where the next row begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    key: usize,
    value: usize,
}

impl Packed {
    /// Adds a row behind all others.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        let place = Place { key: self.bytes.len(), value: self.bytes.len() + key.len() };
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows.push(place);
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of all keys and values.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn key(&self, at: usize) -> &[u8] {
        &self.bytes[self.rows[at].key..self.rows[at].value]
    }

    pub(crate) fn value(&self, at: usize) -> &[u8] {
        let end = self.rows.get(at + 1).map_or(self.bytes.len(), |next| next.key);
        &self.bytes[self.rows[at].value..end]
    }

    /// The last key.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.rows.len().checked_sub(1).map(|last| self.key(last))
    }

    /// The first row whose key is not before `key`.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The rows at these places.
    pub(crate) fn rows(&self, at: Range<usize>) -> impl Iterator<Item = (&[u8], &[u8])> {
        at.map(|at| (self.key(at), self.value(at)))
    }

    /// All rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows(0..self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_order_and_are_found_by_key() {
        let mut packed = Packed::default();
        let rows: [(&[u8], &[u8]); 4] = [(b"", b"none"), (b"a", b""), (b"ab", b"2"), (b"c", b"33")];
        rows.iter().for_each(|(key, value)| packed.push(key, value));
        assert!(packed.iter().eq(rows));
        assert_eq!((packed.len(), packed.last_key(), packed.bytes()), (4, Some(&b"c"[..]), 11));
        let bounds: Vec<_> = [&b""[..], b"a", b"aa", b"ab", b"b", b"d"].map(|key| packed.lower_bound(key)).into();
        assert_eq!(bounds, [0, 1, 2, 2, 3, 4]);
        assert!(packed.rows(1..3).eq([rows[1], rows[2]]));
    }
}
