//! Recovery: what the files of a log say, judged before anything is written.
//!
//! ```text
//! scan.rs: frames found ─▶ verdict.rs: which stand, which are damaged, where it ends ─▶ salvage.rs ─▶ replay.rs
//!      └─▶ ahead.rs: replayed at once, in case all of them stand
//! ```
//! The rules and what they mean: docs/design/log.md, "Recovery".

use std::collections::BTreeMap;

use base::limits::LOG_BLOCK_BYTES;
use base::record::Record;
use base::{GroupId, LogIndex, NodeId, Term, mutate};

use crate::ahead::Ahead;
use crate::disk::{FoundSegment, LogReader, Slot};
use crate::format::frame::{self, EchoItem, StateSlot};
use crate::format::meta::{Meta, MetaError};
use crate::group::{GroupLog, Health};
use crate::inspect::SegmentLook;
use crate::replay::{Replay, ReplayError};
use crate::salvage::{self, ALL_GROUPS, Echo, KnownEntry, Place};
use crate::scan::{self, Found, Scanned};
use crate::settings::{Settings, SettingsError};
use crate::verdict::{self, Step};

/// The first frame after a recovery is numbered this far above the highest seen.
const RESET_JUMP: u64 = 1024;
/// Lives are given out from so far above the highest seen when `meta` is lost.
const PRESUMED_JUMP: u32 = 1024;
/// The `meta_seq` presumed when no copy can be read: above all that was ever written, should one be readable again.
const PRESUMED_META_SEQ: u64 = 1 << 48;

/// Why the log cannot be opened. The node refuses to start with exit code 76; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The settings fit no log.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file could not be read.
    #[error("could not read the log: {0}; check the disk and the directory's rights")]
    Read(#[from] std::io::Error),
    /// No copy of `meta` is whole, and there is no segment either.
    #[error("log has no meta and no segments; format a new directory or replace this node")]
    NoMeta,
    /// A newer release wrote it.
    #[error("log has format {0}; this release reads format 1, start the release that wrote it")]
    Format(u16),
    /// The directory belongs to another cluster, node, core or shape.
    #[error("log is foreign: its {0} differs from the configuration; start it with its own configuration")]
    Foreign(&'static str),
    /// A segment between the oldest and the newest is not there.
    #[error("log segment {segment_seq:016x} is missing; entries that were acknowledged are lost, replace this node")]
    MissingSegment {
        /// Which.
        segment_seq: u64,
    },
    /// A segment file has another size, or a whole header that is not its own.
    #[error("log segment {segment_seq:016x} is foreign ({what}); put back its own file, or replace this node")]
    ForeignSegment {
        /// Which.
        segment_seq: u64,
        /// How.
        what: &'static str,
    },
    /// Whole frames hold what this release cannot read.
    #[error("log does not replay: {0}; start the release that wrote it, or replace this node")]
    Replay(#[from] ReplayError),
}

/// A live segment: boot opens it in this slot before the log starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoveredSegment {
    /// Names the file.
    pub segment_seq: u64,
    /// Where reads expect it.
    pub slot: Slot,
}

/// A group as the log knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredGroup {
    /// Which.
    pub group: GroupId,
    /// False when only a term or vote is known: begin it anew; the state is kept.
    pub is_begun: bool,
    /// The first entry held; `last + 1` when none is.
    pub first: LogIndex,
    /// The last entry held.
    pub last: LogIndex,
    /// Term and crc of the entry at `first - 1`.
    pub before: (Term, u32),
    /// Terms of the held entries: (first index of the run, term).
    pub terms: Vec<(LogIndex, Term)>,
    /// The current term.
    pub term: Term,
    /// The vote given in it; node 0 is none.
    pub vote: NodeId,
    /// The configuration in force at `first - 1`.
    pub config: Vec<u8>,
    /// Held entries of kind Config with their payloads.
    pub configs: Vec<(LogIndex, Vec<u8>)>,
    /// The last CHECKPOINT.
    pub checkpoint: Option<(LogIndex, Term)>,
    /// The group's local life.
    pub life: u32,
    /// What the log can be counted on for.
    pub health: Health,
    /// Held entries whose bytes are lost, ascending; their terms and crcs are known.
    pub faulty: Vec<LogIndex>,
}

