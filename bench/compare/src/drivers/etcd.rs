//! etcd: a file commit is one transaction, over gRPC with many calls on each of several connections.

pub mod files;

use std::collections::HashMap;

use base::Mono;
use load::driver::{Answer, Done, Failure, Refusal, Submit};
use load::op::{Op, OpKind};

use super::{Flight, Protocol};
use crate::codec::WireError;
use crate::codec::etcd::{self, Pair};
use crate::codec::http2::{Reply, Session};
use crate::work::{Journal, Work, read_row};

/// What a put does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// Compare that the file is not there, put its row and the journal's: one transaction.
    Both,
    /// Put the file's row, and no more.
    Plain,
    /// Whatever a mix holds: `files.rs`.
    Files,
}

/// The protocol.
pub struct Etcd {
    commit: Commit,
    work: Work,
    authority: String,
    sessions: Vec<Option<Session>>,
    flights: Vec<HashMap<u32, Flight>>,
    message: Vec<u8>,
    next: usize,
}

impl Etcd {
    /// Over so many connections to `authority`.
    #[must_use]
    pub fn new(commit: Commit, work: Work, authority: &str, connections: usize) -> Etcd {
        let sessions = (0..connections).map(|_| None).collect();
        let flights = (0..connections).map(|_| HashMap::new()).collect();
        let authority = authority.to_owned();
        Etcd { commit, work, authority, sessions, flights, message: Vec::new(), next: 0 }
    }

    /// Makes the message of an operation; returns the method.
    fn request(&mut self, op: &Op, wall_ms: u64) -> &'static str {
        self.message.clear();
        if self.commit == Commit::Files {
            return files::request(&mut self.work, op, wall_ms, &mut self.message);
        }
        if !op.kind.is_write() {
            self.work.fill_key(op);
            etcd::range(&self.work.key, &mut self.message);
            return etcd::RANGE;
        }
        self.work.fill(op, wall_ms, Journal::Keys);
        let Work { key, row, journal_key, journal_row, .. } = &self.work;
        let file = Pair { key, value: row };
        if self.commit == Commit::Plain {
            etcd::put(file, &mut self.message);
            return etcd::PUT;
        }
        let journal = Pair { key: journal_key, value: journal_row };
        etcd::create_both(file, journal, &mut self.message);
        etcd::TXN
    }

    /// Sends the message by one of the connections.
    fn call(&mut self, path: &str, flight: Flight, outs: &mut [Vec<u8>]) -> Submit {
        // By turns, passing over those that are gone or full.
        for _ in 0..self.sessions.len() {
            let at = self.next;
            self.next = (at + 1) % self.sessions.len();
            let Some(session) = &mut self.sessions[at] else { continue };
            if let Some(stream) = session.call(path, &self.message, &mut outs[at]) {
                self.flights[at].insert(stream, flight);
                return Submit::Queued;
            }
        }
        Submit::Full
    }
}

impl Protocol for Etcd {
    fn greet(&mut self, connection: usize, out: &mut Vec<u8>) {
        self.sessions[connection] = Some(Session::new(&self.authority, out));
    }

    fn submit(&mut self, op: &Op, flight: Flight, wall_ms: u64, outs: &mut [Vec<u8>]) -> Submit {
        self.message.clear();
        let path = self.request(op, wall_ms);
        self.call(path, flight, outs)
    }

    fn receive(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Mono,
        out: &mut Vec<u8>,
        done: &mut Vec<Done>,
    ) -> Result<usize, WireError> {
        let Some(session) = &mut self.sessions[connection] else { return Ok(bytes.len()) };
        let (flights, commit) = (&mut self.flights[connection], self.commit);
        session.receive(bytes, out, |stream, reply| {
            if let Some(flight) = flights.remove(&stream) {
                done.push(flight.done(answer(flight.kind, commit, reply), now));
            }
        })
    }

    fn lose(&mut self, connection: usize, now: Mono, done: &mut Vec<Done>) {
        self.sessions[connection] = None;
        done.extend(self.flights[connection].drain().map(|(_, flight)| flight.lost(now)));
    }
}

