//! What one command leaves in the rows and the journal, and what readers are told of it.

mod common;

use base::{Acct, BlockHash, Jid, TreeNode};
use common::*;
use meta::*;

const BLOCK: u64 = 4 << 20;
const FOLDER: Outcome = Outcome::Conflict { file: false, folder: true, file_ancestor: false };

#[track_caller]
fn applied(outcome: Outcome) -> Metadata {
    match outcome {
        Outcome::Applied(meta) => meta,
        other => panic!("{other:?}"),
    }
}

#[test]
fn missing_parents_are_made_by_the_same_command() {
    let mut world = World::new();
    let file = applied(world.put("/a/b/c.txt", b"x"));
    assert_eq!(file.jid, Jid(3));
    assert_eq!(world.paths(), ["/a", "/a/b", "/a/b/c.txt"]);
    let Answer::Delta { changes, .. } = world.ask(&Query::Delta { cursor: DeltaCursor::default(), limit: 0 }) else {
        panic!("a delta")
    };
    assert_eq!(changes.len(), 3);
}

#[test]
fn rows_of_one_command_stay_on_one_page() {
    let mut world = World::new();
    world.put("/x", b"x");
    world.put("/a/b/c.txt", b"x");
    let mut page = |since: u64, limit| match world.ask(&Query::Delta { cursor: DeltaCursor::at(Jid(since)), limit }) {
        Answer::Delta { changes, cursor, has_more } => (changes.len(), cursor, has_more),
        other => panic!("{other:?}"),
    };
    assert_eq!(page(0, 2), (1, DeltaCursor::at(Jid(1)), true));
    assert_eq!(page(0, 3), (1, DeltaCursor::at(Jid(1)), true));
    assert_eq!(page(0, 4), (4, DeltaCursor::at(Jid(4)), false));
    // A command that alone exceeds the limit is split.
    assert_eq!(page(1, 2), (2, DeltaCursor::at(Jid(3)), true));
}

#[test]
fn places_may_be_named_by_node() {
    let mut world = World::new();
    let dir = applied(world.mkdir("/dir"));
    let mut commit = small("", b"x", PutMode::Add);
    commit.at = At { node: dir.node, path: "/f".to_owned() };
    let file = applied(world.run(with_blocks(commit, u64::MAX)));
    assert_eq!(world.paths(), ["/dir", "/dir/f"]);
    let mut commit = small("", b"y", PutMode::Update(file.rev_jid));
    commit.at = At::node(file.node);
    assert_eq!(applied(world.run(with_blocks(commit, u64::MAX))).node, file.node);
    world.delete("/dir");
    // A node below a deleted folder is not live, swept or not.
    let by_node = || Command::Delete(Delete { at: At::node(file.node), parent_rev: None });
    assert_eq!(world.run(by_node()), Outcome::NotFound);
    assert!(matches!(world.run_as(Acct(0), Command::Sweep { limit: 0 }), Outcome::Swept { nodes: 1, has_more: false }));
    assert_eq!(world.run(by_node()), Outcome::NotFound);
    let unknown = Command::Delete(Delete { at: At::node(TreeNode(999)), parent_rev: None });
    assert_eq!(world.run(unknown), Outcome::NotFound);
}

#[test]
fn move_and_delete_of_a_folder_touch_as_many_rows_however_much_is_in_it() {
    let rows_of = |files: u64| {
        let mut world = World::new();
        for n in 0..files {
            world.run_as(OWNER, put(&format!("/d/{n}"), b"x", PutMode::Add));
        }
        // Outcomes are left out: how many are kept depends on what was acknowledged.
        let count = |world: &World| world.store.rows(GROUP).iter().filter(|(key, _)| key[0] != 0x11).count();
        let before = count(&world);
        world.rename("/d", "/e");
        let moved = count(&world);
        world.delete("/e");
        (moved - before, count(&world) - moved)
    };
    assert_eq!(rows_of(2), rows_of(60));
}

