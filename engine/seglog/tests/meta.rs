//! `meta` over restarts: it names a segment before what is in it can be lost unnoticed.

use base::record::EntryKind;
use base::{GroupId, LogIndex, Mono, NodeId, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, test_settings};
use seglog::{DiskOp, RecoverError, Recovered, SEGMENT_BYTES_LEAST, SegLog, Settings, create, recover};

const A: GroupId = GroupId(1);

fn settings() -> Settings {
    Settings { segment_bytes: SEGMENT_BYTES_LEAST, log_bytes_max: 64 * SEGMENT_BYTES_LEAST, ..test_settings() }
}

fn read(disk: &MemDisk) -> Result<Recovered, RecoverError> {
    recover(&mut MemLogReader::new(disk), &settings())
}

fn start(mut disk: MemDisk, recovered: Recovered) -> SegLog<MemDisk> {
    for segment in recovered.segments() {
        disk.open_existing(segment.slot, segment.segment_seq);
    }
    let salt_seed = disk.ops + 1000;
    SegLog::start(recovered, Settings { salt_seed, ..settings() }, disk)
}

fn new_log() -> SegLog<MemDisk> {
    let mut log = SegLog::start(create(&settings()), settings(), MemDisk::new(&settings()));
    log.new_group(A, b"config");
    log.set_state(A, Term(3), NodeId(2));
    run_ops(&mut log);
    log
}

fn append(log: &mut SegLog<MemDisk>, bytes: usize) {
    let index = log.last_index(A).next();
    log.append_new(A, EntryKind::Commands, index, Term(3), &vec![index.0 as u8; bytes]);
}

/// The next operation, carried out or not.
fn next_op(log: &mut SegLog<MemDisk>, perform: impl FnOnce(&mut MemDisk, &DiskOp) -> bool) -> bool {
    log.handle_turn_end(Mono(1));
    let Some((token, op)) = log.poll_op() else { return false };
    if perform(log.disk_mut(), &op) {
        let result = log.disk_mut().perform(&op);
        log.handle_op_done(token, result).unwrap();
    }
    true
}

/// The newest segment's file vanishes: what was acknowledged in it is missed.
fn check_newest_gone(log: &SegLog<MemDisk>, acknowledged: LogIndex, what: &str) {
    let mut disk = log.disk().clone();
    disk.kill();
    disk.remove(*disk.segment_seqs().last().unwrap());
    match read(&disk) {
        Err(RecoverError::MissingSegment { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
        Ok(recovered) => assert!(recovered.groups()[0].last >= acknowledged, "{what}: forgotten as if it never was"),
    }
}

#[test]
fn a_segment_whose_entries_are_acknowledged_is_missed_when_it_is_gone_also_early_in_a_life() {
    let mut log = new_log();
    append(&mut log, 100);
    run_ops(&mut log);
    check_newest_gone(&log, LogIndex(1), "the first segment of a new log");
    let mut disk = log.disk().clone();
    disk.kill();
    let recovered = read(&disk).unwrap();
    let mut log = start(disk, recovered);
    run_ops(&mut log);
    append(&mut log, 100);
    run_ops(&mut log);
    check_newest_gone(&log, LogIndex(2), "the first segment of a life");
    // From half full on the next segment has its file. One batch then fills this one, seals it and goes on in the next.
    for _ in 0..5 {
        append(&mut log, SEGMENT_BYTES_LEAST as usize / 8);
        run_ops(&mut log);
    }
    assert_eq!((log.disk().segment_seqs().last(), log.segments_len()), (Some(&3), 3));
    for _ in 0..4 {
        append(&mut log, SEGMENT_BYTES_LEAST as usize / 8);
    }
    let (epoch, last) = (log.covering_epoch(), log.last_index(A));
    while next_op(&mut log, |_, _| true) {
        if log.persisted_epoch() >= epoch {
            check_newest_gone(&log, last, "the second segment of a life");
        }
    }
    assert!(log.persisted_epoch() >= epoch && log.segments_len() == 3);
}
