//! Connections of clients: byte streams with latency, and the server's side of them as `net/server` has it.

use base::limits::WIRE_FRAME_BYTES_MAX;
use base::stages::{READ_STAGES, Stage, Stamp, WRITE_STAGES};
use base::{ClusterId, CoreId, GroupId, Mono, NodeId, Nsid};
use meta::{Query, What};
use shard::{Status, Ticket};
use transport::Asked;
use wire::client::{Watch, parse_query, put_core, put_node};
use wire::{
    ClusterMap, Frame, FrameClass, FrameReader, FrameWriter, Link, NodeAddress, ReplyStatus, RequestItem, RequestKind,
    ServerHello,
};

use super::node::{Core, Mail, SimShard};
use super::probes::PROBER;
use super::turn::OPERATOR;
use super::{MS, World};
use crate::draw::{Stream, log_between, prng};
use crate::heap::Due;
use crate::observe::{Path, Token};

/// One connection, both ends.
pub(super) struct Connection {
    pub client: u32,
    /// The client's name for it.
    pub link: client::LinkId,
    pub seat: u8,
    pub core: u8,
    /// The life of the seat that it was made in; later ones do not know it.
    pub life: u32,
    /// Mean delay one way.
    delay: u64,
    to_server_at: u64,
    to_client_at: u64,
    /// The server has it.
    pub is_open: bool,
    /// The client has it.
    pub is_wanted: bool,
    has_hello: bool,
    reader: FrameReader,
    writer: FrameWriter,
    /// Where the replies in the writer took effect.
    tokens: Vec<(u64, Token)>,
}

/// Where a core of a node listens: the address that clients are told.
pub(super) fn address(node: NodeId) -> String {
    format!("n{}:7000", node.0)
}

/// Node and core of an address; the shared port is core 0's.
pub(super) fn parse_address(address: &str) -> Option<(NodeId, u16)> {
    let (node, port) = address.strip_prefix('n')?.split_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some((NodeId(node.parse().ok()?), port.saturating_sub(7001)))
}

