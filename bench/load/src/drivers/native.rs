//! Our own protocol: the client's core without I/O, over a ring of this generator core.
//!
//! ```text
//! generator ──submit──▶ lane: client core ──bytes──▶ connection ──▶ ring      a lane has one connection for each core of
//!           ◀──done────       ◀──bytes──────────────────────────── ring      the cluster that it has to do with
//! ```
//! All requests of one turn and connection leave in one frame, as with every client. A command keeps its place in its
//! session over all tries, so redirects and retries are part of its service time and it is done once.

mod convert;
mod inspect;
mod populate;

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use base::limits::{CLIENT_REQUESTS_MAX, SESSION_INFLIGHT_MAX, SOCKETS_MAX, WIRE_FRAME_BYTES_MAX};
use base::mono::Span;
use base::{Acct, CoreId, GroupId, IdMap, Mono, Nsid, group_of};
use client::{Action, ClientOptions, Core, LinkId, Operation, Seed, Ticket};
use reactor::{Event, Io, Patience, Ring, RingConfig, RingError, SocketId, Wait};
use transport::Connection;

use crate::content::Contents;
use crate::driver::{Breakdown, Done, Driver, OpToken, Submit};
use crate::op::{Op, OpKind};

pub use inspect::{CountInspector, InspectError, NativeInspector};
pub use populate::{PopulateError, counts, populate};

/// Commands of one session that are in flight at most: a few less than its window, which late answers may still fill.
const GROUP_COMMANDS_MAX: u64 = SESSION_INFLIGHT_MAX - 24;
/// How long closing all sockets may take.
const CLOSE_MAX: Span = Span::from_ms(5_000);
/// Sockets of a ring, at least.
const SOCKETS_MIN: u32 = 1024;
/// A lane has a connection to each core of the cluster that leads a group, seldom more than so many.
const SOCKETS_PER_LANE: u32 = 64;
/// Requests that one lane keeps at most.
const LANE_REQUESTS_MAX: usize = CLIENT_REQUESTS_MAX - 1024;

/// Where a namespace of the model lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Home {
    /// Whose rights.
    pub acct: Acct,
    /// Its number.
    pub nsid: Nsid,
    /// The journal's head after the population.
    pub head: u64,
}

/// How the driver works.
#[derive(Clone, Debug)]
pub struct NativeSettings {
    /// `host:port` of the nodes' shared client ports.
    pub targets: Vec<String>,
    /// Of the cluster.
    pub groups: u32,
    /// Client cores of this generator core, each with connections of its own.
    pub lanes: usize,
    /// The core that is sent to instead of the owners ([`ClientOptions::only_core`]).
    pub only_core: Option<CoreId>,
    /// How long an operation may take, retries included.
    pub deadline: Span,
    /// Before the next due time the ring is not waited for but asked again and again.
    pub spin: Span,
    /// Of contents.
    pub seed: u64,
}

/// Why there is no driver.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// The ring could not be made.
    #[error("could not make a ring for the generator: {0}")]
    Ring(#[from] RingError),
    /// The system gave no random bytes.
    #[error("could not draw a session name: {0}")]
    Random(getrandom::Error),
}

struct Flight {
    token: OpToken,
    sent: Mono,
    kind: OpKind,
    group: usize,
    /// The target was asked where its time goes.
    is_asked: bool,
}

struct Lane {
    core: Core,
    /// Connections that are up.
    links: IdMap<LinkId, Connection>,
    flights: IdMap<Ticket, Flight>,
    /// Commands in flight, by group.
    commands: Vec<u64>,
    /// Something happened since it was last advanced.
    is_touched: bool,
    /// When it must be advanced if nothing happens before; [`Mono::MAX`] is never.
    deadline: Mono,
}

