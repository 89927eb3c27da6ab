//! `admin top`, `slow`, `metrics`: the latency profile of nodes, by their admin ports.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::histogram::Histogram;
use base::stages::OpClass;
use clap::Args;
use serde_json::Value;

use crate::ports;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Which nodes.
#[derive(Args, Debug)]
pub struct Nodes {
    /// Admin addresses of the nodes; they listen on loopback.
    ///
    /// Without it: those of `dropstone dev`, 127.0.0.1:7140,127.0.0.1:7240,127.0.0.1:7340.
    #[arg(long, env = "DROPSTONE_ADMIN", value_name = "HOST:PORT,...", value_delimiter = ',')]
    admin: Vec<String>,
}

/// Arguments of `admin top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    #[command(flatten)]
    nodes: Nodes,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Looks, then the end; 0 is until stopped.
    #[arg(long, default_value_t = 0)]
    times: u64,
}

/// Arguments of `admin slow`.
#[derive(Args, Debug)]
pub struct SlowArgs {
    #[command(flatten)]
    nodes: Nodes,
    /// How many, of all nodes together.
    #[arg(long, default_value_t = 16)]
    count: usize,
}

impl Nodes {
    fn addresses(&self) -> Vec<String> {
        if self.admin.is_empty() { ports::default_admins() } else { self.admin.clone() }
    }

    /// The JSON of each node that answers, and what is wrong with the others.
    fn ask(&self, path: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut last = None;
        for address in self.addresses() {
            match get(&address, path) {
                Ok(body) => found.push(serde_json::from_str(&body).with_context(|| format!("{address} gave no JSON"))?),
                Err(error) => {
                    eprintln!("dropstone: {error:#}");
                    last = Some(error);
                }
            }
        }
        match last {
            Some(error) if found.is_empty() => {
                Err(error.context("no node answered; name their admin ports with --admin"))
            }
            _ => Ok(found),
        }
    }
}

