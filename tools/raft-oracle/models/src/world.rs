//! The world of a plan: nodes, network, bounds left, and every action that may come next.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use base::NodeId;
use ours::{Body, Config, Outcome, Role};
use stateright::{Model, Property};

use crate::net::{Message, Net};
use crate::node::{Node, Output};
use crate::plan::{Driver, Plan};
use crate::truth::{Rule, Truth};

/// Something that may happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A deadline passes and a pre-vote is won.
    TimeOut(NodeId),
    /// The message of this name arrives.
    Deliver(u64),
    /// A disk has everything.
    Sync(NodeId),
    /// A client's command.
    Propose(NodeId),
    /// A leader tells a follower what is committed.
    Heartbeat(NodeId, NodeId),
    /// A process dies and starts again.
    Crash(NodeId),
    /// The first notices the new life of the second.
    Connect(NodeId, NodeId),
    /// A leader changes the members.
    Change(NodeId),
}

/// One state of the world.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) net: Net,
    proposals: u8,
    crashes: u8,
    /// The node that may crash, in this branch of the search.
    victim: NodeId,
    changes: u8,
    /// The life of the second that the first knows; only with links.
    links: Vec<Vec<u64>>,
    pub(crate) truth: Truth,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.iter().for_each(|node| state.write_u64(node.print));
        (self.proposals, self.crashes, self.victim, self.changes, &self.links, &self.truth, &self.net).hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &World) -> bool {
        crate::net::print(self) == crate::net::print(other)
    }
}

impl World {
    /// Does `id` know the present life of `peer`?
    pub(crate) fn is_noticed(&self, id: NodeId, peer: NodeId) -> bool {
        let peer_life = self.nodes[at(peer)].incarnation;
        id == peer || self.links.is_empty() || self.links[at(id)][at(peer)] == peer_life
    }
}

fn at(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("ids count from 1")
}

/// Can the message still change anything, now or in a later life of its receiver?
fn may_matter(message: &Message, receiver: &Node) -> bool {
    let (term, disk_term) = (message.body.term(), receiver.disk.hard_state.term);
    match message.body {
        // A lower term is answered, so it is never outgrown.
        Body::AppendEntries { .. } | Body::Heartbeat { .. } | Body::PreVote { .. } => true,
        // Answers to who is neither candidate nor leader: in this term it will not be one any more.
        Body::VoteResp { .. } | Body::AppendResp { .. } | Body::HeartbeatAck { .. } => {
            term > disk_term || term == disk_term && receiver.raft.role() != Role::Follower
        }
        _ => term >= disk_term,
    }
}

impl Plan {
    fn first_config(&self, id: NodeId) -> Config {
        if id.0 > self.voters {
            return Config::default();
        }
        Config::single(&(1..=self.voters).map(NodeId).collect::<Vec<_>>())
    }

    fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.voters + self.spares).map(NodeId)
    }

    fn gates_links(&self) -> bool {
        self.has_links && self.driver != Driver::KeepsOldAcks
    }

    fn may_arrive(&self, world: &World, message: &Message) -> bool {
        !self.gates_links() || world.links[at(message.to)][at(message.from)] == message.incarnation
    }

    /// The one node that an action changes, and what came out. `None`: nothing happened.
    fn act(&self, world: &mut World, action: &Action) -> Option<(NodeId, Output)> {
        let mut out = Output::default();
        let driver = self.driver;
        let node = |world: &mut World, id: NodeId| Arc::clone(&world.nodes[at(id)]);
        let id = match *action {
            Action::TimeOut(id) => {
                let voters: Vec<NodeId> = world.nodes[at(id)].raft.config().voters().collect();
                Arc::make_mut(&mut world.nodes[at(id)]).time_out(&voters, driver, &mut out);
                id
            }
            Action::Deliver(print) => {
                let message = Arc::clone(world.net.messages().iter().find(|message| message.print == print)?);
                let before = node(world, message.to);
                Arc::make_mut(&mut world.nodes[at(message.to)]).deliver(&message, driver, &mut out);
                let is_same = world.nodes[at(message.to)].print == before.print;
                if is_same && out.sent.iter().all(|sent| world.net.holds(sent.print)) {
                    return None;
                }
                message.to
            }
            Action::Sync(id) => {
                Arc::make_mut(&mut world.nodes[at(id)]).sync(driver, &mut out);
                id
            }
            Action::Propose(id) => {
                let outcome = Arc::make_mut(&mut world.nodes[at(id)]).propose(driver, &mut out);
                world.proposals -= 1;
                matches!(outcome, Outcome::Proposed { .. }).then_some(id)?
            }
            Action::Heartbeat(id, peer) => {
                Arc::make_mut(&mut world.nodes[at(id)]).heartbeat(peer, driver, &mut out);
                id
            }
            Action::Crash(id) => {
                let restarted = node(world, id).restart(&self.first_config(id), self.lost_entries, driver);
                world.nodes[at(id)] = Arc::new(restarted);
                world.crashes -= 1;
                if self.has_links {
                    self.connect_all(world, id);
                }
                id
            }
            Action::Connect(id, peer) => {
                let incarnation = world.nodes[at(peer)].incarnation;
                world.links[at(id)][at(peer)] = incarnation;
                if driver != Driver::KeepsOldAcks {
                    Arc::make_mut(&mut world.nodes[at(id)]).connect(peer, incarnation, driver, &mut out);
                }
                id
            }
            Action::Change(id) => {
                let change = self.change.as_ref()?;
                let outcome = Arc::make_mut(&mut world.nodes[at(id)]).change_config(change, driver, &mut out);
                world.changes -= 1;
                matches!(outcome, Outcome::Proposed { .. }).then_some(id)?
            }
        };
        Some((id, out))
    }

    fn connect_all(&self, world: &mut World, id: NodeId) {
        for peer in self.ids().filter(|peer| *peer != id) {
            let incarnation = world.nodes[at(peer)].incarnation;
            world.links[at(id)][at(peer)] = incarnation;
            let mut out = Output::default();
            Arc::make_mut(&mut world.nodes[at(id)]).connect(peer, incarnation, self.driver, &mut out);
        }
    }
}

