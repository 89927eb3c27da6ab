//! Frames of a client connection: a header and items, one frame per connection and turn.
//!
//! ```text
//! header, 24 B   0 u32 magic "DSCF"   4 u8 version   5 u8 class (1 request, 2 reply)   6 u16 count
//!                8 u32 frame_bytes, header included   12 u32 crc32c of the frame with this field zero   16 u64 zero
//! item, 24 B     0 u64 request_id     8 u8 and 9 u8 by class (below)   10 u16 tail_bytes   12 u32 group
//!               16 u32 body_bytes    20 u32 zero   24 body, zero-padded to 8
//! ```
//! In a request the two bytes are `kind` and `flags`, in a reply `status` and `kind`. The numbers are [`crate::client`]'s
//! and [`crate::block`]'s; this file knows only bytes. The last `tail_bytes` of a reply's body are an explanation
//! ([`crate::explain`]), which comes only to who asks for it; in a request they are 0.

use base::GroupId;
use base::bytes::{align_up, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::checksum::{crc32c, crc32c_append};

use crate::WIRE_VERSION;
use crate::client::{ReplyItem, RequestItem};
use crate::explain::Explanation;
use crate::reader::{Link, frame_bytes};

/// Bytes of a client frame before its items.
pub const CLIENT_FRAME_HEADER_BYTES: usize = 24;
/// First four bytes of a client frame.
pub const CLIENT_FRAME_MAGIC: u32 = u32::from_le_bytes(*b"DSCF");
/// Bytes of an item before its body.
pub const ITEM_HEADER_BYTES: usize = 24;

/// Why bytes are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("frame has {have} of {need} bytes")]
    NeedMore {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// These bytes do not begin a frame of this link.
    #[error("not a frame of this link: the first bytes are {found:08x}")]
    Magic {
        /// The first bytes there, little-endian.
        found: u32,
    },
    /// A version that was not agreed on.
    #[error("frame has version {found}, and {WIRE_VERSION} was agreed on")]
    Version {
        /// In the header.
        found: u8,
    },
    /// A length that no writer gives.
    #[error("frame claims an impossible length of {found} bytes")]
    Length {
        /// In the header.
        found: usize,
    },
    /// Beyond the bound of this link.
    #[error("frame claims {found} bytes, and at most {max} are taken; send smaller frames")]
    TooLarge {
        /// In the header.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// The bytes are not those that were sent.
    #[error("frame crc is {found:08x}, and its bytes give {computed:08x}")]
    Crc {
        /// In the header.
        found: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A field has a value that no writer gives.
    #[error("frame has a bad {0}")]
    Field(&'static str),
    /// The frame is of the other class.
    #[error("frame is of the wrong class: a {0:?} frame")]
    Class(FrameClass),
}

/// Which way a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameClass {
    /// From the client.
    Request = 1,
    /// From the server.
    Reply = 2,
}

/// The eight bytes of an item that its writer chooses beside the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ItemHeader {
    pub(crate) request_id: u64,
    pub(crate) bytes: [u8; 2],
    pub(crate) tail_bytes: u16,
    pub(crate) group: GroupId,
}

/// One checked frame, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    class: FrameClass,
    count: u16,
    items: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks that `bytes` are exactly one frame: header, crc, and every item's bounds and padding.
    ///
    /// Errors: [`FrameError`]; the connection is to be closed.
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let need = frame_bytes(Link::Client, bytes, bytes.len().max(CLIENT_FRAME_HEADER_BYTES));
        let need = match need {
            Ok(length) => length.unwrap_or(CLIENT_FRAME_HEADER_BYTES),
            // The bound given is what is there, so beyond it means that bytes are missing.
            Err(FrameError::TooLarge { found, .. }) => found,
            Err(error) => return Err(error),
        };
        if bytes.len() < need {
            return Err(FrameError::NeedMore { have: bytes.len(), need });
        }
        if bytes.len() > need {
            return Err(FrameError::Length { found: need });
        }
        let (header, items) = bytes.split_at(CLIENT_FRAME_HEADER_BYTES);
        let found = get_u32(header, 12).expect("the header is whole");
        let computed = frame_crc(bytes);
        if found != computed {
            return Err(FrameError::Crc { found, computed });
        }
        let class = match header[5] {
            1 => FrameClass::Request,
            2 => FrameClass::Reply,
            _ => return Err(FrameError::Field("class")),
        };
        if get_u64(header, 16) != Some(0) {
            return Err(FrameError::Field("reserved field"));
        }
        let count = u16::from_le_bytes([header[6], header[7]]);
        check_items(items, count, class)?;
        Ok(Frame { class, count, items })
    }

    /// Which way it goes.
    #[must_use]
    pub fn class(&self) -> FrameClass {
        self.class
    }

    /// Items in it; at least 1.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The requests, in order.
    ///
    /// Errors: [`FrameError::Class`] for a frame of replies.
    pub fn requests(&self) -> Result<impl Iterator<Item = RequestItem<'a>> + use<'a>, FrameError> {
        if self.class != FrameClass::Request {
            return Err(FrameError::Class(self.class));
        }
        Ok(Items { rest: self.items }.map(|(header, body)| RequestItem {
            request_id: header.request_id,
            kind: header.bytes[0],
            flags: header.bytes[1],
            group: header.group,
            body,
        }))
    }

    /// The replies, in order.
    ///
    /// Errors: [`FrameError::Class`] for a frame of requests.
    pub fn replies(&self) -> Result<impl Iterator<Item = ReplyItem<'a>> + use<'a>, FrameError> {
        if self.class != FrameClass::Reply {
            return Err(FrameError::Class(self.class));
        }
        Ok(Items { rest: self.items }.map(|(header, body)| ReplyItem {
            request_id: header.request_id,
            status: header.bytes[0],
            kind: header.bytes[1],
            group: header.group,
            body: &body[..body.len() - usize::from(header.tail_bytes)],
            explanation: &body[body.len() - usize::from(header.tail_bytes)..],
        }))
    }
}

