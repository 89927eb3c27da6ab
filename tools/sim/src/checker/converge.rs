//! Claim: twenty seconds after all is healed, or when the run ends after that, every replica that runs has applied
//! everything that is committed, and nothing waits in a log uncommitted; the same of a run that is calm and idle for so
//! long; and no group is asked to rest before each of its members has held all that is committed.

use base::{GroupId, LogIndex, NodeId};
use raft::{Body, Config, Role};

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "converge";
/// Twenty times the longest election timeout. Units: ns.
const CONVERGE_MAX: u64 = 20_000_000_000;

/// One replica when it was last seen.
#[derive(Clone, Copy, Default)]
struct Node {
    is_up: bool,
    applied: LogIndex,
    last: LogIndex,
    commit: LogIndex,
    /// The most that it was ever seen to have on its disk.
    held: LogIndex,
    state_hash: u64,
}

/// The newest leader's.
#[derive(Default)]
struct Group {
    term: base::Term,
    config: Config,
    commit: LogIndex,
}

/// See the claim above.
#[derive(Default)]
pub struct Converge {
    nodes: Slots<(GroupId, NodeId), Node>,
    groups: Slots<GroupId, Group>,
    /// What must be applied, when it must be.
    due: Option<(Time, Vec<(GroupId, LogIndex)>)>,
    is_healed: bool,
    /// Calm and idle since then, and nobody was down.
    calm: Option<Time>,
}

impl Converge {
    fn note_view(&mut self, view: &GroupView<'_>) {
        let last = view.log.last_index();
        let node = self.nodes.of((view.group, view.node));
        let held = node.held.max(view.persisted);
        let (applied, commit, state_hash) = (view.applied, view.commit, view.state_hash);
        *node = Node { is_up: true, applied, last, commit, held, state_hash };
        let group = self.groups.of(view.group);
        if view.role == Role::Leader && view.term >= group.term {
            group.term = view.term;
            if group.config != *view.config {
                group.config.clone_from(view.config);
            }
        }
        group.commit = group.commit.max(view.commit);
    }

    fn note_down(&mut self, node: NodeId) {
        self.nodes.iter_mut().filter(|((_, id), _)| *id == node).for_each(|(_, kept)| kept.is_up = false);
    }

    fn members<'a>(&'a self, group: GroupId, config: &'a Config) -> impl Iterator<Item = (NodeId, Node)> + 'a {
        let known = config.members().map(move |id| (id, self.nodes.get((group, id)).copied().unwrap_or_default()));
        known.filter(|(_, node)| node.is_up)
    }

    /// Who rests hears of nothing until somebody uses the group.
    fn check_rest(&self, leader: NodeId, group: GroupId, term: base::Term) -> Result<(), Violation> {
        let Some(known) = self.groups.get(group).filter(|known| known.term == term) else { return Ok(()) };
        let commit = self.nodes.get((group, leader)).map_or(LogIndex(0), |node| node.commit);
        for id in known.config.members() {
            let held = self.nodes.get((group, id)).map_or(LogIndex(0), |node| node.held);
            ensure!(
                NAME,
                held >= commit,
                "group {group} leader {leader}: asks for rest at commit {commit}, and node {id} never held more than {held}"
            );
        }
        Ok(())
    }

    /// What was committed at the heal is applied everywhere by now.
    fn check_due(&self, wanted: &[(GroupId, LogIndex)]) -> Result<(), Violation> {
        for (group, commit) in wanted {
            let config = self.groups.get(*group).map(|group| &group.config).into_iter();
            for (id, node) in config.flat_map(|config| self.members(*group, config)) {
                ensure!(
                    NAME,
                    node.applied >= *commit,
                    "group {group} node {id}: applied {} 20 s after all was healed, when {commit} was committed",
                    node.applied
                );
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Violation> {
        for (group, Group { config, commit, .. }) in self.groups.iter() {
            let mut hash = None;
            for (id, node) in self.members(group, config) {
                ensure!(
                    NAME,
                    node.applied == *commit && node.last == *commit,
                    "group {group} node {id}: applied {} last {} after a long calm, and {commit} is committed",
                    node.applied,
                    node.last
                );
                let first = *hash.get_or_insert(node.state_hash);
                ensure!(NAME, first == node.state_hash, "group {group} node {id}: another state after a long calm");
            }
        }
        Ok(())
    }
}

impl Checker for Converge {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS.and(Wants::SENT)
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        if let Some((_, wanted)) = self.due.take_if(|(due, _)| *due <= at) {
            self.check_due(&wanted)?;
        }
        match event {
            Event::Turn(view) => self.note_view(view),
            Event::Boot { groups, .. } => groups.iter().for_each(|view| self.note_view(view)),
            Event::Crash { node, .. } | Event::DiskLost { node } => {
                self.note_down(*node);
                self.calm = None;
            }
            Event::Sent { from, group, body: Body::Heartbeat { quiesce: true, term, .. }, .. } => {
                self.check_rest(*from, *group, *term)?;
            }
            Event::Calm { is_idle: true, .. } => self.calm = Some(at),
            Event::Stir if self.calm.take().is_some_and(|since| at.0 - since.0 >= CONVERGE_MAX) => self.check_end()?,
            Event::Healed => {
                let wanted = self.groups.iter().map(|(group, kept)| (group, kept.commit)).collect();
                self.due = Some((Time(at.0 + CONVERGE_MAX), wanted));
                self.is_healed = true;
            }
            Event::End if self.is_healed => self.check_end()?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, fires, ms, turn};

    fn leader_and_follower(follower_commit: u64) -> Converge {
        let mut checker = Converge::default();
        turn(&mut checker, &Seat::with(1, &[1, 1], 2).leading()).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 1], follower_commit)).unwrap();
        checker.observe(ms(10), &Event::Healed).unwrap();
        checker
    }