/// The body of a page of a node's admin port.
fn get(address: &str, path: &str) -> Result<String> {
    let unreachable = || format!("could not reach the admin port {address}");
    let first = address.to_socket_addrs().with_context(unreachable)?.next().with_context(unreachable)?;
    let mut stream = TcpStream::connect_timeout(&first, PATIENCE).with_context(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").with_context(unreachable)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).with_context(unreachable)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("{address} is no admin port of a node") };
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{address}{path}: {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}

/// Prints all metrics.
pub fn metrics() -> Result<ExitCode> {
    print!("{}", server::admin::metrics::list());
    Ok(ExitCode::SUCCESS)
}

/// Looks again and again.
pub fn top(args: &TopArgs, as_json: bool) -> Result<ExitCode> {
    let mut before: Option<Vec<Value>> = None;
    let mut looks = 0;
    loop {
        let now = args.nodes.ask("/debug/stages.json")?;
        if let Some(before) = &before {
            let tables =
                now.iter().map(|node| Table::between(before.iter().find(|old| old["node"] == node["node"]), node));
            let tables: Vec<Table> = tables.collect();
            if as_json {
                tables.iter().for_each(|table| println!("{}", table.json()));
            } else {
                tables.iter().for_each(|table| print!("{}", table.text()));
                println!();
            }
            looks += 1;
            if looks == args.times {
                return Ok(ExitCode::SUCCESS);
            }
        }
        before = Some(now);
        std::thread::sleep(Duration::from_secs(args.every));
    }
}

/// One kind of operation between two looks.
struct Row {
    op: OpClass,
    /// By the stage's name.
    stages: BTreeMap<String, Histogram>,
    /// Since the start: requests near p99, by the stage's name. Units: nanoseconds.
    at_p99: BTreeMap<String, u64>,
}

/// One node between two looks.
struct Table {
    node: u64,
    rows: Vec<Row>,
    /// By core: requests that came to it for another core's groups and were taken there, and those that were not.
    strays: Vec<[u64; 2]>,
}

impl Table {
    fn between(before: Option<&Value>, now: &Value) -> Table {
        let ops = now["ops"].as_array().into_iter().flatten();
        let rows = ops.filter_map(|op| {
            let name = op["op"].as_str()?;
            let class = OpClass::ALL.into_iter().find(|class| class.name() == name)?;
            let old = before.and_then(|before| before["ops"].as_array()?.iter().find(|old| old["op"] == op["op"]));
            let stages: BTreeMap<String, Histogram> = stages(op)
                .map(|(stage, counts)| {
                    (stage.to_owned(), difference(old.and_then(|old| counts_of(old, stage)), counts))
                })
                .collect();
            let total = stages.get("total").filter(|total| total.count() > 0);
            total?;
            let near = op["at_p99"]["stages"].as_object().into_iter().flatten();
            let at_p99 = near.filter_map(|(stage, ns)| Some((stage.clone(), ns.as_u64()?))).collect();
            Some(Row { op: class, stages, at_p99 })
        });
        let old = before.and_then(|before| before["cores"].as_array());
        let cores = now["cores"].as_array().into_iter().flatten().enumerate();
        let strays = cores.map(|(at, core)| {
            ["forwarded", "forward_refused"].map(|name| {
                let count = |core: &Value| core["counters"][name].as_u64().unwrap_or(0);
                let before = old.and_then(|old| old.get(at)).map_or(0, count);
                // A node that was started again counts from the beginning.
                count(core).checked_sub(before).unwrap_or_else(|| count(core))
            })
        });
        Table { node: now["node"].as_u64().unwrap_or(0), rows: rows.collect(), strays: strays.collect() }
    }

    fn text(&self) -> String {
        let mut text = format!("node {}\n", self.node);
        if self.rows.is_empty() {
            text += "  nothing was asked of it\n";
        }
        for row in &self.rows {
            let total = &row.stages["total"];
            text += &format!("  {:<12} {:>8} requests", row.op.name(), total.count());
            text += "      p50      p99      max   near p99, ms\n";
            for name in row.names() {
                let Some(histogram) = row.stages.get(name) else { continue };
                let near = row.at_p99.get(name).copied().or((name == "total").then(|| row.at_p99.values().sum()));
                let near = near.map_or("-".to_owned(), ms);
                let [p50, p99] = [0.5, 0.99].map(|quantile| ms(histogram.percentile(quantile)));
                let share = histogram.sum() as f64 / total.sum().max(1) as f64;
                let bar = "█".repeat((share * 20.0).round() as usize);
                text += &format!("    {name:<10} {bar:<20} {p50:>8} {p99:>8} {:>8} {near:>8}\n", ms(histogram.max()));
            }
        }
        for (core, [forwarded, refused]) in self.strays.iter().enumerate().filter(|(_, strays)| **strays != [0, 0]) {
            text += &format!("  core {core:<7} {forwarded:>8} requests were another core's and taken there");
            text += &if *refused > 0 { format!(", {refused} more refused\n") } else { "\n".to_owned() };
        }
        text
    }

    fn json(&self) -> Value {
        let ops = self.rows.iter().map(|row| {
            let stages = row.names().filter_map(|name| {
                let histogram = row.stages.get(name)?;
                let value = serde_json::json!({
                    "count": histogram.count(),
                    "p50_ns": histogram.percentile(0.5),
                    "p99_ns": histogram.percentile(0.99),
                    "max_ns": histogram.max(),
                });
                Some((name.to_owned(), value))
            });
            serde_json::json!({ "op": row.op.name(), "stages": stages.collect::<serde_json::Map<_, _>>() })
        });
        let strays = self.strays.iter().enumerate().map(|(core, [forwarded, refused])| {
            serde_json::json!({ "core": core, "forwarded": forwarded, "forward_refused": refused })
        });
        let (ops, cores) = (ops.collect::<Vec<_>>(), strays.collect::<Vec<_>>());
        serde_json::json!({ "node": self.node, "ops": ops, "cores": cores })
    }
}

impl Row {
    /// Its stages in order, and the total.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.op.stages().iter().map(|stage| stage.name()).chain(["total"])
    }
}

fn stages(op: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let stages = op["stages"].as_array().into_iter().flatten();
    stages.filter_map(|stage| Some((stage["stage"].as_str()?, &stage["counts"])))
}

fn counts_of<'a>(op: &'a Value, name: &str) -> Option<&'a Value> {
    stages(op).find(|(stage, _)| *stage == name).map(|(_, counts)| counts)
}

/// What was counted since. A node that was started again counts from the beginning.
fn difference(before: Option<&Value>, now: &Value) -> Histogram {
    let pairs = |counts: &Value| -> BTreeMap<u64, u64> {
        let pairs = counts.as_array().into_iter().flatten();
        pairs.filter_map(|pair| Some((pair[0].as_u64()?, pair[1].as_u64()?))).collect()
    };
    let (old, new) = (before.map(pairs).unwrap_or_default(), pairs(now));
    let has_begun_again = old.iter().any(|(value, count)| new.get(value).is_none_or(|now| now < count));
    let mut histogram = Histogram::default();
    for (value, count) in new {
        let before = if has_begun_again { 0 } else { old.get(&value).copied().unwrap_or(0) };
        histogram.record_n(value, u32::try_from(count - before).unwrap_or(u32::MAX));
    }
    histogram
}

fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

