//! Every corruption of four entries on three nodes, and of whole segments by minorities and helices.

use base::mono::Span;
use base::record::RECORD_HEADER_BYTES;
use base::{LogIndex, Prng, Term};

use super::base_run::{Past, Story};
use super::judge::judge;
use super::rig::Rig;
use super::{Cases, Ended, Expected};
use crate::disk::Spoil;

/// How long a cluster may take to heal.
const PATIENCE: Span = Span::from_ms(30_000);
/// After this it is taken for unavailable.
const SILENCE: Span = Span::from_ms(4_000);

/// Spoils an entry's payload on a node, wherever it lies.
pub(super) fn spoil_entry(rig: &mut Rig, past: &Past, at: usize, target: (LogIndex, Term), how: Spoil) -> bool {
    let Some(entry) = past.layouts[at].entry(past.group, target) else { return false };
    let range = entry.record.start + RECORD_HEADER_BYTES as u32..entry.record.end;
    let Some(remains) = &mut rig.seats[at].remains else { return false };
    remains.disk.spoil(entry.segment_seq, range, how);
    true
}

/// Spoils all blocks of the frame in which an entry lies on a node.
fn spoil_frame(rig: &mut Rig, past: &Past, at: usize, target: (LogIndex, Term), how: Spoil) -> bool {
    let Some(entry) = past.layouts[at].entry(past.group, target) else { return false };
    let Some(remains) = &mut rig.seats[at].remains else { return false };
    let frame = &past.layouts[at].frames[entry.frame];
    remains.disk.spoil(frame.segment_seq, frame.place.clone(), how);
    true
}

/// 2^12 masks: bit `4 node + entry`. The payload of the entry is another; or its whole frame is lost in one of three ways.
pub(super) struct Masks {
    past: Past,
    kinds: &'static [Option<Spoil>],
}

const FRAMES: [Option<Spoil>; 3] = [Some(Spoil::Zero), Some(Spoil::Garble), Some(Spoil::Unreadable)];

impl Masks {
    pub fn of_entries() -> Masks {
        Masks { past: Past::new(Story::FOUR), kinds: &[None] }
    }

    pub fn of_frames() -> Masks {
        Masks { past: Past::new(Story::FOUR), kinds: &FRAMES }
    }
}

impl Cases for Masks {
    fn count(&self) -> u64 {
        (self.kinds.len() as u64) << 12
    }

    fn run(&self, case: u64) -> Ended {
        let (kind, case) = (self.kinds[(case >> 12) as usize], case & 0xfff);
        let (mut rig, mut client) = self.past.begin();
        for bit in (0..12).filter(|bit| case & 1 << bit != 0) {
            let (at, entry) = (bit / 4, self.past.targets[bit % 4]);
            let is_there = match kind {
                None => spoil_entry(&mut rig, &self.past, at, entry, Spoil::Flip),
                Some(how) => spoil_frame(&mut rig, &self.past, at, entry, how),
            };
            assert!(is_there, "the entry is on every disk");
        }
        let is_whole = (0..4).all(|entry| (0..3).any(|at| case & 1 << (4 * at + entry) == 0));
        let expected = if is_whole { Expected::Correct { lost_max: 0 } } else { Expected::Unavailable };
        rig.start_all();
        let verdict = judge(&mut rig, &mut client, if is_whole { PATIENCE } else { SILENCE });
        expected.judge(verdict, &format!("mask {case:012b}, frames {kind:?}"))
    }
}

/// All entries of 1 to 8 segments: lost by a minority, or each intact on one node alone.
pub(super) struct Segments {
    pasts: Vec<Past>,
    count: u64,
}

/// Entries per segment.
const PER_SEGMENT: u64 = 4;

impl Segments {
    pub fn new(count: u64) -> Segments {
        let story = |segments| Story { puts: segments * PER_SEGMENT, restart_every: PER_SEGMENT, ..Story::FOUR };
        Segments { pasts: [1, 2, 4, 8].into_iter().map(story).map(Past::new).collect(), count }
    }
}

impl Cases for Segments {
    fn count(&self) -> u64 {
        self.count
    }

    fn run(&self, case: u64) -> Ended {
        let past = &self.pasts[case as usize % self.pasts.len()];
        let rest = case / self.pasts.len() as u64;
        let how = [Spoil::Flip, Spoil::Zero, Spoil::Garble, Spoil::Unreadable][rest as usize % 4];
        let (shape, turn) = (rest / 4 % 6, rest / 24);
        let mut dice = Prng::new(turn ^ 0x5e97);
        let (mut rig, mut client) = past.begin();
        let mut spoilt = 0;
        for (at, index) in past.targets.iter().enumerate() {
            let loser = dice.below(4) as usize;
            for node in 0..3 {
                let is_hit = match shape {
                    // One node loses all.
                    0..=2 => node == shape as usize,
                    // Each entry is intact on one node alone, in turn.
                    3 => node != (at + turn as usize) % 3,
                    // The same by segments.
                    4 => node != (at / PER_SEGMENT as usize + turn as usize) % 3,
                    // One node or none loses it.
                    _ => node == loser,
                };
                if is_hit {
                    spoilt += u64::from(spoil_entry(&mut rig, past, node, *index, how));
                }
            }
        }
        rig.start_all();
        let verdict = judge(&mut rig, &mut client, PATIENCE);
        // A sector that cannot be read takes the frame's identities with it.
        let lost_max = u32::from(how == Spoil::Unreadable && shape < 3);
        let name = format!("{} entries, shape {shape}, {how:?}, {spoilt} spoilt", past.targets.len());
        Expected::Correct { lost_max }.judge(verdict, &name)
    }
}
