//! Drivers of the peers: their codecs over the same ring that our own driver uses, so that the generator costs alike.

pub mod etcd;
pub mod memcached;
pub mod nats;
pub mod postgres;
pub mod redis;
pub mod sampled;
pub mod sockets;
pub mod zookeeper;

use std::net::SocketAddr;

use base::mono::Span;
use base::{Mono, mix64};
use load::driver::{Answer, Done, Driver, Failure, OpToken, Submit};
use load::op::{Op, OpKind};
use reactor::RingError;

use crate::codec::WireError;
use sockets::Sockets;

/// How long connections may take to come up.
const CONNECT_MAX: Span = Span::from_ms(5_000);

/// An operation on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flight {
    /// Whose.
    pub token: OpToken,
    /// What it does.
    pub kind: OpKind,
    /// When it was handed over.
    pub sent: Mono,
}

impl Flight {
    /// It changes something; else it reads.
    #[must_use]
    pub fn is_put(self) -> bool {
        self.kind.is_write()
    }

    /// It has ended.
    #[must_use]
    pub fn done(self, answer: Answer, replied: Mono) -> Done {
        Done { token: self.token, sent: self.sent, replied, answer }
    }

    /// Nothing is heard of it any more; it may have been done.
    #[must_use]
    pub fn lost(self, now: Mono) -> Done {
        self.done(Answer::Failed(Failure::Unknown), now)
    }
}

/// What a peer speaks, over several connections. No socket and no clock.
pub trait Protocol {
    /// A connection is up; what is said first is appended to `out`.
    fn greet(&mut self, connection: usize, out: &mut Vec<u8>);

    /// Takes an operation and appends its bytes to one of `outs`. Blocks are put at `wall_ms`.
    fn submit(&mut self, op: &Op, flight: Flight, wall_ms: u64, outs: &mut [Vec<u8>]) -> Submit;

    /// All operations of this turn are here.
    fn end_turn(&mut self, outs: &mut [Vec<u8>]) {
        let _ = outs;
    }

    /// Takes answers from the front of `bytes`; returns how many bytes those were.
    ///
    /// Errors: they are none; the connection is given up.
    fn receive(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Mono,
        out: &mut Vec<u8>,
        done: &mut Vec<Done>,
    ) -> Result<usize, WireError>;

    /// The connection is gone, and what was on it is lost.
    fn lose(&mut self, connection: usize, now: Mono, done: &mut Vec<Done>);
}

/// Why there is no driver.
#[derive(Debug)]
pub enum PeerError {
    /// No ring.
    Ring(RingError),
    /// No connection to that address.
    Connect(SocketAddr, String),
}

impl std::fmt::Display for PeerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PeerError::Ring(error) => write!(f, "could not make a ring for the generator: {error}"),
            PeerError::Connect(address, why) => write!(f, "could not connect to {address}: {why}"),
        }
    }
}

impl std::error::Error for PeerError {}

/// One generator core's way to a peer.
pub struct PeerDriver<P> {
    protocol: P,
    sockets: Sockets,
    now: Mono,
    wall_ms: u64,
    /// Why the first connection was given up, if one was.
    trouble: Option<String>,
}

impl<P: Protocol> PeerDriver<P> {
    /// Connects to each of `addresses`, in this order.
    ///
    /// Errors: [`PeerError`].
    pub fn connect(mut protocol: P, addresses: &[SocketAddr]) -> Result<PeerDriver<P>, PeerError> {
        let mut sockets = Sockets::connect(addresses, CONNECT_MAX)?;
        for (connection, out) in sockets.outs().iter_mut().enumerate() {
            protocol.greet(connection, out);
        }
        sockets.flush();
        let (now, wall_ms) = (sockets.now(), sockets.wall_ms());
        Ok(PeerDriver { protocol, sockets, now, wall_ms, trouble: None })
    }

    /// Why a connection was given up, if one was.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        let Self { protocol, sockets, now, trouble, .. } = self;
        sockets.reap(|connection, event, out| match event {
            sockets::Heard::Bytes(bytes) => protocol.receive(connection, bytes, *now, out, done).map_err(|error| {
                trouble.get_or_insert(error.0);
            }),
            sockets::Heard::Closed(why) => {
                trouble.get_or_insert(why);
                protocol.lose(connection, *now, done);
                Err(())
            }
        });
    }
}

impl<P: Protocol> Driver for PeerDriver<P> {
    fn now(&mut self) -> Mono {
        self.now = self.sockets.now();
        self.now
    }

    fn submit(&mut self, op: &Op, token: OpToken, now: Mono) -> Submit {
        let flight = Flight { token, kind: op.kind, sent: now };
        self.protocol.submit(op, flight, self.wall_ms, self.sockets.outs())
    }

    fn poll(&mut self, until: Mono, done: &mut Vec<Done>) -> Span {
        self.wall_ms = self.sockets.wall_ms();
        let mut idle = Span(0);
        loop {
            self.protocol.end_turn(self.sockets.outs());
            self.sockets.flush();
            if !done.is_empty() || self.now >= until && idle.0 > 0 {
                return idle;
            }
            let before = self.sockets.now();
            self.sockets.enter(until);
            self.now = self.sockets.now();
            idle = Span(idle.0 + self.now.since(before).0.max(1));
            self.reap(done);
        }
    }

    fn burst_max(&self) -> usize {
        // A turn takes all that is due: what a turn has leaves together.
        1024
    }
}

/// Which of `count` a namespace belongs to.
#[must_use]
pub fn part_of(namespace: u32, count: usize) -> usize {
    (mix64(u64::from(namespace)) % count.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::work::Work;

    #[test]
    fn a_server_that_goes_away_leaves_operations_in_doubt_and_says_why() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = std::thread::spawn(move || drop(listener.accept().expect("a connection")));
        let protocol = memcached::Memcached::new(Work::new("r", 1), 1, 1);
        let mut driver = PeerDriver::connect(protocol, &[address]).expect("connected");
        server.join().expect("it accepts and closes");
        let now = driver.now();
        let token = OpToken { slot: 3, generation: 1 };
        driver.submit(&Op::default(), token, now);
        let mut done = Vec::new();
        driver.poll(now + Span::from_ms(5_000), &mut done);
        let seen: Vec<_> = done.iter().map(|done| (done.token, done.answer)).collect();
        assert_eq!(seen, [(token, Answer::Failed(Failure::Unknown))]);
        assert!(driver.trouble().expect("a reason").contains("connection"), "{:?}", driver.trouble());
        assert_eq!(driver.submit(&Op::default(), token, now), Submit::Full);
    }

    #[test]
    fn an_address_where_nobody_listens_is_told() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("bound");
        let protocol = memcached::Memcached::new(Work::new("r", 1), 1, 1);
        let error = PeerDriver::connect(protocol, &[free]).err().expect("nobody is there").to_string();
        assert!(error.starts_with(&format!("could not connect to {free}: ")), "{error}");
    }
}
