//! What every server role does in `main`: signals, limits, logs; and the last line when it ends.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use reactor::signals::{StopSignal, on_stop};
use server::exit::ExitCode;
use tracing_subscriber::EnvFilter;

/// Sets up logs on stderr, the file limit, and the signals; call it before any thread starts.
pub fn begin(log_filter: &str) -> anyhow::Result<StopSignal> {
    let filter = EnvFilter::try_new(log_filter).map_err(|error| {
        crate::exit::usage(format!("bad log filter {log_filter:?}: {error}; try info or server=debug,info"))
    })?;
    let is_terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    // A second subscriber in one process is a test's; the first stays.
    let _ = logs.try_init();
    match reactor::system::raise_file_limit() {
        Ok(limit) => tracing::debug!(before = limit.before, now = limit.soft, "open files"),
        Err(error) => tracing::warn!(%error, "could not read the limit of open files"),
    }
    on_stop(|| tracing::info!("asked to stop; a second signal stops at once"))
        .context("could not catch SIGINT and SIGTERM")
}

/// Leaves the reason in `data_dir/last-exit.json`. Best effort: the process ends anyway.
pub fn record(data_dir: &Path, code: ExitCode, reason: &str) {
    if let Err(error) = server::exit::record(data_dir, code, reason, reactor::clock::wall_ms()) {
        tracing::warn!(%error, "could not leave last-exit.json");
    }
}
