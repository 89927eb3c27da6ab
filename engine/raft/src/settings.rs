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
            doubt_wait: Some(Span::from_ms(30_000)),
        }
    }
}
