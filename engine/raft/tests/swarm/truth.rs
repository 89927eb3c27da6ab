//! What must hold for the cluster as a whole, whatever happens: kept beside it and checked after every step.

use std::collections::{BTreeMap, HashMap};

use base::{LogIndex, NodeId, Term, mix64};
use raft::{Body, Config, Outgoing};

use crate::node::Node;

/// The log as it was committed, and all that anybody ever said which must stay true.
#[derive(Default)]
pub struct Truth {
    /// Term and crc of every committed entry, from index 1 on.
    committed: Vec<(Term, u32)>,
    /// The terms of the leaders that committed them; they never fall.
    committed_in: Vec<Term>,
    /// The machine's state after each of them.
    hashes: Vec<u64>,
    leaders: BTreeMap<Term, NodeId>,
    /// A crc covers the entry's bytes and the crc before it: so this is log matching.
    entries: HashMap<(LogIndex, Term), u32>,
    votes: HashMap<(NodeId, Term), NodeId>,
}

impl Truth {
    pub fn commit(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    pub fn hash(&self, index: LogIndex) -> u64 {
        index.0.checked_sub(1).map_or(0, |at| self.hashes[at as usize])
    }

    /// Looks at what a step changed in `nodes[at]`; `config` was in force before it.
    pub fn check_step(&mut self, nodes: &mut [Node], at: usize, config: &Config) {
        self.check_log(&mut nodes[at]);
        self.check_life(&mut nodes[at]);
        self.check_leader(&mut nodes[at]);
        self.check_commit(nodes, at, config);
        self.check_matches(nodes, at);
    }

    fn check_log(&mut self, node: &mut Node) {
        let commit = node.seen.commit;
        for index in node.log.truncated.drain(..) {
            assert!(index > commit, "{} truncates committed entry {index}", node.id);
        }
        for (index, term, crc) in node.log.appended.drain(..) {
            let known = *self.entries.entry((index, term)).or_insert(crc);
            assert_eq!(known, crc, "log matching: {} holds another entry {index} of term {term}", node.id);
        }
    }

    fn check_life(&mut self, node: &mut Node) {
        let raft = node.raft.as_ref().expect("it stepped");
        assert_eq!(raft.alarm(), None, "{} raised an alarm", node.id);
        let (term, commit, vote) = (raft.term(), raft.commit_index(), raft.vote());
        let seen = &mut node.seen;
        assert!(term >= seen.term, "{}: term {term} after {}", node.id, seen.term);
        if term == seen.term && seen.vote.is_some() {
            assert_eq!(vote, seen.vote, "{} changed its vote in term {term}", node.id);
        }
        assert!(commit >= seen.commit, "{}: commit {commit} after {}", node.id, seen.commit);
        assert!(raft.applied_index() <= commit);
        (seen.term, seen.vote) = (term, vote);
    }

    fn check_leader(&mut self, node: &mut Node) {
        let raft = node.raft.as_ref().expect("it stepped");
        if !raft.is_leader() || node.seen.led == raft.term() {
            return;
        }
        node.seen.led = raft.term();
        let leader = *self.leaders.entry(raft.term()).or_insert(node.id);
        assert_eq!(leader, node.id, "election safety: two leaders in term {}", raft.term());
        // An election may be won late, when a newer term has committed already: that is not its business.
        let earlier = self.committed_in.partition_point(|term| *term < raft.term()) as u64;
        assert!(node.log.memory.last().0 >= earlier, "leader completeness: {} is short", node.id);
        for index in node.log.memory.first().0..=earlier {
            let held = node.log.memory.get(LogIndex(index)).map(|entry| entry.crc);
            assert_eq!(held, Some(self.committed[index as usize - 1].1), "leader completeness: entry {index}");
        }
    }

    fn check_commit(&mut self, nodes: &mut [Node], at: usize, config: &Config) {
        let node = &nodes[at];
        let (from, commit) = (node.seen.commit, node.raft.as_ref().expect("it stepped").commit_index());
        let led = node.seen.led == node.seen.term;
        for index in (from.0 + 1..=commit.0).map(LogIndex) {
            let Some(entry) = node.log.memory.get(index) else {
                assert!(index <= self.commit(), "{} commits an entry that nobody committed", node.id);
                continue;
            };
            match self.committed.get(index.0 as usize - 1) {
                Some((_, crc)) => assert_eq!(*crc, entry.crc, "{} commits another entry {index}", node.id),
                None => {
                    assert!(led, "{} commits {index} before any leader", node.id);
                    // Committing a joint configuration appends the next one, whose quorum counts at once.
                    let now = node.raft.as_ref().expect("it stepped").config();
                    let is_held = [config, now].iter().any(|config| is_on_quorum(nodes, config, index, entry.crc));
                    assert!(is_held, "entry {index} committed without a quorum");
                    self.committed.push((entry.term, entry.crc));
                    self.committed_in.push(node.seen.term);
                    let before = self.hashes.last().copied().unwrap_or(0);
                    self.hashes.push(mix64(before ^ u64::from(entry.crc)));
                }
            }
        }
        nodes[at].seen.commit = commit;
    }

    /// A leader believes of nobody that it holds more than is on its disk.
    fn check_matches(&self, nodes: &[Node], at: usize) {
        let raft = nodes[at].raft.as_ref().expect("it stepped");
        for peer in raft.peers() {
            assert!(peer.match_index < peer.next_index);
            let other = &nodes[peer.id.0 as usize - 1];
            let is_later = other.log.memory.hard.term > raft.term()
                || other.raft.as_ref().is_some_and(|raft_of_peer| raft_of_peer.term() > raft.term());
            if let Some(entry) = nodes[at].log.memory.get(peer.match_index).filter(|_| !is_later) {
                assert!(other.has_on_disk(peer.match_index, entry.crc), "{} overrates {}", nodes[at].id, peer.id);
            }
        }
    }

    /// What a message promises must be on the sender's disk when it leaves.
    pub fn check_promise(&mut self, node: &Node, message: &Outgoing) {
        let disk = &node.log.disk;
        match message.body {
            Body::AppendResp { term, index, rejected: false, busy: false, .. } => {
                assert_eq!(disk.hard.term, term, "an ack of a term that is not on disk");
                let lost = disk.lost.iter().find(|lost| **lost > node.disk_machine.applied);
                assert!(lost.is_none_or(|lost| index < *lost), "{} acks {index}, a lost entry among them", node.id);
                let reaches = disk.last().max(node.disk_machine.applied);
                assert!(index <= reaches, "{} acks {index}, its disk ends at {reaches}", node.id);
            }
            Body::RequestVote { term, last_index, .. } => {
                assert_eq!((disk.hard.term, disk.hard.vote), (term, node.id), "a campaign that is not on disk");
                assert!(last_index <= disk.last(), "a campaign with entries that are not on disk");
            }
            Body::EntryFetchResp { term, .. } => {
                assert_eq!(disk.hard.term, term, "an answer of a term that is not on disk");
            }
            Body::VoteResp { term, rejected: false, .. } => {
                assert_eq!((disk.hard.term, disk.hard.vote), (term, message.to), "a vote that is not on disk");
                let vote = *self.votes.entry((node.id, term)).or_insert(message.to);
                assert_eq!(vote, message.to, "{} votes twice in term {term}", node.id);
            }
            Body::AppendEntries { term, .. } | Body::Heartbeat { term, .. } | Body::HeartbeatAck { term, .. } => {
                assert_eq!(disk.hard.term, term, "{:?} of a term that is not on disk", message.body);
            }
            _ => {}
        }
    }

    /// The machine of `node` applied the entry at `index`.
    pub fn check_applied(&self, node: &Node) {
        let machine = &node.machine;
        assert_eq!(
            machine.hash,
            self.hash(machine.applied),
            "state machine safety: {} at {}",
            node.id,
            machine.applied
        );
    }
}

/// Is the entry on the disks of a majority, in both halves?
fn is_on_quorum(nodes: &[Node], config: &Config, index: LogIndex, crc: u32) -> bool {
    let holds = |id: &&NodeId| nodes[id.0 as usize - 1].has_on_disk(index, crc);
    let is_majority = |half: &[NodeId]| half.is_empty() || 2 * half.iter().filter(holds).count() > half.len();
    is_majority(config.incoming()) && is_majority(config.outgoing())
}
