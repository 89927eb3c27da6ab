//! `dropstone-compare` beside real peers: the same commits go to both and come back, and nothing is left behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cluster::{binary, run_ok, wait_for, workspace};

/// VALID, AT-LEAST and INVALID: how good the numbers are depends on the machine, whether the answers are right does not.
const SOUND: [i32; 3] = [0, 2, 3];
/// The exit code where a peer is not installed.
const UNAVAILABLE: i32 = 69;

pub fn run() -> Result<()> {
    build()?;
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-compare-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = judge(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(dir: &Path) -> Result<()> {
    missing(dir)?;
    let mut found = 0;
    // The others take as long, so they come when they are asked for.
    let peers = [("etcd", "1,32"), ("redis", "32"), ("postgres", "32"), ("nats", "32")];
    let wants_all = std::env::var("DROPSTONE_PEERS").is_ok_and(|peers| peers == "all");
    if !wants_all {
        println!("  left out: postgres and nats; DROPSTONE_PEERS=all compares them, too");
    }
    for (peer, in_flight) in peers.into_iter().take(if wants_all { 4 } else { 2 }) {
        found += u32::from(beside(dir, peer, &["--in-flight", in_flight])?);
    }
    // Reads, moves and deletes, too.
    beside(dir, "etcd", &["--in-flight", "32", "--mix", "spotify"])?;
    if found > 0 {
        interrupted(dir)?;
    }
    Ok(())
}

/// No default member, so a release build leaves it out.
fn build() -> Result<()> {
    let arguments = ["build", "--release", "--locked", "--quiet", "-p", "dropstone-compare"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run_ok(Command::new(cargo).current_dir(workspace()).args(arguments)).map(drop)
}

fn compare(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?.with_file_name("dropstone-compare"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|place| place.join(program).is_file())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A program that is not there is told in the words of the manual, before anything is started.
fn missing(dir: &Path) -> Result<()> {
    let place = dir.to_str().context("the temporary path is UTF-8")?;
    for (system, package) in [("etcd", "etcd-server"), ("valkey", "valkey-server")] {
        let output = compare(&["cluster", "up", system, "--dir", place])?.env("PATH", dir).output()?;
        ensure!(output.status.code() == Some(UNAVAILABLE), "a missing {system} ended with {:?}", output.status);
        let said = text(&output);
        ensure!(said.contains(&format!("{system}: not installed: install Debian package {package}")), "{said}");
    }
    is_empty(dir)
}

/// A short comparison: the figures are the machine's, that every answer was right is ours. False where the peer is not
/// installed.
fn beside(dir: &Path, peer: &str, work: &[&str]) -> Result<bool> {
    let place = dir.to_str().context("the temporary path is UTF-8")?;
    let arguments = ["versus", "--target", "dropstone", "--target", peer, "--unlike"];
    let short = ["--pairs", "1", "--block", "2s", "--prime", "1s", "--json", "-", "--dir", place];
    let output = compare(&[&arguments[..], work, &short].concat())?.output()?;
    let code = output.status.code().unwrap_or(-1);
    if code == UNAVAILABLE {
        println!("SKIPPED: dropstone beside {peer}: {}", String::from_utf8_lossy(&output.stderr).trim());
        return Ok(false);
    }
    ensure!(SOUND.contains(&code), "dropstone beside {peer} ended with {code}:\n{}", text(&output));
    let result: Value = serde_json::from_slice(&output.stdout)?;
    let comparison = &result["comparisons"][0];
    for level in comparison["levels"].as_array().context("levels")? {
        for (arm, target) in level["arms"].as_array().context("arms")?.iter().zip(["dropstone", peer]) {
            let number = |key: &str| arm[key].as_f64().unwrap_or(0.0);
            let (rate, read_back) = (number("rate"), number("read_back"));
            let seen = format!("{target}, {} in flight: {rate:.0}/s, {read_back} read back", level["in_flight"]);
            ensure!(rate > 0.0 && read_back > 0.0 && arm["wrong"] == 0, "{seen}: {arm}");
            let reasons = arm["verdict"]["reasons"].to_string();
            ensure!(!reasons.contains("given up") && !reasons.contains("not be read back"), "{seen}: {reasons}");
            println!("  {seen}, {}", arm["verdict"]["class"]);
        }
        ensure!(level["ratios"]["rate"]["value"].is_number(), "no ratio: {level}");
    }
    is_empty(dir)?;
    Ok(true)
}

/// A cluster by hand goes with its program.
fn interrupted(dir: &Path) -> Result<()> {
    let place = dir.to_str().context("the temporary path is UTF-8")?;
    let system = if is_installed("redis-server") { "redis" } else { "etcd" };
    let mut running = compare(&["cluster", "up", system, "--dir", place])?.spawn()?;
    let told = BufReader::new(running.stdout.take().context("stdout is piped")?);
    let mut pids = Vec::new();
    for line in told.lines() {
        let line = line?;
        pids.extend(line.split_once("process ").map(|(_, pid)| pid.trim().to_owned()));
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    ensure!(pids.len() == 3, "three processes were to be told, not {pids:?}");
    run_ok(Command::new("kill").args(["-INT", &running.id().to_string()]))?;
    let status = wait_for(Duration::from_secs(20), || Ok(running.try_wait()?))?;
    ensure!(status.code() == Some(0), "an interrupted cluster ended with {status:?}");
    let alive: Vec<&String> = pids.iter().filter(|pid| Path::new("/proc").join(pid).exists()).collect();
    ensure!(alive.is_empty(), "processes {alive:?} of {system} are left");
    is_empty(dir)
}

fn is_empty(dir: &Path) -> Result<()> {
    let left: Vec<_> = std::fs::read_dir(dir)?.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    ensure!(left.is_empty(), "the comparison left {left:?} behind");
    Ok(())
}
