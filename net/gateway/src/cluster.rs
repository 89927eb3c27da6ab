//! The real metaservers, through the client library.

use std::time::{Duration, Instant};

use base::mono::Span;
use base::{Acct, Jid, Nsid};
use client::{AsyncClient, ClientError, ClientOptions, HeadWatch};
use meta::{Answer, Command, Outcome, Query};
use stone::{Asked, Metaserver, MetaserverError};
use tokio::sync::Mutex;

/// Below the 30 s of a call, so that its caller is told why.
const DEADLINE: Span = Span::from_ms(25_000);
/// So long a failed search answers for all that wait: they would otherwise each search in turn.
const FAILURE_AGE_MAX: Duration = Duration::from_millis(500);

/// A cluster that may not be up yet: the connection is made when it is first needed. It acts for the system, so one
/// session per group serves all accounts; rights are those of each command's account.
pub struct Cluster {
    targets: Vec<String>,
    state: Mutex<State>,
}

enum State {
    Connected(AsyncClient),
    /// Not found, then; `None` is not looked for yet.
    Apart(Option<(Instant, MetaserverError)>),
}

impl Cluster {
    /// `targets`: `host:port` of metaservers to begin with.
    #[must_use]
    pub fn new(targets: Vec<String>) -> Cluster {
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
        let options = ClientOptions { deadline: DEADLINE, ..ClientOptions::default() };
        match AsyncClient::connect(&self.targets, options).await {
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

    /// Tells of a journal's heads until the guard is dropped; see [`AsyncClient::watch`].
    ///
    /// Errors: [`MetaserverError`] while the cluster cannot be found.
    pub async fn watch(
        &self,
        nsid: Nsid,
        since: Jid,
        on_head: impl Fn(Option<Jid>) + Send + Sync + 'static,
    ) -> Result<HeadWatch, MetaserverError> {
        Ok(self.client().await?.watch(Acct(0), nsid, since, on_head))
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
    match error {
        ClientError::Overloaded { .. } => MetaserverError::Overloaded(error.to_string()),
        ClientError::Refused { .. }
        | ClientError::Malformed { .. }
        | ClientError::Unsupported { .. }
        | ClientError::Undecodable { .. }
        | ClientError::TooLarge { .. } => MetaserverError::Refused(error.to_string()),
        ClientError::TimedOut { .. }
        | ClientError::Unknown { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Closed => MetaserverError::Unavailable(error.to_string()),
    }
}
