//! Shared links: who makes, changes, sees and loses them.

mod common;

use base::{Acct, Jid, Nsid, TreeNode};
use common::*;
use meta::*;

const VIEWER: Acct = Acct(21);
const EDITOR: Acct = Acct(22);
const STRANGER: Acct = Acct(23);
const SYSTEM: Acct = Acct(0);
const NO_STEP: Step = Step { flow: 0, step: 0 };

fn create(path: &str, settings: LinkSettings) -> Command {
    Command::Link(Box::new(LinkCommand::Create { at: At::path(path), settings }))
}

fn modify(link: u64, settings: LinkSettings) -> Command {
    Command::Link(Box::new(LinkCommand::Modify { link, settings }))
}

fn revoke(link: u64) -> Command {
    Command::Link(Box::new(LinkCommand::Revoke { link }))
}

fn made(world: &mut World, acct: Acct, path: &str) -> u64 {
    let outcome = world.run_as(acct, create(path, LinkSettings::default()));
    world.check();
    match outcome {
        Outcome::Made { id } => id,
        other => panic!("{path}: {other:?}"),
    }
}

fn member(world: &mut World, acct: Acct, role: MemberRole) {
    for state in [MemberState::Invited, MemberState::Joined] {
        let put = Command::MemberPut(MemberPut { step: NO_STEP, acct, role, state });
        assert_eq!(world.run_as(SYSTEM, put), Outcome::Done);
    }
}

fn shared() -> World {
    let mut world = World::empty(GROUP);
    world.register();
    let init = Command::NamespaceInit { kind: NamespaceKind::Shared, owner: OWNER, grant_bytes: 1 << 30 };
    assert_eq!(world.run_as(SYSTEM, init), Outcome::Done);
    member(&mut world, VIEWER, MemberRole::Viewer);
    member(&mut world, EDITOR, MemberRole::Editor);
    assert!(world.put("/d/f", b"x").is_ok());
    world
}

