//! One node of a model: the real core, its log, its disk, and the messages that wait for the disk.

use base::record::Records;
use base::{LogIndex, Mono, NodeId, Span, SyncEpoch};
use ours::testing::forget_history;
use ours::{Body, Boot, Config, Effects, Health, Input, Outcome, Outgoing, Raft, Settings};

use crate::log::{GROUP, Image, ModelLog};
use crate::net::{Message, print};
use crate::plan::Driver;

/// Time stands still: what a clock would decide is an action of the model instead. With an empty election timeout no
/// promise of loyalty holds, so every election that a clock could ever allow is looked at.
const NOW: Mono = Mono(1_000_000_000_000);

fn settings() -> Settings {
    let never = Span(u64::MAX / 8);
    Settings {
        heartbeat: never,
        election_min: Span(0),
        election_max: Span(1),
        check_quorum: never,
        transfer_abort: never,
        snapshot_abort: never,
        disk_lag_max: never,
        lease: None,
        quiesce_after: None,
        slow_disk_extra: Span(0),
        promote_learners: false,
        doubt_wait: None,
        ..Settings::default()
    }
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// The group under test.
    pub raft: Raft,
    /// In memory.
    pub log: ModelLog,
    /// On disk.
    pub disk: Image,
    /// Counts the starts.
    pub incarnation: u64,
    /// What leaves when the open epoch is persisted.
    pub waiting: Vec<Outgoing>,
    /// Stands for all of the above when states are compared.
    pub print: u64,
}

/// What came out of a turn.
#[derive(Default)]
pub struct Output {
    /// Messages that left.
    pub sent: Vec<Message>,
    /// The commit index rose to here.
    pub commit: Option<LogIndex>,
}

impl Node {
    /// A node that never ran.
    #[must_use]
    pub fn new(id: NodeId, config: &Config, driver: Driver) -> Node {
        Node::boot(id, config, Image::default(), 1, driver)
    }

    /// The process dies and starts again: what was not synced is lost, and so are the last `lost` entries on disk.
    #[must_use]
    pub fn restart(&self, config: &Config, lost: usize, driver: Driver) -> Node {
        let mut disk = self.disk.clone();
        disk.entries.truncate(disk.entries.len().saturating_sub(lost));
        Node::boot(self.raft.id(), config, disk, self.incarnation + 1, driver)
    }

    fn boot(id: NodeId, config: &Config, disk: Image, incarnation: u64, driver: Driver) -> Node {
        let log = ModelLog { image: disk.clone(), open: SyncEpoch(1), skips_joint: driver == Driver::SkipsJoint };
        let boot = Boot {
            id,
            group: GROUP,
            seed: 0,
            incarnation,
            hard_state: disk.hard_state,
            applied_index: LogIndex(0),
            commit_floor: LogIndex(0),
            config: config.clone(),
            config_index: LogIndex(0),
            health: Health::Clean,
            now: NOW,
            settings: settings(),
        };
        let raft = Raft::new(boot, &log);
        let mut node = Node { raft, log, disk, incarnation, waiting: Vec::new(), print: 0 };
        node.settle(driver, &mut Output::default());
        node
    }

