//! A real tree: files of this machine, with odd names and sizes among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Where real files are, by what every developer's machine has.
const SOURCES: [&str; 4] = ["/usr/include", "/usr/share/doc", "/usr/share/man", "/usr/share"];
/// Larger ones are made.
const SOURCE_BYTES_MAX: u64 = 256 << 10;
/// A name whose accent is a character of its own; it comes back as one with the letter.
const DECOMPOSED: (&str, &str) = ("odd/cafe\u{301}.txt", "odd/caf\u{e9}.txt");
/// Names that some client or server once got wrong.
const ODD: [&str; 16] = [
    "odd/two words.txt",
    "odd/ärger ß.txt",
    "odd/日本語.txt",
    "odd/smile 😀.txt",
    "odd/it's \"quoted\".txt",
    "odd/percent %41 %.txt",
    "odd/hash # plus + amp & eq = at @.txt",
    "odd/wild * ? [x] {y}.txt",
    "odd/colon : pipe | less < more >.txt",
    "odd/end with a dot.",
    "odd/end with a space ",
    "odd/back\\slash",
    "odd/.hidden",
    "odd/tilde~1",
    "odd/a\u{301}\u{323}.txt",
    "odd/i\u{307}İ.txt",
];
/// Around one block, and beyond what rclone sends in one request.
const SIZES: [usize; 7] = [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20, (49 << 20) + 12_345];

/// A folder of this suite.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Makes it at `root`, with at least `count` files.
    pub fn make(root: &Path, count: usize) -> Result<Tree> {
        let tree = Tree { root: root.to_owned() };
        fs::create_dir_all(root)?;
        let mut taken = Names::default();
        let mut files = 0;
        for source in SOURCES {
            let name = Path::new(source).file_name().and_then(|name| name.to_str()).context("a name")?;
            files += tree.take(Path::new(source), &mut PathBuf::from(name), count + 200 - files, &mut taken)?;
        }
        ensure!(files >= count, "this machine has only {files} files in {SOURCES:?}; {count} are wanted");
        for (number, name) in ODD.iter().chain([&DECOMPOSED.0]).enumerate() {
            tree.write(name, format!("{number}: {name}\n").as_bytes())?;
        }
        tree.write(&format!("odd/{}", "n".repeat(255)), b"a long name")?;
        tree.write(&format!("odd{}/deep", "/d".repeat(40)), b"far down")?;
        fs::create_dir_all(root.join("odd/empty folder/within"))?;
        for size in SIZES {
            tree.write(&format!("odd/sizes/{size}"), &bytes(size))?;
        }
        Ok(tree)
    }

    /// Copies files below `source` to `to` in the tree, at most `count`; how many.
    fn take(&self, source: &Path, to: &mut PathBuf, count: usize, taken: &mut Names) -> Result<usize> {
        let Ok(entries) = fs::read_dir(source) else { return Ok(0) };
        let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        entries.sort();
        let mut files = 0;
        for entry in entries {
            if files == count {
                break;
            }
            let (Some(name), Ok(meta)) =
                (entry.file_name().and_then(|name| name.to_str()), fs::symlink_metadata(&entry))
            else {
                continue;
            };
            to.push(name);
            // Names that differ in case alone are one name over there.
            if taken.is_new_or_same(to) {
                if meta.is_dir() {
                    files += self.take(&entry, to, count - files, taken)?;
                } else if meta.is_file() && meta.len() <= SOURCE_BYTES_MAX {
                    // Some files may be read by root alone.
                    if let Ok(content) = fs::read(&entry) {
                        self.write(to.to_str().context("a path of UTF-8 names")?, &content)?;
                        files += 1;
                    }
                }
            }
            to.pop();
        }
        Ok(files)
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, content).with_context(|| format!("could not write {}", path.display()))
    }

    /// Edits, deletes, new files, files and folders that were renamed.
    pub fn change(&self) -> Result<()> {
        let files: Vec<String> = self.files()?.into_keys().filter(|path| !path.starts_with("odd/")).collect();
        for (number, path) in files.iter().enumerate() {
            let full = self.root.join(path);
            match number % 20 {
                0 => {
                    let mut content = fs::read(&full)?;
                    content.extend_from_slice(b"\nand a line more\n");
                    fs::write(&full, content)?;
                }
                1 => fs::remove_file(&full)?,
                2 => fs::rename(&full, full.with_file_name(format!("renamed {number}")))?,
                _ => {}
            }
        }
        for number in 0..50 {
            self.write(&format!("new/{}/file {number}", number % 5), &bytes(1000 * number))?;
        }
        fs::rename(self.root.join("odd/d"), self.root.join("odd/D moved"))?;
        // The same size, another content.
        self.write("odd/sizes/1", b"!")
    }

    /// A folder for a file, and a file for a folder.
    pub fn swap(&self) -> Result<()> {
        fs::remove_file(self.root.join("odd/.hidden"))?;
        self.write("odd/.hidden/is a folder now", b"x")?;
        fs::remove_dir_all(self.root.join("odd/empty folder"))?;
        self.write("odd/empty folder", b"is a file now")
    }

    /// Each file with its size, by path.
    pub fn files(&self) -> Result<BTreeMap<String, u64>> {
        Ok(read(&self.root)?.into_iter().filter_map(|(path, size)| Some((path, size?))).collect())
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.files()?.values().sum())
    }

    /// All paths, those of folders with a slash at the end, sorted, as they come back from over there.
    pub fn listing(&self) -> Result<Vec<String>> {
        let told = |(path, size): (String, Option<u64>)| told(&if size.is_some() { path } else { format!("{path}/") });
        let mut all: Vec<String> = read(&self.root)?.into_iter().map(told).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Checks that `other` has the same folders, and the same files byte for byte.
    pub fn compare(&self, other: &Path) -> Result<()> {
        let mine: BTreeMap<String, String> = read(&self.root)?.into_keys().map(|path| (told(&path), path)).collect();
        let theirs: BTreeSet<String> = read(other)?.into_keys().collect();
        let missing: Vec<&String> = mine.keys().filter(|path| !theirs.contains(*path)).collect();
        let more: Vec<&String> = theirs.iter().filter(|path| !mine.contains_key(*path)).collect();
        ensure!(missing.is_empty() && more.is_empty(), "missing: {missing:?}; that are too much: {more:?}");
        for (told, path) in &mine {
            let (one, two) = (self.root.join(path), other.join(told));
            ensure!(one.is_dir() == two.is_dir(), "{told} is a folder on one side alone");
            ensure!(one.is_dir() || same_bytes(&one, &two)?, "{told} has come back changed");
        }
        Ok(())
    }
}

