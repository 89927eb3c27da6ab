//! Claim: one change of members at a time, none before an entry of the leader's own term is committed, every quorum of
//! the old configuration meets every one of the new, and the configuration in force is the one that the log holds.

use base::{GroupId, LogIndex, NodeId, Term};
use raft::{Config, Role};

use crate::checker::ensure;
use crate::checker::quorum::overlap;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "config";

/// One node at its last turn.
#[derive(Default)]
struct Node {
    incarnation: u64,
    is_leader: bool,
    term: Term,
    commit: LogIndex,
    config: Config,
    config_index: LogIndex,
    /// Of the configuration's entry: when it changes, so did the entry.
    crc: u32,
}

/// See the claim above.
#[derive(Default)]
pub struct ConfigChanges {
    nodes: Slots<(GroupId, NodeId), Node>,
    payload: Vec<u8>,
}

impl ConfigChanges {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let node = self.nodes.of((view.group, view.node));
        let is_new_life = node.incarnation != view.incarnation;
        let crc = view.log.crc(view.config_index).unwrap_or(0);
        // What was committed is the same behind a snapshot; what was not may have been another entry of that index.
        let was_committed = view.config_index <= node.commit;
        let is_same_entry = node.crc == crc || was_committed && view.config_index < view.log.first_index();
        let is_same = !is_new_life && node.config_index == view.config_index && is_same_entry;
        if is_same {
            let (group, id) = (view.group, view.node);
            ensure!(NAME, node.config == *view.config, "group {group} node {id}: members changed without an entry");
        } else {
            check_entry(view, &mut self.payload)?;
            let led_before = !is_new_life && node.is_leader && node.term == view.term;
            if view.role == Role::Leader && led_before {
                check_change(view, node)?;
            }
            node.config.clone_from(view.config);
            (node.incarnation, node.config_index, node.crc) = (view.incarnation, view.config_index, crc);
        }
        (node.is_leader, node.term, node.commit) = (view.role == Role::Leader, view.term, view.commit);
        Ok(())
    }
}

/// The configuration in force is what its entry says.
fn check_entry(view: &GroupView<'_>, payload: &mut Vec<u8>) -> Result<(), Violation> {
    let (group, id, index) = (view.group, view.node, view.config_index);
    ensure!(
        NAME,
        index <= view.log.last_index(),
        "group {group} node {id}: configuration {index} in force, and the log ends at {}",
        view.log.last_index()
    );
    payload.clear();
    if index >= view.log.first_index() && view.log.payload(index, payload) {
        let held = Config::decode(payload);
        ensure!(
            NAME,
            held.as_ref() == Ok(view.config),
            "group {group} node {id}: {:?} in force, and its entry {index} is {held:?}",
            view.config
        );
    }
    Ok(())
}

/// A leader has appended a configuration behind that of its last turn.
fn check_change(view: &GroupView<'_>, before: &Node) -> Result<(), Violation> {
    let (group, id, index) = (view.group, view.node, view.config_index);
    ensure!(
        NAME,
        index > before.config_index,
        "group {group} leader {id}: configuration {index} after {}",
        before.config_index
    );
    ensure!(
        NAME,
        before.config_index <= view.commit,
        "group {group} leader {id}: configuration {index} appended while {} waits behind commit {}",
        before.config_index,
        view.commit
    );
    ensure!(
        NAME,
        view.log.term(view.commit) == Some(view.term),
        "group {group} leader {id}: configuration {index} appended before an entry of term {} was committed",
        view.term
    );
    ensure!(
        NAME,
        overlap(&before.config, view.config),
        "group {group} leader {id}: quorums of {:?} and of {:?} at {index} need not meet",
        before.config,
        view.config
    );
    Ok(())
}

impl Checker for ConfigChanges {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        event.views().iter().try_for_each(|view| self.note_view(view))
    }
}

#[cfg(test)]
mod tests {
    use raft::ConfigChange;

