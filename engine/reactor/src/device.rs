//! What the device below a file has done, and what a process has: the kernel's own counters, read from /proc and /sys.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const SECTOR_BYTES: u64 = 512;
/// A tick of the processor times in /proc, which is 100 a second on every Linux that programs see.
const TICK_US: u64 = 10_000;
/// Where the kernel tells what its devices are.
const SYS: &str = "/sys";

/// The device that a file lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    major: u32,
    minor: u32,
}

/// What a device has done since it was found: all of it, for everybody.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DeviceCounters {
    /// Writes completed.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Flush requests completed; `None` before Linux 5.5. Partitions count none: the whole device does.
    pub flushes: Option<u64>,
}

impl Device {
    /// The device of a file or directory.
    ///
    /// Errors: it is not there.
    pub fn of(path: &Path) -> io::Result<Device> {
        let device = fs::metadata(path)?.dev();
        Ok(Device { major: libc::major(device), minor: libc::minor(device) })
    }

    /// The device of a number as the kernel writes it: `major:minor`.
    #[must_use]
    pub fn numbered(number: &str) -> Option<Device> {
        let (major, minor) = number.trim().split_once(':')?;
        Some(Device { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// The whole disk of a partition, which is what counts flushes; a whole disk is its own. `None` for what the kernel
    /// has no block device of that number for (memory file systems, overlays, network file systems).
    #[must_use]
    pub fn disk(&self) -> Option<Device> {
        self.disk_in(Path::new(SYS))
    }

    fn disk_in(&self, sys: &Path) -> Option<Device> {
        let place = self.place_in(sys)?;
        if !place.join("partition").exists() {
            return Some(*self);
        }
        Device::numbered(&fs::read_to_string(place.parent()?.join("dev")).ok()?)
    }

    /// What the kernel says of its queue of requests, as `write_cache` or `fua`; whole disks have one.
    #[must_use]
    pub fn queue_fact(&self, name: &str) -> Option<String> {
        self.queue_fact_in(Path::new(SYS), name)
    }

    fn queue_fact_in(&self, sys: &Path, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.place_in(sys)?.join("queue").join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Its directory below `sys`; a partition's lies in that of its disk.
    fn place_in(&self, sys: &Path) -> Option<PathBuf> {
        fs::canonicalize(sys.join(format!("dev/block/{}:{}", self.major, self.minor))).ok()
    }

    /// Its counters now; `None` for what has none (memory file systems, overlays, network file systems).
    #[must_use]
    pub fn counters(&self) -> Option<DeviceCounters> {
        parse(&fs::read_to_string("/proc/diskstats").ok()?, *self)
    }
}

impl DeviceCounters {
    /// What came since an earlier reading; nothing where a device began anew.
    #[must_use]
    pub fn since(self, before: DeviceCounters) -> DeviceCounters {
        DeviceCounters {
            writes: self.writes.saturating_sub(before.writes),
            bytes: self.bytes.saturating_sub(before.bytes),
            flushes: self.flushes.zip(before.flushes).map(|(after, before)| after.saturating_sub(before)),
        }
    }
}

/// A line is `major minor name`, then the counters: the 5th is writes, the 7th sectors written, the 16th flushes.
fn parse(text: &str, device: Device) -> Option<DeviceCounters> {
    text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        let is_it = number(0) == Some(device.major.into()) && number(1) == Some(device.minor.into());
        let (writes, sectors) = (number(7)?, number(9)?);
        is_it.then_some(DeviceCounters { writes, bytes: sectors * SECTOR_BYTES, flushes: number(18) })
    })
}

/// What the calling thread and its process have used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Processor time of the process, with the kernel's workers for its rings. Units: milliseconds, in steps of 10.
    pub process_ms: u64,
    /// Processor time of this thread. Units: nanoseconds.
    pub thread_ns: u64,
    /// Page faults of this thread that waited for a disk.
    pub major_faults: u64,
    /// Page faults of this thread that did not.
    pub minor_faults: u64,
}

impl Usage {
    /// As it is now; what the kernel does not tell is 0.
    #[must_use]
    pub fn now() -> Usage {
        let stat = |path| fs::read_to_string(path).unwrap_or_default();
        let (process, thread) = (stat("/proc/self/stat"), stat("/proc/thread-self/stat"));
        let ns = stat("/proc/thread-self/schedstat");
        Usage {
            process_ms: cpu_us(&process).unwrap_or_default() / 1_000,
            thread_ns: ns.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or_default(),
            major_faults: number(&thread, 12).unwrap_or_default(),
            minor_faults: number(&thread, 10).unwrap_or_default(),
        }
    }

