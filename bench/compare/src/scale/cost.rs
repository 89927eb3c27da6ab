//! What a command costs each role: one group, so that one node leads everything and the others follow.
//!
//! Processor time and bytes are the kernel's, by process; syncs and entries are the nodes' own counters. System calls and
//! allocations are counted by `perf` in a block of their own, since counting slows the nodes down; without `perf`, or
//! without the right to use it, they are left out.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, ensure};
use reactor::clock;
use reactor::device::families_cpu_us;
use serde_json::{Value, json};
use wire::CoreCounters;

use super::{Machine, median, settings};
use crate::args::ScaleArgs;
use crate::block::{self, Block, BlockSettings};
use crate::cluster::{Cluster, Shape, find, native};
use crate::report::whole;
use crate::target::{System, Target};

/// Operations in flight.
const LEVELS: [u32; 2] = [64, 1024];
/// Functions of the allocator that a command may reach.
const ALLOCATORS: [&str; 3] = ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"];
const SYSCALLS: &str = "raw_syscalls:sys_enter";
/// Of the allocator's probes.
const GROUP: &str = "dropstone_cost";

/// Counters of one node at one edge of the window.
#[derive(Clone, Copy)]
struct Reading {
    cpu_us: f64,
    written_bytes: f64,
    counters: CoreCounters,
}

/// What one role does for a command.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
struct Cost {
    cpu_us: f64,
    enters: f64,
    syncs: f64,
    log_bytes: f64,
    written_bytes: f64,
    syscalls: Option<f64>,
    allocations: Option<f64>,
}

/// Rate, commands of an entry, and the cost of leader and follower.
type Found = (f64, f64, [Cost; 2]);

/// Of one machine at one level: the leader's, and the mean of the followers'.
struct Row {
    machine: Machine,
    in_flight: u32,
    rate: f64,
    commands_per_entry: f64,
    costs: [Cost; 2],
}

/// Measures, and shows.
pub fn table(args: &ScaleArgs, stop: &AtomicBool) -> Result<(Value, String)> {
    let base = args.place.shape();
    let probes = Probes::add(&find(System::Dropstone, &base)?);
    let mut rows = Vec::new();
    for machine in [Machine::Files, Machine::Null] {
        let shape = Shape { cores: 1, groups: 1, ..machine.shape(&base) };
        let cluster = Cluster::start(System::Dropstone, &shape, stop)?;
        for in_flight in LEVELS {
            let settings = settings(args, machine, 1, in_flight);
            rows.push(row(machine, &cluster, &settings, args.rounds, probes.as_ref().ok(), stop)?);
        }
    }
    if let Err(why) = &probes {
        eprintln!("system calls and allocations are not counted: {why:#}");
    }
    Ok((rows.iter().map(row_json).collect(), shown(&rows)))
}

fn row(
    machine: Machine,
    cluster: &Cluster,
    settings: &BlockSettings,
    rounds: u32,
    probes: Option<&Probes>,
    stop: &AtomicBool,
) -> Result<Row> {
    let leader = native::connect(&cluster.addresses)?.cluster_map()?.leaders[0].context("the group has no leader")?;
    let leader = leader.0 as usize - 1;
    let mut found: Vec<Found> = Vec::new();
    for _ in 0..rounds {
        let readings = RefCell::new(Vec::new());
        let read = || readings.borrow_mut().push(readings_of(cluster));
        let block = one(cluster, settings, &read, stop)?;
        let readings = readings.into_inner().into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(readings.len() == 2, "interrupted before the window ended");
        found.push(costs(&block, leader, &readings[0], &readings[1]));
        eprintln!(
            "{:<9} {:>5} in flight  {:>9.0} ops/s  {}",
            machine.name(),
            settings.in_flight,
            block.rate(),
            block.class.name()
        );
    }
    let middle = |figure: &dyn Fn(&Found) -> f64| median(found.iter().map(figure).collect()).unwrap_or(0.0);
    let cost = |role: usize| Cost {
        cpu_us: middle(&|one| one.2[role].cpu_us),
        enters: middle(&|one| one.2[role].enters),
        syncs: middle(&|one| one.2[role].syncs),
        log_bytes: middle(&|one| one.2[role].log_bytes),
        written_bytes: middle(&|one| one.2[role].written_bytes),
        ..Cost::default()
    };
    let mut costs = [cost(0), cost(1)];
    if let Some(probes) = probes {
        counted(cluster, settings, leader, probes, &mut costs, stop)?;
    }
    let (rate, commands_per_entry) = (middle(&|one| one.0), middle(&|one| one.1));
    Ok(Row { machine, in_flight: settings.in_flight, rate, commands_per_entry, costs })
}

