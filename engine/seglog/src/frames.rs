//! Frames and segments as they are written: room in the open frame, closing it, sealing a segment, beginning the next.

use std::collections::VecDeque;

use base::bytes::put_u32;
use base::limits::{FRAME_BYTES_MAX, FRAME_RECORDS_MAX, LOG_BLOCK_BYTES};
use base::record::{RecordHeader, RecordKind, record_space, write_record};
use base::{GroupId, LogIndex, Term};

use crate::commit::Pending;
use crate::disk::{Disk, DiskOp};
use crate::format::footer::Trailer;
use crate::format::frame::{self, FrameHeader};
use crate::format::segment_header::SegmentHeader;
use crate::log::SegLog;
use crate::segment::{Segment, Stage};

/// Bytes of a SEAL record; every frame keeps room for one.
const SEAL_SPACE: usize = record_space(8);
/// The first frame of a segment starts behind its header.
const FRAMES_AT: u32 = LOG_BLOCK_BYTES as u32;

impl<D: Disk> SegLog<D> {
    /// Sees to it that the open frame has room for `records` records of `space` bytes together, `entries` of them
    /// entries: closes it, and seals the segment, as needed.
    pub(crate) fn make_room(&mut self, space: usize, records: u32, entries: usize) {
        // A tail reset holds all that recovery has to say, however many records that is.
        let is_reset = self.open.flags & frame::RESET != 0;
        for _ in 0..3 {
            let bytes = self.frame_bytes(self.open.records_bytes + space);
            let fits_frame = bytes <= self.frame_bytes_max()
                && (self.open.records + records < FRAME_RECORDS_MAX || (is_reset && entries == 0));
            let fits_segment = self.open.start as usize + bytes <= self.frames_end(entries);
            base::mark::hit!("seglog.frame.full", !fits_frame && fits_segment);
            base::mark::hit!("seglog.frame.segment_full", !fits_segment);
            match (fits_frame, fits_segment) {
                (true, true) => return,
                (false, true) if !self.open.is_empty() => self.close_frame(0, false),
                _ => self.close_frame(0, true),
            }
        }
        unreachable!("a record of at most ENTRY_BYTES_MAX fits a fresh segment");
    }

    /// Bytes of the open frame if its records took so many bytes and a SEAL followed.
    fn frame_bytes(&self, records_bytes: usize) -> usize {
        let items = self.echo.len() + self.echo_states.len();
        frame::blocks_for(records_bytes + SEAL_SPACE, items) * LOG_BLOCK_BYTES
    }

    fn frame_bytes_max(&self) -> usize {
        (FRAME_BYTES_MAX as usize).min(self.settings.segment_bytes as usize / 2)
    }

    /// Where footer and trailer must begin if so many more entries come.
    fn frames_end(&self, entries: usize) -> usize {
        let footer = self.segment(self.active_seq).footer.bytes_with(entries).next_multiple_of(LOG_BLOCK_BYTES);
        (self.settings.segment_bytes as usize).saturating_sub(footer + LOG_BLOCK_BYTES)
    }

    /// Closes the open frame, be it empty, and opens the next; seals the segment if told to or if no frame would fit
    /// behind this one.
    pub(crate) fn close_frame(&mut self, flags: u16, wants_seal: bool) {
        let next_echo = self.open.echo.len() + self.open.states.len();
        let end_if_open = self.open.start as usize
            + frame::blocks_for(self.open.records_bytes, self.echo.len() + self.echo_states.len()) * LOG_BLOCK_BYTES;
        let seal_frame = frame::blocks_for(SEAL_SPACE, next_echo) * LOG_BLOCK_BYTES;
        let is_seal = wants_seal || end_if_open + seal_frame > self.frames_end(0);
        base::mark::hit!("seglog.frame.seals_early", is_seal && !wants_seal);
        let records_bytes = self.open.records_bytes + if is_seal { SEAL_SPACE } else { 0 };
        let blocks = frame::blocks_for(records_bytes, self.echo.len() + self.echo_states.len());
        let bytes = (blocks * LOG_BLOCK_BYTES) as u32;
        let start = self.open.start;
        if is_seal {
            self.place_seal(start + bytes);
        }
        let open = &self.open;
        let segment = self.segment(self.active_seq);
        let (slot, salt) = (segment.slot, segment.salt);
        let header = FrameHeader {
            salt,
            segment_seq: self.active_seq,
            frame_seq: open.frame_seq,
            prev_frame_crc: self.last_header_crc,
            frame_blocks: blocks as u16,
            records: u16::try_from(open.records).expect("a frame is bounded in records"),
            flags: open.flags | flags | if is_seal { frame::SEAL } else { 0 },
            records_bytes: records_bytes as u32,
            persisted_seq: self.commit.persisted,
            prev_frame_seq: open.prev_frame_seq,
            block: start / LOG_BLOCK_BYTES as u32,
            stamp_s: (self.wall_ms / 1000) as u32,
            echo_entries: u16::try_from(self.echo.len()).expect("a frame is bounded in entries"),
            echo_others: self.echo_others,
            echo_states: self.echo_states.len() as u8,
            states: open.states.len() as u8,
            groups: open.groups,
        };
        let image = self.disk.image_mut(slot, start..start + bytes);
        for (at, state) in open.states.iter().enumerate() {
            state.put(image, frame::slot_at(at));
        }
        image[frame::slot_at(open.states.len())..frame::RECORDS_AT].fill(0);
        let echo_at = header.echo_at();
        for (at, item) in self.echo.iter().enumerate() {
            item.put(image, echo_at + at * frame::ITEM_BYTES);
        }
        for (at, state) in self.echo_states.iter().enumerate() {
            state.put(image, echo_at + (self.echo.len() + at) * frame::ITEM_BYTES);
        }
        image[echo_at + header.echo_bytes()..].fill(0);
        self.last_header_crc = frame::finish_frame(image, &header);
        self.commit.push(Pending { segment_seq: self.active_seq, offset: start, bytes, frame_seq: header.frame_seq });
        self.is_echoed = header.has(frame::ECHO_ONLY);
        self.open_next(start + bytes);
        if is_seal {
            self.seal_segment(start + bytes, header.frame_seq);
        }
    }

