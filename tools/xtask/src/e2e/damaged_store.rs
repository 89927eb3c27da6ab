//! A table of one node's store rots while the node is down: the node starts, finds out, drops the groups that the table
//! touches, gets their state from their leaders, and serves the others all the while.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape, wait_for};
use super::load::Load;

/// Tables smaller than this are most likely to be compacted away before they are looked at.
const TABLE_BYTES_MIN: u64 = 200_000;
/// What the log says of a group that lost its state, and of one that has it again.
const LOST: &str = "does not serve the group until it has its state again";
const BACK: &str = "the group has its state again";

pub fn run() -> Result<()> {
    // Small memtables, and a log that does not reach back: what is lost must come by snapshot.
    let process = "segment_bytes = 4194304\nmemtable_bytes = 1048576\nlog_trailing_entries = 64".to_owned();
    let mut cluster = Cluster::start("damaged-store", Shape { groups: 4, cores: 1, process, data: Vec::new() })?;
    cluster.wait_ready(Duration::from_secs(30))?;
    let mut load = Load::new(&cluster.addresses())?;
    load.next_round()?;
    for (round, victim) in [1, 2].into_iter().enumerate() {
        let tables = cluster.node(victim).data.join("store/c0/tables");
        wait_for(Duration::from_secs(120), || Ok(largest(&tables)?.filter(|(bytes, _)| *bytes >= TABLE_BYTES_MIN)))
            .context("the load fills no table")?;
        cluster.kill_node(victim)?;
        let (bytes, path) = largest(&tables)?.context("the store has tables")?;
        rot(&path)?;
        let from = cluster.log_of(victim).len();
        cluster.start_node(victim)?;
        let said = |cluster: &Cluster, what: &str| cluster.log_of(victim)[from..].matches(what).count();
        wait_for(Duration::from_secs(90), || Ok((said(&cluster, LOST) > 0).then_some(())))
            .with_context(|| format!("node {victim} has not met the damage in {}", path.display()))?;
        let before = load.totals().acknowledged;
        wait_for(Duration::from_secs(120), || Ok((said(&cluster, BACK) >= said(&cluster, LOST)).then_some(())))
            .with_context(|| format!("node {victim} has not got its state back"))?;
        ensure!(cluster.exited(victim)?.is_none(), "node {victim} ended: {}", cluster.last_words(victim));
        wait_for(Duration::from_secs(60), || Ok((load.totals().acknowledged > before + 100).then_some(())))
            .context("nothing was acknowledged any more")?;
        let groups = said(&cluster, LOST);
        println!(
            "  round {round}: a table of {bytes} bytes rotted on node {victim}; {groups} groups lost and got their state"
        );
        load.next_round()?;
    }
    load.stop()?;
    load.check_all()?;
    cluster.wait_same_state(&[1, 2, 3], Duration::from_secs(60))?;
    let totals = load.totals();
    println!("  {} acknowledged commands are there, and all replicas agree", totals.acknowledged);
    drop(load);
    for node in 1..=3 {
        let code = cluster.stop_node(node)?;
        ensure!(code == Some(0), "node {node} ended with {code:?} on SIGTERM");
    }
    cluster.finish();
    Ok(())
}

/// The largest table, and its bytes. Tables come and go while the node runs.
fn largest(tables: &Path) -> Result<Option<(u64, PathBuf)>> {
    let Ok(found) = fs::read_dir(tables) else { return Ok(None) };
    let sizes = found.filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.metadata().ok()?.len(), entry.path()))
    });
    Ok(sizes.max())
}

/// Other bytes in every block of the first half of a table: rows come first in it, and what is read at open last.
fn rot(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let half = bytes.len() / 2;
    bytes[..half].iter_mut().skip(2000).step_by(4000).for_each(|byte| *byte ^= 0x20);
    fs::write(path, bytes)?;
    Ok(())
}
