//! Exactly once, entries of every kind, damaged ones among them, and snapshots of the store in memory.

mod common;

use base::record::EntryKind;
use base::{Acct, Nsid, Prng, Sequence, SessionId};
use common::*;
use meta::*;

fn header(session: SessionId, sequence: u64, ack_below: u64) -> CommandHeader {
    CommandHeader { session, sequence: Sequence(sequence), ack_below: Sequence(ack_below), acct: OWNER, nsid: NSID }
}

fn mkdir(path: &str) -> Command {
    Command::Mkdir(Mkdir { at: At::path(path), autorename: true })
}

fn register(world: &mut World, acct: Acct, nonce: u8) -> SessionId {
    let header = CommandHeader { acct, ..CommandHeader::default() };
    match world.entry(&[(header, Command::Register { nonce: [nonce; 16] })]).remove(0) {
        Outcome::Registered { session } => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sequence_is_executed_once_in_any_order_and_entry() {
    let mut world = World::new();
    let session = register(&mut world, OWNER, 1);
    let mut run = |sequence, ack| world.entry(&[(header(session, sequence, ack), mkdir("/d"))]).remove(0);
    let third = run(3, 1);
    let first = run(1, 1);
    assert_ne!(third, first);
    assert_eq!(run(3, 1), third);
    assert_eq!(run(1, 1), first);
    let second = run(2, 2);
    assert_eq!(run(1, 2), Outcome::Acknowledged);
    assert_eq!(run(2, 2), second);
    // An acknowledgement of what was never executed reaches no further than what was.
    assert!(run(4, 1000).is_ok());
    assert_eq!(run(3, 1), Outcome::Acknowledged);
    assert!(run(5, 1).is_ok());
    assert_eq!(world.paths().len(), 5);
    world.check();
}

#[test]
fn every_outcome_is_kept_as_it_was_told() {
    let mut world = World::new();
    let x = PresentBlock { hash: hash_of(b"x"), bytes: 1, put_at_ms: u64::MAX };
    let missing = small("/n", b"not there", PutMode::Add);
    let delete = |path: &str| Command::Delete(Delete { at: At::path(path), parent_rev: None });
    let commands = [
        Command::BlocksPresent(vec![x]),
        Command::CommitFile(small("/a/f", b"x", PutMode::Add)),
        Command::CommitFile(small("/a/f", b"x", PutMode::Add)),
        Command::CommitFile(missing.clone()),
        mkdir("/a"),
        Command::Move(Move { source: At::path("/a/f"), target: At::path("/a/F"), autorename: false }),
        Command::CommitBatch(CommitBatch {
            atomic: false,
            parts: vec![
                Command::CommitFile(small("/b", b"x", PutMode::Add)),
                Command::CommitFile(missing),
                delete("/b"),
                delete("/nothing"),
            ],
        }),
        delete("/a/f"),
        delete("/a"),
        Command::Delete(Delete { at: At::path("/"), parent_rev: None }),
    ];
    let session = register(&mut world, OWNER, 1);
    let told: Vec<Outcome> = commands
        .iter()
        .zip(1..)
        .map(|(command, at)| world.entry(&[(header(session, at, 1), command.clone())]).remove(0))
        .collect();
    assert_eq!(told.iter().map(Outcome::code).collect::<Vec<_>>(), [24, 1, 2, 4, 1, 1, 27, 1, 1, 10]);
    // All again, much later, in another order, with cold rows: nothing changes.
    let rows = |world: &World| {
        let rows = world.store.rows(GROUP).into_iter().filter(|(key, _)| key[0] != 0x10);
        rows.collect::<Vec<_>>()
    };
    let before = rows(&world);
    world.stamp_ms += 1000;
    world.store.set_cold(true);
    for (at, outcome) in told.iter().enumerate().rev() {
        world.store.checkpoint();
        let again = world.entry(&[(header(session, at as u64 + 1, 1), commands[at].clone())]).remove(0);
        assert_eq!(again, *outcome);
    }
    assert_eq!(rows(&world), before);
}

#[test]
fn a_nonce_gives_its_session_back_to_its_account_only() {
    let mut world = World::new();
    let session = register(&mut world, OWNER, 1);
    assert_eq!(register(&mut world, OWNER, 1), session);
    assert_ne!(register(&mut world, OWNER, 2), session);
    assert_ne!(register(&mut world, Acct(6), 1), session);
    assert_eq!(session.0 & 0xfff, 0);
    assert_eq!(session.0 >> 12, 3, "the index of the entry of its Register");
}

#[test]
fn unknown_sessions_and_those_of_others_are_gone() {
    let mut world = World::new();
    let session = register(&mut world, Acct(6), 1);
    let mut run = |header| world.entry(&[(header, mkdir("/d"))]).remove(0);
    assert_eq!(run(header(SessionId(77), 1, 0)), Outcome::SessionGone);
    assert_eq!(run(header(session, 1, 0)), Outcome::SessionGone);
    assert_eq!(run(header(SessionId(0), 1, 0)), Outcome::SessionGone);
    let system = world.session;
    let mut run = |header| world.entry(&[(header, mkdir("/d"))]).remove(0);
    assert_eq!(run(header(system, 0, 0)), Outcome::Malformed);
    assert_eq!(run(header(system, 5000, 0)), Outcome::TooLarge);
    assert!(run(header(system, 900, 0)).is_ok(), "a server's session serves all accounts");
}

#[test]
fn idle_sessions_are_removed_and_those_of_an_account_are_bounded() {
    let mut world = World::new();
    let idle = register(&mut world, OWNER, 1);
    assert!(world.entry(&[(header(idle, 1, 1), mkdir("/d"))])[0].is_ok());
    world.stamp_ms += 60 * 60 * 1000 + 1;
    let young = register(&mut world, OWNER, 2);
    assert_eq!(world.entry(&[(header(idle, 2, 1), mkdir("/d"))]), [Outcome::SessionGone]);
    let outcome_rows = world.store.rows(GROUP).iter().filter(|(key, _)| key[0] == 0x11).count();
    assert_eq!(outcome_rows, 0, "its outcomes went with it");
    // 256 of one account: the least recently used goes, those of others stay.
    let mut others = World::new();
    let system = others.session;
    let first = register(&mut others, OWNER, 0);
    let second = register(&mut others, OWNER, 1);
    for nonce in 2..=255 {
        register(&mut others, OWNER, nonce);
    }
    others.stamp_ms += 1;
    assert!(others.entry(&[(header(first, 1, 1), mkdir("/d"))])[0].is_ok());
    let nonce = [0x77; 15].into_iter().chain([1]).collect::<Vec<u8>>().try_into().unwrap();
    let header_of_owner = CommandHeader { acct: OWNER, ..CommandHeader::default() };
    others.entry(&[(header_of_owner, Command::Register { nonce })]);
    assert_eq!(others.entry(&[(header(second, 1, 1), mkdir("/d"))]), [Outcome::SessionGone]);
    assert!(others.entry(&[(header(first, 2, 1), mkdir("/d"))])[0].is_ok());
    assert!(others.entry(&[(header(system, 2, 1), mkdir("/d"))])[0].is_ok());
    let _ = young;
}

#[test]
fn damaged_entries_change_nothing_and_answer_every_command() {
    let mut world = World::new();
    let mut commands = Vec::new();
    let mut bytes = Vec::new();
    for (at, command) in [mkdir("/a"), put("/f", b"x", PutMode::Add), mkdir("/b")].iter().enumerate() {
        bytes.clear();
        encode_command(&header(world.session, 10 + at as u64, 0), command, &mut bytes);
        commands.push(bytes.clone());
    }
    let mut prng = Prng::new(1);
    for round in 0..3000 {
        let mut builder = payload::Builder::default();
        let victim = prng.below(3) as usize;
        for (at, command) in commands.iter().enumerate() {
            let mut command = command.clone();
            if at == victim && round % 3 > 0 {
                let byte = prng.below(command.len() as u64) as usize;
                command[byte] = prng.next_u64() as u8;
                if round % 3 == 2 {
                    command.truncate(byte);
                }
            }
            builder.push(&command);
        }
        let mut payload = builder.finish(STAMP).to_vec();
        if round % 3 == 0 {
            let byte = 16 + prng.below(payload.len() as u64 - 16) as usize;
            payload[byte] ^= 1 << prng.below(8);
        }
        assert_eq!(world.payload(EntryKind::Commands, &payload).len(), 3);
        if round % 100 == 0 {
            world.check();
        }
    }
    assert!(world.payload(EntryKind::Commands, &[1, 0, 9]).is_empty());
    let mut unknown = commands[0].clone();
    unknown[1] = 60;
    let mut builder = payload::Builder::default();
    builder.push(&unknown);
    builder.push(b"garbage");
    let payload = builder.finish(0).to_vec();
    assert_eq!(world.payload(EntryKind::Commands, &payload), [Outcome::Unsupported, Outcome::Malformed]);
}

#[test]
fn time_never_runs_back_and_other_entries_move_the_machine_row() {
    let mut world = World::new();
    world.stamp_ms = STAMP + 500;
    world.mkdir("/a");
    world.stamp_ms = STAMP;
    world.mkdir("/b");
    assert_eq!(world.lookup("/b").unwrap().meta.server_mtime_ms, STAMP as i64 + 501);
    let before = world.store.machine(GROUP).unwrap().clone();
    world.payload(EntryKind::Noop, &[]);
    world.payload(EntryKind::Config, b"members");
    let after = world.store.machine(GROUP).unwrap().clone();
    assert_eq!((after.state_hash, after.stamp_ms), (before.state_hash, before.stamp_ms));
    assert_eq!((after.config_index, &after.config[..]), (after.applied_index, &b"members"[..]));
    assert_eq!(after.applied_index.0, before.applied_index.0 + 2);
    assert_eq!(u64::from(after.applied_crc), after.applied_index.0);
}

#[test]
fn heads_that_moved_are_told_once_each() {
    let mut world = World::new();
    let headers: Vec<CommandHeader> = (0..3).map(|_| world.header(OWNER)).collect();
    let entry: Vec<_> = headers.into_iter().map(|header| (header, mkdir("/d"))).collect();
    world.entry(&entry);
    assert_eq!(world.applied.advances(), [(NSID, base::Jid(3))]);
    assert_eq!(head(&world.store, GROUP, NSID, &mut Vec::new()), Ok(base::Jid(3)));
    assert_eq!(head(&world.store, GROUP, Nsid(1), &mut Vec::new()), Ok(base::Jid(0)));
    let header = world.header(OWNER);
    world.entry(&[(header, Command::BlocksPresent(vec![]))]);
    assert_eq!(world.applied.advances(), []);
}

#[test]
fn a_snapshot_brings_another_store_to_the_same_rows() {
    let mut world = World::new();
    (0..300).for_each(|n| drop(world.run_as(OWNER, put(&format!("/d/{n}"), b"x", PutMode::Add))));
    let machine = world.store.snapshot_begin(1, GROUP).unwrap();
    let send = |world: &mut World, target: &mut MemoryStore, damage: bool| {
        target.install_begin(GROUP, machine.clone());
        for part in 0.. {
            world.store.snapshot_read(1, part);
            let Some(StoreEvent::SnapshotPart { mut body, last, .. }) = world.store.poll_event() else {
                panic!("a part")
            };
            if damage && !last {
                let end = body.len() - 1;
                body[end] ^= 1;
            }
            target.install_part(GROUP, &body, last);
            if last {
                return target.poll_event().unwrap();
            }
        }
        unreachable!()
    };
    let mut target = MemoryStore::new();
    assert!(matches!(send(&mut world, &mut target, true), StoreEvent::InstallFailed { .. }));
    assert_eq!(target.machine(GROUP), None);
    assert!(matches!(send(&mut world, &mut target, false), StoreEvent::Installed { .. }));
    assert_eq!((target.rows(GROUP), target.machine(GROUP)), (world.store.rows(GROUP), Some(&machine)));
}
