//! `dropstone bench` on a real cluster: it finds nothing wrong, leaves nothing, and keeps its files when interrupted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

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
    crashed(dir)?;
    counted(dir)?;
    interrupted(dir)?;
    replayed(dir)?;
    unreachable()?;
    speaks_http()
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
    let out = dir.join("out");
    let out_text = out.to_str().context("the temporary path is UTF-8")?;
    let began = Instant::now();
    let output = bench(&["quick", "--dir", place, "--rate", "200", "--duration", "8s", "--out", out_text])?.output()?;
    let (took, text) = (began.elapsed(), text(&output));
    let code = output.status.code().unwrap_or(-1);
    ensure!(SOUND.contains(&code), "bench quick ended with {code}:\n{text}");
    println!("  bench quick took {:.1} s", took.as_secs_f64());
    ensure!(text.contains(" 0 lost, 0 doubled"), "no checks were made:\n{text}");
    for line in text.lines().filter(|line| line.starts_with("response") || line.starts_with("checked")) {
        println!("  {line}");
    }
    ensure!(text.contains("stages@p99"), "no stages were told:\n{text}");
    is_complete(&out)?;
    std::fs::remove_dir_all(&out)?;
    is_empty(dir)
}

/// Every view is there, and the result has what a run of the bench's own cluster can know.
fn is_complete(out: &Path) -> Result<()> {
    for name in ["report.html", "run.hlog", "series.csv", "response.hgrm", "service.hgrm"] {
        ensure!(std::fs::metadata(out.join(name)).is_ok_and(|file| file.len() > 100), "{name} is missing or empty");
    }
    let result: Value = serde_json::from_slice(&std::fs::read(out.join("result.json"))?)?;
    let all = &result["latency"][0];
    ensure!(all["op"] == "all" && all["clock"] == "response", "the headline is not the first: {all}");
    ensure!(all["ci95"]["p50_us"].is_array() && all["ci95"]["p99_us"].is_array(), "no intervals: {}", all["ci95"]);
    ensure!(all["hdr_base64"].as_str().is_some_and(|text| text.len() > 100), "no histogram");
    let stages: Vec<&Value> = result["stages"].as_array().into_iter().flatten().collect();
    let near: f64 = stages.iter().filter_map(|stage| stage["at_p99_us"].as_f64()).sum();
    let p99 = all["p99_us"].as_f64().context("no p99")?;
    ensure!(near > p99 / 3.0 && near < p99 * 3.0, "stages near p99 make {near} us, p99 is {p99} us");
    ensure!(stages.iter().any(|stage| stage["node"] == "n3"), "not all nodes told their stages");
    let seconds: Vec<&Value> = result["throughput"]["intervals"].as_array().into_iter().flatten().collect();
    ensure!(seconds.iter().any(|second| second["stages_us"]["apply"].is_number()), "no second has stages");
    let cost = &result["cost"];
    ensure!(cost["cpu_us"].as_object().is_some_and(|roles| roles.len() >= 2), "no processor time by role: {cost}");
    for name in ["enters", "syncs", "wire_bytes", "context_switches", "rss_bytes"] {
        ensure!(cost[name].as_f64().is_some_and(|value| value > 0.0), "{name} was not counted: {cost}");
    }
    ensure!(result["host"]["kernel"].as_str().is_some_and(|kernel| kernel.len() > 5), "no host");
    ensure!(result["host_series"]["load1"].as_array().is_some_and(|load| load.len() == seconds.len()), "no series");
    Ok(())
}

/// The leader ends with SIGKILL in the middle of the window, comes back, and no acknowledged write is gone.
fn crashed(dir: &Path) -> Result<()> {
    let place = dir.to_str().context("the temporary path is UTF-8")?;
    let out = dir.join("out");
    let out_text = out.to_str().context("the temporary path is UTF-8")?;
    let flags = ["quick", "--dir", place, "--rate", "200", "--duration", "16s", "--crash", "--out", out_text];
    let output = bench(&flags)?.output()?;
    let (text, code) = (text(&output), output.status.code().unwrap_or(-1));
    ensure!(SOUND.contains(&code), "a crash of the leader ended with {code}:\n{text}");
    ensure!(text.contains(" 0 lost, 0 doubled"), "no checks were made:\n{text}");
    let result: Value = serde_json::from_slice(&std::fs::read(out.join("result.json"))?)?;
    let fault = &result["faults"][0];
    ensure!(fault["kind"].as_str().is_some_and(|kind| kind.starts_with("kill-leader n")), "no fault: {text}");
    println!("  {} at {} s: no answer for {} ms", fault["kind"], fault["at_s"], fault["unavailable_ms"]);
    std::fs::remove_dir_all(&out)?;
    is_empty(dir)
}

