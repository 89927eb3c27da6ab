//! The store from outside: what is cold, what stays, snapshots of several parts, installs, damage.

mod harness;

use base::{GroupId, LogIndex, Prng};
use harness::{Bench, Model, crash_copy, machine};
use meta::{Pressure, Row, Store, StoreEvent, Want};
use store::{LsmStore, OpenError};

const GROUP: GroupId = GroupId(5);

fn open() -> (tempfile::TempDir, Bench) {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::open(dir.path()).unwrap();
    (dir, bench)
}

fn reopen(bench: Bench) -> Bench {
    let dir = bench.dir.clone();
    bench.store.close();
    Bench::open(&dir).unwrap()
}

#[test]
fn nothing_is_cold_before_the_tables_have_rows() {
    let (_dir, mut bench) = open();
    assert_eq!(bench.store.get(GROUP, b"\x10k"), Row::Absent);
    bench.write(GROUP, &[(b"\x10k", Some(b"v"))]);
    let frozen = bench.store.freeze().unwrap();
    assert_eq!(frozen.applied, [(GROUP, LogIndex(1))]);
    assert_eq!(bench.store.get(GROUP, b"\x10k"), Row::Hit(b"v"));
    assert_eq!(bench.store.get(GROUP, b"\x10other"), Row::Absent);
    let mut rows = Vec::new();
    assert_eq!(bench.store.scan(GROUP, b"\x10".as_slice()..b"\x11".as_slice(), 9, &mut rows), Ok(()));
    assert_eq!(rows, [(b"\x10k".to_vec(), b"v".to_vec())]);
    assert_eq!(bench.store.freeze(), None, "nothing was written since");
}

#[test]
fn rows_come_back_after_a_checkpoint_and_a_reopen_and_stay_hot_after_release() {
    let (_dir, mut bench) = open();
    bench.write(GROUP, &[(b"\x10a", Some(b"1")), (b"\x10b", Some(b"2"))]);
    bench.write(GROUP, &[(b"\x10b", None)]);
    assert!(bench.checkpoint());
    bench.write(GROUP, &[(b"\x10c", Some(b"lost"))]);
    let mut bench = reopen(bench);
    assert_eq!(bench.store.machines().collect::<Vec<_>>(), [(GROUP, &machine(LogIndex(2)))]);
    assert!(!bench.store.is_install_pending(GROUP));
    assert_eq!(bench.store.get(GROUP, b"\x10a"), Row::Cold);
    let wants = [b"\x10a", b"\x10b", b"\x10c"].map(|key| Want::Key(key.to_vec()));
    let token = bench.prefetch(GROUP, &wants);
    bench.store.release(token);
    assert_eq!(bench.store.get(GROUP, b"\x10a"), Row::Hit(b"1"));
    assert_eq!(bench.store.get(GROUP, b"\x10b"), Row::Absent);
    assert_eq!(bench.store.get(GROUP, b"\x10c"), Row::Absent, "what was not flushed comes from the log");
    bench.write(GROUP, &[(b"\x10a", Some(b"new"))]);
    assert!(bench.checkpoint());
    assert_eq!(bench.store.get(GROUP, b"\x10a"), Row::Hit(b"new"), "a kept row follows the writes");
}

#[test]
fn a_scan_beyond_deleted_rows_finds_what_the_tables_have_after_them() {
    let (_dir, mut bench) = open();
    let keys: Vec<[u8; 2]> = (0..200u8).map(|at| [0x10, at]).collect();
    let puts: Vec<_> = keys.iter().map(|key| (key.as_slice(), Some(&b"v"[..]))).collect();
    bench.write(GROUP, &puts);
    bench.checkpoint();
    let deletes: Vec<_> = keys[..150].iter().map(|key| (key.as_slice(), None)).collect();
    bench.write(GROUP, &deletes);
    let found = bench.scan(GROUP, &[0x10], &[0x11], 3);
    assert_eq!(found.iter().map(|row| row.0[1]).collect::<Vec<_>>(), [150, 151, 152]);
}

