//! What a process asks of its machine once, at boot: file limit, disk space, an eventfd, and how long freed memory is kept.

use std::ffi::{CString, c_int, c_long};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

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

/// The allocator's option `purge_delay` (mimalloc.h of version 3).
const PURGE_DELAY: c_int = 15;
/// Flushes and compactions come every few seconds: memory of one serves the next. The allocator's own default is a second.
const FREED_KEPT_MS: c_long = 10_000;

/// The allocator keeps memory that was freed for ten seconds before it gives it back to the kernel: until then it serves the
/// next flush and compaction, later the kernel clears it anew. Call it at boot, before there are threads;
/// `MIMALLOC_PURGE_DELAY` in the environment goes before it.
pub fn keep_freed_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: an option of the allocator is a number that is set before other threads read it.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, FREED_KEPT_MS) }
    }
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
    fn the_option_that_is_set_is_the_one_whose_default_is_a_second() {
        // SAFETY: as in `keep_freed_memory`; no other test asks the allocator for its options.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        let name = "MIMALLOC_PURGE_DELAY";
        if std::env::var_os(name).is_some() {
            return eprintln!("{name} is set here: skipped");
        }
        assert_eq!(delay(), 1000);
        keep_freed_memory();
        assert_eq!(delay(), 10_000);
    }

    #[test]
    fn disk_space_is_within_the_disk() {
        let space = disk_space(Path::new("/")).unwrap();
        assert!(0 < space.total_bytes);
        assert!(space.free_bytes <= space.total_bytes);
        assert!(disk_space(Path::new("/no/such/place")).is_err());
    }
}
