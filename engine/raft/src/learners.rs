//! Learners that have caught up become voters, by the leader's own decision (docs/design/raft.md, "Membership").

use base::limits::{LEARNER_LAG_BYTES_MAX, LEARNER_LAG_ENTRIES_MAX, VOTERS_MAX};
use base::mono::Span;
use base::{LogIndex, NodeId};

use crate::progress::Progress;
use crate::raft::Raft;
use crate::{ConfigChange, Log};

/// A learner must have been close for so long: one lucky moment is not enough to count on it.
const CLOSE_FOR: Span = Span::from_ms(500);

impl Raft {
    /// A follower answered: if it is a learner that has been close for long enough, it becomes a voter together with all
    /// others that are, in one joint change. While another change is open it waits.
    pub(crate) fn promote_learners(&mut self, log: &mut impl Log, from: NodeId) {
        if !self.settings.promote_learners || !self.is_leader() || !self.config().learners().contains(&from) {
            return;
        }
        let (now, is_close) = (self.now, self.is_close(log, from));
        let Some(peer) = self.lead.peer_mut(from) else { return };
        if !is_close {
            base::mark::hit!("raft.learners.not_close");
            peer.close_since = None;
            return;
        }
        let since = *peer.close_since.get_or_insert(now);
        if now.since(since) < CLOSE_FOR || self.is_config_busy() {
            base::mark::hit!("raft.learners.waits", now.since(since) < CLOSE_FOR);
            base::mark::hit!("raft.learners.waits_for_a_change", now.since(since) >= CLOSE_FOR);
            return;
        }
        let is_ready = |id: &NodeId| {
            let since = self.lead.peer(*id).and_then(|peer| peer.close_since);
            since.is_some_and(|since| now.since(since) >= CLOSE_FOR) && self.is_close(log, *id)
        };
        let add_voters = self.config().learners().iter().copied().filter(is_ready).collect();
        // Beyond the bound of voters it stays what it is.
        if let Ok(joint) = self.config().change(&ConfigChange { add_voters, ..ConfigChange::default() }) {
            base::mark::hit!("raft.learners.promoted");
            self.append_config(log, joint);
        }
    }

    /// A learner is about to become a voter: its answers must go on.
    pub(crate) fn may_promote(&self) -> bool {
        let config = self.config();
        self.settings.promote_learners && !config.learners().is_empty() && config.incoming().len() < VOTERS_MAX
    }

    /// In Replicate, answering, and behind by little.
    fn is_close(&self, log: &impl Log, id: NodeId) -> bool {
        let last = log.last_index();
        self.lead.peer(id).is_some_and(|peer| {
            let first = peer.match_index.next();
            peer.progress == Progress::Replicate
                && self.now.since(peer.last_answer) < self.settings.election_min
                && last.0 - peer.match_index.0.min(last.0) <= LEARNER_LAG_ENTRIES_MAX
                && (first > last || first >= log.first_index() && fits(log, first, last))
        })
    }
}

fn fits(log: &impl Log, first: LogIndex, last: LogIndex) -> bool {
    let (reached, bytes) = log.fit(first, last, LEARNER_LAG_BYTES_MAX);
    reached == last && bytes <= LEARNER_LAG_BYTES_MAX
}
