//! A whole turn of a core but for its ring: bytes of a client in, the shard, bytes to the client and to the peers out, and
//! the latency profile with its clock. What the profile costs is the difference to a build with `profile-off`. And the way
//! of a hit at the memcached port, from the bytes of requests to those of replies.

use std::net::SocketAddr;

use base::stages::{ON, Stamp};
use base::{Acct, ClusterId, CoreId, Mono, NodeId, Nsid, Prng};
use cache::Kind;
use reactor::clock::StampClock;
use reactor::{Event, Io, Patience, SocketId, Wait};
use server::HitPath;
use server::profile::{CoreProfile, Counts, Watch};
use shard::{Border, Ticket};
use transport::{ClientEvent, Clients};
use wire::client::{parse_query, put_query_prefix};
use wire::{ClientHello, FrameClass, FrameWriter, PeerFrameWriter, ReplyStatus, RequestKind, ServerHello};

use super::core_rig::CoreRig;
use super::machine_rig::{OWNER, STAMP_MS};
use super::shard::{GROUPS, Make, REQUESTS, Request, TURNS, mixed, puts, ready};
use crate::{Bench, Body, Scale};

const FRAME_BYTES_MAX: usize = 2 << 20;
/// The only connection.
const SOCKET: SocketId = SocketId { index: 0, generation: 1 };

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let turn = |id, requests, make: fn(Scale) -> Body| Bench::new(id, make).operations(requests).state(TURNS);
    vec![
        turn("server/turn/put,b=1", 1, |scale| turns(1, 1, puts, scale)).counted(TURNS / 2),
        turn("server/turn/put,b=64", REQUESTS, |scale| turns(1, REQUESTS, puts, scale)).counted(TURNS / 4),
        turn("server/turn/mixed,b=64", REQUESTS, |scale| turns(GROUPS, REQUESTS, mixed, scale)).counted(TURNS / 4),
        Bench::new("server/memcache/hit,b=1", |scale| hits(1, scale)).counted(200),
        Bench::new("server/memcache/hit,b=64", |scale| hits(64, scale)).operations(64).counted(50),
        Bench::new("server/memcache/hit,keys=100", multi_get).operations(100).counted(50),
    ]
}

/// Files of a namespace whose JSON is cached, as `/folder-0123/file-0123456789.txt` with 250 bytes.
fn filled(scale: Scale) -> (HitPath, u64) {
    let files = if scale == Scale::Tiny { 500 } else { 100_000 };
    let mut path = HitPath::new(64 << 20);
    for number in 0..files {
        path.insert(Nsid(ROOT), &path_of(number), Kind::File, number, &[b'x'; 250]);
    }
    (path, files)
}

const ROOT: u64 = 10_000_000_007;

fn path_of(number: u64) -> String {
    format!("/folder-{:04}/file-{number:010}.txt", number % 1000)
}

/// `get` of one key, so many of them at a time.
fn hits(pipelined: u64, scale: Scale) -> Body {
    let (mut path, files) = filled(scale);
    let mut prng = Prng::new(3);
    let lines: Vec<Vec<u8>> = (0..256)
        .map(|_| {
            let line = |number| format!("get {ROOT}{}\r\n", &path_of(number));
            (0..pipelined).flat_map(|_| line(prng.below(files)).into_bytes()).collect()
        })
        .collect();
    answers(move |at| path.answer(&lines[at % lines.len()]).1.len() as u64)
}

/// One `get` of 100 keys.
fn multi_get(scale: Scale) -> Body {
    let (mut path, files) = filled(scale);
    let mut prng = Prng::new(3);
    let lines: Vec<Vec<u8>> = (0..64)
        .map(|_| {
            let keys: String = (0..100).map(|_| format!(" {ROOT}{}", path_of(prng.below(files)))).collect();
            format!("get{keys}\r\n").into_bytes()
        })
        .collect();
    answers(move |at| path.answer(&lines[at % lines.len()]).1.len() as u64)
}

