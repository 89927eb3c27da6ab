//! A process that applies and flushes is killed at any instant, again and again: what it saw flushed is there, and the rest
//! applied anew gives the same state hash and the same rows. `STORE_KILL_RUNS` asks for more.

mod harness;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use base::{GroupId, LogIndex, Prng, mix64};
use harness::{Bench, Model};
use meta::{Machine, RowBatch, Store, StoreEvent};

const GROUPS: [GroupId; 2] = [GroupId(1), GroupId(6)];
/// Where the child works.
const DIR: &str = "STORE_KILL_DIR";
const SEED: &str = "STORE_KILL_SEED";

/// The entry of a group at an index: always the same.
fn batch(group: GroupId, index: LogIndex) -> RowBatch {
    let mut prng = Prng::new(mix64(index.0 << 8 | u64::from(group.0)));
    let mut rows = Model::new();
    let mut gone = Vec::new();
    for _ in 0..1 + prng.below(6) {
        let key = vec![0x10 + prng.below(2) as u8, prng.below(80) as u8];
        if prng.one_in(4) {
            gone.push(key);
        } else {
            rows.insert(key, vec![prng.next_u64() as u8; prng.below(700) as usize]);
        }
    }
    gone.retain(|key| !rows.contains_key(key));
    gone.sort();
    gone.dedup();
    let mut rows: Vec<_> = rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
    rows.extend(gone.into_iter().map(|key| (key, None)));
    rows.sort();
    rows.into_iter().collect()
}

/// The state hash after a batch.
fn hash(before: u64, batch: &RowBatch) -> u64 {
    batch.iter().fold(before, |hash, (key, value)| {
        let bytes = key.iter().chain(value.unwrap_or_default());
        bytes.fold(mix64(hash ^ value.is_some() as u64), |hash, byte| mix64(hash ^ u64::from(*byte)))
    })
}

fn apply(bench: &mut Bench, group: GroupId) -> LogIndex {
    let before = bench.store.machine(group).cloned().unwrap_or_default();
    let index = before.applied_index.next();
    let batch = batch(group, index);
    let machine = Machine { applied_index: index, state_hash: hash(before.state_hash, &batch), ..before };
    bench.store.write(group, &batch, &machine);
    index
}

fn open(dir: &Path) -> Bench {
    Bench::open_with(dir, |settings| {
        settings.memtable_bytes = 16 << 10;
        settings.cache_bytes = 8 << 10;
        settings.block_cache_bytes = 64 << 10;
    })
    .expect("the store opens after every kill")
}

/// Not a test by itself: the process that is killed. It says which index of which group it saw flushed.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child() {
    let dir = std::env::var(DIR).expect("the parent names a directory");
    let mut prng = Prng::new(std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).expect("and a seed"));
    let mut bench = open(Path::new(&dir));
    let mut out = std::io::stdout();
    loop {
        let group = GROUPS[prng.below(2) as usize];
        apply(&mut bench, group);
        if (bench.store.wants_freeze() || prng.one_in(30))
            && let Some(frozen) = bench.store.freeze()
        {
            bench.store.flush(frozen.id);
        }
        while let Some(event) = bench.store.poll_event() {
            match event {
                StoreEvent::Flushed(done) => {
                    for (group, index) in done.applied {
                        writeln!(out, "flushed {} {}", group.0, index.0).expect("the parent listens");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What the rows and the hash of a group are at an index, found once and carried on.
#[derive(Default)]
struct Truth {
    index: LogIndex,
    hash: u64,
    rows: Model,
}

impl Truth {
    fn advance(&mut self, group: GroupId, to: LogIndex) {
        assert!(self.index <= to, "group {group} is at {to}, and was at {} before", self.index);
        while self.index < to {
            self.index = self.index.next();
            let batch = batch(group, self.index);
            self.hash = hash(self.hash, &batch);
            for (key, value) in batch.iter() {
                match value {
                    Some(value) => drop(self.rows.insert(key.to_vec(), value.to_vec())),
                    None => drop(self.rows.remove(key)),
                }
            }
        }
    }
}

#[test]
fn what_was_flushed_before_a_kill_is_there_and_the_rest_gives_the_same_state() {
    let runs = std::env::var("STORE_KILL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(25u64);
    let dir = tempfile::tempdir().unwrap();
    let mut prng = Prng::new(runs);
    let mut truths: HashMap<GroupId, Truth> = HashMap::new();
    let (mut flushes, mut again) = (0u64, 0u64);
    for run in 0..runs {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .env(SEED, run.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said: HashMap<GroupId, u64> = HashMap::new();
        let mut note = |line: &str| {
            let mut words = line.split(' ').skip_while(|word| *word != "flushed").skip(1);
            let group = words.next().and_then(|word| word.parse().ok()).map(GroupId);
            if let (Some(group), Some(index)) = (group, words.next().and_then(|word| word.parse().ok())) {
                said.insert(group, index);
                flushes += 1;
            }
        };
        let wanted = 4 + prng.below(40) as usize;
        lines.by_ref().take(wanted).for_each(|line| note(&line));
        // Anywhere within the next flush and compaction.
        (0..prng.below(20_000)).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.code().is_none(), "run {run}: the child ended by itself: {status}");
        // What it said before it died counts, too. A line that was cut off in its middle does not.
        let mut rest: Vec<String> = lines.collect();
        rest.pop();
        rest.iter().for_each(|line| note(line));

        let mut bench = open(dir.path());
        for group in GROUPS {
            let machine = bench.store.machine(group).cloned().unwrap_or_default();
            let flushed = said.get(&group).copied().unwrap_or(0);
            let applied = machine.applied_index;
            assert!(applied.0 >= flushed, "run {run}: {flushed} of group {group} was flushed, {applied} is there");
            let truth = truths.entry(group).or_default();
            truth.advance(group, applied);
            assert_eq!(machine.state_hash, truth.hash, "run {run}, group {group} at {applied}");
            assert_eq!(bench.all(group), truth.rows, "run {run}, group {group} at {applied}");
            // The log's next entries again.
            for _ in 0..prng.below(9) {
                let index = apply(&mut bench, group);
                truth.advance(group, index);
                again += 1;
            }
            assert_eq!(bench.store.machine(group).unwrap_or(&Machine::default()).state_hash, truth.hash);
            assert_eq!(bench.all(group), truth.rows, "run {run}, group {group} after more entries");
        }
        // Else they would be lost with this open, and the truth is ahead of them.
        bench.checkpoint();
        bench.store.close();
    }
    assert!(flushes > runs * 4 && again > runs, "{flushes} flushes, {again} entries again");
}
