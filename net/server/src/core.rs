//! The loop of one core. One turn: reap, mail, clock, serve, advance, log, sends, enter (docs/design/reactor.md).
//! At each border between two steps a stamp is taken for the latency profile (docs/design/profile.md).

use std::sync::Arc;

use base::mono::Span;
use base::stages::{ON, Stamp};
use base::{CoreId, GroupId, LogIndex, Mono, NodeId, Nsid};
use hdrhistogram::Histogram;
use reactor::clock::SuspendWatch;
use reactor::mmap_disk::MmapDisk;
use reactor::storage::StorageDone;
use reactor::{Event, Inbox, Io, Ring, SocketId, Wait};
use seglog::{DiskOp, OpToken};
use shard::{Border, MachineKind, PeerOut, Reply, Resting, Shard, Status, StopReason, Ticket};
use store::LsmStore;
use transport::{Clients, PeerEvent, Peers};
use wire::{
    CoreCounters, Explanation, PeerKind, ReplyStatus, RequestKind, RestPair, SnapshotAck, SnapshotPart, StateHash,
    peer_feature,
};

use crate::exit::ExitCode;
use crate::forward::Rooms;
use crate::memcache::{self, Memcache};
use crate::profile::{CoreProfile, Counts};
use crate::requests::Ask;
use crate::shared::Shared;
use crate::stall::Step;
use crate::{address_book, forward, near_cache::NearCache, requests, tell};

/// Completions taken in one turn before the turn goes on.
const REAPS_MAX: usize = 16;
/// How often core 0 looks for news of members and servers.
const ADDRESS_BOOK_EVERY: Span = Span::from_ms(250);
/// A core wakes at least this often, so that a stop is never missed.
const IDLE_MAX: Span = Span::from_ms(500);
/// The connection of requests that the core makes to itself.
pub(crate) const INTERNAL: u64 = u64::MAX;
/// Listener tags.
pub(crate) const TAG_CLIENT: u64 = u64::MAX;
pub(crate) const TAG_PEER: u64 = u64::MAX - 1;
pub(crate) const TAG_MEMCACHE: u64 = u64::MAX - 2;

/// What threads that are no cores tell a core.
pub enum Mail {
    /// The storage thread finished something.
    Storage(StorageDone),
    /// The store finished something, or somebody wants the core to look around.
    Rang,
}

/// A shard with a real disk and a real store.
pub type NodeShard = Shard<MmapDisk, LsmStore>;

/// One core: a ring, and all that it drives.
pub struct Core {
    ring: Ring,
    inbox: Inbox<Mail>,
    pub(crate) hands: Hands,
}

/// All of a core but its ring, so that events can be handled while the ring lends their bytes.
pub(crate) struct Hands {
    pub id: CoreId,
    pub node: NodeId,
    pub cores: u16,
    pub shard: NodeShard,
    pub clients: Clients,
    pub memcache: Memcache,
    /// What is cached of all cores of this node.
    pub near: Option<NearCache>,
    /// This turn's answers of it to native clients.
    pub near_answers: Vec<u8>,
    pub peers: Peers,
    /// To and from the other cores of this node.
    pub mailroom: Rooms,
    pub shared: Arc<Shared>,
    pub counters: CoreCounters,
    pub started: Mono,
    pub now: Mono,
    pub asks: Vec<Ask>,
    scratch: Vec<u8>,
    disk_events: Vec<(OpToken, seglog::OpResult)>,
    syncing: Vec<(OpToken, Mono, Stamp)>,
    sync_us: Histogram<u64>,
    pub profile: CoreProfile,
    /// Requests that want to be explained: connection and request.
    pub explains: Vec<(u64, u64)>,
    next_address_book: Mono,
    address_book_at: LogIndex,
    suspend_watch: SuspendWatch,
    /// Times that the machine was found to have been suspended.
    pub suspends: u64,
    /// Leadership was given away: the node is about to stop.
    has_handed_over: bool,
    is_stopping: bool,
    /// Requests taken before this turn.
    requests_before: u64,
    pub has_replied: bool,
}

