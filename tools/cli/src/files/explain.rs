//! `--explain`: where the time of a command's requests went, one picture each.

use std::io::{self, Write};

use client::Explained;
use serde_json::{Map, Value, json};
use wire::explain::{COMMITTED_BEFORE_SYNC, ROWS_FETCHED};

/// Pictures drawn; of the others the number is told.
const SHOWN_MAX: usize = 16;
/// Columns of the whole time.
const WIDTH: usize = 56;
/// Stages shorter than this share of the whole are told together.
const SHARE_MIN: f64 = 0.005;
/// Eighths of a column, from none to all.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Draws them, or writes a JSON object a line.
///
/// Errors: those of the output.
pub fn show(explained: &[Explained], as_json: bool, out: &mut impl Write) -> io::Result<()> {
    if as_json {
        return explained.iter().try_for_each(|one| writeln!(out, "{}", to_json(one)));
    }
    if explained.is_empty() {
        return writeln!(out, "no request was explained: blocks go through a block server, which tells no stages yet");
    }
    explained.iter().take(SHOWN_MAX).try_for_each(|one| out.write_all(picture(one).as_bytes()))?;
    match explained.len().saturating_sub(SHOWN_MAX) {
        0 => Ok(()),
        more => writeln!(out, "... and {more} more requests; --json tells all"),
    }
}

fn to_json(one: &Explained) -> Value {
    let server = &one.server;
    let stages: Map<String, Value> =
        server.stages.iter().map(|time| (time.stage.name().to_owned(), json!(time.ns))).collect();
    json!({ "explained": {
        "op": server.class.name(),
        "node": server.node.0,
        "core": server.core.0,
        "group": server.group.0,
        "index": server.index.0,
        "commands": server.commands,
        "closed_by": server.closed_by.0,
        "committed_before_sync": server.flags & COMMITTED_BEFORE_SYNC != 0,
        "rows_fetched": server.flags & ROWS_FETCHED != 0,
        "before_ns": one.before.0,
        "net_ns": one.net().0,
        "stages_ns": stages,
        "total_ns": one.total().0,
    } })
}

fn picture(one: &Explained) -> String {
    let server = &one.server;
    let ms = |ns: u64| ns as f64 / 1e6;
    let mut head = format!(
        "{}, n{} core {} group {} index {}",
        server.class.name(),
        server.node,
        server.core.0,
        server.group.0,
        server.index
    );
    if server.closed_by.0 != 0 {
        head += &format!(", {} ops in the entry, quorum closed by n{}", server.commands, server.closed_by);
    }
    if server.flags & COMMITTED_BEFORE_SYNC != 0 {
        head += " before the own disk";
    }
    if server.flags & ROWS_FETCHED != 0 {
        head += ", rows were fetched";
    }
    let mut rows = vec![("net", one.net().0)];
    rows.extend(server.stages.iter().map(|time| (time.stage.name(), u64::from(time.ns))));
    let service = one.service.0.max(1);
    let (mut text, mut reached, mut others) = (head + "\n", 0, 0);
    for (name, ns) in rows {
        if (ns as f64) < service as f64 * SHARE_MIN && name != "net" {
            others += ns;
        } else {
            text += &format!("  {name:<10} {:>8.3} {}{}\n", ms(ns), indent(reached, service), bar(ns, service));
        }
        reached += ns;
    }
    text += &format!(
        "  others {:.3} ms, service {:.3} ms; before it was sent {:.3} ms; total {:.3} ms\n",
        ms(others),
        ms(service),
        ms(one.before.0),
        ms(one.total().0)
    );
    text
}

fn indent(reached: u64, all: u64) -> String {
    " ".repeat((reached as f64 / all as f64 * WIDTH as f64) as usize)
}

fn bar(ns: u64, all: u64) -> String {
    let eighths = ((ns as f64 / all as f64) * (WIDTH * 8) as f64).round() as usize;
    let whole = (eighths / 8).min(WIDTH);
    format!("{}{}", "█".repeat(whole), if whole < WIDTH { EIGHTHS[eighths % 8] } else { "" })
}

#[cfg(test)]
mod tests {
    use base::mono::Span;
    use base::stages::OpClass;
    use base::{CoreId, GroupId, LogIndex, NodeId};
    use wire::{Explanation, StageTime};

    use super::*;

    fn sample() -> Explained {
        let ns = [5_000, 30_000, 2_000, 10_000, 20_000, 870_000, 310_000, 0, 50_000, 3_000];
        let stages = OpClass::Put.stages().iter().zip(ns).map(|(stage, ns)| StageTime { stage: *stage, ns }).collect();
        let server = Explanation {
            class: OpClass::Put,
            flags: 0,
            core: CoreId(1),
            commands: 24,
            group: GroupId(37),
            node: NodeId(1),
            closed_by: NodeId(3),
            index: LogIndex(88_123),
            stages,
        };
        Explained { ticket: client::Ticket(7), server, service: Span(1_410_000), before: Span(250_000) }
    }

    #[test]
    fn the_picture_accounts_for_all_of_the_time() {
        let text = picture(&sample());
        assert!(
            text.starts_with("put, n1 core 1 group 37 index 88123, 24 ops in the entry, quorum closed by n3\n"),
            "{text}"
        );
        assert!(text.contains("  net           0.110 ████"), "{text}");
        assert!(text.contains("  log_sync      0.870 "), "{text}");
        assert!(!text.contains("  decode"), "too short for a row: {text}");
        assert!(
            text.ends_with("  others 0.010 ms, service 1.410 ms; before it was sent 0.250 ms; total 1.660 ms\n"),
            "{text}"
        );
        // Whole columns, and none beyond the width.
        assert!(text.lines().all(|line| line.chars().count() <= 24 + WIDTH || line.contains(',')), "{text}");
    }

    #[test]
    fn json_has_a_line_per_request_with_every_stage() {
        let mut out = Vec::new();
        show(&[sample(), sample()], true, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let one = &lines[0]["explained"];
        assert_eq!(
            (&one["net_ns"], &one["stages_ns"]["quorum"], &one["total_ns"]),
            (&json!(110_000), &json!(310_000), &json!(1_660_000))
        );
    }

    #[test]
    fn many_requests_are_told_in_short() {
        let mut out = Vec::new();
        show(&vec![sample(); SHOWN_MAX + 3], false, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().ends_with("... and 3 more requests; --json tells all\n"));
    }
}