/// One generator core's way to a cluster.
pub struct NativeDriver {
    ring: Ring,
    lanes: Vec<Lane>,
    /// Lanes to which something happened: of thousands, few have anything to do in a turn.
    touched: Vec<usize>,
    /// By time, of lanes that have one.
    deadlines: BTreeSet<(Mono, usize)>,
    /// Whose a socket is.
    sockets: IdMap<SocketId, (usize, LinkId)>,
    homes: Arc<Vec<Home>>,
    settings: NativeSettings,
    contents: Contents,
    /// Each operation whose index is a multiple of this asks where its time goes; 0 is none.
    explain_every: u64,
    /// Of operations that have ended and asked, until they are taken.
    breakdowns: IdMap<OpToken, Breakdown>,
    /// Milliseconds since 1970, read once a turn: blocks are put now.
    wall_ms: u64,
    now: Mono,
    opaque: Opaque,
}

/// The bytes of null commands: those of one length are shared.
struct Opaque {
    seed: u64,
    bytes: Arc<[u8]>,
}

impl Opaque {
    fn of(&mut self, length: u64) -> Arc<[u8]> {
        if self.bytes.len() as u64 != length {
            self.bytes = (0..length).map(|at| base::mix64(self.seed ^ at) as u8).collect();
        }
        self.bytes.clone()
    }
}

impl NativeDriver {
    /// A driver of the calling thread, over the namespaces at `homes`.
    ///
    /// Errors: [`NativeError`].
    pub fn new(settings: NativeSettings, homes: Arc<Vec<Home>>) -> Result<NativeDriver, NativeError> {
        let sockets_max = (settings.lanes as u32).saturating_mul(SOCKETS_PER_LANE).clamp(SOCKETS_MIN, SOCKETS_MAX);
        let ring = Ring::new(&RingConfig { sockets_max, ..RingConfig::default() })?;
        let mut lanes = Vec::with_capacity(settings.lanes);
        for _ in 0..settings.lanes.max(1) {
            let (mut nonce, mut jitter) = ([0; 16], [0; 8]);
            getrandom::fill(&mut nonce).map_err(NativeError::Random)?;
            getrandom::fill(&mut jitter).map_err(NativeError::Random)?;
            let seed = Seed { nonce, jitter: u64::from_le_bytes(jitter) };
            let options = ClientOptions { only_core: settings.only_core, ..ClientOptions::default() };
            lanes.push(Lane {
                core: Core::new(settings.targets.clone(), options, seed),
                links: IdMap::default(),
                flights: IdMap::default(),
                commands: vec![0; settings.groups as usize],
                is_touched: false,
                deadline: Mono::MAX,
            });
        }
        let contents = Contents::new(settings.seed);
        let opaque = Opaque { seed: settings.seed, bytes: Arc::default() };
        let now = ring.now();
        let wall_ms = ring.wall_ms();
        Ok(NativeDriver {
            ring,
            lanes,
            touched: Vec::new(),
            deadlines: BTreeSet::new(),
            sockets: IdMap::default(),
            homes,
            settings,
            contents,
            explain_every: 0,
            breakdowns: IdMap::default(),
            wall_ms,
            now,
            opaque,
        })
    }

    /// From now on each operation whose index is a multiple of `every` asks the server where its time goes; 0 is none.
    pub fn explain_every(&mut self, every: u64) {
        self.explain_every = every;
    }

    /// Lets every lane that has something to do have its turn, and hands its bytes to the ring.
    fn advance(&mut self, now: Mono, done: &mut Vec<Done>) {
        while let Some((deadline, at)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.pop_first();
            self.lanes[at].deadline = Mono::MAX;
            touch(&mut self.lanes, &mut self.touched, at);
        }
        let mut touched = std::mem::take(&mut self.touched);
        for at in touched.drain(..) {
            self.lanes[at].is_touched = false;
            self.lanes[at].core.advance(now);
            while let Some(action) = self.lanes[at].core.poll_action() {
                self.act(at, action, now, done);
            }
            let lane = &mut self.lanes[at];
            for connection in lane.links.values_mut() {
                connection.flush(&mut self.ring);
            }
            let deadline = lane.core.next_deadline().unwrap_or(Mono::MAX);
            if deadline != lane.deadline {
                self.deadlines.remove(&(lane.deadline, at));
                lane.deadline = deadline;
                if deadline < Mono::MAX {
                    self.deadlines.insert((deadline, at));
                }
            }
        }
        self.touched = touched;
    }