fn shows(world: &mut World, acct: Acct, link: u64) -> Option<String> {
    match world.ask_as(acct, &Query::Link(link)) {
        Answer::Link(info) => {
            assert_eq!(info.link, link);
            Some(info.entry.path_display)
        }
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

fn listed(world: &mut World, acct: Acct, of: &LinksOf, limit: u32) -> Vec<u64> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        match world.ask_as(acct, &Query::Links { of: of.clone(), after, limit }) {
            Answer::Links { links, next } => {
                all.extend(links.iter().map(|info| info.link));
                match next {
                    Some(next) => after = next,
                    None => return all,
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn of_node(path: &str, above: bool) -> LinksOf {
    LinksOf::Node { at: At::path(path), above }
}

#[test]
fn a_link_shows_its_node_wherever_it_moves_and_only_while_it_is_there() {
    let mut world = World::new();
    world.put("/a/f", b"x");
    let head = world.head();
    let link = made(&mut world, OWNER, "/a/f");
    assert_eq!(world.run(create("/a/f", LinkSettings::default())), Outcome::Exists { id: link });
    assert_eq!(world.head(), head, "a link is no change of the tree");
    assert_eq!(shows(&mut world, OWNER, link).as_deref(), Some("/a/f"));
    assert!(world.rename("/a", "/b").is_ok() && world.rename("/b/f", "/b/g").is_ok());
    assert!(world.put("/b/g", b"new content").is_ok());
    assert_eq!(shows(&mut world, SYSTEM, link).as_deref(), Some("/b/g"));
    assert!(world.delete("/b").is_ok());
    assert_eq!(shows(&mut world, OWNER, link), None);
    world.check();
    // A new file under the old name is another one.
    assert!(world.put("/b/g", b"x").is_ok());
    assert_eq!(shows(&mut world, OWNER, link), None);
    let second = made(&mut world, OWNER, "/b/g");
    assert_eq!(world.run(revoke(second)), Outcome::Done);
    assert_eq!(world.run(revoke(second)), Outcome::NotFound);
    assert_eq!(shows(&mut world, OWNER, second), None);
    assert_ne!(made(&mut world, OWNER, "/b/g"), second, "numbers are not used again");
    assert_eq!(world.run(create("/none", LinkSettings::default())), Outcome::NotFound);
    assert_eq!(world.run(create("", LinkSettings::default())), Outcome::Malformed, "not the whole tree");
}

#[test]
fn settings_change_and_a_link_ends_when_they_say() {
    let mut world = World::new();
    world.put("/f", b"x");
    let password = PasswordHash(b"salted".to_vec());
    let settings = LinkSettings { password: password.clone(), no_download: true, ..LinkSettings::default() };
    let Outcome::Made { id } = world.run(create("/f", settings.clone())) else { panic!("made") };
    let Answer::Link(info) = world.ask(&Query::Link(id)) else { panic!("link") };
    assert!(info.has_password && !info.settings.password.is_set() && info.settings.no_download, "no hash for users");
    assert!(!format!("{settings:?}").contains("115"), "no hash in what is printed");
    let Answer::Link(info) = world.ask_as(SYSTEM, &Query::Link(id)) else { panic!("link") };
    assert_eq!((info.settings.password, info.created_ms), (password, world.stamp_ms));
    let ends = LinkSettings { expires_ms: world.stamp_ms + 1000, ..LinkSettings::default() };
    assert_eq!(world.run(modify(id, ends.clone())), Outcome::Done);
    assert_eq!(world.run(modify(id + 1, ends)), Outcome::NotFound);
    assert_eq!(shows(&mut world, SYSTEM, id).as_deref(), Some("/f"));
    world.stamp_ms += 1000;
    world.mkdir("/time goes on");
    assert_eq!(shows(&mut world, SYSTEM, id), None);
    let again = made(&mut world, OWNER, "/f");
    assert_ne!(again, id, "one that has ended makes room");
    let long = LinkSettings { password: PasswordHash(vec![1; 257]), ..LinkSettings::default() };
    let header = world.header(OWNER);
    let mut bytes = Vec::new();
    encode_command(&header, &modify(again, long), &mut bytes);
    assert_eq!(decode_command(&bytes), Err(DecodeError::TooMany("password hash bytes")));
}

#[test]
fn a_removed_member_loses_its_links_for_good() {
    let mut world = shared();
    let (viewers, editors) = (made(&mut world, VIEWER, "/d"), made(&mut world, EDITOR, "/d"));
    assert_eq!(world.run_as(STRANGER, create("/d", LinkSettings::default())), Outcome::NoAccess);
    assert_eq!(shows(&mut world, SYSTEM, viewers).as_deref(), Some("/d"));
    for command in [modify(viewers, LinkSettings::default()), revoke(viewers)] {
        assert_eq!(world.run_as(EDITOR, command), Outcome::NotFound, "another's link");
    }
    assert_eq!(shows(&mut world, EDITOR, viewers), None, "another's link");
    assert_eq!(world.run_as(SYSTEM, Command::MemberRemove { step: NO_STEP, acct: VIEWER }), Outcome::Done);
    world.check();
    assert_eq!(shows(&mut world, SYSTEM, viewers), None, "nobody is shown what the removed one showed");
    assert_eq!(world.ask_as(VIEWER, &Query::Link(viewers)), Answer::NoAccess);
    assert_eq!(world.run_as(VIEWER, revoke(viewers)), Outcome::NoAccess);
    let all = Query::Links { of: LinksOf::Account(VIEWER), after: 0, limit: 0 };
    assert_eq!(world.ask_as(VIEWER, &all), Answer::NoAccess);
    assert_eq!(world.ask_as(SYSTEM, &all), Answer::Links { links: Vec::new(), next: None });
    // In again, at the very same place of the journal: what it showed before stays away.
    member(&mut world, VIEWER, MemberRole::Viewer);
    assert_eq!(shows(&mut world, SYSTEM, viewers), None);
    assert_eq!(world.run_as(VIEWER, modify(viewers, LinkSettings::default())), Outcome::NotFound);
    let anew = made(&mut world, VIEWER, "/d");
    assert_ne!(anew, viewers);
    assert_eq!(shows(&mut world, SYSTEM, anew).as_deref(), Some("/d"));
    // The owner ends anybody's.
    assert_eq!(world.run_as(OWNER, revoke(anew)), Outcome::Done);
    let transfer = Transfer { step: NO_STEP, from: OWNER, to: EDITOR, grant_bytes: 1 << 30 };
    let owners = made(&mut world, OWNER, "/d/f");
    assert_eq!(world.run_as(SYSTEM, Command::Transfer(transfer)), Outcome::Done);
    assert!(shows(&mut world, SYSTEM, owners).is_some() && shows(&mut world, SYSTEM, editors).is_some());
    assert_eq!(world.run_as(SYSTEM, Command::MemberRemove { step: NO_STEP, acct: OWNER }), Outcome::Done);
    assert_eq!(shows(&mut world, SYSTEM, owners), None);
}

#[test]
fn links_are_listed_of_an_account_and_of_a_node_page_by_page() {
    let mut world = shared();
    let paths = ["/d", "/d/f", "/d/g", "/h"];
    paths[2..].iter().for_each(|path| assert!(world.put(path, b"x").is_ok()));
    let own: Vec<u64> = paths.iter().map(|path| made(&mut world, OWNER, path)).collect();
    let theirs = [made(&mut world, VIEWER, "/d"), made(&mut world, EDITOR, "/d")];
    for limit in [0, 1, 2, 3, 100] {
        assert_eq!(listed(&mut world, OWNER, &LinksOf::Account(OWNER), limit), own, "limit {limit}");
        assert_eq!(listed(&mut world, OWNER, &of_node("/d", false), limit), [own[0], theirs[0], theirs[1]]);
        assert_eq!(listed(&mut world, OWNER, &LinksOf::Account(EDITOR), limit), [theirs[1]], "the owner sees all");
    }
    assert_eq!(listed(&mut world, VIEWER, &of_node("/d", false), 0), [theirs[0]]);
    assert_eq!(listed(&mut world, VIEWER, &of_node("/d/f", true), 0), [theirs[0]], "a folder above");
    assert_eq!(listed(&mut world, OWNER, &of_node("/d/f", true), 0), [own[1], own[0]]);
    let others = Query::Links { of: LinksOf::Account(OWNER), after: 0, limit: 0 };
    assert_eq!(world.ask_as(VIEWER, &others), Answer::NoAccess);
    assert!(world.delete("/d/g").is_ok());
    assert_eq!(listed(&mut world, OWNER, &LinksOf::Account(OWNER), 1), [own[0], own[1], own[3]]);
}

#[test]
fn a_link_behind_a_mount_is_elsewhere_and_the_root_of_a_shared_folder_may_be_shown() {
    let mut world = World::new();
    let target = Nsid(10_000_000_777);
    let mount = Mount { step: NO_STEP, target, at: At::path("/m"), autorename: false };
    assert!(world.run_as(SYSTEM, Command::Mount(mount)).is_ok());
    for (path, rest) in [("/m", ""), ("/m/a", "/a")] {
        let elsewhere = Outcome::Elsewhere { nsid: target, rest: rest.to_owned() };
        assert_eq!(world.run(create(path, LinkSettings::default())), elsewhere);
    }
    let mut world = shared();
    let link = made(&mut world, VIEWER, "");
    assert_eq!(shows(&mut world, SYSTEM, link).as_deref(), Some(""));
}

#[test]
fn what_shows_nothing_for_good_is_swept_in_bounded_steps() {
    let mut world = shared();
    let tables = |world: &World| {
        let rows = world.store.rows(GROUP);
        rows.iter().filter(|(key, _)| [0x0d, 0x18, 0x19].contains(&key[0])).count()
    };
    for at in 0..20 {
        world.put(&format!("/many/{at}"), b"x");
        made(&mut world, if at % 2 == 0 { OWNER } else { EDITOR }, &format!("/many/{at}"));
    }
    let stays = made(&mut world, OWNER, "/d");
    assert_eq!(tables(&world), 63);
    world.run_as(SYSTEM, Command::MemberRemove { step: NO_STEP, acct: EDITOR });
    let sweep = |world: &mut World| loop {
        let outcome = world.run_as(SYSTEM, Command::BlockSweep { limit: 3 });
        world.check();
        match outcome {
            Outcome::Swept { has_more: true, .. } => {}
            Outcome::Swept { has_more: false, .. } => break,
            other => panic!("{other:?}"),
        }
    };
    world.store.checkpoint();
    sweep(&mut world);
    assert_eq!(tables(&world), 33, "those of the removed member");
    world.delete("/many");
    sweep(&mut world);
    assert_eq!(tables(&world), 33, "a restore may bring them back");
    for floor in
        [Command::Sweep { limit: 0 }, Command::JournalTrim { floor: Jid(u64::MAX) }, Command::Purge { limit: 0 }]
    {
        assert!(world.run_as(SYSTEM, floor).is_ok());
        world.check();
    }
    sweep(&mut world);
    assert_eq!(tables(&world), 3);
    assert_eq!(shows(&mut world, OWNER, stays).as_deref(), Some("/d"));
    assert_eq!(world.lookup("/d").map(|entry| entry.meta.node), Some(TreeNode(2)));
}
