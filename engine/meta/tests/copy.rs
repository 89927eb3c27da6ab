//! Copies and attributes: what they share, where they end, and what readers are told.

mod common;

use base::Jid;
use common::*;
use meta::*;

fn copy(source: &str, target: &str) -> Command {
    Command::Copy(Copy { source: At::path(source), target: At::path(target), autorename: false })
}

fn set_mtime(path: &str, mtime: i64) -> Command {
    Command::SetAttr(SetAttr { at: At::path(path), client_mtime_ms: Some(mtime) })
}

#[test]
fn a_copy_has_ids_of_its_own_and_shares_the_content() {
    let mut world = World::new();
    world.put("/d/f", b"x");
    world.put("/d/e/g", b"y");
    let rows = |world: &World, table| world.store.rows(GROUP).iter().filter(|(key, _)| key[0] == table).count();
    let blocks = rows(&world, 6);
    let head = world.head();
    assert!(world.run(copy("/d", "/new/d2")).is_ok());
    assert_eq!(world.head(), Jid(head.0 + 5), "a row for each node, and one for the parent that was made");
    assert_eq!(rows(&world, 6), blocks);
    assert_eq!(
        world.paths(),
        ["/d", "/d/e", "/d/e/g", "/d/f", "/new", "/new/d2", "/new/d2/e", "/new/d2/e/g", "/new/d2/f"]
    );
    let (old, new) = (world.lookup("/d/f").unwrap().meta, world.lookup("/new/d2/f").unwrap().meta);
    assert_ne!(old.node, new.node);
    assert_eq!((old.content_hash, old.size), (new.content_hash, new.size));
    world.put("/d/f", b"changed");
    assert_eq!(world.lookup("/new/d2/f").unwrap().meta, new);
    let history = world.ask(&Query::Revisions { at: At::path("/new/d2/f"), before: Jid(0), limit: 0 });
    assert!(matches!(history, Answer::Revisions { revisions, .. } if revisions.len() == 1));
}

#[test]
fn a_copy_is_refused_into_itself_onto_things_and_beyond_its_bounds() {
    let mut world = World::new();
    world.put("/d/f", b"x");
    world.put("/f", b"y");
    assert_eq!(world.run(copy("/d", "/d/e")), Outcome::IntoItself);
    assert_eq!(world.run(copy("", "/e")), Outcome::IntoItself);
    assert_eq!(world.run(copy("/nothing", "/e")), Outcome::NotFound);
    assert_eq!(world.run(copy("/d", "/f/e")), Outcome::Conflict { file: false, folder: false, file_ancestor: true });
    assert_eq!(world.run(copy("/f", "/F")), Outcome::Conflict { file: true, folder: false, file_ancestor: false });
    assert_eq!(world.run(copy("/f", "/d")), Outcome::Conflict { file: false, folder: true, file_ancestor: false });
    let renamed = Command::Copy(Copy { source: At::path("/d"), target: At::path("/d"), autorename: true });
    assert!(world.run(renamed).is_ok());
    assert!(world.lookup("/d (1)/f").is_some());
    let headers: Vec<_> = (0..1023).map(|_| world.header(OWNER)).collect();
    let fill: Vec<_> = headers
        .into_iter()
        .zip(0u16..)
        .map(|(header, n)| (header, put(&format!("/many/{n}"), &n.to_le_bytes(), PutMode::Add)))
        .collect();
    assert!(world.entry(&fill).iter().all(Outcome::is_ok));
    assert!(world.run(copy("/many", "/many2")).is_ok(), "1024 nodes are one command");
    world.mkdir("/many/one more");
    assert_eq!(world.run(copy("/many", "/many3")), Outcome::TooLarge);
    assert_eq!(world.list("/many2", false, 0).len(), 1023);
}

#[test]
fn an_attribute_is_told_to_readers_and_makes_no_revision() {
    let mut world = World::new();
    world.put("/d/f", b"x");
    let before = world.lookup("/d/f").unwrap().meta;
    let head = world.head();
    let told = world.run(set_mtime("/d/f", 77));
    let after = world.lookup("/d/f").unwrap().meta;
    assert_eq!(told, Outcome::Applied(after.clone()));
    assert_eq!((after.client_mtime_ms, after.rev_jid, after.jid), (77, before.rev_jid, head.next()));
    let Answer::Delta { changes, .. } = world.ask(&Query::Delta { cursor: DeltaCursor::at(head), limit: 0 }) else {
        panic!("there is a change")
    };
    assert!(matches!(&changes[..], [Change::Present(entry)] if entry.meta == after));
    assert_eq!(world.run(set_mtime("/d/f", 77)), Outcome::Unchanged(after.clone()), "and no row");
    assert_eq!(world.run(put("/d/f", b"x", PutMode::Update(before.rev_jid))), Outcome::Unchanged(after));
    assert!(world.run(set_mtime("/d", 5)).is_ok());
    assert_eq!(world.run(set_mtime("", 5)), Outcome::NoAccess);
    assert_eq!(world.run(set_mtime("/gone", 5)), Outcome::NotFound);
    // Told again after the file was deleted, and after it came back.
    let header = world.header(OWNER);
    let delete = Command::Delete(Delete { at: At::path("/d/f"), parent_rev: None });
    let deleted = world.entry(&[(header, delete.clone())]).remove(0);
    assert_eq!(deleted.metadata().map(|meta| meta.client_mtime_ms), Some(77));
    assert!(world.run(Command::Restore(Restore { at: At::path("/d/f"), rev: before.rev_jid })).is_ok());
    assert_eq!(world.entry(&[(header, delete)]), [deleted]);
}
