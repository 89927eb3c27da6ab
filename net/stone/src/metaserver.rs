//! The metaservers as HTTP roles see them: a small trait, so that tests can stand in for a cluster.

use std::pin::Pin;

use base::{Acct, Nsid};
use meta::{Answer, Command, Outcome, Query};

use crate::error::ApiError;

/// Why the metaservers gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetaserverError {
    /// No leader was found in time, or the outcome is in doubt.
    #[error("{0}")]
    Unavailable(String),
    /// Understood and refused; asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// Too much is asked of this process, or of the cluster, at once.
    #[error("{0}")]
    Overloaded(String),
}

impl From<MetaserverError> for ApiError {
    fn from(error: MetaserverError) -> ApiError {
        match error {
            MetaserverError::Unavailable(text) => ApiError::Unavailable(text),
            MetaserverError::Refused(text) => ApiError::Internal(text),
            MetaserverError::Overloaded(_) => ApiError::TooMany { reason: "too_many_requests", retry_after: 1 },
        }
    }
}

/// An answer that is awaited.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, MetaserverError>> + Send + 'a>>;

/// The metaservers.
pub trait Metaserver: Send + Sync + 'static {
    /// Executes a command with the rights of `acct`, exactly once.
    fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Asked<'_, Outcome>;

    /// Reads, linearizably, with the rights of `acct`.
    fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> Asked<'_, Answer>;
}
