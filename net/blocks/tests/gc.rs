//! The collector in a running block server, over a directory, with the metadata machine behind it and a grace period of
//! moments: what nobody refers to goes, what somebody does stays, and what is wanted again comes back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base::record::EntryKind;
use base::{Acct, BlockHash, GroupId, LogIndex, Nsid, Term};
use blocks::gc::{Counts, GcState, run};
use blocks::metaserver::{Metaserver, MetaserverError};
use blocks::store::hash_of;
use blocks::{BlockConfig, BlockStore, GcConfig};
use meta::*;

const NSID: Nsid = Nsid(10_000_000_000);
/// Long enough for a slow machine to put and record.
const GRACE_MS: u64 = 3000;

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// One group of the product's machine, in memory; it may be away.
#[derive(Clone, Default)]
struct OneGroup(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    store: MemoryStore,
    applier: Applier,
    applied: Applied,
    index: u64,
    is_away: bool,
}

impl OneGroup {
    fn run(&self, nsid: Nsid, command: Command) -> Outcome {
        let state = &mut *self.0.lock().unwrap();
        let mut bytes = Vec::new();
        encode_command(&CommandHeader { nsid, ..CommandHeader::default() }, &command, &mut bytes);
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        let payload = builder.finish(wall_ms()).to_vec();
        state.index += 1;
        let (index, kind) = (LogIndex(state.index), EntryKind::Commands);
        let entry = EntryRef { index, term: Term(1), crc: 0, kind, payload: &payload };
        state.applied.clear();
        state.applier.apply(&mut state.store, GroupId(0), entry, &mut state.applied).expect("all rows are in memory");
        Outcome::decode(state.applied.outcomes().next().unwrap()).unwrap()
    }
}

impl Metaserver for OneGroup {
    async fn command(&self, _: Acct, nsid: Nsid, command: Command) -> Result<Outcome, MetaserverError> {
        Ok(self.run(nsid, command))
    }

    async fn groups(&self) -> Result<u32, MetaserverError> {
        Ok(1)
    }

    async fn query(&self, acct: Acct, nsid: Nsid, question: Query) -> Result<Answer, MetaserverError> {
        let state = self.0.lock().unwrap();
        if state.is_away {
            return Err(MetaserverError::Unavailable("no leader".to_owned()));
        }
        Ok(query(&state.store, GroupId(0), acct, nsid, &question, &mut Vec::new()).expect("all rows are in memory"))
    }
}

fn config(directory: &Path) -> BlockConfig {
    BlockConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        store: directory.join("objects").to_str().unwrap().to_owned(),
        data_dir: directory.to_owned(),
        targets: vec!["127.0.0.1:1".to_owned()],
        server_id: 7,
        gc: GcConfig { unsafe_short_ms: Some(GRACE_MS), objects_per_second: 100_000, ..GcConfig::default() },
        https: None,
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn refer_to(meta: &OneGroup, bytes: &[u8]) -> BlockHash {
    let hash = hash_of(bytes);
    let present = vec![PresentBlock { hash, bytes: bytes.len() as u32, put_at_ms: wall_ms() }];
    assert!(meta.run(NSID, Command::BlocksPresent(present)).is_ok());
    hash
}

fn put(store: &BlockStore, bytes: &'static [u8]) -> BlockHash {
    block_on(store.put(hash_of(bytes), bytes::Bytes::from_static(bytes))).unwrap();
    hash_of(bytes)
}

/// Where a block is: in `blocks/`, and how often in `trash/`.
fn places(config: &BlockConfig, hash: BlockHash) -> (bool, usize) {
    let byte = format!("{:02x}", hash.0[0]);
    let of = |area: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(Path::new(&config.store).join(area).join(&byte)).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&hash.to_string())).collect()
    };
    (!of("blocks").is_empty(), of("trash").len())
}

fn await_places(config: &BlockConfig, hash: BlockHash, wanted: (bool, usize)) {
    let begun = Instant::now();
    while places(config, hash) != wanted {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?} and not {wanted:?}", places(config, hash));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn state(store: &BlockStore) -> Option<GcState> {
    block_on(store.gc_state()).unwrap().and_then(|text| GcState::parse(&text))
}

