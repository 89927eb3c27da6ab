//! What the device below a file has done, and what this process has: the kernel's own counters, read from /proc.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const SECTOR_BYTES: u64 = 512;
/// A tick of the processor times in /proc.
const TICK_MS: u64 = 10;

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

    /// Its counters now; `None` for what has none (memory file systems, overlays, network file systems).
    #[must_use]
    pub fn counters(&self) -> Option<DeviceCounters> {
        parse(&fs::read_to_string("/proc/diskstats").ok()?, *self)
    }
}

impl DeviceCounters {
    /// What came since an earlier reading.
    #[must_use]
    pub fn since(self, before: DeviceCounters) -> DeviceCounters {
        DeviceCounters {
            writes: self.writes - before.writes,
            bytes: self.bytes - before.bytes,
            flushes: self.flushes.zip(before.flushes).map(|(after, before)| after - before),
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
            process_ms: (field(&process, 14) + field(&process, 15)) * TICK_MS,
            thread_ns: ns.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or_default(),
            major_faults: field(&thread, 12),
            minor_faults: field(&thread, 10),
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

/// Field `number` of a stat line, counted from 1; the 2nd is a name in brackets that may hold anything.
fn field(stat: &str, number: usize) -> u64 {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().nth(number - 3).and_then(|word| word.parse().ok()).unwrap_or_default()
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
    }

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "12 (a b) c) S 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!((field(stat, 10), field(stat, 12), field(stat, 15)), (10, 12, 15));
        let before = Usage::now();
        let sum = (0..3_000_000u64).fold(0, |sum, at| sum ^ base::mix64(at));
        assert!(sum != 0 && Usage::now().since(before).thread_ns > 0);
    }
}
