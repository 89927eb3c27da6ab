//! Our own cluster alone, along an axis: what more cores, groups, connections, operations in flight or bytes do to its
//! rate, with files and with the null machine; what idles cost; what a command costs each role.
//!
//! ```text
//! axis ─▶ points, each a machine and a value ─▶ clusters, all alive ─▶ blocks: 1 2 3, 3 2 1, 1 2 3 ─▶ medians
//!                                                                       └─▶ scale-AXIS.json, scale-AXIS.svg, a table
//! ```
//! Clusters that wait for their blocks rest; what else the machine does meets all points alike.

mod cost;
mod idle;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use load::mix::Mix;
use load::verdict::Class;
use reactor::clock;
use reactor::system::raise_file_limit;
use serde_json::Value;

use crate::args::ScaleArgs;
use crate::block::{self, Block, BlockSettings};
use crate::cluster::{Cluster, Shape, native};
use crate::commands::{MIX, host};
use crate::exit::INTERRUPTED;
use crate::target::{System, Target};
use crate::versus::quantile;

/// Requests that one connection has in flight at most.
const CONNECTION_REQUESTS_MAX: u32 = base::limits::CONNECTION_REQUESTS_MAX as u32;
/// Namespaces of file puts: enough that no session's window is in the way, few enough to be filled at once.
const NAMESPACES_MIN: u32 = 64;

/// What is varied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Axis {
    /// Cores of each node.
    Cores,
    /// Raft groups.
    Groups,
    /// Connections of the generator.
    Connections,
    /// Operations in flight.
    InFlight,
    /// Bytes of a null command.
    ValueSize,
    /// 10,000 groups at rest.
    IdleGroups,
    /// 10,000 connections at rest, beside a load.
    IdleConnections,
    /// Processor time, system calls, syncs and bytes of a command, for leader and follower.
    Cost,
}

impl Axis {
    const ALL: [Axis; 8] = {
        use Axis::*;
        [Cores, Groups, Connections, InFlight, ValueSize, IdleGroups, IdleConnections, Cost]
    };

    /// As on the command line, and in names of files.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Cores => "cores",
            Axis::Groups => "groups",
            Axis::Connections => "connections",
            Axis::InFlight => "in-flight",
            Axis::ValueSize => "value-size",
            Axis::IdleGroups => "idle-groups",
            Axis::IdleConnections => "idle-connections",
            Axis::Cost => "cost",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Axis::Cores => "cores of a node",
            Axis::Groups => "groups",
            Axis::Connections => "connections",
            Axis::InFlight => "in flight",
            Axis::ValueSize => "bytes of a command",
            Axis::IdleGroups | Axis::IdleConnections | Axis::Cost => self.name(),
        }
    }

    fn values(self) -> &'static [u32] {
        match self {
            Axis::Cores => &[1, 2],
            Axis::Groups => &[1, 4, 16, 64, 1024],
            Axis::Connections => &[1, 10, 100, 1_000, 10_000],
            Axis::InFlight => &[1, 8, 64, 256, 1024, 4096],
            Axis::ValueSize => &[16, 256, 1024, 4096, 16_384, 65_536],
            Axis::IdleGroups | Axis::IdleConnections | Axis::Cost => &[],
        }
    }
}

/// What a cluster does with commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    /// Puts of files.
    Files,
    /// Counts.
    Null,
}

impl Machine {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Files => "file puts",
            Machine::Null => "null",
        }
    }

    /// The shape of its cluster.
    pub fn shape(self, shape: &Shape) -> Shape {
        Shape { is_null: self == Machine::Null, ..shape.clone() }
    }

    /// What it is sent: files in enough namespaces for `groups`, or commands of 16 bytes.
    pub fn mix(self, groups: u32) -> Mix {
        if self == Machine::Null {
            return Mix::built_in("null").expect("it is built in");
        }
        let mut mix = Mix::parse("file-commit.toml", MIX).expect("a test parses it");
        mix.population.namespaces = NAMESPACES_MIN.max(2 * groups);
        mix
    }
}

/// One place on an axis, and what was measured there.
pub struct Point {
    /// Files or null.
    pub machine: Machine,
    /// On the axis.
    pub value: u32,
    /// Connections of the generator that were up.
    pub connections: u64,
    /// In the order in which they ran.
    pub blocks: Vec<Block>,
    shape: Shape,
    settings: BlockSettings,
}

