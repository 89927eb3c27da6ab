//! The few messages of etcd's version 3 interface that a comparison needs. Source: etcd's `rpc.proto` and `kv.proto`.

use super::WireError;
use super::protobuf::{Value, field_bytes, put_bytes, put_head, put_number, read};

/// Paths of the methods.
pub const RANGE: &str = "/etcdserverpb.KV/Range";
/// One key.
pub const PUT: &str = "/etcdserverpb.KV/Put";
/// Compare, then put.
pub const TXN: &str = "/etcdserverpb.KV/Txn";
/// Who leads.
pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// A key and its value.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// Where.
    pub key: &'a [u8],
    /// What.
    pub value: &'a [u8],
}

impl Pair<'_> {
    fn bytes(&self) -> usize {
        field_bytes(self.key.len()) + field_bytes(self.value.len())
    }
}

/// What an answer says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// Of the store when it was answered.
    pub revision: u64,
    /// The member that answered.
    pub member: u64,
    /// Of a transaction: the comparison held.
    pub succeeded: bool,
    /// Of a range: keys that came.
    pub entries: u32,
    /// Of a range: revision and value of the first key.
    pub found: Option<(u64, Vec<u8>)>,
    /// Of a status: who leads, 0 for nobody.
    pub leader: u64,
    /// Of a status.
    pub version: String,
}

/// A put.
pub fn put(pair: Pair<'_>, out: &mut Vec<u8>) {
    put_bytes(1, pair.key, out);
    put_bytes(2, pair.value, out);
}

/// A part of a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Put this.
    Put(Pair<'a>),
    /// Delete this key.
    Delete(&'a [u8]),
}

/// Puts both if the first key was never made.
pub fn create_both(first: Pair<'_>, second: Pair<'_>, out: &mut Vec<u8>) {
    txn(&[(first.key, false)], &[Part::Put(first), Part::Put(second)], out);
}

/// Does all parts if each of the keys is there, or is not: `create_revision` above 0, or 0.
pub fn txn(held: &[(&[u8], bool)], parts: &[Part<'_>], out: &mut Vec<u8>) {
    for (key, is_there) in held {
        // Compare { result: EQUAL or GREATER, target: CREATE, key, create_revision: 0 }; EQUAL is 0 and left out.
        put_head(1, 2 * usize::from(*is_there) + 2 + field_bytes(key.len()) + 2, out);
        if *is_there {
            put_number(1, 1, out);
        }
        put_number(2, 1, out);
        put_bytes(3, key, out);
        put_number(5, 0, out);
    }
    for part in parts {
        match part {
            Part::Put(pair) => {
                put_head(2, field_bytes(pair.bytes()), out);
                put_head(2, pair.bytes(), out);
                put(*pair, out);
            }
            Part::Delete(key) => {
                put_head(2, field_bytes(field_bytes(key.len())), out);
                put_head(3, field_bytes(key.len()), out);
                put_bytes(1, key, out);
            }
        }
    }
}

/// A linearizable read of the first `limit` keys that begin with `prefix`.
pub fn range_of(prefix: &[u8], limit: u32, out: &mut Vec<u8>) {
    put_bytes(1, prefix, out);
    let mut end = prefix.to_vec();
    // Prefixes end with a slash, so the next byte is one, too.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    put_bytes(2, &end, out);
    put_number(3, limit.into(), out);
}

/// A linearizable read of one key.
pub fn range(key: &[u8], out: &mut Vec<u8>) {
    put_bytes(1, key, out);
}

/// Reads the answer to [`put`].
///
/// Errors: it is no such message; so with the others.
pub fn read_put(bytes: &[u8]) -> Result<Answer, WireError> {
    let (mut answer, mut header) = (Answer::default(), None);
    read(bytes, |field, value| {
        if let (1, Value::Bytes(bytes)) = (field, value) {
            header = Some(bytes);
        }
    })?;
    read_header(header, &mut answer)?;
    Ok(answer)
}

/// Reads the answer to [`create_both`].
pub fn read_txn(bytes: &[u8]) -> Result<Answer, WireError> {
    let (mut answer, mut header) = (Answer::default(), None);
    read(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(bytes)) => header = Some(bytes),
        (2, Value::Number(succeeded)) => answer.succeeded = succeeded != 0,
        _ => {}
    })?;
    read_header(header, &mut answer)?;
    Ok(answer)
}

