//! Bytes from outside: whatever comes, an error or a value, never a panic.

mod common;

use base::Prng;
use common::*;
use wire::*;

/// Reads everything that can be read of it.
fn read_client(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::parse(bytes) else { return false };
    if let Ok(items) = frame.requests() {
        for item in items {
            let _ = item.request_kind();
            let _ = client::parse_query(item.body);
            let _ = client::Watch::parse(item.body);
            let _ = client::ChangeMembers::parse(item.body);
            let _ = client::parse_node(item.body);
        }
    }
    if let Ok(items) = frame.replies() {
        for item in items {
            let _ = (item.reply_status(), item.leader_hint(), item.right_core(), item.text().len());
            let _ = client::parse_jid(item.body);
        }
    }
    true
}

fn read_peer(bytes: &[u8]) -> bool {
    let Ok(frame) = PeerFrame::parse(bytes) else { return false };
    frame.messages().all(|message| message.is_ok())
}

fn mutate(prng: &mut Prng, bytes: &mut Vec<u8>) {
    for _ in 0..=prng.below(3) {
        let at = prng.below(bytes.len() as u64) as usize;
        match prng.below(5) {
            0 => bytes[at] ^= 1 << prng.below(8),
            1 => bytes[at] = prng.next_u64() as u8,
            2 => bytes.truncate(at.max(1)),
            3 => bytes.insert(at, prng.next_u64() as u8),
            _ => {
                let end = (at + 8).min(bytes.len());
                let fill = if prng.one_in(2) { 0xff } else { 0 };
                bytes[at..end].fill(fill);
            }
        }
    }
}

/// Puts the right crc back, so that what lies behind the crc is reached. The frame's length is set right too.
fn reseal_client(bytes: &mut [u8]) {
    if bytes.len() < 24 {
        return;
    }
    let length = bytes.len() as u32;
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..16].fill(0);
    let crc = base::checksum::crc32c(bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn ten_thousand_mutated_client_frames_never_panic() {
    let mut prng = Prng::new(1);
    let samples = [requests(), replies()];
    let mut accepted = 0;
    for round in 0..10_000 {
        let mut bytes = samples[round % 2].clone();
        mutate(&mut prng, &mut bytes);
        if prng.one_in(2) {
            reseal_client(&mut bytes);
        }
        accepted += usize::from(read_client(&bytes));
        let mut reader = FrameReader::new(Link::Client, MAX);
        reader.push(&bytes);
        while let Ok(Some(frame)) = reader.next_frame() {
            read_client(frame);
        }
    }
    assert!(accepted > 100, "some get past the crc: {accepted}");
}

#[test]
fn ten_thousand_mutated_peer_frames_never_panic() {
    let mut prng = Prng::new(2);
    let samples = [peer_frame(), snapshot_frame()];
    let mut past_crc = 0;
    for round in 0..10_000 {
        let mut bytes = samples[round % 2].clone();
        mutate(&mut prng, &mut bytes);
        // A crc error names the computed one: put it in, so that what lies behind it is reached.
        if let Err(PeerFrameError::Frame(FrameError::Crc { computed, .. })) = PeerFrame::parse(&bytes) {
            bytes[12..16].copy_from_slice(&computed.to_le_bytes());
        }
        past_crc += usize::from(PeerFrame::parse(&bytes).is_ok());
        read_peer(&bytes);
    }
    assert!(past_crc > 1000, "many get past the crc: {past_crc}");
}

#[test]
fn ten_thousand_random_streams_are_refused() {
    let mut prng = Prng::new(3);
    for _ in 0..10_000 {
        let bytes: Vec<u8> = (0..prng.below(200) + 1).map(|_| prng.next_u64() as u8).collect();
        for link in [Link::Client, Link::Peer] {
            let mut reader = FrameReader::new(link, MAX);
            reader.push(&bytes);
            assert!(!matches!(reader.next_frame(), Ok(Some(_))));
        }
        assert!(ClientHello::parse(&bytes).is_err());
        assert!(ServerHello::parse(&bytes).is_err());
        assert!(PeerHello::parse(&bytes).is_err());
        let _ = (ClusterMap::parse(&bytes), CoreStatus::parse(&bytes));
    }
}

#[test]
fn mutated_bodies_never_panic() {
    let mut prng = Prng::new(4);
    let (mut map, mut status) = (Vec::new(), Vec::new());
    cluster_map().encode(&mut map);
    core_status().encode(&mut status);
    for _ in 0..10_000 {
        let (mut map, mut status) = (map.clone(), status.clone());
        mutate(&mut prng, &mut map);
        mutate(&mut prng, &mut status);
        let _ = (ClusterMap::parse(&map), CoreStatus::parse(&status));
    }
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed() {
    for bit in 0..requests().len() * 8 {
        let mut bytes = requests();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::parse(&bytes).is_err(), "bit {bit} was not noticed");
    }
    let frame = peer_frame();
    // Twice two records of 40 + 8 bytes, of an append and of an answer to a fetch; their local `life` is outside every
    // crc.
    let (records, fetched) = (32 + 56, 0x290);
    let life = |bit: usize| {
        [records, records + 48, fetched, fetched + 48].iter().any(|at| (at * 8 + 32..at * 8 + 64).contains(&bit))
    };
    for bit in (0..frame.len() * 8).filter(|bit| !life(*bit)) {
        let mut bytes = frame.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!read_peer(&bytes), "bit {bit} was not noticed");
    }
    let frame = snapshot_frame();
    for bit in 0..frame.len() * 8 {
        let mut bytes = frame.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!read_peer(&bytes), "bit {bit} was not noticed");
    }
}

