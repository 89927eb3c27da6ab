//! Recovery: what the files of a log say, judged before anything is written.
//!
//! ```text
//! scan all blocks ─▶ leave out what a tail reset voided ─▶ follow the chain ─▶ judge what breaks it ─▶ replay
//! ```
//! The rules and what they mean: docs/design/log.md, "Recovery".

use std::collections::BTreeMap;

use base::limits::LOG_BLOCK_BYTES;
use base::{CoreId, GroupId, LogIndex, NodeId, Term};

use crate::disk::{LogReader, Slot};
use crate::format::frame::{self, EchoItem, Head, StateSlot};
use crate::format::meta::{Meta, MetaError};
use crate::format::segment_header::{SegmentHeader, SegmentHeaderError};
use crate::group::{GroupLog, Health};
use crate::replay::{Replay, ReplayError};
use crate::settings::{Settings, SettingsError};

/// The first frame after a recovery is numbered this far above the highest seen.
const RESET_JUMP: u64 = 1024;

/// Why the log cannot be opened. The node refuses to start with exit code 76; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The settings fit no log.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file could not be read.
    #[error("could not read the log: {0}; check the disk and the directory's rights")]
    Read(#[from] std::io::Error),
    /// No copy of `meta` is whole.
    #[error("log meta is missing or damaged in all four copies; format a new directory or replace this node")]
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
    /// A segment file has another size or a damaged header.
    #[error("log segment {segment_seq:016x} is damaged ({what}); replace this node")]
    DamagedSegment {
        /// Which.
        segment_seq: u64,
        /// How.
        what: &'static str,
    },
    /// A frame that was persisted does not read back.
    #[error("log frame {frame_seq} was persisted and is damaged or gone ({evidence}); replace this node")]
    DamagedFrame {
        /// The first frame that is not there.
        frame_seq: u64,
        /// What shows that it was persisted.
        evidence: &'static str,
    },
    /// The frames are whole and what they say does not fit together.
    #[error("log does not replay: {0}; replace this node")]
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
    /// Frames that an earlier recovery had cut.
    pub frames_void: u64,
    /// Frames behind the cut with a good head: the tail is doubtful when this is not 0.
    pub frames_doubtful: u64,
    /// Groups that may have lost an acknowledged tail.
    pub groups_doubtful: u64,
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
            first: log.first,
            last: log.last(),
            before: log.before,
            terms: log.runs.iter().copied().collect(),
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
        next_frame_seq: RESET_JUMP,
        next_segment_seq: meta.oldest_segment_seq,
        next_life: meta.next_life,
        free_files: 0,
    }
}

/// A block that begins a frame of its segment.
struct Found {
    segment: usize,
    head: Head,
    /// The whole frame is good, not only its first block.
    is_whole: bool,
}

impl Found {
    fn seq(&self) -> u64 {
        self.head.header.frame_seq
    }

    fn end_block(&self) -> u32 {
        self.head.header.block + u32::from(self.head.header.frame_blocks)
    }

    /// True when this frame is the next of the chain.
    fn follows(&self, last: &Found) -> bool {
        let (this, before) = (&self.head.header, &last.head.header);
        let is_reset = this.has(frame::RESET);
        let is_chained = self.is_whole
            && this.prev_frame_seq == before.frame_seq
            && this.prev_frame_crc == last.head.header_crc
            && (is_reset || this.frame_seq == before.frame_seq + 1);
        let is_placed = if self.segment == last.segment {
            this.block == last.end_block() && !before.has(frame::SEAL) && !this.has(frame::FIRST)
        } else {
            let is_next = self.segment == last.segment + 1 && before.has(frame::SEAL);
            this.block == 1 && this.has(frame::FIRST) && (is_reset || is_next)
        };
        is_chained && is_placed
    }
}

