//! Every rule of docs/design/metadata.md that one command or query shows: conflicts, refusals, rights, paths, bounds.

mod common;

use base::{Acct, BlockHash, GroupId, Jid, NodeId, NodeUuid, Nsid, Prng, Sequence, SessionId, TreeNode};
use common::*;
use meta::*;

const LABEL: &str = "Ada's conflicted copy";
const STRANGER: Acct = Acct(6);
const OTHER: Nsid = Nsid(10_000_000_002);
const FILE: Outcome = Outcome::Conflict { file: true, folder: false, file_ancestor: false };
const FOLDER: Outcome = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
const ANCESTOR: Outcome = Outcome::Conflict { file: false, folder: false, file_ancestor: true };

fn meta_of(outcome: &Outcome) -> &Metadata {
    outcome.metadata().unwrap_or_else(|| panic!("no metadata: {outcome:?}"))
}

fn rev_of(outcome: &Outcome) -> Jid {
    meta_of(outcome).rev_jid
}

fn run_in(world: &mut World, nsid: Nsid, acct: Acct, command: Command) -> Outcome {
    let header = CommandHeader { nsid, ..world.header(acct) };
    world.entry(&[(header, command)]).remove(0)
}

fn mkdir(at: At, autorename: bool) -> Command {
    Command::Mkdir(Mkdir { at, autorename })
}

fn moved(source: &str, target: &str, autorename: bool) -> Command {
    Command::Move(Move { source: At::path(source), target: At::path(target), autorename })
}

// Conflicts.

/// What is at the target, the mode, and what comes of it: plain, strict, autorename, both. W written there, U unchanged,
/// F conflict with a file, D with a folder, A with a file on the way, R written under another name.
const CONFLICTS: [(&str, &str, &str); 20] = [
    ("nothing", "add", "WWWW"),
    ("nothing", "overwrite", "WWWW"),
    ("nothing", "current", "WFWR"),
    ("nothing", "stale", "WFWR"),
    ("folder", "add", "DDRR"),
    ("folder", "overwrite", "DDRR"),
    ("folder", "current", "DDRR"),
    ("folder", "stale", "DDRR"),
    ("same", "add", "UFUR"),
    ("same", "overwrite", "UWUW"),
    ("same", "current", "UWUW"),
    ("same", "stale", "UFUR"),
    ("other", "add", "FFRR"),
    ("other", "overwrite", "WWWW"),
    ("other", "current", "WWWW"),
    ("other", "stale", "FFRR"),
    ("ancestor", "add", "AAAA"),
    ("ancestor", "overwrite", "AAAA"),
    ("ancestor", "current", "AAAA"),
    ("ancestor", "stale", "AAAA"),
];

#[test]
fn every_cell_of_the_conflict_table_holds() {
    for (there, mode, cells) in CONFLICTS {
        for (cell, bits) in cells.chars().zip(0u8..) {
            check_cell(there, mode, cell, bits & 1 != 0, bits & 2 != 0);
        }
    }
}

fn check_cell(there: &str, mode: &str, cell: char, strict: bool, autorename: bool) {
    let mut world = World::new();
    let (mut current, mut stale) = (Jid(3), Jid(0));
    match there {
        "folder" => current = rev_of(&world.mkdir("/d/f.ext")),
        "same" | "other" => {
            stale = rev_of(&world.put("/d/f.ext", b"first"));
            current = rev_of(&world.put("/d/f.ext", if there == "same" { b"new" } else { b"old" }));
        }
        "ancestor" => drop(world.put("/d", b"a file")),
        _ => drop(world.mkdir("/d")),
    }
    let (head, before) = (world.head(), world.lookup("/d/f.ext"));
    let mode_of = match mode {
        "add" => PutMode::Add,
        "overwrite" => PutMode::Overwrite,
        "current" => PutMode::Update(current),
        _ => PutMode::Update(stale),
    };
    let commit = CommitFile { strict, autorename, label: LABEL.to_owned(), ..small("/d/f.ext", b"new", mode_of) };
    let outcome = world.run(with_blocks(commit, u64::MAX));
    let what = format!("{there}, {mode}, strict {strict}, autorename {autorename}: {outcome:?}");
    match cell {
        'F' => assert_eq!(outcome, FILE, "{what}"),
        'D' => assert_eq!(outcome, FOLDER, "{what}"),
        'A' => assert_eq!(outcome, ANCESTOR, "{what}"),
        'U' => {
            assert!(matches!(outcome, Outcome::Unchanged(_)), "{what}");
            assert_eq!(rev_of(&outcome), current, "{what}");
        }
        'W' => {
            assert!(matches!(outcome, Outcome::Applied(_)), "{what}");
            assert_eq!(meta_of(&outcome).name, "f.ext", "{what}");
            assert_eq!(world.lookup("/d/f.ext").unwrap().meta, *meta_of(&outcome), "{what}");
            let kept = before.as_ref().map(|entry| entry.meta.node);
            assert!(kept.is_none_or(|node| node == meta_of(&outcome).node), "the node id stays: {what}");
        }
        _ => {
            let name = if mode_of == PutMode::Update(current) || mode_of == PutMode::Update(stale) {
                format!("f ({LABEL}).ext")
            } else {
                "f (1).ext".to_owned()
            };
            assert!(matches!(outcome, Outcome::Applied(_)), "{what}");
            assert_eq!(meta_of(&outcome).name, name, "{what}");
            assert_eq!(world.lookup(&format!("/d/{name}")).unwrap().meta, *meta_of(&outcome), "{what}");
            assert_eq!(world.lookup("/d/f.ext"), before, "what was there stays: {what}");
        }
    }
    let is_written = matches!(cell, 'W' | 'R');
    assert_eq!(world.head().0 - head.0, u64::from(is_written), "rows of the journal: {what}");
    assert!(is_written || world.lookup("/d/f.ext") == before, "nothing changed: {what}");
}

