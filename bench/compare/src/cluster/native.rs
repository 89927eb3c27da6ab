//! Our own cluster: `dropstone serve`, each node a process, formatted by `dropstone format`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base::mono::Span;
use client::{Client, ClientOptions};

use super::{Cluster, Shape, free_ports, local, text};
use crate::exit::{USAGE, exit};

/// Peer ports begin so far behind the client ports of a node.
const PEER_OFFSET: u16 = 20;
const PORTS_PER_NODE: u16 = 40;
/// The memcached port is the last one.
const MEMCACHE_OFFSET: u16 = PORTS_PER_NODE - 1;
/// Cores whose ports fit.
const CORES_MAX: u16 = PEER_OFFSET - 1;

/// Formats the nodes and starts them.
pub fn start(cluster: &mut Cluster, program: &Path, shape: &Shape) -> Result<()> {
    if shape.cores == 0 || shape.cores > CORES_MAX || shape.groups < shape.cores.into() {
        return Err(exit(USAGE, format!("--cores is 1 to {CORES_MAX}, and --groups not below it")));
    }
    let first = free_ports(PORTS_PER_NODE * shape.nodes)?;
    let port = |number: u16| first + PORTS_PER_NODE * (number - 1);
    let id = run(Command::new(program).args(["format", "--new-id"]))?;
    let members: Vec<String> = (1..=shape.nodes)
        .map(|id| {
            let (client, peer) = (port(id), port(id) + PEER_OFFSET);
            format!("{{ id = {id}, peer = \"127.0.0.1:{peer}\", client = \"127.0.0.1:{client}\" }}")
        })
        .collect();
    let mut configs = Vec::new();
    for number in 1..=shape.nodes {
        let config = cluster.dir.join(format!("n{number}.toml"));
        let data = text(&cluster.dir.join(format!("n{number}")))?;
        // The defaults of a server, but for what several nodes on one machine need.
        let settings = format!(
            "[cluster]\ngroups = {}\ncores = {}\nmachine = \"{}\"\nnodes = [ {} ]\n\n[process]\nprofile = \"shared\"\n\
             data_dir = {data:?}\nlisten = \"127.0.0.1\"\nclient_port = {}\npeer_port = {}\nadmin_port = 0\n\
             space_reserve_percent = 0\nlog_level = \"warn\"\n",
            shape.groups,
            shape.cores,
            if shape.is_null { "null" } else { "files" },
            members.join(", "),
            port(number),
            port(number) + PEER_OFFSET,
        );
        let cached = shape.cache_bytes.map(|bytes| {
            let port = port(number) + MEMCACHE_OFFSET;
            format!("cache_bytes = {bytes}\n\n[memcache]\nlisten = \"127.0.0.1:{port}\"\n")
        });
        let settings = settings + &cached.unwrap_or_default();
        std::fs::write(&config, settings).with_context(|| format!("could not write {}", config.display()))?;
        let config = text(&config)?;
        let node = number.to_string();
        run(Command::new(program).args(["format", "--config", &config, "--cluster", id.trim(), "--node", &node]))?;
        configs.push(config);
    }
    for (config, number) in configs.into_iter().zip(1..) {
        cluster.spawn(program, &["serve".to_owned(), "--config".to_owned(), config])?;
        cluster.addresses.push(local(port(number)));
    }
    Ok(())
}

/// Where the node with this client address answers as memcached does.
pub fn memcache(client: SocketAddr) -> SocketAddr {
    local(client.port() + MEMCACHE_OFFSET)
}

/// Whether every group has a leader. No node is in front: each leads some groups.
pub fn leaders(addresses: &[SocketAddr]) -> Result<usize> {
    let map = connect(addresses)?.cluster_map()?;
    ensure!(!map.leaders.is_empty() && map.leaders.iter().all(Option::is_some), "not every group has a leader yet");
    Ok(0)
}

/// A client of the cluster.
pub fn connect(addresses: &[SocketAddr]) -> Result<Client> {
    let options = ClientOptions {
        connect_deadline: Span::from_ms(900),
        link_deadline: Span::from_ms(800),
        deadline: Span::from_ms(20_000),
        ..ClientOptions::default()
    };
    let targets: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    Ok(Client::connect(&targets, options)?)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("could not run dropstone")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`dropstone format` ended with {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
