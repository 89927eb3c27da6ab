//! A cluster of real processes: three metaservers and a block server.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Ports that one node takes from its base on, both ranges.
const PORTS_PER_NODE: u16 = 40;

/// The release binary.
pub fn binary() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let path = target.join("release/dropstone");
    ensure!(path.is_file(), "there is no {}", path.display());
    Ok(path)
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask lies two folders deep").to_owned()
}

/// A run of free loopback ports, below those that the system gives to outgoing connections: they were free a moment ago.
pub fn free_ports(count: u16) -> Result<u16> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..500 {
        let draw = base::mix64(u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed));
        let first = 10_000 + (draw % 20_000) as u16;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("found no {count} free ports in a row")
}

/// Where a node lives.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its address.
    pub host: String,
    /// The words before its command line, e.g. those that enter a network namespace. They must become the command by
    /// `exec`, so that the process is the node. Empty: none.
    pub enter: Vec<String>,
}

impl Seat {
    /// A program that runs there.
    fn command(&self, program: PathBuf) -> Command {
        let mut words = self.enter.iter().map(PathBuf::from).chain([program]);
        let mut command = Command::new(words.next().expect("the program is the last word"));
        command.args(words);
        command
    }
}

impl Default for Seat {
    fn default() -> Seat {
        Seat { host: "127.0.0.1".to_owned(), enter: Vec::new() }
    }
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Raft groups.
    pub groups: u32,
    /// Cores of each node.
    pub cores: u16,
    /// More lines for the `[process]` table of each node.
    pub process: String,
    /// Where each node's data is to lie. Empty: three nodes, in the cluster's directory.
    pub data: Vec<PathBuf>,
    /// Where each node lives. Empty: on the loopback.
    pub seats: Vec<Seat>,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { groups: 8, cores: 2, process: String::new(), data: Vec::new(), seats: Vec::new() }
    }
}

/// One node: its place and, while it runs, its process.
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data.
    pub data: PathBuf,
    /// Where it lives.
    pub seat: Seat,
    /// Base of its ports.
    pub port: u16,
    child: Option<Child>,
    log: PathBuf,
    /// Length of its log when it was last started. Unit: bytes.
    log_from: usize,
    starts: u32,
}

/// A cluster in a temporary directory.
pub struct Cluster {
    /// Holds everything.
    pub dir: PathBuf,
    /// The metaservers.
    pub nodes: Vec<Node>,
    cluster_id: String,
    shape: Shape,
    block: Option<Child>,
    block_port: u16,
    keep: bool,
}

impl Cluster {
    /// Formats and starts three nodes (or as many as `shape.data` names) and a block server, and makes account 1.
    pub fn start(name: &str, shape: Shape) -> Result<Cluster> {
        let dir = std::env::temp_dir().join(format!("dropstone-e2e-{name}-{}", std::process::id()));
        Cluster::start_in(dir, shape)
    }

    /// As `start`, in a given directory.
    pub fn start_in(dir: PathBuf, shape: Shape) -> Result<Cluster> {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let id = run_ok(Command::new(binary()?).args(["format", "--new-id"]))?;
        let count = if shape.data.is_empty() { 3 } else { shape.data.len() as u16 };
        let base = free_ports(PORTS_PER_NODE * (count + 1))?;
        let mut cluster = Cluster {
            dir,
            nodes: Vec::new(),
            cluster_id: id.trim().to_owned(),
            shape,
            block: None,
            block_port: base + PORTS_PER_NODE * count,
            keep: true,
        };
        for at in 0..count {
            cluster.add_node(u64::from(at) + 1, base + at * PORTS_PER_NODE);
        }
        let ids: Vec<u64> = cluster.nodes.iter().map(|node| node.id).collect();
        for id in &ids {
            cluster.write_config(*id, &ids)?;
            cluster.format(*id, false)?;
        }
        for id in &ids {
            cluster.start_node(*id)?;
        }
        cluster.start_block()?;
        cluster.wait_ready(Duration::from_secs(30))?;
        cluster.ok(&["account", "create", "tester"])?;
        Ok(cluster)
    }

    /// A further place for a node.
    pub fn add_node(&mut self, id: u64, port: u16) {
        let data = self.shape.data.get(id as usize - 1).cloned();
        let data = data.unwrap_or_else(|| self.dir.join(format!("n{id}")));
        let seat = self.shape.seats.get(id as usize - 1).cloned().unwrap_or_default();
        self.nodes.push(Node {
            id,
            seat,
            config: self.dir.join(format!("n{id}.toml")),
            log: self.dir.join(format!("n{id}.log")),
            data,
            port,
            child: None,
            log_from: 0,
            starts: 0,
        });
    }

