//! What a move and a delete of a folder touch does not depend on what is below it: rows are counted, nothing is timed.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use base::Sequence;
use common::*;
use meta::*;

/// Commands of one entry while a tree is made.
const BATCH: usize = 500;

fn done(world: &mut World, commands: Vec<Command>) {
    let headed: Vec<_> = commands
        .into_iter()
        .map(|command| {
            let header = world.header(OWNER);
            (CommandHeader { ack_below: Sequence(header.sequence.0), ..header }, command)
        })
        .collect();
    let outcomes = world.entry(&headed);
    assert!(outcomes.iter().all(Outcome::is_ok), "{outcomes:?}");
}

/// A folder with so many empty files in folders of a hundred.
fn grow(world: &mut World, folder: &str, files: usize) {
    let file = |number: usize| {
        let path = format!("{folder}/{}/{number}", number / 100);
        Command::CommitFile(small(&path, b"", PutMode::Add))
    };
    for first in (0..files).step_by(BATCH) {
        done(world, (first..files.min(first + BATCH)).map(file).collect());
    }
}

/// How many rows of each table this command changes.
fn changed(world: &mut World, command: Command) -> BTreeMap<u8, usize> {
    let before: BTreeSet<_> = world.store.rows(GROUP).into_iter().collect();
    done(world, vec![command]);
    let after: BTreeSet<_> = world.store.rows(GROUP).into_iter().collect();
    let keys: BTreeSet<&[u8]> = before.symmetric_difference(&after).map(|(key, _)| key.as_slice()).collect();
    let mut tables = BTreeMap::new();
    keys.iter().for_each(|key| *tables.entry(key[0]).or_default() += 1);
    tables
}

#[test]
fn a_move_and_a_delete_of_a_folder_touch_as_many_rows_whatever_is_below() {
    let mut world = World::new();
    let sizes = [10, 1_000, 20_000];
    let mut counted = Vec::new();
    done(
        &mut world,
        ["/here", "/there"].map(|path| Command::Mkdir(Mkdir { at: At::path(path), autorename: false })).to_vec(),
    );
    for files in sizes {
        let (source, target) = (format!("/here/tree {files}"), format!("/there/tree {files}"));
        grow(&mut world, &source, files);
        let part = Move { source: At::path(&source), target: At::path(&target), autorename: false };
        let moved = changed(&mut world, Command::Move(part));
        let delete = Delete { at: At::path(&target), parent_rev: None };
        let deleted = changed(&mut world, Command::Delete(delete));
        assert!(moved.values().sum::<usize>() > 3 && deleted.values().sum::<usize>() > 3, "{moved:?} {deleted:?}");
        counted.push((moved, deleted));
    }
    assert!(counted.windows(2).all(|pair| pair[0] == pair[1]), "{counted:?}");
    world.check();
}
