//! Pinned bytes: every command, outcome, query and answer, the text of revs, and the rows that commands write. What is
//! pinned here is on disks and wires: a change needs a new format number, not a new golden.

mod common;

use std::collections::BTreeSet;

use base::{Acct, BlockHash, GroupId, Jid, NodeId, NodeUuid, Nsid, Sequence, SessionId, TreeNode};
use common::*;
use meta::*;
use sha2::{Digest, Sha256};

const HEADER: CommandHeader = CommandHeader {
    session: SessionId(0x11),
    sequence: Sequence(0x22),
    ack_below: Sequence(0x21),
    acct: Acct(5),
    nsid: Nsid(10_000_000_001),
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares `name hex` lines with the pinned ones.
fn compare(pinned: &str, made: &[(String, Vec<u8>)]) {
    let pinned = pinned.trim_start();
    let made: String = made.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    for (pinned, made) in pinned.lines().zip(made.lines()) {
        assert_eq!(made, pinned);
    }
    assert_eq!(made.lines().count(), pinned.lines().count(), "all that was made:\n{made}");
}

fn commit() -> CommitFile {
    CommitFile {
        at: At { node: TreeNode(7), path: "/a/b.txt".to_owned() },
        mode: PutMode::Update(Jid(0x33)),
        autorename: true,
        strict: true,
        label: "Ada's".to_owned(),
        size: 0x40_0005,
        client_mtime_ms: Some(-2),
        content_hash: [0xcc; 32],
        blocks: vec![BlockHash([0xb1; 32]), BlockHash([0xb2; 32])],
    }
}

fn commands() -> Vec<Command> {
    let at = |path: &str| At { node: TreeNode(7), path: path.to_owned() };
    let add = CommitFile { at: At::path("/e"), content_hash: [0xee; 32], ..CommitFile::default() };
    let part = PresentPart { position: 1, bytes: 5, put_at_ms: 0x44 };
    let block = PresentBlock { hash: BlockHash([0xb1; 32]), bytes: 5, put_at_ms: 0x44 };
    let mkdir = Mkdir { at: at("/dir"), autorename: true };
    let delete = Delete { at: at("/x"), parent_rev: Some(Jid(0x33)) };
    let moved =
        Move { source: at("/from"), target: At { node: TreeNode(8), path: "/to/é".to_owned() }, autorename: true };
    let parts = vec![
        Command::CommitFile(add.clone()),
        Command::Mkdir(mkdir.clone()),
        Command::Delete(Delete { parent_rev: None, ..delete.clone() }),
        Command::Move(moved.clone()),
    ];
    vec![
        Command::CommitFile(commit()),
        Command::CommitFile(CommitFile { mode: PutMode::Overwrite, ..add }),
        Command::CommitBatch(CommitBatch { atomic: true, parts }),
        Command::Mkdir(mkdir),
        Command::Delete(delete),
        Command::Move(moved),
        Command::Restore(Restore { at: at("/x"), rev: Jid(0x33) }),
        Command::BlocksPresent(vec![block]),
        Command::StoreAndCommit(StoreAndCommit { commit: commit(), present: vec![part] }),
        Command::NamespaceInit { kind: NamespaceKind::Shared, owner: Acct(5), grant_bytes: 0x55 },
        Command::Sweep { limit: 0x66 },
        Command::Register { nonce: [0x77; 16] },
        Command::AccountPut { name: "Ada".to_owned() },
        Command::ServerPut(ServerPut { server: 9, role: ServerRole::Gateway, address: "h:1".to_owned() }),
        Command::NodePut(NodePut {
            node: NodeId(3),
            uuid: NodeUuid([0x88; 16]),
            peer_address: "p:1".to_owned(),
            client_address: "client:2".to_owned(),
            is_removed: true,
        }),
        Command::JournalTrim { floor: Jid(0x33) },
        Command::Purge { limit: 0x66 },
        Command::BlockSweep { limit: 0x66 },
        Command::Copy(Copy { source: at("/from"), target: At::path("/to"), autorename: true }),
        Command::SetAttr(SetAttr { at: at("/x"), client_mtime_ms: Some(-2) }),
    ]
}

fn file() -> Metadata {
    Metadata {
        nsid: Nsid(10_000_000_001),
        node: TreeNode(7),
        parent: TreeNode(1),
        jid: Jid(0x34),
        rev_jid: Jid(0x33),
        kind: NodeKind::File,
        name: "b.txt".to_owned(),
        size: 0x40_0005,
        content_hash: [0xcc; 32],
        client_mtime_ms: -2,
        server_mtime_ms: 0x44,
        modified_by: Acct(5),
    }
}

fn folder() -> Metadata {
    let none = (0, [0; 32], i64::MIN);
    Metadata {
        kind: NodeKind::Folder,
        name: "d".to_owned(),
        size: none.0,
        content_hash: none.1,
        client_mtime_ms: none.2,
        ..file()
    }
}

fn outcomes() -> Vec<Outcome> {
    use Outcome::*;
    vec![
        Applied(file()),
        Unchanged(folder()),
        Conflict { file: true, folder: false, file_ancestor: false },
        Conflict { file: false, folder: true, file_ancestor: false },
        Conflict { file: false, folder: false, file_ancestor: true },
        NeedBlocks(vec![0, 0x102]),
        Quota { short_bytes: 0x55 },
        NotFound,
        NotFile,
        NotFolder,
        Elsewhere { nsid: Nsid(10_000_000_002), rest: "/r".to_owned() },
        NoAccess,
        IncorrectOffset { correct: 0x66 },
        Closed,
        NotClosed,
        MissingData,
        TooLarge,
        IntoItself,
        NestedShare,
        RevMismatch,
        InvalidRev,
        Busy { retry_ms: 100 },
        BadContentHash,
        SessionGone,
        Exists { id: 3 },
        Done,
        Registered { session: SessionId(0x1001) },
        Account { acct: Acct(5), root: Nsid(10_000_000_001) },
        Batch { failed: None, outcomes: vec![Done, Quota { short_bytes: 1 }] },
        Batch { failed: Some(2), outcomes: vec![NotFound] },
        Swept { nodes: 7, has_more: true },
        Acknowledged,
        Malformed,
        Unsupported,
    ]
}

fn cursor() -> DeltaCursor {
    let expansion = Expansion { is_deleted: true, root: TreeNode(7), position: b"a/b".to_vec() };
    DeltaCursor { since: Jid(0x33), expansion: Some(expansion) }
}

fn queries() -> Vec<Query> {
    let at = || At { node: TreeNode(7), path: "/a/b".to_owned() };
    vec![
        Query::Lookup(What::At(at())),
        Query::Lookup(What::Rev(Jid(0x33))),
        Query::ListPage { at: at(), recursive: true, position: b"p/q".to_vec(), limit: 9 },
        Query::Delta { cursor: DeltaCursor::at(Jid(0x33)), limit: 9 },
        Query::Delta { cursor: cursor(), limit: 9 },
        Query::Revisions { at: at(), before: Jid(0x33), limit: 9 },
        Query::Blocklist { what: What::Rev(Jid(0x33)), first: 4 },
        Query::HasBlocks(vec![BlockHash([0xb1; 32]), BlockHash([0xb2; 32])]),
        Query::Head,
        Query::SpaceUsage,
        Query::Account(AccountKey::Acct(Acct(5))),
        Query::Account(AccountKey::Name("Ada".to_owned())),
        Query::Servers,
        Query::Nodes,
    ]
}

fn answers() -> Vec<Answer> {
    let entry = || Entry { path_display: "/B/b.txt".to_owned(), meta: file() };
    let server = ServerInfo { server: 9, role: ServerRole::Notify, last_seen_ms: 0x44, address: "h:1".to_owned() };
    let node = NodeInfo {
        node: NodeId(3),
        uuid: NodeUuid([0x88; 16]),
        is_removed: true,
        peer_address: "p:1".to_owned(),
        client_address: "client:2".to_owned(),
    };
    let changes = vec![Change::Present(entry()), Change::Deleted { path_display: "/gone".to_owned() }];
    vec![
        Answer::NotFound,
        Answer::NotFile,
        Answer::NotFolder,
        Answer::Elsewhere { nsid: Nsid(10_000_000_002), rest: "/r".to_owned() },
        Answer::NoAccess,
        Answer::Reset,
        Answer::Malformed,
        Answer::TooLarge,
        Answer::Entry(entry()),
        Answer::Page { entries: vec![entry()], next: Some(b"b.txt".to_vec()), head: Jid(0x34) },
        Answer::Page { entries: Vec::new(), next: None, head: Jid(0x34) },
        Answer::Delta { changes, cursor: cursor(), has_more: true },
        Answer::Revisions { deleted_ms: Some(0x45), revisions: vec![file()], has_more: true },
        Answer::Revisions { deleted_ms: None, revisions: Vec::new(), has_more: false },
        Answer::Blocklist { entry: entry(), first: 1, total: 2, blocks: vec![(BlockHash([0xb2; 32]), 5)] },
        Answer::HasBlocks(vec![true, false, true]),
        Answer::Head(Jid(0x34)),
        Answer::SpaceUsage { live_files: 1, live_bytes: 2, grant_bytes: 3, is_sweeping: true },
        Answer::Account(AccountInfo { acct: Acct(5), root: Nsid(10_000_000_001), name: "Ada".to_owned() }),
        Answer::Servers(vec![server]),
        Answer::Nodes(vec![node]),
    ]
}

#[test]
fn every_command_has_the_pinned_bytes() {
    let mut made = Vec::new();
    for (command, at) in commands().into_iter().zip(1..) {
        let mut bytes = Vec::new();
        encode_command(&HEADER, &command, &mut bytes);
        made.push((format!("{at}:{}", command.kind()), bytes.clone()));
        assert_eq!(decode_command(&bytes), Ok((HEADER, command)));
    }
    let kinds: BTreeSet<u8> = commands().iter().map(Command::kind).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 29, 30, 31, 32, 33, 64, 79, 80]
    );
    compare(COMMANDS, &made);
}

