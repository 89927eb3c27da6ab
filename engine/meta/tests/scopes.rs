//! Listings with what was deleted, and changes of one folder.

mod common;

use base::{Acct, Jid, TreeNode};
use common::*;
use meta::scope::path_hash;
use meta::*;

/// `+` what is there, `-` what was, page by page.
fn all(world: &mut World, path: &str, recursive: bool, limit: u32) -> Vec<String> {
    let (mut told, mut position) = (Vec::new(), Vec::new());
    loop {
        let at = At::path(path);
        let Answer::All { changes, next, .. } = world.ask(&Query::ListAll { at, recursive, position, limit }) else {
            panic!("{path} is a folder")
        };
        assert!(limit == 0 || changes.len() <= limit as usize);
        told.extend(changes.into_iter().map(|change| text_of(&change)));
        match next {
            Some(next) => position = next,
            None => return told,
        }
    }
}

fn text_of(change: &Change) -> String {
    match change {
        Change::Present(entry) => format!("+{}", entry.path_display),
        Change::Deleted { path_display } => format!("-{path_display}"),
    }
}

#[test]
fn a_listing_with_deleted_entries_tells_every_name_that_was_vacated() {
    let mut world = World::new();
    for path in ["/A/one", "/A/Sub/two", "/A/Sub/three", "/b", "/c/d"] {
        assert!(world.put(path, b"x").is_ok());
    }
    assert!(world.delete("/a/sub/two").is_ok());
    assert!(world.rename("/c", "/A/moved").is_ok());
    assert!(world.delete("/A/Sub").is_ok());
    assert!(world.delete("/b").is_ok());
    let wanted =
        ["+/A", "+/A/moved", "+/A/moved/d", "+/A/one", "-/A/Sub", "-/A/Sub/three", "-/A/Sub/two", "-/b", "-/c"];
    for limit in [0, 1, 2, 3] {
        assert_eq!(all(&mut world, "", true, limit), wanted, "pages of {limit}");
    }
    assert_eq!(all(&mut world, "", false, 0), ["+/A", "-/b", "-/c"]);
    // A sweep marks what is below, which changes nothing here; nor is a folder that was moved and then deleted walked twice.
    assert!(matches!(world.run_as(Acct(0), Command::Sweep { limit: 0 }), Outcome::Swept { .. }));
    assert_eq!(all(&mut world, "", true, 2), wanted);
    assert!(world.delete("/A").is_ok());
    assert!(matches!(world.run_as(Acct(0), Command::Sweep { limit: 0 }), Outcome::Swept { .. }));
    let gone: Vec<String> = wanted.iter().map(|text| text.replace('+', "-")).collect();
    assert_eq!(all(&mut world, "", true, 2), gone);
    // What was trimmed is forgotten.
    let floor = world.head();
    for command in [Command::JournalTrim { floor }, Command::Purge { limit: 0 }] {
        while matches!(world.run_as(Acct(0), command.clone()), Outcome::Swept { has_more: true, .. }) {}
    }
    assert_eq!(all(&mut world, "", true, 0), Vec::<String>::new());
    let list = |at| Query::ListAll { at, recursive: true, position: Vec::new(), limit: 0 };
    assert!(world.put("/f", b"x").is_ok());
    assert_eq!(world.ask(&list(At::path("/f"))), Answer::NotFolder);
    assert_eq!(world.ask(&list(At::path("/none"))), Answer::NotFound);
}

#[test]
fn a_page_from_a_cold_store_takes_a_few_rounds_however_many_folders_are_in_it() {
    let mut world = World::new();
    for folder in 0..40 {
        for file in 0..4 {
            assert!(world.put(&format!("/a/{folder}/in/{file}"), b"x").is_ok());
        }
    }
    let pages = |world: &mut World, limit| {
        let (mut told, mut position, mut rounds) = (Vec::new(), Vec::new(), 0);
        loop {
            let before = world.store.prefetches();
            let page = Query::ListPage { at: At::path(""), recursive: true, position, limit };
            let Answer::Page { entries, next, .. } = world.ask(&page) else { panic!("the root is a folder") };
            rounds = rounds.max(world.store.prefetches() - before);
            told.extend(entries.into_iter().map(|entry| entry.path_display));
            match next {
                Some(next) => position = next,
                None => return (told, rounds),
            }
        }
    };
    let warm = pages(&mut world, 0);
    assert_eq!((warm.0.len(), warm.1), (1 + 40 * 6, 0));
    world.store.checkpoint();
    world.store.set_cold(true);
    for limit in [0, 100, 7] {
        let (told, rounds) = pages(&mut world, limit);
        assert_eq!(told, warm.0, "pages of {limit}");
        assert!(rounds <= 16, "a page of {limit} took {rounds} rounds");
    }
}

#[test]
fn the_changes_of_a_folder_are_those_below_it_and_end_when_it_moves() {
    let mut world = World::new();
    for path in ["/s/in/f", "/s/g", "/other/h"] {
        assert!(world.put(path, b"x").is_ok());
    }
    let folder = world.lookup("/s").expect("it is there").meta.node;
    let since = world.head();
    assert!(world.put("/other/i", b"x").is_ok());
    assert!(world.rename("/other", "/s/in/other").is_ok());
    assert!(world.delete("/s/g").is_ok());
    let scope = Scope { folder, path_hash: path_hash("/S"), is_by_id: false, is_recursive: true };
    let ask = |world: &mut World, scope| {
        let cursor = DeltaCursor::at(since);
        world.ask(&Query::DeltaIn(Box::new(DeltaIn { scope, cursor, limit: 0, stops_at_mounts: false })))
    };
    let told = |answer| match answer {
        Answer::Delta { changes, .. } => changes.iter().map(text_of).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let in_all = ["+/s/in/other", "+/s/in/other/h", "+/s/in/other/i", "-/s/g"];
    let found = told(ask(&mut world, scope));
    assert!(in_all.iter().all(|text| found.contains(&(*text).to_owned())), "{found:?}");
    assert!(found.iter().all(|text| text[1..].starts_with("/s/")), "{found:?}");
    let flat = Scope { is_recursive: false, ..scope };
    assert_eq!(told(ask(&mut world, flat)), ["-/s/g"]);
    // The root, and what is no folder.
    let root = Scope { is_recursive: false, ..Scope::whole() };
    assert_eq!(told(ask(&mut world, root)), ["-/other"]);
    let file = world.lookup("/s/in/f").expect("it is there").meta.node;
    assert_eq!(ask(&mut world, Scope { folder: file, ..scope }), Answer::NotFolder);
    assert_eq!(ask(&mut world, Scope { folder: TreeNode(999), ..scope }), Answer::NotFound);
    // In another case it is where it was; moved, only who named it by id lists again.
    assert!(world.rename("/s", "/S").is_ok());
    assert!(matches!(ask(&mut world, scope), Answer::Delta { .. }));
    assert!(world.rename("/S", "/t").is_ok());
    assert_eq!(ask(&mut world, scope), Answer::NotFound);
    assert_eq!(ask(&mut world, Scope { is_by_id: true, ..scope }), Answer::Reset);
    assert!(world.rename("/t", "/s").is_ok());
    assert!(matches!(ask(&mut world, scope), Answer::Delta { .. }));
    assert!(world.delete("/s").is_ok());
    assert_eq!(ask(&mut world, Scope { is_by_id: true, ..scope }), Answer::NotFound);
    assert!(world.head() > Jid(0));
}