impl World<'_> {
    /// A client dials.
    pub(super) fn connect(&mut self, client: u32, link: client::LinkId, address: &str) {
        let number = self.connections.len() as u32;
        let target = parse_address(address).and_then(|(node, core)| Some((self.host_of(node)?, core)));
        let delay = log_between(&mut prng(self.seed, Stream::Client, 1 << 40 | u64::from(client), 0), MS / 10, 20 * MS);
        let (seat, core) = target.unwrap_or((usize::from(u8::MAX), 0));
        let life = self.nodes.get(seat).map_or(0, |node| node.life);
        self.connections.push(Connection {
            client,
            link,
            seat: seat as u8,
            core: core as u8,
            life,
            delay,
            to_server_at: 0,
            to_client_at: 0,
            is_open: false,
            is_wanted: true,
            has_hello: false,
            reader: FrameReader::new(Link::Client, WIRE_FRAME_BYTES_MAX),
            writer: FrameWriter::new(FrameClass::Reply, WIRE_FRAME_BYTES_MAX),
            tokens: Vec::new(),
        });
        match target {
            Some(_) => self.push(self.now + delay, Due::Accept { connection: number }),
            None => self.push(self.now + 2 * delay, Due::ClientClosed { connection: number }),
        }
    }

    /// The seat that an address of a node leads to; whoever took its place may sit there.
    fn host_of(&self, node: NodeId) -> Option<usize> {
        let former = || self.former.iter().find(|(former, _)| *former == node).map(|(_, seat)| *seat);
        self.seat_of(node).or_else(former)
    }

    pub(super) fn accept(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        let (seat, delay) = (connection.seat as usize, connection.delay);
        let node = &self.nodes[seat];
        if !node.is_up() && node.is_dark && self.injector.is_enabled() {
            return;
        }
        if !node.is_up() || node.life != connection.life {
            return self.push(self.now + delay, Due::ClientClosed { connection: number });
        }
        connection.is_open = true;
        self.push(self.now + delay, Due::Accepted { connection: number });
    }

    /// The client sends bytes.
    pub(super) fn send_to_server(&mut self, number: u32, bytes: Vec<u8>) {
        let buffer = self.buffers.add(bytes);
        let connection = &mut self.connections[number as usize];
        let at = (self.now + connection.delay).max(connection.to_server_at + 1);
        connection.to_server_at = at;
        self.push(at, Due::ToServer { connection: number, buffer });
    }

    pub(super) fn reach_server(&mut self, number: u32, buffer: u32) {
        let connection = &self.connections[number as usize];
        let (seat, core) = (connection.seat as usize, connection.core as usize);
        if !connection.is_open || self.nodes[seat].life != connection.life {
            return self.buffers.release(buffer);
        }
        self.mail(seat, core, Mail::Bytes { connection: number, buffer });
    }

    /// The client has closed it.
    pub(super) fn close_at_client(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        connection.is_wanted = false;
        let delay = connection.delay;
        self.push(self.now + delay, Due::ServerClosed { connection: number });
    }

    pub(super) fn server_closed(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        if !std::mem::take(&mut connection.is_open) {
            return;
        }
        let (seat, core, life) = (connection.seat as usize, connection.core as usize, connection.life);
        if self.nodes[seat].life == life {
            self.mail(seat, core, Mail::Closed { connection: number });
        }
    }

    /// The process is gone, and its connections with it: clients hear of it unless power was cut.
    pub(super) fn drop_connections(&mut self, seat: usize, is_silent: bool) {
        for number in 0..self.connections.len() {
            let connection = &mut self.connections[number];
            if connection.is_open && connection.seat as usize == seat {
                connection.is_open = false;
                let at = self.now + connection.delay;
                if !is_silent || !self.injector.is_enabled() {
                    self.push(at, Due::ClientClosed { connection: number as u32 });
                }
            }
        }
    }

    /// Clients hear of every connection whose process is gone.
    pub(super) fn close_dead_connections(&mut self) {
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            let life = self.nodes.get(connection.seat as usize).map(|node| node.life);
            if connection.is_wanted && life != Some(connection.life) {
                self.push(self.now, Due::ClientClosed { connection: number as u32 });
            }
        }
    }

    // Requests.

    pub(super) fn read_requests(&mut self, core: usize, cell: &mut Core, number: u32, buffer: u32, now: Mono) {
        let mut connection = std::mem::replace(&mut self.connections[number as usize], spare_connection());
        if connection.is_open {
            connection.reader.push(self.buffers.bytes(buffer));
            if self.read_all(core, cell, number, &mut connection, now).is_none() {
                connection.is_open = false;
                cell.shard.handle_connection_closed(u64::from(number));
                self.push(self.now + connection.delay, Due::ClientClosed { connection: number });
            }
        }
        if !connection.writer.is_empty() {
            self.written.push(number);
        }
        self.connections[number as usize] = connection;
    }

    /// `None`: nonsense came, close it.
    fn read_all(
        &mut self,
        core: usize,
        cell: &mut Core,
        number: u32,
        connection: &mut Connection,
        now: Mono,
    ) -> Option<()> {
        if !connection.has_hello {
            connection.reader.next_client_hello().ok()?;
            connection.has_hello = true;
            let hello = ServerHello {
                version: wire::WIRE_VERSION,
                features: 0,
                cluster_id: ClusterId([3; 16]),
                node_id: self.nodes[connection.seat as usize].id,
                cores: self.shape.cores,
                core: CoreId(core as u16),
                groups: self.shape.groups,
            };
            self.send_to_client(number, connection, hello.encode().to_vec(), self.now);
        }
        // The reader is taken out, so that its frames can be read while the connection is written to.
        let mut reader =
            std::mem::replace(&mut connection.reader, FrameReader::new(Link::Client, WIRE_FRAME_BYTES_MAX));
        while let Some(bytes) = reader.next_frame().ok()? {
            let frame = Frame::parse(bytes).ok()?;
            for item in frame.requests().ok()? {
                self.serve(core, cell, number, connection, &item, now);
            }
        }
        connection.reader = reader;
        Some(())
    }

    fn serve(
        &mut self,
        core: usize,
        cell: &mut Core,
        number: u32,
        connection: &mut Connection,
        item: &RequestItem<'_>,
        _now: Mono,
    ) {
        let group = item.group;
        let ticket = Ticket { connection: u64::from(number), request: item.request_id, kind: item.kind };
        let kind = item.request_kind();
        let mut reply = |status: ReplyStatus, group: GroupId, body: &[u8]| {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(body);
            connection
                .writer
                .push_reply(item.request_id, status as u8, item.kind, group, write)
                .expect("a short answer fits a frame");
        };
        let right = base::core_of(group, self.shape.cores);
        let is_grouped = matches!(kind, Some(RequestKind::Command | RequestKind::Query | RequestKind::Watch));
        if is_grouped && right.0 as usize != core {
            if kind == Some(RequestKind::Watch) {
                let mut body = Vec::new();
                put_core(&mut body, right);
                return reply(ReplyStatus::WrongCore, group, &body);
            }
            let begun = Stamp::at(self.now);
            let asked = Asked { connection: ticket.connection, request: ticket.request, kind: item.kind, group, begun };
            if !cell.mailroom.forward(right, asked, item.body) {
                reply(ReplyStatus::Overloaded, group, &[]);
            }
            return;
        }
        if is_grouped && group.0 < self.shape.groups {
            cell.touched |= 1 << (group.0 / u32::from(self.shape.cores)).min(63);
        }
        match kind {
            Some(kind @ (RequestKind::Command | RequestKind::Query)) => {
                if let Err(error) = ask(&mut cell.shard, ticket, kind, group, item.body) {
                    reply(ReplyStatus::Malformed, group, error.to_string().as_bytes());
                }
            }
            Some(RequestKind::Watch) => match Watch::parse(item.body) {
                Ok(watch) => cell.shard.handle_watch(ticket, group, watch.acct, watch.nsid),
                Err(error) => reply(ReplyStatus::Malformed, group, error.to_string().as_bytes()),
            },
            Some(RequestKind::ClusterMap) => {
                let mut body = Vec::new();
                self.cluster_map(connection.seat as usize).encode(&mut body);
                reply(ReplyStatus::Ok, GroupId(0), &body);
            }
            Some(RequestKind::Ping) => reply(ReplyStatus::Ok, GroupId(0), item.body),
            _ => reply(ReplyStatus::Unsupported, group, &[]),
        }
    }

    fn cluster_map(&self, seat: usize) -> ClusterMap {
        let nodes = self.nodes.iter().map(|node| NodeAddress { id: node.id, address: address(node.id) });
        let leaders = self.nodes[seat].leaders.iter().map(|leader| (leader.0 != 0).then_some(*leader));
        ClusterMap {
            cores: self.shape.cores,
            nodes: nodes.collect(),
            block_servers: Vec::new(),
            leaders: leaders.collect(),
        }
    }

    /// Writes the replies of a turn and sends what is written.
    pub(super) fn deliver_replies(&mut self, seat: usize, _core: usize, cell: &mut Core, at: u64) {
        let node = self.nodes[seat].id;
        self.check_timings(cell, at);
        let mut written = 0u64;
        let is_write = RequestKind::Command as u8;
        for reply in cell.shard.replies().iter().filter(|reply| reply.ticket.kind == is_write) {
            written |= u64::from(reply.effect.is_some()) << reply.group.0.min(63);
        }
        for group in self.groups().filter(|group| written & 1 << group.0.min(63) != 0) {
            self.show_all_durable(seat, cell, group);
        }
        for reply in cell.shard.replies().iter() {
            let Ticket { connection, request, kind } = reply.ticket;
            if reply.effect.is_some()
                && cell.stopped.1 & 1 << (reply.group.0 / u32::from(self.shape.cores)).min(63) != 0
            {
                self.fail("alarm", format!("node {node} answers for group {} after an alarm stopped it", reply.group));
            }
            if connection == OPERATOR {
                continue;
            }
            if connection == super::upgrade::UPGRADER {
                self.end_upgrade_step(&reply);
                continue;
            }
            let token = reply.effect.map(|effect| token_of(&reply, effect, node));
            if connection == PROBER {
                self.end_probe(&reply, token);
                continue;
            }
            let status = match reply.status {
                Status::Ok => ReplyStatus::Ok,
                Status::NotLeader(_) => ReplyStatus::NotLeader,
                Status::Unavailable => ReplyStatus::Unavailable,
                Status::Overloaded => ReplyStatus::Overloaded,
                Status::Malformed => ReplyStatus::Malformed,
                Status::Refused => ReplyStatus::Refused,
                Status::Unsupported => ReplyStatus::Unsupported,
            };
            let write = |out: &mut Vec<u8>| match reply.status {
                Status::NotLeader(hint) => put_node(out, Some(hint)),
                _ => out.extend_from_slice(reply.body),
            };
            match super::parcels::place_of(reply.ticket) {
                Some(place) => cell.mailroom.answer(place, status, token, write),
                None => self.write_reply((connection, request, kind), status, reply.group, token, write),
            }
        }
        cell.shard.replies().clear();
        self.deliver_parcels(cell);
        self.send_written(at);
    }

    /// Writes a reply into its connection's next frame, if that is still open.
    pub(super) fn write_reply(
        &mut self,
        (connection, request, kind): (u64, u64, u8),
        status: ReplyStatus,
        group: GroupId,
        token: Option<Token>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(entry) = self.connections.get_mut(connection as usize).filter(|entry| entry.is_open) else { return };
        if entry.writer.push_reply(request, status as u8, kind, group, write).is_err() {
            return;
        }
        if let Some(token) = token {
            entry.tokens.push((request, token));
        }
        self.written.push(connection as u32);
    }

    /// Every request that was done has a time: from its frame's turn to this one's end, in stages that sum to it.
    fn check_timings(&mut self, cell: &mut Core, at: u64) {
        for timing in cell.shard.replies().timings() {
            self.counts.timed += 1;
            let order: &[Stage] = if timing.slot.has(Stage::Propose) { &WRITE_STAGES } else { &READ_STAGES };
            let lengths = timing.slot.lengths(order);
            let sum: u64 = lengths.of.iter().map(|units| u64::from(*units)).sum();
            let whole = Stamp::at(at).units_since(timing.slot.begin());
            // A slot ends at 68 s of these ticks.
            if sum != u64::from(lengths.total) || (lengths.total != whole && whole != u32::MAX) {
                let group = timing.group;
                let what = format!("group {group}: stages sum to {sum}, total {}, {whole} went by", lengths.total);
                return self.fail("stages", what);
            }
        }
    }

    /// Sends what was written in this turn, in the order in which the connections were made.
    fn send_written(&mut self, at: u64) {
        if self.written.is_empty() {
            return;
        }
        let mut written = std::mem::take(&mut self.written);
        written.sort_unstable();
        written.dedup();
        for number in written.drain(..) {
            let place = number as usize;
            if self.connections[place].is_open && !self.connections[place].writer.is_empty() {
                let mut connection = std::mem::replace(&mut self.connections[place], spare_connection());
                let spare = self.buffers.spare();
                let bytes = connection.writer.take(spare);
                self.send_to_client(number, &mut connection, bytes, at);
                self.connections[place] = connection;
            }
        }
        self.written = written;
    }

    fn send_to_client(&mut self, number: u32, connection: &mut Connection, bytes: Vec<u8>, at: u64) {
        let buffer = self.buffers.add(bytes);
        std::mem::swap(self.buffers.tokens_mut(buffer), &mut connection.tokens);
        let arrival = (at + connection.delay).max(connection.to_client_at + 1);
        connection.to_client_at = arrival;
        self.push(arrival, Due::ToClient { connection: number, buffer });
    }
}

