//! The machine as docs/design/metadata.md tells it, a namespace at a time and in the plainest way: maps of paths and of
//! revisions, no journal, no counters of references, everything recounted. Written from the design, not from the code.
#![allow(dead_code, missing_docs)] // shared by several tests, each of which uses part of it
#![expect(clippy::result_large_err, reason = "an outcome is the usual way out of a command")]

mod freezes;
pub mod group0;
pub mod links;
mod mounts;
pub mod sessions;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};

use base::names::{name_key, path_key};
use base::{Acct, BlockHash, Jid, Nsid, TreeNode};
use meta::*;
use sha2::{Digest, Sha256};

const BLOCK: u64 = 4 << 20;
const HOUR_MS: u64 = 60 * 60 * 1000;

const FILE_THERE: Outcome = Outcome::Conflict { file: true, folder: false, file_ancestor: false };
const FOLDER_THERE: Outcome = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
const FILE_ABOVE: Outcome = Outcome::Conflict { file: false, folder: false, file_ancestor: true };

/// A revision of a file that can be read, whether it is the newest or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revision {
    pub meta: Metadata,
    pub blocks: Vec<BlockHash>,
    /// The change that left it behind, or took it away.
    pub superseded: Option<Jid>,
}

/// What is stored about one namespace.
#[derive(Clone)]
pub struct Naive {
    pub nsid: Nsid,
    pub links: links::Links,
    pub grant_bytes: u64,
    pub now_ms: u64,
    pub head: u64,
    next_node: u64,
    /// By path of name keys; the root is not in it.
    pub tree: BTreeMap<String, Metadata>,
    pub revisions: BTreeMap<Jid, Revision>,
    pub known: BTreeMap<BlockHash, u32>,
    /// Known blocks that nothing names, and since when.
    idle_since: BTreeMap<BlockHash, u64>,
    /// What only cursors and revisions up to here need is gone.
    trimmed: Jid,
    /// Files that were deleted by themselves and whose name nobody took since: (folder, name key).
    graves: BTreeMap<(TreeNode, String), (TreeNode, Jid)>,
    /// The newest first: what was a file under a name of a folder.
    pub histories: BTreeMap<(TreeNode, String), Vec<Jid>>,
    /// Files and bytes below deleted folders that no sweep has counted out; `None`: no sweep is pending.
    pub detached: Option<(u64, u64)>,
    /// Others may hang in it.
    pub is_root: bool,
    /// What hangs in it, or did when its folder was deleted.
    pub mounts: BTreeMap<Nsid, TreeNode>,
    pub uploads: uploads::Uploads,
    frozen: BTreeMap<TreeNode, freezes::Frozen>,
}

type Judged = Result<Outcome, Outcome>;
type Put = Result<Metadata, Outcome>;

/// The folders above a path, the nearest first; not the root.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices().rev().filter(|(at, c)| *c == '/' && *at > 0).map(|(at, _)| &path[..at])
}

fn hash_of_names(names: &[BlockHash]) -> [u8; 32] {
    let joined: Vec<u8> = names.iter().flat_map(|name| name.0).collect();
    Sha256::digest(joined).into()
}

fn last_name(path: &str) -> &str {
    path.rsplit('/').next().expect("a split has a part")
}

impl Naive {
    pub fn new(nsid: Nsid, grant_bytes: u64) -> Naive {
        Naive {
            nsid,
            links: links::Links::default(),
            grant_bytes,
            now_ms: 0,
            head: 0,
            next_node: 2,
            tree: BTreeMap::new(),
            revisions: BTreeMap::new(),
            known: BTreeMap::new(),
            idle_since: BTreeMap::new(),
            trimmed: Jid(0),
            graves: BTreeMap::new(),
            histories: BTreeMap::new(),
            detached: None,
            is_root: true,
            mounts: BTreeMap::new(),
            uploads: uploads::Uploads::default(),
            frozen: BTreeMap::new(),
        }
    }

