//! One process of a cluster: started with its output in a file, stopped by its id.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::target::System;

/// A user of this machine that a program runs as, because it refuses to run as root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// Whether we are root.
    pub fn is_root() -> Result<bool> {
        Ok(std::fs::metadata("/proc/self")?.uid() == 0)
    }

    /// Of a name; `None` where there is no such user.
    pub fn of(name: &str) -> Option<Account> {
        account_in(&std::fs::read_to_string("/etc/passwd").ok()?, name)
    }

    /// Makes a command run as this user, with no groups beside its own.
    pub fn take(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }

    /// Gives a directory to this user.
    pub fn own(self, dir: &Path) -> Result<()> {
        chown(dir, Some(self.user), Some(self.group)).with_context(|| format!("could not give {} away", dir.display()))
    }
}

/// A line is `name:password:user:group:...`.
fn account_in(passwd: &str, name: &str) -> Option<Account> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = lines.find(|fields| fields.first() == Some(&name))?;
    Some(Account { user: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
}

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it, as `account` if one is given; all that it says goes to `log`.
    pub fn spawn(
        name: &str,
        program: &Path,
        arguments: &[String],
        account: Option<Account>,
        log: &Path,
    ) -> Result<Process> {
        let output = File::create(log).with_context(|| format!("could not make {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        if let Some(account) = account {
            account.take(&mut command);
        }
        let child = command.spawn().with_context(|| format!("could not start {}", program.display()))?;
        Ok(Process { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Errors: it has ended; with its last words.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        bail!(
            "{} has ended ({status}); its last words:\n{}",
            self.name,
            lines[lines.len().saturating_sub(8)..].join("\n")
        )
    }

    /// Kills it, without waiting. Its data goes anyway; and it may have inherited a mask that blocks SIGTERM.
    pub fn kill(&mut self) {
        // It has ended already where this fails.
        let _ = self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// The version that a program tells: the first word of its answer with a digit and a dot.
pub fn version(program: &Path, system: System) -> Result<String> {
    let flag = if system == System::Memcached { "-V" } else { "--version" };
    let output =
        Command::new(program).arg(flag).output().with_context(|| format!("could not run {}", program.display()))?;
    Ok(version_of(&String::from_utf8_lossy(&output.stdout)).unwrap_or("of an unknown version").to_owned())
}

fn version_of(text: &str) -> Option<&str> {
    let words = text.split(|c: char| c.is_whitespace() || c == '=');
    let mut words = words.map(|word| word.trim_start_matches('v'));
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/:/bin/sh\nshort:x\n";
        assert_eq!(account_in(passwd, "postgres"), Some(Account { user: 101, group: 104 }));
        assert_eq!([account_in(passwd, "postgre"), account_in(passwd, "short")], [None; 2]);
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version_of("etcd Version: 3.4.23\nGit SHA: x"), Some("3.4.23"));
        assert_eq!(version_of("Redis server v=7.0.15 sha=00000000:0"), Some("7.0.15"));
        assert_eq!(version_of("memcached 1.6.18"), Some("1.6.18"));
        assert_eq!(version_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some("15.18"));
        assert_eq!(version_of("nats-server: v2.9.10"), Some("2.9.10"));
        assert_eq!(version_of("dropstone 0.1.0"), Some("0.1.0"));
        assert_eq!(version_of("no idea"), None);
    }
}
