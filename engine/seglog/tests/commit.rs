//! Group commit, failures, back pressure and collection.

use base::record::{EntryKind, Record};
use base::{GroupId, LogIndex, Mono, NodeId, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, test_settings};
use seglog::{DiskOp, Health, LogFailure, OpError, OpToken, SegLog, Settings, Slice, Unreadable, create, recover};

const A: GroupId = GroupId(1);

fn new_log(settings: &Settings) -> SegLog<MemDisk> {
    let mut log = SegLog::start(create(settings), settings.clone(), MemDisk::new(settings));
    log.new_group(A, b"config");
    run_ops(&mut log);
    log
}

fn append(log: &mut SegLog<MemDisk>, bytes: usize) {
    let index = log.last_index(A).next();
    log.append_new(A, EntryKind::Commands, index, Term(1), &vec![index.0 as u8; bytes]);
}

#[test]
fn a_frame_is_persisted_by_the_sync_after_its_write_and_not_before() {
    let mut log = new_log(&test_settings());
    append(&mut log, 10);
    let epoch = log.open_epoch();
    assert!(log.covering_epoch() == epoch && log.persisted_epoch() < epoch && log.unsynced_bytes() > 0);
    assert_eq!(log.next_deadline(), Some(Mono(0)), "an open frame wants its turn to end");
    log.handle_turn_end(Mono(1));
    let (write, op) = log.poll_op().unwrap();
    assert!(matches!(op, DiskOp::Write { .. }) && log.poll_op().is_none(), "no sync before the write is done");
    // While the batch is in flight the next frame fills; it is not issued.
    append(&mut log, 10);
    log.handle_turn_end(Mono(1));
    assert!(log.poll_op().is_none() && log.persisted_epoch() < epoch);
    let result = log.disk_mut().perform(&op);
    log.handle_op_done(write, result).unwrap();
    let (sync, op) = log.poll_op().unwrap();
    assert!(matches!(op, DiskOp::Sync { .. }) && log.persisted_epoch() < epoch);
    let result = log.disk_mut().perform(&op);
    log.handle_op_done(sync, result).unwrap();
    assert_eq!(log.persisted_epoch(), epoch);
    assert!(log.open_epoch() > epoch && log.covering_epoch() == log.open_epoch());
    run_ops(&mut log);
    assert_eq!((log.persisted_epoch(), log.unsynced_bytes()), (log.covering_epoch(), 0));
}

/// Carries one operation out, and takes what is asked for next.
fn end(log: &mut SegLog<MemDisk>, ops: &mut Vec<(OpToken, DiskOp)>, at: usize) {
    let (token, op) = ops.remove(at);
    let result = log.disk_mut().perform(&op);
    log.handle_op_done(token, result).unwrap();
    log.handle_turn_end(Mono(1));
    while let Some(asked) = log.poll_op() {
        ops.push(asked);
    }
}

#[test]
fn a_second_batch_is_written_while_the_first_is_synced_and_waits_for_its_own_sync() {
    for (batches, bytes) in [(2, 40_000), (2, 1_000), (1, 40_000)] {
        let mut log = new_log(&Settings { batches_in_flight: batches, ..test_settings() });
        let mut ops = Vec::new();
        append(&mut log, 10);
        log.handle_turn_end(Mono(1));
        ops.push(log.poll_op().unwrap());
        append(&mut log, bytes);
        log.handle_turn_end(Mono(1));
        assert!(log.poll_op().is_none(), "the first is still being written");
        let first = log.covering_epoch().0 - 1;
        end(&mut log, &mut ops, 0);
        let is_write = |op: &(OpToken, DiskOp)| matches!(op.1, DiskOp::Write { .. });
        assert!(matches!(ops[0].1, DiskOp::Sync { .. }));
        if batches == 1 || bytes < 32 << 10 {
            assert_eq!(ops.len(), 1, "{batches} {bytes}: nothing that is worth a sync of its own, or one at a time");
            continue;
        }
        assert!(ops.len() == 2 && is_write(&ops[1]));
        // A third one waits, however large.
        append(&mut log, bytes);
        log.handle_turn_end(Mono(1));
        assert!(log.poll_op().is_none());
        end(&mut log, &mut ops, 1);
        assert_eq!(ops.len(), 1, "one sync at a time");
        assert!(log.persisted_epoch().0 < first);
        end(&mut log, &mut ops, 0);
        assert_eq!(log.persisted_epoch().0, first);
        let syncs = ops.iter().filter(|op| matches!(op.1, DiskOp::Sync { .. })).count();
        assert_eq!((syncs, ops.iter().filter(|op| is_write(op)).count()), (1, 1), "{ops:?}");
        let sync = ops.iter().position(|op| !is_write(op)).unwrap();
        end(&mut log, &mut ops, sync);
        assert_eq!(log.persisted_epoch().0, first + 1, "not what is only written");
        while !ops.is_empty() {
            end(&mut log, &mut ops, 0);
        }
        run_ops(&mut log);
        assert_eq!((log.persisted_epoch(), log.unsynced_bytes()), (log.covering_epoch(), 0));
    }
}