impl Core {
    /// A core whose ring listens already.
    #[must_use]
    pub(crate) fn new(
        ring: Ring,
        inbox: Inbox<Mail>,
        (node, id, cores): (NodeId, CoreId, u16),
        shard: NodeShard,
        (clients, memcache, near): (Clients, Memcache, Option<NearCache>),
        peers: Peers,
        (shared, profile, mailroom): (Arc<Shared>, CoreProfile, Rooms),
    ) -> Core {
        let now = ring.now();
        // A null machine has no group 0 with addresses in it: those of the configuration stand.
        let reads_addresses = id == CoreId(0) && shard.machine() == MachineKind::Files;
        let hands = Hands {
            id,
            node,
            cores,
            shard,
            clients,
            memcache,
            near,
            near_answers: Vec::new(),
            peers,
            mailroom,
            shared,
            counters: CoreCounters::default(),
            started: now,
            now,
            asks: Vec::new(),
            scratch: Vec::new(),
            disk_events: Vec::new(),
            syncing: Vec::new(),
            sync_us: Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid"),
            profile,
            explains: Vec::new(),
            next_address_book: if reads_addresses { now } else { Mono::MAX },
            address_book_at: LogIndex(0),
            suspend_watch: SuspendWatch::default(),
            suspends: 0,
            has_handed_over: false,
            is_stopping: false,
            requests_before: 0,
            has_replied: false,
        };
        Core { ring, inbox, hands }
    }

    /// Turns until the node stops; returns the shard, whose store wants to be closed.
    pub fn run(mut self) -> NodeShard {
        let mut wait = Wait::No;
        loop {
            self.ring.enter(wait);
            self.turn();
            if self.hands.is_done() {
                break;
            }
            wait = self.wait();
        }
        // What is queued leaves: replies of the last turn.
        self.ring.enter(Wait::No);
        self.hands.shard
    }

    /// One turn, all but the system call.
    fn turn(&mut self) {
        let hands = &mut self.hands;
        // Before the turn's time is read: what is reaped had arrived by then.
        hands.beat(Step::Reap);
        hands.mailroom.collect();
        let begun = hands.profile.begin_turn();
        hands.shard.begin_stages(begun);
        let now = self.ring.now();
        let wall_ms = self.ring.wall_ms();
        hands.begin_turn(now, wall_ms);
        for _ in 0..REAPS_MAX {
            if self.ring.reap(&mut |event| hands.handle_event(event)) == 0 {
                break;
            }
        }
        while let Some(mail) = self.inbox.pop() {
            hands.handle_mail(mail);
        }
        hands.serve_forwarded();
        hands.shard.end_stage(Border::Decode, hands.profile.stamp());
        hands.beat(Step::Disk);
        hands.handle_marks();
        hands.handle_disk_events(&mut self.ring);
        hands.shard.handle_store_events();
        if hands.shard.wants_led_by_node(now) {
            hands.shard.handle_led_by_node(hands.shared.leaders());
        }
        hands.shard.handle_tick(now);
        hands.peers.dial_due(&mut self.ring, &*hands.shared, now);
        hands.shard.end_stage(Border::Admit, hands.profile.stamp_if_cheap());
        hands.beat(Step::Propose);
        hands.shard.advance_proposals(now, wall_ms);
        hands.shard.end_stage(Border::Propose, hands.profile.stamp_if_cheap());
        hands.beat(Step::Groups);
        hands.shard.advance_groups(now);
        hands.shard.end_stage(Border::Apply, hands.profile.stamp());
        hands.beat(Step::Reply);
        hands.hand_over_before_stop();
        hands.refresh_address_book();
        hands.publish();
        hands.deliver_replies();
        hands.beat(Step::Send);
        hands.deliver_peer_messages();
        hands.begin_operations(&mut self.ring);
        hands.peers.flush(&mut self.ring);
        hands.flush_clients(&mut self.ring);
        let (memcache, mut reach) = hands.port();
        memcache.flush(&mut self.ring, &mut reach);
        hands.mailroom.publish();
        hands.counters.enters = self.ring.counters().enters;
        hands.end_second();
        hands.watch_stop();
        hands.end_turn();
        hands.beat(Step::Wait);
    }

