//! The end of a sealed segment: the identity of every entry in it (a third copy, beside record and ECHO), and a trailer
//! in the last block that says where that is.
//!
//! ```text
//! footer at footer_block:  0 u32 runs   4 u32 items   8 runs x 32   then items x 8   then u32 crc of all before
//! run:      0 u32 group   4 u32 life   8 u64 first_index   16 u64 term   24 u32 count   28 u32 first_item
//! item:     0 u32 offset in 8-byte units   4 u32 crc of the record
//! trailer:  0 "DSLOGEND"   8 u64 segment_seq   16 u64 salt   24 u64 last frame_seq   32 u32 last header_crc
//!          36 u32 footer_block   40 u32 footer_bytes   44 u32 footer crc   48 zero   4092 u32 crc of 0..4092
//! ```
//! Runs are ordered by (group, first_index, order of writing). An entry that a truncation removed keeps its item.

use base::bytes::{get_u32, get_u64, put_u32, put_u64};
use base::checksum::crc32c;
use base::limits::LOG_BLOCK_BYTES;
use base::{GroupId, LogIndex, Term};

use super::is_zero;

const MAGIC: &[u8; 8] = b"DSLOGEND";
const CRC_AT: usize = LOG_BLOCK_BYTES - 4;
const RUN_BYTES: usize = 32;
const ITEM_BYTES: usize = 8;

/// Bytes of a footer with so many runs and items.
#[must_use]
pub fn footer_bytes(runs: usize, items: usize) -> usize {
    8 + runs * RUN_BYTES + items * ITEM_BYTES + 4
}

/// Entries of one group, life and term at contiguous indexes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Whose.
    pub group: GroupId,
    /// The group's local life.
    pub life: u32,
    /// The first entry's index.
    pub first_index: LogIndex,
    /// The term of all.
    pub term: Term,
    /// How many.
    pub count: u32,
    /// Its first item; set when the footer is written.
    pub first_item: u32,
}

/// Where an entry's record lies, and its crc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// From segment start, in units of 8 bytes.
    pub offset: u32,
    /// Of the record.
    pub crc: u32,
}

/// Gathers the identities of a segment as its entries are written.
#[derive(Clone, Default, Debug)]
pub struct FooterBuilder {
    runs: Vec<Run>,
    items: Vec<(u32, Item)>,
}

impl FooterBuilder {
    /// Adds an entry to run number `run`, which [`FooterBuilder::begin_run`] gave.
    pub fn add(&mut self, run: u32, item: Item) {
        self.runs[run as usize].count += 1;
        self.items.push((run, item));
    }

    /// Opens a run; returns its number.
    pub fn begin_run(&mut self, group: GroupId, life: u32, first_index: LogIndex, term: Term) -> u32 {
        self.runs.push(Run { group, life, first_index, term, count: 0, first_item: 0 });
        self.runs.len() as u32 - 1
    }

    /// Bytes that the footer would take with this much more in it.
    #[must_use]
    pub fn bytes_with(&self, more: usize) -> usize {
        footer_bytes(self.runs.len() + more, self.items.len() + more)
    }

    /// Bytes that the footer takes now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes_with(0)
    }

    /// Writes the footer into `out`, which has exactly [`FooterBuilder::bytes`]; returns its crc.
    pub fn write(&mut self, out: &mut [u8]) -> u32 {
        assert_eq!(out.len(), self.bytes(), "the footer's place has its size");
        let mut order: Vec<u32> = (0..self.runs.len() as u32).collect();
        order.sort_by_key(|run| (self.runs[*run as usize].group, self.runs[*run as usize].first_index, *run));
        put_u32(out, 0, self.runs.len() as u32);
        put_u32(out, 4, self.items.len() as u32);
        let mut first_item = 0;
        for (place, run) in order.iter().enumerate() {
            let run = &mut self.runs[*run as usize];
            run.first_item = first_item;
            first_item += run.count;
            let at = 8 + place * RUN_BYTES;
            put_u32(out, at, run.group.0);
            put_u32(out, at + 4, run.life);
            put_u64(out, at + 8, run.first_index.0);
            put_u64(out, at + 16, run.term.0);
            put_u32(out, at + 24, run.count);
            put_u32(out, at + 28, run.first_item);
        }
        let items_at = 8 + self.runs.len() * RUN_BYTES;
        let mut next: Vec<u32> = self.runs.iter().map(|run| run.first_item).collect();
        for (run, item) in &self.items {
            let at = items_at + next[*run as usize] as usize * ITEM_BYTES;
            next[*run as usize] += 1;
            put_u32(out, at, item.offset);
            put_u32(out, at + 4, item.crc);
        }
        let crc_at = out.len() - 4;
        let crc = crc32c(&out[..crc_at]);
        put_u32(out, crc_at, crc);
        crc
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.items.clear();
    }
}

