//! Cutting a byte stream into frames.
//!
//! Both frame headers begin alike (magic, version, class, count, `frame_bytes` at 8), so one reader serves both.

use base::bytes::{get_u16, get_u32};
use base::mutate;

use crate::frame::{CLIENT_FRAME_HEADER_BYTES, CLIENT_FRAME_MAGIC, FrameError};
use crate::hello::{CLIENT_HELLO_BYTES, ClientHello, HelloError, SERVER_HELLO_BYTES, ServerHello};
use crate::peer::{PEER_FRAME_HEADER_BYTES, PEER_FRAME_MAGIC};
use crate::peer_hello::{PEER_HELLO_BYTES, PeerHello};

/// Which language a stream speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// Requests and replies.
    Client,
    /// Raft between nodes.
    Peer,
}

impl Link {
    const fn magic(self) -> u32 {
        match self {
            Link::Client => CLIENT_FRAME_MAGIC,
            Link::Peer => PEER_FRAME_MAGIC,
        }
    }

    const fn header_bytes(self) -> usize {
        match self {
            Link::Client => CLIENT_FRAME_HEADER_BYTES,
            Link::Peer => PEER_FRAME_HEADER_BYTES,
        }
    }
}

/// The length of the frame that begins at the start of `bytes`, header included, or `None` while too few bytes are there
/// to tell. The frame itself may still be incomplete. For those who cut in place.
///
/// Errors: [`FrameError`] as soon as the bytes cannot begin a frame of at most `frame_bytes_max`; the stream is lost then.
pub fn frame_bytes(link: Link, bytes: &[u8], frame_bytes_max: usize) -> Result<Option<usize>, FrameError> {
    let magic = link.magic().to_le_bytes();
    let begin = bytes.len().min(4);
    if bytes[..begin] != magic[..begin] {
        base::mark::hit!("wire.frame.bad_magic");
        let mut first = [0; 4];
        first[..begin].copy_from_slice(&bytes[..begin]);
        return Err(FrameError::Magic { found: u32::from_le_bytes(first) });
    }
    if let Some(version) = bytes.get(4)
        && u16::from(*version) != crate::WIRE_VERSION
        && mutate!(MUT_34A, true, link == Link::Client)
    {
        base::mark::hit!("wire.frame.bad_version");
        return Err(FrameError::Version { found: *version });
    }
    let Some(length) = get_u32(bytes, 8) else { return Ok(None) };
    let length = length as usize;
    if length < link.header_bytes() || !length.is_multiple_of(8) {
        base::mark::hit!("wire.frame.bad_length");
        return Err(FrameError::Length { found: length });
    }
    if length > frame_bytes_max {
        base::mark::hit!("wire.frame.too_large");
        return Err(FrameError::TooLarge { found: length, max: frame_bytes_max });
    }
    // An empty frame has no sense and would let a peer spin the receiver for free.
    if get_u16(bytes, 6) == Some(0) {
        base::mark::hit!("wire.frame.empty");
        return Err(FrameError::Field("count"));
    }
    Ok(Some(length))
}

/// Collects bytes as they come and gives out whole hellos and frames. Holds at most what was pushed and not yet taken.
#[derive(Debug)]
pub struct FrameReader {
    link: Link,
    frame_bytes_max: usize,
    bytes: Vec<u8>,
    taken: usize,
}

impl FrameReader {
    /// A reader of `link` that refuses frames above `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(link: Link, frame_bytes_max: usize) -> FrameReader {
        FrameReader { link, frame_bytes_max, bytes: Vec::new(), taken: 0 }
    }

    /// Adds bytes, of any length, as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets everything, for a new connection; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.taken = 0;
    }

    /// Bytes pushed and not yet taken.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// The next whole frame as bytes for [`crate::Frame::parse`] or [`crate::PeerFrame::parse`]; `None`: push more.
    ///
    /// Errors: [`FrameError`]; the stream is lost and the connection is to be closed.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.bytes[self.taken..];
        let Some(length) = frame_bytes(self.link, rest, self.frame_bytes_max)? else { return Ok(None) };
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.taken;
        self.taken += length;
        Ok(Some(&self.bytes[start..start + length]))
    }

    /// The client's hello, once it is whole.
    ///
    /// Errors: [`HelloError`], never `NeedMore`.
    pub fn next_client_hello(&mut self) -> Result<Option<ClientHello>, HelloError> {
        let parsed = ClientHello::parse(&self.bytes[self.taken..]);
        self.take_hello(parsed, CLIENT_HELLO_BYTES)
    }

    /// The server's hello, once it is whole.
    ///
    /// Errors: [`HelloError`], never `NeedMore`.
    pub fn next_server_hello(&mut self) -> Result<Option<ServerHello>, HelloError> {
        let parsed = ServerHello::parse(&self.bytes[self.taken..]);
        self.take_hello(parsed, SERVER_HELLO_BYTES)
    }

    /// The peer's hello, once it is whole.
    ///
    /// Errors: [`HelloError`], never `NeedMore`.
    pub fn next_peer_hello(&mut self) -> Result<Option<PeerHello>, HelloError> {
        let parsed = PeerHello::parse(&self.bytes[self.taken..]);
        self.take_hello(parsed, PEER_HELLO_BYTES)
    }

    fn take_hello<T>(&mut self, parsed: Result<T, HelloError>, bytes: usize) -> Result<Option<T>, HelloError> {
        match parsed {
            Ok(hello) => {
                self.taken += bytes;
                Ok(Some(hello))
            }
            Err(HelloError::NeedMore { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
