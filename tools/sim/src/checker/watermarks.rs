//! Claim: first - 1 <= applied <= commit <= last, commit never goes back, match < next, a leader commits only what a
//! quorum persisted in its own term, and nobody acknowledges beyond what it persisted, nor beyond what is committed or
//! what the message matched that it answers; nor does a leader count a follower for more than its present life acked.

use std::collections::BTreeMap;

use base::{GroupId, LogIndex, Mono, NodeId, Term};
use raft::{Body, Config, Role};

use crate::checker::answers::Answers;
use crate::checker::ensure;
use crate::checker::lives::Lives;
use crate::checker::quorum::is_quorum;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation};

const NAME: &str = "watermarks";

/// A set of nodes of one group, by the order in which they were first seen.
type Nodes = u128;

/// Who was ever seen to have persisted which entry.
#[derive(Default)]
struct Copies {
    nodes: Vec<NodeId>,
    /// By index from 1: the term first seen there, and who has that entry.
    first_seen: Vec<(Term, Nodes)>,
    others: BTreeMap<(LogIndex, Term), Nodes>,
}

impl Copies {
    fn place(&mut self, node: NodeId) -> usize {
        self.nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
            assert!(self.nodes.len() < Nodes::BITS as usize, "a group of a run has fewer nodes than a set has bits");
            self.nodes.push(node);
            self.nodes.len() - 1
        })
    }

    fn note(&mut self, index: LogIndex, term: Term, place: usize) {
        let at = usize::try_from(index.0 - 1).expect("logs of a run fit in memory");
        if self.first_seen.len() <= at {
            self.first_seen.resize(at + 1, (Term(0), 0));
        }
        let seen = &mut self.first_seen[at];
        if seen.1 == 0 {
            seen.0 = term;
        }
        let set = if seen.0 == term { &mut seen.1 } else { self.others.entry((index, term)).or_default() };
        *set |= 1 << place;
    }

    fn has(&self, index: LogIndex, term: Term, node: NodeId) -> bool {
        let Some(place) = self.nodes.iter().position(|known| *known == node) else { return false };
        let seen = self.first_seen.get(usize::try_from(index.0).expect("logs of a run fit in memory") - 1);
        let first_seen = seen.filter(|seen| seen.0 == term).map(|seen| seen.1);
        let set = first_seen.or_else(|| self.others.get(&(index, term)).copied()).unwrap_or(0);
        set >> place & 1 == 1
    }
}

/// One node at its last turn.
#[derive(Default)]
struct Node {
    incarnation: u64,
    term: Term,
    was_leader: bool,
    commit: LogIndex,
    persisted: LogIndex,
    /// What it had dropped behind a snapshot: committed, and persisted.
    before_first: LogIndex,
    /// It was out of the group, or was told so: it may have dropped its rows, and cut its log behind what it had.
    was_out: bool,
    /// The last entry, and its term, up to which [`Copies`] knows of it.
    marked: (LogIndex, Term),
    config: Config,
    /// An ack that left before the turn that must cover it was seen.
    acked: LogIndex,
    /// Entries above what was persisted whose bytes were known to be lost.
    faulty: Vec<LogIndex>,
}

impl Node {
    /// A fault that nobody knew of at the last turn holds back what is persisted now: it takes some of it back, or takes
    /// the place of one that is repaired.
    fn note_faults(&mut self, view: &GroupView<'_>) -> bool {
        let limit = view.persisted.next();
        let above = (limit.0..=view.log.last_index().0).map(LogIndex);
        let known = std::mem::take(&mut self.faulty);
        self.faulty.extend(above.filter(|index| view.log.is_faulty(*index)));
        let is_limited = self.faulty.first() == Some(&limit);
        view.persisted < self.persisted || is_limited && !known.contains(&limit)
    }
}

/// See the claim above.
#[derive(Default)]
pub struct Watermarks {
    groups: Slots<GroupId, Copies>,
    nodes: Slots<(GroupId, NodeId), Node>,
    answers: Answers,
    lives: Lives,
}

