//! The state of one group in the specification, and how an observed turn moves it.

use std::collections::BTreeMap;

use base::{GroupId, LogIndex, NodeId, Term};
use raft::{Config, Role};

use super::log::{Entry, Log};
use super::terms::{Nodes, Terms};
use super::{Refused, Step, guard};
use crate::observe::GroupView;

/// A node as it was after its last observed turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub id: NodeId,
    pub incarnation: u64,
    pub is_up: bool,
    /// None while it does not run.
    pub role: Option<Role>,
    pub term: Term,
    pub vote: NodeId,
    pub commit: LogIndex,
    pub applied: LogIndex,
    pub persisted: LogIndex,
    pub config: Config,
    pub config_index: LogIndex,
    pub log: Log,
    /// The first entry that the view showed.
    pub first: LogIndex,
    /// Index and term of the state of a leader that came last. It is shown before the log is restarted behind it.
    pub state: (LogIndex, Term),
    /// The newest committed configuration that leaders told it to be no member of.
    pub told_out: LogIndex,
    /// It has dropped what it applied, once.
    pub has_dropped: bool,
    /// The highest term in anything it said that promises: it outlives the process.
    pub promised: Term,
    /// It said that it lost something, and the term above all in which it acked that.
    pub doubt: Term,
    /// Other nodes gave it lost entries up to here.
    pub fetched: LogIndex,
    /// These nodes told it that they never had the entry at this index.
    pub absent: Vec<(LogIndex, Nodes)>,
}

impl Node {
    pub fn was(&self, role: Role, term: Term) -> bool {
        self.role == Some(role) && self.term == term
    }
}

/// What a turn is judged by: the view after it, and the place of its node.
#[derive(Clone, Copy)]
pub(super) struct Turn<'v, 'a> {
    pub place: usize,
    pub view: &'v GroupView<'a>,
    /// The log was restarted behind a state of a leader.
    pub is_installed: bool,
}

/// One group.
#[derive(Default)]
pub(crate) struct Group {
    pub(super) nodes: Vec<Node>,
    pub(super) terms: Terms,
    /// By index from 1: the entry that was made there first.
    pub(super) made: Vec<Entry>,
    /// Entries of other terms at an index that has one.
    pub(super) made_also: BTreeMap<(LogIndex, Term), Entry>,
    /// By index from 1: what is committed; term 0 is not known.
    pub(super) committed: Vec<Entry>,
}

pub(super) fn at(index: LogIndex) -> usize {
    usize::try_from(index.0).expect("logs of a run fit in memory").wrapping_sub(1)
}

impl Group {
    /// A turn ended in this state; a new incarnation is a Restart that was not reported by itself.
    pub(crate) fn note_turn(&mut self, view: &GroupView<'_>) -> Step {
        let place = self.place(view.node);
        if self.nodes[place].incarnation != view.incarnation || !self.nodes[place].is_up {
            // Its boot was not shown: while a snapshot is being installed nothing is.
            self.adopt(place, view);
            return Ok(());
        }
        let turn = self.turn(place, view);
        self.check_term(&turn)?;
        self.check_vote(&turn)?;
        self.check_leader(&turn)?;
        self.take_log(&turn)?;
        self.check_persisted(&turn)?;
        self.check_commit(&turn)?;
        self.check_applied(&turn)?;
        self.check_config(&turn)?;
        self.nodes[place].has_dropped |= view.applied < self.nodes[place].applied;
        self.keep(place, view);
        Ok(())
    }

    /// A process began in this state, which its disk held.
    pub(crate) fn note_boot(&mut self, view: &GroupView<'_>) -> Step {
        let place = self.place(view.node);
        if self.nodes[place].incarnation != 0 {
            self.check_restart(&self.turn(place, view))?;
        }
        self.adopt(place, view);
        Ok(())
    }

    /// Crash: all that only memory held is gone; what the node is next, [`Group::note_boot`] tells.
    pub(crate) fn note_crash(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.iter_mut().find(|known| known.id == node) {
            (node.is_up, node.role) = (false, None);
        }
    }

    fn turn<'v, 'a>(&self, place: usize, view: &'v GroupView<'a>) -> Turn<'v, 'a> {
        let (node, first) = (&self.nodes[place], view.log.first_index());
        let is_installed = first.prev() > node.commit || first != node.first && first.prev() == node.state.0;
        Turn { place, view, is_installed }
    }

