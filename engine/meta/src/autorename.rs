//! Other names for what is in conflict (docs/design/metadata.md, "Conflicts").

use base::limits::{NAME_BYTES_MAX, NAME_CHARS_MAX};
use base::names::{name_key, normalize_name};

/// The `n`-th other name, from 1: `name (1).ext`, or with a label `name (label).ext`, `name (label 2).ext`.
///
/// The stem is cut so that the whole fits; `None` when nothing of it would be left, or the label makes no name.
pub(crate) fn candidate(name: &str, label: &str, n: u32) -> Option<String> {
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let suffix = match (label, n) {
        ("", n) => format!(" ({n})"),
        (label, 1) => format!(" ({label})"),
        (label, n) => format!(" ({label} {n})"),
    };
    let chars = NAME_CHARS_MAX.checked_sub(suffix.chars().count() + extension.chars().count())?;
    let bytes = NAME_BYTES_MAX.checked_sub(name_key(&suffix).len() + name_key(extension).len())?;
    let mut cut = String::new();
    let mut key_bytes = 0;
    for c in stem.chars().take(chars) {
        key_bytes += name_key(c.encode_utf8(&mut [0; 4])).len();
        if key_bytes > bytes {
            break;
        }
        cut.push(c);
    }
    if cut.is_empty() {
        return None;
    }
    cut.push_str(&suffix);
    cut.push_str(extension);
    normalize_name(&cut).ok().map(|name| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_before_the_extension() {
        assert_eq!(candidate("a.txt", "", 1).unwrap(), "a (1).txt");
        assert_eq!(candidate("a.tar.gz", "", 2).unwrap(), "a.tar (2).gz");
        assert_eq!(candidate(".bashrc", "", 1).unwrap(), ".bashrc (1)");
        assert_eq!(candidate("a", "", 10).unwrap(), "a (10)");
        assert_eq!(candidate("a.", "", 1).unwrap(), "a (1).");
    }

    #[test]
    fn a_label_is_numbered_from_the_second_on() {
        let label = "Ada's conflicted copy";
        assert_eq!(candidate("a.txt", label, 1).unwrap(), "a (Ada's conflicted copy).txt");
        assert_eq!(candidate("a.txt", label, 2).unwrap(), "a (Ada's conflicted copy 2).txt");
        assert_eq!(candidate("a.txt", "x/y", 1), None);
    }

    #[test]
    fn the_stem_is_cut_so_that_the_whole_fits() {
        let name = candidate(&("a".repeat(251) + ".txt"), "", 1).unwrap();
        assert_eq!((name.chars().count(), name.ends_with("a (1).txt")), (255, true));
        let name = candidate(&"\u{1f600}".repeat(240), "", 1).unwrap();
        assert_eq!((name.len(), name.ends_with("\u{1f600} (1)")), (960, true));
        assert_eq!(candidate(&("a.".to_owned() + &"b".repeat(253)), "", 1), None);
    }
}
