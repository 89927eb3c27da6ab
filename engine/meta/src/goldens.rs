//! The layouts that only this room sees, pinned: rows, keys, kept outcomes, cursors. Commands, outcomes, queries and
//! answers are pinned in `tests/goldens.rs`.

use std::fmt::Debug;

use base::{Acct, BlockHash, Jid, NodeId, Nsid, Sequence, SessionId, TreeNode};

use crate::command::{MemberRole, MemberState};
use crate::delta::{DeltaCursor, Expansion};
use crate::list_hash::ListHash;
use crate::metadata::*;
use crate::outcome::Outcome;
use crate::rows::*;
use crate::{golden, kept, keys};

const HASH: [u8; 32] = [0xcc; 32];

fn blocks(count: u8) -> Vec<BlockHash> {
    (1..=count).map(|n| BlockHash([n; 32])).collect()
}

fn metadata() -> Metadata {
    Metadata {
        nsid: Nsid(10_000_000_001),
        node: TreeNode(2),
        parent: TreeNode(1),
        jid: Jid(4),
        rev_jid: Jid(3),
        kind: NodeKind::File,
        name: "Name.txt".to_owned(),
        size: 5,
        content_hash: HASH,
        client_mtime_ms: -6,
        server_mtime_ms: 7,
        modified_by: Acct(8),
    }
}

fn folder() -> Metadata {
    Metadata { kind: NodeKind::Folder, size: 0, content_hash: [0; 32], client_mtime_ms: i64::MIN, ..metadata() }
}

fn row<R: RowValue + PartialEq + Debug>(name: &str, row: R) -> (String, Vec<u8>) {
    let bytes = row.to_bytes();
    assert_eq!(bytes[0], 1, "{name}: byte 0 is the format");
    assert_eq!(R::decode(&bytes), row, "{name}");
    (name.to_owned(), bytes)
}

fn journal_row(op: Op, kind: NodeKind, content: Option<Content>) -> JournalRow {
    JournalRow {
        op,
        kind,
        flags: ROW_CONTINUES | ROW_AUTORENAMED | ROW_RESTORE,
        node: TreeNode(1),
        parent: TreeNode(2),
        old_parent: TreeNode(3),
        prev_jid: Jid(4),
        name_prev_jid: Jid(5),
        size: 6,
        client_mtime_ms: -7,
        stamp_ms: 8,
        acct: Acct(9),
        content,
        name: "new".to_owned(),
        old_name: "before".to_owned(),
    }
}

