//! Groups that this node was voted out of: their rows go, and what the node promised stays.
//!
//! ```text
//! member ──▶ out: by a committed configuration, or its leader's word ──▶ rows dropped ──▶ flushed ──▶ log cut
//!   ▲                                                                        │
//!   └── applied anew from entry 1, or a snapshot (`lost.rs`) ◀── named again ┘
//! ```
//! Both ways of knowing speak of what is committed: a removal that may still be undone takes nothing. The log keeps term,
//! vote and the last entry, and with them all that others were promised; it gives up only what was applied, so that it pins
//! no segment. A stop before the flush finds the rows again, and they are dropped again once the node knows that it is out.

use base::{LogIndex, mutate};
use meta::Store;
use seglog::Disk;

use crate::Shard;

/// A group whose rows went because this node is out of it.
#[derive(Debug)]
pub(crate) struct Dropped {
    /// It was applied so far.
    until: LogIndex,
    /// The configuration there, encoded.
    config: Vec<u8>,
    /// A memtable that holds the drop is on its way to the tables.
    is_frozen: bool,
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Is this node no member of the group, by a committed configuration or by its leader's word? A node that joins is no
    /// member yet, and knows of no configuration.
    pub(crate) fn is_out(&self, at: u32) -> bool {
        let raft = &self.groups[at as usize].raft;
        let config = raft.config();
        let is_named = config.members().next().is_none() || config.is_member(self.settings.node);
        raft.is_removed() || !is_named && raft.config_index() <= raft.commit_index()
    }

    /// Whether the rows of the group may go.
    fn may_drop(&self, at: u32) -> bool {
        mutate!(MUT_19F, self.is_out(at), {
            let (config, me) = (self.groups[at as usize].raft.config(), self.settings.node);
            let stays = config.incoming().contains(&me) || config.learners().contains(&me);
            self.is_out(at) || !stays && config.members().next().is_some()
        })
    }

    /// The members changed, or the node was told that it is out: who is out drops its rows in the next turn.
    pub(crate) fn note_members(&mut self, at: u32) {
        let may_drop = self.may_drop(at);
        let slot = &mut self.groups[at as usize];
        if slot.dropped.is_none() && may_drop {
            self.leaving.insert(at);
        } else if slot.dropped.is_some() && !may_drop {
            base::mark::hit!("shard.removed.back_in");
            slot.dropped = None;
            self.queue_apply(at);
        }
    }

    /// Drops the rows of the groups that this node is out of. One into which a snapshot is coming waits for its end.
    pub(crate) fn drop_removed(&mut self) {
        let leaving: Vec<u32> = self.leaving.iter().copied().collect();
        for at in leaving {
            let slot = &self.groups[at as usize];
            if slot.installed.is_some() || slot.installing.is_some() {
                base::mark::hit!("shard.removed.waits_for_a_snapshot");
                continue;
            }
            self.leaving.remove(&at);
            // The alarm of a group that was stopped is worth more than its room.
            if self.may_drop(at) && self.groups[at as usize].alarm.is_none() {
                self.drop_rows(at);
            }
        }
    }

    fn drop_rows(&mut self, at: u32) {
        let slot = &self.groups[at as usize];
        let (group, until) = (slot.id, slot.applied);
        base::mark::hit!("shard.removed.rows_dropped", until > LogIndex(0));
        base::mark::hit!("shard.removed.log_is_behind", slot.raft.persisted_index() < until);
        let config = self.config_at_machine(group);
        self.groups[at as usize].dropped = Some(Dropped { until, config, is_frozen: false });
        self.lose_state(at);
        // Room comes back once the drop is on disk.
        self.drops_wait = true;
    }

    /// A memtable was frozen: drops so far are in it.
    pub(crate) fn note_drops_frozen(&mut self) {
        self.drops_wait = false;
        for at in &self.lost {
            if let Some(dropped) = &mut self.groups[*at as usize].dropped {
                dropped.is_frozen = true;
            }
        }
    }

    /// A memtable is durable: the log forgets what dropped groups had applied. What lies behind that it keeps, since a vote
    /// was given by it.
    pub(crate) fn cut_dropped_logs(&mut self) {
        let dropped: Vec<u32> = self.lost.iter().copied().collect();
        for at in dropped {
            let slot = &self.groups[at as usize];
            let (group, persisted) = (slot.id, slot.raft.persisted_index());
            let Some(dropped) = slot.dropped.as_ref().filter(|dropped| dropped.is_frozen) else { continue };
            let Dropped { until, .. } = *dropped;
            if until < self.log.first_index(group) || until > persisted {
                continue;
            }
            let (Some(term), Some(crc)) = (self.log.term(group, until), self.log.crc(group, until)) else { continue };
            base::mark::hit!("shard.removed.log_cut");
            let epoch = self.log.truncate_prefix(group, until.next(), term, crc, &dropped.config);
            self.note_written(at, epoch);
        }
    }
}
