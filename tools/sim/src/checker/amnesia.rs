//! Claim: a node whose log ends before what `meta` says was persisted comes back quarantined; and a leader that heard a
//! later life of a node refuse what an earlier one had acked to it, as if all were well, counts it no more in that term.

use base::{GroupId, LogIndex, Mono, NodeId, Term};
use raft::Body;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "amnesia";

/// What a leader counts a follower for.
#[derive(Clone, Copy, Default)]
struct Counted {
    /// The leader's life and term.
    of: (u64, Term),
    index: LogIndex,
    /// The follower's life when it was counted for so much.
    life: u64,
    /// The life in which it was heard to have less, and knew of nothing.
    is_amnesiac_in: Option<u64>,
}

/// See the claims above.
#[derive(Default)]
pub struct Amnesia {
    lives: Slots<(GroupId, NodeId), u64>,
    /// By group, leader and follower.
    counted: Slots<(GroupId, NodeId, NodeId), Counted>,
    /// Groups of nodes about to start that `meta` convicts.
    convicted: Vec<(GroupId, NodeId)>,
}

impl Amnesia {
    fn note_boot(&mut self, groups: &[GroupView<'_>]) -> Result<(), Violation> {
        for view in groups {
            *self.lives.of((view.group, view.node)) = view.incarnation;
            ensure!(
                NAME,
                view.is_quarantined || !self.convicted.contains(&(view.group, view.node)),
                "group {} node {}: meta tells of frames behind the end of the log, and it takes part",
                view.group,
                view.node
            );
            self.convicted.retain(|convicted| *convicted != (view.group, view.node));
        }
        Ok(())
    }

    fn note_leader(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        for peer in (0..).map_while(|at| view.peers.peer(at)) {
            let life = self.lives.get((view.group, peer.id)).copied().unwrap_or(0);
            let counted = self.counted.of((view.group, view.node, peer.id));
            if counted.of != (view.incarnation, view.term) {
                *counted = Counted { of: (view.incarnation, view.term), ..Counted::default() };
            }
            ensure!(
                NAME,
                counted.is_amnesiac_in != Some(life) || peer.match_index < counted.index,
                "group {}: leader {} of term {} counts node {} for {}, which it had acked to {} and then refused in life \
                 {life}",
                view.group,
                view.node,
                view.term,
                peer.id,
                peer.match_index,
                counted.index
            );
            if peer.match_index > counted.index {
                (counted.index, counted.life) = (peer.match_index, life);
            }
        }
        Ok(())
    }

    fn note_read(&mut self, group: GroupId, from: NodeId, to: NodeId, incarnation: u64, body: &Body) {
        let Body::AppendResp { term, index, rejected: true, busy: false, faulty: false, echo_mono, .. } = *body else {
            return;
        };
        let life = self.lives.get((group, from)).copied().unwrap_or(0);
        let counted = self.counted.of((group, to, from));
        let is_answer = echo_mono != Mono(0) && counted.of == (incarnation, term);
        if is_answer && index <= counted.index && life > counted.life {
            counted.is_amnesiac_in = Some(life);
        }
    }
}

impl Checker for Amnesia {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::TURNS.and(Wants::READ)
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Boot { groups, .. } => self.note_boot(groups),
            Event::Turn(ref view) if view.role == raft::Role::Leader => self.note_leader(view),
            Event::Read { from, to, incarnation, group, body } => {
                self.note_read(group, from, to, incarnation, body);
                Ok(())
            }
            Event::Forgot { node, group, is_proven: true, .. } => {
                self.convicted.push((group, node));
                Ok(())
            }
            Event::DiskLost { node } => {
                self.convicted.retain(|(_, convicted)| *convicted != node);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, boot, fires, ms, turn};
    use crate::observe::PeerMark;

    /// Node 1 leads in term 1, and counts node 2 for so much.
    fn counts(checker: &mut Amnesia, match_index: u64) -> Seen {
        let (match_index, next_index) = (LogIndex(match_index), LogIndex(match_index + 1));
        let peers = vec![PeerMark { id: NodeId(2), match_index, next_index }];
        turn(checker, &Seat { peers, ..Seat::with(1, &[1, 1, 1], 2).leading() })
    }

    fn refuses(checker: &mut Amnesia, index: u64, faulty: bool) {
        let body = Body::AppendResp {
            term: Term(1),
            index: LogIndex(index),
            rejected: true,
            busy: false,
            faulty,
            hint_index: LogIndex(0),
            hint_term: Term(0),
            read_position: 0,
            echo_mono: Mono(1),
        };
        let (from, to) = (NodeId(2), NodeId(1));
        checker.observe(ms(0), &Event::Read { from, to, incarnation: 1, group: GROUP, body: &body }).unwrap();
    }

    /// Node 2 acked up to 3 and came back; then it refuses.
    fn refused(index: u64, faulty: bool) -> Amnesia {
        let mut checker = Amnesia::default();
        boot(&mut checker, &Seat::with(2, &[1, 1, 1], 0)).unwrap();
        counts(&mut checker, 3).unwrap();
        boot(&mut checker, &Seat { incarnation: 2, ..Seat::with(2, &[1], 0) }).unwrap();
        counts(&mut checker, 0).unwrap();
        refuses(&mut checker, index, faulty);
        checker
    }

    #[test]
    fn whom_meta_convicts_is_quarantined() {
        let mut checker = Amnesia::default();
        let (node, group) = (NodeId(2), GROUP);
        let seat = Seat { is_quarantined: true, ..Seat::with(2, &[1], 0) };
        for is_proven in [false, true] {
            checker.observe(ms(0), &Event::Forgot { node, group, is_proven, is_known: is_proven }).unwrap();
            boot(&mut checker, &Seat { is_quarantined: is_proven, ..seat.clone() }).unwrap();
        }
        checker.observe(ms(0), &Event::Forgot { node, group, is_proven: true, is_known: false }).unwrap();
        fires(NAME, boot(&mut checker, &Seat { is_quarantined: false, ..seat }));
    }

    #[test]
    fn who_was_heard_to_have_forgotten_is_not_counted_again() {
        let mut checker = refused(3, false);
        counts(&mut checker, 0).unwrap();
        fires(NAME, counts(&mut checker, 3));
        // What it never acked it may refuse, and who knows that it lost something is filled up again.
        counts(&mut refused(4, false), 3).unwrap();
        counts(&mut refused(3, true), 3).unwrap();
        // Another life, another term.
        boot(&mut checker, &Seat { incarnation: 3, ..Seat::with(2, &[1, 1, 1], 0) }).unwrap();
        counts(&mut checker, 3).unwrap();
    }

    #[test]
    fn a_refusal_from_before_the_ack_proves_nothing() {
        let mut checker = Amnesia::default();
        boot(&mut checker, &Seat::with(2, &[1, 1, 1], 0)).unwrap();
        counts(&mut checker, 3).unwrap();
        refuses(&mut checker, 2, false);
        counts(&mut checker, 3).unwrap();
    }
}
