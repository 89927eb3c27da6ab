//! Claim: every acknowledged outcome and every replica's state are those of the committed log run on one plain machine,
//! whose invariants hold, and which does what a naive tree of paths does.

use std::collections::{BTreeMap, BTreeSet};

use base::{Acct, GroupId, LogIndex, NodeId, Nsid, Sequence, SessionId, Term};
use meta::payload::Commands;
use meta::{Answer, At, Command, Outcome, Query, decode_command};

use super::committed::Committed;
use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::linear::batch::{self, is_about_content};
use crate::linear::replay::Replay;
use crate::linear::tree::{Expected, Thing, Tree, has_paths};
use crate::observe::{Checker, Ended, Event, GroupView, Time, Token, Violation, Wants};

const NAME: &str = "model";

/// The trees of one group, which know nothing of the machine: it is held against them.
#[derive(Default)]
struct Trees {
    of: BTreeMap<Nsid, Tree>,
    /// Executed once; what comes again changes nothing.
    done: BTreeSet<(SessionId, Sequence)>,
    /// The first outcome of the machine that is another one.
    wrong: Option<String>,
    /// The group's time.
    stamp_ms: u64,
}

impl Trees {
    /// The machine says that the command came to `outcome`.
    fn note(&mut self, index: LogIndex, stamp_ms: u64, command: Option<&[u8]>, outcome: &[u8]) {
        let Some(Ok((header, command))) = command.map(decode_command) else { return };
        let Ok(outcome) = Outcome::decode(outcome) else { return };
        let is_again = header.session != SessionId(0) && self.done.contains(&(header.session, header.sequence));
        if is_again {
            return;
        }
        if is_refusal(&outcome) {
            if outcome == Outcome::Malformed && has_paths(&command) {
                self.wrong
                    .get_or_insert_with(|| format!("entry {index}: {command:?} makes sense, and came to {outcome:?}"));
            }
            return;
        }
        self.done.insert((header.session, header.sequence));
        self.stamp_ms = self.stamp_ms.max(stamp_ms);
        let tree = self.of.get_mut(&header.nsid).filter(|tree| tree.may_use(header.acct));
        let again = tree.and_then(|tree| tree.again(header.acct, &command, &outcome, self.stamp_ms));
        let expected = match (&command, self.of.get_mut(&header.nsid)) {
            (Command::Register { .. }, _) => return,
            (Command::NamespaceInit { kind, owner, grant_bytes }, None) if outcome == Outcome::Done => {
                self.of.insert(header.nsid, Tree::of_kind(*kind, *owner, *grant_bytes));
                return;
            }
            (Command::NamespaceInit { .. }, _) => return,
            _ if is_beside_trees(&command) => return,
            (_, Some(_)) if let Some(told) = again => told,
            // About blocks and room, of which the tree knows nothing: nothing was changed.
            (_, Some(_)) if is_about_content(&outcome) => return,
            (Command::SessionFinish(_), Some(_)) if is_about_session(&outcome) => return,
            (_, Some(_)) if is_attested(&command) && outcome == Outcome::NotFound => return,
            (Command::Restore(restore), Some(tree))
                if outcome == Outcome::NotFound && tree.may_be_trimmed(restore.rev) =>
            {
                return;
            }
            (Command::CommitBatch(batch), Some(tree)) if tree.things().is_some() => {
                if let Err(expected) = batch::run(tree, header.acct, batch, &outcome) {
                    self.wrong.get_or_insert_with(|| {
                        format!("entry {index}: {batch:?} came to {outcome:?}, and a naive tree says {expected}")
                    });
                }
                return;
            }
            (Command::SetAttr(attr), Some(tree)) => tree.set_attr(header.acct, attr, &outcome),
            (_, Some(tree)) => tree.run(header.acct, &command),
            (_, None) if header.acct == Acct(0) => return,
            (_, None) => Expected::Other(Outcome::NoAccess),
        };
        if !expected.is_met_by(&outcome) {
            self.wrong.get_or_insert_with(|| {
                format!("entry {index}: {command:?} came to {outcome:?}, and a naive tree says {expected:?}")
            });
        }
    }

    /// What the machine lists at the end is what the trees hold.
    fn check_end(&self, group: GroupId, replay: &Replay) -> Result<(), Violation> {
        for (nsid, tree) in &self.of {
            let (Some(head), Some(wanted)) = (tree.head(), tree.things()) else { continue };
            let (mut listed, mut position) = (BTreeMap::new(), Vec::new());
            loop {
                let page = Query::ListPage { at: At::path(""), recursive: true, position, limit: 0 };
                let answer = replay.answer(Acct(0), *nsid, &page);
                let Answer::Page { entries, next, head: told } = answer else {
                    ensure!(NAME, false, "group {group} namespace {nsid}: a listing was answered with {answer:?}");
                    return Ok(());
                };
                ensure!(
                    NAME,
                    told == head,
                    "group {group} namespace {nsid}: head {told}, and a naive tree's is {head}"
                );
                listed.extend(entries.iter().map(|entry| (entry.path_lower(), Thing::of(&entry.meta))));
                match next {
                    Some(next) => position = next,
                    None => break,
                }
            }
            let other = listed.iter().find(|(path, thing)| wanted.get(*path) != Some(thing));
            let missing = wanted.keys().find(|path| !listed.contains_key(*path));
            ensure!(
                NAME,
                other.is_none() && missing.is_none(),
                "group {group} namespace {nsid}: the machine lists {other:?} and not {missing:?}, against a naive tree"
            );
        }
        Ok(())
    }
}

