//! Linearizable reads at a follower: it asks the leader for a read index, and waits until it has applied that much.
//!
//! ```text
//!  FollowerRead ... ──one ask a turn──▶ ReadIndex(id) ──▶ the leader: a read that joins now
//!  confirmed, applied ◀── apply ◀── ReadIndexResp(id, index) ◀── confirmed by a round or a lease
//! ```
//! Positions count from 1 for the life of the node; an ask carries the newest one, and its answer covers all below.
//! Source: docs/design/raft.md (Reads).

use std::collections::VecDeque;

use base::limits::{FOLLOWER_LAG_MAX, READS_WAITING_MAX};
use base::mono::Span;
use base::{LogIndex, Mono, NodeId};

use crate::raft::{Raft, Role};
use crate::{Body, Log, Outcome, ReadPath, ReadsConfirmed};

/// Reads of one turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Waiting {
    position: u64,
    since: Mono,
    /// The leader's answer.
    read_index: Option<LogIndex>,
}

/// The reads of a follower. Invariant: positions ascend, and those with an index come first.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct FollowerReads {
    /// The highest position joined.
    position: u64,
    /// The highest that was asked for: nothing joins it any more.
    asked: u64,
    asked_at: Mono,
    waiting: VecDeque<Waiting>,
    /// Everything waiting at or below was dropped and not told yet.
    dropped: Option<u64>,
}

/// A follower's ask at the leader.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Ask {
    from: NodeId,
    read_id: u64,
    incarnation: u64,
    /// Of the leader's own reads.
    position: u64,
}

impl FollowerReads {
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn join(&mut self, now: Mono) -> Option<u64> {
        let is_open = self.waiting.back().is_some_and(|last| last.position > self.asked);
        if !is_open {
            if self.waiting.len() >= READS_WAITING_MAX {
                return None;
            }
            self.position += 1;
            self.waiting.push_back(Waiting { position: self.position, since: now, read_index: None });
        }
        Some(self.position)
    }

    /// The newest position, if some wait unanswered and are to be asked for (again) now.
    fn wanted_ask(&self, now: Mono, repeat: Span) -> Option<u64> {
        let last = self.waiting.back().filter(|last| last.read_index.is_none())?;
        let is_new = last.position > self.asked;
        (is_new || now.since(self.asked_at) >= repeat).then_some(last.position)
    }

    fn note_answer(&mut self, read_id: u64, read_index: LogIndex) {
        for waiting in self.waiting.iter_mut().take_while(|waiting| waiting.position <= read_id) {
            waiting.read_index.get_or_insert(read_index);
        }
    }

    /// Those whose index is applied.
    fn confirm(&mut self, applied_index: LogIndex) -> Option<ReadsConfirmed> {
        let mut confirmed = None;
        while let Some(Waiting { position, read_index: Some(read_index), .. }) = self.waiting.front().copied() {
            if read_index > applied_index {
                base::mark::hit!("raft.follower_read.waits_for_apply");
                break;
            }
            confirmed = Some(ReadsConfirmed { position, read_index, path: ReadPath::Follower });
            self.waiting.pop_front();
        }
        confirmed
    }

    fn drop_through(&mut self, position: u64) {
        while self.waiting.front().is_some_and(|waiting| waiting.position <= position) {
            self.waiting.pop_front();
            self.dropped = Some(position);
        }
    }

    pub(crate) fn drop_all(&mut self) {
        self.drop_through(self.position);
    }

    fn expire(&mut self, now: Mono, wait: Span) {
        let expired = self.waiting.iter().take_while(|waiting| now.since(waiting.since) >= wait).last().copied();
        if let Some(last) = expired {
            base::mark::hit!("raft.follower_read.expired");
            self.drop_through(last.position);
        }
    }

    fn deadline(&self, wait: Span, repeat: Span) -> Mono {
        let expires = self.waiting.front().map_or(Mono::MAX, |waiting| waiting.since + wait);
        let is_asking = self.waiting.back().is_some_and(|last| last.read_index.is_none());
        if is_asking { expires.min(self.asked_at + repeat) } else { expires }
    }
}

impl Raft {
    /// How long a follower's read waits at most, and after how long an ask is repeated.
    fn follower_read_times(&self) -> (Span, Span) {
        (self.settings.check_quorum, Span(2 * self.settings.heartbeat.0))
    }

