//! Power cuts under a live load: every node's data lies on an ext4 disk of its own whose power is cut at drawn times.
//!
//! ```text
//! load ────┬──────────── goes on through all of it ─────────────┬──▶
//!     cut ─┘ kill, or the node sees EIO and must end with 74    └─ read it all back
//!            unmount, mount (journal replay), `log verify`, start; in one of four the power is cut again meanwhile
//! ```
//!
//! A node alone shows that its own disk holds whatever it acknowledged; in a cluster of three one, two or all are cut.
//! The control is a node on a disk that is never told to flush: there the suite must see a loss.
//!
//! Long runs: `DROPSTONE_POWER_CUTS` power cuts from `DROPSTONE_POWER_SEED`, the log written as `DROPSTONE_POWER_BACKEND` says
//! (`process.log_backend`; without it the node chooses).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base::Prng;

use super::cluster::{Cluster, Shape, wait_for};
use super::disk::{self, Disk, Loss};
use super::load::{Load, Totals};

/// Power cuts, unless `DROPSTONE_POWER_CUTS` says how many; half of them of a node alone.
const CUTS: u64 = 20;
/// Drawn times and nodes, unless `DROPSTONE_POWER_SEED` names another.
const SEED: u64 = 1;
/// Of each disk; only what is written takes space.
const DISK_BYTES: u64 = 1 << 30;
/// A node that cannot write ends by itself within this.
const SEES_WITHIN: Duration = Duration::from_secs(20);
/// Exit code of a node whose disk fails.
const DISK_FAILED: Option<i32> = Some(74);

/// What all cuts have seen.
#[derive(Default)]
struct Sum {
    cuts: u64,
    again: u64,
    /// Nodes cut, each time counted.
    nodes: u64,
    /// Nodes that were left to find out, and ended with 74.
    seen: u64,
    /// Logs found torn behind what was persisted.
    torn: u64,
    /// Commands in flight at the cuts.
    in_flight: u64,
    slowest: Duration,
    totals: Totals,
}

pub fn run() -> Result<()> {
    disk::run_with_disks("powercut")
}

/// The suite itself.
pub fn run_inside() -> Result<()> {
    let (cuts, seed) = (number("DROPSTONE_POWER_CUTS", CUTS)?, number("DROPSTONE_POWER_SEED", SEED)?);
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-powercut-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    let mut sum = Sum::default();
    println!("  {cuts} power cuts from seed {seed}");
    for (name, nodes, cuts) in [("alone", 1, cuts / 2), ("three", 3, cuts - cuts / 2)] {
        let dir = dir.join(name);
        let done = Bench::new(&dir, nodes, false).and_then(|bench| cut_often(bench, cuts, seed, &mut sum));
        done.with_context(|| format!("the disks' images are kept in {}; seed {seed}", dir.display()))?;
    }
    control(&dir.join("control"))?;
    fs::remove_dir_all(&dir)?;
    println!(
        "  powercut: {} cuts ({} of them again while nodes recovered), {} disks; {} commands acknowledged, {} in flight at \
         a cut, {} without an answer; 0 lost, 0 invented; {} nodes ended with 74; {} of the logs torn, 0 damaged; slowest \
         return {:.1} s",
        sum.cuts,
        sum.again,
        sum.nodes,
        sum.totals.acknowledged,
        sum.in_flight,
        sum.totals.unknown,
        sum.seen,
        sum.torn,
        sum.slowest.as_secs_f64()
    );
    Ok(())
}

pub fn number(name: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number: {text:?}")),
        Err(_) => Ok(otherwise),
    }
}

/// Cuts the power of a cluster so often.
fn cut_often(mut bench: Bench, cuts: u64, seed: u64, sum: &mut Sum) -> Result<()> {
    let nodes = bench.disks.len() as u64;
    let mut load = Load::new(&bench.cluster.addresses())?;
    let mut dice = Prng::new(seed ^ nodes << 32);
    for cut in 1..=cuts {
        load.next_round().with_context(|| format!("before cut {cut}"))?;
        let outcome = cut_once(&mut bench, &mut load, &mut dice, sum);
        let what = outcome.with_context(|| format!("cut {cut} of {cuts}, of {nodes} nodes"))?;
        println!("  {cut:3} of {cuts}, {nodes} nodes: {what}");
    }
    load.stop()?;
    load.check_all().context("after all cuts")?;
    let ids: Vec<u64> = (1..=nodes).collect();
    bench.cluster.wait_same_state(&ids, Duration::from_secs(60))?;
    let totals = load.totals();
    sum.totals.asked += totals.asked;
    sum.totals.acknowledged += totals.acknowledged;
    sum.totals.unknown += totals.unknown;
    drop(load);
    for id in ids {
        let code = bench.cluster.stop_node(id)?;
        ensure!(code == Some(0), "node {id} ended with {code:?} on SIGTERM");
        ensure!(!bench.cluster.verify_log(id)?, "the log of node {id} is torn after a clean stop");
    }
    bench.finish()
}

/// A disk that lies must be seen to lose what was acknowledged: else this suite would see nothing anywhere.
fn control(dir: &Path) -> Result<()> {
    let mut bench = Bench::new(dir, 1, true)?;
    let mut load = Load::new(&bench.cluster.addresses())?;
    load.next_round()?;
    bench.disk(1).settle()?;
    std::thread::sleep(Duration::from_millis(500));
    bench.disk(1).cut(Loss::DeviceCache)?;
    bench.cluster.kill_node(1)?;
    bench.disk(1).power_off()?;
    let back = bench.disk(1).power_on().and_then(|()| bench.cluster.verify_log(1)).and_then(|_| {
        bench.cluster.start_node(1)?;
        load.check()
    });
    let Err(error) = back else { bail!("a disk that was never flushed lost nothing: these cuts show nothing") };
    let error = format!("{error:#}");
    let is_loss = ["lost", "not whole", "could not mount"].iter().any(|word| error.contains(word));
    ensure!(is_loss, "the control saw no loss but another failure: {error}");
    println!("  control, a disk that is never flushed: {}", error.trim_end());
    drop(load);
    bench.finish()
}

