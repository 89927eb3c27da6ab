//! Recovery: every cut of the last frame, doubtful tails, resets, damage, and what must be refused.

use base::record::EntryKind;
use base::{ClusterId, GroupId, LogIndex, NodeId, Prng, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, run_ops_until_echoed, test_settings};
use seglog::{
    DiskOp, Health, LogReader as _, RecoverError, Recovered, SegLog, Settings, Slice, StateTaken, create, recover,
};

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

fn new_log() -> SegLog<MemDisk> {
    let settings = test_settings();
    SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings))
}

fn read(disk: &MemDisk) -> Result<Recovered, RecoverError> {
    recover(&mut MemLogReader::new(disk), &test_settings())
}

fn restart(mut disk: MemDisk) -> SegLog<MemDisk> {
    disk.kill();
    let recovered = read(&disk).unwrap();
    for segment in recovered.segments() {
        disk.open_existing(segment.slot, segment.segment_seq);
    }
    let salt_seed = disk.ops + 1000;
    SegLog::start(recovered, Settings { salt_seed, ..test_settings() }, disk)
}

fn append(log: &mut SegLog<MemDisk>, group: GroupId, term: u64, bytes: usize) -> LogIndex {
    let index = log.last_index(group).next();
    log.append_new(group, EntryKind::Commands, index, Term(term), &vec![index.0 as u8; bytes]);
    index
}

/// Two groups with two persisted entries each, and a last frame of 4 blocks that was written and not synced. Returns the
/// disk before that write, and the write.
fn with_unsynced_tail() -> (MemDisk, u64, u32, Vec<u8>) {
    let mut log = new_log();
    for group in [A, B] {
        log.new_group(group, b"config");
        append(&mut log, group, 1, 100);
        append(&mut log, group, 1, 100);
    }
    run_ops(&mut log);
    let mut before = log.disk().clone();
    append(&mut log, A, 2, 10_000);
    log.set_state(B, Term(7), NodeId(3));
    append(&mut log, A, 2, 3_000);
    log.handle_turn_end(base::Mono(1));
    let (_, op) = log.poll_op().unwrap();
    let DiskOp::Write { offset, bytes, .. } = op else { panic!("a frame is written first") };
    log.disk_mut().perform(&op).unwrap();
    let written = log.disk().segment_bytes(1)[offset as usize..(offset + bytes) as usize].to_vec();
    assert_eq!(bytes, 4 * 4096);
    before.kill();
    (before, 1, offset, written)
}

