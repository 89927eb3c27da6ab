//! [`SegLog`]: appending into the open frame, and reading from the index.

use std::collections::VecDeque;

use base::bytes::put_u32;
use base::limits::STATE_SLOTS_MAX;
use base::record::{EntryKind, RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind, record_space, write_record};
use base::{GroupId, LogIndex, Mono, NodeId, Prng, SyncEpoch, Term};

use crate::commit::Commit;
use crate::disk::Disk;
use crate::format::footer::Item;
use crate::format::frame::{self, EchoItem, StateSlot};
use crate::frames::place_of;
use crate::gc::Gc;
use crate::group::{GroupLog, Health};
use crate::scrub::Scrub;
use crate::segment::Segment;
use crate::settings::Settings;
use crate::stretch::Loc;

/// What [`SegLog::set_state`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateTaken {
    /// The term and vote are persisted when this epoch is.
    Taken(SyncEpoch),
    /// All slots of the open frame are used: ask again when the next epoch is open.
    Full,
}

/// An entry, if its bytes are in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Slice<'a> {
    /// Its checked record.
    InMemory(Record<'a>),
    /// Ask [`SegLog::fault_in`] and try again.
    Cold,
    /// Its bytes are lost; `term` and `crc` still answer. It is not absent: repair it with [`SegLog::rewrite`].
    Faulty,
}

impl std::fmt::Debug for Slice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Slice::InMemory(record) => f.debug_tuple("InMemory").field(&record.header()).finish(),
            Slice::Cold => f.write_str("Cold"),
            Slice::Faulty => f.write_str("Faulty"),
        }
    }
}

/// Why [`SegLog::records`] gave nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Held, but not in memory: ask [`SegLog::fault_in`] for them and try again.
    #[error("entries {first}..={last} are not in memory; fault them in and try again")]
    Cold {
        /// The first one.
        first: LogIndex,
        /// The last one that was asked for.
        last: LogIndex,
    },
    /// This one lost its bytes: the ones before it can be had, it cannot until it is rewritten.
    #[error("entry {0} is faulty; repair it from an intact copy")]
    Faulty(LogIndex),
}

/// The frame being filled, in place in the tail image.
#[derive(Clone, Default, Debug)]
pub(crate) struct OpenFrame {
    pub frame_seq: u64,
    pub start: u32,
    pub flags: u16,
    pub prev_frame_seq: u64,
    pub records: u32,
    pub records_bytes: usize,
    pub states: Vec<StateSlot>,
    pub echo: Vec<EchoItem>,
    pub groups: u64,
    /// As [`frame::FrameHeader::echo_others`] of the next frame will say.
    pub others: u16,
}

impl OpenFrame {
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.states.is_empty() && self.flags & frame::RESET == 0
    }
}

/// The log of one core.
///
/// Records go into the open frame, whose number is the open epoch; it is closed by [`SegLog::handle_turn_end`], written
/// and synced by the operations of [`SegLog::poll_op`], and persisted when [`SegLog::persisted_epoch`] says so. Reads
/// see records at once. Appending never waits: frames queue in memory while the disk works, and the caller takes no more
/// work beyond [`base::limits::UNSYNCED_BYTES_MAX`] of [`SegLog::unsynced_bytes`].
#[derive(Clone, Debug)]
pub struct SegLog<D: Disk> {
    pub(crate) disk: D,
    pub(crate) settings: Settings,
    /// By `group / cores`.
    pub(crate) groups: Vec<Option<Box<GroupLog>>>,
    /// Oldest first, without gaps; at most one beyond the active one.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) active_seq: u64,
    pub(crate) open: OpenFrame,
    /// ECHO of the last closed frame.
    pub(crate) echo: Vec<EchoItem>,
    pub(crate) echo_states: Vec<StateSlot>,
    pub(crate) echo_others: u16,
    /// Groups that left no trace and may have had one.
    pub(crate) unknown_bits: u64,
    /// The last closed frame needs no echo.
    pub(crate) is_echoed: bool,
    pub(crate) last_header_crc: u32,
    pub(crate) next_life: u32,
    pub(crate) wall_ms: u64,
    pub(crate) now: Mono,
    pub(crate) salts: Prng,
    pub(crate) commit: Commit,
    pub(crate) gc: Gc,
    pub(crate) scrub: Scrub,
    /// Groups whose first faulty entry moved, each once, until they are asked for.
    pub(crate) fault_changes: Vec<GroupId>,
}

