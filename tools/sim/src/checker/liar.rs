//! Claim: whatever disks forget, each committed entry was once written by a leader of its term; and what as many hold as
//! meet every quorum, not counting those that forgot, each later leader holds.
//!
//! Why the second holds: an entry at the head of its leader's term is on the disks of nodes H that are of this term and of
//! whom every quorum has one. Who leads in a later term was voted for by one of H after that, which remembers both its
//! term and the entry; so the candidate's log ended no earlier, and by induction over terms it holds the entry (Raft 5.4).
//! With a node out of H that came back without what it had promised the claim is about the others; once these do not meet
//! every quorum any more there is none.

use std::collections::{BTreeMap, BTreeSet};

use base::{GroupId, LogIndex, NodeId, Term};

use crate::checker::ensure;
use crate::checker::quorum::is_quorum;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "liar";

/// What a node's disk said it has.
#[derive(Clone, Copy, Default)]
struct OnDisk {
    term: Term,
    last: (Term, LogIndex),
}

/// A committed entry that must stay.
struct Safe {
    index: LogIndex,
    term: Term,
    crc: u32,
    holders: Vec<NodeId>,
}

#[derive(Default)]
struct Group {
    safe: Option<Safe>,
    /// Who led in a term, each in a life.
    leaders: BTreeMap<Term, BTreeSet<(NodeId, u64)>>,
    /// By term and index: the crcs of entries as a leader of that term showed them.
    written: BTreeMap<(Term, LogIndex), Vec<u32>>,
    forgetful: BTreeSet<NodeId>,
}

impl Group {
    fn note_written(&mut self, view: &GroupView<'_>, seen: &mut Seen) {
        let (term, from) = seen.led;
        let last = view.log.last_index();
        let is_own = |index: &LogIndex| *index > from && view.log.term(*index) == Some(term);
        // A later leader may have written behind it in the same turn.
        let is_later = |index: &LogIndex| view.log.term(*index) > Some(term);
        let newest_first = (view.log.first_index().0..=last.0).rev().map(LogIndex).skip_while(is_later);
        for index in newest_first.take_while(is_own) {
            let crcs = self.written.entry((term, index)).or_default();
            let crc = view.log.crc(index).unwrap_or(0);
            if !crcs.contains(&crc) {
                crcs.push(crc);
            }
        }
        seen.led.1 = last;
    }
}

/// How far a node was looked at in this life.
#[derive(Clone, Copy, Default)]
struct Seen {
    incarnation: u64,
    /// Committed entries up to here were.
    committed: LogIndex,
    /// It leads, or led last, in this term, and what it wrote up to here was.
    led: (Term, LogIndex),
    /// It led when it was looked at last.
    was_leader: bool,
}

/// See the claims above.
#[derive(Default)]
pub struct Liar {
    groups: Slots<GroupId, Group>,
    on_disk: Slots<(GroupId, NodeId), OnDisk>,
    seen: Slots<(GroupId, NodeId), Seen>,
}

/// Does every quorum of the node's configuration have one of these?
fn meets_every_quorum(view: &GroupView<'_>, nodes: &[NodeId]) -> bool {
    !is_quorum(view.config, |id| !nodes.contains(&id))
}

impl Liar {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let seen = self.seen.of((view.group, view.node));
        if seen.incarnation != view.incarnation {
            *seen = Seen { incarnation: view.incarnation, ..Seen::default() };
        }
        let mut seen = *seen;
        let is_leader = view.role == raft::Role::Leader;
        if is_leader && seen.led.0 != view.term {
            seen.led = (view.term, LogIndex(0));
            check_elected(self.groups.of(view.group), view)?;
        }
        // A turn may write as a leader and end as a follower.
        if is_leader || seen.was_leader {
            self.groups.of(view.group).note_written(view, &mut seen);
        }
        if is_leader {
            self.note_safe(view);
        }
        seen.was_leader = is_leader;
        let first = view.log.first_index().max(seen.committed.next());
        let group = self.groups.of(view.group);
        for index in (first.0..=view.commit.min(view.log.last_index()).0).map(LogIndex) {
            let (term, crc) = (view.log.term(index).unwrap_or_default(), view.log.crc(index).unwrap_or(0));
            let is_written = group.written.get(&(term, index)).is_some_and(|crcs| crcs.contains(&crc));
            ensure!(
                NAME,
                is_written || crc == 0,
                "group {} node {}: entry {index} of term {term}, crc {crc:08x}, is committed, and no leader of that term \
                 wrote it",
                view.group,
                view.node
            );
        }
        seen.committed = seen.committed.max(view.commit.min(view.log.last_index()));
        *self.seen.of((view.group, view.node)) = seen;
        Ok(())
    }

    /// What is committed at the head of a leader's term, and whether enough hold it.
    fn note_safe(&mut self, view: &GroupView<'_>) {
        let group = self.groups.of(view.group);
        let is_new = group.safe.as_ref().is_none_or(|safe| (safe.term, safe.index) < (view.term, view.commit));
        let is_alone = group.leaders[&view.term].len() == 1;
        if is_new && is_alone && view.log.term(view.commit) == Some(view.term) {
            let holds = |id: &NodeId| {
                let disk = self.on_disk.get((view.group, *id)).copied().unwrap_or_default();
                let is_there = disk.term == view.term && disk.last.0 == view.term && disk.last.1 >= view.commit;
                is_there && !group.forgetful.contains(id)
            };
            let holders: Vec<NodeId> = view.config.voters().filter(holds).collect();
            let crc = view.log.crc(view.commit).filter(|crc| *crc != 0);
            if let Some(crc) = crc.filter(|_| meets_every_quorum(view, &holders)) {
                group.safe = Some(Safe { index: view.commit, term: view.term, crc, holders });
            }
        }
    }

    fn forget(&mut self, group: GroupId, node: NodeId) {
        let group = self.groups.of(group);
        group.forgetful.insert(node);
        if let Some(safe) = &mut group.safe {
            safe.holders.retain(|holder| *holder != node);
        }
    }
}

