//! What was written is what is read.

mod common;

use base::record::Records;
use base::{Acct, CoreId, GroupId, Jid, LogIndex, Mono, NodeId, Nsid};
use common::*;
use raft::Body;
use wire::client::{self, ChangeMembers, Watch};
use wire::*;

#[test]
fn hellos_round_trip() {
    assert_eq!(ClientHello::parse(&client_hello().encode()), Ok(client_hello()));
    assert_eq!(ServerHello::parse(&server_hello().encode()), Ok(server_hello()));
    assert_eq!(PeerHello::parse(&peer_hello().encode()), Ok(peer_hello()));
}

#[test]
fn a_hello_without_a_common_version_is_refused() {
    let hello = ClientHello { version_min: 2, version_max: 3, ..client_hello() };
    assert_eq!(ClientHello::parse(&hello.encode()), Err(HelloError::Version { min: 2, max: 3 }));
    let hello = ClientHello { version_max: 9, ..client_hello() };
    assert_eq!(ClientHello::parse(&hello.encode()), Ok(hello));
}

#[test]
fn bodies_round_trip() {
    let mut bytes = Vec::new();
    cluster_map().encode(&mut bytes);
    assert_eq!(ClusterMap::parse(&bytes), Ok(cluster_map()));
    bytes.clear();
    core_status().encode(&mut bytes);
    assert_eq!(CoreStatus::parse(&bytes), Ok(core_status()));
}

#[test]
fn a_status_with_more_counters_than_known_is_still_read() {
    let mut bytes = Vec::new();
    core_status().encode(&mut bytes);
    let counters = u16::from_le_bytes([bytes[12], bytes[13]]);
    bytes[12..14].copy_from_slice(&(counters + 1).to_le_bytes());
    let at = 24 + usize::from(counters) * 8;
    bytes.splice(at..at, [0xee; 8]);
    assert_eq!(CoreStatus::parse(&bytes), Ok(core_status()));
}

