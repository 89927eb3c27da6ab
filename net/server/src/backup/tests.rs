//! A store at work is backed up, the backup is read, damaged and restored.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{LogIndex, Term};
use meta::{Row, RowBatch, Store as _, Want};
use store::{LsmStore, OpenSettings};

use super::*;
use crate::config::Loaded;

const NONE: [(OsString, OsString); 0] = [];
const GROUPS: u32 = 4;
const CORES: u16 = 2;

fn config(data: &Path, ids: &[u64]) -> NodeConfig {
    let nodes = ids.iter().map(|id| format!("{{ id = {id}, peer = \"a:7201\", client = \"a:7100\" }}"));
    let text = format!(
        "[cluster]\ngroups = {GROUPS}\ncores = {CORES}\nnodes = [{}]\n\
         [process]\ndata_dir = {data:?}\nsegment_bytes = \"8 MiB\"\n",
        nodes.collect::<Vec<_>>().join(", ")
    );
    Loaded::parse(&text, "node.toml", NONE).expect("valid").config
}

fn open(data: &Path, core: u16) -> LsmStore {
    LsmStore::open(OpenSettings::dev(data.join("store"), CoreId(core), Arc::new(|| {}))).expect("it opens")
}

fn write(store: &mut LsmStore, group: u32, index: u64) {
    let rows = vec![(vec![0x10, index as u8], Some(vec![index as u8; 500]))];
    let machine = Machine {
        applied_index: LogIndex(index),
        applied_term: Term(3),
        state_hash: index * 1000 + u64::from(group),
        ..Machine::default()
    };
    store.write(GroupId(group), &rows.into_iter().collect::<RowBatch>(), &machine);
}

/// What a core does, as far as the store goes.
fn work(store: &mut LsmStore) {
    while store.poll_event().is_some() {}
    if store.wants_freeze()
        && let Some(frozen) = store.freeze()
    {
        store.flush(frozen.id);
    }
}

