//! NATS JetStream KV: a file commit is one publication to the key's subject, which the stream takes if the subject has no
//! message yet. The stream is the journal: one order over all keys.
//!
//! ```text
//! SUB _INBOX.RUN.LANE.*  HPUB $KV.files.KEY _INBOX.RUN.LANE.NUMBER  Nats-Expected-Last-Subject-Sequence: 0  row
//!                        ◀ MSG _INBOX.RUN.LANE.NUMBER {"stream":"KV_files","seq":7}
//! ```

use std::collections::HashMap;

use base::Mono;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use load::driver::{Answer, Done, Failure, Refusal, Submit};
use load::op::Op;
use serde_json::Value;

use super::{Flight, Protocol};
use crate::codec::WireError;
use crate::codec::nats::{CONNECT, Message, PONG, put_publish, put_subscribe, take};
use crate::work::{Journal, Work, read_row};

/// The stream behind the bucket.
pub const STREAM: &str = "KV_files";
/// What the subjects of its keys begin with.
pub const SUBJECTS: &str = "$KV.files.";
/// What its leader answers: the newest message of a subject.
const GET: &str = "$JS.API.STREAM.MSG.GET.KV_files";
/// The key must be new.
const IS_NEW: &[u8] = b"Nats-Expected-Last-Subject-Sequence: 0\r\n";
/// Codes of "wrong last sequence".
const WRONG_SEQUENCE: [u64; 2] = [10_071, 10_164];
/// Code of "no message found".
const NO_MESSAGE: u64 = 10_037;

#[derive(Debug, Default)]
struct Lane {
    is_up: bool,
    number: u64,
    flights: HashMap<u64, Flight>,
}

/// The protocol.
pub struct Nats {
    work: Work,
    lanes: Vec<Lane>,
    next: usize,
    inbox: Vec<u8>,
    question: Vec<u8>,
}

impl Nats {
    /// Over so many connections.
    #[must_use]
    pub fn new(work: Work, connections: usize) -> Nats {
        let lanes = (0..connections).map(|_| Lane::default()).collect();
        Nats { work, lanes, next: 0, inbox: Vec::new(), question: Vec::new() }
    }
}

impl Protocol for Nats {
    fn greet(&mut self, connection: usize, out: &mut Vec<u8>) {
        self.lanes[connection].is_up = true;
        out.extend_from_slice(CONNECT);
        // Answers to an earlier run that come late are not ours.
        put_subscribe(&format!("_INBOX.{}.{connection}.*", self.work.run()), out);
    }

    fn submit(&mut self, op: &Op, flight: Flight, wall_ms: u64, outs: &mut [Vec<u8>]) -> Submit {
        use std::io::Write as _;
        let count = self.lanes.len();
        let Some(at) = (0..count).map(|step| (self.next + step) % count).find(|at| self.lanes[*at].is_up) else {
            return Submit::Full;
        };
        self.next = (at + 1) % count;
        let lane = &mut self.lanes[at];
        lane.number += 1;
        self.inbox.clear();
        write!(self.inbox, "_INBOX.{}.{at}.{}", self.work.run(), lane.number).expect("a vector takes all bytes");
        if flight.is_put() {
            self.work.fill(op, wall_ms, Journal::List);
            let subject = [SUBJECTS.as_bytes(), &self.work.key];
            put_publish(&subject, &self.inbox, IS_NEW, &self.work.row, &mut outs[at]);
        } else {
            self.work.fill_key(op);
            self.question.clear();
            let key = String::from_utf8_lossy(&self.work.key);
            let subject = Value::from(format!("{SUBJECTS}{key}"));
            write!(self.question, "{{\"last_by_subj\":{subject}}}").expect("a vector takes all bytes");
            put_publish(&[GET.as_bytes()], &self.inbox, b"", &self.question, &mut outs[at]);
        }
        lane.flights.insert(lane.number, flight);
        Submit::Queued
    }

    fn receive(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Mono,
        out: &mut Vec<u8>,
        done: &mut Vec<Done>,
    ) -> Result<usize, WireError> {
        let lane = &mut self.lanes[connection];
        let mut at = 0;
        while let Some((message, taken)) = take(&bytes[at..])? {
            at += taken;
            match message {
                Message::Other => {}
                Message::Ping => out.extend_from_slice(PONG),
                Message::Error(why) => return Err(WireError(format!("NATS said: {why}"))),
                Message::Delivery { subject, status, payload } => {
                    let number = subject.rsplit('.').next().and_then(|number| number.parse().ok());
                    let Some(flight) = number.and_then(|number: u64| lane.flights.remove(&number)) else {
                        return Err(WireError(format!("NATS answered what was not asked: {subject}")));
                    };
                    done.push(flight.done(answer(flight.is_put(), status, payload), now));
                }
            }
        }
        Ok(at)
    }

    fn lose(&mut self, connection: usize, now: Mono, done: &mut Vec<Done>) {
        let lane = std::mem::take(&mut self.lanes[connection]);
        done.extend(lane.flights.into_values().map(|flight| flight.lost(now)));
    }
}

