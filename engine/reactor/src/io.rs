//! The seam of a core: all that it may ask of the outside. A ring in production, a simulated one in tests.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use base::Mono;
use seglog::{OpResult, OpToken};

/// A socket of this core: an index into its slots with the generation of its use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SocketId {
    /// The slot.
    pub index: u32,
    /// Tells a reuse from the one before.
    pub generation: u32,
}

/// What happened, in the order in which the ring told it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection was accepted on the listener added under `tag`.
    Accepted {
        /// As given to `listen`.
        tag: u64,
        /// The new socket; receiving on it has begun.
        socket: SocketId,
    },
    /// The connection asked for under `tag` is up; receiving on it has begun.
    Connected {
        /// As given to `connect`.
        tag: u64,
        /// The new socket.
        socket: SocketId,
    },
    /// The connection asked for under `tag` could not be made.
    ConnectFailed {
        /// As given to `connect`.
        tag: u64,
        /// The errno.
        errno: i32,
    },
    /// Bytes arrived. They are lent for this call; what is not consumed must be copied.
    Received {
        /// On which.
        socket: SocketId,
        /// What.
        bytes: &'a [u8],
    },
    /// All of the buffer last given to `send` has left; the next may be given.
    Sent {
        /// On which.
        socket: SocketId,
        /// The buffer, emptied, to be used again.
        buffer: Vec<u8>,
    },
    /// The socket is gone (end of stream, error, or closed here); its id is never used again.
    Closed {
        /// Which.
        socket: SocketId,
        /// The errno; 0 at an orderly end.
        errno: i32,
    },
    /// A log operation is done.
    DiskDone {
        /// Which.
        token: OpToken,
        /// How.
        result: OpResult,
    },
    /// A thread that is no core rang: look into the inboxes.
    Doorbell,
}

/// How long the one system call of a turn may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// There is work left.
    No,
    /// Until something completes, or this time has come.
    Until(Mono),
}

/// How long the other end of a connection may be silent when an answer of its kernel is due: then the connection ends.
/// The kernel watches, so a connection at rest costs no turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Bytes that are not acknowledged, a window that stays shut, an attempt to connect: TCP_USER_TIMEOUT of tcp(7).
    pub unacknowledged: Duration,
    /// A connection at rest is probed each time this has passed, in whole seconds: TCP_KEEPIDLE and TCP_KEEPINTVL of
    /// tcp(7). An end that knows the connection no more answers with a reset.
    pub probe: Duration,
}

impl Patience {
    /// Between nodes. After a cut the kernel repeats at twice the distance each time, up to seconds late; a new connection
    /// is there in one round trip, and raft repeats what was lost.
    pub const PEER: Patience = Patience { unacknowledged: Duration::from_secs(1), probe: Duration::from_secs(1) };
    /// Of a server with a client, who may be far away, and asleep.
    pub const CLIENT: Patience = Patience { unacknowledged: Duration::from_secs(60), probe: Duration::from_secs(60) };
    /// Of a client with a server, which has neighbours that answer as well.
    pub const SERVER: Patience = Patience { unacknowledged: Duration::from_secs(10), probe: Duration::from_secs(10) };
}

/// What a core asks of sockets and time. Calls queue; only `enter` is a system call.
pub trait Io {
    /// Accepts connections for ever on a listener that is bound to `address` with SO_REUSEPORT. Blocking is allowed:
    /// only called before the loop starts. Port 0 takes any; returns the address bound.
    fn listen(&mut self, tag: u64, address: SocketAddr, patience: Patience) -> std::io::Result<SocketAddr>;

    /// Begins a connection; [`Event::Connected`] or [`Event::ConnectFailed`] follows.
    fn connect(&mut self, tag: u64, address: SocketAddr, patience: Patience);

    /// Sends the whole buffer; one send in flight per socket. Panics if one is.
    fn send(&mut self, socket: SocketId, buffer: Vec<u8>);

    /// Stops receiving on a socket until `resume`: back pressure.
    fn pause(&mut self, socket: SocketId);

    /// Receives again.
    fn resume(&mut self, socket: SocketId);

    /// Closes; [`Event::Closed`] follows when the kernel names it no more.
    fn close(&mut self, socket: SocketId);

    /// Submits what is queued and waits as told: the one system call of a turn.
    fn enter(&mut self, wait: Wait);

    /// Hands over the completions that `enter` brought, at most `REAP_MAX` a call; returns how many.
    fn reap(&mut self, each: &mut dyn FnMut(Event<'_>)) -> usize;

    /// `CLOCK_MONOTONIC_RAW`, read once per turn by the loop.
    fn now(&self) -> Mono;

    /// Milliseconds since 1970, for stamps; read once per turn.
    fn wall_ms(&self) -> u64;
}
