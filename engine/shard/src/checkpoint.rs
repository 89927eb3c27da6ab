//! Checkpoints: a frozen memtable becomes tables once the log has persisted what it holds; then the log may forget.

use base::mono::Span;
use base::{GroupId, LogIndex, Mono, mutate};
use meta::Store;
use seglog::Disk;

use crate::Shard;

/// A memtable is written at least this often.
const CHECKPOINT_EVERY: Span = Span::from_ms(600_000);

impl<D: Disk, S: Store> Shard<D, S> {
    /// A frozen memtable is durable: notes it in the log and drops what no one needs any more.
    pub(crate) fn handle_flushed(&mut self, frozen: &meta::Frozen) {
        for &(group, index) in &frozen.applied {
            let Some(at) = self.local(group) else { continue };
            let slot = &self.groups[at as usize];
            if frozen.id <= slot.frozen_gone {
                // It was dropped before anybody heard of its flush: the log is all that is left of it.
                base::mark::hit!("shard.lost.checkpoint_ignored");
                continue;
            }
            // A snapshot installed meanwhile has moved the log beyond this checkpoint.
            let Some(term) = self.log.term(group, index) else { continue };
            let epoch = self.log.checkpoint(group, index, term);
            self.note_written(at, epoch);
            let last = self.log.last_index(group);
            // A group that pins the log's oldest segments keeps nothing for slow followers: they get a snapshot.
            base::mark::hit!("shard.checkpoint.of_a_pinning_group", self.pinning.contains(&group));
            base::mark::hit!("shard.checkpoint.snapshot_pins_log", self.snapshots.pinned(group).is_some());
            let trailing = if self.pinning.contains(&group) { 0 } else { self.settings.trailing_entries };
            let keep_from = LogIndex(last.0.saturating_sub(trailing) + 1);
            let first = keep_from.min(index.next()).min(self.snapshots.pinned(group).unwrap_or(index.next()));
            if first > self.log.first_index(group) {
                base::mark::hit!("shard.checkpoint.log_compacted");
                let before = first.prev();
                let (Some(term), Some(crc)) = (self.log.term(group, before), self.log.crc(group, before)) else {
                    continue;
                };
                let config = self.config_at_machine(group);
                let epoch = self.log.truncate_prefix(group, first, term, crc, &config);
                self.note_written(at, epoch);
            }
        }
        self.cut_dropped_logs(frozen.id);
    }

    /// The configuration that goes with the machine row: its own, or the group's first one while none was applied.
    pub(crate) fn config_at_machine(&self, group: GroupId) -> Vec<u8> {
        let machine = self.store.machine(group).map(|machine| machine.config.as_slice()).unwrap_or_default();
        if machine.is_empty() { self.group_initial(group).to_vec() } else { machine.to_vec() }
    }

    fn group_initial(&self, group: GroupId) -> &[u8] {
        self.local(group).map(|at| self.groups[at as usize].initial.as_slice()).unwrap_or_default()
    }

    /// Freezes and flushes when it is time. A flush waits until the log has persisted what it holds: the tables must
    /// never be ahead of the log.
    pub(crate) fn advance_checkpoint(&mut self, now: Mono) {
        if self.frozen.is_none() {
            let is_wanted = self.store.wants_freeze()
                || now.since(self.last_freeze) >= CHECKPOINT_EVERY
                || self.log_wants_checkpoint()
                || self.drops_wait
                || std::mem::take(&mut self.wants_checkpoint);
            if is_wanted {
                self.last_freeze = now;
                base::mark::hit!("shard.checkpoint.frozen");
                self.frozen = self.store.freeze();
                if let Some(frozen) = self.frozen.as_ref().map(|frozen| frozen.id) {
                    self.frozen_last = frozen;
                    self.note_drops_frozen(frozen);
                }
            }
        }
        let Some(frozen) = &self.frozen else { return };
        let is_persisted = frozen.applied.iter().all(|&(group, index)| {
            self.local(group).is_none_or(|at| {
                let slot = &self.groups[at as usize];
                mutate!(MUT_14B, slot.raft.persisted_index() >= index, true) || slot.installing.is_some()
            })
        });
        base::mark::hit!("shard.checkpoint.waits_for_the_log", !is_persisted);
        if is_persisted {
            let frozen = self.frozen.take().expect("it was just looked at");
            mutate!(MUT_14D, (), self.handle_flushed(&frozen));
            self.store.flush(frozen.id);
        }
    }

    /// Makes a checkpoint as soon as there is something to write (tools, tests, before a clean stop).
    pub fn checkpoint_soon(&mut self) {
        self.wants_checkpoint = true;
    }

    fn log_wants_checkpoint(&mut self) -> bool {
        self.pinning.clear();
        self.log.groups_wanting_checkpoint(&mut self.pinning);
        // A checkpoint of others does not help a group that has nothing to flush.
        let (groups, cores) = (&self.groups, u32::from(self.settings.cores));
        self.pinning.retain(|group| groups.get((group.0 / cores) as usize).is_none_or(|slot| slot.lost.is_none()));
        !self.pinning.is_empty()
    }
}
