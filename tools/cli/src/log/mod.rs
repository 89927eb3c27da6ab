//! `dropstone log`: what is in a log, whether it is whole, and how much of it there is. It never writes.

mod dump;
mod look;
mod stat;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Look into the log of a node: stopped, running, or broken. Nothing is ever written.
#[derive(Subcommand, Debug)]
pub enum LogCommand {
    /// Show segments, frames and records, in the order in which they lie.
    #[command(after_help = "\
Examples:
  dropstone log dump ./dropstone-dev/n1 --frames
  dropstone log dump /var/lib/dropstone --group 3 --index 100..200
  dropstone log dump /var/lib/dropstone/log/c0 --json | jq 'select(.what == \"frame\" and .is_whole == false)'

Lines of --json have `what`: segment, frame, slot or record.")]
    Dump(DumpArgs),
    /// Judge the log as a start would: what is whole, torn, faulty or lost. For stopped nodes.
    #[command(after_help = "\
Examples:
  dropstone log verify /var/lib/dropstone
  dropstone log verify /var/lib/dropstone/log/c0 --json

Exit codes:
  0 whole, or torn behind all that is known to be persisted (what a crash leaves; a start sorts it out)
  3 damaged: entries lost their bytes here, and a start asks the other nodes for them
  4 lost: groups cannot be trusted any more, or the log cannot be opened; replace the node
  1 it could not be read  2 usage")]
    Verify(LogArgs),
    /// Show how much there is: segments, frames, records, and each group's range, term and vote.
    #[command(after_help = "Example:\n  dropstone log stat /var/lib/dropstone --json | jq '.groups[].last'")]
    Stat(LogArgs),
}

/// Which log.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// A node's data directory, or the log of one of its cores (DATA/log/c0).
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this core's log.
    #[arg(long, value_name = "N")]
    core: Option<u16>,
}

/// What of a log is shown.
#[derive(Args, Debug)]
pub struct DumpArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Only records of this group.
    #[arg(long, value_name = "N")]
    group: Option<u32>,
    /// Only records of these indexes: FROM..TO, or one. The end is not among them.
    #[arg(long, value_name = "RANGE", value_parser = look::parse_range)]
    index: Option<std::ops::Range<u64>>,
    /// Only the segment of this number, hexadecimal as in its file's name.
    #[arg(long, value_name = "SEQ", value_parser = look::parse_segment)]
    segment: Option<u64>,
    /// Frames without their records.
    #[arg(long, conflicts_with_all = ["group", "index"])]
    frames: bool,
}

/// Runs it.
pub fn run(command: &LogCommand, as_json: bool) -> Result<ExitCode> {
    match command {
        LogCommand::Dump(args) => dump::show(args, as_json),
        LogCommand::Verify(args) => verify::judge(args, as_json),
        LogCommand::Stat(args) => stat::show(args, as_json),
    }
}

#[cfg(test)]
mod tests;
