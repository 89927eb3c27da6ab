//! What an onlooker knows of all nodes at once, and the rules that must hold in every state (Raft figure 3).

use base::{LogIndex, Mono, NodeId, Term};
use ours::{Config, Role};

use crate::net::print;
use crate::node::Node;
use crate::plan::{Driver, Plan};

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rule {
    /// At most one leader in a term, ever.
    ElectionSafety,
    /// Entries of one index and term are one entry, and so are all before them.
    LogMatching,
    /// A leader holds all that was committed in its term or before.
    LeaderCompleteness,
    /// No two nodes commit different entries at an index.
    StateMachineSafety,
    /// What is committed is on the disks of a quorum.
    CommittedIsDurable,
    /// No message promises what is not on disk.
    DiskFirst,
    /// While a leader's lease holds, nobody else leads a later term.
    LeaseExclusion,
    /// Who rests, with a leader that counts it among the resting, knows all that the leader knows.
    RestIsWhole,
    /// No node stops itself.
    NoAlarm,
    /// No assert of the core fails.
    NoAssertFails,
}

impl Rule {
    /// All, as they are told.
    pub const ALL: [(Rule, &'static str); 10] = [
        (Rule::ElectionSafety, "election safety"),
        (Rule::LogMatching, "log matching"),
        (Rule::LeaderCompleteness, "leader completeness"),
        (Rule::StateMachineSafety, "committed never changes"),
        (Rule::CommittedIsDurable, "committed is durable"),
        (Rule::DiskFirst, "no promise before the disk"),
        (Rule::LeaseExclusion, "lease exclusion"),
        (Rule::RestIsWhole, "rest is whole"),
        (Rule::NoAlarm, "no alarm"),
        (Rule::NoAssertFails, "no assert fails"),
    ];

    /// How it is told.
    #[must_use]
    pub fn name(self) -> &'static str {
        Rule::ALL[self as usize].1
    }
}

/// An entry when it was first committed, and in which term that was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
struct Committed {
    term: Term,
    crc: u32,
    in_term: Term,
}

/// What was ever seen.
#[derive(Clone, Debug, Hash, Default)]
pub struct Truth {
    committed: Vec<Committed>,
    leaders: Vec<(Term, NodeId)>,
    broken: u16,
}

impl Truth {
    /// What stands for all but the leaders' names.
    #[must_use]
    pub fn print(&self) -> u64 {
        print(&(&self.committed, self.broken))
    }

    /// The leaders' names, with others given.
    #[must_use]
    pub fn leaders_print(&self, name: impl Fn(NodeId) -> NodeId) -> u64 {
        self.leaders.iter().fold(0, |sum: u64, (term, id)| sum.wrapping_add(print(&(*term, name(*id)))))
    }

    /// Does the rule hold so far?
    #[must_use]
    pub fn holds(&self, rule: Rule) -> bool {
        self.broken & 1 << rule as u16 == 0
    }

    /// A rule was broken.
    pub fn note_broken(&mut self, rule: Rule) {
        self.broken |= 1 << rule as u16;
    }

