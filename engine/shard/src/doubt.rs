//! A group whose log lost its last frame to a crash while that frame was being written: it may have been acknowledged.
//!
//! Until the doubt ends the node neither votes nor campaigns in the group, and follows as ever (docs/design/raft.md,
//! "Storage faults"). It ends when
//! - a leader of this life of the node has committed an entry of its own term that is on this disk: all that was ever
//!   acknowledged is here again; or
//! - this node is the only voter: nobody else can hold more; or
//! - [`DOUBT_WAIT`] has passed: a cluster that lost power everywhere must come back, and what an elected leader holds is
//!   then the most that its voters hold.

use base::Mono;
use base::mono::Span;
use meta::Store;
use raft::Body;
use seglog::{Disk, Health};

use crate::Shard;

/// How long a doubt lasts at most.
const DOUBT_WAIT: Span = Span::from_ms(30_000);

impl<D: Disk, S: Store> Shard<D, S> {
    /// True for a message that asks a group in doubt for what it must not give.
    pub(crate) fn is_barred(&self, at: u32, body: &Body) -> bool {
        let asks = matches!(body, Body::RequestVote { .. } | Body::PreVote { .. } | Body::TimeoutNow { .. });
        asks && self.groups[at as usize].doubt.is_some()
    }

    /// Ends the doubts that can end now.
    pub(crate) fn resolve_doubts(&mut self, now: Mono) {
        for at in 0..self.groups.len() {
            let slot = &self.groups[at];
            let Some(since) = slot.doubt else { continue };
            if self.log.health(slot.id) == Health::Quarantined {
                // What is lost here comes back nowhere: this node must be replaced.
                continue;
            }
            let commit = slot.raft.commit_index();
            let is_refilled = slot.raft.leader().is_some()
                && self.log.term(slot.id, commit) == Some(slot.raft.term())
                && slot.raft.persisted_index() >= commit;
            let is_alone = slot.raft.config().voters().eq([self.settings.node]);
            if is_refilled || is_alone || now.since(since) >= DOUBT_WAIT {
                let epoch = self.log.set_health(slot.id, Health::Clean);
                self.groups[at].doubt = None;
                self.note_written(at as u32, epoch);
            }
        }
    }

    /// When a doubt ends by itself.
    pub(crate) fn doubt_deadline(&self) -> Mono {
        let can_end = |id| self.log.health(id) != Health::Quarantined;
        let doubts = self.groups.iter().filter_map(|group| group.doubt.filter(|_| can_end(group.id)));
        let waits = doubts.map(|since| since + DOUBT_WAIT);
        waits.min().unwrap_or(Mono::MAX)
    }
}
