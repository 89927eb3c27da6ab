//! One data block out of a table's file: read, checked, decompressed into memory that the caller has.
//!
//! The crate's way makes two pieces of memory for each block and hashes the head by streaming; a lookup is mostly that.
//!
//! ```text
//! block in a file: 0 "LSM" 3   4 type u8, 0 for data   5 u128 xxh3-128 of what follows the head   21 u32 bytes of that
//!   25 u32 bytes when decompressed   29 u32 the lowest part of xxh3-128 over bytes 0..29   33 ..
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use base::bytes::{get_array, get_u32};
use lsm_tree::CompressionType;
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: &[u8] = b"LSM\x03\0";
const HEAD_BYTES: usize = 33;
/// Far above a block with the largest row.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// A block was not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    Io(io::Error),
    /// The bytes are not those of a data block, or not those that were written.
    Malformed,
}

/// Where a data block lies in its file, and how. Units: bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockPlace {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) compression: CompressionType,
}

/// Sets `out` to the rows of a block. `raw` is room for what the file has.
pub(crate) fn load(file: &File, place: BlockPlace, raw: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), LoadError> {
    let bytes = place.bytes as usize;
    if !(HEAD_BYTES..=BLOCK_BYTES_MAX).contains(&bytes) {
        return Err(LoadError::Malformed);
    }
    if raw.len() < bytes {
        raw.resize(bytes, 0);
    }
    let raw = &mut raw[..bytes];
    file.read_exact_at(raw, place.offset).map_err(|error| match error.kind() {
        // The file is shorter than its index says.
        io::ErrorKind::UnexpectedEof => LoadError::Malformed,
        _ => LoadError::Io(error),
    })?;
    unpack(raw, place.compression, out).ok_or(LoadError::Malformed)
}

fn unpack(raw: &[u8], compression: CompressionType, out: &mut Vec<u8>) -> Option<()> {
    let (head, body) = raw.split_at_checked(HEAD_BYTES)?;
    let is_whole = head.starts_with(MAGIC)
        && get_u32(head, 29)? == xxh3_128(&head[..29]) as u32
        && get_u32(head, 21)? as usize == body.len()
        && u128::from_le_bytes(get_array(head, 5)?) == xxh3_128(body);
    let bytes = get_u32(head, 25)? as usize;
    if !is_whole || bytes > BLOCK_BYTES_MAX {
        return None;
    }
    match compression {
        CompressionType::None => {
            out.clear();
            out.extend_from_slice(body);
        }
        CompressionType::Lz4 => {
            out.resize(bytes, 0);
            // The bytes are those that were compressed: that was checked above.
            lz4_flex::block::decompress_into(body, out).ok()?;
        }
    }
    (out.len() == bytes).then_some(())
}

#[cfg(test)]
mod tests {
    use lsm_tree::table::Block;
    use lsm_tree::table::block::BlockType;

    use super::*;

    fn write(rows: &[u8], kind: BlockType, compression: CompressionType) -> Vec<u8> {
        let mut bytes = Vec::new();
        Block::write_into(&mut bytes, rows, kind, compression).unwrap();
        bytes
    }

    #[test]
    fn a_block_that_the_crate_wrote_is_read_from_its_place_in_a_file() {
        let rows: Vec<u8> = (0..5000_u32).map(|at| (at * at / 7) as u8).collect();
        let mut out = vec![9; 9000];
        for compression in [CompressionType::None, CompressionType::Lz4] {
            let block = write(&rows, BlockType::Data, compression);
            let path = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(path.path(), [&[1; 77], block.as_slice()].concat()).unwrap();
            let file = File::open(path.path()).unwrap();
            let place = BlockPlace { offset: 77, bytes: block.len() as u32, compression };
            load(&file, place, &mut Vec::new(), &mut out).unwrap();
            assert_eq!(out, rows);
            let behind = BlockPlace { offset: 78, ..place };
            assert!(matches!(load(&file, behind, &mut Vec::new(), &mut out), Err(LoadError::Malformed)));
            let empty = BlockPlace { bytes: 0, ..place };
            assert!(matches!(load(&file, empty, &mut Vec::new(), &mut out), Err(LoadError::Malformed)));
        }
    }

    #[test]
    fn a_byte_that_changed_anywhere_is_met() {
        let rows: Vec<u8> = (0..700_u32).map(|at| (at % 50) as u8).collect();
        for compression in [CompressionType::None, CompressionType::Lz4] {
            let mut block = write(&rows, BlockType::Data, compression);
            for at in 0..block.len() {
                block[at] ^= 0x10;
                assert!(unpack(&block, compression, &mut Vec::new()).is_none(), "byte {at}");
                block[at] ^= 0x10;
            }
            assert!(unpack(&block, compression, &mut Vec::new()).is_some());
            assert!(unpack(&block[..20], compression, &mut Vec::new()).is_none());
        }
        let index = write(&rows, BlockType::Index, CompressionType::None);
        assert!(unpack(&index, CompressionType::None, &mut Vec::new()).is_none(), "no data block");
    }
}
