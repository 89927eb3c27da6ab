//! [`MmapDisk`]: the memory of one core's segments over real files.
//!
//! Frames are built in a tail image, anonymous memory of a whole segment, and leave it by the backend (`backend.rs`): by
//! the ring's writes, or at once by [`MmapDisk::do_now`]. When the log drops the image, reads go to the file's map, but
//! only where the storage thread has brought the bytes in: a core that touches a map anywhere else would wait for the disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use base::CoreId;
use base::limits::LOG_BLOCK_BYTES;
use memmap2::{Advice, Mmap, MmapMut};
use seglog::{Disk, DiskOp, OpError, OpResult, OpToken, RecoveredSegment, Slot};

use crate::ring::LogFiles;
use crate::storage::{Brings, Job, SegmentFile, StorageDone, StorageSender, Way, Work, open_segment, segment_path};

/// What is brought in and forgotten together.
const CHUNK_BYTES: u32 = 64 << 10;
/// Chunks taken to be in memory; older ones are forgotten and asked for again.
const CHUNKS_MAX: usize = 1024;

/// A slot in use: an image without a file until it is activated, a file without an image once it is dropped.
#[derive(Debug, Default)]
struct SlotMemory {
    image: Option<MmapMut>,
    segment: Option<SegmentFile>,
    /// How the image's frames reach the file.
    way: Way,
    /// One bit per chunk of the map.
    resident: Vec<u64>,
}

impl SlotMemory {
    fn has_chunks(&self, range: &Range<u32>) -> bool {
        let chunks = range.start / CHUNK_BYTES..range.end.div_ceil(CHUNK_BYTES);
        chunks
            .into_iter()
            .all(|chunk| self.resident.get(chunk as usize / 64).is_some_and(|bits| bits >> (chunk % 64) & 1 == 1))
    }
}

/// The memory of one core's segments.
///
/// The ring that writes from it must be dropped before it: until then writes may be under way from its images.
#[derive(Debug)]
pub struct MmapDisk {
    core: CoreId,
    dir: PathBuf,
    segment_bytes: u32,
    slots: Vec<Option<SlotMemory>>,
    /// Resident chunks, oldest first.
    chunks: VecDeque<(Slot, u32)>,
    /// Memory for the next image.
    spare: Option<MmapMut>,
    storage: StorageSender,
    /// Jobs that found the queue full.
    waiting: VecDeque<Job>,
}

impl MmapDisk {
    /// A disk without segments. `segment_bytes` is at most 1 GiB.
    #[must_use]
    pub fn new(core: CoreId, dir: PathBuf, segment_bytes: u64, storage: StorageSender) -> MmapDisk {
        let segment_bytes = u32::try_from(segment_bytes).expect("settings were checked: at most 1 GiB");
        let (slots, chunks, waiting) = (Vec::new(), VecDeque::new(), VecDeque::new());
        MmapDisk { core, dir, segment_bytes, slots, chunks, spare: None, storage, waiting }
    }

    /// Opens the segments that recovery found, for reading. Blocking; at boot.
    ///
    /// Errors: a file is gone, or another than it was.
    pub fn open_recovered(&mut self, segments: &[RecoveredSegment]) -> io::Result<()> {
        for recovered in segments {
            let file = open_segment(&segment_path(&self.dir, recovered.segment_seq))?;
            if file.metadata()?.len() != u64::from(self.segment_bytes) {
                return Err(io::Error::other("a log segment changed its size while it was recovered"));
            }
            let map = map_segment(&file)?;
            self.slot(recovered.slot).segment = Some(SegmentFile { file: Arc::new(file), map: Arc::new(map) });
        }
        Ok(())
    }

    /// Hands an operation that is not the ring's to the storage thread. Its end comes to the callback that the thread
    /// was started with. Panics for a ring operation.
    pub fn submit(&mut self, token: OpToken, op: DiskOp) {
        let work = match op {
            DiskOp::Prepare => Work::Prepare,
            DiskOp::Activate { slot, segment_seq, header } => Work::Activate { slot, segment_seq, header },
            DiskOp::Retire { slots } => Work::Retire { slots },
            DiskOp::WriteMeta { copies } => Work::WriteMeta { copies },
            DiskOp::FaultIn { slot, offset, bytes } => {
                let start = offset / CHUNK_BYTES * CHUNK_BYTES;
                let end = (offset + bytes).next_multiple_of(CHUNK_BYTES).min(self.segment_bytes);
                let segment = self.slot(slot).segment.clone().expect("only segments with a file are faulted in");
                Work::FaultIn { slot, segment, offset: start, bytes: end - start }
            }
            DiskOp::Write { .. } | DiskOp::Sync { .. } => panic!("the ring writes and syncs: {op:?}"),
        };
        self.send(Job::Work { core: self.core, token, work });
    }

