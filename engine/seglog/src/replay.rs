//! Replay: the records of the frames that stand, in order, become the index again.

use std::collections::BTreeMap;

use base::bytes::{get_u32, get_u64};
use base::record::{EntryKind, Record, RecordError, RecordKind};
use base::{GroupId, LogIndex, NodeId, Term, core_of};

use crate::format::frame::{EchoItem, Head, RECORDS_AT};
use crate::group::{GroupLog, Health, Loc};
use crate::log::slot_of;
use crate::settings::Settings;

/// More groups of one core than this are taken for damage.
pub(crate) const GROUPS_MAX: usize = 16_384;

/// Whole frames that do not fit together: damage that no checksum saw, or a defect.
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
    /// An entry does not follow the one before it.
    #[error("group {group}: entry {index} in frame {frame_seq} does not follow the one before it")]
    Chain {
        /// Whose.
        group: GroupId,
        /// Which.
        index: LogIndex,
        /// Where.
        frame_seq: u64,
    },
    /// The group's entries begin later than its compaction says, or nothing says where they begin.
    #[error("group {group}: entries before {index} are missing")]
    Hole {
        /// Whose.
        group: GroupId,
        /// The first one found.
        index: LogIndex,
    },
}

/// A group while its records are replayed.
struct Building {
    /// `first` and `before` are those of the entries found so far.
    log: GroupLog,
    /// Where the group's entries must begin in the end, with term and crc of the entry before: from GROUP_NEW or
    /// TRUNC_PREFIX. On the way there may be a hole at the front: entries that a later truncation removed, and whose
    /// segment is retired.
    begin: Option<(LogIndex, (Term, u32))>,
}

impl Building {
    /// Drops what is before `first`, which is where the group begins from now on.
    fn begin_at(&mut self, first: LogIndex, before: (Term, u32), config: &[u8]) {
        let log = &mut self.log;
        if log.locs.is_empty() || log.first <= first {
            let crc = if log.last() < first { before.1 } else { log.crc_of(first.prev()).unwrap_or(before.1) };
            log.drop_prefix(first, (before.0, crc), config);
        } else {
            config.clone_into(&mut log.config);
        }
        log.is_begun = true;
        self.begin = Some((first, before));
    }

    /// Drops everything.
    fn begin_anew(&mut self, life: u32, first: LogIndex, before: (Term, u32), config: &[u8]) {
        self.log.reset(life, first, before, config);
        (self.log.checkpoint, self.log.at.checkpoint) = (None, 0);
        self.log.is_begun = true;
        self.begin = Some((first, before));
    }

    /// The group, which must now be contiguous from its beginning.
    fn finish(mut self) -> Result<GroupLog, ReplayError> {
        let log = &mut self.log;
        let hole = ReplayError::Hole { group: log.group, index: log.first };
        match (self.begin, log.locs.is_empty()) {
            (None, true) => {}
            (None, false) => return Err(hole),
            (Some((first, before)), true) => (log.first, log.before) = (first, before),
            (Some((first, before)), false) => {
                if (log.first, log.before.1) != (first, before.1) {
                    return Err(hole);
                }
                log.before = before;
            }
        }
        Ok(self.log)
    }
}

/// The state of a replay.
pub(crate) struct Replay<'a> {
    settings: &'a Settings,
    groups: BTreeMap<GroupId, Building>,
    pub next_life: u32,
    pub records: u64,
    /// Identities in the frame last replayed: its ECHO.
    pub entries: Vec<EchoItem>,
}

