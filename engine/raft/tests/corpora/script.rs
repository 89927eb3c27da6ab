//! The language of the cases: a directive, its arguments, lines of input, `----`, the expected text, an empty line.

use std::path::Path;

/// One case of a file.
pub struct Case {
    /// `file:line` of the directive.
    pub place: String,
    pub directive: String,
    pub arguments: Vec<(String, Vec<String>)>,
    /// The words between the directive and the dashes.
    pub input: Vec<String>,
    /// The lines after the dashes.
    pub expected: Vec<String>,
}

impl Case {
    /// The values of an argument; none when it is absent.
    pub fn argument(&self, name: &str) -> &[String] {
        self.arguments.iter().find(|(key, _)| key == name).map_or(&[], |(_, values)| values)
    }

    /// Its values as node ids.
    pub fn ids(&self, name: &str) -> Vec<u64> {
        self.argument(name).iter().map(|id| id.parse().expect("a node id")).collect()
    }
}

/// The cases of `folder`, by file. `None`, said aloud, where the corpora are not on this machine.
pub fn load(test: &str, folder: &str) -> Option<Vec<(String, Vec<Case>)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/etcd-raft").join(folder);
    let Ok(entries) = std::fs::read_dir(&root) else {
        eprintln!("SKIPPED {test}: no folder ../shared/corpora/etcd-raft/{folder} beside the project");
        return None;
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder").file_name().into_string().expect("a plain name"))
        .filter(|name| name.ends_with(".txt"))
        .collect();
    names.sort_unstable();
    let parse = |name: String| {
        let text = std::fs::read_to_string(root.join(&name)).expect("a readable file");
        let cases = parse(&name, &text);
        (name, cases)
    };
    Some(names.into_iter().map(parse).collect())
}

fn parse(name: &str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (directive, rest) = line.split_once(' ').unwrap_or((line, ""));
        let input = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "----");
        let input = input.flat_map(str::split_whitespace).map(String::from).collect();
        let expected = lines.by_ref().map(|(_, line)| String::from(line)).take_while(|line| !line.is_empty());
        cases.push(Case {
            place: format!("{name}:{}", at + 1),
            directive: directive.to_string(),
            arguments: arguments(rest),
            expected: expected.collect(),
            input,
        });
    }
    cases
}

/// `key=value` or `key=(value, value)`, apart by spaces.
fn arguments(mut rest: &str) -> Vec<(String, Vec<String>)> {
    let mut arguments = Vec::new();
    while let Some((key, after)) = rest.trim_start().split_once('=') {
        let (values, tail) = match after.strip_prefix('(') {
            Some(list) => list.split_once(')').expect("a list is closed"),
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        let values = values.split(',').map(|value| value.trim().to_string()).filter(|value| !value.is_empty());
        arguments.push((key.to_string(), values.collect()));
        rest = tail;
    }
    assert!(rest.trim().is_empty(), "unread arguments: {rest}");
    arguments
}

#[test]
fn a_case_is_read_with_its_lists_and_its_lines() {
    let cases = parse("t", "# why\n\nvote cfg=(1, 2) cfgj=zero\na b\nc\n----\nx\n  y\n\nlast\n----\nz");
    assert_eq!(cases.len(), 2);
    assert_eq!((cases[0].place.as_str(), cases[0].ids("cfg")), ("t:3", vec![1, 2]));
    assert_eq!(cases[0].argument("cfgj"), ["zero"]);
    assert_eq!(
        (cases[0].input.join(" "), &cases[0].expected[..]),
        ("a b c".into(), &["x".into(), "  y".to_string()][..])
    );
    assert_eq!((cases[1].directive.as_str(), cases[1].expected.join("")), ("last", "z".into()));
}