#[test]
fn other_names_count_up_and_go_before_the_last_extension() {
    let cases = [("a.tar.gz", "a.tar (1).gz", "a.tar (2).gz"), (".bashrc", ".bashrc (1)", ".bashrc (2)")];
    for (name, first, second) in cases {
        let mut world = World::new();
        world.put(&format!("/{name}"), b"0");
        for (content, wanted) in [(b"1", first), (b"2", second)] {
            let commit = CommitFile { autorename: true, ..small(&format!("/{name}"), content, PutMode::Add) };
            assert_eq!(meta_of(&world.run(with_blocks(commit, u64::MAX))).name, wanted);
        }
    }
    let mut world = World::new();
    let stale = rev_of(&world.put("/a.txt", b"0"));
    world.put("/a.txt", b"1");
    let names = [format!("a ({LABEL}).txt"), format!("a ({LABEL} 2).txt")];
    for (content, wanted) in [b"2", b"3"].into_iter().zip(names) {
        let mode = PutMode::Update(stale);
        let commit = CommitFile { autorename: true, label: LABEL.to_owned(), ..small("/a.txt", content, mode) };
        assert_eq!(meta_of(&world.run(with_blocks(commit, u64::MAX))).name, wanted);
    }
    // A label that makes no name is refused, not cut.
    let commit =
        CommitFile { autorename: true, label: "a/b".to_owned(), ..small("/a.txt", b"4", PutMode::Update(stale)) };
    assert_eq!(world.run(with_blocks(commit, u64::MAX)), Outcome::Malformed);
}

#[test]
fn a_folder_is_made_with_its_parents_and_never_over_something() {
    let mut world = World::new();
    assert_eq!(meta_of(&world.mkdir("/a/b/c")).name, "c");
    assert_eq!(world.paths(), ["/a", "/a/b", "/a/b/c"]);
    world.put("/f", b"x");
    assert_eq!(world.mkdir("/A/B"), FOLDER);
    assert_eq!(world.mkdir("/f"), FILE);
    assert_eq!(world.mkdir("/f/g"), ANCESTOR);
    assert_eq!(world.mkdir(""), FOLDER);
    assert_eq!(meta_of(&world.run(mkdir(At::path("/f"), true))).name, "f (1)");
    assert_eq!(meta_of(&world.run(mkdir(At::path("/a"), true))).name, "a (1)");
    assert_eq!(world.run(mkdir(At::path("/f/g"), true)), ANCESTOR);
}

#[test]
fn an_overwrite_takes_the_casing_of_the_new_name() {
    let mut world = World::new();
    let node = meta_of(&world.put("/Read.me", b"1")).node;
    let over = world.put("/READ.ME", b"2");
    assert_eq!((meta_of(&over).node, &meta_of(&over).name[..]), (node, "READ.ME"));
    assert_eq!(world.paths(), ["/READ.ME"]);
}

// Moves and deletes.

#[test]
fn moves_are_refused_where_they_make_no_tree() {
    let mut world = World::new();
    world.put("/a/b/f", b"1");
    world.put("/g", b"2");
    assert_eq!(world.rename("/a", "/a/b/c"), Outcome::IntoItself);
    assert_eq!(world.rename("/a", "/A/new/c"), Outcome::IntoItself);
    assert_eq!(world.rename("", "/c"), Outcome::IntoItself);
    assert_eq!(world.rename("/a", ""), FOLDER);
    assert_eq!(world.rename("/g", "/a"), FOLDER);
    assert_eq!(world.rename("/a", "/g"), FILE);
    assert_eq!(world.rename("/a", "/g/x"), ANCESTOR);
    assert_eq!(world.rename("/g", "/g"), FILE);
    assert_eq!(world.rename("/a/b", "/a/b"), FOLDER);
    assert_eq!(world.rename("/none", "/c"), Outcome::NotFound);
    assert_eq!(world.rename("/g/x", "/c"), Outcome::NotFound);
    assert_eq!(world.paths(), ["/a", "/a/b", "/a/b/f", "/g"]);
    assert_eq!(meta_of(&world.run(moved("/g", "/a", true))).name, "a (1)");
}

#[test]
fn a_move_makes_parents_keeps_the_node_and_gives_a_file_a_new_rev() {
    let mut world = World::new();
    let before = meta_of(&world.put("/f", b"1")).clone();
    let after = meta_of(&world.rename("/f", "/x/y/f2")).clone();
    assert_eq!((after.node, after.content_hash, &after.name[..]), (before.node, before.content_hash, "f2"));
    assert!(after.rev_jid > before.rev_jid);
    let folder = world.rename("/x", "/z");
    assert_eq!(world.paths(), ["/z", "/z/y", "/z/y/f2"]);
    assert_eq!(world.lookup("/z/y/f2").unwrap().meta.rev_jid, after.rev_jid, "below a moved folder revs stay");
    assert_eq!(meta_of(&folder).kind, NodeKind::Folder);
}

#[test]
fn a_rename_may_change_only_the_casing() {
    let mut world = World::new();
    world.put("/a/f", b"1");
    let node = meta_of(&world.rename("/a", "/A")).node;
    assert_eq!(meta_of(&world.rename("/A/f", "/a/F")).name, "F");
    assert_eq!(world.paths(), ["/A", "/A/F"]);
    assert_eq!(world.lookup("/a").unwrap().meta.node, node);
}

#[test]
fn a_delete_needs_what_it_names() {
    let mut world = World::new();
    let old = rev_of(&world.put("/d/f", b"1"));
    let new = rev_of(&world.put("/d/f", b"2"));
    let folder = rev_of(&Outcome::Applied(world.lookup("/d").unwrap().meta));
    let delete = |path: &str, rev| Command::Delete(Delete { at: At::path(path), parent_rev: Some(rev) });
    assert_eq!(world.run(delete("/d/f", old)), Outcome::RevMismatch);
    assert_eq!(world.run(delete("/d", folder)), Outcome::RevMismatch);
    assert_eq!(world.run(delete("/none", new)), Outcome::NotFound);
    assert_eq!(world.delete("/none"), Outcome::NotFound);
    assert_eq!(world.delete("/d/f/x"), Outcome::NotFound);
    assert_eq!(world.delete(""), Outcome::NoAccess);
    assert!(world.run(delete("/d/f", new)).is_ok());
    assert_eq!(world.delete("/d/f"), Outcome::NotFound);
    assert_eq!(world.paths(), ["/d"]);
}

