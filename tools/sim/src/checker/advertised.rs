//! Claim: what a leader tells others is committed it has applied itself, in this life.
//!
//! A follower may thus answer from a commit index that it was told only what the leader would answer as well.

use base::{GroupId, LogIndex, NodeId};
use raft::Body;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, Time, Violation, Wants};

const NAME: &str = "advertised";

/// See the claim above.
#[derive(Default)]
pub struct Advertised {
    applied: Slots<(GroupId, NodeId), LogIndex>,
}

impl Checker for Advertised {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS.and(Wants::SENT)
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        let is_start = matches!(event, Event::Boot { .. });
        for view in event.views() {
            // Who was voted out and came back has applied once what its machine may lack now. A start knows nothing of it.
            let applied = self.applied.of((view.group, view.node));
            *applied = if is_start { view.applied } else { view.applied.max(*applied) };
        }
        let Event::Sent { from, to, group, body, .. } = *event else { return Ok(()) };
        let (Body::AppendEntries { commit_index, .. } | Body::Heartbeat { commit_index, .. }) = *body else {
            return Ok(());
        };
        let applied = *self.applied.of((group, from));
        ensure!(
            NAME,
            commit_index <= applied,
            "group {group}: node {from} tells node {to} of commit {commit_index}, and has applied to {applied}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::{Mono, Term};

    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, boot, fires, ms, turn};

    fn tell(checker: &mut Advertised, commit: u64) -> Seen {
        let (term, commit_index, send_mono) = (Term(1), LogIndex(commit), Mono(0));
        let body = Body::Heartbeat { term, commit_index, read_position: 0, quiesce: false, send_mono };
        let (from, to) = (NodeId(1), NodeId(2));
        checker.observe(ms(1), &Event::Sent { from, incarnation: 1, to, group: GROUP, body: &body })
    }

    #[test]
    fn what_is_applied_may_be_told() {
        let checker = &mut Advertised::default();
        boot(checker, &Seat::with(1, &[1, 1, 1], 2)).unwrap();
        tell(checker, 0).unwrap();
        tell(checker, 2).unwrap();
        turn(checker, &Seat::with(1, &[1, 1, 1], 3).leading()).unwrap();
        tell(checker, 3).unwrap();
    }

    #[test]
    fn a_commit_that_is_not_applied_is_seen() {
        let checker = &mut Advertised::default();
        let mut seat = Seat::with(1, &[1, 1, 1], 3).leading();
        seat.applied = 2;
        turn(checker, &seat).unwrap();
        tell(checker, 2).unwrap();
        fires(NAME, tell(checker, 3));
    }
}
