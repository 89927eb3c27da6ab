//! The raft crate on one node, with its disk: `ready`, write, and `on_persist_ready` when the epoch is synced.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use base::{LogIndex, NodeId, Prng, Term};
use raft::eraftpb::Message;
use raft::{Config, RawNode, StateRole};

use crate::adapter;
use crate::twin::{HardState, Shared, Twin};

/// Milliseconds of one tick: 50 ticks are our 500 ms.
pub const TICK_MS: u64 = 10;
const ELECTION_TICKS: usize = 50;
const HEARTBEAT_TICKS: usize = 5;

/// A `Ready` whose writes are on their way to the disk.
struct Pending {
    epoch: u64,
    number: u64,
    messages: Vec<Message>,
}

/// One node of the raft crate.
pub struct Theirs {
    /// The crate's node.
    pub raw: RawNode<Shared>,
    twin: Rc<RefCell<Twin>>,
    pending: VecDeque<Pending>,
    /// The crate draws its timeouts from a generator of its own: these are put over them, one for each state.
    timeout: (StateRole, u64, u64, usize),
}

/// What a turn brought.
#[derive(Default)]
pub struct Turn {
    /// To send.
    pub messages: Vec<Message>,
    /// To apply up to here.
    pub commit: Option<LogIndex>,
}

impl Theirs {
    /// Starts from what the disk holds.
    #[must_use]
    pub fn new(id: NodeId, voters: &[u64], twin: &Rc<RefCell<Twin>>, applied: LogIndex, prng: &mut Prng) -> Theirs {
        // What is applied is committed, though the lossy commit index may not say so.
        let commit = twin.borrow().memory.hard.commit.max(applied);
        twin.borrow_mut().memory.hard.commit = commit;
        let config = Config {
            id: id.0,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: applied.0,
            max_size_per_msg: [raft::NO_LIMIT, 0, 300][prng.below(3) as usize],
            max_inflight_msgs: [256, 3][prng.below(2) as usize],
            check_quorum: true,
            pre_vote: true,
            batch_append: prng.one_in(2),
            skip_bcast_commit: prng.one_in(2),
            ..Config::default()
        };
        let shared = Shared { twin: twin.clone(), voters: voters.to_vec() };
        let raw = RawNode::new(&config, shared, &crate::silent()).expect("a configuration that is sound");
        let mut theirs =
            Theirs { raw, twin: twin.clone(), pending: VecDeque::new(), timeout: (StateRole::Follower, 0, 0, 0) };
        theirs.timeout.3 = draw(prng);
        theirs.raw.raft.set_randomized_election_timeout(theirs.timeout.3);
        theirs
    }

    /// To be called after each step: puts a seeded timeout in the place of the crate's.
    pub fn settle_timeout(&mut self, prng: &mut Prng) {
        let raft = &mut self.raw.raft;
        let state = (raft.state, raft.term, raft.leader_id);
        let (role, term, leader, _) = self.timeout;
        if state != (role, term, leader) {
            self.timeout = (state.0, state.1, state.2, draw(prng));
        }
        raft.set_randomized_election_timeout(self.timeout.3);
    }

    /// A message from another node. Votes among its answers get the incarnation of the asker.
    pub fn step(&mut self, message: Message, asker: Option<u64>) {
        let before = self.raw.raft.msgs.len();
        // What it refuses (an answer of a stranger, a proposal without a leader) is as good as lost.
        let _ = self.raw.step(message);
        let answers = &mut self.raw.raft.msgs[before..];
        adapter::echo(answers, asker.unwrap_or(0));
    }

    /// Writes what it wants written into the open epoch, and hands out what may leave before that is synced.
    pub fn drain(&mut self) -> Turn {
        let mut turn = Turn::default();
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let mut twin = self.twin.borrow_mut();
            assert!(ready.snapshot().is_empty(), "nobody sends snapshots");
            for entry in ready.entries() {
                let index = LogIndex(entry.index);
                if index <= twin.memory.last() {
                    twin.truncate(index);
                }
                assert_eq!(index, twin.memory.last().next(), "a gap in the log");
                twin.append(adapter::kind_of(entry), Term(entry.term), &entry.data);
            }
            if let Some(hard) = ready.hs() {
                let hard = HardState { term: Term(hard.term), vote: NodeId(hard.vote), commit: LogIndex(hard.commit) };
                twin.set_hard(hard);
            }
            let waits_for = self.pending.back().map_or(twin.persisted, |pending| pending.epoch);
            let epoch = if ready.must_sync() { twin.open } else { waits_for };
            drop(twin);
            turn.messages.extend(ready.take_messages());
            if let Some(last) = ready.committed_entries().last() {
                turn.commit = Some(LogIndex(last.index));
            }
            let messages = ready.take_persisted_messages();
            self.pending.push_back(Pending { epoch, number: ready.number(), messages });
            self.raw.advance_append_async(ready);
            turn.messages.extend(self.synced());
        }
        turn
    }

    /// Tells the crate what is on disk by now; returns the messages that waited for it.
    pub fn synced(&mut self) -> Vec<Message> {
        let persisted = self.twin.borrow().persisted;
        let mut messages = Vec::new();
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.epoch <= persisted) {
            self.raw.on_persist_ready(pending.number);
            messages.extend(pending.messages);
        }
        messages
    }

    /// May its next drain wait? Not with entries that the log does not hold yet.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        self.raw.raft.raft_log.unstable_entries().is_empty()
    }
}

fn draw(prng: &mut Prng) -> usize {
    ELECTION_TICKS + prng.below(ELECTION_TICKS as u64) as usize
}
