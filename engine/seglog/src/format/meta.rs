//! `meta`: four copies of one 4 KiB block, at 0, 16, 32 and 48 KiB; the one with the highest `meta_seq` holds.
//!
//! ```text
//!  0 "DSLOGMET"   8 u16 format   10 u16 copy 0..3   12 u16 core   14 u16 cores   16 u64 meta_seq
//! 24 u64 oldest_segment_seq     32 u64 newest_segment_seq        40 u64 persisted_seq when written
//! 48 u32 segment_blocks   52 u32 next life   56 u64 zero   64 [16] cluster_id   80 [16] node_uuid
//! 96 zero   4092 u32 crc of 0..4092
//! ```

use base::bytes::{get_array, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::checksum::crc32c;
use base::limits::LOG_BLOCK_BYTES;
use base::{ClusterId, CoreId, NodeUuid};

use super::{FORMAT, is_zero};

const MAGIC: &[u8; 8] = b"DSLOGMET";
const CRC_AT: usize = LOG_BLOCK_BYTES - 4;

/// How many copies there are.
pub const META_COPIES: usize = 4;
/// Bytes from the start of one copy to the start of the next.
pub const META_STRIDE: u64 = 16 << 10;

/// What the log says of itself outside its segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// The core whose log it is.
    pub core: CoreId,
    /// Cores of the node; fixed at format.
    pub cores: u16,
    /// Rises with each write.
    pub meta_seq: u64,
    /// Older names are leftovers of a retirement.
    pub oldest_segment_seq: u64,
    /// At least this one exists; one below the oldest when there is none yet.
    pub newest_segment_seq: u64,
    /// Frames up to here were persisted when this was written.
    pub persisted_seq: u64,
    /// Size of every segment, in blocks.
    pub segment_blocks: u32,
    /// No life at or above this was given out.
    pub next_life: u32,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The data directory.
    pub node_uuid: NodeUuid,
}

/// Why a block is not a copy of `meta`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetaError {
    /// Not 4096 bytes, wrong magic, crc or reserved byte.
    #[error("copy of meta is damaged")]
    Damaged,
    /// Another version; a newer release wrote it.
    #[error("meta has format {0}; this release reads format 1")]
    Format(u16),
}

impl Meta {
    /// The four copies, 4096 bytes each.
    #[must_use]
    pub fn encode_copies(&self) -> [Vec<u8>; META_COPIES] {
        [0, 1, 2, 3].map(|copy| self.encode(copy))
    }

    fn encode(&self, copy: u16) -> Vec<u8> {
        let mut out = vec![0; LOG_BLOCK_BYTES];
        out[..8].copy_from_slice(MAGIC);
        put_u16(&mut out, 8, FORMAT);
        put_u16(&mut out, 10, copy);
        put_u16(&mut out, 12, self.core.0);
        put_u16(&mut out, 14, self.cores);
        put_u64(&mut out, 16, self.meta_seq);
        put_u64(&mut out, 24, self.oldest_segment_seq);
        put_u64(&mut out, 32, self.newest_segment_seq);
        put_u64(&mut out, 40, self.persisted_seq);
        put_u32(&mut out, 48, self.segment_blocks);
        put_u32(&mut out, 52, self.next_life);
        out[64..80].copy_from_slice(&self.cluster_id.0);
        out[80..96].copy_from_slice(&self.node_uuid.0);
        let crc = crc32c(&out[..CRC_AT]);
        put_u32(&mut out, CRC_AT, crc);
        out
    }

    /// Parses one copy, which must say that it is copy number `copy`.
    ///
    /// Errors: [`MetaError`].
    pub fn parse(block: &[u8], copy: u16) -> Result<Meta, MetaError> {
        use MetaError::*;
        if block.len() != LOG_BLOCK_BYTES
            || &block[..8] != MAGIC
            || get_u32(block, CRC_AT) != Some(crc32c(&block[..CRC_AT]))
        {
            return Err(Damaged);
        }
        let format = get_u16(block, 8).ok_or(Damaged)?;
        if format != FORMAT {
            return Err(Format(format));
        }
        if get_u16(block, 10) != Some(copy) || !is_zero(&block[56..64]) || !is_zero(&block[96..CRC_AT]) {
            return Err(Damaged);
        }
        Ok(Meta {
            core: CoreId(get_u16(block, 12).ok_or(Damaged)?),
            cores: get_u16(block, 14).ok_or(Damaged)?,
            meta_seq: get_u64(block, 16).ok_or(Damaged)?,
            oldest_segment_seq: get_u64(block, 24).ok_or(Damaged)?,
            newest_segment_seq: get_u64(block, 32).ok_or(Damaged)?,
            persisted_seq: get_u64(block, 40).ok_or(Damaged)?,
            segment_blocks: get_u32(block, 48).ok_or(Damaged)?,
            next_life: get_u32(block, 52).ok_or(Damaged)?,
            cluster_id: ClusterId(get_array(block, 64).ok_or(Damaged)?),
            node_uuid: NodeUuid(get_array(block, 80).ok_or(Damaged)?),
        })
    }

    /// The copy that holds: the valid one with the highest `meta_seq`. `Ok(None)` when no copy is valid.
    ///
    /// Errors: [`MetaError::Format`] when a copy is whole and of another version.
    pub fn newest(copies: &[Option<Vec<u8>>; META_COPIES]) -> Result<Option<Meta>, MetaError> {
        let mut best: Option<Meta> = None;
        for (copy, block) in copies.iter().enumerate() {
            let Some(block) = block else { continue };
            match Meta::parse(block, copy as u16) {
                Ok(meta) if best.is_none_or(|best| best.meta_seq < meta.meta_seq) => best = Some(meta),
                Ok(_) | Err(MetaError::Damaged) => {}
                Err(error @ MetaError::Format(_)) => return Err(error),
            }
        }
        Ok(best)
    }
}
