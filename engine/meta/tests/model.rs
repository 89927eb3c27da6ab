//! The machine against a naive tree: same outcomes, same listing, whether its rows are warm, cold, or lost in a crash.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use base::names::{name_key, path_key};
use base::{Acct, Jid, Prng, Sequence, SessionId, TreeNode};
use meta::*;
use world::*;

static FILE_THERE: Outcome = Outcome::Conflict { file: true, folder: false, file_ancestor: false };
static FOLDER_THERE: Outcome = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
static FILE_ABOVE: Outcome = Outcome::Conflict { file: false, folder: false, file_ancestor: true };

/// A map of paths and two counters.
struct Model {
    tree: Tree,
    head: u64,
    next_node: u64,
}

/// What a command should come to.
#[derive(PartialEq, Eq, Debug)]
enum Expected {
    /// The thing as it is now, or was before it was deleted, and the row that says so.
    Applied(Thing, Jid),
    Unchanged(Thing),
    Other(&'static Outcome),
}

type Judged = Result<Expected, &'static Outcome>;

impl Model {
    fn new() -> Model {
        Model { tree: Tree::new(), head: 0, next_node: 2 }
    }

    fn run(&mut self, command: &Command) -> Expected {
        let judged = match command {
            Command::StoreAndCommit(both) => self.put(&both.commit),
            Command::Mkdir(mkdir) => self.mkdir(mkdir),
            Command::Delete(delete) => self.delete(delete),
            Command::Move(moved) => self.rename(moved),
            other => panic!("the model does not know {other:?}"),
        };
        judged.unwrap_or_else(Expected::Other)
    }

    fn next_row(&mut self) -> Jid {
        self.head += 1;
        Jid(self.head)
    }

    fn new_node(&mut self) -> TreeNode {
        self.next_node += 1;
        TreeNode(self.next_node - 1)
    }

    fn get(&self, path: &str) -> Option<&Thing> {
        self.tree.get(&path_key(path))
    }

    /// Refuses a target that is the root or below a file.
    fn check_target(&self, path: &str) -> Result<(), &'static Outcome> {
        match path {
            "" => Err(&FOLDER_THERE),
            _ if above(path).any(|parent| self.get(parent).is_some_and(|there| !there.is_folder)) => Err(&FILE_ABOVE),
            _ => Ok(()),
        }
    }

    fn make_parents(&mut self, path: &str) {
        let parents: Vec<&str> = above(path).collect();
        for parent in parents.into_iter().rev() {
            if self.get(parent).is_none() {
                self.next_row();
                let node = self.new_node();
                self.tree.insert(path_key(parent), Thing::folder(name_of(parent), node));
            }
        }
    }

