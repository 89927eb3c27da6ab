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

mod links;
mod replies;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use base::limits::CLIENT_REQUESTS_MAX;
use base::mono::Span;
use base::{ClusterId, GroupId, IdMap, Jid, Mono, NodeId, Nsid, Prng, mutate};
use meta::Query;
use wire::{ClientHello, ClusterMap, RequestKind};

use crate::backoff::backoff;
use crate::deadlines::Deadlines;
use crate::error::{ClientError, Tried};
use crate::explained::Explained;
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
    requests: IdMap<u64, Request>,
    ready: VecDeque<u64>,
    links: BTreeMap<LinkId, Link>,
    deadlines: Deadlines,
    delays: BTreeSet<(Mono, u64)>,
    actions: VecDeque<Action>,
    explained: VecDeque<Explained>,
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
            routes: Routes::new(targets, options.only_core),
            cluster: None,
            sessions: BTreeMap::new(),
            requests: IdMap::default(),
            ready: VecDeque::new(),
            links: BTreeMap::new(),
            deadlines: Deadlines::default(),
            delays: BTreeSet::new(),
            actions: VecDeque::new(),
            explained: VecDeque::new(),
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
        self.take(Request::of_caller(operation, within, now))
    }

    /// As [`Core::submit`]; the server is asked where the time of this command or query goes, whatever
    /// [`ClientOptions::explain`] says. [`Core::poll_explained`] has it once the operation has ended.
    pub fn submit_explained(&mut self, operation: Operation, within: Span, now: Mono) -> Ticket {
        self.take(Request { is_explained: true, ..Request::of_caller(operation, within, now) })
    }

    fn take(&mut self, request: Request) -> Ticket {
        let ticket = Ticket(self.next_request);
        if self.requests.len() >= CLIENT_REQUESTS_MAX {
            base::mark::hit!("client.request.too_many");
            self.next_request += 1;
            let result = Err(ClientError::Overloaded { max: CLIENT_REQUESTS_MAX });
            self.actions.push_back(Action::Complete { ticket, result });
            return ticket;
        }
        Ticket(self.add(request))
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
        base::mark::hit!("client.link.lost");
        self.routes.handle_failure(&lost.address, now, &mut self.prng);
        let sent = self.requests.iter().filter(|(_, request)| request.place == Place::InFlight(link));
        let sent = sent.map(|(id, _)| (*id, true));
        let unsent = lost.waiting.iter().map(|id| (*id, false));
        let all: BTreeMap<u64, bool> = unsent.chain(sent).collect();
        for (id, was_sent) in all {
            self.handle_lost(id, was_sent, &lost, reason, now);
        }
    }

    /// Does what time and the events since the last call ask for. Call it once per turn and at [`Core::next_deadline`].
    pub fn advance(&mut self, now: Mono) {
        self.check_links(now);
        while let Some((deadline, id)) = self.deadlines.first()
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

    /// What servers told of operations that have ended, oldest first, if [`ClientOptions::explain`] or
    /// [`Core::submit_explained`] asks for it. At most 1,024 wait here.
    pub fn poll_explained(&mut self) -> Option<Explained> {
        self.explained.pop_front()
    }

    /// When [`Core::advance`] must be called if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let links = self.links.values().filter_map(|link| link.deadline(&self.options));
        let times = [self.deadlines.first(), self.delays.first().copied()];
        let times = times.into_iter().flatten().map(|(time, _)| time);
        let ready = (!self.ready.is_empty()).then_some(Mono(0));
        links.chain(times).chain(ready).min()
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
            self.deadlines.insert(request.deadline, id);
        }
        self.requests.insert(id, request);
        self.ready.push_back(id);
        id
    }

    /// Takes a request out of everywhere. Its sequence counts as answered: nobody waits for it any more, and once
    /// `ack_below` has passed it, a late copy of it is dropped.
    fn remove(&mut self, id: u64) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.forget_deadline(request.deadline, id);
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
                    entry.in_flight -= 1;
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

    /// The request has ended, or has another deadline now.
    fn forget_deadline(&mut self, deadline: Mono, id: u64) {
        if deadline < Mono::MAX {
            let Core { deadlines, requests, .. } = self;
            let is_live = |deadline, id: u64| requests.get(&id).is_some_and(|request| request.deadline == deadline);
            deadlines.remove(deadline, id, is_live);
        }
    }

    fn complete(&mut self, id: u64, result: Result<Reply, ClientError>) {
        let Some(request) = self.remove(id) else { return };
        match request.work {
            Work::Operation(_) => self.actions.push_back(Action::Complete { ticket: Ticket(id), result }),
            Work::Map => {}
            Work::Register(group) => {
                let Some(session) = self.sessions.get_mut(&group) else { return };
                base::mark::hit!("client.session.not_registered");
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
        base::mark::hit!("client.request.late_in_doubt", in_doubt);
        base::mark::hit!("client.request.late", !in_doubt);
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
            base::mark::hit!("client.request.not_needed");
            self.complete(id, Err(ClientError::Closed));
            return;
        }
        let Some(request) = self.requests.get_mut(&id) else { return };
        let wait = mutate!(MUT_38A, backoff(request.tries, &mut self.prng), Span(0));
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
            Route::To { address: address.into(), node: None }
        } else if request.kind() == RequestKind::ClusterMap {
            self.routes.route_any(now)
        } else {
            let Some(group) = self.group_for(id) else { return };
            if self.requests[&id].is_command() && !self.assign_sequence(id, group) {
                return;
            }
            self.routes.route_group(group, self.requests[&id].is_watch(), now)
        };
        match route {
            Route::To { address, node } => self.enqueue(id, address, node, now),
            Route::NoMap => self.wait_for_map(id),
            Route::Wait(until) => {
                base::mark::hit!("client.route.all_rest");
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
            _ if let Work::Operation(Operation::Query { query: Query::BlockScan(scan), .. }) = &request.work => {
                Some(scan.group)
            }
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
            base::mark::hit!("client.map.asked");
            self.map_request = Some(self.add(Request::own(Work::Map, None)));
        }
    }

    /// Asks for a newer map, not too often.
    fn want_map(&mut self, now: Mono) {
        if self.map_request.is_none() && self.map_seen + MAP_REFRESH <= now {
            self.map_seen = now;
            base::mark::hit!("client.map.asked_again");
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
        base::mark::hit!("client.session.waited_for");
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

    fn enqueue(&mut self, id: u64, address: Arc<str>, node: Option<NodeId>, now: Mono) {
        let request = self.requests.get_mut(&id).expect("the caller has just found it");
        let is_watch = request.is_watch();
        let found = self.links.iter().find(|(_, link)| link.address == address && link.is_watch == is_watch);
        let link = match found {
            Some((link, _)) => *link,
            None => {
                let link = LinkId(self.next_link);
                self.next_link += 1;
                self.links.insert(link, Link::new(address.clone(), node, is_watch, now));
                self.actions.push_back(Action::Connect { link, address: address.to_string() });
                link
            }
        };
        request.place = Place::Queued(link);
        self.links.get_mut(&link).expect("it was found or made").waiting.push_back(id);
    }
}
