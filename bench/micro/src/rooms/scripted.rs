//! Peers that agree to everything at once: what is left is the work of the member that is measured.

use base::LogIndex;
use raft::{Body, NO_HINT};

/// What a peer whose disk takes no time answers; nothing to what is itself an answer.
#[must_use]
pub fn answer(message: &Body) -> Option<Body> {
    Some(match *message {
        Body::PreVote { term, incarnation, .. } => Body::PreVoteResp { term, rejected: false, incarnation },
        Body::RequestVote { term, incarnation, .. } => Body::VoteResp { term, rejected: false, incarnation },
        Body::AppendEntries { term, prev_index, count, read_position, send_mono, .. } => Body::AppendResp {
            term,
            index: LogIndex(prev_index.0 + u64::from(count)),
            rejected: false,
            busy: false,
            faulty: false,
            hint_index: NO_HINT,
            hint_term: base::Term(0),
            read_position,
            echo_mono: send_mono,
        },
        Body::Heartbeat { term, read_position, quiesce, send_mono, .. } => {
            Body::HeartbeatAck { term, read_position, quiesce, echo_mono: send_mono }
        }
        _ => return None,
    })
}
