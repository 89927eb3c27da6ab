//! A cluster of three nodes for the length of a benchmark: free ports, a directory of its own, nothing left behind.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use client::Client;
use server::Node;
use server::config::{NodeConfig, Profile};

use super::layout::{Layout, Wanted};
use super::{ASK_EVERY, LEADERS_TIME_MAX, start_nodes};
use crate::cluster;
use crate::exit::exit;
use crate::ports::PortPlan;

/// Where free ports are looked for: above what services use, below what the system gives to clients.
const BASES: std::ops::Range<u16> = 20_000..32_000;
/// A plan takes fewer than this.
const PLAN_PORTS: u16 = 300;

/// Three nodes in this process. They stop, and their directory goes, with this value.
pub struct TemporaryCluster {
    nodes: Vec<Node>,
    dir: Directory,
    targets: Vec<String>,
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("dropstone: could not remove {}: {error}; remove it yourself", self.0.display());
        }
    }
}

impl TemporaryCluster {
    /// Starts it in a new directory inside `parent`, and waits until every group has a leader.
    pub fn start(parent: &Path) -> Result<TemporaryCluster> {
        let pid = std::process::id();
        let path = parent.join(format!("dropstone-bench-{pid}"));
        std::fs::create_dir(&path)
            .with_context(|| format!("could not make {}; name another directory with --dir", path.display()))?;
        let dir = Directory(path);
        let plan = free_ports(pid)?;
        let template = NodeConfig::of_profile(Profile::Dev);
        let layout = Layout::open(&dir.0, Wanted::default(), template.process.segment_bytes)?;
        let nodes = start_nodes(&layout, plan, &template)?;
        let targets = (1..=layout.shape.nodes).map(|node| format!("127.0.0.1:{}", plan.client(node))).collect();
        let running = TemporaryCluster { nodes, dir, targets };
        let client = cluster::connect(&running.targets)?;
        running.await_leaders(&client)?;
        Ok(running)
    }

    /// Its client addresses.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// Where its data lies.
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    fn await_leaders(&self, client: &Client) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < LEADERS_TIME_MAX {
            if let Some(failure) = self.nodes.iter().find_map(Node::failed) {
                return Err(exit(failure.code, format!("a node of the temporary cluster stopped: {}", failure.reason)));
            }
            let map = client.cluster_map()?;
            if !map.leaders.is_empty() && map.leaders.iter().all(Option::is_some) {
                return Ok(());
            }
            std::thread::sleep(ASK_EVERY);
        }
        bail!("the temporary cluster has groups without a leader after {LEADERS_TIME_MAX:?}; is the machine very busy?")
    }
}

impl Drop for TemporaryCluster {
    fn drop(&mut self) {
        // Before the directory goes.
        self.nodes.drain(..).for_each(Node::stop);
    }
}

/// A plan whose ports nobody listens on now.
fn free_ports(pid: u32) -> Result<PortPlan> {
    let plans = u32::from((BASES.end - BASES.start) / PLAN_PORTS);
    for step in 0..plans {
        // Another process that looks at the same time begins elsewhere.
        let at = (pid + step) % plans;
        let plan = PortPlan { base: BASES.start + at as u16 * PLAN_PORTS };
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let wanted = (1..=3).flat_map(|node| {
            let clients = plan.client(node)..=plan.client(node) + 2;
            clients.chain(plan.peer(node)..=plan.peer(node) + 1)
        });
        if wanted.into_iter().all(is_free) {
            return Ok(plan);
        }
    }
    bail!("no free ports between {} and {}; stop something that listens there", BASES.start, BASES.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken_are_passed_over() {
        let first = free_ports(7).unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.client(2))).unwrap();
        assert_ne!(free_ports(7).unwrap(), first);
        drop(taken);
    }
}
