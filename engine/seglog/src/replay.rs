//! Replay: the records of the frames that stand, in order, become the index again; holes are allowed on the way.

use std::collections::BTreeMap;

use base::bytes::{get_u32, get_u64};
use base::limits::LOG_BLOCK_BYTES;
use base::record::{EntryKind, RECORD_HEADER_BYTES, Record, RecordError, RecordKind};
use base::{GroupId, LogIndex, NodeId, Term, core_of, mutate};

use crate::format::frame::{self, EchoItem, Head, RECORDS_AT, StateSlot};
use crate::group::{GroupLog, Health};
use crate::log::slot_of;
use crate::salvage::KnownEntry;
use crate::settings::Settings;
use crate::sparse::Sparse;
use crate::stretch::{Loc, Stretch};

/// More groups of one core than this are taken for damage.
pub(crate) const GROUPS_MAX: usize = 16_384;

/// Whole frames that this release cannot read: a newer one wrote them, or a defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// A record inside a good frame is none.
    #[error("frame {frame_seq} holds a bad record: {error}")]
    Record {
        /// Where.
        frame_seq: u64,
        /// Why.
        error: RecordError,
    },
    /// A record's payload or kind is not what its kind says.
    #[error("frame {frame_seq} holds a {kind:?} record that this release cannot read")]
    Payload {
        /// Where.
        frame_seq: u64,
        /// Which.
        kind: RecordKind,
    },
    /// A record of another core, or beyond the number of groups a core may have.
    #[error("frame {frame_seq} holds a record of group {group}, which is not of this core")]
    ForeignGroup {
        /// Where.
        frame_seq: u64,
        /// Whose.
        group: GroupId,
    },
}

/// An entry while the log is replayed.
#[derive(Clone, Debug)]
struct Entry {
    term: Term,
    loc: Loc,
    odd: Odd,
}

/// What finds its place beside the entry only if there is anything to say of it.
#[derive(Clone, Debug)]
struct Odd {
    /// Of the entry before; unknown for one whose bytes are lost.
    prev_crc: Option<u32>,
    is_faulty: bool,
    is_rewritten: bool,
    /// The payload of a Config entry.
    config: Option<Box<[u8]>>,
}

impl Odd {
    /// An entry as nearly all are, with this crc of the one before.
    fn none(prev_crc: u32) -> Odd {
        Odd { prev_crc: Some(prev_crc), is_faulty: false, is_rewritten: false, config: None }
    }

    /// Nothing is to be said if `before` is the crc of the entry before.
    fn is_none(&self, before: Option<u32>) -> bool {
        let is_plain = !self.is_faulty && !self.is_rewritten && self.config.is_none();
        is_plain && self.prev_crc.is_some() && self.prev_crc == before
    }
}

/// Evidence that a group was not touched by a frame of which too little is known: both must be seen behind it.
#[derive(Clone, Copy, Default, Debug)]
struct Suspicion {
    has_chain: bool,
    has_state: bool,
    /// The first entry behind the hole, when the one before it is not held: its segment may be retired. Then that the
    /// group is contiguous in the end is the evidence, unless a truncation takes this entry away.
    unlinked: Option<LogIndex>,
}

/// A group while its records are replayed.
struct Building {
    /// Without entries, until the end.
    log: GroupLog,
    entries: Sparse,
    /// Of entries that are held. One that is not here names the entry before it, which is held.
    odd: BTreeMap<LogIndex, Odd>,
    /// Where the group's entries must begin in the end, with term and crc of the entry before: from GROUP_NEW or
    /// TRUNC_PREFIX. Entries that a later truncation removed, and whose segment is retired, are missing on the way.
    begin: Option<(LogIndex, (Term, u32))>,
    suspicion: Option<Suspicion>,
    /// Records of this group are lost: what is left of it cannot be counted on.
    is_lost: bool,
}

impl Building {
    fn lose(&mut self) {
        base::mark::hit!("seglog.replay.group_lost");
        self.is_lost = true;
    }

    /// Drops the entries from `from` on; true when its place is free now.
    fn drop_from(&mut self, from: LogIndex) -> bool {
        let is_held = self.entries.last().is_some_and(|(index, _)| index >= from);
        if mutate!(MUT_7A, is_held, false) {
            base::mark::hit!("seglog.replay.suffix_replaced");
            self.entries.drop_from(from);
            self.odd.split_off(&from);
        }
        if let Some(suspicion) = &mut self.suspicion
            && suspicion.unlinked.is_some_and(|index| index >= from)
        {
            base::mark::hit!("seglog.replay.unlinked_truncated");
            suspicion.unlinked = None;
        }
        self.entries.get(from).is_none()
    }