    /// How long the next enter may wait.
    fn wait(&self) -> Wait {
        let hands = &self.hands;
        if hands.shared.is_stopping() && !hands.is_stopping {
            return Wait::No;
        }
        // Of a connection that is read on again, requests may be refused after the turn's answers have left.
        let is_served = !hands.clients.has_work() && !hands.memcache.has_work() && !hands.shard.has_replies();
        if hands.shard.has_work() || !is_served || !hands.asks.is_empty() || !self.inbox.is_empty() {
            return Wait::No;
        }
        let deadline = hands.shard.next_deadline().min(hands.peers.next_deadline()).min(hands.next_address_book);
        let deadline = deadline.min(hands.memcache.next_deadline());
        Wait::Until(deadline.min(hands.now + IDLE_MAX))
    }
}

impl Hands {
    fn begin_turn(&mut self, now: Mono, wall_ms: u64) {
        self.now = now;
        self.counters.turns += 1;
        self.shard.begin_turn(now, wall_ms);
        self.memcache.begin_turn(now, wall_ms);
        // Before anything of the turn is served: a lease says nothing of the time that the clock did not count.
        if let Some(slept) = self.suspend_watch.look() {
            self.suspends += 1;
            tracing::warn!(
                core = self.id.0,
                slept_ms = slept.as_ms(),
                times = self.suspends,
                "the machine was suspended: leases begin anew"
            );
            self.shard.handle_clock_jump(now);
            self.near.iter_mut().for_each(|near| near.handle_clock_jump(now));
        }
    }

    /// For who looks whether the core stands still.
    fn beat(&self, step: Step) {
        self.shared.beats.beat(self.id, self.counters.turns, step);
    }

    /// Replies have left, or never will.
    fn handle_marks(&mut self) {
        let Hands { clients, profile, .. } = self;
        clients.drain_marks(|mark, has_left| profile.handle_mark(mark, has_left));
    }

    /// For the flight ring: a turn that took requests, or answered some.
    fn end_turn(&mut self) {
        let requests = self.counters.requests - std::mem::replace(&mut self.requests_before, self.counters.requests);
        if requests > 0 || std::mem::take(&mut self.has_replied) {
            self.profile.end_turn(self.id, requests);
        }
    }

    /// Hands the profile's second over when it has ended.
    fn end_second(&mut self) {
        let Hands { profile, shard, counters, clients, peers, sync_us, now, started, .. } = self;
        profile.advance(*now, || {
            let mut counters = *counters;
            counters.uptime_ms = now.since(*started).as_ms();
            counters.connections = clients.count() as u64;
            counters.malformed += clients.malformed();
            (counters.peer_frames_sent, counters.peer_frames_received) = peers.frames();
            counters.peer_links = peers.up().count() as u64;
            (counters.sync_p50_us, counters.sync_p99_us) =
                (sync_us.value_at_quantile(0.5), sync_us.value_at_quantile(0.99));
            requests::note_led(&mut counters, shard);
            Counts { counters, quorums: shard.quorum_counts(), replies_lost: 0 }
        });
    }

