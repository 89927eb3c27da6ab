//! Requests: cut out of a stream of bytes, and judged.

use super::key::{PATH_BUFFER, decode_key, is_base64};
use super::{GET_LINE_BYTES_MAX, KEY_BYTES_MAX, LINE_BYTES_MAX, OPAQUE_BYTES_MAX, Refusal};

/// The first byte of memcached's binary protocol, which is not spoken here.
const BINARY: u8 = 0x80;
/// Words of an `mg` line, above which its flags are too many.
const META_WORDS_MAX: usize = 19;
/// The largest data block that may be announced.
const BLOCK_BYTES_MAX: u64 = i32::MAX as u64 - 2;
/// Spaces that may come before a `get` whose line is long.
const LEADING_SPACES_MAX: usize = 100;

/// One request, borrowed from the bytes that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// `get`, or `gets` with the version of each. All keys are of the right form.
    Get {
        /// At least one.
        keys: Keys<'a>,
        /// It is `gets`.
        has_cas: bool,
    },
    /// `mg`.
    MetaGet(MetaGet<'a>),
    /// `me`.
    Debug {
        /// Of the right form.
        key: &'a [u8],
        /// The key is base64.
        is_base64: bool,
    },
    /// `mn`: answered `MN`, after all before it.
    MetaNoop,
    /// `version`.
    Version,
    /// `stats`.
    Stats(Stats),
    /// `flush_all`. The answer is `OK`, unless it wants none.
    FlushAll {
        /// It wants no answer.
        is_quiet: bool,
    },
    /// `verbosity`. The answer is `OK`, unless it wants none.
    Verbosity {
        /// It wants no answer.
        is_quiet: bool,
    },
    /// `quit`: all before it is answered, then the connection closes.
    Quit,
    /// Anything else, with its answer.
    Refused(Refusal),
    /// A write with `noreply`: it is not answered, nor done.
    Ignored,
}

/// What is asked of `stats`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stats {
    /// Counters.
    General,
    /// The configuration.
    Settings,
    /// By class of size, which there are none of.
    Items,
    /// Likewise.
    Slabs,
    /// The connections.
    Connections,
    /// Counters begin anew.
    Reset,
}

/// The keys of a `get`, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys<'a> {
    /// As sent, with spaces between.
    pub text: &'a [u8],
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = next_word(self.text)?;
        self.text = rest;
        Some(word)
    }
}

/// An `mg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetaGet<'a> {
    /// Of the right form.
    pub key: &'a [u8],
    /// All flags as sent, with spaces between. Each has a letter of its own.
    pub flags: &'a [u8],
    /// `b`: the key is base64.
    pub is_base64: bool,
    /// `v`: with the value.
    pub wants_value: bool,
    /// `q`: a miss is not answered.
    pub is_quiet: bool,
    /// `C`: the value is not wanted if it has this version still.
    pub cas: Option<u64>,
}

impl<'a> MetaGet<'a> {
    /// An `mg` of these words, which were judged when they came.
    ///
    /// Errors: what is wrong with the flags.
    pub fn parse(key: &'a [u8], flags: &'a [u8]) -> Result<MetaGet<'a>, Refusal> {
        let mut get = MetaGet { key, flags, is_base64: false, wants_value: false, is_quiet: false, cas: None };
        let (mut seen, mut fails, mut writes) = (0_u128, None, false);
        for flag in get.flags() {
            let bit = 1_u128.checked_shl(u32::from(flag[0])).unwrap_or(0);
            // memcached says the same of a byte that is no ASCII.
            if bit == 0 || seen & bit != 0 {
                return Err(Refusal::DuplicateFlag);
            }
            seen |= bit;
            match flag[0] {
                b'b' => {
                    get.is_base64 = true;
                    fails = fails.or((!is_base64(key)).then_some(Refusal::BadBase64));
                }
                b'v' => get.wants_value = true,
                b'q' => get.is_quiet = true,
                b'C' => match number(&flag[1..]) {
                    Some(cas) => get.cas = Some(cas),
                    None => fails = fails.or(Some(Refusal::BadToken)),
                },
                b'O' if flag.len() > OPAQUE_BYTES_MAX => fails = fails.or(Some(Refusal::OpaqueTooLong)),
                b'O' | b'c' | b'f' | b'h' | b'k' | b'l' | b's' | b't' | b'u' | b'P' | b'L' => {}
                b'E' | b'N' | b'R' | b'T' => writes = true,
                _ => return Err(Refusal::InvalidFlag),
            }
        }
        match fails.or(writes.then_some(Refusal::ReadOnly)) {
            Some(refusal) => Err(refusal),
            None => Ok(get),
        }
    }

    /// The flags, each with its letter first, in order.
    pub fn flags(&self) -> Keys<'a> {
        Keys { text: self.flags }
    }
}