/// Reads a log back. Blocking; writes nothing.
///
/// Errors: [`RecoverError`]: the node refuses to start rather than guess.
pub fn recover(reader: &mut dyn LogReader, settings: &Settings) -> Result<Recovered, RecoverError> {
    settings.check()?;
    let meta = read_meta(reader, settings)?;
    let (leftovers, names) = expected_segments(reader, settings, &meta)?;
    let mut buffer = vec![0; settings.segment_bytes as usize];
    let mut found = Vec::new();
    let mut frame_seq_max = meta.persisted_seq;
    for (segment, segment_seq) in names.iter().enumerate() {
        reader.read(*segment_seq, 0, &mut buffer)?;
        let header = check_header(&buffer[..LOG_BLOCK_BYTES], *segment_seq, settings)?;
        frame_seq_max = frame_seq_max.max(header.base_frame_seq);
        scan(&buffer, segment, &header, &mut found);
    }
    frame_seq_max = found.iter().map(Found::seq).fold(frame_seq_max, u64::max);
    let frames_found = found.len();
    leave_out_void(&mut found);
    let frames_void = (frames_found - found.len()) as u64;
    let kept = chain_len(&found);
    let rest = found.split_off(kept);
    judge(&found, &rest, &meta)?;

    let mut out = empty(meta);
    let mut replay = Replay::new(settings);
    for (at, frame) in found.iter().enumerate() {
        let header = &frame.head.header;
        let bytes = &mut buffer[..header.frame_bytes()];
        let segment_seq = names[frame.segment];
        reader.read(segment_seq, u64::from(header.block) * LOG_BLOCK_BYTES as u64, bytes)?;
        if Head::parse(bytes, header.salt, segment_seq, header.block) != Some(frame.head) || !frame.head.has_body(bytes)
        {
            let evidence = "it read back well once and not a second time";
            return Err(RecoverError::DamagedFrame { frame_seq: frame.seq(), evidence });
        }
        replay.frame(bytes, &frame.head, segment_seq)?;
        if at + 1 == found.len() {
            out.echo.clone_from(&replay.entries);
            out.echo_states.extend_from_slice(frame.head.slots());
            (out.report.last_frame_seq, out.last_header_crc) = (frame.seq(), frame.head.header_crc);
        }
    }
    let doubtful = doubt(&rest, &mut replay, reader, &names, &mut buffer)?;
    let doubtful_at = names.last().copied().unwrap_or_default();
    out.next_life = replay.next_life.max(meta.next_life);
    (out.report.frames, out.report.records) = (found.len() as u64, replay.records);
    (out.report.frames_void, out.report.frames_doubtful) = (frames_void, rest.len() as u64);
    out.logs = replay.finish()?;
    for log in &mut out.logs {
        if doubtful.covers(log.group, settings.cores) {
            (log.stored_health, log.at.health) = (Health::RecoveringHead, doubtful_at);
            out.report.groups_doubtful += 1;
        }
    }
    let slots = (0..).map(Slot);
    out.live = names.iter().zip(slots).map(|(seq, slot)| RecoveredSegment { segment_seq: *seq, slot }).collect();
    out.leftovers = leftovers;
    out.next_frame_seq = frame_seq_max + RESET_JUMP;
    out.next_segment_seq = names.last().map_or(meta.oldest_segment_seq.max(meta.newest_segment_seq + 1), |seq| seq + 1);
    out.free_files = reader.free()?;
    Ok(out)
}

fn read_meta(reader: &mut dyn LogReader, settings: &Settings) -> Result<Meta, RecoverError> {
    let meta = Meta::newest(&reader.meta()?).map_err(|error| match error {
        MetaError::Format(format) => RecoverError::Format(format),
        MetaError::Damaged => RecoverError::NoMeta,
    })?;
    let meta = meta.ok_or(RecoverError::NoMeta)?;
    let differs = [
        (meta.cluster_id != settings.cluster_id, "cluster id"),
        (meta.node_uuid != settings.node_uuid, "node uuid"),
        (meta.core != settings.core, "core"),
        (meta.cores != settings.cores, "core count"),
        (meta.segment_blocks != settings.segment_blocks(), "segment size"),
    ];
    match differs.iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(RecoverError::Foreign(what)),
        None => Ok(meta),
    }
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
            return Err(RecoverError::MissingSegment { segment_seq });
        };
        if segment.bytes != settings.segment_bytes {
            return Err(RecoverError::DamagedSegment { segment_seq, what: "its size is not the segment size" });
        }
    }
    let seqs = |segments: Vec<&crate::disk::FoundSegment>| segments.iter().map(|found| found.segment_seq).collect();
    Ok((seqs(leftovers), seqs(live)))
}

fn check_header(block: &[u8], segment_seq: u64, settings: &Settings) -> Result<SegmentHeader, RecoverError> {
    let damaged = |what| RecoverError::DamagedSegment { segment_seq, what };
    let header = SegmentHeader::parse(block).map_err(|error| match error {
        SegmentHeaderError::Format(format) => RecoverError::Format(format),
        SegmentHeaderError::Damaged => damaged("its header is damaged"),
        SegmentHeaderError::Reserved => damaged("its header has a bad reserved field"),
    })?;
    if header.cluster_id != settings.cluster_id || header.node_uuid != settings.node_uuid {
        return Err(damaged("it belongs to another node"));
    }
    let is_ours: (u64, CoreId, u32) = (header.segment_seq, header.core, header.segment_blocks);
    if is_ours != (segment_seq, settings.core, settings.segment_blocks()) {
        return Err(damaged("its header does not fit its name"));
    }
    Ok(header)
}

