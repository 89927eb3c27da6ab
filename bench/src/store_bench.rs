//! The store beside the tree it stands on, in the shape of docs/design/store.md: file commits of two rows each over a set of
//! paths, one applying thread, processor time of the whole process with flushes and compaction.
//!
//! ```text
//! arms.rs: the two stores   load.rs: the commits, the same for both   reads.rs: lookups and listings
//! this file: rounds of pairs, and the report
//! ```

pub mod arms;
pub mod load;
pub mod reads;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use reactor::device::Usage;

use arms::{Arm, Direct, Nothing, Ours};
use load::Load;
use reads::{Filled, Rate};

/// Processor time that does not grow by more than this in [`QUIET`] is that of a process at rest. Units: milliseconds.
const QUIET_MS: u64 = 10;
const QUIET: Duration = Duration::from_millis(300);

/// Measures the store: file commits beside the lsm-tree crate used directly, point reads and listings.
///
/// A commit puts two rows (150 and 56 bytes with their keys); the processor time of the process is counted until flushes and
/// compaction are at rest, and what it takes to make the commits is taken off.
#[derive(Parser, Debug)]
#[command(name = "store")]
pub struct StoreBenchArgs {
    /// Where the stores are made, in a folder that is removed again.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// File commits of a round.
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    commits: u64,
    /// Distinct paths.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    paths: u64,
    /// File commits of a batch.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: u64,
    /// Rounds: each store in turn.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Rows of the tree that is read; its block cache holds 128 MiB, a row has 150 bytes.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    rows: u64,
    /// What is measured.
    #[arg(long, value_name = "PART", value_delimiter = ',', default_values = ["commits", "reads"])]
    parts: Vec<Part>,
    /// Only our store, to profile it.
    #[arg(long)]
    alone: bool,
    /// Leaves the tree that is read, in `store-bench-kept`, and reads the one that is there already.
    #[arg(long)]
    keep: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the bench.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// File commits beside the tree used directly.
    Commits,
    /// Lookups and listings.
    Reads,
}

/// Rows of a memtable, for lookups in memory.
const ROWS_IN_MEMORY: u64 = 200_000;

/// What one arm did in one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Of the applying thread, until the last batch was taken.
    commits_per_s: f64,
    /// Of the process, until it was at rest.
    cpu_us: f64,
    /// Of the applying thread.
    thread_us: f64,
}

/// Runs the rounds and prints them.
///
/// # Errors
/// A store does not open, or fails.
pub fn run(args: &StoreBenchArgs) -> Result<()> {
    let dir = args.dir.join(format!("store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
    let mut done = Ok(());
    if args.parts.contains(&Part::Commits) {
        done = done.and_then(|()| rounds(args, &dir));
    }
    if args.parts.contains(&Part::Reads) {
        done = done.and_then(|()| read(args, &dir.join("reads")));
    }
    std::fs::remove_dir_all(&dir).with_context(|| format!("could not remove {}", dir.display()))?;
    done
}

fn read(args: &StoreBenchArgs, dir: &std::path::Path) -> Result<()> {
    let tables = dir.join("tables");
    let tell = |what: &str, rate: Rate| {
        println!("{what}: {:.0} k/s, {:.0} k per second of CPU", rate.per_s / 1000.0, rate.per_cpu_s / 1000.0);
    };
    let mut filled = Filled::make(&dir.join("memory"), ROWS_IN_MEMORY, false)?;
    for _ in 0..args.rounds {
        tell("lookups in a memtable", filled.lookups_in_memory(5_000_000)?);
    }
    filled.close()?;
    let kept = args.dir.join("store-bench-kept");
    let mut filled = if args.keep && kept.exists() {
        Filled::reopen(&kept, args.rows)?
    } else {
        println!("filling a tree of {} rows", args.rows);
        Filled::make(if args.keep { &kept } else { &tables }, args.rows, true)?
    };
    for _ in 0..args.rounds {
        tell("lookups in tables larger than the block cache", filled.lookups(1_000_000)?);
        tell("listing, pages of 1,000", filled.listing(2_000_000)?);
    }
    filled.close()
}

fn rounds(args: &StoreBenchArgs, dir: &std::path::Path) -> Result<()> {
    println!(
        "{} file commits of two rows, {} paths, {} a batch; CPU with flushes and compaction",
        args.commits, args.paths, args.batch
    );
    let load = measure(args, Nothing::open, &dir.join("load"))?;
    println!("making the commits: {:.2} us each, taken off below", load.cpu_us);
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let our = measure(args, Ours::open, &dir.join(format!("ours-{round}")))?.without(&load);
        println!("round {round}: store {}", text(&our));
        ours.push(our);
        if !args.alone {
            let tree = measure(args, Direct::open, &dir.join(format!("direct-{round}")))?.without(&load);
            println!("round {round}: lsm-tree used directly {}", text(&tree));
            direct.push(tree);
        }
    }
    let ratios = ours.iter().zip(&direct).map(|(our, tree)| our.cpu_us / tree.cpu_us);
    println!("median: store {:.2} us a commit", median(ours.iter().map(|round| round.cpu_us)));
    if !args.alone {
        let tree = median(direct.iter().map(|round| round.cpu_us));
        println!("        lsm-tree used directly {tree:.2} us; the store takes {:.2} of it", median(ratios));
    }
    Ok(())
}

impl Round {
    fn without(self, load: &Round) -> Round {
        let per_s = 1.0 / (1.0 / self.commits_per_s - 1.0 / load.commits_per_s);
        Round { commits_per_s: per_s, cpu_us: self.cpu_us - load.cpu_us, thread_us: self.thread_us - load.thread_us }
    }
}

fn text(round: &Round) -> String {
    format!(
        "{:.0} k commits/s, {:.2} us CPU a commit ({:.2} us of the applying thread)",
        round.commits_per_s / 1000.0,
        round.cpu_us,
        round.thread_us
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure<A: Arm>(
    args: &StoreBenchArgs,
    open: impl FnOnce(&std::path::Path) -> Result<A>,
    at: &std::path::Path,
) -> Result<Round> {
    std::fs::create_dir_all(at).with_context(|| format!("could not make {}", at.display()))?;
    let mut arm = open(at)?;
    let mut load = Load::new(args.paths);
    let (before, began) = (Usage::now(), Instant::now());
    let mut left = args.commits;
    while left > 0 {
        let batch = left.min(args.batch);
        arm.apply(load.next_batch(batch as usize))?;
        left -= batch;
    }
    let took = began.elapsed();
    let thread_ns = Usage::now().since(before).thread_ns;
    arm.flush()?;
    rest(&mut arm)?;
    let used = Usage::now().since(before);
    arm.close()?;
    std::fs::remove_dir_all(at).with_context(|| format!("could not remove {}", at.display()))?;
    let commits = args.commits as f64;
    Ok(Round {
        commits_per_s: commits / took.as_secs_f64(),
        cpu_us: used.process_ms as f64 * 1000.0 / commits,
        thread_us: thread_ns as f64 / 1000.0 / commits,
    })
}

/// Waits until the threads behind the store have nothing more to do.
pub(crate) fn rest<A: Arm>(arm: &mut A) -> Result<()> {
    loop {
        let before = Usage::now();
        std::thread::sleep(QUIET);
        arm.tend()?;
        if Usage::now().since(before).process_ms <= QUIET_MS {
            return Ok(());
        }
    }
}
