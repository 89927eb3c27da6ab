//! Claim: a recovered log is one that a crash may leave: contiguous, terms rising, no gap behind what was applied, and
//! with all that was on disk before, unless a later leader had replaced it or the node says itself that it lost it; and no
//! checkpoint is ahead of it.

use base::{GroupId, LogIndex, NodeId, Term};

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "log_shape";

/// The last entry that a node knew to be on its disk.
#[derive(Clone, Copy, Default)]
struct OnDisk {
    index: LogIndex,
    term: Term,
    crc: u32,
}

/// See the claim above.
#[derive(Default)]
pub struct LogShape {
    nodes: Slots<(GroupId, NodeId), OnDisk>,
}

impl LogShape {
    fn note_turn(&mut self, view: &GroupView<'_>) {
        let index = view.persisted;
        let on_disk =
            OnDisk { index, term: view.log.term(index).unwrap_or_default(), crc: view.log.crc(index).unwrap_or(0) };
        *self.nodes.of((view.group, view.node)) = on_disk;
    }

    fn check_boot(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let (group, node) = (view.group, view.node);
        if view.is_quarantined {
            self.note_turn(view);
            return Ok(());
        }
        let (first, last) = (view.log.first_index(), view.log.last_index());
        ensure!(NAME, first <= last.next(), "group {group} node {node}: a log from {first} to {last}");
        let mut term = view.log.term(first.prev()).unwrap_or_default();
        for index in (first.0..=last.0).map(LogIndex) {
            let Some(next) = view.log.term(index) else {
                ensure!(
                    NAME,
                    false,
                    "group {group} node {node}: entry {index} is missing in a log from {first} to {last}"
                );
                return Ok(());
            };
            ensure!(NAME, term <= next, "group {group} node {node}: entry {index} of term {next} behind one of {term}");
            term = next;
        }
        ensure!(
            NAME,
            first.prev() <= view.commit && view.applied <= last,
            "group {group} node {node}: applied {} commit {} beside a log from {first} to {last}",
            view.applied,
            view.commit
        );
        let before = *self.nodes.of((group, node));
        // Entries that the node wrote in its last, unseen turn may be there too, and may have replaced others.
        let crc = view.log.crc(before.index).unwrap_or(0);
        let is_held = before.index < first
            || view.log.term(before.index) == Some(before.term) && (crc == before.crc || crc == 0 || before.crc == 0);
        ensure!(
            NAME,
            is_held || term > before.term,
            "group {group} node {node}: entry {} of term {} was on disk, and the log comes back as {first} to {last} of \
             term {term}",
            before.index,
            before.term
        );
        self.note_turn(view);
        Ok(())
    }
}

impl Checker for LogShape {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => self.note_turn(view),
            Event::Boot { groups, .. } => groups.iter().try_for_each(|view| self.check_boot(view))?,
            Event::Checkpoint { node, group, applied } => {
                let persisted = self.nodes.of((group, node)).index;
                ensure!(
                    NAME,
                    applied <= persisted,
                    "group {group} node {node}: a checkpoint holds entry {applied}, the log is on disk up to {persisted}"
                );
            }
            Event::DiskLost { node } => {
                self.nodes
                    .iter_mut()
                    .filter(|((_, of), _)| *of == node)
                    .for_each(|(_, kept)| *kept = OnDisk::default());
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, Twin, boot, fires, ms, turn};

    #[test]
    fn unsynced_and_unseen_entries_may_go_and_come() {
        let mut checker = LogShape::default();
        turn(&mut checker, &Seat { persisted: 2, ..Seat::with(1, &[1, 1, 1], 1) }).unwrap();
        boot(&mut checker, &Seat::with(1, &[1, 1], 1)).unwrap();
        turn(&mut checker, &Seat { persisted: 2, ..Seat::with(1, &[1, 1, 1], 1) }).unwrap();
        boot(&mut checker, &Seat::with(1, &[1, 1, 1, 1], 1)).unwrap();
        boot(&mut checker, &Seat::with(1, &[1, 2], 1)).unwrap();
        let mut compacted = Seat::with(1, &[1, 2, 2, 2], 3);
        compacted.log.compact(3);
        boot(&mut checker, &compacted).unwrap();
    }

    #[test]
    fn persisted_entries_that_are_gone_or_others_are_seen() {
        let mut checker = LogShape::default();
        turn(&mut checker, &Seat::with(1, &[1, 2, 2], 1)).unwrap();
        fires(NAME, boot(&mut checker, &Seat::with(1, &[1, 2], 1)));
        fires(NAME, boot(&mut checker, &Seat::with(1, &[1, 1, 1, 1], 1)));
        let mut other = Seat::with(1, &[1, 2, 2], 1);
        other.log.rot(3);
        fires(NAME, boot(&mut checker, &other));
        let mut terms_fall = Seat::with(1, &[1], 1);
        terms_fall.log = Twin::of(&[3, 1, 4]);
        fires(NAME, boot(&mut checker, &terms_fall));
    }

    #[test]
    fn a_checkpoint_ahead_of_the_log_on_disk_is_seen() {
        let mut checker = LogShape::default();
        turn(&mut checker, &Seat { persisted: 2, ..Seat::with(1, &[1, 1, 1], 3) }).unwrap();
        let mut checkpoint = |applied| {
            let (node, applied) = (NodeId(1), LogIndex(applied));
            checker.observe(ms(0), &Event::Checkpoint { node, group: GROUP, applied })
        };
        checkpoint(2).unwrap();
        fires(NAME, checkpoint(3));
    }

    #[test]
    fn a_gap_behind_the_state_is_seen() {
        let mut gap = Seat { applied: 1, ..Seat::with(1, &[1, 1, 1, 1], 1) };
        gap.log.compact(3);
        fires(NAME, boot(&mut LogShape::default(), &gap));
        let behind = Seat { applied: 3, commit: 3, ..Seat::with(1, &[1, 1], 1) };
        fires(NAME, boot(&mut LogShape::default(), &behind));
    }
}
