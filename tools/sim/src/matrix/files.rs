//! Whole files lost, short, renamed, swapped or from elsewhere: a node may refuse to start, and must say why; nothing wrong
//! may ever be served.

use base::Prng;
use base::mono::Span;

use super::base_run::{Past, Story};
use super::judge::judge;
use super::{Cases, Ended, Expected};
use crate::disk::Spoil;

const PATIENCE: Span = Span::from_ms(8_000);

pub(super) struct Files {
    pasts: [Past; 2],
    count: u64,
}

impl Files {
    pub fn new(count: u64) -> Files {
        let story = Story { puts: 12, restart_every: 3, ..Story::FOUR };
        let compacted = Story { checkpoint_every: 4, trailing: 2, ..story };
        Files { pasts: [Past::new(story), Past::new(compacted)], count }
    }
}

impl Cases for Files {
    fn count(&self) -> u64 {
        self.count
    }

    fn run(&self, case: u64) -> Ended {
        let past = &self.pasts[case as usize % 2];
        let mut dice = Prng::new(case ^ 0xf11e);
        let (mut rig, mut client) = past.begin();
        let mut words = Vec::new();
        // One node in most cases, else more: then it may well be unavailable.
        let nodes = [1, 1, 1, 2, 3][dice.below(5) as usize];
        let first = dice.below(3) as usize;
        for at in (0..nodes).map(|node| (first + node) % 3) {
            let Some(remains) = &past.remains.get(at) else { continue };
            let names: Vec<u64> = remains.disk.segment_seqs().collect();
            let pick = |dice: &mut Prng| names[dice.below(names.len() as u64) as usize];
            let (one, other) = (pick(&mut dice), pick(&mut dice));
            let newest = *names.last().expect("a disk that was used has segments");
            let theirs = &past.remains[(at + 1) % 3].disk;
            let seat = &mut rig.seats[at];
            let disk = &mut seat.remains.as_mut().expect("nobody is up yet").disk;
            let word = match dice.below(8) {
                0 => {
                    disk.remove_segment(one);
                    format!("segment {one} missing")
                }
                1 => {
                    disk.remove_segment(newest);
                    format!("newest segment {newest} missing")
                }
                2 => {
                    seat.short.push((one, seglog::SEGMENT_BYTES_LEAST / 2));
                    format!("segment {one} short")
                }
                3 => {
                    let to = newest + 1 + dice.below(2);
                    disk.rename_segment(one, to);
                    format!("segment {one} renamed to {to}")
                }
                4 => {
                    disk.swap_segments(one, other);
                    format!("segments {one} and {other} swapped")
                }
                5 => {
                    let from = theirs.segment_seqs().next().unwrap_or(1);
                    disk.take_segment(theirs, from, one);
                    format!("segment {one} is segment {from} of another node")
                }
                6 => {
                    disk.spoil(one, 0..4096, Spoil::Garble);
                    format!("header of segment {one} damaged")
                }
                _ => {
                    disk.rename_segment(one, other);
                    format!("segment {one} renamed over {other}")
                }
            };
            words.push(format!("node {}: {word}", at + 1));
        }
        rig.start_all();
        let verdict = judge(&mut rig, &mut client, PATIENCE);
        let expected = if nodes == 1 { Expected::Correct { lost_max: 1 } } else { Expected::Safe };
        expected.judge(verdict, &words.join("; "))
    }
}
