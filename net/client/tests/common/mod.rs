//! A scripted cluster in memory: its nodes speak the real frames, its one machine keeps sessions and outcomes.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use base::{ClusterId, CoreId, Jid, NodeId, Nsid, core_of};
use client::{ClusterMap, NodeAddress};
use meta::{Answer, At, Command, Mkdir, Outcome, Query};
use wire::client::Watch;
use wire::{
    ClientHello, CoreStatus, Frame, FrameClass, FrameReader, FrameWriter, Link, ReplyStatus, RequestItem, RequestKind,
    ServerHello,
};

pub const NODES: u64 = 3;
pub const GROUPS: u32 = 4;
pub const CORES: u16 = 2;
pub const MAX: usize = 2 << 20;

/// A namespace of each group used here; any number does.
pub const HOME: Nsid = Nsid(10_000_000_000);

pub fn base_address(node: u64) -> String {
    format!("node-{node}:7100")
}

/// What the next command, query or watch meets instead of a good answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing unusual.
    Serve,
    /// NotLeader with this hint, 0 for none.
    NotLeader(u64),
    Overloaded,
    /// Executed, and the connection is lost before the answer.
    LoseReply,
    /// The connection is lost before it is executed.
    LoseRequest,
    /// Unavailable, executed or not.
    Unavailable(bool),
    /// The sessions are gone, and are forgotten.
    ForgetSessions,
    /// Executed, but no answer, and the connection stays.
    Silence,
    Malformed,
    Refused,
}

/// The state that all nodes share.
pub struct Cluster {
    pub leader: u64,
    pub dead: BTreeSet<u64>,
    pub cluster_id: ClusterId,
    pub script: VecDeque<Step>,
    /// Folders made, in order: each command executed leaves one.
    pub executed: Vec<String>,
    pub outcomes: HashMap<(u64, u64), Outcome>,
    pub sessions: BTreeMap<(u32, [u8; 16]), u64>,
    pub next_session: u64,
    /// The highest sequence and ack_below seen.
    pub sequence_max: u64,
    pub ack_below_max: u64,
    pub head: u64,
    pub map_asked: usize,
    /// Ids of requests that asked for an explanation.
    pub explained: Vec<u64>,
    /// Nodes do not answer anything, Pings included.
    pub is_silent: bool,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            leader: 1,
            dead: BTreeSet::new(),
            cluster_id: ClusterId([7; 16]),
            script: VecDeque::new(),
            executed: Vec::new(),
            outcomes: HashMap::new(),
            sessions: BTreeMap::new(),
            next_session: 4096,
            sequence_max: 0,
            ack_below_max: 0,
            head: 5,
            map_asked: 0,
            explained: Vec::new(),
            is_silent: false,
        }
    }
}

/// One connection at a server.
pub struct Served {
    pub node: u64,
    pub core: CoreId,
    reader: FrameReader,
    writer: FrameWriter,
    is_greeted: bool,
    /// Request ids, namespaces and last heads told.
    pub watches: Vec<(u64, u32, u64)>,
}

/// What a server does with what came.
pub struct Served2 {
    pub bytes: Vec<u8>,
    pub is_closed: bool,
}

impl Served {
    /// The connection to `address`; `None` when nobody listens there.
    pub fn accept(cluster: &Cluster, address: &str) -> Option<Served> {
        let (host, port) = address.split_once(':').unwrap();
        let node: u64 = host.strip_prefix("node-")?.parse().ok()?;
        let port: u16 = port.parse().unwrap();
        let core = CoreId(port.saturating_sub(7101));
        (1..=NODES).contains(&node).then_some(())?;
        (!cluster.dead.contains(&node) && port <= 7100 + CORES).then(|| Served::new(node, core))
    }

    pub fn new(node: u64, core: CoreId) -> Served {
        Served {
            node,
            core,
            reader: FrameReader::new(Link::Client, MAX),
            writer: FrameWriter::new(FrameClass::Reply, MAX),
            is_greeted: false,
            watches: Vec::new(),
        }
    }

