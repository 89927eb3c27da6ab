//! What is seen of target and machine beside the answers, while a run runs: once a second, and at both ends of the
//! window.
//!
//! ```text
//! start ── warm-up ──▶ window.from ── each second: host, mean of each stage ──▶ window.until ──▶ drained
//!                         first look: histograms of stages, counters, processes      last look: the same
//! ```
//! Nodes count by seconds of their own, so their stages are those of a window that is up to a second off.

pub mod admin;
pub mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Mono, NodeId, Span};
use client::Client;
use hdrhistogram::Histogram;
use reactor::clock;
use wire::CoreCounters;

use crate::host::{HostCounters, HostSecond};
use crate::recorder::Window;
use crate::run::INTERVAL;
use admin::{StageCounts, StageKey, StageSums};
use process::{Place, ProcessUse};

/// How often the observer looks whether it is over.
const LOOK_EVERY: Span = Span::from_ms(50);

/// A node of the target, and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchedNode {
    /// Its number.
    pub id: u64,
    /// `host:port` of its shared client port.
    pub client: String,
    /// `host:port` of its admin port, if that can be reached from here.
    pub admin: Option<String>,
    /// Its process, if that is on this machine.
    pub pid: Option<u32>,
}

/// What is watched during a run, and asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// The target's nodes.
    pub nodes: Vec<WatchedNode>,
    /// Cores of each.
    pub cores: u16,
    /// Where the data of nodes on this machine lies.
    pub dir: Option<PathBuf>,
    /// Each so many-th operation asks where its time goes; 0 is none.
    pub explain_every: u64,
}

/// What was counted between the ends of the window. What nobody counted is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time by role. Units: microseconds.
    pub cpu_us: BTreeMap<String, f64>,
    /// Ring system calls of the cores.
    pub enters: Option<u64>,
    /// Syncs of all nodes' logs.
    pub syncs: Option<u64>,
    /// Commands answered, by all nodes.
    pub commands: Option<u64>,
    /// Bytes over the loopback device, where all of the target is here.
    pub wire_bytes: Option<u64>,
    /// Bytes that the nodes made the kernel write to devices.
    pub written: Option<u64>,
    /// Context switches of the nodes.
    pub switches: Option<u64>,
    /// Time that their threads were ready and had no processor. Units: microseconds.
    pub run_delay_us: Option<f64>,
    /// Their resident memory at the end.
    pub rss_bytes: Option<u64>,
    /// Flushes of the device.
    pub flushes: Option<u64>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The machine, by second since the start of the schedule.
    pub host: Vec<HostSecond>,
    /// The mean of an operation in each stage, by second. Units: microseconds.
    pub stages_us: Vec<BTreeMap<String, f64>>,
    /// Times by node, kind of operation and stage, over the window. Units: nanoseconds.
    pub stages: BTreeMap<u64, BTreeMap<StageKey, Histogram<u64>>>,
    /// What was used in the window.
    pub usage: Usage,
    /// When the window began, in Unix milliseconds.
    pub window_unix_ms: u64,
    /// Where the data lies.
    pub place: Option<Place>,
}

/// All that is looked at twice.
#[derive(Clone, Debug, Default)]
struct Look {
    stages: BTreeMap<u64, StageCounts>,
    /// Of each core of each node; `None` unless all answer.
    counters: Option<Vec<CoreCounters>>,
    processes: BTreeMap<u32, ProcessUse>,
    loopback: Option<u64>,
    flushes: Option<u64>,
    leaders: Vec<Option<NodeId>>,
}

/// Looks until `is_over`. `window` says what is measured, once that is known.
pub fn observe(
    watch: &Watch,
    client: &Client,
    start: Mono,
    window: impl Fn() -> Option<Window>,
    is_over: &AtomicBool,
) -> Observed {
    let mut observer = Observer {
        watch,
        client,
        place: watch.dir.as_deref().and_then(Place::of),
        seen: Observed::default(),
        host: HostCounters::read(),
        sums: None,
        first: None,
        last: None,
    };
    let mut border = start;
    while wait_until(border, is_over) {
        observer.second(border, start, window());
        border = border + INTERVAL;
    }
    if observer.first.is_some() && observer.last.is_none() {
        observer.last = Some(observer.look());
    }
    observer.finish()
}

