//! One group of the product's metadata machine, in memory, as the cluster behind a content host: two accounts, a shared
//! folder, and a count of what was asked.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod https;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base::record::EntryKind;
use base::{Acct, GroupId, LogIndex, Nsid, Prng, Sequence, SessionId, Term};
use blocks::BlockStore;
use blocks::content::{Body, BodyError, Caller, Content, PutTarget};
use bytes::Bytes;
use meta::*;
use stone::{Asked, Keys, Metaserver, MetaserverError, Secret};

pub const OWNER: Caller = Caller { acct: Acct(5), home: Nsid(10_000_000_001) };
pub const STRANGER: Caller = Caller { acct: Acct(6), home: Nsid(10_000_000_002) };
/// Hangs at `/shared` of the owner.
pub const SHARED: Nsid = Nsid(10_000_000_003);

#[derive(Clone)]
pub struct Machine(Arc<Mutex<State>>);

struct State {
    store: MemoryStore,
    applier: Applier,
    applied: Applied,
    index: u64,
    session: SessionId,
    sequence: u64,
    /// By kind.
    commands: BTreeMap<u8, u64>,
    queries: u64,
    is_away: bool,
}

impl Machine {
    pub fn new() -> Machine {
        let machine = Machine(Arc::new(Mutex::new(State {
            store: MemoryStore::new(),
            applier: Applier::new(),
            applied: Applied::default(),
            index: 0,
            session: SessionId(0),
            sequence: 0,
            commands: BTreeMap::new(),
            queries: 0,
            is_away: false,
        })));
        let Outcome::Registered { session } = machine.run(Acct(0), Nsid(0), Command::Register { nonce: [9; 16] })
        else {
            panic!("a nonce gets a session")
        };
        machine.0.lock().unwrap().session = session;
        for (nsid, kind, owner) in [
            (OWNER.home, NamespaceKind::Root, OWNER.acct),
            (STRANGER.home, NamespaceKind::Root, STRANGER.acct),
            (SHARED, NamespaceKind::Shared, OWNER.acct),
        ] {
            let init = Command::NamespaceInit { kind, owner, grant_bytes: 1 << 40 };
            assert_eq!(machine.run(Acct(0), nsid, init), Outcome::Done);
        }
        let step = Step { flow: 0, step: 0 };
        let mount = Mount { step, target: SHARED, at: At::path("/shared"), autorename: false };
        assert!(machine.run(Acct(0), OWNER.home, Command::Mount(mount)).is_ok());
        machine.reset();
        machine
    }

    pub fn run(&self, acct: Acct, nsid: Nsid, command: Command) -> Outcome {
        let state = &mut *self.0.lock().unwrap();
        let mut bytes = Vec::new();
        state.sequence += 1;
        let header = CommandHeader {
            session: state.session,
            sequence: Sequence(state.sequence),
            ack_below: Sequence(state.sequence),
            acct,
            nsid,
        };
        let header = if state.session.0 == 0 { CommandHeader::default() } else { header };
        encode_command(&header, &command, &mut bytes);
        *state.commands.entry(command.kind()).or_default() += 1;
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        let payload = builder.finish(now_ms).to_vec();
        state.index += 1;
        let (index, kind) = (LogIndex(state.index), EntryKind::Commands);
        let entry = EntryRef { index, term: Term(1), crc: 0, kind, payload: &payload };
        state.applied.clear();
        state.applier.apply(&mut state.store, GroupId(0), entry, &mut state.applied).expect("all rows are in memory");
        Outcome::decode(state.applied.outcomes().next().unwrap()).unwrap()
    }

    pub fn ask(&self, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        let state = self.0.lock().unwrap();
        query(&state.store, GroupId(0), acct, nsid, question, &mut Vec::new()).expect("all rows are in memory")
    }

    /// Forgets what was counted.
    pub fn reset(&self) {
        let state = &mut *self.0.lock().unwrap();
        state.commands.clear();
        state.queries = 0;
    }

    /// Commands by kind, and queries, since the last reset.
    pub fn counts(&self) -> (Vec<(u8, u64)>, u64) {
        let state = self.0.lock().unwrap();
        (state.commands.iter().map(|(kind, count)| (*kind, *count)).collect(), state.queries)
    }

    fn check_leader(&self) -> Result<(), MetaserverError> {
        let is_away = self.0.lock().unwrap().is_away;
        if is_away { Err(MetaserverError::Unavailable("no leader".to_owned())) } else { Ok(()) }
    }

    pub fn set_away(&self, is_away: bool) {
        self.0.lock().unwrap().is_away = is_away;
    }

