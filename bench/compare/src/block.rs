//! One block: a target under a closed loop for a few seconds, with what its processes and the device did meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use base::mono::Span;
use load::arrivals::Arrival;
use load::content::Contents;
use load::driver::Driver;
use load::drivers::native::{NativeDriver, NativeSettings, PopulateError, counts, populate};
use load::generator::{Generator, GeneratorSettings, Loop};
use load::host::HostCounters;
use load::mix::Mix;
use load::recorder::{Record, Window};
use load::run::{Orders, drive};
use load::source::{Source, StreamSettings};
use load::verdict::{Class, Evidence, Verdict, busy_of};
use reactor::clock;
use reactor::device::{DeviceCounters, families_cpu_us};

use crate::cluster::{Cluster, native};
use crate::device::{Disk, Flushes, contradiction};
use crate::drivers::sampled::{ReadBack, Sampled};
use crate::drivers::{PeerDriver, Protocol, etcd, memcached, nats, postgres, redis, zookeeper};
use crate::target::Target;
use crate::work::Work;

/// The model is made, and connections rest, for so long before the first operation.
const LEAD: Span = Span::from_ms(50);
/// How long an operation may take.
const DEADLINE: Span = Span::from_ms(10_000);
/// Part of the operations that may fail.
const ERRORS_MAX: f64 = 0.0001;
/// A connection of PostgreSQL is a process, and does one transaction at a time. More than so many brought no higher rate
/// with 1,024 in flight, and a longer tail.
const POSTGRES_CONNECTIONS_MAX: usize = 128;
/// Every second has its end.
const SECOND: Span = Span::from_ms(1_000);

/// How blocks are run.
#[derive(Clone, Debug)]
pub struct BlockSettings {
    /// What is sent.
    pub mix: Arc<Mix>,
    /// It is a mix of the load generator, with a population; else puts of new files.
    pub is_mixed: bool,
    /// Of all that is random.
    pub seed: u64,
    /// Operations in flight.
    pub in_flight: u32,
    /// Seconds before the window; at least 2, since the first report brings the window.
    pub warm_s: u64,
    /// Seconds of the window.
    pub window_s: u64,
    /// Connections; `None` is what suits the target.
    pub connections: Option<u16>,
    /// Replicas of Redis that must have a write.
    pub replicas: u64,
}

/// What a block found.
#[derive(Clone, Debug)]
pub struct Block {
    /// Times and counts of the window.
    pub record: Record,
    /// Its length.
    pub seconds: f64,
    /// Processor time of the target's processes in it. Units: microseconds.
    pub cpu_us: f64,
    /// Part of a processor that the other target used meanwhile, idle as it is.
    pub others_cpu: f64,
    /// Flushes in the window.
    pub flushes: Flushes,
    /// Bytes that the device wrote, of everybody.
    pub device_bytes: Option<u64>,
    /// What reading back found.
    pub read_back: ReadBack,
    /// What it is worth.
    pub class: Class,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// It was interrupted.
    pub is_interrupted: bool,
}

/// Counters at one edge of the window.
#[derive(Clone, Copy)]
struct Edge {
    cpu: f64,
    others: f64,
    device: Option<DeviceCounters>,
    host: HostCounters,
}

/// Where a block runs, and beside whom.
pub struct Place<'a> {
    /// The target.
    pub target: Target,
    /// Its cluster.
    pub cluster: &'a Cluster,
    /// Processes of the other target.
    pub others: &'a [u32],
    /// Names the files of this block.
    pub run: &'a str,
    /// Called at both edges of the window.
    pub at_edge: Option<&'a dyn Fn()>,
}

