//! The configuration of a gateway: the table `[gateway]` of a TOML file, parsed once, unknown keys refused.
//!
//! ```toml
//! [gateway]
//! listen = "10.0.0.4:7443"                                        # where clients reach it; HTTPS
//! www = "https://files.example.com"                               # what links begin with; default: https:// and listen
//! content = "https://content.example.com"                         # where the web page and temporary links find content
//! targets = ["10.0.0.1:7100", "10.0.0.2:7100", "10.0.0.3:7100"]   # metaservers to begin with
//! server_id = 1                                                   # from 1, unique among all servers of the cluster
//! secret_file = "/etc/dropstone/secret"                           # 64 hex digits, the same on all servers, mode 0400
//! certificate = "/etc/dropstone/gateway.pem"                      # the chain; without it and `key`: HTTP, on loopback only
//! key = "/etc/dropstone/gateway.key"
//! hubs = [["10.0.0.7:7450", "10.0.0.8:7450"]]   # of the notifiers, as [notify.edge] has them: then clients, and the web
//!                                                # page, may wait for changes here too. Default: none
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base::Acct;
use serde::Deserialize;
use stone::config::{ConfigError, is_host_and_port, read};

/// What a listener shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// A chain and its key, in PEM files.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// The authority of `dropstone dev`.
    Dev {
        /// Where it is.
        dir: PathBuf,
        /// Names in the certificate beside those of this machine.
        names: Vec<String>,
    },
    /// None: HTTP, on loopback only, for the load generator.
    Plain,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What links begin with, without a slash at the end; `None`: the address.
    pub www: Option<String>,
    /// The content host as clients reach it, without a slash at the end; `None`: this gateway knows of none, or is it.
    pub content: Option<String>,
    /// `host:port` of metaservers; at least one.
    pub targets: Vec<String>,
    /// Its number, from 1; unique among all servers of the cluster, block servers too.
    pub server_id: u64,
    /// The cluster's secret.
    pub secret_file: PathBuf,
    /// What it shows.
    pub tls: Tls,
    /// Of each place the hubs of the notifiers; empty: nobody waits for changes here.
    pub hubs: Vec<Vec<String>>,
    /// `dropstone dev`: this account approves every app at once.
    pub dev: Option<Acct>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gateway: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: SocketAddr,
    www: Option<String>,
    content: Option<String>,
    targets: Vec<String>,
    server_id: u64,
    secret_file: PathBuf,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    hubs: Vec<Vec<String>>,
}

impl GatewayConfig {
    /// Reads and checks a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn load(path: &Path) -> Result<GatewayConfig, ConfigError> {
        GatewayConfig::parse(&read(path)?)
    }

    /// Parses and checks the text of a file.
    ///
    /// Errors: [`ConfigError`].
    pub fn parse(text: &str) -> Result<GatewayConfig, ConfigError> {
        let File { gateway: Table { listen, www, content, targets, server_id, secret_file, certificate, key, hubs } } =
            toml::from_str(text)?;
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Tls::Files { certificate, key },
            (None, None) if listen.ip().is_loopback() => Tls::Plain,
            _ => {
                let why = "and key are wanted, both; without them a gateway listens on loopback only";
                return Err(ConfigError::Value { table: "gateway", key: "certificate", why });
            }
        };
        let config = GatewayConfig { listen, www, content, targets, server_id, secret_file, tls, hubs, dev: None };
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot.
    ///
    /// Errors: [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, why| Err(ConfigError::Value { table: "gateway", key, why });
        if self.targets.is_empty() {
            return bad("targets", "is empty; name the client address of at least one metaserver");
        }
        if self.targets.iter().any(|target| !is_host_and_port(target)) {
            return bad("targets", "has an entry that is not host:port");
        }
        if self.server_id == 0 {
            return bad("server_id", "is 0; numbers begin with 1");
        }
        if self.content.as_ref().is_some_and(|content| !content.starts_with("https://") || content.ends_with('/')) {
            return bad("content", "is not https://host or https://host:port, without a slash at the end");
        }
        match &self.www {
            Some(www) if !www.starts_with("https://") || www.ends_with('/') => {
                bad("www", "is not https://host or https://host:port, without a slash at the end")
            }
            None if self.listen.ip().is_unspecified() => {
                bad("www", "is missing; links need the name under which clients reach this gateway")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[gateway]\nlisten = \"10.0.0.4:7443\"\ntargets = [\"10.0.0.1:7100\"]\nserver_id = 1\n\
        secret_file = \"/s\"\ncertificate = \"/c\"\nkey = \"/k\"\n";

    #[test]
    fn a_good_file_is_taken_and_a_bad_value_is_named() {
        let config = GatewayConfig::parse(GOOD).expect("good");
        assert_eq!((config.server_id, config.dev), (1, None));
        let bad = |from: &str, to: &str| GatewayConfig::parse(&GOOD.replace(from, to)).expect_err("bad").to_string();
        assert!(bad("server_id = 1", "server_id = 0").contains("gateway.server_id is 0"));
        assert!(bad("[\"10.0.0.1:7100\"]", "[]").contains("gateway.targets is empty"));
        assert!(bad("10.0.0.1:7100", "10.0.0.1").contains("gateway.targets has an entry"));
        assert!(bad("10.0.0.4", "0.0.0.0").contains("gateway.www is missing"));
        assert!(bad("server_id = 1", "server_id = 1\nwww = \"http://a/\"").contains("gateway.www is not https://"));
        assert!(bad("server_id = 1", "server_id = 1\ncontent = \"https://a/\"").contains("gateway.content is not"));
        assert!(bad("server_id", "servre_id").contains("unknown field"));
        assert!(bad("key = \"/k\"\n", "").contains("gateway.certificate and key are wanted"));
        assert!(bad("certificate = \"/c\"\nkey = \"/k\"\n", "").contains("on loopback only"));
        let plain = GOOD.replace("certificate = \"/c\"\nkey = \"/k\"\n", "").replace("10.0.0.4", "127.0.0.1");
        assert_eq!(GatewayConfig::parse(&plain).expect("good").tls, Tls::Plain);
    }
}