/// What recovery saw and did, for the log of the node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// Frames that stand.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// The last frame that stands.
    pub last_frame_seq: u64,
    /// Whole copies of `meta` that say the same as the one that held: 4, but for a crash while they were written or for
    /// damage; with fewer than 2 the next loss may cost all groups of the core. 0: it was lost, and all are quarantined.
    /// The start writes all copies anew.
    pub meta_copies: u32,
    /// Frames that an earlier recovery had cut.
    pub frames_void: u64,
    /// Frames behind the cut with a good head: the tail is doubtful when this is not 0.
    pub frames_doubtful: u64,
    /// Frames that were persisted and are damaged or gone.
    pub frames_damaged: u64,
    /// Groups that may have lost an acknowledged tail.
    pub groups_doubtful: u64,
    /// Groups that lost identities, votes or what they acknowledged.
    pub groups_quarantined: u64,
    /// Entries that lost their bytes, of all groups.
    pub entries_faulty: u64,
    /// Why all groups are quarantined, when they are because of the frames themselves.
    pub untrusted: Option<&'static str>,
}

/// A log that was read back, or a new one: [`crate::SegLog::start`] makes it live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    pub(crate) logs: Vec<GroupLog>,
    pub(crate) live: Vec<RecoveredSegment>,
    pub(crate) leftovers: Vec<u64>,
    pub(crate) meta: Meta,
    pub(crate) report: RecoveryReport,
    pub(crate) last_header_crc: u32,
    pub(crate) echo: Vec<EchoItem>,
    pub(crate) echo_states: Vec<StateSlot>,
    pub(crate) echo_others: u16,
    /// Groups that left no trace and may have had one: quarantined when they are begun.
    pub(crate) unknown_bits: u64,
    pub(crate) next_frame_seq: u64,
    pub(crate) next_segment_seq: u64,
    pub(crate) next_life: u32,
    pub(crate) free_files: u32,
}

impl Recovered {
    /// The groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<RecoveredGroup> {
        let view = |log: &GroupLog| RecoveredGroup {
            group: log.group,
            is_begun: log.is_begun,
            first: log.first(),
            last: log.last(),
            before: log.before,
            terms: log.held.runs().collect(),
            term: log.term,
            vote: log.vote,
            config: log.config.clone(),
            configs: log.configs.clone(),
            checkpoint: log.checkpoint,
            life: log.life,
            health: log.health(),
            faulty: log.faulty.iter().copied().collect(),
        };
        self.logs.iter().map(view).collect()
    }

    /// The live segments, oldest first: open each in its slot before the log starts.
    #[must_use]
    pub fn segments(&self) -> &[RecoveredSegment] {
        &self.live
    }

    /// How many prepared files wait.
    #[must_use]
    pub fn free_files(&self) -> u32 {
        self.free_files
    }

    /// What recovery saw.
    #[must_use]
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The `meta` that held.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The empty start of a directory that was just formatted, without reading it.
#[must_use]
pub fn create(settings: &Settings) -> Recovered {
    empty(settings.first_meta())
}

fn empty(meta: Meta) -> Recovered {
    Recovered {
        logs: Vec::new(),
        live: Vec::new(),
        leftovers: Vec::new(),
        meta,
        report: RecoveryReport::default(),
        last_header_crc: 0,
        echo: Vec::new(),
        echo_states: Vec::new(),
        echo_others: 0,
        unknown_bits: 0,
        next_frame_seq: RESET_JUMP,
        next_segment_seq: meta.oldest_segment_seq,
        next_life: meta.next_life,
        free_files: 0,
    }
}

/// Reads a log back. Blocking; writes nothing. Damage is told per group, in [`RecoveredGroup::health`] and `faulty`.
///
/// Errors: [`RecoverError`]: the node refuses to start rather than guess.
pub fn recover(reader: &mut dyn LogReader, settings: &Settings) -> Result<Recovered, RecoverError> {
    judge(reader, settings, None)
}

