//! Copies of folders too large for one command: seen whole or not at all, told once, given up without a trace.

mod common;

use std::collections::BTreeSet;

use base::Jid;
use common::*;
use meta::*;

const FOLDERS: u64 = 30;
const FILES: u64 = 90;
const NODES: u64 = FOLDERS * (FILES + 1);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A folder `/big` with folders of files in it.
fn world() -> World {
    let mut world = World::new();
    for folder in 0..FOLDERS {
        let parts = (0..FILES).map(|file| {
            let path = format!("/big/d{folder:02}/f{file:03}");
            Command::CommitFile(CommitFile { blocks: vec![hash_of(b"x")], ..small(&path, b"x", PutMode::Add) })
        });
        let known = Command::BlocksPresent(vec![PresentBlock { hash: hash_of(b"x"), bytes: 1, put_at_ms: u64::MAX }]);
        assert_eq!(world.run_as(OWNER, known), Outcome::Done);
        let batch = Command::CommitBatch(CommitBatch { atomic: true, parts: parts.collect() });
        assert!(world.run_as(OWNER, batch).is_ok());
    }
    world.check();
    world
}

fn step(id: u64, source: &str, target: &str) -> CopyStep {
    let (source, target) = (At::path(source), At::path(target));
    CopyStep { id, source, target, autorename: false, gives_up: false, limit: 0 }
}

/// Runs a step, its command sent twice.
fn run(world: &mut World, step: &CopyStep) -> Outcome {
    let outcome = world.run_as(OWNER, Command::CopyStep(step.clone()));
    world.check();
    outcome
}

fn below(world: &mut World, path: &str) -> BTreeSet<String> {
    let entries = world.list(path, true, 0);
    entries.into_iter().map(|entry| entry.path_display[path.len()..].to_owned()).collect()
}

fn live_files(world: &mut World) -> u64 {
    match world.ask(&Query::SpaceUsage) {
        Answer::SpaceUsage { live_files, .. } => live_files,
        other => panic!("{other:?}"),
    }
}

fn more(nodes: u32) -> Outcome {
    Outcome::Swept { nodes, has_more: true }
}

fn changes_since(world: &mut World, since: Jid) -> Vec<Change> {
    let (mut all, mut cursor) = (Vec::new(), DeltaCursor::at(since));
    loop {
        let Answer::Delta { changes, cursor: next, has_more } = world.ask(&Query::Delta { cursor, limit: 700 }) else {
            panic!("a delta")
        };
        all.extend(changes);
        cursor = next;
        if !has_more {
            return all;
        }
    }
}

#[test]
fn a_large_folder_is_seen_whole_or_not_at_all() {
    let mut world = world();
    let too_large = Command::Copy(Copy { source: At::path("/big"), target: At::path("/x"), autorename: false });
    assert_eq!(world.run(too_large), Outcome::TooLarge);
    let (head, wanted) = (world.head(), below(&mut world, "/big"));
    let copy = step(1, "/big", "/in/copy");
    assert_eq!(run(&mut world, &copy), more(1024));
    let before: Vec<String> = world.list("", false, 0).into_iter().map(|entry| entry.path_display).collect();
    assert_eq!(before, ["/big"]);
    assert_eq!(changes_since(&mut world, head), [], "nothing is told of what is hidden");
    // What is copied already stays as it was; what comes later is as it is.
    assert!(world.delete("/big/d00").is_ok());
    assert!(world.delete("/big/d29").is_ok());
    assert!(world.put("/big/d05/f000", b"yy").is_ok());
    assert_eq!(run(&mut world, &copy), more(1024));
    let other = step(1, "/big", "/elsewhere");
    assert_eq!(run(&mut world, &other), Outcome::NotFound, "another copy under the same id");
    let told = world.head();
    let done = run(&mut world, &copy);
    let Outcome::Applied(meta) = done.clone() else { panic!("{done:?}") };
    assert_eq!((meta.kind, &meta.name[..]), (NodeKind::Folder, "copy"));
    let wanted: BTreeSet<String> = wanted.into_iter().filter(|path| !path.starts_with("/d29")).collect();
    assert_eq!(below(&mut world, "/in/copy"), wanted);
    assert_eq!(wanted.len() as u64, NODES - FILES - 1);
    let paths: Vec<String> = changes_since(&mut world, told)
        .into_iter()
        .map(|change| match change {
            Change::Present(entry) => entry.path_display,
            Change::Deleted { path_display } => panic!("{path_display} is there"),
        })
        .collect();
    let tree: BTreeSet<String> =
        paths.iter().filter_map(|path| path.strip_prefix("/in/copy").map(str::to_owned)).collect();
    assert!(tree.is_superset(&wanted) && paths.contains(&"/in".to_owned()));
    assert_eq!(run(&mut world, &copy), done, "told again");
    assert_eq!(run(&mut world, &CopyStep { gives_up: true, ..copy }), done, "too late to give up");
}

