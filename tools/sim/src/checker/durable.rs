//! Claim: when a client is told that its write is done, a quorum of voters would hold its entry after a power cut now.

use base::{GroupId, LogIndex, NodeId, Term};
use raft::Config;

use crate::checker::ensure;
use crate::checker::quorum::is_quorum;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Ended, Event, GroupView, Time, Token, Violation, Wants};

const NAME: &str = "durable";

/// One node's log, as far as a power cut would leave it.
#[derive(Default)]
struct Node {
    /// By the disk model; the truth.
    on_disk: LogIndex,
    on_disk_term: Term,
    /// What was on its disk, or its disk had said so, and a power cut or rot took.
    lost: (Term, LogIndex),
    /// What the node has said since the disk model was last asked.
    claimed: LogIndex,
    /// What it said last.
    said: LogIndex,
    /// The configuration in force there, committed or not.
    in_force: Config,
    /// The one before, and how far the node had committed when it came: that may have been counted by the one before.
    before: (Config, LogIndex),
}

impl Node {
    fn note_lost(&mut self) {
        self.lost = self.lost.max((self.on_disk_term, self.on_disk));
    }
}

/// The newest configuration that is known to be committed.
#[derive(Default)]
struct Group {
    index: Option<LogIndex>,
    config: Config,
}

/// See the claim above. The disk model is believed where it was asked, else what the node says of its disk.
#[derive(Default)]
pub struct Durability {
    nodes: Slots<(GroupId, NodeId), Node>,
    groups: Slots<GroupId, Group>,
}

impl Durability {
    fn note_view(&mut self, view: &GroupView<'_>) {
        let node = self.nodes.of((view.group, view.node));
        if node.said != view.persisted {
            (node.said, node.claimed) = (view.persisted, view.persisted);
        }
        if node.in_force != *view.config {
            node.before = (std::mem::replace(&mut node.in_force, view.config.clone()), view.commit);
        }
        let group = self.groups.of(view.group);
        if view.config_index <= view.commit && group.index.is_none_or(|index| index < view.config_index) {
            group.index = Some(view.config_index);
            group.config.clone_from(view.config);
        }
    }

    fn check_ack(&self, token: &Token) -> Result<(), Violation> {
        let Some(group) = self.groups.get(token.group).filter(|group| group.index.is_some()) else { return Ok(()) };
        let holds = |id: NodeId| {
            let Some(node) = self.nodes.get((token.group, id)) else { return false };
            let is_on_disk = node.on_disk >= token.index && node.on_disk_term >= token.term;
            // Its disk lied or rots: it was counted for this, and nobody could know better.
            let was_on_disk = node.lost.1 >= token.index && node.lost.0 >= token.term;
            is_on_disk || was_on_disk || node.claimed >= token.index
        };
        // A leader leaves a joint configuration in the turn that commits it, and counts by the next one from then on: so
        // it counted by one of these, and each election to come needs a quorum that meets one of either.
        // And one that commits and then changes its members, both in one turn, counted by those it had.
        let is_enough = is_quorum(&group.config, holds)
            || self.nodes.get((token.group, token.node)).is_some_and(|node| {
                is_quorum(&node.in_force, holds) || token.index <= node.before.1 && is_quorum(&node.before.0, holds)
            });
        ensure!(
            NAME,
            is_enough,
            "group {}: the write at {} of term {} was acknowledged by node {}, and a power cut would leave it on {:?} of {:?}",
            token.group,
            token.index,
            token.term,
            token.node,
            group.config.voters().filter(|id| holds(*id)).collect::<Vec<_>>(),
            group.config.voters().collect::<Vec<_>>()
        );
        Ok(())
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => self.note_view(view),
            Event::Boot { groups, .. } => {
                for view in groups {
                    self.note_view(view);
                    if view.is_quarantined {
                        // It found its log spoiled and votes no more: those left need a quorum of all, which meets the others
                        // that were counted.
                        self.nodes.of((view.group, view.node)).note_lost();
                    }
                }
            }
            Event::Durable { node, group, last_index, last_term, .. } => {
                let node = self.nodes.of((group, node));
                (node.on_disk, node.on_disk_term, node.claimed) = (last_index, last_term, LogIndex(0));
            }
            Event::Forgot { node, group, .. } => {
                self.nodes.of((group, node)).note_lost();
            }
            Event::Return { ended: Ended::Outcome(_, token), .. } => self.check_ack(&token)?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, boot, fires, ms, turn};
    use crate::observe::Path;

    fn disk(checker: &mut Durability, node: u64, last_index: u64) {
        let (node, last_index) = (NodeId(node), LogIndex(last_index));
        let (term, vote, last_term) = (Term(1), NodeId(0), Term(1));
        checker.observe(ms(0), &Event::Durable { node, group: GROUP, term, vote, last_index, last_term }).unwrap();
    }