    fn act(&mut self, at: usize, action: Action, now: Mono, done: &mut Vec<Done>) {
        let lane = &mut self.lanes[at];
        match action {
            Action::Connect { link, address } => match resolve(&address) {
                Some(address) => self.ring.connect(tag_of(at, link), address, Patience::SERVER),
                None => lane.core.handle_closed(link, "the name has no address", now),
            },
            Action::Send { link, bytes } => {
                if let Some(connection) = lane.links.get_mut(&link) {
                    connection.append(bytes);
                }
            }
            Action::Close { link } => {
                if let Some(connection) = lane.links.remove(&link) {
                    self.ring.close(connection.socket);
                }
            }
            Action::Complete { ticket, result } => {
                let Some(flight) = lane.flights.remove(&ticket) else { return };
                if flight.kind.is_write() {
                    lane.commands[flight.group] -= 1;
                }
                let Flight { token, sent, kind, is_asked, .. } = flight;
                if is_asked {
                    let told = std::iter::from_fn(|| lane.core.poll_explained()).find(|told| told.ticket == ticket);
                    self.breakdowns.insert(token, told.as_ref().map(convert::breakdown).unwrap_or_default());
                }
                done.push(Done { token, sent, replied: now, answer: convert::answer(kind, result) });
            }
            // The driver watches nothing.
            Action::Head { .. } => {}
        }
    }

    fn reap(&mut self, now: Mono) {
        let Self { ring, lanes, touched, sockets, .. } = self;
        let mut to_close = Vec::new();
        ring.reap(&mut |event| match event {
            Event::Connected { tag, socket } => {
                let (at, link) = untag(tag);
                touch(lanes, touched, at);
                let lane = &mut lanes[at];
                if lane.core.handle_connected(link, now) {
                    lane.links.insert(link, Connection::new(socket, wire::Link::Client, WIRE_FRAME_BYTES_MAX));
                    sockets.insert(socket, (at, link));
                } else {
                    to_close.push(socket);
                }
            }
            Event::ConnectFailed { tag, errno } => {
                let (at, link) = untag(tag);
                touch(lanes, touched, at);
                let reason = std::io::Error::from_raw_os_error(errno).to_string();
                lanes[at].core.handle_closed(link, &reason, now);
            }
            Event::Received { socket, bytes } => {
                if let Some((at, link)) = sockets.get(&socket) {
                    touch(lanes, touched, *at);
                    lanes[*at].core.handle_received(*link, bytes, now);
                }
            }
            Event::Sent { socket, buffer } => {
                if let Some((at, link)) = sockets.get(&socket)
                    && let Some(connection) = lanes[*at].links.get_mut(link)
                {
                    connection.handle_sent(buffer);
                    touch(lanes, touched, *at);
                }
            }
            Event::Closed { socket, .. } => {
                if let Some((at, link)) = sockets.remove(&socket)
                    && lanes[at].links.remove(&link).is_some()
                {
                    touch(lanes, touched, at);
                    lanes[at].core.handle_closed(link, "the server closed the connection", now);
                }
            }
            Event::Accepted { .. } | Event::DiskDone { .. } | Event::Doorbell => {}
        });
        to_close.into_iter().for_each(|socket| ring.close(socket));
    }

    /// The one system call of a turn; returns how long it waited.
    fn enter(&mut self, until: Mono, is_busy: bool) -> Span {
        let until = self.deadlines.first().map_or(until, |(deadline, _)| until.min(*deadline));
        let before = self.ring.now();
        let wake = until - self.settings.spin;
        if is_busy || wake <= before {
            self.ring.enter(Wait::No);
            self.now = self.ring.now();
            // Asking again and again is idle time too, as long as nothing is due.
            return if is_busy || until <= before { Span(0) } else { self.now.since(before) };
        }
        self.ring.enter(Wait::Until(wake));
        self.now = self.ring.now();
        self.now.since(before)
    }
}

