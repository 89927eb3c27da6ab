//! The rows of one data block of a table, read where they lie: the format of the `lsm-tree` crate, 3.1.10.
//!
//! What the crate makes of the rows is an allocation for each, which is most of what a read costs.
//!
//! ```text
//! rows | 255 | where each head begins, u16 or u32 | trailer, 31 bytes:
//!   0 u8 rows from head to head   1 u8 bytes of such a place   2 u32 heads   6 u32 where their places are   10 ..
//! head: kind u8 | seqno varint | key_bytes varint | key | value_bytes varint | value
//! row:  kind u8 | seqno varint | bytes shared with the head's key, varint | rest_bytes varint | rest | as above
//! ```
//! kind: 0 a value, 1 a delete, which has no value. All numbers are little-endian.

use std::cmp::Ordering;

use base::bytes::{get_u16, get_u32};

use crate::block_cache::BlockBytes;

const TRAILER_BYTES: usize = 31;
const END: u8 = 255;
const VALUE: u8 = 0;
const DELETE: u8 = 1;

/// The bytes are not what the format says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A data block.
#[derive(Clone, Debug)]
pub(crate) struct RowBlock {
    data: BlockBytes,
    rows_per_head: u8,
    /// Bytes of a head's place.
    step: usize,
    heads: usize,
    heads_at: usize,
}

/// A place in a block: the next row begins at `at`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    at: usize,
    /// Where the key of the last head lies.
    head: (usize, usize),
    /// Rows before the next head.
    left: u8,
}

/// A row in its block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRow<'a> {
    /// The key is this and the rest.
    shared: &'a [u8],
    rest: &'a [u8],
    pub(crate) seqno: u64,
    /// `None`: a delete.
    pub(crate) value: Option<&'a [u8]>,
    /// Where the row ends, and with it the value.
    end: usize,
}

impl BlockRow<'_> {
    /// How its key compares with another.
    pub(crate) fn cmp_key(&self, key: &[u8]) -> Ordering {
        match key.split_at_checked(self.shared.len()) {
            Some((begin, rest)) => self.shared.cmp(begin).then_with(|| self.rest.cmp(rest)),
            // A key that is shorter than what is shared is its prefix, and so before it, or differs.
            None => self.shared.cmp(key),
        }
    }

    /// Where the value lies, for [`RowBlock::bytes`].
    pub(crate) fn value_at(&self) -> Option<(usize, usize)> {
        self.value.map(|value| (self.end - value.len(), self.end))
    }

    /// Sets `key` to its key.
    pub(crate) fn copy_key(&self, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.shared);
        key.extend_from_slice(self.rest);
    }
}

impl RowBlock {
    /// Takes the bytes of a data block.
    pub(crate) fn new(data: BlockBytes) -> Result<RowBlock, Malformed> {
        let trailer = data.len().checked_sub(TRAILER_BYTES).ok_or(Malformed)?;
        let (rows_per_head, step) = (data[trailer], usize::from(data[trailer + 1]));
        let number = |at| get_u32(&data, trailer + at).map(|number| number as usize).ok_or(Malformed);
        let (heads, heads_at) = (number(2)?, number(6)?);
        let heads_end = heads.checked_mul(step).and_then(|bytes| bytes.checked_add(heads_at)).ok_or(Malformed)?;
        if rows_per_head == 0 || !matches!(step, 2 | 4) || heads == 0 || heads_end > trailer {
            return Err(Malformed);
        }
        Ok(RowBlock { data, rows_per_head, step, heads, heads_at })
    }

    /// Where head `number` begins.
    fn head(&self, number: usize) -> Result<usize, Malformed> {
        let at = self.heads_at + number * self.step;
        let place = if self.step == 2 {
            get_u16(&self.data, at).map(usize::from)
        } else {
            get_u32(&self.data, at).map(|at| at as usize)
        };
        place.ok_or(Malformed)
    }

    /// A place before the first row whose key is not before `key`, and near it.
    pub(crate) fn seek(&self, key: &[u8]) -> Result<Place, Malformed> {
        let (mut low, mut high) = (0, self.heads);
        while low < high {
            let middle = low.midpoint(high);
            let mut place = Place { at: self.head(middle)?, ..Place::default() };
            let row = self.next(&mut place)?.ok_or(Malformed)?;
            if row.rest < key { low = middle + 1 } else { high = middle }
        }
        Ok(Place { at: self.head(low.saturating_sub(1))?, ..Place::default() })
    }

