//! What a quorum agrees on: the majority of a configuration, and of both its halves while it is joint.

use base::limits::VOTERS_MAX;
use base::{NodeId, mutate};

use crate::Config;

/// The largest value that a quorum has reached: the quorum-th largest, of the smaller half when joint. `None` when
/// nobody votes. Source: thesis 4.3.
pub(crate) fn reached_by_quorum<T: Ord + Copy>(config: &Config, value: impl Fn(NodeId) -> T) -> Option<T> {
    let incoming = mutate!(
        MUT_11D,
        reached_by_majority(config.incoming(), &value),
        reached_by_majority(&config.members().take(VOTERS_MAX).collect::<Vec<_>>(), &value)
    )?;
    let reached = match reached_by_majority(config.outgoing(), &value) {
        Some(outgoing) => mutate!(MUT_11C, incoming.min(outgoing), incoming),
        None => incoming,
    };
    // A seeded bug is for the checkers to find, not for this.
    debug_assert!(
        cfg!(mutations) || is_reached_by_count(config, &value, reached),
        "the scan and the count of a quorum differ"
    );
    Some(reached)
}

fn reached_by_majority<T: Ord + Copy>(voters: &[NodeId], value: &impl Fn(NodeId) -> T) -> Option<T> {
    let mut values = [value(*voters.first()?); VOTERS_MAX];
    for (slot, voter) in values.iter_mut().zip(voters) {
        *slot = value(*voter);
    }
    let values = &mut values[..voters.len()];
    values.sort_unstable();
    // Of n ascending values a majority, n / 2 + 1 of them, is at or above the one at (n - 1) / 2.
    Some(values[mutate!(MUT_11B, (voters.len() - 1) / 2, voters.len() / 2)])
}

/// A seeded bug: a quorum that is one too small.
#[cfg(mutations)]
pub(crate) fn reached_by_fewer<T: Ord + Copy>(config: &Config, value: impl Fn(NodeId) -> T) -> Option<T> {
    let mut values: Vec<T> = config.incoming().iter().map(|id| value(*id)).collect();
    values.sort_unstable();
    values.get(values.len() / 2 + usize::from(values.len() % 2 == 1)).or(values.last()).copied()
}

/// The same by brute force: a quorum is at or above `reached`, and at or above nothing higher.
fn is_reached_by_count<T: Ord + Copy>(config: &Config, value: &impl Fn(NodeId) -> T, reached: T) -> bool {
    let has_quorum = |wanted: T| {
        [config.incoming(), config.outgoing()]
            .iter()
            .all(|half| half.is_empty() || 2 * half.iter().filter(|id| value(**id) >= wanted).count() > half.len())
    };
    has_quorum(reached)
        && config.voters().map(value).filter(|higher| *higher > reached).all(|higher| !has_quorum(higher))
}

/// How a poll stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Poll {
    /// A quorum said yes, in each half.
    Won,
    /// A quorum can no longer say yes in one of the halves.
    Lost,
    /// More answers decide.
    Open,
}

/// Counts a poll; `vote` is an answer, if one came.
pub(crate) fn count_poll(config: &Config, vote: impl Fn(NodeId) -> Option<bool>) -> Poll {
    let half = |voters: &[NodeId]| {
        let count = |answer| voters.iter().filter(|id| vote(**id) == Some(answer)).count();
        match (2 * count(true) > voters.len(), 2 * (voters.len() - count(false)) > voters.len()) {
            (true, _) => Poll::Won,
            (false, true) => Poll::Open,
            (false, false) => Poll::Lost,
        }
    };
    let outgoing = if config.is_joint() { half(config.outgoing()) } else { Poll::Won };
    match (half(config.incoming()), outgoing) {
        (Poll::Won, Poll::Won) => Poll::Won,
        (Poll::Lost, _) | (_, Poll::Lost) => Poll::Lost,
        _ => Poll::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfigChange;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn majorities_of_every_size_reach_the_middle_value() {
        for (count, reached) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)] {
            let config = Config::single(&nodes(&(1..=count).collect::<Vec<_>>()));
            assert_eq!(reached_by_quorum(&config, |id| id.0), Some(reached), "{count} voters");
        }
        assert_eq!(reached_by_quorum(&Config::default(), |id| id.0), None);
    }

    #[test]
    fn a_joint_quorum_is_the_smaller_half_and_not_the_union() {
        let change = ConfigChange { add_voters: nodes(&[4, 5]), remove: nodes(&[1, 2]), ..ConfigChange::default() };
        let config = Config::single(&nodes(&[1, 2, 3])).change(&change).unwrap();
        // The new half {3, 4, 5} is far ahead, and the union's majority with it.
        assert_eq!(reached_by_quorum(&config, |id| if id.0 >= 3 { 9 } else { 1 }), Some(1));
        assert_eq!(count_poll(&config, |id| (id.0 >= 3).then_some(true)), Poll::Open);
        assert_eq!(count_poll(&config, |id| Some(id.0 >= 3)), Poll::Lost);
        assert_eq!(count_poll(&config, |id| (id.0 >= 2).then_some(true)), Poll::Won);
    }

    #[test]
    fn nobody_wins_a_poll_without_voters() {
        assert_eq!(count_poll(&Config::default(), |_| Some(true)), Poll::Lost);
    }
}
