//! What is checked: each plan is one small world with its bounds, and what its broken twin does wrong.

use base::NodeId;
use ours::{Body, ConfigChange};

/// How the core is driven: right, or wrong in one way that a rule must notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// As docs/design/raft.md says.
    Right,
    /// A vote is answered before it is on disk.
    VotesBeforeSync,
    /// Entries are acked before they are on disk.
    AcksBeforeSync,
    /// RequestVote leaves before term, vote and last entry are on disk, and answers to a former life count. (An answer
    /// that comes before the own vote is on disk is held back: the core asserts against it.)
    AsksBeforeSync,
    /// The same, but answers to a former life are dropped.
    AsksBeforeSyncOnly,
    /// Answers to a former life of the asker count, but RequestVote waits.
    IgnoresIncarnations,
    /// A peer that came back counts with what its former life acked.
    KeepsOldAcks,
    /// A change of the members is written as one step.
    SkipsJoint,
}

impl Driver {
    pub(crate) fn sends_before_sync(self, body: &Body) -> bool {
        match self {
            Driver::VotesBeforeSync => matches!(body, Body::VoteResp { .. }),
            Driver::AcksBeforeSync => matches!(body, Body::AppendResp { .. }),
            Driver::AsksBeforeSync | Driver::AsksBeforeSyncOnly => matches!(body, Body::RequestVote { .. }),
            _ => false,
        }
    }

    pub(crate) fn asks_before_sync(self) -> bool {
        matches!(self, Driver::AsksBeforeSync | Driver::AsksBeforeSyncOnly)
    }

    pub(crate) fn ignores_incarnations(self) -> bool {
        matches!(self, Driver::AsksBeforeSync | Driver::IgnoresIncarnations)
    }
}

/// A world and its bounds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How it is asked for.
    pub name: &'static str,
    /// Why it is looked at.
    pub why: &'static str,
    /// The first nodes are its voters at the beginning; ids count from 1.
    pub voters: u64,
    /// Nodes that may join.
    pub spares: u64,
    /// No election raises a term beyond.
    pub term_max: u64,
    /// Proposals of all leaders together; each leader's first entry comes on top.
    pub proposals: u8,
    /// Nothing follows after so many elections were won.
    pub leaders_max: usize,
    /// Crashes of all nodes together.
    pub crashes: u8,
    /// Entries that a crash also takes from the disk (a disk that lied).
    pub lost_entries: usize,
    /// Links have incarnations, and a new one must be noticed before messages pass.
    pub has_links: bool,
    /// Followers hear of commits beside new entries.
    pub has_heartbeats: bool,
    /// One leader may make this change.
    pub change: Option<ConfigChange>,
    /// How the core is driven.
    pub driver: Driver,
    /// Must a rule break?
    pub breaks: bool,
    /// Not within the default run. None of these has run to its end yet: their count is not recorded.
    pub is_long: bool,
}

impl Plan {
    const BASE: Plan = Plan {
        name: "",
        why: "",
        voters: 3,
        spares: 0,
        term_max: 2,
        proposals: 0,
        leaders_max: usize::MAX,
        crashes: 0,
        lost_entries: 0,
        has_links: false,
        has_heartbeats: false,
        change: None,
        driver: Driver::Right,
        breaks: false,
        is_long: false,
    };

    fn broken(&self, name: &'static str, why: &'static str, driver: Driver) -> Plan {
        Plan { name, why, driver, breaks: true, ..self.clone() }
    }
}

/// All plans, cheap ones first.
#[must_use]
pub fn all() -> Vec<Plan> {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let elections = Plan {
        name: "elections",
        why: "two terms, a crash: who leads, and with which entries",
        crashes: 1,
        is_long: true,
        ..Plan::BASE
    };
    let one_term = Plan {
        name: "one-term",
        why: "one leader, an entry of its own, every order of messages",
        term_max: 1,
        has_heartbeats: true,
        ..Plan::BASE
    };
    let one_term_crash =
        Plan { name: "one-term-crash", why: "the same with a crash", crashes: 1, is_long: true, ..one_term.clone() };
    let calm = Plan {
        name: "elections-calm",
        why: "two terms without a crash",
        crashes: 0,
        is_long: false,
        ..elections.clone()
    };
    let core = Plan {
        name: "core",
        why: "two terms, three entries, a crash: the rules of Raft figure 3",
        proposals: 1,
        crashes: 1,
        has_heartbeats: true,
        is_long: true,
        ..Plan::BASE
    };
    let core_calm = Plan { name: "core-calm", why: "the same without a crash", crashes: 0, ..core.clone() };
    let vote = Plan {
        name: "vote-after-sync",
        why: "P1b: a candidate asks once its term, vote and last entry are on disk",
        crashes: 1,
        leaders_max: 2,
        is_long: true,
        ..Plan::BASE
    };
    let incarnation = Plan {
        name: "incarnation",
        why: "a peer that came back with less counts with what it holds, not with what it acked",
        term_max: 1,
        crashes: 1,
        lost_entries: 1,
        has_links: true,
        is_long: true,
        ..Plan::BASE
    };
    let joint = Plan {
        name: "joint",
        why: "three voters become three others by joint consensus",
        spares: 1,
        crashes: 1,
        change: Some(ConfigChange { add_voters: nodes(&[4]), remove: nodes(&[3]), add_learners: Vec::new() }),
        is_long: true,
        ..Plan::BASE
    };
    let short = |plan| Plan { is_long: false, ..plan };
    vec![
        short(elections.broken(
            "elections-broken",
            "votes are answered before they are on disk",
            Driver::VotesBeforeSync,
        )),
        short(elections.broken("acks-broken", "entries are acked before they are on disk", Driver::AcksBeforeSync)),
        vote.broken("vote-after-sync-broken", "asks at once, takes any answer", Driver::AsksBeforeSync),
        short(incarnation.broken("incarnation-broken", "old acks count", Driver::KeepsOldAcks)),
        joint.broken("joint-broken", "one step from three voters to three others", Driver::SkipsJoint),
        Plan {
            driver: Driver::AsksBeforeSyncOnly,
            name: "vote-one-cure",
            why: "asks at once, drops old answers",
            ..vote.clone()
        },
        Plan {
            driver: Driver::IgnoresIncarnations,
            name: "vote-other-cure",
            why: "asks late, takes any answer",
            ..vote.clone()
        },
        one_term,
        one_term_crash,
        calm,
        vote,
        elections,
        incarnation,
        core_calm,
        joint,
        core,
    ]
}
