//! Claim: a group has at most one leader per term.

use base::{GroupId, NodeId, Term};
use raft::Role;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation};

const NAME: &str = "election";

/// See the claim above.
#[derive(Default)]
pub struct Election {
    /// The term that each node was last seen leading in.
    seen: Slots<(GroupId, NodeId), Term>,
    /// Who led in which term.
    leaders: Slots<(GroupId, Term), NodeId>,
}

impl Election {
    fn note_leader(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let seen = self.seen.of((view.group, view.node));
        if *seen == view.term {
            return Ok(());
        }
        *seen = view.term;
        let leader = self.leaders.of((view.group, view.term));
        ensure!(
            NAME,
            *leader == NodeId(0) || *leader == view.node,
            "group {}: nodes {leader} and {} both led in term {}",
            view.group,
            view.node,
            view.term
        );
        *leader = view.node;
        Ok(())
    }
}

impl Checker for Election {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Turn(view) if view.role == Role::Leader => self.note_leader(view),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, fires, turn};

    #[test]
    fn leaders_of_different_terms_are_legal_and_two_of_one_are_not() {
        let mut checker = Election::default();
        turn(&mut checker, &Seat::with(1, &[1], 0).leading()).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 2], 0).leading()).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1], 0).leading()).unwrap();
        turn(&mut checker, &Seat::with(3, &[1], 0)).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(3, &[2], 0).leading()));
    }
}
