//! A cluster in memory: the product's metadata machine and a map of blocks, which may fail on demand.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::record::EntryKind;
use base::{Acct, BlockHash, GroupId, Jid, LogIndex, Nsid, Sequence, SessionId, Term, TreeNode};
use blocks::BlockSource;
use meta::*;
use syncer::{Cloud, CloudError, Engine, Event, Line, Options, Pair, SyncError, Tell};

pub const ACCT: Acct = Acct(5);
pub const NSID: Nsid = Nsid(10_000_000_001);

struct State {
    store: MemoryStore,
    applier: Applier,
    applied: Applied,
    index: u64,
    session: SessionId,
    sequence: u64,
    blocks: HashMap<BlockHash, Vec<u8>>,
}

/// The cluster.
pub struct Machine {
    state: Mutex<State>,
    /// Requests until nobody answers any more; `u64::MAX` for ever.
    pub fuse: AtomicU64,
    /// Blocks sent and got.
    pub sent: AtomicU64,
    pub got: AtomicU64,
    /// Done right before the next deletion of a folder: what another client does at the worst moment.
    pub intruder: Mutex<Option<Command>>,
}

impl Machine {
    pub fn new() -> Machine {
        let state = State {
            store: MemoryStore::new(),
            applier: Applier::new(),
            applied: Applied::default(),
            index: 0,
            session: SessionId(0),
            sequence: 0,
            blocks: HashMap::new(),
        };
        let machine = Machine {
            state: Mutex::new(state),
            fuse: AtomicU64::new(u64::MAX),
            sent: AtomicU64::default(),
            got: AtomicU64::default(),
            intruder: Mutex::default(),
        };
        let registered = machine.run(Acct(0), Command::Register { nonce: [9; 16] });
        let Outcome::Registered { session } = registered else { panic!("a nonce gets a session: {registered:?}") };
        machine.state.lock().unwrap().session = session;
        let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: ACCT, grant_bytes: 1 << 40 };
        assert_eq!(machine.run(Acct(0), init), Outcome::Done);
        machine
    }

    pub fn run(&self, acct: Acct, command: Command) -> Outcome {
        let state = &mut *self.state.lock().unwrap();
        state.sequence += 1;
        let header = CommandHeader {
            session: state.session,
            sequence: Sequence(state.sequence),
            ack_below: Sequence(state.sequence),
            acct,
            nsid: NSID,
        };
        let header = if state.session.0 == 0 { CommandHeader::default() } else { header };
        let mut bytes = Vec::new();
        encode_command(&header, &command, &mut bytes);
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        // Time goes by with every command.
        let payload = builder.finish(1_800_000_000_000 + state.sequence).to_vec();
        state.index += 1;
        let (index, kind) = (LogIndex(state.index), EntryKind::Commands);
        let entry = EntryRef { index, term: Term(1), crc: 0, kind, payload: &payload };
        state.applied.clear();
        state.applier.apply(&mut state.store, GroupId(0), entry, &mut state.applied).expect("all rows are in memory");
        Outcome::decode(state.applied.outcomes().next().unwrap()).unwrap()
    }

    pub fn ask(&self, question: &Query) -> Answer {
        let state = self.state.lock().unwrap();
        query(&state.store, GroupId(0), ACCT, NSID, question, &mut Vec::new()).expect("all rows are in memory")
    }

    /// Puts a file as another client does.
    pub fn put(&self, path: &str, content: &[u8]) -> Outcome {
        let names: Vec<BlockHash> = content.chunks(4 << 20).map(blocks::store::hash_of).collect();
        let commit = CommitFile {
            at: At::path(path),
            mode: PutMode::Overwrite,
            size: content.len() as u64,
            content_hash: blocks::local::content_hash(&names),
            blocks: names,
            ..CommitFile::default()
        };
        let block = |position: u32| Ok(content.chunks(4 << 20).nth(position as usize).unwrap().to_vec());
        self.store_and_commit(&commit, &mut { block }).unwrap()
    }

    fn store_and_commit(&self, commit: &CommitFile, content: &mut dyn BlockSource) -> Result<Outcome, CloudError> {
        let outcome = self.run(ACCT, Command::CommitFile(commit.clone()));
        let Outcome::NeedBlocks(positions) = outcome else { return Ok(outcome) };
        let mut present = Vec::new();
        for position in positions {
            let bytes = content.block(position)?;
            self.sent.fetch_add(1, Ordering::Relaxed);
            present.push(PresentPart { position, bytes: bytes.len() as u32, put_at_ms: 1_800_000_000_000 });
            self.state.lock().unwrap().blocks.insert(commit.blocks[position as usize], bytes);
        }
        Ok(self.run(ACCT, Command::StoreAndCommit(StoreAndCommit { commit: commit.clone(), present })))
    }

    /// Every path with its content; folders with none.
    pub fn tree(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let (mut out, mut position) = (Vec::new(), Vec::new());
        loop {
            let list = Query::ListPage { at: At::path(""), recursive: true, position, limit: 0 };
            let Answer::Page { entries, next, .. } = self.ask(&list) else { panic!("a root lists") };
            for entry in entries {
                let content = (entry.meta.kind == NodeKind::File).then(|| self.content(entry.meta.rev_jid));
                out.push((entry.path_display[1..].to_owned(), content));
            }
            match next {
                Some(next) => position = next,
                None => break,
            }
        }
        out.sort();
        out
    }

    fn content(&self, rev: Jid) -> Vec<u8> {
        let Answer::Blocklist { blocks, .. } = self.ask(&Query::Blocklist { what: What::Rev(rev), first: 0 }) else {
            panic!("a revision has blocks")
        };
        let state = self.state.lock().unwrap();
        blocks.iter().flat_map(|(name, _)| state.blocks[name].clone()).collect()
    }

    fn burn(&self) -> Result<(), CloudError> {
        let left = self.fuse.load(Ordering::Relaxed);
        if left == u64::MAX {
            return Ok(());
        }
        self.fuse.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 { Err(CloudError::Unreachable("nobody".to_owned())) } else { Ok(()) }
    }
}