impl<D: Disk> SegLog<D> {
    /// The epoch of what is written now: the open frame's number.
    #[must_use]
    pub fn open_epoch(&self) -> SyncEpoch {
        SyncEpoch(self.open.frame_seq)
    }

    /// The epoch that covers all that was written so far: the open one, or the last closed one when the open frame is
    /// still empty. Messages that wait for the disk wait for this one; waiting for an empty frame would cost 5 ms.
    #[must_use]
    pub fn covering_epoch(&self) -> SyncEpoch {
        if self.open.is_empty() { SyncEpoch(self.commit.last_closed) } else { self.open_epoch() }
    }

    /// All frames up to this one are on disk.
    #[must_use]
    pub fn persisted_epoch(&self) -> SyncEpoch {
        SyncEpoch(self.commit.persisted)
    }

    /// All frames up to this one were handed out to be written: for measuring.
    #[must_use]
    pub fn issued_epoch(&self) -> SyncEpoch {
        SyncEpoch(self.commit.issued)
    }

    /// The writes of all frames up to this one have ended; they may not be on disk yet: for measuring. Of two batches in
    /// flight the second may be written first, and counts the first one with it.
    #[must_use]
    pub fn written_epoch(&self) -> SyncEpoch {
        SyncEpoch(self.commit.written)
    }

    /// Writes a new entry, built here, at `last_index + 1`; its prev_crc comes from the index. Returns its epoch.
    ///
    /// Shape: a payload of at most [`Settings::entry_bytes_max`]. Panics for a group that is not begun, another index, or a larger
    /// payload: those are the caller's to keep.
    pub fn append_new(
        &mut self,
        group: GroupId,
        kind: EntryKind,
        index: LogIndex,
        term: Term,
        payload: &[u8],
    ) -> SyncEpoch {
        let (life, prev_crc) = self.prepare_entry(group, index, record_space(payload.len()));
        let header = RecordHeader { kind: RecordKind::Entry, flags: kind as u8, life, group, prev_crc, index, term };
        let (offset, crc) = self.place(&header, payload);
        self.note_entry(group, term, Loc { segment: 0, offset, bytes: 40 + payload.len() as u32, crc });
        if kind == EntryKind::Config {
            self.group_mut(group).configs.push((index, payload.to_vec()));
        }
        self.open_epoch()
    }

    /// Writes a received entry at `last_index + 1`: its bytes as they are, with this node's own life. Returns its epoch.
    ///
    /// Panics for another group or index, or a record that does not chain: the caller has compared prev_crc.
    pub fn append_record(&mut self, group: GroupId, record: Record<'_>) -> SyncEpoch {
        let header = record.header();
        let raw = record.raw();
        assert!(header.group == group && header.kind == RecordKind::Entry, "an entry of this group: {header:?}");
        let (life, prev_crc) = self.prepare_entry(group, header.index, raw.len().next_multiple_of(8));
        assert!(header.prev_crc == prev_crc, "group {group}: entry {} does not chain", header.index);
        let space = raw.len().next_multiple_of(8);
        let offset = self.open_offset();
        let out = self.image_mut(offset, space);
        out[..raw.len()].copy_from_slice(raw);
        out[raw.len()..].fill(0);
        put_u32(out, 4, life);
        self.note_record(group, space);
        let loc = Loc { segment: 0, offset: offset / 8, bytes: raw.len() as u32, crc: record.crc() };
        self.note_entry(group, header.term, loc);
        if record.entry_kind() == Some(EntryKind::Config) {
            self.group_mut(group).configs.push((header.index, record.payload().to_vec()));
        }
        self.open_epoch()
    }

