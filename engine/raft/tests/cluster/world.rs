//! The network, the clock and the accidents of the test cluster.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use base::mono::Span;
use base::record::Records;
use base::{LogIndex, Mono, NodeId, Prng, SyncEpoch, mix64};
use raft::{Body, Config, ConfigChange, Effects, Input, Log, Outcome, Outgoing};

use crate::common::records;
use crate::node::{Node, Snapshot, first_config};
use crate::oracle::Oracle;

const TICK: Span = Span::from_ms(3);
const FAULTS: Span = Span::from_ms(9_000);
const PHASE: Span = Span::from_ms(700);
const HEAL: Span = Span::from_ms(25_000);

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Members at the beginning.
    pub voters: u64,
    /// Nodes that may join.
    pub spares: u64,
    /// Slow disks, long delays, many crashes.
    pub is_harsh: bool,
}

enum Net {
    Raft { body: Body, entries: Vec<u8> },
    Snapshot(Box<Snapshot>),
    Report(Option<u64>),
    Up { incarnation: u64 },
    Down,
}

struct Parcel {
    at: Mono,
    number: u64,
    from: usize,
    to: usize,
    net: Net,
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Parcel) -> bool {
        self.number == other.number
    }
}
impl Eq for Parcel {}
impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Parcel) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Parcel {
    fn cmp(&self, other: &Parcel) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The cluster.
pub struct World {
    plan: Plan,
    prng: Prng,
    now: Mono,
    nodes: Vec<Node>,
    parcels: BinaryHeap<Reverse<Parcel>>,
    numbers: u64,
    /// `blocked[from][to]`.
    blocked: Vec<Vec<bool>>,
    is_healed: bool,
    oracle: Oracle,
    payloads: u64,
    snapshots: u64,
    configs: u64,
    /// Beats of nodes at rest.
    rests: u64,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> World {
        let count = plan.voters + plan.spares;
        let now = Mono(1_000_000_000);
        let mut prng = Prng::new(mix64(seed ^ mix64(count)));
        let nodes = (1..=count)
            .map(|id| {
                let config = if id <= plan.voters { first_config(plan.voters) } else { Config::default() };
                let mut node = Node::new(NodeId(id), config, prng.next_u64(), now);
                node.log.closes_one_in = if prng.one_in(2) { 4 } else { 0 };
                node
            })
            .collect();
        let blocked = vec![vec![false; count as usize]; count as usize];
        World {
            plan,
            prng,
            now,
            nodes,
            parcels: BinaryHeap::new(),
            numbers: 0,
            blocked,
            is_healed: false,
            oracle: Oracle::default(),
            payloads: 0,
            snapshots: 0,
            configs: 0,
            rests: 0,
        }
    }

    /// Committed entries, elections, reads, snapshots, configurations, beats of nodes at rest.
    pub fn figures(&self) -> [u64; 6] {
        [self.oracle.committed(), self.oracle.elections, self.oracle.reads, self.snapshots, self.configs, self.rests]
    }

    pub fn run_faults(&mut self) {
        let end = self.now + FAULTS;
        while self.now < end {
            self.fail_somewhere();
            // Every third of these nobody wants anything, and the group may rest.
            if !(self.now.0 / PHASE.0).is_multiple_of(3) {
                self.ask_something();
            }
            self.turn();
        }
    }

    /// Everything works from now on: the cluster elects, commits, and every member catches up to the same state.
    pub fn heal_and_check(&mut self) {
        self.is_healed = true;
        self.blocked.iter_mut().for_each(|row| row.fill(false));
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_up {
                self.reset_links(at);
            } else {
                self.restart(at);
            }
        }
        let end = self.now + HEAL;
        let mut goal = None;
        while self.now < end {
            self.turn();
            let Some(at) = self.leader() else { continue };
            let leader = &mut self.nodes[at];
            match goal {
                None => {
                    let outcome = leader.step(Input::Propose { payload: b"after it all", now: self.now });
                    self.oracle.check_node(&mut self.nodes[at]);
                    if let Outcome::Proposed { index, term } = outcome {
                        goal = Some((index, term));
                    }
                }
                Some((index, term)) => {
                    if leader.raft.term() > term && !self.oracle.is_committed(index.0, Some(term)) {
                        goal = None;
                    } else if self.is_reached(at, index.0) {
                        return;
                    }
                }
            }
        }
        let view: Vec<String> = self.nodes.iter().map(|node| {
            let raft = &node.raft;
            format!(
                "{}: {:?} of {} in {}, commit {}, applied {}, last {}, persisted {}, config {:?} at {}, removed {}, peers {:?}",
                node.id, raft.role(), raft.leader().unwrap_or_default(), raft.term(), raft.commit_index(),
                node.state.index, node.log.last_index(), raft.persisted_index(), raft.config(), raft.config_index(), raft.is_removed(),
                raft.peers().iter().map(|peer| (peer.id, peer.match_index, peer.next_index, peer.progress)).collect::<Vec<_>>()
            )
        }).collect();
        panic!("the healed cluster does not get on; goal {goal:?}\n{}", view.join("\n"));
    }

    fn is_reached(&self, leader: usize, index: u64) -> bool {
        let config = self.nodes[leader].raft.config();
        !config.is_joint() && config.members().all(|id| self.nodes[id.0 as usize - 1].state.index >= index)
    }

    /// The leader of the highest term.
    fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| self.nodes[*at].is_up && self.nodes[*at].raft.is_leader();
        (0..self.nodes.len()).filter(leads).max_by_key(|at| self.nodes[*at].raft.term())
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.prng.one_in(n)
    }

    fn ms(&mut self, below: u64) -> Span {
        Span(self.prng.below(below * 1_000_000))
    }

    // Accidents.

    fn fail_somewhere(&mut self) {
        let (crash, part) = if self.plan.is_harsh { (120, 150) } else { (500, 500) };
        let at = self.prng.below(self.nodes.len() as u64) as usize;
        if self.one_in(crash) && self.nodes[at].is_up {
            let synced = self.prng.below(self.nodes[at].flights.len() as u64 + 1) as usize;
            let restart_at = self.now + self.ms(if self.plan.is_harsh { 2500 } else { 1000 });
            self.nodes[at].crash(synced, restart_at);
            for peer in 0..self.nodes.len() {
                self.post_now(at, peer, Net::Down);
            }
        }
        if self.one_in(part) {
            let is_cut = !self.one_in(3);
            let is_one_way = self.one_in(3);
            let side: Vec<bool> = (0..self.nodes.len()).map(|_| self.prng.one_in(2)).collect();
            for (from, row) in self.blocked.iter_mut().enumerate() {
                for (to, blocked) in row.iter_mut().enumerate() {
                    *blocked = is_cut && (if is_one_way { side[from] && !side[to] } else { side[from] != side[to] });
                }
            }
        }
        if self.one_in(300) {
            self.reset_links(at);
        }
        if self.one_in(600) && self.nodes[at].is_up {
            let oldest_unsynced_us = if self.one_in(3) { 3_000_000 } else { 0 };
            self.nodes[at].step(Input::DiskLag { oldest_unsynced_us, now: self.now });
        }
    }

    fn reset_links(&mut self, at: usize) {
        for peer in 0..self.nodes.len() {
            for (from, to) in [(at, peer), (peer, at)] {
                let incarnation = self.nodes[from].incarnation;
                self.post_now(from, to, Net::Down);
                self.post_now(from, to, Net::Up { incarnation });
            }
        }
        if self.is_healed {
            self.nodes[at].step(Input::DiskLag { oldest_unsynced_us: 0, now: self.now });
        }
    }

    fn restart(&mut self, at: usize) {
        let seed = self.prng.next_u64();
        let node = &self.nodes[at];
        let knows = |index: &u64| self.oracle.is_committed(*index, node.disk.term(*index));
        let highest = node.disk.last().min(node.seen.1.0);
        let committed = (node.checkpoint.index..=highest).rev().find(knows).unwrap_or(0);
        let floor = if self.prng.one_in(2) { committed } else { 0 };
        self.nodes[at].restart(seed, floor, self.now);
        self.reset_links(at);
    }

    // Wishes.

    fn ask_something(&mut self) {
        let at = self.prng.below(self.nodes.len() as u64) as usize;
        let now = self.now;
        if self.nodes[at].is_up && self.one_in(4) {
            let (floor, node) = (self.oracle.committed(), &mut self.nodes[at]);
            match node.step(Input::FollowerRead { now }) {
                Outcome::FollowerReadJoined { position } => node.follower_reads.push((position, floor)),
                Outcome::ReadJoined { position } => node.reads.push((node.raft.term(), position, floor)),
                _ => {}
            }
            self.oracle.check_node(&mut self.nodes[at]);
        }
        if !self.nodes[at].is_up || !self.nodes[at].raft.is_leader() {
            return;
        }
        match self.prng.below(60) {
            0 => {
                let target = NodeId(1 + self.prng.below(self.nodes.len() as u64));
                self.nodes[at].step(Input::Transfer { target, now });
            }
            1 | 2 if self.plan.spares > 0 => self.change_members(at),
            3..20 => {
                let floor = self.oracle.committed();
                let node = &mut self.nodes[at];
                if let Outcome::ReadJoined { position } = node.step(Input::Read { now }) {
                    node.reads.push((node.raft.term(), position, floor));
                }
            }
            _ => {
                self.payloads += 1;
                // Now and then so large that a message cannot hold two.
                let bytes = if self.one_in(20) { 150_000 } else { 8 };
                let mut payload = vec![0; bytes];
                payload[..8].copy_from_slice(&self.payloads.to_le_bytes());
                self.nodes[at].step(Input::Propose { payload: &payload, now });
            }
        }
        self.oracle.check_node(&mut self.nodes[at]);
    }

    fn change_members(&mut self, at: usize) {
        let config = self.nodes[at].raft.config().clone();
        let mut change = ConfigChange::default();
        for id in (1..=self.nodes.len() as u64).map(NodeId) {
            match (config.is_voter(id), self.prng.below(5)) {
                (true, 0) => change.remove.push(id),
                (true, 1) => change.add_learners.push(id),
                (false, 0 | 1) => change.add_voters.push(id),
                (false, 2) => change.add_learners.push(id),
                _ => {}
            }
        }
        if let Outcome::Proposed { .. } = self.nodes[at].step(Input::ChangeConfig { change: &change, now: self.now }) {
            self.configs += 1;
        }
    }

    // The turn of every node.

    fn turn(&mut self) {
        self.now = self.now + TICK;
        self.deliver();
        for at in 0..self.nodes.len() {
            if self.nodes[at].restart_at <= self.now {
                self.restart(at);
            }
            if self.nodes[at].is_up {
                self.turn_node(at);
            }
        }
    }

    fn turn_node(&mut self, at: usize) {
        let now = self.now;
        while self.nodes[at].flights.front().is_some_and(|flight| flight.done <= now) {
            let leaving = self.nodes[at].finish_sync();
            self.oracle.check_rises(at, &mut self.nodes);
            self.oracle.check_node(&mut self.nodes[at]);
            leaving.into_iter().for_each(|message| self.send(at, message));
        }
        if self.nodes[at].raft.next_deadline() <= now {
            self.nodes[at].step(Input::Tick { now });
        }
        let count = self.prng.below(8);
        if self.nodes[at].apply(count) {
            let Snapshot { index, hash, .. } = self.nodes[at].state;
            self.oracle.check_applied(index, hash);
        }
        if self.one_in(40) {
            let kept = self.prng.below(10);
            self.nodes[at].compact(kept);
        }
        if self.nodes[at].next_heartbeat <= now {
            self.nodes[at].next_heartbeat = now + Span::from_ms(50);
            self.compare_rest(at);
            for peer in (1..=self.nodes.len() as u64).map(NodeId) {
                if let Some(body) = self.nodes[at].raft.heartbeat(peer, now) {
                    self.send(at, Outgoing { to: peer, body });
                }
            }
        }
        self.oracle.check_rises(at, &mut self.nodes);
        self.oracle.check_node(&mut self.nodes[at]);
        for _ in 0..8 {
            if self.nodes[at].raft.is_dirty() {
                self.drain(at);
            }
        }
        assert!(!self.nodes[at].raft.is_dirty(), "a group that never comes to rest");
        let waits = self.nodes[at].log.is_written && (self.nodes[at].flights.len() < 2 || self.is_healed);
        if waits || !self.nodes[at].log.closed.is_empty() {
            let slow = if self.plan.is_harsh && self.one_in(15) { 400 } else { 12 };
            let after = self.nodes[at].flights.back().map_or(now, |flight| flight.done);
            let done = after.max(now + self.ms(slow));
            self.nodes[at].close_epoch(done);
        }
    }

    /// What the shard finds out by comparing the sets of a pair, or by its silence.
    fn compare_rest(&mut self, at: usize) {
        let raft = &self.nodes[at].raft;
        let is_wrong = self.nodes.iter().any(|other| {
            let is_same = other.raft.rests_with(raft.id()) && other.raft.rest_hash() == raft.rest_hash();
            raft.rests_with(other.id) && !(other.is_up && is_same)
        });
        self.rests += u64::from(raft.is_resting());
        if is_wrong && self.one_in(3) {
            let now = self.now;
            self.nodes[at].raft.wake(now, |_| now);
        }
    }

    fn drain(&mut self, at: usize) {
        let mut effects = std::mem::take(&mut self.nodes[at].effects);
        effects.clear();
        let node = &mut self.nodes[at];
        assert_eq!(node.raft.wants_hard_state(), {
            node.raft.drain(&node.log, &mut effects);
            effects.hard_state.is_some()
        });
        self.perform(at, &effects);
        self.nodes[at].effects = effects;
        self.oracle.check_node(&mut self.nodes[at]);
    }

    fn perform(&mut self, at: usize, effects: &Effects) {
        let node = &mut self.nodes[at];
        if let Some(hard_state) = effects.hard_state {
            node.log.image.hard_state = hard_state;
            node.log.is_written = true;
            node.raft.hard_state_epoch(SyncEpoch(node.log.open));
        }
        effects.send_now.iter().for_each(|message| self.send(at, *message));
        let node = &mut self.nodes[at];
        let is_synced = !node.log.is_written && node.flights.is_empty() && node.log.closed.is_empty();
        let epoch = if node.log.is_written { node.log.open } else { node.log.open - 1 };
        for message in &effects.send_after_sync {
            if !is_synced {
                self.nodes[at].after_sync.push((epoch, *message));
            } else if let Some(message) = self.nodes[at].raft.release(message) {
                self.send(at, message);
            }
        }
        if let Some(commit) = effects.commit {
            self.oracle.check_commit(&self.nodes[at], commit);
            self.nodes[at].told_commit = commit.0.max(self.nodes[at].told_commit);
        }
        let node = &mut self.nodes[at];
        if effects.reads_dropped || effects.role.is_some() {
            node.reads.retain(|(term, ..)| node.raft.is_leader() && *term == node.raft.term());
        }
        if let Some(confirmed) = effects.reads_confirmed {
            for (_, _, floor) in node.reads.iter().filter(|(_, position, _)| *position <= confirmed.position) {
                self.oracle.check_read(*floor, confirmed.read_index);
            }
            node.reads.retain(|(_, position, _)| *position > confirmed.position);
        }
        if let Some(confirmed) = effects.follower_reads {
            assert!(node.state.index >= confirmed.read_index.0, "a follower's read is served before it is applied");
            for (_, floor) in node.follower_reads.extract_if(.., |(position, _)| *position <= confirmed.position) {
                self.oracle.check_read(floor, confirmed.read_index);
            }
        }
        if let Some(through) = effects.follower_reads_dropped {
            node.follower_reads.retain(|(position, _)| *position > through);
        }
        for peer in &effects.need_snapshot {
            self.send_snapshot(at, peer.0 as usize - 1);
        }
    }

    // The network.

    fn send(&mut self, from: usize, message: Outgoing) {
        self.oracle.check_message(&self.nodes[from], &message);
        let entries = match message.body {
            Body::AppendEntries { prev_index, count, .. } => self.nodes[from].log.bytes(prev_index.0 + 1, count),
            _ => Vec::new(),
        };
        let to = message.to.0 as usize - 1;
        let copies = match self.prng.below(if self.is_healed { 1 } else { 30 }) {
            1 => 0,
            2 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            self.post(from, to, Net::Raft { body: message.body, entries: entries.clone() });
        }
    }

    fn send_snapshot(&mut self, from: usize, to: usize) {
        let node = &mut self.nodes[from];
        node.raft.snapshot_sent(NodeId(to as u64 + 1), self.now);
        let snapshot = node.state.clone();
        if snapshot.index + 1 < node.log.image.first || node.installing.is_some() {
            return self.post_now(to, from, Net::Report(None));
        }
        self.snapshots += 1;
        self.post(from, to, Net::Snapshot(Box::new(snapshot)));
    }

    fn post(&mut self, from: usize, to: usize, net: Net) {
        let spread = if self.is_healed {
            3
        } else if self.plan.is_harsh && self.one_in(10) {
            300
        } else {
            10
        };
        let at = self.now + self.ms(spread);
        self.post_at(at, from, to, net);
    }

    fn post_now(&mut self, from: usize, to: usize, net: Net) {
        self.post_at(self.now, from, to, net);
    }

    fn post_at(&mut self, at: Mono, from: usize, to: usize, net: Net) {
        self.numbers += 1;
        if from != to {
            self.parcels.push(Reverse(Parcel { at, number: self.numbers, from, to, net }));
        }
    }

    fn deliver(&mut self) {
        while self.parcels.peek().is_some_and(|Reverse(parcel)| parcel.at <= self.now) {
            let Reverse(Parcel { from, to, net, .. }) = self.parcels.pop().expect("just seen");
            let is_event = matches!(net, Net::Up { .. } | Net::Down);
            if !self.nodes[to].is_up || self.blocked[from][to] && !is_event {
                continue;
            }
            self.receive(from, to, net);
            self.oracle.check_rises(to, &mut self.nodes);
            self.oracle.check_node(&mut self.nodes[to]);
        }
    }

    fn receive(&mut self, from: usize, to: usize, net: Net) {
        let (now, sender) = (self.now, self.nodes[from].id);
        let node = &mut self.nodes[to];
        match net {
            Net::Raft { body, entries } => {
                let entries = match body {
                    Body::AppendEntries { prev_index, count, .. } => records(&entries, count, prev_index.0 + 1),
                    _ => Records::EMPTY,
                };
                node.step(Input::Message { from: sender, body, entries, now });
            }
            Net::Snapshot(snapshot) => {
                let is_known = snapshot.index <= node.raft.commit_index().0 || node.installing.is_some();
                let installed = Some(snapshot.index);
                if !is_known {
                    node.install(*snapshot);
                    self.oracle.check_applied(node.state.index, node.state.hash);
                }
                self.post(to, from, Net::Report(installed));
            }
            Net::Report(installed) => {
                node.step(Input::SnapshotReport { peer: sender, installed: installed.map(LogIndex) });
            }
            Net::Up { incarnation } => {
                node.step(Input::PeerUp { peer: sender, incarnation });
            }
            Net::Down => {
                node.step(Input::PeerDown { peer: sender });
            }
        }
    }
}
