//! The log of one core against a raw writer of the same frames: `cargo bench -p dropstone-bench --bench log -- --help`.
//!
//! ```text
//! for each backend and number of commands in flight, round after round:
//!   engine              ──its commits: bytes and commands──▶ raw writer, as long, the same commits over and over
//! ```
//! The engine is the real one: `SegLog` on `MmapDisk`, a ring, a storage thread; commands come from a closed loop. The raw
//! writer writes to a file that was written before, and syncs, through a ring with the same flags: what the disk gives.
//! Both run on the calling thread, one after the other, so that what else the machine does meets both.

pub mod arguments;
pub mod engine;
pub mod gates;
pub mod meter;
pub mod report;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use reactor::Backend;
use reactor::device::Device;
use reactor::raw_writer::RawWriter;

use arguments::LogBenchArgs;
use engine::{Engine, FRAMES_MAX_BYTES};
use gates::Level;
use meter::{Meter, Trace, Window};

/// Bytes of the raw writer's file.
const RAW_BYTES: u32 = 512 << 20;

/// Runs the whole benchmark; `counted` runs a part of it and tells how many allocations this thread made meanwhile.
///
/// # Errors
/// A backend does not work here, or the system refuses something; what was acknowledged and is not in the log afterwards.
pub fn run(args: &LogBenchArgs, counted: &dyn Fn(&mut dyn FnMut()) -> u64) -> Result<Vec<Level>> {
    let dir = args.dir.join(format!("log-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
    let levels = run_in(&dir, args, counted);
    fs::remove_dir_all(&dir).with_context(|| format!("could not remove {}", dir.display()))?;
    levels
}

fn run_in(dir: &Path, args: &LogBenchArgs, counted: &dyn Fn(&mut dyn FnMut()) -> u64) -> Result<Vec<Level>> {
    let device = Device::of(dir)?;
    let raw_bytes = RAW_BYTES.min(8 * args.segment_bytes() as u32);
    let mut raw = RawWriter::create(&dir.join("raw"), raw_bytes, FRAMES_MAX_BYTES)?;
    let mut levels: Vec<Level> = Vec::new();
    let mut trace = Trace::new();
    // One log at a time, as a core has one: those of the others would take its place in the caches.
    for backend in &args.backends {
        let mut engine = Engine::start(&dir.join(backend.name()), *backend, args)?;
        for in_flight in &args.in_flight {
            engine.run(*in_flight, args.warm_up(), &mut Window::default(), &mut Trace::new())?;
            let mut level = Level::new(*backend, *in_flight, args);
            for round in 0..args.windows {
                eprintln!("{backend}, {in_flight} in flight: round {} of {}", round + 1, args.windows);
                trace.clear();
                let mut window = Window::default();
                let mut done = Ok(());
                let meter = Meter::start(device);
                let allocations =
                    counted(&mut || done = engine.run(*in_flight, args.window(), &mut window, &mut trace));
                done?;
                meter.stop(&mut window);
                window.allocations = allocations;
                engine.settle()?;
                level.add(window, replay(&mut raw, &trace, args, device)?);
            }
            levels.push(level);
        }
        check(*backend, engine)?;
    }
    Ok(levels)
}

/// The raw writer's window: the recorded commits, in order, again and again.
fn replay(raw: &mut RawWriter, trace: &Trace, args: &LogBenchArgs, device: Device) -> Result<Window> {
    ensure!(!trace.commits.is_empty(), "nothing was committed in a window; take longer ones");
    let mut window = Window::default();
    let meter = Meter::start(device);
    let until = reactor::clock::mono() + args.window();
    let mut began = reactor::clock::mono();
    for commit in trace.commits.iter().cycle() {
        raw.commit(commit.bytes).context("the raw writer failed")?;
        let now = reactor::clock::mono();
        window.note_commit(commit, now.since(began));
        window.note_commands(commit.commands.into(), now.since(began));
        began = now;
        if now > until {
            break;
        }
    }
    meter.stop(&mut window);
    Ok(window)
}

/// All that was acknowledged is in the log.
fn check(backend: Backend, engine: Engine) -> Result<()> {
    let (last, found) = engine.stop_and_recover()?;
    ensure!(found == last, "{backend}: entry {last} was acknowledged, and the log ends at {found}");
    Ok(())
}

#[cfg(test)]
mod tests;
