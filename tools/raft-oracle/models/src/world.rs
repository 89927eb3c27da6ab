//! The world of a plan: nodes, network, bounds left, and what an action makes of them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base::NodeId;
use ours::{Body, Role};

use crate::names::Names;
use crate::net::{may_matter, print};
use crate::node::Node;
use crate::plan::{Driver, Plan, Start};
use crate::store::{Event, Fate, MessageAt, NodeAt, Store};
use crate::truth::{Rule, Truth};

/// Nodes of a plan, at most.
const NODES_MAX: usize = 5;

/// Something that may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// To one node.
    At(NodeId, Event),
    /// Time passes.
    Wait,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Left {
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    pub(crate) changes: u8,
    pub(crate) transfers: u8,
}

/// One state of the world. Two are equal when they differ in the names of nodes that are alike.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) nodes: Vec<NodeAt>,
    /// Ascending.
    pub(crate) net: Vec<MessageAt>,
    pub(crate) left: Left,
    /// The node that may crash, in this branch of the search.
    pub(crate) victim: NodeId,
    pub(crate) clock: u8,
    /// The life of the second that the first knows; only with links.
    links: [[u8; NODES_MAX]; NODES_MAX],
    pub(crate) truth: Truth,
    /// What stands for it.
    print: u64,
    /// How many actions led here; no part of the state.
    pub(crate) depth: u16,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.print);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &World) -> bool {
        self.print == other.print
    }
}

fn at(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("ids count from 1")
}

