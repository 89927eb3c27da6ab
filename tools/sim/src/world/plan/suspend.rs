//! All nodes but a leader that was just cut off stand still for longer than every timer lasts. When they go on all is due
//! at once, and they must lead by themselves: no client wakes a group that a timer forgot.

use base::{GroupId, Prng};

use super::super::strikes::{Order, links_between};
use super::super::{MS, SECOND, World};
use crate::draw::between;
use crate::fault::Class;

/// A little more than what the claim waits for.
const CALM: u64 = 12_100 * MS;
/// Operations that are open when the hush begins have ended, and so has the last retry.
const HUSH: u64 = 9 * SECOND;

impl World<'_> {
    /// Acts by where the cycle stands; ns until the next look.
    pub(super) fn suspend_all_but_one(&mut self, dice: &mut Prng) -> u64 {
        let out = 1 << self.driver.target;
        match self.driver.looks % 4 {
            1 => {
                self.strike_now(Class::Ctl1, 0, HUSH + CALM + 4 * SECOND, Order::Hush.parameter(0));
                HUSH
            }
            2 => {
                let group = GroupId(dice.below(u64::from(self.shape.groups)) as u32);
                let Some(leader) = self.leader_of(group) else { return self.try_again(dice) };
                self.driver.target = leader;
                self.strike_now(Class::Net9, 0, 8 * SECOND, links_between(1 << leader, !(1 << leader)));
                // What it has sent before has arrived by then, and nobody has given it up.
                between(dice, 200 * MS, 400 * MS)
            }
            3 => {
                let span = between(dice, 1_100 * MS, 2 * SECOND);
                for seat in (0..self.shape.seats).filter(|seat| out >> seat & 1 == 0) {
                    self.strike_now(Class::Proc3, seat, span, 0);
                }
                span + between(dice, MS, 50 * MS)
            }
            _ => {
                let has_begun = self.strike_now(Class::Ctl1, 0, CALM << 8 | out, Order::Calm.parameter(0));
                let rest = between(dice, SECOND, 3 * SECOND);
                if has_begun { CALM + rest } else { rest }
            }
        }
    }

    /// The next look tries once more what this one could not do.
    fn try_again(&mut self, dice: &mut Prng) -> u64 {
        self.driver.looks -= 1;
        between(dice, SECOND / 4, SECOND)
    }
}
