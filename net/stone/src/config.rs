//! Configuration files of the HTTP roles: read, and why they are refused.

use std::path::{Path, PathBuf};

use base::limits::CONFIG_FILE_BYTES_MAX;

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
    #[error("bad configuration: {table}.{key} {why}")]
    Value {
        /// The role's table.
        table: &'static str,
        /// Which.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: &'static str,
    },
}

/// The text of a configuration file.
///
/// Errors: [`ConfigError::Read`], [`ConfigError::TooLong`].
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > CONFIG_FILE_BYTES_MAX {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map_err(read)
}

/// Whether it can be a metaserver to begin with: `host:port`.
#[must_use]
pub fn is_host_and_port(target: &str) -> bool {
    let parts = target.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_or_far_too_long_is_named() {
        let refused = read(Path::new("/nowhere/role.toml")).expect_err("not there").to_string();
        assert!(refused.contains("/nowhere/role.toml"), "{refused}");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("long.toml");
        std::fs::write(&path, vec![b'#'; CONFIG_FILE_BYTES_MAX as usize + 1]).expect("written");
        assert!(matches!(read(&path), Err(ConfigError::TooLong { .. })));
    }

    #[test]
    fn a_target_has_a_host_and_a_port() {
        for good in ["127.0.0.1:7100", "[::1]:7100", "meta.example:1"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["", ":7100", "meta.example", "meta.example:0", "meta.example:70000"] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
