//! The interval log and the histograms inside results, read by readers that are not ours.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use load::report::hlog;
use load::report::json::encode_histogram;
use load::report::result::Clock;

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1_000_000_000_000, 3).expect("valid bounds")
}

/// Five seconds of 4,000 samples each, so that every rank is whole: readers round ranks in different ways.
fn seconds() -> Vec<Histogram<u64>> {
    let mut prng = base::Prng::new(5);
    let mut second = || {
        let mut histogram = empty();
        for _ in 0..4_000 {
            // Some latencies from 0.2 ms to 200 ms, most of them small.
            let exponent = prng.below(1_000) as f64 / 1_000.0;
            histogram.record((200_000.0 * 1_000f64.powf(exponent.powi(4))) as u64).expect("recorded");
        }
        histogram
    };
    (0..5).map(|_| second()).collect()
}

fn log(seconds: &[Histogram<u64>]) -> Vec<u8> {
    let mut out = Vec::new();
    let line = |(at, histogram)| hlog::Line {
        at: Duration::from_secs(at as u64),
        length: Duration::from_secs(1),
        op: "all",
        clock: Clock::Response,
        histogram,
    };
    let lines = seconds.iter().enumerate().map(line);
    hlog::write(&mut out, 1_800_000_000_000, "sample data", lines).expect("writing to memory does not fail");
    out
}

fn sum(seconds: &[Histogram<u64>]) -> Histogram<u64> {
    let mut sum = empty();
    seconds.iter().for_each(|one| sum.add(one).expect("one shape"));
    sum
}

#[test]
fn the_log_reader_of_the_crate_finds_every_interval_and_the_same_percentiles() {
    let seconds = seconds();
    let log = log(&seconds);
    let (mut seen, mut start, mut base) = (0, None, None);
    let mut all = empty();
    for entry in IntervalLogIterator::new(&log) {
        match entry.expect("a line that reads") {
            LogEntry::StartTime(at) => start = Some(at.as_secs()),
            LogEntry::BaseTime(at) => base = Some(at.as_secs()),
            LogEntry::Interval(interval) => {
                assert_eq!(interval.tag().map(|tag| tag.as_str().to_owned()), Some("all:response".to_owned()));
                assert_eq!((interval.start_timestamp().as_secs(), interval.duration().as_secs()), (seen, 1));
                let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram());
                let one: Histogram<u64> =
                    Deserializer::new().deserialize(&mut &*bytes.expect("base64")).expect("a histogram");
                assert_eq!(one, seconds[seen as usize]);
                assert!((interval.max() - one.max() as f64 / 1e6).abs() < 0.001, "the column for people is in ms");
                all.add(one).expect("one shape");
                seen += 1;
            }
        }
    }
    assert_eq!((seen, start, base), (5, Some(1_800_000_000), Some(1_800_000_000)));
    assert_eq!(all, sum(&seconds));
}

/// A12 row 8. PyPI's `hdrhistogram` is a reader of its own; where it is not installed, the test says so and ends.
#[test]
fn the_reader_for_python_finds_the_same_percentiles() {
    const READ: &str = "
import sys
try:
    from hdrh.log import HistogramLogReader
    from hdrh.histogram import HdrHistogram
except ImportError:
    print('absent'); sys.exit()
whole = HdrHistogram(1, 1000000000000, 3)
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 1000000000000, 3))
count = 0
while True:
    one = reader.get_next_interval_histogram()
    if one is None: break
    whole.add(one); count += 1
coded = HdrHistogram.decode(open(sys.argv[2]).read())
for histogram in (whole, coded):
    print(count, histogram.get_total_count(), *[histogram.get_value_at_percentile(p) for p in (50, 90, 99, 99.9, 100)])
";
    let dir = tempfile::tempdir().expect("a directory");
    let (seconds, coded) = (seconds(), dir.path().join("hdr_base64"));
    let (path, sum) = (dir.path().join("run.hlog"), sum(&seconds));
    std::fs::write(&path, log(&seconds)).expect("written");
    std::fs::write(&coded, encode_histogram(&sum)).expect("written");
    let python = Command::new("python3").arg("-c").arg(READ).args([&path, &coded]).stderr(Stdio::piped()).output();
    let Ok(python) = python else { return eprintln!("skipped: no python3") };
    let said = String::from_utf8_lossy(&python.stdout);
    if said.trim() == "absent" {
        return eprintln!("skipped: `pip install hdrhistogram` brings the reader");
    }
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let ours = QUANTILES.map(|quantile| sum.value_at_quantile(quantile).to_string()).join(" ");
    let expected = format!("5 {} {ours}", sum.len());
    assert_eq!(said.lines().collect::<Vec<_>>(), [&*expected, &*expected]);
}
