//! Uploads and downloads of the content host without HTTP, over the product's metadata machine and a real directory.

mod common;

use base::limits::{BLOCK_BYTES, CONTENT_BODY_BYTES_MAX};
use base::{BlockHash, Jid};
use blocks::content::{Body, BodyError, ContentError, Mode, PutTarget, ReadError};
use bytes::Bytes;
use common::*;
use meta::{At, Outcome, Rev, What};

const BLOCK: usize = BLOCK_BYTES as usize;
/// The kind of `StoreAndCommit`.
const STORE_AND_COMMIT: u8 = 10;

#[tokio::test]
async fn files_of_all_sizes_come_back_as_they_went_by_one_command_and_one_query() {
    let world = World::new();
    let server = world.server();
    for (seed, length) in [(1, 0), (2, 1), (3, BLOCK - 1), (4, BLOCK), (5, BLOCK + 1), (6, 9 * 1024 * 1024 + 17)] {
        let (bytes, path) = (random(seed, length), format!("/d/{length}"));
        world.machine.reset();
        let mut body = Pieces::of(&bytes, 100_003);
        let put = server.upload(OWNER, &at(&path), Some(content_hash(&bytes)), &mut body).await.unwrap();
        assert_eq!(world.machine.counts(), (vec![(STORE_AND_COMMIT, 1)], 0), "{length} bytes");
        let meta = put.outcome.metadata().expect("it was put");
        assert_eq!((meta.size, meta.content_hash), (length as u64, content_hash(&bytes)));
        assert_eq!(put.path_display.as_deref(), Some(&path[..]));
        world.machine.reset();
        assert_eq!(read(&server, &path).await, bytes, "{length} bytes");
        assert_eq!(world.machine.counts(), (vec![], 1));
        // The same by a body whose length nobody knows.
        let mut body = Pieces::chunked(&bytes, 3_000_001);
        let again = server.upload(OWNER, &at(&path), None, &mut body).await.unwrap();
        assert!(matches!(again.outcome, Outcome::Unchanged(_)), "{:?}", again.outcome);
    }
    world.machine.check();
    for memory in [server.uploads(), server.downloads()] {
        assert!(memory.peak_bytes() <= 4 * BLOCK_BYTES, "{} bytes at once", memory.peak_bytes());
        assert_eq!(memory.held_bytes(), 0, "all is given back");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_should_be_leaves_nothing_behind() {
    let world = World::new();
    let server = world.server();
    let bytes = random(1, 2 * BLOCK + 5);
    let hash = Some(content_hash(&bytes));
    let cut_off = server.upload(OWNER, &at("/f"), hash, &mut Pieces::truncated(&bytes, 1 << 20)).await;
    assert!(matches!(cut_off, Err(ContentError::Body(BodyError::Truncated(_)))), "{cut_off:?}");
    for (piece, length) in [(1 << 20, bytes.len() - 1), (77_777, BLOCK), (5, 10)] {
        let wrong = server.upload(OWNER, &at("/f"), hash, &mut Pieces::of(&bytes[..length], piece)).await;
        assert!(matches!(wrong, Err(ContentError::ContentHashMismatch)), "{wrong:?}");
    }
    assert_eq!(world.machine.counts(), (vec![], 0), "nobody was asked for anything");
    assert_eq!(world.machine.paths(OWNER, OWNER.home), ["/shared"]);
    assert_eq!(server.uploads().held_bytes(), 0);
}

/// Zeros without end, for as long as somebody wants them.
struct Endless {
    length: Option<u64>,
    told: u64,
}

impl Body for Endless {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        const ZEROS: &[u8] = &[0; 1 << 20];
        self.told += ZEROS.len() as u64;
        Some(Ok(Bytes::from_static(ZEROS)))
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

#[tokio::test]
async fn a_body_above_the_bound_is_refused_by_its_length_unread_and_else_by_counting() {
    let world = World::new();
    let server = world.server();
    let mut body = Endless { length: Some(CONTENT_BODY_BYTES_MAX + 1), told: 0 };
    let refused = server.upload(OWNER, &at("/f"), None, &mut body).await;
    assert!(matches!(refused, Err(ContentError::PayloadTooLarge { .. })), "{refused:?}");
    assert_eq!(body.told, 0);
    let mut body = Endless { length: None, told: 0 };
    let refused = server.upload(OWNER, &at("/f"), None, &mut body).await;
    assert!(matches!(refused, Err(ContentError::PayloadTooLarge { .. })), "{refused:?}");
    assert_eq!(body.told, CONTENT_BODY_BYTES_MAX + (1 << 20));
    assert!(server.uploads().peak_bytes() <= 4 * BLOCK_BYTES);
    assert_eq!(world.machine.counts(), (vec![], 0));
}

#[tokio::test]
async fn what_is_in_the_way_is_told_and_modes_do_what_they_say() {
    let world = World::new();
    let server = world.server();
    let put = async |target: &PutTarget, bytes: &[u8]| {
        server.upload(OWNER, target, None, &mut Pieces::of(bytes, 4)).await.unwrap()
    };
    let first = put(&at("/a.txt"), b"one").await;
    let rev = first.outcome.metadata().unwrap().rev().unwrap();
    let conflict = put(&at("/A.TXT"), b"two").await;
    assert_eq!(conflict.outcome, Outcome::Conflict { file: true, folder: false, file_ancestor: false });
    assert_eq!(conflict.path_display, None);
    let renamed = put(&PutTarget { autorename: true, ..at("/a.txt") }, b"two").await;
    assert_eq!(renamed.path_display.as_deref(), Some("/a (1).txt"));
    let elsewhere = Rev { nsid: SHARED, jid: rev.jid };
    let stale = put(&PutTarget { mode: Mode::Update(elsewhere), ..at("/a.txt") }, b"three").await;
    assert!(
        matches!(stale.outcome, Outcome::Conflict { file: true, .. }),
        "a rev of another namespace is never current"
    );
    let updated = put(&PutTarget { mode: Mode::Update(rev), ..at("/a.txt") }, b"three").await;
    assert!(matches!(updated.outcome, Outcome::Applied(_)));
    let overwritten = put(&PutTarget { mode: Mode::Overwrite, ..at("/a.txt") }, b"four").await;
    assert!(matches!(overwritten.outcome, Outcome::Applied(_)));
    assert_eq!(read(&server, "/a.txt").await, b"four");
    // By its id the file has no path to be told by.
    let node = overwritten.outcome.metadata().unwrap().node;
    let by_id = PutTarget { nsid: OWNER.home, at: At::node(node), mode: Mode::Overwrite, ..PutTarget::default() };
    let by_id = put(&by_id, b"five").await;
    assert!(by_id.outcome.is_ok(), "{by_id:?}");
    assert_eq!((by_id.path_display, read(&server, "/a.txt").await), (None, b"five".to_vec()));
}

#[tokio::test]
async fn a_path_through_a_mount_leads_into_its_namespace_for_puts_and_reads() {
    let world = World::new();
    let server = world.server();
    let target = PutTarget { autorename: true, ..at("/Shared/in/f.txt") };
    for (content, path) in [(&b"ours"[..], "/Shared/in/f.txt"), (b"also", "/Shared/in/f (1).txt")] {
        world.machine.reset();
        let put = server.upload(OWNER, &target, None, &mut Pieces::of(content, 4)).await.unwrap();
        assert_eq!(put.outcome.metadata().expect("it was put").nsid, SHARED);
        assert_eq!(put.path_display.as_deref(), Some(path));
        assert_eq!(world.machine.counts(), (vec![(STORE_AND_COMMIT, 2)], 0));
        assert_eq!(read(&server, path).await, content);
    }
    let plan = server.plan(OWNER, OWNER.home, What::At(At::path("/SHARED/IN/F.TXT"))).await.unwrap();
    assert_eq!(plan.path_display.as_deref(), Some("/SHARED/in/f.txt"));
}

#[tokio::test]
async fn what_another_has_is_not_told_from_what_is_not_there() {
    let world = World::new();
    let server = world.server();
    let put = server.upload(OWNER, &at("/f"), None, &mut Pieces::of(b"mine", 4)).await.unwrap();
    let rev = put.outcome.metadata().unwrap().rev_jid;
    for what in [What::At(At::path("/f")), What::At(At::path("/none")), What::Rev(rev), What::Rev(Jid(99))] {
        let refused = server.plan(STRANGER, OWNER.home, what.clone()).await.unwrap_err();
        assert!(matches!(refused, ReadError::NotFound), "{what:?}: {refused:?}");
    }
    let folder = server.plan(OWNER, OWNER.home, What::At(At::path(""))).await.unwrap_err();
    assert!(matches!(folder, ReadError::NotFile), "{folder:?}");
    let below = server.plan(OWNER, OWNER.home, What::At(At::path("/f/g"))).await.unwrap_err();
    assert!(matches!(below, ReadError::NotFound | ReadError::NotFolder), "{below:?}");
    let theirs = PutTarget { nsid: OWNER.home, at: At::path("/g"), ..PutTarget::default() };
    let theirs = server.upload(STRANGER, &theirs, None, &mut Pieces::of(b"theirs", 4)).await.unwrap();
    assert_eq!(theirs.outcome, Outcome::NoAccess);
}

#[tokio::test]
async fn a_range_is_those_bytes_of_the_planned_revision() {
    let world = World::new();
    let server = world.server();
    let bytes = random(3, 3 * BLOCK + 100);
    server.upload(OWNER, &at("/f"), None, &mut Pieces::of(&bytes, 1 << 20)).await.unwrap();
    let plan = server.plan(OWNER, OWNER.home, What::At(At::path("/f"))).await.unwrap();
    let replaced = PutTarget { mode: Mode::Overwrite, ..at("/f") };
    server.upload(OWNER, &replaced, None, &mut Pieces::of(b"other", 4)).await.unwrap();
    let size = bytes.len();
    for range in [0..1, 0..size, BLOCK - 1..BLOCK + 1, BLOCK..2 * BLOCK, 5..3 * BLOCK, size - 1..size, 7..7] {
        let told = read_bytes(&server, plan.clone(), range.start as u64..range.end as u64).await;
        assert!(told == bytes[range.clone()], "{range:?}");
    }
    assert_eq!(read(&server, "/f").await, b"other");
    assert!(server.downloads().peak_bytes() <= 4 * BLOCK_BYTES);
}

#[tokio::test]
async fn a_block_that_rotted_ends_the_download_before_its_first_byte() {
    let world = World::new();
    let server = world.server();
    let bytes = random(4, 2 * BLOCK + 9);
    server.upload(OWNER, &at("/f"), None, &mut Pieces::of(&bytes, 1 << 20)).await.unwrap();
    let bad: BlockHash = blocks::store::hash_of(&bytes[BLOCK..2 * BLOCK]);
    let name = bad.to_string();
    let object = world.directory.path().join("blocks").join(&name[..2]).join(&name);
    let damages: [&dyn Fn(); 2] =
        [&|| std::fs::write(&object, vec![0; BLOCK]).unwrap(), &|| std::fs::remove_file(&object).unwrap()];
    for damage in damages {
        damage();
        let plan = server.plan(OWNER, OWNER.home, What::At(At::path("/f"))).await.unwrap();
        let mut download = server.read(OWNER, plan, 10..2 * BLOCK_BYTES + 9);
        assert!(download.next().await.unwrap().unwrap() == bytes[10..BLOCK]);
        let ended = download.next().await.unwrap();
        assert!(matches!(ended, Err(ContentError::Internal(_))), "{ended:?}");
        assert!(download.next().await.is_none());
    }
}

#[tokio::test]
async fn no_leader_is_told_as_such_and_the_same_call_later_does_it() {
    let world = World::new();
    let server = world.server();
    world.machine.set_away(true);
    let away = server.upload(OWNER, &at("/f"), None, &mut Pieces::of(b"x", 1)).await;
    assert!(matches!(away, Err(ContentError::Unavailable(_))), "{away:?}");
    world.machine.set_away(false);
    assert!(server.upload(OWNER, &at("/f"), None, &mut Pieces::of(b"x", 1)).await.unwrap().outcome.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_uploads_at_once_share_the_memory_and_all_end() {
    let world = World::new();
    let server = world.server();
    let mut calls = tokio::task::JoinSet::new();
    for seed in 0..24_u64 {
        let server = server.clone();
        calls.spawn(async move {
            let bytes = random(seed, 5 * 1024 * 1024 + seed as usize);
            let mut body = Pieces::chunked(&bytes, 300_000);
            let put = server.upload(OWNER, &at(&format!("/{seed}")), None, &mut body).await.unwrap();
            put.outcome.is_ok()
        });
    }
    assert!(calls.join_all().await.into_iter().all(|is_ok| is_ok));
    assert_eq!(world.machine.paths(OWNER, OWNER.home).len(), 25);
    assert!(server.uploads().peak_bytes() <= base::limits::BLOCK_MEMORY_BYTES_MAX as u64);
}
