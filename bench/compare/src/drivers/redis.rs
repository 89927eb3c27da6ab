//! Redis, and Valkey, which speaks the same: a file commit is a transaction of two keys, acknowledged once a replica has it (`WAIT 1 100`).
//!
//! ```text
//! MULTI  SET key row NX  RPUSH journal row  EXEC   ...of each write...   WAIT 1 100
//! ```
//! WAIT holds its whole connection, so the writes of a turn leave together with one WAIT behind them on connections that
//! are idle; what comes while all are busy goes to the first that is idle again. `NX` keeps a file that is there, but the journal's row
//! is appended all the same: Redis compares nothing inside a transaction.

use std::collections::VecDeque;

use base::Mono;
use load::driver::{Answer, Done, Failure, Refusal, Submit};
use load::op::Op;

use super::{Flight, Protocol};
use crate::codec::WireError;
use crate::codec::resp::{Value, put_command, take};
use crate::work::{Journal, Work, read_row};

/// What a put does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// Both keys, in a transaction.
    Both,
    /// The file's row, and no more.
    Plain,
}

/// What is expected next on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// `+OK` of MULTI.
    Begun,
    /// `+QUEUED`.
    Queued,
    /// What both commands of a transaction came to.
    Both(Flight),
    /// `+OK` of a plain SET.
    Set(Flight),
    /// What a GET found.
    Found(Flight),
    /// How many replicas have all that was written before.
    Replicas,
}

#[derive(Debug, Default)]
struct Lane {
    is_up: bool,
    expected: VecDeque<Expected>,
    /// Writes that are done and wait for a replica, with their journal rows; `None` was refused.
    written: Vec<(Flight, Option<u64>)>,
}

/// Operations of one WAIT at most: with more in flight, connections overlap.
const BATCH_MAX: usize = 256;

/// Commands that leave together, and what comes back of them.
#[derive(Debug, Default)]
struct Batch {
    operations: usize,
    has_writes: bool,
    commands: Vec<u8>,
    expected: VecDeque<Expected>,
}

/// The protocol.
pub struct Redis {
    commit: Commit,
    work: Work,
    replicas: u64,
    lanes: Vec<Lane>,
    /// Batches that have not left yet; the last one grows.
    next: VecDeque<Batch>,
    /// A batch that has left, to be used again.
    spare: Batch,
    /// Plain sets have no number of their own.
    sets: u64,
}

impl Redis {
    /// Over so many connections; a write is acknowledged once `replicas` have it.
    #[must_use]
    pub fn new(commit: Commit, work: Work, connections: usize, replicas: u64) -> Redis {
        let lanes = (0..connections).map(|_| Lane::default()).collect();
        Redis { commit, work, replicas, lanes, next: VecDeque::new(), spare: Batch::default(), sets: 0 }
    }
}

impl Protocol for Redis {
    fn greet(&mut self, connection: usize, _: &mut Vec<u8>) {
        self.lanes[connection].is_up = true;
    }

    fn submit(&mut self, op: &Op, flight: Flight, wall_ms: u64, _: &mut [Vec<u8>]) -> Submit {
        if !self.lanes.iter().any(|lane| lane.is_up) {
            return Submit::Full;
        }
        if self.next.back().is_none_or(|batch| batch.operations == BATCH_MAX) {
            self.next.push_back(std::mem::take(&mut self.spare));
        }
        let Some(Batch { operations, has_writes, commands: next, expected }) = self.next.back_mut() else {
            return Submit::Full;
        };
        *operations += 1;
        *has_writes |= flight.is_put();
        if flight.is_put() {
            self.work.fill(op, wall_ms, Journal::List);
            let Work { key, row, journal_key, journal_row, .. } = &self.work;
            match self.commit {
                Commit::Both => {
                    put_command(&[b"MULTI"], next);
                    put_command(&[b"SET", key, row, b"NX"], next);
                    put_command(&[b"RPUSH", journal_key, journal_row], next);
                    put_command(&[b"EXEC"], next);
                    expected.extend([Expected::Begun, Expected::Queued, Expected::Queued, Expected::Both(flight)]);
                }
                Commit::Plain => {
                    put_command(&[b"SET", key, row], next);
                    expected.push_back(Expected::Set(flight));
                }
            }
        } else {
            self.work.fill_key(op);
            put_command(&[b"GET", &self.work.key], next);
            expected.push_back(Expected::Found(flight));
        }
        Submit::Queued
    }

