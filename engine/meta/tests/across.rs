//! What goes from one namespace to another while it is written to: shares and moves of folders with content, by drivers
//! that stop anywhere, go on from old rows and send again, over freezes that lapse. What was acknowledged in the folder
//! before it went is where it went, once; where it did not go, it is where it was.

mod common;
mod flow_cluster;

use base::{Acct, BlockHash, Jid, Nsid, TreeNode};
use common::{content_hash, hash_of};
use flow_cluster::{ALLOCATED, Cluster, SYSTEM};
use meta::driver::{Ask, Drive};
use meta::*;

const FOLDER: &str = "/s";

/// What is in a folder: path from there, kind, bytes, content and time as clients see them.
type Tree = Vec<(String, NodeKind, u64, [u8; 32], i64)>;

/// A cluster with two accounts, each with a root; and a folder in the first one's.
struct World {
    cluster: Cluster,
    ada: (Acct, Nsid),
    bob: (Acct, Nsid),
    folder: TreeNode,
}

impl World {
    fn new(seed: u64) -> World {
        let mut cluster = Cluster::new(seed);
        for name in ["ada", "bob"] {
            let plan = FlowPlan::Account { name: name.to_owned(), allocated: ALLOCATED * 1000, grant_bytes: 400_000 };
            cluster.start(plan);
            cluster.settle();
        }
        let [ada, bob] = cluster.accounts[..] else { panic!("two accounts") };
        assert!(cluster.send(ada.1, &Command::Mkdir(Mkdir { at: At::path(FOLDER), autorename: false })).is_ok());
        let Answer::Entry(entry) = cluster.ask_ns(ada.0, ada.1, &Query::Lookup(What::At(At::path(FOLDER)))) else {
            panic!("made just now")
        };
        World { cluster, ada, bob, folder: entry.meta.node }
    }

    /// A shared namespace of the first account that is empty.
    fn share_empty(&mut self) -> Nsid {
        let root = self.ada.1;
        let made = self.cluster.send(root, &Command::Mkdir(Mkdir { at: At::path("/shared"), autorename: false }));
        let node = made.metadata().expect("it is made").node;
        self.cluster.start(FlowPlan::Share { owner: self.ada.0, node, grant_bytes: 100_000 });
        self.cluster.settle();
        *self.cluster.shared.last().expect("it was shared")
    }

    fn tree(&self, nsid: Nsid, at: At) -> Tree {
        let (mut all, mut position) = (Tree::new(), Vec::new());
        let above = if at.node.0 > 1 {
            let Answer::Entry(entry) = self.cluster.ask_ns(SYSTEM, nsid, &Query::Lookup(What::At(at.clone()))) else {
                panic!("the folder is there")
            };
            entry.path_display.len()
        } else {
            at.path.len()
        };
        loop {
            let query = Query::ListPage { at: at.clone(), recursive: true, position, limit: 0 };
            let Answer::Page { entries, next, .. } = self.cluster.ask_ns(SYSTEM, nsid, &query) else {
                panic!("it is listed")
            };
            all.extend(entries.into_iter().map(|entry| {
                let Metadata { kind, size, content_hash, client_mtime_ms, .. } = entry.meta;
                // What a client said of a folder's time is not copied, here nor inside a namespace.
                let client_mtime_ms = if kind == NodeKind::File { client_mtime_ms } else { 0 };
                (entry.path_display[above..].to_owned(), kind, size, content_hash, client_mtime_ms)
            }));
            match next {
                Some(next) => position = next,
                None => return all,
            }
        }
    }

    fn is_there(&self) -> bool {
        matches!(
            self.cluster.ask_ns(SYSTEM, self.ada.1, &Query::Lookup(What::At(At::node(self.folder)))),
            Answer::Entry(_)
        )
    }