    pub(crate) fn handle_follower_read(&mut self, log: &impl Log) -> Outcome {
        let hint = self.leader();
        if self.is_leader() {
            return self.handle_read();
        }
        let is_behind = self.commit_index.0 > self.applied_index.0 + FOLLOWER_LAG_MAX;
        if self.role != Role::Follower || hint.is_none() || is_behind || self.is_removed || self.is_installing(log) {
            base::mark::hit!("raft.follower_read.no_leader", hint.is_none());
            base::mark::hit!("raft.follower_read.lags", is_behind);
            base::mark::hit!("raft.follower_read.installing", self.is_installing(log));
            return Outcome::NotLeader { hint };
        }
        match self.follower_reads.join(self.now) {
            Some(position) => {
                self.dirty = true;
                Outcome::FollowerReadJoined { position }
            }
            None => Outcome::Overloaded,
        }
    }

    /// Asks the leader for everything that waits, once a turn; again when no answer came.
    pub(crate) fn send_read_ask(&mut self) {
        let (_, repeat) = self.follower_read_times();
        let (Role::Follower, Some(leader)) = (self.role, self.leader()) else { return };
        let Some(read_id) = self.follower_reads.wanted_ask(self.now, repeat) else { return };
        base::mark::hit!("raft.follower_read.asks_again", self.follower_reads.asked == read_id);
        self.follower_reads.asked = read_id;
        self.follower_reads.asked_at = self.now;
        let body = Body::ReadIndex { term: self.term(), read_id, incarnation: self.incarnation };
        self.outbox.push_now(leader, body);
    }

    /// A follower asks: a read that joins now.
    pub(crate) fn handle_read_ask(&mut self, from: NodeId, read_id: u64, incarnation: u64) {
        let is_known = |ask: &Ask| (ask.from, ask.read_id, ask.incarnation) == (from, read_id, incarnation);
        if self.lead.asks.iter().any(is_known) {
            base::mark::hit!("raft.follower_read.asked_twice");
            return;
        }
        let is_full = self.lead.asks.len() >= FOLLOWER_ASKS_MAX;
        let outcome = if is_full { Outcome::Overloaded } else { self.handle_read() };
        match outcome {
            Outcome::ReadJoined { position } => {
                self.lead.asks.push_back(Ask { from, read_id, incarnation, position });
            }
            _ => {
                base::mark::hit!("raft.follower_read.ask_refused");
                self.answer_read_ask(from, read_id, incarnation, None);
            }
        }
    }

    /// The leader's reads up to here are confirmed: so are the asks among them.
    pub(crate) fn answer_read_asks(&mut self, confirmed: &ReadsConfirmed) {
        while let Some(ask) = self.lead.asks.pop_front_if(|ask| ask.position <= confirmed.position) {
            base::mark::hit!("raft.follower_read.ask_answered");
            self.answer_read_ask(ask.from, ask.read_id, ask.incarnation, Some(confirmed.read_index));
        }
    }

    fn answer_read_ask(&mut self, to: NodeId, read_id: u64, incarnation: u64, read_index: Option<LogIndex>) {
        let body = Body::ReadIndexResp {
            term: self.term(),
            read_id,
            incarnation,
            read_index: read_index.unwrap_or_default(),
            rejected: read_index.is_none(),
        };
        // A leader's term is on disk. Who leads no more may have just learned of its term.
        if read_index.is_some() {
            self.outbox.push_now(to, body);
        } else {
            self.push_after_sync(to, body);
        }
    }

    pub(crate) fn handle_read_answer(
        &mut self,
        from: NodeId,
        (read_id, incarnation): (u64, u64),
        read_index: LogIndex,
        rejected: bool,
    ) {
        if incarnation != self.incarnation || self.leader() != Some(from) || self.role != Role::Follower {
            base::mark::hit!("raft.follower_read.answer_of_the_past");
            return;
        }
        let is_behind = read_index.0 > self.applied_index.0.saturating_add(FOLLOWER_LAG_MAX);
        if rejected || is_behind {
            base::mark::hit!("raft.follower_read.refused");
            self.follower_reads.drop_through(read_id);
        } else {
            self.follower_reads.note_answer(read_id, read_index);
        }
        self.dirty = true;
    }

    pub(crate) fn tick_follower_reads(&mut self) {
        if !self.follower_reads.is_waiting() {
            return;
        }
        let (wait, repeat) = self.follower_read_times();
        self.follower_reads.expire(self.now, wait);
        self.dirty |= self.follower_reads.dropped.is_some();
        self.dirty |= self.follower_reads.wanted_ask(self.now, repeat).is_some();
    }

    pub(crate) fn follower_reads_deadline(&self) -> Mono {
        let (wait, repeat) = self.follower_read_times();
        self.follower_reads.deadline(wait, repeat)
    }

    pub(crate) fn drain_follower_reads(&mut self) -> (Option<ReadsConfirmed>, Option<u64>) {
        (self.follower_reads.confirm(self.applied_index), self.follower_reads.dropped.take())
    }
}

/// Asks of followers that a leader keeps.
const FOLLOWER_ASKS_MAX: usize = 1024;