/// What [`Decoder::next`] comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A request.
    Request(Request<'a>),
    /// More bytes are needed.
    More,
    /// The connection is to be closed: a line without end, the binary protocol, or HTTP.
    Close,
}

/// A data block that is being swallowed.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Bytes of it to come, with the line's end.
    left: u64,
    is_quiet: bool,
    /// What came of the line's end is right so far.
    is_right: bool,
}

/// Where a connection's stream of bytes stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    /// Bytes at the front in which no line ends.
    scanned: usize,
    block: Option<Block>,
    has_begun: bool,
}

impl Decoder {
    /// The next request at the front of `bytes`, and how many bytes are done with: the caller goes on behind these, and
    /// with [`Step::More`] brings those that are left again when others have come behind them.
    ///
    /// Bounded: what is left is never longer than the longest line.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> (usize, Step<'a>) {
        if self.block.is_some() {
            return self.swallow(bytes);
        }
        if !self.has_begun && bytes.first() == Some(&BINARY) {
            return (bytes.len(), Step::Close);
        }
        self.has_begun |= !bytes.is_empty();
        let end = bytes[self.scanned..].iter().position(|byte| *byte == b'\n').map(|at| self.scanned + at);
        let most = if begins_with_get(bytes) { GET_LINE_BYTES_MAX } else { LINE_BYTES_MAX };
        if end.unwrap_or(bytes.len()) > most {
            return (bytes.len(), Step::Close);
        }
        let Some(end) = end else {
            self.scanned = bytes.len();
            return (0, Step::More);
        };
        self.scanned = 0;
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        let step = match judge(line) {
            Judged::Request(request) => Step::Request(request),
            Judged::Close => Step::Close,
            Judged::Block { block_bytes, is_quiet } => {
                self.block = Some(Block { left: block_bytes + 2, is_quiet, is_right: true });
                let (used, step) = self.swallow(&bytes[end + 1..]);
                return (end + 1 + used, step);
            }
        };
        (end + 1, step)
    }

    /// A request begins with the next bytes, none of which were looked at yet: [`super::Quick`] may look first.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.scanned == 0 && self.block.is_none()
    }

    /// Requests at the front were taken by [`super::Quick`].
    pub fn note_quick(&mut self) {
        debug_assert!(self.is_between());
        self.has_begun = true;
    }

    /// Goes on with the data block of a write.
    fn swallow(&mut self, bytes: &[u8]) -> (usize, Step<'static>) {
        let block = self.block.as_mut().expect("one was announced");
        let take = block.left.min(bytes.len() as u64) as usize;
        let body = block.left.saturating_sub(2).min(take as u64) as usize;
        for (byte, left) in bytes[body..take].iter().zip((1..=block.left - body as u64).rev()) {
            block.is_right &= *byte == if left == 2 { b'\r' } else { b'\n' };
        }
        block.left -= take as u64;
        if block.left > 0 {
            return (take, Step::More);
        }
        let Block { is_quiet, is_right, .. } = self.block.take().expect("it was just seen");
        let request = match (is_quiet, is_right) {
            (true, _) => Request::Ignored,
            (false, true) => Request::Refused(Refusal::ReadOnly),
            (false, false) => Request::Refused(Refusal::BadChunk),
        };
        (take, Step::Request(request))
    }
}

/// What a line is.
enum Judged<'a> {
    Request(Request<'a>),
    /// A write with a data block behind it.
    Block {
        block_bytes: u64,
        is_quiet: bool,
    },
    Close,
}

impl<'a> From<Request<'a>> for Judged<'a> {
    fn from(request: Request<'a>) -> Judged<'a> {
        Judged::Request(request)
    }
}

impl From<Refusal> for Judged<'_> {
    fn from(refusal: Refusal) -> Self {
        Judged::Request(Request::Refused(refusal))
    }
}