    /// One change in the folder, or of where it is; by path, as clients do.
    fn write_something(&mut self) {
        let (ada, root) = self.ada;
        let prng = &mut self.cluster.prng;
        let place = |prng: &mut base::Prng| {
            let names = ["a", "b", "C"];
            let depth = 1 + prng.below(3);
            let names: Vec<&str> = (0..depth).map(|_| names[prng.below(3) as usize]).collect();
            format!("{FOLDER}/{}", names.join("/"))
        };
        let (path, other) = (place(prng), place(prng));
        let content = vec![prng.below(200) as u8; 1 + prng.below(300) as usize];
        let at = At::path(&path);
        let outcome = match prng.below(12) {
            0..=4 => self.cluster.put_as(ada, root, &path, &content),
            5 => self.cluster.send(root, &Command::Mkdir(Mkdir { at, autorename: false })),
            6 | 7 => self.cluster.send(root, &Command::Delete(Delete { at, parent_rev: None })),
            8 => {
                let target = At::path(&other);
                self.cluster.send(root, &Command::Move(Move { source: at, target, autorename: false }))
            }
            9 => {
                let target = At::path(&path.to_uppercase().replacen("/S/", "/s/", 1));
                self.cluster.send(root, &Command::Move(Move { source: at, target, autorename: false }))
            }
            10 => self.cluster.send(root, &Command::SetAttr(SetAttr { at, client_mtime_ms: Some(7) })),
            _ => {
                // Out of the folder and under another name, where it stays.
                let target = At::path("/out");
                self.cluster.send(root, &Command::Move(Move { source: at, target, autorename: true }))
            }
        };
        assert!(matches!(outcome.code(), 1 | 2 | 3 | 6 | 8 | 9 | 16 | 20), "{outcome:?}");
    }

    /// Drives a flow to its end by several drivers, with writes, sleeps and repeats between. Returns how it ended, and
    /// what was in the folder when it went, or is.
    fn run(&mut self, flow: u64, writes: bool) -> (FlowInfo, Tree) {
        let mut drives: Vec<Drive> = Vec::new();
        let mut last = self.tree(self.ada.1, At::node(self.folder));
        for turn in 0.. {
            assert!(turn < 20_000, "{:?} does not end", self.cluster.open());
            if self.is_there() {
                last = self.tree(self.ada.1, At::node(self.folder));
            }
            let Group0Answer::Flow(info) = self.cluster.ask0(Group0Query::Flow(flow)) else { panic!("it is known") };
            if info.state == FlowState::Done || info.state == FlowState::Failed {
                // Whoever sleeps wakes up.
                for mut drive in drives {
                    self.cluster.drive(&mut drive, 60);
                }
                for _ in 0..20 {
                    self.cluster.repeat_something();
                }
                return (*info, last);
            }
            match self.cluster.prng.below(16) {
                0 if drives.len() < 3 => drives.push(Drive::new(*info)),
                1 if !self.cluster.read.is_empty() && drives.len() < 4 => {
                    let at = self.cluster.prng.below(self.cluster.read.len() as u64) as usize;
                    let old = self.cluster.read[at].clone();
                    if old.flow == flow {
                        drives.push(Drive::new(old));
                    }
                }
                2 => self.cluster.repeat_something(),
                3 if self.cluster.prng.one_in(6) => self.cluster.stamp_ms += self.cluster.prng.below(70_000),
                4..=8 if writes => self.write_something(),
                _ if drives.is_empty() => drives.push(Drive::new(*info)),
                _ => {
                    let at = self.cluster.prng.below(drives.len() as u64) as usize;
                    let asks = 1 + self.cluster.prng.below(3);
                    let mut drive = drives.swap_remove(at);
                    let is_over = self.cluster.drive(&mut drive, asks);
                    if !is_over && !self.cluster.prng.one_in(30) {
                        drives.push(drive);
                    }
                }
            }
        }
        unreachable!("it returns when the flow has ended")
    }
}

#[test]
fn a_folder_shared_while_it_is_written_to_is_whole_in_its_namespace() {
    let mut done = 0;
    for seed in 0..16 {
        let mut world = World::new(seed);
        for _ in 0..30 {
            world.write_something();
        }
        let plan = FlowPlan::Share { owner: world.ada.0, node: world.folder, grant_bytes: 300_000 };
        let Outcome::Flow(info) = world.cluster.start(plan) else { panic!("it begins") };
        let (info, last) = world.run(info.flow, true);
        assert_eq!(info.state, FlowState::Done, "seed {seed}: {info:?}");
        done += 1;
        assert_eq!(world.tree(info.nsid, At::path("")), last, "seed {seed}");
        assert!(!world.is_there(), "the folder is a mount now");
        world.cluster.compare();
    }
    assert_eq!(done, 16);
}

