//! Clusters of peers and of our own, as real processes on free loopback ports, in fresh directories; they stop by their
//! process ids, and their directory goes, with the value.

pub mod etcd;
mod memcached;
pub mod native;
mod nats;
mod postgres;
mod process;
mod question;
pub mod redis;
mod zookeeper;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::exit::{INTERRUPTED, UNAVAILABLE, exit};
use crate::target::System;
use process::Account;
pub use process::Process;
use question::{converse, dial, read_out};

/// How long a cluster may take until it serves.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Below what the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its processes.
    pub nodes: u16,
    /// Its directory is made in this one: the file system under test.
    pub parent: PathBuf,
    /// The program of our own.
    pub dropstone: Option<PathBuf>,
    /// Cores of each of our own nodes.
    pub cores: u16,
    /// Raft groups of our own cluster.
    pub groups: u32,
    /// Our own cluster counts commands and holds no files.
    pub is_null: bool,
    /// Our own nodes have a memcached port, and read caches of so many bytes.
    pub cache_bytes: Option<u64>,
}

/// A cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    /// What it is.
    pub system: System,
    /// What its processes run.
    program: PathBuf,
    /// As it says of itself.
    pub version: String,
    /// What its servers answer when they are asked how they sync; empty for those that are not asked.
    pub told: String,
    /// Client addresses, the leader or primary first where one is in front.
    pub addresses: Vec<SocketAddr>,
    /// Its processes, in the order of their numbers.
    pub processes: Vec<Process>,
    /// Holds all its data and logs.
    pub dir: PathBuf,
}

impl Cluster {
    /// Starts one and waits until it serves; ends early when `stop` is set.
    ///
    /// Errors: exit code 69 where a program is missing; else what the processes said.
    pub fn start(system: System, shape: &Shape, stop: &AtomicBool) -> Result<Cluster> {
        let program = find(system, shape)?;
        let version = process::version(&program, system)?;
        let dir = fresh_dir(&shape.parent, system)?;
        let (told, addresses, processes) = Default::default();
        let mut cluster = Cluster { system, program: program.clone(), version, told, addresses, processes, dir };
        let started = match system {
            System::Dropstone => native::start(&mut cluster, &program, shape),
            System::Etcd => etcd::start(&mut cluster, &program, shape.nodes),
            System::Zookeeper => zookeeper::start(&mut cluster, &program, shape.nodes),
            System::Postgres => postgres::start(&mut cluster, &program, shape.nodes),
            System::Nats | System::NatsSync => nats::start(&mut cluster, &program, shape.nodes),
            System::Redis | System::Valkey => redis::start(&mut cluster, &program, shape.nodes),
            System::Memcached => memcached::start(&mut cluster, &program, shape.nodes),
        };
        started.with_context(|| format!("could not start {}", system.name()))?;
        cluster.await_ready(stop)?;
        if system == System::Zookeeper {
            // The program is java, whose version says nothing.
            cluster.version = zookeeper::version(cluster.addresses[0]).unwrap_or_default();
        }
        cluster.told = match system {
            System::Postgres => postgres::told(&cluster.addresses)?,
            System::Nats | System::NatsSync => nats::told(&cluster.addresses, system)?,
            System::Redis | System::Valkey => redis::told(&cluster.addresses)?,
            System::Dropstone | System::Etcd | System::Zookeeper | System::Memcached => String::new(),
        };
        Ok(cluster)
    }

    /// Where a node of our own answers as memcached does, by its place, if its shape has that.
    pub fn memcache(&self, node: usize) -> SocketAddr {
        native::memcache(self.addresses[node])
    }