#[test]
fn a_deleted_file_gets_its_own_node_back_unless_its_folder_went_too() {
    let mut world = World::new();
    let file = applied(world.put("/d/f", b"one"));
    world.delete("/d/f");
    let restore = |path: &str| Command::Restore(Restore { at: At::path(path), rev: file.rev_jid });
    let back = applied(world.run(restore("/d/f")));
    assert_eq!(back.node, file.node);
    world.delete("/d");
    let back = applied(world.run(restore("/d/f")));
    assert_ne!(back.node, file.node);
    assert_eq!(world.paths(), ["/d", "/d/f"]);
    // At a place that it had left by a move it is a new node: the old one lives elsewhere.
    world.rename("/d/f", "/g");
    assert_ne!(applied(world.run(restore("/d/f"))).node, back.node);
    while !matches!(world.run_as(Acct(0), Command::Sweep { limit: 1 }), Outcome::Swept { has_more: false, .. }) {}
    world.check();
}

#[test]
fn a_batch_has_one_outcome_each_and_an_atomic_one_all_or_nothing() {
    let mut world = World::new();
    world.run(Command::BlocksPresent(vec![PresentBlock { hash: hash_of(b"x"), bytes: 1, put_at_ms: u64::MAX }]));
    let parts = |last: &str| {
        vec![
            Command::CommitFile(small("/a/f", b"x", PutMode::Add)),
            Command::Mkdir(Mkdir { at: At::path("/a"), autorename: false }),
            Command::Move(Move { source: At::path("/a/f"), target: At::path("/g"), autorename: false }),
            Command::Delete(Delete { at: At::path(last), parent_rev: None }),
        ]
    };
    let atomic = Command::CommitBatch(CommitBatch { atomic: true, parts: parts("/g") });
    assert_eq!(world.run(atomic), Outcome::Batch { failed: Some(1), outcomes: vec![FOLDER] });
    assert_eq!((world.paths(), world.head()), (Vec::<String>::new(), Jid(0)));
    let loose = Command::CommitBatch(CommitBatch { atomic: false, parts: parts("/nothing") });
    let Outcome::Batch { failed: None, outcomes } = world.run(loose) else { panic!("a batch") };
    assert_eq!(outcomes.iter().map(Outcome::code).collect::<Vec<_>>(), [1, 3, 1, 6]);
    assert_eq!(world.paths(), ["/a", "/g"]);
    // The rows are one command's: a reader sees all of them or none.
    let Answer::Delta { cursor, .. } = world.ask(&Query::Delta { cursor: DeltaCursor::default(), limit: 1 }) else {
        panic!("a delta")
    };
    assert_eq!(cursor, DeltaCursor::at(Jid(2)), "the first command on a page may be split");
    world.mkdir("/z");
    let Answer::Delta { cursor, .. } = world.ask(&Query::Delta { cursor: DeltaCursor::at(Jid(3)), limit: 9 }) else {
        panic!("a delta")
    };
    assert_eq!(cursor, DeltaCursor::at(Jid(4)));
    let mut ok = parts("/g");
    ok.remove(1);
    ok[0] = Command::CommitFile(small("/a/h", b"x", PutMode::Add));
    ok[1] = Command::Move(Move { source: At::path("/a/h"), target: At::path("/i"), autorename: false });
    let atomic = Command::CommitBatch(CommitBatch { atomic: true, parts: ok });
    assert!(world.run(atomic).is_ok());
    assert_eq!(world.paths(), ["/a", "/i", "/z"]);
}

fn blocks_of(count: u32) -> Vec<BlockHash> {
    (0..count).map(|n| hash_of(&n.to_le_bytes())).collect()
}

fn big(path: &str, size: u64, blocks: Vec<BlockHash>) -> CommitFile {
    let content_hash = content_hash(&blocks);
    CommitFile { at: At::path(path), size, content_hash, blocks, ..CommitFile::default() }
}

