//! The checked configuration of one machine: `[cluster]` must be equal on all nodes, `[process]` is this machine's own.
//! A block server has a file of its own (`blocks::BlockConfig`).
//!
//! Order, later wins: built-in default < profile < file < environment. Every value keeps its origin.
//! Shape, defaults and minimums of every key: [`settings`]. Source: docs/design/operations.md 3 and 4.
//!
//! ```text
//!  node.toml ─┐
//!  environment┼─▶ Layers (text + origin per key) ─▶ build ─▶ NodeConfig (checked, immutable afterwards)
//!  defaults  ─┘
//! ```

mod build;
mod schema;
mod source;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::mono::Span;
use base::{ClusterId, NodeId};
use reactor::BackendWish;
use shard::MachineKind;

pub use schema::{Kind, Setting, settings};
pub use source::{ConfigError, Origin};

/// What one process runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Equal on all nodes; only `nodes` may differ.
    pub cluster: ClusterConfig,
    /// This machine's own.
    pub process: ProcessConfig,
}

/// What all nodes must agree on; [`ClusterConfig::hash`] is in the peer hello. What is not in the hash may be changed by
/// restarting one node after another: meanwhile each leader acts by its own value, and no promise depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster, where the file names it; a data directory of another one is refused. Not in the hash: the hello has
    /// the identity's own.
    pub id: Option<ClusterId>,
    /// Raft groups, fixed at format. Invariant: `cores <= groups <= GROUPS_MAX`.
    pub groups: u32,
    /// Cores (shards) of every node, fixed at format. Invariant: `1 <= cores <= CORES_MAX`.
    pub cores: u16,
    /// What becomes of committed commands, fixed at format. In the hash where it is not `files`.
    pub machine: MachineKind,
    /// Shortest election timeout. Units: milliseconds. Invariant: at least three heartbeats.
    pub election_ms_min: u32,
    /// Longest election timeout. Units: milliseconds. Invariant: above `election_ms_min`.
    pub election_ms_max: u32,
    /// Time between heartbeats of an idle leader. Units: milliseconds.
    pub heartbeat_ms: u32,
    /// A leader serves reads under its lease, nine tenths of `election_ms_min` long; else each read takes a round. Not in
    /// the hash.
    pub lease: bool,
    /// A group that nobody used for so long rests; 0 is never. Units: seconds. Not in the hash.
    pub quiesce_after_s: u32,
    /// The leader makes a voter of every learner that has caught up. Not in the hash.
    pub promote_learners: bool,
    /// A doubt about the log's last frame ends so long after a quorum was heard; 0 is never: it then waits for whoever
    /// holds the frame. Units: seconds. Not in the hash.
    pub doubt_wait_s: u32,
    /// Rows of the journal are kept so long, and with them replaced revisions, deleted files and cursors. Units: days. Not
    /// in the hash.
    pub keep_days: u32,
    /// The members to start from, ascending by id; not in the hash, because members change later.
    pub nodes: Vec<NodeSeed>,
}

/// One member of the list to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeed {
    /// Its id, not 0.
    pub id: NodeId,
    /// Base of its peer ports: core `c` listens on `port + c`.
    pub peer: Address,
    /// Its shared client port: core `c` listens on `port + 1 + c` as well.
    pub client: Address,
}

/// What is this machine's own choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The node id, where a file names it; the identity of the data directory decides, and must agree.
    pub node: Option<NodeId>,
    /// What the defaults came from.
    pub profile: Profile,
    /// Where identity, log and store live.
    pub data_dir: PathBuf,
    /// The address all ports bind to. Default: the IP address of this node's own entry, else loopback.
    pub listen: IpAddr,
    /// Shared client port; core `c` listens on `client_port + 1 + c` as well.
    pub client_port: u16,
    /// Base of the peer ports; core `c` listens on `peer_port + c`.
    pub peer_port: u16,
    /// The admin port (HTTP: metrics, profile), on loopback alone; 0: none.
    pub admin_port: u16,
    /// Where the memcached port listens, on all cores; none by default. It asks nobody who he is: whoever reaches it reads
    /// the metadata of all accounts.
    pub memcache_listen: Option<SocketAddr>,
    /// Bytes of a core's flight ring; 0: none.
    pub flight_bytes: u64,
    /// Bytes of one log segment, fixed at format. Invariant: a power of two.
    pub segment_bytes: u64,
    /// How frames reach the log's files.
    pub log_backend: BackendWish,
    /// Batches of frames on their way to the disk, 1 or 2.
    pub log_batches_in_flight: u8,
    /// Bytes of one core's memtable before it is flushed.
    pub memtable_bytes: u64,
    /// Bytes of the read cache, of all cores together; 0: none.
    pub cache_bytes: u64,
    /// Free bytes of the data's file system below which nothing more is taken in: the larger of this and the share below.
    pub space_reserve_bytes: u64,
    /// Share of the file system that is reserved likewise. Unit: percent.
    pub space_reserve_percent: u64,
    /// Bytes a second that a core reads of its tables to find damage, all of them once a day; 0: none.
    pub scrub_bytes_per_second: u64,
    /// This node gives leaderships away where it leads more than others.
    pub balance_leaders: bool,
    /// Entries of a group kept behind its last checkpoint, so that a slow follower needs no snapshot.
    pub log_trailing_entries: u64,
    /// Which processors core threads stay on.
    pub pin: Pin,
    /// The log filter, as `tracing` reads it: `info`, `server=debug,info`.
    pub log_level: String,
}

