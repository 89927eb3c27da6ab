//! What is compared after a step: the state that both implementations have, and what they said.

use base::NodeId;
use ours::{Body, Effects, Progress};
use raft::eraftpb::{Message, MessageType};
use raft::{ProgressState, StateRole};

use crate::twin::Shared;

/// A role, by the names of both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Follows or waits.
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// How a leader sends to a follower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sending {
    /// It looks for the place where the logs meet.
    Probe,
    /// Optimistically.
    Replicate,
    /// By snapshot.
    Snapshot,
}

/// A follower, as its leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Follower {
    /// Who.
    pub id: u64,
    /// What it holds.
    pub match_index: u64,
    /// What it gets next.
    pub next_index: u64,
    /// How.
    pub sending: Sending,
}

/// A message, without what only one of both knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Said {
    /// AppendEntries.
    Append { to: u64, term: u64, prev_index: u64, prev_term: u64, count: usize, commit: u64 },
    /// AppendResp that accepts.
    Ack { to: u64, term: u64, index: u64 },
    /// AppendResp that refuses.
    Reject { to: u64, term: u64, index: u64, hint_index: u64, hint_term: u64 },
    /// Heartbeat.
    Heartbeat { to: u64, term: u64, commit: u64 },
    /// Its answer.
    HeartbeatAck { to: u64, term: u64 },
    /// A leader of the past learns the term.
    Stale { to: u64, term: u64 },
    /// A question before an election.
    PreVote { to: u64, term: u64, last_index: u64, last_term: u64 },
    /// Its answer.
    PreVoteResp { to: u64, term: u64, rejected: bool },
    /// RequestVote.
    Vote { to: u64, term: u64, last_index: u64, last_term: u64, forced: bool },
    /// Its answer.
    VoteResp { to: u64, term: u64, rejected: bool },
    /// The end of a transfer.
    TimeoutNow { to: u64, term: u64 },
    /// Anything else.
    Other { to: u64 },
}

/// State and words after a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The term.
    pub term: u64,
    /// The vote in it; 0 is none.
    pub vote: u64,
    /// The role.
    pub role: Role,
    /// The leader; 0 is none.
    pub leader: u64,
    /// The commit index.
    pub commit: u64,
    /// The terms of all entries: last index and log in one.
    pub log: Vec<u64>,
    /// The followers of a leader, by id.
    pub followers: Vec<Follower>,
    /// What was said, sorted.
    pub said: Vec<Said>,
}

impl View {
    /// Of our core; `log` are the terms of its entries, `is_stale_leader` says that the message answered was an
    /// AppendEntries or a Heartbeat of a lower term.
    #[must_use]
    pub fn of_ours(raft: &ours::Raft, log: Vec<u64>, effects: &[Effects], is_stale_leader: bool) -> View {
        let mut said: Vec<Said> = effects
            .iter()
            .flat_map(|effects| effects.send_now.iter().chain(&effects.send_after_sync))
            .map(|outgoing| said_by_ours(outgoing.to, &outgoing.body, is_stale_leader))
            .collect();
        said.sort_unstable();
        let sending = |progress| match progress {
            Progress::Probe { .. } => Sending::Probe,
            Progress::Replicate => Sending::Replicate,
            Progress::Snapshot { .. } => Sending::Snapshot,
        };
        let mut followers: Vec<Follower> = raft
            .peers()
            .iter()
            .map(|peer| Follower {
                id: peer.id.0,
                match_index: peer.match_index.0,
                next_index: peer.next_index.0,
                sending: sending(peer.progress),
            })
            .collect();
        followers.sort_unstable();
        View {
            term: raft.term().0,
            vote: raft.vote().unwrap_or_default().0,
            role: role_of_ours(raft),
            leader: raft.leader().unwrap_or_default().0,
            commit: raft.commit_index().0,
            log,
            followers,
            said,
        }
    }

