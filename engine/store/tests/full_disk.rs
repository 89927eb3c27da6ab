//! A disk that is full: `/dev/full` stands where the next version file goes, so that the kernel itself says ENOSPC.
#![cfg(target_os = "linux")]

mod harness;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use base::{GroupId, LogIndex};
use harness::{Bench, crash_copy};
use meta::{Row, Store, StoreEvent};

const GROUP: GroupId = GroupId(5);

/// The version that `current` names.
fn version(dir: &Path) -> u64 {
    let current = std::fs::read(dir.join("c0/current")).unwrap();
    u64::from_le_bytes(current[..8].try_into().unwrap())
}

fn tables(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("c0/tables")).unwrap().count()
}

/// A store whose disk says that it has room, so that a write is soon tried again.
fn open(dir: &Path) -> Bench {
    Bench::open_with(dir, |settings| settings.space = Some(Arc::new(|| Ok(u64::MAX)))).unwrap()
}

/// Until the first table lies in the last level, where it is moved by itself: that takes a version too.
fn wait_moved(dir: &Path) {
    let begun = Instant::now();
    while version(dir) < 2 {
        assert!(begun.elapsed().as_secs() < 60, "the table never moved");
        std::thread::yield_now();
    }
}

/// Until so many writes were undone.
fn wait_refused(bench: &mut Bench, tries: u64) {
    // The limit only ends a test that would hang.
    let begun = Instant::now();
    while bench.store.writes_refused() < tries {
        assert!(begun.elapsed().as_secs() < 60, "the disk was never found full");
        std::thread::yield_now();
        assert_eq!(bench.store.poll_event(), None, "the store neither failed nor flushed");
    }
}

#[test]
fn a_version_that_finds_no_room_leaves_the_one_before_and_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = open(dir.path());
    bench.write(GROUP, &[(b"\x10a", Some(b"1"))]);
    bench.checkpoint();
    wait_moved(dir.path());
    let next = dir.path().join(format!("c0/v{}", version(dir.path()) + 1));
    symlink("/dev/full", &next).unwrap();
    bench.write(GROUP, &[(b"\x10b", Some(b"2"))]);
    let frozen = bench.store.freeze().unwrap();
    bench.store.flush(frozen.id);
    wait_refused(&mut bench, 2);
    assert!(!bench.store.has_room());
    assert_eq!(bench.store.get(GROUP, b"\x10b"), Row::Hit(b"2"), "reads go on");
    // A crash now finds what was flushed before.
    let early = dir.path().join("early");
    crash_copy(&bench.dir, &early);
    let mut early = Bench::open(&early).unwrap();
    assert_eq!(early.all(GROUP).len(), 1);
    drop(early);
    std::fs::remove_file(&next).unwrap();
    bench.wait(|event| matches!(event, StoreEvent::Flushed(done) if done.id == frozen.id).then_some(()));
    assert!(bench.store.has_room());
    assert_eq!(tables(dir.path()), 2, "what the attempts left is gone");
    bench.store.close();
    let mut bench = Bench::open(dir.path()).unwrap();
    assert_eq!(bench.store.machine(GROUP).unwrap().applied_index, LogIndex(2));
    assert_eq!(bench.all(GROUP).len(), 2);
}

#[test]
fn a_compaction_that_finds_no_room_waits_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = open(dir.path());
    for round in 0..8u8 {
        bench.write(GROUP, &[(&[0x10, round], Some(&[round; 1000])), (b"\x10same", Some(&[round]))]);
        bench.checkpoint();
        wait_moved(dir.path());
    }
    assert_eq!((tables(dir.path()), version(dir.path())), (8, 9));
    // The ninth flush, the eighth in the first level, takes the next version; the compaction that it calls for would take the one after.
    let later = dir.path().join(format!("c0/v{}", version(dir.path()) + 2));
    symlink("/dev/full", &later).unwrap();
    bench.write(GROUP, &[(&[0x10, 8], Some(&[8; 1000])), (b"\x10same", Some(&[8]))]);
    bench.checkpoint();
    wait_refused(&mut bench, 2);
    assert!(tables(dir.path()) >= 9 && bench.all(GROUP).len() == 10, "reads go on");
    std::fs::remove_file(&later).unwrap();
    let wait = |what: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed().as_secs() < 60, "{} tables, version {}", tables(dir.path()), version(dir.path()));
            std::thread::yield_now();
        }
    };
    wait(&|| version(dir.path()) >= 11);
    // Its nine inputs, which the version before names until the next change, its output, and nothing of the attempts.
    assert_eq!(tables(dir.path()), 10);
    bench.write(GROUP, &[(b"\x10same", Some(&[8]))]);
    bench.checkpoint();
    wait(&|| tables(dir.path()) == 2);
    assert_eq!(bench.all(GROUP).len(), 10);
    bench.store.close();
    let mut bench = Bench::open(dir.path()).unwrap();
    assert_eq!(bench.all(GROUP)[b"\x10same".as_slice()], [8]);
}
