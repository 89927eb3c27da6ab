//! One process of a cluster: started with its output in a file, stopped by its id.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::target::System;

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; all that it says goes to `log`.
    pub fn spawn(name: &str, program: &Path, arguments: &[String], log: &Path) -> Result<Process> {
        let output = File::create(log).with_context(|| format!("could not make {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
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
    use super::version_of;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version_of("etcd Version: 3.4.23\nGit SHA: x"), Some("3.4.23"));
        assert_eq!(version_of("Redis server v=7.0.15 sha=00000000:0"), Some("7.0.15"));
        assert_eq!(version_of("memcached 1.6.18"), Some("1.6.18"));
        assert_eq!(version_of("dropstone 0.1.0"), Some("0.1.0"));
        assert_eq!(version_of("no idea"), None);
    }
}
