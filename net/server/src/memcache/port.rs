//! All connections of a core's memcached port.

use std::net::SocketAddr;
use std::sync::Arc;

use base::limits::{MEMCACHE_COMMANDS_KEPT, MEMCACHE_COMMANDS_MAX, MEMCACHE_OUT_BYTES_SOFT};
use base::mono::Span;
use base::{CoreId, Mono, NodeId};
use reactor::SocketId;
use reactor::io::Io;
use wire::memcache::{Refusal, Request, Stats, Step, put_line, put_stat};

use super::Reach;
use super::command::{Command, Kind, Refused};
use super::connection::{Answered, Connection};
use super::quick::{self, Scratch, Told};
use super::stats::{Count, VERSION, put_cache};
use crate::shared::Shared;

/// A command that no quorum has confirmed for so long is refused.
const QUORUM_WAIT_MAX: Span = Span::from_ms(1_000);
/// How often that is looked for.
const SWEEP_EVERY: Span = Span::from_ms(100);

/// What the port of a core is told at its start.
pub(crate) struct Settings {
    pub core: CoreId,
    pub groups: u32,
    /// Where it listens; `None` is nowhere.
    pub listen: Option<SocketAddr>,
    /// This node's shared client port.
    pub client_port: u16,
}

/// The memcached connections of one core.
pub(crate) struct Memcache {
    settings: Settings,
    shared: Arc<Shared>,
    /// By the socket's slot.
    connections: Vec<Option<Box<Connection>>>,
    /// Connections with something to write, send, or take on, each once.
    ready: Vec<SocketId>,
    /// Commands whose memory is free.
    #[expect(clippy::vec_box, reason = "they travel between here and the connections")]
    spare: Vec<Box<Command>>,
    scratch: Scratch,
    started: Mono,
    now: Mono,
    wall_ms: u64,
    next_sweep: Mono,
    /// Lookups were begun since the shard was last asked for replies.
    has_asked: bool,
}

/// The name of a connection for tickets.
fn name(socket: SocketId) -> u64 {
    u64::from(socket.generation) << 32 | u64::from(socket.index)
}

impl Memcache {
    pub(crate) fn new(settings: Settings, shared: Arc<Shared>, now: Mono) -> Memcache {
        Memcache {
            settings,
            shared,
            connections: Vec::new(),
            ready: Vec::new(),
            spare: Vec::new(),
            scratch: Scratch::default(),
            started: now,
            now,
            wall_ms: 0,
            next_sweep: Mono::MAX,
            has_asked: false,
        }
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self, now: Mono, wall_ms: u64) {
        (self.now, self.wall_ms) = (now, wall_ms);
        if now >= self.next_sweep {
            self.sweep();
        }
    }

    /// A connection was accepted.
    pub(crate) fn handle_accepted(&mut self, socket: SocketId) {
        let at = socket.index as usize;
        if self.connections.len() <= at {
            self.connections.resize_with(at + 1, || None);
        }
        self.connections[at] = Some(Box::new(Connection::new(socket, self.now)));
        self.count(Count::CurrConnections, 1);
        self.count(Count::TotalConnections, 1);
    }

    /// True when the socket is one of these.
    pub(crate) fn has(&self, socket: SocketId) -> bool {
        self.get(socket).is_some()
    }

    /// Bytes came.
    pub(crate) fn handle_received(&mut self, socket: SocketId, bytes: &[u8], reach: &mut Reach<'_>) {
        self.count(Count::BytesRead, bytes.len() as u64);
        self.with(socket, |port, connection| {
            if !connection.has_ended {
                port.read_on(connection, bytes, reach);
                port.write_done(connection);
                port.queue(connection);
            }
        });
    }

    /// A lookup of the connection of that name has ended. Whoever is gone wants no answer.
    pub(crate) fn handle_answer(&mut self, connection: u64, request: u64, answered: Answered<'_>) {
        let socket = SocketId { index: connection as u32, generation: (connection >> 32) as u32 & 0xFF_FFFF };
        self.with(socket, |port, connection| {
            connection.handle_answer(request, answered, port.now);
            port.queue(connection);
        });
    }

    /// A send is done.
    pub(crate) fn handle_sent(&mut self, socket: SocketId, buffer: Vec<u8>) {
        self.with(socket, |port, connection| {
            connection.handle_sent(buffer);
            port.queue(connection);
        });
    }

