//! Scanning: which frames stand in the files, found by block, salt, place and crc, without judging what is missing.

use std::io::{Error, ErrorKind};

use base::limits::LOG_BLOCK_BYTES;
use base::mutate;

use crate::disk::LogReader;
use crate::format::footer::{Item, Run, Trailer, parse_footer};
use crate::format::frame::{self, Head};
use crate::format::segment_header::{SegmentHeader, SegmentHeaderError};
use crate::recover::RecoverError;
use crate::settings::Settings;

/// Bytes read again at a time when a larger read failed.
const PIECE_BYTES: usize = 64 << 10;
/// EIO: the disk could not read what is there.
const EIO: i32 = 5;

/// A block that begins a frame of its segment: written by this log, at this place, in this life of the file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Which of the scanned segments.
    pub segment: usize,
    pub head: Head,
    /// The whole frame is good, not only its first block.
    pub is_whole: bool,
}

impl Found {
    pub fn seq(&self) -> u64 {
        self.head.header.frame_seq
    }

    pub fn end_block(&self) -> u32 {
        self.head.header.block + u32::from(self.head.header.frame_blocks)
    }

    /// True when this frame is the next of the chain, by number, by the hash chain and by place.
    pub fn follows(&self, last: &Found) -> bool {
        let (this, before) = (&self.head.header, &last.head.header);
        let is_reset = this.has(frame::RESET);
        let is_chained = this.prev_frame_seq == before.frame_seq
            && this.prev_frame_crc == last.head.header_crc
            && (is_reset || this.frame_seq == before.frame_seq + 1);
        let is_placed = if self.segment == last.segment {
            this.block == last.end_block() && !before.has(frame::SEAL) && !this.has(frame::FIRST)
        } else {
            let is_next = self.segment == last.segment + 1 && before.has(frame::SEAL);
            this.block == 1 && this.has(frame::FIRST) && (is_reset || is_next)
        };
        mutate!(MUT_28A, is_chained && is_placed, true)
    }
}

/// What a segment's file says besides its frames.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub segment_seq: u64,
    /// `None` when it is damaged.
    pub header: Option<SegmentHeader>,
    pub trailer: Option<Trailer>,
    /// The identity of every entry, when the segment was sealed and that is whole.
    pub footer: Option<(Vec<Run>, Vec<Item>)>,
    /// Blocks that the disk could not read.
    pub unreadable: Vec<u32>,
}

/// Reads a segment into `buffer` as far as anything is written in it; returns the blocks that could not be read, whose
/// bytes are zero.
pub(crate) fn read_segment(
    reader: &mut dyn LogReader,
    segment_seq: u64,
    settings: &Settings,
    buffer: &mut Vec<u8>,
) -> Result<Vec<u32>, RecoverError> {
    let block = LOG_BLOCK_BYTES as u64;
    let written = reader.written_end(segment_seq)?.min(settings.segment_bytes).next_multiple_of(block);
    buffer.resize(written as usize, 0);
    let mut unreadable = Vec::new();
    if is_eio(reader.read(segment_seq, 0, buffer))? {
        base::mark::hit!("seglog.scan.reads_in_pieces");
        for start in (0..buffer.len()).step_by(PIECE_BYTES) {
            let end = (start + PIECE_BYTES).min(buffer.len());
            if !is_eio(reader.read(segment_seq, start as u64, &mut buffer[start..end]))? {
                continue;
            }
            for at in (start..end).step_by(LOG_BLOCK_BYTES) {
                let bytes = &mut buffer[at..at + LOG_BLOCK_BYTES];
                if is_eio(reader.read(segment_seq, at as u64, bytes))? {
                    base::mark::hit!("seglog.scan.unreadable_block");
                    bytes.fill(0);
                    unreadable.push((at / LOG_BLOCK_BYTES) as u32);
                }
            }
        }
    }
    Ok(unreadable)
}

