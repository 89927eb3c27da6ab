//! `log verify`: the verdict that a start would give, without starting, and what scrub would find in sealed segments.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use indicatif::{HumanBytes, HumanDuration};
use seglog::inspect::SegmentLook;
use seglog::{Health, LogReader, RecoverError, Recovered};
use serde_json::{Value, json};

use super::LogArgs;
use super::look::{self, CoreLog, Reader};
use super::stat::group_json;

/// What a log is worth, worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Nothing is missing.
    Whole,
    /// Frames behind all that is known to be persisted are torn: a start cuts them off, and asks the other nodes whether
    /// anything in them counts.
    Torn,
    /// Entries or tails are lost; a start asks the other nodes for them.
    Damaged,
    /// Groups cannot be trusted any more, or the log cannot be opened.
    Lost,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Whole => "whole",
            Verdict::Torn => "torn",
            Verdict::Damaged => "damaged",
            Verdict::Lost => "lost",
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Verdict::Whole | Verdict::Torn => 0,
            Verdict::Damaged => 3,
            Verdict::Lost => 4,
        }
    }

    fn next_step(self) -> &'static str {
        match self {
            Verdict::Whole => "start it",
            Verdict::Torn => "start it: it asks the other nodes whether the torn frames count",
            Verdict::Damaged => "start it while the other nodes run: it asks them for what is lost",
            Verdict::Lost => "replace the node under a new id: `dropstone admin member replace --help`",
        }
    }
}

/// What was seen in the log of one core.
struct Seen {
    verdict: Verdict,
    recovered: Result<Recovered, RecoverError>,
    /// Frames with a good first block that are not whole, and lie before the log's end.
    broken: u64,
    /// Entries that a footer names and that do not lie where it says.
    footer_mismatches: u64,
    /// Segments whose header, trailer or footer is damaged though they are sealed.
    scarred: Vec<u64>,
    bytes: u64,
    seconds: f64,
}

/// Judges all logs named; the worst verdict is the exit code.
pub fn judge(args: &LogArgs, as_json: bool) -> Result<ExitCode> {
    let mut worst = Verdict::Whole;
    for log in look::find(args)? {
        let seen = look_at(&log, as_json)?;
        if let Err(RecoverError::Read(error)) = &seen.recovered {
            bail!("could not read the log of core {}: {error}", log.core);
        }
        worst = worst.max(seen.verdict);
        look::put(&if as_json { format!("{}\n", to_json(&log, &seen)) } else { to_text(&log, &seen) })?;
    }
    if !as_json {
        look::put(&format!("{}: {}\n", worst.name(), worst.next_step()))?;
    }
    Ok(ExitCode::from(worst.exit_code()))
}

fn look_at(log: &CoreLog, is_quiet: bool) -> Result<Seen> {
    let begin = Instant::now();
    let mut reader = log.reader("checking", is_quiet)?;
    let mut looks = Vec::new();
    let recovered = seglog::recover_and_look(&mut reader, &log.settings, &mut looks);
    let (mut broken, mut footer_mismatches, mut scarred) = (0, 0, Vec::new());
    let last_frame = recovered.as_ref().map_or(u64::MAX, |recovered| recovered.report().last_frame_seq);
    let mut bytes = Vec::new();
    for found in reader.segments()? {
        let segment_seq = found.segment_seq;
        if !looks.iter().any(|look| look.segment_seq == segment_seq) {
            // Recovery had no use for it, or did not get so far.
            bytes.resize(found.bytes as usize, 0);
            let is_readable = read_what_can_be(&mut reader, segment_seq, &mut bytes)?;
            looks.push(SegmentLook::at(&bytes, segment_seq, is_readable));
        }
    }
    looks.sort_by_key(|look| look.segment_seq);
    for look in &looks {
        broken += look.bad_frames.iter().filter(|frame_seq| **frame_seq <= last_frame).count() as u64;
        footer_mismatches += look.footer_mismatches;
        if look.has_scar || !look.is_readable {
            scarred.push(look.segment_seq);
        }
    }
    let verdict = verdict_of(&recovered, broken + footer_mismatches + scarred.len() as u64);
    let bytes = reader.finish();
    Ok(Seen { verdict, recovered, broken, footer_mismatches, scarred, bytes, seconds: begin.elapsed().as_secs_f64() })
}

