//! Golden files of every format: rewritten with UPDATE_EXPECT=1 and read in review. Each must still load.

use std::fmt::Write as _;
use std::path::PathBuf;

use base::record::{EntryKind, Record};
use base::{ClusterId, CoreId, GroupId, LogIndex, NodeId, NodeUuid, Term};
use seglog::format::footer::{Trailer, parse_footer};
use seglog::format::frame::{self, Head};
use seglog::format::meta::{Meta, MetaError};
use seglog::format::segment_header::{SegmentHeader, SegmentHeaderError};
use seglog::testing::{MemDisk, MemLogReader, run_ops, run_ops_until_echoed, test_settings};
use seglog::{Health, LogReader as _, SegLog, create, recover};

/// Rows of 16 bytes, all-zero rows left out.
fn dump(bytes: &[u8]) -> String {
    let mut out = format!("bytes {}\n", bytes.len());
    for (row, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().any(|byte| *byte != 0) {
            write!(out, "{:08x}:", row * 16).unwrap();
            chunk.iter().for_each(|byte| write!(out, " {byte:02x}").unwrap());
            out.push('\n');
        }
    }
    out
}

fn undump(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let bytes = lines.next().unwrap().strip_prefix("bytes ").unwrap().parse().unwrap();
    let mut out = vec![0; bytes];
    for line in lines {
        let (row, digits) = line.split_once(':').unwrap();
        let row = usize::from_str_radix(row, 16).unwrap();
        for (at, byte) in digits.split_whitespace().enumerate() {
            out[row + at] = u8::from_str_radix(byte, 16).unwrap();
        }
    }
    out
}

/// Compares with the golden file and gives back its bytes.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, dump(bytes)).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(dump(bytes), wanted, "{name} changed");
    undump(&wanted)
}

fn header() -> SegmentHeader {
    SegmentHeader {
        core: CoreId(3),
        segment_seq: 0x0102_0304_0506_0708,
        salt: 0x1112_1314_1516_1718,
        prev_segment_seq: 5,
        base_frame_seq: 1024,
        segment_blocks: 16384,
        created_us: 77,
        cluster_id: ClusterId([0xc1; 16]),
        node_uuid: NodeUuid([0xd2; 16]),
    }
}

/// A header or a copy of `meta` as a newer release would write it: whole, and of format 2.
fn make_newer(block: &mut [u8]) {
    block[8] = 2;
    let crc = base::checksum::crc32c(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn the_segment_header_is_pinned() {
    let loaded = golden("segment_header.hex", &header().encode());
    assert_eq!(SegmentHeader::parse(&loaded), Ok(header()));
}

#[test]
fn every_flipped_bit_of_a_segment_header_is_noticed_and_a_newer_format_is_told_apart() {
    let block = header().encode();
    for bit in (0..block.len() * 8).step_by(7) {
        let mut bad = block.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::parse(&bad).is_err(), "bit {bit}");
    }
    let mut newer = block.clone();
    make_newer(&mut newer);
    assert_eq!(SegmentHeader::parse(&newer), Err(SegmentHeaderError::Format(2)));
    assert!(SegmentHeader::parse(&block[..4095]).is_err());
}

#[test]
fn meta_is_pinned_and_the_highest_valid_copy_wins() {
    let meta = Meta {
        core: CoreId(3),
        cores: 8,
        meta_seq: 9,
        oldest_segment_seq: 4,
        newest_segment_seq: 6,
        persisted_seq: 4711,
        segment_blocks: 1024,
        next_life: 12,
        cluster_id: ClusterId([0xc1; 16]),
        node_uuid: NodeUuid([0xd2; 16]),
    };
    let old = meta.encode_copies();
    let loaded = golden("meta_copy_2.hex", &old[2]);
    assert_eq!(Meta::parse(&loaded, 2), Ok(meta));
    assert_eq!(Meta::parse(&loaded, 1), Err(MetaError::Damaged));

    let newer = Meta { meta_seq: 10, ..meta };
    let mut copies = old.map(Some);
    copies[1] = Some(newer.encode_copies()[1].clone());
    assert_eq!(Meta::newest(&copies), Ok(Some(newer)));
    copies[1].as_mut().unwrap()[20] ^= 1;
    copies[0] = None;
    assert_eq!(Meta::newest(&copies), Ok(Some(meta)));
    assert_eq!(Meta::newest(&[const { None }; 4]), Ok(None));
}

/// A small log with every kind of record that is written today.
fn sample() -> MemDisk {
    let settings = test_settings();
    let mut log = SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings));
    log.set_wall_ms(1_700_000_000_123);
    log.new_group(GroupId(1), b"voters 1 2 3");
    log.set_state(GroupId(1), Term(2), NodeId(3));
    run_ops(&mut log);
    log.append_new(GroupId(1), EntryKind::Noop, LogIndex(1), Term(2), b"");
    log.append_new(GroupId(1), EntryKind::Commands, LogIndex(2), Term(2), b"hello");
    log.append_new(GroupId(1), EntryKind::Config, LogIndex(3), Term(2), b"voters 1 2");
    log.new_group(GroupId(2), b"other");
    log.set_state(GroupId(2), Term(1), NodeId(0));
    run_ops(&mut log);
    log.truncate_suffix(GroupId(1), LogIndex(3));
    log.append_new(GroupId(1), EntryKind::Commands, LogIndex(3), Term(4), b"replaced");
    log.checkpoint(GroupId(1), LogIndex(1), Term(2));
    let crc = log.crc(GroupId(1), LogIndex(1)).unwrap();
    log.truncate_prefix(GroupId(1), LogIndex(2), Term(2), crc, b"voters 1 2 3");
    log.install(GroupId(2), LogIndex(50), Term(3), 0xabcd, b"installed", false);
    log.set_health(GroupId(2), Health::RecoveringHead);
    run_ops_until_echoed(&mut log);
    log.disk().clone()
}