fn answers(mut answer: impl FnMut(usize) -> u64 + 'static) -> Body {
    let mut at = 0;
    Box::new(move || {
        at += 1;
        let bytes = answer(at);
        assert!(bytes > 250, "all of it is cached");
        bytes
    })
}

/// Sockets that take everything.
#[derive(Default)]
struct Wires {
    sent: Option<Vec<u8>>,
}

impl Io for Wires {
    fn listen(&mut self, _: u64, address: SocketAddr, _: Patience) -> std::io::Result<SocketAddr> {
        Ok(address)
    }

    fn connect(&mut self, _: u64, _: SocketAddr, _: Patience) {}

    fn send(&mut self, _: SocketId, buffer: Vec<u8>) {
        assert!(self.sent.replace(buffer).is_none(), "one send is in flight at a time");
    }

    fn pause(&mut self, _: SocketId) {}

    fn resume(&mut self, _: SocketId) {}

    fn close(&mut self, _: SocketId) {}

    fn enter(&mut self, _: Wait) {}

    fn reap(&mut self, _: &mut dyn FnMut(Event<'_>)) -> usize {
        0
    }

    fn now(&self) -> Mono {
        Mono(0)
    }

    fn wall_ms(&self) -> u64 {
        STAMP_MS
    }
}

/// A core as `server` has it.
struct Hands {
    rig: CoreRig,
    clients: Clients,
    profile: CoreProfile,
    wires: Wires,
    peers: [PeerFrameWriter; 2],
    spare: Vec<u8>,
    /// The last log write was handed out then.
    issued: Stamp,
    syncs: u64,
}

impl Hands {
    fn new(rig: CoreRig, groups: u32) -> Hands {
        let hello = ServerHello {
            version: 1,
            features: 0,
            cluster_id: ClusterId([1; 16]),
            node_id: NodeId(1),
            cores: 1,
            core: CoreId(0),
            groups,
        };
        let mut clients = Clients::new(hello);
        clients.handle_accepted(SOCKET);
        clients.handle_received(SOCKET, &ClientHello::new(Acct(0), [0; 16]).encode(), |_| ());
        // The metrics thread ends here: what it would take, once a second, stays with the core.
        let (_, feeds) = Watch::start(1).expect("a thread can be had");
        let feed = feeds.into_iter().next().expect("there is one core");
        let profile = CoreProfile::new(StampClock::new(), feed, rig.now);
        let peers = [PeerFrameWriter::new(FRAME_BYTES_MAX), PeerFrameWriter::new(FRAME_BYTES_MAX)];
        let (wires, issued, syncs) = (Wires::default(), Stamp::default(), rig.syncs);
        Hands { rig, clients, profile, wires, peers, spare: Vec::new(), issued, syncs }
    }

    /// The steps of `server`'s turn, in their order; returns the bytes that leave.
    fn turn(&mut self, frame: &[u8], requests: u64) -> u64 {
        let begun = self.profile.begin_turn();
        self.rig.shard.begin_stages(begun);
        self.rig.begin();
        self.receive(frame);
        self.rig.hear();
        let stamp = self.profile.stamp();
        self.rig.shard.end_stage(Border::Decode, stamp);
        self.complete();
        let stamp = self.profile.stamp_if_cheap();
        self.rig.shard.end_stage(Border::Admit, stamp);
        self.rig.shard.advance_proposals(self.rig.now, STAMP_MS);
        let stamp = self.profile.stamp_if_cheap();
        self.rig.shard.end_stage(Border::Propose, stamp);
        self.rig.shard.advance_groups(self.rig.now);
        let stamp = self.profile.stamp();
        self.rig.shard.end_stage(Border::Apply, stamp);
        self.reply();
        let bytes = self.leave();
        self.rig.begin_operations();
        self.issued = self.profile.last();
        self.clients.flush(&mut self.wires, |_| ());
        self.profile.advance(self.rig.now, Counts::default);
        self.profile.end_turn(CoreId(0), requests);
        bytes + self.wires.sent.as_ref().map_or(0, |sent| sent.len() as u64)
    }