impl Watermarks {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let is_named = view.config.members().next().is_none() || view.config.is_member(view.node);
        let node = self.nodes.of((view.group, view.node));
        node.was_out |= !is_named && view.config_index <= view.commit;
        check_order(view, node.was_out)?;
        check_peers(view)?;
        self.lives.note_view(view);
        if let Some((peer, held)) = self.lives.overrated(view) {
            let (group, id, counted) = (view.group, view.node, peer.match_index);
            ensure!(
                NAME,
                false,
                "group {group} leader {id}: counts {} for {counted}, and the life it is connected with acked {held}",
                peer.id
            );
        }
        let node = self.nodes.of((view.group, view.node));
        if node.incarnation != view.incarnation {
            let (config, was_out) = (std::mem::take(&mut node.config), node.was_out);
            *node = Node { incarnation: view.incarnation, config, was_out, ..Node::default() };
        }
        let (group, id) = (view.group, view.node);
        ensure!(
            NAME,
            view.commit >= node.commit,
            "group {group} node {id}: commit {} after {}",
            view.commit,
            node.commit
        );
        let is_covered = node.acked <= view.persisted || view.term != node.term;
        ensure!(NAME, is_covered, "group {group} node {id}: acked {} with {} persisted", node.acked, view.persisted);
        mark(self.groups.of(group), node, view);
        let commit_before = std::mem::replace(&mut node.commit, view.commit);
        // What came to light in this very turn may have done so behind the commit, and behind the sync that the leader
        // counted.
        let has_fault = node.note_faults(view);
        let was_leader = std::mem::replace(&mut node.was_leader, view.role == Role::Leader) && node.term == view.term;
        (node.term, node.persisted, node.acked) = (view.term, view.persisted, LogIndex(0));
        let before = view.log.first_index().prev();
        // Who has dropped its rows holds nothing of what lies before its log.
        node.before_first = if node.was_out { before.min(view.applied) } else { before };
        // A change appended in this very turn counts from the next entry on: the one before it may still have decided.
        let before = if node.config == *view.config {
            None
        } else {
            Some(std::mem::replace(&mut node.config, view.config.clone()))
        };
        if view.role == Role::Leader && view.commit > commit_before {
            let term = view.log.term(view.commit);
            if was_leader {
                ensure!(
                    NAME,
                    term == Some(view.term),
                    "group {group} leader {id}: counted entry {} of {term:?} in term {}",
                    view.commit,
                    view.term
                );
            }
            if term == Some(view.term) {
                self.check_quorum(view, before.as_ref(), has_fault)?;
            }
        }
        Ok(())
    }

    fn check_quorum(&self, view: &GroupView<'_>, before: Option<&Config>, has_fault: bool) -> Result<(), Violation> {
        let copies = self.groups.get(view.group).expect("every view is noted first");
        let holds = |id: NodeId| {
            let is_dropped = self.nodes.get((view.group, id)).is_some_and(|node| node.before_first >= view.commit);
            is_dropped || has_fault && id == view.node || copies.has(view.commit, view.term, id)
        };
        let is_reached = is_quorum(view.config, holds) || before.is_some_and(|before| is_quorum(before, holds));
        ensure!(
            NAME,
            is_reached,
            "group {}: leader {} committed {} in term {} persisted only by {:?} of {:?}",
            view.group,
            view.node,
            view.commit,
            view.term,
            view.config.voters().filter(|id| holds(*id)).collect::<Vec<_>>(),
            view.config.voters().collect::<Vec<_>>()
        );
        Ok(())
    }

    /// More may follow in the log of who answers, of another leader: its like in the asker's log is another entry.
    fn check_answer(
        &self,
        (from, to): (NodeId, NodeId),
        group: GroupId,
        (term, index): (Term, LogIndex),
        echo: Mono,
    ) -> Result<(), Violation> {
        let Some(most) = self.answers.most(group, from, to, term, echo) else { return Ok(()) };
        let commit = self.nodes.get((group, from)).map_or(LogIndex(0), |node| node.commit);
        ensure!(
            NAME,
            index <= most.max(commit),
            "group {group} node {from}: acked {index} to {to} for a message that matched {most}, commit {commit}"
        );
        Ok(())
    }

    fn note_ack(&mut self, from: NodeId, incarnation: u64, group: GroupId, (term, index): (Term, LogIndex)) {
        let node = self.nodes.of((group, from));
        // Reported before its turn, perhaps: the next view decides. What was acked in an earlier term and left behind the
        // turn that raised it may be replaced already; `hard_state` knows whether it was on disk.
        if node.incarnation == incarnation && index > node.persisted && term >= node.term {
            node.acked = node.acked.max(index);
        }
    }
}