    /// Runs a command of `acct`, who may do everything here.
    pub fn run(&mut self, acct: Acct, command: &Command) -> Outcome {
        let outcome = self.run_any(acct, command);
        self.note_idle();
        outcome
    }

    fn run_any(&mut self, acct: Acct, command: &Command) -> Outcome {
        match command {
            Command::BlocksPresent(blocks) => self.blocks_present(blocks),
            Command::StoreAndCommit(both) => self.store_and_commit(acct, both),
            Command::CommitBatch(batch) => self.batch(acct, batch),
            one => self.run_one(acct, one),
        }
    }

    /// All or nothing.
    fn run_one(&mut self, acct: Acct, command: &Command) -> Outcome {
        let before = self.clone();
        let judged = match command {
            Command::CommitFile(commit) => self.commit_file(acct, commit),
            Command::Mkdir(mkdir) => self.mkdir(acct, mkdir),
            Command::Delete(delete) => self.delete(delete),
            Command::Move(moved) => self.rename(acct, moved),
            Command::Restore(restore) => self.restore(acct, restore),
            Command::Copy(copy) => self.copy(acct, copy),
            Command::SetAttr(attr) => self.set_attr(attr),
            Command::SessionAppend(append) => self.append(acct, append),
            Command::SessionFinish(finish) => self.finish(acct, finish),
            Command::ListStage(stage) => self.stage(acct, stage),
            Command::Mount(mount) => self.mount(acct, mount),
            Command::Unmount { target, .. } => self.unmount(*target),
            Command::Freeze(freeze) => self.freeze(freeze),
            Command::Thaw(freeze) => self.thaw(freeze),
            other => panic!("the model does not know {other:?}"),
        };
        judged.unwrap_or_else(|refused| {
            *self = before;
            refused
        })
    }

    fn batch(&mut self, acct: Acct, batch: &CommitBatch) -> Outcome {
        let before = self.clone();
        let mut outcomes = Vec::new();
        for (part, at) in batch.parts.iter().zip(0..) {
            let outcome = self.run_one(acct, part);
            if batch.atomic && !matches!(outcome, Outcome::Applied(_) | Outcome::Unchanged(_)) {
                *self = before;
                return Outcome::Batch { failed: Some(at), outcomes: vec![outcome] };
            }
            outcomes.push(outcome);
        }
        Outcome::Batch { failed: None, outcomes }
    }

    /// 12: what a sweep to its end counts out.
    pub fn sweep(&mut self) {
        self.detached = None;
    }

    /// 12: a revision goes when the change that replaced it is below the floor; all trims and purges to their end.
    pub fn trim(&mut self, floor: Jid) {
        assert!(self.detached.is_none(), "a purge waits for the sweep");
        self.trimmed = floor.max(self.trimmed);
        let trimmed = self.trimmed;
        self.revisions.retain(|_, revision| revision.superseded.is_none_or(|by| by > trimmed));
        self.graves.retain(|_, (_, jid)| *jid > trimmed);
        for history in self.histories.values_mut() {
            let end = history.iter().position(|rev| !self.revisions.contains_key(rev));
            history.truncate(end.unwrap_or(history.len()));
        }
        self.note_idle();
    }

    /// 12: what nothing names for eight days is forgotten.
    pub fn sweep_blocks(&mut self) {
        self.uploads.sweep(self.now_ms);
        self.note_idle();
        let due = |since: &u64| since + 8 * 24 * HOUR_MS <= self.now_ms;
        let gone: Vec<BlockHash> =
            self.idle_since.iter().filter(|(_, since)| due(since)).map(|(hash, _)| *hash).collect();
        for hash in gone {
            self.known.remove(&hash);
            self.idle_since.remove(&hash);
        }
    }

