//! Puts of what another namespace has: staged blocklists, and upload sessions that finish elsewhere.

mod common;

use base::{Acct, BlockHash, Jid, Nsid, Sequence, SessionId};
use common::*;
use meta::*;

const BLOCK: u64 = 4 << 20;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A namespace that hangs in the root of the world.
const OTHER: Nsid = Nsid(10_000_000_900);

fn world() -> World {
    let mut world = World::new();
    let init = Command::NamespaceInit { kind: NamespaceKind::Shared, owner: OWNER, grant_bytes: 1 << 40 };
    assert_eq!(run_in(&mut world, OTHER, Acct(0), init), Outcome::Done);
    let step = Step { flow: 0, step: 0 };
    let mount = Mount { step, target: OTHER, at: At::path("/m"), autorename: false };
    assert!(world.run_as(Acct(0), Command::Mount(mount)).is_ok());
    world
}

fn run_in(world: &mut World, nsid: Nsid, acct: Acct, command: Command) -> Outcome {
    let header = CommandHeader { nsid, ..world.header(acct) };
    let mut outcomes = world.entry(&[(header, command.clone()), (header, command)]);
    assert_eq!(outcomes[0], outcomes[1], "a repeated command has the same outcome");
    world.check();
    outcomes.remove(0)
}

fn ask_in(world: &World, nsid: Nsid, question: &Query) -> Answer {
    query(&world.store, GROUP, OWNER, nsid, question, &mut Vec::new()).expect("all is in memory")
}

fn id(nonce: u64) -> UploadId {
    UploadId { nonce, issued_ms: STAMP, is_concurrent: false }
}

fn block(n: u32, bytes: u64) -> PresentBlock {
    PresentBlock { hash: hash_of(&n.to_le_bytes()), bytes: bytes as u32, put_at_ms: u64::MAX }
}

fn blocks(count: u32, last_bytes: u64) -> Vec<PresentBlock> {
    (0..count).map(|n| block(n, if n + 1 == count { last_bytes } else { BLOCK })).collect()
}

fn stage(nonce: u64, part: u32, all: &[PresentBlock]) -> Command {
    let blocks = all.chunks(1024).nth(part as usize).expect("there is such a part").to_vec();
    Command::ListStage(ListStage { id: id(nonce), part, blocks })
}

fn names(all: &[PresentBlock]) -> Vec<BlockHash> {
    all.iter().map(|block| block.hash).collect()
}

fn commit(path: &str, all: &[PresentBlock]) -> CommitFile {
    CommitFile {
        at: At::path(path),
        size: all.iter().map(|block| u64::from(block.bytes)).sum(),
        content_hash: content_hash(&names(all)),
        ..CommitFile::default()
    }
}

fn taking(nonce: u64, path: &str, all: &[PresentBlock]) -> Command {
    Command::CommitFile(CommitFile {
        attested: Some(Box::new(Attested { id: id(nonce), is_staged: true })),
        ..commit(path, all)
    })
}

fn upload_rows(world: &World) -> usize {
    world.store.rows(GROUP).iter().filter(|(key, _)| key[0] == 0x0b).count()
}

