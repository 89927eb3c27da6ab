//! The configuration of a block server: the table `[block]` of a TOML file, parsed once, unknown keys refused.
//!
//! ```toml
//! [block]
//! listen = "10.0.0.4:7144"                                        # where clients reach it; never 0.0.0.0
//! data_dir = "/var/lib/dropstone"                                 # what is kept beside the blocks
//! store = "file:///var/lib/dropstone/objects"                     # default: DATA_DIR/objects; or s3://bucket/prefix
//! targets = ["10.0.0.1:7100", "10.0.0.2:7100", "10.0.0.3:7100"]   # metaservers to begin with
//! server_id = 1                                                   # from 1, unique among the block servers
//!
//! [block.gc]                                                      # all of it may be left out
//! enabled = true                                                  # may this server collect?
//! grace_days = 14                                                 # younger objects are no candidates; 8 at least
//! trash_days = 7                                                  # in the trash so long, and an hour; as long as backups are kept
//! every_hours = 24                                                # from the end of a cycle to the next
//! objects_per_second = 100                                        # moved or deleted at most
//! scrub_days = 14                                                 # every object is re-hashed once in so long; 0 is never
//!
//! [block.https]                                                   # the content host of the HTTP API; without it there is none
//! listen = "10.0.0.4:7444"                                        # where clients reach it
//! www = "https://files.example.com"                               # what shared links begin with, as the gateways have it
//! secret_file = "/etc/dropstone/secret"                           # 64 hex digits, the same on all servers, mode 0400
//! certificate = "/etc/dropstone/content.pem"                      # the chain
//! key = "/etc/dropstone/content.key"
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stone::config::{ConfigError, is_host_and_port, read};

use crate::gc::Rules;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockConfig {
    /// Where it listens and what it announces; port 0 takes a free one. Not an unspecified address.
    pub listen: SocketAddr,
    /// The object store: a path, `file:///path` or `s3://bucket/prefix`. Default: `objects` in `data_dir`.
    pub store: String,
    /// The directory of the server itself.
    pub data_dir: PathBuf,
    /// `host:port` of metaservers; at least one. The others are learnt from them.
    pub targets: Vec<String>,
    /// Its number among the block servers, from 1.
    pub server_id: u64,
    /// How it collects what nobody refers to.
    pub gc: GcConfig,
    /// The content host of the HTTP API, where this server is one.
    pub https: Option<HttpsConfig>,
}

/// The table `[block.https]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpsConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What shared links begin with, without a slash at the end: the gateways' own.
    pub www: String,
    /// The cluster's secret.
    pub secret_file: PathBuf,
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// The table `[block.gc]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GcConfig {
    /// May this server collect? One at a time does.
    pub enabled: bool,
    /// Objects younger than this are no candidates.
    pub grace_days: u64,
    /// An object stays in the trash so long, and an hour. At least as long as backups are kept.
    pub trash_days: u64,
    /// Hours from the end of a cycle to the next.
    pub every_hours: u64,
    /// Objects moved, deleted or checked a second at most.
    pub objects_per_second: u32,
    /// Every object is re-hashed once in so many days; 0 is never.
    pub scrub_days: u64,
    /// For tests alone: replaces grace, time in the trash and age of tails, in milliseconds. Data that is in use can be
    /// lost with it.
    pub unsafe_short_ms: Option<u64>,
}

impl Default for GcConfig {
    fn default() -> GcConfig {
        GcConfig {
            enabled: true,
            grace_days: 14,
            trash_days: 7,
            every_hours: 24,
            objects_per_second: 100,
            scrub_days: 14,
            unsafe_short_ms: None,
        }
    }
}

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// An upload session lives seven days, and what it has put must not be a candidate meanwhile.
const GRACE_DAYS_MIN: u64 = 8;
/// A mark may take seven days.
const TRASH_DAYS_MIN: u64 = 7;
const DAYS_MAX: u64 = 3650;