impl World {
    pub(crate) fn node<'a>(&self, store: &'a Store, id: NodeId) -> &'a Arc<Node> {
        store.node(self.nodes[at(id)])
    }

    /// All states to begin with: one for each node that may crash.
    pub(crate) fn first(plan: &Plan, store: &mut Store) -> Vec<World> {
        let left = Left {
            proposals: plan.proposals,
            crashes: plan.crashes,
            changes: u8::from(plan.change.is_some()),
            transfers: plan.transfers,
        };
        let mut world = World {
            nodes: plan.ids().map(|id| store.keep_node(Node::new(plan, id))).collect(),
            net: Vec::new(),
            left: Left { crashes: 0, ..left },
            victim: NodeId(1),
            clock: 0,
            links: [[1; NODES_MAX]; NODES_MAX],
            truth: Truth::default(),
            print: 0,
            depth: 0,
        };
        if plan.has_links {
            plan.ids().for_each(|id| world.connect_all(plan, store, id));
        }
        if plan.start != Start::Fresh {
            world.elect_first(plan, store);
        }
        if plan.start == Start::Doubted {
            world.lose_acked(plan, store);
        }
        world.left.crashes = left.crashes;
        let victims = if left.crashes == 0 { vec![NodeId(1)] } else { plan.ids().collect() };
        let with_victim = |victim| {
            let mut world = World { victim, ..world.clone() };
            world.print = world.print(store);
            world
        };
        let mut worlds: Vec<World> = victims.into_iter().map(with_victim).collect();
        worlds.sort_by_key(|world| world.print);
        worlds.dedup_by_key(|world| world.print);
        worlds
    }

    /// Node 1 leads, and all know that its first entry is committed.
    fn elect_first(&mut self, plan: &Plan, store: &mut Store) {
        let leader = NodeId(1);
        self.must(plan, store, leader, Event::TimeOut);
        self.deliver_all(plan, store);
        assert!(self.node(store, leader).raft.is_leader(), "node 1 was to be elected");
        for id in plan.ids().filter(|id| id.0 <= plan.voters && *id != leader) {
            self.act(plan, store, Action::At(leader, Event::Heartbeat(id)));
        }
        self.deliver_all(plan, store);
        self.net.clear();
    }

    /// The leader's next entry is on the disk of node 2, acked, and lost there; nobody else has heard of it.
    fn lose_acked(&mut self, plan: &Plan, store: &mut Store) {
        let (leader, victim) = (NodeId(1), NodeId(2));
        self.must(plan, store, leader, Event::Propose);
        for to in [victim, leader] {
            let sent: Vec<MessageAt> =
                self.net.iter().copied().filter(|message| store.message(*message).to == to).collect();
            sent.into_iter().for_each(|message| self.must(plan, store, to, Event::Deliver(message)));
        }
        self.left.crashes = 1;
        self.must(plan, store, victim, Event::Crash);
        self.net.retain(|message| store.message(*message).to != victim);
    }

    fn must(&mut self, plan: &Plan, store: &mut Store, id: NodeId, event: Event) {
        assert!(self.act(plan, store, Action::At(id, event)), "{event:?} at {id} is part of the beginning");
    }

    fn deliver_all(&mut self, plan: &Plan, store: &mut Store) {
        while let Some(message) = self.net.first().copied() {
            let to = store.message(message).to;
            self.act(plan, store, Action::At(to, Event::Deliver(message)));
            // Each arrives once: again and again it could undo what others did.
            self.net.retain(|other| *other != message);
        }
    }

    /// What may happen next.
    pub(crate) fn actions(&self, plan: &Plan, store: &Store, actions: &mut Vec<Action>) {
        let mut push = |id, event| actions.push(Action::At(id, event));
        for id in plan.ids() {
            let node = self.node(store, id);
            let raft = &node.raft;
            let is_leader = raft.role() == Role::Leader;
            let may_raise = raft.term().0 < plan.term_max && plan.may_campaign(id);
            if !is_leader && may_raise && raft.config().is_voter(id) {
                push(id, Event::TimeOut);
            }
            if node.is_unsynced() {
                push(id, Event::Sync);
            }
            if self.left.crashes > 0 && id == self.victim {
                push(id, Event::Crash);
            }
            if plan.has_repair() && raft.health() != ours::Health::Clean {
                push(id, Event::Ask);
            }
            if plan.has_links {
                let is_new = |peer: &NodeId| *peer != id && self.known_life(id, *peer) != self.life(store, *peer);
                plan.ids().filter(is_new).for_each(|peer| push(id, Event::Connect(peer, self.life(store, peer))));
            }
            if !is_leader {
                continue;
            }
            if self.left.proposals > 0 {
                push(id, Event::Propose);
            }
            if self.left.changes > 0 {
                push(id, Event::Change);
            }
            for peer in raft.peers() {
                if plan.has_heartbeat_acks || plan.has_heartbeats && peer.match_index.min(raft.commit_index()).0 > 0 {
                    push(id, Event::Heartbeat(peer.id));
                }
                if self.left.transfers > 0 {
                    push(id, Event::Transfer(peer.id));
                }
            }
            if plan.transfers > 0 {
                push(id, Event::Tick);
            }
        }
        for message in &self.net {
            let Message { to, is_ask } = Message::of(store, *message);
            push(to, Event::Deliver(*message));
            if is_ask {
                push(to, Event::DeliverLoyal(*message));
            }
        }
        if self.clock < plan.clock_max {
            actions.push(Action::Wait);
        }
    }

    /// Does it. False if nothing has changed.
    pub(crate) fn act(&mut self, plan: &Plan, store: &mut Store, action: Action) -> bool {
        let Action::At(id, event) = action else {
            self.clock += 1;
            self.finish(plan, store);
            return true;
        };
        let is_crash = matches!(event, Event::Crash);
        match event {
            Event::Deliver(message) | Event::DeliverLoyal(message) if !self.may_arrive(plan, store, message) => {
                return false;
            }
            Event::Propose => self.left.proposals = self.left.proposals.saturating_sub(1),
            Event::Change => self.left.changes -= 1,
            Event::Transfer(_) => self.left.transfers -= 1,
            Event::Crash => self.left.crashes -= 1,
            Event::Connect(peer, life) => {
                self.links[at(id)][at(peer)] = u8::try_from(life).expect("a few lives");
                if plan.driver.keeps_connections() {
                    self.finish(plan, store);
                    return true;
                }
            }
            _ => {}
        }
        let is_news = self.turn(plan, store, id, event);
        if is_crash && plan.has_links {
            self.connect_all(plan, store, id);
        }
        self.finish(plan, store);
        is_news || matches!(event, Event::Connect(..) | Event::Crash)
    }

    /// One node's part of an action. False if nothing has changed.
    fn turn(&mut self, plan: &Plan, store: &mut Store, id: NodeId, event: Event) -> bool {
        let is_safe = self.left.crashes == 0 || id != self.victim;
        let row = self.links[at(id)];
        let lives = |to: NodeId| u64::from(row[at(to)]);
        let lives_print = if plan.has_links { print(&row) } else { 0 };
        let fate = store.step(plan, self.nodes[at(id)], event, (self.clock, is_safe), (&lives, lives_print));
        let step = match fate {
            Fate::Nothing => return false,
            Fate::Broken => {
                self.truth.note_broken(Rule::NoAssertFails);
                return true;
            }
            Fate::Step(step) => step,
        };
        let is_same = self.nodes[at(id)] == step.node;
        self.nodes[at(id)] = step.node;
        if step.has_lied {
            self.truth.note_broken(Rule::DiskFirst);
        }
        // To a node that will not crash, a late sync is nothing but late messages, and those the network has anyway.
        let mut is_news = !is_same;
        for message in &step.sent {
            if self.is_alive(plan, store, *message)
                && let Err(place) = self.net.binary_search(message)
            {
                self.net.insert(place, *message);
                is_news = true;
            }
        }
        if !is_same {
            let mut net = std::mem::take(&mut self.net);
            let concerns = |message: MessageAt| [store.message(message).from, store.message(message).to].contains(&id);
            net.retain(|message| !concerns(*message) || self.is_alive(plan, store, *message));
            self.net = net;
        }
        let nodes: Vec<&Node> = self.nodes.iter().map(|node| store.node(*node).as_ref()).collect();
        // Without links nobody notices that a disk has lost something.
        let knows = |peer| match nodes[at(peer)].incarnation {
            _ if peer == id => true,
            life if plan.has_links => u64::from(row[at(peer)]) == life,
            life => plan.keeps_all() || life == 1,
        };
        self.truth.observe(&nodes, id, step.commit, knows);
        is_news
    }

    /// The crash of the last node that may crash makes the others' disks no slower than any.
    fn finish(&mut self, plan: &Plan, store: &mut Store) {
        if self.left.crashes == 0 {
            let is_late = |id: &NodeId| self.node(store, *id).is_unsynced();
            let late: Vec<NodeId> = plan.ids().filter(is_late).collect();
            late.into_iter().for_each(|id| _ = self.turn(plan, store, id, Event::Sync));
        }
        let nodes: Vec<&Node> = self.nodes.iter().map(|node| store.node(*node).as_ref()).collect();
        self.truth.check(plan, &nodes, plan.time(self.clock));
        self.print = self.print(store);
    }

    fn is_alive(&self, plan: &Plan, store: &Store, message: MessageAt) -> bool {
        let message = store.message(message);
        let is_mortal = self.left.crashes > 0 && message.to == self.victim;
        if plan.keeps_messages {
            return true;
        }
        let is_past = plan.has_links
            && !plan.driver.keeps_connections()
            && self.known_life(message.to, message.from) > message.lives.0;
        // Who has nothing to ask any more needs no answer; that the question may raise a term, campaigns do, too.
        let is_answer_wanted = !matches!(message.body, Body::EntryFetch { .. })
            || self.node(store, message.from).raft.health() != ours::Health::Clean;
        !is_past && is_answer_wanted && may_matter(plan, message, self.node(store, message.to), is_mortal)
    }

    fn may_arrive(&self, plan: &Plan, store: &Store, message: MessageAt) -> bool {
        let message = store.message(message);
        let lives = (self.known_life(message.to, message.from), self.life(store, message.to));
        !plan.has_links || plan.driver.keeps_connections() || message.lives == lives
    }

    fn life(&self, store: &Store, id: NodeId) -> u64 {
        self.node(store, id).incarnation
    }

    fn known_life(&self, id: NodeId, peer: NodeId) -> u64 {
        u64::from(self.links[at(id)][at(peer)])
    }

    /// A new life opens its links. Who leads may notice it late; to the others it makes no difference when.
    fn connect_all(&mut self, plan: &Plan, store: &mut Store, id: NodeId) {
        let own_life = self.life(store, id);
        for peer in plan.ids().filter(|peer| *peer != id) {
            let life = self.life(store, peer);
            self.links[at(id)][at(peer)] = u8::try_from(life).expect("a few lives");
            self.turn(plan, store, id, Event::Connect(peer, life));
            if plan.driver != Driver::KeepsOldAcks && !self.node(store, peer).raft.is_leader() {
                self.links[at(peer)][at(id)] = u8::try_from(own_life).expect("a few lives");
                self.turn(plan, store, peer, Event::Connect(id, own_life));
            }
        }
    }

    /// The least of what stands for it, over all ways to rename nodes that are alike.
    fn print(&self, store: &Store) -> u64 {
        self.print_with(store, &self.net)
    }

    /// The same but for the messages under way.
    pub(crate) fn shape(&self, store: &Store) -> u64 {
        self.print_with(store, &[])
    }

    fn print_with(&self, store: &Store, net: &[MessageAt]) -> u64 {
        let names = store.names();
        let scalars = print(&(self.left, self.clock, self.truth.print()));
        (0..names.ways()).map(|way| self.print_in(store, (names, way), net, scalars)).min().expect("one way at least")
    }

    fn print_in(&self, store: &Store, (names, way): (&Names, usize), net: &[MessageAt], scalars: u64) -> u64 {
        let mut nodes = [0; NODES_MAX];
        let mut links_print = 0_u64;
        let new = |old: usize| at(names.name(way, NodeId(old as u64 + 1)));
        for (old, node) in self.nodes.iter().enumerate() {
            nodes[new(old)] = store.node(*node).prints[way];
            // A first life is what all know, unless there were others.
            for (peer, life) in self.links[old].iter().enumerate().filter(|(_, life)| **life > 1) {
                links_print = links_print.wrapping_add(print(&(new(old), new(peer), life)));
            }
        }
        // A sum: names in the net have no order of their own under a renaming.
        let net = net.iter().fold(0_u64, |sum, message| sum.wrapping_add(store.message(*message).prints[way]));
        let victim = if self.left.crashes == 0 { NodeId(0) } else { names.name(way, self.victim) };
        let leaders = self.truth.leaders_print(|id| names.name(way, id));
        print(&(nodes, links_print, net, scalars, victim, leaders))
    }
}

/// What [`World::actions`] looks at.
struct Message {
    to: NodeId,
    is_ask: bool,
}

impl Message {
    fn of(store: &Store, at: MessageAt) -> Message {
        let message = store.message(at);
        Message { to: message.to, is_ask: matches!(message.body, Body::EntryFetch { .. }) }
    }
}
