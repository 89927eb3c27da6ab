//! The rows that one entry changes, as one buffer: nothing is allocated per row, and what the state hash covers lies in one
//! piece.

/// In place of a value's length: the row is deleted.
const DELETED: u32 = u32::MAX;

/// A changed row: key without the group, and the new value or `None` for a delete.
pub type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The changes of one applied entry, the last change of a key standing; sorted by key.
///
/// Shape: per row `key_bytes u32, key, value_bytes u32, value`, little-endian; a deleted row has `value_bytes` all ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBatch {
    bytes: Vec<u8>,
    rows: Vec<Place>,
}

/// Where a row's key and value lie, and their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    key: (u32, u32),
    value: (u32, u32),
}

impl RowBatch {
    /// Rows in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// It changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets all rows; their memory is used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    /// Adds a row behind all others; whoever adds keeps the order of keys.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let key = self.append(len32(key.len()), key);
        let value = self.append(value.map_or(DELETED, |value| len32(value.len())), value.unwrap_or_default());
        self.rows.push(Place { key, value });
    }

    fn append(&mut self, length: u32, bytes: &[u8]) -> (u32, u32) {
        self.bytes.extend_from_slice(&length.to_le_bytes());
        let at = len32(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        (at, length)
    }

    /// Row `number`, the first being 0. Panics when there are fewer.
    #[must_use]
    pub fn row(&self, number: usize) -> Change<'_> {
        let Place { key, value } = self.rows[number];
        let bytes = |(at, length): (u32, u32)| &self.bytes[at as usize..][..length as usize];
        (bytes(key), (value.1 != DELETED).then(|| bytes(value)))
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Change<'_>> + Clone {
        (0..self.len()).map(|number| self.row(number))
    }

    /// What the batch does to a row: `None` nothing, `Some(None)` a delete.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let found = self.rows.binary_search_by(|place| {
            let (at, length) = place.key;
            self.bytes[at as usize..][..length as usize].cmp(key)
        });
        found.ok().map(|number| self.row(number).1)
    }

    /// The rows from `number` on, in order.
    pub fn from(&self, number: usize) -> impl Iterator<Item = Change<'_>> + Clone {
        (number..self.len()).map(|number| self.row(number))
    }

    /// All rows in the shape above.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(K, Option<V>)> for RowBatch {
    fn from_iter<I: IntoIterator<Item = (K, Option<V>)>>(rows: I) -> RowBatch {
        let mut batch = RowBatch::default();
        rows.into_iter().for_each(|(key, value)| batch.push(key.as_ref(), value.as_ref().map(AsRef::as_ref)));
        batch
    }
}

fn len32(length: usize) -> u32 {
    u32::try_from(length).expect("an entry's rows take less than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_pushed_and_lie_in_their_shape() {
        let rows: Vec<(&[u8], Option<&[u8]>)> = vec![(b"a", Some(b"")), (b"ab", None), (b"b", Some(b"value"))];
        let mut batch: RowBatch = rows.iter().copied().collect();
        assert!(batch.iter().eq(rows.iter().copied()) && batch.from(1).eq(rows[1..].iter().copied()));
        assert_eq!((batch.len(), batch.row(2)), (3, rows[2]));
        assert_eq!((batch.get(b"a"), batch.get(b"ab"), batch.get(b"aa")), (Some(Some(&b""[..])), Some(None), None));
        let shape = b"\x01\0\0\0a\0\0\0\0\x02\0\0\0ab\xff\xff\xff\xff\x01\0\0\0b\x05\0\0\0value";
        assert_eq!(batch.bytes(), shape);
        batch.clear();
        assert!(batch.is_empty() && batch.bytes().is_empty());
    }
}
