//! All files of a result at once, in a directory of their own.

use std::fs;
use std::io;
use std::path::Path;

use super::result::{ALL_OPS, BenchResult, Clock};
use super::{csv, hgrm, html, json, svg};

/// Name of the page.
pub const PAGE: &str = "report.html";

/// Name of the picture of a sweep.
pub const CURVE: &str = "curve.svg";

/// Name of the rows per second.
pub const SERIES: &str = "series.csv";

/// Name of the interval log, which [`super::hlog`] writes while the histograms of the seconds are at hand.
pub const INTERVAL_LOG: &str = "run.hlog";

/// Writes the views of `result` into `dir`, which is made where it is missing: `series.csv`, a `.hgrm` for response and
/// service of all operations, `curve.svg` of a sweep, `report.html`, and `result.json` last and under its name only
/// when it is whole. So a directory with a `result.json` has all of them.
///
/// Errors: those of the file system.
pub fn write(dir: &Path, result: &BenchResult) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(SERIES), csv::to_string(result))?;
    for clock in [Clock::Response, Clock::Service] {
        let latency = result.latency_of(ALL_OPS, clock);
        if let Some(histogram) = latency.and_then(|latency| json::decode_histogram(&latency.hdr_base64)) {
            fs::write(dir.join(format!("{}.hgrm", clock.name())), hgrm::to_string(&histogram))?;
        }
    }
    if let Some(curve) = result.sweep.as_ref().and_then(svg::curve) {
        fs::write(dir.join(CURVE), svg::standalone(&curve, html::CSS))?;
    }
    fs::write(dir.join(PAGE), html::result(result))?;
    let unfinished = dir.join(format!("{}.part", json::FILE));
    fs::write(&unfinished, json::to_string(result))?;
    fs::rename(unfinished, dir.join(json::FILE))
}

/// Leaves a plot as a picture of its own.
///
/// Errors: those of the file system.
pub fn write_picture(path: &Path, plot: &str) -> io::Result<()> {
    fs::write(path, svg::standalone(plot, html::CSS))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::report::result::Latency;

    #[test]
    fn a_directory_holds_every_view_and_reads_back() {
        let mut histogram = Histogram::new(3).expect("valid digits");
        histogram.record(1_000_000).expect("recorded");
        let latency = Latency {
            op: ALL_OPS.to_owned(),
            count: 1,
            hdr_base64: json::encode_histogram(&histogram),
            ..Latency::default()
        };
        let result = BenchResult { latency: vec![latency], ..BenchResult::default() };
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("new/result");
        write(&dir, &result).expect("written");
        let mut names: Vec<String> = fs::read_dir(&dir)
            .expect("it is there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["report.html", "response.hgrm", "result.json", "series.csv"]);
        assert_eq!(json::read(&dir).expect("it reads"), result);
        write(&dir, &result).expect("written again");
    }
}