/// All nodes of a null machine end with SIGKILL under load, come back, and every acknowledged command is counted.
fn counted(dir: &Path) -> Result<()> {
    let place = dir.to_str().context("the temporary path is UTF-8")?;
    let out = dir.join("out");
    let out_text = out.to_str().context("the temporary path is UTF-8")?;
    let load = ["run", "--mix", "null", "--rate", "2k", "--duration", "8s", "--no-steady", "--warmup-max", "2s"];
    let flags = [&load[..], &["--fault", "3s:kill-all", "--cluster", "3", "--dir", place, "--out", out_text]].concat();
    let output = bench(&flags)?.output()?;
    let (text, code) = (text(&output), output.status.code().unwrap_or(-1));
    ensure!(SOUND.contains(&code), "a crash of all nodes ended with {code}:\n{text}");
    ensure!(text.contains("NULL MACHINE") && text.contains(" 0 lost, 0 doubled"), "no checks were made:\n{text}");
    for line in text.lines().filter(|line| line.starts_with("checked")) {
        println!("  null machine: {line}");
    }
    std::fs::remove_dir_all(&out)?;
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
    let result: Value = serde_json::from_slice(&std::fs::read(out.join("result.json"))?)?;
    ensure!(
        result["partial"] == true && result["checks"]["lost"] == 0,
        "result.json is not of a partial run: {result}"
    );
    let series = std::fs::read_to_string(out.join("series.csv"))?;
    ensure!(series.lines().count() > 3, "series.csv has no seconds:\n{series}");
    std::fs::remove_dir_all(&out)?;
    is_empty(dir)
}

/// A run is recorded and sent once more: as it was, as fast as it goes, and as far as a cut file is good.
fn replayed(dir: &Path) -> Result<()> {
    let path = |name: &str| -> Result<String> {
        Ok(dir.join(name).to_str().context("the temporary path is UTF-8")?.to_owned())
    };
    let (place, trace, cut, out) = (path("")?, path("a.dstrace")?, path("cut.dstrace")?, path("out")?);
    let done = |arguments: &[&str]| -> Result<(String, Value)> {
        let cluster = ["--cluster", "1", "--dir", &place, "--out", &out];
        let output = bench(&[arguments, &cluster].concat())?.output()?;
        let (code, text) = (output.status.code().unwrap_or(-1), text(&output));
        ensure!(SOUND.contains(&code), "bench {} ended with {code}:\n{text}", arguments.join(" "));
        ensure!(text.contains(" 0 lost, 0 doubled"), "no checks were made:\n{text}");
        let result = serde_json::from_slice(&std::fs::read(Path::new(&out).join("result.json"))?)?;
        std::fs::remove_dir_all(&out)?;
        Ok((text, result))
    };
    let mix = ["--mix", "quick", "--scale", "0.5", "--rate", "300"];
    let times = ["--duration", "4s", "--warmup-max", "2s", "--no-steady", "--settle", "0s"];
    let (_, first) = done(&[&["run", "--record", &trace], &mix[..], &times[..]].concat())?;
    let shown = bench(&["trace", "show", &trace, "--json"])?.output()?;
    let facts: Value = serde_json::from_slice(&shown.stdout)?;
    let operations = facts["operations"].as_u64().context("no operations")?;
    ensure!(shown.status.success() && (1500..2500).contains(&operations), "{facts}");
    println!("  recorded {operations} operations in {} bytes", facts["bytes"]);

    let (_, again) = done(&["replay", &trace, "--settle", "0s"])?;
    let due = |result: &Value| result["latency"][0]["count"].as_u64().unwrap_or(0);
    ensure!(again["stream_hash"] == first["stream_hash"], "other operations were sent than were recorded");
    ensure!(due(&again) == due(&first), "{} operations were measured, {} before", due(&again), due(&first));
    let (_, fast) = done(&["replay", &trace, "--as-fast", "--clients", "16", "--settle", "0s"])?;
    ensure!(due(&fast) == operations, "{} of {operations} operations were measured", due(&fast));
    println!("  as fast as it goes: {} operations/s", fast["load"]["rate_achieved"]);

    let bytes = std::fs::read(&trace)?;
    std::fs::write(&cut, &bytes[..bytes.len() * 3 / 4])?;
    let refused = bench(&["replay", &cut, "--cluster", "1", "--dir", &place])?.output()?;
    let told = text(&refused);
    ensure!(refused.status.code() == Some(64) && told.contains("add --good-part"), "a cut trace: {told}");
    let (text, part) = done(&["replay", &cut, "--good-part", "--as-fast", "--settle", "0s"])?;
    ensure!((1..operations).contains(&due(&part)), "{} of {operations} operations of a cut trace:\n{text}", due(&part));
    std::fs::remove_file(&trace)?;
    std::fs::remove_file(&cut)?;
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

/// A port that speaks something else is told as fast as one where nobody is.
fn speaks_http() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // What it is asked does not matter.
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let began = Instant::now();
    let output = bench(&["run", "--mix", "quick", "--rate", "10", "--target", &address])?.output()?;
    let took = began.elapsed().as_secs_f64();
    ensure!(output.status.code() == Some(69), "a port of HTTP ended with {:?}: {}", output.status, text(&output));
    println!("  a port that speaks HTTP was told after {took:.1} s: {}", text(&output).trim());
    Ok(())
}

fn is_empty(dir: &Path) -> Result<()> {
    let left: Vec<_> = std::fs::read_dir(dir)?.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    ensure!(left.is_empty(), "the bench left {left:?} behind");
    Ok(())
}