#[test]
fn rows_are_pinned() {
    let namespace = NamespaceRow {
        kind: NamespaceKind::Shared,
        flags: 1,
        members: 2,
        owner: Acct(3),
        head: Jid(4),
        floor: Jid(5),
        trim: Jid(6),
        next_node: 7,
        next_list: 8,
        next_link: 9,
        live_files: 10,
        live_bytes: 11,
        grant_bytes: 12,
        created_ms: 13,
        auth_gen: 14,
    };
    let node = |metadata: &Metadata| NodeRow { flags: NODE_DEAD, ..crate::editor::node_of(metadata) };
    let inline = Content { hash: HASH, list: 0, blocks: 2, inline: blocks(2) };
    let listed = Content { hash: HASH, list: 77, blocks: 5, inline: Vec::new() };
    let nonce = [0xab; 16];
    let lines = [
        row("namespace", namespace),
        row("node file", node(&metadata())),
        row("node folder", node(&folder())),
        row("dirent", DirentRow { kind: NodeKind::Folder, node: TreeNode(2) }),
        row("journal put inline", journal_row(Op::Put, NodeKind::File, Some(inline.clone()))),
        row("journal put list", journal_row(Op::Put, NodeKind::File, Some(listed))),
        row("journal mkdir", journal_row(Op::Mkdir, NodeKind::Folder, None)),
        row("journal move file", journal_row(Op::Move, NodeKind::File, Some(inline))),
        row("journal move folder", journal_row(Op::Move, NodeKind::Folder, None)),
        row("journal delete", journal_row(Op::Delete, NodeKind::File, None)),
        row("journal attr", journal_row(Op::Attr, NodeKind::File, None)),
        row("journal mount", journal_row(Op::Mount, NodeKind::Mount, None)),
        row("journal unmount", journal_row(Op::Unmount, NodeKind::Mount, None)),
        row("dead", DeadRow { kind: NodeKind::File, jid: Jid(1), node: TreeNode(2) }),
        row("block", BlockRow { bytes: 1, refs: 2, zero_since_ms: 3 }),
        row("list", ListRow { blocks: 1, refs: 2, size: 3, content_hash: HASH }),
        row("list part", ListPartRow { blocks: blocks(2) }),
        row("sweep", SweepRow { position: b"key".to_vec() }),
        row(
            "session",
            SessionRow { acct: Acct(1), nonce, ack_below: Sequence(2), last_stamp_ms: 3, high: Sequence(4) },
        ),
        row("sessions", SessionsRow { count: 1, looked_at: SessionId(2) }),
        row("number", NumberRow(1)),
        row(
            "member",
            MemberRow {
                role: MemberRole::Editor,
                state: MemberState::Joined,
                since: Jid(3),
                invited_ms: 4,
                member_gen: 0,
            },
        ),
        row(
            "upload",
            UploadRow {
                is_concurrent: true,
                is_closed: true,
                is_staged: false,
                acct: Acct(1),
                created_ms: 2,
                offset: 3,
                list: 4,
                blocks: 5,
                tail_bytes: 6,
                tail: 7,
                hash: ListHash { state: [8; 8], rest: [9; 32], names: 10 },
            },
        ),
        row("kept result", KeptRow { digest: [7; 16], stamp_ms: 8, outcome: vec![9; 8] }),
        row("freeze", FreezeRow { flow: 1, since_ms: 2, renewed_ms: 3 }),
        row(
            "copy",
            CopyRow {
                source: TreeNode(1),
                hidden: TreeNode(2),
                touched_ms: 3,
                digest: [4; 16],
                position: "a/b".to_owned(),
            },
        ),
        row("journal attach", journal_row(Op::Attach, NodeKind::Folder, None)),
        row("counters", CountersRow { next_acct: 1, next_nsid: 2 }),
        row(
            "account",
            AccountRow {
                state: 1,
                token_gen: 2,
                root: Nsid(3),
                allocated: 4,
                created_ms: 5,
                name: "Ada".to_owned(),
                profile: ProfileRow::default(),
            },
        ),
        row("directory", DirectoryRow { kind: NamespaceKind::Root, state: 1, owner: Acct(2) }),
        row("server", ServerRow { role: 1, last_seen_ms: 2, address: "host:3".to_owned() }),
        row(
            "cluster node",
            ClusterNodeRow {
                is_removed: true,
                uuid: nonce,
                peer_address: "peer:1".to_owned(),
                client_address: "client:2".to_owned(),
            },
        ),
    ];
    let bytes_of = |name: &str| lines.iter().find(|(line, _)| line == name).unwrap().1.len();
    assert_eq!((bytes_of("namespace"), bytes_of("block"), bytes_of("list")), (128, 24, 52));
    assert_eq!((bytes_of("node file"), bytes_of("node folder")), (96 + 8, 64 + 8));
    assert_eq!((bytes_of("journal put inline"), bytes_of("journal delete")), (128 + 9 + 64, 80 + 9));
    golden::check("layouts", &lines);
}

