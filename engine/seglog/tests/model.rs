//! The log against a plain list per group: appends, truncations, compactions, installs, votes, crashes at any operation.

use std::collections::BTreeMap;

use base::record::EntryKind;
use base::{GroupId, LogIndex, Mono, NodeId, Prng, Term};
use seglog::testing::{MemDisk, MemLogReader, run_ops, run_ops_until_echoed, test_settings};
use seglog::{DiskOp, OpToken, SegLog, Settings, Slice, StateTaken, recover};

/// What a group should hold.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Model {
    first: u64,
    before: (u64, u32),
    entries: Vec<(u64, Vec<u8>)>,
    state: (u64, u64),
    config: Vec<u8>,
    checkpoint: Option<(u64, u64)>,
}

impl Model {
    fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }
}

type Models = BTreeMap<u32, Model>;

/// A log, its model, and the model as it was at each epoch.
struct Bench {
    settings: Settings,
    log: SegLog<MemDisk>,
    model: Models,
    /// Snapshots of the model: what must be there if this epoch is the last that survives.
    history: Vec<(u64, Models)>,
    prng: Prng,
    now: u64,
    groups: u32,
    entry_bytes_max: u64,
    boots: u64,
    /// Operations that are under way.
    out: Vec<(OpToken, DiskOp)>,
    /// What was seen, so that a test which exercises nothing fails.
    seals: u64,
    retirements: u64,
}

impl Bench {
    fn new(seed: u64, entry_bytes_max: u64) -> Bench {
        let settings = test_settings();
        let disk = MemDisk::new(&settings);
        let recovered = recover(&mut MemLogReader::new(&disk), &settings).unwrap();
        let log = SegLog::start(recovered, settings.clone(), disk);
        let (model, history) = (Models::new(), vec![(0, Models::new())]);
        let prng = Prng::new(seed);
        Bench {
            settings,
            log,
            model,
            history,
            prng,
            now: 1,
            groups: 5,
            entry_bytes_max,
            boots: 0,
            out: Vec::new(),
            seals: 0,
            retirements: 0,
        }
    }

    fn append(&mut self, group: u32, term: u64) {
        let bytes = self.prng.below(self.entry_bytes_max) as usize;
        let payload = self.prng.next_u64().to_le_bytes().repeat(bytes.div_ceil(8))[..bytes].to_vec();
        let model = self.model.get_mut(&group).unwrap();
        let index = LogIndex(model.last() + 1);
        model.entries.push((term, payload.clone()));
        self.log.append_new(GroupId(group), EntryKind::Commands, index, Term(term), &payload);
    }

    /// One random change of one random group.
    fn change(&mut self) {
        let group = self.prng.below(u64::from(self.groups)) as u32;
        let id = GroupId(group);
        if !self.model.contains_key(&group) {
            let config = vec![group as u8; 9];
            self.log.new_group(id, &config);
            self.model.insert(group, Model { first: 1, config, ..Model::default() });
            return;
        }
        let term = self.model[&group].entries.last().map_or(self.model[&group].before.0, |(term, _)| *term).max(1);
        let crc = |log: &SegLog<MemDisk>, index: u64| log.crc(id, LogIndex(index)).unwrap();
        match self.prng.below(12) {
            0..=5 => self.append(group, term + u64::from(self.prng.clone().one_in(5))),
            6 => {
                let model = self.model.get_mut(&group).unwrap();
                let from = model.first + self.prng.below(model.entries.len() as u64 + 1);
                model.entries.truncate((from - model.first) as usize);
                self.log.truncate_suffix(id, LogIndex(from));
                self.append(group, term + 1);
            }
            7 | 8 => {
                let model = self.model.get_mut(&group).unwrap();
                let state = (model.state.0 + self.prng.below(2), self.prng.below(3) + 1);
                let state = if state.0 == model.state.0 { (state.0, model.state.1.max(1)) } else { state };
                if let StateTaken::Taken(_) = self.log.set_state(id, Term(state.0), NodeId(state.1)) {
                    model.state = state;
                }
            }
            9 => {
                let model = self.model.get_mut(&group).unwrap();
                let first = model.first + self.prng.below(model.entries.len() as u64 + 1);
                if first > model.first {
                    let before = (model.entries[(first - model.first) as usize - 1].0, crc(&self.log, first - 1));
                    model.entries.drain(..(first - model.first) as usize);
                    (model.first, model.before, model.config) = (first, before, vec![first as u8; 20]);
                    self.log.checkpoint(id, LogIndex(first - 1), Term(before.0));
                    model.checkpoint = Some((first - 1, before.0));
                    self.log.truncate_prefix(id, LogIndex(first), Term(before.0), before.1, &[first as u8; 20]);
                }
            }
            10 if self.prng.one_in(4) => {
                let model = self.model.get_mut(&group).unwrap();
                let index = model.last() + 1 + self.prng.below(10);
                let config = vec![3; 5];
                self.log.install(id, LogIndex(index), Term(term), 77, &config, false);
                let state = model.state;
                *model = Model { first: index + 1, before: (term, 77), config, state, ..Model::default() };
            }
            11 if !self.model[&group].entries.is_empty() => {
                let model = self.model.get_mut(&group).unwrap();
                let index = model.first + self.prng.below(model.entries.len() as u64);
                let before = (model.entries[(index - model.first) as usize].0, crc(&self.log, index));
                model.entries.drain(..=(index - model.first) as usize);
                (model.first, model.before, model.config) = (index + 1, before, vec![4; 7]);
                self.log.install(id, LogIndex(index), Term(before.0), before.1, &[4; 7], true);
            }
            _ => {}
        }
    }

