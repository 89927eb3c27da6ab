//! Syncs of the leader's disk are late: a new leader replaces entries that are still on their way, and power goes while
//! a checkpoint may be ahead of them.

use base::{GroupId, Prng, core_of};

use super::super::strikes::links_between;
use super::super::{MS, SECOND, World};
use super::Round;
use crate::draw::between;
use crate::fault::Class;

/// So long before one stall ends the next begins.
const STALLS_AGAIN: u64 = 20 * MS;

impl World<'_> {
    /// One step of a round; ns until the next.
    pub(super) fn strike_unsynced(&mut self, dice: &mut Prng) -> u64 {
        let Round { step, kind, seat, span, .. } = self.driver.round;
        match (step, kind) {
            (0, _) => {
                // Earlier groups are busier.
                let groups = u64::from(self.shape.groups);
                let group = GroupId(dice.below(groups).min(dice.below(groups)) as u32);
                let Some(seat) = self.leader_of(group) else { return 300 * MS };
                let core = u64::from(core_of(group, self.shape.cores).0);
                let kind = [0, 0, 0, 1, 1, 2][dice.below(6) as usize];
                let span =
                    if kind == 0 { between(dice, 2 * SECOND, 4 * SECOND) } else { between(dice, SECOND, 1_900 * MS) };
                self.strike_now(Class::Disk11, seat, span, core);
                self.driver.round = Round { step: 1, kind, group, seat, leader: seat, span };
                if kind == 0 {
                    // What it is asked until it gives up goes to its own disk alone, and makes room for another's at
                    // once: it hears, and is not heard.
                    self.strike_now(Class::Net10, 0, span, links_between(1 << seat, !(1 << seat)));
                    return span + between(dice, SECOND, 3 * SECOND);
                }
                if kind == 2 { span - STALLS_AGAIN } else { between(dice, 100 * MS, span / 2) }
            }
            // All that came to wait is written at once, and nothing of it is synced: any part of it may be there after a
            // power cut, also what was written last.
            (1, 2) => {
                let again = STALLS_AGAIN + between(dice, 200 * MS, 900 * MS);
                let core = u64::from(core_of(self.driver.round.group, self.shape.cores).0);
                self.strike_now(Class::Disk11, seat, again, core);
                self.driver.round.step = 2;
                STALLS_AGAIN + between(dice, 10 * MS, 150 * MS)
            }
            // What it has applied may be in its tables before it is in its log.
            (1, 1) => {
                self.strike_now(Class::Ctl2, seat, 0, 0);
                self.driver.round.step = 2;
                between(dice, 50 * MS, span / 2)
            }
            (2, _) => {
                self.strike_now(Class::Proc4, seat, dice.next_u64(), 0);
                self.driver.round.step = 0;
                between(dice, SECOND, 6 * SECOND)
            }
            _ => {
                self.driver.round.step = 0;
                between(dice, SECOND, 3 * SECOND)
            }
        }
    }
}
