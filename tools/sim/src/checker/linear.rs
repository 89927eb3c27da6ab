//! Claim: the operations of the whole run fit the committed logs and time, as one copy would have answered them.

use std::collections::BTreeMap;

use base::GroupId;

use super::committed::Committed;
use crate::checker::slots::Slots;
use crate::linear::history::{Ask, End, Operation};
use crate::linear::log_check::{Entry, Log, check};
use crate::observe::{Asked, Checker, Ended, Event, Time, Violation, Wants};

const NAME: &str = "linear";

/// See the claim above. Records, and judges at the end; operations that may be old are left out.
#[derive(Default)]
pub struct Linear {
    committed: Slots<GroupId, Committed>,
    logs: BTreeMap<GroupId, Log>,
    /// By number: they rise with time.
    operations: BTreeMap<u64, Operation>,
}

impl Linear {
    fn note_return(&mut self, at: Time, operation: u64, ended: &Ended<'_>) {
        let Some(kept) = self.operations.get_mut(&operation) else { return };
        kept.returned = at.0;
        let mut bytes = Vec::new();
        kept.end = match ended {
            Ended::Outcome(outcome, token) => {
                outcome.encode(&mut bytes);
                End::Told { bytes, token: *token }
            }
            Ended::Answer(answer, token) => {
                answer.encode(&mut bytes);
                End::Told { bytes, token: *token }
            }
            Ended::NotDone => End::NotDone,
            Ended::Unknown => End::Unknown,
        };
    }

    fn check_end(&mut self) -> Result<(), Violation> {
        let operations: Vec<Operation> = std::mem::take(&mut self.operations).into_values().collect();
        let checked = check(&self.logs, &operations);
        checked.map(|_| ()).map_err(|misfit| Violation { checker: NAME, what: misfit.to_string() })
    }
}

impl Checker for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => {
                let log = &mut self.logs;
                self.committed.of(view.group).follow(view, |_, term, payload| {
                    log.entry(view.group).or_default().push(Entry { term, payload: payload.to_vec() });
                });
            }
            Event::Invoke { operation, client, acct, nsid, asked } => {
                let ask = match asked {
                    Asked::Write(command) => Ask::Write(Box::new(command.clone())),
                    Asked::Read { is_stale_allowed: true, .. } => return Ok(()),
                    Asked::Read { query, .. } => Ask::Read(Box::new(query.clone())),
                };
                let (invoked, returned, end) = (at.0, u64::MAX, End::Unknown);
                let kept = Operation { id: operation, client, acct, nsid, invoked, returned, ask, end };
                self.operations.insert(operation, kept);
            }
            Event::Return { operation, ref ended } => self.note_return(at, operation, ended),
            Event::End => return self.check_end(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::{Jid, LogIndex, NodeId, Term};
    use meta::{Answer, Query};

    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, fires, ms, turn};
    use crate::linear::replay::testing::*;
    use crate::observe::{Path, Token};

    fn run(head: u64, index: u64) -> Seen {
        let mut checker = Linear::default();
        let mut seat = Seat { commit: 2, applied: 2, term: 1, ..Seat::new(1) };
        seat.log.push(1, &founding());
        seat.log.push(1, &payload(&[in_session(1, mkdir("/a"))]));
        turn(&mut checker, &seat).unwrap();
        let asked = Asked::Read { query: &Query::Head, is_stale_allowed: false };
        let invoke = Event::Invoke { operation: 1, client: 1, acct: OWNER, nsid: NSID, asked };
        checker.observe(ms(1), &invoke).unwrap();
        let (term, node) = (Term(1), NodeId(1));
        let token = Token { group: GROUP, index: LogIndex(index), term, place: 0, path: Path::ReadIndex, node };
        let answer = Answer::Head(Jid(head));
        let ended = Ended::Answer(&answer, token);
        checker.observe(ms(2), &Event::Return { operation: 1, ended }).unwrap();
        checker.observe(ms(3), &Event::End)
    }

    #[test]
    fn answers_are_those_of_the_log_where_the_server_says() {
        run(1, 2).unwrap();
        run(0, 1).unwrap();
        fires(NAME, run(0, 2));
        fires(NAME, run(2, 2));
    }
}