/// Runs one.
///
/// Errors: the target cannot be connected to or filled.
pub fn run(place: &Place<'_>, settings: &BlockSettings, stop: &AtomicBool) -> Result<Block> {
    let stream = StreamSettings {
        mix: settings.mix.clone(),
        seed: settings.seed,
        arrival: Arrival::Const,
        rate: 1.0,
        duration: Span::from_ms(1_000 * (settings.warm_s + settings.window_s)),
    };
    let work = Work::new(place.run, settings.seed);
    let addresses = &place.cluster.addresses;
    let connections = settings.connections.map_or_else(|| connections(place.target, settings.in_flight), usize::from);
    let lead = vec![addresses[0]; connections];
    let authority = addresses[0].to_string();
    match place.target {
        Target::Dropstone => native_block(place, settings, &stream, connections, stop),
        Target::Etcd | Target::EtcdPut => {
            let commit = match place.target {
                Target::EtcdPut => etcd::Commit::Plain,
                _ if settings.is_mixed => etcd::Commit::Files,
                _ => etcd::Commit::Both,
            };
            let protocol = etcd::Etcd::new(commit, work, &authority, connections);
            let mut driver = PeerDriver::connect(protocol, &lead)?;
            if settings.is_mixed && !driver.populate(&stream, stop)? {
                return Ok(interrupted());
            }
            peer_block(driver, place, settings, &stream, stop)
        }
        Target::Postgres | Target::PostgresPut => {
            let plain = place.target == Target::PostgresPut;
            let commit = if plain { postgres::Commit::Plain } else { postgres::Commit::Both };
            let protocol = postgres::Postgres::new(commit, work, connections);
            peer_block(PeerDriver::connect(protocol, &lead)?, place, settings, &stream, stop)
        }
        Target::Nats | Target::NatsSync => {
            let protocol = nats::Nats::new(work, connections);
            peer_block(PeerDriver::connect(protocol, &lead)?, place, settings, &stream, stop)
        }
        Target::Redis | Target::RedisSet | Target::Valkey => {
            let plain = place.target == Target::RedisSet;
            let commit = if plain { redis::Commit::Plain } else { redis::Commit::Both };
            let protocol = redis::Redis::new(commit, work, connections, settings.replicas);
            peer_block(PeerDriver::connect(protocol, &lead)?, place, settings, &stream, stop)
        }
        Target::Zookeeper => {
            let protocol = zookeeper::Zookeeper::new(work, connections);
            peer_block(PeerDriver::connect(protocol, &lead)?, place, settings, &stream, stop)
        }
        Target::Memcached => {
            let protocol = memcached::Memcached::new(work, addresses.len(), connections);
            let all = addresses.repeat(connections);
            peer_block(PeerDriver::connect(protocol, &all)?, place, settings, &stream, stop)
        }
    }
}

/// Connections that suit a target: docs/design/bench.md, "Peers", says how these were chosen.
fn connections(target: Target, in_flight: u32) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match target {
        Target::Dropstone | Target::Memcached => 1,
        Target::Etcd | Target::EtcdPut | Target::Zookeeper => (in_flight as usize / 16).min(processors / 2).clamp(1, 8),
        Target::Postgres | Target::PostgresPut => (in_flight as usize).min(POSTGRES_CONNECTIONS_MAX),
        Target::Nats | Target::NatsSync => 1,
        Target::Redis | Target::RedisSet | Target::Valkey => (in_flight as usize / 256).clamp(1, 4),
    }
}

fn native_block(
    place: &Place<'_>,
    settings: &BlockSettings,
    stream: &StreamSettings,
    lanes: usize,
    stop: &AtomicBool,
) -> Result<Block> {
    let client = native::connect(&place.cluster.addresses)?;
    let groups = client.cluster_map()?.groups();
    let is_null = stream.mix.is_null();
    let stream = StreamSettings { mix: Arc::new((*stream.mix).clone().over_groups(groups)), ..stream.clone() };
    let filled = match is_null {
        true => counts(&client, groups),
        false => populate(&client, &stream, place.run, &clock::wall_ms, stop, |_, _| {}),
    };
    let homes = match filled {
        Ok(homes) => Arc::new(homes),
        Err(PopulateError::Interrupted) => return Ok(interrupted()),
        Err(error) => return Err(error.into()),
    };
    let before: u64 = homes.iter().map(|home| home.head).sum();
    let native = NativeSettings {
        targets: place.cluster.addresses.iter().map(ToString::to_string).collect(),
        groups,
        lanes,
        only_core: None,
        deadline: DEADLINE,
        spin: Span(0),
        seed: settings.seed,
    };
    let driver = NativeDriver::new(native, homes).context("could not make the driver")?;
    let mut block = measure(driver, place, settings, &stream, stop).0;
    if is_null && !block.is_interrupted {
        let after: u64 = counts(&client, groups)?.iter().map(|home| home.head).sum();
        block.check_counted(after - before);
    }
    Ok(block)
}

fn peer_block<P: Protocol>(
    driver: PeerDriver<P>,
    place: &Place<'_>,
    settings: &BlockSettings,
    stream: &StreamSettings,
    stop: &AtomicBool,
) -> Result<Block> {
    let (mut block, driver) = measure(driver, place, settings, stream, stop);
    if let Some(trouble) = driver.inner().trouble() {
        block.class = Class::Invalid;
        block.reasons.insert(0, format!("a connection was given up: {trouble}"));
    }
    Ok(block)
}