impl Point {
    /// The median of what `figure` tells of each block; `None` where none has it.
    pub fn median(&self, figure: impl Fn(&Block) -> Option<f64>) -> Option<f64> {
        median(self.blocks.iter().filter_map(figure).collect())
    }

    /// Where it stands on a plot.
    pub fn place(&self, axis: Axis) -> f64 {
        let is_counted = axis == Axis::Connections && self.connections > 0;
        if is_counted { self.connections as f64 } else { self.value.into() }
    }

    /// Rates of the slowest and the fastest block.
    pub fn rates(&self) -> [f64; 2] {
        let rates = || self.blocks.iter().map(Block::rate);
        [rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)]
    }

    /// The worst of the blocks.
    pub fn class(&self) -> Class {
        self.blocks.iter().map(|block| block.class).max().unwrap_or(Class::Invalid)
    }
}

/// The middle of `values`; `None` of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// Runs the axes; returns the exit code.
pub fn run(args: &ScaleArgs, stop: &AtomicBool) -> Result<u8> {
    raise_file_limit().context("could not read the limit of open files")?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("could not make {}", args.out.display()))?;
    let axes = if args.axis.is_empty() { Axis::ALL.to_vec() } else { args.axis.clone() };
    let mut wrong = 0;
    for axis in axes {
        let (found, table) = match axis {
            Axis::IdleGroups => idle::groups(args, stop)?,
            Axis::IdleConnections => idle::connections(args, stop)?,
            Axis::Cost => cost::table(args, stop)?,
            _ => {
                let points = along(axis, args, stop)?;
                wrong += points.iter().flat_map(|point| &point.blocks).map(Block::wrong).sum::<u64>();
                draw(axis, &points, &args.out)?;
                (report::points_json(&points), report::points_table(axis, &points))
            }
        };
        println!("{table}");
        write_json(axis, args, found)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(INTERRUPTED);
        }
    }
    Ok(if wrong > 0 { 4 } else { 0 })
}

fn write_json(axis: Axis, args: &ScaleArgs, found: Value) -> Result<()> {
    let file = args.out.join(format!("scale-{}.json", axis.name()));
    let value = report::whole(axis, args, &host(&args.place.shape()), clock::wall_ms(), found);
    std::fs::write(&file, format!("{value:#}\n")).with_context(|| format!("could not write {}", file.display()))
}

fn draw(axis: Axis, points: &[Point], out: &Path) -> Result<()> {
    let Some(plot) = report::plot(axis, points) else { return Ok(()) };
    let file = out.join(format!("scale-{}.svg", axis.name()));
    load::report::files::write_picture(&file, &plot).with_context(|| format!("could not write {}", file.display()))
}

/// How blocks are run where the axis says nothing else.
pub fn settings(args: &ScaleArgs, machine: Machine, groups: u32, in_flight: u32) -> BlockSettings {
    BlockSettings {
        mix: Arc::new(machine.mix(groups)),
        is_mixed: false,
        seed: 1,
        in_flight,
        warm_s: args.warm.max(2),
        window_s: args.block,
        connections: Some(in_flight.div_ceil(CONNECTION_REQUESTS_MAX).max(1) as u16),
        replicas: 0,
    }
}

fn points(axis: Axis, args: &ScaleArgs, machine: Machine) -> Vec<Point> {
    let base = machine.shape(&args.place.shape());
    let point = |value: u32| {
        let mut shape = base.clone();
        match axis {
            Axis::Cores => shape.cores = value as u16,
            Axis::Groups => shape.groups = value,
            _ => {}
        }
        let in_flight = if axis == Axis::InFlight { value } else { args.in_flight };
        let mut settings = settings(args, machine, shape.groups, in_flight);
        match axis {
            Axis::Connections => {
                let lanes = value.div_ceil(connections_of_lane(machine, &shape));
                settings.connections = Some(lanes as u16);
                let mut mix = machine.mix(shape.groups);
                mix.population.namespaces = mix.population.namespaces.max(lanes);
                settings.mix = Arc::new(mix);
            }
            Axis::ValueSize => settings.mix = Arc::new(machine.mix(shape.groups).with_bytes(value.into())),
            _ => {}
        }
        Point { machine, value, connections: 0, blocks: Vec::new(), shape, settings }
    };
    axis.values().iter().map(|value| point(*value)).collect()
}

