//! A local tree as put sees it: what goes, under which remote names, and what stays behind and why.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use base::limits::{DEPTH_MAX, PATH_BYTES_MAX};

/// A file to put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is here.
    pub local: PathBuf,
    /// Where it goes, normalised.
    pub remote: String,
    /// Its size when it was seen; only for the progress bar.
    pub bytes: u64,
}

/// A tree, read once. Everything is in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The files to put.
    pub files: Vec<LocalFile>,
    /// The folders that no file below them would make, as remote paths.
    pub empty_folders: Vec<String>,
    /// Links and special files: left out, no failure.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// What cannot go, and why: failures.
    pub failed: Vec<(PathBuf, String)>,
}

impl Tree {
    /// Reads the folder `local`, whose content goes to `remote` (normalised; empty is the root).
    ///
    /// Errors: of opening `local` itself; what fails below it is in `failed`.
    pub fn read(local: &Path, remote: &str) -> std::io::Result<Tree> {
        let mut tree = Tree::default();
        let depth = base::names::components(remote).count();
        let entries = sorted(local)?;
        let has_any = tree.read_entries(entries, local, remote, depth);
        if !has_any && !remote.is_empty() {
            tree.empty_folders.push(remote.to_owned());
        }
        Ok(tree)
    }

    /// True when something of the folder goes, so that the folder is made with it.
    fn read_entries(&mut self, entries: Vec<fs::DirEntry>, local: &Path, remote: &str, depth: usize) -> bool {
        let mut keys = HashSet::new();
        let mut has_any = false;
        for entry in entries {
            let path = local.join(entry.file_name());
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) => {
                    self.failed.push((path, error.to_string()));
                    continue;
                }
            };
            if let Some(note) = left_out(kind) {
                self.skipped.push((path, note));
                continue;
            }
            let target = match target(&entry, remote, depth, &mut keys) {
                Ok(target) => target,
                Err(why) => {
                    self.failed.push((path, why));
                    continue;
                }
            };
            if kind.is_file() {
                let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                self.files.push(LocalFile { local: path, remote: target, bytes });
                has_any = true;
            } else {
                has_any |= self.read_folder(&path, target, depth + 1);
            }
        }
        has_any
    }

    fn read_folder(&mut self, path: &Path, remote: String, depth: usize) -> bool {
        match sorted(path) {
            Ok(entries) => {
                // Depth is bounded by the rules of paths, so the recursion is too.
                if !self.read_entries(entries, path, &remote, depth) {
                    self.empty_folders.push(remote);
                }
                true
            }
            Err(error) => {
                self.failed.push((path.to_owned(), error.to_string()));
                false
            }
        }
    }
}

/// The remote path of an entry, or which rule forbids it.
fn target(entry: &fs::DirEntry, remote: &str, depth: usize, keys: &mut HashSet<String>) -> Result<String, String> {
    let name = entry.file_name();
    let Some(name) = name.to_str() else { return Err("its name is not UTF-8".to_owned()) };
    let name = base::names::normalize_name(name).map_err(|rule| rule.to_string())?;
    let target = format!("{remote}/{name}");
    if depth >= DEPTH_MAX || target.len() > PATH_BYTES_MAX {
        return Err(base::names::PathError::PathTooLong.to_string());
    }
    if !keys.insert(base::names::name_key(&name)) {
        return Err("another name in this folder differs from it only in case or accents' form".to_owned());
    }
    Ok(target)
}

/// Why an entry of this kind is not put; `None` for files and folders.
pub fn left_out(kind: fs::FileType) -> Option<&'static str> {
    match () {
        () if kind.is_symlink() => Some("a symbolic link"),
        () if kind.is_file() || kind.is_dir() => None,
        () => Some("a special file"),
    }
}

fn sorted(path: &Path) -> std::io::Result<Vec<fs::DirEntry>> {
    let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_tree_is_split_into_what_goes_and_what_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("deep/er/empty")).unwrap();
        fs::write(root.join("deep/file with spaces"), b"12345").unwrap();
        fs::write(root.join("empty file"), b"").unwrap();
        fs::write(root.join("e\u{301}t\u{e9}"), b"nfd and nfc").unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        fs::write(root.join("trailing "), b"").unwrap();
        fs::write(root.join("back\\slash"), b"").unwrap();
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"").unwrap();
        fs::write(root.join("README"), b"").unwrap();
        fs::write(root.join("readme"), b"").unwrap();
        let tree = Tree::read(root, "/to").unwrap();
        let files: Vec<_> = tree.files.iter().map(|file| (file.remote.as_str(), file.bytes)).collect();
        let wanted =
            [("/to/README", 0), ("/to/deep/file with spaces", 5), ("/to/empty file", 0), ("/to/\u{e9}t\u{e9}", 11)];
        assert_eq!(files, wanted);
        assert_eq!(tree.empty_folders, ["/to/deep/er/empty"]);
        assert_eq!(tree.skipped, [(root.join("link"), "a symbolic link")]);
        let failed: Vec<&[u8]> = tree.failed.iter().map(|(path, _)| path.file_name().unwrap().as_bytes()).collect();
        assert_eq!(failed, [&b"back\\slash"[..], b"bad\xff", b"readme", b"trailing "]);
        assert!(tree.failed[1].1.contains("UTF-8"));
    }

    #[test]
    fn a_folder_whose_every_entry_stays_behind_is_made_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("links")).unwrap();
        std::os::unix::fs::symlink("a", directory.path().join("links/b")).unwrap();
        let tree = Tree::read(directory.path(), "").unwrap();
        assert_eq!(tree.empty_folders, ["/links"]);
        assert_eq!(Tree::read(&directory.path().join("links"), "/x").unwrap().empty_folders, ["/x"]);
    }

    #[test]
    fn a_path_that_grows_too_deep_is_named_and_the_rest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let deep = "/d".repeat(DEPTH_MAX - 1);
        fs::create_dir_all(directory.path().join("one/two")).unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        let tree = Tree::read(directory.path(), &deep).unwrap();
        assert_eq!(tree.files.len(), 1);
        assert_eq!(tree.failed.len(), 1, "{:?}", tree.failed);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(Tree::read(Path::new("/nowhere/at/all"), "").is_err());
    }
}
