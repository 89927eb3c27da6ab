//! Who is loaded: a cluster of the bench's own, or one that is there; and what is watched of it meanwhile.

use std::path::PathBuf;

use anyhow::Result;
use base::mono::Span;
use clap::Args;
use client::{Client, ClientOptions, ClusterMap};
use load::observe::process::pid_that_listens;
use load::observe::{Watch, WatchedNode};
use load::report::result::{Durability, Target as TargetFacts};
use load::session::Plan;
use server::exit::ExitCode as Code;
use server::identity::MachineKind;

use crate::cluster::Target;
use crate::dev::{TemporaryCluster, Wanted};
use crate::exit::{exit, usage};
use crate::ports;

/// Operations a second that ask the server where their time goes: enough for a p99, and far too few to be felt.
const EXPLAINED_PER_SECOND: f64 = 100.0;
/// One of so many asks at most.
const EXPLAIN_EVERY_MAX: u64 = 1024;
/// In a closed loop, whose rate nobody knows before.
const EXPLAIN_EVERY_CLOSED: u64 = 64;

/// Which cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct PlaceArgs {
    /// Start a cluster of so many nodes (1 or 3) on this machine instead of --target; nothing is left of it.
    #[arg(long, value_name = "N", value_parser = ["1", "3"])]
    cluster: Option<String>,
    /// Where that cluster's directory is made [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", requires = "cluster")]
    dir: Option<PathBuf>,
    /// Admin ports of the nodes, for stages and counters; they listen on loopback alone.
    ///
    /// Known without it for clusters that the bench starts, and for `dropstone dev`.
    #[arg(long, env = "DROPSTONE_ADMIN", value_name = "HOST:PORT,...", value_delimiter = ',')]
    admin: Vec<String>,
    /// The cluster that the bench starts has a null machine.
    #[arg(skip)]
    is_null: bool,
}

impl PlaceArgs {
    /// A cluster of three, inside `dir`.
    pub fn own(dir: Option<PathBuf>) -> PlaceArgs {
        PlaceArgs { cluster: Some("3".to_owned()), dir, ..PlaceArgs::default() }
    }

    /// The same, for a mix of null commands or not.
    pub fn for_null(&self, is_null: bool) -> PlaceArgs {
        PlaceArgs { is_null, ..self.clone() }
    }

    /// Whether the bench starts the cluster.
    pub fn is_own(&self) -> bool {
        self.cluster.is_some()
    }

    /// The cluster, started where it is to be.
    pub fn open(&self, target: &Target) -> Result<Place> {
        let Some(nodes) = &self.cluster else {
            let is_default = target.target.is_empty();
            let admins = if self.admin.is_empty() && is_default { ports::default_admins() } else { self.admin.clone() };
            return Ok(Place { own: None, target: target.clone(), admins });
        };
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let machine = self.is_null.then_some(MachineKind::Null);
        let nodes = Some(if nodes == "1" { 1 } else { 3 });
        let own = TemporaryCluster::start(&parent, Wanted { nodes, machine, ..Wanted::default() })?;
        let target = Target { target: own.targets(), ..target.clone() };
        Ok(Place { own: Some(own), target, admins: Vec::new() })
    }
}

/// A cluster that is there.
pub struct Place {
    /// The bench's own.
    pub own: Option<TemporaryCluster>,
    /// How it is reached.
    pub target: Target,
    admins: Vec<String>,
}

impl Place {
    /// The bench's own cluster, which alone may be disturbed.
    pub fn own(&self) -> Result<&TemporaryCluster> {
        self.own
            .as_ref()
            .ok_or_else(|| usage("faults are only made in a cluster that the bench started: add --cluster 3"))
    }

    /// Within a second: a cluster that does not answer, or is none, is told before anything is filled.
    pub fn connect(&self, plan: &mut Plan) -> Result<(Client, ClusterMap)> {
        let options = ClientOptions {
            connect_deadline: Span::from_ms(900),
            link_deadline: Span::from_ms(800),
            deadline: Span::from_ms(60_000),
            ..ClientOptions::default()
        };
        let client = Client::connect(&plan.targets, options).map_err(|error| exit(Code::Unavailable, error))?;
        let map = client.cluster_map()?;
        plan.set_groups(map.groups());
        Ok((client, map))
    }

    /// What is watched of it while `plan` runs.
    pub fn watch(&self, map: &ClusterMap, rate: Option<f64>) -> Watch {
        let explain_every = explain_every(rate);
        if let Some(own) = &self.own {
            return Watch { explain_every, ..own.watch() };
        }
        let node = |(node, at): (&wire::NodeAddress, usize)| WatchedNode {
            id: node.id.0,
            client: node.address.clone(),
            admin: self.admins.get(at).cloned(),
            pid: local_port(&node.address).and_then(pid_that_listens),
        };
        Watch { nodes: map.nodes.iter().zip(0..).map(node).collect(), cores: map.cores, dir: None, explain_every }
    }

    /// What a result says of it. `is_null`: it counts commands.
    pub fn facts(&self, map: &ClusterMap, is_null: bool) -> TargetFacts {
        let version = if self.own.is_some() { env!("CARGO_PKG_VERSION").to_owned() } else { String::new() };
        TargetFacts {
            driver: if is_null { "native, NULL MACHINE".to_owned() } else { "native".to_owned() },
            version,
            nodes: map.nodes.len() as u32,
            cores: map.cores.into(),
            groups: map.groups(),
            durability: Durability {
                ack: "on a quorum".to_owned(),
                sync: "on a quorum, before the answer".to_owned(),
                replicas: map.nodes.len() as u32,
                reads: "linearizable".to_owned(),
                flushes_seen: None,
            },
            ..TargetFacts::default()
        }
    }
}

/// Each so many-th operation asks where its time goes.
fn explain_every(rate: Option<f64>) -> u64 {
    rate.map_or(EXPLAIN_EVERY_CLOSED, |rate| ((rate / EXPLAINED_PER_SECOND) as u64).clamp(1, EXPLAIN_EVERY_MAX))
}

/// The port of an address on this machine's loopback.
fn local_port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let is_here = host.starts_with("127.") || host == "localhost" || host == "[::1]";
    if is_here { port.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_a_hundred_operations_a_second_ask_and_one_of_1024_at_least() {
        let asked = [50.0, 500.0, 20_000.0, 1e6].map(|rate| explain_every(Some(rate)));
        assert_eq!((asked, explain_every(None)), ([1, 5, 200, 1024], 64));
    }

    #[test]
    fn ports_are_looked_up_on_this_machine_alone() {
        let ports = ["127.0.0.1:7100", "localhost:7", "[::1]:9", "10.0.0.1:7100", "127.0.0.1", "127.0.0.1:x"];
        assert_eq!(ports.map(local_port), [Some(7100), Some(7), Some(9), None, None, None]);
    }
}
