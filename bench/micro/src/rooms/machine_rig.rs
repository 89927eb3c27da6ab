//! A machine over the store that ships, all of it in a memtable; and the commands of a client that puts files.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use base::limits::BLOCK_BYTES;
use base::record::EntryKind;
use base::{Acct, BlockHash, CoreId, GroupId, LogIndex, Nsid, Prng, Sequence, SessionId, Term};
use meta::{
    Answer, Applied, Applier, At, Command, CommandHeader, CommitFile, EntryRef, NamespaceKind, Outcome, PresentPart,
    PutMode, Query, StoreAndCommit,
};
use sha2::{Digest as _, Sha256};
use store::{LsmStore, OpenSettings};
use tempfile::TempDir;

/// The group that all rows are of.
pub const GROUP: GroupId = GroupId(0);
/// The namespace of one group.
pub const NSID: Nsid = Nsid(10_000_000_001);
/// Who owns it.
pub const OWNER: Acct = Acct(5);
/// When everything happens. Units: milliseconds since 1970.
pub const STAMP_MS: u64 = 1_800_000_000_000;

/// A store in a directory that goes with it.
pub struct TempStore {
    store: LsmStore,
    // Dropped after the store, whose threads may be writing there.
    _dir: TempDir,
}

impl Deref for TempStore {
    type Target = LsmStore;

    fn deref(&self) -> &LsmStore {
        &self.store
    }
}

impl DerefMut for TempStore {
    fn deref_mut(&mut self) -> &mut LsmStore {
        &mut self.store
    }
}

/// A store whose memtable takes everything.
///
/// # Panics
/// When the temporary directory cannot be used: nothing can be measured then.
#[must_use]
pub fn open_store() -> (LsmStore, TempDir) {
    let dir = TempDir::new().expect("the temporary directory can be written");
    let settings = OpenSettings {
        memtable_bytes: 1 << 30,
        scrub_bytes_per_second: 0,
        ..OpenSettings::new(dir.path().to_owned(), CoreId(0), Arc::new(|| ()))
    };
    (LsmStore::open(settings).expect("a new store opens"), dir)
}

impl TempStore {
    /// See [`open_store`].
    #[must_use]
    pub fn open() -> TempStore {
        let (store, dir) = open_store();
        TempStore { store, _dir: dir }
    }
}

/// One group with one namespace, and a session of its owner.
pub struct MachineRig {
    /// Its rows.
    pub store: TempStore,
    applier: Applier,
    applied: Applied,
    builder: meta::payload::Builder,
    bytes: Vec<u8>,
    index: LogIndex,
    session: SessionId,
    sequence: u64,
}

impl Default for MachineRig {
    fn default() -> MachineRig {
        let mut rig = MachineRig {
            store: TempStore::open(),
            applier: Applier::new(),
            applied: Applied::default(),
            builder: meta::payload::Builder::default(),
            bytes: Vec::new(),
            index: LogIndex(0),
            session: SessionId(0),
            sequence: 0,
        };
        for command in [(system(NSID), namespace()), (owner(), Command::Register { nonce: [9; 16] })] {
            let payload = rig.encode(&[command]);
            rig.apply_payload(&payload);
            rig.check();
        }
        rig.session = session_of(rig.applied.outcomes().next().expect("a command has an outcome"));
        rig
    }
}

impl MachineRig {
    /// The owner's commands as the payload of one entry.
    pub fn payload(&mut self, commands: impl IntoIterator<Item = Command>) -> Vec<u8> {
        let headed: Vec<_> = commands.into_iter().map(|command| (self.header(), command)).collect();
        self.encode(&headed)
    }

    /// The owner's commands as one entry; each must be done.
    pub fn apply(&mut self, commands: impl IntoIterator<Item = Command>) {
        let payload = self.payload(commands);
        self.apply_payload(&payload);
        self.check();
    }

    fn header(&mut self) -> CommandHeader {
        self.sequence += 1;
        let sequence = Sequence(self.sequence);
        CommandHeader { session: self.session, sequence, ack_below: sequence, acct: OWNER, nsid: NSID }
    }

    fn encode(&mut self, commands: &[(CommandHeader, Command)]) -> Vec<u8> {
        self.builder.clear();
        for (header, command) in commands {
            self.bytes.clear();
            meta::encode_command(header, command, &mut self.bytes);
            self.builder.push(&self.bytes);
        }
        self.builder.finish(STAMP_MS).to_vec()
    }

    /// Applies the next entry; returns the bytes of its outcomes.
    pub fn apply_payload(&mut self, payload: &[u8]) -> u64 {
        self.index = self.index.next();
        let (kind, crc) = (EntryKind::Commands, self.index.0 as u32);
        let entry = EntryRef { index: self.index, term: Term(1), crc, kind, payload };
        self.applied.clear();
        let applied = self.applier.apply(&mut self.store.store, GROUP, entry, &mut self.applied);
        applied.expect("every row is in memory");
        self.applied.outcomes().map(|outcome| outcome.len() as u64).sum()
    }

    /// The commands applied last must have been done.
    pub fn check(&self) {
        for outcome in self.applied.outcomes() {
            let outcome = Outcome::decode(outcome).expect("the machine's own encoding");
            assert!(outcome.is_ok(), "a command was answered {outcome:?}");
        }
    }

    /// The owner's question.
    pub fn ask(&self, query: &Query) -> Answer {
        let answer = meta::query(&self.store.store, GROUP, OWNER, NSID, query, &mut Vec::new());
        answer.expect("every row is in memory")
    }
}

/// Of the system itself.
#[must_use]
pub fn system(nsid: Nsid) -> CommandHeader {
    CommandHeader { nsid, ..CommandHeader::default() }
}

/// Of the owner, who has no session yet.
#[must_use]
pub fn owner() -> CommandHeader {
    CommandHeader { acct: OWNER, ..CommandHeader::default() }
}

/// Makes the namespace of the owner.
#[must_use]
pub fn namespace() -> Command {
    Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 50 }
}

/// The session that an outcome tells.
#[must_use]
pub fn session_of(outcome: &[u8]) -> SessionId {
    match Outcome::decode(outcome) {
        Ok(Outcome::Registered { session }) => session,
        other => panic!("no session was given: {other:?}"),
    }
}

/// A folder.
#[must_use]
pub fn mkdir(path: &str) -> Command {
    Command::Mkdir(meta::Mkdir { at: At::path(path), autorename: false })
}

/// A file of one block that a block server has put, as most files are.
#[must_use]
pub fn put(path: &str, content: u64, mode: PutMode) -> Command {
    let size = 1 + content % BLOCK_BYTES;
    let block = block(content);
    let commit = CommitFile {
        at: At::path(path),
        mode,
        size,
        client_mtime_ms: Some(STAMP_MS as i64),
        content_hash: Sha256::digest(block.0).into(),
        blocks: vec![block],
        ..CommitFile::default()
    };
    let present = vec![PresentPart { position: 0, bytes: size as u32, put_at_ms: STAMP_MS }];
    Command::StoreAndCommit(StoreAndCommit { commit, present })
}

/// A file without content.
#[must_use]
pub fn empty_file(path: &str) -> CommitFile {
    let content_hash = Sha256::digest([]).into();
    CommitFile { at: At::path(path), content_hash, ..CommitFile::default() }
}

fn block(content: u64) -> BlockHash {
    let mut prng = Prng::new(content);
    let mut name = [0; 32];
    name.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&prng.next_u64().to_le_bytes()));
    BlockHash(name)
}
