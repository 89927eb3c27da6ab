//! Groups that this node was voted out of: their rows go, and what the node promised stays.
//!
//! ```text
//! member ──▶ out: by a committed configuration, or its leader's word ──▶ no leader speaks to it ──▶ rows dropped
//!   ▲                                                                                                   │ flushed
//!   └── applied anew from entry 1, or a snapshot (`lost.rs`) ◀── a leader speaks to it again ◀── log cut ◀─┘
//! ```
//! Both ways of knowing speak of what is committed: a removal that may still be undone takes nothing. The log keeps term,
//! vote and the last entry, and with them all that others were promised; it gives up only what was applied, so that it pins
//! no segment. A stop before the flush finds the rows again, and they are dropped again once the node knows that it is out.
//!
//! A leader speaks to who is a member by its newest configuration, and whom it takes in may hear of that last: the state
//! that it sends first is of before. So what it sends must not be dropped while it still speaks.

use base::mono::Span;
use base::{LogIndex, Mono, mutate};
use meta::Store;
use seglog::Disk;

use crate::Shard;

/// Who was spoken to by a leader so lately may be a member again. In times of `check_quorum`, in which a leader speaks to
/// each of its members many times.
const SPOKEN_LATELY: u64 = 2;

/// A group whose rows went because this node is out of it.
#[derive(Debug)]
pub(crate) struct Dropped {
    /// It was applied so far.
    until: LogIndex,
    /// The configuration there, encoded.
    config: Vec<u8>,
    /// The memtable that holds the drop, on its way to the tables.
    frozen: Option<u64>,
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

    /// Has a leader of the group spoken to this node just now? Then it is a member for that leader, whatever it knows itself.
    pub(crate) fn is_spoken_to(&self, at: u32) -> bool {
        self.turn_now < self.silent_from(at)
    }

    fn silent_from(&self, at: u32) -> Mono {
        let lately = Span(SPOKEN_LATELY * self.settings.raft.check_quorum.0);
        self.groups[at as usize].raft.heard_leader_at().map_or(Mono(0), |heard| heard + lately)
    }

    /// Whether the rows of the group may go.
    fn may_drop(&self, at: u32) -> bool {
        mutate!(MUT_19F, self.is_out(at) && !self.is_spoken_to(at), {
            let (config, me) = (self.groups[at as usize].raft.config(), self.settings.node);
            let stays = config.incoming().contains(&me) || config.learners().contains(&me);
            self.is_out(at) || !stays && config.members().next().is_some()
        })
    }

    /// The members changed, or the node was told that it is out: who is out drops its rows soon.
    pub(crate) fn note_members(&mut self, at: u32) {
        let is_leaving = self.is_out(at) || self.may_drop(at);
        let slot = &self.groups[at as usize];
        if slot.dropped.is_none() && is_leaving {
            self.leaving.insert(at);
        } else if slot.dropped.is_some() && !is_leaving {
            self.end_drop(at);
        }
    }

    /// The rows are here again, or are to come.
    pub(crate) fn end_drop(&mut self, at: u32) {
        if self.groups[at as usize].dropped.take().is_some() {
            base::mark::hit!("shard.removed.back_in");
            self.queue_apply(at);
        }
    }

    /// Drops the rows of the groups that this node is out of, once no leader speaks to it. One into which a snapshot is
    /// coming waits for its end.
    pub(crate) fn drop_removed(&mut self) {
        let leaving: Vec<u32> = self.leaving.iter().copied().collect();
        for at in leaving {
            let slot = &self.groups[at as usize];
            // The alarm of a group that was stopped is worth more than its room.
            let stays = slot.alarm.is_some() || !self.is_out(at) && !self.may_drop(at);
            if stays || slot.dropped.is_some() {
                self.leaving.remove(&at);
            } else if slot.installed.is_some() || slot.installing.is_some() {
                base::mark::hit!("shard.removed.waits_for_a_snapshot");
            } else if self.may_drop(at) {
                self.leaving.remove(&at);
                self.drop_rows(at);
            } else {
                base::mark::hit!("shard.removed.still_spoken_to");
            }
        }
    }

    /// When [`Shard::drop_removed`] has something to do. A snapshot that comes in ends with a turn of its own.
    pub(crate) fn drops_deadline(&self) -> Mono {
        let is_free = |at: &&u32| {
            let slot = &self.groups[**at as usize];
            slot.installed.is_none() && slot.installing.is_none()
        };
        self.leaving.iter().filter(is_free).map(|at| self.silent_from(*at)).min().unwrap_or(Mono::MAX)
    }

    fn drop_rows(&mut self, at: u32) {
        let slot = &self.groups[at as usize];
        let (group, until) = (slot.id, slot.applied);
        base::mark::hit!("shard.removed.rows_dropped", until > LogIndex(0));
        base::mark::hit!("shard.removed.log_is_behind", slot.raft.persisted_index() < until);
        let config = self.config_at_machine(group);
        self.groups[at as usize].dropped = Some(Dropped { until, config, frozen: None });
        self.lose_state(at, false);
        // Room comes back once the drop is on disk.
        self.drops_wait = true;
    }

    /// A memtable was frozen: drops so far are in it.
    pub(crate) fn note_drops_frozen(&mut self, frozen: u64) {
        self.drops_wait = false;
        for at in &self.lost {
            if let Some(dropped) = &mut self.groups[*at as usize].dropped {
                dropped.frozen.get_or_insert(frozen);
            }
        }
    }

    /// A memtable is durable, and those before it: the log forgets what groups that were dropped in it had applied. What
    /// lies behind that it keeps, since a vote was given by it.
    pub(crate) fn cut_dropped_logs(&mut self, flushed: u64) {
        let dropped: Vec<u32> = self.lost.iter().copied().collect();
        for at in dropped {
            let slot = &self.groups[at as usize];
            let (group, persisted) = (slot.id, slot.raft.persisted_index());
            let is_flushed = |dropped: &&Dropped| dropped.frozen.is_some_and(|frozen| frozen <= flushed);
            let Some(dropped) = slot.dropped.as_ref().filter(is_flushed) else { continue };
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