/// Asks the shard. Half of the queries may be answered by whoever gets them.
pub(super) fn ask(
    shard: &mut SimShard,
    ticket: Ticket,
    kind: RequestKind,
    group: GroupId,
    body: &[u8],
) -> Result<(), wire::client::BodyError> {
    if kind == RequestKind::Command {
        shard.handle_command(ticket, group, body);
        return Ok(());
    }
    let (acct, nsid, query) = parse_query(body)?;
    read_metadata(shard, &ticket, (group, nsid), query);
    if ticket.request.is_multiple_of(2) {
        shard.handle_follower_query(ticket, group, acct, nsid, query);
    } else {
        shard.handle_query(ticket, group, acct, nsid, query);
    }
    Ok(())
}

/// Of a shard with a read cache some look-ups by path are made in the form of the memcached port as well: nobody waits for
/// that answer, but the shard compares it with what it has cached.
fn read_metadata(shard: &mut SimShard, ticket: &Ticket, (group, nsid): (GroupId, Nsid), query: &[u8]) {
    if !ticket.request.is_multiple_of(3) || shard.cache_stats().is_none() {
        return;
    }
    if let Ok(Query::Lookup(What::At(at))) = Query::decode(query)
        && at.node.0 == 0
    {
        let ticket = Ticket { connection: OPERATOR, request: 0, kind: RequestKind::Query as u8 };
        shard.handle_metadata(ticket, group, nsid, &at.path);
    }
}

/// Where a request of this reply took effect, at this node.
fn token_of(reply: &shard::Reply<'_>, effect: shard::Effect, node: NodeId) -> Token {
    let shard::Effect { index, term, place, path } = effect;
    let path = match path {
        _ if reply.ticket.kind == RequestKind::Command as u8 => Path::Write,
        Some(raft::ReadPath::Round) => Path::ReadIndex,
        Some(raft::ReadPath::Lease) => Path::Lease,
        Some(raft::ReadPath::Follower) => Path::Follower,
        None => Path::Stale,
    };
    Token { group: reply.group, index, term, place, path, node }
}

fn spare_connection() -> Connection {
    Connection {
        client: 0,
        link: client::LinkId(0),
        seat: u8::MAX,
        core: 0,
        life: 0,
        delay: 0,
        to_server_at: 0,
        to_client_at: 0,
        is_open: false,
        is_wanted: false,
        has_hello: false,
        reader: FrameReader::new(Link::Client, 0),
        writer: FrameWriter::new(FrameClass::Reply, 0),
        tokens: Vec::new(),
    }
}
