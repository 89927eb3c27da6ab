//! Imports only point down: from a higher layer to a lower one, never to the same.

use std::collections::{BTreeMap, BTreeSet};

use super::code::strip;
use super::dependencies::Package;
use super::{Finding, Source};

const RULE: &str = "layer";

/// Room, its folder and its layer.
pub const ROOMS: &[(&str, &str, u8)] = &[
    ("base", "engine/base", 0),
    ("raft", "engine/raft", 1),
    ("seglog", "engine/seglog", 1),
    ("meta", "engine/meta", 1),
    ("cache", "engine/cache", 1),
    ("store", "engine/store", 2),
    ("shard", "engine/shard", 2),
    ("reactor", "engine/reactor", 2),
    ("wire", "net/wire", 2),
    ("transport", "net/transport", 3),
    ("client", "net/client", 3),
    ("server", "net/server", 4),
    ("stone", "net/stone", 3),
    ("blocks", "net/blocks", 4),
    ("gateway", "net/gateway", 4),
    ("notify", "net/notify", 4),
    ("sim", "tools/sim", 5),
    ("syncer", "tools/sync", 5),
    // These three before `bench`, whose folder they lie in.
    ("load", "bench/load", 5),
    ("compare", "bench/compare", 6),
    ("micro", "bench/micro", 6),
    ("bench", "bench", 5),
    ("xtask", "tools/xtask", 5),
    ("cli", "tools/cli", 6),
];

/// The room of a package: `dropstone-raft` is `raft`, `dropstone` is `cli`.
pub fn room_of_package(package: &str) -> Option<&'static str> {
    let name = match package {
        "dropstone" => "cli",
        other => other.strip_prefix("dropstone-").unwrap_or(other),
    };
    ROOMS.iter().map(|room| room.0).find(|room| *room == name)
}

/// The room a file lies in.
pub fn room_of_path(path: &str) -> Option<&'static str> {
    let is_inside = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    ROOMS.iter().find(|room| is_inside(room.1)).map(|room| room.0)
}

fn layer_of(room: &str) -> u8 {
    ROOMS.iter().find(|other| other.0 == room).map_or(u8::MAX, |other| other.2)
}

/// Manifests: every dependency on another room, of whatever kind.
pub fn check_manifests(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.is_member) {
        let place = format!("package {}", package.name);
        let Some(room) = room_of_package(&package.name) else {
            findings.push(Finding::error(
                RULE,
                place,
                "has no layer; add it to ROOMS in tools/xtask/src/tidy/layers.rs",
            ));
            continue;
        };
        for dependency in package.declared.iter().filter(|dependency| dependency.is_local) {
            let Some(target) = room_of_package(&dependency.name) else { continue };
            findings.extend(judge(room, target, &place));
        }
    }
    findings
}

/// Sources: every path that begins with the name of a room, as in `use raft::Log` or `raft::Log::new()`.
pub fn check_paths(sources: &[Source]) -> Vec<Finding> {
    let mut by_room: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        if let Some(room) = room_of_path(&source.path) {
            by_room.entry(room).or_default().push((&source.path, strip(&source.text)));
        }
    }
    let mut findings = Vec::new();
    for (room, files) in by_room {
        // A module of the crate's own may have a room's name (`mod store;` in meta).
        let own: BTreeSet<&str> = files.iter().flat_map(|(_, code)| modules(code)).collect();
        for (path, code) in &files {
            for (index, line) in code.lines().enumerate() {
                let targets = ROOMS.iter().map(|other| other.0).filter(|other| *other != room && !own.contains(other));
                for target in targets.filter(|target| begins_path(line, target)) {
                    findings.extend(judge(room, target, &format!("{path}:{}", index + 1)));
                }
            }
        }
    }
    findings
}

fn judge(room: &str, target: &str, place: &str) -> Option<Finding> {
    let (from, to) = (layer_of(room), layer_of(target));
    if from > to {
        return None;
    }
    let direction = if from == to { "its own layer" } else { "a higher layer" };
    let what = format!("{room} [{from}] imports {target} [{to}], which is {direction}; imports only point down");
    Some(Finding::error(RULE, place, what))
}

fn modules(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "mod")?;
        words.get(at + 1).map(|name| name.trim_end_matches([';', '{']))
    })
}

/// True when `name::` stands in `line` at the beginning of a path.
fn begins_path(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].trim_end();
        let touches = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let global = before.strip_suffix("::").is_some_and(|rest| {
            let rest = rest.trim_end();
            rest.is_empty()
                || rest.ends_with(|c: char| !c.is_alphanumeric() && c != '_' && c != '>')
                || rest.ends_with("use")
        });
        let starts = !touches && !before.ends_with('.') && (!before.ends_with("::") || global);
        starts && line[at + name.len()..].trim_start().starts_with("::")
            || starts && before.ends_with("use") && line[at + name.len()..].trim_start().starts_with(';')
    })
}

#[cfg(test)]
mod tests {
    use super::super::dependencies::Declared;
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let declared = dependencies.iter().map(|name| Declared {
            name: (*name).to_owned(),
            is_local: true,
            is_dev: false,
            is_optional: false,
        });
        Package { name: name.to_owned(), is_member: true, declared: declared.collect(), resolved: Vec::new() }
    }

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_manifest_may_name_lower_rooms_only() {
        let good =
            [package("dropstone-shard", &["dropstone-raft", "dropstone-base"]), package("dropstone", &["xtask"])];
        assert!(check_manifests(&good).is_empty());
        let upward = check_manifests(&[package("dropstone-raft", &["dropstone-shard"])]);
        assert!(upward[0].what.contains("raft [1] imports shard [2], which is a higher layer"));
        let same = check_manifests(&[package("dropstone-raft", &["dropstone-seglog"])]);
        assert!(same[0].what.contains("its own layer"));
        assert!(check_manifests(&[package("dropstone-attic", &[])])[0].what.contains("has no layer"));
    }

    #[test]
    fn a_path_may_begin_with_lower_rooms_only() {
        for bad in
            ["use meta::Store;", "pub use seglog::{Disk};", "fn f(x: ::shard::Shard) {}", "use meta;", "use ::meta::X;"]
        {
            assert_eq!(check_paths(&[source("engine/raft/src/lib.rs", bad)]).len(), 1, "{bad}");
        }
        for good in
            ["use base::Term;", "use crate::meta::X;", "// use meta::X", "let s = \"meta::x\";", "self.meta::<u8>()"]
        {
            assert!(check_paths(&[source("engine/raft/src/lib.rs", good)]).is_empty(), "{good}");
        }
    }

    #[test]
    fn a_module_with_a_rooms_name_is_no_import() {
        let files = [source("engine/meta/src/lib.rs", "pub mod store;\npub use store::Row;")];
        assert!(check_paths(&files).is_empty());
    }
}
