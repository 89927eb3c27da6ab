//! One node around its `Raft`: log, machine, and the queues that its caller owes it.

use std::collections::VecDeque;

use base::record::EntryKind;
use base::{LogIndex, Mono, NodeId, Term, mix64};
use raft::{Boot, Config, Effects, HardState, Outgoing, Raft, Settings};

use crate::log_twin::{GROUP, TwinLog};

/// The applied state: a hash instead of rows.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub applied: LogIndex,
    pub term: Term,
    pub crc: u32,
    pub hash: u64,
    pub config: Vec<u8>,
    pub config_index: LogIndex,
}

/// What was seen of this life; only ever rises.
#[derive(Default)]
pub struct Seen {
    pub term: Term,
    pub vote: Option<NodeId>,
    pub commit: LogIndex,
    /// The newest term that it led.
    pub led: Term,
}

pub struct Node {
    pub id: NodeId,
    /// `None` while it is down.
    pub raft: Option<Raft>,
    pub log: TwinLog,
    /// What the store has applied, and what of it survives.
    pub machine: Machine,
    pub disk_machine: Machine,
    pub incarnation: u64,
    pub seen: Seen,
    pub effects: Effects,
    /// Told to apply up to here.
    pub commit: LogIndex,
    /// A snapshot is on its way into the store; then it waits for its epoch in the log.
    pub installing: Option<Machine>,
    pub installed: Option<(u64, Machine)>,
    /// The newest epoch that holds something of the group, and those to hear of.
    pub last_epoch: u64,
    pub written: VecDeque<u64>,
    pub after_sync: VecDeque<(u64, Outgoing)>,
    /// Closed epochs on their way to the disk.
    pub flying: VecDeque<u64>,
    pub sync_due: Mono,
    /// Reads that joined: position, and what was committed anywhere by then.
    pub reads: VecDeque<(u64, LogIndex)>,
    /// The same of reads at a follower, by positions of its own.
    pub follower_reads: VecDeque<(u64, LogIndex)>,
    pub confirmed: u64,
    pub timer: Mono,
    pub is_lagging: bool,
    pub clock: Clock,
    /// The machine is suspended until then: its clock stands still and nothing happens on it.
    pub asleep_until: Mono,
    /// Its disk lost something: what others counted on is no longer there.
    pub was_damaged: bool,
    /// The lives of its peers, by the links that are up.
    pub links: std::collections::BTreeMap<NodeId, u64>,
}

/// A node's clock: how far it is ahead of the true time 0, and by how many millionths it is too fast.
#[derive(Clone, Copy)]
pub struct Clock {
    pub ahead: u64,
    pub ppm: i64,
}

impl Clock {
    pub fn at(self, now: Mono) -> Mono {
        Mono(self.ahead + (i128::from(now.0) * i128::from(1_000_000 + self.ppm) / 1_000_000) as u64)
    }

    /// Runs at another rate from now on; what it shows does not jump.
    pub fn set_rate(&mut self, ppm: i64, now: Mono) {
        let shown = self.at(now);
        self.ppm = ppm;
        self.ahead = self.ahead + shown.0 - self.at(now).0;
    }

    /// The first true time at which it shows `local`.
    pub fn when(self, local: Mono) -> Mono {
        let since = i128::from(local.0.saturating_sub(self.ahead));
        Mono((since * 1_000_000 / i128::from(1_000_000 + self.ppm)) as u64 + 1)
    }
}

impl Node {
    pub fn new(id: NodeId, initial: &Config, clock: Clock) -> Node {
        let machine = Machine { config: initial.encode(), ..Machine::default() };
        Node {
            id,
            raft: None,
            log: TwinLog::new(),
            disk_machine: machine.clone(),
            machine,
            incarnation: 0,
            seen: Seen::default(),
            effects: Effects::default(),
            commit: LogIndex(0),
            installing: None,
            installed: None,
            last_epoch: 0,
            written: VecDeque::new(),
            after_sync: VecDeque::new(),
            flying: VecDeque::new(),
            sync_due: Mono(0),
            reads: VecDeque::new(),
            follower_reads: VecDeque::new(),
            confirmed: 0,
            timer: Mono::MAX,
            is_lagging: false,
            clock,
            asleep_until: Mono(0),
            was_damaged: false,
            links: std::collections::BTreeMap::new(),
        }
    }

