//! Claim: entries of equal index and term are equal on all nodes, and so is everything before them.

use std::collections::BTreeMap;

use base::{GroupId, LogIndex, NodeId, Term};

use crate::checker::ensure;
use crate::checker::mirror::Mirror;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "log_matching";

/// Every entry that was ever in a log of the group. The crc of an entry is chained: it names all before it too.
#[derive(Default)]
struct Known {
    /// By index from 1: the entry first seen there; term 0 is none.
    first_seen: Vec<(Term, u32)>,
    /// Those of other terms, which never were committed or took the place of those that never were.
    others: BTreeMap<(LogIndex, Term), u32>,
}

impl Known {
    /// The crc under which the entry is known; the one given when it is new. 0 is unknown.
    fn note(&mut self, index: LogIndex, term: Term, crc: u32) -> u32 {
        let at = usize::try_from(index.0 - 1).expect("logs of a run fit in memory");
        if self.first_seen.len() <= at {
            self.first_seen.resize(at + 1, (Term(0), 0));
        }
        let seen = &mut self.first_seen[at];
        if seen.0 == Term(0) {
            *seen = (term, crc);
        }
        if seen.0 == term { seen.1 } else { *self.others.entry((index, term)).or_insert(crc) }
    }
}

/// One log as it was at the last look, and its first index then.
#[derive(Default)]
struct Seen {
    mirror: Mirror,
    first: LogIndex,
}

/// See the claim above.
#[derive(Default)]
pub struct LogMatching {
    groups: Slots<GroupId, Known>,
    logs: Slots<(GroupId, NodeId), Seen>,
}

impl LogMatching {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let (group, node) = (view.group, view.node);
        let (first, last) = (view.log.first_index(), view.log.last_index());
        let Seen { mirror, first: first_before } = self.logs.of((group, node));
        let dropped = first.prev();
        let was_held = std::mem::replace(first_before, first) <= dropped;
        let before = if was_held { mirror.get(dropped) } else { None };
        let new = mirror.look(view.log);
        // What is kept goes on behind the entry that it went on behind while that was held.
        if let Some((term, crc)) = before.filter(|_| first < new && first <= last) {
            let (now_term, now_crc) = (view.log.term(dropped).unwrap_or_default(), view.log.crc(dropped).unwrap_or(0));
            ensure!(
                NAME,
                term == now_term && (crc == now_crc || crc == 0 || now_crc == 0),
                "group {group} node {node}: entry {first} was behind one of term {term} and is behind one of {now_term}"
            );
        }
        if new > last {
            return Ok(());
        }
        let known = self.groups.of(group);
        for index in (new.0..=last.0).map(LogIndex) {
            let (term, crc) = mirror.get(index).unwrap_or_default();
            ensure!(NAME, term != Term(0), "group {group} node {node}: no entry {index} in a log that ends at {last}");
            ensure!(
                NAME,
                term <= view.term,
                "group {group} node {node}: entry {index} of term {term} in {}",
                view.term
            );
            let other = if crc == 0 { 0 } else { known.note(index, term, crc) };
            ensure!(
                NAME,
                other == crc,
                "group {group} node {node}: entry {index} of term {term} differs from another node's, or what is before"
            );
        }
        let before = new.prev();
        let previous = mirror.get(before).map(|(term, _)| term).or_else(|| view.log.term(before));
        let mut term = previous.unwrap_or_default();
        for index in (new.0..=last.0).map(LogIndex) {
            let next = mirror.get(index).unwrap_or_default().0;
            ensure!(NAME, next >= term, "group {group} node {node}: entry {index} of term {next} after one of {term}");
            term = next;
        }
        Ok(())
    }
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        event.views().iter().try_for_each(|view| self.note_view(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, Twin, boot, fires, turn};

    #[test]
    fn divergent_tails_are_legal() {
        let mut checker = LogMatching::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 2, 2], 0)).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 1, 3], 0)).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1, 3, 4], 0)).unwrap();
        let mut compacted = Seat::with(3, &[1, 1, 3, 4, 4], 0);
        compacted.log.compact(3);
        boot(&mut checker, &compacted).unwrap();
    }

    #[test]
    fn equal_terms_with_other_bytes_are_seen() {
        let mut checker = LogMatching::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 2], 0)).unwrap();
        let mut other = Seat::with(2, &[1, 1, 2], 0);
        other.log = Twin::of(&[1]);
        other.log.push(1, b"other");
        other.log.push(2, &[]);
        fires(NAME, turn(&mut checker, &other));
    }

    #[test]
    fn an_equal_entry_behind_another_one_is_seen() {
        let mut checker = LogMatching::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 3], 0)).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(2, &[1, 2, 3], 0)));
    }

    #[test]
    fn a_tail_that_is_kept_behind_another_entry_is_seen() {
        let snapshot = |behind: &[u64]| {
            let mut checker = LogMatching::default();
            turn(&mut checker, &Seat::with(1, &[1, 1, 1, 1], 0)).unwrap();
            let mut log = Twin::of(&[1, 1, 1, 1]);
            log.compact_as(&Twin::of(behind));
            turn(&mut checker, &Seat { term: 2, log, ..Seat::with(1, &[], 0) })
        };
        snapshot(&[1, 1]).unwrap();
        fires(NAME, snapshot(&[1, 2]));
    }

    #[test]
    fn terms_that_fall_and_terms_of_the_future_are_seen() {
        let mut checker = LogMatching::default();
        fires(NAME, turn(&mut checker, &Seat { term: 5, ..Seat::with(1, &[1, 3, 2], 0) }));
        let mut checker = LogMatching::default();
        fires(NAME, turn(&mut checker, &Seat { term: 2, ..Seat::with(1, &[1, 3], 0) }));
    }
}
