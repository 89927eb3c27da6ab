//! What the block server asks of the metaservers, as a small trait, so that tests can stand in for a cluster.

use std::net::SocketAddr;

use base::{Acct, BlockHash, Jid, Nsid};
use meta::{Answer, Command, Outcome, Query, ServerPut, ServerRole, What};

/// Why the metaservers gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetaserverError {
    /// No leader was found in time, or the outcome is unknown. Asking again is harmless for all that is asked here.
    #[error("{0}")]
    Unavailable(String),
    /// Understood and refused; asking again changes nothing.
    #[error("{0}")]
    Refused(String),
}

/// The metaservers, as the block server sees them.
pub trait Metaserver: Send + Sync + 'static {
    /// Executes a command with the rights of `acct`, exactly once where it says so.
    fn command(
        &self,
        acct: Acct,
        nsid: Nsid,
        command: Command,
    ) -> impl Future<Output = Result<Outcome, MetaserverError>> + Send;

    /// Groups of the cluster.
    fn groups(&self) -> impl Future<Output = Result<u32, MetaserverError>> + Send;

    /// Reads, linearizably, with the rights of `acct`.
    fn query(
        &self,
        acct: Acct,
        nsid: Nsid,
        query: Query,
    ) -> impl Future<Output = Result<Answer, MetaserverError>> + Send;
}

impl<M: Metaserver> Metaserver for std::sync::Arc<M> {
    fn command(
        &self,
        acct: Acct,
        nsid: Nsid,
        command: Command,
    ) -> impl Future<Output = Result<Outcome, MetaserverError>> + Send {
        M::command(self, acct, nsid, command)
    }

    fn groups(&self) -> impl Future<Output = Result<u32, MetaserverError>> + Send {
        M::groups(self)
    }

    fn query(
        &self,
        acct: Acct,
        nsid: Nsid,
        query: Query,
    ) -> impl Future<Output = Result<Answer, MetaserverError>> + Send {
        M::query(self, acct, nsid, query)
    }
}

/// The block names of a revision that `acct` may read, in order.
///
/// Errors: [`MetaserverError::Refused`] when there is no such revision, or none for this account.
pub(crate) async fn blocklist<M: Metaserver>(
    meta: &M,
    acct: Acct,
    nsid: Nsid,
    rev: Jid,
) -> Result<Vec<BlockHash>, MetaserverError> {
    let mut names = Vec::new();
    loop {
        let query = Query::Blocklist { what: What::Rev(rev), first: names.len() as u32 };
        match meta.query(acct, nsid, query).await? {
            Answer::Blocklist { total, blocks, .. } => {
                let is_part = !blocks.is_empty();
                names.extend(blocks.iter().map(|(name, _)| *name));
                if names.len() >= total as usize {
                    return Ok(names);
                }
                if !is_part {
                    let text = format!("a blocklist of {total} names ended at {}", names.len());
                    return Err(MetaserverError::Unavailable(text));
                }
            }
            Answer::NotFound | Answer::NotFile => {
                return Err(MetaserverError::Refused("there is no such revision of a file".to_owned()));
            }
            Answer::NoAccess => {
                return Err(MetaserverError::Refused(format!("account {acct} has no access to namespace {nsid}")));
            }
            other => return Err(MetaserverError::Unavailable(format!("unexpected answer to a blocklist: {other:?}"))),
        }
    }
}

/// Tells group 0 that this block server is there.
pub(crate) async fn announce<M: Metaserver>(meta: &M, server: u64, address: SocketAddr) -> Result<(), MetaserverError> {
    let put = ServerPut { server, role: ServerRole::Block, address: address.to_string() };
    match meta.command(Acct(0), Nsid(0), Command::ServerPut(put)).await? {
        outcome if outcome.is_ok() => Ok(()),
        outcome => Err(MetaserverError::Refused(format!("the cluster did not take the announcement: {outcome:?}"))),
    }
}
