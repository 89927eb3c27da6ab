//! The end is quiet: clients begin nothing new for the last seconds, while every leader is cut off in turn. Whoever
//! watches must find the next leader and hear of what it missed: no later change wakes it.

use base::{GroupId, Prng};

use super::super::strikes::links_between;
use super::super::{SECOND, World};
use super::Plan;
use crate::fault::Class;

/// How long before the end clients stop.
const QUIET: u64 = 12 * SECOND;

impl World<'_> {
    /// The plan of this run has its clients wait.
    pub(in crate::world) fn is_quiet(&self) -> bool {
        self.driver.plan == Plan::QuietEnd && self.now + QUIET >= self.shape.length
    }

    /// Cuts off the leader of one group after the other; ns until the next look.
    pub(super) fn cut_leaders(&mut self, dice: &mut Prng) -> u64 {
        if self.is_quiet() || dice.below(8) == 0 {
            let group = GroupId((self.driver.looks % u64::from(self.shape.groups)) as u32);
            if let Some(seat) = self.leader_of(group) {
                let span = SECOND + dice.below(2 * SECOND);
                self.strike_now(Class::Net9, 0, span, links_between(1 << seat, !(1 << seat)));
            }
        }
        SECOND / 2 + dice.below(SECOND)
    }
}
