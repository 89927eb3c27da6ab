//! Samples of every format, shared by the tests.
#![allow(dead_code, reason = "each test binary uses its part")]

use base::record::{EntryKind, RecordHeader, RecordKind, record_space, write_record};
use base::{Acct, ClusterId, CoreId, GroupId, Jid, LogIndex, Mono, NodeId, NodeUuid, Nsid, Term};
use raft::Body;
use wire::client::{self, ChangeMembers, Watch};
use wire::{
    ClientHello, ClusterMap, CoreStatus, FrameClass, FrameWriter, GroupRole, GroupStatus, NodeAddress, PeerFrameWriter,
    PeerHello, ReplyStatus, RequestKind, ServerHello, SnapshotAck, SnapshotPart, StateHash,
};

pub const MAX: usize = 2 << 20;

pub fn client_hello() -> ClientHello {
    ClientHello::new(Acct(7), [0x5a; 16])
}

pub fn server_hello() -> ServerHello {
    ServerHello {
        version: 1,
        features: 0,
        cluster_id: ClusterId([0xc1; 16]),
        node_id: NodeId(3),
        cores: 4,
        core: CoreId(2),
        groups: 64,
    }
}

pub fn peer_hello() -> PeerHello {
    PeerHello {
        version_min: 1,
        version_max: 1,
        features: 0,
        cluster_id: ClusterId([0xc1; 16]),
        node_uuid: NodeUuid([0xd2; 16]),
        node_id: NodeId(3),
        incarnation: 9,
        core: CoreId(1),
        cores: 4,
        groups: 64,
        config_hash: 0xfeed_beef,
    }
}

pub fn cluster_map() -> ClusterMap {
    let node = |id, address: &str| NodeAddress { id: NodeId(id), address: address.to_owned() };
    ClusterMap {
        cores: 2,
        nodes: vec![node(1, "127.0.0.1:7100"), node(2, "[::1]:7100"), node(3, "metaserver-3.example:7100")],
        block_servers: vec![node(900, "10.0.0.9:7444")],
        leaders: vec![Some(NodeId(1)), None, Some(NodeId(3)), Some(NodeId(1))],
    }
}

pub fn core_status() -> CoreStatus {
    let mut status = CoreStatus { node: NodeId(2), core: CoreId(1), cores: 2, ..CoreStatus::default() };
    status.counters.commands = 1000;
    status.counters.syncs = 17;
    status.counters.sync_p99_us = 480;
    for group in [1, 3] {
        status.groups.push(GroupStatus {
            group: GroupId(group),
            role: if group == 1 { GroupRole::Leader } else { GroupRole::Follower },
            term: Term(4),
            leader: (group == 1).then_some(NodeId(2)),
            first_index: LogIndex(1),
            last_index: LogIndex(99),
            persisted_index: LogIndex(98),
            commit_index: LogIndex(97),
            applied_index: LogIndex(96),
            state_hash: 0x1122_3344_5566_7788,
            voters: vec![NodeId(1), NodeId(2), NodeId(3)],
            learners: vec![NodeId(4)],
            health: raft::Health::Clean,
            alarm: None,
            is_state_lost: false,
        });
    }
    status
}

pub fn requests() -> Vec<u8> {
    let mut writer = FrameWriter::new(FrameClass::Request, MAX);
    let mut put = |id, kind: RequestKind, group, body: &[u8]| {
        writer.push_request(id, kind as u8, 0, GroupId(group), |out| out.extend_from_slice(body)).unwrap();
    };
    put(1, RequestKind::Command, 5, b"a command of meta");
    let mut query = Vec::new();
    client::put_query_prefix(&mut query, Acct(7), Nsid(10_000_000_000));
    query.extend_from_slice(b"query");
    put(2, RequestKind::Query, 5, &query);
    let mut watch = Vec::new();
    Watch { nsid: Nsid(10_000_000_000), acct: Acct(7), since: Jid(41) }.encode(&mut watch);
    put(3, RequestKind::Watch, 5, &watch);
    put(4, RequestKind::ClusterMap, 0, b"");
    put(5, RequestKind::Status, 0, b"");
    put(6, RequestKind::Ping, 0, b"ping");
    let mut change = Vec::new();
    ChangeMembers { add: Some(NodeId(4)), remove: None }.encode(&mut change);
    put(7, RequestKind::ChangeMembers, 5, &change);
    let mut target = Vec::new();
    client::put_node(&mut target, Some(NodeId(2)));
    put(8, RequestKind::TransferLeader, 5, &target);
    put(9, RequestKind::BalanceLeaders, 0, b"");
    writer.take(Vec::new())
}

pub fn replies() -> Vec<u8> {
    let mut writer = FrameWriter::new(FrameClass::Reply, MAX);
    let mut put = |id, status: ReplyStatus, kind: RequestKind, body: &[u8]| {
        writer.push_reply(id, status as u8, kind as u8, GroupId(5), |out| out.extend_from_slice(body)).unwrap();
    };
    put(1, ReplyStatus::Ok, RequestKind::Command, b"outcome");
    put(2, ReplyStatus::NotLeader, RequestKind::Query, &2u64.to_le_bytes());
    put(3, ReplyStatus::Overloaded, RequestKind::Command, b"");
    put(4, ReplyStatus::WrongCore, RequestKind::Command, &3u16.to_le_bytes());
    put(5, ReplyStatus::Malformed, RequestKind::Command, "kein Befehl: ü".as_bytes());
    put(6, ReplyStatus::Unavailable, RequestKind::Command, b"");
    put(7, ReplyStatus::Unsupported, RequestKind::Status, b"");
    put(8, ReplyStatus::Refused, RequestKind::ChangeMembers, b"no");
    put(9, ReplyStatus::Ok, RequestKind::Watch, &42u64.to_le_bytes());
    writer.take(Vec::new())
}

