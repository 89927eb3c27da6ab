//! Members change by entries, through a joint configuration, one change at a time (thesis 4.3).

use base::LogIndex;
use raft::Role;

use super::group::{Group, Turn};
use super::{Step, guard};

impl Group {
    pub(super) fn check_config(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        if view.config_index == before.config_index && *view.config == before.config {
            return Ok(());
        }
        let (old, new) = (before.config_index, view.config_index);
        guard!(
            ChangeConfig,
            new <= view.log.last_index(),
            "configuration {new} in force, and the log ends at {}",
            view.log.last_index()
        );
        guard!(
            ChangeConfig,
            new > old || old > before.commit || turn.is_installed,
            "configuration {new} after {old}, which was committed"
        );
        if view.role == Role::Leader && before.was(Role::Leader, view.term) {
            self.check_change(turn, old, new)?;
        }
        Ok(())
    }

    /// A leader that led before has appended `new` behind `old`.
    fn check_change(&self, turn: &Turn<'_, '_>, old: LogIndex, new: LogIndex) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let (from, to) = (&before.config, view.config);
        guard!(ChangeConfig, new > old, "configuration {new} after {old}");
        guard!(ChangeConfig, old <= view.commit, "configuration {new} while {old} waits behind commit {}", view.commit);
        let is_own = before.log.get(view.commit).is_some_and(|entry| entry.term == view.term);
        guard!(ChangeConfig, is_own, "configuration {new} before an entry of term {} was committed", view.term);
        if from.is_joint() {
            // Left, and perhaps the next change was begun in the same turn.
            let left = if to.is_joint() { to.outgoing() } else { to.incoming() };
            guard!(LeaveJoint, left == from.incoming(), "{from:?} was left as {to:?}");
        } else if to.is_joint() {
            guard!(ChangeConfig, to.outgoing() == from.incoming(), "{from:?} became {to:?}");
        } else {
            // Both steps in one turn: only where this node alone decides.
            guard!(ChangeConfig, new.0 >= old.0 + 2 && old.next() < new, "{from:?} became {to:?} at once");
            guard!(ChangeConfig, from.voters().count() == 1, "{from:?} became {to:?} without a joint step");
        }
        Ok(())
    }
}
