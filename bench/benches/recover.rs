//! How long a log takes to be read back: `cargo bench -p dropstone-bench --bench recover -- --help`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bench::log_bench::arguments::LogBenchArgs;
use bench::log_bench::engine::Engine;
use clap::Parser;
use reactor::Backend;
use reactor::storage::FileLogReader;

/// Writes a log of one core, full of small commands, and times how recovery reads it back.
///
/// Recovery reads past the page cache, so a log that was just written is as cold as one of yesterday.
#[derive(Parser, Debug)]
#[command(name = "recover")]
struct RecoverArgs {
    /// Where the log is made, in a folder that is removed again.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Size of the log, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(256..))]
    mib: u64,
    /// Bytes of a command.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    bytes: u32,
    /// Times that it is read.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Leave the log where it was made, to look at it with `dropstone log`.
    #[arg(long)]
    keep: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&RecoverArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recovery bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RecoverArgs) -> Result<()> {
    let dir = args.dir.join(format!("recover-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
    let done = fill_and_read(&dir.join("c0"), args);
    if args.keep {
        println!("the log is in {}", dir.join("c0").display());
        return done;
    }
    fs::remove_dir_all(&dir).with_context(|| format!("could not remove {}", dir.display()))?;
    done
}

fn fill_and_read(dir: &std::path::Path, args: &RecoverArgs) -> Result<()> {
    let bytes = args.bytes.to_string();
    let engine_args = LogBenchArgs::parse_from(["log", "--bytes", &bytes]);
    let mut engine = Engine::start(dir, Backend::Direct, &engine_args)?;
    let began = Instant::now();
    engine.fill(args.mib << 20)?;
    println!("written in {:.1} s; entries up to {}", began.elapsed().as_secs_f64(), engine.last_index());
    let settings = engine.settings().clone();
    let (last, found) = engine.stop_and_recover()?;
    ensure!(last == found, "entry {last} was acknowledged, and the log ends at {found}");
    for round in 1..=args.rounds {
        let began = Instant::now();
        let recovered = seglog::recover(&mut FileLogReader::open(dir)?, &settings)?;
        let seconds = began.elapsed().as_secs_f64();
        let gib = (recovered.segments().len() as u64 * settings.segment_bytes) as f64 / f64::from(1 << 30);
        let report = recovered.report();
        println!(
            "round {round}: {gib:.2} GiB, {} frames, {} records in {seconds:.2} s; {:.2} GiB/s, {:.0} ns a record",
            report.frames,
            report.records,
            gib / seconds,
            seconds * 1e9 / report.records as f64
        );
    }
    Ok(())
}
