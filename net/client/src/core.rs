//! The client without I/O: operations and bytes in, actions out; a driver brings sockets and time.
//!
//! ```text
//! submit ──▶ ready ──▶ (map known?) ──▶ (session open, room in it?) ──▶ link's queue ──▶ in flight ──▶ complete
//!              ▲            │ no              │ no                                            │
//!              └── delay ◀──┴─────────────────┴──── NotLeader, Overloaded, connection lost ◀──┘
//! ```
//! Per turn a driver hands in what happened, calls [`Core::advance`], and carries out [`Core::poll_action`] until `None`:
//! all requests of one turn and connection leave in one frame. A command keeps its (session, sequence) over all tries,
//! so that it is done once however often it is sent (docs/design/metadata.md 10).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use base::limits::{CLIENT_REQUESTS_MAX, CONNECTION_REQUESTS_MAX};
use base::mono::Span;
use base::{Acct, ClusterId, GroupId, Jid, Mono, NodeId, Nsid, Prng, Sequence, SessionId};
use meta::{Command, Outcome};
use wire::client::{Watch, parse_jid, put_node};
use wire::{ClientHello, ClusterMap, CoreStatus, Frame, ItemTooLarge, ReplyItem, ReplyStatus, RequestKind};

use crate::backoff::backoff;
use crate::codec;
use crate::error::{ClientError, Tried};
use crate::link::{Link, LinkState};
use crate::operation::{ClientOptions, Operation, Reply, Seed, Ticket};
use crate::request::{Place, Request, Work};
use crate::routes::{Route, Routes};
use crate::session::Session;

/// Names a connection; never used twice by one core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// What a driver must do.
#[derive(Debug)]
pub enum Action {
    /// Make a connection; [`Core::handle_connected`] or [`Core::handle_closed`] follows.
    Connect {
        /// Its name from now on.
        link: LinkId,
        /// `host:port`.
        address: String,
    },
    /// Send bytes on a connection, in order.
    Send {
        /// Which.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close a connection; nothing of it is handed in any more.
    Close {
        /// Which.
        link: LinkId,
    },
    /// An operation has ended.
    Complete {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<Reply, ClientError>,
    },
    /// A Watch saw the journal's head pass the last one told.
    Head {
        /// Which Watch.
        ticket: Ticket,
        /// The head.
        head: Jid,
    },
}

/// The client's whole protocol. See the file's head.
pub struct Core {
    options: ClientOptions,
    nonce: [u8; 16],
    prng: Prng,
    routes: Routes,
    cluster: Option<ClusterId>,
    sessions: BTreeMap<GroupId, Session>,
    requests: HashMap<u64, Request>,
    ready: VecDeque<u64>,
    links: BTreeMap<LinkId, Link>,
    deadlines: BTreeSet<(Mono, u64)>,
    delays: BTreeSet<(Mono, u64)>,
    actions: VecDeque<Action>,
    next_request: u64,
    next_link: u64,
    /// The core's own ClusterMap request, while there is one.
    map_request: Option<u64>,
    /// What the search for a map met last.
    map_tried: Tried,
    map_seen: Mono,
}

/// A map is asked for again at most this often.
const MAP_REFRESH: Span = Span::from_ms(250);

impl Core {
    /// A core that finds its cluster through `targets`, each the `host:port` of a node's shared client port.
    #[must_use]
    pub fn new(targets: Vec<String>, options: ClientOptions, seed: Seed) -> Core {
        Core {
            options,
            nonce: seed.nonce,
            prng: Prng::new(seed.jitter),
            routes: Routes::new(targets),
            cluster: None,
            sessions: BTreeMap::new(),
            requests: HashMap::new(),
            ready: VecDeque::new(),
            links: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            delays: BTreeSet::new(),
            actions: VecDeque::new(),
            next_request: 1,
            next_link: 1,
            map_request: None,
            map_tried: Tried::default(),
            map_seen: Mono(0),
        }
    }

