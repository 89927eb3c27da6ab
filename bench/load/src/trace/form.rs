//! The bytes of a trace file, version 1. All numbers are little-endian; `v` is an unsigned LEB128 number.
//!
//! ```text
//! header, 128 bytes
//!   0 magic "DSTRACE1"    8 u16 version   10 u16 flags: 1 closed loop   12 u32 crc32c of the rest
//!  16 u64 start, Unix ms  24 u64 seed     32 u64 hash of the mix        40 u32 version of the mix
//!  44 u32 bytes of its name               48 u64 window from, us        56 u64 window until, us
//!  64 u64 zero            72 its name, zeros behind it
//! block, 24 bytes and its payload
//!   0 u32 "DSTB"   4 u32 kind: 1 population, 2 operations, 3 end   8 u32 bytes of payload   12 u32 items in it
//!  16 u32 number of the block, from 0                              20 u32 crc32c of bytes 0..20 and the payload
//!
//! population: namespace v, folders v, parent of each v, files v, then of each: folder v, bytes v
//!   A namespace comes in the order of its number, and in several items where it is large.
//! operation: us since the one before v (the first of a block: since the start), namespace v, kind u8, and then
//!   put (32 set: of a file that is there)  folder v | file v, bytes v      stat, blocklist, attr, delete  file v
//!   put_batch, list                        folder v, count v               move          file v, folder v
//!   mkdir                                  folder v                        has_blocks    file v, count v
//!   delta                                  count v                         head, move_folder  nothing
//! end: operations in all v
//! ```
//! New files and folders take the next free number of their namespace. Blocks come in the order population, operations,
//! end; without the end the file was cut off.

use std::io::{self, Write};

use base::checksum::{crc32c, crc32c_append};

use super::{Choice, Origin, Shape, Space, Trace, TracedOp};
use crate::op::{FileId, OpKind};

const MAGIC: &[u8; 8] = b"DSTRACE1";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 128;
const NAME_BYTES_MAX: usize = 56;
const FLAG_CLOSED: u16 = 1;
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"DSTB");
const BLOCK_HEADER_BYTES: usize = 24;
/// A block ends once it has so many bytes: some 400 operations, which go together where one byte is wrong.
const PAYLOAD_BYTES: usize = 4 << 10;
/// Folders or files of one item at most, so that no item is much longer than a block.
const ITEM_PARTS_MAX: usize = 1024;
const POPULATION: u32 = 1;
const OPERATIONS: u32 = 2;
const END: u32 = 3;
const UPDATE: u8 = 32;

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Its beginning says otherwise.
    #[error("this is no trace: it does not begin with DSTRACE1; record one with `dropstone bench run --record FILE`")]
    NoTrace,
    /// Of a later program.
    #[error("the trace has version {0}, this program reads {VERSION}; use the program that recorded it")]
    Newer(u16),
    /// The header is not whole, or not as it was written.
    #[error("the trace's header is cut off or damaged, so nothing of it can be used; record it anew")]
    Header,
    /// It ends before the first operation.
    #[error("the trace is damaged before its first operation ({0}), so nothing of it can be used; record it anew")]
    Nothing(Damage),
}

/// From where on a file is not to be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("from byte {at} on: {what}")]
pub struct Damage {
    /// The begin of the first block that is not good.
    pub at: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// All that is good.
    pub trace: Trace,
    /// Why that is not all.
    pub damage: Option<Damage>,
}

/// Writes a trace.
///
/// Errors: those of `out`.
pub fn write(trace: &Trace, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&header(&trace.origin))?;
    let mut blocks = Blocks { out, payload: Vec::with_capacity(2 * PAYLOAD_BYTES), items: 0, number: 0 };
    for (number, space) in trace.spaces.iter().enumerate() {
        let folders = space.folders.chunks(ITEM_PARTS_MAX).map(|some| (some, &[][..]));
        let files = space.files.chunks(ITEM_PARTS_MAX).map(|some| (&[][..], some));
        // One without anything is an item too.
        let empty = (space.folders.is_empty() && space.files.is_empty()).then_some((&[][..], &[][..]));
        for (folders, files) in folders.chain(files).chain(empty) {
            put_space(&mut blocks.payload, number as u64, folders, files);
            blocks.end_item(POPULATION)?;
        }
    }
    blocks.end(POPULATION)?;
    let mut before = 0;
    for op in &trace.ops {
        if blocks.items == 0 {
            before = 0;
        }
        put_op(&mut blocks.payload, before, op);
        before = op.at_us;
        blocks.end_item(OPERATIONS)?;
    }
    blocks.end(OPERATIONS)?;
    put(&mut blocks.payload, trace.ops.len() as u64);
    blocks.items = 1;
    blocks.end(END)
}