    /// Writes a node's configuration that names `members`.
    pub fn write_config(&self, id: u64, members: &[u64]) -> Result<()> {
        let member = |id: &u64| {
            let Node { port, seat: Seat { host, .. }, .. } = self.node(*id);
            format!("{{ id = {id}, peer = \"{host}:{}\", client = \"{host}:{port}\" }}", port + 20)
        };
        let nodes: Vec<String> = members.iter().map(member).collect();
        let node = self.node(id);
        // Disks of suites are small, and a developer's may be nearly full.
        let is_said = self.shape.process.contains("space_reserve_bytes");
        let reserve = if is_said { "" } else { "space_reserve_bytes = 1048576" };
        let text = format!(
            "[cluster]\ngroups = {}\ncores = {}\nnodes = [ {} ]\n\n[process]\nprofile = \"dev\"\ndata_dir = \"{}\"\n\
             listen = \"{}\"\nclient_port = {}\npeer_port = {}\n{reserve}\n{}\n",
            self.shape.groups,
            self.shape.cores,
            nodes.join(", "),
            node.data.display(),
            node.seat.host,
            node.port,
            node.port + 20,
            self.shape.process,
        );
        fs::write(&node.config, text)?;
        Ok(())
    }

    /// Formats a node's data directory.
    pub fn format(&self, id: u64, joins: bool) -> Result<()> {
        let node = self.node(id);
        let mut command = Command::new(binary()?);
        command.arg("format").arg("--config").arg(&node.config);
        command.args(["--cluster", &self.cluster_id, "--node", &id.to_string()]);
        if joins {
            command.arg("--join");
        }
        run_ok(&mut command).map(drop)
    }

    /// The node with an id.
    pub fn node(&self, id: u64) -> &Node {
        self.nodes.iter().find(|node| node.id == id).expect("the suite made this node")
    }

    fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("the suite made this node")
    }

    /// Starts a node's process.
    pub fn start_node(&mut self, id: u64) -> Result<()> {
        let log_from = self.log_of(id).len();
        let node = self.node_mut(id);
        ensure!(node.child.is_none(), "node {id} runs already");
        node.log_from = log_from;
        node.starts += 1;
        let log = File::options().create(true).append(true).open(&node.log)?;
        let mut command = node.seat.command(binary()?);
        command.arg("serve").arg("--config").arg(&node.config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        node.child = Some(command.spawn().context("could not start `dropstone serve`")?);
        Ok(())
    }

    /// Starts the block server.
    pub fn start_block(&mut self) -> Result<()> {
        let config = self.dir.join("block.toml");
        let targets: Vec<String> = self.addresses().iter().map(|address| format!("{address:?}")).collect();
        let text = format!(
            "[block]\nlisten = \"127.0.0.1:{}\"\ndata_dir = \"{}\"\nserver_id = 1\ntargets = [ {} ]\n",
            self.block_port,
            self.dir.join("blocks").display(),
            targets.join(", ")
        );
        fs::write(&config, text)?;
        let log = File::options().create(true).append(true).open(self.dir.join("block.log"))?;
        let mut command = Command::new(binary()?);
        command.arg("block").arg("--config").arg(&config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.block = Some(command.spawn().context("could not start `dropstone block`")?);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill_node(&mut self, id: u64) -> Result<()> {
        let mut child = self.node_mut(id).child.take().context("the node does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGKILL to everything.
    pub fn kill_all(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.take()).chain(self.block.take()) {
            let mut child = child;
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops a node where it is, or lets it go on.
    pub fn pause_node(&self, id: u64, is_paused: bool) -> Result<()> {
        let signal = if is_paused { "-STOP" } else { "-CONT" };
        run_ok(Command::new("kill").args([signal, &self.pid(id)?.to_string()])).map(drop)
    }

    /// SIGTERM to a node; returns its exit code.
    pub fn stop_node(&mut self, id: u64) -> Result<Option<i32>> {
        let mut child = self.node_mut(id).child.take().context("the node does not run")?;
        run_ok(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
        let ended = wait_for(Duration::from_secs(20), || Ok(child.try_wait()?.map(|status| status.code())));
        if ended.is_err() {
            child.kill()?;
        }
        ended.context("the node did not stop within 20 s of SIGTERM")
    }

    /// The process id of a node.
    pub fn pid(&self, id: u64) -> Result<u32> {
        Ok(self.node(id).child.as_ref().context("the node does not run")?.id())
    }

    /// The block server's port.
    pub fn block_port(&self) -> u16 {
        self.block_port
    }

    /// If a node's process has ended by itself: its exit code.
    pub fn exited(&mut self, id: u64) -> Result<Option<Option<i32>>> {
        let Some(child) = &mut self.node_mut(id).child else { return Ok(None) };
        Ok(child.try_wait()?.map(|status| status.code()))
    }

    /// What a node has logged.
    pub fn log_of(&self, id: u64) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.node(id).log) {
            let _ = file.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What a node has logged since it was last started, at most the last lines of it.
    pub fn last_words(&self, id: u64) -> String {
        let log = self.log_of(id);
        let lines: Vec<&str> = log.get(self.node(id).log_from..).unwrap_or_default().lines().collect();
        lines[lines.len().saturating_sub(6)..].join("\n")
    }

    /// True once the node's recovery is over: it writes.
    pub fn is_serving(&self, id: u64) -> bool {
        let log = self.log_of(id);
        log.get(self.node(id).log_from..).is_some_and(|log| log.contains("metaserver runs"))
    }

    /// `log verify` of a node that does not run: true if its log is torn, an error if it is worse than that.
    pub fn verify_log(&self, id: u64) -> Result<bool> {
        let data = &self.node(id).data;
        let output = Command::new(binary()?).args(["log", "verify", "--json"]).arg(data).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("the log of node {id} is not whole: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        let mut is_torn = false;
        for line in text.lines() {
            let core: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            is_torn |= core["verdict"] == "torn";
        }
        Ok(is_torn)
    }

    /// The client address of every node.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("{}:{}", node.seat.host, node.port)).collect()
    }

    /// `--target` for all nodes.
    pub fn targets(&self) -> String {
        self.addresses().join(",")
    }

    /// The binary with this cluster as target.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary().expect("checked before the suites"));
        command.args(arguments).env("DROPSTONE_TARGET", self.targets()).stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        run_ok(&mut self.command(arguments))
    }

    /// Runs a command that must fail with `code` and say `word` on stderr.
    pub fn refused(&self, arguments: &[&str], code: i32, word: &str) -> Result<()> {
        let output = self.command(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(code),
            "`{}` exited with {:?} instead of {code}: {text}",
            arguments.join(" "),
            output.status.code()
        );
        ensure!(text.contains(word), "`{}` did not say {word:?}: {text}", arguments.join(" "));
        Ok(())
    }

    /// The status of all nodes that answer, as `admin status --json` prints it.
    pub fn status(&self) -> Result<Value> {
        let text = self.ok(&["admin", "status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("`admin status --json` printed no JSON: {text}"))
    }

    /// Every (node, group, field) of the status.
    pub fn groups(&self) -> Result<Vec<GroupLine>> {
        let status = self.status()?;
        let mut lines = Vec::new();
        for node in status["nodes"].as_array().context("status has no nodes")? {
            for group in node["groups"].as_array().into_iter().flatten() {
                let number = |key: &str| group[key].as_u64().with_context(|| format!("a group has no {key}: {group}"));
                lines.push(GroupLine {
                    node: node["node"].as_u64().context("a node has no id")?,
                    group: number("group")?,
                    leader: group["leader"].as_u64().unwrap_or(0),
                    applied: number("applied_index")?,
                    first: number("first_index")?,
                    hash: group["state_hash"].to_string(),
                });
            }
        }
        Ok(lines)
    }

    /// Waits until every group has a leader that a node here knows.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        wait_for(limit, || {
            let Ok(lines) = self.groups() else { return Ok(None) };
            let led = (0..u64::from(self.shape.groups))
                .all(|group| lines.iter().any(|line| line.group == group && line.leader == line.node));
            Ok(led.then_some(()))
        })
        .with_context(|| format!("no leader in every group within {} s", limit.as_secs()))
    }

    /// The node that leads the group of the first account's root.
    pub fn leader_of_root(&self) -> Result<u64> {
        let group = root_group(self.shape.groups);
        let lines = self.groups()?;
        let led = lines.iter().find(|line| line.group == group && line.leader == line.node);
        Ok(led.context("the root's group has no leader")?.node)
    }

    /// Waits until these nodes have applied the same index of every group, and checks that their state hashes agree.
    pub fn wait_same_state(&self, nodes: &[u64], limit: Duration) -> Result<()> {
        let mut last = String::new();
        let same = wait_for(limit, || {
            let Ok(lines) = self.groups() else { return Ok(None) };
            for group in 0..u64::from(self.shape.groups) {
                let here: Vec<&GroupLine> =
                    lines.iter().filter(|line| line.group == group && nodes.contains(&line.node)).collect();
                if here.len() != nodes.len() || here.iter().any(|line| line.applied != here[0].applied) {
                    last = format!("group {group}: {here:?}");
                    return Ok(None);
                }
                ensure!(
                    here.iter().all(|line| line.hash == here[0].hash),
                    "group {group} has diverged at one applied index: {here:?}"
                );
            }
            Ok(Some(()))
        });
        same.with_context(|| format!("nodes {nodes:?} did not reach one applied index; last seen {last}"))
    }

    /// The suite has passed: nothing is left behind.
    pub fn finish(mut self) {
        self.keep = false;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
        if self.keep {
            println!("  the cluster's files are kept: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// One group on one node.
#[derive(Debug, Clone)]
pub struct GroupLine {
    /// Whose view.
    pub node: u64,
    /// Which group.
    pub group: u64,
    /// Who leads, in that view.
    pub leader: u64,
    /// Applied index.
    pub applied: u64,
    /// First entry held.
    pub first: u64,
    /// State hash, as printed.
    pub hash: String,
}

/// The group of the first account's root namespace.
pub fn root_group(groups: u32) -> u64 {
    u64::from(base::group_of(base::Nsid(10_000_000_000), groups).0)
}

/// Runs a command that must succeed; returns what it printed.
pub fn run_ok(command: &mut Command) -> Result<String> {
    let output: Output = command.output().with_context(|| format!("could not run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} exited with {:?}: {}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks every 50 ms until there is an answer.
pub fn wait_for<T>(limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(began.elapsed() < limit, "not within {:.1} s", limit.as_secs_f64());
        std::thread::sleep(Duration::from_millis(50));
    }
}
