//! Looking at a segment from outside: what stands in its bytes, frame by frame and record by record, without a verdict.
//!
//! For `dropstone log`: [`crate::recover`] says what a log is worth, this says what is there. It reads bytes and holds
//! nothing of a running log.

use std::ops::Range;

use base::bytes::get_u32;
use base::limits::LOG_BLOCK_BYTES;
use base::record::{Record, RecordError};

use crate::disk::LogReader;
use crate::format::footer::{Item, Run, Trailer};
use crate::format::frame::{self, FrameHeader, Head, RECORDS_AT, StateSlot};
use crate::format::meta::{META_COPIES, Meta};
use crate::format::segment_header::{SegmentHeader, SegmentHeaderError};
use crate::scan::{Found, Outline, Scanned, each_frame};
use crate::settings::Settings;

/// A frame whose first block is good: it was written here, by this log, in this life of the file.
#[derive(Clone, Debug)]
pub struct FrameView {
    /// Its header.
    pub header: FrameHeader,
    /// The checksum of the header, which the next frame repeats.
    pub header_crc: u32,
    /// All its blocks are as they were written.
    pub is_whole: bool,
    /// Terms and votes in its slots.
    pub slots: Vec<StateSlot>,
    /// Where it lies, in bytes from segment start.
    pub range: Range<usize>,
}

impl FrameView {
    fn of(head: &Head, is_whole: bool, segment_bytes: usize) -> FrameView {
        let start = head.header.block as usize * LOG_BLOCK_BYTES;
        let range = start..(start + head.header.frame_bytes()).min(segment_bytes);
        FrameView { header: head.header, header_crc: head.header_crc, is_whole, slots: head.slots().to_vec(), range }
    }
}

/// A segment as it lies on disk.
#[derive(Debug)]
pub struct SegmentView {
    /// Its header; an error when block 0 is damaged or of another format.
    pub header: Result<SegmentHeader, SegmentHeaderError>,
    /// Its last block, when that is whole.
    pub trailer: Option<Trailer>,
    /// The identities of its entries, when it was sealed and they are whole.
    pub footer: Option<(Vec<Run>, Vec<Item>)>,
    /// Its frames, in the order in which they lie.
    pub frames: Vec<FrameView>,
}

impl SegmentView {
    /// Looks at the bytes of a whole segment file. `segment_seq` is what its name says.
    ///
    /// Without a header the salt is taken from the trailer or from two frames that follow each other; with none of them
    /// no frame can be told from recycled bytes, and none is shown.
    #[must_use]
    pub fn of(bytes: &[u8], segment_seq: u64) -> SegmentView {
        let header = SegmentHeader::parse(bytes.get(..LOG_BLOCK_BYTES).unwrap_or_default());
        let last = bytes.len().checked_sub(LOG_BLOCK_BYTES).and_then(|at| bytes.get(at..));
        let own = header.ok().filter(|header| header.segment_seq == segment_seq);
        let Outline { salt, trailer, footer } = Outline::of(bytes, last, own, segment_seq);
        let mut frames = Vec::new();
        if let Some(salt) = salt {
            each_frame(bytes, salt, segment_seq, |head, is_whole| {
                frames.push(FrameView::of(&head, is_whole, bytes.len()))
            });
        }
        SegmentView { header, trailer, footer, frames }
    }

    /// True when its last frame ends it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.is_whole && frame.header.has(frame::SEAL))
    }
}

/// What is to be seen of one segment without regard to the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentLook {
    /// Names the file.
    pub segment_seq: u64,
    /// Sequence numbers of frames with a good first block that are not whole.
    pub bad_frames: Vec<u64>,
    /// Entries that its footer names and that do not lie where it says, whole and with that crc.
    pub footer_mismatches: u64,
    /// Its header, or its footer although it is sealed, is damaged.
    pub has_scar: bool,
    /// The disk gave all its blocks.
    pub is_readable: bool,
}

impl SegmentLook {
    /// Looks at the bytes of a whole segment file; `is_readable` says whether the disk gave all of them.
    #[must_use]
    pub fn at(bytes: &[u8], segment_seq: u64, is_readable: bool) -> SegmentLook {
        let view = SegmentView::of(bytes, segment_seq);
        let frames = || view.frames.iter().map(|frame| (frame.is_whole, frame.header.frame_seq, frame.range.clone()));
        let is_own = view.header.is_ok_and(|header| header.segment_seq == segment_seq);
        let items = view.footer.as_ref().map(|(_, items)| items.as_slice());
        SegmentLook::from(bytes, segment_seq, frames(), (is_own, view.trailer.is_some(), items), is_readable)
    }

