//! Unmodified clients from their packages: the Python SDK of the API, against `dropstone dev` over HTTPS.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cluster::{binary, free_ports, run_ok, wait_for};

/// The version that the flows were written for.
const PACKAGE: &str = "dropbox==12.2.4";
const FLOW: &str = include_str!("sdk/flow.py");
/// Ports that one `dev` takes.
const PORTS: u16 = 344;

pub fn run() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-sdk-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let outcome = judge(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(dir: &Path) -> Result<()> {
    let Some(python) = environment(dir)? else { return Ok(()) };
    let data = dir.join("data");
    let port = free_ports(PORTS)?.to_string();
    let mut dev = Command::new(binary()?)
        .args(["dev", "--nodes", "1", "--port", &port, "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("could not start dropstone dev")?;
    let outcome = drive(&mut dev, &data, &python, dir);
    // It may have ended by itself; the suite has failed then.
    let _ = dev.kill();
    let _ = dev.wait();
    outcome
}

/// A virtual environment with the package; `None`, and a line that says so, where it cannot be had.
fn environment(dir: &Path) -> Result<Option<std::path::PathBuf>> {
    let venv = dir.join("venv");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("  SKIPPED dropbox-sdk: python3 cannot make a virtual environment here");
        return Ok(None);
    }
    let python = venv.join("bin/python");
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGE]).output()?;
    if !installed.status.success() {
        let why = String::from_utf8_lossy(&installed.stderr);
        println!("  SKIPPED dropbox-sdk: pip could not install {PACKAGE}: {}", why.lines().last().unwrap_or_default());
        return Ok(None);
    }
    Ok(Some(python))
}

fn drive(dev: &mut Child, data: &Path, python: &Path, dir: &Path) -> Result<()> {
    let env = data.join("http/env");
    wait_for(Duration::from_secs(60), || {
        if let Some(status) = dev.try_wait()? {
            bail!("dev ended by itself: {status}");
        }
        Ok(env.exists().then_some(()))
    })
    .context("dev has no gateway")?;
    let flow = dir.join("flow.py");
    std::fs::write(&flow, FLOW)?;
    let text = std::fs::read_to_string(&env)?;
    let mut command = Command::new(python);
    command.arg(&flow).envs(text.lines().filter_map(|line| line.split_once('=')));
    print!("{}", run_ok(&mut command)?);
    Ok(())
}
