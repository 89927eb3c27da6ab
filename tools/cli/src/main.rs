//! The one binary, with a subcommand for every role and every tool.

mod account;
mod admin;
mod backup;
mod bench;
mod block;
mod client_proxy;
mod cluster;
mod config_cmd;
mod dev;
mod doctor;
mod exit;
mod files;
mod flow;
mod format;
mod gateway;
mod gc;
mod log;
mod notify;
mod ports;
mod selfcheck;
mod serve;
mod stop;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// Memory that one thread allocates and another frees passes without a lock: a core never waits for an arena.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Replicated metadata for file sync: nodes, block servers, and the commands to use them.
///
/// Start with `dropstone dev`: a whole cluster in one process, data in ./dropstone-dev.
#[derive(Parser, Debug)]
#[command(name = "dropstone", version, max_term_width = 110, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    cluster: cluster::Target,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  dropstone dev                            a cluster of three on this machine
  dropstone put photos /photos             a tree into it
  dropstone ls /photos
  dropstone format --new-id                the first step to a cluster of several machines
  dropstone serve --config n1.toml         one metaserver

Exit codes:
  0 done  1 not done  2 usage  3 to 6: see `dropstone put --help`
  of servers: 64 usage or configuration  69 address in use, or the system refuses
              70 bug  74 failed write or sync  76 data that cannot be opened  77 identity refused";

#[derive(Subcommand, Debug)]
enum Command {
    Dev(dev::DevArgs),
    Serve(serve::ServeArgs),
    Block(block::BlockArgs),
    Gateway(gateway::GatewayArgs),
    #[command(visible_alias = "notifier")]
    Notify(notify::NotifyArgs),
    Env(dev::EnvArgs),
    ClientProxy(client_proxy::ClientProxyArgs),
    Format(format::FormatArgs),
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    Restore(backup::RestoreArgs),
    #[command(subcommand)]
    Config(config_cmd::ConfigCommand),
    #[command(subcommand)]
    Account(account::AccountCommand),
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    #[command(subcommand)]
    Log(log::LogCommand),
    #[command(subcommand)]
    Gc(gc::GcCommand),
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    Doctor(doctor::DoctorArgs),
    Selfcheck(selfcheck::SelfcheckArgs),
    Sim(sim::cli::SimArgs),
    #[command(flatten)]
    Files(files::FileCommand),
}

fn main() -> ExitCode {
    reactor::system::keep_freed_memory();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let done = match cli.command {
        Command::Dev(args) => dev::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Block(args) => block::run(&args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Notify(args) => notify::run(&args),
        Command::Env(args) => dev::env(&args),
        Command::ClientProxy(args) => client_proxy::run(&args),
        Command::Format(args) => format::run(&args),
        Command::Backup(command) => backup::run(&command, cli.cluster.json),
        Command::Restore(args) => backup::restore(&args),
        Command::Config(command) => config_cmd::run(&command, cli.cluster.json),
        Command::Account(command) => account::run(&command, &cli.cluster),
        Command::Admin(command) => admin::run(&command, &cli.cluster),
        Command::Flow(command) => flow::run(&command, &cli.cluster),
        Command::Log(command) => log::run(&command, cli.cluster.json),
        Command::Gc(command) => gc::run(&command, &cli.cluster),
        Command::Bench(command) => bench::run(&command, &cli.cluster),
        Command::Doctor(args) => doctor::run(&args, cli.cluster.json),
        Command::Selfcheck(args) => selfcheck::run(&args, &cli.cluster),
        Command::Sim(args) => Ok(ExitCode::from(sim::cli::run(&args))),
        Command::Files(command) => files::run(command, &cli.cluster.for_files()),
    };
    exit::report(done)
}

/// Help and version are wanted and exit with 0. A mistake exits with 64 where supervisors and CI read the code, with 2
/// as tools do elsewhere.
fn usage(error: &clap::Error) -> ExitCode {
    const ROLES: [&str; 10] =
        ["bench", "dev", "serve", "block", "gateway", "notify", "client-proxy", "format", "config", "doctor"];
    // A closed pipe leaves nobody to tell.
    let _ = error.print();
    let is_role =
        std::env::args().skip(1).find(|word| !word.starts_with('-')).is_some_and(|word| ROLES.contains(&&*word));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ if is_role => server::exit::ExitCode::Usage.into(),
        _ => ExitCode::from(2),
    }
}

/// The whole command line as clap sees it, for tests.
#[cfg(test)]
fn command_line() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests;