#[test]
fn pressure_rises_with_full_memtables_and_falls_with_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open_with(dir.path(), |settings| settings.memtable_bytes = 1000).unwrap();
    let mut frozen = Vec::new();
    for round in 0..3u8 {
        assert_eq!(bench.store.pressure(), Pressure::None);
        bench.write(GROUP, &[(&[0x10, round], Some(&[7; 2000]))]);
        assert_eq!(bench.store.pressure(), if round < 2 { Pressure::Freeze } else { Pressure::Full });
        frozen.extend(bench.store.freeze());
    }
    assert_eq!(frozen.len(), 2, "two are frozen, the third stays active");
    // Allowed in the wrong order, flushed in the right one.
    bench.store.flush(frozen[1].id);
    bench.store.flush(frozen[0].id);
    for wanted in &frozen {
        let done = bench.wait(|event| match event {
            StoreEvent::Flushed(done) => Some(done.clone()),
            _ => None,
        });
        assert_eq!(done, *wanted);
    }
    assert_eq!(bench.store.pressure(), Pressure::Freeze);
}

/// A group of several parts, some of it in tables, some frozen, some active.
fn big_group(bench: &mut Bench) -> Model {
    let mut model = Model::new();
    let mut prng = Prng::new(9);
    for round in 0..3 {
        for at in 0..40u8 {
            let (key, value) = ([0x10, prng.below(250) as u8], vec![prng.next_u64() as u8; 60_000]);
            bench.write(GROUP, &[(&key, Some(&value))]);
            model.insert(key.to_vec(), value);
            let gone = [0x10, at * 2];
            bench.write(GROUP, &[(&gone, None)]);
            model.remove(gone.as_slice());
        }
        match round {
            0 => assert!(bench.checkpoint()),
            1 => assert!(bench.store.freeze().is_some()),
            _ => {}
        }
    }
    model
}

#[test]
fn a_snapshot_of_several_parts_is_the_state_of_its_instant_and_parts_can_be_read_again() {
    let (_dir, mut source) = open();
    let wanted = big_group(&mut source);
    let machine_row = source.store.snapshot_begin(1, GROUP).unwrap();
    source.write(GROUP, &[(b"\x10after", Some(b"x")), (&[0x10, 1], None)]);
    let first = source.part(1, 0);
    source.store.flush(1);
    source.store.flush(2);
    source.checkpoint();
    let parts = source.parts(1);
    assert!(parts.len() > 2);
    assert_eq!(parts[0], first.0);
    assert_eq!(source.part(1, 1).0, parts[1]);
    source.store.snapshot_end(1);

    let dir = tempfile::tempdir().unwrap();
    // A small memtable makes the installing side write several tables.
    let mut target = Bench::open_with(dir.path(), |settings| settings.memtable_bytes = 300_000).unwrap();
    target.install(GROUP, &machine_row, &parts).unwrap();
    assert_eq!(target.store.machine(GROUP), Some(&machine_row));
    assert_eq!(target.all(GROUP), wanted);
    let mut target = reopen(target);
    assert!(target.store.is_install_pending(GROUP), "the log may not know of it yet");
    assert_eq!(target.all(GROUP), wanted);
    target.write(GROUP, &[]);
    assert!(!target.store.is_install_pending(GROUP));
}

#[test]
fn an_install_hides_its_rows_until_it_is_whole_and_replaces_all_that_was() {
    let (_dir, mut source) = open();
    source.write(GROUP, &[(b"\x10new", Some(b"n")), (b"\x10same", Some(b"s2"))]);
    let machine_row = machine(LogIndex(900));
    source.store.snapshot_begin(1, GROUP).unwrap();
    let parts = source.parts(1);

    let (_dir, mut target) = open();
    target.write(GROUP, &[(b"\x10old", Some(b"o")), (b"\x10same", Some(b"s1"))]);
    target.checkpoint();
    target.write(GROUP, &[(b"\x10old2", Some(b"o"))]);
    let frozen = target.store.freeze().unwrap();
    target.write(GROUP, &[(b"\x10old3", Some(b"o"))]);

    let mut bad = parts.clone();
    let end = bad[0].len() - 1;
    bad[0][end] ^= 1;
    let reason = target.install(GROUP, &machine_row, &bad).unwrap_err();
    assert!(reason.contains("hash"), "{reason}");
    assert_eq!(target.all(GROUP).len(), 4, "the old state stands");

    target.install(GROUP, &machine_row, &parts).unwrap();
    let wanted: Model = source.all(GROUP);
    assert_eq!(target.all(GROUP), wanted);
    // The frozen memtable still has the old life; flushing it must not bring that back.
    target.store.flush(frozen.id);
    let done = target.wait(|event| match event {
        StoreEvent::Flushed(done) if done.id == frozen.id => Some(done.applied.clone()),
        _ => None,
    });
    assert_eq!(done, [], "the install is the newer checkpoint of the group");
    let mut target = reopen(target);
    assert_eq!(target.store.machine(GROUP), Some(&machine_row));
    assert_eq!(target.all(GROUP), wanted);
}

