//! Claim: what a node held committed and on disk it holds for ever, unchanged, whatever happens to it, or it knows that it
//! lost it; and at the end every committed entry is held by someone.

use base::{GroupId, LogIndex, NodeId, Term};

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "repair";

/// The newest entry that a node held committed and persisted, and where its log ended when last seen.
#[derive(Clone, Copy, Default)]
struct Held {
    index: LogIndex,
    term: Term,
    crc: u32,
    last_index: LogIndex,
}

/// See the claim above.
#[derive(Default)]
pub struct Repair {
    nodes: Slots<(GroupId, NodeId), Held>,
    committed: Slots<GroupId, LogIndex>,
}

impl Repair {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let held = self.nodes.of((view.group, view.node));
        if view.is_quarantined {
            *held = Held::default();
            return Ok(());
        }
        let (first, last) = (view.log.first_index(), view.log.last_index());
        if held.index >= first {
            let (term, crc) = (view.log.term(held.index), view.log.crc(held.index).unwrap_or(0));
            ensure!(
                NAME,
                term == Some(held.term) && (crc == held.crc || crc == 0 || held.crc == 0),
                "group {} node {}: committed entry {} of term {} crc {:08x} was on its disk and is {term:?} {crc:08x} \
                 in a log from {first} to {last}",
                view.group,
                view.node,
                held.index,
                held.term,
                held.crc
            );
        }
        let index = view.commit.min(view.persisted);
        if index > held.index {
            held.index = index;
            held.term = view.log.term(index).unwrap_or_default();
            held.crc = view.log.crc(index).unwrap_or(0);
        }
        held.last_index = last;
        let committed = self.committed.of(view.group);
        *committed = view.commit.max(*committed);
        Ok(())
    }

    fn check_end(&self) -> Result<(), Violation> {
        for (group, committed) in self.committed.iter() {
            let held = self.nodes.iter().filter(|((of, _), _)| *of == group).map(|(_, held)| held.last_index).max();
            ensure!(NAME, held >= Some(*committed), "group {group}: committed up to {committed}, held up to {held:?}");
        }
        Ok(())
    }
}

impl Checker for Repair {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::TURNS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => self.note_view(view),
            Event::Boot { groups, .. } => groups.iter().try_for_each(|view| self.note_view(view)),
            Event::DiskLost { node } => {
                self.nodes.iter_mut().filter(|((_, of), _)| *of == node).for_each(|(_, held)| *held = Held::default());
                Ok(())
            }
            // What is lost everywhere nobody holds; that it had to be, `unrecoverable` asks for.
            Event::Stuck { group, .. } => {
                *self.committed.of(group) = LogIndex(0);
                Ok(())
            }
            Event::End => self.check_end(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, boot, fires, ms, turn};

    #[test]
    fn an_uncommitted_or_unsynced_tail_may_change() {
        let mut checker = Repair::default();
        turn(&mut checker, &Seat { persisted: 2, ..Seat::with(1, &[1, 1, 1], 3) }).unwrap();
        boot(&mut checker, &Seat::with(1, &[1, 1], 1)).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1, 2], 3)).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1, 3], 3)).unwrap();
        checker.observe(ms(0), &Event::End).unwrap();
    }

    #[test]
    fn a_committed_entry_that_is_gone_or_another_is_seen() {
        let mut checker = Repair::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 2)).unwrap();
        fires(NAME, boot(&mut checker, &Seat::with(1, &[1], 1)));
        fires(NAME, boot(&mut checker, &Seat::with(1, &[1, 2, 2], 1)));
        let mut rotten = Seat::with(1, &[1, 1, 1], 2);
        rotten.log.rot(2);
        fires(NAME, boot(&mut checker, &rotten));
        boot(&mut checker, &Seat { is_quarantined: true, ..Seat::with(1, &[], 0) }).unwrap();
    }

    #[test]
    fn what_was_committed_and_is_nowhere_is_seen_at_the_end() {
        let mut checker = Repair::default();
        turn(&mut checker, &Seat { persisted: 1, ..Seat::with(1, &[1, 1], 2) }).unwrap();
        turn(&mut checker, &Seat::with(2, &[1], 1)).unwrap();
        boot(&mut checker, &Seat::with(1, &[1], 1)).unwrap();
        fires(NAME, checker.observe(ms(0), &Event::End));
    }
}
