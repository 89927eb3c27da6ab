//! Two rings talk over loopback: nothing is lost, swapped or doubled, whatever the sizes.

mod common;

use std::collections::HashMap;

use base::{Mono, Prng};
use common::{EchoServer, Seen, reap, until};
use reactor::{Counters, Io as _, Patience, Ring, RingConfig, SocketId, Wait};

/// One client connection: it sends a message, waits for its echo, sends the next.
struct Talker {
    prng: Prng,
    expected: Vec<u8>,
    received: usize,
    left: u32,
    spare: Option<Vec<u8>>,
}

impl Talker {
    fn next(&mut self, sizes: &impl Fn(&mut Prng) -> usize) -> Vec<u8> {
        let mut message = self.spare.take().unwrap_or_default();
        let bytes = sizes(&mut self.prng);
        // A pattern that no shift maps onto itself, and cheap to make.
        let (start, step) = (self.prng.next_u64() as u8, self.prng.next_u64() as u8 | 1);
        message.extend((0..bytes).map(|n| start.wrapping_add((n as u8).wrapping_mul(step)) ^ (n >> 8) as u8));
        self.expected.clone_from(&message);
        self.received = 0;
        self.left -= 1;
        message
    }
}

/// Every one of `connections` sends `messages`; returns the counters of client and server.
fn echo(connections: u64, messages: u32, sizes: impl Fn(&mut Prng) -> usize) -> (Counters, Counters) {
    let server = EchoServer::start(RingConfig::default());
    let mut ring = Ring::new(&RingConfig::default()).unwrap();
    let mut talkers: HashMap<SocketId, Talker> = HashMap::new();
    (0..connections).for_each(|tag| ring.connect(tag, server.address, Patience::CLIENT));
    let mut done = 0;
    let mut closed = 0;
    let mut connected = Counters::default();
    while closed < connections {
        ring.enter(Wait::Until(Mono::MAX));
        for seen in reap(&mut ring) {
            match seen {
                Seen::Connected(tag, socket) => {
                    let prng = Prng::new(tag);
                    let mut talker = Talker { prng, expected: Vec::new(), received: 0, left: messages, spare: None };
                    let message = talker.next(&sizes);
                    talkers.insert(socket, talker);
                    ring.send(socket, message);
                    connected = ring.counters();
                }
                Seen::Sent(socket, buffer) => talkers.get_mut(&socket).unwrap().spare = Some(buffer),
                Seen::Received(socket, bytes) => {
                    let talker = talkers.get_mut(&socket).unwrap();
                    let end = talker.received + bytes.len();
                    assert!(talker.expected.get(talker.received..end) == Some(&bytes), "other bytes came back");
                    talker.received = end;
                }
                Seen::Closed(socket, errno) => {
                    assert_eq!(errno, 0);
                    assert!(talkers.remove(&socket).is_some());
                    closed += 1;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        for (socket, talker) in &mut talkers {
            if talker.received == talker.expected.len() && talker.spare.is_some() {
                done += 1;
                if talker.left > 0 {
                    ring.send(*socket, talker.next(&sizes));
                } else {
                    talker.expected.push(0);
                    ring.close(*socket);
                }
            }
        }
    }
    assert_eq!(done, connections * u64::from(messages));
    let (server, _, _) = server.stop();
    let client = ring.counters();
    assert_eq!((client.late, server.late), (0, 0));
    let requests = done as f64;
    println!(
        "{connections} connections, {done} messages: client {:.3} enters per request, server {:.3}; overflows {} {}",
        (client.enters - connected.enters) as f64 / requests,
        server.enters as f64 / requests,
        client.overflows,
        server.overflows,
    );
    (client, server)
}

#[test]
fn ten_thousand_messages_of_all_sizes_come_back_whole() {
    let (client, server) = echo(20, 500, |prng| match prng.below(100) {
        0 => 1 + prng.below(1 << 20) as usize,
        1 => 1,
        2 => 1 << 20,
        3..20 => 1 + prng.below(64 << 10) as usize,
        _ => 1 + prng.below(1 << 10) as usize,
    });
    assert_eq!(client.sends, 10_000);
    assert_eq!(client.bytes_sent, client.bytes_received);
    assert_eq!(client.bytes_sent, server.bytes_received);
    assert_eq!(server.bytes_sent, server.bytes_received);
}

#[test]
fn one_connection_costs_few_enters_per_request() {
    let (client, server) = echo(1, 5000, |_| 64);
    // Reply in, request out, and the end of the send itself.
    assert!(client.enters <= 3 * 5000 + 100, "{client:?}");
    assert!(server.enters <= 3 * 5000 + 100, "{server:?}");
}

#[test]
fn many_connections_share_their_enters() {
    let (client, server) = echo(64, 200, |_| 64);
    assert!(client.enters < 64 * 200 / 2, "{client:?}");
    assert!(server.enters < 64 * 200 / 2, "{server:?}");
}

#[test]
fn two_hundred_connections_come_and_go() {
    let server = EchoServer::start(RingConfig::default());
    let mut ring = Ring::new(&RingConfig::default()).unwrap();
    for round in 0..5 {
        let mut prng = Prng::new(round);
        (0..200).for_each(|tag| ring.connect(tag, server.address, Patience::CLIENT));
        let mut closed = 0;
        until(&mut ring, |ring, seen| {
            match seen {
                Seen::Connected(tag, socket) => match prng.below(3) {
                    // Some say nothing, some leave without listening to the answer, some wait for it.
                    0 => ring.close(socket),
                    _ => ring.send(socket, vec![tag as u8; 100]),
                },
                Seen::Sent(socket, _) if prng.one_in(2) => ring.close(socket),
                Seen::Received(socket, _) => ring.close(socket),
                Seen::Closed(_, errno) => {
                    assert_eq!(errno, 0);
                    closed += 1;
                }
                _ => {}
            }
            closed == 200
        });
        assert_eq!(ring.sockets(), 0);
    }
    assert_eq!(ring.counters().late, 0);
    let (counters, accepted, closed) = server.stop();
    assert_eq!(counters.late, 0);
    assert_eq!(accepted, 1000);
    // The last ones may still have been on their way when it stopped.
    assert!(closed <= accepted);
}