#[test]
fn a_log_in_which_a_newer_release_wrote_anything_is_refused_and_told_whose_it_is() {
    let settings = test_settings();
    let refused = |disk: &MemDisk| {
        let Err(error) = recover(&mut MemLogReader::new(disk), &settings) else { panic!("it was taken") };
        assert_eq!(error.to_string(), "log has format 2; this release reads format 1, start the release that wrote it");
    };
    let mut of_segment = sample();
    of_segment.damage(1, 0, make_newer);
    refused(&of_segment);
    for copy in 0..4 {
        let mut of_meta = sample();
        let mut copies = MemLogReader::new(&of_meta).meta().unwrap().map(|copy| copy.expect("all are written"));
        make_newer(&mut copies[copy]);
        of_meta.set_meta(copies);
        refused(&of_meta);
    }
}

#[test]
fn frames_records_slots_and_echo_are_pinned_and_still_load() {
    let mut disk = sample();
    let bytes = disk.segment_bytes(1);
    let frames = bytes.chunks(4096).rposition(|block| block.iter().any(|byte| *byte != 0)).unwrap() + 1;
    let loaded = golden("segment.hex", &bytes[..frames * 4096]);
    disk.damage(1, 0, |block| block.fill(0xee));
    for (block, content) in loaded.chunks(4096).enumerate() {
        disk.damage(1, block * 4096, |out| out.copy_from_slice(content));
    }
    let recovered = recover(&mut MemLogReader::new(&disk), &test_settings()).unwrap();
    let groups = recovered.groups();
    assert_eq!(groups.len(), 2);
    let one = &groups[0];
    assert_eq!((one.first, one.last, one.term, one.vote), (LogIndex(2), LogIndex(3), Term(2), NodeId(3)));
    assert_eq!(one.terms, [(LogIndex(2), Term(2)), (LogIndex(3), Term(4))]);
    assert_eq!((one.config.as_slice(), one.checkpoint), (&b"voters 1 2 3"[..], Some((LogIndex(1), Term(2)))));
    assert!(one.configs.is_empty(), "the configuration at 3 was truncated");
    let two = &groups[1];
    assert_eq!((two.first, two.last, two.before), (LogIndex(51), LogIndex(50), (Term(3), 0xabcd)));
    assert_eq!((two.life, two.health, two.config.as_slice()), (3, Health::RecoveringHead, &b"installed"[..]));
}

