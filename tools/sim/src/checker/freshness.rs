//! Claim: a read that may not be old returns at least the newest write that was acknowledged before it was invoked, and
//! at least what any such read had returned.

use std::collections::BTreeMap;

use base::{GroupId, Jid, LogIndex, Nsid};
use meta::{Answer, Outcome};

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Asked, Checker, Ended, Event, Path, Time, Token, Violation, Wants};

const NAME: &str = "freshness";
/// Groups that are followed; a run has a few.
const GROUPS_MAX: usize = 16;

/// The highest index told, by the order in which groups were first heard of.
type Floors = [LogIndex; GROUPS_MAX];

/// An operation that is on its way.
#[derive(Clone, Copy)]
struct Pending {
    nsid: Nsid,
    is_stale_allowed: bool,
    /// As of its invocation.
    floors: Floors,
    head: Jid,
}

/// See the claim above.
#[derive(Default)]
pub struct Freshness {
    groups: Vec<GroupId>,
    floors: Floors,
    /// The newest journal row that a client was told of, per namespace.
    heads: Slots<Nsid, Jid>,
    pending: BTreeMap<u64, Pending>,
}

impl Freshness {
    fn place(&mut self, group: GroupId) -> Option<usize> {
        let known = self.groups.iter().position(|known| *known == group);
        if known.is_none() && self.groups.len() < GROUPS_MAX {
            self.groups.push(group);
            return Some(self.groups.len() - 1);
        }
        known
    }

    fn note_invoke(&mut self, operation: u64, nsid: Nsid, asked: &Asked<'_>) {
        let is_stale_allowed = matches!(asked, Asked::Read { is_stale_allowed: true, .. });
        let head = self.heads.get(nsid).copied().unwrap_or_default();
        self.pending.insert(operation, Pending { nsid, is_stale_allowed, floors: self.floors, head });
    }

    fn check_index(&mut self, operation: u64, pending: &Pending, token: &Token) -> Result<(), Violation> {
        // Index 0 is a server that does not say.
        let Some(at) = self.place(token.group).filter(|_| token.index > LogIndex(0)) else { return Ok(()) };
        let floor = pending.floors[at];
        let is_fresh = match token.path {
            // Its entry was made after it was invoked.
            Path::Write => token.index > floor,
            _ => token.index >= floor,
        };
        ensure!(
            NAME,
            is_fresh,
            "group {}: operation {operation} by {:?} at node {} saw {}, and {floor} had been answered before it was \
             invoked",
            token.group,
            token.path,
            token.node,
            token.index
        );
        self.floors[at] = self.floors[at].max(token.index);
        Ok(())
    }

    /// `head` is at least so much.
    fn note_head(&mut self, nsid: Nsid, head: Jid) {
        let known = self.heads.of(nsid);
        *known = head.max(*known);
    }