    fn handle_event(&mut self, event: Event<'_>) {
        let now = self.now;
        match event {
            Event::Accepted { tag: TAG_PEER, socket } => self.peers.handle_accepted(socket),
            Event::Accepted { tag: TAG_MEMCACHE, socket } => self.memcache.handle_accepted(socket),
            Event::Accepted { socket, .. } => self.clients.handle_accepted(socket),
            Event::Connected { tag, socket } => self.peers.handle_connected(tag, socket),
            Event::ConnectFailed { tag, errno } => {
                tracing::debug!(peer = tag, errno, "could not connect to a peer");
                self.peers.handle_connect_failed(tag, now);
            }
            Event::Received { socket, bytes } => self.handle_received(socket, bytes),
            Event::Sent { socket, buffer } => {
                if self.clients.has(socket) {
                    self.clients.handle_sent(socket, buffer);
                } else if self.memcache.has(socket) {
                    self.memcache.handle_sent(socket, buffer);
                } else {
                    self.peers.handle_sent(socket, buffer);
                }
            }
            Event::Closed { socket, .. } => {
                if let Some(connection) = self.clients.handle_closed(socket) {
                    self.explains.retain(|(wanted, _)| *wanted != connection);
                    self.shard.handle_connection_closed(connection);
                } else if !self.memcache.handle_closed(socket) {
                    let shard = &mut self.shard;
                    self.peers.handle_closed(socket, now, |event| handle_peer_event(shard, event, now));
                }
            }
            Event::DiskDone { token, result } => self.disk_events.push((token, result)),
            Event::Doorbell => {}
        }
    }

    fn handle_received(&mut self, socket: SocketId, bytes: &[u8]) {
        let now = self.now;
        if self.clients.has(socket) {
            let (clients, mut desk) = self.desk();
            clients.handle_received(socket, bytes, |event| desk.handle(&event));
        } else if self.memcache.has(socket) {
            let (memcache, mut reach) = self.port();
            memcache.handle_received(socket, bytes, &mut reach);
        } else {
            let shard = &mut self.shard;
            self.peers.handle_received(socket, bytes, &*self.shared, |event| handle_peer_event(shard, event, now));
        }
    }

    /// Sends the clients' frames; requests that back pressure held are read on.
    fn flush_clients(&mut self, io: &mut impl Io) {
        let (clients, mut desk) = self.desk();
        clients.flush(io, |event| desk.handle(&event));
    }

