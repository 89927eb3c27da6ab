//! `log dump`: segments, frames and records as they lie.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use base::record::{EntryKind, Record, RecordKind};
use seglog::LogReader as _;
use seglog::format::frame::{ECHO_ONLY, FIRST, RESET, SEAL};
use seglog::inspect::{FrameView, Records, SegmentView};
use serde_json::{Value, json};

use super::DumpArgs;
use super::look::{self, CoreLog};

/// Shows them. A closed pipe ends it without a word.
pub fn show(args: &DumpArgs, as_json: bool) -> Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut has_error = false;
    for log in look::find(&args.log)? {
        match dump(&log, args, as_json, &mut out) {
            Ok(is_whole) => has_error |= !is_whole,
            Err(error) if is_closed(&error) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error),
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(if has_error { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// False when a segment could not be read.
fn dump(log: &CoreLog, args: &DumpArgs, as_json: bool, out: &mut impl Write) -> Result<bool> {
    // The bar would run into the lines.
    let mut reader = log.reader("reading", true)?;
    let mut bytes = Vec::new();
    let mut is_whole = true;
    for found in reader.segments()? {
        if args.segment.is_some_and(|segment| segment != found.segment_seq) {
            continue;
        }
        bytes.resize(found.bytes as usize, 0);
        if let Err(error) = reader.read(found.segment_seq, 0, &mut bytes) {
            eprintln!("dropstone: could not read segment {:016x}: {error}", found.segment_seq);
            is_whole = false;
            continue;
        }
        let view = SegmentView::of(&bytes, found.segment_seq);
        let mut shown = Shown { args, as_json, segment: None, frame: None, out };
        shown.segment =
            Some(shown.line(segment_json(log, found.segment_seq, &view), segment_text(log, found.segment_seq, &view)));
        shown.heads(!shown.is_filtered())?;
        for frame in &view.frames {
            shown.frame(&bytes[frame.range.clone()], frame)?;
        }
    }
    Ok(is_whole)
}

/// Where lines go; a segment and a frame are named before the first line that is in them.
struct Shown<'a, W> {
    args: &'a DumpArgs,
    as_json: bool,
    segment: Option<String>,
    frame: Option<String>,
    out: &'a mut W,
}

impl<W: Write> Shown<'_, W> {
    fn line(&self, json: Value, text: String) -> String {
        if self.as_json { json.to_string() } else { text }
    }

    fn is_filtered(&self) -> bool {
        self.args.group.is_some() || self.args.index.is_some()
    }

    fn is_wanted(&self, group: u32, index: u64) -> bool {
        self.args.group.is_none_or(|wanted| wanted == group)
            && self.args.index.as_ref().is_none_or(|range| range.contains(&index))
    }

    /// Names the segment and the frame if they wait to be named, and it is time.
    fn heads(&mut self, is_time: bool) -> io::Result<()> {
        for head in [&mut self.segment, &mut self.frame] {
            if let Some(head) = head.take_if(|_| is_time) {
                writeln!(self.out, "{head}")?;
            }
        }
        Ok(())
    }

    fn put(&mut self, json: Value, text: String) -> io::Result<()> {
        self.heads(true)?;
        let line = self.line(json, text);
        writeln!(self.out, "{line}")
    }

    fn frame(&mut self, bytes: &[u8], frame: &FrameView) -> Result<()> {
        self.frame = Some(self.line(frame_json(frame), frame_text(frame)));
        self.heads(!self.is_filtered())?;
        if self.args.frames {
            return Ok(());
        }
        for slot in &frame.slots {
            let (group, term, vote) = (slot.group, slot.term, slot.vote);
            if self.args.index.is_none() && self.is_wanted(group.0, 0) {
                let json = json!({"what": "slot", "group": group.0, "term": term.0, "vote": vote.0});
                self.put(json, format!("    {:<12} group {group} term {term} vote {vote}", "state"))?;
            }
        }
        // The records of a broken frame are where nobody can tell: `log verify` says what is left of them.
        for (at, record) in Records::of(bytes, &frame.header).filter(|_| frame.is_whole) {
            let record = record.with_context(|| format!("frame {} holds a bad record", frame.header.frame_seq))?;
            let header = record.header();
            let is_shown = match header.kind {
                RecordKind::Seal => !self.is_filtered(),
                _ => self.is_wanted(header.group.0, header.index.0),
            };
            if is_shown {
                self.put(record_json(frame.range.start + at, &record), record_text(&record))?;
            }
        }
        Ok(())
    }
}

fn segment_text(log: &CoreLog, segment_seq: u64, view: &SegmentView) -> String {
    let head = match &view.header {
        Ok(header) if header.segment_seq == segment_seq => {
            format!("salt {:016x}, frames from {}", header.salt, header.base_frame_seq)
        }
        Ok(header) => format!("its header is that of segment {:016x}", header.segment_seq),
        Err(error) => error.to_string(),
    };
    let end = match (view.is_sealed(), view.trailer, &view.footer) {
        (true, Some(_), Some((_, items))) => format!("sealed, {} entries in its footer", items.len()),
        (true, ..) => "sealed, its footer is damaged or not written".to_owned(),
        (false, ..) => "open".to_owned(),
    };
    format!("core {} segment {segment_seq:016x}: {head}; {} frames, {end}", log.core, view.frames.len())
}

fn segment_json(log: &CoreLog, segment_seq: u64, view: &SegmentView) -> Value {
    let header = view.header.as_ref().ok();
    json!({
        "what": "segment",
        "core": log.core.0,
        "segment": format!("{segment_seq:016x}"),
        "header": header.map(|header| json!({
            "segment": format!("{:016x}", header.segment_seq),
            "salt": format!("{:016x}", header.salt),
            "base_frame": header.base_frame_seq,
            "blocks": header.segment_blocks,
            "created_us": header.created_us,
        })),
        "frames": view.frames.len(),
        "is_sealed": view.is_sealed(),
        "footer_entries": view.footer.as_ref().map(|(_, items)| items.len()),
    })
}

/// Names of the flags that are set.
fn flags_of(frame: &FrameView) -> Vec<&'static str> {
    let all = [(FIRST, "first"), (SEAL, "seal"), (RESET, "reset"), (ECHO_ONLY, "echo-only")];
    all.into_iter().filter(|(flag, _)| frame.header.has(*flag)).map(|(_, name)| name).collect()
}

