//! Faults in the bench's own cluster: nodes that end with SIGKILL and come back, nodes that stand still.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Mono, Span};
use client::Client;
use load::faults::{FaultKind, FaultPlan, MadeFault};
use load::recorder::Window;
use reactor::clock;

use crate::dev::TemporaryCluster;

/// How long a node is gone before it is started again.
const GONE: Span = Span::from_ms(1_000);

/// Makes the faults of `plan` at their times, counted from the begin of `window`. A node that is gone when the run is
/// over is started all the same: the check asks it.
pub fn make(
    plan: &FaultPlan,
    cluster: &TemporaryCluster,
    client: &Client,
    window: Window,
    is_over: &AtomicBool,
) -> Vec<MadeFault> {
    let mut made = Vec::new();
    for spec in &plan.0 {
        if !wait(window.from + spec.at, is_over) {
            break;
        }
        let at = clock::mono();
        let (nodes, name) = match spec.kind {
            FaultKind::KillAll => (cluster.ids().collect(), spec.kind.to_string()),
            FaultKind::Kill(node) | FaultKind::Pause(node, _) => (vec![node as u16], spec.kind.to_string()),
            FaultKind::KillLeader => {
                let leader = busiest(client);
                (vec![leader], format!("kill-leader n{leader}"))
            }
        };
        eprintln!("fault: {name}");
        made.push(MadeFault { at, kind: name });
        match spec.kind {
            FaultKind::Pause(_, long) => pause(cluster, &nodes, long, is_over),
            _ => kill(cluster, &nodes, is_over),
        }
    }
    made
}

/// Names of nodes that the cluster does not have are told before the run.
pub fn check(plan: &FaultPlan, cluster: &TemporaryCluster, duration: Span) -> Result<(), String> {
    for spec in &plan.0 {
        let node = match spec.kind {
            FaultKind::Kill(node) | FaultKind::Pause(node, _) => Some(node),
            FaultKind::KillLeader | FaultKind::KillAll => None,
        };
        if let Some(node) = node.filter(|node| !cluster.ids().any(|id| u64::from(id) == *node)) {
            return Err(format!("there is no node {node}; the cluster has 1 to {}", cluster.ids().count()));
        }
        if spec.at >= duration {
            return Err(format!("{} comes after the window, which is {} s", spec.kind, duration.0 / 1_000_000_000));
        }
    }
    Ok(())
}

/// The node that leads most groups; the first of them when nobody knows.
fn busiest(client: &Client) -> u16 {
    let mut groups: BTreeMap<u64, u32> = BTreeMap::new();
    let leaders = client.cluster_map().map(|map| map.leaders).unwrap_or_default();
    leaders.into_iter().flatten().for_each(|leader| *groups.entry(leader.0).or_default() += 1);
    let most = groups.iter().max_by_key(|(node, count)| (**count, std::cmp::Reverse(**node)));
    most.map_or(1, |(node, _)| *node as u16)
}

fn kill(cluster: &TemporaryCluster, nodes: &[u16], is_over: &AtomicBool) {
    nodes.iter().for_each(|node| cluster.kill(*node));
    wait(clock::mono() + GONE, is_over);
    for node in nodes {
        if let Err(error) = cluster.start_node(*node) {
            eprintln!("dropstone: {error:#}");
        }
    }
}

fn pause(cluster: &TemporaryCluster, nodes: &[u16], long: Span, is_over: &AtomicBool) {
    let until = clock::mono() + long;
    let signal = |is_paused: bool| {
        for error in nodes.iter().filter_map(|node| cluster.pause(*node, is_paused).err()) {
            eprintln!("dropstone: {error:#}");
        }
    };
    signal(true);
    wait(until, is_over);
    signal(false);
}

/// False when the run was over before.
fn wait(until: Mono, is_over: &AtomicBool) -> bool {
    loop {
        let now = clock::mono();
        if now >= until {
            return true;
        }
        if is_over.load(Ordering::Relaxed) {
            return false;
        }
        std::thread::sleep(Duration::from_nanos(until.since(now).0.min(20_000_000)));
    }
}
