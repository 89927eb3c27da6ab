//! Nodes lose their votes and learn, and leaders make voters of them again as soon as they have caught up: while they are
//! cut off, while entries are many, and while another change is under way.

use base::{GroupId, Prng};

use super::super::members::Wish;
use super::super::strikes::{Order, links_between};
use super::super::{MS, SECOND, World};
use crate::draw::{between, log_between};
use crate::fault::Class;

impl World<'_> {
    /// One step of a round; ns until the next.
    pub(super) fn promote_learners(&mut self, dice: &mut Prng) -> u64 {
        let seats = u64::from(self.shape.damageable);
        let group = dice.below(u64::from(self.shape.groups)) as u32;
        let order = |order: Order| order.parameter(group);
        match self.driver.looks % 8 {
            // Operator and leader undo each other's work.
            1 => {
                let masks = Wish { learners: (dice.next_u64() & seats) as u32, absent: 0 }.masks();
                self.strike_now(Class::Ctl1, 0, masks, order(Order::Wish));
                between(dice, SECOND, 3 * SECOND)
            }
            2 | 5 => {
                let masks = Wish { learners: seats as u32, absent: 0 }.masks();
                self.strike_now(Class::Ctl1, 0, masks, order(Order::Change));
                log_between(dice, MS, 700 * MS)
            }
            // Who just began to learn hears nothing for a while.
            3 => {
                let seat = seats.trailing_zeros();
                let span = between(dice, 300 * MS, 2 * SECOND);
                self.strike_now(Class::Net9, 0, span, links_between(1 << seat, !(1 << seat)));
                between(dice, SECOND / 4, SECOND)
            }
            // Not just this group's leader changes.
            4 => {
                let seat = dice.below(self.shape.seats as u64);
                self.strike_now(Class::Ctl1, 0, seat, order(Order::Transfer));
                log_between(dice, MS, 700 * MS)
            }
            6 => {
                self.strike_now(Class::Ctl1, 0, 0, order(Order::NoChange));
                if let Some(leader) = self.leader_of(GroupId(group)).filter(|_| dice.below(4) == 0) {
                    self.strike_now(Class::Proc1, leader, dice.below(4), dice.below(3));
                }
                between(dice, SECOND / 4, SECOND)
            }
            _ => {
                self.strike_now(Class::Ctl1, 0, Wish::default().masks(), order(Order::Wish));
                between(dice, SECOND / 2, 2 * SECOND)
            }
        }
    }
}
