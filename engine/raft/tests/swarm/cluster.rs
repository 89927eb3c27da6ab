//! The cluster: events in the order of their time, and what each node's caller does with them.

use std::collections::BTreeMap;

use base::mono::Span;
use base::record::Records;
use base::{LogIndex, Mono, NodeId, Prng, SyncEpoch, Term};
use raft::{Body, Config, ConfigChange, Health, Input, Outcome, Outgoing, ReadPath, Settings};

use crate::faults::Faults;
use crate::log_twin::GROUP;
use crate::node::{Clock, Machine, Node};
use crate::truth::Truth;

/// Something that happens to a node; `life` is its incarnation, where an end of that life undoes the event.
pub enum Event {
    Deliver { from: NodeId, link: Option<u64>, body: Body, bytes: Vec<u8> },
    Snapshot { from: NodeId, term: Term, machine: Machine },
    SnapshotAck { from: NodeId, installed: Option<LogIndex> },
    StoreInstalled { life: u64 },
    Synced { life: u64, epoch: u64 },
    Apply { life: u64 },
    Timer { life: u64 },
    Heartbeat { life: u64 },
    Turn { life: u64 },
    PeerUp { peer: NodeId, incarnation: u64 },
    PeerDown { peer: NodeId },
    Wake { life: u64 },
    Restart,
}

pub struct Cluster {
    pub now: Mono,
    pub prng: Prng,
    pub nodes: Vec<Node>,
    pub truth: Truth,
    pub faults: Faults,
    events: BTreeMap<(Mono, u64), (usize, Event)>,
    sequence: u64,
    seed: u64,
    trace: bool,
    pub settings: Settings,
    /// Disks may lose what they held: then a message is only for the life of the receiver that its link was opened by.
    pub has_damage: bool,
    /// Entries that went with a lost head.
    pub gone: std::collections::BTreeSet<(LogIndex, Option<u32>)>,
    proposed: u64,
    /// Reads served by a round, a lease, a follower.
    pub served: [u64; 3],
    /// Beats of nodes at rest.
    pub rests: u64,
}

impl Cluster {
    /// `voters` nodes that know each other, and one more that knows nobody.
    ///
    /// Clocks are wrong by at most `ppm_max` millionths.
    pub fn new(seed: u64, voters: u64, ppm_max: u64) -> Cluster {
        let mut prng = Prng::new(seed);
        let initial = Config::single(&(1..=voters).map(NodeId).collect::<Vec<_>>());
        let nodes = (1..=voters + 1).map(|id| {
            let config = if id <= voters { initial.clone() } else { Config::default() };
            let ahead = 100_000_000_000 + prng.below(1_000_000_000_000);
            let ppm = match prng.below(3) {
                0 => ppm_max as i64,
                1 => -(ppm_max as i64),
                _ => prng.below(2 * ppm_max + 1) as i64 - ppm_max as i64,
            };
            Node::new(NodeId(id), &config, Clock { ahead, ppm })
        });
        let nodes: Vec<Node> = nodes.collect();
        let faults = Faults::draw(&mut prng, nodes.len());
        let mut cluster = Cluster {
            now: Mono(1_000_000_000),
            prng,
            nodes,
            truth: Truth::default(),
            faults,
            events: BTreeMap::new(),
            sequence: 0,
            seed,
            trace: std::env::var("RAFT_TRACE").is_ok(),
            has_damage: false,
            gone: std::collections::BTreeSet::new(),
            served: [0; 3],
            settings: Settings {
                // Short, so that groups fall asleep between two wishes.
                quiesce_after: Some(Span::from_ms(40 + seed % 5 * 60)),
                ..Settings::default()
            },
            proposed: 0,
            rests: 0,
        };
        (0..cluster.nodes.len()).for_each(|at| cluster.boot(at));
        cluster
    }

    /// Runs everything that is due before `until`.
    pub fn run(&mut self, until: Mono) {
        while let Some(((due, _), (at, event))) = self.events.pop_first() {
            if due > until {
                self.schedule(due, at, event);
                break;
            }
            self.now = due;
            self.handle(at, event);
        }
        self.now = until;
    }

    pub fn schedule(&mut self, due: Mono, at: usize, event: Event) {
        self.sequence += 1;
        self.events.insert((due, self.sequence), (at, event));
    }

    fn local(&self, at: usize) -> Mono {
        self.nodes[at].clock.at(self.now)
    }