/// Items whose bounds were checked.
struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = (ItemHeader, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let request_id = get_u64(self.rest, 0)?;
        let body_bytes = get_u32(self.rest, 16)? as usize;
        let header = ItemHeader {
            request_id,
            bytes: [self.rest[8], self.rest[9]],
            tail_bytes: get_u16(self.rest, 10)?,
            group: GroupId(get_u32(self.rest, 12)?),
        };
        let body = self.rest.get(ITEM_HEADER_BYTES..ITEM_HEADER_BYTES + body_bytes)?;
        self.rest = self.rest.get(ITEM_HEADER_BYTES + align_up(body_bytes, 8)..)?;
        Some((header, body))
    }
}

fn check_items(items: &[u8], count: u16, class: FrameClass) -> Result<(), FrameError> {
    let mut rest = items;
    for _ in 0..count {
        let body_bytes = get_u32(rest, 16).ok_or(FrameError::Field("count"))? as usize;
        let tail_bytes = usize::from(u16::from_le_bytes([rest[10], rest[11]]));
        let tail_max = if class == FrameClass::Reply { body_bytes } else { 0 };
        if tail_bytes > tail_max || get_u32(rest, 20) != Some(0) {
            return Err(FrameError::Field("reserved item field"));
        }
        // Lengths are compared with what is left before they are added to anything.
        if body_bytes > rest.len() {
            return Err(FrameError::Field("body length"));
        }
        let end = ITEM_HEADER_BYTES + body_bytes;
        let space = ITEM_HEADER_BYTES + align_up(body_bytes, 8);
        let padding = rest.get(end..space).ok_or(FrameError::Field("body length"))?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(FrameError::Field("padding"));
        }
        rest = &rest[space..];
    }
    if rest.is_empty() { Ok(()) } else { Err(FrameError::Field("count")) }
}

fn frame_crc(frame: &[u8]) -> u32 {
    let crc = crc32c_append(crc32c(&frame[..12]), &[0; 4]);
    crc32c_append(crc, &frame[16..])
}

/// An item alone would exceed the largest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("item of {bytes} bytes does not fit a frame of at most {max}; split it")]
pub struct ItemTooLarge {
    /// Bytes of a frame that holds only this item.
    pub bytes: usize,
    /// The bound.
    pub max: usize,
}

/// Collects items into frames, in one reused buffer. A frame that would grow beyond the bound is closed and the next one
/// begun, so the bytes taken may hold several frames.
#[derive(Debug)]
pub struct FrameWriter {
    class: FrameClass,
    frame_bytes_max: usize,
    bytes: Vec<u8>,
    /// Where the open frame begins; everything before it is sealed.
    start: usize,
    /// Items of the open frame; 0 is no open frame.
    count: u16,
}