impl<'a> Replay<'a> {
    pub fn new(settings: &'a Settings) -> Replay<'a> {
        Replay { settings, groups: BTreeMap::new(), next_life: 1, records: 0, entries: Vec::new() }
    }

    /// Replays one whole frame.
    pub fn frame(&mut self, bytes: &[u8], head: &Head, segment_seq: u64) -> Result<(), ReplayError> {
        let header = &head.header;
        let frame_seq = header.frame_seq;
        self.entries.clear();
        for slot in head.slots() {
            self.building(slot.group, frame_seq)?.log.merge_state(slot.term, slot.vote, segment_seq);
        }
        let frame_at = header.block as usize * base::limits::LOG_BLOCK_BYTES;
        let mut at = RECORDS_AT;
        for _ in 0..header.records {
            let bytes = &bytes[at..header.echo_at()];
            let (record, space) = Record::parse(bytes).map_err(|error| ReplayError::Record { frame_seq, error })?;
            let loc = Loc {
                segment: segment_seq as u32,
                offset: ((frame_at + at) / 8) as u32,
                bytes: record.raw().len() as u32,
                crc: record.crc(),
            };
            self.record(record, loc, frame_seq, segment_seq)?;
            self.records += 1;
            at += space;
        }
        if at != header.echo_at() {
            return Err(ReplayError::Record { frame_seq, error: RecordError::Field("count") });
        }
        Ok(())
    }

    /// Honours a term and vote of a frame that was cut.
    pub fn state(&mut self, group: GroupId, term: Term, vote: NodeId, segment_seq: u64) -> Result<(), ReplayError> {
        self.building(group, 0)?.log.merge_state(term, vote, segment_seq);
        Ok(())
    }

    /// The groups, ascending; each must be whole.
    pub fn finish(self) -> Result<Vec<GroupLog>, ReplayError> {
        self.groups.into_values().map(Building::finish).collect()
    }

    fn building(&mut self, group: GroupId, frame_seq: u64) -> Result<&mut Building, ReplayError> {
        let cores = self.settings.cores;
        if core_of(group, cores) != self.settings.core || slot_of(group, cores) >= GROUPS_MAX {
            return Err(ReplayError::ForeignGroup { frame_seq, group });
        }
        let new = || Building { log: GroupLog::new(group), begin: None };
        Ok(self.groups.entry(group).or_insert_with(new))
    }

    fn record(&mut self, record: Record<'_>, loc: Loc, frame_seq: u64, segment_seq: u64) -> Result<(), ReplayError> {
        let header = record.header();
        let payload = record.payload();
        let unreadable = ReplayError::Payload { frame_seq, kind: header.kind };
        if header.kind == RecordKind::Seal {
            return if payload.len() == 8 { Ok(()) } else { Err(unreadable) };
        }
        self.next_life = self.next_life.max(header.life.saturating_add(1));
        if header.kind == RecordKind::Entry {
            return self.entry(record, loc, frame_seq);
        }
        let building = self.building(header.group, frame_seq)?;
        let log = &mut building.log;
        match header.kind {
            RecordKind::HardState => {
                let vote = get_u64(payload, 0).filter(|_| payload.len() == 8).ok_or(unreadable)?;
                log.merge_state(header.term, NodeId(vote), segment_seq);
            }
            RecordKind::TruncSuffix => log.drop_suffix(header.index.max(log.first)),
            RecordKind::TruncPrefix => {
                let before = (header.term, get_u32(payload, 0).ok_or(unreadable)?);
                match header.flags {
                    0 | 1 => building.begin_at(header.index, before, &payload[4..]),
                    2 => building.begin_anew(header.life, header.index, before, &payload[4..]),
                    _ => return Err(unreadable),
                }
                (building.log.life, building.log.at.prefix) = (header.life, segment_seq);
            }
            RecordKind::GroupNew => {
                building.begin_anew(header.life, LogIndex(1), (Term(0), 0), payload);
                building.log.at.prefix = segment_seq;
            }
            RecordKind::Checkpoint => {
                log.checkpoint = Some((header.index, header.term));
                log.at.checkpoint = segment_seq;
            }
            RecordKind::Health => {
                log.stored_health = Health::from_disk(header.flags).ok_or(unreadable)?;
                log.at.health = segment_seq;
            }
            RecordKind::CommitHint => {}
            // This release writes none of these: to pass over them would lose what they say.
            RecordKind::GroupDrop | RecordKind::Rewrite | RecordKind::Entry | RecordKind::Seal => {
                return Err(unreadable);
            }
        }
        Ok(())
    }

    fn entry(&mut self, record: Record<'_>, loc: Loc, frame_seq: u64) -> Result<(), ReplayError> {
        let header = record.header();
        let (group, index) = (header.group, header.index);
        let building = self.building(group, frame_seq)?;
        let log = &mut building.log;
        let broken = ReplayError::Chain { group, index, frame_seq };
        let is_of_this_life = building.begin.is_none() && log.locs.is_empty() || header.life == log.life;
        let is_next = index == log.last().next() && header.prev_crc == log.last_crc();
        if index == LogIndex(0) || !is_of_this_life || !(log.locs.is_empty() || is_next) {
            return Err(broken);
        }
        if log.locs.is_empty() {
            (log.first, log.life, log.before) = (index, header.life, (Term(0), header.prev_crc));
        }
        let kind = record.entry_kind().ok_or(ReplayError::Payload { frame_seq, kind: header.kind })?;
        if kind == EntryKind::Config {
            log.configs.push((index, record.payload().to_vec()));
        }
        log.push(header.term, loc);
        self.entries.push(EchoItem { group, crc: record.crc(), index, term: header.term });
        Ok(())
    }
}
