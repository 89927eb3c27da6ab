//! A frame: one group commit, a run of 4 KiB blocks that starts and ends on a block boundary.
//!
//! ```text
//!   0 "DSFR"   4 u32 header_crc of 8..96   8 u64 salt   16 u64 segment_seq   24 u64 frame_seq
//!  32 u32 prev_frame_crc   36 u32 body_crc of 96..end   40 u16 frame_blocks   42 u16 records
//!  44 u16 flags   46 u16 echo_others   48 u32 records_bytes   52 u32 echo_bytes   56 u64 persisted_seq
//!  64 u64 prev_frame_seq   72 u32 block   76 u32 stamp_s   80 u16 echo_entries   82 u8 echo_states   83 u8 states
//!  84 u32 block0_crc of 96..4096   88 u64 groups
//!  96 8 x state slot   288 records, each 8-byte aligned   then ECHO   then zeros
//! ```

use base::bytes::{align_up, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::checksum::{crc32c, crc32c_append};
use base::limits::{LOG_BLOCK_BYTES, STATE_SLOTS_MAX};
use base::record::RecordKind;
use base::{GroupId, LogIndex, NodeId, Term, mutate};

const MAGIC: &[u8; 4] = b"DSFR";
const HEADER_BYTES: usize = 96;

/// Bytes of a state slot and of an ECHO item.
pub const ITEM_BYTES: usize = 24;
/// Where the records begin: behind the header and the state slots.
pub const RECORDS_AT: usize = HEADER_BYTES + STATE_SLOTS_MAX * ITEM_BYTES;

/// Flag: the first frame of its segment.
pub const FIRST: u16 = 1;
/// Flag: the last frame of its segment; it carries a SEAL record.
pub const SEAL: u16 = 2;
/// Flag: the first frame after a recovery; frames between `prev_frame_seq` and this one are void.
pub const RESET: u16 = 4;
/// Flag: only the ECHO of the frame before.
pub const ECHO_ONLY: u16 = 8;

/// The fields of a frame's header that its writer chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameHeader {
    /// The segment's salt.
    pub salt: u64,
    /// The segment.
    pub segment_seq: u64,
    /// Rising, never reused.
    pub frame_seq: u64,
    /// The header_crc of the frame before.
    pub prev_frame_crc: u32,
    /// Length in blocks.
    pub frame_blocks: u16,
    /// Records.
    pub records: u16,
    /// [`FIRST`], [`SEAL`], [`RESET`], [`ECHO_ONLY`].
    pub flags: u16,
    /// Bytes of the records, padding between them included.
    pub records_bytes: u32,
    /// The `persisted_seq` known when this frame was closed.
    pub persisted_seq: u64,
    /// The frame before: `frame_seq - 1`, except after a tail reset.
    pub prev_frame_seq: u64,
    /// Where this frame starts, in blocks from segment start.
    pub block: u32,
    /// Seconds since 1970, for people only.
    pub stamp_s: u32,
    /// Entries in the ECHO.
    pub echo_entries: u16,
    /// OR of [`others_bit`] over the records of the frame before that bind and are no entries: what its ECHO does not name.
    pub echo_others: u16,
    /// State slots in the ECHO.
    pub echo_states: u8,
    /// State slots in use.
    pub states: u8,
    /// OR of [`group_bit`] over all records and slots.
    pub groups: u64,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        usize::from(self.frame_blocks) * LOG_BLOCK_BYTES
    }

    /// Bytes of the ECHO.
    #[must_use]
    pub fn echo_bytes(&self) -> usize {
        (usize::from(self.echo_entries) + usize::from(self.echo_states)) * ITEM_BYTES
    }

    /// Where the ECHO begins in the frame.
    #[must_use]
    pub fn echo_at(&self) -> usize {
        RECORDS_AT + self.records_bytes as usize
    }

    /// True when `flag` is set.
    #[must_use]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// A group's term and vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateSlot {
    /// Whose.
    pub group: GroupId,
    /// The term.
    pub term: Term,
    /// The vote given in it; node 0 is none.
    pub vote: NodeId,
}

impl StateSlot {
    /// Writes 24 bytes at `at`.
    pub fn put(&self, out: &mut [u8], at: usize) {
        put_u32(out, at, self.group.0);
        put_u32(out, at + 4, 0);
        put_u64(out, at + 8, self.term.0);
        put_u64(out, at + 16, self.vote.0);
    }