impl FrameWriter {
    /// A writer of one class whose frames stay within `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(class: FrameClass, frame_bytes_max: usize) -> FrameWriter {
        FrameWriter { class, frame_bytes_max, bytes: Vec::new(), start: 0, count: 0 }
    }

    /// Adds a request, its body being what `body` appends.
    ///
    /// Errors: [`ItemTooLarge`]; nothing was added.
    pub fn push_request(
        &mut self,
        request_id: u64,
        kind: u8,
        flags: u8,
        group: GroupId,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ItemTooLarge> {
        debug_assert_eq!(self.class, FrameClass::Request);
        self.push(ItemHeader { request_id, bytes: [kind, flags], tail_bytes: 0, group }, body)
    }

    /// Adds a reply, its body being what `body` appends.
    ///
    /// Errors: [`ItemTooLarge`]; nothing was added.
    pub fn push_reply(
        &mut self,
        request_id: u64,
        status: u8,
        kind: u8,
        group: GroupId,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ItemTooLarge> {
        debug_assert_eq!(self.class, FrameClass::Reply);
        self.push(ItemHeader { request_id, bytes: [status, kind], tail_bytes: 0, group }, body)
    }

    /// Adds a reply that ends with an explanation, for a request that asked for it.
    ///
    /// Errors: [`ItemTooLarge`]; nothing was added.
    pub fn push_explained_reply(
        &mut self,
        request_id: u64,
        (status, kind): (u8, u8),
        group: GroupId,
        explanation: &Explanation,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ItemTooLarge> {
        debug_assert_eq!(self.class, FrameClass::Reply);
        let tail_bytes = u16::try_from(explanation.encoded_bytes()).expect("an explanation has at most 104 bytes");
        self.push(ItemHeader { request_id, bytes: [status, kind], tail_bytes, group }, |out| {
            body(out);
            explanation.encode(out);
        })
    }

    /// Bytes collected so far, an unsealed frame included.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// True when nothing was added since the last take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Seals the open frame and gives out all bytes; `spare` is emptied and collects from now on.
    #[must_use]
    pub fn take(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        self.seal();
        self.start = 0;
        spare.clear();
        std::mem::replace(&mut self.bytes, spare)
    }

    fn push(&mut self, header: ItemHeader, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), ItemTooLarge> {
        if self.count == u16::MAX {
            self.seal();
        }
        if self.count == 0 {
            self.open();
        }
        let item = self.bytes.len();
        self.bytes.resize(item + ITEM_HEADER_BYTES, 0);
        body(&mut self.bytes);
        let body_bytes = self.bytes.len() - item - ITEM_HEADER_BYTES;
        self.bytes.resize(item + ITEM_HEADER_BYTES + align_up(body_bytes, 8), 0);
        let alone = CLIENT_FRAME_HEADER_BYTES + self.bytes.len() - item;
        if alone > self.frame_bytes_max {
            self.bytes.truncate(item);
            if self.count == 0 {
                self.bytes.truncate(self.start);
            }
            return Err(ItemTooLarge { bytes: alone, max: self.frame_bytes_max });
        }
        let at = &mut self.bytes[item..];
        put_u64(at, 0, header.request_id);
        at[8..10].copy_from_slice(&header.bytes);
        put_u16(at, 10, header.tail_bytes);
        put_u32(at, 12, header.group.0);
        put_u32(at, 16, u32::try_from(body_bytes).expect("an item is no larger than a frame"));
        if self.bytes.len() - self.start > self.frame_bytes_max {
            self.split_before(item);
        }
        self.count += 1;
        Ok(())
    }

    fn open(&mut self) {
        self.start = self.bytes.len();
        self.bytes.resize(self.start + CLIENT_FRAME_HEADER_BYTES, 0);
    }

    /// Closes the open frame before `item` and begins another with it: its bytes move by one header.
    fn split_before(&mut self, item: usize) {
        let end = self.bytes.len();
        self.bytes.resize(end + CLIENT_FRAME_HEADER_BYTES, 0);
        self.bytes.copy_within(item..end, item + CLIENT_FRAME_HEADER_BYTES);
        self.bytes[item..item + CLIENT_FRAME_HEADER_BYTES].fill(0);
        self.seal_to(item);
        self.start = item;
    }

    fn seal(&mut self) {
        if self.count > 0 {
            self.seal_to(self.bytes.len());
        }
    }

    fn seal_to(&mut self, end: usize) {
        let frame = &mut self.bytes[self.start..end];
        let bytes = u32::try_from(frame.len()).expect("frames are bounded far below 4 GiB");
        put_u32(frame, 0, CLIENT_FRAME_MAGIC);
        frame[4] = WIRE_VERSION as u8;
        frame[5] = self.class as u8;
        put_u16(frame, 6, self.count);
        put_u32(frame, 8, bytes);
        put_u32(frame, 12, 0);
        let crc = crc32c(frame);
        put_u32(frame, 12, crc);
        self.count = 0;
    }
}