/// A lane asks a shared port for the map. Null commands of a lane go to every core of the cluster; a lane with one
/// namespace has one core to talk to.
fn connections_of_lane(machine: Machine, shape: &Shape) -> u32 {
    match machine {
        Machine::Files => 2,
        Machine::Null => 1 + u32::from(shape.nodes) * u32::from(shape.cores),
    }
}

/// All points of an axis, machine by machine, so that no more clusters are alive than an axis has places.
fn along(axis: Axis, args: &ScaleArgs, stop: &AtomicBool) -> Result<Vec<Point>> {
    let machines = if axis == Axis::ValueSize { &[Machine::Null][..] } else { &[Machine::Files, Machine::Null] };
    let mut all = Vec::new();
    for machine in machines {
        let mut points = points(axis, args, *machine);
        measure(axis, &mut points, args.rounds, stop)?;
        all.append(&mut points);
    }
    Ok(all)
}

fn measure(axis: Axis, points: &mut [Point], rounds: u32, stop: &AtomicBool) -> Result<()> {
    let mut clusters: Vec<((u16, u32), Cluster)> = Vec::new();
    for point in points.iter() {
        let key = (point.shape.cores, point.shape.groups);
        if !clusters.iter().any(|(known, _)| *known == key) {
            clusters.push((key, Cluster::start(System::Dropstone, &point.shape, stop)?));
        }
    }
    for round in 0..rounds {
        let places: Vec<usize> = (0..points.len()).collect();
        let order: Vec<usize> = if round % 2 == 0 { places } else { places.into_iter().rev().collect() };
        for at in order {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let point = &mut points[at];
            let key = (point.shape.cores, point.shape.groups);
            let cluster = clusters.iter_mut().find(|(known, _)| *known == key).map(|(_, cluster)| cluster);
            let cluster = cluster.expect("each shape has its cluster");
            one(axis, point, cluster, round, stop)?;
        }
    }
    Ok(())
}

fn one(axis: Axis, point: &mut Point, cluster: &mut Cluster, round: u32, stop: &AtomicBool) -> Result<()> {
    let run = format!("scale-{}-{}-{round}-{:x}", axis.name(), point.value, clock::wall_ms());
    let seen = std::cell::Cell::new(0);
    let addresses = cluster.addresses.clone();
    // Once, at the first edge: what it asks takes a moment of the generator's.
    let count = || {
        if seen.get() == 0 {
            seen.set(connections(&addresses).unwrap_or(0));
        }
    };
    let at_edge: Option<&dyn Fn()> = if round == 0 { Some(&count) } else { None };
    let place = block::Place { target: Target::Dropstone, cluster, others: &[], run: &run, at_edge };
    let block = block::run(&place, &point.settings, stop)?;
    point.connections = point.connections.max(seen.get());
    cluster.check()?;
    if !block.is_interrupted {
        let (rate, p99) = (block.rate(), quantile(&block, 0.99).unwrap_or(0.0) / 1e3);
        let (machine, class) = (point.machine.name(), block.class.name());
        eprintln!("{:<9} {} {:>6}  {rate:>9.0} ops/s  p99 {p99:>7.2} ms  {class}", machine, axis.name(), point.value);
        point.blocks.push(block);
    }
    Ok(())
}

/// Client connections that the nodes count.
fn connections(addresses: &[std::net::SocketAddr]) -> Result<u64> {
    let nodes = native::connect(addresses)?.status()?;
    let cores = nodes.iter().filter_map(|node| node.cores.as_ref().ok()).flatten();
    Ok(cores.map(|core| core.counters.connections).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle_or_between_the_two_in_it() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn every_axis_has_a_name_of_its_own_that_the_command_line_knows() {
        for axis in Axis::ALL {
            assert_eq!(Axis::from_str(axis.name(), false), Ok(axis));
        }
    }

    #[test]
    fn files_have_namespaces_for_all_groups_and_null_commands_have_16_bytes() {
        assert_eq!(Machine::Files.mix(1024).population.namespaces, 2048);
        assert_eq!(Machine::Files.mix(1).population.namespaces, NAMESPACES_MIN);
        assert!(Machine::Null.mix(8).is_null() && !Machine::Files.mix(8).is_null());
    }
}
