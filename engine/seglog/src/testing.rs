//! An in-memory twin of the disk, for the tests of this room and of the rooms above.
//!
//! It keeps, per file, what was synced and the writes since. A power cut ([`MemDisk::crash`]) keeps any subset of the
//! unsynced 512-byte sectors; the death of the process ([`MemDisk::kill`]) keeps them all. Files are sparse, so 4 MiB
//! segments cost what is written in them.
//!
//! ```
//! use seglog::testing::{MemDisk, MemLogReader, run_ops, test_settings};
//! let settings = test_settings();
//! let mut log = seglog::SegLog::start(seglog::create(&settings), settings.clone(), MemDisk::new(&settings));
//! log.handle_turn_end(base::Mono(1));
//! run_ops(&mut log);
//! let disk = log.disk();
//! assert!(seglog::recover(&mut MemLogReader::new(disk), &settings).is_ok());
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use base::limits::LOG_BLOCK_BYTES;
use base::{ClusterId, CoreId, Mono, NodeUuid, Prng};

use crate::disk::{Disk, DiskOp, FoundSegment, LogReader, OpError, OpResult, Slot};
use crate::log::SegLog;
use crate::settings::{Settings, format_meta};

const SECTOR_BYTES: usize = 512;

/// Settings of the smallest log that takes every entry: one core, segments of 4 MiB, at most 16 of them. Segments down to
/// [`crate::SEGMENT_BYTES_LEAST`] are taken too.
#[must_use]
pub fn test_settings() -> Settings {
    Settings {
        cluster_id: ClusterId([1; 16]),
        node_uuid: NodeUuid([2; 16]),
        core: CoreId(0),
        cores: 1,
        segment_bytes: 4 << 20,
        log_bytes_max: 64 << 20,
        salt_seed: 7,
        batches_in_flight: 1,
    }
}

/// Carries out all operations that the log asks for, ending turns, until it asks for none: all is then persisted and
/// echoed or about to be. Time stands still. Panics when the log fails.
pub fn run_ops(log: &mut SegLog<MemDisk>) {
    loop {
        log.handle_turn_end(log.now);
        let mut is_done = true;
        while let Some((token, op)) = log.poll_op() {
            let result = log.disk_mut().perform(&op);
            log.handle_op_done(token, result).expect("the twin fails only when it was told to");
            is_done = false;
        }
        if is_done {
            return;
        }
    }
}

/// As [`run_ops`], with time moved on far enough for the closing echo.
pub fn run_ops_until_echoed(log: &mut SegLog<MemDisk>) {
    run_ops(log);
    log.handle_turn_end(Mono(log.now.0 + 10_000_000));
    run_ops(log);
}

/// A file: blocks that are on disk, and writes that are not yet.
#[derive(Clone, Default, Debug)]
struct MemFile {
    synced: BTreeMap<u32, Vec<u8>>,
    unsynced: Vec<(u32, Vec<u8>)>,
    /// Blocks that cannot be read.
    unreadable: BTreeSet<u32>,
}

impl MemFile {
    fn write_sector(&mut self, offset: usize, sector: &[u8]) {
        let block = self.synced.entry((offset / LOG_BLOCK_BYTES) as u32).or_insert_with(|| vec![0; LOG_BLOCK_BYTES]);
        block[offset % LOG_BLOCK_BYTES..][..sector.len()].copy_from_slice(sector);
    }

