//! The memcached port of one core (docs/design/memcache.md): connections that speak memcached's protocol, whose keys are
//! answered from the read cache, or looked up at the core that has them.
//!
//! ```text
//!  bytes ─▶ all keys cached? ─▶ replies
//!    └────▶ requests ─▶ commands, in order ─▶ lookups ─▶ this core's shard, or another's by mailbox
//!                          ▲      │                                   │
//!        slow ones hold ───┘      └──▶ replies, in order ◀── answers ─┘
//! ```
//! Everything is bounded: commands and lookups of a connection, bytes that wait for it. Memory of commands and buffers is
//! used again.

mod command;
mod connection;
mod port;
mod quick;
mod stats;

pub(crate) use connection::Answered;
pub(crate) use port::{Memcache, Settings};
pub use quick::HitPath;
pub use stats::MemcacheStats;

use base::stages::Stamp;
use base::{CoreId, GroupId, Mono, Nsid};
use shard::{Status, Ticket};
use transport::Asked;
use wire::ReplyStatus;

use crate::core::{Hands, NodeShard};
use crate::forward::Rooms;
use crate::near_cache::NearCache;

/// In the connection of a ticket: the request is one of this port's. Names of connections are below, other cores' requests
/// and the core's own above.
const PORT: u64 = 1 << 61;
/// The kind of a lookup that goes to another core. No kind of the wire: what a client sends under it goes nowhere.
pub(crate) const LOOKUP: u8 = 0xF1;

/// Is it a request of this port?
pub(crate) fn is_ours(connection: u64) -> bool {
    connection >> 61 == PORT >> 61
}

/// What lookups meet: this core's shard, or the way to another.
pub(crate) struct Reach<'a> {
    pub shard: &'a mut NodeShard,
    pub mailroom: &'a mut Rooms,
    /// What is cached of all cores, answered here.
    pub near: Option<&'a mut NearCache>,
    pub core: CoreId,
    pub begun: Stamp,
}

impl Reach<'_> {
    /// What is cached of a path, by the time of this turn.
    fn cached(&mut self, now: Mono, group: GroupId, nsid: Nsid, path: &str) -> Option<cache::Hit<'_>> {
        self.near.as_mut()?.get(now, group, (quick::TABLE, nsid), path)
    }

    /// Looks up what is at a path. False: nothing was begun, because a bound is reached.
    fn look_up(&mut self, (connection, request): (u64, u64), group: GroupId, nsid: Nsid, path: &str) -> bool {
        let ticket = Ticket { connection: PORT | connection, request, kind: LOOKUP };
        let owner = self.shard.core_of(group);
        if owner == self.core {
            self.shard.handle_metadata(ticket, group, nsid, path);
            return true;
        }
        let mut body = [0; 8 + std::mem::size_of::<wire::memcache::PathBuffer>()];
        body[..8].copy_from_slice(&nsid.0.to_le_bytes());
        body[8..8 + path.len()].copy_from_slice(path.as_bytes());
        let asked = Asked { connection: ticket.connection, request, kind: LOOKUP, group, begun: self.begun };
        self.mailroom.forward(owner, asked, &body[..8 + path.len()])
    }
}

/// A lookup of another core, out of the body that [`Reach::look_up`] made.
pub(crate) fn serve_lookup(shard: &mut NodeShard, ticket: Ticket, group: GroupId, body: &[u8]) {
    let (nsid, path) = body.split_at(8);
    let nsid = Nsid(u64::from_le_bytes(nsid.try_into().expect("eight bytes")));
    shard.handle_metadata(ticket, group, nsid, std::str::from_utf8(path).expect("a path of this node's port is text"));
}

impl Hands {
    /// The port, and what its lookups meet.
    pub(crate) fn port(&mut self) -> (&mut Memcache, Reach<'_>) {
        let begun = self.profile.begun();
        let Hands { memcache, shard, mailroom, near, id, .. } = self;
        (memcache, Reach { shard, mailroom, near: near.as_mut(), core: *id, begun })
    }
}

/// What the shard of this core has answered.
pub(crate) fn answered<'a>(status: Status, body: &'a [u8]) -> Answered<'a> {
    match status {
        Status::Ok => Answered::Body(body),
        Status::NotLeader(hint) => Answered::NotLeader(hint),
        Status::Overloaded => Answered::Overloaded,
        Status::Unavailable | Status::Malformed | Status::Refused | Status::Unsupported => Answered::NotReady,
    }
}

/// What another core has answered.
pub(crate) fn answered_by_mail<'a>(status: ReplyStatus, body: &'a [u8]) -> Answered<'a> {
    match status {
        ReplyStatus::Ok => Answered::Body(body),
        ReplyStatus::NotLeader => Answered::NotLeader(wire::client::parse_node(body).unwrap_or_default()),
        ReplyStatus::Overloaded => Answered::Overloaded,
        _ => Answered::NotReady,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_of_this_port_are_ours() {
        // The largest name of a connection has 24 bits of a generation above its slot's 32.
        for connection in [0, 1, (1 << 56) - 1] {
            assert!(is_ours(PORT | connection) && !is_ours(connection));
        }
        for other in [1 << 62, u64::MAX, u64::MAX - 1] {
            assert!(!is_ours(other), "other cores' requests and the core's own");
        }
    }

    #[test]
    fn no_request_of_the_wire_has_the_kind_of_a_lookup() {
        assert_eq!(wire::RequestKind::from_u8(LOOKUP), None);
    }
}