    /// Answers what came.
    pub fn serve(&mut self, cluster: &mut Cluster, map: &ClusterMap, bytes: &[u8]) -> Served2 {
        let mut out = Vec::new();
        self.reader.push(bytes);
        if !self.is_greeted {
            let Some(hello) = self.reader.next_client_hello().unwrap() else {
                return Served2 { bytes: out, is_closed: false };
            };
            let _: ClientHello = hello;
            self.is_greeted = true;
            let hello = ServerHello {
                version: 1,
                features: 0,
                cluster_id: cluster.cluster_id,
                node_id: NodeId(self.node),
                cores: map.cores,
                core: self.core,
                groups: map.groups(),
            };
            out.extend(hello.encode());
        }
        let mut reader = std::mem::replace(&mut self.reader, FrameReader::new(Link::Client, MAX));
        let mut is_closed = false;
        while let Some(frame) = reader.next_frame().unwrap() {
            for item in Frame::parse(frame).unwrap().requests().unwrap() {
                if item.flags & wire::explain::EXPLAIN != 0 {
                    cluster.explained.push(item.request_id);
                }
                is_closed = is_closed || cluster.is_silent || !self.answer(cluster, map, &item);
            }
        }
        self.reader = reader;
        if cluster.is_silent {
            return Served2 { bytes: out, is_closed: false };
        }
        out.extend(self.writer.take(Vec::new()));
        Served2 { bytes: out, is_closed }
    }

    /// Tells watches of a new head, or that they are over.
    pub fn poke(&mut self, cluster: &Cluster) -> Vec<u8> {
        let is_leader = cluster.leader == self.node;
        let writer = &mut self.writer;
        for (id, group, told) in &mut self.watches {
            let group = base::GroupId(*group);
            let kind = RequestKind::Watch as u8;
            if !is_leader {
                let body = cluster.leader.to_le_bytes();
                writer.push_reply(*id, 1, kind, group, |out| out.extend_from_slice(&body)).unwrap();
            } else if *told < cluster.head {
                *told = cluster.head;
                writer.push_reply(*id, 0, kind, group, |out| out.extend_from_slice(&told.to_le_bytes())).unwrap();
            }
        }
        if !is_leader {
            self.watches.clear();
        }
        writer.take(Vec::new())
    }

    /// False when the connection is to be lost.
    fn answer(&mut self, cluster: &mut Cluster, map: &ClusterMap, item: &RequestItem<'_>) -> bool {
        let mut body = Vec::new();
        let mut status = ReplyStatus::Ok;
        let mut keep = true;
        match item.request_kind().unwrap() {
            RequestKind::ClusterMap => {
                cluster.map_asked += 1;
                map.encode(&mut body);
            }
            RequestKind::Status => {
                let status =
                    CoreStatus { node: NodeId(self.node), core: self.core, cores: map.cores, ..CoreStatus::default() };
                status.encode(&mut body);
            }
            RequestKind::Ping => body.extend_from_slice(item.body),
            kind => {
                assert_eq!(core_of(item.group, map.cores), self.core, "requests go to the core of their group");
                match self.serve_group(cluster, kind, item, &mut body) {
                    Some(served) => (status, keep) = served,
                    None => return true,
                }
            }
        }
        if keep {
            let reply = |out: &mut Vec<u8>| out.extend_from_slice(&body);
            self.writer.push_reply(item.request_id, status as u8, item.kind, item.group, reply).unwrap();
        }
        keep
    }

