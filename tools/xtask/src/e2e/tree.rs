//! The main line: a real tree goes in while the leader dies, comes out byte for byte, and all nodes agree.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape, wait_for};
use super::files;

pub fn run() -> Result<()> {
    let mut cluster = Cluster::start("tree", Shape::default())?;
    let local = cluster.dir.join("local");
    let count = files::make_tree(&local)?;
    println!("  a tree of {count} files");
    let local_text = local.to_str().context("the temporary path is UTF-8")?.to_owned();

    let leader = cluster.leader_of_root()?;
    let put = cluster.command(&["put", &local_text, "/tree"]).spawn()?;
    let mut put = Reaper(put);
    // In the middle: some files are there, most are not.
    wait_for(Duration::from_secs(60), || {
        ensure!(put.0.try_wait()?.is_none(), "the put ended before the leader could be killed; the tree is too small");
        let listed = cluster.command(&["ls", "-R", "--json", "/tree"]).output()?;
        let lines = String::from_utf8_lossy(&listed.stdout).lines().count();
        Ok((listed.status.success() && lines > count / 10).then_some(()))
    })?;
    cluster.kill_node(leader)?;
    println!("  killed the leader, node {leader}, in the middle of the put");
    let ended = wait_for(Duration::from_secs(300), || Ok(put.0.try_wait()?))?;
    ensure!(ended.success(), "the put exited with {ended} after the leader was killed");

    cluster.start_node(leader)?;
    cluster.wait_ready(Duration::from_secs(30))?;
    cluster.wait_same_state(&[1, 2, 3], Duration::from_secs(60))?;
    println!("  the killed node is back; all three nodes have one state hash");
    get_and_compare(&cluster, "first")?;

    // A second put finds everything there.
    let again = cluster.ok(&["put", "--json", &local_text, "/tree"])?;
    let summary = again.lines().last().unwrap_or_default().to_owned();
    let summary: serde_json::Value =
        serde_json::from_str(&summary).with_context(|| format!("no summary: {summary}"))?;
    ensure!(summary["put"].as_u64() == Some(0), "a second put of the same tree sent files again: {summary}");

    cluster.kill_all();
    for id in 1..=3 {
        cluster.start_node(id)?;
    }
    cluster.start_block()?;
    cluster.wait_ready(Duration::from_secs(30))?;
    cluster.wait_same_state(&[1, 2, 3], Duration::from_secs(60))?;
    get_and_compare(&cluster, "second")?;
    println!("  all processes were killed and restarted, and it is still so");

    for id in 1..=3 {
        let code = cluster.stop_node(id)?;
        ensure!(code == Some(0), "node {id} exited with {code:?} on SIGTERM");
    }
    cluster.finish();
    Ok(())
}

fn get_and_compare(cluster: &Cluster, name: &str) -> Result<()> {
    let back = cluster.dir.join(name);
    cluster.ok(&["get", "/tree", back.to_str().context("the temporary path is UTF-8")?])?;
    files::ensure_same(&cluster.dir.join("local"), &back)?;
    fs::remove_dir_all(&back)?;
    Ok(())
}

/// Ends a process that a failed check leaves behind.
struct Reaper(std::process::Child);

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
