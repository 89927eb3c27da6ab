//! In steady state an append costs no allocation and one copy: into the place from which it is written, sent and applied.

use std::ops::Range;

use base::record::{EntryKind, record_space};
use base::{GroupId, Mono, Term};
use seglog::testing::{MemDisk, test_settings};
use seglog::{Disk, DiskOp, SegLog, Settings, Slice, Slot, create};

const GROUP: GroupId = GroupId(3);
const COMMAND_BYTES: usize = 256;
const IN_FLIGHT: usize = 8;
const COMMITS: usize = 300;

/// A disk that tells what memory it was asked for to write into.
struct Watched {
    inner: MemDisk,
    asked: Vec<(Slot, Range<u32>)>,
}

impl Disk for Watched {
    fn open_image(&mut self, slot: Slot, header: &[u8]) {
        self.inner.open_image(slot, header);
    }

    fn image_mut(&mut self, slot: Slot, range: Range<u32>) -> &mut [u8] {
        if self.asked.len() < self.asked.capacity() {
            self.asked.push((slot, range.clone()));
        }
        self.inner.image_mut(slot, range)
    }

    fn slice(&self, slot: Slot, range: Range<u32>) -> Option<&[u8]> {
        self.inner.slice(slot, range)
    }

    fn drop_image(&mut self, slot: Slot) {
        self.inner.drop_image(slot);
    }
}

fn append(log: &mut SegLog<Watched>) {
    let index = log.last_index(GROUP).next();
    log.append_new(GROUP, EntryKind::Commands, index, Term(1), &[index.0 as u8; COMMAND_BYTES]);
}

/// Appends some commands and carries out what follows until all are persisted; true if a segment was activated.
fn commit(log: &mut SegLog<Watched>) -> bool {
    let mut has_switched = false;
    (0..IN_FLIGHT).for_each(|_| append(log));
    log.handle_turn_end(Mono(1));
    while let Some((token, op)) = log.poll_op() {
        has_switched |= matches!(op, DiskOp::Activate { .. });
        // The twin keeps files in maps and lists; what a real disk does takes no memory of the log's.
        let mut result = Ok(0);
        allocation_counter::opt_out(|| result = log.disk_mut().inner.perform(&op));
        log.handle_op_done(token, result).unwrap();
        log.handle_turn_end(Mono(1));
    }
    assert_eq!(log.persisted_epoch(), log.covering_epoch());
    has_switched
}

fn compact(log: &mut SegLog<Watched>) {
    let last = log.last_index(GROUP);
    let crc = log.crc(GROUP, last).unwrap();
    log.truncate_prefix(GROUP, last.next(), Term(1), crc, b"config");
}

/// A log that has gone through a few segments, so that all its lists have their size, and has just begun another.
fn warm_log() -> SegLog<Watched> {
    let settings = Settings { segment_bytes: 16 << 20, log_bytes_max: 256 << 20, ..test_settings() };
    let disk = Watched { inner: MemDisk::new(&settings), asked: Vec::with_capacity(4096) };
    let mut log = SegLog::start(create(&settings), settings, disk);
    log.new_group(GROUP, b"config");
    let mut switches = 0;
    while switches < 4 {
        if commit(&mut log) {
            switches += 1;
            compact(&mut log);
        }
    }
    // What the last of them brought with it: old segments are given back, and `meta` says so.
    (0..8).for_each(|_| assert!(!commit(&mut log)));
    log
}

#[test]
fn a_command_is_appended_and_persisted_without_an_allocation() {
    let mut log = warm_log();
    let mut switches = 0;
    let counted = allocation_counter::measure(|| {
        switches = (0..COMMITS).filter(|_| commit(&mut log)).count();
    });
    assert_eq!(switches, 0, "the measured stretch lies between two segments");
    assert_eq!(counted.count_total, 0, "{} bytes for {} commands", counted.bytes_total, COMMITS * IN_FLIGHT);
}

#[test]
fn a_command_is_copied_once_to_where_it_is_written_and_read_from() {
    let mut log = warm_log();
    log.disk_mut().asked.clear();
    append(&mut log);
    let asked = log.disk_mut().asked.clone();
    let [(slot, range)] = asked.as_slice() else { panic!("one place for one command: {asked:?}") };
    assert_eq!(range.len(), record_space(COMMAND_BYTES));
    let index = log.last_index(GROUP);
    let Slice::InMemory(record) = log.entry(GROUP, index) else { panic!("what was just appended is in memory") };
    assert_eq!(record.payload(), [index.0 as u8; COMMAND_BYTES]);
    let place = log.disk().slice(*slot, range.clone()).unwrap();
    assert!(place.as_ptr_range().contains(&record.payload().as_ptr()), "readers get that very place");
    // And the write is of that place: nothing gathers frames elsewhere first.
    log.handle_turn_end(Mono(1));
    let Some((_, DiskOp::Write { slot: written, offset, bytes })) = log.poll_op() else { panic!("a frame is written") };
    assert!(written == *slot && offset <= range.start && range.end <= offset + bytes);
}