#[test]
fn requests_round_trip() {
    let bytes = requests();
    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!((frame.class(), frame.count()), (FrameClass::Request, 9));
    assert!(frame.replies().is_err());
    let items: Vec<RequestItem<'_>> = frame.requests().unwrap().collect();
    assert_eq!(items.iter().map(|item| item.request_id).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert_eq!((items[0].request_kind(), items[0].body), (Some(RequestKind::Command), &b"a command of meta"[..]));
    assert_eq!(client::parse_query(items[1].body), Ok((Acct(7), Nsid(10_000_000_000), &b"query"[..])));
    let watch = Watch { nsid: Nsid(10_000_000_000), acct: Acct(7), since: Jid(41) };
    assert_eq!(Watch::parse(items[2].body), Ok(watch));
    let change = ChangeMembers { add: Some(NodeId(4)), remove: None };
    assert_eq!(ChangeMembers::parse(items[6].body), Ok(change));
    assert_eq!(client::parse_node(items[7].body), Ok(NodeId(2)));
    assert_eq!((items[8].request_kind(), items[8].body), (Some(RequestKind::BalanceLeaders), &b""[..]));
}

#[test]
fn replies_round_trip() {
    let bytes = replies();
    let frame = Frame::parse(&bytes).unwrap();
    let items: Vec<ReplyItem<'_>> = frame.replies().unwrap().collect();
    assert_eq!(items.len(), 9);
    assert_eq!((items[0].reply_status(), items[0].body), (Some(ReplyStatus::Ok), &b"outcome"[..]));
    assert_eq!(items[1].leader_hint(), Some(NodeId(2)));
    assert_eq!(items[3].right_core(), Some(CoreId(3)));
    assert_eq!(items[4].text(), "kein Befehl: ü");
    assert_eq!(client::parse_jid(items[8].body), Ok(Jid(42)));
}

#[test]
fn every_body_of_raft_round_trips_and_lists_are_taken_apart() {
    let bytes = peer_frame();
    let frame = PeerFrame::parse(&bytes).unwrap();
    assert_eq!((frame.source_core, frame.target_core, frame.link_seq), (CoreId(1), CoreId(2), 77));
    let mut read: Vec<(GroupId, Body)> = Vec::new();
    for message in frame.messages() {
        let message = message.unwrap();
        let PeerKind::Raft { body, entries } = message.kind else { panic!("a raft frame") };
        let indexes: Vec<LogIndex> = entries.map(|record| record.header().index).collect();
        let (first, count) = body.entries().unwrap_or((LogIndex(11), 0));
        assert_eq!(indexes, (first.0..first.0 + u64::from(count)).map(LogIndex).collect::<Vec<_>>());
        read.push((message.group, body));
    }
    let mut written = bodies();
    written.push((GroupId(5), append(10, 2)));
    written.push((GroupId(6), fetched(LogIndex(11), 2, false)));
    let order = |list: &mut Vec<(GroupId, Body)>| list.sort_by_key(|(group, body)| (*group, format!("{body:?}")));
    order(&mut written);
    order(&mut read);
    assert_eq!(read, written);
}

#[test]
fn snapshot_parts_round_trip() {
    let bytes = snapshot_frame();
    let messages: Vec<PeerMessage<'_>> = PeerFrame::parse(&bytes).unwrap().messages().map(|m| m.unwrap()).collect();
    assert!(
        matches!(messages[0], PeerMessage { group: GroupId(5), kind: PeerKind::Snapshot(p) } if p == snapshot_part())
    );
    assert!(
        matches!(messages[1], PeerMessage { group: GroupId(6), kind: PeerKind::SnapshotAck(a) } if a == snapshot_ack())
    );
    assert_eq!(messages.len(), 2);
}

#[test]
fn state_hashes_round_trip_and_those_with_a_term_are_refused() {
    let bytes = state_hash_frame();
    let read = |bytes: &[u8]| {
        let mut messages = PeerFrame::parse(bytes).unwrap().messages();
        let message = messages.next().unwrap().map(|message| match message.kind {
            PeerKind::StateHash(state) => (message.group, state),
            _ => panic!("another kind"),
        });
        assert!(messages.next().is_none());
        message
    };
    assert_eq!(read(&bytes), Ok((GroupId(5), state_hash())));
    let mut with_term = bytes.clone();
    with_term[32 + 8] = 1;
    let at = 12;
    with_term[at..at + 4].fill(0);
    let crc = base::checksum::crc32c(&with_term);
    with_term[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(read(&with_term), Err(wire::PeerFrameError::Field { kind: 17, field: "term" }));
}

#[test]
fn acks_of_one_echo_share_a_list() {
    let mut writer = PeerFrameWriter::new(MAX);
    writer.begin(CoreId(0), CoreId(0), 0, SEND);
    for group in 0..100 {
        let echo_mono = Mono(if group == 50 { 1 } else { 2 });
        let body = Body::HeartbeatAck { term: base::Term(1), read_position: 0, quiesce: false, echo_mono };
        writer.push(GroupId(group), &body, |_| {}).unwrap();
    }
    writer.finish();
    let bytes = writer.take(Vec::new());
    assert_eq!(bytes.len(), 32 + (40 + 24) + (40 + 24 * 99));
    assert_eq!(PeerFrame::parse(&bytes).unwrap().messages().count(), 100);
}

#[test]
fn a_full_peer_frame_takes_nothing_and_the_next_one_does() {
    let mut writer = PeerFrameWriter::new(1024);
    let mut spare = Vec::new();
    let (mut frames, mut pushed) = (0, 0);
    writer.begin(CoreId(0), CoreId(0), 0, SEND);
    while pushed < 100 {
        let records = |out: &mut Vec<u8>| out.extend(entries(5, 11, 2));
        let pushed_one = match pushed % 3 {
            0 => writer.push(GroupId(5), &append(10, 2), records),
            1 => writer.push(GroupId(5), &bodies()[1].1, |_| {}),
            _ => writer.push(GroupId(5), &bodies()[2].1, |_| {}),
        };
        match pushed_one {
            Ok(()) => pushed += 1,
            Err(_) => {
                assert!(writer.finish());
                frames += 1;
                writer.begin(CoreId(0), CoreId(0), frames, SEND);
            }
        }
    }
    assert!(writer.finish());
    writer.begin(CoreId(0), CoreId(0), frames + 1, SEND);
    assert!(!writer.finish(), "an empty frame is not sent");
    spare.push(1);
    let bytes = writer.take(spare);
    let mut reader = FrameReader::new(Link::Peer, 1024);
    reader.push(&bytes);
    let (mut read, mut seq) = (0, 0);
    while let Some(frame) = reader.next_frame().unwrap() {
        let frame = PeerFrame::parse(frame).unwrap();
        assert_eq!(frame.link_seq, seq);
        seq += 1;
        read += frame.messages().filter(|message| message.is_ok()).count();
    }
    assert_eq!((seq, read), (frames + 1, pushed));
    assert!(frames > 5);
}

#[test]
fn a_client_frame_that_would_grow_too_large_is_split() {
    let mut writer = FrameWriter::new(FrameClass::Reply, 256);
    let mut spare = Vec::new();
    for round in 0..2 {
        for id in 0..50u64 {
            let body = vec![id as u8; (id as usize * 7) % 200];
            writer.push_reply(id, 0, 1, GroupId(0), |out| out.extend_from_slice(&body)).unwrap();
            if id % 7 == round {
                let large = writer.push_reply(id, 0, 1, GroupId(0), |out| out.resize(out.len() + 300, 1));
                assert_eq!(large, Err(ItemTooLarge { bytes: 24 + 24 + 304, max: 256 }));
            }
        }
        let bytes = writer.take(spare);
        assert!(writer.is_empty());
        let mut reader = FrameReader::new(Link::Client, 256);
        reader.push(&bytes);
        let mut next = 0;
        while let Some(frame) = reader.next_frame().unwrap() {
            for item in Frame::parse(frame).unwrap().replies().unwrap() {
                assert_eq!((item.request_id, item.body.len()), (next, (next as usize * 7) % 200));
                next += 1;
            }
        }
        assert_eq!((next, reader.pending_bytes()), (50, 0));
        spare = bytes;
    }
}

#[test]
fn an_item_too_large_alone_leaves_the_writer_empty() {
    let mut writer = FrameWriter::new(FrameClass::Reply, 64);
    assert!(writer.push_reply(1, 0, 1, GroupId(0), |out| out.resize(out.len() + 100, 1)).is_err());
    assert!(writer.is_empty());
    assert_eq!(writer.take(Vec::new()), Vec::<u8>::new());
}

#[test]
fn entries_that_do_not_belong_to_their_message_are_refused() {
    for (group, first, count) in [(6, 11, 2), (5, 12, 2), (5, 11, 1), (5, 11, 3)] {
        let mut writer = PeerFrameWriter::new(MAX);
        writer.begin(CoreId(0), CoreId(0), 0, SEND);
        writer.push(GroupId(5), &append(10, 2), |out| out.extend(entries(group, first, count))).unwrap();
        writer.finish();
        let bytes = writer.take(Vec::new());
        let messages: Vec<_> = PeerFrame::parse(&bytes).unwrap().messages().collect();
        assert!(matches!(messages[..], [Err(PeerFrameError::Entries(_))]), "{group} {first} {count}");
    }
    let _: Records<'_> = Records::EMPTY;
}
