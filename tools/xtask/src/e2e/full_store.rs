//! A node whose disk runs full under its store: below the reserve it refuses all but deletes and says why, reads go on, also when
//! nothing is left at all and flushes wait; with space it goes on by itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape, wait_for};
use super::disk::{self, Disk};
use super::load::Load;
use super::small_disk;

const DISK_BYTES: u64 = 256 << 20;
const RESERVE_BYTES: u64 = 32 << 20;
/// What the node is left when it is below its reserve.
const LEFT_BYTES: u64 = 16 << 20;
/// Commands that a refused client gives up after.
const REFUSED: i32 = 5;

pub fn run() -> Result<()> {
    disk::run_with_disks("full-store")
}

/// The suite itself.
pub fn run_inside() -> Result<()> {
    // Small memtables, so that many flushes are due while the disk is full.
    let process = format!(
        "segment_bytes = 4194304\nmemtable_bytes = 1048576\nlog_trailing_entries = 64\nspace_reserve_bytes = {RESERVE_BYTES}"
    );
    let shape = Shape { groups: 2, cores: 1, process, ..Shape::default() };
    small_disk::run("full-store", DISK_BYTES, shape, fill)
}

fn fill(cluster: &mut Cluster, disk: &Disk) -> Result<()> {
    for name in ["/kept", "/goes", "/goes too"] {
        cluster.ok(&["mkdir", name])?;
    }
    let mut load = Load::new(&cluster.addresses())?;
    load.next_round()?;
    let ballast = disk.mount().join("ballast");
    write_until_left(&ballast, disk, LEFT_BYTES)?;
    // The node looks once a second.
    wait_for(Duration::from_secs(30), || {
        let output = cluster.command(&["mkdir", "/refused"]).output()?;
        Ok((output.status.code() == Some(REFUSED)).then_some(()))
    })
    .context("puts are taken although the disk is below its reserve")?;
    cluster.refused(&["mkdir", "/refused too"], REFUSED, "less free disk space than its reserve")?;
    cluster.ok(&["stat", "/kept"])?;
    cluster.ok(&["rm", "-r", "/goes"])?;
    cluster.refused(&["stat", "/goes"], 3, "/goes")?;
    println!("  below the reserve: refused with its reason, read, deleted");

    write_until_left(&disk.mount().join("ballast 2"), disk, 0)?;
    cluster.ok(&["stat", "/kept"])?;
    cluster.ok(&["rm", "-r", "/goes too"])?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(cluster.exited(1)?.is_none(), "the node ended on a full disk: {}", cluster.last_words(1));
    cluster.ok(&["stat", "/kept"])?;
    println!("  nothing left: read, deleted, still there after a while");

    let before = load.totals().acknowledged;
    fs::remove_file(&ballast)?;
    fs::remove_file(disk.mount().join("ballast 2"))?;
    wait_for(Duration::from_secs(60), || Ok((load.totals().acknowledged > before).then_some(())))
        .context("nothing is acknowledged although there is space again")?;
    cluster.ok(&["mkdir", "/after"])?;
    load.next_round()?;
    load.stop()?;
    load.check_all()?;
    drop(load);
    let code = cluster.stop_node(1)?;
    ensure!(code == Some(0), "the node ended with {code:?} on SIGTERM");
    cluster.start_node(1)?;
    cluster.wait_ready(Duration::from_secs(30))?;
    cluster.ok(&["stat", "/kept"])?;
    cluster.ok(&["stat", "/after"])?;
    println!("  goes on with space, and is whole after a restart");
    Ok(())
}

/// Writes a file until the disk has only about so many bytes free.
fn write_until_left(path: &Path, disk: &Disk, left: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let piece = [1; 1 << 16];
    while reactor::system::disk_space(disk.mount())?.free_bytes > left {
        if file.write_all(&piece).is_err() {
            // Of the last block, too.
            while file.write_all(&piece[..512]).is_ok() {}
            return Ok(());
        }
    }
    file.sync_all().context("could not sync the ballast")
}