    fn handle(&mut self, at: usize, event: Event) {
        if let Event::Restart = event {
            if self.nodes[at].raft.is_none() {
                self.boot(at);
            }
            return;
        }
        if self.nodes[at].asleep_until > self.now {
            let wake = self.nodes[at].asleep_until;
            return self.schedule(wake, at, event);
        }
        let life = self.nodes[at].incarnation;
        let is_over = match event {
            Event::StoreInstalled { life: of }
            | Event::Synced { life: of, .. }
            | Event::Apply { life: of }
            | Event::Timer { life: of }
            | Event::Heartbeat { life: of }
            | Event::Wake { life: of }
            | Event::Turn { life: of } => of != life,
            _ => false,
        };
        if is_over || self.nodes[at].raft.is_none() {
            return;
        }
        let now = self.local(at);
        match event {
            Event::Deliver { link: Some(link), .. } if link != life => {}
            Event::Deliver { from, body, bytes, .. } => self.deliver(at, from, body, &bytes),
            Event::Snapshot { from, term, machine } => self.take_snapshot(at, from, term, machine),
            Event::SnapshotAck { from, installed } => {
                self.step(at, Input::SnapshotReport { peer: from, installed });
            }
            Event::StoreInstalled { .. } => self.store_installed(at),
            Event::Synced { epoch, .. } => self.synced(at, epoch),
            Event::Apply { .. } => self.apply(at, life),
            Event::Timer { .. } => {
                self.nodes[at].timer = Mono::MAX;
                let is_due = self.nodes[at].raft.as_ref().is_some_and(|raft| raft.next_deadline() <= now);
                if is_due || self.prng.one_in(4) {
                    self.step(at, Input::Tick { now });
                }
            }
            Event::Heartbeat { .. } => self.heartbeat(at, life),
            Event::Turn { .. } => {}
            // A link to a life that is over cannot come up.
            Event::PeerUp { peer, incarnation }
                if self.has_damage && self.nodes[peer.0 as usize - 1].incarnation != incarnation => {}
            Event::PeerUp { peer, incarnation } => {
                self.nodes[at].links.insert(peer, incarnation);
                self.step(at, Input::PeerUp { peer, incarnation });
            }
            Event::PeerDown { peer } => {
                self.step(at, Input::PeerDown { peer });
            }
            Event::Wake { .. } => {
                self.step(at, Input::ClockJump { now });
            }
            Event::Restart => {}
        }
        self.end_turn(at);
    }

    /// Drains now, or a little later together with what comes then.
    fn end_turn(&mut self, at: usize) {
        if self.prng.one_in(4) {
            let life = self.nodes[at].incarnation;
            let due = self.now + Span::from_us(self.prng.below(1000));
            self.schedule(due, at, Event::Turn { life });
        } else {
            for _ in 0..4 {
                if !self.drain(at) {
                    break;
                }
            }
        }
        self.close_epoch(at);
        self.set_timer(at);
    }

    pub fn step(&mut self, at: usize, input: Input<'_>) -> Outcome {
        let node = &mut self.nodes[at];
        let Some(raft) = &mut node.raft else { return Outcome::Done };
        let (config, commit) = (raft.config().clone(), self.truth.commit());
        let outcome = raft.step(&mut node.log, input);
        if let Some(epoch) = node.log.wrote.take() {
            node.note_written(epoch);
        }
        self.truth.check_step(&mut self.nodes, at, &config);
        if self.truth.commit() > commit {
            self.check_leases(at);
        }
        outcome
    }

    /// `nodes[at]` committed something: no leader of an earlier term has a lease now.
    fn check_leases(&self, at: usize) {
        let term = self.nodes[at].raft.as_ref().expect("it stepped").term();
        for node in self.nodes.iter().filter(|node| node.asleep_until <= self.now) {
            let earlier = node.raft.as_ref().filter(|raft| raft.term() < term);
            let lease = earlier.and_then(|raft| raft.lease_until(node.clock.at(self.now)));
            assert_eq!(lease, None, "{} has a lease while {} commits in term {term}", node.id, self.nodes[at].id);
        }
    }