    /// Takes an operation; [`Action::Complete`] follows within `within`, for a Watch only if it cannot be kept up.
    /// Commands in flight together may be executed in any order.
    pub fn submit(&mut self, operation: Operation, within: Span, now: Mono) -> Ticket {
        let ticket = Ticket(self.next_request);
        if self.requests.len() >= CLIENT_REQUESTS_MAX {
            self.next_request += 1;
            let result = Err(ClientError::Overloaded { max: CLIENT_REQUESTS_MAX });
            self.actions.push_back(Action::Complete { ticket, result });
            return ticket;
        }
        Ticket(self.add(Request::of_caller(operation, within, now)))
    }

    /// Forgets an operation; nothing more is heard of it. A command may still be done.
    pub fn cancel(&mut self, ticket: Ticket) {
        let link = match self.requests.get(&ticket.0).map(|request| request.place) {
            Some(Place::InFlight(link) | Place::Queued(link)) => Some(link),
            _ => None,
        };
        self.remove(ticket.0);
        // The server ends the watches of a connection with it.
        if let Some(link) = link
            && self.links.get(&link).is_some_and(|entry| entry.is_watch && entry.is_idle())
        {
            self.links.remove(&link);
            self.actions.push_back(Action::Close { link });
        }
    }

    /// The connection is up. False when it is not wanted any more: close it.
    #[must_use]
    pub fn handle_connected(&mut self, link: LinkId, now: Mono) -> bool {
        let hello = ClientHello::new(self.options.session_acct, self.nonce);
        let Some(entry) = self.links.get_mut(&link) else { return false };
        entry.state = LinkState::Greeting;
        entry.opened = now;
        self.actions.push_back(Action::Send { link, bytes: hello.encode().to_vec() });
        true
    }

    /// Bytes came. Those of a connection that is closed are ignored.
    pub fn handle_received(&mut self, link: LinkId, bytes: &[u8], now: Mono) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        entry.heard = now;
        entry.is_pinged = false;
        entry.reader.push(bytes);
        if entry.state != LinkState::Ready
            && let Err(reason) = self.read_hello(link)
        {
            self.close(link, &reason, now);
            return;
        }
        let Some(entry) = self.links.get_mut(&link) else { return };
        if entry.state != LinkState::Ready {
            return;
        }
        // The reader is taken out, so that replies can be handled while they are borrowed from it.
        let mut reader = std::mem::replace(&mut entry.reader, Link::empty_reader());
        let read = self.read_frames(link, &mut reader, now);
        match (read, self.links.get_mut(&link)) {
            (Ok(()), Some(entry)) => entry.reader = reader,
            (Err(reason), Some(_)) => self.close(link, &reason, now),
            (_, None) => {}
        }
    }

    /// The connection could not be made, or is lost. `reason` is for the caller's eyes.
    pub fn handle_closed(&mut self, link: LinkId, reason: &str, now: Mono) {
        let Some(lost) = self.links.remove(&link) else { return };
        self.routes.handle_failure(&lost.address, now, &mut self.prng);
        let sent = lost.in_flight.iter().map(|id| (*id, true));
        let unsent = lost.waiting.iter().map(|id| (*id, false));
        let all: BTreeMap<u64, bool> = unsent.chain(sent).collect();
        for (id, was_sent) in all {
            self.handle_lost(id, was_sent, &lost, reason, now);
        }
    }

