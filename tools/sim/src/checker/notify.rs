//! Claim: the heads told to one watcher never go back, and a reader of the journal is never sent back or past its end.

use std::collections::BTreeMap;

use base::{Jid, Nsid};
use meta::{Answer, DeltaCursor, Query};

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Asked, Checker, Ended, Event, Path, Time, Violation, Wants};

const NAME: &str = "notify";

/// A Delta on its way.
#[derive(Clone)]
struct Reading {
    nsid: Nsid,
    from: DeltaCursor,
}

/// See the claim above: of the nine properties *ordered*, *resumable* and *bookmarkable*; what the changes themselves
/// must be is for `linear`, which replays them.
#[derive(Default)]
pub struct Notify {
    /// The last head told, by watch; watches of one run have numbers of their own.
    watches: BTreeMap<u64, Jid>,
    readings: BTreeMap<u64, Reading>,
    /// The highest head that a fresh read or a watcher was told.
    heads: Slots<Nsid, Jid>,
}

impl Notify {
    fn note_head(&mut self, operation: u64, nsid: Nsid, head: Jid) -> Result<(), Violation> {
        let told = self.watches.entry(operation).or_default();
        ensure!(NAME, head >= *told, "watch {operation} of namespace {nsid}: head {head} after {told}");
        *told = head;
        let known = self.heads.of(nsid);
        *known = head.max(*known);
        Ok(())
    }

    fn note_delta(&mut self, operation: u64, ended: &Ended<'_>) -> Result<(), Violation> {
        let Some(Reading { nsid, from }) = self.readings.remove(&operation) else { return Ok(()) };
        let Ended::Answer(Answer::Delta { changes, cursor, has_more }, token) = ended else { return Ok(()) };
        let is_further = cursor.since > from.since || cursor.since == from.since && goes_on(&from, cursor);
        ensure!(
            NAME,
            is_further,
            "delta {operation} of namespace {nsid}: cursor {cursor:?} after {from:?} at node {}",
            token.node
        );
        let is_still = *cursor == from;
        ensure!(
            NAME,
            !(is_still && *has_more),
            "delta {operation} of namespace {nsid}: more to tell, and {from:?} again"
        );
        ensure!(
            NAME,
            !is_still || changes.is_empty(),
            "delta {operation} of namespace {nsid}: {} changes told, and {from:?} again",
            changes.len()
        );
        if token.path != Path::Stale && !has_more {
            let known = self.heads.of(nsid);
            *known = cursor.since.max(*known);
        }
        Ok(())
    }
}

/// Within the row behind `since`: an expansion begins, or is over with the row itself, but is not given up.
fn goes_on(from: &DeltaCursor, to: &DeltaCursor) -> bool {
    to.expansion.is_some() || from.expansion.is_none()
}

impl Checker for Notify {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Invoke {
                operation, nsid, asked: Asked::Read { query: Query::Delta { cursor, .. }, .. }, ..
            } => {
                self.readings.insert(*operation, Reading { nsid: *nsid, from: cursor.clone() });
                Ok(())
            }
            Event::Head { operation, nsid, head } => self.note_head(*operation, *nsid, *head),
            Event::Return { operation, ended } => {
                self.watches.remove(operation);
                self.note_delta(*operation, ended)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{Acct, GroupId, LogIndex, NodeId, Term};

    use super::*;
    use crate::checker::testing::{Seen, fires, ms};
    use crate::observe::Token;

    fn told(checker: &mut Notify, operation: u64, head: u64) -> Seen {
        checker.observe(ms(0), &Event::Head { operation, nsid: Nsid(7), head: Jid(head) })
    }

    fn delta(from: u64, to: u64, changes: usize, has_more: bool) -> Seen {
        let mut checker = Notify::default();
        let query = Query::Delta { cursor: DeltaCursor::at(Jid(from)), limit: 0 };
        let asked = Asked::Read { query: &query, is_stale_allowed: false };
        let (operation, acct, nsid) = (1, Acct(1), Nsid(7));
        checker.observe(ms(0), &Event::Invoke { operation, client: 1, acct, nsid, asked }).unwrap();
        let changes = vec![meta::Change::Deleted { path_display: "/a".to_owned() }; changes];
        let answer = Answer::Delta { changes, cursor: DeltaCursor::at(Jid(to)), has_more };
        let (group, index, term, node) = (GroupId(1), LogIndex(1), Term(1), NodeId(1));
        let token = Token { group, index, term, place: 0, path: Path::ReadIndex, node };
        checker.observe(ms(0), &Event::Return { operation, ended: Ended::Answer(&answer, token) })
    }

    #[test]
    fn a_hint_may_repeat_and_never_goes_back() {
        let mut checker = Notify::default();
        told(&mut checker, 1, 3).unwrap();
        told(&mut checker, 1, 3).unwrap();
        told(&mut checker, 2, 1).unwrap();
        told(&mut checker, 1, 5).unwrap();
        fires(NAME, told(&mut checker, 1, 4));
    }

    #[test]
    fn a_cursor_moves_with_what_it_tells() {
        delta(3, 5, 2, true).unwrap();
        delta(3, 3, 0, false).unwrap();
        fires(NAME, delta(3, 2, 0, false));
        fires(NAME, delta(3, 3, 0, true));
        fires(NAME, delta(3, 3, 1, false));
    }
}