/// `count` chained entries of `group` from `first` on.
pub fn entries(group: u32, first: u64, count: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let mut prev_crc = 0x77;
    for i in 0..u64::from(count) {
        let payload = format!("entry {}", first + i);
        let mut record = vec![0; record_space(payload.len())];
        let header = RecordHeader {
            kind: RecordKind::Entry,
            flags: EntryKind::Commands as u8,
            life: 0,
            group: GroupId(group),
            prev_crc,
            index: LogIndex(first + i),
            term: Term(4),
        };
        prev_crc = write_record(&mut record, &header, payload.as_bytes()).1;
        out.extend(record);
    }
    out
}

pub fn append(prev_index: u64, count: u16) -> Body {
    Body::AppendEntries {
        term: Term(4),
        prev_index: LogIndex(prev_index),
        prev_term: Term(3),
        prev_crc: 0x77,
        commit_index: LogIndex(8),
        read_position: 2,
        count,
        send_mono: SEND,
    }
}

/// An answer to a question about lost entries.
pub fn fetched(first_index: LogIndex, count: u16, absent: bool) -> Body {
    Body::EntryFetchResp {
        term: Term(4),
        first_index,
        last_index: LogIndex(20),
        last_term: Term(3),
        health: raft::Health::RecoveringHead,
        count,
        rejected: false,
        absent,
    }
}

pub const SEND: Mono = Mono(0x0102_0304);

/// One of every body but AppendEntries, with groups.
pub fn bodies() -> Vec<(GroupId, Body)> {
    let (term, read_position, incarnation) = (Term(4), 2, 9);
    let heartbeat = |commit, quiesce| Body::Heartbeat {
        term,
        commit_index: LogIndex(commit),
        read_position,
        quiesce,
        send_mono: SEND,
    };
    let ack = |echo, quiesce| Body::HeartbeatAck { term, read_position, quiesce, echo_mono: Mono(echo) };
    let all = vec![
        Body::AppendResp {
            term,
            index: LogIndex(10),
            rejected: true,
            busy: false,
            faulty: true,
            hint_index: LogIndex(6),
            hint_term: Term(2),
            read_position,
            echo_mono: Mono(55),
        },
        heartbeat(8, false),
        ack(66, false),
        Body::PreVote { term, last_index: LogIndex(10), last_term: Term(3), incarnation },
        heartbeat(9, true),
        Body::PreVoteResp { term, rejected: false, incarnation },
        ack(44, true),
        Body::RequestVote { term, last_index: LogIndex(10), last_term: Term(3), incarnation, forced: true },
        Body::VoteResp { term, rejected: true, incarnation },
        ack(66, false),
        Body::TimeoutNow { term, read_position },
        Body::ReadIndex { term, read_id: 12, incarnation },
        Body::ReadIndexResp { term, read_id: 12, incarnation, read_index: LogIndex(8), rejected: false },
        Body::Removed { term, config_index: LogIndex(3) },
        Body::EntryFetch {
            term,
            first_index: LogIndex(11),
            first_term: Term(3),
            last_index: LogIndex(12),
            doubt_term: Term(5),
        },
        fetched(LogIndex(11), 0, true),
        Body::Amnesia { term, acked_index: LogIndex(12) },
    ];
    (1..).map(GroupId).zip(all).collect()
}

pub fn peer_frame() -> Vec<u8> {
    let mut writer = PeerFrameWriter::new(MAX);
    writer.begin(CoreId(1), CoreId(2), 77, SEND);
    writer.push(GroupId(5), &append(10, 2), |out| out.extend(entries(5, 11, 2))).unwrap();
    for (group, body) in bodies() {
        writer.push(group, &body, |_| assert!(body.entries().is_some(), "{body:?} carries no records")).unwrap();
    }
    writer.push(GroupId(6), &fetched(LogIndex(11), 2, false), |out| out.extend(entries(6, 11, 2))).unwrap();
    assert!(writer.finish());
    writer.take(Vec::new())
}

pub fn snapshot_part() -> SnapshotPart<'static> {
    SnapshotPart {
        leader_term: Term(4),
        index: LogIndex(100),
        term: Term(3),
        snapshot_id: 0xabcd,
        part: 1,
        last: true,
        body: b"thirteen byte",
    }
}

pub fn snapshot_ack() -> SnapshotAck {
    SnapshotAck { term: Term(4), snapshot_id: 0xabcd, next_part: 2, credit_parts: 4, rejected: false }
}

pub fn state_hash() -> StateHash {
    StateHash { index: LogIndex(8192), hash: 0x1122_3344_5566_7788 }
}

pub fn state_hash_frame() -> Vec<u8> {
    let mut writer = PeerFrameWriter::new(MAX);
    writer.begin(CoreId(0), CoreId(0), 1, SEND);
    writer.push_state_hash(GroupId(5), &state_hash()).unwrap();
    assert!(writer.finish());
    writer.take(Vec::new())
}

pub fn snapshot_frame() -> Vec<u8> {
    let mut writer = PeerFrameWriter::new(MAX);
    writer.begin(CoreId(0), CoreId(0), 1, SEND);
    writer.push_snapshot(GroupId(5), &snapshot_part()).unwrap();
    writer.push_snapshot_ack(GroupId(6), &snapshot_ack()).unwrap();
    assert!(writer.finish());
    writer.take(Vec::new())
}