    /// Carries out at once what needs no ring: a write where the backend is one that copies, and a sync of what the ring
    /// wrote, which is durable since those writes ended. The result goes to `SegLog::handle_op_done` in the same turn.
    /// `None` for what the ring does: `Ring::submit_disk`.
    pub fn do_now(&mut self, op: &DiskOp) -> Option<OpResult> {
        let (slot, written) = match *op {
            DiskOp::Write { slot, offset, bytes } => (slot, Some((offset, bytes))),
            DiskOp::Sync { slot, .. } => (slot, None),
            _ => return None,
        };
        let memory = self.slot(slot);
        let Some((offset, bytes)) = written else {
            return matches!(memory.way, Way::Ring).then_some(Ok(0));
        };
        let range = offset as usize..(offset + bytes) as usize;
        let image = memory.image.as_ref().expect("the log writes only from images");
        match &mut memory.way {
            Way::Ring => None,
            Way::Call => {
                let segment = memory.segment.as_ref().expect("the log writes only to activated segments");
                Some(write_now(&segment.file, &image[range], offset))
            }
            Way::Map(window) => {
                window[range.clone()].copy_from_slice(&image[range]);
                Some(Ok(bytes))
            }
        }
    }

    /// Takes over what the storage thread made, on the core's thread. What it returns goes to `SegLog::handle_op_done`.
    pub fn finish(&mut self, done: StorageDone) -> (OpToken, OpResult) {
        match done.brings {
            Brings::Nothing => {}
            Brings::Segment { slot, segment, way, spare } => {
                let memory = self.slot(slot);
                (memory.segment, memory.way) = (Some(segment), way);
                self.spare = self.spare.take().or(spare);
            }
            Brings::Resident { slot, offset, bytes } => self.note_resident(slot, offset..offset + bytes),
            Brings::Retired { slots } => {
                self.chunks.retain(|(slot, _)| !slots.contains(slot));
                for slot in slots {
                    if let Some(memory) = self.slots.get_mut(slot.0 as usize).and_then(Option::take) {
                        self.send(Job::Release {
                            core: self.core,
                            image: memory.image,
                            _way: memory.way,
                            _segment: memory.segment,
                        });
                    }
                }
            }
        }
        while let Some(job) = self.waiting.pop_front() {
            if let Err(job) = self.storage.send(job) {
                self.waiting.push_front(job);
                break;
            }
        }
        (done.token, done.result)
    }

    fn send(&mut self, job: Job) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(job);
        } else if let Err(job) = self.storage.send(job) {
            self.waiting.push_back(job);
        }
    }

    /// The slot, made if it is not in use.
    #[inline]
    fn slot(&mut self, slot: Slot) -> &mut SlotMemory {
        let at = slot.0 as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at].get_or_insert_with(SlotMemory::default)
    }

    fn memory(&self, slot: Slot) -> Option<&SlotMemory> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    fn note_resident(&mut self, slot: Slot, range: Range<u32>) {
        let words = (self.segment_bytes / CHUNK_BYTES).div_ceil(64) as usize;
        for chunk in range.start / CHUNK_BYTES..range.end.div_ceil(CHUNK_BYTES) {
            let memory = self.slot(slot);
            memory.resident.resize(words, 0);
            let (word, bit) = (chunk as usize / 64, 1 << (chunk % 64));
            if memory.resident[word] & bit == 0 {
                memory.resident[word] |= bit;
                self.chunks.push_back((slot, chunk));
            }
        }
        while self.chunks.len() > CHUNKS_MAX
            && let Some((slot, chunk)) = self.chunks.pop_front()
        {
            self.slot(slot).resident[chunk as usize / 64] &= !(1 << (chunk % 64));
        }
    }
}

impl Disk for MmapDisk {
    fn open_image(&mut self, slot: Slot, header: &[u8]) {
        let bytes = self.segment_bytes as usize;
        let new = || MmapMut::map_anon(bytes).expect("address space for a tail image; raise the limit on memory maps");
        let mut image = self.spare.take().unwrap_or_else(new);
        image[..header.len()].copy_from_slice(header);
        let memory = self.slot(slot);
        assert!(memory.image.is_none() && memory.segment.is_none(), "{slot:?} is in use");
        memory.image = Some(image);
    }

    #[inline]
    fn image_mut(&mut self, slot: Slot, range: Range<u32>) -> &mut [u8] {
        let image = self.slot(slot).image.as_mut().expect("the log writes only where it opened an image");
        &mut image[range.start as usize..range.end as usize]
    }

    fn slice(&self, slot: Slot, range: Range<u32>) -> Option<&[u8]> {
        let memory = self.memory(slot)?;
        let bytes = range.start as usize..range.end as usize;
        match (&memory.image, &memory.segment) {
            (Some(image), _) => Some(&image[bytes]),
            (None, Some(segment)) if memory.has_chunks(&range) => Some(&segment.map[bytes]),
            _ => None,
        }
    }

