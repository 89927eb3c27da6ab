//! Unmodified clients from their packages, against `dropstone dev` over HTTPS: the Python SDK of the API, and Maestral.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cluster::{binary, free_ports, run_ok, wait_for};

/// Ports that one `dev` takes.
const PORTS: u16 = 344;

/// A client and what it does.
struct Suite {
    name: &'static str,
    /// What pip installs, at the versions that the script was written for.
    packages: &'static [&'static str],
    /// The script's name: never that of a module which it imports.
    file: &'static str,
    script: &'static str,
}

const SDK: Suite =
    Suite { name: "dropbox-sdk", packages: &["dropbox==12.2.4"], file: "flow.py", script: include_str!("sdk/flow.py") };

// Later SDKs break this Maestral, and later watchdogs no longer tell of changed modes.
const MAESTRAL: Suite = Suite {
    name: "maestral",
    packages: &["maestral==1.9.6", "dropbox<12.1", "watchdog<6", "keyrings.alt"],
    file: "two_clients.py",
    script: include_str!("sdk/two_clients.py"),
};

/// The Python SDK.
pub fn run() -> Result<()> {
    run_suite(&SDK)
}

/// Two Maestral clients.
pub fn run_maestral() -> Result<()> {
    run_suite(&MAESTRAL)
}

fn run_suite(suite: &Suite) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-{}-{}", suite.name, std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let outcome = judge(suite, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(suite: &Suite, dir: &Path) -> Result<()> {
    let Some(python) = environment(suite, dir)? else { return Ok(()) };
    let data = dir.join("data");
    let port = free_ports(PORTS)?.to_string();
    let mut dev = Command::new(binary()?)
        .args(["dev", "--nodes", "1", "--port", &port, "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("could not start dropstone dev")?;
    let outcome = drive(suite, &mut dev, &data, &python, dir);
    // It may have ended by itself; the suite has failed then.
    let _ = dev.kill();
    let _ = dev.wait();
    outcome
}

/// A virtual environment with the packages; `None`, and a line that says so, where it cannot be had.
fn environment(suite: &Suite, dir: &Path) -> Result<Option<PathBuf>> {
    let (venv, name) = (dir.join("venv"), suite.name);
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("  SKIPPED {name}: python3 cannot make a virtual environment here");
        return Ok(None);
    }
    let python = venv.join("bin/python");
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(suite.packages).output()?;
    if !installed.status.success() {
        let why = String::from_utf8_lossy(&installed.stderr);
        let why = why.lines().last().unwrap_or_default();
        println!("  SKIPPED {name}: pip could not install {}: {why}", suite.packages.join(" "));
        return Ok(None);
    }
    Ok(Some(python))
}

fn drive(suite: &Suite, dev: &mut Child, data: &Path, python: &Path, dir: &Path) -> Result<()> {
    let env = data.join("http/env");
    wait_for(Duration::from_secs(60), || {
        if let Some(status) = dev.try_wait()? {
            bail!("dev ended by itself: {status}");
        }
        Ok(env.exists().then_some(()))
    })
    .context("dev has no gateway")?;
    let script = dir.join(suite.file);
    std::fs::write(&script, suite.script)?;
    let text = std::fs::read_to_string(&env)?;
    let mut command = Command::new(python);
    command.arg(&script).arg(dir).envs(text.lines().filter_map(|line| line.split_once('=')));
    // What a client keeps of its own is kept apart, and goes with the suite.
    for (name, folder) in
        [("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "share"), ("XDG_CACHE_HOME", "cache")]
    {
        std::fs::create_dir_all(dir.join(folder))?;
        command.env(name, dir.join(folder));
    }
    command.env("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring");
    print!("{}", run_ok(&mut command)?);
    Ok(())
}
