//! What nodes tell on their admin ports: histograms of every stage since their start, and sums.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;

use crate::recorder::new_histogram;

/// How long a node may take to answer: a run must not wait for it.
const PATIENCE: Duration = Duration::from_millis(800);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Kind of operation and stage; `total` is all of it.
pub type StageKey = (String, String);

/// Counts of times by the upper end of their counter, of each kind of operation and stage. Units: nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StageCounts(BTreeMap<StageKey, BTreeMap<u64, u64>>);

impl StageCounts {
    /// Of a node since its start, from its admin port; `None` when it does not answer.
    #[must_use]
    pub fn ask(address: &str) -> Option<StageCounts> {
        Some(StageCounts::parse(&get(address, "/debug/stages.json")?))
    }

    fn parse(answer: &Value) -> StageCounts {
        let mut all = BTreeMap::new();
        for op in list(&answer["ops"]) {
            let Some(name) = op["op"].as_str() else { continue };
            for stage in list(&op["stages"]) {
                let Some(stage_name) = stage["stage"].as_str() else { continue };
                let pairs = list(&stage["counts"]).filter_map(|pair| Some((pair[0].as_u64()?, pair[1].as_u64()?)));
                all.insert((name.to_owned(), stage_name.to_owned()), pairs.collect());
            }
        }
        StageCounts(all)
    }

    /// What was counted since `before`. `None` when the node began anew meanwhile.
    #[must_use]
    pub fn since(&self, before: &StageCounts) -> Option<BTreeMap<StageKey, Histogram<u64>>> {
        let none = BTreeMap::new();
        let mut all = BTreeMap::new();
        for (key, now) in &self.0 {
            let old = before.0.get(key).unwrap_or(&none);
            let mut histogram = new_histogram();
            for (value, count) in now {
                let more = count.checked_sub(old.get(value).copied().unwrap_or(0))?;
                if more > 0 {
                    // Even none of a value would count for the smallest.
                    histogram.saturating_record_n(*value, more);
                }
            }
            // What was counted before and is not now was forgotten.
            if old.keys().any(|value| !now.contains_key(value)) {
                return None;
            }
            if !histogram.is_empty() {
                all.insert(key.clone(), histogram);
            }
        }
        Some(all)
    }
}

/// Sums of times by stage over all kinds of operations, and how many operations. Units: nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StageSums {
    requests: u64,
    stages: BTreeMap<String, u64>,
}

impl StageSums {
    /// Of a node since its start, from its admin port; `None` when it does not answer.
    #[must_use]
    pub fn ask(address: &str) -> Option<StageSums> {
        Some(StageSums::parse(&get(address, "/debug/sums.json")?))
    }

    fn parse(answer: &Value) -> StageSums {
        let mut sums = StageSums::default();
        for op in list(&answer["ops"]) {
            sums.requests += op["requests"].as_u64().unwrap_or(0);
            for (stage, ns) in op["stages"].as_object().into_iter().flatten() {
                *sums.stages.entry(stage.clone()).or_default() += ns.as_u64().unwrap_or(0);
            }
        }
        sums
    }

    /// Adds another node's.
    pub fn add(&mut self, other: &StageSums) {
        self.requests += other.requests;
        other.stages.iter().for_each(|(stage, ns)| *self.stages.entry(stage.clone()).or_default() += ns);
    }

    /// The mean of an operation since `before` in each stage. Units: microseconds. Empty when nothing was asked, or when
    /// a node began anew.
    #[must_use]
    pub fn means_since(&self, before: &StageSums) -> BTreeMap<String, f64> {
        let Some(requests) = self.requests.checked_sub(before.requests).filter(|requests| *requests > 0) else {
            return BTreeMap::new();
        };
        let mean = |(stage, ns): (&String, &u64)| {
            let more = ns.checked_sub(before.stages.get(stage).copied().unwrap_or(0))?;
            Some((stage.clone(), more as f64 / 1e3 / requests as f64))
        };
        self.stages.iter().map(mean).collect::<Option<_>>().unwrap_or_default()
    }
}

/// All stages of reads and writes, in time order.
pub const ORDER: [&str; 15] = [
    "decode",
    "admit",
    "cache",
    "lease",
    "apply_wait",
    "propose",
    "log_submit",
    "log_write",
    "log_sync",
    "quorum",
    "prefetch",
    "apply",
    "lookup",
    "reply",
    "send",
];

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A page of an admin port; `None` when it is none, or not in time.
fn get(address: &str, path: &str) -> Option<Value> {
    let first = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&first, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_ok = head.split(' ').nth(1) == Some("200");
    if is_ok { serde_json::from_str(body).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use base::stages::OpClass;
    use serde_json::json;

    use super::*;

    fn counts(pairs: &Value) -> StageCounts {
        StageCounts::parse(&json!({ "ops": [{ "op": "put", "stages": [{ "stage": "log_sync", "counts": pairs }] }] }))
    }

    #[test]
    fn a_window_is_what_was_counted_between_two_looks() {
        let before = counts(&json!([[1000, 10], [9000, 4]]));
        let now = counts(&json!([[1000, 10], [2000, 99], [9000, 5]]));
        let all = now.since(&before).expect("it did not begin anew");
        let histogram = &all[&("put".to_owned(), "log_sync".to_owned())];
        assert_eq!((histogram.len(), histogram.min(), histogram.max() / 10), (100, 2000, 900));
        assert!(now.since(&now).expect("the same").is_empty());
    }

    #[test]
    fn a_node_that_began_anew_has_no_window() {
        let before = counts(&json!([[1000, 10], [9000, 4]]));
        assert_eq!(counts(&json!([[1000, 3]])).since(&before), None);
        assert_eq!(counts(&json!([[1000, 30]])).since(&before), None);
    }

    #[test]
    fn means_are_of_the_operations_between_two_looks() {
        let sums = |requests: u64, ns: u64| {
            StageSums::parse(&json!({ "ops": [{ "op": "put", "requests": requests, "stages": { "log_sync": ns } }] }))
        };
        assert_eq!(sums(30, 90_000).means_since(&sums(10, 30_000))["log_sync"], 3.0);
        assert!(sums(5, 9).means_since(&sums(10, 30_000)).is_empty());
        let mut both = sums(1, 1000);
        both.add(&sums(3, 7000));
        assert_eq!(both.means_since(&StageSums::default())["log_sync"], 2.0);
    }

    #[test]
    fn stages_stand_in_time_order() {
        let at = |name: &str| ORDER.iter().position(|stage| *stage == name).expect(name);
        for class in OpClass::ALL {
            let places: Vec<usize> = class.stages().iter().map(|stage| at(stage.name())).collect();
            assert!(places.is_sorted(), "{class:?}");
        }
        // All but the first, which has no length.
        assert_eq!(ORDER.len(), base::stages::STAGES - 1);
    }
}
