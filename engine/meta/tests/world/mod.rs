//! One replica of one group with one namespace, and trees as a client keeps them.
#![allow(dead_code, missing_docs)] // shared by several tests, each of which uses part of it

mod answers;

use std::collections::BTreeMap;

pub use answers::Answers;
use base::record::EntryKind;
use base::{Acct, BlockHash, GroupId, Jid, LogIndex, Nsid, Prng, Sequence, SessionId, Term, TreeNode};
use meta::*;
use sha2::{Digest, Sha256};

pub const GROUP: GroupId = GroupId(3);
pub const NSID: Nsid = Nsid(10_000_000_042);
pub const OWNER: Acct = Acct(11);
pub const STAMP_MS: u64 = 1_750_000_000_000;

/// A state machine over its store.
pub struct Replica {
    group: GroupId,
    pub store: MemoryStore,
    applier: Applier,
    pub prefetches: u64,
    /// Where wanted: answers that a cache would hold.
    pub answers: Option<Answers>,
}

impl Replica {
    pub fn empty() -> Replica {
        Replica::of(GROUP)
    }

    pub fn of(group: GroupId) -> Replica {
        Replica { group, store: MemoryStore::new(), applier: Applier::new(), prefetches: 0, answers: None }
    }

    /// With the namespace, made by entry 1.
    pub fn new() -> Replica {
        let mut replica = Replica::empty();
        assert_eq!(replica.apply(&init()), [Outcome::Done]);
        replica
    }

    pub fn applied_index(&self) -> LogIndex {
        self.store.machine(self.group).map_or(LogIndex(0), |machine| machine.applied_index)
    }

    pub fn state_hash(&self) -> u64 {
        self.store.machine(self.group).expect("something was applied").state_hash
    }

    /// As [`Replica::apply`], stamped otherwise.
    pub fn apply_at(&mut self, payload: &[u8], stamp_ms: u64) -> Vec<Outcome> {
        let mut payload = payload.to_vec();
        payload[8..16].copy_from_slice(&stamp_ms.to_le_bytes());
        self.apply(&payload)
    }

    /// Applies a payload as the next entry; what is cold is prefetched until the entry goes on.
    pub fn apply(&mut self, payload: &[u8]) -> Vec<Outcome> {
        let index = self.applied_index().next();
        let entry = EntryRef { index, term: Term(1), crc: index.0 as u32, kind: EntryKind::Commands, payload };
        let mut applied = Applied::default();
        let before = self.prefetches;
        while self.applier.apply(&mut self.store, self.group, entry, &mut applied).is_err() {
            assert!(!self.applier.wants().is_empty(), "a cold try wants something");
            assert_eq!(applied.outcomes().len(), 0, "a cold try tells nothing");
            assert!(self.prefetches - before < 10_000, "an entry stays cold");
            self.prefetches += 1;
            self.store.prefetch(self.prefetches, self.group, self.applier.wants());
        }
        (before..self.prefetches).for_each(|token| self.store.release(token + 1));
        if let Some(answers) = &mut self.answers {
            answers.follow(&self.store, self.group, self.applier.batch());
        }
        applied.outcomes().map(|bytes| Outcome::decode(bytes).expect("outcomes decode")).collect()
    }

    /// One command of the system itself, of which nothing is kept.
    pub fn system(&mut self, command: &Command) -> Outcome {
        let header = CommandHeader { nsid: NSID, ..CommandHeader::default() };
        self.apply(&payload(&[(header, command.clone())])).remove(0)
    }

    pub fn register(&mut self, acct: Acct, nonce: u8) -> SessionId {
        let header = CommandHeader { acct, ..CommandHeader::default() };
        match self.apply(&payload(&[(header, Command::Register { nonce: [nonce; 16] })])).remove(0) {
            Outcome::Registered { session } => session,
            other => panic!("no session: {other:?}"),
        }
    }