/// The upload session is over, its bytes are others, or it was sent on elsewhere: the tree knows of none, and nothing was
/// changed.
fn is_about_session(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::NotFound | Outcome::IncorrectOffset { .. } | Outcome::Closed | Outcome::Elsewhere { .. })
}

/// Is this no business of trees: kept beside them, or in group 0?
fn is_beside_trees(command: &Command) -> bool {
    matches!(
        command,
        Command::Link(_)
            | Command::Group0(_)
            | Command::AccountPut { .. }
            | Command::ServerPut(_)
            | Command::NodePut(_)
    )
}

/// A put in the name of an upload: its staged list may be over.
fn is_attested(command: &Command) -> bool {
    match command {
        Command::CommitFile(commit) => commit.attested.is_some(),
        Command::StoreAndCommit(both) => both.commit.attested.is_some(),
        _ => false,
    }
}

/// The session did not let the command through.
fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::SessionGone | Outcome::Acknowledged | Outcome::TooLarge | Outcome::Malformed)
}

/// One group, run again as its log is committed.
#[derive(Default)]
struct Group {
    committed: Committed,
    replay: Option<Replay>,
    trees: Trees,
    /// By index from 1: the term, the state's hash behind the entry, and where its outcomes end in `ends`.
    entries: Vec<(Term, u64, usize)>,
    /// Where each outcome ends in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
    /// Acknowledged before the entry could be seen.
    waiting: Vec<(Token, Vec<u8>)>,
}

impl Group {
    fn follow(&mut self, view: &GroupView<'_>) {
        let Group { committed, replay, trees, entries, ends, bytes, .. } = self;
        let replay = replay.get_or_insert_with(|| Replay::new(view.group));
        committed.follow(view, |index, term, payload| {
            let applied = replay.apply(index, term, payload);
            let mut commands = Commands::parse(payload);
            let stamp_ms = commands.stamp_ms();
            for outcome in applied.outcomes() {
                trees.note(index, stamp_ms, commands.next().flatten(), outcome);
                bytes.extend_from_slice(outcome);
                ends.push(bytes.len());
            }
            entries.push((term, replay.state_hash(), ends.len()));
        });
    }

    /// The entry, once it was run.
    fn entry(&self, index: LogIndex) -> Option<(Term, u64, usize)> {
        self.entries.get(usize::try_from(index.0.checked_sub(1)?).ok()?).copied()
    }

    fn outcome(&self, token: &Token) -> Option<&[u8]> {
        let end = self.entry(token.index)?.2;
        let begin = self.entry(token.index.prev()).map_or(0, |entry| entry.2);
        let at = begin + token.place as usize;
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        (at < end).then(|| &self.bytes[from..self.ends[at]])
    }

    /// `None` when the entry was not run yet.
    fn check(&self, token: &Token, told: &[u8]) -> Option<Result<(), Violation>> {
        let (term, ..) = self.entry(token.index)?;
        let wanted = self.outcome(token);
        let verdict = || {
            ensure!(
                NAME,
                wanted == Some(told) && term == token.term,
                "{token:?}: a client was told {:?}, and the committed entry of term {term} gives {:?}",
                Outcome::decode(told),
                wanted.map(Outcome::decode)
            );
            Ok(())
        };
        Some(verdict())
    }
}

/// See the claim above.
#[derive(Default)]
pub struct Model {
    groups: Slots<GroupId, Group>,
    /// What each node was last seen with.
    applied: Slots<(GroupId, NodeId), LogIndex>,
    told: Vec<u8>,
}