/// Finds every block that begins a frame of this segment.
fn scan(bytes: &[u8], segment: usize, header: &SegmentHeader, found: &mut Vec<Found>) {
    let mut block = 1;
    while block < header.segment_blocks {
        let rest = &bytes[block as usize * LOG_BLOCK_BYTES..];
        let Some(head) = Head::parse(rest, header.salt, header.segment_seq, block) else {
            block += 1;
            continue;
        };
        let is_whole = rest.get(..head.header.frame_bytes()).is_some_and(|frame| head.has_body(frame));
        found.push(Found { segment, head, is_whole });
        if is_whole && head.header.has(frame::SEAL) {
            return;
        }
        block += if is_whole { u32::from(head.header.frame_blocks) } else { 1 };
    }
}

/// Drops every frame between a valid tail reset and the frame that it names as the one before; the last reset first.
fn leave_out_void(found: &mut Vec<Found>) {
    let mut void_from = u64::MAX;
    let mut is_kept: Vec<bool> = found
        .iter()
        .rev()
        .map(|frame| {
            let is_kept = frame.seq() < void_from;
            if is_kept && frame.is_whole && frame.head.header.has(frame::RESET) {
                void_from = frame.head.header.prev_frame_seq + 1;
            }
            is_kept
        })
        .collect();
    found.retain(|_| is_kept.pop().expect("one answer per frame"));
}

/// How many frames from the first on form an unbroken chain.
fn chain_len(found: &[Found]) -> usize {
    let Some(first) = found.first() else { return 0 };
    let header = &first.head.header;
    let is_oldest = first.segment == 0 && header.block == 1;
    let is_beginning = header.block == 1 && header.has(frame::RESET) && header.prev_frame_seq == 0;
    if !first.is_whole || !header.has(frame::FIRST) || !(is_oldest || is_beginning) {
        return 0;
    }
    1 + found.windows(2).take_while(|pair| pair[1].follows(&pair[0])).count()
}

/// Decides whether the log may end where its chain does. `rest` are good heads behind the end.
fn judge(chain: &[Found], rest: &[Found], meta: &Meta) -> Result<(), RecoverError> {
    let last = chain.last().map_or(0, Found::seq);
    // A log without any frame ends before its very first one, whatever number that had.
    let missing = last + 1;
    let damaged = |evidence| Err(RecoverError::DamagedFrame { frame_seq: missing, evidence });
    if meta.persisted_seq >= missing {
        return damaged("meta says that it was persisted");
    }
    for frame in rest {
        let header = &frame.head.header;
        if header.persisted_seq >= missing {
            return damaged("a later frame says that it was persisted");
        }
        if header.has(frame::RESET) && frame.is_whole {
            return damaged("a later recovery accepted it");
        }
        if header.frame_seq <= last {
            return damaged("an older frame lies behind its place");
        }
    }
    // Without any chain this says that no frame was ever persisted: the log begins anew.
    Ok(())
}

/// Groups that the frames behind the cut may concern.
#[derive(Default)]
struct Doubt {
    bits: u64,
    groups: Vec<GroupId>,
}

impl Doubt {
    fn covers(&self, group: GroupId, cores: u16) -> bool {
        self.bits & frame::group_bit(group, cores) != 0 || self.groups.contains(&group)
    }
}

/// The tail ends before `rest`, whose terms and votes count all the same: to honour a promise twice does no harm.
fn doubt(
    rest: &[Found],
    replay: &mut Replay<'_>,
    reader: &mut dyn LogReader,
    names: &[u64],
    buffer: &mut [u8],
) -> Result<Doubt, RecoverError> {
    let mut doubt = Doubt::default();
    let mut slots = BTreeMap::new();
    let mut honour = |slot: StateSlot, segment_seq: u64| {
        slots.insert((slot.group, slot.term, slot.vote), segment_seq);
    };
    for (at, frame) in rest.iter().enumerate() {
        let header = &frame.head.header;
        let segment_seq = names[frame.segment];
        doubt.bits |= header.groups;
        frame.head.slots().iter().for_each(|slot| honour(*slot, segment_seq));
        if at == 0 && frame.is_whole {
            // The frame at the cut is gone, with its head; its ECHO is in the one behind it.
            let bytes = &mut buffer[..header.frame_bytes()];
            reader.read(segment_seq, u64::from(header.block) * LOG_BLOCK_BYTES as u64, bytes)?;
            if let Some((entries, states)) = frame::parse_echo(bytes, header).filter(|_| frame.head.has_body(bytes)) {
                doubt.groups.extend(entries.iter().map(|entry| entry.group));
                doubt.groups.extend(states.iter().map(|state| state.group));
                states.into_iter().for_each(|state| honour(state, segment_seq));
            }
        }
    }
    for ((group, term, vote), segment_seq) in slots {
        replay.state(group, term, vote, segment_seq)?;
    }
    Ok(doubt)
}
