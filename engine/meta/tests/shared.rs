//! Namespaces of several accounts: who may do what, what hangs where, and the steps that bring it about.

mod common;

use base::{Acct, Jid, Nsid, TreeNode};
use common::*;
use meta::*;

const VIEWER: Acct = Acct(21);
const EDITOR: Acct = Acct(22);
const STRANGER: Acct = Acct(23);
const OTHER: Nsid = Nsid(10_000_000_777);

/// A step of no flow: what is judged is the command.
const NO_STEP: Step = Step { flow: 0, step: 0 };

fn system(world: &mut World, command: Command) -> Outcome {
    let outcome = world.run_as(Acct(0), command);
    world.check();
    outcome
}

fn member(acct: Acct, role: MemberRole, state: MemberState) -> Command {
    Command::MemberPut(MemberPut { step: NO_STEP, acct, role, state })
}

fn shared() -> World {
    let mut world = World::empty(GROUP);
    world.register();
    let init = Command::NamespaceInit { kind: NamespaceKind::Shared, owner: OWNER, grant_bytes: 100 };
    assert_eq!(system(&mut world, init), Outcome::Done);
    for (acct, role) in [(VIEWER, MemberRole::Viewer), (EDITOR, MemberRole::Editor)] {
        assert_eq!(system(&mut world, member(acct, role, MemberState::Joined)), Outcome::NotFound, "not invited");
        assert_eq!(system(&mut world, member(acct, role, MemberState::Invited)), Outcome::Done);
        assert_eq!(world.ask_as(acct, &Query::Head), Answer::NoAccess, "an invitation shows nothing");
        assert_eq!(system(&mut world, member(acct, role, MemberState::Joined)), Outcome::Done);
    }
    world
}

/// One of every query, and of every command that a user may send; by guessed ids, revs and hashes too.
fn queries() -> Vec<Query> {
    let at = || At::path("/f");
    vec![
        Query::Lookup(What::At(at())),
        Query::Lookup(What::At(At::node(TreeNode(2)))),
        Query::Lookup(What::Rev(Jid(1))),
        Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 0 },
        Query::Delta { cursor: DeltaCursor::at(Jid(0)), limit: 0 },
        Query::Revisions { at: at(), before: Jid(0), limit: 0 },
        Query::Blocklist { what: What::Rev(Jid(1)), first: 0 },
        Query::Head,
        Query::SpaceUsage,
    ]
}

fn writes() -> Vec<Command> {
    vec![
        put("/g", b"x", PutMode::Add),
        Command::Mkdir(Mkdir { at: At::path("/d"), autorename: false }),
        Command::Delete(Delete { at: At::path("/f"), parent_rev: None }),
        Command::Move(Move { source: At::path("/f"), target: At::path("/h"), autorename: false }),
        Command::Copy(Copy { source: At::path("/f"), target: At::path("/h"), autorename: false }),
        Command::SetAttr(SetAttr { at: At::path("/f"), client_mtime_ms: Some(1) }),
        Command::Restore(Restore { at: At::path("/h"), rev: Jid(1) }),
        Command::BlocksPresent(Vec::new()),
        Command::CommitBatch(CommitBatch { atomic: true, parts: vec![Command::Mkdir(Mkdir::default())] }),
    ]
}