    fn handle_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Storage(done) => {
                let finished = self.shard.log_mut().disk_mut().finish(done);
                self.disk_events.push(finished);
            }
            Mail::Rang => {}
        }
    }

    /// The completions of the log, after the mail that may hold some; and what they ask for, so that what needs no ring
    /// counts in this turn.
    fn handle_disk_events(&mut self, ring: &mut Ring) {
        if self.disk_events.is_empty() {
            return;
        }
        let now = self.now;
        for (token, result) in self.disk_events.drain(..) {
            if let Some(at) = self.syncing.iter().position(|(syncing, ..)| *syncing == token) {
                let (_, since, begun) = self.syncing.swap_remove(at);
                self.profile.note_sync(self.id, begun);
                self.sync_us.saturating_record(now.since(since).as_us());
                self.counters.syncs += 1;
            }
            self.shard.handle_op_done(token, result);
        }
        if self.begin_operations(ring) {
            // A large batch: the disk begins now, not when this turn is over.
            ring.enter(Wait::No);
        }
    }

    /// Carries out, or hands on, what the log asks for; true when the ring has got some of it.
    fn begin_operations(&mut self, ring: &mut Ring) -> bool {
        let mut has_rung = false;
        while let Some((token, op)) = self.shard.poll_op() {
            self.note_op(&op);
            if !op.is_ring() {
                self.shard.log_mut().disk_mut().submit(token, op);
            } else if let Some(result) = self.shard.log_mut().disk_mut().do_now(&op) {
                // What that asks for comes next in this loop, and leaves with the same enter.
                self.shard.handle_op_done(token, result);
            } else {
                // A write that the ring does is a sync as well.
                self.syncing.push((token, self.now, self.profile.last()));
                ring.submit_disk(token, &op, self.shard.log().disk());
                has_rung = true;
            }
        }
        has_rung
    }

    fn note_op(&mut self, op: &DiskOp) {
        if let DiskOp::Write { bytes, .. } = op {
            self.counters.log_bytes += u64::from(*bytes);
        }
    }

    /// Members and leaders, for the links and for everybody who asks.
    fn publish(&mut self) {
        if let Some(members) = self.shard.poll_members() {
            // A node that joins is in no configuration yet: it dials those that it was told of.
            let members = if members.is_empty() { self.shared.members() } else { members };
            self.peers.set_members(&members);
        }
        while let Some((group, alarm)) = self.shard.poll_alarm() {
            if alarm.stops() {
                tracing::error!(group = group.0, ?alarm, "the group has stopped on this node; it must be looked at");
            } else {
                tracing::error!(
                    group = group.0,
                    ?alarm,
                    "that node forgot what it acknowledged; replace it under a new id"
                );
            }
        }
        while let Some(found) = self.shard.poll_difference() {
            tell::difference(&found);
        }
        while let Some((group, notice)) = self.shard.poll_notice() {
            let group = group.0;
            match notice {
                shard::Notice::StateLost { reason } => tracing::error!(
                    group,
                    reason,
                    "this node does not serve the group until it has its state again; check the disk"
                ),
                shard::Notice::NoneHasIt => tracing::error!(
                    group,
                    "no voter of the group has its state: it stays stopped; restore a backup into a new cluster"
                ),
                shard::Notice::StateBack => tracing::info!(group, "the group has its state again"),
            }
        }
        let shared = &self.shared;
        if self.id == CoreId(0) {
            shared.set_applied_0(self.shard.applied_index(GroupId(0)));
        }
        self.shard.poll_leaders(|group, leader| shared.set_leader(group, leader));
        self.publish_cache();
    }

    /// Core 0 has group 0: it reads the address book there, as far as it is applied here.
    fn refresh_address_book(&mut self) {
        if self.now < self.next_address_book {
            return;
        }
        self.next_address_book = self.now + ADDRESS_BOOK_EVERY;
        let applied = self.shard.applied_index(GroupId(0));
        if applied != self.address_book_at {
            self.address_book_at = applied;
            for kind in [address_book::NODES, address_book::SERVERS] {
                let ticket = Ticket { connection: INTERNAL, request: u64::from(kind), kind };
                self.shard.handle_stale_query(ticket, GroupId(0), Nsid(0), address_book::query(kind));
            }
        }
    }

    fn deliver_replies(&mut self) {
        let asks = std::mem::take(&mut self.asks);
        for ask in &asks {
            requests::answer(self, ask);
            if !self.explains.is_empty() {
                let ticket = ask.ticket();
                take_explain(&mut self.explains, ticket.connection, ticket.request);
            }
        }
        self.asks = asks;
        self.asks.clear();
        self.near_answers.clear();
        let Hands { clients, shard, counters, shared, profile, explains, id, node, .. } = self;
        let Hands { has_replied, mailroom, memcache, .. } = self;
        let replies = shard.replies();
        let timings = replies.timings();
        profile.begin_replies(timings.len());
        for reply in replies.iter() {
            let Ticket { connection, request, .. } = reply.ticket;
            if connection == INTERNAL {
                address_book::learn(shared, &reply);
                continue;
            }
            if memcache::is_ours(connection) {
                memcache.handle_answer(connection, request, memcache::answered(reply.status, reply.body));
                continue;
            }
            if let Some(place) = forward::place_of(reply.ticket) {
                forward::send_home(mailroom, place, &reply, timings);
                continue;
            }
            let timed = reply.timing.map(|(at, class)| (at, class, &timings[at as usize]));
            let is_explained = !explains.is_empty() && take_explain(explains, connection, request);
            let explanation =
                timed.filter(|_| is_explained).map(|(_, class, timing)| profile.explain(class, timing, *id, *node));
            deliver(clients, counters, &reply, explanation.as_ref());
            if let Some((at, class, timing)) = timed.filter(|_| ON) {
                clients.mark(connection, profile.name(at, class, timing));
            }
        }
        *has_replied |= !shard.replies().is_empty();
        shard.replies().clear();
        self.deliver_forwarded();
        self.shard.end_stage(Border::Reply, self.profile.end_replies());
    }

    fn deliver_peer_messages(&mut self) {
        let now = self.now;
        while let Some(message) = self.shard.poll_peer() {
            match message {
                PeerOut::Raft { to, group, body } => self.send_raft(to, group, &body),
                PeerOut::Resting { to, resting: Resting { count, hash }, now: list } => {
                    let pair = RestPair { count, hash, mono: list };
                    self.peers.send(to, now, |frame| frame.push_rest(&pair));
                }
                PeerOut::RestingAck { to, resting: Resting { count, hash }, list, is_slow } => {
                    let pair = RestPair { count, hash, mono: list };
                    self.peers.send(to, now, |frame| frame.push_rest_ack(&pair, is_slow));
                }
                PeerOut::SnapshotPart { to, group, index, index_term, term, snapshot, part, last, body } => {
                    let part = SnapshotPart {
                        leader_term: term,
                        index,
                        term: index_term,
                        snapshot_id: snapshot,
                        part,
                        last,
                        body: &body,
                    };
                    self.peers.send(to, now, |frame| frame.push_snapshot(group, &part));
                }
                PeerOut::SnapshotAck { to, group, snapshot, next_part, refused } => {
                    let ack = SnapshotAck {
                        term: base::Term(0),
                        snapshot_id: snapshot,
                        next_part,
                        credit_parts: base::limits::SNAPSHOT_WINDOW,
                        rejected: refused,
                    };
                    self.peers.send(to, now, |frame| frame.push_snapshot_ack(group, &ack));
                }
                // An older release would close the link.
                PeerOut::StateHash { to, .. } if self.peers.features(to) & peer_feature::STATE_HASH == 0 => {}
                PeerOut::StateHash { to, group, index, hash } => {
                    let state = StateHash { index, hash };
                    self.peers.send(to, now, |frame| frame.push_state_hash(group, &state));
                }
            }
        }
    }

    fn send_raft(&mut self, to: NodeId, group: GroupId, body: &raft::Body) {
        let now = self.now;
        let Hands { peers, shard, scratch, .. } = self;
        scratch.clear();
        if let Some((first, count)) = body.entries()
            && count > 0
        {
            let last = LogIndex(first.0 + u64::from(count) - 1);
            if !shard.records(group, first, last, scratch) {
                return;
            }
        }
        peers.send(to, now, |frame| frame.push(group, body, |out| out.extend_from_slice(scratch)));
    }

    /// A node that stops, cleanly or not, gives its leaderships away first: the others need not wait for a timeout. The
    /// messages leave in this turn.
    fn hand_over_before_stop(&mut self) {
        let must_stop = self.shared.is_stopping() || self.shard.stop_reason().is_some();
        if must_stop && !self.has_handed_over {
            self.has_handed_over = true;
            self.refuse_forwarded();
            let groups = self.shard.hand_over_all(self.now);
            if groups > 0 {
                tracing::info!(core = self.id.0, groups, "handed leadership over before the stop");
            }
        }
    }

    fn watch_stop(&mut self) {
        if let Some(reason) = self.shard.stop_reason() {
            let code = match reason {
                StopReason::Log(_) | StopReason::DiskLag(_) | StopReason::Store(_) => ExitCode::Io,
                StopReason::Newer { .. } | StopReason::NewerLevel { .. } => ExitCode::Data,
            };
            self.shared.fail(code, reason.to_string());
        }
        if self.shared.is_stopping() && self.has_handed_over && !self.is_stopping {
            self.is_stopping = true;
            self.shard.prepare_stop();
            self.clients.close_all();
            self.memcache.close_all();
        }
    }

    /// Median and 99th percentile of the log's syncs, in microseconds.
    pub fn sync_percentiles(&self) -> (u64, u64) {
        (self.sync_us.value_at_quantile(0.5), self.sync_us.value_at_quantile(0.99))
    }

    fn is_done(&self) -> bool {
        self.is_stopping && (self.shared.failure().is_some() || self.shard.is_quiet())
    }
}

