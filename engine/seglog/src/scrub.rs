//! Scrub: entries that nobody reads are read now and then, so that rot is found while other nodes still have a copy.
//!
//! ```text
//! a pass ─▶ sealed segments, oldest first ─▶ pieces that hold entries ─▶ FaultIn ─▶ crc ─▶ faulty, for repair
//! ```
//! What is in the page cache is judged there; older segments were written past it. A piece that the disk cannot read is
//! halved until it is one block, whose entries are then read one by one.

use std::ops::Range;

use base::limits::LOG_BLOCK_BYTES;
use base::mono::Span;
use base::{GroupId, LogIndex, Mono};

use crate::commit::Waiting;
use crate::disk::{Disk, DiskOp, OpResult, Slot};
use crate::group::GroupLog;
use crate::log::{SegLog, Slice};
use crate::segment::Stage;
use crate::stretch::Loc;

/// From the beginning of one pass to that of the next, unless told otherwise.
const EVERY: Span = Span::from_ms(24 * 60 * 60 * 1000);
/// Bytes of a piece, unless the last entry in it is longer.
const PIECE_BYTES: u32 = 256 << 10;
/// Time between two pieces: 16 MiB/s at most.
const PIECE_EVERY: Span = Span::from_ms(16);
/// With more unsynced bytes than this the scrub waits.
const LOAD_BYTES_MAX: u64 = 1 << 20;

/// A part of a sealed segment, in whole blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub segment_seq: u64,
    pub offset: u32,
    pub bytes: u32,
}

/// Where the scrub stands.
#[derive(Clone, Debug)]
pub(crate) struct Scrub {
    every: Span,
    /// When the next pass begins; set in the first turn, for recovery has just read everything.
    pass_at: Option<Mono>,
    /// What a pass that is under way looks at next: segment and offset.
    cursor: Option<(u64, u32)>,
    /// Halves of pieces that could not be read.
    pieces: Vec<Piece>,
    next_piece: Mono,
    is_reading: bool,
    bytes: u64,
}

impl Default for Scrub {
    fn default() -> Scrub {
        Scrub {
            every: EVERY,
            pass_at: None,
            cursor: None,
            pieces: Vec::new(),
            next_piece: Mono(0),
            is_reading: false,
            bytes: 0,
        }
    }
}

impl Scrub {
    fn is_under_way(&self) -> bool {
        self.cursor.is_some() || !self.pieces.is_empty()
    }

    /// When the scrub wants a turn.
    pub fn deadline(&self) -> Option<Mono> {
        match self.is_under_way() {
            true => (!self.is_reading).then_some(self.next_piece),
            false => self.pass_at,
        }
    }
}

impl<D: Disk> SegLog<D> {
    /// Passes begin this far apart from now on, the next one that far from the next turn. Default: 24 hours.
    pub fn set_scrub_every(&mut self, every: Span) {
        (self.scrub.every, self.scrub.pass_at) = (every, None);
    }

    /// Begins a pass with the next turn, unless one is under way.
    pub fn request_scrub(&mut self) {
        self.scrub.pass_at = Some(self.now);
    }

    /// Bytes that scrubbing has read since the start.
    #[must_use]
    pub fn scrubbed_bytes(&self) -> u64 {
        self.scrub.bytes
    }

    /// True while a pass is under way.
    #[must_use]
    pub fn is_scrubbing(&self) -> bool {
        self.scrub.is_under_way() || self.scrub.is_reading
    }

    /// Begins a pass when it is time, and asks for its next piece when that is due and there is little else to do.
    pub(crate) fn see_to_scrub(&mut self, now: Mono) {
        let every = self.scrub.every;
        let pass_at = *self.scrub.pass_at.get_or_insert(now + every);
        if !self.scrub.is_under_way() && !self.scrub.is_reading && pass_at <= now {
            self.scrub.pass_at = Some(now + every);
            base::mark::hit!("seglog.scrub.pass_begins");
            self.scrub.cursor = Some((0, 0));
            self.scrub.next_piece = now;
        }
        if self.scrub.is_reading || !self.scrub.is_under_way() || now < self.scrub.next_piece {
            return;
        }
        self.scrub.next_piece = now + PIECE_EVERY;
        if self.unsynced_bytes() > LOAD_BYTES_MAX {
            base::mark::hit!("seglog.scrub.waits_for_load");
            return;
        }
        let half = self.scrub.pieces.pop();
        let Some(piece) = half.or_else(|| self.next_piece()) else { return };
        let Some(slot) = self.scrubbable(piece.segment_seq) else { return };
        let ends = self.entries_in(piece).into_iter().filter_map(|(group, index)| {
            let loc = *self.find(group)?.loc(index)?;
            Some(loc.start() + loc.space())
        });
        let Some(end) = ends.max() else { return };
        let (offset, end) = (piece.offset, end.next_multiple_of(LOG_BLOCK_BYTES as u32));
        let bytes = end.max(piece.offset + LOG_BLOCK_BYTES as u32) - offset;
        self.scrub.is_reading = true;
        self.scrub.bytes += u64::from(bytes);
        self.commit.ask(DiskOp::FaultIn { slot, offset, bytes }, Waiting::Scrub { piece, slot });
    }