#[test]
fn a_list_is_staged_in_parts_and_taken_once() {
    let mut world = world();
    let all = blocks(1024 + 3, 5);
    let offset = Outcome::IncorrectOffset { correct: 1024 * BLOCK };
    let run = |world: &mut World, command| run_in(world, OTHER, OWNER, command);
    assert_eq!(run(&mut world, taking(7, "/f", &all)), Outcome::NotFound, "nothing is staged");
    assert_eq!(run(&mut world, stage(7, 1, &all)), Outcome::IncorrectOffset { correct: 0 }, "parts come in order");
    assert_eq!(run(&mut world, stage(7, 0, &all)), Outcome::Done);
    assert_eq!(run(&mut world, stage(7, 0, &all)), Outcome::Done, "again");
    let mut other = all.clone();
    other[9].hash = hash_of(b"other");
    assert_eq!(run(&mut world, stage(7, 0, &other)), offset, "another part in its place");
    assert_eq!(run(&mut world, taking(7, "/f", &all)), Outcome::BadContentHash, "a part is missing");
    assert_eq!(run(&mut world, stage(7, 1, &all)), Outcome::Done);
    let beyond = Command::ListStage(ListStage { id: id(7), part: 2, blocks: blocks(1, 1) });
    assert!(matches!(run(&mut world, beyond), Outcome::IncorrectOffset { .. }), "the last part was short");
    let wrong = CommitFile { size: 9, ..commit("/f", &all) };
    let wrong = CommitFile { attested: Some(Box::new(Attested { id: id(7), is_staged: true })), ..wrong };
    assert_eq!(run(&mut world, Command::CommitFile(wrong)), Outcome::BadContentHash);
    // As a session nobody finds it.
    let append = SessionAppend { id: id(7), blocks: blocks(1, BLOCK), ..SessionAppend::default() };
    assert_eq!(run(&mut world, Command::SessionAppend(append)), Outcome::NotFound);
    let done = run(&mut world, taking(7, "/f", &all));
    assert!(matches!(done, Outcome::Applied(_)), "{done:?}");
    assert_eq!(upload_rows(&world), 0);
    assert_eq!(run(&mut world, taking(7, "/f", &all)), done, "told again");
    assert_eq!(run(&mut world, taking(7, "/g", &all)), Outcome::NotFound, "another put under the same id");
    assert_eq!(run(&mut world, stage(7, 0, &all)), Outcome::NotFound, "it was taken");
    let question = Query::Blocklist { what: What::At(At::path("/f")), first: 1020 };
    let Answer::Blocklist { blocks: told, total, .. } = ask_in(&world, OTHER, &question) else { panic!("a file") };
    assert_eq!((total, told.len(), told[6]), (1027, 7, (all[1026].hash, 5)));
    // The same content is there already: the list goes.
    assert_eq!(run(&mut world, stage(8, 0, &all)), Outcome::Done);
    assert_eq!(run(&mut world, stage(8, 1, &all)), Outcome::Done);
    assert!(matches!(run(&mut world, taking(8, "/f", &all)), Outcome::Unchanged(_)));
    let sweep = Command::BlockSweep { limit: 0 };
    while matches!(run_in(&mut world, OTHER, Acct(0), sweep.clone()), Outcome::Swept { has_more: true, .. }) {}
    assert_eq!(world.store.rows(GROUP).iter().filter(|(key, _)| key[0] == 0x07).count(), 1, "one list is left");
}

#[test]
fn a_list_that_nobody_takes_ends_as_a_session() {
    let mut world = world();
    let all = blocks(5, BLOCK);
    assert_eq!(run_in(&mut world, OTHER, OWNER, stage(7, 0, &all)), Outcome::Done);
    world.stamp_ms += 7 * DAY_MS;
    assert_eq!(run_in(&mut world, OTHER, OWNER, taking(7, "/f", &all)), Outcome::NotFound);
    for _ in 0..4 {
        let sweep = Command::BlockSweep { limit: 0 };
        while matches!(run_in(&mut world, OTHER, Acct(0), sweep.clone()), Outcome::Swept { has_more: true, .. }) {}
        world.stamp_ms += 9 * DAY_MS;
    }
    let left = world.store.rows(GROUP).into_iter().filter(|(key, _)| (0x06..=0x0b).contains(&key[0]) && key[0] != 0x0a);
    assert_eq!(left.map(|(key, _)| key).collect::<Vec<_>>(), Vec::<Vec<u8>>::new());
}

#[test]
fn what_is_attested_is_believed_of_servers_only() {
    let mut world = world();
    let header = CommandHeader { acct: OWNER, ..CommandHeader::default() };
    let opened = world.entry(&[(header, Command::Register { nonce: [1; 16] })]).remove(0);
    let Outcome::Registered { session } = opened else { panic!("{opened:?}") };
    let all = blocks(1, 3);
    let finish =
        SessionFinish { id: id(7), commit: commit("/f", &all), result: Some(meta_in(OTHER)), ..Default::default() };
    let put = CommitFile {
        attested: Some(Box::new(Attested { id: id(7), is_staged: false })),
        blocks: names(&all),
        ..commit("/f", &all)
    };
    let commands = [
        stage(7, 0, &all),
        taking(7, "/f", &all),
        Command::CommitFile(put.clone()),
        Command::SessionFinish(Box::new(finish)),
        Command::CommitBatch(CommitBatch { atomic: true, parts: vec![Command::CommitFile(put)] }),
    ];
    for (command, sequence) in commands.into_iter().zip(1..) {
        let header = CommandHeader { session, sequence: Sequence(sequence), nsid: NSID, acct: OWNER, ..header };
        let outcome = world.entry(&[(header, command.clone())]).remove(0);
        let failed = Outcome::Batch { failed: Some(0), outcomes: vec![Outcome::NoAccess] };
        assert!([Outcome::NoAccess, failed].contains(&outcome), "{command:?}: {outcome:?}");
    }
    assert_ne!(session, SessionId(0));
}

