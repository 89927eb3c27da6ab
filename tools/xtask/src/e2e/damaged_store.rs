//! A table of one node's store rots while the node is down: the node starts, finds out, drops the groups that the table
//! touches, gets their state from their leaders, and serves the others all the while.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::cluster::{Cluster, Shape, wait_for};
use super::load::Load;

/// Tables smaller than this are most likely to be compacted away before they are looked at.
const TABLE_BYTES_MIN: u64 = 200_000;
/// A table that nobody has written to for so long is made, and most likely part of the store. One that is written right
/// now is not, and a node that is killed at once after its start may be making its first one every time.
const TABLE_AGE_MIN: Duration = Duration::from_secs(1);
/// How many tables may turn out not to be part of the store.
const ATTEMPTS_MAX: usize = 8;
/// What the log says of a group that lost its state, and of one that has it again.
const LOST: &str = "does not serve the group until it has its state again";
const BACK: &str = "the group has its state again";

pub fn run() -> Result<()> {
    // Small memtables, and a log that does not reach back: what is lost must come by snapshot.
    let process = "segment_bytes = 4194304\nmemtable_bytes = 1048576\nlog_trailing_entries = 64".to_owned();
    let mut cluster = Cluster::start("damaged-store", Shape { groups: 4, cores: 1, process, ..Shape::default() })?;
    cluster.wait_ready(Duration::from_secs(30))?;
    let mut load = Load::new(&cluster.addresses())?;
    load.next_round()?;
    for (round, victim) in [1, 2].into_iter().enumerate() {
        let (bytes, from) = damage_one(&mut cluster, victim)?;
        let said = |cluster: &Cluster, what: &str| said(cluster, victim, from, what);
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

/// Lets a table rot while the node is down. Returns its bytes and where the log of the start that met the damage begins.
fn damage_one(cluster: &mut Cluster, victim: u64) -> Result<(u64, usize)> {
    let tables = cluster.node(victim).data.join("store/c0/tables");
    for _ in 0..ATTEMPTS_MAX {
        let (bytes, path) = wait_for(Duration::from_secs(120), || largest(&tables))
            .context("the load fills no table, or none that stays for a while")?;
        cluster.kill_node(victim)?;
        if !path.exists() {
            println!("  the table was compacted away; another one");
            cluster.start_node(victim)?;
            continue;
        }
        rot(&path)?;
        let link = cluster.node(victim).data.join("rotten");
        fs::hard_link(&path, &link)?;
        let from = cluster.log_of(victim).len();
        cluster.start_node(victim)?;
        let has_met = wait_for(Duration::from_secs(90), || {
            // A table that was in the making when the node was killed is no part of the store: the start removed it. One
            // that is part of it goes only after the damage was told.
            let is_gone = fs::metadata(&link)?.nlink() == 1;
            let has_met = said(cluster, victim, from, LOST) > 0;
            Ok((has_met || is_gone).then_some(has_met))
        });
        let has_met = has_met.with_context(|| format!("node {victim} has not met the damage in {}", path.display()))?;
        fs::remove_file(&link)?;
        if has_met {
            return Ok((bytes, from));
        }
        println!("  the table was not part of the store yet; another one");
    }
    bail!("{ATTEMPTS_MAX} tables of node {victim} rotted, and it met none of them")
}

/// How often a node's log says something from there on.
fn said(cluster: &Cluster, node: u64, from: usize, what: &str) -> usize {
    cluster.log_of(node)[from..].matches(what).count()
}

/// The largest table that is made and large enough, and its bytes. Tables come and go while the node runs.
fn largest(tables: &Path) -> Result<Option<(u64, PathBuf)>> {
    let Ok(found) = fs::read_dir(tables) else { return Ok(None) };
    let made = found.filter_map(|entry| {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok()?;
        let is_made = metadata.modified().ok()?.elapsed().ok()? >= TABLE_AGE_MIN;
        (is_made && metadata.len() >= TABLE_BYTES_MIN).then(|| (metadata.len(), entry.path()))
    });
    Ok(made.max())
}

/// Other bytes in every block of the first half of a table: rows come first in it, and what is read at open last.
fn rot(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let half = bytes.len() / 2;
    bytes[..half].iter_mut().skip(2000).step_by(4000).for_each(|byte| *byte ^= 0x20);
    fs::write(path, bytes)?;
    Ok(())
}
