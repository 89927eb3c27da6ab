//! `watch` in one process shows what another one puts, at once, and misses nothing when the leader dies.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape};

/// Puts that are timed.
const TIMED: usize = 50;

pub fn run() -> Result<()> {
    let mut cluster = Cluster::start("watch", Shape::default())?;
    let mut watch = cluster.command(&["watch", "--json", "/"]).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(watch.stdout.take().context("the pipe was asked for")?).lines();
    let (sender, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                break;
            }
        }
    });
    let outcome = judge(&mut cluster, &seen);
    let _ = watch.kill();
    let _ = watch.wait();
    outcome?;
    cluster.finish();
    Ok(())
}

fn judge(cluster: &mut Cluster, seen: &mpsc::Receiver<(Instant, String)>) -> Result<()> {
    std::thread::sleep(Duration::from_millis(500));
    // A put is one process: what counts is the time from its end, when the commit was answered, to the line.
    let mut late = Vec::new();
    for at in 0..TIMED {
        let name = format!("/timed-{at}");
        cluster.ok(&["mkdir", &name])?;
        let answered = Instant::now();
        let shown = wait_line(seen, &name, Duration::from_secs(5))?;
        late.push(shown.saturating_duration_since(answered));
    }
    late.sort();
    println!(
        "  shown after the writer's end: median {:?}, worst of {TIMED} {:?} (0 is before it)",
        late[TIMED / 2],
        late[TIMED - 1]
    );
    // A poller with an interval would show here: half of its interval in the median.
    ensure!(late[TIMED / 2] < Duration::from_millis(50), "watch shows changes late: it polls, or is not woken");

    let leader = cluster.leader_of_root()?;
    let mut expected = HashSet::new();
    for at in 0..60 {
        if at == 20 {
            cluster.kill_node(leader)?;
        }
        let name = format!("/over-{at}");
        cluster.ok(&["mkdir", &name])?;
        expected.insert(name);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while !expected.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let (_, line) = seen
            .recv_timeout(left)
            .with_context(|| format!("watch missed {} of 60 changes over a change of leader", expected.len()))?;
        if let Some(path) = path_of(&line) {
            expected.remove(&path);
        }
    }
    println!("  nothing was missed over a change of leader");
    cluster.start_node(leader)?;
    Ok(())
}

fn path_of(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value["path"].as_str().map(str::to_owned)
}

fn wait_line(seen: &mpsc::Receiver<(Instant, String)>, path: &str, limit: Duration) -> Result<Instant> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (at, line) = seen.recv_timeout(left).with_context(|| format!("watch did not show {path}"))?;
        if path_of(&line).as_deref() == Some(path) {
            return Ok(at);
        }
    }
}
