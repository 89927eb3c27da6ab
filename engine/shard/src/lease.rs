//! Leases as the shard sees them: what may be published to other cores, and what a jump of the clock undoes.

use base::mono::Span;
use base::{GroupId, Mono};
use meta::Store;
use raft::{Input, ReadPath};
use seglog::Disk;

use crate::Shard;

/// By how much the clocks of two cores may differ.
const CORE_SKEW: Span = Span::from_ms(1);

/// How reads were confirmed, counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadCounts {
    /// By the leader's lease.
    pub lease: u64,
    /// By a round to a quorum.
    pub round: u64,
    /// At this node as a follower, by its leader.
    pub follower: u64,
}

impl ReadCounts {
    pub(crate) fn note(&mut self, path: ReadPath) {
        match path {
            ReadPath::Lease => self.lease += 1,
            ReadPath::Round => self.round += 1,
            ReadPath::Follower => self.follower += 1,
        }
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// The clock stood still while the machine was suspended, or jumped: called right after [`Shard::begin_turn`]. No
    /// group has a lease until a round sent later is acked.
    pub fn handle_clock_jump(&mut self, now: Mono) {
        for at in 0..self.groups.len() as u32 {
            self.step(at, Input::ClockJump { now });
        }
    }

    /// Until when (exclusive) any core of this node may answer reads of a local group from what is applied here;
    /// `None` without a lease, and before an entry of the leader's own term is applied. Room for clocks of cores that
    /// differ by 1 ms is left.
    ///
    /// Whoever publishes it asks after [`Shard::advance`], and takes it back before this turn's peer messages leave.
    #[must_use]
    pub fn lease_until(&self, group: GroupId) -> Option<Mono> {
        let slot = &self.groups[self.local(group)? as usize];
        if slot.lost.is_some() {
            return None;
        }
        let end = slot.raft.lease_until(self.turn_now).filter(|_| slot.raft.is_own_term_applied())? - CORE_SKEW;
        (self.turn_now < end).then_some(end)
    }

    /// How this core's reads were confirmed.
    #[must_use]
    pub fn read_counts(&self) -> ReadCounts {
        self.read_counts
    }
}
