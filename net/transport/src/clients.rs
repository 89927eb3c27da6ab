//! The client connections of one core: hello, frames, replies, back pressure.

use base::limits::{CONNECTION_REQUESTS_MAX, WIRE_FRAME_BYTES_MAX};
use base::{Acct, GroupId, IdMap};
use reactor::io::{Io, SocketId};
use wire::{Explanation, Frame, FrameClass, FrameWriter, Link, ReplyStatus, RequestItem, ServerHello};

use crate::Connection;

/// Said of an answer that no frame can hold.
const TOO_LARGE: &[u8] = b"the answer is larger than a frame; ask for less";

/// What a client did.
#[derive(Debug)]
pub enum ClientEvent<'a> {
    /// A request.
    Request {
        /// On this connection.
        connection: u64,
        /// For whom the connection speaks.
        acct: Acct,
        /// The request.
        item: RequestItem<'a>,
    },
}

/// What a caller wants to hear of once replies have left, or never will.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The caller's name for it.
    pub name: u64,
    /// Replies in a row under that name.
    pub count: u32,
}

struct Client {
    connection: Connection,
    writer: FrameWriter,
    acct: Acct,
    has_hello: bool,
    /// Requests taken and not answered. Invariant: at most `CONNECTION_REQUESTS_MAX`.
    in_flight: usize,
    /// Frames may wait in the reader until there is room.
    is_stalled: bool,
    /// The socket is not read meanwhile.
    is_paused: bool,
    is_queued: bool,
    /// Of replies that no send has taken yet.
    marks_queued: Vec<Mark>,
    /// Of the send in flight.
    marks_sending: Vec<Mark>,
}

/// The client connections of one core.
pub struct Clients {
    hello: ServerHello,
    connections: IdMap<u64, Client>,
    /// Connections with replies to send or frames to read on, each once.
    ready: Vec<u64>,
    malformed: u64,
    /// Marks whose replies have left (true) or are lost, until they are asked for.
    ended: Vec<(Mark, bool)>,
}

/// The name of a connection for tickets.
#[must_use]
fn key(socket: SocketId) -> u64 {
    u64::from(socket.generation) << 32 | u64::from(socket.index)
}

impl Clients {
    /// No connections yet; each is greeted with `hello`.
    #[must_use]
    pub fn new(hello: ServerHello) -> Clients {
        Clients { hello, connections: IdMap::default(), ready: Vec::new(), malformed: 0, ended: Vec::new() }
    }

    /// A connection was accepted.
    pub fn handle_accepted(&mut self, socket: SocketId) {
        let client = Client {
            connection: Connection::new(socket, Link::Client, WIRE_FRAME_BYTES_MAX),
            writer: FrameWriter::new(FrameClass::Reply, WIRE_FRAME_BYTES_MAX),
            acct: Acct(0),
            has_hello: false,
            in_flight: 0,
            is_stalled: false,
            is_paused: false,
            is_queued: false,
            marks_queued: Vec::new(),
            marks_sending: Vec::new(),
        };
        self.connections.insert(key(socket), client);
    }

    /// True when the socket is one of these.
    #[must_use]
    pub fn has(&self, socket: SocketId) -> bool {
        self.connections.contains_key(&key(socket))
    }

