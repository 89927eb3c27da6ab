//! Group commit: closed frames become one batch of writes, then syncs, then persisted. One batch is in flight, or two by
//! [`crate::Settings::batches_in_flight`]: the second is written while the first is synced.
//!
//! A sync covers only writes completed before it was handed out, so it is asked for when all writes of the batch are
//! done, and never while another one runs; `persisted` then moves to the batch's last frame. While it runs, the open frame
//! fills: load sets the batch size.

use std::collections::VecDeque;

use base::limits::{LOG_BLOCK_BYTES, SEGMENTS_FREE_MIN};
use base::mono::Span;
use base::{GroupId, LogIndex, Mono, mutate};

use crate::disk::{Disk, DiskOp, OpError, OpResult, OpToken, Slot};
use crate::format::footer::FooterBuilder;
use crate::format::frame;
use crate::format::meta::Meta;
use crate::log::{SegLog, Slice};
use crate::scrub::Piece;
use crate::segment::Stage;

/// Idle time after which the last frame is echoed.
const ECHO_IDLE: Span = Span::from_ms(5);
/// `meta` is written this often while frames are persisted.
const META_EVERY: Span = Span::from_ms(10_000);
/// No space for a segment: ask again after this.
const NO_SPACE_RETRY: Span = Span::from_ms(10_000);
/// Bytes of one batch, unless its first frame is larger.
const BATCH_BYTES_MAX: u64 = 16 << 20;
/// From so many bytes on a second batch is worth its own sync, and a batch does not wait for the end of a turn.
const PIPELINE_BYTES_MIN: usize = 32 << 10;
/// Ranges being brought into memory at a time.
const FAULT_INS_MAX: usize = 64;
/// Bytes that one `fault_in` asks for; one range may overshoot.
const FAULT_IN_BYTES_MAX: u32 = 4 << 20;
/// Bytes of one range, unless a single record is larger.
const FAULT_IN_RANGE_BYTES_MAX: u32 = 1 << 20;

/// The log can go on no further: the process must stop, acknowledging nothing more, with exit code 74, and recover from
/// the disk only. Nothing is retried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogFailure {
    /// An operation failed.
    #[error("log {operation} failed: {error}; stopping, restart to recover from disk")]
    Operation {
        /// Which.
        operation: &'static str,
        /// How.
        error: OpError,
    },
    /// A write made no progress.
    #[error("log write of {bytes} bytes stopped after {written}; stopping, restart to recover from disk")]
    ShortWrite {
        /// Asked for.
        bytes: u32,
        /// Done.
        written: u32,
    },
}

/// A closed frame, or a footer or trailer, that waits for the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub segment_seq: u64,
    pub offset: u32,
    pub bytes: u32,
    /// 0 for footer and trailer.
    pub frame_seq: u64,
}

/// A batch in flight: so many items of the queue.
#[derive(Clone, Debug, Default)]
struct Batch {
    /// Tells its writes from those of the other one.
    number: u64,
    items: usize,
    writes: u32,
    syncs: u32,
    /// Its last frame.
    upto: u64,
    /// Contiguous ranges of each file, later one range per file.
    ranges: Vec<(Slot, u32, u32)>,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Write { batch: u64, slot: Slot, offset: u32, bytes: u32 },
    Sync,
    FaultIn { group: GroupId, first: LogIndex, last: LogIndex, slot: Slot, offset: u32, bytes: u32 },
    Scrub { piece: Piece, slot: Slot },
    Prepare,
    Activate { op: DiskOp, segment_seq: u64 },
    Retire { segments: usize, upto: u64 },
    Meta { oldest: u64 },
}

