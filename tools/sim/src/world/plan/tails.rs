//! A leader is cut off with entries that only it has. The others elect another, which forgets at once what the first one
//! would be asked for: it gets a snapshot that ends below its own last entry, and nothing of its tail may stay.
//!
//! ```text
//!  cut off     1 1 | 1 1 1 1 1      writes that nobody else hears of
//!  its rival   1 1 | 2              clients begin nothing, so that it stays shorter
//!                    ^ applied, checkpointed and forgotten: the first one gets the state
//! ```

use base::{GroupId, Prng, Term};

use super::super::strikes::{Order, links_between};
use super::super::{MS, SECOND, World};
use super::Round;
use crate::draw::between;
use crate::fault::Class;

/// A cut lasts so long, and is renewed until the others have forgotten.
const CUT_FOR: u64 = 100 * MS;
/// Looks come so often.
const LOOKS_EVERY: u64 = 20 * MS;
/// Looks from one renewal of the cut, and of the wish for a checkpoint, to the next.
const LOOKS_PER_CUT: u64 = 4;
/// Writes that go to who is cut off, and the time between two: each is an entry of its own.
const WRITES: (u64, u64) = (3, 7);
const WRITES_EVERY: u64 = 3 * MS;
/// The first of them leaves so long after the cut, when no message from before it is on its way any more.
const CUT_SETTLES: u64 = 30 * MS;
/// So long no client begins anything: until a rival leads and has forgotten, and until its state has come.
const HUSH: (u64, u64) = (3 * SECOND, SECOND);
/// Without a rival that has forgotten for so long the round is over.
const GIVES_UP_AFTER: u64 = 4 * SECOND;

impl World<'_> {
    /// One step of a round; ns until the next. `kind` is the term of the leader in `seat`, `span` when the round gives up,
    /// `leader` how many writes are to come, then how many looks were.
    pub(super) fn strand_tails(&mut self, dice: &mut Prng) -> u64 {
        let Round { step, group, seat, leader: count, span, .. } = self.driver.round;
        match step {
            0 => {
                let group = GroupId(dice.below(u64::from(self.shape.groups)) as u32);
                let Some(seat) = self.leader_of(group) else { return 300 * MS };
                let kind = self.term_of(seat, group).map_or(0, |term| term.0);
                let writes = between(dice, WRITES.0, WRITES.1) as usize;
                let span = self.now + GIVES_UP_AFTER;
                self.driver.round = Round { step: 1, kind, group, seat, leader: writes, span };
                self.strike_now(Class::Ctl1, 0, HUSH.0, Order::Hush.parameter(0));
                self.cut_tail_off(seat);
                CUT_SETTLES
            }
            1 if count > 0 => {
                self.strike_now(Class::Ctl1, 0, seat as u64, Order::Write.parameter(group.0));
                self.driver.round.leader = count - 1;
                WRITES_EVERY
            }
            1 => {
                self.driver.round.step = 2;
                MS
            }
            2 if self.has_forgotten_fork() => {
                // The cut ends, and the state is on its way.
                self.strike_now(Class::Ctl1, 0, HUSH.1, Order::Hush.parameter(0));
                self.driver.round.step = 3;
                self.driver.round.span = self.now + GIVES_UP_AFTER;
                LOOKS_EVERY
            }
            2 if self.now < span => {
                if (count as u64).is_multiple_of(LOOKS_PER_CUT) {
                    self.cut_tail_off(seat);
                    self.forget_entries_of_rivals();
                }
                self.driver.round.leader = count + 1;
                LOOKS_EVERY
            }
            3 if self.now < span && self.has_forgotten_fork() => LOOKS_EVERY,
            _ => {
                self.driver.round.step = 0;
                between(dice, 2 * SECOND, 8 * SECOND)
            }
        }
    }

    fn cut_tail_off(&mut self, seat: usize) {
        self.strike_now(Class::Net9, 0, CUT_FOR, links_between(1 << seat, !(1 << seat)));
    }

    /// Once another leads, whoever is asked for entries later is to have forgotten them.
    fn forget_entries_of_rivals(&mut self) {
        let cut_off = self.driver.round.seat;
        if self.rival_of_round().is_some() {
            for other in (0..self.shape.seats).filter(|other| *other != cut_off) {
                self.strike_now(Class::Ctl2, other, 0, 0);
            }
        }
    }

    /// Who leads in a higher term than the leader that the round is about.
    fn rival_of_round(&self) -> Option<usize> {
        let Round { kind, group, seat, .. } = self.driver.round;
        let is_newer = |rival: &usize| *rival != seat && self.term_of(*rival, group) > Some(Term(kind));
        self.leader_of(group).filter(is_newer)
    }

    /// The last entry that the rival has forgotten is another one in the log of who is cut off.
    fn has_forgotten_fork(&self) -> bool {
        let Round { group, seat, .. } = self.driver.round;
        let shard_of = |seat: usize| self.nodes[seat].shard_of(group);
        let Some((rival, own)) = self.rival_of_round().and_then(shard_of).zip(shard_of(seat)) else { return false };
        let forgotten = rival.log().first_index(group).prev();
        let held = own.log().term(group, forgotten);
        held.is_some() && held != rival.log().term(group, forgotten)
    }
}