#[test]
fn every_truncated_prefix_asks_for_more() {
    for bytes in [requests(), replies()] {
        for end in 0..bytes.len() {
            assert!(matches!(Frame::parse(&bytes[..end]), Err(FrameError::NeedMore { .. })), "{end}");
            let mut reader = FrameReader::new(Link::Client, MAX);
            reader.push(&bytes[..end]);
            assert_eq!(reader.next_frame(), Ok(None));
        }
    }
    for bytes in [peer_frame(), snapshot_frame()] {
        for end in 0..bytes.len() {
            let parsed = PeerFrame::parse(&bytes[..end]).map(|_| ());
            assert!(matches!(parsed, Err(PeerFrameError::Frame(FrameError::NeedMore { .. }))), "{end}");
        }
    }
    let hello = client_hello().encode();
    for end in 0..hello.len() {
        assert_eq!(ClientHello::parse(&hello[..end]), Err(HelloError::NeedMore { have: end, need: 48 }));
    }
}

#[test]
fn frames_come_out_whole_whatever_the_chunks() {
    let mut prng = Prng::new(5);
    for _ in 0..200 {
        let mut stream = client_hello().encode().to_vec();
        (0..5).for_each(|_| stream.extend(requests()));
        let mut reader = FrameReader::new(Link::Client, MAX);
        let (mut rest, mut hello, mut frames) = (&stream[..], None, 0);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at((prng.below(97) as usize + 1).min(rest.len()));
            rest = after;
            reader.push(chunk);
            if hello.is_none() {
                hello = reader.next_client_hello().unwrap();
            }
            while hello.is_some()
                && let Some(frame) = reader.next_frame().unwrap()
            {
                assert!(read_client(frame));
                frames += 1;
            }
        }
        assert_eq!((hello, frames, reader.pending_bytes()), (Some(client_hello()), 5, 0));
    }
}

#[test]
fn an_oversized_frame_is_refused_by_its_header_alone() {
    let mut reader = FrameReader::new(Link::Client, 64);
    reader.push(&requests()[..12]);
    assert!(matches!(reader.next_frame(), Err(FrameError::TooLarge { max: 64, .. })));
    let mut reader = FrameReader::new(Link::Client, MAX);
    reader.push(b"GET / HTTP/1.1");
    assert!(matches!(reader.next_frame(), Err(FrameError::Magic { .. })));
}
