//! Claim: a group has at most one leader per term, and a quorum has voted for it in that term and in this life of it.

use base::{GroupId, NodeId, Term};
use raft::{Body, Role};

use crate::checker::ensure;
use crate::checker::quorum::is_quorum;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "election";

/// The votes that left for a node in the newest term in which any did.
#[derive(Default)]
struct Votes {
    term: Term,
    /// Who voted for which incarnation.
    given: Vec<(NodeId, u64)>,
}

/// See the claim above.
#[derive(Default)]
pub struct Election {
    /// The term that each node was last seen leading in.
    seen: Slots<(GroupId, NodeId), Term>,
    /// Who led in which term.
    leaders: Slots<(GroupId, Term), NodeId>,
    /// By who is voted for.
    votes: Slots<(GroupId, NodeId), Votes>,
}

impl Election {
    fn note_leader(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let seen = self.seen.of((view.group, view.node));
        if *seen == view.term {
            return Ok(());
        }
        *seen = view.term;
        let leader = self.leaders.of((view.group, view.term));
        ensure!(
            NAME,
            *leader == NodeId(0) || *leader == view.node,
            "group {}: nodes {leader} and {} both led in term {}",
            view.group,
            view.node,
            view.term
        );
        *leader = view.node;
        let votes = self.votes.of((view.group, view.node));
        let has_vote =
            |id: NodeId| id == view.node || votes.term == view.term && votes.given.contains(&(id, view.incarnation));
        ensure!(
            NAME,
            is_quorum(view.config, has_vote),
            "group {}: node {} leads in term {}, and in incarnation {} only {:?} of {:?} have voted for it",
            view.group,
            view.node,
            view.term,
            view.incarnation,
            view.config.voters().filter(|id| has_vote(*id)).collect::<Vec<_>>(),
            view.config.voters().collect::<Vec<_>>()
        );
        Ok(())
    }

    fn note_vote(&mut self, group: GroupId, from: NodeId, to: NodeId, term: Term, incarnation: u64) {
        let votes = self.votes.of((group, to));
        if term > votes.term {
            votes.term = term;
            votes.given.clear();
        }
        if term == votes.term && !votes.given.contains(&(from, incarnation)) {
            votes.given.push((from, incarnation));
        }
    }
}

impl Checker for Election {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS.and(Wants::SENT)
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Turn(view) if view.role == Role::Leader => self.note_leader(view),
            Event::Sent { from, to, group, body: Body::VoteResp { term, rejected: false, incarnation }, .. } => {
                self.note_vote(*group, *from, *to, *term, *incarnation);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, fires, ms, turn};

    fn vote(checker: &mut Election, from: u64, to: u64, term: u64, incarnation: u64) {
        let body = Body::VoteResp { term: Term(term), rejected: false, incarnation };
        let (from, to) = (NodeId(from), NodeId(to));
        checker.observe(ms(0), &Event::Sent { from, incarnation: 1, to, group: GROUP, body: &body }).unwrap();
    }

    #[test]
    fn leaders_of_different_terms_are_legal_and_two_of_one_are_not() {
        let mut checker = Election::default();
        vote(&mut checker, 2, 1, 1, 1);
        turn(&mut checker, &Seat::with(1, &[1], 0).leading()).unwrap();
        vote(&mut checker, 1, 2, 2, 1);
        turn(&mut checker, &Seat::with(2, &[1, 2], 0).leading()).unwrap();
        turn(&mut checker, &Seat::with(1, &[1, 1], 0).leading()).unwrap();
        turn(&mut checker, &Seat::with(3, &[1], 0)).unwrap();
        vote(&mut checker, 1, 3, 2, 1);
        fires(NAME, turn(&mut checker, &Seat::with(3, &[2], 0).leading()));
    }

    #[test]
    fn a_leader_whom_no_quorum_elected_in_this_life_is_seen() {
        let leader = Seat { incarnation: 2, ..Seat::with(1, &[1, 3], 0) }.leading();
        // A vote of no term that counts, of an earlier life, and for another.
        for (voter, whom, term, incarnation) in [(2, 1, 2, 2), (2, 1, 3, 1), (2, 3, 3, 2)] {
            let mut checker = Election::default();
            vote(&mut checker, voter, whom, term, incarnation);
            fires(NAME, turn(&mut checker, &leader));
        }
        let mut checker = Election::default();
        vote(&mut checker, 2, 1, 3, 1);
        vote(&mut checker, 3, 1, 3, 2);
        turn(&mut checker, &leader).unwrap();
    }
}