    /// Drops the entries from `from` on. Its record is written in the same frame as the entry that replaces it.
    pub fn truncate_suffix(&mut self, group: GroupId, from: LogIndex) {
        let log = self.group_mut(group);
        assert!(log.first() <= from, "group {group}: no truncation at {from}, below the first index {}", log.first());
        if from <= log.last() {
            base::mark::hit!("seglog.truncate.twice_before_written", log.truncated_from.is_some());
            base::mark::hit!("seglog.truncate.suffix");
            self.change_entries(group, |log| log.drop_suffix(from));
            let log = self.group_mut(group);
            log.truncated_from = Some(log.truncated_from.map_or(from, |before| before.min(from)));
        }
    }

    /// Puts term and vote into a state slot of the open frame; a second call of one epoch overwrites the first.
    pub fn set_state(&mut self, group: GroupId, term: Term, vote: NodeId) -> StateTaken {
        let slot = StateSlot { group, term, vote };
        let is_full = self.open.states.len() == STATE_SLOTS_MAX;
        base::mark::hit!("seglog.state.slots_full", is_full);
        base::mark::hit!("seglog.state.slot_taken_over", self.open.states.iter().any(|slot| slot.group == group));
        match self.open.states.iter_mut().find(|slot| slot.group == group) {
            Some(taken) => *taken = slot,
            None if is_full => return StateTaken::Full,
            None => self.open.states.push(slot),
        }
        self.open.groups |= frame::group_bit(group, self.settings.cores);
        let active = self.active_seq;
        let log = self.group_mut(group);
        (log.term, log.vote, log.at.hard_state) = (term, vote, active);
        StateTaken::Taken(self.open_epoch())
    }

    /// Compaction: entries before `first` are no longer needed; term and crc are those of the entry at `first - 1`, and
    /// `config` is the configuration in force there. Only for what the store holds durably. Returns its epoch.
    pub fn truncate_prefix(
        &mut self,
        group: GroupId,
        first: LogIndex,
        term: Term,
        crc: u32,
        config: &[u8],
    ) -> SyncEpoch {
        let log = self.group_mut(group);
        assert!(
            first <= log.last().next(),
            "group {group}: compaction to {first} beyond the last index {}",
            log.last()
        );
        if first > log.first() {
            base::mark::hit!("seglog.truncate.prefix");
            self.flush_truncation(group);
            self.change_entries(group, |log| log.drop_prefix(first, (term, crc), config));
            self.write_prefix(group, 0);
        }
        self.covering_epoch()
    }

    /// A snapshot whose last entry is `index` was installed durably. With `keep_suffix` the entries after it stay (the
    /// entry at `index` is held and has this term); else all go and the group begins a new life. Returns its epoch.
    pub fn install(
        &mut self,
        group: GroupId,
        index: LogIndex,
        term: Term,
        crc: u32,
        config: &[u8],
        keep_suffix: bool,
    ) -> SyncEpoch {
        self.flush_truncation(group);
        if keep_suffix {
            base::mark::hit!("seglog.install.keeps_suffix");
            let log = self.group_mut(group);
            assert!(index <= log.last(), "group {group}: no suffix to keep after {index}");
            self.change_entries(group, |log| log.drop_prefix(index.next(), (term, crc), config));
            self.write_prefix(group, 1);
        } else {
            base::mark::hit!("seglog.install.begins_anew");
            let life = self.take_life();
            self.change_entries(group, |log| log.reset(life, index.next(), (term, crc), config));
            let log = self.group_mut(group);
            log.is_begun = true;
            log.checkpoint = None;
            log.at.checkpoint = 0;
            self.write_prefix(group, 2);
            self.repeat_health(group);
        }
        self.open_epoch()
    }