    /// The first name beside `path` that is free.
    fn free_name(&self, path: &str, label: &str) -> String {
        let (parents, name) = path.split_at(path.len() - name_of(path).len());
        let (stem, extension) = name.split_at(name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len()));
        let suffix = |n: u32| match (label, n) {
            ("", n) => n.to_string(),
            (label, 1) => label.to_owned(),
            (label, n) => format!("{label} {n}"),
        };
        (1..)
            .map(|n| format!("{parents}{stem} ({}){extension}", suffix(n)))
            .find(|path| self.get(path).is_none())
            .expect("some number is free")
    }

    fn put(&mut self, commit: &CommitFile) -> Judged {
        let path = &commit.at.path;
        self.check_target(path)?;
        let there = self.get(path).cloned();
        let is_update = matches!(commit.mode, PutMode::Update(_));
        let conflict = match &there {
            None => (is_update && commit.strict).then_some(&FILE_THERE),
            Some(there) if there.is_folder => Some(&FOLDER_THERE),
            Some(there) if there.hash == commit.content_hash && there.size == commit.size && !commit.strict => {
                return Ok(Expected::Unchanged(there.clone()));
            }
            Some(there) => match commit.mode {
                PutMode::Overwrite => None,
                PutMode::Update(rev) if rev == there.rev => None,
                _ => Some(&FILE_THERE),
            },
        };
        let (path, there) = match conflict {
            None => (path.clone(), there),
            Some(conflict) if !commit.autorename => return Err(conflict),
            Some(_) => (self.free_name(path, if is_update { &commit.label } else { "" }), None),
        };
        self.make_parents(&path);
        let node = there.map_or_else(|| self.new_node(), |there| there.node);
        let (size, hash, rev) = (commit.size, commit.content_hash, self.next_row());
        let thing = Thing { name: name_of(&path).to_owned(), is_folder: false, node, size, hash, rev };
        self.tree.insert(path_key(&path), thing.clone());
        Ok(Expected::Applied(thing, rev))
    }

    fn mkdir(&mut self, mkdir: &Mkdir) -> Judged {
        let mut path = mkdir.at.path.clone();
        self.check_target(&path)?;
        if let Some(there) = self.get(&path) {
            if !mkdir.autorename {
                return Err(if there.is_folder { &FOLDER_THERE } else { &FILE_THERE });
            }
            path = self.free_name(&path, "");
        }
        self.make_parents(&path);
        let thing = Thing::folder(name_of(&path), self.new_node());
        self.tree.insert(path_key(&path), thing.clone());
        Ok(Expected::Applied(thing, self.next_row()))
    }

    fn delete(&mut self, delete: &Delete) -> Judged {
        let path = &delete.at.path;
        if path.is_empty() {
            return Err(&Outcome::NoAccess);
        }
        let there = self.get(path).cloned().ok_or(&Outcome::NotFound)?;
        if delete.parent_rev.is_some_and(|rev| there.is_folder || there.rev != rev) {
            return Err(&Outcome::RevMismatch);
        }
        take_out(&mut self.tree, &path_key(path));
        Ok(Expected::Applied(there, self.next_row()))
    }

    fn rename(&mut self, moved: &Move) -> Judged {
        let (source, mut target) = (path_key(&moved.source.path), moved.target.path.clone());
        if source.is_empty() {
            return Err(&Outcome::IntoItself);
        }
        let thing = self.tree.get(&source).cloned().ok_or(&Outcome::NotFound)?;
        self.check_target(&target)?;
        if thing.is_folder && path_key(&target).starts_with(&format!("{source}/")) {
            return Err(&Outcome::IntoItself);
        }
        let is_recased = path_key(&target) == source && name_of(&target) != thing.name;
        if let Some(there) = self.get(&target).filter(|_| !is_recased) {
            if !moved.autorename {
                return Err(if there.is_folder { &FOLDER_THERE } else { &FILE_THERE });
            }
            target = self.free_name(&target, "");
        }
        self.make_parents(&target);
        let jid = self.next_row();
        for (path, mut thing) in take_out(&mut self.tree, &source) {
            if path == source {
                name_of(&target).clone_into(&mut thing.name);
                // A file gets a new revision; a folder's move leaves what is in it as it was.
                thing.rev = if thing.is_folder { thing.rev } else { jid };
            }
            self.tree.insert(format!("{}{}", path_key(&target), &path[source.len()..]), thing);
        }
        Ok(Expected::Applied(self.get(&target).expect("it was just put there").clone(), jid))
    }
}

fn check_outcome(expected: &Expected, outcome: &Outcome, context: &str) {
    match (expected, outcome) {
        (Expected::Applied(thing, jid), Outcome::Applied(meta)) => {
            assert_eq!((&Thing::of(meta), &meta.jid), (thing, jid), "{context}");
        }
        (Expected::Unchanged(thing), Outcome::Unchanged(meta)) => assert_eq!(&Thing::of(meta), thing, "{context}"),
        (Expected::Other(expected), outcome) => assert_eq!(outcome, *expected, "{context}"),
        _ => panic!("{context}: {outcome:?} where {expected:?} was expected"),
    }
}

fn existing_or_random(prng: &mut Prng, tree: &Tree) -> String {
    match random_key(prng, tree) {
        Some(path) if !prng.one_in(6) => path,
        _ if prng.one_in(20) => String::new(),
        _ => random_path(prng, 3),
    }
}

