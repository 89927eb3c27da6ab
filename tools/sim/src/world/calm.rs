//! A calm in the middle of a run: faults pause, a quorum or all nodes are left in peace, and the checkers of liveness say
//! what must come of it. Also hushes, in which clients begin nothing while faults go on.

use base::NodeId;
use seglog::Health;

use super::{SECOND, World};
use crate::heap::Due;
use crate::observe::Event;

/// Longer than that no calm is: an order with any parameter is harmless.
const CALM_MAX: u64 = 30 * SECOND;

/// What pauses until when.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Calm {
    /// Faults pause until then; 0 when none do.
    until: u64,
    /// Seats that are cut off meanwhile.
    out: u32,
    /// Clients begin nothing before then.
    pub hushed_until: u64,
}

impl World<'_> {
    pub(super) fn is_calm(&self) -> bool {
        self.now < self.calm.until
    }

    /// Clients begin nothing for a while.
    pub(super) fn order_hush(&mut self, span: u64) -> bool {
        let until = self.now + span.min(CALM_MAX);
        let is_longer = until > self.calm.hushed_until;
        self.calm.hushed_until = self.calm.hushed_until.max(until);
        is_longer
    }

    /// Faults pause for `span` ns, and all but a minority of seats is left in peace, which is cut off; with `is_idle`
    /// clients begin nothing meanwhile. False when the rest is not well enough to be owed anything.
    pub(super) fn order_calm(&mut self, span: u64, out: u32, is_idle: bool) -> bool {
        let span = span.min(CALM_MAX);
        let seats = self.shape.seats;
        let out = out & ((1 << seats) - 1);
        let is_out = |seat: usize| out >> seat & 1 == 1;
        let is_well = |seat: usize| {
            self.nodes[seat].is_up()
                && self.groups().all(|group| {
                    self.nodes[seat].shard_of(group).is_some_and(|shard| shard.log().health(group) == Health::Clean)
                })
        };
        if self.is_calm()
            || out.count_ones() as usize * 2 >= seats
            || is_idle && out != 0
            || (0..seats).any(|seat| !is_out(seat) && !is_well(seat))
            || !self.wish.is_full()
            || !self.groups().all(|group| self.knows_all(group, out) && (out != 0 || self.is_as_wanted(group)))
        {
            return false;
        }
        self.heal_links();
        let until = self.now + span;
        for one in (0..seats).filter(|seat| is_out(*seat)) {
            for other in (0..seats).filter(|seat| !is_out(*seat)) {
                self.net.block(one, other, until);
                self.net.block(other, one, until);
            }
        }
        (self.calm.until, self.calm.out) = (until, out);
        if is_idle {
            self.calm.hushed_until = self.calm.hushed_until.max(until);
        }
        self.injector.pause(true);
        (0..seats).filter(|seat| !is_out(*seat)).for_each(|seat| self.heal_seat(seat));
        let nodes: Vec<NodeId> = (0..seats).filter(|seat| !is_out(*seat)).map(|seat| self.nodes[seat].id).collect();
        self.observe(&Event::Calm { nodes: &nodes, is_idle });
        self.push(until, Due::Stir);
        true
    }

    /// Every node that is not left out has the members in force that are wanted, and no others.
    fn knows_all(&self, group: base::GroupId, out: u32) -> bool {
        (0..self.shape.seats).filter(|seat| out >> seat & 1 == 0).all(|seat| {
            let raft = self.nodes[seat].shard_of(group).and_then(|shard| shard.raft(group));
            raft.is_some_and(|raft| {
                let config = raft.config();
                let is_whole = config.incoming().len() == self.wanted.len() && !config.is_joint();
                is_whole && config.voters().all(|id| self.wanted.contains(&id))
            })
        })
    }

    /// The calm is over, in time or because the run ends.
    pub(super) fn stir(&mut self) {
        if self.calm.until == 0 || self.is_calm() && self.injector.is_enabled() {
            return;
        }
        self.calm = Calm { hushed_until: self.calm.hushed_until, ..Calm::default() };
        self.injector.pause(false);
        self.observe(&Event::Stir);
    }

    /// A crash that a fault before the calm has set up does not strike in it.
    pub(super) fn is_spared(&self, seat: usize) -> bool {
        self.is_calm() && self.calm.out >> seat & 1 == 0
    }
}
