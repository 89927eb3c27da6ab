//! Reads that wait for a quorum: positions instead of request contexts (docs/design/raft.md, Reads).
//!
//! A position is a number that rises within a term; an ack of it proves that a follower still knew this leader after
//! all reads at or below it had arrived. It is never used twice in a term, so a late ack proves nothing false.

use std::collections::VecDeque;

use base::limits::READS_WAITING_MAX;
use base::{LogIndex, Mono, mutate};

use crate::config::Config;
use crate::quorum::reached_by_quorum;
use crate::raft::Raft;
use crate::{Body, Outcome, ReadPath, ReadsConfirmed};

/// The read positions of one term of one leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct ReadQueue {
    /// The highest position joined.
    position: u64,
    /// The highest that may have left in a message: nothing joins it any more.
    sealed: u64,
    /// A position without a read that is to be acked all the same; 0 for none.
    fence: u64,
    /// Unconfirmed positions, ascending, each with its index once an entry of this term is committed.
    waiting: VecDeque<(u64, Option<LogIndex>)>,
}

impl ReadQueue {
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The highest that somebody waits for. What a lease confirmed meanwhile is of no use to anybody.
    fn wanted(&self) -> u64 {
        self.waiting.back().map_or(0, |(position, _)| *position).max(self.fence)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        *self = ReadQueue { waiting: std::mem::take(&mut self.waiting), ..ReadQueue::default() };
        self.waiting.clear();
    }

    /// A read arrives. The reads of one turn share a position; once it has left, the next read opens another one.
    fn join(&mut self, read_index: Option<LogIndex>) -> Option<u64> {
        let is_full = self.waiting.len() >= READS_WAITING_MAX;
        match self.waiting.back_mut() {
            Some((position, index)) if mutate!(MUT_10B, *position > self.sealed, true) => *index = read_index,
            _ if is_full => return None,
            _ => {
                self.position += 1;
                self.waiting.push_back((self.position, read_index));
            }
        }
        Some(self.position)
    }

    /// A position without a read, which the next heartbeats carry.
    pub(crate) fn open_fence(&mut self) {
        self.position += 1;
        self.fence = self.position;
        self.sealed = self.position;
    }

    /// The position is about to leave in a message.
    pub(crate) fn seal(&mut self) {
        self.sealed = self.position;
    }

    /// An entry of this term is committed: the reads that waited for that take their index.
    pub(crate) fn note_own_term_committed(&mut self, commit_index: LogIndex) {
        for (_, index) in &mut self.waiting {
            index.get_or_insert(commit_index);
        }
    }

    fn confirm(&mut self, acked_position: u64, path: ReadPath) -> Option<ReadsConfirmed> {
        let mut confirmed = None;
        while let Some((position, Some(read_index))) = self.waiting.front().copied() {
            if position > acked_position {
                break;
            }
            confirmed = Some(ReadsConfirmed { position, read_index, path });
            self.waiting.pop_front();
        }
        confirmed
    }
}

impl Raft {
    pub(crate) fn handle_read(&mut self) -> Outcome {
        if !self.is_leader() {
            base::mark::hit!("raft.read.not_leader");
            return Outcome::NotLeader { hint: self.leader() };
        }
        // Thesis 6.4: before its own term has a committed entry, a leader may not know what is committed.
        let knows_commits = mutate!(MUT_9A, self.is_own_term_committed(), true);
        base::mark::hit!("raft.read.waits_for_own_term", !knows_commits);
        let read_index = knows_commits.then_some(self.commit_index);
        self.note_used();
        match self.lead.reads.join(read_index) {
            Some(position) => {
                self.dirty = true;
                Outcome::ReadJoined { position }
            }
            None => Outcome::Overloaded,
        }
    }

    /// Everything that waits while the lease holds; else what a quorum has acked, the leader itself included. The asks
    /// of followers among it are answered.
    pub(crate) fn confirm_reads(&mut self) -> Option<ReadsConfirmed> {
        if !self.is_leader() || !self.lead.reads.is_waiting() {
            return None;
        }
        let confirmed = if self.lease_until(self.now).is_some() {
            base::mark::hit!("raft.read.by_lease");
            self.lead.reads.confirm(u64::MAX, ReadPath::Lease)
        } else {
            let acked = mutate!(MUT_10C, self.acked_by_quorum()?, u64::MAX);
            base::mark::hit!("raft.read.by_round");
            self.lead.reads.confirm(acked, ReadPath::Round)
        };
        if let Some(confirmed) = &confirmed {
            self.answer_read_asks(confirmed);
        }
        confirmed
    }

    fn acked_by_quorum(&self) -> Option<u64> {
        let acked_position = |id| {
            let acked = self.lead.peer(id).map_or(0, |peer| peer.acked_position);
            let acked = mutate!(MUT_10A, acked, if acked > 0 { u64::MAX } else { 0 });
            if id == self.id { u64::MAX } else { acked }
        };
        mutate!(
            MUT_11A,
            reached_by_quorum(self.config_in_force(), acked_position),
            crate::quorum::reached_by_fewer(self.config_in_force(), acked_position)
        )
    }

    /// The group's item in the list of heartbeats to `peer`, asked for every [`crate::Settings::heartbeat`]. May be
    /// asked between turns: it marks nothing dirty.
    ///
    /// `None` when this node does not lead, `peer` is no member, or an AppendEntries of this interval said as much to
    /// a peer that answers.
    pub fn heartbeat(&mut self, peer: base::NodeId, now: Mono) -> Option<Body> {
        if !self.is_leader() || self.alarm.is_some() {
            return None;
        }
        self.now = self.now.max(now);
        if self.rest.is_on() {
            return None;
        }
        let asks_rest = self.asks_rest();
        if !asks_rest {
            // Another member stopped answering meanwhile: who agreed is needed again.
            self.wake(now, |_| now);
        }
        let (term, heartbeat, position) = (self.term(), self.settings.heartbeat, self.lead.reads.position());
        let wanted = self.lead.reads.wanted();
        let (commit_index, applied_index) = (self.commit_index, self.applied_index);
        let peer = self.lead.peer_mut(peer)?;
        if peer.is_resting {
            base::mark::hit!("raft.heartbeat.peer_rests");
            return None;
        }
        let advertised = peer.advertised(commit_index.min(applied_index));
        let is_replaced = !asks_rest
            && !peer.must_list
            && now.since(peer.last_append) < heartbeat
            && peer.is_fresh(now, heartbeat)
            && peer.sent_commit >= advertised
            && peer.sent_position >= wanted;
        if is_replaced {
            base::mark::hit!("raft.heartbeat.append_said_as_much");
            return None;
        }
        peer.sent_commit = advertised;
        peer.sent_position = position;
        self.lead.reads.seal();
        Some(Body::Heartbeat {
            term,
            commit_index: advertised,
            read_position: position,
            quiesce: asks_rest,
            send_mono: now,
        })
    }

    pub(crate) fn config_in_force(&self) -> &Config {
        self.configs.in_force()
    }

    pub(crate) fn is_own_term_committed(&self) -> bool {
        self.is_leader() && self.commit_index >= self.lead.first_index
    }
}
