//! What the store costs, beside the tree it stands on: `cargo bench -p dropstone-bench --bench store -- --help`.

use std::process::ExitCode;

use bench::store_bench::{self, StoreBenchArgs};
use clap::Parser;

/// As in the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reactor::system::keep_freed_memory();
    match store_bench::run(&StoreBenchArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
