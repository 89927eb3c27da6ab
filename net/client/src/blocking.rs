//! The blocking driver: one client, called from as many threads as there is work for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use base::mono::Span;
use base::{Acct, CoreId, GroupId, Jid, NodeId, Nsid};
use meta::{Answer, Command, Outcome, Query};
use wire::client::ChangeMembers;
use wire::{ClusterMap, CoreStatus};

use crate::core::Core;
use crate::driver::{Driver, OnDone, OnHead};
use crate::error::{ClientError, ConnectError};
use crate::explained::Explained;
use crate::operation::{ClientOptions, Operation, Reply, Seed};
use crate::routes::{core_address, split_address};

/// A client of one cluster. Clones share connections, sessions and thread; the last one to go ends them.
///
/// Calls of many threads travel together: each blocks until its own answer is there.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    driver: Driver,
    options: ClientOptions,
    next_id: AtomicU64,
}

/// One node as it tells of itself.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// `host:port` of its shared client port.
    pub address: String,
    /// Its cores in order, or why they could not be asked.
    pub cores: Result<Vec<CoreStatus>, ClientError>,
}

/// An operation that was left with [`Client::submit`].
pub struct Submitted {
    answer: Receiver<Result<Reply, ClientError>>,
}

impl Submitted {
    /// Blocks until it has ended.
    pub fn wait(self) -> Result<Reply, ClientError> {
        self.answer.recv().unwrap_or(Err(ClientError::Closed))
    }

    /// Blocks until it has ended, or for so long; `None`: it goes on.
    #[must_use]
    pub fn wait_for(&self, patience: Duration) -> Option<Result<Reply, ClientError>> {
        match self.answer.recv_timeout(patience) {
            Ok(end) => Some(end),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(ClientError::Closed)),
        }
    }
}

/// A watch of one journal; dropping it ends it.
pub struct Watch {
    client: Client,
    id: u64,
    told: Receiver<Result<Jid, ClientError>>,
}

impl Watch {
    /// Blocks until the head has passed the last one told, and gives the newest.
    ///
    /// Errors: [`ClientError`] when the watch cannot be kept up.
    pub fn next_head(&self) -> Result<Jid, ClientError> {
        let first = self.told.recv().unwrap_or(Err(ClientError::Closed))?;
        // A head covers those before it.
        Ok(self.told.try_iter().map_while(Result::ok).last().unwrap_or(first))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.client.inner.driver.handle().cancel(self.id);
    }
}

impl Client {
    /// Finds the cluster through `targets`, each the `host:port` of a node's shared client port.
    ///
    /// Errors: [`ConnectError`] when no target is usable or none answers within `options.connect_deadline`.
    pub fn connect(targets: &[String], options: ClientOptions) -> Result<Client, ConnectError> {
        let client = Client::start(targets, options)?;
        let map = Operation::ClusterMap { address: None };
        client.submit_within(map, options.connect_deadline).wait().map_err(ConnectError::Unreachable)?;
        Ok(client)
    }

    /// As [`Client::connect`], without asking the cluster for anything yet.
    pub(crate) fn start(targets: &[String], options: ClientOptions) -> Result<Client, ConnectError> {
        if targets.is_empty() {
            return Err(ConnectError::NoTarget);
        }
        for target in targets {
            if split_address(target).is_none() {
                return Err(ConnectError::BadTarget { target: target.clone() });
            }
        }
        let system = |error: getrandom::Error| ConnectError::System(std::io::Error::other(error.to_string()));
        let (mut nonce, mut jitter) = ([0; 16], [0; 8]);
        getrandom::fill(&mut nonce).map_err(system)?;
        getrandom::fill(&mut jitter).map_err(system)?;
        let core = Core::new(targets.to_vec(), options, Seed { nonce, jitter: u64::from_le_bytes(jitter) });
        let driver = Driver::start(core, options).map_err(ConnectError::System)?;
        Ok(Client { inner: Arc::new(Inner { driver, options, next_id: AtomicU64::new(1) }) })
    }

    /// Does a command exactly once, whatever happens to connections and leaders meanwhile.
    ///
    /// Errors: [`ClientError`]; `Unknown` alone leaves open whether it was done.
    pub fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Result<Outcome, ClientError> {
        match self.submit(Operation::Command { acct, nsid, command }).wait()? {
            Reply::Outcome(outcome) => Ok(outcome),
            _ => Err(ClientError::Undecodable { what: "a command" }),
        }
    }

    /// A linearizable read.
    pub fn query(&self, acct: Acct, nsid: Nsid, query: Query) -> Result<Answer, ClientError> {
        match self.submit(Operation::Query { acct, nsid, query }).wait()? {
            Reply::Answer(answer) => Ok(answer),
            _ => Err(ClientError::Undecodable { what: "a query" }),
        }
    }

    /// Where the time of commands and queries went that have ended since the last call, if [`ClientOptions::explain`] asks
    /// for it; the last 1,024. An operation's stands there before its answer comes.
    pub fn take_explained(&self) -> Vec<Explained> {
        self.inner.driver.handle().take_explained()
    }

