//! Copies of a store at work: whole, as of a checkpoint that a file asks for, and fit to be another cluster's state.

mod harness;

use std::time::Duration;

use base::{CoreId, GroupId, LogIndex};
use harness::{Bench, machine};
use meta::Store;
use store::backup;

const GROUP: GroupId = GroupId(3);
const OTHER: GroupId = GroupId(9);

/// What a core does, as far as the store goes.
fn work(bench: &mut Bench) {
    while bench.store.poll_event().is_some() {}
    if bench.store.wants_freeze()
        && let Some(frozen) = bench.store.freeze()
    {
        bench.store.flush(frozen.id);
    }
}

#[test]
fn a_file_asks_for_a_checkpoint_and_what_is_linked_then_is_all_that_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let saved = tempfile::tempdir_in(dir.path()).unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    let tree = dir.path().join("c0");
    for at in 0..200u8 {
        bench.write(GROUP, &[(&[0x10, at], Some(&[at; 2000]))]);
        bench.write(OTHER, &[(&[0x10, at], Some(&[at]))]);
    }
    let request = backup::checkpoint_request(&tree);
    for _ in 0..2 {
        // The second time there is nothing to write, and that is a checkpoint too.
        std::fs::write(&request, []).unwrap();
        let is_done = (0..4000).any(|_| {
            work(&mut bench);
            std::thread::sleep(Duration::from_millis(5));
            !request.exists()
        });
        assert!(is_done, "nobody made the checkpoint");
    }
    // The node goes on: what comes now is not in it.
    assert!(backup::copy_live(&tree, &saved.path().join("c0")).unwrap());
    bench.write(GROUP, &[(b"\x10later", Some(b"1"))]);
    bench.checkpoint();
    let machines = backup::survey(saved.path(), CoreId(0)).unwrap();
    assert_eq!(machines, [(GROUP, machine(LogIndex(200))), (OTHER, machine(LogIndex(200)))]);

    backup::adopt(saved.path(), CoreId(0), b"members").unwrap();
    let mut copy = Bench::open(saved.path()).unwrap();
    assert!(copy.store.is_install_pending(GROUP));
    let wanted = meta::Machine { config: b"members".to_vec(), ..machine(LogIndex(200)) };
    assert_eq!(copy.store.machine(GROUP), Some(&wanted));
    assert_eq!(copy.all(GROUP).len(), 200);
    assert_eq!(bench.all(GROUP).len(), 201, "the node's own tables are its own");
    assert_eq!(bench.store.machine(GROUP).unwrap().applied_index, LogIndex(201));
}

#[test]
fn a_copy_of_damaged_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let saved = tempfile::tempdir_in(dir.path()).unwrap();
    let mut bench = Bench::open(dir.path()).unwrap();
    bench.write(GROUP, &[(b"\x10a", Some(&[7; 9000]))]);
    bench.checkpoint();
    let table = std::fs::read_dir(dir.path().join("c0/tables")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    assert!(backup::copy_live(&dir.path().join("c0"), &saved.path().join("c0")).unwrap());
    let error = backup::survey(saved.path(), CoreId(0)).unwrap_err().to_string();
    assert!(error.contains("corrupt"), "{error}");
}

#[test]
fn a_store_that_never_flushed_has_nothing_to_copy() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("c0")).unwrap();
    assert!(!backup::copy_live(&dir.path().join("c0"), &dir.path().join("saved")).unwrap());
}
