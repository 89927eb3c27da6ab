//! `dropstone dev`: a whole cluster in one process on loopback. It proves itself, then serves until it is stopped.
//!
//! ```text
//! layout (formatted at first) ─▶ nodes, at once ─▶ a leader in every group ─▶ block server ─▶ account "dev" ─▶ self-check
//!   ─▶ notifier, gateway ─▶ serve
//! ```

mod http;
mod layout;
mod temporary;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base::{GroupId, NodeId};
use blocks::{BlockConfig, BlockServer};
use clap::Args;
use client::Client;
use reactor::BackendWish;
use reactor::signals::StopSignal;
use server::Node;
use server::config::{Address, NodeConfig, NodeSeed, Profile};
use server::identity::MachineKind;

use crate::cluster;
use crate::exit::exit;
use crate::ports::{self, PortPlan};
use crate::serve::ReadMode;
use crate::{block, selfcheck, stop};
pub use http::{EnvArgs, HOSTED_NAMES, env, variables, without_hosted_names};
use layout::Layout;
pub use layout::Wanted;
pub use temporary::TemporaryCluster;

/// Where the data lies unless told otherwise.
pub const DATA_DEFAULT: &str = "dropstone-dev";

/// The account of the file commands' default.
const ACCOUNT: &str = "dev";
const CHECK_TIME: Duration = Duration::from_secs(2);
const LEADERS_TIME_MAX: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(10);
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Run a cluster in this process: metaservers and a block server on loopback.
///
/// At first start it formats its data directory; later starts find everything.
/// It checks itself, prints endpoints and commands to try, and serves until Ctrl-C.
/// Never for production: all nodes share one machine.
#[derive(Args, Debug)]
#[command(after_help = "\
Ports, with BASE from --port and node i at B = BASE + 100 * (i - 1):
  B             client RPC, all cores of node i
  B + 1 + c     client RPC of core c
  B + 50 + c    peer frames of core c
  B + 41        memcached, read only: get <namespace>/<path>
  BASE + 44     block server
  BASE + 45     hub of the notifier
  BASE + 343    gateway and notifier, HTTPS (see `dropstone env --help`)

Examples:
  dropstone dev
  dropstone dev --nodes 1 --data /tmp/one --exit
  dropstone dev --hosted-names         for rclone, see `dropstone client-proxy --help`
  dropstone dev --port 9100            then: export DROPSTONE_TARGET=127.0.0.1:9100

Exit codes:
  0 stopped, or the check passed    64 usage    69 address in use, io_uring refused    70 bug
  74 failed write or sync           76, 77 the data directory is damaged or another's")]
pub struct DevArgs {
    /// Metaservers, 1 or 3 [default: 3, or what the data directory has]
    #[arg(long, value_name = "N", value_parser = ["1", "3"])]
    nodes: Option<String>,
    /// Cores of each metaserver, 1 to 16 [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(ports::CORES_MAX)))]
    cores: Option<u16>,
    /// Raft groups of the cluster [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(base::limits::GROUPS_MAX)))]
    groups: Option<u32>,
    /// files, or null: commands are logged, replicated and counted, so that those alone can be measured. Fixed at first
    /// start [default: files]
    #[arg(long, value_name = "KIND", value_parser = parse_machine)]
    machine: Option<MachineKind>,
    /// The first port.
    #[arg(long, value_name = "BASE", default_value_t = ports::BASE_DEFAULT,
          value_parser = clap::value_parser!(u16).range(i64::from(*ports::BASE_RANGE.start())..=i64::from(*ports::BASE_RANGE.end())))]
    port: u16,
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// Stop after the self-check.
    #[arg(long)]
    exit: bool,
    /// How frames reach the files of the nodes' logs: auto (a self-test at start chooses), direct, pwrite or mmap.
    #[arg(long, value_name = "BACKEND", default_value_t = BackendWish::Auto)]
    log_backend: BackendWish,
    /// How leaders confirm reads: under their lease, or by a round to a quorum each.
    #[arg(long, value_name = "MODE", default_value = "lease")]
    read_mode: ReadMode,
    /// The certificate has the names of the hosted service too: for clients that come through `dropstone client-proxy`.
    #[arg(long)]
    hosted_names: bool,
    /// The log filter.
    #[arg(long, value_name = "FILTER", default_value = "warn", env = "DROPSTONE_LOG")]
    log: String,
}

