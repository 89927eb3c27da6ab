//! The mixed cluster: events in the order of their time, and what each node's caller does with them.

use std::collections::BTreeMap;

use base::mono::Span;
use base::record::Records;
use base::{LogIndex, Mono, NodeId, Prng, SyncEpoch};
use ours::{Body, Boot, Config, Effects, Input, Outcome, Outgoing, Settings};
use raft::eraftpb::Message;

use crate::adapter;
use crate::mixed::faults::Faults;
use crate::mixed::node::{Engine, Node, Seen, Wire};
use crate::mixed::theirs::{TICK_MS, Theirs};
use crate::mixed::truth::Truth;
use crate::twin::{GROUP, HardState};

/// Something that happens to a node; `life` is its incarnation, where an end of that life undoes the event.
enum Event {
    Deliver(Wire),
    Synced {
        life: u64,
        epoch: u64,
    },
    Apply {
        life: u64,
    },
    /// Of our core: its deadline.
    Timer {
        life: u64,
    },
    /// Of our core: every 50 ms. Of the raft crate: a tick.
    Beat {
        life: u64,
    },
    Turn {
        life: u64,
    },
    PeerUp {
        peer: NodeId,
        incarnation: u64,
    },
    PeerDown {
        peer: NodeId,
    },
    Restart,
}

/// Three nodes and what is between them.
pub struct Cluster {
    /// The time.
    pub now: Mono,
    /// Of the scenario.
    pub prng: Prng,
    /// The nodes; node `i + 1` is at `i`.
    pub nodes: Vec<Node>,
    /// What must hold.
    pub truth: Truth,
    /// What goes wrong.
    pub faults: Faults,
    /// Crashes so far.
    pub crashes: u64,
    events: BTreeMap<(Mono, u64), (usize, Event)>,
    sequence: u64,
    seed: u64,
    trace: bool,
    settings: Settings,
    voters: Vec<u64>,
    proposed: u64,
}

impl Cluster {
    /// Three nodes, of which those with a true run our core.
    #[must_use]
    pub fn new(seed: u64, is_ours: &[bool], trace: bool) -> Cluster {
        let mut prng = Prng::new(seed);
        let skews: Vec<u64> = is_ours.iter().map(|_| prng.below(1_000_000_000_000)).collect();
        let nodes = (1..).zip(is_ours).zip(skews).map(|((id, is_ours), skew)| Node::new(NodeId(id), *is_ours, skew));
        let faults = Faults::draw(&mut prng, is_ours.len());
        let mut cluster = Cluster {
            now: Mono(1_000_000_000),
            prng,
            nodes: nodes.collect(),
            truth: Truth::default(),
            faults,
            crashes: 0,
            events: BTreeMap::new(),
            sequence: 0,
            seed,
            trace,
            settings: crate::settings(),
            voters: (1..=is_ours.len() as u64).collect(),
            proposed: 0,
        };
        (0..cluster.nodes.len()).for_each(|at| cluster.boot(at));
        cluster
    }

    /// Runs everything that is due before `until`.
    pub fn run(&mut self, until: Mono) {
        while let Some(((due, order), (at, event))) = self.events.pop_first() {
            if due > until {
                self.events.insert((due, order), (at, event));
                break;
            }
            self.now = due;
            self.handle(at, event);
        }
        self.now = until;
    }

    fn schedule(&mut self, due: Mono, at: usize, event: Event) {
        self.sequence += 1;
        self.events.insert((due, self.sequence), (at, event));
    }

    fn local(&self, at: usize) -> Mono {
        Mono(self.now.0 + self.nodes[at].skew)
    }