fn random_command(prng: &mut Prng, model: &Model) -> Command {
    let path = existing_or_random(prng, &model.tree);
    let place = if prng.one_in(3) { existing_or_random(prng, &model.tree) } else { random_path(prng, 4) };
    let autorename = prng.one_in(3);
    let rev = |prng: &mut Prng, path: &str| match model.get(path) {
        Some(there) if !prng.one_in(3) => there.rev,
        _ => Jid(prng.below(model.head + 1)),
    };
    match prng.below(10) {
        0..=3 => {
            let path = if prng.one_in(2) { path } else { place };
            let mode = match prng.below(3) {
                0 => PutMode::Add,
                1 => PutMode::Overwrite,
                _ => PutMode::Update(rev(prng, &path)),
            };
            let label = if prng.one_in(2) { "Ada's conflicted copy" } else { "" }.to_owned();
            let commit = file(&path, prng.below(3), mode);
            store(CommitFile { autorename, strict: prng.one_in(4), label, ..commit })
        }
        4 => Command::Mkdir(Mkdir { at: At::path(&place), autorename }),
        5 | 6 => {
            let parent_rev = prng.one_in(3).then(|| rev(prng, &path));
            Command::Delete(Delete { at: At::path(&path), parent_rev })
        }
        _ => {
            let target = match prng.below(4) {
                0 => path.to_uppercase(),
                1 => format!("{}/{}", existing_or_random(prng, &model.tree), pick(prng, &NAMES)),
                _ => place,
            };
            Command::Move(Move { source: At::path(&path), target: At::path(&target), autorename })
        }
    }
}

/// The live files and their bytes.
fn usage(tree: &Tree) -> (u64, u64) {
    let files = tree.values().filter(|thing| !thing.is_folder);
    files.fold((0, 0), |(files, bytes), thing| (files + 1, bytes + thing.size))
}

fn sweep_all(replica: &mut Replica) {
    while replica.system(&Command::Sweep { limit: 2 }) != (Outcome::Swept { nodes: 0, has_more: false }) {}
}

/// Counters, revisions and ids, seen from outside.
fn check_from_outside(replica: &mut Replica, model: &Model) {
    sweep_all(replica);
    replica.check();
    let space = replica.ask(&Query::SpaceUsage);
    let (live_files, live_bytes) = usage(&model.tree);
    assert_eq!(space, Answer::SpaceUsage { live_files, live_bytes, grant_bytes: 1 << 40, is_sweeping: false });
    for (path, thing) in &model.tree {
        let places = [What::At(At::path(path)), What::At(At::node(thing.node)), What::Rev(thing.rev)];
        for what in &places[..if thing.is_folder { 2 } else { 3 }] {
            match replica.ask(&Query::Lookup(what.clone())) {
                Answer::Entry(entry) => assert_eq!(&Thing::of(&entry.meta), thing, "{what:?}"),
                other => panic!("{what:?}: {other:?}"),
            }
        }
    }
}

/// The revisions that were ever put under a name of a folder, oldest first.
type Histories = BTreeMap<(TreeNode, String), Vec<Jid>>;

fn check_histories(replica: &Replica, model: &Model, histories: &Histories) {
    for (path, thing) in model.tree.iter().filter(|(_, thing)| !thing.is_folder) {
        let parent = above(path).next().map_or(ROOT, |parent| model.tree[parent].node);
        let wanted = histories[&(parent, name_key(&thing.name))].iter().rev();
        let question = Query::Revisions { at: At::path(path), before: Jid(0), limit: 100 };
        let Answer::Revisions { deleted_ms: None, revisions, has_more: false } = replica.ask(&question) else {
            panic!("{path} is there and has a short history")
        };
        assert!(
            revisions.iter().map(|meta| &meta.rev_jid).eq(wanted.clone()),
            "{path}: {revisions:#?}, not {wanted:?}"
        );
    }
}