/// False when it was over before.
fn wait_until(time: Mono, is_over: &AtomicBool) -> bool {
    loop {
        let now = clock::mono();
        if is_over.load(Ordering::Relaxed) {
            return false;
        }
        if now >= time {
            return true;
        }
        std::thread::sleep(Duration::from_nanos(time.since(now).0.min(LOOK_EVERY.0)));
    }
}

struct Observer<'a> {
    watch: &'a Watch,
    client: &'a Client,
    place: Option<Place>,
    seen: Observed,
    host: HostCounters,
    sums: Option<StageSums>,
    first: Option<Look>,
    last: Option<Look>,
}

impl Observer<'_> {
    /// The second that ends at `border`, and the ends of the window.
    fn second(&mut self, border: Mono, start: Mono, window: Option<Window>) {
        let host = HostCounters::read();
        let sums = self.sums();
        if border > start {
            self.seen.host.push(host.second_since(&self.host, INTERVAL.0 as f64 / 1e9));
            let means = sums.as_ref().zip(self.sums.as_ref()).map(|(now, before)| now.means_since(before));
            self.seen.stages_us.push(means.unwrap_or_default());
        }
        (self.host, self.sums) = (host, sums);
        let Some(window) = window else { return };
        if self.first.is_none() && border >= window.from {
            self.seen.window_unix_ms = clock::wall_ms().saturating_sub(clock::mono().since(window.from).0 / 1_000_000);
            self.first = Some(self.look());
        }
        if self.last.is_none() && border >= window.until {
            self.last = Some(self.look());
        }
    }

    /// Of all nodes; `None` unless all answer.
    fn sums(&self) -> Option<StageSums> {
        let admins: Vec<&String> = self.watch.nodes.iter().filter_map(|node| node.admin.as_ref()).collect();
        let mut all = StageSums::default();
        for admin in &admins {
            all.add(&StageSums::ask(admin)?);
        }
        (!admins.is_empty()).then_some(all)
    }

    fn look(&self) -> Look {
        let nodes = &self.watch.nodes;
        let stages = nodes.iter().filter_map(|node| Some((node.id, StageCounts::ask(node.admin.as_ref()?)?)));
        let processes = nodes.iter().filter_map(|node| Some((node.pid?, ProcessUse::read(node.pid?)?)));
        let is_all_here = !nodes.is_empty() && nodes.iter().all(|node| node.pid.is_some());
        Look {
            stages: stages.collect(),
            processes: processes.collect(),
            loopback: is_all_here.then(process::loopback_bytes).flatten(),
            flushes: self.place.as_ref().and_then(Place::flushes),
            leaders: self.client.cluster_map().map(|map| map.leaders).unwrap_or_default(),
            counters: self.counters(),
        }
    }

    fn counters(&self) -> Option<Vec<CoreCounters>> {
        let mut all = Vec::new();
        for node in &self.watch.nodes {
            let (host, port) = node.client.rsplit_once(':')?;
            let port: u16 = port.parse().ok()?;
            for core in 0..self.watch.cores {
                let address = format!("{host}:{}", port.checked_add(1 + core)?);
                all.push(self.client.status_of(&address).ok()?.counters);
            }
        }
        (!all.is_empty()).then_some(all)
    }

    fn finish(self) -> Observed {
        let Observer { watch, mut seen, first, last, place, .. } = self;
        seen.place = place;
        let Some((first, last)) = first.zip(last) else { return seen };
        for (node, now) in &last.stages {
            if let Some(counted) = first.stages.get(node).and_then(|before| now.since(before)) {
                seen.stages.insert(*node, counted);
            }
        }
        seen.usage = usage(watch, &first, &last);
        seen
    }
}

/// How much a counter of all cores grew. A core that began anew makes it unknown.
fn grown(first: &Look, last: &Look, of: fn(&CoreCounters) -> u64) -> Option<u64> {
    let (before, now) = (first.counters.as_ref()?, last.counters.as_ref()?);
    let each = before
        .iter()
        .zip(now)
        .map(|(before, now)| if now.uptime_ms < before.uptime_ms { None } else { of(now).checked_sub(of(before)) });
    each.sum()
}

fn since(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    now?.checked_sub(before?)
}

