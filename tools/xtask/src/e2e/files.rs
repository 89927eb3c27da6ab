//! Trees of real files: making one, comparing two.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base::Prng;

/// Files of a real tree that are copied, at least.
const REAL_FILES_MIN: usize = 5_000;
/// Bytes copied, at most.
const REAL_BYTES_MAX: u64 = 160 << 20;

/// Makes a tree of at least 5,000 real files, and of all that is awkward: empty files, files of several blocks, names with
/// spaces and letters of many scripts, deep folders, empty folders.
pub fn make_tree(to: &Path) -> Result<usize> {
    let copied = copy_real(to)?;
    let odd = to.join("odd");
    fs::create_dir_all(odd.join("an empty folder"))?;
    for at in 0..40 {
        fs::write(odd.join(format!("empty {at}")), b"")?;
    }
    let mut prng = Prng::new(7);
    for (name, bytes) in [
        ("one block exactly", 4 << 20),
        ("a block and a byte", (4 << 20) + 1),
        ("three blocks", 9 << 20),
        ("six blocks", 22 << 20),
    ] {
        let content: Vec<u8> = (0..bytes / 8 + 1).flat_map(|_| prng.next_u64().to_le_bytes()).take(bytes).collect();
        fs::write(odd.join(name), content)?;
    }
    for name in [
        "grüße aus köln.txt",
        "日本語のファイル",
        "файл с пробелами.txt",
        "emoji 🪨.md",
        "dots...and'quotes",
        ".hidden",
    ] {
        fs::write(odd.join(name), name.as_bytes())?;
    }
    let mut deep = odd.join("deep");
    for level in 0..60 {
        deep = deep.join(format!("level {level}"));
    }
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("the bottom"), b"here")?;
    Ok(copied + 51)
}

/// Copies regular files of this machine with their folders.
fn copy_real(to: &Path) -> Result<usize> {
    let sysroot = crate::e2e::cluster::run_ok(std::process::Command::new("rustc").args(["--print", "sysroot"]))
        .map(|text| PathBuf::from(text.trim()))
        .ok();
    let mut copied = (0, 0u64);
    for source in
        [Some(PathBuf::from("/usr/share")), Some(PathBuf::from("/usr/include")), sysroot].into_iter().flatten()
    {
        if copied.0 < REAL_FILES_MIN && source.is_dir() {
            let name = source.file_name().context("a source has a name")?;
            copy_folder(&source, &to.join(name), &mut copied)?;
        }
    }
    ensure!(copied.0 >= REAL_FILES_MIN, "found only {} real files to copy on this machine", copied.0);
    Ok(copied.0)
}

fn copy_folder(from: &Path, to: &Path, copied: &mut (usize, u64)) -> Result<()> {
    fs::create_dir_all(to)?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    // A namespace does not tell case apart; such pairs are for the unit tests.
    let mut keys = HashSet::new();
    for entry in entries {
        let (Ok(kind), Some(name)) = (entry.file_type(), entry.file_name().to_str().map(str::to_owned)) else {
            continue;
        };
        if copied.0 >= REAL_FILES_MIN + 500 || copied.1 >= REAL_BYTES_MAX || !keys.insert(name.to_lowercase()) {
            continue;
        }
        if kind.is_dir() {
            copy_folder(&entry.path(), &to.join(&name), copied)?;
        } else if kind.is_file()
            && let Ok(meta) = entry.metadata()
            && meta.len() < 8 << 20
            && fs::copy(entry.path(), to.join(&name)).is_ok()
        {
            copied.0 += 1;
            copied.1 += meta.len();
        }
    }
    Ok(())
}

/// Every file and folder below `root`, with the content of files.
fn listing(root: &Path) -> Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("could not read {}", folder.display()))? {
            let path = entry?.path();
            let relative = path.strip_prefix(root).expect("found below the root").to_owned();
            if path.is_dir() {
                found.insert(relative, None);
                folders.push(path);
            } else {
                found.insert(relative, Some(fs::read(&path)?));
            }
        }
    }
    Ok(found)
}

/// Two trees must be byte-identical, folders included.
pub fn ensure_same(left: &Path, right: &Path) -> Result<()> {
    let (left, right) = (listing(left)?, listing(right)?);
    for (path, content) in &left {
        let other = right.get(path).with_context(|| format!("{} did not come back", path.display()))?;
        ensure!(content == other, "{} came back different", path.display());
    }
    if let Some(more) = right.keys().find(|path| !left.contains_key(*path)) {
        anyhow::bail!("{} came back and was never put", more.display());
    }
    Ok(())
}