#[test]
fn the_machine_does_what_a_naive_tree_does() {
    for seed in 0..120 {
        let mut prng = Prng::new(seed);
        let (mut replica, mut model) = (Replica::new(), Model::new());
        let mut histories = Histories::new();
        let session = replica.register(OWNER, 1);
        for step in 1..=60 {
            let command = random_command(&mut prng, &model);
            let expected = model.run(&command);
            let outcome = replica.apply(&payload(&[(header(session, step), command.clone())])).remove(0);
            let context = format!("seed {seed}, step {step}, {command:?}");
            check_outcome(&expected, &outcome, &context);
            assert_eq!(replica.head(), Jid(model.head), "{context}: jids are dense");
            assert_eq!(replica.listing(0), model.tree, "{context}");
            if let (Outcome::Applied(meta), Some(rev)) = (&outcome, outcome.metadata().and_then(Metadata::rev))
                && meta.jid == rev.jid
            {
                histories.entry((meta.parent, name_key(&meta.name))).or_default().push(rev.jid);
            }
            if prng.one_in(10) {
                replica.system(&Command::Sweep { limit: prng.below(3) as u32 });
            }
        }
        check_from_outside(&mut replica, &model);
        check_histories(&replica, &model, &histories);
    }
}

/// Payloads of a whole life: the namespace, two sessions, then entries of one to three commands, some of them sent twice.
fn history(seed: u64) -> Vec<Vec<u8>> {
    commands_of(seed).iter().map(|entry| payload(entry)).collect()
}

fn commands_of(seed: u64) -> Vec<Vec<(CommandHeader, Command)>> {
    let mut prng = Prng::new(seed);
    let mut model = Model::new();
    let system = CommandHeader { nsid: NSID, ..CommandHeader::default() };
    let init = Command::NamespaceInit { owner: OWNER, kind: NamespaceKind::Root, grant_bytes: 1 << 40 };
    let register =
        |acct, nonce| (CommandHeader { acct, ..CommandHeader::default() }, Command::Register { nonce: [nonce; 16] });
    let mut entries = vec![vec![(system, init), register(OWNER, 1), register(Acct(0), 2)]];
    let sessions = [SessionId(1 << 12 | 1), SessionId(1 << 12 | 2)];
    let mut next = [0; 2];
    for _ in 0..40 {
        let mut entry = Vec::new();
        for _ in 0..1 + prng.below(3) {
            let command = random_command(&mut prng, &model);
            model.run(&command);
            let which = prng.below(2) as usize;
            next[which] += 1;
            let ack_below = Sequence(1 + prng.below(next[which]));
            let header = CommandHeader { ack_below, ..header(sessions[which], next[which]) };
            entry.push((header, command.clone()));
            if prng.one_in(4) {
                entry.push((header, command));
            }
        }
        if prng.one_in(5) {
            entry.push((system, Command::Sweep { limit: prng.below(3) as u32 }));
        }
        entries.push(entry);
    }
    entries
}

#[test]
fn cold_rows_change_neither_outcomes_nor_state() {
    for seed in 0..40 {
        let (mut warm, mut cold) = (Replica::empty(), Replica::empty());
        cold.store.set_cold(true);
        for (at, payload) in history(seed).iter().enumerate() {
            assert_eq!(cold.apply(payload), warm.apply(payload), "seed {seed}, entry {at}");
            assert_eq!(cold.state_hash(), warm.state_hash(), "seed {seed}, entry {at}");
            cold.store.checkpoint();
        }
        assert_eq!(cold.store.rows(GROUP), warm.store.rows(GROUP), "seed {seed}");
        assert!(cold.prefetches > 40 && warm.prefetches == 0, "only one of them was cold");
    }
}

#[test]
fn entries_applied_again_after_crashes_give_the_same_rows() {
    for seed in 0..40 {
        let mut prng = Prng::new(seed);
        let (mut steady, mut crashing) = (Replica::empty(), Replica::empty());
        let history = history(seed);
        let outcomes: Vec<_> = history.iter().map(|payload| steady.apply(payload)).collect();
        let mut crashes = 0;
        while crashing.applied_index().0 < history.len() as u64 {
            let at = crashing.applied_index().0 as usize;
            assert_eq!(crashing.apply(&history[at]), outcomes[at], "seed {seed}, entry {at}");
            if prng.one_in(6) {
                crashing.store.checkpoint();
            }
            if prng.one_in(12) && crashes < 20 {
                crashing.store.crash();
                crashes += 1;
            }
        }
        assert_eq!(crashing.store.rows(GROUP), steady.store.rows(GROUP), "seed {seed}");
        assert_eq!(crashing.store.machine(GROUP), steady.store.machine(GROUP), "seed {seed}");
    }
}

