//! From text with origins to checked values: every bound of the configuration is judged here, once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use base::limits::{CORES_MAX, GROUPS_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, VOTERS_MAX};
use base::{ClusterId, NodeId};
use reactor::BackendWish;
use shard::MachineKind;

use super::schema::{Setting, find, settings};
use super::source::{ConfigError, Layer, Origin};
use super::{Address, ClusterConfig, Loaded, NodeConfig, NodeSeed, Pin, ProcessConfig, Profile};

const MEMTABLE_BYTES_MIN: u64 = 1 << 20;
const MEMTABLE_BYTES_MAX: u64 = 4 << 30;
/// The largest free space that may be kept back.
const SPACE_RESERVE_BYTES_MAX: u64 = 1 << 40;
const SPACE_RESERVE_PERCENT_MAX: u64 = 50;
/// Below this a cache turns over too fast to be of use.
const CACHE_BYTES_MIN: u64 = 64 << 20;
const CACHE_BYTES_MAX: u64 = 1 << 40;
const FLIGHT_BYTES_MAX: u64 = 1 << 30;
/// The fastest scrub.
const SCRUB_BYTES_MAX: u64 = 4 << 30;
const TRAILING_ENTRIES_MAX: u64 = 10_000_000;
const HEARTBEAT_MS_MIN: u32 = 5;
const TIMEOUT_MS_MAX: u32 = 60_000;
const WAIT_S_MAX: u64 = 86_400;
const KEEP_DAYS_MAX: u64 = 36_500;

/// The defaults of a profile.
pub(super) fn defaults(profile: Profile) -> NodeConfig {
    let mut layer = Layer::new();
    layer.insert("process.profile", (profile.name().to_owned(), Origin::Default));
    build(layer).expect("built-in defaults are valid; a test builds every profile").config
}

/// Completes `found` by defaults and checks everything.
pub(super) fn build(found: Layer) -> Result<Loaded, ConfigError> {
    let profile = profile(&found)?;
    let values = Values { found, profile };
    let cluster = cluster(&values)?;
    let process = process(&values, &cluster)?;
    let shown = settings().iter().map(|setting| {
        let (text, origin) = values.of(setting.key);
        (setting.key, text, origin)
    });
    let shown = shown.collect();
    Ok(Loaded { config: NodeConfig { cluster, process }, values: shown, found: values.found })
}

fn profile(found: &Layer) -> Result<Profile, ConfigError> {
    let Some((text, origin)) = found.get("process.profile") else { return Ok(Profile::Server) };
    match text.as_str() {
        "dev" => Ok(Profile::Dev),
        "shared" => Ok(Profile::Shared),
        "server" => Ok(Profile::Server),
        _ => Err(invalid(origin.clone(), "process.profile", text, "is not dev, shared or server")),
    }
}

fn cluster(values: &Values) -> Result<ClusterConfig, ConfigError> {
    let cores = values.number("cluster.cores", 1, u64::from(CORES_MAX))? as u16;
    let groups = values.number("cluster.groups", u64::from(cores), u64::from(GROUPS_MAX))? as u32;
    let timeout_max = u64::from(TIMEOUT_MS_MAX);
    let heartbeat_ms = values.number("cluster.heartbeat_ms", u64::from(HEARTBEAT_MS_MIN), timeout_max / 10)? as u32;
    let election_ms_min =
        values.number("cluster.election_ms_min", u64::from(heartbeat_ms) * 3, timeout_max / 2)? as u32;
    let election_ms_max = values.number("cluster.election_ms_max", u64::from(election_ms_min) + 1, timeout_max)? as u32;
    let nodes = nodes(values)?;
    Ok(ClusterConfig {
        id: cluster_id(values)?,
        groups,
        cores,
        machine: machine(values)?,
        election_ms_min,
        election_ms_max,
        heartbeat_ms,
        lease: values.is_on("cluster.lease")?,
        quiesce_after_s: values.number("cluster.quiesce_after_s", 0, WAIT_S_MAX)? as u32,
        promote_learners: values.is_on("cluster.promote_learners")?,
        doubt_wait_s: values.number("cluster.doubt_wait_s", 0, WAIT_S_MAX)? as u32,
        keep_days: values.number("cluster.keep_days", 1, KEEP_DAYS_MAX)? as u32,
        nodes,
    })
}

fn machine(values: &Values) -> Result<MachineKind, ConfigError> {
    let (text, _) = values.of("cluster.machine");
    MachineKind::of_name(&text).ok_or_else(|| values.wrong("cluster.machine", "is not files or null"))
}

fn cluster_id(values: &Values) -> Result<Option<ClusterId>, ConfigError> {
    let (text, _) = values.of("cluster.id");
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| values.wrong("cluster.id", "is not 32 hex digits, as `format --new-id` prints"))
}

