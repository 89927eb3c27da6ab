//! A disk that is full: appends go on in files that were prepared, then the node refuses what it cannot keep or stops with its
//! reason; whatever was acknowledged is there, and with space it goes on by itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape, wait_for};
use super::disk::{self, Disk};
use super::load::Load;
use super::small_disk;

/// The smallest in which a node of this shape is at ease.
const DISK_BYTES: u64 = 192 << 20;
/// Nothing is acknowledged for so long: the log takes no more.
const SILENCE: Duration = Duration::from_secs(3);

pub fn run() -> Result<()> {
    disk::run_with_disks("full-log")
}

/// The suite itself.
pub fn run_inside() -> Result<()> {
    let process = "segment_bytes = 4194304".to_owned();
    let shape = Shape { groups: 6, cores: 1, process, ..Shape::default() };
    small_disk::run("full-log", DISK_BYTES, shape, fill)
}

fn fill(cluster: &mut Cluster, disk: &Disk) -> Result<()> {
    let mut load = Load::new(&cluster.addresses())?;
    load.next_round()?;
    let ballast = disk.mount().join("ballast");
    let mut file = File::create(&ballast)?;
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    // Of the last block, too.
    while file.write_all(&[1; 512]).is_ok() {}
    drop(file);
    let (full_at, before) = (Instant::now(), load.totals().acknowledged);

    let (mut last, mut seen_at, mut ended) = (before, Instant::now(), None);
    while seen_at.elapsed() < SILENCE && ended.is_none() {
        std::thread::sleep(Duration::from_millis(50));
        let now = load.totals().acknowledged;
        if now > last {
            (last, seen_at) = (now, Instant::now());
        }
        ended = cluster.exited(1)?;
        ensure!(full_at.elapsed() < Duration::from_secs(120), "the log never filled: {last} commands acknowledged");
    }
    let kept = last - before;
    match ended {
        None => {
            // It still reads.
            load.check().context("on a full disk")?;
            println!("  {kept} commands acknowledged on the full disk, then none; all of them are read back");
        }
        Some(code) => {
            let says = cluster.last_words(1);
            ensure!(code == Some(74), "the node ended with {code:?} on a full disk: {says}");
            let is_clear = says.to_lowercase().contains("space") || says.contains("errno 28");
            ensure!(is_clear, "the node does not say why it stopped: {says}");
            let reason = says.lines().last().unwrap_or_default();
            println!("  {kept} commands acknowledged on the full disk, then the node ended with 74: {reason}");
            cluster.kill_node(1)?;
        }
    }

    fs::remove_file(&ballast)?;
    let freed = Instant::now();
    if ended.is_some() {
        ensure!(!cluster.verify_log(1)?, "the log is torn though nothing was cut");
        cluster.start_node(1)?;
    }
    wait_for(Duration::from_secs(60), || Ok((load.totals().acknowledged > last).then_some(())))
        .context("nothing is acknowledged although there is space again")?;
    println!("  goes on {:.1} s after there is space again", freed.elapsed().as_secs_f64());
    load.next_round()?;
    std::thread::sleep(Duration::from_millis(500));
    load.stop()?;
    load.check_all()?;
    drop(load);
    let code = cluster.stop_node(1)?;
    ensure!(code == Some(0), "the node ended with {code:?} on SIGTERM");
    ensure!(!cluster.verify_log(1)?, "the log is torn after a clean stop");
    Ok(())
}