    #[test]
    fn replicas_that_are_equal_at_the_end_are_well() {
        leader_and_follower(2).observe(ms(11), &Event::End).unwrap();
        let mut late = leader_and_follower(1);
        turn(&mut late, &Seat { now_ms: 19_000, ..Seat::with(2, &[1, 1], 2) }).unwrap();
        late.observe(ms(20_010), &Event::End).unwrap();
        let mut down = leader_and_follower(1);
        down.observe(ms(12), &Event::Crash { node: NodeId(2), is_power_cut: true }).unwrap();
        down.observe(ms(13), &Event::End).unwrap();
    }

    #[test]
    fn one_that_lags_is_seen() {
        fires(NAME, leader_and_follower(1).observe(ms(11), &Event::End));
        let late = Seat { now_ms: 20_010, ..Seat::with(2, &[1, 1], 1) };
        fires(NAME, turn(&mut leader_and_follower(1), &late));
        let mut other = leader_and_follower(2);
        turn(&mut other, &Seat { state_hash: 9, ..Seat::with(2, &[1, 1], 2) }).unwrap();
        fires(NAME, other.observe(ms(11), &Event::End));
    }

    #[test]
    fn a_calm_that_lasts_must_end_in_equal_replicas() {
        let calm = |checker: &mut Converge, is_idle: bool| {
            checker.observe(ms(10), &Event::Calm { nodes: &[NodeId(1), NodeId(2)], is_idle }).unwrap();
        };
        let behind = || {
            let mut checker = Converge::default();
            turn(&mut checker, &Seat::with(1, &[1, 1], 2).leading()).unwrap();
            turn(&mut checker, &Seat::with(2, &[1, 1], 1)).unwrap();
            checker
        };
        let mut checker = behind();
        calm(&mut checker, true);
        fires(NAME, checker.observe(ms(20_010), &Event::Stir));
        // Too short, busy, a node down meanwhile, or in time.
        let mut checker = behind();
        calm(&mut checker, true);
        checker.observe(ms(20_009), &Event::Stir).unwrap();
        let mut checker = behind();
        calm(&mut checker, false);
        checker.observe(ms(20_010), &Event::Stir).unwrap();
        let mut checker = behind();
        calm(&mut checker, true);
        checker.observe(ms(12), &Event::Crash { node: NodeId(3), is_power_cut: true }).unwrap();
        checker.observe(ms(20_010), &Event::Stir).unwrap();
        let mut checker = behind();
        calm(&mut checker, true);
        turn(&mut checker, &Seat::with(2, &[1, 1], 2)).unwrap();
        checker.observe(ms(20_010), &Event::Stir).unwrap();
    }

    #[test]
    fn a_rest_while_a_member_lags_is_seen() {
        let ask = |checker: &mut Converge| {
            let (term, send_mono) = (base::Term(1), base::Mono(1));
            let body = Body::Heartbeat { term, commit_index: LogIndex(0), read_position: 0, quiesce: true, send_mono };
            let (from, to, group) = (NodeId(1), NodeId(2), crate::checker::testing::GROUP);
            checker.observe(ms(0), &Event::Sent { from, incarnation: 1, to, group, body: &body })
        };
        let mut checker = Converge::default();
        turn(&mut checker, &Seat::with(1, &[1, 1], 2).leading()).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 1], 2)).unwrap();
        turn(&mut checker, &Seat::with(3, &[1], 1)).unwrap();
        fires(NAME, ask(&mut checker));
        turn(&mut checker, &Seat::with(3, &[1, 1], 1)).unwrap();
        ask(&mut checker).unwrap();
    }
}