    fn note_return(&mut self, operation: u64, ended: &Ended<'_>) -> Result<(), Violation> {
        let Some(pending) = self.pending.remove(&operation) else { return Ok(()) };
        match ended {
            Ended::Outcome(outcome, token) => {
                self.check_index(operation, &pending, token)?;
                if let Outcome::Applied(metadata) = outcome {
                    self.note_head(metadata.nsid, metadata.jid);
                }
            }
            Ended::Answer(answer, token) if token.path != Path::Stale && !pending.is_stale_allowed => {
                self.check_index(operation, &pending, token)?;
                if let Some(head) = head_of(answer) {
                    ensure!(
                        NAME,
                        head >= pending.head,
                        "namespace {}: operation {operation} at node {} was told head {head}, and {} was known before it \
                         was invoked",
                        pending.nsid,
                        token.node,
                        pending.head
                    );
                    self.note_head(pending.nsid, head);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The head of the journal that an answer tells.
fn head_of(answer: &Answer) -> Option<Jid> {
    match answer {
        Answer::Head(head) | Answer::Page { head, next: None, .. } => Some(*head),
        Answer::Delta { cursor, has_more: false, .. } if cursor.expansion.is_none() => Some(cursor.since),
        _ => None,
    }
}

impl Checker for Freshness {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Invoke { operation, nsid, asked, .. } => self.note_invoke(*operation, *nsid, asked),
            Event::Return { operation, ended } => self.note_return(*operation, ended)?,
            // A watcher is told what is applied, hence committed.
            Event::Head { nsid, head, .. } => self.note_head(*nsid, *head),
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

    struct Clients {
        checker: Freshness,
        next: u64,
    }

    impl Clients {
        fn invoke(&mut self, asked: Asked<'_>) -> u64 {
            self.next += 1;
            let (operation, acct, nsid) = (self.next, Acct(1), Nsid(7));
            self.checker.observe(ms(0), &Event::Invoke { operation, client: 1, acct, nsid, asked }).unwrap();
            operation
        }

        fn read(&mut self) -> u64 {
            self.invoke(Asked::Read { query: &meta::Query::Head, is_stale_allowed: false })
        }

        fn write(&mut self) -> u64 {
            self.invoke(Asked::Write(&meta::Command::Sweep { limit: 1 }))
        }

        fn written(&mut self, operation: u64, index: u64) -> Seen {
            let ended = Ended::Outcome(&Outcome::Done, token(Path::Write, index));
            self.checker.observe(ms(0), &Event::Return { operation, ended })
        }

        fn answered(&mut self, operation: u64, path: Path, index: u64, head: u64) -> Seen {
            let answer = Answer::Head(Jid(head));
            let ended = Ended::Answer(&answer, token(path, index));
            self.checker.observe(ms(0), &Event::Return { operation, ended })
        }
    }

    fn token(path: Path, index: u64) -> Token {
        Token { group: GROUP, index: LogIndex(index), term: Term(1), place: 0, path, node: NodeId(1) }
    }

    fn clients() -> Clients {
        Clients { checker: Freshness::default(), next: 0 }
    }

    #[test]
    fn reads_see_what_was_written_before_and_may_miss_what_runs_beside() {
        let mut clients = clients();
        let (early, write) = (clients.read(), clients.write());
        clients.written(write, 5).unwrap();
        clients.answered(early, Path::Lease, 4, 0).unwrap();
        let late = clients.read();
        clients.answered(late, Path::Follower, 5, 0).unwrap();
        let stale = clients.read();
        clients.answered(stale, Path::Stale, 2, 0).unwrap();
    }

    #[test]
    fn old_reads_are_seen_by_every_path() {
        for path in [Path::ReadIndex, Path::Lease, Path::Follower] {
            let mut clients = clients();
            let write = clients.write();
            clients.written(write, 5).unwrap();
            let late = clients.read();
            fires(NAME, clients.answered(late, path, 4, 0));
        }
    }

    #[test]
    fn what_a_read_has_shown_and_a_write_that_runs_backwards_are_seen() {
        let mut clients = clients();
        let read = clients.read();
        clients.answered(read, Path::ReadIndex, 9, 3).unwrap();
        let (read, write) = (clients.read(), clients.write());
        fires(NAME, clients.answered(read, Path::Lease, 8, 3));
        fires(NAME, clients.written(write, 9));
    }

    #[test]
    fn a_head_that_went_back_is_seen_even_where_the_server_claims_a_later_index() {
        let mut clients = clients();
        let read = clients.read();
        clients.answered(read, Path::ReadIndex, 9, 3).unwrap();
        let told = Event::Head { operation: 50, nsid: Nsid(7), head: Jid(4) };
        let read = clients.read();
        clients.answered(read, Path::ReadIndex, 9, 3).unwrap();
        clients.checker.observe(ms(0), &told).unwrap();
        let read = clients.read();
        fires(NAME, clients.answered(read, Path::ReadIndex, 10, 3));
    }
}
