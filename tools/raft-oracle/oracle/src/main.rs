//! The command line of the oracle.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use raft_oracle::{differential, mixed};

#[derive(Parser)]
#[command(about = "Our consensus core beside the raft crate")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The same state and message into both.
    Differential {
        /// At least so many.
        #[arg(long, default_value_t = 1_000_000)]
        steps: u64,
        /// Of the states.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Simulated clusters of both implementations, one for each seed.
    Mixed {
        /// FROM..TO
        #[arg(long, value_parser = parse_range, default_value = "0..1000")]
        seeds: (u64, u64),
        /// Print every message.
        #[arg(long)]
        trace: bool,
    },
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let number = |part: &str| part.parse::<u64>().map_err(|error| format!("{part:?} is no number: {error}"));
    let (from, to) = text.split_once("..").ok_or("expected FROM..TO")?;
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Differential { steps, seed } => {
            let counts = differential::run(steps, seed);
            println!("{counts:#?}");
            println!("compared: {} steps, no unknown difference", counts.steps());
            ExitCode::SUCCESS
        }
        Command::Mixed { seeds: (from, to), trace } => {
            let (counts, failed) = mixed::run_seeds(from, to, trace);
            println!("{counts:#?}");
            println!("failed: {failed:?}");
            if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