    fn note_idle(&mut self) {
        let named = self.named();
        self.idle_since.retain(|hash, _| !named.contains(hash));
        for hash in self.known.keys().filter(|hash| !named.contains(*hash)) {
            self.idle_since.entry(*hash).or_insert(self.now_ms);
        }
    }

    pub fn live(&self) -> (u64, u64) {
        let files = self.tree.values().filter(|meta| meta.kind == NodeKind::File);
        let (files, bytes) = files.fold((0, 0), |(files, bytes), meta| (files + 1, bytes + meta.size));
        let (lost_files, lost_bytes) = self.detached.unwrap_or((0, 0));
        (files + lost_files, bytes + lost_bytes)
    }

    fn get(&self, path: &str) -> Option<&Metadata> {
        self.tree.get(&path_key(path))
    }

    fn row(&mut self) -> Jid {
        self.head += 1;
        Jid(self.head)
    }

    fn new_node(&mut self) -> TreeNode {
        self.next_node += 1;
        TreeNode(self.next_node - 1)
    }

    fn parent_node(&self, path: &str) -> TreeNode {
        above(path).next().map_or(ROOT, |parent| self.get(parent).expect("its parents were made").node)
    }

    /// The path of a place: every node that is named must be live.
    fn path_of(&self, at: &At) -> Result<String, Outcome> {
        let mut path = at.path.clone();
        if at.node.0 > 1 {
            let base = self.tree.values().find(|meta| meta.node == at.node).ok_or(Outcome::NotFound)?;
            path.insert_str(0, &self.display(base));
        }
        self.check_here(&path)?;
        Ok(path)
    }

    /// The node at a place; nothing is one more way to be refused.
    pub fn node_at(&self, at: &At) -> Result<TreeNode, Outcome> {
        let path = self.path_of(at)?;
        if path.is_empty() {
            return Ok(ROOT);
        }
        match self.get(&path) {
            Some(meta) if meta.kind == NodeKind::Mount => {
                Err(Outcome::Elsewhere { nsid: Nsid(meta.size), rest: String::new() })
            }
            found => found.map(|meta| meta.node).ok_or(Outcome::NotFound),
        }
    }

    pub fn display(&self, meta: &Metadata) -> String {
        match self.tree.values().find(|parent| parent.node == meta.parent) {
            Some(parent) => format!("{}/{}", self.display(parent), meta.name),
            None => format!("/{}", meta.name),
        }
    }

    /// The target of a write: not the root, and nothing but folders above it.
    fn check_target(&self, path: &str) -> Result<(), Outcome> {
        if path.is_empty() {
            return Err(FOLDER_THERE);
        }
        let is_below_file = above(path).any(|parent| self.get(parent).is_some_and(|it| it.kind == NodeKind::File));
        if is_below_file { Err(FILE_ABOVE) } else { Ok(()) }
    }

    fn make_parents(&mut self, acct: Acct, path: &str) {
        let parents: Vec<&str> = above(path).collect();
        for parent in parents.into_iter().rev() {
            if self.get(parent).is_none() {
                self.put_folder(acct, parent);
            }
        }
    }

    fn put_folder(&mut self, acct: Acct, path: &str) -> Metadata {
        let (parent, node, jid) = (self.parent_node(path), self.new_node(), self.row());
        let meta = Metadata {
            nsid: self.nsid,
            node,
            parent,
            jid,
            rev_jid: jid,
            kind: NodeKind::Folder,
            name: last_name(path).to_owned(),
            size: 0,
            content_hash: [0; 32],
            client_mtime_ms: i64::MIN,
            server_mtime_ms: self.now_ms as i64,
            modified_by: acct,
        };
        self.place(path, meta.clone());
        meta
    }

    /// Something is at this path from now on.
    fn place(&mut self, path: &str, meta: Metadata) {
        let name = (meta.parent, name_key(&meta.name));
        self.graves.remove(&name);
        if meta.kind == NodeKind::File {
            self.histories.entry(name).or_default().insert(0, meta.rev_jid);
        }
        self.tree.insert(path_key(path), meta);
    }