fn usage(watch: &Watch, first: &Look, last: &Look) -> Usage {
    let mut usage = Usage {
        enters: grown(first, last, |core| core.enters),
        syncs: grown(first, last, |core| core.syncs),
        commands: grown(first, last, |core| core.commands),
        wire_bytes: since(first.loopback, last.loopback),
        flushes: since(first.flushes, last.flushes),
        ..Usage::default()
    };
    let pids: Vec<u32> = watch.nodes.iter().filter_map(|node| node.pid).collect();
    // A process that began anew has counters of its own: then nothing is known of all.
    let pairs = last.processes.iter().map(|(pid, now)| Some((*pid, first.processes.get(pid)?, now)));
    let Some(pairs) = pairs.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty()) else { return usage };
    if pids.iter().any(|pid| !last.processes.contains_key(pid)) {
        return usage;
    }
    for (pid, before, now) in &pairs {
        *usage.cpu_us.entry(role(watch, &last.leaders, *pid)).or_default() += now.cpu_us - before.cpu_us;
    }
    usage.switches = Some(pairs.iter().map(|(_, before, now)| now.switches.saturating_sub(before.switches)).sum());
    usage.run_delay_us =
        Some(pairs.iter().map(|(_, before, now)| (now.run_delay_us - before.run_delay_us).max(0.0)).sum());
    usage.rss_bytes = Some(pairs.iter().map(|(.., now)| now.rss_bytes).sum());
    let written = pairs.iter().map(|(_, before, now)| since(before.written, now.written));
    usage.written = written.collect::<Option<Vec<u64>>>().map(|each| each.iter().sum());
    usage
}

/// `leader` and `follower` where one node leads all groups and each has a process; else the nodes by name.
fn role(watch: &Watch, leaders: &[Option<NodeId>], pid: u32) -> String {
    let here: Vec<u64> = watch.nodes.iter().filter(|node| node.pid == Some(pid)).map(|node| node.id).collect();
    let is_one_leader = leaders.first().is_some_and(|first| first.is_some() && leaders.iter().all(|one| one == first));
    match (&*here, leaders.first().copied().flatten()) {
        ([node], Some(NodeId(leader))) if is_one_leader => {
            if *node == leader {
                "leader".to_owned()
            } else {
                "follower".to_owned()
            }
        }
        ([node], _) => format!("n{node}"),
        _ => "nodes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(pids: [u32; 3]) -> Watch {
        let node = |(id, pid): (u64, u32)| WatchedNode { id, pid: Some(pid), ..WatchedNode::default() };
        Watch { nodes: (1..).zip(pids).map(node).collect(), cores: 1, ..Watch::default() }
    }

    fn look(scale: u64, leaders: [u64; 2]) -> Look {
        let process = |pid: u32| {
            let used = ProcessUse {
                cpu_us: (u64::from(pid) * scale) as f64,
                switches: scale,
                run_delay_us: 0.0,
                written: Some(scale),
                rss_bytes: 5,
            };
            (pid, used)
        };
        Look {
            counters: Some(vec![CoreCounters { uptime_ms: scale, syncs: 7 * scale, ..CoreCounters::default() }; 2]),
            processes: [10, 20, 30].map(process).into(),
            leaders: leaders.map(|leader| Some(NodeId(leader))).to_vec(),
            ..Look::default()
        }
    }

    #[test]
    fn processor_time_is_told_by_role_where_there_is_one_leader() {
        let one = usage(&watch([10, 20, 30]), &look(1, [2, 2]), &look(3, [2, 2]));
        assert_eq!(one.cpu_us, BTreeMap::from([("leader".to_owned(), 40.0), ("follower".to_owned(), 80.0)]));
        assert_eq!((one.syncs, one.switches, one.written, one.rss_bytes), (Some(28), Some(6), Some(6), Some(15)));
        let several = usage(&watch([10, 20, 30]), &look(1, [1, 2]), &look(3, [1, 2]));
        assert_eq!(several.cpu_us.into_keys().collect::<Vec<_>>(), ["n1", "n2", "n3"]);
        let mut same = (look(1, [1, 1]), look(3, [1, 1]));
        same.0.processes.retain(|pid, _| *pid == 10);
        same.1.processes.retain(|pid, _| *pid == 10);
        let together = usage(&watch([10, 10, 10]), &same.0, &same.1);
        assert_eq!(together.cpu_us, BTreeMap::from([("nodes".to_owned(), 20.0)]));
    }

    #[test]
    fn what_began_anew_is_not_known() {
        let mut first = look(1, [1, 1]);
        first.processes.remove(&20);
        let after = usage(&watch([10, 20, 30]), &first, &look(3, [1, 1]));
        assert!(after.cpu_us.is_empty() && after.switches.is_none());
        assert_eq!(usage(&watch([10, 20, 30]), &look(3, [1, 1]), &look(1, [1, 1])).syncs, None);
    }
}