/// As [`recover`]; tells besides what is to be seen of each segment alone, as it is read, even if in the end the log does
/// not open.
///
/// Errors: as of [`recover`].
pub fn recover_and_look(
    reader: &mut dyn LogReader,
    settings: &Settings,
    looks: &mut Vec<SegmentLook>,
) -> Result<Recovered, RecoverError> {
    judge(reader, settings, Some(looks))
}

fn judge(
    reader: &mut dyn LogReader,
    settings: &Settings,
    mut looks: Option<&mut Vec<SegmentLook>>,
) -> Result<Recovered, RecoverError> {
    settings.check()?;
    let found_meta = read_meta(reader, settings)?;
    let (meta, meta_copies) = match found_meta {
        Some(found) => found,
        None => (presumed_meta(&reader.segments()?, settings)?, 0),
    };
    let (leftovers, names) = expected_segments(reader, settings, &meta)?;
    let mut files = Files { reader, settings, bytes: Vec::new(), loaded: None };
    let mut found = Vec::new();
    let mut segments = Vec::new();
    let mut seen = Vec::new();
    let mut frame_seq_max = meta.persisted_seq;
    let mut ahead = Ahead::new(settings);
    for (segment, segment_seq) in names.iter().enumerate() {
        seen.push(found.last().map_or(0, Found::seq).max(seen.last().copied().unwrap_or(0)));
        let unreadable = files.load(segment, *segment_seq)?;
        let before = found.len();
        let scanned = scan::scan(&files.bytes, segment, *segment_seq, unreadable, settings, &mut found)?;
        ahead.take(&found[before..], &files.bytes, *segment_seq);
        if let Some(looks) = &mut looks {
            looks.push(SegmentLook::of(&files.bytes, &scanned, &found[before..]));
        }
        frame_seq_max = frame_seq_max.max(scanned.header.map_or(0, |header| header.base_frame_seq));
        frame_seq_max = frame_seq_max.max(scanned.trailer.map_or(0, |trailer| trailer.last_frame_seq));
        segments.push(scanned);
    }
    frame_seq_max = found.iter().map(Found::seq).fold(frame_seq_max, u64::max);
    let frames_found = found.len();
    let persisted = verdict::leave_out_void(&mut found, meta.persisted_seq);
    let persisted = mutate!(MUT_12A, persisted, verdict::end_at_first_bad(&mut found));
    let frames_void = (frames_found - found.len()) as u64;
    let mut verdict = verdict::walk(&found, &segments, &seen, persisted);
    if meta_copies == 0 {
        verdict.untrusted = Some("meta is lost in all its copies, and with it what was persisted");
    }
    let (standing, rest) = found.split_at(verdict.rest);

    let mut out = empty(meta);
    let log = Log { found: standing, segments: &segments };
    let mut replay = match ahead.agrees(&verdict.steps, frames_void) {
        Some(replay) => replay,
        None => {
            let mut replay = Replay::new(settings);
            for step in &verdict.steps {
                log.replay(*step, &mut files, &mut replay, &mut out.report)?;
            }
            replay
        }
    };
    let newest = names.last().copied().unwrap_or_default();
    let last = standing.last().filter(|last| last.seq() == verdict.last_seq);
    out.last_header_crc = last.map_or(0, |last| last.head.header_crc);
    (out.echo, out.echo_states, out.echo_others) =
        (std::mem::take(&mut replay.entries), std::mem::take(&mut replay.states), replay.others);
    out.report.frames = verdict.steps.iter().filter(|step| matches!(step, Step::Whole(_))).count() as u64;
    out.report.last_frame_seq = verdict.last_seq;
    let doubtful = doubt(&log, rest, &mut replay, &mut files)?;
    out.next_life = replay.next_life.max(meta.next_life);
    if meta_copies == 0 {
        // Lives may have been given out whose records are damaged.
        out.next_life = out.next_life.saturating_add(PRESUMED_JUMP);
    }
    out.report.meta_copies = meta_copies;
    out.report.records = replay.records;
    (out.report.frames_void, out.report.frames_doubtful) = (frames_void, rest.len() as u64);
    base::mark::hit!("seglog.recover.untrusted", verdict.untrusted.is_some());
    out.unknown_bits = if verdict.untrusted.is_some() { ALL_GROUPS } else { replay.suspect_bits };
    out.report.untrusted = verdict.untrusted;
    out.logs = replay.finish(newest);
    for log in &mut out.logs {
        if doubtful & frame::group_bit(log.group, settings.cores) != 0 && log.stored_health == Health::Clean {
            base::mark::hit!("seglog.recover.recovering_head");
            (log.stored_health, log.at.health) = (Health::RecoveringHead, newest);
            out.report.groups_doubtful += 1;
        }
        if verdict.untrusted.is_some() {
            (log.stored_health, log.at.health) = (Health::Quarantined, newest);
        }
        out.report.groups_quarantined += u64::from(log.stored_health == Health::Quarantined);
        out.report.entries_faulty += log.faulty.len() as u64;
    }
    let slots = (0..).map(Slot);
    out.live = names.iter().zip(slots).map(|(seq, slot)| RecoveredSegment { segment_seq: *seq, slot }).collect();
    out.leftovers = leftovers;
    out.next_frame_seq = frame_seq_max + RESET_JUMP;
    out.next_segment_seq = names.last().map_or(meta.oldest_segment_seq.max(meta.newest_segment_seq + 1), |seq| seq + 1);
    out.free_files = files.reader.free()?;
    Ok(out)
}

