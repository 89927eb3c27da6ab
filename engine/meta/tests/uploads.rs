//! Files that come in many calls: in order, in any order, cut off, repeated, and never finished.

mod common;

use base::{Acct, BlockHash};
use common::*;
use meta::*;

const BLOCK: u64 = 4 << 20;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn whole(n: u32) -> PresentBlock {
    PresentBlock { hash: hash_of(&n.to_le_bytes()), bytes: BLOCK as u32, put_at_ms: u64::MAX }
}

fn short(n: u32, bytes: u32) -> PresentBlock {
    PresentBlock { hash: hash_of(&[n.to_le_bytes(), bytes.to_le_bytes()].concat()), bytes, put_at_ms: u64::MAX }
}

fn id(nonce: u64) -> UploadId {
    UploadId { nonce, issued_ms: STAMP, is_concurrent: false }
}

fn append(id: UploadId, offset: u64, blocks: Vec<PresentBlock>, tail_bytes: u32) -> Command {
    Command::SessionAppend(SessionAppend { id, offset, blocks, tail_bytes, tail: u64::from(tail_bytes), close: false })
}

fn closing(command: Command) -> Command {
    match command {
        Command::SessionAppend(append) => Command::SessionAppend(SessionAppend { close: true, ..append }),
        other => panic!("{other:?} does not close"),
    }
}

fn names(blocks: &[PresentBlock]) -> Vec<BlockHash> {
    blocks.iter().map(|block| block.hash).collect()
}

/// A finish of all blocks at `path`, the last `rest` of them brought now.
fn finish(id: UploadId, offset: u64, path: &str, all: &[PresentBlock], rest: usize) -> Command {
    let commit = CommitFile {
        at: At::path(path),
        mode: PutMode::Add,
        size: all.iter().map(|block| u64::from(block.bytes)).sum(),
        content_hash: content_hash(&names(all)),
        ..CommitFile::default()
    };
    Command::SessionFinish(Box::new(SessionFinish {
        id,
        offset,
        rest: all[all.len() - rest..].to_vec(),
        commit,
        result: None,
    }))
}

fn blocklist(world: &mut World, path: &str) -> Vec<(BlockHash, u32)> {
    match world.ask(&Query::Blocklist { what: What::At(At::path(path)), first: 0 }) {
        Answer::Blocklist { blocks, .. } => blocks,
        other => panic!("{other:?}"),
    }
}

fn rows_of(world: &World, tables: &[u8]) -> usize {
    world.store.rows(GROUP).iter().filter(|(key, _)| tables.contains(&key[0])).count()
}

fn sweep_blocks(world: &mut World) {
    while world.run_as(Acct(0), Command::BlockSweep { limit: 7 }).is_ok_with_more() {
        world.check();
    }
    world.check();
}

trait HasMore {
    fn is_ok_with_more(&self) -> bool;
}

