//! Rules over the text of files: `unsafe`, clocks and threads, headers, unfinished code, lengths, machine paths.

use super::code::{lines_with, strip, without_tests};
use super::layers::room_of_path;
use super::{Finding, Source};

/// The only files with `unsafe`.
const UNSAFE_FILES: [&str; 11] = [
    "engine/reactor/src/ring.rs",
    "engine/reactor/src/mmap_disk.rs",
    "engine/reactor/src/raw_writer.rs",
    "engine/reactor/src/buffers.rs",
    "engine/reactor/src/mailbox.rs",
    "engine/reactor/src/clock.rs",
    "engine/reactor/src/probes.rs",
    "engine/reactor/src/stall.rs",
    "engine/reactor/src/counting_alloc.rs",
    "engine/reactor/src/system.rs",
    "engine/reactor/src/signals.rs",
];

/// Rooms in which time is an argument and nothing runs beside the caller.
const PURE_ROOMS: [&str; 7] = ["base", "raft", "seglog", "meta", "cache", "shard", "wire"];

const CLOCKS: [&str; 4] = ["Instant::now", "SystemTime::now", "UNIX_EPOCH", "SystemTime"];
const THREADS: [&str; 3] = ["thread::spawn", "std::thread", "thread::Builder"];

const LINES_MAX: usize = 700;

/// Runs every rule of this file.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(check_paths_of_machines(source));
        if source.path.ends_with(".rs") {
            let code = strip(&source.text);
            findings.extend(check_unsafe(source, &code));
            findings.extend(check_time(source, &code));
            findings.extend(check_unfinished(source, &code));
            findings.extend(check_header(source));
            findings.extend(check_length(source));
        } else if source.path.ends_with("Cargo.toml") {
            findings.extend(check_lints(source));
        }
    }
    findings
}

fn place(source: &Source, line: usize) -> String {
    format!("{}:{line}", source.path)
}

fn check_unsafe(source: &Source, code: &str) -> Vec<Finding> {
    // The room's own tests stand where its callers do: signals, raw descriptors.
    let is_allowed = UNSAFE_FILES.contains(&source.path.as_str()) || source.path.starts_with("engine/reactor/tests/");
    if is_allowed {
        return Vec::new();
    }
    let what = "unsafe belongs into engine/reactor, there into the files listed in tools/xtask/src/tidy/sources.rs";
    lines_with(code, "unsafe").into_iter().map(|line| Finding::error("unsafe", place(source, line), what)).collect()
}

/// Every crate but the reactor takes the workspace's lints, which forbid `unsafe`.
fn check_lints(source: &Source) -> Option<Finding> {
    let text: String = source.text.split_whitespace().collect();
    let is_fine = source.path == "Cargo.toml"
        || source.path == "engine/reactor/Cargo.toml"
        || text.contains("[workspace]") && !text.contains("[package]")
        || text.contains("[lints]workspace=true");
    let what = "takes no workspace lints; add `[lints]` with `workspace = true`, so that unsafe is forbidden";
    (!is_fine).then(|| Finding::error("lints", source.path.clone(), what))
}

/// Tests may read clocks and start threads; so may the drivers of the client, and the store has its worker.
fn check_time(source: &Source, code: &str) -> Vec<Finding> {
    let Some(room) = room_of_path(&source.path) else { return Vec::new() };
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let is_test = source.path.contains("/tests/")
        || ["tests.rs", "models.rs"].contains(&name)
        || source.path.contains("/benches/");
    let is_driver =
        room == "client" && ["driver", "blocking", "asynchronous", "lazy"].iter().any(|stem| name.starts_with(stem));
    let is_pure = PURE_ROOMS.contains(&room);
    let clocks = is_pure || room == "store" || room == "client";
    let threads = is_pure || room == "client";
    if is_test || is_driver {
        return Vec::new();
    }
    let code = without_tests(code);
    let mut findings = Vec::new();
    let mut find = |needles: &[&str], rule, what: &str| {
        let mut lines: Vec<usize> = needles.iter().flat_map(|needle| lines_with(&code, needle)).collect();
        lines.sort_unstable();
        lines.dedup();
        findings.extend(lines.into_iter().map(|line| Finding::error(rule, place(source, line), what)));
    };
    if clocks {
        find(&CLOCKS, "clock", "no clock is read here; time is an argument (`now: Mono`) or an input");
    }
    if threads {
        find(&THREADS, "thread", "no thread is started here; return an action and let the reactor or a driver do it");
    }
    findings
}

fn check_unfinished(source: &Source, code: &str) -> Vec<Finding> {
    let needles = ["todo!", "unimplemented!", "dbg!"];
    let find = |needle: &'static str| {
        let what = format!("{needle} is not left in the project; finish it or return an error");
        let lines = lines_with(code, needle).into_iter();
        lines.map(move |line| Finding::error("unfinished", place(source, line), what.clone()))
    };
    needles.into_iter().flat_map(find).collect()
}

