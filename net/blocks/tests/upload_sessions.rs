//! Upload sessions of the content host without HTTP: calls of any sizes through any server become one file, once.

mod common;

use base::limits::BLOCK_BYTES;
use blocks::content::{
    AppendError, Caller, Content, ContentError, EmptyBody, FinishEntry, FinishError, LookupError, Put, PutTarget,
    StartError, StartSession,
};
use common::*;
use meta::{Answer, At, Outcome, Query, What};

const BLOCK: usize = BLOCK_BYTES as usize;
/// Kinds of commands.
const BATCH: u8 = 2;
const APPEND: u8 = 11;
const SEAL: u8 = 12;
const FINISH: u8 = 13;

fn pieces(bytes: &[u8]) -> Pieces {
    Pieces::of(bytes, 123_457)
}

async fn start(server: &Content) -> String {
    server.start_session(OWNER, StartSession::default(), &mut EmptyBody).await.unwrap()
}

async fn start_concurrent(server: &Content) -> String {
    let start = StartSession { is_concurrent: true, ..StartSession::default() };
    server.start_session(OWNER, start, &mut EmptyBody).await.unwrap()
}

async fn append(server: &Content, id: &str, offset: usize, bytes: &[u8]) -> Result<(), AppendError> {
    server.append_session(OWNER, (id, offset as u64), false, Some(content_hash(bytes)), &mut pieces(bytes)).await
}

async fn close(server: &Content, id: &str, offset: usize, bytes: &[u8]) -> Result<(), AppendError> {
    server.append_session(OWNER, (id, offset as u64), true, None, &mut pieces(bytes)).await
}

fn entry(id: &str, offset: usize, target: PutTarget) -> FinishEntry {
    FinishEntry { session_id: id.to_owned(), offset: offset as u64, target }
}

async fn finish(server: &Content, id: &str, offset: usize, path: &str, last: &[u8]) -> Result<Put, FinishError> {
    server.finish_session(OWNER, &entry(id, offset, at(path)), Some(content_hash(last)), &mut pieces(last)).await
}