/// Runs it.
pub fn run(args: &DevArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let stopping = stop::begin(&args.log)?;
    let nodes = args.nodes.as_deref().map(|nodes| if nodes == "1" { 1 } else { 3 });
    let wanted = Wanted { nodes, cores: args.cores, groups: args.groups, machine: args.machine };
    let mut template = NodeConfig::of_profile(Profile::Dev);
    template.process.log_backend = args.log_backend;
    template.cluster.lease = args.read_mode == ReadMode::Lease;
    let layout = Layout::open(&args.data, wanted, template.process.segment_bytes)?;
    let dev = Dev::start(&layout, PortPlan { base: args.port }, &template)?;
    let outcome = dev.serve(&layout, args, &stopping, begun);
    dev.stop();
    outcome
}

/// All that runs.
struct Dev {
    plan: PortPlan,
    targets: Vec<String>,
    nodes: Vec<Node>,
    /// None where there are no files.
    blocks: Option<BlockServer>,
}

impl Dev {
    fn start(layout: &Layout, plan: PortPlan, template: &NodeConfig) -> Result<Dev> {
        let nodes = start_nodes(layout, plan, template)?;
        let targets: Vec<String> =
            (1..=layout.shape.nodes).map(|node| format!("127.0.0.1:{}", plan.client(node))).collect();
        if layout.shape.machine.is_null() {
            return Ok(Dev { plan, targets, nodes, blocks: None });
        }
        let data_dir = layout.block_dir();
        let config = BlockConfig {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), plan.block()),
            store: store_of(layout)?,
            data_dir,
            targets: targets.clone(),
            server_id: 1,
            gc: blocks::GcConfig::default(),
            https: None,
        };
        let blocks = blocks::start(&config).map_err(|error| exit(block::code_of(&error), error))?;
        Ok(Dev { plan, targets, nodes, blocks: Some(blocks) })
    }

    fn serve(&self, layout: &Layout, args: &DevArgs, stopping: &StopSignal, begun: Instant) -> Result<ExitCode> {
        let client = cluster::connect(&self.targets)?;
        let mut gateway = None;
        if !self.await_leaders(&client, layout, stopping)? {
            return Ok(ExitCode::SUCCESS);
        }
        self.announce(layout, begun);
        if layout.shape.machine == MachineKind::Files {
            let account = cluster::ensure_account(&client, ACCOUNT)?;
            println!("  account {} ({ACCOUNT}) with root {}", account.acct, account.root);
            let figures = selfcheck::check(&client, account, CHECK_TIME, selfcheck::IN_FLIGHT_DEFAULT);
            print!("self-check\n{}", figures.context("the self-check failed")?.text());
            let store = store_of(layout)?;
            let http = http::start(layout, self.plan, &self.targets, account, &store, args.hosted_names)?;
            println!("{}", http.text());
            gateway = Some(http);
        } else {
            println!("  THE MACHINE IS NULL: commands are logged, replicated and counted; there are no files");
            println!("self-check\n{}", count_once(&client, layout.shape.groups)?);
        }
        if args.exit {
            println!("stopping after the self-check; the data stays in {}", layout.dir.display());
            return Ok(ExitCode::SUCCESS);
        }
        self.suggest(layout, args);
        while !stopping.is_asked() {
            self.check_nodes(layout)?;
            std::thread::sleep(WATCH_EVERY);
        }
        println!("stopping");
        drop(gateway);
        Ok(ExitCode::SUCCESS)
    }

    /// False when a stop was asked for meanwhile.
    fn await_leaders(&self, client: &Client, layout: &Layout, stopping: &StopSignal) -> Result<bool> {
        let begun = Instant::now();
        loop {
            self.check_nodes(layout)?;
            let map = client.cluster_map()?;
            if !map.leaders.is_empty() && map.leaders.iter().all(Option::is_some) {
                return Ok(true);
            }
            if stopping.is_asked() {
                return Ok(false);
            }
            if begun.elapsed() > LEADERS_TIME_MAX {
                let without = map.leaders.iter().filter(|leader| leader.is_none()).count();
                bail!(
                    "{without} groups have no leader after {LEADERS_TIME_MAX:?}; run again with --log info and look for the reason"
                );
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// A node that stopped by itself ends the process with its code, as `serve` does.
    fn check_nodes(&self, layout: &Layout) -> Result<()> {
        for (node, at) in self.nodes.iter().zip(1..) {
            if let Some(failure) = node.failed() {
                stop::record(&layout.node_dir(at), failure.code, &failure.reason);
                return Err(exit(failure.code, format!("node {at} stopped: {}", failure.reason)));
            }
        }
        Ok(())
    }

    fn announce(&self, layout: &Layout, begun: Instant) {
        let shape = layout.shape;
        let what = if layout.is_new { "a new cluster" } else { "the cluster" };
        println!(
            "dropstone dev: {what} in {}, up in {:.2} s (never for production)",
            layout.dir.display(),
            begun.elapsed().as_secs_f64()
        );
        for node in 1..=shape.nodes {
            let (client, peer) = (self.plan.client(node), self.plan.peer(node));
            let last = shape.cores - 1;
            println!(
                "  node {node}        clients 127.0.0.1:{client}, cores {}-{}; peers {peer}-{}",
                client + 1,
                client + shape.cores,
                peer + last
            );
        }
        if let Some(blocks) = &self.blocks {
            println!("  block server  127.0.0.1:{}", blocks.address().port());
            let ports = self.nodes.iter().filter_map(Node::memcache_address).map(|address| address.to_string());
            println!("  memcached     {}", ports.collect::<Vec<_>>().join(" "));
        }
        println!("  {} groups, {} cores a node", shape.groups, shape.cores);
    }

    fn suggest(&self, layout: &Layout, args: &DevArgs) {
        let target =
            if args.port == ports::BASE_DEFAULT { String::new() } else { format!(" --target {}", self.targets[0]) };
        println!("try, in another terminal:");
        if layout.shape.machine.is_null() {
            println!("  dropstone bench run --mix null --closed --clients 1024 --duration 10s{target}");
            println!("Ctrl-C stops it; the data stays");
            return;
        }
        println!("  dropstone put README.md /README.md{target} && dropstone ls /{target}");
        println!("  dropstone watch /{target}");
        println!("  dropstone admin status{target}");
        println!(
            "  eval \"$(dropstone env --data {})\"        then unmodified clients find this cluster",
            args.data.display()
        );
        println!("Ctrl-C stops it; the data stays");
    }

    fn stop(self) {
        if let Some(blocks) = self.blocks {
            blocks.stop();
        }
        self.nodes.into_iter().for_each(Node::stop);
    }
}

/// Where content lies.
fn store_of(layout: &Layout) -> Result<String> {
    let store = layout.block_dir().join("objects");
    Ok(store.to_str().context("the data directory's path is not UTF-8")?.to_owned())
}

fn parse_machine(text: &str) -> Result<MachineKind, String> {
    MachineKind::of_name(text).ok_or_else(|| "is not files or null".to_owned())
}

/// One command through every group: each is counted, and the count is told.
fn count_once(client: &Client, groups: u32) -> Result<String> {
    let begun = Instant::now();
    for group in (0..groups).map(GroupId) {
        let counted = client.count_null(group, &[0; 16])?;
        let told = client.null_count(group)?;
        if told < counted {
            bail!("group {group} acknowledged command {counted} and tells of {told}");
        }
    }
    Ok(format!("  {groups} groups counted a command each in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3))
}

/// Starts all nodes at once: each waits for its own files, and none for another.
fn start_nodes(layout: &Layout, plan: PortPlan, template: &NodeConfig) -> Result<Vec<Node>> {
    let configs: Vec<NodeConfig> =
        (1..=layout.shape.nodes).map(|node| node_config(layout, plan, template, node)).collect();
    let started = std::thread::scope(|scope| {
        let threads: Vec<_> = configs.into_iter().map(|config| scope.spawn(|| Node::start(config))).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let mut nodes = Vec::new();
    let mut failed = None;
    for (result, at) in started.into_iter().zip(1..) {
        match result {
            Ok(Ok(node)) => nodes.push(node),
            Ok(Err(error)) => failed = failed.or(Some(exit(error.exit_code(), format!("node {at}: {error}")))),
            Err(_) => {
                failed =
                    failed.or(Some(exit(server::exit::ExitCode::Bug, format!("node {at} panicked while it started"))))
            }
        }
    }
    match failed {
        None => Ok(nodes),
        Some(error) => {
            nodes.into_iter().for_each(Node::stop);
            Err(error)
        }
    }
}

fn node_config(layout: &Layout, plan: PortPlan, template: &NodeConfig, node: u16) -> NodeConfig {
    let address = |port| Address { host: "127.0.0.1".to_owned(), port };
    let seed = |node: u16| NodeSeed {
        id: NodeId(node.into()),
        peer: address(plan.peer(node)),
        client: address(plan.client(node)),
    };
    let mut config = template.clone();
    config.cluster.groups = layout.shape.groups;
    config.cluster.cores = layout.shape.cores;
    config.cluster.machine = layout.shape.machine;
    config.cluster.nodes = (1..=layout.shape.nodes).map(seed).collect();
    config.process.node = Some(NodeId(node.into()));
    config.process.data_dir = layout.node_dir(node);
    config.process.listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
    config.process.client_port = plan.client(node);
    config.process.peer_port = plan.peer(node);
    config.process.admin_port = plan.admin(node);
    if layout.shape.machine == MachineKind::Files {
        config.process.memcache_listen = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), plan.memcache(node)));
    }
    config
}