#[test]
fn a_node_in_a_deleted_folder_is_not_found_by_its_id() {
    let mut world = World::new();
    let file = meta_of(&world.put("/d/f", b"1")).node;
    let folder = world.lookup("/d").unwrap().meta.node;
    world.delete("/d");
    let by_id = Command::Delete(Delete { at: At::node(file), parent_rev: None });
    assert_eq!(world.run(by_id), Outcome::NotFound);
    assert_eq!(world.run(mkdir(At { node: folder, path: "/x".to_owned() }, false)), Outcome::NotFound);
    assert_eq!(world.ask(&Query::Lookup(What::At(At::node(file)))), Answer::NotFound);
    assert_eq!(world.ask(&Query::Lookup(What::At(At::node(TreeNode(999))))), Answer::NotFound);
}

// Blocks, content, quota.

fn present(hashes: &[BlockHash], bytes: u32, put_at_ms: u64) -> Command {
    Command::BlocksPresent(hashes.iter().map(|hash| PresentBlock { hash: *hash, bytes, put_at_ms }).collect())
}

/// A file of so many whole blocks and a tail of one byte.
fn long(path: &str, whole: u8) -> CommitFile {
    let blocks: Vec<BlockHash> = (0..=whole).map(|n| hash_of(&[n, u8::from(n == whole)])).collect();
    let size = u64::from(whole) * (4 << 20) + 1;
    CommitFile { at: At::path(path), size, content_hash: content_hash(&blocks), blocks, ..CommitFile::default() }
}

fn init(world: &mut World, nsid: Nsid, owner: Acct, grant_bytes: u64) {
    let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner, grant_bytes };
    assert_eq!(run_in(world, nsid, Acct(0), init), Outcome::Done);
}

#[test]
fn blocks_are_known_only_where_they_were_introduced() {
    let mut world = World::new();
    init(&mut world, OTHER, STRANGER, 1 << 40);
    let commit = long("/f", 2);
    assert_eq!(world.run(Command::CommitFile(commit.clone())), Outcome::NeedBlocks(vec![0, 1, 2]));
    assert_eq!(run_in(&mut world, OTHER, STRANGER, with_blocks(commit.clone(), u64::MAX)).code(), 1);
    assert_eq!(world.run(Command::CommitFile(commit.clone())), Outcome::NeedBlocks(vec![0, 1, 2]));
    assert_eq!(world.run(present(&commit.blocks[1..2], 4 << 20, u64::MAX)), Outcome::Done);
    assert_eq!(world.run(Command::CommitFile(commit.clone())), Outcome::NeedBlocks(vec![0, 2]));
    assert_eq!(world.ask(&Query::HasBlocks(commit.blocks.clone())), Answer::HasBlocks(vec![false, true, false]));
    assert_eq!(world.run(present(&commit.blocks[..1], 4 << 20, u64::MAX)), Outcome::Done);
    assert_eq!(world.run(present(&commit.blocks[2..], 1, u64::MAX)), Outcome::Done);
    assert!(world.run(Command::CommitFile(commit)).is_ok());
}

#[test]
fn an_old_put_of_a_block_is_not_believed() {
    let mut world = World::new();
    let hour = 60 * 60 * 1000;
    let (old, new) = (hash_of(b"old"), hash_of(b"new"));
    let at = world.stamp_ms + 1 - hour;
    assert_eq!(world.run(present(&[old], 3, at - 1)), Outcome::NeedBlocks(vec![0]));
    world.stamp_ms -= 1;
    assert_eq!(world.run(present(&[new], 3, at)), Outcome::Done);
    assert_eq!(world.ask(&Query::HasBlocks(vec![old, new])), Answer::HasBlocks(vec![false, true]));
    for bytes in [0, (4 << 20) + 1] {
        assert_eq!(world.run(present(&[old], bytes, u64::MAX)), Outcome::Malformed);
    }
}

#[test]
fn what_was_stored_stays_known_when_its_put_is_refused() {
    let mut world = World::new();
    world.mkdir("/d");
    assert_eq!(world.put("/d", b"x"), FOLDER);
    assert_eq!(world.ask(&Query::HasBlocks(vec![hash_of(b"x")])), Answer::HasBlocks(vec![true]));
    assert!(world.run(Command::CommitFile(small("/e", b"x", PutMode::Add))).is_ok());
    let mut both = StoreAndCommit { commit: small("/g", b"y", PutMode::Add), ..StoreAndCommit::default() };
    both.present.push(PresentPart { position: 1, bytes: 1, put_at_ms: u64::MAX });
    assert_eq!(world.run(Command::StoreAndCommit(both)), Outcome::Malformed);
}

#[test]
fn a_blocklist_that_does_not_fit_its_size_or_hash_is_refused() {
    let mut world = World::new();
    let commit = long("/f", 1);
    assert!(world.run(with_blocks(commit.clone(), u64::MAX)).is_ok());
    let breaks: [fn(&mut CommitFile); 7] = [
        |commit| commit.size += 1,
        |commit| commit.size -= 1,
        |commit| commit.size = 0,
        |commit| commit.size = u64::MAX,
        |commit| commit.content_hash[0] ^= 1,
        |commit| commit.blocks.truncate(1),
        |commit| commit.blocks.swap(0, 1),
    ];
    for (broken, at) in breaks.into_iter().zip(0..) {
        let mut commit = CommitFile { at: At::path("/g"), ..commit.clone() };
        broken(&mut commit);
        assert_eq!(world.run(Command::CommitFile(commit)), Outcome::BadContentHash, "break {at}");
    }
    // The hash fits, the lengths of the blocks do not.
    let mut swapped = CommitFile { at: At::path("/g"), ..commit };
    swapped.blocks.swap(0, 1);
    swapped.content_hash = content_hash(&swapped.blocks);
    assert_eq!(world.run(Command::CommitFile(swapped)), Outcome::BadContentHash);
    assert!(world.put("/empty", b"").is_ok());
    assert_eq!(world.paths(), ["/empty", "/f"]);
}

