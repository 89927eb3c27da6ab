//! What a power cut at this moment would leave of each group's log: read from the bytes that are durable, frame by frame
//! as they get there, so that it does not depend on what the node believes.

use std::collections::VecDeque;
use std::ops::Range;

use base::bytes::get_u64;
use base::limits::LOG_BLOCK_BYTES;
use base::record::{Record, RecordKind};
use base::{GroupId, LogIndex, NodeId, Term};
use seglog::RecoveredGroup;
use seglog::format::frame::{Head, RECORDS_AT};

/// A group's durable state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnPlatter {
    /// The group.
    pub group: GroupId,
    /// The highest term.
    pub term: Term,
    /// The vote in it; 0 none.
    pub vote: NodeId,
    /// The last entry.
    pub last: LogIndex,
    /// Where each term begins.
    runs: Vec<(LogIndex, Term)>,
    /// It moved since it was last looked at.
    is_new: bool,
}

impl OnPlatter {
    /// The term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.runs.last().map_or(Term(0), |(_, term)| *term)
    }

    /// The term of the entry at `index`, where it is known.
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.runs[..self.runs.partition_point(|(first, _)| *first <= index)].last().map(|(_, term)| *term)
    }

    fn cut(&mut self, from: LogIndex) {
        while self.runs.last().is_some_and(|(first, _)| *first >= from) {
            self.runs.pop();
        }
        self.last = self.last.min(from.prev());
    }

    fn push(&mut self, index: LogIndex, term: Term) {
        self.cut(index);
        if self.last_term() != term || self.runs.is_empty() {
            self.runs.push((index, term));
        }
        self.last = index;
    }

    fn vote(&mut self, term: Term, vote: NodeId) {
        if term > self.term || (term == self.term && self.vote == NodeId(0)) {
            (self.term, self.vote) = (term, vote);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    State(GroupId, Term, NodeId),
    Entry(GroupId, LogIndex, Term),
    Cut(GroupId, LogIndex),
    Reset(GroupId, LogIndex, Term),
    /// What is before is dropped, and all if there is nothing behind.
    Begin(GroupId, LogIndex, Term),
}

/// A frame on its way to the disk.
#[derive(Clone, Debug)]
struct Frame {
    frame_seq: u64,
    segment_seq: u64,
    end: u32,
    /// The write that completed it, among all of this disk; 0 not yet.
    written: u64,
    is_durable: bool,
    /// It is durable by the word of a sync that lied.
    is_lie: bool,
    changes: u32,
    /// Whose promises are in it.
    groups: Vec<GroupId>,
}

/// A frame that the device says it has put on the disk, and has not.
#[derive(Clone, Debug)]
struct Lie {
    frame_seq: u64,
    segment_seq: u64,
    written: u64,
    groups: Vec<GroupId>,
}

/// The durable state of all groups of a core.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    groups: Vec<OnPlatter>,
    frames: VecDeque<Frame>,
    /// Of all frames, in order.
    changes: VecDeque<Change>,
    lies: Vec<Lie>,
}

impl Platter {
    /// Begins with what recovery found.
    pub fn recovered(groups: &[RecoveredGroup]) -> Platter {
        let on_platter = |group: &RecoveredGroup| {
            let mut runs = group.terms.clone();
            if runs.is_empty() && group.last > LogIndex(0) {
                runs.push((group.last, group.before.0));
            }
            OnPlatter { group: group.group, term: group.term, vote: group.vote, last: group.last, runs, is_new: true }
        };
        Platter { groups: groups.iter().map(on_platter).collect(), ..Platter::default() }
    }

    /// The node's tables hold the state of a group up to here, durably: with them the log begins anew behind it, and
    /// where the log holds another entry there, nothing of it counts.
    pub fn handle_state(&mut self, group: GroupId, last: LogIndex, term: Term) {
        let held = self.groups.iter().find(|entry| entry.group == group && last <= entry.last);
        let is_other = held.and_then(|entry| entry.term_at(last)).is_some_and(|held| held != term);
        let change = if is_other { Change::Reset } else { Change::Begin };
        self.apply(change(group, last, term));
    }

    /// A write begins; `tell` hears of each frame in it and of its place.
    pub fn handle_write(
        &mut self,
        segment_seq: u64,
        offset: u32,
        bytes: &[u8],
        mut tell: impl FnMut(&Head, Range<u32>),
    ) {
        let mut at = 0;
        while at + LOG_BLOCK_BYTES <= bytes.len() {
            let salt = get_u64(bytes, at + 8).unwrap_or_default();
            let block = (offset as usize + at) / LOG_BLOCK_BYTES;
            let head = Head::parse(&bytes[at..], salt, segment_seq, block as u32);
            let Some(head) = head.filter(|head| at + head.header.frame_bytes() <= bytes.len()) else {
                at += LOG_BLOCK_BYTES;
                continue;
            };
            let frame = &bytes[at..at + head.header.frame_bytes()];
            let start = offset + at as u32;
            at += frame.len();
            // The rest of a short write may begin with a frame that is known.
            if self.frames.back().is_none_or(|last| last.frame_seq < head.header.frame_seq) {
                tell(&head, start..start + frame.len() as u32);
                let before = self.changes.len();
                let groups = self.read(&head, frame);
                self.frames.push_back(Frame {
                    frame_seq: head.header.frame_seq,
                    segment_seq,
                    end: offset + at as u32,
                    written: 0,
                    is_durable: false,
                    is_lie: false,
                    groups,
                    changes: (self.changes.len() - before) as u32,
                });
            }
        }
    }

