//! Connections: greeting them, writing what waits, reading what came, giving up the silent and the lost.

use base::limits::CONNECTION_REQUESTS_MAX;
use base::{Acct, GroupId, Mono, Nsid, Sequence, SessionId};
use meta::Command;
use wire::client::{Watch, put_node};
use wire::explain::EXPLAIN;
use wire::{Frame, FrameReader, ItemTooLarge, RequestKind};

use super::{Action, Core, LinkId};
use crate::codec;
use crate::error::ClientError;
use crate::link::{Link, LinkState};
use crate::operation::Operation;
use crate::request::{Place, Request, Work};
use crate::session::Session;

impl Core {
    /// Writes what waits into frames, one per connection.
    pub(super) fn send(&mut self, now: Mono) {
        let mut too_large: Vec<(u64, ItemTooLarge)> = Vec::new();
        for (name, link) in self.links.iter_mut().filter(|(_, link)| link.state == LinkState::Ready) {
            while link.in_flight < CONNECTION_REQUESTS_MAX
                && let Some(id) = link.waiting.pop_front()
            {
                let Some(request) = self.requests.get_mut(&id) else { continue };
                let session = request.group.and_then(|group| self.sessions.get(&group));
                let ack_below = session.zip(request.session).map_or(0, |(session, (id, _))| session.ack_below(id));
                let register = (self.options.session_acct, session_nonce(self.nonce, session));
                let is_asked = self.options.explain || request.is_explained;
                let is_explained = is_asked && request.may_be_explained();
                let flags = if is_explained { EXPLAIN } else { 0 };
                request.sent = now;
                let written = link.writer.push_request(
                    id,
                    request.kind() as u8,
                    flags,
                    request.group.unwrap_or_default(),
                    |out| put_body(out, request, register, ack_below),
                );
                if link.in_flight == 0 {
                    link.heard = now;
                    link.is_pinged = false;
                }
                // One that is too large is counted too; it ends below, which takes it out again.
                request.place = Place::InFlight(*name);
                link.in_flight += 1;
                too_large.extend(written.err().map(|error| (id, error)));
            }
            if !link.writer.is_empty() {
                let bytes = link.writer.take(Vec::new());
                self.actions.push_back(Action::Send { link: *name, bytes });
            }
        }
        for (id, ItemTooLarge { bytes, max }) in too_large {
            self.complete(id, Err(ClientError::TooLarge { bytes, max }));
        }
    }

    /// Pings the silent and gives up those that stay so.
    pub(super) fn check_links(&mut self, now: Mono) {
        let due = self.links.iter().filter(|(_, link)| link.is_due(&self.options, now));
        let due: Vec<LinkId> = due.map(|(name, _)| *name).collect();
        for name in due {
            let link = self.links.get_mut(&name).expect("it was found above");
            base::mark::hit!("client.link.not_connected", link.state == LinkState::Connecting);
            base::mark::hit!("client.link.no_hello", link.state == LinkState::Greeting);
            base::mark::hit!("client.link.silent", link.state == LinkState::Ready && link.is_pinged);
            let reason = match link.state {
                LinkState::Connecting => "no connection in time",
                LinkState::Greeting => "connected, but no hello in time; is it a client port of a metaserver?",
                LinkState::Ready if link.is_pinged => "connected, but silent",
                LinkState::Ready => {
                    base::mark::hit!("client.link.pinged");
                    link.is_pinged = true;
                    let ping = self.next_request;
                    self.next_request += 1;
                    let kind = RequestKind::Ping as u8;
                    link.writer.push_request(ping, kind, 0, GroupId(0), |_| {}).expect("an empty body fits any frame");
                    continue;
                }
            };
            self.close(name, reason, now);
        }
    }

    pub(super) fn close(&mut self, link: LinkId, reason: &str, now: Mono) {
        self.actions.push_back(Action::Close { link });
        self.handle_closed(link, reason, now);
    }

