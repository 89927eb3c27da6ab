//! Twice the load that saturates a cluster, then less than it can take: how much is done, how long it takes, what is told
//! `Overloaded`, and how much memory nodes use.
//!
//! ```text
//! peak         256 clients, each waits for its answer             rate P
//! overload     two generators, P a second each, open loops        goodput beside P, memory, refusals
//! afterwards   one generator, 0.7 P a second                      latency beside that of the peak
//! registers    3 clients at a file of each group, all the while: what others are answered meanwhile
//! ```
//!
//! Rates and times are printed, never asserted. What fails the suite: a lost, doubled or wrong answer, a history that no one
//! copy could have had, a node that ends, memory beyond a generous bound.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use client::{Client, ClientOptions};

use super::cluster::{Cluster, Shape};
use super::generator::{Generator, Seen};
use super::registers::Registers;

const GROUPS: u32 = 8;
const NODES: u64 = 3;
/// Of one node; a node at rest with these settings uses a tenth of it.
const RSS_BYTES_MAX: u64 = 3 << 30;
/// Fill, warm-up, window, drain and the look for every write.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
/// Of the draws of the registers' clients.
const SEED: u64 = 1;

pub fn run() -> Result<()> {
    let cluster = Cluster::start("overload", Shape { groups: GROUPS, ..Shape::default() })?;
    let registers = Registers::start(&cluster.addresses(), GROUPS, SEED)?;
    let mut bench = Bench { registers, cluster };
    let peak = bench.phase("peak", &[&["--closed", "--clients", "256", "--duration", "8s"]])?;
    let rate = peak.rate();
    ensure!(rate > 0.0, "nothing was answered at the peak");
    let each = format!("{:.0}", rate.max(1.0));
    let open = ["--rate", &each, "--connections", "2", "--duration", "12s"];
    let over = bench.phase("overload", &[&open, &open])?;
    let less = format!("{:.0}", (rate * 0.7).max(1.0));
    let after = bench.phase("afterwards", &[&["--rate", &less, "--duration", "8s"]])?;
    let Bench { registers, cluster } = bench;
    let verdict = registers.finish()?;
    cluster.wait_same_state(&(1..=NODES).collect::<Vec<_>>(), Duration::from_secs(60))?;
    cluster.finish();
    println!(
        "  overload: peak {rate:.0}/s; offered {:.0}/s: {:.0}/s done, {:.0} % of the peak, {} told Overloaded, memory at most {} \
         MiB a node ({} at the peak); then {:.0}/s of {less} offered; {} writes acknowledged, 0 lost, 0 doubled; {} \
         operations of registers linearizable",
        rate * 2.0,
        over.rate(),
        over.rate() / rate * 100.0,
        over.overloaded,
        over.rss_bytes >> 20,
        peak.rss_bytes >> 20,
        after.rate(),
        [&peak, &over, &after].iter().map(|phase| phase.acks()).sum::<u64>(),
        verdict.operations
    );
    Ok(())
}

struct Bench {
    // In this order of dropping: clients end before nodes do.
    registers: Registers,
    cluster: Cluster,
}

/// What a phase has shown.
struct Phase {
    seen: Vec<Seen>,
    /// Requests that nodes refused meanwhile.
    overloaded: u64,
    /// The largest of any node.
    rss_bytes: u64,
}

impl Phase {
    /// Answered operations a second, of all generators.
    fn rate(&self) -> f64 {
        self.seen.iter().map(Seen::rate).sum()
    }

    fn acks(&self) -> u64 {
        self.seen.iter().map(Seen::acks).sum()
    }
}

impl Bench {
    /// Runs generators beside each other to their ends, and looks at the nodes meanwhile.
    fn phase(&mut self, name: &str, loads: &[&[&str]]) -> Result<Phase> {
        let (began, from) = (Instant::now(), self.registers.now());
        let before = self.overloaded()?;
        let mut generators = Vec::new();
        for (load, at) in loads.iter().zip(1..) {
            generators.push(Generator::start(&self.cluster, &format!("{name}-{at}"), load)?);
        }
        let mut rss_bytes = 0;
        let mut is_over = false;
        while !is_over {
            std::thread::sleep(Duration::from_millis(200));
            rss_bytes = rss_bytes.max(self.check_nodes()?);
            ensure!(began.elapsed() < ENDS_WITHIN, "a generator goes on after {} s", ENDS_WITHIN.as_secs());
            is_over = true;
            for generator in &mut generators {
                is_over &= generator.has_ended()?;
            }
        }
        let finish = |generator: Generator| generator.finish(Duration::ZERO);
        let seen = generators.into_iter().map(finish).collect::<Result<Vec<_>>>().context(name.to_owned())?;
        let phase = Phase { seen, overloaded: self.overloaded()? - before, rss_bytes };
        self.tell(name, &phase, from);
        Ok(phase)
    }

    fn tell(&self, name: &str, phase: &Phase, from: u64) {
        println!(
            "  {name}: {:.0}/s, {} told Overloaded, {} MiB",
            phase.rate(),
            phase.overloaded,
            phase.rss_bytes >> 20
        );
        for seen in &phase.seen {
            println!(
                "    a generator: service p50 {:.1} ms, p99 {:.1} ms; waits for a permit p99 {:.1} ms; errors: {}",
                seen.latency_ms("service", "p50_us"),
                seen.latency_ms("service", "p99_us"),
                seen.latency_ms("permit_wait", "p99_us"),
                seen.errors()
            );
        }
        if let Some((median, p99)) = self.registers.latencies(from, self.registers.now()) {
            println!("    others: p50 {:.1} ms, p99 {:.1} ms", median as f64 / 1e3, p99 as f64 / 1e3);
        }
    }

    /// Every node runs, within its memory. Returns the most that one uses. Units: bytes.
    fn check_nodes(&mut self) -> Result<u64> {
        let mut most = 0;
        for id in 1..=NODES {
            if let Some(code) = self.cluster.exited(id)? {
                bail!("node {id} ended by itself with {code:?}: {}", self.cluster.last_words(id));
            }
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.cluster.pid(id)?))?;
            let bytes = resident(&status).context("the kernel does not tell a process's memory")?;
            ensure!(bytes <= RSS_BYTES_MAX, "node {id} uses {} MiB of memory", bytes >> 20);
            most = most.max(bytes);
        }
        self.registers.check_answers()?;
        Ok(most)
    }

    /// Requests that nodes have refused since they run, for a bound that was reached.
    fn overloaded(&self) -> Result<u64> {
        let client = Client::connect(&self.cluster.addresses(), ClientOptions::default())?;
        let mut sum = 0;
        for node in client.status()? {
            sum += node.cores?.iter().map(|core| core.counters.overloaded).sum::<u64>();
        }
        Ok(sum)
    }
}

/// Resident memory, of `/proc/PID/status`. Units: bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_the_kernel_tells() {
        assert_eq!(resident("Name:\tdropstone\nVmRSS:\t  131072 kB\nThreads:\t9\n"), Some(128 << 20));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
    }
}