    /// Takes in what the frame changes; returns whose promises are in it.
    fn read(&mut self, head: &Head, frame: &[u8]) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = head.slots().iter().map(|slot| slot.group).collect();
        for slot in head.slots() {
            self.changes.push_back(Change::State(slot.group, slot.term, slot.vote));
        }
        let mut at = RECORDS_AT;
        for _ in 0..head.header.records {
            let Ok((record, space)) = Record::parse(&frame[at..head.header.echo_at()]) else { break };
            at += space;
            let header = record.header();
            if !matches!(header.kind, RecordKind::CommitHint | RecordKind::Checkpoint | RecordKind::Seal) {
                groups.push(header.group);
            }
            let (group, index, term) = (header.group, header.index, header.term);
            let change = match header.kind {
                RecordKind::Entry => Change::Entry(group, index, term),
                RecordKind::HardState => {
                    Change::State(group, term, NodeId(get_u64(record.payload(), 0).unwrap_or_default()))
                }
                RecordKind::TruncSuffix => Change::Cut(group, index),
                RecordKind::TruncPrefix if header.flags == 2 => Change::Reset(group, index.prev(), term),
                RecordKind::TruncPrefix => Change::Begin(group, index.prev(), term),
                RecordKind::GroupNew => Change::Reset(group, LogIndex(0), Term(0)),
                _ => continue,
            };
            self.changes.push_back(change);
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// A write is complete up to `end`, as number `sequence` of this disk.
    pub fn handle_written(&mut self, segment_seq: u64, end: u32, sequence: u64) {
        for frame in self.frames.iter_mut().filter(|frame| frame.segment_seq == segment_seq && frame.end <= end) {
            if frame.written == 0 {
                frame.written = sequence;
            }
        }
    }

    /// What was written to a segment and is not durable is gone: no later sync brings it there.
    pub fn handle_forgotten(&mut self, segment_seq: u64) {
        for frame in self.frames.iter_mut().filter(|frame| frame.segment_seq == segment_seq && !frame.is_durable) {
            frame.written = 0;
        }
    }

    /// Writes up to `sequence` of a segment are durable, or a sync says so and lies; `tell` hears of each frame that is
    /// now. What a node was told counts as its durable state: it cannot know better.
    pub fn handle_synced(&mut self, segment_seq: u64, sequence: u64, is_lie: bool, mut tell: impl FnMut(u64)) {
        for frame in self.frames.iter_mut().filter(|frame| frame.segment_seq == segment_seq) {
            if frame.written != 0 && frame.written <= sequence {
                frame.is_lie = is_lie && (frame.is_lie || !frame.is_durable);
                frame.is_durable = true;
            }
        }
        if !is_lie && !self.lies.is_empty() {
            let is_true = |lie: &mut Lie| lie.segment_seq == segment_seq && lie.written <= sequence;
            self.lies.extract_if(.., is_true).for_each(|lie| tell(lie.frame_seq));
        }
        // A frame counts once all before it are there: recovery follows the chain.
        while self.frames.front().is_some_and(|frame| frame.is_durable) {
            let Frame { frame_seq, segment_seq, written, is_lie, changes, groups, .. } =
                self.frames.pop_front().expect("the front was just seen");
            if is_lie {
                self.lies.push(Lie { frame_seq, segment_seq, written, groups });
            } else {
                tell(frame_seq);
            }
            for _ in 0..changes {
                let change = self.changes.pop_front().expect("each frame has its changes");
                self.apply(change);
            }
        }
    }

    /// The kernel lives on and writes what it has: what syncs said becomes true.
    pub fn handle_kill(&mut self) {
        self.lies.clear();
    }

    /// Frames are on the disk only by the word of a sync that lied.
    pub fn has_lies(&self) -> bool {
        !self.lies.is_empty()
    }

    /// Has `group` a promise in a frame behind this one that the device said it has put on the disk, and had not?
    pub fn has_lied_to(&self, group: GroupId, behind: u64) -> bool {
        self.lies.iter().any(|lie| lie.frame_seq > behind && lie.groups.contains(&group))
    }

    fn apply(&mut self, change: Change) {
        let (Change::State(group, ..)
        | Change::Entry(group, ..)
        | Change::Cut(group, _)
        | Change::Begin(group, ..)
        | Change::Reset(group, ..)) = change;
        let at = match self.groups.iter().position(|entry| entry.group == group) {
            Some(at) => at,
            None => {
                self.groups.push(OnPlatter { group, ..OnPlatter::default() });
                self.groups.len() - 1
            }
        };
        let entry = &mut self.groups[at];
        entry.is_new = true;
        match change {
            Change::State(_, term, vote) => entry.vote(term, vote),
            Change::Entry(_, index, term) => entry.push(index, term),
            Change::Cut(_, from) => entry.cut(from),
            Change::Begin(_, last, _) if last <= entry.last => {}
            Change::Reset(_, last, term) | Change::Begin(_, last, term) => {
                entry.runs.clear();
                entry.last = last;
                if last > LogIndex(0) {
                    entry.runs.push((last, term));
                }
            }
        }
    }

    /// A group that moved since it was last asked for.
    pub fn take_news(&mut self, group: GroupId) -> Option<&OnPlatter> {
        let entry = self.groups.iter_mut().find(|entry| entry.group == group)?;
        std::mem::take(&mut entry.is_new).then_some(entry)
    }
}
