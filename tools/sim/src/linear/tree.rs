//! A naive tree of one namespace: a map of paths that says what each command of the load must come to, apart from the
//! machine and its rows (docs/design/metadata.md, "Commands", "Conflicts").
//!
//! It knows what the load sends and gives up on the rest ([`Expected::Unknown`]).

#![allow(clippy::result_large_err, reason = "an outcome is compared where it is made and goes no further")]

use std::collections::BTreeMap;

use base::names::path_key;
use base::{Acct, Jid};
use meta::{Command, CommitFile, Metadata, NamespaceKind, Outcome, PutMode};

use super::shared::Shared;

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Thing {
    pub name: String,
    pub is_folder: bool,
    pub size: u64,
    pub hash: [u8; 32],
    /// Of a file: the row that put or moved it last. A folder's says nothing here.
    pub rev: Jid,
}

/// What a command must come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// This is there now, or was until it was deleted, by this row.
    Applied(Thing, Jid),
    /// The same was there.
    Unchanged(Thing),
    /// Nothing was done, and this was told.
    Other(Outcome),
    /// It was done before, and what it came to then was told, in these bytes.
    Told(Box<Outcome>),
    /// Not a command that this tree knows: all that comes later in the namespace is unknown too.
    Unknown,
}

impl Expected {
    /// Is `outcome` what was expected?
    pub fn is_met_by(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Expected::Unknown, _) => true,
            (Expected::Applied(thing, jid), Outcome::Applied(meta)) => Thing::of(meta) == *thing && meta.jid == *jid,
            (Expected::Unchanged(thing), Outcome::Unchanged(meta)) => Thing::of(meta) == *thing,
            (Expected::Other(expected), outcome) => expected == outcome,
            (Expected::Told(before), outcome) => **before == *outcome,
            _ => false,
        }
    }
}

impl Thing {
    pub fn of(meta: &Metadata) -> Thing {
        let is_folder = Thing::is_folder_of(meta.kind);
        Thing {
            name: meta.name.clone(),
            is_folder,
            size: meta.size,
            hash: meta.content_hash,
            rev: if is_folder { Jid(0) } else { meta.rev_jid },
        }
    }

    pub(super) fn folder(path: &str) -> Thing {
        Thing { name: name_of(path).to_owned(), is_folder: true, size: 0, hash: [0; 32], rev: Jid(0) }
    }
}

pub(super) const FILE: Outcome = Outcome::Conflict { file: true, folder: false, file_ancestor: false };
pub(super) const FOLDER: Outcome = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
const ANCESTOR: Outcome = Outcome::Conflict { file: false, folder: false, file_ancestor: true };

pub(super) type Judged = Result<Expected, Outcome>;

/// The tree of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(super) shared: Shared,
    head: u64,
    things: BTreeMap<String, Thing>,
    /// By row: size and hash of the content that it put or moved.
    contents: BTreeMap<u64, (u64, [u8; 32])>,
    is_lost: bool,
    /// Rows up to here may be gone, but those that something still shows.
    floor: u64,
}

pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The folders above a path, from the top; not the root.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter(|(at, _)| *at > 0).map(|(at, _)| &path[..at])
}

impl Tree {
    /// An empty root of `owner`.
    #[cfg(test)]
    pub fn new(owner: Acct) -> Tree {
        Tree::of_kind(NamespaceKind::Root, owner, 1 << 40)
    }

    /// An empty one, with room for `grant_bytes`.
    pub fn of_kind(kind: NamespaceKind, owner: Acct, grant_bytes: u64) -> Tree {
        let shared = Shared::new(kind, owner, grant_bytes);
        Tree { shared, head: 0, things: BTreeMap::new(), contents: BTreeMap::new(), is_lost: false, floor: 0 }
    }

    /// From here on nothing is known.
    pub(super) fn give_up(&mut self) {
        self.is_lost = true;
    }

    /// The newest row of the journal; none once something unknown was done.
    pub fn head(&self) -> Option<Jid> {
        (!self.is_lost).then_some(Jid(self.head))
    }

    /// All that is there, by path of name keys; none once something unknown was done.
    pub fn things(&self) -> Option<&BTreeMap<String, Thing>> {
        (!self.is_lost).then_some(&self.things)
    }

    /// Those of `acct` are let in.
    pub fn may_use(&self, acct: Acct) -> bool {
        self.shared.may_write(acct)
    }

    /// This revision may be gone because it is old: nothing that is there is of it.
    pub fn may_be_trimmed(&self, rev: Jid) -> bool {
        rev.0 <= self.floor && self.things.values().all(|thing| thing.is_folder || thing.rev != rev)
    }