    /// Asks; what is cold is looked up in a copy that is all in memory.
    pub fn ask(&self, question: &Query) -> Answer {
        self.ask_as(OWNER, question)
    }

    pub fn ask_as(&self, acct: Acct, question: &Query) -> Answer {
        self.ask_in(acct, NSID, question)
    }

    pub fn ask_in(&self, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        query(&self.store, self.group, acct, nsid, question, &mut Vec::new()).unwrap_or_else(|Cold| {
            let mut warm = self.store.clone();
            warm.set_cold(false);
            query(&warm, self.group, acct, nsid, question, &mut Vec::new()).expect("all of it is in memory")
        })
    }

    pub fn page(&self, position: &[u8], limit: u32) -> (Vec<Entry>, Option<Vec<u8>>, Jid) {
        let question = Query::ListPage { at: At::path(""), recursive: true, position: position.to_vec(), limit };
        match self.ask(&question) {
            Answer::Page { entries, next, head } => (entries, next, head),
            other => panic!("no page: {other:?}"),
        }
    }

    pub fn delta(&self, cursor: &DeltaCursor, limit: u32) -> (Vec<Change>, DeltaCursor, bool) {
        match self.ask(&Query::Delta { cursor: cursor.clone(), limit }) {
            Answer::Delta { changes, cursor, has_more } => (changes, cursor, has_more),
            other => panic!("no delta: {other:?}"),
        }
    }

    pub fn head(&self) -> Jid {
        match self.ask(&Query::Head) {
            Answer::Head(head) => head,
            other => panic!("no head: {other:?}"),
        }
    }

    /// Everything that is there, page by page.
    pub fn listing(&self, limit: u32) -> Tree {
        let (mut tree, mut position) = (Tree::new(), Vec::new());
        loop {
            let (entries, next, _) = self.page(&position, limit);
            for entry in entries {
                let before = tree.insert(entry.path_lower(), Thing::of(&entry.meta));
                assert_eq!(before, None, "{} is listed twice", entry.path_display);
            }
            match next {
                Some(next) => position = next,
                None => return tree,
            }
        }
    }

    pub fn check(&self) {
        invariants::check(&self.store.rows(self.group)).expect("the invariants hold");
    }
}

/// The payload that makes the namespace.
pub fn init() -> Vec<u8> {
    let header = CommandHeader { nsid: NSID, ..CommandHeader::default() };
    payload(&[(header, Command::NamespaceInit { owner: OWNER, kind: NamespaceKind::Root, grant_bytes: 1 << 40 })])
}

pub fn payload(commands: &[(CommandHeader, Command)]) -> Vec<u8> {
    let mut builder = meta::payload::Builder::default();
    for (header, command) in commands {
        let mut bytes = Vec::new();
        encode_command(header, command, &mut bytes);
        builder.push(&bytes);
    }
    builder.finish(STAMP_MS).to_vec()
}

pub fn header(session: SessionId, sequence: u64) -> CommandHeader {
    CommandHeader { session, sequence: Sequence(sequence), ack_below: Sequence(1), acct: OWNER, nsid: NSID }
}

/// What is at a path, as far as anybody outside sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thing {
    pub name: String,
    pub is_folder: bool,
    pub node: TreeNode,
    pub size: u64,
    pub hash: [u8; 32],
    /// Of files; a folder has none.
    pub rev: Jid,
}

impl Thing {
    pub fn of(meta: &Metadata) -> Thing {
        let is_folder = meta.kind == NodeKind::Folder;
        Thing {
            name: meta.name.clone(),
            is_folder,
            node: meta.node,
            size: meta.size,
            hash: meta.content_hash,
            rev: if is_folder { Jid(0) } else { meta.rev_jid },
        }
    }

    pub fn folder(name: &str, node: TreeNode) -> Thing {
        Thing { name: name.to_owned(), is_folder: true, node, size: 0, hash: [0; 32], rev: Jid(0) }
    }
}

