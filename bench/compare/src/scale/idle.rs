//! What idles: groups at rest, alone on the machine, and connections at rest beside a load, by turns with none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base::Acct;
use load::recorder::Clock;
use reactor::clock;
use reactor::device::families_cpu_us;
use serde_json::{Value, json};
use wire::ClientHello;
use wire::hello::SERVER_HELLO_BYTES;

use super::{Machine, median, settings};
use crate::args::ScaleArgs;
use crate::block::{self, Block};
use crate::cluster::{Cluster, Shape};
use crate::report::whole;
use crate::target::{System, Target};
use crate::versus::{Level, ratio, run_level};

/// Groups, and connections.
const IDLE: u32 = 10_000;
/// A group rests when nobody used it for 5 s; elections and first checkpoints take theirs.
const SETTLE: Duration = Duration::from_secs(15);

/// Processor time of a cluster of one-core nodes whose groups all rest, beside one with a single group.
pub fn groups(args: &ScaleArgs, stop: &AtomicBool) -> Result<(Value, String)> {
    let mut rows = Vec::new();
    for groups in [1, IDLE] {
        let shape = Shape { cores: 1, groups, ..Machine::Files.shape(&args.place.shape()) };
        let cluster = Cluster::start(System::Dropstone, &shape, stop)?;
        std::thread::sleep(SETTLE);
        let cpu = || cluster.pids().iter().map(|pid| families_cpu_us(&[*pid]) as f64).collect::<Vec<_>>();
        let (before, begun) = (cpu(), Instant::now());
        while begun.elapsed() < Duration::from_secs(args.idle) && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let shares: Vec<f64> = cpu().iter().zip(&before).map(|(now, was)| (now - was) / 1e6 / seconds).collect();
        rows.push((groups, seconds, shares, memory(&cluster)));
    }
    let mut table = "| groups | seconds | share of a core, node by node | resident MiB, node by node |\n\
                     | --- | --- | --- | --- |\n"
        .to_owned();
    for (groups, seconds, shares, memory) in &rows {
        let shares: Vec<String> = shares.iter().map(|share| format!("{:.2} %", share * 100.0)).collect();
        let memory: Vec<String> = memory.iter().map(|mib| format!("{mib:.0}")).collect();
        let groups = whole((*groups).into());
        table += &format!("| {groups} | {seconds:.0} | {} | {} |\n", shares.join(", "), memory.join(", "));
    }
    let found = rows.iter().map(|(groups, seconds, shares, memory)| {
        json!({ "groups": groups, "seconds": seconds, "shares": shares, "resident_mib": memory })
    });
    Ok((found.collect(), table))
}

/// Resident memory of each node. Units: MiB; 0 where it cannot be read.
fn memory(cluster: &Cluster) -> Vec<f64> {
    let resident = |pid: u32| -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
    };
    cluster.pids().into_iter().map(|pid| resident(pid).unwrap_or(0.0)).collect()
}

/// The rate with and without connections at rest, A B B A.
pub fn connections(args: &ScaleArgs, stop: &AtomicBool) -> Result<(Value, String)> {
    let mut found = Vec::new();
    let mut table =
        "| | connections at rest, resident KiB of each | ops/s, medians with and without | with over without | p99, with over without |\n\
                     | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for machine in [Machine::Files, Machine::Null] {
        let shape = machine.shape(&args.place.shape());
        let mut cluster = Cluster::start(System::Dropstone, &shape, stop)?;
        let settings = settings(args, machine, shape.groups, args.in_flight);
        let (mut held, mut more) = (0, Vec::new());
        let level = run_level(args.in_flight, args.rounds, |arm, number| {
            let before: f64 = memory(&cluster).iter().sum();
            let resting = if arm == 0 { rest(&cluster.addresses)? } else { Vec::new() };
            if arm == 0 {
                more.push((memory(&cluster).iter().sum::<f64>() - before) * 1024.0 / resting.len().max(1) as f64);
            }
            held = held.max(resting.len());
            let run = format!("idle-{number}-{:x}", clock::wall_ms());
            let place =
                block::Place { target: Target::Dropstone, cluster: &cluster, others: &[], run: &run, at_edge: None };
            let block = block::run(&place, &settings, stop)?;
            cluster.check()?;
            eprintln!(
                "{:<9} {:>6} at rest  {:>9.0} ops/s  {}",
                machine.name(),
                resting.len(),
                block.rate(),
                block.class.name()
            );
            Ok::<_, anyhow::Error>((!block.is_interrupted).then_some(block))
        })?;
        table += &row(machine, (held, more.first().copied().unwrap_or(0.0)), &level);
        found.push(json!({ "machine": machine.name(), "held": held, "resident_kib_each": more, "pairs": level.pairs.iter().map(pair).collect::<Vec<_>>() }));
    }
    Ok((found.into(), table))
}

fn pair(pair: &[Block; 2]) -> Value {
    let [with, without] =
        pair.each_ref().map(|block| json!({ "ops_per_s": block.rate(), "class": block.class.name() }));
    json!({ "with": with, "without": without })
}

/// `kib`: resident memory of a connection when the first ones came; later ones take what those left.
fn row(machine: Machine, (held, kib): (usize, f64), level: &Level<Block>) -> String {
    let rate = |arm: usize| median(level.pairs.iter().map(|pair| pair[arm].rate()).collect()).unwrap_or(0.0);
    let p99 = |block: &Block| Some(block.record.histograms.over_all(Clock::Response).value_at_quantile(0.99) as f64);
    let shown = |found: Option<crate::versus::Ratio>| {
        found.map_or("-".to_owned(), |found| match found.interval {
            Some(interval) => format!("{:.3} [{:.3} {:.3}]", found.value, interval.low, interval.high),
            None => format!("{:.3}", found.value),
        })
    };
    format!(
        "| {} | {}, {kib:.1} | {}, {} | {} | {} |\n",
        machine.name(),
        whole(held as f64),
        whole(rate(0)),
        whole(rate(1)),
        shown(ratio(level, |block| Some(block.rate()))),
        shown(ratio(level, p99)),
    )
}

/// Connections that were greeted and say nothing, spread over the nodes.
fn rest(addresses: &[SocketAddr]) -> Result<Vec<TcpStream>> {
    let hello = ClientHello::new(Acct(0), [7; 16]).encode();
    let mut held = Vec::with_capacity(IDLE as usize);
    for address in addresses.iter().cycle().take(IDLE as usize) {
        let mut stream = TcpStream::connect(address)
            .with_context(|| format!("only {} of {IDLE} connections were made; raise `ulimit -n`", held.len()))?;
        stream.write_all(&hello)?;
        held.push(stream);
    }
    let mut answer = [0; SERVER_HELLO_BYTES];
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.read_exact(&mut answer).context("a connection at rest was not greeted")?;
    }
    Ok(held)
}
