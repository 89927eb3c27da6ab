//! What a process asks of its machine once, at boot: file limit, disk space, the lock of a data directory, an eventfd.

use std::ffi::CString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The name of the lock file inside a data directory.
pub const LOCK_NAME: &str = "LOCK";

/// RLIMIT_NOFILE as it was and as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLimit {
    /// The soft limit at start.
    pub before: u64,
    /// The soft limit now.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// Raises the soft limit of open files to the hard one; call it once, at boot, and print what it says.
///
/// Errors: the limit cannot be read. One that cannot be raised is left and reported as it is.
pub fn raise_file_limit() -> io::Result<FileLimit> {
    let (before, hard) = rlimit::Resource::NOFILE.get()?;
    let soft = match rlimit::Resource::NOFILE.set(hard, hard) {
        Ok(()) => hard,
        Err(_) => before,
    };
    Ok(FileLimit { before, soft, hard })
}

/// Space of the file system that holds `path`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSpace {
    /// Bytes that this user may still take.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Asks the file system of `path` for its space (`statvfs`).
///
/// Errors: the path does not exist or may not be read.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `name` is a string that ends in zero and `stat` is writable for one statvfs; both outlive the call.
    let result = unsafe { libc::statvfs(name.as_ptr(), stat.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the memory was zeroed, which is a valid statvfs, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    Ok(DiskSpace { free_bytes: stat.f_bavail * stat.f_frsize, total_bytes: stat.f_blocks * stat.f_frsize })
}

/// A new eventfd at zero. It blocks, because a ring's read on one that does not would fail at once instead of waiting.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process uses it.
    #[error("could not lock data dir: {path} is held by pid {pid}; stop it first", path = path.display())]
    Held {
        /// The data directory.
        path: PathBuf,
        /// As the holder wrote it into the lock file; `unknown` if it had not yet.
        pid: String,
    },
    /// The lock file cannot be made, locked or written.
    #[error("could not lock data dir: {path}: {source}; check that the directory exists and is writable", path = path.display())]
    Io {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to use a data directory, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct DataDirLock {
    /// Closing the file gives up the lock; the file itself stays, so that no two processes lock different files.
    _file: File,
}

impl DataDirLock {
    /// Takes the lock of the directory `path` and writes this process's id into it.
    ///
    /// Errors: [`LockError::Held`] names who has it; else [`LockError::Io`].
    pub fn acquire(path: &Path) -> Result<DataDirLock, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path.join(LOCK_NAME)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: path.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(DataDirLock { _file: file })
    }
}

/// What the holder wrote; any other bytes are not shown.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => pid.to_string(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_file_limit_becomes_the_hard_one() {
        let limit = raise_file_limit().unwrap();
        assert_eq!(limit.soft, limit.hard);
        assert!(limit.before <= limit.soft);
    }

    #[test]
    fn disk_space_is_within_the_disk() {
        let space = disk_space(Path::new("/")).unwrap();
        assert!(0 < space.total_bytes);
        assert!(space.free_bytes <= space.total_bytes);
        assert!(disk_space(Path::new("/no/such/place")).is_err());
    }

    #[test]
    fn a_data_dir_has_one_owner_and_the_error_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DataDirLock::acquire(dir.path()).unwrap();
        let error = DataDirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("could not lock data dir: "), "{error}");
        assert!(error.ends_with(&format!("is held by pid {}; stop it first", std::process::id())), "{error}");
        drop(lock);
        DataDirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_data_dir_that_does_not_exist_is_an_error_with_its_path() {
        let error = DataDirLock::acquire(Path::new("/no/such/place")).unwrap_err().to_string();
        assert!(error.contains("/no/such/place"), "{error}");
    }
}
