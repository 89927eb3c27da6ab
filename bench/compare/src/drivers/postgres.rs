//! PostgreSQL: a file commit is one statement, which is one transaction: the file's row if there is none, and then the
//! journal's.
//!
//! ```text
//! connection   startup | Parse x3, Sync | Bind, Execute, Sync | Bind, Execute, Sync | ...
//! server                 Ready            Ready                 Row, Complete, Ready
//! ```
//! A connection is one process of the server, which does one transaction after the other and waits for the disks at the end
//! of each: so operations go to connections that are idle, and only then behind others.

use std::collections::VecDeque;

use base::Mono;
use load::driver::{Answer, Done, Failure, Refusal, Submit};
use load::op::Op;

use super::{Flight, Protocol};
use crate::codec::WireError;
use crate::codec::postgres::{Message, Trouble, put_parse, put_run, put_startup, put_sync, take};
use crate::work::{Journal, Work, read_row};

/// Who we are, and where the tables are.
pub const USER: &str = "postgres";
/// The tables: a namespace's journal is the rows of one key, in order.
pub const SCHEMA: &str = "CREATE TABLE files (path text PRIMARY KEY, row bytea NOT NULL); \
     CREATE TABLE journal (key text, jid bigint GENERATED ALWAYS AS IDENTITY, row bytea NOT NULL, PRIMARY KEY (key, jid))";
const COMMIT: &str = "WITH file AS (INSERT INTO files VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING path) \
     INSERT INTO journal (key, row) SELECT $3, $4 FROM file RETURNING jid";
const PUT: &str = "INSERT INTO files VALUES ($1, $2) ON CONFLICT (path) DO UPDATE SET row = excluded.row";
const GET: &str = "SELECT row FROM files WHERE path = $1";

/// What a put does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// Both rows, or neither where the file is there.
    Both,
    /// The file's row, whatever was there, and no more.
    Plain,
}

/// What the next [`Message::Ready`] of a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Opened,
    Prepared,
    Done(Flight),
}

/// What was said since the last [`Message::Ready`].
#[derive(Debug, Default)]
struct Heard {
    column: Option<Vec<u8>>,
    rows: u64,
    trouble: Option<Trouble>,
}

#[derive(Debug, Default)]
struct Lane {
    is_up: bool,
    expected: VecDeque<Expected>,
    heard: Heard,
}

/// The protocol.
pub struct Postgres {
    commit: Commit,
    work: Work,
    lanes: Vec<Lane>,
    next: usize,
    /// Plain puts have no number of their own.
    puts: u64,
}

impl Postgres {
    /// Over so many connections.
    #[must_use]
    pub fn new(commit: Commit, work: Work, connections: usize) -> Postgres {
        Postgres { commit, work, lanes: (0..connections).map(|_| Lane::default()).collect(), next: 0, puts: 0 }
    }

    /// The next connection that is idle; else the one with the fewest operations.
    fn lane(&mut self) -> Option<usize> {
        let count = self.lanes.len();
        let by_turns = (0..count).map(|step| (self.next + step) % count).filter(|at| self.lanes[*at].is_up);
        let waiting = |at: usize| self.lanes[at].expected.len();
        let (mut best, mut fewest) = (None, usize::MAX);
        for at in by_turns {
            if waiting(at) < fewest {
                (best, fewest) = (Some(at), waiting(at));
            }
            if fewest == 0 {
                break;
            }
        }
        self.next = best? + 1;
        best
    }
}

impl Protocol for Postgres {
    fn greet(&mut self, connection: usize, out: &mut Vec<u8>) {
        let lane = &mut self.lanes[connection];
        lane.is_up = true;
        lane.expected.extend([Expected::Opened, Expected::Prepared]);
        put_startup(USER, USER, out);
        for (name, sql) in [("commit", COMMIT), ("put", PUT), ("get", GET)] {
            put_parse(name, sql, out);
        }
        put_sync(out);
    }

