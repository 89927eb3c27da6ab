//! What goes by itself when days go by: old rows of the journal, deleted subtrees, blocks, sessions.

use base::limits::BLOCK_BYTES;
use base::mono::Span;
use base::{Acct, BlockHash, GroupId, NodeId, Nsid, SessionId};
use meta::{At, Command, CommitFile, PresentBlock, PresentPart, PutMode, SessionAppend, SessionFinish, StoreAndCommit};
use meta::{NamespaceKind, UploadId};
use sha2::{Digest, Sha256};
use shard::Keep;

use super::{GROUPS, ROOT, World, begin, header, mkdir};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Tables whose rows are counted.
const NODE: u8 = 0x02;
const JOURNAL: u8 = 0x04;
const BLOCK: u8 = 0x06;
const UPLOAD: u8 = 0x0b;
const PURGE: u8 = 0x13;

/// A cluster whose leaders look around twice a second.
struct Long {
    world: World,
    session: SessionId,
    sequence: u64,
    request: u64,
}

impl Long {
    fn new(seed: u64, is_cold: bool) -> Long {
        let mut world = World::new(seed, 64);
        for id in 1..=3 {
            let node = world.nodes.get_mut(&NodeId(id)).unwrap();
            node.keep = Keep { look_every: Span::from_ms(500), ..Keep::default() };
            world.shard(NodeId(id)).store_mut().set_cold(is_cold);
        }
        // They know of it from their next start on.
        (1..=3).for_each(|id| world.crash(NodeId(id)));
        let session = begin(&mut world);
        Long { world, session, sequence: 0, request: 1_000 }
    }

    fn run(&mut self, command: &Command) -> meta::Outcome {
        self.sequence += 1;
        self.request += 1;
        let outcome = self.world.command(self.request, header(self.session, self.sequence, ROOT), command);
        assert!(outcome.is_ok(), "{command:?}: {outcome:?}");
        outcome
    }

    fn put(&mut self, path: &str, block: BlockHash) {
        let commit = CommitFile {
            at: At::path(path),
            mode: PutMode::Overwrite,
            size: BLOCK_BYTES,
            content_hash: Sha256::digest(block.0).into(),
            blocks: vec![block],
            ..CommitFile::default()
        };
        let present = vec![PresentPart { position: 0, bytes: BLOCK_BYTES as u32, put_at_ms: u64::MAX }];
        self.run(&Command::StoreAndCommit(StoreAndCommit { commit, present }));
    }

    fn delete(&mut self, path: &str) {
        self.run(&Command::Delete(meta::Delete { at: At::path(path), parent_rev: None }));
    }

    fn append(&mut self, id: UploadId, block: BlockHash) {
        let blocks = vec![PresentBlock { hash: block, bytes: BLOCK_BYTES as u32, put_at_ms: u64::MAX }];
        let append = SessionAppend { id, offset: 0, blocks, tail_bytes: 0, tail: 0, close: false };
        self.run(&Command::SessionAppend(append));
    }

    fn wall_ms(&self) -> u64 {
        1_700_000_000_000 + self.world.now.0 / 1_000_000 + self.world.leapt_ms
    }

    /// A day goes by, and the leaders have time to look around twice.
    fn sleep_a_day(&mut self) {
        self.world.leapt_ms += DAY_MS;
        self.world.run(Span::from_ms(1_300));
    }

    fn group() -> GroupId {
        base::group_of(ROOT, GROUPS)
    }

    fn keys(&mut self, table: u8) -> Vec<Vec<u8>> {
        let leader = self.world.leader(Long::group()).expect("the group has a leader");
        let rows = self.world.shard(leader).store().rows(Long::group());
        rows.into_iter()
            .map(|(key, _)| key)
            .filter(|key| key[0] == table && key[1..9] == ROOT.0.to_be_bytes())
            .collect()
    }

    fn count(&mut self, table: u8) -> usize {
        self.keys(table).len()
    }

    fn has_block(&mut self, block: BlockHash) -> bool {
        self.keys(BLOCK).iter().any(|key| key[9..] == block.0)
    }

    fn has_row(&mut self, jid: u64) -> bool {
        self.keys(JOURNAL).iter().any(|key| key[9..] == jid.to_be_bytes())
    }

    fn check(&mut self) {
        self.world.ensure_same(&[1, 2, 3]);
        for id in 1..=3 {
            for group in (0..GROUPS).map(GroupId) {
                meta::invariants::check(&self.world.shard(NodeId(id)).store().rows(group)).unwrap();
            }
        }
    }
}

fn block(n: u8) -> BlockHash {
    BlockHash([n; 32])
}

fn upload(nonce: u64, issued_ms: u64) -> UploadId {
    UploadId { nonce, issued_ms, is_concurrent: false }
}

fn finish(id: UploadId, path: &str, block: BlockHash) -> Command {
    let commit = CommitFile {
        at: At::path(path),
        mode: PutMode::Overwrite,
        size: BLOCK_BYTES,
        content_hash: Sha256::digest(block.0).into(),
        ..CommitFile::default()
    };
    Command::SessionFinish(Box::new(SessionFinish { id, offset: BLOCK_BYTES, rest: Vec::new(), commit, result: None }))
}

