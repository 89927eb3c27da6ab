//! The metadata machine over its store: what a folder move costs by what is below the folder, and how a first recursive
//! listing of a large namespace goes.
//!
//! ```text
//! machine.rs: one group, applied to and asked as a shard does   this file: the trees, the rounds, the report
//! ```

mod machine;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use base::Jid;
use clap::Parser;
use hdrhistogram::Histogram;
use meta::{Answer, At, Command, CommitFile, Mkdir, Move, PutMode, Query};
use reactor::device::Usage;

use machine::Machine;

/// Entries of a page of a listing: the most that is answered.
const PAGE: u32 = 2000;
/// Files of one folder in a tree.
const FOLDER: u64 = 1000;
/// Commands of one entry while a tree is made.
const BATCH: usize = 500;
/// SHA-256 of nothing: the content of an empty file (FIPS 180-4).
const EMPTY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Measures the metadata machine over its store: folder moves of trees of several sizes, turn by turn, and one recursive
/// listing of a large namespace from its first page to its last.
#[derive(Parser, Debug)]
#[command(name = "meta")]
pub struct MetaBenchArgs {
    /// Where the store is made, in a folder that is removed again.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Files below the folders that are moved.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000])]
    trees: Vec<u64>,
    /// Moves of each folder.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    moves: u64,
    /// Files of the namespace that is listed.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    files: u64,
    /// What is measured.
    #[arg(long, value_name = "PART", value_delimiter = ',', default_values = ["moves", "listing"])]
    parts: Vec<Part>,
    /// Leaves the namespace that is listed, in `meta-bench-kept`, and lists the one that is there already.
    #[arg(long)]
    keep: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the bench.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Folder moves.
    Moves,
    /// The recursive listing.
    Listing,
}

/// Runs what is asked for and prints it.
///
/// # Errors
/// The store does not open, or fails; the machine answers otherwise than it must.
pub fn run(args: &MetaBenchArgs) -> Result<()> {
    let dir = args.dir.join(format!("meta-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
    let mut done = Ok(());
    if args.parts.contains(&Part::Moves) {
        done = done.and_then(|()| moves(args, &dir.join("moves")));
    }
    if args.parts.contains(&Part::Listing) {
        let at = if args.keep { args.dir.join("meta-bench-kept") } else { dir.join("listing") };
        done = done.and_then(|()| listing(args, &at));
    }
    std::fs::remove_dir_all(&dir).with_context(|| format!("could not remove {}", dir.display()))?;
    done
}

/// Each tree's folder goes to and fro between two parents, the trees by turns.
fn moves(args: &MetaBenchArgs, dir: &Path) -> Result<()> {
    let mut machine = Machine::open(dir)?;
    let folder = |side: &str, files: u64| format!("/{side}/tree of {files}");
    let mut first = vec![mkdir("/here"), mkdir("/there")];
    first.extend(args.trees.iter().map(|files| mkdir(&folder("here", *files))));
    machine.apply(&first)?;
    for files in &args.trees {
        println!("making a tree of {files} files");
        fill(&mut machine, &folder("here", *files), 0..*files)?;
    }
    machine.rest()?;
    let mut spans: Vec<Histogram<u64>> = Vec::new();
    for _ in &args.trees {
        spans.push(Histogram::new(3)?);
    }
    for round in 0..args.moves {
        let (from, to) = if round % 2 == 0 { ("here", "there") } else { ("there", "here") };
        for (files, span) in args.trees.iter().zip(&mut spans) {
            let (source, target) = (folder(from, *files), folder(to, *files));
            let part = Move { source: At::path(&source), target: At::path(&target), autorename: false };
            let began = Instant::now();
            machine.apply(&[Command::Move(part)])?;
            span.record(began.elapsed().as_nanos() as u64)?;
        }
    }
    println!("moves of a folder, {} each, the trees by turns: time to apply one", args.moves);
    for (files, span) in args.trees.iter().zip(&spans) {
        let us = |quantile: f64| span.value_at_quantile(quantile) as f64 / 1000.0;
        println!("{files:>10} files below: p50 {:.1} us, p99 {:.1} us", us(0.5), us(0.99));
    }
    machine.close()
}

/// The whole namespace, page by page.
fn listing(args: &MetaBenchArgs, dir: &Path) -> Result<()> {
    let mut machine = if args.keep && dir.exists() {
        Machine::reopen(dir)?
    } else {
        let mut machine = Machine::open(dir)?;
        println!("making a namespace of {} files", args.files);
        fill(&mut machine, "", 0..args.files)?;
        machine.rest()?;
        machine
    };
    let total = args.files + args.files.div_ceil(FOLDER);
    let tenth = total.div_ceil(10);
    println!("recursive listing, pages of {PAGE}; resident before: {} MiB", resident_mib());
    let (mut position, mut listed, mut head) = (Vec::new(), 0, Jid(0));
    let (mut rates, mut most_mib) = (Vec::new(), 0);
    let mut meter = (Instant::now(), Usage::now(), 0);
    loop {
        let page = Query::ListPage { at: At::path(""), recursive: true, position, limit: PAGE };
        let Answer::Page { entries, next, head: now } = machine.ask(&page)? else {
            anyhow::bail!("a listing was not answered with a page")
        };
        ensure!(head == Jid(0) || head == now, "the namespace moved under the listing");
        (head, listed) = (now, listed + entries.len() as u64);
        if listed - meter.2 >= tenth || next.is_none() {
            let (count, took) = (listed - meter.2, meter.0.elapsed().as_secs_f64());
            let cpu_s = Usage::now().since(meter.1).process_ms as f64 / 1000.0;
            most_mib = most_mib.max(resident_mib());
            println!(
                "{listed:>10} listed: {:.0} k/s, {:.0} k per second of CPU, {} MiB resident",
                count as f64 / took / 1000.0,
                count as f64 / cpu_s / 1000.0,
                resident_mib()
            );
            rates.push(count as f64 / took);
            meter = (Instant::now(), Usage::now(), listed);
        }
        match next {
            Some(next) => position = next,
            None => break,
        }
    }
    ensure!(listed == total, "{listed} entries were listed and {total} are there");
    let (least, most) =
        rates.iter().fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
    println!("{listed} entries; slowest tenth over fastest: {:.2}; {most_mib} MiB resident at most", least / most);
    machine.close()
}

/// Files of these numbers, a thousand a folder, under a folder that is there.
fn fill(machine: &mut Machine, parent: &str, numbers: Range<u64>) -> Result<()> {
    let mut commands = Vec::with_capacity(BATCH);
    for number in numbers {
        if number.is_multiple_of(FOLDER) {
            commands.push(mkdir(&format!("{parent}/folder {}", number / FOLDER)));
        }
        commands.push(file(&format!("{parent}/folder {}/file {number}.txt", number / FOLDER)));
        if commands.len() >= BATCH {
            machine.apply(&commands)?;
            commands.clear();
        }
    }
    machine.apply(&commands)
}

fn mkdir(path: &str) -> Command {
    Command::Mkdir(Mkdir { at: At::path(path), autorename: false })
}

fn file(path: &str) -> Command {
    Command::CommitFile(CommitFile {
        at: At::path(path),
        mode: PutMode::Add,
        content_hash: EMPTY,
        ..CommitFile::default()
    })
}

/// Memory of the process that is in use. Units: MiB; 0 where the kernel does not tell.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
}
