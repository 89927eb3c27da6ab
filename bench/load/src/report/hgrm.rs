//! `.hgrm`: percentile tables in HdrHistogram's own text form, which its plotting tools read.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Lines per halving of the distance to 100 %, as HdrHistogram's tools default to.
const TICKS_PER_HALF: u32 = 5;

const NS_PER_MS: f64 = 1e6;

/// The percentile table of `histogram`.
///
/// Units: nanoseconds in, milliseconds out, as HdrHistogram's plotters expect by habit.
#[must_use]
pub fn to_string(histogram: &Histogram<u64>) -> String {
    let digits = usize::from(histogram.sigfig());
    let mut out = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / NS_PER_MS, step.quantile_iterated_to());
        // Writing to a string does not fail.
        let _ = write!(out, "{value:12.digits$} {quantile:.12} {total:10}");
        let _ = if quantile < 1.0 { writeln!(out, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(out) };
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    let max = histogram.max() as f64 / NS_PER_MS;
    let buckets = histogram.buckets();
    let sub_buckets = sub_buckets(histogram.sigfig());
    let _ = writeln!(out, "#[Mean    = {mean:12.digits$}, StdDeviation   = {deviation:12.digits$}]");
    let _ = writeln!(out, "#[Max     = {max:12.digits$}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]");
    out
}

/// Counters per power of two: enough that neighbours differ by one part in 10^digits.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10u64.pow(u32::from(digits))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thousand() -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000_000, 3).expect("valid bounds");
        (1..=1_000u64).for_each(|ms| histogram.record(ms * 1_000_000).expect("recorded"));
        histogram
    }

    /// What any reader of the format does: four numbers a line, the last without its fourth.
    fn rows(text: &str) -> Vec<Vec<f64>> {
        let lines = text.lines().skip(2).take_while(|line| !line.starts_with('#'));
        lines.map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect()).collect()
    }

    #[test]
    fn the_table_rises_to_every_sample() {
        let rows = rows(&to_string(&thousand()));
        assert!(rows.len() > 20);
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] < b[1] || b[1] == 1.0 && a[2] <= b[2]));
        let last = rows.last().expect("rows");
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1_000.0));
        assert!((last[0] / 1_000.0 - 1.0).abs() < 1e-3);
        let half = rows.iter().find(|row| row[1] == 0.5).expect("the median has a line");
        assert!((half[0] - 500.0).abs() < 0.6 && half[2] == 500.0 && half[3] == 2.0, "{half:?}");
    }

    #[test]
    fn the_end_names_mean_max_and_count() {
        let text = to_string(&thousand());
        assert!(text.contains("#[Mean    =      500."), "{text}");
        assert!(text.contains("Total count    =         1000]") && text.contains("SubBuckets     =         2048]"));
    }

    #[test]
    fn an_empty_histogram_has_a_table_without_rows() {
        let text = to_string(&Histogram::new(3).expect("valid digits"));
        assert!(rows(&text).len() <= 1 && text.contains("Total count    =            0]"), "{text}");
    }
}