/// True for EIO; any other error is no damage of the medium and ends the recovery.
fn is_eio(read: Result<(), Error>) -> Result<bool, Error> {
    match read {
        Ok(()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(EIO) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

/// Finds every frame of a segment. `bytes` is the segment as far as it is written.
pub(crate) fn scan(
    bytes: &[u8],
    segment: usize,
    segment_seq: u64,
    unreadable: Vec<u32>,
    settings: &Settings,
    found: &mut Vec<Found>,
) -> Result<Scanned, RecoverError> {
    let header = check_header(bytes.get(..LOG_BLOCK_BYTES).unwrap_or_default(), segment_seq, settings)?;
    let last_block = bytes.get(settings.segment_bytes as usize - LOG_BLOCK_BYTES..);
    let Outline { salt, trailer, footer } = Outline::of(bytes, last_block, header, segment_seq);
    base::mark::hit!("seglog.scan.no_salt", salt.is_none());
    if let Some(salt) = salt {
        each_frame(bytes, salt, segment_seq, |head, is_whole| found.push(Found { segment, head, is_whole }));
    }
    Ok(Scanned { segment_seq, header, trailer, footer, unreadable })
}

/// What a segment says of itself besides its frames.
pub(crate) struct Outline {
    /// Without it no frame can be told from recycled bytes.
    pub salt: Option<u64>,
    pub trailer: Option<Trailer>,
    /// The identity of every entry, when the segment was sealed and that is whole.
    pub footer: Option<(Vec<Run>, Vec<Item>)>,
}

impl Outline {
    /// `header` is the segment's own, if it is whole; `last_block` is where a trailer would be.
    pub fn of(bytes: &[u8], last_block: Option<&[u8]>, header: Option<SegmentHeader>, segment_seq: u64) -> Outline {
        let trailer = last_block.and_then(Trailer::parse).filter(|trailer| trailer.segment_seq == segment_seq);
        let salt = header.map(|header| header.salt).or(trailer.map(|trailer| trailer.salt));
        let salt = salt.or_else(|| salt_of_chain(bytes, segment_seq));
        let trailer = trailer.filter(|trailer| Some(trailer.salt) == salt);
        let footer = trailer.and_then(|trailer| {
            let start = trailer.footer_block as usize * LOG_BLOCK_BYTES;
            parse_footer(bytes.get(start..start.checked_add(trailer.footer_bytes as usize)?)?)
        });
        Outline { salt, trailer, footer }
    }
}

/// Tells of every frame whose first block is good, and whether all of it is, up to the one that seals.
pub(crate) fn each_frame(bytes: &[u8], salt: u64, segment_seq: u64, mut tell: impl FnMut(Head, bool)) {
    let mut block = 1;
    let blocks = (bytes.len() / LOG_BLOCK_BYTES) as u32;
    while block < blocks {
        let rest = &bytes[block as usize * LOG_BLOCK_BYTES..];
        let Some(head) = Head::parse(rest, salt, segment_seq, block) else {
            block += 1;
            continue;
        };
        let is_whole = rest.get(..head.header.frame_bytes()).is_some_and(|frame| head.has_body(frame));
        let (blocks, seals) = (u32::from(head.header.frame_blocks), head.header.has(frame::SEAL));
        tell(head, is_whole);
        if is_whole && seals {
            return;
        }
        block += if is_whole { blocks } else { 1 };
    }
}

/// The salt of a segment whose header is damaged: that of two frames which follow each other.
fn salt_of_chain(bytes: &[u8], segment_seq: u64) -> Option<u64> {
    let mut last: Option<Head> = None;
    for (block, content) in bytes.chunks_exact(LOG_BLOCK_BYTES).enumerate().skip(1) {
        let Some(salt) = base::bytes::get_u64(content, 8) else { continue };
        let Some(head) = Head::parse(content, salt, segment_seq, block as u32) else { continue };
        if last.is_some_and(|last| last.header.salt == salt && last.header_crc == head.header.prev_frame_crc) {
            base::mark::hit!("seglog.scan.salt_of_chain");
            return Some(salt);
        }
        last = Some(head);
    }
    None
}

/// The header, `None` when it is damaged.
///
/// Errors: a whole header that does not belong here.
fn check_header(block: &[u8], segment_seq: u64, settings: &Settings) -> Result<Option<SegmentHeader>, RecoverError> {
    let foreign = |what| Err(RecoverError::ForeignSegment { segment_seq, what });
    let header = match SegmentHeader::parse(block) {
        Ok(header) => header,
        Err(SegmentHeaderError::Format(format)) => return Err(RecoverError::Format(format)),
        Err(SegmentHeaderError::Damaged | SegmentHeaderError::Reserved) => {
            base::mark::hit!("seglog.scan.damaged_header");
            return Ok(None);
        }
    };
    if header.cluster_id != settings.cluster_id || header.node_uuid != settings.node_uuid {
        return foreign("it belongs to another node");
    }
    if (header.core, header.segment_blocks) != (settings.core, settings.segment_blocks()) {
        return foreign("its core or its size is another");
    }
    // A whole header of another number is a block that was written to the wrong place, or not at all.
    Ok(Some(header).filter(|header| header.segment_seq == segment_seq))
}
