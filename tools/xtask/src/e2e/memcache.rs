//! The memcached port with tools that nobody here wrote: those of libmemcached read what the command line has put.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{binary, free_ports, run_ok, wait_for};

/// From the first port of `dev` to the memcached port of its first node.
const MEMCACHE_OFFSET: u16 = 41;
/// Tests of `memccapable` that a server which takes no writes passes; all others begin with one.
const CAPABLE: [&str; 4] = ["ascii version", "ascii quit", "ascii verbosity", "ascii stat"];

pub fn run() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-memcache-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let port = free_ports(340)?;
    let (mut dev, root) = start(&dir, port)?;
    let outcome = judge(port, &root);
    let stopped = run_ok(Command::new("kill").args(["-INT", &dev.id().to_string()]));
    let ended = wait_for(Duration::from_secs(20), || Ok(dev.try_wait()?));
    if ended.is_err() {
        dev.kill()?;
        dev.wait()?;
    }
    let _ = std::fs::remove_dir_all(&dir);
    outcome?;
    stopped?;
    let ended = ended.context("dev did not stop within 20 s of SIGINT")?;
    ensure!(ended.success(), "dev stopped with {ended} on SIGINT");
    Ok(())
}

/// `dev` with one node, and the root of its account.
fn start(dir: &Path, port: u16) -> Result<(Child, String)> {
    let data = dir.to_str().context("the temporary path is UTF-8")?;
    let mut dev = Command::new(binary()?)
        .args(["dev", "--nodes", "1", "--data", data, "--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(dev.stdout.take().context("the pipe was asked for")?).lines();
    let (mut told, mut root) = (String::new(), None);
    for line in lines.by_ref().map_while(Result::ok) {
        if let Some((_, number)) = line.split_once("with root ") {
            root = Some(number.trim().to_owned());
        }
        told += &line;
        told.push('\n');
        if line.starts_with("try, ") {
            break;
        }
    }
    // The rest is read and dropped, so that a full pipe never holds it.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    ensure!(told.contains(&format!("memcached     127.0.0.1:{}", port + MEMCACHE_OFFSET)), "no port is told:\n{told}");
    root.with_context(|| format!("dev told no root:\n{told}")).map(|root| (dev, root))
}

fn judge(port: u16, root: &str) -> Result<()> {
    let target = format!("127.0.0.1:{port}");
    let command = |arguments: &[&str]| -> Result<String> {
        run_ok(Command::new(binary()?).args(arguments).args(["--target", &target]))
    };
    command(&["mkdir", "/Photos of 2026"])?;
    let servers = format!("--servers=127.0.0.1:{}", port + MEMCACHE_OFFSET);
    let key = format!("{root}/photos%20of%202026");
    if is_installed("memccat") {
        let value = run_ok(Command::new("memccat").args([&servers, &key]))?;
        let json: serde_json::Value =
            serde_json::from_str(value.trim()).with_context(|| format!("no JSON: {value:?}"))?;
        ensure!(json[".tag"] == "folder" && json["path_display"] == "/Photos of 2026", "memccat printed {value}");
        let absent = Command::new("memccat").args([&servers, &format!("{root}/none")]).output()?;
        ensure!(!absent.status.success(), "memccat found what is not there: {absent:?}");
        // A write is refused, and what is there stays.
        let removed = Command::new("memcrm").args([&servers, &key]).output()?;
        ensure!(!removed.status.success(), "memcrm removed something: {removed:?}");
        run_ok(Command::new("memccat").args([&servers, &key]))?;
    }
    if is_installed("memcping") {
        run_ok(Command::new("memcping").arg(&servers))?;
    }
    if is_installed("memcstat") {
        let stats = run_ok(Command::new("memcstat").arg(&servers))?;
        for name in ["pid", "uptime", "version", "curr_connections", "cmd_get", "get_hits", "threads"] {
            ensure!(stats.contains(&format!("{name}: ")), "memcstat shows no {name}:\n{stats}");
        }
    }
    hits(port, &key)?;
    if is_installed("memccapable") {
        capable(port)?;
    }
    Ok(())
}

/// Reads of a key that was read before are answered from the cache of the node, whichever core they come to.
fn hits(port: u16, key: &str) -> Result<()> {
    let ask = |text: &str| -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port + MEMCACHE_OFFSET))?;
        stream.write_all(format!("{text}quit\r\n").as_bytes())?;
        let mut told = String::new();
        stream.read_to_string(&mut told)?;
        Ok(told)
    };
    let stat = |name: &str| -> Result<u64> {
        let told = ask("stats\r\n")?;
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        Ok(line.with_context(|| format!("stats shows no {name}:\n{told}"))?.parse()?)
    };
    let (before, asked) = (stat("cache_hits")?, 50);
    for _ in 0..asked {
        let told = ask(&format!("get {key}\r\n"))?;
        ensure!(told.starts_with(&format!("VALUE {key} 2 ")), "a get printed {told:?}");
    }
    let hits = stat("cache_hits")? - before;
    // A lease may lapse for a moment on a busy machine.
    ensure!(hits >= asked / 2, "of {asked} reads of one key {hits} were answered from the cache");
    ensure!(stat("curr_items")? > 0 && stat("limit_maxbytes")? > 0, "nothing is cached");
    println!("  {hits} of {asked} reads of one key were answered from the cache");
    Ok(())
}

/// All of `memccapable` in its order, where tests build on each other; those named pass.
fn capable(port: u16) -> Result<()> {
    let port = (port + MEMCACHE_OFFSET).to_string();
    let output = Command::new("memccapable").args(["-h", "127.0.0.1", "-p", &port, "-a", "-t", "2"]).output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    // A test that fails ends no line of what is told.
    let passed = |test: &str| {
        let mut lines = told.lines().filter_map(|line| line.strip_suffix("[pass]"));
        lines.any(|line| line.trim_end().ends_with(test))
    };
    for test in CAPABLE {
        ensure!(passed(test), "memccapable {test:?} does not pass:\n{told}");
    }
    println!("  memccapable passes {}", CAPABLE.join(", "));
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&places).any(|place| place.join(program).is_file());
    if !is_there {
        println!("  SKIPPED: no {program} here; the package is libmemcached-tools");
    }
    is_there
}
