//! The commands: clusters by hand, comparisons, the list of targets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use load::mix::Mix;
use load::report::result::Host;
use load::verdict::Class;
use reactor::signals::StopSignal;
use reactor::{clock, signals};

use crate::args::{ClusterCommand, Command, Place, VersusArgs};
use crate::block::{self, Block, BlockSettings};
use crate::cluster::{self, Cluster, Shape};
use crate::drivers::etcd::files;
use crate::exit::{INTERRUPTED, USAGE, exit};
use crate::gets;
use crate::report::{self, Setup};
use crate::scale;
use crate::target::{System, Target};
use crate::versus::{Comparison, run_level};

/// What every target is sent.
pub const MIX: &str = include_str!("../file-commit.toml");
/// Of the unmeasured load on a fresh cluster.
const PRIME_IN_FLIGHT: u32 = 64;
/// Redis acknowledges with `WAIT 1`; a cluster of one has no replica to wait for.
const REPLICAS: u64 = 1;

/// What `--all` puts beside us, the most alike first.
const PEERS: [Target; 8] = [
    Target::Etcd,
    Target::Zookeeper,
    Target::Postgres,
    Target::NatsSync,
    Target::Valkey,
    Target::Redis,
    Target::Nats,
    Target::Memcached,
];

/// Runs one; returns the exit code.
pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Cluster(ClusterCommand::Up { system, place }) => up(*system, &place.shape()),
        Command::Versus(args) => versus(args),
        Command::Scale(args) => {
            let (stop, _signal) = stop()?;
            scale::run(args, &stop)
        }
        Command::Gets(args) => {
            let (stop, _signal) = stop()?;
            gets::run(args, &stop)
        }
        Command::NullMemcache { value_bytes } => {
            let (stop, _signal) = stop()?;
            gets::null::serve(*value_bytes, &stop).map(|()| 0)
        }
        Command::Targets(place) => {
            targets(place);
            Ok(0)
        }
    }
}

/// SIGINT and SIGTERM set the flag; the signal can be waited for, too.
fn stop() -> Result<(Arc<AtomicBool>, StopSignal)> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let signal = signals::on_stop(move || seen.store(true, Ordering::Relaxed));
    Ok((stop, signal.context("could not catch SIGINT and SIGTERM")?))
}