    /// Drops what is before `first`, which is where the group begins from now on.
    fn begin_at(&mut self, first: LogIndex, before: (Term, u32), config: &[u8]) {
        let last = self.entries.get(first.prev()).map(|(_, loc)| loc.crc);
        if last.is_some_and(|crc| crc != before.1) {
            self.lose();
        }
        // What was behind the old beginning, or behind the last entry to go, still names that.
        let old = self.begin.map(|(first, (_, crc))| (first, crc));
        for (index, crc) in [old, last.map(|crc| (first, crc))].into_iter().flatten() {
            if self.entries.get(index).is_some() {
                self.odd.entry(index).or_insert_with(|| Odd::none(crc));
            }
        }
        self.entries.drop_before(first);
        self.odd = self.odd.split_off(&first);
        config.clone_into(&mut self.log.config);
        self.log.is_begun = true;
        self.begin = Some((first, before));
    }

    /// Drops everything.
    fn begin_anew(&mut self, life: u32, first: LogIndex, before: (Term, u32), config: &[u8]) {
        base::mark::hit!("seglog.replay.begins_anew");
        self.clear();
        config.clone_into(&mut self.log.config);
        (self.log.checkpoint, self.log.at.checkpoint) = (None, 0);
        (self.log.is_begun, self.log.life) = (true, life);
        self.begin = Some((first, before));
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.has_chain = true;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.odd.clear();
    }