/// Whether a request wants to be explained; asked once, when it is answered.
pub(crate) fn take_explain(explains: &mut Vec<(u64, u64)>, connection: u64, request: u64) -> bool {
    let at = explains.iter().position(|wanted| *wanted == (connection, request));
    at.map(|at| explains.swap_remove(at)).is_some()
}

/// The status on the wire.
pub(crate) fn reply_status(status: Status) -> ReplyStatus {
    match status {
        Status::Ok => ReplyStatus::Ok,
        Status::NotLeader(_) => ReplyStatus::NotLeader,
        Status::Unavailable => ReplyStatus::Unavailable,
        Status::Overloaded => ReplyStatus::Overloaded,
        Status::Malformed => ReplyStatus::Malformed,
        Status::Refused => ReplyStatus::Refused,
        Status::Unsupported => ReplyStatus::Unsupported,
    }
}

/// The body on the wire.
pub(crate) fn put_body(reply: &Reply<'_>, out: &mut Vec<u8>) {
    match reply.status {
        Status::NotLeader(hint) => wire::client::put_node(out, Some(hint)),
        _ => out.extend_from_slice(reply.body),
    }
}

/// A request of this core's clients was answered.
pub(crate) fn count_reply(counters: &mut CoreCounters, status: ReplyStatus, kind: u8) {
    match (status, RequestKind::from_u8(kind)) {
        (ReplyStatus::Ok, Some(RequestKind::Command | RequestKind::NullCommand)) => counters.commands += 1,
        (ReplyStatus::Ok, Some(RequestKind::Query | RequestKind::NullCount)) => counters.queries += 1,
        (ReplyStatus::Overloaded, _) => counters.overloaded += 1,
        (ReplyStatus::Malformed, _) => counters.malformed += 1,
        _ => {}
    }
}