    /// The same of a segment that recovery has scanned. `found` are its frames.
    pub(crate) fn of(bytes: &[u8], scanned: &Scanned, found: &[Found]) -> SegmentLook {
        let range = |found: &Found| {
            let start = found.head.header.block as usize * LOG_BLOCK_BYTES;
            start..start + found.head.header.frame_bytes()
        };
        let frames = found.iter().map(|found| (found.is_whole, found.seq(), range(found)));
        let items = scanned.footer.as_ref().map(|(_, items)| items.as_slice());
        let ends = (scanned.header.is_some(), scanned.trailer.is_some(), items);
        SegmentLook::from(bytes, scanned.segment_seq, frames, ends, scanned.unreadable.is_empty())
    }

    fn from(
        bytes: &[u8],
        segment_seq: u64,
        frames: impl Iterator<Item = (bool, u64, Range<usize>)>,
        (has_header, has_trailer, items): (bool, bool, Option<&[Item]>),
        is_readable: bool,
    ) -> SegmentLook {
        let (mut bad_frames, mut whole) = (Vec::new(), Vec::new());
        for (is_whole, frame_seq, range) in frames {
            if is_whole { whole.push(range) } else { bad_frames.push(frame_seq) }
        }
        SegmentLook {
            segment_seq,
            bad_frames,
            footer_mismatches: footer_mismatches(bytes, &whole, items.unwrap_or_default()),
            // The newest sealed segment may wait for its footer still; its trailer is what says that it was written.
            has_scar: !has_header || (has_trailer && items.is_none()),
            is_readable,
        }
    }
}

/// Items whose record does not lie where they say with that crc. In a frame that is whole every record is, so that its crc
/// need not be computed again. `whole` are the places of those frames, ascending.
fn footer_mismatches(bytes: &[u8], whole: &[Range<usize>], items: &[Item]) -> u64 {
    let mut frame = 0;
    let mut is_there = |item: &&Item| {
        let at = item.offset as usize * 8;
        if !whole.get(frame).is_some_and(|range| range.contains(&at)) {
            frame = whole.partition_point(|range| range.end <= at);
        }
        if whole.get(frame).is_some_and(|range| range.contains(&at)) {
            return get_u32(bytes, at) == Some(item.crc);
        }
        let record = bytes.get(at..).map(Record::parse);
        record.is_some_and(|record| record.is_ok_and(|(record, _)| record.crc() == item.crc))
    };
    items.iter().filter(|item| !is_there(item)).count() as u64
}

/// Walks the records of a frame. `bytes` is the frame.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    left: u16,
}

impl<'a> Records<'a> {
    /// The records of a frame, from its first byte on.
    #[must_use]
    pub fn of(bytes: &'a [u8], header: &FrameHeader) -> Records<'a> {
        let end = RECORDS_AT.saturating_add(header.records_bytes as usize).min(bytes.len());
        Records { bytes, at: RECORDS_AT, end, left: header.records }
    }
}

impl<'a> Iterator for Records<'a> {
    /// Where the record begins in the frame, and the record. An error ends the walk: what follows cannot be found.
    type Item = (usize, Result<Record<'a>, RecordError>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || self.at >= self.end {
            return None;
        }
        let at = self.at;
        let parsed = Record::parse(&self.bytes[at..self.end]);
        self.left -= 1;
        self.at += parsed.as_ref().map_or(self.end, |(_, space)| *space);
        Some((at, parsed.map(|(record, _)| record)))
    }
}

/// The settings of a log that is only looked at, from its `meta`, or from the first of its segments that says whose it is
/// and from `cores`. `None` when nothing in it does.
///
/// # Errors
/// The directory cannot be read.
pub fn settings_of(reader: &mut dyn LogReader, cores: Option<u16>) -> std::io::Result<Option<Settings>> {
    let settings = |core, cores, segment_blocks: u32, cluster_id, node_uuid| {
        let segment_bytes = u64::from(segment_blocks) * LOG_BLOCK_BYTES as u64;
        Settings {
            cluster_id,
            node_uuid,
            core,
            cores,
            segment_bytes,
            log_bytes_max: 8 * segment_bytes,
            salt_seed: 0,
            batches_in_flight: 1,
        }
    };
    let copies: [Option<Vec<u8>>; META_COPIES] = reader.meta()?;
    if let Ok(Some(meta)) = Meta::newest(&copies) {
        return Ok(Some(settings(meta.core, meta.cores, meta.segment_blocks, meta.cluster_id, meta.node_uuid)));
    }
    let Some(cores) = cores else { return Ok(None) };
    let mut block = vec![0; LOG_BLOCK_BYTES];
    for segment in reader.segments()? {
        if reader.read(segment.segment_seq, 0, &mut block).is_err() {
            continue;
        }
        if let Ok(header) = SegmentHeader::parse(&block) {
            let SegmentHeader { core, segment_blocks, cluster_id, node_uuid, .. } = header;
            return Ok(Some(settings(core, cores, segment_blocks, cluster_id, node_uuid)));
        }
    }
    Ok(None)
}
