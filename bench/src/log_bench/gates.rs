//! Whether the log is as fast as the disk: the ratios of pairs of windows, and the limits from docs/design/log.md.

use base::record::record_space;
use reactor::Backend;

use super::arguments::LogBenchArgs;
use super::meter::Window;

/// Rate of the log over that of the raw writer.
pub const RATE_MIN: f64 = 0.9;
/// p99 of a commit over that of the raw writer's same commits.
pub const P99_MAX: f64 = 1.15;
/// Device bytes over payload bytes, for commits of at least [`FULL_BYTES`].
pub const BYTES_MAX: f64 = 1.10;
/// Flushes per group commit.
pub const FLUSHES_MAX: f64 = 1.05;
/// Commits from this size on are full enough to be judged by their bytes.
pub const FULL_BYTES: f64 = 16384.0;
/// Padding below which a commit is judged by its payload, else by its blocks.
const PADDING_MAX: f64 = 0.03;
/// Bytes of an entry's identity in the frame that follows.
const ECHO_BYTES: u64 = 24;
/// Allocations for each segment that is filled: its switch, its `meta`, and compactions. Appending makes none.
pub const ALLOCATIONS_MAX: f64 = 100.0;

/// All windows of one backend at one number of commands in flight.
#[derive(Clone, Debug)]
pub struct Level {
    /// Of the log.
    pub backend: Backend,
    /// Commands in flight.
    pub in_flight: u32,
    /// Bytes of a command.
    pub command_bytes: u32,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// All windows of the log, together.
    pub log: Window,
    /// All windows of the raw writer, together.
    pub raw: Window,
    /// Of each pair of windows: the log's over the raw writer's.
    pub ratios: Vec<Ratios>,
}

/// The log's figures over those of the raw writer, of one pair of windows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ratios {
    /// Commands per second.
    pub rate: f64,
    /// p50 of a commit, from its write to the end of its sync.
    pub p50: f64,
    /// p99 of a commit.
    pub p99: f64,
}

/// One limit and what was seen.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What is limited.
    pub name: &'static str,
    /// What was seen.
    pub seen: f64,
    /// The limit, as text.
    pub limit: String,
    /// It holds.
    pub holds: bool,
}

impl Level {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(backend: Backend, in_flight: u32, args: &LogBenchArgs) -> Level {
        let (log, raw) = (Window::default(), Window::default());
        let (command_bytes, segment_bytes) = (args.bytes, args.segment_bytes());
        Level { backend, in_flight, command_bytes, segment_bytes, log, raw, ratios: Vec::new() }
    }

    /// Adds a pair of windows.
    pub fn add(&mut self, log: Window, raw: Window) {
        self.ratios.push(Ratios {
            rate: log.rate() / raw.rate(),
            p50: log.commit_us(0.5) / raw.commit_us(0.5),
            p99: log.commit_us(0.99) / raw.commit_us(0.99),
        });
        self.log.add(&log);
        self.raw.add(&raw);
    }

    /// The median over the pairs of what `pick` takes.
    #[must_use]
    pub fn median(&self, pick: impl Fn(&Ratios) -> f64) -> f64 {
        self.sorted(pick).get(self.ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The smallest and the largest over the pairs of what `pick` takes.
    #[must_use]
    pub fn range(&self, pick: impl Fn(&Ratios) -> f64) -> (f64, f64) {
        let sorted = self.sorted(pick);
        (sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN))
    }

    fn sorted(&self, pick: impl Fn(&Ratios) -> f64) -> Vec<f64> {
        let mut all: Vec<f64> = self.ratios.iter().map(pick).collect();
        all.sort_unstable_by(f64::total_cmp);
        all
    }

    /// Bytes of records and identities, without padding and headers.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.log.commands * (record_space(self.command_bytes as usize) as u64 + ECHO_BYTES)
    }

    /// The limits, of the medians and sums.
    #[must_use]
    pub fn gates(&self) -> Vec<Gate> {
        let at_least = |name, seen: f64, min: f64| Gate { name, seen, limit: format!(">= {min}"), holds: seen >= min };
        let at_most = |name, seen: f64, max: f64| Gate { name, seen, limit: format!("<= {max}"), holds: seen <= max };
        let log = &self.log;
        let segments = log.bytes.max(1) as f64 / self.segment_bytes as f64;
        let mut out = vec![
            at_least("rate, log over raw", self.median(|ratios| ratios.rate), RATE_MIN),
            at_most("p99 of a commit, log over raw", self.median(|ratios| ratios.p99), P99_MAX),
        ];
        if let Some(device) = log.device {
            let is_full = log.bytes as f64 / log.commits.max(1) as f64 >= FULL_BYTES;
            let padding = 1.0 - self.payload_bytes() as f64 / log.bytes.max(1) as f64;
            if is_full && padding <= PADDING_MAX {
                out.push(at_most(
                    "device bytes per payload byte",
                    device.bytes as f64 / self.payload_bytes() as f64,
                    BYTES_MAX,
                ));
            } else if is_full {
                out.push(at_most("device bytes per frame byte", device.bytes as f64 / log.bytes as f64, BYTES_MAX));
            }
            if let Some(flushes) = device.flushes {
                out.push(at_most("flushes per commit", flushes as f64 / log.commits.max(1) as f64, FLUSHES_MAX));
            }
        }
        out.push(at_most("major faults of the core", log.usage.major_faults as f64, 0.0));
        out.push(at_most("allocations per segment", log.allocations as f64 / segments, ALLOCATIONS_MAX));
        out
    }
}
