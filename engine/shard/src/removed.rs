//! Groups that this node was voted out of.

use meta::Store;
use seglog::Disk;

use crate::Shard;

impl<D: Disk, S: Store> Shard<D, S> {
    /// Is this node no member of the group, by a committed configuration or by its leader's word? A node that joins is no
    /// member yet, and knows of no configuration.
    pub(crate) fn is_out(&self, at: u32) -> bool {
        let raft = &self.groups[at as usize].raft;
        let config = raft.config();
        let is_named = config.members().next().is_none() || config.is_member(self.settings.node);
        raft.is_removed() || !is_named && raft.config_index() <= raft.commit_index()
    }
}
