//! `admin flight` and `admin trace`: the flight rings of data directories, also of nodes that run or were killed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base::stages::{OpClass, Stamp};
use clap::Args;
use reactor::flight::{EventKind, FlightEvent, FlightLog};
use serde_json::{Value, json};

/// Arguments of `admin flight`.
#[derive(Args, Debug)]
pub struct FlightArgs {
    /// Data directories, or ring files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The last so many seconds of what is there; 0 is all.
    #[arg(long, default_value_t = 5)]
    last: u64,
}

/// Arguments of `admin trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    #[command(flatten)]
    rings: FlightArgs,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// An event in time.
struct Timed<'a> {
    ring: &'a FlightLog,
    event: FlightEvent,
    /// Nanoseconds since 1970.
    at: u64,
}

impl FlightArgs {
    fn rings(&self) -> Result<Vec<FlightLog>> {
        let mut rings = Vec::new();
        for path in &self.paths {
            for file in ring_files(path)? {
                let ring = FlightLog::read(&file).with_context(|| file.display().to_string())?;
                rings.push(ring);
            }
        }
        Ok(rings)
    }

    /// The events of all rings in order of time, those of the last seconds.
    fn events<'a>(&self, rings: &'a [FlightLog]) -> Vec<Timed<'a>> {
        let of_ring = |ring: &'a FlightLog| {
            ring.events.iter().map(move |event| Timed { ring, event: *event, at: ring.unix_ns(event.at) })
        };
        let mut events: Vec<Timed<'_>> = rings.iter().flat_map(of_ring).collect();
        events.sort_by_key(|timed| timed.at);
        let end = events.last().map_or(0, |timed| timed.at);
        if self.last > 0 {
            events.retain(|timed| timed.at + self.last.saturating_mul(1_000_000_000) >= end);
        }
        events
    }
}

