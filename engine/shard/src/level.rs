//! The feature level of a group: which commands it takes, and whether this release may apply what it has
//! (docs/design/metadata.md, "Feature level").
//!
//! A group's level is a row of its own. It is read when the group starts here, when a snapshot took the place of its
//! rows, and after an entry that raised it; until it is known the group applies nothing.

use meta::feature::LEVEL_BORN;
use meta::{Store, feature_level};
use seglog::Disk;

use crate::group::ApplyWait;
use crate::read::Waiting;
use crate::{Shard, Status, StopReason, Ticket};

impl<D: Disk, S: Store> Shard<D, S> {
    /// Reads the level of a group if its rows are in memory, or has them fetched. A level that this release does not know
    /// stops the node.
    pub(crate) fn find_level(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        let group = slot.id;
        // A group without a machine row has no rows at all.
        let mut wants = Vec::new();
        let found = match self.store.machine(group) {
            None => Ok(LEVEL_BORN),
            Some(_) => feature_level(&self.store, group, &mut wants),
        };
        match found {
            Ok(level) if level > self.settings.release.level_known => {
                base::mark::hit!("shard.level.rows_are_newer");
                let known = self.settings.release.level_known;
                self.stop.get_or_insert(StopReason::NewerLevel { group, level, known });
            }
            Ok(level) => slot.level = Some(level),
            Err(meta::Cold) => {
                base::mark::hit!("shard.level.row_cold");
                let token = self.next_token();
                self.cold_reads.waiting.insert(token, Waiting::Level { at });
                self.store.prefetch(token, group, &wants);
            }
        }
    }

    /// The row of a level is in memory.
    pub(crate) fn handle_level_fetched(&mut self, at: u32, token: u64) {
        self.find_level(at);
        self.store.release(token);
        let slot = &mut self.groups[at as usize];
        if slot.level.is_some() && slot.wait == ApplyWait::Level {
            slot.wait = ApplyWait::None;
            self.queue_apply(at);
        }
    }

    /// The rows may be others now: nothing is applied before the level is known anew.
    pub(crate) fn forget_level(&mut self, at: u32) {
        self.groups[at as usize].level = None;
        self.find_level(at);
    }

    /// Is the command of a level that the group has? If not, its sender was told.
    pub(crate) fn is_of_level(&mut self, at: u32, ticket: Ticket, command: &[u8]) -> bool {
        let slot = &self.groups[at as usize];
        // A new leader may not have applied the entry that raised the level: then the command is good, and it may have to end
        // itself, since it does not know that level.
        let (group, level, is_sure) = (slot.id, slot.level, slot.raft.is_own_term_applied());
        match self.settings.release.admit(command, level.unwrap_or(LEVEL_BORN)) {
            Ok(()) => true,
            // Soon it will be.
            Err(_) if level.is_none() || !is_sure => {
                base::mark::hit!("shard.level.not_known_yet");
                self.replies.text(ticket, group, Status::Overloaded, "is reading the group's feature level");
                false
            }
            Err(error) => {
                base::mark::hit!("shard.level.refused");
                self.replies.text(ticket, group, Status::Unsupported, &error.to_string());
                false
            }
        }
    }
}
