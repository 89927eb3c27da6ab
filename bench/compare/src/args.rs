//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cluster::Shape;
use crate::scale::Axis;
use crate::target::{System, Target};

const EXIT_CODES: &str = "\
Exit codes:
  0 all VALID    2 AT-LEAST    3 INVALID    4 wrong answer    64 usage    69 target or peer not available
  130 interrupted; what was measured until then is printed";

const VERSUS_EXAMPLES: &str = "\
Examples:
  dropstone-compare versus --target dropstone --target etcd
  dropstone-compare versus --target dropstone --target redis --unlike --in-flight 64 --pairs 5
  dropstone-compare versus --target dropstone --target etcd --mix spotify --in-flight 64,1024
  dropstone-compare versus --all --markdown table.md --json result.json

The same file commits go to both by turns, A B B A, one target loaded at a time, in a closed loop: a new operation starts
when one is answered, so latency is what N waiting clients see. Ratios are taken of neighbouring blocks.
What each target does for one operation, and what its acknowledgement means, stands above its figures.";

const GETS_EXAMPLES: &str = "\
Examples:
  dropstone-compare gets
  dropstone-compare gets --pipeline 1,64 --rounds 20 --json gets.json

64,000 files; the keys of one node of three, those of the namespaces that it leads, and the same keys and values in
memcached. Windows by turns; each answer is compared with what it must be, byte by byte.
What is told is gets for each second of the server's processor time, its kernel time with it.";

const SCALE_EXAMPLES: &str = "\
Examples:
  dropstone-compare scale groups in-flight
  dropstone-compare scale cost --rounds 1
  dropstone-compare scale --out docs/pictures

File puts and null commands (--machine null: logged, replicated, counted) by turns, three times each, medians.
Leaves scale-AXIS.json, with every block, and scale-AXIS.svg in --out, and prints a table in Markdown.";

/// Dropstone beside etcd, ZooKeeper, PostgreSQL, NATS, Valkey, Redis and memcached, with the same work, on this machine.
#[derive(Parser, Debug)]
#[command(name = "dropstone-compare", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start clusters of a peer, or of our own, by hand.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Measure two targets by turns, and tell the ratio.
    #[command(after_help = VERSUS_EXAMPLES, after_long_help = VERSUS_EXAMPLES)]
    Versus(VersusArgs),
    /// Measure our own cluster along an axis, and draw it: cores, groups, connections, in flight, size, what idles, what
    /// a command costs.
    #[command(after_help = SCALE_EXAMPLES)]
    Scale(ScaleArgs),
    /// Measure cached, linearizable gets through the memcached port beside memcached, and beside a server that looks at
    /// nothing.
    #[command(after_help = GETS_EXAMPLES, after_long_help = GETS_EXAMPLES)]
    Gets(GetsArgs),
    /// The server that looks at nothing.
    #[command(hide = true)]
    NullMemcache {
        /// Bytes of each answer, in all.
        #[arg(long, value_name = "N")]
        value_bytes: usize,
    },
    /// List the targets: what one operation is, what its acknowledgement means, whether it is installed.
    Targets(Place),
}

/// Clusters.
#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// Start one, print its addresses, and stop it at SIGINT or SIGTERM. Nothing of it is left.
    Up {
        /// Which.
        system: System,
        /// How.
        #[command(flatten)]
        place: Place,
    },
}

/// Where clusters are made, and of what.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Directories of clusters are made in this one and go in the end: the file system under test [default: the
    /// system's temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Processes of each cluster.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// The program of our own [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    dropstone: Option<PathBuf>,
    /// Cores of each of our own nodes [default: a third of the processors, at least 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    cores: Option<u16>,
    /// Raft groups of our own cluster.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    groups: u32,
}