    /// The cluster as some node sees it now.
    pub fn cluster_map(&self) -> Result<ClusterMap, ClientError> {
        match self.submit(Operation::ClusterMap { address: None }).wait()? {
            Reply::ClusterMap(map) => Ok(map),
            _ => Err(ClientError::Undecodable { what: "a cluster map request" }),
        }
    }

    /// The status of the core that listens at `address`.
    pub fn status_of(&self, address: &str) -> Result<CoreStatus, ClientError> {
        let operation = Operation::Status { address: address.to_owned() };
        match self.submit_within(operation, self.inner.options.connect_deadline).wait()? {
            Reply::Status(status) => Ok(*status),
            _ => Err(ClientError::Undecodable { what: "a status request" }),
        }
    }

    /// Asks the core that listens at `address` to even the counts and loads of leaders now.
    pub fn balance_leaders(&self, address: &str) -> Result<(), ClientError> {
        let operation = Operation::BalanceLeaders { address: address.to_owned() };
        self.submit_within(operation, self.inner.options.connect_deadline).wait().map(drop)
    }

    /// The status of every node, each core asked on its own port.
    pub fn status(&self) -> Result<Vec<NodeStatus>, ClientError> {
        let map = self.cluster_map()?;
        let ask = |address: &str| -> Result<Vec<CoreStatus>, ClientError> {
            let no_port = || ClientError::Unreachable {
                address: address.to_owned(),
                reason: "it is not host:port, or has no room for core ports".to_owned(),
            };
            let ports = (0..map.cores).map(|core| core_address(address, CoreId(core)).ok_or_else(no_port));
            ports.map(|port| self.status_of(&port?)).collect()
        };
        let nodes = map.nodes.iter();
        Ok(nodes
            .map(|node| NodeStatus { node: node.id, address: node.address.clone(), cores: ask(&node.address) })
            .collect())
    }

    /// Has a null machine count a command of any bytes in a group; the group's count with it.
    ///
    /// Errors: [`ClientError`]; `Unknown` leaves open whether it was counted.
    pub fn count_null(&self, group: GroupId, bytes: &[u8]) -> Result<u64, ClientError> {
        self.count(Operation::NullCommand { group, bytes: bytes.into() })
    }

    /// How many commands a null machine has counted in a group: a linearizable read.
    pub fn null_count(&self, group: GroupId) -> Result<u64, ClientError> {
        self.count(Operation::NullCount { group })
    }

    fn count(&self, operation: Operation) -> Result<u64, ClientError> {
        match self.submit(operation).wait()? {
            Reply::Count(count) => Ok(count),
            _ => Err(ClientError::Undecodable { what: "a count" }),
        }
    }

    /// Begins a change of a group's members; it goes on by itself.
    pub fn change_members(&self, group: GroupId, change: ChangeMembers) -> Result<(), ClientError> {
        self.submit(Operation::ChangeMembers { group, change }).wait().map(drop)
    }

    /// Asks a group's leader to hand its leadership on.
    pub fn transfer_leader(&self, group: GroupId, target: NodeId) -> Result<(), ClientError> {
        self.submit(Operation::TransferLeader { group, target }).wait().map(drop)
    }

    /// Watches a namespace's journal from `since` on. Changes of leader are survived, and nothing is missed: a head
    /// covers all before it.
    pub fn watch(&self, acct: Acct, nsid: Nsid, since: Jid) -> Result<Watch, ClientError> {
        let (heads, told) = channel();
        let ends = heads.clone();
        // Nobody listens any more once the watch is dropped.
        let on_head: OnHead = Box::new(move |head| drop(heads.send(Ok(head))));
        let on_done: OnDone = Box::new(move |end| drop(ends.send(Err(end.err().unwrap_or(ClientError::Closed)))));
        let id = self.watch_with(acct, nsid, since, on_head, on_done);
        Ok(Watch { client: self.clone(), id, told })
    }

    /// Leaves a watch, and gives its name for [`Client::cancel`].
    pub(crate) fn watch_with(&self, acct: Acct, nsid: Nsid, since: Jid, on_head: OnHead, on_done: OnDone) -> u64 {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let operation = Operation::Watch { acct, nsid, since };
        self.inner.driver.handle().submit(id, operation, self.inner.options.deadline, Some(on_head), on_done);
        id
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn cancel(&self, id: u64) {
        self.inner.driver.handle().cancel(id);
    }

    /// Leaves an operation and goes on; its end is in [`Submitted::wait`].
    #[must_use]
    pub fn submit(&self, operation: Operation) -> Submitted {
        self.submit_within(operation, self.inner.options.deadline)
    }

    fn submit_within(&self, operation: Operation, within: Span) -> Submitted {
        let (sender, answer) = sync_channel(1);
        // A caller that has gone away hears nothing.
        self.submit_with(operation, within, Box::new(move |end| drop(sender.send(end))));
        Submitted { answer }
    }

    /// Leaves an operation; `on_done` hears of its end on the driver's thread and must not block.
    pub(crate) fn submit_with(&self, operation: Operation, within: Span, on_done: OnDone) {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        self.inner.driver.handle().submit(id, operation, within, None, on_done);
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }
}
