//! Claim: a group that is not live although all nodes were healed cannot be: no quorum has its hard state, or an entry is
//! intact nowhere.

use base::{GroupId, LogIndex, NodeId};

use crate::checker::ensure;
use crate::checker::quorum::is_quorum;
use crate::observe::{Checker, Event, GroupView, Time, Violation};

const NAME: &str = "unrecoverable";

/// See the claim above. It is told of a group only where so much may be lost that one cannot be saved.
#[derive(Default)]
pub struct Unrecoverable;

/// Why no node can lead: none of those that know what they promised has a quorum of such nodes in its configuration.
fn has_no_quorum(views: &[GroupView<'_>]) -> bool {
    let keeps = |id: NodeId| views.iter().any(|view| view.node == id && !view.is_quarantined);
    let may_lead = |view: &&GroupView<'_>| !view.is_quarantined && is_quorum(view.config, keeps);
    !views.iter().any(|view| may_lead(&view))
}

/// The entries that some node holds without their bytes, and no node with them: first and last.
fn lost_entries(views: &[GroupView<'_>]) -> Option<(LogIndex, LogIndex)> {
    let mut lost: Option<(LogIndex, LogIndex)> = None;
    for view in views.iter().filter(|view| !view.is_quarantined) {
        for index in (view.log.first_index().0..=view.log.last_index().0).map(LogIndex) {
            let term = view.log.term(index);
            let is_intact = |other: &GroupView<'_>| {
                let holds = other.log.first_index() <= index && index <= other.log.last_index();
                other.applied >= index || (holds && other.log.term(index) == term && !other.log.is_faulty(index))
            };
            if view.log.is_faulty(index) && !views.iter().any(is_intact) {
                let (first, last) = lost.unwrap_or((index, index));
                lost = Some((first.min(index), last.max(index)));
            }
        }
    }
    lost
}

fn check(group: GroupId, views: &[GroupView<'_>]) -> Result<(), Violation> {
    let is_proven = has_no_quorum(views) || lost_entries(views).is_some();
    ensure!(
        NAME,
        is_proven,
        "group {group} is not live, a quorum has its hard state, and each entry is intact somewhere"
    );
    Ok(())
}

impl Checker for Unrecoverable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Stuck { group, views } => check(group, views),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, fires, ms};

    fn stuck(seats: &[Seat]) -> Seen {
        let views: Vec<_> = seats.iter().map(Seat::view).collect();
        Unrecoverable.observe(ms(0), &Event::Stuck { group: GROUP, views: &views })
    }

    fn seats() -> [Seat; 3] {
        [1, 2, 3].map(|node| Seat::with(node, &[1, 1], 1))
    }

    #[test]
    fn a_group_that_could_live_must() {
        fires(NAME, stuck(&seats()));
        // One of three is gone, or one copy of an entry is.
        fires(NAME, stuck(&seats()[..2]));
        let mut one_bad = seats();
        one_bad[0].log.spoil(2);
        fires(NAME, stuck(&one_bad));
    }

    #[test]
    fn a_lost_quorum_or_a_lost_entry_is_a_proof() {
        stuck(&seats()[..1]).unwrap();
        let mut forgotten = seats();
        (forgotten[0].is_quarantined, forgotten[1].is_quarantined) = (true, true);
        stuck(&forgotten).unwrap();
        let mut all_bad = seats();
        all_bad.iter_mut().for_each(|seat| seat.log.spoil(2));
        stuck(&all_bad).unwrap();
        // Who has applied it has it.
        all_bad[1].applied = 2;
        fires(NAME, stuck(&all_bad));
    }
}
