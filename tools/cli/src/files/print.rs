//! Lines for people and for machines: names without control characters, sizes, times, metadata as JSON.

use std::borrow::Cow;
use std::io::Write;

use meta::{Entry, Metadata, NodeKind};
use serde_json::{Value, json};

use super::fail::Fail;

/// The text with control characters escaped: a name must not move the cursor or fake a line.
pub fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().collect::<String>() } else { c.to_string() };
    if text.chars().any(char::is_control) { text.chars().map(escape).collect() } else { text.to_owned() }
}

/// The path, with `/` for the root.
pub fn path(path: &str) -> Cow<'_, str> {
    if path.is_empty() { Cow::Borrowed("/") } else { Cow::Owned(printable(path)) }
}

/// Writes one line to stdout and flushes it.
///
/// Errors: [`Fail`], which is no failure when the reader has gone.
pub fn line(text: impl std::fmt::Display) -> Result<(), Fail> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Bytes for people: `0 B`, `999 B`, `1.5 KiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Milliseconds since 1970 as `2026-11-21 05:10:59`, UTC.
pub fn time(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The Gregorian date of a day counted from 1970-01-01. Years begin in March here, so that the leap day is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// What kind it is, in one word.
pub fn kind(meta: &Metadata) -> &'static str {
    match meta.kind {
        NodeKind::File => "file",
        NodeKind::Folder => "folder",
        NodeKind::Mount => "mount",
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Metadata and path as one JSON object; times in milliseconds since 1970.
pub fn json_entry(entry: &Entry) -> Value {
    let mut object = json_meta(&entry.meta);
    object["path"] = json!(if entry.path_display.is_empty() { "/" } else { &entry.path_display });
    object
}

/// Metadata as one JSON object.
pub fn json_meta(meta: &Metadata) -> Value {
    let mut object = json!({
        "kind": kind(meta),
        "name": meta.name,
        "namespace": meta.nsid.0,
        "node": meta.node.0,
        "jid": meta.jid.0,
        "server_mtime_ms": meta.server_mtime_ms,
        "modified_by": meta.modified_by.0,
    });
    if let Some(rev) = meta.rev() {
        object["size"] = json!(meta.size);
        object["rev"] = json!(rev.to_string());
        object["content_hash"] = json!(hex(&meta.content_hash));
        object["client_mtime_ms"] = json!(meta.client_mtime());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_827_696_789), "2000-02-29 12:34:56");
        assert_eq!(time(4_107_542_400_000), "2100-03-01 00:00:00");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
        assert_eq!(time(i64::MAX).len(), "292278994-08-17 07:12:55".len());
    }

    #[test]
    fn sizes_have_one_decimal_and_a_unit() {
        let shown = [0, 1023, 1024, 1536, 1024 * 1024 - 1, 4 << 20, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "4.0 MiB", "15.9 EiB"]);
    }

    #[test]
    fn control_characters_of_names_are_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("naïve 名"), "naïve 名");
    }
}