/// Parses a footer: its runs and items, or `None` when it is damaged.
#[must_use]
pub fn parse_footer(bytes: &[u8]) -> Option<(Vec<Run>, Vec<Item>)> {
    let crc_at = bytes.len().checked_sub(4)?;
    let (runs, items) = (get_u32(bytes, 0)? as usize, get_u32(bytes, 4)? as usize);
    let wanted = runs.checked_mul(RUN_BYTES)?.checked_add(items.checked_mul(ITEM_BYTES)?)?.checked_add(12)?;
    if wanted != bytes.len() || get_u32(bytes, crc_at)? != crc32c(&bytes[..crc_at]) {
        return None;
    }
    let run = |at: usize| {
        Some(Run {
            group: GroupId(get_u32(bytes, at)?),
            life: get_u32(bytes, at + 4)?,
            first_index: LogIndex(get_u64(bytes, at + 8)?),
            term: Term(get_u64(bytes, at + 16)?),
            count: get_u32(bytes, at + 24)?,
            first_item: get_u32(bytes, at + 28)?,
        })
    };
    let item = |at: usize| Some(Item { offset: get_u32(bytes, at)?, crc: get_u32(bytes, at + 4)? });
    let items_at = 8 + runs * RUN_BYTES;
    Some((
        (0..runs).map(|place| run(8 + place * RUN_BYTES)).collect::<Option<_>>()?,
        (0..items).map(|place| item(items_at + place * ITEM_BYTES)).collect::<Option<_>>()?,
    ))
}

/// The last block of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// The segment.
    pub segment_seq: u64,
    /// Its salt.
    pub salt: u64,
    /// Its last frame.
    pub last_frame_seq: u64,
    /// The header_crc of its last frame.
    pub last_header_crc: u32,
    /// Where the footer begins.
    pub footer_block: u32,
    /// Its bytes, without padding.
    pub footer_bytes: u32,
    /// Its crc.
    pub footer_crc: u32,
}

impl Trailer {
    /// Writes the block; `out` is its 4096 bytes.
    pub fn put(&self, out: &mut [u8]) {
        out[48..CRC_AT].fill(0);
        out[..8].copy_from_slice(MAGIC);
        put_u64(out, 8, self.segment_seq);
        put_u64(out, 16, self.salt);
        put_u64(out, 24, self.last_frame_seq);
        put_u32(out, 32, self.last_header_crc);
        put_u32(out, 36, self.footer_block);
        put_u32(out, 40, self.footer_bytes);
        put_u32(out, 44, self.footer_crc);
        let crc = crc32c(&out[..CRC_AT]);
        put_u32(out, CRC_AT, crc);
    }

    /// Parses the block; `None` when it is damaged.
    #[must_use]
    pub fn parse(block: &[u8]) -> Option<Trailer> {
        if block.len() != LOG_BLOCK_BYTES || &block[..8] != MAGIC || !is_zero(&block[48..CRC_AT]) {
            return None;
        }
        if get_u32(block, CRC_AT)? != crc32c(&block[..CRC_AT]) {
            return None;
        }
        Some(Trailer {
            segment_seq: get_u64(block, 8)?,
            salt: get_u64(block, 16)?,
            last_frame_seq: get_u64(block, 24)?,
            last_header_crc: get_u32(block, 32)?,
            footer_block: get_u32(block, 36)?,
            footer_bytes: get_u32(block, 40)?,
            footer_crc: get_u32(block, 44)?,
        })
    }
}
