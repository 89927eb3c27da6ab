//! What was ever sent, as facts by term and node: they only grow, so a late or repeated message is explained like a new
//! one.

use base::{LogIndex, NodeId, Term};

/// A set of the nodes of a group, by the order in which they were first seen.
pub(super) type Nodes = u128;

/// A poll for a term: who was asked by which life of the asker, and who said yes to it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Poll {
    pub incarnation: u64,
    /// Term and index of the asker's last entry.
    pub last: (Term, LogIndex),
    pub asked: Nodes,
    /// By earlier lives of the asker: their answers may still come, and count for nothing.
    asked_before: Nodes,
    pub granted: Nodes,
}

impl Poll {
    /// The poll of this life of the asker, which asks anew. Answers to what it asked before in this term still count.
    pub fn of(&mut self, incarnation: u64, last: (Term, LogIndex)) -> &mut Poll {
        if self.incarnation != incarnation {
            let asked_before = self.asked_before | self.asked;
            *self = Poll { incarnation, asked_before, ..Poll::default() };
        }
        self.last = last;
        self
    }

    /// True when this life of the asker has asked the node, or may have, when there were later ones.
    pub fn has_asked(&self, node: usize, incarnation: u64) -> bool {
        let asked = if self.incarnation == incarnation { self.asked } else { self.asked_before };
        asked >> node & 1 == 1 && self.incarnation >= incarnation
    }
}

/// What concerns one node in one term.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Fact {
    /// A message that raises terms was sent to it.
    pub is_told: bool,
    /// The leader asked it to campaign at once.
    pub is_urged: bool,
    /// Its vote; node 0 is none that was seen.
    pub vote: NodeId,
    /// It said so: the vote outlives its process.
    pub is_vote_told: bool,
    /// Its last entry when it became a candidate.
    pub began: Option<(Term, LogIndex)>,
    /// It asked who would vote for it.
    pub pre_vote: Poll,
    /// It asked for votes.
    pub votes: Poll,
    /// It acked the leader's entries up to here.
    pub acked: LogIndex,
    /// The leader sent it entries up to here.
    pub offered: LogIndex,
    /// The leader told it that so much is committed.
    pub advertised: LogIndex,
}

/// What concerns one term.
#[derive(Clone, Default, Debug)]
pub(super) struct Facts {
    /// Who was seen leading; node 0 is nobody.
    pub leader: NodeId,
    of: Vec<Fact>,
}

impl Facts {
    /// What is known of the node at `place`.
    pub fn of(&mut self, place: usize) -> &mut Fact {
        if self.of.len() <= place {
            self.of.resize(place + 1, Fact::default());
        }
        &mut self.of[place]
    }

    /// The same, to look at.
    pub fn get(&self, place: usize) -> Fact {
        self.of.get(place).copied().unwrap_or_default()
    }
}

/// The terms of one group, by number.
#[derive(Clone, Default, Debug)]
pub(super) struct Terms {
    all: Vec<Facts>,
}

/// Terms of one group in one run: candidacies raise them one by one.
const TERMS_MAX: u64 = 1 << 20;

impl Terms {
    /// None for a term that no run reaches.
    pub fn of(&mut self, term: Term) -> Option<&mut Facts> {
        if term.0 >= TERMS_MAX {
            return None;
        }
        let at = usize::try_from(term.0).ok()?;
        if self.all.len() <= at {
            self.all.resize_with(at + 1, Facts::default);
        }
        Some(&mut self.all[at])
    }

    /// What is known of a node in a term.
    pub fn get(&self, term: Term, place: usize) -> Fact {
        self.facts(term).map_or(Fact::default(), |facts| facts.get(place))
    }

    /// Who was seen leading in a term; node 0 is nobody.
    pub fn leader(&self, term: Term) -> NodeId {
        self.facts(term).map_or(NodeId(0), |facts| facts.leader)
    }

    /// The most of what was said to the node at `place` in the terms `from ..= to`.
    pub fn most(&self, from: Term, to: Term, place: usize, what: impl Fn(&Fact) -> LogIndex) -> LogIndex {
        (from.0..=to.0).map(|term| what(&self.get(Term(term), place))).max().unwrap_or_default()
    }

    fn facts(&self, term: Term) -> Option<&Facts> {
        self.all.get(usize::try_from(term.0).ok()?)
    }
}