    /// A path and all below it, out of the tree.
    fn take_out(&mut self, path: &str) -> Vec<(String, Metadata)> {
        let (path, below) = (path_key(path), format!("{}/", path_key(path)));
        let keys: Vec<String> =
            self.tree.keys().filter(|key| **key == path || key.starts_with(&below)).cloned().collect();
        keys.into_iter().map(|key| self.tree.remove_entry(&key).expect("it was just there")).collect()
    }

    /// The first name beside `path` that is free.
    fn free_path(&self, path: &str, label: &str) -> String {
        let (parents, name) = path.split_at(path.len() - last_name(path).len());
        let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
        let (stem, extension) = name.split_at(dot);
        let numbered = (1..).map(|n| match (label, n) {
            ("", n) => format!("{parents}{stem} ({n}){extension}"),
            (label, 1) => format!("{parents}{stem} ({label}){extension}"),
            (label, n) => format!("{parents}{stem} ({label} {n}){extension}"),
        });
        numbered.into_iter().find(|path| self.get(path).is_none()).expect("some number is free")
    }

    fn blocks_present(&mut self, blocks: &[PresentBlock]) -> Outcome {
        let mut late = Vec::new();
        for (block, at) in blocks.iter().zip(0u32..) {
            if block.put_at_ms.saturating_add(HOUR_MS) < self.now_ms {
                late.push(at);
            } else {
                self.known.entry(block.hash).or_insert(block.bytes);
            }
        }
        if late.is_empty() { Outcome::Done } else { Outcome::NeedBlocks(late) }
    }

    fn store_and_commit(&mut self, acct: Acct, both: &StoreAndCommit) -> Outcome {
        let present = both.present.iter().map(|part| PresentBlock {
            hash: both.commit.blocks[part.position as usize],
            bytes: part.bytes,
            put_at_ms: part.put_at_ms,
        });
        self.blocks_present(&present.collect::<Vec<_>>());
        self.run_one(acct, &Command::CommitFile(both.commit.clone()))
    }

    /// 6.1, 6.2.
    fn commit_file(&mut self, acct: Acct, commit: &CommitFile) -> Judged {
        match &commit.attested {
            Some(attested) => self.commit_attested(acct, commit, **attested),
            None => self.put_named(acct, commit),
        }
    }

    fn put_named(&mut self, acct: Acct, commit: &CommitFile) -> Judged {
        self.put_judged(acct, commit, |it| it.check_content(commit).map(|()| commit.blocks.clone()))
    }

    fn put_judged(
        &mut self,
        acct: Acct,
        commit: &CommitFile,
        supply: impl FnOnce(&mut Self) -> Result<Vec<BlockHash>, Outcome>,
    ) -> Judged {
        let mut path = self.path_of(&commit.at)?;
        self.check_target(&path)?;
        self.check_thawed_above(&path)?;
        let is_update = matches!(commit.mode, PutMode::Update(_));
        let conflict = match self.get(&path) {
            None => (is_update && commit.strict).then_some(FILE_THERE),
            Some(there) if there.kind != NodeKind::File => Some(FOLDER_THERE),
            Some(there) => {
                let is_same = (there.content_hash, there.size) == (commit.content_hash, commit.size);
                match commit.mode {
                    _ if is_same && !commit.strict => return Ok(Outcome::Unchanged(there.clone())),
                    PutMode::Overwrite => None,
                    PutMode::Update(rev) => (rev != there.rev_jid).then_some(FILE_THERE),
                    PutMode::Add => Some(FILE_THERE),
                }
            }
        };
        if let Some(conflict) = conflict {
            if !commit.autorename {
                return Err(conflict);
            }
            path = self.free_path(&path, if is_update { &commit.label } else { "" });
        }
        let blocks = supply(self)?;
        let mtime = commit.client_mtime_ms.unwrap_or(i64::MIN);
        let content = (commit.size, commit.content_hash, mtime, blocks);
        self.put_file(acct, &path, content, None).map(Outcome::Applied)
    }