    fn say(&self, at: usize, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>7} {} {}", (self.now.0 - 1_000_000_000) / 1_000_000, self.nodes[at].id, what());
        }
    }

    fn handle(&mut self, at: usize, event: Event) {
        if let Event::Restart = event {
            if self.nodes[at].engine.is_none() {
                self.boot(at);
            }
            return;
        }
        let current = self.nodes[at].incarnation;
        let is_over = match event {
            Event::Synced { life, .. }
            | Event::Apply { life }
            | Event::Timer { life }
            | Event::Beat { life }
            | Event::Turn { life } => life != current,
            _ => false,
        };
        if is_over || self.nodes[at].engine.is_none() {
            return;
        }
        match event {
            Event::Deliver(wire) => self.deliver(at, wire),
            Event::Synced { epoch, .. } => self.synced(at, epoch),
            Event::Apply { .. } => self.apply(at, current),
            Event::Timer { .. } => self.timer(at),
            Event::Beat { .. } => self.beat(at, current),
            Event::PeerUp { peer, incarnation } => self.step_ours(at, Input::PeerUp { peer, incarnation }),
            Event::PeerDown { peer } => self.peer_down(at, peer),
            Event::Turn { .. } | Event::Restart => {}
        }
        self.end_turn(at);
    }

    fn step_ours(&mut self, at: usize, input: Input<'_>) {
        let _ = self.try_step_ours(at, input);
    }

    /// Steps our core; `None` when the node runs the other one, or nothing.
    fn try_step_ours(&mut self, at: usize, input: Input<'_>) -> Option<Outcome> {
        let node = &mut self.nodes[at];
        let Some(Engine::Ours(raft, _)) = &mut node.engine else { return None };
        let mut twin = node.twin.borrow_mut();
        let outcome = raft.step(&mut *twin, input);
        if let Some(epoch) = twin.newest_unsynced() {
            node.last_epoch = node.last_epoch.max(epoch);
        }
        drop(twin);
        self.truth.check_step(&mut self.nodes, at);
        Some(outcome)
    }

    /// Does something to the raft crate, if the node runs it, and sees to its timeout.
    fn step_theirs(&mut self, at: usize, act: impl FnOnce(&mut Theirs)) {
        let Some(Engine::Theirs(theirs)) = &mut self.nodes[at].engine else { return };
        act(theirs);
        theirs.settle_timeout(&mut self.prng);
        if theirs.may_wait() {
            self.truth.check_step(&mut self.nodes, at);
        } else {
            // Its new entries are not in the log yet, where they would be looked for.
            self.drain_theirs(at);
        }
    }

    fn deliver(&mut self, at: usize, wire: Wire) {
        let Wire { from, body, bytes } = wire;
        let (now, id) = (self.local(at), self.nodes[at].id);
        if self.nodes[at].is_ours {
            let entries = match body {
                Body::AppendEntries { prev_index, count, .. } => {
                    Records::check_entries(&bytes, count, GROUP, prev_index.next()).expect("sound records")
                }
                _ => Records::EMPTY,
            };
            self.step_ours(at, Input::Message { from, body, entries, now });
        } else if let Some(message) = adapter::to_theirs(from, id, &body, &bytes) {
            self.step_theirs(at, |theirs| theirs.step(message, adapter::asker(&body)));
        }
    }

    fn peer_down(&mut self, at: usize, peer: NodeId) {
        self.step_ours(at, Input::PeerDown { peer });
        self.step_theirs(at, |theirs| theirs.raw.report_unreachable(peer.0));
    }

    fn timer(&mut self, at: usize) {
        self.nodes[at].timer = Mono::MAX;
        let now = self.local(at);
        self.step_ours(at, Input::Tick { now });
    }

    fn beat(&mut self, at: usize, life: u64) {
        let is_ours = self.nodes[at].is_ours;
        let pause = if is_ours { self.settings.heartbeat } else { Span::from_ms(TICK_MS) };
        self.schedule(self.now + pause, at, Event::Beat { life });
        self.step_theirs(at, |theirs| {
            theirs.raw.tick();
        });
        if is_ours {
            self.watch_disk(at);
            self.send_heartbeats(at);
        }
    }

    fn send_heartbeats(&mut self, at: usize) {
        let now = self.local(at);
        for to in self.voters.clone().into_iter().map(NodeId) {
            let Some(Engine::Ours(raft, _)) = &mut self.nodes[at].engine else { return };
            if let Some(body) = raft.heartbeat(to, now) {
                self.send(at, to, body, Vec::new());
            }
        }
    }

    fn watch_disk(&mut self, at: usize) {
        let now = self.local(at);
        let is_lagging = self.nodes[at].sync_due.since(self.now) > Span::from_ms(500);
        if is_lagging != self.nodes[at].is_lagging {
            self.nodes[at].is_lagging = is_lagging;
            let oldest_unsynced_us = if is_lagging { self.settings.disk_lag_max.as_us() + 1 } else { 0 };
            self.step_ours(at, Input::DiskLag { oldest_unsynced_us, now });
        }
    }

    /// Drains now, or a little later together with what comes then.
    fn end_turn(&mut self, at: usize) {
        if self.prng.below(1000) < self.faults.lazy {
            let life = self.nodes[at].incarnation;
            let due = self.now + Span::from_us(self.prng.below(1000));
            self.schedule(due, at, Event::Turn { life });
        } else if self.nodes[at].is_ours {
            for _ in 0..4 {
                if !self.drain_ours(at) {
                    break;
                }
            }
        } else {
            self.drain_theirs(at);
        }
        self.close_epoch(at);
        self.set_timer(at);
    }

    /// One drain of our core and its effects. False if there was nothing to do.
    fn drain_ours(&mut self, at: usize) -> bool {
        if self.prng.below(1000) < self.faults.early_close && self.has_open_writes(at) {
            // What was written in this turn may reach the disk before the term that goes with it.
            self.force_close(at);
        }
        let node = &mut self.nodes[at];
        let Some(Engine::Ours(raft, effects)) = &mut node.engine else { return false };
        if !raft.is_dirty() {
            return false;
        }
        let mut effects: Box<Effects> = std::mem::take(effects);
        effects.clear();
        let mut twin = node.twin.borrow_mut();
        raft.drain(&*twin, &mut effects);
        if let Some(ours::HardState { term, vote }) = effects.hard_state {
            let epoch = twin.set_hard(HardState { term, vote, commit: LogIndex(0) });
            raft.hard_state_epoch(epoch);
            node.last_epoch = node.last_epoch.max(epoch.0);
        }
        let persisted = twin.persisted;
        drop(twin);
        assert_eq!(effects.alarm, None, "{}", node.id);
        let last_epoch = node.last_epoch;
        for message in &effects.send_now {
            self.send_ours(at, message);
        }
        for message in &effects.send_after_sync {
            if last_epoch <= persisted {
                self.release(at, message);
            } else {
                self.nodes[at].after_sync.push_back((last_epoch, *message));
            }
        }
        if let Some(commit) = effects.commit {
            self.want_apply(at, commit);
        }
        if let Some(role) = effects.role {
            self.say(at, || format!("{role:?}"));
        }
        if let Some(Engine::Ours(_, kept)) = &mut self.nodes[at].engine {
            *kept = effects;
        }
        true
    }

    fn drain_theirs(&mut self, at: usize) {
        let Some(Engine::Theirs(theirs)) = &mut self.nodes[at].engine else { return };
        let turn = theirs.drain();
        self.truth.check_step(&mut self.nodes, at);
        self.send_theirs(at, &turn.messages);
        if let Some(commit) = turn.commit {
            self.want_apply(at, commit);
        }
    }

    fn send_ours(&mut self, at: usize, message: &Outgoing) {
        let bytes = match message.body {
            Body::AppendEntries { prev_index, count, .. } => {
                let twin = self.nodes[at].twin.borrow();
                twin.records(prev_index.next(), count).expect("a leader sends what it holds")
            }
            _ => Vec::new(),
        };
        self.send(at, message.to, message.body, bytes);
    }

    fn send_theirs(&mut self, at: usize, messages: &[Message]) {
        for message in messages {
            let node = &self.nodes[at];
            let ours = adapter::to_ours(message, &node.twin.borrow(), node.incarnation);
            if let Some((body, bytes)) = ours {
                self.send(at, NodeId(message.to), body, bytes);
            }
        }
    }

    fn send(&mut self, at: usize, to: NodeId, body: Body, bytes: Vec<u8>) {
        self.truth.check_promise(&self.nodes[at], to, &body);
        self.say(at, || format!("-> {to} {body:?}"));
        let (from, target) = (self.nodes[at].id, to.0 as usize - 1);
        for delay in self.faults.delays(&mut self.prng, at, target) {
            let wire = Wire { from, body, bytes: bytes.clone() };
            self.schedule(self.now + delay, target, Event::Deliver(wire));
        }
    }

    fn release(&mut self, at: usize, message: &Outgoing) {
        let Some(Engine::Ours(raft, _)) = &self.nodes[at].engine else { return };
        if let Some(message) = raft.release(message) {
            self.send_ours(at, &message);
        }
    }

    fn synced(&mut self, at: usize, epoch: u64) {
        let node = &mut self.nodes[at];
        node.twin.borrow_mut().sync(epoch);
        while node.flying.pop_front_if(|of| *of <= epoch).is_some() {}
        self.step_ours(at, Input::Synced { epoch: SyncEpoch(epoch) });
        while let Some((_, message)) = self.nodes[at].after_sync.pop_front_if(|(of, _)| *of <= epoch) {
            self.release(at, &message);
        }
        if let Some(Engine::Theirs(theirs)) = &mut self.nodes[at].engine {
            let messages = theirs.synced();
            self.send_theirs(at, &messages);
            self.step_theirs(at, |_| {});
        }
    }

    fn close_epoch(&mut self, at: usize) {
        let flying = self.nodes[at].flying.len();
        if self.has_open_writes(at) && (flying == 0 || flying < 7 && self.prng.one_in(3)) {
            self.force_close(at);
        }
    }

    fn has_open_writes(&self, at: usize) -> bool {
        let twin = self.nodes[at].twin.borrow();
        twin.newest_unsynced() == Some(twin.open)
    }

    fn force_close(&mut self, at: usize) {
        let delay = self.faults.sync_delay(&mut self.prng);
        let node = &mut self.nodes[at];
        let epoch = node.twin.borrow_mut().close();
        node.flying.push_back(epoch);
        node.sync_due = node.sync_due.max(self.now + delay);
        let (due, life) = (node.sync_due, node.incarnation);
        self.schedule(due, at, Event::Synced { life, epoch });
    }

    fn set_timer(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(Engine::Ours(raft, _)) = &node.engine else { return };
        let deadline = raft.next_deadline();
        if deadline != Mono::MAX {
            let due = Mono(deadline.0.saturating_sub(node.skew)).max(self.now + Span::from_us(1));
            if due < node.timer {
                node.timer = due;
                let life = node.incarnation;
                self.schedule(due, at, Event::Timer { life });
            }
        }
    }

    fn want_apply(&mut self, at: usize, commit: LogIndex) {
        let node = &mut self.nodes[at];
        node.commit = node.commit.max(commit);
        let life = node.incarnation;
        let due = self.now + self.faults.apply_delay(&mut self.prng);
        self.schedule(due, at, Event::Apply { life });
    }

    fn apply(&mut self, at: usize, life: u64) {
        for _ in 0..1 + self.prng.below(8) {
            if !self.nodes[at].apply_next() {
                break;
            }
            self.truth.check_applied(&self.nodes[at]);
        }
        let (applied, commit) = (self.nodes[at].machine.0, self.nodes[at].commit);
        self.step_ours(at, Input::Applied { index: applied });
        self.step_theirs(at, |theirs| theirs.raw.advance_apply_to(applied.0));
        if applied < commit {
            let due = self.now + self.faults.apply_delay(&mut self.prng);
            self.schedule(due, at, Event::Apply { life });
        }
    }

    fn boot(&mut self, at: usize) {
        let now = self.local(at);
        let voters: Vec<NodeId> = self.voters.iter().copied().map(NodeId).collect();
        let node = &mut self.nodes[at];
        node.incarnation += 1;
        let applied = node.disk_machine.0;
        let engine = if node.is_ours {
            let twin = node.twin.borrow();
            let boot = Boot {
                id: node.id,
                group: GROUP,
                seed: self.seed,
                incarnation: node.incarnation,
                hard_state: ours::HardState { term: twin.disk.hard.term, vote: twin.disk.hard.vote },
                applied_index: applied,
                commit_floor: applied,
                config: Config::single(&voters),
                config_index: LogIndex(0),
                health: ours::Health::Clean,
                now,
                settings: self.settings,
            };
            Engine::Ours(Box::new(ours::Raft::new(boot, &*twin)), Box::default())
        } else {
            Engine::Theirs(Box::new(Theirs::new(node.id, &self.voters, &node.twin, applied, &mut self.prng)))
        };
        node.seen = Seen { commit: engine.commit_index(), term: engine.term(), vote: engine.vote(), ..Seen::default() };
        node.commit = applied;
        node.engine = Some(engine);
        let (life, id) = (node.incarnation, node.id);
        self.say(at, || "starts".to_owned());
        self.schedule(self.now, at, Event::Beat { life });
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            let delay = Span::from_ms(self.prng.below(20));
            self.schedule(self.now + delay, other, Event::PeerUp { peer: id, incarnation: life });
            if self.nodes[other].engine.is_some() {
                let up = Event::PeerUp { peer: self.nodes[other].id, incarnation: self.nodes[other].incarnation };
                self.schedule(self.now + delay, at, up);
            }
        }
        self.end_turn(at);
    }

    /// The node is gone, with a part of what was not synced; it comes back after `down`.
    pub fn crash(&mut self, at: usize, down: Span) {
        if self.nodes[at].engine.is_none() {
            return;
        }
        self.crashes += 1;
        let reached = self.prng.below(self.nodes[at].flying.len() as u64 + 1) as usize;
        self.say(at, || "crashes".to_owned());
        self.nodes[at].crash(reached);
        let id = self.nodes[at].id;
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            let delay = Span::from_ms(self.prng.below(50));
            self.schedule(self.now + delay, other, Event::PeerDown { peer: id });
        }
        self.schedule(self.now + down, at, Event::Restart);
    }

    /// Who is down comes back now.
    pub fn restart_all(&mut self) {
        for at in 0..self.nodes.len() {
            self.schedule(self.now, at, Event::Restart);
        }
    }

    /// A client writes; true if the node took it as its leader.
    pub fn propose(&mut self, at: usize) -> bool {
        self.proposed += 1;
        let mut payload = self.proposed.to_le_bytes().to_vec();
        payload.resize(8 + self.prng.below(40) as usize, 1);
        let now = self.local(at);
        let outcome = self.try_step_ours(at, Input::Propose { payload: &payload, now });
        let mut is_taken = matches!(outcome, Some(Outcome::Proposed { .. }));
        self.step_theirs(at, |theirs| is_taken = theirs.raw.propose(vec![], payload).is_ok());
        self.end_client_turn(at);
        is_taken
    }

    /// A leader is asked to hand over.
    pub fn transfer(&mut self, at: usize, target: NodeId) {
        let now = self.local(at);
        self.step_ours(at, Input::Transfer { target, now });
        self.step_theirs(at, |theirs| theirs.raw.transfer_leader(target.0));
        self.end_client_turn(at);
    }

    /// A node campaigns though nobody needs it.
    pub fn campaign(&mut self, at: usize) {
        let now = self.local(at);
        self.step_ours(at, Input::Campaign { now });
        self.step_theirs(at, |theirs| {
            let _ = theirs.raw.campaign();
        });
        self.end_client_turn(at);
    }

    fn end_client_turn(&mut self, at: usize) {
        if self.nodes[at].engine.is_some() {
            self.end_turn(at);
        }
    }

    /// Who believes to lead, newest term last.
    #[must_use]
    pub fn leaders(&self) -> Vec<usize> {
        let engine = |at: &usize| self.nodes[*at].engine.as_ref().filter(|engine| engine.is_leader());
        let mut leaders: Vec<usize> = (0..self.nodes.len()).filter(|at| engine(at).is_some()).collect();
        leaders.sort_by_key(|at| engine(at).map(Engine::term));
        leaders
    }
}
