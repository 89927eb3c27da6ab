//! Quorums by brute force, apart from those of consensus.

use base::NodeId;
use raft::Config;

/// Is a majority of each half among those for whom `is_in` holds? Never of no voters at all.
pub(crate) fn is_quorum(config: &Config, is_in: impl Fn(NodeId) -> bool) -> bool {
    let majority = |half: &[NodeId]| half.iter().filter(|id| is_in(**id)).count() * 2 > half.len();
    majority(config.incoming()) && (config.outgoing().is_empty() || majority(config.outgoing()))
}

/// Does every quorum of one share a node with every quorum of the other? Tries all sets of voters of both.
pub(crate) fn overlap(one: &Config, other: &Config) -> bool {
    let mut voters: Vec<NodeId> = one.voters().chain(other.voters()).collect();
    voters.sort_unstable();
    voters.dedup();
    (0u64..1 << voters.len()).all(|set| {
        let is_in = |id: NodeId| voters.binary_search(&id).is_ok_and(|at| set >> at & 1 == 1);
        !(is_quorum(one, is_in) && is_quorum(other, |id| !is_in(id)))
    })
}

#[cfg(test)]
mod tests {
    use raft::ConfigChange;

    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn half_is_no_quorum_and_a_joint_one_needs_both() {
        let of = |ids: &'static [u64]| move |id: NodeId| ids.contains(&id.0);
        let four = Config::single(&nodes(&[1, 2, 3, 4]));
        assert!(is_quorum(&four, of(&[1, 2, 3])) && !is_quorum(&four, of(&[1, 2])));
        assert!(!is_quorum(&Config::default(), |_| true));
        let change = ConfigChange { add_voters: nodes(&[5]), remove: nodes(&[1, 2]), add_learners: vec![] };
        let joint = four.change(&change).unwrap();
        assert!(!is_quorum(&joint, of(&[3, 4, 5])) && is_quorum(&joint, of(&[2, 3, 4])));
        assert!(overlap(&four, &joint) && overlap(&joint, &joint.leave()));
        assert!(!overlap(&four, &Config::single(&nodes(&[3, 4, 5]))));
        assert!(overlap(&four, &Config::single(&nodes(&[2, 3, 4]))));
    }
}
