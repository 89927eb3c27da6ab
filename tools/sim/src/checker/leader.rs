//! Claim: two seconds after all is healed every group has a leader.

use base::{GroupId, NodeId};
use raft::Role;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation};

const NAME: &str = "leader";
/// Twice the longest election timeout. Units: ns.
const LEADER_MAX: u64 = 2_000_000_000;

/// See the claim above.
#[derive(Default)]
pub struct Leader {
    /// Who led when it was last seen.
    leads: Slots<(GroupId, NodeId), bool>,
    due: Option<Time>,
}

impl Leader {
    fn note_view(&mut self, view: &GroupView<'_>) {
        *self.leads.of((view.group, view.node)) = view.role == Role::Leader;
    }

    fn note_down(&mut self, node: NodeId) {
        self.leads.iter_mut().filter(|((_, id), _)| *id == node).for_each(|(_, leads)| *leads = false);
    }

    fn check(&mut self) -> Result<(), Violation> {
        let mut orphan = None;
        let mut group = None;
        for ((of, _), leads) in self.leads.iter() {
            if group != Some(of) {
                ensure!(NAME, orphan.is_none(), "{orphan:?} has no leader 2 s after all was healed");
                (group, orphan) = (Some(of), Some(of));
            }
            orphan = orphan.filter(|_| !*leads);
        }
        ensure!(NAME, orphan.is_none(), "{orphan:?} has no leader 2 s after all was healed");
        Ok(())
    }
}

impl Checker for Leader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        if self.due.take_if(|due| *due <= at).is_some() {
            self.check()?;
        }
        match event {
            Event::Turn(view) => self.note_view(view),
            Event::Boot { groups, .. } => groups.iter().for_each(|view| self.note_view(view)),
            Event::Crash { node, .. } | Event::DiskLost { node } => self.note_down(*node),
            Event::Healed => self.due = Some(Time(at.0 + LEADER_MAX)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, fires, ms, turn};

    #[test]
    fn a_leader_in_time_is_enough() {
        let mut checker = Leader::default();
        turn(&mut checker, &Seat::with(1, &[1], 1)).unwrap();
        checker.observe(ms(10), &Event::Healed).unwrap();
        turn(&mut checker, &Seat { now_ms: 1900, ..Seat::with(2, &[1], 1).leading() }).unwrap();
        checker.observe(ms(2500), &Event::End).unwrap();
    }

    #[test]
    fn no_leader_or_a_dead_one_is_seen() {
        let mut checker = Leader::default();
        turn(&mut checker, &Seat::with(1, &[1], 1).leading()).unwrap();
        checker.observe(ms(10), &Event::Healed).unwrap();
        checker.observe(ms(20), &Event::Crash { node: NodeId(1), is_power_cut: false }).unwrap();
        fires(NAME, checker.observe(ms(2010), &Event::End));
        let mut checker = Leader::default();
        turn(&mut checker, &Seat::with(1, &[1], 1)).unwrap();
        checker.observe(ms(10), &Event::Healed).unwrap();
        fires(NAME, turn(&mut checker, &Seat { now_ms: 2010, ..Seat::with(1, &[1], 1) }));
    }
}