    /// Executes a command of `acct`; a batch is for [`super::batch::run`].
    pub fn run(&mut self, acct: Acct, command: &Command) -> Expected {
        if self.may_use(acct)
            && !self.shared.is_lost
            && let Some(outcome) = self.shared.run(command)
        {
            return Expected::Other(outcome);
        }
        if let Some(known) = self.known_before(acct) {
            return known;
        }
        let judged = match command {
            // It only counts what is already gone.
            Command::Sweep { .. } | Command::Purge { .. } | Command::BlockSweep { .. } => return Expected::Unknown,
            Command::JournalTrim { floor } => {
                self.floor = self.floor.max(floor.0);
                return Expected::Unknown;
            }
            Command::SessionAppend(_) => return Expected::Unknown,
            // It ends where it began, on the word of a server.
            Command::SessionFinish(finish) if finish.result.is_some() => return Expected::Unknown,
            Command::SessionFinish(finish) if is_plain(&finish.commit.at) => self.put(&finish.commit),
            Command::BlocksPresent(_) => return Expected::Other(Outcome::Done),
            Command::Restore(restore) if is_plain(&restore.at) => self.restore(&restore.at.path, restore.rev),
            Command::CommitFile(commit) if is_plain(&commit.at) => self.put(commit),
            Command::StoreAndCommit(both) if is_plain(&both.commit.at) => self.put(&both.commit),
            Command::Mkdir(mkdir) if is_plain(&mkdir.at) => self.mkdir(&mkdir.at.path, mkdir.autorename),
            Command::Delete(delete) if is_plain(&delete.at) => self.delete(&delete.at.path, delete.parent_rev),
            Command::Move(moved) if is_plain(&moved.source) && is_plain(&moved.target) => {
                self.rename(&moved.source.path, &moved.target.path, moved.autorename)
            }
            other => match self.run_shared(other) {
                Some(judged) => judged,
                None => {
                    self.is_lost = true;
                    return Expected::Unknown;
                }
            },
        };
        judged.unwrap_or_else(Expected::Other)
    }