fn check_order(view: &GroupView<'_>, was_out: bool) -> Result<(), Violation> {
    let (group, node) = (view.group, view.node);
    let (before, last) = (view.log.first_index().prev(), view.log.last_index());
    // While a snapshot is being installed the log already begins behind it.
    let is_installing = before > view.commit && view.role != Role::Leader;
    ensure!(
        NAME,
        // `refinement` judges when rows may go.
        before <= view.applied || is_installing || was_out && view.applied == LogIndex(0),
        "group {group} node {node}: applied {} and the log begins behind {before}",
        view.applied
    );
    ensure!(
        NAME,
        view.applied <= view.commit,
        "group {group} node {node}: applied {} commit {}",
        view.applied,
        view.commit
    );
    ensure!(NAME, view.commit <= last, "group {group} node {node}: commit {} and the log ends at {last}", view.commit);
    ensure!(
        NAME,
        view.persisted <= last,
        "group {group} node {node}: persisted {} of a log that ends at {last}",
        view.persisted
    );
    Ok(())
}

fn check_peers(view: &GroupView<'_>) -> Result<(), Violation> {
    let last = view.log.last_index();
    for peer in (0..).map_while(|at| view.peers.peer(at)) {
        ensure!(
            NAME,
            peer.match_index < peer.next_index && peer.match_index <= last && peer.next_index <= last.next(),
            "group {} leader {}: peer {} match {} next {} of a log that ends at {last}",
            view.group,
            view.node,
            peer.id,
            peer.match_index,
            peer.next_index
        );
    }
    Ok(())
}

/// Notes what the node has persisted since.
fn mark(copies: &mut Copies, node: &mut Node, view: &GroupView<'_>) {
    let (mut index, term) = node.marked;
    if index > view.persisted || view.log.term(index) != Some(term) {
        // Replaced from somewhere on; what is committed never is.
        index = view.persisted.min(node.commit);
    }
    index = index.max(view.log.first_index().prev());
    if index >= view.persisted {
        node.marked = (index, view.log.term(index).unwrap_or_default());
        return;
    }
    let place = copies.place(view.node);
    while index < view.persisted {
        index = index.next();
        copies.note(index, view.log.term(index).unwrap_or_default(), place);
    }
    node.marked = (index, view.log.term(index).unwrap_or_default());
}

impl Checker for Watermarks {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => {
                self.answers.note_turn(view.group, view.node);
                self.note_view(view)
            }
            Event::Boot { groups, .. } => groups.iter().try_for_each(|view| self.note_view(view)),
            Event::Read { from, to, incarnation, group, body } => {
                self.answers.note_read(group, from, to, incarnation, body);
                self.lives.note_read(group, from, to, incarnation);
                Ok(())
            }
            Event::Sent { from, incarnation, to, group, body } => {
                let Body::AppendResp { term, index, rejected: false, busy: false, echo_mono, .. } = *body else {
                    if matches!(body, Body::Removed { .. }) {
                        self.nodes.of((group, to)).was_out = true;
                    }
                    return Ok(());
                };
                self.note_ack(from, incarnation, group, (term, index));
                self.lives.note_ack(group, from, incarnation, index);
                self.check_answer((from, to), group, (term, index), echo_mono)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, ack as acked, append, boot, fires, ms, turn};
    use crate::observe::PeerMark;

