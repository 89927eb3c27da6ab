//! What goes when nobody needs it: bounded steps, nothing that is still referred to, and nothing kept for ever.

mod common;

use base::{Acct, BlockHash, Jid, LogIndex, Nsid, Sequence};
use common::*;
use meta::*;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn system(world: &mut World, command: Command) -> Outcome {
    let outcome = world.run_as(Acct(0), command);
    world.check();
    outcome
}

/// As often as there is more; the most that one step did.
fn to_its_end(world: &mut World, command: &Command) -> u32 {
    let mut most = 0;
    loop {
        match system(world, command.clone()) {
            Outcome::Swept { nodes, has_more } => {
                most = most.max(nodes);
                if !has_more {
                    return most;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn collect_all(world: &mut World) {
    let floor = world.head();
    for command in [
        Command::Sweep { limit: 0 },
        Command::JournalTrim { floor },
        Command::Purge { limit: 0 },
        Command::BlockSweep { limit: 0 },
    ] {
        to_its_end(world, &command);
    }
}

fn rows_of(world: &World, table: u8) -> usize {
    world.store.rows(world.group).iter().filter(|(key, _)| key[0] == table).count()
}

fn knows(world: &mut World, hash: BlockHash) -> bool {
    world.ask(&Query::HasBlocks(vec![hash])) == Answer::HasBlocks(vec![true])
}

#[test]
fn only_the_system_trims() {
    let mut world = World::new();
    world.mkdir("/a");
    for command in
        [Command::JournalTrim { floor: Jid(1) }, Command::Purge { limit: 0 }, Command::BlockSweep { limit: 0 }]
    {
        assert_eq!(world.run_as(OWNER, command.clone()), Outcome::NoAccess);
        assert_eq!(world.run_as(Acct(77), command), Outcome::NoAccess);
    }
}

#[test]
fn a_floor_resets_older_cursors_and_never_goes_back() {
    let mut world = World::new();
    ["/a", "/b", "/c", "/d"].iter().for_each(|path| drop(world.mkdir(path)));
    assert_eq!(
        system(&mut world, Command::JournalTrim { floor: Jid(3) }),
        Outcome::Swept { nodes: 3, has_more: false }
    );
    assert_eq!(
        system(&mut world, Command::JournalTrim { floor: Jid(1) }),
        Outcome::Swept { nodes: 0, has_more: false }
    );
    let delta = |since| Query::Delta { cursor: DeltaCursor::at(Jid(since)), limit: 0 };
    assert_eq!(world.ask(&delta(2)), Answer::Reset);
    assert!(matches!(world.ask(&delta(3)), Answer::Delta { changes, .. } if changes.len() == 1));
    // Beyond the head is the head.
    assert_eq!(
        system(&mut world, Command::JournalTrim { floor: Jid(99) }),
        Outcome::Swept { nodes: 1, has_more: false }
    );
    assert!(matches!(world.ask(&delta(4)), Answer::Delta { changes, .. } if changes.is_empty()));
    assert_eq!(world.paths(), ["/a", "/b", "/c", "/d"]);
    assert_eq!(rows_of(&world, 4), 0, "folders need no rows of the journal");
}

#[test]
fn a_leader_finds_the_floor_of_a_time_and_what_is_to_be_purged() {
    let mut world = World::new();
    assert_eq!(trim_floor(&world.store, GROUP, NSID, u64::MAX, &mut Vec::new()), Ok(Jid(0)));
    let mut stamps = Vec::new();
    for n in 0..9 {
        world.stamp_ms += n * DAY_MS;
        world.mkdir(&format!("/{n}/x"));
        stamps.extend([world.stamp_ms; 2]);
    }
    let floor_of = |world: &World, before_ms| trim_floor(&world.store, GROUP, NSID, before_ms, &mut Vec::new());
    for before_ms in stamps.iter().flat_map(|stamp| [stamp - 1, *stamp, stamp + 1]) {
        let older = stamps.iter().filter(|stamp| **stamp < before_ms).count() as u64;
        assert_eq!(floor_of(&world, before_ms), Ok(Jid(older)));
    }
    world.delete("/3");
    system(&mut world, Command::Sweep { limit: 0 });
    system(&mut world, Command::JournalTrim { floor: Jid(5) });
    assert_eq!(floor_of(&world, 0), Ok(Jid(5)), "a floor never goes back");
    assert_eq!(purge_due(&world.store, GROUP, Nsid(0), &mut Vec::new()), Ok(None));
    let floor = floor_of(&world, u64::MAX).unwrap();
    assert_eq!(floor, world.head());
    system(&mut world, Command::JournalTrim { floor });
    assert_eq!(purge_due(&world.store, GROUP, Nsid(0), &mut Vec::new()), Ok(Some(NSID)));
    to_its_end(&mut world, &Command::Purge { limit: 0 });
    assert_eq!(purge_due(&world.store, GROUP, Nsid(0), &mut Vec::new()), Ok(None));
    assert_eq!(trim_floor(&world.store, GROUP, Nsid(1), u64::MAX, &mut Vec::new()), Ok(Jid(0)));
}

/// Walks through all that a sweep at this time would look at, a few rows at once.
fn has_due_blocks(world: &World, limit: u32) -> bool {
    let (mut position, mut looked, mut rounds) = (Vec::new(), 0, 0);
    loop {
        let wants = &mut Vec::new();
        let (store, now_ms) = (&world.store, world.stamp_ms);
        match blocks_due(store, GROUP, NSID, now_ms, limit, &mut position, &mut looked, wants).unwrap() {
            BlocksDue::Yes => return true,
            BlocksDue::No => return false,
            BlocksDue::NotYet => rounds += 1,
        }
        assert!(rounds < 200 && looked > 0);
    }
}

#[test]
fn what_a_leader_finds_due_is_what_a_step_would_drop() {
    let mut world = World::new();
    let mut found = [0; 2];
    for day in 0..40u64 {
        world.stamp_ms += DAY_MS;
        let n = (day % 7) as u8;
        world.put(&format!("/{n}"), &[n, day as u8]);
        if day % 5 == 0 {
            world.delete(&format!("/{n}"));
        }
        let hash = hash_of(&[100, day as u8]);
        world.run(Command::BlocksPresent(vec![PresentBlock { hash, bytes: 1, put_at_ms: u64::MAX }]));
        let before_ms = world.stamp_ms - 9 * DAY_MS;
        let due = trim_due(&world.store, GROUP, NSID, before_ms, &mut Vec::new()).unwrap();
        let floor = trim_floor(&world.store, GROUP, NSID, before_ms, &mut Vec::new()).unwrap();
        let trimmed = to_its_end(&mut world, &Command::JournalTrim { floor });
        assert_eq!(due, (trimmed > 0).then_some(floor), "day {day}");
        assert_eq!(trim_due(&world.store, GROUP, NSID, before_ms, &mut Vec::new()), Ok(None), "day {day}");
        let due = has_due_blocks(&world, 1 + day as u32 % 9);
        assert_eq!(due, has_due_blocks(&world, 1000), "day {day}");
        let swept = to_its_end(&mut world, &Command::BlockSweep { limit: 3 });
        assert_eq!(due, swept > 0, "day {day}");
        assert!(!has_due_blocks(&world, 2), "day {day}");
        found[0] += u32::from(trimmed > 0);
        found[1] += u32::from(due);
    }
    assert!(found.iter().all(|count| *count >= 20), "{found:?}");
    // A sweep that was begun is gone on with, whatever it finds.
    assert_eq!(system(&mut world, Command::BlockSweep { limit: 1 }), Outcome::Swept { nodes: 0, has_more: true });
    assert!(has_due_blocks(&world, 1000));
}

#[test]
fn a_leader_finds_its_namespaces_page_by_page_and_asks_for_cold_rows() {
    let mut world = World::new();
    world.mkdir("/a");
    let next = |world: &World, from| {
        let mut found = Vec::new();
        namespaces(&world.store, GROUP, from, 1, &mut found, &mut Vec::new()).map(|()| found)
    };
    assert_eq!(next(&world, Nsid(0)), Ok(vec![NSID]));
    assert_eq!(next(&world, NSID), Ok(vec![NSID]));
    assert_eq!(next(&world, Nsid(NSID.0 + 1)), Ok(vec![]));
    world.store.checkpoint();
    world.store.set_cold(true);
    let mut wants = Vec::new();
    assert_eq!(next(&world, Nsid(0)), Err(Cold));
    assert_eq!(trim_due(&world.store, GROUP, NSID, u64::MAX, &mut wants), Err(Cold));
    assert_eq!(purge_due(&world.store, GROUP, Nsid(0), &mut wants), Err(Cold));
    let (mut position, mut looked) = (Vec::new(), 0);
    let due = blocks_due(&world.store, GROUP, NSID, 0, 9, &mut position, &mut looked, &mut wants);
    assert_eq!((due, position.len(), looked), (Err(Cold), 0, 0));
    assert_eq!(wants.len(), 2 + 1 + 7, "all tables of blocks are asked for at once");
}

#[test]
fn a_revision_goes_when_what_replaced_it_is_trimmed_not_when_it_is_old_itself() {
    let mut world = World::new();
    world.put("/f", b"one");
    world.put("/f", b"two");
    let rev = |jid| Query::Lookup(What::Rev(Jid(jid)));
    system(&mut world, Command::JournalTrim { floor: Jid(1) });
    assert!(matches!(world.ask(&rev(1)), Answer::Entry(_)), "row 2 replaced it, and is not trimmed");
    system(&mut world, Command::JournalTrim { floor: Jid(2) });
    assert_eq!(world.ask(&rev(1)), Answer::NotFound);
    assert!(matches!(world.ask(&rev(2)), Answer::Entry(_)), "the newest stays however old it is");
    assert_eq!(world.run(Command::Restore(Restore { at: At::path("/g"), rev: Jid(1) })), Outcome::NotFound);
    assert!(world.run(Command::Restore(Restore { at: At::path("/g"), rev: Jid(2) })).is_ok());
}

#[test]
fn a_deleted_file_gets_its_node_back_until_the_delete_is_trimmed() {
    let mut world = World::new();
    world.put("/f", b"x");
    let node = world.lookup("/f").unwrap().meta.node;
    world.delete("/f");
    let restore = Command::Restore(Restore { at: At::path("/f"), rev: Jid(1) });
    assert_eq!(world.run(restore.clone()).metadata().map(|meta| meta.node), Some(node));
    world.delete("/f");
    to_its_end(&mut world, &Command::JournalTrim { floor: Jid(3) });
    assert!(world.run(restore.clone()).metadata().is_none(), "the first delete is trimmed, and so is what it removed");
    let newer = Command::Restore(Restore { at: At::path("/f"), rev: Jid(3) });
    assert_eq!(world.run(newer).metadata().map(|meta| meta.node), Some(node));
    world.delete("/f");
    collect_all(&mut world);
    assert_eq!((rows_of(&world, 2), rows_of(&world, 4), rows_of(&world, 5)), (1, 0, 0), "nothing is left but the root");
}

#[test]
fn a_purge_goes_in_steps_and_waits_for_the_sweep() {
    let mut world = World::new();
    for n in 0..40 {
        world.put(&format!("/d/{}/{}/{n}", n % 3, n % 7), &[n; 9]);
    }
    world.put("/d/0", b"no, there is a folder");
    world.put("/stays", &[1; 9]);
    world.delete("/d");
    let floor = world.head();
    to_its_end(&mut world, &Command::JournalTrim { floor });
    assert_eq!(system(&mut world, Command::Purge { limit: 0 }), Outcome::Swept { nodes: 0, has_more: true });
    to_its_end(&mut world, &Command::Sweep { limit: 3 });
    assert_eq!(to_its_end(&mut world, &Command::Purge { limit: 5 }), 5);
    assert_eq!((rows_of(&world, 2), rows_of(&world, 3), rows_of(&world, 4)), (2, 1, 1));
    assert_eq!((rows_of(&world, 0x13), rows_of(&world, 0x0e)), (0, 0));
    assert_eq!(world.paths(), ["/stays"]);
}

#[test]
fn a_block_that_nothing_names_is_forgotten_after_eight_days_and_no_other() {
    let mut world = World::new();
    let hash = |n: u8| hash_of(&[n]);
    world.put("/kept", &[1]);
    world.put("/gone", &[2]);
    world.put("/again", &[3]);
    let lone = PresentBlock { hash: hash(4), bytes: 1, put_at_ms: u64::MAX };
    world.run(Command::BlocksPresent(vec![lone]));
    ["/gone", "/again"].iter().for_each(|path| drop(world.delete(path)));
    collect_all(&mut world);
    world.stamp_ms += 8 * DAY_MS - 1000;
    collect_all(&mut world);
    assert!((1..=4).all(|n| knows(&mut world, hash(n))), "a second is left");
    // Put again within the grace period, by a client that sends no content.
    assert!(world.run(Command::CommitFile(small("/new", &[3], PutMode::Add))).is_ok());
    world.stamp_ms += 1000;
    to_its_end(&mut world, &Command::BlockSweep { limit: 1 });
    let known: Vec<u8> = (1..=4).filter(|n| knows(&mut world, hash(*n))).collect();
    assert_eq!(known, [1, 3]);
    world.stamp_ms += 400 * DAY_MS;
    collect_all(&mut world);
    assert!(knows(&mut world, hash(1)) && knows(&mut world, hash(3)), "what a file is made of stays for ever");
    let missing = world.run(Command::CommitFile(small("/late", &[2], PutMode::Add)));
    assert_eq!(missing, Outcome::NeedBlocks(vec![0]));
}

#[test]
fn a_long_blocklist_is_shared_and_goes_with_its_last_user() {
    let mut world = World::new();
    let blocks: Vec<BlockHash> = (0..9).map(|n| hash_of(&[n])).collect();
    let commit = CommitFile {
        at: At::path("/long"),
        size: 9 * (4 << 20),
        content_hash: content_hash(&blocks),
        blocks: blocks.clone(),
        ..CommitFile::default()
    };
    world.run(with_blocks(commit, u64::MAX));
    world.rename("/long", "/moved");
    collect_all(&mut world);
    assert_eq!((rows_of(&world, 7), rows_of(&world, 8)), (1, 1), "the move's row uses the list still");
    world.delete("/moved");
    collect_all(&mut world);
    assert_eq!((rows_of(&world, 7), rows_of(&world, 8)), (0, 0));
    assert!(blocks.iter().all(|hash| knows(&mut world, *hash)));
    world.stamp_ms += 8 * DAY_MS;
    collect_all(&mut world);
    assert_eq!(rows_of(&world, 6), 0);
}

#[test]
fn outcomes_are_told_again_across_a_trim_while_their_rows_are_held() {
    let mut world = World::new();
    world.mkdir("/old");
    world.mkdir("/older/than");
    to_its_end(&mut world, &Command::JournalTrim { floor: Jid(3) });
    let header = world.header(OWNER);
    let delete = Command::Delete(Delete { at: At::path("/older"), parent_rev: None });
    let told = world.entry(&[(header, delete.clone())]).remove(0);
    assert!(told.is_ok());
    assert_eq!(world.entry(&[(header, delete.clone())]), [told], "the row that made the folder is trimmed");
    let moving = world.header(OWNER);
    let mkdir = Command::Mkdir(Mkdir { at: At::path("/new"), autorename: false });
    assert!(world.entry(&[(moving, mkdir.clone())])[0].is_ok());
    // Straight to the end, without the outcomes that a session of the system would drop.
    let floor = world.head();
    for command in [Command::Sweep { limit: 0 }, Command::JournalTrim { floor }, Command::Purge { limit: 0 }] {
        let header = CommandHeader { session: base::SessionId(0), sequence: Sequence(0), ..moving };
        let header = CommandHeader { acct: Acct(0), ..header };
        assert!(matches!(world.entry(&[(header, command)])[0], Outcome::Swept { has_more: false, .. }));
    }
    assert_eq!(world.entry(&[(header, delete)]), [Outcome::Acknowledged]);
    assert_eq!(world.entry(&[(moving, mkdir)]), [Outcome::Acknowledged], "done, and not done a second time");
    assert_eq!(world.paths(), ["/new", "/old"]);
    assert!(world.index > LogIndex(0));
}

#[test]
fn a_step_touches_no_more_rows_than_a_command_may() {
    let mut world = World::new();
    let headers: Vec<_> = (0..900).map(|_| world.header(OWNER)).collect();
    for (headers, base) in headers.chunks(300).zip([0u16, 300, 600]) {
        let entry: Vec<_> = headers
            .iter()
            .zip(base..)
            .map(|(header, n)| (*header, put(&format!("/d/{n}"), &n.to_le_bytes(), PutMode::Add)))
            .collect();
        world.stamp_ms += 1;
        assert!(world.entry(&entry).iter().all(Outcome::is_ok));
    }
    world.delete("/d");
    let floor = world.head();
    to_its_end(&mut world, &Command::Sweep { limit: 0 });
    let before = world.store.clone();
    for command in [Command::JournalTrim { floor }, Command::Purge { limit: 0 }, Command::BlockSweep { limit: 0 }] {
        assert!(to_its_end(&mut world, &command) <= 1024);
    }
    // The same in a store that is cold: a bounded number of rounds each.
    world.store = before;
    world.index = world.store.machine(world.group).unwrap().applied_index;
    world.store.checkpoint();
    world.store.set_cold(true);
    let rounds = world.store.prefetches();
    let header = CommandHeader { nsid: NSID, ..CommandHeader::default() };
    assert!(world.entry(&[(header, Command::JournalTrim { floor })])[0].is_ok());
    assert!(world.store.prefetches() - rounds <= 6, "rows are asked for together");
}
