//! `run.hlog`: an HdrHistogram interval log, version 1.3 with V2 histograms, tagged `<op>:<clock>`.
//!
//! Other tools cut any window out of it and add its histograms up; that is the only right way to a percentile of a
//! window.

use std::borrow::Borrow;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use super::result::Clock;

/// Nanoseconds in the histograms; milliseconds in the column that people read.
const NS_PER_MS: f64 = 1e6;

/// One line of the log.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a, H = &'a Histogram<u64>> {
    /// Begin of the interval, since the begin of the window.
    pub at: Duration,
    /// Its length.
    pub length: Duration,
    /// Op kind.
    pub op: &'a str,
    /// Which clock.
    pub clock: Clock,
    /// What was measured in it, nanoseconds.
    pub histogram: H,
}

/// Writes `lines`, which ascend by `at`, to `out`. `start_unix_ms` is the begin of the window, and `about` a line that
/// says what was run.
///
/// Errors: those of `out`.
pub fn write<'a, H: Borrow<Histogram<u64>>>(
    out: &mut impl Write,
    start_unix_ms: u64,
    about: &str,
    lines: impl IntoIterator<Item = Line<'a, H>>,
) -> io::Result<()> {
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(start_unix_ms);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("[{}; values in ns, tags are op:clock]", about.replace(['\n', '\r'], " ")))
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(out, &mut serializer)?;
    for line in lines {
        let tag = tag(line.op, line.clock);
        log.write_histogram(line.histogram.borrow(), line.at, line.length, Tag::new(&tag)).map_err(
            |error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error.to_string()),
            },
        )?;
    }
    Ok(())
}

/// Commas, spaces and line ends would end the tag.
fn tag(op: &str, clock: Clock) -> String {
    let op = op.replace(|c: char| c == ',' || c.is_whitespace(), "_");
    format!("{op}:{}", clock.name())
}