impl Model {
    fn note_view(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let group = self.groups.of(view.group);
        group.follow(view);
        if let Some(wrong) = group.trees.wrong.take() {
            return Err(Violation { checker: NAME, what: format!("group {}: {wrong}", view.group) });
        }
        let applied = self.applied.of((view.group, view.node));
        let entry = group.entry(view.applied).filter(|_| *applied != view.applied);
        if let Some((_, hash, _)) = entry {
            *applied = view.applied;
            ensure!(
                NAME,
                hash == view.state_hash,
                "group {} node {}: state {:016x} behind entry {}, and the log gives {hash:016x}",
                view.group,
                view.node,
                view.state_hash,
                view.applied
            );
        }
        if group.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut group.waiting);
        for (token, told) in waiting {
            match group.check(&token, &told) {
                Some(verdict) => verdict?,
                None => group.waiting.push((token, told)),
            }
        }
        Ok(())
    }

    fn note_outcome(&mut self, outcome: &Outcome, token: &Token) -> Result<(), Violation> {
        // Index 0 is a server that does not say.
        if token.index == LogIndex(0) {
            return Ok(());
        }
        self.told.clear();
        outcome.encode(&mut self.told);
        let group = self.groups.of(token.group);
        group.check(token, &self.told).unwrap_or_else(|| {
            group.waiting.push((*token, self.told.clone()));
            Ok(())
        })
    }

    fn check_end(&self) -> Result<(), Violation> {
        for (group, kept) in self.groups.iter() {
            let checked = kept.replay.as_ref().map_or(Ok(()), Replay::check);
            ensure!(NAME, checked.is_ok(), "group {group}: {checked:?}");
            kept.replay.as_ref().map_or(Ok(()), |replay| kept.trees.check_end(group, replay))?;
        }
        Ok(())
    }
}

impl Checker for Model {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Turn(view) => self.note_view(view),
            Event::Boot { groups, .. } => groups.iter().try_for_each(|view| self.note_view(view)),
            Event::Return { ended: Ended::Outcome(outcome, token), .. } => self.note_outcome(outcome, token),
            Event::End => self.check_end(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, fires, ms, turn};
    use crate::linear::replay::testing::*;
    use crate::observe::Path;

    fn seat(node: u64, commit: u64) -> (Seat, Vec<Outcome>) {
        let entries = [founding(), payload(&[in_session(1, mkdir("/a"))]), payload(&[in_session(2, mkdir("/b"))])];
        let mut seat = Seat { commit, applied: commit, term: 1, ..Seat::new(node) };
        let mut replay = Replay::new(GROUP);
        let mut outcomes = Vec::new();
        for (entry, index) in entries.iter().zip(1..) {
            seat.log.push(1, entry);
            if index <= commit {
                let applied = replay.apply(LogIndex(index), Term(1), entry);
                outcomes.push(Outcome::decode(applied.outcomes().next().unwrap()).unwrap());
            }
        }
        seat.state_hash = replay.state_hash();
        (seat, outcomes)
    }

    fn acknowledge(checker: &mut Model, outcome: &Outcome, index: u64) -> Seen {
        let (index, term, node) = (LogIndex(index), Term(1), NodeId(1));
        let token = Token { group: GROUP, index, term, place: 0, path: Path::Write, node };
        checker.observe(ms(0), &Event::Return { operation: index.0, ended: Ended::Outcome(outcome, token) })
    }

    #[test]
    fn outcomes_and_states_of_the_log_are_right() {
        let mut checker = Model::default();
        let (all, outcomes) = seat(1, 3);
        turn(&mut checker, &seat(1, 2).0).unwrap();
        acknowledge(&mut checker, &outcomes[1], 2).unwrap();
        // Told before the entry could be seen.
        acknowledge(&mut checker, &outcomes[2], 3).unwrap();
        turn(&mut checker, &all).unwrap();
        turn(&mut checker, &Seat { node: 2, ..all }).unwrap();
        checker.observe(ms(1), &Event::End).unwrap();
    }

    #[test]
    fn a_machine_that_differs_from_the_tree_is_seen() {
        let (seat, outcomes) = seat(1, 3);
        let mut trees = Trees::default();
        let mut note = |index: u64, commands: std::ops::Range<usize>, outcome: &Outcome| {
            let (mut payload, mut told) = (Vec::new(), Vec::new());
            assert!(seat.view().log.payload(LogIndex(index), &mut payload));
            outcome.encode(&mut told);
            Commands::parse(&payload).take(commands.end).skip(commands.start).for_each(|command| {
                trees.note(LogIndex(index), 0, command, &told);
            });
            trees.wrong.take()
        };
        assert_eq!(note(1, 1..2, &Outcome::Done), None);
        assert_eq!(note(2, 0..1, &outcomes[1]), None);
        // Again, as a retry: once is enough.
        assert_eq!(note(2, 0..1, &outcomes[1]), None);
        assert!(note(3, 0..1, &Outcome::NotFound).is_some_and(|wrong| wrong.contains("a naive tree says")));
    }

    #[test]
    fn other_outcomes_and_states_are_seen() {
        let mut checker = Model::default();
        let (all, outcomes) = seat(1, 3);
        turn(&mut checker, &all).unwrap();
        fires(NAME, acknowledge(&mut checker, &Outcome::NotFound, 2));
        fires(NAME, acknowledge(&mut checker, &outcomes[1], 3));
        fires(NAME, turn(&mut checker, &Seat { node: 2, state_hash: 1, ..all }));
        let mut early = Model::default();
        acknowledge(&mut early, &Outcome::NotFound, 3).unwrap();
        fires(NAME, turn(&mut early, &seat(1, 3).0));
    }
}
