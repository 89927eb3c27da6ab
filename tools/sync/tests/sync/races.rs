//! Users write while the client works: what the client replaces or deletes is never what it has not seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::Prng;
use tempfile::TempDir;

use crate::common::{Machine, disk_tree, sync_as};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const STEPS: u64 = 2_000;

/// A user who knows what is taken away: it is taken aside first and looked at there.
struct User<'a> {
    root: PathBuf,
    aside: &'a Path,
    prng: Prng,
    wanted: &'a Mutex<BTreeSet<String>>,
    written: &'a AtomicU64,
}

impl User<'_> {
    fn draw(&mut self, below: u64) -> u64 {
        self.prng.next_u64() % below
    }

    fn place(&mut self) -> PathBuf {
        let depth = 1 + self.draw(2);
        (0..depth).fold(self.root.clone(), |path, _| path.join(NAMES[self.draw(NAMES.len() as u64) as usize]))
    }

    /// What was at the path is gone, and nobody misses it.
    fn take(&self, path: &Path) {
        let aside = self.aside.join(self.written.fetch_add(1, Ordering::Relaxed).to_string());
        if fs::rename(path, &aside).is_err() {
            return;
        }
        let mut wanted = self.wanted.lock().unwrap();
        let taken = if aside.is_dir() {
            disk_tree(&aside).into_iter().filter_map(|(_, content)| content).collect()
        } else {
            vec![fs::read(&aside).unwrap()]
        };
        for content in taken {
            wanted.remove(&*String::from_utf8_lossy(&content));
        }
    }

    fn step(&mut self) {
        let path = self.place();
        match self.draw(6) {
            0 => self.take(&path),
            1 => drop(fs::create_dir(&path)),
            2 => {
                let target = self.place();
                if !target.starts_with(&path) && !target.exists() {
                    // Should something have come there just now, it is replaced as by any careless program: only folders
                    // are moved, and those replace nothing that holds anything.
                    if path.is_dir() {
                        let _ = fs::rename(&path, &target);
                    }
                }
            }
            _ => {
                let number = self.written.fetch_add(1, Ordering::Relaxed);
                let content = format!("content {number}");
                let new = self.aside.join(format!("new {number}"));
                fs::write(&new, &content).unwrap();
                if path.is_file() {
                    self.take(&path);
                }
                // A hard link replaces nothing.
                if fs::hard_link(&new, &path).is_ok() {
                    self.wanted.lock().unwrap().insert(content);
                }
                fs::remove_file(new).unwrap();
            }
        }
    }
}

#[test]
fn users_who_write_while_two_clients_work_lose_nothing() {
    for seed in 0..3 {
        let machine = Machine::new();
        let (folders, aside) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], TempDir::new().unwrap());
        let (wanted, written, is_over) = (Mutex::default(), AtomicU64::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let users: Vec<_> = folders
                .iter()
                .zip(0..)
                .map(|(folder, at)| {
                    let root = folder.path().to_owned();
                    let prng = Prng::new(seed * 2 + at);
                    let mut user = User { root, aside: aside.path(), prng, wanted: &wanted, written: &written };
                    scope.spawn(move || (0..STEPS).for_each(|_| user.step()))
                })
                .collect();
            for (folder, host) in folders.iter().zip(["ada", "bob"]) {
                let (machine, is_over) = (&machine, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        sync_as(machine, folder.path(), host).unwrap();
                    }
                });
            }
            users.into_iter().for_each(|user| user.join().unwrap());
            is_over.store(true, Ordering::Relaxed);
        });
        for turn in 0.. {
            let done = folders.iter().map(|folder| sync_as(&machine, folder.path(), "ada").unwrap().1.done);
            if done.sum::<usize>() == 0 {
                break;
            }
            assert!(turn < 20, "two clients that nobody disturbs never come to rest");
        }
        let [one, two] = folders.each_ref().map(|folder| disk_tree(folder.path()));
        assert_eq!(one, two, "seed {seed}");
        assert_eq!(one, machine.tree(), "seed {seed}");
        let there: BTreeSet<String> =
            one.into_iter().filter_map(|(_, content)| Some(String::from_utf8(content?).unwrap())).collect();
        let wanted = wanted.into_inner().unwrap();
        let lost: Vec<&String> = wanted.difference(&there).collect();
        assert!(lost.is_empty(), "seed {seed}: lost {lost:?} of {}", wanted.len());
    }
}
