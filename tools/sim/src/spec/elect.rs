//! Terms, votes and leaders (Raft 5.2, 5.4.1; pre-votes and transfer: thesis 9.6, 3.10).

use base::{NodeId, Term};
use raft::{Config, Role};

use super::group::{Group, Node, Turn};
use super::terms::Nodes;
use super::{Step, guard};
use crate::observe::GroupView;

/// Is a majority of each half in?
pub(super) fn is_quorum(config: &Config, is_in: impl Fn(NodeId) -> bool) -> bool {
    let most = |half: &[NodeId]| 2 * half.iter().filter(|id| is_in(**id)).count() > half.len();
    most(config.incoming()) && (config.outgoing().is_empty() || most(config.outgoing()))
}

impl Group {
    /// A term comes from a message, or from an own candidacy in the one before.
    pub(super) fn check_term(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let (old, new) = (before.term, view.term);
        guard!(Learn, new >= old, "term {new} after {old}");
        if new == old {
            return Ok(());
        }
        if view.vote != view.node {
            let behind = view.log.term(view.log.first_index().prev()).filter(|_| turn.is_installed);
            let is_state = behind == Some(new) || before.state.1 == new;
            let is_told = self.terms.get(new, turn.place).is_told || before.doubt == new || is_state;
            guard!(Learn, is_told, "term {new} after {old}, and no message of it was sent to this node");
            return Ok(());
        }
        // A vote for oneself is a candidacy.
        let prior = Term(new.0 - 1);
        let is_prior = prior == old || self.terms.get(prior, turn.place).is_told;
        guard!(Timeout, is_prior, "candidate of term {new} after {old}, and nobody told it of {prior}");
        let is_urged = self.terms.get(prior, turn.place).is_urged;
        let poll = self.terms.get(new, turn.place).pre_vote;
        let granted = if poll.incarnation == view.incarnation { poll.granted } else { 0 };
        guard!(
            Timeout,
            is_urged || self.has_quorum(before, view, granted),
            "candidate of term {new} without a quorum of pre-votes ({granted:b}) and unasked"
        );
        Ok(())
    }

    /// One vote per term, given to who asked and whose log is not behind.
    pub(super) fn check_vote(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let known = self.terms.get(view.term, turn.place).vote;
        if view.is_quarantined && view.vote == NodeId(0) {
            // It may have lost the one it gave, and gives none any more.
            return Ok(());
        }
        guard!(
            Grant,
            known == NodeId(0) || known == view.vote,
            "vote for {} in term {} after one for {known}",
            view.vote,
            view.term
        );
        if view.vote == known || view.vote == view.node {
            guard!(
                Timeout,
                view.vote == known || view.term > before.term,
                "vote for itself in term {}, where it was before",
                view.term
            );
            return Ok(());
        }
        let ask = self.place_of(view.vote).map(|place| self.terms.get(view.term, place).votes);
        let Some(ask) = ask.filter(|ask| ask.asked >> turn.place & 1 == 1) else {
            guard!(Grant, false, "vote for {} in term {}, which did not ask for it", view.vote, view.term);
            return Ok(());
        };
        // Its log may have moved in this turn, before the vote or after it.
        let last = view.log.last_index();
        let own = before.log.end().min((view.log.term(last).unwrap_or_default(), last));
        guard!(
            Grant,
            ask.last >= own,
            "vote for {} whose log ends at {:?}, and the own one at {own:?}",
            view.vote,
            ask.last
        );
        Ok(())
    }

    /// A leader is a candidate with a quorum's votes, alone in its term; whom a node follows leads.
    pub(super) fn check_leader(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let known = self.terms.leader(view.term);
        if view.role != Role::Leader {
            let other = view.leader;
            guard!(
                Learn,
                other == NodeId(0) || other == view.node || other == known,
                "it follows {other} in term {}, and {known} was elected",
                view.term
            );
            guard!(
                BecomeLeader,
                known != view.node || !before.was(Role::Leader, view.term) || view.leader != view.node,
                "it calls itself leader as {:?}",
                view.role
            );
            return Ok(());
        }
        if before.was(Role::Leader, view.term) {
            return Ok(());
        }
        guard!(
            BecomeLeader,
            before.was(Role::Candidate, view.term),
            "it leads in term {} after being {:?} in {}",
            view.term,
            before.role,
            before.term
        );
        guard!(BecomeLeader, known == NodeId(0) || known == view.node, "term {} has {known} as leader", view.term);
        guard!(
            BecomeLeader,
            self.is_elected(turn, view.term),
            "votes of term {} came from {:?} alone",
            view.term,
            self.named(self.terms.get(view.term, turn.place).votes.granted)
        );
        Ok(())
    }

    /// Did a quorum vote for this life of the node in `term`?
    pub(super) fn is_elected(&self, turn: &Turn<'_, '_>, term: Term) -> bool {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let poll = self.terms.get(term, turn.place).votes;
        let granted = if poll.incarnation == view.incarnation { poll.granted } else { 0 };
        self.has_quorum(before, view, granted)
    }

    /// Are `granted` and the node itself a quorum, of the members before or after the turn?
    fn has_quorum(&self, before: &Node, view: &GroupView<'_>, granted: Nodes) -> bool {
        let is_in = |id: NodeId| id == view.node || self.is_in(granted, id);
        is_quorum(&before.config, is_in) || is_quorum(view.config, is_in)
    }

    pub(super) fn named(&self, set: Nodes) -> Vec<NodeId> {
        self.nodes.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1).map(|(_, node)| node.id).collect()
    }
}