impl GcConfig {
    /// The collector's rules.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let rules = Rules {
            grace_ms: self.grace_days * DAY_MS,
            // What saw an object just before it went was recorded within an hour.
            trash_ms: self.trash_days * DAY_MS + HOUR_MS,
            mark_ms_max: 7 * DAY_MS,
            tail_ms: 8 * DAY_MS,
            rest_ms: self.every_hours * HOUR_MS,
            again_ms: 10 * 60 * 1000,
            skew_ms_max: 15 * 60 * 1000,
            names_max: 512 << 10,
        };
        match self.unsafe_short_ms {
            None => rules,
            Some(ms) => Rules { grace_ms: ms, trash_ms: ms, tail_ms: ms, rest_ms: ms, again_ms: ms, ..rules },
        }
    }

    /// A pause of the collector; with [`GcConfig::unsafe_short_ms`] no longer than that.
    pub(crate) fn pause(&self, usual: Duration) -> Duration {
        self.unsafe_short_ms.map_or(usual, |ms| usual.min(Duration::from_millis(ms)))
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, why| Err(ConfigError::Value { table: "block", key, why });
        if !(GRACE_DAYS_MIN..=DAYS_MAX).contains(&self.grace_days) {
            return bad("gc.grace_days", "is below 8 or above 3650; an upload session of 7 days must be over by then");
        }
        if !(TRASH_DAYS_MIN..=DAYS_MAX).contains(&self.trash_days) {
            return bad("gc.trash_days", "is below 7 or above 3650; a mark may take 7 days");
        }
        if !(1..=24 * DAYS_MAX).contains(&self.every_hours) {
            return bad("gc.every_hours", "is 0 or above ten years; turn the collector off with enabled = false");
        }
        if !(1..=100_000).contains(&self.objects_per_second) {
            return bad("gc.objects_per_second", "is 0 or above 100000");
        }
        if self.scrub_days > DAYS_MAX {
            return bad("gc.scrub_days", "is above 3650; 0 turns the scrubber off");
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    block: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: SocketAddr,
    store: Option<String>,
    data_dir: PathBuf,
    targets: Vec<String>,
    server_id: u64,
    #[serde(default)]
    gc: GcConfig,
    https: Option<HttpsConfig>,
}

impl BlockConfig {
    /// Reads and checks a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn load(path: &Path) -> Result<BlockConfig, ConfigError> {
        BlockConfig::parse(&read(path)?)
    }

    /// Parses and checks the text of a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn parse(text: &str) -> Result<BlockConfig, ConfigError> {
        let File { block: Table { listen, store, data_dir, targets, server_id, gc, https } } = toml::from_str(text)?;
        let store = match store {
            Some(store) => store,
            None => {
                let path = data_dir.join("objects").into_os_string();
                let why = "is not UTF-8; name the store";
                path.into_string().map_err(|_| ConfigError::Value { table: "block", key: "data_dir", why })?
            }
        };
        let config = BlockConfig { listen, store, data_dir, targets, server_id, gc, https };
        config.check()?;
        Ok(config)
    }

    /// Refuses values that cannot work; [`crate::start`] calls it too.
    ///
    /// Errors: [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, why| Err(ConfigError::Value { table: "block", key, why });
        if self.listen.ip().is_unspecified() {
            return bad("listen", "is what clients are told to connect to; name this machine's own address");
        }
        if self.targets.is_empty() {
            return bad("targets", "is empty; name at least one metaserver as host:port");
        }
        if self.targets.iter().any(|target| !is_host_and_port(target)) {
            return bad("targets", "has an entry that is not host:port");
        }
        if self.server_id == 0 {
            return bad("server_id", "is 0; block servers count from 1");
        }
        if self.store.is_empty() {
            return bad("store", "is empty; give a path, file:///path or s3://bucket/prefix");
        }
        match &self.https {
            Some(https) if !https.www.starts_with("https://") || https.www.ends_with('/') => {
                return bad("https.www", "does not begin with https:// or ends with a slash");
            }
            _ => {}
        }
        self.gc.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [block]
        listen = "127.0.0.1:7444"
        data_dir = "/data"
        targets = ["127.0.0.1:7100", "meta.example:7100"]
        server_id = 1
    "#;

    #[test]
    fn a_good_file_is_taken_and_the_store_defaults_to_the_data_directory() {
        let config = BlockConfig::parse(GOOD).unwrap();
        assert_eq!(config.store, "/data/objects");
        assert_eq!((config.targets.len(), &config.gc), (2, &GcConfig::default()));
        assert_eq!(config.gc.rules().trash_ms, (7 * 24 + 1) * 60 * 60 * 1000);
        let named = GOOD.replace("server_id", "store = \"s3://bucket/prefix\"\nserver_id");
        assert_eq!(BlockConfig::parse(&named).unwrap().store, "s3://bucket/prefix");
    }

    const HTTPS: &str = r#"
        [block.https]
        listen = "127.0.0.1:7445"
        www = "https://files.example"
        secret_file = "/etc/secret"
        certificate = "/etc/chain.pem"
        key = "/etc/key.pem"
    "#;

    #[test]
    fn a_content_host_is_a_table_of_its_own() {
        assert_eq!(BlockConfig::parse(GOOD).unwrap().https, None);
        let https = BlockConfig::parse(&format!("{GOOD}{HTTPS}")).unwrap().https.unwrap();
        assert_eq!((https.listen.port(), &https.www[..]), (7445, "https://files.example"));
        for (from, to) in [("https://files", "http://files"), (".example", ".example/")] {
            let refused = BlockConfig::parse(&format!("{GOOD}{}", HTTPS.replace(from, to))).unwrap_err().to_string();
            assert!(refused.contains("block.https.www"), "{refused}");
        }
        assert!(BlockConfig::parse(&format!("{GOOD}{}", HTTPS.replace("key =", "kee ="))).is_err());
    }

    #[test]
    fn unknown_keys_and_tables_are_refused_by_name() {
        for extra in ["\nstroe = 1", "\n[other]\nx = 1"] {
            let refused = BlockConfig::parse(&format!("{GOOD}{extra}")).unwrap_err().to_string();
            assert!(refused.contains("unknown field"), "{refused}");
        }
    }

    #[test]
    fn values_that_cannot_work_are_refused_with_their_key() {
        let cases = [
            ("127.0.0.1:7444", "0.0.0.0:7444", "block.listen"),
            ("\"127.0.0.1:7100\", \"meta.example:7100\"", "", "block.targets"),
            ("meta.example:7100", "meta.example", "block.targets"),
            ("server_id = 1", "server_id = 0", "block.server_id"),
            ("server_id = 1", "server_id = 1\nstore = \"\"", "block.store"),
            ("server_id = 1", "server_id = 1\ngc.grace_days = 7", "block.gc.grace_days"),
            ("server_id = 1", "server_id = 1\ngc.trash_days = 6", "block.gc.trash_days"),
            ("server_id = 1", "server_id = 1\ngc.every_hours = 0", "block.gc.every_hours"),
            ("server_id = 1", "server_id = 1\ngc.objects_per_second = 0", "block.gc.objects_per_second"),
        ];
        for (from, to, key) in cases {
            let refused = BlockConfig::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(refused.contains(key), "{refused}");
        }
    }
}
