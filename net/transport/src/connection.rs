//! One socket's bytes.

use base::limits::OUT_BUFFER_BYTES_MAX;
use reactor::io::{Io, SocketId};
use wire::{FrameReader, Link};

/// Bytes in and out of one socket. One send is in flight at a time; what comes meanwhile waits and leaves as one.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: SocketId,
    /// Bytes that came and are not yet a whole frame.
    pub reader: FrameReader,
    out: Vec<u8>,
    spare: Vec<u8>,
    is_sending: bool,
    is_closing: bool,
}

impl Connection {
    /// A fresh connection that speaks `link`, with frames of at most `frame_bytes_max`.
    #[must_use]
    pub fn new(socket: SocketId, link: Link, frame_bytes_max: usize) -> Connection {
        Connection {
            socket,
            reader: FrameReader::new(link, frame_bytes_max),
            out: Vec::new(),
            spare: Vec::new(),
            is_sending: false,
            is_closing: false,
        }
    }

    /// Bytes to send are appended here.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// An empty buffer to collect in, with memory if there is one to spare.
    pub fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Adds whole frames to what waits; the buffer is kept if nothing else waits.
    pub fn append(&mut self, bytes: Vec<u8>) {
        if self.out.is_empty() {
            self.spare = std::mem::replace(&mut self.out, bytes);
            self.spare.clear();
        } else {
            self.out.extend_from_slice(&bytes);
        }
    }

    /// Sends what waits, unless a send is in flight; closes once all has left if that was asked for. True when a send began:
    /// all that was appended so far is in it.
    pub fn flush(&mut self, io: &mut impl Io) -> bool {
        if self.is_sending {
            return false;
        }
        if !self.out.is_empty() {
            self.is_sending = true;
            let next = std::mem::take(&mut self.spare);
            io.send(self.socket, std::mem::replace(&mut self.out, next));
            return true;
        }
        if self.is_closing {
            io.close(self.socket);
        }
        false
    }

    /// The buffer of the last send comes back.
    pub fn handle_sent(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spare = buffer;
        self.is_sending = false;
    }

    /// Closes the connection after what waits has left.
    pub fn close_after_flush(&mut self) {
        self.is_closing = true;
    }

    /// True once closing was asked for: what still comes in is not looked at.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// The receiver does not keep up: the connection must be closed.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.out.len() > OUT_BUFFER_BYTES_MAX
    }

    /// True when bytes wait and none are on their way.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        !self.is_sending && (!self.out.is_empty() || self.is_closing)
    }
}
