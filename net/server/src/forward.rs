//! A request that came to the wrong core of this node: to the right one, and its answer back to the connection.
//!
//! The mailroom (`transport`) carries both. The owner's shard knows such a request by a ticket that names its place in the
//! mailroom. The answer brings the owner's stamps with it, so that the request is timed where its connection is, from its
//! bytes to its reply: the way there counts as `decode`, the way back as `reply` (docs/design/profile.md).

use base::stages::{ON, OpClass, Stage};
use shard::{Reply, Ticket, Timing};
use transport::{Asked, Incoming, Mailroom, Returned};
use wire::client::put_node;
use wire::explain::MAILBOX_HOP;
use wire::{ReplyStatus, RequestKind};

use crate::core::{Hands, count_reply, put_body, reply_status, take_explain};
use crate::memcache;
use crate::requests::{self, Ask};

/// One core's mailroom; an answer brings the time of what was done.
pub(crate) type Rooms = Mailroom<Option<(Timing, OpClass)>>;

/// In the connection of a ticket: the request is another core's, and the low half is its place in the mailroom. Names of
/// connections are below, the core's own requests above.
const FORWARDED: u64 = 1 << 62;

fn ticket(place: u32, kind: u8) -> Ticket {
    Ticket { connection: FORWARDED | u64::from(place), request: u64::from(place), kind }
}

/// The place in the mailroom of another core's request; `None` for all others.
pub(crate) fn place_of(ticket: Ticket) -> Option<u32> {
    (ticket.connection >> 32 == FORWARDED >> 32).then_some(ticket.connection as u32)
}

/// Sends the shard's answer to another core's request to its home.
pub(crate) fn send_home(mailroom: &mut Rooms, place: u32, reply: &Reply<'_>, timings: &[Timing]) {
    let note = reply.timing.map(|(at, class)| (timings[at as usize], class));
    mailroom.answer(place, reply_status(reply.status), note, |out| put_body(reply, out));
}

impl Hands {
    /// The other cores' requests go to the shard with those of this core's connections.
    pub(crate) fn serve_forwarded(&mut self) {
        let Hands { mailroom, shard, asks, now, .. } = self;
        mailroom.serve(|Incoming { place, kind, group, body }| {
            let ticket = ticket(place, kind);
            if kind == memcache::LOOKUP {
                return memcache::serve_lookup(shard, ticket, group, body);
            }
            match RequestKind::from_u8(kind) {
                Some(kind) => requests::serve(shard, asks, ticket, kind, (group, body), *now),
                None => asks.push(Ask::Unsupported(ticket, group)),
            }
        });
    }

    /// Writes the answers that came home into their connections' buffers. A connection that is gone wants none.
    pub(crate) fn deliver_forwarded(&mut self) {
        let Hands { mailroom, clients, counters, profile, explains, node, has_replied, memcache, .. } = self;
        mailroom.deliver(|returned| {
            let Returned { asked: Asked { connection, request, kind, group, begun }, core, status, note, body } =
                returned;
            let (connection, status) = (*connection, *status);
            if memcache::is_ours(connection) {
                return memcache.handle_answer(connection, *request, memcache::answered_by_mail(status, body));
            }
            count_reply(counters, status, *kind);
            let is_explained = !explains.is_empty() && take_explain(explains, connection, *request);
            if !clients.has_connection(connection) {
                return profile.note_lost();
            }
            *has_replied = true;
            let write = |out: &mut Vec<u8>| out.extend_from_slice(body);
            let Some((mut timing, class)) = **note else {
                return clients.reply(connection, *request, *kind, status, *group, true, write);
            };
            timing.slot = timing.slot.begun_earlier(*begun);
            if is_explained {
                let mut till_now = timing;
                till_now.slot.mark(Stage::Reply, profile.last());
                let mut explanation = profile.explain(class, &till_now, *core, *node);
                explanation.flags |= MAILBOX_HOP;
                clients.reply_explained((connection, *request, *kind), status, *group, &explanation, write);
            } else {
                clients.reply(connection, *request, *kind, status, *group, true, write);
            }
            if ON {
                clients.mark(connection, profile.name_forwarded(class, &timing));
            }
        });
    }

    /// The core is about to stop: whoever waits for another core's answer is told so. What was not sent was not done.
    pub(crate) fn refuse_forwarded(&mut self) {
        let Hands { mailroom, clients, memcache, .. } = self;
        mailroom.stop(|asked, is_sent| {
            let Asked { connection, request, kind, group, .. } = *asked;
            let status = if is_sent { ReplyStatus::Unavailable } else { ReplyStatus::NotLeader };
            if memcache::is_ours(connection) {
                return memcache.handle_answer(connection, request, memcache::answered_by_mail(status, &[]));
            }
            clients.reply(connection, request, kind, status, group, true, |out| {
                if !is_sent {
                    put_node(out, None);
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::INTERNAL;

    #[test]
    fn only_another_cores_requests_name_a_place() {
        for place in [0, 1, u32::MAX] {
            assert_eq!(place_of(ticket(place, 1)), Some(place));
        }
        // The largest name of a connection has 24 bits of a generation above its slot's 32.
        for connection in [0, (1 << 56) - 1, INTERNAL, INTERNAL - 1] {
            assert_eq!(place_of(Ticket { connection, request: 0, kind: 1 }), None);
        }
    }
}