impl Model for Plan {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let nodes = self.ids().map(|id| Arc::new(Node::new(id, &self.first_config(id), self.driver)));
        let count = usize::try_from(self.voters + self.spares).expect("a few nodes");
        let mut world = World {
            nodes: nodes.collect(),
            net: Net::default(),
            proposals: self.proposals,
            crashes: self.crashes,
            victim: NodeId(1),
            changes: u8::from(self.change.is_some()),
            links: if self.has_links { vec![vec![1; count]; count] } else { Vec::new() },
            truth: Truth::default(),
        };
        if self.has_links {
            self.ids().for_each(|id| self.connect_all(&mut world, id));
        }
        // Node 1 begins; the other voters are alike, unless a change tells them apart.
        let victims = match (self.crashes, self.change.is_some()) {
            (0, _) => 1,
            (_, false) => 2,
            (_, true) => self.voters + self.spares,
        };
        (1..=victims).map(|id| World { victim: NodeId(id), ..world.clone() }).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let is_begun = !world.truth.is_fresh();
        for node in &world.nodes {
            let id = node.raft.id();
            let is_leader = node.raft.role() == Role::Leader;
            // The voters are alike until the first election: that it is node 1's says nothing.
            let may_begin = is_begun || id == NodeId(1);
            if !is_leader && may_begin && node.raft.term().0 < self.term_max && node.raft.config().is_voter(id) {
                actions.push(Action::TimeOut(id));
            }
            if node.is_unsynced() {
                actions.push(Action::Sync(id));
            }
            if world.proposals > 0 && is_leader {
                actions.push(Action::Propose(id));
            }
            if world.changes > 0 && is_leader {
                actions.push(Action::Change(id));
            }
            if world.crashes > 0 && is_begun && id == world.victim {
                actions.push(Action::Crash(id));
            }
            if self.has_heartbeats && is_leader {
                let is_told = |peer: &&ours::Peer| peer.match_index.min(node.raft.commit_index()).0 > 0;
                actions.extend(node.raft.peers().iter().filter(is_told).map(|peer| Action::Heartbeat(id, peer.id)));
            }
            if self.has_links {
                let is_new = |peer: &&Arc<Node>| world.links[at(id)][at(peer.raft.id())] != peer.incarnation;
                let others = world.nodes.iter().filter(|peer| peer.raft.id() != id).filter(is_new);
                actions.extend(others.map(|peer| Action::Connect(id, peer.raft.id())));
            }
        }
        let arrivals = world.net.messages().iter().filter(|message| self.may_arrive(world, message));
        actions.extend(arrivals.map(|message| Action::Deliver(message.print)));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        if world.truth.is_broken() || world.truth.leaders() >= self.leaders_max {
            return None;
        }
        let mut next = world.clone();
        let acted = catch_unwind(AssertUnwindSafe(|| {
            let mut turns = vec![self.act(&mut next, &action)?];
            // To a node that will not crash, a late sync is nothing but late messages, and those the network has anyway.
            let (crashes, victim) = (next.crashes, next.victim);
            let is_safe = |node: &Node| crashes == 0 || node.raft.id() != victim;
            for node in next.nodes.iter_mut().filter(|node| is_safe(node) && node.is_unsynced()) {
                let mut out = Output::default();
                Arc::make_mut(node).sync(self.driver, &mut out);
                turns.push((node.raft.id(), out));
            }
            Some(turns)
        }));
        let Ok(acted) = acted else {
            let mut next = world.clone();
            next.truth.note_broken(Rule::NoAssertFails);
            return Some(next);
        };
        let mut truth = std::mem::take(&mut next.truth);
        for (id, out) in acted? {
            for message in out.sent {
                // Without links nobody can tell from which life a message is.
                let life = if self.has_links { message.incarnation } else { 0 };
                next.net.send(Message::new(message.from, life, message.to, message.body, message.entries));
            }
            truth.observe(self, &next, id, out.commit);
        }
        let nodes = &next.nodes;
        next.net.retain(|message| may_matter(message, &nodes[at(message.to)]));
        next.truth = truth;
        Some(next)
    }

    fn format_step(&self, world: &World, action: Action) -> Option<String> {
        match action {
            Action::Deliver(print) => {
                let message = world.net.messages().iter().find(|message| message.print == print)?;
                Some(format!("{} -> {}: {:?}", message.from, message.to, message.body))
            }
            other => Some(format!("{other:?}")),
        }
    }

    fn properties(&self) -> Vec<Property<Plan>> {
        let mut properties: Vec<Property<Plan>> = vec![
            Property::always("election safety", |_, world: &World| world.truth.holds(Rule::ElectionSafety)),
            Property::always("log matching", |_, world: &World| world.truth.holds(Rule::LogMatching)),
            Property::always("leader completeness", |_, world: &World| world.truth.holds(Rule::LeaderCompleteness)),
            Property::always("state machine safety", |_, world: &World| world.truth.holds(Rule::StateMachineSafety)),
            Property::always("committed is durable", |_, world: &World| world.truth.holds(Rule::CommittedIsDurable)),
            Property::always("no alarm", |_, world: &World| world.truth.holds(Rule::NoAlarm)),
            Property::always("no assert fails", |_, world: &World| world.truth.holds(Rule::NoAssertFails)),
        ];
        if !self.breaks {
            properties.push(Property::sometimes("a leader is elected", |_, world: &World| world.truth.leaders() > 0));
            properties
                .push(Property::sometimes("an entry is committed", |_, world: &World| world.truth.committed() > 0));
            if self.term_max > 1 {
                properties.push(Property::sometimes("a second leader commits", |_, world: &World| {
                    world.truth.commits_of(2) > 0
                }));
            }
            if self.change.is_some() {
                properties.push(Property::sometimes("the members have changed", |plan: &Plan, world: &World| {
                    let last = NodeId(plan.voters + plan.spares);
                    world.nodes.iter().any(|node| {
                        let config = node.raft.config();
                        !config.is_joint()
                            && config.is_voter(last)
                            && node.raft.commit_index() >= node.raft.config_index()
                    })
                }));
            }
        }
        properties
    }
}