/// The state of group commit and of all operations.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub persisted: u64,
    /// All frames up to this one were handed out to be written.
    pub issued: u64,
    /// Their writes have ended up to this one.
    pub written: u64,
    pub last_closed: u64,
    pub spare_footer: Option<FooterBuilder>,
    pub meta_seq: u64,
    pub is_meta_due: bool,
    /// The first frame of this start; `meta` is not written before it is persisted, or a doubt that only the lost `meta`
    /// had told could be forgotten.
    first_frame_seq: u64,
    /// Files that an earlier process had given up and not yet renamed: they are once a `meta` of this start is on disk. Till
    /// then a power cut can bring back one that still names them.
    pub leftovers: Vec<u64>,
    pub free_files: u32,
    pub free_slots: Vec<Slot>,
    pub next_slot: u32,
    queue: VecDeque<Pending>,
    queued_bytes: u64,
    /// The one at the front of the queue, which is written or synced.
    batch: Batch,
    /// The one behind it, which is written while the first is synced.
    next_batch: Batch,
    ops: VecDeque<(OpToken, DiskOp)>,
    waiting: Vec<(OpToken, Waiting)>,
    next_token: u64,
    idle_since: Option<Mono>,
    is_meta_in_flight: bool,
    meta_at: Mono,
    meta_persisted: u64,
    is_preparing: bool,
    no_space_at: Option<Mono>,
    /// Activations that found no space.
    postponed: VecDeque<(DiskOp, u64)>,
    has_failed: bool,
}

impl Commit {
    /// None is on its way, and the first frame of this start is persisted.
    fn may_write_meta(&self) -> bool {
        !self.is_meta_in_flight && self.persisted >= self.first_frame_seq
    }

    pub fn new(persisted: u64, first_frame_seq: u64, meta_seq: u64, free_files: u32, next_slot: u32) -> Commit {
        Commit {
            persisted,
            issued: persisted,
            written: persisted,
            last_closed: persisted,
            spare_footer: None,
            meta_seq,
            is_meta_due: false,
            first_frame_seq,
            leftovers: Vec::new(),
            free_files,
            free_slots: Vec::new(),
            next_slot,
            queue: VecDeque::new(),
            queued_bytes: 0,
            batch: Batch::default(),
            next_batch: Batch::default(),
            ops: VecDeque::new(),
            waiting: Vec::new(),
            next_token: 1,
            idle_since: None,
            is_meta_in_flight: false,
            meta_at: Mono(0),
            meta_persisted: 0,
            is_preparing: false,
            no_space_at: None,
            postponed: VecDeque::new(),
            has_failed: false,
        }
    }

    pub fn push(&mut self, pending: Pending) {
        self.queued_bytes += u64::from(pending.bytes);
        self.last_closed = self.last_closed.max(pending.frame_seq);
        self.idle_since = None;
        self.queue.push_back(pending);
    }

    pub fn take_slot(&mut self) -> Slot {
        self.free_slots.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            Slot(self.next_slot - 1)
        })
    }

    pub fn ask_activate(&mut self, op: DiskOp, segment_seq: u64) {
        self.ask(op.clone(), Waiting::Activate { op, segment_seq });
    }

    pub fn ask_retire(&mut self, slots: Vec<(Slot, u64)>, segments: usize, upto: u64) {
        self.ask(DiskOp::Retire { slots }, Waiting::Retire { segments, upto });
    }

    /// Asks for a `meta`; one is in flight at a time.
    pub fn ask_meta(&mut self, meta: &Meta) {
        self.is_meta_in_flight = true;
        let waiting = Waiting::Meta { oldest: meta.oldest_segment_seq };
        self.ask(DiskOp::WriteMeta { copies: meta.encode_copies() }, waiting);
    }

    pub fn ask(&mut self, op: DiskOp, waiting: Waiting) {
        let token = OpToken(self.next_token);
        self.next_token += 1;
        self.ops.push_back((token, op));
        self.waiting.push((token, waiting));
    }

    fn is_batch_in_flight(&self) -> bool {
        self.batch.items > 0
    }

    /// Closed frames of no batch yet.
    fn waiting_bytes(&self) -> usize {
        let items = self.queue.iter().skip(self.batch.items + self.next_batch.items);
        items.map(|pending| pending.bytes as usize).sum()
    }
}

