//! Two clients of our own keep two folders equal, while nodes and the clients themselves are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base::Prng;

use super::cluster::{Cluster, Shape};

const FILES: usize = 2_000;
/// Changes of users while something is killed.
const CHANGES: usize = 300;
const TIME_MAX: Duration = Duration::from_secs(120);

type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

pub fn run() -> Result<()> {
    let mut cluster = Cluster::start("sync", Shape::default())?;
    let folders = ["one", "two"].map(|name| cluster.dir.join(name));
    folders.iter().try_for_each(fs::create_dir_all)?;
    make_files(&folders[0])?;
    let began = Instant::now();
    let mut clients = [start(&cluster, &folders[0])?, start(&cluster, &folders[1])?];
    wait_equal(&folders, |tree| tree.len() > FILES)?;
    println!("  {FILES} files went from one folder to the other in {:.1} s", began.elapsed().as_secs_f64());

    // Both write, each in folders of its own, so that all of it must be there in the end.
    let leader = cluster.leader_of_root()?;
    let mut wanted = change(&folders, 1)?;
    cluster.kill_node(leader)?;
    wanted.extend(change(&folders, 2)?);
    wait_equal(&folders, |tree| has_all(tree, &wanted))?;
    println!("  they are equal after {} changes, node {leader} having been killed in the middle", 2 * CHANGES);
    cluster.start_node(leader)?;
    cluster.wait_ready(Duration::from_secs(30))?;

    wanted.extend(change(&folders, 3)?);
    for (client, folder) in clients.iter_mut().zip(&folders) {
        client.0.kill()?;
        client.0.wait()?;
        // Both write the same file while nobody looks.
        fs::write(folder.join("both"), format!("as {} has it", folder.display()))?;
    }
    wanted.extend(change(&folders, 4)?);
    let _clients = [start(&cluster, &folders[0])?, start(&cluster, &folders[1])?];
    wait_equal(&folders, |tree| has_all(tree, &wanted) && copies(tree).len() == 1)?;
    println!("  and after both clients were killed; what both wrote is there twice");

    let back = cluster.dir.join("back");
    cluster.ok(&["get", "/tree", back.to_str().context("the temporary path is UTF-8")?])?;
    ensure!(read(&back)? == read(&folders[0])?, "the cluster has another tree than the folders");
    cluster.finish();
    Ok(())
}

/// A client that ends with the suite.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(cluster: &Cluster, folder: &Path) -> Result<Client> {
    let log = fs::File::options().create(true).append(true).open(folder.with_extension("log"))?;
    let folder = folder.to_str().context("the temporary path is UTF-8")?;
    let mut command = cluster.command(&["sync", folder, "/tree", "--json"]);
    Ok(Client(command.stdout(log.try_clone()?).stderr(Stdio::from(log)).spawn()?))
}

fn make_files(folder: &Path) -> Result<()> {
    let mut prng = Prng::new(11);
    for at in 0..FILES {
        let folder = folder.join(format!("folder {}", at % 50)).join("grüße 日本");
        fs::create_dir_all(&folder)?;
        let bytes = (prng.next_u64() % 3_000) as usize;
        fs::write(folder.join(format!("file {at}.txt")), vec![at as u8; bytes])?;
    }
    fs::create_dir_all(folder.join("empty/folder"))?;
    let large: Vec<u8> = (0..9 << 17).flat_map(|_| prng.next_u64().to_le_bytes()).collect();
    fs::write(folder.join("large"), large)?;
    Ok(())
}

/// Users at work in both folders, each on files of its own: what they wrote last.
fn change(folders: &[PathBuf; 2], round: u64) -> Result<BTreeSet<Vec<u8>>> {
    let mut prng = Prng::new(round);
    let mut wanted = BTreeSet::new();
    for (at, folder) in folders.iter().enumerate() {
        let own = folder.join(format!("user {at} round {round}"));
        fs::create_dir_all(&own)?;
        let mut live: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for step in 0..CHANGES {
            let pick = (prng.next_u64() % live.len().max(1) as u64) as usize;
            match prng.next_u64() % 6 {
                0 if !live.is_empty() => fs::remove_file(live.swap_remove(pick).0)?,
                1 if !live.is_empty() => {
                    let to = own.join(format!("Moved {step}"));
                    fs::rename(&live[pick].0, &to)?;
                    live[pick].0 = to;
                }
                2 if !live.is_empty() => {
                    // Another casing of the same name.
                    let name = live[pick].0.file_name().context("a name")?.to_string_lossy().to_uppercase();
                    let to = own.join(name);
                    if !to.exists() {
                        fs::rename(&live[pick].0, &to)?;
                        live[pick].0 = to;
                    }
                }
                3 if !live.is_empty() => {
                    live[pick].1 = format!("user {at} round {round} edit {step}").into_bytes();
                    fs::write(&live[pick].0, &live[pick].1)?;
                }
                _ => {
                    let file =
                        (own.join(format!("file {step}")), format!("user {at} round {round} {step}").into_bytes());
                    fs::write(&file.0, &file.1)?;
                    live.push(file);
                }
            }
        }
        wanted.extend(live.into_iter().map(|(_, content)| content));
    }
    Ok(wanted)
}

fn has_all(tree: &Tree, wanted: &BTreeSet<Vec<u8>>) -> bool {
    let there: BTreeSet<&Vec<u8>> = tree.values().flatten().collect();
    wanted.iter().all(|content| there.contains(content))
}

fn copies(tree: &Tree) -> Vec<&PathBuf> {
    tree.keys().filter(|path| path.to_string_lossy().contains("conflicted copy")).collect()
}

fn wait_equal(folders: &[PathBuf; 2], is_done: impl Fn(&Tree) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let (one, two) = (read(&folders[0])?, read(&folders[1])?);
        if one == two && is_done(&one) {
            return Ok(());
        }
        if began.elapsed() > TIME_MAX {
            let differing: Vec<&PathBuf> =
                one.keys().chain(two.keys()).filter(|path| one.get(*path) != two.get(*path)).take(5).collect();
            bail!("the folders are not equal, or not whole, after {TIME_MAX:?}: {differing:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every file and folder but the client's own.
fn read(root: &Path) -> Result<Tree> {
    let (mut found, mut folders) = (Tree::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        // What goes while one looks is looked for again.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(".dropstone") {
                continue;
            }
            let relative = path.strip_prefix(root)?.to_owned();
            if path.is_dir() {
                found.insert(relative, None);
                folders.push(path);
            } else {
                found.insert(relative, Some(fs::read(&path).unwrap_or_default()));
            }
        }
    }
    Ok(found)
}
