//! Requests that came to the wrong core of a node, as `net/server` has them: the mailroom is the one that ships, its mail
//! takes a while.

use shard::Ticket;
use transport::{Asked, Incoming, Returned};
use wire::{ReplyStatus, RequestKind};

use super::World;
use super::node::{Core, Mail};
use super::serve::ask;
use crate::draw::{Stream, log_between, prng};
use crate::heap::Due;

/// In the connection of a ticket: another core's request, by its place in the mailroom.
const FORWARDED: u64 = 1 << 62;

/// The place in the mailroom of another core's request; `None` for all others.
pub(super) fn place_of(ticket: Ticket) -> Option<u32> {
    (ticket.connection >> 32 == FORWARDED >> 32).then_some(ticket.connection as u32)
}

impl World<'_> {
    /// What was put into the mailboxes of other cores of the node is there after a while.
    pub(super) fn send_parcels(&mut self, seat: usize, core: usize, cell: &mut Core, at: u64) {
        if !self.shape.has_strays {
            return;
        }
        cell.mailroom.publish();
        let entity = (seat * super::CORES_MAX + core) as u64;
        let life = self.nodes[seat].life;
        let mut dice = prng(self.seed, Stream::Mailbox, entity, cell.turns ^ u64::from(life) << 40);
        for other in 0..self.nodes[seat].cores.len() {
            let Some(Some(to)) = self.nodes[seat].cores.get_mut(other) else { continue };
            if to.doorbell.has_mail() && !std::mem::replace(&mut to.has_parcels_due, true) {
                let after = log_between(&mut dice, 1_000, 500_000);
                self.push(at + after, Due::Parcels { seat: seat as u8, core: other as u8, life });
            }
        }
    }

    pub(super) fn bring_parcels(&mut self, seat: u8, core: u8, life: u32) {
        let (seat, core) = (seat as usize, core as usize);
        if self.nodes[seat].life != life {
            return;
        }
        if let Some(Some(cell)) = self.nodes[seat].cores.get_mut(core) {
            cell.has_parcels_due = false;
            self.mail(seat, core, Mail::Parcels);
        }
    }

    /// Requests go to the shard, answers wait for the end of the turn.
    pub(super) fn read_parcels(&mut self, cell: &mut Core) {
        let Core { mailroom, shard, touched, .. } = cell;
        let (cores, groups) = (u32::from(self.shape.cores), self.shape.groups);
        let mut refused = Vec::new();
        mailroom.collect();
        mailroom.serve(|Incoming { place, kind, group, body }| {
            if group.0 < groups {
                *touched |= 1 << (group.0 / cores).min(63);
            }
            let ticket = Ticket { connection: FORWARDED | u64::from(place), request: u64::from(place), kind };
            let kind = RequestKind::from_u8(kind).expect("only commands and queries are forwarded");
            if let Err(error) = ask(shard, ticket, kind, group, body) {
                refused.push((place, error.to_string()));
            }
        });
        for (place, text) in refused {
            mailroom.answer(place, ReplyStatus::Malformed, None, |out| out.extend_from_slice(text.as_bytes()));
        }
    }

    /// Answers that came home go to their connections.
    pub(super) fn deliver_parcels(&mut self, cell: &mut Core) {
        cell.mailroom.deliver(|Returned { asked, status, note, body, .. }| {
            let Asked { connection, request, kind, group, .. } = *asked;
            self.counts.forwarded += 1;
            self.write_reply((connection, request, kind), *status, group, **note, |out| out.extend_from_slice(body));
        });
    }
}
