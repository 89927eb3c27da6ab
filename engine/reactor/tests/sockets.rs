//! The life of sockets: refusals, resets, pauses, full tables, slots used again, buffers and queues that run out.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use base::mono::Span;
use common::{Seen, collect, loopback, reap, small, turn, until};
use reactor::{Io as _, Patience, Ring, RingConfig, SocketId, Wait};

fn accepted(seen: Seen) -> Option<SocketId> {
    match seen {
        Seen::Accepted(_, socket) => Some(socket),
        _ => None,
    }
}

fn byte_at(position: usize) -> u8 {
    (position.wrapping_mul(31) ^ (position >> 8)) as u8
}

#[test]
fn a_refused_connection_says_so_and_leaves_nothing_behind() {
    let nobody = TcpListener::bind(loopback()).unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let mut ring = Ring::new(&small()).unwrap();
    (0..10).for_each(|tag| ring.connect(tag, address, Patience::CLIENT));
    let mut failed = collect(&mut ring, 10, |seen| match seen {
        Seen::ConnectFailed(tag, errno) => {
            assert_eq!(errno, 111, "ECONNREFUSED");
            Some(tag)
        }
        other => panic!("{other:?}"),
    });
    failed.sort_unstable();
    assert_eq!(failed, (0..10).collect::<Vec<_>>());
    while ring.sockets() > 0 {
        assert_eq!(turn(&mut ring), [], "the owner never knew these sockets");
    }
}

#[test]
fn a_connection_beyond_the_table_fails_at_once() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let mut ring = Ring::new(&RingConfig { sockets_max: 1, ..small() }).unwrap();
    ring.connect(1, listener.local_addr().unwrap(), Patience::CLIENT);
    ring.connect(2, listener.local_addr().unwrap(), Patience::CLIENT);
    let failed = collect(&mut ring, 1, |seen| match seen {
        Seen::ConnectFailed(tag, errno) => Some((tag, errno)),
        _ => None,
    });
    assert_eq!(failed, [(2, 24)], "EMFILE");
}

#[test]
fn a_reset_closes_with_its_errno_also_while_sending() {
    let mut ring = Ring::new(&small()).unwrap();
    let address = ring.listen(7, loopback(), Patience::CLIENT).unwrap();
    for is_sending in [false, true] {
        let peer = TcpStream::connect(address).unwrap();
        let socket = collect(&mut ring, 1, accepted)[0];
        if is_sending {
            ring.send(socket, vec![1; 16 << 20]);
            assert_eq!(turn(&mut ring), [], "16 MiB do not fit into the buffers of a socket");
        }
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        let closed = collect(&mut ring, 1, |seen| match seen {
            Seen::Closed(closed, errno) => Some((closed, errno)),
            other => panic!("{other:?}"),
        });
        assert_eq!(closed[0].0, socket);
        assert!([104, 32].contains(&closed[0].1), "ECONNRESET or EPIPE, not {}", closed[0].1);
        assert_eq!(ring.sockets(), 0);
    }
}

#[test]
fn the_end_of_a_stream_comes_after_its_last_byte() {
    let mut ring = Ring::new(&small()).unwrap();
    let address = ring.listen(7, loopback(), Patience::CLIENT).unwrap();
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(b"last words").unwrap();
    drop(peer);
    let mut heard = Vec::new();
    until(&mut ring, |_, seen| match seen {
        Seen::Received(_, bytes) => {
            heard.extend(bytes);
            false
        }
        Seen::Closed(_, errno) => {
            assert_eq!(errno, 0);
            true
        }
        _ => false,
    });
    assert_eq!(heard, b"last words");
}

#[test]
fn a_paused_socket_holds_its_peer_back_and_a_resumed_one_misses_nothing() {
    const TOTAL: usize = 32 << 20;
    let mut ring = Ring::new(&small()).unwrap();
    let address = ring.listen(1, loopback(), Patience::CLIENT).unwrap();
    let writer = thread::spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        let bytes: Vec<u8> = (0..TOTAL).map(byte_at).collect();
        peer.write_all(&bytes).unwrap();
    });
    let socket = collect(&mut ring, 1, accepted)[0];
    let mut received = 0;
    let mut take = |ring: &mut Ring| {
        let mut count = 0;
        for seen in turn(ring) {
            match seen {
                Seen::Received(_, bytes) => {
                    assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == byte_at(received + n)));
                    received += bytes.len();
                    count += bytes.len();
                }
                Seen::Closed(..) => {}
                other => panic!("{other:?}"),
            }
        }
        (count, received)
    };
    let mut pauses = 0;
    loop {
        let (_, all) = take(&mut ring);
        if all == TOTAL {
            break;
        }
        if pauses < 5 && all > pauses * (2 << 20) {
            pauses += 1;
            ring.pause(socket);
            // A pause taken back before it left, and asked again, is still a pause.
            ring.resume(socket);
            ring.pause(socket);
            while take(&mut ring).0 > 0 {}
            for _ in 0..3 {
                assert_eq!(take(&mut ring).0, 0, "a paused socket receives nothing");
            }
            ring.resume(socket);
        }
    }
    assert_eq!(pauses, 5);
    writer.join().unwrap();
}

