//! Logs are scrubbed all the time, and rot in entries that nobody else reads any more.

use base::Prng;

use super::super::{MS, SECOND, World};
use crate::draw::log_between;
use crate::fault::Class;

impl World<'_> {
    /// Lets a disk rot that may; ns until the next look.
    pub(super) fn rot_for_scrubs(&mut self, dice: &mut Prng) -> u64 {
        let seat = dice.below(self.shape.seats as u64) as usize;
        if self.may_be_damaged(seat) {
            let core = dice.below(u64::from(self.shape.cores));
            self.strike_now(Class::Disk6, seat, dice.next_u64(), core);
        }
        log_between(dice, 50 * MS, 2 * SECOND)
    }
}
