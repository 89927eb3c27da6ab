//! Terms and votes lie in two places, their frame's first block and the next frame's ECHO; files that are missing or short are
//! faults and never the end of the log.

use base::limits::LOG_BLOCK_BYTES;
use base::record::EntryKind;
use base::{GroupId, LogIndex, NodeId, Prng, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, run_ops_until_echoed, test_settings};
use seglog::{FoundSegment, Health, LogReader, RecoverError, Recovered, SegLog, create, recover};

const VOTER: GroupId = GroupId(1);
const OTHER: GroupId = GroupId(2);
const VOTE: (Term, NodeId) = (Term(9), NodeId(3));

fn new_log() -> SegLog<MemDisk> {
    let settings = test_settings();
    let mut log = SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings));
    for group in [VOTER, OTHER] {
        log.new_group(group, b"config");
    }
    run_ops(&mut log);
    log
}

fn append(log: &mut SegLog<MemDisk>, group: GroupId) {
    let index = log.last_index(group).next();
    log.append_new(group, EntryKind::Commands, index, Term(9), &[index.0 as u8; 200]);
    run_ops(log);
}

/// A vote in a frame of its own, and a frame of the other group behind it. Returns the disk and the blocks of both.
fn with_vote() -> (MemDisk, u32, u32) {
    let mut log = new_log();
    append(&mut log, VOTER);
    append(&mut log, OTHER);
    let first = *log.disk().written_blocks(1).last().unwrap() + 1;
    log.set_state(VOTER, VOTE.0, VOTE.1);
    run_ops(&mut log);
    append(&mut log, OTHER);
    run_ops_until_echoed(&mut log);
    let mut disk = log.disk().clone();
    disk.kill();
    (disk, first, first + 1)
}

fn read(disk: &MemDisk) -> Recovered {
    recover(&mut MemLogReader::new(disk), &test_settings()).unwrap()
}

/// Term, vote and health of both groups.
fn states(disk: &MemDisk) -> [((Term, NodeId), Health); 2] {
    let groups = read(disk).groups();
    [VOTER, OTHER].map(|group| {
        let found = groups.iter().find(|found| found.group == group).unwrap();
        ((found.term, found.vote), found.health)
    })
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Zero,
    Garble,
    Unreadable,
}

const DAMAGES: [Damage; 3] = [Damage::Zero, Damage::Garble, Damage::Unreadable];

fn damage(disk: &mut MemDisk, block: u32, how: Damage) {
    let mut dice = Prng::new(u64::from(block));
    match how {
        Damage::Zero => disk.damage(1, block as usize * LOG_BLOCK_BYTES, |bytes| bytes.fill(0)),
        Damage::Garble => {
            disk.damage(1, block as usize * LOG_BLOCK_BYTES, |bytes| bytes.fill_with(|| dice.next_u64() as u8));
        }
        Damage::Unreadable => disk.damage_unreadable(1, block),
    }
}

#[test]
fn a_vote_stands_when_either_of_its_two_places_is_lost() {
    let (disk, slot, echo) = with_vote();
    assert_eq!(states(&disk), [(VOTE, Health::Clean), ((Term(0), NodeId(0)), Health::Clean)]);
    for how in DAMAGES {
        let mut without_slot = disk.clone();
        damage(&mut without_slot, slot, how);
        assert_eq!(states(&without_slot)[0], (VOTE, Health::Clean), "the frame of the vote: {how:?}");
        let mut without_echo = disk.clone();
        damage(&mut without_echo, echo, how);
        assert_eq!(states(&without_echo)[0], (VOTE, Health::Clean), "the frame with its ECHO: {how:?}");
    }
}

#[test]
fn a_vote_that_is_lost_in_both_places_quarantines_its_group_and_is_never_told_as_another() {
    let (disk, slot, echo) = with_vote();
    for first in DAMAGES {
        for second in DAMAGES {
            let mut disk = disk.clone();
            damage(&mut disk, slot, first);
            damage(&mut disk, echo, second);
            let [(_, health), _] = states(&disk);
            assert_eq!(health, Health::Quarantined, "{first:?} and {second:?}: it may vote no more");
        }
    }
}

#[test]
fn a_vote_that_was_repeated_since_needs_neither() {
    let (disk, slot, echo) = with_vote();
    let recovered = read(&disk);
    let mut disk = disk;
    recovered.segments().iter().for_each(|segment| disk.open_existing(segment.slot, segment.segment_seq));
    let mut log = SegLog::start(recovered, test_settings(), disk);
    run_ops_until_echoed(&mut log);
    let mut disk = log.disk().clone();
    disk.kill();
    damage(&mut disk, slot, Damage::Zero);
    damage(&mut disk, echo, Damage::Zero);
    // The start repeats all states in its first frame; what else may have been lost with both frames is unknown.
    let [(state, _), _] = states(&disk);
    assert_eq!(state, VOTE);
}

/// A directory in which one file is shorter than it should be, or longer.
struct Resized<'a> {
    inner: MemLogReader<'a>,
    segment_seq: u64,
    bytes: u64,
}

impl LogReader for Resized<'_> {
    fn meta(&mut self) -> std::io::Result<[Option<Vec<u8>>; 4]> {
        self.inner.meta()
    }

    fn segments(&mut self) -> std::io::Result<Vec<FoundSegment>> {
        let mut found = self.inner.segments()?;
        found
            .iter_mut()
            .filter(|found| found.segment_seq == self.segment_seq)
            .for_each(|found| found.bytes = self.bytes);
        Ok(found)
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(segment_seq, offset, out)
    }
}

#[test]
fn a_segment_that_is_missing_or_of_another_size_is_refused_wherever_it_is() {
    let mut log = new_log();
    for _ in 0..14 {
        let index = log.last_index(VOTER).next();
        log.append_new(VOTER, EntryKind::Commands, index, Term(9), &[1; 900_000]);
        run_ops(&mut log);
    }
    log.request_meta();
    run_ops(&mut log);
    let disk = log.disk().clone();
    let whole = read(&disk).groups();
    assert_eq!(whole[0].last, LogIndex(14));
    let (seqs, named) = (disk.segment_seqs(), read(&disk).meta().newest_segment_seq);
    assert!(seqs.len() >= 4 && seqs.last() == Some(&named), "{seqs:?}, meta names {named}");
    let size = test_settings().segment_bytes;
    for seq in seqs {
        for bytes in [0, 512, size / 2, size - 4096, size - 1, size + 4096] {
            let mut reader = Resized { inner: MemLogReader::new(&disk), segment_seq: seq, bytes };
            let refused = recover(&mut reader, &test_settings());
            let is_told =
                matches!(refused, Err(RecoverError::ForeignSegment { segment_seq, .. }) if segment_seq == seq);
            assert!(is_told, "segment {seq} of {bytes} bytes: {refused:?}");
        }
        let mut without = disk.clone();
        without.remove(seq);
        let missing = recover(&mut MemLogReader::new(&without), &test_settings());
        let is_told = matches!(missing, Err(RecoverError::MissingSegment { segment_seq }) if segment_seq == seq);
        assert!(is_told, "segment {seq} is gone: {missing:?}");
    }
}
