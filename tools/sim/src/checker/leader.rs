//! Claim: two seconds after all is healed every group has a leader, and twelve seconds after a quorum was left in peace
//! every group is led from its midst. Leadership on its way to another node is none for a moment: it counts for a second.

use base::{GroupId, NodeId};
use raft::Role;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "leader";
/// Twice the longest election timeout. Units: ns.
const LEADER_MAX: u64 = 2_000_000_000;
/// In a calm nobody led before, perhaps: what was clogged before comes up to 5 s late, and some elections split. Units: ns.
const CALM_LEADER_MAX: u64 = 12_000_000_000;

/// Raft gives up a transfer after that. Units: ns.
const HANDOVER_MAX: u64 = 1_000_000_000;

/// Whether a node leads a group.
#[derive(Clone, Copy, Default)]
struct Leads {
    is_leader: bool,
    /// When it was last seen to lead no more, running.
    until: Option<Time>,
}

/// See the claim above.
#[derive(Default)]
pub struct Leader {
    /// Who led when it was last seen.
    leads: Slots<(GroupId, NodeId), Leads>,
    due: Option<Time>,
    /// Who must lead then.
    calm: Option<(Time, Vec<NodeId>)>,
}

impl Leader {
    fn note_view(&mut self, at: Time, view: &GroupView<'_>) {
        let leads = self.leads.of((view.group, view.node));
        let is_leader = view.role == Role::Leader;
        if leads.is_leader && !is_leader {
            leads.until = Some(at);
        }
        leads.is_leader = is_leader;
    }

    fn note_down(&mut self, node: NodeId) {
        self.leads.iter_mut().filter(|((_, id), _)| *id == node).for_each(|(_, leads)| *leads = Leads::default());
    }

    /// The first group that is led by nobody, or by none of these.
    fn orphan(&self, at: Time, among: Option<&[NodeId]>) -> Option<GroupId> {
        let mut orphan = None;
        let mut group = None;
        for ((of, node), leads) in self.leads.iter() {
            if group != Some(of) {
                if orphan.is_some() {
                    return orphan;
                }
                (group, orphan) = (Some(of), Some(of));
            }
            let counts = among.is_none_or(|among| among.contains(&node));
            let hands_over = leads.until.is_some_and(|until| at.0 - until.0 < HANDOVER_MAX);
            orphan = orphan.filter(|_| !((leads.is_leader || hands_over) && counts));
        }
        orphan
    }
}

impl Checker for Leader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        if self.due.take_if(|due| *due <= at).is_some() {
            let orphan = self.orphan(at, None);
            ensure!(NAME, orphan.is_none(), "{orphan:?} has no leader 2 s after all was healed");
        }
        if let Some((_, among)) = self.calm.take_if(|(due, _)| *due <= at) {
            let orphan = self.orphan(at, Some(&among));
            ensure!(NAME, orphan.is_none(), "{orphan:?} has no leader among {among:?}, at peace for 12 s");
        }
        match event {
            Event::Turn(view) => self.note_view(at, view),
            Event::Boot { groups, .. } => groups.iter().for_each(|view| self.note_view(at, view)),
            Event::Crash { node, .. } | Event::DiskLost { node } => {
                self.note_down(*node);
                self.calm.take_if(|(_, among)| among.contains(node));
            }
            Event::Calm { nodes, .. } => self.calm = Some((Time(at.0 + CALM_LEADER_MAX), nodes.to_vec())),
            Event::Stir => self.calm = None,
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

    #[test]
    fn leadership_on_its_way_counts_for_a_second() {
        let given_away = |seen_ms: u64| {
            let mut checker = Leader::default();
            turn(&mut checker, &Seat::with(1, &[1], 1).leading()).unwrap();
            checker.observe(ms(10), &Event::Healed).unwrap();
            turn(&mut checker, &Seat { now_ms: seen_ms, ..Seat::with(1, &[1], 1) }).unwrap();
            checker.observe(ms(2010), &Event::End)
        };
        given_away(2000).unwrap();
        fires(NAME, given_away(1010));
    }

    #[test]
    fn a_quorum_at_peace_must_lead_by_itself() {
        let calm = |checker: &mut Leader| {
            turn(checker, &Seat::with(1, &[1], 1)).unwrap();
            turn(checker, &Seat::with(2, &[1], 1)).unwrap();
            turn(checker, &Seat::with(3, &[1], 1).leading()).unwrap();
            checker.observe(ms(10), &Event::Calm { nodes: &[NodeId(1), NodeId(2)], is_idle: false }).unwrap();
        };
        let mut checker = Leader::default();
        calm(&mut checker);
        fires(NAME, turn(&mut checker, &Seat { now_ms: 12_010, ..Seat::with(1, &[1], 1) }));
        // In time, too soon to tell, or one of them down meanwhile.
        let mut checker = Leader::default();
        calm(&mut checker);
        turn(&mut checker, &Seat::with(2, &[1, 2], 1).leading()).unwrap();
        checker.observe(ms(12_010), &Event::Stir).unwrap();
        let mut checker = Leader::default();
        calm(&mut checker);
        checker.observe(ms(12_009), &Event::Stir).unwrap();
        checker.observe(ms(13_000), &Event::End).unwrap();
        let mut checker = Leader::default();
        calm(&mut checker);
        checker.observe(ms(20), &Event::Crash { node: NodeId(2), is_power_cut: false }).unwrap();
        checker.observe(ms(13_000), &Event::End).unwrap();
    }
}
