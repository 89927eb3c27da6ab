//! A damaged table: found by whoever meets it, told to the groups it may hold rows of, and gone once these were dropped.

mod harness;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{GroupId, LogIndex};
use harness::{Bench, Model, machine};
use meta::{Store, StoreEvent, Want};

const GROUP: GroupId = GroupId(3);
const OTHER: GroupId = GroupId(9);

/// The files of tables, oldest first.
fn table_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(dir.join("c0/tables")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| path.file_name().unwrap().to_string_lossy().parse::<u64>().unwrap());
    files
}

/// Other bytes in a stretch in the middle of a file, in place.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn note(dir: &Path) -> PathBuf {
    dir.join("c0.condemned")
}

fn fill(bench: &mut Bench, group: GroupId, round: u8) {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = (0..20u8).map(|at| (vec![0x10, at], vec![round ^ at; 3000])).collect();
    let rows: Vec<(&[u8], Option<&[u8]>)> =
        rows.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))).collect();
    bench.write(group, &rows);
}

fn damaged(event: &StoreEvent) -> Option<GroupId> {
    match event {
        StoreEvent::Damaged { group, .. } => Some(*group),
        _ => None,
    }
}

/// Lets the store work until the damaged table is gone.
fn wait_gone(bench: &mut Bench, file: &Path) {
    for _ in 0..2000 {
        while let Some(event) = bench.store.poll_event() {
            assert!(!matches!(event, StoreEvent::Failed { .. }), "{event:?}");
            bench.aside.push(event);
        }
        if !file.exists() && !note(&bench.dir).exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the damaged table is there still");
}

fn reopen(bench: Bench) -> Bench {
    let dir = bench.dir.clone();
    bench.store.close();
    Bench::open(&dir).unwrap()
}

#[test]
fn a_read_that_meets_a_damaged_block_costs_its_group_its_state_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    fill(&mut bench, GROUP, 1);
    bench.checkpoint();
    fill(&mut bench, OTHER, 2);
    bench.checkpoint();
    let whole = bench.all(OTHER);
    let mut bench = reopen(bench);
    let file = table_files(dir.path())[0].clone();
    flip(&file);
    // The whole range is read, so the damaged block is met; what was asked for is answered all the same.
    bench.prefetch(GROUP, &[Want::Range { keys: vec![0x10]..vec![0x11], rows_max: 100 }]);
    assert_eq!(bench.wait(damaged), GROUP);
    bench.store.drop_group(GROUP);
    wait_gone(&mut bench, &file);
    assert_eq!(bench.all(GROUP), Model::new());
    assert_eq!(bench.all(OTHER), whole);
    // That is durable, without another flush.
    let mut bench = reopen(bench);
    assert_eq!(bench.store.machine(GROUP), None);
    assert_eq!(bench.all(OTHER), whole);
    // A snapshot fills it again, in a life of its own.
    assert!(bench.store.snapshot_begin(1, OTHER).is_some());
    let parts = bench.parts(1);
    bench.install(GROUP, &machine(LogIndex(77)), &parts).unwrap();
    assert_eq!(bench.all(GROUP), whole);
    let mut bench = reopen(bench);
    assert_eq!(bench.all(GROUP), whole);
    assert_eq!(bench.store.machine(GROUP).unwrap().applied_index, LogIndex(77));
}

#[test]
fn an_older_machine_row_below_a_damaged_table_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open_with(dir.path(), |settings| settings.scrub_every = Duration::ZERO).unwrap();
    for round in 0..2 {
        fill(&mut bench, GROUP, round);
        bench.checkpoint();
    }
    // The newer of two tables with rows of the group; a memtable with its rows is frozen already.
    let file = table_files(dir.path())[1].clone();
    fill(&mut bench, GROUP, 3);
    let frozen = bench.store.freeze().unwrap();
    flip(&file);
    assert_eq!(bench.wait(damaged), GROUP);
    bench.store.drop_group(GROUP);
    bench.store.flush(frozen.id);
    wait_gone(&mut bench, &file);
    bench.wait(|event| matches!(event, StoreEvent::Flushed(done) if done.id == frozen.id).then_some(()));
    let mut bench = reopen(bench);
    assert_eq!(bench.store.machine(GROUP), None);
    bench.write(GROUP, &[(b"\x10new", Some(b"n"))]);
    bench.checkpoint();
    let mut bench = reopen(bench);
    assert_eq!(bench.all(GROUP), Model::from([(b"\x10new".to_vec(), b"n".to_vec())]));
}

