//! What the metadata machine costs over its store: `cargo bench -p dropstone-bench --bench meta -- --help`.

use std::process::ExitCode;

use bench::meta_bench::{self, MetaBenchArgs};
use clap::Parser;

/// As in the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match meta_bench::run(&MetaBenchArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meta bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