    /// One drain and its effects. False if there was nothing to do.
    fn drain(&mut self, at: usize) -> bool {
        if self.faults.closes_early(&mut self.prng) {
            // What was written in this turn may reach the disk before the term that goes with it.
            self.force_close(at);
        }
        let node = &mut self.nodes[at];
        let Some(raft) = &mut node.raft else { return false };
        if !raft.is_dirty() {
            return false;
        }
        let wanted = raft.wants_hard_state().then(|| node.hard_state());
        let saved = wanted.map(|hard| node.log.set_state(hard));
        node.log.wrote = None;
        let mut effects = std::mem::take(&mut node.effects);
        effects.clear();
        let raft = node.raft.as_mut().expect("it is up");
        raft.drain(&node.log, &mut effects);
        assert_eq!(effects.hard_state, wanted, "{} hands out what it announced", node.id);
        if let Some(epoch) = saved {
            raft.hard_state_epoch(epoch);
            node.note_written(epoch.0);
        }
        assert_eq!(effects.alarm, None, "{}", node.id);
        for message in &effects.send_now {
            self.send(at, message);
        }
        for message in &effects.send_after_sync {
            let epoch = self.nodes[at].last_epoch;
            if epoch <= self.nodes[at].log.persisted {
                self.release(at, message);
            } else {
                self.nodes[at].after_sync.push_back((epoch, *message));
            }
        }
        if let Some(commit) = effects.commit {
            assert!(commit > self.nodes[at].commit, "a commit is told once");
            self.nodes[at].commit = commit;
            self.want_apply(at);
        }
        if let Some(role) = effects.role {
            let node = &mut self.nodes[at];
            if !role.is_leader {
                node.reads.clear();
            }
            if self.trace {
                println!("{} {} {role:?}", self.now.0 / 1_000_000, node.id);
            }
        }
        if effects.reads_dropped {
            self.nodes[at].reads.clear();
        }
        if let Some(confirmed) = effects.reads_confirmed {
            let node = &mut self.nodes[at];
            while let Some((_, floor)) = node.reads.pop_front_if(|(position, _)| *position <= confirmed.position) {
                assert!(confirmed.read_index >= floor, "stale read: {} < {floor}", confirmed.read_index);
                node.confirmed += 1;
                self.served[confirmed.path as usize] += 1;
            }
        }
        if let Some(confirmed) = effects.follower_reads {
            let node = &mut self.nodes[at];
            assert!(node.machine.applied >= confirmed.read_index, "served before it is applied");
            while let Some((_, floor)) = node.follower_reads.pop_front_if(|(of, _)| *of <= confirmed.position) {
                assert!(confirmed.read_index >= floor, "stale follower read: {} < {floor}", confirmed.read_index);
                self.served[ReadPath::Follower as usize] += 1;
            }
        }
        if let Some(through) = effects.follower_reads_dropped {
            while self.nodes[at].follower_reads.pop_front_if(|(position, _)| *position <= through).is_some() {}
        }
        if let Some(health) = effects.health {
            let kept = if health == Health::Faulty { Health::Clean } else { health };
            let epoch = self.nodes[at].log.set_health(kept);
            self.nodes[at].log.wrote = None;
            self.nodes[at].note_written(epoch.0);
        }
        for peer in &effects.need_snapshot {
            self.send_snapshot(at, *peer);
        }
        self.nodes[at].effects = effects;
        true
    }

    fn send(&mut self, at: usize, message: &Outgoing) {
        let node = &self.nodes[at];
        self.truth.check_promise(node, message);
        let bytes = message.body.entries().map_or_else(Vec::new, |(first, count)| node.log.records(first, count));
        let link = self.has_damage.then(|| node.links.get(&message.to).copied().unwrap_or(0));
        if self.trace {
            println!("{} {} -> {} {:?}", self.now.0 / 1_000_000, node.id, message.to, message.body);
        }
        let (from, to) = (node.id, message.to.0 as usize - 1);
        for delay in self.faults.delays(&mut self.prng, at, to) {
            let event = Event::Deliver { from, link, body: message.body, bytes: bytes.clone() };
            self.schedule(self.now + delay, to, event);
        }
    }

    fn release(&mut self, at: usize, message: &Outgoing) {
        let released = self.nodes[at].raft.as_ref().and_then(|raft| raft.release(message));
        if let Some(message) = released {
            self.send(at, &message);
        }
    }

