//! The real metaservers, through the client library.

use std::time::Duration;

use base::{Acct, Nsid};
use client::{AsyncClient, ClientError, ClientOptions};
use meta::{Answer, Command, Outcome, Query};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::metaserver::{Metaserver, MetaserverError};

/// A cluster that may not be up yet: the connection is made when it is first needed.
///
/// It acts for the system, so one session per group serves all accounts; rights are those of each command's account
/// (docs/design/metadata.md, "Exactly once").
pub(crate) struct Cluster {
    targets: Vec<String>,
    state: Mutex<State>,
}

/// Where the search for the cluster stands.
enum State {
    Connected(AsyncClient),
    /// Not found, then; `None` is not looked for yet.
    Apart(Option<(Instant, MetaserverError)>),
}

/// So long a failed search answers for all that wait: they would otherwise each search in turn.
const FAILURE_AGE_MAX: Duration = Duration::from_millis(500);

impl Cluster {
    pub(crate) fn new(targets: Vec<String>) -> Cluster {
        Cluster { targets, state: Mutex::new(State::Apart(None)) }
    }

    /// The client; whoever needs it first connects, and the others wait for that.
    async fn client(&self) -> Result<AsyncClient, MetaserverError> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Connected(client) => return Ok(client.clone()),
            State::Apart(Some((since, error))) if since.elapsed() < FAILURE_AGE_MAX => return Err(error.clone()),
            State::Apart(_) => {}
        }
        match AsyncClient::connect(&self.targets, ClientOptions::default()).await {
            Ok(client) => {
                *state = State::Connected(client.clone());
                Ok(client)
            }
            Err(error) => {
                let error = MetaserverError::Unavailable(error.to_string());
                *state = State::Apart(Some((Instant::now(), error.clone())));
                Err(error)
            }
        }
    }
}

/// For the HTTP roles' skeleton, which tells a client that is full from a cluster that is away.
impl stone::Metaserver for Cluster {
    fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> stone::Asked<'_, Outcome> {
        Box::pin(async move {
            let client = self.client().await.map_err(told_to_http)?;
            client.command(acct, nsid, command).await.map_err(overloaded_or_told)
        })
    }

    fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> stone::Asked<'_, Answer> {
        Box::pin(async move {
            let client = self.client().await.map_err(told_to_http)?;
            client.query(acct, nsid, query).await.map_err(overloaded_or_told)
        })
    }
}

fn told_to_http(error: MetaserverError) -> stone::MetaserverError {
    match error {
        MetaserverError::Unavailable(text) => stone::MetaserverError::Unavailable(text),
        MetaserverError::Refused(text) => stone::MetaserverError::Refused(text),
    }
}

fn overloaded_or_told(error: ClientError) -> stone::MetaserverError {
    match error {
        ClientError::Overloaded { .. } => stone::MetaserverError::Overloaded(error.to_string()),
        error => told_to_http(told(error)),
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
    match error {
        ClientError::Refused { .. }
        | ClientError::Malformed { .. }
        | ClientError::Unsupported { .. }
        | ClientError::Undecodable { .. }
        | ClientError::TooLarge { .. } => MetaserverError::Refused(error.to_string()),
        ClientError::TimedOut { .. }
        | ClientError::Unknown { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Overloaded { .. }
        | ClientError::Closed => MetaserverError::Unavailable(error.to_string()),
    }
}
