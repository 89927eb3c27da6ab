//! Changes of files here, each of which looks at what it is about to replace, and loses nothing it did not expect.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::ignore::PART_PREFIX;
use crate::{ContentHash, Stamp};

/// Something is not as it was when the plan was made: look again.
pub const CHANGED: &str = "it changed meanwhile";

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A name of our own in the folder of `target`. `.part`: what is being written, worth nothing; `.old`: what had to give way.
fn own_name(target: &Path, suffix: &str) -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!("{PART_PREFIX}sync-{}-{number}.{suffix}", std::process::id()))
}

/// Something is not as it was.
pub fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, CHANGED)
}

/// What is at the path now, without following links.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    fs::symlink_metadata(path).map(|metadata| Stamp::of(&metadata))
}

/// Renames; what is at the target is never replaced.
///
/// Errors: `AlreadyExists` for that.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems cannot promise it; looking first is the next best.
        Err(Errno::INVAL | Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(there) if !is_same(from, &there) => Err(io::ErrorKind::AlreadyExists.into()),
            _ => fs::rename(from, to),
        },
        // Another casing of a name on a file system that does not tell them apart.
        Err(Errno::EXIST) if fs::symlink_metadata(to).is_ok_and(|there| is_same(from, &there)) => fs::rename(from, to),
        Err(error) => Err(error.into()),
    }
}

fn is_same(path: &Path, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path)
        .is_ok_and(|one| (one.dev(), one.ino()) == (other.dev(), other.ino()) && (one.is_dir() || one.nlink() == 1))
}

/// Moves what is at `from`, if it is still that.
pub fn move_if(from: &Path, to: &Path, expected: Stamp) -> io::Result<()> {
    if stamp(from)?.inode != expected.inode {
        return Err(changed());
    }
    rename_new(from, to)
}

/// Deletes a file that is still as expected: it is taken aside first, so that nobody writes to it between look and deed.
pub fn delete_if(path: &Path, expected: Stamp) -> io::Result<()> {
    if stamp(path)? != expected {
        return Err(changed());
    }
    let aside = own_name(path, "old");
    rename_new(path, &aside)?;
    if stamp(&aside)? == expected {
        return fs::remove_file(&aside);
    }
    // Written at the last moment: back to its place, or it is found there when we start again.
    rename_new(&aside, path)?;
    Err(changed())
}

/// A file that is being written, beside its place.
#[derive(Debug)]
pub struct Part {
    /// To write to.
    pub file: File,
    path: Option<PathBuf>,
    target: PathBuf,
}

impl Part {
    /// An empty one for `target`.
    pub fn create(target: &Path) -> io::Result<Part> {
        let path = own_name(target, "part");
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Part { file, path: Some(path), target: target.to_owned() })
    }

    /// Takes its place, whole and on disk: where nothing is, or over a file that is still as expected. Gives its stamp.
    ///
    /// Errors: also when something else is there; then nothing has changed.
    pub fn finish(mut self, over: Option<Stamp>) -> io::Result<Stamp> {
        self.file.sync_all()?;
        let Some(path) = self.path.clone() else { return Err(changed()) };
        match over {
            None => rename_new(&path, &self.target).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => changed(),
                _ => error,
            })?,
            Some(expected) => self.replace(&path, expected)?,
        }
        self.path = None;
        self.file.metadata().map(|metadata| Stamp::of(&metadata))
    }

    /// Changes places with the old file, looks what that was, and only then deletes it.
    fn replace(&mut self, path: &Path, expected: Stamp) -> io::Result<()> {
        if stamp(&self.target)? != expected {
            return Err(changed());
        }
        // From here on the name may hold what was in the way.
        let aside = own_name(&self.target, "old");
        fs::rename(path, &aside)?;
        self.path = None;
        match renameat_with(CWD, &aside, CWD, &self.target, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS) => return fs::rename(&aside, &self.target),
            Err(error) => {
                let _ = fs::remove_file(&aside);
                return Err(error.into());
            }
        }
        if stamp(&aside)? == expected {
            return fs::remove_file(&aside);
        }
        renameat_with(CWD, &aside, CWD, &self.target, RenameFlags::EXCHANGE)?;
        let _ = fs::remove_file(&aside);
        Err(changed())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // Best effort: its name tells what it is, and the next start removes it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes new names of these folders outlive a power cut.
pub fn sync_folders(folders: &HashSet<PathBuf>) -> io::Result<()> {
    for folder in folders {
        match File::open(folder) {
            Ok(file) => rustix::fs::fsync(file.as_fd())?,
            // It went meanwhile, with what was made in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// After a crash: removes what was being written, and what had given way if `is_known` says that its content is kept
/// elsewhere; else that gets a name of its own.
pub fn clean(
    folder: &Path,
    is_known: &dyn Fn(&ContentHash) -> bool,
    found_name: &dyn Fn(u32) -> String,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PART_PREFIX) && name.contains("sync-")) else {
            continue;
        };
        let path = entry.path();
        if name.ends_with(".part") {
            fs::remove_file(&path)?;
        } else if name.ends_with(".old") {
            let hash = blocks::local::hash_file(&path)?;
            if hash.is_some_and(|hash| is_known(&hash)) {
                fs::remove_file(&path)?;
                continue;
            }
            let free = (1..1000).map(|at| folder.join(found_name(at))).find(|path| !path.exists());
            free.map_or(Ok(()), |to| rename_new(&path, &to))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn part(target: &Path, content: &str) -> Part {
        let mut part = Part::create(target).unwrap();
        part.file.write_all(content.as_bytes()).unwrap();
        part
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_replaces_only_what_was_expected() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        let first = part(&target, "first").finish(None).unwrap();
        assert!(part(&target, "second").finish(None).is_err(), "it is there");
        let second = part(&target, "second").finish(Some(first)).unwrap();
        assert_ne!(first, second);
        assert!(part(&target, "third").finish(Some(first)).is_err(), "it is another one by now");
        assert!(delete_if(&target, first).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "second");
        delete_if(&target, second).unwrap();
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn a_rename_never_replaces_anything() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        assert_eq!(rename_new(&one, &two).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        move_if(&one, &directory.path().join("ONE"), stamp(&one).unwrap()).unwrap();
        assert_eq!(names(directory.path()), ["ONE", "two"]);
    }

    #[test]
    fn what_a_crash_left_goes_unless_it_is_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in
            [("sync-1-1.part", "a"), ("sync-1-2.old", "known"), ("sync-1-3.old", "precious"), ("9-1.part", "b")]
        {
            fs::write(directory.path().join(format!("{PART_PREFIX}{name}")), content).unwrap();
        }
        let known = blocks::local::content_hash(&[blocks::store::hash_of(b"known")]);
        clean(directory.path(), &|hash| *hash == known, &|at| format!("found {at}")).unwrap();
        assert_eq!(names(directory.path()), [".dropstone-9-1.part", "found 1"]);
    }
}
