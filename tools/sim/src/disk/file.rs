//! One file: what is durable, and what was written since in the order in which it was completed.

use std::ops::Range;

use base::Prng;

use super::image::Content;

pub(super) const SECTOR_BYTES: usize = 512;

/// A write that is complete and not durable.
#[derive(Clone, Debug)]
struct Volatile {
    offset: u32,
    bytes: Vec<u8>,
    /// Its place among all writes completed on this disk.
    sequence: u64,
}

/// What lay where a write went whose sync lied.
#[derive(Clone, Debug)]
struct Undo {
    offset: u32,
    before: Vec<u8>,
    sequence: u64,
}

/// A file of full size; zero where nothing was ever written.
#[derive(Clone, Debug, Default)]
pub(super) struct SimFile {
    /// The durable content up to the last byte ever written.
    durable: Content,
    volatile: Vec<Volatile>,
    /// What a power cut brings back: everybody reads the newer bytes, and the device has them in its cache alone.
    undo: Vec<Undo>,
    /// Sectors that cannot be read.
    unreadable: Vec<u32>,
}

impl SimFile {
    /// A write is complete.
    pub fn write(&mut self, offset: u32, bytes: Vec<u8>, sequence: u64) {
        self.volatile.push(Volatile { offset, bytes, sequence });
    }

    /// Writes up to `sequence` are durable; the buffers of these go to `spare`.
    pub fn sync(&mut self, sequence: u64, spare: &mut Vec<Vec<u8>>) {
        let mut at = 0;
        while let Some(write) = self.volatile.get(at) {
            if write.sequence > sequence {
                at += 1;
                continue;
            }
            // In order of completion: `remove` keeps it.
            let write = self.volatile.remove(at);
            self.put(write.offset as usize, &write.bytes);
            spare.push(write.bytes);
        }
        self.undo.retain(|undo| undo.sequence > sequence);
    }

    /// As [`SimFile::sync`], for all who read; the device has put nothing where a power cut would leave it.
    pub fn sync_in_cache(&mut self, sequence: u64, spare: &mut Vec<Vec<u8>>) {
        let is_covered = |write: &&Volatile| write.sequence <= sequence;
        let mut undo = std::mem::take(&mut self.undo);
        for write in self.volatile.iter().filter(is_covered) {
            let range = write.offset..write.offset + write.bytes.len() as u32;
            let mut before = self.durable_in(&range).to_vec();
            before.resize(range.len(), 0);
            undo.push(Undo { offset: write.offset, before, sequence: write.sequence });
        }
        self.sync(sequence, spare);
        self.undo = undo;
    }

    /// The writes since the last sync are gone and the old content is back.
    pub fn forget(&mut self, spare: &mut Vec<Vec<u8>>) {
        spare.extend(self.volatile.drain(..).map(|write| write.bytes));
    }

    /// Power is cut: each sector that is not durable gets there or not, by itself.
    pub fn cut(&mut self, dice: &mut Prng, keep_per_1024: u64, spare: &mut Vec<Vec<u8>>) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            self.put_some(undo.offset, &undo.before, |_| dice.below(1024) >= keep_per_1024);
        }
        for write in std::mem::take(&mut self.volatile) {
            self.put_some(write.offset, &write.bytes, |_| dice.below(1024) < keep_per_1024);
            spare.push(write.bytes);
        }
    }

    /// Makes those sectors of a write durable for which `keeps` says so; it is called with the sector's place in it.
    pub fn put_some(&mut self, offset: u32, bytes: &[u8], mut keeps: impl FnMut(usize) -> bool) {
        for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if keeps(at) {
                self.put(offset as usize + at * SECTOR_BYTES, sector);
            }
        }
    }

    /// Durable at once. What was unreadable is readable where it is written.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.durable.len() < offset {
            self.durable.grow().resize(offset, 0);
        }
        let (over, beyond) = bytes.split_at(bytes.len().min(self.durable.len() - offset));
        self.durable[offset..offset + over.len()].copy_from_slice(over);
        self.durable.grow().extend_from_slice(beyond);
        if !self.unreadable.is_empty() {
            self.unreadable.retain(|sector| {
                let at = *sector as usize * SECTOR_BYTES;
                at + SECTOR_BYTES <= offset || end <= at
            });
        }
    }

    /// A sector that cannot be read any more.
    pub fn make_unreadable(&mut self, offset: u32) {
        let sector = offset / SECTOR_BYTES as u32;
        if !self.unreadable.contains(&sector) {
            self.unreadable.push(sector);
        }
    }

    /// Flips bits of a durable sector; false when nothing was ever written there.
    pub fn rot(&mut self, sector: u32, dice: &mut Prng) -> bool {
        let at = sector as usize * SECTOR_BYTES;
        let Some(bytes) = self.durable.get_mut(at..at + SECTOR_BYTES) else { return false };
        for _ in 0..=dice.below(8) {
            bytes[dice.below(SECTOR_BYTES as u64) as usize] ^= 1 << dice.below(8);
        }
        true
    }

    /// Sectors up to the last one ever written.
    pub fn sectors(&self) -> u32 {
        (self.durable.len() / SECTOR_BYTES) as u32
    }

    /// Nothing was ever written from here on.
    pub fn written_end(&self) -> usize {
        let volatile = self.volatile.iter().map(|write| write.offset as usize + write.bytes.len()).max();
        self.durable.len().max(volatile.unwrap_or(0))
    }

    /// True when a part of the range cannot be read.
    pub fn is_unreadable(&self, range: Range<u32>) -> bool {
        self.unreadable.iter().any(|sector| {
            let at = sector * SECTOR_BYTES as u32;
            at < range.end && range.start < at + SECTOR_BYTES as u32
        })
    }

    /// What a reader sees: the newest completed content.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let end = (offset + out.len()).min(self.durable.len());
        let have = end.saturating_sub(offset);
        if have > 0 {
            out[..have].copy_from_slice(&self.durable[offset..end]);
        }
        out[have..].fill(0);
        for write in &self.volatile {
            let (start, stop) = (write.offset as usize, write.offset as usize + write.bytes.len());
            let (from, to) = (start.max(offset), stop.min(offset + out.len()));
            if from < to {
                out[from - offset..to - offset].copy_from_slice(&write.bytes[from - start..to - start]);
            }
        }
    }

    /// The durable bytes of a range, as a map shows them; grows the content with zeros so that the range exists.
    pub fn bring_in(&mut self, range: Range<u32>) {
        if self.durable.len() < range.end as usize {
            self.durable.grow().resize(range.end as usize, 0);
        }
    }

    /// The durable bytes of a range that was brought in.
    pub fn map(&self, range: Range<u32>) -> &[u8] {
        &self.durable[range.start as usize..range.end as usize]
    }

    /// The durable bytes of a range as far as it was ever written.
    pub fn durable_in(&self, range: &Range<u32>) -> &[u8] {
        let end = (range.end as usize).min(self.durable.len());
        &self.durable[(range.start as usize).min(end)..end]
    }

    /// Nobody reads it any more: what a device has of it in its cache is of no interest.
    pub fn handle_retired(&mut self) {
        self.undo.clear();
    }

    /// Nothing waits for a sync.
    pub fn is_settled(&self) -> bool {
        self.volatile.is_empty()
    }
}