    /// Of the raft crate.
    #[must_use]
    pub fn of_theirs(raft: &raft::Raft<Shared>, is_stale_leader: bool) -> View {
        let mut said: Vec<Said> = raft.msgs.iter().map(|message| said_by_theirs(message, is_stale_leader)).collect();
        said.sort_unstable();
        let is_leader = raft.state == StateRole::Leader;
        let mut followers: Vec<Follower> = raft
            .prs()
            .iter()
            .filter(|(id, _)| is_leader && **id != raft.id)
            .map(|(id, progress)| Follower {
                id: *id,
                match_index: progress.matched,
                next_index: progress.next_idx,
                sending: match progress.state {
                    ProgressState::Probe => Sending::Probe,
                    ProgressState::Replicate => Sending::Replicate,
                    ProgressState::Snapshot => Sending::Snapshot,
                },
            })
            .collect();
        followers.sort_unstable();
        let log = &raft.raft_log;
        View {
            term: raft.term,
            vote: raft.vote,
            role: match raft.state {
                StateRole::Follower => Role::Follower,
                StateRole::PreCandidate => Role::PreCandidate,
                StateRole::Candidate => Role::Candidate,
                StateRole::Leader => Role::Leader,
            },
            leader: raft.leader_id,
            commit: log.committed,
            log: (1..=log.last_index()).map(|index| log.term(index).expect("nothing is compacted")).collect(),
            followers,
            said,
        }
    }
}

/// The role of our core.
#[must_use]
pub fn role_of_ours(raft: &ours::Raft) -> Role {
    match raft.role() {
        ours::Role::Follower => Role::Follower,
        ours::Role::PreCandidate => Role::PreCandidate,
        ours::Role::Candidate => Role::Candidate,
        ours::Role::Leader => Role::Leader,
    }
}

/// One of our messages.
#[must_use]
pub fn said_by_ours(NodeId(to): NodeId, body: &Body, is_stale_leader: bool) -> Said {
    let term = body.term().0;
    match *body {
        Body::AppendEntries { prev_index, prev_term, commit_index, count, .. } => Said::Append {
            to,
            term,
            prev_index: prev_index.0,
            prev_term: prev_term.0,
            count: usize::from(count),
            commit: commit_index.0,
        },
        Body::AppendResp { rejected: true, .. } | Body::HeartbeatAck { .. } if is_stale_leader => {
            Said::Stale { to, term }
        }
        Body::AppendResp { index, rejected: true, hint_index, hint_term, .. } => {
            Said::Reject { to, term, index: index.0, hint_index: hint_index.0, hint_term: hint_term.0 }
        }
        Body::AppendResp { index, busy: false, .. } => Said::Ack { to, term, index: index.0 },
        Body::Heartbeat { commit_index, .. } => Said::Heartbeat { to, term, commit: commit_index.0 },
        Body::HeartbeatAck { .. } => Said::HeartbeatAck { to, term },
        Body::PreVote { last_index, last_term, .. } => {
            Said::PreVote { to, term, last_index: last_index.0, last_term: last_term.0 }
        }
        Body::PreVoteResp { rejected, .. } => Said::PreVoteResp { to, term, rejected },
        Body::RequestVote { last_index, last_term, forced, .. } => {
            Said::Vote { to, term, last_index: last_index.0, last_term: last_term.0, forced }
        }
        Body::VoteResp { rejected, .. } => Said::VoteResp { to, term, rejected },
        Body::TimeoutNow { .. } => Said::TimeoutNow { to, term },
        _ => Said::Other { to },
    }
}

fn said_by_theirs(message: &Message, is_stale_leader: bool) -> Said {
    let (to, term, rejected) = (message.to, message.term, message.reject);
    let (last_index, last_term) = (message.index, message.log_term);
    match message.get_msg_type() {
        MessageType::MsgAppend => Said::Append {
            to,
            term,
            prev_index: message.index,
            prev_term: message.log_term,
            count: message.entries.len(),
            commit: message.commit,
        },
        MessageType::MsgAppendResponse if is_stale_leader => Said::Stale { to, term },
        MessageType::MsgAppendResponse if rejected => Said::Reject {
            to,
            term,
            index: message.index,
            hint_index: message.reject_hint,
            hint_term: message.log_term,
        },
        MessageType::MsgAppendResponse => Said::Ack { to, term, index: message.index },
        MessageType::MsgHeartbeat => Said::Heartbeat { to, term, commit: message.commit },
        MessageType::MsgHeartbeatResponse => Said::HeartbeatAck { to, term },
        MessageType::MsgRequestPreVote => Said::PreVote { to, term, last_index, last_term },
        MessageType::MsgRequestPreVoteResponse => Said::PreVoteResp { to, term, rejected },
        MessageType::MsgRequestVote => {
            Said::Vote { to, term, last_index, last_term, forced: !message.context.is_empty() }
        }
        MessageType::MsgRequestVoteResponse => Said::VoteResp { to, term, rejected },
        MessageType::MsgTimeoutNow => Said::TimeoutNow { to, term },
        _ => Said::Other { to },
    }
}
