//! PostgreSQL's protocol, version 3: requests out, messages in. Source: PostgreSQL's manual, "Frontend/Backend Protocol".
//!
//! ```text
//! request   tag u8 | bytes u32 (of itself and the body) | body          the first one has no tag
//! message   tag u8 | bytes u32 (of itself and the body) | body
//! ```
//! Numbers are big-endian, texts end with a zero byte.

use super::WireError;

/// The protocol's number: 3.0.
const VERSION: u32 = 3 << 16;
/// The longest message taken.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Parameters and columns in their own form, not as text.
const BINARY: u16 = 1;

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Who we are is believed.
    Trusted,
    /// It wants a proof of who we are: this kind.
    WantsProof(u32),
    /// A row, and its columns; `None` is null.
    Row(Vec<Option<&'a [u8]>>),
    /// A statement is done and touched so many rows.
    Complete(u64),
    /// All until the last sync is done.
    Ready,
    /// It said no.
    Error(Trouble),
    /// It did, and warns.
    Warning(Trouble),
    /// Of no interest here: settings, keys, parsed, bound, forms of rows, notices.
    Other(u8),
}

/// An error or a warning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trouble {
    /// Five letters and digits, as `40001`.
    pub code: String,
    /// In words.
    pub words: String,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.words, self.code)
    }
}

/// Appends what opens a connection.
pub fn put_startup(user: &str, database: &str, out: &mut Vec<u8>) {
    framed(None, out, |out| {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for text in ["user", user, "database", database, "application_name", "dropstone-compare"] {
            put_text(text, out);
        }
        out.push(0);
    });
}

/// Appends a question as text, whose rows come as text: for what is asked seldom.
pub fn put_query(sql: &str, out: &mut Vec<u8>) {
    framed(Some(b'Q'), out, |out| put_text(sql, out));
}

/// Appends a statement to be prepared; the server finds the types of its parameters.
pub fn put_parse(name: &str, sql: &str, out: &mut Vec<u8>) {
    framed(Some(b'P'), out, |out| {
        put_text(name, out);
        put_text(sql, out);
        out.extend_from_slice(&0u16.to_be_bytes());
    });
}

/// Appends a run of a prepared statement, in a transaction of its own.
pub fn put_run(name: &str, parameters: &[&[u8]], out: &mut Vec<u8>) {
    framed(Some(b'B'), out, |out| {
        // The nameless portal.
        put_text("", out);
        put_text(name, out);
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&BINARY.to_be_bytes());
        out.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
        for parameter in parameters {
            out.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
            out.extend_from_slice(parameter);
        }
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&BINARY.to_be_bytes());
    });
    framed(Some(b'E'), out, |out| {
        put_text("", out);
        // All rows.
        out.extend_from_slice(&0u32.to_be_bytes());
    });
    put_sync(out);
}

/// Appends the end of a transaction; [`Message::Ready`] answers it.
pub fn put_sync(out: &mut Vec<u8>) {
    framed(Some(b'S'), out, |_| {});
}

fn framed(tag: Option<u8>, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let bytes = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&bytes.to_be_bytes());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Takes one message from the front of `bytes`, with its length; `None` while it is not whole.
///
/// Errors: it is none.
pub fn take(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>, WireError> {
    let [tag, a, b, c, d, ..] = *bytes else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) || !tag.is_ascii_alphanumeric() {
        return Err(broken("a message of no possible length"));
    }
    let Some(body) = bytes.get(5..=length) else { return Ok(None) };
    let message = match tag {
        b'R' => match body.first_chunk().map(|kind| u32::from_be_bytes(*kind)) {
            Some(0) => Message::Trusted,
            Some(kind) => Message::WantsProof(kind),
            None => return Err(broken("a greeting without a kind")),
        },
        b'D' => Message::Row(row(body).ok_or_else(|| broken("a row that is none"))?),
        b'C' => Message::Complete(rows_of(body)),
        b'Z' => Message::Ready,
        b'E' => Message::Error(trouble(body)),
        b'N' if field(body, b'V').or_else(|| field(body, b'S')) == Some("WARNING") => Message::Warning(trouble(body)),
        other => Message::Other(other),
    };
    Ok(Some((message, 1 + length)))
}