/// The segment files, one of them in memory.
struct Files<'a> {
    reader: &'a mut dyn LogReader,
    settings: &'a Settings,
    /// The loaded segment, as far as anything is written in it.
    bytes: Vec<u8>,
    loaded: Option<usize>,
}

impl Files<'_> {
    /// Loads a segment; returns the blocks that could not be read.
    fn load(&mut self, segment: usize, segment_seq: u64) -> Result<Vec<u32>, RecoverError> {
        self.loaded = None;
        let unreadable = scan::read_segment(self.reader, segment_seq, self.settings, &mut self.bytes)?;
        self.loaded = Some(segment);
        Ok(unreadable)
    }

    /// The bytes of a frame whose head was found good, or whole: read once more if they are others now, since a disk may err
    /// once. Whoever takes them judges them again.
    fn frame_bytes(&mut self, found: &Found, segments: &[Scanned]) -> Result<&[u8], RecoverError> {
        let place = place_of(found);
        let head = &found.head;
        let is_same = |bytes: &[u8]| if found.is_whole { head.has_body(bytes) } else { head.has_block0(bytes) };
        if !is_same(self.bytes(&place, segments)?) {
            base::mark::hit!("seglog.recover.read_twice_differs");
            self.loaded = None;
        }
        self.bytes(&place, segments)
    }

    /// The bytes of a place, as far as they are written.
    fn bytes(&mut self, place: &Place, segments: &[Scanned]) -> Result<&[u8], RecoverError> {
        if self.loaded != Some(place.segment) {
            self.load(place.segment, segments[place.segment].segment_seq)?;
        }
        let end = place.range.end.min(self.bytes.len());
        Ok(&self.bytes[place.range.start.min(end)..end])
    }
}

/// The frames that stand or are damaged.
struct Log<'a> {
    found: &'a [Found],
    segments: &'a [Scanned],
}