/// Loads the target, reads a sample back, and judges.
fn measure<D: Driver>(
    driver: D,
    place: &Place<'_>,
    settings: &BlockSettings,
    stream: &StreamSettings,
    stop: &AtomicBool,
) -> (Block, Sampled<D>) {
    let mut driver = Sampled::new(driver, settings.seed);
    let device = Disk::of(&place.cluster.dir);
    let pids = place.cluster.pids();
    let edge = || Edge {
        cpu: families_cpu_us(&pids) as f64,
        others: families_cpu_us(place.others) as f64,
        device: device.counters(),
        host: HostCounters::read(),
    };
    let start = clock::mono() + LEAD;
    let from = start + Span(SECOND.0 * settings.warm_s);
    let window = Window { from, until: from + Span(SECOND.0 * settings.window_s) };
    let pacing = Loop::Closed { clients: settings.in_flight, think: Span(0) };
    let generator = GeneratorSettings { pacing, in_flight_max: settings.in_flight as usize };
    let source = Source::new(stream, start, (0, 1));
    let generator = Generator::new(source, Contents::new(settings.seed), generator, false, start);
    let (mut edges, mut busy_max) = ((edge(), None), 0.0);
    let result = drive(generator, &mut driver, (0, start), stop, |report| {
        let second = report.second + 1;
        if settings.warm_s < second && second <= settings.warm_s + settings.window_s {
            busy_max = f64::max(busy_max, busy_of(&report.record));
        }
        if second == settings.warm_s {
            edges.0 = edge();
            place.at_edge.inspect(|at_edge| at_edge());
        } else if second == settings.warm_s + settings.window_s {
            edges.1 = Some(edge());
            place.at_edge.inspect(|at_edge| at_edge());
        }
        Orders { window: Some(window) }
    });
    let after = edges.1.unwrap_or_else(edge);
    let before = edges.0;
    let seconds = settings.window_s as f64;
    let read_back = if result.is_interrupted { ReadBack::default() } else { driver.read_back() };
    let verdict = Verdict::of(&Evidence {
        total: &result.total,
        seconds,
        offered_rate: None,
        busy_max,
        is_steady: true,
        unsent: result.unsent,
        unanswered: result.unanswered,
        errors_max: ERRORS_MAX,
        violations_after: read_back.wrong_count,
        host: after.host.since(&before.host, seconds, true),
    });
    let moved = after.device.zip(before.device).map(|(after, before)| after.since(before));
    let mut block = Block {
        record: result.total,
        seconds,
        cpu_us: after.cpu - before.cpu,
        others_cpu: (after.others - before.others) / 1e6 / seconds,
        flushes: device.flushes(moved),
        device_bytes: moved.map(|moved| moved.bytes),
        read_back,
        class: verdict.class,
        reasons: verdict.reasons.iter().map(ToString::to_string).collect(),
        is_interrupted: result.is_interrupted,
    };
    block.judge_more(place.target);
    (block, driver)
}

impl Block {
    /// Acknowledged operations of a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.record.counts.achieved as f64 / self.seconds.max(1e-9)
    }

    /// Wrong answers, during the block or when it was read back.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.record.counts.violations.values().sum::<u64>() + self.read_back.wrong_count
    }

    /// The groups of a null machine counted so many commands meanwhile: no fewer than were acknowledged in the window.
    fn check_counted(&mut self, counted: u64) {
        let acknowledged = self.record.counts.achieved;
        self.read_back.looked_for = acknowledged;
        if counted < acknowledged {
            self.class = Class::Invalid;
            self.read_back.wrong_count = acknowledged - counted;
            self.reasons.insert(0, format!("{acknowledged} commands were acknowledged and {counted} counted"));
        }
    }

    /// What a verdict of the load generator does not look at.
    fn judge_more(&mut self, target: Target) {
        if let Some(why) = contradiction(&target.durability(), self.flushes) {
            self.class = Class::Invalid;
            self.reasons.insert(0, why.to_owned());
        }
        if self.read_back.unanswered > 0 {
            self.class = Class::Invalid;
            self.reasons.push(format!("{} acknowledged files could not be read back", self.read_back.unanswered));
        }
        self.reasons.extend(self.read_back.wrong.iter().map(|wrong| format!("read back wrong: {wrong}")));
        let counts = &self.record.counts;
        let errors = counts.errors.iter().map(|(kind, count)| format!("{count} answers were {}", kind.name()));
        let wrong = counts.violations.iter().map(|(kind, count)| format!("{count} answers were {}", kind.name()));
        self.reasons.extend(errors.chain(wrong));
        if self.others_cpu > 0.02 {
            self.reasons.push(format!("the other target, idle, used {:.1} % of a core", self.others_cpu * 100.0));
        }
    }
}

/// A block that was interrupted before it began.
fn interrupted() -> Block {
    Block {
        record: Record::default(),
        seconds: 0.0,
        cpu_us: 0.0,
        others_cpu: 0.0,
        flushes: Flushes::NotCounted("interrupted"),
        device_bytes: None,
        read_back: ReadBack::default(),
        class: Class::Invalid,
        reasons: Vec::new(),
        is_interrupted: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synced_target_without_a_flush_is_invalid_and_a_cache_is_not() {
        let still = || Block { flushes: Flushes::Counted(0), class: Class::Valid, ..interrupted() };
        let mut block = still();
        block.judge_more(Target::Etcd);
        assert_eq!((block.class, block.reasons.len()), (Class::Invalid, 1));
        let mut block = still();
        block.judge_more(Target::Memcached);
        assert_eq!((block.class, block.reasons.len()), (Class::Valid, 0));
        let mut block = Block { flushes: Flushes::NotCounted("tmpfs"), ..still() };
        block.judge_more(Target::Etcd);
        assert_eq!(block.class, Class::Valid);
    }
}
