//! What is committed, and who may know it (Raft 5.3, 5.4.2).

use base::{LogIndex, Term};
use raft::{Config, Role};

use super::elect::is_quorum;
use super::group::{Group, Turn, at};
use super::log::Entry;
use super::{Step, guard};

impl Group {
    /// A leader counts what a quorum acked in its own term; a follower takes its leader's word.
    pub(super) fn check_commit(&mut self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let (old, new) = (before.commit, view.commit);
        guard!(AdvanceCommit, new >= old, "commit {new} after {old}");
        guard!(AdvanceCommit, new <= view.log.last_index(), "commit {new} of a log that ends before");
        if new == old {
            return Ok(());
        }
        let led = before.role == Some(Role::Leader);
        let leads = view.role == Role::Leader;
        let term = if leads { view.term } else { before.term };
        let is_counted = (leads || led)
            && before.log.get(new).is_some_and(|entry| entry.term == term)
            && (self.is_acked(turn, &before.config, term) || self.is_acked(turn, view.config, term));
        if is_counted {
            return self.commit(turn, old);
        }
        guard!(
            AdvanceCommit,
            !(leads && before.was(Role::Leader, view.term)),
            "leader of term {term} counts entry {new} {:?}, which only {:?} acked",
            before.log.get(new),
            self.nodes
                .iter()
                .enumerate()
                .filter(|(place, _)| self.terms.get(term, *place).acked >= new)
                .map(|of| of.1.id)
                .collect::<Vec<_>>()
        );
        let told = self.terms.most(before.term, view.term, turn.place, |fact| fact.advertised);
        if told >= new {
            return self.check_committed(turn);
        }
        // A leader's state: all of it is applied, and the log is restarted behind it before another one comes.
        let is_paid = before.state.0 < view.log.first_index();
        guard!(
            AdvanceCommit,
            view.applied == new && is_paid,
            "commit {new} after {old}, and leaders told it of {told}"
        );
        let known = self.committed_at(new);
        guard!(InstallSnapshot, known.is_some(), "a state of entry {new}, which is not committed");
        self.nodes[turn.place].state = (new, known.unwrap_or_default().term);
        Ok(())
    }

    /// Does a quorum hold everything up to the view's commit, persisted?
    fn is_acked(&self, turn: &Turn<'_, '_>, config: &Config, term: Term) -> bool {
        let (view, index) = (turn.view, turn.view.commit);
        // What it has on disk a node counts only up to its first faulty entry, which it may have found in this very turn.
        let own = view.persisted.max(self.nodes[turn.place].persisted);
        is_quorum(config, |id| {
            let acked = self.place_of(id).map_or(LogIndex(0), |place| self.terms.get(term, place).acked);
            if id == view.node { own >= index } else { acked >= index }
        })
    }

    /// What a follower believes to be committed is.
    fn check_committed(&self, turn: &Turn<'_, '_>) -> Step {
        let index = turn.view.commit;
        let (held, known) = (self.nodes[turn.place].log.get(index).unwrap_or_default(), self.committed_at(index));
        guard!(
            AdvanceCommit,
            known.is_some_and(|known| known.is_same(held)),
            "{held:?} at {index} is not committed, but {known:?} is"
        );
        Ok(())
    }

    /// A leader's count made these entries part of the committed sequence.
    fn commit(&mut self, turn: &Turn<'_, '_>, old: LogIndex) -> Step {
        let Group { nodes, committed, .. } = self;
        let (node, new) = (&nodes[turn.place], turn.view.commit);
        if committed.len() <= at(new) {
            committed.resize(at(new) + 1, Entry::default());
        }
        for index in (old.0 + 1..=new.0).map(LogIndex) {
            let Some(held) = node.log.get(index) else { continue };
            let known = &mut committed[at(index)];
            guard!(
                AdvanceCommit,
                known.term == Term(0) || known.is_same(held),
                "{held:?} at {index}, and committed is {known:?}"
            );
            *known = held;
        }
        Ok(())
    }

    pub(super) fn committed_at(&self, index: LogIndex) -> Option<Entry> {
        self.committed.get(at(index)).copied().filter(|entry| entry.term > Term(0))
    }

    pub(super) fn check_applied(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        guard!(Apply, view.applied <= view.commit, "applied {} of commit {}", view.applied, view.commit);
        if view.applied < before.applied && view.applied == LogIndex(0) {
            return self.check_drop(turn);
        }
        guard!(Apply, view.applied >= before.applied, "applied {} after {}", view.applied, before.applied);
        Ok(())
    }

    /// What was applied is gone: only who is out of the group, for good, needs it no more. Its log, term and vote are as
    /// they were, which the other actions see to. A turn may drop and then append what takes the node in again, so the
    /// configuration before the turn counts as well as the one after it.
    fn check_drop(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let told = before.told_out;
        let is_out = |config: &Config, index: LogIndex| {
            let is_member = config.is_member(view.node);
            // Told of a configuration that is committed, and of none since that takes it in again. One of the same index is
            // another one, of a leader that lost.
            let is_told = told > LogIndex(0) && !(is_member && index > told);
            is_told || !is_member && index <= view.commit
        };
        guard!(
            DropState,
            is_out(view.config, view.config_index) || is_out(&before.config, before.config_index),
            "configuration {} in force, {:?}, with commit {}, and leaders told it of {told}",
            view.config_index,
            view.config,
            view.commit
        );
        Ok(())
    }
}
