//! What must hold for the cluster as a whole, whoever runs which implementation: checked after every step.

use std::collections::{BTreeMap, HashMap};

use base::{LogIndex, NodeId, Term, mix64};
use ours::Body;

use crate::mixed::node::Node;

/// The log as it was committed, and all that anybody said which must stay true.
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
    /// The last entry committed anywhere.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    /// The machine's state at `index`.
    #[must_use]
    pub fn hash(&self, index: LogIndex) -> u64 {
        index.0.checked_sub(1).map_or(0, |at| self.hashes[at as usize])
    }

    /// The leaders of all terms.
    pub fn leaders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.leaders.values().copied()
    }

    /// Looks at what a step changed in `nodes[at]`. Panics at the first thing that must not be.
    pub fn check_step(&mut self, nodes: &mut [Node], at: usize) {
        self.check_log(&mut nodes[at]);
        check_life(&mut nodes[at]);
        self.check_leader(&mut nodes[at]);
        self.check_commit(nodes, at);
    }

    fn check_log(&mut self, node: &mut Node) {
        let commit = node.seen.commit;
        let mut twin = node.twin.borrow_mut();
        let (truncated, appended) = (std::mem::take(&mut twin.truncated), std::mem::take(&mut twin.appended));
        for index in truncated {
            assert!(index > commit, "{} truncates committed entry {index}", node.id);
        }
        for index in appended {
            // What was cut again in the same step is judged no more.
            let Some(held) = twin.memory.get(index) else { continue };
            let known = *self.entries.entry((index, held.term)).or_insert(held.crc);
            assert_eq!(known, held.crc, "log matching: {} holds another {index} of term {}", node.id, held.term);
        }
    }

    fn check_leader(&mut self, node: &mut Node) {
        let engine = node.engine.as_ref().expect("it stepped");
        if !engine.is_leader() || node.seen.led == engine.term() {
            return;
        }
        let term = engine.term();
        node.seen.led = term;
        let leader = *self.leaders.entry(term).or_insert(node.id);
        assert_eq!(leader, node.id, "election safety: two leaders in term {term}");
        // An election may be won late, when a newer term has committed already: that is not its business.
        let earlier = self.committed_in.partition_point(|other| *other < term) as u64;
        let twin = node.twin.borrow();
        for index in 1..=earlier {
            let held = node.crc(&twin, LogIndex(index));
            assert_eq!(held, Some(self.committed[index as usize - 1].1), "leader completeness: entry {index}");
        }
    }

    fn check_commit(&mut self, nodes: &mut [Node], at: usize) {
        let node = &nodes[at];
        let engine = node.engine.as_ref().expect("it stepped");
        let (from, commit) = (node.seen.commit, engine.commit_index());
        let is_its_leader = node.seen.led == node.seen.term;
        for index in (from.0 + 1..=commit.0).map(LogIndex) {
            let held = node.term_and_crc(&node.twin.borrow(), index);
            let Some((term, crc)) = held else { panic!("{} commits {index}, which it does not hold", node.id) };
            match self.committed.get(index.0 as usize - 1) {
                Some((_, known)) => assert_eq!(*known, crc, "{} commits another entry {index}", node.id),
                None => {
                    assert!(is_its_leader, "{} commits {index} before any leader", node.id);
                    let on_disk = nodes.iter().filter(|node| node.twin.borrow().disk.crc(index) == Some(crc)).count();
                    assert!(2 * on_disk > nodes.len(), "entry {index} committed on {on_disk} disks");
                    self.committed.push((term, crc));
                    self.committed_in.push(node.seen.term);
                    self.hashes.push(mix64(self.hashes.last().copied().unwrap_or(0) ^ u64::from(crc)));
                }
            }
        }
        nodes[at].seen.commit = commit;
    }

    /// What a message promises must be on the sender's disk when it leaves; a later term on the disk is fine too, the
    /// promise was true when it was made.
    pub fn check_promise(&mut self, node: &Node, to: NodeId, body: &Body) {
        let twin = node.twin.borrow();
        let (disk, term) = (&twin.disk, body.term());
        let is_past = disk.hard.term > term;
        match *body {
            Body::AppendResp { index, rejected: false, busy: false, .. } => {
                assert!(disk.hard.term >= term, "{} acks in a term that is not on disk", node.id);
                assert!(is_past || index <= disk.last(), "{} acks {index}, its disk ends at {}", node.id, disk.last());
            }
            Body::RequestVote { last_index, .. } if !is_past => {
                assert_eq!((disk.hard.term, disk.hard.vote), (term, node.id), "a campaign that is not on disk");
                assert!(last_index <= disk.last(), "a campaign with entries that are not on disk");
            }
            Body::VoteResp { rejected: false, .. } => {
                assert!(is_past || (disk.hard.term, disk.hard.vote) == (term, to), "a vote that is not on disk");
                let vote = *self.votes.entry((node.id, term)).or_insert(to);
                assert_eq!(vote, to, "{} votes twice in term {term}", node.id);
            }
            Body::AppendEntries { .. } | Body::Heartbeat { .. } => {
                assert!(disk.hard.term >= term, "{} leads in a term that is not on disk", node.id);
            }
            _ => {}
        }
    }

    /// The machine of `node` applied the entry at its applied index.
    pub fn check_applied(&self, node: &Node) {
        let (applied, hash) = node.machine;
        assert_eq!(hash, self.hash(applied), "state machine safety: {} at {applied}", node.id);
    }
}

fn check_life(node: &mut Node) {
    let engine = node.engine.as_ref().expect("it stepped");
    engine.check_alarm();
    let (term, vote, commit) = (engine.term(), engine.vote(), engine.commit_index());
    let seen = &mut node.seen;
    assert!(term >= seen.term, "{}: term {term} after {}", node.id, seen.term);
    if term == seen.term && seen.vote != NodeId(0) {
        assert_eq!(vote, seen.vote, "{} changed its vote in term {term}", node.id);
    }
    assert!(commit >= seen.commit, "{}: commit {commit} after {}", node.id, seen.commit);
    (seen.term, seen.vote) = (term, vote);
}
