//! The links of one core to the same core of other nodes: who dials whom, hello, frames, loss.
//!
//! ```text
//!  Down ──dial──▶ Dialing ──connected, hello sent──▶ Greeting ──hello good──▶ Up
//!    ▲               │                                   │                     │
//!    └──── retry ────┴───────────────────────────────────┴── closed ───────────┘
//! ```
//! The node with the higher id dials; the other accepts. So a node that joins dials those that it was told of, and they
//! need not know it yet. A newer link of a pair closes the older one.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use base::limits::WIRE_FRAME_BYTES_MAX;
use base::mono::Span;
use base::{CoreId, IdMap, Mono, NodeId, NodeUuid};
use reactor::io::{Io, Patience, SocketId};
use wire::{Link, PeerFrame, PeerFrameWriter, PeerHello, PeerMessage};

use crate::Connection;

/// A failed dial is repeated after this long.
const RETRY: Span = Span::from_ms(200);
/// Accepted connections that have not yet said who they are.
const STRANGERS_MAX: usize = 64;
/// Bytes waiting for a peer beyond which messages to it are dropped: raft repeats what matters.
const PEER_OUT_BYTES_MAX: usize = 32 << 20;

/// What the node knows of other nodes; shared by its cores, changed rarely.
pub trait Registry {
    /// Where this core of a node listens for peers; `None` while unknown.
    fn peer_address(&self, node: NodeId, core: CoreId) -> Option<String>;

    /// The directory that a node id is bound to; `None` while unbound.
    fn uuid(&self, node: NodeId) -> Option<NodeUuid>;
}

/// What a core says of itself to its peers.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// The hello of this core.
    pub hello: PeerHello,
}

/// What came over a link.
pub enum PeerEvent<'a> {
    /// The link is up.
    Up {
        /// The other node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// The link is down.
    Down {
        /// The other node.
        node: NodeId,
    },
    /// A message.
    Message {
        /// The sender.
        node: NodeId,
        /// What it says.
        message: PeerMessage<'a>,
    },
}

enum State {
    Down { retry_at: Mono },
    Dialing,
    Greeting(Connection),
    Up { connection: Connection, incarnation: u64, features: u64 },
}

struct Peer {
    state: State,
    writer: PeerFrameWriter,
    seq_out: u32,
    seq_in: u32,
    /// A frame of this turn is open in the writer.
    is_open: bool,
    is_wanted: bool,
}

/// The links of one core.
pub struct Peers {
    settings: PeerSettings,
    peers: BTreeMap<NodeId, Peer>,
    by_socket: IdMap<SocketId, NodeId>,
    /// Accepted, and no hello yet.
    strangers: IdMap<SocketId, Connection>,
    /// The highest incarnation seen of each node: an older one is a copy of a directory.
    incarnations: IdMap<NodeId, u64>,
    to_close: Vec<SocketId>,
    /// Refused: they are told who refuses, then closed.
    leaving: IdMap<SocketId, Connection>,
    frames_sent: u64,
    frames_received: u64,
}

fn new_peer() -> Peer {
    Peer {
        state: State::Down { retry_at: Mono(0) },
        writer: PeerFrameWriter::new(WIRE_FRAME_BYTES_MAX),
        seq_out: 0,
        seq_in: 0,
        is_open: false,
        is_wanted: true,
    }
}

impl Peers {
    /// No links yet.
    #[must_use]
    pub fn new(settings: PeerSettings) -> Peers {
        Peers {
            settings,
            peers: BTreeMap::new(),
            by_socket: IdMap::default(),
            strangers: IdMap::default(),
            incarnations: IdMap::default(),
            to_close: Vec::new(),
            leaving: IdMap::default(),
            frames_sent: 0,
            frames_received: 0,
        }
    }

    fn me(&self) -> NodeId {
        self.settings.hello.node_id
    }

    /// These nodes are worth a link; others are not dialled any more.
    pub fn set_members(&mut self, members: &[NodeId]) {
        for (node, peer) in &mut self.peers {
            peer.is_wanted = members.contains(node);
        }
        let me = self.me();
        for node in members.iter().filter(|node| **node != me) {
            self.peers.entry(*node).or_insert_with(new_peer);
        }
    }

