//! What must never happen, whatever the network and the disks do (docs/design/raft.md). Checked after every step.

use std::collections::HashMap;

use base::{LogIndex, NodeId, Term};
use raft::{Body, Log, Outgoing};

use super::node::{Node, Rise};

/// What the whole cluster has seen.
#[derive(Default)]
pub struct Oracle {
    leaders: HashMap<Term, NodeId>,
    votes: HashMap<(NodeId, Term), NodeId>,
    entries: HashMap<(u64, Term), u32>,
    hashes: HashMap<u64, u64>,
    /// Term and crc of every committed entry, from index 1.
    committed: Vec<(Term, u32)>,
    pub reads: u64,
    pub elections: u64,
}

impl Oracle {
    /// The highest index that anybody knows to be committed.
    pub fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// After a step or a drain of `node`.
    pub fn check_node(&mut self, node: &mut Node) {
        let raft = &node.raft;
        assert_eq!(raft.alarm(), None, "node {} raised an alarm", node.id);
        let (applied, commit, last) = (raft.applied_index(), raft.commit_index(), node.log.last_index());
        let installing = node.installing.is_some();
        assert!(applied <= commit || installing, "node {}: applied {applied}, committed {commit}", node.id);
        assert!(commit <= last || installing, "node {}: committed {commit}, last {last}", node.id);
        assert!(raft.persisted_index() <= last || installing, "node {}: persisted beyond the end", node.id);
        let now = (raft.term(), commit, applied);
        assert!(now.0 >= node.seen.0 && now.1 >= node.seen.1 && now.2 >= node.seen.2, "node {} went back", node.id);
        node.seen = now;
        // Each crc covers the one before it: one place in a term means one history (log matching).
        let first_unchecked = node.checked.min(last.0 + 1).max(node.log.image.first);
        for index in first_unchecked..=last.0 {
            let entry = node.log.image.entry(index).expect("held");
            let known = *self.entries.entry((index, entry.term)).or_insert(entry.crc);
            assert_eq!(known, entry.crc, "two entries at {index} of {}", entry.term);
        }
        node.checked = last.0 + 1;
        if raft.is_leader() {
            self.check_leader(node);
        }
    }

    fn check_leader(&mut self, node: &Node) {
        let term = node.raft.term();
        if let Some(known) = self.leaders.get(&term) {
            assert_eq!(*known, node.id, "two leaders in {term}");
            return;
        }
        self.leaders.insert(term, node.id);
        self.elections += 1;
        assert!(node.log.image.first <= self.committed() + 1, "a leader whose log begins beyond what is committed");
        for index in node.log.image.first..=self.committed() {
            let held = node.log.image.entry(index).map(|entry| (entry.term, entry.crc));
            assert_eq!(held, Some(self.committed[index as usize - 1]), "leader of {term} lacks committed {index}");
        }
    }

    /// `node` says that everything up to `commit` is committed.
    pub fn check_commit(&mut self, node: &Node, commit: LogIndex) {
        for index in node.told_commit + 1..=commit.0 {
            let Some(entry) = node.log.image.entry(index) else {
                assert!(index <= self.committed(), "node {} committed {index}, which it does not hold", node.id);
                continue;
            };
            let entry = (entry.term, entry.crc);
            match self.committed.get(index as usize - 1) {
                Some(known) => assert_eq!(*known, entry, "node {} committed another entry at {index}", node.id),
                None => self.committed.push(entry),
            }
        }
    }

    /// What `nodes[leader]` committed lies on the disks of a quorum of the configuration that was in force at that moment.
    pub fn check_rises(&self, leader: usize, nodes: &mut [Node]) {
        for Rise { first, last, before, after } in std::mem::take(&mut nodes[leader].rises) {
            let (id, image) = (nodes[leader].id, &nodes[leader].log.image);
            let is_held = |index: u64, config: &raft::Config| {
                // Gone from its log: it is in the machine.
                let Some(term) = image.term(index) else { return true };
                [config.incoming(), config.outgoing()].iter().all(|half| {
                    let holds = |id: &&NodeId| nodes[id.0 as usize - 1].has_on_disk(index, term);
                    half.is_empty() || 2 * half.iter().filter(holds).count() > half.len()
                })
            };
            let split = (first..=last).rev().find(|index| is_held(*index, &before.1)).unwrap_or(first - 1);
            if split == last {
                continue;
            }
            // A configuration is appended only when the one before it is committed.
            assert!(
                after.0 > before.0 && before.0.0 <= split && is_held(last, &after.1),
                "node {id} committed {first}..={last}, on too few disks: up to {split} by {before:?}, after it {after:?}"
            );
        }
    }

    /// The state at `index` is the same everywhere.
    pub fn check_applied(&mut self, index: u64, hash: u64) {
        assert_eq!(*self.hashes.entry(index).or_insert(hash), hash, "the states at {index} differ");
    }

    /// A message leaves `node`: what it promises is on that node's disk.
    pub fn check_message(&mut self, node: &Node, message: &Outgoing) {
        let body = message.body;
        let asks_only = matches!(
            body,
            Body::PreVote { .. }
                | Body::PreVoteResp { rejected: false, .. }
                | Body::ReadIndex { .. }
                | Body::ReadIndexResp { rejected: true, .. }
        );
        if !asks_only {
            assert_eq!(node.disk.hard_state.term, body.term(), "node {} spoke of an unsynced term: {body:?}", node.id);
        }
        let mut vote = |candidate| {
            let known = *self.votes.entry((node.id, body.term())).or_insert(candidate);
            assert_eq!(known, candidate, "node {} voted twice in {}", node.id, body.term());
            assert_eq!(node.disk.hard_state.vote, candidate, "node {} told an unsynced vote", node.id);
        };
        match body {
            Body::VoteResp { rejected: false, .. } => vote(message.to),
            Body::RequestVote { last_index, last_term, .. } => {
                vote(node.id);
                assert!(node.has_on_disk(last_index.0, last_term), "node {} asked with an unsynced log", node.id);
            }
            Body::AppendResp { index, rejected: false, busy: false, .. } => {
                let term = node.log.term(index);
                let is_held = term.is_none_or(|term| node.has_on_disk(index.0, term));
                assert!(is_held, "node {} acked {index}, which is not on its disk", node.id);
            }
            _ => {}
        }
    }

    /// A read that arrived when `floor` was committed is served at `read_index`.
    pub fn check_read(&mut self, floor: u64, read_index: LogIndex) {
        assert!(read_index.0 >= floor, "a read at {read_index} misses what was committed before it, up to {floor}");
        self.reads += 1;
    }

    /// Is this entry known to be committed?
    pub fn is_committed(&self, index: u64, term: Option<Term>) -> bool {
        index == 0 || self.committed.get(index as usize - 1).is_some_and(|known| Some(known.0) == term)
    }
}
