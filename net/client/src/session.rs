//! The exactly-once session of one group (docs/design/metadata.md 10).

use std::collections::VecDeque;

use base::limits::SESSION_INFLIGHT_MAX;
use base::{Sequence, SessionId};

/// One group's session and who waits for it.
#[derive(Default)]
pub(crate) struct Session {
    /// Registered, and not gone since.
    is_open: bool,
    /// The last one registered.
    id: SessionId,
    /// The sequence of the next new command.
    next: u64,
    /// Of the sequences before `next`, from the lowest unanswered one on: was it answered? Invariant: the first was not.
    answered: VecDeque<bool>,
    /// One above the highest sequence that is known to have been executed. The server counts its window from there at
    /// the latest, whatever was given up meanwhile.
    executed_below: u64,
    /// Counts the sessions that were used up; part of the nonce.
    pub(crate) ordinal: u32,
    /// Requests that wait for the session or for room in it.
    waiting: VecDeque<u64>,
    /// The request that registers, while there is one.
    pub(crate) register: Option<u64>,
}

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// A place for a new command; `None` when it must wait, for room or for the session.
    pub(crate) fn assign(&mut self) -> Option<(SessionId, Sequence)> {
        if !self.is_open || self.next - self.lowest_unanswered() >= SESSION_INFLIGHT_MAX {
            return None;
        }
        if self.next - self.executed_below >= SESSION_INFLIGHT_MAX {
            // All of the window was given up and nothing of it is known to be done: the server would take no more.
            base::mark::hit!("client.session.renewed");
            self.is_open = false;
            self.ordinal += 1;
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.answered.push_back(false);
        Some((self.id, Sequence(sequence)))
    }

    /// What a command of `session` acknowledges: outcomes below are needed no more. 0, nothing, for a session that is
    /// not the current one.
    pub(crate) fn ack_below(&self, session: SessionId) -> u64 {
        if session == self.id { self.lowest_unanswered() } else { 0 }
    }

    fn lowest_unanswered(&self) -> u64 {
        self.next - self.answered.len() as u64
    }

    /// The command is answered, or nobody waits for its answer any more.
    pub(crate) fn handle_answered(&mut self, session: SessionId, sequence: Sequence) {
        if session == self.id {
            let at = sequence.0.checked_sub(self.lowest_unanswered());
            if let Some(answered) = at.and_then(|at| self.answered.get_mut(at as usize)) {
                *answered = true;
            }
            while self.answered.front() == Some(&true) {
                self.answered.pop_front();
            }
        }
    }

    /// The command is known to have been executed, so that its outcome was kept.
    pub(crate) fn handle_executed(&mut self, session: SessionId, sequence: Sequence) {
        if session == self.id {
            self.executed_below = self.executed_below.max(sequence.0 + 1);
        }
    }

    /// Registered. The same session again goes on where it was: its old sequences have outcomes already.
    pub(crate) fn handle_opened(&mut self, id: SessionId) {
        if id != self.id || self.next == 0 {
            self.id = id;
            self.next = 1;
            self.executed_below = 1;
            self.answered.clear();
        }
        self.is_open = true;
        self.register = None;
    }

    /// The server does not know `id`: if that is the one in use, another must be registered.
    pub(crate) fn handle_gone(&mut self, id: SessionId) {
        self.is_open &= id != self.id;
    }

    pub(crate) fn wait(&mut self, request: u64) {
        self.waiting.push_back(request);
    }

    /// Those who waited, to try again.
    pub(crate) fn take_waiting(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.waiting.drain(..)
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = u64> + '_ {
        self.waiting.iter().copied()
    }

    pub(crate) fn first_waiting(&self) -> Option<u64> {
        self.waiting.front().copied()
    }

    pub(crate) fn drop_first_waiting(&mut self) {
        self.waiting.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(id: u64) -> Session {
        let mut session = Session::default();
        session.handle_opened(SessionId(id));
        session
    }

    fn end(session: &mut Session, sequence: u64) {
        session.handle_answered(SessionId(9), Sequence(sequence));
        session.handle_executed(SessionId(9), Sequence(sequence));
    }

    #[test]
    fn sequences_are_dense_from_one_and_ack_below_is_the_lowest_unanswered() {
        let mut session = opened(9);
        let drawn: Vec<u64> = (0..3).map(|_| session.assign().unwrap().1.0).collect();
        assert_eq!((drawn, session.ack_below(SessionId(9))), (vec![1, 2, 3], 1));
        end(&mut session, 2);
        assert_eq!(session.ack_below(SessionId(9)), 1);
        end(&mut session, 1);
        assert_eq!(session.ack_below(SessionId(9)), 3);
        end(&mut session, 3);
        assert_eq!(session.ack_below(SessionId(9)), 4);
        assert_eq!(session.ack_below(SessionId(8)), 0, "another session's outcomes are not touched");
    }

    #[test]
    fn no_more_than_the_bound_is_outstanding() {
        let mut session = opened(9);
        (0..SESSION_INFLIGHT_MAX).for_each(|_| assert!(session.assign().is_some()));
        assert!(session.assign().is_none());
        end(&mut session, 2);
        assert!(session.assign().is_none(), "the lowest one still stands");
        end(&mut session, 1);
        assert!(session.assign().is_some());
        assert!(session.is_open());
    }

    #[test]
    fn a_window_that_was_all_given_up_needs_another_session() {
        let mut session = opened(9);
        (0..SESSION_INFLIGHT_MAX).for_each(|_| assert!(session.assign().is_some()));
        (1..=SESSION_INFLIGHT_MAX).for_each(|sequence| session.handle_answered(SessionId(9), Sequence(sequence)));
        assert!(session.assign().is_none());
        assert_eq!((session.is_open(), session.ordinal), (false, 1));
    }

    #[test]
    fn a_session_that_comes_back_never_uses_a_sequence_twice() {
        let mut session = opened(9);
        session.assign();
        session.handle_gone(SessionId(9));
        assert!(session.assign().is_none());
        session.handle_opened(SessionId(9));
        assert_eq!(session.assign(), Some((SessionId(9), Sequence(2))));
        session.handle_gone(SessionId(8));
        assert!(session.is_open(), "another session went");
        session.handle_gone(SessionId(9));
        session.handle_opened(SessionId(10));
        assert_eq!(session.assign(), Some((SessionId(10), Sequence(1))));
    }
}
