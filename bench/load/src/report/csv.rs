//! `series.csv`: one row per second with rates, percentiles, the machine and the stages (RFC 4180).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::result::{BenchResult, Interval};

const COLUMNS: [&str; 14] = [
    "at_s",
    "offered_per_s",
    "achieved_per_s",
    "errors",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "inflight",
    "lag_p99_us",
    "steal",
    "psi_cpu",
    "psi_io",
    "load1",
];

/// The intervals of `result`; a figure that is not known is an empty field.
#[must_use]
pub fn to_string(result: &BenchResult) -> String {
    let intervals = &result.throughput.intervals;
    let stages: BTreeSet<&str> =
        intervals.iter().flat_map(|interval| interval.stages_us.keys().map(String::as_str)).collect();
    let mut out = COLUMNS.join(",");
    stages.iter().for_each(|stage| out += &format!(",{}", field(&format!("stage_{stage}_us"))));
    out += ",faults\r\n";
    for (place, interval) in intervals.iter().enumerate() {
        let end = intervals.get(place + 1).map_or(f64::INFINITY, |next| next.at_s);
        out += &row(result, interval, place);
        for stage in &stages {
            let time = interval.stages_us.get(*stage).copied();
            let _ = write!(out, ",{}", figure(time));
        }
        let faults = result.faults.iter().filter(|fault| interval.at_s <= fault.at_s && fault.at_s < end);
        let faults: Vec<&str> = faults.map(|fault| fault.kind.as_str()).collect();
        let _ = write!(out, ",{}\r\n", field(&faults.join("; ")));
    }
    out
}

fn row(result: &BenchResult, interval: &Interval, place: usize) -> String {
    let host = &result.host_series;
    let at = |series: &[f64]| series.get(place).copied();
    let figures = [
        Some(interval.at_s),
        Some(interval.offered),
        Some(interval.achieved),
        Some(interval.errors as f64),
        interval.p50_us,
        interval.p99_us,
        interval.p999_us,
        interval.max_us,
        Some(interval.inflight as f64),
        interval.lag_p99_us,
        at(&host.steal),
        at(&host.psi_cpu),
        at(&host.psi_io),
        at(&host.load1),
    ];
    figures.map(figure).join(",")
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Quoted where a reader would split it.
fn field(text: &str) -> String {
    let needs_quotes = text.contains([',', '"', '\r', '\n']);
    if needs_quotes { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::result::{Fault, HostSeries, Throughput};

    #[test]
    fn each_second_is_a_row_with_its_faults_and_stages() {
        let second =
            |at_s: f64| Interval { at_s, offered: 10.0, achieved: 9.5, p50_us: Some(1.5), ..Interval::default() };
        let mut intervals = vec![second(0.0), second(1.0)];
        intervals[1].stages_us.insert("log_sync".to_owned(), 7.25);
        let fault = |at_s, kind: &str| Fault { at_s, kind: kind.to_owned(), ..Fault::default() };
        let result = BenchResult {
            throughput: Throughput { intervals, ..Throughput::default() },
            host_series: HostSeries { steal: vec![0.0, 0.25], ..HostSeries::default() },
            faults: vec![fault(1.0, "cut=n2,n3:5s"), fault(99.0, "kill-leader")],
            ..BenchResult::default()
        };
        let text = to_string(&result);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], format!("{},stage_log_sync_us,faults", COLUMNS.join(",")));
        assert_eq!(lines[1], "0,10,9.5,0,1.5,,,,0,,0,,,,,");
        assert_eq!(lines[2], "1,10,9.5,0,1.5,,,,0,,0.25,,,,7.25,\"cut=n2,n3:5s; kill-leader\"");
        assert_eq!(lines[3], "");
    }
}
