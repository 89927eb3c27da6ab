//! The configuration of a notifier: the table `[notify]` of a TOML file, parsed once, unknown keys refused.
//!
//! ```toml
//! [notify]
//! targets = ["10.0.0.1:7100", "10.0.0.2:7100", "10.0.0.3:7100"]   # metaservers to begin with
//! admin_listen = "127.0.0.1:7449"       # /metrics, /livez, /readyz; loopback only. Default: none
//!
//! [notify.hub]                          # this process is a hub
//! listen = "10.0.0.7:7450"              # where edges reach it; own network only: it has no TLS
//! place = 0                             # it hears the namespaces of this place ... Default: 0
//! places = 1                            # ... of so many; the same on all hubs and edges. Default: 1
//!
//! [notify.edge]                         # this process is an edge
//! listen = "10.0.0.7:7445"              # where clients reach it; HTTPS
//! hubs = [["10.0.0.7:7450", "10.0.0.8:7450"]]   # of each place the hubs in order of preference
//! server_id = 4                         # from 1, unique among all servers of the cluster
//! secret_file = "/etc/dropstone/secret" # 64 hex digits, the same on all servers, mode 0400
//! certificate = "/etc/dropstone/notify.pem"     # the chain; without it and `key`: HTTP, on loopback only
//! key = "/etc/dropstone/notify.key"
//! watchers_max = 100000                 # clients that wait; beyond it they are told to come back later. Default as here
//! jitter_percent = 10                   # by which a wait may be longer than asked for. Default as here, at most 100
//! drain_s = 10                          # at a stop those who wait are woken, spread over so long. Default as here
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stone::config::{ConfigError, is_host_and_port, read};

const WATCHERS_MAX_DEFAULT: usize = 100_000;
const JITTER_PERCENT_DEFAULT: u64 = 10;
const DRAIN_S_DEFAULT: u64 = 10;
/// More places than a cluster has cores make no sense.
const PLACES_MAX: u16 = 64;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// `host:port` of metaservers; at least one.
    pub targets: Vec<String>,
    /// Where it tells of itself.
    pub admin_listen: Option<SocketAddr>,
    /// It is a hub.
    pub hub: Option<HubConfig>,
    /// It is an edge.
    pub edge: Option<EdgeConfig>,
}

/// Of a hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// Where edges reach it; port 0 takes a free one.
    pub listen: SocketAddr,
    /// From 0.
    #[serde(default)]
    pub place: u16,
    /// At least 1.
    #[serde(default = "one_place")]
    pub places: u16,
}

/// Of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// Where clients reach it; `None`: its routes go into another listener.
    pub listen: Option<Listen>,
    /// Of each place the hubs, in order of preference.
    pub hubs: Vec<Vec<String>>,
    /// Clients that wait.
    pub watchers_max: usize,
    /// By which a wait may be longer. Unit: percent.
    pub jitter_percent: u64,
    /// How long a stop takes to wake those who wait. Unit: seconds.
    pub drain_s: u64,
}

/// A port of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    /// Its number, from 1; unique among all servers of the cluster.
    pub server_id: u64,
    /// The cluster's secret.
    pub secret_file: PathBuf,
    /// A chain and its key; `None`: HTTP on loopback.
    pub tls: Option<(PathBuf, PathBuf)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    notify: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    targets: Vec<String>,
    admin_listen: Option<SocketAddr>,
    hub: Option<HubConfig>,
    edge: Option<EdgeTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeTable {
    listen: SocketAddr,
    hubs: Vec<Vec<String>>,
    server_id: u64,
    secret_file: PathBuf,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    watchers_max: Option<usize>,
    jitter_percent: Option<u64>,
    drain_s: Option<u64>,
}

const fn one_place() -> u16 {
    1
}

impl NotifyConfig {
    /// Reads and checks a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn load(path: &Path) -> Result<NotifyConfig, ConfigError> {
        NotifyConfig::parse(&read(path)?)
    }

    /// Parses and checks the text of a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn parse(text: &str) -> Result<NotifyConfig, ConfigError> {
        let File { notify: Table { targets, admin_listen, hub, edge } } = toml::from_str(text)?;
        let edge = edge.map(EdgeTable::checked).transpose()?;
        let config = NotifyConfig { targets, admin_listen, hub, edge };
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot.
    ///
    /// Errors: [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |table, key, why| Err(ConfigError::Value { table, key, why });
        if self.targets.is_empty() {
            return bad("notify", "targets", "is empty; name the client address of at least one metaserver");
        }
        if self.targets.iter().any(|target| !is_host_and_port(target)) {
            return bad("notify", "targets", "has an entry that is not host:port");
        }
        if self.admin_listen.is_some_and(|address| !address.ip().is_loopback()) {
            return bad("notify", "admin_listen", "is not a loopback address, and this port asks nobody who they are");
        }
        if let Some(hub) = &self.hub {
            if !(1..=PLACES_MAX).contains(&hub.places) {
                return bad("notify.hub", "places", "is not 1 to 64");
            }
            if hub.place >= hub.places {
                return bad("notify.hub", "place", "is not below places; they begin with 0");
            }
        }
        match &self.edge {
            Some(edge) => edge.check(),
            None if self.hub.is_none() => bad("notify", "edge", "is missing, and so is hub; one of them is wanted"),
            None => Ok(()),
        }
    }
}