    fn submit(&mut self, op: &Op, flight: Flight, wall_ms: u64, outs: &mut [Vec<u8>]) -> Submit {
        let Some(at) = self.lane() else { return Submit::Full };
        if flight.is_put() {
            self.work.fill(op, wall_ms, Journal::List);
            let Work { key, row, journal_key, journal_row, .. } = &self.work;
            match self.commit {
                Commit::Both => put_run("commit", &[key, row, journal_key, journal_row], &mut outs[at]),
                Commit::Plain => put_run("put", &[key, row], &mut outs[at]),
            }
        } else {
            self.work.fill_key(op);
            put_run("get", &[&self.work.key], &mut outs[at]);
        }
        self.lanes[at].expected.push_back(Expected::Done(flight));
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
        let Postgres { commit, lanes, puts, .. } = self;
        let Lane { expected, heard, .. } = &mut lanes[connection];
        let mut at = 0;
        while let Some((message, taken)) = take(&bytes[at..])? {
            at += taken;
            match message {
                Message::Trusted | Message::Other(_) => {}
                Message::WantsProof(kind) => {
                    return Err(WireError(format!(
                        "PostgreSQL wants a proof of kind {kind}; trust {USER} on loopback"
                    )));
                }
                Message::Row(columns) => {
                    heard.column = columns.first().and_then(|column| Some(column.as_ref()?.to_vec()))
                }
                Message::Complete(rows) => heard.rows = rows,
                // A warning beside a write says that it is not replicated: not what was promised.
                Message::Error(trouble) | Message::Warning(trouble) => heard.trouble = Some(trouble),
                Message::Ready => {
                    let Some(ended) = expected.pop_front() else {
                        return Err(WireError("PostgreSQL answered what was not asked".to_owned()));
                    };
                    let heard = std::mem::take(heard);
                    match (ended, heard.trouble.as_ref()) {
                        (Expected::Done(flight), _) => {
                            done.push(flight.done(answer(flight, *commit, heard, puts), now))
                        }
                        (Expected::Opened | Expected::Prepared, None) => {}
                        (_, Some(trouble)) => return Err(WireError(format!("PostgreSQL said: {trouble}"))),
                    }
                }
            }
        }
        // One that ends the connection comes without a Ready behind it.
        Ok(at)
    }

    fn lose(&mut self, connection: usize, now: Mono, done: &mut Vec<Done>) {
        let lane = std::mem::take(&mut self.lanes[connection]);
        let flights = lane.expected.into_iter().filter_map(|expected| match expected {
            Expected::Done(flight) => Some(flight),
            Expected::Opened | Expected::Prepared => None,
        });
        done.extend(flights.map(|flight| flight.lost(now)));
    }
}

fn answer(flight: Flight, commit: Commit, heard: Heard, puts: &mut u64) -> Answer {
    match (heard.trouble, flight.is_put()) {
        (Some(_), true) => return Answer::Failed(Failure::Unknown),
        (Some(_), false) => return Answer::Refused(Refusal::Other),
        (None, _) => {}
    }
    match (flight.is_put(), commit, heard.column) {
        (true, Commit::Both, None) => Answer::Refused(Refusal::Conflict),
        (true, Commit::Both, Some(jid)) => match jid.first_chunk().map(|jid| u64::from_be_bytes(*jid)) {
            Some(jid) => Answer::Applied { jid, rev: jid },
            None => Answer::Failed(Failure::Undecodable),
        },
        (true, Commit::Plain, _) if heard.rows == 1 => {
            *puts += 1;
            Answer::Applied { jid: *puts, rev: *puts }
        }
        (true, Commit::Plain, _) => Answer::Failed(Failure::Undecodable),
        (false, _, None) => Answer::Refused(Refusal::NotFound),
        (false, _, Some(row)) => read_row(&row, 0).unwrap_or(Answer::Failed(Failure::Undecodable)),
    }
}

#[cfg(test)]
mod tests {
    use load::driver::OpToken;

    use load::op::OpKind;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    fn ready() -> Vec<u8> {
        message(b'Z', b"I")
    }

    fn row(column: &[u8]) -> Vec<u8> {
        message(b'D', &[&b"\0\x01"[..], &(column.len() as u32).to_be_bytes(), column].concat())
    }

    fn flight(slot: u32, is_put: bool) -> Flight {
        Flight {
            token: OpToken { slot, generation: 0 },
            kind: if is_put { OpKind::Put } else { OpKind::Stat },
            sent: Mono(1),
        }
    }

    fn postgres(commit: Commit, connections: usize) -> (Postgres, Vec<Vec<u8>>) {
        let mut postgres = Postgres::new(commit, Work::new("r", 1), connections);
        let mut outs = vec![Vec::new(); connections];
        for (at, out) in outs.iter_mut().enumerate() {
            postgres.greet(at, out);
            let opened = [message(b'R', &[0; 4]), ready(), ready()].concat();
            assert_eq!(postgres.receive(at, &opened, Mono(1), &mut Vec::new(), &mut Vec::new()), Ok(opened.len()));
        }
        (postgres, outs)
    }