impl<D: Disk> SegLog<D> {
    /// Ends a turn: closes the open frame if no batch is in flight and issues what waits; sees to echo, spare segments,
    /// collection and `meta`. `now` is the turn's time. Call it in each turn, also one that only brought completions.
    pub fn handle_turn_end(&mut self, now: Mono) {
        if self.commit.has_failed {
            return;
        }
        self.now = now;
        self.collect();
        if !self.commit.is_batch_in_flight() {
            if self.wants_close() {
                self.close_frame(0, false);
            } else if self.wants_echo() {
                let since = *self.commit.idle_since.get_or_insert(now);
                if since + ECHO_IDLE <= now {
                    base::mark::hit!("seglog.commit.idle_echo");
                    self.close_frame(frame::ECHO_ONLY, false);
                }
            }
            self.issue_batch();
        } else if self.wants_second_batch() {
            base::mark::hit!("seglog.commit.second_batch");
            if self.wants_close() {
                self.close_frame(0, false);
            }
            self.issue_batch();
        }
        self.see_to_space(now);
        mutate!(MUT_15A, (), self.move_on_without_space());
        self.see_to_meta(now);
        self.see_to_scrub(now);
    }

    /// When [`SegLog::handle_turn_end`] wants to be called although nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let commit = &self.commit;
        if commit.has_failed {
            return None;
        }
        let is_idle = !commit.is_batch_in_flight();
        let open = (is_idle && self.wants_close()).then_some(self.now);
        let echo =
            (is_idle && self.wants_echo()).then(|| commit.idle_since.map_or(self.now, |since| since + ECHO_IDLE));
        let meta = (commit.may_write_meta() && commit.persisted > commit.meta_persisted)
            .then_some(commit.meta_at + META_EVERY);
        let space = commit.no_space_at.map(|at| at + NO_SPACE_RETRY);
        [open, echo, meta, space, self.scrub.deadline()].into_iter().flatten().min()
    }

    /// Bytes in the open frame and in closed frames that are not persisted yet.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        self.commit.queued_bytes + self.open.records_bytes as u64
    }

    /// True when proposals must be refused: the live segments reach the limit, less a reserve of two for recovery and
    /// collection, or the disk has no space for more. What is already under way still fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let reserve = 2 * self.settings.segment_bytes;
        self.bytes() + reserve > self.settings.log_bytes_max
            || (self.commit.no_space_at.is_some() && self.commit.free_files == 0)
    }

    /// True after a failure: nothing is issued any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.commit.has_failed
    }

    /// Writes `meta` soon, for a clean stop; it is done when [`SegLog::is_quiet`].
    pub fn request_meta(&mut self) {
        self.commit.is_meta_due = true;
    }

    /// True when all is persisted, nothing is in flight and nothing is due: the point of a clean stop.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.open.is_empty()
            && self.commit.queue.is_empty()
            && self.commit.waiting.is_empty()
            && !self.commit.is_meta_due
            && self.commit.postponed.is_empty()
    }

    /// Asks that entries `first..=last` be brought into memory, or as many as one round takes; try the read again when
    /// operations have completed, and ask again if it is still cold.
    pub fn fault_in(&mut self, group: GroupId, first: LogIndex, last: LogIndex) {
        let mut index = first;
        let mut budget = FAULT_IN_BYTES_MAX;
        while index <= last && budget > 0 && self.faulting() < FAULT_INS_MAX {
            // What is in memory already takes nothing of the budget: else a range wider than it would never be whole.
            let is_held = self.find(group).is_some_and(|log| log.loc(index).is_some());
            if is_held && self.entry(group, index) != Slice::Cold {
                index = index.next();
                continue;
            }
            let Some(loc) = self.find(group).and_then(|log| log.loc(index)).copied() else { return };
            let segment = self.segment(u64::from(loc.segment));
            let (slot, has_image, from) = (segment.slot, segment.has_image, index);
            let mut end = loc.start() + loc.space();
            index = index.next();
            while let Some(next) = self.find(group).and_then(|log| log.loc(index))
                && index <= last
                && !self.is_faulty(group, index)
                && next.start() >= loc.start()
                && next.segment == loc.segment
                && next.start() + next.space() - loc.start() <= FAULT_IN_RANGE_BYTES_MAX
            {
                end = next.start() + next.space();
                index = index.next();
            }
            if has_image {
                continue;
            }
            let block = LOG_BLOCK_BYTES as u32;
            let offset = loc.start() / block * block;
            let bytes = end.next_multiple_of(block) - offset;
            budget = budget.saturating_sub(bytes);
            let is_asked = |waiting: &Waiting| {
                matches!(*waiting, Waiting::FaultIn { slot: s, offset: o, bytes: b, .. }
                    if s == slot && o <= offset && offset + bytes <= o + b)
            };
            if !self.commit.waiting.iter().any(|(_, waiting)| is_asked(waiting)) {
                let waiting = Waiting::FaultIn { group, first: from, last: index.prev(), slot, offset, bytes };
                base::mark::hit!("seglog.fault_in.asked");
                self.commit.ask(DiskOp::FaultIn { slot, offset, bytes }, waiting);
            }
        }
    }

    /// The next operation to carry out; its end goes to [`SegLog::handle_op_done`]. Operations of one kind are carried
    /// out in this order; ring and storage thread need not wait for each other.
    pub fn poll_op(&mut self) -> Option<(OpToken, DiskOp)> {
        if self.commit.has_failed { None } else { self.commit.ops.pop_front() }
    }

    /// An operation ended. Call [`SegLog::handle_turn_end`] in the same turn.
    ///
    /// Errors: [`LogFailure`]: the process must stop; from now on nothing is issued and nothing more gets persisted.
    /// Panics for a token that is not out.
    pub fn handle_op_done(&mut self, token: OpToken, result: OpResult) -> Result<(), LogFailure> {
        if self.commit.has_failed {
            return Ok(());
        }
        let at = self.commit.waiting.iter().position(|(out, _)| *out == token).expect("each token ends once");
        let (_, waiting) = self.commit.waiting.swap_remove(at);
        let done = self.finish(waiting, result);
        base::mark::hit!("seglog.commit.failed", done.is_err());
        self.commit.has_failed = done.is_err();
        done
    }

    fn finish(&mut self, waiting: Waiting, result: OpResult) -> Result<(), LogFailure> {
        let failed = |operation| move |error| LogFailure::Operation { operation, error };
        match waiting {
            Waiting::Write { batch, slot, offset, bytes } => {
                base::mark::hit!("seglog.commit.write_failed", result.is_err());
                let written = result.map_err(failed("write"))?;
                self.finish_write(batch, (slot, offset, bytes), written)?;
            }
            Waiting::Sync => {
                base::mark::hit!("seglog.commit.sync_failed", result.is_err());
                if mutate!(MUT_26B, false, result.is_err()) {
                    self.commit.batch.syncs -= 1;
                    self.issue_syncs();
                    return Ok(());
                }
                mutate!(MUT_26A, result.map_err(failed("sync"))?, 0);
                self.commit.batch.syncs -= 1;
                if mutate!(MUT_17C, self.commit.batch.syncs == 0, true) {
                    self.finish_batch();
                    self.issue_large();
                }
            }
            Waiting::FaultIn { group, first, last, slot, .. } => self.check_faulted(group, first, last, slot, result),
            Waiting::Scrub { piece, slot } => self.finish_scrub(piece, slot, result),
            Waiting::Prepare => {
                base::mark::hit!("seglog.space.none_to_prepare", result == Err(OpError::NoSpace));
                self.commit.is_preparing = false;
                match result {
                    Ok(_) => {
                        self.commit.free_files += 1;
                        base::mark::hit!("seglog.space.back", self.commit.no_space_at.is_some());
                        self.commit.no_space_at = None;
                    }
                    Err(OpError::NoSpace) => self.commit.no_space_at = Some(self.now),
                    Err(error) => return Err(failed("prepare of a segment")(error)),
                }
            }
            Waiting::Activate { op, segment_seq } => match result {
                Ok(_) => {
                    self.commit.free_files = self.commit.free_files.saturating_sub(1);
                    let segment = self.segments.iter_mut().find(|segment| segment.seq == segment_seq);
                    segment.expect("a segment without its file is not retired").has_file = true;
                    // What is acknowledged in it could vanish with the file, and nothing would tell until `meta` names it.
                    self.commit.is_meta_due = true;
                }
                Err(OpError::NoSpace) => {
                    base::mark::hit!("seglog.space.none_to_activate");
                    self.commit.free_files = 0;
                    self.commit.no_space_at = Some(self.now);
                    self.commit.postponed.push_back((op, segment_seq));
                }
                Err(error) => return Err(failed("activation of a segment")(error)),
            },
            Waiting::Retire { segments, upto } => {
                result.map_err(failed("retirement of segments"))?;
                self.commit.free_files += segments as u32;
                self.finish_retire(upto);
            }
            Waiting::Meta { oldest } => {
                result.map_err(failed("write of meta"))?;
                self.commit.is_meta_in_flight = false;
                self.retire_leftovers();
                self.meta_written(oldest);
            }
        }
        Ok(())
    }

    /// MUT_15A: a file that could not be prepared counts as one, and what waits for it as persisted.
    #[cfg(mutations)]
    fn move_on_without_space(&mut self) {
        if self.commit.no_space_at.is_some() {
            self.commit.free_files = self.commit.free_files.max(1);
            if !self.segment(self.active_seq).has_file {
                self.commit.persisted = self.covering_epoch().0;
            }
        }
    }

    /// A batch has ended and much waits: it is issued at once, not with what this turn may bring, for a turn under load
    /// lasts as long as a sync.
    fn issue_large(&mut self) {
        let open = if self.wants_close() { self.open.records_bytes } else { 0 };
        if !self.commit.is_batch_in_flight() && open + self.commit.waiting_bytes() >= PIPELINE_BYTES_MIN {
            base::mark::hit!("seglog.commit.issued_in_the_turn");
            if open > 0 {
                self.close_frame(0, false);
            }
            self.issue_batch();
        }
    }

    /// The first one is being synced, and there is enough for another one.
    fn wants_second_batch(&self) -> bool {
        let commit = &self.commit;
        let is_free = self.settings.batches_in_flight > 1 && commit.batch.syncs > 0 && commit.next_batch.items == 0;
        let open = if self.wants_close() { self.open.records_bytes } else { 0 };
        is_free && open + commit.waiting_bytes() >= PIPELINE_BYTES_MIN
    }

    /// Writes what is closed: as the batch in flight if there is none, else as the one behind it.
    fn issue_batch(&mut self) {
        let is_second = self.commit.is_batch_in_flight();
        let place = if is_second { &mut self.commit.next_batch } else { &mut self.commit.batch };
        let mut batch = std::mem::take(place);
        batch.number = self.commit.next_token;
        batch.ranges.clear();
        let mut bytes = 0;
        for pending in self.commit.queue.iter().skip(self.commit.batch.items) {
            let segment = self.segment(pending.segment_seq);
            if !segment.has_file || (batch.items > 0 && bytes + u64::from(pending.bytes) > BATCH_BYTES_MAX) {
                base::mark::hit!("seglog.commit.waits_for_a_file", !segment.has_file);
                base::mark::hit!("seglog.commit.batch_full", segment.has_file);
                break;
            }
            batch.items += 1;
            batch.upto = batch.upto.max(pending.frame_seq);
            bytes += u64::from(pending.bytes);
            let end = pending.offset + pending.bytes;
            match batch.ranges.last_mut() {
                Some((slot, _, to)) if *slot == segment.slot && *to == pending.offset => *to = end,
                _ => batch.ranges.push((segment.slot, pending.offset, end)),
            }
        }
        for (slot, from, to) in &batch.ranges {
            let (slot, offset, bytes) = (*slot, *from, to - from);
            batch.writes += 1;
            let waiting = Waiting::Write { batch: batch.number, slot, offset, bytes };
            self.commit.ask(DiskOp::Write { slot, offset, bytes }, waiting);
        }
        self.commit.issued = self.commit.issued.max(batch.upto);
        base::mark::hit!("seglog.commit.batch_in_parts", batch.ranges.len() > 1);
        *(if is_second { &mut self.commit.next_batch } else { &mut self.commit.batch }) = batch;
    }

    fn finish_write(
        &mut self,
        batch: u64,
        (slot, offset, bytes): (Slot, u32, u32),
        written: u32,
    ) -> Result<(), LogFailure> {
        if mutate!(MUT_17B, written < bytes, false) {
            // Direct writes go on at a block boundary; a part of a block is written again.
            let progress = written / LOG_BLOCK_BYTES as u32 * LOG_BLOCK_BYTES as u32;
            base::mark::hit!("seglog.commit.short_write_goes_on", progress > 0);
            if progress == 0 {
                base::mark::hit!("seglog.commit.nothing_written");
                return Err(LogFailure::ShortWrite { bytes, written });
            }
            let (offset, bytes) = (offset + progress, bytes - progress);
            self.commit.ask(DiskOp::Write { slot, offset, bytes }, Waiting::Write { batch, slot, offset, bytes });
            return Ok(());
        }
        if batch != self.commit.batch.number {
            self.commit.next_batch.writes -= 1;
            if self.commit.next_batch.writes == 0 {
                self.commit.written = self.commit.written.max(self.commit.next_batch.upto);
            }
            return Ok(());
        }
        self.commit.batch.writes -= 1;
        if self.commit.batch.writes == 0 {
            self.commit.written = self.commit.written.max(self.commit.batch.upto);
            self.issue_syncs();
        }
        Ok(())
    }

    /// One sync per file, over all that the batch wrote in it.
    fn issue_syncs(&mut self) {
        let mut batch = std::mem::take(&mut self.commit.batch);
        batch.ranges.dedup_by(|next, range| {
            let is_same = next.0 == range.0;
            if is_same {
                (range.1, range.2) = (range.1.min(next.1), range.2.max(next.2));
            }
            is_same
        });
        for (slot, from, to) in &batch.ranges {
            batch.syncs += 1;
            self.commit.ask(DiskOp::Sync { slot: *slot, offset: *from, bytes: to - from }, Waiting::Sync);
        }
        self.commit.batch = batch;
    }

    fn finish_batch(&mut self) {
        let items = std::mem::take(&mut self.commit.batch.items);
        let trailer_at = self.settings.segment_bytes as u32 - LOG_BLOCK_BYTES as u32;
        for _ in 0..items {
            let pending = self.commit.queue.pop_front().expect("a batch lies in the queue");
            self.commit.queued_bytes -= u64::from(pending.bytes);
            let covered = mutate!(MUT_17A, pending.frame_seq, self.covering_epoch().0);
            self.commit.persisted = self.commit.persisted.max(covered);
            if pending.frame_seq == 0 && pending.offset == trailer_at {
                base::mark::hit!("seglog.segment.sealed");
                self.finish_seal(pending.segment_seq);
            }
        }
        if self.commit.next_batch.items > 0 {
            std::mem::swap(&mut self.commit.batch, &mut self.commit.next_batch);
            if self.commit.batch.writes == 0 {
                self.issue_syncs();
            }
        }
    }

    /// A segment is sealed and on disk: the image of the one before it is no longer needed.
    fn finish_seal(&mut self, segment_seq: u64) {
        for segment in &mut self.segments {
            if segment.seq == segment_seq {
                segment.stage = Stage::Sealed;
                self.commit.spare_footer = Some(std::mem::take(&mut segment.footer));
            }
            if segment.seq < segment_seq && segment.has_image && segment.stage == Stage::Sealed {
                segment.has_image = false;
                base::mark::hit!("seglog.segment.image_dropped");
                self.disk.drop_image(segment.slot);
            }
        }
        self.commit.is_meta_due = true;
        self.gc.is_due = true;
    }

    /// There is something to close, and its file is there: else the frame fills on until it is.
    fn wants_close(&self) -> bool {
        !self.open.is_empty() && self.segment(self.active_seq).has_file
    }

    /// The last frame has no echo yet, and nothing is under way that would bring it.
    fn wants_echo(&self) -> bool {
        !self.is_echoed && self.open.is_empty() && self.commit.queue.is_empty() && self.commit.last_closed != 0
    }

    /// Keeps a segment ahead and files in the pool; asks again for what found no space.
    fn see_to_space(&mut self, now: Mono) {
        let is_half_full = u64::from(self.open.start) >= self.settings.segment_bytes / 2;
        if is_half_full && self.segments.back().is_some_and(|segment| segment.seq == self.active_seq) {
            base::mark::hit!("seglog.segment.begun_ahead");
            self.begin_segment();
        }
        if self.commit.no_space_at.is_some_and(|at| now < at + NO_SPACE_RETRY) && self.commit.free_files == 0 {
            base::mark::hit!("seglog.space.waits");
            return;
        }
        self.commit.no_space_at = self.commit.no_space_at.filter(|at| now < *at + NO_SPACE_RETRY);
        while let Some((op, segment_seq)) = self.commit.postponed.pop_front() {
            base::mark::hit!("seglog.space.activates_again");
            self.commit.ask_activate(op, segment_seq);
        }
        let files = self.segments.len() as u64 + u64::from(self.commit.free_files);
        let is_wanted = (self.commit.free_files as usize) < SEGMENTS_FREE_MIN
            && files * self.settings.segment_bytes < self.settings.log_bytes_max
            && self.commit.no_space_at.is_none();
        if is_wanted && !self.commit.is_preparing {
            self.commit.is_preparing = true;
            self.commit.ask(DiskOp::Prepare, Waiting::Prepare);
        }
    }

    fn see_to_meta(&mut self, now: Mono) {
        let commit = &mut self.commit;
        commit.is_meta_due |= commit.persisted > commit.meta_persisted && commit.meta_at + META_EVERY <= now;
        if !commit.is_meta_due || !commit.may_write_meta() {
            return;
        }
        let newest = self.segments.iter().filter(|segment| segment.has_file).map(|segment| segment.seq).max();
        let oldest = self.gc.oldest;
        commit.meta_seq += 1;
        commit.meta_at = now;
        commit.meta_persisted = commit.persisted;
        commit.is_meta_due = false;
        let meta = Meta {
            meta_seq: commit.meta_seq,
            oldest_segment_seq: oldest,
            newest_segment_seq: newest.unwrap_or(oldest - 1),
            persisted_seq: commit.persisted,
            next_life: self.next_life,
            ..self.settings.first_meta()
        };
        commit.ask_meta(&meta);
    }

    fn faulting(&self) -> usize {
        self.commit.waiting.iter().filter(|(_, waiting)| matches!(waiting, Waiting::FaultIn { .. })).count()
    }

    /// What was brought in must be what was written; what could not be read, or is other bytes, is faulty.
    fn check_faulted(&mut self, group: GroupId, first: LogIndex, last: LogIndex, slot: Slot, result: OpResult) {
        let Some(log) = self.find(group) else { return };
        let (mut index, last) = (first.max(log.first()), last.min(log.last()));
        while index <= last {
            let loc = *self.find(group).and_then(|log| log.loc(index)).expect("it lies between first and last");
            let segment = self.segment(u64::from(loc.segment));
            // Meanwhile it may have been replaced or rewritten elsewhere.
            let is_asked = segment.slot == slot && !segment.has_image;
            let is_here = self.disk.slice(slot, loc.start()..loc.start() + loc.space()).is_some();
            base::mark::hit!("seglog.fault_in.read_failed", result.is_err());
            base::mark::hit!("seglog.fault_in.of_a_retired_slot", segment.slot != slot);
            let is_damaged = result.is_err() || (is_here && self.entry(group, index) == Slice::Cold);
            if is_asked && is_damaged {
                base::mark::hit!("seglog.commit.read_faulty");
                self.note_faulty(group, index);
            }
            index = index.next();
        }
    }
}