fn meta_in(nsid: Nsid) -> Metadata {
    Metadata {
        nsid,
        node: base::TreeNode(2),
        parent: ROOT,
        jid: Jid(1),
        rev_jid: Jid(1),
        kind: NodeKind::File,
        name: "f".to_owned(),
        size: 3,
        content_hash: [0; 32],
        client_mtime_ms: i64::MIN,
        server_mtime_ms: 0,
        modified_by: OWNER,
    }
}

#[test]
fn a_session_finishes_in_another_namespace() {
    let mut world = world();
    let all = blocks(3, 9);
    let append = SessionAppend { id: id(5), blocks: all[..2].to_vec(), ..SessionAppend::default() };
    let append = Command::SessionAppend(SessionAppend { tail_bytes: 9, tail: 77, ..append });
    assert_eq!(world.run(append), Outcome::Done);
    let finish = |result| {
        let commit = commit("/m/f", &all);
        let (id, offset, rest) = (id(5), 2 * BLOCK + 9, all[2..].to_vec());
        Command::SessionFinish(Box::new(SessionFinish { id, offset, rest, commit, result }))
    };
    let elsewhere = Outcome::Elsewhere { nsid: OTHER, rest: "/f".to_owned() };
    assert_eq!(world.run(finish(None)), elsewhere);
    // What a server needs to know of the session.
    let question = Query::Upload { id: id(5), first: 1 };
    let wanted = UploadState {
        is_closed: false,
        offset: 2 * BLOCK + 9,
        tail_bytes: 9,
        tail: 77,
        total: 2,
        first: 1,
        blocks: vec![(all[1].hash, BLOCK as u32)],
    };
    assert_eq!(world.ask(&question), Answer::Upload(wanted));
    assert_eq!(world.ask_as(Acct(77), &question), Answer::NoAccess);
    // The put there, twice as after a crash between the two.
    let put = CommitFile {
        attested: Some(Box::new(Attested { id: id(5), is_staged: false })),
        blocks: names(&all),
        ..commit("/f", &all)
    };
    let missing = run_in(&mut world, OTHER, OWNER, Command::CommitFile(put.clone()));
    assert_eq!(missing, Outcome::NeedBlocks(vec![0, 1, 2]), "known at home only");
    let put = with_blocks(put, u64::MAX);
    let done = run_in(&mut world, OTHER, OWNER, put.clone());
    let Outcome::Applied(meta) = done.clone() else { panic!("{done:?}") };
    assert_eq!(run_in(&mut world, OTHER, OWNER, put), done);
    let at_home = CommandHeader { nsid: NSID, ..world.header(OWNER) };
    let wrong = world.entry(&[(at_home, finish(Some(meta_in(NSID))))]).remove(0);
    assert_eq!(wrong, Outcome::Malformed, "that is no other namespace");
    assert_eq!(world.run(finish(Some(meta.clone()))), Outcome::Applied(meta.clone()));
    assert_eq!(upload_rows(&world), 0);
    assert_eq!(world.run(finish(None)), Outcome::Applied(meta.clone()), "the client asks again");
    assert_eq!(world.run(finish(Some(meta.clone()))), Outcome::Applied(meta), "the server says so again");
    let other = SessionFinish { id: id(5), commit: commit("/m/g", &all), ..SessionFinish::default() };
    assert_eq!(world.run(Command::SessionFinish(Box::new(other))), Outcome::NotFound);
}

