//! What is claimed where disks lie (the profile `liar`).
//!
//! A sync that lies makes a node promise what a power cut takes back. Three things may follow:
//! ```text
//!  it knows      meta.persisted_seq is above the log's end: its groups are quarantined      every claim holds
//!  it is told    the leader that holds its ack hears it refuse: amnesia, quarantined        from then on it is out
//!  nobody knows  the lost frames look like ones never written: it votes and acks again     see HOLDS
//! ```
//! Until the third first happens in a run all claims hold as they are, whoever lies and however many: a node is judged by
//! what its disk told it, for it cannot know better. From then on a node has two pasts, and whatever rests on "each quorum
//! has one that remembers" may break: a vote may be given twice, so a term may have two leaders; what was acknowledged may
//! be gone. One such node of three is enough, if the other that holds an entry is away. Even so history is not invented,
//! and what as many as meet every quorum hold, without those that forgot, stays: the claims `liar` and `amnesia`.

use crate::checker::until::Until;
use crate::checker::{amnesia, liar};
use crate::observe::Checker;

/// Claims that hold even when nodes have forgotten what they promised, and why.
pub const HOLDS: [(&str, &str); 7] = [
    ("advertised", "a leader tells of what it has itself applied, whichever history that is"),
    ("bounds", "nothing spins, whatever was lost"),
    ("compat", "what is foreign is refused before any state is looked at"),
    ("tenant", "rights are looked up in the state at hand, whichever it is"),
    ("fail_slow", "a leader sees by itself that its log stands still"),
    ("liar", "made for it"),
    ("amnesia", "made for it"),
];

/// Claims that hold until a node has forgotten what it promised and does not know, and why not beyond.
pub const ENDS: [(&str, &str); 24] = [
    ("election", "a forgotten vote is given again: two leaders of a term"),
    ("hard_state", "term and vote went back"),
    ("log_matching", "two leaders of a term write different entries of one index"),
    ("leader_completeness", "a quorum without memory elects who lacks committed entries"),
    ("watermarks", "a leader counts acks that are not on a disk"),
    ("config", "quorums need not meet in a node that remembers"),
    ("refinement", "no step of Raft forgets"),
    ("durable", "a power cut does take what was acknowledged"),
    ("log_shape", "the log is without what was on disk before"),
    ("repair", "what was committed and on disk is gone, and the node does not know"),
    ("state_equal", "two histories, two states"),
    ("model", "outcomes of a history that was lost are not those of the one that stayed"),
    ("once", "a command whose effect was lost has it again"),
    ("linear", "an acknowledged write may be lost"),
    ("register", "an acknowledged write may be lost"),
    ("lease", "who forgot its leader votes for another"),
    ("freshness", "an acknowledged write may be lost"),
    ("session", "indexes that were told are lost"),
    ("notify", "heads that were told are lost"),
    ("wakeup", "a head that was told is never reached again"),
    ("leader", "a group stops at two leaders, or at a conflict with what is committed"),
    ("progress", "a group that stopped answers nothing"),
    ("converge", "histories that have parted do not meet"),
    ("unrecoverable", "what each node holds is no longer what it promised to hold"),
];

/// The checkers of a run in which disks lie.
#[must_use]
pub fn checkers(all: Vec<Box<dyn Checker>>) -> Vec<Box<dyn Checker>> {
    let holds = |name: &str| HOLDS.iter().any(|(held, _)| *held == name);
    let wrap = |checker: Box<dyn Checker>| -> Box<dyn Checker> {
        if holds(checker.name()) { checker } else { Box::new(Until::new(checker)) }
    };
    let mut checkers: Vec<_> = all.into_iter().map(wrap).collect();
    checkers.push(Box::new(liar::Liar::default()));
    checkers.push(Box::new(amnesia::Amnesia::default()));
    checkers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_checker_is_in_one_of_the_lists() {
        let mut listed: Vec<&str> = HOLDS.iter().chain(&ENDS).map(|(name, _)| *name).collect();
        let mut names: Vec<&str> = checkers(crate::checker::all()).iter().map(|checker| checker.name()).collect();
        listed.sort_unstable();
        names.sort_unstable();
        assert_eq!(listed, names);
    }
}
