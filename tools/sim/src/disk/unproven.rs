//! What damage must spare: frames whose loss no checksum could show.
//!
//! A frame that nothing behind it names as persisted looks, once it is gone, as if it had never been written: the log ends
//! before it, and with it go acks and votes that have left the node (docs/design/log.md, "Recovery"). So a frame may be
//! damaged only once a later one, durable itself, says that it was persisted; and as that one is unproven in its turn it
//! is spared, and with it the header of its segment, without which a lone frame is not known for one; so are the headers of
//! segments that frames are still to be written to.
//!
//! A write that is lost or misdirected is therefore drawn when its frame is proven, not when it is written: until then the
//! node reads the frame from memory alone, so nobody can tell the difference, unless it crashes, and then the rule holds.

use std::ops::Range;

use base::limits::LOG_BLOCK_BYTES;
use seglog::format::frame::{Head, RESET};

/// A frame that was written.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub segment_seq: u64,
    pub range: Range<u32>,
    /// What was durable in its place before; nothing when that was zeros, or is not wanted.
    pub before: Vec<u8>,
    frame_seq: u64,
    /// Frames up to this were persisted if this one is whole.
    proves: u64,
}

/// Frames that nothing proves yet, and those that were proven since they were last asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Unproven {
    frames: Vec<Issued>,
    proven: Vec<Issued>,
    /// The newest segment that a frame was written to.
    newest: u64,
    /// What damage needs to know of proven frames is kept.
    pub is_wanted: bool,
}

impl Unproven {
    /// A frame begins to be written; `before` lies in its place.
    pub fn note_issued(&mut self, head: &Head, segment_seq: u64, range: Range<u32>, before: &[u8]) {
        let header = &head.header;
        // A tail reset ends what came before it: that is proven, or void.
        let proves = if header.has(RESET) { header.frame_seq - 1 } else { header.persisted_seq };
        let before = if self.is_wanted && !is_zero(before) { before.to_vec() } else { Vec::new() };
        self.newest = self.newest.max(segment_seq);
        self.frames.push(Issued { segment_seq, range, before, frame_seq: header.frame_seq, proves });
    }

    /// A frame is durable: it proves those before it.
    pub fn handle_durable(&mut self, frame_seq: u64) {
        let Some(proves) = self.frames.iter().find(|frame| frame.frame_seq == frame_seq).map(|frame| frame.proves)
        else {
            return;
        };
        if self.is_wanted {
            self.proven.extend(self.frames.extract_if(.., |frame| frame.frame_seq <= proves));
        } else {
            self.frames.retain(|frame| frame.frame_seq > proves);
        }
    }

    /// The process is gone: what was proven and not asked for stays as it is.
    pub fn handle_crash(&mut self) {
        self.proven.clear();
    }

    /// A frame that was proven since this was last asked, in order.
    pub fn pop_proven(&mut self) -> Option<Issued> {
        (!self.proven.is_empty()).then(|| self.proven.remove(0))
    }

    /// True when damage to this range could not be seen, or not if the next frame is all that its segment holds.
    pub fn spares(&self, segment_seq: u64, range: &Range<u32>) -> bool {
        if range.start < LOG_BLOCK_BYTES as u32 && segment_seq >= self.newest {
            return true;
        }
        self.frames.iter().filter(|frame| frame.segment_seq == segment_seq).any(|frame| {
            range.start < LOG_BLOCK_BYTES as u32 || (range.start < frame.range.end && frame.range.start < range.end)
        })
    }
}

/// Block by block, each without a branch.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|some| some.iter().fold(0, |sum, byte| sum | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seglog::format::frame::{FrameHeader, finish_frame};

    const BLOCK: u32 = LOG_BLOCK_BYTES as u32;

    /// A frame of one block, in the block of its number.
    fn issue(unproven: &mut Unproven, frame_seq: u32) {
        let (block, frame_seq) = (frame_seq, u64::from(frame_seq));
        let mut bytes = vec![0; LOG_BLOCK_BYTES];
        let header = FrameHeader {
            segment_seq: 1,
            frame_seq,
            persisted_seq: frame_seq - 1,
            frame_blocks: 1,
            block,
            ..FrameHeader::default()
        };
        finish_frame(&mut bytes, &header);
        let head = Head::parse(&bytes, 0, 1, block).expect("it is whole");
        unproven.note_issued(&head, 1, block * BLOCK..(block + 1) * BLOCK, &[]);
    }

    #[test]
    fn a_durable_frame_ends_the_sparing_of_those_before_it_be_they_asked_for_or_not() {
        for is_wanted in [false, true] {
            let mut unproven = Unproven { is_wanted, ..Unproven::default() };
            (1..=3).for_each(|frame_seq| issue(&mut unproven, frame_seq));
            unproven.handle_durable(3);
            let spared: Vec<bool> = (1..=3).map(|at| unproven.spares(1, &(at * BLOCK..(at + 1) * BLOCK))).collect();
            assert_eq!(spared, [false, false, true]);
            assert_eq!(std::iter::from_fn(|| unproven.pop_proven()).count(), if is_wanted { 2 } else { 0 });
        }
    }

    #[test]
    fn one_byte_that_is_not_zero_is_seen_wherever_it_is() {
        let mut bytes = vec![0; 200];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for at in [0, 63, 64, 199] {
            bytes[at] = 1;
            assert!(!is_zero(&bytes));
            bytes[at] = 0;
        }
    }
}
