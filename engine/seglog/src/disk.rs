//! The seam between deciding and doing: what the log asks, and the memory it works in.
//!
//! ```text
//!  shard ──append/truncate──▶ SegLog ──poll_op()──▶ DiskOp ──▶ reactor (ring, storage thread)
//!    ▲                          │ ▲                                  │
//!    └── persisted_seq, slices ─┘ └── handle_op_done(token, result) ─┘
//! ```

use std::ops::Range;

/// A segment's place in this process: its file, tail image and map. Reused after `Retire`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u32);

/// Names a [`DiskOp`] until it is done; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OpToken(pub u64);

/// The memory of one core's segments.
pub trait Disk {
    /// Gives `slot` a tail image of a whole segment whose block 0 is `header` (4096 bytes), at once: records may be placed
    /// before the file exists. Its other bytes may be anything: the log fills in all that it asks to be written.
    /// [`DiskOp::Activate`] of the same slot brings the file; no write is asked for before that is done. Panics for a slot
    /// in use.
    fn open_image(&mut self, slot: Slot, header: &[u8]);

    /// The open part of the tail image of an active segment: anonymous memory, 4 KiB aligned.
    /// Units: bytes from segment start. Panics for a slot that has no image.
    fn image_mut(&mut self, slot: Slot, range: Range<u32>) -> &mut [u8];

    /// Bytes that are in memory now: from the tail image while it lives, else from the map of a sealed segment if that
    /// range was faulted in. `None` means: ask for [`DiskOp::FaultIn`] first.
    fn slice(&self, slot: Slot, range: Range<u32>) -> Option<&[u8]>;

    /// The tail image of a sealed segment is no longer needed; reads go to the map from now on.
    fn drop_image(&mut self, slot: Slot);
}

/// What the log wants done. Ring operations must not block the core; the storage thread may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOp {
    /// Ring: write these bytes of the tail image to the file at the same offset; 4 KiB aligned. Done with the bytes
    /// written; a short write is continued by the log.
    Write {
        /// Where.
        slot: Slot,
        /// Bytes from segment start.
        offset: u32,
        /// How many.
        bytes: u32,
    },
    /// Ring: fdatasync of the range. Covers only writes completed before it was handed out.
    Sync {
        /// Where.
        slot: Slot,
        /// Bytes from segment start.
        offset: u32,
        /// How many.
        bytes: u32,
    },
    /// Storage thread: bring the range of a sealed segment into memory, so that `slice` answers.
    FaultIn {
        /// Where.
        slot: Slot,
        /// Bytes from segment start.
        offset: u32,
        /// How many.
        bytes: u32,
    },
    /// Storage thread: make one more file of full size, fully written with zeros and synced, in `free/`. ENOSPC is an
    /// answer here ([`OpError::NoSpace`]) and not a failure of the log.
    Prepare,
    /// Storage thread: take a prepared file (or make one), write `header` to its block 0, sync, rename it to
    /// `seg-<segment_seq:016x>.log`, sync the directory, open it in `slot`, beside the tail image that is there already.
    Activate {
        /// The slot to fill; free until now.
        slot: Slot,
        /// Names the file.
        segment_seq: u64,
        /// Block 0, 4096 bytes.
        header: Vec<u8>,
    },
    /// Storage thread: rename these files into `free/` (oldest first), one directory sync for all; close their slots.
    Retire {
        /// Oldest first, with their sequence numbers.
        slots: Vec<(Slot, u64)>,
    },
    /// Storage thread: write copies 0 and 1, sync, copies 2 and 3, sync. `copy` is 4096 bytes whose copy number (byte
    /// 10) and crc (bytes 4092..) are already those of each of the four.
    WriteMeta {
        /// The four copies, 4096 bytes each.
        copies: [Vec<u8>; 4],
    },
}

impl DiskOp {
    /// True for what the ring does; the storage thread does the rest.
    #[must_use]
    pub fn is_ring(&self) -> bool {
        matches!(self, DiskOp::Write { .. } | DiskOp::Sync { .. })
    }
}

/// How an operation ended.
pub type OpResult = Result<u32, OpError>;

/// Why an operation did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpError {
    /// `Prepare` or `Activate` found no space.
    #[error("no space left for another log segment")]
    NoSpace,
    /// The system refused; nothing is retried.
    #[error("errno {0}")]
    Errno(i32),
}

/// A segment file as recovery finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundSegment {
    /// From the name.
    pub segment_seq: u64,
    /// The file's size.
    pub bytes: u64,
}

/// What recovery reads from: blocking, before the core starts. It writes nothing.
pub trait LogReader {
    /// The four copies of `meta`, each 4096 bytes where readable.
    fn meta(&mut self) -> std::io::Result<[Option<Vec<u8>>; 4]>;

    /// How many prepared files wait in `free/`.
    fn free(&mut self) -> std::io::Result<u32> {
        Ok(0)
    }

    /// Files named `seg-*.log`, ascending.
    fn segments(&mut self) -> std::io::Result<Vec<FoundSegment>>;

    /// Nothing but zeros lies in a segment from this byte on, as far as that is known without reading: recovery reads no
    /// further. The default knows nothing.
    fn written_end(&mut self, segment_seq: u64) -> std::io::Result<u64> {
        let _ = segment_seq;
        Ok(u64::MAX)
    }

    /// Reads `out.len()` bytes of a segment from the disk, not from what only the page cache holds.
    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()>;
}