impl Driver for NativeDriver {
    fn now(&mut self) -> Mono {
        self.now = self.ring.now();
        self.now
    }

    fn submit(&mut self, op: &Op, token: OpToken, now: Mono) -> Submit {
        let home = self.homes[op.namespace as usize];
        let lanes = self.lanes.len();
        let is_null = op.kind == OpKind::Null;
        // Commands of one namespace share a session; a null machine has none, so that any connection may carry any.
        let at = if is_null { op.index as usize % lanes } else { op.namespace as usize % lanes };
        let lane = &mut self.lanes[at];
        let GroupId(group) = if is_null { GroupId(op.namespace) } else { group_of(home.nsid, self.settings.groups) };
        let group = group as usize;
        // A null machine has no sessions, and no window of them.
        let is_crowded = op.kind.is_write() && !is_null && lane.commands[group] >= GROUP_COMMANDS_MAX;
        if is_crowded || lane.flights.len() >= LANE_REQUESTS_MAX {
            return Submit::Full;
        }
        let operation = if is_null {
            Operation::NullCommand { group: GroupId(op.namespace), bytes: self.opaque.of(op.size) }
        } else {
            convert::operation(op, home, self.contents, self.wall_ms)
        };
        let is_asked = self.explain_every > 0 && op.index.is_multiple_of(self.explain_every);
        let ticket = if is_asked {
            lane.core.submit_explained(operation, self.settings.deadline, now)
        } else {
            lane.core.submit(operation, self.settings.deadline, now)
        };
        lane.commands[group] += u64::from(op.kind.is_write());
        lane.flights.insert(ticket, Flight { token, sent: now, kind: op.kind, group, is_asked });
        touch(&mut self.lanes, &mut self.touched, at);
        Submit::Queued
    }

    fn poll(&mut self, until: Mono, done: &mut Vec<Done>) -> Span {
        let now = self.now;
        self.wall_ms = self.ring.wall_ms();
        self.advance(now, done);
        let mut idle = self.enter(until, !done.is_empty());
        loop {
            self.reap(self.now);
            self.advance(self.now, done);
            if !done.is_empty() || self.now >= until {
                break;
            }
            idle = Span(idle.0 + self.enter(until, false).0);
        }
        idle
    }

    fn burst_max(&self) -> usize {
        64 * self.lanes.len()
    }

    fn take_breakdown(&mut self, token: OpToken) -> Option<Breakdown> {
        // Almost always there is none to look for.
        if self.breakdowns.is_empty() { None } else { self.breakdowns.remove(&token) }
    }
}

impl Drop for NativeDriver {
    /// Closes what is open first: a ring that ends with thousands of sockets may give up waiting for them.
    fn drop(&mut self) {
        self.sockets.keys().for_each(|socket| self.ring.close(*socket));
        let until = self.ring.now() + CLOSE_MAX;
        while self.ring.sockets() > 0 && self.ring.now() < until {
            let wake = self.ring.now() + Span::from_ms(10);
            self.ring.enter(Wait::Until(wake));
            self.ring.reap(&mut |_| {});
        }
    }
}

/// Notes that something happened to a lane.
fn touch(lanes: &mut [Lane], touched: &mut Vec<usize>, at: usize) {
    if !std::mem::replace(&mut lanes[at].is_touched, true) {
        touched.push(at);
    }
}

fn tag_of(lane: usize, link: LinkId) -> u64 {
    (lane as u64) << 40 | link.0
}

fn untag(tag: u64) -> (usize, LinkId) {
    ((tag >> 40) as usize, LinkId(tag & ((1 << 40) - 1)))
}

fn resolve(address: &str) -> Option<SocketAddr> {
    address.parse().ok().or_else(|| address.to_socket_addrs().ok()?.next())
}