#[test]
fn references_of_blocks_are_counted() {
    let mut world = World::new();
    let commit = long("/f", 1);
    let refs = |world: &World, hash: &BlockHash| {
        let key = [&[0x06][..], &NSID.0.to_be_bytes(), &hash.0].concat();
        let rows = world.store.rows(GROUP);
        let value = &rows.iter().find(|row| row.0 == key).expect("the block is known").1;
        (u64::from_le_bytes(value[8..16].try_into().unwrap()), u64::from_le_bytes(value[16..24].try_into().unwrap()))
    };
    world.run(present(&commit.blocks[..1], 4 << 20, u64::MAX));
    assert_eq!(refs(&world, &commit.blocks[0]), (0, world.stamp_ms), "at zero since now");
    world.run(with_blocks(commit.clone(), u64::MAX));
    assert_eq!(refs(&world, &commit.blocks[0]), (1, 0));
    let mut twice = CommitFile { at: At::path("/g"), size: 2 * (4 << 20), ..commit.clone() };
    twice.blocks = vec![commit.blocks[0]; 2];
    twice.content_hash = content_hash(&twice.blocks);
    assert!(world.run(Command::CommitFile(twice)).is_ok());
    assert_eq!(refs(&world, &commit.blocks[0]), (3, 0), "one for each position");
    world.rename("/f", "/h");
    assert_eq!(refs(&world, &commit.blocks[0]), (4, 0), "the row of a move holds the content too");
    world.delete("/h");
    assert_eq!(refs(&world, &commit.blocks[0]), (4, 0), "revisions of a deleted file are held");
}

#[test]
fn an_earlier_revision_is_put_again() {
    let mut world = World::new();
    let first = meta_of(&world.put("/d/f", b"1")).clone();
    let second = meta_of(&world.put("/d/f", b"2")).clone();
    let restore = |path: &str, rev| Command::Restore(Restore { at: At::path(path), rev });
    assert!(matches!(world.run(restore("/d/f", second.rev_jid)), Outcome::Unchanged(_)));
    let third = meta_of(&world.run(restore("/d/f", first.rev_jid))).clone();
    assert_eq!((third.node, third.content_hash), (first.node, first.content_hash));
    assert!(third.rev_jid > second.rev_jid);
    world.delete("/d/f");
    let back = meta_of(&world.run(restore("/d/f", second.rev_jid))).clone();
    assert_eq!((back.node, back.content_hash), (first.node, second.content_hash), "its own node comes back");
    world.delete("/d");
    let new = meta_of(&world.run(restore("/d/f", second.rev_jid))).clone();
    assert_ne!(new.node, first.node, "out of a deleted folder comes a new node");
    assert_eq!(world.paths(), ["/d", "/d/f"]);
    assert_eq!(world.run(restore("/d/f", Jid(0))), Outcome::NotFound);
    assert_eq!(world.run(restore("/d/f", Jid(1 << 40))), Outcome::NotFound);
    assert_eq!(world.run(restore("/d/f", Jid(1))), Outcome::InvalidRev, "row 1 made the folder");
    assert_eq!(world.run(restore("/d", second.rev_jid)), FOLDER);
    assert_eq!(world.run(restore("/d/f/g", second.rev_jid)), ANCESTOR);
}

#[test]
fn the_grant_bounds_the_live_bytes() {
    let mut world = World::new();
    init(&mut world, OTHER, STRANGER, 10);
    let mut try_put =
        |path: &str, content: &[u8]| run_in(&mut world, OTHER, STRANGER, put(path, content, PutMode::Overwrite));
    assert!(try_put("/d/a", b"12345678").is_ok());
    assert_eq!(try_put("/b", b"123"), Outcome::Quota { short_bytes: 1 });
    assert!(try_put("/b", b"12").is_ok());
    assert_eq!(try_put("/b", b"123456"), Outcome::Quota { short_bytes: 4 }, "the bytes replaced do not count");
    assert!(try_put("/empty", b"").is_ok());
    let delete = Command::Delete(Delete { at: At::path("/d"), parent_rev: None });
    assert!(run_in(&mut world, OTHER, STRANGER, delete).is_ok());
    let more = put("/b", b"123456", PutMode::Overwrite);
    let busy = run_in(&mut world, OTHER, STRANGER, more.clone());
    assert!(matches!(busy, Outcome::Busy { .. }), "a sweep is pending: {busy:?}");
    let swept = run_in(&mut world, OTHER, Acct(0), Command::Sweep { limit: 0 });
    assert_eq!(swept, Outcome::Swept { nodes: 1, has_more: false });
    assert!(run_in(&mut world, OTHER, STRANGER, more).is_ok());
}

