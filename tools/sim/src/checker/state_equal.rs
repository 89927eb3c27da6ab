//! Claim: replicas that have applied up to the same index have the same state, and the same rows.

use std::collections::BTreeMap;

use base::{GroupId, LogIndex, NodeId};

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "state_equal";

/// See the claim above.
#[derive(Default)]
pub struct StateEqual {
    /// The hash of the state behind each entry, by index; none where nobody was seen to stop.
    groups: Slots<GroupId, Vec<Option<u64>>>,
    /// What each node was last seen with.
    nodes: Slots<(GroupId, NodeId), Option<(LogIndex, u64)>>,
    /// The rows behind some entries: who was seen with them first, and their hash.
    contents: BTreeMap<(GroupId, LogIndex), (NodeId, u64)>,
}

impl StateEqual {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let now = Some((view.applied, view.state_hash));
        let seen = self.nodes.of((view.group, view.node));
        if *seen == now {
            return Ok(());
        }
        *seen = now;
        let hashes = self.groups.of(view.group);
        let at = usize::try_from(view.applied.0).expect("logs of a run fit in memory");
        if hashes.len() <= at {
            hashes.resize(at + 1, None);
        }
        let known = *hashes[at].get_or_insert(view.state_hash);
        ensure!(
            NAME,
            known == view.state_hash,
            "group {} node {}: state {:016x} behind entry {}, where it was {known:016x}",
            view.group,
            view.node,
            view.state_hash,
            view.applied
        );
        Ok(())
    }
}

impl Checker for StateEqual {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        if let Event::Content { node, group, applied, hash } = *event {
            let (first, known) = *self.contents.entry((group, applied)).or_insert((node, hash));
            ensure!(
                NAME,
                known == hash,
                "group {group}: the rows of node {node} behind entry {applied} are others than those of node {first}"
            );
        }
        event.views().iter().try_for_each(|view| self.note_view(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, boot, fires, ms, turn};

    #[test]
    fn another_state_behind_the_same_entry_is_seen() {
        let mut checker = StateEqual::default();
        let seat = |node, applied, state_hash| Seat { applied, state_hash, ..Seat::with(node, &[1, 1, 1], 3) };
        turn(&mut checker, &seat(1, 1, 10)).unwrap();
        turn(&mut checker, &seat(1, 3, 30)).unwrap();
        turn(&mut checker, &seat(2, 2, 20)).unwrap();
        turn(&mut checker, &seat(2, 3, 30)).unwrap();
        boot(&mut checker, &seat(1, 2, 20)).unwrap();
        fires(NAME, turn(&mut checker, &seat(3, 2, 21)));
        fires(NAME, turn(&mut checker, &seat(2, 3, 31)));
    }

    #[test]
    fn other_rows_behind_the_same_entry_are_seen() {
        let mut checker = StateEqual::default();
        let mut content = |node, applied, hash| {
            let (node, applied) = (NodeId(node), LogIndex(applied));
            checker.observe(ms(0), &Event::Content { node, group: GROUP, applied, hash })
        };
        content(1, 5, 7).unwrap();
        content(1, 6, 8).unwrap();
        content(2, 5, 7).unwrap();
        fires(NAME, content(3, 6, 7));
    }
}
