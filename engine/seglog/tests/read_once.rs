//! A log in which nothing speaks against any frame is read once; one with damage is read again, and says the same of the rest.

use std::collections::BTreeMap;

use base::record::EntryKind;
use base::{GroupId, LogIndex, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, run_ops_until_echoed, test_settings};
use seglog::{DiskOp, FoundSegment, Health, LogReader, Recovered, SegLog, create, recover};

const GROUP: GroupId = GroupId(1);

/// Counts the times that each segment is read.
struct Counting<'a> {
    inner: MemLogReader<'a>,
    reads: BTreeMap<u64, u32>,
}

impl LogReader for Counting<'_> {
    fn meta(&mut self) -> std::io::Result<[Option<Vec<u8>>; 4]> {
        self.inner.meta()
    }

    fn segments(&mut self) -> std::io::Result<Vec<FoundSegment>> {
        self.inner.segments()
    }

    fn written_end(&mut self, segment_seq: u64) -> std::io::Result<u64> {
        self.inner.written_end(segment_seq)
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        *self.reads.entry(segment_seq).or_default() += 1;
        self.inner.read(segment_seq, offset, out)
    }
}

fn read(disk: &MemDisk) -> (Recovered, Vec<u32>) {
    let mut reader = Counting { inner: MemLogReader::new(disk), reads: BTreeMap::new() };
    let recovered = recover(&mut reader, &test_settings()).unwrap();
    (recovered, reader.reads.into_values().collect())
}

/// Sixteen entries in three segments and more, all persisted and echoed.
fn filled() -> SegLog<MemDisk> {
    let settings = test_settings();
    let mut log = SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings));
    log.new_group(GROUP, b"config");
    for index in 1..=16 {
        log.append_new(GROUP, EntryKind::Commands, LogIndex(index), Term(1), &vec![index as u8; 700_000]);
        run_ops(&mut log);
    }
    run_ops_until_echoed(&mut log);
    log
}

#[test]
fn a_log_without_damage_is_read_once_with_a_torn_end_too() {
    let mut log = filled();
    let mut disk = log.disk().clone();
    disk.kill();
    let (recovered, reads) = read(&disk);
    assert!(reads.len() >= 3 && reads.iter().all(|times| *times == 1), "{reads:?}");
    assert_eq!(recovered.groups()[0].last, LogIndex(16));

    // The head of one more frame, and nothing of its body.
    log.append_new(GROUP, EntryKind::Commands, LogIndex(17), Term(1), &[17; 9_000]);
    log.handle_turn_end(base::Mono(20_000_000));
    let Some((_, DiskOp::Write { slot, offset, .. })) = log.poll_op() else { panic!("a frame is written first") };
    log.disk_mut().perform(&DiskOp::Write { slot, offset, bytes: 4096 }).unwrap();
    log.disk_mut().kill();
    let (recovered, reads) = read(log.disk());
    assert!(reads[..reads.len() - 1].iter().all(|times| *times == 1), "{reads:?}");
    let group = &recovered.groups()[0];
    assert_eq!((group.last, group.health), (LogIndex(16), Health::RecoveringHead));
}

#[test]
fn a_log_with_damage_is_read_again_and_the_rest_is_as_it_was() {
    let mut disk = filled().disk().clone();
    disk.kill();
    let whole = read(&disk).0.groups();
    let bytes = disk.segment_bytes(2);
    let at = bytes.windows(64).position(|bytes| bytes == [8; 64]).expect("an entry of the middle lies there");
    disk.damage(2, at.next_multiple_of(4096) + 4096, |bytes| bytes[..100].fill(0xFF));
    let (recovered, reads) = read(&disk);
    assert!(reads.iter().any(|times| *times > 1), "{reads:?}");
    let groups = recovered.groups();
    assert_eq!((groups[0].last, groups[0].faulty.len(), groups[0].health), (LogIndex(16), 1, Health::Faulty));
    assert_eq!((&groups[0].terms, &groups[0].config), (&whole[0].terms, &whole[0].config));
}