/// Prints the slowest requests.
pub fn slow(args: &SlowArgs, as_json: bool) -> Result<ExitCode> {
    let mut all: Vec<(u64, Value)> = Vec::new();
    for node in args.nodes.ask("/debug/slow.json")? {
        let number = node["node"].as_u64().unwrap_or(0);
        all.extend(node["slow"].as_array().into_iter().flatten().map(|slow| (number, slow.clone())));
    }
    all.sort_by_key(|(_, slow)| std::cmp::Reverse(slow["total_ns"].as_u64()));
    all.truncate(args.count);
    for (node, mut slow) in all {
        if as_json {
            slow["node"] = node.into();
            println!("{slow}");
        } else {
            print!("{}", slow_text(node, &slow));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Two lines: what it was, and its stages that lasted, longest first.
fn slow_text(node: u64, slow: &Value) -> String {
    let number = |key: &str| slow[key].as_u64().unwrap_or(0);
    let mut text = format!(
        "{:>9} ms  {:<11} n{node} core {} group {} index {}, {} s ago, {} ops in the entry",
        ms(number("total_ns")),
        slow["op"].as_str().unwrap_or("?"),
        number("core"),
        number("group"),
        number("index"),
        number("seconds_ago"),
        number("commands"),
    );
    if number("closed_by") != 0 {
        text += &format!(", closed by n{}", number("closed_by"));
    }
    if slow["rows_fetched"] == true {
        text += ", rows were fetched";
    }
    let stages = slow["stages"].as_object().into_iter().flatten();
    let mut stages: Vec<(&String, u64)> = stages.map(|(name, ns)| (name, ns.as_u64().unwrap_or(0))).collect();
    stages.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    let lasting = stages.iter().filter(|(_, ns)| *ns * 50 > number("total_ns"));
    let told: Vec<String> = lasting.map(|(name, ns)| format!("{name} {}", ms(*ns))).collect();
    text + "\n              " + &told.join(", ") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(counts: &Value) -> Value {
        let stage = |name: &str| json!({ "stage": name, "counts": counts });
        let stages: Vec<Value> = ["log_sync", "total"].into_iter().map(stage).collect();
        json!({ "node": 2, "ops": [{ "op": "put", "stages": stages, "at_p99": { "stages": { "log_sync": 5_000_000 } } }] })
    }

    #[test]
    fn the_table_is_of_the_time_between_two_looks() {
        let before = node(&json!([[1_000_000, 10], [9_000_000, 4]]));
        let now = node(&json!([[1_000_000, 10], [2_000_000, 99], [9_000_000, 5]]));
        let table = Table::between(Some(&before), &now);
        let total = &table.rows[0].stages["total"];
        assert_eq!((total.count(), total.max()), (100, 9_000_000));
        let text = table.text();
        assert!(text.contains("put               100 requests"), "{text}");
        assert!(text.lines().any(|line| line.contains("log_sync") && line.ends_with("   5.000")), "{text}");
    }

    #[test]
    fn requests_that_met_the_wrong_core_are_told_where_there_were_some() {
        let node = |first: [u64; 2], second: [u64; 2]| {
            let core = |at: u64, [forwarded, refused]: [u64; 2]| json!({ "core": at, "counters": { "forwarded": forwarded, "forward_refused": refused } });
            json!({ "node": 2, "ops": [], "cores": [core(0, first), core(1, second)] })
        };
        let table = Table::between(Some(&node([5, 5], [100, 3])), &node([5, 5], [180, 4]));
        let text = table.text();
        assert!(
            text.ends_with("  core 1             80 requests were another core's and taken there, 1 more refused\n")
        );
        assert!(!text.contains("core 0"), "{text}");
        assert_eq!(table.json()["cores"][1], json!({ "core": 1, "forwarded": 80, "forward_refused": 1 }));
        // It was started again.
        assert_eq!(Table::between(Some(&node([5, 5], [100, 3])), &node([2, 0], [0, 0])).strays, [[2, 0], [0, 0]]);
    }

    #[test]
    fn a_node_that_began_again_is_told_from_its_start() {
        let before = node(&json!([[1_000_000, 10]]));
        let now = node(&json!([[1_000_000, 3]]));
        assert_eq!(Table::between(Some(&before), &now).rows[0].stages["total"].count(), 3);
    }

    #[test]
    fn a_slow_request_tells_its_longest_stages_first() {
        let slow = json!({ "op": "put", "core": 1, "group": 5, "index": 77, "seconds_ago": 3, "commands": 24, "closed_by": 3,
                           "total_ns": 50_000_000, "stages": { "decode": 1_000, "quorum": 9_000_000, "log_sync": 40_000_000 } });
        let text = slow_text(1, &slow);
        assert!(text.starts_with("   50.000 ms  put         n1 core 1 group 5 index 77, 3 s ago, 24 ops"), "{text}");
        assert!(text.ends_with("closed by n3\n              log_sync 40.000, quorum 9.000\n"), "{text}");
    }
}