    /// Memory is gone; of the epochs in flight the first `reached` got to the disk.
    pub fn crash(&mut self, reached: usize) {
        let epoch = self.flying.iter().take(reached).next_back().copied().unwrap_or(0);
        self.log.crash(epoch);
        let (log, disk_machine) = (std::mem::take(&mut self.log), self.disk_machine.clone());
        let (id, incarnation, clock, asleep_until) = (self.id, self.incarnation, self.clock, self.asleep_until);
        let was_damaged = self.was_damaged;
        *self = Node::new(id, &Config::default(), clock);
        (self.asleep_until, self.was_damaged) = (asleep_until, was_damaged);
        (self.log, self.machine, self.disk_machine, self.incarnation) =
            (log, disk_machine.clone(), disk_machine, incarnation);
    }

    /// Starts from what the disk holds.
    pub fn boot(&mut self, seed: u64, now: Mono, settings: Settings) {
        self.incarnation += 1;
        let machine = self.disk_machine.clone();
        if self.log.memory.term(machine.applied) != Some(machine.term) {
            self.log.install((machine.applied, machine.term, machine.crc), false);
        }
        let boot = Boot {
            id: self.id,
            group: GROUP,
            seed,
            incarnation: self.incarnation,
            hard_state: self.log.disk.hard,
            applied_index: machine.applied,
            commit_floor: machine.applied,
            config: Config::decode(&machine.config).expect("written by raft"),
            config_index: machine.config_index,
            health: self.log.disk.health,
            now,
            settings,
        };
        let raft = Raft::new(boot, &self.log);
        self.seen = Seen { term: raft.term(), vote: raft.vote(), commit: raft.commit_index(), led: Term(0) };
        self.commit = machine.applied;
        self.raft = Some(raft);
        // Nothing leaves before the log's first epoch of this life is on disk.
        self.note_written(self.log.open);
    }

    pub fn note_written(&mut self, epoch: u64) {
        if epoch > self.last_epoch {
            self.last_epoch = epoch;
            self.written.push_back(epoch);
        }
    }

    pub fn has_on_disk(&self, index: LogIndex, crc: u32) -> bool {
        let disk = &self.log.disk;
        self.was_damaged || self.disk_machine.applied >= index || disk.base.0 >= index || disk.crc(index) == Some(crc)
    }

    pub fn hard_state(&self) -> HardState {
        let raft = self.raft.as_ref().expect("it is up");
        HardState { term: raft.term(), vote: raft.vote().unwrap_or_default() }
    }

    /// Applies the next committed entry. False if there is none, or a snapshot is in the way.
    pub fn apply_next(&mut self) -> bool {
        if self.machine.applied >= self.commit || self.installing.is_some() || self.installed.is_some() {
            return false;
        }
        let index = self.machine.applied.next();
        assert!(!self.log.memory.lost.contains(&index), "{} applies a lost entry {index}", self.id);
        let entry = self.log.memory.get(index).expect("a committed entry is held until it is applied");
        let machine = &mut self.machine;
        machine.hash = mix64(machine.hash ^ u64::from(entry.crc));
        (machine.applied, machine.term, machine.crc) = (index, entry.term, entry.crc);
        if entry.kind == EntryKind::Config {
            (machine.config, machine.config_index) = (entry.payload(), index);
        }
        true
    }

    /// The store makes what it has applied durable, if the log has it all; then the log forgets, but for `trailing`.
    pub fn checkpoint(&mut self, trailing: u64) {
        let raft = self.raft.as_ref().expect("it is up");
        let is_installing = self.installing.is_some() || self.installed.is_some();
        if is_installing || raft.persisted_index() < self.machine.applied {
            return;
        }
        self.disk_machine = self.machine.clone();
        let through = LogIndex(self.machine.applied.0.min(self.log.memory.last().0.saturating_sub(trailing)));
        if through > self.log.memory.base.0 {
            let epoch = self.log.compact(through);
            self.note_written(epoch.0);
        }
    }
}
