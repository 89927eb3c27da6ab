//! What the tests of the ring share: events that can be kept, a turn, an echo server on a thread of its own.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use base::Mono;
use base::mono::Span;
use reactor::{Counters, Doorbell, Event, Io, Patience, Ring, RingConfig, Sender, SocketId, Wait, inbox};
use seglog::{OpResult, OpToken};

/// Turns of 10 ms without any event after which a test has failed.
pub const IDLE_TURNS_MAX: u32 = 1000;
/// Bytes an echo server holds for one connection before it stops receiving from it.
pub const ECHO_PAUSE_BYTES: usize = 1 << 20;

/// An event that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    Accepted(u64, SocketId),
    Connected(u64, SocketId),
    ConnectFailed(u64, i32),
    Received(SocketId, Vec<u8>),
    Sent(SocketId, Vec<u8>),
    Closed(SocketId, i32),
    DiskDone(OpToken, OpResult),
    Doorbell,
}

/// Everything that waits in the ring now.
pub fn reap(ring: &mut Ring) -> Vec<Seen> {
    let mut seen = Vec::new();
    while ring.reap(&mut |event| {
        seen.push(match event {
            Event::Accepted { tag, socket } => Seen::Accepted(tag, socket),
            Event::Connected { tag, socket } => Seen::Connected(tag, socket),
            Event::ConnectFailed { tag, errno } => Seen::ConnectFailed(tag, errno),
            Event::Received { socket, bytes } => Seen::Received(socket, bytes.to_vec()),
            Event::Sent { socket, buffer } => Seen::Sent(socket, buffer),
            Event::Closed { socket, errno } => Seen::Closed(socket, errno),
            Event::DiskDone { token, result } => Seen::DiskDone(token, result),
            Event::Doorbell => Seen::Doorbell,
        });
    }) > 0
    {}
    seen
}

/// One turn that waits at most 10 ms.
pub fn turn(ring: &mut Ring) -> Vec<Seen> {
    let until = ring.now() + Span::from_ms(10);
    ring.enter(Wait::Until(until));
    reap(ring)
}

/// Turns until `each` is satisfied by the events of one; fails if nothing happens for long.
pub fn until(ring: &mut Ring, mut each: impl FnMut(&mut Ring, Seen) -> bool) {
    let mut idle = 0;
    let mut is_done = false;
    while !is_done {
        let seen = turn(ring);
        idle = if seen.is_empty() { idle + 1 } else { 0 };
        assert!(idle < IDLE_TURNS_MAX, "nothing happens any more: {ring:?}");
        for event in seen {
            is_done |= each(ring, event);
        }
    }
}

/// Turns until `count` events were taken by `pick`; returns what it made of them.
pub fn collect<T>(ring: &mut Ring, count: usize, mut pick: impl FnMut(Seen) -> Option<T>) -> Vec<T> {
    let mut picked = Vec::new();
    until(ring, |_, seen| {
        picked.extend(pick(seen));
        picked.len() >= count
    });
    picked
}

/// A ring with small pools, for tests of one connection.
pub fn small() -> RingConfig {
    RingConfig { buffers: 16, ..RingConfig::default() }
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An echo server on its own thread, which pauses connections whose echo does not leave.
pub struct EchoServer {
    pub address: SocketAddr,
    stop: Sender<()>,
    thread: JoinHandle<(Counters, u64, u64)>,
}

#[derive(Default)]
struct Peer {
    out: Vec<u8>,
    spare: Option<Vec<u8>>,
    is_paused: bool,
}

impl EchoServer {
    pub fn start(config: RingConfig) -> EchoServer {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut ring = Ring::new(&config).unwrap();
            let doorbell = Doorbell::new().unwrap();
            let (stop, mut stopped) = inbox(1, &doorbell);
            ring.attach_doorbell(&doorbell);
            let address = ring.listen(1, loopback(), Patience::CLIENT).unwrap();
            tell.send((address, stop)).unwrap();
            let (mut accepted, mut closed) = (0, 0);
            let mut peers: HashMap<SocketId, Peer> = HashMap::new();
            while stopped.pop().is_none() {
                ring.enter(Wait::Until(Mono::MAX));
                for seen in reap(&mut ring) {
                    match seen {
                        Seen::Accepted(1, socket) => {
                            accepted += 1;
                            let spare = Some(Vec::new());
                            assert!(peers.insert(socket, Peer { spare, ..Peer::default() }).is_none());
                        }
                        Seen::Received(socket, bytes) => peers.get_mut(&socket).unwrap().out.extend(bytes),
                        Seen::Sent(socket, buffer) => {
                            assert!(buffer.is_empty(), "the buffer comes back emptied");
                            peers.get_mut(&socket).unwrap().spare = Some(buffer);
                        }
                        Seen::Closed(socket, _) => {
                            closed += 1;
                            peers.remove(&socket).unwrap();
                        }
                        Seen::Doorbell => {}
                        other => panic!("an echo server sees no {other:?}"),
                    }
                }
                for (socket, peer) in &mut peers {
                    if !peer.out.is_empty()
                        && let Some(spare) = peer.spare.take()
                    {
                        ring.send(*socket, std::mem::replace(&mut peer.out, spare));
                    }
                    let is_paused = peer.out.len() > ECHO_PAUSE_BYTES;
                    if is_paused && !peer.is_paused {
                        ring.pause(*socket);
                    } else if !is_paused && peer.is_paused {
                        ring.resume(*socket);
                    }
                    peer.is_paused = is_paused;
                }
            }
            (ring.counters(), accepted, closed)
        });
        let (address, stop) = told.recv().unwrap();
        EchoServer { address, stop, thread }
    }

    /// Ends the server; returns its counters, the connections it accepted and those it saw closed.
    pub fn stop(self) -> (Counters, u64, u64) {
        self.stop.post(()).unwrap();
        self.thread.join().unwrap()
    }
}
