//! Metadata as JSON, the objects of `files/get_metadata` (docs/design/memcache.md, "Values"): rendered by hand, so that
//! all ports give the same bytes and nothing is allocated but in the vector given.
//!
//! ```text
//! {".tag":"file","name":"A.txt","path_lower":"/x/a.txt","path_display":"/X/A.txt","id":"id:<22>",
//!  "client_modified":"2015-05-12T15:50:38Z","server_modified":"2015-05-12T15:50:38Z","rev":"<31 hex>","size":7212,
//!  "is_downloadable":true,"content_hash":"<64 hex>","sharing_info":{..}}                    one line, no spaces
//! {".tag":"folder","name":"x","path_lower":"/x","path_display":"/X","id":"id:<22>",
//!  "shared_folder_id":"..","sharing_info":{..}}
//! {".tag":"deleted","name":"A.txt","path_lower":"/x/a.txt","path_display":"/X/A.txt"}
//! ```
//! A mount is a folder with `shared_folder_id`.

use base::bytes::push_decimal;
use base::names::{key_chars, name_of};
use base::{Nsid, TreeNode};

use crate::metadata::{Metadata, NodeKind};
use crate::query::{Entry, ROOT};

/// The first and the last second that four digits of a year can tell: 0001-01-01 and 9999-12-31.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How objects are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style<'a> {
    /// `.tag` comes first: wanted where the declared type is the union `Metadata`.
    pub has_tag: bool,
    /// Everything but printable ASCII is escaped, as a header of HTTP wants it; else it is UTF-8.
    pub is_ascii: bool,
    /// Put before the entry's path: where its namespace hangs in the tree that is told about; empty, or `/a/b`.
    pub prefix: &'a str,
    /// Of what is at or inside a shared folder, for the asker.
    pub sharing: Option<Sharing<'a>>,
}

/// What an asker is told about a shared folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sharing<'a> {
    /// The shared folder: the namespace that the entry is in, or that the mount shows.
    pub folder: Nsid,
    /// The asker may not write there.
    pub is_read_only: bool,
    /// Of files: the account id of who made the revision, `dbid:...`.
    pub modified_by: Option<&'a str>,
}

/// Appends the object of a file, folder or mount.
///
/// Without [`Style::sharing`] a mount still has its `shared_folder_id`. A file without the client's time has the
/// server's; times outside of the years 1 to 9999 are the nearest inside.
pub fn metadata(entry: &Entry, style: &Style<'_>, out: &mut Vec<u8>) {
    let meta = &entry.meta;
    let tag = if meta.kind == NodeKind::File { "file" } else { "folder" };
    begin(tag, &meta.name, &entry.path_display, style, out);
    out.extend_from_slice(b",\"id\":\"");
    file_id(meta.nsid, meta.node, out);
    out.push(b'"');
    match meta.kind {
        NodeKind::File => file_fields(meta, style, out),
        NodeKind::Folder | NodeKind::Mount => folder_fields(meta, style, out),
    }
    out.push(b'}');
}

/// Appends the object of what was at a path and is not there now.
pub fn deleted(path_display: &str, style: &Style<'_>, out: &mut Vec<u8>) {
    begin("deleted", name_of(path_display), path_display, style, out);
    out.push(b'}');
}

/// Appends the id of a file or folder: `id:` and 22 characters of base64url over namespace and node, big-endian.
pub fn file_id(nsid: Nsid, node: TreeNode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id:");
    let both = u128::from(nsid.0) << 64 | u128::from(node.0);
    // 128 bits are 21 digits of 6 bits, and 2 bits that the 22nd digit begins with.
    out.extend((0..21).map(|at| BASE64URL[(both >> (122 - 6 * at)) as usize & 63]));
    out.push(BASE64URL[(both << 4) as usize & 63]);
}

/// Appends `YYYY-MM-DDTHH:MM:SSZ`, the second in which the time lies.
///
/// Units: milliseconds since 1970. Outside of the years 1 to 9999 it is the nearest second inside.
pub fn timestamp(ms: i64, out: &mut Vec<u8>) {
    let seconds = ms.div_euclid(1000).clamp(*SECONDS.start(), *SECONDS.end());
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let parts = [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T')];
    let clock = [(second / 3600, 2, b':'), (second / 60 % 60, 2, b':'), (second % 60, 2, b'Z')];
    for (number, digits, end) in parts.into_iter().chain(clock) {
        (0..digits).rev().for_each(|place| out.push(b'0' + (number / 10_i64.pow(place) % 10) as u8));
        out.push(end);
    }
}

/// Appends a JSON string with its quotes. Escaped are `"`, `\` and what is below 0x20, the short way where there is one;
/// with `is_ascii` also 0x7f and all above, as UTF-16.
pub fn string(text: &str, is_ascii: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    text.chars().for_each(|c| char_escaped(c, is_ascii, out));
    out.push(b'"');
}

fn begin(tag: &str, name: &str, path: &str, style: &Style<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    if style.has_tag {
        field(".tag", out);
        string(tag, false, out);
        out.push(b',');
    }
    field("name", out);
    string(name, style.is_ascii, out);
    out.extend_from_slice(b",\"path_lower\":\"");
    let lower = key_chars(style.prefix).chain(key_chars(path));
    lower.for_each(|c| char_escaped(c, style.is_ascii, out));
    out.extend_from_slice(b"\",\"path_display\":\"");
    style.prefix.chars().chain(path.chars()).for_each(|c| char_escaped(c, style.is_ascii, out));
    out.push(b'"');
}

fn file_fields(meta: &Metadata, style: &Style<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"client_modified\":\"");
    timestamp(meta.client_mtime().unwrap_or(meta.server_mtime_ms), out);
    out.extend_from_slice(b"\",\"server_modified\":\"");
    timestamp(meta.server_mtime_ms, out);
    out.extend_from_slice(b"\",\"rev\":\"");
    hex_digits(meta.rev_jid.0, 15, out);
    hex_digits(meta.nsid.0, 16, out);
    out.extend_from_slice(b"\",\"size\":");
    push_decimal(meta.size, out);
    out.extend_from_slice(b",\"is_downloadable\":true,\"content_hash\":\"");
    meta.content_hash.iter().for_each(|byte| hex_digits(u64::from(*byte), 2, out));
    out.push(b'"');
    let Some(sharing) = &style.sharing else { return };
    begin_sharing(sharing, out);
    id_field(",\"parent_shared_folder_id\":", sharing.folder, out);
    if let Some(account) = sharing.modified_by {
        out.extend_from_slice(b",\"modified_by\":");
        string(account, style.is_ascii, out);
    }
    out.push(b'}');
}