impl Log<'_> {
    fn replay(
        &self,
        step: Step,
        files: &mut Files<'_>,
        replay: &mut Replay<'_>,
        report: &mut RecoveryReport,
    ) -> Result<(), RecoverError> {
        match step {
            Step::Whole(at) => {
                let found = &self.found[at];
                let segment_seq = self.segments[found.segment].segment_seq;
                let bytes = files.frame_bytes(found, self.segments)?;
                if found.head.has_body(bytes) {
                    return Ok(replay.frame(bytes, &found.head, segment_seq)?);
                }
                base::mark::hit!("seglog.recover.read_twice_is_broken");
                self.replay_broken(at, files, replay, report)
            }
            Step::Broken(at) => self.replay_broken(at, files, replay, report),
            Step::Lost { from, to, next } => self.replay_lost((from, to), next, files, replay, report),
        }
    }

    /// A frame whose body is damaged: its votes are known, and what follows tells which entries it held.
    fn replay_broken(
        &self,
        at: usize,
        files: &mut Files<'_>,
        replay: &mut Replay<'_>,
        report: &mut RecoveryReport,
    ) -> Result<(), RecoverError> {
        base::mark::hit!("seglog.recover.frame_broken");
        report.frames_damaged += 1;
        let found = &self.found[at];
        let header = &found.head.header;
        let segment_seq = self.segments[found.segment].segment_seq;
        let place = place_of(found);
        let footer = salvage::from_footers(std::slice::from_ref(&place), self.segments);
        let echo = self.echo_of_next(at + 1, header.frame_seq, files)?;
        base::mark::hit!("seglog.salvage.by_footer", footer.is_some());
        base::mark::hit!("seglog.salvage.by_echo", footer.is_none() && echo.is_some());
        base::mark::hit!("seglog.salvage.by_block0", footer.is_none() && echo.is_none());
        let others = echo.as_ref().map(|echo| echo.others);
        let known = footer.or_else(|| echo.map(|echo| salvage::from_echo(&echo.entries, segment_seq)));
        let seals = usize::from(header.has(frame::SEAL));
        let suspects = match (&known, others) {
            (_, Some(others)) => salvage::others_to_bits(others),
            // No other record was in it than these entries.
            (Some(entries), None) if entries.len() + seals == usize::from(header.records) => 0,
            _ => header.groups,
        };
        let mut known = known.unwrap_or_default();
        let bytes = files.frame_bytes(found, self.segments)?;
        salvage::locate(&mut known, bytes, place.range.start, segment_seq);
        let records: Vec<_> = salvage::block0_records(bytes, &found.head)
            .into_iter()
            .map(|(offset, record)| (place.range.start + offset, record))
            .collect();
        let entries: Vec<_> = known.iter().map(|entry| (*entry, record_of(entry, bytes, &place))).collect();
        let names = (header.frame_seq, segment_seq);
        replay.damaged(names, found.head.slots(), &records, &entries, others.unwrap_or(u16::MAX))?;
        replay.suspect(suspects);
        Ok(())
    }

    /// Frames of which nothing is known but what their footers, and the ECHO of the next frame, say.
    fn replay_lost(
        &self,
        (from, to): (u64, u64),
        next: Option<usize>,
        files: &mut Files<'_>,
        replay: &mut Replay<'_>,
        report: &mut RecoveryReport,
    ) -> Result<(), RecoverError> {
        base::mark::hit!("seglog.recover.frame_lost");
        report.frames_damaged += to.saturating_sub(from) + 1;
        let before = next.map_or(self.found.last(), |next| next.checked_sub(1).map(|at| &self.found[at]));
        let after = next.and_then(|next| self.found.get(next));
        let places = salvage::places_of_lost(before, after, self.segments);
        // The ECHO of the next frame tells all of one lost frame, and only of the last of several.
        let echo = next.map_or(Ok(None), |next| self.echo_of_next(next, to, files))?;
        let has_all = from == to && echo.is_some();
        let echo = echo.unwrap_or_default();
        let segment_seq = places.first().map_or(0, |place| self.segments[place.segment].segment_seq);
        let footer = salvage::from_footers(&places, self.segments);
        if from != to && footer.is_none() {
            base::mark::hit!("seglog.salvage.frames_in_a_row_lost");
            // The last of these frames stands behind a hole of its own.
            replay.suspect(ALL_GROUPS);
        }
        let mut known = footer.unwrap_or_else(|| salvage::from_echo(&echo.entries, segment_seq));
        let mut records = Vec::new();
        for place in &places {
            let segment_seq = self.segments[place.segment].segment_seq;
            let bytes = files.bytes(place, self.segments)?;
            salvage::locate(&mut known, bytes, place.range.start, segment_seq);
            let here = known.iter().enumerate().filter(|(_, entry)| u64::from(entry.loc.segment) == segment_seq);
            records.extend(here.filter_map(|(at, entry)| Some((at, padded(record_of(entry, bytes, place)?)))));
        }
        let raw: BTreeMap<usize, Vec<u8>> = records.into_iter().collect();
        let parse = |at: &usize| raw.get(at).and_then(|raw| Some(Record::parse(raw).ok()?.0));
        let entries: Vec<_> = known.iter().enumerate().map(|(at, entry)| (*entry, parse(&at))).collect();
        let others = if has_all { echo.others } else { u16::MAX };
        replay.damaged((to, segment_seq), &echo.states, &[], &entries, others)?;
        replay.suspect(if has_all { salvage::others_to_bits(echo.others) } else { ALL_GROUPS });
        Ok(())
    }

    /// The ECHO of frame `frame_seq`, if frame `at` is the one after it and can be trusted with that.
    fn echo_of_next(&self, at: usize, frame_seq: u64, files: &mut Files<'_>) -> Result<Option<Echo>, RecoverError> {
        let next = self.found.get(at).filter(|next| next.head.header.prev_frame_seq == frame_seq);
        let Some(next) = next else { return Ok(None) };
        Ok(Echo::of(files.frame_bytes(next, self.segments)?, next))
    }
}

