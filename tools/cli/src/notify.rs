//! `dropstone notify`: one notifier as a process of its own: hub, edge, or both.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use notify::{NotifyConfig, StartError};
use server::exit::ExitCode as Code;

use crate::exit::{exit, usage};
use crate::stop;

/// Run one notifier until SIGTERM or SIGINT: clients wait here until their files change.
///
/// Hubs hear every change from the metaservers, edges hold the clients. Run as many of both as you like: they keep
/// nothing, and any of them may be killed at any time.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dropstone notify --config notify.toml

  with in notify.toml:
    [notify]
    targets = [\"10.0.0.1:7100\", \"10.0.0.2:7100\", \"10.0.0.3:7100\"]
    # admin_listen = \"127.0.0.1:7449\"            /metrics, /livez, /readyz

    [notify.hub]                                without it the process is no hub
    listen = \"10.0.0.7:7450\"                    where edges reach it; own network only, it has no TLS
    # place = 0, places = 1                     it hears the namespaces of this place out of so many

    [notify.edge]                               without it the process is no edge
    listen = \"10.0.0.7:7445\"                    the notify host of the HTTP API
    hubs = [[\"10.0.0.7:7450\", \"10.0.0.8:7450\"]] of each place the hubs, the first that answers is used
    server_id = 4                               unique among all servers of the cluster
    secret_file = \"/etc/dropstone/secret\"        64 hex digits, mode 0400, the same on all servers
    certificate = \"/etc/dropstone/notify.pem\"    without it and key: HTTP, on loopback only
    key = \"/etc/dropstone/notify.key\"
    # watchers_max = 100000                     clients that wait; others are told to come back later
    # jitter_percent = 10                       by which a wait may be longer than asked for
    # drain_s = 10                              a stop wakes those who wait, spread over so long

Exit codes: 0 clean stop, 64 usage, configuration, secret or certificate, 69 address in use")]
pub struct NotifyArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only this tier of those in the file.
    #[arg(long, value_name = "TIER")]
    tier: Option<Tier>,
    /// The log filter.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "DROPSTONE_LOG")]
    log: String,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Tier {
    Hub,
    Edge,
}

/// Runs it.
pub fn run(args: &NotifyArgs) -> Result<ExitCode> {
    let mut config = NotifyConfig::load(&args.config).map_err(usage)?;
    match args.tier {
        Some(Tier::Hub) => config.edge = None,
        Some(Tier::Edge) => config.hub = None,
        None => {}
    }
    if config.hub.is_none() && config.edge.is_none() {
        return Err(usage(anyhow!("the file has no table for that tier; add [notify.hub] or [notify.edge]")));
    }
    let stopping = stop::begin(&args.log)?;
    let notifier = notify::start(&config).map_err(|error| exit(code_of(&error), error))?;
    tracing::info!(hub = ?notifier.hub_address(), edge = ?notifier.edge_address(), "notifier runs");
    stopping.wait();
    notifier.stop();
    tracing::info!(code = 0, reason = "stopped by signal", "notifier ends");
    Ok(ExitCode::SUCCESS)
}

/// The exit code that a start error calls for.
pub fn code_of(error: &StartError) -> Code {
    match error {
        StartError::Config(_) | StartError::Secret(_) | StartError::Certificate(_) => Code::Usage,
        StartError::Listen(_) | StartError::Port { .. } | StartError::Threads(_) => Code::Unavailable,
    }
}
