//! The configurations of a log: the newest committed one and all later ones. The last one is in force.

use base::{LogIndex, NodeId, mutate};

use crate::Config;

/// Configurations by the index of their entries, ascending, never empty.
///
/// Invariant: at most the first lies at or below the commit index.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConfigHistory {
    configs: Vec<(LogIndex, Config)>,
}

impl ConfigHistory {
    pub(crate) fn new(index: LogIndex, config: Config) -> ConfigHistory {
        ConfigHistory { configs: vec![(index, config)] }
    }

    fn newest(&self) -> &(LogIndex, Config) {
        self.configs.last().expect("a history is never empty")
    }

    pub(crate) fn in_force(&self) -> &Config {
        &self.newest().1
    }

    pub(crate) fn index(&self) -> LogIndex {
        self.newest().0
    }

    /// Does it vote in the newest committed configuration, or in a later one? Who was voted out must still be able to
    /// lead until that is committed: it may be the only one whose log holds it (thesis 4.2.2).
    pub(crate) fn may_lead(&self, id: NodeId) -> bool {
        self.configs.iter().any(|(_, config)| config.is_voter(id))
    }

    /// A configuration takes effect when its entry is appended.
    pub(crate) fn push(&mut self, index: LogIndex, config: Config) {
        assert!(cfg!(mutations) || index > self.index(), "configuration at {index} behind the one at {}", self.index());
        self.configs.push((index, config));
    }

    /// The payload of a configuration entry in the middle became known.
    pub(crate) fn insert(&mut self, index: LogIndex, config: Config) {
        let at = self.configs.partition_point(|(known, _)| *known < index);
        // Below the first it was committed and replaced.
        if at > 0 && self.configs.get(at).is_none_or(|(known, _)| *known != index) {
            base::mark::hit!("raft.config.found_by_repair");
            self.configs.insert(at, (index, config));
        }
    }

    /// The members of all configurations that may still count, with repetitions.
    pub(crate) fn all_members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.configs.iter().flat_map(|(_, config)| config.members())
    }

    /// Entries from `index` on are gone, and their configurations with them. True if one was.
    pub(crate) fn note_truncated(&mut self, index: LogIndex) -> bool {
        let before = self.configs.len();
        while self.configs.len() > 1 && mutate!(MUT_19D, self.index() >= index, false) {
            self.configs.pop();
        }
        self.configs.len() != before
    }

    pub(crate) fn note_committed(&mut self, commit_index: LogIndex) {
        let committed = self.configs.iter().filter(|(index, _)| *index <= commit_index).count();
        self.configs.drain(..committed.saturating_sub(1));
    }

    /// The newest configuration at or below `index`; `None` when that is no longer known.
    pub(crate) fn at(&self, index: LogIndex) -> Option<(LogIndex, &Config)> {
        self.configs.iter().rev().find(|(at, _)| *at <= index).map(|(at, config)| (*at, config))
    }

    /// The log restarted behind a snapshot at `index` that carries `config`, and ends at `last_index`.
    pub(crate) fn note_installed(&mut self, index: LogIndex, config: Config, last_index: LogIndex) {
        self.configs.retain(|(at, _)| index < *at && *at <= last_index);
        self.configs.insert(0, (index, config));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(voter: u64) -> Config {
        Config::single(&[NodeId(voter)])
    }

    #[test]
    fn truncation_restores_the_configuration_before() {
        let mut history = ConfigHistory::new(LogIndex(0), config(1));
        history.push(LogIndex(5), config(2));
        history.push(LogIndex(9), config(3));
        assert!(!history.note_truncated(LogIndex(10)));
        assert!(history.note_truncated(LogIndex(9)));
        assert_eq!((history.index(), history.in_force()), (LogIndex(5), &config(2)));
        assert!(history.note_truncated(LogIndex(2)));
        assert_eq!((history.index(), history.in_force()), (LogIndex(0), &config(1)));
    }

    #[test]
    fn the_newest_committed_and_all_later_ones_are_kept() {
        let mut history = ConfigHistory::new(LogIndex(0), config(1));
        history.push(LogIndex(5), config(2));
        history.push(LogIndex(9), config(3));
        history.note_committed(LogIndex(7));
        assert_eq!(history.configs.iter().map(|(at, _)| at.0).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(history.at(LogIndex(4)), None);
        assert_eq!(history.at(LogIndex(8)), Some((LogIndex(5), &config(2))));
    }

    #[test]
    fn who_was_voted_out_may_lead_until_that_is_committed() {
        let mut history = ConfigHistory::new(LogIndex(0), config(1));
        history.push(LogIndex(5), config(2));
        history.note_committed(LogIndex(4));
        assert!(history.may_lead(NodeId(1)) && history.may_lead(NodeId(2)));
        history.note_committed(LogIndex(5));
        assert!(!history.may_lead(NodeId(1)) && history.may_lead(NodeId(2)));
    }

    #[test]
    fn a_snapshot_replaces_what_lies_below_it() {
        let mut history = ConfigHistory::new(LogIndex(0), config(1));
        history.push(LogIndex(5), config(2));
        history.push(LogIndex(9), config(3));
        history.note_installed(LogIndex(7), config(4), LogIndex(9));
        assert_eq!(history.configs.iter().map(|(at, _)| at.0).collect::<Vec<_>>(), [7, 9]);
        history.note_installed(LogIndex(20), config(5), LogIndex(20));
        assert_eq!((history.index(), history.in_force()), (LogIndex(20), &config(5)));
    }
}
