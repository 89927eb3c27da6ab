//! The end is quiet: a while before it all leaders are cut off at once, and a moment later clients begin nothing new. What
//! was under way is done by the next leaders, whom watchers must find meanwhile, and no later change wakes them.

use super::super::strikes::links_between;
use super::super::{MS, SECOND, World};
use super::Plan;
use crate::fault::Class;

/// How long before the end clients stop.
const QUIET: u64 = 12 * SECOND;
/// How long before that the leaders are cut off, and for how long.
const AHEAD: u64 = 400 * MS;
const CUT: u64 = 3 * SECOND;

impl World<'_> {
    /// The plan of this run has its clients wait.
    pub(in crate::world) fn is_quiet(&self) -> bool {
        self.driver.plan == Plan::QuietEnd && self.now + QUIET >= self.shape.length
    }

    /// Cuts off all leaders when it is time; ns until the next look.
    pub(super) fn cut_leaders(&mut self) -> u64 {
        let at = self.shape.length.saturating_sub(QUIET + AHEAD);
        if self.now < at {
            return at - self.now;
        }
        let mut seats = 0u64;
        for group in self.groups() {
            seats |= self.leader_of(group).map_or(0, |seat| 1 << seat);
        }
        for seat in (0..self.shape.seats).filter(|seat| seats & 1 << seat != 0) {
            self.strike_now(Class::Net9, 0, CUT, links_between(1 << seat, !(1 << seat)));
        }
        self.shape.length
    }
}
