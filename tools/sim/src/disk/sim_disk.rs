//! [`SimDisk`]: the seam's four calls, and the operations that the world carries out in its own time.

use std::ops::Range;

use base::limits::LOG_BLOCK_BYTES;
use base::{GroupId, LogIndex, Prng, Term, mutate};
use seglog::format::frame::Head;
use seglog::format::meta::Meta;
use seglog::{Disk, DiskOp, OpError, OpResult, OpToken, Settings, Slot, format_meta};

use super::astray::Stale;
use super::file::{SECTOR_BYTES, SimFile};
use super::image::Image;
use super::platter::{OnPlatter, Platter};
use super::unproven::Unproven;

/// How a power cut treats what is not durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cut {
    /// Of 1024 sectors of completed writes, so many get to the disk: 0 none, 1024 all.
    pub keep_per_1024: u64,
    /// Writes in flight are torn: each sector by itself. Else each write is there whole or not at all.
    pub tears_writes: bool,
    /// In so many of 1024 sectors in flight the sector itself is torn: half new and half old, or unreadable.
    pub torn_per_1024: u64,
}

/// An operation on its way.
#[derive(Clone, Debug)]
struct Pending {
    token: OpToken,
    op: DiskOp,
    /// Of a write: the bytes. They must not change in the image meanwhile.
    bytes: Vec<u8>,
    /// Of a sync: it covers the writes that were complete then.
    covers: u64,
}

/// A segment in use.
#[derive(Clone, Debug, Default)]
struct Segment {
    file: Option<u64>,
    image: Option<Image>,
    resident: Vec<Range<u32>>,
    is_used: bool,
}

/// A core's log directory and the memory of its segments.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    segment_bytes: usize,
    /// By name, ascending.
    pub(super) files: Vec<(u64, SimFile)>,
    free: Vec<SimFile>,
    meta: [Vec<u8>; 4],
    /// By slot.
    segments: Vec<Segment>,
    pending: Vec<Pending>,
    /// Writes completed so far.
    completed: u64,
    spare: Vec<Vec<u8>>,
    platter: Platter,
    /// What damage must spare.
    pub(super) unproven: Unproven,
    /// What maps show wrongly.
    pub(super) stale: Vec<Stale>,
    /// `Prepare` and `Activate` find no space until then.
    pub full_until: u64,
    /// They find none now.
    pub is_full: bool,
    /// Syncs say that they are done and do nothing: the device keeps in its cache what they cover.
    pub is_lying: bool,
    /// Durable bytes so far, for figures.
    pub bytes_written: u64,
    /// MUT_27A: the newest name of a segment is not durable.
    #[cfg(mutations)]
    unsynced_name: Option<u64>,
}

impl SimDisk {
    /// A directory that was just formatted.
    #[must_use]
    pub fn new(settings: &Settings) -> SimDisk {
        SimDisk { segment_bytes: settings.segment_bytes as usize, meta: format_meta(settings), ..SimDisk::default() }
    }

    // Operations.

    /// An operation begins. It ends by [`SimDisk::complete`], [`SimDisk::fail`] or a crash.
    pub fn submit(&mut self, token: OpToken, op: DiskOp) {
        let mut bytes = Vec::new();
        if let DiskOp::Write { slot, offset, bytes: count } = op {
            bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            let image = self.segments[slot.0 as usize].image.as_ref().expect("only images are written");
            bytes.extend_from_slice(image.slice(offset..offset + count));
            let seq = self.segments[slot.0 as usize].file.expect("nothing is written before the file is there");
            let before = self.place(seq).map(|at| &self.files[at].1);
            self.platter.handle_write(seq, offset, &bytes, |head, range| {
                let before = before.map_or(&[][..], |file| file.durable_in(&range));
                self.unproven.note_issued(head, seq, range, before);
            });
        }
        self.pending.push(Pending { token, op, bytes, covers: self.completed });
    }

    /// An operation on its way.
    #[must_use]
    pub fn pending_op(&self, token: OpToken) -> Option<&DiskOp> {
        self.pending.iter().find(|pending| pending.token == token).map(|pending| &pending.op)
    }

