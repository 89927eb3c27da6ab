//! Replay while scanning: the files are read once when nothing speaks against any frame in them.
//!
//! The verdict is known only when all is scanned. Until then every frame is taken to stand; if the verdict agrees, frame for
//! frame, what was replayed is right. Else it is thrown away, and the frames are replayed again by the verdict.

use base::limits::LOG_BLOCK_BYTES;

use crate::replay::Replay;
use crate::scan::Found;
use crate::settings::Settings;
use crate::verdict::Step;

pub(crate) struct Ahead<'a> {
    /// `None` when the frames so far cannot all stand.
    replay: Option<Replay<'a>>,
    /// The first so many of all frames found are in it.
    taken: usize,
    has_stopped: bool,
}

impl<'a> Ahead<'a> {
    pub fn new(settings: &'a Settings) -> Ahead<'a> {
        Ahead { replay: Some(Replay::new(settings)), taken: 0, has_stopped: false }
    }

    /// Takes the next frames found, all of one segment, whose bytes these are. Behind one that is not whole none is taken:
    /// the log ends there, or the verdict is another.
    pub fn take(&mut self, found: &[Found], bytes: &[u8], segment_seq: u64) {
        for frame in found {
            let Some(replay) = self.replay.as_mut().filter(|_| !self.has_stopped && frame.is_whole) else {
                self.has_stopped = true;
                return;
            };
            let start = frame.head.header.block as usize * LOG_BLOCK_BYTES;
            let bytes = &bytes[start..start + frame.head.header.frame_bytes()];
            if replay.frame(bytes, &frame.head, segment_seq).is_err() {
                // Whether that ends the recovery is for the verdict to say: the frame may be void.
                self.replay = None;
                return;
            }
            self.taken += 1;
        }
    }

    /// What was replayed, if these are the steps of the verdict and no frame was left out.
    pub fn agrees(self, steps: &[Step], frames_void: u64) -> Option<Replay<'a>> {
        let is_same = frames_void == 0 && steps.iter().copied().eq((0..self.taken).map(Step::Whole));
        base::mark::hit!("seglog.recover.read_once", is_same && self.taken > 0);
        self.replay.filter(|_| is_same)
    }
}