#[test]
fn keys_are_pinned() {
    let (nsid, node, jid) = (Nsid(0x0102), TreeNode(3), Jid(4));
    let line = |name: &str, key: keys::Key| (name.to_owned(), key.to_vec());
    golden::check(
        "keys",
        &[
            line("namespace", keys::namespace(nsid)),
            line("node", keys::node(nsid, node)),
            line("dirent", keys::dirent(nsid, node, "name")),
            line("journal", keys::journal(nsid, jid)),
            line("dead", keys::dead(nsid, node, "name")),
            line("block", keys::block(nsid, &BlockHash([5; 32]))),
            line("list", keys::list(nsid, 6)),
            line("list part", keys::list_part(nsid, 6, 7)),
            line("sweep", keys::sweep(nsid, jid, node)),
            line("session", keys::session(SessionId(8))),
            line("outcome", keys::outcome(SessionId(8), Sequence(9))),
            line("nonce", keys::nonce(Acct(10), &[11; 16])),
            line("account", keys::account(Acct(10))),
            line("account name", keys::account_name("ada")),
            line("directory", keys::directory(nsid)),
            line("counters", keys::counters()),
            line("server", keys::server(12)),
            line("cluster node", keys::cluster_node(NodeId(13))),
            line("member", keys::member(nsid, Acct(10))),
            line("mount", keys::mount(nsid, Nsid(0x0304))),
            line("upload", keys::upload(nsid, 5)),
            line("kept upload", keys::kept_upload(nsid, 5, Acct(10))),
            line("kept step", keys::kept_step(nsid, crate::command::Step { flow: 5, step: 6 })),
            line("freeze", keys::freeze(nsid, node)),
            line("purge", keys::purge(nsid, jid, 5, node)),
            line("block sweep", keys::block_sweep(nsid)),
            line("copy", keys::copy(nsid, Acct(10), 5)),
        ],
    );
}

fn outcomes() -> Vec<Outcome> {
    use Outcome::*;
    let rest = "/rest".to_owned();
    vec![
        Applied(metadata()),
        Unchanged(folder()),
        Conflict { file: true, folder: false, file_ancestor: false },
        Conflict { file: false, folder: true, file_ancestor: false },
        Conflict { file: false, folder: false, file_ancestor: true },
        NeedBlocks(vec![0, 7, 1023]),
        Quota { short_bytes: 9 },
        NotFound,
        NotFile,
        NotFolder,
        Elsewhere { nsid: Nsid(1), rest },
        NoAccess,
        IncorrectOffset { correct: 2 },
        Closed,
        NotClosed,
        MissingData,
        TooLarge,
        IntoItself,
        NestedShare,
        RevMismatch,
        InvalidRev,
        Busy { retry_ms: 3 },
        BadContentHash,
        SessionGone,
        Exists { id: 4 },
        Done,
        Registered { session: SessionId(5) },
        Account { acct: Acct(6), root: Nsid(7) },
        Batch { failed: None, outcomes: vec![Applied(metadata()), NotFound, NeedBlocks(vec![1])] },
        Batch { failed: Some(1), outcomes: vec![NotFound] },
        Swept { nodes: 8, has_more: true },
        Acknowledged,
        Malformed,
        Unsupported,
    ]
}

#[test]
fn kept_outcomes_are_pinned_and_small() {
    let lines: Vec<_> = outcomes()
        .iter()
        .map(|outcome| (format!("{outcome:?}"), kept::pack(Nsid(10_000_000_001), outcome, false)))
        .collect();
    for ((name, bytes), outcome) in lines.iter().zip(outcomes()) {
        // A batch has parts, and Elsewhere a path.
        let is_long = matches!(outcome, Outcome::Batch { .. } | Outcome::Elsewhere { .. });
        assert!(is_long || bytes.len() <= 64, "{name}: {} bytes", bytes.len());
    }
    let mut lines = lines;
    let attr = Outcome::Applied(metadata());
    lines.push((format!("an attribute of {attr:?}"), kept::pack(Nsid(10_000_000_001), &attr, true)));
    golden::check("kept", &lines);
}

fn cursors() -> [DeltaCursor; 3] {
    let expansion = |is_deleted| Some(Expansion { is_deleted, root: TreeNode(2), position: b"a/b".to_vec() });
    [
        DeltaCursor::at(Jid(1)),
        DeltaCursor { since: Jid(1), expansion: expansion(false) },
        DeltaCursor { since: Jid(1), expansion: expansion(true) },
    ]
}

#[test]
fn cursors_are_pinned_and_every_cut_is_refused() {
    let mut lines = Vec::new();
    for (cursor, name) in cursors().into_iter().zip(["resting", "present", "deleted"]) {
        let mut bytes = Vec::new();
        cursor.encode(&mut bytes);
        assert_eq!(DeltaCursor::decode(&bytes), Ok(cursor));
        assert!((0..bytes.len()).all(|cut| DeltaCursor::decode(&bytes[..cut]).is_err()));
        lines.push((name.to_owned(), bytes));
    }
    golden::check("cursors", &lines);
}
