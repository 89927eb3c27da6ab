//! The real metaservers, through the client library.

use base::{Acct, Nsid};
use client::{AsyncClient, ClientError, ClientOptions, Failure, LazyClient};
use meta::{Answer, Command, Outcome, Query};

use crate::metaserver::{Metaserver, MetaserverError};

/// A cluster that may not be up yet.
///
/// It acts for the system, so one session per group serves all accounts; rights are those of each command's account
/// (docs/design/metadata.md, "Exactly once").
pub(crate) struct Cluster {
    client: LazyClient,
}

impl Cluster {
    pub(crate) fn new(targets: Vec<String>) -> Cluster {
        Cluster { client: LazyClient::new(targets, ClientOptions::default()) }
    }

    async fn client(&self) -> Result<AsyncClient, MetaserverError> {
        self.client.get().await.map_err(|error| MetaserverError::Unavailable(error.to_string()))
    }

    async fn client_for_http(&self) -> Result<AsyncClient, stone::MetaserverError> {
        self.client.get().await.map_err(|error| stone::MetaserverError::Unavailable(error.to_string()))
    }
}

/// For the HTTP roles' skeleton, which tells a client that is full from a cluster that is away.
impl stone::Metaserver for Cluster {
    fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> stone::Asked<'_, Outcome> {
        Box::pin(async move { self.client_for_http().await?.command(acct, nsid, command).await.map_err(told_to_http) })
    }

    fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> stone::Asked<'_, Answer> {
        Box::pin(async move { self.client_for_http().await?.query(acct, nsid, query).await.map_err(told_to_http) })
    }
}

fn told_to_http(error: ClientError) -> stone::MetaserverError {
    match error.failure() {
        Failure::Refused => stone::MetaserverError::Refused(error.to_string()),
        Failure::Overloaded => stone::MetaserverError::Overloaded(error.to_string()),
        Failure::Unavailable => stone::MetaserverError::Unavailable(error.to_string()),
    }
}

impl Metaserver for Cluster {
    async fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Result<Outcome, MetaserverError> {
        self.client().await?.command(acct, nsid, command).await.map_err(told)
    }

    async fn groups(&self) -> Result<u32, MetaserverError> {
        Ok(self.client().await?.cluster_map().await.map_err(told)?.groups())
    }

    async fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> Result<Answer, MetaserverError> {
        self.client().await?.query(acct, nsid, query).await.map_err(told)
    }
}

/// An unknown outcome counts as unavailable: whoever repeats a put of the same content gets `Unchanged`.
fn told(error: ClientError) -> MetaserverError {
    match error.failure() {
        Failure::Refused => MetaserverError::Refused(error.to_string()),
        Failure::Overloaded | Failure::Unavailable => MetaserverError::Unavailable(error.to_string()),
    }
}
