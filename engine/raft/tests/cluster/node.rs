//! One node of the test cluster: the group, its log, its disk, a machine that hashes what it applies.

use std::collections::VecDeque;

use base::record::EntryKind;
use base::{LogIndex, Mono, NodeId, SyncEpoch, Term, mix64};
use raft::{Boot, Config, Effects, Input, Log, Outcome, Outgoing, Raft, Settings};

use crate::common::{GROUP, Image, TestLog, voters};

/// The state of a machine at an index, as a snapshot carries it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub index: u64,
    pub term: Term,
    pub crc: u32,
    pub hash: u64,
    pub config: Config,
    pub config_index: u64,
}

/// An epoch on its way to the disk; the image is gone if it was overtaken.
pub struct Flight {
    pub done: Mono,
    pub epoch: u64,
    pub image: Image,
}

/// What a leader committed in one step.
pub struct Rise {
    pub first: u64,
    pub last: u64,
    /// In force when the step began, and when it was done, with their indexes. The first commit of a step counts the
    /// first; committing it may append another, whose quorum then counts at once.
    pub before: (LogIndex, Config),
    pub after: (LogIndex, Config),
}

/// One node.
pub struct Node {
    pub id: NodeId,
    pub is_up: bool,
    pub raft: Raft,
    pub log: TestLog,
    pub incarnation: u64,
    /// On disk: the synced log and hard state, and the newest checkpoint of the machine.
    pub disk: Image,
    pub checkpoint: Snapshot,
    pub flights: VecDeque<Flight>,
    pub after_sync: Vec<(u64, Outgoing)>,
    /// The machine.
    pub state: Snapshot,
    pub told_commit: u64,
    /// A snapshot is in the log and waits for this epoch.
    pub installing: Option<(u64, Snapshot)>,
    /// Reads that wait: their term, position, and what was committed when they came.
    pub reads: Vec<(Term, u64, u64)>,
    /// The same of reads at a follower: its own position.
    pub follower_reads: Vec<(u64, u64)>,
    pub next_heartbeat: Mono,
    pub restart_at: Mono,
    /// For the oracle: term, commit, applied, and the first entry it has not seen.
    pub seen: (Term, LogIndex, LogIndex),
    pub checked: u64,
    /// What it committed as a leader and the oracle has not judged.
    pub rises: Vec<Rise>,
    /// The configuration in force, as of its last step.
    known_config: (LogIndex, Config),
    pub effects: Effects,
}

impl Node {
    /// A node with an empty disk. `config` is empty for one that will join.
    pub fn new(id: NodeId, config: Config, seed: u64, now: Mono) -> Node {
        let state = Snapshot { index: 0, term: Term(0), crc: 0, hash: 0, config, config_index: 0 };
        let log = TestLog::new(Image::empty(), 1, seed);
        let raft = boot(id, seed, 1, &state, &log, 0, now);
        let known_config = (raft.config_index(), raft.config().clone());
        Node {
            id,
            is_up: true,
            raft,
            log,
            incarnation: 1,
            disk: Image::empty(),
            checkpoint: state.clone(),
            flights: VecDeque::new(),
            after_sync: Vec::new(),
            state,
            told_commit: 0,
            installing: None,
            reads: Vec::new(),
            follower_reads: Vec::new(),
            next_heartbeat: now,
            restart_at: Mono::MAX,
            seen: Default::default(),
            checked: 1,
            rises: Vec::new(),
            known_config,
            effects: Effects::default(),
        }
    }

    pub fn step(&mut self, input: Input<'_>) -> Outcome {
        self.note_config();
        let (was_leader, term, commit) = (self.raft.is_leader(), self.raft.term(), self.raft.commit_index());
        let outcome = self.raft.step(&mut self.log, input);
        let led = self.raft.term() == term && (was_leader || self.raft.is_leader());
        if led && self.raft.commit_index() > commit {
            let before = self.known_config.clone();
            self.note_config();
            let (first, last) = (commit.0 + 1, self.raft.commit_index().0);
            self.rises.push(Rise { first, last, before, after: self.known_config.clone() });
        }
        outcome
    }

    fn note_config(&mut self) {
        if (self.raft.config_index(), self.raft.config()) != (self.known_config.0, &self.known_config.1) {
            self.known_config = (self.raft.config_index(), self.raft.config().clone());
        }
    }

    /// The process dies; `synced` of the epochs in flight reached the disk all the same.
    pub fn crash(&mut self, synced: usize, restart_at: Mono) {
        self.is_up = false;
        self.restart_at = restart_at;
        if let Some(flight) = self.flights.drain(..).take(synced).next_back() {
            self.disk = flight.image;
        }
        self.after_sync.clear();
        self.installing = None;
        self.reads.clear();
        self.follower_reads.clear();
    }

