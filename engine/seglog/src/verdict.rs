//! Verdicts: which of the frames found stand, which are lost though they were persisted, and where the log ends.
//!
//! ```text
//! frames found ─▶ leave out what a tail reset voided ─▶ walk: whole, broken or lost, up to the end
//! ```
//! A frame that is not whole was persisted if its number is at most `persisted`: what `meta`, a later frame or a later
//! tail reset says. Then it is damaged, its entries are faulty, and the frames after it stand. Else the log ends before it.

use crate::format::frame;
use crate::scan::{Found, Scanned};

/// What the log consists of, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// This frame stands. (An index into the frames.)
    Whole(usize),
    /// This frame was persisted, and only its first block is good.
    Broken(usize),
    /// Frames `from..=to` were persisted and not even their heads are there. They lay before frame `next` of the frames
    /// found, or at the end.
    Lost { from: u64, to: u64, next: Option<usize> },
}

/// The verdict on a log.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub steps: Vec<Step>,
    /// Frames from here on were in flight together with one that is missing: void.
    pub rest: usize,
    /// The last frame that stands or is damaged; 0 for none.
    pub last_seq: u64,
    /// What stands cannot be told for sure: no group of this core may be trusted.
    pub untrusted: Option<&'static str>,
}

/// Drops every frame between a tail reset that holds and the frame that it names as the one before; the last reset
/// first. Returns the highest number of a frame that something says was persisted.
///
/// A reset holds when it is whole, or when something after it says that it was persisted: its good head is enough then.
pub(crate) fn leave_out_void(found: &mut Vec<Found>, meta_persisted: u64) -> u64 {
    let mut persisted = meta_persisted;
    let mut void_from = u64::MAX;
    let mut is_kept = vec![false; found.len()];
    for (at, frame) in found.iter().enumerate().rev() {
        let header = &frame.head.header;
        if header.frame_seq >= void_from {
            base::mark::hit!("seglog.verdict.void_frame");
            continue;
        }
        is_kept[at] = true;
        persisted = persisted.max(header.persisted_seq);
        let holds = frame.is_whole || header.frame_seq <= persisted;
        if header.has(frame::RESET) && holds {
            base::mark::hit!("seglog.verdict.reset");
            persisted = persisted.max(header.prev_frame_seq);
            void_from = header.prev_frame_seq + 1;
        }
    }
    let mut keep = is_kept.into_iter();
    found.retain(|_| keep.next().expect("one answer per frame"));
    persisted
}

/// MUT_12A: whatever is behind the first frame that is not whole never was, nor is anything known to be persisted.
#[cfg(mutations)]
pub(crate) fn end_at_first_bad(found: &mut Vec<Found>) -> u64 {
    let follows = |at: usize| at == 0 || found[at].follows(&found[at - 1]);
    let whole = (0..found.len()).take_while(|at| found[*at].is_whole && follows(*at)).count();
    found.truncate(whole);
    0
}

/// Walks the frames that are not void. `seen` are the highest frame numbers found before each segment, void ones included.
pub(crate) fn walk(found: &[Found], segments: &[Scanned], seen: &[u64], persisted: u64) -> Verdict {
    let mut out = Verdict { steps: Vec::new(), rest: found.len(), last_seq: 0, untrusted: None };
    let mut last: Option<&Found> = None;
    for (at, this) in found.iter().enumerate() {
        let header = &this.head.header;
        let is_oldest = this.segment == 0 && header.block == 1 && header.has(frame::FIRST);
        let begins = is_oldest || (header.has(frame::RESET) && header.block == 1 && header.prev_frame_seq == 0);
        let is_next = last.map_or(begins, |last| this.follows(last));
        if !is_next {
            let (from, to) = (out.last_seq + 1, header.prev_frame_seq);
            // A log that lost its beginning cannot say which number that had.
            let was_persisted = if last.is_some() { from <= persisted } else { to <= persisted };
            if !was_persisted {
                base::mark::hit!("seglog.verdict.rest_after_a_gap");
                out.rest = at;
                return out;
            }
            if to < from {
                base::mark::hit!("seglog.verdict.out_of_order");
                out.untrusted = Some("frames do not follow each other");
            }
            if hides_reset(found, segments, seen, last, at) {
                base::mark::hit!("seglog.verdict.hidden_reset");
                out.untrusted = Some("the first frame of a segment is lost, and with it what it voided");
            }
            if from <= to {
                base::mark::hit!("seglog.verdict.persisted_frames_lost");
                out.last_seq = to.min(persisted);
                out.steps.push(Step::Lost { from, to: out.last_seq, next: Some(at) });
            }
            if to > persisted {
                out.rest = at;
                return out;
            }
        }
        if !this.is_whole && header.frame_seq > persisted {
            base::mark::hit!("seglog.verdict.torn_end");
            out.rest = at;
            return out;
        }
        base::mark::hit!("seglog.verdict.persisted_frame_broken", !this.is_whole);
        out.steps.push(if this.is_whole { Step::Whole(at) } else { Step::Broken(at) });
        out.last_seq = header.frame_seq;
        last = Some(this);
    }
    if out.last_seq < persisted {
        base::mark::hit!("seglog.verdict.tail_lost");
        out.untrusted = Some("its last frames were persisted and are gone");
        out.steps.push(Step::Lost { from: out.last_seq + 1, to: persisted, next: None });
        out.last_seq = persisted;
    }
    out
}

/// True when a segment between `last` and frame `at` lost its first frame, and that may have been a tail reset: frames
/// before it that it voided would come back. The number of an ordinary first frame is not far above what lies before.
fn hides_reset(found: &[Found], segments: &[Scanned], seen: &[u64], last: Option<&Found>, at: usize) -> bool {
    let from = last.map_or(1, |last| last.segment + 1);
    (from..=found[at].segment).any(|segment| {
        let has_first = found.iter().any(|frame| frame.segment == segment && frame.head.header.block == 1);
        let is_ordinary = segments[segment].header.is_some_and(|header| header.base_frame_seq <= seen[segment] + 1);
        !has_first && !is_ordinary
    })
}
