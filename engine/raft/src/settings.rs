//! The times of a group. All members of a cluster run with the same.

use base::mono::Span;

/// How long a group waits for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Settings {
    /// Between two heartbeats of a leader; default 50 ms.
    pub heartbeat: Span,
    /// The shortest silence of a leader that starts an election, and the time a voter stays loyal; default 500 ms.
    pub election_min: Span,
    /// Election deadlines are drawn below this; default 1,000 ms. Above `election_min`.
    pub election_max: Span,
    /// A leader that heard no quorum for so long steps down; default 1,000 ms.
    pub check_quorum: Span,
    /// A transfer that took longer is given up; default 1,000 ms.
    pub transfer_abort: Span,
    /// A snapshot on its way without news for so long is given up; default 10 s.
    pub snapshot_abort: Span,
    /// Beyond this age of the oldest unsynced byte a node does not lead; default 2 s.
    pub disk_lag_max: Span,
    /// How long a leader may serve reads on the word of a quorum, from when that was asked; `None` is never. Default
    /// 450 ms, at most [`Settings::lease_max`].
    pub lease: Option<Span>,
    /// A leader commits nothing beyond its own disk; default false. There to measure what that costs.
    pub commit_requires_local_persisted: bool,
    /// A group that nobody used for so long rests; default 5 s. `None`: none ever does.
    pub quiesce_after: Option<Span>,
    /// What a node with a slow disk adds to its election draw; default 1,000 ms.
    pub slow_disk_extra: Span,
    /// The leader makes a voter of every learner that has caught up; default true. Without it a learner stays one until
    /// a change says otherwise: for followers that only serve reads, and for a voter that is taken back to a learner.
    pub promote_learners: bool,
    /// A doubt about the last frame ends at the latest after this, once a quorum was heard; default 30 s, `None` never.
    pub doubt_wait: Option<Span>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            heartbeat: Span::from_ms(50),
            election_min: Span::from_ms(500),
            election_max: Span::from_ms(1000),
            check_quorum: Span::from_ms(1000),
            transfer_abort: Span::from_ms(1000),
            snapshot_abort: Span::from_ms(10_000),
            disk_lag_max: Span::from_ms(2000),
            lease: Some(Span::from_ms(450)),
            commit_requires_local_persisted: false,
            quiesce_after: Some(Span::from_ms(5000)),
            slow_disk_extra: Span::from_ms(1000),
            promote_learners: true,
            doubt_wait: Some(Span::from_ms(30_000)),
        }
    }
}
