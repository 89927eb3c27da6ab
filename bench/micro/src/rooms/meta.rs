//! The metadata machine: what a committed command costs, and a question, everything being in memory.

use base::Jid;
use meta::{Answer, At, Command, CommitBatch, Delete, DeltaCursor, Move, PutMode, Query, What};

use super::machine_rig::{MachineRig, empty_file, mkdir, put};
use crate::{Bench, Body, Scale};

/// Entries that one state has room for.
const STATE: u64 = 256;
/// Of them that are large.
const BATCHES: u64 = 16;
/// Commands of one entry while a tree is made.
const BATCH: usize = 500;

/// The benches of this room. Folders with more below them are moved by `cargo bench -p dropstone-bench --bench meta`.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let apply = |id, make: fn(Scale) -> Body| Bench::new(id, make).state(STATE).counted(100);
    vec![
        apply("meta/apply/put", puts),
        apply("meta/apply/update", updates),
        apply("meta/apply/move", moves),
        apply("meta/apply/delete", deletes),
        apply("meta/apply/mkdir", mkdirs),
        Bench::new("meta/apply/put_batch,b=1000", put_batch).operations(1000).state(BATCHES).counted(4),
        apply("meta/apply/move,descendants=1k", |scale| folder_moves(few(scale, 1_000, 20), scale)),
        Bench::new("meta/apply/move,descendants=100k", |scale| folder_moves(few(scale, 100_000, 50), scale))
            .state(STATE),
        Bench::new("meta/query/stat", |_| stat()).counted(200),
        Bench::new("meta/query/list_n=2000", |scale| list(few(scale, 2_000, 20))).operations(2000).counted(4),
        Bench::new("meta/query/delta_n=500", |scale| delta(few(scale, 500, 20))).operations(500).counted(8),
        Bench::new("meta/query/blocklist", |_| blocklist()).counted(500),
    ]
}

fn few(scale: Scale, full: u64, tiny: u64) -> u64 {
    if scale == Scale::Full { full } else { tiny }
}

fn name(number: u64) -> String {
    format!("/folder {}/file {number}.txt", number / 1000)
}

/// So many empty files, a thousand a folder.
fn filled(files: u64) -> MachineRig {
    let mut rig = MachineRig::default();
    let numbers: Vec<u64> = (0..files).collect();
    for numbers in numbers.chunks(BATCH) {
        rig.apply(numbers.iter().map(|number| Command::CommitFile(empty_file(&name(*number)))));
    }
    rig
}

/// Applies one entry after the other, which were made before.
fn entries(mut rig: MachineRig, scale: Scale, commands: impl Fn(u64) -> Vec<Command>) -> Body {
    let payloads: Vec<_> = (0..few(scale, STATE, 8)).map(|at| rig.payload(commands(at))).collect();
    let mut next = 0;
    Box::new(move || {
        next += 1;
        let bytes = rig.apply_payload(&payloads[next - 1]);
        if scale == Scale::Tiny {
            rig.check();
        }
        bytes
    })
}

fn puts(scale: Scale) -> Body {
    entries(filled(100), scale, |at| vec![put(&name(at + 100), at, PutMode::Add)])
}

fn updates(scale: Scale) -> Body {
    entries(filled(100), scale, |at| vec![put(&name(at * 7 % 100), at, PutMode::Overwrite)])
}

fn moves(scale: Scale) -> Body {
    let to = |at: u64| At::path(&format!("/moved {at}.txt"));
    entries(filled(few(scale, STATE, 50)), scale, move |at| vec![rename(At::path(&name(at)), to(at))])
}

fn rename(source: At, target: At) -> Command {
    Command::Move(Move { source, target, autorename: false })
}

fn deletes(scale: Scale) -> Body {
    let delete = |at| Command::Delete(Delete { at: At::path(&name(at)), parent_rev: None });
    entries(filled(few(scale, STATE, 50)), scale, move |at| vec![delete(at)])
}

fn mkdirs(scale: Scale) -> Body {
    entries(filled(100), scale, |at| vec![mkdir(&format!("/folder 0/new {at}"))])
}

fn put_batch(scale: Scale) -> Body {
    let files = few(scale, 1000, 10);
    let payloads = few(scale, BATCHES, 8);
    let mut rig = filled(100);
    let batch = |at: u64| {
        let file = |number| Command::CommitFile(empty_file(&name(100 + at * files + number)));
        Command::CommitBatch(CommitBatch { atomic: false, parts: (0..files).map(file).collect() })
    };
    let payloads: Vec<_> = (0..payloads).map(|at| rig.payload([batch(at)])).collect();
    let mut next = 0;
    Box::new(move || {
        next += 1;
        rig.apply_payload(&payloads[next - 1])
    })
}

/// A folder with so many files below it goes to and fro.
fn folder_moves(files: u64, scale: Scale) -> Body {
    let mut rig = MachineRig::default();
    rig.apply([mkdir("/here/tree"), mkdir("/there")]);
    let numbers: Vec<u64> = (0..files).collect();
    for numbers in numbers.chunks(BATCH) {
        let file = |number: &u64| Command::CommitFile(empty_file(&format!("/here/tree{}", name(*number))));
        rig.apply(numbers.iter().map(file));
    }
    let (here, there) = (At::path("/here/tree"), At::path("/there/tree"));
    entries(rig, scale, move |at| {
        let (source, target) = if at % 2 == 0 { (&here, &there) } else { (&there, &here) };
        vec![rename(source.clone(), target.clone())]
    })
}

fn stat() -> Body {
    let (rig, mut number) = (filled(100), 0);
    Box::new(move || {
        number = (number + 7) % 100;
        match rig.ask(&Query::Lookup(What::At(At::path(&name(number))))) {
            Answer::Entry(entry) => entry.meta.name.len() as u64,
            other => panic!("a lookup was answered {other:?}"),
        }
    })
}

fn list(files: u64) -> Body {
    let rig = filled(files);
    let page = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 2000 };
    Box::new(move || match rig.ask(&page) {
        Answer::Page { entries, .. } => entries.len() as u64,
        other => panic!("a listing was answered {other:?}"),
    })
}

fn delta(files: u64) -> Body {
    let rig = filled(files);
    let query = Query::Delta { cursor: DeltaCursor::at(Jid(1)), limit: 500 };
    Box::new(move || match rig.ask(&query) {
        Answer::Delta { changes, .. } => changes.len() as u64,
        other => panic!("a delta was answered {other:?}"),
    })
}

fn blocklist() -> Body {
    let mut rig = MachineRig::default();
    rig.apply([put("/file", 1, PutMode::Add)]);
    let query = Query::Blocklist { what: What::At(At::path("/file")), first: 0 };
    Box::new(move || match rig.ask(&query) {
        Answer::Blocklist { blocks, .. } => blocks.len() as u64,
        other => panic!("a blocklist was answered {other:?}"),
    })
}