#[test]
fn a_copy_given_up_leaves_nothing() {
    let mut world = world();
    let files = live_files(&mut world);
    let rows = |world: &World| world.store.rows(GROUP).iter().filter(|(key, _)| [2, 3].contains(&key[0])).count();
    let before = rows(&world);
    let copy = step(1, "/big", "/copy");
    assert_eq!(run(&mut world, &copy), more(1024));
    assert!(live_files(&mut world) > files, "what is hidden counts");
    let head = world.head();
    assert_eq!(run(&mut world, &CopyStep { gives_up: true, ..copy.clone() }), Outcome::Done);
    assert_eq!(run(&mut world, &CopyStep { gives_up: true, ..copy }), Outcome::NotFound);
    assert_eq!(changes_since(&mut world, head), []);
    collect(&mut world);
    assert_eq!((live_files(&mut world), rows(&world)), (files, before));
    // So does one whose steps stop.
    let copy = step(2, "/big", "/copy");
    assert_eq!(run(&mut world, &copy), more(1024));
    world.stamp_ms += DAY_MS;
    let sweep = Command::BlockSweep { limit: 0 };
    while matches!(world.run_as(base::Acct(0), sweep.clone()), Outcome::Swept { has_more: true, .. }) {}
    collect(&mut world);
    assert_eq!((live_files(&mut world), rows(&world)), (files, before));
    assert_eq!(world.list("", false, 0).len(), 1);
}

/// All that a sweep, a trim and a purge do.
fn collect(world: &mut World) {
    let floor = world.head();
    for command in [Command::Sweep { limit: 0 }, Command::JournalTrim { floor }, Command::Purge { limit: 0 }] {
        while matches!(world.run_as(base::Acct(0), command.clone()), Outcome::Swept { has_more: true, .. }) {}
        world.check();
    }
}

#[test]
fn a_copy_is_refused_as_a_small_one_is() {
    let mut world = World::new();
    for path in ["/a/b/f", "/file", "/taken/f", "/taken/g"] {
        assert!(world.put(path, b"x").is_ok());
    }
    let folder = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
    let ancestor = Outcome::Conflict { file: false, folder: false, file_ancestor: true };
    for (source, target, wanted) in [
        ("/none", "/c", Outcome::NotFound),
        ("/file", "/c", Outcome::NotFolder),
        ("", "/c", Outcome::IntoItself),
        ("/a", "/a/b/c", Outcome::IntoItself),
        ("/a", "/taken", folder.clone()),
        ("/a", "", folder),
        ("/a", "/file/c", ancestor),
    ] {
        assert_eq!(run(&mut world, &step(1, source, target)), wanted, "{source} to {target}");
    }
    assert_eq!(run(&mut world, &step(0, "/a", "/c")), Outcome::Malformed);
    // The source goes between two steps.
    let copy = CopyStep { limit: 1, ..step(1, "/a", "/c") };
    assert_eq!(run(&mut world, &copy), more(1));
    assert!(world.delete("/a").is_ok());
    assert_eq!(run(&mut world, &copy), Outcome::NotFound);
    assert_eq!(run(&mut world, &CopyStep { gives_up: true, ..copy }), Outcome::Done);
    // And under another name where one is taken meanwhile.
    let copy = CopyStep { limit: 1, autorename: true, ..step(2, "/taken", "/c") };
    assert!(world.mkdir("/c").is_ok());
    assert_eq!(run(&mut world, &copy), more(1));
    let Outcome::Applied(meta) = run(&mut world, &copy) else { panic!("it is done") };
    assert_eq!((&meta.name[..], world.lookup("/c (1)/f").is_some()), ("c (1)", true));
}
