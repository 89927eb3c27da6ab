//! Requests that may be answered while they are read: `get`, `gets` and `mg` of keys as most clients send them.
//!
//! Nothing is judged here but what a key's letters are: the path is folded as it is compared, in one pass, and looked up.
//! What names something is a key of the right form, since nothing is cached under another. Of what names nothing, and
//! of all else, [`super::Decoder`] has the word.

use base::Nsid;

use super::KEY_BYTES_MAX;
use super::request::MetaGet;

/// Digits of a namespace that fit into 64 bits whatever they are.
const DIGITS_MAX: usize = 19;
/// Flags of an `mg`; with more it is judged first.
const FLAGS_BYTES_MAX: usize = 32;
/// What a byte of a path is compared as; 0 where that is not said by the byte alone.
const FOLDED: [u8; 256] = folded();

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuickForm<'a> {
    /// `get`, or `gets` with the version.
    Get {
        /// It is `gets`.
        has_cas: bool,
    },
    /// `mg`.
    Meta(MetaGet<'a>),
}

/// One key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuickKey<'a> {
    /// As sent.
    pub key: &'a [u8],
    /// Its namespace.
    pub nsid: Nsid,
    /// What is asked for.
    pub form: QuickForm<'a>,
    /// Of the last key of a request: how many bytes are done with after it.
    pub end: Option<usize>,
}

/// Keys at the front of a connection's bytes, which begin with a request.
#[derive(Clone, Copy, Debug)]
pub struct Quick<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Inside of a `get` or `gets` with more keys.
    more: Option<bool>,
}

impl<'a> Quick<'a> {
    /// Keys of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Quick<'a> {
        Quick { bytes, at: 0, more: None }
    }

    /// The next key, whose path is appended to `path` as it is compared: names behind a `/` each, nothing for the root.
    ///
    /// `None`: what comes is not of this kind, or not whole; nothing more comes then, and `path` is as it was.
    pub fn next(&mut self, path: &mut Vec<u8>) -> Option<QuickKey<'a>> {
        let rest = &self.bytes[self.at..];
        let (words, has_cas) = match (self.more, rest) {
            (Some(has_cas), _) => (rest, Some(has_cas)),
            (None, [b'g', b'e', b't', b' ', words @ ..]) => (words, Some(false)),
            (None, [b'g', b'e', b't', b's', b' ', words @ ..]) => (words, Some(true)),
            (None, [b'm', b'g', b' ', words @ ..]) => (words, None),
            _ => return None,
        };
        let (nsid, digits) = namespace(words)?;
        let names = &words[digits..];
        let bytes = names.iter().position(|byte| FOLDED[usize::from(*byte)] == 0)?;
        let (key, behind) = words.split_at(digits + bytes);
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let at = self.bytes.len() - behind.len();
        let (form, end) = match has_cas {
            Some(has_cas) => (QuickForm::Get { has_cas }, self.get_goes_on(behind, at, has_cas)?),
            None => {
                let (flags, end) = flags(behind)?;
                let get = MetaGet::parse(key, flags).ok().filter(|get| !get.is_base64)?;
                self.at = at + end;
                (QuickForm::Meta(get), Some(at + end))
            }
        };
        // The root's path is empty.
        if bytes > 1 {
            path.extend(names[..bytes].iter().map(|byte| FOLDED[usize::from(*byte)]));
        }
        Some(QuickKey { key, nsid, form, end })
    }

    /// Behind a key of a `get`: the line's end, or a space and another key of a line that is whole.
    fn get_goes_on(&mut self, behind: &[u8], at: usize, has_cas: bool) -> Option<Option<usize>> {
        let end = match behind {
            [b'\r', b'\n', ..] => Some(at + 2),
            [b'\n', ..] => Some(at + 1),
            [b' ', b'0'..=b'9', rest @ ..] if self.more.is_some() || rest.contains(&b'\n') => None,
            _ => return None,
        };
        (self.at, self.more) = match end {
            Some(end) => (end, None),
            None => (at + 1, Some(has_cas)),
        };
        Some(end)
    }
}

/// The namespace that `words` begin with, and its digits; a `/` is behind them.
fn namespace(words: &[u8]) -> Option<(Nsid, usize)> {
    let mut number = 0_u64;
    for (digits, byte) in words.iter().enumerate().take(DIGITS_MAX + 1) {
        match byte {
            b'0'..=b'9' if digits < DIGITS_MAX => number = number * 10 + u64::from(byte - b'0'),
            b'/' if digits > 0 && (words[0] != b'0' || digits == 1) => return Some((Nsid(number), digits)),
            _ => return None,
        }
    }
    None
}