/// The log, whatever of the last frame is there: whole before it, and the frame all or nothing.
fn check_cut(disk: &MemDisk, what: &str) {
    let recovered = read(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let [a, b] = &recovered.groups()[..] else { panic!("{what}: two groups") };
    assert!(a.last == LogIndex(2) || a.last == LogIndex(4), "{what}: {}", a.last);
    assert_eq!(b.last, LogIndex(2), "{what}");
    assert!(a.last == LogIndex(2) || b.term == Term(7), "{what}: a frame is all or nothing");
    let log = {
        let mut log = restart(disk.clone());
        run_ops(&mut log);
        log
    };
    let again = read(log.disk()).unwrap().groups();
    assert_eq!((&again[0], again[1].term, again[1].vote), (&a.clone(), b.term, b.vote), "{what}: a second recovery");
}

#[test]
fn every_cut_of_the_last_frame_recovers_and_recovers_again_to_the_same() {
    let (disk, segment, offset, written) = with_unsynced_tail();
    let sectors = written.len() / 512;
    let with = |keep: &dyn Fn(usize) -> bool| {
        let mut disk = disk.clone();
        for at in (0..sectors).filter(|at| keep(*at)) {
            let sector = &written[at * 512..][..512];
            disk.damage(segment, offset as usize + at * 512, |out| out[..512].copy_from_slice(sector));
        }
        disk
    };
    for cut in 0..=sectors {
        check_cut(&with(&|at| at < cut), &format!("sectors before {cut}"));
        check_cut(&with(&|at| at >= cut), &format!("sectors from {cut}"));
        check_cut(&with(&|at| at != cut), &format!("all sectors but {cut}"));
    }
    let mut prng = Prng::new(5);
    for round in 0..50 {
        let mask = prng.next_u64();
        check_cut(&with(&|at| mask >> at & 1 == 1), &format!("round {round}, sectors {mask:x}"));
    }
}

#[test]
fn a_tail_with_a_good_head_is_doubtful_its_vote_stands_and_the_doubt_is_kept() {
    let (mut disk, segment, offset, written) = with_unsynced_tail();
    for at in 0..8 {
        disk.damage(segment, offset as usize + at * 512, |out| out[..512].copy_from_slice(&written[at * 512..][..512]));
    }
    let recovered = read(&disk).unwrap();
    let groups = recovered.groups();
    assert_eq!((groups[0].last, groups[0].health), (LogIndex(2), Health::RecoveringHead));
    assert_eq!((groups[1].term, groups[1].vote, groups[1].health), (Term(7), NodeId(3), Health::RecoveringHead));
    assert_eq!((recovered.report().frames_doubtful, recovered.report().groups_doubtful), (1, 2));
    let mut log = restart(disk);
    run_ops(&mut log);
    let mut log = restart(log.disk().clone());
    assert_eq!((log.health(A), log.state(B)), (Health::RecoveringHead, (Term(7), NodeId(3))));
    log.set_health(A, Health::Clean);
    run_ops(&mut log);
    assert_eq!(restart(log.disk().clone()).health(A), Health::Clean);
}

#[test]
fn a_tail_whose_head_is_torn_is_clean() {
    let (mut disk, segment, offset, written) = with_unsynced_tail();
    for at in 1..written.len() / 512 {
        disk.damage(segment, offset as usize + at * 512, |out| out[..512].copy_from_slice(&written[at * 512..][..512]));
    }
    let recovered = read(&disk).unwrap();
    assert!(recovered.groups().iter().all(|group| group.health == Health::Clean && group.last == LogIndex(2)));
    assert_eq!(recovered.groups()[1].term, Term(0), "nobody can have counted on the vote");
}

#[test]
fn an_entry_of_a_frame_that_was_persisted_and_is_damaged_is_faulty_and_keeps_its_identity() {
    let mut log = new_log();
    log.new_group(A, b"config");
    run_ops(&mut log);
    append(&mut log, A, 1, 100);
    run_ops(&mut log);
    let crc = log.crc(A, LogIndex(1)).unwrap();
    // Frame 1024 is the tail reset with the group, 1025 the entry; the closing echo of 1025 shows that it was persisted.
    let mut unechoed = log.disk().clone();
    run_ops_until_echoed(&mut log);
    let mut echoed = log.disk().clone();
    for disk in [&mut unechoed, &mut echoed] {
        disk.damage(1, 2 * 4096, |block| block[300] ^= 1);
    }
    assert_eq!(read(&unechoed).unwrap().groups()[0].last, LogIndex(0), "within 5 ms of the sync nothing tells");
    let groups = read(&echoed).unwrap().groups();
    assert_eq!((groups[0].last, groups[0].health), (LogIndex(1), Health::Faulty));
    assert_eq!(groups[0].faulty, [LogIndex(1)]);
    let mut log = restart(echoed);
    assert_eq!((log.entry(A, LogIndex(1)), log.crc(A, LogIndex(1))), (Slice::Faulty, Some(crc)));
    append(&mut log, A, 2, 50);
    run_ops_until_echoed(&mut log);
    let again = restart(log.disk().clone());
    assert_eq!((again.entry(A, LogIndex(1)), again.last_index(A)), (Slice::Faulty, LogIndex(2)), "a second crash");
}

/// A disk that gives zeros for a part of segment 1 at these times, counted from 1.
struct Misreading<'a> {
    inner: MemLogReader<'a>,
    zeros: std::ops::Range<usize>,
    times: std::ops::RangeInclusive<u32>,
    reads: u32,
}

