//! How a store is opened, and why it may refuse.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::CoreId;

/// Called from the store's threads whenever an event was queued: it rings the core's doorbell.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Says how many bytes are free on the file system of the store; called off-core, about once a second.
pub type SpaceProbe = Arc<dyn Fn() -> std::io::Result<u64> + Send + Sync>;

/// What [`crate::LsmStore::open`] needs to know.
#[derive(Clone)]
pub struct OpenSettings {
    /// `DATA/store`; the tree of a core lives in `c<core>` below it, made when absent.
    pub dir: PathBuf,
    /// Whose store this is.
    pub core: CoreId,
    /// Bytes at which a memtable should be frozen; up to three live at once. 64 MiB by default, 8 MiB for `dev`.
    pub memtable_bytes: usize,
    /// Bytes of rows kept on the core after they were read ahead. 64 MiB by default.
    pub cache_bytes: usize,
    /// Bytes of table blocks kept: three quarters by the reading thread, the rest by the crate, through which snapshots are
    /// read. 128 MiB by default; a share of the memory plan.
    pub block_cache_bytes: u64,
    /// Table files kept open. 128 by default; a compaction opens a few more while it runs.
    pub descriptor_files: usize,
    /// Asks for free space; `None`: nobody knows, and only a write that fails shows that the disk is full.
    pub space: Option<SpaceProbe>,
    /// Free bytes below which the store says that it has no room: what is left is for flushes and compaction.
    pub space_reserve_bytes: u64,
    /// Bytes a second that the scrub reads at most; 0: there is none. 16 MiB by default.
    pub scrub_bytes_per_second: u64,
    /// From the begin of one scrub of all tables to that of the next. A day by default.
    pub scrub_every: Duration,
    /// A damaged table that is met while the store is opened is taken out, and its groups with it; else the open fails.
    pub heals: bool,
    /// Rung when an event was queued.
    pub wake: Wake,
}

impl OpenSettings {
    /// The defaults of a server.
    #[must_use]
    pub fn new(dir: PathBuf, core: CoreId, wake: Wake) -> OpenSettings {
        OpenSettings {
            dir,
            core,
            memtable_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            block_cache_bytes: 128 << 20,
            descriptor_files: 128,
            space: None,
            space_reserve_bytes: 0,
            scrub_bytes_per_second: 16 << 20,
            scrub_every: Duration::from_secs(24 * 3600),
            heals: true,
            wake,
        }
    }

    /// The defaults of `dev`, where three nodes share one process and its files.
    #[must_use]
    pub fn dev(dir: PathBuf, core: CoreId, wake: Wake) -> OpenSettings {
        OpenSettings {
            memtable_bytes: 8 << 20,
            cache_bytes: 16 << 20,
            block_cache_bytes: 16 << 20,
            descriptor_files: 64,
            ..OpenSettings::new(dir, core, wake)
        }
    }

    /// Of `block_cache_bytes`, what the reading thread keeps.
    pub(crate) fn reader_cache_bytes(&self) -> usize {
        (self.block_cache_bytes - self.tree_cache_bytes()) as usize
    }

    /// Of `block_cache_bytes`, what the crate keeps. A quarter: the index of a large table must fit a part of it.
    pub(crate) fn tree_cache_bytes(&self) -> u64 {
        self.block_cache_bytes / 4
    }

    /// Where the tree lives.
    #[must_use]
    pub fn tree_dir(&self) -> PathBuf {
        self.dir.join(format!("c{}", self.core))
    }
}

impl fmt::Debug for OpenSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSettings")
            .field("dir", &self.dir)
            .field("core", &self.core)
            .field("memtable_bytes", &self.memtable_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .field("block_cache_bytes", &self.block_cache_bytes)
            .field("descriptor_files", &self.descriptor_files)
            .field("space_reserve_bytes", &self.space_reserve_bytes)
            .field("scrub_bytes_per_second", &self.scrub_bytes_per_second)
            .field("scrub_every", &self.scrub_every)
            .finish_non_exhaustive()
    }
}

/// A store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory could not be made, read or synced.
    #[error("could not open the store in {dir}: {source}; check the disk and the permissions")]
    Io {
        /// The tree's directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Bytes on disk are not what was written; nothing of this store can be trusted.
    #[error("the store in {dir} is corrupt: {what}; replace this node's data, its groups come back by snapshot")]
    Corrupt {
        /// The tree's directory.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// A thread could not be started.
    #[error("could not start a thread of the store in {dir}: {source}; raise the limit of processes")]
    Thread {
        /// The tree's directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
