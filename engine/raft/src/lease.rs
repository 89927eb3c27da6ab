//! Leader leases: until when no other leader can have committed anything (docs/design/raft.md, Leases).
//!
//! ```text
//! lease_start = quorum-th newest send time that voters echoed in this term   (own slot = now; joint: the older half)
//! lease_end   = lease_start + L
//! needed      : L <= E (1 - rho) / (1 + rho) - g      E = the time for which a voter that heard a leader is loyal
//! ```
//! A voter promised to grant nothing for E of its own clock after it heard the message, hence for at least E / (1 + rho)
//! of true time, which is at least E (1 - rho) / (1 + rho) of the leader's clock. So the start is when the leader
//! **sent**, never when the answer came. Source: thesis 6.4.1.

use base::mono::Span;
use base::{LogIndex, Mono, NodeId, mutate};

use crate::progress::Peer;
use crate::quorum::reached_by_quorum;
use crate::raft::Raft;
use crate::settings::Settings;

/// By how much the rate of each clock may be wrong: 1 in so many.
pub const CLOCK_RATE_ERROR_ONE_IN: u64 = 100;
/// How coarse a clock may be.
pub const CLOCK_GRANULARITY: Span = Span::from_ms(1);

/// What a leader keeps of its lease beside the echoes of its followers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Lease {
    /// Echoes of what was sent before do not count: this node did not lead yet, or its clock has jumped since.
    floor: Mono,
    /// Who was asked to take over, and the highest read position before that: until it has acked a higher one in this
    /// term it may still act on it.
    asked: Vec<(NodeId, u64)>,
}

impl Lease {
    /// Of a leader elected at `now`.
    pub(crate) fn new(now: Mono) -> Lease {
        Lease { floor: now, asked: Vec::new() }
    }

    /// TimeoutNow is about to leave: no lease from here on.
    pub(crate) fn suspend(&mut self, target: NodeId, position: u64) {
        self.asked.retain(|(id, _)| *id != target);
        self.asked.push((target, position));
    }
}

impl Settings {
    /// The longest lease that is safe with this loyalty of voters: E (1 - rho) / (1 + rho) - g.
    #[must_use]
    pub const fn lease_max(election_min: Span) -> Span {
        let Span(loyal) = election_min;
        let safe = loyal / (CLOCK_RATE_ERROR_ONE_IN + 1) * (CLOCK_RATE_ERROR_ONE_IN - 1);
        Span(safe.saturating_sub(CLOCK_GRANULARITY.0))
    }

    /// The usual lease for this loyalty: nine tenths of it; `None` when that is not safe.
    #[must_use]
    pub fn lease_for(election_min: Span) -> Option<Span> {
        let usual = Span(election_min.0 / 10 * 9);
        (usual <= Settings::lease_max(election_min)).then_some(usual)
    }

    /// Panics, naming the bound, when the lease could outlive the loyalty of voters.
    pub(crate) fn check_lease(&self) {
        let max = Settings::lease_max(self.election_min);
        let is_safe = self.lease.is_none_or(|lease| lease <= max);
        assert!(
            is_safe,
            "a lease of {:?} with election_min {:?} is not safe under clocks that are 1 % wrong: at most {max:?}",
            self.lease, self.election_min
        );
    }
}

impl Peer {
    /// It answered something that this leader sent at `echo_mono`. What is 0 or not sent yet proves nothing.
    pub(crate) fn note_echo(&mut self, echo_mono: Mono, now: Mono) {
        if echo_mono > now {
            base::mark::hit!("raft.lease.echo_from_the_future");
            return;
        }
        // Thesis 6.4.1: the promise began when the message was heard, which may be as early as it was sent.
        self.echo_mono = self.echo_mono.max(mutate!(MUT_3B, echo_mono, now));
    }

    /// Has it answered lately, and something lately sent? Acks that wait for a slow disk come often and speak of long
    /// ago: then heartbeats must keep the lease.
    pub(crate) fn is_fresh(&self, now: Mono, heartbeat: Span) -> bool {
        let is_recent = |at: Mono| now.since(at).0 < 2 * heartbeat.0;
        is_recent(self.last_answer) && (self.echo_mono == Mono(0) || is_recent(self.echo_mono))
    }
}

impl Raft {
    /// Until when (exclusive) no other leader can commit anything, seen at `now`; `None` without a lease. Reads of this
    /// node's state that has applied an entry of the own term are linearizable while it holds.
    ///
    /// Whoever publishes it to others must take it back before it sends what this group's next drain hands out.
    #[must_use]
    pub fn lease_until(&self, now: Mono) -> Option<Mono> {
        let length = self.settings.lease?;
        let now = now.max(self.now);
        let is_barred = self.alarm.is_some() || self.is_disk_slow || self.rest.is_on() || self.is_lease_suspended();
        if is_barred || !self.is_own_term_committed() {
            base::mark::hit!("raft.lease.suspended", self.is_lease_suspended());
            base::mark::hit!("raft.lease.barred_by_disk", self.is_disk_slow);
            base::mark::hit!("raft.lease.before_own_term", self.is_leader() && !is_barred);
            return None;
        }
        let start = reached_by_quorum(self.config(), |id| {
            if id == self.id { now } else { self.lead.peer(id).map_or(Mono(0), |peer| peer.echo_mono) }
        })?;
        let counts = start != Mono(0) && start >= self.lead.lease.floor;
        base::mark::hit!("raft.lease.floor_not_reached", !counts && start != Mono(0));
        let end = start + mutate!(MUT_3C, length, Span(length.0 * 10));
        base::mark::hit!("raft.lease.ran_out", counts && now >= end);
        (counts && mutate!(MUT_3A, now < end, true)).then_some(end)
    }

    /// Could a message that asks another node to take over still be obeyed?
    pub(crate) fn is_lease_suspended(&self) -> bool {
        let is_asked = self.lead.transfer.is_some_and(|transfer| transfer.is_asked);
        let acked = |id| self.lead.peer(id).map_or(0, |peer| peer.acked_position);
        mutate!(MUT_8A, is_asked, return false)
            || self.lead.lease.asked.iter().any(|(target, position)| acked(*target) <= *position)
    }

    /// A transfer was given up after the target was asked: a position of its own asks the target whether it still
    /// follows, so that the lease returns without waiting for a read.
    pub(crate) fn note_transfer_given_up(&mut self) {
        base::mark::hit!("raft.lease.suspended_beyond_transfer");
        self.lead.reads.open_fence();
        self.dirty = true;
    }

    /// The clock stood still, or jumped: what was sent before says nothing of how old it is.
    pub(crate) fn handle_clock_jump(&mut self) {
        if mutate!(MUT_8C, self.is_leader(), false) {
            base::mark::hit!("raft.lease.clock_jump");
            self.lead.lease.floor = Mono(self.now.0.saturating_add(1));
        }
    }

    /// Has the machine applied an entry of this leader's own term? Before that nothing may be published under a lease.
    #[must_use]
    pub fn is_own_term_applied(&self) -> bool {
        self.is_own_term_committed() && self.applied_index >= self.lead.first_index
    }

    /// The entry below which a commit must not go beyond the own disk, if that is wanted.
    pub(crate) fn commit_bound(&self) -> LogIndex {
        if self.settings.commit_requires_local_persisted { self.persisted_index() } else { LogIndex(u64::MAX) }
    }
}