    /// A group begins with this configuration and no entries; a term or vote known of it stays. Returns its epoch.
    pub fn new_group(&mut self, group: GroupId, config: &[u8]) -> SyncEpoch {
        let life = self.take_life();
        self.change_entries(group, |log| log.reset(life, LogIndex(1), (Term(0), 0), config));
        let log = self.group_mut(group);
        log.is_begun = true;
        log.checkpoint = None;
        log.at.checkpoint = 0;
        let header = self.header(group, RecordKind::GroupNew, 0, LogIndex(0), Term(0));
        self.write(&header, config);
        self.group_mut(group).at.prefix = self.active_seq;
        self.repeat_health(group);
        self.open_epoch()
    }

    /// Notes that the store is durable up to `index`. Returns its epoch.
    pub fn checkpoint(&mut self, group: GroupId, index: LogIndex, term: Term) -> SyncEpoch {
        self.group_mut(group).checkpoint = Some((index, term));
        let header = self.header(group, RecordKind::Checkpoint, 0, index, term);
        self.write(&header, &[]);
        self.group_mut(group).at.checkpoint = self.active_seq;
        self.open_epoch()
    }

    /// Notes that a doubt about the group was resolved, or raised. Returns its epoch. Faulty is not a doubt that can be
    /// set: it counts as Clean, and faulty entries make Faulty of that.
    pub fn set_health(&mut self, group: GroupId, health: Health) -> SyncEpoch {
        base::mark::hit!("seglog.health.clean", health == Health::Clean);
        base::mark::hit!("seglog.health.recovering_head", health == Health::RecoveringHead);
        base::mark::hit!("seglog.health.quarantined", health == Health::Quarantined);
        let stored = Health::from_disk(health.to_disk()).expect("each health has a number");
        self.group_mut(group).stored_health = stored;
        let header = self.header(group, RecordKind::Health, stored.to_disk(), LogIndex(0), Term(0));
        self.write(&header, &[]);
        self.group_mut(group).at.health = self.active_seq;
        self.open_epoch()
    }

    /// Gives a held entry its bytes again, from an intact copy: a REWRITE, whose payload is the entry's record
    /// with its padding. The
    /// entry is whole at once; it may be counted on when the epoch returned is persisted.
    ///
    /// Shape: an entry of this group whose term and crc are those of the held one; panics for any other: the caller
    /// compares [`SegLog::term`] and [`SegLog::crc`] first, since the record comes from outside.
    pub fn rewrite(&mut self, group: GroupId, record: Record<'_>) -> SyncEpoch {
        let header = record.header();
        let (index, raw) = (header.index, record.raw());
        assert!(header.group == group && header.kind == RecordKind::Entry, "an entry of this group: {header:?}");
        assert!(self.holds(group, index, header.term, record.crc()), "group {group}: entry {index} is another one");
        let space = record_space(raw.len());
        let space_max = record_space(self.settings.entry_bytes_max()) + RECORD_HEADER_BYTES;
        assert!(space <= space_max, "group {group}: entry {index} of {space} bytes is too large");
        self.make_room(space, 1, 1);
        let life = self.group(group).life;
        let outer = RecordHeader { kind: RecordKind::Rewrite, life, ..header };
        // The life of the record inside is under the crc of the one around it.
        let mut payload = raw.to_vec();
        payload.resize(raw.len().next_multiple_of(8), 0);
        put_u32(&mut payload, 4, life);
        let (offset, _) = self.place(&outer, &payload);
        let inner = offset + RECORD_HEADER_BYTES as u32 / 8;
        let loc = Loc { segment: 0, offset: inner, bytes: raw.len() as u32, crc: record.crc() };
        self.note_rewrite(group, index, header.term, loc);
        if record.entry_kind() == Some(EntryKind::Config) {
            base::mark::hit!("seglog.rewrite.config");
            self.group_mut(group).put_config(index, record.payload());
        }
        self.open_epoch()
    }

