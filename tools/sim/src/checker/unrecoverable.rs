//! Claim: a group that is not live although all nodes were healed cannot be: nobody that has all its entries, or gets them
//! from the entries of others, is ahead of a quorum that kept its hard state.
//!
//! What is known of a node's log by the rules of docs/design/raft.md, "Storage faults":
//! ```text
//!  faulty above what is applied      it votes, counting the entry as present, and does not campaign, until
//!    held by another as an entry     it is fetched and written again
//!    held by too few for a quorum    the log is cut there: it is committed nowhere
//!    else                            never: a state that another has applied comes from a leader alone
//!  in doubt of its last frame        it votes for those alone who have all that the others tell of
//! ```

use base::{GroupId, LogIndex, NodeId, Term};

use crate::checker::ensure;
use crate::checker::quorum::is_quorum;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "unrecoverable";

/// See the claim above. It is told of a group only where so much may be lost that one cannot be saved.
#[derive(Default)]
pub struct Unrecoverable;

/// What repair can make of a node's log without a leader.
struct Mended {
    /// Its last entry, by which it votes and is voted for.
    last: (Term, LogIndex),
    /// The first entry whose bytes it cannot get.
    lost: Option<LogIndex>,
}

fn is_held(view: &GroupView<'_>, index: LogIndex, term: Term) -> bool {
    let is_there = view.log.first_index() <= index && index <= view.log.last_index();
    is_there && view.log.term(index) == Some(term)
}

/// Those that know what they promised and never had this entry are so many that it is committed nowhere.
fn is_nowhere(of: &GroupView<'_>, index: LogIndex, term: Term, views: &[GroupView<'_>]) -> bool {
    let lacks = |other: &GroupView<'_>| {
        other.node != of.node
            && !other.is_quarantined
            && !other.is_doubtful
            && other.log.first_index() <= index
            && !is_held(other, index, term)
    };
    let may_hold = |id: NodeId| !views.iter().any(|other| other.node == id && lacks(other));
    let blocks = |half: &[NodeId]| half.is_empty() || half.iter().filter(|id| may_hold(**id)).count() * 2 <= half.len();
    index > of.commit && blocks(of.config.incoming()) && blocks(of.config.outgoing())
}

fn mend(view: &GroupView<'_>, views: &[GroupView<'_>]) -> Mended {
    let (first, last) = (view.log.first_index().max(view.applied.next()), view.log.last_index());
    for index in (first.0..=last.0).map(LogIndex).filter(|index| view.log.is_faulty(*index)) {
        let term = view.log.term(index).unwrap_or_default();
        if views.iter().any(|other| is_held(other, index, term) && !other.log.is_faulty(index)) {
            continue;
        }
        if is_nowhere(view, index, term, views) {
            return Mended { last: (view.log.term(index.prev()).unwrap_or_default(), index.prev()), lost: None };
        }
        return Mended { last: (view.log.term(last).unwrap_or_default(), last), lost: Some(index) };
    }
    Mended { last: (view.log.term(last).unwrap_or_default(), last), lost: None }
}

/// Somebody who could lead.
fn candidate(views: &[GroupView<'_>]) -> Option<NodeId> {
    let mended: Vec<Mended> = views.iter().map(|view| mend(view, views)).collect();
    let both = || views.iter().zip(&mended).filter(|(view, _)| !view.is_quarantined);
    let floor = both().map(|(_, mended)| mended.last).max().unwrap_or_default();
    let would_win = |view: &GroupView<'_>, own: &Mended| {
        let would_vote = |other: &GroupView<'_>, theirs: &Mended| {
            let least = if other.is_doubtful { floor } else { theirs.last };
            least <= own.last
        };
        let votes = |id: NodeId| both().any(|(other, theirs)| other.node == id && would_vote(other, theirs));
        own.lost.is_none() && view.config.is_voter(view.node) && is_quorum(view.config, votes)
    };
    both().find(|(view, own)| would_win(view, own)).map(|(view, _)| view.node)
}

