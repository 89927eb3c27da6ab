//! What the disk gives without a log: direct writes and syncs through a ring of its own, and nothing else. The other arm of
//! the log's benchmark; no part of a node.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use base::Prng;
use base::limits::LOG_BLOCK_BYTES;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use memmap2::MmapMut;

use crate::setup::{self, Machine};
use crate::storage::{open_segment, write_zeros};

/// Entries of its ring: one operation is in flight.
const ENTRIES: u32 = 64;
/// Memory that its frames come from, one behind the other.
const ROUND_BYTES: usize = 64 << 20;

/// Writes frames one behind the other into a file that was written once, each followed by its sync; begins anew at the end.
/// Their bytes are random and come from memory that goes round as well, as large as a segment: a log's bytes are new each
/// time, and the device reads them from cold memory.
#[derive(Debug)]
pub struct RawWriter {
    uring: RingOfOne,
    file: File,
    image: MmapMut,
    file_bytes: u32,
    offset: u32,
}

/// So that the writer has a `Debug` of its own.
struct RingOfOne(IoUring);

impl std::fmt::Debug for RingOfOne {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IoUring")
    }
}

impl RawWriter {
    /// Makes the file, written with zeros and synced, and a ring on the calling thread with the flags of a core's.
    ///
    /// Shape: `file_bytes` and `frame_bytes_max` are whole blocks. Errors: any of the system's.
    pub fn create(path: &Path, file_bytes: u32, frame_bytes_max: u32) -> io::Result<RawWriter> {
        write_zeros(path, u64::from(file_bytes))?;
        let file = open_segment(path)?;
        let (uring, _) =
            setup::create(ENTRIES, 4 * ENTRIES, &Machine::read(), setup::build).map_err(io::Error::other)?;
        let mut image = MmapMut::map_anon(ROUND_BYTES + frame_bytes_max as usize)?;
        let mut dice = Prng::new(1);
        image.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&dice.next_u64().to_le_bytes()));
        Ok(RawWriter { uring: RingOfOne(uring), file, image, file_bytes, offset: 0 })
    }

    /// Writes a frame and syncs its range.
    ///
    /// Shape: whole blocks, at most what it was made for. Errors: either failed, or the write was short.
    pub fn commit(&mut self, bytes: u32) -> io::Result<()> {
        assert!(
            (bytes as usize).is_multiple_of(LOG_BLOCK_BYTES) && bytes as usize <= self.image.len() - ROUND_BYTES,
            "{bytes} is no frame"
        );
        if self.offset + bytes > self.file_bytes {
            self.offset = 0;
        }
        let fd = Fd(self.file.as_raw_fd());
        let at = self.offset as usize % ROUND_BYTES;
        let write = opcode::Write::new(fd, self.image[at..at + bytes as usize].as_ptr(), bytes)
            .offset(u64::from(self.offset))
            .build();
        let written = self.run(&write)?;
        if written != bytes {
            return Err(io::Error::other(format!("a write of {bytes} bytes stopped after {written}")));
        }
        let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).offset(u64::from(self.offset)).len(bytes);
        self.run(&sync.build())?;
        self.offset += bytes;
        Ok(())
    }

    /// Submits one operation and waits for its end.
    fn run(&mut self, entry: &squeue::Entry) -> io::Result<u32> {
        let uring = &mut self.uring.0;
        // SAFETY: the entry names the file and the image, which live as long as `self`, and its end is waited for below:
        // no operation is in the kernel when this returns, so neither can be dropped or written meanwhile.
        unsafe { uring.submission().push(entry) }.expect("one operation is in flight, the queue holds more");
        loop {
            match uring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing of ours may stay in the kernel: an error here is a defect of this program.
                Err(error) => panic!("io_uring_enter failed: {error}"),
                Ok(_) => {}
            }
            if let Some(done) = uring.completion().next() {
                let result = done.result();
                return u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_one_behind_the_other_and_begin_anew_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        let mut writer = RawWriter::create(&path, 12 << 10, 8 << 10).unwrap();
        writer.commit(8 << 10).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert!(first[..8 << 10] == writer.image[..8 << 10] && first[8 << 10..].iter().all(|byte| *byte == 0));
        writer.commit(8 << 10).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first, "it did not fit, and began anew");
        writer.commit(4 << 10).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), writer.image[..12 << 10]);
    }
}
