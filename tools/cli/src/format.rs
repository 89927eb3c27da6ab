//! `dropstone format`: the identity of a new data directory, and ids for new clusters.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use base::{ClusterId, NodeId};
use clap::Args;
use server::config::NodeConfig;
use server::exit::ExitCode as Code;
use server::identity::{self, FormatError, FormatRequest, Identity};

use crate::exit::{exit, usage};

/// Make the data directory of a new node, or draw the id of a new cluster.
///
/// Groups, cores and segment_bytes are taken from the configuration and fixed for ever.
/// A directory that is not empty is refused: format never overwrites.
/// A node whose disk was lost is not formatted again under its old id; it is replaced under a new one, with --join.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ID=$(dropstone format --new-id)
  dropstone format --config n1.toml --cluster $ID --node 1      on each machine, with its own number
  dropstone format --config n4.toml --cluster $ID --node 4 --join
                                                                a node for `admin member replace 3 --node 4 ...`")]
pub struct FormatArgs {
    /// Print a random cluster id and do nothing else.
    #[arg(long, conflicts_with_all = ["config", "cluster", "node", "join"])]
    new_id: bool,
    /// The node's configuration file.
    #[arg(long, value_name = "FILE", required_unless_present = "new_id")]
    config: Option<PathBuf>,
    /// The cluster's id, 32 hex digits, the same on all its nodes.
    #[arg(long, value_name = "ID", required_unless_present = "new_id")]
    cluster: Option<ClusterId>,
    /// The node's id, from 1, never used before in this cluster.
    #[arg(long, value_name = "N", required_unless_present = "new_id", value_parser = clap::value_parser!(u64).range(1..))]
    node: Option<u64>,
    /// The node joins a cluster that exists: it waits until it is made a member.
    #[arg(long)]
    join: bool,
}

/// Runs it.
pub fn run(args: &FormatArgs) -> Result<ExitCode> {
    let (Some(file), Some(cluster), Some(node)) = (&args.config, args.cluster, args.node) else {
        println!("{}", identity::new_cluster_id().map_err(failed)?);
        return Ok(ExitCode::SUCCESS);
    };
    let config = NodeConfig::load(file).map_err(usage)?;
    let node = NodeId(node);
    check_node(&config, node, args.join)?;
    let dir = &config.process.data_dir;
    let request = FormatRequest {
        cluster,
        node,
        cores: config.cluster.cores,
        groups: config.cluster.groups,
        segment_bytes: config.process.segment_bytes,
        joins: args.join,
        machine: config.cluster.machine,
    };
    let Identity { uuid, .. } = identity::format(dir, request).map_err(failed)?;
    println!("formatted {} for node {node} of cluster {cluster}, uuid {uuid}", dir.display());
    println!("next: dropstone serve --config {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// A founding member is in `cluster.nodes`; it would never be elected otherwise.
fn check_node(config: &NodeConfig, node: NodeId, join: bool) -> Result<()> {
    if let Some(named) = config.process.node.filter(|named| *named != node) {
        return Err(usage(format!("--node is {node}, but process.node is {named}; correct one of them")));
    }
    if !join && config.seed(node).is_none() {
        let known: Vec<String> = config.cluster.nodes.iter().map(|seed| seed.id.to_string()).collect();
        let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
        return Err(usage(format!(
            "node {node} is not in cluster.nodes ({known}); add it there, or use --join for a node of a cluster that runs"
        )));
    }
    Ok(())
}

fn failed(error: FormatError) -> anyhow::Error {
    let code = match error {
        FormatError::NotEmpty { .. } => Code::Identity,
        FormatError::Invalid { .. } => Code::Usage,
        FormatError::Random(_) => Code::Unavailable,
        FormatError::Io { .. } => Code::Io,
    };
    exit(code, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(file: &std::path::Path, node: u64, join: bool) -> FormatArgs {
        let config = Some(file.to_owned());
        FormatArgs { new_id: false, config, cluster: Some(ClusterId([1; 16])), node: Some(node), join }
    }

    #[test]
    fn a_node_is_formatted_once_and_only_as_a_known_member_or_a_joining_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("n.toml");
        let data = dir.path().join("data");
        let text = format!(
            "[cluster]\ngroups = 4\nnodes = [{{ id = 1, peer = \"a:7201\", client = \"a:7100\" }}]\n[process]\ndata_dir = {data:?}\n"
        );
        std::fs::write(&file, text).expect("written");
        let stranger = run(&args(&file, 9, false)).expect_err("refused").to_string();
        assert!(stranger.contains("node 9 is not in cluster.nodes (1)"), "{stranger}");
        run(&args(&file, 9, true)).expect("formatted");
        assert!(Identity::read(&data).expect("read").joins);
        let again = run(&args(&file, 1, false)).expect_err("refused").to_string();
        assert!(again.contains("is not empty"), "{again}");
    }
}
