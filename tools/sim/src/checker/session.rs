//! Claim: what one client is told never goes back, whichever node tells it: neither indexes nor journal rows.

use std::collections::BTreeMap;

use base::{GroupId, Jid, LogIndex, Nsid};
use meta::{Answer, Outcome};

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::linear::shared::may_be_told_again;
use crate::observe::{Asked, Checker, Ended, Event, Path, Time, Token, Violation, Wants};

const NAME: &str = "session";

/// An operation on its way, with what its client knew when it began.
#[derive(Clone, Copy)]
struct Pending {
    client: u64,
    nsid: Nsid,
    /// Returns that the client had seen: what it was told later does not bind this operation.
    seen: u64,
    head: Jid,
    /// What it comes to may be what another one came to before.
    may_be_old: bool,
}

/// What a client was told of a group, with the count of returns at which it was.
#[derive(Default)]
struct Told {
    /// Ascending in both; only what some operation on its way may still need.
    rises: Vec<(u64, LogIndex)>,
}

impl Told {
    /// The highest index told within the first `seen` returns.
    fn floor(&self, seen: u64) -> LogIndex {
        let count = self.rises.partition_point(|(at, _)| *at <= seen);
        count.checked_sub(1).map_or(LogIndex(0), |last| self.rises[last].1)
    }

    fn rise(&mut self, at: u64, index: LogIndex, oldest: u64) {
        if self.rises.last().is_none_or(|(_, last)| *last < index) {
            let done = self.rises.partition_point(|(at, _)| *at <= oldest);
            self.rises.drain(..done.saturating_sub(1));
            self.rises.push((at, index));
        }
    }
}

/// See the claim above. Reads that may be old are bound to nothing.
#[derive(Default)]
pub struct Session {
    returns: u64,
    told: Slots<(u64, GroupId), Told>,
    heads: Slots<(u64, Nsid), Jid>,
    pending: BTreeMap<u64, Pending>,
}

impl Session {
    fn check_index(&mut self, pending: &Pending, token: &Token) -> Result<(), Violation> {
        if token.index == LogIndex(0) || token.path == Path::Stale {
            return Ok(());
        }
        let oldest = self.pending.values().map(|pending| pending.seen).min().unwrap_or(self.returns);
        let told = self.told.of((pending.client, token.group));
        let floor = told.floor(pending.seen);
        ensure!(
            NAME,
            token.index >= floor,
            "client {}: group {} at {} by node {}, after {floor}",
            pending.client,
            token.group,
            token.index,
            token.node
        );
        told.rise(self.returns, token.index, oldest);
        Ok(())
    }

    fn check_head(&mut self, pending: &Pending, nsid: Nsid, head: Jid, is_new: bool) -> Result<(), Violation> {
        let known = if nsid == pending.nsid { pending.head } else { Jid(0) };
        ensure!(
            NAME,
            if is_new { head > known } else { head >= known },
            "client {}: namespace {nsid} at row {head}, after {known}",
            pending.client
        );
        let told = self.heads.of((pending.client, nsid));
        *told = head.max(*told);
        Ok(())
    }

    fn note_return(&mut self, operation: u64, ended: &Ended<'_>) -> Result<(), Violation> {
        self.returns += 1;
        let Some(pending) = self.pending.remove(&operation) else { return Ok(()) };
        match ended {
            Ended::Outcome(outcome, token) => {
                self.check_index(&pending, token)?;
                if let Outcome::Applied(metadata) = outcome {
                    // A row of its own: behind all that was known when it was asked for.
                    if !pending.may_be_old {
                        self.check_head(&pending, metadata.nsid, metadata.jid, true)?;
                    }
                }
            }
            Ended::Answer(answer, token) => {
                self.check_index(&pending, token)?;
                if let (Answer::Head(head), false) = (answer, token.path == Path::Stale) {
                    self.check_head(&pending, pending.nsid, *head, false)?;
                }
            }
            Ended::NotDone | Ended::Unknown => {}
        }
        Ok(())
    }
}

impl Checker for Session {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Invoke { operation, client, nsid, asked, .. } => {
                let head = self.heads.get((client, nsid)).copied().unwrap_or_default();
                let may_be_old = matches!(asked, Asked::Write(command) if may_be_told_again(command));
                self.pending.insert(operation, Pending { client, nsid, seen: self.returns, head, may_be_old });
            }
            Event::Return { operation, ref ended } => self.note_return(operation, ended)?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::{Acct, NodeId, Term};

    use super::*;
    use crate::checker::testing::{GROUP, Seen, fires, ms};

    fn invoke(checker: &mut Session, operation: u64, client: u64) {
        let asked = Asked::Read { query: &meta::Query::Head, is_stale_allowed: false };
        let event = Event::Invoke { operation, client, acct: Acct(1), nsid: Nsid(7), asked };
        checker.observe(ms(0), &event).unwrap();
    }

    fn answer(checker: &mut Session, operation: u64, path: Path, index: u64, head: u64) -> Seen {
        let token = Token { group: GROUP, index: LogIndex(index), term: Term(1), place: 0, path, node: NodeId(1) };
        let answer = Answer::Head(Jid(head));
        checker.observe(ms(0), &Event::Return { operation, ended: Ended::Answer(&answer, token) })
    }

    #[test]
    fn a_client_may_be_told_older_things_by_what_it_asked_before() {
        let checker = &mut Session::default();
        invoke(checker, 1, 1);
        invoke(checker, 2, 1);
        answer(checker, 1, Path::ReadIndex, 9, 5).unwrap();
        answer(checker, 2, Path::ReadIndex, 8, 4).unwrap();
        invoke(checker, 3, 2);
        answer(checker, 3, Path::ReadIndex, 3, 1).unwrap();
        invoke(checker, 4, 1);
        answer(checker, 4, Path::Stale, 3, 1).unwrap();
    }

    #[test]
    fn indexes_and_heads_that_go_back_are_seen() {
        let checker = &mut Session::default();
        invoke(checker, 1, 1);
        answer(checker, 1, Path::Follower, 9, 5).unwrap();
        invoke(checker, 2, 1);
        fires(NAME, answer(checker, 2, Path::Follower, 8, 5));
        invoke(checker, 3, 1);
        fires(NAME, answer(checker, 3, Path::Follower, 9, 4));
    }
}
