//! ZooKeeper: an ensemble of three, and who leads.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Cluster, free_ports, local, read_out, text};

/// What Debian calls the program.
pub const JAR: &str = "/usr/share/java/zookeeper.jar";
/// Memory of one server. The design's 256 MiB hold a comparison's nodes for a minute only.
const HEAP: &str = "-Xmx1g";

/// Starts the servers.
pub fn start(cluster: &mut Cluster, java: &Path, nodes: u16) -> Result<()> {
    let first = free_ports(3 * nodes)?;
    let server =
        |id: u16| format!("server.{id}=127.0.0.1:{}:{}\n", first + nodes + 2 * (id - 1), first + nodes + 2 * id - 1);
    let servers: String = (1..=nodes).map(server).collect();
    for number in 1..=nodes {
        let (dir, client) = (cluster.node_dir(number)?, first + number - 1);
        let config = dir.join("zoo.cfg");
        let settings = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={client}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\nmaxClientCnxns=0\n{servers}",
            text(&dir)?,
        );
        std::fs::write(&config, settings).with_context(|| format!("could not write {}", config.display()))?;
        std::fs::write(dir.join("myid"), format!("{number}\n"))?;
        let config = text(&config)?;
        let words = [HEAP, "-cp", JAR, "org.apache.zookeeper.server.quorum.QuorumPeerMain", &config];
        cluster.spawn(java, &words.map(str::to_owned))?;
        cluster.addresses.push(local(client));
    }
    Ok(())
}

/// The place of the server that leads.
pub fn leader(addresses: &[SocketAddr]) -> Result<usize> {
    let told = addresses.iter().map(|address| read_out(*address, b"srvr")).collect::<Result<Vec<String>>>()?;
    ensure!(told.iter().all(|told| told.contains("Mode: ")), "its servers have not found each other yet");
    let leader = told.iter().position(|told| told.contains("Mode: leader") || told.contains("Mode: standalone"));
    leader.context("none of its servers leads yet")
}

/// The version that a server tells.
pub fn version(address: SocketAddr) -> Option<String> {
    let told = read_out(address, b"srvr").ok()?;
    let (_, rest) = told.split_once("ersion: ")?;
    Some(rest.split(['-', ',']).next()?.to_owned())
}