    /// It starts again from what its disk holds.
    pub fn restart(&mut self, seed: u64, commit_floor: u64, now: Mono) {
        self.is_up = true;
        self.restart_at = Mono::MAX;
        self.incarnation += 1;
        self.state = self.checkpoint.clone();
        let Snapshot { index, term, crc, .. } = self.state;
        if index > 0 && self.disk.term(index) != Some(term) && index >= self.disk.first {
            self.disk.install(index, term, crc);
        }
        let closes_one_in = self.log.closes_one_in;
        self.log = TestLog::new(self.disk.clone(), self.log.open + 1, seed);
        self.log.closes_one_in = closes_one_in;
        self.raft = boot(self.id, seed, self.incarnation, &self.state, &self.log, commit_floor, now);
        self.told_commit = index;
        self.seen = (self.disk.hard_state.term, LogIndex(0), LogIndex(0));
        self.checked = 1;
        self.next_heartbeat = now;
    }

    pub fn has_on_disk(&self, index: u64, term: Term) -> bool {
        self.checkpoint.index >= index || index < self.disk.first || self.disk.term(index) == Some(term)
    }

    /// Applies up to `count` committed entries.
    pub fn apply(&mut self, count: u64) -> bool {
        let target = self.told_commit.min(self.state.index + count);
        if target <= self.state.index || self.installing.is_some() {
            return false;
        }
        for index in self.state.index + 1..=target {
            let entry = self.log.image.entry(index).expect("what is committed and not applied is held").clone();
            if entry.kind == EntryKind::Config {
                self.state.config = Config::decode(entry.payload()).expect("checked when it was taken");
                self.state.config_index = index;
            }
            let hash = mix64(self.state.hash ^ mix64(u64::from(entry.crc) ^ entry.term.0));
            self.state = Snapshot { index, term: entry.term, crc: entry.crc, hash, ..self.state.clone() };
        }
        self.step(Input::Applied { index: LogIndex(target) });
        true
    }

    /// The machine is on disk as it is now, and the log lets go of what lies below, but for `kept` entries.
    pub fn compact(&mut self, kept: u64) {
        if self.installing.is_none() && self.state.index <= self.raft.persisted_index().0 {
            let known = self.raft.config_at(LogIndex(self.state.index)).map(|(_, config)| config);
            assert!(known.is_none_or(|known| *known == self.state.config), "the configuration of a snapshot");
            self.checkpoint = self.state.clone();
            self.log.image.compact(self.state.index.saturating_sub(kept));
        }
    }

    /// A snapshot arrived and is in the store; the log restarts behind it, on disk with the open epoch.
    pub fn install(&mut self, snapshot: Snapshot) {
        let Snapshot { index, term, crc, .. } = snapshot;
        self.checkpoint = snapshot.clone();
        self.state = snapshot.clone();
        self.log.image.install(index, term, crc);
        self.log.is_written = true;
        self.installing = Some((self.log.open, snapshot));
    }

    /// The open epoch closes and will be synced at `done`.
    pub fn close_epoch(&mut self, done: Mono) {
        for (epoch, image) in self.log.closed.drain(..) {
            self.flights.push_back(Flight { done, epoch, image });
        }
        if self.log.is_written {
            let (epoch, image) = self.log.close();
            self.flights.push_back(Flight { done, epoch, image });
        }
    }

    /// One sync ends: the group hears of it, then of an install that waited for it. Returns what may leave now.
    pub fn finish_sync(&mut self) -> Vec<Outgoing> {
        let flight = self.flights.pop_front().expect("the caller saw it");
        self.disk = flight.image;
        self.step(Input::Synced { epoch: SyncEpoch(flight.epoch) });
        if self.installing.as_ref().is_some_and(|(epoch, _)| *epoch <= flight.epoch) {
            let (_, snapshot) = self.installing.take().expect("just seen");
            let (index, config) = (LogIndex(snapshot.index), snapshot.config.encode());
            self.step(Input::SnapshotInstalled { index, term: snapshot.term, config: &config });
            self.told_commit = self.told_commit.max(snapshot.index);
        }
        let mut out = Vec::new();
        self.after_sync.retain(|(epoch, message)| {
            if *epoch <= flight.epoch {
                out.extend(self.raft.release(message));
            }
            *epoch > flight.epoch
        });
        out
    }
}

fn boot(id: NodeId, seed: u64, incarnation: u64, state: &Snapshot, log: &TestLog, floor: u64, now: Mono) -> Raft {
    let boot = Boot {
        id,
        group: GROUP,
        seed,
        incarnation,
        hard_state: log.image.hard_state,
        applied_index: LogIndex(state.index),
        commit_floor: LogIndex(floor.min(log.last_index().0)),
        config: state.config.clone(),
        config_index: LogIndex(state.config_index),
        health: raft::Health::Clean,
        now,
        // Short, so that groups fall asleep between two wishes.
        settings: Settings { quiesce_after: Some(base::mono::Span::from_ms(150)), ..Settings::default() },
    };
    Raft::new(boot, log)
}

/// The first members of a cluster of so many voters.
pub fn first_config(count: u64) -> Config {
    voters(&(1..=count).collect::<Vec<_>>())
}
