//! Scrub: rot in entries that nobody reads is found, at a bounded pace, and nothing else is called faulty.

use base::mono::Span;
use base::record::EntryKind;
use base::{GroupId, LogIndex, Mono, Term};
use seglog::testing::{MemDisk, run_ops, test_settings};
use seglog::{DiskOp, Health, SEGMENT_BYTES_LEAST, SegLog, Settings, Slice, create};

const GROUPS: [GroupId; 2] = [GroupId(1), GroupId(2)];
const HOUR: u64 = 3_600_000_000_000;

/// Two groups with entries of about 1 KiB in several sealed segments of 256 KiB.
fn new_log() -> SegLog<MemDisk> {
    let settings =
        Settings { segment_bytes: SEGMENT_BYTES_LEAST, log_bytes_max: 64 * SEGMENT_BYTES_LEAST, ..test_settings() };
    let mut log = SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings));
    GROUPS.iter().for_each(|group| {
        log.new_group(*group, b"config");
    });
    while log.segments_len() < 8 {
        for group in GROUPS {
            let index = log.last_index(group).next();
            log.append_new(group, EntryKind::Commands, index, Term(1), &[index.0 as u8; 1000]);
        }
        run_ops(&mut log);
    }
    log
}

/// Lets time pass until the pass is over; returns the milliseconds it took and the largest piece asked for.
fn scrub(log: &mut SegLog<MemDisk>, mut now: Mono) -> (u64, u32) {
    let (start, mut largest) = (now, 0);
    loop {
        log.handle_turn_end(now);
        while let Some((token, op)) = log.poll_op() {
            if let DiskOp::FaultIn { bytes, .. } = op {
                largest = largest.max(bytes);
            }
            let result = log.disk_mut().perform(&op);
            log.handle_op_done(token, result).unwrap();
        }
        if !log.is_scrubbing() {
            return (now.since(start).as_ms(), largest);
        }
        now = Mono(now.0 + 1_000_000);
    }
}

fn faulty(log: &SegLog<MemDisk>) -> Vec<(GroupId, LogIndex)> {
    GROUPS.iter().flat_map(|group| log.faulty(*group).map(|index| (*group, index))).collect()
}

#[test]
fn a_pass_reads_all_that_is_sealed_and_held_at_its_pace_and_finds_nothing_wrong_in_what_is_whole() {
    let mut log = new_log();
    log.request_scrub();
    let (ms, largest) = scrub(&mut log, Mono(HOUR));
    // The active segment, the one begun and the last sealed one have their images.
    let sealed = log.segments_len() as u64 - 3;
    assert!(sealed > 3 && log.scrubbed_bytes() > sealed * SEGMENT_BYTES_LEAST * 3 / 4, "{}", log.scrubbed_bytes());
    assert!(log.scrubbed_bytes() <= (ms / 16 + 1) * (256 << 10), "{ms} ms: 16 MiB/s at most");
    assert!(ms >= 16 * (sealed - 1) && largest <= 256 << 10, "{ms} ms, {largest}");
    assert!(faulty(&log).is_empty());
}

#[test]
fn rot_in_an_entry_is_found_without_a_reader_and_told_once() {
    let mut log = new_log();
    // Some record in the middle of the first segment.
    log.disk_mut().damage(1, 40 * 4096 + 2000, |bytes| bytes[0] ^= 1);
    log.request_scrub();
    scrub(&mut log, Mono(HOUR));
    let found = faulty(&log);
    assert_eq!(found.len(), 1, "{found:?}");
    let (group, index) = found[0];
    assert_eq!((log.health(group), log.entry(group, index)), (Health::Faulty, Slice::Faulty));
    let mut changed = Vec::new();
    log.take_fault_changes(&mut changed);
    assert_eq!(changed, [group]);
    log.request_scrub();
    scrub(&mut log, Mono(2 * HOUR));
    log.take_fault_changes(&mut changed);
    assert!(faulty(&log) == found && changed == [group], "what is known to be faulty is no news");
}

#[test]
fn a_fault_above_one_that_is_known_is_told_too() {
    let mut log = new_log();
    let group = GROUPS[0];
    let first = log.first_index(group);
    let above = LogIndex(first.0 + 5);
    let mut changed = Vec::new();
    for index in [first, above] {
        log.note_faulty(group, index);
        log.take_fault_changes(&mut changed);
        assert_eq!(std::mem::take(&mut changed), [group], "{index}");
    }
    assert_eq!(log.faulty(group).collect::<Vec<_>>(), [first, above]);
    log.note_faulty(group, above);
    log.take_fault_changes(&mut changed);
    assert!(changed.is_empty(), "it was told");
}

#[test]
fn a_block_that_cannot_be_read_costs_the_entries_in_it_and_no_others() {
    let mut log = new_log();
    log.disk_mut().damage_unreadable(2, 30);
    log.request_scrub();
    scrub(&mut log, Mono(HOUR));
    run_ops(&mut log);
    let found = faulty(&log);
    assert!(!found.is_empty() && found.len() <= 4, "a block holds no more: {found:?}");
}

#[test]
fn the_first_pass_begins_a_day_after_the_start_and_every_pass_waits_while_much_is_unsynced() {
    let mut log = new_log();
    let mut now = Mono(HOUR);
    log.set_scrub_every(Span::from_ms(24 * 3_600_000));
    assert_eq!(scrub(&mut log, now), (0, 0), "recovery has read everything");
    now = Mono(25 * HOUR);
    log.handle_turn_end(Mono(25 * HOUR - 1));
    run_ops(&mut log);
    assert!(!log.is_scrubbing() && log.next_deadline() <= Some(now));
    // A turn that leaves more than a megabyte unsynced.
    for _ in 0..1200 {
        let index = log.last_index(GROUPS[0]).next();
        log.append_new(GROUPS[0], EntryKind::Commands, index, Term(1), &[7; 1000]);
    }
    log.handle_turn_end(now);
    let mut asked = Vec::new();
    while let Some((token, op)) = log.poll_op() {
        assert!(!matches!(op, DiskOp::FaultIn { .. }), "the pass has begun and waits");
        asked.push((token, op));
    }
    assert!(log.is_scrubbing());
    for (token, op) in asked {
        let result = log.disk_mut().perform(&op);
        log.handle_op_done(token, result).unwrap();
    }
    run_ops(&mut log);
    scrub(&mut log, Mono(now.0 + HOUR / 10));
    assert!(log.scrubbed_bytes() > 0 && faulty(&log).is_empty());
}
