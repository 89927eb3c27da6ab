//! `dropstone admin`: how a cluster is, and changes to its members and leaders.

mod flight;
mod leader;
mod member;
mod profile;
mod status;
mod token;
mod upgrade;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use base::{GroupId, NodeId};
use clap::{Args, Subcommand};

use crate::cluster::Target;

/// How often the cluster is asked whether something is done.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Look at a cluster and change its members and leaders.
#[derive(Subcommand, Debug)]
pub enum AdminCommand {
    /// Show every group on every node: role, term, commit and applied index, state hash.
    #[command(after_help = "Examples:\n  dropstone admin status --target 10.0.0.1:7100\n  \
                            dropstone admin status --json | jq '.nodes[].groups[].state_hash'\n\n\
                            Exit codes: 0 a node answered, 1 none did.\n\
                            Two nodes with the same applied index of a group have the same state hash; anything else is a defect.")]
    Status,
    /// See and replace members.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Move leaders.
    #[command(subcommand)]
    Leader(LeaderCommand),
    /// Make, list and revoke tokens of accounts.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make and list the apps that users may let in.
    #[command(subcommand)]
    App(token::AppCommand),
    /// Go on to the next release's feature level.
    #[command(subcommand)]
    Upgrade(UpgradeCommand),
    /// Show where the time of requests goes, by kind of operation and stage, of the seconds between two looks.
    #[command(
        after_help = "Examples:\n  dropstone admin top\n  dropstone admin top --admin 127.0.0.1:7300 --every 5 --times 1\n\n\
                            Rows are kinds of operations, columns their stages in order; p50 and p99 of each, and a row of the\n\
                            requests near p99, whose stages add up to their total. See docs/design/profile.md."
    )]
    Top(profile::TopArgs),
    /// Show the slowest requests of the last minute, and where each one's time went.
    Slow(profile::SlowArgs),
    /// Print the flight rings of data directories: the last turns, syncs and slow requests, also of a node that was killed.
    Flight(flight::FlightArgs),
    /// Write the flight rings of data directories as a trace for ui.perfetto.dev.
    #[command(
        after_help = "Example:\n  dropstone admin trace dropstone-dev/n1 dropstone-dev/n2 dropstone-dev/n3 -o t.json"
    )]
    Trace(flight::TraceArgs),
    /// List all metrics of a node's /metrics: name, type, number of series, help.
    Metrics,
}

/// Members.
#[derive(Subcommand, Debug)]
pub enum MemberCommand {
    /// List the nodes: addresses, uuid, groups led and held.
    Ls,
    /// Put a new node in the place of one that is lost, in every group.
    #[command(after_help = "\
Example, node 3 has lost its disk:
  dropstone format --config n4.toml --cluster ID --node 4 --join      on the new machine; n4.toml lists node 4 too
  dropstone serve --config n4.toml
  dropstone admin member replace 3 --node 4 --peer 10.0.0.4:7201 --client 10.0.0.4:7100

It can be repeated when it was interrupted. Node 3 never comes back: its id is buried.")]
    Replace(ReplaceArgs),
}

/// Arguments of `admin member replace`.
#[derive(Args, Debug)]
pub struct ReplaceArgs {
    /// The node that is lost.
    old: u64,
    /// The new node's id, formatted with --join and running.
    #[arg(long, value_name = "NEW", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// The base of its peer ports, as its configuration says.
    #[arg(long, value_name = "HOST:PORT")]
    peer: server::config::Address,
    /// Its client port, as its configuration says.
    #[arg(long, value_name = "HOST:PORT")]
    client: server::config::Address,
    /// How long to wait for the new node to catch up, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// Leaders.
#[derive(Subcommand, Debug)]
pub enum LeaderCommand {
    /// Show how many groups each node leads on each core, and how busy they are.
    #[command(
        after_help = "Load is commands per second of the groups led, averaged over some seconds; moved counts the\n\
                            leaderships that the core gave away for balance since its start."
    )]
    List,
    /// Spread leaders evenly over the nodes now, and wait until they are. With process.balance_leaders = \"on\" nodes do so
    /// by themselves, some seconds later.
    Balance,
    /// Hand the leadership of GROUP to NODE, and wait until it leads.
    #[command(after_help = "Example:\n  dropstone admin leader move 5 2\n\n\
                            The node must vote, have caught up, and its disk must not be slow. Another group may come back for\n\
                            balance.")]
    Move {
        /// The group.
        group: u32,
        /// The node to lead it; a voter of the group.
        node: u64,
    },
}

/// Upgrades.
#[derive(Subcommand, Debug)]
pub enum UpgradeCommand {
    /// Show which feature level each node knows, and whether the cluster's may be raised.
    #[command(after_help = "Exit codes: 0 it may be raised or is, 1 not yet.")]
    Check,
    /// Raise the feature level to what all nodes know. From then on there is no way back to the release before.
    #[command(after_help = "It can be repeated when it was interrupted.")]
    Finalize,
}

/// Runs it.
pub fn run(command: &AdminCommand, target: &Target) -> Result<ExitCode> {
    let client = match command {
        AdminCommand::Top(args) => return profile::top(args, target.json),
        AdminCommand::Slow(args) => return profile::slow(args, target.json),
        AdminCommand::Metrics => return profile::metrics(),
        AdminCommand::Flight(args) => return flight::flight(args, target.json),
        AdminCommand::Trace(args) => return flight::trace(args),
        _ => target.connect()?,
    };
    match command {
        AdminCommand::Top(_) | AdminCommand::Slow(_) | AdminCommand::Metrics => unreachable!("done above"),
        AdminCommand::Flight(_) | AdminCommand::Trace(_) => unreachable!("done above"),
        AdminCommand::Status => status::show(&client, target.json),
        AdminCommand::Token(command) => token::run(&client, command, target),
        AdminCommand::App(command) => token::run_app(&client, command, target.json),
        AdminCommand::Member(MemberCommand::Ls) => member::list(&client, target.json),
        AdminCommand::Member(MemberCommand::Replace(args)) => member::replace(&client, args),
        AdminCommand::Upgrade(UpgradeCommand::Check) => upgrade::check(&client, target.json),
        AdminCommand::Upgrade(UpgradeCommand::Finalize) => upgrade::finalize(&client),
        AdminCommand::Leader(LeaderCommand::List) => leader::list(&client, target.json),
        AdminCommand::Leader(LeaderCommand::Balance) => leader::balance(&client, target.json),
        AdminCommand::Leader(LeaderCommand::Move { group, node }) => {
            leader::move_to(&client, GroupId(*group), NodeId(*node))
        }
    }
}

/// Asks until there is an answer, or the time is over.
fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if begun.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(ASK_EVERY);
    }
}
