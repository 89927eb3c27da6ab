//! Committed index and result of a vote, for one half and for two. Every line of the expected text is compared.

use std::fmt::Write;

use base::{LogIndex, NodeId};
use raft::testing::{poll, reached};

use crate::config;
use crate::script::{Case, load};

/// Where our answer is another one, on purpose: place, ours, why.
const DIFFERENCES: [(&str, &str, &str); 3] = [
    ("joint_vote.txt:4", "VoteLost", NOBODY),
    ("majority_commit.txt:3", "nothing", "nobody has reached anything; there, every index counts as reached"),
    ("majority_vote.txt:2", "VoteLost", NOBODY),
];

const NOBODY: &str = "a configuration without voters elects nobody: it is that of a node that was not told its group";

/// The answers of a case, by node: unknown ones are `_`. Nodes are numbered as they are first named, the old half last.
fn answers<T>(case: &Case, name: &str, parse: impl Fn(&str) -> T) -> Vec<(u64, Option<T>)> {
    let mut ids = case.ids("cfg");
    let outgoing = outgoing(case);
    ids.extend(outgoing.iter().filter(|id| !case.ids("cfg").contains(id)));
    let values = case.argument(name);
    assert!(values.len() == ids.len(), "{}: {} answers of {} nodes", case.place, values.len(), ids.len());
    let known = values.iter().map(|value| (value != "_").then(|| parse(value)));
    ids.into_iter().zip(known).collect()
}

fn outgoing(case: &Case) -> Vec<u64> {
    if case.argument("cfgj") == ["zero"] { Vec::new() } else { case.ids("cfgj") }
}

fn find<T: Copy>(answers: &[(u64, Option<T>)], id: NodeId) -> Option<T> {
    answers.iter().find(|(node, _)| *node == id.0).and_then(|(_, answer)| *answer)
}

/// What any majority of `half` holds at least, found by trying all subsets; `None` for a half without voters.
fn committed_by_subsets(half: &[u64], index: impl Fn(u64) -> u64) -> Option<u64> {
    let is_majority = |set: &u32| 2 * set.count_ones() as usize > half.len();
    let least = |set: u32| half.iter().enumerate().filter(|(at, _)| set & 1 << at != 0).map(|(_, id)| index(*id)).min();
    (0..1_u32 << half.len()).filter(is_majority).filter_map(least).max()
}

/// Can the missing answers still win, and can they still lose? Found by trying all of them.
fn poll_by_completions(halves: [&[u64]; 2], votes: &[(u64, Option<bool>)]) -> Option<bool> {
    let wins = |set: u32| {
        let says_yes = |id: u64| {
            let at = votes.iter().position(|(node, _)| *node == id).expect("a voter has a place");
            votes[at].1.unwrap_or(set & 1 << at != 0)
        };
        let half_wins = |half: &&[u64]| 2 * half.iter().filter(|id| says_yes(**id)).count() > half.len();
        halves.iter().filter(|half| !half.is_empty()).all(half_wins)
    };
    let outcomes: Vec<bool> = (0..1_u32 << votes.len()).map(wins).collect();
    if outcomes.iter().all(|won| *won) {
        Some(true)
    } else if outcomes.iter().any(|won| *won) {
        None
    } else {
        Some(false)
    }
}

/// The picture of a case: a bar as long as the number of nodes that are strictly behind.
fn draw(answers: &[(u64, Option<u64>)]) -> String {
    let mut nodes = answers.to_vec();
    nodes.sort_unstable();
    let count = nodes.len();
    let mut out = format!("{:count$}    idx\n", "");
    for (id, index) in &nodes {
        let behind = nodes.iter().filter(|(_, other)| other.unwrap_or(0) < index.unwrap_or(0)).count();
        let bar = if index.is_some() { format!("{}>", "x".repeat(behind)) } else { "?".into() };
        let _ = writeln!(out, "{bar:width$} {:5}    (id={id})", index.unwrap_or(0), width = count + 1);
    }
    out
}

fn committed(case: &Case) -> String {
    let answers = answers(case, "idx", |index| index.parse::<u64>().expect("an index"));
    let (incoming, outgoing) = (case.ids("cfg"), outgoing(case));
    let index = |id: NodeId| LogIndex(find(&answers, id).unwrap_or(0));
    let ours = reached(&config(&incoming, &outgoing), index);
    if !incoming.is_empty() {
        let same = config(&incoming, &incoming);
        assert_eq!(
            reached(&same, index),
            reached(&config(&incoming, &[]), index),
            "{}: twice the same half",
            case.place
        );
    }
    if !outgoing.is_empty() {
        assert_eq!(reached(&config(&outgoing, &incoming), index), ours, "{}: the halves have no order", case.place);
    }
    let by_subsets = |half| committed_by_subsets(half, |id| index(NodeId(id)).0);
    let counted = match (by_subsets(&incoming), by_subsets(&outgoing)) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    assert_eq!(ours.map(|index| index.0), counted, "{}: the count by all subsets", case.place);
    ours.map_or("nothing".into(), |index| format!("{}{}", draw(&answers), index.0))
}

fn vote(case: &Case) -> String {
    let answers = answers(case, "votes", |vote| vote == "y");
    let (incoming, outgoing) = (case.ids("cfg"), outgoing(case));
    let vote = |id| find(&answers, id);
    let ours = poll(&config(&incoming, &outgoing), vote);
    if !incoming.is_empty() {
        let counted = poll_by_completions([&incoming, &outgoing], &answers);
        assert_eq!(ours, counted, "{}: the count by all completions", case.place);
        let same = config(&incoming, &incoming);
        assert_eq!(poll(&same, vote), poll(&config(&incoming, &[]), vote), "{}: twice the same half", case.place);
    }
    if !outgoing.is_empty() {
        assert_eq!(poll(&config(&outgoing, &incoming), vote), ours, "{}: the halves have no order", case.place);
    }
    let name = match ours {
        Some(true) => "VoteWon",
        Some(false) => "VoteLost",
        None => "VotePending",
    };
    name.into()
}

#[test]
fn quorums_commit_and_elect_as_in_the_corpus() {
    let Some(files) = load("quorums_commit_and_elect_as_in_the_corpus", "quorum") else { return };
    assert_eq!(
        files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["joint_commit.txt", "joint_vote.txt", "majority_commit.txt", "majority_vote.txt"]
    );
    let mut differences = Vec::new();
    let mut count = 0;
    for case in files.iter().flat_map(|(_, cases)| cases) {
        let ours = match case.directive.as_str() {
            "committed" => committed(case),
            "vote" => vote(case),
            other => panic!("{}: unknown directive {other}", case.place),
        };
        count += 1;
        if ours != case.expected.join("\n") {
            println!("{}: ours is {ours}, there it is {}", case.place, case.expected.join("\n"));
            differences.push((case.place.as_str(), ours));
        }
    }
    let listed: Vec<_> = DIFFERENCES.iter().map(|(place, ours, _)| (*place, (*ours).to_string())).collect();
    assert_eq!(differences, listed, "the table of differences is not what differs");
    assert_eq!(count, 127, "cases in the corpus");
}
