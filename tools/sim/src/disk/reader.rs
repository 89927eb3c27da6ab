//! What recovery reads: the files as they are after the crash.

use seglog::{FoundSegment, LogReader};

use base::limits::LOG_BLOCK_BYTES;

use super::{Misread, SimDisk};

/// Reads a core's log directory.
pub struct SimLogReader<'a> {
    disk: &'a SimDisk,
    misread: Option<Misread>,
}

impl<'a> SimLogReader<'a> {
    /// A reader of this directory.
    #[must_use]
    pub fn new(disk: &'a SimDisk) -> SimLogReader<'a> {
        SimLogReader { disk, misread: None }
    }

    /// One read of this block brings another.
    #[must_use]
    pub fn misreading(disk: &'a SimDisk, misread: Option<Misread>) -> SimLogReader<'a> {
        SimLogReader { disk, misread }
    }
}

impl LogReader for SimLogReader<'_> {
    fn meta(&mut self) -> std::io::Result<[Option<Vec<u8>>; 4]> {
        Ok(self.disk.meta().clone().map(Some))
    }

    fn free(&mut self) -> std::io::Result<u32> {
        Ok(self.disk.free_files())
    }

    fn segments(&mut self) -> std::io::Result<Vec<FoundSegment>> {
        let bytes = self.disk.segment_bytes() as u64;
        Ok(self.disk.segment_seqs().map(|segment_seq| FoundSegment { segment_seq, bytes }).collect())
    }

    fn written_end(&mut self, segment_seq: u64) -> std::io::Result<u64> {
        Ok(self.disk.written_end(segment_seq))
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.disk.read(segment_seq, offset as u32, out)?;
        let covers = |misread: &mut Misread| {
            let at = u64::from(misread.at);
            misread.segment_seq == segment_seq
                && offset <= at
                && at + LOG_BLOCK_BYTES as u64 <= offset + out.len() as u64
        };
        let is_now = |misread: &mut Misread| {
            let is_read = covers(misread);
            let is_now = is_read && misread.after == 0;
            misread.after -= u32::from(is_read && !is_now);
            is_now
        };
        if let Some(misread) = self.misread.take_if(is_now) {
            let at = (u64::from(misread.at) - offset) as usize;
            out[at..at + LOG_BLOCK_BYTES].copy_from_slice(&self.disk.misread_block(&misread));
        }
        Ok(())
    }
}
