//! The bits of slots, items and keys.
//!
//! ```text
//! bucket  word 0: sequence, odd while it is written;  words 1..7: slots
//! slot    63 tag:16 48 | 47 freq:2 46 | 45 state:2 44 | 43 segment:20 24 | 23 offset:18 6 | 5 zero:6 0
//! item    word 0: 63 klen:12 52 | 51 vlen:20 32 | 31 stripe_gen:32 0
//!         word 1: 63 kind:4 60 | 59 as_of:60 0
//!         then key bytes, value bytes, zero padding to 8
//! ```
//! ghost   63 tag:16 48 | 47 zero:2 46 | 45 state:2 44 | 43 tag:16 28 | 27 tag:16 12 | 11 zero:12 0
//! A ghost slot has no item: it remembers the tags of up to three that went, the newest first, 0 for none.

use base::limits::CACHE_STRIPES;

/// Slots of a bucket.
pub(crate) const SLOTS: usize = 7;
/// Words of a bucket, of which the first is its sequence.
pub(crate) const BUCKET_WORDS: usize = SLOTS + 1;
/// Words of an item before its key.
pub(crate) const HEAD_WORDS: usize = 2;
/// The counter of uses stays here.
pub(crate) const FREQ_MAX: u8 = 3;
/// Segments that a slot can name.
pub(crate) const SEGMENTS_MAX: u32 = 1 << 20;
/// Words of a segment that a slot can name.
pub(crate) const SEGMENT_WORDS_MAX: usize = 1 << 18;
/// The longest value that an item can tell.
pub(crate) const VALUE_BYTES_MAX: usize = (1 << 20) - 1;
/// The newest version that an item can tell.
pub(crate) const AS_OF_MAX: u64 = (1 << 60) - 1;

const _: () = assert!(base::limits::CACHE_KEY_BYTES_MAX < 1 << 12);
const _: () = assert!(CACHE_STRIPES.is_power_of_two());

/// What an item says about its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The answer is a file.
    File = 1,
    /// The answer is a folder.
    Folder = 2,
    /// The answer is a mount.
    Mount = 3,
    /// There is nothing under this key: a negative answer, whose value is empty.
    Absent = 4,
    /// A row of a table.
    Row = 5,
}

impl Kind {
    pub(crate) fn from_bits(bits: u64) -> Option<Kind> {
        Some(match bits {
            1 => Kind::File,
            2 => Kind::Folder,
            3 => Kind::Mount,
            4 => Kind::Absent,
            5 => Kind::Row,
            _ => return None,
        })
    }
}

/// Keys: `table u8 | nsid u64 BE | rest`.
pub mod key {
    /// Table of answers by path; the rest is the path.
    pub const PATH: u8 = 0x40;
    /// Table of answers by node; the rest is the node.
    pub const NODE: u8 = 0x41;
    /// Added to the table of an answer for its JSON form.
    pub const JSON: u8 = 0x80;
    /// Bytes that every key has.
    pub const PREFIX_BYTES: usize = 9;

    /// The first bytes of a key.
    #[must_use]
    pub fn prefix(table: u8, nsid: base::Nsid) -> [u8; PREFIX_BYTES] {
        let mut prefix = [table; PREFIX_BYTES];
        prefix[1..].copy_from_slice(&nsid.0.to_be_bytes());
        prefix
    }

    /// Writes the key of `rest` in a table of a namespace into `out`, whose old bytes go.
    pub fn encode(table: u8, nsid: base::Nsid, rest: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&prefix(table, nsid));
        out.extend_from_slice(rest);
    }
}

/// The namespace in a key; of a key of group 0, its first field.
pub(crate) fn nsid_of(key: &[u8]) -> u64 {
    let field: [u8; 8] = key[1..key::PREFIX_BYTES].try_into().expect("eight bytes were cut out");
    u64::from_be_bytes(field)
}

/// The stripe of a key: rows have the first, answers one of the others by their namespace.
pub(crate) fn stripe_of(key: &[u8]) -> usize {
    match key[0] & !key::JSON {
        key::PATH | key::NODE => stripe_of_namespace(nsid_of(key)),
        _ => 0,
    }
}