    pub(super) fn read_hello(&mut self, link: LinkId) -> Result<(), String> {
        let Some(entry) = self.links.get_mut(&link) else { return Ok(()) };
        let Some(hello) = entry.reader.next_server_hello().map_err(|error| error.to_string())? else { return Ok(()) };
        if *self.cluster.get_or_insert(hello.cluster_id) != hello.cluster_id {
            return Err(format!("belongs to another cluster, {}", hello.cluster_id));
        }
        if let Some(expected) = entry.node
            && expected != hello.node_id
        {
            base::mark::hit!("client.link.another_node");
            return Err(format!("is node {}, not node {expected}", hello.node_id));
        }
        entry.node = Some(hello.node_id);
        entry.state = LinkState::Ready;
        self.routes.handle_success(&entry.address);
        Ok(())
    }

    pub(super) fn read_frames(&mut self, link: LinkId, reader: &mut FrameReader, now: Mono) -> Result<(), String> {
        while let Some(bytes) = reader.next_frame().map_err(|error| error.to_string())? {
            let frame = Frame::parse(bytes).map_err(|error| error.to_string())?;
            for item in frame.replies().map_err(|error| error.to_string())? {
                if item.request_id == 0 {
                    return Err(format!("closed by the server: {}", item.text()));
                }
                self.handle_reply(link, &item, now);
            }
        }
        Ok(())
    }

    /// A request's connection is gone.
    pub(super) fn handle_lost(&mut self, id: u64, was_sent: bool, lost: &Link, reason: &str, now: Mono) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        // Its connection is no more, so nothing is to be taken out of it.
        request.place = Place::Ready;
        request.tried.note(&lost.address, reason);
        request.in_doubt |= was_sent && request.is_command();
        base::mark::hit!("client.request.in_doubt", request.in_doubt);
        let group = request.group;
        if let Some(address) = request.pinned() {
            let error = ClientError::Unreachable { address: address.to_owned(), reason: reason.to_owned() };
            return self.complete(id, Err(error));
        }
        if was_sent && request.is_once_only() {
            base::mark::hit!("client.request.once_only_lost");
            let error = ClientError::Unknown { reason: reason.to_owned(), tried: request.tried.clone() };
            return self.complete(id, Err(error));
        }
        if request.is_watch() && request.deadline == Mono::MAX {
            request.deadline = now + self.options.deadline;
            self.deadlines.insert(request.deadline, id);
        }
        match group {
            Some(group) => self.routes.forget_leader(group, lost.node),
            None => {
                base::mark::hit!("client.map.lost");
                self.map_tried.note(&lost.address, reason);
                self.routes.rotate_any();
            }
        }
        self.retry(id, now);
    }
}

/// The nonce of a group's next session: the client's own, unless sessions were used up.
fn session_nonce(mut nonce: [u8; 16], session: Option<&Session>) -> [u8; 16] {
    let ordinal = session.map_or(0, |session| session.ordinal);
    nonce.iter_mut().zip(ordinal.to_le_bytes()).for_each(|(byte, ordinal)| *byte ^= ordinal);
    nonce
}

/// Appends the body of a request; `register` is account and nonce of a session to be opened.
fn put_body(out: &mut Vec<u8>, request: &Request, register: (Acct, [u8; 16]), ack_below: u64) {
    match &request.work {
        Work::Operation(Operation::Command { acct, nsid, command }) => {
            let place = request.session.expect("a command is routed only with a place in a session");
            codec::put_command(out, (*acct, *nsid), place, ack_below, command);
        }
        Work::Register(_) => {
            let (acct, nonce) = register;
            let none = (SessionId(0), Sequence(0));
            codec::put_command(out, (acct, Nsid(0)), none, 0, &Command::Register { nonce });
        }
        Work::Operation(Operation::Query { acct, nsid, query }) => codec::put_query(out, *acct, *nsid, query),
        Work::Operation(Operation::Watch { acct, nsid, since }) => {
            Watch { nsid: *nsid, acct: *acct, since: *since }.encode(out);
        }
        Work::Operation(Operation::NullCommand { bytes, .. }) => out.extend_from_slice(bytes),
        Work::Operation(Operation::ChangeMembers { change, .. }) => change.encode(out),
        Work::Operation(Operation::TransferLeader { target, .. }) => put_node(out, Some(*target)),
        Work::Map
        | Work::Operation(
            Operation::ClusterMap { .. }
            | Operation::Status { .. }
            | Operation::BalanceLeaders { .. }
            | Operation::NullCount { .. },
        ) => {}
    }
}
