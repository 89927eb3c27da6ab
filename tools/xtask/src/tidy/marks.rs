//! Marks and seeded bugs: every mark has one place and is in the simulator's list; every seeded bug has a place.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::room_of_path;
use super::{Finding, Source};

/// All marks, one a line, for the simulator's report of those that it never reached.
pub const LIST: &str = "tools/sim/marks.txt";
/// Those that no run of the simulator can reach: `name: reason` a line.
pub const UNREACHED: &str = "tools/sim/marks-unreached.txt";
const MUTATIONS: &str = "engine/base/src/mutations.rs";

/// Runs every rule of this file.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = check_marks(sources);
    findings.extend(check_unreached(sources));
    findings.extend(check_mutations(sources));
    findings
}

/// The text that [`LIST`] must have.
pub fn list(sources: &[Source]) -> String {
    places(sources, "mark::hit!(\"").into_keys().map(|name| name + "\n").collect()
}

fn check_marks(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, places) in places(sources, "mark::hit!(\"") {
        let error = |what: String| Finding::error("mark", places[0].clone(), what);
        if places.len() > 1 {
            findings.push(error(format!("`{name}` stands at {} too; a mark has one place", places[1..].join(", "))));
        }
        let room = room_of_path(&places[0]).unwrap_or_default();
        if name.split('.').count() != 3 || name.split('.').next() != Some(room) || name.contains(char::is_whitespace) {
            findings.push(error(format!("`{name}` is no `room.place.what` of room `{room}`")));
        }
    }
    let listed = sources.iter().find(|source| source.path == LIST).map_or("", |source| source.text.as_str());
    if listed != list(sources) {
        findings.push(Finding::error("mark", LIST, "is not the list of the code's marks; run `cargo xtask marks`"));
    }
    findings
}

/// Each mark that is excused is one, and has a reason.
fn check_unreached(sources: &[Source]) -> Vec<Finding> {
    let marks = places(sources, "mark::hit!(\"");
    let text = sources.iter().find(|source| source.path == UNREACHED).map_or("", |source| source.text.as_str());
    let is_good = |line: &&str| {
        line.split_once(": ").is_some_and(|(name, reason)| marks.contains_key(name) && !reason.trim().is_empty())
    };
    let bad = text.lines().filter(|line| !is_good(line));
    bad.map(|line| Finding::error("mark", UNREACHED, format!("`{line}` is no `name of a mark: reason`"))).collect()
}

fn check_mutations(sources: &[Source]) -> Vec<Finding> {
    let used = places(sources, "mutate!(MUT_");
    let text = sources.iter().find(|source| source.path == MUTATIONS).map_or("", |source| source.text.as_str());
    let listed: BTreeSet<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("MUT_")).map(word).collect();
    let unknown = used.iter().filter(|(name, _)| !listed.contains(name.as_str()));
    let mut findings: Vec<Finding> = unknown
        .map(|(name, places)| {
            Finding::error("mutation", places[0].clone(), format!("`MUT_{name}` is not in {MUTATIONS}"))
        })
        .collect();
    let idle = listed.iter().filter(|name| !used.contains_key(**name));
    findings.extend(idle.map(|name| {
        Finding::error(
            "mutation",
            MUTATIONS,
            format!("`MUT_{name}` stands nowhere in the code; place it or take it out"),
        )
    }));
    findings
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

/// What follows `opening` in the rooms' code up to the next `"`, `,` or space, with the places where it stands.
fn places(sources: &[Source], opening: &str) -> BTreeMap<String, Vec<String>> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let is_code = |source: &&Source| source.path.ends_with(".rs") && !source.path.starts_with("tools/xtask/");
    for source in sources.iter().filter(is_code) {
        // rustfmt breaks a long `mutate!(` after its parenthesis.
        let text: String = source.text.replace("mutate!(\n", "mutate!(");
        let mut lines = 0;
        for (at, _) in text.match_indices("mutate!(").filter(|_| opening.starts_with("mutate")) {
            let rest = text[at + "mutate!(".len()..].trim_start();
            if let Some(name) = rest.strip_prefix("MUT_").map(word)
                && source.path != MUTATIONS
            {
                places.entry(name.to_owned()).or_default().push(source.path.clone());
            }
        }
        for line in source.text.lines() {
            lines += 1;
            let is_comment = line.trim_start().starts_with("//");
            if let Some((_, rest)) = line.split_once(opening).filter(|_| !is_comment && opening.starts_with("mark")) {
                let name = rest.split('"').next().unwrap_or_default();
                places.entry(name.to_owned()).or_default().push(format!("{}:{lines}", source.path));
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn rules(sources: &[Source]) -> Vec<String> {
        check(sources).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_mark_has_one_place_a_good_name_and_a_line_in_the_list() {
        let good = source("engine/raft/src/a.rs", "mark::hit!(\"raft.vote.forced\");\n");
        let listed = source(LIST, "raft.vote.forced\n");
        assert_eq!(rules(&[good.clone(), listed.clone()]), Vec::<String>::new());
        assert_eq!(rules(std::slice::from_ref(&good)).len(), 1);
        let twice = source("engine/raft/src/b.rs", "\n  mark::hit!(\"raft.vote.forced\");\n");
        assert!(rules(&[good, twice, listed])[0].contains("engine/raft/src/b.rs:2"));
        let foreign = source("engine/meta/src/a.rs", "mark::hit!(\"raft.vote.forced\");\n");
        assert_eq!(rules(&[foreign, source(LIST, "raft.vote.forced\n")]).len(), 1);
    }

    #[test]
    fn an_excuse_names_a_mark_and_a_reason() {
        let code = source("engine/raft/src/a.rs", "mark::hit!(\"raft.vote.forced\");\n");
        let listed = source(LIST, "raft.vote.forced\n");
        let excused = |text: &str| rules(&[code.clone(), listed.clone(), source(UNREACHED, text)]);
        assert_eq!(excused("raft.vote.forced: nobody is forced\n"), Vec::<String>::new());
        assert!(excused("raft.vote.forced: \n")[0].contains("reason"));
        assert!(excused("raft.vote.gone: nobody is forced\n")[0].contains("raft.vote.gone"));
    }

    #[test]
    fn every_seeded_bug_is_listed_and_placed() {
        let list = source(MUTATIONS, "mutations! {\n    MUT_1A \"1a\" \"what\" [\"x\"]\n}\n");
        let place = source("engine/raft/src/a.rs", "let x = mutate!(\n    MUT_1A,\n    1,\n    2\n);\n");
        let marks = source(LIST, "");
        assert_eq!(rules(&[list.clone(), place.clone(), marks.clone()]), Vec::<String>::new());
        assert!(rules(&[list, marks.clone()])[0].contains("stands nowhere"));
        assert!(rules(&[place, marks])[0].contains("is not in"));
    }
}