impl Place {
    /// As clusters want it.
    pub fn shape(&self) -> Shape {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let third = u16::try_from(processors / 3).unwrap_or(u16::MAX).clamp(1, 16);
        Shape {
            nodes: self.nodes,
            parent: self.dir.clone().unwrap_or_else(std::env::temp_dir),
            dropstone: self.dropstone.clone(),
            cores: self.cores.unwrap_or(third),
            groups: self.groups,
            is_null: false,
            cache_bytes: None,
        }
    }
}

/// A comparison.
#[derive(Args, Debug)]
pub struct VersusArgs {
    /// A target; twice or more often. The first one is compared with each of the others.
    #[arg(long, value_name = "TARGET", required_unless_present = "all")]
    pub target: Vec<Target>,
    /// Dropstone with every peer that is installed; implies --unlike.
    #[arg(long, conflicts_with = "target")]
    pub all: bool,
    /// Compare targets whose acknowledgement means different things, too; every page says so.
    #[arg(long)]
    pub unlike: bool,
    /// A mix of `dropstone bench`, like spotify, in place of file commits; dropstone and etcd alone have it.
    #[arg(long, value_name = "NAME")]
    pub mix: Option<String>,
    /// Operations in flight, one level after the other.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,64,1024",
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: Vec<u32>,
    /// Pairs of blocks of a level; two are needed for an interval, three for a number to be published.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pairs: u32,
    /// The measured window of a block, whole seconds.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = whole_seconds)]
    pub block: u64,
    /// Load before the window, whole seconds, at least 2.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = whole_seconds)]
    pub warm: u64,
    /// Load on each fresh cluster before all blocks, unmeasured, 64 in flight, whole seconds: log segments are prepared,
    /// files grow, compilers of virtual machines settle.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = whole_seconds)]
    pub prime: u64,
    /// Connections to a target [default: by target and operations in flight]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub connections: Option<u16>,
    /// Of all that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write everything as JSON to a file; `-` is stdout, instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the tables as Markdown to a file; `-` is stdout, instead of the table.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Where, and of what.
    #[command(flatten)]
    pub place: Place,
}

/// Gets beside memcached.
#[derive(Args, Debug)]
pub struct GetsArgs {
    /// Gets on their way on each connection, one level after the other.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,16,64",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub pipeline: Vec<u32>,
    /// Connections to each server.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub connections: u16,
    /// Rounds of a level; in each, every server has one window.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub rounds: u32,
    /// The window, whole seconds.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = whole_seconds)]
    pub window: u64,
    /// Of the keys that are drawn.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write every window as JSON to a file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where, and of what.
    #[command(flatten)]
    pub place: Place,
}

/// Along which axes, and how.
#[derive(Args, Debug)]
pub struct ScaleArgs {
    /// The axes [default: all]
    #[arg(value_enum)]
    pub axis: Vec<Axis>,
    /// So many blocks of each point, of which the median is told.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// The measured window of a block, whole seconds.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = whole_seconds)]
    pub block: u64,
    /// Load before the window, whole seconds, at least 2.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = whole_seconds)]
    pub warm: u64,
    /// How long idle groups are watched, whole seconds.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = whole_seconds)]
    pub idle: u64,
    /// Operations in flight where that is not the axis.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Where pictures and raw figures go.
    #[arg(long, value_name = "DIR", default_value = "docs/pictures")]
    pub out: PathBuf,
    /// Where, and of what.
    #[command(flatten)]
    pub place: Place,
}

fn whole_seconds(text: &str) -> Result<u64, String> {
    let span = load::text::parse_span(text).map_err(|error| error.to_string())?;
    let seconds = span.0 / 1_000_000_000;
    let is_whole = span.0 == seconds * 1_000_000_000 && (1..=600).contains(&seconds);
    if is_whole { Ok(seconds) } else { Err("is not 1s to 600s, in whole seconds".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_times_are_whole_seconds() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        assert_eq!([whole_seconds("5s"), whole_seconds("2000ms")], [Ok(5), Ok(2)]);
        assert!(whole_seconds("1500ms").is_err() && whole_seconds("0s").is_err() && whole_seconds("x").is_err());
    }
}
