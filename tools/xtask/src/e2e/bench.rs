//! `dropstone bench` on a real cluster: it finds nothing wrong, leaves nothing, and keeps its files when interrupted.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::cluster::{binary, run_ok};

/// VALID, AT-LEAST and INVALID: how good the numbers are depends on the machine, whether the answers are right does not.
const SOUND: [i32; 3] = [0, 2, 3];

pub fn run() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = judge(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(dir: &Path) -> Result<()> {
    quick(dir)?;
    interrupted(dir)?;
    unreachable()
}

fn bench(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg("bench").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn quick(dir: &Path) -> Result<()> {
    let place = dir.to_str().context("the temporary path is UTF-8")?;
    let began = Instant::now();
    let output = bench(&["quick", "--dir", place, "--rate", "200", "--duration", "8s"])?.output()?;
    let (took, text) = (began.elapsed(), text(&output));
    let code = output.status.code().unwrap_or(-1);
    ensure!(SOUND.contains(&code), "bench quick ended with {code}:\n{text}");
    println!("  bench quick took {:.1} s", took.as_secs_f64());
    ensure!(text.contains(" 0 lost, 0 doubled"), "no checks were made:\n{text}");
    for line in text.lines().filter(|line| line.starts_with("response") || line.starts_with("checked")) {
        println!("  {line}");
    }
    is_empty(dir)
}

/// Complete files up to then, and exit 130.
fn interrupted(dir: &Path) -> Result<()> {
    let place = dir.to_str().context("the temporary path is UTF-8")?;
    let out = dir.join("out");
    let out_text = out.to_str().context("the temporary path is UTF-8")?;
    let mut command = bench(&["quick", "--dir", place, "--rate", "200", "--duration", "60s", "--out", out_text])?;
    let mut running = command.spawn()?;
    let mut told = BufReader::new(running.stderr.take().context("stderr is piped")?);
    for_seconds(&mut told, 8)?;
    run_ok(Command::new("kill").args(["-INT", &running.id().to_string()]))?;
    std::io::copy(&mut told, &mut std::io::sink())?;
    let output = running.wait_with_output()?;
    let code = output.status.code().unwrap_or(-1);
    ensure!(code == 130, "an interrupted bench ended with {code}:\n{}", text(&output));
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("result.json"))?)?;
    ensure!(
        result["partial"] == true && result["checks"]["lost"] == 0,
        "result.json is not of a partial run: {result}"
    );
    let series = std::fs::read_to_string(out.join("series.csv"))?;
    ensure!(series.lines().count() > 3, "series.csv has no seconds:\n{series}");
    std::fs::remove_dir_all(&out)?;
    is_empty(dir)
}

/// Reads until so many seconds of load have been told.
fn for_seconds(told: &mut impl BufRead, seconds: usize) -> Result<()> {
    let is_second = |line: &str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        first.trim_end_matches('w').parse::<u64>().is_ok()
    };
    let mut seen = 0;
    for line in told.lines() {
        seen += usize::from(is_second(&line?));
        if seen == seconds {
            return Ok(());
        }
    }
    bail!("bench ended after {seen} seconds of load, before it was interrupted")
}

fn unreachable() -> Result<()> {
    let began = Instant::now();
    let output = bench(&["run", "--mix", "quick", "--rate", "10", "--target", "127.0.0.1:1"])?.output()?;
    ensure!(output.status.code() == Some(69), "an unreachable target ended with {:?}", output.status);
    println!("  an unreachable target was told after {:.1} s", began.elapsed().as_secs_f64());
    ensure!(text(&output).contains("could not reach the cluster"), "{}", text(&output));
    Ok(())
}

fn is_empty(dir: &Path) -> Result<()> {
    let left: Vec<_> = std::fs::read_dir(dir)?.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    ensure!(left.is_empty(), "the bench left {left:?} behind");
    Ok(())
}