#[test]
fn an_empty_group_travels_in_one_part() {
    let (_dir, mut source) = open();
    source.write(GROUP, &[]);
    assert_eq!(source.store.snapshot_begin(1, GroupId(77)), None);
    let machine_row = source.store.snapshot_begin(1, GROUP).unwrap();
    let parts = source.parts(1);
    assert_eq!(parts.len(), 1);
    let (_dir, mut target) = open();
    target.install(GROUP, &machine_row, &parts).unwrap();
    assert!(target.all(GROUP).is_empty());
}

#[test]
fn an_install_that_a_crash_cut_off_leaves_the_old_state() {
    let (_dir, mut source) = open();
    let _ = big_group(&mut source);
    source.store.snapshot_begin(1, GROUP).unwrap();
    let parts = source.parts(1);
    let dir = tempfile::tempdir().unwrap();
    let mut target = Bench::open_with(dir.path(), |settings| settings.memtable_bytes = 100_000).unwrap();
    target.write(GROUP, &[(b"\x10old", Some(b"o"))]);
    target.checkpoint();
    target.store.install_begin(GROUP, machine(LogIndex(900)));
    for part in &parts[..parts.len() - 1] {
        target.store.install_part(GROUP, part, false);
    }
    // A flush behind the parts: they are in tables now, which no version names.
    target.write(GroupId(6), &[]);
    target.checkpoint();
    let mut target = reopen(target);
    assert_eq!(target.store.machine(GROUP), Some(&machine(LogIndex(1))));
    assert_eq!(target.all(GROUP), Model::from([(b"\x10old".to_vec(), b"o".to_vec())]));
    let tables = std::fs::read_dir(dir.path().join("c0/tables")).unwrap().count();
    assert!(tables <= 2, "{tables} tables: those of the half install are gone");
}

#[test]
fn a_flipped_byte_of_any_file_is_never_served() {
    let (dir, mut bench) = open();
    for round in 0..2u8 {
        let value = vec![round; 300];
        for at in 0..60u8 {
            bench.write(GROUP, &[(&[0x10, at], Some(&value))]);
        }
        bench.checkpoint();
    }
    let wanted = bench.all(GROUP);
    bench.store.close();
    let mut prng = Prng::new(3);
    let (mut refused, mut harmless, mut files) = (0, 0, Vec::new());
    let kept = tempfile::tempdir().unwrap();
    harness::crash_copy(dir.path(), kept.path());
    for folder in ["c0", "c0/tables"] {
        let found = std::fs::read_dir(kept.path().join(folder)).unwrap().map(|entry| entry.unwrap());
        let names = found.filter(|entry| entry.file_type().unwrap().is_file()).map(|entry| entry.file_name());
        files.extend(names.map(|name| std::path::Path::new(folder).join(name)));
    }
    for file in files {
        let good = std::fs::read(kept.path().join(&file)).unwrap();
        let is_small = good.len() < 1000;
        for _ in 0..if is_small { 12 } else { 60 } {
            let mut bad = good.clone();
            let at = prng.below(bad.len() as u64) as usize;
            bad[at] ^= 1 << prng.below(8);
            harness::crash_copy(kept.path(), dir.path());
            std::fs::write(dir.path().join(&file), &bad).unwrap();
            match read_damaged(dir.path(), &wanted) {
                true => harmless += 1,
                false => refused += 1,
            }
        }
    }
    assert!(refused > harmless, "{refused} refused, {harmless} harmless");
}