    fn ack(checker: &mut Watermarks, from: u64, term: u64, index: u64) {
        let body = acked(term, index, 0);
        let (from, to) = (NodeId(from), NodeId(2));
        checker.observe(ms(0), &Event::Sent { from, incarnation: 1, to, group: GROUP, body: &body }).unwrap();
    }

    #[test]
    fn a_commit_of_what_a_quorum_persisted_is_legal() {
        let mut checker = Watermarks::default();
        turn(&mut checker, &Seat::with(2, &[1, 1], 0)).unwrap();
        let mut leader = Seat { persisted: 0, ..Seat::with(1, &[1, 1, 1], 0).leading() };
        turn(&mut checker, &leader).unwrap();
        turn(&mut checker, &Seat::with(3, &[1, 1], 0)).unwrap();
        leader.commit = 2;
        turn(&mut checker, &leader).unwrap();
        // By a follower that has dropped its log behind a snapshot.
        let mut compacted = Seat::with(2, &[1, 1, 1, 1], 3);
        compacted.log.compact(3);
        turn(&mut checker, &compacted).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 3).leading()).unwrap();
    }

    #[test]
    fn only_who_was_out_may_lack_what_lies_before_its_log_and_it_is_not_counted_for_that() {
        let mut hollow = Seat { applied: 0, ..Seat::with(2, &[1, 1, 1, 1], 3) };
        hollow.log.compact(3);
        let mut checker = Watermarks::default();
        fires(NAME, turn(&mut checker, &hollow));
        let removed = Body::Removed { term: Term(1), config_index: LogIndex(2) };
        let (from, to) = (NodeId(1), NodeId(2));
        checker.observe(ms(0), &Event::Sent { from, incarnation: 1, to, group: GROUP, body: &removed }).unwrap();
        turn(&mut checker, &hollow).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 2).leading()).unwrap_err();
        // With a state it holds that again.
        turn(&mut checker, &Seat { applied: 3, ..hollow.clone() }).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 3).leading()).unwrap();
        // By a committed configuration.
        let others = Config::single(&[1, 3].map(NodeId));
        turn(&mut Watermarks::default(), &Seat { config: others, config_index: 2, ..hollow }).unwrap();
    }

    #[test]
    fn a_commit_of_a_minority_or_of_other_entries_is_seen() {
        let mut checker = Watermarks::default();
        turn(&mut checker, &Seat::with(2, &[1, 1], 0)).unwrap();
        turn(&mut checker, &Seat::with(3, &[1], 0)).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 2], 0).leading()).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(1, &[1, 2], 2).leading()));
        let mut checker = Watermarks::default();
        turn(&mut checker, &Seat { persisted: 1, ..Seat::with(2, &[1, 1], 0) }).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(1, &[1, 1], 2).leading()));
    }

    #[test]
    fn what_was_replaced_is_not_counted_for_its_replacement() {
        let mut checker = Watermarks::default();
        turn(&mut checker, &Seat::with(2, &[1, 1, 1], 0)).unwrap();
        turn(&mut checker, &Seat { persisted: 1, ..Seat::with(2, &[1, 2, 2], 0) }).unwrap();
        fires(NAME, turn(&mut checker, &Seat::with(1, &[1, 2, 2], 3).leading()));
        let mut checker = Watermarks::default();
        turn(&mut checker, &Seat::with(2, &[1, 1, 1], 0)).unwrap();
        turn(&mut checker, &Seat::with(2, &[1, 2, 2], 0)).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 2, 2], 3).leading()).unwrap();
    }

    #[test]
    fn a_learner_and_one_half_do_not_make_a_quorum() {
        let one = Config::single(&[NodeId(1), NodeId(2)]);
        let change = raft::ConfigChange {
            add_voters: vec![NodeId(4), NodeId(5), NodeId(6)],
            remove: vec![NodeId(2)],
            ..Default::default()
        };
        let joint = one.change(&change).unwrap();
        let mut checker = Watermarks::default();
        [4, 5, 6].iter().for_each(|node| turn(&mut checker, &Seat::with(*node, &[1, 1], 0)).unwrap());
        let mut leader = Seat { config: joint, ..Seat::with(1, &[1, 1], 0).leading() };
        turn(&mut checker, &leader).unwrap();
        leader.commit = 2;
        fires(NAME, turn(&mut checker, &leader));
    }

    #[test]
    fn a_fault_found_in_the_turn_of_a_commit_takes_it_not_back() {
        let leader = |persisted, commit| Seat { persisted, ..Seat::with(1, &[1, 1, 1], commit).leading() };
        let begun = || {
            let mut checker = Watermarks::default();
            turn(&mut checker, &Seat::with(2, &[1, 1, 1], 0)).unwrap();
            turn(&mut checker, &leader(2, 0)).unwrap();
            checker
        };
        turn(&mut begun(), &leader(1, 3)).unwrap();
        fires(NAME, turn(&mut begun(), &leader(2, 3)));
        // Later turns have no excuse.
        let mut checker = begun();
        turn(&mut checker, &leader(1, 0)).unwrap();
        fires(NAME, turn(&mut checker, &leader(1, 3)));
    }

    #[test]
    fn a_new_fault_behind_one_that_is_repaired_takes_no_commit_back_and_a_known_one_does() {
        let leader = |persisted, commit, faulty: &[u64]| {
            let mut seat = Seat { persisted, ..Seat::with(1, &[1, 1, 1, 1], commit).leading() };
            faulty.iter().for_each(|index| seat.log.spoil(*index));
            seat
        };
        let after = |faulty: &[u64]| {
            let mut checker = Watermarks::default();
            turn(&mut checker, &Seat::with(2, &[1, 1, 1, 1], 0)).unwrap();
            turn(&mut checker, &leader(0, 0, faulty)).unwrap();
            turn(&mut checker, &leader(2, 4, &[3]))
        };
        after(&[1]).unwrap();
        fires(NAME, after(&[1, 3]));
    }

    #[test]
    fn counting_an_entry_of_an_earlier_term_is_seen() {
        let mut checker = Watermarks::default();
        [2, 3].iter().for_each(|node| turn(&mut checker, &Seat::with(*node, &[1, 2], 0)).unwrap());
        let mut leader = Seat { term: 4, ..Seat::with(1, &[1, 2], 0).leading() };
        turn(&mut checker, &leader).unwrap();
        leader.commit = 2;
        fires(NAME, turn(&mut checker, &leader));
    }

    #[test]
    fn the_order_of_the_marks_is_checked() {
        let checker = &mut Watermarks::default();
        turn(checker, &Seat::with(1, &[1, 1, 1], 2)).unwrap();
        fires(NAME, turn(checker, &Seat::with(1, &[1, 1, 1], 1)));
        boot(checker, &Seat { incarnation: 2, ..Seat::with(1, &[1, 1, 1], 1) }).unwrap();
        fires(NAME, turn(checker, &Seat { applied: 3, ..Seat::with(2, &[1, 1, 1], 2) }));
        fires(NAME, turn(checker, &Seat { commit: 4, ..Seat::with(2, &[1, 1, 1], 2) }));
        fires(NAME, turn(checker, &Seat { persisted: 4, ..Seat::with(2, &[1, 1, 1], 2) }));
        let mut compacted = Seat { applied: 1, ..Seat::with(3, &[1, 1, 1, 1], 3) };
        compacted.log.compact(2);
        fires(NAME, turn(checker, &compacted));
        turn(checker, &Seat { commit: 1, ..compacted }).unwrap();
    }

    #[test]
    fn match_stays_below_next() {
        let peer = |match_index, next_index| PeerMark {
            id: NodeId(2),
            match_index: LogIndex(match_index),
            next_index: LogIndex(next_index),
        };
        let leader = |peers| Seat { peers, ..Seat::with(1, &[1, 1], 0).leading() };
        let mut checker = Watermarks::default();
        turn(&mut checker, &leader(vec![peer(0, 1), peer(2, 3)])).unwrap();
        fires(NAME, turn(&mut checker, &leader(vec![peer(1, 1)])));
        fires(NAME, turn(&mut checker, &leader(vec![peer(0, 1), peer(3, 4)])));
    }

    #[test]
    fn a_follower_that_is_counted_for_what_only_an_earlier_life_acked_is_seen() {
        let mut checker = Watermarks::default();
        let peers = vec![PeerMark { id: NodeId(2), match_index: LogIndex(3), next_index: LogIndex(4) }];
        let leader = Seat { peers, ..Seat::with(1, &[1, 1, 1], 0).leading() };
        turn(&mut checker, &Seat::with(2, &[1, 1, 1], 0)).unwrap();
        turn(&mut checker, &leader).unwrap();
        boot(&mut checker, &Seat { incarnation: 2, ..Seat::with(2, &[1, 1], 0) }).unwrap();
        turn(&mut checker, &leader).unwrap();
        let body = Body::HeartbeatAck { term: Term(1), read_position: 0, quiesce: false, echo_mono: Mono(0) };
        let (from, to) = (NodeId(2), NodeId(1));
        checker.observe(ms(0), &Event::Read { from, to, incarnation: 1, group: GROUP, body: &body }).unwrap();
        fires(NAME, turn(&mut checker, &leader));
    }

    #[test]
    fn an_ack_beyond_what_is_persisted_is_seen() {
        let mut checker = Watermarks::default();
        let mut seat = Seat { persisted: 1, ..Seat::with(1, &[1, 1], 0) };
        turn(&mut checker, &seat).unwrap();
        ack(&mut checker, 1, 1, 1);
        turn(&mut checker, &seat).unwrap();
        // Told before its turn.
        ack(&mut checker, 1, 1, 2);
        seat.persisted = 2;
        turn(&mut checker, &seat).unwrap();
        ack(&mut checker, 1, 1, 3);
        fires(NAME, turn(&mut checker, &seat));
    }

    #[test]
    fn an_ack_of_more_than_its_message_matched_is_seen() {
        let receive = |checker: &mut Watermarks, sent: u64, prev: u64, count: u16| {
            let body = append(1, (1, prev), count, sent);
            let (from, to) = (NodeId(2), NodeId(1));
            checker.observe(ms(0), &Event::Read { from, to, incarnation: 1, group: GROUP, body: &body }).unwrap();
            turn(checker, &Seat::with(1, &[1, 1, 1], 1)).unwrap();
        };
        let answer = |checker: &mut Watermarks, index: u64, echo: u64| {
            let body = acked(1, index, echo);
            let (from, to) = (NodeId(1), NodeId(2));
            checker.observe(ms(0), &Event::Sent { from, incarnation: 1, to, group: GROUP, body: &body })
        };
        let mut checker = Watermarks::default();
        receive(&mut checker, 10, 0, 2);
        receive(&mut checker, 20, 2, 0);
        answer(&mut checker, 2, 10).unwrap();
        answer(&mut checker, 2, 20).unwrap();
        fires(NAME, answer(&mut checker, 3, 20));
        // What is committed may always be told, and what echoes nothing is no answer to an append.
        receive(&mut checker, 30, 0, 0);
        answer(&mut checker, 1, 30).unwrap();
        fires(NAME, answer(&mut checker, 2, 30));
        answer(&mut checker, 3, 0).unwrap();
    }
}