    fn drop_image(&mut self, slot: Slot) {
        // Freeing a segment's worth of pages takes its time: not on a core.
        let memory = self.slot(slot);
        let (image, way) = (memory.image.take(), std::mem::take(&mut memory.way));
        self.send(Job::Release { core: self.core, image, _way: way, _segment: None });
    }
}

// SAFETY: a descriptor and an image stay until the log drops them: by `drop_image` or `Retire`, both of which it asks for
// only after the Write and Sync of everything in that segment have ended (docs/design/log.md, "Life of a segment"), and
// `image_mut` gives out a closed frame never again. `image_ptr` checks its range. The ring is dropped first (see the
// type), so no write outlives this.
unsafe impl LogFiles for MmapDisk {
    fn raw_fd(&self, slot: Slot) -> RawFd {
        let segment = self.memory(slot).and_then(|memory| memory.segment.as_ref());
        segment.expect("the log writes only to activated segments").file.as_raw_fd()
    }

    fn image_ptr(&self, slot: Slot, offset: u32, bytes: u32) -> *const u8 {
        let image =
            self.memory(slot).and_then(|memory| memory.image.as_ref()).expect("the log writes only from images");
        image[offset as usize..][..bytes as usize].as_ptr()
    }
}

/// Maps a segment for reading.
pub(crate) fn map_segment(file: &File) -> io::Result<Mmap> {
    // SAFETY: segment files are never truncated or shrunk (they are recycled whole), so no page of the map ever vanishes.
    // Ranges that may still be written are not read through it: the log reads a segment's map only after it is sealed and
    // its writes are synced, and the storage thread brings a range in before that.
    let map = unsafe { Mmap::map(file)? };
    map.advise(Advice::Random)?;
    Ok(map)
}

/// One write through the page cache; a short one is the log's to continue.
fn write_now(file: &File, bytes: &[u8], offset: u32) -> OpResult {
    loop {
        match file.write_at(bytes, u64::from(offset)) {
            Ok(written) => return Ok(written as u32),
            // Nothing was written and nothing has failed.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(OpError::Errno(error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }
}

/// Maps the first `bytes` of a segment for appending. Its pages are brought in now, one by one, so that a store into them
/// reads nothing and a sync writes no more than was stored; where the limit on locked memory allows, they stay in.
///
/// Errors: any of the system's; bad sectors show here and not as a signal later.
pub(crate) fn map_window(file: &File, bytes: u64) -> io::Result<MmapMut> {
    // SAFETY: the descriptor is open for the call. The advice only starts reading.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, bytes as libc::off_t, libc::POSIX_FADV_WILLNEED) };
    // SAFETY: segment files are never truncated or shrunk, so no page of the map ever vanishes. The log stores each block
    // once, through this map alone, and reads the file's other map there only after this one was dropped (`drop_image`).
    let window = unsafe { memmap2::MmapOptions::new().len(bytes as usize).map_mut(file)? };
    match window.advise(Advice::PopulateRead) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => read_through_cache(file, 0, bytes as u32)?,
        done => done?,
    }
    // Refused is no failure: then the kernel may evict pages under pressure, and a store waits for a read.
    let _ = window.lock();
    Ok(window)
}

/// Brings a range of a map into memory, so that touching it does not wait; a bad sector is an error here and not a signal.
pub(crate) fn populate(file: &File, map: &Mmap, offset: u32, bytes: u32) -> io::Result<()> {
    match map.advise_range(Advice::PopulateRead, offset as usize, bytes as usize) {
        // Before Linux 5.14: fill the page cache instead; the touch is then a minor fault.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => read_through_cache(file, offset, bytes),
        done => done,
    }
}

fn read_through_cache(file: &File, offset: u32, bytes: u32) -> io::Result<()> {
    let cached = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut block = [0; LOG_BLOCK_BYTES];
    (offset..offset + bytes).step_by(LOG_BLOCK_BYTES).try_for_each(|at| cached.read_exact_at(&mut block, u64::from(at)))
}

/// Maps all of a file, to be written: what is stored is the page cache's at once.
pub(crate) fn map_file(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the caller is the file's only writer, has taken its blocks and never makes it shorter while it is mapped;
    // readers in other processes only read the file.
    unsafe { MmapMut::map_mut(file) }
}

/// Drops the clean cached pages of a file: the next read judges the disk.
pub(crate) fn drop_cache(file: &File) {
    // SAFETY: the descriptor is open for the call. The advice may be ignored (tmpfs); nothing depends on its result.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// Takes the space of a file at once, so that a full disk shows before anything is written.
///
/// Errors: no space; file systems that cannot do it say so by the writes that follow.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call and no memory is passed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if result == 0 => Ok(()),
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests;