    /// A piece was read, or could not be.
    pub(crate) fn finish_scrub(&mut self, piece: Piece, slot: Slot, result: OpResult) {
        self.scrub.is_reading = false;
        if self.scrubbable(piece.segment_seq) != Some(slot) {
            base::mark::hit!("seglog.scrub.segment_went");
            return;
        }
        let block = LOG_BLOCK_BYTES as u32;
        if result.is_err() && piece.bytes > block {
            base::mark::hit!("seglog.scrub.unreadable_piece");
            let half = (piece.bytes / 2).next_multiple_of(block);
            self.scrub.pieces.push(Piece { offset: piece.offset + half, bytes: piece.bytes - half, ..piece });
            self.scrub.pieces.push(Piece { bytes: half, ..piece });
            return;
        }
        for (group, index) in self.entries_in(piece) {
            let Some(loc) = self.find(group).and_then(|log| log.loc(index)).copied() else { continue };
            if result.is_err() {
                self.fault_in(group, index, index);
                continue;
            }
            let is_here = self.disk.slice(slot, loc.start()..loc.start() + loc.space()).is_some();
            if is_here && self.entry(group, index) == Slice::Cold {
                base::mark::hit!("seglog.scrub.found_faulty");
                self.note_faulty(group, index);
            }
        }
    }

    /// The slot of a segment that is judged by its file; `None` for one that has its image, is written, or is gone.
    fn scrubbable(&self, segment_seq: u64) -> Option<Slot> {
        let segment = self.segments.iter().find(|segment| segment.seq == segment_seq)?;
        (segment.stage == Stage::Sealed && !segment.has_image).then_some(segment.slot)
    }

    /// The next piece of the pass in which an entry begins; at its end the pass is over. Looks through one segment at most.
    fn next_piece(&mut self) -> Option<Piece> {
        let (seq, mut offset) = self.scrub.cursor?;
        let next = self.segments.iter().map(|segment| segment.seq).find(|at| *at >= seq);
        let Some(segment_seq) = next.filter(|at| self.scrubbable(*at).is_some()) else {
            base::mark::hit!("seglog.scrub.pass_done");
            self.scrub.cursor = None;
            return None;
        };
        if segment_seq != seq {
            offset = 0;
        }
        let end = self.settings.segment_bytes as u32;
        let firsts = self.groups.iter().flatten().filter_map(|log| log.first_start(segment_seq, offset));
        let block = LOG_BLOCK_BYTES as u32;
        let Some(offset) = firsts.min().map(|first| first / block * block) else {
            self.scrub.cursor = Some((segment_seq + 1, 0));
            return None;
        };
        let bytes = PIECE_BYTES.min(end - offset);
        self.scrub.cursor = Some((segment_seq, offset + bytes));
        if offset + bytes == end {
            self.scrub.cursor = Some((segment_seq + 1, 0));
        }
        Some(Piece { segment_seq, offset, bytes })
    }

    /// The entries that begin in a piece and are held there, but for those that are known to be faulty.
    fn entries_in(&self, piece: Piece) -> Vec<(GroupId, LogIndex)> {
        let range = piece.offset..piece.offset + piece.bytes;
        let mut out = Vec::new();
        for log in self.groups.iter().flatten() {
            log.entries_in(piece.segment_seq, &range, |index| out.push((log.group, index)));
        }
        out
    }
}

impl GroupLog {
    /// In order of index entries lie in order of place, but for those that were written again or lost theirs.
    fn is_ordered(&self) -> bool {
        self.rewritten.is_empty() && self.faulty.is_empty()
    }

    /// The first place that may hold an entry which begins at or behind this one; all of them when there is no order.
    fn first_at(&self, from: (u64, u32)) -> usize {
        if self.is_ordered() { self.held.locs().partition_point(|loc| place(loc) < from) } else { 0 }
    }

    /// Where in a segment, from `offset` on, the first entry of this group begins.
    fn first_start(&self, segment_seq: u64, offset: u32) -> Option<u32> {
        let from = (segment_seq, offset);
        let start = self.first_at(from);
        let end = if self.is_ordered() { (start + 1).min(self.held.len()) } else { self.held.len() };
        let starts = self.held.locs().range(start, end).map(place).filter(|at| at.0 == segment_seq && *at >= from);
        starts.map(|(_, start)| start).min()
    }

    /// Calls `each` for the entries that begin in these bytes of a segment and are not known to be faulty.
    fn entries_in(&self, segment_seq: u64, range: &Range<u32>, mut each: impl FnMut(LogIndex)) {
        let (from, to) = ((segment_seq, range.start), (segment_seq, range.end));
        let start = self.first_at(from);
        for (at, loc) in self.held.locs().range(start, self.held.len()).enumerate() {
            let index = LogIndex(self.first().0 + (start + at) as u64);
            let is_here = from <= place(loc) && place(loc) < to;
            if is_here && !self.faulty.contains(&index) {
                each(index);
            } else if !is_here && self.is_ordered() {
                return;
            }
        }
    }
}

fn place(loc: &Loc) -> (u64, u32) {
    (u64::from(loc.segment), loc.start())
}
