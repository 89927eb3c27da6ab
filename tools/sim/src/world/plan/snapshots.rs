//! A follower is away until the others have forgotten what it lacks, and comes back: its snapshot meets a store that is
//! still busy with entries, or its parts come once more when they are old.

use base::{GroupId, Prng, core_of};

use super::super::strikes::links_between;
use super::super::{CORES_MAX, MS, SEATS_MAX, SECOND, World};
use super::Round;
use crate::draw::between;
use crate::fault::Class;

impl World<'_> {
    /// One step of a round; ns until the next.
    pub(super) fn strike_snapshots(&mut self, dice: &mut Prng) -> u64 {
        let Round { step, kind, group, seat, leader, span } = self.driver.round;
        match step {
            0 => {
                let group = GroupId(dice.below(u64::from(self.shape.groups)) as u32);
                let Some(leader) = self.leader_of(group) else { return 300 * MS };
                let away = dice.below(self.shape.seats as u64 - 1) as usize;
                let seat = if away >= leader { away + 1 } else { away };
                let kind = dice.below(3);
                let span = between(dice, 2 * SECOND, 5 * SECOND);
                self.driver.round = Round { step: 1, kind, group, seat, leader, span };
                if kind == 0 {
                    // It will still wait for rows when the snapshot comes.
                    let core = u64::from(core_of(group, self.shape.cores).0);
                    self.strike_now(Class::Ctl2, seat, 0, 0);
                    self.strike_now(Class::Disk11, seat, span + 4 * SECOND, CORES_MAX as u64 + core);
                }
                between(dice, 500 * MS, 1_500 * MS)
            }
            1 => {
                self.strike_now(Class::Net9, 0, span, links_between(1 << seat, !(1 << seat)));
                self.driver.round.step = 2;
                span - 300 * MS
            }
            2 => {
                for other in (0..self.shape.seats).filter(|other| *other != seat) {
                    self.strike_now(Class::Ctl2, other, 0, 0);
                }
                if kind == 2 {
                    // What the others send it is not what they have.
                    for other in (0..self.shape.seats).filter(|other| *other != seat) {
                        let core = u64::from(core_of(group, self.shape.cores).0);
                        self.strike_now(Class::Disk6, other, dice.next_u64(), CORES_MAX as u64 + core);
                    }
                }
                if kind == 1 {
                    let leader = self.leader_of(group).unwrap_or(leader);
                    let delay = between(dice, 2 * SECOND, 6 * SECOND);
                    self.strike_now(Class::Net3, leader * SEATS_MAX + seat, delay, 2 * SECOND);
                    self.driver.round = Round { step: 3, leader, span: delay, ..self.driver.round };
                    return delay;
                }
                self.driver.round.step = 0;
                between(dice, 4 * SECOND, 8 * SECOND)
            }
            _ => {
                // It forgets what the old snapshot ends with, before that comes again.
                self.strike_now(Class::Ctl2, seat, 0, 0);
                self.driver.round.step = 0;
                between(dice, 3 * SECOND, 6 * SECOND)
            }
        }
    }
}
