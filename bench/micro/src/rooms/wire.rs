//! The codec: a frame of a client in, a frame of replies out, a frame between two nodes.

use std::hint::black_box;

use base::record::{EntryKind, RecordHeader, RecordKind, record_space, write_record};
use base::{Acct, CoreId, GroupId, LogIndex, Mono, Nsid, Sequence, SessionId, Term};
use meta::{CommandHeader, PutMode};
use raft::Body as Message;
use wire::{Frame, FrameClass, FrameWriter, PeerFrame, PeerFrameWriter, PeerKind, ReplyStatus, RequestKind};

use super::machine_rig::put;
use crate::{Bench, Body};

const ITEMS: u64 = 64;
const FRAME_BYTES_MAX: usize = 2 << 20;

/// The benches of this room. The parser of memcached's protocol comes with the cache.
#[must_use]
pub fn benches() -> Vec<Bench> {
    vec![
        Bench::new("wire/decode/put,b=64", |_| decode()).operations(ITEMS).counted(500),
        Bench::new("wire/encode/reply,b=64", |_| encode()).operations(ITEMS).counted(500),
        Bench::new("wire/peer_frame/groups=64", |_| peer_frame()).operations(ITEMS).counted(200),
    ]
}

/// A frame of puts of one block each.
fn puts() -> Vec<u8> {
    let mut writer = FrameWriter::new(FrameClass::Request, FRAME_BYTES_MAX);
    for at in 0..ITEMS {
        let (nsid, acct) = (Nsid(10_000_000_000), Acct(5));
        let sequence = Sequence(at + 1);
        let header = CommandHeader { session: SessionId(7), sequence, ack_below: Sequence(1), acct, nsid };
        let command = put(&format!("/folder/file {at}.txt"), at, PutMode::Add);
        let body = |out: &mut Vec<u8>| meta::encode_command(&header, &command, out);
        writer.push_request(at, RequestKind::Command as u8, 0, GroupId(1), body).expect("they fit a frame");
    }
    writer.take(Vec::new())
}

fn decode() -> Body {
    let bytes = puts();
    Box::new(move || {
        let frame = Frame::parse(black_box(&bytes)).expect("the writer's own encoding");
        frame.requests().expect("it is a frame of requests").map(|item| item.body.len() as u64).sum()
    })
}

fn encode() -> Body {
    let mut writer = FrameWriter::new(FrameClass::Reply, FRAME_BYTES_MAX);
    let mut spare = Vec::new();
    let outcome = [7; 48];
    let (status, kind) = (ReplyStatus::Ok as u8, RequestKind::Command as u8);
    Box::new(move || {
        for at in 0..ITEMS {
            let body = |out: &mut Vec<u8>| out.extend_from_slice(black_box(&outcome));
            writer.push_reply(at, status, kind, GroupId(1), body).expect("they fit a frame");
        }
        spare = writer.take(std::mem::take(&mut spare));
        spare.len() as u64
    })
}

/// One entry of 256 bytes for each of 64 groups, written as one frame, checked and taken apart.
fn peer_frame() -> Body {
    let record = |group| {
        let mut bytes = vec![0; record_space(256)];
        let (kind, flags) = (RecordKind::Entry, EntryKind::Commands as u8);
        let header = RecordHeader { kind, flags, life: 0, group, prev_crc: 1, index: LogIndex(11), term: Term(3) };
        write_record(&mut bytes, &header, &[7; 256]);
        bytes
    };
    let records: Vec<Vec<u8>> = (0..ITEMS as u32).map(|group| record(GroupId(group))).collect();
    let append = Message::AppendEntries {
        term: Term(3),
        prev_index: LogIndex(10),
        prev_term: Term(3),
        prev_crc: 1,
        commit_index: LogIndex(10),
        read_position: 0,
        count: 1,
        send_mono: Mono(5),
    };
    let mut writer = PeerFrameWriter::new(FRAME_BYTES_MAX);
    let mut spare = Vec::new();
    Box::new(move || {
        writer.begin(CoreId(0), CoreId(0), 0, Mono(5));
        for (group, record) in (0..).zip(&records) {
            let bytes = |out: &mut Vec<u8>| out.extend_from_slice(record);
            writer.push(GroupId(group), &append, bytes).expect("they fit a frame");
        }
        writer.finish();
        spare = writer.take(std::mem::take(&mut spare));
        let frame = PeerFrame::parse(black_box(&spare)).expect("the writer's own encoding");
        frame.messages().fold(0, |sum, message| match message.expect("the entries are whole").kind {
            PeerKind::Raft { entries, .. } => sum + entries.map(|record| record.header().index.0).sum::<u64>(),
            _ => panic!("a frame of consensus"),
        })
    })
}
