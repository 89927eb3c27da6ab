//! Segment files of a stopped node that are missing or short: the node refuses to start and names the file, and takes it for
//! no end of its log. With its own files back it has all that it ever acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Shape, binary, wait_for};
use super::load::Load;

/// Segments of core 0 that the load is to fill.
const SEGMENTS_MIN: usize = 3;
/// Exit codes of a node that refuses its data, and of `log verify` that finds it lost.
const REFUSED: (Option<i32>, Option<i32>) = (Some(76), Some(4));

/// What is done to a file of the log.
type Harm = fn(&Path) -> Result<()>;

const HARMS: [(&str, Harm); 4] = [
    ("missing", |path| Ok(fs::remove_file(path)?)),
    ("cut in half", |path| resize(path, |bytes| bytes / 2)),
    ("short of its last block", |path| resize(path, |bytes| bytes - 4096)),
    ("empty", |path| resize(path, |_| 0)),
];

fn resize(path: &Path, to: impl Fn(u64) -> u64) -> Result<()> {
    let file = fs::File::options().write(true).open(path)?;
    Ok(file.set_len(to(file.metadata()?.len()))?)
}

pub fn run() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-damaged-log-{}", std::process::id()));
    let data = vec![dir.join("n1")];
    let shape = Shape { groups: 2, cores: 1, process: "segment_bytes = 4194304".to_owned(), data, ..Shape::default() };
    let mut cluster = Cluster::start_in(dir, shape)?;
    let log = cluster.node(1).data.join("log/c0");
    let mut load = Load::new(&cluster.addresses())?;
    load.next_round()?;
    let filled = wait_for(Duration::from_secs(60), || Ok((segments(&log)?.len() >= SEGMENTS_MIN).then_some(())));
    filled.context("the load does not fill the log")?;
    load.stop()?;
    let code = cluster.stop_node(1)?;
    ensure!(code == Some(0), "the node ended with {code:?} on SIGTERM");

    let files = segments(&log)?;
    let last = files.len() - 1;
    for path in [0, last / 2, last].map(|at| &files[at]) {
        let aside = path.with_extension("aside");
        for (what, harm) in HARMS {
            fs::copy(path, &aside)?;
            harm(path)?;
            refuses(&cluster, path).with_context(|| format!("{} is {what}", path.display()))?;
            fs::rename(&aside, path)?;
        }
        // Another segment in its place is none of this name: its frames are lost, if it had any.
        fs::copy(path, &aside)?;
        fs::copy(files.iter().find(|other| *other != path).context("there are several")?, path)?;
        let judged = verify(&cluster)?;
        ensure!(matches!(judged.0, Some(3 | 4)), "a copy of another in place of {}: {judged:?}", path.display());
        fs::rename(&aside, path)?;
    }
    println!("  three of {} segments, each {} times damaged: refused by name", files.len(), HARMS.len());

    ensure!(!cluster.verify_log(1)?, "the log is not whole with its own files back");
    cluster.start_node(1)?;
    load.check_all()?;
    println!("  {} acknowledged commands are there with the files back", load.totals().acknowledged);
    cluster.finish();
    Ok(())
}

/// Live segments, oldest first.
fn segments(log: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(log)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    found.sort();
    Ok(found)
}

/// The node does not start, and `log verify` says the same; both name the segment.
fn refuses(cluster: &Cluster, path: &Path) -> Result<()> {
    let stem = path.file_stem().context("a segment has a name")?.to_string_lossy().into_owned();
    let number = stem.trim_start_matches("seg-");
    // A node that starts in spite of it would go on for ever.
    let mut serve = Command::new("timeout");
    serve.arg("20").arg(binary()?).arg("serve").arg("--config").arg(&cluster.node(1).config);
    let serve = serve.output()?;
    let said = String::from_utf8_lossy(&serve.stderr).into_owned() + &String::from_utf8_lossy(&serve.stdout);
    ensure!(serve.status.code() == REFUSED.0, "the node ended with {:?}: {said}", serve.status.code());
    ensure!(said.contains(number), "the node does not name segment {number}: {said}");
    let (code, said) = verify(cluster)?;
    ensure!(code == REFUSED.1, "`log verify` ended with {code:?}: {said}");
    ensure!(said.contains(number), "`log verify` does not name segment {number}: {said}");
    Ok(())
}

/// Exit code and words of `log verify`.
fn verify(cluster: &Cluster) -> Result<(Option<i32>, String)> {
    let output = Command::new(binary()?).args(["log", "verify"]).arg(&cluster.node(1).data).output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}
