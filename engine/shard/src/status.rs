//! What operators and tools see of a shard.

use meta::Store;
use seglog::Disk;

use crate::{GroupStatus, Shard};

impl<D: Disk, S: Store> Shard<D, S> {
    /// The consensus state of a local group, for checkers.
    #[must_use]
    pub fn raft(&self, group: base::GroupId) -> Option<&raft::Raft> {
        self.local(group).map(|at| &self.groups[at as usize].raft)
    }

    /// The state of every local group, in group order.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        self.groups
            .iter()
            .map(|group| GroupStatus {
                group: group.id,
                role: group.raft.role(),
                term: group.raft.term(),
                leader: group.raft.leader().unwrap_or_default(),
                first_index: self.log.first_index(group.id),
                last_index: self.log.last_index(group.id),
                commit_index: group.raft.commit_index(),
                applied_index: group.applied,
                persisted_index: group.raft.persisted_index(),
                state_hash: self.store.machine(group.id).map_or(0, |machine| machine.state_hash),
                voters: group.raft.config().voters().collect(),
                health: group.raft.health(),
                alarm: group.alarm,
                differs_from: group.hashes.differs_from(),
                is_state_lost: group.lost.is_some() && group.dropped.is_none(),
            })
            .collect()
    }
}