fn header(origin: &Origin) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut set = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    let name = &origin.mix.as_bytes()[..origin.mix.floor_char_boundary(NAME_BYTES_MAX)];
    set(0, MAGIC);
    set(8, &VERSION.to_le_bytes());
    set(10, &(if origin.is_closed { FLAG_CLOSED } else { 0 }).to_le_bytes());
    set(16, &origin.start_unix_ms.to_le_bytes());
    set(24, &origin.seed.to_le_bytes());
    set(32, &origin.hash.to_le_bytes());
    set(40, &origin.version.to_le_bytes());
    set(44, &(name.len() as u32).to_le_bytes());
    set(48, &origin.window_us.0.to_le_bytes());
    set(56, &origin.window_us.1.to_le_bytes());
    set(72, name);
    let crc = header_crc(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c_append(crc32c(&bytes[..12]), &bytes[16..])
}

/// Items on their way into blocks.
struct Blocks<'a, W> {
    out: &'a mut W,
    payload: Vec<u8>,
    items: u32,
    number: u32,
}

impl<W: Write> Blocks<'_, W> {
    fn end_item(&mut self, kind: u32) -> io::Result<()> {
        self.items += 1;
        if self.payload.len() >= PAYLOAD_BYTES { self.end(kind) } else { Ok(()) }
    }

    fn end(&mut self, kind: u32) -> io::Result<()> {
        if self.items == 0 {
            return Ok(());
        }
        let mut header = [0; BLOCK_HEADER_BYTES];
        let fields = [BLOCK_MAGIC, kind, self.payload.len() as u32, self.items, self.number];
        header.chunks_exact_mut(4).zip(fields).for_each(|(part, field)| part.copy_from_slice(&field.to_le_bytes()));
        let crc = crc32c_append(crc32c(&header[..20]), &self.payload);
        header[20..].copy_from_slice(&crc.to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(&self.payload)?;
        self.payload.clear();
        (self.items, self.number) = (0, self.number + 1);
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_space(out: &mut Vec<u8>, number: u64, folders: &[u32], files: &[(u32, u64)]) {
    put(out, number);
    put(out, folders.len() as u64);
    folders.iter().for_each(|parent| put(out, (*parent).into()));
    put(out, files.len() as u64);
    for (folder, bytes) in files {
        put(out, (*folder).into());
        put(out, *bytes);
    }
}

fn put_op(out: &mut Vec<u8>, before_us: u64, op: &TracedOp) {
    let Choice { kind, is_update, file: FileId(file), folder, size, count } = op.choice;
    put(out, op.at_us - before_us);
    put(out, op.namespace.into());
    out.push(kind as u8 | if is_update { UPDATE } else { 0 });
    let [file, folder, count] = [file, folder, count].map(u64::from);
    let fields: &[u64] = match kind {
        OpKind::Put if is_update => &[file, size],
        OpKind::Put => &[folder, size],
        OpKind::Null => &[size],
        OpKind::PutBatch | OpKind::List => &[folder, count],
        OpKind::Mkdir => &[folder],
        OpKind::Move => &[file, folder],
        OpKind::Delete | OpKind::Attr | OpKind::Stat | OpKind::Blocklist => &[file],
        OpKind::HasBlocks => &[file, count],
        OpKind::Delta => &[count],
        OpKind::Head | OpKind::MoveFolder => &[],
    };
    fields.iter().for_each(|field| put(out, *field));
}

/// Reads a trace, as far as it is good: up to the first block that is cut off, changed, or says what cannot be.
///
/// Errors: [`TraceError`] where not even an operation is good.
pub fn read(bytes: &[u8]) -> Result<Found, TraceError> {
    let origin = read_header(bytes)?;
    let mut reader = Reader { trace: Trace { origin, ..Trace::default() }, shapes: Vec::new(), kind: POPULATION };
    let (mut at, mut number) = (HEADER_BYTES, 0);
    let damage = loop {
        let good = (reader.trace.spaces.len(), reader.trace.ops.len());
        let read = block(&bytes[at..], number).and_then(|block| reader.take(&block).map(|()| block));
        match read {
            Ok(block) if block.kind == END => {
                at += BLOCK_HEADER_BYTES + block.payload.len();
                let what = "something follows the end";
                break (at < bytes.len()).then_some(Damage { at: at as u64, what });
            }
            Ok(block) => {
                at += BLOCK_HEADER_BYTES + block.payload.len();
                number += 1;
            }
            Err(what) => {
                // A block counts as a whole or not at all.
                reader.trace.ops.truncate(good.1);
                break Some(Damage { at: at as u64, what });
            }
        }
    };
    match damage {
        Some(damage) if reader.trace.ops.is_empty() => Err(TraceError::Nothing(damage)),
        damage => Ok(Found { trace: reader.trace, damage }),
    }
}

fn read_header(bytes: &[u8]) -> Result<Origin, TraceError> {
    if !bytes.starts_with(MAGIC) {
        return Err(TraceError::NoTrace);
    }
    let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(TraceError::Header)?;
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were asked for"));
    let version = u16_at(8);
    if version > VERSION {
        return Err(TraceError::Newer(version));
    }
    let name_bytes = u32_at(bytes, 44) as usize;
    let is_sound = version == VERSION && u16_at(10) <= FLAG_CLOSED && u32_at(bytes, 12) == header_crc(bytes);
    if !is_sound || name_bytes > NAME_BYTES_MAX || u64_at(48) > u64_at(56) {
        return Err(TraceError::Header);
    }
    let name = std::str::from_utf8(&bytes[72..72 + name_bytes]).map_err(|_| TraceError::Header)?;
    Ok(Origin {
        mix: name.to_owned(),
        version: u32_at(bytes, 40),
        hash: u64_at(32),
        seed: u64_at(24),
        start_unix_ms: u64_at(16),
        is_closed: u16_at(10) & FLAG_CLOSED != 0,
        window_us: (u64_at(48), u64_at(56)),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were asked for"))
}

struct Block<'a> {
    kind: u32,
    items: u32,
    payload: &'a [u8],
}

/// The block that begins here, as it was written.
fn block(bytes: &[u8], number: u32) -> Result<Block<'_>, &'static str> {
    const CUT: &str = "the file is cut off";
    let Some((header, rest)) = bytes.split_at_checked(BLOCK_HEADER_BYTES) else { return Err(CUT) };
    if u32_at(header, 0) != BLOCK_MAGIC {
        return Err("no block begins here");
    }
    let payload = rest.get(..u32_at(header, 8) as usize).ok_or(CUT)?;
    if u32_at(header, 20) != crc32c_append(crc32c(&header[..20]), payload) {
        return Err("the block's checksum does not fit");
    }
    if u32_at(header, 16) != number {
        return Err("a block is missing");
    }
    Ok(Block { kind: u32_at(header, 4), items: u32_at(header, 12), payload })
}

/// What has been read.
struct Reader {
    trace: Trace,
    shapes: Vec<Shape>,
    /// Of the last block.
    kind: u32,
}

impl Reader {
    fn take(&mut self, block: &Block<'_>) -> Result<(), &'static str> {
        if block.kind < self.kind || block.kind == END && block.items != 1 {
            return Err("blocks are out of order");
        }
        if block.kind > END {
            return Err("a block is of no kind known here");
        }
        self.kind = block.kind;
        let mut input = Input(block.payload);
        let mut at_us = 0;
        for _ in 0..block.items {
            match block.kind {
                POPULATION => self.take_space(&mut input)?,
                OPERATIONS => self.take_op(&mut input, &mut at_us)?,
                _ if input.number()? != self.trace.ops.len() as u64 => return Err("operations are missing"),
                _ => {}
            }
        }
        if input.0.is_empty() { Ok(()) } else { Err("a block is longer than what is in it") }
    }

    fn take_space(&mut self, input: &mut Input<'_>) -> Result<(), &'static str> {
        let (number, known) = (input.number()?, self.shapes.len() as u64);
        if number == known {
            self.shapes.push(Shape::new());
            self.trace.spaces.push(Space::default());
        } else if number + 1 != known {
            return Err("a namespace is out of order");
        }
        let (shape, space) = (&mut self.shapes[number as usize], &mut self.trace.spaces[number as usize]);
        for _ in 0..input.number()? {
            let parent = input.small()?;
            shape.add_folder(parent)?;
            space.folders.push(parent);
        }
        for _ in 0..input.number()? {
            let (folder, bytes) = (input.small()?, input.number()?);
            shape.add_file(folder, bytes)?;
            space.files.push((folder, bytes));
        }
        Ok(())
    }

    fn take_op(&mut self, input: &mut Input<'_>, at_us: &mut u64) -> Result<(), &'static str> {
        *at_us = at_us.checked_add(input.number()?).ok_or("a time is beyond all times")?;
        let before = self.trace.ops.last().map_or(0, |op| op.at_us);
        // What a Mono of nanoseconds can hold, by far.
        if *at_us < before || *at_us > u64::MAX >> 12 {
            return Err("an operation is out of order");
        }
        let namespace = input.small()?;
        let choice = choice(input)?;
        let shape =
            self.shapes.get_mut(namespace as usize).ok_or("an operation is in a namespace that is not there")?;
        shape.apply(&choice)?;
        self.trace.ops.push(TracedOp { at_us: *at_us, namespace, choice });
        Ok(())
    }
}

fn choice(input: &mut Input<'_>) -> Result<Choice, &'static str> {
    const STRANGE: &str = "an operation is of no kind known here";
    let byte = input.byte()?;
    let kind = *OpKind::ALL.get(usize::from(byte & !UPDATE)).ok_or(STRANGE)?;
    let is_update = byte & UPDATE != 0;
    if is_update && kind != OpKind::Put {
        return Err(STRANGE);
    }
    let mut choice = Choice { is_update, ..Choice::of(kind) };
    if choice.meets_file() {
        choice.file = FileId(input.small()?);
    }
    if choice.names_folder() {
        choice.folder = input.small()?;
    }
    match kind {
        OpKind::Put | OpKind::Null => choice.size = input.number()?,
        OpKind::PutBatch | OpKind::List | OpKind::HasBlocks | OpKind::Delta => choice.count = input.small()?,
        _ => {}
    }
    Ok(choice)
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.0.split_first().ok_or("a block is shorter than what is in it")?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too large")
    }

    fn small(&mut self) -> Result<u32, &'static str> {
        u32::try_from(self.number()?).map_err(|_| "a number is too large")
    }
}

#[cfg(test)]
mod tests;
