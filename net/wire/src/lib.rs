//! The codec: bytes to messages and back, nothing else.
//!
//! Two languages share one framing. *Client frames* ([`frame`], [`client`]) carry requests and replies of the native RPC,
//! for metaservers and block servers alike; *peer frames* ([`peer`]) carry Raft between the cores of two nodes. Every link
//! begins with a hello ([`hello`], [`peer_hello`]). [`FrameReader`] cuts a byte stream into frames.
//!
//! Beside them, [`memcache`]: the memcached protocol, as far as it is served.
//!
//! Bytes from outside become types or an error, never a panic; decoders borrow; encoders reuse their buffers.
//! Formats: docs/design/wire.md, and docs/design/raft.md 15 for peer frames.

pub mod block;
pub mod client;
pub mod cluster;
pub mod explain;
pub mod frame;
pub mod hello;
pub mod memcache;
pub mod notify;
pub mod peer;
pub mod peer_hello;
pub mod peer_writer;
pub mod reader;
pub mod status;

pub use client::{ReplyItem, ReplyStatus, RequestItem, RequestKind};
pub use cluster::{ClusterMap, NodeAddress};
pub use explain::{Explanation, StageTime};
pub use frame::{Frame, FrameClass, FrameError, FrameWriter, ItemTooLarge};
pub use hello::{ClientHello, HelloError, ServerHello};
pub use peer::{PeerFrame, PeerFrameError, PeerKind, PeerMessage, RestPair, SnapshotAck, SnapshotPart, StateHash};
pub use peer_hello::{PeerHello, peer_feature};
pub use peer_writer::{FrameFull, PeerFrameWriter};
pub use raft::Health;
pub use reader::{FrameReader, Link, frame_bytes};
pub use status::{CoreCounters, CoreStatus, GroupAlarm, GroupRole, GroupStatus};

/// The version of both languages that this code speaks.
pub const WIRE_VERSION: u16 = 1;
