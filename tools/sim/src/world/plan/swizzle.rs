//! Swizzle-clog: links of a random subset stop one by one, and come back in random order.
//!
//! A round is a few looks: what it does is drawn from its number alone, so that a plan need not remember it.

use base::Prng;

use super::super::strikes::{held_between, links_between};
use super::super::{MS, SECOND, World};
use crate::draw::{Stream, between, log_between, prng};
use crate::fault::Class;

/// Looks of a round; in the last ones nothing stops any more.
const LOOKS: u64 = 8;
/// Links or seats that stop in a round, at most.
const VICTIMS_MAX: u64 = LOOKS - 2;

/// A random order of `0..count`.
fn shuffled(dice: &mut Prng, count: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..count).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, dice.below(at as u64 + 1) as usize);
    }
    order
}

impl World<'_> {
    /// Stops the next links of the round; ns until the next look.
    pub(super) fn swizzle(&mut self, dice: &mut Prng) -> u64 {
        let (round, step) = ((self.driver.looks - 1) / LOOKS, (self.driver.looks - 1) % LOOKS);
        let mut of_round = prng(self.seed, Stream::Plan, 2, round);
        let seats = self.shape.seats as u64;
        let kind = of_round.below(3);
        let pairs = seats * (seats - 1);
        let candidates = if kind == 0 { pairs } else { seats };
        let count = between(&mut of_round, 2, VICTIMS_MAX.min(candidates));
        let gap = log_between(&mut of_round, 50 * MS, SECOND);
        let victims = shuffled(&mut of_round, candidates);
        let releases = shuffled(&mut of_round, count);
        if step >= count {
            // All come back by and by, then a while of calm.
            return if step + 1 == LOOKS { log_between(dice, SECOND, 6 * SECOND) } else { gap };
        }
        let (victim, release) = (victims[step as usize], releases[step as usize]);
        let until_all_stopped = (count - step) * gap;
        let span = until_all_stopped + release * gap + dice.below(gap);
        let shape = |from, to| if kind == 2 { links_between(from, to) } else { held_between(from, to) };
        if kind == 0 {
            let (from, other) = (victim / (seats - 1), victim % (seats - 1));
            let to = if other < from { other } else { other + 1 };
            self.strike_now(Class::Net10, 0, span, shape(1 << from, 1 << to));
        } else {
            self.strike_now(Class::Net9, 0, span, shape(1 << victim, !(1 << victim)));
        }
        gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_each_number_once() {
        let mut order = shuffled(&mut Prng::new(3), 20);
        assert_ne!(order, (0..20).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..20).collect::<Vec<_>>());
    }
}