    fn merge_state(&mut self, term: Term, vote: NodeId, segment_seq: u64) {
        self.log.merge_state(term, vote, segment_seq);
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.has_state = true;
        }
    }

    /// The crc of the entry before `index`, where it is known.
    fn crc_before(&self, index: LogIndex) -> Option<u32> {
        let begin = self.begin.filter(|(first, _)| *first == index).map(|(_, (_, crc))| crc);
        begin.or_else(|| self.entries.get(index.prev()).map(|(_, loc)| loc.crc))
    }

    /// Takes the life of a record of this group; false when the record is of an older one.
    fn take_life(&mut self, life: u32) -> bool {
        // A faulty entry does not tell its life; nothing has life 0.
        if self.begin.is_none() && (self.entries.is_empty() || self.log.life == 0) {
            self.log.life = life;
        }
        if life > self.log.life {
            base::mark::hit!("seglog.replay.life_lost");
            // The beginning of that life is lost, and with it what the group then held.
            self.lose();
            self.clear();
            self.log.life = life;
        }
        life == self.log.life
    }

    /// The entry before `index` is the last one held, and no evidence about the group is wanted.
    fn follows_last(&self, index: LogIndex) -> bool {
        self.suspicion.is_none()
            && self.begin.is_none_or(|(first, _)| first < index)
            && self.entries.last().is_some_and(|(last, _)| last.next() == index)
    }

    /// An entry at its place in the order of writing. What it replaces goes, be its truncation lost.
    fn append(&mut self, index: LogIndex, entry: Entry) {
        if self.begin.is_some_and(|(first, _)| index < first) {
            return self.lose();
        }
        if self.follows_last(index) {
            // Nearly every entry of nearly every log: nothing is replaced, and nothing is in doubt.
            let last = self.entries.last().map(|(_, last)| last.crc);
            if entry.odd.prev_crc.is_some() && entry.odd.prev_crc != last {
                self.lose();
            }
            return self.put(index, entry, last);
        }
        if !self.drop_from(index) {
            return;
        }
        let (before, prev_crc) = (self.crc_before(index), entry.odd.prev_crc);
        let is_linked = before.is_some() && before == prev_crc;
        if before.is_some() && prev_crc.is_some() && !is_linked {
            self.lose();
        }
        // The first entry behind a hole must name the last one before it: a later one vouches only for its own past.
        let is_open = |suspicion: &&mut Suspicion| !suspicion.has_chain && suspicion.unlinked.is_none();
        match self.suspicion.as_mut().filter(is_open) {
            Some(suspicion) if is_linked => suspicion.has_chain = true,
            Some(suspicion) if before.is_none() && prev_crc.is_some() => suspicion.unlinked = Some(index),
            Some(_) => self.lose(),
            None => {}
        }
        let before = self.entries.get(index.prev()).map(|(_, loc)| loc.crc);
        self.put(index, entry, before);
    }

    /// Holds an entry from now on; `before` is the crc of the one before it, if that is held.
    fn put(&mut self, index: LogIndex, entry: Entry, before: Option<u32>) {
        if !entry.odd.is_none(before) {
            self.odd.insert(index, entry.odd);
        }
        self.entries.insert(index, entry.term, entry.loc);
    }

    /// The bytes of an entry, written again. It stands alone when what it replaces lay in a segment that is retired.
    fn rewrite(&mut self, index: LogIndex, mut entry: Entry) {
        if self.begin.is_some_and(|(first, _)| index < first) {
            base::mark::hit!("seglog.replay.rewrite_of_compacted");
            return;
        }
        base::mark::hit!("seglog.replay.rewritten");
        entry.odd.is_rewritten = true;
        match self.entries.get(index) {
            Some((term, held)) if (term, held.crc) != (entry.term, entry.loc.crc) => self.lose(),
            _ => self.put(index, entry, None),
        }
    }

    /// The group, contiguous from its beginning as far as it goes.
    fn finish(mut self, segment_seq: u64) -> GroupLog {
        let is_cleared = |seen: Suspicion| (seen.has_chain || seen.unlinked.is_some()) && seen.has_state;
        base::mark::hit!("seglog.replay.suspect_cleared", self.suspicion.is_some_and(is_cleared));
        if self.suspicion.is_some_and(|suspicion| !is_cleared(suspicion)) {
            base::mark::hit!("seglog.replay.suspect_lost");
            self.is_lost = true;
        }
        let Some((first, before)) = self.begin else {
            self.is_lost |= !self.entries.is_empty();
            self.log.is_begun = false;
            return self.end(segment_seq);
        };
        (self.log.held, self.log.before) = (Stretch::at(first), before);
        for mut stretch in std::mem::take(&mut self.entries).into_stretches() {
            let broken = self.first_broken(&stretch);
            stretch.drop_from(broken.unwrap_or(stretch.end()));
            if !stretch.is_empty() {
                self.log.held.append(stretch);
            }
            if broken.is_some() {
                self.lose();
                break;
            }
        }
        let end = self.log.held.end();
        for (index, odd) in std::mem::take(&mut self.odd).into_iter().take_while(|(index, _)| *index < end) {
            if odd.is_faulty {
                base::mark::hit!("seglog.replay.kept_faulty");
                self.log.faulty.insert(index);
            }
            if odd.is_rewritten {
                self.log.rewritten.insert(index);
            }
            if let Some(config) = odd.config {
                self.log.configs.push((index, config.into_vec()));
            }
        }
        self.end(segment_seq)
    }

    /// The first entry of a stretch that does not follow what is before it: behind the log, or in the stretch.
    fn first_broken(&self, stretch: &Stretch) -> Option<LogIndex> {
        if stretch.first() != self.log.held.end() {
            return Some(stretch.first());
        }
        let crc_before = |index: LogIndex| stretch.loc(index.prev()).map_or_else(|| self.log.last_crc(), |loc| loc.crc);
        let odd = self.odd.range(stretch.first()..stretch.end());
        let is_broken = |(index, odd): &(&LogIndex, &Odd)| odd.prev_crc.is_some_and(|crc| crc != crc_before(**index));
        odd.into_iter().find(is_broken).map(|(index, _)| *index)
    }

    fn end(mut self, segment_seq: u64) -> GroupLog {
        if self.is_lost {
            self.log.stored_health = Health::Quarantined;
            self.log.at.health = segment_seq;
        }
        self.log
    }
}

/// The state of a replay.
pub(crate) struct Replay<'a> {
    settings: &'a Settings,
    groups: BTreeMap<GroupId, Building>,
    /// Groups that may have had records in frames of which too little is known.
    pub suspect_bits: u64,
    pub next_life: u32,
    pub records: u64,
    /// Identities in the frame last replayed: its ECHO.
    pub entries: Vec<EchoItem>,
    /// Its slots: its ECHO.
    pub states: Vec<StateSlot>,
    /// Its records that bind and are no entries: for the header of the next frame.
    pub others: u16,
}

