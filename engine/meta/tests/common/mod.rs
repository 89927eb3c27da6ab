//! One group with one namespace, driven command by command; checks the invariants as it goes.
#![allow(dead_code, missing_docs)] // shared by several tests, each of which uses part of it

use base::record::EntryKind;
use base::{Acct, BlockHash, GroupId, Jid, LogIndex, Nsid, Sequence, SessionId, Term};
use meta::*;
use sha2::{Digest, Sha256};

pub const GROUP: GroupId = GroupId(7);
pub const NSID: Nsid = Nsid(10_000_000_001);
pub const OWNER: Acct = Acct(5);
pub const STAMP: u64 = 1_800_000_000_000;

pub struct World {
    pub store: MemoryStore,
    pub applier: Applier,
    pub applied: Applied,
    pub group: GroupId,
    pub index: LogIndex,
    pub stamp_ms: u64,
    pub session: SessionId,
    pub sequence: Sequence,
    pub colds: u64,
}

impl World {
    /// A group with an initialised namespace and a session of the system.
    pub fn new() -> World {
        let mut world = World::empty(GROUP);
        world.register();
        let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 40 };
        assert_eq!(world.run_as(Acct(0), init), Outcome::Done);
        world
    }

    pub fn empty(group: GroupId) -> World {
        World {
            store: MemoryStore::new(),
            applier: Applier::new(),
            applied: Applied::default(),
            group,
            index: LogIndex(0),
            stamp_ms: STAMP,
            session: SessionId(0),
            sequence: Sequence(0),
            colds: 0,
        }
    }

    pub fn register(&mut self) {
        let header = CommandHeader::default();
        let Outcome::Registered { session } = self.entry(&[(header, Command::Register { nonce: [9; 16] })]).remove(0)
        else {
            panic!("a nonce gets a session")
        };
        self.session = session;
    }

    /// Applies a raw payload as one entry.
    pub fn payload(&mut self, kind: EntryKind, payload: &[u8]) -> Vec<Outcome> {
        self.index = self.index.next();
        let entry = EntryRef { index: self.index, term: Term(1), crc: self.index.0 as u32, kind, payload };
        self.applied.clear();
        let mut tokens = Vec::new();
        while self.applier.apply(&mut self.store, self.group, entry, &mut self.applied).is_err() {
            assert!(!self.applier.wants().is_empty(), "a cold try wants something");
            assert!(tokens.len() < 100_000, "an entry stays cold");
            self.colds += 1;
            tokens.push(self.colds);
            self.store.prefetch(self.colds, self.group, self.applier.wants());
        }
        tokens.iter().for_each(|token| self.store.release(*token));
        self.applied.outcomes().map(|bytes| Outcome::decode(bytes).unwrap()).collect()
    }

    pub fn entry(&mut self, commands: &[(CommandHeader, Command)]) -> Vec<Outcome> {
        let mut builder = payload::Builder::default();
        for (header, command) in commands {
            let mut bytes = Vec::new();
            encode_command(header, command, &mut bytes);
            assert_eq!(decode_command(&bytes).as_ref(), Ok(&(*header, command.clone())));
            builder.push(&bytes);
        }
        let payload = builder.finish(self.stamp_ms).to_vec();
        let outcomes = self.payload(EntryKind::Commands, &payload);
        assert_eq!(outcomes.len(), commands.len());
        outcomes
    }

    pub fn header(&mut self, acct: Acct) -> CommandHeader {
        self.sequence.0 += 1;
        CommandHeader {
            session: self.session,
            sequence: self.sequence,
            ack_below: Sequence(self.sequence.0.saturating_sub(10)),
            acct,
            nsid: NSID,
        }
    }

    pub fn run_as(&mut self, acct: Acct, command: Command) -> Outcome {
        self.stamp_ms += 1;
        let header = self.header(acct);
        let mut outcomes = self.entry(&[(header, command.clone()), (header, command)]);
        assert_eq!(outcomes[0], outcomes[1], "a repeated command has the same outcome");
        outcomes.remove(0)
    }

    pub fn run(&mut self, command: Command) -> Outcome {
        let outcome = self.run_as(OWNER, command);
        self.check();
        outcome
    }

    pub fn check(&self) {
        invariants::check(&self.store.rows(self.group)).unwrap();
    }

    pub fn ask(&mut self, question: &Query) -> Answer {
        self.ask_as(OWNER, question)
    }

    pub fn ask_as(&mut self, acct: Acct, question: &Query) -> Answer {
        let mut bytes = Vec::new();
        question.encode(&mut bytes);
        assert_eq!(Query::decode(&bytes).as_ref(), Ok(question));
        let mut tokens = Vec::new();
        let answer = loop {
            let mut wants = Vec::new();
            match query(&self.store, self.group, acct, NSID, question, &mut wants) {
                Ok(answer) => break answer,
                Err(Cold) => {
                    assert!(!wants.is_empty() && tokens.len() < 100_000, "a query stays cold");
                    self.colds += 1;
                    tokens.push(self.colds);
                    self.store.prefetch(self.colds, self.group, &wants);
                }
            }
        };
        tokens.iter().for_each(|token| self.store.release(*token));
        bytes.clear();
        answer.encode(&mut bytes);
        assert_eq!(Answer::decode(&bytes).as_ref(), Ok(&answer));
        answer
    }

    pub fn put(&mut self, path: &str, content: &[u8]) -> Outcome {
        self.run(put(path, content, PutMode::Overwrite))
    }

    pub fn mkdir(&mut self, path: &str) -> Outcome {
        self.run(Command::Mkdir(Mkdir { at: At::path(path), autorename: false }))
    }

    pub fn delete(&mut self, path: &str) -> Outcome {
        self.run(Command::Delete(Delete { at: At::path(path), parent_rev: None }))
    }

    pub fn rename(&mut self, source: &str, target: &str) -> Outcome {
        self.run(Command::Move(Move { source: At::path(source), target: At::path(target), autorename: false }))
    }

    pub fn list(&mut self, path: &str, recursive: bool, limit: u32) -> Vec<Entry> {
        let mut all = Vec::new();
        let mut position = Vec::new();
        loop {
            let at = At::path(path);
            match self.ask(&Query::ListPage { at, recursive, position, limit }) {
                Answer::Page { entries, next, .. } => {
                    assert!(limit == 0 || entries.len() <= limit as usize);
                    all.extend(entries);
                    match next {
                        Some(next) => position = next,
                        None => return all,
                    }
                }
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    pub fn paths(&mut self) -> Vec<String> {
        self.list("", true, 0).into_iter().map(|entry| entry.path_display).collect()
    }

    pub fn lookup(&mut self, path: &str) -> Option<Entry> {
        match self.ask(&Query::Lookup(What::At(At::path(path)))) {
            Answer::Entry(entry) => Some(entry),
            Answer::NotFound => None,
            other => panic!("{path}: {other:?}"),
        }
    }

    pub fn head(&mut self) -> Jid {
        match self.ask(&Query::Head) {
            Answer::Head(jid) => jid,
            other => panic!("{other:?}"),
        }
    }

    pub fn state_hash(&self) -> u64 {
        self.store.machine(self.group).unwrap().state_hash
    }
}

/// A block of any name and length; its bytes are nobody's business here.
pub fn hash_of(content: &[u8]) -> BlockHash {
    BlockHash(Sha256::digest(content).into())
}

pub fn content_hash(blocks: &[BlockHash]) -> [u8; 32] {
    let mut hash = Sha256::new();
    blocks.iter().for_each(|block| hash.update(block.0));
    hash.finalize().into()
}

/// A put of a small file.
pub fn small(path: &str, content: &[u8], mode: PutMode) -> CommitFile {
    let blocks: Vec<BlockHash> = if content.is_empty() { Vec::new() } else { vec![hash_of(content)] };
    CommitFile {
        at: At::path(path),
        mode,
        size: content.len() as u64,
        content_hash: content_hash(&blocks),
        blocks,
        ..CommitFile::default()
    }
}

pub fn with_blocks(commit: CommitFile, put_at_ms: u64) -> Command {
    let size = commit.size;
    let present = (0..commit.blocks.len() as u32)
        .map(|position| {
            let bytes = (size - u64::from(position) * (4 << 20)).min(4 << 20) as u32;
            PresentPart { position, bytes, put_at_ms }
        })
        .collect();
    Command::StoreAndCommit(StoreAndCommit { commit, present })
}

pub fn put(path: &str, content: &[u8], mode: PutMode) -> Command {
    with_blocks(small(path, content, mode), u64::MAX)
}