impl Cloud for Machine {
    fn query(&self, query: Query) -> Result<Answer, CloudError> {
        self.burn()?;
        Ok(self.ask(&query))
    }

    fn command(&self, command: Command) -> Result<Outcome, CloudError> {
        self.burn()?;
        if let Command::Delete(Delete { parent_rev: None, .. }) = &command
            && let Some(intruder) = self.intruder.lock().unwrap().take()
        {
            let outcome = self.run(ACCT, intruder);
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        let outcome = self.run(ACCT, command);
        // Done, and its answer is lost.
        self.burn()?;
        Ok(outcome)
    }

    fn line(&self, _: usize) -> Result<Box<dyn Line + '_>, CloudError> {
        Ok(Box::new(MachineLine(self)))
    }
}

struct MachineLine<'a>(&'a Machine);

impl Line for MachineLine<'_> {
    fn put(&mut self, commit: &CommitFile, content: &mut dyn BlockSource) -> Result<Outcome, CloudError> {
        self.0.burn()?;
        let outcome = self.0.store_and_commit(commit, content)?;
        self.0.burn()?;
        Ok(outcome)
    }

    fn get(
        &mut self,
        _: Jid,
        names: &[BlockHash],
        positions: VecDeque<u32>,
        sink: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> Result<(), CloudError> {
        self.0.burn()?;
        for position in positions {
            self.0.got.fetch_add(1, Ordering::Relaxed);
            let block = self.0.state.lock().unwrap().blocks[&names[position as usize]].clone();
            sink(position, &block)?;
        }
        Ok(())
    }
}

/// Keeps what is told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<Event>>);

impl Tell for Told {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    fn begin(&self, _: usize, _: u64) {}

    fn advance(&self, _: u64) {}

    fn end(&self) {}
}

/// One start of the client on a folder: rounds until one has nothing to do. What it told, and its last round.
///
/// Errors: of the first round that failed.
pub fn sync_as(machine: &Machine, root: &Path, host: &str) -> Result<(Vec<Event>, syncer::engine::Round), SyncError> {
    let (told, stop) = (Told::default(), AtomicBool::new(false));
    let options = Options { workers: 2, host: host.to_owned() };
    let pair = Pair { acct: ACCT, nsid: NSID, root: TreeNode(1) };
    let mut engine = Engine::open(root, pair, machine, &told, &stop, options, false)?;
    let round = engine.round()?;
    drop(engine);
    Ok((told.0.into_inner().unwrap(), round))
}

/// As [`sync_as`], which must succeed with nothing failed; how many changes it made.
pub fn sync(machine: &Machine, root: &Path) -> usize {
    let (told, round) = sync_as(machine, root, "ada").unwrap();
    assert_eq!(round.failed, 0, "{told:?}");
    round.done
}

/// Every path of a folder with its content; folders with none. Our own folder is left out.
pub fn disk_tree(root: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    fn walk(root: &Path, folder: &Path, out: &mut Vec<(String, Option<Vec<u8>>)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if relative == ".dropstone" {
                continue;
            }
            if path.is_dir() {
                out.push((relative, None));
                walk(root, &path, out);
            } else {
                out.push((relative, Some(std::fs::read(&path).unwrap())));
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out.sort();
    out
}
