//! The metaservers, through the client library.

use base::mono::Span;
use base::{Acct, Jid, Nsid};
use client::{AsyncClient, ClientError, ClientOptions, ClusterMap, Failure, LazyClient};
use meta::{Answer, Command, Outcome, Query};
use stone::{Asked, Metaserver, MetaserverError};

/// A question that waits longer is asked anew: by then somebody else may lead.
const DEADLINE: Span = Span::from_ms(5000);

/// A cluster that may not be up yet.
pub(crate) struct Cluster {
    client: LazyClient,
}

impl Cluster {
    pub(crate) fn new(targets: Vec<String>) -> Cluster {
        let options = ClientOptions { deadline: DEADLINE, ..ClientOptions::default() };
        Cluster { client: LazyClient::new(targets, options) }
    }

    async fn client(&self) -> Result<AsyncClient, MetaserverError> {
        self.client.get().await.map_err(|error| MetaserverError::Unavailable(error.to_string()))
    }

    /// Who is where.
    pub(crate) async fn map(&self) -> Result<ClusterMap, MetaserverError> {
        self.client().await?.cluster_map().await.map_err(told)
    }

    /// The head of a journal, linearizable; `None`: nobody could tell.
    pub(crate) async fn head(&self, nsid: Nsid) -> Option<Jid> {
        match self.query(Acct(0), nsid, Query::Head).await {
            Ok(Answer::Head(head)) => Some(head),
            // A namespace that is not there has an empty journal.
            Ok(_) => Some(Jid(0)),
            Err(error) => {
                tracing::debug!(%nsid, %error, "could not ask for a head; asking again later");
                None
            }
        }
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
