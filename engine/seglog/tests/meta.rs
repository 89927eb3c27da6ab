//! `meta` over restarts: it names a segment before what is in it can be lost unnoticed, and no run of power cuts brings back
//! one that the log has moved on from, or leaves none.

use base::record::EntryKind;
use base::{GroupId, LogIndex, Mono, NodeId, Prng, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, run_ops_until_echoed, test_settings};
use seglog::{
    DiskOp, Health, LogReader as _, RecoverError, Recovered, RecoveredGroup, SEGMENT_BYTES_LEAST, SegLog, Settings,
    create, recover,
};

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

/// A log whose collection is about to say in `meta` that the oldest segment goes; and that operation.
fn with_collection() -> (SegLog<MemDisk>, DiskOp) {
    let mut log = new_log();
    for _ in 0..12 {
        append(&mut log, SEGMENT_BYTES_LEAST as usize / 8);
        run_ops(&mut log);
    }
    let (upto, crc) = (LogIndex(8), log.crc(A, LogIndex(8)).unwrap());
    log.truncate_prefix(A, upto.next(), Term(3), crc, b"config");
    let mut meta = None;
    while meta.is_none() {
        let take = |_: &mut MemDisk, op: &DiskOp| {
            let is_meta = matches!(op, DiskOp::WriteMeta { .. });
            meta = is_meta.then(|| op.clone());
            !is_meta
        };
        assert!(next_op(&mut log, take), "a collection moves the oldest segment");
    }
    (log, meta.unwrap())
}

fn check_kept(group: &RecoveredGroup, what: &str) {
    assert!(!matches!(group.health, Health::Quarantined | Health::Faulty), "{what}: {:?}", group.health);
    let held = (group.last, group.term, group.vote);
    assert_eq!(held, (LogIndex(12), Term(3), NodeId(2)), "{what}");
}

/// Power is cut while `meta` is written: of one pair of copies each is old, new or torn.
fn tear_meta(disk: &mut MemDisk, op: &DiskOp, prng: &mut Prng) {
    let DiskOp::WriteMeta { copies } = op else { panic!("no write of meta: {op:?}") };
    let mut there = MemLogReader::new(disk).meta().unwrap().map(|copy| copy.unwrap());
    let first = 2 * prng.below(2) as usize;
    there[..first].clone_from_slice(&copies[..first]);
    for (old, new) in there.iter_mut().zip(copies).skip(first).take(2) {
        match prng.below(4) {
            0 => {}
            1 => old.clone_from(new),
            _ => old[..512].copy_from_slice(&new[..512]),
        }
    }
    disk.set_meta(there);
}

/// Power is cut in the middle of a `meta` write, and again and again early in the lives that follow.
#[test]
fn power_cuts_alone_never_bring_back_a_meta_that_was_left_behind_nor_lose_all_of_it() {
    let (log, meta) = with_collection();
    let before = read(log.disk()).unwrap().meta().meta_seq;
    let (mut repeats, mut torn) = (0, 0);
    for seed in 0..120 {
        let mut prng = Prng::new(seed);
        let mut disk = log.disk().clone();
        tear_meta(&mut disk, &meta, &mut prng);
        disk.crash(&mut prng);
        let mut meta_seq = before;
        for life in 0..4 {
            let what = format!("seed {seed}, life {life}");
            let recovered = read(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            check_kept(&recovered.groups()[0], &what);
            assert!(recovered.report().meta_copies > 0, "{what}: no meta");
            assert!(recovered.meta().meta_seq >= meta_seq, "{what}: an older meta is back");
            meta_seq = recovered.meta().meta_seq;
            repeats += u64::from(recovered.report().meta_copies < 4);
            let mut log = start(disk, recovered);
            let (mut ops, mut metas) = (prng.below(20), prng.below(3));
            let mut is_cut = false;
            while !is_cut
                && next_op(&mut log, |disk, op| {
                    let is_meta = matches!(op, DiskOp::WriteMeta { .. });
                    is_cut = ops == 0 || (is_meta && metas == 0);
                    if is_cut && is_meta {
                        tear_meta(disk, op, &mut prng);
                        torn += 1;
                    } else if is_cut {
                        disk.perform_partly(op, &mut prng);
                    }
                    (ops, metas) = (ops.saturating_sub(1), metas.saturating_sub(u64::from(is_meta)));
                    !is_cut
                })
            {}
            disk = log.disk().clone();
            disk.crash(&mut prng);
        }
        let recovered = read(&disk).unwrap();
        check_kept(&recovered.groups()[0], &format!("seed {seed}, in the end"));
        if seed % 10 == 0 {
            let mut log = start(disk, recovered);
            run_ops_until_echoed(&mut log);
            let recovered = read(log.disk()).unwrap();
            assert_eq!(recovered.report().meta_copies, 4);
            let oldest = log.disk().segment_seqs().first().copied();
            assert_eq!(oldest, Some(recovered.meta().oldest_segment_seq), "what was given up is free in the end");
        }
    }
    assert!(repeats > 100 && torn > 100, "{repeats} repeats, {torn} torn");
}

/// Whatever a power cut makes of the copies, none that names a leftover may be there when it goes.
#[test]
fn leftovers_are_retired_when_a_meta_of_this_start_is_on_disk() {
    let (mut log, meta) = with_collection();
    log.disk_mut().perform(&meta).unwrap();
    let mut disk = log.disk().clone();
    disk.kill();
    let leftover = disk.segment_seqs()[0];
    let recovered = read(&disk).unwrap();
    assert!(leftover < recovered.meta().oldest_segment_seq, "meta gave it up, and it is still there");
    let mut log = start(disk, recovered);
    let mut kinds = Vec::new();
    while next_op(&mut log, |_, op| {
        match op {
            DiskOp::WriteMeta { .. } => kinds.push("meta"),
            DiskOp::Retire { slots } => kinds.push(if slots[0].1 == leftover { "leftover" } else { "retire" }),
            _ => {}
        }
        true
    }) {}
    assert_eq!(kinds[..2], ["meta", "leftover"], "{kinds:?}");
    assert!(!log.disk().segment_seqs().contains(&leftover));
}