    fn end_turn(&mut self, outs: &mut [Vec<u8>]) {
        for (lane, out) in self.lanes.iter_mut().zip(outs) {
            if !lane.is_up || !lane.expected.is_empty() {
                continue;
            }
            let Some(mut batch) = self.next.pop_front() else { return };
            if batch.has_writes && self.replicas > 0 {
                put_command(&[b"WAIT", self.replicas.to_string().as_bytes(), b"100"], &mut batch.commands);
                batch.expected.push_back(Expected::Replicas);
            }
            out.extend_from_slice(&batch.commands);
            batch.commands.clear();
            std::mem::swap(&mut lane.expected, &mut batch.expected);
            self.spare = Batch { operations: 0, has_writes: false, ..batch };
        }
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
        while let Some((value, taken)) = take(&bytes[at..])? {
            at += taken;
            let lane = &mut self.lanes[connection];
            let Some(expected) = lane.expected.pop_front() else {
                return Err(WireError(format!("Redis answered what was not asked: {value:?}")));
            };
            lane.hear(expected, value, (self.replicas, &mut self.sets), now, done)?;
        }
        Ok(at)
    }

    fn lose(&mut self, connection: usize, now: Mono, done: &mut Vec<Done>) {
        let lane = std::mem::take(&mut self.lanes[connection]);
        // What has not left goes by another connection, if there is one.
        let is_last = !self.lanes.iter().any(|lane| lane.is_up);
        let unsent = if is_last { std::mem::take(&mut self.next) } else { VecDeque::new() };
        let unsent = unsent.into_iter().flat_map(|batch| batch.expected);
        let waiting = lane.expected.into_iter().chain(unsent).filter_map(|expected| match expected {
            Expected::Both(flight) | Expected::Set(flight) | Expected::Found(flight) => Some(flight),
            Expected::Begun | Expected::Queued | Expected::Replicas => None,
        });
        let written = lane.written.into_iter().map(|(flight, _)| flight);
        done.extend(waiting.chain(written).map(|flight| flight.lost(now)));
    }
}

impl Lane {
    fn hear(
        &mut self,
        expected: Expected,
        value: Value,
        (replicas, sets): (u64, &mut u64),
        now: Mono,
        done: &mut Vec<Done>,
    ) -> Result<(), WireError> {
        match (expected, value) {
            (Expected::Begun | Expected::Queued, Value::Simple(_)) => {}
            (Expected::Both(flight), Value::Array(Some(both))) => {
                let row = match both.as_slice() {
                    [Value::Simple(_), Value::Number(row)] => u64::try_from(*row).ok(),
                    // The file was there: NX.
                    [Value::Text(None), Value::Number(_)] => None,
                    other => return Err(strange(&other)),
                };
                self.written.push((flight, row));
            }
            (Expected::Set(flight), Value::Simple(_)) => {
                *sets += 1;
                self.written.push((flight, Some(*sets)));
            }
            (Expected::Found(flight), Value::Text(row)) => {
                let answer = match row {
                    None => Answer::Refused(Refusal::NotFound),
                    Some(row) => read_row(&row, 0).unwrap_or(Answer::Failed(Failure::Undecodable)),
                };
                done.push(flight.done(answer, now));
            }
            (Expected::Replicas, Value::Number(count)) => {
                let is_replicated = u64::try_from(count).is_ok_and(|count| count >= replicas);
                self.acknowledge(is_replicated, now, done);
            }
            (_, other) => return Err(strange(&other)),
        }
        if replicas == 0 {
            self.acknowledge(true, now, done);
        }
        Ok(())
    }

    fn acknowledge(&mut self, is_replicated: bool, now: Mono, done: &mut Vec<Done>) {
        for (flight, row) in self.written.drain(..) {
            let answer = match row {
                // Written here, and on no replica in time: not what was promised.
                _ if !is_replicated => Answer::Failed(Failure::Unknown),
                Some(row) => Answer::Applied { jid: row, rev: row },
                None => Answer::Refused(Refusal::Conflict),
            };
            done.push(flight.done(answer, now));
        }
    }
}

fn strange(value: &impl std::fmt::Debug) -> WireError {
    let mut text = format!("{value:?}");
    text.truncate(text.floor_char_boundary(200));
    WireError(format!("Redis answered {text}"))
}

#[cfg(test)]
mod tests {
    use load::driver::OpToken;
    use load::op::{OpKind, Writer};

    use super::*;

    fn put(redis: &mut Redis, slot: u32) {
        let op = Op { index: u64::from(slot), path: format!("/{slot}"), size: 1, writer: Writer(1), ..Op::default() };
        let token = OpToken { slot, generation: 0 };
        let flight = Flight { token, kind: OpKind::Put, sent: Mono(1) };
        assert_eq!(redis.submit(&op, flight, 7, &mut []), Submit::Queued);
    }