    /// The socket is gone; true if it was one of these.
    pub(crate) fn handle_closed(&mut self, socket: SocketId) -> bool {
        if !self.has(socket) {
            return false;
        }
        let connection = self.connections[socket.index as usize].take().expect("it was just seen");
        connection.into_commands().for_each(|command| self.keep(command));
        self.shared.memcache.sub(usize::from(self.settings.core.0), Count::CurrConnections, 1);
        true
    }

    /// Goes on with connections whose commands were answered, or whose bytes have left; sends what waits.
    pub(crate) fn flush(&mut self, io: &mut impl Io, reach: &mut Reach<'_>) {
        // What was asked before has been answered as far as this turn can.
        self.has_asked = false;
        let mut ready = std::mem::take(&mut self.ready);
        for socket in ready.drain(..) {
            self.with(socket, |port, connection| {
                connection.is_queued = false;
                port.go_on(connection, reach);
                connection.pause_or_resume(io);
                let sent = connection.flush(io);
                port.count(Count::BytesWritten, sent as u64);
            });
        }
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    /// True when something waits to leave at once, or the shard was asked and has not been looked at since.
    pub(crate) fn has_work(&self) -> bool {
        self.has_asked || self.ready.iter().any(|socket| self.get(*socket).is_some_and(Connection::wants_flush))
    }

    /// When commands are looked at that wait too long.
    pub(crate) fn next_deadline(&self) -> Mono {
        self.next_sweep
    }

    /// Closes all connections: what waits is refused.
    pub(crate) fn close_all(&mut self) {
        for at in 0..self.connections.len() {
            let Some(socket) = self.connections[at].as_ref().map(|connection| connection.socket) else { continue };
            self.with(socket, |port, connection| {
                connection.refuse_all(Refusal::NotReady);
                port.write_done(connection);
                connection.close_after_flush();
                port.queue(connection);
            });
        }
    }

    /// Refuses what has waited too long for a quorum.
    fn sweep(&mut self) {
        self.next_sweep = Mono::MAX;
        let moved = self.now - QUORUM_WAIT_MAX;
        for at in 0..self.connections.len() {
            let Some(connection) = self.connections[at].as_deref() else { continue };
            if !connection.is_waiting() {
                continue;
            }
            self.next_sweep = self.now + SWEEP_EVERY;
            self.with(connection.socket, |port, connection| {
                connection.refuse_stuck(moved, Refusal::NoQuorum);
                port.queue(connection);
            });
        }
    }

    /// Writes, looks up, and takes requests as far as there is room.
    fn go_on(&mut self, connection: &mut Connection, reach: &mut Reach<'_>) {
        self.write_done(connection);
        self.look_up(connection, reach);
        if connection.is_stalled && !connection.has_ended && connection.has_place() {
            self.read_on(connection, &[], reach);
        }
        // What was refused at once.
        self.write_done(connection);
    }

    /// Takes requests out of what is left from before and these bytes.
    fn read_on(&mut self, connection: &mut Connection, lent: &[u8], reach: &mut Reach<'_>) {
        let mut input = std::mem::take(&mut connection.input);
        if input.is_empty() {
            // As a rule all of it is taken, and nothing is copied.
            let used = self.take_requests(connection, lent, reach);
            input.extend_from_slice(&lent[used..]);
        } else {
            input.extend_from_slice(lent);
            let used = self.take_requests(connection, &input, reach);
            input.drain(..used);
        }
        if !connection.has_ended {
            connection.input = input;
        }
        self.look_up(connection, reach);
    }

    /// Takes requests until the bytes end or there is no room; returns how many bytes are done with.
    fn take_requests(&mut self, connection: &mut Connection, bytes: &[u8], reach: &mut Reach<'_>) -> usize {
        let mut used = 0;
        connection.is_stalled = false;
        connection.last_command = self.now;
        while !connection.has_ended {
            if !connection.has_place() {
                connection.is_stalled = true;
                break;
            }
            let answered = self.answer_cached(connection, &bytes[used..], reach);
            if answered > 0 {
                used += answered;
                continue;
            }
            let (taken, step) = connection.decoder.next(&bytes[used..]);
            used += taken;
            match step {
                Step::More => break,
                Step::Close => self.end(connection),
                Step::Request(request) => {
                    self.take(connection, &request);
                    // A key that is only cached under other letters is answered now, and what follows it as quickly again.
                    if reach.near.is_some() {
                        self.look_up(connection, reach);
                        self.write_done(connection);
                    }
                }
            }
        }
        used
    }

    /// Answers requests at the front whose keys are cached, as long as none before them waits; returns how many bytes are
    /// done with.
    fn answer_cached(&mut self, connection: &mut Connection, bytes: &[u8], reach: &mut Reach<'_>) -> usize {
        let Some(near) = reach.near.as_deref_mut() else { return 0 };
        if connection.is_waiting() || !connection.decoder.is_between() {
            return 0;
        }
        let near = (near, self.settings.groups, self.now);
        let (used, told) = quick::answer(near, bytes, &mut self.scratch, &mut connection.out);
        if used > 0 {
            let Told { hits, misses, metas } = told;
            connection.decoder.note_quick();
            self.count(Count::CmdGet, hits + misses);
            self.count(Count::GetHits, hits);
            self.count(Count::GetMisses, misses);
            self.count(Count::CmdMeta, metas);
        }
        used
    }

    fn take(&mut self, connection: &mut Connection, request: &Request<'_>) {
        match *request {
            Request::Get { keys, has_cas } => self.begin(connection, Kind::Get { has_cas }, (keys.text, b"")),
            Request::MetaGet(get) => {
                self.count(Count::CmdMeta, 1);
                self.begin(connection, Kind::MetaGet { is_base64: get.is_base64 }, (get.key, get.flags));
            }
            Request::Debug { key, is_base64 } => {
                self.count(Count::CmdMeta, 1);
                self.begin(connection, Kind::Debug { is_base64 }, (key, b""));
            }
            Request::MetaNoop => self.reply(connection, |_, out| put_line("MN", out)),
            Request::Version => self.reply(connection, |_, out| {
                out.extend_from_slice(b"VERSION ");
                put_line(VERSION, out);
            }),
            Request::Stats(stats) => self.put_stats(connection, stats),
            // Nothing is cached here: the answer is the same before and after.
            Request::FlushAll { is_quiet } => {
                self.count(Count::CmdFlush, 1);
                self.put_ok(connection, is_quiet);
            }
            Request::Verbosity { is_quiet } => self.put_ok(connection, is_quiet),
            Request::Quit => self.end(connection),
            Request::Refused(refusal) => self.reply(connection, |port, out| port.put_refusal(refusal, out)),
            Request::Ignored => {}
        }
    }

    /// A command whose keys are to be looked up.
    fn begin(&mut self, connection: &mut Connection, kind: Kind, (key, flags): (&[u8], &[u8])) {
        let mut command = self.spare.pop().unwrap_or_else(|| Box::new(Command::new()));
        command.begin(kind, key, flags);
        connection.push(command);
        if self.next_sweep == Mono::MAX {
            self.next_sweep = self.now + SWEEP_EVERY;
        }
    }

    /// A reply that is known already: it leaves after those before it.
    fn reply(&mut self, connection: &mut Connection, write: impl FnOnce(&Memcache, &mut Vec<u8>)) {
        if !connection.is_waiting() {
            return write(self, &mut connection.out);
        }
        let mut command = self.spare.pop().unwrap_or_else(|| Box::new(Command::new()));
        command.begin(Kind::Literal, b"", b"");
        write(self, command.literal());
        connection.push(command);
    }

    fn put_ok(&mut self, connection: &mut Connection, is_quiet: bool) {
        if !is_quiet {
            self.reply(connection, |_, out| put_line("OK", out));
        }
    }

    fn put_stats(&mut self, connection: &mut Connection, stats: Stats) {
        if stats == Stats::Reset {
            self.shared.memcache.reset();
            return self.reply(connection, |_, out| put_line("RESET", out));
        }
        // The one that asks is not among the others while it is served.
        let (own, since) = (connection.socket, connection.last_command);
        self.reply(connection, |port, out| {
            match stats {
                Stats::General => {
                    let (stats, counts) = port.shared.cache.sum();
                    port.shared.memcache.put_general(port.now.since(port.started), port.wall_ms, out);
                    put_cache(&stats, counts, out);
                }
                Stats::Settings => {
                    let listen = port.settings.listen.expect("who asks has come by it");
                    port.shared.memcache.put_settings(listen, out);
                }
                Stats::Connections => {
                    let others = port.connections.iter().flatten().map(|other| (other.socket, other.last_command));
                    for (socket, since) in others.chain([(own, since)]) {
                        if out.len() > MEMCACHE_OUT_BYTES_SOFT {
                            break;
                        }
                        let place = format_args!("{}", socket.index);
                        put_stat(&format!("{place}:core"), port.settings.core.0, out);
                        put_stat(&format!("{place}:secs_since_last_cmd"), port.now.since(since).as_ms() / 1000, out);
                    }
                }
                Stats::Slabs => {
                    put_stat("active_slabs", 0, out);
                    put_stat("total_malloced", 0, out);
                }
                Stats::Items | Stats::Reset => {}
            }
            put_line("END", out);
        });
    }

    /// Nothing more is read; the connection closes after the replies.
    fn end(&mut self, connection: &mut Connection) {
        connection.has_ended = true;
        if !connection.is_waiting() {
            return connection.close_after_flush();
        }
        let mut command = self.spare.pop().unwrap_or_else(|| Box::new(Command::new()));
        command.begin(Kind::Quit, b"", b"");
        connection.push(command);
    }

    fn look_up(&mut self, connection: &mut Connection, reach: &mut Reach<'_>) {
        self.has_asked |= connection.look_up(name(connection.socket), self.settings.groups, self.now, reach);
    }

    /// Writes the replies that are complete, in order.
    fn write_done(&mut self, connection: &mut Connection) {
        while let Some(command) = connection.take_done() {
            match command.refused() {
                Some(Refused::Line(refusal)) => self.put_refusal(refusal, &mut connection.out),
                Some(Refused::NotLeader(leader)) => self.put_not_leader(leader, &mut connection.out),
                None => {
                    let (hits, misses) = command.hits_and_misses();
                    if hits + misses > 0 {
                        self.count(Count::CmdGet, hits + misses);
                        self.count(Count::GetHits, hits);
                        self.count(Count::GetMisses, misses);
                    }
                    command.write(&mut connection.out);
                }
            }
            if command.kind == Kind::Quit {
                connection.close_after_flush();
            }
            self.keep(command);
        }
    }

    fn put_refusal(&self, refusal: Refusal, out: &mut Vec<u8>) {
        let text = refusal.text();
        self.count(Count::Refused, u64::from(text.starts_with("SERVER_ERROR")));
        put_line(text, out);
    }

    /// Where the leader's port is: nodes are configured alike, so it lies as far from its client port as here.
    fn put_not_leader(&self, leader: NodeId, out: &mut Vec<u8>) {
        let Some(mut address) = self.shared.client_address(leader) else {
            return self.put_refusal(Refusal::NoLeader, out);
        };
        let own = self.settings.listen.map_or(self.settings.client_port, |listen| listen.port());
        let port = i32::from(own) + i32::from(address.port) - i32::from(self.settings.client_port);
        address.port = u16::try_from(port).unwrap_or(address.port);
        self.count(Count::Refused, 1);
        put_line(&format!("SERVER_ERROR not leader {address}"), out);
    }

    fn keep(&mut self, mut command: Box<Command>) {
        if self.spare.len() < MEMCACHE_COMMANDS_KEPT {
            command.clear();
            self.spare.push(command);
        }
    }

    fn queue(&mut self, connection: &mut Connection) {
        if !std::mem::replace(&mut connection.is_queued, true) {
            self.ready.push(connection.socket);
        }
    }

    fn count(&self, count: Count, more: u64) {
        if more > 0 {
            self.shared.memcache.add(usize::from(self.settings.core.0), count, more);
        }
    }

    fn get(&self, socket: SocketId) -> Option<&Connection> {
        let connection = self.connections.get(socket.index as usize)?.as_deref()?;
        (connection.socket == socket).then_some(connection)
    }

    /// Works on a connection, which is not among the others meanwhile.
    fn with(&mut self, socket: SocketId, work: impl FnOnce(&mut Memcache, &mut Connection)) {
        if !self.has(socket) {
            return;
        }
        let at = socket.index as usize;
        let mut connection = self.connections[at].take().expect("it was just seen");
        work(self, &mut connection);
        self.connections[at] = Some(connection);
    }
}

const _: () = assert!(MEMCACHE_COMMANDS_KEPT >= MEMCACHE_COMMANDS_MAX, "one busy connection allocates nothing");
