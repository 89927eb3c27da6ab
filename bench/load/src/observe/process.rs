//! Processes and the machine's devices as /proc tells them: processor time, waits, memory, bytes.
//!
//! What cannot be read is not known: a process of another user, or a kernel without the file.

use std::fs;
use std::path::{Path, PathBuf};

use reactor::device::{Device, process_cpu_us};

/// What a process had used at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ProcessUse {
    /// Processor time, user and kernel. Units: microseconds, in steps of a tick.
    pub cpu_us: f64,
    /// Context switches of all threads that run now.
    pub switches: u64,
    /// Time that threads were ready and had no processor. Units: microseconds.
    pub run_delay_us: f64,
    /// Bytes that it made the kernel write to devices.
    pub written: Option<u64>,
    /// Resident memory. Units: bytes.
    pub rss_bytes: u64,
}

impl ProcessUse {
    /// Of a process now; `None` when there is none of that number.
    #[must_use]
    pub fn read(pid: u32) -> Option<ProcessUse> {
        let of = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let mut seen = ProcessUse {
            cpu_us: process_cpu_us(pid)? as f64,
            rss_bytes: number_after(&of("status")?, "VmRSS:")? * 1024,
            written: of("io").and_then(|text| number_after(&text, "write_bytes:")),
            ..ProcessUse::default()
        };
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let of = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            seen.switches += switches(&of("status"));
            seen.run_delay_us += run_delay_us(&of("schedstat"));
        }
        Some(seen)
    }
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn switches(status: &str) -> u64 {
    let of = |key| number_after(status, key).unwrap_or(0);
    of("voluntary_ctxt_switches:") + of("nonvoluntary_ctxt_switches:")
}

/// The second field of schedstat. Units: nanoseconds there.
fn run_delay_us(schedstat: &str) -> f64 {
    schedstat.split_whitespace().nth(1).and_then(|ns| ns.parse::<u64>().ok()).map_or(0.0, |ns| ns as f64 / 1e3)
}

/// The process of ours that listens on a TCP port of this machine.
#[must_use]
pub fn pid_that_listens(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| inode_that_listens(table, port))?;
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|link| link == wanted)).then_some(pid)
    })
}

/// The inode of the socket in state 0A, which listens, on that local port.
fn inode_that_listens(table: &str, port: u16) -> Option<u64> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
        if is_it { fields.get(9)?.parse().ok() } else { None }
    })
}

/// Bytes that the loopback device has sent.
#[must_use]
pub fn loopback_bytes() -> Option<u64> {
    sent_of(&fs::read_to_string("/proc/net/dev").ok()?, "lo")
}

/// The ninth number behind a device's name.
fn sent_of(table: &str, device: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(8)?.parse().ok()
}

/// A place in the file system: its kind and its device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// As `ext4`.
    pub fs: String,
    /// As `/dev/vda1`.
    pub device: String,
    /// `None` where the kernel gives no number.
    number: Option<Device>,
}

impl Place {
    /// Where a directory lies.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Place> {
        let dir = dir.canonicalize().ok()?;
        place_in(&fs::read_to_string("/proc/self/mountinfo").ok()?, &dir)
    }

    /// Flushes that the device has done since the machine's start; `None` where nobody counts them.
    #[must_use]
    pub fn flushes(&self) -> Option<u64> {
        let device = self.number?;
        device.disk().unwrap_or(device).counters()?.flushes
    }
}

/// The mount whose point is the longest beginning of `dir`; of equal ones the last hides the others.
fn place_in(mountinfo: &str, dir: &Path) -> Option<Place> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let mut kind = kind.split(' ');
        let number = Device::numbered(mount.get(2)?);
        let place = Place { fs: kind.next()?.to_owned(), device: kind.next()?.to_owned(), number };
        let point = Path::new(mount.get(4)?);
        dir.starts_with(point).then(|| (point.components().count(), place))
    });
    mounts.max_by_key(|mount| mount.0).map(|mount| mount.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_the_kernels_texts() {
        let status = "Name:\tx\nVmRSS:\t   2048 kB\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!((number_after(status, "VmRSS:"), switches(status)), (Some(2048), 42));
        assert_eq!(run_delay_us("123456 7000 9"), 7.0);
        assert_eq!(run_delay_us(""), 0.0);
        let this = ProcessUse::read(std::process::id()).expect("this process is there");
        assert!(this.rss_bytes > 100_000);
        assert_eq!(ProcessUse::read(u32::MAX), None);
    }

    #[test]
    fn who_listens_is_found_by_the_sockets_inode() {
        let table = "  sl  local_address rem_address   st tx rx tr tm retr uid timeout inode\n\
            0: 0100007F:1BBC 00000000:0000 01 0:0 00:0 0 0 0 11 1\n\
            1: 0100007F:1BBC 00000000:0000 0A 0:0 00:0 0 0 0 4711 1\n";
        assert_eq!(inode_that_listens(table, 0x1bbc), Some(4711));
        assert_eq!(inode_that_listens(table, 1), None);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        assert_eq!(pid_that_listens(port), Some(std::process::id()));
        drop(listener);
        assert_eq!(pid_that_listens(port), None);
    }

    #[test]
    fn bytes_and_mounts_are_found_in_their_lines() {
        let dev =
            "Inter-|\n face |\n    lo: 100 1 0 0 0 0 0 0 777 1 0 0 0 0 0 0\n  eth0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n";
        assert_eq!((sent_of(dev, "lo"), sent_of(dev, "eth1")), (Some(777), None));
        let mounts = "1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 0:30 / /tmp rw shared:1 - tmpfs none rw\n";
        let place = |path: &str| place_in(mounts, Path::new(path)).expect("a mount").fs;
        assert_eq!(
            (place("/srv/x"), place("/tmp/y"), place("/tmpfoo")),
            ("ext4".into(), "tmpfs".into(), "ext4".into())
        );
        assert_eq!(place_in(mounts, Path::new("/srv")).expect("a mount").number, Device::numbered("254:1"));
    }
}