/// What an acknowledgement of a publication says, or a message that was asked for.
fn answer(is_put: bool, status: Option<u16>, payload: &[u8]) -> Answer {
    if status.is_some() {
        // Nobody listens: the stream has no leader now.
        return Answer::Failed(Failure::Unknown);
    }
    let Ok(told) = serde_json::from_slice::<Value>(payload) else { return Answer::Failed(Failure::Undecodable) };
    match (told["error"]["err_code"].as_u64(), is_put) {
        (Some(code), true) if WRONG_SEQUENCE.contains(&code) => Answer::Refused(Refusal::Conflict),
        (Some(NO_MESSAGE), false) => Answer::Refused(Refusal::NotFound),
        (Some(_), true) => Answer::Failed(Failure::Unknown),
        (Some(_), false) => Answer::Refused(Refusal::Other),
        (None, true) => match told["seq"].as_u64() {
            Some(seq) if seq > 0 => Answer::Applied { jid: seq, rev: seq },
            _ => Answer::Failed(Failure::Undecodable),
        },
        (None, false) => found(&told["message"]).unwrap_or(Answer::Failed(Failure::Undecodable)),
    }
}

fn found(message: &Value) -> Option<Answer> {
    let row = BASE64_STANDARD.decode(message["data"].as_str()?).ok()?;
    read_row(&row, message["seq"].as_u64()?)
}

#[cfg(test)]
mod tests {
    use load::driver::OpToken;

    use load::op::OpKind;

    use super::*;

    fn flight(slot: u32, is_put: bool) -> Flight {
        Flight {
            token: OpToken { slot, generation: 0 },
            kind: if is_put { OpKind::Put } else { OpKind::Stat },
            sent: Mono(1),
        }
    }

    fn delivery(subject: &str, payload: &str) -> Vec<u8> {
        format!("MSG {subject} 1 {}\r\n{payload}\r\n", payload.len()).into_bytes()
    }

    #[test]
    fn answers_find_their_operation_by_the_inbox_in_any_order() {
        let mut nats = Nats::new(Work::new("r", 1), 2);
        let mut outs = vec![Vec::new(); 2];
        (0..2).for_each(|at| nats.greet(at, &mut outs[at]));
        for slot in 0..4 {
            assert_eq!(nats.submit(&Op::default(), flight(slot, slot != 2), 1, &mut outs), Submit::Queued);
        }
        let sent = String::from_utf8_lossy(&outs[1]).into_owned();
        assert!(sent.contains("SUB _INBOX.r.1.* 1\r\nHPUB $KV.files.r/0 _INBOX.r.1.1 52 "), "{sent}");
        let wrong = r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"},"stream":"KV_files","seq":0}"#;
        let absent = r#"{"type":"x","error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
        let (mut done, mut out) = (Vec::new(), Vec::new());
        let bytes =
            [delivery("_INBOX.r.1.2", wrong), b"PING\r\n".to_vec(), delivery("_INBOX.r.1.1", r#"{"seq":7}"#)].concat();
        assert_eq!(nats.receive(1, &bytes, Mono(2), &mut out, &mut done), Ok(bytes.len()));
        nats.receive(0, &delivery("_INBOX.r.0.2", absent), Mono(3), &mut out, &mut done).expect("understood");
        let nobody = b"HMSG _INBOX.r.0.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        nats.receive(0, nobody, Mono(3), &mut out, &mut done).expect("understood");
        let seen: Vec<_> = done.iter().map(|done| (done.token.slot, done.answer)).collect();
        let expected = [
            (3, Answer::Refused(Refusal::Conflict)),
            (1, Answer::Applied { jid: 7, rev: 7 }),
            (2, Answer::Refused(Refusal::NotFound)),
            (0, Answer::Failed(Failure::Unknown)),
        ];
        assert_eq!((seen.as_slice(), out.as_slice()), (&expected[..], PONG));
        assert!(nats.receive(0, &delivery("_INBOX.r.0.9", "{}"), Mono(4), &mut out, &mut done).is_err());
        assert!(nats.receive(0, b"-ERR 'Authorization Violation'\r\n", Mono(4), &mut out, &mut done).is_err());
    }

    #[test]
    fn a_row_is_found_in_what_the_stream_keeps() {
        let mut work = Work::new("r", 1);
        work.fill(&Op { size: 4096, ..Op::default() }, 1, Journal::List);
        let told = format!(r#"{{"message":{{"subject":"s","seq":9,"data":"{}"}}}}"#, BASE64_STANDARD.encode(&work.row));
        assert_eq!(Some(answer(false, None, told.as_bytes())), read_row(&work.row, 9));
        for (is_put, told) in
            [(true, "{"), (true, "{}"), (true, r#"{"seq":0}"#), (false, "{}"), (false, r#"{"message":1}"#)]
        {
            assert_eq!(answer(is_put, None, told.as_bytes()), Answer::Failed(Failure::Undecodable), "{told}");
        }
    }
}
