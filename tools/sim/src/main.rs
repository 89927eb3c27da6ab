//! The simulator by itself, for quick builds: `dropstone sim` is the same.

use std::process::ExitCode;

use clap::Parser;

/// Simulated nodes allocate much, and each thread for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The simulator of Dropstone.
#[derive(Parser, Debug)]
#[command(name = "dropstone-sim", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    sim: sim::cli::SimArgs,
}

fn main() -> ExitCode {
    ExitCode::from(sim::cli::run(&Cli::parse().sim))
}