fn check_header(source: &Source) -> Option<Finding> {
    let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    let what = "begins with no `//!` line; say in one what the file is for";
    let has_header = first.is_some_and(|line| line.starts_with("//!"));
    (!has_header).then(|| Finding::error("header", place(source, 1), what))
}

fn check_length(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let what = format!("has {lines} lines; split it by nouns (most files are 100 to 400)");
    (lines > LINES_MAX).then(|| Finding::warning("length", source.path.clone(), what))
}

/// Home directories and the like say where a file was made, and mean nothing elsewhere.
fn check_paths_of_machines(source: &Source) -> Vec<Finding> {
    // In pieces, so that this file is no finding of itself.
    let prefixes =
        [["/ho", "me/"], ["/Us", "ers/"], ["/ro", "ot/"], ["/wo", "rk/"], ["C:", "\\"]].map(|half| half.concat());
    let begins = |line: &str, prefix: &str| {
        line.match_indices(prefix).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | '$' | '*' | '~'))
        })
    };
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if let Some(prefix) = prefixes.iter().find(|prefix| begins(line, prefix)) {
            let what = format!("names a path of one machine ({prefix}...); use a relative path or a variable");
            findings.push(Finding::error("machine path", place(source, index + 1), what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(&[Source { path: path.to_owned(), text: text.to_owned() }])
            .into_iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn unsafe_is_refused_outside_its_files() {
        let text = "//! x\nfn f() { unsafe { g() } }\n";
        assert_eq!(rules("engine/raft/src/lib.rs", text), ["unsafe"]);
        assert_eq!(rules("engine/reactor/src/core.rs", text), ["unsafe"]);
        assert!(rules("engine/reactor/src/ring.rs", text).is_empty());
        assert!(rules("engine/reactor/tests/disk.rs", text).is_empty());
        assert_eq!(rules("net/server/tests/x.rs", text), ["unsafe"]);
        assert!(rules("engine/raft/src/lib.rs", "//! x\n#![forbid(unsafe_code)] // unsafe\n").is_empty());
    }

    #[test]
    fn a_crate_without_the_workspace_lints_is_refused() {
        assert_eq!(rules("engine/raft/Cargo.toml", "[package]\n"), ["lints"]);
        assert!(rules("engine/raft/Cargo.toml", "[package]\n[lints]\nworkspace = true\n").is_empty());
    }

    #[test]
    fn clocks_and_threads_are_refused_in_pure_rooms() {
        for (text, rule) in [
            ("//! x\nlet a = Instant::now();", "clock"),
            ("//! x\nlet a = std::time::SystemTime::now();", "clock"),
            ("//! x\nuse std::time::UNIX_EPOCH;", "clock"),
            ("//! x\nstd::thread::spawn(f);", "thread"),
            ("//! x\nuse std::thread;", "thread"),
        ] {
            assert_eq!(rules("engine/raft/src/raft.rs", text), [rule], "{text}");
            assert_eq!(rules("net/client/src/core.rs", text), [rule], "{text}");
            assert!(rules("net/client/src/driver.rs", text).is_empty(), "{text}");
            assert!(rules("engine/raft/tests/paper.rs", text).is_empty(), "{text}");
            assert!(rules("net/server/src/node.rs", text).is_empty(), "{text}");
        }
        assert_eq!(rules("engine/store/src/lsm.rs", "//! x\nlet a = Instant::now();"), ["clock"]);
        assert!(rules("engine/store/src/worker.rs", "//! x\nstd::thread::spawn(f);").is_empty());
        let tested = "//! x\n#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }";
        assert!(rules("engine/raft/src/raft.rs", tested).is_empty());
    }

    #[test]
    fn unfinished_code_is_refused() {
        for name in ["todo", "unimplemented", "dbg"] {
            assert_eq!(rules("net/server/src/a.rs", &format!("//! x\nfn f() {{ {name}!() }}")), ["unfinished"]);
        }
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        assert_eq!(rules("net/server/src/a.rs", "use std::fmt;\n"), ["header"]);
        assert_eq!(rules("net/server/src/a.rs", ""), ["header"]);
    }

    #[test]
    fn a_long_file_is_a_warning() {
        let text = format!("//! x\n{}", "\n".repeat(LINES_MAX));
        let found = check(&[Source { path: "net/server/src/a.rs".to_owned(), text }]);
        assert!(found.len() == 1 && found[0].is_warning);
    }

    #[test]
    fn paths_of_one_machine_are_refused_everywhere() {
        let path = ["see /ho", "me/someone/x"].concat();
        assert_eq!(rules("README.md", &path), ["machine path"]);
        assert!(rules("README.md", "https://example.org/home/x and net/home/x").is_empty());
    }
}
