//! `dropstone backup create`, `backup verify` and `restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use base::{ClusterId, NodeId};
use clap::{Args, Subcommand};
use serde_json::json;
use server::backup::{self, BackupError, Manifest};
use server::config::NodeConfig;

use crate::exit::{exit, usage};

/// Copies of a node's state, from which a new cluster can be made.
#[derive(Subcommand, Debug)]
pub enum BackupCommand {
    /// Back up the state of a node that runs on this machine.
    ///
    /// Everything is in it that the node has applied when its cores are reached, the last of them core 0. Tables are hard
    /// links where the directory is on the node's file system, and copies elsewhere. Blocks are not in it: they are objects
    /// that never change.
    #[command(after_help = "Example:\n  dropstone backup create --config n2.toml /backups/monday")]
    Create {
        /// The node's configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Where to; empty or not there yet.
        dir: PathBuf,
    },
    /// Read all of a backup and compare it with what was written.
    Verify {
        /// The backup.
        dir: PathBuf,
    },
}

/// Make a node's data directory for a NEW cluster from a backup: run it for each of its nodes, then start them all.
///
/// The cluster's id and its node ids must be new. Groups and cores are those of the backup.
#[derive(Args, Debug)]
#[command(after_help = "\
Example, on each machine with its own number:
  dropstone restore /backups/monday --config n4.toml --cluster $ID --node 4
  dropstone serve --config n4.toml")]
pub struct RestoreArgs {
    /// The backup.
    dir: PathBuf,
    /// The new node's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The new cluster's id: `dropstone format --new-id` draws one.
    #[arg(long, value_name = "ID")]
    cluster: ClusterId,
    /// The node's id, which no node of the backed-up cluster had.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
}

/// Runs `backup`.
pub fn run(command: &BackupCommand, as_json: bool) -> Result<ExitCode> {
    let manifest = match command {
        BackupCommand::Create { config, dir } => {
            let config = NodeConfig::load(config).map_err(usage)?;
            backup::create(&config, dir, reactor::clock::wall_ms(), &mut tell)
        }
        BackupCommand::Verify { dir } => backup::verify(dir, &mut tell),
    };
    show(&manifest.map_err(failed)?, as_json);
    Ok(ExitCode::SUCCESS)
}

/// Runs `restore`.
pub fn restore(args: &RestoreArgs) -> Result<ExitCode> {
    let config = NodeConfig::load(&args.config).map_err(usage)?;
    let manifest = backup::restore(&args.dir, &config, args.cluster, NodeId(args.node), &mut tell).map_err(failed)?;
    let data = config.process.data_dir.display();
    println!("restored {} groups to {data} for node {} of cluster {}", manifest.states.len(), args.node, args.cluster);
    println!("next: the same for the other nodes, then dropstone serve --config {}", args.config.display());
    Ok(ExitCode::SUCCESS)
}

/// Progress goes where it does not mix with what is printed.
fn tell(what: &str) {
    eprintln!("{what}");
}

fn show(manifest: &Manifest, as_json: bool) {
    let bytes: u64 = manifest.files.iter().map(|(_, bytes, _)| bytes).sum();
    if as_json {
        let mut value = manifest.to_json();
        value["bytes"] = json!(bytes);
        println!("{value}");
        return;
    }
    println!("cluster {}, node {}: {} files, {bytes} bytes", manifest.cluster, manifest.node, manifest.files.len());
    println!("group  applied     state hash");
    for state in &manifest.states {
        println!("{:<5}  {:<10}  {:016x}", state.group.0, state.applied_index, state.state_hash);
    }
}

fn failed(error: BackupError) -> anyhow::Error {
    exit(error.exit_code(), error)
}