impl seglog::LogReader for Misreading<'_> {
    fn meta(&mut self) -> std::io::Result<[Option<Vec<u8>>; 4]> {
        self.inner.meta()
    }

    fn segments(&mut self) -> std::io::Result<Vec<seglog::FoundSegment>> {
        self.inner.segments()
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(segment_seq, offset, out)?;
        let holds = (offset as usize..offset as usize + out.len()).contains(&(self.zeros.end - 1));
        if segment_seq == 1 && holds {
            self.reads += 1;
            if self.times.contains(&self.reads) {
                out[self.zeros.start - offset as usize..self.zeros.end - offset as usize].fill(0);
            }
        }
        Ok(())
    }
}

#[test]
fn what_a_disk_gives_otherwise_the_second_time_is_read_again_and_then_not_believed() {
    let mut log = new_log();
    log.new_group(A, b"config");
    run_ops(&mut log);
    while log.segments_len() < 3 {
        append(&mut log, A, 1, 1000);
        run_ops(&mut log);
    }
    run_ops_until_echoed(&mut log);
    let (last, mut disk) = (log.last_index(A), log.disk().clone());
    // The frame with the first entry, and the trailer, which leads to the identities: the next frame's ECHO has it too.
    disk.damage(1, 2 * 4096, |block| block[300] ^= 1);
    disk.damage(1, test_settings().segment_bytes as usize - 4096, |block| block[0] ^= 1);
    let whole = read(&disk).unwrap().groups();
    assert_eq!(
        (whole[0].health, whole[0].last, whole[0].faulty.as_slice()),
        (Health::Faulty, last, &[LogIndex(1)][..])
    );
    let read_with = |zeros, times| {
        let mut reader = Misreading { inner: MemLogReader::new(&disk), zeros, times, reads: 0 };
        let groups = recover(&mut reader, &test_settings()).unwrap().groups();
        assert!(reader.reads > 1, "the test is about the second time");
        groups
    };
    let (echo, frame) = (3 * 4096 + 200..4 * 4096, 6 * 4096..7 * 4096);
    assert_eq!(read_with(echo.clone(), 2..=2), whole);
    assert_eq!(read_with(frame.clone(), 2..=2), whole);
    // A frame that was whole when it was found: its entry is known by the ECHO behind it, and its bytes are lost.
    let broken = read_with(frame, 2..=u32::MAX);
    let found = (broken[0].health, broken[0].last, broken[0].faulty.as_slice());
    assert_eq!(found, (Health::Faulty, last, &[LogIndex(1), LogIndex(5)][..]));
    let misread = read_with(echo, 2..=u32::MAX);
    let found: Vec<_> = misread.iter().map(|group| (group.group, group.health, group.faulty.as_slice())).collect();
    assert_eq!(found, [(A, Health::Quarantined, &[][..])], "nobody knows, and nothing is made up");
}

#[test]
fn a_group_whose_beginning_is_damaged_is_quarantined_for_good() {
    let mut log = new_log();
    log.new_group(A, b"config");
    run_ops(&mut log);
    append(&mut log, A, 1, 100);
    run_ops_until_echoed(&mut log);
    let mut disk = log.disk().clone();
    disk.damage(1, 4096, |block| block[300] ^= 1);
    let recovered = read(&disk).unwrap();
    assert_eq!((recovered.groups()[0].health, recovered.report().groups_quarantined), (Health::Quarantined, 1));
    let mut log = restart(disk);
    assert_eq!(log.health(A), Health::Quarantined);
    run_ops_until_echoed(&mut log);
    assert_eq!(restart(log.disk().clone()).health(A), Health::Quarantined);
}

#[test]
fn frames_that_meta_calls_persisted_and_are_gone_quarantine_every_group() {
    let mut log = new_log();
    log.new_group(A, b"config");
    log.new_group(B, b"config");
    run_ops(&mut log);
    append(&mut log, A, 1, 100);
    run_ops(&mut log);
    log.request_meta();
    run_ops(&mut log);
    assert!(log.is_quiet());
    let mut disk = log.disk().clone();
    assert_eq!(read(&disk).unwrap().meta().persisted_seq, 1025);
    disk.damage(1, 2 * 4096, |block| block[..4096].fill(0));
    let groups = read(&disk).unwrap().groups();
    assert!(groups.len() == 2 && groups.iter().all(|group| group.health == Health::Quarantined));
    let mut log = restart(disk);
    log.new_group(GroupId(3), b"config");
    assert_eq!(log.health(GroupId(3)), Health::Quarantined, "a group that may have been lost without a trace");
    run_ops_until_echoed(&mut log);
    let log = restart(log.disk().clone());
    assert!([A, B, GroupId(3)].into_iter().all(|group| log.health(group) == Health::Quarantined));
}