    /// Status, and whether the connection stays; `None` for no answer.
    fn serve_group(
        &mut self,
        cluster: &mut Cluster,
        kind: RequestKind,
        item: &RequestItem<'_>,
        body: &mut Vec<u8>,
    ) -> Option<(ReplyStatus, bool)> {
        if self.node != cluster.leader {
            let is_known = !cluster.dead.contains(&cluster.leader);
            body.extend_from_slice(&(if is_known { cluster.leader } else { 0 }).to_le_bytes());
            return Some((ReplyStatus::NotLeader, true));
        }
        let step = cluster.script.pop_front().unwrap_or(Step::Serve);
        match step {
            Step::NotLeader(hint) => {
                body.extend_from_slice(&hint.to_le_bytes());
                return Some((ReplyStatus::NotLeader, true));
            }
            Step::Overloaded => return Some((ReplyStatus::Overloaded, true)),
            Step::LoseRequest => return Some((ReplyStatus::Ok, false)),
            Step::Unavailable(false) => return Some((ReplyStatus::Unavailable, true)),
            Step::Malformed => return Some((ReplyStatus::Malformed, true)),
            Step::Refused => {
                body.extend_from_slice("not today".as_bytes());
                return Some((ReplyStatus::Refused, true));
            }
            Step::ForgetSessions => cluster.sessions.clear(),
            Step::Serve | Step::LoseReply | Step::Silence | Step::Unavailable(true) => {}
        }
        match kind {
            RequestKind::Command => cluster.execute(item).encode(body),
            RequestKind::Query => {
                let (_, _, query) = wire::client::parse_query(item.body).unwrap();
                assert_eq!(Query::decode(query), Ok(Query::Head));
                Answer::Head(Jid(cluster.head)).encode(body);
            }
            RequestKind::Watch => {
                let watch = Watch::parse(item.body).unwrap();
                assert!(watch.since <= Jid(cluster.head));
                self.watches.push((item.request_id, item.group.0, cluster.head));
                body.extend_from_slice(&cluster.head.to_le_bytes());
            }
            _ => {}
        }
        match step {
            Step::LoseReply => Some((ReplyStatus::Ok, false)),
            Step::Silence => None,
            Step::Unavailable(_) => {
                body.clear();
                Some((ReplyStatus::Unavailable, true))
            }
            _ => Some((ReplyStatus::Ok, true)),
        }
    }
}

impl Cluster {
    /// What the metadata machine does with sessions, in small.
    fn execute(&mut self, item: &RequestItem<'_>) -> Outcome {
        let (header, command) = meta::decode_command(item.body).unwrap();
        if let Command::Register { nonce } = command {
            let next = self.next_session;
            let session = *self.sessions.entry((item.group.0, nonce)).or_insert(next);
            self.next_session += u64::from(session == next);
            return Outcome::Registered { session: base::SessionId(session) };
        }
        let (session, sequence) = (header.session.0, header.sequence.0);
        if !self.sessions.values().any(|known| *known == session) {
            return Outcome::SessionGone;
        }
        assert!(header.ack_below <= header.sequence, "a command in flight acknowledges nothing of its own");
        assert!(sequence - header.ack_below.0 < 1024 || header.ack_below.0 == 0);
        self.sequence_max = self.sequence_max.max(sequence);
        self.ack_below_max = self.ack_below_max.max(header.ack_below.0);
        if let Some(kept) = self.outcomes.get(&(session, sequence)) {
            return kept.clone();
        }
        let Command::Mkdir(Mkdir { at, .. }) = command else { panic!("the tests only make folders") };
        self.executed.push(at.path);
        let outcome = Outcome::Exists { id: self.executed.len() as u64 };
        self.outcomes.insert((session, sequence), outcome.clone());
        outcome
    }
}

pub fn mkdir(name: &str) -> Command {
    Command::Mkdir(Mkdir { at: At::path(&format!("/{name}")), autorename: false })
}

pub fn cluster_map(cores: u16, groups: u32, addresses: &[(u64, String)]) -> ClusterMap {
    let nodes = addresses.iter().map(|(id, address)| NodeAddress { id: NodeId(*id), address: address.clone() });
    ClusterMap { cores, nodes: nodes.collect(), block_servers: vec![], leaders: vec![None; groups as usize] }
}