fn one(cluster: &Cluster, settings: &BlockSettings, at_edge: &dyn Fn(), stop: &AtomicBool) -> Result<Block> {
    let run = format!("cost-{}-{:x}", settings.in_flight, clock::wall_ms());
    let place = block::Place { target: Target::Dropstone, cluster, others: &[], run: &run, at_edge: Some(at_edge) };
    block::run(&place, settings, stop)
}

fn readings_of(cluster: &Cluster) -> Result<Vec<Reading>> {
    let nodes = native::connect(&cluster.addresses)?.status()?;
    let reading = |(pid, node): (u32, &client::NodeStatus)| -> Result<Reading> {
        let cores =
            node.cores.as_ref().map_err(|error| anyhow::anyhow!("node {} does not answer: {error}", node.node))?;
        let counters = cores.first().context("a node has a core")?.counters;
        Ok(Reading { cpu_us: families_cpu_us(&[pid]) as f64, written_bytes: written(pid)?, counters })
    };
    cluster.pids().into_iter().zip(&nodes).map(reading).collect()
}

/// Bytes that a process has had written to its disk.
fn written(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).context("could not read what a node has written")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).context("the kernel does not tell what a node has written")
}

/// What was found between two readings.
fn costs(block: &Block, leader: usize, before: &[Reading], after: &[Reading]) -> Found {
    let of = |node: usize, figure: &dyn Fn(&Reading) -> f64| figure(&after[node]) - figure(&before[node]);
    let commands = of(leader, &|reading| reading.counters.commands as f64).max(1.0);
    let entries = of(leader, &|reading| reading.counters.entries as f64).max(1.0);
    let followers: Vec<usize> = (0..before.len()).filter(|node| *node != leader).collect();
    let cost = |nodes: &[usize]| {
        let mean = |figure: &dyn Fn(&Reading) -> f64| {
            nodes.iter().map(|node| of(*node, figure)).sum::<f64>() / nodes.len().max(1) as f64 / commands
        };
        Cost {
            cpu_us: mean(&|reading| reading.cpu_us),
            enters: mean(&|reading| reading.counters.enters as f64),
            syncs: mean(&|reading| reading.counters.syncs as f64),
            log_bytes: mean(&|reading| reading.counters.log_bytes as f64),
            written_bytes: mean(&|reading| reading.written_bytes),
            ..Cost::default()
        }
    };
    (block.rate(), commands / entries, [cost(&[leader]), cost(&followers)])
}

/// A block under `perf`: system calls and allocations.
fn counted(
    cluster: &Cluster,
    settings: &BlockSettings,
    leader: usize,
    probes: &Probes,
    costs: &mut [Cost; 2],
    stop: &AtomicBool,
) -> Result<()> {
    let counting = RefCell::new(Vec::new());
    let begin = || {
        if counting.borrow().is_empty() {
            let pids = cluster.pids();
            counting.borrow_mut().extend(pids.iter().map(|pid| probes.count(*pid, settings.window_s, &cluster.dir)));
        }
    };
    let block = one(cluster, settings, &begin, stop)?;
    let commands = block.record.counts.achieved.max(1) as f64;
    let counts =
        counting.into_inner().into_iter().map(|one| one.and_then(Counting::finish)).collect::<Result<Vec<_>>>()?;
    let followers: Vec<[f64; 2]> =
        counts.iter().enumerate().filter(|(node, _)| *node != leader).map(|(_, count)| *count).collect();
    let mean = |at: usize| followers.iter().map(|count| count[at]).sum::<f64>() / followers.len().max(1) as f64;
    for (cost, count) in costs.iter_mut().zip([counts[leader], [mean(0), mean(1)]]) {
        (cost.syscalls, cost.allocations) = (Some(count[0] / commands), Some(count[1] / commands));
    }
    Ok(())
}

/// Probes on the allocator of the program that runs; gone with this value.
struct Probes;

