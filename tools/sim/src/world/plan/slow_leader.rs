//! For the control of leases: the node with the slowest clock is made leader, and then cut off from all others, whose
//! clocks say sooner than its own that its lease is over.

use base::{GroupId, Prng};

use super::super::strikes::links_between;
use super::super::{MS, SECOND, World};
use crate::draw::{between, log_between};
use crate::fault::Class;

impl World<'_> {
    /// Hands the lead of a drawn group to the slowest node, or cuts that off; ns until the next look.
    pub(super) fn isolate_slow_leader(&mut self, dice: &mut Prng) -> u64 {
        let group = dice.below(u64::from(self.shape.groups));
        let rates = self.nodes.iter().map(|node| node.clock.ppm).enumerate();
        let slowest = rates.min_by_key(|(_, ppm)| *ppm).map_or(0, |(seat, _)| seat);
        match self.leader_of(GroupId(group as u32)) {
            Some(seat) if seat == slowest => {
                let span = between(dice, SECOND, 3 * SECOND);
                self.strike_now(Class::Net9, 0, span, links_between(1 << seat, !(1 << seat)));
                span + between(dice, SECOND / 2, 2 * SECOND)
            }
            Some(_) => {
                // As `control` reads it: an odd kind is a transfer of this group to the node in this seat.
                self.strike_now(Class::Ctl1, 0, 1 | group << 8 | (slowest as u64) << 40, 0);
                log_between(dice, 100 * MS, SECOND)
            }
            None => 200 * MS,
        }
    }
}