    /// Makes unsynced sectors durable where `keep` says so; forgets the others.
    fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if keep() {
                    self.write_sector(offset as usize + at * SECTOR_BYTES, sector);
                }
            }
        }
    }

    /// Where the last block that was ever written ends.
    fn written_end(&self) -> usize {
        let synced = self.synced.last_key_value().map_or(0, |(block, _)| (*block as usize + 1) * LOG_BLOCK_BYTES);
        let unreadable = self.unreadable.last().map_or(0, |block| (*block as usize + 1) * LOG_BLOCK_BYTES);
        let unsynced = self.unsynced.iter().map(|(at, bytes)| *at as usize + bytes.len());
        unsynced.fold(synced.max(unreadable), usize::max)
    }

    /// As [`MemFile::copy_to`]; EIO if a block of it cannot be read.
    fn read(&self, offset: usize, out: &mut [u8]) -> std::io::Result<()> {
        let blocks = (offset / LOG_BLOCK_BYTES) as u32..(offset + out.len()).div_ceil(LOG_BLOCK_BYTES) as u32;
        if self.unreadable.range(blocks).next().is_some() {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        self.copy_to(offset, out);
        Ok(())
    }

    /// What a reader sees while the process lives.
    fn copy_to(&self, offset: usize, out: &mut [u8]) {
        out.fill(0);
        let end = offset + out.len();
        let mut overlay = |at: usize, bytes: &[u8]| {
            let (from, to) = (at.max(offset), (at + bytes.len()).min(end));
            if from < to {
                out[from - offset..to - offset].copy_from_slice(&bytes[from - at..to - at]);
            }
        };
        let blocks = (offset / LOG_BLOCK_BYTES) as u32..end.div_ceil(LOG_BLOCK_BYTES) as u32;
        let synced = self.synced.range(blocks);
        synced.for_each(|(block, bytes)| overlay(*block as usize * LOG_BLOCK_BYTES, bytes));
        self.unsynced.iter().for_each(|(at, bytes)| overlay(*at as usize, bytes));
    }
}

/// A slot in use.
#[derive(Clone, Default, Debug)]
struct MemSlot {
    segment_seq: Option<u64>,
    image: Option<Vec<u8>>,
    map: Vec<u8>,
    resident: Vec<Range<u32>>,
}

/// The twin: a core's log directory and the memory of its segments.
#[derive(Clone, Debug)]
pub struct MemDisk {
    segment_bytes: usize,
    files: BTreeMap<u64, MemFile>,
    free: Vec<MemFile>,
    meta: [Vec<u8>; 4],
    slots: BTreeMap<Slot, MemSlot>,
    /// Segment files that may exist together; beyond it `Prepare` and `Activate` answer NoSpace.
    pub files_max: usize,
    /// Operations carried out.
    pub ops: u64,
    /// When set, the operation with this number (from 0) fails with EIO.
    pub fail_at: Option<u64>,
}

impl MemDisk {
    /// A formatted directory with an empty pool.
    #[must_use]
    pub fn new(settings: &Settings) -> MemDisk {
        MemDisk {
            segment_bytes: settings.segment_bytes as usize,
            files: BTreeMap::new(),
            free: Vec::new(),
            meta: format_meta(settings),
            slots: BTreeMap::new(),
            files_max: usize::MAX,
            ops: 0,
            fail_at: None,
        }
    }

    /// Carries out an operation to its end.
    pub fn perform(&mut self, op: &DiskOp) -> OpResult {
        self.ops += 1;
        if self.fail_at == Some(self.ops - 1) {
            return Err(OpError::Errno(5));
        }
        match op {
            DiskOp::Write { slot, offset, bytes } => {
                let written = self.image(*slot, *offset..offset + bytes).to_vec();
                self.file_mut(*slot).unsynced.push((*offset, written));
                return Ok(*bytes);
            }
            DiskOp::Sync { slot, .. } => self.file_mut(*slot).settle(|| true),
            DiskOp::FaultIn { slot, offset, bytes } => return self.fault_in(*slot, *offset..offset + bytes),
            DiskOp::Prepare => {
                if self.files.len() + self.free.len() >= self.files_max {
                    return Err(OpError::NoSpace);
                }
                self.free.push(MemFile::default());
            }
            DiskOp::Activate { slot, segment_seq, header } => {
                if self.free.is_empty() && self.files.len() >= self.files_max {
                    return Err(OpError::NoSpace);
                }
                let mut file = if self.free.is_empty() { MemFile::default() } else { self.free.remove(0) };
                file.unsynced.push((0, header.clone()));
                file.settle(|| true);
                self.files.insert(*segment_seq, file);
                self.slots.entry(*slot).or_default().segment_seq = Some(*segment_seq);
            }
            DiskOp::Retire { slots } => {
                for (slot, segment_seq) in slots {
                    self.slots.remove(slot);
                    self.free.push(self.files.remove(segment_seq).expect("only live segments are retired"));
                }
            }
            DiskOp::WriteMeta { copies } => self.meta.clone_from(copies),
        }
        Ok(0)
    }

