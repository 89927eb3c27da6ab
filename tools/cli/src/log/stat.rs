//! `log stat`: how much of a log there is, and each group's part of it.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use indicatif::HumanBytes;
use seglog::{LogReader as _, Recovered, RecoveredGroup};
use serde_json::{Value, json};

use super::LogArgs;
use super::look::{self, CoreLog};

/// Shows it.
pub fn show(args: &LogArgs, as_json: bool) -> Result<ExitCode> {
    for log in look::find(args)? {
        let mut reader = log.reader("reading", as_json)?;
        let bytes: u64 = reader.segments()?.iter().map(|segment| segment.bytes).sum();
        let recovered = seglog::recover(&mut reader, &log.settings)
            .with_context(|| format!("the log of core {} does not open", log.core));
        reader.finish();
        let recovered = recovered?;
        let text =
            if as_json { format!("{}\n", to_json(&log, &recovered, bytes)) } else { to_text(&log, &recovered, bytes) };
        look::put(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn to_text(log: &CoreLog, recovered: &Recovered, bytes: u64) -> String {
    let (report, meta) = (recovered.report(), recovered.meta());
    let mut out = format!(
        "core {}: {} segments, {}, {} prepared; {} frames up to {}, {} records; meta {} of 4 copies, persisted {}\n",
        log.core,
        recovered.segments().len(),
        HumanBytes(bytes),
        recovered.free_files(),
        report.frames,
        report.last_frame_seq,
        report.records,
        report.meta_copies,
        meta.persisted_seq,
    );
    let head = ["group", "first", "last", "entries", "term", "vote", "checkpoint", "faulty"];
    let row = |cells: [String; 8], health: &str| {
        let [group, first, last, entries, term, vote, checkpoint, faulty] = cells;
        format!(
            "{group:>7} {first:>10} {last:>10} {entries:>9} {term:>7} {vote:>5} {checkpoint:>10} {faulty:>7}  {health}\n"
        )
    };
    out += &row(head.map(str::to_owned), "health");
    for group in recovered.groups() {
        let checkpoint = group.checkpoint.map_or_else(|| "-".to_owned(), |(index, _)| index.to_string());
        let cells = [
            group.group.to_string(),
            group.first.to_string(),
            group.last.to_string(),
            entries_of(&group).to_string(),
            group.term.to_string(),
            if group.vote.0 == 0 { "-".to_owned() } else { group.vote.to_string() },
            checkpoint,
            group.faulty.len().to_string(),
        ];
        out += &row(cells, &format!("{:?}", group.health));
    }
    out
}

fn entries_of(group: &RecoveredGroup) -> u64 {
    (group.last.0 + 1).saturating_sub(group.first.0)
}

fn to_json(log: &CoreLog, recovered: &Recovered, bytes: u64) -> Value {
    let (report, meta) = (recovered.report(), recovered.meta());
    json!({
        "core": log.core.0,
        "segments": recovered.segments().len(),
        "segment_bytes": log.settings.segment_bytes,
        "bytes": bytes,
        "prepared": recovered.free_files(),
        "frames": report.frames,
        "last_frame": report.last_frame_seq,
        "records": report.records,
        "meta": {
            "copies": report.meta_copies,
            "seq": meta.meta_seq,
            "oldest_segment": meta.oldest_segment_seq,
            "newest_segment": meta.newest_segment_seq,
            "persisted": meta.persisted_seq,
        },
        "groups": recovered.groups().iter().map(group_json).collect::<Vec<_>>(),
    })
}

/// One group, as `log stat` and `log verify` show it.
pub fn group_json(group: &RecoveredGroup) -> Value {
    json!({
        "group": group.group.0,
        "first": group.first.0,
        "last": group.last.0,
        "entries": entries_of(group),
        "term": group.term.0,
        "vote": group.vote.0,
        "checkpoint": group.checkpoint.map(|(index, _)| index.0),
        "life": group.life,
        "health": format!("{:?}", group.health),
        "faulty": group.faulty.iter().map(|index| index.0).collect::<Vec<_>>(),
    })
}
