//! Block 0 of a segment: whose it is, which it is, and the salt that tells its frames from recycled bytes.
//!
//! ```text
//!  0 "DSLOGSEG"        8 u16 format = 1   10 u16 block_bytes = 4096   12 u16 core   14 u16 flags = 0
//! 16 u64 segment_seq  24 u64 salt         32 u64 prev_segment_seq     40 u64 base_frame_seq
//! 48 u32 segment_blocks   52 u32 zero     56 u64 created_us           64 [16] cluster_id   80 [16] node_uuid
//! 96 zero             4092 u32 crc of 0..4092
//! ```

use base::bytes::{get_array, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::checksum::crc32c;
use base::limits::LOG_BLOCK_BYTES;
use base::{ClusterId, CoreId, NodeUuid};

use super::{FORMAT, is_zero};

const MAGIC: &[u8; 8] = b"DSLOGSEG";
const CRC_AT: usize = LOG_BLOCK_BYTES - 4;

/// The header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The core whose log it is.
    pub core: CoreId,
    /// Names the segment; never reused.
    pub segment_seq: u64,
    /// Fresh for each use of the file.
    pub salt: u64,
    /// The segment before; 0 for none.
    pub prev_segment_seq: u64,
    /// No frame in here has a lower frame_seq.
    pub base_frame_seq: u64,
    /// Size in blocks, this one included.
    pub segment_blocks: u32,
    /// Microseconds since 1970, for people only; 0 when not told.
    pub created_us: u64,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The data directory.
    pub node_uuid: NodeUuid,
}

/// Why a block is not a segment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SegmentHeaderError {
    /// Not 4096 bytes, wrong magic or wrong crc.
    #[error("segment header is damaged")]
    Damaged,
    /// Another version; a newer release wrote it.
    #[error("segment header has format {0}; this release reads format 1")]
    Format(u16),
    /// A reserved byte is not zero or a constant is another.
    #[error("segment header has a bad reserved field")]
    Reserved,
}

impl SegmentHeader {
    /// The block, 4096 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; LOG_BLOCK_BYTES];
        out[..8].copy_from_slice(MAGIC);
        put_u16(&mut out, 8, FORMAT);
        put_u16(&mut out, 10, LOG_BLOCK_BYTES as u16);
        put_u16(&mut out, 12, self.core.0);
        put_u64(&mut out, 16, self.segment_seq);
        put_u64(&mut out, 24, self.salt);
        put_u64(&mut out, 32, self.prev_segment_seq);
        put_u64(&mut out, 40, self.base_frame_seq);
        put_u32(&mut out, 48, self.segment_blocks);
        put_u64(&mut out, 56, self.created_us);
        out[64..80].copy_from_slice(&self.cluster_id.0);
        out[80..96].copy_from_slice(&self.node_uuid.0);
        let crc = crc32c(&out[..CRC_AT]);
        put_u32(&mut out, CRC_AT, crc);
        out
    }

    /// Parses a block.
    ///
    /// Errors: [`SegmentHeaderError`]; the version is told apart from damage.
    pub fn parse(block: &[u8]) -> Result<SegmentHeader, SegmentHeaderError> {
        use SegmentHeaderError::*;
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
        let fixed = get_u16(block, 10) == Some(LOG_BLOCK_BYTES as u16);
        if !fixed || !is_zero(&block[14..16]) || !is_zero(&block[52..56]) || !is_zero(&block[96..CRC_AT]) {
            return Err(Reserved);
        }
        Ok(SegmentHeader {
            core: CoreId(get_u16(block, 12).ok_or(Damaged)?),
            segment_seq: get_u64(block, 16).ok_or(Damaged)?,
            salt: get_u64(block, 24).ok_or(Damaged)?,
            prev_segment_seq: get_u64(block, 32).ok_or(Damaged)?,
            base_frame_seq: get_u64(block, 40).ok_or(Damaged)?,
            segment_blocks: get_u32(block, 48).ok_or(Damaged)?,
            created_us: get_u64(block, 56).ok_or(Damaged)?,
            cluster_id: ClusterId(get_array(block, 64).ok_or(Damaged)?),
            node_uuid: NodeUuid(get_array(block, 80).ok_or(Damaged)?),
        })
    }
}
