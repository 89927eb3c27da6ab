//! ZooKeeper's client protocol: frames of big-endian fields. Source: `zookeeper.jute` and its programmer's guide.
//!
//! ```text
//! frame: length i32 | payload        texts and buffers: length i32 | bytes
//! request: xid i32 | type i32 | body        answer: xid i32 | zxid i64 | error i32 | body
//! ```

use super::WireError;
use super::etcd::Pair;

const CREATE: i32 = 1;
const GET: i32 = 4;
const MULTI: i32 = 14;
const SETUP_BYTES: usize = 16;
/// Read, write, create, delete, admin.
const ALL_RIGHTS: i32 = 31;
/// A path that is there already.
pub const NODE_EXISTS: i32 = -110;
/// A path that is not there.
pub const NO_NODE: i32 = -101;
/// The longest answer taken.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// The start of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Of the request.
    pub xid: i32,
    /// Of the newest transaction that the server has seen; of a write its own.
    pub zxid: i64,
    /// 0, or why not.
    pub error: i32,
}

/// Appends what opens a session that lives for `timeout_ms` without a word.
pub fn put_connect(timeout_ms: i32, out: &mut Vec<u8>) {
    framed(out, |out| {
        int(0, out);
        out.extend_from_slice(&0i64.to_be_bytes());
        int(timeout_ms, out);
        out.extend_from_slice(&0i64.to_be_bytes());
        buffer(&[0; SETUP_BYTES], out);
        out.push(0);
    });
}

/// Appends a transaction that creates both nodes, or neither.
pub fn put_create_both(xid: i32, pairs: [Pair<'_>; 2], out: &mut Vec<u8>) {
    framed(out, |out| {
        int(xid, out);
        int(MULTI, out);
        for pair in pairs {
            int(CREATE, out);
            out.push(0);
            int(-1, out);
            buffer(pair.key, out);
            buffer(pair.value, out);
            int(1, out);
            int(ALL_RIGHTS, out);
            buffer(b"world", out);
            buffer(b"anyone", out);
            // Neither ephemeral nor numbered.
            int(0, out);
        }
        int(-1, out);
        out.push(1);
        int(-1, out);
    });
}

/// Appends a read of a node, without a watch.
pub fn put_get(xid: i32, path: &[u8], out: &mut Vec<u8>) {
    framed(out, |out| {
        int(xid, out);
        int(GET, out);
        buffer(path, out);
        out.push(0);
    });
}

/// Takes the payload of one frame from the front of `bytes`, with the frame's length; `None` while it is not whole.
///
/// Errors: it is none.
pub fn take(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(broken("a frame that is too long"));
    }
    Ok(bytes.get(4..4 + length).map(|payload| (payload, 4 + length)))
}

/// Reads whether a session was opened.
///
/// Errors: it was not.
pub fn read_connected(payload: &[u8]) -> Result<(), WireError> {
    let mut rest = payload;
    let (_, timeout) = (take_int(&mut rest)?, take_int(&mut rest)?);
    if timeout > 0 { Ok(()) } else { Err(broken("that it opens no session")) }
}

/// Reads the start of an answer; the rest is its body.
///
/// Errors: it is none; so with the others.
pub fn read_head(payload: &[u8]) -> Result<(Head, &[u8]), WireError> {
    let mut rest = payload;
    let xid = take_int(&mut rest)?;
    let (zxid, rest) = rest.split_first_chunk().ok_or_else(|| broken("half an answer"))?;
    let mut rest = rest;
    let error = take_int(&mut rest)?;
    Ok((Head { xid, zxid: i64::from_be_bytes(*zxid), error }, rest))
}

/// Reads the body of a transaction's answer: 0 when both were done, else why not, of the first that tells a reason.
pub fn read_both(body: &[u8]) -> Result<i32, WireError> {
    let (mut rest, mut error) = (body, 0);
    loop {
        let kind = take_int(&mut rest)?;
        let (is_end, after) = rest.split_first().ok_or_else(|| broken("half an answer"))?;
        rest = after;
        take_int(&mut rest)?;
        match kind {
            _ if *is_end != 0 => return Ok(error),
            CREATE => drop(take_buffer(&mut rest)?),
            -1 => {
                // Those that were undone for another's sake say 0, those after it -2.
                let why = take_int(&mut rest)?;
                error = if matches!(error, 0 | -2) && why != 0 { why } else { error };
            }
            _ => return Err(broken("an answer of another kind")),
        }
    }
}

