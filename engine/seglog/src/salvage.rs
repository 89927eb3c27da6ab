//! Salvage: what is still known of a frame that was persisted and is damaged.
//!
//! ```text
//! identities: the footer of its segment, or the ECHO of the next frame   votes: its slots, or that ECHO
//! bytes: any record in its place whose crc, group, index and term are those of an identity
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use base::bytes::get_u32;
use base::limits::LOG_BLOCK_BYTES;
use base::record::{Record, RecordKind};

use crate::format::frame::{self, EchoItem, Head, RECORDS_AT, StateSlot};
use crate::scan::{Found, Scanned};
use crate::stretch::Loc;

/// The group bits of all groups.
pub(crate) const ALL_GROUPS: u64 = u64::MAX;

/// What the ECHO of the next frame says of a frame.
#[derive(Default, Debug)]
pub(crate) struct Echo {
    pub entries: Vec<EchoItem>,
    pub states: Vec<StateSlot>,
    /// Groups of which it held records that bind and are no entries.
    pub others: u16,
}

impl Echo {
    /// The ECHO in `frame`, if it can be trusted: the frame is whole, or it ends within the first block. The bytes were read
    /// again since that was found, so they are judged again: a disk may give others the second time.
    pub fn of(frame: &[u8], found: &Found) -> Option<Echo> {
        base::mark::hit!("seglog.salvage.echo");
        let header = &found.head.header;
        let is_in_block0 = header.echo_at() + header.echo_bytes() <= LOG_BLOCK_BYTES;
        if !found.is_whole && !is_in_block0 {
            base::mark::hit!("seglog.salvage.echo_out_of_reach");
            return None;
        }
        let is_still_here = if is_in_block0 { found.head.has_block0(frame) } else { found.head.has_body(frame) };
        base::mark::hit!("seglog.salvage.echo_misread", !is_still_here);
        if !is_still_here {
            return None;
        }
        let (entries, states) = frame::parse_echo(frame, header)?;
        Some(Echo { entries, states, others: header.echo_others })
    }
}

/// As group bits, for [`frame::group_bit`].
pub(crate) fn others_to_bits(others: u16) -> u64 {
    u64::from(others) * 0x0001_0001_0001_0001
}

/// An entry of a damaged frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownEntry {
    pub item: EchoItem,
    /// Where its bytes are, if they are whole; `bytes` is 0 when they are lost.
    pub loc: Loc,
}

/// A run of bytes of one segment: from segment start, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub segment: usize,
    pub range: Range<usize>,
}

/// Where lost frames lay: behind `last` and before `next`.
pub(crate) fn places_of_lost(last: Option<&Found>, next: Option<&Found>, segments: &[Scanned]) -> Vec<Place> {
    let from = last.map_or((0, 1), |last| (last.segment, last.end_block()));
    let to = next.map_or((segments.len() - 1, u32::MAX), |next| (next.segment, next.head.header.block));
    let place = |segment: usize| {
        let start = if segment == from.0 { from.1 } else { 1 };
        let footer = segments[segment].trailer.map_or(u32::MAX, |trailer| trailer.footer_block);
        let end = if segment == to.0 { to.1 } else { footer }.max(start);
        let end = (end as usize).saturating_mul(LOG_BLOCK_BYTES);
        Place { segment, range: start as usize * LOG_BLOCK_BYTES..end }
    };
    (from.0..=to.0).map(place).filter(|place| !place.range.is_empty()).collect()
}

/// The entries that the footers name in these places, in the order of writing; `None` unless each has a footer.
pub(crate) fn from_footers(places: &[Place], segments: &[Scanned]) -> Option<Vec<KnownEntry>> {
    let mut out = Vec::new();
    for place in places {
        let segment = &segments[place.segment];
        let (runs, items) = segment.footer.as_ref()?;
        let mut here = Vec::new();
        for run in runs {
            let items = items.get(run.first_item as usize..)?.get(..run.count as usize)?;
            for (index, item) in (run.first_index.0..).zip(items) {
                if place.range.contains(&(item.offset as usize * 8)) {
                    let echo =
                        EchoItem { group: run.group, crc: item.crc, index: base::LogIndex(index), term: run.term };
                    let segment = segment.segment_seq as u32;
                    here.push(KnownEntry {
                        item: echo,
                        loc: Loc { segment, offset: item.offset, bytes: 0, crc: item.crc },
                    });
                }
            }
        }
        here.sort_by_key(|entry| entry.loc.offset);
        out.extend(here);
    }
    Some(out)
}

/// The entries of an ECHO, not located yet.
pub(crate) fn from_echo(entries: &[EchoItem], segment_seq: u64) -> Vec<KnownEntry> {
    let lost = |item: &EchoItem| Loc { segment: segment_seq as u32, offset: 0, bytes: 0, crc: item.crc };
    entries.iter().map(|item| KnownEntry { item: *item, loc: lost(item) }).collect()
}

/// Finds the entries that are whole in `bytes`, which begin at byte `start` of the segment.
pub(crate) fn locate(entries: &mut [KnownEntry], bytes: &[u8], start: usize, segment_seq: u64) {
    let mut wanted: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.loc.bytes == 0) {
        wanted.entry(entry.item.crc).or_default().push(at);
    }
    let mut at = 0;
    while let Some(crc) = get_u32(bytes, at) {
        let places = wanted.get(&crc).map(Vec::as_slice).unwrap_or_default();
        let record = if places.is_empty() { None } else { Record::parse(&bytes[at..]).ok() };
        let Some((record, space)) = record.filter(|(record, _)| record.header().kind == RecordKind::Entry) else {
            at += 8;
            continue;
        };
        let header = record.header();
        for place in places {
            let EchoItem { group, index, term, .. } = entries[*place].item;
            if (group, index, term) == (header.group, header.index, header.term) {
                base::mark::hit!("seglog.salvage.entry_located");
                let (offset, bytes) = (((start + at) / 8) as u32, record.raw().len() as u32);
                entries[*place].loc = Loc { segment: segment_seq as u32, offset, bytes, crc };
            }
        }
        at += space;
    }
}

/// The records of a broken frame that lie in its first block, which its own crc vouches for, with their offsets. None when
/// these bytes are not that block: they were read again, and may be others.
pub(crate) fn block0_records<'a>(frame: &'a [u8], head: &Head) -> Vec<(usize, Record<'a>)> {
    let mut out = Vec::new();
    if !head.has_block0(frame) {
        base::mark::hit!("seglog.salvage.block0_misread");
        return out;
    }
    let mut at = RECORDS_AT;
    let end = head.header.echo_at().min(LOG_BLOCK_BYTES);
    while out.len() < usize::from(head.header.records) && at < end {
        let Ok((record, space)) = Record::parse(&frame[at..end]) else { break };
        out.push((at, record));
        at += space;
    }
    out
}