    /// The operation is done. A write may be short: then only `written_max` bytes of it are.
    ///
    /// Panics for a token that is not on its way.
    pub fn complete(&mut self, token: OpToken, written_max: u32) -> OpResult {
        let Pending { op, mut bytes, covers, .. } = self.take(token);
        match op {
            DiskOp::Write { slot, offset, bytes: count } => {
                let image = self.segments[slot.0 as usize].image.as_ref().expect("an image in use is not dropped");
                assert!(bytes == image.slice(offset..offset + count), "{slot:?}: bytes were changed in flight");
                let written = count.min(written_max);
                bytes.truncate(written as usize);
                self.completed += 1;
                let sequence = self.completed;
                self.bytes_written += u64::from(written);
                let seq = self.segments[slot.0 as usize].file.expect("it was written to");
                self.platter.handle_written(seq, offset + written, sequence);
                self.file_mut(slot).write(offset, bytes, sequence);
                Ok(written)
            }
            DiskOp::Sync { slot, .. } => {
                let is_lie = self.is_lying;
                let sync = if is_lie { SimFile::sync_in_cache } else { SimFile::sync };
                let mut spare = std::mem::take(&mut self.spare);
                sync(self.file_mut(slot), covers, &mut spare);
                self.spare = spare;
                let seq = self.segments[slot.0 as usize].file.expect("it was synced");
                let unproven = &mut self.unproven;
                self.platter.handle_synced(seq, covers, is_lie, |frame_seq| unproven.handle_durable(frame_seq));
                Ok(0)
            }
            DiskOp::FaultIn { slot, offset, bytes } => self.fault_in(slot, offset..offset + bytes),
            op => self.perform(&op),
        }
    }

    /// The operation ends with an error and has done nothing; a failed sync drops what it covered or not.
    pub fn fail(&mut self, token: OpToken, errno: i32, drops_writes: bool) -> OpResult {
        let Pending { op, bytes, .. } = self.take(token);
        if !bytes.is_empty() {
            self.spare.push(bytes);
        }
        if let DiskOp::Sync { slot, .. } = op
            && drops_writes
        {
            let mut spare = std::mem::take(&mut self.spare);
            self.file_mut(slot).forget(&mut spare);
            self.spare = spare;
            let seq = self.segments[slot.0 as usize].file.expect("it was to be synced");
            self.platter.handle_forgotten(seq);
        }
        Err(OpError::Errno(errno))
    }

    fn take(&mut self, token: OpToken) -> Pending {
        let at = self.pending.iter().position(|pending| pending.token == token).expect("the operation is on its way");
        self.pending.remove(at)
    }

    /// Operations of the storage thread: durable when they are done.
    fn perform(&mut self, op: &DiskOp) -> OpResult {
        match op {
            DiskOp::Prepare => {
                if self.is_full {
                    return Err(OpError::NoSpace);
                }
                self.free.push(SimFile::default());
            }
            DiskOp::Activate { slot, segment_seq, header } => {
                if self.free.is_empty() && self.is_full {
                    return Err(OpError::NoSpace);
                }
                let mut file = if self.free.is_empty() { SimFile::default() } else { self.free.remove(0) };
                file.put(0, header);
                let at = self.files.partition_point(|(seq, _)| seq < segment_seq);
                self.files.insert(at, (*segment_seq, file));
                self.segments[slot.0 as usize].file = Some(*segment_seq);
                mutate!(MUT_27A, (), self.unsynced_name = Some(*segment_seq));
            }
            DiskOp::Retire { slots } => {
                for (slot, segment_seq) in slots {
                    if let Some(segment) = self.segments.get_mut(slot.0 as usize) {
                        *segment = Segment::default();
                    }
                    let at = self.place(*segment_seq).expect("only live segments are retired");
                    let mut file = self.files.remove(at).1;
                    file.handle_retired();
                    self.free.push(file);
                }
            }
            DiskOp::WriteMeta { copies } => self.meta.clone_from(copies),
            DiskOp::Write { .. } | DiskOp::Sync { .. } | DiskOp::FaultIn { .. } => unreachable!("done by the caller"),
        }
        Ok(0)
    }

