//! `dropstone dev`: it proves itself, restarts on its data, stops cleanly, also with an ordinary user's limits.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cluster::{binary, free_ports, run_ok, wait_for};

pub fn run() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-dev-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let outcome = judge(&dir, &[]);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

/// 8 MiB of locked memory, 1,024 open files, not root where that can be arranged.
pub fn run_with_limits() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-limits-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let mut prefix = vec!["prlimit".to_owned(), "--memlock=8388608".into(), "--nofile=1024:1024".into()];
    let is_root = run_ok(Command::new("id").arg("-u"))?.trim() == "0";
    std::fs::create_dir_all(&dir)?;
    if is_root {
        run_ok(Command::new("chown").args(["65534:65534"]).arg(&dir))?;
        prefix.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned));
    }
    let copy = dir.join("dropstone");
    std::fs::copy(binary()?, &copy)?;
    let outcome = judge_binary(&copy, &dir.join("data"), &prefix);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(dir: &std::path::Path, prefix: &[String]) -> Result<()> {
    judge_binary(&binary()?, dir, prefix)
}

fn command(binary: &std::path::Path, prefix: &[String]) -> Command {
    match prefix.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(binary);
            command
        }
        None => Command::new(binary),
    }
}

fn judge_binary(binary: &std::path::Path, dir: &std::path::Path, prefix: &[String]) -> Result<()> {
    let port = free_ports(344)?.to_string();
    let data = dir.to_str().context("the temporary path is UTF-8")?;
    let began = Instant::now();
    let arguments = ["dev", "--data", data, "--port", &port];
    let first = run_ok(command(binary, prefix).args(arguments).arg("--exit").stdin(Stdio::null()))?;
    println!("  dev --exit took {:.1} s", began.elapsed().as_secs_f64());
    ensure!(first.contains("p99"), "the self-check printed no p99:\n{first}");
    for line in first.lines().filter(|line| line.contains("p99") || line.contains("fsync")) {
        println!("  {}", line.trim());
    }

    // Again on the same data, serving: what is put stays over a restart.
    let target = format!("127.0.0.1:{port}");
    for round in 0..2 {
        let mut dev = command(binary, prefix).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let served = wait_for(Duration::from_secs(20), || {
            if let Some(status) = dev.try_wait()? {
                anyhow::bail!("dev ended by itself: {status}");
            }
            let listed = Command::new(binary).args(["ls", "/", "--target", &target]).output()?;
            Ok(listed.status.success().then_some(String::from_utf8_lossy(&listed.stdout).into_owned()))
        });
        let outcome = served.and_then(|listed| {
            if round == 0 {
                run_ok(Command::new(binary).args(["mkdir", "/kept", "--target", &target]))?;
            } else {
                ensure!(listed.contains("kept"), "a restart forgot /kept:\n{listed}");
            }
            Ok(())
        });
        run_ok(Command::new("kill").args(["-INT", &dev.id().to_string()]))?;
        let ended = wait_for(Duration::from_secs(20), || Ok(dev.try_wait()?));
        if ended.is_err() {
            dev.kill()?;
            dev.wait()?;
        }
        outcome?;
        let ended = ended.context("dev did not stop within 20 s of SIGINT")?;
        ensure!(ended.success(), "dev stopped with {ended} on SIGINT");
    }
    Ok(())
}
