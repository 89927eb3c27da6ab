//! What the log's benchmark is told.

use std::path::PathBuf;

use base::mono::Span;
use clap::Parser;
use reactor::Backend;

/// The log of one core against a raw writer of the same frames, backend by backend, in one interleaved run.
///
/// Each line is one arm: rate, latency of a command from submit to durable, and what it cost. The ratios are of pairs of
/// windows that ran one after the other; `log` stands over `raw`. Wants an idle machine and the disk in question.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "log",
    after_help = "\
Examples:
  cargo bench -p dropstone-bench --bench log                                       (about 14 minutes)
  cargo bench -p dropstone-bench --bench log -- --backends direct --window-ms 2000
  cargo bench -p dropstone-bench --bench log -- --dir /mnt/nvme --json > log.json

Exit codes: 0 all gates hold  1 it could not be measured  3 a gate does not hold"
)]
pub struct LogBenchArgs {
    /// Where the files are made, in a folder that is removed again; about 1 GiB for each backend.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// The backends, with commas between.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "direct,pwrite,mmap")]
    pub backends: Vec<Backend>,
    /// Commands in flight, with commas between; one level after the other.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,8,64,1024",
          value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub in_flight: Vec<u32>,
    /// Bytes of a command.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub bytes: u32,
    /// Rounds: windows of each arm at each level.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub windows: u32,
    /// Length of a window, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub window_ms: u64,
    /// Batches of frames that the log has on their way to the disk, 1 or 2; the raw writer always has one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub batches: u8,
    /// Segments, in MiB; a power of two.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(4..=1024))]
    pub segment_mib: u64,
    /// One JSON document instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl LogBenchArgs {
    /// How long a window is.
    #[must_use]
    pub fn window(&self) -> Span {
        Span::from_ms(self.window_ms)
    }

    /// How long an engine runs at a new level before it is measured.
    #[must_use]
    pub fn warm_up(&self) -> Span {
        Span(self.window().0 / 4)
    }

    /// Bytes of a segment.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment_mib << 20
    }
}
