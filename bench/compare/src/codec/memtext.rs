//! memcached's text protocol: `set` and `get`. Source: memcached's `protocol.txt`.

use super::WireError;

/// The longest value taken.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Our lines are short; so are those of the server.
const LINE_BYTES_MAX: usize = 2048;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A `set` was done.
    Stored,
    /// A `get` found this; `None` is a miss.
    Value(Option<Vec<u8>>),
    /// `VERSION`.
    Version(String),
    /// `ERROR`, `CLIENT_ERROR`, `SERVER_ERROR`, `NOT_STORED`.
    Refused(String),
}

/// Appends a `set` that does not expire.
pub fn put_set(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"set ");
    out.extend_from_slice(key);
    out.extend_from_slice(b" 0 0 ");
    out.extend_from_slice(value.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a `get` of one key.
pub fn put_get(key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"get ");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\r\n");
}

/// Takes one answer from the front of `bytes`, with its length; `None` while it is not whole.
///
/// Errors: it is none.
pub fn take(bytes: &[u8]) -> Result<Option<(Answer, usize)>, WireError> {
    let Some((line, head)) = line(bytes)? else { return Ok(None) };
    let text = String::from_utf8_lossy(line).into_owned();
    let answer = match line {
        b"STORED" => Answer::Stored,
        b"END" => Answer::Value(None),
        line if line.starts_with(b"VALUE ") => {
            let length = text.split(' ').nth(3).and_then(|length| length.parse::<usize>().ok());
            let length = length.filter(|length| *length <= VALUE_BYTES_MAX).ok_or_else(|| broken(&text))?;
            // The value, its line end, and the end of the answer.
            let end = head + length + b"\r\nEND\r\n".len();
            let Some(body) = bytes.get(head..end) else { return Ok(None) };
            if &body[length..] != b"\r\nEND\r\n" {
                return Err(broken("a value without its end"));
            }
            return Ok(Some((Answer::Value(Some(body[..length].to_vec())), end)));
        }
        line if line.starts_with(b"VERSION ") => Answer::Version(text["VERSION ".len()..].to_owned()),
        line if line == b"NOT_STORED" || line.windows(5).any(|word| word == b"ERROR") => Answer::Refused(text),
        _ => return Err(broken(&text)),
    };
    Ok(Some((answer, head)))
}

/// The first line, and where the next begins.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, WireError> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match window.windows(2).position(|two| two == b"\r\n") {
        Some(end) => Ok(Some((&bytes[..end], end + 2))),
        None if window.len() == LINE_BYTES_MAX => Err(broken("a line without an end")),
        None => Ok(None),
    }
}

fn broken(what: &str) -> WireError {
    WireError(format!("the server sent {what:?}; is this a memcached port?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::taken_one_by_one;

    #[test]
    fn requests_have_the_bytes_of_the_protocol() {
        let mut out = Vec::new();
        put_set(b"k", b"a\r\nb", &mut out);
        put_get(b"k", &mut out);
        assert_eq!(out, b"set k 0 0 4\r\na\r\nb\r\nget k\r\n");
    }

    #[test]
    fn answers_are_taken_when_they_are_whole() {
        let bytes = b"STORED\r\nVALUE k 0 5\r\nEND\r\n\r\nEND\r\nEND\r\nVERSION 1.6\r\nSERVER_ERROR out of memory\r\n";
        let (answers, _) = taken_one_by_one(bytes, take);
        let refused = Answer::Refused("SERVER_ERROR out of memory".into());
        let value = Answer::Value(Some(b"END\r\n".to_vec()));
        assert_eq!(answers, [Answer::Stored, value, Answer::Value(None), Answer::Version("1.6".into()), refused]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [&b"+OK\r\n"[..], b"VALUE k 0 x\r\n", b"VALUE k 0 1\r\nabEND\r\n\r\n"] {
            assert!(take(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(take(&[b'a'; 4096]).is_err());
    }
}
