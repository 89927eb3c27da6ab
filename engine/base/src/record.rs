//! The log record: the bytes that the leader writes once and that go to its disk and to every follower unchanged.
//!
//! ```text
//!  0 u32 crc of 8..bytes     4 u32 life (local, outside the crc)   8 u32 bytes: header and payload, unaligned
//! 12 u8 kind                13 u8 flags                           14 u16 header_bytes = 40
//! 16 u32 group              20 u32 prev_crc (entries only)        24 u64 index    32 u64 term    40 payload
//! ```
//! The next record begins at the next multiple of 8; the padding is zero.

use crate::bytes::{align_up, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use crate::checksum::crc32c;
use crate::limits::ENTRY_BYTES_MAX;
use crate::{GroupId, LogIndex, Term};

/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 40;

/// What a record is; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// An entry of a group's log.
    Entry = 1,
    /// A copy of a persisted term and vote.
    HardState = 2,
    /// A lossy note of the commit index.
    CommitHint = 3,
    /// All entries from `index` on are gone.
    TruncSuffix = 4,
    /// All entries before `index` are gone.
    TruncPrefix = 5,
    /// A group begins.
    GroupNew = 6,
    /// A group ends.
    GroupDrop = 7,
    /// An entry moved forward or repaired.
    Rewrite = 8,
    /// The store is durable up to `index`.
    Checkpoint = 9,
    /// The segment ends here.
    Seal = 10,
    /// The group's health changed.
    Health = 11,
}

impl RecordKind {
    /// The kind of a number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<RecordKind> {
        use RecordKind::*;
        [Entry, HardState, CommitHint, TruncSuffix, TruncPrefix, GroupNew, GroupDrop, Rewrite, Checkpoint, Seal, Health]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What an entry carries; the numbers are on disk, in the record's flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Commands of the state machine.
    Commands = 1,
    /// Nothing: a new leader's first entry.
    Noop = 2,
    /// A configuration of the group.
    Config = 3,
}

impl EntryKind {
    /// The kind of a number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<EntryKind> {
        match number {
            1 => Some(EntryKind::Commands),
            2 => Some(EntryKind::Noop),
            3 => Some(EntryKind::Config),
            _ => None,
        }
    }
}

/// The fields of a record's header that its writer chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// What it is.
    pub kind: RecordKind,
    /// Meaning by kind; for entries the [`EntryKind`].
    pub flags: u8,
    /// The group's local life.
    pub life: u32,
    /// Whose it is.
    pub group: GroupId,
    /// The crc of the group's entry at `index - 1`; 0 where there is none or it is no entry.
    pub prev_crc: u32,
    /// Meaning by kind.
    pub index: LogIndex,
    /// Meaning by kind.
    pub term: Term,
}

/// Bytes that a record of this payload takes, with its padding.
#[must_use]
#[inline]
pub const fn record_space(payload_bytes: usize) -> usize {
    align_up(RECORD_HEADER_BYTES + payload_bytes, 8)
}

/// Writes a record at the start of `out` and zeroes its padding; returns (space taken, crc). Panics if `out` is short.
pub fn write_record(out: &mut [u8], header: &RecordHeader, payload: &[u8]) -> (usize, u32) {
    let bytes = RECORD_HEADER_BYTES + payload.len();
    let space = align_up(bytes, 8);
    put_u32(out, 4, header.life);
    put_u32(out, 8, u32::try_from(bytes).expect("payloads are bounded by ENTRY_BYTES_MAX"));
    out[12] = header.kind as u8;
    out[13] = header.flags;
    put_u16(out, 14, RECORD_HEADER_BYTES as u16);
    put_u32(out, 16, header.group.0);
    put_u32(out, 20, header.prev_crc);
    put_u64(out, 24, header.index.0);
    put_u64(out, 32, header.term.0);
    out[RECORD_HEADER_BYTES..bytes].copy_from_slice(payload);
    out[bytes..space].fill(0);
    let crc = crc32c(&out[8..bytes]);
    put_u32(out, 0, crc);
    (space, crc)
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("record ends after {have} bytes and needs {need}")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// A header field has a value that no writer gives.
    #[error("record header has a bad {0}")]
    Field(&'static str),
    /// The bytes are not those that were written.
    #[error("record crc is {found:08x}, and its bytes give {computed:08x}")]
    Crc {
        /// In the header.
        found: u32,
        /// Of the bytes.
        computed: u32,
    },
}

/// One record in place: `raw` is header and payload, without padding. Its crc has been checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    raw: &'a [u8],
}

