//! What peers speak, written by hand: bytes in, bytes out, no socket and no clock.
//!
//! ```text
//! protobuf ─▶ etcd ─▶ http2 ─▶ bytes       etcd's gRPC: messages, in HTTP/2 frames, many streams a connection
//! resp ─▶ bytes    memtext ─▶ bytes    jute ─▶ bytes       Redis and Valkey; memcached; ZooKeeper
//! postgres ─▶ bytes    nats ─▶ bytes                       PostgreSQL; NATS
//! ```

pub mod etcd;
pub mod http2;
pub mod jute;
pub mod memtext;
pub mod nats;
pub mod postgres;
pub mod protobuf;
pub mod resp;

/// Why bytes of a peer are not understood, or why it said no for good. The connection is of no use any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WireError(pub String);

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WireError {}

/// What a codec takes of bytes that come one by one, and how many bytes those were.
#[cfg(test)]
fn taken_one_by_one<'b, M>(
    bytes: &'b [u8],
    take: impl Fn(&'b [u8]) -> Result<Option<(M, usize)>, WireError>,
) -> (Vec<M>, usize) {
    let (mut messages, mut at) = (Vec::new(), 0);
    for until in 0..=bytes.len() {
        while let Some((message, taken)) = take(&bytes[at..until]).expect("understood") {
            messages.push(message);
            at += taken;
        }
    }
    (messages, at)
}
