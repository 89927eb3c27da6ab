//! A disk whose writes are done at once and cost nothing, so that what is left is the log's own work.

use std::collections::VecDeque;
use std::ops::Range;

use base::Mono;
use seglog::{Disk, DiskOp, OpToken, SegLog, Settings, Slot, create};

/// The memory of a log's segments; nothing is kept anywhere else.
pub struct FlatDisk {
    segment_bytes: usize,
    images: Vec<Option<Vec<u8>>>,
    /// Of segments given up.
    spare: Vec<Vec<u8>>,
}

impl Disk for FlatDisk {
    fn open_image(&mut self, slot: Slot, header: &[u8]) {
        let at = slot.0 as usize;
        self.images.resize(self.images.len().max(at + 1), None);
        assert!(self.images[at].is_none(), "the slot is in use");
        let mut image = self.spare.pop().unwrap_or_else(|| vec![0; self.segment_bytes]);
        image[..header.len()].copy_from_slice(header);
        self.images[at] = Some(image);
    }

    fn image_mut(&mut self, slot: Slot, range: Range<u32>) -> &mut [u8] {
        let image = self.images[slot.0 as usize].as_mut().expect("the slot has an image");
        &mut image[range.start as usize..range.end as usize]
    }

    fn slice(&self, slot: Slot, range: Range<u32>) -> Option<&[u8]> {
        let image = self.images.get(slot.0 as usize)?.as_ref()?;
        Some(&image[range.start as usize..range.end as usize])
    }

    /// The image is its own map.
    fn drop_image(&mut self, _: Slot) {}
}

impl FlatDisk {
    /// Carries out an operation; returns the bytes that were written.
    pub fn perform(&mut self, op: &DiskOp) -> u32 {
        match op {
            DiskOp::Write { bytes, .. } => return *bytes,
            DiskOp::Retire { slots } => {
                for (slot, _) in slots {
                    self.spare.extend(self.images[slot.0 as usize].take());
                }
            }
            DiskOp::Sync { .. }
            | DiskOp::FaultIn { .. }
            | DiskOp::Prepare
            | DiskOp::Activate { .. }
            | DiskOp::WriteMeta { .. } => {}
        }
        0
    }
}

/// A new log with segments of so many bytes.
#[must_use]
pub fn new_log(segment_bytes: u64) -> SegLog<FlatDisk> {
    let settings = Settings { segment_bytes, log_bytes_max: 64 * segment_bytes, ..seglog::testing::test_settings() };
    let disk = FlatDisk { segment_bytes: segment_bytes as usize, images: Vec::new(), spare: Vec::new() };
    SegLog::start(create(&settings), settings, disk)
}

/// Ends the turn and carries out all that the log asks for, until it asks for nothing.
pub fn settle(log: &mut SegLog<FlatDisk>, now: Mono) {
    loop {
        log.handle_turn_end(now);
        let mut is_done = true;
        while let Some((token, op)) = log.poll_op() {
            let bytes = log.disk_mut().perform(&op);
            log.handle_op_done(token, Ok(bytes)).expect("this disk never fails");
            is_done = false;
        }
        if is_done {
            return;
        }
    }
}

/// Operations on their way.
pub type Waiting = VecDeque<(OpToken, DiskOp)>;