/// The words of a line that can matter.
struct Words<'a> {
    first: [&'a [u8]; 8],
    last: &'a [u8],
    count: usize,
}

impl<'a> Words<'a> {
    fn of(line: &'a [u8]) -> Words<'a> {
        let mut words = Words { first: [b""; 8], last: b"", count: 0 };
        for word in (Keys { text: line }) {
            if let Some(place) = words.first.get_mut(words.count) {
                *place = word;
            }
            words.last = word;
            words.count += 1;
        }
        words
    }

    fn wants_no_answer(&self) -> bool {
        self.last == b"noreply"
    }
}

fn judge(line: &[u8]) -> Judged<'_> {
    let Some((command, rest)) = next_word(line) else { return Refusal::Unknown.into() };
    match command {
        b"get" => judge_get(rest, false),
        b"gets" => judge_get(rest, true),
        b"mg" => judge_meta_get(rest),
        b"me" => judge_debug(rest),
        b"mn" => Request::MetaNoop.into(),
        b"version" => Request::Version.into(),
        b"quit" => Request::Quit.into(),
        b"stats" => judge_stats(rest),
        b"verbosity" | b"flush_all" => judge_setting(command, &Words::of(line)),
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => judge_set(command, &Words::of(line)),
        b"ms" => judge_meta_set(&Words::of(line)),
        b"incr" | b"decr" | b"delete" | b"touch" | b"gat" | b"gats" | b"md" | b"ma" | b"shutdown" => {
            judge_change(command, &Words::of(line))
        }
        _ if Words::of(line).last.starts_with(b"HTTP/") => Judged::Close,
        _ => Refusal::Unknown.into(),
    }
}

fn judge_get(rest: &[u8], has_cas: bool) -> Judged<'_> {
    let keys = Keys { text: rest };
    if { keys }.next().is_none() {
        return Refusal::Unknown.into();
    }
    // A line that is no request says so before it says that a key is no name.
    match keys
        .map(check_bytes)
        .find_map(Result::err)
        .or_else(|| keys.map(|key| check_form(key, false)).find_map(Result::err))
    {
        Some(refusal) => refusal.into(),
        None => Request::Get { keys, has_cas }.into(),
    }
}

fn judge_meta_get(rest: &[u8]) -> Judged<'_> {
    let Some((key, flags)) = next_word(rest) else { return Refusal::Unknown.into() };
    if let Err(refusal) = check_bytes(key) {
        return refusal.into();
    }
    if (Keys { text: flags }).count() + 2 > META_WORDS_MAX {
        return Refusal::TooManyFlags.into();
    }
    match MetaGet::parse(key, flags).and_then(|get| check_form(key, get.is_base64).map(|()| get)) {
        Ok(get) => Request::MetaGet(get).into(),
        Err(refusal) => refusal.into(),
    }
}

fn judge_debug(rest: &[u8]) -> Judged<'_> {
    let words = Words::of(rest);
    let key = words.first[0];
    let is_in_base64 = words.count == 2 && words.first[1] == b"b";
    if words.count == 0 || words.count > 2 || (is_in_base64 && !is_base64(key)) {
        return Refusal::BadFormat.into();
    }
    match check_bytes(key).and_then(|()| check_form(key, is_in_base64)) {
        Ok(()) => Request::Debug { key, is_base64: is_in_base64 }.into(),
        Err(refusal) => refusal.into(),
    }
}

fn judge_stats(rest: &[u8]) -> Judged<'_> {
    let words = Words::of(rest);
    let stats = match (words.count, words.first[0]) {
        (0, _) => Stats::General,
        (1, b"settings") => Stats::Settings,
        (1, b"items") => Stats::Items,
        (1, b"slabs") => Stats::Slabs,
        (1, b"conns") => Stats::Connections,
        (1, b"reset") => Stats::Reset,
        _ => return Refusal::Unknown.into(),
    };
    Request::Stats(stats).into()
}

/// `verbosity <level> [noreply]` and `flush_all [delay] [noreply]`.
fn judge_setting<'a>(command: &[u8], words: &Words<'a>) -> Judged<'a> {
    let is_quiet = words.wants_no_answer();
    if command == b"verbosity" {
        return match words.count {
            2..=3 if is_quiet || number(words.first[1]).is_some() => Request::Verbosity { is_quiet }.into(),
            2..=3 => Refusal::BadFormat.into(),
            _ => Refusal::Unknown.into(),
        };
    }
    let has_delay = words.count > if is_quiet { 2 } else { 1 };
    match words.count {
        1..=3 if has_delay && !is_quiet && signed(words.first[1]).is_none() => Refusal::BadFormat.into(),
        1..=3 => Request::FlushAll { is_quiet }.into(),
        _ => Refusal::Unknown.into(),
    }
}

