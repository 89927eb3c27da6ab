//! The main line: a real tree goes in while the leader dies, comes out byte for byte, and all nodes agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

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

    roll(&mut cluster)?;
    for id in 1..=3 {
        let code = cluster.stop_node(id)?;
        ensure!(code == Some(0), "node {id} exited with {code:?} on SIGTERM");
    }
    cluster.finish();
    Ok(())
}

/// One node after the other is restarted while files are put; afterwards each leads its part, without being told.
fn roll(cluster: &mut Cluster) -> Result<()> {
    let file = cluster.dir.join("one file");
    let file_text = file.to_str().context("the temporary path is UTF-8")?.to_owned();
    for id in 1..=3 {
        let code = cluster.stop_node(id)?;
        ensure!(code == Some(0), "node {id} exited with {code:?} on SIGTERM");
        fs::write(&file, format!("while node {id} was away"))?;
        cluster.ok(&["put", &file_text, &format!("/rolled {id}")])?;
        cluster.start_node(id)?;
        cluster.wait_ready(Duration::from_secs(30))?;
        cluster.wait_same_state(&[1, 2, 3], Duration::from_secs(60))?;
    }
    let begun = Instant::now();
    let led = wait_for(Duration::from_secs(30), || {
        let led = led(cluster)?;
        Ok(is_even(&led).then_some(led))
    })
    .with_context(|| format!("leaders were not spread after a rolling restart: {:?}", led(cluster)))?;
    println!("  a rolling restart; {:.1} s later leaders are spread: {led:?}", begun.elapsed().as_secs_f64());
    // Once they are, nothing moves.
    let moved = |cluster: &Cluster| Ok::<u64, anyhow::Error>(led_rows(cluster)?.iter().map(|row| row[3]).sum());
    let before = moved(cluster)?;
    std::thread::sleep(Duration::from_secs(8));
    ensure!(moved(cluster)? == before, "leaders move although they are spread evenly");

    cluster.refused(&["admin", "leader", "move", "0", "9"], 1, "there is no node 9")?;
    let (group, to) = (0, 1 + cluster.leader_of_root()? % 3);
    cluster.ok(&["admin", "leader", "move", &group.to_string(), &to.to_string()])?;
    cluster.ok(&["admin", "leader", "balance"])?;
    ensure!(is_even(&self::led(cluster)?), "`admin leader balance` ended before leaders were even");
    Ok(())
}

/// Node, core, groups led, leaderships given away so far: of every core of every node.
fn led_rows(cluster: &Cluster) -> Result<Vec<[u64; 4]>> {
    let text = cluster.ok(&["admin", "leader", "list", "--json"])?;
    let rows = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).with_context(|| format!("no row: {line}"))?;
        let field = |name: &str| row[name].as_u64().with_context(|| format!("no {name}: {line}"));
        Ok([field("node")?, field("core")?, field("led")?, field("moved")?])
    });
    rows.collect()
}

/// Groups led, by core and node.
fn led(cluster: &Cluster) -> Result<BTreeMap<(u64, u64), u64>> {
    Ok(led_rows(cluster)?.into_iter().map(|[node, core, led, _]| ((core, node), led)).collect())
}

/// Of each core every node leads as many as the others, or one more; and over all cores too.
fn is_even(led: &BTreeMap<(u64, u64), u64>) -> bool {
    let spread = |counts: &[u64]| counts.iter().max().zip(counts.iter().min()).map_or(0, |(most, least)| most - least);
    let cores: BTreeSet<u64> = led.keys().map(|(core, _)| *core).collect();
    let of_core = |core: u64| led.iter().filter(|((of, _), _)| *of == core).map(|(_, led)| *led).collect::<Vec<_>>();
    let by_node: Vec<u64> =
        (1..=3).map(|node| led.iter().filter(|((_, of), _)| *of == node).map(|(_, led)| *led).sum()).collect();
    cores.into_iter().all(|core| spread(&of_core(core)) <= 1) && spread(&by_node) <= 1
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
