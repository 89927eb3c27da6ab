//! What an onlooker knows of all nodes at once, and the rules that must hold in every state (Raft figure 3).

use base::{LogIndex, NodeId, Term};
use ours::{Config, Role};

use crate::node::Node;
use crate::plan::Plan;
use crate::world::World;

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
    /// No node stops itself.
    NoAlarm,
    /// No assert of the core fails.
    NoAssertFails,
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
    is_begun: bool,
    committed: Vec<Committed>,
    leaders: Vec<(Term, NodeId)>,
    broken: u8,
}

impl Truth {
    /// Nothing happened yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.is_begun
    }

    /// Does the rule hold so far?
    #[must_use]
    pub fn holds(&self, rule: Rule) -> bool {
        self.broken & 1 << rule as u8 == 0
    }

    /// Did any rule break?
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken != 0
    }

    /// A rule was broken.
    pub fn note_broken(&mut self, rule: Rule) {
        self.broken |= 1 << rule as u8;
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

    /// Entries first committed in this term.
    #[must_use]
    pub fn commits_of(&self, term: u64) -> usize {
        self.committed.iter().filter(|committed| committed.in_term == Term(term)).count()
    }

    /// Node `id` has just acted and, perhaps, committed.
    pub(crate) fn observe(&mut self, plan: &Plan, world: &World, id: NodeId, commit: Option<LogIndex>) {
        self.is_begun = true;
        let node = world.nodes.iter().find(|node| node.raft.id() == id).expect("it acted");
        if node.raft.role() == Role::Leader {
            self.note_leader(node.raft.term(), id);
        }
        if let Some(commit) = commit {
            self.note_commit(world, node, commit);
        }
        self.check(plan, world);
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

    fn note_commit(&mut self, world: &World, node: &Node, commit: LogIndex) {
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
                    if !is_durable(world, config, index, entry.term, |id| world.is_noticed(node.raft.id(), id)) {
                        self.note_broken(Rule::CommittedIsDurable);
                    }
                }
            }
        }
    }

    fn check(&mut self, plan: &Plan, world: &World) {
        let known = |node: &Node, index: usize| {
            let entry = node.log.image.entries.get(index)?;
            Some((entry.term, entry.crc))
        };
        for node in world.nodes.iter().filter(|node| node.raft.role() == Role::Leader) {
            for (index, committed) in self.committed.iter().enumerate() {
                if committed.in_term <= node.raft.term() && known(node, index) != Some((committed.term, committed.crc))
                {
                    self.broken |= 1 << Rule::LeaderCompleteness as u8;
                }
            }
        }
        for (at, node) in world.nodes.iter().enumerate() {
            if node.raft.alarm().is_some() {
                self.note_broken(Rule::NoAlarm);
            }
            for other in &world.nodes[at + 1..] {
                let pairs = node.log.image.entries.iter().zip(&other.log.image.entries);
                // A crc covers the crc before it, so equal crcs are equal prefixes.
                if pairs.into_iter().any(|(one, two)| one.term == two.term && one.crc != two.crc) {
                    self.note_broken(Rule::LogMatching);
                }
            }
        }
        // A disk that lies may take what is committed, and a quorum of other members may hold it: then the moment of
        // the commit counts alone.
        if plan.lost_entries == 0 && plan.change.is_none() {
            let config = world.nodes[0].raft.config();
            let is_lost =
                |(index, committed): (u64, &Committed)| !is_durable(world, config, index, committed.term, |_| true);
            if (1..).zip(&self.committed).any(is_lost) {
                self.broken |= 1 << Rule::CommittedIsDurable as u8;
            }
        }
    }
}

/// Is the entry on the disks of a quorum, in each half? A peer whose new life was not noticed yet is believed.
fn is_durable(world: &World, config: &Config, index: u64, term: Term, is_noticed: impl Fn(NodeId) -> bool) -> bool {
    let holds = |id: &&NodeId| {
        let node = world.nodes.iter().find(|node| node.raft.id() == **id).expect("a member is a node");
        !is_noticed(**id) || node.disk.entry(index).is_some_and(|entry| entry.term == term)
    };
    [config.incoming(), config.outgoing()]
        .iter()
        .all(|half| half.is_empty() || 2 * half.iter().filter(holds).count() > half.len())
}