    fn redis(connections: usize) -> Redis {
        let mut redis = Redis::new(Commit::Both, Work::new("r", 1), connections, 1);
        (0..connections).for_each(|at| redis.greet(at, &mut Vec::new()));
        redis
    }

    const TRANSACTION: &[u8] = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:1\r\n";

    #[test]
    fn writes_of_a_turn_share_one_wait_and_are_acknowledged_by_it() {
        let mut redis = redis(1);
        let mut outs = vec![Vec::new()];
        put(&mut redis, 0);
        put(&mut redis, 1);
        redis.end_turn(&mut outs);
        let sent = String::from_utf8_lossy(&outs[0]).into_owned();
        assert_eq!((sent.matches("EXEC").count(), sent.matches("WAIT\r\n$1\r\n1\r\n$3\r\n100").count()), (2, 1));
        // The next batch stays until this one is answered.
        outs[0].clear();
        put(&mut redis, 2);
        redis.end_turn(&mut outs);
        assert!(outs[0].is_empty());
        let mut done = Vec::new();
        let both = [TRANSACTION, TRANSACTION].concat();
        assert_eq!(redis.receive(0, &both, Mono(5), &mut Vec::new(), &mut done), Ok(both.len()));
        assert!(done.is_empty(), "no replica has it yet");
        redis.receive(0, b":1\r\n", Mono(6), &mut Vec::new(), &mut done).expect("understood");
        let seen: Vec<_> = done.iter().map(|done| (done.token.slot, done.replied, done.answer)).collect();
        let applied = Answer::Applied { jid: 1, rev: 1 };
        assert_eq!(seen, [(0, Mono(6), applied), (1, Mono(6), applied)]);
        redis.end_turn(&mut outs);
        assert!(!outs[0].is_empty());
    }

    #[test]
    fn a_large_turn_is_spread_over_the_connections_that_are_idle() {
        let mut redis = redis(2);
        let mut outs = vec![Vec::new(), Vec::new()];
        (0..700).for_each(|slot| put(&mut redis, slot));
        redis.end_turn(&mut outs);
        let commits = |out: &[u8]| String::from_utf8_lossy(out).matches("EXEC").count();
        assert_eq!([commits(&outs[0]), commits(&outs[1])], [BATCH_MAX, BATCH_MAX]);
        outs[0].clear();
        let mut done = Vec::new();
        let first = [TRANSACTION.repeat(BATCH_MAX).as_slice(), b":2\r\n"].concat();
        redis.receive(0, &first, Mono(5), &mut Vec::new(), &mut done).expect("understood");
        redis.end_turn(&mut outs);
        assert_eq!((done.len(), commits(&outs[0])), (BATCH_MAX, 700 - 2 * BATCH_MAX));
    }

    #[test]
    fn a_write_that_no_replica_has_in_time_is_in_doubt_and_a_file_that_is_there_is_kept() {
        let mut redis = redis(1);
        let (mut outs, mut done) = (vec![Vec::new()], Vec::new());
        put(&mut redis, 0);
        redis.end_turn(&mut outs);
        let late = [TRANSACTION, b":0\r\n"].concat();
        redis.receive(0, &late, Mono(5), &mut Vec::new(), &mut done).expect("understood");
        put(&mut redis, 1);
        redis.end_turn(&mut outs);
        let kept = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$-1\r\n:2\r\n:1\r\n";
        redis.receive(0, kept, Mono(5), &mut Vec::new(), &mut done).expect("understood");
        let answers: Vec<_> = done.iter().map(|done| done.answer).collect();
        assert_eq!(answers, [Answer::Failed(Failure::Unknown), Answer::Refused(Refusal::Conflict)]);
    }

    #[test]
    fn a_connection_that_breaks_leaves_its_writes_in_doubt() {
        let mut redis = redis(2);
        let (mut outs, mut done) = (vec![Vec::new(), Vec::new()], Vec::new());
        put(&mut redis, 0);
        redis.end_turn(&mut outs);
        put(&mut redis, 1);
        assert!(redis.receive(0, b"-MISCONF no\r\n", Mono(5), &mut Vec::new(), &mut done).is_err());
        redis.lose(0, Mono(6), &mut done);
        assert_eq!(done.iter().map(|done| done.token.slot).collect::<Vec<_>>(), [0]);
        // What had not left goes by the other connection.
        put(&mut redis, 2);
        redis.end_turn(&mut outs);
        assert_eq!(String::from_utf8_lossy(&outs[1]).matches("EXEC").count(), 2);
        put(&mut redis, 3);
        redis.lose(1, Mono(7), &mut done);
        assert_eq!(done.iter().map(|done| done.token.slot).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