    fn deliver(&mut self, at: usize, from: NodeId, body: Body, bytes: &[u8]) {
        let (now, node) = (self.local(at), &self.nodes[at]);
        let entries = match body {
            Body::AppendEntries { .. } if node.installing.is_some() || node.installed.is_some() => return,
            _ => body.entries().map_or(Records::EMPTY, |(first, count)| {
                Records::check_entries(bytes, count, GROUP, first).expect("sound records")
            }),
        };
        self.step(at, Input::Message { from, body, entries, now });
    }

    fn synced(&mut self, at: usize, epoch: u64) {
        let node = &mut self.nodes[at];
        node.log.sync(epoch);
        while node.flying.pop_front_if(|of| *of <= epoch).is_some() {}
        let mut heard = false;
        while self.nodes[at].written.pop_front_if(|of| *of <= epoch).is_some() {
            heard = true;
        }
        if heard {
            self.step(at, Input::Synced { epoch: SyncEpoch(epoch) });
            self.note_installed(at, epoch);
        }
        while let Some((_, message)) = self.nodes[at].after_sync.pop_front_if(|(of, _)| *of <= epoch) {
            self.release(at, &message);
        }
    }

    fn close_epoch(&mut self, at: usize) {
        let node = &self.nodes[at];
        let has_news = node.log.has_open_writes() || node.written.back() == Some(&node.log.open);
        let is_time = node.flying.is_empty() || node.flying.len() < 7 && self.prng.one_in(3);
        if has_news && is_time {
            self.force_close(at);
        }
    }

    fn force_close(&mut self, at: usize) {
        let delay = self.faults.sync_delay(&mut self.prng, at);
        let node = &mut self.nodes[at];
        let epoch = node.log.close();
        node.flying.push_back(epoch);
        node.sync_due = node.sync_due.max(self.now + delay);
        let (due, life) = (node.sync_due, node.incarnation);
        self.schedule(due, at, Event::Synced { life, epoch });
    }

    fn set_timer(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(deadline) = node.raft.as_ref().map(raft::Raft::next_deadline) else { return };
        if deadline != Mono::MAX {
            let due = node.clock.when(deadline).max(self.now + Span::from_us(1));
            if due < node.timer {
                node.timer = due;
                let life = node.incarnation;
                self.schedule(due, at, Event::Timer { life });
            }
        }
    }

    /// What the shard finds out by comparing the sets of a pair, or by its silence: this node rests with one that does not,
    /// or that is gone.
    fn compare_rest(&mut self, at: usize, now: Mono) {
        let Some(raft) = &self.nodes[at].raft else { return };
        let is_wrong = self.nodes.iter().any(|other| {
            let same = |twin: &raft::Raft| twin.rests_with(raft.id()) && twin.rest_hash() == raft.rest_hash();
            raft.rests_with(other.id) && !other.raft.as_ref().is_some_and(same)
        });
        self.rests += u64::from(raft.is_resting());
        if is_wrong && self.prng.one_in(3) {
            let heard = Mono(now.0.saturating_sub(self.prng.below(500_000_000)));
            self.nodes[at].raft.as_mut().expect("just seen").wake(now, |_| heard);
        }
    }

    fn heartbeat(&mut self, at: usize, life: u64) {
        self.schedule(self.now + self.settings.heartbeat, at, Event::Heartbeat { life });
        let now = self.local(at);
        self.watch_disk(at);
        self.compare_rest(at, now);
        let raft = self.nodes[at].raft.as_ref().expect("it is up");
        if !raft.is_leader() {
            return;
        }
        let id = raft.id();
        let members: Vec<NodeId> = raft.config().members().filter(|member| *member != id).collect();
        for to in members {
            let body = self.nodes[at].raft.as_mut().and_then(|raft| raft.heartbeat(to, now));
            if let Some(body) = body {
                self.send(at, &Outgoing { to, body });
            }
        }
    }

    fn watch_disk(&mut self, at: usize) {
        let now = self.local(at);
        let is_lagging = self.nodes[at].sync_due.since(self.now) > Span::from_ms(500);
        if is_lagging != self.nodes[at].is_lagging {
            self.nodes[at].is_lagging = is_lagging;
            let oldest_unsynced_us = if is_lagging { self.settings.disk_lag_max.as_us() + 1 } else { 0 };
            self.step(at, Input::DiskLag { oldest_unsynced_us, now });
        }
    }

    fn want_apply(&mut self, at: usize) {
        let life = self.nodes[at].incarnation;
        let due = self.now + self.faults.apply_delay(&mut self.prng);
        self.schedule(due, at, Event::Apply { life });
    }

