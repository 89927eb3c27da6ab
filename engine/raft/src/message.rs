//! The messages of one group, as values. Entries travel beside them: out as a range of the log, in as checked records.

use base::{LogIndex, Mono, Term};

use crate::Health;

/// `hint_index` of an AppendResp that has no hint.
pub const NO_HINT: LogIndex = LogIndex(0);

/// The body of a message; isomorphic to etcd's (docs/design/raft.md, "Messages"). `term` is the sender's, except in
/// PreVote and a granted PreVoteResp, where it is the term asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Body {
    /// Entries `prev_index + 1 ..= prev_index + count` (the bytes travel beside); `count` 0 is a probe or a bump.
    AppendEntries {
        /// The leader's term.
        term: Term,
        /// The entry before the first one sent.
        prev_index: LogIndex,
        /// Its term.
        prev_term: Term,
        /// Its crc; 0 is unknown.
        prev_crc: u32,
        /// min(match_index, commit_index, own applied_index) of the leader.
        commit_index: LogIndex,
        /// The highest read position joined before this was sent.
        read_position: u64,
        /// Entries beside.
        count: u16,
        /// The leader's clock when it was sent; opaque to the receiver, echoed.
        send_mono: Mono,
    },
    /// The answer to AppendEntries.
    AppendResp {
        /// The follower's term.
        term: Term,
        /// Acked index, or with `rejected` the refused `prev_index`.
        index: LogIndex,
        /// `prev_index` did not match.
        rejected: bool,
        /// Nothing was written: too much is unsynced, or a snapshot is being installed.
        busy: bool,
        /// The follower knows that its log lost something: less than it acked before makes no liar of it.
        faulty: bool,
        /// With `rejected`: the last index that may match.
        hint_index: LogIndex,
        /// Its term.
        hint_term: Term,
        /// The highest read position seen in this term.
        read_position: u64,
        /// `send_mono` of the newest message that this covers.
        echo_mono: Mono,
    },
    /// One item of a HeartbeatList.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// As in AppendEntries.
        commit_index: LogIndex,
        /// As in AppendEntries.
        read_position: u64,
        /// The leader wants to rest.
        quiesce: bool,
        /// As in AppendEntries.
        send_mono: Mono,
    },
    /// One item of a HeartbeatAck.
    HeartbeatAck {
        /// The follower's term.
        term: Term,
        /// As in AppendResp.
        read_position: u64,
        /// The follower agrees to rest.
        quiesce: bool,
        /// As in AppendResp.
        echo_mono: Mono,
    },
    /// Would you vote for me in `term`? Changes nothing anywhere.
    PreVote {
        /// The term asked for.
        term: Term,
        /// The asker's last entry.
        last_index: LogIndex,
        /// Its term.
        last_term: Term,
        /// The asker's incarnation, echoed.
        incarnation: u64,
    },
    /// The answer: the asked term when granted, the own one when rejected.
    PreVoteResp {
        /// See above.
        term: Term,
        /// No.
        rejected: bool,
        /// Of the asker.
        incarnation: u64,
    },
    /// Vote for me in `term`.
    RequestVote {
        /// The candidate's term.
        term: Term,
        /// The candidate's last entry.
        last_index: LogIndex,
        /// Its term.
        last_term: Term,
        /// The asker's incarnation, echoed.
        incarnation: u64,
        /// A leader asked for this election (transfer): stickiness does not hold.
        forced: bool,
    },
    /// The answer.
    VoteResp {
        /// The voter's term.
        term: Term,
        /// No.
        rejected: bool,
        /// Of the asker.
        incarnation: u64,
    },
    /// Campaign at once: leadership is yours to take.
    TimeoutNow {
        /// The leader's term.
        term: Term,
        /// The highest read position before it; a target that saw a higher one ignores it.
        read_position: u64,
    },
    /// A follower asks for a read index.
    ReadIndex {
        /// The follower's term.
        term: Term,
        /// Chosen by the follower.
        read_id: u64,
        /// Of the asker.
        incarnation: u64,
    },
    /// The answer.
    ReadIndexResp {
        /// The leader's term.
        term: Term,
        /// As asked.
        read_id: u64,
        /// Of the asker.
        incarnation: u64,
        /// Serve once applied up to here.
        read_index: LogIndex,
        /// Not the leader, or too far behind.
        rejected: bool,
    },
    /// Who has these entries, in these very terms? And where does your log end?
    EntryFetch {
        /// The asker's term; changes nothing anywhere.
        term: Term,
        /// The first entry wanted; one above the last when none is known.
        first_index: LogIndex,
        /// Its term; 0 when it is not known: who lost its head takes what follows.
        first_term: Term,
        /// The last entry wanted.
        last_index: LogIndex,
        /// Above every term in which the asker acked what it lost: who hears no leader adopts it before it answers.
        doubt_term: Term,
    },
    /// The answer: intact entries `first_index ..= first_index + count - 1` (the bytes travel beside).
    EntryFetchResp {
        /// The sender's term, on its disk; changes nothing anywhere.
        term: Term,
        /// As asked.
        first_index: LogIndex,
        /// The sender's last entry.
        last_index: LogIndex,
        /// Its term.
        last_term: Term,
        /// What the sender's log is worth.
        health: Health,
        /// Entries beside.
        count: u16,
        /// Compacted away: only a snapshot helps.
        rejected: bool,
        /// The sender does not hold the first entry in that term, not even a faulty one.
        absent: bool,
    },
    /// You acked entries that your log does not hold: nothing you promised counts any more.
    Amnesia {
        /// The leader's term.
        term: Term,
        /// Acked up to here.
        acked_index: LogIndex,
    },
    /// You are no longer a member, since the configuration at `config_index`.
    Removed {
        /// The sender's term.
        term: Term,
        /// Where the configuration stands.
        config_index: LogIndex,
    },
}

impl Body {
    /// The term the message carries.
    #[must_use]
    pub fn term(&self) -> Term {
        match *self {
            Body::AppendEntries { term, .. }
            | Body::AppendResp { term, .. }
            | Body::Heartbeat { term, .. }
            | Body::HeartbeatAck { term, .. }
            | Body::PreVote { term, .. }
            | Body::PreVoteResp { term, .. }
            | Body::RequestVote { term, .. }
            | Body::VoteResp { term, .. }
            | Body::TimeoutNow { term, .. }
            | Body::ReadIndex { term, .. }
            | Body::ReadIndexResp { term, .. }
            | Body::EntryFetch { term, .. }
            | Body::EntryFetchResp { term, .. }
            | Body::Amnesia { term, .. }
            | Body::Removed { term, .. } => term,
        }
    }

    /// The entries whose bytes travel beside: the first, and how many.
    #[must_use]
    pub fn entries(&self) -> Option<(LogIndex, u16)> {
        match *self {
            Body::AppendEntries { prev_index, count, .. } => Some((prev_index.next(), count)),
            Body::EntryFetchResp { first_index, count, .. } => Some((first_index, count)),
            _ => None,
        }
    }
}