    fn turn(&mut self) {
        for _ in 0..self.prng.below(8) {
            let before = self.log.open_epoch().0;
            let model = self.model.clone();
            self.change();
            // A change that rolled to the next frame left the one before as it was: what a crash between them leaves.
            if self.log.open_epoch().0 != before {
                self.history.push((before, model));
            }
            self.history.push((self.log.covering_epoch().0, self.model.clone()));
        }
        self.now += self.prng.below(4) * 1_000_000;
        self.log.handle_turn_end(Mono(self.now));
        self.history.push((self.log.covering_epoch().0, self.model.clone()));
    }

    /// Runs some of the operations asked for; true when the crash came. The ring's end in any order, the storage
    /// thread's in theirs.
    fn run_some(&mut self, crash_in: &mut u64) -> bool {
        loop {
            while let Some(op) = self.log.poll_op() {
                self.out.push(op);
            }
            let first = self.out.iter().position(|(_, op)| !op.is_ring());
            let free: Vec<usize> =
                (0..self.out.len()).filter(|at| self.out[*at].1.is_ring() || Some(*at) == first).collect();
            if free.is_empty() || self.prng.one_in(4) {
                return false;
            }
            let (token, op) = self.out.remove(free[self.prng.below(free.len() as u64) as usize]);
            if *crash_in == 0 {
                self.log.disk_mut().perform_partly(&op, &mut self.prng);
                for (_, op) in std::mem::take(&mut self.out) {
                    if matches!(op, DiskOp::Write { .. }) && self.prng.one_in(2) {
                        self.log.disk_mut().perform_partly(&op, &mut self.prng);
                    }
                }
                return true;
            }
            *crash_in -= 1;
            self.seals += u64::from(matches!(op, DiskOp::Activate { .. }));
            self.retirements += u64::from(matches!(op, DiskOp::Retire { .. }));
            let result = self.log.disk_mut().perform(&op);
            self.log.handle_op_done(token, result).unwrap();
        }
    }

    /// Carries out what is under way, so that the helpers of the twin can go on from there.
    fn run_out(&mut self) {
        for (token, op) in std::mem::take(&mut self.out) {
            let result = self.log.disk_mut().perform(&op);
            self.log.handle_op_done(token, result).unwrap();
        }
    }

    fn crash_and_recover(&mut self) {
        let persisted = self.log.persisted_epoch().0;
        let mut disk = self.log.disk().clone();
        if self.prng.one_in(4) {
            disk.kill()
        } else {
            disk.crash(&mut self.prng)
        }
        let recovered = recover(&mut MemLogReader::new(&disk), &self.settings).expect("a crash is no damage");
        let last = recovered.report().last_frame_seq;
        assert!(last >= persisted, "frame {persisted} was persisted and the log ends at {last}");
        let found: Models = recovered
            .groups()
            .iter()
            .filter(|group| group.is_begun)
            .map(|group| (group.group.0, group.first.0, group.last.0))
            .map(|(group, first, last)| {
                (group, Model { first, entries: vec![(0, vec![]); (last + 1 - first) as usize], ..Model::default() })
            })
            .collect();
        for segment in recovered.segments() {
            disk.open_existing(segment.slot, segment.segment_seq);
        }
        self.boots += 1;
        self.settings.salt_seed = self.boots * 1000 + 7;
        self.settings.batches_in_flight = 1 + (self.boots % 2) as u8;
        self.log = SegLog::start(recovered, self.settings.clone(), disk);
        let wanted = self.history.iter().rev().find(|(epoch, _)| *epoch <= last).unwrap().1.clone();
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        self.model = wanted;
        // A vote of a frame that was cut may stand: it is then the newer one.
        for (group, model) in &mut self.model {
            let (term, vote) = self.log.state(GroupId(*group));
            assert!((term.0, vote.0) >= model.state || term.0 > model.state.0, "group {group} forgot a vote");
            model.state = (term.0, vote.0);
        }
        self.check();
        let epoch = self.log.open_epoch().0;
        self.history = vec![(0, self.model.clone()), (last, self.model.clone()), (epoch, self.model.clone())];
    }