#[test]
fn an_entry_that_was_written_again_is_pinned_and_still_gives_its_bytes() {
    let settings = test_settings();
    let mut log = SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings));
    let (group, index) = (GroupId(1), LogIndex(1));
    log.new_group(group, b"voters 1 2 3");
    run_ops(&mut log);
    log.append_new(group, EntryKind::Config, index, Term(2), b"voters 1 2");
    run_ops(&mut log);
    let mut copy = Vec::new();
    log.records(group, index, index, &mut copy).unwrap();
    log.rewrite(group, Record::parse(&copy).unwrap().0);
    run_ops_until_echoed(&mut log);
    let mut disk = log.disk().clone();
    // Blocks 1 and 2: the beginning, and the entry. Block 3: the REWRITE. Block 4: its echo.
    let loaded = golden("rewrite.hex", &disk.segment_bytes(1)[3 * 4096..5 * 4096]);
    for (block, content) in loaded.chunks(4096).enumerate() {
        disk.damage(1, (3 + block) * 4096, |out| out.copy_from_slice(content));
    }
    disk.damage(1, 2 * 4096 + 300, |bytes| bytes[0] ^= 1);
    let recovered = recover(&mut MemLogReader::new(&disk), &settings).unwrap();
    assert_eq!(recovered.report().frames_damaged, 1, "that of the entry as it was first written");
    let held = &recovered.groups()[0];
    assert_eq!((held.health, held.last, held.faulty.as_slice()), (Health::Clean, index, &[][..]));
    assert_eq!(held.configs, [(index, b"voters 1 2".to_vec())]);
}

#[test]
fn a_head_tells_a_damaged_body_and_other_places_are_no_frames() {
    let bytes = sample().segment_bytes(1);
    let header = SegmentHeader::parse(&bytes[..4096]).unwrap();
    let head = Head::parse(&bytes[4096..], header.salt, 1, 1).unwrap();
    assert!(head.header.has(frame::RESET) && head.header.has(frame::FIRST));
    let end = 4096 + head.header.frame_bytes();
    assert!(head.has_body(&bytes[4096..end]) && !head.has_body(&bytes[4096..end - 1]));
    assert_eq!(Head::parse(&bytes[4096..], header.salt + 1, 1, 1), None);
    assert_eq!(Head::parse(&bytes[4096..], header.salt, 2, 1), None);
    assert_eq!(Head::parse(&bytes[4096..], header.salt, 1, 2), None);
    assert_eq!(Head::parse(&bytes[..4096], header.salt, 1, 0), None);
    for at in 0..4096 {
        let mut bad = bytes[4096..8192].to_vec();
        bad[at] ^= 0x10;
        let is_noticed = Head::parse(&bad, header.salt, 1, 1).is_none_or(|head| !head.has_body(&bad));
        assert!(is_noticed, "byte {at}");
    }
}

#[test]
fn footer_and_trailer_of_a_sealed_segment_are_pinned() {
    let settings = test_settings();
    let mut log = SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings));
    for group in [2, 1] {
        log.new_group(GroupId(group), b"c");
    }
    for index in 1..=6 {
        for group in [2, 1] {
            log.append_new(GroupId(group), EntryKind::Commands, LogIndex(index), Term(1 + index / 4), &[7; 500_000]);
        }
        run_ops(&mut log);
    }
    let bytes = log.disk().segment_bytes(1);
    let trailer = Trailer::parse(&bytes[bytes.len() - 4096..]).unwrap();
    let footer_at = trailer.footer_block as usize * 4096;
    let footer = &bytes[footer_at..footer_at + trailer.footer_bytes as usize];
    let (runs, items) = parse_footer(&golden("footer.hex", footer)).unwrap();
    assert_eq!(Trailer::parse(&golden("trailer.hex", &bytes[bytes.len() - 4096..])), Some(trailer));
    assert_eq!(items.len() as u32, runs.iter().map(|run| run.count).sum::<u32>());
    assert!(runs.is_sorted_by_key(|run| (run.group, run.first_index)));
    for run in &runs {
        for (index, item) in (run.first_index.0..).zip(&items[run.first_item as usize..][..run.count as usize]) {
            let (record, _) = base::record::Record::parse(&bytes[item.offset as usize * 8..]).unwrap();
            let header = record.header();
            assert_eq!((header.group, header.index, header.term), (run.group, LogIndex(index), run.term));
            assert_eq!(record.crc(), item.crc);
        }
    }
    let mut bad = footer.to_vec();
    bad[9] ^= 1;
    assert_eq!(parse_footer(&bad), None);
    assert_eq!(parse_footer(&footer[..footer.len() - 1]), None);
}
