//! `admin status`: one line per group and node, or all of it as JSON.

use std::process::ExitCode;

use anyhow::{Result, bail};
use client::{Client, ClusterMap, CoreStatus, GroupStatus};
use serde_json::{Value, json};
use wire::{GroupAlarm, GroupRole, Health};

use crate::cluster::{NodeReport, reports};

/// Shows it.
pub fn show(client: &Client, as_json: bool) -> Result<ExitCode> {
    let map = client.cluster_map()?;
    let reports = reports(client, &map);
    if as_json {
        println!("{}", to_json(&map, &reports));
    } else {
        print!("{}", to_text(&map, &reports));
    }
    if reports.iter().all(|report| report.cores.is_err()) {
        bail!("no node answered for itself; check that their core ports (client port + 1 + core) can be reached");
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of a role.
pub fn role_name(role: GroupRole) -> &'static str {
    match role {
        GroupRole::Follower => "follower",
        GroupRole::Candidate => "candidate",
        GroupRole::Leader => "leader",
        GroupRole::Learner => "learner",
    }
}

/// Schema: `{machine, cores, groups, nodes: [{node, address, error, cores: [{core, counters}], groups: [...]}], block_servers}`.
/// State hashes are text, because readers of JSON keep only 53 bits of a number.
fn to_json(map: &ClusterMap, reports: &[NodeReport]) -> Value {
    let nodes = reports.iter().map(|report| {
        let none = Vec::new();
        let cores: &Vec<CoreStatus> = report.cores.as_ref().unwrap_or(&none);
        json!({
            "node": report.node.0,
            "address": report.address,
            "error": report.cores.as_ref().err(),
            "cores": cores.iter().map(core_json).collect::<Vec<_>>(),
            "groups": groups(cores).into_iter().map(group_json).collect::<Vec<_>>(),
        })
    });
    let blocks = map.block_servers.iter().map(|server| json!({ "id": server.id.0, "address": server.address }));
    json!({
        "machine": if is_null(reports) { "null" } else { "files" },
        "cores": map.cores,
        "groups": map.groups(),
        "nodes": nodes.collect::<Vec<_>>(),
        "block_servers": blocks.collect::<Vec<_>>(),
    })
}

/// Some node says that the cluster counts commands.
fn is_null(reports: &[NodeReport]) -> bool {
    let mut cores = reports.iter().flat_map(|report| report.cores.as_deref().unwrap_or_default());
    cores.any(|core| core.counters.machine_null == 1)
}

fn core_json(core: &CoreStatus) -> Value {
    let counters: serde_json::Map<String, Value> =
        core.counters.list().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    json!({ "core": core.core.0, "counters": counters })
}

fn group_json(group: &GroupStatus) -> Value {
    let ids = |nodes: &[base::NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    json!({
        "group": group.group.0,
        "role": role_name(group.role),
        "term": group.term.0,
        "leader": group.leader.map(|node| node.0),
        "first_index": group.first_index.0,
        "last_index": group.last_index.0,
        "persisted_index": group.persisted_index.0,
        "commit_index": group.commit_index.0,
        "applied_index": group.applied_index.0,
        "state_hash": format!("{:016x}", group.state_hash),
        "voters": ids(&group.voters),
        "learners": ids(&group.learners),
        "health": health_name(group.health),
        "alarm": group.alarm.map(alarm_name),
        "state_lost": group.is_state_lost,
    })
}

/// All groups of a node, ascending.
fn groups(cores: &[CoreStatus]) -> Vec<&GroupStatus> {
    let mut groups: Vec<&GroupStatus> = cores.iter().flat_map(|core| &core.groups).collect();
    groups.sort_by_key(|group| group.group);
    groups
}

fn to_text(map: &ClusterMap, reports: &[NodeReport]) -> String {
    let mut out = format!("{} nodes, {} groups, {} cores each\n", map.nodes.len(), map.groups(), map.cores);
    if is_null(reports) {
        out += "THE MACHINE IS NULL: commands are counted, there are no files; a state hash is the group's count\n";
    }
    for report in reports {
        match &report.cores {
            Ok(cores) => {
                let syncs: u64 = cores.iter().map(|core| core.counters.syncs).sum();
                let commands: u64 = cores.iter().map(|core| core.counters.commands).sum();
                let uptime_s = cores.iter().map(|core| core.counters.uptime_ms).max().unwrap_or(0) / 1000;
                let NodeReport { node, address, .. } = report;
                out += &format!("\nnode {node} at {address}: up {uptime_s} s, {commands} commands, {syncs} syncs\n");
                out +=
                    "group  role       term    leader  commit      applied     last        state hash        voters\n";
                groups(cores).into_iter().for_each(|group| out += &group_line(group));
            }
            Err(error) => out += &format!("\nnode {} at {}: does not answer: {error}\n", report.node, report.address),
        }
    }
    if !map.block_servers.is_empty() {
        out += "\n";
    }
    for server in &map.block_servers {
        out += &format!("block server {} at {}\n", server.id, server.address);
    }
    out
}

fn group_line(group: &GroupStatus) -> String {
    let ids = |nodes: &[base::NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let learners = if group.learners.is_empty() { String::new() } else { format!(" +{}", ids(&group.learners)) };
    let leader = group.leader.map_or_else(|| "-".to_owned(), |node| node.to_string());
    let health = match group.health {
        Health::Clean => String::new(),
        health => format!("  {}", health_name(health)),
    };
    let alarm = group.alarm.map_or_else(String::new, |alarm| format!("  ALARM {}", alarm_name(alarm)));
    let lost = if group.is_state_lost { "  state lost" } else { "" };
    format!(
        "{:<5}  {:<9}  {:<6}  {leader:<6}  {:<10}  {:<10}  {:<10}  {:016x}  {}{learners}{health}{alarm}{lost}\n",
        group.group.0,
        role_name(group.role),
        group.term.0,
        group.commit_index.0,
        group.applied_index.0,
        group.last_index.0,
        group.state_hash,
        ids(&group.voters),
    )
}

/// As the alarms are named everywhere (docs/design/raft.md).
fn alarm_name(alarm: GroupAlarm) -> &'static str {
    match alarm {
        GroupAlarm::TwoLeaders => "two_leaders",
        GroupAlarm::PrevCrc => "prev_crc",
        GroupAlarm::CommittedConflict => "committed_conflict",
        GroupAlarm::BadConfig => "bad_config",
        GroupAlarm::StateHash => "state_hash",
        GroupAlarm::StateDiffers => "state_differs",
    }
}

fn health_name(health: Health) -> &'static str {
    match health {
        Health::Clean => "clean",
        Health::Faulty => "faulty",
        Health::RecoveringHead => "recovering head",
        Health::Quarantined => "quarantined",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{CoreId, GroupId, LogIndex, NodeId, Term};

    fn sample() -> (ClusterMap, Vec<NodeReport>) {
        let group = GroupStatus {
            group: GroupId(3),
            role: GroupRole::Leader,
            term: Term(7),
            leader: Some(NodeId(1)),
            commit_index: LogIndex(12),
            applied_index: LogIndex(11),
            state_hash: u64::MAX - 1,
            voters: vec![NodeId(1), NodeId(2)],
            learners: vec![NodeId(4)],
            ..GroupStatus::default()
        };
        let core =
            CoreStatus { node: NodeId(1), core: CoreId(0), cores: 1, groups: vec![group], ..CoreStatus::default() };
        let address = |id, port: u16| wire::NodeAddress { id: NodeId(id), address: format!("h:{port}") };
        let map = ClusterMap {
            cores: 1,
            nodes: vec![address(1, 7100), address(2, 7200)],
            block_servers: vec![address(1, 7144)],
            leaders: vec![None; 4],
        };
        let report = |id, cores| NodeReport { node: NodeId(id), address: "h:1".to_owned(), cores };
        (map, vec![report(1, Ok(vec![core])), report(2, Err("refused".to_owned()))])
    }

    #[test]
    fn json_has_every_group_and_says_who_does_not_answer() {
        let (map, reports) = sample();
        let value = to_json(&map, &reports);
        let group = &value["nodes"][0]["groups"][0];
        assert_eq!(group["state_hash"], "fffffffffffffffe");
        assert_eq!(
            (&group["leader"], &group["role"], &group["applied_index"]),
            (&json!(1), &json!("leader"), &json!(11))
        );
        assert_eq!(value["nodes"][1]["error"], "refused");
        assert_eq!(value["nodes"][1]["groups"], json!([]));
        assert_eq!(value["nodes"][0]["cores"][0]["counters"]["syncs"], 0);
        assert_eq!(value["block_servers"][0]["address"], "h:7144");
    }

    #[test]
    fn a_group_that_is_not_clean_says_so() {
        let (map, mut reports) = sample();
        reports[0].cores.as_mut().unwrap()[0].groups[0].health = Health::Quarantined;
        assert_eq!(to_json(&map, &reports)["nodes"][0]["groups"][0]["health"], "quarantined");
        assert!(to_text(&map, &reports).contains("1,2 +4  quarantined\n"));
    }

    #[test]
    fn a_group_with_an_alarm_says_so() {
        let (map, mut reports) = sample();
        assert_eq!(to_json(&map, &reports)["nodes"][0]["groups"][0]["alarm"], Value::Null);
        reports[0].cores.as_mut().unwrap()[0].groups[0].alarm = Some(GroupAlarm::StateHash);
        assert_eq!(to_json(&map, &reports)["nodes"][0]["groups"][0]["alarm"], "state_hash");
        assert!(to_text(&map, &reports).contains("1,2 +4  ALARM state_hash\n"));
    }

    #[test]
    fn text_has_a_line_per_group() {
        let (map, reports) = sample();
        let text = to_text(&map, &reports);
        assert!(
            text.contains(
                "3      leader     7       1       12          11          0           fffffffffffffffe  1,2 +4\n"
            ),
            "{text}"
        );
        assert!(text.contains("node 2 at h:1: does not answer: refused"), "{text}");
        assert!(text.contains("block server 1 at h:7144"), "{text}");
    }
}