#[test]
fn the_last_frame_of_an_idle_log_is_echoed_after_five_milliseconds_once() {
    let mut log = new_log(&test_settings());
    append(&mut log, 10);
    run_ops(&mut log);
    let epoch = log.persisted_epoch();
    log.handle_turn_end(Mono(1_000_000));
    let deadline = log.next_deadline().unwrap();
    assert!(log.poll_op().is_none() && deadline <= Mono(6_000_000));
    log.handle_turn_end(deadline);
    run_ops(&mut log);
    assert_eq!(log.persisted_epoch().0, epoch.0 + 1);
    log.handle_turn_end(Mono(100_000_000));
    assert!(log.poll_op().is_none(), "an echo needs no echo");
}

#[test]
fn a_short_write_goes_on_where_it_stopped_and_one_without_progress_stops_the_log() {
    for (written, goes_on) in [(4096, true), (5000, true), (100, false), (0, false)] {
        let mut log = new_log(&test_settings());
        append(&mut log, 20_000);
        log.handle_turn_end(Mono(1));
        let (token, op) = log.poll_op().unwrap();
        let DiskOp::Write { offset, bytes, .. } = op else { panic!("a frame is written first") };
        let done = log.handle_op_done(token, Ok(written));
        assert_eq!(done.is_ok(), goes_on);
        if goes_on {
            let (_, op) = log.poll_op().unwrap();
            assert!(matches!(op, DiskOp::Write { offset: o, bytes: b, .. } if o == offset + 4096 && b == bytes - 4096));
        } else {
            assert_eq!(done, Err(LogFailure::ShortWrite { bytes, written }));
        }
    }
}

#[test]
fn an_error_of_any_operation_stops_the_log_and_loses_nothing_that_was_persisted() {
    let settings = test_settings();
    let mut is_over = false;
    for fail_at in 0.. {
        if is_over {
            assert!(fail_at > 30, "{fail_at} operations were tried");
            return;
        }
        let mut disk = MemDisk::new(&settings);
        disk.fail_at = Some(fail_at);
        let mut log = SegLog::start(create(&settings), settings.clone(), disk);
        log.new_group(A, b"config");
        let mut persisted = None;
        let mut failure = None;
        for _ in 0..16 {
            append(&mut log, 600_000);
            log.handle_turn_end(Mono(1));
            while let Some((token, op)) = log.poll_op() {
                let result = log.disk_mut().perform(&op);
                failure = failure.or(log.handle_op_done(token, result).err());
                log.handle_turn_end(Mono(1));
            }
            if log.persisted_epoch() == log.covering_epoch() {
                persisted = Some(log.last_index(A));
            }
        }
        is_over = failure.is_none();
        if !is_over {
            assert!(matches!(failure, Some(LogFailure::Operation { error: OpError::Errno(5), .. })));
            assert!(log.has_failed() && log.poll_op().is_none() && log.next_deadline().is_none());
        }
        log.disk_mut().crash(&mut base::Prng::new(fail_at));
        let recovered = recover(&mut MemLogReader::new(log.disk()), &settings).unwrap();
        let last = recovered.groups().first().map(|group| group.last);
        assert!(last >= persisted, "operation {fail_at}: {persisted:?} was persisted and {last:?} is there");
    }
}