/// `set <key> <flags> <exptime> <bytes> [noreply]`; `cas` has a version before that.
fn judge_set<'a>(command: &[u8], words: &Words<'a>) -> Judged<'a> {
    let usual = if command == b"cas" { 6 } else { 5 };
    if words.count != usual && words.count != usual + 1 {
        return Refusal::Unknown.into();
    }
    let [_, key, flags, exptime, bytes, version, ..] = words.first;
    let is_right = check_bytes(key).is_ok()
        && number(flags).is_some()
        && signed(exptime).is_some()
        && (usual == 5 || number(version).is_some());
    match number(bytes).filter(|bytes| is_right && *bytes <= BLOCK_BYTES_MAX) {
        Some(block_bytes) => Judged::Block { block_bytes, is_quiet: words.wants_no_answer() },
        None => Refusal::BadFormat.into(),
    }
}

/// `ms <key> <bytes> <flags>*`. Errors of the meta protocol show, however quiet it is asked to be.
fn judge_meta_set<'a>(words: &Words<'a>) -> Judged<'a> {
    let [_, key, bytes, ..] = words.first;
    if words.count < 2 {
        return Refusal::Unknown.into();
    }
    match number(bytes).filter(|bytes| check_bytes(key).is_ok() && *bytes <= BLOCK_BYTES_MAX) {
        Some(block_bytes) => Judged::Block { block_bytes, is_quiet: false },
        None => Refusal::BadFormat.into(),
    }
}

/// Writes without a data block.
fn judge_change<'a>(command: &[u8], words: &Words<'a>) -> Judged<'a> {
    let [_, key, argument, ..] = words.first;
    let counts = match command {
        b"incr" | b"decr" | b"touch" => 3..=4,
        b"gat" | b"gats" => 3..=usize::MAX,
        b"delete" => 2..=4,
        b"shutdown" => 1..=2,
        _ => 2..=usize::MAX,
    };
    if !counts.contains(&words.count) {
        return Refusal::Unknown.into();
    }
    let is_right = match command {
        b"incr" | b"decr" => check_bytes(key).is_ok() && number(argument).is_some(),
        b"touch" => check_bytes(key).is_ok() && signed(argument).is_some(),
        b"gat" | b"gats" => signed(key).is_some(),
        b"shutdown" => true,
        _ => check_bytes(key).is_ok(),
    };
    let is_meta = command[0] == b'm';
    let can_be_quiet = !is_meta && !matches!(command, b"gat" | b"gats" | b"shutdown");
    match (is_right, can_be_quiet && words.wants_no_answer()) {
        (_, true) => Request::Ignored.into(),
        (true, false) => Refusal::ReadOnly.into(),
        (false, false) => Refusal::BadFormat.into(),
    }
}

/// At most 250 bytes, no control byte among them.
fn check_bytes(key: &[u8]) -> Result<(), Refusal> {
    let is_right = key.len() <= KEY_BYTES_MAX && !key.iter().any(u8::is_ascii_control);
    if is_right { Ok(()) } else { Err(Refusal::BadFormat) }
}

/// It names a path.
fn check_form(key: &[u8], is_base64: bool) -> Result<(), Refusal> {
    if decode_key(key, is_base64, &mut { PATH_BUFFER }).is_some() { Ok(()) } else { Err(Refusal::BadKey) }
}

fn begins_with_get(bytes: &[u8]) -> bool {
    let spaces = bytes.iter().take_while(|byte| **byte == b' ').count();
    let line = &bytes[spaces..];
    spaces <= LEADING_SPACES_MAX && (line.starts_with(b"get ") || line.starts_with(b"gets "))
}

/// The next word and what is behind it. Only spaces part words.
fn next_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = text.iter().position(|byte| *byte != b' ')?;
    let text = &text[start..];
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    Some(text.split_at(end))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A number that may be negative: its size.
fn signed(digits: &[u8]) -> Option<u64> {
    number(digits.strip_prefix(b"-").unwrap_or(digits))
}