    /// Something in memory is not on disk.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        !self.disk.is_same(&self.log.image)
    }

    /// A message arrives.
    pub fn deliver(&mut self, message: &Message, driver: Driver, out: &mut Output) {
        let mut body = message.body;
        let is_vote_unsynced = self.disk.hard_state != self.log.image.hard_state;
        if driver.asks_before_sync() && is_vote_unsynced && matches!(body, Body::VoteResp { .. }) {
            return;
        }
        if driver.ignores_incarnations() {
            match &mut body {
                Body::VoteResp { incarnation, .. } | Body::PreVoteResp { incarnation, .. } => {
                    *incarnation = self.incarnation;
                }
                _ => {}
            }
        }
        let bytes: Vec<u8> = message.entries.iter().flat_map(|entry| entry.raw.iter().copied()).collect();
        let first = match body {
            Body::AppendEntries { prev_index, .. } => prev_index.next(),
            _ => LogIndex(1),
        };
        let count = u16::try_from(message.entries.len()).expect("a handful");
        let entries = Records::check_entries(&bytes, count, GROUP, first).expect("entries travel unchanged");
        self.step(Input::Message { from: message.from, body, entries, now: NOW });
        self.settle(driver, out);
    }

    /// The deadline passed, and `voters` answered its pre-vote with yes: one action, since a pre-vote only restrains.
    pub fn time_out(&mut self, voters: &[NodeId], driver: Driver, out: &mut Output) {
        self.step(Input::Campaign { now: NOW });
        let mut effects = Effects::default();
        self.raft.drain(&self.log, &mut effects);
        let term = base::Term(self.raft.term().0 + 1);
        let body = Body::PreVoteResp { term, rejected: false, incarnation: self.incarnation };
        let own = self.raft.id();
        for from in voters.iter().copied().filter(|from| *from != own) {
            self.step(Input::Message { from, body, entries: Records::EMPTY, now: NOW });
        }
        self.settle(driver, out);
    }

    /// A client proposes; the payload names the leader, so that two leaders write different entries.
    pub fn propose(&mut self, driver: Driver, out: &mut Output) -> Outcome {
        let payload = self.raft.id().0.to_le_bytes();
        let outcome = self.step(Input::Propose { payload: &payload, now: NOW });
        self.settle(driver, out);
        outcome
    }

    /// The members change.
    pub fn change_config(&mut self, change: &ours::ConfigChange, driver: Driver, out: &mut Output) -> Outcome {
        let outcome = self.step(Input::ChangeConfig { change, now: NOW });
        self.settle(driver, out);
        outcome
    }

    /// The link to `peer` is up, in this incarnation of it.
    pub fn connect(&mut self, peer: NodeId, incarnation: u64, driver: Driver, out: &mut Output) {
        self.step(Input::PeerUp { peer, incarnation });
        self.settle(driver, out);
    }

    /// The disk has everything.
    pub fn sync(&mut self, driver: Driver, out: &mut Output) {
        self.disk = self.log.image.clone();
        self.step(Input::Synced { epoch: self.log.open });
        for message in std::mem::take(&mut self.waiting) {
            if let Some(message) = self.raft.release(&message) {
                self.send(message, out);
            }
        }
        self.settle(driver, out);
    }

    /// A heartbeat's item for `peer`.
    pub fn heartbeat(&mut self, peer: NodeId, driver: Driver, out: &mut Output) {
        if let Some(body) = self.raft.heartbeat(peer, NOW) {
            self.send(Outgoing { to: peer, body }, out);
        }
        self.settle(driver, out);
    }

    fn step(&mut self, input: Input<'_>) -> Outcome {
        self.raft.step(&mut self.log, input)
    }

    /// Drains until nothing is left to say; what is committed is applied at once.
    fn settle(&mut self, driver: Driver, out: &mut Output) {
        let mut effects = Effects::default();
        while self.raft.is_dirty() {
            effects.clear();
            self.raft.drain(&self.log, &mut effects);
            if let Some(hard_state) = effects.hard_state {
                self.log.image.hard_state = hard_state;
                self.raft.hard_state_epoch(self.log.open);
            }
            effects.send_now.drain(..).for_each(|message| self.send(message, out));
            for message in effects.send_after_sync.drain(..) {
                if driver.sends_before_sync(&message.body) {
                    self.send(message, out);
                } else {
                    self.waiting.push(message);
                }
            }
            if let Some(index) = effects.commit {
                out.commit = Some(index);
                self.step(Input::Applied { index });
            }
        }
        forget_history(&mut self.raft, &[self.log.open]);
        self.print = print(&(&self.raft, &self.log.image, &self.disk, &self.waiting, self.incarnation));
    }

    fn send(&self, message: Outgoing, out: &mut Output) {
        let entries = match message.body {
            Body::AppendEntries { prev_index, count, .. } => {
                let first = usize::try_from(prev_index.0).expect("a handful");
                self.log.image.entries[first..first + usize::from(count)].to_vec()
            }
            _ => Vec::new(),
        };
        out.sent.push(Message::new(self.raft.id(), self.incarnation, message.to, message.body, entries));
    }
}
