//! The figures that two results are compared by.

use crate::report::result::{BenchResult, Cost, Latency, LatencyCi, Repeat, Span};
use crate::report::words;
use crate::stats::Interval;

/// One figure of a result. Names are those of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Operations answered per second.
    Rate,
    /// The highest rate within the SLO.
    RateSlo,
    /// Response of all operations: median.
    P50,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// 99.99th percentile.
    P9999,
    /// The slowest.
    Max,
    /// Errors over answers.
    Err,
    /// Processor time per operation, all roles.
    CpuUs,
    /// Calls of `io_uring_enter` per operation.
    Enters,
    /// System calls per operation.
    Syscalls,
    /// Syncs per operation.
    Syncs,
    /// Device bytes per byte of the user.
    Device,
    /// Wire bytes per operation.
    Wire,
    /// Allocations per operation.
    Allocs,
    /// Resident memory.
    Rss,
}

impl Metric {
    /// All of them, in the order of every view.
    pub const ALL: [Metric; 17] = [
        Metric::Rate,
        Metric::RateSlo,
        Metric::P50,
        Metric::P90,
        Metric::P99,
        Metric::P999,
        Metric::P9999,
        Metric::Max,
        Metric::Err,
        Metric::CpuUs,
        Metric::Enters,
        Metric::Syscalls,
        Metric::Syncs,
        Metric::Device,
        Metric::Wire,
        Metric::Allocs,
        Metric::Rss,
    ];

    /// Its name in gates and views.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Rate => "rate",
            Metric::RateSlo => "rate_slo",
            Metric::P50 => "p50",
            Metric::P90 => "p90",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
            Metric::P9999 => "p99.99",
            Metric::Max => "max",
            Metric::Err => "err",
            Metric::CpuUs => "cpu_us",
            Metric::Enters => "enters",
            Metric::Syscalls => "syscalls",
            Metric::Syncs => "syncs",
            Metric::Device => "device",
            Metric::Wire => "wire",
            Metric::Allocs => "allocs",
            Metric::Rss => "rss",
        }
    }

    /// The metric of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// True where more is better.
    #[must_use]
    pub const fn is_better_high(self) -> bool {
        matches!(self, Metric::Rate | Metric::RateSlo)
    }

    /// True for what is counted and so has no interval within one run.
    pub(super) const fn is_count(self) -> bool {
        use Metric::{Allocs, CpuUs, Device, Enters, Rss, Syncs, Syscalls, Wire};
        matches!(self, CpuUs | Enters | Syscalls | Syncs | Device | Wire | Allocs | Rss)
    }

    /// Its figure with a unit.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Metric::Rate | Metric::RateSlo => words::rate(value),
            Metric::Err => words::percent(value),
            Metric::Enters | Metric::Syscalls | Metric::Syncs | Metric::Allocs => format!("{}/op", words::three(value)),
            Metric::Device => format!("{} B/B", words::three(value)),
            Metric::Wire => format!("{}/op", words::bytes(value)),
            Metric::Rss => words::bytes(value),
            Metric::CpuUs => format!("{} us/op", words::three(value)),
            _ => words::time(value),
        }
    }

    pub(super) fn of_repeat(self, repeat: &Repeat) -> Option<f64> {
        match self {
            Metric::Rate => Some(repeat.rate_achieved),
            Metric::RateSlo => None,
            Metric::P50 => repeat.p50_us,
            Metric::P90 => repeat.p90_us,
            Metric::P99 => repeat.p99_us,
            Metric::P999 => repeat.p999_us,
            Metric::P9999 => repeat.p9999_us,
            // A run without answers has no slowest one.
            Metric::Max => (repeat.max_us > 0.0).then_some(repeat.max_us),
            Metric::Err => Some(repeat.errors_share),
            _ => self.of_cost(&repeat.cost),
        }
    }

    pub(super) fn of_result(self, result: &BenchResult) -> Option<f64> {
        match self {
            Metric::RateSlo => result.sweep.as_ref().and_then(|sweep| sweep.rate_slo),
            _ => None,
        }
    }

    fn of_cost(self, cost: &Cost) -> Option<f64> {
        match self {
            Metric::CpuUs => (!cost.cpu_us.is_empty()).then(|| cost.cpu_us.values().sum()),
            Metric::Enters => cost.enters,
            Metric::Syscalls => cost.syscalls,
            Metric::Syncs => cost.syncs,
            Metric::Device => cost.device_bytes,
            Metric::Wire => cost.wire_bytes,
            Metric::Allocs => cost.allocations,
            Metric::Rss => cost.rss_bytes.map(|bytes| bytes as f64),
            _ => None,
        }
    }

    /// The interval of the figure within one run.
    pub(super) fn interval(self, result: &BenchResult) -> Option<Interval> {
        let of = |span: fn(&LatencyCi) -> Option<Span>| result.headline().map(|all: &Latency| &all.ci95).and_then(span);
        let span = match self {
            Metric::Rate => result.throughput.ci95,
            Metric::RateSlo => result.sweep.as_ref().and_then(|sweep| sweep.rate_slo_ci95),
            Metric::P50 => of(|ci| ci.p50_us),
            Metric::P90 => of(|ci| ci.p90_us),
            Metric::P99 => of(|ci| ci.p99_us),
            Metric::P999 => of(|ci| ci.p999_us),
            Metric::P9999 => of(|ci| ci.p9999_us),
            _ => None,
        };
        span.map(Interval::from)
    }
}
