//! Figure 8 of the Raft paper: an entry of an old term gets to a majority and is overwritten all the same.
//!
//! ```text
//! 1  a leader and one more are cut off, with entries that only they have; the leader crashes
//! 2  among the others a rival is elected; it is cut off at once, with an entry that only it has, and crashes
//! 3  the first two are back: one of them leads, and its old entries get to a majority
//! 4  before it commits anything of its own term it is cut off and crashes
//! 5  the rival is back, and is elected by those who have the old entries: its own replace them
//! ```
//! Whether each step comes about is up to the nodes; a round that stalls is begun anew.

use base::{GroupId, Prng, Term};

use super::super::strikes::links_between;
use super::super::{MS, SECOND, World};
use crate::draw::{between, log_between};
use crate::fault::Class;

/// A round that has not got further within this is over.
const STALL_MAX: u64 = 8 * SECOND;

/// Where a round stands.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Scene {
    step: u8,
    since: u64,
    group: GroupId,
    /// Of the last leader that was struck.
    term: Term,
    /// Who led in step 1, and with the one it can reach, as a mask.
    first: usize,
    side: u64,
    rival: usize,
}

impl World<'_> {
    /// The next step of the figure; ns until the next look. With three nodes there is no such figure: leaders are struck.
    pub(super) fn drive_figure8(&mut self, dice: &mut Prng) -> u64 {
        if self.shape.seats < 5 {
            return self.strike_leaders(dice);
        }
        let mut scene = self.driver.scene;
        if scene.step == 0 || self.now - scene.since > STALL_MAX {
            scene = Scene { group: GroupId(dice.below(u64::from(self.shape.groups)) as u32), ..Scene::default() };
        }
        scene.since = if scene.step == 0 { self.now } else { scene.since };
        let leader = self.leader_of(scene.group).and_then(|seat| Some((seat, self.term_of(seat, scene.group)?)));
        let wait = self.next_scene(&mut scene, leader, dice);
        self.driver.scene = scene;
        wait
    }

    fn next_scene(&mut self, scene: &mut Scene, leader: Option<(usize, Term)>, dice: &mut Prng) -> u64 {
        let newer = leader.filter(|(_, term)| *term > scene.term);
        match (scene.step, leader) {
            (0, Some((seat, term))) => {
                let seats = self.shape.seats;
                let second = (seat + 1 + dice.below(seats as u64 - 1) as usize) % seats;
                (scene.first, scene.term, scene.side) = (seat, term, 1 << seat | 1 << second);
                self.cut_off(scene.side, between(dice, SECOND, 2 * SECOND));
                scene.step = 1;
                log_between(dice, 20 * MS, 400 * MS)
            }
            (0, None) => 200 * MS,
            (1, _) => {
                self.strike_now(Class::Proc1, scene.first, 0, dice.below(3));
                scene.step = 2;
                MS
            }
            (2, _) => match newer.filter(|(seat, _)| scene.side & 1 << seat == 0) {
                Some((seat, term)) => {
                    (scene.rival, scene.term, scene.step) = (seat, term, 3);
                    self.cut_off(1 << seat, between(dice, SECOND, 3 * SECOND));
                    log_between(dice, 2 * MS, 60 * MS)
                }
                None => MS,
            },
            (3, _) => {
                self.strike_now(Class::Proc1, scene.rival, 0, dice.below(3));
                scene.step = 4;
                MS
            }
            (4, _) => match newer.filter(|(seat, _)| *seat != scene.rival) {
                Some((_, term)) => {
                    (scene.term, scene.step) = (term, 5);
                    log_between(dice, MS, 60 * MS)
                }
                None => MS,
            },
            _ => {
                if let Some((seat, _)) = leader.filter(|(seat, _)| *seat != scene.rival) {
                    self.cut_off(1 << seat, between(dice, SECOND, 3 * SECOND));
                    self.strike_now(Class::Proc1, seat, 0, dice.below(3));
                }
                scene.step = 0;
                between(dice, 3 * SECOND, 8 * SECOND)
            }
        }
    }

    fn cut_off(&mut self, side: u64, span: u64) {
        self.strike_now(Class::Net9, 0, span, links_between(side, !side));
    }
}
