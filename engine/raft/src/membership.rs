//! Changes of the members by joint consensus (thesis 4.3), and the transfer of leadership (thesis 3.10).

use base::{LogIndex, Mono, NodeId, mutate};

use crate::lead::Transfer;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::{Body, ConfigChange, Log, Outcome};

/// Entries that who takes over may lag: it has them within a round trip or two, and proposals wait so long.
pub const HANDOVER_LAG_MAX: u64 = 256;

impl Raft {
    pub(crate) fn handle_change_config(&mut self, log: &mut impl Log, change: &ConfigChange) -> Outcome {
        if !self.is_leader() {
            base::mark::hit!("raft.membership.not_leader");
            return Outcome::NotLeader { hint: self.leader() };
        }
        // One at a time, and not before this term has a committed entry: else two changes of two leaders could each
        // gather a quorum that does not meet the other's.
        if self.is_config_busy() {
            base::mark::hit!("raft.membership.busy");
            base::mark::hit!("raft.membership.own_term_not_committed", !self.is_own_term_committed());
            return Outcome::ConfigBusy;
        }
        base::mark::hit!("raft.membership.refused", self.config().change(change).is_err());
        base::mark::hit!("raft.membership.joint_entered", self.config().change(change).is_ok());
        match self.config().change(change) {
            Ok(joint) => Outcome::Proposed { index: self.append_config(log, joint), term: self.term() },
            Err(_) => Outcome::ConfigRefused,
        }
    }

    /// A change is open, or none may start yet.
    pub(crate) fn is_config_busy(&self) -> bool {
        let is_open = self.configs.index() > self.commit_index || self.config().is_joint();
        let is_known = mutate!(MUT_19B, self.is_own_term_committed(), true);
        mutate!(MUT_19A, is_open, false) || !is_known || self.lead.transfer.is_some()
    }

    /// The commit index rose: a joint configuration is left once it is committed, whoever made it; a leader that the
    /// next one does not list steps down once that is committed.
    pub(crate) fn handle_config_committed(&mut self, log: &mut impl Log) {
        let is_open = mutate!(MUT_19C, self.configs.index() > self.commit_index, false);
        if is_open || !self.is_own_term_committed() {
            return;
        }
        if self.config().is_joint() {
            if self.config().auto_leave() {
                base::mark::hit!("raft.membership.joint_left");
                let next = self.config().leave();
                self.append_config(log, next);
            }
            return;
        }
        self.tell_leaving();
        if !self.config().is_voter(self.id) {
            base::mark::hit!("raft.membership.leader_voted_out");
            self.hand_over();
            self.become_follower(self.term(), NodeId(0));
        }
    }

    /// The configuration in force is committed: who is in it no more hears that, and disturbs nobody (thesis 4.2.3).
    fn tell_leaving(&mut self) {
        let body = Body::Removed { term: self.term(), config_index: self.configs.index() };
        while let Some(id) = self.lead.leaving.pop() {
            if !self.config().is_member(id) {
                base::mark::hit!("raft.membership.told_removed");
                self.push_now(id, body);
            }
        }
    }

    /// Who should lead instead of this node: of the voters that answer and are in Replicate, and that `is_fit`, the one
    /// whose log reaches furthest. `None` on a node that does not lead.
    #[must_use]
    pub fn best_successor(&self, is_fit: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let fit = self.lead.peers.iter().filter(|peer| {
            self.config().incoming().contains(&peer.id)
                && peer.progress == Progress::Replicate
                && (peer.is_resting || self.now.since(peer.last_answer) < self.settings.election_min)
                && is_fit(peer.id)
        });
        fit.max_by_key(|peer| peer.match_index).map(|peer| peer.id)
    }

