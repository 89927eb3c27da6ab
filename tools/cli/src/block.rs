//! `dropstone block`: one block server as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use blocks::{BlockConfig, StartError};
use clap::Args;
use server::exit::ExitCode as Code;

use crate::exit::{exit, usage};
use crate::stop;

/// Run one block server until SIGTERM or SIGINT: file content, in a directory or in S3.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dropstone block --config block.toml

  with in block.toml:
    [block]
    listen = \"10.0.0.4:7144\"
    data_dir = \"/var/lib/dropstone\"
    targets = [\"10.0.0.1:7100\", \"10.0.0.2:7100\", \"10.0.0.3:7100\"]
    server_id = 1
    # store = \"s3://bucket/prefix\"      default: objects in data_dir; S3 needs a build with --features s3
    # [block.https]                        the content host of the HTTP API: listen, www, secret_file, certificate, key

Exit codes: 0 clean stop, 64 usage or configuration, 69 address in use, 76 the store does not open")]
pub struct BlockArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The log filter.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "DROPSTONE_LOG")]
    log: String,
}

/// Runs it.
pub fn run(args: &BlockArgs) -> Result<ExitCode> {
    let config = BlockConfig::load(&args.config).map_err(usage)?;
    let stopping = stop::begin(&args.log)?;
    let server = blocks::start(&config).map_err(|error| exit(code_of(&error), error))?;
    tracing::info!(server = config.server_id, address = %server.address(), store = %config.store, "block server runs");
    stopping.wait();
    server.stop();
    tracing::info!(code = 0, reason = "stopped by signal", "block server ends");
    Ok(ExitCode::SUCCESS)
}

/// The exit code that a start error calls for.
pub fn code_of(error: &StartError) -> Code {
    match error {
        StartError::Config(_) | StartError::Secret(_) | StartError::Certificate(_) => Code::Usage,
        StartError::Store(_) | StartError::DataDir { .. } => Code::Data,
        StartError::Listen { .. } | StartError::Https(_) | StartError::Threads(_) => Code::Unavailable,
    }
}