    /// Ids of its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Errors: a process has ended.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    fn await_ready(&mut self, stop: &AtomicBool) -> Result<()> {
        let begun = Instant::now();
        let mut why = String::new();
        while begun.elapsed() < READY_MAX {
            if stop.load(Ordering::Relaxed) {
                return Err(exit(INTERRUPTED, format!("interrupted while {} started", self.system.name())));
            }
            self.check()?;
            let ready = match self.system {
                System::Dropstone => native::leaders(&self.addresses),
                System::Etcd => etcd::leader(&self.addresses),
                System::Zookeeper => zookeeper::leader(&self.addresses),
                System::Postgres => postgres::standbys(&self.addresses),
                System::Nats | System::NatsSync => nats::leader(&self.addresses),
                System::Redis | System::Valkey => redis::replicas(&self.addresses),
                System::Memcached => memcached::all(&self.addresses),
            };
            match ready {
                Ok(first) => {
                    self.addresses[..=first].rotate_right(1);
                    return Ok(());
                }
                Err(error) => why = format!("{error:#}"),
            }
            std::thread::sleep(ASK_EVERY);
        }
        bail!("{} does not serve after {} s: {why}; its logs are in {}", self.system.name(), READY_MAX.as_secs(), {
            // They are what tells why.
            let kept = std::mem::take(&mut self.dir);
            kept.display().to_string()
        })
    }

    /// Starts `program` as the next node.
    fn spawn(&mut self, program: &Path, arguments: &[String]) -> Result<()> {
        self.spawn_as(program, arguments, None)
    }

    /// The same as another user.
    fn spawn_as(&mut self, program: &Path, arguments: &[String], account: Option<Account>) -> Result<()> {
        let number = self.processes.len() + 1;
        let (name, log) = (format!("{} {number}", self.system.name()), self.dir.join(format!("n{number}.log")));
        self.processes.push(Process::spawn(&name, program, arguments, account, &log)?);
        Ok(())
    }

    /// The directory of a node, made.
    fn node_dir(&self, number: u16) -> Result<PathBuf> {
        let dir = self.dir.join(format!("n{number}"));
        std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
        Ok(dir)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.system == System::Postgres {
            // A node's other processes outlive the first one, if that is killed, and write on.
            postgres::stop(self);
        }
        // All at once, then each is waited for.
        self.processes.iter_mut().for_each(Process::kill);
        self.processes.clear();
        if !self.dir.as_os_str().is_empty()
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            eprintln!("dropstone-compare: could not remove {}: {error}; remove it yourself", self.dir.display());
        }
    }
}

/// Whether the program of a system is there.
///
/// Errors: exit code 69 and what to install.
pub fn find(system: System, shape: &Shape) -> Result<PathBuf> {
    if system == System::Dropstone {
        return find_own(shape.dropstone.as_deref());
    }
    let (program, how) = system.program();
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's memcached and redis-server may be outside an ordinary user's path, and its PostgreSQL is outside of all.
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = places.map(|place| place.join(program)).find(|file| file.is_file());
    let found = match system {
        // Its tools lie beside the program itself, not beside a link to it.
        System::Postgres => found.and_then(|file| file.canonicalize().ok()).or_else(postgres::find),
        System::Zookeeper => found.filter(|_| Path::new(zookeeper::JAR).is_file()),
        _ => found,
    };
    let name = system.name();
    let found = found.ok_or_else(|| exit(UNAVAILABLE, format!("{name}: not installed: {how}")))?;
    if system == System::NatsSync {
        let version = process::version(&found, system)?;
        if !nats::can_sync(&version) {
            let found = found.display();
            let why =
                format!("{name}: {found} is {version}, and sync_interval came with 2.10: put a newer one into PATH");
            return Err(exit(UNAVAILABLE, why));
        }
    }
    Ok(found)
}

fn find_own(named: Option<&Path>) -> Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("dropstone"));
    let file = named.map(Path::to_owned).or_else(beside).filter(|file| file.is_file());
    file.ok_or_else(|| {
        let what = match named {
            Some(named) => format!("there is no {}", named.display()),
            None => "there is no dropstone beside this program".to_owned(),
        };
        exit(UNAVAILABLE, format!("dropstone: {what}: {}", System::Dropstone.program().1))
    })
}

fn fresh_dir(parent: &Path, system: System) -> Result<PathBuf> {
    for number in 0..1000 {
        let dir = parent.join(format!("dropstone-compare-{}-{}-{number}", system.name(), std::process::id()));
        match std::fs::create_dir(&dir) {
            Ok(()) => return std::fs::canonicalize(&dir).with_context(|| format!("could not find {}", dir.display())),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("could not make {}; name another directory with --dir", dir.display()));
            }
        }
    }
    bail!("{} is full of directories of earlier runs; remove them", parent.display())
}

/// `count` free ports in a row: free a moment ago.
fn free_ports(count: u16) -> Result<u16> {
    let seed =
        base::mix64(u64::from(std::process::id()) << 32 | u64::from(std::time::UNIX_EPOCH.elapsed()?.subsec_nanos()));
    for attempt in 0..500 {
        let draw = base::mix64(seed ^ attempt) % u64::from(PORTS.end - PORTS.start - count);
        let first = PORTS.start + draw as u16;
        if (first..first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("found no {count} free ports in a row between {} and {}", PORTS.start, PORTS.end)
}

/// On this machine.
fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A directory as an argument of a program.
fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is not UTF-8; name another with --dir", path.display()))
}

#[cfg(test)]
mod tests;