fn frame_text(frame: &FrameView) -> String {
    let header = &frame.header;
    let flags: String = flags_of(frame).into_iter().map(|flag| format!(" {flag}")).collect();
    format!(
        "  frame {} block {} +{}{}{flags}: {} records of {} bytes, echo {}+{}, after {}, persisted {}",
        header.frame_seq,
        header.block,
        header.frame_blocks,
        if frame.is_whole { "" } else { " BROKEN" },
        header.records,
        header.records_bytes,
        header.echo_entries,
        header.echo_states,
        header.prev_frame_seq,
        header.persisted_seq,
    )
}

fn frame_json(frame: &FrameView) -> Value {
    let header = &frame.header;
    json!({
        "what": "frame",
        "frame": header.frame_seq,
        "block": header.block,
        "blocks": header.frame_blocks,
        "is_whole": frame.is_whole,
        "flags": flags_of(frame),
        "records": header.records,
        "records_bytes": header.records_bytes,
        "echo_entries": header.echo_entries,
        "echo_states": header.echo_states,
        "previous": header.prev_frame_seq,
        "persisted": header.persisted_seq,
        "stamp_s": header.stamp_s,
        "crc": format!("{:08x}", frame.header_crc),
    })
}

/// A record's kind in words.
fn kind_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Entry => "entry",
        RecordKind::HardState => "hard-state",
        RecordKind::CommitHint => "commit-hint",
        RecordKind::TruncSuffix => "trunc-suffix",
        RecordKind::TruncPrefix => "trunc-prefix",
        RecordKind::GroupNew => "group-new",
        RecordKind::GroupDrop => "group-drop",
        RecordKind::Rewrite => "rewrite",
        RecordKind::Checkpoint => "checkpoint",
        RecordKind::Seal => "seal",
        RecordKind::Health => "health",
    }
}

fn entry_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Commands => "commands",
        EntryKind::Noop => "noop",
        EntryKind::Config => "config",
    }
}

/// What an entry carries; none for other records.
fn entry_of(record: &Record<'_>) -> Option<&'static str> {
    let is_entry = matches!(record.header().kind, RecordKind::Entry | RecordKind::Rewrite);
    is_entry.then(|| record.entry_kind().map_or("unknown", entry_name))
}

fn record_text(record: &Record<'_>) -> String {
    let header = record.header();
    let entry = entry_of(record).map(|entry| format!(" {entry}")).unwrap_or_default();
    format!(
        "    {:<12} group {} index {} term {}{entry}, {} bytes, crc {:08x} after {:08x}, life {}",
        kind_name(header.kind),
        header.group,
        header.index,
        header.term,
        record.payload().len(),
        record.crc(),
        header.prev_crc,
        header.life,
    )
}

fn record_json(place: usize, record: &Record<'_>) -> Value {
    let header = record.header();
    json!({
        "what": "record",
        "kind": kind_name(header.kind),
        "entry": entry_of(record),
        "flags": header.flags,
        "group": header.group.0,
        "index": header.index.0,
        "term": header.term.0,
        "bytes": record.payload().len(),
        "offset": place,
        "crc": format!("{:08x}", record.crc()),
        "prev_crc": format!("{:08x}", header.prev_crc),
        "life": header.life,
    })
}