    fn fault_in(&mut self, slot: Slot, range: Range<u32>) -> OpResult {
        let segment = &mut self.segments[slot.0 as usize];
        let seq = segment.file.expect("only open segments are faulted in");
        if !segment.resident.iter().any(|have| have.start <= range.start && range.end <= have.end) {
            segment.resident.push(range.clone());
        }
        self.refresh(Some((seq, &range)));
        let at = self.place(seq).expect("an open segment is there");
        let file = &mut self.files[at].1;
        if file.is_unreadable(range.clone()) {
            return Err(OpError::Errno(5));
        }
        file.bring_in(range);
        Ok(0)
    }

    /// The operation, a fault-in, is done, and one of the blocks that it brought in is another. Units of `dice`: a seed.
    ///
    /// Panics for a token that is not on its way.
    pub fn complete_misread(&mut self, token: OpToken, dice: u64) -> OpResult {
        let Some(DiskOp::FaultIn { slot, offset, bytes }) = self.pending_op(token).cloned() else {
            return self.complete(token, u32::MAX);
        };
        let result = self.complete(token, u32::MAX);
        let seq = self.segments[slot.0 as usize].file.expect("only open segments are faulted in");
        if result.is_ok() {
            self.make_stale(seq, offset..offset + bytes, &mut Prng::new(dice));
        }
        result
    }

    // Crashes.

    /// The process dies: writes on their way are done or not, what was complete stays, memory is gone. The kernel goes
    /// on: recovery's own sync makes all of it durable (docs/design/log.md, "Recovery").
    pub fn kill(&mut self, dice: &mut Prng) {
        for pending in std::mem::take(&mut self.pending) {
            if dice.below(2) == 0 {
                self.settle_in_flight(pending, Cut::default(), dice);
            }
        }
        let mut spare = std::mem::take(&mut self.spare);
        self.files.iter_mut().for_each(|(_, file)| file.sync(u64::MAX, &mut spare));
        self.spare = spare;
        self.platter.handle_kill();
        self.forget_memory();
    }

    /// Power is cut: of what is not durable any sector may be there. Says how many writes and sectors were torn.
    pub fn power_cut(&mut self, cut: Cut, dice: &mut Prng) -> (u64, u64) {
        let mut spare = std::mem::take(&mut self.spare);
        self.files.iter_mut().for_each(|(_, file)| file.cut(dice, cut.keep_per_1024, &mut spare));
        self.spare = spare;
        mutate!(MUT_27A, (), self.lose_name(dice));
        let mut torn = (0, 0);
        for pending in std::mem::take(&mut self.pending) {
            let (writes, sectors) = self.settle_in_flight(pending, cut, dice);
            torn = (torn.0 + writes, torn.1 + sectors);
        }
        self.forget_memory();
        torn
    }

    /// MUT_27A: the file may have its old name, in `free/`, again.
    #[cfg(mutations)]
    fn lose_name(&mut self, dice: &mut Prng) {
        let named = self.unsynced_name.take().and_then(|seq| self.place(seq));
        let is_busy = self.pending.iter().any(|pending| pending.op.is_ring());
        if let Some(at) = named.filter(|_| !is_busy && dice.below(2) == 0) {
            self.free.push(self.files.remove(at).1);
        }
    }

    fn settle_in_flight(&mut self, pending: Pending, cut: Cut, dice: &mut Prng) -> (u64, u64) {
        let mut torn = (0, 0);
        match pending.op {
            DiskOp::Write { slot, offset, .. } => {
                let mut bytes = pending.bytes;
                let whole = dice.below(2) == 0;
                let mut bad = Vec::new();
                let file = self.file_mut(slot);
                if cut.torn_per_1024 > 0 {
                    for (at, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
                        if dice.below(1024) < cut.torn_per_1024 {
                            torn.1 += 1;
                            let start = offset + (at * SECTOR_BYTES) as u32;
                            let mut old = [0; SECTOR_BYTES];
                            file.read(start as usize, &mut old);
                            let half = 8 * (1 + dice.below(SECTOR_BYTES as u64 / 8 - 1) as usize);
                            sector[half..].copy_from_slice(&old[half..]);
                            if dice.below(4) == 0 {
                                bad.push(start);
                            }
                        }
                    }
                }
                if cut.tears_writes {
                    torn.0 += 1;
                    file.put_some(offset, &bytes, |_| dice.below(2) == 0);
                } else if whole {
                    file.put(offset as usize, &bytes);
                }
                bad.into_iter().for_each(|start| file.make_unreadable(start));
                self.spare.push(bytes);
            }
            DiskOp::Sync { slot, .. } => {
                // What it covers is among the volatile writes, which were settled already if power was cut.
                let mut spare = std::mem::take(&mut self.spare);
                self.file_mut(slot).sync(pending.covers, &mut spare);
                self.spare = spare;
            }
            DiskOp::Activate { .. } | DiskOp::Prepare => {
                if dice.below(2) == 0 {
                    let _ = self.perform(&pending.op);
                }
            }
            DiskOp::Retire { slots } => {
                let some = slots[..dice.below(slots.len() as u64 + 1) as usize].to_vec();
                let _ = self.perform(&DiskOp::Retire { slots: some });
            }
            DiskOp::WriteMeta { copies } => self.tear_meta(&copies, dice),
            DiskOp::FaultIn { .. } => {}
        }
        torn
    }