#[test]
fn a_sweep_lowers_the_counters_of_a_deleted_folder_step_by_step() {
    let mut world = World::new();
    for n in 0..25 {
        world.put(&format!("/d/{}/{n}", n % 3), b"four");
    }
    world.put("/stays", b"1");
    let usage = |world: &mut World| match world.ask(&Query::SpaceUsage) {
        Answer::SpaceUsage { live_files, live_bytes, is_sweeping, grant_bytes } => {
            assert_eq!(grant_bytes, 1 << 40);
            (live_files, live_bytes, is_sweeping)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(usage(&mut world), (26, 101, false));
    world.delete("/d");
    assert_eq!(world.applied.sweeps(), [NSID]);
    assert_eq!(usage(&mut world), (26, 101, true));
    assert_eq!(pending_sweep(&world.store, GROUP, &mut Vec::new()), Ok(Some(NSID)));
    assert_eq!(world.run(Command::Sweep { limit: 1 }), Outcome::NoAccess, "the system sweeps");
    let mut nodes_in_all = 0;
    for _ in 0..20 {
        let Outcome::Swept { nodes, has_more } = world.run_as(Acct(0), Command::Sweep { limit: 4 }) else {
            panic!("a sweep says how far it came")
        };
        world.check();
        assert!(nodes <= 4);
        nodes_in_all += nodes;
        if !has_more {
            break;
        }
    }
    assert_eq!(nodes_in_all, 28);
    assert_eq!(usage(&mut world), (1, 1, false));
    assert_eq!(pending_sweep(&world.store, GROUP, &mut Vec::new()), Ok(None));
}

// Rights.

#[test]
fn a_stranger_gets_nothing_by_command_or_query() {
    let mut world = World::new();
    let file = meta_of(&world.put("/f", b"1")).clone();
    let at = At::path("/f");
    let commands = [
        put("/g", b"1", PutMode::Add),
        mkdir(At::path("/d"), false),
        Command::Delete(Delete { at: At::node(file.node), parent_rev: None }),
        moved("/f", "/g", false),
        Command::Restore(Restore { at: at.clone(), rev: file.rev_jid }),
        present(&[hash_of(b"1")], 1, u64::MAX),
        Command::CommitFile(small("/g", b"1", PutMode::Add)),
        Command::CommitBatch(CommitBatch { atomic: false, parts: vec![mkdir(At::path("/d"), false)] }),
        Command::Sweep { limit: 1 },
        Command::NamespaceInit { kind: NamespaceKind::Root, owner: STRANGER, grant_bytes: 1 },
        Command::AccountPut { name: "eve".to_owned() },
    ];
    let before = world.store.rows(GROUP).into_iter().filter(|row| row.0[0] < 0x10).collect::<Vec<_>>();
    for command in commands {
        assert_eq!(world.run_as(STRANGER, command.clone()), Outcome::NoAccess, "{command:?}");
        let nowhere = run_in(&mut world, Nsid(1_234_567_890), STRANGER, command);
        assert_eq!(nowhere, Outcome::NoAccess, "what is not there answers the same");
    }
    let queries = [
        Query::Lookup(What::At(at.clone())),
        Query::Lookup(What::Rev(file.rev_jid)),
        Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 0 },
        Query::Delta { cursor: DeltaCursor::at(Jid(0)), limit: 0 },
        Query::Revisions { at: At::node(file.node), before: Jid(0), limit: 0 },
        Query::Blocklist { what: What::Rev(file.rev_jid), first: 0 },
        Query::HasBlocks(vec![hash_of(b"1")]),
        Query::Head,
        Query::SpaceUsage,
        Query::Account(AccountKey::Acct(OWNER)),
        Query::Account(AccountKey::Name("ada".to_owned())),
    ];
    for query in queries {
        assert_eq!(world.ask_as(STRANGER, &query), Answer::NoAccess, "{query:?}");
    }
    assert_eq!(world.store.rows(GROUP).into_iter().filter(|row| row.0[0] < 0x10).collect::<Vec<_>>(), before);
}

#[test]
fn a_session_serves_only_its_own_account() {
    let mut world = World::new();
    let register = |acct| (CommandHeader { acct, ..CommandHeader::default() }, Command::Register { nonce: [1; 16] });
    let outcomes = world.entry(&[register(OWNER), register(STRANGER), register(OWNER)]);
    let [Outcome::Registered { session }, Outcome::Registered { session: other }, again] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_ne!(session, other);
    assert_eq!(*again, outcomes[0], "the same nonce gets the same session");
    let header = |session, sequence, acct| CommandHeader {
        session,
        sequence: Sequence(sequence),
        ack_below: Sequence(1),
        acct,
        nsid: NSID,
    };
    let make = |path: &str| mkdir(At::path(path), false);
    let outcomes = world.entry(&[
        (header(*session, 1, OWNER), make("/a")),
        (header(*other, 1, OWNER), make("/b")),
        (header(SessionId(99), 1, OWNER), make("/b")),
        (header(SessionId(0), 1, OWNER), make("/b")),
        (header(*session, 0, OWNER), make("/b")),
        (header(*session, 5000, OWNER), make("/b")),
        (CommandHeader { ack_below: Sequence(2), ..header(*session, 2, OWNER) }, make("/c")),
        (header(*session, 1, OWNER), make("/a")),
    ]);
    let codes: Vec<u8> = outcomes.iter().map(Outcome::code).collect();
    assert_eq!(codes, [1, 22, 22, 22, 30, 15, 1, 29]);
    assert_eq!(world.paths(), ["/a", "/c"]);
}

// Paths.

#[test]
fn names_are_compared_in_their_normal_form() {
    let same = [
        ("/Cafe\u{301}", "/CAF\u{c9}"),
        ("/\u{39f}\u{394}\u{39f}\u{3a3}", "/\u{3bf}\u{3b4}\u{3bf}\u{3c3}"),
        ("/\u{130}x", "/ix"),
        ("//dir", "/dir"),
        ("/a//b", "/A/B"),
    ];
    for (first, second) in same {
        let mut world = World::new();
        assert!(world.mkdir(first).is_ok(), "{first:?}");
        assert_eq!(world.mkdir(second), FOLDER, "{first:?} and {second:?}");
    }
    let mut world = World::new();
    world.mkdir("/\u{3c3}");
    assert!(world.mkdir("/\u{3c2}").is_ok(), "a final sigma is another letter");
    assert_eq!(meta_of(&world.mkdir("/e\u{301}")).name, "\u{e9}");
}

#[test]
fn paths_that_break_a_rule_are_malformed() {
    let mut world = World::new();
    let deep = "/a".repeat(257);
    let wide = "/".to_owned() + &vec!["a".repeat(255); 33].join("/");
    let (chars, bytes) = (format!("/{}", "a".repeat(256)), format!("/{}a", "\u{1f600}".repeat(240)));
    let texts = ["a", "/a/", "/a ", "/a /b", "/.", "/..", "/a/../b", "/a\\b", "/a\0", &deep, &wide, &chars, &bytes];
    for text in texts {
        assert_eq!(world.mkdir(text), Outcome::Malformed, "{text:?}");
        assert_eq!(world.put(text, b"1"), Outcome::Malformed, "{text:?}");
        assert_eq!(world.delete(text), Outcome::Malformed, "{text:?}");
        assert_eq!(world.rename(text, "/b"), Outcome::Malformed, "{text:?}");
        assert_eq!(world.ask(&Query::Lookup(What::At(At::path(text)))), Answer::Malformed, "{text:?}");
    }
    assert_eq!(world.paths(), Vec::<String>::new());
    world.mkdir("/x");
    assert_eq!(world.rename("/x", "/b "), Outcome::Malformed);
    let longest = [format!("/{}", "a".repeat(255)), format!("/{}", "\u{1f600}".repeat(240)), "/a".repeat(256)];
    for text in longest {
        assert!(world.mkdir(&text).is_ok(), "{text:?}");
    }
}

// What the system itself does.

#[test]
fn a_namespace_is_made_once() {
    let mut world = World::new();
    let init = |owner, kind| Command::NamespaceInit { kind, owner, grant_bytes: 7 };
    assert_eq!(world.run_as(Acct(0), init(OWNER, NamespaceKind::Root)), Outcome::Done);
    assert_eq!(world.run_as(Acct(0), init(STRANGER, NamespaceKind::Root)), Outcome::Exists { id: OWNER.0 });
    assert_eq!(world.run_as(Acct(0), init(OWNER, NamespaceKind::Shared)), Outcome::Exists { id: OWNER.0 });
    assert_eq!(world.run_as(Acct(0), init(Acct(0), NamespaceKind::Root)), Outcome::Malformed);
    assert_eq!(run_in(&mut world, Nsid(0), Acct(0), init(OWNER, NamespaceKind::Root)), Outcome::Malformed);
    let absent = run_in(&mut world, OTHER, Acct(0), mkdir(At::path("/a"), false));
    assert_eq!(absent, Outcome::NotFound);
}

fn group_0() -> World {
    let mut world = World::empty(GroupId(0));
    world.register();
    world
}

#[test]
fn an_account_name_gets_the_same_account_for_ever() {
    let mut world = group_0();
    let account = |name: &str| Command::AccountPut { name: name.to_owned() };
    let ada = world.run_as(Acct(0), account("Ada"));
    assert_eq!(ada, Outcome::Account { acct: Acct(1), root: Nsid(10_000_000_000) });
    assert_eq!(world.run_as(Acct(0), account("ADA")), ada);
    let eve = Outcome::Account { acct: Acct(2), root: Nsid(10_000_000_001) };
    assert_eq!(world.run_as(Acct(0), account("eve")), eve);
    assert_eq!(world.run_as(Acct(0), account("")), Outcome::Malformed);
    assert_eq!(world.run_as(Acct(1), account("mallory")), Outcome::NoAccess);
    let info = Answer::Account(AccountInfo { acct: Acct(1), root: Nsid(10_000_000_000), name: "Ada".to_owned() });
    let by_name = Query::Account(AccountKey::Name("aDa".to_owned()));
    assert_eq!(world.ask_as(Acct(0), &by_name), info);
    assert_eq!(world.ask_as(Acct(1), &by_name), info);
    assert_eq!(world.ask_as(Acct(2), &by_name), Answer::NoAccess);
    assert_eq!(world.ask_as(Acct(2), &Query::Account(AccountKey::Acct(Acct(1)))), Answer::NoAccess);
    assert_eq!(world.ask_as(Acct(0), &Query::Account(AccountKey::Acct(Acct(9)))), Answer::NotFound);
    let mut elsewhere = World::new();
    assert_eq!(elsewhere.run_as(Acct(0), account("ada")), Outcome::Malformed, "only group 0 has accounts");
}

#[test]
fn a_node_belongs_to_the_first_directory_that_took_it() {
    let mut world = group_0();
    let node = |uuid, address: &str, is_removed| {
        Command::NodePut(NodePut {
            node: NodeId(3),
            uuid: NodeUuid([uuid; 16]),
            peer_address: address.to_owned(),
            client_address: "c:2".to_owned(),
            is_removed,
        })
    };
    assert_eq!(world.run_as(Acct(0), node(1, "p:1", false)), Outcome::Done);
    assert_eq!(world.run_as(Acct(0), node(2, "p:1", false)), Outcome::Exists { id: 3 });
    assert_eq!(world.run_as(Acct(0), node(1, "p:9", false)), Outcome::Done);
    assert_eq!(world.run_as(OWNER, node(1, "p:9", false)), Outcome::NoAccess);
    let told = |world: &mut World| match world.ask_as(Acct(0), &Query::Nodes) {
        Answer::Nodes(mut nodes) => nodes.remove(0),
        other => panic!("{other:?}"),
    };
    assert_eq!((told(&mut world).peer_address, told(&mut world).is_removed), ("p:9".to_owned(), false));
    assert_eq!(world.run_as(Acct(0), node(1, "p:9", true)), Outcome::Done);
    assert_eq!(world.run_as(Acct(0), node(1, "p:9", false)), Outcome::Done);
    assert!(told(&mut world).is_removed, "one that has left does not come back");
    assert_eq!(told(&mut world).uuid, NodeUuid([1; 16]));
}

#[test]
fn servers_announce_themselves_again_and_again() {
    let mut world = group_0();
    let server =
        |server, role, address: &str| Command::ServerPut(ServerPut { server, role, address: address.to_owned() });
    assert_eq!(world.run_as(Acct(0), server(2, ServerRole::Block, "a:1")), Outcome::Done);
    assert_eq!(world.run_as(Acct(0), server(1, ServerRole::Gateway, "b:1")), Outcome::Done);
    assert_eq!(world.run_as(Acct(0), server(2, ServerRole::Block, "c:1")), Outcome::Done);
    assert_eq!(world.run_as(Acct(0), server(0, ServerRole::Block, "c:1")), Outcome::Malformed);
    assert_eq!(world.run_as(Acct(0), server(3, ServerRole::Block, "")), Outcome::Malformed);
    let Answer::Servers(servers) = world.ask_as(Acct(0), &Query::Servers) else { panic!("servers are told") };
    let told: Vec<_> = servers.iter().map(|info| (info.server, info.role, &info.address[..])).collect();
    assert_eq!(told, [(1, ServerRole::Gateway, "b:1"), (2, ServerRole::Block, "c:1")]);
    assert_eq!(servers[1].last_seen_ms - servers[0].last_seen_ms, 1);
}

// Queries.

#[test]
fn pages_of_a_listing_tell_each_entry_once() {
    let mut world = World::new();
    for n in 0..23 {
        world.put(&format!("/d{}/f{n}", n % 4), &[n]);
    }
    let all: Vec<String> = world.list("", true, 0).into_iter().map(|entry| entry.path_display).collect();
    assert_eq!(all.len(), 27);
    let mut sorted = all.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted, all, "depth first in order of the keys, no entry twice");
    for limit in [1, 2, 3, 7, 26, 27, 28] {
        let paged: Vec<String> = world.list("", true, limit).into_iter().map(|entry| entry.path_display).collect();
        assert_eq!(paged, all, "{limit} a page");
    }
    let flat: Vec<String> = world.list("", false, 3).into_iter().map(|entry| entry.path_display).collect();
    assert_eq!(flat, ["/d0", "/d1", "/d2", "/d3"]);
    let page = |at, position: &[u8]| Query::ListPage { at, recursive: false, position: position.to_vec(), limit: 0 };
    assert_eq!(world.ask(&page(At::path("/d0/f0"), b"")), Answer::NotFolder);
    assert_eq!(world.ask(&page(At::path("/none"), b"")), Answer::NotFound);
    assert_eq!(world.ask(&page(At::path(""), b"\xff")), Answer::Malformed);
}