    /// Carries out a random part of an operation, as a power cut in its middle leaves it.
    pub fn perform_partly(&mut self, op: &DiskOp, prng: &mut Prng) {
        match op {
            DiskOp::Write { .. } => {
                self.fail_at = None;
                let _ = self.perform(op);
            }
            DiskOp::Sync { slot, .. } => self.file_mut(*slot).settle(|| prng.one_in(2)),
            DiskOp::Activate { .. } if prng.one_in(2) => {
                let _ = self.perform(op);
            }
            DiskOp::Retire { slots } => {
                let some = slots[..prng.below(slots.len() as u64 + 1) as usize].to_vec();
                let _ = self.perform(&DiskOp::Retire { slots: some });
            }
            DiskOp::WriteMeta { copies } => {
                let first = 2 * prng.below(2) as usize;
                self.meta[..first].clone_from_slice(&copies[..first]);
                for (old, new) in self.meta.iter_mut().zip(copies).skip(first).take(2) {
                    match prng.below(3) {
                        0 => {}
                        1 => old.clone_from(new),
                        _ => old[..SECTOR_BYTES].copy_from_slice(&new[..SECTOR_BYTES]),
                    }
                }
            }
            _ => {}
        }
    }

    /// A power cut: of the unsynced sectors any subset survives, and nothing of what was in memory.
    pub fn crash(&mut self, prng: &mut Prng) {
        // All, none and a half are as likely as an odd subset.
        let odds = [0, 1, 2, 8, u64::MAX][prng.below(5) as usize];
        for file in self.files.values_mut() {
            file.settle(|| match odds {
                0 => false,
                u64::MAX => true,
                odds => !prng.one_in(odds.max(2)),
            });
        }
        self.slots.clear();
        self.fail_at = None;
    }

    /// The death of the process: what was written survives, what was in memory does not.
    pub fn kill(&mut self) {
        self.files.values_mut().for_each(|file| file.settle(|| true));
        self.slots.clear();
        self.fail_at = None;
    }

    /// Opens a recovered segment for reading; boot does this before the log starts.
    pub fn open_existing(&mut self, slot: Slot, segment_seq: u64) {
        assert!(self.files.contains_key(&segment_seq), "segment {segment_seq} is there");
        self.slots.insert(slot, MemSlot { segment_seq: Some(segment_seq), ..MemSlot::default() });
    }

    /// Changes bytes of a segment on disk: rot.
    pub fn damage(&mut self, segment_seq: u64, offset: usize, change: impl FnOnce(&mut [u8])) {
        let file = self.files.get_mut(&segment_seq).expect("the segment is there");
        let start = offset / LOG_BLOCK_BYTES;
        let block = file.synced.entry(start as u32).or_insert_with(|| vec![0; LOG_BLOCK_BYTES]);
        change(&mut block[offset % LOG_BLOCK_BYTES..]);
    }

    /// Reads of this block answer EIO from now on.
    pub fn damage_unreadable(&mut self, segment_seq: u64, block: u32) {
        self.files.get_mut(&segment_seq).expect("the segment is there").unreadable.insert(block);
    }

    /// Blocks of a segment that hold anything, ascending.
    #[must_use]
    pub fn written_blocks(&self, segment_seq: u64) -> Vec<u32> {
        self.files[&segment_seq].synced.keys().copied().collect()
    }

    /// Takes a segment's file away.
    pub fn remove(&mut self, segment_seq: u64) {
        self.files.remove(&segment_seq);
    }

    /// Replaces the four copies of `meta`.
    pub fn set_meta(&mut self, meta: [Vec<u8>; 4]) {
        self.meta = meta;
    }

    /// Live segment files, ascending.
    #[must_use]
    pub fn segment_seqs(&self) -> Vec<u64> {
        self.files.keys().copied().collect()
    }

