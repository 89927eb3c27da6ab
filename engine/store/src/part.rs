//! One part of a snapshot in flight: rows of a group in key order, without group and life.
//!
//! ```text
//! rows u32 | reserved u32 | per row: key_bytes u16, reserved u16, value_bytes u32, key, value
//! only the last part, behind its rows: part_count u32 | reserved u32 | xxh3-128 of all bodies u128
//! ```
//! Little-endian. The key begins with the table byte. The hash covers every part without that end, in order.

use base::limits::{KEY_BYTES_MAX, SNAPSHOT_PART_BYTES_MAX, VALUE_BYTES_MAX};
use xxhash_rust::xxh3::Xxh3;

const HEAD_BYTES: usize = 8;
const ROW_HEAD_BYTES: usize = 8;
const END_BYTES: usize = 24;

// Any single row fits an empty part, so a snapshot always moves on.
const _: () =
    assert!(HEAD_BYTES + ROW_HEAD_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX + END_BYTES <= SNAPSHOT_PART_BYTES_MAX);

/// Fills one part.
pub(crate) struct PartWriter {
    body: Vec<u8>,
    rows: u32,
}

impl PartWriter {
    pub(crate) fn new() -> PartWriter {
        PartWriter { body: vec![0; HEAD_BYTES], rows: 0 }
    }

    /// Adds a row; false when it no longer fits and opens the next part.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        if self.body.len() + ROW_HEAD_BYTES + key.len() + value.len() + END_BYTES > SNAPSHOT_PART_BYTES_MAX {
            return false;
        }
        self.body.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.body.extend_from_slice(&[0; 2]);
        self.body.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.body.extend_from_slice(key);
        self.body.extend_from_slice(value);
        self.rows += 1;
        true
    }

    /// The part's bytes; `hash` has taken all bodies before and takes this one. `parts` is given with the last part.
    pub(crate) fn finish(mut self, hash: &mut Xxh3, parts: Option<u32>) -> Vec<u8> {
        self.body[..4].copy_from_slice(&self.rows.to_le_bytes());
        hash.update(&self.body);
        if let Some(parts) = parts {
            self.body.extend_from_slice(&parts.to_le_bytes());
            self.body.extend_from_slice(&[0; 4]);
            self.body.extend_from_slice(&hash.digest128().to_le_bytes());
        }
        self.body
    }
}

/// A part that a peer sent is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartError {
    #[error("the part ends inside a row or has bytes beyond its rows")]
    Length,
    #[error("a reserved field is not 0")]
    Reserved,
    #[error("a key of {key} or a value of {value} bytes is out of bounds")]
    Bounds { key: usize, value: usize },
    #[error("rows are not in key order")]
    Order,
    #[error("{got} parts where {wanted} were sent")]
    Count { got: u32, wanted: u32 },
    #[error("the hash of the rows differs from the sender's")]
    Hash,
}

/// Takes the parts of one snapshot in order and checks them.
pub(crate) struct PartReader {
    hash: Xxh3,
    parts: u32,
    last_key: Vec<u8>,
}

impl PartReader {
    pub(crate) fn new() -> PartReader {
        PartReader { hash: Xxh3::new(), parts: 0, last_key: Vec::new() }
    }

    /// Gives each row of the next part to `row`; with `last` the count and the hash must agree as well.
    pub(crate) fn take(&mut self, part: &[u8], last: bool, mut row: impl FnMut(&[u8], &[u8])) -> Result<(), PartError> {
        let (body, end) = if last {
            let split = part.len().checked_sub(END_BYTES).ok_or(PartError::Length)?;
            part.split_at(split)
        } else {
            (part, &[][..])
        };
        self.hash.update(body);
        self.parts += 1;
        let mut rest = body;
        let (rows, reserved) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
        if reserved != 0 {
            return Err(PartError::Reserved);
        }
        for _ in 0..rows {
            let (lengths, value_bytes) = (take_u32(&mut rest)?, take_u32(&mut rest)? as usize);
            let key_bytes = (lengths & 0xffff) as usize;
            if lengths >> 16 != 0 {
                return Err(PartError::Reserved);
            }
            if key_bytes == 0 || key_bytes > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
                return Err(PartError::Bounds { key: key_bytes, value: value_bytes });
            }
            let (key, value) = (take(&mut rest, key_bytes)?, take(&mut rest, value_bytes)?);
            if key <= self.last_key.as_slice() {
                return Err(PartError::Order);
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            row(key, value);
        }
        if !rest.is_empty() {
            return Err(PartError::Length);
        }
        if last { self.check_end(end) } else { Ok(()) }
    }