    #[test]
    fn answers_belong_to_the_oldest_operation_of_their_connection() {
        let (mut postgres, mut outs) = postgres(Commit::Both, 1);
        for (slot, is_put) in [(0, true), (1, true), (2, false), (3, true), (4, true)] {
            assert_eq!(postgres.submit(&Op::default(), flight(slot, is_put), 1, &mut outs), Submit::Queued);
        }
        let bytes = [
            row(&42u64.to_be_bytes()),
            message(b'C', b"INSERT 0 1\0"),
            ready(),
            message(b'C', b"INSERT 0 0\0"),
            ready(),
            message(b'C', b"SELECT 0\0"),
            ready(),
            message(b'E', b"SERROR\0C40P01\0Mdeadlock\0\0"),
            ready(),
            message(b'N', b"VWARNING\0C01000\0Mnot replicated\0\0"),
            row(&43u64.to_be_bytes()),
            message(b'C', b"INSERT 0 1\0"),
            ready(),
        ]
        .concat();
        let mut done = Vec::new();
        assert_eq!(postgres.receive(0, &bytes, Mono(2), &mut Vec::new(), &mut done), Ok(bytes.len()));
        let seen: Vec<_> = done.iter().map(|done| (done.token.slot, done.answer)).collect();
        let expected = [
            (0, Answer::Applied { jid: 42, rev: 42 }),
            (1, Answer::Refused(Refusal::Conflict)),
            (2, Answer::Refused(Refusal::NotFound)),
            (3, Answer::Failed(Failure::Unknown)),
            (4, Answer::Failed(Failure::Unknown)),
        ];
        assert_eq!(seen, expected);
        assert!(postgres.receive(0, &ready(), Mono(3), &mut Vec::new(), &mut done).is_err());
    }

    #[test]
    fn operations_go_to_idle_connections_first_and_then_behind_the_fewest() {
        let (mut postgres, mut outs) = postgres(Commit::Plain, 3);
        let waiting = |postgres: &Postgres| postgres.lanes.iter().map(|lane| lane.expected.len()).collect::<Vec<_>>();
        for slot in 0..5 {
            postgres.submit(&Op::default(), flight(slot, true), 1, &mut outs);
        }
        assert_eq!(waiting(&postgres), [2, 2, 1]);
        let mut done = Vec::new();
        let put = [message(b'C', b"INSERT 0 1\0"), ready()].concat();
        postgres.receive(1, &put.repeat(2), Mono(2), &mut Vec::new(), &mut done).expect("understood");
        let applied = |at| Answer::Applied { jid: at, rev: at };
        assert_eq!(done.iter().map(|done| done.answer).collect::<Vec<_>>(), [applied(1), applied(2)]);
        postgres.submit(&Op::default(), flight(5, true), 1, &mut outs);
        assert_eq!(waiting(&postgres), [2, 1, 1]);
        postgres.lose(0, Mono(3), &mut done);
        assert_eq!(done[2..], [flight(0, true).lost(Mono(3)), flight(3, true).lost(Mono(3))]);
        postgres.submit(&Op::default(), flight(6, true), 1, &mut outs);
        assert_eq!(waiting(&postgres), [0, 1, 2]);
        (1..3).for_each(|at| postgres.lose(at, Mono(4), &mut done));
        assert_eq!(postgres.submit(&Op::default(), flight(7, true), 1, &mut outs), Submit::Full);
    }

    #[test]
    fn a_server_that_does_not_let_us_in_or_does_not_know_the_tables_is_told() {
        let receive = |bytes: &[u8]| {
            let mut postgres = Postgres::new(Commit::Both, Work::new("r", 1), 1);
            postgres.greet(0, &mut Vec::new());
            postgres.receive(0, bytes, Mono(1), &mut Vec::new(), &mut Vec::new()).expect_err("of no use").0
        };
        assert!(receive(&message(b'R', &[0, 0, 0, 10])).contains("trust postgres"));
        let unknown = [message(b'R', &[0; 4]), ready(), message(b'E', b"C42P01\0Mno such table\0\0"), ready()].concat();
        assert_eq!(receive(&unknown), "PostgreSQL said: no such table (42P01)");
    }
}