/// Reads the answer to [`range`].
pub fn read_range(bytes: &[u8]) -> Result<Answer, WireError> {
    let (mut answer, mut header, mut first) = (Answer::default(), None, None);
    read(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(bytes)) => header = Some(bytes),
        (2, Value::Bytes(bytes)) => {
            answer.entries += 1;
            first.get_or_insert(bytes);
        }
        _ => {}
    })?;
    read_header(header, &mut answer)?;
    if let Some(pair) = first {
        let (mut revision, mut found) = (0, Vec::new());
        read(pair, |field, value| match (field, value) {
            (3, Value::Number(number)) => revision = number,
            (5, Value::Bytes(bytes)) => found = bytes.to_vec(),
            _ => {}
        })?;
        answer.found = Some((revision, found));
    }
    Ok(answer)
}

/// Reads the answer to a status, whose request is empty.
pub fn read_status(bytes: &[u8]) -> Result<Answer, WireError> {
    let (mut answer, mut header) = (Answer::default(), None);
    read(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(bytes)) => header = Some(bytes),
        (2, Value::Bytes(text)) => answer.version = String::from_utf8_lossy(text).into_owned(),
        (4, Value::Number(leader)) => answer.leader = leader,
        _ => {}
    })?;
    read_header(header, &mut answer)?;
    Ok(answer)
}

fn read_header(header: Option<&[u8]>, answer: &mut Answer) -> Result<(), WireError> {
    let header = header.ok_or_else(|| WireError("an answer of etcd has no header".to_owned()))?;
    read(header, |field, value| match (field, value) {
        (2, Value::Number(member)) => answer.member = member,
        (3, Value::Number(revision)) => answer.revision = revision,
        _ => {}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [Pair<'_>; 2] = [Pair { key: b"a", value: b"one" }, Pair { key: b"b", value: b"2" }];

    #[test]
    fn requests_have_the_bytes_of_the_interface() {
        let mut bytes = Vec::new();
        put(PAIRS[0], &mut bytes);
        assert_eq!(bytes, b"\x0a\x01a\x12\x03one");
        bytes.clear();
        create_both(PAIRS[0], PAIRS[1], &mut bytes);
        let compare = b"\x0a\x07\x10\x01\x1a\x01a\x28\x00";
        let puts = [&b"\x12\x0a\x12\x08\x0a\x01a\x12\x03one"[..], b"\x12\x08\x12\x06\x0a\x01b\x12\x012"].concat();
        assert_eq!(bytes, [&compare[..], &puts].concat());
        bytes.clear();
        range(b"a", &mut bytes);
        assert_eq!(bytes, b"\x0a\x01a");
        bytes.clear();
        range_of(b"a/", 9, &mut bytes);
        assert_eq!(bytes, b"\x0a\x02a/\x12\x02a0\x18\x09");
        bytes.clear();
        txn(&[(b"a", true)], &[Part::Delete(b"a")], &mut bytes);
        assert_eq!(bytes, b"\x0a\x09\x08\x01\x10\x01\x1a\x01a\x28\x00\x12\x05\x1a\x03\x0a\x01a");
    }

    #[test]
    fn answers_are_read() {
        let header = b"\x0a\x06\x08\x09\x10\x07\x18\x2a";
        let answer = read_put(header).expect("a header");
        assert_eq!((answer.member, answer.revision), (7, 42));
        let txn = [&header[..], b"\x10\x01"].concat();
        assert!(read_txn(&txn).expect("a transaction").succeeded && !read_txn(header).expect("a no").succeeded);
        let range = [&header[..], b"\x12\x0a\x0a\x01a\x18\x05\x2a\x03one\x20\x01"].concat();
        let range = read_range(&range).expect("a range");
        assert_eq!((range.entries, range.found), (1, Some((5, b"one".to_vec()))));
        assert_eq!(read_range(header).expect("an empty range").found, None);
        let status = [&header[..], b"\x12\x063.4.23\x20\x07"].concat();
        let status = read_status(&status).expect("a status");
        assert_eq!((status.leader, status.version.as_str()), (7, "3.4.23"));
    }

    #[test]
    fn answers_without_a_header_are_refused() {
        assert!(read_put(b"").is_err() && read_txn(b"\x10\x01").is_err() && read_range(b"\x0a\x05\x18").is_err());
    }
}
