//! A node tells the cluster who it is: its id, the directory it is bound to, where it listens. Control plane: one thread
//! with the ordinary client, beside the cores.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use base::{Acct, Nsid, Span};
use client::{Client, ClientOptions};
use meta::{Command, NodePut, Outcome};

use crate::config::NodeConfig;
use crate::exit::ExitCode;
use crate::identity::Identity;
use crate::shared::Shared;

/// Tries follow each other at this distance until the cluster has taken it.
const RETRY: Duration = Duration::from_millis(500);

/// The thread that announces a node until the cluster knows it.
pub(crate) struct Announcer {
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    /// Starts announcing. `None` when no thread can be had: the node then works under the addresses of the others'
    /// configuration.
    pub fn start(identity: &Identity, config: &NodeConfig, shared: &Arc<Shared>) -> Option<Announcer> {
        let targets: Vec<String> = config.cluster.nodes.iter().map(|seed| seed.client.to_string()).collect();
        let seed = config.seed(identity.node)?;
        let command = Command::NodePut(NodePut {
            node: identity.node,
            uuid: identity.uuid,
            peer_address: seed.peer.to_string(),
            client_address: seed.client.to_string(),
            is_removed: false,
        });
        let shared = shared.clone();
        let thread = std::thread::Builder::new()
            .name("announce".to_owned())
            .spawn(move || announce(&targets, &command, &shared))
            .inspect_err(|error| tracing::warn!(%error, "could not start the announcing thread"))
            .ok()?;
        Some(Announcer { thread: Some(thread) })
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Ends within one try: the stop was asked for before.
            let _ = thread.join();
        }
    }
}

fn announce(targets: &[String], command: &Command, shared: &Shared) {
    while !shared.is_stopping() {
        std::thread::sleep(RETRY);
        let options = ClientOptions {
            deadline: Span::from_ms(2_000),
            connect_deadline: Span::from_ms(1_000),
            ..ClientOptions::default()
        };
        let Ok(client) = Client::connect(targets, options) else { continue };
        match client.command(Acct(0), Nsid(0), command.clone()) {
            Ok(outcome) if outcome.is_ok() => return,
            Ok(Outcome::Exists { .. }) => {
                let reason = "the cluster has bound this node id to another data directory; a node that lost its disk \
                              joins under a new id: `dropstone admin member replace`";
                return shared.fail(ExitCode::Identity, reason.to_owned());
            }
            Ok(other) => tracing::warn!(?other, "the cluster did not take this node's address"),
            Err(error) => tracing::debug!(%error, "the cluster does not answer yet"),
        }
    }
}