    fn check_content(&self, commit: &CommitFile) -> Result<(), Outcome> {
        let count = commit.size.div_ceil(BLOCK);
        if commit.blocks.len() as u64 != count || hash_of_names(&commit.blocks) != commit.content_hash {
            return Err(Outcome::BadContentHash);
        }
        let unknown: Vec<u32> =
            (0..count as u32).filter(|at| !self.known.contains_key(&commit.blocks[*at as usize])).collect();
        if !unknown.is_empty() {
            return Err(Outcome::NeedBlocks(unknown));
        }
        let wanted = |at: u64| (commit.size - at * BLOCK).min(BLOCK);
        let fits = |at: u64| u64::from(self.known[&commit.blocks[at as usize]]) == wanted(at);
        if (0..count).all(fits) { Ok(()) } else { Err(Outcome::BadContentHash) }
    }

    fn put_file(
        &mut self,
        acct: Acct,
        path: &str,
        (size, content_hash, client_mtime_ms, blocks): (u64, [u8; 32], i64, Vec<BlockHash>),
        own: Option<TreeNode>,
    ) -> Put {
        let there = self.get(path).cloned();
        let wanted = self.live().1 - there.as_ref().map_or(0, |there| there.size) + size;
        self.check_grant(wanted)?;
        self.make_parents(acct, path);
        let node = match there.as_ref().map(|there| there.node).or(own) {
            Some(node) => node,
            None => self.new_node(),
        };
        let jid = self.row();
        if let Some(there) = &there {
            self.supersede(there.rev_jid, jid);
        }
        let meta = Metadata {
            nsid: self.nsid,
            node,
            parent: self.parent_node(path),
            jid,
            rev_jid: jid,
            kind: NodeKind::File,
            name: last_name(path).to_owned(),
            size,
            content_hash,
            client_mtime_ms,
            server_mtime_ms: self.now_ms as i64,
            modified_by: acct,
        };
        self.revisions.insert(jid, Revision { meta: meta.clone(), blocks, superseded: None });
        self.place(path, meta.clone());
        Ok(meta)
    }

    fn supersede(&mut self, rev: Jid, by: Jid) {
        let revision = self.revisions.get_mut(&rev).expect("what is there is held");
        revision.superseded.get_or_insert(by);
    }

    fn mkdir(&mut self, acct: Acct, mkdir: &Mkdir) -> Judged {
        let mut path = self.path_of(&mkdir.at)?;
        self.check_target(&path)?;
        self.check_thawed_above(&path)?;
        if let Some(there) = self.get(&path) {
            if !mkdir.autorename {
                return Err(if there.kind == NodeKind::File { FILE_THERE } else { FOLDER_THERE });
            }
            path = self.free_path(&path, "");
        }
        self.make_parents(acct, &path);
        Ok(Outcome::Applied(self.put_folder(acct, &path)))
    }

    fn delete(&mut self, delete: &Delete) -> Judged {
        let path = self.path_of(&delete.at)?;
        if path.is_empty() {
            return Err(Outcome::NoAccess);
        }
        let there = self.get(&path).cloned().ok_or(Outcome::NotFound)?;
        let is_file = there.kind == NodeKind::File;
        if delete.parent_rev.is_some_and(|rev| !is_file || rev != there.rev_jid) {
            return Err(Outcome::RevMismatch);
        }
        self.check_thawed(&path)?;
        let jid = self.row();
        let gone = self.take_out(&path);
        let files: Vec<&Metadata> =
            gone.iter().map(|(_, meta)| meta).filter(|meta| meta.kind == NodeKind::File).collect();
        files.iter().for_each(|meta| self.supersede(meta.rev_jid, jid));
        if is_file {
            self.graves.insert((there.parent, name_key(&there.name)), (there.node, jid));
        } else {
            self.graves.remove(&(there.parent, name_key(&there.name)));
        }
        if there.kind == NodeKind::Folder {
            let (lost, bytes) = self.detached.unwrap_or((0, 0));
            let size: u64 = files.iter().map(|meta| meta.size).sum();
            self.detached = Some((lost + files.len() as u64, bytes + size));
        }
        Ok(Outcome::Applied(Metadata { jid, ..there }))
    }

