//! The peers beside us: starts etcd, ZooKeeper, PostgreSQL, NATS, Valkey, Redis and memcached, and measures them and
//! Dropstone by turns with the same work.
//!
//! ```text
//! args ─▶ commands ─▶ cluster (real processes)        who runs
//!             └─▶ versus ─▶ block ─▶ drivers ─▶ codec  what is sent: load's generator and recorder, own protocols
//!                   ├─▶ report  device target           what is told, with what an acknowledgement means
//!             ├─▶ scale                                 our own cluster alone, along an axis
//!             └─▶ gets                                  the memcached port beside memcached
//! ```
//! docs/design/bench.md, "Peers", says what is compared with what, and why that is fair.

mod args;
mod block;
mod cluster;
mod codec;
mod commands;
mod device;
mod drivers;
mod exit;
mod gets;
mod report;
mod scale;
mod target;
mod versus;
mod work;

use std::process::ExitCode;

use clap::Parser as _;

/// As in the program that is shipped: the generator's own time is in every figure, and should be as small here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => exit::report(commands::run(&cli.command)),
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            // Nobody to tell where stdout is closed.
            let _ = error.print();
            code.into()
        }
    }
}