    /// What came since an earlier reading.
    #[must_use]
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            process_ms: self.process_ms - before.process_ms,
            thread_ns: self.thread_ns - before.thread_ns,
            major_faults: self.major_faults - before.major_faults,
            minor_faults: self.minor_faults - before.minor_faults,
        }
    }
}

/// Processor time of a process so far, user and system, of all its threads; `None` when there is none of that number.
/// Units: microseconds, in steps of 10,000.
#[must_use]
pub fn process_cpu_us(pid: u32) -> Option<u64> {
    cpu_us(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Processor time so far of processes and all that they started, and these in turn, whether those run or have ended and
/// were waited for; of one that is gone itself nothing. Reads the stat file of every process of the machine.
/// Units: microseconds, in steps of 10,000.
#[must_use]
pub fn families_cpu_us(heads: &[u32]) -> u64 {
    if heads.is_empty() {
        return 0;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let members = pids.filter_map(|pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)));
    families(heads, members.filter_map(|(pid, stat)| Some((pid, Member::of(&stat)?))).collect())
}

/// One of a family.
struct Member {
    parent: u32,
    /// Its own time, and that of its children that have ended.
    cpu_us: u64,
}

impl Member {
    fn of(stat: &str) -> Option<Member> {
        let ended = number(stat, 16)? + number(stat, 17)?;
        Some(Member { parent: number(stat, 4)? as u32, cpu_us: cpu_us(stat)? + ended * TICK_US })
    }
}

/// Takes the heads out, then those whose parents were taken out, until nobody is found.
fn families(heads: &[u32], mut others: BTreeMap<u32, Member>) -> u64 {
    let (mut sum, mut found) = (0, heads.to_vec());
    while !found.is_empty() {
        sum += found.iter().filter_map(|pid| others.remove(pid)).map(|member| member.cpu_us).sum::<u64>();
        let children = others.iter().filter(|(_, member)| found.contains(&member.parent));
        found = children.map(|(pid, _)| *pid).collect();
    }
    sum
}

/// Of a stat file: fields 14 and 15.
fn cpu_us(stat: &str) -> Option<u64> {
    Some((number(stat, 14)? + number(stat, 15)?) * TICK_US)
}

/// Field `number` of a stat line, counted from 1; the 2nd is a name in brackets that may hold anything.
fn number(stat: &str, field: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_the_number_of_the_device() {
        let text = " 7 1 loop1 1 1 1 1 3 1 9 1 1 1 1\n 254 0 vda 1 2 3 4 5 6 70 8 9 10 11 12 13 14 15 16 17\n";
        let of = |major, minor| parse(text, Device { major, minor });
        assert_eq!(of(254, 0), Some(DeviceCounters { writes: 5, bytes: 70 * 512, flushes: Some(16) }));
        assert_eq!(of(7, 1), Some(DeviceCounters { writes: 3, bytes: 9 * 512, flushes: None }));
        assert_eq!(of(8, 0), None);
        let before = DeviceCounters { writes: 9, bytes: 1 << 40, flushes: Some(10) };
        let since = of(254, 0).expect("it is there").since(before);
        assert_eq!(since, DeviceCounters { writes: 0, bytes: 0, flushes: Some(6) });
    }

    #[test]
    fn a_partition_belongs_to_its_disk_and_what_the_kernel_does_not_know_to_none() {
        let sys = tempfile::tempdir().expect("temporary directory");
        let (disk, block) = (sys.path().join("devices/virtio1/block/vda"), sys.path().join("dev/block"));
        for dir in [&disk.join("queue"), &disk.join("vda1"), &block] {
            fs::create_dir_all(dir).expect("made");
        }
        for (file, text) in
            [("dev", "254:0\n"), ("queue/fua", "1\n"), ("vda1/dev", "254:1\n"), ("vda1/partition", "1\n")]
        {
            fs::write(disk.join(file), text).expect("written");
        }
        std::os::unix::fs::symlink("../../devices/virtio1/block/vda", block.join("254:0")).expect("linked");
        std::os::unix::fs::symlink("../../devices/virtio1/block/vda/vda1", block.join("254:1")).expect("linked");
        let device = |number| Device::numbered(number).expect("a number");
        let whole = device("254:0");
        let disk_of = |number| device(number).disk_in(sys.path());
        assert_eq!((disk_of("254:0"), disk_of("254:1"), disk_of("0:30")), (Some(whole), Some(whole), None));
        let fact = |number, name| device(number).queue_fact_in(sys.path(), name);
        assert_eq!((fact("254:0", "fua").as_deref(), fact("254:0", "write_cache")), (Some("1"), None));
        assert_eq!((fact("254:1", "fua"), fact("0:30", "fua")), (None, None));
        assert_eq!([Device::numbered("254"), Device::numbered("a:1"), Device::numbered("")], [None; 3]);
        // A partition's own line says nothing of flushes; its disk's does.
        let row = |number: &str, flushes: u64| format!("{number} 1 0 1 0 1 0 1 0 0 0 0 0 0 0 0 {flushes} 9\n");
        let stats = row("254 0 vda", 55) + &row("254 1 vda1", 0) + &row("7 0 loop0", 3);
        let flushes = |device: Device| parse(&stats, device).and_then(|counters| counters.flushes);
        assert_eq!(disk_of("254:1").and_then(flushes), Some(55));
        assert_eq!((flushes(device("7:0")), flushes(device("8:0"))), (Some(3), None));
    }

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "12 (a b) c) S 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!((number(stat, 10), number(stat, 12), number(stat, 15)), (Some(10), Some(12), Some(15)));
        assert_eq!((cpu_us(stat), cpu_us("12 (x"), cpu_us("")), (Some(290_000), None, None));
        let long = "77 (a b) c) S 1 77 77 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 2";
        assert_eq!(cpu_us(long), Some(3_000_000));
        assert!(process_cpu_us(std::process::id()).is_some() && process_cpu_us(u32::MAX).is_none());
        let before = Usage::now();
        let sum = (0..3_000_000u64).fold(0, |sum, at| sum ^ base::mix64(at));
        assert!(sum != 0 && Usage::now().since(before).thread_ns > 0);
    }

    #[test]
    fn a_family_is_a_process_and_all_that_came_of_it() {
        let stat = |parent: u32, own: u32, ended: u32| {
            format!("1 (a b) c) S {parent} 5 6 7 8 9 10 11 12 13 {own} 0 {ended} 0")
        };
        let all = [(10, 1, 1, 100), (11, 10, 2, 0), (12, 11, 4, 0), (13, 1, 8, 0), (14, 13, 16, 200), (15, 99, 32, 0)];
        let members =
            || all.map(|(pid, parent, own, ended)| (pid, Member::of(&stat(parent, own, ended)).expect("whole")));
        let ticks = |heads: &[u32]| families(heads, members().into()) / TICK_US;
        assert_eq!([ticks(&[10]), ticks(&[11]), ticks(&[13]), ticks(&[10, 13])], [107, 6, 224, 331]);
        // One below the other counts once, and one that is gone not at all; its children are somebody else's then.
        assert_eq!([ticks(&[10, 11]), ticks(&[11, 10]), ticks(&[99]), ticks(&[])], [107, 107, 32, 0]);
        assert!(Member::of("1 (a) S 2 3").is_none());
        let mut child = std::process::Command::new("/bin/sh");
        child.args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]);
        let before = families_cpu_us(&[std::process::id()]);
        assert!(child.status().expect("it runs").success());
        assert!(families_cpu_us(&[std::process::id()]) > before, "what ended counts");
    }
}
