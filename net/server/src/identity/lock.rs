//! `DATA/lock`: at most one process uses a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

/// The only process that may use a data directory; let go when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A data directory that was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("could not lock {dir}: held by pid {pid}; stop it first")]
    Held {
        /// The directory.
        dir: String,
        /// Who, as far as it said.
        pid: String,
    },
    /// The file system refused.
    #[error("could not lock {dir}: {source}")]
    Io {
        /// The directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
}

impl Lock {
    /// Takes `dir/lock` and writes this process's id into it.
    pub fn take(dir: &Path) -> Result<Lock, LockError> {
        let error = |source| LockError::Io { dir: dir.display().to_string(), source };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("lock"));
        let mut file = open.map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = Read::by_ref(&mut file).take(32).read_to_string(&mut pid);
                let known = read.is_ok() && !pid.trim().is_empty();
                let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
                return Err(LockError::Held { dir: dir.display().to_string(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        file.set_len(0).map_err(error)?;
        write!(file, "{}", std::process::id()).map_err(error)?;
        Ok(Lock { _file: file })
    }
}
