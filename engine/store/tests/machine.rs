//! The metadata machine over the real store: random commands, small memtables, crashes at any point. What was flushed is
//! there after each, what was not is applied again, and rows and state hash are those of a machine in memory.

mod harness;

use std::collections::BTreeMap;

use base::record::EntryKind;
use base::{Acct, BlockHash, GroupId, Jid, LogIndex, Nsid, Prng, Term};
use harness::{Bench, Model, crash_copy};
use meta::*;

const GROUP: GroupId = GroupId(2);
const NSID: Nsid = Nsid(10_000_000_007);
const ENTRIES: u64 = 400;
const STAMP_MS: u64 = 1_750_000_000_000;

/// The content of every file here: nothing. A put of it is told apart by its time.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn path(prng: &mut Prng) -> String {
    (0..1 + prng.below(4)).map(|_| format!("/n{}", prng.below(9))).collect()
}

fn command(prng: &mut Prng, entry: u64) -> Command {
    let (at, target, autorename) = (At::path(&path(prng)), At::path(&path(prng)), prng.one_in(2));
    match prng.below(24) {
        0..=8 => Command::CommitFile(CommitFile {
            at,
            autorename,
            content_hash: EMPTY.parse::<BlockHash>().expect("64 hex digits").0,
            strict: true,
            mode: PutMode::Overwrite,
            client_mtime_ms: Some(entry as i64),
            ..CommitFile::default()
        }),
        9 | 10 => Command::Mkdir(Mkdir { at, autorename }),
        11..=13 => Command::Delete(Delete { at, parent_rev: None }),
        14..=16 => Command::Move(Move { source: at, target, autorename }),
        17 => Command::Copy(Copy { source: at, target, autorename }),
        18 => Command::SetAttr(SetAttr { at, client_mtime_ms: Some(prng.below(99) as i64) }),
        19 => Command::Restore(Restore { at, rev: Jid(prng.below(entry + 1)) }),
        20 => Command::BlocksPresent(vec![PresentBlock {
            hash: BlockHash([prng.below(20) as u8; 32]),
            bytes: 9,
            put_at_ms: u64::MAX,
        }]),
        21 => Command::Sweep { limit: prng.below(9) as u32 },
        22 => Command::JournalTrim { floor: Jid(prng.below(entry + 1)) },
        _ if prng.one_in(2) => Command::Purge { limit: prng.below(9) as u32 },
        _ => Command::BlockSweep { limit: prng.below(9) as u32 },
    }
}

/// The log: payloads of entries 1 and on.
fn log(seed: u64) -> Vec<Vec<u8>> {
    let mut prng = Prng::new(seed);
    let header = CommandHeader { nsid: NSID, ..CommandHeader::default() };
    let init = Command::NamespaceInit { owner: Acct(5), kind: NamespaceKind::Root, grant_bytes: 1 << 30 };
    let mut payloads = Vec::new();
    for entry in 0..ENTRIES {
        let commands = match entry {
            0 => vec![init.clone()],
            _ => (0..1 + prng.below(4)).map(|_| command(&mut prng, entry)).collect(),
        };
        let mut builder = payload::Builder::default();
        for command in &commands {
            let mut bytes = Vec::new();
            encode_command(&header, command, &mut bytes);
            builder.push(&bytes);
        }
        payloads.push(builder.finish(STAMP_MS + entry * 60 * 60 * 1000).to_vec());
    }
    payloads
}

fn entry(index: LogIndex, payload: &[u8]) -> EntryRef<'_> {
    EntryRef { index, term: Term(1), crc: index.0 as u32, kind: EntryKind::Commands, payload }
}

/// Outcomes of an entry, and the state hash after it.
type Told = (Vec<Vec<u8>>, u64);