    /// Dials who is due. Names are resolved here: numeric addresses cost nothing.
    pub fn dial_due(&mut self, io: &mut impl Io, registry: &impl Registry, now: Mono) {
        let (me, core) = (self.me(), self.settings.hello.core);
        for (node, peer) in self.peers.iter_mut().filter(|(node, peer)| **node < me && peer.is_wanted) {
            let State::Down { retry_at } = peer.state else { continue };
            if retry_at > now {
                continue;
            }
            let address = registry.peer_address(*node, core).and_then(|text| resolve(&text));
            match address {
                Some(address) => {
                    peer.state = State::Dialing;
                    io.connect(node.0, address, Patience::PEER);
                }
                None => peer.state = State::Down { retry_at: now + RETRY },
            }
        }
    }

    /// When `dial_due` is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        let me = self.me();
        let due = self.peers.iter().filter(|(node, peer)| **node < me && peer.is_wanted).filter_map(|(_, peer)| {
            match peer.state {
                State::Down { retry_at } => Some(retry_at),
                _ => None,
            }
        });
        due.min().unwrap_or(Mono::MAX)
    }

    /// The dialled node answered.
    pub fn handle_connected(&mut self, tag: u64, socket: SocketId) {
        let node = NodeId(tag);
        let hello = self.settings.hello.encode();
        let Some(peer) = self.peers.get_mut(&node) else { return self.to_close.push(socket) };
        let mut connection = Connection::new(socket, Link::Peer, WIRE_FRAME_BYTES_MAX);
        connection.out().extend_from_slice(&hello);
        self.by_socket.insert(socket, node);
        peer.state = State::Greeting(connection);
    }

    /// The dialled node did not answer.
    pub fn handle_connect_failed(&mut self, tag: u64, now: Mono) {
        if let Some(peer) = self.peers.get_mut(&NodeId(tag)) {
            peer.state = State::Down { retry_at: now + RETRY };
        }
    }

    /// Somebody dialled here.
    pub fn handle_accepted(&mut self, socket: SocketId) {
        if self.strangers.len() >= STRANGERS_MAX {
            return self.to_close.push(socket);
        }
        self.strangers.insert(socket, Connection::new(socket, Link::Peer, WIRE_FRAME_BYTES_MAX));
    }

    /// True when the socket is one of these.
    #[must_use]
    pub fn has(&self, socket: SocketId) -> bool {
        self.by_socket.contains_key(&socket)
            || self.strangers.contains_key(&socket)
            || self.leaving.contains_key(&socket)
    }

    /// Bytes came; what they mean goes to `each`.
    pub fn handle_received(
        &mut self,
        socket: SocketId,
        bytes: &[u8],
        registry: &impl Registry,
        mut each: impl FnMut(PeerEvent<'_>),
    ) {
        if let Some(mut connection) = self.strangers.remove(&socket) {
            connection.reader.push(bytes);
            match connection.reader.next_peer_hello() {
                Ok(None) => {
                    self.strangers.insert(socket, connection);
                }
                Ok(Some(hello)) => match self.judge(&hello, None, registry) {
                    Ok(()) => {
                        connection.out().extend_from_slice(&self.settings.hello.encode());
                        self.link_up(connection, &hello, &mut each);
                        self.read_frames(hello.node_id, each);
                    }
                    Err(reason) => {
                        tracing::error!(peer = hello.node_id.0, %reason, "refused a peer");
                        connection.out().extend_from_slice(&self.settings.hello.encode());
                        connection.close_after_flush();
                        self.leaving.insert(socket, connection);
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "closed a connection to the peer port that is no peer");
                    self.to_close.push(socket);
                }
            }
            return;
        }
        let Some(&node) = self.by_socket.get(&socket) else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        match &mut peer.state {
            State::Greeting(connection) => {
                connection.reader.push(bytes);
                let hello = match connection.reader.next_peer_hello() {
                    Ok(None) => return,
                    Ok(Some(hello)) => hello,
                    Err(error) => {
                        tracing::warn!(peer = node.0, %error, "a dialled node is no peer");
                        return self.to_close.push(socket);
                    }
                };
                if let Err(reason) = self.judge(&hello, Some(node), registry) {
                    tracing::error!(peer = node.0, %reason, "refused a peer");
                    return self.to_close.push(socket);
                }
                let peer = self.peers.get_mut(&node).expect("the peer was just there");
                let State::Greeting(connection) = std::mem::replace(&mut peer.state, State::Dialing) else { return };
                self.link_up(connection, &hello, &mut each);
                self.read_frames(node, each);
            }
            State::Up { connection, .. } => {
                connection.reader.push(bytes);
                self.read_frames(node, each);
            }
            State::Down { .. } | State::Dialing => {}
        }
    }

    /// Whether a hello may become a link.
    fn judge(&self, hello: &PeerHello, dialled: Option<NodeId>, registry: &impl Registry) -> Result<(), String> {
        let own = &self.settings.hello;
        if hello.cluster_id != own.cluster_id {
            return Err(format!("it is of cluster {}, this is {}", hello.cluster_id, own.cluster_id));
        }
        if (hello.cores, hello.groups) != (own.cores, own.groups) || hello.config_hash != own.config_hash {
            return Err(format!(
                "its [cluster] differs: {} groups, {} cores, hash {:08x}; here {}, {}, {:08x}; make them equal",
                hello.groups, hello.cores, hello.config_hash, own.groups, own.cores, own.config_hash
            ));
        }
        if hello.core != own.core {
            return Err(format!("it speaks for core {}, this port is core {}'s", hello.core, own.core));
        }
        if hello.node_id == own.node_id {
            return Err("it has this node's own id; is a copy of this data directory running?".to_owned());
        }
        if let Some(node) = dialled.filter(|node| *node != hello.node_id) {
            return Err(format!("node {node} was dialled and node {} answered", hello.node_id));
        }
        if let Some(uuid) = registry.uuid(hello.node_id).filter(|uuid| *uuid != hello.node_uuid) {
            return Err(format!(
                "node {} is bound to directory {uuid} and came with {}; a node that lost its disk joins under a new id",
                hello.node_id, hello.node_uuid
            ));
        }
        let seen = self.incarnations.get(&hello.node_id).copied().unwrap_or(0);
        if hello.incarnation < seen {
            return Err(format!("incarnation {} after {seen}: an old copy of its directory runs", hello.incarnation));
        }
        Ok(())
    }

    fn link_up(&mut self, connection: Connection, hello: &PeerHello, each: &mut impl FnMut(PeerEvent<'_>)) {
        let (node, incarnation) = (hello.node_id, hello.incarnation);
        self.incarnations.insert(node, incarnation);
        let peer = self.peers.entry(node).or_insert_with(new_peer);
        let old = match &peer.state {
            State::Up { connection, .. } | State::Greeting(connection) => Some(connection.socket),
            State::Down { .. } | State::Dialing => None,
        };
        if let Some(old) = old.filter(|old| *old != connection.socket) {
            // Its unread bytes go with it.
            self.by_socket.remove(&old);
            self.to_close.push(old);
            each(PeerEvent::Down { node });
        }
        self.by_socket.insert(connection.socket, node);
        let features = hello.features & self.settings.hello.features;
        peer.state = State::Up { connection, incarnation, features };
        (peer.seq_in, peer.seq_out, peer.is_open) = (0, 0, false);
        peer.writer = PeerFrameWriter::new(WIRE_FRAME_BYTES_MAX);
        each(PeerEvent::Up { node, incarnation });
    }

    fn read_frames(&mut self, node: NodeId, mut each: impl FnMut(PeerEvent<'_>)) {
        let own_core = self.settings.hello.core;
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let State::Up { connection, .. } = &mut peer.state else { return };
        loop {
            let bytes = match connection.reader.next_frame() {
                Ok(None) => return,
                Ok(Some(bytes)) => bytes,
                Err(error) => {
                    tracing::warn!(peer = node.0, %error, "bad peer frame; closing the link");
                    return self.to_close.push(connection.socket);
                }
            };
            let frame = match PeerFrame::parse(bytes) {
                Ok(frame) => frame,
                Err(error) => {
                    tracing::warn!(peer = node.0, %error, "bad peer frame; closing the link");
                    return self.to_close.push(connection.socket);
                }
            };
            if frame.link_seq != peer.seq_in || frame.target_core != own_core {
                tracing::warn!(peer = node.0, got = frame.link_seq, expected = peer.seq_in, "gap in a peer link");
                return self.to_close.push(connection.socket);
            }
            peer.seq_in = peer.seq_in.wrapping_add(1);
            self.frames_received += 1;
            for message in frame.messages() {
                match message {
                    Ok(message) => each(PeerEvent::Message { node, message }),
                    Err(error) => {
                        tracing::warn!(peer = node.0, %error, "bad message in a peer frame; closing the link");
                        return self.to_close.push(connection.socket);
                    }
                }
            }
        }
    }

    /// Queues a message for a node into this turn's frame. `write` is called with the open frame; it may be called twice
    /// when the first frame is full. Messages to a node without a link are dropped.
    pub fn send(
        &mut self,
        to: NodeId,
        now: Mono,
        mut write: impl FnMut(&mut PeerFrameWriter) -> Result<(), wire::FrameFull>,
    ) {
        let core = self.settings.hello.core;
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let State::Up { connection, .. } = &mut peer.state else { return };
        if connection.out().len() + peer.writer.pending_bytes() > PEER_OUT_BYTES_MAX {
            return;
        }
        for _ in 0..2 {
            if !peer.is_open {
                peer.writer.begin(core, core, peer.seq_out, now);
                peer.is_open = true;
            }
            if write(&mut peer.writer).is_ok() {
                return;
            }
            close_frame(peer, &mut self.frames_sent);
        }
        tracing::error!(peer = to.0, "dropped a message that does not fit a frame");
    }

    /// Sends this turn's frames and closes what was given up.
    pub fn flush(&mut self, io: &mut impl Io) {
        for peer in self.peers.values_mut() {
            if peer.is_open {
                close_frame(peer, &mut self.frames_sent);
            }
            match &mut peer.state {
                State::Up { connection, .. } => {
                    if peer.writer.pending_bytes() > 0 {
                        let spare = connection.take_spare();
                        let bytes = peer.writer.take(spare);
                        connection.append(bytes);
                    }
                    connection.flush(io);
                }
                State::Greeting(connection) => {
                    connection.flush(io);
                }
                State::Down { .. } | State::Dialing => {}
            }
        }
        for connection in self.leaving.values_mut() {
            connection.flush(io);
        }
        for socket in self.to_close.drain(..) {
            io.close(socket);
        }
    }

    /// A send is done.
    pub fn handle_sent(&mut self, socket: SocketId, buffer: Vec<u8>) {
        if let Some(connection) = self.leaving.get_mut(&socket) {
            return connection.handle_sent(buffer);
        }
        let Some(peer) = self.by_socket.get(&socket).and_then(|node| self.peers.get_mut(node)) else { return };
        match &mut peer.state {
            State::Up { connection, .. } | State::Greeting(connection) => connection.handle_sent(buffer),
            State::Down { .. } | State::Dialing => {}
        }
    }

    /// The socket is gone.
    pub fn handle_closed(&mut self, socket: SocketId, now: Mono, mut each: impl FnMut(PeerEvent<'_>)) {
        self.strangers.remove(&socket);
        self.leaving.remove(&socket);
        let Some(node) = self.by_socket.remove(&socket) else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let was_up = matches!(peer.state, State::Up { .. });
        peer.state = State::Down { retry_at: now + RETRY };
        if was_up {
            each(PeerEvent::Down { node });
        }
    }

    /// The feature bits that both this node and a node with a link have; none without one.
    #[must_use]
    pub fn features(&self, node: NodeId) -> u64 {
        match self.peers.get(&node).map(|peer| &peer.state) {
            Some(State::Up { features, .. }) => *features,
            _ => 0,
        }
    }

    /// Nodes with a link now.
    pub fn up(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.peers.iter().filter_map(|(node, peer)| match peer.state {
            State::Up { incarnation, .. } => Some((*node, incarnation)),
            _ => None,
        })
    }

    /// Frames sent and received.
    #[must_use]
    pub fn frames(&self) -> (u64, u64) {
        (self.frames_sent, self.frames_received)
    }
}

fn close_frame(peer: &mut Peer, frames_sent: &mut u64) {
    peer.is_open = false;
    if peer.writer.finish() {
        peer.seq_out = peer.seq_out.wrapping_add(1);
        *frames_sent += 1;
    }
}

/// `host:port` as an address; names are looked up.
fn resolve(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.to_socket_addrs().ok()?.next())
}