#[test]
fn a_full_disk_is_back_pressure_and_collection_ends_it() {
    let settings = test_settings();
    let mut log = new_log(&settings);
    log.disk_mut().files_max = 6;
    let mut appended = 0;
    while !log.is_full() {
        append(&mut log, 900_000);
        run_ops(&mut log);
        appended += 1;
        assert!(appended < 40, "six files of 4 MiB are full before");
    }
    assert_eq!(log.persisted_epoch(), log.covering_epoch(), "what was taken is on disk");
    let last = log.last_index(A);
    let crc = log.crc(A, last).unwrap();
    log.truncate_prefix(A, last.next(), Term(1), crc, b"config");
    run_ops(&mut log);
    assert!(!log.is_full());
    append(&mut log, 900_000);
    run_ops(&mut log);
    assert_eq!(log.persisted_epoch(), log.covering_epoch());
    let groups = recover(&mut MemLogReader::new(log.disk()), &settings).unwrap().groups();
    assert_eq!((groups[0].first, groups[0].last), (last.next(), last.next()));
}

#[test]
fn a_group_that_pins_a_filling_log_is_named_and_state_of_quiet_groups_moves_forward() {
    let settings = test_settings();
    let mut log = new_log(&settings);
    let quiet = GroupId(7);
    log.new_group(quiet, b"quiet");
    log.set_state(quiet, Term(9), NodeId(4));
    log.append_new(quiet, EntryKind::Noop, LogIndex(1), Term(1), b"");
    log.checkpoint(quiet, LogIndex(1), Term(1));
    let mut wanting = Vec::new();
    while wanting.is_empty() {
        append(&mut log, 900_000);
        run_ops(&mut log);
        log.groups_wanting_checkpoint(&mut wanting);
    }
    assert_eq!(wanting, [A, quiet]);
    for group in wanting {
        let last = log.last_index(group);
        let (term, crc) = (log.term(group, last).unwrap(), log.crc(group, last).unwrap());
        log.truncate_prefix(group, last.next(), term, crc, log.group_config_prefix(group).to_vec().as_slice());
    }
    let before = log.segments_len();
    run_ops(&mut log);
    assert!(log.segments_len() <= 2 && before > 4, "{before} segments, then {}", log.segments_len());
    assert_eq!(log.disk().segment_seqs().len(), log.segments_len());
    let recovered = recover(&mut MemLogReader::new(log.disk()), &settings).unwrap();
    let groups = recovered.groups();
    assert_eq!((groups[1].term, groups[1].vote, groups[1].config.as_slice()), (Term(9), NodeId(4), &b"quiet"[..]));
    assert_eq!((groups[1].first, groups[1].checkpoint), (LogIndex(2), Some((LogIndex(1), Term(1)))));
    assert_eq!(recovered.segments()[0].segment_seq, recovered.meta().oldest_segment_seq);
}

#[test]
fn a_received_record_is_stored_as_it_came_with_this_nodes_life() {
    let mut sender = new_log(&test_settings());
    append(&mut sender, 33);
    append(&mut sender, 44);
    let mut sent = Vec::new();
    sender.records(A, LogIndex(1), LogIndex(2), &mut sent).unwrap();
    let mut receiver = new_log(&test_settings());
    receiver.install(A, LogIndex(0), Term(0), 0, b"config", false);
    let mut rest = sent.as_slice();
    while !rest.is_empty() {
        let (record, space) = Record::parse(rest).unwrap();
        receiver.append_record(A, record);
        rest = &rest[space..];
    }
    assert_eq!(receiver.crc(A, LogIndex(2)), sender.crc(A, LogIndex(2)));
    let Slice::InMemory(record) = receiver.entry(A, LogIndex(2)) else { panic!("it is in the tail image") };
    assert_eq!((record.payload(), record.header().life), (&[2; 44][..], 2));
    run_ops(&mut receiver);
    assert!(recover(&mut MemLogReader::new(receiver.disk()), &test_settings()).is_ok());
}

