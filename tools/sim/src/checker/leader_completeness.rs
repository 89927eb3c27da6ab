//! Claim: there is one committed sequence per group; each new leader holds all of it; nothing in it ever changes.

use base::{GroupId, LogIndex, NodeId, Term};
use raft::Role;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "leader_completeness";

/// A committed entry.
#[derive(Clone, Copy, Default)]
struct Committed {
    term: Term,
    /// Chained: names all before it too. 0 is unknown.
    crc: u32,
    /// The term of the node that was first seen to know it. Its leader knew first.
    in_term: Term,
}

#[derive(Default)]
struct Node {
    incarnation: u64,
    commit: LogIndex,
    /// The term that it was last seen leading in.
    led: Term,
}

/// See the claim above.
#[derive(Default)]
pub struct LeaderCompleteness {
    /// By index from 1; term 0 is not known.
    groups: Slots<GroupId, Vec<Committed>>,
    nodes: Slots<(GroupId, NodeId), Node>,
}

fn at(index: LogIndex) -> usize {
    usize::try_from(index.0).expect("logs of a run fit in memory") - 1
}

impl LeaderCompleteness {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        // What replaced an entry may be among what such a log lost: its node knows, and tells nobody what is in it.
        if view.is_quarantined && view.role != Role::Leader {
            return Ok(());
        }
        let node = self.nodes.of((view.group, view.node));
        let record = self.groups.of(view.group);
        if node.incarnation != view.incarnation {
            *node = Node { incarnation: view.incarnation, ..Node::default() };
        }
        if view.commit != node.commit {
            let first = node.commit.next().max(view.log.first_index().prev()).max(LogIndex(1));
            for index in (first.0..=view.commit.0).map(LogIndex) {
                note_committed(record, view, index)?;
            }
            node.commit = view.commit;
        } else if view.commit > LogIndex(0) {
            // The newest one names all.
            note_committed(record, view, view.commit)?;
        }
        if view.role == Role::Leader && node.led != view.term {
            node.led = view.term;
            check_leader(record, view)?;
        }
        Ok(())
    }
}

/// `index` is committed, as `view` knows.
fn note_committed(record: &mut Vec<Committed>, view: &GroupView<'_>, index: LogIndex) -> Result<(), Violation> {
    let (group, node) = (view.group, view.node);
    let crc = view.log.crc(index).unwrap_or(0);
    let Some(term) = view.log.term(index) else {
        ensure!(
            NAME,
            index < view.log.first_index(),
            "group {group} node {node}: committed entry {index} is not in its log, which ends at {}",
            view.log.last_index()
        );
        return Ok(());
    };
    if record.len() <= at(index) {
        record.resize(at(index) + 1, Committed::default());
    }
    let known = &mut record[at(index)];
    if known.term == Term(0) {
        *known = Committed { term, crc, in_term: view.term };
    }
    if known.crc == 0 {
        known.crc = crc;
    }
    ensure!(
        NAME,
        known.term == term && (crc == 0 || known.crc == crc),
        "group {group} node {node}: entry {index} of term {term} crc {crc:08x} is committed, and was committed as one \
         of term {} crc {:08x}",
        known.term,
        known.crc
    );
    Ok(())
}

/// A new leader holds everything that was committed in an earlier term.
fn check_leader(record: &[Committed], view: &GroupView<'_>) -> Result<(), Violation> {
    let newest = record.iter().rposition(|entry| entry.term != Term(0) && entry.in_term < view.term);
    let Some(newest) = newest else { return Ok(()) };
    let (index, entry) = (LogIndex(newest as u64 + 1), record[newest]);
    let (held, crc) = (view.log.term(index), view.log.crc(index).unwrap_or(0));
    let is_same = held == Some(entry.term) && (crc == 0 || entry.crc == 0 || crc == entry.crc);
    ensure!(
        NAME,
        is_same || index < view.log.first_index(),
        "group {}: node {} leads in term {} without the committed entry {index} of term {} (it has {held:?})",
        view.group,
        view.node,
        view.term,
        entry.term
    );
    Ok(())
}

impl Checker for LeaderCompleteness {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::TURNS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        event.views().iter().try_for_each(|view| self.note_view(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, boot, fires, turn};

    #[test]
    fn a_leader_with_all_that_is_committed_is_legal() {
        let mut checker = LeaderCompleteness::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 2).leading()).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 1], 1)).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 1, 2], 3).leading()).unwrap();
        let mut compacted = Seat::with(3, &[1, 1, 2, 2], 3);
        compacted.log.compact(3);
        turn(&mut checker, &compacted).unwrap();
        boot(&mut checker, &Seat { incarnation: 2, ..Seat::with(3, &[1, 1, 2], 1) }).unwrap();
    }

    #[test]
    fn a_late_leader_of_an_earlier_term_need_not_know_what_came_after_it() {
        let mut checker = LeaderCompleteness::default();
        turn(&mut checker, &Seat::with(2, &[1, 3], 2).leading()).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 2], 0).leading()).unwrap();
    }

    #[test]
    fn a_log_that_its_node_knows_to_be_lost_says_nothing_unless_it_leads() {
        let mut checker = LeaderCompleteness::default();
        turn(&mut checker, &Seat::with(1, &[1, 2, 2], 3).leading()).unwrap();
        let lost = Seat { is_quarantined: true, ..Seat::with(2, &[1, 1, 1], 3) };
        boot(&mut checker, &lost).unwrap();
        fires(NAME, boot(&mut checker, &Seat { is_quarantined: false, incarnation: 2, ..lost.clone() }));
        fires(NAME, turn(&mut checker, &Seat { incarnation: 3, ..lost }.leading()));
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_seen() {
        let mut checker = LeaderCompleteness::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 3).leading()).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(2, &[1, 1, 2], 0).leading()));
        fires(NAME, turn(&mut checker, &Seat { term: 5, ..Seat::with(3, &[1, 1], 0) }.leading()));
    }

    #[test]
    fn another_committed_entry_at_one_index_is_seen() {
        let mut checker = LeaderCompleteness::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 3)).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(2, &[1, 1, 2], 3)));
        let mut rotten = Seat::with(3, &[1, 1, 1], 3);
        rotten.log.rot(3);
        fires(NAME, turn(&mut checker, &rotten));
    }

    #[test]
    fn a_committed_entry_that_changes_in_place_is_seen() {
        let mut checker = LeaderCompleteness::default();
        turn(&mut checker, &Seat::with(1, &[1, 1], 2)).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(1, &[1, 2], 2)));
        fires(NAME, turn(&mut checker, &Seat { commit: 2, ..Seat::with(1, &[1], 0) }));
    }
}