    /// 6.3.
    fn rename(&mut self, acct: Acct, moved: &Move) -> Judged {
        let source = self.path_of(&moved.source)?;
        if source.is_empty() {
            return Err(Outcome::IntoItself);
        }
        let thing = self.get(&source).cloned().ok_or(Outcome::NotFound)?;
        let mut target = self.path_of(&moved.target)?;
        self.check_target(&target)?;
        self.check_thawed(&source)?;
        self.check_thawed_above(&target)?;
        let (from, to) = (path_key(&source), path_key(&target));
        if thing.kind == NodeKind::Folder && to.starts_with(&format!("{from}/")) {
            return Err(Outcome::IntoItself);
        }
        let is_recased = from == to && last_name(&target) != thing.name;
        if let Some(there) = self.get(&target).filter(|_| !is_recased) {
            if !moved.autorename {
                return Err(if there.kind == NodeKind::File { FILE_THERE } else { FOLDER_THERE });
            }
            target = self.free_path(&target, "");
        }
        self.make_parents(acct, &target);
        let jid = self.row();
        let subtree = self.take_out(&source);
        self.graves.remove(&(thing.parent, name_key(&thing.name)));
        let (from, to) = (path_key(&source), path_key(&target));
        let mut placed = None;
        for (path, meta) in subtree {
            if path != from {
                self.tree.insert(format!("{to}{}", &path[from.len()..]), meta);
                continue;
            }
            let meta = Metadata {
                parent: self.parent_node(&target),
                jid,
                rev_jid: jid,
                name: last_name(&target).to_owned(),
                server_mtime_ms: self.now_ms as i64,
                modified_by: acct,
                ..meta
            };
            if meta.kind == NodeKind::File {
                // A file's move is a new revision of it.
                let blocks = self.revisions[&thing.rev_jid].blocks.clone();
                self.supersede(thing.rev_jid, jid);
                self.revisions.insert(jid, Revision { meta: meta.clone(), blocks, superseded: None });
            }
            self.place(&target, meta.clone());
            placed = Some(meta);
        }
        Ok(Outcome::Applied(placed.expect("the moved thing itself was taken out")))
    }

