//! A network whose links can be cut: each node in a network namespace of its own, all on one bridge.
//!
//! ```text
//! the suite's own namespace            n1                  n2                  n3
//!   the suite, the generator           node 1              node 2              node 3
//!   br0 10.77.0.254 ── v1 ──────────── e0 10.77.0.1
//!                    ├ v2 ─────────────────────────────── e0 10.77.0.2
//!                    └ v3 ─────────────────────────────────────────────────── e0 10.77.0.3
//! ```
//!
//! The suite runs in a network and a mount namespace of its own, so that whatever ends it, no link, bridge or name stays.
//! A node is cut off by its link. One direction is cut by a neighbour entry that names a machine which is not there: the
//! sender's packets leave and reach nobody, as on a broken path; a blackhole route would tell the sender.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cluster::{Seat, run_ok};

/// First word of what a suite runs in a network of its own; the suite's name is the second.
pub const INSIDE: &str = "--inside-network";
/// A link-layer address that nobody has.
const NOBODY: &str = "02:00:00:00:00:ff";
/// Seconds that a connection may take before its path counts as cut.
const PATIENCE: &str = "0.7";

/// Runs the inner part of a suite in namespaces of its own. Skips it by name where these cannot be made.
pub fn run_with_network(suite: &str) -> Result<()> {
    if let Some(why) = what_is_missing() {
        println!("  SKIPPED: suite {suite}: {why}");
        return Ok(());
    }
    let mut command = unshare();
    command.arg(std::env::current_exe()?).args(["e2e", INSIDE, suite]);
    let status = command.status().context("could not run unshare")?;
    ensure!(status.success(), "see above ({status})");
    Ok(())
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "--"]);
    command
}

/// Why networks cannot be made here; `None` if they can.
fn what_is_missing() -> Option<String> {
    let is_root = run_ok(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root {
        return Some("network namespaces want root".to_owned());
    }
    for program in ["unshare", "ip", "mount", "bash", "timeout"] {
        if Command::new(program).arg("--version").output().is_err() {
            return Some(format!("{program} is not installed"));
        }
    }
    let kinds = "ip link add d0 type bridge && ip link add d1 type veth peer name d2";
    let made = run_ok(unshare().args(["sh", "-c", kinds]));
    made.err().map(|error| format!("the kernel makes no bridge and no pair of links: {error:#}"))
}

/// The nodes' links. They go with the suite's namespace.
pub struct Network {
    nodes: u64,
}

fn ip(arguments: &str) -> Result<()> {
    run_ok(Command::new("ip").args(arguments.split(' '))).map(drop)
}

fn host(id: u64) -> String {
    format!("10.77.0.{id}")
}

impl Network {
    /// Links for nodes 1 to `nodes`, all up. Only in a namespace of its own: see [`run_with_network`].
    pub fn make(nodes: u64) -> Result<Network> {
        ip("link set lo up")?;
        // Names of namespaces are files; here they are nobody else's and go with the mount.
        std::fs::create_dir_all("/run/netns")?;
        run_ok(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run/netns"]))?;
        ip("link add br0 type bridge")?;
        ip(&format!("addr add {}/24 dev br0", host(254)))?;
        ip("link set br0 up")?;
        for id in 1..=nodes {
            ip(&format!("netns add n{id}"))?;
            ip(&format!("link add v{id} type veth peer name e0 netns n{id}"))?;
            ip(&format!("link set v{id} master br0 up"))?;
            ip(&format!("-n n{id} link set lo up"))?;
            ip(&format!("-n n{id} addr add {}/24 dev e0", host(id)))?;
            ip(&format!("-n n{id} link set e0 up"))?;
        }
        Ok(Network { nodes })
    }

    /// Where each node lives.
    pub fn seats(&self) -> Vec<Seat> {
        let enter = |id| ["ip", "netns", "exec", &format!("n{id}")].map(str::to_owned).to_vec();
        (1..=self.nodes).map(|id| Seat { host: host(id), enter: enter(id) }).collect()
    }

    /// Takes a node off the network.
    pub fn unplug(&self, id: u64) -> Result<()> {
        ip(&format!("link set v{id} down"))
    }

    /// What `source` sends to `target` reaches nobody from now on.
    pub fn mute(&self, source: u64, target: u64) -> Result<()> {
        ip(&format!("-n n{source} neigh replace {} lladdr {NOBODY} dev e0 nud permanent", host(target)))
    }

    /// Everything reaches everybody again.
    pub fn heal(&self) -> Result<()> {
        for id in 1..=self.nodes {
            ip(&format!("link set v{id} up"))?;
            // What was learned is learned anew.
            ip(&format!("-n n{id} neigh flush dev e0 nud permanent"))?;
        }
        Ok(())
    }

    /// Whether a connection from one node to a port of another one can be made.
    pub fn is_open(&self, source: u64, target: u64, port: u16) -> Result<bool> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("n{source}"), "timeout", PATIENCE, "bash", "-c"]);
        let connect = format!("exec 3<>/dev/tcp/{}/{port}", host(target));
        Ok(command.arg(connect).output().context("could not run ip")?.status.success())
    }
}
