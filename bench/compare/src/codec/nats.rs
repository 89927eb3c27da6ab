//! NATS' text protocol: publications out, deliveries in. Source: NATS' manual, "Client Protocol", and its ADR-4 on headers.
//!
//! ```text
//! HPUB subject reply header_bytes all_bytes\r\n header payload\r\n
//! MSG  subject sid [reply] bytes\r\n payload\r\n
//! HMSG subject sid [reply] header_bytes all_bytes\r\n header payload\r\n
//! header   NATS/1.0[ status]\r\n name: value\r\n ... \r\n
//! ```

use super::WireError;

/// The longest payload taken.
const PAYLOAD_BYTES_MAX: usize = 8 << 20;
/// Lines of the server: its greeting is the longest.
const LINE_BYTES_MAX: usize = 32 << 10;

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// It asks whether we live; the answer is [`PONG`].
    Ping,
    /// A message of a subscription.
    Delivery {
        /// To which subject.
        subject: &'a str,
        /// The status of its header, as 503 where nobody listens.
        status: Option<u16>,
        /// What is in it.
        payload: &'a [u8],
    },
    /// It does not want what we sent.
    Error(&'a str),
    /// Of no interest here: the greeting, its news, answers to our pings.
    Other,
}

/// Answers [`Message::Ping`].
pub const PONG: &[u8] = b"PONG\r\n";
/// Opens a connection: headers are understood, and who asks where nobody listens is told.
pub const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
    \"protocol\":1,\"lang\":\"rust\",\"version\":\"0\",\"name\":\"dropstone-compare\"}\r\n";

/// Appends a subscription of number 1.
pub fn put_subscribe(subject: &str, out: &mut Vec<u8>) {
    put(out, &[b"SUB ", subject.as_bytes(), b" 1\r\n"]);
}

/// Appends a message; what answers it goes to `reply`. A header is its lines, each with its end.
pub fn put_publish(subject: &[&[u8]], reply: &[u8], header: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    let head = if header.is_empty() { 0 } else { b"NATS/1.0\r\n".len() + header.len() + 2 };
    put(out, &[if head == 0 { b"PUB " } else { b"HPUB " }]);
    put(out, subject);
    put(out, &[b" ", reply]);
    if head > 0 {
        put_number(head, out);
    }
    put_number(head + payload.len(), out);
    put(out, &[b"\r\n"]);
    if head > 0 {
        put(out, &[b"NATS/1.0\r\n", header, b"\r\n"]);
    }
    put(out, &[payload, b"\r\n"]);
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn put_number(number: usize, out: &mut Vec<u8>) {
    use std::io::Write as _;
    write!(out, " {number}").expect("a vector takes all bytes");
}

/// Takes one message from the front of `bytes`, with its length; `None` while it is not whole.
///
/// Errors: it is none.
pub fn take(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>, WireError> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|two| two == b"\r\n") else {
        return if window.len() == LINE_BYTES_MAX { Err(broken("a line without an end")) } else { Ok(None) };
    };
    let (line, head) = (std::str::from_utf8(&bytes[..end]).map_err(|_| broken("a line that is no text"))?, end + 2);
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let message = match verb {
        "PING" => Message::Ping,
        "-ERR" => Message::Error(rest.trim_matches('\'')),
        "INFO" | "PONG" | "+OK" => Message::Other,
        "MSG" | "HMSG" => return delivery(rest, verb == "HMSG", bytes, head),
        _ => return Err(broken(&format!("{line:?}"))),
    };
    Ok(Some((message, head)))
}

fn delivery<'a>(
    line: &'a str,
    has_header: bool,
    bytes: &'a [u8],
    begin: usize,
) -> Result<Option<(Message<'a>, usize)>, WireError> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let numbers = if has_header { 2 } else { 1 };
    let number = |word: &&str| word.parse::<usize>().ok().filter(|bytes| *bytes <= PAYLOAD_BYTES_MAX);
    let strange = || broken(&format!("the delivery {line:?}"));
    let Some(at) = words.len().checked_sub(numbers).filter(|at| (2..=3).contains(at)) else { return Err(strange()) };
    let sizes = words[at..].iter().map(number).collect::<Option<Vec<usize>>>().ok_or_else(strange)?;
    let (head, all) = if has_header { (sizes[0], sizes[1]) } else { (0, sizes[0]) };
    if head > all {
        return Err(strange());
    }
    let end = begin + all;
    let Some(tail) = bytes.get(end..end + 2) else { return Ok(None) };
    if tail != b"\r\n" {
        return Err(broken("a payload without its end"));
    }
    let status = status(&bytes[begin..begin + head]);
    let delivery = Message::Delivery { subject: words[0], status, payload: &bytes[begin + head..end] };
    Ok(Some((delivery, end + 2)))
}

/// The number behind the protocol's name, if there is one.
fn status(header: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(header.get(b"NATS/1.0 ".len()..)?).ok()?.lines().next()?;
    line.split(' ').next()?.parse().ok()
}

fn broken(what: &str) -> WireError {
    WireError(format!("the server sent {what}; is this a NATS port?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::taken_one_by_one;

    #[test]
    fn requests_have_the_bytes_of_the_protocol() {
        let mut out = Vec::new();
        put_subscribe("_INBOX.a.*", &mut out);
        put_publish(&[b"$KV.b.", b"k"], b"_INBOX.a.1", b"", b"row", &mut out);
        put_publish(&[b"s"], b"r", b"A: 0\r\n", b"row", &mut out);
        let expected = b"SUB _INBOX.a.* 1\r\nPUB $KV.b.k _INBOX.a.1 3\r\nrow\r\n\
            HPUB s r 18 21\r\nNATS/1.0\r\nA: 0\r\n\r\nrow\r\n";
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(expected));
    }

    #[test]
    fn messages_are_taken_when_they_are_whole() {
        let bytes = b"INFO {\"a\":1}\r\nPING\r\nMSG i.1 1 4\r\na\r\nb\r\nMSG i.2 1 reply 0\r\n\r\n\
            HMSG i.3 1 16 17\r\nNATS/1.0 503\r\n\r\nx\r\nHMSG i.4 1 r 18 18\r\nNATS/1.0\r\nA: 1\r\n\r\n\r\n+OK\r\n-ERR 'no'\r\n";
        let of = |subject, status, payload: &'static [u8]| Message::Delivery { subject, status, payload };
        let expected = [
            Message::Other,
            Message::Ping,
            of("i.1", None, b"a\r\nb"),
            of("i.2", None, b""),
            of("i.3", Some(503), b"x"),
            of("i.4", None, b""),
            Message::Other,
            Message::Error("no"),
        ];
        let (messages, at) = taken_one_by_one(bytes, take);
        assert_eq!((messages.as_slice(), at), (&expected[..], bytes.len()));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b"HTTP/1.1 400\r\n"[..],
            b"MSG a 1\r\n",
            b"MSG a 1 b c 1\r\n",
            b"MSG a 1 x\r\n",
            b"MSG a 1 1\r\nabc",
            b"HMSG a 1 5 4\r\n",
            b"MSG a 1 99999999999\r\n",
            b"MSG \xff 1 1\r\n",
        ] {
            assert!(take(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(take(&[b'a'; LINE_BYTES_MAX]).is_err());
        assert_eq!([take(b""), take(b"MSG a 1 3\r\nabc\r")], [Ok(None), Ok(None)]);
    }
}
