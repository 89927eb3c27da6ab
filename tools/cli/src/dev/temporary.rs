//! A cluster for the length of a benchmark: its nodes are processes of their own, as in real life, so each can be
//! measured alone and killed; free ports, a directory of its own, nothing left behind.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::{Client, ClientOptions};
use load::observe::{Watch, WatchedNode};

use super::layout::{Layout, Shape, Wanted};
use super::{ASK_EVERY, LEADERS_TIME_MAX};
use crate::ports::PortPlan;
use server::config::{NodeConfig, Profile};

/// Where free ports are looked for: above what services use, below what the system gives to clients.
const BASES: std::ops::Range<u16> = 20_000..32_000;
/// A plan takes fewer than this.
const PLAN_PORTS: u16 = 300;
/// How long the nodes may take until one answers.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Nodes on this machine. They end, and their directory goes, with this value.
pub struct TemporaryCluster {
    nodes: Mutex<Vec<Option<Child>>>,
    dir: Directory,
    plan: PortPlan,
    shape: Shape,
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("dropstone: could not remove {}: {error}; remove it yourself", self.0.display());
        }
    }
}

impl TemporaryCluster {
    /// Starts it in a new directory inside `parent`, and waits until every group has a leader.
    pub fn start(parent: &Path, wanted: Wanted) -> Result<TemporaryCluster> {
        let pid = std::process::id();
        let path = parent.join(format!("dropstone-bench-{pid}"));
        fs::create_dir(&path)
            .with_context(|| format!("could not make {}; name another directory with --dir", path.display()))?;
        let dir = Directory(path);
        let plan = free_ports(pid)?;
        let segment_bytes = NodeConfig::of_profile(Profile::Dev).process.segment_bytes;
        let shape = Layout::open(&dir.0, wanted, segment_bytes)?.shape;
        let slots = (0..shape.nodes).map(|_| None).collect();
        let cluster = TemporaryCluster { nodes: Mutex::new(slots), dir, plan, shape };
        for node in cluster.ids() {
            fs::write(cluster.file(node, "toml"), cluster.config(node))?;
            cluster.start_node(node)?;
        }
        cluster.await_leaders()?;
        Ok(cluster)
    }

    /// Its client addresses.
    pub fn targets(&self) -> Vec<String> {
        self.ids().map(|node| format!("127.0.0.1:{}", self.plan.client(node))).collect()
    }

    /// Where its data lies.
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    /// Its nodes, from 1.
    pub fn ids(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.shape.nodes
    }

    /// What a run watches of it.
    pub fn watch(&self) -> Watch {
        let node = |node: u16| WatchedNode {
            id: node.into(),
            client: format!("127.0.0.1:{}", self.plan.client(node)),
            admin: Some(format!("127.0.0.1:{}", self.plan.admin(node))),
            pid: self.lock()[usize::from(node) - 1].as_ref().map(Child::id),
        };
        let nodes = self.ids().map(node).collect();
        Watch { nodes, cores: self.shape.cores, dir: Some(self.dir.0.clone()), explain_every: 0 }
    }