    /// Every path of a namespace.
    pub fn paths(&self, caller: Caller, nsid: Nsid) -> Vec<String> {
        let list = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 0 };
        let Answer::Page { entries, .. } = self.ask(caller.acct, nsid, &list) else { panic!("a root lists") };
        entries.into_iter().map(|entry| entry.path_display).collect()
    }

    /// Rows of upload sessions.
    pub fn upload_rows(&self) -> usize {
        let state = self.0.lock().unwrap();
        state.store.rows(GroupId(0)).iter().filter(|(key, _)| key[0] == 0x0b).count()
    }

    pub fn check(&self) {
        let state = self.0.lock().unwrap();
        meta::invariants::check(&state.store.rows(GroupId(0))).unwrap();
    }
}

impl Metaserver for Machine {
    fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Asked<'_, Outcome> {
        Box::pin(async move {
            self.check_leader()?;
            Ok(self.run(acct, nsid, command))
        })
    }

    fn query(&self, acct: Acct, nsid: Nsid, question: Query) -> Asked<'_, Answer> {
        Box::pin(async move {
            self.0.lock().unwrap().queries += 1;
            self.check_leader()?;
            Ok(self.ask(acct, nsid, &question))
        })
    }
}

/// For the native side of a server that runs.
impl blocks::metaserver::Metaserver for Machine {
    async fn command(
        &self,
        acct: Acct,
        nsid: Nsid,
        command: Command,
    ) -> Result<Outcome, blocks::metaserver::MetaserverError> {
        Ok(self.run(acct, nsid, command))
    }

    async fn groups(&self) -> Result<u32, blocks::metaserver::MetaserverError> {
        Ok(1)
    }

    async fn query(
        &self,
        acct: Acct,
        nsid: Nsid,
        question: Query,
    ) -> Result<Answer, blocks::metaserver::MetaserverError> {
        Ok(self.ask(acct, nsid, &question))
    }
}

/// A cluster, a store, and servers over both.
pub struct World {
    pub machine: Machine,
    pub store: BlockStore,
    pub directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = BlockStore::open_directory(directory.path()).unwrap();
        World { machine: Machine::new(), store, directory }
    }

    /// Another block server: it shares nothing with the others but the store and the cluster.
    pub fn server(&self) -> Content {
        let keys = Keys::new(&Secret::from_bytes([7; 32]));
        Content::new(self.store.clone(), Arc::new(self.machine.clone()), Arc::new(keys))
    }

    /// Objects that hold what is no block yet.
    pub fn tails(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("tails")).unwrap().count()
    }
}

/// A body in pieces, which may end too early.
pub struct Pieces {
    pieces: VecDeque<Result<Bytes, BodyError>>,
    length: Option<u64>,
}

impl Pieces {
    /// All of `bytes`, so many at a time, with their length told.
    pub fn of(bytes: &[u8], piece: usize) -> Pieces {
        let pieces = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Pieces { pieces, length: Some(bytes.len() as u64) }
    }

    /// As a chunked body comes: nobody knows how long it is.
    pub fn chunked(bytes: &[u8], piece: usize) -> Pieces {
        Pieces { length: None, ..Pieces::of(bytes, piece) }
    }

    /// The connection ends before the last byte.
    pub fn truncated(bytes: &[u8], piece: usize) -> Pieces {
        let mut pieces = Pieces::of(bytes, piece);
        pieces.pieces.pop_back();
        pieces.pieces.push_back(Err(BodyError::Truncated("the connection ended".to_owned())));
        pieces
    }
}

impl Body for Pieces {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        // Others get their turn, as with a socket.
        tokio::task::yield_now().await;
        self.pieces.pop_front()
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

pub fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut prng = Prng::new(seed);
    (0..length.div_ceil(8)).flat_map(|_| prng.next_u64().to_le_bytes()).take(length).collect()
}

/// A new file at a path of the owner.
pub fn at(path: &str) -> PutTarget {
    PutTarget { nsid: OWNER.home, at: At::path(path), ..PutTarget::default() }
}

pub fn content_hash(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blocks::content::ContentHasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Reads a file of the owner.
pub async fn read(server: &Content, path: &str) -> Vec<u8> {
    let plan = server.plan(OWNER, OWNER.home, What::At(At::path(path))).await.unwrap();
    let size = plan.size();
    read_bytes(server, plan, 0..size).await
}

pub async fn read_bytes(server: &Content, plan: blocks::content::ReadPlan, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut download = server.read(OWNER, plan, range);
    let mut all = Vec::new();
    while let Some(bytes) = download.next().await {
        all.extend_from_slice(&bytes.unwrap());
    }
    all
}
