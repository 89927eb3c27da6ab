//! Replies, appended to a connection's send buffer. `\r\n` ends each line.

use base::bytes::push_decimal;

use super::request::MetaGet;

/// Why a request is not served; a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nothing that memcached knows, or with too few or too many words.
    Unknown,
    /// A key that is too long or has a control byte; a number that is none.
    BadFormat,
    /// A key that is not `<nsid>/<path>`, or whose path breaks a rule.
    BadKey,
    /// A data block that does not end where it was said to.
    BadChunk,
    /// An opaque token of 32 bytes or more, its letter counted.
    OpaqueTooLong,
    /// More flags than there can be.
    TooManyFlags,
    /// A flag twice.
    DuplicateFlag,
    /// A flag that is not served.
    InvalidFlag,
    /// A flag whose number is none.
    BadToken,
    /// A key that is no base64.
    BadBase64,
    /// A write.
    ReadOnly,
    /// A queue is at its bound.
    Overloaded,
    /// No quorum has confirmed the read in time.
    NoQuorum,
    /// This node does not lead the group, and knows nobody who does.
    NoLeader,
    /// The group cannot be read here now: it starts, or stops.
    NotReady,
    /// The path is deeper than one answer may walk.
    TooDeep,
}

impl Refusal {
    /// The line, without its end.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Refusal::Unknown => "ERROR",
            Refusal::BadFormat => "CLIENT_ERROR bad command line format",
            Refusal::BadKey => "CLIENT_ERROR bad key",
            Refusal::BadChunk => "CLIENT_ERROR bad data chunk",
            Refusal::OpaqueTooLong => "CLIENT_ERROR opaque token too long",
            Refusal::TooManyFlags => "CLIENT_ERROR options flags are too long",
            Refusal::DuplicateFlag => "CLIENT_ERROR duplicate flag",
            Refusal::InvalidFlag => "CLIENT_ERROR invalid flag",
            Refusal::BadToken => "CLIENT_ERROR bad token in command line format",
            Refusal::BadBase64 => "CLIENT_ERROR error decoding key",
            Refusal::ReadOnly => "SERVER_ERROR read only",
            Refusal::Overloaded => "SERVER_ERROR overloaded",
            Refusal::NoQuorum => "SERVER_ERROR no quorum",
            Refusal::NoLeader => "SERVER_ERROR no leader",
            Refusal::NotReady => "SERVER_ERROR not ready",
            Refusal::TooDeep => "SERVER_ERROR path too deep",
        }
    }
}

/// What a key names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'a> {
    /// What memcached calls flags.
    pub flags: u32,
    /// The version.
    pub cas: u64,
    /// Has it been asked for before?
    pub is_fetched: bool,
    /// The value.
    pub value: &'a [u8],
}

/// A line.
pub fn put_line(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `VALUE <key> <flags> <bytes>[ <cas>]` and the value, of `get` and `gets`.
pub fn put_value(key: &[u8], item: &Item<'_>, has_cas: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    push_decimal(u64::from(item.flags), out);
    out.push(b' ');
    push_decimal(item.value.len() as u64, out);
    if has_cas {
        out.push(b' ');
        push_decimal(item.cas, out);
    }
    put_block(item.value, out);
}

/// `END`, after all values.
pub fn put_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"END\r\n");
}

/// `HD` or `VA`, with what the flags of an `mg` ask for, in their order.
pub fn put_meta_hit(get: &MetaGet<'_>, item: &Item<'_>, out: &mut Vec<u8>) {
    let has_value = get.wants_value && get.cas != Some(item.cas);
    if has_value {
        out.extend_from_slice(b"VA ");
        push_decimal(item.value.len() as u64, out);
    } else {
        out.extend_from_slice(b"HD");
    }
    for flag in get.flags() {
        match flag[0] {
            b's' => put_flag(b's', item.value.len() as u64, out),
            b'c' => put_flag(b'c', item.cas, out),
            b'f' => put_flag(b'f', u64::from(item.flags), out),
            b'h' => put_flag(b'h', u64::from(item.is_fetched), out),
            b'l' => put_flag(b'l', 0, out),
            b't' => out.extend_from_slice(b" t-1"),
            b'k' => put_key_flag(get, out),
            b'O' => put_opaque(flag, out),
            _ => {}
        }
    }
    if has_value {
        put_block(item.value, out);
    } else {
        out.extend_from_slice(b"\r\n");
    }
}

/// `EN`, of an `mg` that finds nothing; nothing at all when it is quiet.
pub fn put_meta_miss(get: &MetaGet<'_>, out: &mut Vec<u8>) {
    if get.is_quiet {
        return;
    }
    out.extend_from_slice(b"EN");
    for flag in get.flags() {
        match flag[0] {
            b'k' => put_key_flag(get, out),
            b'O' => put_opaque(flag, out),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The line of `me`; `None` is `EN`.
pub fn put_debug(key: &[u8], item: Option<&Item<'_>>, out: &mut Vec<u8>) {
    let Some(item) = item else { return put_line("EN", out) };
    out.extend_from_slice(b"ME ");
    out.extend_from_slice(key);
    out.extend_from_slice(b" exp=-1 la=0 cas=");
    push_decimal(item.cas, out);
    out.extend_from_slice(if item.is_fetched { b" fetch=yes" } else { b" fetch=no" });
    out.extend_from_slice(b" cls=0 size=");
    push_decimal(item.value.len() as u64, out);
    out.extend_from_slice(b"\r\n");
}

/// A line of `stats`.
pub fn put_stat(name: &str, value: impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "STAT {name} {value}\r\n").expect("writing to a vector cannot fail");
}

fn put_flag(letter: u8, number: u64, out: &mut Vec<u8>) {
    out.extend([b' ', letter]);
    push_decimal(number, out);
}

fn put_opaque(flag: &[u8], out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(flag);
}

/// The key as it was sent; `b` says that it is base64.
fn put_key_flag(get: &MetaGet<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b" k");
    out.extend_from_slice(get.key);
    if get.is_base64 {
        out.extend_from_slice(b" b");
    }
}

fn put_block(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
