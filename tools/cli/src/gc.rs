//! `dropstone gc`: what the block servers' collector has done, and one cycle by hand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use blocks::gc::{Counts, GcState, Job, run as cycle};
use blocks::{BlockConfig, GcConfig};
use clap::{Args, Subcommand};
use server::exit::ExitCode as Code;

use crate::cluster::Target;
use crate::exit::{exit, usage};

/// Look after the object store: content that nobody refers to any more.
///
/// Block servers collect by themselves; this looks on, or does one cycle more.
#[derive(Subcommand, Debug)]
pub enum GcCommand {
    Show(ShowArgs),
    Run(RunArgs),
}

/// Which object store.
#[derive(Args, Debug)]
struct StoreArgs {
    /// The configuration file of a block server; its store, its [block.gc] and its targets are used.
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    config: Option<PathBuf>,
    /// The object store itself: a path, file:///path or s3://bucket/prefix; with --target for the cluster.
    #[arg(long, value_name = "STORE", default_value = "dropstone-dev/blocks/objects")]
    store: String,
}

/// Show where the collector stands and what it has done.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dropstone gc show                        of `dropstone dev` in this directory
  dropstone gc show --config block.toml --json")]
pub struct ShowArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// Run one cycle now, beside the block servers.
///
/// It reads the blocks of every group; a group without a leader ends it before anything is moved. What nobody refers to
/// goes to the trash; what was there for a week, and is still not referred to, goes for good. A block server must be
/// running: it keeps the cluster's clock fresh.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dropstone gc run --dry-run               what would go
  dropstone gc run --config block.toml

Exit codes: 0 done, 1 given up, 76 the store does not open")]
pub struct RunArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Move and delete nothing; print what would be.
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub fn run(command: &GcCommand, target: &Target) -> Result<ExitCode> {
    match command {
        GcCommand::Show(args) => show(&config_of(&args.store, target)?, target.json),
        GcCommand::Run(args) => run_cycle(&config_of(&args.store, target)?, args.dry_run, target.json),
    }
}

fn config_of(args: &StoreArgs, target: &Target) -> Result<BlockConfig> {
    let config = match &args.config {
        Some(path) => BlockConfig::load(path).map_err(usage)?,
        None => BlockConfig {
            // Nothing listens here, and nobody is announced.
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            store: args.store.clone(),
            data_dir: PathBuf::new(),
            targets: target.targets(),
            server_id: 1,
            gc: GcConfig::default(),
            https: None,
        },
    };
    // Opening a directory makes it: a name that was mistyped must not become a store.
    let path = config.store.strip_prefix("file://").unwrap_or(&config.store);
    if !path.contains("://") && !std::path::Path::new(path).join("blocks").is_dir() {
        let text = format!("{path} is no object store; name one with --store or --config");
        return Err(exit(Code::Data, text));
    }
    Ok(config)
}

fn failed(error: cycle::RunError) -> anyhow::Error {
    match error {
        cycle::RunError::Open(_) => exit(Code::Data, error),
        error => anyhow::Error::new(error),
    }
}

fn show(config: &BlockConfig, is_json: bool) -> Result<ExitCode> {
    let state = cycle::state(config).map_err(failed)?;
    if is_json {
        println!("{}", state.as_ref().map_or(serde_json::Value::Null, json));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(state) = state else {
        println!("no collector has run over this store yet");
        return Ok(ExitCode::SUCCESS);
    };
    println!("block server  {}, last heard of {}", state.owner, ago(state.beat_ms));
    println!("cycles        {}, the last one ended {}", state.cycle, ago(state.ended_ms));
    println!("this cycle    {:.1} % of all names", 100.0 * f64::from(state.from.0[0]) / 256.0);
    print_counts(&state.counts);
    Ok(ExitCode::SUCCESS)
}

fn print_counts(counts: &Counts) {
    counts.named().iter().for_each(|(name, count)| println!("{:13} {count}", name.replace('_', " ")));
}

fn counts_json(counts: &Counts) -> serde_json::Value {
    counts.named().iter().map(|(name, count)| ((*name).to_owned(), serde_json::Value::from(*count))).collect()
}

fn json(state: &GcState) -> serde_json::Value {
    serde_json::json!({
        "owner": state.owner,
        "beat_ms": state.beat_ms,
        "cycle": state.cycle,
        "ended_ms": state.ended_ms,
        "from": state.from.to_string(),
        "scrub_byte": state.scrub_byte,
        "counts": counts_json(&state.counts),
    })
}

fn ago(ms: u64) -> String {
    if ms == 0 {
        return "never".to_owned();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match now.saturating_sub(ms / 1000) {
        seconds @ 0..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7199 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3600),
    }
}

fn run_cycle(config: &BlockConfig, is_dry: bool, is_json: bool) -> Result<ExitCode> {
    let say = |job: &Job| {
        if !is_dry || is_json {
            return;
        }
        match job {
            Job::Trash(hash, _) => println!("to the trash   {hash}"),
            Job::Delete(trashed) => println!("for good       {}", trashed.hash),
            Job::Restore(trashed) => println!("back from it   {}", trashed.hash),
            _ => {}
        }
    };
    let counts = cycle::run_cycle(config, is_dry, say).map_err(failed).context("the cycle did not come to its end")?;
    if is_json {
        println!("{}", counts_json(&counts));
    } else {
        print_counts(&counts);
    }
    Ok(ExitCode::SUCCESS)
}
