//! A crash at every frame boundary, and at every 512 bytes of each frame, of a log of 16 frames that nothing but their
//! successors shows to have been persisted: all that was persisted before is there, nothing else is, and no doubt remains. In
//! a file of zeros, and in one that was used before.

use base::LogIndex;
use base::mono::Span;

use super::base_run::{Past, Story};
use super::judge::judge;
use super::layout::PlacedFrame;
use super::{Cases, Ended, Expected};
use crate::disk::{SimDisk, Spoil};

const PATIENCE: Span = Span::from_ms(60_000);
const FRAMES: usize = 16;
const SECTOR: u32 = 512;

/// A node alone: whatever is cut was never acknowledged by anybody else.
pub(super) struct Tails {
    past: Past,
    /// A disk of another node: what the file held in an earlier life, frames of another salt.
    older: SimDisk,
    /// Frames and bytes of the next that are kept.
    cuts: Vec<(usize, u32)>,
}

impl Tails {
    pub fn new() -> Tails {
        let story = Story { puts: 12, nodes: 1, wide: 24, ..Story::FOUR };
        let past = Past::new(story);
        let mut others = Past::new(Story { nodes: 3, ..story }).remains;
        let older = others.pop().expect("there are three").disk;
        let frames = &past.layouts[0].frames;
        let last = frames.len() - 1;
        let mut cuts = Vec::new();
        for (frame, placed) in frames.iter().enumerate().skip(last - FRAMES) {
            cuts.push((frame, 0));
            let place = &placed.place;
            let sectors = (place.end - place.start) / SECTOR;
            cuts.extend((1..sectors).map(|sector| (frame, sector * SECTOR)));
        }
        Tails { past, older, cuts }
    }
}

/// What a frame holds behind its first bytes.
fn rest_of(disk: &SimDisk, frame: &PlacedFrame, bytes: u32) -> Vec<u8> {
    let mut rest = vec![0; (frame.place.end - frame.place.start - bytes) as usize];
    disk.read(frame.segment_seq, frame.place.start + bytes, &mut rest).expect("no sector of it is unreadable");
    rest
}

impl Cases for Tails {
    fn count(&self) -> u64 {
        2 * self.cuts.len() as u64
    }

    fn run(&self, case: u64) -> Ended {
        let (frame, bytes) = self.cuts[case as usize % self.cuts.len()];
        let is_new = case < self.cuts.len() as u64;
        let past = &self.past;
        let layout = &past.layouts[0];
        let (mut rig, mut client) = past.begin();
        let place = &layout.frames[frame];
        let disk = &mut rig.seats[0].remains.as_mut().expect("nobody is up yet").disk;
        let before = rest_of(disk, place, bytes);
        if is_new {
            disk.spoil(place.segment_seq, place.place.start + bytes..u32::MAX, Spoil::Zero);
        } else {
            disk.age(place.segment_seq, place.place.start + bytes, &self.older, 1);
        }
        // What stood in frames that are whole is all that may be asked back; a frame that ends in zeros needs none of them.
        let whole = frame + usize::from(rest_of(disk, place, bytes) == before);
        let kept = layout.entries.iter().filter(|entry| entry.frame < whole).map(|entry| entry.index).max();
        let kept = kept.unwrap_or(LogIndex(0));
        let lost = past.targets.iter().filter(|(index, _)| *index > kept).count();
        let newest: Vec<String> = client.acknowledged.iter().rev().take(lost).cloned().collect();
        for path in newest {
            client.acknowledged.remove(&path);
        }
        rig.forget_states_above(kept);
        rig.start_all();
        let shard = rig.seats[0].shard.as_ref();
        let name = format!("{bytes} bytes of frame {frame} kept, entries to {kept}, file new: {is_new}");
        let Some(shard) = shard else {
            return Expected::Correct { lost_max: 0 }
                .judge(super::Verdict::Unavailable(rig.seats[0].refused.clone().unwrap_or_default()), &name);
        };
        let (last, health) = (shard.log().last_index(past.group), shard.log().health(past.group));
        // The start writes no entry: what is there was read.
        if last != kept {
            let what = format!("recovery found entries to {last}");
            return Expected::Safe.judge(super::Verdict::Unsafe(what), &name);
        }
        if bytes == 0 && health != seglog::Health::Clean {
            let what = format!("{health:?} after a crash between frames");
            return Expected::Correct { lost_max: 0 }.judge(super::Verdict::Unavailable(what), &name);
        }
        let verdict = judge(&mut rig, &mut client, PATIENCE);
        Expected::Correct { lost_max: 0 }.judge(verdict, &name)
    }
}