    /// The row at a place, which moves on; `None` behind the last.
    pub(crate) fn next(&self, place: &mut Place) -> Result<Option<BlockRow<'_>>, Malformed> {
        let data = &self.data[..];
        let mut at = place.at;
        let kind = *data.get(at).ok_or(Malformed)?;
        at += 1;
        if kind == END {
            return Ok(None);
        }
        let seqno = varint(data, &mut at)?;
        let is_head = place.left == 0;
        let shared_bytes = if is_head { 0 } else { varint(data, &mut at)? as usize };
        let rest = take(data, &mut at)?;
        if is_head {
            (place.left, place.head) = (self.rows_per_head, (at - rest.len(), at));
        }
        let shared = data[place.head.0..place.head.1].get(..shared_bytes).ok_or(Malformed)?;
        let value = match kind {
            VALUE => Some(take(data, &mut at)?),
            DELETE => None,
            _ => return Err(Malformed),
        };
        place.left -= 1;
        place.at = at;
        Ok(Some(BlockRow { shared, rest, seqno, value, end: at }))
    }

    /// The bytes from the one place to the other.
    pub(crate) fn bytes(&self, (from, to): (usize, usize)) -> &[u8] {
        &self.data[from..to]
    }

    /// The first row of this key below a seqno.
    pub(crate) fn find(&self, key: &[u8], below: u64) -> Result<Option<BlockRow<'_>>, Malformed> {
        let mut place = self.seek(key)?;
        while let Some(row) = self.next(&mut place)? {
            match row.cmp_key(key) {
                Ordering::Less => {}
                Ordering::Equal if row.seqno < below => return Ok(Some(row)),
                Ordering::Equal => {}
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }
}

/// The bytes behind their count.
fn take<'a>(data: &'a [u8], at: &mut usize) -> Result<&'a [u8], Malformed> {
    let bytes = varint(data, at)? as usize;
    let taken = data.get(*at..).and_then(|rest| rest.get(..bytes)).ok_or(Malformed)?;
    *at += bytes;
    Ok(taken)
}

/// Seven bits a byte, the lowest first; the last byte has its highest bit clear.
fn varint(data: &[u8], at: &mut usize) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *data.get(*at).ok_or(Malformed)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Prng;
    use lsm_tree::{InternalValue, ValueType};

    use super::*;

    fn block(rows: &BTreeMap<Vec<u8>, Option<Vec<u8>>>, rows_per_head: u8) -> RowBlock {
        let items: Vec<_> = rows
            .iter()
            .map(|(key, value)| match value {
                Some(value) => InternalValue::from_components(key.as_slice(), value.as_slice(), 300, ValueType::Value),
                None => InternalValue::new_tombstone(key.as_slice(), 7),
            })
            .collect();
        let bytes = lsm_tree::table::DataBlock::encode_into_vec(&items, rows_per_head, 0.0).unwrap();
        RowBlock::new(bytes.into()).unwrap()
    }

    fn rows(dice: &mut Prng) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let key = |dice: &mut Prng| (0..1 + dice.below(6)).map(|_| dice.below(3) as u8).collect::<Vec<u8>>();
        (0..1 + dice.below(90))
            .map(|_| (key(dice), (!dice.one_in(4)).then(|| vec![dice.below(256) as u8; dice.below(200) as usize])))
            .collect()
    }

    #[test]
    fn the_rows_of_a_block_are_those_that_the_crate_put_in() {
        let mut dice = Prng::new(5);
        for _ in 0..300 {
            let rows = rows(&mut dice);
            let block = block(&rows, 1 + dice.below(20) as u8);
            let (mut place, mut key) = (Place::default(), Vec::new());
            for (wanted, value) in &rows {
                let row = block.next(&mut place).unwrap().unwrap();
                row.copy_key(&mut key);
                assert_eq!((&key, row.value), (wanted, value.as_deref()));
                assert_eq!(row.seqno, if value.is_some() { 300 } else { 7 });
            }
            assert!(block.next(&mut place).unwrap().is_none());
            for _ in 0..30 {
                let key: Vec<u8> = (0..dice.below(7)).map(|_| dice.below(3) as u8).collect();
                let found = block.find(&key, u64::MAX).unwrap().map(|row| row.value.map(<[u8]>::to_vec));
                assert_eq!(found, rows.get(&key).cloned(), "{key:?}");
                let mut place = block.seek(&key).unwrap();
                let at_or_behind = std::iter::from_fn(|| block.next(&mut place).unwrap())
                    .find(|row| row.cmp_key(&key) != Ordering::Less);
                assert_eq!(
                    at_or_behind.map(|row| row.value),
                    rows.range(key..).next().map(|(_, value)| value.as_deref())
                );
            }
            let newest = rows.iter().next().unwrap();
            assert!(block.find(newest.0, 7).unwrap().is_none(), "all are newer");
        }
    }

    #[test]
    fn bytes_that_are_no_block_are_refused_and_never_panic() {
        let mut dice = Prng::new(6);
        assert!(RowBlock::new(vec![0; 30].into()).is_err());
        for _ in 0..4_000 {
            let whole = block(&rows(&mut dice), 4);
            let mut bytes = whole.data.to_vec();
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] = dice.below(256) as u8;
            }
            let Ok(block) = RowBlock::new(bytes.into()) else { continue };
            let mut place = Place::default();
            while let Ok(Some(row)) = block.next(&mut place) {
                let _ = row.cmp_key(b"\x01\x01");
            }
            let _ = block.find(b"\x01\x01", u64::MAX);
        }
    }
}