#[test]
fn every_outcome_has_the_pinned_bytes() {
    let mut made = Vec::new();
    for (outcome, at) in outcomes().into_iter().zip(1..) {
        let mut bytes = Vec::new();
        outcome.encode(&mut bytes);
        made.push((format!("{at}:{}", outcome.code()), bytes.clone()));
        assert_eq!(Outcome::decode(&bytes), Ok(outcome));
    }
    let codes: BTreeSet<u8> = outcomes().iter().map(Outcome::code).collect();
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), (1..=31).collect::<Vec<_>>());
    compare(OUTCOMES, &made);
}

#[test]
fn every_query_has_the_pinned_bytes() {
    let mut made = Vec::new();
    for (query, at) in queries().into_iter().zip(1..) {
        let mut bytes = Vec::new();
        query.encode(&mut bytes);
        made.push((format!("{at}:{}", query.kind()), bytes.clone()));
        assert_eq!(Query::decode(&bytes), Ok(query));
    }
    let kinds: BTreeSet<u8> = queries().iter().map(Query::kind).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    compare(QUERIES, &made);
}

#[test]
fn every_answer_has_the_pinned_bytes() {
    let mut made = Vec::new();
    for (answer, at) in answers().into_iter().zip(1..) {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        made.push((format!("{at}:{}", answer.kind()), bytes.clone()));
        assert_eq!(Answer::decode(&bytes), Ok(answer));
    }
    let kinds: BTreeSet<u8> = answers().iter().map(Answer::kind).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (1..=8).chain(16..=26).collect::<Vec<_>>());
    compare(ANSWERS, &made);
}

