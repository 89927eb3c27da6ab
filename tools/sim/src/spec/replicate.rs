//! Entries: who makes them, who takes them, and which may go (Raft 5.3).

use base::{LogIndex, NodeId, Term};
use raft::Role;

use super::elect::is_quorum;
use super::group::{Group, Turn};
use super::log::{Change, Entry};
use super::{Step, guard};

impl Group {
    /// The log becomes what the view shows, if each entry that came or went is explained.
    pub(super) fn take_log(&mut self, turn: &Turn<'_, '_>) -> Step {
        let change = self.nodes[turn.place].log.look(turn.view.log);
        if turn.is_installed {
            self.check_installed(turn)?;
        }
        self.check_gone(turn, &change)?;
        let last = turn.view.log.last_index();
        if change.first_new > last {
            return Ok(());
        }
        let mut is_own = true;
        for index in (change.first_new.0..=last.0).map(LogIndex) {
            let entry = self.nodes[turn.place].log.get(index).unwrap_or_default();
            is_own = match self.made_as(index, entry.term) {
                Some(made) => {
                    guard!(AcceptAppend, made.is_same(entry), "{entry:?} at {index}, and its leader made {made:?}");
                    false
                }
                None => {
                    self.check_maker(turn, index, entry)?;
                    self.make(index, entry);
                    true
                }
            };
        }
        if is_own { Ok(()) } else { self.check_offered(turn, last) }
    }

    /// Only who leads a term makes entries of it: in this turn, perhaps in a term that has ended in it.
    fn check_maker(&self, turn: &Turn<'_, '_>, index: LogIndex, entry: Entry) -> Step {
        let (view, before, term) = (turn.view, &self.nodes[turn.place], entry.term);
        let leads = view.role == Role::Leader && view.term == term || before.was(Role::Leader, term);
        let has_led = before.was(Role::Candidate, term) && self.is_elected(turn, term);
        guard!(Append, leads || has_led, "entry {index} of term {term} is nobody's, and this node does not lead there");
        Ok(())
    }

    /// Taken entries were sent to this node by a leader of a term it went through, or by who had them, after a loss.
    fn check_offered(&self, turn: &Turn<'_, '_>, last: LogIndex) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let offered = self.terms.most(before.term, view.term, turn.place, |fact| fact.offered);
        guard!(
            AcceptAppend,
            offered >= last || before.fetched >= last || turn.is_installed,
            "entries up to {last}, and leaders of the terms {} to {} sent them up to {offered}",
            before.term,
            view.term
        );
        // In one term all is the leader's.
        let leader = self.terms.leader(view.term);
        if before.term == view.term && offered >= last && before.fetched < last && leader != view.node {
            let of_leader = self.leading(leader, view.term).and_then(|place| self.nodes[place].log.get(last));
            let own = before.log.get(last).unwrap_or_default();
            guard!(
                AcceptAppend,
                of_leader.is_none_or(|theirs| theirs.is_same(own)),
                "{own:?} at {last}, and leader {leader} of term {} has {of_leader:?}",
                view.term
            );
        }
        Ok(())
    }

    /// Entries go for a conflict with what a leader sent, never what is committed, never a leader's own.
    fn check_gone(&self, turn: &Turn<'_, '_>, change: &Change) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let Some((index, old)) = change.gone else { return Ok(()) };
        if view.is_stopped || turn.is_installed {
            return Ok(());
        }
        guard!(Truncate, index > before.commit, "entry {index} is gone, and {} was committed", before.commit);
        let leads = before.was(Role::Leader, view.term) && view.role == Role::Leader;
        guard!(Truncate, !leads, "leader of term {} lost its entry {index}", view.term);
        if index > view.log.last_index() {
            // Without a successor: so many never had it that it is committed nowhere.
            let nodes = before.absent.iter().find(|(missing, _)| *missing == index).map_or(0, |(_, nodes)| *nodes);
            let is_absent = !is_quorum(&before.config, |id| !self.is_in(nodes, id));
            guard!(Truncate, is_absent, "entry {index} is gone and nothing took its place");
            return Ok(());
        }
        let new = before.log.get(index).unwrap_or_default();
        guard!(Truncate, new.term != old.term, "{old:?} at {index} became {new:?} without a conflict");
        Ok(())
    }

    /// The state behind which the log begins is of the committed sequence.
    fn check_installed(&self, turn: &Turn<'_, '_>) -> Step {
        let index = turn.view.log.first_index().prev();
        let held = self.nodes[turn.place].log.get(index).unwrap_or_default();
        let known = self.committed_at(index);
        guard!(
            InstallSnapshot,
            known.is_some_and(|known| known.is_same(held)),
            "the log begins behind {held:?} at {index}, and committed is {known:?}"
        );
        Ok(())
    }

    pub(super) fn check_persisted(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, last) = (turn.view, turn.view.log.last_index());
        guard!(Persist, view.persisted <= last, "persisted {} of a log that ends at {last}", view.persisted);
        Ok(())
    }

    /// The place of `id` if it leads in `term` now.
    pub(super) fn leading(&self, id: NodeId, term: Term) -> Option<usize> {
        self.place_of(id).filter(|place| self.nodes[*place].was(Role::Leader, term))
    }
}
