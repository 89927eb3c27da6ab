//! The real metaservers, through the client library.

use base::mono::Span;
use base::{Acct, Nsid};
use client::{AsyncClient, ClientError, ClientOptions, Failure, LazyClient};
use meta::{Answer, Command, Outcome, Query};
use stone::{Asked, Metaserver, MetaserverError};

/// Below the 30 s of a call, so that its caller is told why.
const DEADLINE: Span = Span::from_ms(25_000);

/// A cluster that may not be up yet. It acts for the system, so one session per group serves all accounts; rights are
/// those of each command's account.
pub struct Cluster {
    client: LazyClient,
}

impl Cluster {
    /// `targets`: `host:port` of metaservers to begin with.
    #[must_use]
    pub fn new(targets: Vec<String>) -> Cluster {
        let options = ClientOptions { deadline: DEADLINE, ..ClientOptions::default() };
        Cluster { client: LazyClient::new(targets, options) }
    }

    async fn client(&self) -> Result<AsyncClient, MetaserverError> {
        self.client.get().await.map_err(|error| MetaserverError::Unavailable(error.to_string()))
    }
}

impl Metaserver for Cluster {
    fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Asked<'_, Outcome> {
        Box::pin(async move { self.client().await?.command(acct, nsid, command).await.map_err(told) })
    }

    fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> Asked<'_, Answer> {
        Box::pin(async move { self.client().await?.query(acct, nsid, query).await.map_err(told) })
    }
}

fn told(error: ClientError) -> MetaserverError {
    match error.failure() {
        Failure::Refused => MetaserverError::Refused(error.to_string()),
        Failure::Overloaded => MetaserverError::Overloaded(error.to_string()),
        Failure::Unavailable => MetaserverError::Unavailable(error.to_string()),
    }
}