#[test]
fn a_head_moves_with_every_row_and_no_further() {
    let mut world = World::new();
    assert_eq!(world.head(), Jid(0));
    world.mkdir("/a/b");
    assert_eq!((world.head(), world.applied.advances()), (Jid(2), &[(NSID, Jid(2))][..]));
    world.mkdir("/a/b");
    assert_eq!((world.head(), world.applied.advances()), (Jid(2), &[][..]));
    assert_eq!(head(&world.store, GROUP, NSID, &mut Vec::new()), Ok(Jid(2)));
    assert_eq!(head(&world.store, GROUP, OTHER, &mut Vec::new()), Ok(Jid(0)));
    let beyond = Query::Delta { cursor: DeltaCursor::at(Jid(3)), limit: 0 };
    assert_eq!(world.ask(&beyond), Answer::Reset);
}

#[test]
fn a_blocklist_is_told_by_path_and_by_rev() {
    let mut world = World::new();
    let (old, new) = (long("/f", 2), CommitFile { mode: PutMode::Overwrite, ..long("/f", 6) });
    let old_rev = rev_of(&world.run(with_blocks(old.clone(), u64::MAX)));
    let new_rev = rev_of(&world.run(with_blocks(new.clone(), u64::MAX)));
    let wanted = |commit: &CommitFile| {
        let last = commit.blocks.len() - 1;
        let length = |at| if at == last { 1 } else { 4 << 20 };
        commit.blocks.iter().enumerate().map(|(at, hash)| (*hash, length(at))).collect::<Vec<_>>()
    };
    for (what, commit, rev) in [
        (What::At(At::path("/f")), &new, new_rev),
        (What::Rev(new_rev), &new, new_rev),
        (What::Rev(old_rev), &old, old_rev),
    ] {
        for first in [0u32, 2, 6, 7, 8, u32::MAX] {
            let answer = world.ask(&Query::Blocklist { what: what.clone(), first });
            let Answer::Blocklist { entry, first: told, total, blocks } = answer else { panic!("{answer:?}") };
            assert_eq!((&entry.path_display[..], entry.meta.rev_jid, told), ("/f", rev, first));
            assert_eq!(total as usize, commit.blocks.len());
            assert_eq!(blocks, wanted(commit).into_iter().skip(first as usize).collect::<Vec<_>>());
        }
    }
    world.mkdir("/d");
    let ask = |what| Query::Blocklist { what, first: 0 };
    assert_eq!(world.ask(&ask(What::At(At::path("/d")))), Answer::NotFile);
    assert_eq!(world.ask(&ask(What::Rev(Jid(3)))), Answer::NotFound, "row 3 made a folder");
    assert_eq!(world.ask(&ask(What::Rev(Jid(0)))), Answer::NotFound);
}