impl<'a> Record<'a> {
    /// Parses the record at the start of `bytes` and checks its crc; returns it and the space it takes.
    ///
    /// Errors: [`RecordError`]; nothing is trusted before the crc holds.
    pub fn parse(bytes: &'a [u8]) -> Result<(Record<'a>, usize), RecordError> {
        let short = |need| RecordError::Short { have: bytes.len(), need };
        let length = get_u32(bytes, 8).ok_or(short(RECORD_HEADER_BYTES))? as usize;
        if !(RECORD_HEADER_BYTES..=1 << 30).contains(&length) {
            return Err(RecordError::Field("length"));
        }
        let space = align_up(length, 8);
        let raw = bytes.get(..length).ok_or(short(space))?;
        let padding = bytes.get(length..space).ok_or(short(space))?;
        let found = get_u32(raw, 0).ok_or(short(RECORD_HEADER_BYTES))?;
        let computed = crc32c(&raw[8..]);
        if crate::mutate!(MUT_13A, found != computed, false) {
            return Err(RecordError::Crc { found, computed });
        }
        if get_u16(raw, 14) != Some(RECORD_HEADER_BYTES as u16) {
            return Err(RecordError::Field("header_bytes"));
        }
        RecordKind::from_u8(raw[12]).ok_or(RecordError::Field("kind"))?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(RecordError::Field("padding"));
        }
        Ok((Record { raw }, space))
    }

    /// Header and payload, without padding.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.raw[RECORD_HEADER_BYTES..]
    }

    /// The crc, which has been checked.
    #[must_use]
    pub fn crc(&self) -> u32 {
        get_u32(self.raw, 0).expect("a parsed record has a whole header")
    }

    /// The header's fields.
    #[must_use]
    pub fn header(&self) -> RecordHeader {
        let u32_at = |offset| get_u32(self.raw, offset).expect("a parsed record has a whole header");
        let u64_at = |offset| get_u64(self.raw, offset).expect("a parsed record has a whole header");
        RecordHeader {
            kind: RecordKind::from_u8(self.raw[12]).expect("parse checked the kind"),
            flags: self.raw[13],
            life: u32_at(4),
            group: GroupId(u32_at(16)),
            prev_crc: u32_at(20),
            index: LogIndex(u64_at(24)),
            term: Term(u64_at(32)),
        }
    }

    /// The entry kind, for records that are entries.
    #[must_use]
    pub fn entry_kind(&self) -> Option<EntryKind> {
        EntryKind::from_u8(self.raw[13])
    }
}

/// A run of records whose bytes were checked once, by [`Records::check_entries`]: iteration cannot fail.
#[derive(Clone, Copy)]
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// No records.
    pub const EMPTY: Records<'static> = Records { bytes: &[] };

    /// Checks that `bytes` are exactly `count` whole entries of `group`, of contiguous indexes from `first` on, with
    /// terms that never fall, chained by `prev_crc` from the second on.
    ///
    /// Errors: the first fault found.
    pub fn check_entries(
        bytes: &'a [u8],
        count: u16,
        group: GroupId,
        first: LogIndex,
    ) -> Result<Records<'a>, RecordError> {
        let mut rest = bytes;
        let mut expected = first;
        let mut before: Option<(u32, Term)> = None;
        for _ in 0..count {
            let (record, space) = Record::parse(rest)?;
            let header = record.header();
            if header.kind != RecordKind::Entry || record.entry_kind().is_none() {
                return Err(RecordError::Field("kind"));
            }
            if record.payload().len() > ENTRY_BYTES_MAX {
                return Err(RecordError::Field("length"));
            }
            if header.group != group {
                return Err(RecordError::Field("group"));
            }
            if header.index != expected {
                return Err(RecordError::Field("index"));
            }
            if let Some((crc, term)) = before {
                if header.prev_crc != crc {
                    return Err(RecordError::Field("prev_crc"));
                }
                if header.term < term {
                    return Err(RecordError::Field("term"));
                }
            }
            before = Some((record.crc(), header.term));
            expected = expected.next();
            rest = &rest[space..];
        }
        if rest.is_empty() { Ok(Records { bytes }) } else { Err(RecordError::Field("count")) }
    }

    /// The checked bytes, padding included.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let length = get_u32(self.bytes, 8).expect("the run was checked") as usize;
        let record = Record { raw: &self.bytes[..length] };
        self.bytes = &self.bytes[align_up(length, 8)..];
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64, prev_crc: u32, payload: &[u8]) -> (Vec<u8>, u32) {
        let mut out = vec![0xff; record_space(payload.len())];
        let header = RecordHeader {
            kind: RecordKind::Entry,
            flags: EntryKind::Commands as u8,
            life: 3,
            group: GroupId(5),
            prev_crc,
            index: LogIndex(index),
            term: Term(term),
        };
        let (space, crc) = write_record(&mut out, &header, payload);
        assert_eq!(space, out.len());
        (out, crc)
    }

    #[test]
    fn a_record_round_trips_and_life_is_outside_its_crc() {
        let (mut bytes, crc) = entry(7, 2, 9, b"hello");
        put_u32(&mut bytes, 4, 99);
        let (record, space) = Record::parse(&bytes).unwrap();
        assert_eq!((record.payload(), record.crc(), space), (&b"hello"[..], crc, 48));
        assert_eq!((record.header().life, record.header().index), (99, LogIndex(7)));
    }

    #[test]
    fn every_flipped_bit_outside_life_is_noticed() {
        let (bytes, _) = entry(7, 2, 9, b"hello");
        for bit in (0..bytes.len() * 8).filter(|bit| !(32..64).contains(bit)) {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::parse(&bad).is_err(), "bit {bit} was not noticed");
        }
    }

    #[test]
    fn a_run_is_checked_for_count_index_chain_and_end() {
        let (mut run, crc) = entry(7, 2, 9, b"one");
        run.extend(entry(8, 3, crc, b"two").0);
        let ok = Records::check_entries(&run, 2, GroupId(5), LogIndex(7)).unwrap();
        assert_eq!(ok.map(|r| r.payload().to_vec()).collect::<Vec<_>>(), [b"one".to_vec(), b"two".to_vec()]);
        assert!(Records::check_entries(&run, 1, GroupId(5), LogIndex(7)).is_err());
        assert!(Records::check_entries(&run, 3, GroupId(5), LogIndex(7)).is_err());
        assert!(Records::check_entries(&run, 2, GroupId(6), LogIndex(7)).is_err());
        assert!(Records::check_entries(&run, 2, GroupId(5), LogIndex(8)).is_err());
        assert!(Records::check_entries(&run[..run.len() - 8], 2, GroupId(5), LogIndex(7)).is_err());
        let (mut broken, _) = entry(7, 2, 9, b"one");
        broken.extend(entry(8, 3, crc ^ 1, b"two").0);
        assert!(Records::check_entries(&broken, 2, GroupId(5), LogIndex(7)).is_err());
    }
}
