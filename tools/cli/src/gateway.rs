//! `dropstone gateway`: one gateway as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use gateway::{GatewayConfig, Hosts, StartError};
use notify::{EdgeConfig, Notifier, NotifyConfig};
use server::exit::ExitCode as Code;

use crate::exit::{exit, usage};
use crate::stop;

/// Run one gateway until SIGTERM or SIGINT: the HTTP API of files, accounts and sharing.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dropstone gateway --config gateway.toml

  with in gateway.toml:
    [gateway]
    listen = \"10.0.0.4:7443\"
    www = \"https://files.example.com\"
    content = \"https://content.example.com\"      where the web page finds content
    targets = [\"10.0.0.1:7100\", \"10.0.0.2:7100\", \"10.0.0.3:7100\"]
    server_id = 2                               unique among all servers, block servers too
    secret_file = \"/etc/dropstone/secret\"        64 hex digits, mode 0400, the same on all servers
    certificate = \"/etc/dropstone/gateway.pem\"
    key = \"/etc/dropstone/gateway.key\"
    # hubs = [[\"10.0.0.7:7450\"]]               of the notifiers: clients may wait for changes here too

Exit codes: 0 clean stop, 64 usage, configuration, secret or certificate, 69 address in use")]
pub struct GatewayArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The log filter.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "DROPSTONE_LOG")]
    log: String,
}

/// Runs it.
pub fn run(args: &GatewayArgs) -> Result<ExitCode> {
    let config = GatewayConfig::load(&args.config).map_err(usage)?;
    let stopping = stop::begin(&args.log)?;
    let edge = start_edge(&config)?;
    let more = |stone: &_| {
        let routes = blocks::http::session_routes(stone);
        edge.iter().fold(routes, |routes, edge| routes.merge(edge.routes(stone)))
    };
    let server = gateway::start(&config, Hosts::Api, more).map_err(|error| exit(code_of(&error), error))?;
    tracing::info!(server = config.server_id, address = %server.address(), "gateway runs");
    stopping.wait();
    server.stop();
    tracing::info!(code = 0, reason = "stopped by signal", "gateway ends");
    Ok(ExitCode::SUCCESS)
}

/// An edge of the notifier inside, where the configuration names hubs.
fn start_edge(config: &GatewayConfig) -> Result<Option<Notifier>> {
    if config.hubs.is_empty() {
        return Ok(None);
    }
    let edge = EdgeConfig { hubs: config.hubs.clone(), ..EdgeConfig::inside(String::new()) };
    let config = NotifyConfig { targets: config.targets.clone(), admin_listen: None, hub: None, edge: Some(edge) };
    notify::start(&config).map(Some).map_err(|error| exit(crate::notify::code_of(&error), error))
}

/// The exit code that a start error calls for.
pub fn code_of(error: &StartError) -> Code {
    match error {
        StartError::Config(_) | StartError::Secret(_) | StartError::Certificate(_) => Code::Usage,
        StartError::Listen(_) | StartError::Threads(_) => Code::Unavailable,
    }
}
