//! A cluster of which the first node's data lie on a disk that is soon full.

use std::fs;

use anyhow::{Context, Result};

use super::cluster::{Cluster, Shape};
use super::disk::Disk;

/// Runs a suite's own part over such a cluster: `shape` says all of it but where the data lie. What a failure leaves stays for
/// a look.
pub fn run(suite: &str, bytes: u64, shape: Shape, fill: fn(&mut Cluster, &Disk) -> Result<()>) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-{suite}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let disk = Disk::make(&dir, "m1", bytes, false)?;
    let data = vec![disk.mount().join("data")];
    let mut cluster = Cluster::start_in(dir.join("cluster"), Shape { data, ..shape })?;
    let outcome = fill(&mut cluster, &disk);
    cluster.kill_all();
    outcome.with_context(|| format!("the disk's image is kept in {}", dir.display()))?;
    cluster.finish();
    drop(disk);
    fs::remove_dir_all(&dir)?;
    Ok(())
}