/// A log whose entry 1 lies in a sealed segment, out of memory.
fn with_cold_entry() -> SegLog<MemDisk> {
    let mut log = new_log(&test_settings());
    for _ in 0..16 {
        append(&mut log, 900_000);
        run_ops(&mut log);
    }
    assert_eq!(log.entry(A, LogIndex(1)), Slice::Cold);
    let cold = log.records(A, LogIndex(1), LogIndex(2), &mut Vec::new());
    assert_eq!(cold, Err(Unreadable::Cold { first: LogIndex(1), last: LogIndex(2) }));
    log
}

#[test]
fn an_entry_that_rotted_or_cannot_be_read_is_faulty_keeps_its_identity_and_is_rewritten() {
    let log = with_cold_entry();
    for is_readable in [true, false] {
        let mut log = SegLog::clone(&log);
        let (term, crc) = (log.term(A, LogIndex(1)).unwrap(), log.crc(A, LogIndex(1)).unwrap());
        let mut copy = Vec::new();
        log.fault_in(A, LogIndex(1), LogIndex(1));
        run_ops(&mut log);
        log.records(A, LogIndex(1), LogIndex(1), &mut copy).unwrap();
        log.disk_mut().evict();

        log.fault_in(A, LogIndex(1), LogIndex(1));
        let (token, op) = log.poll_op().unwrap();
        if is_readable {
            log.disk_mut().damage(1, 300_000, |block| block[0] ^= 1);
        } else {
            log.disk_mut().fail_at = Some(log.disk().ops);
        }
        let result = log.disk_mut().perform(&op);
        log.handle_op_done(token, result).unwrap();
        assert_eq!(log.entry(A, LogIndex(1)), Slice::Faulty);
        assert_eq!((log.first_faulty(A), log.health(A)), (Some(LogIndex(1)), Health::Faulty));
        assert!(!log.is_faulty(A, LogIndex(2)));
        assert_eq!((log.term(A, LogIndex(1)), log.crc(A, LogIndex(1))), (Some(term), Some(crc)));
        let refused = log.records(A, LogIndex(1), LogIndex(2), &mut Vec::new());
        assert_eq!(refused, Err(Unreadable::Faulty(LogIndex(1))));
        log.fault_in(A, LogIndex(1), LogIndex(1));
        assert!(log.poll_op().is_none(), "nothing is asked of the disk for what is lost");

        let (record, _) = Record::parse(&copy).unwrap();
        let epoch = log.rewrite(A, record);
        assert!(!log.is_faulty(A, LogIndex(1)) && log.entry(A, LogIndex(1)) == Slice::InMemory(record));
        run_ops(&mut log);
        assert!(log.persisted_epoch() >= epoch);
        let mut again = Vec::new();
        log.records(A, LogIndex(1), LogIndex(1), &mut again).unwrap();
        assert_eq!(again, copy, "what goes to others is the entry, unchanged");
    }
}

/// Small entries written one at a time lie far apart: a run of them may span more than one round of reading takes.
#[test]
fn entries_far_apart_come_into_memory_round_by_round() {
    let settings = Settings { segment_bytes: seglog::SEGMENT_BYTES_LEAST, ..test_settings() };
    let mut log = new_log(&settings);
    for _ in 0..1400 {
        append(&mut log, 10);
        run_ops(&mut log);
    }
    let (first, last) = (LogIndex(1), LogIndex(1300));
    let mut out = Vec::new();
    let is_read = (0..8).any(|_| match log.records(A, first, last, &mut out) {
        Ok(()) => true,
        Err(Unreadable::Cold { first, last }) => {
            log.fault_in(A, first, last);
            run_ops(&mut log);
            false
        }
        Err(faulty) => panic!("{faulty}"),
    });
    assert!(is_read && log.segments_len() > 17, "{} segments hold them", log.segments_len());
}