/// Where a frame lies.
fn place_of(found: &Found) -> Place {
    let start = found.head.header.block as usize * LOG_BLOCK_BYTES;
    Place { segment: found.segment, range: start..start + found.head.header.frame_bytes() }
}

fn padded(record: Record<'_>) -> Vec<u8> {
    let mut out = record.raw().to_vec();
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// The record of an entry that was located in these bytes.
fn record_of<'b>(entry: &KnownEntry, bytes: &'b [u8], place: &Place) -> Option<Record<'b>> {
    let at = (entry.loc.offset as usize * 8).checked_sub(place.range.start)?;
    let (record, _) = (entry.loc.bytes > 0).then(|| bytes.get(at..))?.and_then(|rest| Record::parse(rest).ok())?;
    Some(record)
}

/// Groups that the frames behind the cut may concern, as group bits. The tail ends before `rest`, whose terms and votes
/// count all the same: to honour a promise twice does no harm.
fn doubt(log: &Log<'_>, rest: &[Found], replay: &mut Replay<'_>, files: &mut Files<'_>) -> Result<u64, RecoverError> {
    let mut bits = 0;
    let mut slots = BTreeMap::new();
    let mut honour = |slot: StateSlot, segment_seq: u64| {
        slots.insert((slot.group, slot.term, slot.vote), segment_seq);
    };
    let mut last_seq = log.found.last().map_or(0, Found::seq);
    for frame in rest {
        let header = &frame.head.header;
        let segment_seq = log.segments[frame.segment].segment_seq;
        bits |= header.groups;
        frame.head.slots().iter().for_each(|slot| honour(*slot, segment_seq));
        if header.prev_frame_seq > last_seq {
            base::mark::hit!("seglog.doubt.frame_missing");
            // Frames before this one are gone, with their heads; the ECHO of one of them is here.
            let echo = Echo::of(files.frame_bytes(frame, log.segments)?, frame);
            let is_all = header.prev_frame_seq == last_seq + 1 && echo.is_some();
            let echo = echo.unwrap_or_default();
            let cores = files.settings.cores;
            let named = echo.entries.iter().map(|entry| entry.group).chain(echo.states.iter().map(|state| state.group));
            let named =
                named.fold(salvage::others_to_bits(echo.others), |bits, group| bits | frame::group_bit(group, cores));
            bits |= if is_all || last_seq == 0 { named } else { ALL_GROUPS };
            echo.states.into_iter().for_each(|state| honour(state, segment_seq));
        }
        last_seq = header.frame_seq;
    }
    base::mark::hit!("seglog.doubt.states_honoured", !slots.is_empty());
    for ((group, term, vote), segment_seq) in slots {
        replay.state(group, term, vote, segment_seq)?;
    }
    if rest.is_empty() && is_end_unreadable(log) {
        base::mark::hit!("seglog.recover.end_unreadable");
        bits = ALL_GROUPS;
    }
    Ok(bits)
}