    /// Is the office on its way to another node?
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        self.lead.transfer.is_some()
    }

    /// Would a transfer to `target` end soon: it votes, answers, and lags by little, and nothing else is under way? Proposals
    /// wait while the target catches up. False on a node that does not lead.
    #[must_use]
    pub fn may_hand_over(&self, target: NodeId) -> bool {
        let config = self.config();
        let is_quiet = !self.is_transferring() && !config.is_joint() && self.is_own_term_committed();
        is_quiet
            && config.incoming().contains(&target)
            && self.lag_of(target).is_some_and(|lag| lag <= HANDOVER_LAG_MAX)
    }

    /// How many entries a follower lags behind; `None` if this node does not lead, or the follower does not answer, or needs
    /// more than entries.
    #[must_use]
    pub fn lag_of(&self, follower: NodeId) -> Option<u64> {
        let peer = self.lead.peer(follower)?;
        let answers = peer.is_resting || self.now.since(peer.last_answer) < self.settings.election_min;
        let is_fed = self.is_leader() && answers && peer.progress == Progress::Replicate;
        is_fed.then(|| self.lead.last_index.0.saturating_sub(peer.match_index.0))
    }

    /// Gives the office away at once and for good: the best voter that answers is asked to campaign, and this node follows.
    /// For a node that is about to stop, whose disk may be dead: nothing is waited for and nothing is written. False on
    /// a node that does not lead, or when nobody could.
    pub fn hand_over_now(&mut self, now: Mono, is_fit: impl Fn(NodeId) -> bool) -> bool {
        self.now = self.now.max(now);
        let Some(target) = self.best_successor(&is_fit).or_else(|| self.best_successor(|_| true)) else { return false };
        base::mark::hit!("raft.transfer.handed_over_at_once");
        self.ask_to_take_over(target);
        self.become_follower(self.term(), NodeId(0));
        true
    }

    /// The best follower need not wait for its deadline.
    fn hand_over(&mut self) {
        let voters = self.lead.peers.iter().filter(|peer| self.config().is_voter(peer.id));
        if let Some(target) = voters.max_by_key(|peer| peer.match_index).map(|peer| peer.id) {
            base::mark::hit!("raft.membership.leaver_hands_over");
            self.ask_to_take_over(target);
        }
    }

    pub(crate) fn handle_transfer(&mut self, log: &impl Log, target: NodeId) -> Outcome {
        if !self.is_leader() {
            base::mark::hit!("raft.transfer.not_leader");
            return Outcome::NotLeader { hint: self.leader() };
        }
        if self.lead.transfer.is_some() {
            base::mark::hit!("raft.transfer.one_runs");
            return Outcome::Transferring;
        }
        if target == self.id || !self.config().incoming().contains(&target) {
            base::mark::hit!("raft.transfer.no_such_target");
            return Outcome::ConfigRefused;
        }
        let is_fit = self.lead.peer(target).is_some_and(|peer| {
            peer.progress == Progress::Replicate && self.now.since(peer.last_answer) < self.settings.check_quorum
        });
        if !is_fit {
            base::mark::hit!("raft.transfer.target_unfit");
            return Outcome::Overloaded;
        }
        self.note_used();
        let deadline = self.now + self.settings.transfer_abort;
        self.lead.transfer = Some(Transfer { target, deadline, is_asked: false });
        self.continue_transfer(log);
        Outcome::Done
    }

    /// Once the target holds everything, it is asked to campaign; the transfer stays open until it wins or time is up.
    pub(crate) fn continue_transfer(&mut self, log: &impl Log) {
        let Some(Transfer { target, is_asked: false, .. }) = self.lead.transfer else { return };
        let holds_all = |index: LogIndex| index == log.last_index();
        if self.lead.peer(target).is_some_and(|peer| holds_all(peer.match_index)) {
            if let Some(transfer) = &mut self.lead.transfer {
                base::mark::hit!("raft.transfer.asked");
                transfer.is_asked = true;
            }
            self.ask_to_take_over(target);
        }
    }

    fn ask_to_take_over(&mut self, target: NodeId) {
        let position = self.lead.reads.position();
        // First of all: the target's voters will not keep what they promised.
        self.lead.lease.suspend(target, position);
        let body = Body::TimeoutNow { term: self.term(), read_position: position };
        // Later reads must not join a position that this message speaks of.
        self.lead.reads.seal();
        self.push_now(target, body);
    }
}
