//! What a model is: a small world with its bounds, how its core is driven, and what must hold or break in it.

use base::mono::Span;
use base::{Mono, NodeId};
use ours::{Body, ConfigChange};

use crate::node::NOW;
use crate::search::Mark;
use crate::truth::Rule;

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
    /// A peer that came back counts with what its former life acked, and its messages still arrive.
    KeepsOldAcks,
    /// Messages to a former life arrive at the new one.
    KeepsConnections,
    /// A change of the members is written as one step.
    SkipsJoint,
    /// A faulty entry is cut when it is found.
    CutsFaulty,
    /// A lost head is taken for a log that was never longer.
    TrustsHead,
    /// Answers about lost entries count whatever their term.
    OldAnswersCount,
    /// After a transfer was given up, any ack brings the lease back.
    ResumesSoon,
    /// A late TimeoutNow is obeyed.
    ObeysLate,
    /// A lease counts from when an ack came, not from when its message was sent.
    LeaseFromReceipt,
    /// A new life votes at once.
    VotesAfterBoot,
    /// The lists of resting groups are not compared.
    ComparesNothing,
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

    pub(crate) fn keeps_connections(self) -> bool {
        matches!(self, Driver::KeepsOldAcks | Driver::KeepsConnections)
    }
}

/// What a crash takes from a disk beside what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing.
    Nothing,
    /// The last entry, and nobody notices: the disk lied.
    Tail,
    /// The bytes of the last entry; its term and crc are known.
    Bytes,
    /// The last entry, and that something may be lost is known.
    Head,
}

/// Where a search begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Nobody has ever led.
    Fresh,
    /// Node 1 leads term 1, and its first entry is committed everywhere.
    Led,
    /// And its next one is on the disk of node 2 alone, acked, and lost there by a crash.
    Doubted,
}

/// Which times count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timing {
    /// None: every timer may fire whenever it could, and no promise that lasts for a time holds.
    None,
    /// Those of leases and of loyalty to a leader.
    Lease,
    /// Those of rest.
    Rest,
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
    /// Nodes that stand in the same lists of every configuration, and alike at the beginning but for what they do.
    pub alike: &'static [NodeId],
    /// Where it begins.
    pub start: Start,
    /// Who may campaign; empty: all.
    pub candidates: &'static [NodeId],
    /// No election raises a term beyond.
    pub term_max: u64,
    /// Proposals of all leaders together; each leader's first entry comes on top.
    pub proposals: u8,
    /// Nothing follows after so many elections were won.
    pub leaders_max: usize,
    /// Crashes of all nodes together: of one node in each branch of the search.
    pub crashes: u8,
    /// What a crash takes.
    pub loss: Loss,
    /// Transfers that are asked for.
    pub transfers: u8,
    /// Which times count.
    pub timing: Timing,
    /// So often time passes.
    pub clock_max: u8,
    /// So much each time.
    pub clock_step: Span,
    /// Links have incarnations, and a new one must be noticed before messages pass.
    pub has_links: bool,
    /// Followers hear of commits beside new entries.
    pub has_heartbeats: bool,
    /// And answer: with leases and rest.
    pub has_heartbeat_acks: bool,
    /// Refused votes and answers to lower terms are told; else they are lost.
    pub has_refusals: bool,
    /// Messages stay although they can do nothing any more: to see that nothing is lost with them.
    pub keeps_messages: bool,
    /// One leader may make this change.
    pub change: Option<ConfigChange>,
    /// How the core is driven.
    pub driver: Driver,
    /// The rule that must break; `None`: all must hold.
    pub breaks: Option<Rule>,
    /// What must happen in some state.
    pub shows: &'static [Mark],
    /// Not within the default run.
    pub is_long: bool,
}

impl Plan {
    /// Three voters, two terms, nothing else.
    pub(crate) const BASE: Plan = Plan {
        name: "",
        why: "",
        voters: 3,
        spares: 0,
        alike: &[NodeId(1), NodeId(2), NodeId(3)],
        start: Start::Fresh,
        candidates: &[],
        term_max: 2,
        proposals: 0,
        leaders_max: usize::MAX,
        crashes: 0,
        loss: Loss::Nothing,
        transfers: 0,
        timing: Timing::None,
        clock_max: 0,
        clock_step: Span(0),
        has_links: false,
        has_heartbeats: false,
        has_heartbeat_acks: false,
        has_refusals: false,
        keeps_messages: false,
        change: None,
        driver: Driver::Right,
        breaks: None,
        shows: &[Mark::Elected, Mark::Committed],
        is_long: false,
    };

    /// The same world with a driver that is wrong, in which `rule` must break.
    pub(crate) fn broken(&self, name: &'static str, why: &'static str, driver: Driver, rule: Rule) -> Plan {
        Plan { name, why, driver, breaks: Some(rule), shows: &[], is_long: false, ..self.clone() }
    }

    /// All nodes.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.voters + self.spares).map(NodeId)
    }

    /// In a broken twin the one rule counts that must break. Where one of two cures is left out and the other is to be
    /// enough, what is left out breaks its own rule.
    pub(crate) fn watches(&self, rule: Rule) -> bool {
        match self.breaks {
            Some(breaks) => breaks == rule,
            None => rule != Rule::DiskFirst || !self.driver.asks_before_sync(),
        }
    }

    /// May it campaign?
    pub(crate) fn may_campaign(&self, id: NodeId) -> bool {
        self.candidates.is_empty() || self.candidates.contains(&id)
    }

    /// What was synced stays.
    pub(crate) fn keeps_all(&self) -> bool {
        self.loss == Loss::Nothing
    }

    /// What is lost is known, so it is asked for.
    pub(crate) fn has_repair(&self) -> bool {
        matches!(self.loss, Loss::Bytes | Loss::Head)
    }

    /// The time of everybody's clock.
    pub(crate) fn time(&self, clock: u8) -> Mono {
        NOW + Span(self.clock_step.0 * u64::from(clock))
    }
}
