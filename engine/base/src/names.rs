//! Names and paths: how they are normalised, bounded and compared (docs/design/metadata.md, "Paths").
//!
//! Name keys are in keys on disk, so the Unicode tables behind them are part of the cluster's format:
//! [`tables_digest`] tells whether two builds agree.

use std::borrow::Cow;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::checksum::crc32c_append;
use crate::limits::{DEPTH_MAX, NAME_BYTES_MAX, NAME_CHARS_MAX, PATH_BYTES_MAX};

/// Why a text is no path or name here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// Neither empty nor beginning with `/`.
    #[error("a path begins with '/'")]
    NotAbsolute,
    /// Ends with `/`.
    #[error("a path does not end with '/'")]
    TrailingSlash,
    /// NUL, `\`, or a `/` inside a name.
    #[error("a name holds no NUL, no backslash and no slash")]
    Character,
    /// An empty name, `.` or `..`.
    #[error("a name is not empty, '.' or '..'")]
    Dots,
    /// A name ends with a space.
    #[error("a name does not end with a space")]
    TrailingSpace,
    /// A name has too many code points, or its key too many bytes.
    #[error("a name has at most {NAME_CHARS_MAX} code points, and {NAME_BYTES_MAX} bytes in lower case")]
    NameTooLong,
    /// The path has too many bytes or components.
    #[error("a path has at most {PATH_BYTES_MAX} bytes and {DEPTH_MAX} names")]
    PathTooLong,
}

/// The path in its normal form: NFC, runs of `/` joined, the root as the empty path.
///
/// Errors: [`PathError`], also for names that break a rule.
pub fn normalize_path(text: &str) -> Result<Cow<'_, str>, PathError> {
    if text.is_empty() || text.bytes().all(|byte| byte == b'/') {
        return Ok(Cow::Borrowed(""));
    }
    if !text.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if text.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    let nfc = nfc(text);
    let path = if nfc.contains("//") { Cow::Owned(join_slashes(&nfc)) } else { nfc };
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::PathTooLong);
    }
    let mut depth = 0;
    for name in components(&path) {
        check_nfc_name(name)?;
        depth += 1;
    }
    if depth > DEPTH_MAX { Err(PathError::PathTooLong) } else { Ok(path) }
}

/// The names of a path in normal form, from the top.
pub fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    path.split('/').filter(|name| !name.is_empty())
}

/// The name in its normal form, NFC.
///
/// Errors: [`PathError`] for a name that breaks a rule.
pub fn normalize_name(name: &str) -> Result<Cow<'_, str>, PathError> {
    let name = nfc(name);
    check_nfc_name(&name)?;
    Ok(name)
}

/// The key under which a name in NFC is compared and stored: each code point's *simple* lower case, so no final-sigma
/// rule, and U+0130 becomes U+0069.
#[must_use]
pub fn name_key(name: &str) -> String {
    key_of(name).into_owned()
}

/// [`name_key`] without a copy where the name is its own key, as most are.
#[must_use]
pub fn key_of(name: &str) -> Cow<'_, str> {
    if !name.is_ascii() {
        return Cow::Owned(name.chars().map(simple_lower).collect());
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

/// [`name_key`] of each name of a path; `/` stays.
#[must_use]
pub fn path_key(path: &str) -> String {
    name_key(path)
}

/// The code points of [`path_key`], one after the other.
pub fn key_chars(path: &str) -> impl Iterator<Item = char> {
    path.chars().map(simple_lower)
}

/// The last name of a path in normal form; empty for the root.
#[must_use]
pub fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// A digest of the tables that keys depend on, over all code points: lower case, decomposition, composition and the
/// order of combining marks.
#[must_use]
pub fn tables_digest() -> u32 {
    let mut buffer = [0; 4];
    ('\0'..=char::MAX).fold(0, |crc, c| {
        let text: &str = c.encode_utf8(&mut buffer);
        let forms = text.nfc().chain(text.nfd());
        let crc = forms.fold(crc, |crc, c| crc32c_append(crc, &u32::from(c).to_le_bytes()));
        let crc = crc32c_append(crc, &[canonical_combining_class(c)]);
        crc32c_append(crc, &u32::from(simple_lower(c)).to_le_bytes())
    })
}

/// U+0130 is the only code point whose full lower case is longer than one; its simple one is U+0069.
fn simple_lower(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => 'i',
    }
}

fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

fn join_slashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