    /// Reads 24 bytes at `at`; `None` when they are not there or a reserved byte is not zero.
    #[must_use]
    pub fn get(bytes: &[u8], at: usize) -> Option<StateSlot> {
        if get_u32(bytes, at + 4)? != 0 {
            return None;
        }
        Some(StateSlot {
            group: GroupId(get_u32(bytes, at)?),
            term: Term(get_u64(bytes, at + 8)?),
            vote: NodeId(get_u64(bytes, at + 16)?),
        })
    }
}

/// The identity of an entry, kept apart from the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EchoItem {
    /// Whose.
    pub group: GroupId,
    /// The record's crc.
    pub crc: u32,
    /// The entry's index.
    pub index: LogIndex,
    /// The entry's term.
    pub term: Term,
}

impl EchoItem {
    /// Writes 24 bytes at `at`.
    pub fn put(&self, out: &mut [u8], at: usize) {
        put_u32(out, at, self.group.0);
        put_u32(out, at + 4, self.crc);
        put_u64(out, at + 8, self.index.0);
        put_u64(out, at + 16, self.term.0);
    }

    /// Reads 24 bytes at `at`; `None` when they are not there.
    #[must_use]
    pub fn get(bytes: &[u8], at: usize) -> Option<EchoItem> {
        Some(EchoItem {
            group: GroupId(get_u32(bytes, at)?),
            crc: get_u32(bytes, at + 4)?,
            index: LogIndex(get_u64(bytes, at + 8)?),
            term: Term(get_u64(bytes, at + 16)?),
        })
    }
}

/// The group's bit in [`FrameHeader::groups`].
#[must_use]
pub fn group_bit(group: GroupId, cores: u16) -> u64 {
    1 << ((group.0 / u32::from(cores)) % 64)
}

/// The group's bit in [`FrameHeader::echo_others`].
#[must_use]
pub fn others_bit(group: GroupId, cores: u16) -> u16 {
    1 << ((group.0 / u32::from(cores)) % 16)
}

/// True when a record's loss could let its group forget what binds it: a vote moved forward, a doubt, a new beginning.
/// The ECHO names entries and slots; truncations show in the entries that follow; a compaction or checkpoint that is
/// lost leaves entries that were no longer needed.
#[must_use]
pub fn binds(kind: RecordKind, flags: u8) -> bool {
    match kind {
        RecordKind::HardState | RecordKind::GroupNew | RecordKind::GroupDrop | RecordKind::Health => true,
        RecordKind::TruncPrefix => flags == 2,
        _ => false,
    }
}

/// Blocks of a frame with these contents.
#[must_use]
pub fn blocks_for(records_bytes: usize, echo_items: usize) -> usize {
    align_up(RECORDS_AT + records_bytes + echo_items * ITEM_BYTES, LOG_BLOCK_BYTES) / LOG_BLOCK_BYTES
}

/// Writes the header of a frame whose slots, records, ECHO and zeros are in place; `frame` is the whole frame.
/// Returns its header_crc. Panics when the length is another than the header says.
pub fn finish_frame(frame: &mut [u8], header: &FrameHeader) -> u32 {
    assert_eq!(frame.len(), header.frame_bytes(), "a frame is as long as its header says");
    frame[..4].copy_from_slice(MAGIC);
    put_u64(frame, 8, header.salt);
    put_u64(frame, 16, header.segment_seq);
    put_u64(frame, 24, header.frame_seq);
    put_u32(frame, 32, header.prev_frame_crc);
    put_u16(frame, 40, header.frame_blocks);
    put_u16(frame, 42, header.records);
    put_u16(frame, 44, header.flags);
    put_u16(frame, 46, header.echo_others);
    put_u32(frame, 48, header.records_bytes);
    put_u32(frame, 52, header.echo_bytes() as u32);
    put_u64(frame, 56, header.persisted_seq);
    put_u64(frame, 64, header.prev_frame_seq);
    put_u32(frame, 72, header.block);
    put_u32(frame, 76, header.stamp_s);
    put_u16(frame, 80, header.echo_entries);
    frame[82] = header.echo_states;
    frame[83] = header.states;
    put_u64(frame, 88, header.groups);
    let block0_crc = crc32c(&frame[HEADER_BYTES..LOG_BLOCK_BYTES]);
    let body_crc = crc32c_append(block0_crc, &frame[LOG_BLOCK_BYTES..]);
    put_u32(frame, 84, block0_crc);
    put_u32(frame, 36, body_crc);
    let header_crc = crc32c(&frame[8..HEADER_BYTES]);
    put_u32(frame, 4, header_crc);
    header_crc
}

/// The good head of a frame: header_crc, stamps and block0_crc hold. Its body may still be damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The header's fields.
    pub header: FrameHeader,
    /// Its crc, which the next frame names.
    pub header_crc: u32,
    body_crc: u32,
    block0_crc: u32,
    slots: [StateSlot; STATE_SLOTS_MAX],
}