impl HasMore for Outcome {
    fn is_ok_with_more(&self) -> bool {
        match self {
            Outcome::Swept { has_more, .. } => *has_more,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn calls_in_order_make_one_file_with_the_blocks_in_order() {
    let mut world = World::new();
    let id = id(1);
    let mut all: Vec<PresentBlock> = (0..6).map(whole).collect();
    all.push(short(6, 700));
    assert_eq!(world.run(append(id, 0, all[..2].to_vec(), 5)), Outcome::Done);
    assert_eq!(world.run(append(id, 2 * BLOCK + 5, all[2..6].to_vec(), 300)), Outcome::Done);
    assert!(world.paths().is_empty(), "no half file is ever seen");
    let told = world.run(finish(id, 6 * BLOCK + 300, "/d/big", &all, 1));
    let meta = told.metadata().expect("it was put").clone();
    assert_eq!((meta.size, meta.content_hash), (6 * BLOCK + 700, content_hash(&names(&all))));
    assert_eq!(blocklist(&mut world, "/d/big"), all.iter().map(|block| (block.hash, block.bytes)).collect::<Vec<_>>());
    assert_eq!(rows_of(&world, &[0x0b]), 0);
    // Told again, though by another command of another session; with other arguments there is no such upload.
    assert_eq!(world.run(finish(id, 6 * BLOCK + 300, "/d/big", &all, 1)), told);
    assert_eq!(world.run(finish(id, 6 * BLOCK + 300, "/elsewhere", &all, 1)), Outcome::NotFound);
    assert_eq!(world.run(append(id, 6 * BLOCK + 300, vec![], 301)), Outcome::NotFound);
    world.stamp_ms += 8 * DAY_MS;
    sweep_blocks(&mut world);
    assert_eq!(rows_of(&world, &[0x0c]), 0);
    assert_eq!(blocklist(&mut world, "/d/big").len(), 7);
}

#[test]
fn a_wrong_offset_is_told_the_right_one_and_appends_nothing() {
    let mut world = World::new();
    let id = id(1);
    assert_eq!(world.run(append(id, 5, vec![whole(0)], 0)), Outcome::IncorrectOffset { correct: 0 });
    assert_eq!(rows_of(&world, &[0x06, 0x07, 0x08, 0x0b]), 0);
    assert_eq!(world.run(append(id, 0, vec![whole(0)], 9)), Outcome::Done);
    let retried = append(id, 0, vec![whole(0)], 9);
    assert_eq!(world.run(retried), Outcome::IncorrectOffset { correct: BLOCK + 9 });
    assert_eq!(world.run(append(id, BLOCK + 9, vec![], 3)), Outcome::Malformed, "bytes do not go away");
    assert_eq!(world.run(append(id, BLOCK + 9, vec![short(1, 10)], 0)), Outcome::Malformed, "a block is whole");
    assert_eq!(world.run(append(id, BLOCK + 9, vec![], BLOCK as u32)), Outcome::Malformed, "a tail is none");
    assert_eq!(world.run(closing(append(id, BLOCK + 9, vec![], 10))), Outcome::Done);
    assert_eq!(world.run(append(id, BLOCK + 10, vec![], 11)), Outcome::Closed);
    let all = [whole(0), short(1, 10)];
    let early = finish(id, BLOCK, "/f", &all, 1);
    assert_eq!(world.run(early), Outcome::IncorrectOffset { correct: BLOCK + 10 });
    assert!(world.run(finish(id, BLOCK + 10, "/f", &all, 1)).is_ok());
}

/// As a server asks that has not seen the whole: the hash is left to the session.
fn unhashed(command: Command) -> Command {
    let Command::SessionFinish(mut finish) = command else { panic!("it is a finish") };
    finish.commit.content_hash = HASH_OF_SESSION;
    Command::SessionFinish(finish)
}

#[test]
fn a_closing_call_may_end_in_a_short_block_and_the_session_is_then_a_file_by_its_offset_alone() {
    let mut world = World::new();
    let id = id(1);
    let all = [whole(0), whole(1), short(2, 700)];
    assert_eq!(world.run(append(id, 0, vec![whole(0)], 9)), Outcome::Done);
    let with_tail = closing(append(id, BLOCK + 9, vec![whole(1), short(2, 700)], 3));
    assert_eq!(world.run(with_tail), Outcome::Malformed, "a short block is the last one");
    let not_last = closing(append(id, BLOCK + 9, vec![short(2, 700), whole(1)], 0));
    assert_eq!(world.run(not_last), Outcome::Malformed);
    assert_eq!(world.run(closing(append(id, BLOCK + 9, all[1..].to_vec(), 0))), Outcome::Done);
    assert_eq!(world.run(append(id, 2 * BLOCK + 700, vec![], 1)), Outcome::Closed);
    let more = [all.as_slice(), &[short(3, 5)]].concat();
    assert_eq!(world.run(unhashed(finish(id, 2 * BLOCK + 700, "/f", &more, 1))), Outcome::Closed);
    let asked = unhashed(finish(id, 2 * BLOCK + 700, "/f", &all, 0));
    let told = world.run(asked.clone());
    let meta = told.metadata().expect("it was put").clone();
    assert_eq!((meta.size, meta.content_hash), (2 * BLOCK + 700, content_hash(&names(&all))));
    assert_eq!(blocklist(&mut world, "/f"), all.iter().map(|block| (block.hash, block.bytes)).collect::<Vec<_>>());
    assert_eq!(world.run(asked), told);
    world.check();
}

#[test]
fn a_finish_without_a_hash_is_judged_by_the_sessions_own() {
    let mut world = World::new();
    let all = [whole(0), short(1, 10)];
    assert_eq!(world.run(append(id(1), 0, vec![whole(0)], 10)), Outcome::Done);
    let tailed = unhashed(finish(id(1), BLOCK + 10, "/f", &all[..1], 0));
    assert_eq!(world.run(tailed), Outcome::BadContentHash, "an open tail is no block yet");
    let told = world.run(unhashed(finish(id(1), BLOCK + 10, "/f", &all, 1)));
    assert!(matches!(told, Outcome::Applied(_)), "{told:?}");
    // The last blocks are not part of the question: whoever asks again cannot tell them any more.
    let Command::SessionFinish(mut again) = unhashed(finish(id(1), BLOCK + 10, "/f", &all, 1)) else { panic!() };
    again.rest.clear();
    assert_eq!(world.run(Command::SessionFinish(again)), told);
    // The same content at the same place is no new revision.
    assert_eq!(world.run(append(id(2), 0, vec![whole(0)], 10)), Outcome::Done);
    let same = world.run(unhashed(finish(id(2), BLOCK + 10, "/f", &all, 1)));
    assert!(matches!(same, Outcome::Unchanged(_)), "{same:?}");
    world.check();
}

#[test]
fn a_session_is_its_accounts_and_lives_seven_days() {
    let mut world = World::new();
    let id = id(1);
    world.run(append(id, 0, vec![whole(0), whole(1)], 0));
    let all = [whole(0), whole(1)];
    // The system has all rights, and still no session of another.
    assert_eq!(world.run_as(Acct(0), append(id, 2 * BLOCK, vec![], 1)), Outcome::NotFound);
    assert_eq!(world.run_as(Acct(0), finish(id, 2 * BLOCK, "/f", &all, 0)), Outcome::NotFound);
    assert_eq!(world.run_as(Acct(99), append(id, 2 * BLOCK, vec![], 1)), Outcome::NoAccess);
    world.stamp_ms = STAMP + 7 * DAY_MS - 10;
    sweep_blocks(&mut world);
    assert_eq!(rows_of(&world, &[0x0b]), 1);
    world.stamp_ms = STAMP + 7 * DAY_MS;
    assert_eq!(world.run(finish(id, 2 * BLOCK, "/f", &all, 0)), Outcome::NotFound);
    sweep_blocks(&mut world);
    assert_eq!(rows_of(&world, &[0x0b]), 0);
    sweep_blocks(&mut world);
    assert_eq!((rows_of(&world, &[0x07, 0x08]), rows_of(&world, &[0x06])), (0, 2), "blocks have their own grace");
    world.stamp_ms += 8 * DAY_MS;
    sweep_blocks(&mut world);
    assert_eq!(rows_of(&world, &[0x06, 0x07, 0x08, 0x0b, 0x0c, 0x14]), 0, "nothing is left of it");
}

#[test]
fn a_refused_finish_leaves_the_session_as_it_was() {
    let mut world = World::new();
    let id = id(1);
    let all = [whole(0), whole(1), short(2, 10)];
    world.run(append(id, 0, all[..2].to_vec(), 10));
    world.put("/f", b"in the way");
    let before = rows_of(&world, &[0x06, 0x07, 0x08, 0x0b, 0x0c]);
    let at = |path| finish(id, 2 * BLOCK + 10, path, &all, 1);
    assert_eq!(world.run(at("/f")), Outcome::Conflict { file: true, folder: false, file_ancestor: false });
    let Command::SessionFinish(wrong) = at("/g") else { panic!("it is a finish") };
    let with = |change: fn(&mut SessionFinish)| {
        let mut wrong = wrong.clone();
        change(&mut wrong);
        Command::SessionFinish(wrong)
    };
    for wrong in [
        with(|wrong| wrong.commit.content_hash[0] ^= 1),
        with(|wrong| wrong.commit.size += 1),
        with(|wrong| wrong.commit.size += BLOCK),
        with(|wrong| wrong.rest.clear()),
        with(|wrong| wrong.rest[0].bytes = 9),
        with(|wrong| wrong.commit.blocks.push(hash_of(b"x"))),
    ] {
        assert_eq!(world.run(wrong), Outcome::BadContentHash);
    }
    assert_eq!(rows_of(&world, &[0x06, 0x07, 0x08, 0x0b, 0x0c]), before);
    assert!(world.run(at("/g")).is_ok());
    // Again under another session, with the same content: unchanged, and its list goes.
    let again = UploadId { nonce: 2, ..id };
    world.run(append(again, 0, all[..2].to_vec(), 10));
    assert!(matches!(world.run(finish(again, 2 * BLOCK + 10, "/g", &all, 1)), Outcome::Unchanged(_)));
    sweep_blocks(&mut world);
    assert_eq!(rows_of(&world, &[0x07]), 1);
}

#[test]
fn a_session_may_bring_all_with_its_finish_or_nothing_at_all() {
    let mut world = World::new();
    let one = [short(0, 10)];
    assert!(world.run(finish(id(1), 0, "/one", &one, 1)).is_ok());
    assert!(world.run(finish(id(2), 0, "/empty", &[], 0)).is_ok());
    assert_eq!(world.run(finish(id(3), 10, "/late", &one, 0)), Outcome::NotFound);
    assert_eq!(world.run(finish(id(0), 0, "/none", &one, 1)), Outcome::NotFound, "0 is no session");
    let batch = vec![finish(id(4), 0, "/b1", &one, 1), finish(id(5), 0, "/one/x", &one, 1)];
    let outcome = world.run(Command::CommitBatch(CommitBatch { atomic: true, parts: batch }));
    assert!(matches!(outcome, Outcome::Batch { failed: Some(1), .. }));
    assert!(world.lookup("/b1").is_none());
    assert_eq!(rows_of(&world, &[0x0c]), 2);
    let late = PresentBlock { put_at_ms: STAMP - 2 * 60 * 60 * 1000, ..short(9, 9) };
    assert_eq!(world.run(finish(id(6), 0, "/old", &[late], 1)), Outcome::NeedBlocks(vec![0]));
}

#[test]
fn concurrent_calls_come_in_any_order_and_a_hole_is_missing_data() {
    let mut world = World::new();
    let id = UploadId { is_concurrent: true, ..id(1) };
    let mut all: Vec<PresentBlock> = (0..1030).map(whole).collect();
    all.push(short(1030, 77));
    let size = 1030 * BLOCK + 77;
    assert_eq!(world.run(append(id, 1, vec![whole(0)], 0)), Outcome::Malformed);
    assert_eq!(world.run(append(id, 0, vec![whole(0)], 1)), Outcome::Malformed);
    assert_eq!(world.run(append(id, 0, vec![short(0, 9)], 0)), Outcome::Malformed, "only the closing call ends so");
    assert_eq!(rows_of(&world, &[0x06, 0x07, 0x08, 0x0b]), 0);
    assert_eq!(world.run(append(id, 500 * BLOCK, all[500..1000].to_vec(), 0)), Outcome::Done);
    assert_eq!(world.run(append(id, 0, all[..490].to_vec(), 0)), Outcome::Done);
    assert_eq!(world.run(append(id, 0, all[..490].to_vec(), 0)), Outcome::Done, "the same again");
    let other = append(id, 3 * BLOCK, vec![whole(9999)], 0);
    assert!(matches!(world.run(other), Outcome::IncorrectOffset { .. }));
    assert_eq!(world.run(Command::SessionSeal(id)), Outcome::NotClosed);
    assert_eq!(world.run(finish(id, 1000 * BLOCK, "/f", &all[..1000], 0)), Outcome::NotClosed);
    assert_eq!(world.run(closing(append(id, 1000 * BLOCK, all[1000..].to_vec(), 0))), Outcome::Done);
    assert_eq!(world.run(append(id, 1031 * BLOCK, vec![whole(7)], 0)), Outcome::Closed);
    assert_eq!(world.run(Command::SessionSeal(id)), Outcome::MissingData);
    assert_eq!(world.run(finish(id, size, "/f", &all, 0)), Outcome::MissingData);
    assert_eq!(world.run(append(id, 490 * BLOCK, all[490..500].to_vec(), 0)), Outcome::Done, "the hole is filled");
    assert_eq!(world.run(Command::SessionSeal(id)), Outcome::Swept { nodes: 1024, has_more: true });
    assert_eq!(world.run(Command::SessionSeal(id)), Outcome::Swept { nodes: 7, has_more: false });
    assert_eq!(world.run(Command::SessionSeal(id)), Outcome::Swept { nodes: 0, has_more: false });
    assert!(world.run(finish(id, size, "/f", &all, 0)).is_ok());
    let told = blocklist(&mut world, "/f");
    assert_eq!(told, all.iter().map(|block| (block.hash, block.bytes)).collect::<Vec<_>>());
    world.delete("/f");
    let floor = world.head();
    world.run_as(Acct(0), Command::JournalTrim { floor });
    sweep_blocks(&mut world);
    sweep_blocks(&mut world);
    assert_eq!(rows_of(&world, &[0x07, 0x08]), 0, "part by part");
}

#[test]
fn a_cold_store_changes_no_outcome_of_an_upload() {
    let mut world = World::new();
    let id = id(1);
    let all: Vec<PresentBlock> = (0..40).map(whole).collect();
    for (at, chunk) in all.chunks(8).enumerate() {
        world.store.checkpoint();
        world.store.set_cold(true);
        let before = world.store.prefetches();
        assert_eq!(world.run(append(id, at as u64 * 8 * BLOCK, chunk.to_vec(), 0)), Outcome::Done);
        assert!(world.store.prefetches() - before <= 12, "rows are asked for together");
    }
    assert!(world.run(finish(id, 40 * BLOCK, "/f", &all, 0)).is_ok());
    world.store.set_cold(false);
    assert_eq!(blocklist(&mut world, "/f").len(), 40);
}
