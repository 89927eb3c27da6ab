//! The configuration of a block server: the table `[block]` of a TOML file, parsed once, unknown keys refused.
//!
//! ```toml
//! [block]
//! listen = "10.0.0.4:7144"                                        # where clients reach it; never 0.0.0.0
//! data_dir = "/var/lib/dropstone"                                 # what is kept beside the blocks
//! store = "file:///var/lib/dropstone/objects"                     # default: DATA_DIR/objects; or s3://bucket/prefix
//! targets = ["10.0.0.1:7100", "10.0.0.2:7100", "10.0.0.3:7100"]   # metaservers to begin with
//! server_id = 1                                                   # from 1, unique among the block servers
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base::limits::CONFIG_FILE_BYTES_MAX;
use serde::Deserialize;

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
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is far too long.
    #[error("{path} has more than {CONFIG_FILE_BYTES_MAX} bytes, which is no configuration")]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// The text is no TOML of this shape; line and field are in the message.
    #[error("bad configuration: {0}")]
    Toml(#[from] toml::de::Error),
    /// A value that cannot be.
    #[error("bad configuration: block.{key} {why}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: &'static str,
    },
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
}

impl BlockConfig {
    /// Reads and checks a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn load(path: &Path) -> Result<BlockConfig, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > CONFIG_FILE_BYTES_MAX {
            return Err(ConfigError::TooLong { path: path.to_owned() });
        }
        BlockConfig::parse(&std::fs::read_to_string(path).map_err(read)?)
    }

    /// Parses and checks the text of a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn parse(text: &str) -> Result<BlockConfig, ConfigError> {
        let File { block: Table { listen, store, data_dir, targets, server_id } } = toml::from_str(text)?;
        let store = match store {
            Some(store) => store,
            None => {
                let path = data_dir.join("objects").into_os_string();
                let why = "is not UTF-8; name the store";
                path.into_string().map_err(|_| ConfigError::Value { key: "data_dir", why })?
            }
        };
        let config = BlockConfig { listen, store, data_dir, targets, server_id };
        config.check()?;
        Ok(config)
    }

    /// Refuses values that cannot work; [`crate::start`] calls it too.
    ///
    /// Errors: [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, why| Err(ConfigError::Value { key, why });
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
        Ok(())
    }
}

fn is_host_and_port(target: &str) -> bool {
    let parts = target.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
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
        assert_eq!(config.targets.len(), 2);
        let named = GOOD.replace("server_id", "store = \"s3://bucket/prefix\"\nserver_id");
        assert_eq!(BlockConfig::parse(&named).unwrap().store, "s3://bucket/prefix");
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
        ];
        for (from, to, key) in cases {
            let refused = BlockConfig::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(refused.contains(key), "{refused}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let refused = BlockConfig::load(Path::new("/nowhere/block.toml")).unwrap_err();
        assert!(refused.to_string().contains("/nowhere/block.toml"), "{refused}");
    }
}