    use super::*;
    use crate::checker::testing::{Seat, boot, fires, turn};

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// A leader of term 1 whose log is a no-op.
    fn leader(commit: u64) -> Seat {
        Seat::with(1, &[1], commit).leading()
    }

    fn appended(seat: &Seat, config: &Config) -> Seat {
        let mut seat = seat.clone();
        seat.log.push(1, &config.encode());
        seat.config = config.clone();
        seat.config_index = seat.log.last_index().0;
        seat
    }

    fn joint(seat: &Seat) -> Config {
        let change = ConfigChange { add_voters: nodes(&[4, 5]), remove: nodes(&[1, 2]), ..ConfigChange::default() };
        seat.config.change(&change).unwrap()
    }

    use crate::observe::LogView;

    #[test]
    fn a_joint_change_that_is_left_when_committed_is_legal() {
        let mut checker = ConfigChanges::default();
        let seat = leader(1);
        turn(&mut checker, &seat).unwrap();
        let mut seat = appended(&seat, &joint(&seat));
        turn(&mut checker, &seat).unwrap();
        seat.commit = 2;
        turn(&mut checker, &seat).unwrap();
        let left = appended(&seat, &seat.config.leave());
        turn(&mut checker, &left).unwrap();
        // A follower takes both at once; a restart finds what the log holds.
        turn(&mut checker, &Seat { node: 2, ..left.clone() }).unwrap();
        boot(&mut checker, &Seat { incarnation: 2, ..left.clone() }).unwrap();
        // A leader that drops its log behind a snapshot changes nothing.
        let mut compacted = Seat { commit: 3, applied: 3, ..left };
        turn(&mut checker, &compacted).unwrap();
        (0..3).for_each(|_| compacted.log.push(1, &[]));
        compacted.commit = 6;
        compacted.log.compact(5);
        turn(&mut checker, &compacted).unwrap();
    }

    #[test]
    fn a_second_change_before_the_first_is_committed_is_seen() {
        let mut checker = ConfigChanges::default();
        let seat = leader(1);
        turn(&mut checker, &seat).unwrap();
        let seat = appended(&seat, &joint(&seat));
        turn(&mut checker, &seat).unwrap();
        fires(NAME, turn(&mut checker, &appended(&seat, &seat.config.leave())));
    }

    #[test]
    fn a_change_before_an_own_term_commit_is_seen() {
        let mut checker = ConfigChanges::default();
        let seat = leader(0);
        turn(&mut checker, &seat).unwrap();
        fires(NAME, turn(&mut checker, &appended(&seat, &joint(&seat))));
    }

    #[test]
    fn quorums_that_need_not_meet_are_seen() {
        let mut checker = ConfigChanges::default();
        let seat = leader(1);
        turn(&mut checker, &seat).unwrap();
        fires(NAME, turn(&mut checker, &appended(&seat, &Config::single(&nodes(&[3, 4, 5])))));
    }

    #[test]
    fn a_configuration_that_the_log_does_not_hold_is_seen() {
        let mut checker = ConfigChanges::default();
        let with = appended(&leader(1), &Config::single(&nodes(&[1, 2])));
        turn(&mut checker, &Seat { node: 2, role: Role::Follower, ..with.clone() }).unwrap();
        let mut truncated = with.clone();
        truncated.log = crate::checker::testing::Twin::of(&[1, 2]);
        truncated.term = 2;
        fires(NAME, turn(&mut checker, &Seat { node: 2, role: Role::Follower, ..truncated.clone() }));
        truncated.log = crate::checker::testing::Twin::of(&[1]);
        fires(NAME, turn(&mut checker, &Seat { node: 2, role: Role::Follower, ..truncated }));
        let other = Seat { config: Config::single(&nodes(&[1])), ..with };
        fires(NAME, turn(&mut checker, &Seat { node: 3, role: Role::Follower, ..other }));
    }
}
