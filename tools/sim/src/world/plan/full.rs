//! Disks stay full for longer than the prepared segments last: logs stand still at their end, look for space again, find
//! some and lose it, and go on.

use base::Prng;

use super::super::{CORES_MAX, MS, SECOND, World};
use crate::draw::between;
use crate::fault::Class;

/// Longer than a log that found no space waits before it looks again.
const FLICKERS: u64 = 11 * SECOND;

impl World<'_> {
    /// Fills the disks of about half of the seats, then lets space come and go where a log stands still; ns until the
    /// next look.
    pub(super) fn fill_disks(&mut self, dice: &mut Prng) -> u64 {
        if self.now < self.driver.round.span {
            self.flicker(dice);
            return between(dice, 10 * MS, 50 * MS);
        }
        if std::mem::take(&mut self.driver.round.step) == 1 {
            self.driver.round.span = self.now + FLICKERS;
            return MS;
        }
        self.driver.round.step = 1;
        let span = between(dice, 20 * SECOND, 40 * SECOND);
        for seat in 0..self.shape.seats {
            if dice.below(2) == 0 {
                continue;
            }
            for core in 0..(self.shape.cores as usize).min(CORES_MAX) {
                self.strike_now(Class::Disk10, seat, span, core as u64);
            }
        }
        span - SECOND
    }

    /// An activation may find none, and the preparation asked with it some.
    fn flicker(&mut self, dice: &mut Prng) {
        for seat in 0..self.shape.seats {
            for core in 0..self.nodes[seat].cores.len() {
                let is_stuck = self.nodes[seat].core(core).is_some_and(|cell| cell.shard.log().is_full());
                if is_stuck {
                    self.strike_now(Class::Disk10, seat, between(dice, 5 * MS, 25 * MS), core as u64);
                }
            }
        }
    }
}
