//! What a core's log is told at boot, and the `meta` that format writes for a new one.

use base::limits::{ENTRY_BYTES_MAX, LOG_BLOCK_BYTES};
use base::{ClusterId, CoreId, NodeUuid};

use crate::format::meta::{META_COPIES, Meta};

/// The smallest segment this room works with, for simulated disks. A node takes no less than
/// [`base::limits::SEGMENT_BYTES_MIN`], with which every entry fits.
pub const SEGMENT_BYTES_LEAST: u64 = 256 << 10;
/// The largest segment.
const SEGMENT_BYTES_MOST: u64 = 1 << 30;

/// Identity and sizes of one core's log. All but the last three are fixed at format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The data directory.
    pub node_uuid: NodeUuid,
    /// Whose log this is.
    pub core: CoreId,
    /// Cores of the node.
    pub cores: u16,
    /// Bytes of one segment; a power of two, 256 KiB to 1 GiB. [`Settings::entry_bytes_max`] follows from it.
    pub segment_bytes: u64,
    /// Bytes of live segments, near which proposals are refused; at least 8 segments.
    pub log_bytes_max: u64,
    /// Random, from the caller, fresh at each boot: the salts of new segments are drawn from it.
    pub salt_seed: u64,
    /// 1, or 2: the next frames are written while a sync runs.
    pub batches_in_flight: u8,
}

/// Settings that no log can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not a power of two from 256 KiB to 1 GiB.
    #[error("log segment size {0} is not a power of two from 256 KiB to 1 GiB; choose one")]
    SegmentBytes(u64),
    /// Fewer than 8 segments.
    #[error("log size limit {log_bytes_max} is below 8 segments of {segment_bytes} bytes; raise it")]
    LogBytes {
        /// As set.
        log_bytes_max: u64,
        /// As set.
        segment_bytes: u64,
    },
    /// The core is not one of the cores.
    #[error("core {core} is not below the core count {cores}")]
    Core {
        /// As set.
        core: CoreId,
        /// As set.
        cores: u16,
    },
}

impl Settings {
    /// Checks the sizes.
    ///
    /// Errors: [`SettingsError`].
    pub fn check(&self) -> Result<(), SettingsError> {
        let bytes = self.segment_bytes;
        if !bytes.is_power_of_two() || !(SEGMENT_BYTES_LEAST..=SEGMENT_BYTES_MOST).contains(&bytes) {
            return Err(SettingsError::SegmentBytes(bytes));
        }
        if self.log_bytes_max < 8 * bytes {
            return Err(SettingsError::LogBytes { log_bytes_max: self.log_bytes_max, segment_bytes: bytes });
        }
        if self.core.0 >= self.cores {
            return Err(SettingsError::Core { core: self.core, cores: self.cores });
        }
        Ok(())
    }

    /// The largest payload of an entry: a quarter of a segment less a block, at most [`ENTRY_BYTES_MAX`]. Segments of
    /// 4 MiB and more take every entry; whoever chooses smaller ones must bound what is proposed by this.
    #[must_use]
    pub fn entry_bytes_max(&self) -> usize {
        (self.segment_bytes as usize / 4 - LOG_BLOCK_BYTES).min(ENTRY_BYTES_MAX)
    }

    /// Blocks of a segment.
    pub(crate) fn segment_blocks(&self) -> u32 {
        (self.segment_bytes / LOG_BLOCK_BYTES as u64) as u32
    }

    pub(crate) fn first_meta(&self) -> Meta {
        Meta {
            core: self.core,
            cores: self.cores,
            meta_seq: 1,
            oldest_segment_seq: 1,
            newest_segment_seq: 0,
            persisted_seq: 0,
            segment_blocks: self.segment_blocks(),
            next_life: 1,
            cluster_id: self.cluster_id,
            node_uuid: self.node_uuid,
        }
    }
}

/// The four copies of `meta` of a log that holds nothing yet: format writes them, and recovery then finds an empty log.
#[must_use]
pub fn format_meta(settings: &Settings) -> [Vec<u8>; META_COPIES] {
    settings.first_meta().encode_copies()
}
