//! Two folders and a cluster under random changes, failures and restarts: in the end all three are equal, and no content
//! is lost that nobody took away knowingly.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use base::Prng;
use syncer::SyncError;
use tempfile::TempDir;

use crate::common::{Machine, disk_tree, sync_as};

const NAMES: [&str; 6] = ["a", "b", "B", "c", "dir", "Dir"];

struct World {
    machine: Machine,
    folders: [TempDir; 2],
    prng: Prng,
    /// Contents that were written, and not taken away by whoever saw them.
    wanted: BTreeSet<String>,
    written: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        World { machine: Machine::new(), folders, prng: Prng::new(seed), wanted: BTreeSet::new(), written: 0 }
    }

    fn draw(&mut self, below: usize) -> usize {
        (self.prng.next_u64() % below as u64) as usize
    }

    /// Some place in a folder, two or three names deep; its folder need not be there.
    fn place(&mut self, replica: usize) -> PathBuf {
        let depth = 1 + self.draw(3);
        let names: Vec<&str> = (0..depth).map(|_| NAMES[self.draw(NAMES.len())]).collect();
        names.iter().fold(self.folders[replica].path().to_owned(), |path, name| path.join(name))
    }

    /// Another casing of a name that is there is another name to this file system, and not to the cluster: a client would
    /// leave one of the two out. That has a test of its own.
    fn is_clear(path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let Ok(entries) = fs::read_dir(folder) else { return false };
        entries.flatten().all(|entry| entry.file_name() == name || !entry.file_name().eq_ignore_ascii_case(name))
    }

    fn lose(&mut self, path: &Path) {
        if path.is_dir() {
            for content in disk_tree(path).into_iter().filter_map(|(_, content)| content) {
                self.wanted.remove(&String::from_utf8(content).unwrap());
            }
        } else if let Ok(content) = fs::read_to_string(path) {
            self.wanted.remove(&content);
        }
    }

    fn write(&mut self, path: &Path) {
        self.written += 1;
        // Of one length now and then: only the time tells.
        let content = format!("content {:04}{}", self.written, "x".repeat(self.written as usize % 3));
        self.lose(path);
        fs::write(path, &content).unwrap();
        self.wanted.insert(content);
    }

    /// Something that is there; `None` where nothing is.
    fn present(&mut self, replica: usize) -> Option<PathBuf> {
        let root = self.folders[replica].path().to_owned();
        let tree = disk_tree(&root);
        let at = self.draw(tree.len().max(1));
        tree.get(at).map(|(path, _)| root.join(path))
    }

    /// Two of them change places.
    fn swap(&mut self, replica: usize) {
        let (Some(one), Some(two)) = (self.present(replica), self.present(replica)) else { return };
        if one.starts_with(&two) || two.starts_with(&one) {
            return;
        }
        let aside = self.folders[replica].path().join("~$aside");
        fs::rename(&one, &aside).unwrap();
        fs::rename(&two, &one).unwrap();
        fs::rename(&aside, &two).unwrap();
    }

    /// What a user does.
    fn act(&mut self) {
        let replica = self.draw(2);
        if self.draw(12) == 0 {
            return self.swap(replica);
        }
        let present = self.present(replica);
        let path = match (self.draw(2), present) {
            (0, Some(path)) => path,
            _ => self.place(replica),
        };
        if !World::is_clear(&path) {
            return;
        }
        match self.draw(10) {
            0..=3 if !path.is_dir() => self.write(&path),
            4 => drop(fs::create_dir(&path)),
            5 if path.is_dir() && self.draw(2) == 0 => {
                self.lose(&path);
                fs::remove_dir_all(&path).unwrap();
            }
            5 if path.is_file() => {
                self.lose(&path);
                fs::remove_file(&path).unwrap();
            }
            6 if path.is_file() => {
                // As editors do: a new file is renamed over the old one.
                let new = path.with_file_name("~$new");
                self.written += 1;
                let content = format!("saved {}", self.written);
                fs::write(&new, &content).unwrap();
                self.lose(&path);
                fs::rename(&new, &path).unwrap();
                self.wanted.insert(content);
            }
            7..=9 if path.exists() => {
                let target = self.place(replica);
                let is_free = !target.exists() && World::is_clear(&target) && !target.starts_with(&path);
                if is_free && target.parent().is_some_and(Path::is_dir) {
                    fs::rename(&path, &target).unwrap();
                } else if self.draw(3) == 0 {
                    // Another casing of its own name.
                    let name = path.file_name().unwrap().to_str().unwrap();
                    let swapped: String = name.chars().map(swap_case).collect();
                    let target = path.with_file_name(swapped);
                    if !target.exists() {
                        fs::rename(&path, &target).unwrap();
                    }
                }
            }
            _ => {}
        }
    }

    /// One start of one client; the cluster may stop to answer in the middle, at any request.
    fn sync(&mut self, replica: usize, may_fail: bool) -> usize {
        let fuse = if may_fail && self.draw(2) == 0 { self.draw(30) as u64 } else { u64::MAX };
        self.machine.fuse.store(fuse, Ordering::Relaxed);
        let host = ["ada", "bob"][replica];
        let done = sync_as(&self.machine, self.folders[replica].path(), host);
        self.machine.fuse.store(u64::MAX, Ordering::Relaxed);
        match done {
            Ok((told, round)) => {
                assert_eq!((round.failed, round.left_out), (0, 0), "{told:?}");
                if std::env::var_os("SYNC_TRACE").is_some() {
                    eprintln!("{host}: {told:?}");
                }
                round.done
            }
            Err(SyncError::Unreachable(_)) => 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn finish(&mut self, seed: u64) {
        for turn in 0..20 {
            if self.sync(0, false) + self.sync(1, false) == 0 {
                break;
            }
            assert!(turn < 19, "seed {seed}: two clients that nobody disturbs never come to rest");
        }
        let [one, two] = [0, 1].map(|replica| disk_tree(self.folders[replica].path()));
        assert_eq!(one, two, "seed {seed}: the folders differ");
        assert_eq!(one, self.machine.tree(), "seed {seed}: folders and cluster differ");
        let there: BTreeSet<String> =
            one.into_iter().filter_map(|(_, content)| Some(String::from_utf8(content?).unwrap())).collect();
        let lost: Vec<&String> = self.wanted.difference(&there).collect();
        assert!(lost.is_empty(), "seed {seed}: lost {lost:?}");
    }
}

fn swap_case(c: char) -> char {
    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..12 {
        for _ in 0..world.draw(12) {
            world.act();
        }
        match world.draw(3) {
            0 => drop(world.sync(0, true)),
            1 => drop(world.sync(1, true)),
            _ => {}
        }
    }
    world.finish(seed);
}

/// `SYNC_SEED` runs one, `SYNC_RUNS` so many; `SYNC_TRACE` prints what is done.
#[test]
fn two_folders_and_a_cluster_become_equal_and_nothing_is_lost() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SYNC_SEED") {
        Some(seed) => run(seed),
        None => (0..number("SYNC_RUNS").unwrap_or(40)).for_each(run),
    }
}