/// True when all rows came back as they were; anything else than a refusal is a failure of the test.
fn read_damaged(dir: &std::path::Path, wanted: &Model) -> bool {
    let mut bench = match Bench::open(dir) {
        Ok(bench) => bench,
        Err(OpenError::Corrupt { .. } | OpenError::Io { .. }) => return false,
        Err(other) => panic!("{other}"),
    };
    if bench.store.machine(GROUP).is_none() {
        // The open met the damage: the group has no state here, and is not served.
        return false;
    }
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.all(GROUP)));
    match found {
        Ok(found) => {
            assert_eq!(&found, wanted, "a damaged row was served");
            true
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let is_told = |event: &StoreEvent| matches!(event, StoreEvent::Damaged { group: GROUP, .. });
            assert!(said.contains("the store failed") || bench.aside.iter().any(is_told), "{said}");
            false
        }
    }
}

#[test]
fn tables_without_a_current_file_are_refused() {
    let (dir, mut bench) = open();
    bench.write(GROUP, &[(b"\x10a", Some(b"1"))]);
    bench.checkpoint();
    bench.store.close();
    std::fs::remove_file(dir.path().join("c0/current")).unwrap();
    assert!(matches!(Bench::open(dir.path()), Err(OpenError::Corrupt { .. })));
}

