//! How an operation fails, in words a user can act on.

use std::fmt;

/// Addresses that were tried, each with what it last said. At most 16; the first ones are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    list: Vec<(String, String)>,
}

/// Addresses kept in an error.
const TRIED_MAX: usize = 16;

impl Tried {
    /// Notes what `address` said last.
    pub fn note(&mut self, address: &str, reason: impl Into<String>) {
        let reason = reason.into();
        if let Some(entry) = self.list.iter_mut().find(|entry| entry.0 == address) {
            entry.1 = reason;
        } else if self.list.len() < TRIED_MAX {
            self.list.push((address.to_owned(), reason));
        }
    }

    /// True when nothing was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Address and reason of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(address, reason)| (address.as_str(), reason.as_str()))
    }

    pub(crate) fn merge(&mut self, other: &Tried) {
        other.iter().for_each(|(address, reason)| {
            if !self.list.iter().any(|entry| entry.0 == address) {
                self.note(address, reason);
            }
        });
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.list.is_empty() {
            return f.write_str("no address");
        }
        for (at, (address, reason)) in self.list.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{address} ({reason})")?;
        }
        Ok(())
    }
}

/// Why an operation has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Its time is over and it has not been done.
    #[error("no answer within {after_ms} ms; tried {tried}; check that a majority of the nodes runs, then repeat")]
    TimedOut {
        /// The deadline, in milliseconds.
        after_ms: u64,
        /// What was tried.
        tried: Tried,
    },
    /// It may or may not have been done: it was sent and its answer is lost for good.
    #[error("outcome unknown: {reason}; tried {tried}; look before you repeat it")]
    Unknown {
        /// What went wrong.
        reason: String,
        /// What was tried.
        tried: Tried,
    },
    /// The one address asked cannot be reached.
    #[error("could not reach {address}: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The server says that the request makes no sense.
    #[error("server could not read the request: {text}")]
    Malformed {
        /// The server's words.
        text: String,
    },
    /// The server says no.
    #[error("refused: {text}")]
    Refused {
        /// The server's words.
        text: String,
    },
    /// The server does not know this kind of request, or the cluster does not take this command yet.
    #[error("not supported: {text}")]
    Unsupported {
        /// The number on the wire.
        kind: u8,
        /// The server's words; ours where it had none.
        text: String,
    },
    /// The server's answer makes no sense.
    #[error("could not read the answer to {what}; client and server differ in version")]
    Undecodable {
        /// Of what kind.
        what: &'static str,
    },
    /// The request is larger than a server takes.
    #[error("request of {bytes} bytes is too large, at most {max} are taken; split it")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// This client already keeps as many requests as it may.
    #[error("too many requests in this client ({max}); wait for some to end")]
    Overloaded {
        /// The bound.
        max: usize,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// What a caller does about a [`ClientError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing: asking again changes nothing.
    Refused,
    /// Ask again when less is under way.
    Overloaded,
    /// Ask again later; a command may have been done.
    Unavailable,
}

impl ClientError {
    /// What a caller does about it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            ClientError::Refused { .. }
            | ClientError::Malformed { .. }
            | ClientError::Unsupported { .. }
            | ClientError::Undecodable { .. }
            | ClientError::TooLarge { .. } => Failure::Refused,
            ClientError::Overloaded { .. } => Failure::Overloaded,
            ClientError::TimedOut { .. }
            | ClientError::Unknown { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Closed => Failure::Unavailable,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No target was named.
    #[error("no target: name at least one host:port")]
    NoTarget,
    /// A target is no `host:port`.
    #[error("target {target:?} is not host:port, like 127.0.0.1:7100")]
    BadTarget {
        /// As given.
        target: String,
    },
    /// No target answered.
    #[error("could not reach the cluster: {0}")]
    Unreachable(#[source] ClientError),
    /// The system refused a thread or random bytes.
    #[error("could not start the client: {0}")]
    System(#[source] std::io::Error),
}
