//! Redis' protocol: commands as arrays of texts out, values in. Source: the RESP2 specification.

use super::WireError;

/// Arrays inside arrays: our transactions have one level.
const DEPTH_MAX: u32 = 4;
/// The longest text or array taken.
const LENGTH_MAX: i64 = 16 << 20;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `+OK`.
    Simple(String),
    /// `-ERR ...`.
    Error(String),
    /// `:1`.
    Number(i64),
    /// `$3 one`; `None` is nil.
    Text(Option<Vec<u8>>),
    /// `*2 ...`; `None` is nil.
    Array(Option<Vec<Value>>),
}

/// Appends a command.
pub fn put_command(parts: &[&[u8]], out: &mut Vec<u8>) {
    put_head(b'*', parts.len(), out);
    for part in parts {
        put_head(b'$', part.len(), out);
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_head(kind: u8, number: usize, out: &mut Vec<u8>) {
    out.push(kind);
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Takes one value from the front of `bytes`, with its length; `None` while it is not whole.
///
/// Errors: it is none.
pub fn take(bytes: &[u8]) -> Result<Option<(Value, usize)>, WireError> {
    take_at(bytes, DEPTH_MAX)
}

fn take_at(bytes: &[u8], depth: u32) -> Result<Option<(Value, usize)>, WireError> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
        let is_hopeless = bytes.len() > 64 << 10;
        return if is_hopeless { Err(broken("a line without an end")) } else { Ok(None) };
    };
    let (line, head) = (&bytes[1..end.max(1)], end + 2);
    let text = || String::from_utf8_lossy(line).into_owned();
    match bytes[0] {
        b'+' => Ok(Some((Value::Simple(text()), head))),
        b'-' => Ok(Some((Value::Error(text()), head))),
        b':' => Ok(Some((Value::Number(number(line)?), head))),
        b'$' => {
            let length = length(line)?;
            let Some(length) = length else { return Ok(Some((Value::Text(None), head))) };
            let Some(body) = bytes.get(head..head + length + 2) else { return Ok(None) };
            Ok(Some((Value::Text(Some(body[..length].to_vec())), head + length + 2)))
        }
        b'*' if depth > 0 => {
            let Some(length) = length(line)? else { return Ok(Some((Value::Array(None), head))) };
            let (mut values, mut at) = (Vec::new(), head);
            for _ in 0..length {
                let Some((value, bytes)) = take_at(&bytes[at..], depth - 1)? else { return Ok(None) };
                values.push(value);
                at += bytes;
            }
            Ok(Some((Value::Array(Some(values)), at)))
        }
        _ => Err(broken("something that is no RESP value")),
    }
}

fn number(line: &[u8]) -> Result<i64, WireError> {
    std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()).ok_or_else(|| broken("a number that is none"))
}

/// `None` is -1, nil.
fn length(line: &[u8]) -> Result<Option<usize>, WireError> {
    match number(line)? {
        -1 => Ok(None),
        length @ 0..=LENGTH_MAX => Ok(Some(length as usize)),
        _ => Err(broken("a length out of bounds")),
    }
}

fn broken(what: &str) -> WireError {
    WireError(format!("the server sent {what}; is this a Redis port?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::taken_one_by_one;

    #[test]
    fn commands_are_arrays_of_texts() {
        let mut out = Vec::new();
        put_command(&[b"SET", b"key", b"", b"0123456789"], &mut out);
        assert_eq!(out, b"*4\r\n$3\r\nSET\r\n$3\r\nkey\r\n$0\r\n\r\n$10\r\n0123456789\r\n");
    }

    #[test]
    fn values_are_taken_when_they_are_whole() {
        let bytes = b"*3\r\n+OK\r\n:-12\r\n$3\r\na\r\n\r\n-ERR no\r\n$-1\r\n*-1\r\n*0\r\n";
        let (values, at) = taken_one_by_one(bytes, take);
        let array = vec![Value::Simple("OK".into()), Value::Number(-12), Value::Text(Some(b"a\r\n".to_vec()))];
        let error = Value::Error("ERR no".into());
        let nil = [Value::Text(None), Value::Array(None), Value::Array(Some(vec![]))];
        assert_eq!(values, [[Value::Array(Some(array)), error].as_slice(), &nil].concat());
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for bytes in [
            &b"HTTP/1.1\r\n"[..],
            b":x\r\n",
            b"$-2\r\n",
            b"*99999999999\r\n",
            b"\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        ] {
            assert!(take(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(take(&[b'a'; 70_000]).is_err());
        assert_eq!(take(b""), Ok(None));
    }
}
