//! The store against a `BTreeMap` per group: every answer equal, over freezes, flushes, compactions, snapshots into
//! another life and crashes.

mod harness;

use std::collections::{BTreeMap, HashMap};

use base::{GroupId, LogIndex, Prng};
use harness::{Bench, Model, crash_copy, machine};
use meta::{Frozen, RowBatch, Store, StoreEvent, Want};

const GROUPS: u32 = 3;

/// One run: a store, what it should hold, and what it held at every applied index.
struct Run {
    bench: Bench,
    prng: Prng,
    models: HashMap<GroupId, Model>,
    history: HashMap<(GroupId, LogIndex), Model>,
    /// Frozen and not yet allowed to flush.
    waiting: Vec<Frozen>,
    /// Tokens held over other steps.
    held: Vec<u64>,
    /// Groups whose drop was flushed, and the highest index they had before.
    buried: HashMap<GroupId, LogIndex>,
    token: u64,
    snapshot: u64,
    root: tempfile::TempDir,
    crashes: u32,
}

impl Run {
    fn new(seed: u64) -> Run {
        let root = tempfile::tempdir().unwrap();
        let bench = open(&root.path().join("s0"));
        Run {
            bench,
            prng: Prng::new(seed),
            models: HashMap::new(),
            history: HashMap::new(),
            waiting: Vec::new(),
            held: Vec::new(),
            buried: HashMap::new(),
            token: 1,
            snapshot: 1,
            root,
            crashes: 0,
        }
    }

    fn step(&mut self) {
        match self.prng.below(100) {
            0..40 => self.write(),
            40..62 => self.get(),
            62..76 => self.scan(),
            76..82 => self.hold(),
            82..86 => self.let_go(),
            86..91 => self.freeze(),
            91..96 => self.flush(),
            96..98 => self.copy_group(),
            98 if self.prng.one_in(2) => self.failed_install(),
            98 => self.drop_group(),
            _ => self.crash(),
        }
    }

    fn group(&mut self) -> GroupId {
        GroupId(self.prng.below(u64::from(GROUPS)) as u32)
    }

    fn key(&mut self) -> Vec<u8> {
        let table = 0x10 + self.prng.below(2) as u8;
        let mut key = vec![table, self.prng.below(40) as u8];
        if self.prng.one_in(4) {
            key.push(0);
        }
        key
    }