    /// True while the connection of that name is there.
    #[must_use]
    pub fn has_connection(&self, connection: u64) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Bytes came; whole requests among them go to `each`.
    pub fn handle_received(&mut self, socket: SocketId, bytes: &[u8], each: impl FnMut(ClientEvent<'_>)) {
        let Some(client) = self.connections.get_mut(&key(socket)) else { return };
        if client.connection.is_closing() {
            return;
        }
        client.connection.reader.push(bytes);
        self.read_on(key(socket), each);
    }

    /// Takes whole frames until the connection has enough in flight.
    fn read_on(&mut self, key: u64, mut each: impl FnMut(ClientEvent<'_>)) {
        let Some(client) = self.connections.get_mut(&key) else { return };
        let refusal = loop {
            if !client.has_hello {
                match client.connection.reader.next_client_hello() {
                    Ok(None) => break None,
                    Ok(Some(hello)) => {
                        client.has_hello = true;
                        client.acct = hello.acct;
                        client.connection.out().extend_from_slice(&self.hello.encode());
                    }
                    Err(error) => break Some((error.to_string(), false)),
                }
                continue;
            }
            if client.in_flight >= CONNECTION_REQUESTS_MAX {
                client.is_stalled = true;
                break None;
            }
            let acct = client.acct;
            let frame = match client.connection.reader.next_frame() {
                Ok(None) => break None,
                Ok(Some(bytes)) => Frame::parse(bytes),
                Err(error) => Err(error),
            };
            let requests = match frame.and_then(|frame| Ok((frame.count(), frame.requests()?))) {
                Ok((count, requests)) => {
                    client.in_flight += usize::from(count);
                    requests
                }
                Err(error) => break Some((error.to_string(), true)),
            };
            requests.for_each(|item| each(ClientEvent::Request { connection: key, acct, item }));
        };
        if let Some((text, has_frames)) = refusal {
            self.malformed += 1;
            if has_frames {
                let status = ReplyStatus::Malformed as u8;
                let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
                client.writer.push_reply(0, status, 0, GroupId(0), write).expect("a short text fits a frame");
            }
            client.connection.close_after_flush();
        }
        self.queue(key);
    }

    /// Adds a reply; it leaves with this turn's frame. Replies to connections that are gone are dropped.
    ///
    /// `is_last` is false for all but the last of a request that has several replies.
    #[expect(clippy::too_many_arguments, reason = "the fields of one reply")]
    pub fn reply(
        &mut self,
        connection: u64,
        request: u64,
        kind: u8,
        status: ReplyStatus,
        group: GroupId,
        is_last: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        if is_last {
            client.in_flight = client.in_flight.saturating_sub(1);
        }
        if client.writer.push_reply(request, status as u8, kind, group, write).is_err() {
            let text = |out: &mut Vec<u8>| out.extend_from_slice(TOO_LARGE);
            let refused = ReplyStatus::Refused as u8;
            client.writer.push_reply(request, refused, kind, group, text).expect("a short text fits a frame");
        }
        if !std::mem::replace(&mut client.is_queued, true) {
            self.ready.push(connection);
        }
    }

    /// As [`Clients::reply`], of a request's only reply, which ends with an explanation.
    pub fn reply_explained(
        &mut self,
        (connection, request, kind): (u64, u64, u8),
        status: ReplyStatus,
        group: GroupId,
        explanation: &Explanation,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        let whole = client.writer.push_explained_reply(request, (status as u8, kind), group, explanation, write);
        if whole.is_err() {
            return self.reply(connection, request, kind, ReplyStatus::Refused, group, true, |out| {
                out.extend_from_slice(TOO_LARGE);
            });
        }
        client.in_flight = client.in_flight.saturating_sub(1);
        self.queue(connection);
    }

    /// Asks to hear when all replies so far to a connection have left. Each call ends in one count of
    /// [`Clients::drain_marks`].
    pub fn mark(&mut self, connection: u64, name: u64) {
        let Some(client) = self.connections.get_mut(&connection) else {
            return self.ended.push((Mark { name, count: 1 }, false));
        };
        match client.marks_queued.last_mut() {
            Some(last) if last.name == name => last.count += 1,
            _ => client.marks_queued.push(Mark { name, count: 1 }),
        }
    }

    /// Gives the marks that have ended since the last call to `each`, and whether their replies have left.
    pub fn drain_marks(&mut self, mut each: impl FnMut(Mark, bool)) {
        self.ended.drain(..).for_each(|(mark, has_left)| each(mark, has_left));
    }

    fn queue(&mut self, connection: u64) {
        if let Some(client) = self.connections.get_mut(&connection)
            && !client.is_queued
        {
            client.is_queued = true;
            self.ready.push(connection);
        }
    }

    /// A send is done.
    pub fn handle_sent(&mut self, socket: SocketId, buffer: Vec<u8>) {
        if let Some(client) = self.connections.get_mut(&key(socket)) {
            client.connection.handle_sent(buffer);
            self.ended.extend(client.marks_sending.drain(..).map(|mark| (mark, true)));
            self.queue(key(socket));
        }
    }

    /// The socket is gone; returns the connection's name if it was one of these.
    pub fn handle_closed(&mut self, socket: SocketId) -> Option<u64> {
        let client = self.connections.remove(&key(socket))?;
        let lost = client.marks_sending.into_iter().chain(client.marks_queued);
        self.ended.extend(lost.map(|mark| (mark, false)));
        Some(key(socket))
    }

    /// Sends what waits, one frame per connection; reads on where answers made room.
    pub fn flush(&mut self, io: &mut impl Io, mut each: impl FnMut(ClientEvent<'_>)) {
        let mut ready = std::mem::take(&mut self.ready);
        for connection in ready.drain(..) {
            let Some(client) = self.connections.get_mut(&connection) else { continue };
            client.is_queued = false;
            if !client.writer.is_empty() {
                let spare = client.connection.take_spare();
                let bytes = client.writer.take(spare);
                client.connection.append(bytes);
            }
            if client.connection.is_over_limit() {
                io.close(client.connection.socket);
                continue;
            }
            if client.connection.flush(io) {
                std::mem::swap(&mut client.marks_queued, &mut client.marks_sending);
            }
            if client.is_stalled && client.in_flight <= CONNECTION_REQUESTS_MAX / 2 {
                client.is_stalled = false;
                if std::mem::take(&mut client.is_paused) {
                    io.resume(client.connection.socket);
                }
                self.read_on(connection, &mut each);
            } else if client.is_stalled && !client.is_paused {
                client.is_paused = true;
                io.pause(client.connection.socket);
            }
        }
        // Those that read on have queued themselves again: they leave in the next turn.
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    /// Connections open now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.len()
    }

    /// Frames that made no sense so far.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// True when something waits to leave at once.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.ready.iter().any(|key| self.connections.get(key).is_some_and(|client| client.connection.wants_flush()))
    }

    /// Closes all connections once their replies have left.
    pub fn close_all(&mut self) {
        let keys: Vec<u64> = self.connections.keys().copied().collect();
        for connection in keys {
            if let Some(client) = self.connections.get_mut(&connection) {
                client.connection.close_after_flush();
            }
            self.queue(connection);
        }
    }
}
