//! Changes of the members: every case is one [`Config::change`] or [`Config::leave`], and its end state is compared.
//!
//! Ours is always joint and leaves by itself: `simple` is a change and its leaving in one go. Compared are voters of both
//! halves, learners, next learners and who is a learner among the members; match and next of the printed progress are
//! not, since our configuration holds none (the leader's peers do, and keep them, see `tests/paper/membership.rs`).

use base::NodeId;
use raft::{ChangeError, Config, ConfigChange};

use crate::script::{Case, load};
use crate::{config, nodes};

/// Where our answer is another one, on purpose: place, ours, why. The state goes on as theirs does.
const DIFFERENCES: [(&str, &str, &str); 5] = [
    ("joint_safety.txt:9", "voters=(1)", NO_GROUP),
    (
        "joint_safety.txt:25",
        "nothing would change",
        "a change that changes nothing is refused before it costs two entries",
    ),
    ("simple_safety.txt:20", "voters=(2 5) learners=(3)", TWO_AT_ONCE),
    ("simple_safety.txt:30", "voters=(1 2 3 4)", TWO_AT_ONCE),
    ("simple_safety.txt:35", "voters=(2 5) learners=(1 3)", TWO_AT_ONCE),
];

const NO_GROUP: &str =
    "a node without voters never leads, so no change is ever asked of it; the arithmetic goes through";
const TWO_AT_ONCE: &str = "every change of ours is joint, so several voters may change in one";

/// The operations of a case as one change. There, they are made in order and the last word on a node holds; zero, an
/// update, and the removal of a stranger say nothing. Ours names each node once, and refuses the rest (`config.rs`).
fn change(config: &Config, case: &Case) -> ConfigChange {
    let mut last: Vec<(u64, &str)> = Vec::new();
    for word in &case.input {
        let (verb, id) = word.split_at(1);
        let id: u64 = id.parse().expect("a node id");
        if id != 0 && verb != "u" {
            last.retain(|(node, _)| *node != id);
            last.push((id, verb));
        }
    }
    let named = |verb: &str| nodes(&last.iter().filter(|op| op.1 == verb).map(|op| op.0).collect::<Vec<_>>());
    let mut remove = named("r");
    remove.retain(|id| config.is_member(*id));
    ConfigChange { add_voters: named("v"), add_learners: named("l"), remove }
}

/// Our answer and the state after it, in their words.
fn answer(state: &Config, case: &Case) -> Result<Config, &'static str> {
    let changed = match case.directive.as_str() {
        // The core asks this before it leaves (`membership.rs`); leaving itself cannot fail.
        "leave-joint" if !state.is_joint() => {
            assert_eq!(&state.leave(), state, "{}: nothing is left", case.place);
            return Err("can't leave a non-joint config");
        }
        "leave-joint" => return Ok(state.leave()),
        "simple" | "enter-joint" => state.change(&change(state, case)),
        other => panic!("{}: unknown directive {other}", case.place),
    };
    let is_simple = case.directive == "simple";
    match changed {
        Ok(joint) if is_simple => Ok(joint.leave()),
        Ok(joint) => Ok(joint),
        Err(_) if state.is_joint() && is_simple => Err("can't apply simple config change in joint config"),
        Err(_) if state.is_joint() => Err("config is already joint"),
        Err(ChangeError::NoVoter) if is_simple => Err("removed all voters"),
        Err(ChangeError::NoVoter) => Err("can't make a zero-voter config joint"),
        // A simple change that changes nothing ends where it began.
        Err(ChangeError::Same) if is_simple => Ok(state.clone()),
        Err(ChangeError::Same) => Err("nothing would change"),
        Err(error) => panic!("{}: refused: {error}", case.place),
    }
}

fn ids(list: &[NodeId]) -> String {
    list.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ")
}

/// A configuration in their words, without `autoleave`.
fn describe(config: &Config) -> String {
    let mut out = format!("voters=({})", ids(config.incoming()));
    if config.is_joint() {
        out += &format!("&&({})", ids(config.outgoing()));
    }
    for (name, list) in [("learners", config.learners()), ("learners_next", config.learners_next())] {
        if !list.is_empty() {
            out += &format!(" {name}=({})", ids(list));
        }
    }
    out
}

/// The members in their words, without match and next.
fn describe_members(config: &Config) -> Vec<String> {
    let mut members: Vec<NodeId> = config.members().collect();
    members.sort_unstable();
    let learns = |id: &NodeId| if config.learners().contains(id) { " learner" } else { "" };
    members.iter().map(|id| format!("{}:{}", id.0, learns(id))).collect()
}

/// One file. Returns the differences found.
fn replay(cases: &[Case]) -> Vec<(String, String)> {
    let mut state = Config::default();
    let mut differences = Vec::new();
    for case in cases {
        let answer = answer(&state, case);
        let (first, members) = case.expected.split_first().expect("every case expects something");
        let expected = first.trim_end_matches(" autoleave");
        let ours = answer.as_ref().map_or_else(|error| (*error).to_string(), describe);
        if ours == expected {
            if let Ok(config) = answer {
                assert_eq!(config.auto_leave(), config.is_joint(), "{}: ours always leaves by itself", case.place);
                let theirs = members.iter().map(|line| {
                    let (id, rest) = line.split_once(':').expect("id: progress");
                    format!("{id}:{}", if rest.ends_with(" learner") { " learner" } else { "" })
                });
                assert_eq!(describe_members(&config), theirs.collect::<Vec<_>>(), "{}: members", case.place);
                assert_eq!(Config::decode(&config.encode()).as_ref(), Ok(&config), "{}: its bytes", case.place);
                state = config;
            }
            continue;
        }
        println!("{}: ours is {ours}, there it is {expected}", case.place);
        differences.push((case.place.clone(), ours));
        // The one state of theirs that no change of ours leads to: twice the same half.
        if expected == "voters=(1)&&(1)" {
            state = config(&[1], &[1]);
        }
    }
    differences
}

#[test]
fn members_change_as_in_the_corpus() {
    let Some(files) = load("members_change_as_in_the_corpus", "confchange") else { return };
    assert_eq!(files.len(), 9, "files of the corpus");
    let differences: Vec<_> = files.iter().flat_map(|(_, cases)| replay(cases)).collect();
    let listed: Vec<_> =
        DIFFERENCES.iter().map(|(place, ours, _)| ((*place).to_string(), (*ours).to_string())).collect();
    assert_eq!(differences, listed, "the table of differences is not what differs");
    assert_eq!(files.iter().map(|(_, cases)| cases.len()).sum::<usize>(), 58, "cases in the corpus");
}
