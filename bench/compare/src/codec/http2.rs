//! The client's side of HTTP/2 and gRPC, as much as unary calls need. Source: RFC 9113, RFC 7541, gRPC over HTTP/2.
//!
//! ```text
//! frame: length 24 | type 8 | flags 8 | 0, stream 31 | payload          message: 0 | length 32 | protobuf
//! call:  HEADERS, DATA + END_STREAM ─▶       ◀─ HEADERS, DATA, HEADERS + END_STREAM
//! ```
//! Header blocks of answers are not decoded: a unary call that failed has no message, and one that has a message and
//! ended in order did not fail. Our own headers go into the server's table once; later calls name them by a byte each.

use std::collections::HashMap;

use super::WireError;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const SETTING_TABLE_BYTES: u16 = 1;
const SETTING_STREAMS_MAX: u16 = 3;
const SETTING_WINDOW: u16 = 4;
/// What both sides begin with.
const WINDOW_BYTES: i64 = 65_535;
const TABLE_BYTES: u32 = 4096;
/// Frames that we take; what a server sends unasked is no longer.
const FRAME_BYTES_MAX: usize = 16_384;
/// The server may send so much before it hears of us again.
const RECEIVE_BYTES: u32 = 1 << 30;
/// And hears of us after so much.
const RECEIVE_STEP: u32 = 1 << 20;
/// The first place of the dynamic table.
const DYNAMIC_FIRST: usize = 62;

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// With this message.
    Message(&'a [u8]),
    /// Without one: the server refused.
    Refused,
    /// The server ended the stream; the call may have been done.
    Reset,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    authority: String,
    next_stream: u32,
    /// Header fields in the server's table, the oldest first.
    table: Vec<(Field, String)>,
    streams: HashMap<u32, Vec<u8>>,
    spare: Vec<Vec<u8>>,
    /// What may still be sent. Units: bytes.
    window: i64,
    streams_max: usize,
    /// Received since the server last heard of it. Units: bytes.
    received: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Path,
    Authority,
    ContentType,
    Te,
}

impl Field {
    /// The place of the name in the static table; 0 where it has none.
    fn name_index(self) -> u8 {
        match self {
            Field::Path => 4,
            Field::Authority => 1,
            Field::ContentType => 31,
            Field::Te => 0,
        }
    }
}

impl Session {
    /// A connection to `authority`; what is sent first is appended to `out`.
    #[must_use]
    pub fn new(authority: &str, out: &mut Vec<u8>) -> Session {
        out.extend_from_slice(PREFACE);
        frame_head(0, SETTINGS, 0, 0, out);
        frame_head(4, WINDOW_UPDATE, 0, 0, out);
        out.extend_from_slice(&(RECEIVE_BYTES - WINDOW_BYTES as u32).to_be_bytes());
        Session {
            authority: authority.to_owned(),
            next_stream: 1,
            table: Vec::new(),
            streams: HashMap::new(),
            spare: Vec::new(),
            window: WINDOW_BYTES,
            streams_max: usize::MAX,
            received: 0,
        }
    }