#[test]
fn a_missing_segment_and_a_foreign_meta_are_refused_and_a_damaged_segment_is_not() {
    let mut log = new_log();
    log.new_group(A, b"config");
    for _ in 0..14 {
        append(&mut log, A, 1, 900_000);
        run_ops(&mut log);
    }
    let disk = log.disk().clone();
    assert!(disk.segment_seqs().len() >= 4);
    let with = |change: &dyn Fn(&mut MemDisk)| {
        let mut disk = disk.clone();
        change(&mut disk);
        read(&disk)
    };
    assert!(with(&|_| {}).is_ok());
    for seq in [1, 2] {
        let missing = with(&|disk| disk.remove(seq));
        assert!(matches!(missing, Err(RecoverError::MissingSegment { segment_seq }) if segment_seq == seq));
    }
    // A header is known again from the salt of the trailer, and from that of frames that follow each other.
    for seq in [2, 4] {
        let damaged = with(&|disk| disk.damage(seq, 0, |block| block[20] ^= 1)).unwrap();
        assert_eq!(damaged.groups(), read(&disk).unwrap().groups(), "segment {seq}");
    }
    let damaged = with(&|disk| disk.damage(2, 5 * 4096, |block| block[20] ^= 1)).unwrap();
    assert_eq!((damaged.groups()[0].health, damaged.groups()[0].last), (Health::Faulty, LogIndex(14)));
    assert_eq!(damaged.groups()[0].faulty.len(), 1);
    for settings in [
        Settings { cluster_id: ClusterId([9; 16]), ..test_settings() },
        Settings { cores: 2, ..test_settings() },
        Settings { segment_bytes: 8 << 20, log_bytes_max: 1 << 30, ..test_settings() },
    ] {
        let refused = recover(&mut MemLogReader::new(&disk), &settings);
        assert!(matches!(refused, Err(RecoverError::Foreign(_))));
    }
}

#[test]
fn one_copy_of_meta_is_enough_and_all_are_written_anew_and_without_any_every_group_is_quarantined() {
    let mut log = new_log();
    log.new_group(A, b"config");
    append(&mut log, A, 1, 100);
    log.set_state(A, Term(3), NodeId(2));
    run_ops_until_echoed(&mut log);
    log.request_meta();
    run_ops(&mut log);
    let copies = MemLogReader::new(log.disk()).meta().unwrap().map(|copy| copy.unwrap());
    let with = |kept: &[usize]| {
        let mut disk = log.disk().clone();
        let mut left = copies.clone();
        (0..4).filter(|at| !kept.contains(at)).for_each(|at| left[at][100] ^= 1);
        disk.set_meta(left);
        disk
    };
    for kept in [&[0, 1, 2, 3][..], &[1, 3], &[2]] {
        let recovered = read(&with(kept)).unwrap();
        assert_eq!(recovered.report().meta_copies as usize, kept.len());
        assert_eq!(recovered.groups()[0].health, Health::Clean);
        let mut log = restart(with(kept));
        run_ops(&mut log);
        assert_eq!(read(log.disk()).unwrap().report().meta_copies, 4, "the start writes all of them");
    }
    let recovered = read(&with(&[])).unwrap();
    let group = &recovered.groups()[0];
    assert_eq!((recovered.report().meta_copies, group.health), (0, Health::Quarantined));
    assert_eq!((group.last, group.term, group.vote), (LogIndex(1), Term(3), NodeId(2)), "what is there is told");
    let mut log = restart(with(&[]));
    assert_eq!(log.health(B), Health::Quarantined, "a group without a trace may have had one");
    // Whatever the first operations of that start leave, the doubt is in it.
    let mut ops = 0;
    loop {
        let mut disk = log.disk().clone();
        disk.crash(&mut Prng::new(ops));
        assert_eq!(read(&disk).unwrap().groups()[0].health, Health::Quarantined, "after {ops} operations");
        log.handle_turn_end(base::Mono(1));
        let Some((token, op)) = log.poll_op() else { break };
        let result = log.disk_mut().perform(&op);
        log.handle_op_done(token, result).unwrap();
        ops += 1;
    }
    let again = restart(log.disk().clone());
    assert!(ops >= 5 && again.health(A) == Health::Quarantined, "for good, also when there is a meta again");
    assert_eq!(read(again.disk()).unwrap().report().meta_copies, 4);
    let mut empty = MemDisk::new(&test_settings());
    empty.set_meta([const { Vec::new() }; 4]);
    assert!(matches!(read(&empty), Err(RecoverError::NoMeta)));
}