#[test]
fn rights_are_those_of_the_role_and_end_with_the_removal() {
    let mut world = shared();
    assert!(world.run_as(EDITOR, put("/f", b"x", PutMode::Add)).is_ok());
    let state =
        |world: &World| world.store.rows(GROUP).into_iter().filter(|(key, _)| key[0] < 0x10).collect::<Vec<_>>();
    let before = state(&world);
    for query in queries() {
        assert_eq!(world.ask_as(STRANGER, &query), Answer::NoAccess);
        let seen = world.ask_as(OWNER, &query);
        assert_eq!(world.ask_as(VIEWER, &query), seen);
        assert_eq!(world.ask_as(EDITOR, &query), seen);
    }
    for command in writes() {
        assert_eq!(world.run_as(STRANGER, command.clone()), Outcome::NoAccess);
        assert_eq!(world.run_as(VIEWER, command), Outcome::NoAccess);
    }
    // What is known here is no news for who may not write.
    assert_eq!(world.ask_as(VIEWER, &Query::HasBlocks(vec![hash_of(b"x")])), Answer::NoAccess);
    assert_eq!(world.ask_as(EDITOR, &Query::HasBlocks(vec![hash_of(b"x")])), Answer::HasBlocks(vec![true]));
    assert_eq!(state(&world), before);
    assert!(world.run_as(EDITOR, writes().remove(1)).is_ok());
    for acct in [VIEWER, EDITOR] {
        assert_eq!(system(&mut world, Command::MemberRemove { step: NO_STEP, acct }), Outcome::Done);
        queries().iter().for_each(|query| assert_eq!(world.ask_as(acct, query), Answer::NoAccess));
        writes().into_iter().for_each(|command| assert_eq!(world.run_as(acct, command), Outcome::NoAccess));
    }
    assert_eq!(system(&mut world, Command::MemberRemove { step: NO_STEP, acct: EDITOR }), Outcome::NotFound);
    assert_eq!(system(&mut world, Command::MemberRemove { step: NO_STEP, acct: OWNER }), Outcome::NotFound);
    assert!(world.run_as(OWNER, put("/f", b"y", PutMode::Overwrite)).is_ok());
}

#[test]
fn a_role_changes_without_a_new_invitation_and_members_are_bounded() {
    let mut world = shared();
    assert_eq!(system(&mut world, member(VIEWER, MemberRole::Editor, MemberState::Invited)), Outcome::Done);
    assert!(world.run_as(VIEWER, put("/f", b"x", PutMode::Add)).is_ok(), "who had joined stays in");
    assert_eq!(
        system(&mut world, member(OWNER, MemberRole::Viewer, MemberState::Invited)),
        Outcome::Exists { id: OWNER.0 }
    );
    for n in 0..997 {
        let invited = member(Acct(1000 + n), MemberRole::Viewer, MemberState::Invited);
        assert_eq!(world.run_as(Acct(0), invited), Outcome::Done);
    }
    assert_eq!(system(&mut world, member(STRANGER, MemberRole::Viewer, MemberState::Invited)), Outcome::TooLarge);
    let mut root = World::new();
    assert_eq!(system(&mut root, member(EDITOR, MemberRole::Editor, MemberState::Invited)), Outcome::Malformed);
}

#[test]
fn only_the_system_takes_steps() {
    let mut world = shared();
    let freeze = Freeze { flow: 1, node: TreeNode(2) };
    for command in [
        member(STRANGER, MemberRole::Owner, MemberState::Invited),
        Command::MemberRemove { step: NO_STEP, acct: VIEWER },
        Command::Transfer(Transfer { step: NO_STEP, from: OWNER, to: EDITOR, grant_bytes: 100 }),
        Command::Mount(Mount { step: NO_STEP, target: OTHER, at: At::path("/m"), autorename: false }),
        Command::MountSwap(MountSwap { step: NO_STEP, node: TreeNode(2), target: OTHER, flow: 1, since_ms: 0 }),
        Command::Unmount { step: NO_STEP, target: OTHER },
        Command::Freeze(freeze),
        Command::Thaw(freeze),
        Command::GrantRaise { step: NO_STEP, owner: OWNER, bytes: 1 },
        Command::GrantLower { step: NO_STEP, bytes: 1 },
    ] {
        for acct in [OWNER, EDITOR, STRANGER] {
            assert_eq!(world.run_as(acct, command.clone()), Outcome::NoAccess);
        }
    }
}