/// A node with state in every group, which goes on writing while `during` runs.
fn serve<T>(data: &Path, during: impl FnOnce() -> T) -> T {
    let request = FormatRequest {
        cluster: ClusterId([1; 16]),
        node: NodeId(2),
        cores: CORES,
        groups: GROUPS,
        segment_bytes: 8 << 20,
        joins: false,
        machine: identity::MachineKind::Files,
    };
    identity::format(data, request).expect("formatted");
    let lock = Lock::take(data).expect("nobody has it");
    let is_over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        for core in 0..CORES {
            let mut store = open(data, core);
            for index in 1..=20 {
                write(&mut store, u32::from(core), index);
                write(&mut store, u32::from(core) + u32::from(CORES), index);
            }
            let is_over = &is_over;
            scope.spawn(move || {
                let mut index = 20;
                while !is_over.load(Ordering::Acquire) {
                    work(&mut store);
                    // The second group of each core is written on and on.
                    index += 1;
                    write(&mut store, u32::from(core) + u32::from(CORES), index);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let done = during();
        is_over.store(true, Ordering::Release);
        done
    });
    drop(lock);
    done
}

fn quiet(_: &str) {}

#[test]
fn a_backup_of_a_node_at_work_is_whole_and_becomes_the_state_of_another_cluster() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (data, saved, new) = (dir.path().join("data"), dir.path().join("saved"), dir.path().join("new"));
    let source = config(&data, &[1, 2, 3]);
    let made = serve(&data, || create(&source, &saved, 77, &mut quiet)).expect("a backup is made");
    assert_eq!(verify(&saved, &mut quiet).expect("it is whole"), made);
    assert_eq!(made.states.iter().map(|state| state.group.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(
        made.states[0],
        GroupState { group: GroupId(0), applied_index: 20, applied_term: 3, state_hash: 20_000 }
    );
    assert!(made.states[2].applied_index > 20, "what was only in memory is in it");
    assert_eq!((made.time_ms, made.members.as_slice()), (77, &[NodeId(1), NodeId(2), NodeId(3)][..]));

    let target = config(&new, &[4, 5, 6]);
    restore(&saved, &target, ClusterId([9; 16]), NodeId(5), &mut quiet).expect("it is restored");
    let identity = Identity::read(&new).expect("it has an identity");
    assert_eq!((identity.cluster, identity.node), (ClusterId([9; 16]), NodeId(5)));
    assert!(!new.with_extension("restoring").exists());
    let members = raft::Config::single(&[4, 5, 6].map(NodeId)).encode();
    for state in &made.states {
        let mut store = open(&new, (state.group.0 % u32::from(CORES)) as u16);
        let machine = store.machine(state.group).expect("it has the group").clone();
        assert_eq!((machine.applied_index.0, machine.state_hash), (state.applied_index, state.state_hash));
        assert_eq!(machine.config, members);
        assert!(store.is_install_pending(state.group), "the log is to begin behind it");
        let last = vec![0x10, state.applied_index as u8];
        store.prefetch(1, state.group, &[Want::Key(last.clone())]);
        while store.poll_event().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(store.get(state.group, &last), Row::Hit(&[state.applied_index as u8; 500]));
    }
}

#[test]
fn what_changed_in_a_backup_is_named_and_never_restored() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (data, saved, new) = (dir.path().join("data"), dir.path().join("saved"), dir.path().join("new"));
    let source = config(&data, &[2]);
    let made = serve(&data, || create(&source, &saved, 1, &mut quiet)).expect("a backup is made");
    let target = config(&new, &[7]);
    for (name, ..) in &made.files {
        let path = saved.join(name);
        let good = fs::read(&path).expect("it is there");
        // Not in place: a table has another name in the node's directory.
        let put = |bytes: &[u8]| {
            fs::remove_file(&path).expect("removed");
            fs::write(&path, bytes).expect("written");
        };
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        put(&bad);
        let error = verify(&saved, &mut quiet).expect_err("a bit differs").to_string();
        assert!(
            error.contains(&format!("1 of {} files", made.files.len())) && error.contains(name.as_str()),
            "{error}"
        );
        let refused = restore(&saved, &target, ClusterId([9; 16]), NodeId(7), &mut quiet).expect_err("not restored");
        assert_eq!(refused.exit_code(), ExitCode::Data);
        put(&good[1..]);
        assert!(verify(&saved, &mut quiet).expect_err("shorter").to_string().contains("bytes, not"));
        put(&good);
    }
    assert!(!new.exists());
    verify(&saved, &mut quiet).expect("all is put back");
}

#[test]
fn a_backup_and_a_restore_refuse_what_does_not_fit_and_say_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (data, saved, new) = (dir.path().join("data"), dir.path().join("saved"), dir.path().join("new"));
    let source = config(&data, &[1, 2]);
    serve(&data, || create(&source, &saved, 1, &mut quiet)).expect("a backup is made");
    let said = |done: Result<Manifest, BackupError>| done.expect_err("refused").to_string();
    assert!(said(create(&source, &saved, 1, &mut quiet)).contains("is not empty"));
    assert!(said(create(&source, &dir.path().join("b"), 1, &mut quiet)).contains("start the node first"));
    let cluster = ClusterId([9; 16]);
    let try_restore =
        |ids: &[u64], cluster, node| said(restore(&saved, &config(&new, ids), cluster, NodeId(node), &mut quiet));
    assert!(try_restore(&[1, 8], cluster, 8).contains("use ids above 2"));
    assert!(try_restore(&[8], ClusterId([1; 16]), 8).contains("draw a new one"));
    assert!(try_restore(&[8], cluster, 9).contains("not in cluster.nodes"));
    let mut other = config(&new, &[8]);
    other.cluster.groups = 16;
    assert!(said(restore(&saved, &other, cluster, NodeId(8), &mut quiet)).contains("set cluster.groups = 4"));
    assert!(said(verify(dir.path(), &mut quiet)).contains("dropstone backup create"));
    assert!(said(restore(&saved, &source, cluster, NodeId(2), &mut quiet)).contains("an id is never used twice"));
}
