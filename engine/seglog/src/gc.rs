//! Giving segments back, strictly oldest first, so that a truncation never vanishes before what it removed.
//!
//! ```text
//! no entry lives in the oldest ─▶ copy live state forward ─▶ copies persisted ─▶ meta.oldest moved ─▶ Retire
//! ```

use base::{GroupId, mutate};

use crate::disk::Disk;
use crate::log::SegLog;
use crate::segment::Stage;

/// Where a collection stands. `upto` is the first segment that stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    /// Copies were written; they are persisted when this epoch is.
    Copied {
        upto: u64,
        epoch: u64,
    },
    /// `meta` is to say `upto`.
    Meta {
        upto: u64,
    },
    /// The files are being renamed.
    Retiring,
}

#[derive(Clone, Debug)]
pub(crate) struct Gc {
    /// Something may have died since the last look.
    pub is_due: bool,
    /// What `meta` says, or is to say.
    pub oldest: u64,
    phase: Phase,
}

impl Gc {
    pub fn new(oldest: u64) -> Gc {
        Gc { is_due: true, oldest, phase: Phase::Idle }
    }
}

impl<D: Disk> SegLog<D> {
    /// Groups whose entries keep the oldest fifth of a log that is half full, or has no space: adds them to `out`. Each should checkpoint
    /// its store and then compact (`truncate_prefix`) up to there, without keeping entries for slow followers.
    pub fn groups_wanting_checkpoint(&self, out: &mut Vec<GroupId>) {
        if self.bytes() < self.settings.log_bytes_max / 2 && !self.is_full() {
            return;
        }
        base::mark::hit!("seglog.gc.wants_checkpoints");
        let oldest = self.segments.front().map_or(0, |segment| segment.seq);
        let bound = oldest + (self.segments.len() as u64 / 5).max(1);
        let pins = self.groups.iter().flatten().filter(|log| log.oldest_segment().is_some_and(|seq| seq < bound));
        out.extend(pins.map(|log| log.group));
    }

    /// Takes the next step of a collection, if one can be taken.
    pub(crate) fn collect(&mut self) {
        if self.gc.phase == Phase::Idle && self.gc.is_due {
            self.gc.is_due = false;
            let upto = self.first_needed();
            if self.segments.front().is_some_and(|oldest| oldest.seq < upto) {
                base::mark::hit!("seglog.gc.begins");
                self.copy_state_forward(upto);
                // The oldest segment always begins with a persisted frame: recovery has to start from one.
                let has_frame = self.has_closed_frame();
                let epoch = if has_frame { self.covering_epoch() } else { self.open_epoch() };
                base::mark::hit!("seglog.gc.waits_in_a_fresh_segment", !has_frame);
                self.gc.phase = Phase::Copied { upto, epoch: epoch.0 };
            }
        }
        if let Phase::Copied { upto, epoch } = self.gc.phase
            && epoch <= self.commit.persisted
        {
            self.gc.phase = Phase::Meta { upto };
            self.gc.oldest = upto;
            self.commit.is_meta_due = true;
        }
    }

    /// `meta` on disk says `oldest`.
    pub(crate) fn meta_written(&mut self, oldest: u64) {
        if let Phase::Meta { upto } = self.gc.phase
            && upto <= oldest
        {
            base::mark::hit!("seglog.gc.retires");
            self.gc.phase = Phase::Retiring;
            let gone = self.segments.iter().filter(|segment| segment.seq < upto);
            let slots: Vec<_> = gone.map(|segment| (segment.slot, segment.seq)).collect();
            let segments = slots.len();
            self.commit.ask_retire(slots, segments, upto);
        }
    }

    /// The files before `upto` are free again. (Leftovers of an earlier process were never live here.)
    pub(crate) fn finish_retire(&mut self, upto: u64) {
        while self.segments.front().is_some_and(|segment| segment.seq < upto) {
            let segment = self.segments.pop_front().expect("there is a front");
            base::mark::hit!("seglog.gc.segment_gone");
            self.commit.free_slots.push(segment.slot);
        }
        if self.gc.phase == Phase::Retiring && upto == self.gc.oldest {
            self.gc.phase = Phase::Idle;
            self.gc.is_due = true;
        }
    }

    /// The oldest segment that holds an entry, or is not sealed and persisted.
    fn first_needed(&self) -> u64 {
        let open = self.segments.iter().find(|segment| segment.stage != Stage::Sealed);
        let open = open.map_or(self.active_seq, |segment| segment.seq.min(self.active_seq));
        let pins = self.groups.iter().flatten().filter_map(|log| log.oldest_segment());
        mutate!(MUT_7C, pins.min(), pins.max()).map_or(open, |pin| pin.min(open))
    }

    fn copy_state_forward(&mut self, upto: u64) {
        let is_old = |seq: u64| seq != 0 && seq < upto;
        for at in 0..self.groups.len() {
            let Some(log) = &self.groups[at] else { continue };
            let (group, state, checkpoint, health) = (log.group, log.at, log.checkpoint, log.stored_health);
            if is_old(state.hard_state) {
                base::mark::hit!("seglog.gc.copies_state");
                self.write_hard_state(group);
            }
            if is_old(state.prefix) {
                base::mark::hit!("seglog.gc.copies_prefix");
                self.write_prefix(group, 0);
            }
            if let Some((index, term)) = checkpoint
                && is_old(state.checkpoint)
            {
                base::mark::hit!("seglog.gc.copies_checkpoint");
                self.checkpoint(group, index, term);
            }
            if is_old(state.health) {
                base::mark::hit!("seglog.gc.copies_health");
                self.set_health(group, health);
            }
        }
    }
}
