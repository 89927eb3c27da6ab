//! From the command line to a cluster: which one, whose account, and what its nodes say of themselves.

use anyhow::Result;
use base::{Acct, GroupId, NodeId, Nsid};
use clap::Args;
use client::{Client, ClientOptions, ClusterMap, CoreStatus};
use meta::{Answer, Command, NamespaceKind, Outcome, Query};

use crate::ports;

/// What a root namespace may hold: as good as unlimited, until quotas have a command.
const GRANT_BYTES: u64 = 1 << 50;

/// Which cluster, and how to print.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct Target {
    /// Client addresses to start from; one is enough, the others are learnt from it.
    ///
    /// Without it: the cluster of `dropstone dev`, 127.0.0.1:7100,127.0.0.1:7200,127.0.0.1:7300.
    #[arg(long, global = true, env = "DROPSTONE_TARGET", value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub target: Vec<String>,
    /// The number of the account whose files are meant.
    #[arg(long, global = true, env = "DROPSTONE_ACCOUNT", value_name = "NUMBER", default_value_t = 1)]
    pub account: u64,
    /// Print JSON, for machines.
    #[arg(long, global = true)]
    pub json: bool,
    /// After a file command: where the time of its requests went, by stage, on stderr.
    #[arg(long, global = true)]
    pub explain: bool,
}

impl Target {
    /// The addresses to start from.
    pub fn targets(&self) -> Vec<String> {
        if self.target.is_empty() { ports::default_targets() } else { self.target.clone() }
    }

    /// A client of this cluster.
    pub fn connect(&self) -> Result<Client> {
        connect(&self.targets())
    }

    /// What the file commands need to know.
    pub fn for_files(&self) -> crate::files::Global {
        crate::files::Global {
            targets: self.targets(),
            acct: Acct(self.account),
            json: self.json,
            explain: self.explain,
        }
    }
}

/// A client that acts for the system and so for all accounts.
pub fn connect(targets: &[String]) -> Result<Client> {
    Ok(Client::connect(targets, ClientOptions::default())?)
}

/// An account and its root namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub acct: Acct,
    /// Where its tree begins.
    pub root: Nsid,
}

/// Makes the account of that name and its root namespace; finds them when they are there already.
pub fn ensure_account(client: &Client, name: &str) -> Result<Account> {
    let put = Command::AccountPut { name: name.to_owned() };
    let Account { acct, root } = match client.command(Acct(0), Nsid(0), put)? {
        Outcome::Account { acct, root } => Account { acct, root },
        Outcome::Malformed => anyhow::bail!("{name:?} is no account name; use 1 to 255 letters"),
        other => anyhow::bail!("the cluster did not make the account: {other:?}"),
    };
    // A second step, in the group of the root: repeating it finds the namespace there.
    let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: acct, grant_bytes: GRANT_BYTES };
    match client.command(Acct(0), root, init)? {
        outcome if outcome.is_ok() => {}
        Outcome::Exists { .. } => {}
        other => anyhow::bail!("the cluster did not make the root of account {acct}: {other:?}"),
    }
    Ok(Account { acct, root })
}

/// The account of a number; `None` when there is none.
pub fn find_account(client: &Client, acct: Acct) -> Result<Option<meta::AccountInfo>> {
    match client.query(Acct(0), Nsid(0), Query::Account(meta::AccountKey::Acct(acct)))? {
        Answer::Account(info) => Ok(Some(info)),
        Answer::NotFound => Ok(None),
        other => anyhow::bail!("the cluster did not answer for account {acct}: {other:?}"),
    }
}

/// What one node says of itself; each core answers alone.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// Its shared client port.
    pub address: String,
    /// Its cores, ascending, or why it does not answer.
    pub cores: Result<Vec<CoreStatus>, String>,
}

impl NodeReport {
    /// What the node says of a group.
    pub fn group(&self, group: GroupId) -> Option<&client::GroupStatus> {
        let cores = self.cores.as_ref().ok()?;
        cores.iter().flat_map(|core| &core.groups).find(|status| status.group == group)
    }
}

/// Asks every core of every node of the map.
pub fn reports(client: &Client, map: &ClusterMap) -> Vec<NodeReport> {
    let ask = |node: &wire::NodeAddress| {
        let cores: Result<Vec<CoreStatus>, String> =
            (0..map.cores).map(|core| core_status(client, &node.address, core)).collect();
        NodeReport { node: node.id, address: node.address.clone(), cores }
    };
    map.nodes.iter().map(ask).collect()
}

fn core_status(client: &Client, address: &str, core: u16) -> Result<CoreStatus, String> {
    client.status_of(&core_address(address, core)?).map_err(|error| error.to_string())
}

/// Where the core alone listens: on the shared port + 1 + its number.
pub fn core_address(address: &str, core: u16) -> Result<String, String> {
    let (host, port) = address.rsplit_once(':').ok_or_else(|| format!("{address:?} is not host:port"))?;
    let port: u16 = port.parse().map_err(|_| format!("{address:?} is not host:port"))?;
    let port = port.checked_add(1 + core).ok_or_else(|| format!("{address}: no port left for core {core}"))?;
    Ok(format!("{host}:{port}"))
}