/// A set of defaults for a kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A laptop: small segments and memtables, no pinning.
    Dev,
    /// A small or shared virtual machine: no pinning.
    Shared,
    /// A dedicated machine.
    Server,
}

impl Profile {
    /// Its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::Dev => "dev",
            Profile::Shared => "shared",
            Profile::Server => "server",
        }
    }
}

/// Which processors core threads stay on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Core `c` on processor `c`, as long as there are enough; one is left free when there are more than two.
    Auto,
    /// The system decides.
    Off,
    /// Core `c` on the `c`-th of these, repeating.
    List(Vec<usize>),
}

/// A host and a port, not yet resolved. Shape: `host:port`, `[v6]:port`; the host is not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text was no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address; write host:port, for example 10.0.0.1:7100")]
pub struct AddressError(pub String);

impl NodeConfig {
    /// Reads `file` and the environment over the defaults.
    ///
    /// Errors: [`ConfigError`] names file, line and key, and the nearest valid key when one is unknown.
    pub fn load(file: &Path) -> Result<NodeConfig, ConfigError> {
        Ok(Loaded::read(file, std::env::vars_os())?.config)
    }

    /// The defaults of a profile, with nothing read from outside.
    #[must_use]
    pub fn of_profile(profile: Profile) -> NodeConfig {
        build::defaults(profile)
    }

    /// This node's entry in the list to start from.
    #[must_use]
    pub fn seed(&self, node: NodeId) -> Option<&NodeSeed> {
        self.cluster.nodes.iter().find(|seed| seed.id == node)
    }
}

impl ClusterConfig {
    /// When old rows go as this configuration sets it; all else by default.
    #[must_use]
    pub fn keep(&self) -> shard::Keep {
        shard::Keep { journal_ms: u64::from(self.keep_days) * 24 * 60 * 60 * 1000, ..shard::Keep::default() }
    }

    /// The times of consensus as this configuration sets them; all else by default.
    #[must_use]
    pub fn raft_settings(&self) -> raft::Settings {
        let ms = |ms: u32| Span::from_ms(u64::from(ms));
        let never_or = |s: u32| (s > 0).then(|| Span::from_ms(u64::from(s) * 1_000));
        let election_min = ms(self.election_ms_min);
        raft::Settings {
            heartbeat: ms(self.heartbeat_ms),
            election_min,
            election_max: ms(self.election_ms_max),
            lease: self.lease.then(|| raft::Settings::lease_for(election_min)).flatten(),
            quiesce_after: never_or(self.quiesce_after_s),
            promote_learners: self.promote_learners,
            doubt_wait: never_or(self.doubt_wait_s),
            ..raft::Settings::default()
        }
    }

    /// CRC-32C of the values that must match on all nodes; a link whose two ends differ is refused.
    ///
    /// ```text
    /// 0 format u16 = 1   2 cores u16   4 groups u32   8 election_ms_min u32   12 election_ms_max u32   16 heartbeat_ms u32
    /// 20 u32 1, of a null machine alone
    /// ```
    #[must_use]
    pub fn hash(&self) -> u32 {
        let mut bytes = Vec::with_capacity(20);
        bytes.extend_from_slice(&1u16.to_le_bytes());
        bytes.extend_from_slice(&self.cores.to_le_bytes());
        for value in [self.groups, self.election_ms_min, self.election_ms_max, self.heartbeat_ms] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        if self.machine.is_null() {
            bytes.extend_from_slice(&1u32.to_le_bytes());
        }
        base::checksum::crc32c(&bytes)
    }
}

/// A configuration together with where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked values.
    pub config: NodeConfig,
    /// Every key in the order of [`settings`], its value as text and its origin.
    pub values: Vec<(&'static str, String, Origin)>,
    found: source::Layer,
}

impl Loaded {
    /// As [`NodeConfig::load`], with the environment given; only `DROPSTONE_SECTION__KEY` variables are looked at.
    pub fn read(
        file: &Path,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let text = source::read_file(file)?;
        Loaded::parse(&text, &file.display().to_string(), environment)
    }

    /// As [`Loaded::read`], from text; `name` stands in errors.
    pub fn parse(
        text: &str,
        name: &str,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let mut found = source::from_toml(text, name)?;
        found.extend(source::from_environment(environment)?);
        build::build(found)
    }

    /// The configuration for the node that the data directory is, unless the file names one: its entry in
    /// `cluster.nodes` then gives the defaults of `listen`, `client_port` and `peer_port`.
    pub fn for_node(mut self, node: NodeId) -> Result<NodeConfig, ConfigError> {
        self.found.entry("process.node").or_insert_with(|| (node.to_string(), Origin::Identity));
        Ok(build::build(self.found)?.config)
    }
}

impl Address {
    /// The socket address of `port + offset`, resolved now; the first answer wins.
    pub fn resolve(&self, offset: u16) -> io::Result<SocketAddr> {
        let port = self.port.checked_add(offset).ok_or_else(|| io::Error::other("port above 65535"))?;
        (self.host.as_str(), port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address for host {:?}", self.host)))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let bad = || AddressError(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(bad)?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        let port: u16 = port.parse().map_err(|_| bad())?;
        if bare.is_empty() || port == 0 || !bare.chars().all(is_host) {
            return Err(bad());
        }
        Ok(Address { host: bare.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests;