/// The stripe of all answers of a namespace.
pub(crate) fn stripe_of_namespace(nsid: u64) -> usize {
    1 + (nsid % (CACHE_STRIPES as u64 - 1)) as usize
}

/// Where an item lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Location {
    pub segment: u32,
    /// In words from the segment's start.
    pub offset: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Empty,
    Live,
    Ghost,
}

/// One word of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(pub u64);

const TAG_AT: u32 = 48;
const FREQ_AT: u32 = 46;
const STATE_AT: u32 = 44;
const SEGMENT_AT: u32 = 24;
const OFFSET_AT: u32 = 6;
/// Items that one slot remembers.
pub(crate) const GHOSTS: usize = 3;
const GHOSTS_AT: [u32; GHOSTS] = [TAG_AT, 28, 12];
const LIVE: u64 = 1;
const GHOST: u64 = 2;

impl Slot {
    pub const EMPTY: Slot = Slot(0);
    /// Added for one use more.
    pub const ONE_USE: u64 = 1 << FREQ_AT;

    pub fn live(tag: u16, freq: u8, location: Location) -> Slot {
        debug_assert!(location.segment < SEGMENTS_MAX && (location.offset as usize) < SEGMENT_WORDS_MAX);
        let place = u64::from(location.segment) << SEGMENT_AT | u64::from(location.offset) << OFFSET_AT;
        Slot(u64::from(tag) << TAG_AT | u64::from(freq) << FREQ_AT | LIVE << STATE_AT | place)
    }

    /// Remembers one item that went.
    pub fn ghost(tag: u16) -> Slot {
        Slot(u64::from(tag) << TAG_AT | GHOST << STATE_AT)
    }

    /// The tags that a ghost slot remembers, the newest first; 0 is none.
    pub fn ghosts(self) -> [u16; GHOSTS] {
        GHOSTS_AT.map(|at| (self.0 >> at) as u16)
    }

    /// Remembers one item more, and of too many no longer the oldest.
    pub fn with_ghost(self, tag: u16) -> Slot {
        let [newest, second, _] = self.ghosts();
        Slot::of_ghosts([tag, newest, second])
    }

    /// Remembers this item no more.
    pub fn without_ghost(self, tag: u16) -> Slot {
        let mut kept = self.ghosts().into_iter().filter(|ghost| *ghost != tag && *ghost != 0);
        Slot::of_ghosts([(); GHOSTS].map(|()| kept.next().unwrap_or(0)))
    }

    fn of_ghosts(tags: [u16; GHOSTS]) -> Slot {
        let tags = tags.into_iter().zip(GHOSTS_AT).fold(0, |bits, (tag, at)| bits | u64::from(tag) << at);
        if tags == 0 { Slot::EMPTY } else { Slot(tags | GHOST << STATE_AT) }
    }

    pub fn tag(self) -> u16 {
        (self.0 >> TAG_AT) as u16
    }

    pub fn freq(self) -> u8 {
        (self.0 >> FREQ_AT & 3) as u8
    }

    pub fn state(self) -> State {
        match self.0 >> STATE_AT & 3 {
            LIVE => State::Live,
            GHOST => State::Ghost,
            _ => State::Empty,
        }
    }

    pub fn is_live(self) -> bool {
        self.state() == State::Live
    }

    /// Live, and with this tag: what may be the wanted item.
    pub fn may_be(self, tag: u16) -> bool {
        const WANTED: u64 = !(3 << FREQ_AT) & !((1 << STATE_AT) - 1);
        self.0 & WANTED == u64::from(tag) << TAG_AT | LIVE << STATE_AT
    }

    /// Of a live slot.
    pub fn location(self) -> Location {
        Location {
            segment: (self.0 >> SEGMENT_AT) as u32 % SEGMENTS_MAX,
            offset: (self.0 >> OFFSET_AT) as u32 % (1 << 18),
        }
    }
}

