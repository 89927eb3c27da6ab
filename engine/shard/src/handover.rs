//! Leadership that leaves this core: because its disk is slow, or because the node stops.

use base::mono::Span;
use base::{Mono, NodeId};
use meta::Store;
use raft::{Input, Outcome};
use seglog::Disk;

use crate::Shard;

/// Groups that a slow core hands away per beat: a hundred a second.
const HANDOVERS_PER_BEAT: usize = 5;
/// One beat.
const BEAT: Span = Span::from_ms(50);
/// Groups looked at per beat.
const LOOKS_PER_BEAT: usize = 1024;

impl<D: Disk, S: Store> Shard<D, S> {
    /// Marks the core slow or well again; while it is slow its leaderships go to nodes that are not.
    pub(crate) fn watch_disk_pace(&mut self, now: Mono) {
        let is_out_of_room = !self.store.has_room();
        let has_changed = std::mem::replace(&mut self.is_out_of_room, is_out_of_room) != is_out_of_room;
        base::mark::hit!("shard.room.changed", has_changed);
        if self.disk_pace.judge(now) | has_changed {
            base::mark::hit!("shard.disk_pace.changed");
            let is_slow = self.should_not_lead();
            self.balance.note_fit(now);
            for at in 0..self.groups.len() as u32 {
                self.step(at, Input::DiskSlow { is_slow });
            }
        }
        if self.should_not_lead() && self.disk_pace.next_handover <= now {
            self.disk_pace.next_handover = now + BEAT;
            self.hand_some_over(now);
        }
    }

    /// The disk is slow, or has no room for what a leader takes in, or the node stops: leaderships are better elsewhere.
    pub(crate) fn should_not_lead(&self) -> bool {
        self.disk_pace.is_slow() || self.is_out_of_room || self.is_stopping
    }

    fn hand_some_over(&mut self, now: Mono) {
        let mut left = HANDOVERS_PER_BEAT;
        for _ in 0..LOOKS_PER_BEAT.min(self.groups.len()) {
            self.handover_at = (self.handover_at + 1) % self.groups.len();
            let slot = &self.groups[self.handover_at];
            let Some(target) = self.successor(slot) else { continue };
            base::mark::hit!("shard.handover.slow_disk");
            self.begin_transfer(self.handover_at as u32, target, now);
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }

    /// Begins to hand a group to `target`. Its commands wait from now on: the target executes nothing before it leads, and
    /// whoever sent them hears of it then; if it does not take over they go on here.
    pub(crate) fn begin_transfer(&mut self, at: u32, target: NodeId, now: Mono) -> Outcome {
        let outcome = self.step(at, Input::Transfer { target, now });
        if outcome == Outcome::Done {
            self.groups[at as usize].heir = target;
            self.handing_over.push(at);
        }
        outcome
    }

    /// Groups that are not on their way any more: the commands that waited are proposed, if they still lead.
    pub(crate) fn end_transfers(&mut self) {
        for which in (0..self.handing_over.len()).rev() {
            let at = self.handing_over[which];
            let slot = &mut self.groups[at as usize];
            if !slot.raft.is_transferring() {
                base::mark::hit!("shard.handover.given_up", slot.raft.is_leader());
                if slot.raft.is_leader() {
                    slot.heir = NodeId(0);
                }
                self.handing_over.swap_remove(which);
                self.note_turn(at);
            }
        }
    }

    fn successor(&self, slot: &crate::group::Group) -> Option<NodeId> {
        if !slot.is_leader { None } else { slot.raft.best_successor(|id| !self.pairs.is_slow(id)) }
    }

    /// Gives every leadership away at once, before the node stops: each group's best follower is asked to campaign, and
    /// waits are answered. Nothing is written, so a log that failed is no hindrance. Poll the peers' messages afterwards.
    /// Returns how many groups were handed over.
    pub fn hand_over_all(&mut self, now: Mono) -> usize {
        // Nobody gives anything to a core that says so.
        self.is_stopping = true;
        let mut count = 0;
        for at in 0..self.groups.len() as u32 {
            let slot = &mut self.groups[at as usize];
            if !slot.is_leader || slot.raft.wants_hard_state() {
                continue;
            }
            let pairs = &self.pairs;
            let before = slot.raft.uncommitted_bytes();
            if slot.raft.hand_over_now(now, |id| !pairs.is_slow(id)) {
                base::mark::hit!("shard.handover.before_stop");
                self.uncommitted_bytes -= before;
                count += 1;
                self.drain_group(at, None);
            }
        }
        count
    }
}
