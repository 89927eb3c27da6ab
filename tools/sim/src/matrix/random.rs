//! Random damage: records, blocks, sectors, on one node or spread over all, with nodes that lag, are down, or have a
//! compacted log.

use base::Prng;
use base::limits::LOG_BLOCK_BYTES;
use base::mono::Span;

use super::base_run::{Past, Story};
use super::judge::judge_with;
use super::masks::spoil_entry;
use super::rig::Rig;
use super::{Cases, Ended, Expected};
use crate::disk::Spoil;

/// The doubt about a last frame may last 30 s.
const PATIENCE: Span = Span::from_ms(60_000);

/// What is random about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Blocks hold other bytes.
    Blocks,
    /// Blocks cannot be read.
    Errors,
    /// One node lags, or is down for good.
    Lagging,
    /// Logs were compacted behind checkpoints.
    Snapshots,
    /// One node has entries that no other has.
    Stranded,
}

pub(super) struct Random {
    kind: Kind,
    pasts: Vec<Past>,
    count: u64,
}

impl Random {
    pub fn new(kind: Kind, count: u64) -> Random {
        let whole = Story { puts: 12, groups: 2, ..Story::FOUR };
        let many = Story { puts: 12, restart_every: 5, ..Story::FOUR };
        let stories = match kind {
            Kind::Blocks | Kind::Errors => vec![whole, many],
            Kind::Lagging => vec![Story { lag: 3, ..whole }, Story { lag: 8, ..many }],
            Kind::Stranded => vec![
                Story { puts: 8, stray: 3, ..Story::FOUR },
                Story { puts: 8, stray: 3, is_forked: true, ..Story::FOUR },
                Story { puts: 8, stray: 2, lag: 3, ..Story::FOUR },
            ],
            Kind::Snapshots => vec![
                Story { puts: 16, checkpoint_every: 5, trailing: 3, ..Story::FOUR },
                Story { puts: 16, checkpoint_every: 4, trailing: 1, lag: 9, ..Story::FOUR },
            ],
        };
        Random { kind, pasts: stories.into_iter().map(Past::new).collect(), count }
    }

    fn how(&self, dice: &mut Prng) -> Spoil {
        match self.kind {
            Kind::Errors => Spoil::Unreadable,
            _ => [Spoil::Flip, Spoil::Zero, Spoil::Garble][dice.below(3) as usize],
        }
    }
}

/// Spoils any block of one node's frames.
fn spoil_block(rig: &mut Rig, past: &Past, at: usize, how: Spoil, dice: &mut Prng) -> String {
    let frames = &past.layouts[at].frames;
    let frame = &frames[dice.below(frames.len() as u64) as usize];
    let blocks = u64::from(frame.place.end - frame.place.start) / LOG_BLOCK_BYTES as u64;
    let start = frame.place.start + dice.below(blocks) as u32 * LOG_BLOCK_BYTES as u32;
    if let Some(remains) = &mut rig.seats[at].remains {
        remains.disk.spoil(frame.segment_seq, start..start + LOG_BLOCK_BYTES as u32, how);
    }
    format!("node {} segment {} frame {} {how:?}", at + 1, frame.segment_seq, frame.frame_seq)
}

impl Cases for Random {
    fn count(&self) -> u64 {
        self.count
    }

    fn run(&self, case: u64) -> Ended {
        let past = &self.pasts[case as usize % self.pasts.len()];
        let mut dice = Prng::new(case ^ 0x3a7d_0000);
        let (mut rig, mut client) = past.begin();
        let mut words = Vec::new();
        let is_lagging = self.kind == Kind::Lagging && dice.one_in(2);
        // Node 3 lags in these pasts: without it, both others are needed.
        let down: &[usize] = if is_lagging { &[2] } else { &[] };
        let expected = if down.is_empty() && dice.one_in(2) {
            // Anything on one node.
            let at = dice.below(3) as usize;
            for _ in 0..=dice.below(6) {
                let how = self.how(&mut dice);
                words.push(spoil_block(&mut rig, past, at, how, &mut dice));
            }
            // What only the two who did not lag have is not committed without the spoilt one.
            Expected::Correct { lost_max: 1 }
        } else {
            // One copy of some entries, anywhere; the last one has no frame behind it that names it if it lags.
            for target in &past.targets {
                let holders: Vec<usize> = (0..3)
                    .filter(|at| !down.contains(at) && past.layouts[*at].entry(past.group, *target).is_some())
                    .collect();
                if holders.len() < 2 || dice.one_in(3) {
                    continue;
                }
                let intact = holders[dice.below(holders.len() as u64) as usize];
                for at in holders.into_iter().filter(|at| *at != intact) {
                    if dice.one_in(2) {
                        let how = self.how(&mut dice);
                        spoil_entry(&mut rig, past, at, *target, how);
                        words.push(format!("node {} entry {} {how:?}", at + 1, target.0));
                    }
                }
            }
            // Nobody counts on these.
            if let Some((at, strays)) = &past.stray {
                for target in strays {
                    if dice.one_in(2) {
                        let how = self.how(&mut dice);
                        spoil_entry(&mut rig, past, *at, *target, how);
                        words.push(format!("node {} stray entry {} {how:?}", at + 1, target.0));
                    }
                }
            }
            Expected::Correct { lost_max: 0 }
        };
        (0..3).filter(|at| !down.contains(at)).for_each(|at| rig.start(at));
        let verdict = judge_with(&mut rig, &mut client, PATIENCE, down);
        let expected = match expected {
            Expected::Correct { lost_max } => Expected::Correct { lost_max: lost_max + down.len() as u32 },
            other => other,
        };
        expected.judge(verdict, &format!("{:?}, down {down:?}: {}", self.kind, words.join(", ")))
    }
}