    /// Calls `path`; returns the stream, or `None` while the server takes no more.
    pub fn call(&mut self, path: &str, message: &[u8], out: &mut Vec<u8>) -> Option<u32> {
        let bytes = message.len() + 5;
        debug_assert!(bytes <= FRAME_BYTES_MAX, "one frame holds what a comparison sends");
        let has_room = self.window >= bytes as i64 && self.streams.len() < self.streams_max;
        if !has_room || self.next_stream > i32::MAX as u32 {
            return None;
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        self.window -= bytes as i64;
        self.headers(stream, path, out);
        frame_head(bytes, DATA, END_STREAM, stream, out);
        out.push(0);
        out.extend_from_slice(&(message.len() as u32).to_be_bytes());
        out.extend_from_slice(message);
        let mut body = self.spare.pop().unwrap_or_default();
        body.clear();
        self.streams.insert(stream, body);
        Some(stream)
    }

    fn headers(&mut self, stream: u32, path: &str, out: &mut Vec<u8>) {
        let head = out.len();
        frame_head(0, HEADERS, END_HEADERS, stream, out);
        let begin = out.len();
        // `:method: POST` and `:scheme: http` are in the static table.
        out.extend_from_slice(&[0x80 | 3, 0x80 | 6]);
        self.header(Field::Path, path, out);
        let authority = std::mem::take(&mut self.authority);
        self.header(Field::Authority, &authority, out);
        self.authority = authority;
        self.header(Field::ContentType, "application/grpc", out);
        self.header(Field::Te, "trailers", out);
        let bytes = (out.len() - begin) as u32;
        out[head..head + 3].copy_from_slice(&bytes.to_be_bytes()[1..]);
    }

    /// By its place where the server has it, else in full, to be kept there.
    fn header(&mut self, field: Field, value: &str, out: &mut Vec<u8>) {
        if let Some(at) = self.table.iter().position(|(kept, text)| *kept == field && text == value) {
            // The newest entry is the first of the dynamic table.
            out.push(0x80 | (DYNAMIC_FIRST + self.table.len() - 1 - at) as u8);
            return;
        }
        out.push(0x40 | field.name_index());
        if field.name_index() == 0 {
            put_text("te", out);
        }
        put_text(value, out);
        self.table.push((field, value.to_owned()));
    }

    /// Takes whole frames from the front of `bytes` and returns how many bytes those were; `each` hears of calls that
    /// ended. What must be sent because of them is appended to `out`.
    ///
    /// Errors: what came is no HTTP/2, or the server wants to end the connection.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut each: impl FnMut(u32, Reply<'_>),
    ) -> Result<usize, WireError> {
        let mut at = 0;
        while let Some(head) = bytes[at..].first_chunk::<FRAME_HEAD_BYTES>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(WireError(format!("the server sent a frame of {length} bytes; is this an HTTP/2 port?")));
            }
            let Some(payload) = bytes.get(at + FRAME_HEAD_BYTES..at + FRAME_HEAD_BYTES + length) else { break };
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            self.frame((head[3], head[4]), stream, payload, out, &mut each)?;
            at += FRAME_HEAD_BYTES + length;
        }
        if self.received >= RECEIVE_STEP {
            frame_head(4, WINDOW_UPDATE, 0, 0, out);
            out.extend_from_slice(&self.received.to_be_bytes());
            self.received = 0;
        }
        Ok(at)
    }

    fn frame(
        &mut self,
        (kind, flags): (u8, u8),
        stream: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
        each: &mut impl FnMut(u32, Reply<'_>),
    ) -> Result<(), WireError> {
        match kind {
            DATA => {
                self.received += payload.len() as u32;
                let payload = unpadded(flags, payload)?;
                if let Some(body) = self.streams.get_mut(&stream) {
                    body.extend_from_slice(payload);
                }
                self.end(stream, flags, each)?;
            }
            HEADERS => self.end(stream, flags, each)?,
            RST_STREAM => {
                if let Some(body) = self.streams.remove(&stream) {
                    each(stream, Reply::Reset);
                    self.spare.push(body);
                }
            }
            SETTINGS if flags & ACK == 0 => {
                self.settings(payload)?;
                frame_head(0, SETTINGS, ACK, 0, out);
            }
            PING if flags & ACK == 0 => {
                frame_head(payload.len(), PING, ACK, 0, out);
                out.extend_from_slice(payload);
            }
            WINDOW_UPDATE if stream == 0 => {
                let bytes = payload.first_chunk().ok_or_else(|| broken("a WINDOW_UPDATE without a number"))?;
                self.window += i64::from(u32::from_be_bytes(*bytes) & 0x7fff_ffff);
            }
            GOAWAY => {
                let reason = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                return Err(WireError(format!("the server closes the connection: {reason:?}")));
            }
            // CONTINUATION, PRIORITY, answers to ours, windows of streams whose request has left, what is not known.
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, stream: u32, flags: u8, each: &mut impl FnMut(u32, Reply<'_>)) -> Result<(), WireError> {
        if flags & END_STREAM == 0 {
            return Ok(());
        }
        let Some(body) = self.streams.remove(&stream) else { return Ok(()) };
        match body.split_first_chunk::<5>() {
            None if body.is_empty() => each(stream, Reply::Refused),
            Some((head, message)) if head[0] == 0 && message.len() == length_of(head) => {
                each(stream, Reply::Message(message));
            }
            _ => return Err(broken("an answer that is not one whole message")),
        }
        self.spare.push(body);
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), WireError> {
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                SETTING_TABLE_BYTES if value < TABLE_BYTES => {
                    return Err(broken("a header table below 4096 bytes, which this client does not keep to"));
                }
                SETTING_STREAMS_MAX => self.streams_max = value as usize,
                SETTING_WINDOW if i64::from(value) < FRAME_BYTES_MAX as i64 => {
                    return Err(broken("a stream window below 16 KiB, which this client does not keep to"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn length_of(head: &[u8; 5]) -> usize {
    u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], WireError> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or_else(|| broken("padding that is not there"))?;
    let kept = rest.len().checked_sub(usize::from(*padding)).ok_or_else(|| broken("more padding than frame"))?;
    Ok(&rest[..kept])
}

fn broken(what: &str) -> WireError {
    WireError(format!("the server sent {what}"))
}

fn frame_head(bytes: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// A string literal without Huffman; ours are below 127 bytes.
fn put_text(text: &str, out: &mut Vec<u8>) {
    debug_assert!(text.len() < 127, "paths and addresses are short");
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> (Session, Vec<u8>) {
        let mut out = Vec::new();
        let session = Session::new("h:1", &mut out);
        (session, out)
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame_head(payload.len(), kind, flags, stream, &mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn heard(session: &mut Session, bytes: &[u8]) -> Result<(usize, Vec<String>, Vec<u8>), WireError> {
        let (mut heard, mut out) = (Vec::new(), Vec::new());
        let taken = session.receive(bytes, &mut out, |stream, reply| heard.push(format!("{stream} {reply:?}")))?;
        Ok((taken, heard, out))
    }

    #[test]
    fn a_connection_begins_with_the_bytes_of_the_standard() {
        let (_, out) = session();
        let settings = b"\0\0\0\x04\0\0\0\0\0";
        let window = b"\0\0\x04\x08\0\0\0\0\0\x3f\xff\x00\x01";
        assert_eq!(out, [PREFACE, settings, window].concat());
    }

    #[test]
    fn the_first_call_brings_its_headers_and_later_ones_name_them() {
        let (mut session, mut out) = session();
        out.clear();
        assert_eq!(session.call("/a/B", b"xy", &mut out), Some(1));
        let block = b"\x83\x86\x44\x04/a/B\x41\x03h:1\x5f\x10application/grpc\x40\x02te\x08trailers";
        let first = [frame(HEADERS, 4, 1, block), frame(DATA, 1, 1, b"\0\0\0\0\x02xy")].concat();
        assert_eq!(out, first);
        out.clear();
        assert_eq!(session.call("/a/B", b"", &mut out), Some(3));
        // The oldest of four entries has the highest number.
        let block = b"\x83\x86\xc1\xc0\xbf\xbe";
        assert_eq!(out, [frame(HEADERS, 4, 3, block), frame(DATA, 1, 3, b"\0\0\0\0\0")].concat());
        out.clear();
        session.call("/a/C", b"", &mut out);
        assert_eq!(out[9..], [&b"\x83\x86\x44\x04/a/C\xc1\xc0\xbf"[..], &frame(DATA, 1, 5, b"\0\0\0\0\0")].concat());
    }

    #[test]
    fn answers_come_in_any_order_and_in_pieces() {
        let (mut session, mut out) = session();
        session.call("/m", b"1", &mut out);
        session.call("/m", b"2", &mut out);
        let two = [frame(HEADERS, 4, 3, b"?"), frame(DATA, 0, 3, b"\0\0\0\0\x02o")].concat();
        let rest = [frame(DATA, 8, 3, b"\x02k\0\0"), frame(HEADERS, 5, 3, b"?")].concat();
        let one = frame(HEADERS, 5, 1, b"?");
        let all = [two, rest, one].concat();
        let mut seen = Vec::new();
        let mut at = 0;
        for until in 0..=all.len() {
            let (taken, heard, _) = heard(&mut session, &all[at..until]).expect("understood");
            at += taken;
            seen.extend(heard);
        }
        assert_eq!(at, all.len());
        assert_eq!(seen, [format!("3 {:?}", Reply::Message(b"ok")), "1 Refused".to_owned()]);
        assert!(session.streams.is_empty());
    }

    #[test]
    fn the_servers_windows_settings_and_pings_are_kept_to() {
        let (mut session, mut out) = session();
        let message = vec![7; 16_000];
        let sent = (0..9).filter(|_| session.call("/m", &message, &mut out).is_some()).count();
        assert_eq!(sent, 4, "65,535 bytes hold four");
        heard(&mut session, &frame(WINDOW_UPDATE, 0, 0, &40_000u32.to_be_bytes())).expect("understood");
        assert_eq!((0..9).filter(|_| session.call("/m", &message, &mut out).is_some()).count(), 2);
        let reset = heard(&mut session, &frame(RST_STREAM, 0, 1, &[0; 4])).expect("understood").1;
        assert_eq!(reset, ["1 Reset"]);
        let limits = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 5]);
        let answer = heard(&mut session, &limits).expect("understood").2;
        assert_eq!(answer, frame(SETTINGS, ACK, 0, &[]));
        assert_eq!(session.call("/m", b"", &mut out), None, "five are on their way");
        let pong = heard(&mut session, &frame(PING, 0, 0, b"12345678")).expect("understood").2;
        assert_eq!(pong, frame(PING, ACK, 0, b"12345678"));
    }

    #[test]
    fn what_is_no_http2_is_refused() {
        let (mut session, mut out) = session();
        assert!(heard(&mut session, b"HTTP/1.1 400 Bad Request\r\n").is_err());
        assert!(heard(&mut session, &frame(GOAWAY, 0, 0, b"12345678too many")).is_err());
        session.call("/m", b"", &mut out);
        assert!(heard(&mut session, &frame(DATA, END_STREAM, 1, b"\0\0\0\0\x09short")).is_err());
        assert!(heard(&mut session, &frame(DATA, PADDED, 1, b"\x09")).is_err());
    }
}