#[test]
fn an_owner_gives_a_namespace_to_a_member_with_the_grant_that_was_reserved() {
    let mut world = shared();
    let transfer = |from, to, grant_bytes| Command::Transfer(Transfer { step: NO_STEP, from, to, grant_bytes });
    assert_eq!(system(&mut world, transfer(OWNER, STRANGER, 100)), Outcome::NotFound);
    assert_eq!(system(&mut world, transfer(EDITOR, VIEWER, 100)), Outcome::RevMismatch);
    assert_eq!(system(&mut world, transfer(OWNER, EDITOR, 99)), Outcome::RevMismatch);
    assert_eq!(system(&mut world, transfer(OWNER, EDITOR, 100)), Outcome::Done);
    assert_eq!(system(&mut world, Command::GrantRaise { step: NO_STEP, owner: OWNER, bytes: 1 }), Outcome::RevMismatch);
    assert!(world.run_as(OWNER, put("/f", b"x", PutMode::Add)).is_ok(), "the owner before is an editor now");
    assert_eq!(system(&mut world, Command::MemberRemove { step: NO_STEP, acct: OWNER }), Outcome::Done);
    assert_eq!(world.run_as(OWNER, put("/g", b"x", PutMode::Add)), Outcome::NoAccess);
    assert!(world.run_as(EDITOR, put("/g", b"x", PutMode::Add)).is_ok());
}

#[test]
fn grants_rise_for_their_owner_and_never_fall_below_what_is_taken() {
    let mut world = shared();
    let big = put("/f", &[7; 150], PutMode::Overwrite);
    assert_eq!(world.run_as(OWNER, big.clone()), Outcome::Quota { short_bytes: 50 });
    assert_eq!(system(&mut world, Command::GrantRaise { step: NO_STEP, owner: OWNER, bytes: 50 }), Outcome::Done);
    assert!(world.run_as(OWNER, big).is_ok());
    assert_eq!(system(&mut world, Command::GrantLower { step: NO_STEP, bytes: 1 }), Outcome::Quota { short_bytes: 1 });
    assert_eq!(
        system(&mut world, Command::GrantRaise { step: NO_STEP, owner: OWNER, bytes: u64::MAX }),
        Outcome::TooLarge
    );
    let Answer::SpaceUsage { grant_bytes, .. } = world.ask(&Query::SpaceUsage) else { panic!("usage") };
    assert_eq!(grant_bytes, 150);
}

#[test]
fn a_step_is_done_once_or_refused_once_whoever_sends_it() {
    let mut world = shared();
    let raise = |flow, bytes| Command::GrantRaise { step: Step { flow, step: 2 }, owner: OWNER, bytes };
    let grant = |world: &mut World| match world.ask(&Query::SpaceUsage) {
        Answer::SpaceUsage { grant_bytes, .. } => grant_bytes,
        other => panic!("{other:?}"),
    };
    assert_eq!(system(&mut world, raise(7, 10)), Outcome::Done);
    assert_eq!(system(&mut world, raise(7, 10)), Outcome::Done);
    assert_eq!(grant(&mut world), 110);
    assert_eq!(system(&mut world, raise(7, 11)), Outcome::NotFound, "another command under the same step");
    assert_eq!(system(&mut world, raise(8, 10)), Outcome::Done);
    assert_eq!(grant(&mut world), 120);
    let lower = Command::GrantLower { step: Step { flow: 9, step: 1 }, bytes: 100 };
    world.run_as(OWNER, put("/f", &[1; 60], PutMode::Add));
    assert_eq!(system(&mut world, lower.clone()), Outcome::Quota { short_bytes: 40 });
    world.run_as(OWNER, Command::Delete(Delete { at: At::path("/f"), parent_rev: None }));
    assert_eq!(system(&mut world, lower), Outcome::Quota { short_bytes: 40 }, "its flow has given up");
    let lower = Command::GrantLower { step: Step { flow: 10, step: 1 }, bytes: 100 };
    assert_eq!(system(&mut world, lower), Outcome::Done);
    // Kept for eight days.
    world.stamp_ms += 8 * 24 * 60 * 60 * 1000;
    system(&mut world, Command::BlockSweep { limit: 0 });
    assert!(world.store.rows(GROUP).iter().all(|(key, _)| key[0] != 0x0c));
}

fn mount(path: &str, target: Nsid, autorename: bool) -> Command {
    Command::Mount(Mount { step: NO_STEP, target, at: At::path(path), autorename })
}

