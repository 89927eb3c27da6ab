//! How a failure is told: the checker and its claim, what it saw, where and when, what the nodes involved did last, and the
//! command that repeats it.
//!
//! The run is repeated for that: a seed means the same every time, so that runs that do not fail need keep nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;

use base::{GroupId, LogIndex, NodeId, Term};

use crate::caught::run_caught_with;
use crate::claims::claim_of;
use crate::observe::{Checker, Ended, Event, GroupView, Time, Violation};
use crate::run::{Options, Report};

/// Events of the nodes involved that are shown.
const EVENTS_SHOWN: usize = 20;
/// Events at the end of the run among which those are looked for.
const EVENTS_SEARCHED: u64 = 60_000;

/// Whom and what an event is about.
#[derive(Clone, Default, Debug)]
struct Place {
    group: Option<GroupId>,
    term: Option<Term>,
    index: Option<LogIndex>,
    nodes: BTreeSet<NodeId>,
}

impl Place {
    fn of(event: &Event<'_>) -> Place {
        let one = |node: NodeId| BTreeSet::from([node]);
        match event {
            Event::Turn(view) => Place {
                group: Some(view.group),
                term: Some(view.term),
                index: Some(view.commit),
                nodes: one(view.node),
            },
            Event::Sent { from, to, group, .. } | Event::Read { from, to, group, .. } => {
                Place { group: Some(*group), nodes: BTreeSet::from([*from, *to]), ..Place::default() }
            }
            Event::Durable { node, group, term, last_index, .. } => {
                Place { group: Some(*group), term: Some(*term), index: Some(*last_index), nodes: one(*node) }
            }
            Event::Return { ended: Ended::Outcome(_, token) | Ended::Answer(_, token), .. } => Place {
                group: Some(token.group),
                term: Some(token.term),
                index: Some(token.index),
                nodes: one(token.node),
            },
            Event::Boot { node, .. } | Event::Crash { node, .. } | Event::DiskLost { node } => {
                Place { nodes: one(*node), ..Place::default() }
            }
            Event::Content { node, group, applied, .. } | Event::Checkpoint { node, group, applied } => {
                Place { group: Some(*group), index: Some(*applied), nodes: one(*node), ..Place::default() }
            }
            Event::Forgot { node, group, .. } => Place { group: Some(*group), nodes: one(*node), ..Place::default() },
            Event::Stuck { group, .. } => Place { group: Some(*group), ..Place::default() },
            Event::Calm { nodes, .. } => Place { nodes: nodes.iter().copied().collect(), ..Place::default() },
            Event::Return { .. }
            | Event::Invoke { .. }
            | Event::Head { .. }
            | Event::Foreign { .. }
            | Event::Stir
            | Event::Healed
            | Event::End => Place::default(),
        }
    }

    /// Takes in what the checker's own words name first: it knows better than the event at which it spoke.
    fn read(&mut self, text: &str) {
        let mut named = Place::default();
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).peekable();
        while let Some(word) = words.next() {
            let Some(number) = words.peek().and_then(|next| next.parse::<u64>().ok()) else { continue };
            match word.to_ascii_lowercase().as_str() {
                "node" | "nodes" | "nodeid" | "leader" => {
                    self.nodes.insert(NodeId(number));
                }
                "group" | "groupid" => named.group = named.group.or(u32::try_from(number).ok().map(GroupId)),
                "entry" | "index" | "logindex" => named.index = named.index.or(Some(LogIndex(number))),
                "term" => named.term = named.term.or(Some(Term(number))),
                _ => {}
            }
        }
        self.nodes.remove(&NodeId(0));
        self.group = named.group.or(self.group);
        self.index = named.index.or(self.index);
        self.term = named.term.or(self.term);
    }
}

/// What was seen of the run that fails.
#[derive(Default)]
struct Seen {
    /// The event at which a checker spoke first.
    place: Option<Place>,
    /// The last look at each group of each node.
    last: BTreeMap<(GroupId, NodeId), String>,
}

/// Stands before a checker and notes when it speaks.
struct Witness {
    inner: Box<dyn Checker>,
    seen: Rc<RefCell<Seen>>,
}

impl Checker for Witness {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        let verdict = self.inner.observe(at, event);
        if verdict.is_err() {
            self.seen.borrow_mut().place.get_or_insert_with(|| Place::of(event));
        }
        verdict
    }
}

/// Looks at every group, and claims nothing.
struct Looker {
    seen: Rc<RefCell<Seen>>,
}

impl Checker for Looker {
    fn name(&self) -> &'static str {
        "looker"
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        for view in event.views() {
            self.seen.borrow_mut().last.insert((view.group, view.node), describe(at, view));
        }
        Ok(())
    }
}

fn describe(at: Time, view: &GroupView<'_>) -> String {
    format!(
        "{:?} of term {}, log {} to {}, persisted {}, commit {}, applied {}, at {:.6} s",
        view.role,
        view.term,
        view.log.first_index(),
        view.log.last_index(),
        view.persisted,
        view.commit,
        view.applied,
        seconds(at.0)
    )
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The seat, by number, that a line of the trace is about; two for a link.
fn seats_of(line: &str) -> [Option<usize>; 2] {
    let rest = line.trim_start().split_once(' ').map_or("", |(_, rest)| rest).trim_start();
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let number = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        text[..digits].parse::<usize>().ok()
    };
    match word {
        // Turns and ends of operations would crowd out all that is of interest.
        "Turn" | "Op" => [None; 2],
        "Link" => [number(after), after.split_once(" and ").and_then(|(_, other)| number(other))],
        "Start" | "Crash" | "DiskLost" => [number(after), None],
        // `PROC3 on 2: ...` strikes a seat; those of the network and of members strike everybody.
        "Fault" if !after.starts_with("NET") && !after.starts_with("CTL1") => {
            [after.split_once(" on ").and_then(|(_, seat)| number(seat)), None]
        }
        _ => [number(word), None],
    }
}