#[test]
fn a_folder_moved_across_while_it_is_written_to_is_whole_where_it_went() {
    let (mut done, mut both) = (0, 0);
    for seed in 100..116 {
        let mut world = World::new(seed);
        let shared = world.share_empty();
        for _ in 0..30 {
            world.write_something();
        }
        let (acct, from, node) = (world.ada.0, world.ada.1, world.folder);
        let at = At::path("/deep/here");
        let plan = FlowPlan::MoveAcross { acct, from, node, to: shared, at, autorename: false };
        let Outcome::Flow(info) = world.cluster.start(plan) else { panic!("it begins") };
        let (info, last) = world.run(info.flow, true);
        let target = At::path("/deep/here");
        if info.state == FlowState::Done {
            assert!(!world.is_there(), "seed {seed}");
            assert_eq!(world.tree(shared, target), last, "seed {seed}");
            done += 1;
        } else {
            // It thawed after it was attached: both are there, and nothing is lost.
            assert_eq!(info.code, Outcome::RevMismatch.code(), "seed {seed}: {info:?}");
            assert!(world.is_there(), "seed {seed}");
            both += 1;
        }
    }
    assert!(done >= 8, "{done} done, {both} twice there");
}

#[test]
fn a_move_across_that_is_refused_leaves_the_folder_where_it_was_and_nothing_where_it_would_go() {
    for seed in 200..206 {
        let mut world = World::new(seed);
        let shared = world.share_empty();
        for _ in 0..20 {
            world.write_something();
        }
        let taken = world.cluster.put_as(world.ada.0, shared, "/here", b"x");
        assert!(taken.is_ok());
        let before = world.tree(shared, At::path(""));
        let (acct, from, node) = (world.ada.0, world.ada.1, world.folder);
        let at = At::path("/here");
        let plan = FlowPlan::MoveAcross { acct, from, node, to: shared, at, autorename: false };
        let Outcome::Flow(info) = world.cluster.start(plan) else { panic!("it begins") };
        let (info, last) = world.run(info.flow, true);
        assert_eq!((info.state, info.code), (FlowState::Failed, 3), "seed {seed}");
        assert_eq!(world.tree(shared, At::path("")), before, "seed {seed}");
        assert_eq!(world.tree(from, At::node(node)), last, "seed {seed}");
        // Who slept may have frozen it once more; that lapses by itself.
        world.cluster.stamp_ms += 60_000;
        assert!(world.cluster.put_as(acct, from, "/s/after", b"y").is_ok());
        // What was brought is swept, and counted no more.
        while let Outcome::Swept { has_more: true, .. } = world.cluster.send(shared, &Command::Sweep { limit: 100 }) {}
        let Answer::SpaceUsage { live_bytes, .. } = world.cluster.ask_ns(SYSTEM, shared, &Query::SpaceUsage) else {
            panic!("usage")
        };
        assert_eq!(live_bytes, 1);
    }
}

#[test]
fn a_folder_with_a_mount_in_it_is_not_shared_and_all_that_was_made_for_it_goes() {
    let mut world = World::new(1);
    let shared = world.share_empty();
    let (ada, root) = world.ada;
    assert!(world.cluster.put_as(ada, root, "/s/file", b"x").is_ok());
    let source = At::path("/shared");
    let target = At::path("/s/inside");
    assert!(world.cluster.send(root, &Command::Move(Move { source, target, autorename: false })).is_ok());
    let plan = FlowPlan::Share { owner: ada, node: world.folder, grant_bytes: 1000 };
    let Outcome::Flow(info) = world.cluster.start(plan) else { panic!("it begins") };
    let made = info.nsid;
    let (info, _) = world.run(info.flow, false);
    assert_eq!((info.state, info.code), (FlowState::Failed, Outcome::NestedShare.code()));
    assert_eq!(world.tree(made, At::path("")), Tree::new());
    assert_eq!(world.cluster.granted(ada, made), 0);
    assert!(world.cluster.put_as(ada, root, "/s/after", b"y").is_ok(), "it thawed");
    assert_eq!(world.cluster.ask_ns(ada, shared, &Query::Head), Answer::Head(Jid(0)));
}

