//! Claim: term and vote never go back, and nothing that depends on them or on entries left before they were on disk.

use base::{GroupId, LogIndex, NodeId, Term};
use raft::Body;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "hard_state";

/// What a power cut would leave.
#[derive(Clone, Copy, Default)]
struct OnDisk {
    term: Term,
    vote: NodeId,
    last_index: LogIndex,
    last_term: Term,
}

#[derive(Default)]
struct Kept {
    /// It lost what it had promised, and promises nothing more.
    is_quarantined: bool,
    incarnation: u64,
    term: Term,
    vote: NodeId,
    /// The term of its log's last entry, and where that term's entries begin.
    newest: (Term, LogIndex),
    on_disk: Option<OnDisk>,
}

/// See the claim above. Questions promise nothing and are exempt.
#[derive(Default)]
pub struct HardState {
    kept: Slots<(GroupId, NodeId), Kept>,
}

impl HardState {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let kept = self.kept.of((view.group, view.node));
        let (group, node) = (view.group, view.node);
        kept.is_quarantined = view.is_quarantined;
        if view.is_quarantined {
            (kept.term, kept.vote) = (view.term, view.vote);
            return Ok(());
        }
        if kept.incarnation != view.incarnation {
            kept.incarnation = view.incarnation;
            // What only memory held is gone; what was on disk when something left on its strength is not.
            let promised = kept.on_disk.unwrap_or_default();
            (kept.term, kept.vote) = (promised.term, promised.vote);
        }
        ensure!(NAME, view.term >= kept.term, "group {group} node {node}: term {} after {}", view.term, kept.term);
        ensure!(
            NAME,
            view.term > kept.term || kept.vote == NodeId(0) || view.vote == kept.vote,
            "group {group} node {node}: vote for {} after one for {} in term {}",
            view.vote,
            kept.vote,
            view.term
        );
        (kept.term, kept.vote) = (view.term, view.vote);
        let mut begin = view.log.last_index();
        let term = view.log.term(begin).unwrap_or_default();
        if kept.newest.0 != term {
            // A term begins at one place in every log that has it: looking once is enough.
            while begin > view.log.first_index() && view.log.term(begin.prev()) == Some(term) {
                begin = begin.prev();
            }
            kept.newest = (term, begin);
        }
        Ok(())
    }

    fn check_sent(&self, from: NodeId, to: NodeId, group: GroupId, body: &Body) -> Result<(), Violation> {
        let Some(kept) = self.kept.get((group, from)) else { return Ok(()) };
        let is_promise = matches!(
            *body,
            Body::VoteResp { rejected: false, .. }
                | Body::RequestVote { .. }
                | Body::AppendResp { rejected: false, busy: false, .. }
        );
        ensure!(
            NAME,
            !(kept.is_quarantined && is_promise),
            "group {group}: node {from} is quarantined and sent {body:?}"
        );
        let Some(disk) = kept.on_disk else { return Ok(()) };
        // On disk there may still be what the log has replaced.
        let is_replaced = |index| body.term() == kept.term && index >= kept.newest.1 && disk.last_term < kept.newest.0;
        let has_term = disk.term >= body.term();
        // A vote of a term that has passed on disk was replaced by a later one: it was there.
        let has_vote = |vote| disk.term > body.term() || disk.term == body.term() && disk.vote == vote;
        let holds = match *body {
            Body::PreVote { .. } | Body::PreVoteResp { rejected: false, .. } => true,
            // They ask, and promise nothing.
            Body::ReadIndex { .. } | Body::TimeoutNow { .. } | Body::EntryFetch { .. } => true,
            Body::VoteResp { rejected: false, .. } => has_vote(to),
            Body::RequestVote { last_index, last_term, .. } => {
                has_vote(from) && (disk.last_term, disk.last_index) >= (last_term, last_index)
            }
            Body::AppendResp { index, rejected: false, busy: false, .. } => {
                has_term && index <= disk.last_index && !is_replaced(index)
            }
            _ => has_term,
        };
        ensure!(
            NAME,
            holds,
            "group {group}: node {from} sent {body:?} to {to} with term {} vote {} entries to {} of term {} on disk",
            disk.term,
            disk.vote,
            disk.last_index,
            disk.last_term
        );
        Ok(())
    }
}

impl Checker for HardState {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS.and(Wants::SENT)
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => self.note_view(view),
            Event::Boot { groups, .. } => groups.iter().try_for_each(|view| self.note_view(view)),
            Event::Durable { node, group, term, vote, last_index, last_term } => {
                self.kept.of((group, node)).on_disk = Some(OnDisk { term, vote, last_index, last_term });
                Ok(())
            }
            Event::Sent { from, to, group, body, .. } => self.check_sent(from, to, group, body),
            Event::DiskLost { node } => {
                self.kept.iter_mut().filter(|((_, of), _)| *of == node).for_each(|(_, kept)| *kept = Kept::default());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Mono;

    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, boot, fires, ms, turn};

    fn disk(checker: &mut HardState, term: u64, vote: u64, last: (u64, u64)) -> Seen {
        let (last_term, last_index) = (Term(last.0), LogIndex(last.1));
        let (term, vote) = (Term(term), NodeId(vote));
        checker.observe(ms(0), &Event::Durable { node: NodeId(1), group: GROUP, term, vote, last_index, last_term })
    }