    /// What any command of `acct` comes to: one that may do nothing, or of which nobody can tell.
    pub(super) fn known_before(&self, acct: Acct) -> Option<Expected> {
        match () {
            () if self.shared.is_lost => Some(Expected::Unknown),
            () if !self.may_use(acct) => Some(Expected::Other(Outcome::NoAccess)),
            () if self.is_lost => Some(Expected::Unknown),
            () => None,
        }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Thing> {
        self.things.get(&path_key(path))
    }

    pub(super) fn insert(&mut self, path: &str, thing: Thing) {
        self.things.insert(path_key(path), thing);
    }

    /// A file came with a row of its own.
    pub(super) fn note_content(&mut self, file: &Thing) {
        self.contents.insert(file.rev.0, (file.size, file.hash));
    }

    pub(super) fn next_row(&mut self) -> Jid {
        self.head += 1;
        Jid(self.head)
    }

    /// Nothing can be put at the root, nor below a file.
    pub(super) fn check_target(&self, path: &str) -> Result<(), Outcome> {
        self.check_here(path)?;
        if path.is_empty() {
            return Err(FOLDER);
        }
        let is_below_file = above(path).any(|parent| self.get(parent).is_some_and(|there| !there.is_folder));
        if is_below_file { Err(ANCESTOR) } else { Ok(()) }
    }

    pub(super) fn make_parents(&mut self, path: &str) {
        for parent in above(path) {
            if self.get(parent).is_none() {
                self.next_row();
                self.things.insert(path_key(parent), Thing::folder(parent));
            }
        }
    }

    /// The first name like that of `path` under which nothing is.
    pub(super) fn free(&self, path: &str, label: &str) -> String {
        let name = name_of(path);
        let folder = &path[..path.len() - name.len()];
        let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
        let mut n = 1u32;
        loop {
            let suffix = match (label.is_empty(), n) {
                (true, _) => n.to_string(),
                (false, 1) => label.to_owned(),
                (false, _) => format!("{label} {n}"),
            };
            let other = format!("{folder}{} ({suffix}){}", &name[..dot], &name[dot..]);
            if self.get(&other).is_none() {
                return other;
            }
            n += 1;
        }
    }

    fn put(&mut self, commit: &CommitFile) -> Judged {
        let path = &commit.at.path;
        self.check_target(path)?;
        let there = self.get(path);
        let is_update = matches!(commit.mode, PutMode::Update(_));
        let conflict = match there {
            None if is_update && commit.strict => Some(FILE),
            None => None,
            Some(there) if there.is_folder => Some(FOLDER),
            Some(there) if (there.hash, there.size) == (commit.content_hash, commit.size) && !commit.strict => {
                return Ok(Expected::Unchanged(there.clone()));
            }
            Some(there) => {
                let replaces = match commit.mode {
                    PutMode::Overwrite => true,
                    PutMode::Update(rev) => rev == there.rev,
                    PutMode::Add => false,
                };
                (!replaces).then_some(FILE)
            }
        };
        let path = match conflict {
            None => path.clone(),
            Some(conflict) if !commit.autorename => return Err(conflict),
            Some(_) => self.free(path, if is_update { &commit.label } else { "" }),
        };
        Ok(self.write(&path, commit.size, commit.content_hash))
    }

    /// A file is at the path from now on, by a row of its own.
    fn write(&mut self, path: &str, size: u64, hash: [u8; 32]) -> Expected {
        self.make_parents(path);
        let rev = self.next_row();
        self.contents.insert(rev.0, (size, hash));
        // What is replaced gets the name as it is written now.
        let thing = Thing { name: name_of(path).to_owned(), is_folder: false, size, hash, rev };
        self.things.insert(path_key(path), thing.clone());
        Expected::Applied(thing, rev)
    }

    /// Rows of folders and deletions are no revisions.
    fn restore(&mut self, path: &str, rev: Jid) -> Judged {
        if rev.0 == 0 || rev.0 > self.head {
            return Err(Outcome::NotFound);
        }
        let (size, hash) = *self.contents.get(&rev.0).ok_or(Outcome::InvalidRev)?;
        self.check_target(path)?;
        match self.get(path) {
            Some(there) if there.is_folder => Err(FOLDER),
            Some(there) if (there.hash, there.size) == (hash, size) => Ok(Expected::Unchanged(there.clone())),
            _ => Ok(self.write(path, size, hash)),
        }
    }

    fn mkdir(&mut self, path: &str, autorename: bool) -> Judged {
        self.check_target(path)?;
        let path = self.target(path, autorename)?;
        self.make_parents(&path);
        let thing = Thing::folder(&path);
        self.things.insert(path_key(&path), thing.clone());
        Ok(Expected::Applied(thing, self.next_row()))
    }

    /// `path`, or another name beside it if it is taken and that is wanted.
    pub(super) fn target(&self, path: &str, autorename: bool) -> Result<String, Outcome> {
        match self.get(path) {
            None => Ok(path.to_owned()),
            Some(_) if autorename => Ok(self.free(path, "")),
            Some(there) => Err(if there.is_folder { FOLDER } else { FILE }),
        }
    }

    fn delete(&mut self, path: &str, parent_rev: Option<Jid>) -> Judged {
        if path.is_empty() {
            return Err(Outcome::NoAccess);
        }
        self.check_here(path)?;
        let there = self.get(path).cloned().ok_or(Outcome::NotFound)?;
        if parent_rev.is_some_and(|rev| there.is_folder || there.rev != rev) {
            return Err(Outcome::RevMismatch);
        }
        self.take_out(&path_key(path));
        Ok(Expected::Applied(there, self.next_row()))
    }

    fn rename(&mut self, source: &str, target: &str, autorename: bool) -> Judged {
        let from = path_key(source);
        if from.is_empty() {
            return Err(Outcome::IntoItself);
        }
        self.check_here(source)?;
        let thing = self.things.get(&from).cloned().ok_or(Outcome::NotFound)?;
        self.check_target(target)?;
        let into = path_key(target);
        if thing.is_folder && into.strip_prefix(&from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Outcome::IntoItself);
        }
        // The same name in other letters is no conflict with itself.
        let is_recased = into == from && name_of(target) != thing.name;
        let target = if is_recased { target.to_owned() } else { self.target(target, autorename)? };
        self.make_parents(&target);
        let jid = self.next_row();
        let into = path_key(&target);
        for (path, mut moved) in self.take_out(&from) {
            if path == from {
                name_of(&target).clone_into(&mut moved.name);
                // A file has a new revision; what is in a folder stays as it was.
                if !moved.is_folder {
                    moved.rev = jid;
                    self.contents.insert(jid.0, (moved.size, moved.hash));
                }
            }
            self.things.insert(format!("{into}{}", &path[from.len()..]), moved);
        }
        let thing = self.things[&into].clone();
        Ok(Expected::Applied(thing, jid))
    }

    /// Takes a path out, with all below it.
    pub(super) fn take_out(&mut self, path: &str) -> Vec<(String, Thing)> {
        let below = format!("{path}/");
        let is_in = |key: &str| key == path || key.starts_with(&below);
        let keys: Vec<String> = self.things.keys().filter(|key| is_in(key)).cloned().collect();
        keys.into_iter().filter_map(|key| self.things.remove_entry(&key)).collect()
    }
}

