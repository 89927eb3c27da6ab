//! Bad input gets a clear error and a non-zero exit, and does no damage.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base::Prng;

use super::cluster::{Cluster, Shape, binary, free_ports, run_ok, wait_for};

/// Random and mutated frames sent at the ports.
const GARBAGE_FRAMES: u64 = 10_000;

pub fn run() -> Result<()> {
    let mut cluster = Cluster::start("bad", Shape { groups: 4, cores: 1, ..Shape::default() })?;
    requests(&cluster)?;
    garbage(&mut cluster)?;
    directories(&mut cluster)?;
    configs(&cluster)?;
    cluster.finish();
    full_disk()
}

fn requests(cluster: &Cluster) -> Result<()> {
    let dead = format!("127.0.0.1:{}", free_ports(1)?);
    cluster.refused(&["ls", "/", "--target", &dead], 5, &dead)?;
    cluster.refused(&["stat", "/nowhere"], 3, "/nowhere")?;
    cluster.refused(&["get", "/nowhere", "/tmp/never-made"], 3, "/nowhere")?;
    cluster.refused(&["mkdir", "/a/../b"], 6, "..")?;
    cluster.refused(&["mkdir", "/back\\slash"], 6, "backslash")?;
    cluster.refused(&["mkdir", &format!("/{}", "n".repeat(256))], 6, "255")?;
    cluster.ok(&["mkdir", "/there"])?;
    let file = cluster.dir.join("small");
    fs::write(&file, b"small")?;
    cluster.ok(&["put", file.to_str().context("UTF-8")?, "/there/small"])?;
    cluster.refused(&["rm", "/there"], 6, "-r")?;
    cluster.refused(&["mv", "/there", "/there/inside"], 4, "itself")?;
    cluster.refused(&["ls", "/", "--account", "77"], 3, "77")?;
    println!("  bad requests are refused with their reason");
    Ok(())
}

/// Garbage on every port never stops a server.
fn garbage(cluster: &mut Cluster) -> Result<()> {
    let mut prng = Prng::new(11);
    let mut ports: Vec<u16> =
        cluster.nodes.iter().flat_map(|node| [node.port, node.port + 1, node.port + 20]).collect();
    ports.push(cluster.block_port());
    let hello = wire::ClientHello::new(base::Acct(1), [7; 16]).encode();
    let mut writer = wire::FrameWriter::new(wire::FrameClass::Request, 1 << 20);
    for kind in 0..40 {
        writer.push_request(u64::from(kind), kind, 0, base::GroupId(0), |out| out.extend([kind; 33]))?;
    }
    let frame = writer.take(Vec::new());
    for round in 0..GARBAGE_FRAMES {
        let port = ports[prng.below(ports.len() as u64) as usize];
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            anyhow::bail!("port {port} does not answer after {round} frames of garbage");
        };
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut bytes = Vec::new();
        match prng.below(4) {
            0 => bytes.extend((0..prng.below(4096)).map(|_| prng.next_u64() as u8)),
            1 => {
                // A good hello and a frame with a few flipped bytes.
                bytes.extend_from_slice(&hello);
                let mut bad = frame.clone();
                for _ in 0..=prng.below(4) {
                    let at = prng.below(bad.len() as u64) as usize;
                    bad[at] ^= 1 << prng.below(8);
                }
                bytes.extend_from_slice(&bad);
            }
            2 => {
                // A good frame cut short.
                bytes.extend_from_slice(&hello);
                bytes.extend_from_slice(&frame[..prng.below(frame.len() as u64) as usize]);
            }
            _ => {
                // A frame that claims to be huge.
                bytes.extend_from_slice(&hello);
                let mut bad = frame.clone();
                bad[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
                bytes.extend_from_slice(&bad);
            }
        }
        let _ = stream.write_all(&bytes);
        if prng.one_in(8) {
            let _ = stream.read(&mut [0; 256]);
        }
    }
    for id in 1..=3 {
        ensure!(cluster.exited(id)?.is_none(), "node {id} ended under garbage: {}", cluster.log_of(id));
    }
    cluster.ok(&["mkdir", "/after the garbage"])?;
    cluster.ok(&["stat", "/there/small"])?;
    let back = cluster.dir.join("small again");
    cluster.ok(&["get", "/there/small", back.to_str().context("UTF-8")?])?;
    ensure!(fs::read(back)? == b"small", "the garbage changed a file");
    println!("  {GARBAGE_FRAMES} frames of garbage on {} ports stopped nobody", ports.len());
    Ok(())
}