    /// The log answers as the model does, with bytes.
    fn check(&mut self) {
        for (group, model) in &self.model {
            let id = GroupId(*group);
            assert!(self.log.has_group(id));
            assert_eq!((self.log.first_index(id).0, self.log.last_index(id).0), (model.first, model.last()), "{group}");
            assert_eq!(self.log.term(id, LogIndex(model.first - 1)), Some(Term(model.before.0)));
            assert_eq!(self.log.crc(id, LogIndex(model.first - 1)), Some(model.before.1));
            assert_eq!(self.log.term(id, LogIndex(model.last() + 1)), None);
            assert_eq!(self.log.group_config_prefix(id), model.config);
            assert_eq!(self.log.last_checkpoint(id).map(|(index, term)| (index.0, term.0)), model.checkpoint);
            assert_eq!(self.log.state(id), (Term(model.state.0), NodeId(model.state.1)));
            for (at, (term, _)) in model.entries.iter().enumerate() {
                assert_eq!(self.log.term(id, LogIndex(model.first + at as u64)), Some(Term(*term)));
            }
        }
        for (group, model) in self.model.clone() {
            let id = GroupId(group);
            for (at, (term, payload)) in model.entries.iter().enumerate() {
                let index = LogIndex(model.first + at as u64);
                while self.log.entry(id, index) == Slice::Cold {
                    self.log.fault_in(id, index, LogIndex(model.last()));
                    run_ops(&mut self.log);
                }
                let Slice::InMemory(record) = self.log.entry(id, index) else { panic!("it was faulted in") };
                assert_eq!((record.header().term, record.payload()), (Term(*term), payload.as_slice()));
            }
            if !model.entries.is_empty() {
                let (first, last) = (LogIndex(model.first), LogIndex(model.last()));
                let mut out = Vec::new();
                self.log.records(id, first, last, &mut out).unwrap();
                let (fits, bytes) = self.log.fit(id, first, last, u32::MAX);
                assert_eq!((fits, bytes as usize), (last, out.len()));
                assert_eq!(self.log.fit(id, first, last, 0).0, first);
            }
        }
    }
}

/// Returns boots, segments activated beyond one a boot, and retirements.
fn run(seed: u64, entry_bytes_max: u64, turns: u64, crash_every: u64) -> [u64; 3] {
    let mut bench = Bench::new(seed, entry_bytes_max);
    let mut crash_in = bench.prng.below(crash_every) + 1;
    for _ in 0..turns {
        bench.turn();
        if bench.run_some(&mut crash_in) {
            bench.crash_and_recover();
            crash_in = bench.prng.below(crash_every) + 1;
        }
    }
    bench.run_out();
    run_ops_until_echoed(&mut bench.log);
    bench.check();
    bench.crash_and_recover();
    [bench.boots, bench.seals.saturating_sub(bench.boots), bench.retirements]
}

fn run_all(seeds: std::ops::Range<u64>, entry_bytes_max: u64, turns: u64, crash_every: u64) -> [u64; 3] {
    seeds.fold([0; 3], |sum, seed| {
        let seen = run(seed, entry_bytes_max, turns, crash_every);
        [sum[0] + seen[0], sum[1] + seen[1], sum[2] + seen[2]]
    })
}

#[test]
fn a_log_of_small_entries_survives_crashes_at_any_operation() {
    let [boots, _, retirements] = run_all(0..20, 300, 150, 40);
    assert!(boots > 100 && retirements > 20, "{boots} boots, {retirements} retirements");
}

#[test]
fn a_log_of_large_entries_switches_segments_collects_and_survives() {
    let [boots, seals, retirements] = run_all(100..108, 700_000, 60, 60);
    assert!(boots > 10 && seals > 30 && retirements > 10, "{boots} boots, {seals} seals, {retirements} retirements");
}
