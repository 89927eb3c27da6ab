//! What clients did and saw, as recorded.

use base::{Acct, GroupId, LogIndex, Nsid};
use meta::{Command, Query};

use crate::observe::{Path, Token};

/// What was asked.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// A command.
    Write(Box<Command>),
    /// A query.
    Read(Box<Query>),
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// An encoded outcome or answer.
    Told {
        /// The bytes.
        bytes: Vec<u8>,
        /// Where the server says it took effect.
        token: Token,
    },
    /// It was certainly not done.
    NotDone,
    /// Nobody knows: so also while it is open.
    Unknown,
}

/// One operation.
#[derive(Clone, PartialEq, Debug)]
pub struct Operation {
    /// Unique in the history.
    pub id: u64,
    /// Whose.
    pub client: u64,
    /// With whose rights.
    pub acct: Acct,
    /// Where.
    pub nsid: Nsid,
    /// When it began. Units: any, the same for all.
    pub invoked: u64,
    /// When it ended; `u64::MAX` while it is open.
    pub returned: u64,
    /// What.
    pub ask: Ask,
    /// How it ended.
    pub end: End,
}

impl Operation {
    /// Where it took effect, if it was answered, the server told, and it may not be old.
    #[must_use]
    pub fn place(&self) -> Option<(GroupId, LogIndex, Path)> {
        match &self.end {
            End::Told { token, .. } if token.index > LogIndex(0) && token.path != Path::Stale => {
                Some((token.group, token.index, token.path))
            }
            _ => None,
        }
    }
}