fn deliver(clients: &mut Clients, counters: &mut CoreCounters, reply: &Reply<'_>, explanation: Option<&Explanation>) {
    let status = reply_status(reply.status);
    let Ticket { connection, request, kind } = reply.ticket;
    count_reply(counters, status, kind);
    let is_last = status != ReplyStatus::Ok || ![RequestKind::Watch as u8, RequestKind::Feed as u8].contains(&kind);
    if let Some(explanation) = explanation {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(reply.body);
        return clients.reply_explained((connection, request, kind), status, reply.group, explanation, write);
    }
    clients.reply(connection, request, kind, status, reply.group, is_last, |out| put_body(reply, out));
}

fn handle_peer_event(shard: &mut NodeShard, event: PeerEvent<'_>, now: Mono) {
    match event {
        PeerEvent::Up { node, incarnation } => {
            tracing::info!(peer = node.0, incarnation, "peer link up");
            shard.handle_peer_up(node, incarnation);
        }
        PeerEvent::Down { node } => {
            tracing::info!(peer = node.0, "peer link down");
            shard.handle_peer_down(node);
        }
        PeerEvent::Message { node, message } => match message.kind {
            PeerKind::Raft { body, entries } => shard.handle_peer(node, message.group, body, entries, now),
            PeerKind::Snapshot(part) => {
                let SnapshotPart { leader_term, index, snapshot_id, part, last, body, .. } = part;
                shard.handle_snapshot_part(node, message.group, index, leader_term, snapshot_id, part, last, body);
            }
            PeerKind::Rest(RestPair { count, hash, mono }) => {
                shard.handle_resting(node, Resting { count, hash }, mono, now);
            }
            PeerKind::RestAck { pair: RestPair { count, hash, mono }, is_slow } => {
                shard.handle_resting_ack(node, Resting { count, hash }, mono, is_slow, now);
            }
            PeerKind::StateHash(StateHash { index, hash }) => {
                shard.handle_state_hash(node, message.group, index, hash);
            }
            PeerKind::SnapshotAck(ack) => {
                shard.handle_snapshot_ack(node, message.group, ack.snapshot_id, ack.next_part, ack.rejected);
            }
        },
    }
}
