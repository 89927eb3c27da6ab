//! What the core threads of a busy node ask of the kernel: one `io_uring_enter` a turn and nothing that blocks.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape};

/// Calls that a core thread may make in steady state; none of them blocks but the first. `futex` wakes the threads beside
/// the core (what it must not do is wait, which is looked at apart), `write` rings a doorbell, the others are the
/// allocator's.
const ALLOWED: [&str; 8] = ["io_uring_enter", "futex", "write", "madvise", "munmap", "mmap", "mprotect", "brk"];

pub fn run() -> Result<()> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("  SKIPPED: suite syscalls: strace is not installed here");
        return Ok(());
    }
    let cluster = Cluster::start("syscalls", Shape { groups: 4, cores: 1, ..Shape::default() })?;
    let leader = cluster.leader_of_root()?;
    let pid = cluster.pid(leader)?;
    let core = core_thread(pid)?;
    let output = cluster.dir.join("strace.txt");
    let mut load =
        cluster.command(&["selfcheck", "--seconds", "6", "--in-flight", "64"]).stdout(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_millis(1500));
    let traced = Command::new("timeout")
        .args(["-s", "INT", "3", "strace", "-c", "-o"])
        .arg(&output)
        .args(["-p", &core.to_string()])
        .stdin(Stdio::null())
        .output()?;
    let waits = futex_waits(core, &cluster.dir.join("futex.txt"))?;
    let ended = load.wait()?;
    ensure!(ended.success(), "the load exited with {ended}");
    if !output.is_file() {
        let why = String::from_utf8_lossy(&traced.stderr).into_owned();
        println!("  SKIPPED: suite syscalls: strace may not attach here: {}", why.trim());
        cluster.finish();
        return Ok(());
    }
    let table = fs::read_to_string(&output)?;
    let calls = parse(&table)?;
    println!("  core thread of the leader under 64 in flight, 3 s: {calls:?}");
    let enters = calls.get("io_uring_enter").copied().unwrap_or(0);
    ensure!(enters > 100, "the core thread hardly entered its ring: {calls:?}");
    let others: Vec<_> = calls.iter().filter(|(name, _)| !ALLOWED.contains(&name.as_str())).collect();
    ensure!(others.is_empty(), "a core thread made other calls in steady state: {others:?}");
    ensure!(waits == 0, "a core thread waited {waits} times for a lock or another thread");

    let status = cluster.status()?;
    let nodes = status["nodes"].as_array().context("status has no nodes")?;
    let counters = nodes.iter().find(|node| node["node"].as_u64() == Some(leader)).context("the leader answers")?;
    let sum = |key: &str| -> u64 {
        let cores = counters["cores"].as_array().into_iter().flatten();
        cores.filter_map(|core| core["counters"][key].as_u64()).sum()
    };
    let (syncs, commands) = (sum("syncs"), sum("commands"));
    ensure!(commands > 0, "the leader counted no commands");
    println!("  {syncs} fsyncs for {commands} commits: {:.3} a commit", syncs as f64 / commands as f64);
    ensure!(syncs < commands, "more fsyncs than commits at 64 in flight");
    cluster.finish();
    Ok(())
}

/// How often a thread waited in `futex` within a second.
fn futex_waits(thread: u32, output: &std::path::Path) -> Result<usize> {
    let mut strace = Command::new("timeout");
    strace.args(["-s", "INT", "1", "strace", "-e", "trace=futex", "-o"]).arg(output).args(["-p", &thread.to_string()]);
    strace.stdin(Stdio::null()).output()?;
    let lines = fs::read_to_string(output).unwrap_or_default();
    Ok(lines.lines().filter(|line| line.contains("FUTEX_WAIT")).count())
}

/// The thread id of core 0.
fn core_thread(pid: u32) -> Result<u32> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim().ends_with("core0") {
            return task.file_name().to_string_lossy().parse().context("task ids are numbers");
        }
    }
    anyhow::bail!("process {pid} has no thread named core0")
}

/// Calls by name from the table of `strace -c`.
fn parse(table: &str) -> Result<BTreeMap<String, u64>> {
    let mut calls = BTreeMap::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(count)) = (words.last(), words.get(3).and_then(|word| word.parse::<u64>().ok())) else {
            continue;
        };
        if *name != "total" {
            calls.insert((*name).to_owned(), count);
        }
    }
    ensure!(!calls.is_empty(), "strace counted nothing:\n{table}");
    Ok(calls)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_of_strace_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     98.00    0.1          10      1000        12 io_uring_enter\n  \
                     2.00    0.0           1        7           write\n\
                     100.00    0.1                 1007           total\n";
        let calls = super::parse(table).unwrap();
        assert_eq!((calls["io_uring_enter"], calls["write"], calls.len()), (1000, 7, 2));
    }
}