fn up(system: System, shape: &Shape) -> Result<u8> {
    let (stop, signal) = stop()?;
    let mut cluster = Cluster::start(system, shape, &stop)?;
    let Cluster { version, told, dir, .. } = &cluster;
    println!("{} {version}, {} nodes, data in {}", system.name(), shape.nodes, dir.display());
    if !told.is_empty() {
        println!("{} says when asked: {told}", system.name());
    }
    for (process, address) in cluster.pids().iter().zip(addresses(&cluster)) {
        println!("  {address}  process {process}");
    }
    println!("clients: {}", addresses(&cluster).join(","));
    println!("Ctrl-C stops it, and nothing is left");
    while !signal.is_asked() {
        cluster.check()?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(0)
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.addresses.iter().map(ToString::to_string).collect()
}

fn targets(place: &Place) {
    for target in Target::value_variants() {
        let row = target.durability();
        let found = match cluster::find(target.system(), &place.shape()) {
            Ok(program) => format!("found: {}", program.display()),
            Err(error) => error.to_string(),
        };
        println!(
            "{:<13} {}\n{:<13} acknowledged means {}\n{:<13} {found}",
            target.name(),
            target.work(),
            "",
            row.ack,
            ""
        );
    }
}

fn versus(args: &VersusArgs) -> Result<u8> {
    let shape = args.place.shape();
    let pairs = chosen(args, &shape)?;
    if args.warm < 2 {
        return Err(exit(USAGE, "--warm is below 2s; connections and caches need as long"));
    }
    let (stop, _signal) = stop()?;
    let mix = match &args.mix {
        Some(name) => mixed(name, &pairs)?,
        None => Mix::parse("file-commit.toml", MIX).expect("a test parses it"),
    };
    let mut setup = Setup {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        mix: format!("{}/{}", mix.name, mix.version),
        seed: args.seed,
        blocks: [args.pairs.into(), args.block, args.warm, args.prime],
        host: host(&shape),
        start_unix_ms: clock::wall_ms(),
        is_partial: false,
    };
    let settings = BlockSettings {
        mix: Arc::new(mix),
        is_mixed: args.mix.is_some(),
        seed: args.seed,
        in_flight: 1,
        warm_s: args.warm,
        window_s: args.block,
        connections: args.connections,
        replicas: REPLICAS.min(u64::from(shape.nodes) - 1),
    };
    let mut comparisons = Vec::new();
    let mut first: Option<Cluster> = None;
    for targets in pairs {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let cluster = match first.take() {
            Some(cluster) => cluster,
            None => start(targets[0].system(), &shape, &stop)?,
        };
        let (cluster, comparison) = compare(targets, cluster, &shape, args, &settings, &stop)?;
        first = Some(cluster);
        comparisons.push(comparison);
    }
    setup.is_partial = stop.load(Ordering::Relaxed);
    drop(first);
    show(args, &setup, &comparisons)?;
    Ok(code_of(&comparisons, setup.is_partial))
}

/// A mix of the load generator, which all targets must have.
fn mixed(name: &str, pairs: &[[Target; 2]]) -> Result<Mix> {
    let Some(mix) = Mix::built_in(name) else {
        return Err(exit(USAGE, format!("no mix is called {name:?}; `dropstone bench mixes` lists them")));
    };
    for target in pairs.iter().flatten() {
        match target {
            Target::Dropstone => {}
            Target::Etcd => {
                if let Some(kind) = files::lacks(&mix) {
                    let kind = kind.name();
                    return Err(exit(USAGE, format!("mix {name} has {kind}, which has no counterpart on etcd")));
                }
            }
            other => {
                let other = other.name();
                return Err(exit(
                    USAGE,
                    format!("{other} has file commits alone; leave --mix out, or compare with etcd"),
                ));
            }
        }
    }
    Ok(mix)
}

/// The pairs to compare: the first target with each other one.
fn chosen(args: &VersusArgs, shape: &Shape) -> Result<Vec<[Target; 2]>> {
    let mut targets = args.target.clone();
    if args.all {
        targets = vec![Target::Dropstone];
        for peer in PEERS {
            match cluster::find(peer.system(), shape) {
                Ok(_) => targets.push(peer),
                Err(error) => eprintln!("left out: {error}"),
            }
        }
    }
    let [first, others @ ..] = targets.as_slice() else { unreachable!("clap wants one") };
    if others.is_empty() {
        return Err(exit(USAGE, "a comparison has two targets; give --target twice, or --all"));
    }
    // Before anything is started, all that is missing is told.
    for target in &targets {
        cluster::find(target.system(), shape)?;
    }
    for other in others {
        if !args.unlike && !args.all && first.durability().class != other.durability().class {
            let (this, that) = (first.durability().ack, other.durability().ack);
            let (first, other) = (first.name(), other.name());
            return Err(exit(
                USAGE,
                format!("{first} is {this}, {other} {that}: no equals; add --unlike to compare them with a stamp"),
            ));
        }
    }
    Ok(others.iter().map(|other| [*first, *other]).collect())
}

fn start(system: System, shape: &Shape, stop: &AtomicBool) -> Result<Cluster> {
    let cluster = Cluster::start(system, shape, stop)?;
    eprintln!("{} {} runs: {}", system.name(), cluster.version, addresses(&cluster).join(" "));
    Ok(cluster)
}

/// Compares two targets; the first one's cluster comes back.
fn compare(
    targets: [Target; 2],
    first: Cluster,
    shape: &Shape,
    args: &VersusArgs,
    settings: &BlockSettings,
    stop: &AtomicBool,
) -> Result<(Cluster, Comparison)> {
    let is_one = targets[0].system() == targets[1].system();
    let second = if is_one { None } else { Some(start(targets[1].system(), shape, stop)?) };
    let mut clusters = [Some(first), second];
    let of = |at: usize| clusters[at].as_ref().or(clusters[0].as_ref()).map(|it| (it.version.clone(), it.told.clone()));
    let [(first_version, first_told), (version, told)] = [0, 1].map(|at| of(at).unwrap_or_default());
    let (versions, told) = ([first_version, version], [first_told, told]);
    for arm in 0..2 {
        let settings = BlockSettings { in_flight: PRIME_IN_FLIGHT, window_s: args.prime, ..settings.clone() };
        let cluster = clusters[if is_one { 0 } else { arm }].as_ref().expect("it runs until the comparison ends");
        let run = format!("prime-{}-{:x}", targets[arm].name(), clock::wall_ms());
        block::run(
            &block::Place { target: targets[arm], cluster, others: &[], run: &run, at_edge: None },
            &settings,
            stop,
        )?;
    }
    let mut levels = Vec::new();
    for in_flight in &args.in_flight {
        let settings = BlockSettings { in_flight: *in_flight, ..settings.clone() };
        let level = run_level(*in_flight, args.pairs, |arm, number| {
            let at = if is_one { 0 } else { arm };
            let others = clusters[1 - at].as_ref().map(Cluster::pids).unwrap_or_default();
            let cluster = clusters[at].as_mut().expect("it runs until the comparison ends");
            let run = format!("{in_flight}-{number}-{}", targets[arm].name());
            // Accounts of our own outlive a block, so names differ between runs of one cluster.
            let run = format!("{run}-{:x}", clock::wall_ms());
            let place = block::Place { target: targets[arm], cluster, others: &others, run: &run, at_edge: None };
            let block = block::run(&place, &settings, stop)?;
            cluster.check()?;
            tell(targets[arm], *in_flight, &block);
            Ok::<_, anyhow::Error>((!block.is_interrupted).then_some(block))
        })?;
        levels.push(level);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let first = clusters[0].take().expect("it was there before");
    Ok((first, Comparison { targets, versions, told, is_mixed: settings.is_mixed, levels }))
}

/// A line for each block, while it goes on.
fn tell(target: Target, in_flight: u32, block: &Block) {
    if !block.is_interrupted {
        let (rate, class) = (block.rate(), block.class.name());
        eprintln!("{:<13} {in_flight:>5} in flight  {rate:>9.0} ops/s  {class}", target.name());
    }
}

fn show(args: &VersusArgs, setup: &Setup, comparisons: &[Comparison]) -> Result<()> {
    let is_stdout = |file: &Option<std::path::PathBuf>| file.as_deref() == Some(Path::new("-"));
    if !is_stdout(&args.json) && !is_stdout(&args.markdown) {
        print!("{}", report::text(setup, comparisons));
    }
    if let Some(file) = &args.json {
        write(file, &format!("{:#}\n", report::json(setup, comparisons)))?;
    }
    if let Some(file) = &args.markdown {
        write(file, &report::markdown(setup, comparisons))?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    if file == Path::new("-") {
        print!("{text}");
        return Ok(());
    }
    std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
}

fn code_of(comparisons: &[Comparison], is_partial: bool) -> u8 {
    let verdicts = || comparisons.iter().map(Comparison::verdict);
    let class = verdicts().map(|(class, _)| class).max().unwrap_or(Class::Invalid);
    match class {
        _ if verdicts().any(|(_, wrong)| wrong > 0) => 4,
        _ if is_partial => INTERRUPTED,
        Class::Valid => 0,
        Class::AtLeast => 2,
        Class::Invalid => 3,
    }
}

/// The machine in a line.
pub fn host(shape: &Shape) -> String {
    let Host { cpu, cores: processors, kernel, .. } = load::host::describe();
    let model = if cpu.is_empty() { "unknown processor" } else { &cpu };
    let Shape { nodes, cores, groups, .. } = shape;
    format!(
        "{processors} processors ({model}), {kernel}, {nodes} processes each, dropstone: {cores} cores, {groups} groups"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_new_one_block_files_and_no_more() {
        let mix = Mix::parse("file-commit.toml", MIX).expect("well formed");
        assert!((mix.write_share() - 1.0).abs() < 1e-9);
        assert_eq!((mix.name.as_str(), mix.population.namespaces), ("file-commit", 256));
        assert!(!mix.is_update(0));
    }

    #[test]
    fn exit_codes_are_those_of_the_bench() {
        assert_eq!(code_of(&[], true), 130);
        assert_eq!(code_of(&[], false), 3);
    }
}