    /// Copies 0 and 1 are written and synced before copies 2 and 3 are touched.
    fn tear_meta(&mut self, copies: &[Vec<u8>; 4], dice: &mut Prng) {
        let first = 2 * dice.below(2) as usize;
        self.meta[..first].clone_from_slice(&copies[..first]);
        for (old, new) in self.meta.iter_mut().zip(copies).skip(first).take(2) {
            match dice.below(3) {
                0 => {}
                1 => old.clone_from(new),
                _ => old[..SECTOR_BYTES].copy_from_slice(&new[..SECTOR_BYTES]),
            }
        }
    }

    fn forget_memory(&mut self) {
        self.refresh(None);
        self.unproven.handle_crash();
        self.segments.clear();
        self.pending.clear();
    }

    // Lies.

    /// A power cut now would take what was said to be durable.
    #[must_use]
    pub fn has_lied(&self) -> bool {
        self.platter.has_lies()
    }

    /// What a group was told is durable lay in a frame behind this one, and only in the device's cache. To be asked
    /// after a power cut, before [`SimDisk::handle_recovered`].
    #[must_use]
    pub fn has_forgotten(&self, group: GroupId, last_frame_seq: u64) -> bool {
        self.platter.has_lied_to(group, last_frame_seq)
    }

    /// The highest frame that is there whole, void ones included, and what `meta` says was persisted: found by looking at
    /// every block, and not as recovery does.
    #[must_use]
    pub fn newest_frame_and_proof(&self) -> (u64, u64) {
        let copies = std::array::from_fn(|copy| Some(self.meta[copy].clone()));
        let meta = Meta::newest(&copies).ok().flatten().map_or(0, |meta| meta.persisted_seq);
        let mut newest = 0;
        for (segment_seq, file) in &self.files {
            let mut bytes = vec![0; file.written_end().next_multiple_of(LOG_BLOCK_BYTES)];
            file.read(0, &mut bytes);
            for (block, at) in (0..bytes.len()).step_by(LOG_BLOCK_BYTES).enumerate() {
                let salt = base::bytes::get_u64(&bytes, at + 8).unwrap_or_default();
                let head = Head::parse(&bytes[at..], salt, *segment_seq, block as u32);
                let whole = head.filter(|head| {
                    bytes.get(at..at + head.header.frame_bytes()).is_some_and(|frame| head.has_body(frame))
                });
                newest = newest.max(whole.map_or(0, |head| head.header.frame_seq));
            }
        }
        (newest, meta)
    }

    // Recovery and rot.

    /// Opens a recovered segment for reading.
    pub fn open_existing(&mut self, slot: Slot, segment_seq: u64) {
        assert!(self.place(segment_seq).is_some(), "segment {segment_seq} is there");
        *self.segment_slot(slot) = Segment { file: Some(segment_seq), is_used: true, ..Segment::default() };
    }

    /// Recovery has read the log: what it found is what is there.
    pub fn handle_recovered(&mut self, groups: &[seglog::RecoveredGroup]) {
        self.platter = Platter::recovered(groups);
    }

    /// The node's tables hold the state of a group up to here, durably.
    pub fn handle_state(&mut self, group: GroupId, last: LogIndex, term: Term) {
        self.platter.handle_state(group, last, term);
    }

    /// What a power cut would leave of a group, if that has moved since it was last asked for.
    pub fn take_news(&mut self, group: GroupId) -> Option<&OnPlatter> {
        self.platter.take_news(group)
    }

