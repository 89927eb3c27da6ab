//! `dropstone serve`: one metaserver as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use reactor::BackendWish;
use server::config::Loaded;
use server::exit::ExitCode as Code;
use server::identity::Identity;
use server::{Node, StartError};

use crate::exit::{exit, usage};
use crate::stop;

/// How often a running node is asked whether it has failed.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Run one metaserver until SIGTERM or SIGINT.
///
/// Its data directory is made by `dropstone format` first.
/// Logs go to stderr; the last line is the reason of the end, also in DATA/last-exit.json.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  dropstone serve --config n1.toml
  DROPSTONE_PROCESS__LOG_LEVEL=debug dropstone serve --config n1.toml

Exit codes:
  0 clean stop    64 usage or configuration, or not formatted    69 address in use, io_uring refused    70 bug
  74 failed write or sync    76 damaged data or a newer format    77 identity refused, or the directory is in use")]
pub struct ServeArgs {
    /// The configuration file; all keys: `dropstone config show --help-keys`.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How frames reach the log's files: auto, direct, pwrite or mmap [default: process.log_backend, which is auto:
    /// a self-test at start chooses, and says why].
    #[arg(long, value_name = "BACKEND")]
    log_backend: Option<BackendWish>,
    /// How this node confirms reads where it leads: under its lease, or by a round to a quorum each, which asks nothing
    /// of clocks [default: lease, unless cluster.lease is off].
    #[arg(long, value_name = "MODE")]
    read_mode: Option<ReadMode>,
    /// Stop when this process is no longer the parent: a tool that started the node and was killed leaves none behind.
    #[arg(long, value_name = "PID", hide = true)]
    with_parent: Option<u32>,
}

/// How a leader makes sure that it still leads before it answers a read.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadMode {
    /// Until its lease ends, nobody else can lead: no message is needed.
    Lease,
    /// A quorum says so, in a round that all reads of a turn share.
    Quorum,
}

impl ServeArgs {
    fn is_orphan(&self) -> bool {
        self.with_parent.is_some_and(|parent| std::os::unix::process::parent_id() != parent)
    }
}

/// Runs it.
pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    let loaded = Loaded::read(&args.config, std::env::vars_os()).map_err(usage)?;
    let dir = loaded.config.process.data_dir.clone();
    // The start reads the identity again, under the lock, and judges it; here it only tells which node this is.
    let mut config = match Identity::read(&dir) {
        Ok(identity) => loaded.for_node(identity.node).map_err(usage)?,
        Err(error) => return Err(exit(error.exit_code(), error)),
    };
    config.process.log_backend = args.log_backend.unwrap_or(config.process.log_backend);
    config.cluster.lease = args.read_mode.map_or(config.cluster.lease, |mode| mode == ReadMode::Lease);
    let stopping = stop::begin(&config.process.log_level)?;
    let cluster = (config.cluster.groups, config.cluster.cores);
    let node = match Node::start(config) {
        Ok(node) => node,
        Err(error) => {
            let code = error.exit_code();
            // A directory that another process holds, or that is no data directory, is not ours to write to.
            if !matches!(error, StartError::Lock(_)) && dir.join("identity").exists() {
                stop::record(&dir, code, &error.to_string());
            }
            return Err(exit(code, error));
        }
    };
    let (groups, cores) = cluster;
    tracing::info!(node = node.id().0, address = %node.client_address(), groups, cores, "metaserver runs");
    while !stopping.is_asked() && !args.is_orphan() {
        if let Some(failure) = node.failed() {
            // The node has stopped to acknowledge; ending the process is what is left to do.
            stop::record(&dir, failure.code, &failure.reason);
            tracing::error!(code = failure.code.number(), reason = %failure.reason, "metaserver ends");
            return Err(exit(failure.code, failure.reason));
        }
        std::thread::sleep(WATCH_EVERY);
    }
    node.stop();
    let reason = if args.is_orphan() { "its parent has ended" } else { "stopped by signal" };
    stop::record(&dir, Code::Clean, reason);
    tracing::info!(code = 0, reason, "metaserver ends");
    Ok(ExitCode::SUCCESS)
}
