//! The payload of an entry of commands: what one turn brought, one stamp for all.
//!
//! ```text
//! payload      0 u16 version=1   2 u16 command_count   4 u32 zero   8 u64 stamp_ms
//! per command  0 u32 command_bytes   4 u32 zero   8 the command, zero-padded to 8
//! ```

use base::bytes::{align_up, get_u16, get_u32, get_u64, put_u16, put_u64};
use base::limits::ENTRY_COMMANDS_MAX;

use crate::codec::{Put, Reader, len32};
use crate::command::COMMAND_HEADER_BYTES;
use crate::command_codec::decode_header;

/// The version of a payload.
const VERSION: u16 = 1;
/// The format of a command, its byte 0.
const COMMAND_FORMAT: u8 = 1;
/// Bytes of a payload before its commands.
pub const PAYLOAD_HEADER_BYTES: usize = 16;
/// Bytes before each command.
pub const COMMAND_PREFIX_BYTES: usize = 8;

/// Builds a payload in a reused buffer.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    out: Vec<u8>,
    count: u16,
}

impl Builder {
    /// Commands so far.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Bytes so far, header included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.out.len().max(PAYLOAD_HEADER_BYTES)
    }

    /// Adds an encoded command. Panics beyond `ENTRY_COMMANDS_MAX`: the caller closes entries before.
    pub fn push(&mut self, command: &[u8]) {
        assert!(self.count < ENTRY_COMMANDS_MAX, "an entry holds at most ENTRY_COMMANDS_MAX commands");
        if self.out.is_empty() {
            self.out.resize(PAYLOAD_HEADER_BYTES, 0);
        }
        self.out.u32(len32(command.len()));
        self.out.zero(4);
        self.out.bytes(command);
        self.out.pad(0);
        self.count += 1;
    }

    /// The payload, stamped. The builder keeps it until [`Builder::clear`].
    pub fn finish(&mut self, stamp_ms: u64) -> &[u8] {
        self.out.resize(self.out.len().max(PAYLOAD_HEADER_BYTES), 0);
        put_u16(&mut self.out, 0, VERSION);
        put_u16(&mut self.out, 2, self.count);
        put_u64(&mut self.out, 8, stamp_ms);
        &self.out
    }

    /// Empty again; keeps the buffer.
    pub fn clear(&mut self) {
        self.out.clear();
        self.count = 0;
    }
}

/// Do these bytes have the frame of a command of a known format: a whole header, and a body of the length it says?
/// The body itself is judged at apply.
#[must_use]
pub fn is_framed(command: &[u8]) -> bool {
    let mut reader = Reader::new(command);
    matches!(decode_header(&mut reader), Ok((_, _, body)) if COMMAND_HEADER_BYTES + body == command.len())
}

/// The version of a payload, or the format of a command in it, that this release does not know; `None` when it knows all.
///
/// A leader takes only commands whose format it knows, so a newer release wrote these, and what they do is not known
/// here. Applying the entry as if they did nothing would let replicas part in silence: who holds it stops instead.
#[must_use]
pub fn unknown_format(payload: &[u8]) -> Option<u16> {
    let version = get_u16(payload, 0)?;
    if version != VERSION {
        return Some(version);
    }
    let mut formats = Commands::parse(payload).flatten().filter_map(|command| command.first().copied());
    formats.find(|format| *format != COMMAND_FORMAT).map(u16::from)
}

/// The commands of a payload, in order. Always exactly as many as its header says (at most `ENTRY_COMMANDS_MAX`):
/// where the bytes are damaged, the commands from there on are `None`. A payload without a header has no commands.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u16,
    stamp_ms: u64,
}

impl<'a> Commands<'a> {
    /// Reads the header of a payload.
    #[must_use]
    pub fn parse(payload: &'a [u8]) -> Commands<'a> {
        let header = || {
            let count = get_u16(payload, 2)?;
            let is_known = get_u16(payload, 0)? == VERSION && get_u32(payload, 4)? == 0 && count <= ENTRY_COMMANDS_MAX;
            let stamp_ms = get_u64(payload, 8)?;
            is_known.then_some((count, stamp_ms))
        };
        let (left, stamp_ms) = header().unwrap_or((0, 0));
        Commands { bytes: payload, at: PAYLOAD_HEADER_BYTES, left, stamp_ms }
    }

    /// The leader's clock when it proposed; 0 in a damaged payload.
    #[must_use]
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// Commands left.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.left)
    }

    /// None are left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    fn next_command(&mut self) -> Option<&'a [u8]> {
        let length = get_u32(self.bytes, self.at)? as usize;
        let zero = get_u32(self.bytes, self.at + 4)?;
        let start = self.at + COMMAND_PREFIX_BYTES;
        let command = self.bytes.get(start..start.checked_add(length)?)?;
        self.at = start + align_up(length, 8);
        (zero == 0).then_some(command)
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let command = self.next_command();
        if command.is_none() {
            self.at = self.bytes.len();
        }
        Some(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_back_its_commands_and_stamp() {
        let mut builder = Builder::default();
        builder.push(b"one");
        builder.push(b"eight by");
        assert_eq!(builder.count(), 2);
        assert_eq!(builder.bytes(), 48);
        let payload = builder.finish(77).to_vec();
        let golden = "01000200000000004d00000000000000\
                      03000000000000006f6e650000000000\
                      08000000000000006569676874206279";
        assert_eq!(payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
        let commands = Commands::parse(&payload);
        assert_eq!(commands.stamp_ms(), 77);
        assert_eq!(commands.collect::<Vec<_>>(), [Some(&b"one"[..]), Some(b"eight by")]);
        builder.clear();
        assert_eq!(Commands::parse(builder.finish(1)).count(), 0);
    }

    #[test]
    fn a_damaged_payload_still_has_as_many_commands_as_its_header_says() {
        let mut builder = Builder::default();
        (0..3).for_each(|_| builder.push(b"0123456789"));
        let whole = builder.finish(1).to_vec();
        for cut in 0..whole.len() {
            let count = Commands::parse(&whole[..cut]).count();
            assert_eq!(count, if cut < PAYLOAD_HEADER_BYTES { 0 } else { 3 }, "cut at {cut}");
        }
        let mut huge = whole.clone();
        huge[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Commands::parse(&huge).all(|command| command.is_none()));
    }

    #[test]
    fn what_a_newer_release_wrote_is_told_from_what_is_known_and_from_damage() {
        let mut builder = Builder::default();
        builder.push(&[COMMAND_FORMAT, 200, 0, 0]);
        builder.push(&[]);
        builder.push(&[COMMAND_FORMAT]);
        let known = builder.finish(5).to_vec();
        assert_eq!((unknown_format(&known), unknown_format(&known[..1]), unknown_format(&[])), (None, None, None));
        let of_version = |version| [&[version], &known[1..]].concat();
        assert_eq!((unknown_format(&of_version(2)), unknown_format(&of_version(0))), (Some(2), Some(0)));
        builder.push(&[7, 0]);
        assert_eq!(unknown_format(builder.finish(5)), Some(7));
    }
}