impl<'a> Replay<'a> {
    pub fn new(settings: &'a Settings) -> Replay<'a> {
        Replay {
            settings,
            groups: BTreeMap::new(),
            suspect_bits: 0,
            next_life: 1,
            records: 0,
            entries: Vec::new(),
            states: Vec::new(),
            others: 0,
        }
    }

    /// Replays one whole frame.
    pub fn frame(&mut self, bytes: &[u8], head: &Head, segment_seq: u64) -> Result<(), ReplayError> {
        let header = &head.header;
        let frame_seq = header.frame_seq;
        self.begin_frame(head.slots(), frame_seq, segment_seq)?;
        let mut at = RECORDS_AT;
        for _ in 0..header.records {
            let bytes = &bytes[at..header.echo_at()];
            let (record, space) = Record::parse(bytes).map_err(|error| ReplayError::Record { frame_seq, error })?;
            self.record(record, header.block as usize * LOG_BLOCK_BYTES + at, frame_seq, segment_seq)?;
            at += space;
        }
        if at != header.echo_at() {
            return Err(ReplayError::Record { frame_seq, error: RecordError::Field("count") });
        }
        Ok(())
    }

    /// Replays what is known of a damaged frame: its votes, the records of its first block (with their offsets in the
    /// segment), then its entries that were not among those. `others` are its records that bind and may be lost.
    pub fn damaged(
        &mut self,
        (frame_seq, segment_seq): (u64, u64),
        states: &[StateSlot],
        records: &[(usize, Record<'_>)],
        entries: &[(KnownEntry, Option<Record<'_>>)],
        others: u16,
    ) -> Result<(), ReplayError> {
        self.begin_frame(states, frame_seq, segment_seq)?;
        for (at, record) in records {
            self.record(*record, *at, frame_seq, segment_seq)?;
        }
        let replayed = self.entries.len();
        for (known, record) in entries.iter().skip(replayed) {
            self.known_entry(known, *record, frame_seq)?;
        }
        self.others = others;
        Ok(())
    }

    /// Groups that may have lost records here: they are quarantined unless shown untouched by what follows.
    pub fn suspect(&mut self, bits: u64) {
        self.suspect_bits |= bits;
        let cores = self.settings.cores;
        for (group, building) in &mut self.groups {
            if bits & frame::group_bit(*group, cores) != 0 {
                base::mark::hit!("seglog.replay.suspect");
                building.suspicion = Some(Suspicion::default());
            }
        }
    }

    fn begin_frame(&mut self, states: &[StateSlot], frame_seq: u64, segment_seq: u64) -> Result<(), ReplayError> {
        self.entries.clear();
        self.others = 0;
        self.states.clear();
        self.states.extend_from_slice(states);
        for state in states {
            self.building(state.group, frame_seq)?.merge_state(state.term, state.vote, segment_seq);
        }
        Ok(())
    }

    /// Honours a term and vote of a frame that was cut.
    pub fn state(&mut self, group: GroupId, term: Term, vote: NodeId, segment_seq: u64) -> Result<(), ReplayError> {
        self.building(group, 0)?.merge_state(term, vote, segment_seq);
        Ok(())
    }

    /// The groups, ascending. `segment_seq` is the newest segment.
    pub fn finish(self, segment_seq: u64) -> Vec<GroupLog> {
        self.groups.into_values().map(|building| building.finish(segment_seq)).collect()
    }

    fn building(&mut self, group: GroupId, frame_seq: u64) -> Result<&mut Building, ReplayError> {
        let cores = self.settings.cores;
        if core_of(group, cores) != self.settings.core || slot_of(group, cores) >= GROUPS_MAX {
            return Err(ReplayError::ForeignGroup { frame_seq, group });
        }
        let is_suspect = self.suspect_bits & frame::group_bit(group, cores) != 0;
        let new = || Building {
            log: GroupLog::new(group),
            entries: Sparse::default(),
            odd: BTreeMap::new(),
            begin: None,
            suspicion: is_suspect.then(Suspicion::default),
            is_lost: false,
        };
        Ok(self.groups.entry(group).or_insert_with(new))
    }

    fn record(
        &mut self,
        record: Record<'_>,
        offset: usize,
        frame_seq: u64,
        segment_seq: u64,
    ) -> Result<(), ReplayError> {
        let header = record.header();
        let payload = record.payload();
        let unreadable = ReplayError::Payload { frame_seq, kind: header.kind };
        self.records += 1;
        if header.kind == RecordKind::Seal {
            return if payload.len() == 8 { Ok(()) } else { Err(unreadable) };
        }
        self.next_life = self.next_life.max(header.life.saturating_add(1));
        if frame::binds(header.kind, header.flags) {
            self.others |= frame::others_bit(header.group, self.settings.cores);
        }
        let loc = |offset: usize, record: &Record<'_>| Loc {
            segment: segment_seq as u32,
            offset: (offset / 8) as u32,
            bytes: record.raw().len() as u32,
            crc: record.crc(),
        };
        if header.kind == RecordKind::Entry {
            return self.entry(record, loc(offset, &record), frame_seq, false);
        }
        if header.kind == RecordKind::Rewrite {
            let inner = Record::parse(payload).map_err(|error| ReplayError::Record { frame_seq, error })?.0;
            if inner.header().kind != RecordKind::Entry || inner.header().group != header.group {
                return Err(unreadable);
            }
            return self.entry(inner, loc(offset + RECORD_HEADER_BYTES, &inner), frame_seq, true);
        }
        let building = self.building(header.group, frame_seq)?;
        match header.kind {
            RecordKind::HardState => {
                let vote = get_u64(payload, 0).filter(|_| payload.len() == 8).ok_or(unreadable)?;
                base::mark::hit!("seglog.replay.state_record");
                building.merge_state(header.term, NodeId(vote), segment_seq);
            }
            RecordKind::TruncSuffix => {
                base::mark::hit!("seglog.replay.trunc_suffix");
                building.drop_from(header.index);
            }
            RecordKind::TruncPrefix => {
                let before = (header.term, get_u32(payload, 0).ok_or(unreadable)?);
                match header.flags {
                    0 | 1 => {
                        base::mark::hit!("seglog.replay.trunc_prefix");
                        building.take_life(header.life);
                        building.begin_at(header.index, before, &payload[4..]);
                    }
                    2 => building.begin_anew(header.life, header.index, before, &payload[4..]),
                    _ => return Err(unreadable),
                }
                building.log.at.prefix = segment_seq;
            }
            RecordKind::GroupNew => {
                building.begin_anew(header.life, LogIndex(1), (Term(0), 0), payload);
                building.log.at.prefix = segment_seq;
            }
            RecordKind::Checkpoint => {
                base::mark::hit!("seglog.replay.checkpoint");
                building.log.checkpoint = Some((header.index, header.term));
                building.log.at.checkpoint = segment_seq;
            }
            RecordKind::Health => {
                building.log.stored_health = Health::from_disk(header.flags).ok_or(unreadable)?;
                base::mark::hit!("seglog.replay.health");
                building.log.at.health = segment_seq;
            }
            RecordKind::CommitHint => {}
            // This release does not write it: to pass over it would lose what it says.
            RecordKind::GroupDrop | RecordKind::Rewrite | RecordKind::Entry | RecordKind::Seal => {
                return Err(unreadable);
            }
        }
        Ok(())
    }

    fn entry(&mut self, record: Record<'_>, loc: Loc, frame_seq: u64, is_rewrite: bool) -> Result<(), ReplayError> {
        let header = record.header();
        let (group, index, term) = (header.group, header.index, header.term);
        let kind = record.entry_kind().filter(|_| index != LogIndex(0));
        let kind = kind.ok_or(ReplayError::Payload { frame_seq, kind: header.kind })?;
        self.entries.push(EchoItem { group, crc: record.crc(), index, term });
        let config = (kind == EntryKind::Config).then(|| record.payload().into());
        let entry = Entry { term, loc, odd: Odd { config, ..Odd::none(header.prev_crc) } };
        let building = self.building(group, frame_seq)?;
        let is_of_this_life = building.take_life(header.life);
        match (is_rewrite, is_of_this_life) {
            (true, true) => building.rewrite(index, entry),
            (true, false) => {}
            (false, true) => building.append(index, entry),
            (false, false) => building.lose(),
        }
        Ok(())
    }

    /// An entry of a damaged frame, of which the identity is known, and perhaps the record.
    fn known_entry(
        &mut self,
        known: &KnownEntry,
        record: Option<Record<'_>>,
        frame_seq: u64,
    ) -> Result<(), ReplayError> {
        let EchoItem { group, crc, index, term } = known.item;
        let building = self.building(group, frame_seq)?;
        // Only a REWRITE has the identity of an entry that is held; what a truncation removes is never written again.
        let held = building.entries.get(index).filter(|(held, loc)| (*held, loc.crc) == (term, crc));
        match record {
            Some(record) => {
                let is_rewrite = held.is_some();
                return self.entry(record, known.loc, frame_seq, is_rewrite);
            }
            None if held.is_some() => base::mark::hit!("seglog.replay.rewrite_lost"),
            None => {
                base::mark::hit!("seglog.replay.faulty_entry");
                let loc = Loc { bytes: RECORD_HEADER_BYTES as u32, ..known.loc };
                let odd = Odd { prev_crc: None, is_faulty: true, is_rewritten: false, config: None };
                let entry = Entry { term, loc, odd };
                building.append(index, entry);
            }
        }
        self.entries.push(known.item);
        Ok(())
    }
}