    fn apply(&mut self, at: usize, life: u64) {
        let count = 1 + self.prng.below(8);
        for _ in 0..count {
            if !self.nodes[at].apply_next() {
                break;
            }
            self.truth.check_applied(&self.nodes[at]);
        }
        let node = &self.nodes[at];
        let (applied, commit) = (node.machine.applied, node.commit);
        if node.installing.is_none() && node.installed.is_none() {
            self.step(at, Input::Applied { index: applied });
        }
        if applied < commit {
            let due = self.now + self.faults.apply_delay(&mut self.prng);
            self.schedule(due, at, Event::Apply { life });
        }
    }

    fn send_snapshot(&mut self, at: usize, to: NodeId) {
        let (now, node) = (self.local(at), &mut self.nodes[at]);
        let (from, machine) = (node.id, node.machine.clone());
        let raft = node.raft.as_mut().expect("it is up");
        if let Some((_, config)) = raft.config_at(machine.applied) {
            assert_eq!(config.encode(), machine.config, "the configuration of a snapshot");
        }
        let term = raft.term();
        raft.snapshot_sent(to, now);
        if self.trace {
            println!("{} {from} -> {to} snapshot at {}", self.now.0 / 1_000_000, machine.applied);
        }
        let delays = self.faults.delays(&mut self.prng, at, to.0 as usize - 1);
        if delays.is_empty() || self.prng.one_in(8) {
            let event = Event::SnapshotAck { from: to, installed: None };
            self.schedule(self.now + Span::from_ms(300), at, event);
        }
        for delay in delays {
            let event = Event::Snapshot { from, term, machine: machine.clone() };
            self.schedule(self.now + delay, to.0 as usize - 1, event);
        }
    }

    fn take_snapshot(&mut self, at: usize, from: NodeId, term: Term, machine: Machine) {
        let node = &mut self.nodes[at];
        let is_busy = node.installing.is_some() || node.installed.is_some();
        let raft = node.raft.as_ref().expect("it is up");
        let is_taken = !is_busy && term >= raft.term() && machine.applied > node.commit.max(raft.commit_index());
        let installed = is_taken.then_some(machine.applied);
        let id = node.id;
        if self.trace {
            println!("{} {} takes snapshot at {}: {is_taken}", self.now.0 / 1_000_000, node.id, machine.applied);
        }
        if is_taken {
            node.installing = Some(machine);
            let (life, delay) = (node.incarnation, Span::from_ms(self.prng.below(200)));
            self.schedule(self.now + delay, at, Event::StoreInstalled { life });
        }
        let to = from.0 as usize - 1;
        if let Some(delay) = self.faults.delays(&mut self.prng, at, to).first() {
            // The report may overtake the install, or come after it.
            let due = self.now + *delay + Span::from_ms(self.prng.below(300));
            self.schedule(due, to, Event::SnapshotAck { from: id, installed });
        }
    }

    /// The store holds the snapshot, durably: the log restarts behind it.
    fn store_installed(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(machine) = node.installing.clone() else { return };
        (node.machine, node.disk_machine) = (machine.clone(), machine.clone());
        let keeps = node.log.memory.term(machine.applied) == Some(machine.term);
        let epoch = node.log.install((machine.applied, machine.term, machine.crc), keeps).0;
        node.note_written(epoch);
        node.installed = Some((epoch, machine));
        self.truth.check_applied(&self.nodes[at]);
    }

    fn note_installed(&mut self, at: usize, persisted: u64) {
        let node = &mut self.nodes[at];
        let Some((_, machine)) = node.installed.take_if(|(epoch, _)| *epoch <= persisted) else { return };
        node.installing = None;
        node.commit = node.commit.max(machine.applied);
        let (index, term) = (machine.applied, machine.term);
        self.step(at, Input::SnapshotInstalled { index, term, config: &machine.config });
        self.want_apply(at);
    }

