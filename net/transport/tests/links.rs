//! Links and client connections over an `Io` that is a plain list of calls.

use std::net::SocketAddr;

use base::{ClusterId, CoreId, GroupId, LogIndex, Mono, NodeId, NodeUuid, Prng, Term};
use reactor::io::{Event, Io, Patience, SocketId, Wait};
use transport::{ClientEvent, Clients, PeerEvent, PeerSettings, Peers, Registry};
use wire::{ClientHello, FrameClass, FrameWriter, PeerHello, ReplyStatus, ServerHello};

/// Notes what it is asked.
#[derive(Default)]
struct ListIo {
    sent: Vec<(SocketId, Vec<u8>)>,
    closed: Vec<SocketId>,
    dialled: Vec<u64>,
    paused: Vec<SocketId>,
}

impl Io for ListIo {
    fn listen(&mut self, _tag: u64, address: SocketAddr, _patience: Patience) -> std::io::Result<SocketAddr> {
        Ok(address)
    }
    fn connect(&mut self, tag: u64, _address: SocketAddr, patience: Patience) {
        assert_eq!(patience, Patience::PEER);
        self.dialled.push(tag);
    }
    fn send(&mut self, socket: SocketId, buffer: Vec<u8>) {
        self.sent.push((socket, buffer));
    }
    fn pause(&mut self, socket: SocketId) {
        self.paused.push(socket);
    }
    fn resume(&mut self, socket: SocketId) {
        self.paused.retain(|paused| *paused != socket);
    }
    fn close(&mut self, socket: SocketId) {
        self.closed.push(socket);
    }
    fn enter(&mut self, _wait: Wait) {}
    fn reap(&mut self, _each: &mut dyn FnMut(Event<'_>)) -> usize {
        0
    }
    fn now(&self) -> Mono {
        Mono(1)
    }
    fn wall_ms(&self) -> u64 {
        1
    }
}

struct Book {
    bound: Option<NodeUuid>,
}

impl Registry for Book {
    fn peer_address(&self, _node: NodeId, _core: CoreId) -> Option<String> {
        Some("127.0.0.1:1".to_owned())
    }
    fn uuid(&self, _node: NodeId) -> Option<NodeUuid> {
        self.bound
    }
}

const OPEN: Book = Book { bound: None };

fn hello(node: u64) -> PeerHello {
    PeerHello {
        version_min: 1,
        version_max: 1,
        features: 0,
        cluster_id: ClusterId([1; 16]),
        node_uuid: NodeUuid([node as u8; 16]),
        node_id: NodeId(node),
        incarnation: 5,
        core: CoreId(0),
        cores: 1,
        groups: 4,
        config_hash: 9,
    }
}

fn socket(index: u32) -> SocketId {
    SocketId { index, generation: 1 }
}

/// What a link said, without borrows.
#[derive(Debug, PartialEq)]
enum Said {
    Up(u64, u64),
    Down(u64),
    Message(u64, GroupId),
}

fn said(events: &mut Vec<Said>) -> impl FnMut(PeerEvent<'_>) + '_ {
    |event| {
        events.push(match event {
            PeerEvent::Up { node, incarnation } => Said::Up(node.0, incarnation),
            PeerEvent::Down { node } => Said::Down(node.0),
            PeerEvent::Message { node, message } => Said::Message(node.0, message.group),
        });
    }
}

fn vote() -> raft::Body {
    raft::Body::PreVote { term: Term(3), last_index: LogIndex(2), last_term: Term(1), incarnation: 5 }
}

#[test]
fn a_link_has_the_features_that_both_sides_have() {
    for (own, other) in [(3, 1), (1, 0), (0, 1), (2, 7)] {
        let mut io = ListIo::default();
        let mut peers = Peers::new(PeerSettings { hello: PeerHello { features: own, ..hello(1) } });
        assert_eq!(peers.features(NodeId(2)), 0, "no link");
        peers.handle_accepted(socket(3));
        let greeting = PeerHello { features: other, ..hello(2) }.encode();
        peers.handle_received(socket(3), &greeting, &OPEN, |_| ());
        assert_eq!(peers.features(NodeId(2)), own & other);
        peers.flush(&mut io);
        peers.handle_closed(socket(3), Mono(1), |_| ());
        assert_eq!(peers.features(NodeId(2)), 0, "the link is gone");
    }
}

#[test]
fn the_higher_id_dials_and_messages_pass_both_ways_in_any_pieces() {
    let now = Mono(1);
    let (mut low, mut high) = (ListIo::default(), ListIo::default());
    let mut one = Peers::new(PeerSettings { hello: hello(1) });
    let mut two = Peers::new(PeerSettings { hello: hello(2) });
    one.set_members(&[NodeId(1), NodeId(2)]);
    two.set_members(&[NodeId(1), NodeId(2)]);
    one.dial_due(&mut low, &OPEN, now);
    two.dial_due(&mut high, &OPEN, now);
    assert!(low.dialled.is_empty());
    assert_eq!(high.dialled, [1]);
    two.handle_connected(1, socket(7));
    one.handle_accepted(socket(3));
    two.flush(&mut high);

    let mut events = Vec::new();
    for byte in high.sent.remove(0).1 {
        one.handle_received(socket(3), &[byte], &OPEN, said(&mut events));
    }
    assert_eq!(events, [Said::Up(2, 5)]);
    one.send(NodeId(2), now, |frame| frame.push(GroupId(3), &vote(), |_| ()));
    one.send(NodeId(2), now, |frame| frame.push(GroupId(1), &vote(), |_| ()));
    one.flush(&mut low);
    let mut events = Vec::new();
    for (_, bytes) in low.sent.drain(..) {
        for piece in bytes.chunks(7) {
            two.handle_received(socket(7), piece, &OPEN, said(&mut events));
        }
    }
    assert_eq!(events, [Said::Up(1, 5), Said::Message(1, GroupId(3)), Said::Message(1, GroupId(1))]);
    let mut events = Vec::new();
    two.handle_closed(socket(7), now, said(&mut events));
    assert_eq!(events, [Said::Down(1)]);
    assert!(two.next_deadline() > now, "a lost link is dialled again, after a pause");
}

#[test]
fn a_peer_of_another_cluster_shape_or_directory_is_refused() {
    let good = hello(2);
    let bad = [
        PeerHello { cluster_id: ClusterId([2; 16]), ..good },
        PeerHello { groups: 8, ..good },
        PeerHello { config_hash: 1, ..good },
        PeerHello { node_id: NodeId(1), ..good },
    ];
    let bound = Book { bound: Some(NodeUuid([99; 16])) };
    let cases = bad.iter().map(|hello| (hello, &OPEN)).chain([(&good, &bound)]);
    for (at, (hello_in, book)) in cases.enumerate() {
        let mut io = ListIo::default();
        let mut peers = Peers::new(PeerSettings { hello: hello(1) });
        peers.handle_accepted(socket(1));
        let mut events = Vec::new();
        peers.handle_received(socket(1), &hello_in.encode(), book, said(&mut events));
        peers.flush(&mut io);
        assert!(events.is_empty(), "case {at} was let in");
        // It is told who refuses, then closed.
        let (_, told) = io.sent.remove(0);
        assert_eq!(PeerHello::parse(&told), Ok(hello(1)));
        peers.handle_sent(socket(1), told);
        peers.flush(&mut io);
        assert_eq!(io.closed, [socket(1)], "case {at} was not closed");
    }
}

#[test]
fn an_older_incarnation_is_a_copy_and_is_refused() {
    let mut io = ListIo::default();
    let mut peers = Peers::new(PeerSettings { hello: hello(1) });
    let mut events = Vec::new();
    peers.handle_accepted(socket(1));
    peers.handle_received(socket(1), &hello(2).encode(), &OPEN, said(&mut events));
    peers.handle_accepted(socket(2));
    let old = PeerHello { incarnation: 4, ..hello(2) };
    peers.handle_received(socket(2), &old.encode(), &OPEN, said(&mut events));
    peers.flush(&mut io);
    let (_, told) = io.sent.pop().expect("it is told who refuses");
    peers.handle_sent(socket(2), told);
    peers.flush(&mut io);
    assert_eq!((events, io.closed), (vec![Said::Up(2, 5)], vec![socket(2)]));
}

#[test]
fn garbage_on_the_peer_port_closes_one_connection_and_nothing_else() {
    let mut prng = Prng::new(3);
    let mut io = ListIo::default();
    let mut peers = Peers::new(PeerSettings { hello: hello(1) });
    for at in 0..2000 {
        let socket = socket(at);
        peers.handle_accepted(socket);
        let mut bytes: Vec<u8> = (0..prng.below(400) + 80).map(|_| prng.next_u64() as u8).collect();
        if prng.one_in(2) {
            bytes.splice(..80, hello(2).encode());
            let at = prng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << prng.below(8);
        }
        peers.handle_received(socket, &bytes, &OPEN, |_| ());
        peers.flush(&mut io);
        peers.handle_closed(socket, Mono(1), |_| ());
    }
    assert!(io.closed.len() > 1000);
}

fn server_hello() -> ServerHello {
    ServerHello {
        version: 1,
        features: 0,
        cluster_id: ClusterId([1; 16]),
        node_id: NodeId(1),
        cores: 1,
        core: CoreId(0),
        groups: 4,
    }
}

#[test]
fn requests_reach_the_desk_and_replies_leave_in_one_frame() {
    let mut io = ListIo::default();
    let mut clients = Clients::new(server_hello());
    clients.handle_accepted(socket(4));
    let mut writer = FrameWriter::new(FrameClass::Request, 1 << 20);
    for id in 1..=3 {
        writer.push_request(id, 6, 0, GroupId(0), |out| out.push(id as u8)).unwrap();
    }
    let mut bytes = ClientHello::new(base::Acct(1), [0; 16]).encode().to_vec();
    bytes.extend(writer.take(Vec::new()));
    let mut seen = Vec::new();
    for piece in bytes.chunks(11) {
        clients.handle_received(socket(4), piece, |ClientEvent::Request { connection, item, .. }| {
            seen.push((connection, item.request_id, item.body.to_vec()));
        });
    }
    assert_eq!(
        seen.iter().map(|(_, id, body)| (*id, body.clone())).collect::<Vec<_>>(),
        [(1, vec![1]), (2, vec![2]), (3, vec![3])]
    );
    for (connection, id, body) in &seen {
        clients.reply(*connection, *id, 6, ReplyStatus::Ok, GroupId(0), true, |out| out.extend_from_slice(body));
    }
    clients.flush(&mut io, |_| ());
    let (_, sent) = &io.sent[0];
    assert!(ServerHello::parse(sent).is_ok());
    let frame = wire::Frame::parse(&sent[wire::hello::SERVER_HELLO_BYTES..]).unwrap();
    assert_eq!(frame.count(), 3);
}

#[test]
fn a_client_with_too_much_in_flight_is_paused_and_goes_on_later() {
    let mut io = ListIo::default();
    let mut clients = Clients::new(server_hello());
    clients.handle_accepted(socket(4));
    let mut bytes = ClientHello::new(base::Acct(1), [0; 16]).encode().to_vec();
    let mut writer = FrameWriter::new(FrameClass::Request, 1 << 20);
    for id in 0..3000 {
        writer.push_request(id, 6, 0, GroupId(0), |_| ()).unwrap();
        if id % 100 == 99 {
            bytes.extend(writer.take(Vec::new()));
        }
    }
    let mut seen = Vec::new();
    clients.handle_received(socket(4), &bytes, |ClientEvent::Request { connection, item, .. }| {
        seen.push((connection, item.request_id));
    });
    clients.flush(&mut io, |_| ());
    assert_eq!(io.paused, [socket(4)]);
    let first = seen.len();
    assert!((1024..1124 + 1).contains(&first), "{first} requests were taken at once");
    let mut answered = 0;
    while answered < 3000 {
        assert!(answered < seen.len(), "the rest was never read");
        for (connection, id) in &seen[answered..] {
            clients.reply(*connection, *id, 6, ReplyStatus::Ok, GroupId(0), true, |_| ());
        }
        answered = seen.len();
        let (_, buffer) = io.sent.pop().expect("a flush sends");
        clients.handle_sent(socket(4), buffer);
        clients.flush(&mut io, |ClientEvent::Request { connection, item, .. }| {
            seen.push((connection, item.request_id));
        });
    }
    assert_eq!(seen.len(), 3000);
    assert!(io.paused.is_empty());
}

#[test]
fn marks_end_when_the_send_that_took_their_replies_has_ended_or_the_connection_is_gone() {
    let mut io = ListIo::default();
    let mut clients = Clients::new(server_hello());
    clients.handle_accepted(socket(4));
    clients.handle_received(socket(4), &ClientHello::new(base::Acct(1), [0; 16]).encode(), |_| ());
    let connection = u64::from(socket(4).generation) << 32 | 4;
    let answer = |clients: &mut Clients, name: u64| {
        clients.reply(connection, name, 6, ReplyStatus::Ok, GroupId(0), true, |_| ());
        clients.mark(connection, name);
    };
    let ended = |clients: &mut Clients| {
        let mut ended = Vec::new();
        clients.drain_marks(|mark, has_left| ended.push((mark.name, mark.count, has_left)));
        ended
    };
    [1, 1, 2].into_iter().for_each(|name| answer(&mut clients, name));
    clients.flush(&mut io, |_| ());
    // The first send is in flight: what comes meanwhile waits for the next one.
    answer(&mut clients, 3);
    clients.flush(&mut io, |_| ());
    assert_eq!(ended(&mut clients), []);
    let (_, buffer) = io.sent.pop().expect("a flush sends");
    clients.handle_sent(socket(4), buffer);
    assert_eq!(ended(&mut clients), [(1, 2, true), (2, 1, true)]);
    clients.flush(&mut io, |_| ());
    answer(&mut clients, 4);
    clients.handle_closed(socket(4));
    assert_eq!(ended(&mut clients), [(3, 1, false), (4, 1, false)]);
    answer(&mut clients, 5);
    assert_eq!(ended(&mut clients), [(5, 1, false)], "nobody is there any more");
}

#[test]
fn garbage_of_a_client_is_answered_and_closes_its_connection() {
    let mut io = ListIo::default();
    let mut clients = Clients::new(server_hello());
    clients.handle_accepted(socket(4));
    let mut bytes = ClientHello::new(base::Acct(1), [0; 16]).encode().to_vec();
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
    clients.handle_received(socket(4), &bytes, |_| panic!("garbage is no request"));
    clients.flush(&mut io, |_| ());
    let (_, sent) = io.sent.remove(0);
    let frame = wire::Frame::parse(&sent[wire::hello::SERVER_HELLO_BYTES..]).unwrap();
    let statuses: Vec<u8> = frame.replies().unwrap().map(|reply| reply.status).collect();
    assert_eq!(statuses, [ReplyStatus::Malformed as u8]);
    assert!(io.closed.is_empty(), "the reply leaves first");
    clients.handle_sent(socket(4), sent);
    clients.flush(&mut io, |_| ());
    assert_eq!(io.closed, [socket(4)]);
}