/// Columns: their number, then each with its length before it; a length of -1 is null.
fn row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk()?;
        let length = i32::from_be_bytes(*length);
        rest = after;
        let Ok(length) = usize::try_from(length) else {
            columns.push(None);
            continue;
        };
        columns.push(Some(rest.get(..length)?));
        rest = &rest[length..];
    }
    rest.is_empty().then_some(columns)
}

/// The last word of `INSERT 0 1`.
fn rows_of(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).unwrap_or_default().trim_end_matches('\0');
    text.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn trouble(body: &[u8]) -> Trouble {
    let of = |kind| field(body, kind).unwrap_or_default().to_owned();
    Trouble { code: of(b'C'), words: of(b'M') }
}

/// Fields are a letter and a text each; a zero byte ends them.
fn field(body: &[u8], kind: u8) -> Option<&str> {
    let fields = body.split(|byte| *byte == 0);
    let mut found = fields.filter_map(|field| field.split_first());
    found.find(|(letter, _)| **letter == kind).and_then(|(_, text)| std::str::from_utf8(text).ok())
}

fn broken(what: &str) -> WireError {
    WireError(format!("the server sent {what}; is this a PostgreSQL port?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::taken_one_by_one;

    #[test]
    fn requests_have_the_bytes_of_the_protocol() {
        let mut out = Vec::new();
        put_startup("u", "d", &mut out);
        assert_eq!(out[..16], *b"\0\0\0\x3e\0\x03\0\0user\0u\0d");
        assert_eq!((out.len(), &out[out.len() - 2..]), (0x3e, &b"\0\0"[..]));
        out.clear();
        put_query("SHOW fsync", &mut out);
        put_parse("get", "SELECT 1", &mut out);
        assert_eq!(out, b"Q\0\0\0\x0fSHOW fsync\0P\0\0\0\x13get\0SELECT 1\0\0\0");
        out.clear();
        put_run("get", &[b"key", b""], &mut out);
        let bind = b"B\0\0\0\x1e\0get\0\0\x01\0\x01\0\x02\0\0\0\x03key\0\0\0\0\0\x01\0\x01";
        assert_eq!(out, [&bind[..], b"E\0\0\0\x09\0\0\0\0\0", b"S\0\0\0\x04"].concat());
    }

    #[test]
    fn messages_are_taken_when_they_are_whole() {
        let error = b"SERROR\0VERROR\0C40001\0Mtoo late\0\0";
        let warning = b"SWARNUNG\0VWARNING\0C01000\0Mnot replicated\0\0";
        let message = |tag: u8, body: &[u8]| [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let bytes = [
            message(b'R', &[0, 0, 0, 0]),
            message(b'R', &[0, 0, 0, 10, 0]),
            message(b'S', b"a\0b\0"),
            message(b'D', b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0"),
            message(b'C', b"INSERT 0 7\0"),
            message(b'C', b"BEGIN\0"),
            message(b'E', error),
            message(b'N', warning),
            message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhm\0\0"),
            message(b'Z', b"I"),
        ]
        .concat();
        let trouble = |code: &str, words: &str| Trouble { code: code.into(), words: words.into() };
        let expected = [
            Message::Trusted,
            Message::WantsProof(10),
            Message::Other(b'S'),
            Message::Row(vec![Some(b"ab"), None, Some(b"")]),
            Message::Complete(7),
            Message::Complete(0),
            Message::Error(trouble("40001", "too late")),
            Message::Warning(trouble("01000", "not replicated")),
            Message::Other(b'N'),
            Message::Ready,
        ];
        let (messages, at) = taken_one_by_one(&bytes, take);
        assert_eq!((messages.as_slice(), at), (&expected[..], bytes.len()));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b"HTTP/1.1 400 Bad"[..],
            b"Z\0\0\0\x03",
            b"\0\0\0\0\x04",
            b"R\0\0\0\x05\0",
            b"D\0\0\0\x06\0\x01",
            b"D\0\0\0\x0b\0\x01\0\0\0\x02a",
            b"D\0\0\0\x07\0\0x",
        ] {
            assert!(take(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!([take(b""), take(b"Z\0\0\0"), take(b"Z\0\0\0\x05")], [Ok(None), Ok(None), Ok(None)]);
    }
}