/// Tells of the failure in `report`, which the seed gives under `options`; `again` is the command that repeats it. Empty
/// when the run did not fail.
#[must_use]
pub fn tell(report: &Report, options: &Options, again: &str) -> String {
    let Some(violation) = &report.violation else { return String::new() };
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut checkers: Vec<Box<dyn Checker>> = Vec::new();
    for inner in options.checkers() {
        checkers.push(Box::new(Witness { inner, seen: seen.clone() }));
    }
    checkers.push(Box::new(Looker { seen: seen.clone() }));
    let end = report.traced;
    let wanted = Options { wanted_events: Some(end.saturating_sub(EVENTS_SEARCHED)..end + 1), ..options.clone() };
    let repeated = run_caught_with(report.seed, &Options { print: false, ..wanted }, &mut checkers);
    drop(checkers);
    let Seen { place, last } = seen.take();
    let mut place = place.unwrap_or_default();
    place.read(&violation.what);
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    line(format!("VIOLATION {} at {:.6} s of seed {}", violation.checker, seconds(report.simulated_ns), report.seed));
    line(format!("  claim: {}", claim_of(violation.checker)));
    line(format!("  saw:   {}", violation.what));
    line(format!("  where: {}", place_line(&place)));
    for ((group, node), state) in &last {
        if place.group.is_none_or(|wanted| wanted == *group) && (place.nodes.is_empty() || place.nodes.contains(node)) {
            line(format!("         node {node}, group {group}: {state}"));
        }
    }
    let is_involved =
        |seat: &usize| place.nodes.is_empty() || report.nodes.get(*seat).is_some_and(|node| place.nodes.contains(node));
    let mut events: Vec<&String> =
        repeated.text.iter().filter(|line| seats_of(line).iter().flatten().any(is_involved)).collect();
    events.drain(..events.len().saturating_sub(EVENTS_SHOWN));
    line(format!("  the last {} events of these nodes, by seat:", events.len()));
    events.iter().for_each(|event| line(format!("    {event}")));
    if repeated.violation.as_ref() != Some(violation) {
        line("  a second run of the seed ended otherwise: the simulator is not deterministic here".to_owned());
    }
    line(format!("  again: {again}"));
    out
}

fn place_line(place: &Place) -> String {
    let number = |name: &str, number: Option<u64>| number.map(|number| format!("{name} {number}"));
    let nodes: Vec<String> = place.nodes.iter().map(|node| node.0.to_string()).collect();
    let parts = [
        number("group", place.group.map(|group| u64::from(group.0))),
        number("term", place.term.map(|term| term.0)),
        number("index", place.index.map(|index| index.0)),
        (!nodes.is_empty()).then(|| format!("nodes {}", nodes.join(", "))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "the whole cluster".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn the_words_of_a_checker_say_where() {
        let mut place = Place { index: Some(LogIndex(3)), ..Place::default() };
        place.read("node 3, group 2: entry 17 of term 4 is not that of node 5; Token { group: GroupId(1) }");
        assert_eq!(place_line(&place), "group 2, term 4, index 17, nodes 3, 5");
        assert_eq!(place_line(&Place::default()), "the whole cluster");
    }

    #[test]
    fn lines_of_the_trace_belong_to_seats() {
        let of = |line: &str| seats_of(line).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(of("    1.500000 Turn 2.1: 1 in the mail"), Vec::<usize>::new());
        assert_eq!(of("    1.500000     2.1 reads of node 3: Heartbeat"), [2]);
        assert_eq!(of("    1.500000     4 to node 3, group 1: Heartbeat"), [4]);
        assert_eq!(of("    1.500000 Link 1 and 3, core 0: up"), [1, 3]);
        assert_eq!(of("    1.500000 Fault PROC3 on 2: 5 6"), [2]);
        assert_eq!(of("    1.500000 Fault NET9 on 0: 5 6"), Vec::<usize>::new());
        assert_eq!(of("    1.500000 Fault DISK9 on 1: 5 6"), [1]);
        assert_eq!(of("    1.500000 Crash 3: node 4 is killed"), [3]);
    }

    /// Fails at the first look at a group of node 2 after a while.
    struct Picky;

    impl Checker for Picky {
        fn name(&self) -> &'static str {
            "leader"
        }

        fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
            match event {
                Event::Turn(view) if at.0 > 3_000_000_000 && view.node == NodeId(2) => {
                    Err(Violation { checker: "leader", what: "so it is".to_owned() })
                }
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn a_failure_is_told_whole() {
        let mut options = Options::new(Profile::Dense);
        options.size.length_ms = Some(5000);
        let report = run_caught_with(1, &options, &mut [Box::new(Picky)]);
        assert!(report.violation.is_some());
        let text = tell(&report, &options, "dropstone sim run 1");
        // Without the checker that failed, nothing fails: that is said too.
        let wanted = [
            "VIOLATION leader at 3.",
            "claim: two seconds",
            "saw:   so it is",
            "not deterministic",
            "again: dropstone",
        ];
        for part in wanted {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert!(text.contains(&format!("the last {EVENTS_SHOWN} events")), "{text}");
    }
}