/// Nothing about the paths of a command that this tree knows makes it senseless.
pub(crate) fn has_paths(command: &Command) -> bool {
    let is_path = |at: &meta::At| base::names::normalize_path(&at.path).is_ok();
    match command {
        Command::CommitFile(commit) => is_path(&commit.at),
        Command::Mkdir(mkdir) => is_path(&mkdir.at),
        Command::Delete(delete) => is_path(&delete.at),
        Command::Move(moved) => is_path(&moved.source) && is_path(&moved.target),
        Command::Restore(restore) => is_path(&restore.at),
        Command::CommitBatch(batch) => batch.parts.iter().all(has_paths),
        _ => false,
    }
}

/// A path from the root, in normal form as the load writes it.
fn is_plain(at: &meta::At) -> bool {
    at.node.0 == 0
}

#[cfg(test)]
mod tests {
    use meta::{At, Delete, Mkdir, Move};

    use super::*;

    const OWNER: Acct = Acct(7);

    fn put(path: &str, size: u64, mode: PutMode) -> Command {
        Command::CommitFile(CommitFile { at: At::path(path), size, mode, ..CommitFile::default() })
    }

    fn mkdir(path: &str, autorename: bool) -> Command {
        Command::Mkdir(Mkdir { at: At::path(path), autorename })
    }

    fn moved(source: &str, target: &str) -> Command {
        Command::Move(Move { source: At::path(source), target: At::path(target), autorename: false })
    }

    fn run(tree: &mut Tree, command: &Command) -> Result<(String, u64), Outcome> {
        match tree.run(OWNER, command) {
            Expected::Applied(thing, jid) => Ok((thing.name, jid.0)),
            Expected::Unchanged(thing) => Ok((thing.name, 0)),
            Expected::Other(outcome) => Err(outcome),
            Expected::Told(told) => panic!("{command:?} was done before, and came to {told:?}"),
            Expected::Unknown => panic!("the tree does not know {command:?}"),
        }
    }

    #[test]
    fn a_life_of_a_tree() {
        let mut tree = Tree::new(OWNER);
        let name = |name: &str, jid| Ok((name.to_owned(), jid));
        assert_eq!(run(&mut tree, &put("/a/b.txt", 1, PutMode::Add)), name("b.txt", 2));
        assert_eq!(run(&mut tree, &put("/A/B.txt", 1, PutMode::Add)), name("b.txt", 0));
        assert_eq!(run(&mut tree, &put("/a/b.txt", 2, PutMode::Add)), Err(FILE));
        assert_eq!(run(&mut tree, &put("/a/b.txt", 2, PutMode::Update(Jid(1)))), Err(FILE));
        assert_eq!(run(&mut tree, &put("/a/B.txt", 2, PutMode::Update(Jid(2)))), name("B.txt", 3));
        assert_eq!(run(&mut tree, &mkdir("/a", false)), Err(FOLDER));
        assert_eq!(run(&mut tree, &mkdir("/a", true)), name("a (1)", 4));
        assert_eq!(run(&mut tree, &mkdir("/a/b.txt/c", false)), Err(ANCESTOR));
        assert_eq!(run(&mut tree, &moved("/a", "/a/inside")), Err(Outcome::IntoItself));
        assert_eq!(run(&mut tree, &moved("/a", "/x/y")), name("y", 6));
        assert_eq!(run(&mut tree, &moved("/x/y/b.txt", "/x/y/B.txt")), Err(FILE));
        let restore = |path: &str, rev| Command::Restore(meta::Restore { at: At::path(path), rev: Jid(rev) });
        assert_eq!(run(&mut tree, &restore("/x/y/b.txt", 4)), Err(Outcome::InvalidRev));
        assert_eq!(run(&mut tree, &restore("/x/y/b.txt", 7)), Err(Outcome::NotFound));
        assert_eq!(run(&mut tree, &restore("/x/y", 2)), Err(FOLDER));
        assert_eq!(run(&mut tree, &restore("/x/y/B.txt", 3)), name("B.txt", 0));
        let delete = |path: &str| Command::Delete(Delete { at: At::path(path), parent_rev: None });
        assert_eq!(run(&mut tree, &delete("/a")), Err(Outcome::NotFound));
        assert_eq!(run(&mut tree, &delete("/x/y")), name("y", 7));
        assert_eq!(tree.things().unwrap().keys().collect::<Vec<_>>(), ["/a (1)", "/x"]);
        assert_eq!((tree.head(), tree.run(Acct(8), &delete("/x"))), (Some(Jid(7)), Expected::Other(Outcome::NoAccess)));
    }
}