/// A node leads that did not before.
fn check_elected(group: &mut Group, view: &GroupView<'_>) -> Result<(), Violation> {
    group.leaders.entry(view.term).or_default().insert((view.node, view.incarnation));
    let Some(safe) = group.safe.take_if(|safe| safe.term < view.term) else { return Ok(()) };
    if !meets_every_quorum(view, &safe.holders) {
        return Ok(());
    }
    let (index, first) = (safe.index, view.log.first_index());
    let is_held = index < first || view.log.term(index) == Some(safe.term) && view.log.crc(index) == Some(safe.crc);
    ensure!(
        NAME,
        is_held,
        "group {}: node {} leads in term {} without entry {index} of term {}, which {:?} held when it was committed, and \
         they forgot nothing; it has {:?}",
        view.group,
        view.node,
        view.term,
        safe.term,
        safe.holders,
        view.log.term(index)
    );
    group.safe = Some(safe);
    Ok(())
}

impl Checker for Liar {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::TURNS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => self.note_view(view),
            Event::Forgot { node, group, is_known: false, .. } => {
                self.forget(group, node);
                Ok(())
            }
            Event::Durable { node, group, term, last_index, last_term, .. } => {
                *self.on_disk.of((group, node)) = OnDisk { term, last: (last_term, last_index) };
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen as Saw, fires, ms, turn};

    fn disk(checker: &mut Liar, node: u64, term: u64, last_index: u64) {
        let (node, term, last_index) = (NodeId(node), Term(term), LogIndex(last_index));
        let durable = Event::Durable { node, group: GROUP, term, vote: NodeId(0), last_index, last_term: term };
        checker.observe(ms(0), &durable).unwrap();
    }

    fn forgot(checker: &mut Liar, node: u64, is_known: bool) {
        let forgot = Event::Forgot { node: NodeId(node), group: GROUP, is_proven: false, is_known };
        checker.observe(ms(0), &forgot).unwrap();
    }

    /// Node 1 leads in term 1, and entry 2 is on the disks of these.
    fn led(holders: &[u64]) -> Liar {
        let mut checker = Liar::default();
        turn(&mut checker, &Seat::with(1, &[1], 0).leading()).unwrap();
        holders.iter().for_each(|node| disk(&mut checker, *node, 1, 2));
        turn(&mut checker, &Seat::with(1, &[1, 1], 2).leading()).unwrap();
        checker
    }

    fn next(checker: &mut Liar, terms: &[u64]) -> Saw {
        turn(checker, &Seat::with(3, terms, 0).leading())
    }

    #[test]
    fn what_was_never_written_by_a_leader_is_seen() {
        let mut checker = led(&[1, 2]);
        turn(&mut checker, &Seat::with(2, &[1, 1], 2)).unwrap();
        // A leader that appended and stepped down in one turn wrote it.
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 2)).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 1, 1], 3)).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(2, &[1, 1, 1, 1], 4)));
        // Not committed, and so nobody's business.
        turn(&mut checker, &Seat::with(3, &[1, 4], 1)).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(3, &[1, 4], 2)));
        let mut other = Seat::with(2, &[1], 2);
        other.log.push(1, b"of nobody");
        fires(NAME, turn(&mut led(&[1, 2]), &other));
    }

    #[test]
    fn what_meets_every_quorum_stays_while_enough_remember() {
        next(&mut led(&[1, 2]), &[1, 1, 2]).unwrap();
        fires(NAME, next(&mut led(&[1, 2]), &[1, 2]));
        // One that knows what it lost does not vote.
        let mut known = led(&[1, 2]);
        forgot(&mut known, 2, true);
        fires(NAME, next(&mut known, &[1, 2]));
        // Three held it and one forgot: the others are two of three.
        let mut third = led(&[1, 2, 3]);
        forgot(&mut third, 3, false);
        fires(NAME, next(&mut third, &[1, 2]));
    }

    #[test]
    fn what_too_few_remember_may_go() {
        next(&mut led(&[1]), &[1, 2]).unwrap();
        let mut one_left = led(&[1, 2]);
        forgot(&mut one_left, 2, false);
        next(&mut one_left, &[1, 2]).unwrap();
        // It had forgotten before: its word counts for nothing.
        let mut checker = Liar::default();
        forgot(&mut checker, 2, false);
        turn(&mut checker, &Seat::with(1, &[1], 0).leading()).unwrap();
        (1..3).for_each(|node| disk(&mut checker, node, 1, 2));
        turn(&mut checker, &Seat::with(1, &[1, 1], 2).leading()).unwrap();
        next(&mut checker, &[1, 2]).unwrap();
    }
}
