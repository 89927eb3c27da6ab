//! `admin member`: who belongs to the cluster, and a new node in the place of a lost one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::{Acct, GroupId, NodeId, Nsid};
use client::{Client, ClientError};
use meta::{Answer, Command, NodeInfo, NodePut, Outcome, Query};
use wire::GroupRole;
use wire::client::ChangeMembers;

use super::{ReplaceArgs, wait_until};
use crate::cluster::reports;

/// How long the new node may take to make itself known.
const ANNOUNCE_TIME_MAX: Duration = Duration::from_secs(30);

/// Lists the nodes.
pub fn list(client: &Client, json: bool) -> Result<ExitCode> {
    let nodes = nodes(client)?;
    let map = client.cluster_map()?;
    let reports = reports(client, &map);
    for info in &nodes {
        let report = reports.iter().find(|report| report.node == info.node);
        let cores = report.and_then(|report| report.cores.as_ref().ok());
        let groups = || cores.into_iter().flatten().flat_map(|core| &core.groups);
        let held = groups().filter(|group| group.voters.contains(&info.node)).count();
        let led = groups().filter(|group| group.role == GroupRole::Leader).count();
        let state = if info.is_removed {
            "removed"
        } else if cores.is_some() {
            "up"
        } else {
            "down"
        };
        if json {
            let value = serde_json::json!({
                "node": info.node.0, "state": state, "uuid": info.uuid.to_string(), "peer": info.peer_address,
                "client": info.client_address, "groups_held": held, "groups_led": led,
            });
            println!("{value}");
        } else {
            println!(
                "node {:<4} {state:<8} client {:<22} peer {:<22} leads {led:<5} holds {held:<5} uuid {}",
                info.node.0, info.client_address, info.peer_address, info.uuid
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts `args.node` in the place of `args.old`.
pub fn replace(client: &Client, args: &ReplaceArgs) -> Result<ExitCode> {
    let (old, new) = (NodeId(args.old), NodeId(args.node));
    if old == new {
        bail!("a lost node comes back under a new id: {old} was used; format the new directory with another --node");
    }
    let known = nodes(client)?;
    let Some(old_info) = known.iter().find(|info| info.node == old).cloned() else {
        bail!("there is no node {old}; see `dropstone admin member ls`");
    };
    await_announced(client, args, new)?;
    let map = client.cluster_map()?;
    for group in (0..map.groups()).map(GroupId) {
        change_group(client, group, old, new, Duration::from_secs(args.timeout))?;
        println!("group {group}: node {new} in the place of {old}");
    }
    bury(client, &old_info)?;
    println!("node {new} has taken the place of node {old} in all {} groups; {old} is buried", map.groups());
    Ok(ExitCode::SUCCESS)
}

/// The new node tells the cluster who it is; what it says must be what the caller means.
fn await_announced(client: &Client, args: &ReplaceArgs, new: NodeId) -> Result<()> {
    let found = wait_until(ANNOUNCE_TIME_MAX, || Ok(nodes(client)?.into_iter().find(|info| info.node == new)))?;
    let Some(info) = found else {
        bail!(
            "node {new} has not made itself known within {ANNOUNCE_TIME_MAX:?}; format it with --join, list it in the \
             cluster.nodes of its own configuration, and start it"
        );
    };
    if info.is_removed {
        bail!(
            "node {new} was removed once, and ids are never used twice; format the new directory with another --node"
        );
    }
    let (peer, address) = (args.peer.to_string(), args.client.to_string());
    if info.peer_address != peer || info.client_address != address {
        bail!(
            "node {new} says that it is at peer {} and client {}, not {peer} and {address}; correct the command or its configuration",
            info.peer_address,
            info.client_address
        );
    }
    Ok(())
}

/// One joint change: the new one in, the old one out. Waits until it is in force.
fn change_group(client: &Client, group: GroupId, old: NodeId, new: NodeId, limit: Duration) -> Result<()> {
    let done = wait_until(limit, || match members(client, group)? {
        Some(members) if members.contains(&new) && !members.contains(&old) => Ok(Some(())),
        Some(members) => {
            let add = (!members.contains(&new)).then_some(new);
            let remove = members.contains(&old).then_some(old);
            match client.change_members(group, ChangeMembers { add, remove }) {
                // Busy with the change that an earlier round began.
                Ok(()) | Err(ClientError::TimedOut { .. } | ClientError::Refused { .. }) => Ok(None),
                Err(error) => Err(error).with_context(|| format!("could not change the members of group {group}")),
            }
        }
        None => Ok(None),
    })?;
    done.with_context(|| {
        format!("group {group} did not take node {new} within {limit:?}; see `dropstone admin status`, then repeat")
    })
}

/// Voters and learners of a group, as its leader says; `None` while nobody leads it.
fn members(client: &Client, group: GroupId) -> Result<Option<Vec<NodeId>>> {
    let map = client.cluster_map()?;
    let reports = reports(client, &map);
    let statuses = reports.iter().filter_map(|report| report.group(group));
    let leader = statuses.filter(|status| status.role == GroupRole::Leader).max_by_key(|status| status.term);
    Ok(leader.map(|status| status.voters.clone()))
}

fn nodes(client: &Client) -> Result<Vec<NodeInfo>> {
    match client.query(Acct(0), Nsid(0), Query::Nodes)? {
        Answer::Nodes(nodes) => Ok(nodes),
        other => bail!("the cluster did not tell its nodes: {other:?}"),
    }
}

/// Its id is never used again.
fn bury(client: &Client, old: &NodeInfo) -> Result<()> {
    let put = NodePut {
        node: old.node,
        uuid: old.uuid,
        peer_address: old.peer_address.clone(),
        client_address: old.client_address.clone(),
        is_removed: true,
    };
    match client.command(Acct(0), Nsid(0), Command::NodePut(put))? {
        Outcome::Exists { .. } => {
            bail!("node {} is bound to another directory by now; look with `dropstone admin member ls`", old.node)
        }
        outcome if outcome.is_ok() => Ok(()),
        other => bail!("the cluster did not bury node {}: {other:?}", old.node),
    }
}
