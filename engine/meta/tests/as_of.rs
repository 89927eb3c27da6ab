//! The version of a lookup: for one path it never runs back, and another answer has another version.

mod common;

use std::collections::BTreeMap;

use base::{Jid, Nsid, Prng};
use common::{GROUP, NSID, World};
use meta::{Answer, At, lookup_as_of};

const PATHS: [&str; 10] = ["", "/a", "/b", "/a/a", "/a/b", "/b/a", "/A/A", "/a/a/a", "/a/b/a", "/b/a/a"];

fn asked(world: &World, path: &str) -> (Answer, Jid) {
    let mut wants = Vec::new();
    lookup_as_of(&world.store, GROUP, NSID, &At::path(path), &mut wants).expect("all rows are in memory")
}

#[test]
fn versions_never_run_back_and_tell_one_answer_from_the_next() {
    for seed in 1..=6 {
        let mut world = World::new();
        let mut random = Prng::new(seed);
        let mut last: BTreeMap<&str, (Answer, Jid)> = BTreeMap::new();
        let mut changes = 0;
        for step in 0..200 {
            let mut path = || PATHS[1 + random.below(PATHS.len() as u64 - 1) as usize];
            let (path, other) = (path(), path());
            // Most of them are refused: nothing is there, or something else is.
            match random.below(5) {
                0 => world.mkdir(path),
                1 => world.delete(path),
                2 => world.put(path, &[step as u8]),
                _ => world.rename(path, other),
            };
            let head = world.head();
            for path in PATHS {
                let now = asked(&world, path);
                assert!(now.1 <= head, "seed {seed}, step {step}: {path} of {:?} before {head:?}", now.1);
                if let Some(before) = last.insert(path, now.clone()) {
                    assert!(now.1 >= before.1, "seed {seed}, step {step}: {path} ran back from {before:?} to {now:?}");
                    assert!(
                        now.1 > before.1 || now.0 == before.0,
                        "seed {seed}, step {step}: {before:?}, then {now:?}"
                    );
                    changes += u32::from(now.0 != before.0);
                }
            }
        }
        assert!(changes > 50, "seed {seed}: only {changes} answers changed");
    }
}

#[test]
fn what_is_not_there_is_as_of_the_head_and_no_namespace_is_as_of_nothing() {
    let mut world = World::new();
    assert!(world.mkdir("/a").is_ok());
    let folder = asked(&world, "/A");
    assert!(matches!(&folder.0, Answer::Entry(entry) if entry.path_display == "/a"));
    assert!(world.mkdir("/b").is_ok());
    assert_eq!(asked(&world, "/a"), folder, "another folder says nothing of this one");
    assert_eq!(asked(&world, "/c"), (Answer::NotFound, world.head()));
    assert_eq!(asked(&world, "/a//c/"), (Answer::Malformed, world.head()));
    let mut wants = Vec::new();
    let none = lookup_as_of(&world.store, GROUP, Nsid(1), &At::path("/a"), &mut wants);
    assert_eq!(none, Ok((Answer::NotFound, Jid(0))));
}
