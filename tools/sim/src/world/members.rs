//! Who is to be a member: the operator's wish by seat, and what an operator may ask for at a bad moment.
//!
//! A wish takes votes away only from seats whose disks may be lost: then a quorum of those that vote keeps its disks
//! whatever happens, as it does when all vote.

use base::{GroupId, NodeId};
use raft::{Config, ConfigChange};

use super::node::Mail;
use super::{What, World};

/// What each seat is wished to be; all vote by default.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Wish {
    /// Seats whose nodes receive and do not count.
    pub learners: u32,
    /// Seats whose nodes are no members.
    pub absent: u32,
}

/// What a node is wished to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Voter,
    Learner,
    None,
}

impl Wish {
    /// From the parameter of an order of the operator: a mask of learners, and of seats left out.
    pub fn from_masks(masks: u64) -> Wish {
        let absent = (masks >> 8 & 0xff) as u32;
        Wish { learners: (masks & 0xff) as u32 & !absent, absent }
    }

    /// The parameter that [`Wish::from_masks`] reads.
    pub fn masks(self) -> u64 {
        u64::from(self.learners) | u64::from(self.absent) << 8
    }

    /// All vote.
    pub fn is_full(self) -> bool {
        self == Wish::default()
    }

    fn part(self, seat: usize) -> Part {
        match (self.learners >> seat & 1, self.absent >> seat & 1) {
            (_, 1) => Part::None,
            (1, _) => Part::Learner,
            _ => Part::Voter,
        }
    }

    /// Only these seats may do without a vote.
    pub fn within(self, seats: u32) -> Wish {
        Wish { learners: self.learners & seats, absent: self.absent & seats }
    }
}

impl World<'_> {
    fn part_of(&self, node: NodeId) -> Part {
        let seat = self.wanted.iter().position(|wanted| *wanted == node);
        seat.map_or(Part::None, |seat| self.wish.part(seat))
    }

    fn is_wished(&self, config: &Config) -> bool {
        let is_complete = self.wanted.iter().all(|node| match self.part_of(*node) {
            Part::Voter => config.incoming().contains(node),
            Part::Learner => config.learners().contains(node),
            Part::None => true,
        });
        is_complete && !config.is_joint() && config.members().all(|node| self.part_of(node) != Part::None)
    }

    /// The group has a leader, and its members are those that the operator wants.
    pub(super) fn is_as_wanted(&self, group: GroupId) -> bool {
        let Some(leader) = self.leader_of(group) else { return false };
        let raft = self.nodes[leader].shard_of(group).and_then(|shard| shard.raft(group));
        raft.is_some_and(|raft| self.is_wished(raft.config()))
    }

    /// The next step from these members to those wished for: at most one of each kind.
    pub(super) fn step_to_wish(&self, config: &Config) -> ConfigChange {
        let lacks = |part: Part, has: &dyn Fn(NodeId) -> bool| -> Vec<NodeId> {
            let mut nodes = self.wanted.iter().copied().filter(|id| self.part_of(*id) == part && !has(*id));
            nodes.next().into_iter().collect()
        };
        ConfigChange {
            add_voters: lacks(Part::Voter, &|id| config.is_voter(id)),
            add_learners: lacks(Part::Learner, &|id| config.learners().contains(&id)),
            remove: config.members().find(|id| self.part_of(*id) == Part::None).into_iter().collect(),
        }
    }

    /// The operator wishes for other members; it gets there step by step.
    pub(super) fn order_wish(&mut self, masks: u64) -> bool {
        let wish = Wish::from_masks(masks).within(self.shape.damageable);
        let is_new = wish != self.wish;
        self.wish = wish;
        is_new
    }

    /// Everyone who believes to lead a group is asked at once for one step to the members that the masks say, whatever
    /// else is under way there. False when nobody is.
    pub(super) fn order_change(&mut self, group: GroupId, masks: u64) -> bool {
        let wish = Wish::from_masks(masks).within(self.shape.damageable);
        let mut asked = false;
        for seat in 0..self.shape.seats {
            let Some(raft) = self.nodes[seat].shard_of(group).and_then(|shard| shard.raft(group)) else { continue };
            let config = raft.config();
            // While a lost node is a member its seat must not gain a second one.
            let is_known = config.members().all(|id| self.wanted.contains(&id));
            if !self.nodes[seat].is_up() || !raft.is_leader() || !is_known {
                continue;
            }
            let before = std::mem::replace(&mut self.wish, wish);
            let change = self.step_to_wish(config);
            self.wish = before;
            if change == ConfigChange::default() {
                continue;
            }
            asked = true;
            let core = base::core_of(group, self.shape.cores).0 as usize;
            self.note(What::Operator, u64::from(group.0), seat as u64, |_| format!("group {group}, now: {change:?}"));
            self.tell(seat, core, Mail::Change { group, change });
        }
        asked
    }

    /// The leader of a group is asked to make a voter of itself, which it is. False when there is none.
    pub(super) fn order_no_change(&mut self, group: GroupId) -> bool {
        let Some(leader) = self.leader_of(group) else { return false };
        let core = base::core_of(group, self.shape.cores).0 as usize;
        let change = ConfigChange { add_voters: vec![self.nodes[leader].id], ..ConfigChange::default() };
        self.tell(leader, core, Mail::Change { group, change });
        true
    }

    /// Everyone who believes to lead a group is asked to hand it to the node in a seat. False when nobody is.
    pub(super) fn order_transfer(&mut self, group: GroupId, seat: usize) -> bool {
        let target = self.nodes[seat % self.shape.seats].id;
        let Some(leader) = self.leader_of(group).filter(|leader| self.nodes[*leader].id != target) else {
            return false;
        };
        let core = base::core_of(group, self.shape.cores).0 as usize;
        self.tell(leader, core, Mail::Transfer { group, target });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_lead_back_and_whoever_is_left_out_is_no_learner() {
        let wish = Wish { learners: 0b010, absent: 0b100 };
        assert_eq!(Wish::from_masks(wish.masks()), wish);
        assert_eq!([0, 1, 2].map(|seat| wish.part(seat)), [Part::Voter, Part::Learner, Part::None]);
        assert_eq!(Wish::from_masks(0b110 | 0b100 << 8), wish);
        assert_eq!(wish.within(0b010), Wish { learners: 0b010, absent: 0 });
    }
}