    fn boot(&mut self, at: usize) {
        let now = self.local(at);
        self.nodes[at].boot(self.seed, now, self.settings);
        if self.trace {
            println!("{} {} starts", self.now.0 / 1_000_000, self.nodes[at].id);
        }
        let (life, id) = (self.nodes[at].incarnation, self.nodes[at].id);
        self.schedule(self.now, at, Event::Heartbeat { life });
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            let delay = Span::from_ms(self.prng.below(20));
            self.schedule(self.now + delay, other, Event::PeerUp { peer: id, incarnation: life });
            if self.nodes[other].raft.is_some() {
                let up = Event::PeerUp { peer: self.nodes[other].id, incarnation: self.nodes[other].incarnation };
                self.schedule(self.now + delay, at, up);
            }
        }
        self.end_turn(at);
    }

    /// The node is gone; it comes back after `down`.
    pub fn crash(&mut self, at: usize, down: Span) {
        let reached = self.prng.below(self.nodes[at].flying.len() as u64 + 1) as usize;
        if self.trace {
            println!("{} {} crashes", self.now.0 / 1_000_000, self.nodes[at].id);
        }
        self.nodes[at].crash(reached);
        let id = self.nodes[at].id;
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            let delay = Span::from_ms(self.prng.below(50));
            self.schedule(self.now + delay, other, Event::PeerDown { peer: id });
        }
        self.schedule(self.now + down, at, Event::Restart);
    }

    // What clients and operators do.

    pub fn propose(&mut self, at: usize) -> Outcome {
        self.proposed += 1;
        let mut payload = self.proposed.to_le_bytes().to_vec();
        let bytes = if self.prng.one_in(50) { 100_000 } else { self.prng.below(40) };
        payload.resize(8 + bytes as usize, 1);
        let now = self.local(at);
        let outcome = self.step(at, Input::Propose { payload: &payload, now });
        self.end_client_turn(at);
        outcome
    }

    pub fn read(&mut self, at: usize) {
        let (now, floor) = (self.local(at), self.truth.commit());
        if let Outcome::ReadJoined { position } = self.step(at, Input::Read { now }) {
            self.nodes[at].reads.push_back((position, floor));
        }
        self.end_client_turn(at);
    }

    pub fn follower_read(&mut self, at: usize) {
        let (now, floor) = (self.local(at), self.truth.commit());
        match self.step(at, Input::FollowerRead { now }) {
            Outcome::FollowerReadJoined { position } => self.nodes[at].follower_reads.push_back((position, floor)),
            Outcome::ReadJoined { position } => self.nodes[at].reads.push_back((position, floor)),
            _ => {}
        }
        self.end_client_turn(at);
    }

    /// The machine is suspended, its clock with it.
    pub fn suspend(&mut self, at: usize, span: Span) {
        if self.trace {
            println!("{} {} is suspended for {} ms", self.now.0 / 1_000_000, self.nodes[at].id, span.as_ms());
        }
        let node = &mut self.nodes[at];
        node.asleep_until = self.now + span;
        let (before, after) = (node.clock.at(self.now), node.clock.at(node.asleep_until));
        node.clock.ahead -= after.since(before).0;
        let (due, life) = (node.asleep_until, node.incarnation);
        self.schedule(due, at, Event::Wake { life });
    }

    pub fn change(&mut self, at: usize, change: &ConfigChange) -> Outcome {
        let now = self.local(at);
        let outcome = self.step(at, Input::ChangeConfig { change, now });
        if self.trace {
            println!("{} {} {change:?} {outcome:?}", self.now.0 / 1_000_000, self.nodes[at].id);
        }
        self.end_client_turn(at);
        outcome
    }

    pub fn transfer(&mut self, at: usize, target: NodeId) -> Outcome {
        let now = self.local(at);
        let outcome = self.step(at, Input::Transfer { target, now });
        self.end_client_turn(at);
        outcome
    }

    pub fn campaign(&mut self, at: usize) {
        let now = self.local(at);
        if self.trace {
            println!("{} {} is told to campaign", self.now.0 / 1_000_000, self.nodes[at].id);
        }
        self.step(at, Input::Campaign { now });
        self.end_client_turn(at);
    }

    fn end_client_turn(&mut self, at: usize) {
        if self.is_awake(at) {
            self.end_turn(at);
        }
    }

    pub fn is_awake(&self, at: usize) -> bool {
        self.nodes[at].raft.is_some() && self.nodes[at].asleep_until <= self.now
    }

    /// Who believes to lead, newest term last.
    pub fn leaders(&self) -> Vec<usize> {
        let raft = |at: &usize| self.nodes[*at].raft.as_ref().filter(|raft| raft.is_leader());
        let mut leaders: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.is_awake(*at) && raft(at).is_some()).collect();
        leaders.sort_by_key(|at| raft(at).map(raft::Raft::term));
        leaders
    }
}
