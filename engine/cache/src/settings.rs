//! How large a cache of one core is, and how its memory is divided.
//!
//! ```text
//! | segments | one line of 128 B per group | 1,024 stripes per group | buckets ...
//! ```

use base::limits::CACHE_STRIPES;
use thiserror::Error;

use crate::layout::{BUCKET_WORDS, SEGMENT_WORDS_MAX, SEGMENTS_MAX, SLOTS};

/// Below this a cache cannot turn over: two open segments, two free, some to be evicted.
pub(crate) const SEGMENTS_MIN: usize = 6;
/// Words of a group's line.
pub(crate) const GROUP_WORDS: usize = 16;
/// Of 25 slots this many are meant to be live: beyond it two choices of bucket find both full too often.
const LIVE_OF_25: usize = 22;
/// A node's cache below this has small segments.
const SMALL_BYTES: usize = 1 << 30;

/// What one core's cache is made with; equal for its writer and readers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Groups of the cluster.
    pub groups: u32,
    /// Cores of each node.
    pub cores: u16,
    /// Bytes of a segment: a multiple of 8, at most 2 MiB. See [`segment_bytes_for`].
    pub segment_bytes: usize,
    /// Bytes that a usual item takes in its segment, which decides how many buckets there are.
    pub item_bytes: usize,
    /// The largest item, in bytes of its segment; larger answers are not cached.
    pub item_bytes_max: usize,
    /// Keys the hash. Drawn anew at each start.
    pub seed: u64,
    /// A reader counts one hit of `sample_mask + 1`; 0 counts all.
    pub sample_mask: u64,
}

/// Bytes of a segment when the caches of a node's cores have so many together.
#[must_use]
pub fn segment_bytes_for(node_bytes: usize) -> usize {
    if node_bytes < SMALL_BYTES { 256 << 10 } else { 1 << 20 }
}

impl Settings {
    /// The usual settings, for a node of so many bytes of cache.
    #[must_use]
    pub fn new(groups: u32, cores: u16, node_bytes: usize, seed: u64) -> Settings {
        let segment_bytes = segment_bytes_for(node_bytes);
        // A key of 40 bytes with a value of 200 takes 256.
        Settings {
            groups,
            cores,
            segment_bytes,
            item_bytes: 256,
            item_bytes_max: segment_bytes / 16,
            seed,
            sample_mask: 0,
        }
    }

    /// Groups that one core has at most.
    #[must_use]
    pub fn places(&self) -> usize {
        (self.groups as usize).div_ceil(usize::from(self.cores))
    }

    pub(crate) fn segment_words(&self) -> usize {
        self.segment_bytes / 8
    }

    /// How `words` of memory are divided.
    pub(crate) fn plan(&self, words: usize) -> Result<Plan, SettingsError> {
        let segment_words = self.segment_words();
        let is_shape = self.segment_bytes.is_multiple_of(8) && (1..=SEGMENT_WORDS_MAX).contains(&segment_words);
        if self.groups == 0 || self.cores == 0 || !is_shape {
            return Err(SettingsError::Shape);
        }
        if self.item_bytes_max > self.segment_bytes || self.item_bytes == 0 {
            return Err(SettingsError::Item);
        }
        let fixed = self.places() * (GROUP_WORDS + CACHE_STRIPES);
        let items = self.segment_bytes.div_ceil(self.item_bytes);
        let bucket_words = (items * 25).div_ceil(SLOTS * LIVE_OF_25) * BUCKET_WORDS;
        let each = segment_words + bucket_words;
        let segments = words.saturating_sub(fixed) / each;
        if segments < SEGMENTS_MIN {
            return Err(SettingsError::TooSmall { needed: (fixed + SEGMENTS_MIN * each) * 8 });
        }
        let segments = segments.min(SEGMENTS_MAX as usize);
        Ok(Plan { segments, buckets: (segments * bucket_words / BUCKET_WORDS).min(u32::MAX as usize) })
    }
}

/// How memory is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub segments: usize,
    pub buckets: usize,
}

/// Why a cache cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SettingsError {
    /// Groups, cores or segments have no possible size.
    #[error("groups and cores must be above 0, and a segment 8 bytes to 2 MiB in steps of 8; mend the settings")]
    Shape,
    /// An item would not fit into a segment, or is empty.
    #[error("an item must have at least a byte and fit into a segment; lower item_bytes_max")]
    Item,
    /// Not enough memory for six segments with their buckets, and the lines of the groups.
    #[error("a core's cache needs at least {needed} bytes here; raise cache_bytes, or switch the cache off with 0")]
    TooSmall {
        /// Bytes that would do.
        needed: usize,
    },
}