    /// What was open becomes the last closed frame, to be echoed by the next.
    fn open_next(&mut self, start: u32) {
        std::mem::swap(&mut self.echo, &mut self.open.echo);
        std::mem::swap(&mut self.echo_states, &mut self.open.states);
        self.echo_others = std::mem::take(&mut self.open.others);
        let open = &mut self.open;
        open.echo.clear();
        open.states.clear();
        open.prev_frame_seq = open.frame_seq;
        open.frame_seq += 1;
        open.start = start;
        (open.flags, open.records, open.records_bytes, open.groups) = (0, 0, 0, 0);
    }

    fn place_seal(&mut self, footer_at: u32) {
        let footer_bytes = self.segment(self.active_seq).footer.bytes() as u32;
        let mut payload = [0; 8];
        put_u32(&mut payload, 0, footer_at / LOG_BLOCK_BYTES as u32);
        put_u32(&mut payload, 4, footer_bytes);
        let (group, index, term) = (GroupId(0), LogIndex(0), Term(0));
        let header = RecordHeader { kind: RecordKind::Seal, flags: 0, life: 0, group, prev_crc: 0, index, term };
        let offset = self.open_offset();
        write_record(self.image_mut(offset, SEAL_SPACE), &header, &payload);
        self.open.records += 1;
    }

    /// Writes footer and trailer behind the last frame and goes on in the next segment.
    fn seal_segment(&mut self, footer_at: u32, last_frame_seq: u64) {
        let end = self.settings.segment_bytes as u32;
        let trailer_at = end - LOG_BLOCK_BYTES as u32;
        let last_header_crc = self.last_header_crc;
        let active = self.active_seq;
        let at = place_of(&self.segments, active);
        let segment = &mut self.segments[at];
        let footer_bytes = segment.footer.bytes() as u32;
        let footer_end = (footer_at + footer_bytes).next_multiple_of(LOG_BLOCK_BYTES as u32);
        assert!(footer_end <= trailer_at, "the footer has its room");
        let image = self.disk.image_mut(segment.slot, footer_at..footer_end);
        let (footer, padding) = image.split_at_mut(footer_bytes as usize);
        let footer_crc = segment.footer.write(footer);
        padding.fill(0);
        let trailer = Trailer {
            segment_seq: active,
            salt: segment.salt,
            last_frame_seq,
            last_header_crc,
            footer_block: footer_at / LOG_BLOCK_BYTES as u32,
            footer_bytes,
            footer_crc,
        };
        trailer.put(self.disk.image_mut(segment.slot, trailer_at..end));
        segment.stage = Stage::Sealing;
        segment.footer.clear();
        let bytes = footer_end - footer_at;
        self.commit.push(Pending { segment_seq: active, offset: footer_at, bytes, frame_seq: 0 });
        let bytes = LOG_BLOCK_BYTES as u32;
        self.commit.push(Pending { segment_seq: active, offset: trailer_at, bytes, frame_seq: 0 });
        if self.segments.back().is_some_and(|segment| segment.seq == active) {
            self.begin_segment();
        }
        self.active_seq += 1;
        self.open.start = FRAMES_AT;
        self.open.flags = frame::FIRST;
    }

    /// Gives the log one more segment: its image at once, its file when the storage thread has made it.
    pub(crate) fn begin_segment(&mut self) {
        let prev_segment_seq = self.segments.back().map_or(0, |segment| segment.seq);
        let seq = self.segments.back().map_or(self.active_seq, |segment| segment.seq + 1);
        let salt = self.salts.next_u64();
        let slot = self.commit.take_slot();
        let header = SegmentHeader {
            core: self.settings.core,
            segment_seq: seq,
            salt,
            prev_segment_seq,
            base_frame_seq: self.open.frame_seq,
            segment_blocks: self.settings.segment_blocks(),
            created_us: self.wall_ms * 1000,
            cluster_id: self.settings.cluster_id,
            node_uuid: self.settings.node_uuid,
        }
        .encode();
        self.disk.open_image(slot, &header);
        let footer = self.commit.spare_footer.take().unwrap_or_default();
        let stage = Stage::Open;
        self.segments.push_back(Segment { seq, slot, salt, stage, has_file: false, has_image: true, footer });
        self.commit.ask_activate(DiskOp::Activate { slot, segment_seq: seq, header }, seq);
    }

    /// The active segment holds a closed frame.
    pub(crate) fn has_closed_frame(&self) -> bool {
        self.open.start != FRAMES_AT
    }

    pub(crate) fn open_offset(&self) -> u32 {
        self.open.start + (frame::RECORDS_AT + self.open.records_bytes) as u32
    }

    pub(crate) fn image_mut(&mut self, offset: u32, space: usize) -> &mut [u8] {
        let slot = self.segment(self.active_seq).slot;
        self.disk.image_mut(slot, offset..offset + space as u32)
    }
}

/// The place of a live segment; they follow each other without gaps.
pub(crate) fn place_of(segments: &VecDeque<Segment>, seq: u64) -> usize {
    let oldest = segments.front().expect("there is always the active one").seq;
    (seq - oldest) as usize
}