fn nodes(values: &Values) -> Result<Vec<NodeSeed>, ConfigError> {
    const KEY: &str = "cluster.nodes";
    let (text, origin) = values.of(KEY);
    let fail = |value: &str, why: String| Err(invalid(origin.clone(), KEY, value, &why));
    let mut nodes: Vec<NodeSeed> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let parts = entry.split_once('=').and_then(|(id, rest)| Some((id, rest.split_once('/')?)));
        let Some((id, (peer, client))) = parts else {
            return fail(entry, "is not ID=PEER/CLIENT, for example 1=10.0.0.1:7201/10.0.0.1:7100".to_owned());
        };
        let (Ok(id), Ok(peer), Ok(client)) = (id.trim().parse::<u64>(), peer.parse::<Address>(), client.parse()) else {
            return fail(entry, "wants a number as id and host:port as peer and client".to_owned());
        };
        if id == 0 {
            return fail(entry, "has id 0, which is no node; ids begin at 1".to_owned());
        }
        if nodes.iter().any(|seed| seed.id.0 == id) {
            return fail(entry, format!("names node {id} twice; every node has its own id"));
        }
        nodes.push(NodeSeed { id: NodeId(id), peer, client });
    }
    if nodes.len() > VOTERS_MAX {
        return fail(&format!("({} entries)", nodes.len()), format!("has more than {VOTERS_MAX} nodes"));
    }
    nodes.sort_by_key(|seed| seed.id);
    Ok(nodes)
}

fn process(values: &Values, cluster: &ClusterConfig) -> Result<ProcessConfig, ConfigError> {
    let node = match values.of("process.node") {
        (text, _) if text.is_empty() => None,
        _ => Some(NodeId(values.number("process.node", 1, u64::MAX)?)),
    };
    let seed = node.and_then(|node| cluster.nodes.iter().find(|seed| seed.id == node));
    let cores = cluster.cores;
    // A node that is in the list listens where the list says, unless told otherwise.
    let client_port = match (values.is_default("process.client_port"), seed) {
        (true, Some(seed)) => seed.client.port,
        _ => values.port("process.client_port", cores)?,
    };
    let peer_port = match (values.is_default("process.peer_port"), seed) {
        (true, Some(seed)) => seed.peer.port,
        _ => values.port("process.peer_port", cores)?,
    };
    let own_ip = seed.and_then(|seed| seed.peer.host.parse::<IpAddr>().ok());
    let listen = match (values.is_default("process.listen"), own_ip) {
        (true, Some(ip)) => ip,
        _ => values.ip("process.listen")?,
    };
    check_ports(values, client_port, peer_port, cores)?;
    let segment_bytes = values.bytes("process.segment_bytes", SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
    if !segment_bytes.is_power_of_two() {
        return Err(values.wrong("process.segment_bytes", "is not a power of two; try \"64 MiB\""));
    }
    Ok(ProcessConfig {
        node,
        profile: values.profile,
        data_dir: values.path("process.data_dir")?,
        listen,
        client_port,
        peer_port,
        admin_port: values.number("process.admin_port", 0, 65_535)? as u16,
        memcache_listen: memcache_listen(values)?,
        flight_bytes: values.bytes("process.flight_bytes", 0, FLIGHT_BYTES_MAX)?,
        segment_bytes,
        log_backend: log_backend(values)?,
        log_batches_in_flight: values.number("process.log_batches_in_flight", 1, 2)? as u8,
        memtable_bytes: values.bytes("process.memtable_bytes", MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX)?,
        cache_bytes: cache_bytes(values)?,
        space_reserve_bytes: values.bytes("process.space_reserve_bytes", 0, SPACE_RESERVE_BYTES_MAX)?,
        space_reserve_percent: values.number("process.space_reserve_percent", 0, SPACE_RESERVE_PERCENT_MAX)?,
        scrub_bytes_per_second: values.bytes("process.scrub_bytes_per_second", 0, SCRUB_BYTES_MAX)?,
        balance_leaders: values.is_on("process.balance_leaders")?,
        log_trailing_entries: values.number("process.log_trailing_entries", 1, TRAILING_ENTRIES_MAX)?,
        pin: pin(values)?,
        log_level: values.of("process.log_level").0,
    })
}

fn cache_bytes(values: &Values) -> Result<u64, ConfigError> {
    const KEY: &str = "process.cache_bytes";
    match values.bytes(KEY, 0, CACHE_BYTES_MAX)? {
        1..CACHE_BYTES_MIN => Err(values.wrong(KEY, "is below 64 MiB, the least that is of use; 0 is no cache")),
        bytes => Ok(bytes),
    }
}

/// Client ports are `client ..= client + cores`, peer ports `peer .. peer + cores`; they must not meet.
fn check_ports(values: &Values, client: u16, peer: u16, cores: u16) -> Result<(), ConfigError> {
    let (client, peer, cores) = (u32::from(client), u32::from(peer), u32::from(cores));
    let meets = client < peer + cores && peer <= client + cores;
    let above = client + cores > 65_535 || peer + cores > 65_536;
    if meets || above {
        let why = format!(
            "with client_port {client} and {cores} cores: client ports are {client} to {}, peer ports {peer} to {}; \
             they must not meet nor pass 65535",
            client + cores,
            peer + cores - 1
        );
        let (text, origin) = values.of("process.peer_port");
        return Err(invalid(origin, "process.peer_port", &text, &why));
    }
    Ok(())
}

fn memcache_listen(values: &Values) -> Result<Option<SocketAddr>, ConfigError> {
    const KEY: &str = "memcache.listen";
    let (text, _) = values.of(KEY);
    if text.is_empty() {
        return Ok(None);
    }
    match text.trim().parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(Some(address)),
        _ => Err(values.wrong(KEY, "is not an IP address and a port; write for example 127.0.0.1:11211")),
    }
}

