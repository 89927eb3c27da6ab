//! The lists of heartbeats with the groups that rest: layout, round trip, and what no writer gives.

use base::{CoreId, GroupId, LogIndex, Mono, Term};
use raft::Body;
use wire::{PeerFrame, PeerFrameWriter, PeerKind, RestPair};

fn writer() -> PeerFrameWriter {
    let mut writer = PeerFrameWriter::new(1 << 16);
    writer.begin(CoreId(1), CoreId(1), 0, Mono(777));
    writer
}

fn frame(mut writer: PeerFrameWriter) -> Vec<u8> {
    assert!(writer.finish());
    writer.take(Vec::new())
}

fn heartbeat(quiesce: bool) -> Body {
    Body::Heartbeat { term: Term(3), commit_index: LogIndex(9), read_position: 0, quiesce, send_mono: Mono(777) }
}

/// Kinds in order: `h` item, `a` ack item, `r` rest, `R` its answer.
fn kinds(bytes: &[u8]) -> Result<Vec<(char, u32, u64, u64)>, wire::PeerFrameError> {
    let frame = PeerFrame::parse(bytes)?;
    let each = |message: Result<wire::PeerMessage<'_>, _>| {
        message.map(|message| match message.kind {
            PeerKind::Rest(pair) => ('r', pair.count, pair.hash, pair.mono.0),
            PeerKind::RestAck { pair, is_slow } => {
                ('R', pair.count, pair.hash, pair.mono.0 + u64::from(is_slow) * 1_000_000)
            }
            PeerKind::Raft { body: Body::Heartbeat { .. }, .. } => ('h', message.group.0, 0, 0),
            PeerKind::Raft { body: Body::HeartbeatAck { echo_mono, .. }, .. } => ('a', message.group.0, 0, echo_mono.0),
            _ => panic!("nothing else was written"),
        })
    };
    frame.messages().map(each).collect()
}

#[test]
fn the_pair_follows_the_items_of_its_list() {
    let mut writer = writer();
    writer.push(GroupId(5), &heartbeat(false), |_| ()).unwrap();
    writer.push_rest(&RestPair { count: 2, hash: u64::MAX, mono: Mono(1) }).unwrap();
    writer.push(GroupId(6), &heartbeat(true), |_| ()).unwrap();
    let ack = Body::HeartbeatAck { term: Term(3), read_position: 0, quiesce: true, echo_mono: Mono(50) };
    writer.push(GroupId(7), &ack, |_| ()).unwrap();
    writer.push_rest_ack(&RestPair { count: 1, hash: 4, mono: Mono(50) }, true).unwrap();
    let read = kinds(&frame(writer)).unwrap();
    let expected = [('h', 5, 0, 0), ('h', 6, 0, 0), ('r', 2, u64::MAX, 777), ('a', 7, 0, 50), ('R', 1, 4, 1_000_050)];
    assert_eq!(read, expected);
}

#[test]
fn an_idle_pair_costs_one_list_without_items_whatever_rests() {
    let mut one = writer();
    one.push_rest(&RestPair { count: 60_000, hash: 0x0102_0304_0506_0708, mono: Mono(0) }).unwrap();
    let bytes = frame(one);
    assert_eq!(bytes.len(), 64);
    let golden =
        [[0, 0, 0, 0, 3, 16, 0, 0].as_slice(), &[0; 8], &[0x60, 0xea, 0, 0, 0, 0, 0, 0], &[8, 7, 6, 5, 4, 3, 2, 1]]
            .concat();
    assert_eq!(&bytes[32..], golden);
    let mut answer = writer();
    answer.push_rest_ack(&RestPair { count: 1, hash: 2, mono: Mono(3) }, false).unwrap();
    let bytes = frame(answer);
    let golden = [
        [0, 0, 0, 0, 4, 16, 0, 0].as_slice(),
        &[0; 8],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(&bytes[32..], golden);
    assert_eq!(kinds(&bytes).unwrap(), [('R', 1, 2, 3)]);
}

#[test]
fn a_list_without_the_last_flag_says_nothing_of_rest() {
    let mut writer = writer();
    writer.push(GroupId(5), &heartbeat(false), |_| ()).unwrap();
    let bytes = frame(writer);
    assert_eq!(kinds(&bytes).unwrap(), [('h', 5, 0, 0)]);
    // A count without the flag, a flag that lists have not, a field that is kept free: none of it is taken.
    for (at, value) in [(32 + 16, 1), (32 + 24, 1), (32 + 5, 1), (32 + 5, 4), (32 + 20, 1), (32 + 8, 1)] {
        let mut bad = bytes.clone();
        bad[at] = value;
        let crc = base::checksum::crc32c(&[&bad[..12], &[0; 4], &bad[16..]].concat());
        bad[12..16].copy_from_slice(&crc.to_le_bytes());
        assert!(kinds(&bad).is_err(), "byte {at} = {value} was taken");
    }
}