fn answer(kind: OpKind, commit: Commit, reply: Reply<'_>) -> Answer {
    let message = match reply {
        Reply::Message(message) => message,
        // Too many requests, no leader, too late: the call may have been done all the same.
        Reply::Refused | Reply::Reset => return Answer::Failed(Failure::Unknown),
    };
    let read = match (kind.is_write(), commit) {
        (true, Commit::Both | Commit::Files) => etcd::read_txn(message),
        (true, Commit::Plain) => etcd::read_put(message),
        (false, _) => etcd::read_range(message),
    };
    let Ok(read) = read else { return Answer::Failed(Failure::Undecodable) };
    match (kind, commit) {
        (OpKind::List, _) => Answer::Page { entries: read.entries, head: read.revision },
        (OpKind::Put | OpKind::Mkdir, Commit::Both | Commit::Files) if !read.succeeded => {
            Answer::Refused(Refusal::Conflict)
        }
        (_, Commit::Files) if kind.is_write() && !read.succeeded => Answer::Refused(Refusal::NotFound),
        _ if kind.is_write() => Answer::Applied { jid: read.revision, rev: read.revision },
        _ => match &read.found {
            None => Answer::Refused(Refusal::NotFound),
            Some((rev, row)) => read_row(row, *rev).unwrap_or(Answer::Failed(Failure::Undecodable)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"\x0a\x02\x18\x2a";

    #[test]
    fn a_file_that_is_there_is_a_conflict_and_a_refused_call_is_in_doubt() {
        let done = [HEADER, b"\x10\x01"].concat();
        let applied = Answer::Applied { jid: 42, rev: 42 };
        assert_eq!(answer(OpKind::Put, Commit::Both, Reply::Message(&done)), applied);
        assert_eq!(answer(OpKind::Put, Commit::Both, Reply::Message(HEADER)), Answer::Refused(Refusal::Conflict));
        assert_eq!(answer(OpKind::Put, Commit::Plain, Reply::Message(HEADER)), applied);
        for reply in [Reply::Refused, Reply::Reset] {
            assert_eq!(answer(OpKind::Put, Commit::Both, reply), Answer::Failed(Failure::Unknown));
        }
        assert_eq!(answer(OpKind::Put, Commit::Both, Reply::Message(b"\xff")), Answer::Failed(Failure::Undecodable));
    }

    #[test]
    fn a_read_tells_what_the_row_holds_or_that_there_is_none() {
        assert_eq!(answer(OpKind::Stat, Commit::Both, Reply::Message(HEADER)), Answer::Refused(Refusal::NotFound));
        let short = [HEADER, b"\x12\x05\x18\x07\x2a\x01x"].concat();
        assert_eq!(answer(OpKind::Stat, Commit::Both, Reply::Message(&short)), Answer::Failed(Failure::Undecodable));
    }

    #[test]
    fn calls_go_round_the_connections_that_are_up() {
        let mut etcd = Etcd::new(Commit::Both, Work::new("r", 1), "h:1", 3);
        let mut outs = vec![Vec::new(); 3];
        (0..3).for_each(|at| etcd.greet(at, &mut outs[at]));
        let flight = Flight { token: Default::default(), kind: OpKind::Put, sent: Mono(1) };
        let submit = |etcd: &mut Etcd, outs: &mut [Vec<u8>]| etcd.submit(&Op::default(), flight, 1, outs);
        let mut done = Vec::new();
        for _ in 0..6 {
            assert_eq!(submit(&mut etcd, &mut outs), Submit::Queued);
        }
        assert_eq!(etcd.flights.iter().map(HashMap::len).collect::<Vec<_>>(), [2, 2, 2]);
        etcd.lose(1, Mono(2), &mut done);
        assert_eq!(done, [flight.lost(Mono(2)), flight.lost(Mono(2))]);
        (0..4).for_each(|_| assert_eq!(submit(&mut etcd, &mut outs), Submit::Queued));
        assert_eq!(etcd.flights.iter().map(HashMap::len).collect::<Vec<_>>(), [4, 0, 4]);
        etcd.lose(0, Mono(3), &mut done);
        etcd.lose(2, Mono(3), &mut done);
        assert_eq!((submit(&mut etcd, &mut outs), done.len()), (Submit::Full, 10));
    }
}
