//! What stays out: the patterns of `.dropstoneignore`, and names that are temporary everywhere.

/// The file with the patterns, in the synced folder itself; it is synced like any other.
pub const IGNORE_FILE: &str = ".dropstoneignore";
/// Our own folder, in the synced folder.
pub const STATE_FOLDER: &str = ".dropstone";
/// Our own files on their way, in any folder, begin so.
pub const PART_PREFIX: &str = ".dropstone-";

/// One line: `name`, `*.tmp`, `/only/here`, `folder/`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pattern {
    glob: String,
    /// Compared with the whole path from the root, else with the last name.
    is_path: bool,
    only_folders: bool,
}

/// The patterns of one file.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

impl Ignore {
    /// Reads the lines of a file: empty ones and those that begin with `#` say nothing.
    pub fn parse(text: &str) -> Ignore {
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pattern = |line: &str| {
            let (glob, only_folders) = line.strip_suffix('/').map_or((line, false), |glob| (glob, true));
            let is_path = glob.contains('/');
            Pattern { glob: glob.trim_start_matches('/').to_owned(), is_path, only_folders }
        };
        Ignore { patterns: lines.map(pattern).filter(|pattern| !pattern.glob.is_empty()).collect() }
    }

    /// Whether what is at this path stays out: `path` from the root, without a leading `/`.
    pub fn holds(&self, path: &str, is_folder: bool) -> bool {
        let name = base::names::name_of(path);
        is_temporary(name)
            || path == STATE_FOLDER
            || self.patterns.iter().any(|pattern| {
                let text = if pattern.is_path { path } else { name };
                (is_folder || !pattern.only_folders) && glob(pattern.glob.as_bytes(), text.as_bytes())
            })
    }
}

/// Names that programs and systems leave for a moment, or that mean something on one machine only.
fn is_temporary(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    matches!(lower.as_str(), "desktop.ini" | "thumbs.db" | ".ds_store" | "icon\r")
        || name.starts_with(PART_PREFIX)
        || name.starts_with("~$")
        || name.starts_with(".~")
        || (name.starts_with('~') && lower.ends_with(".tmp"))
        || (name.starts_with('.') && (name.ends_with(".swp") || name.ends_with(".swx")))
}

/// `*` is any run without `/`, `**` any run, `?` one byte but `/`. Each star costs a try per byte; patterns are the user's own.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let run = text.iter().take_while(|byte| **byte != b'/').count();
            (0..=run).any(|at| glob(rest, &text[at..]))
        }
        [b'?', rest @ ..] => matches!(text, [first, tail @ ..] if *first != b'/' && glob(rest, tail)),
        [byte, rest @ ..] => matches!(text, [first, tail @ ..] if first == byte && glob(rest, tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_anywhere_and_paths_from_the_root() {
        let ignore = Ignore::parse("# a comment\n\n*.o\n/build/\ndocs/*.pdf\na?c\n**/cache/x\n");
        for (path, is_folder) in [
            ("x.o", false),
            ("deep/er/x.o", false),
            ("build", true),
            ("docs/a.pdf", false),
            ("q/abc", false),
            ("p/cache/x", false),
        ] {
            assert!(ignore.holds(path, is_folder), "{path}");
        }
        for (path, is_folder) in
            [("x.oo", false), ("build", false), ("src/build", true), ("docs/more/a.pdf", false), ("ac", false)]
        {
            assert!(!ignore.holds(path, is_folder), "{path}");
        }
    }

    #[test]
    fn temporary_names_and_our_own_stay_out() {
        let ignore = Ignore::default();
        for path in [".dropstone", "a/.dropstone-sync-1.part", "~$report.docx", "a/.DS_Store", ".file.swp", "~x.tmp"] {
            assert!(ignore.holds(path, false), "{path}");
        }
        for path in [".dropstoneignore", "a/.dropstone", ".hidden", "~", "x.tmp"] {
            assert!(!ignore.holds(path, false), "{path}");
        }
    }
}
