//! File commits as rows: what a commit of a file leaves in two of its tables.

use base::Prng;
use meta::RowBatch;

/// Bytes of the first row's key and value: a name in a folder, and what is known of the file.
pub const DIRENT: (usize, usize) = (40, 110);
/// Bytes of the second row's key and value.
const NODE: (usize, usize) = (20, 36);

/// Makes batches of commits, the same for the same number of paths.
#[derive(Debug)]
pub struct Load {
    dice: Prng,
    paths: u64,
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    batch: RowBatch,
}

impl Load {
    /// Over so many paths.
    #[must_use]
    pub fn new(paths: u64) -> Load {
        Load { dice: Prng::new(1), paths, rows: Vec::new(), batch: RowBatch::default() }
    }

    /// The rows of the next commits, in key order, no key twice: as the machine gives them.
    pub fn next_batch(&mut self, commits: usize) -> &RowBatch {
        let Load { rows, batch, .. } = self;
        rows.clear();
        for _ in 0..commits {
            let (path, content) = (self.dice.below(self.paths), self.dice.next_u64());
            for (table, (key_bytes, value_bytes)) in [(0x11, DIRENT), (0x12, NODE)] {
                rows.push((key(table, key_bytes, path), Some(value(value_bytes, content))));
            }
        }
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        rows.dedup_by(|one, other| one.0 == other.0);
        batch.clear();
        rows.iter().for_each(|(key, value)| batch.push(key, value.as_deref()));
        batch
    }
}

/// `table u8 | spread number u64 BE | text`: neighbours in time lie far apart, as files of many people do.
#[must_use]
pub fn key(table: u8, bytes: usize, path: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    out.push(table);
    out.extend_from_slice(&path.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    out.extend((out.len()..bytes).map(|at| b'a' + (at as u64 % 23) as u8));
    out
}

/// Bytes that do not compress, the same for the same number.
#[must_use]
pub fn value(bytes: usize, content: u64) -> Vec<u8> {
    let mut dice = Prng::new(content);
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        out.extend_from_slice(&dice.next_u64().to_le_bytes());
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_sorted_and_has_two_rows_of_the_promised_bytes_for_each_path() {
        let mut load = Load::new(10_000);
        let rows = load.next_batch(500).clone();
        assert!(rows.iter().is_sorted_by(|one, other| one.0 < other.0));
        assert!(rows.len() > 900 && rows.len() <= 1000 && rows.len().is_multiple_of(2));
        let bytes = |(key, value): (&[u8], Option<&[u8]>)| key.len() + value.map_or(0, <[u8]>::len);
        assert!(rows.iter().all(|row| [150, 56].contains(&bytes(row))));
        assert_ne!(*load.next_batch(500), rows);
    }
}
