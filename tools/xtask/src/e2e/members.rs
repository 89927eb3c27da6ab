//! A node whose disk was wiped is replaced under a new id and catches up by snapshot; its old id is refused.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape, free_ports, wait_for};

pub fn run() -> Result<()> {
    // Small memtables and a short log behind the checkpoints: the others drop what the wiped node would need.
    let process = "memtable_bytes = 1048576\nlog_trailing_entries = 64".to_owned();
    let mut cluster = Cluster::start("members", Shape { process, ..Shape::default() })?;
    let local = cluster.dir.join("local");
    fs::create_dir_all(&local)?;
    for at in 0..6000 {
        let folder = local.join(format!("folder {}", at % 40));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("file {at}")), format!("content {at}"))?;
    }
    let local_text = local.to_str().context("the temporary path is UTF-8")?.to_owned();
    cluster.ok(&["put", &local_text, "/data"])?;
    let group = super::cluster::root_group(8);
    wait_for(Duration::from_secs(30), || {
        let lines = cluster.groups()?;
        Ok(lines.iter().all(|line| line.group != group || line.first > 1).then_some(()))
    })
    .context("the log of the busy group was never cut behind a checkpoint")?;

    cluster.kill_node(3)?;
    fs::remove_dir_all(&cluster.node(3).data)?;

    // Under its old id it is refused: it has forgotten what it promised.
    cluster.format(3, false)?;
    cluster.start_node(3)?;
    wait_for(Duration::from_secs(20), || {
        let text = cluster.log_of(1) + &cluster.log_of(2) + &cluster.log_of(3);
        Ok(text.contains("bound to").then_some(()))
    })
    .context("a wiped node under its old id was not refused")?;
    if cluster.exited(3)?.is_none() {
        cluster.kill_node(3)?;
    }
    println!("  the wiped node is refused under its old id");

    // Under a new id it joins.
    let port = free_ports(40)?;
    cluster.add_node(4, port);
    cluster.write_config(4, &[1, 2, 4])?;
    cluster.format(4, true)?;
    cluster.start_node(4)?;
    let (peer, client) = (format!("127.0.0.1:{}", port + 20), format!("127.0.0.1:{port}"));
    cluster.ok(&["admin", "member", "replace", "3", "--node", "4", "--peer", &peer, "--client", &client])?;
    cluster.wait_same_state(&[1, 2, 4], Duration::from_secs(60))?;
    let lines = cluster.groups()?;
    let first = lines.iter().find(|line| line.node == 4 && line.group == group).map(|line| line.first);
    ensure!(first.is_some_and(|first| first > 1), "node 4 has the whole log (first {first:?}): no snapshot was sent");
    println!("  node 4 has taken its place by snapshot and has the same state hash");

    // It counts: with another node gone it serves.
    cluster.kill_node(2)?;
    cluster.wait_ready(Duration::from_secs(30))?;
    fs::write(local.join("one more"), b"more")?;
    cluster.ok(&["put", &local_text, "/data"])?;
    let back = cluster.dir.join("back");
    cluster.ok(&["get", "/data", back.to_str().context("the temporary path is UTF-8")?])?;
    super::files::ensure_same(&local, &back)?;
    cluster.start_node(2)?;
    cluster.wait_same_state(&[1, 2, 4], Duration::from_secs(60))?;
    cluster.finish();
    Ok(())
}