    /// True when the log holds the entry of this identity at `index`, faulty or not.
    #[must_use]
    pub fn holds(&self, group: GroupId, index: LogIndex, term: Term, crc: u32) -> bool {
        let log = self.group(group);
        log.loc(index).is_some_and(|loc| loc.crc == crc) && log.term_of(index) == Some(term)
    }

    /// The first held entry whose bytes are lost.
    #[must_use]
    pub fn first_faulty(&self, group: GroupId) -> Option<LogIndex> {
        self.first_faulty_above(group, LogIndex(0))
    }

    /// The first held entry above `index` whose bytes are lost.
    #[must_use]
    pub fn first_faulty_above(&self, group: GroupId, index: LogIndex) -> Option<LogIndex> {
        let log = self.find(group).filter(|log| !log.faulty.is_empty())?;
        log.faulty.range(index.next()..).next().copied()
    }

    /// The held entries whose bytes are lost, ascending.
    pub fn faulty(&self, group: GroupId) -> impl DoubleEndedIterator<Item = LogIndex> {
        self.group(group).faulty.iter().copied()
    }

    /// True for a held entry whose bytes are lost.
    #[must_use]
    pub fn is_faulty(&self, group: GroupId, index: LogIndex) -> bool {
        self.find(group).is_some_and(|log| log.faulty.contains(&index))
    }

    /// A held entry was found damaged: it is faulty from now on. An entry that is not held is passed over, as is one
    /// whose bytes are in a tail image: those are right, whatever the disk says.
    pub fn note_faulty(&mut self, group: GroupId, index: LogIndex) {
        let Some(segment) = self.find(group).and_then(|log| log.loc(index)).map(|loc| u64::from(loc.segment)) else {
            return;
        };
        if !self.segment(segment).has_image {
            base::mark::hit!("seglog.log.note_faulty");
            self.change_entries(group, |log| log.faulty.insert(index));
        }
    }

    /// Adds the groups whose faulty entries may have changed since the last call to `out`, each once: O(1) when there are
    /// none. Groups that were faulty when the log started are among the first.
    pub fn take_fault_changes(&mut self, out: &mut Vec<GroupId>) {
        out.append(&mut self.fault_changes);
    }

    /// Tells the time of day, for stamps that only people read.
    pub fn set_wall_ms(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
    }

    /// True when the group was begun here.
    #[must_use]
    pub fn has_group(&self, group: GroupId) -> bool {
        self.find(group).is_some_and(|log| log.is_begun)
    }

    /// The first entry held; `last_index + 1` when none is.
    #[must_use]
    pub fn first_index(&self, group: GroupId) -> LogIndex {
        self.group(group).first()
    }

    /// The last entry held, persisted or not; `first_index - 1` when none is.
    #[must_use]
    pub fn last_index(&self, group: GroupId) -> LogIndex {
        self.group(group).last()
    }

    /// The term of a held entry, or of the one before the first; `None` for any other. O(log of the term runs).
    #[must_use]
    pub fn term(&self, group: GroupId, index: LogIndex) -> Option<Term> {
        self.group(group).term_of(index)
    }

    /// The crc of a held entry, or of the one before the first; `None` for any other.
    #[must_use]
    pub fn crc(&self, group: GroupId, index: LogIndex) -> Option<u32> {
        self.group(group).crc_of(index)
    }

    /// The last index such that the records `first..=it` take at most `bytes_max` together, and the bytes they take; at
    /// least `first`, at most `last`. Units: bytes with padding. Panics unless both are held.
    #[must_use]
    pub fn fit(&self, group: GroupId, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32) {
        let log = self.group(group);
        assert!(
            log.first() <= first && first <= last && last <= log.last(),
            "group {group}: {first}..={last} not held"
        );
        let at = (first.0 - log.first().0) as usize;
        let mut fits = (first, log.held.loc(first).map_or(0, Loc::space));
        for loc in log.held.locs().range(at + 1, at + 1 + (last.0 - first.0) as usize) {
            if fits.1 + loc.space() > bytes_max {
                break;
            }
            fits = (fits.0.next(), fits.1 + loc.space());
        }
        fits
    }