    /// 6.4: a file is one row, a folder one for each node in it, in the order of a listing.
    fn copy(&mut self, acct: Acct, copy: &Copy) -> Judged {
        let source = self.path_of(&copy.source)?;
        if source.is_empty() {
            return Err(Outcome::IntoItself);
        }
        let thing = self.get(&source).cloned().ok_or(Outcome::NotFound)?;
        let mut target = self.path_of(&copy.target)?;
        self.check_target(&target)?;
        let from = path_key(&source);
        if thing.kind == NodeKind::Folder && path_key(&target).starts_with(&format!("{from}/")) {
            return Err(Outcome::IntoItself);
        }
        self.check_thawed_above(&target)?;
        if let Some(there) = self.get(&target) {
            if !copy.autorename {
                return Err(if there.kind == NodeKind::File { FILE_THERE } else { FOLDER_THERE });
            }
            target = self.free_path(&target, "");
        }
        let mut subtree: Vec<Metadata> = self
            .tree
            .iter()
            .filter(|(path, _)| **path == from || path.starts_with(&format!("{from}/")))
            .map(|(_, meta)| meta.clone())
            .collect();
        if subtree.iter().any(|meta| meta.kind == NodeKind::Mount) {
            return Err(Outcome::NestedShare);
        }
        // Name by name: a "/" in the path of a child must not sort among the bytes of names.
        let names = |meta: &Metadata| path_key(&self.display(meta)).split('/').map(str::to_owned).collect::<Vec<_>>();
        subtree.sort_by_cached_key(names);
        let bytes: u64 = subtree.iter().map(|meta| meta.size).sum();
        self.check_grant(self.live().1 + bytes)?;
        let displays: Vec<String> = subtree.iter().map(|meta| self.display(meta)).collect();
        let source_bytes = displays[0].len();
        for (meta, display) in subtree.iter().zip(displays) {
            let path = format!("{target}{}", &display[source_bytes..]);
            if meta.kind == NodeKind::File {
                let blocks = self.revisions[&meta.rev_jid].blocks.clone();
                self.put_file(acct, &path, (meta.size, meta.content_hash, meta.client_mtime_ms, blocks), None)?;
            } else {
                self.make_parents(acct, &path);
                self.put_folder(acct, &path);
            }
        }
        Ok(Outcome::Applied(self.get(&target).expect("it was just put there").clone()))
    }

    fn check_grant(&self, wanted: u64) -> Result<(), Outcome> {
        if wanted <= self.grant_bytes {
            return Ok(());
        }
        let quota = Outcome::Quota { short_bytes: wanted - self.grant_bytes };
        Err(if self.detached.is_some() { Outcome::Busy { retry_ms: 100 } } else { quota })
    }

    fn set_attr(&mut self, attr: &SetAttr) -> Judged {
        let path = self.path_of(&attr.at)?;
        if path.is_empty() {
            return Err(Outcome::NoAccess);
        }
        let there = self.get(&path).cloned().ok_or(Outcome::NotFound)?;
        let Some(client_mtime_ms) = attr.client_mtime_ms.filter(|mtime| *mtime != there.client_mtime_ms) else {
            return Ok(Outcome::Unchanged(there));
        };
        self.check_thawed(&path)?;
        let meta = Metadata { jid: self.row(), client_mtime_ms, ..there };
        self.tree.insert(path_key(&path), meta.clone());
        Ok(Outcome::Applied(meta))
    }

    fn restore(&mut self, acct: Acct, restore: &Restore) -> Judged {
        if restore.rev.0 == 0 || restore.rev.0 > self.head {
            return Err(Outcome::NotFound);
        }
        let Some(revision) = self.revisions.get(&restore.rev).cloned() else {
            return Err(if restore.rev <= self.trimmed { Outcome::NotFound } else { Outcome::InvalidRev });
        };
        let path = self.path_of(&restore.at)?;
        self.check_target(&path)?;
        self.check_thawed_above(&path)?;
        let Metadata { size, content_hash, client_mtime_ms, .. } = revision.meta;
        let mut own = None;
        match self.get(&path) {
            Some(there) if there.kind != NodeKind::File => return Err(FOLDER_THERE),
            Some(there) if (there.size, there.content_hash) == (size, content_hash) => {
                return Ok(Outcome::Unchanged(there.clone()));
            }
            Some(_) => {}
            None if above(&path).all(|parent| self.get(parent).is_some()) => {
                let name = (self.parent_node(&path), name_key(last_name(&path)));
                own = self.graves.get(&name).map(|(node, _)| *node).filter(|node| *node == revision.meta.node);
            }
            None => {}
        }
        self.put_file(acct, &path, (size, content_hash, client_mtime_ms, revision.blocks), own).map(Outcome::Applied)
    }

    /// Every block that something which can be read names.
    pub fn named(&self) -> BTreeSet<BlockHash> {
        let held = self.revisions.values().flat_map(|revision| revision.blocks.iter());
        held.chain(self.uploads.named()).copied().collect()
    }
}