/// One cut, and back; says what was done.
fn cut_once(bench: &mut Bench, load: &mut Load, dice: &mut Prng, sum: &mut Sum) -> Result<String> {
    let nodes = bench.disks.len() as u64;
    let count = if nodes == 1 { 1 } else { [1, 2, 3, 3][dice.below(4) as usize] };
    let first = dice.below(nodes);
    let ids: Vec<u64> = (0..count).map(|at| (first + at) % nodes + 1).collect();
    let (mut sees, is_again) = (dice.one_in(2), dice.one_in(4));
    let loss = if dice.one_in(3) { Loss::PageCache } else { Loss::DeviceCache };
    // Each of some milliseconds and of most of a second is as likely.
    let after = Duration::from_micros(1000 << dice.below(10)) + Duration::from_micros(dice.below(1000));
    let before = load.totals();
    std::thread::sleep(after);
    let mut torn = 0;
    let mut begun = Instant::now();
    // A node that still recovers may have nothing to write, and sees nothing.
    sees &= ids.iter().all(|id| bench.cluster.is_serving(*id));
    for turn in 0..=u64::from(is_again) {
        for id in &ids {
            bench.disk(*id).cut(loss)?;
            if dice.one_in(3) {
                std::thread::sleep(Duration::from_millis(dice.below(30)));
            }
        }
        if turn == 0 {
            let at_cut = load.totals();
            sum.in_flight += at_cut.asked - at_cut.acknowledged - at_cut.unknown;
        }
        for id in &ids {
            if sees {
                bench.wait_seen(*id)?;
                sum.seen += 1;
            }
            bench.cluster.kill_node(*id)?;
            bench.disk(*id).power_off()?;
            bench.disk(*id).power_on()?;
            torn += u64::from(bench.cluster.verify_log(*id)?);
        }
        begun = Instant::now();
        ids.iter().try_for_each(|id| bench.cluster.start_node(*id))?;
        if turn == 0 && is_again {
            std::thread::sleep(Duration::from_millis(1 << dice.below(9)));
            sees = false;
        }
    }
    load.check()?;
    let back = begun.elapsed();
    sum.cuts += 1 + u64::from(is_again);
    sum.again += u64::from(is_again);
    sum.nodes += count * (1 + u64::from(is_again));
    sum.torn += torn;
    sum.slowest = sum.slowest.max(back);
    let now = load.totals();
    Ok(format!(
        "{loss:?} of nodes {ids:?} after {:.3} s{}{}, {torn} torn; all of {} acknowledged are there {:.1} s after the start",
        after.as_secs_f64(),
        if is_again { ", again while they recovered" } else { "" },
        if sees { ", seen" } else { "" },
        now.acknowledged - before.acknowledged,
        back.as_secs_f64()
    ))
}

/// A cluster and the disks below it, in this order of dropping: whoever uses a disk ends first.
struct Bench {
    cluster: Cluster,
    disks: Vec<Disk>,
}

impl Bench {
    fn new(dir: &Path, nodes: u64, lies: bool) -> Result<Bench> {
        fs::create_dir_all(dir)?;
        let make = |id| Disk::make(dir, &format!("m{id}"), DISK_BYTES, lies);
        let disks = (1..=nodes).map(make).collect::<Result<Vec<_>>>()?;
        // A file system of its own has `lost+found` at its top, and data wants an empty directory.
        let data: Vec<PathBuf> = disks.iter().map(|disk| disk.mount().join("data")).collect();
        // Small segments and memtables: they are switched, retired, flushed and merged between the cuts.
        let mut process = "segment_bytes = 4194304\nmemtable_bytes = 1048576\nlog_trailing_entries = 256".to_owned();
        if let Ok(backend) = std::env::var("DROPSTONE_POWER_BACKEND") {
            process += &format!("\nlog_backend = {backend:?}");
        }
        let shape = Shape { groups: 6, process, data, ..Shape::default() };
        Ok(Bench { cluster: Cluster::start_in(dir.join("cluster"), shape)?, disks })
    }

    fn disk(&mut self, id: u64) -> &mut Disk {
        &mut self.disks[id as usize - 1]
    }

    /// Waits until a node has seen that it cannot write: it says so and ends with 74.
    fn wait_seen(&mut self, id: u64) -> Result<()> {
        let code = wait_for(SEES_WITHIN, || self.cluster.exited(id))
            .with_context(|| format!("node {id} goes on without a disk: {}", self.cluster.last_words(id)))?;
        let says = self.cluster.last_words(id).to_lowercase();
        ensure!(code == DISK_FAILED, "node {id} ended with {code:?} when its disk failed: {says}");
        // EIO from the first that touches the file system; EROFS once it has aborted its journal.
        let reasons = ["errno 5", "errno 30", "os error 5", "os error 30"];
        let is_clear = reasons.iter().any(|reason| says.contains(reason));
        ensure!(is_clear, "node {id} does not say why it stopped: {says}");
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.cluster.kill_all();
        self.cluster.finish();
        self.disks.iter_mut().try_for_each(Disk::power_off)
    }
}