/// From what was there, to when it went.
fn days_of_old_rows(seed: u64, is_cold: bool) {
    let mut long = Long::new(seed, is_cold);
    let (replaced, newest, deleted, kept) = (block(1), block(2), block(3), block(4));
    let (expiring, finished) = (block(5), block(6));
    long.put("/f", replaced);
    let first_rev = 1;
    long.put("/f", newest);
    long.put("/kept", kept);
    for n in 0..3 {
        long.put(&format!("/d/{n}/file"), deleted);
    }
    let nodes = long.count(NODE);
    long.delete("/d");
    let start_ms = long.wall_ms();
    long.append(upload(50, start_ms), expiring);
    long.append(upload(51, start_ms), finished);
    // A session that begins when its block has had no reference for days.
    let late = upload(52, start_ms + 35 * DAY_MS);
    let mut gone = std::collections::BTreeMap::new();
    for day in 1..=62u64 {
        long.sleep_a_day();
        if day % 4 == 0 {
            (1..=3).for_each(|id| long.world.shard(NodeId(id)).checkpoint_soon());
        }
        // The leader stops in the middle of its work, and another one goes on.
        if [7, 15, 30, 31, 38, 40, 52].contains(&day) {
            let leader = long.world.leader(Long::group()).unwrap();
            long.world.crash(leader);
            long.world.run(Span::from_ms(2_500));
        }
        if day == 6 {
            long.run(&finish(upload(51, start_ms), "/finished", finished));
        }
        if day == 35 {
            assert!(long.has_block(replaced), "no reference since day 30 or 31");
            long.append(late, replaced);
        }
        if day == 41 {
            assert!(long.has_block(replaced), "more than 8 days without a file, and a session names it");
            long.run(&finish(late, "/again", replaced));
        }
        for lasting in [newest, kept, finished, replaced] {
            assert!(long.has_block(lasting), "seed {seed}, day {day}: {lasting:?}");
        }
        let mut note = |what: &'static str, is_gone: bool| {
            if is_gone {
                gone.entry(what).or_insert(day);
            } else {
                assert!(!gone.contains_key(what), "day {day}: {what} is back");
            }
        };
        note("replaced revision", !long.has_row(first_rev));
        note("deleted subtree", long.count(NODE) <= nodes - 7 + usize::from(day >= 6) + usize::from(day >= 41));
        note("its block", !long.has_block(deleted));
        note("session over", !long.keys(UPLOAD).iter().any(|key| key[9..] == 50u64.to_be_bytes()));
        note("its block, too", !long.has_block(expiring));
    }
    let day_of = |what: &str| *gone.get(what).unwrap_or_else(|| panic!("seed {seed}: {what} stays: {gone:?}"));
    assert!((30..=31).contains(&day_of("replaced revision")), "{gone:?}");
    assert!((30..=32).contains(&day_of("deleted subtree")), "{gone:?}");
    assert!((day_of("deleted subtree") + 8..=41).contains(&day_of("its block")), "{gone:?}");
    assert!((7..=8).contains(&day_of("session over")), "{gone:?}");
    assert!((day_of("session over") + 8..=17).contains(&day_of("its block, too")), "{gone:?}");
    assert_eq!(long.count(PURGE), 0);
    long.check();
}

#[test]
fn old_rows_go_in_their_time_though_leaders_stop() {
    (0..3).for_each(|seed| days_of_old_rows(seed, false));
}

#[test]
fn old_rows_go_in_their_time_from_a_cold_store() {
    (10..12).for_each(|seed| days_of_old_rows(seed, true));
}

#[test]
fn where_nothing_is_due_nothing_is_proposed() {
    let mut long = Long::new(5, false);
    long.put("/f", block(1));
    long.run(&mkdir("/a/b"));
    // A row of a file stays while the file does; those of folders go.
    (0..33).for_each(|_| long.sleep_a_day());
    assert_eq!((long.count(JOURNAL), long.count(BLOCK)), (1, 1));
    let last = |long: &mut Long| long.world.shard(NodeId(1)).log().last_index(Long::group());
    long.check();
    let before = last(&mut long);
    (0..40).for_each(|_| long.sleep_a_day());
    assert_eq!(last(&mut long), before, "no leader changed, and nobody asked for anything");
    long.check();
}

#[test]
fn many_namespaces_are_looked_through_at_a_bounded_pace() {
    let mut long = Long::new(6, false);
    let others: Vec<Nsid> = (1..)
        .map(|n| Nsid(ROOT.0 + n))
        .filter(|nsid| base::group_of(*nsid, GROUPS) == Long::group())
        .take(150)
        .collect();
    for (nsid, n) in others.iter().zip(0..) {
        let init = Command::NamespaceInit { owner: Acct(1), kind: NamespaceKind::Root, grant_bytes: 1 << 40 };
        assert!(long.world.command(5_000 + n * 2, of_system(*nsid), &init).is_ok());
        assert!(long.world.command(5_001 + n * 2, of_system(*nsid), &mkdir("/x")).is_ok());
    }
    let rows_of = |long: &mut Long| {
        let leader = long.world.leader(Long::group()).unwrap();
        let rows = long.world.shard(leader).store().rows(Long::group());
        rows.iter().filter(|(key, _)| key[0] == JOURNAL).count()
    };
    assert_eq!(rows_of(&mut long), 150);
    long.world.leapt_ms += 31 * DAY_MS;
    let leader = long.world.leader(Long::group()).unwrap();
    let mut steps = 0;
    while rows_of(&mut long) > 0 {
        let before = long.world.shard(leader).log().last_index(Long::group());
        long.world.run(Span::from_ms(100));
        let after = long.world.shard(leader).log().last_index(Long::group());
        assert!(after.0 - before.0 <= 8, "four commands a step, and no more");
        steps += 1;
        assert!(steps < 200, "{} rows are left", rows_of(&mut long));
    }
    assert!(steps >= 150 / 8, "{steps}");
    long.check();
}

fn of_system(nsid: Nsid) -> meta::CommandHeader {
    meta::CommandHeader { acct: Acct(0), ..header(SessionId(0), 0, nsid) }
}