    fn write(&mut self) {
        let group = self.group();
        let mut rows = BTreeMap::new();
        for _ in 0..self.prng.below(8) {
            let deletes = self.prng.one_in(3);
            let value = (!deletes).then(|| vec![self.prng.next_u64() as u8; self.prng.below(60) as usize]);
            rows.insert(self.key(), value);
        }
        let model = self.models.entry(group).or_default();
        for (key, value) in &rows {
            match value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(key),
            };
        }
        // A group that begins anew begins above all it ever had, so that an index names one state.
        let before = self.bench.store.machine(group).map(|machine| machine.applied_index);
        let index = before.unwrap_or_else(|| self.highest(group)).next();
        let model = self.models.get(&group).cloned().unwrap_or_default();
        self.history.insert((group, index), model);
        self.bench.store.write(group, &rows.into_iter().collect::<RowBatch>(), &machine(index));
        assert_eq!(self.bench.store.machine(group), Some(&machine(index)));
    }

    fn highest(&self, group: GroupId) -> LogIndex {
        let of_group = self.history.keys().filter(|(of, _)| *of == group);
        of_group.map(|(_, index)| *index).max().unwrap_or_default()
    }

    fn get(&mut self) {
        let (group, key) = (self.group(), self.key());
        let wanted = self.models.get(&group).and_then(|model| model.get(&key).cloned());
        assert_eq!(self.bench.get(group, &key), wanted, "group {group} key {key:?}");
    }

    fn scan(&mut self) {
        let (group, start, end) = (self.group(), self.key(), self.key());
        let rows_max = 1 + self.prng.below(30) as u32;
        let found = self.bench.scan(group, &start, &end, rows_max);
        let model = self.models.entry(group).or_default();
        let wanted: Vec<_> = match start < end {
            true => model.range(start..end).take(rows_max as usize).map(|(k, v)| (k.clone(), v.clone())).collect(),
            false => Vec::new(),
        };
        assert_eq!(found, wanted);
    }

    /// Prefetches without waiting: the answer comes at any later step.
    fn hold(&mut self) {
        let group = self.group();
        let mut wants: Vec<_> = (0..self.prng.below(4)).map(|_| Want::Key(self.key())).collect();
        let (start, end, rows_max) = (self.key(), self.key(), 1 + self.prng.below(20) as u32);
        wants.push(Want::Range { keys: start..end, rows_max });
        self.token += 1;
        self.bench.store.prefetch(self.token, group, &wants);
        self.held.push(self.token);
    }

    fn let_go(&mut self) {
        if !self.held.is_empty() {
            let at = self.prng.below(self.held.len() as u64) as usize;
            self.bench.store.release(self.held.swap_remove(at));
        }
    }

    fn freeze(&mut self) {
        self.waiting.extend(self.bench.store.freeze());
    }

    fn flush(&mut self) {
        // Whichever order they are allowed in, they are flushed in the order they were frozen.
        self.waiting.reverse();
        for frozen in self.waiting.drain(..) {
            self.bench.store.flush(frozen.id);
        }
        if self.prng.one_in(2) {
            self.bench.checkpoint();
        }
    }

    /// A snapshot of one group becomes the state of another, with other steps between.
    fn copy_group(&mut self) {
        let (source, target) = (self.group(), self.group());
        self.snapshot += 1;
        let snapshot = self.snapshot;
        let Some(machine_row) = self.bench.store.snapshot_begin(snapshot, source) else { return };
        let frozen_view = self.models[&source].clone();
        assert_eq!(Some(&machine_row), self.bench.store.machine(source));
        self.some_steps();
        let parts = self.bench.parts(snapshot);
        self.bench.store.snapshot_end(snapshot);
        let before = self.bench.store.machine(target).map(|machine| machine.applied_index);
        let machine_row = machine(LogIndex(before.unwrap_or_else(|| self.highest(target)).0 + 10));
        self.bench.install(target, &machine_row, &parts).unwrap();
        assert!(self.bench.store.is_install_pending(target));
        self.history.insert((target, machine_row.applied_index), frozen_view.clone());
        self.models.insert(target, frozen_view);
    }

    fn failed_install(&mut self) {
        let group = self.group();
        self.snapshot += 1;
        let Some(machine_row) = self.bench.store.snapshot_begin(self.snapshot, group) else { return };
        let mut parts = self.bench.parts(self.snapshot);
        self.bench.store.snapshot_end(self.snapshot);
        let at = self.prng.below(parts[0].len() as u64) as usize;
        parts[0][at] ^= 0x10;
        assert!(self.bench.install(group, &machine_row, &parts).is_err());
    }

    /// Gone at once; a crash before the next flush brings it back.
    fn drop_group(&mut self) {
        let group = self.group();
        if self.bench.store.machine(group).is_none() {
            return;
        }
        self.bench.store.drop_group(group);
        self.models.remove(&group);
        assert_eq!(self.bench.store.machine(group), None);
        assert_eq!(self.bench.all(group), Model::new());
        if self.prng.one_in(2) {
            // What was frozen before goes first.
            self.flush();
            if self.bench.checkpoint() {
                self.buried.insert(group, self.highest(group));
            }
        }
    }

    fn some_steps(&mut self) {
        for _ in 0..self.prng.below(6) {
            match self.prng.below(5) {
                0..3 => self.write(),
                3 => self.freeze(),
                _ => self.flush(),
            }
        }
    }

    /// Goes on with what a crash at this instant leaves.
    fn crash(&mut self) {
        self.crashes += 1;
        let dir = self.root.path().join(format!("s{}", self.crashes));
        crash_copy(&self.bench.dir, &dir);
        self.bench = open(&dir);
        self.waiting.clear();
        self.held.clear();
        self.models.clear();
        let groups: Vec<_> = self.bench.store.machines().map(|(group, machine)| (group, machine.clone())).collect();
        for (group, found) in groups {
            assert_eq!(found, machine(found.applied_index));
            let buried = self.buried.get(&group).copied().unwrap_or_default();
            assert!(found.applied_index > buried, "group {group} was dropped at {buried}, durably, and is back");
            let state = self.history[&(group, found.applied_index)].clone();
            assert_eq!(self.bench.all(group), state, "group {group} at {}", found.applied_index);
            self.models.insert(group, state);
        }
    }

    fn finish(&mut self) {
        for group in (0..GROUPS).map(GroupId) {
            let wanted = self.models.get(&group).cloned().unwrap_or_default();
            assert_eq!(self.bench.all(group), wanted);
        }
        assert!(self.bench.aside.iter().all(|event| !matches!(event, StoreEvent::Failed { .. })));
    }
}

fn open(dir: &std::path::Path) -> Bench {
    Bench::open_with(dir, |settings| {
        settings.memtable_bytes = 4 << 10;
        settings.cache_bytes = 4 << 10;
    })
    .unwrap()
}

#[test]
fn every_answer_equals_the_model_over_flushes_snapshots_and_crashes() {
    let runs = std::env::var("STORE_MODEL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(5u64);
    let first = std::env::var("STORE_MODEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    for seed in first..first + runs {
        let mut run = Run::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..400 {
                run.step();
            }
            run.finish();
        }));
        if let Err(panic) = outcome {
            eprintln!("STORE_MODEL_SEED={seed} shows it");
            std::panic::resume_unwind(panic);
        }
    }
}