/// True when the disk could not read a block at or behind the end of the log: nobody can tell what was there.
fn is_end_unreadable(log: &Log<'_>) -> bool {
    let end = log.found.last().map_or((0, 1), |last| {
        if last.head.header.has(frame::SEAL) { (last.segment + 1, 1) } else { (last.segment, last.end_block()) }
    });
    let blocks = |segment: usize| log.segments[segment].unreadable.iter().map(move |block| (segment, *block));
    (0..log.segments.len()).flat_map(blocks).any(|at| at >= end && at.1 > 0)
}

/// The `meta` that holds, and how many copies say so; `None` when no copy is whole.
fn read_meta(reader: &mut dyn LogReader, settings: &Settings) -> Result<Option<(Meta, u32)>, RecoverError> {
    let copies = reader.meta()?;
    let meta = Meta::newest(&copies).map_err(|error| match error {
        MetaError::Format(format) => RecoverError::Format(format),
        MetaError::Damaged => RecoverError::NoMeta,
    })?;
    let Some(meta) = meta else { return Ok(None) };
    let differs = [
        (meta.cluster_id != settings.cluster_id, "cluster id"),
        (meta.node_uuid != settings.node_uuid, "node uuid"),
        (meta.core != settings.core, "core"),
        (meta.cores != settings.cores, "core count"),
        (meta.segment_blocks != settings.segment_blocks(), "segment size"),
    ];
    if let Some((_, what)) = differs.iter().find(|(differs, _)| *differs) {
        return Err(RecoverError::Foreign(what));
    }
    let numbered = (0..).zip(&copies);
    let equal =
        numbered.filter(|(copy, block)| block.as_ref().is_some_and(|block| Meta::parse(block, *copy) == Ok(meta)));
    let equal = equal.count() as u32;
    if equal < 2 {
        base::mark::hit!("seglog.recover.few_meta");
    }
    Ok(Some((meta, equal)))
}

/// What stands in for a lost `meta`: all segments that are there are live. The groups of the core are quarantined, since
/// nobody can tell what was persisted; the other cores of the node go on. Whose the log is, its segments say.
///
/// Errors: [`RecoverError::NoMeta`] when there is no segment either.
fn presumed_meta(segments: &[FoundSegment], settings: &Settings) -> Result<Meta, RecoverError> {
    let seqs = || segments.iter().map(|segment| segment.segment_seq);
    let (oldest, newest) = seqs().min().zip(seqs().max()).ok_or(RecoverError::NoMeta)?;
    base::mark::hit!("seglog.recover.no_meta");
    let (meta_seq, oldest_segment_seq, newest_segment_seq) = (PRESUMED_META_SEQ, oldest, newest);
    Ok(Meta { meta_seq, oldest_segment_seq, newest_segment_seq, ..settings.first_meta() })
}

/// Names to retire again, and the names that must be there: oldest to newest, without gaps.
fn expected_segments(
    reader: &mut dyn LogReader,
    settings: &Settings,
    meta: &Meta,
) -> Result<(Vec<u64>, Vec<u64>), RecoverError> {
    let found = reader.segments()?;
    let (leftovers, live): (Vec<_>, Vec<_>) =
        found.iter().partition(|segment| segment.segment_seq < meta.oldest_segment_seq);
    let highest = live.iter().map(|segment| segment.segment_seq).max();
    let newest = highest.map_or(meta.newest_segment_seq, |highest| highest.max(meta.newest_segment_seq));
    let mut present = live.iter().copied().peekable();
    for segment_seq in meta.oldest_segment_seq..=newest {
        let Some(segment) = present.next_if(|segment| segment.segment_seq == segment_seq) else {
            base::mark::hit!("seglog.recover.segment_missing");
            return Err(RecoverError::MissingSegment { segment_seq });
        };
        if segment.bytes != settings.segment_bytes {
            return Err(RecoverError::ForeignSegment { segment_seq, what: "its size is not the segment size" });
        }
    }
    base::mark::hit!("seglog.recover.leftovers", !leftovers.is_empty());
    let seqs = |segments: Vec<&FoundSegment>| segments.iter().map(|found| found.segment_seq).collect();
    Ok((seqs(leftovers), seqs(live)))
}
