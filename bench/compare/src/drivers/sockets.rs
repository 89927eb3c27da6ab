//! Several connections over one ring: bytes wait while a send is on its way, and leave as one.

use std::collections::HashMap;
use std::net::SocketAddr;

use base::Mono;
use base::mono::Span;
use reactor::{Event, Io, Patience, Ring, RingConfig, SocketId, Wait};

use super::PeerError;

/// What a connection has to tell.
pub enum Heard<'a> {
    /// All bytes that came and were not taken yet.
    Bytes(&'a [u8]),
    /// It is gone, and why.
    Closed(String),
}

struct Link {
    socket: Option<SocketId>,
    spare: Vec<u8>,
    is_sending: bool,
    input: Vec<u8>,
}

/// The connections of a driver.
pub struct Sockets {
    ring: Ring,
    links: Vec<Link>,
    /// What is to be sent on each.
    outs: Vec<Vec<u8>>,
    of_socket: HashMap<SocketId, usize>,
}

impl Sockets {
    /// Connects to each address and waits until all are up.
    pub fn connect(addresses: &[SocketAddr], patience: Span) -> Result<Sockets, PeerError> {
        let mut ring =
            Ring::new(&RingConfig { sockets_max: 1024, ..RingConfig::default() }).map_err(PeerError::Ring)?;
        let link = || Link { socket: None, spare: Vec::new(), is_sending: false, input: Vec::new() };
        let mut links: Vec<Link> = addresses.iter().map(|_| link()).collect();
        for (tag, address) in (0..).zip(addresses) {
            ring.connect(tag, *address, Patience::SERVER);
        }
        let until = ring.now() + patience;
        let mut of_socket = HashMap::new();
        let mut refused = None;
        while of_socket.len() < addresses.len() {
            if let Some((tag, why)) = refused {
                return Err(PeerError::Connect(addresses[tag as usize], why));
            }
            if ring.now() >= until {
                let missing = links.iter().position(|link| link.socket.is_none()).unwrap_or_default();
                return Err(PeerError::Connect(addresses[missing], "no answer within 5 s".to_owned()));
            }
            ring.enter(Wait::Until(until));
            ring.reap(&mut |event| match event {
                Event::Connected { tag, socket } => {
                    links[tag as usize].socket = Some(socket);
                    of_socket.insert(socket, tag as usize);
                }
                Event::ConnectFailed { tag, errno } => {
                    refused = Some((tag, std::io::Error::from_raw_os_error(errno).to_string()));
                }
                // A server that speaks first.
                Event::Received { socket, bytes } => {
                    if let Some(at) = of_socket.get(&socket) {
                        links[*at].input.extend_from_slice(bytes);
                    }
                }
                _ => {}
            });
        }
        let outs = vec![Vec::new(); addresses.len()];
        Ok(Sockets { ring, links, outs, of_socket })
    }

    /// The buffers of all connections, to append to.
    pub fn outs(&mut self) -> &mut [Vec<u8>] {
        &mut self.outs
    }

    /// Sends what waits where no send is on its way.
    pub fn flush(&mut self) {
        for (link, out) in self.links.iter_mut().zip(&mut self.outs) {
            match link.socket {
                Some(socket) if !link.is_sending && !out.is_empty() => {
                    link.is_sending = true;
                    let next = std::mem::take(&mut link.spare);
                    self.ring.send(socket, std::mem::replace(out, next));
                }
                Some(_) => {}
                None => out.clear(),
            }
        }
    }

    /// The one system call of a turn: until something happens, or `until`.
    pub fn enter(&mut self, until: Mono) {
        self.ring.enter(if until <= self.ring.now() { Wait::No } else { Wait::Until(until) });
    }

    /// Tells what happened. `each` gets the connection, what is heard, and its buffer to send; it returns how many bytes
    /// it took, or that the connection is of no use, upon which it is closed and heard of as closed.
    pub fn reap(&mut self, mut each: impl FnMut(usize, Heard<'_>, &mut Vec<u8>) -> Result<usize, ()>) {
        let Self { ring, links, outs, of_socket } = self;
        let mut to_close = Vec::new();
        ring.reap(&mut |event| match event {
            Event::Received { socket, bytes } => {
                let Some(at) = of_socket.get(&socket).copied() else { return };
                let link = &mut links[at];
                link.input.extend_from_slice(bytes);
                match each(at, Heard::Bytes(&link.input), &mut outs[at]) {
                    Ok(taken) => drop(link.input.drain(..taken)),
                    Err(()) => to_close.push(socket),
                }
            }
            Event::Sent { socket, mut buffer } => {
                if let Some(at) = of_socket.get(&socket) {
                    buffer.clear();
                    (links[*at].spare, links[*at].is_sending) = (buffer, false);
                }
            }
            Event::Closed { socket, errno } => {
                let Some(at) = of_socket.remove(&socket) else { return };
                links[at].socket = None;
                let why = match errno {
                    0 => "the server closed the connection".to_owned(),
                    errno => format!("the connection broke: {}", std::io::Error::from_raw_os_error(errno)),
                };
                // Nothing is taken from a connection that is gone.
                let _ = each(at, Heard::Closed(why), &mut outs[at]);
            }
            _ => {}
        });
        to_close.into_iter().for_each(|socket| ring.close(socket));
    }

    /// The time now.
    pub fn now(&self) -> Mono {
        self.ring.now()
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.ring.wall_ms()
    }
}