fn lookup<T: std::fmt::Debug>(result: Result<T, AppendError>) -> LookupError {
    match result {
        Err(AppendError::Lookup(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn finish_lookup(result: Result<Put, FinishError>) -> LookupError {
    match result {
        Err(FinishError::Lookup(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn offset_is(correct: usize) -> LookupError {
    LookupError::IncorrectOffset { correct_offset: correct as u64 }
}

#[tokio::test]
async fn calls_of_odd_sizes_through_any_server_become_blocks_of_four_mebibytes() {
    let world = World::new();
    let bytes = random(1, 3 * BLOCK + 54_321);
    let id = start(&world.server()).await;
    assert_eq!(world.machine.counts(), (vec![], 0), "a session without data is nowhere");
    let (mut offset, mut calls) = (0, 0);
    for size in [184_564, BLOCK, 1, BLOCK - 1, 0, 184_564, 2 * 1024 * 1024].into_iter().cycle() {
        if offset + size > 3 * BLOCK {
            break;
        }
        // Each call meets another server.
        append(&world.server(), &id, offset, &bytes[offset..offset + size]).await.unwrap();
        (offset, calls) = (offset + size, calls + 1);
        assert!(world.tails() <= 1, "an old tail goes with the call that took it");
    }
    assert_eq!(world.machine.counts().0, [(APPEND, calls)]);
    world.machine.reset();
    let put = finish(&world.server(), &id, offset, "/big", &bytes[offset..]).await.unwrap();
    assert_eq!(world.machine.counts(), (vec![(FINISH, 1)], 1), "one command, after one look for the tail");
    let meta = put.outcome.metadata().unwrap();
    assert_eq!((meta.size, meta.content_hash), (bytes.len() as u64, content_hash(&bytes)));
    assert!(read(&world.server(), "/big").await == bytes);
    let list = Query::Blocklist { what: What::At(At::path("/big")), first: 0 };
    let Answer::Blocklist { blocks, .. } = world.machine.ask(OWNER.acct, OWNER.home, &list) else { panic!("a file") };
    let lengths: Vec<usize> = blocks.iter().map(|(_, bytes)| *bytes as usize).collect();
    assert_eq!(lengths, [BLOCK, BLOCK, BLOCK, 54_321]);
    assert_eq!((world.tails(), world.machine.upload_rows()), (0, 0), "nothing of the session is left");
    world.machine.check();
}

#[tokio::test]
async fn a_finish_behind_whole_blocks_is_one_command_and_nothing_else() {
    let world = World::new();
    let server = world.server();
    let bytes = random(2, 2 * BLOCK + 10);
    let id = start(&server).await;
    append(&server, &id, 0, &bytes[..BLOCK]).await.unwrap();
    append(&server, &id, BLOCK, &bytes[BLOCK..2 * BLOCK]).await.unwrap();
    world.machine.reset();
    finish(&server, &id, 2 * BLOCK, "/f", &bytes[2 * BLOCK..]).await.unwrap();
    assert_eq!(world.machine.counts(), (vec![(FINISH, 1)], 0));
    assert!(read(&server, "/f").await == bytes);
}

#[tokio::test]
async fn a_wrong_offset_is_told_the_right_one_and_changes_nothing() {
    let world = World::new();
    let server = world.server();
    let bytes = random(3, BLOCK + 2000);
    let id = start(&server).await;
    assert_eq!(lookup(append(&server, &id, 7, b"x").await), offset_is(0));
    append(&server, &id, 0, &bytes[..1000]).await.unwrap();
    for (offset, again) in [(0, &bytes[..1000]), (999, &bytes[999..2000]), (1001, &bytes[1001..2000]), (5 * BLOCK, &[])]
    {
        assert_eq!(lookup(append(&server, &id, offset, again).await), offset_is(1000), "at {offset}");
    }
    assert_eq!(finish_lookup(finish(&server, &id, 999, "/f", &[]).await), offset_is(1000));
    assert_eq!(finish_lookup(finish(&server, &id, BLOCK, "/f", &[]).await), offset_is(1000));
    assert_eq!(lookup(append(&server, &id, 1 << 41, b"x").await), LookupError::TooLarge);
    append(&server, &id, 1000, &bytes[1000..]).await.unwrap();
    finish(&server, &id, bytes.len(), "/f", &[]).await.unwrap();
    assert!(read(&server, "/f").await == bytes);
}

#[tokio::test]
async fn a_call_that_is_cut_off_or_wrong_leaves_the_session_as_it_was() {
    let world = World::new();
    let server = world.server();
    let bytes = random(4, 2 * BLOCK);
    let id = start(&server).await;
    append(&server, &id, 0, &bytes[..100]).await.unwrap();
    let mut cut_off = Pieces::truncated(&bytes[100..], 1 << 20);
    let ended = server.append_session(OWNER, (&id, 100), false, None, &mut cut_off).await;
    assert!(matches!(ended, Err(AppendError::Content(ContentError::Body(_)))), "{ended:?}");
    // The hash is that of the call's own bytes, whatever lies before them.
    let hash = Some(content_hash(&bytes[100..]));
    for wrong in [&bytes[..], &bytes[101..], &bytes[100..2 * BLOCK - 1]] {
        let ended = server.append_session(OWNER, (&id, 100), false, hash, &mut pieces(wrong)).await;
        assert!(matches!(ended, Err(AppendError::Content(ContentError::ContentHashMismatch))), "{ended:?}");
        let entry = entry(&id, 100, at("/f"));
        let ended = server.finish_session(OWNER, &entry, hash, &mut pieces(wrong)).await;
        assert!(matches!(ended, Err(FinishError::Content(ContentError::ContentHashMismatch))), "{ended:?}");
    }
    let mut cut_off = Pieces::truncated(&bytes[100..], 1 << 20);
    let ended = server.finish_session(OWNER, &entry(&id, 100, at("/f")), None, &mut cut_off).await;
    assert!(matches!(ended, Err(FinishError::Content(ContentError::Body(_)))), "{ended:?}");
    assert_eq!(world.machine.paths(OWNER, OWNER.home), ["/shared"]);
    append(&server, &id, 100, &bytes[100..]).await.unwrap();
    finish(&server, &id, 2 * BLOCK, "/f", &[]).await.unwrap();
    assert!(read(&server, "/f").await == bytes);
}

#[tokio::test]
async fn a_finish_that_is_repeated_is_told_the_same_by_a_server_that_knows_nothing_of_it() {
    let world = World::new();
    let bytes = random(5, BLOCK + 100);
    for (path, appended) in [("/tail", 60), ("/whole", BLOCK), ("/nothing", 0)] {
        let id = start(&world.server()).await;
        append(&world.server(), &id, 0, &bytes[..appended]).await.unwrap();
        let first = finish(&world.server(), &id, appended, path, &bytes[appended..]).await.unwrap();
        let again = finish(&world.server(), &id, appended, path, &bytes[appended..]).await.unwrap();
        assert_eq!(first, again);
        assert!(matches!(first.outcome, Outcome::Applied(_)));
        let other = finish(&world.server(), &id, appended, "/other", &bytes[appended..]).await;
        assert_eq!(finish_lookup(other), LookupError::NotFound, "it is another finish");
        assert_eq!(lookup(append(&world.server(), &id, bytes.len(), b"x").await), LookupError::NotFound);
    }
    assert_eq!(world.machine.paths(OWNER, OWNER.home), ["/nothing", "/shared", "/tail", "/whole"]);
}

#[tokio::test]
async fn a_refused_finish_leaves_the_session_and_another_place_takes_it() {
    let world = World::new();
    let server = world.server();
    server.upload(OWNER, &at("/taken"), None, &mut pieces(b"there")).await.unwrap();
    let id = start(&server).await;
    append(&server, &id, 0, b"some").await.unwrap();
    let refused = finish(&server, &id, 4, "/taken", b" more").await.unwrap();
    assert_eq!(refused.outcome, Outcome::Conflict { file: true, folder: false, file_ancestor: false });
    finish(&server, &id, 4, "/free", b" more").await.unwrap();
    assert_eq!(read(&server, "/free").await, b"some more");
}

#[tokio::test]
async fn a_closed_session_takes_nothing_more_and_needs_nothing_more() {
    let world = World::new();
    let server = world.server();
    let bytes = random(6, BLOCK + 77);
    let id = start(&server).await;
    append(&server, &id, 0, &bytes[..50]).await.unwrap();
    close(&server, &id, 50, &bytes[50..]).await.unwrap();
    assert_eq!(world.tails(), 0, "the last block is a block");
    assert_eq!(lookup(append(&server, &id, bytes.len(), b"x").await), LookupError::Closed);
    assert_eq!(lookup(close(&server, &id, bytes.len(), b"x").await), LookupError::Closed);
    assert_eq!(lookup(close(&server, &id, bytes.len() - 1, b"").await), LookupError::Closed);
    close(&server, &id, bytes.len(), b"").await.expect("it holds already: an answer may have been lost");
    assert_eq!(finish_lookup(finish(&server, &id, bytes.len(), "/f", b"x").await), LookupError::Closed);
    finish(&server, &id, bytes.len(), "/f", b"").await.unwrap();
    assert!(read(&server, "/f").await == bytes);

    let whole = start(&server).await;
    close(&server, &whole, 0, &bytes[..BLOCK]).await.unwrap();
    assert_eq!(finish_lookup(finish(&server, &whole, BLOCK, "/g", b"x").await), LookupError::Closed);

    let start = StartSession { close: true, ..StartSession::default() };
    let empty = server.start_session(OWNER, start, &mut EmptyBody).await.unwrap();
    assert_eq!(lookup(append(&server, &empty, 0, b"x").await), LookupError::Closed);
    assert_eq!(finish_lookup(finish(&server, &empty, 0, "/e", b"x").await), LookupError::Closed);
    finish(&server, &empty, 0, "/e", b"").await.unwrap();
    let full = server.start_session(OWNER, start, &mut pieces(b"all of it")).await.unwrap();
    finish(&server, &full, 9, "/h", b"").await.unwrap();
    assert_eq!((read(&server, "/e").await, read(&server, "/h").await), (vec![], b"all of it".to_vec()));
}

#[tokio::test]
async fn blocks_of_a_concurrent_session_come_in_any_order() {
    let world = World::new();
    let server = world.server();
    let bytes = random(7, 3 * BLOCK + 9);
    let id = start_concurrent(&server).await;
    let early = close(&server, &id, 3 * BLOCK, &bytes[3 * BLOCK..]).await;
    early.unwrap();
    append(&world.server(), &id, BLOCK, &bytes[BLOCK..2 * BLOCK]).await.unwrap();
    append(&world.server(), &id, BLOCK, &bytes[BLOCK..2 * BLOCK]).await.expect("the same again is harmless");
    let holes = finish(&server, &id, bytes.len(), "/f", &[]).await;
    assert!(matches!(holes, Err(FinishError::ConcurrentMissingData)), "{holes:?}");
    let (a, b) = tokio::join!(
        append(&server, &id, 0, &bytes[..BLOCK]),
        append(&server, &id, 2 * BLOCK, &bytes[2 * BLOCK..3 * BLOCK])
    );
    a.unwrap();
    b.unwrap();
    let with_data = finish(&server, &id, bytes.len(), "/f", b"x").await;
    assert!(matches!(with_data, Err(FinishError::ConcurrentDataNotAllowed)), "{with_data:?}");
    world.machine.reset();
    let put = finish(&server, &id, bytes.len(), "/f", &[]).await.unwrap();
    assert_eq!(world.machine.counts(), (vec![(SEAL, 1), (FINISH, 1)], 0));
    assert_eq!(put, finish(&world.server(), &id, bytes.len(), "/f", &[]).await.unwrap());
    assert!(read(&server, "/f").await == bytes);
}

#[tokio::test]
async fn a_concurrent_session_keeps_its_rules() {
    let world = World::new();
    let server = world.server();
    let start = |close| StartSession { close, is_concurrent: true, content_hash: None };
    let with_data = server.start_session(OWNER, start(false), &mut pieces(b"x")).await;
    assert!(matches!(with_data, Err(StartError::ConcurrentDataNotAllowed)), "{with_data:?}");
    let closed = server.start_session(OWNER, start(true), &mut EmptyBody).await;
    assert!(matches!(closed, Err(StartError::ConcurrentCloseNotAllowed)), "{closed:?}");
    let id = start_concurrent(&server).await;
    let bytes = random(8, BLOCK + 1);
    assert_eq!(lookup(append(&server, &id, 5, &bytes[..BLOCK]).await), LookupError::ConcurrentInvalidOffset);
    assert_eq!(lookup(append(&server, &id, 0, &bytes).await), LookupError::ConcurrentInvalidDataSize);
    let chunked = &mut Pieces::chunked(&bytes, 1 << 20);
    let odd = server.append_session(OWNER, (&id, 0), false, None, chunked).await;
    assert_eq!(lookup(odd), LookupError::ConcurrentInvalidDataSize);
    append(&server, &id, 0, &bytes[..BLOCK]).await.unwrap();
    let open = finish(&server, &id, BLOCK, "/f", &[]).await;
    assert!(matches!(open, Err(FinishError::ConcurrentNotClosed)), "{open:?}");
}

#[tokio::test]
async fn a_session_is_its_accounts_alone_and_an_id_cannot_be_made_up() {
    let world = World::new();
    let server = world.server();
    let id = start(&server).await;
    append(&server, &id, 0, b"mine").await.unwrap();
    let theirs = server.append_session(STRANGER, (&id, 4), false, None, &mut pieces(b"x")).await;
    assert_eq!(lookup(theirs), LookupError::NotFound);
    let target = PutTarget { nsid: STRANGER.home, ..at("/f") };
    let theirs = server.finish_session(STRANGER, &entry(&id, 4, target), None, &mut EmptyBody).await;
    assert_eq!(finish_lookup(theirs), LookupError::NotFound);
    let made_up = id.replace("pid_upload_session:A", "pid_upload_session:B");
    for id in ["", "pid_upload_session:x", &made_up] {
        assert_eq!(lookup(append(&server, id, 4, b"x").await), LookupError::NotFound);
    }
}

#[tokio::test]
async fn of_two_calls_at_one_offset_one_wins_and_the_other_is_told_where_the_session_is() {
    let world = World::new();
    let id = start(&world.server()).await;
    append(&world.server(), &id, 0, &[b'a'; 1000]).await.unwrap();
    for round in 0..8_usize {
        let offset = 1000 + 10 * round;
        let (one, two) = (world.server(), world.server());
        let (a, b) = tokio::join!(append(&one, &id, offset, &[b'b'; 10]), append(&two, &id, offset, &[b'c'; 10]));
        let lost = match (a, b) {
            (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
            both => panic!("{both:?}"),
        };
        assert_eq!(lookup::<()>(Err(lost)), offset_is(offset + 10));
    }
    finish(&world.server(), &id, 1080, "/f", b"").await.unwrap();
    let bytes = read(&world.server(), "/f").await;
    assert!(bytes[..1000] == [b'a'; 1000] && bytes.len() == 1080);
    assert!(bytes[1000..].chunks(10).all(|part| part == [b'b'; 10] || part == [b'c'; 10]), "no call is half there");
}

#[tokio::test]
async fn a_batch_of_closed_sessions_is_one_command_and_is_told_again() {
    let world = World::new();
    let server = world.server();
    let mut entries = Vec::new();
    for (at_path, length) in [("/a", 3), ("/b", BLOCK + 5), ("/c", 70_000)] {
        let id = start(&server).await;
        close(&server, &id, 0, &random(length as u64, length)).await.unwrap();
        entries.push(entry(&id, length, at(at_path)));
    }
    world.machine.reset();
    let ends = server.sessions().finish_sessions(OWNER, &entries).await.unwrap();
    assert_eq!(world.machine.counts(), (vec![(BATCH, 1)], 0));
    let first: Vec<Put> = ends.into_iter().map(Result::unwrap).collect();
    assert!(first.iter().all(|put| matches!(put.outcome, Outcome::Applied(_))), "{first:?}");
    assert_eq!(first[1].path_display.as_deref(), Some("/b"));
    let again = world.server().sessions().finish_sessions(OWNER, &entries).await.unwrap();
    assert_eq!(again.into_iter().map(Result::unwrap).collect::<Vec<_>>(), first);
    assert!(read(&server, "/b").await == random(BLOCK as u64 + 5, BLOCK + 5));
}

#[tokio::test]
async fn each_entry_of_a_batch_is_judged_by_itself_and_in_order() {
    let world = World::new();
    let server = world.server();
    let open = start(&server).await;
    append(&server, &open, 0, b"open").await.unwrap();
    let open_whole = start(&server).await;
    append(&server, &open_whole, 0, &random(1, BLOCK)).await.unwrap();
    let fresh = start(&server).await;
    let empty = start(&server).await;
    close(&server, &empty, 0, b"").await.unwrap();
    let good = start(&server).await;
    close(&server, &good, 0, b"good").await.unwrap();
    let second = start(&server).await;
    close(&server, &second, 0, b"second").await.unwrap();
    let concurrent = start_concurrent(&server).await;
    close(&server, &concurrent, 0, b"concurrent").await.unwrap();
    let shared = start(&server).await;
    close(&server, &shared, 0, b"for all").await.unwrap();
    let whole = start(&server).await;
    close(&server, &whole, 0, &random(2, BLOCK)).await.unwrap();
    let entries = [
        entry(&open, 4, at("/open")),
        entry(&open_whole, BLOCK, at("/open")),
        entry(&fresh, 0, at("/open")),
        entry(&empty, 0, at("/empty")),
        entry(&good, 4, at("/good")),
        entry(&second, 6, at("/good")),
        entry("pid_upload_session:none", 0, at("/none")),
        entry(&concurrent, 10, at("/concurrent")),
        entry(&shared, 7, at("/shared/f")),
        entry(&whole, BLOCK, at("/whole")),
        entry(&whole, BLOCK - 1, at("/whole")),
    ];
    // Asked again, all is told the same.
    for _ in 0..2 {
        let mut ends = server.sessions().finish_sessions(OWNER, &entries).await.unwrap().into_iter();
        let mut next = || ends.next().unwrap();
        for _ in 0..3 {
            assert_eq!(finish_lookup(next()), LookupError::NotClosed);
        }
        assert!(matches!(next().unwrap().outcome, Outcome::Applied(_)));
        assert!(matches!(next().unwrap().outcome, Outcome::Applied(_)));
        let taken = next().unwrap().outcome;
        assert_eq!(taken, Outcome::Conflict { file: true, folder: false, file_ancestor: false });
        assert_eq!(finish_lookup(next()), LookupError::NotFound);
        assert!(matches!(next().unwrap().outcome, Outcome::Applied(_)));
        assert_eq!(next().unwrap().outcome.metadata().unwrap().nsid, SHARED);
        assert!(matches!(next().unwrap().outcome, Outcome::Applied(_)));
        assert_eq!(finish_lookup(next()), LookupError::NotFound);
    }
    let paths = ["/concurrent", "/empty", "/good", "/shared", "/whole"];
    assert_eq!(world.machine.paths(OWNER, OWNER.home), paths);
    assert_eq!(read(&server, "/shared/f").await, b"for all");
    world.machine.check();
}

#[tokio::test]
async fn a_session_ends_in_the_namespace_of_its_target_however_that_is_named() {
    let world = World::new();
    let server = world.server();
    let bytes = random(9, BLOCK + 30);
    let by_mount = at("/shared/by mount");
    let by_number = PutTarget { nsid: SHARED, at: At::path("/by number"), ..PutTarget::default() };
    for (target, path) in [(by_mount, "/shared/by mount"), (by_number, "/shared/by number")] {
        let id = start(&server).await;
        append(&server, &id, 0, &bytes[..BLOCK + 10]).await.unwrap();
        let entry = entry(&id, BLOCK + 10, target);
        let finish = async || {
            let last = &mut pieces(&bytes[BLOCK + 10..]);
            world.server().finish_session(OWNER, &entry, None, last).await.unwrap()
        };
        let first = finish().await;
        assert_eq!(first.outcome.metadata().unwrap().nsid, SHARED);
        assert_eq!(finish().await.outcome.metadata(), first.outcome.metadata());
        assert!(read(&server, path).await == bytes);
        assert_eq!(world.machine.upload_rows(), 0);
    }
    assert_eq!(world.machine.paths(OWNER, SHARED), ["/by mount", "/by number"]);
    // What the account may not write is told as such, and the session stays.
    let id = start(&server).await;
    append(&server, &id, 0, b"x").await.unwrap();
    let theirs = PutTarget { nsid: STRANGER.home, at: At::path("/f"), ..PutTarget::default() };
    let refused = server.finish_session(OWNER, &entry(&id, 1, theirs), None, &mut EmptyBody).await.unwrap();
    assert_eq!(refused.outcome, Outcome::NoAccess);
    finish(&server, &id, 1, "/mine", b"").await.unwrap();
    world.machine.check();
}

#[tokio::test]
async fn many_ids_are_drawn_at_once_and_are_all_different() {
    let world = World::new();
    let caller: Caller = OWNER;
    let ids = world.server().sessions().start(caller, 1000, false).unwrap();
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 1000);
    assert_eq!(world.machine.counts(), (vec![], 0));
    close(&world.server(), &ids[999], 0, b"one of them").await.unwrap();
}
