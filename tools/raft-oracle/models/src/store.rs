//! What a search has seen of single nodes: each state of a node and each message is kept once, and what an event makes
//! of a node is computed once. A world is then a list of numbers, and a step of it a look into a table.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use base::{LogIndex, Mono, NodeId};
use ours::{Input, Outcome};

use crate::names::Names;
use crate::net::{Message, is_kept};
use crate::node::{Node, Output};
use crate::plan::Plan;

/// Names a state of a node.
pub type NodeAt = u32;
/// Names a message.
pub type MessageAt = u32;

/// Something that happens to one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A deadline passes and a pre-vote is won.
    TimeOut,
    /// This message arrives.
    Deliver(MessageAt),
    /// The same, at a node that hears a leader.
    DeliverLoyal(MessageAt),
    /// The disk has everything.
    Sync,
    /// A client's command.
    Propose,
    /// A leader tells a follower what is committed.
    Heartbeat(NodeId),
    /// The process dies and starts again.
    Crash,
    /// This life of a peer is noticed.
    Connect(NodeId, u64),
    /// A leader changes the members.
    Change,
    /// Peers are asked for what is lost.
    Ask,
    /// A leader gives its office away.
    Transfer(NodeId),
    /// A leader's timer fires.
    Tick,
}

/// What an event made of a node.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node afterwards.
    pub node: NodeAt,
    /// Messages that left.
    pub sent: Vec<MessageAt>,
    /// The commit index rose to here.
    pub commit: Option<LogIndex>,
    /// A message promised more than was on disk.
    pub has_lied: bool,
}

/// What came of an event.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Nothing that counts.
    Nothing,
    /// An assert of the core failed.
    Broken,
    /// This.
    Step(Arc<Step>),
}

/// The states of nodes, messages and steps of one search.
#[derive(Debug)]
pub struct Store {
    names: Names,
    nodes: Vec<Arc<Node>>,
    node_of: HashMap<u64, NodeAt>,
    messages: Vec<Arc<Message>>,
    message_of: HashMap<u64, MessageAt>,
    steps: HashMap<(NodeAt, Event, u8, bool, u64), Fate>,
}

impl Store {
    /// Empty.
    #[must_use]
    pub fn new(names: Names) -> Store {
        Store {
            names,
            nodes: Vec::new(),
            node_of: HashMap::new(),
            messages: Vec::new(),
            message_of: HashMap::new(),
            steps: HashMap::new(),
        }
    }

    /// In which ways nodes are renamed.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The state of this name.
    #[must_use]
    pub fn node(&self, at: NodeAt) -> &Arc<Node> {
        &self.nodes[at as usize]
    }

    /// The message of this name.
    #[must_use]
    pub fn message(&self, at: MessageAt) -> &Arc<Message> {
        &self.messages[at as usize]
    }

    /// Keeps a state of a node.
    pub fn keep_node(&mut self, node: Node) -> NodeAt {
        let node = node.with_prints(&self.names);
        let next = u32::try_from(self.nodes.len()).expect("fewer states than memory");
        let at = *self.node_of.entry(node.prints[0]).or_insert(next);
        if at == next {
            self.nodes.push(Arc::new(node));
        }
        at
    }

    /// Keeps a message.
    pub fn keep_message(&mut self, message: Message) -> MessageAt {
        let message = message.with_prints(&self.names);
        let next = u32::try_from(self.messages.len()).expect("fewer messages than memory");
        let at = *self.message_of.entry(message.prints[0]).or_insert(next);
        if at == next {
            self.messages.push(Arc::new(message));
        }
        at
    }

    /// What `event` makes of node `at` at time `clock`; with `is_safe` its disk is fast. `lives` gives a message the
    /// lives that its connection joins, and `lives_print` stands for that function.
    pub fn step(
        &mut self,
        plan: &Plan,
        at: NodeAt,
        event: Event,
        (clock, is_safe): (u8, bool),
        (lives, lives_print): (&dyn Fn(NodeId) -> u64, u64),
    ) -> Fate {
        let key = (at, event, clock, is_safe, lives_print);
        if let Some(fate) = self.steps.get(&key) {
            return fate.clone();
        }
        let mut node = Node::clone(&self.nodes[at as usize]);
        let mut out = Output::default();
        let now = plan.time(clock);
        let acted = catch_unwind(AssertUnwindSafe(|| {
            let is_taken = act(self, plan, &mut node, event, now, &mut out);
            if is_taken && is_safe && node.is_unsynced() {
                node.sync(plan, &mut out);
            }
            is_taken
        }));
        let fate = match acted {
            Err(_) => Fate::Broken,
            Ok(false) => Fate::Nothing,
            Ok(true) => {
                let Output { sent, commit, has_lied } = out;
                let kept = sent.into_iter().filter(|message| is_kept(plan, &message.body));
                let sent: Vec<MessageAt> = kept
                    .map(|mut message| {
                        // Without links nobody can tell from which life a message is.
                        message.lives = if plan.has_links { (message.lives.0, lives(message.to)) } else { (0, 0) };
                        self.keep_message(message)
                    })
                    .collect();
                let node = self.keep_node(node);
                Fate::Step(Arc::new(Step { node, sent, commit, has_lied }))
            }
        };
        self.steps.insert(key, fate.clone());
        fate
    }
}

/// False if the node refused.
fn act(store: &Store, plan: &Plan, node: &mut Node, event: Event, now: Mono, out: &mut Output) -> bool {
    match event {
        Event::TimeOut => node.time_out(plan, now, out),
        Event::Deliver(at) => node.deliver(plan, store.message(at), now, out),
        Event::DeliverLoyal(at) => node.deliver_loyal(plan, store.message(at), now, out),
        Event::Sync => node.sync(plan, out),
        Event::Propose => return matches!(node.propose(plan, now, out), Outcome::Proposed { .. }),
        Event::Heartbeat(peer) => node.heartbeat(plan, peer, now, out),
        Event::Crash => *node = node.restart(plan, now),
        Event::Connect(peer, incarnation) => {
            node.take(plan, Input::PeerUp { peer, incarnation }, out);
        }
        Event::Change => {
            let Some(change) = &plan.change else { return false };
            return matches!(node.take(plan, Input::ChangeConfig { change, now }, out), Outcome::Proposed { .. });
        }
        Event::Ask => {
            node.take(plan, Input::FaultFound { now }, out);
        }
        Event::Transfer(target) => {
            return matches!(node.take(plan, Input::Transfer { target, now }, out), Outcome::Done);
        }
        Event::Tick => {
            node.take(plan, Input::Tick { now }, out);
        }
    }
    true
}
