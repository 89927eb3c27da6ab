//! `/metrics`: Prometheus text. Buckets, labels and series are fixed, the same on every node for ever.

use std::fmt::Write;

use base::stages::OpClass;
use wire::CoreCounters;

use crate::profile::{Counts, TOTAL, Totals, Wide};
use crate::stall::Beats;

/// Upper bounds of the buckets, 5 us to 500 ms. Units: nanoseconds, and as text seconds.
const BUCKETS: [(u64, &str); 16] = [
    (5_000, "5e-06"),
    (10_000, "1e-05"),
    (20_000, "2e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
];

const STAGE_NAME: &str = "dropstone_stage_seconds";
const STAGE_HELP: &str = "Time of requests by kind of operation and stage; stage=total is all of it";

/// A number of the node: name, type, help, and where it is in a core's counts, which are added.
type Number = (&'static str, &'static str, &'static str, fn(&Counts) -> u64);

macro_rules! counter {
    ($name:literal, $help:literal, $field:ident) => {
        ($name, "counter", $help, |counts: &Counts| {
            let CoreCounters { $field, .. } = counts.counters;
            $field
        })
    };
}

const NUMBERS: [Number; 28] = [
    counter!("dropstone_core_turns_total", "Turns of the cores' loops", turns),
    counter!("dropstone_reactor_enters_total", "System calls that entered a ring", enters),
    counter!("dropstone_requests_total", "Requests taken", requests),
    counter!("dropstone_commands_total", "Commands answered with an outcome", commands),
    counter!("dropstone_queries_total", "Queries answered", queries),
    counter!("dropstone_overloaded_total", "Requests refused because a bound was reached", overloaded),
    counter!(
        "dropstone_forwarded_total",
        "Requests that came to the wrong core and were taken to the right one",
        forwarded
    ),
    counter!(
        "dropstone_forward_refused_total",
        "Requests that came to the wrong core while too many were on their way to the right one",
        forward_refused
    ),
    counter!("dropstone_malformed_total", "Frames and requests that made no sense", malformed),
    counter!("dropstone_seglog_syncs_total", "Durable writes of the log", syncs),
    counter!("dropstone_seglog_bytes_total", "Bytes written to the log", log_bytes),
    counter!("dropstone_peer_frames_sent_total", "Frames sent to other nodes", peer_frames_sent),
    counter!("dropstone_peer_frames_received_total", "Frames received from other nodes", peer_frames_received),
    ("dropstone_connections", "gauge", "Client connections open", |counts| counts.counters.connections),
    ("dropstone_peer_links", "gauge", "Links to other nodes up, each core's counted", |counts| {
        counts.counters.peer_links
    }),
    ("dropstone_replies_lost_total", "counter", "Replies whose connection closed before they left", |counts| {
        counts.replies_lost
    }),
    (
        "dropstone_raft_commit_closed_by_own_disk_total",
        "counter",
        "Entries whose quorum the own disk completed",
        |counts| counts.quorums.closed_by_own_disk,
    ),
    ("dropstone_raft_commit_closed_by_peer_total", "counter", "Entries whose quorum a peer completed", |counts| {
        counts.quorums.closed_by_peer
    }),
    (
        "dropstone_raft_commit_ahead_of_local_total",
        "counter",
        "Entries committed before they were on the own disk",
        |counts| counts.quorums.ahead_of_local,
    ),
    ("dropstone_raft_groups_led", "gauge", "Groups that this node leads", |counts| counts.counters.led_groups),
    ("dropstone_raft_led_load", "gauge", "Commands per second of the groups led, over some seconds", |counts| {
        counts.counters.led_load
    }),
    counter!("dropstone_raft_leaders_moved_total", "Leaderships given away for balance", leaders_moved),
    counter!("dropstone_cache_hits_total", "Reads answered from the read cache where they came", cache_hits),
    counter!("dropstone_cache_misses_total", "Reads that the read cache did not answer", cache_misses),
    counter!("dropstone_cache_evictions_total", "Items of the read cache that made room for others", cache_evictions),
    ("dropstone_cache_items", "gauge", "Items in the read cache", |counts| counts.counters.cache_items),
    ("dropstone_cache_bytes", "gauge", "Bytes of the items in the read cache", |counts| counts.counters.cache_bytes),
    ("dropstone_cores_reporting", "gauge", "Cores that have told their counts", |_| 1),
];

const STALL_NAME: &str = "dropstone_reactor_stall_total";
const STALL_HELP: &str = "Times that a core stood in one step of a turn for more than 5 ms";

/// The classes that a metaserver counts.
fn classes() -> impl Iterator<Item = OpClass> {
    OpClass::ALL.into_iter().filter(|class| *class != OpClass::Notify)
}

/// A class's stages and the total: name and place.
fn places(class: OpClass) -> impl Iterator<Item = (&'static str, usize)> {
    class.stages().iter().map(|stage| (stage.name(), *stage as usize)).chain([("total", TOTAL)])
}

/// Everything as text.
#[must_use]
pub fn text(totals: &Totals, beats: &Beats) -> String {
    let mut out = String::with_capacity(256 << 10);
    for (name, kind, help, of) in NUMBERS {
        head(&mut out, name, kind, help);
        let sum: u64 = totals.cores().iter().map(of).sum();
        line(&mut out, format_args!("{name} {sum}"));
    }
    head(&mut out, STALL_NAME, "counter", STALL_HELP);
    line(&mut out, format_args!("{STALL_NAME} {}", beats.stalls()));
    head(&mut out, STAGE_NAME, "histogram", STAGE_HELP);
    for class in classes() {
        for (stage, place) in places(class) {
            stage_lines(&mut out, class.name(), stage, totals.histogram(class, place));
        }
    }
    out
}

fn stage_lines(out: &mut String, op: &str, stage: &str, histogram: &Wide) {
    for (bound, seconds) in BUCKETS {
        let count = histogram.count_up_to(bound);
        line(out, format_args!("{STAGE_NAME}_bucket{{op=\"{op}\",stage=\"{stage}\",le=\"{seconds}\"}} {count}"));
    }
    let (count, sum) = (histogram.count(), histogram.sum() as f64 / 1e9);
    line(out, format_args!("{STAGE_NAME}_bucket{{op=\"{op}\",stage=\"{stage}\",le=\"+Inf\"}} {count}"));
    line(out, format_args!("{STAGE_NAME}_sum{{op=\"{op}\",stage=\"{stage}\"}} {sum}"));
    line(out, format_args!("{STAGE_NAME}_count{{op=\"{op}\",stage=\"{stage}\"}} {count}"));
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes all");
}

/// Every metric: name, type, series, help; a line each.
#[must_use]
pub fn list() -> String {
    let mut out = String::new();
    let mut add = |name: &str, kind: &str, series: usize, help: &str| {
        line(&mut out, format_args!("{name}\t{kind}\t{series}\t{help}"));
    };
    NUMBERS.iter().for_each(|(name, kind, help, _)| add(name, kind, 1, help));
    add(STALL_NAME, "counter", 1, STALL_HELP);
    let each = BUCKETS.len() + 3;
    add(STAGE_NAME, "histogram", classes().map(|class| places(class).count() * each).sum(), STAGE_HELP);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and labels of a text, without values and comments.
    fn series(text: &str) -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
    }

    #[test]
    fn all_series_are_there_from_boot_and_as_many_as_the_list_says() {
        let told = series(&text(&Totals::default(), &Beats::new(1)));
        let listed: usize = list().lines().map(|line| line.split('\t').nth(2).unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(told.len(), listed);
        assert!(told.len() <= 1700, "{} series", told.len());
        let unique: std::collections::BTreeSet<&String> = told.iter().collect();
        assert_eq!(unique.len(), told.len());
    }

    #[test]
    fn the_list_is_the_golden_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, list()).expect("the golden file can be written");
        }
        let golden = std::fs::read_to_string(path).expect("the golden file is there");
        assert_eq!(list(), golden, "UPDATE_EXPECT=1 writes it anew");
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count() {
        let mut counted = base::histogram::Histogram::default();
        [4_000, 6_000, 6_000, 40_000_000, 3_000_000_000].iter().for_each(|ns| counted.record(*ns));
        let mut histogram = Wide::default();
        histogram.merge(&counted);
        let mut out = String::new();
        stage_lines(&mut out, "put", "log_sync", &histogram);
        let counts: Vec<f64> = out.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert_eq!(counts[..3], [1.0, 3.0, 3.0]);
        assert_eq!((counts[11], counts[12], counts[16]), (3.0, 4.0, 5.0));
        assert_eq!(counts[17..], [3.040016, 5.0]);
        assert!(out.starts_with("dropstone_stage_seconds_bucket{op=\"put\",stage=\"log_sync\",le=\"5e-06\"} 1\n"));
    }
}