#[test]
fn a_failed_write_stops_the_store_with_its_reason() {
    let (dir, mut bench) = open();
    bench.write(GROUP, &[(b"\x10a", Some(b"1"))]);
    std::fs::remove_dir_all(dir.path().join("c0")).unwrap();
    let frozen = bench.store.freeze().unwrap();
    bench.store.flush(frozen.id);
    let reason = bench.wait(|event| match event {
        StoreEvent::Failed { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.starts_with("store of core 0, write: "), "{reason}");
}

#[test]
fn old_lives_leave_the_tables_when_they_are_compacted() {
    let (dir, mut bench) = open();
    let value = vec![1; 1000];
    for at in 0..50u8 {
        bench.write(GROUP, &[(&[0x10, at], Some(&value))]);
    }
    bench.checkpoint();
    let (_dir, mut source) = open();
    source.write(GROUP, &[(b"\x10new", Some(b"n"))]);
    source.store.snapshot_begin(1, GROUP).unwrap();
    let parts = source.parts(1);
    bench.install(GROUP, &machine(LogIndex(900)), &parts).unwrap();
    for _ in 0..6 {
        bench.write(GROUP, &[(b"\x10x", Some(b"y"))]);
        bench.checkpoint();
    }
    // Closing waits for the thread, not for the compaction it was told to stop: give it a whole life more.
    let mut bench = reopen(bench);
    for _ in 0..6 {
        bench.write(GROUP, &[(b"\x10x", Some(b"y"))]);
        bench.checkpoint();
    }
    let bytes = || -> u64 {
        let tables = std::fs::read_dir(dir.path().join("c0/tables")).unwrap();
        tables.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum()
    };
    let gone = (0..600).any(|_| {
        bench.write(GROUP, &[(b"\x10x", Some(b"y"))]);
        bench.checkpoint();
        bytes() < 30_000
    });
    assert!(gone, "{} bytes", bytes());
    assert_eq!(bench.all(GROUP).len(), 2);
}

#[test]
fn a_store_can_move_to_its_core() {
    fn is_send<T: Send>() {}
    is_send::<LsmStore>();
}

#[test]
fn a_group_that_was_dropped_stays_away_and_comes_back_empty() {
    let (dir, mut bench) = open();
    let value = vec![1; 1000];
    let other = GroupId(GROUP.0 + 1);
    for at in 0..50u8 {
        bench.write(GROUP, &[(&[0x10, at], Some(&value))]);
    }
    bench.write(other, &[(b"\x10k", Some(b"stays"))]);
    bench.checkpoint();
    bench.write(GROUP, &[(b"\x10unflushed", Some(b"v"))]);
    bench.store.drop_group(GROUP);
    assert_eq!(bench.store.machine(GROUP), None);
    assert_eq!(bench.all(GROUP), Model::new());
    assert!(bench.store.snapshot_begin(1, GROUP).is_none());
    // Not durable yet: a crash finds it as it was flushed.
    let early = dir.path().join("early");
    crash_copy(&bench.dir, &early);
    let mut early = Bench::open(&early).unwrap();
    assert_eq!(early.all(GROUP).len(), 50);
    drop(early);
    let frozen = bench.store.freeze().expect("the removal is to be written");
    assert_eq!(frozen.applied, [], "a group that is gone needs no checkpoint of its log");
    bench.store.flush(frozen.id);
    bench.wait(|event| matches!(event, StoreEvent::Flushed(done) if done.id == frozen.id).then_some(()));
    let mut bench = reopen(bench);
    assert_eq!(bench.store.machine(GROUP), None);
    assert_eq!(bench.all(GROUP), Model::new());
    // It comes back with another life, and nothing of the old one.
    bench.write(GROUP, &[(b"\x10new", Some(b"n"))]);
    assert_eq!(bench.all(GROUP).len(), 1);
    bench.checkpoint();
    let mut bench = reopen(bench);
    assert_eq!(bench.all(GROUP), Model::from([(b"\x10new".to_vec(), b"n".to_vec())]));
    assert_eq!(bench.get(other, b"\x10k"), Some(b"stays".to_vec()));
    // A second time, with a snapshot coming in half-way.
    bench.store.install_begin(GROUP, machine(LogIndex(900)));
    bench.store.drop_group(GROUP);
    bench.checkpoint();
    let mut bench = reopen(bench);
    assert_eq!(bench.store.machines().map(|(group, _)| group).collect::<Vec<_>>(), [other]);
    bench.write(GROUP, &[(b"\x10third", Some(b"3"))]);
    assert_eq!(bench.all(GROUP).len(), 1);
}

/// The files of tables, oldest first.
fn table_files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let found = std::fs::read_dir(dir.join("c0/tables")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = found.collect();
    files.sort_by_key(|path| path.file_name().unwrap().to_string_lossy().parse::<u64>().unwrap());
    files
}

/// Another byte in the middle of a file, in place.
fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_scrub_finds_a_table_that_changed_and_names_only_the_groups_that_touch_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open_with(dir.path(), |settings| settings.scrub_every = std::time::Duration::ZERO).unwrap();
    let other = GroupId(GROUP.0 + 4);
    for group in [GROUP, other] {
        bench.write(group, &[(b"\x10a", Some(&[7; 3000])), (b"\x10b", Some(&[8; 3000]))]);
        bench.checkpoint();
    }
    let files = table_files(dir.path());
    assert_eq!(files.len(), 2);
    flip(&files[0]);
    let damaged = |event: &StoreEvent| match event {
        StoreEvent::Damaged { group, reason } => Some((*group, reason.clone())),
        _ => None,
    };
    let (group, reason) = bench.wait(damaged);
    assert_eq!(group, GROUP);
    assert!(reason.contains("another checksum than was written"), "{reason}");
    // A second table, found by a later walk: the first is not said again.
    flip(&files[1]);
    assert_eq!(bench.wait(damaged).0, other);
    assert_eq!(bench.aside, []);
}

#[test]
fn a_compaction_that_meets_a_damaged_block_says_whose_rows_it_holds_and_stops() {
    let (dir, mut bench) = open();
    let rows = |round: u8| [(vec![0x10, 1], vec![round; 3000]), (vec![0x10, 200], vec![round; 3000])];
    // Eight tables of the first level are merged.
    for round in 0..9u8 {
        for (key, value) in rows(round) {
            bench.write(GROUP, &[(&key, Some(&value))]);
        }
        bench.checkpoint();
        if round == 2 {
            flip(&table_files(dir.path())[2]);
        }
    }
    let group = bench.wait(|event| match event {
        StoreEvent::Damaged { group, .. } => Some(*group),
        _ => None,
    });
    assert_eq!(group, GROUP);
    // The store has not failed: others go on.
    let other = GroupId(GROUP.0 + 1);
    bench.write(other, &[(b"\x10a", Some(b"1"))]);
    bench.checkpoint();
    assert_eq!(bench.get(other, b"\x10a"), Some(b"1".to_vec()));
}
