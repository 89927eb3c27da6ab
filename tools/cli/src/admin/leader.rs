//! `admin leader`: who leads how much, leaders evened now, one leader moved.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use base::{CoreId, GroupId, NodeId};
use client::{Client, ClientError, ClusterMap};
use wire::GroupRole;

use super::wait_until;
use crate::cluster::{NodeReport, core_address, reports};

/// How long a leader may take to hand over.
const MOVE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the cores take the word to even their leaders for, and a little more.
const BALANCE_TIME_MAX: Duration = Duration::from_secs(12);

/// What one core of one node leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    node: NodeId,
    core: CoreId,
    led: u64,
    held: u64,
    load: u64,
    moved: u64,
}

/// Shows what every core of every node leads.
pub fn list(client: &Client, json: bool) -> Result<ExitCode> {
    let map = client.cluster_map()?;
    let reports = reports(client, &map);
    show(&reports, json);
    Ok(if reports.iter().any(|report| report.cores.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(reports: &[NodeReport], json: bool) {
    let rows = rows(reports);
    for row in &rows {
        let Row { node, core, led, held, load, moved } = *row;
        if json {
            let value = serde_json::json!({
                "node": node.0, "core": core.0, "led": led, "held": held, "load": load, "moved": moved,
            });
            println!("{value}");
        } else {
            println!("node {node:<4} core {core:<3} leads {led:<6} of {held:<6} load {load:<8} moved {moved}");
        }
    }
    for (report, error) in reports.iter().filter_map(|report| Some((report, report.cores.as_ref().err()?))) {
        if json {
            println!("{}", serde_json::json!({ "node": report.node.0, "error": error }));
        } else {
            println!("node {:<4} at {} does not answer: {error}", report.node, report.address);
        }
    }
}

fn rows(reports: &[NodeReport]) -> Vec<Row> {
    let cores = reports.iter().filter_map(|report| report.cores.as_ref().ok()).flatten();
    cores
        .map(|core| Row {
            node: core.node,
            core: core.core,
            led: core.groups.iter().filter(|group| group.role == GroupRole::Leader).count() as u64,
            held: core.groups.iter().filter(|group| group.voters.contains(&core.node)).count() as u64,
            load: core.counters.led_load,
            moved: core.counters.leaders_moved,
        })
        .collect()
}

/// The first core whose groups are led by some node twice more than by another that votes in all of them.
fn uneven(rows: &[Row], cores: u16) -> Option<CoreId> {
    (0..cores).map(CoreId).find(|core| {
        let of_core = || rows.iter().filter(|row| row.core == *core);
        let groups = of_core().map(|row| row.held).max().unwrap_or(0);
        // Who does not vote everywhere cannot lead as much.
        let led = of_core().filter(|row| row.held == groups).map(|row| row.led);
        led.clone().max().zip(led.min()).is_some_and(|(most, least)| most > least + 1)
    })
}

/// Asks every core of every node to even what is led, and waits until it is.
pub fn balance(client: &Client, json: bool) -> Result<ExitCode> {
    let map = client.cluster_map()?;
    let mut refused = Vec::new();
    for (node, address) in core_addresses(&map) {
        if let Err(error) = client.balance_leaders(&address) {
            if let ClientError::Unsupported { .. } = error {
                bail!("node {node} runs a release that does not balance leaders; upgrade it first");
            }
            refused.push(format!("node {node} at {address}: {error}"));
        }
    }
    let even = wait_until(BALANCE_TIME_MAX, || {
        let reports = reports(client, &map);
        Ok(uneven(&rows(&reports), map.cores).is_none().then_some(reports))
    })?;
    refused.iter().for_each(|line| eprintln!("was not asked: {line}"));
    match even {
        Some(reports) => {
            show(&reports, json);
            Ok(ExitCode::SUCCESS)
        }
        None => bail!(
            "leaders are not even after {BALANCE_TIME_MAX:?}; a node may be behind, slow or busier than the others: see \
             `dropstone admin leader list` and `dropstone admin status`"
        ),
    }
}

/// Every core's own port, with its node.
fn core_addresses(map: &ClusterMap) -> impl Iterator<Item = (NodeId, String)> {
    let cores = map.cores;
    map.nodes.iter().flat_map(move |node| {
        let of = |core: u16| core_address(&node.address, core).ok().map(|address| (node.id, address));
        (0..cores).filter_map(of).collect::<Vec<_>>()
    })
}

/// Hands a group to a node, and waits until it leads.
pub fn move_to(client: &Client, group: GroupId, node: NodeId) -> Result<ExitCode> {
    let map = client.cluster_map()?;
    if group.0 >= map.groups() {
        bail!("there is no group {group}; groups go from 0 to {}", map.groups().saturating_sub(1));
    }
    if map.address_of(node).is_none() {
        let known: Vec<String> = map.nodes.iter().map(|node| node.id.to_string()).collect();
        bail!("there is no node {node}; the nodes are {}", known.join(", "));
    }
    client.transfer_leader(group, node)?;
    let led = wait_until(MOVE_TIME_MAX, || Ok(leads(client, group, node)?.then_some(())))?;
    match led {
        Some(()) => {
            println!("node {node} leads group {group}");
            Ok(ExitCode::SUCCESS)
        }
        None => bail!(
            "node {node} did not take over group {group} within {MOVE_TIME_MAX:?}; is it caught up? see `dropstone admin status`"
        ),
    }
}

/// True when the node itself says that it leads: a map may be of yesterday.
fn leads(client: &Client, group: GroupId, node: NodeId) -> Result<bool> {
    let map = client.cluster_map()?;
    let reports = crate::cluster::reports(client, &map);
    let found = reports.iter().find(|report| report.node == node).and_then(|report| report.group(group));
    Ok(found.is_some_and(|status| status.role == wire::GroupRole::Leader))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: u64, core: u16, led: u64, held: u64) -> Row {
        Row { node: NodeId(node), core: CoreId(core), led, held, load: 0, moved: 0 }
    }

    #[test]
    fn two_more_on_one_core_are_uneven_and_one_more_on_each_is_not() {
        let even =
            [row(1, 0, 2, 5), row(1, 1, 2, 5), row(2, 0, 2, 5), row(2, 1, 1, 5), row(3, 0, 1, 5), row(3, 1, 2, 5)];
        assert_eq!(uneven(&even, 2), None);
        let mut rows = even;
        (rows[1].led, rows[3].led) = (3, 1);
        assert_eq!(uneven(&rows, 2), Some(CoreId(1)));
        // A node that votes in a part of the groups does not count.
        rows[3].held = 2;
        (rows[1].led, rows[5].led) = (3, 2);
        assert_eq!(uneven(&rows, 2), None);
    }
}