#[test]
fn revisions_follow_the_name_by_path_and_the_file_by_id() {
    let mut world = World::new();
    let first = meta_of(&world.put("/d/a", b"1")).clone();
    let second = rev_of(&world.put("/d/a", b"2"));
    let third = rev_of(&world.rename("/d/a", "/d/b"));
    let fourth = rev_of(&world.put("/d/b", b"4"));
    let other = rev_of(&world.put("/d/a", b"new"));
    world.rename("/d", "/e");
    let ask = |world: &mut World, at: At, before, limit| match world.ask(&Query::Revisions { at, before, limit }) {
        Answer::Revisions { deleted_ms, revisions, has_more } => {
            (revisions.iter().map(|meta| meta.rev_jid).collect::<Vec<_>>(), deleted_ms.is_some(), has_more)
        }
        other => panic!("{other:?}"),
    };
    let (zero, by_id) = (Jid(0), At::node(first.node));
    let revs = vec![fourth, third, second, first.rev_jid];
    assert_eq!(ask(&mut world, by_id.clone(), zero, 0), (revs, false, false));
    assert_eq!(ask(&mut world, At::path("/e/b"), zero, 0).0, [fourth, third]);
    assert_eq!(ask(&mut world, At::path("/e/a"), zero, 0).0, [other, second, first.rev_jid]);
    assert_eq!(ask(&mut world, by_id.clone(), zero, 2), (vec![fourth, third], false, true));
    assert_eq!(ask(&mut world, by_id.clone(), third, 2), (vec![second, first.rev_jid], false, false));
    world.delete("/e/b");
    assert_eq!(ask(&mut world, At::path("/e/b"), zero, 0), (vec![fourth, third], true, false));
    assert!(ask(&mut world, by_id, zero, 0).1);
    let question = |path: &str| Query::Revisions { at: At::path(path), before: Jid(0), limit: 0 };
    assert_eq!(world.ask(&question("/e")), Answer::NotFile);
    assert_eq!(world.ask(&question("")), Answer::NotFile);
    assert_eq!(world.ask(&question("/never")), Answer::NotFound);
}

#[test]
fn an_atomic_batch_is_all_or_nothing() {
    let mut world = World::new();
    world.put("/f", b"1");
    let parts = vec![mkdir(At::path("/a"), false), mkdir(At::path("/f"), false), mkdir(At::path("/b"), false)];
    let batch = |atomic, parts: &[Command]| Command::CommitBatch(CommitBatch { atomic, parts: parts.to_vec() });
    let failed = Outcome::Batch { failed: Some(1), outcomes: vec![FILE] };
    assert_eq!(world.run(batch(true, &parts)), failed);
    assert_eq!((world.paths(), world.head()), (vec!["/f".to_owned()], Jid(1)));
    let Outcome::Batch { failed: None, outcomes } = world.run(batch(false, &parts)) else { panic!("one outcome each") };
    assert_eq!(outcomes.iter().map(Outcome::code).collect::<Vec<_>>(), [1, 3, 1]);
    assert_eq!(world.paths(), ["/a", "/b", "/f"]);
}

// Bytes from outside.

fn encoded(header: CommandHeader, command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(&header, command, &mut bytes);
    bytes
}