fn check_nfc_name(name: &str) -> Result<(), PathError> {
    if name.bytes().any(|byte| matches!(byte, 0 | b'\\' | b'/')) {
        return Err(PathError::Character);
    }
    if matches!(name, "" | "." | "..") {
        return Err(PathError::Dots);
    }
    if name.ends_with(' ') {
        return Err(PathError::TrailingSpace);
    }
    if name.len() <= NAME_CHARS_MAX && name.is_ascii() {
        return Ok(());
    }
    let key_bytes: usize = name.chars().map(|c| simple_lower(c).len_utf8()).sum();
    if name.chars().count() > NAME_CHARS_MAX || key_bytes > NAME_BYTES_MAX {
        return Err(PathError::NameTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_two_spellings() {
        assert_eq!(normalize_path(""), Ok("".into()));
        assert_eq!(normalize_path("/"), Ok("".into()));
        assert_eq!(normalize_path("//"), Ok("".into()));
    }

    #[test]
    fn runs_of_slashes_become_one() {
        assert_eq!(normalize_path("//dir"), Ok("/dir".into()));
        assert_eq!(normalize_path("/a///b//c"), Ok("/a/b/c".into()));
    }

    #[test]
    fn broken_paths_are_refused_with_their_rule() {
        let rules = [
            ("a", PathError::NotAbsolute),
            ("/a/", PathError::TrailingSlash),
            ("/a\0", PathError::Character),
            ("/a\\b", PathError::Character),
            ("/.", PathError::Dots),
            ("/a/../b", PathError::Dots),
            ("/a /b", PathError::TrailingSpace),
            ("/a ", PathError::TrailingSpace),
        ];
        for (text, error) in rules {
            assert_eq!(normalize_path(text), Err(error), "{text:?}");
        }
        assert!(normalize_path("/ a/.b/...").is_ok());
    }

    #[test]
    fn names_are_composed() {
        assert_eq!(normalize_path("/Cafe\u{301}"), Ok("/Caf\u{e9}".into()));
        assert_eq!(normalize_name("e\u{301}").unwrap(), "\u{e9}");
        // Hangul and a composition exclusion: U+0958 stays decomposed in NFC.
        assert_eq!(normalize_name("\u{1112}\u{1161}\u{11ab}").unwrap(), "\u{d55c}");
        assert_eq!(normalize_name("\u{958}").unwrap(), "\u{915}\u{93c}");
    }

    #[test]
    fn keys_are_simple_lower_case_without_the_final_sigma_rule() {
        assert_eq!(name_key("\u{39f}\u{394}\u{39f}\u{3a3}"), "\u{3bf}\u{3b4}\u{3bf}\u{3c3}");
        assert_eq!(name_key("\u{130}"), "i");
        assert_eq!(name_key("I"), "i");
        assert_eq!(name_key("\u{1e9e}\u{df}"), "\u{df}\u{df}");
        assert_eq!(name_key("\u{10400}"), "\u{10428}");
        assert_eq!(path_key("/A/B c"), "/a/b c");
    }

    #[test]
    fn names_are_bounded_in_code_points_and_in_key_bytes() {
        assert!(normalize_name(&"a".repeat(255)).is_ok());
        assert_eq!(normalize_name(&"a".repeat(256)), Err(PathError::NameTooLong));
        assert!(normalize_name(&"\u{e9}".repeat(255)).is_ok());
        // 240 code points of 4 bytes are 960 bytes; one byte more is too long.
        assert!(normalize_name(&"\u{1f600}".repeat(240)).is_ok());
        assert_eq!(normalize_name(&("\u{1f600}".repeat(240) + "a")), Err(PathError::NameTooLong));
        // U+023A has 2 bytes, its lower case U+2C65 has 3: the key decides.
        let grows = "\u{1f600}".repeat(239);
        assert!(normalize_name(&(grows.clone() + "\u{23a}")).is_ok());
        assert_eq!(normalize_name(&(grows + "\u{23a}\u{e9}")), Err(PathError::NameTooLong));
    }

    #[test]
    fn paths_are_bounded_in_bytes_and_depth() {
        let name = format!("/{}", "a".repeat(255));
        assert!(normalize_path(&name.repeat(32)).is_ok());
        assert_eq!(normalize_path(&(name.repeat(32) + "/a")), Err(PathError::PathTooLong));
        assert!(normalize_path(&"/a".repeat(256)).is_ok());
        assert_eq!(normalize_path(&"/a".repeat(257)), Err(PathError::PathTooLong));
    }

    #[test]
    fn only_one_code_point_has_a_longer_lower_case() {
        let longer: Vec<char> = ('\0'..=char::MAX).filter(|c| c.to_lowercase().count() != 1).collect();
        assert_eq!(longer, ['\u{130}']);
    }

    #[test]
    fn the_tables_are_pinned() {
        assert_eq!(format!("{:08x}", tables_digest()), "8d821dec");
    }
}