    /// Reads a segment as recovery does.
    ///
    /// # Errors
    /// No such segment, or a sector that cannot be read.
    pub fn read(&self, segment_seq: u64, offset: u32, out: &mut [u8]) -> std::io::Result<()> {
        let at = self.place(segment_seq).ok_or(std::io::ErrorKind::NotFound)?;
        let file = &self.files[at].1;
        if file.is_unreadable(offset..offset + out.len() as u32) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        file.read(offset as usize, out);
        Ok(())
    }

    /// Flips bits of a random written sector; false when there is none, or nothing could show it.
    pub fn rot(&mut self, dice: &mut Prng) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let at = dice.below(self.files.len() as u64) as usize;
        let (segment_seq, file) = &mut self.files[at];
        file.sectors() > 0 && {
            let sector = dice.below(u64::from(file.sectors())) as u32;
            let start = sector * SECTOR_BYTES as u32;
            !self.unproven.spares(*segment_seq, &(start..start + SECTOR_BYTES as u32)) && file.rot(sector, dice)
        }
    }

    // Questions.

    /// Nothing but zeros lies in a segment from here on.
    #[must_use]
    pub fn written_end(&self, segment_seq: u64) -> u64 {
        self.place(segment_seq).map_or(0, |at| self.files[at].1.written_end() as u64)
    }

    /// Bytes of a segment.
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// The four copies of `meta`.
    #[must_use]
    pub fn meta(&self) -> &[Vec<u8>; 4] {
        &self.meta
    }

    /// Prepared files.
    #[must_use]
    pub fn free_files(&self) -> u32 {
        self.free.len() as u32
    }

    /// Names of the segment files, ascending.
    pub fn segment_seqs(&self) -> impl Iterator<Item = u64> + '_ {
        self.files.iter().map(|(seq, _)| *seq)
    }

    /// Operations on their way, by name.
    pub fn pending_tokens(&self) -> impl Iterator<Item = OpToken> + '_ {
        self.pending.iter().map(|pending| pending.token)
    }

    /// Writes on their way.
    #[must_use]
    pub fn writes_in_flight(&self) -> usize {
        self.pending.iter().filter(|pending| matches!(pending.op, DiskOp::Write { .. })).count()
    }

    /// Operations on their way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Everything written is durable and nothing is on its way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.files.iter().all(|(_, file)| file.is_settled())
    }

    pub(super) fn place(&self, segment_seq: u64) -> Option<usize> {
        self.files.binary_search_by_key(&segment_seq, |(seq, _)| *seq).ok()
    }

    fn file_mut(&mut self, slot: Slot) -> &mut SimFile {
        let seq = self.segments[slot.0 as usize].file.expect("nothing is written before the file is there");
        let at = self.place(seq).expect("an open segment is there");
        &mut self.files[at].1
    }

    fn segment_slot(&mut self, slot: Slot) -> &mut Segment {
        let at = slot.0 as usize;
        if self.segments.len() <= at {
            self.segments.resize_with(at + 1, Segment::default);
        }
        &mut self.segments[at]
    }
}

impl Disk for SimDisk {
    fn open_image(&mut self, slot: Slot, header: &[u8]) {
        let mut image = Image::new(self.segment_bytes);
        image.slice_mut(0..header.len() as u32).copy_from_slice(header);
        let segment = self.segment_slot(slot);
        assert!(!segment.is_used, "{slot:?} was free");
        *segment = Segment { image: Some(image), is_used: true, ..Segment::default() };
    }

    fn image_mut(&mut self, slot: Slot, range: Range<u32>) -> &mut [u8] {
        let image = self.segments[slot.0 as usize].image.as_mut().expect("the slot has an image");
        image.slice_mut(range)
    }

    fn slice(&self, slot: Slot, range: Range<u32>) -> Option<&[u8]> {
        let segment = self.segments.get(slot.0 as usize)?;
        if let Some(image) = &segment.image {
            return Some(image.slice(range));
        }
        let is_resident = segment.resident.iter().any(|have| have.start <= range.start && range.end <= have.end);
        let at = self.place(segment.file?)?;
        is_resident.then(|| self.files[at].1.map(range))
    }

    fn drop_image(&mut self, slot: Slot) {
        self.segments[slot.0 as usize].image = None;
    }
}
