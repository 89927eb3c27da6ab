//! The cluster as this client sees it: one namespace of one account.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::{Acct, BlockHash, Jid, Nsid};
use blocks::{BlockClient, BlockClientError, BlockSource};
use client::{Client, ClientError};
use meta::{Answer, Command, CommitFile, Outcome, Query};

/// Why the cluster gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// Nobody answers: the same may do later.
    #[error("{0}")]
    Unreachable(String),
    /// Asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The local file could not be read or written.
    #[error("{0}")]
    Local(#[from] io::Error),
}

impl From<ClientError> for CloudError {
    fn from(error: ClientError) -> CloudError {
        match error {
            ClientError::TimedOut { .. }
            | ClientError::Unknown { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Overloaded { .. } => CloudError::Unreachable(error.to_string()),
            other => CloudError::Refused(other.to_string()),
        }
    }
}

impl From<BlockClientError> for CloudError {
    fn from(error: BlockClientError) -> CloudError {
        match error {
            BlockClientError::Local(error) => CloudError::Local(error),
            BlockClientError::NoServer | BlockClientError::Unreachable { .. } | BlockClientError::GaveUp { .. } => {
                CloudError::Unreachable(error.to_string())
            }
            other => CloudError::Refused(other.to_string()),
        }
    }
}

/// Content on its way; one thread uses it.
pub trait Line: Send {
    /// Puts a file: blocks that the namespace has not are sent, no others.
    ///
    /// Errors: [`CloudError`].
    fn put(&mut self, commit: &CommitFile, content: &mut dyn BlockSource) -> Result<Outcome, CloudError>;

    /// Gives the blocks of a revision at these positions to `sink`, each checked.
    ///
    /// Errors: [`CloudError`]; those of `sink` as `Local`.
    fn get(
        &mut self,
        rev: Jid,
        names: &[BlockHash],
        positions: VecDeque<u32>,
        sink: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> Result<(), CloudError>;
}

/// One namespace, with the rights of one account.
pub trait Cloud: Sync {
    /// Asks, linearizably.
    ///
    /// Errors: [`CloudError`].
    fn query(&self, query: Query) -> Result<Answer, CloudError>;

    /// Does something exactly once.
    ///
    /// Errors: [`CloudError`]; `Unreachable` may leave open whether it was done.
    fn command(&self, command: Command) -> Result<Outcome, CloudError>;

    /// A line for the worker of this number.
    ///
    /// Errors: [`CloudError`] when no block server is known.
    fn line(&self, worker: usize) -> Result<Box<dyn Line + '_>, CloudError>;
}

/// The cluster over its native protocol.
pub struct Native {
    client: Client,
    acct: Acct,
    nsid: Nsid,
    /// Of the block servers, and when they were asked for.
    servers: Mutex<Option<(Instant, Vec<String>)>>,
}

/// Block servers come and go: the list is asked for again after so long.
const SERVERS_AGE_MAX: Duration = Duration::from_secs(30);
/// How long one transfer keeps trying since the last answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Native {
    /// The namespace `nsid` as `acct` sees it.
    #[must_use]
    pub fn new(client: Client, acct: Acct, nsid: Nsid) -> Native {
        Native { client, acct, nsid, servers: Mutex::default() }
    }

    /// Whose.
    #[must_use]
    pub fn acct(&self) -> Acct {
        self.acct
    }

    /// Which.
    #[must_use]
    pub fn nsid(&self) -> Nsid {
        self.nsid
    }

    /// Calls `on_head` whenever the journal has grown beyond `since`, until it says no or the watch ends.
    ///
    /// Errors: [`CloudError`] when it ends by itself.
    pub fn watch(&self, since: Jid, on_head: &mut dyn FnMut(Jid) -> bool) -> Result<(), CloudError> {
        let watch = self.client.watch(self.acct, self.nsid, since)?;
        while on_head(watch.next_head()?) {}
        Ok(())
    }

    fn servers(&self) -> Result<Vec<String>, CloudError> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, known)) = &*servers
            && since.elapsed() < SERVERS_AGE_MAX
        {
            return Ok(known.clone());
        }
        let known: Vec<String> =
            self.client.cluster_map()?.block_servers.into_iter().map(|server| server.address).collect();
        if known.is_empty() {
            return Err(BlockClientError::NoServer.into());
        }
        *servers = Some((Instant::now(), known.clone()));
        Ok(known)
    }
}

impl Cloud for Native {
    fn query(&self, query: Query) -> Result<Answer, CloudError> {
        Ok(self.client.query(self.acct, self.nsid, query)?)
    }

    fn command(&self, command: Command) -> Result<Outcome, CloudError> {
        Ok(self.client.command(self.acct, self.nsid, command)?)
    }

    fn line(&self, worker: usize) -> Result<Box<dyn Line + '_>, CloudError> {
        let client = BlockClient::new(self.servers()?, self.acct).starting_at(worker).with_patience(PATIENCE);
        Ok(Box::new(NativeLine { client, nsid: self.nsid }))
    }
}

struct NativeLine {
    client: BlockClient,
    nsid: Nsid,
}

impl Line for NativeLine {
    fn put(&mut self, commit: &CommitFile, content: &mut dyn BlockSource) -> Result<Outcome, CloudError> {
        Ok(self.client.upload(self.nsid, commit, content)?)
    }

    fn get(
        &mut self,
        rev: Jid,
        names: &[BlockHash],
        positions: VecDeque<u32>,
        sink: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> Result<(), CloudError> {
        Ok(self.client.download_some(self.nsid, rev, names, positions, sink)?)
    }
}