    /// The bytes of a segment as a reader sees them, up to the last block written.
    #[must_use]
    pub fn segment_bytes(&self, segment_seq: u64) -> Vec<u8> {
        let file = &self.files[&segment_seq];
        let mut out = vec![0; self.segment_bytes];
        file.copy_to(0, &mut out);
        out
    }

    /// Forgets what was faulted in, as memory pressure would.
    pub fn evict(&mut self) {
        self.slots.values_mut().for_each(|slot| slot.resident.clear());
    }

    fn image(&self, slot: Slot, range: Range<u32>) -> &[u8] {
        let image = self.slots[&slot].image.as_ref().expect("only images are written");
        &image[range.start as usize..range.end as usize]
    }

    fn file_mut(&mut self, slot: Slot) -> &mut MemFile {
        let segment_seq = self.slots[&slot].segment_seq.expect("nothing is written before the file is there");
        self.files.get_mut(&segment_seq).expect("an open segment is there")
    }

    fn fault_in(&mut self, slot: Slot, range: Range<u32>) -> OpResult {
        let slot = self.slots.get_mut(&slot).expect("only open segments are faulted in");
        let file = &self.files[&slot.segment_seq.expect("it has a file")];
        if slot.map.is_empty() {
            slot.map = vec![0; self.segment_bytes];
        }
        let bytes = &mut slot.map[range.start as usize..range.end as usize];
        file.read(range.start as usize, bytes).map_err(|_| OpError::Errno(5))?;
        slot.resident.push(range);
        Ok(0)
    }
}

impl Disk for MemDisk {
    fn open_image(&mut self, slot: Slot, header: &[u8]) {
        // Memory that was used before: what the log does not fill in itself shows.
        let mut image = vec![0xA5; self.segment_bytes];
        image[..header.len()].copy_from_slice(header);
        let before = self.slots.insert(slot, MemSlot { image: Some(image), ..MemSlot::default() });
        assert!(before.is_none(), "{slot:?} was free");
    }

    fn image_mut(&mut self, slot: Slot, range: Range<u32>) -> &mut [u8] {
        let image = self.slots.get_mut(&slot).and_then(|slot| slot.image.as_mut()).expect("the slot has an image");
        &mut image[range.start as usize..range.end as usize]
    }

    fn slice(&self, slot: Slot, range: Range<u32>) -> Option<&[u8]> {
        let slot = self.slots.get(&slot)?;
        let (start, end) = (range.start as usize, range.end as usize);
        if let Some(image) = &slot.image {
            return Some(&image[start..end]);
        }
        let is_resident = slot.resident.iter().any(|have| have.start <= range.start && range.end <= have.end);
        is_resident.then(|| &slot.map[start..end])
    }

    fn drop_image(&mut self, slot: Slot) {
        self.slots.get_mut(&slot).expect("the slot is open").image = None;
    }
}

/// Reads the twin's directory as recovery does.
#[derive(Debug)]
pub struct MemLogReader<'a> {
    disk: &'a MemDisk,
}

impl<'a> MemLogReader<'a> {
    /// A reader of this directory.
    #[must_use]
    pub fn new(disk: &'a MemDisk) -> MemLogReader<'a> {
        MemLogReader { disk }
    }
}

impl LogReader for MemLogReader<'_> {
    fn meta(&mut self) -> std::io::Result<[Option<Vec<u8>>; 4]> {
        Ok(self.disk.meta.clone().map(Some))
    }

    fn free(&mut self) -> std::io::Result<u32> {
        Ok(self.disk.free.len() as u32)
    }

    fn segments(&mut self) -> std::io::Result<Vec<FoundSegment>> {
        let bytes = self.disk.segment_bytes as u64;
        Ok(self.disk.files.keys().map(|seq| FoundSegment { segment_seq: *seq, bytes }).collect())
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let file = self.disk.files.get(&segment_seq).ok_or(std::io::ErrorKind::NotFound)?;
        file.read(offset as usize, out)
    }

    fn written_end(&mut self, segment_seq: u64) -> std::io::Result<u64> {
        let file = self.disk.files.get(&segment_seq).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(file.written_end() as u64)
    }
}
