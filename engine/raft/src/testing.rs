//! What the tests under `tests/` see of this crate's inside: the arithmetic of quorums. No part of the interface.

use base::{LogIndex, NodeId};

use crate::Config;
use crate::quorum::{Poll, count_poll, reached_by_quorum};

/// The highest index that a quorum of `config` has reached; `None` when nobody votes.
#[must_use]
pub fn reached(config: &Config, index: impl Fn(NodeId) -> LogIndex) -> Option<LogIndex> {
    reached_by_quorum(config, index)
}

/// How a poll stands: won, lost, or open (`None`). `vote` is an answer, if one came.
#[must_use]
pub fn poll(config: &Config, vote: impl Fn(NodeId) -> Option<bool>) -> Option<bool> {
    match count_poll(config, vote) {
        Poll::Won => Some(true),
        Poll::Lost => Some(false),
        Poll::Open => None,
    }
}