fn ring_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let dir = path.join("flight");
    let entries = std::fs::read_dir(&dir)
        .with_context(|| format!("{} has no flight rings; is it the data directory of a node?", path.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ring"));
    files.sort();
    if files.is_empty() {
        bail!("{} holds no ring; the node writes them when it runs", dir.display());
    }
    Ok(files)
}

/// Prints events, a line each.
pub fn flight(args: &FlightArgs, as_json: bool) -> Result<ExitCode> {
    let rings = args.rings()?;
    let mut out = std::io::stdout().lock();
    for timed in args.events(&rings) {
        if as_json {
            writeln!(out, "{}", event_json(&timed))?;
        } else {
            writeln!(out, "{}", event_text(&timed))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes them as Chrome's trace events, which Perfetto reads: a process is a node, a thread a core.
pub fn trace(args: &TraceArgs) -> Result<ExitCode> {
    let rings = args.rings.rings()?;
    let events = args.rings.events(&rings);
    let count = events.len();
    let failed = || format!("could not write {}", args.output.display());
    std::fs::write(&args.output, chrome(&events)).with_context(failed)?;
    println!("{count} events of {} rings in {}; open it at ui.perfetto.dev", rings.len(), args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// Ticks of an event that lasted.
fn ticks(event: &FlightEvent) -> u64 {
    match event.kind {
        EventKind::Boot => 0,
        EventKind::Turn | EventKind::Sync => event.argument,
        EventKind::Request => event.argument & ((1 << 56) - 1),
    }
}

fn name(event: &FlightEvent) -> &'static str {
    match event.kind {
        EventKind::Boot => "boot",
        EventKind::Turn => "turn",
        EventKind::Sync => "sync",
        EventKind::Request => OpClass::from_u8((event.argument >> 56) as u8).map_or("request", OpClass::name),
    }
}

fn event_text(timed: &Timed<'_>) -> String {
    let Timed { ring, event, at } = timed;
    let ms = ring.ns(ticks(event)) as f64 / 1e6;
    let what = match event.kind {
        EventKind::Boot => format!("incarnation {}", event.argument),
        EventKind::Turn => format!("{ms:.3} ms, {} requests", event.request),
        EventKind::Sync => format!("{ms:.3} ms"),
        EventKind::Request => format!("{ms:.3} ms, group {} index {}", event.group, event.request),
    };
    format!(
        "{}.{:09} n{} core {} {:<11} {what}",
        at / 1_000_000_000,
        at % 1_000_000_000,
        ring.node,
        ring.core,
        name(event)
    )
}

fn event_json(timed: &Timed<'_>) -> Value {
    let Timed { ring, event, at } = timed;
    json!({
        "unix_ns": at.to_string(),
        "node": ring.node.0,
        "core": ring.core.0,
        "event": name(event),
        "ns": ring.ns(ticks(event)),
        "request": event.request,
        "group": event.group.0,
    })
}

/// `[`, then an object a line: viewers want no end, so that a file cut short is read as far as it goes.
fn chrome(events: &[Timed<'_>]) -> String {
    let first = events.first().map_or(0, |timed| timed.at);
    let mut names = BTreeMap::new();
    let mut out = String::from("[\n");
    let mut add = |value: Value| {
        out += &value.to_string();
        out += ",\n";
    };
    for Timed { ring, event, at } in events {
        let (node, core) = (ring.node.0, ring.core.0);
        if names.insert((node, core), ()).is_none() {
            add(json!({ "ph": "M", "name": "process_name", "pid": node, "args": { "name": format!("node {node}") } }));
            let thread = json!({ "name": format!("core {core}") });
            add(json!({ "ph": "M", "name": "thread_name", "pid": node, "tid": core, "args": thread }));
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let (begin, long) = (us(at - first), us(ring.ns(ticks(event))));
        let (name, request, group) = (name(event), event.request, event.group.0);
        match event.kind {
            EventKind::Boot => add(json!({ "ph": "i", "s": "t", "name": name, "pid": node, "tid": core, "ts": begin })),
            EventKind::Turn => {
                let args = json!({ "requests": request });
                add(
                    json!({ "ph": "X", "name": name, "pid": node, "tid": core, "ts": begin, "dur": long, "args": args }),
                );
            }
            // What lasts over turns is a track of its own.
            EventKind::Sync | EventKind::Request => {
                let id = format!("{name}-{core}-{group}-{request}-{}", Stamp::ticks(event.at));
                let args = json!({ "group": group, "index": request });
                let common = |ph: &str, ts: f64| json!({ "ph": ph, "cat": name, "id": id, "name": name, "pid": node, "tid": core, "ts": ts, "args": args });
                add(common("b", begin));
                add(common("e", begin + long));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use base::{CoreId, GroupId, NodeId};

    use super::*;

    fn ring() -> FlightLog {
        let event = |at, kind, argument| FlightEvent {
            at: Stamp::at(at),
            request: 7,
            kind,
            core: CoreId(1),
            group: GroupId(5),
            argument,
        };
        FlightLog {
            node: NodeId(2),
            core: CoreId(1),
            mult: 1 << 24,
            pair: (Stamp::at(1_000), 10_000_001_000),
            written: 3,
            events: vec![
                event(1_000, EventKind::Turn, 2_500_000),
                event(500, EventKind::Sync, 800_000),
                event(2_000, EventKind::Request, 4_000_000),
            ],
        }
    }

    fn all(last: u64) -> FlightArgs {
        FlightArgs { paths: Vec::new(), last }
    }

    #[test]
    fn events_are_told_in_order_of_time() {
        let rings = [ring()];
        let lines: Vec<String> = all(0).events(&rings).iter().map(event_text).collect();
        assert_eq!(
            lines,
            [
                "10.000000500 n2 core 1 sync        0.800 ms",
                "10.000001000 n2 core 1 turn        2.500 ms, 7 requests",
                "10.000002000 n2 core 1 put         4.000 ms, group 5 index 7",
            ]
        );
    }

    #[test]
    fn only_the_last_seconds_are_told_when_asked_for() {
        let mut ring = ring();
        ring.events[1].at = Stamp::at(0);
        ring.events[2].at = Stamp::at(3_000_000_000);
        let rings = [ring];
        assert_eq!(all(1).events(&rings).len(), 1);
        assert_eq!(all(4).events(&rings).len(), 3);
    }

    #[test]
    fn the_trace_has_an_object_a_line_and_pairs_for_what_lasts_over_turns() {
        let rings = [ring()];
        let text = chrome(&all(0).events(&rings));
        let lines: Vec<Value> =
            text.lines().skip(1).map(|line| serde_json::from_str(line.trim_end_matches(',')).unwrap()).collect();
        let kinds: Vec<&str> = lines.iter().map(|line| line["ph"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["M", "M", "b", "e", "X", "b", "e"]);
        assert_eq!((&lines[4]["pid"], &lines[4]["tid"], &lines[4]["dur"]), (&json!(2), &json!(1), &json!(2500.0)));
        assert_eq!(lines[2]["id"], lines[3]["id"]);
    }
}