    /// The term and vote last set or recovered.
    #[must_use]
    pub fn state(&self, group: GroupId) -> (Term, NodeId) {
        self.find(group).map_or((Term(0), NodeId(0)), |log| (log.term, log.vote))
    }

    /// The configuration stored with the group's beginning or its last compaction: in force at `first_index - 1`.
    #[must_use]
    pub fn group_config_prefix(&self, group: GroupId) -> &[u8] {
        &self.group(group).config
    }

    /// The payload of a held entry of kind Config; always in memory. `None` for any other index.
    #[must_use]
    pub fn config_payload(&self, group: GroupId, index: LogIndex) -> Option<&[u8]> {
        self.configs(group).find(|(at, _)| *at == index).map(|(_, payload)| payload)
    }

    /// The held entries of kind Config, ascending, with their payloads.
    pub fn configs(&self, group: GroupId) -> impl DoubleEndedIterator<Item = (LogIndex, &[u8])> {
        self.group(group).configs.iter().map(|(index, payload)| (*index, payload.as_slice()))
    }

    /// The last CHECKPOINT: index and term.
    #[must_use]
    pub fn last_checkpoint(&self, group: GroupId) -> Option<(LogIndex, Term)> {
        self.group(group).checkpoint
    }

    /// The group's health: the doubt noted last, or Faulty when there is none and entries are faulty.
    #[must_use]
    pub fn health(&self, group: GroupId) -> Health {
        self.find(group).map_or_else(|| self.unknown_health(group), GroupLog::health)
    }