#[test]
fn compaction_goes_on_once_the_damaged_table_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    // Eight tables of the first level are merged.
    for round in 0..9u8 {
        fill(&mut bench, GROUP, round);
        bench.checkpoint();
        if round == 2 {
            flip(&table_files(dir.path())[2]);
        }
    }
    assert_eq!(bench.wait(damaged), GROUP);
    bench.store.drop_group(GROUP);
    for round in 0..40u8 {
        fill(&mut bench, OTHER, round);
        bench.checkpoint();
    }
    let all = bench.all(OTHER);
    assert_eq!(all.len(), 20);
    // Forty runs and more would be here without compaction; it ends with a few tables.
    let few = (0..2000).any(|_| {
        while bench.store.poll_event().is_some() {}
        std::thread::sleep(Duration::from_millis(5));
        table_files(dir.path()).len() < 12
    });
    assert!(few, "{} tables", table_files(dir.path()).len());
    assert_eq!(bench.all(OTHER), all);
}

#[test]
fn an_open_that_meets_a_damaged_machine_row_buries_the_groups_of_its_table_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    // One table with the machine rows of many groups and hardly anything else: its middle is a machine row's block.
    for group in (100..200).map(GroupId) {
        bench.write(group, &[(b"\x10k", Some(b"v"))]);
    }
    bench.checkpoint();
    fill(&mut bench, GROUP, 1);
    bench.checkpoint();
    let whole = bench.all(GROUP);
    bench.store.close();
    let file = table_files(dir.path())[0].clone();
    let bytes = std::fs::read(&file).unwrap();
    // Rows come first in a table; its index and filter, which are read when it is opened, come later.
    let mut rotten = bytes.clone();
    rotten[bytes.len() / 8] ^= 1;
    std::fs::write(&file, rotten).unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    assert_eq!(bench.store.machines().map(|(group, _)| group).collect::<Vec<_>>(), [GROUP]);
    assert_eq!(bench.all(GROUP), whole);
    // They begin anew, and nothing old comes back.
    bench.write(GroupId(150), &[(b"\x10n", Some(b"n"))]);
    bench.checkpoint();
    let mut bench = reopen(bench);
    assert_eq!(bench.all(GroupId(150)), Model::from([(b"\x10n".to_vec(), b"n".to_vec())]));
    assert!(!file.exists());
}

/// The bytes that `condemned.rs` draws.
fn note_bytes(first: &[u8], last: &[u8]) -> Vec<u8> {
    let mut bytes = b"DSCN\x01\0".to_vec();
    bytes.extend([first.len() as u8, 0, last.len() as u8, 0, 0, 0]);
    bytes.extend([first, last].concat());
    bytes.extend(base::checksum::crc32c(&bytes).to_le_bytes());
    bytes
}

#[test]
fn what_a_crash_left_half_condemned_is_finished_by_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    for group in [GROUP, OTHER] {
        fill(&mut bench, group, 1);
        bench.checkpoint();
    }
    let file = table_files(dir.path())[0].clone();
    bench.store.close();
    // From the machine row of the group to its last row, in its first life.
    let bytes = note_bytes(&[0, 0, 0, 3, 0, 0, 0], &[0, 0, 0, 3, 0, 1, 0x10, 19]);
    std::fs::write(note(dir.path()), &bytes[..bytes.len() - 1]).unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    assert_eq!(bench.all(GROUP).len(), 20, "a note that is cut short was never acted on");
    bench.store.close();
    std::fs::write(note(dir.path()), bytes).unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    assert_eq!(bench.store.machine(GROUP), None, "nobody has met damage, but the note counts");
    assert_eq!(bench.all(OTHER).len(), 20);
    assert!(!note(dir.path()).exists());
    drop(reopen(bench));
    assert!(!file.exists());
}
