//! Members come and go, become learners and voters again: changes follow each other as fast as they can, are asked of
//! leaders that were just cut off, and of those who lead instead; groups are of even size for a while.

use base::{GroupId, Prng};

use super::super::members::Wish;
use super::super::strikes::{Order, links_between};
use super::super::{MS, SECOND, World};
use crate::draw::{Stream, between, log_between, prng};
use crate::fault::Class;

/// Looks of a cycle: a wish, a burst of changes, a cut, a change on the other side, and what else may happen.
const CYCLE: u64 = 32;
/// The first look after the burst.
const BURST_END: u64 = CYCLE - 6;

impl World<'_> {
    /// Acts by where the cycle stands; ns until the next look.
    pub(super) fn change_members(&mut self, dice: &mut Prng) -> u64 {
        let (cycle, step) = (self.driver.looks / CYCLE, self.driver.looks % CYCLE);
        let group = prng(self.seed, Stream::Plan, 2, cycle).below(u64::from(self.shape.groups)) as u32;
        let order = |order: Order| order.parameter(group);
        let leader = self.leader_of(GroupId(group));
        match step {
            0 => {
                let masks = self.draw_wish(dice).masks();
                self.strike_now(Class::Ctl1, 0, masks, order(Order::Wish));
                between(dice, SECOND, 2 * SECOND)
            }
            // Back to back: one of them meets a configuration that is appended and not yet committed.
            1..BURST_END => {
                let masks = self.draw_wish(dice).masks();
                self.strike_now(Class::Ctl1, 0, masks, order(Order::Change));
                log_between(dice, MS, 40 * MS)
            }
            BURST_END => between(dice, SECOND / 2, SECOND),
            // Its change gets nowhere, and will be truncated.
            27 => {
                if let Some(seat) = leader {
                    let span = between(dice, 1_200 * MS, 4 * SECOND);
                    self.strike_now(Class::Net9, 0, span, links_between(1 << seat, !(1 << seat)));
                    let masks = self.draw_wish(dice).masks();
                    self.strike_now(Class::Ctl1, 0, masks, order(Order::Change));
                }
                between(dice, 700 * MS, 1_500 * MS)
            }
            28 => {
                let masks = self.draw_wish(dice).masks();
                self.strike_now(Class::Ctl1, 0, masks, order(Order::Change));
                between(dice, SECOND, 3 * SECOND)
            }
            _ => {
                match (dice.below(5), leader) {
                    (4, _) => {
                        self.strike_now(Class::Ctl1, 0, 0, order(Order::NoChange));
                    }
                    (0, _) => {
                        let seat = dice.below(self.shape.seats as u64);
                        self.strike_now(Class::Ctl1, 0, seat, order(Order::Transfer));
                    }
                    (1, Some(leader)) => {
                        self.strike_now(Class::Proc1, leader, dice.below(4), dice.below(3));
                    }
                    _ => {}
                }
                between(dice, SECOND / 4, 2 * SECOND)
            }
        }
    }

    /// Each seat that may do without a vote has one, or is a learner, or left out.
    fn draw_wish(&self, dice: &mut Prng) -> Wish {
        let mut wish = Wish::default();
        for seat in (0..self.shape.seats).filter(|seat| self.shape.damageable >> seat & 1 == 1) {
            match dice.below(3) {
                0 => wish.learners |= 1 << seat,
                1 => wish.absent |= 1 << seat,
                _ => {}
            }
        }
        wish
    }
}
