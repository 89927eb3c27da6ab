//! The worth of a group's log: `raft` decides, the log remembers (docs/design/raft.md, "Storage faults").

use base::Mono;
use meta::Store;
use raft::{Body, Input};
use seglog::{Disk, Health};

use crate::{PeerOut, Shard};

impl<D: Disk, S: Store> Shard<D, S> {
    /// Makes the health that a group found itself in outlive this process.
    pub(crate) fn note_health(&mut self, at: u32, health: raft::Health) {
        let group = self.groups[at as usize].id;
        let kept = self.log.health(group);
        let (next, is_kept) = match health {
            // Which entries are faulty the log knows by itself.
            raft::Health::Clean | raft::Health::Faulty => {
                (Health::Clean, matches!(kept, Health::Clean | Health::Faulty))
            }
            raft::Health::RecoveringHead => (Health::RecoveringHead, kept == Health::RecoveringHead),
            raft::Health::Quarantined => (Health::Quarantined, kept == Health::Quarantined),
        };
        if !is_kept {
            base::mark::hit!("shard.health.kept_on_disk");
            let epoch = self.log.set_health(group, next);
            self.note_written(at, epoch);
        }
    }

    /// Tells the groups whose entries were found damaged since they looked last, or were forgotten by the log.
    pub(crate) fn watch_faults(&mut self, now: Mono) {
        let mut changed = std::mem::take(&mut self.fault_changes);
        self.log.take_fault_changes(&mut changed);
        for group in changed.drain(..) {
            // A group that this core does not serve has nobody to tell.
            let Some(at) = self.local(group) else { continue };
            let first_above = |index| self.log.first_faulty_above(group, index);
            if !self.groups[at as usize].raft.knows_faults(first_above) {
                self.step(at, Input::FaultFound { now });
                base::mark::hit!("shard.health.fault_told");
                self.take_back_acks(at);
            }
        }
        self.fault_changes = changed;
    }

    /// Acks of this turn that have not left must not cover what is faulty now. Losing an answer is always safe.
    fn take_back_acks(&mut self, at: u32) {
        let slot = &self.groups[at as usize];
        let (faulty, persisted) = (slot.id, slot.raft.persisted_index());
        self.peer_out.retain(|out| match out {
            PeerOut::Raft { group, body: Body::AppendResp { index, rejected: false, busy: false, .. }, .. } => {
                *group != faulty || *index <= persisted
            }
            _ => true,
        });
    }
}

/// What recovery says of a group, in the words of consensus.
pub(crate) fn of_log(health: Health) -> raft::Health {
    match health {
        Health::Clean => raft::Health::Clean,
        Health::Faulty => raft::Health::Faulty,
        Health::RecoveringHead => raft::Health::RecoveringHead,
        Health::Quarantined => raft::Health::Quarantined,
    }
}
