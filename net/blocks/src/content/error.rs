//! How calls of the content host end when they do not end well; the HTTP face turns these into the answers of the API.

use meta::Outcome;
use stone::MetaserverError;

use super::body::BodyError;
use crate::store::{GetError, PutError};

/// What any call that brings or takes content can end in.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The body is not whole.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body has more bytes than one call may bring.
    #[error("the body is larger than {max} bytes; use an upload session")]
    PayloadTooLarge {
        /// The bound.
        max: u64,
    },
    /// The bytes are not what the call's `content_hash` says.
    #[error("the bytes that came are not those of the content_hash")]
    ContentHashMismatch,
    /// No leader in time, or the object store failed. Asking again is harmless.
    #[error("{0}")]
    Unavailable(String),
    /// Too much is asked at once. Asking again later is harmless.
    #[error("{0}")]
    Overloaded(String),
    /// The cluster refused what this server should not have asked, or a block is missing or corrupt.
    #[error("{0}")]
    Internal(String),
}

impl From<MetaserverError> for ContentError {
    fn from(error: MetaserverError) -> ContentError {
        match error {
            MetaserverError::Unavailable(text) => ContentError::Unavailable(text),
            MetaserverError::Refused(text) => ContentError::Internal(text),
            MetaserverError::Overloaded(text) => ContentError::Overloaded(text),
        }
    }
}

impl From<PutError> for ContentError {
    fn from(error: PutError) -> ContentError {
        ContentError::Unavailable(error.to_string())
    }
}

impl From<GetError> for ContentError {
    fn from(error: GetError) -> ContentError {
        match error {
            GetError::Store { .. } => ContentError::Unavailable(error.to_string()),
            GetError::Missing(_) | GetError::Corrupt { .. } => ContentError::Internal(error.to_string()),
        }
    }
}

/// An outcome that no answer of the API is for.
pub(crate) fn unexpected(what: &str, outcome: &Outcome) -> ContentError {
    ContentError::Internal(format!("unexpected outcome of {what}: {outcome:?}"))
}

/// What is wrong with the session of a call, or with the call's place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LookupError {
    /// No such session of this account; it may be over, or finished.
    #[error("no such upload session")]
    NotFound,
    /// The session is elsewhere.
    #[error("the session is at {correct_offset}")]
    IncorrectOffset {
        /// Where.
        correct_offset: u64,
    },
    /// Nothing may come any more.
    #[error("the session is closed")]
    Closed,
    /// It must be closed first.
    #[error("the session is not closed")]
    NotClosed,
    /// No file is so large.
    #[error("no file may be so large")]
    TooLarge,
    /// A concurrent call begins at a multiple of 4 MiB.
    #[error("a concurrent call begins at a multiple of 4 MiB")]
    ConcurrentInvalidOffset,
    /// A concurrent call brings a multiple of 4 MiB, but for the one that closes.
    #[error("a concurrent call brings a multiple of 4 MiB")]
    ConcurrentInvalidDataSize,
}

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// As any call.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Concurrent sessions begin without bytes.
    #[error("a concurrent session starts without data")]
    ConcurrentDataNotAllowed,
    /// Concurrent sessions begin open.
    #[error("a concurrent session does not start closed")]
    ConcurrentCloseNotAllowed,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// As any call.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The session.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// Why nothing was finished. A refusal of the machine for the target is no error: see [`super::Put`].
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// As any call.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The session.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Concurrent sessions end without bytes.
    #[error("a concurrent session is finished without data")]
    ConcurrentDataNotAllowed,
    /// It must be closed first.
    #[error("the concurrent session is not closed")]
    ConcurrentNotClosed,
    /// There are holes.
    #[error("the concurrent session lacks data")]
    ConcurrentMissingData,
}

impl From<AppendError> for FinishError {
    fn from(error: AppendError) -> FinishError {
        match error {
            AppendError::Content(error) => FinishError::Content(error),
            AppendError::Lookup(error) => FinishError::Lookup(error),
        }
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// As any call.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Nothing there that this account may see.
    #[error("not found")]
    NotFound,
    /// It is no file.
    #[error("not a file")]
    NotFile,
    /// A file where a folder should be.
    #[error("not a folder")]
    NotFolder,
    /// No path that can be.
    #[error("malformed path")]
    MalformedPath,
}