fn directories(cluster: &mut Cluster) -> Result<()> {
    let config = cluster.node(1).config.to_str().context("UTF-8")?.to_owned();
    let pid = cluster.pid(1)?.to_string();
    cluster.refused(&["serve", "--config", &config], 77, &pid)?;
    let id = run_ok(Command::new(binary()?).args(["format", "--new-id"]))?;
    cluster.refused(&["format", "--config", &config, "--cluster", id.trim(), "--node", "1"], 77, "not empty")?;

    // A directory of another cluster: its peers refuse it, and it cannot take part.
    cluster.kill_node(3)?;
    let identity = cluster.node(3).data.join("identity");
    let good = fs::read(&identity)?;
    let mut bad = good.clone();
    bad.iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&identity, &bad)?;
    let config = cluster.node(3).config.to_str().context("UTF-8")?.to_owned();
    cluster.refused(&["serve", "--config", &config], 76, "identity")?;
    fs::write(&identity, &good)?;

    // A directory of another cluster than the one that the file names.
    let text = fs::read_to_string(&config)?;
    let named = cluster.dir.join("named.toml");
    fs::write(&named, text.replace("[cluster]", &format!("[cluster]\nid = \"{}\"", id.trim())))?;
    cluster.refused(&["serve", "--config", named.to_str().context("UTF-8")?], 77, "cluster.id")?;
    cluster.start_node(3)?;
    cluster.wait_ready(Duration::from_secs(30))?;
    cluster.wait_same_state(&[1, 2, 3], Duration::from_secs(30))?;
    println!("  directories in use, not empty or damaged are refused and unharmed");
    Ok(())
}

fn configs(cluster: &Cluster) -> Result<()> {
    let path = cluster.dir.join("unknown.toml");
    let good = fs::read_to_string(&cluster.node(1).config)?;
    fs::write(&path, good.replace("profile", "profil"))?;
    cluster.refused(&["serve", "--config", path.to_str().context("UTF-8")?], 64, "profil")?;
    cluster.refused(&["serve", "--config", "/nowhere.toml"], 64, "/nowhere.toml")?;
    fs::write(&path, good.replace("groups = 4", "groups = 8"))?;
    cluster.refused(&["config", "check", "/nowhere.toml"], 64, "/nowhere.toml")?;
    println!("  bad configurations name file and key");
    Ok(())
}

/// On a full disk writes are refused or the node stops with its reason; nothing acknowledged is lost.
fn full_disk() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-full-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=220m", "tmpfs"]).arg(&dir).output()?;
    if !mounted.status.success() {
        println!("  SKIPPED: full disk: no small file system can be mounted here");
        return Ok(());
    }
    let outcome = fill(&dir.join("cluster"));
    let unmounted = run_ok(Command::new("umount").arg("-l").arg(&dir));
    let _ = fs::remove_dir(&dir);
    outcome.and(unmounted.map(drop))
}

fn fill(dir: &std::path::Path) -> Result<()> {
    let shape = Shape { groups: 2, cores: 1, process: "segment_bytes = 4194304".to_owned(), ..Shape::default() };
    let mut cluster = Cluster::start_in(dir.to_owned(), shape)?;
    let ballast = dir.parent().context("the directory has a parent")?.join("ballast");
    cluster.ok(&["mkdir", "/before"])?;
    // All that is left is taken away.
    let mut file = fs::File::create(&ballast)?;
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    drop(file);
    let mut refused = None;
    let mut acknowledged = Vec::new();
    for at in 0..200_000u32 {
        let batch: Vec<String> = (0..8).map(|n| format!("/full-{at}-{n}-{}", "x".repeat(200))).collect();
        let mut arguments = vec!["mkdir"];
        arguments.extend(batch.iter().map(String::as_str));
        let output = cluster.command(&arguments).output()?;
        if !output.status.success() {
            refused = Some(String::from_utf8_lossy(&output.stderr).into_owned());
            break;
        }
        acknowledged.extend(batch);
        if at > 400 {
            break;
        }
    }
    println!(
        "  on a full disk: {} folders acknowledged, then: {:?}",
        acknowledged.len(),
        refused.as_deref().map(str::trim)
    );
    fs::remove_file(&ballast)?;
    for id in 1..=3 {
        if let Some(code) = cluster.exited(id)? {
            ensure!(code == Some(74), "node {id} ended with {code:?} on a full disk: {}", cluster.log_of(id));
            let log = cluster.log_of(id).to_lowercase();
            ensure!(log.contains("space") || log.contains("errno 28"), "node {id} did not say why it stopped: {log}");
            cluster.kill_node(id)?;
            cluster.start_node(id)?;
        }
    }
    cluster.wait_ready(Duration::from_secs(60))?;
    let listed = wait_for(Duration::from_secs(30), || {
        let output = cluster.command(&["ls", "/"]).output()?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    })?;
    for path in acknowledged.iter().chain([&"/before".to_owned()]) {
        ensure!(listed.contains(&path[1..]), "{path} was acknowledged and is gone after the disk was full");
    }
    cluster.ok(&["mkdir", "/after"])?;
    cluster.finish();
    Ok(())
}