    /// A held entry. Panics for an index that is not held.
    #[must_use]
    pub fn entry(&self, group: GroupId, index: LogIndex) -> Slice<'_> {
        let log = self.group(group);
        let loc = log.loc(index).expect("only held entries are read");
        if log.faulty.contains(&index) {
            return Slice::Faulty;
        }
        self.read(loc).map_or(Slice::Cold, |bytes| match Record::parse(bytes) {
            Ok((record, _)) if record.crc() == loc.crc => Slice::InMemory(record),
            // A map that does not hold what was written: the next fault-in finds it again and calls it faulty.
            _ => Slice::Cold,
        })
    }

    /// Appends the raw records `first..=last`, padding included, to `out`: the body of an AppendEntries.
    ///
    /// Errors: [`Unreadable`] from the first entry that is not in memory, or is faulty; `out` is then as before.
    pub fn records(
        &self,
        group: GroupId,
        first: LogIndex,
        last: LogIndex,
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        let log = self.group(group);
        let start = out.len();
        let faulty = log.faulty.range(first..).next().filter(|index| **index <= last);
        if let Some(index) = faulty {
            base::mark::hit!("seglog.records.faulty");
            return Err(Unreadable::Faulty(*index));
        }
        let mut index = first;
        while index <= last {
            let loc = log.loc(index).expect("only held entries are read");
            let is_whole = |bytes: &[u8]| {
                self.segment(u64::from(loc.segment)).has_image
                    || Record::parse(bytes).is_ok_and(|(record, _)| record.crc() == loc.crc)
            };
            let Some(bytes) = self.read(loc).filter(|bytes| is_whole(bytes)) else {
                out.truncate(start);
                base::mark::hit!("seglog.records.cold");
                return Err(Unreadable::Cold { first: index, last });
            };
            out.extend_from_slice(bytes);
            index = index.next();
        }
        Ok(())
    }

    /// Bytes of all live segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.len() as u64 * self.settings.segment_bytes
    }

    /// Live segments, the active one included.
    #[must_use]
    pub fn segments_len(&self) -> usize {
        self.segments.len()
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The disk.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    // Appending.

    /// Makes room for an entry and for a truncation that waits for it; both then lie in one frame.
    fn prepare_entry(&mut self, group: GroupId, index: LogIndex, space: usize) -> (u32, u32) {
        assert!(
            space <= record_space(self.settings.entry_bytes_max()),
            "group {group}: entry {index} of {space} bytes is too large"
        );
        let log = self.group(group);
        assert!(log.is_begun, "group {group}: entry before the group was begun");
        assert!(index == log.last().next(), "group {group}: entry {index} does not follow {}", log.last());
        let truncation = if log.truncated_from.is_some() { record_space(0) } else { 0 };
        self.make_room(space + truncation, 2, 1);
        self.flush_truncation(group);
        let log = self.group(group);
        (log.life, log.last_crc())
    }

    fn flush_truncation(&mut self, group: GroupId) {
        if let Some(from) = self.group_mut(group).truncated_from.take() {
            base::mark::hit!("seglog.truncate.written");
            let header = self.header(group, RecordKind::TruncSuffix, 0, from, Term(0));
            self.write(&header, &[]);
        }
    }

    /// TRUNC_PREFIX of the group as it now is.
    pub(crate) fn write_prefix(&mut self, group: GroupId, flags: u8) {
        let log = self.group(group);
        let mut payload = log.before.1.to_le_bytes().to_vec();
        payload.extend_from_slice(&log.config);
        let header = self.header(group, RecordKind::TruncPrefix, flags, log.first(), log.before.0);
        self.write(&header, &payload);
        self.group_mut(group).at.prefix = self.active_seq;
        self.gc.is_due = true;
    }

    pub(crate) fn write_hard_state(&mut self, group: GroupId) {
        let log = self.group(group);
        let vote = log.vote.0.to_le_bytes();
        let header = self.header(group, RecordKind::HardState, 0, LogIndex(0), log.term);
        self.write(&header, &vote);
        self.group_mut(group).at.hard_state = self.active_seq;
    }

    pub(crate) fn header(
        &self,
        group: GroupId,
        kind: RecordKind,
        flags: u8,
        index: LogIndex,
        term: Term,
    ) -> RecordHeader {
        RecordHeader { kind, flags, life: self.group(group).life, group, prev_crc: 0, index, term }
    }

    fn take_life(&mut self) -> u32 {
        let life = self.next_life;
        self.next_life += 1;
        life
    }

    /// Makes room and writes a record that is no entry.
    fn write(&mut self, header: &RecordHeader, payload: &[u8]) {
        self.make_room(record_space(payload.len()), 1, 0);
        self.place(header, payload);
        if frame::binds(header.kind, header.flags) {
            self.open.others |= frame::others_bit(header.group, self.settings.cores);
        }
    }

    /// Writes a record where there is room; returns its offset in 8-byte units and its crc.
    fn place(&mut self, header: &RecordHeader, payload: &[u8]) -> (u32, u32) {
        let space = record_space(payload.len());
        let offset = self.open_offset();
        let (_, crc) = write_record(self.image_mut(offset, space), header, payload);
        self.note_record(header.group, space);
        (offset / 8, crc)
    }

    fn note_record(&mut self, group: GroupId, space: usize) {
        self.open.records += 1;
        self.open.records_bytes += space;
        self.open.groups |= frame::group_bit(group, self.settings.cores);
    }

    /// Enters an entry that was written into the index, the ECHO to come and the footer to come.
    fn note_entry(&mut self, group: GroupId, term: Term, mut loc: Loc) {
        let active = self.active_seq;
        loc.segment = u32::try_from(active).expect("2^32 segments outlast every disk");
        let log = self.groups[slot_of(group, self.settings.cores)].as_mut().expect("the caller found the group");
        let index = log.last().next();
        let at = place_of(&self.segments, active);
        let footer = &mut self.segments[at].footer;
        let run = match log.footer_run {
            Some((seq, run, next, run_term, life))
                if (seq, next, run_term, life) == (active, index, term, log.life) =>
            {
                run
            }
            _ => footer.begin_run(group, log.life, index, term),
        };
        footer.add(run, Item { offset: loc.offset, crc: loc.crc });
        log.footer_run = Some((active, run, index.next(), term, log.life));
        log.held.push(term, loc);
        self.open.echo.push(EchoItem { group, crc: loc.crc, index, term });
    }

    /// Enters where an entry's bytes now are into the index, the ECHO to come and the footer to come.
    fn note_rewrite(&mut self, group: GroupId, index: LogIndex, term: Term, mut loc: Loc) {
        let active = self.active_seq;
        loc.segment = u32::try_from(active).expect("2^32 segments outlast every disk");
        let at = place_of(&self.segments, active);
        let log = self.groups[slot_of(group, self.settings.cores)].as_mut().expect("the caller found the group");
        let footer = &mut self.segments[at].footer;
        let run = footer.begin_run(group, log.life, index, term);
        footer.add(run, Item { offset: loc.offset, crc: loc.crc });
        self.change_entries(group, |log| log.rewrite(index, loc));
        self.open.echo.push(EchoItem { group, crc: loc.crc, index, term });
        self.gc.is_due = true;
    }

    /// Changes what is held of a group, and notes whether its faulty entries changed. Not only the first of them: it may
    /// lie below what is applied, and the group waits for one above.
    fn change_entries<R>(&mut self, group: GroupId, change: impl FnOnce(&mut GroupLog) -> R) {
        let log = self.group_mut(group);
        let shape = |log: &GroupLog| (log.faulty.len(), log.faulty.first().copied());
        let before = shape(log);
        change(log);
        if shape(log) != before && !self.fault_changes.contains(&group) {
            self.fault_changes.push(group);
        }
    }

    // Finding.

    pub(crate) fn segment(&self, seq: u64) -> &Segment {
        &self.segments[place_of(&self.segments, seq)]
    }

    fn read(&self, loc: &Loc) -> Option<&[u8]> {
        let slot = self.segment(u64::from(loc.segment)).slot;
        self.disk.slice(slot, loc.start()..loc.start() + loc.space())
    }

    pub(crate) fn find(&self, group: GroupId) -> Option<&GroupLog> {
        self.groups.get(slot_of(group, self.settings.cores))?.as_deref()
    }

    fn group(&self, group: GroupId) -> &GroupLog {
        self.find(group).expect("only groups of this core that were begun are asked for")
    }

    /// The group, made now if it is new. Panics for a group of another core.
    pub(crate) fn group_mut(&mut self, group: GroupId) -> &mut GroupLog {
        assert!(
            base::core_of(group, self.settings.cores) == self.settings.core,
            "group {group} is not of core {}",
            self.settings.core
        );
        let at = slot_of(group, self.settings.cores);
        if self.groups.len() <= at {
            self.groups.resize_with(at + 1, || None);
        }
        let stored_health = self.unknown_health(group);
        self.groups[at].get_or_insert_with(|| Box::new(GroupLog { stored_health, ..GroupLog::new(group) }))
    }

    /// The health of a group that is not known here: damage may have taken every trace of it.
    fn unknown_health(&self, group: GroupId) -> Health {
        let is_suspect = self.unknown_bits & frame::group_bit(group, self.settings.cores) != 0;
        if is_suspect { Health::Quarantined } else { Health::Clean }
    }

    /// A group begins that is quarantined: that must outlive the damage which told it.
    fn repeat_health(&mut self, group: GroupId) {
        let log = self.group(group);
        if log.stored_health == Health::Quarantined && log.at.health == 0 {
            base::mark::hit!("seglog.log.unknown_group_quarantined");
            self.set_health(group, Health::Quarantined);
        }
    }
}

/// The place of a group among those of its core.
pub(crate) fn slot_of(group: GroupId, cores: u16) -> usize {
    (group.0 / u32::from(cores)) as usize
}