/// Outcomes and state hash of every entry, and all rows at the end, of a machine that is all in memory.
fn steady(log: &[Vec<u8>]) -> (Vec<Told>, Model) {
    let (mut store, mut applier) = (MemoryStore::new(), Applier::new());
    let mut told = Vec::new();
    for (payload, index) in log.iter().zip(1..) {
        let mut applied = Applied::default();
        applier.apply(&mut store, GROUP, entry(LogIndex(index), payload), &mut applied).expect("nothing is cold");
        let hash = store.machine(GROUP).expect("it was just written").state_hash;
        told.push((applied.outcomes().map(<[u8]>::to_vec).collect(), hash));
    }
    invariants::check(&store.rows(GROUP)).expect("the invariants hold");
    (told, store.rows(GROUP).into_iter().collect())
}

fn open(dir: &std::path::Path) -> Bench {
    Bench::open_with(dir, |settings| {
        settings.memtable_bytes = 8 << 10;
        settings.cache_bytes = 4 << 10;
        settings.block_cache_bytes = 64 << 10;
    })
    .expect("the store opens")
}

fn apply(bench: &mut Bench, applier: &mut Applier, index: LogIndex, payload: &[u8]) -> Vec<Vec<u8>> {
    let (mut applied, mut tokens) = (Applied::default(), Vec::new());
    while applier.apply(&mut bench.store, GROUP, entry(index, payload), &mut applied).is_err() {
        assert!(tokens.len() < 5000, "entry {index} stays cold");
        tokens.push(bench.prefetch(GROUP, applier.wants()));
    }
    tokens.into_iter().for_each(|token| bench.store.release(token));
    applied.outcomes().map(<[u8]>::to_vec).collect()
}

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let log = log(seed);
    let (told, rows) = steady(&log);
    let root = tempfile::tempdir().expect("a directory");
    let mut prng = Prng::new(seed ^ 0xdead);
    let (mut bench, mut applier) = (open(&root.path().join("s0")), Applier::new());
    let mut seen = BTreeMap::from([("crashes", 0), ("applied again", 0), ("checkpoints", 0)]);
    let mut next = 0;
    while next < log.len() {
        let context = format!("seed {seed}, entry {}", next + 1);
        let outcomes = apply(&mut bench, &mut applier, LogIndex(next as u64 + 1), &log[next]);
        assert_eq!(outcomes, told[next].0, "{context}");
        assert_eq!(bench.store.machine(GROUP).map(|machine| machine.state_hash), Some(told[next].1), "{context}");
        next += 1;
        if bench.store.pressure() != Pressure::None || prng.one_in(40) {
            // Sometimes a flush is still under way when the node dies.
            if prng.one_in(2) {
                *seen.get_mut("checkpoints").expect("it is counted") += u64::from(bench.checkpoint());
            } else if let Some(frozen) = bench.store.freeze() {
                bench.store.flush(frozen.id);
            }
        }
        if prng.one_in(60) && seen["crashes"] < 8 {
            *seen.get_mut("crashes").expect("it is counted") += 1;
            let dir = root.path().join(format!("s{}", seen["crashes"]));
            crash_copy(&bench.dir, &dir);
            bench = open(&dir);
            let applied = bench.store.machine(GROUP).map_or(0, |machine| machine.applied_index.0) as usize;
            assert!(applied <= next, "{context}: a crash brings nothing that was never applied");
            let hash = bench.store.machine(GROUP).map(|machine| machine.state_hash);
            assert_eq!(hash, applied.checked_sub(1).map(|at| told[at].1), "{context}: back at entry {applied}");
            *seen.get_mut("applied again").expect("it is counted") += (next - applied) as u64;
            next = applied;
        }
    }
    assert_eq!(bench.all(GROUP), rows, "seed {seed}");
    seen
}

#[test]
fn the_machine_over_tables_and_crashes_is_the_machine_in_memory() {
    let runs = std::env::var("STORE_MODEL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(2u64);
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 1..=runs {
        run(seed).into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    assert!(seen.values().all(|count| *count > 0), "a kind of event never came: {seen:?}");
}
