//! One node of a model: the real core, its log, its disk, and the messages that wait for the disk.

use std::sync::Arc;

use base::mono::Span;
use base::record::Records;
use base::{LogIndex, Mono, NodeId, SyncEpoch};
use ours::testing::{forget_history, renamed};
use ours::{Body, Boot, Config, Effects, HardState, Health, Input, Outcome, Outgoing, Raft, Settings};

use crate::log::{GROUP, Image, ModelLog};
use crate::names::Names;
use crate::net::{Message, print};
use crate::plan::{Driver, Loss, Plan, Timing};

/// Time stands still, but where a plan has a clock: what a timer would decide is an action of the model instead.
pub(crate) const NOW: Mono = Mono(1_000_000_000_000);

/// With an empty election timeout no promise of loyalty holds, so every election that a clock could ever allow is looked
/// at; with leases or rest the usual times count.
fn settings(timing: Timing) -> Settings {
    let never = Span(u64::MAX / 8);
    let usual = Settings::default();
    let (election_min, election_max) = match timing {
        Timing::None => (Span(0), Span(1)),
        Timing::Lease | Timing::Rest => (usual.election_min, usual.election_max),
    };
    Settings {
        // Where heartbeats have a part, each one leaves that is asked for.
        heartbeat: if timing == Timing::None { never } else { Span(0) },
        election_min,
        election_max,
        check_quorum: never,
        transfer_abort: if timing == Timing::Lease { Span(0) } else { never },
        snapshot_abort: never,
        disk_lag_max: never,
        lease: usual.lease.filter(|_| timing == Timing::Lease),
        quiesce_after: Some(Span(0)).filter(|_| timing == Timing::Rest),
        slow_disk_extra: Span(0),
        promote_learners: false,
        doubt_wait: None,
        ..usual
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
    /// What stands for all of the above, by the way in which nodes are renamed.
    pub prints: Vec<u64>,
}

/// What came out of a turn.
#[derive(Default, Debug)]
pub struct Output {
    /// Messages that left.
    pub sent: Vec<Message>,
    /// The commit index rose to here.
    pub commit: Option<LogIndex>,
    /// A message left that promises more than is on disk.
    pub has_lied: bool,
}

impl Node {
    /// A node that never ran.
    #[must_use]
    pub fn new(plan: &Plan, id: NodeId) -> Node {
        Node::boot(plan, id, Image::default(), 1, (Health::Clean, NOW))
    }

    /// The process dies and starts again: what was not synced is lost, and what the plan says of the disk.
    #[must_use]
    pub fn restart(&self, plan: &Plan, now: Mono) -> Node {
        let mut disk = self.disk.clone();
        let last = disk.entries.len();
        let mut health = Health::Clean;
        match plan.loss {
            Loss::Tail => disk.entries.truncate(last.saturating_sub(1)),
            Loss::Bytes if last > 0 => match plan.driver {
                Driver::CutsFaulty => disk.entries.truncate(last - 1),
                _ => {
                    disk.faulty = Some(LogIndex(last as u64));
                    health = Health::Faulty;
                }
            },
            Loss::Head if last > 0 => {
                disk.entries.truncate(last - 1);
                if plan.driver != Driver::TrustsHead {
                    health = Health::RecoveringHead;
                }
            }
            Loss::Nothing | Loss::Bytes | Loss::Head => {}
        }
        Node::boot(plan, self.raft.id(), disk, self.incarnation + 1, (health, now))
    }

    fn boot(plan: &Plan, id: NodeId, disk: Image, incarnation: u64, (health, now): (Health, Mono)) -> Node {
        let log = ModelLog { image: disk.clone(), open: SyncEpoch(1), skips_joint: plan.driver == Driver::SkipsJoint };
        // The first lives began long ago.
        let is_old = incarnation == 1 || plan.driver == Driver::VotesAfterBoot;
        let now = if is_old { Mono(NOW.0 / 2) } else { now };
        let boot = Boot {
            id,
            group: GROUP,
            seed: 0,
            incarnation,
            hard_state: disk.hard_state,
            applied_index: LogIndex(0),
            commit_floor: LogIndex(0),
            config: plan.first_config(id),
            config_index: LogIndex(0),
            health,
            now,
            settings: settings(plan.timing),
        };
        let raft = Raft::new(boot, &log);
        let mut node = Node { raft, log, disk, incarnation, waiting: Vec::new(), prints: Vec::new() };
        node.settle(plan, &mut Output::default());
        node
    }

    /// Something in memory is not on disk.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        !self.disk.is_same(&self.log.image)
    }

    /// Takes the prints anew, once it rests between two turns.
    #[must_use]
    pub fn with_prints(mut self, names: &Names) -> Node {
        let print_of = |way| {
            let name = |id: NodeId| if id == NodeId(0) { id } else { names.name(way, id) };
            let vote = |hard: HardState| HardState { vote: name(hard.vote), ..hard };
            let image = |image: &Image| Image { hard_state: vote(image.hard_state), ..image.clone() };
            let mut waiting: Vec<u64> =
                self.waiting.iter().map(|outgoing| print(&(name(outgoing.to), outgoing.body))).collect();
            waiting.sort_unstable();
            waiting.dedup();
            let raft = if names.ways() == 1 { self.raft.clone() } else { renamed(&self.raft, name) };
            print(&(raft, image(&self.log.image), image(&self.disk), waiting, self.incarnation))
        };
        self.prints = (0..names.ways()).map(print_of).collect();
        self
    }

    /// A message arrives.
    pub fn deliver(&mut self, plan: &Plan, message: &Message, now: Mono, out: &mut Output) {
        let Some(body) = self.as_driven(plan.driver, message, now) else { return };
        let bytes: Vec<u8> = message.entries.iter().flat_map(|entry| entry.raw.iter().copied()).collect();
        let first = body.entries().map_or(LogIndex(1), |(first, _)| first);
        let count = u16::try_from(message.entries.len()).expect("a handful");
        let entries = Records::check_entries(&bytes, count, GROUP, first).expect("entries travel unchanged");
        self.step(Input::Message { from: message.from, body, entries, now });
        self.settle(plan, out);
    }

    /// What a broken driver makes of it.
    fn as_driven(&self, driver: Driver, message: &Message, now: Mono) -> Option<Body> {
        let mut body = message.body;
        let is_vote_unsynced = self.disk.hard_state != self.log.image.hard_state;
        match &mut body {
            Body::VoteResp { .. } if driver.asks_before_sync() && is_vote_unsynced => return None,
            Body::VoteResp { incarnation, .. } if driver.ignores_incarnations() => *incarnation = self.incarnation,
            // As if every answer were of the newest term.
            Body::EntryFetchResp { term, .. } if driver == Driver::OldAnswersCount => *term = base::Term(u64::MAX),
            Body::TimeoutNow { read_position, .. } if driver == Driver::ObeysLate => *read_position = u64::MAX,
            Body::HeartbeatAck { read_position, .. } if driver == Driver::ResumesSoon => *read_position = u64::MAX,
            Body::HeartbeatAck { echo_mono, .. } | Body::AppendResp { echo_mono, .. }
                if driver == Driver::LeaseFromReceipt =>
            {
                *echo_mono = now;
            }
            _ => {}
        }
        Some(body)
    }

    /// The same, at a node that hears a leader and so does not adopt the asker's term.
    pub fn deliver_loyal(&mut self, plan: &Plan, message: &Message, now: Mono, out: &mut Output) {
        if let Body::EntryFetch { term, first_index, first_term, last_index, .. } = message.body {
            let doubt_term = base::Term(0);
            let body = Body::EntryFetch { term, first_index, first_term, last_index, doubt_term };
            self.step(Input::Message { from: message.from, body, entries: Records::EMPTY, now });
            self.settle(plan, out);
        }
    }

    /// The deadline passed, and all voters answered its pre-vote with yes: one action, since a pre-vote only restrains.
    pub fn time_out(&mut self, plan: &Plan, now: Mono, out: &mut Output) {
        let own = self.raft.id();
        let voters: Vec<NodeId> = self.raft.config().voters().filter(|voter| *voter != own).collect();
        self.step(Input::Campaign { now });
        let mut effects = Effects::default();
        self.raft.drain(&self.log, &mut effects);
        let term = base::Term(self.raft.term().0 + 1);
        let body = Body::PreVoteResp { term, rejected: false, incarnation: self.incarnation };
        for from in voters {
            self.step(Input::Message { from, body, entries: Records::EMPTY, now });
        }
        self.settle(plan, out);
    }

    /// A client proposes. The payload names the term, hence the leader, unless two lead in one term.
    pub fn propose(&mut self, plan: &Plan, now: Mono, out: &mut Output) -> Outcome {
        let payload = self.raft.term().0.to_le_bytes();
        self.take(plan, Input::Propose { payload: &payload, now }, out)
    }

    /// Any input that needs nothing else.
    pub fn take(&mut self, plan: &Plan, input: Input<'_>, out: &mut Output) -> Outcome {
        let outcome = self.step(input);
        self.settle(plan, out);
        outcome
    }

    /// The disk has everything.
    pub fn sync(&mut self, plan: &Plan, out: &mut Output) {
        self.disk = self.log.image.clone();
        self.step(Input::Synced { epoch: self.log.open });
        for message in std::mem::take(&mut self.waiting) {
            if let Some(message) = self.raft.release(&message) {
                self.send(message, out);
            }
        }
        self.settle(plan, out);
    }

    /// A heartbeat's item for `peer`.
    pub fn heartbeat(&mut self, plan: &Plan, peer: NodeId, now: Mono, out: &mut Output) {
        if let Some(body) = self.raft.heartbeat(peer, now) {
            self.send(Outgoing { to: peer, body }, out);
        }
        self.settle(plan, out);
    }

    fn step(&mut self, input: Input<'_>) -> Outcome {
        self.raft.step(&mut self.log, input)
    }

    /// Drains until nothing is left to say; what is committed is applied at once.
    fn settle(&mut self, plan: &Plan, out: &mut Output) {
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
                if plan.driver.sends_before_sync(&message.body) {
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
        // The sets are looked at in every state, whatever has changed.
        let _ = self.raft.take_rest_change();
    }

    fn send(&self, message: Outgoing, out: &mut Output) {
        out.has_lied |= !self.is_kept_by_disk(&message);
        let entries = match message.body.entries() {
            Some((first, count)) if count > 0 => {
                let first = usize::try_from(first.0 - 1).expect("a handful");
                self.log.image.entries[first..first + usize::from(count)].to_vec()
            }
            _ => Vec::new(),
        };
        let Outgoing { to, body } = message;
        let from = self.raft.id();
        out.sent.push(Message { from, to, lives: (self.incarnation, 0), body, entries, prints: Vec::new() });
    }

    /// Would a crash now leave all that this message promises?
    fn is_kept_by_disk(&self, message: &Outgoing) -> bool {
        let HardState { term: disk_term, vote } = self.disk.hard_state;
        let holds = |index: LogIndex| {
            let (kept, known) = (self.disk.entry(index.0), self.log.image.entry(index.0));
            index == LogIndex(0) || kept.is_some_and(|kept| known.is_some_and(|known| Arc::ptr_eq(kept, known)))
        };
        match message.body {
            Body::RequestVote { term, last_index, .. } => {
                disk_term == term && vote == self.raft.id() && holds(last_index)
            }
            Body::VoteResp { term, rejected: false, .. } => disk_term == term && vote == message.to,
            Body::AppendResp { term, index, rejected: false, busy: false, .. } => {
                disk_term == term && holds(index) && self.disk.faulty.is_none_or(|faulty| index < faulty)
            }
            Body::VoteResp { term, .. } | Body::AppendResp { term, .. } | Body::HeartbeatAck { term, .. } => {
                disk_term >= term
            }
            _ => true,
        }
    }
}

/// The configuration a node starts with.
impl Plan {
    pub(crate) fn first_config(&self, id: NodeId) -> Config {
        if id.0 > self.voters {
            return Config::default();
        }
        Config::single(&(1..=self.voters).map(NodeId).collect::<Vec<_>>())
    }
}