#[test]
fn blocklists_of_every_size_come_back() {
    let mut world = World::new();
    for count in [1u32, 4, 5, 1024] {
        let path = format!("/f{count}");
        let size = (u64::from(count) - 1) * BLOCK + 9;
        let mut blocks = blocks_of(count);
        *blocks.last_mut().unwrap() = hash_of(b"the last one");
        let file = applied(world.run_as(OWNER, with_blocks(big(&path, size, blocks.clone()), u64::MAX)));
        let moved = applied(world.rename(&path, &format!("{path} moved")));
        for what in [What::Rev(file.rev_jid), What::Rev(moved.rev_jid), What::At(At::node(file.node))] {
            let Answer::Blocklist { entry, total, blocks: told, .. } =
                world.ask(&Query::Blocklist { what, first: count / 2 })
            else {
                panic!("a blocklist")
            };
            assert_eq!((entry.meta.size, total), (size, count));
            let wanted: Vec<(BlockHash, u32)> = (count / 2..count)
                .map(|n| (blocks[n as usize], if n + 1 == count { 9 } else { BLOCK as u32 }))
                .collect();
            assert_eq!(told, wanted);
        }
    }
    assert_eq!(world.ask(&Query::Blocklist { what: What::Rev(Jid(99)), first: 0 }), Answer::NotFound);
    world.mkdir("/d");
    assert_eq!(world.ask(&Query::Blocklist { what: What::At(At::path("/d")), first: 0 }), Answer::NotFile);
}

#[test]
fn a_lookup_names_by_path_node_and_rev() {
    let mut world = World::new();
    let file = applied(world.put("/Dir/File", b"x"));
    world.put("/Dir/File", b"y");
    world.rename("/Dir", "/Other");
    let mut lookup = |what| match world.ask(&Query::Lookup(what)) {
        Answer::Entry(entry) => Some(entry.path_display),
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(lookup(What::At(At::node(file.node))).as_deref(), Some("/Other/File"));
    assert_eq!(lookup(What::Rev(file.rev_jid)).as_deref(), Some("/Other/File"));
    assert_eq!(lookup(What::At(At::path(""))).as_deref(), Some(""));
    assert_eq!(lookup(What::Rev(Jid(1))), None);
    assert_eq!(lookup(What::Rev(Jid(0))), None);
    assert_eq!(lookup(What::At(At::path("/Dir/File"))), None);
    let list = Query::ListPage { at: At::path("/other/file"), recursive: false, position: vec![], limit: 0 };
    assert_eq!(world.ask(&list), Answer::NotFolder);
}

#[test]
fn a_cursor_of_another_journal_is_reset() {
    let mut world = World::new();
    world.put("/f", b"x");
    let mut ask = |cursor| world.ask(&Query::Delta { cursor, limit: 0 });
    assert_eq!(ask(DeltaCursor::at(Jid(2))), Answer::Reset);
    let expansion = Some(Expansion { is_deleted: false, root: TreeNode(1), position: vec![0xff] });
    assert_eq!(ask(DeltaCursor { since: Jid(1), expansion: expansion.clone() }), Answer::Reset);
    assert_eq!(ask(DeltaCursor { since: Jid(0), expansion }), Answer::Malformed);
}

#[test]
fn a_position_that_no_page_gave_is_malformed_or_goes_on_somewhere() {
    let mut world = World::new();
    world.put("/a/b", b"x");
    world.rename("/a", "/c");
    let list = |position: Vec<u8>| Query::ListPage { at: At::path(""), recursive: true, position, limit: 1 };
    for position in [vec![0xff], vec![b'a'; 961], [b"a/".repeat(13_000), b"a".to_vec()].concat()] {
        assert_eq!(world.ask(&list(position.clone())), Answer::Malformed);
        let expansion = Some(Expansion { is_deleted: false, root: TreeNode(2), position });
        let cursor = DeltaCursor { since: Jid(2), expansion };
        assert_eq!(world.ask(&Query::Delta { cursor, limit: 1 }), Answer::Malformed);
    }
    for position in ["/", "//", "b//", "c/b/below/a/file", "zz"] {
        assert!(matches!(world.ask(&list(position.into())), Answer::Page { .. }), "{position}");
    }
}