/// How a path comes back: accents are one character with their letter.
fn told(path: &str) -> String {
    path.replace(DECOMPOSED.0, DECOMPOSED.1).replace("a\u{301}\u{323}", "\u{1ea1}\u{301}")
}

/// All below a folder; files with their sizes.
fn read(root: &Path) -> Result<BTreeMap<String, Option<u64>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(root)?.to_str().context("a path of UTF-8 names")?.to_owned();
            found.insert(name, meta.is_file().then_some(meta.len()));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

fn same_bytes(one: &Path, two: &Path) -> Result<bool> {
    let (mut one, mut two) = (fs::File::open(one)?, fs::File::open(two)?);
    if one.metadata()?.len() != two.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    one.read_to_end(&mut left)?;
    two.read_to_end(&mut right)?;
    Ok(left == right)
}

/// Bytes that do not repeat within a block.
fn bytes(count: usize) -> Vec<u8> {
    let words = (0..count.div_ceil(8) as u64).flat_map(|word| base::mix64(word + count as u64).to_le_bytes());
    words.take(count).collect()
}

/// Names as a server sees them that knows no case.
#[derive(Default)]
struct Names(BTreeMap<String, PathBuf>);

impl Names {
    /// False for a path that differs from one before it in case alone.
    fn is_new_or_same(&mut self, path: &Path) -> bool {
        let key = path.to_string_lossy().to_lowercase();
        self.0.entry(key).or_insert_with(|| path.to_owned()) == path
    }
}
