//! Where frames and entries lie on a disk, found by the log's own formats.

use std::ops::Range;

use base::bytes::get_u64;
use base::limits::LOG_BLOCK_BYTES;
use base::record::{Record, RecordKind};
use base::{GroupId, LogIndex, Term};
use seglog::format::frame::{Head, RECORDS_AT};

use crate::disk::SimDisk;

/// An entry's record. Units: bytes from segment start.
#[derive(Clone, Debug)]
pub(crate) struct PlacedEntry {
    pub group: GroupId,
    pub index: LogIndex,
    pub term: Term,
    pub segment_seq: u64,
    pub record: Range<u32>,
    pub frame: usize,
}

/// A frame. Units: bytes from segment start.
#[derive(Clone, Debug)]
pub(crate) struct PlacedFrame {
    pub segment_seq: u64,
    pub frame_seq: u64,
    pub place: Range<u32>,
}

/// All that is found on a disk, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    pub frames: Vec<PlacedFrame>,
    pub entries: Vec<PlacedEntry>,
}

impl Layout {
    pub fn of(disk: &SimDisk) -> Layout {
        let mut layout = Layout::default();
        for segment_seq in disk.segment_seqs() {
            let end = disk.written_end(segment_seq) as usize / LOG_BLOCK_BYTES * LOG_BLOCK_BYTES;
            let mut bytes = vec![0; end];
            if disk.read(segment_seq, 0, &mut bytes).is_ok() {
                layout.read_segment(segment_seq, &bytes);
            }
        }
        layout
    }

    fn read_segment(&mut self, segment_seq: u64, bytes: &[u8]) {
        let mut at = LOG_BLOCK_BYTES;
        while at + LOG_BLOCK_BYTES <= bytes.len() {
            let salt = get_u64(bytes, at + 8).unwrap_or_default();
            let head = Head::parse(&bytes[at..], salt, segment_seq, (at / LOG_BLOCK_BYTES) as u32);
            let Some(head) = head.filter(|head| at + head.header.frame_bytes() <= bytes.len()) else {
                at += LOG_BLOCK_BYTES;
                continue;
            };
            let (start, end) = (at, at + head.header.frame_bytes());
            let mut record_at = start + RECORDS_AT;
            for _ in 0..head.header.records {
                let Ok((record, space)) = Record::parse(&bytes[record_at..start + head.header.echo_at()]) else {
                    break;
                };
                let header = record.header();
                if header.kind == RecordKind::Entry {
                    self.entries.push(PlacedEntry {
                        group: header.group,
                        index: header.index,
                        term: header.term,
                        segment_seq,
                        record: record_at as u32..(record_at + record.raw().len()) as u32,
                        frame: self.frames.len(),
                    });
                }
                record_at += space;
            }
            let frame_seq = head.header.frame_seq;
            self.frames.push(PlacedFrame { segment_seq, frame_seq, place: start as u32..end as u32 });
            at = end;
        }
    }

    /// The newest record of an entry.
    pub fn entry(&self, group: GroupId, (index, term): (LogIndex, Term)) -> Option<&PlacedEntry> {
        let is_it = |entry: &&PlacedEntry| (entry.group, entry.index, entry.term) == (group, index, term);
        self.entries.iter().rev().find(is_it)
    }
}