impl Probes {
    fn add(program: &Path) -> Result<Probes> {
        // Left by a run that was killed.
        drop(perf(&["probe", "-q", "--del", &format!("{GROUP}:*")]));
        let program = program.to_str().context("the program's path is not UTF-8")?;
        let events = ALLOCATORS.map(|function| format!("{GROUP}:{function}={function}"));
        let mut arguments = vec!["probe", "-q", "-x", program];
        events.iter().for_each(|event| arguments.extend(["--add", event]));
        let probes = Probes;
        perf(&arguments)?;
        Ok(probes)
    }

    fn count(&self, pid: u32, seconds: u64, dir: &Path) -> Result<Counting> {
        let file = dir.join(format!("perf-{pid}.txt"));
        let events: Vec<String> = ALLOCATORS.iter().map(|function| format!("{GROUP}:{function}")).collect();
        let events = format!("{SYSCALLS},{}", events.join(","));
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", &events, "-p", &pid.to_string(), "-o"]).arg(&file);
        command.args(["--", "sleep", &seconds.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Counting { child: command.spawn().context("could not run perf")?, file })
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        drop(perf(&["probe", "-q", "--del", &format!("{GROUP}:*")]));
    }
}

fn perf(arguments: &[&str]) -> Result<()> {
    let output = Command::new("perf").args(arguments).stdin(Stdio::null()).output().context("could not run perf")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf {}: {}", arguments[0], said.lines().next().unwrap_or_default());
    Ok(())
}

/// `perf stat` at work on a process.
struct Counting {
    child: Child,
    file: PathBuf,
}

impl Counting {
    /// System calls and allocations.
    fn finish(mut self) -> Result<[f64; 2]> {
        let status = self.child.wait().context("perf was lost")?;
        ensure!(status.success(), "perf stat ended with {status}");
        let text = std::fs::read_to_string(&self.file).context("perf left no counts")?;
        Ok(sums(&text))
    }
}

/// System calls and allocations of what `perf stat -x ,` wrote.
fn sums(text: &str) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for line in text.lines() {
        let mut fields = line.split(',');
        let (count, event) = (fields.next().and_then(|count| count.parse::<f64>().ok()), fields.nth(1));
        if let (Some(count), Some(event)) = (count, event) {
            sums[usize::from(event != SYSCALLS)] += count;
        }
    }
    sums
}

fn row_json(row: &Row) -> Value {
    let cost = |cost: &Cost| {
        json!({
            "cpu_us": cost.cpu_us,
            "ring_enters": cost.enters,
            "syscalls": cost.syscalls,
            "syncs": cost.syncs,
            "log_bytes": cost.log_bytes,
            "written_bytes": cost.written_bytes,
            "allocations": cost.allocations,
        })
    };
    json!({
        "machine": row.machine.name(),
        "in_flight": row.in_flight,
        "ops_per_s": row.rate,
        "commands_per_entry": row.commands_per_entry,
        "leader": cost(&row.costs[0]),
        "follower": cost(&row.costs[1]),
    })
}

fn shown(rows: &[Row]) -> String {
    let mut out = "| for a command | in flight | ops/s | commands of an entry | role | cpu us | syscalls | syncs | log bytes \
                   | device bytes | allocations |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows {
        for (role, cost) in ["leader", "follower"].into_iter().zip(&row.costs) {
            let optional = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
            out += &format!(
                "| {} | {} | {} | {:.1} | {role} | {:.2} | {} | {:.4} | {:.0} | {:.0} | {} |\n",
                row.machine.name(),
                whole(row.in_flight.into()),
                whole(row.rate),
                row.commands_per_entry,
                cost.cpu_us,
                optional(cost.syscalls),
                cost.syncs,
                cost.log_bytes,
                cost.written_bytes,
                optional(cost.allocations),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_perf_are_summed_and_what_was_not_counted_is_nothing() {
        let text = "# started on Sun\n\n3425,,raw_syscalls:sys_enter,100,1.00,,\n\
                    10,,dropstone_cost:mi_malloc_aligned,100,1.00,,\n5,,dropstone_cost:mi_realloc_aligned,100,1.00,,\n\
                    <not counted>,,dropstone_cost:mi_zalloc_aligned,0,0.00,,\n";
        assert_eq!(sums(text), [3425.0, 15.0]);
    }
}