    fn check_end(&self, mut end: &[u8]) -> Result<(), PartError> {
        let (wanted, reserved) = (take_u32(&mut end)?, take_u32(&mut end)?);
        let hash: [u8; 16] = end.try_into().map_err(|_| PartError::Length)?;
        if reserved != 0 {
            return Err(PartError::Reserved);
        }
        if wanted != self.parts {
            return Err(PartError::Count { got: self.parts, wanted });
        }
        if u128::from_le_bytes(hash) != self.hash.digest128() {
            return Err(PartError::Hash);
        }
        Ok(())
    }
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], PartError> {
    let (head, tail) = rest.split_at_checked(bytes).ok_or(PartError::Length)?;
    *rest = tail;
    Ok(head)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, PartError> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(PartError::Length)?;
    *rest = tail;
    Ok(u32::from_le_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_parts() -> [Vec<u8>; 2] {
        let mut hash = Xxh3::new();
        let mut first = PartWriter::new();
        assert!(first.push(&[0x10, 1], b"ab"));
        assert!(first.push(&[0x10, 2], b""));
        let mut second = PartWriter::new();
        assert!(second.push(&[0x20], b"z"));
        [first.finish(&mut hash, None), second.finish(&mut hash, Some(2))]
    }

    fn read(parts: &[Vec<u8>]) -> Result<meta::Rows, PartError> {
        let mut reader = PartReader::new();
        let mut rows = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            reader.take(part, at + 1 == parts.len(), |key, value| rows.push((key.to_vec(), value.to_vec())))?;
        }
        Ok(rows)
    }

    #[test]
    fn parts_have_the_bytes_of_the_design() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let [first, second] = two_parts();
        assert_eq!(hex(&first), "0200000000000000020000000200000010016162020000000000000010 02".replace(' ', ""));
        let (rows, end) = second.split_at(second.len() - END_BYTES);
        assert_eq!(hex(rows), "01000000000000000100000001000000207a");
        assert_eq!(hex(end), GOLDEN_END);
    }
    const GOLDEN_END: &str = "0200000000000000708071f206456bd7de0868aa9b30b199";

    #[test]
    fn parts_come_back_as_they_were_sent() {
        let rows = read(&two_parts()).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2], (vec![0x20], b"z".to_vec()));
    }

    #[test]
    fn any_flipped_byte_of_a_part_is_noticed() {
        let good = two_parts();
        for at in 0..2 {
            for byte in 0..good[at].len() {
                let mut bad = good.clone();
                bad[at][byte] ^= 0x04;
                assert!(read(&bad).is_err(), "part {at} byte {byte}");
            }
        }
        assert_eq!(read(&good[1..]), Err(PartError::Count { got: 1, wanted: 2 }));
        assert_eq!(read(&[good[1].clone(), good[0].clone()]), Err(PartError::Length));
    }

    #[test]
    fn a_part_that_claims_too_many_rows_is_refused_without_reading_beyond_it() {
        let mut part = vec![0xff; 4];
        part.extend_from_slice(&[0; 4]);
        assert_eq!(PartReader::new().take(&part, false, |_, _| {}), Err(PartError::Length));
        assert_eq!(PartReader::new().take(&[], true, |_, _| {}), Err(PartError::Length));
    }
}
