//! The log of a core without a disk: `cargo bench -p dropstone-bench --bench log` has it with one.

use base::record::EntryKind;
use base::{GroupId, LogIndex, Mono, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, test_settings};
use seglog::{Disk, SegLog, Slice, recover};

use super::flat_disk::{FlatDisk, new_log, settle};
use crate::{Bench, Body, Scale};

const GROUP: GroupId = GroupId(3);
const TERM: Term = Term(1);
/// Bytes of a command.
const PAYLOAD: [u8; 256] = [7; 256];
/// Entries read in an iteration.
const READ: u64 = 64;
const SEGMENT_BYTES: u64 = 64 << 20;

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let append =
        |id, entries: u64, counted| Bench::new(id, move |_| append(entries)).operations(entries).counted(counted);
    vec![
        append("seglog/append/memory,b=1,n=256B", 1, 2000),
        append("seglog/append/memory,b=64,n=256B", 64, 200),
        append("seglog/append/memory,b=1024,n=256B", 1024, 20),
        Bench::new("seglog/entries/image", |_| entries(SEGMENT_BYTES)).operations(READ).counted(200),
        Bench::new("seglog/entries/map", |_| entries(256 << 10)).operations(READ).counted(200),
        Bench::new("seglog/recover/segment=full", recovery).counted(2),
    ]
}

fn push<D: Disk>(log: &mut SegLog<D>) {
    let index = log.last_index(GROUP).next();
    log.append_new(GROUP, EntryKind::Commands, index, TERM, &PAYLOAD);
}

/// One group commit of so many commands; old segments are given up as a core does.
fn append(entries: u64) -> Body {
    let mut log = new_log(SEGMENT_BYTES);
    log.new_group(GROUP, b"config");
    settle(&mut log, Mono(1));
    Box::new(move || {
        (0..entries).for_each(|_| push(&mut log));
        settle(&mut log, Mono(1));
        if log.segments_len() > 3 {
            let last = log.last_index(GROUP);
            let crc = log.crc(GROUP, last).expect("the last entry is held");
            log.truncate_prefix(GROUP, last.next(), TERM, crc, b"config");
        }
        assert_eq!(log.persisted_epoch(), log.covering_epoch(), "the disk has all");
        log.last_index(GROUP).0
    })
}

/// The oldest entries, of a segment that is open or of one that was sealed long ago.
fn entries(segment_bytes: u64) -> Body {
    let mut log = new_log(segment_bytes);
    log.new_group(GROUP, b"config");
    for _ in 0..4096 {
        push(&mut log);
        settle(&mut log, Mono(1));
    }
    assert_eq!(log.segments_len() == 1, segment_bytes == SEGMENT_BYTES);
    let first = log.first_index(GROUP).0;
    Box::new(move || (first..first + READ).fold(0, |sum, index| sum ^ read(&log, LogIndex(index))))
}

fn read(log: &SegLog<FlatDisk>, index: LogIndex) -> u64 {
    let Slice::InMemory(record) = log.entry(GROUP, index) else { panic!("everything is in memory") };
    record.header().index.0 << 32 | u64::from(record.crc())
}

/// A log whose oldest segment, of 4 MiB, is full of commands.
fn recovery(scale: Scale) -> Body {
    let settings = test_settings();
    let mut log = SegLog::start(seglog::create(&settings), settings.clone(), MemDisk::new(&settings));
    log.new_group(GROUP, b"config");
    while log.segments_len() < 2 && (scale == Scale::Full || log.last_index(GROUP) < LogIndex(100)) {
        (0..16).for_each(|_| push(&mut log));
        run_ops(&mut log);
    }
    let last = log.last_index(GROUP);
    Box::new(move || {
        let found = recover(&mut MemLogReader::new(log.disk()), &settings).expect("the log is whole");
        let group = &found.groups()[0];
        assert_eq!(group.last, last);
        group.last.0
    })
}