#[test]
fn an_empty_folder_and_one_larger_than_many_parts_go_whole() {
    let mut world = World::new(2);
    let shared = world.share_empty();
    let (ada, root) = world.ada;
    // A thousand names: four parts of a listing.
    let mkdir = |path: String| Command::Mkdir(Mkdir { at: At::path(&path), autorename: false });
    let parts = (0..600).map(|at| mkdir(format!("/s/{}/{at}", at % 7))).collect();
    assert!(world.cluster.send(root, &Command::CommitBatch(CommitBatch { atomic: true, parts })).is_ok());
    let last = world.tree(root, At::node(world.folder));
    assert_eq!(last.len(), 607);
    let at = At::path("/all");
    let plan = FlowPlan::MoveAcross { acct: ada, from: root, node: world.folder, to: shared, at, autorename: false };
    world.cluster.start(plan);
    world.cluster.settle();
    assert_eq!(world.tree(shared, At::path("/all")), last);
    let made = world.cluster.send(root, &mkdir("/none".to_owned()));
    let node = made.metadata().expect("made").node;
    let at = At::path("/all/none");
    world.cluster.start(FlowPlan::MoveAcross { acct: ada, from: root, node, to: shared, at, autorename: true });
    world.cluster.settle();
    assert_eq!(world.tree(shared, At::path("/all/none")), Tree::new());
}

#[test]
fn a_file_whose_list_is_too_long_for_a_command_goes_by_parts_of_its_list() {
    let mut world = World::new(3);
    let shared = world.share_empty();
    let (ada, root) = world.ada;
    world.cluster.accounts.clear(); // I8 is not looked at: the file is larger than any grant here.
    world.cluster.shared.clear();
    for nsid in [root, shared] {
        let step = Step { flow: 1 << 40 | nsid.0, step: 1 };
        assert_eq!(world.cluster.send(nsid, &Command::GrantRaise { step, owner: ada, bytes: 1 << 40 }), Outcome::Done);
    }
    let blocks: Vec<BlockHash> = (0..1500u32).map(|at| hash_of(&at.to_le_bytes())).collect();
    let id = UploadId { nonce: 99, issued_ms: world.cluster.stamp_ms, is_concurrent: false };
    for (names, part) in blocks.chunks(1024).zip(0..) {
        let present = |hash: &BlockHash| PresentBlock { hash: *hash, bytes: 4 << 20, put_at_ms: u64::MAX };
        let stage = ListStage { id, part, blocks: names.iter().map(present).collect() };
        assert_eq!(world.cluster.send(root, &Command::ListStage(stage)), Outcome::Done);
    }
    let large = CommitFile {
        at: At::path("/s/large"),
        size: 1500 * (4 << 20),
        content_hash: content_hash(&blocks),
        attested: Some(Box::new(Attested { id, is_staged: true })),
        ..CommitFile::default()
    };
    assert!(world.cluster.send(root, &Command::CommitFile(large)).is_ok());
    let at = At::path("/went");
    let plan = FlowPlan::MoveAcross { acct: ada, from: root, node: world.folder, to: shared, at, autorename: false };
    world.cluster.start(plan);
    world.cluster.settle();
    let what = What::At(At::path("/went/large"));
    let Answer::Blocklist { blocks: told, .. } =
        world.cluster.ask_ns(ada, shared, &Query::Blocklist { what, first: 0 })
    else {
        panic!("it is there")
    };
    assert!(told.into_iter().map(|(hash, _)| hash).eq(blocks));
}

#[test]
fn what_comes_from_another_namespace_is_read_and_brought_by_the_system_alone() {
    let mut world = World::new(4);
    let (ada, root) = world.ada;
    let export = Export { node: world.folder, place: CarryPlace::default(), limit: 0 };
    let questions = [Query::Export(Box::new(export)), Query::Import(1)];
    for question in &questions {
        assert_eq!(world.cluster.ask_ns(ada, root, question), Answer::NoAccess);
        assert_eq!(world.cluster.ask_ns(world.bob.0, root, question), Answer::NoAccess);
    }
    let stranger = Query::Members { after: Acct(0) };
    assert_eq!(world.cluster.ask_ns(world.bob.0, root, &stranger), Answer::NoAccess);
    let item = CarriedItem { path: "/x".to_owned(), what: Carried::Folder };
    let place = CarryPlace::default();
    let (flow, acct) = (7, ada);
    let import = Import { flow, part: 0, is_hidden: false, acct, read_ms: u64::MAX, place, items: vec![item] };
    let end = ImportEnd { step: Step { flow, step: 1 }, how: ImportEndHow::GiveUp };
    let group = base::group_of(root, flow_cluster::GROUPS);
    for command in [Command::Import(Box::new(import.clone())), Command::ImportEnd(Box::new(end))] {
        // Of an account, even in its own root; nothing is run without a session.
        let outcome = world.cluster.apply(group, ada, root, &command);
        assert!(matches!(outcome, Outcome::NoAccess | Outcome::SessionGone), "{outcome:?}");
    }
    // A path that is none changes nothing.
    for path in ["", "/", "/a//b", "/..", "/a ", "/a\\b"] {
        let items = vec![CarriedItem { path: path.to_owned(), what: Carried::Folder }];
        let import = Import { items, ..import.clone() };
        let before = world.tree(root, At::path(""));
        assert_eq!(world.cluster.send(root, &Command::Import(Box::new(import))), Outcome::Malformed, "{path:?}");
        assert_eq!(world.tree(root, At::path("")), before);
    }
}

