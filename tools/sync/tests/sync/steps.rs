//! What each kind of change comes to.

use std::fs;
use std::sync::atomic::Ordering;

use meta::{At, Command, Delete, Move, Outcome};
use syncer::Event;
use tempfile::TempDir;

use crate::common::{ACCT, Machine, disk_tree, sync, sync_as};

fn world() -> (Machine, TempDir) {
    (Machine::new(), TempDir::new().unwrap())
}

fn paths(machine: &Machine) -> Vec<String> {
    machine.tree().into_iter().map(|(path, _)| path).collect()
}

fn moved(machine: &Machine, from: &str, to: &str) -> Outcome {
    let command = Move { source: At::path(from), target: At::path(to), autorename: false };
    machine.run(ACCT, Command::Move(command))
}

fn node(machine: &Machine, path: &str) -> u64 {
    let lookup = meta::Query::Lookup(meta::What::At(At::path(path)));
    match machine.ask(&lookup) {
        meta::Answer::Entry(entry) => entry.meta.node.0,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn what_is_only_on_one_side_comes_to_the_other_and_then_nothing_is_left_to_do() {
    let (machine, folder) = world();
    fs::create_dir_all(folder.path().join("here/deep/empty")).unwrap();
    fs::write(folder.path().join("here/deep/file"), "1").unwrap();
    fs::write(folder.path().join("same"), "same").unwrap();
    machine.put("/there/er/file", b"2");
    machine.put("/same", b"same");
    assert!(sync(&machine, folder.path()) > 0);
    assert_eq!(disk_tree(folder.path()), machine.tree());
    assert_eq!(machine.tree().len(), 8);
    assert_eq!(sync(&machine, folder.path()), 0, "a second start has nothing to do");
}

#[test]
fn moves_and_other_casings_keep_the_node() {
    let (machine, folder) = world();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("dir/sub")).unwrap();
    fs::write(at("dir/sub/file"), "1").unwrap();
    fs::write(at("name"), "2").unwrap();
    sync(&machine, folder.path());
    let (file, name) = (node(&machine, "/dir/sub/file"), node(&machine, "/name"));
    fs::rename(at("name"), at("Name")).unwrap();
    fs::create_dir(at("new")).unwrap();
    fs::rename(at("dir/sub"), at("new/sub")).unwrap();
    sync(&machine, folder.path());
    assert_eq!((node(&machine, "/new/sub/file"), node(&machine, "/NAME")), (file, name));
    assert!(paths(&machine).contains(&"Name".to_owned()));
    // The other way round: what moves there keeps its inode.
    let inode = syncer::Stamp::of(&fs::metadata(at("new/sub/file")).unwrap()).inode;
    assert!(moved(&machine, "/new/sub", "/back").is_ok());
    assert!(moved(&machine, "/Name", "/nAME").is_ok());
    sync(&machine, folder.path());
    assert_eq!(syncer::Stamp::of(&fs::metadata(at("back/file")).unwrap()).inode, inode);
    assert_eq!(disk_tree(folder.path()), machine.tree());
}

#[test]
fn names_that_change_places_do_so() {
    let (machine, folder) = world();
    let at = |path: &str| folder.path().join(path);
    for (name, content) in [("one", "1"), ("two", "2"), ("three", "3")] {
        fs::write(at(name), content).unwrap();
    }
    sync(&machine, folder.path());
    let nodes = ["/one", "/two", "/three"].map(|path| node(&machine, path));
    for (from, to) in [("one", "x"), ("three", "one"), ("two", "three"), ("x", "two")] {
        fs::rename(at(from), at(to)).unwrap();
    }
    sync(&machine, folder.path());
    assert_eq!(["/two", "/three", "/one"].map(|path| node(&machine, path)), nodes);
    // A file becomes a folder that it lies in, and a folder goes into what was in it.
    fs::rename(at("one"), at("x")).unwrap();
    fs::create_dir(at("one")).unwrap();
    fs::rename(at("x"), at("one/one")).unwrap();
    sync(&machine, folder.path());
    assert_eq!(node(&machine, "/one/one"), nodes[2]);
    for (from, to) in [("/two", "/x"), ("/three", "/two"), ("/x", "/three")] {
        assert!(moved(&machine, from, to).is_ok());
    }
    sync(&machine, folder.path());
    assert_eq!(disk_tree(folder.path()), machine.tree());
}

#[test]
fn deleted_goes_on_the_other_side_but_what_was_written_there_stays() {
    let (machine, folder) = world();
    let at = |path: &str| folder.path().join(path);
    for path in ["/a/gone here", "/a/written there", "/b/gone there", "/b/written here", "/c/1", "/d/1"] {
        machine.put(path, path.as_bytes());
    }
    sync(&machine, folder.path());
    fs::remove_dir_all(at("a")).unwrap();
    fs::remove_dir_all(at("c")).unwrap();
    fs::write(at("b/written here"), "again").unwrap();
    machine.put("/a/written there", b"again");
    for path in ["/b", "/d"] {
        let delete = Delete { at: At::path(path), parent_rev: None };
        assert!(machine.run(ACCT, Command::Delete(delete)).is_ok());
    }
    sync(&machine, folder.path());
    assert_eq!(paths(&machine), ["a", "a/written there", "b", "b/written here"]);
    assert_eq!(disk_tree(folder.path()), machine.tree());
}

#[test]
fn both_sides_written_gives_a_conflicted_copy_named_after_host_and_day() {
    let (machine, folder) = world();
    machine.put("/plan.txt", b"first");
    sync(&machine, folder.path());
    machine.put("/plan.txt", b"there");
    fs::write(folder.path().join("plan.txt"), "here").unwrap();
    let (told, round) = sync_as(&machine, folder.path(), "ada").unwrap();
    assert_eq!(round.failed, 0);
    let copy = told.iter().find_map(|event| match event {
        Event::Conflict(path, copy) if path == "plan.txt" => Some(copy.clone()),
        _ => None,
    });
    let copy = copy.expect("it is told");
    let day = copy.strip_prefix("plan (ada's conflicted copy ").and_then(|rest| rest.strip_suffix(").txt")).unwrap();
    assert_eq!(day.len(), "2026-11-23".len(), "{copy}");
    let wanted = [(copy, Some(b"here".to_vec())), ("plan.txt".to_owned(), Some(b"there".to_vec()))];
    assert_eq!(machine.tree(), wanted);
    assert_eq!(disk_tree(folder.path()), wanted);
}

#[test]
fn only_blocks_that_the_other_side_has_not_are_on_their_way() {
    let (machine, folder) = world();
    let path = folder.path().join("large");
    let mut content: Vec<u8> = (0..(12 << 20) + 7).map(|at: usize| (at / 4096 % 251) as u8).collect();
    content[5 << 20] = 255;
    content[9 << 20] = 254;
    fs::write(&path, &content).unwrap();
    sync(&machine, folder.path());
    assert_eq!(machine.sent.swap(0, Ordering::Relaxed), 4);
    content[9 << 20] = 7;
    fs::write(&path, &content).unwrap();
    sync(&machine, folder.path());
    assert_eq!(machine.sent.swap(0, Ordering::Relaxed), 1);
    fs::copy(&path, folder.path().join("copy")).unwrap();
    sync(&machine, folder.path());
    assert_eq!(machine.sent.swap(0, Ordering::Relaxed), 0, "a copy has nothing new");
    content[5 << 20] = 9;
    machine.put("/large", &content);
    sync(&machine, folder.path());
    assert_eq!(machine.got.load(Ordering::Relaxed), 1);
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn what_another_puts_into_a_folder_while_it_is_deleted_comes_back() {
    let (machine, folder) = world();
    machine.put("/dir/old", b"old");
    machine.put("/elsewhere", b"moved in");
    sync(&machine, folder.path());
    fs::remove_dir_all(folder.path().join("dir")).unwrap();
    // It arrives after the last look and before the deletion.
    let command = Move { source: At::path("/elsewhere"), target: At::path("/dir/new/file"), autorename: false };
    *machine.intruder.lock().unwrap() = Some(Command::Move(command));
    let (told, _) = sync_as(&machine, folder.path(), "ada").unwrap();
    assert!(told.iter().any(|event| matches!(event, Event::Restored(path) if path == "dir/new/file")), "{told:?}");
    assert_eq!(paths(&machine), ["dir", "dir/new", "dir/new/file"]);
    assert_eq!(disk_tree(folder.path()), machine.tree());
}

#[test]
fn what_stays_out_is_told_and_neither_side_is_touched_for_it() {
    let (machine, folder) = world();
    let at = |path: &str| folder.path().join(path);
    machine.put("/was/a file", b"1");
    machine.put("/keep.o", b"object");
    sync(&machine, folder.path());
    // A link where a file was says nothing about the file.
    fs::remove_file(at("was/a file")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("was/a file")).unwrap();
    fs::write(at("README"), "1").unwrap();
    fs::write(at("readme"), "2").unwrap();
    fs::write(at(".dropstoneignore"), "*.o\nbuild/\n").unwrap();
    fs::write(at("new.o"), "object").unwrap();
    fs::create_dir(at("build")).unwrap();
    fs::write(at("build/out"), "x").unwrap();
    let (told, round) = sync_as(&machine, folder.path(), "ada").unwrap();
    assert_eq!((round.failed, round.left_out), (0, 2), "{told:?}");
    let left: Vec<&str> = told.iter().filter(|event| event.verb() == "left-out").map(Event::path).collect();
    assert_eq!(left, ["readme", "was/a file"]);
    assert_eq!(paths(&machine), [".dropstoneignore", "README", "keep.o", "was", "was/a file"]);
    // What is ignored by now is neither deleted there nor here.
    fs::remove_file(at("keep.o")).unwrap();
    assert_eq!(sync(&machine, folder.path()), 0);
    assert!(paths(&machine).contains(&"keep.o".to_owned()));
}

#[test]
fn the_empty_place_of_a_folder_that_was_unmounted_is_no_tree_without_files() {
    let (machine, folder) = world();
    machine.put("/file", b"1");
    sync(&machine, folder.path());
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    sync(&machine, folder.path());
    assert_eq!(paths(&machine), ["file"]);
    assert_eq!(disk_tree(folder.path()), machine.tree());
}

#[test]
fn a_state_that_is_damaged_or_gone_costs_a_comparison_and_no_file() {
    let (machine, folder) = world();
    machine.put("/dir/one", b"1");
    machine.put("/two", b"2");
    sync(&machine, folder.path());
    let state = folder.path().join(".dropstone/state");
    let whole = fs::read(&state).unwrap();
    for keep in [0, 20, 48, 60, whole.len() / 2] {
        fs::write(&state, &whole[..keep]).unwrap();
        assert_eq!(sync(&machine, folder.path()), 0, "with {keep} bytes of it");
        assert_eq!(disk_tree(folder.path()), machine.tree());
    }
}