#[test]
fn what_is_not_known_here_is_unsupported_and_what_is_broken_is_malformed() {
    let mut world = World::new();
    let good = encoded(world.header(OWNER), &mkdir(At::path("/a"), false));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases: [(Vec<u8>, Outcome); 7] = [
        (with(1, 200), Outcome::Unsupported),
        (with(0, 2), Outcome::Malformed),
        (with(2, 1), Outcome::Malformed),
        (with(4, 1), Outcome::Malformed),
        (with(48, 0xff), Outcome::Malformed),
        (good[..good.len() - 8].to_vec(), Outcome::Malformed),
        (Vec::new(), Outcome::Malformed),
    ];
    for (bytes, wanted) in cases {
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        let payload = builder.finish(STAMP).to_vec();
        assert_eq!(world.payload(EntryKind::Commands, &payload), [wanted], "{bytes:x?}");
    }
    for garbage in [&b""[..], b"garbage", &[0xff; 64]] {
        let outcomes = world.payload(EntryKind::Commands, garbage);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Malformed));
    }
    assert_eq!(world.paths(), Vec::<String>::new());
}

/// Flips, sets, inserts and cuts a few bytes.
fn mutate(prng: &mut Prng, bytes: &mut Vec<u8>) {
    for _ in 0..=prng.below(4) {
        if bytes.is_empty() {
            return bytes.push(prng.below(256) as u8);
        }
        let at = prng.below(bytes.len() as u64) as usize;
        match prng.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, prng.below(256) as u8),
            2 => bytes[at] = 0xff,
            3 => bytes[at] = 0,
            4 => drop(bytes.remove(at)),
            _ => bytes[at] ^= 1 << prng.below(8),
        }
    }
}

/// One command of each kind, by whoever may give it, in one payload.
fn rich_payload(world: &mut World) -> Vec<u8> {
    let node = NodePut {
        node: NodeId(3),
        uuid: NodeUuid([3; 16]),
        peer_address: "p:1".to_owned(),
        client_address: "c:1".to_owned(),
        is_removed: false,
    };
    let commands = [
        (OWNER, put("/d/f", b"one", PutMode::Update(Jid(1)))),
        (OWNER, Command::CommitFile(CommitFile { autorename: true, ..small("/d/f", b"two", PutMode::Add) })),
        (OWNER, with_blocks(long("/d/long", 6), u64::MAX)),
        (OWNER, mkdir(At { node: TreeNode(2), path: "/x".to_owned() }, true)),
        (OWNER, moved("/d/f", "/e/f", true)),
        (OWNER, Command::Restore(Restore { at: At::path("/d/g"), rev: Jid(2) })),
        (OWNER, present(&[hash_of(b"p")], 1, u64::MAX)),
        (
            OWNER,
            Command::CommitBatch(CommitBatch {
                atomic: true,
                parts: vec![mkdir(At::path("/q"), false), moved("/q", "/r", false)],
            }),
        ),
        (OWNER, Command::Delete(Delete { at: At::path("/d"), parent_rev: None })),
        (Acct(0), Command::Sweep { limit: 2 }),
        (Acct(0), Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 40 }),
        (Acct(0), Command::AccountPut { name: "ada".to_owned() }),
        (Acct(0), Command::ServerPut(ServerPut { server: 1, role: ServerRole::Block, address: "a:1".to_owned() })),
        (Acct(0), Command::NodePut(node)),
    ];
    let mut builder = payload::Builder::default();
    builder.push(&encoded(CommandHeader::default(), &Command::Register { nonce: [4; 16] }));
    for (acct, command) in commands {
        builder.push(&encoded(world.header(acct), &command));
    }
    builder.finish(STAMP + 1000).to_vec()
}

#[test]
fn no_mutated_payload_makes_the_machine_panic_or_breaks_an_invariant() {
    let mut prng = Prng::new(0x6d65_7461);
    let mut base = World::empty(GroupId(0));
    base.register();
    init(&mut base, NSID, OWNER, 1 << 40);
    base.put("/d/f", b"zero");
    let payload = rich_payload(&mut base);
    let (store, index) = (base.store.clone(), base.index);
    let (mut applied, mut refused) = (0, 0);
    for round in 0..5000 {
        let mut bytes = payload.clone();
        mutate(&mut prng, &mut bytes);
        for outcome in base.payload(EntryKind::Commands, &bytes) {
            if outcome.is_ok() { applied += 1 } else { refused += 1 }
        }
        if round % 8 == 7 {
            base.check();
            (base.store, base.index) = (store.clone(), index);
        }
    }
    assert!(applied > 10_000 && refused > 1000, "{applied} applied, {refused} refused");
}

#[test]
fn no_mutated_query_makes_the_machine_panic() {
    let mut prng = Prng::new(0x7175_6572);
    let mut world = World::new();
    world.put("/d/f", b"1");
    world.put("/d/e/g", b"2");
    world.rename("/d", "/D2");
    world.delete("/D2/e");
    let expansion = Expansion { is_deleted: true, root: TreeNode(2), position: b"e/g".to_vec() };
    let questions = [
        Query::Lookup(What::At(At { node: TreeNode(2), path: "/f".to_owned() })),
        Query::Lookup(What::Rev(Jid(2))),
        Query::ListPage { at: At::node(TreeNode(2)), recursive: true, position: b"e/g".to_vec(), limit: 3 },
        Query::Delta { cursor: DeltaCursor { since: Jid(3), expansion: Some(expansion) }, limit: 1 },
        Query::Delta { cursor: DeltaCursor::at(Jid(1)), limit: 2 },
        Query::Revisions { at: At::node(TreeNode(3)), before: Jid(0), limit: 1 },
        Query::Revisions { at: At::path("/D2/f"), before: Jid(4), limit: 1 },
        Query::Blocklist { what: What::Rev(Jid(2)), first: 0 },
        Query::HasBlocks(vec![hash_of(b"1"), hash_of(b"9")]),
        Query::Account(AccountKey::Name("ada".to_owned())),
        Query::SpaceUsage,
    ];
    let mut asked = 0;
    for round in 0..5000 {
        let mut bytes = Vec::new();
        questions[round % questions.len()].encode(&mut bytes);
        mutate(&mut prng, &mut bytes);
        if let Ok(question) = Query::decode(&bytes) {
            asked += 1;
            let answer = query(&world.store, GROUP, OWNER, NSID, &question, &mut Vec::new()).unwrap();
            bytes.clear();
            answer.encode(&mut bytes);
            assert_eq!(Answer::decode(&bytes), Ok(answer));
        }
        let _ = (Answer::decode(&bytes), Outcome::decode(&bytes), DeltaCursor::decode(&bytes));
    }
    assert!(asked > 300, "{asked} of them could be asked");
}