fn changes(world: &mut World, since: Jid) -> Vec<Change> {
    match world.ask(&Query::Delta { cursor: DeltaCursor::at(since), limit: 0 }) {
        Answer::Delta { changes, .. } => changes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_mounted_is_elsewhere_moves_and_is_told_to_readers() {
    let mut world = World::new();
    world.put("/docs", b"x");
    assert_eq!(
        system(&mut world, mount("/docs", OTHER, false)),
        Outcome::Conflict { file: true, folder: false, file_ancestor: false }
    );
    let head = world.head();
    let Outcome::Applied(meta) = system(&mut world, mount("/docs", OTHER, true)) else { panic!("mounted") };
    assert_eq!((meta.kind, meta.size, &meta.name[..]), (NodeKind::Mount, OTHER.0, "docs (1)"));
    assert!(matches!(&changes(&mut world, head)[..], [Change::Present(entry)] if entry.meta == meta));
    let elsewhere = |rest: &str| Outcome::Elsewhere { nsid: OTHER, rest: rest.to_owned() };
    assert_eq!(world.put("/docs (1)/a/b", b"x"), elsewhere("/a/b"));
    assert_eq!(world.rename("/docs", "/docs (1)/c"), elsewhere("/c"));
    assert_eq!(world.run(Command::Copy(Copy { source: At::path("/docs (1)"), ..Copy::default() })).code(), 3);
    assert!(world.rename("/docs (1)", "/in/shared").is_ok());
    assert_eq!(world.mkdir("/in/shared/d"), elsewhere("/d"));
    // Mounted again: a new row in place of the old node.
    let head = world.head();
    let Outcome::Applied(again) = system(&mut world, mount("/anywhere", OTHER, false)) else { panic!("mounted") };
    assert_eq!((again.node, again.jid), (meta.node, head.next()));
    assert!(matches!(&changes(&mut world, head)[..], [Change::Present(entry)] if entry.path_display == "/in/shared"));
    let copied = Command::Copy(Copy { source: At::path("/in"), target: At::path("/in2"), autorename: false });
    assert_eq!(world.run(copied), Outcome::NestedShare);
    let head = world.head();
    assert_eq!(system(&mut world, Command::Unmount { step: NO_STEP, target: OTHER }), Outcome::Done);
    assert_eq!(changes(&mut world, head), [Change::Deleted { path_display: "/in/shared".to_owned() }]);
    assert_eq!(system(&mut world, Command::Unmount { step: NO_STEP, target: OTHER }), Outcome::NotFound);
    assert!(world.mkdir("/in/shared/d").is_ok(), "the name is free");
}

#[test]
fn a_mount_whose_folder_was_deleted_hangs_anew() {
    let mut world = World::new();
    system(&mut world, mount("/in/shared", OTHER, false));
    world.delete("/in");
    let Outcome::Applied(meta) = system(&mut world, mount("/shared", OTHER, false)) else { panic!("mounted") };
    assert_eq!(world.lookup("/shared").unwrap().meta, meta);
    world.delete("/shared");
    assert_eq!(system(&mut world, Command::Unmount { step: NO_STEP, target: OTHER }), Outcome::Done);
    let floor = world.head();
    for command in [Command::Sweep { limit: 0 }, Command::JournalTrim { floor }, Command::Purge { limit: 0 }] {
        assert!(system(&mut world, command).is_ok());
    }
    let left = world.store.rows(GROUP).iter().filter(|(key, _)| [2, 3, 4, 5, 0x0a].contains(&key[0])).count();
    assert_eq!(left, 1, "the root");
    let nested = Command::Mount(Mount { step: NO_STEP, target: NSID, at: At::path("/x"), autorename: false });
    assert_eq!(system(&mut world, nested), Outcome::Malformed);
    assert_eq!(system(&mut shared(), mount("/m", OTHER, false)), Outcome::NestedShare);
}

#[test]
fn writes_below_what_is_frozen_wait_until_it_thaws_by_its_flow_or_by_time() {
    let mut world = World::new();
    world.put("/d/e/f", b"x");
    world.put("/out", b"y");
    let node = world.lookup("/d").unwrap().meta.node;
    let freeze = Freeze { flow: 5, node };
    assert_eq!(system(&mut world, Command::Freeze(freeze)), Outcome::Done);
    let since = world.stamp_ms;
    for command in [
        put("/d/e/new", b"z", PutMode::Add),
        put("/d/e/f", b"z", PutMode::Overwrite),
        Command::Mkdir(Mkdir { at: At::path("/d/x/y"), autorename: false }),
        Command::Delete(Delete { at: At::path("/d/e/f"), parent_rev: None }),
        Command::Delete(Delete { at: At::path("/d"), parent_rev: None }),
        Command::Move(Move { source: At::path("/d/e/f"), target: At::path("/g"), autorename: false }),
        Command::Move(Move { source: At::path("/out"), target: At::path("/d/out"), autorename: false }),
        Command::Copy(Copy { source: At::path("/out"), target: At::path("/d/out"), autorename: false }),
        Command::Restore(Restore { at: At::path("/d/r"), rev: Jid(3) }),
        Command::SetAttr(SetAttr { at: At::path("/d/e/f"), client_mtime_ms: Some(1) }),
    ] {
        assert_eq!(world.run(command), Outcome::Busy { retry_ms: 1000 });
    }
    let mount = Mount { step: Step { flow: 9, step: 2 }, target: OTHER, at: At::path("/d/m"), autorename: true };
    assert_eq!(system(&mut world, Command::Mount(mount)), Outcome::Busy { retry_ms: 1000 }, "the step is not kept");
    assert!(world.put("/out", b"elsewhere all goes on").is_ok());
    let other = Freeze { flow: 6, node };
    assert!(matches!(system(&mut world, Command::Freeze(other)), Outcome::Busy { .. }));
    assert_eq!(system(&mut world, Command::Thaw(other)), Outcome::NotFound);
    world.stamp_ms += 59_000;
    assert_eq!(system(&mut world, Command::Freeze(freeze)), Outcome::Exists { id: since }, "renewed");
    world.stamp_ms += 30_000;
    assert!(matches!(world.put("/d/g", b"x"), Outcome::Busy { .. }));
    world.stamp_ms += 30_001;
    assert!(world.put("/d/g", b"x").is_ok(), "nobody renewed it");
    let swap = Command::MountSwap(MountSwap { step: NO_STEP, node, target: OTHER, flow: 5, since_ms: since });
    assert_eq!(system(&mut world, swap.clone()), Outcome::RevMismatch, "a write came between");
    assert_eq!(system(&mut world, Command::Freeze(freeze)), Outcome::Done, "frozen anew, and its flow sees that");
    assert_eq!(system(&mut world, swap), Outcome::RevMismatch, "whoever does not see it is refused");
    assert_eq!(system(&mut world, Command::Thaw(freeze)), Outcome::Done);
    assert!(world.put("/d/h", b"x").is_ok());
    assert_eq!(system(&mut world, Command::Freeze(Freeze { flow: 5, node: ROOT })), Outcome::Malformed);
    assert_eq!(system(&mut world, Command::Freeze(Freeze { flow: 5, node: TreeNode(99) })), Outcome::NotFound);
}

#[test]
fn a_folder_becomes_a_mount_in_one_command() {
    let mut world = World::new();
    world.put("/d/f", b"x");
    let node = world.lookup("/d").unwrap().meta.node;
    let since_ms = world.stamp_ms + 2;
    let swap = Command::MountSwap(MountSwap { step: NO_STEP, node, target: OTHER, flow: 5, since_ms });
    assert_eq!(system(&mut world, swap.clone()), Outcome::RevMismatch, "not frozen");
    system(&mut world, Command::Freeze(Freeze { flow: 5, node }));
    let head = world.head();
    let Outcome::Applied(meta) = system(&mut world, swap) else { panic!("swapped") };
    assert_eq!((meta.kind, &meta.name[..], meta.jid.0), (NodeKind::Mount, "d", head.0 + 2));
    let told = changes(&mut world, head);
    assert!(
        matches!(&told[..], [Change::Deleted { path_display }, Change::Present(entry)]
        if path_display == "/d/f" && entry.meta == meta),
        "{told:#?}"
    );
    assert_eq!(world.paths(), ["/d"]);
    assert_eq!(world.applied.sweeps(), [NSID]);
    system(&mut world, Command::Sweep { limit: 0 });
    assert!(matches!(world.ask(&Query::SpaceUsage), Answer::SpaceUsage { live_files: 0, live_bytes: 0, .. }));
}
