//! `admin upgrade`: do all nodes run a release that knows the next feature level, and the step from which on there is no
//! way back.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base::{Acct, GroupId, NodeId, Nsid};
use client::Client;
use meta::{Answer, Command, Group0Answer, Group0Command, Group0Query, Outcome, Query};

use crate::cluster::{NodeReport, reports};

/// The feature level that each node's release knows, and the cluster's.
#[derive(Debug, PartialEq, Eq)]
struct Levels {
    /// `Err`: it does not answer.
    nodes: Vec<(NodeId, Result<u64, String>)>,
    /// Of group 0.
    cluster: u64,
}

impl Levels {
    /// The level to raise to.
    ///
    /// Errors: why not yet.
    fn next(&self) -> Result<u64, String> {
        let mut known = Vec::new();
        for (node, level) in &self.nodes {
            match level {
                Ok(level) => known.push((*level, *node)),
                Err(error) => return Err(format!("node {node} does not answer: {error}; all nodes must be up")),
            }
        }
        let (Some((least, node)), Some((most, _))) = (known.iter().min(), known.iter().max()) else {
            return Err("no node answered".to_owned());
        };
        if least < most {
            return Err(format!("node {node} knows feature level {least} and others know {most}; upgrade it first"));
        }
        if *least < self.cluster {
            return Err(format!("the cluster has feature level {} and its nodes know {least}", self.cluster));
        }
        Ok(*least)
    }
}

/// Shows what every node knows, and whether the level may be raised.
pub fn check(client: &Client, as_json: bool) -> Result<ExitCode> {
    let levels = levels(client)?;
    let next = levels.next();
    if as_json {
        let nodes = levels.nodes.iter().map(|(node, level)| {
            serde_json::json!({ "node": node.0, "level_known": level.as_ref().ok(), "error": level.as_ref().err() })
        });
        let value = serde_json::json!({
            "level": levels.cluster, "level_next": next.as_ref().ok(), "why_not": next.as_ref().err(),
            "nodes": nodes.collect::<Vec<_>>(),
        });
        println!("{value}");
    } else {
        println!("the cluster has feature level {}", levels.cluster);
        for (node, level) in &levels.nodes {
            match level {
                Ok(level) => println!("node {node} knows level {level}"),
                Err(error) => println!("node {node} does not answer: {error}"),
            }
        }
        match &next {
            Ok(next) if *next > levels.cluster => println!("`admin upgrade finalize` may raise it to {next}"),
            Ok(_) => println!("there is nothing to raise"),
            Err(why) => println!("it cannot be raised: {why}"),
        }
    }
    Ok(if next.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Raises the level in group 0, and then in every other group. What was raised already stays; it can be repeated.
pub fn finalize(client: &Client) -> Result<ExitCode> {
    let level = match levels(client)?.next() {
        Ok(level) => u32::try_from(level).context("levels are small numbers")?,
        Err(why) => bail!("the feature level was not raised: {why}"),
    };
    let groups = client.cluster_map()?.groups();
    for group in (0..groups).map(GroupId) {
        let raise = Command::Group0(Box::new(Group0Command::FeatureRaise { level }));
        let outcome = client.command(Acct(0), namespace_in(group, groups), raise);
        match outcome.with_context(|| format!("group {group}: the level was not raised; repeat the command"))? {
            Outcome::Done | Outcome::Exists { .. } => {}
            other => bail!("group {group} answers {other:?}; nothing else was tried, repeat the command"),
        }
    }
    println!("all {groups} groups have feature level {level}; nodes of an older release cannot be started any more");
    Ok(ExitCode::SUCCESS)
}

/// A number that leads to a group, whether or not it is a namespace: commands find their group by it.
fn namespace_in(group: GroupId, groups: u32) -> Nsid {
    if group == GroupId(0) {
        return Nsid(0);
    }
    (1..).map(Nsid).find(|nsid| base::group_of(*nsid, groups) == group).expect("every group has namespaces")
}

fn levels(client: &Client) -> Result<Levels> {
    let map = client.cluster_map()?;
    let nodes = reports(client, &map).iter().map(|report| (report.node, level_known(report))).collect();
    match client.query(Acct(0), Nsid(0), Query::Group0(Group0Query::Cluster))? {
        Answer::Group0(Group0Answer::Cluster { level, .. }) => Ok(Levels { nodes, cluster: u64::from(level) }),
        other => bail!("group 0 answers {other:?} to a question about the cluster"),
    }
}

/// A release from before the levels were told counts as one that knows the first.
fn level_known(report: &NodeReport) -> Result<u64, String> {
    let cores = report.cores.as_ref().map_err(Clone::clone)?;
    Ok(cores.iter().map(|core| core.counters.feature_level_known.max(1)).min().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(cluster: u64, known: &[u64]) -> Levels {
        let nodes = (1..).map(NodeId).zip(known.iter().map(|level| Ok(*level))).collect();
        Levels { nodes, cluster }
    }

    #[test]
    fn the_level_rises_to_what_all_nodes_know_and_only_when_all_answer() {
        assert_eq!(levels(1, &[2, 2, 2]).next(), Ok(2));
        assert_eq!(levels(2, &[2, 2, 2]).next(), Ok(2), "finalize may be repeated");
        let older = levels(1, &[2, 1, 2]).next().unwrap_err();
        assert!(older.contains("node 2 knows feature level 1 and others know 2; upgrade it first"), "{older}");
        let mut silent = levels(1, &[2, 2, 2]);
        silent.nodes[2].1 = Err("refused".to_owned());
        assert!(silent.next().unwrap_err().contains("node 3 does not answer"));
        assert!(levels(3, &[2, 2]).next().is_err() && levels(1, &[]).next().is_err());
    }

    #[test]
    fn every_group_has_a_number_that_leads_to_it() {
        for groups in [1, 2, 7, 64] {
            for group in (1..groups).map(GroupId) {
                assert_eq!(base::group_of(namespace_in(group, groups), groups), group);
            }
        }
        assert_eq!(namespace_in(GroupId(0), 64), Nsid(0));
    }
}