    /// Elections won.
    #[must_use]
    pub fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// Entries committed.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.committed.len()
    }

    /// Was something first committed in a later term than another?
    #[must_use]
    pub fn has_second_commit(&self) -> bool {
        self.committed
            .iter()
            .any(|committed| Some(committed.in_term) > self.committed.first().map(|first| first.in_term))
    }

    /// Node `id` has just acted and, perhaps, committed. `is_noticed`: does it know the present life of a peer?
    pub(crate) fn observe(
        &mut self,
        nodes: &[&Node],
        id: NodeId,
        commit: Option<LogIndex>,
        is_noticed: impl Fn(NodeId) -> bool,
    ) {
        let node = nodes.iter().find(|node| node.raft.id() == id).expect("it acted");
        if node.raft.role() == Role::Leader {
            self.note_leader(node.raft.term(), id);
        }
        if let Some(commit) = commit {
            self.note_commit(nodes, node, commit, is_noticed);
        }
    }

    fn note_leader(&mut self, term: Term, id: NodeId) {
        match self.leaders.iter().find(|(known, _)| *known == term) {
            Some((_, leader)) if *leader == id => {}
            Some(_) => self.note_broken(Rule::ElectionSafety),
            None => {
                self.leaders.push((term, id));
                self.leaders.sort_unstable();
            }
        }
    }

    fn note_commit(&mut self, nodes: &[&Node], node: &Node, commit: LogIndex, is_noticed: impl Fn(NodeId) -> bool) {
        for index in 1..=commit.0 {
            let entry = node.log.image.entry(index).expect("what is committed is held");
            let at = usize::try_from(index - 1).expect("a handful");
            match self.committed.get(at) {
                Some(known) if (known.term, known.crc) == (entry.term, entry.crc) => {}
                Some(_) => self.note_broken(Rule::StateMachineSafety),
                None => {
                    let in_term = node.raft.term();
                    self.committed.push(Committed { term: entry.term, crc: entry.crc, in_term });
                    let config = node.raft.config_at(LogIndex(index)).map_or(node.raft.config(), |(_, config)| config);
                    if !is_durable(nodes, config, index, entry.term, &is_noticed) {
                        self.note_broken(Rule::CommittedIsDurable);
                    }
                }
            }
        }
    }

    /// The rules that speak of one state.
    pub(crate) fn check(&mut self, plan: &Plan, nodes: &[&Node], now: Mono) {
        let known = |node: &Node, index: usize| {
            let entry = node.log.image.entries.get(index)?;
            Some((entry.term, entry.crc))
        };
        for node in nodes.iter().filter(|node| node.raft.role() == Role::Leader) {
            let lacks = |(index, committed): (usize, &Committed)| {
                committed.in_term <= node.raft.term() && known(node, index) != Some((committed.term, committed.crc))
            };
            if self.committed.iter().enumerate().any(lacks) {
                self.broken |= 1 << Rule::LeaderCompleteness as u16;
            }
            let is_later = |other: &&Node| other.raft.is_leader() && other.raft.term() > node.raft.term();
            if node.raft.lease_until(now).is_some() && nodes.iter().any(is_later) {
                self.note_broken(Rule::LeaseExclusion);
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            if node.raft.alarm().is_some() {
                self.note_broken(Rule::NoAlarm);
            }
            if nodes.iter().any(|leader| !is_rest_whole(plan, leader, node)) {
                self.note_broken(Rule::RestIsWhole);
            }
            for other in &nodes[at + 1..] {
                let pairs = node.log.image.entries.iter().zip(&other.log.image.entries);
                // A crc covers the crc before it, so equal crcs are equal prefixes.
                if pairs.into_iter().any(|(one, two)| one.term == two.term && one.crc != two.crc) {
                    self.note_broken(Rule::LogMatching);
                }
            }
        }
        // A disk that lost something may have lost what is committed, and a quorum of other members may hold it: then
        // the moment of the commit counts alone.
        if plan.keeps_all() && plan.change.is_none() {
            let config = nodes[0].raft.config();
            let is_lost =
                |(index, committed): (u64, &Committed)| !is_durable(nodes, config, index, committed.term, |_| true);
            if (1..).zip(&self.committed).any(is_lost) {
                self.broken |= 1 << Rule::CommittedIsDurable as u16;
            }
        }
    }
}

/// A follower rests with `leader`, and a list of the leader, sent now, would find no difference: then the follower is
/// never woken, so it must know all.
fn is_rest_whole(plan: &Plan, leader: &Node, follower: &Node) -> bool {
    let (led, rests) = (&leader.raft, &follower.raft);
    if rests.is_leader() || !rests.rests_with(led.id()) {
        return true;
    }
    // What `shard` compares: the hashes of the groups that rest between the two.
    let listed = if led.is_leader() && led.rests_with(rests.id()) { led.rest_hash() } else { 0 };
    let is_same = rests.rest_hash() == listed || plan.driver == Driver::ComparesNothing;
    let is_whole = led.is_leader()
        && led.term() == rests.term()
        && leader.log.image.last() == follower.log.image.last()
        && led.commit_index() == rests.commit_index();
    !is_same || is_whole
}

/// Is the entry on the disks of a quorum, in each half? A peer whose new life was not noticed yet is believed.
fn is_durable(nodes: &[&Node], config: &Config, index: u64, term: Term, is_noticed: impl Fn(NodeId) -> bool) -> bool {
    let holds = |id: &&NodeId| {
        let node = nodes.iter().find(|node| node.raft.id() == **id).expect("a member is a node");
        !is_noticed(**id) || node.disk.entry(index).is_some_and(|entry| entry.term == term)
    };
    [config.incoming(), config.outgoing()]
        .iter()
        .all(|half| half.is_empty() || 2 * half.iter().filter(holds).count() > half.len())
}