/// Reads the body of a read's answer: what the node holds, and the transaction that wrote it.
pub fn read_get(body: &[u8]) -> Result<(&[u8], i64), WireError> {
    let mut rest = body;
    let value = take_buffer(&mut rest)?;
    // Of the node's facts the second: czxid, mzxid.
    let mzxid = rest.get(8..16).and_then(|bytes| bytes.first_chunk()).ok_or_else(|| broken("half a node"))?;
    Ok((value, i64::from_be_bytes(*mzxid)))
}

fn framed(out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    int(0, out);
    payload(out);
    let length = (out.len() - begin - 4) as u32;
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

fn int(value: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn buffer(bytes: &[u8], out: &mut Vec<u8>) {
    int(bytes.len() as i32, out);
    out.extend_from_slice(bytes);
}

fn take_int(bytes: &mut &[u8]) -> Result<i32, WireError> {
    let (value, rest) = bytes.split_first_chunk().ok_or_else(|| broken("half an answer"))?;
    *bytes = rest;
    Ok(i32::from_be_bytes(*value))
}

fn take_buffer<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    // -1 is none.
    let length = usize::try_from(take_int(bytes)?).unwrap_or(0);
    let (value, rest) = bytes.split_at_checked(length).ok_or_else(|| broken("half an answer"))?;
    *bytes = rest;
    Ok(value)
}

fn broken(what: &str) -> WireError {
    WireError(format!("the server sent {what}; is this a ZooKeeper port?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_of_the_protocol() {
        let mut out = Vec::new();
        put_connect(30_000, &mut out);
        assert_eq!((out.len(), &out[..4], &out[16..20]), (49, &[0, 0, 0, 45][..], &[0, 0, 0x75, 0x30][..]));
        out.clear();
        put_get(7, b"/a", &mut out);
        assert_eq!(out, b"\0\0\0\x0f\0\0\0\x07\0\0\0\x04\0\0\0\x02/a\0");
        out.clear();
        put_create_both(9, [Pair { key: b"/a", value: b"x" }, Pair { key: b"/b", value: b"" }], &mut out);
        let acl = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\0\0\0\0";
        let first = [&b"\0\0\0\x01\0\xff\xff\xff\xff\0\0\0\x02/a\0\0\0\x01x"[..], acl].concat();
        let second = [&b"\0\0\0\x01\0\xff\xff\xff\xff\0\0\0\x02/b\0\0\0\0"[..], acl].concat();
        let head = b"\0\0\0\x09\0\0\0\x0e";
        let end = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";
        assert_eq!(out[4..], [&head[..], &first, &second, end].concat());
        assert_eq!(out[..4], ((out.len() - 4) as u32).to_be_bytes());
    }

    #[test]
    fn answers_are_read() {
        let frame = b"\0\0\0\x14\0\0\0\x09\0\0\0\x01\0\0\0\x02\0\0\0\0body+";
        assert_eq!(take(&frame[..23]), Ok(None));
        let (payload, taken) = take(frame).expect("understood").expect("whole");
        let (head, body) = read_head(payload).expect("an answer");
        assert_eq!((head, body, taken), (Head { xid: 9, zxid: 1 << 32 | 2, error: 0 }, &b"body"[..], 24));
        let created = b"\0\0\0\x01\0\0\0\0\0\0\0\0\x02/a";
        let end = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";
        assert_eq!(read_both(&[created, created, &end[..]].concat()), Ok(0));
        let exists = b"\xff\xff\xff\xff\0\xff\xff\xff\x92\xff\xff\xff\x92";
        let undone = b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0";
        assert_eq!(read_both(&[&undone[..], exists, end].concat()), Ok(NODE_EXISTS));
        let value = [&b"\0\0\0\x03one"[..], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 5], &[0; 52]].concat();
        assert_eq!(read_get(&value), Ok((&b"one"[..], 5)));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(take(b"HTTP").is_err() && read_head(b"short").is_err() && read_connected(&[0; 40]).is_err());
        assert!(read_both(b"\0\0\0\x01\0").is_err() && read_get(b"\0\0\0\x09x").is_err());
        assert!(read_both(b"\0\0\0\x05\0\0\0\0\0").is_err());
    }
}
