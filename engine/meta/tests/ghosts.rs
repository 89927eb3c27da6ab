//! A client that keeps what is below a path when a file replaces a deleted folder there, as one known client does, must
//! not be left with ghosts.

mod common;

use std::collections::BTreeMap;

use base::{Jid, Prng};
use common::*;
use meta::*;

/// By path of name keys: file or folder, and its rev.
type Tree = BTreeMap<String, (NodeKind, Jid)>;

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|above| !above.is_empty())
}

fn seen(meta: &Metadata) -> (NodeKind, Jid) {
    (meta.kind, if meta.kind == NodeKind::File { meta.rev_jid } else { Jid(0) })
}

struct Reader {
    cursor: DeltaCursor,
    tree: Tree,
}

impl Reader {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Deleted { path_display } => {
                let path = base::names::path_key(&path_display);
                self.tree.retain(|key, _| *key != path && !key.starts_with(&format!("{path}/")));
            }
            Change::Present(entry) => {
                let path = entry.path_lower();
                for above in parents(&path) {
                    if self.tree.get(above).is_none_or(|there| there.0 == NodeKind::File) {
                        self.tree.insert(above.to_owned(), (NodeKind::Folder, Jid(0)));
                    }
                }
                // What is below stays, also where a file comes.
                self.tree.insert(path, seen(&entry.meta));
            }
        }
    }

    fn read(&mut self, world: &mut World, limit: u32) -> bool {
        let Answer::Delta { changes, cursor, has_more } =
            world.ask(&Query::Delta { cursor: self.cursor.clone(), limit })
        else {
            panic!("a delta")
        };
        self.cursor = cursor;
        changes.into_iter().for_each(|change| self.apply(change));
        has_more
    }
}

fn listing(world: &mut World) -> Tree {
    world.list("", true, 0).iter().map(|entry| (entry.path_lower(), seen(&entry.meta))).collect()
}

fn random_path(prng: &mut Prng) -> String {
    (0..=prng.below(4)).map(|_| format!("/{}", ["a", "b", "C"][prng.below(3) as usize])).collect()
}

/// Puts, deletes, and moves of files; a moved folder's old place is not part of the promise.
fn random_command(prng: &mut Prng, tree: &Tree) -> Command {
    let path = random_path(prng);
    let likely = match tree.len() as u64 {
        0 => path.clone(),
        count => tree.keys().nth(prng.below(count) as usize).expect("drawn below the count").clone(),
    };
    match prng.below(8) {
        0..=2 => put(&path, &[b'x'; 3][..prng.below(4) as usize], PutMode::Overwrite),
        3 => Command::Mkdir(Mkdir { at: At::path(&path), autorename: false }),
        4 if tree.get(&likely).is_some_and(|there| there.0 == NodeKind::File) => {
            Command::Move(Move { source: At::path(&likely), target: At::path(&path), autorename: false })
        }
        _ => Command::Delete(Delete { at: At::path(&likely), parent_rev: None }),
    }
}

#[test]
fn a_client_that_keeps_children_has_no_ghosts() {
    for seed in 0..12 {
        let mut prng = Prng::new(seed);
        let mut world = World::new();
        let mut readers: Vec<Reader> = Vec::new();
        for step in 0..120 {
            let tree = listing(&mut world);
            if step % 20 == 0 {
                readers.push(Reader { cursor: DeltaCursor::at(world.head()), tree: tree.clone() });
            }
            let command = random_command(&mut prng, &tree);
            world.run_as(OWNER, command);
            for reader in &mut readers {
                if prng.one_in(6) {
                    reader.read(&mut world, 1 + prng.below(4) as u32);
                }
            }
        }
        let tree = listing(&mut world);
        for (at, mut reader) in readers.into_iter().enumerate() {
            while reader.read(&mut world, 3) {}
            assert_eq!(reader.tree, tree, "seed {seed}, reader {at}");
        }
    }
}
