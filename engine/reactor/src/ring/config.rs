//! Sizes that a ring is made with, and what it counts.
#![forbid(unsafe_code)]

use base::limits::{RECV_BUFFER_BYTES, RECV_BUFFERS, RING_COMPLETIONS, RING_ENTRIES, SOCKETS_MAX};

/// Sizes of a ring; the default is right for a core of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RingConfig {
    /// Submission queue; a power of two.
    pub entries: u32,
    /// Completion queue; a power of two, at least `entries`. Made smaller if locked memory is short.
    pub completions: u32,
    /// Receive buffers; a power of two, at most 32,768.
    pub buffers: u16,
    /// Bytes of a receive buffer, and so the most that one [`Event::Received`] brings.
    pub buffer_bytes: u32,
    /// Connections, beyond which none is accepted.
    pub sockets_max: u32,
    /// Processors for the kernel's workers of this ring (from [`crate::pin::pin_to`]); empty leaves them where the
    /// core's thread may run.
    pub worker_cpus: Vec<usize>,
}

impl Default for RingConfig {
    fn default() -> Self {
        RingConfig {
            entries: RING_ENTRIES,
            completions: RING_COMPLETIONS,
            buffers: RECV_BUFFERS,
            buffer_bytes: RECV_BUFFER_BYTES,
            sockets_max: SOCKETS_MAX,
            worker_cpus: Vec::new(),
        }
    }
}

/// What a ring has done since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// System calls.
    pub enters: u64,
    /// Of them: only to empty a full submission queue.
    pub enters_full: u64,
    /// Completions.
    pub completions: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Connections refused because all slots were taken.
    pub refused: u64,
    /// Completions of receives with bytes.
    pub recvs: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Buffers sent.
    pub sends: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Log writes done.
    pub writes: u64,
    /// Log syncs done.
    pub syncs: u64,
    /// Doorbells heard.
    pub doorbells: u64,
    /// Enters after which the completion queue had overflowed. Above zero a benchmark is invalid; nothing is lost.
    pub overflows: u64,
    /// Receives that found no buffer.
    pub no_buffers: u64,
    /// Completions that met no slot of theirs; a defect if above zero.
    pub late: u64,
}