impl Head {
    /// Parses the first block of what may be a frame of this segment at this block. `None` when it is not: nothing is
    /// told of why, since recycled bytes look like anything.
    #[must_use]
    pub fn parse(block0: &[u8], salt: u64, segment_seq: u64, block: u32) -> Option<Head> {
        let block0 = block0.get(..LOG_BLOCK_BYTES)?;
        let header_crc = get_u32(block0, 4)?;
        if &block0[..4] != MAGIC || header_crc != crc32c(&block0[8..HEADER_BYTES]) {
            return None;
        }
        let header = FrameHeader {
            salt,
            segment_seq: get_u64(block0, 16)?,
            frame_seq: get_u64(block0, 24)?,
            prev_frame_crc: get_u32(block0, 32)?,
            frame_blocks: get_u16(block0, 40)?,
            records: get_u16(block0, 42)?,
            flags: get_u16(block0, 44)?,
            records_bytes: get_u32(block0, 48)?,
            persisted_seq: get_u64(block0, 56)?,
            prev_frame_seq: get_u64(block0, 64)?,
            block: get_u32(block0, 72)?,
            stamp_s: get_u32(block0, 76)?,
            echo_entries: get_u16(block0, 80)?,
            echo_others: get_u16(block0, 46)?,
            echo_states: block0[82],
            states: block0[83],
            groups: get_u64(block0, 88)?,
        };
        let block0_crc = get_u32(block0, 84)?;
        // Either stamp alone tells recycled bytes: a number is never used again, nor is a salt likely to be.
        let is_own = mutate!(MUT_7B, get_u64(block0, 8)? == salt && header.segment_seq == segment_seq, true);
        let is_here = is_own && header.block == block;
        let states = usize::from(header.states);
        let is_shaped = header.flags & !(FIRST | SEAL | RESET | ECHO_ONLY) == 0
            && get_u32(block0, 52)? as usize == header.echo_bytes()
            && header.records_bytes.is_multiple_of(8)
            && header.echo_at() + header.echo_bytes() <= header.frame_bytes()
            && header.prev_frame_seq < header.frame_seq
            && states <= STATE_SLOTS_MAX
            && usize::from(header.echo_states) <= STATE_SLOTS_MAX;
        if !is_here || !is_shaped || block0_crc != crc32c(&block0[HEADER_BYTES..]) {
            return None;
        }
        let mut slots = [StateSlot::default(); STATE_SLOTS_MAX];
        for (at, slot) in slots.iter_mut().enumerate() {
            *slot = StateSlot::get(block0, HEADER_BYTES + at * ITEM_BYTES)?;
            if at >= states && *slot != StateSlot::default() {
                return None;
            }
        }
        Some(Head { header, header_crc, body_crc: get_u32(block0, 36)?, block0_crc, slots })
    }

    /// True when the whole frame is as it was written. `frame` is [`FrameHeader::frame_bytes`] long, or the answer is no.
    #[must_use]
    pub fn has_body(&self, frame: &[u8]) -> bool {
        frame.len() == self.header.frame_bytes()
            && crc32c_append(self.block0_crc, &frame[LOG_BLOCK_BYTES..]) == self.body_crc
            && self.has_block0(frame)
    }

    /// True when the rest of its first block is as it was written.
    #[must_use]
    pub fn has_block0(&self, frame: &[u8]) -> bool {
        frame.get(HEADER_BYTES..LOG_BLOCK_BYTES).is_some_and(|rest| crc32c(rest) == self.block0_crc)
    }

    /// Terms and votes in this frame's slots.
    #[must_use]
    pub fn slots(&self) -> &[StateSlot] {
        &self.slots[..usize::from(self.header.states)]
    }
}

/// Entry identities and state slots in the ECHO of a frame whose body is good.
///
/// Errors: `None` when an item has a bad reserved byte.
#[must_use]
pub fn parse_echo(frame: &[u8], header: &FrameHeader) -> Option<(Vec<EchoItem>, Vec<StateSlot>)> {
    let at = |item: usize| header.echo_at() + item * ITEM_BYTES;
    let entries = usize::from(header.echo_entries);
    let items = (0..entries).map(|item| EchoItem::get(frame, at(item))).collect::<Option<Vec<_>>>()?;
    let states = (0..usize::from(header.echo_states))
        .map(|item| StateSlot::get(frame, at(entries + item)))
        .collect::<Option<Vec<_>>>()?;
    Some((items, states))
}

/// Where state slot number `slot` lies in a frame.
#[must_use]
pub fn slot_at(slot: usize) -> usize {
    HEADER_BYTES + slot * ITEM_BYTES
}