fn check(group: GroupId, views: &[GroupView<'_>]) -> Result<(), Violation> {
    let candidate = candidate(views);
    ensure!(
        NAME,
        candidate.is_none(),
        "group {group} is not live, and node {} has or can fetch all its entries and is ahead of a quorum that has its \
         hard state",
        candidate.unwrap_or_default()
    );
    Ok(())
}

impl Checker for Unrecoverable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Stuck { group, views } => check(group, views),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, fires, ms};

    fn stuck(seats: &[Seat]) -> Seen {
        let views: Vec<_> = seats.iter().map(Seat::view).collect();
        Unrecoverable.observe(ms(0), &Event::Stuck { group: GROUP, views: &views })
    }

    fn seats() -> [Seat; 3] {
        [1, 2, 3].map(|node| Seat::with(node, &[1, 1], 1))
    }

    #[test]
    fn a_group_that_could_live_must() {
        fires(NAME, stuck(&seats()));
        // One of three is gone, or one copy of an entry is.
        fires(NAME, stuck(&seats()[..2]));
        let mut one_bad = seats();
        one_bad[0].log.spoil(2);
        fires(NAME, stuck(&one_bad));
    }

    #[test]
    fn a_lost_quorum_or_a_lost_entry_is_a_proof() {
        stuck(&seats()[..1]).unwrap();
        let mut forgotten = seats();
        (forgotten[0].is_quarantined, forgotten[1].is_quarantined) = (true, true);
        stuck(&forgotten).unwrap();
        let mut all_bad = seats();
        all_bad.iter_mut().for_each(|seat| seat.log.spoil(2));
        stuck(&all_bad).unwrap();
        // Who has applied it has it.
        all_bad[1].applied = 2;
        fires(NAME, stuck(&all_bad));
    }

    /// Node 3 is gone. Node 1 has entries that node 2 lacks, and lost one that node 2 has.
    fn crossed() -> [Seat; 2] {
        let mut ahead = Seat::with(1, &[1, 1, 1, 1, 1], 1);
        ahead.log.spoil(2);
        [ahead, Seat::with(2, &[1, 1, 1], 3)]
    }

    #[test]
    fn who_is_ahead_and_lost_what_the_other_has_as_a_state_alone_cannot_lead_nor_be_led() {
        fires(NAME, stuck(&crossed()));
        let mut compacted = crossed();
        compacted[1].log.compact(2);
        stuck(&compacted).unwrap();
        // With the third one there is a quorum that does without node 1, or has the entry.
        let [ahead, behind] = compacted;
        fires(NAME, stuck(&[ahead.clone(), behind.clone(), Seat::with(3, &[1], 1)]));
        fires(NAME, stuck(&[ahead.clone(), Seat::with(3, &[1, 1, 1], 1)]));
        // As long as node 1, or with its state, node 2 leads.
        fires(NAME, stuck(&[ahead.clone(), Seat::with(2, &[1, 1, 1, 1, 2], 5)]));
        fires(NAME, stuck(&[Seat { applied: 2, ..ahead }, behind]));
    }

    /// Of five voters one is gone, one is in doubt, and one alone had a third entry, whose bytes it lost.
    fn doubted() -> Vec<Seat> {
        let config = raft::Config::single(&[1, 2, 3, 4, 5].map(NodeId));
        let seat = |node, terms: &[u64]| Seat { config: config.clone(), ..Seat::with(node, terms, 1) };
        let mut seats = vec![seat(1, &[1, 1]), seat(2, &[1, 1]), seat(3, &[1, 1]), seat(4, &[1, 1, 1])];
        seats[1].is_doubtful = true;
        seats[3].log.spoil(3);
        seats
    }

    #[test]
    fn who_is_in_doubt_says_nothing_of_what_it_never_had_and_follows_nobody_behind_it() {
        stuck(&doubted()).unwrap();
        // Sure of itself, it makes the third that never had the entry.
        let mut sure = doubted();
        sure[1].is_doubtful = false;
        fires(NAME, stuck(&sure));
        // With the bytes in place their node leads, and who is in doubt votes for it.
        let mut whole = doubted();
        whole[3] = Seat { config: whole[0].config.clone(), ..Seat::with(4, &[1, 1, 1], 1) };
        fires(NAME, stuck(&whole));
    }

    #[test]
    fn an_entry_that_a_quorum_never_had_is_cut_and_excuses_nothing() {
        let mut bad = seats();
        for terms in [&[1u64, 1][..], &[1, 2]] {
            bad[0] = Seat::with(1, &[1, 1, 1], 1);
            bad[0].log.spoil(3);
            (bad[1], bad[2]) = (Seat::with(2, &[1, 1], 1), Seat::with(3, terms, 1));
            fires(NAME, stuck(&bad));
        }
        // Of three one is gone, which may have had it.
        stuck(&bad[..2]).unwrap();
    }
}