    /// Ends a node with SIGKILL, and waits until it is gone. One that is gone already stays so.
    pub fn kill(&self, node: u16) {
        if let Some(mut child) = self.lock()[usize::from(node) - 1].take() {
            // It has ended by itself when this fails.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a node that was killed, on the data it left.
    pub fn start_node(&self, node: u16) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.file(node, "log"))?;
        let mut command = Command::new(std::env::current_exe().context("could not find this program's own file")?);
        command.arg("serve").arg("--config").arg(self.file(node, "toml"));
        command.args(["--with-parent", &std::process::id().to_string()]);
        // What is set for other nodes of this machine is not meant for these.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"DROPSTONE_")) {
            command.env_remove(name);
        }
        // Ctrl-C is for the bench, which ends its nodes itself.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().context("could not start `dropstone serve`")?;
        self.lock()[usize::from(node) - 1] = Some(child);
        Ok(())
    }

    /// Stops a node's threads, or lets them go on.
    pub fn pause(&self, node: u16, is_paused: bool) -> Result<()> {
        let Some(pid) = self.lock()[usize::from(node) - 1].as_ref().map(Child::id) else { return Ok(()) };
        let signal = if is_paused { "STOP" } else { "CONT" };
        let status = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
        if !status.context("could not run `sh`")?.success() {
            bail!("could not send SIG{signal} to node {node}");
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Child>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, node: u16, kind: &str) -> PathBuf {
        self.dir.0.join(format!("n{node}.{kind}"))
    }

    fn config(&self, node: u16) -> String {
        let (plan, shape) = (self.plan, self.shape);
        let member = |node: u16| {
            let (peer, client) = (plan.peer(node), plan.client(node));
            format!("{{ id = {node}, peer = \"127.0.0.1:{peer}\", client = \"127.0.0.1:{client}\" }}")
        };
        let members: Vec<String> = self.ids().map(member).collect();
        format!(
            "[cluster]\ngroups = {}\ncores = {}\nmachine = \"{}\"\nnodes = [ {} ]\n\n[process]\nprofile = \"dev\"\ndata_dir = {:?}\n\
             listen = \"127.0.0.1\"\nclient_port = {}\npeer_port = {}\nadmin_port = {}\nlog_level = \"warn\"\n",
            shape.groups,
            shape.cores,
            shape.machine,
            members.join(", "),
            self.dir.0.join(format!("n{node}")),
            plan.client(node),
            plan.peer(node),
            plan.admin(node),
        )
    }

    fn await_leaders(&self) -> Result<()> {
        let begun = Instant::now();
        let mut client: Option<Client> = None;
        while begun.elapsed() < LEADERS_TIME_MAX + START_TIME_MAX {
            self.check()?;
            let map = match &client {
                Some(client) => Some(client.cluster_map()?),
                None => {
                    let options =
                        ClientOptions { connect_deadline: base::mono::Span::from_ms(500), ..ClientOptions::default() };
                    client = Client::connect(&self.targets(), options).ok();
                    None
                }
            };
            if map.is_some_and(|map| !map.leaders.is_empty() && map.leaders.iter().all(Option::is_some)) {
                return Ok(());
            }
            std::thread::sleep(ASK_EVERY);
        }
        bail!("the temporary cluster has groups without a leader after {LEADERS_TIME_MAX:?}; is the machine very busy?")
    }

    /// An error when a node has ended by itself: with its code, and what it said last.
    fn check(&self) -> Result<()> {
        for (child, node) in self.lock().iter_mut().zip(1..) {
            if let Some(status) = child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                let log = fs::read_to_string(self.file(node, "log")).unwrap_or_default();
                let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
                bail!("node {node} of the temporary cluster ended with {status}: {last}");
            }
        }
        Ok(())
    }
}

impl Drop for TemporaryCluster {
    fn drop(&mut self) {
        // Before the directory goes. A clean stop would write what nobody reads.
        self.ids().for_each(|node| self.kill(node));
    }
}

/// A plan whose ports nobody listens on now.
fn free_ports(pid: u32) -> Result<PortPlan> {
    let plans = u32::from((BASES.end - BASES.start) / PLAN_PORTS);
    for step in 0..plans {
        // Another process that looks at the same time begins elsewhere.
        let at = (pid + step) % plans;
        let plan = PortPlan { base: BASES.start + at as u16 * PLAN_PORTS };
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let wanted = (1..=3).flat_map(|node| {
            let clients = plan.client(node)..=plan.client(node) + 2;
            clients.chain(plan.peer(node)..=plan.peer(node) + 1).chain([plan.admin(node)])
        });
        if wanted.into_iter().all(is_free) {
            return Ok(plan);
        }
    }
    bail!("no free ports between {} and {}; stop something that listens there", BASES.start, BASES.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken_are_passed_over() {
        let first = free_ports(7).unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.client(2))).unwrap();
        assert_ne!(free_ports(7).unwrap(), first);
        drop(taken);
    }

    #[test]
    fn the_configuration_of_a_node_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a \"b\"");
        fs::create_dir(&path).expect("made");
        let cluster = TemporaryCluster {
            nodes: Mutex::new(vec![None, None, None]),
            dir: Directory(path),
            plan: PortPlan { base: 21_000 },
            shape: super::super::layout::SHAPE_DEFAULT,
        };
        let loaded = server::config::Loaded::parse(&cluster.config(2), "n2.toml", []).expect("it is read");
        let config = loaded.for_node(base::NodeId(2)).expect("a node's");
        assert_eq!((config.process.client_port, config.process.admin_port), (21_100, 21_140));
        assert_eq!(config.process.data_dir, cluster.dir().join("n2"));
        assert_eq!(config.cluster.nodes.len(), 3);
        assert_eq!(cluster.watch().nodes[2].admin.as_deref(), Some("127.0.0.1:21240"));
    }
}