    /// Does what time and the events since the last call ask for. Call it once per turn and at [`Core::next_deadline`].
    pub fn advance(&mut self, now: Mono) {
        self.check_links(now);
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.time_out(id);
        }
        while let Some((until, id)) = self.delays.first().copied()
            && until <= now
        {
            self.delays.remove(&(until, id));
            self.make_ready(id);
        }
        while let Some(id) = self.ready.pop_front() {
            self.route(id, now);
        }
        self.send(now);
    }

    /// What to do next; `None` until something happens.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Core::advance`] must be called if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let links = self.links.values().filter_map(|link| link.deadline(&self.options));
        let sets = [&self.deadlines, &self.delays].into_iter().filter_map(|set| set.first().map(|(time, _)| *time));
        let ready = (!self.ready.is_empty()).then_some(Mono(0));
        links.chain(sets).chain(ready).min()
    }

    /// The cluster map, once there is one.
    #[must_use]
    pub fn cluster_map(&self) -> Option<&ClusterMap> {
        self.routes.map()
    }

    // Requests: birth, waiting, death.

    fn add(&mut self, request: Request) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        if request.deadline < Mono::MAX {
            self.deadlines.insert((request.deadline, id));
        }
        self.requests.insert(id, request);
        self.ready.push_back(id);
        id
    }

    /// Takes a request out of everywhere. Its sequence counts as answered: nobody waits for it any more, and once
    /// `ack_below` has passed it, a late copy of it is dropped.
    fn remove(&mut self, id: u64) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.deadlines.remove(&(request.deadline, id));
        match request.place {
            Place::Delayed(until) => {
                self.delays.remove(&(until, id));
            }
            Place::Queued(link) => {
                if let Some(entry) = self.links.get_mut(&link) {
                    entry.waiting.retain(|waiting| *waiting != id);
                }
            }
            Place::InFlight(link) => {
                if let Some(entry) = self.links.get_mut(&link) {
                    entry.in_flight.remove(&id);
                }
            }
            Place::Ready | Place::NoMap | Place::Session => {}
        }
        if self.map_request == Some(id) {
            self.map_request = None;
        }
        if let (Some((session, sequence)), Some(group)) = (request.session, request.group)
            && let Some(entry) = self.sessions.get_mut(&group)
        {
            entry.handle_answered(session, sequence);
            self.wake_session(group);
        }
        Some(request)
    }

    fn complete(&mut self, id: u64, result: Result<Reply, ClientError>) {
        let Some(request) = self.remove(id) else { return };
        match request.work {
            Work::Operation(_) => self.actions.push_back(Action::Complete { ticket: Ticket(id), result }),
            Work::Map => {}
            Work::Register(group) => {
                let Some(session) = self.sessions.get_mut(&group) else { return };
                session.register = None;
                let error = result.err().unwrap_or(ClientError::Undecodable { what: "a registration" });
                let waiting: Vec<u64> = session.take_waiting().collect();
                waiting.into_iter().for_each(|id| self.complete(id, Err(error.clone())));
            }
        }
    }

    fn time_out(&mut self, id: u64) {
        let Some(request) = self.requests.get(&id) else { return };
        let mut tried = request.tried.clone();
        if let Place::InFlight(link) | Place::Queued(link) = request.place
            && let Some(link) = self.links.get(&link)
        {
            let reason = if link.state == LinkState::Ready { "no answer" } else { "no connection yet" };
            tried.note(&link.address, reason);
        }
        let register = request.group.and_then(|group| self.sessions.get(&group)?.register);
        if let Some(register) = register.and_then(|id| self.requests.get(&id)) {
            tried.merge(&register.tried);
        }
        tried.merge(&self.map_tried);
        let is_sent = matches!(request.place, Place::InFlight(_));
        let in_doubt = request.in_doubt || is_sent && (request.is_command() || request.is_once_only());
        let error = if in_doubt {
            ClientError::Unknown { reason: "its time is over".to_owned(), tried }
        } else {
            ClientError::TimedOut { after_ms: request.within.as_ms(), tried }
        };
        self.complete(id, Err(error));
    }

    fn make_ready(&mut self, id: u64) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.place = Place::Ready;
            self.ready.push_back(id);
        }
    }

    fn delay(&mut self, id: u64, until: Mono) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.place = Place::Delayed(until);
            self.delays.insert((until, id));
        }
    }

    /// Tries again after a wait that grows with the tries.
    fn retry(&mut self, id: u64, now: Mono) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        // The core's own requests live as long as somebody waits for them.
        let is_needed = match request.work {
            Work::Operation(_) => true,
            Work::Map => self.requests.len() > 1,
            Work::Register(group) => {
                let waiting = self.sessions.get(&group).map(Session::waiting);
                waiting.is_some_and(|mut waiting| waiting.any(|id| self.requests.contains_key(&id)))
            }
        };
        if !is_needed {
            self.complete(id, Err(ClientError::Closed));
            return;
        }
        let Some(request) = self.requests.get_mut(&id) else { return };
        let wait = backoff(request.tries, &mut self.prng);
        request.tries += 1;
        self.delay(id, now + wait);
    }

    // Routing.

    fn route(&mut self, id: u64, now: Mono) {
        let Some(request) = self.requests.get(&id) else { return };
        if request.place != Place::Ready {
            return;
        }
        let route = if let Some(address) = request.pinned() {
            Route::To { address: address.to_owned(), node: None }
        } else if request.kind() == RequestKind::ClusterMap {
            self.routes.route_any(now)
        } else {
            let Some(group) = self.group_for(id) else { return };
            if self.requests[&id].is_command() && !self.assign_sequence(id, group) {
                return;
            }
            self.routes.route_group(group, now)
        };
        match route {
            Route::To { address, node } => self.enqueue(id, address, node, now),
            Route::NoMap => self.wait_for_map(id),
            Route::Wait(until) => {
                self.want_map(now);
                self.delay(id, until.max(now + Span::from_ms(1)));
            }
        }
    }

    /// The group of a request that has one; `None` when the request was parked or ended instead.
    fn group_for(&mut self, id: u64) -> Option<GroupId> {
        let request = &self.requests[&id];
        let nsid = match &request.work {
            Work::Operation(
                Operation::Command { nsid, .. } | Operation::Query { nsid, .. } | Operation::Watch { nsid, .. },
            ) => Some(*nsid),
            _ => None,
        };
        // Namespace 0 is none: accounts, servers and nodes are kept in group 0.
        let group = match nsid {
            Some(Nsid(0)) => Some(GroupId(0)),
            Some(nsid) => self.routes.group_of(nsid),
            None => request.group,
        };
        let Some(groups) = self.routes.map().map(ClusterMap::groups) else {
            self.wait_for_map(id);
            return None;
        };
        let group = group?;
        if group.0 >= groups {
            let text = format!("there is no group {group}; the cluster has groups 0 to {}", groups - 1);
            self.complete(id, Err(ClientError::Refused { text }));
            return None;
        }
        if let Some(request) = self.requests.get_mut(&id) {
            request.group = Some(group);
        }
        Some(group)
    }

    fn wait_for_map(&mut self, id: u64) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.place = Place::NoMap;
        }
        if self.map_request.is_none() {
            self.map_request = Some(self.add(Request::own(Work::Map, None)));
        }
    }

    /// Asks for a newer map, not too often.
    fn want_map(&mut self, now: Mono) {
        if self.map_request.is_none() && self.map_seen + MAP_REFRESH <= now {
            self.map_seen = now;
            self.map_request = Some(self.add(Request::own(Work::Map, None)));
        }
    }

    /// True when the command has its place in an open session; otherwise it was parked.
    fn assign_sequence(&mut self, id: u64, group: GroupId) -> bool {
        let request = self.requests.get_mut(&id).expect("the caller has just found it");
        if request.session.is_some() {
            return true;
        }
        let session = self.sessions.entry(group).or_default();
        request.session = session.assign();
        if request.session.is_some() {
            return true;
        }
        request.place = Place::Session;
        session.wait(id);
        self.open_session(group);
        false
    }

    /// Registers unless a session is open or on its way.
    fn open_session(&mut self, group: GroupId) {
        let session = self.sessions.entry(group).or_default();
        if !session.is_open() && session.register.is_none() {
            let register = self.add(Request::own(Work::Register(group), Some(group)));
            self.sessions.entry(group).or_default().register = Some(register);
        }
    }

    /// Lets those go on who waited for the session, as far as there is room.
    fn wake_session(&mut self, group: GroupId) {
        let Some(session) = self.sessions.get_mut(&group) else { return };
        while session.is_open()
            && let Some(id) = session.first_waiting()
        {
            if let Some(request) = self.requests.get_mut(&id) {
                let Some(place) = session.assign() else { return self.open_session(group) };
                request.session = Some(place);
                request.place = Place::Ready;
                self.ready.push_back(id);
            }
            session.drop_first_waiting();
        }
    }

    fn enqueue(&mut self, id: u64, address: String, node: Option<NodeId>, now: Mono) {
        let request = self.requests.get_mut(&id).expect("the caller has just found it");
        let is_watch = request.is_watch();
        let found = self.links.iter().find(|(_, link)| link.address == address && link.is_watch == is_watch);
        let link = match found {
            Some((link, _)) => *link,
            None => {
                let link = LinkId(self.next_link);
                self.next_link += 1;
                self.links.insert(link, Link::new(address.clone(), node, is_watch, now));
                self.actions.push_back(Action::Connect { link, address });
                link
            }
        };
        request.place = Place::Queued(link);
        self.links.get_mut(&link).expect("it was found or made").waiting.push_back(id);
    }

    // Links.

    /// Writes what waits into frames, one per connection.
    fn send(&mut self, now: Mono) {
        let mut too_large: Vec<(u64, ItemTooLarge)> = Vec::new();
        for (name, link) in self.links.iter_mut().filter(|(_, link)| link.state == LinkState::Ready) {
            while link.in_flight.len() < CONNECTION_REQUESTS_MAX
                && let Some(id) = link.waiting.pop_front()
            {
                let Some(request) = self.requests.get_mut(&id) else { continue };
                let session = request.group.and_then(|group| self.sessions.get(&group));
                let ack_below = session.zip(request.session).map_or(0, |(session, (id, _))| session.ack_below(id));
                let register = (self.options.session_acct, session_nonce(self.nonce, session));
                let written =
                    link.writer.push_request(id, request.kind() as u8, 0, request.group.unwrap_or_default(), |out| {
                        put_body(out, request, register, ack_below)
                    });
                if link.in_flight.is_empty() {
                    link.heard = now;
                    link.is_pinged = false;
                }
                // One that is too large is counted too; it ends below, which takes it out again.
                request.place = Place::InFlight(*name);
                link.in_flight.insert(id);
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
    fn check_links(&mut self, now: Mono) {
        let due = self.links.iter().filter(|(_, link)| link.is_due(&self.options, now));
        let due: Vec<LinkId> = due.map(|(name, _)| *name).collect();
        for name in due {
            let link = self.links.get_mut(&name).expect("it was found above");
            let reason = match link.state {
                LinkState::Connecting => "no connection in time",
                LinkState::Greeting => "connected, but no hello in time; is it a client port of a metaserver?",
                LinkState::Ready if link.is_pinged => "connected, but silent",
                LinkState::Ready => {
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

    fn close(&mut self, link: LinkId, reason: &str, now: Mono) {
        self.actions.push_back(Action::Close { link });
        self.handle_closed(link, reason, now);
    }

    fn read_hello(&mut self, link: LinkId) -> Result<(), String> {
        let Some(entry) = self.links.get_mut(&link) else { return Ok(()) };
        let Some(hello) = entry.reader.next_server_hello().map_err(|error| error.to_string())? else { return Ok(()) };
        if *self.cluster.get_or_insert(hello.cluster_id) != hello.cluster_id {
            return Err(format!("belongs to another cluster, {}", hello.cluster_id));
        }
        if let Some(expected) = entry.node
            && expected != hello.node_id
        {
            return Err(format!("is node {}, not node {expected}", hello.node_id));
        }
        entry.node = Some(hello.node_id);
        entry.state = LinkState::Ready;
        self.routes.handle_success(&entry.address);
        Ok(())
    }

    fn read_frames(&mut self, link: LinkId, reader: &mut wire::FrameReader, now: Mono) -> Result<(), String> {
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
    fn handle_lost(&mut self, id: u64, was_sent: bool, lost: &Link, reason: &str, now: Mono) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        // Its connection is no more, so nothing is to be taken out of it.
        request.place = Place::Ready;
        request.tried.note(&lost.address, reason);
        request.in_doubt |= was_sent && request.is_command();
        let group = request.group;
        if let Some(address) = request.pinned() {
            let error = ClientError::Unreachable { address: address.to_owned(), reason: reason.to_owned() };
            return self.complete(id, Err(error));
        }
        if was_sent && request.is_once_only() {
            let error = ClientError::Unknown { reason: reason.to_owned(), tried: request.tried.clone() };
            return self.complete(id, Err(error));
        }
        if request.is_watch() && request.deadline == Mono::MAX {
            request.deadline = now + self.options.deadline;
            self.deadlines.insert((request.deadline, id));
        }
        match group {
            Some(group) => self.routes.forget_leader(group, lost.node),
            None => {
                self.map_tried.note(&lost.address, reason);
                self.routes.rotate_any();
            }
        }
        self.retry(id, now);
    }

    // Replies.

    fn handle_reply(&mut self, link: LinkId, item: &ReplyItem<'_>, now: Mono) {
        let id = item.request_id;
        let Some(entry) = self.links.get_mut(&link) else { return };
        if !entry.in_flight.contains(&id) {
            return; // The answer to a Ping, or to what was given up.
        }
        let node = entry.node;
        let Some(request) = self.requests.get_mut(&id) else { return };
        let group = request.group;
        if item.reply_status() == Some(ReplyStatus::Ok) {
            if let Some(group) = group {
                self.routes.handle_leader(group, node);
            }
            return self.handle_ok(id, item.body, now);
        }
        let address = entry.address.clone();
        entry.in_flight.remove(&id);
        request.place = Place::Ready;
        if request.is_watch() && request.deadline == Mono::MAX {
            request.deadline = now + self.options.deadline;
            self.deadlines.insert((request.deadline, id));
        }
        if matches!(request.work, Work::Map) {
            // Whatever this node has against it, others may answer.
            self.map_tried.note(&address, "gave no cluster map");
            self.routes.rotate_any();
            return self.retry(id, now);
        }
        match item.reply_status() {
            Some(ReplyStatus::NotLeader) => {
                request.tried.note(&address, "is not the leader");
                let hint = item.leader_hint();
                let is_hinted = group.is_some_and(|group| self.routes.handle_not_leader(group, node, hint, now));
                if hint.is_some_and(|hint| self.routes.map().is_some_and(|map| map.address_of(hint).is_none())) {
                    self.want_map(now);
                }
                // Two nodes that name each other must not be asked in a tight circle.
                let request = self.requests.get_mut(&id).expect("it was found above");
                if is_hinted && request.tries < 2 {
                    request.tries += 1;
                    self.make_ready(id);
                } else {
                    self.retry(id, now);
                }
            }
            Some(ReplyStatus::Overloaded) => {
                request.tried.note(&address, "is overloaded");
                self.retry(id, now);
            }
            Some(ReplyStatus::WrongCore) => {
                request.tried.note(&address, "is the wrong core");
                self.want_map(now);
                self.retry(id, now);
            }
            Some(ReplyStatus::Unavailable) => {
                request.tried.note(&address, "lost its leadership or is stopping");
                request.in_doubt |= request.is_command();
                if request.is_once_only() {
                    let error = ClientError::Unknown {
                        reason: "leadership was lost meanwhile".to_owned(),
                        tried: request.tried.clone(),
                    };
                    return self.complete(id, Err(error));
                }
                self.retry(id, now);
            }
            Some(ReplyStatus::Malformed) => {
                self.complete(id, Err(ClientError::Malformed { text: item.text().into_owned() }));
            }
            Some(ReplyStatus::Refused) => {
                self.complete(id, Err(ClientError::Refused { text: item.text().into_owned() }));
            }
            Some(ReplyStatus::Unsupported) => self.complete(id, Err(ClientError::Unsupported { kind: item.kind })),
            Some(ReplyStatus::Ok) | None => self.complete(id, Err(ClientError::Undecodable { what: "a request" })),
        }
    }

    fn handle_ok(&mut self, id: u64, body: &[u8], now: Mono) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let unreadable = |what| Err(ClientError::Undecodable { what });
        let result = match &mut request.work {
            Work::Register(group) => {
                let group = *group;
                return self.handle_registered(id, group, body);
            }
            Work::Map => return self.handle_map(id, body),
            Work::Operation(Operation::Watch { since, .. }) => {
                let Ok(head) = parse_jid(body) else { return self.complete(id, unreadable("a watch")) };
                if *since < head {
                    *since = head;
                    self.actions.push_back(Action::Head { ticket: Ticket(id), head });
                }
                self.deadlines.remove(&(request.deadline, id));
                (request.deadline, request.tries) = (Mono::MAX, 0);
                return;
            }
            Work::Operation(Operation::Command { .. }) => match codec::outcome(body) {
                Ok(Outcome::SessionGone) => return self.handle_session_gone(id, now),
                Ok(Outcome::Acknowledged) => {
                    let reason = "the server has dropped its outcome".to_owned();
                    Err(ClientError::Unknown { reason, tried: request.tried.clone() })
                }
                outcome => {
                    let is_kept = !matches!(outcome, Ok(Outcome::TooLarge | Outcome::Malformed | Outcome::Unsupported));
                    if is_kept
                        && let (Some((session, sequence)), Some(group)) = (request.session, request.group)
                        && let Some(entry) = self.sessions.get_mut(&group)
                    {
                        entry.handle_executed(session, sequence);
                    }
                    outcome.map(Reply::Outcome)
                }
            },
            Work::Operation(Operation::Query { .. }) => codec::answer(body).map(Reply::Answer),
            Work::Operation(Operation::ClusterMap { address }) => {
                let is_own = address.is_none();
                match ClusterMap::parse(body) {
                    Ok(map) => {
                        if is_own {
                            self.take_map(map.clone());
                        }
                        Ok(Reply::ClusterMap(map))
                    }
                    Err(_) => unreadable("a cluster map request"),
                }
            }
            Work::Operation(Operation::Status { .. }) => {
                CoreStatus::parse(body).map(Reply::Status).or_else(|_| unreadable("a status request"))
            }
            Work::Operation(Operation::ChangeMembers { .. } | Operation::TransferLeader { .. }) => Ok(Reply::Done),
        };
        self.complete(id, result);
    }

    fn handle_map(&mut self, id: u64, body: &[u8]) {
        match ClusterMap::parse(body) {
            Ok(map) => self.take_map(map),
            // Another node may do better, and the next one that misses the map will ask.
            Err(_) => self.routes.rotate_any(),
        }
        self.complete(id, Err(ClientError::Closed));
        // Whoever still waits for a map asks anew.
        self.wake_mapless();
    }

    fn take_map(&mut self, map: ClusterMap) {
        self.routes.handle_map(map);
        self.map_tried = Tried::default();
        self.wake_mapless();
    }

    fn wake_mapless(&mut self) {
        let mapless = self.requests.iter().filter(|(_, request)| request.place == Place::NoMap);
        let mut mapless: Vec<u64> = mapless.map(|(id, _)| *id).collect();
        mapless.sort_unstable();
        mapless.into_iter().for_each(|id| self.make_ready(id));
    }

    fn handle_registered(&mut self, id: u64, group: GroupId, body: &[u8]) {
        let error = match codec::outcome(body) {
            Ok(Outcome::Registered { session }) => {
                self.sessions.entry(group).or_default().handle_opened(session);
                self.remove(id);
                return self.wake_session(group);
            }
            Ok(other) => ClientError::Refused { text: format!("no session was opened: {other:?}") },
            Err(error) => error,
        };
        self.complete(id, Err(error));
    }

    /// The server does not know the command's session. If no earlier try can have done it, it starts over in a new one.
    fn handle_session_gone(&mut self, id: u64, now: Mono) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (Some(group), Some((session, _))) = (request.group, request.session) else { return };
        self.sessions.entry(group).or_default().handle_gone(session);
        if request.in_doubt {
            let reason = "the session ended while the command was in doubt".to_owned();
            let error = ClientError::Unknown { reason, tried: request.tried.clone() };
            return self.complete(id, Err(error));
        }
        request.session = None;
        if let Place::InFlight(link) = request.place
            && let Some(entry) = self.links.get_mut(&link)
        {
            request.tried.note(&entry.address, "does not know the session");
            entry.in_flight.remove(&id);
        }
        request.place = Place::Ready;
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
        Work::Operation(Operation::ChangeMembers { change, .. }) => change.encode(out),
        Work::Operation(Operation::TransferLeader { target, .. }) => put_node(out, Some(*target)),
        Work::Map | Work::Operation(Operation::ClusterMap { .. } | Operation::Status { .. }) => {}
    }
}