#[test]
fn a_put_has_its_fields_where_the_layout_says() {
    let mut bytes = Vec::new();
    let part = PresentPart { position: 1, bytes: 5, put_at_ms: 0x44 };
    let both = StoreAndCommit { commit: commit(), present: vec![part] };
    encode_command(&HEADER, &Command::StoreAndCommit(both), &mut bytes);
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(bytes[..8], [1, 10, 0, 0, (bytes.len() - 48) as u8, 0, 0, 0]);
    assert_eq!([8, 16, 24, 32, 40].map(number), [0x11, 0x22, 0x21, 5, 10_000_000_001]);
    let body = &bytes[48..];
    assert_eq!(body[..16], [2, 3, 8, 0, 5, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!([16, 24, 32, 40].map(|at| number(48 + at)), [0x33, 0x40_0005, -2i64 as u64, 7]);
    assert_eq!(body[48..80], [0xcc; 32]);
    assert_eq!(&body[80..93], b"/a/b.txtAda's");
    assert_eq!((&body[93..125], &body[125..157]), (&[0xb1; 32][..], &[0xb2; 32][..]));
    assert_eq!(body[157..173], [1, 0, 0, 0, 5, 0, 0, 0, 0x44, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(body[173..], [0; 3]);
}

#[test]
fn a_rev_is_31_lower_case_hex_digits() {
    let rev = Rev { nsid: Nsid(10_000_000_001), jid: Jid(0x33) };
    assert_eq!(rev.to_string(), "00000000000003300000002540be401");
    assert_eq!("00000000000003300000002540be401".parse(), Ok(rev));
    let largest = Rev { nsid: Nsid(u64::MAX), jid: Jid((1 << 60) - 1) };
    assert_eq!(largest.to_string(), "f".repeat(31));
    assert_eq!("f".repeat(31).parse(), Ok(largest));
    for text in [
        "",
        "00000000000003300000002540BE401",
        "0000000000003300000002540be401",
        &"0".repeat(32),
        "+0000000000003300000002540be401",
    ] {
        assert_eq!(text.parse::<Rev>(), Err(meta::metadata::ParseRevError), "{text:?}");
    }
}

/// A script that writes a row of every table that a command can reach.
fn script() -> World {
    let mut world = World::empty(GroupId(0));
    world.register();
    let system = |world: &mut World, command| assert!(world.run_as(Acct(0), command).is_ok());
    system(&mut world, Command::AccountPut { name: "Ada".to_owned() });
    let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 40 };
    system(&mut world, init);
    let server = ServerPut { server: 9, role: ServerRole::Block, address: "h:1".to_owned() };
    system(&mut world, Command::ServerPut(server));
    let node = NodePut {
        node: NodeId(3),
        uuid: NodeUuid([0x88; 16]),
        peer_address: "p:1".to_owned(),
        client_address: "client:2".to_owned(),
        is_removed: false,
    };
    system(&mut world, Command::NodePut(node));
    world.put("/Docs/Read.me", b"hello");
    world.put("/Docs/Read.me", b"hello again");
    let blocks: Vec<BlockHash> = (0..5).map(|n| BlockHash([n; 32])).collect();
    let size = 4 * (4 << 20) + 1;
    let long = CommitFile {
        at: At::path("/long"),
        size,
        content_hash: content_hash(&blocks),
        blocks,
        ..CommitFile::default()
    };
    let long = CommitFile { client_mtime_ms: Some(STAMP as i64 - 7), ..long };
    world.run(with_blocks(long, u64::MAX));
    world.rename("/Docs/Read.me", "/read");
    world.delete("/Docs");
    world.mkdir("/d/e");
    world.delete("/d");
    let moved = Move { source: At::path("/read"), target: At::path("/long"), autorename: true };
    world.run(Command::Move(moved));
    world.run(Command::Restore(Restore { at: At::path("/back"), rev: Jid(2) }));
    world.run(Command::CommitFile(small("/new", b"unknown", PutMode::Add)));
    world
}

#[test]
fn the_rows_that_commands_write_have_the_pinned_bytes() {
    let world = script();
    let rows = world.store.rows(GroupId(0));
    let tables: BTreeSet<u8> = rows.iter().map(|(key, _)| key[0]).collect();
    let reached = [1, 2, 3, 4, 5, 6, 7, 8, 0x0e, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x29, 0x2b, 0x2c];
    assert_eq!(tables.into_iter().collect::<Vec<_>>(), reached);
    let mut seen = BTreeSet::new();
    // The first row of each table, and the whole journal.
    let mut is_pinned = |key: &[u8]| seen.insert(key[0]) || key[0] == 0x04;
    let pinned = rows.iter().filter(|(key, _)| is_pinned(key));
    let made: Vec<(String, Vec<u8>)> = pinned.map(|(key, value)| (hex(key), value.clone())).collect();
    compare(ROWS, &made);
    let mut digest = Sha256::new();
    for (key, value) in &rows {
        digest.update((key.len() as u32).to_le_bytes());
        digest.update(key);
        digest.update((value.len() as u32).to_le_bytes());
        digest.update(value);
    }
    assert_eq!(hex(&digest.finalize()), "ea62a7555192e61f00e445fbddd4867abbdaf6ca34cd52088213a293c497d00e");
    assert_eq!(world.state_hash(), 0xc6dc_6c51_7947_e053);
}

// `place in the list above:kind`, then the bytes.

const COMMANDS: &str = "
1:1 01010000a0000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000203080005000000020000000000000033000000000000000500400000000000feffffffffffffff0700000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc2f612f622e7478744164612773b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2000000
2:1 0101000058000000110000000000000022000000000000002100000000000000050000000000000001e40b5402000000010002000000000000000000000000000000000000000000000000000000000000000000000000800000000000000000eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee2f65000000000000
3:2 01020000e0000000110000000000000022000000000000002100000000000000050000000000000001e40b540200000001000400000000000100000058000000000002000000000000000000000000000000000000000000000000000000000000000000000000800000000000000000eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee2f650000000000000300000018000000010004000000000007000000000000002f6469720000000004000000200000000000020000000000070000000000000000000000000000002f7800000000000005000000280000000100050006000000070000000000000008000000000000002f66726f6d2f746f2fc3a90000000000
4:3 0103000018000000110000000000000022000000000000002100000000000000050000000000000001e40b5402000000010004000000000007000000000000002f64697200000000
5:4 0104000020000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000100020000000000070000000000000033000000000000002f78000000000000
6:5 0105000028000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000100050006000000070000000000000008000000000000002f66726f6d2f746f2fc3a90000000000
7:7 0107000020000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000000020000000000070000000000000033000000000000002f78000000000000
8:9 0109000038000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000100000000000000b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b105000000000000004400000000000000
9:10 010a0000b0000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000203080005000100020000000000000033000000000000000500400000000000feffffffffffffff0700000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc2f612f622e7478744164612773b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b201000000050000004400000000000000000000
10:15 010f000018000000110000000000000022000000000000002100000000000000050000000000000001e40b5402000000020000000000000005000000000000005500000000000000
11:30 011e000008000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000006600000000000000
12:33 0121000010000000110000000000000022000000000000002100000000000000050000000000000001e40b540200000077777777777777777777777777777777
13:64 0140000010000000110000000000000022000000000000002100000000000000050000000000000001e40b540200000003000000000000004164610000000000
14:79 014f000018000000110000000000000022000000000000002100000000000000050000000000000001e40b540200000003000300000000000900000000000000683a310000000000
15:80 0150000030000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000100030008000000030000000000000088888888888888888888888888888888703a31636c69656e743a320000000000
16:29 011d000008000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000003300000000000000
17:31 011f000008000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000006600000000000000
18:32 0120000008000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000006600000000000000
19:6 0106000020000000110000000000000022000000000000002100000000000000050000000000000001e40b54020000000100050003000000070000000000000000000000000000002f66726f6d2f746f
20:8 0108000020000000110000000000000022000000000000002100000000000000050000000000000001e40b540200000000000200000000000700000000000000feffffffffffffff2f78000000000000
";

const OUTCOMES: &str = "
1:1 0101000078000000010005000000000001e40b540200000007000000000000000100000000000000340000000000000033000000000000000500400000000000feffffffffffffff44000000000000000500000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc622e747874000000
2:2 0102000078000000020001000000000001e40b54020000000700000000000000010000000000000034000000000000003300000000000000000000000000000000000000000000804400000000000000050000000000000000000000000000000000000000000000000000000000000000000000000000006400000000000000
3:3 01030000080000000100000000000000
4:3 01030000080000000200000000000000
5:3 01030000080000000400000000000000
6:4 010400001000000002000000000000000201000000000000
7:5 01050000080000005500000000000000
8:6 0106000000000000
9:7 0107000000000000
10:8 0108000000000000
11:9 010900001800000002e40b540200000002000000000000002f72000000000000
12:10 010a000000000000
13:11 010b0000080000006600000000000000
14:12 010c000000000000
15:13 010d000000000000
16:14 010e000000000000
17:15 010f000000000000
18:16 0110000000000000
19:17 0111000000000000
20:18 0112000000000000
21:19 0113000000000000
22:20 01140000080000006400000000000000
23:21 0115000000000000
24:22 0116000000000000
25:23 01170000080000000300000000000000
26:24 0118000000000000
27:25 01190000080000000110000000000000
28:26 011a000010000000050000000000000001e40b5402000000
29:27 011b00002000000002000000ffffffff011800000000000001050000080000000100000000000000
30:27 011b00001000000001000000020000000106000000000000
31:28 011c0000080000000700000001000000
32:29 011d000000000000
33:30 011e000000000000
34:31 011f000000000000
";

const QUERIES: &str = "
1:1 01010000200000000000000000000000070000000000000004000000000000002f612f6200000000
2:1 010100001000000001000000000000003300000000000000
3:2 01020000300000000100000009000000070000000000000004000000000000002f612f62000000000300000000000000702f710000000000
4:3 010300002800000009000000000000001800000000000000010000000000000033000000000000000000000000000000
5:3 010300003000000009000000000000001b00000000000000010303000000000033000000000000000700000000000000612f620000000000
6:4 010400002800000009000000000000003300000000000000070000000000000004000000000000002f612f6200000000
7:5 0105000018000000040000000000000001000000000000003300000000000000
8:6 01060000480000000200000000000000b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2
9:7 0107000000000000
10:8 0108000000000000
11:9 010900001000000005000000000000000000000000000000
12:9 0109000018000000000000000000000003000000000000004164610000000000
13:10 010a000000000000
14:11 010b000000000000
";

const ANSWERS: &str = "
1:1 0101000000000000
2:2 0102000000000000
3:3 0103000000000000
4:4 010400001800000002e40b540200000002000000000000002f72000000000000
5:5 0105000000000000
6:6 0106000000000000
7:7 0107000000000000
8:8 0108000000000000
9:16 011000008800000008000000000000002f422f622e747874010005000000000001e40b540200000007000000000000000100000000000000340000000000000033000000000000000500400000000000feffffffffffffff44000000000000000500000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc622e747874000000
10:17 01110000b0000000340000000000000001000000000000000500000000000000622e747874000000010000000000000008000000000000002f422f622e747874010005000000000001e40b540200000007000000000000000100000000000000340000000000000033000000000000000500400000000000feffffffffffffff44000000000000000500000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc622e747874000000
11:17 01110000200000003400000000000000000000000000000000000000000000000000000000000000
12:18 01120000e000000001000000000000001b00000000000000010303000000000033000000000000000700000000000000612f6200000000000200000000000000000000000000000008000000000000002f422f622e747874010005000000000001e40b540200000007000000000000000100000000000000340000000000000033000000000000000500400000000000feffffffffffffff44000000000000000500000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc622e747874000000010000000000000005000000000000002f676f6e65000000
13:19 0113000090000000010000000000000045000000000000000100000000000000010005000000000001e40b540200000007000000000000000100000000000000340000000000000033000000000000000500400000000000feffffffffffffff44000000000000000500000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc622e747874000000
14:19 01130000180000000000000000000000ffffffffffffffff0000000000000000
15:20 01140000c0000000010000000200000008000000000000002f422f622e747874010005000000000001e40b540200000007000000000000000100000000000000340000000000000033000000000000000500400000000000feffffffffffffff44000000000000000500000000000000cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc622e7478740000000100000000000000b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b20500000000000000
16:21 011500001000000003000000000000000100010000000000
17:22 01160000080000003400000000000000
18:23 01170000200000000100000000000000020000000000000003000000000000000100000000000000
19:24 0118000020000000050000000000000001e40b540200000003000000000000004164610000000000
20:25 011900003000000001000000000000000200000000000000440000000000000009000000000000000300000000000000683a310000000000
21:26 011a000048000000010000000000000001000000000000008888888888888888888888888888888803000000000000000300000000000000703a3100000000000800000000000000636c69656e743a32
";

// Key, then value.

const ROWS: &str = "
0100000002540be401 010100000100000005000000000000000b000000000000000000000000000000000000000000000008000000000000000200000000000000010000000000000003000000000000001100000100000000000000000001000002505c18a30100000000000000000000000000000000000000000000000000000000000000000000
0200000002540be4010000000000000001 01020000000000000000000000000000000000000000000000000000000000000000000000000000000000000000008002505c18a30100000500000000000000
0300000002540be40100000000000000016261636b 01010700000000000000
0400000002540be4010000000000000001 0102020104000000020000000000000001000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000008005505c18a30100000500000000000000446f6373
0400000002540be4010000000000000002 0101010007000000030000000000000002000000000000000000000000000000000000000000000000000000000000000500000000000000000000000000008005505c18a301000005000000000000009595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d5000000000000000000100000000000000526561642e6d652cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
0400000002540be4010000000000000003 0101010007000000030000000000000002000000000000000000000000000000020000000000000002000000000000000b00000000000000000000000000008006505c18a301000005000000000000009ed19a454921653127bba3a9ca7e4bb3a3fef6f0aeec54421a255e1ca848f66e00000000000000000100000000000000526561642e6d653908c567feda72bc0dbdb2dff040fe0d3470dcd51b942374378a476930dbf6b3
0400000002540be4010000000000000004 0101010004000000040000000000000001000000000000000000000000000000000000000000000000000000000000000100000100000000f94f5c18a301000007505c18a301000005000000000000008320262bf702ee2bc5b633ae0046a477666aaa76ee96231aef3aae45224785cf010000000000000005000000000000006c6f6e67
0400000002540be4010000000000000005 0103010004000700030000000000000001000000000000000200000000000000030000000000000000000000000000000b00000000000000000000000000008008505c18a301000005000000000000009ed19a454921653127bba3a9ca7e4bb3a3fef6f0aeec54421a255e1ca848f66e0000000000000000010000000000000072656164526561642e6d653908c567feda72bc0dbdb2dff040fe0d3470dcd51b942374378a476930dbf6b3
0400000002540be4010000000000000006 0104020000000400020000000000000000000000000000000100000000000000010000000000000001000000000000000000000000000000000000000000008009505c18a30100000500000000000000446f6373
0400000002540be4010000000000000007 010202010100000005000000000000000100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000800a505c18a3010000050000000000000064
0400000002540be4010000000000000008 010202000100000006000000000000000500000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000800a505c18a3010000050000000000000065
0400000002540be4010000000000000009 010402000000010005000000000000000000000000000000010000000000000007000000000000000700000000000000000000000000000000000000000000800b505c18a3010000050000000000000064
0400000002540be401000000000000000a 0103010208000400030000000000000001000000000000000100000000000000050000000000000000000000000000000b0000000000000000000000000000800c505c18a301000005000000000000009ed19a454921653127bba3a9ca7e4bb3a3fef6f0aeec54421a255e1ca848f66e000000000000000001000000000000006c6f6e6720283129726561643908c567feda72bc0dbdb2dff040fe0d3470dcd51b942374378a476930dbf6b3
0400000002540be401000000000000000b 010101040400000007000000000000000100000000000000000000000000000000000000000000000000000000000000050000000000000000000000000000800d505c18a301000005000000000000009595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50000000000000000001000000000000006261636b2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
0500000002540be401000000000000000164 010209000000000000000500000000000000
0600000002540be4010000000000000000000000000000000000000000000000000000000000000000 010000000000400001000000000000000000000000000000
0700000002540be4010000000000000001 01000000050000000100000001000001000000008320262bf702ee2bc5b633ae0046a477666aaa76ee96231aef3aae45224785cf
0800000002540be401000000000000000100000000 010000000000000000000000000000000000000000000000000000000000000000000000000000000101010101010101010101010101010101010101010101010101010101010101020202020202020202020202020202020202020202020202020202020202020203030303030303030303030303030303030303030303030303030303030303030404040404040404040404040404040404040404040404040404040404040404
0e00000002540be40100000000000000060000000000000002 0100000000000000
100000000000000000 010000000000000001000000000000000000000000000000
1100000000000010000000000000000004 010000000100000001e40b5402000000ffffffff0000000018000000000000000000000000000000
12000000000000000009090909090909090909090909090909 01000000000000000010000000000000
200000000000000001 010103000000000000e40b5402000000000000000000000001505c18a3010000416461
21616461 01000000000000000100000000000000
2200000002540be400 01010100000000000100000000000000
29636f756e74657273 0100000000000000020000000000000001e40b5402000000
2b0000000000000009 010103000000000003505c18a3010000683a31
2c0000000000000003 010003000800000088888888888888888888888888888888703a31636c69656e743a32
";