/// The two words before an item's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub key_bytes: usize,
    pub value_bytes: usize,
    /// Low half of its stripe when it was made.
    pub stripe_gen: u32,
    pub kind: u8,
    pub as_of: u64,
}

impl Head {
    pub fn words(&self) -> [u64; HEAD_WORDS] {
        let first = (self.key_bytes as u64) << 52 | (self.value_bytes as u64) << 32 | u64::from(self.stripe_gen);
        [first, u64::from(self.kind) << 60 | self.as_of]
    }

    pub fn parse(words: [u64; HEAD_WORDS]) -> Head {
        let [first, second] = words;
        Head {
            key_bytes: (first >> 52) as usize,
            value_bytes: (first >> 32) as usize & VALUE_BYTES_MAX,
            stripe_gen: first as u32,
            kind: (second >> 60) as u8,
            as_of: second & AS_OF_MAX,
        }
    }

    /// Words of the whole item.
    pub fn item_words(&self) -> usize {
        item_words(self.key_bytes, self.value_bytes)
    }
}

/// Words of an item with a key and a value of these lengths.
pub(crate) fn item_words(key_bytes: usize, value_bytes: usize) -> usize {
    HEAD_WORDS + (key_bytes + value_bytes).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_the_bits_of_its_picture() {
        let slot = Slot::live(0xabcd, 2, Location { segment: 0x12345, offset: 0x2f0f1 });
        assert_eq!(slot.0, 0xabcd << 48 | 2 << 46 | 1 << 44 | 0x12345 << 24 | 0x2f0f1 << 6);
        assert_eq!((slot.tag(), slot.freq(), slot.state()), (0xabcd, 2, State::Live));
        assert_eq!(slot.location(), Location { segment: 0x12345, offset: 0x2f0f1 });
        assert_eq!(Slot(slot.0 + Slot::ONE_USE).freq(), 3);
        assert!(slot.may_be(0xabcd) && !slot.may_be(0xabcc));
    }

    #[test]
    fn a_ghost_slot_remembers_three_and_is_found_by_no_reader() {
        let ghosts = Slot::ghost(1).with_ghost(2).with_ghost(0xabcd);
        assert_eq!(ghosts.0, 0xabcd << 48 | 2 << 44 | 2 << 28 | 1 << 12);
        assert_eq!(ghosts.with_ghost(4).ghosts(), [4, 0xabcd, 2]);
        assert!(!ghosts.may_be(0xabcd) && !Slot::EMPTY.may_be(0));
        assert_eq!(ghosts.without_ghost(2).ghosts(), [0xabcd, 1, 0]);
        assert_eq!(Slot::ghost(1).without_ghost(1), Slot::EMPTY);
    }

    #[test]
    fn a_head_has_the_bits_of_its_picture() {
        let head =
            Head { key_bytes: 0x501, value_bytes: 0xfedcb, stripe_gen: 0x8765_4321, kind: 4, as_of: AS_OF_MAX - 1 };
        assert_eq!(head.words(), [0x501f_edcb_8765_4321, 0x4fff_ffff_ffff_fffe]);
        assert_eq!(Head::parse(head.words()), head);
        assert_eq!(item_words(40, 200), 32);
        assert_eq!(item_words(41, 200), 33);
    }

    #[test]
    fn answers_of_a_namespace_share_a_stripe_and_rows_have_the_first() {
        let of = |table, nsid, rest: &[u8]| {
            let mut out = Vec::new();
            key::encode(table, base::Nsid(nsid), rest, &mut out);
            stripe_of(&out)
        };
        let stripe = of(key::PATH, 7, b"/a");
        assert_eq!(stripe, 8);
        assert_eq!([of(key::NODE, 7, b"12345678"), of(key::PATH | key::JSON, 7, b"/b")], [stripe; 2]);
        assert_eq!([of(0x03, 7, b"x"), of(0x02, 8, b"")], [0, 0]);
        assert_eq!(of(key::PATH, CACHE_STRIPES as u64 - 1, b""), 1);
    }
}