impl EdgeTable {
    fn checked(self) -> Result<EdgeConfig, ConfigError> {
        let tls = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) if self.listen.ip().is_loopback() => None,
            _ => {
                let why = "and key are wanted, both; without them an edge listens on loopback only";
                return Err(ConfigError::Value { table: "notify.edge", key: "certificate", why });
            }
        };
        let listen = Listen { address: self.listen, server_id: self.server_id, secret_file: self.secret_file, tls };
        Ok(EdgeConfig {
            listen: Some(listen),
            hubs: self.hubs,
            watchers_max: self.watchers_max.unwrap_or(WATCHERS_MAX_DEFAULT),
            jitter_percent: self.jitter_percent.unwrap_or(JITTER_PERCENT_DEFAULT),
            drain_s: self.drain_s.unwrap_or(DRAIN_S_DEFAULT),
        })
    }
}

impl EdgeConfig {
    /// An edge whose routes go into another listener.
    #[must_use]
    pub fn inside(hub: String) -> EdgeConfig {
        EdgeConfig {
            listen: None,
            hubs: vec![vec![hub]],
            watchers_max: WATCHERS_MAX_DEFAULT,
            jitter_percent: JITTER_PERCENT_DEFAULT,
            drain_s: 0,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, why| Err(ConfigError::Value { table: "notify.edge", key, why });
        if self.hubs.is_empty() || self.hubs.len() > usize::from(PLACES_MAX) || self.hubs.iter().any(Vec::is_empty) {
            return bad("hubs", "has not at least one hub for each of 1 to 64 places");
        }
        if self.hubs.iter().flatten().any(|hub| !is_host_and_port(hub)) {
            return bad("hubs", "has an entry that is not host:port");
        }
        if self.watchers_max == 0 {
            return bad("watchers_max", "is 0; nobody could wait");
        }
        if self.jitter_percent > 100 {
            return bad("jitter_percent", "is above 100");
        }
        if self.drain_s > 600 {
            return bad("drain_s", "is above 600");
        }
        match &self.listen {
            Some(listen) if listen.server_id == 0 => bad("server_id", "is 0; numbers begin with 1"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[notify]\ntargets = [\"10.0.0.1:7100\"]\n[notify.hub]\nlisten = \"10.0.0.7:7450\"\n\
        [notify.edge]\nlisten = \"10.0.0.7:7445\"\nhubs = [[\"10.0.0.7:7450\"]]\nserver_id = 4\nsecret_file = \"/s\"\n\
        certificate = \"/c\"\nkey = \"/k\"\n";

    #[test]
    fn a_good_file_is_taken_with_its_defaults() {
        let config = NotifyConfig::parse(GOOD).expect("good");
        let (hub, edge) = (config.hub.expect("a hub"), config.edge.expect("an edge"));
        assert_eq!((hub.place, hub.places), (0, 1));
        assert_eq!((edge.watchers_max, edge.jitter_percent, edge.drain_s), (100_000, 10, 10));
        let hub_alone = GOOD.split("[notify.edge]").next().expect("the first half");
        assert_eq!(NotifyConfig::parse(hub_alone).expect("good").edge, None);
    }

    #[test]
    fn a_bad_value_is_named() {
        let bad = |from: &str, to: &str| NotifyConfig::parse(&GOOD.replace(from, to)).expect_err("bad").to_string();
        assert!(bad("server_id = 4", "server_id = 0").contains("notify.edge.server_id is 0"));
        assert!(bad("[\"10.0.0.1:7100\"]", "[]").contains("notify.targets is empty"));
        assert!(bad("[[\"10.0.0.7:7450\"]]", "[[]]").contains("notify.edge.hubs has not"));
        assert!(bad("[[\"10.0.0.7:7450\"]]", "[[\"hub\"]]").contains("notify.edge.hubs has an entry"));
        assert!(bad("[notify.edge]", "place = 1\n[notify.edge]").contains("notify.hub.place is not below"));
        assert!(bad("[notify.edge]", "places = 0\n[notify.edge]").contains("notify.hub.places is not 1 to 64"));
        assert!(bad("key = \"/k\"\n", "").contains("notify.edge.certificate and key are wanted"));
        assert!(bad("server_id", "servre_id").contains("unknown field"));
        let admin = "admin_listen = \"0.0.0.0:1\"\n[notify.hub]";
        assert!(bad("[notify.hub]", admin).contains("notify.admin_listen is not a loopback"));
        assert!(
            NotifyConfig::parse("[notify]\ntargets = [\"a:1\"]\n").expect_err("empty").to_string().contains("edge")
        );
    }
}