/// The flags of an `mg`, and where its line ends.
fn flags(behind: &[u8]) -> Option<(&[u8], usize)> {
    let end = behind.iter().take(FLAGS_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let line = behind[..end].strip_suffix(b"\r").unwrap_or(&behind[..end]);
    (line.is_empty() || line[0] == b' ').then_some((line, end + 1))
}

const fn folded() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let plain = byte as u8;
        if plain.is_ascii_alphanumeric() || matches!(plain, b'-' | b'.' | b'_' | b'~' | b'/') {
            table[byte] = plain.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told<'a> = (&'a str, u64, String, Option<usize>);

    fn all(bytes: &str) -> Vec<Told<'_>> {
        let (mut quick, mut told) = (Quick::new(bytes.as_bytes()), Vec::new());
        loop {
            let mut path = b"before".to_vec();
            let Some(key) = quick.next(&mut path) else {
                assert_eq!(path, b"before", "nothing is left behind");
                return told;
            };
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let sent = std::str::from_utf8(key.key).unwrap();
            told.push((sent, key.nsid.0, text(&path["before".len()..]), key.end));
        }
    }

    #[test]
    fn keys_are_told_with_their_paths_as_compared_and_the_end_of_their_request() {
        let is = |bytes, told: &[(&str, u64, &str, Option<usize>)]| {
            let told: Vec<_> =
                told.iter().map(|(key, nsid, path, end)| (*key, *nsid, (*path).to_owned(), *end)).collect();
            assert_eq!(all(bytes), told, "{bytes:?}");
        };
        is("get 7/Photos/A-b.jpg\r\n", &[("7/Photos/A-b.jpg", 7, "/photos/a-b.jpg", Some(22))]);
        is("gets 10000000007/\n", &[("10000000007/", 10_000_000_007, "", Some(18))]);
        is("get 0/x\r\nmg 1/y v\r\n", &[("0/x", 0, "/x", Some(9)), ("1/y", 1, "/y", Some(19))]);
        is(
            "get 7/a 8/b\r\nget 9/c\r\n",
            &[("7/a", 7, "/a", None), ("8/b", 8, "/b", Some(13)), ("9/c", 9, "/c", Some(22))],
        );
        is("mg 1/y\r\n", &[("1/y", 1, "/y", Some(8))]);
    }

    #[test]
    fn what_is_not_whole_or_not_plain_is_left_to_the_decoder() {
        let others = [
            "",
            "get",
            "get ",
            "get 7/a",
            "get 7/a\r",
            "get 7/a 8/b",
            "get 7/a  8/b\r\n",
            "get 7/a \r\n",
            " get 7/a\r\n",
            "get 7/%20\r\n",
            "get 7/\u{e9}\r\n",
            "get 07/a\r\n",
            "get /a\r\n",
            "get 7\r\n",
            "get 10000000000000000000/a\r\n",
            "get 7/a\rx\n",
            "set 7/a 0 0 1\r\n",
            "mg Ny8= b\r\n",
            "mg 7/a E7\r\n",
            "mg 7/a v v\r\n",
            "mg 7/a v",
            "mg 7/av\u{1}\r\n",
            "version\r\n",
            "gat 7/a\r\n",
        ];
        for other in others {
            assert_eq!(all(other), [], "{other:?}");
        }
        let long = format!("get 7/{}\r\n", "a".repeat(KEY_BYTES_MAX - 1));
        assert_eq!(all(&long), []);
        assert_eq!(all(&long.replacen('a', "", 1)).len(), 1);
    }

    #[test]
    fn a_key_is_read_as_the_decoder_and_the_names_of_paths_read_it() {
        let mut prng = base::Prng::new(7);
        let letters = b"aZ09/-._~//";
        for _ in 0..20_000 {
            let name: String =
                (0..prng.below(12)).map(|_| char::from(letters[prng.below(letters.len() as u64) as usize])).collect();
            let key = format!("{}/{name}", prng.below(30));
            let line = format!("get {key}\r\n");
            let told = all(&line);
            assert_eq!(told.len(), 1, "{key}");
            let mut buffer = super::super::PATH_BUFFER;
            if let Some((nsid, path)) = super::super::decode_key(key.as_bytes(), false, &mut buffer) {
                let normal = base::names::normalize_path(path).unwrap();
                let compared = base::names::path_key(&normal);
                // Slashes side by side are one in the path, and such a key is found by the decoder's way alone.
                if compared.len() == path.len() {
                    assert_eq!((told[0].1, &told[0].2), (nsid.0, &compared), "{key}");
                }
            }
        }
    }
}