#[test]
fn commands_in_one_entry_give_the_same_rows_as_in_many() {
    for seed in 0..40 {
        let entries = commands_of(seed);
        let (mut many, mut one) = (Replica::empty(), Replica::empty());
        let apart: Vec<_> =
            entries.iter().flatten().skip(3).map(|command| payload(std::slice::from_ref(command))).collect();
        many.apply(&payload(&entries[0]));
        let outcomes: Vec<_> = apart.iter().flat_map(|payload| many.apply(payload)).collect();
        one.apply(&payload(&entries[0]));
        assert_eq!(one.apply(&payload(&entries[1..].concat())), outcomes, "seed {seed}");
        assert_eq!(one.store.rows(GROUP), many.store.rows(GROUP), "seed {seed}");
    }
}

#[test]
fn a_command_sent_twice_is_executed_once() {
    for seed in 0..20 {
        let mut prng = Prng::new(seed);
        let (mut replica, mut model) = (Replica::new(), Model::new());
        let session = replica.register(OWNER, 1);
        let mut sent = Vec::new();
        for sequence in 1..=40 {
            let command = random_command(&mut prng, &model);
            model.run(&command);
            let payload = payload(&[(header(session, sequence), command)]);
            let outcome = replica.apply(&payload);
            sent.push((payload, outcome));
            let head = replica.head();
            let (again, outcome) = pick(&mut prng, &sent);
            assert_eq!(&replica.apply(again), outcome, "seed {seed}, sequence {sequence}");
            assert_eq!(replica.head(), head, "seed {seed}: a repeated command wrote a row");
            assert_eq!(replica.listing(0), model.tree, "seed {seed}");
        }
        let kinds: BTreeSet<u8> = sent.iter().map(|(_, outcome)| outcome[0].code()).collect();
        assert!(kinds.len() >= 3, "seed {seed}: only outcomes {kinds:?} were repeated");
    }
}

fn one(replica: &mut Replica, header: CommandHeader, command: &Command) -> Outcome {
    replica.apply(&payload(&[(header, command.clone())])).remove(0)
}

#[test]
fn an_acknowledged_outcome_is_gone_and_its_command_stays_done() {
    let mut replica = Replica::new();
    let session = replica.register(OWNER, 1);
    // Table 11 of the store keeps outcomes.
    let kept = |replica: &Replica| replica.store.rows(GROUP).iter().filter(|(key, _)| key[0] == 0x11).count();
    for sequence in 1..=5 {
        assert!(one(&mut replica, header(session, sequence), &mkdir(&format!("/{sequence}"))).is_ok());
    }
    assert_eq!(kept(&replica), 5);
    let acknowledging = CommandHeader { ack_below: Sequence(5), ..header(session, 6) };
    assert!(one(&mut replica, acknowledging, &mkdir("/6")).is_ok());
    assert_eq!(kept(&replica), 2, "5 and 6 are left");
    let (head, tree) = (replica.head(), replica.listing(0));
    assert_eq!(one(&mut replica, header(session, 4), &mkdir("/another")), Outcome::Acknowledged);
    assert!(one(&mut replica, header(session, 5), &mkdir("/5")).is_ok(), "what is not acknowledged is still told");
    assert_eq!((replica.head(), replica.listing(0)), (head, tree));
}

#[test]
fn a_session_that_is_unknown_or_another_accounts_is_gone() {
    let mut replica = Replica::new();
    let session = replica.register(OWNER, 1);
    assert_eq!(replica.register(OWNER, 1), session, "a nonce keeps its session");
    let other = replica.register(Acct(12), 1);
    let (head, rows) = (replica.head(), replica.store.rows(GROUP));
    for session in [SessionId(0), SessionId(session.0 + 7), other] {
        assert_eq!(one(&mut replica, header(session, 1), &mkdir("/a")), Outcome::SessionGone, "{session:?}");
    }
    assert_eq!((replica.head(), replica.store.rows(GROUP)), (head, rows), "a refused command writes nothing");
    let stranger = CommandHeader { acct: Acct(12), ..header(other, 1) };
    assert_eq!(one(&mut replica, stranger, &mkdir("/a")), Outcome::NoAccess);
    assert!(one(&mut replica, header(session, 1), &mkdir("/a")).is_ok());
}
