//! memcached: a put is a `set` on the one of several servers that owns the key. Memory only.

use std::collections::VecDeque;

use base::Mono;
use load::driver::{Answer, Done, Failure, Refusal, Submit};
use load::op::Op;

use super::{Flight, Protocol, part_of};
use crate::codec::WireError;
use crate::codec::memtext::{self, Answer as Told, put_get, put_set};
use crate::work::{Journal, Work, read_row};

/// The protocol. Connection `c` goes to server `c % servers`.
pub struct Memcached {
    work: Work,
    servers: usize,
    flights: Vec<VecDeque<Flight>>,
    is_up: Vec<bool>,
    turn: usize,
    /// memcached numbers nothing, so acknowledged sets are numbered here.
    sets: u64,
}

impl Memcached {
    /// Over so many connections to each of `servers`.
    #[must_use]
    pub fn new(work: Work, servers: usize, lanes: usize) -> Memcached {
        let flights = (0..servers * lanes).map(|_| VecDeque::new()).collect();
        Memcached { work, servers, flights, is_up: vec![false; servers * lanes], turn: 0, sets: 0 }
    }
}

impl Protocol for Memcached {
    fn greet(&mut self, connection: usize, _: &mut Vec<u8>) {
        self.is_up[connection] = true;
    }

    fn submit(&mut self, op: &Op, flight: Flight, wall_ms: u64, outs: &mut [Vec<u8>]) -> Submit {
        let lanes = self.flights.len() / self.servers;
        self.turn = (self.turn + 1) % lanes;
        let at = part_of(op.namespace, self.servers) + self.turn * self.servers;
        if !self.is_up[at] {
            return Submit::Full;
        }
        if flight.is_put() {
            self.work.fill(op, wall_ms, Journal::List);
            put_set(&self.work.key, &self.work.row, &mut outs[at]);
        } else {
            self.work.fill_key(op);
            put_get(&self.work.key, &mut outs[at]);
        }
        self.flights[at].push_back(flight);
        Submit::Queued
    }

    fn receive(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Mono,
        _: &mut Vec<u8>,
        done: &mut Vec<Done>,
    ) -> Result<usize, WireError> {
        let mut at = 0;
        while let Some((told, taken)) = memtext::take(&bytes[at..])? {
            at += taken;
            let Some(flight) = self.flights[connection].pop_front() else {
                return Err(WireError(format!("memcached answered what was not asked: {told:?}")));
            };
            let answer = match (flight.is_put(), told) {
                (true, Told::Stored) => {
                    self.sets += 1;
                    Answer::Applied { jid: self.sets, rev: self.sets }
                }
                (false, Told::Value(Some(row))) => read_row(&row, 0).unwrap_or(Answer::Failed(Failure::Undecodable)),
                (false, Told::Value(None)) => Answer::Refused(Refusal::NotFound),
                (_, Told::Refused(_)) => Answer::Refused(Refusal::Other),
                (_, told) => return Err(WireError(format!("memcached answered {told:?}"))),
            };
            done.push(flight.done(answer, now));
        }
        Ok(at)
    }

    fn lose(&mut self, connection: usize, now: Mono, done: &mut Vec<Done>) {
        self.is_up[connection] = false;
        done.extend(self.flights[connection].drain(..).map(|flight| flight.lost(now)));
    }
}

#[cfg(test)]
mod tests {
    use load::op::OpKind;

    use super::*;

    #[test]
    fn answers_belong_to_the_oldest_request_of_their_connection() {
        let mut memcached = Memcached::new(Work::new("r", 1), 1, 1);
        let (mut outs, mut done) = (vec![Vec::new()], Vec::new());
        memcached.greet(0, &mut Vec::new());
        let flight = |slot, is_put| {
            let token = load::driver::OpToken { slot, generation: 0 };
            Flight { token, kind: if is_put { OpKind::Put } else { OpKind::Stat }, sent: Mono(1) }
        };
        memcached.submit(&Op::default(), flight(0, true), 1, &mut outs);
        memcached.submit(&Op::default(), flight(1, false), 1, &mut outs);
        memcached.submit(&Op::default(), flight(2, true), 1, &mut outs);
        let bytes = b"STORED\r\nEND\r\nSERVER_ERROR out of memory\r\n";
        assert_eq!(memcached.receive(0, bytes, Mono(2), &mut Vec::new(), &mut done), Ok(bytes.len()));
        let seen: Vec<_> = done.iter().map(|done| (done.token.slot, done.answer)).collect();
        let applied = Answer::Applied { jid: 1, rev: 1 };
        assert_eq!(seen, [(0, applied), (1, Answer::Refused(Refusal::NotFound)), (2, Answer::Refused(Refusal::Other))]);
        assert!(memcached.receive(0, b"STORED\r\n", Mono(3), &mut Vec::new(), &mut done).is_err());
    }

    #[test]
    fn a_namespace_belongs_to_one_server_whatever_the_connection() {
        let mut memcached = Memcached::new(Work::new("r", 1), 3, 2);
        let mut outs = vec![Vec::new(); 6];
        (0..6).for_each(|at| memcached.greet(at, &mut Vec::new()));
        let flight = Flight { token: Default::default(), kind: OpKind::Put, sent: Mono(1) };
        for namespace in [7; 10] {
            memcached.submit(&Op { namespace, ..Op::default() }, flight, 1, &mut outs);
        }
        let used: Vec<usize> = (0..6).filter(|at| !outs[*at].is_empty()).collect();
        assert_eq!(used, [part_of(7, 3), part_of(7, 3) + 3]);
    }
}