/// By path of name keys.
pub type Tree = BTreeMap<String, Thing>;

/// The folders above a path, the nearest first; not the root.
pub fn above(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices().rev().filter(|(at, c)| *c == '/' && *at > 0).map(|(at, _)| &path[..at])
}

pub fn name_of(path: &str) -> &str {
    path.rsplit('/').next().expect("a split has a part")
}

/// Takes a path with all below it out of a tree.
pub fn take_out(tree: &mut Tree, path: &str) -> Vec<(String, Thing)> {
    let below = format!("{path}/");
    let keys: Vec<String> = tree.keys().filter(|key| *key == path || key.starts_with(&below)).cloned().collect();
    keys.into_iter().map(|key| tree.remove(&key).map(|thing| (key, thing)).expect("it was just there")).collect()
}

/// What a client does with an entry of a listing or a Delta.
pub fn apply_change(tree: &mut Tree, change: &Change) {
    let entry = match change {
        Change::Deleted { path_display } => {
            take_out(tree, &base::names::path_key(path_display));
            return;
        }
        Change::Present(entry) => entry,
    };
    let path = entry.path_lower();
    for parent in above(&path) {
        if tree.get(parent).is_none_or(|there| !there.is_folder) {
            tree.insert(parent.to_owned(), Thing::folder("not told yet", TreeNode(0)));
        }
    }
    let thing = Thing::of(&entry.meta);
    if !thing.is_folder {
        take_out(tree, &path);
    }
    tree.insert(path, thing);
}

/// Names of which some have the same key, some only look as if.
pub const NAMES: [&str; 10] = ["a", "A", "b.txt", "B.TXT", "c", "Σ", "σ", "ς", "İ", "i"];

pub fn random_path(prng: &mut Prng, depth_max: u64) -> String {
    let depth = 1 + prng.below(depth_max);
    (0..depth).map(|_| format!("/{}", pick(prng, &NAMES))).collect()
}

pub fn pick<'a, T>(prng: &mut Prng, from: &'a [T]) -> &'a T {
    &from[prng.below(from.len() as u64) as usize]
}

/// The key of something that is there, if anything is.
pub fn random_key(prng: &mut Prng, tree: &Tree) -> Option<String> {
    (!tree.is_empty()).then(|| tree.keys().nth(prng.below(tree.len() as u64) as usize).cloned()).flatten()
}

pub fn content_hash(blocks: &[BlockHash]) -> [u8; 32] {
    let mut hash = Sha256::new();
    blocks.iter().for_each(|block| hash.update(block.0));
    hash.finalize().into()
}

/// An empty file or one of one block; the same size is the same content.
pub fn file(path: &str, size: u64, mode: PutMode) -> CommitFile {
    let blocks = if size == 0 { Vec::new() } else { vec![BlockHash([size as u8; 32])] };
    let content_hash = content_hash(&blocks);
    CommitFile { at: At::path(path), mode, size, content_hash, blocks, ..CommitFile::default() }
}

/// The put of a file whose block was stored just now.
pub fn store(commit: CommitFile) -> Command {
    let bytes = commit.size as u32;
    let part = |position: usize| PresentPart { position: position as u32, bytes, put_at_ms: STAMP_MS };
    let present = (0..commit.blocks.len()).map(part).collect();
    Command::StoreAndCommit(StoreAndCommit { commit, present })
}

pub fn put(path: &str, size: u64, mode: PutMode) -> Command {
    store(file(path, size, mode))
}

pub fn mkdir(path: &str) -> Command {
    Command::Mkdir(Mkdir { at: At::path(path), autorename: false })
}

pub fn delete(path: &str) -> Command {
    Command::Delete(Delete { at: At::path(path), parent_rev: None })
}

pub fn rename(source: &str, target: &str) -> Command {
    Command::Move(Move { source: At::path(source), target: At::path(target), autorename: false })
}
