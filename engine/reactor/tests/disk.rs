//! Log operations through the ring: bytes reach the file, errors come back as errors.

mod common;

use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};

use common::{Seen, collect, small};
use reactor::{LogFiles, Ring};
use seglog::{DiskOp, OpError, OpToken, Slot};

struct OneFile {
    file: File,
    image: Vec<u8>,
}

// SAFETY: both stay as they are until the test ends, which drops the ring first.
unsafe impl LogFiles for OneFile {
    fn raw_fd(&self, _: Slot) -> RawFd {
        self.file.as_raw_fd()
    }

    fn image_ptr(&self, _: Slot, offset: u32, bytes: u32) -> *const u8 {
        self.image[offset as usize..][..bytes as usize].as_ptr()
    }
}

const SLOT: Slot = Slot(0);

fn done(ring: &mut Ring, count: usize) -> Vec<(OpToken, Result<u32, OpError>)> {
    collect(ring, count, |seen| match seen {
        Seen::DiskDone(token, result) => Some((token, result)),
        other => panic!("{other:?}"),
    })
}

#[test]
fn written_and_synced_bytes_are_in_the_file_at_their_offset() {
    let path = tempfile::NamedTempFile::new().unwrap();
    let image: Vec<u8> = (0..1u32 << 20).map(|n| (n ^ (n >> 9)) as u8).collect();
    let files = OneFile { file: path.reopen().unwrap(), image };
    files.file.set_len(1 << 20).unwrap();
    let mut ring = Ring::new(&small()).unwrap();
    let spans = [(4096, 4096), (0, 4096), (65_536, 262_144), (1 << 19, 1 << 19)];
    for (n, &(offset, bytes)) in spans.iter().enumerate() {
        ring.submit_disk(OpToken(n as u64), &DiskOp::Write { slot: SLOT, offset, bytes }, &files);
    }
    let mut writes = done(&mut ring, 4);
    writes.sort_unstable_by_key(|(token, _)| token.0);
    for (n, (token, result)) in writes.into_iter().enumerate() {
        assert_eq!((token, result), (OpToken(n as u64), Ok(spans[n].1)));
    }
    for (n, &(offset, bytes)) in spans.iter().enumerate() {
        ring.submit_disk(OpToken(u64::MAX - n as u64), &DiskOp::Sync { slot: SLOT, offset, bytes }, &files);
    }
    let syncs = done(&mut ring, 4);
    assert!(syncs.iter().all(|(token, result)| token.0 > 4 && *result == Ok(0)));
    let written = std::fs::read(path.path()).unwrap();
    for (offset, bytes) in spans {
        let range = offset as usize..(offset + bytes) as usize;
        assert!(written[range.clone()] == files.image[range]);
    }
    assert!(written[8192..65_536].iter().all(|byte| *byte == 0), "nothing else was written");
    assert_eq!((ring.counters().writes, ring.counters().syncs), (4, 4));
}

#[test]
fn a_refused_write_tells_its_errno() {
    let path = tempfile::NamedTempFile::new().unwrap();
    let files = OneFile { file: File::open(path.path()).unwrap(), image: vec![1; 4096] };
    let mut ring = Ring::new(&small()).unwrap();
    ring.submit_disk(OpToken(5), &DiskOp::Write { slot: SLOT, offset: 0, bytes: 4096 }, &files);
    assert_eq!(done(&mut ring, 1), [(OpToken(5), Err(OpError::Errno(9)))], "EBADF: opened for reading");
}

#[test]
fn a_dropped_ring_waits_for_its_writes_and_syncs() {
    let path = tempfile::NamedTempFile::new().unwrap();
    let files = OneFile { file: path.reopen().unwrap(), image: vec![7; 1 << 20] };
    let mut ring = Ring::new(&small()).unwrap();
    for n in 0..16u32 {
        let (offset, bytes) = (n << 16, 1 << 16);
        ring.submit_disk(OpToken(u64::from(2 * n)), &DiskOp::Write { slot: SLOT, offset, bytes }, &files);
        ring.submit_disk(OpToken(u64::from(2 * n + 1)), &DiskOp::Sync { slot: SLOT, offset, bytes }, &files);
    }
    drop(ring);
}

#[test]
#[should_panic(expected = "the storage thread does this")]
fn an_operation_of_the_storage_thread_is_a_defect() {
    let files = OneFile { file: tempfile::tempfile().unwrap(), image: Vec::new() };
    Ring::new(&small()).unwrap().submit_disk(OpToken(0), &DiskOp::Prepare, &files);
}
