//! What one window of one arm measured.

use base::Mono;
use base::mono::Span;
use hdrhistogram::Histogram;
use reactor::clock;
use reactor::device::{Device, DeviceCounters, Usage};

/// Commits kept of one window, for the raw writer to repeat.
const TRACE_COMMITS_MAX: usize = 1 << 20;
/// The slowest command or commit that is told apart. Units: nanoseconds.
const SLOWEST_NS: u64 = 60_000_000_000;

/// One group commit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Commit {
    /// Bytes written, in whole blocks.
    pub bytes: u32,
    /// Commands in it.
    pub commands: u32,
}

/// The commits of a window, in order.
#[derive(Debug)]
pub struct Trace {
    /// At most so many as there was room for at first.
    pub commits: Vec<Commit>,
}

impl Trace {
    /// An empty one, with its room.
    #[must_use]
    pub fn new() -> Trace {
        Trace { commits: Vec::with_capacity(TRACE_COMMITS_MAX) }
    }

    /// Notes one more, while there is room.
    pub fn note(&mut self, commit: Commit) {
        if self.commits.len() < TRACE_COMMITS_MAX && commit.bytes > 0 {
            self.commits.push(commit);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.commits.clear();
    }
}

impl Default for Trace {
    fn default() -> Trace {
        Trace::new()
    }
}

/// What one arm did in a window.
#[derive(Clone, Debug)]
pub struct Window {
    /// Commands that became durable.
    pub commands: u64,
    /// Group commits.
    pub commits: u64,
    /// Bytes that were given to the file.
    pub bytes: u64,
    /// From the submit of a command to its durability; nanoseconds.
    pub command_ns: Histogram<u64>,
    /// From the write of a commit to the end of its sync; nanoseconds.
    pub commit_ns: Histogram<u64>,
    /// How long it was.
    pub took: Span,
    /// What thread and process used.
    pub usage: Usage,
    /// What the device did; `None` if it does not tell.
    pub device: Option<DeviceCounters>,
    /// Heap allocations of this thread.
    pub allocations: u64,
}

impl Default for Window {
    fn default() -> Window {
        let histogram = || Histogram::new_with_bounds(1, SLOWEST_NS, 3).expect("the bounds are valid");
        Window {
            commands: 0,
            commits: 0,
            bytes: 0,
            command_ns: histogram(),
            commit_ns: histogram(),
            took: Span(0),
            usage: Usage::default(),
            device: None,
            allocations: 0,
        }
    }
}

impl Window {
    /// A commit ended.
    pub fn note_commit(&mut self, commit: &Commit, took: Span) {
        self.commits += 1;
        self.bytes += u64::from(commit.bytes);
        self.commit_ns.saturating_record(took.0);
    }

    /// So many commands became durable, each after this time.
    pub fn note_commands(&mut self, count: u64, took: Span) {
        self.commands += count;
        self.command_ns.saturating_record_n(took.0, count);
    }

    /// Adds another window of the same arm.
    pub fn add(&mut self, other: &Window) {
        self.commands += other.commands;
        self.commits += other.commits;
        self.bytes += other.bytes;
        self.command_ns += &other.command_ns;
        self.commit_ns += &other.commit_ns;
        self.took = Span(self.took.0 + other.took.0);
        self.usage.process_ms += other.usage.process_ms;
        self.usage.thread_ns += other.usage.thread_ns;
        self.usage.major_faults += other.usage.major_faults;
        self.usage.minor_faults += other.usage.minor_faults;
        self.allocations += other.allocations;
        self.device = match (self.device, other.device) {
            (Some(sum), Some(more)) => Some(DeviceCounters {
                writes: sum.writes + more.writes,
                bytes: sum.bytes + more.bytes,
                flushes: sum.flushes.zip(more.flushes).map(|(sum, more)| sum + more),
            }),
            (one, other) => one.or(other),
        };
    }

    /// Commands per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.commands as f64 / (self.took.0.max(1) as f64 / 1e9)
    }

    /// Latency of a command at a quantile, in microseconds.
    #[must_use]
    pub fn command_us(&self, quantile: f64) -> f64 {
        self.command_ns.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Latency of a commit at a quantile, in microseconds.
    #[must_use]
    pub fn commit_us(&self, quantile: f64) -> f64 {
        self.commit_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Reads clocks and counters around a window.
#[derive(Debug)]
pub struct Meter {
    device: Device,
    counters: Option<DeviceCounters>,
    usage: Usage,
    began: Mono,
}

impl Meter {
    /// The window begins.
    #[must_use]
    pub fn start(device: Device) -> Meter {
        Meter { device, counters: device.counters(), usage: Usage::now(), began: clock::mono() }
    }

    /// The window has ended.
    pub fn stop(self, window: &mut Window) {
        window.took = clock::mono().since(self.began);
        window.usage = Usage::now().since(self.usage);
        window.device = self.device.counters().zip(self.counters).map(|(after, before)| after.since(before));
    }
}