    fn check_restart(&self, turn: &Turn<'_, '_>) -> Step {
        let (view, before) = (turn.view, &self.nodes[turn.place]);
        let last_term = view.log.term(view.log.last_index()).unwrap_or_default();
        guard!(Restart, view.role == Role::Follower, "it begins as {:?}", view.role);
        guard!(Restart, view.term <= before.term.max(last_term), "term {} after {}", view.term, before.term);
        // Who is quarantined has lost a part of what it promised, and says so.
        let keeps = !view.is_quarantined;
        let is_late = view.term >= before.promised || !keeps;
        guard!(Restart, is_late, "term {} after it spoke in {}", view.term, before.promised);
        let fact = self.terms.get(view.term, turn.place);
        guard!(
            Restart,
            view.vote == NodeId(0) || fact.vote == view.vote,
            "vote for {} in term {} after one for {}",
            view.vote,
            view.term,
            fact.vote
        );
        guard!(
            Restart,
            !fact.is_vote_told || fact.vote == view.vote || !keeps,
            "vote for {} in term {} after {} was told of one",
            view.vote,
            view.term,
            fact.vote
        );
        let floor = view.log.first_index().prev();
        // In the turn in which it died, which nobody saw, it may have learned and applied what was committed.
        let is_known = || self.committed_at(view.commit) == Some(entry(view, view.commit));
        guard!(
            Restart,
            view.commit <= before.commit.max(floor) || is_known(),
            "commit {} after {}, with a log from {floor}",
            view.commit,
            before.commit
        );
        for index in (view.log.first_index().0..=view.log.last_index().0).rev().map(LogIndex) {
            let held = entry(view, index);
            if before.log.get(index) == Some(held) {
                break;
            }
            guard!(Restart, self.is_made(index, held), "nobody made entry {index}: {held:?}");
        }
        Ok(())
    }

    /// The node is as `view` shows.
    fn adopt(&mut self, place: usize, view: &GroupView<'_>) {
        let node = &mut self.nodes[place];
        node.log.look(view.log);
        (node.incarnation, node.is_up) = (view.incarnation, true);
        (node.doubt, node.fetched, node.absent, node.state) = Default::default();
        for term in (view.term.0..=node.term.0.max(view.term.0)).map(Term) {
            let Some(fact) = self.terms.of(term).map(|facts| facts.of(place)) else { break };
            // What nobody was told of died with the process.
            if !fact.is_vote_told {
                (fact.vote, fact.began) = (NodeId(0), None);
            }
        }
        self.keep(place, view);
    }

    fn keep(&mut self, place: usize, view: &GroupView<'_>) {
        let node = &mut self.nodes[place];
        (node.role, node.term, node.vote) = (Some(view.role), view.term, view.vote);
        (node.commit, node.applied, node.persisted) = (view.commit, view.applied, view.persisted);
        node.first = view.log.first_index();
        if node.config_index != view.config_index || node.config != *view.config {
            node.config.clone_from(view.config);
            node.config_index = view.config_index;
        }
        let (id, end) = (node.id, node.log.end());
        let Some(facts) = self.terms.of(view.term) else { return };
        if view.role == Role::Leader {
            facts.leader = id;
        }
        let fact = facts.of(place);
        if view.vote != NodeId(0) {
            fact.vote = view.vote;
        }
        if view.role == Role::Candidate && fact.began.is_none() {
            fact.began = Some(end);
        }
    }

    pub(super) fn place(&mut self, id: NodeId) -> usize {
        self.nodes.iter().position(|known| known.id == id).unwrap_or_else(|| {
            assert!(self.nodes.len() < Nodes::BITS as usize, "a group of a run has fewer nodes than a set has bits");
            self.nodes.push(Node { id, ..Node::default() });
            self.nodes.len() - 1
        })
    }

    pub(super) fn place_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|known| known.id == id)
    }

    pub(super) fn is_in(&self, set: Nodes, id: NodeId) -> bool {
        self.place_of(id).is_some_and(|place| set >> place & 1 == 1)
    }

    /// Did a leader make this entry?
    pub(super) fn is_made(&self, index: LogIndex, entry: Entry) -> bool {
        self.made_as(index, entry.term).is_some_and(|made| made.is_same(entry))
    }

    /// The entry that a term's leader made at an index.
    pub(super) fn made_as(&self, index: LogIndex, term: Term) -> Option<Entry> {
        let first = self.made.get(at(index)).filter(|first| first.term == term);
        first.or_else(|| self.made_also.get(&(index, term))).copied()
    }

    pub(super) fn make(&mut self, index: LogIndex, entry: Entry) {
        if self.made.len() <= at(index) {
            self.made.resize(at(index) + 1, Entry::default());
        }
        let first = &mut self.made[at(index)];
        if first.term == Term(0) {
            *first = entry;
        } else {
            self.made_also.insert((index, entry.term), entry);
        }
    }
}

pub(super) fn entry(view: &GroupView<'_>, index: LogIndex) -> Entry {
    Entry { term: view.log.term(index).unwrap_or_default(), crc: view.log.crc(index).unwrap_or(0) }
}

/// A refusal with its step.
pub(crate) fn describe(group: GroupId, node: NodeId, step: &str, refused: &Refused) -> String {
    let Refused { action, guard } = refused;
    format!("group {group} node {node}: no action explains {step}; the nearest is {action:?}, but: {guard}")
}
