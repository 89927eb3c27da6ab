//! How a server process ends: exit codes, and the reason left in `DATA/last-exit.json`.
//!
//! Source: docs/design/operations.md 1.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a server process ended, as the number its supervisor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// A clean stop.
    Clean = 0,
    /// Usage or configuration; starting again changes nothing.
    Usage = 64,
    /// An address in use, or a file system or kernel that is refused.
    Unavailable = 69,
    /// A broken invariant: a bug.
    Bug = 70,
    /// A write or sync failed; the process must not go on.
    Io = 74,
    /// Data that cannot be opened: damage, or a newer format.
    Data = 76,
    /// The identity is refused: another cluster, a copy, a directory in use.
    Identity = 77,
}

impl ExitCode {
    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.number())
    }
}

/// Leaves `{"code", "reason", "time_ms"}` in `data_dir/last-exit.json`, replacing the one before.
///
/// Units: `time_ms` is milliseconds since 1970, given by the caller. The file is for people and monitoring: it is not
/// synced, and a process that fails because its disk failed may not be able to leave it.
pub fn record(data_dir: &Path, code: ExitCode, reason: &str, time_ms: u64) -> io::Result<()> {
    let body = serde_json::json!({ "code": code.number(), "reason": reason, "time_ms": time_ms });
    let temporary = data_dir.join("last-exit.json.tmp");
    std::fs::write(&temporary, format!("{body}\n"))?;
    std::fs::rename(&temporary, data_dir.join("last-exit.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_stays_readable() {
        let dir = tempfile::tempdir().expect("temporary directory");
        record(dir.path(), ExitCode::Io, "first", 1).expect("written");
        record(dir.path(), ExitCode::Clean, "a \"quoted\" reason", 1_800_000_000_000).expect("written");
        let text = std::fs::read_to_string(dir.path().join("last-exit.json")).expect("readable");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({"code": 0, "reason": "a \"quoted\" reason", "time_ms": 1_800_000_000_000u64})
        );
    }

    #[test]
    fn codes_are_those_of_the_manual() {
        use ExitCode::{Bug, Clean, Data, Identity, Io, Unavailable, Usage};
        assert_eq!(
            [Clean, Usage, Unavailable, Bug, Io, Data, Identity].map(ExitCode::number),
            [0, 64, 69, 70, 74, 76, 77]
        );
    }
}