#[test]
fn recovery_again_and_again_before_the_first_frame_is_persisted_changes_nothing() {
    let mut log = new_log();
    log.new_group(A, b"config");
    append(&mut log, A, 1, 50);
    log.set_state(A, Term(4), NodeId(1));
    run_ops(&mut log);
    let groups = read(log.disk()).unwrap().groups();
    let mut disk = log.disk().clone();
    let mut prng = Prng::new(3);
    for _ in 0..6 {
        disk.kill();
        let mut log = restart(disk);
        log.handle_turn_end(base::Mono(1));
        // The new segment's file is made; its first frame is written in part, or not at all.
        for _ in 0..prng.below(4) {
            if let Some((token, op)) = log.poll_op() {
                let result = log.disk_mut().perform(&op);
                log.handle_op_done(token, result).unwrap();
                log.handle_turn_end(base::Mono(1));
            }
        }
        disk = log.disk().clone();
        disk.crash(&mut prng);
        assert_eq!(read(&disk).unwrap().groups(), groups);
    }
}

#[test]
fn entries_overwritten_in_a_later_frame_are_never_mixed_with_it() {
    // Epoch 1: 1..=6 of term 1. Epoch 2: from 3 on term 2. Epoch 3: from 3 on term 1 again, by a deposed leader's copy.
    let build = |frames: usize| {
        let mut log = new_log();
        log.new_group(A, b"config");
        run_ops(&mut log);
        let mut epochs = Vec::new();
        for (from, term) in [(1, 1), (3, 2), (3, 3)].into_iter().take(frames) {
            log.truncate_suffix(A, LogIndex(from));
            for _ in 0..6 - from {
                append(&mut log, A, term, 5000);
            }
            epochs.push(log.covering_epoch());
            run_ops(&mut log);
            assert_eq!(log.persisted_epoch(), *epochs.last().unwrap());
        }
        read(log.disk()).unwrap().groups()[0].terms.clone()
    };
    let runs = |list: &[(u64, u64)]| list.iter().map(|(at, term)| (LogIndex(*at), Term(*term))).collect::<Vec<_>>();
    assert_eq!(build(1), runs(&[(1, 1)]));
    assert_eq!(build(2), runs(&[(1, 1), (3, 2)]));
    assert_eq!(build(3), runs(&[(1, 1), (3, 3)]));
}

#[test]
fn eight_states_fit_a_frame_and_the_ninth_waits_for_the_next() {
    let mut log = new_log();
    run_ops(&mut log);
    let epoch = log.open_epoch();
    for group in 0..8 {
        assert_eq!(log.set_state(GroupId(group), Term(1), NodeId(1)), StateTaken::Taken(epoch));
    }
    assert_eq!(log.set_state(GroupId(8), Term(1), NodeId(1)), StateTaken::Full);
    assert_eq!(log.set_state(GroupId(3), Term(2), NodeId(0)), StateTaken::Taken(epoch), "the last one wins");
    run_ops(&mut log);
    assert!(matches!(log.set_state(GroupId(8), Term(1), NodeId(1)), StateTaken::Taken(next) if next > epoch));
    run_ops(&mut log);
    let groups = read(log.disk()).unwrap().groups();
    assert_eq!((groups.len(), groups[3].term, groups[8].vote), (9, Term(2), NodeId(1)));
    assert!(groups.iter().all(|group| !group.is_begun));
}