    fn receive(&mut self, frame: &[u8]) {
        let Hands { rig, clients, wires, .. } = self;
        if let Some(buffer) = wires.sent.take() {
            clients.handle_sent(SOCKET, buffer);
        }
        clients.handle_received(SOCKET, frame, |ClientEvent::Request { connection, item, .. }| {
            let ticket = Ticket { connection, request: item.request_id, kind: item.kind };
            if item.request_kind() == Some(RequestKind::Command) {
                return rig.shard.handle_command(ticket, item.group, item.body);
            }
            let (acct, nsid, query) = parse_query(item.body).expect("only commands and queries are sent");
            rig.shard.handle_query(ticket, item.group, acct, nsid, query);
        });
    }

    fn complete(&mut self) {
        let Hands { rig, clients, profile, issued, syncs, .. } = self;
        clients.drain_marks(|mark, has_left| profile.handle_mark(mark, has_left));
        rig.complete();
        for _ in *syncs..rig.syncs {
            profile.note_sync(CoreId(0), *issued);
        }
        *syncs = rig.syncs;
    }

    fn reply(&mut self) {
        let Hands { rig, clients, profile, .. } = self;
        let replies = rig.shard.replies();
        let timings = replies.timings();
        profile.begin_replies(timings.len());
        for reply in replies.iter() {
            let Ticket { connection, request, kind } = reply.ticket;
            assert_eq!(reply.status, shard::Status::Ok, "request {request}");
            let write = |out: &mut Vec<u8>| out.extend_from_slice(reply.body);
            clients.reply(connection, request, kind, ReplyStatus::Ok, reply.group, true, write);
            if let Some((at, class)) = reply.timing.filter(|_| ON) {
                clients.mark(connection, profile.name(at, class, &timings[at as usize]));
            }
        }
        rig.shard.replies().clear();
        let stamp = profile.end_replies();
        rig.shard.end_stage(Border::Reply, stamp);
    }

    /// One frame for each peer; returns their bytes.
    fn leave(&mut self) -> u64 {
        let Hands { rig, peers, spare, .. } = self;
        let now = rig.now;
        peers.iter_mut().for_each(|writer| writer.begin(CoreId(0), CoreId(0), 0, now));
        rig.leave(|to, group, body, records| {
            let writer = &mut peers[to.0 as usize - 2];
            writer.push(group, body, |out| out.extend_from_slice(records)).expect("they fit a frame");
        });
        let mut bytes = 0;
        for writer in peers {
            writer.finish();
            *spare = writer.take(std::mem::take(spare));
            bytes += spare.len() as u64;
        }
        bytes
    }
}

/// The requests of one turn as the client's frame.
fn frame(rig: &CoreRig, requests: &[Request]) -> Vec<u8> {
    let mut writer = FrameWriter::new(FrameClass::Request, FRAME_BYTES_MAX);
    for (id, request) in (0..).zip(requests) {
        let (kind, place, bytes) = match request {
            Request::Command(place, bytes) => (RequestKind::Command, rig.places[*place], bytes),
            Request::Query(place, bytes) => (RequestKind::Query, rig.places[*place], bytes),
        };
        let body = |out: &mut Vec<u8>| {
            if kind == RequestKind::Query {
                put_query_prefix(out, OWNER, place.nsid);
            }
            out.extend_from_slice(bytes);
        };
        writer.push_request(id, kind as u8, 0, place.group, body).expect("they fit a frame");
    }
    writer.take(Vec::new())
}

fn turns(groups: u32, requests: u64, make: Make, scale: Scale) -> Body {
    let (rig, turns) = ready(groups, requests, make, scale);
    let frames: Vec<Vec<u8>> = turns.iter().map(|requests| frame(&rig, requests)).collect();
    let mut hands = Hands::new(rig, groups);
    let mut next = 0;
    Box::new(move || {
        let frame = &frames[next % frames.len()];
        next += 1;
        hands.turn(frame, requests)
    })
}
