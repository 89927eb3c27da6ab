//! Whoever leads is struck: crashed in the middle of an operation, paused, cut off from all others, or asked to stop.

use base::{GroupId, Prng};

use super::super::strikes::{STOPS, links_between};
use super::super::{MS, SECOND, World};
use crate::draw::log_between;
use crate::fault::Class;

impl World<'_> {
    /// Strikes the leader of a drawn group; ns until the next look.
    pub(super) fn strike_leaders(&mut self, dice: &mut Prng) -> u64 {
        let group = GroupId(dice.below(u64::from(self.shape.groups)) as u32);
        let span = log_between(dice, 100 * MS, 10 * SECOND);
        if let Some(seat) = self.leader_of(group) {
            match dice.below(5) {
                4 => self.strike_now(Class::Proc1, seat, 0, STOPS),
                0 => self.strike_now(Class::Proc1, seat, dice.below(4), dice.below(3)),
                1 => self.strike_now(Class::Proc3, seat, span, 0),
                2 => self.strike_now(Class::Net9, 0, span, links_between(1 << seat, !(1 << seat))),
                _ => self.strike_now(Class::Net10, 0, span, links_between(1 << seat, !(1 << seat))),
            };
        }
        log_between(dice, 300 * MS, 8 * SECOND)
    }
}