fn folder_fields(meta: &Metadata, style: &Style<'_>, out: &mut Vec<u8>) {
    // The shared folder itself: where it hangs, or its root.
    let shown = match (meta.kind, &style.sharing) {
        (NodeKind::Mount, _) => Some(Nsid(meta.size)),
        (_, Some(sharing)) if meta.node == ROOT => Some(sharing.folder),
        _ => None,
    };
    if let Some(shown) = shown {
        id_field(",\"shared_folder_id\":", shown, out);
    }
    let Some(sharing) = &style.sharing else { return };
    begin_sharing(sharing, out);
    match shown {
        Some(shown) => id_field(",\"shared_folder_id\":", shown, out),
        None => id_field(",\"parent_shared_folder_id\":", sharing.folder, out),
    }
    out.extend_from_slice(b",\"traverse_only\":false,\"no_access\":false}");
}

fn begin_sharing(sharing: &Sharing<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"sharing_info\":{\"read_only\":");
    out.extend_from_slice(if sharing.is_read_only { b"true" } else { b"false" });
}

/// A name and its colon.
fn field(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A namespace's id, which is text.
fn id_field(start: &str, id: Nsid, out: &mut Vec<u8>) {
    out.extend_from_slice(start.as_bytes());
    out.push(b'"');
    push_decimal(id.0, out);
    out.push(b'"');
}

/// The last `digits` digits.
fn hex_digits(number: u64, digits: u32, out: &mut Vec<u8>) {
    out.extend((0..digits).rev().map(|place| HEX[(number >> (4 * place)) as usize & 15]));
}

fn char_escaped(c: char, is_ascii: bool, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\0'..='\u{1f}' => utf16_escape(c, out),
        ' '..='~' => out.push(c as u8),
        _ if is_ascii => utf16_escape(c, out),
        _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn utf16_escape(c: char, out: &mut Vec<u8>) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        hex_digits(u64::from(*unit), 4, out);
    }
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March 1st of the year 0, in eras of 400 years,
/// which all have 146,097 days; so a leap day is the last of its year.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_day_of_2000_years_has_its_date() {
        let lengths = |year: i64| {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut day = SECONDS.start() / 86_400;
        for year in 1..=2100 {
            for (month, length) in (1..).zip(lengths(year)) {
                for in_month in 1..=length {
                    assert_eq!(date(day), (year, month, in_month));
                    day += 1;
                }
            }
        }
        assert_eq!(date(0), (1970, 1, 1));
    }

    #[test]
    fn times_are_whole_seconds_of_four_digit_years() {
        let at = |ms| text(|out| timestamp(ms, out));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_431_445_838_999), "2015-05-12T15:50:38Z");
        assert_eq!(at(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(at(-1), "1969-12-31T23:59:59Z");
        assert_eq!(at(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(at(i64::MIN), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn strings_are_escaped_the_short_way_where_there_is_one() {
        let all: String = ('\0'..=' ').chain("\"\\/~\u{7f}é\u{1f600}".chars()).collect();
        let controls = "\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\
                        \\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\
                        \\u001e\\u001f ";
        let utf8 = text(|out| string(&all, false, out));
        assert_eq!(utf8, format!("\"{controls}\\\"\\\\/~\u{7f}é\u{1f600}\""));
        let ascii = text(|out| string(&all, true, out));
        assert_eq!(ascii, format!("\"{controls}\\\"\\\\/~\\u007f\\u00e9\\ud83d\\ude00\""));
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for value in [0, 9, 10, 10_000_000_007, u64::MAX] {
            assert_eq!(text(|out| push_decimal(value, out)), value.to_string());
        }
    }

    #[test]
    fn an_id_is_namespace_and_node_in_base64url() {
        assert_eq!(text(|out| file_id(Nsid(0), TreeNode(0), out)), format!("id:{}", "A".repeat(22)));
        assert_eq!(text(|out| file_id(Nsid(u64::MAX), TreeNode(u64::MAX), out)), format!("id:{}w", "_".repeat(21)));
        // The bytes 00 00 00 02 54 0b e4 00 00 00 00 00 00 00 00 07 through `base64 -w0 | tr '+/' '-_'`.
        assert_eq!(text(|out| file_id(Nsid(10_000_000_000), TreeNode(7), out)), "id:AAAAAlQL5AAAAAAAAAAABw");
    }
}
