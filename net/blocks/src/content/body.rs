//! The bytes of one call as they come, and the memory for blocks made of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::limits::{BLOCK_BYTES, BLOCK_MEMORY_BYTES_MAX, BLOCKS_IN_FLIGHT_MAX};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why a body ended early. Nothing of it was committed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended, or the bytes were no body; the words say which.
    #[error("the body ended early: {0}")]
    Truncated(String),
    /// Nothing came for too long.
    #[error("the body came too slowly")]
    Slow,
}

/// The body of a call: pieces of any sizes, in order.
pub trait Body: Send {
    /// The next piece; `None` after the last one. Not called again after an error.
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, BodyError>>> + Send;

    /// Bytes in all, where the sender has told.
    fn length(&self) -> Option<u64>;
}

/// No bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyBody;

impl Body for EmptyBody {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        None
    }

    fn length(&self) -> Option<u64> {
        Some(0)
    }
}

/// Leases are counted in this unit.
const UNIT_BYTES: u64 = 1024;

/// The memory of a server for blocks of content calls: a bound over all calls, and one for each.
///
/// A call takes a lease for a block before it fills it, and holds at most one that is not on its way to the store; what
/// is on its way comes back by itself. So calls that wait for memory never wait for each other.
#[derive(Debug)]
pub struct BlockMemory {
    units: Arc<Semaphore>,
    held: AtomicU64,
    peak: AtomicU64,
}

impl Default for BlockMemory {
    fn default() -> BlockMemory {
        let units = Arc::new(Semaphore::new((BLOCK_MEMORY_BYTES_MAX as u64 / UNIT_BYTES) as usize));
        BlockMemory { units, held: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }
}

impl BlockMemory {
    /// Bytes leased now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The most that was ever leased at once, in bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// The share of one call: so many blocks at once.
    pub(crate) fn share(self: &Arc<BlockMemory>) -> MemoryShare {
        let blocks = Arc::new(Semaphore::new(BLOCKS_IN_FLIGHT_MAX));
        MemoryShare { memory: Arc::clone(self), blocks }
    }
}

/// What one call may hold.
#[derive(Clone, Debug)]
pub(crate) struct MemoryShare {
    memory: Arc<BlockMemory>,
    blocks: Arc<Semaphore>,
}

impl MemoryShare {
    /// Waits until `bytes`, at most a block, may be held.
    pub(crate) async fn lease(&self, bytes: u64) -> BlockLease {
        const CLOSED: &str = "these semaphores are never closed";
        let bytes = bytes.clamp(1, BLOCK_BYTES);
        let block = Arc::clone(&self.blocks).acquire_owned().await.expect(CLOSED);
        let count = bytes.div_ceil(UNIT_BYTES) as u32;
        let units = Arc::clone(&self.memory.units).acquire_many_owned(count).await.expect(CLOSED);
        let held = self.memory.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.memory.peak.fetch_max(held, Ordering::Relaxed);
        BlockLease { memory: Arc::clone(&self.memory), bytes, units, _block: block }
    }
}

/// Memory for one block; given back when dropped.
#[derive(Debug)]
pub(crate) struct BlockLease {
    memory: Arc<BlockMemory>,
    bytes: u64,
    units: OwnedSemaphorePermit,
    _block: OwnedSemaphorePermit,
}

impl BlockLease {
    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.max(1);
        if bytes < self.bytes {
            let spare = self.units.num_permits() - bytes.div_ceil(UNIT_BYTES) as usize;
            drop(self.units.split(spare));
            self.memory.held.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for BlockLease {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_holds_four_blocks_at_most_and_what_it_gives_back_is_free() {
        let memory = Arc::new(BlockMemory::default());
        let share = memory.share();
        let mut leases = Vec::new();
        for _ in 0..BLOCKS_IN_FLIGHT_MAX {
            leases.push(share.lease(BLOCK_BYTES).await);
        }
        assert_eq!(memory.held_bytes(), 4 * BLOCK_BYTES);
        tokio::select! {
            biased;
            _ = share.lease(1) => panic!("a fifth block"),
            () = std::future::ready(()) => {}
        }
        leases[0].shrink(10);
        assert_eq!(memory.held_bytes(), 3 * BLOCK_BYTES + 10);
        leases.clear();
        assert_eq!((memory.held_bytes(), memory.peak_bytes()), (0, 4 * BLOCK_BYTES));
        assert_eq!(memory.units.available_permits(), BLOCK_MEMORY_BYTES_MAX / 1024);
        drop(share.lease(1).await);
    }
}
