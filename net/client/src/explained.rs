//! Where one operation's time went, as client and server saw it together.

use base::mono::Span;
use wire::Explanation;

use crate::Ticket;

/// Explanations that wait to be taken; older ones go.
pub(crate) const EXPLAINED_MAX: usize = 1024;

/// One operation whose server told where its time went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// Which operation.
    pub ticket: Ticket,
    /// What the server tells.
    pub server: Explanation,
    /// From the frame that had the request, in the try that was answered, to its answer.
    pub service: Span,
    /// From the caller to that frame: waiting for map, session and connection, and tries that led nowhere.
    pub before: Span,
}

impl Explained {
    /// Of the service: what the server does not account for, which is the way there and back.
    #[must_use]
    pub fn net(&self) -> Span {
        Span(self.service.0.saturating_sub(self.server.total_ns()))
    }

    /// From the caller to the answer.
    #[must_use]
    pub fn total(&self) -> Span {
        Span(self.before.0 + self.service.0)
    }
}
