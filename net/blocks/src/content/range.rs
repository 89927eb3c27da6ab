//! Which part of a file a request wants: ranges and conditions of downloads (RFC 9110, 13 and 14), as a pure function.

use std::ops::Range;

/// The headers that decide, as they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conditions<'a> {
    /// `Range`.
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// What is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// All of it: 200.
    Whole,
    /// These bytes, never none: 206.
    Part(Range<u64>),
    /// The client has it: 304.
    NotModified,
    /// The range begins at or beyond the end: 416.
    Unsatisfiable,
}

impl Selection {
    /// Judges a request for a file of `size` bytes whose strong entity tag is `"<etag>"`.
    #[must_use]
    pub fn of(conditions: &Conditions<'_>, size: u64, etag: &str) -> Selection {
        if conditions.if_none_match.is_some_and(|tags| names(tags, etag)) {
            return Selection::NotModified;
        }
        let Some(range) = conditions.range else { return Selection::Whole };
        // RFC 9110, 13.1.5: only a strong tag that is the same lets the range stand; a date never does, as we send none.
        if conditions.if_range.is_some_and(|tag| opaque(tag.trim()) != Some((false, etag))) {
            return Selection::Whole;
        }
        select(range, size)
    }

    /// The bytes that are sent.
    #[must_use]
    pub fn bytes(&self, size: u64) -> Range<u64> {
        match self {
            Selection::Whole => 0..size,
            Selection::Part(range) => range.clone(),
            Selection::NotModified | Selection::Unsatisfiable => 0..0,
        }
    }

    /// The value of `Content-Range`, where there is one.
    #[must_use]
    pub fn content_range(&self, size: u64) -> Option<String> {
        match self {
            Selection::Part(range) => Some(format!("bytes {}-{}/{size}", range.start, range.end - 1)),
            Selection::Unsatisfiable => Some(format!("bytes */{size}")),
            Selection::Whole | Selection::NotModified => None,
        }
    }
}

/// Is the tag among those listed? Weak comparison.
fn names(tags: &str, etag: &str) -> bool {
    let is_it = |tag: &str| tag == "*" || opaque(tag).is_some_and(|(_, text)| text == etag);
    // A rev has no comma, so a tag that has one is another's.
    tags.split(',').any(|tag| is_it(tag.trim()))
}

/// Is it weak, and what is between the quotes?
fn opaque(tag: &str) -> Option<(bool, &str)> {
    let (is_weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |tag| (true, tag));
    Some((is_weak, tag.strip_prefix('"')?.strip_suffix('"')?))
}

/// What is no single range of bytes is ignored, as RFC 9110, 14.2 lets a server do.
fn select(range: &str, size: u64) -> Selection {
    let Some((first, last)) = parse(range) else { return Selection::Whole };
    if size == 0 {
        return Selection::Whole;
    }
    let bytes = match (first, last) {
        (Some(first), _) if first >= size => return Selection::Unsatisfiable,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        (Some(first), None) => first..size,
        (None, Some(0)) => return Selection::Unsatisfiable,
        (None, Some(count)) => size.saturating_sub(count)..size,
        (None, None) => return Selection::Whole,
    };
    Selection::Part(bytes)
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`.
fn parse(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let is_backwards = first.zip(last).is_some_and(|(first, last)| last < first);
    (!is_backwards && (first.is_some() || last.is_some())).then_some((first, last))
}

/// `None`: not a number. One too large for a file is as good as the largest.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: &str = "0100";

    fn range(range: &str, size: u64) -> Selection {
        Selection::of(&Conditions { range: Some(range), ..Conditions::default() }, size, REV)
    }

    #[test]
    fn each_form_of_a_range_selects_its_bytes() {
        use Selection::{Part, Unsatisfiable, Whole};
        let table = [
            ("bytes=0-0", 500, Part(0..1)),
            ("bytes=5-7", 500, Part(5..8)),
            ("bytes=0-599", 500, Part(0..500)),
            ("bytes=499-", 500, Part(499..500)),
            ("bytes=10-", 500, Part(10..500)),
            ("bytes=-1", 500, Part(499..500)),
            ("bytes=-500", 500, Part(0..500)),
            ("bytes=-501", 500, Part(0..500)),
            ("bytes=-0", 500, Unsatisfiable),
            ("bytes=500-", 500, Unsatisfiable),
            ("bytes=500-600", 500, Unsatisfiable),
            ("bytes=99999999999999999999-", 500, Unsatisfiable),
            ("bytes=1-99999999999999999999", 500, Part(1..500)),
            ("Bytes = 1-2", 500, Part(1..3)),
            ("bytes=0-", 0, Whole),
            ("bytes=5-9", 0, Whole),
            ("bytes=-5", 0, Whole),
            ("bytes=0-1,5-6", 500, Whole),
            ("bytes=7-5", 500, Whole),
            ("bytes=-", 500, Whole),
            ("bytes=a-b", 500, Whole),
            ("bytes=+1-2", 500, Whole),
            ("items=0-1", 500, Whole),
            ("bytes", 500, Whole),
            ("", 500, Whole),
        ];
        for (text, size, wanted) in table {
            assert_eq!(range(text, size), wanted, "{text} of {size}");
        }
    }

    #[test]
    fn a_client_that_has_the_revision_is_told_so_whatever_range_it_wants() {
        for (tags, is_it) in [
            ("\"0100\"", true),
            ("W/\"0100\"", true),
            ("\"0200\", \"0100\"", true),
            ("*", true),
            ("\"0200\"", false),
            ("0100", false),
            ("", false),
        ] {
            let conditions = Conditions { range: Some("bytes=0-1"), if_none_match: Some(tags), if_range: None };
            let wanted = if is_it { Selection::NotModified } else { Selection::Part(0..2) };
            assert_eq!(Selection::of(&conditions, 500, REV), wanted, "{tags}");
        }
    }

    #[test]
    fn a_range_stands_only_for_the_revision_that_it_was_meant_for() {
        for (tag, stands) in [
            ("\"0100\"", true),
            ("W/\"0100\"", false),
            ("\"0200\"", false),
            ("Mon, 23 Nov 2026 00:00:00 GMT", false),
            ("", false),
        ] {
            let conditions = Conditions { range: Some("bytes=0-1"), if_range: Some(tag), if_none_match: None };
            let wanted = if stands { Selection::Part(0..2) } else { Selection::Whole };
            assert_eq!(Selection::of(&conditions, 500, REV), wanted, "{tag}");
        }
    }

    #[test]
    fn the_header_names_the_first_and_the_last_byte() {
        assert_eq!(Selection::Part(5..8).content_range(500).as_deref(), Some("bytes 5-7/500"));
        assert_eq!(Selection::Unsatisfiable.content_range(500).as_deref(), Some("bytes */500"));
        assert_eq!(Selection::Whole.content_range(500), None);
        assert_eq!((Selection::Whole.bytes(500), Selection::NotModified.bytes(500)), (0..500, 0..0));
    }
}
