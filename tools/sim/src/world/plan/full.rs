//! Disks stay full for longer than the prepared segments last: logs stand still at their end, and go on when there is
//! space again.

use base::Prng;

use super::super::{CORES_MAX, SECOND, World};
use crate::draw::between;
use crate::fault::Class;

impl World<'_> {
    /// Fills the disks of about half of the seats; ns until the next look.
    pub(super) fn fill_disks(&mut self, dice: &mut Prng) -> u64 {
        let span = between(dice, 20 * SECOND, 40 * SECOND);
        for seat in 0..self.shape.seats {
            if dice.below(2) == 0 {
                continue;
            }
            for core in 0..(self.shape.cores as usize).min(CORES_MAX) {
                self.strike_now(Class::Disk10, seat, span, core as u64);
            }
        }
        span + between(dice, SECOND, 8 * SECOND)
    }
}
