//! Keys of the memcached port: `<nsid>/<path>`, and back.

use base::Nsid;
use base::names::normalize_path;

/// Memory for the path of a key.
pub type PathBuffer = [u8; super::KEY_BYTES_MAX + 1];

/// Memory for one path.
pub const PATH_BUFFER: PathBuffer = [0; super::KEY_BYTES_MAX + 1];

/// Reads a key of at most `KEY_BYTES_MAX` bytes: the namespace, and the path with its leading `/` (empty for the root),
/// written into `buffer`.
///
/// Shape: the namespace in decimal without leading zeros, `/`, then the path relative to the namespace's root. As text,
/// bytes outside `A-Z a-z 0-9 - . _ ~ /` are `%XX`; with `is_base64` the key is base64 and the path's bytes stand for
/// themselves.
/// Errors: `None` when it is not of that form, or the path breaks a rule of paths.
pub fn decode_key<'b>(key: &[u8], is_base64: bool, buffer: &'b mut PathBuffer) -> Option<(Nsid, &'b str)> {
    let mut decoded = PATH_BUFFER;
    let text = if is_base64 {
        let bytes = decode_base64(key, &mut decoded)?;
        &decoded[..bytes]
    } else {
        key
    };
    let (nsid, rest) = split(text).filter(|(_, rest)| rest.len() < buffer.len())?;
    buffer[0] = b'/';
    let bytes = if is_base64 {
        buffer[1..=rest.len()].copy_from_slice(rest);
        rest.len()
    } else {
        unescape(rest, &mut buffer[1..])?
    };
    let path = if bytes == 0 { "" } else { std::str::from_utf8(&buffer[..=bytes]).ok()? };
    normalize_path(path).is_ok().then_some((nsid, path))
}

/// Appends the key of a path (empty, or with its leading `/`) as text.
pub fn put_key(nsid: Nsid, path: &str, out: &mut Vec<u8>) {
    base::bytes::push_decimal(nsid.0, out);
    out.push(b'/');
    for byte in path.bytes().skip(1) {
        if is_plain(byte) {
            out.push(byte);
        } else {
            let digit = |number: u8| b"0123456789ABCDEF"[usize::from(number)];
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Is it base64 with its padding, of something?
pub(super) fn is_base64(key: &[u8]) -> bool {
    decode_base64(key, &mut { PATH_BUFFER }).is_some_and(|bytes| bytes > 0)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/')
}

fn split(key: &[u8]) -> Option<(Nsid, &[u8])> {
    let slash = key.iter().position(|byte| *byte == b'/')?;
    let (digits, rest) = (&key[..slash], &key[slash + 1..]);
    if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    Some((Nsid(number?), rest))
}

/// Into `out`, which has room for as many bytes as `text`; returns how many they are.
fn unescape(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let (mut bytes, mut count) = (text.iter(), 0);
    while let Some(byte) = bytes.next() {
        out[count] = match byte {
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            plain if is_plain(*plain) => *plain,
            _ => return None,
        };
        count += 1;
    }
    Some(count)
}

/// Into `out`; returns how many bytes. `None`: no base64, or too much.
fn decode_base64(text: &[u8], out: &mut PathBuffer) -> Option<usize> {
    if !text.len().is_multiple_of(4) || text.len() / 4 * 3 > out.len() {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let mut bytes = 0;
    for (at, quad) in text.chunks_exact(4).enumerate() {
        let digits = if (at + 1) * 4 == text.len() { 4 - padding } else { 4 };
        let mut bits = quad[..digits].iter().try_fold(0_u32, |bits, byte| Some(bits << 6 | digit64(*byte)?))?;
        bits <<= 6 * (4 - digits);
        let whole = digits * 6 / 8;
        out[bytes..bytes + whole].copy_from_slice(&bits.to_be_bytes()[1..=whole]);
        bytes += whole;
    }
    Some(bytes)
}

fn digit64(byte: u8) -> Option<u32> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(key: &str, is_base64: bool) -> Option<(u64, String)> {
        let mut buffer = PATH_BUFFER;
        decode_key(key.as_bytes(), is_base64, &mut buffer).map(|(nsid, path)| (nsid.0, path.to_owned()))
    }

    #[test]
    fn a_key_is_a_namespace_and_an_escaped_path() {
        let is = |key: &str, nsid: u64, path: &str| assert_eq!(decoded(key, false), Some((nsid, path.to_owned())));
        is("10000000007/photos/a%20b.jpg", 10_000_000_007, "/photos/a b.jpg");
        is("10000000007/", 10_000_000_007, "");
        is("0/x", 0, "/x");
        is("18446744073709551615/%c3%A9%2F~-._", u64::MAX, "/é/~-._");
        is("1/a//b", 1, "/a//b");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let keys = [
            "",
            "/",
            "x/a",
            "1",
            "01/a",
            "18446744073709551616/a",
            "-1/a",
            "1/a b",
            "1/(a)",
            "1/%",
            "1/%4",
            "1/%4g",
            "1/%ff",
            "1/a/",
            "1/..",
            "1/a%00",
            "1/a%5C",
            "1/a%20",
            "+1/a",
        ];
        for key in keys {
            assert_eq!(decoded(key, false), None, "{key:?}");
        }
    }

    #[test]
    fn with_base64_the_path_is_raw() {
        // printf '7/a b(%41)' | base64
        assert_eq!(decoded("Ny9hIGIoJTQxKQ==", true), Some((7, "/a b(%41)".to_owned())));
        assert_eq!(decoded("Ny8=", true), Some((7, String::new())));
        for broken in ["Ny8", "Ny8==", "Ny=8", "!!!!", "====", "", "Ny9hIGIoJTQxKQ==Ny8="] {
            assert_eq!(decoded(broken, true), None, "{broken:?}");
        }
    }

    #[test]
    fn a_path_becomes_the_key_that_names_it() {
        for path in ["", "/a", "/photos/a b.jpg", "/é/\u{1f600}", "/100%/~tilde-._"] {
            let mut key = Vec::new();
            put_key(Nsid(10_000_000_007), path, &mut key);
            let key = String::from_utf8(key).unwrap();
            assert_eq!(decoded(&key, false), Some((10_000_000_007, path.to_owned())), "{key}");
        }
    }
}
