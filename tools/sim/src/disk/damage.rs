//! Damage to what is durable, and to the names of files: for cases that are made by hand and not drawn.

use std::ops::Range;

use super::SimDisk;
use super::file::{SECTOR_BYTES, SimFile};

/// How bytes are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spoil {
    /// One bit in each 64 bytes is another.
    Flip,
    /// They are zero.
    Zero,
    /// They are other bytes altogether.
    Garble,
    /// Their sectors cannot be read.
    Unreadable,
}

impl SimDisk {
    /// Spoils a durable range of a segment, as far as anything was ever written there. Units: bytes from segment start.
    ///
    /// Panics for a segment that is not there.
    pub fn spoil(&mut self, segment_seq: u64, range: Range<u32>, how: Spoil) {
        let at = self.place(segment_seq).expect("the segment is there");
        let file = &mut self.files[at].1;
        let end = (range.end as usize).min(file.written_end());
        let start = (range.start as usize).min(end);
        let mut bytes = vec![0; end - start];
        file.read(start, &mut bytes);
        match how {
            Spoil::Flip => bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 0x10),
            Spoil::Zero => bytes.fill(0),
            Spoil::Garble => {
                bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u8).wrapping_mul(37) ^ 0x5a)
            }
            Spoil::Unreadable => {
                return (start..end).step_by(SECTOR_BYTES).for_each(|at| file.make_unreadable(at as u32));
            }
        }
        file.put(start, &bytes);
    }

    /// From this byte on a segment holds what another disk's segment of that number does: what its file held before it was used
    /// again. Unit: bytes from segment start.
    ///
    /// Panics for a segment that is not there.
    pub fn age(&mut self, segment_seq: u64, from: u32, older: &SimDisk, theirs: u64) {
        let theirs = &older.files[older.place(theirs).expect("the older segment is there")].1;
        let at = self.place(segment_seq).expect("the segment is there");
        let mut bytes = vec![0; theirs.written_end().max(self.files[at].1.written_end()) - from as usize];
        theirs.read(from as usize, &mut bytes);
        self.files[at].1.put(from as usize, &bytes);
    }

    /// Takes a segment's file away; false when it is not there.
    pub fn remove_segment(&mut self, segment_seq: u64) -> bool {
        self.place(segment_seq).map(|at| self.files.remove(at)).is_some()
    }

    /// Gives a segment's file another name, in place of what had it; false when it is not there.
    pub fn rename_segment(&mut self, from: u64, to: u64) -> bool {
        let Some(at) = self.place(from) else { return false };
        let (_, file) = self.files.remove(at);
        self.put_segment(to, file);
        true
    }

    /// Two files change their names; false when one is not there.
    pub fn swap_segments(&mut self, one: u64, other: u64) -> bool {
        let (Some(one), Some(other)) = (self.place(one), self.place(other)) else { return false };
        if one == other {
            return false;
        }
        let kept = std::mem::take(&mut self.files[one].1);
        self.files[one].1 = std::mem::replace(&mut self.files[other].1, kept);
        true
    }

    /// A segment's file is that of another disk; false when that has none of this name.
    pub fn take_segment(&mut self, from: &SimDisk, theirs: u64, own: u64) -> bool {
        let Some(at) = from.place(theirs) else { return false };
        self.put_segment(own, from.files[at].1.clone());
        true
    }

    fn put_segment(&mut self, segment_seq: u64, file: SimFile) {
        self.remove_segment(segment_seq);
        let at = self.files.partition_point(|(seq, _)| *seq < segment_seq);
        self.files.insert(at, (segment_seq, file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spoiled_bytes_are_others_and_their_neighbours_are_not() {
        let mut disk = SimDisk::default();
        let mut file = SimFile::default();
        file.put(0, &[7; 4096]);
        disk.put_segment(1, file);
        let read = |disk: &SimDisk| {
            let mut out = [0; 4096];
            disk.read(1, 0, &mut out).map(|()| out)
        };
        disk.spoil(1, 512..1024, Spoil::Zero);
        let bytes = read(&disk).expect("it can be read");
        assert!(
            bytes[512..1024].iter().all(|byte| *byte == 0) && bytes[..512] == [7; 512] && bytes[1024..] == [7; 3072]
        );
        disk.spoil(1, 512..1024, Spoil::Unreadable);
        assert!(read(&disk).is_err());
        assert!(disk.rename_segment(1, 4) && read(&disk).is_err() && disk.segment_seqs().eq([4]));
    }
}