fn log_backend(values: &Values) -> Result<BackendWish, ConfigError> {
    let (text, _) = values.of("process.log_backend");
    text.parse().map_err(|_| values.wrong("process.log_backend", "is not auto, direct, pwrite or mmap"))
}

fn pin(values: &Values) -> Result<Pin, ConfigError> {
    let (text, _) = values.of("process.pin");
    match text.as_str() {
        "auto" => Ok(Pin::Auto),
        "off" => Ok(Pin::Off),
        list => match list.split(',').map(|item| item.trim().parse::<usize>()).collect::<Result<Vec<_>, _>>() {
            Ok(processors) if processors.iter().all(|processor| *processor < 4096) => Ok(Pin::List(processors)),
            _ => Err(values.wrong("process.pin", "is not auto, off or a list of processors such as 2,3")),
        },
    }
}

/// The merged values.
struct Values {
    found: Layer,
    profile: Profile,
}

impl Values {
    /// Text and origin of a key that the schema has.
    fn of(&self, key: &'static str) -> (String, Origin) {
        if let Some((text, origin)) = self.found.get(key) {
            return (text.clone(), origin.clone());
        }
        let setting: &Setting = find(key).expect("every key read here is in the schema; a test reads them all");
        let special = match self.profile {
            Profile::Dev => setting.dev,
            Profile::Shared => setting.shared,
            Profile::Server => None,
        };
        match special {
            Some(text) => (text.to_owned(), Origin::Profile(self.profile.name())),
            None => (setting.default.to_owned(), Origin::Default),
        }
    }

    fn is_default(&self, key: &'static str) -> bool {
        !self.found.contains_key(key)
    }

    fn wrong(&self, key: &'static str, why: &str) -> ConfigError {
        let (text, origin) = self.of(key);
        invalid(origin, key, &text, why)
    }

    fn is_on(&self, key: &'static str) -> Result<bool, ConfigError> {
        match self.of(key).0.as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.wrong(key, "is not \"on\" or \"off\"")),
        }
    }

    fn number(&self, key: &'static str, min: u64, max: u64) -> Result<u64, ConfigError> {
        let (text, _) = self.of(key);
        match text.trim().parse::<u64>() {
            Ok(number) if min <= number && number <= max => Ok(number),
            Ok(_) => Err(self.wrong(key, &format!("is out of bounds; it goes from {min} to {max}"))),
            Err(_) => Err(self.wrong(key, "is not a whole number")),
        }
    }

    fn bytes(&self, key: &'static str, min: u64, max: u64) -> Result<u64, ConfigError> {
        let (text, _) = self.of(key);
        match parse_bytes(&text) {
            Some(bytes) if min <= bytes && bytes <= max => Ok(bytes),
            Some(_) => Err(self.wrong(key, &format!("is out of bounds; it goes from {min} to {max} bytes"))),
            None => Err(self.wrong(key, "is not a number of bytes; write 8388608 or \"8 MiB\"")),
        }
    }

    fn port(&self, key: &'static str, above: u16) -> Result<u16, ConfigError> {
        Ok(self.number(key, 1, u64::from(u16::MAX - above))? as u16)
    }

    fn ip(&self, key: &'static str) -> Result<IpAddr, ConfigError> {
        let (text, _) = self.of(key);
        text.trim().parse().map_err(|_| self.wrong(key, "is not an IP address; write for example 10.0.0.1 or 0.0.0.0"))
    }

    fn path(&self, key: &'static str) -> Result<PathBuf, ConfigError> {
        let (text, _) = self.of(key);
        if text.is_empty() || text.contains('\0') {
            return Err(self.wrong(key, "is not a path"));
        }
        Ok(PathBuf::from(text))
    }
}

fn invalid(origin: Origin, key: &'static str, value: &str, why: &str) -> ConfigError {
    let value = if value.is_empty() { "\"\"" } else { value };
    ConfigError::Invalid { origin, key, value: value.to_owned(), why: why.to_owned() }
}

/// `8388608`, `8 MiB`, `8MiB`.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = match text.strip_suffix("iB").map(|rest| rest.split_at(rest.len().saturating_sub(1))) {
        Some((digits, "K")) => (digits, 10),
        Some((digits, "M")) => (digits, 20),
        Some((digits, "G")) => (digits, 30),
        Some(_) => return None,
        None => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}