fn await_counts(store: &BlockStore, is_reached: impl Fn(&Counts) -> bool) {
    let begun = Instant::now();
    while !state(store).is_some_and(|state| is_reached(&state.counts)) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", state(store));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn world() -> (tempfile::TempDir, BlockConfig, OneGroup, BlockStore) {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let meta = OneGroup::default();
    let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: Acct(5), grant_bytes: 1 << 40 };
    assert_eq!(meta.run(NSID, init), Outcome::Done);
    let store = BlockStore::open(&config.store).unwrap();
    (directory, config, meta, store)
}

#[test]
fn a_server_collects_what_nobody_refers_to_over_restarts_and_while_groups_are_away() {
    let (_directory, config, meta, store) = world();
    meta.0.lock().unwrap().is_away = true;
    let (kept, garbage, revived) = (put(&store, b"kept"), put(&store, b"garbage"), put(&store, b"revived"));
    refer_to(&meta, b"kept");
    let server = blocks::start_with(&config, meta.clone()).unwrap();
    std::thread::sleep(Duration::from_millis(2 * GRACE_MS));
    assert_eq!(places(&config, garbage), (true, 0), "a group that does not answer may refer to it");

    meta.0.lock().unwrap().is_away = false;
    await_places(&config, garbage, (false, 1));
    await_places(&config, revived, (false, 1));
    await_counts(&store, |counts| counts.trashed >= 2 && counts.given_up >= 1);
    // Somebody had seen it just before.
    refer_to(&meta, b"revived");
    server.stop();
    let server = blocks::start_with(&config, meta.clone()).unwrap();
    await_places(&config, garbage, (false, 0));
    await_places(&config, revived, (true, 0));
    await_counts(&store, |counts| counts.deleted >= 1 && counts.restored >= 1);
    server.stop();
    assert_eq!(places(&config, kept), (true, 0));
    assert_eq!(block_on(store.get(revived)).unwrap(), b"revived"[..]);

    let state = state(&store).unwrap();
    assert!(state.owner == 7 && state.counts.missing == 0 && state.cycle >= 2, "{state:?}");
}

#[test]
fn a_cycle_by_hand_counts_first_and_tells_what_is_missing() {
    let (_directory, config, meta, store) = world();
    let announce = ServerPut { server: 7, role: ServerRole::Block, address: "b:1".to_owned() };
    let garbage = put(&store, b"garbage");
    refer_to(&meta, b"lost for ever");
    std::thread::sleep(Duration::from_millis(GRACE_MS + 100));
    assert_eq!(meta.run(Nsid(0), Command::ServerPut(announce)), Outcome::Done);
    let cycle = |is_dry| block_on(run::run_cycle_with(&store, &meta, &config, is_dry, |_| {})).unwrap();
    let counts = cycle(true);
    assert_eq!((counts.listed, counts.trashed, counts.missing), (1, 1, 1), "{counts:?}");
    assert_eq!(places(&config, garbage), (true, 0), "a dry run moves nothing");
    assert_eq!(cycle(false).trashed, 1);
    assert_eq!(places(&config, garbage), (false, 1));

    // Two at once: what one has moved the other finds gone, and both come to their end.
    std::thread::sleep(Duration::from_millis(GRACE_MS + 100));
    let both = block_on(async {
        tokio::join!(
            run::run_cycle_with(&store, &meta, &config, false, |_| {}),
            run::run_cycle_with(&store, &meta, &config, false, |_| {})
        )
    });
    assert_eq!(both.0.unwrap().deleted + both.1.unwrap().deleted, 1);
    assert_eq!(places(&config, garbage), (false, 0));

    meta.0.lock().unwrap().is_away = true;
    let away = block_on(run::run_cycle_with(&store, &meta, &config, false, |_| {})).unwrap_err();
    assert_eq!(away.to_string(), "gave up: group 0 could not be read; see whether it has a leader");
}
