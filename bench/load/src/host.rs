//! What the host did meanwhile, from /proc: time stolen by other machines, and time in which something waited for a
//! processor. What cannot be read is not known.

use crate::report::result::Host;
use crate::verdict::HostFacts;

/// Counters of the host at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostCounters {
    /// Ticks of all processors, and those stolen.
    ticks: Option<(u64, u64)>,
    /// Microseconds in which something waited for a processor.
    waited_us: Option<u64>,
    /// Microseconds in which something waited for a disk.
    io_waited_us: Option<u64>,
}

/// A second of the host, as the result keeps it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct HostSecond {
    /// Share of the processors that another machine had.
    pub steal: f64,
    /// Share of the time in which something waited for a processor.
    pub psi_cpu: f64,
    /// Share of the time in which something waited for a disk.
    pub psi_io: f64,
    /// Load average over a minute.
    pub load1: f64,
}

impl HostCounters {
    /// As they are now.
    #[must_use]
    pub fn read() -> HostCounters {
        let text = |path: &str| std::fs::read_to_string(path).ok();
        HostCounters {
            ticks: text("/proc/stat").and_then(|text| parse_stat(&text)),
            waited_us: text("/proc/pressure/cpu").and_then(|text| parse_pressure(&text)),
            io_waited_us: text("/proc/pressure/io").and_then(|text| parse_pressure(&text)),
        }
    }

    /// The second since `before`, `seconds` ago; what is not known is 0.
    #[must_use]
    pub fn second_since(&self, before: &HostCounters, seconds: f64) -> HostSecond {
        let facts = self.since(before, seconds, false);
        let waited = self.io_waited_us.zip(before.io_waited_us).map_or(0, |(now, then)| now.saturating_sub(then));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        HostSecond {
            steal: facts.steal_percent.unwrap_or(0.0) / 100.0,
            psi_cpu: facts.psi_cpu_percent.unwrap_or(0.0) / 100.0,
            psi_io: (waited as f64 / 1e6 / seconds.max(1e-9)).min(1.0),
            load1: load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }

    /// What happened since `before`, `seconds` ago. `is_shared`: generator and target have the same processors.
    #[must_use]
    pub fn since(&self, before: &HostCounters, seconds: f64, is_shared: bool) -> HostFacts {
        let steal = self.ticks.zip(before.ticks).map(|((all, stolen), (all_before, stolen_before))| {
            let all = all.saturating_sub(all_before).max(1) as f64;
            stolen.saturating_sub(stolen_before) as f64 * 100.0 / all
        });
        let waited = self.waited_us.zip(before.waited_us).map(|(now, then)| now.saturating_sub(then) as f64);
        HostFacts {
            steal_percent: steal,
            psi_cpu_percent: waited.map(|waited| (waited / 1e4 / seconds.max(1e-9)).min(100.0)),
            is_shared,
        }
    }
}

/// This machine; empty fields are not known. File system and device are those of what is measured, and left empty here.
#[must_use]
pub fn describe() -> Host {
    let line = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let cpuinfo = line("/proc/cpuinfo");
    let of = |key: &str| cpu_field(&cpuinfo, key).unwrap_or_default().to_owned();
    let is_guest = of("flags").split(' ').any(|flag| flag == "hypervisor");
    let product = line("/sys/class/dmi/id/product_name");
    Host {
        cpu: of("model name"),
        cores: std::thread::available_parallelism().map_or(0, |count| count.get() as u32),
        mhz: of("cpu MHz").parse().unwrap_or(0.0),
        kernel: format!("Linux {}", line("/proc/sys/kernel/osrelease")),
        clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        virt: match (is_guest, product.is_empty()) {
            (false, _) => "none".to_owned(),
            (true, true) => "yes".to_owned(),
            (true, false) => product,
        },
        governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        ..Host::default()
    }
}

/// The first value of a field in /proc/cpuinfo.
fn cpu_field<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

/// All ticks and the stolen ones (the eighth number) of the first line of /proc/stat.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> =
        text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // The last two, of guests, are in the first two already.
    Some((numbers.iter().take(8).sum(), *numbers.get(7)?))
}

/// The total of the line `some` of /proc/pressure/cpu.
fn parse_pressure(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some"))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("total=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 1 2 3\n";
        assert_eq!(parse_stat(stat), Some((1000, 35)));
        assert_eq!(parse_stat("cpu  1 2 3\n"), None);
        let pressure = "some avg10=1.00 avg60=0.50 avg300=0.10 total=123456\nfull avg10=0.00 total=9\n";
        assert_eq!(parse_pressure(pressure), Some(123_456));
    }

    #[test]
    fn a_machine_is_described_by_its_first_processor() {
        let text = "processor\t: 0\nmodel name\t: A 7: fast\ncpu MHz\t\t: 2500.1\n\nmodel name\t: B\n";
        assert_eq!((cpu_field(text, "model name"), cpu_field(text, "flags")), (Some("A 7: fast"), None));
        let this = describe();
        assert!(this.cores > 0 && this.kernel.starts_with("Linux ") && !this.virt.is_empty(), "{this:?}");
    }

    #[test]
    fn parts_are_of_what_has_passed() {
        let before = HostCounters { ticks: Some((1000, 10)), waited_us: Some(0), io_waited_us: Some(0) };
        let after = HostCounters { ticks: Some((3000, 60)), waited_us: Some(500_000), io_waited_us: Some(250_000) };
        let facts = after.since(&before, 10.0, true);
        assert_eq!((facts.steal_percent, facts.psi_cpu_percent), (Some(2.5), Some(5.0)));
        assert_eq!(after.second_since(&before, 1.0).psi_io, 0.25);
        assert_eq!(HostCounters::default().since(&before, 1.0, true).steal_percent, None);
    }
}
