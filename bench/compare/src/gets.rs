//! Cached, linearizable gets beside memcached and beside a server that looks at nothing: the same client, the same keys and
//! the same values, by turns, per second of the server's processor.
//!
//! | arm | what it does for `get KEY` |
//! | --- | --- |
//! | dropstone | reads the key, finds the answer in its read cache, checks the lease: a node of the cluster, for namespaces that it leads |
//! | memcached | finds the value; one thread |
//! | null | counts lines and answers the same value each time, on the ring that our nodes use |

mod arm;
mod keys;
pub mod null;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use load::stats::geometric_mean;
use serde_json::{Value, json};

use crate::args::GetsArgs;
use crate::cluster::{Cluster, Process, Shape};
use crate::target::System;
use arm::{Arm, Window};
use keys::Keys;

/// Seconds of load on every arm before the first window: caches and branch predictors fill.
const WARM_S: f64 = 0.5;
/// Memory of the read cache: what memcached has too.
const CACHE_BYTES: u64 = 512 << 20;
/// How long the null server may take to come up.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// What the rounds of one depth of pipeline found: for each arm the operations per server second, by round.
struct Level {
    depth: usize,
    arms: Vec<(&'static str, Vec<Window>)>,
}

/// Runs it; returns the exit code.
pub fn run(args: &GetsArgs, stop: &AtomicBool) -> Result<u8> {
    let shape = Shape { cache_bytes: Some(CACHE_BYTES), ..args.place.shape() };
    let ours = Cluster::start(System::Dropstone, &shape, stop)?;
    let memcached = Cluster::start(System::Memcached, &Shape { nodes: 1, ..shape.clone() }, stop)?;
    let (keys, node) = Keys::fill(&ours, stop)?;
    keys.copy_to(memcached.addresses[0])?;
    let (null, null_address) = null_server(keys.typical(), &ours)?;
    let arms = [
        ("dropstone", ours.memcache(node), ours.processes[node].pid()),
        ("memcached", memcached.addresses[0], memcached.processes[0].pid()),
        ("null", null_address, null.pid()),
    ];
    eprintln!(
        "{} keys, {:.0} bytes an answer; dropstone answers for {} of {} namespaces, those that node {} leads",
        keys.count(),
        keys.bytes_mean(),
        keys.led,
        keys.namespaces,
        node + 1
    );
    let mut levels = Vec::new();
    for depth in &args.pipeline {
        levels.push(level(&arms, &keys, *depth as usize, args, stop)?);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    print!("{}", text(&levels));
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", to_json(&levels, args)))
            .with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(if stop.load(Ordering::Relaxed) { crate::exit::INTERRUPTED } else { 0 })
}

/// This program again, as a server: its processor time is then its own. Its log goes with the cluster's directory.
fn null_server(answer: &[u8], beside: &Cluster) -> Result<(Process, SocketAddr)> {
    let program = std::env::current_exe().context("could not find this program")?;
    let log = beside.dir.join("null.log");
    let words = ["null-memcache", "--value-bytes", &answer.len().to_string()].map(str::to_owned);
    let mut process = Process::spawn("null", &program, &words, None, &log)?;
    let begun = Instant::now();
    loop {
        process.check()?;
        // A line is whole once it has its end.
        if let Some((line, _)) = std::fs::read_to_string(&log)?.split_once('\n') {
            return Ok((process, line.parse().with_context(|| format!("null said {line:?}"))?));
        }
        ensure!(begun.elapsed() < START_TIME_MAX, "the null server does not say where it listens");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn level(
    arms: &[(&'static str, SocketAddr, u32); 3],
    keys: &Keys,
    depth: usize,
    args: &GetsArgs,
    stop: &AtomicBool,
) -> Result<Level> {
    let mut running: Vec<Arm> = Vec::new();
    for (name, address, pid) in arms {
        let mut arm = Arm::connect(*address, *pid, args.connections.into(), depth, *name != "null", args.seed)?;
        arm.run(keys, WARM_S)?;
        running.push(arm);
    }
    let mut found: Vec<(&'static str, Vec<Window>)> = arms.iter().map(|(name, ..)| (*name, Vec::new())).collect();
    for round in 0..args.rounds as usize {
        // Each arm is first as often as the others.
        for turn in 0..running.len() {
            let at = (round + turn) % running.len();
            found[at].1.push(running[at].run(keys, args.window as f64)?);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    ensure!(found.iter().all(|(_, windows)| !windows.is_empty()), "interrupted before the first round ended");
    Ok(Level { depth, arms: found })
}

/// Ratio of our gets per server second to another arm's, over the rounds, with its interval.
fn ratio(level: &Level, other: usize, figure: Figure) -> Option<(f64, [f64; 2])> {
    let pairs = level.arms[0].1.iter().zip(&level.arms[other].1);
    let ratios: Vec<f64> = pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
    geometric_mean(&ratios, level.depth as u64).map(|(value, interval)| (value, interval.span()))
}

fn mean(windows: &[Window], figure: Figure) -> f64 {
    windows.iter().map(figure).sum::<f64>() / windows.len().max(1) as f64
}

fn text(levels: &[Level]) -> String {
    let mut out = String::from("pipeline  arm        gets/s  per server CPU s  per CPU s of both ends\n");
    for level in levels {
        for (name, windows) in &level.arms {
            out.push_str(&format!(
                "{:>8}  {name:<9} {:>7.0}  {:>16.0}  {:>22.0}\n",
                level.depth,
                mean(windows, Window::rate),
                mean(windows, Window::per_server_second),
                mean(windows, Window::per_second_of_both),
            ));
        }
        for (other, (name, _)) in level.arms.iter().enumerate().skip(1) {
            for (what, figure) in FIGURES {
                if let Some((value, [low, high])) = ratio(level, other, figure) {
                    out.push_str(&format!(
                        "{:>8}  dropstone over {name}, {what}: {value:.2} [{low:.2}, {high:.2}]\n",
                        level.depth
                    ));
                }
            }
        }
    }
    out
}

/// A figure of a window.
type Figure = fn(&Window) -> f64;

/// What is compared.
const FIGURES: [(&str, Figure); 2] =
    [("per server CPU second", Window::per_server_second), ("per CPU second of both ends", Window::per_second_of_both)];

fn to_json(levels: &[Level], args: &GetsArgs) -> Value {
    let window = |window: &Window| json!({"gets": window.gets, "seconds": window.seconds, "server_cpu_s": window.server_cpu_s, "client_cpu_s": window.client_cpu_s});
    let level = |level: &Level| {
        let arms = level
            .arms
            .iter()
            .map(|(name, windows)| json!({"arm": name, "windows": windows.iter().map(window).collect::<Vec<_>>()}));
        json!({"pipeline": level.depth, "arms": arms.collect::<Vec<_>>()})
    };
    json!({
        "schema": "dropstone.compare.gets/1",
        "connections": args.connections,
        "seed": args.seed,
        "levels": levels.iter().map(level).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(gets: u64, server_cpu_s: f64) -> Vec<Window> {
        vec![Window { gets, seconds: 1.0, server_cpu_s, client_cpu_s: 1.0 }; 4]
    }

    #[test]
    fn gets_are_told_by_the_processor_time_of_the_server() {
        let arms =
            vec![("dropstone", windows(300, 0.5)), ("memcached", windows(200, 1.0)), ("null", windows(400, 0.5))];
        let level = Level { depth: 64, arms };
        let of = |other| ratio(&level, other, Window::per_server_second).expect("a ratio").0;
        assert!((of(1) - 3.0).abs() < 1e-9 && (of(2) - 0.75).abs() < 1e-9);
        let text = text(&[level]);
        assert!(text.contains("dropstone over memcached, per server CPU second: 3.00"), "{text}");
    }
}
