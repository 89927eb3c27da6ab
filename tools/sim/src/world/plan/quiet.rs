//! Nodes are made to fall behind in terms: each is asked to take over and cut off before it can ask for votes. Then the
//! cluster is left in peace without load, and all replicas must become equal.

use base::{GroupId, Prng};

use super::super::strikes::{Order, links_between};
use super::super::{MS, SECOND, World};
use crate::draw::{between, log_between};
use crate::fault::Class;

/// A little more than what the claim waits for.
const CALM: u64 = 20_100 * MS;

impl World<'_> {
    /// Acts by where the cycle stands; ns until the next look.
    pub(super) fn strand_and_rest(&mut self, dice: &mut Prng) -> u64 {
        match self.driver.looks % 6 {
            // In pairs: the lead is to move, and who is to take it can hear and not speak.
            1 | 3 => {
                self.driver.target = dice.below(self.shape.seats as u64) as usize;
                for group in 0..self.shape.groups {
                    let is_other = self.leader_of(GroupId(group)).is_some_and(|leader| leader != self.driver.target);
                    if is_other {
                        let target = self.driver.target as u64;
                        self.strike_now(Class::Ctl1, 0, target, Order::Transfer.parameter(group));
                    }
                }
                log_between(dice, MS, 100 * MS)
            }
            2 | 4 => {
                let seat = self.driver.target;
                let span = between(dice, 1_300 * MS, 2 * SECOND);
                self.strike_now(Class::Net10, 0, span, links_between(1 << seat, !(1 << seat)));
                span + between(dice, MS, SECOND / 2)
            }
            // The last of the load may be lost on its way.
            5 => {
                self.strike_now(Class::Ctl1, 0, 2 * SECOND, Order::Hush.parameter(0));
                between(dice, 10 * MS, SECOND)
            }
            _ => {
                let has_begun = self.strike_now(Class::Ctl1, 0, CALM << 8, Order::IdleCalm.parameter(0));
                let rest = between(dice, SECOND, 3 * SECOND);
                if has_begun { CALM + rest } else { rest / 2 }
            }
        }
    }
}
