//! A client of a cluster that may not be up yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::asynchronous::AsyncClient;
use crate::error::ConnectError;
use crate::operation::ClientOptions;

/// So long a failed search answers for all that wait: they would otherwise each search in turn.
const FAILURE_AGE_MAX: Duration = Duration::from_millis(500);

/// Connects when it is first needed, and again after a search that failed.
pub struct LazyClient {
    targets: Vec<String>,
    options: ClientOptions,
    state: Mutex<State>,
}

enum State {
    Connected(AsyncClient),
    /// Not found, then; `None` is not looked for yet.
    Apart(Option<(Instant, Arc<ConnectError>)>),
}

impl LazyClient {
    /// `targets`: `host:port` of metaservers to begin with.
    #[must_use]
    pub fn new(targets: Vec<String>, options: ClientOptions) -> LazyClient {
        LazyClient { targets, options, state: Mutex::new(State::Apart(None)) }
    }

    /// The client; whoever needs it first connects, and the others wait for that.
    ///
    /// Errors: [`ConnectError`] of a search that has just failed.
    pub async fn get(&self) -> Result<AsyncClient, Arc<ConnectError>> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Connected(client) => return Ok(client.clone()),
            State::Apart(Some((since, error))) if since.elapsed() < FAILURE_AGE_MAX => return Err(Arc::clone(error)),
            State::Apart(_) => {}
        }
        match AsyncClient::connect(&self.targets, self.options).await {
            Ok(client) => {
                *state = State::Connected(client.clone());
                Ok(client)
            }
            Err(error) => {
                let error = Arc::new(error);
                *state = State::Apart(Some((Instant::now(), Arc::clone(&error))));
                Err(error)
            }
        }
    }
}