#[test]
fn receiving_goes_on_after_the_buffers_ran_out() {
    const EACH: usize = 64 << 10;
    let config = RingConfig { buffers: 4, buffer_bytes: 1024, ..RingConfig::default() };
    let mut ring = Ring::new(&config).unwrap();
    let address = ring.listen(1, loopback(), Patience::CLIENT).unwrap();
    let writers: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                let mut peer = TcpStream::connect(address).unwrap();
                peer.write_all(&(0..EACH).map(byte_at).collect::<Vec<u8>>()).unwrap();
                // Until the other side has read all.
                assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
            })
        })
        .collect();
    let mut heard = std::collections::HashMap::<SocketId, usize>::new();
    let mut closed = 0;
    until(&mut ring, |ring, seen| {
        match seen {
            Seen::Received(socket, bytes) => {
                let position = heard.entry(socket).or_default();
                assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == byte_at(*position + n)));
                *position += bytes.len();
                if *position == EACH {
                    ring.close(socket);
                }
            }
            Seen::Closed(..) => closed += 1,
            _ => {}
        }
        closed == 20
    });
    assert!(ring.counters().no_buffers > 0);
    assert_eq!(ring.counters().late, 0);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn a_slot_is_used_again_under_another_name() {
    let mut ring = Ring::new(&small()).unwrap();
    let address = ring.listen(1, loopback(), Patience::CLIENT).unwrap();
    let mut names = Vec::new();
    for _ in 0..50 {
        let mut peer = TcpStream::connect(address).unwrap();
        let socket = collect(&mut ring, 1, accepted)[0];
        assert_eq!(socket.index, 0, "the only slot in use");
        assert!(!names.contains(&socket));
        // The name of the one before is dead: nothing that is done with it touches this one.
        if let Some(&old) = names.last() {
            ring.close(old);
            ring.pause(old);
            ring.send(old, vec![9]);
        }
        names.push(socket);
        ring.send(socket, b"hello".to_vec());
        until(&mut ring, |_, seen| matches!(seen, Seen::Sent(..)));
        let mut heard = [0; 5];
        peer.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        ring.close(socket);
        ring.close(socket);
        until(&mut ring, |_, seen| seen == Seen::Closed(socket, 0));
    }
    assert_eq!(ring.counters().late, 0);
}

#[test]
fn connections_beyond_the_table_wait_until_slots_are_free() {
    let mut ring = Ring::new(&RingConfig { sockets_max: 4, ..small() }).unwrap();
    let address = ring.listen(1, loopback(), Patience::CLIENT).unwrap();
    let peers: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut served = 0;
    let mut open = 0;
    // The one that found the table full is refused; the others wait in the backlog.
    until(&mut ring, |ring, seen| {
        match seen {
            Seen::Accepted(_, socket) => {
                open += 1;
                assert!(open <= 4);
                ring.close(socket);
            }
            Seen::Closed(..) => {
                open -= 1;
                served += 1;
            }
            _ => {}
        }
        served + ring.counters().refused == 10
    });
    assert!(ring.counters().refused < 10);
    drop(peers);
}

#[test]
fn nothing_is_lost_when_the_completion_queue_overflows() {
    const PEERS: usize = 200;
    const ROUNDS: usize = 50;
    let config = RingConfig { entries: 16, completions: 64, buffers: 512, ..RingConfig::default() };
    let mut ring = Ring::new(&config).unwrap();
    let address = ring.listen(1, loopback(), Patience::CLIENT).unwrap();
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let sockets = collect(&mut ring, PEERS, accepted);
    let mut sent = 0;
    let mut received = 0;
    for round in 0..ROUNDS {
        for peer in &mut peers {
            peer.write_all(&[round as u8; 3]).unwrap();
        }
        // Nobody reaps for some turns, then somebody does.
        for &socket in &sockets {
            ring.send(socket, vec![round as u8]);
        }
        (0..4).for_each(|_| ring.enter(Wait::No));
        let (mut sent_now, mut received_now) = (0, 0);
        until(&mut ring, |_, seen| {
            match seen {
                Seen::Sent(..) => sent_now += 1,
                Seen::Received(_, bytes) => {
                    assert!(bytes.iter().all(|byte| *byte == round as u8));
                    received_now += bytes.len();
                }
                other => panic!("{other:?}"),
            }
            sent_now == PEERS && received_now == 3 * PEERS
        });
        sent += sent_now;
        received += received_now;
    }
    assert_eq!((sent, received), (PEERS * ROUNDS, 3 * PEERS * ROUNDS));
    let counters = ring.counters();
    assert!(counters.overflows > 0 && counters.enters_full > 0, "{counters:?}");
    assert!(counters.completions >= 10_000, "{counters:?}");
    assert_eq!(counters.late, 0);
}

#[test]
fn a_ring_with_everything_in_flight_can_be_dropped_and_its_port_used_again() {
    let mut address = loopback();
    for _ in 0..5 {
        let mut ring = Ring::new(&small()).unwrap();
        address = ring.listen(1, address, Patience::CLIENT).unwrap();
        let doorbell = reactor::Doorbell::new().unwrap();
        ring.attach_doorbell(&doorbell);
        let peers: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
        for socket in collect(&mut ring, 8, accepted) {
            ring.send(socket, vec![1; 8 << 20]);
        }
        // A connection to an address that never answers (TEST-NET-1), or that the machine refuses; either will do.
        ring.connect(2, "192.0.2.1:9".parse().unwrap(), Patience::CLIENT);
        ring.enter(Wait::No);
        drop(ring);
        drop(peers);
    }
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let mut ring = Ring::new(&small()).unwrap();
    for _ in 0..5 {
        let deadline = ring.now() + Span::from_ms(3);
        ring.enter(Wait::Until(deadline));
        assert!(deadline <= ring.now());
        assert_eq!(reap(&mut ring), []);
    }
}