/// Reads a segment block by block where it cannot be read at once; false when blocks are unreadable: they are zero then.
fn read_what_can_be(reader: &mut Reader, segment_seq: u64, bytes: &mut [u8]) -> Result<bool> {
    if reader.read(segment_seq, 0, bytes).is_ok() {
        return Ok(true);
    }
    let mut is_whole = true;
    for (block, part) in bytes.chunks_mut(base::limits::LOG_BLOCK_BYTES).enumerate() {
        let offset = (block * base::limits::LOG_BLOCK_BYTES) as u64;
        if reader.read(segment_seq, offset, part).is_err() {
            part.fill(0);
            is_whole = false;
        }
    }
    Ok(is_whole)
}

fn verdict_of(recovered: &Result<Recovered, RecoverError>, scars: u64) -> Verdict {
    let Ok(recovered) = recovered else { return Verdict::Lost };
    let report = recovered.report();
    let is_lost = |group: &seglog::RecoveredGroup| group.health == Health::Quarantined;
    let is_damaged = |group: &seglog::RecoveredGroup| !group.faulty.is_empty();
    let is_torn = |group: &seglog::RecoveredGroup| group.health != Health::Clean;
    if report.untrusted.is_some() || recovered.groups().iter().any(is_lost) {
        Verdict::Lost
    } else if report.frames_damaged > 0 || scars > 0 || recovered.groups().iter().any(is_damaged) {
        Verdict::Damaged
    } else if report.frames_doubtful > 0 || recovered.groups().iter().any(is_torn) {
        Verdict::Torn
    } else {
        Verdict::Whole
    }
}

fn to_text(log: &CoreLog, seen: &Seen) -> String {
    let rate = HumanBytes((seen.bytes as f64 / seen.seconds.max(1e-9)) as u64);
    let mut out = format!(
        "core {}: {}; {} read in {} ({rate}/s)\n",
        log.core,
        seen.verdict.name(),
        HumanBytes(seen.bytes),
        HumanDuration(std::time::Duration::from_secs_f64(seen.seconds)),
    );
    match &seen.recovered {
        Err(error) => out += &format!("  it does not open: {error}\n"),
        Ok(recovered) => {
            let report = recovered.report();
            out += &format!(
                "  {} frames stand, up to {}; {} torn at the end, {} damaged, {} void; meta {} of 4 copies\n",
                report.frames,
                report.last_frame_seq,
                report.frames_doubtful,
                report.frames_damaged,
                report.frames_void,
                report.meta_copies
            );
            if let Some(why) = report.untrusted {
                out += &format!("  all groups are quarantined: {why}\n");
            }
            for group in recovered.groups() {
                if group.health != Health::Clean || !group.faulty.is_empty() {
                    out += &format!(
                        "  group {}: {:?}, {} entries lost their bytes",
                        group.group,
                        group.health,
                        group.faulty.len()
                    );
                    out += &group.faulty.first().map_or_else(String::new, |first| format!(", the first at {first}"));
                    out += "\n";
                }
            }
        }
    }
    if seen.broken + seen.footer_mismatches > 0 {
        out += &format!(
            "  {} frames are broken, {} entries are not where a footer says\n",
            seen.broken, seen.footer_mismatches
        );
    }
    for segment in &seen.scarred {
        out += &format!("  segment {segment:016x}: header, footer or blocks of it are damaged\n");
    }
    out
}

fn to_json(log: &CoreLog, seen: &Seen) -> Value {
    let report = seen.recovered.as_ref().ok().map(Recovered::report);
    json!({
        "core": log.core.0,
        "verdict": seen.verdict.name(),
        "error": seen.recovered.as_ref().err().map(ToString::to_string),
        "frames": report.map(|report| report.frames),
        "frames_torn": report.map(|report| report.frames_doubtful),
        "frames_damaged": report.map(|report| report.frames_damaged),
        "frames_void": report.map(|report| report.frames_void),
        "meta_copies": report.map(|report| report.meta_copies),
        "untrusted": report.and_then(|report| report.untrusted),
        "frames_broken": seen.broken,
        "footer_mismatches": seen.footer_mismatches,
        "scarred_segments": seen.scarred.iter().map(|segment| format!("{segment:016x}")).collect::<Vec<_>>(),
        "bytes_read": seen.bytes,
        "seconds": seen.seconds,
        "groups": seen.recovered.as_ref().map(|recovered| {
            recovered.groups().iter().map(group_json).collect::<Vec<_>>()
        }).unwrap_or_default(),
    })
}
