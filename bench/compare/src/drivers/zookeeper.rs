//! ZooKeeper: a file commit is a `multi` that creates both nodes or neither.

use std::collections::VecDeque;

use base::Mono;
use load::driver::{Answer, Done, Failure, Refusal, Submit};
use load::op::Op;

use super::{Flight, Protocol};
use crate::codec::WireError;
use crate::codec::etcd::Pair;
use crate::codec::jute::{self, NO_NODE, NODE_EXISTS};
use crate::work::{Journal, Work, read_row};

/// Longer than a block is silent.
const SESSION_MS: i32 = 40_000;

#[derive(Debug, Default)]
struct Lane {
    is_up: bool,
    is_opened: bool,
    xid: i32,
    /// Answers come in order.
    flights: VecDeque<(i32, Flight)>,
}

/// The protocol.
pub struct Zookeeper {
    work: Work,
    lanes: Vec<Lane>,
    next: usize,
}

impl Zookeeper {
    /// Over so many sessions.
    #[must_use]
    pub fn new(work: Work, connections: usize) -> Zookeeper {
        Zookeeper { work, lanes: (0..connections).map(|_| Lane::default()).collect(), next: 0 }
    }
}

impl Protocol for Zookeeper {
    fn greet(&mut self, connection: usize, out: &mut Vec<u8>) {
        self.lanes[connection].is_up = true;
        jute::put_connect(SESSION_MS, out);
    }

    fn submit(&mut self, op: &Op, flight: Flight, wall_ms: u64, outs: &mut [Vec<u8>]) -> Submit {
        let count = self.lanes.len();
        let Some(at) = (0..count).map(|step| (self.next + step) % count).find(|at| self.lanes[*at].is_up) else {
            return Submit::Full;
        };
        self.next = (at + 1) % count;
        let lane = &mut self.lanes[at];
        lane.xid += 1;
        if flight.is_put() {
            self.work.fill(op, wall_ms, Journal::Keys);
            self.work.flatten();
            let Work { key, row, journal_key, journal_row, .. } = &self.work;
            let pairs = [Pair { key, value: row }, Pair { key: journal_key, value: journal_row }];
            jute::put_create_both(lane.xid, pairs, &mut outs[at]);
        } else {
            self.work.fill_key(op);
            self.work.flatten();
            jute::put_get(lane.xid, &self.work.key, &mut outs[at]);
        }
        lane.flights.push_back((lane.xid, flight));
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
        let lane = &mut self.lanes[connection];
        let mut at = 0;
        while let Some((payload, taken)) = jute::take(&bytes[at..])? {
            at += taken;
            if !lane.is_opened {
                jute::read_connected(payload)?;
                lane.is_opened = true;
                continue;
            }
            let (head, body) = jute::read_head(payload)?;
            let Some((xid, flight)) = lane.flights.pop_front() else {
                return Err(WireError("ZooKeeper answered what was not asked".to_owned()));
            };
            if xid != head.xid {
                return Err(WireError(format!("ZooKeeper answered request {}, not {xid}", head.xid)));
            }
            done.push(flight.done(answer(flight.is_put(), head, body)?, now));
        }
        Ok(at)
    }

    fn lose(&mut self, connection: usize, now: Mono, done: &mut Vec<Done>) {
        let lane = std::mem::take(&mut self.lanes[connection]);
        done.extend(lane.flights.into_iter().map(|(_, flight)| flight.lost(now)));
    }
}

fn answer(is_put: bool, head: jute::Head, body: &[u8]) -> Result<Answer, WireError> {
    let error = match (head.error, is_put) {
        (0, true) => jute::read_both(body)?,
        (error, _) => error,
    };
    let number = |zxid: i64| u64::try_from(zxid).unwrap_or_default();
    Ok(match (error, is_put) {
        (0, true) => Answer::Applied { jid: number(head.zxid), rev: number(head.zxid) },
        (0, false) => {
            let (row, zxid) = jute::read_get(body)?;
            read_row(row, number(zxid)).unwrap_or(Answer::Failed(Failure::Undecodable))
        }
        (NODE_EXISTS, _) => Answer::Refused(Refusal::Conflict),
        (NO_NODE, _) => Answer::Refused(Refusal::NotFound),
        // A lost connection to the quorum and the like: it may have been done.
        (_, true) => Answer::Failed(Failure::Unknown),
        (_, false) => Answer::Refused(Refusal::Other),
    })
}

#[cfg(test)]
mod tests {
    use load::op::OpKind;

    use super::*;

    fn reply(xid: i32, zxid: i64, error: i32, body: &[u8]) -> Vec<u8> {
        let payload = [&xid.to_be_bytes()[..], &zxid.to_be_bytes(), &error.to_be_bytes(), body].concat();
        [&(payload.len() as u32).to_be_bytes()[..], &payload].concat()
    }

    #[test]
    fn answers_belong_to_requests_in_order_once_the_session_is_open() {
        let mut zookeeper = Zookeeper::new(Work::new("r", 1), 1);
        let (mut outs, mut done) = (vec![Vec::new()], Vec::new());
        zookeeper.greet(0, &mut outs[0]);
        let flight = |is_put| Flight {
            token: Default::default(),
            kind: if is_put { OpKind::Put } else { OpKind::Stat },
            sent: Mono(1),
        };
        for is_put in [true, true, false, true] {
            assert_eq!(zookeeper.submit(&Op::default(), flight(is_put), 1, &mut outs), Submit::Queued);
        }
        let opened = [&[0, 0, 0, 40][..], &[0, 0, 0, 0, 0, 0, 0x75, 0x30], &[0; 32]].concat();
        let created = b"\0\0\0\x01\0\0\0\0\0\0\0\0\x02/a\xff\xff\xff\xff\x01\xff\xff\xff\xff";
        let answers = [
            opened,
            reply(1, 5, 0, created),
            reply(2, 6, NODE_EXISTS, &[]),
            reply(3, 6, NO_NODE, &[]),
            reply(4, 7, -4, &[]),
        ];
        let bytes = answers.concat();
        assert_eq!(zookeeper.receive(0, &bytes, Mono(2), &mut Vec::new(), &mut done), Ok(bytes.len()));
        let seen: Vec<_> = done.iter().map(|done| done.answer).collect();
        let expected = [
            Answer::Applied { jid: 5, rev: 5 },
            Answer::Refused(Refusal::Conflict),
            Answer::Refused(Refusal::NotFound),
            Answer::Failed(Failure::Unknown),
        ];
        assert_eq!(seen, expected);
        zookeeper.submit(&Op::default(), flight(true), 1, &mut outs);
        let strange = reply(99, 8, 0, created);
        assert!(zookeeper.receive(0, &strange, Mono(3), &mut Vec::new(), &mut done).is_err());
    }
}