    fn acknowledge(checker: &mut Durability, index: u64) -> Seen {
        let (index, term, node) = (LogIndex(index), Term(1), NodeId(1));
        let token = Token { group: GROUP, index, term, place: 0, path: Path::Write, node };
        let ended = Ended::Outcome(&meta::Outcome::NotFound, token);
        checker.observe(ms(0), &Event::Return { operation: 1, ended })
    }

    #[test]
    fn an_entry_on_a_quorum_may_be_acknowledged() {
        let mut checker = Durability::default();
        turn(&mut checker, &Seat::with(1, &[1, 1], 2)).unwrap();
        disk(&mut checker, 1, 2);
        disk(&mut checker, 2, 2);
        acknowledge(&mut checker, 2).unwrap();
        fires(NAME, acknowledge(&mut checker, 3));
    }

    #[test]
    fn what_a_lying_disk_took_back_had_been_counted_and_no_more_than_that() {
        let mut checker = Durability::default();
        turn(&mut checker, &Seat::with(1, &[1, 1], 2)).unwrap();
        (1..3).for_each(|node| disk(&mut checker, node, 2));
        let forgot = Event::Forgot { node: NodeId(2), group: GROUP, is_proven: true, is_known: true };
        checker.observe(ms(0), &forgot).unwrap();
        disk(&mut checker, 2, 0);
        acknowledge(&mut checker, 2).unwrap();
        disk(&mut checker, 1, 3);
        fires(NAME, acknowledge(&mut checker, 3));
    }

    #[test]
    fn what_rot_took_had_been_counted_where_the_node_has_found_it() {
        for is_quarantined in [true, false] {
            let mut checker = Durability::default();
            turn(&mut checker, &Seat::with(1, &[1, 1], 2)).unwrap();
            (1..3).for_each(|node| disk(&mut checker, node, 2));
            boot(&mut checker, &Seat { is_quarantined, ..Seat::with(2, &[], 0) }).unwrap();
            disk(&mut checker, 2, 0);
            match is_quarantined {
                true => acknowledge(&mut checker, 2).unwrap(),
                false => fires(NAME, acknowledge(&mut checker, 2)),
            }
            disk(&mut checker, 1, 3);
            fires(NAME, acknowledge(&mut checker, 3));
        }
    }

    #[test]
    fn the_configuration_in_force_at_the_leader_counts_as_much_as_the_committed_one() {
        let mut checker = Durability::default();
        let mut leader = Seat::with(1, &[1, 1, 1], 2);
        turn(&mut checker, &leader).unwrap();
        let change = raft::ConfigChange { add_voters: vec![NodeId(4)], remove: vec![NodeId(2)], ..Default::default() };
        let joint = leader.config.change(&change).unwrap();
        disk(&mut checker, 1, 2);
        disk(&mut checker, 4, 2);
        // On a majority of the next members alone.
        fires(NAME, acknowledge(&mut checker, 2));
        (leader.config, leader.config_index) = (joint.clone(), 3);
        turn(&mut checker, &leader).unwrap();
        disk(&mut checker, 1, 2);
        fires(NAME, acknowledge(&mut checker, 2));
        (leader.config, leader.config_index) = (joint.leave(), 4);
        turn(&mut checker, &leader).unwrap();
        disk(&mut checker, 1, 2);
        acknowledge(&mut checker, 2).unwrap();
    }

    #[test]
    fn who_commits_and_changes_its_members_in_one_turn_counted_by_those_it_had() {
        let mut checker = Durability::default();
        let mut leader = Seat::with(1, &[1, 1, 1, 1], 2);
        turn(&mut checker, &leader).unwrap();
        (1..3).for_each(|node| disk(&mut checker, node, 4));
        let change = raft::ConfigChange { add_voters: vec![NodeId(4), NodeId(5)], ..Default::default() };
        (leader.config, leader.config_index) = (leader.config.change(&change).unwrap().leave(), 4);
        leader.commit = 3;
        turn(&mut checker, &leader).unwrap();
        acknowledge(&mut checker, 3).unwrap();
        leader.commit = 4;
        turn(&mut checker, &leader).unwrap();
        fires(NAME, acknowledge(&mut checker, 4));
    }

    #[test]
    fn what_the_node_says_counts_only_where_the_disk_was_not_asked() {
        let mut checker = Durability::default();
        turn(&mut checker, &Seat::with(1, &[1, 1], 2)).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 1], 2)).unwrap();
        acknowledge(&mut checker, 2).unwrap();
        disk(&mut checker, 2, 1);
        fires(NAME, acknowledge(&mut checker, 2));
        turn(&mut checker, &Seat::with(2, &[1, 1], 2)).unwrap();
        fires(NAME, acknowledge(&mut checker, 2));
        turn(&mut checker, &Seat::with(2, &[1, 1, 1], 2)).unwrap();
        acknowledge(&mut checker, 2).unwrap();
    }
}
