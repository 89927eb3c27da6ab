//! What recovery reads: the files as they are after the crash.

use seglog::{FoundSegment, LogReader};

use super::SimDisk;

/// Reads a core's log directory.
pub struct SimLogReader<'a> {
    disk: &'a SimDisk,
}

impl<'a> SimLogReader<'a> {
    /// A reader of this directory.
    #[must_use]
    pub fn new(disk: &'a SimDisk) -> SimLogReader<'a> {
        SimLogReader { disk }
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
        self.disk.read(segment_seq, offset as u32, out)
    }
}