#[test]
fn an_account_ends_with_all_in_its_root_once_it_reaches_nothing_shared() {
    let mut world = World::new(5);
    let shared = world.share_empty();
    let ((ada, _), (bob, root)) = (world.ada, world.bob);
    assert_eq!(world.cluster.start(FlowPlan::AccountEnd { acct: ada }), Outcome::Exists { id: shared.0 });
    world.cluster.start(FlowPlan::AddMember { nsid: shared, acct: bob, role: MemberRole::Viewer });
    assert!(matches!(world.cluster.start(FlowPlan::AccountEnd { acct: bob }), Outcome::Busy { .. }));
    world.cluster.settle();
    assert_eq!(world.cluster.start(FlowPlan::AccountEnd { acct: bob }), Outcome::Exists { id: shared.0 });
    world.cluster.start(FlowPlan::RemoveMember { nsid: shared, acct: bob });
    world.cluster.settle();
    for at in 0..5 {
        assert!(world.cluster.put_as(bob, root, &format!("/{at}/file"), b"x").is_ok());
    }
    // What it has granted elsewhere would be granted by nobody.
    let elsewhere = Nsid(10_000_000_777);
    let grant = |before, bytes| GrantChange { acct: bob, nsid: elsewhere, before, bytes };
    assert_eq!(world.cluster.group0(Group0Command::GrantReserve(grant(0, 5))), Outcome::Done);
    assert_eq!(world.cluster.start(FlowPlan::AccountEnd { acct: bob }), Outcome::Exists { id: elsewhere.0 });
    assert_eq!(world.cluster.group0(Group0Command::GrantRelease(grant(5, 0))), Outcome::Done);
    let Outcome::Flow(info) = world.cluster.start(FlowPlan::AccountEnd { acct: bob }) else { panic!("it begins") };
    // Nothing new comes to an account that ends.
    let invite = FlowPlan::AddMember { nsid: shared, acct: bob, role: MemberRole::Viewer };
    assert_eq!(world.cluster.start(invite), Outcome::NotFound);
    // The harness looks at accounts that are there.
    world.cluster.accounts.retain(|(acct, _)| *acct != bob);
    let (info, _) = world.run(info.flow, false);
    assert_eq!(info.state, FlowState::Done);
    assert_eq!(world.tree(root, At::path("")), Tree::new());
    let known = world.cluster.ask(base::GroupId(0), SYSTEM, Nsid(0), &Query::Account(AccountKey::Acct(bob)));
    assert_eq!(known, Answer::NotFound);
    let again = FlowPlan::Account { name: "bob".to_owned(), allocated: 0, grant_bytes: 1 };
    let Outcome::Flow(next) = world.cluster.start(again) else { panic!("the name is free") };
    assert_ne!(next.acct, bob, "and the number is never used again");
}

#[test]
fn a_driver_that_was_told_nothing_asks_the_same_again() {
    let mut world = World::new(6);
    let plan = FlowPlan::Share { owner: world.ada.0, node: world.folder, grant_bytes: 1000 };
    let Outcome::Flow(info) = world.cluster.start(plan) else { panic!("it begins") };
    let mut drive = Drive::new(*info);
    let first = drive.ask(world.cluster.stamp_ms);
    assert!(matches!(first, Some(Ask::Command { command: Command::NamespaceInit { .. }, .. })), "{first:?}");
    assert_eq!(drive.ask(world.cluster.stamp_ms + 1), first);
}
