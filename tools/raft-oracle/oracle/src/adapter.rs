//! Messages of one implementation as those of the other.
//!
//! Ours carry more than the raft crate's: an incarnation in votes, read positions, the clock of the sender for leases,
//! the wish to rest, and the crc of the entry before. The first travels in `context` of a vote's answer (the crate gives
//! nothing there), the last comes from the sender's log, the others are 0: no leases, no reads, no rest. The crate's `commit` of votes, by which it commits without a leader, is left
//! out: ours have no such field. An entry without data is a no-op, as the crate means it.

use base::record::{EntryKind, Record, Records};
use base::{LogIndex, Mono, NodeId, Term};
use ours::{Body, NO_HINT};
use raft::eraftpb::{Entry, Message, MessageType};

use crate::twin::{GROUP, Held, Twin};

/// What the raft crate writes into a RequestVote that a leader asked for.
const FORCED: &[u8] = b"CampaignTransfer";

/// A held entry as the raft crate knows it.
#[must_use]
pub fn entry(index: LogIndex, held: &Held) -> Entry {
    entry_of(index, held.term, held.kind, held.payload())
}

fn entry_of(index: LogIndex, term: Term, kind: EntryKind, payload: &[u8]) -> Entry {
    assert_eq!(kind == EntryKind::Noop, payload.is_empty(), "an entry without data is a no-op, and no other");
    let mut entry = Entry::default();
    (entry.index, entry.term, entry.data) = (index.0, term.0, payload.to_vec().into());
    entry
}

/// What an entry of the raft crate is in our log.
#[must_use]
pub fn kind_of(entry: &Entry) -> EntryKind {
    if entry.data.is_empty() { EntryKind::Noop } else { EntryKind::Commands }
}

/// Our message for the raft crate; `bytes` are the records of an AppendEntries. `None` for what it has no word for.
///
/// Panics when the records are not sound: nobody here sends others.
#[must_use]
pub fn to_theirs(from: NodeId, to: NodeId, body: &Body, bytes: &[u8]) -> Option<Message> {
    let mut message = Message::default();
    (message.from, message.to, message.term) = (from.0, to.0, body.term().0);
    let kind = match *body {
        Body::AppendEntries { prev_index, prev_term, commit_index, count, .. } => {
            (message.index, message.log_term, message.commit) = (prev_index.0, prev_term.0, commit_index.0);
            let records = Records::check_entries(bytes, count, GROUP, prev_index.next()).expect("sound records");
            message.set_entries(records.map(entry_of_record).collect::<Vec<_>>().into());
            MessageType::MsgAppend
        }
        // An ack of nothing: the crate has no word for a busy follower.
        Body::AppendResp { busy: true, .. } => MessageType::MsgAppendResponse,
        Body::AppendResp { index, rejected, hint_index, hint_term, .. } => {
            (message.index, message.reject) = (index.0, rejected);
            (message.reject_hint, message.log_term) = (hint_index.0, hint_term.0);
            MessageType::MsgAppendResponse
        }
        Body::Heartbeat { commit_index, .. } => {
            message.commit = commit_index.0;
            MessageType::MsgHeartbeat
        }
        Body::HeartbeatAck { .. } => MessageType::MsgHeartbeatResponse,
        Body::PreVote { last_index, last_term, .. } => {
            (message.index, message.log_term) = (last_index.0, last_term.0);
            MessageType::MsgRequestPreVote
        }
        Body::RequestVote { last_index, last_term, forced, .. } => {
            (message.index, message.log_term) = (last_index.0, last_term.0);
            if forced {
                message.context = FORCED.into();
            }
            MessageType::MsgRequestVote
        }
        Body::PreVoteResp { rejected, .. } => {
            message.reject = rejected;
            MessageType::MsgRequestPreVoteResponse
        }
        Body::VoteResp { rejected, .. } => {
            message.reject = rejected;
            MessageType::MsgRequestVoteResponse
        }
        Body::TimeoutNow { .. } => MessageType::MsgTimeoutNow,
        _ => return None,
    };
    message.set_msg_type(kind);
    Some(message)
}

fn entry_of_record(record: Record<'_>) -> Entry {
    let header = record.header();
    let kind = record.entry_kind().expect("entries have a kind");
    entry_of(header.index, header.term, kind, record.payload())
}

/// A message of the raft crate for us, and the records that travel beside it. `None` for what we have no word for, and
/// for entries that its sender's log no longer holds.
#[must_use]
pub fn to_ours(message: &Message, log: &Twin, incarnation: u64) -> Option<(Body, Vec<u8>)> {
    let term = Term(message.term);
    let (index, log_term) = (LogIndex(message.index), Term(message.log_term));
    let echoed = || message.context.as_ref().try_into().map_or(0, u64::from_le_bytes);
    let body = match message.get_msg_type() {
        MessageType::MsgAppend => {
            let count = u16::try_from(message.entries.len()).expect("far fewer");
            let is_held = |entry: &Entry| log.memory.term(LogIndex(entry.index)) == Some(Term(entry.term));
            if log.memory.term(index) != Some(log_term) || !message.entries.iter().all(is_held) {
                return None;
            }
            let body = Body::AppendEntries {
                term,
                prev_index: index,
                prev_term: log_term,
                prev_crc: log.memory.crc(index)?,
                commit_index: LogIndex(message.commit),
                read_position: 0,
                count,
                send_mono: Mono(0),
            };
            return Some((body, log.records(index.next(), count)?));
        }
        MessageType::MsgAppendResponse => {
            let (hint_index, hint_term) =
                if message.reject { (LogIndex(message.reject_hint), log_term) } else { (NO_HINT, Term(0)) };
            Body::AppendResp {
                term,
                index,
                rejected: message.reject,
                busy: false,
                faulty: false,
                hint_index,
                hint_term,
                read_position: 0,
                echo_mono: Mono(0),
            }
        }
        MessageType::MsgHeartbeat => Body::Heartbeat {
            term,
            commit_index: LogIndex(message.commit),
            read_position: 0,
            quiesce: false,
            send_mono: Mono(0),
        },
        MessageType::MsgHeartbeatResponse => {
            Body::HeartbeatAck { term, read_position: 0, quiesce: false, echo_mono: Mono(0) }
        }
        MessageType::MsgRequestPreVote => Body::PreVote { term, last_index: index, last_term: log_term, incarnation },
        MessageType::MsgRequestVote => Body::RequestVote {
            term,
            last_index: index,
            last_term: log_term,
            incarnation,
            forced: message.context.as_ref() == FORCED,
        },
        MessageType::MsgRequestPreVoteResponse => {
            Body::PreVoteResp { term, rejected: message.reject, incarnation: echoed() }
        }
        MessageType::MsgRequestVoteResponse => Body::VoteResp { term, rejected: message.reject, incarnation: echoed() },
        MessageType::MsgTimeoutNow => Body::TimeoutNow { term, read_position: 0 },
        _ => return None,
    };
    Some((body, Vec::new()))
}

/// The incarnation of an asker, which its voter must echo.
#[must_use]
pub fn asker(body: &Body) -> Option<u64> {
    match *body {
        Body::PreVote { incarnation, .. } | Body::RequestVote { incarnation, .. } => Some(incarnation),
        _ => None,
    }
}

/// Writes the asker's incarnation into the votes among `answers`.
pub fn echo(answers: &mut [Message], incarnation: u64) {
    for answer in answers {
        let kind = answer.get_msg_type();
        if matches!(kind, MessageType::MsgRequestPreVoteResponse | MessageType::MsgRequestVoteResponse) {
            answer.context = incarnation.to_le_bytes().to_vec().into();
        }
    }
}