/// A world in which a second namespace hangs too, and an upload of one block that is appended.
fn two_targets() -> (World, Vec<PresentBlock>) {
    let mut world = world();
    let init = Command::NamespaceInit { kind: NamespaceKind::Shared, owner: OWNER, grant_bytes: 1 << 40 };
    assert_eq!(run_in(&mut world, SECOND, Acct(0), init), Outcome::Done);
    let step = Step { flow: 0, step: 0 };
    let mount = Mount { step, target: SECOND, at: At::path("/second"), autorename: false };
    assert!(world.run_as(Acct(0), Command::Mount(mount)).is_ok());
    let all = blocks(1, BLOCK);
    let append = SessionAppend { id: id(5), blocks: all.clone(), ..SessionAppend::default() };
    assert_eq!(world.run(Command::SessionAppend(append)), Outcome::Done);
    (world, all)
}

const SECOND: Nsid = Nsid(10_000_000_901);

fn finish_at(path: &str, all: &[PresentBlock], result: Option<Metadata>) -> Command {
    let finish = SessionFinish { id: id(5), offset: BLOCK, rest: Vec::new(), commit: commit(path, all), result };
    Command::SessionFinish(Box::new(finish))
}

#[test]
fn a_session_that_was_sent_elsewhere_is_not_put_anywhere_else() {
    let (mut world, all) = two_targets();
    let elsewhere = |rest: &str| Outcome::Elsewhere { nsid: OTHER, rest: rest.to_owned() };
    assert_eq!(world.run(finish_at("/m/f", &all, None)), elsewhere("/f"));
    // Here the server may crash, after the put there or before.
    assert_eq!(world.run(finish_at("/at home", &all, None)), Outcome::NotFound);
    assert_eq!(world.run(finish_at("/second/f", &all, None)), Outcome::NotFound);
    assert_eq!(world.run(finish_at("/m/f", &all, Some(meta_in(SECOND)))), Outcome::NotFound, "it was not sent there");
    // The mount may move meanwhile: who asks for the same is sent to the same place.
    let moved = Move { source: At::path("/m"), target: At::path("/moved"), autorename: false };
    assert!(world.run(Command::Move(moved)).is_ok());
    assert_eq!(world.run(finish_at("/m/f", &all, None)), elsewhere("/f"));
    // Another place in that namespace is for that namespace to judge: it puts one file under the id.
    assert_eq!(world.run(finish_at("/moved/g", &all, None)), elsewhere("/g"));
    assert_eq!(upload_rows(&world), 1, "the session is as it was");
    let done = Outcome::Applied(meta_in(OTHER));
    assert_eq!(world.run(finish_at("/m/f", &all, Some(meta_in(OTHER)))), done);
    assert_eq!(upload_rows(&world), 0);
    assert_eq!(world.run(finish_at("/m/f", &all, None)), done, "told again");
    assert_eq!(world.run(finish_at("/moved/g", &all, None)), Outcome::NotFound);
}

#[test]
fn a_session_that_was_sent_elsewhere_goes_on_and_ends_in_its_time() {
    let (mut world, mut all) = two_targets();
    assert!(matches!(world.run(finish_at("/m/f", &all, None)), Outcome::Elsewhere { .. }));
    // Refused there, say: the session is as it was, and more may come.
    let next = block(77, BLOCK);
    let append = SessionAppend { id: id(5), offset: BLOCK, blocks: vec![next], ..SessionAppend::default() };
    assert_eq!(world.run(Command::SessionAppend(append)), Outcome::Done);
    all.push(next);
    let longer = SessionFinish { id: id(5), offset: 2 * BLOCK, commit: commit("/m/f", &all), ..Default::default() };
    assert!(matches!(world.run(Command::SessionFinish(Box::new(longer))), Outcome::Elsewhere { .. }));
    for _ in 0..3 {
        world.stamp_ms += 9 * DAY_MS;
        let sweep = Command::BlockSweep { limit: 0 };
        while matches!(world.run_as(Acct(0), sweep.clone()), Outcome::Swept { has_more: true, .. }) {}
    }
    let left = world.store.rows(GROUP).into_iter().filter(|(key, _)| [0x06, 0x07, 0x0b, 0x0c].contains(&key[0]));
    assert_eq!(left.count(), 0, "nothing of it stays");
}
