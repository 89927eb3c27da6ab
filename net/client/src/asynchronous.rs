//! The tokio face of the client, for servers that are asynchronous anyway. The driver is the same thread; a call awaits
//! its own answer.

use std::sync::Arc;

use base::mono::Span;
use base::{Acct, Jid, Nsid};
use meta::{Answer, Command, Outcome, Query};
use tokio::sync::oneshot;
use wire::ClusterMap;

use crate::blocking::Client;
use crate::error::{ClientError, ConnectError};
use crate::operation::{ClientOptions, Operation, Reply};

/// A watch that lasts as long as this value.
pub struct HeadWatch {
    client: Client,
    id: u64,
}

impl Drop for HeadWatch {
    fn drop(&mut self) {
        self.client.cancel(self.id);
    }
}

/// As [`Client`], with calls that are awaited.
#[derive(Clone)]
pub struct AsyncClient {
    client: Client,
}

impl AsyncClient {
    /// As [`Client::connect`].
    pub async fn connect(targets: &[String], options: ClientOptions) -> Result<AsyncClient, ConnectError> {
        let client = AsyncClient { client: Client::start(targets, options)? };
        let map = Operation::ClusterMap { address: None };
        client.run(map, options.connect_deadline).await.map_err(ConnectError::Unreachable)?;
        Ok(client)
    }

    /// As [`Client::command`].
    pub async fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Result<Outcome, ClientError> {
        match self.run(Operation::Command { acct, nsid, command }, self.client.options().deadline).await? {
            Reply::Outcome(outcome) => Ok(outcome),
            _ => Err(ClientError::Undecodable { what: "a command" }),
        }
    }

    /// As [`Client::query`].
    pub async fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> Result<Answer, ClientError> {
        match self.run(Operation::Query { acct, nsid, query }, self.client.options().deadline).await? {
            Reply::Answer(answer) => Ok(answer),
            _ => Err(ClientError::Undecodable { what: "a query" }),
        }
    }

    /// Watches a namespace's journal from `since` on, as [`Client::watch`] does. `on_head` hears of each head that passes
    /// the last one told, and of `None` once the watch cannot be kept up; it is called on the driver's thread and must not
    /// block. Dropping the guard ends the watch.
    pub fn watch(
        &self,
        acct: Acct,
        nsid: Nsid,
        since: Jid,
        on_head: impl Fn(Option<Jid>) + Send + Sync + 'static,
    ) -> HeadWatch {
        let told = Arc::new(on_head);
        let ends = Arc::clone(&told);
        let on_head = Box::new(move |head| told(Some(head)));
        let id = self.client.watch_with(acct, nsid, since, on_head, Box::new(move |_| ends(None)));
        HeadWatch { client: self.client.clone(), id }
    }

    /// As [`Client::cluster_map`].
    pub async fn cluster_map(&self) -> Result<ClusterMap, ClientError> {
        match self.run(Operation::ClusterMap { address: None }, self.client.options().deadline).await? {
            Reply::ClusterMap(map) => Ok(map),
            _ => Err(ClientError::Undecodable { what: "a cluster map request" }),
        }
    }

    async fn run(&self, operation: Operation, within: Span) -> Result<Reply, ClientError> {
        let (sender, answer) = oneshot::channel();
        // A caller that has gone away hears nothing.
        self.client.submit_with(operation, within, Box::new(move |end| drop(sender.send(end))));
        answer.await.unwrap_or(Err(ClientError::Closed))
    }
}