    fn sent(checker: &mut HardState, body: Body) -> Seen {
        let (from, to) = (NodeId(1), NodeId(2));
        checker.observe(ms(0), &Event::Sent { from, incarnation: 1, to, group: GROUP, body: &body })
    }

    fn ask(term: u64, last_term: u64, last_index: u64) -> Body {
        let (term, last_term, last_index) = (Term(term), Term(last_term), LogIndex(last_index));
        Body::RequestVote { term, last_index, last_term, incarnation: 1, forced: false }
    }

    fn ack(term: u64, index: u64, rejected: bool) -> Body {
        let (hint_index, hint_term) = (LogIndex(0), Term(0));
        let (term, index, echo_mono) = (Term(term), LogIndex(index), Mono(0));
        Body::AppendResp {
            term,
            index,
            rejected,
            busy: false,
            faulty: false,
            hint_index,
            hint_term,
            read_position: 0,
            echo_mono,
        }
    }

    fn vote(term: u64, rejected: bool) -> Body {
        Body::VoteResp { term: Term(term), rejected, incarnation: 1 }
    }

    #[test]
    fn what_is_on_disk_may_be_said() {
        let mut checker = HardState::default();
        disk(&mut checker, 3, 2, (2, 7)).unwrap();
        for body in [vote(3, false), vote(2, false), vote(3, true), ack(3, 7, false), ack(3, 9, true)] {
            sent(&mut checker, body).unwrap();
        }
        disk(&mut checker, 4, 1, (2, 7)).unwrap();
        sent(&mut checker, ask(4, 2, 7)).unwrap();
        let pre_vote = Body::PreVote { term: Term(9), last_index: LogIndex(99), last_term: Term(8), incarnation: 1 };
        sent(&mut checker, pre_vote).unwrap();
        sent(&mut checker, Body::ReadIndex { term: Term(9), read_id: 1, incarnation: 1 }).unwrap();
    }

    #[test]
    fn what_is_not_on_disk_may_not() {
        let mut checker = HardState::default();
        disk(&mut checker, 3, 3, (2, 7)).unwrap();
        for body in [vote(3, false), vote(4, true), ack(3, 8, false), ack(4, 7, false), ask(3, 2, 7), ask(4, 2, 7)] {
            fires(NAME, sent(&mut checker, body));
        }
        disk(&mut checker, 4, 1, (2, 7)).unwrap();
        fires(NAME, sent(&mut checker, ask(4, 2, 8)));
        fires(NAME, sent(&mut checker, ask(4, 3, 1)));
    }

    #[test]
    fn what_was_replaced_on_disk_is_not_what_is_acked() {
        let mut checker = HardState::default();
        turn(&mut checker, &Seat::with(1, &[1, 1, 3, 3], 0)).unwrap();
        disk(&mut checker, 3, 2, (1, 6)).unwrap();
        sent(&mut checker, ack(3, 2, false)).unwrap();
        fires(NAME, sent(&mut checker, ack(3, 3, false)));
        disk(&mut checker, 3, 2, (3, 3)).unwrap();
        sent(&mut checker, ack(3, 3, false)).unwrap();
        fires(NAME, sent(&mut checker, ack(3, 4, false)));
    }

    #[test]
    fn term_and_vote_never_go_back() {
        let mut checker = HardState::default();
        let mut seat = Seat { term: 3, vote: 2, ..Seat::new(1) };
        turn(&mut checker, &seat).unwrap();
        fires(NAME, turn(&mut checker, &Seat { vote: 3, ..seat.clone() }));
        fires(NAME, turn(&mut checker, &Seat { term: 2, ..seat.clone() }));
        seat.term = 4;
        seat.vote = 0;
        turn(&mut checker, &seat).unwrap();
    }

    #[test]
    fn who_is_quarantined_may_have_forgotten_and_promises_nothing() {
        let mut checker = HardState::default();
        disk(&mut checker, 3, 2, (2, 7)).unwrap();
        let lost = Seat { incarnation: 2, is_quarantined: true, ..Seat::new(1) };
        boot(&mut checker, &lost).unwrap();
        sent(&mut checker, vote(3, true)).unwrap();
        for body in [vote(3, false), ack(3, 7, false), ask(3, 2, 7)] {
            fires(NAME, sent(&mut checker, body));
        }
    }

    #[test]
    fn a_boot_may_forget_what_was_never_promised() {
        let mut checker = HardState::default();
        disk(&mut checker, 3, 2, (0, 0)).unwrap();
        turn(&mut checker, &Seat { term: 5, vote: 3, ..Seat::new(1) }).unwrap();
        let again = Seat { term: 3, vote: 2, incarnation: 2, ..Seat::new(1) };
        boot(&mut checker, &again).unwrap();
        fires(NAME, boot(&mut checker, &Seat { vote: 0, incarnation: 3, ..again.clone() }));
        fires(NAME, boot(&mut checker, &Seat { term: 2, incarnation: 4, ..again }));
    }
}
