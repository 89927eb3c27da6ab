//! Claim: a node whose log has not come nearer to its disk for long does not lead.

use base::{GroupId, LogIndex, Mono, NodeId};
use raft::Role;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "fail_slow";
/// A leader may lag for 2 s; what is seen of it comes a little later. Units: ns of its clock.
const LAG_MAX: u64 = 2_500_000_000;
/// After a pause a node learns in its first turns how long it was away. Units: ns of its clock.
const NOTICE_MAX: u64 = 200_000_000;

/// What waits for the disk.
#[derive(Clone, Copy, Default)]
struct Node {
    incarnation: u64,
    persisted: LogIndex,
    /// Since when, by its own clock, something waits and nothing has arrived.
    since: Option<Mono>,
    /// When it was first seen to lead in spite of it.
    late: Option<Mono>,
}

/// See the claim above.
#[derive(Default)]
pub struct FailSlow {
    nodes: Slots<(GroupId, NodeId), Node>,
}

impl FailSlow {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let node = self.nodes.of((view.group, view.node));
        // An entry whose bytes were on disk and are lost waits for other nodes, not for the disk.
        let is_waiting = view.persisted < view.log.last_index() && !view.log.is_faulty(view.persisted.next());
        if !is_waiting || view.persisted != node.persisted || view.incarnation != node.incarnation {
            let since = is_waiting.then_some(view.now);
            *node = Node { incarnation: view.incarnation, persisted: view.persisted, since, late: None };
        }
        let since = *node.since.get_or_insert(view.now);
        if view.role != Role::Leader || !is_waiting || view.now.0.saturating_sub(since.0) < LAG_MAX {
            node.late = None;
            node.since = is_waiting.then_some(since);
            return Ok(());
        }
        let late = *node.late.get_or_insert(view.now);
        ensure!(
            NAME,
            view.now.0.saturating_sub(late.0) < NOTICE_MAX,
            "group {} node {}: leads in term {} with entries to {}, and only {} on its disk for {} ms",
            view.group,
            view.node,
            view.term,
            view.log.last_index(),
            view.persisted,
            (view.now.0 - since.0) / 1_000_000
        );
        Ok(())
    }
}

impl Checker for FailSlow {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::TURNS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Turn(view) => self.note_view(view),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, fires, turn};

    fn lagging(now_ms: u64, persisted: u64) -> Seat {
        Seat { now_ms, persisted, ..Seat::with(1, &[1, 1, 1], 0).leading() }
    }

    #[test]
    fn a_disk_that_moves_or_a_leader_that_leaves_is_well() {
        let mut checker = FailSlow::default();
        for (now_ms, persisted) in [(0, 1), (2400, 1), (2450, 2), (4900, 2), (4901, 3), (9000, 3)] {
            turn(&mut checker, &lagging(now_ms, persisted)).unwrap();
        }
        turn(&mut checker, &lagging(9500, 2)).unwrap();
        turn(&mut checker, &lagging(12_100, 2)).unwrap();
        turn(&mut checker, &Seat { role: Role::Follower, ..lagging(12_200, 2) }).unwrap();
        turn(&mut checker, &Seat { role: Role::Follower, ..lagging(22_200, 2) }).unwrap();
    }

    #[test]
    fn a_leader_that_goes_on_without_its_disk_is_seen() {
        let mut checker = FailSlow::default();
        turn(&mut checker, &lagging(0, 1)).unwrap();
        turn(&mut checker, &lagging(2500, 1)).unwrap();
        turn(&mut checker, &lagging(2600, 1)).unwrap();
        fires(NAME, turn(&mut checker, &lagging(2700, 1)));
    }
}
