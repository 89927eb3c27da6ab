//! Claim: each command of a session, however often it was sent, has one effect and one outcome.

use std::collections::BTreeMap;

use base::{GroupId, Jid, LogIndex, Nsid, Sequence, SessionId};
use meta::command::COMMAND_HEADER_BYTES;
use meta::payload::Commands;
use meta::{Outcome, decode_command};

use super::committed::Committed;
use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::linear::replay::Replay;
use crate::linear::shared::may_be_told_again;
use crate::observe::{Checker, Ended, Event, GroupView, Time, Token, Violation, Wants};

const NAME: &str = "once";

type Key = (SessionId, Sequence);

/// What a command came to, as far as it must be the same each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Effect {
    code: u8,
    row: Option<(Nsid, Jid)>,
}

fn effect_of(outcome: &Outcome) -> Effect {
    let row = match outcome {
        Outcome::Applied(metadata) => Some((metadata.nsid, metadata.jid)),
        _ => None,
    };
    Effect { code: outcome.code(), row }
}

/// The session did not let the command through: it was not executed, whatever came of it elsewhere.
fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::SessionGone | Outcome::Acknowledged | Outcome::TooLarge | Outcome::Malformed)
}

/// A command that was executed.
struct Done {
    body: Vec<u8>,
    effect: Effect,
    /// The operation that was told of it.
    operation: Option<u64>,
}

#[derive(Default)]
struct Group {
    committed: Committed,
    replay: Option<Replay>,
    done: BTreeMap<Key, Done>,
    /// Which command made which row.
    rows: BTreeMap<(Nsid, Jid), Key>,
    /// The commands of all entries, and where those of each entry, by index from 1, end.
    keys: Vec<Key>,
    ends: Vec<usize>,
}

impl Group {
    fn follow(&mut self, view: &GroupView<'_>) -> Result<(), Violation> {
        let Group { committed, replay, done, rows, keys, ends } = self;
        let replay = replay.get_or_insert_with(|| Replay::new(view.group));
        let mut verdict = Ok(());
        committed.follow(view, |index, term, payload| {
            let applied = replay.apply(index, term, payload);
            if applied.outcomes().len() > 0 {
                for (command, outcome) in Commands::parse(payload).zip(applied.outcomes()) {
                    let found = note_command(done, rows, index, command.unwrap_or_default(), outcome);
                    match found {
                        Ok(key) => keys.push(key),
                        Err(violation) => verdict = Err(violation),
                    }
                }
            }
            ends.push(keys.len());
        });
        verdict
    }

    /// The command that a token names, once its entry was seen.
    fn key(&self, token: &Token) -> Option<Key> {
        let at = usize::try_from(token.index.0.checked_sub(1)?).ok()?;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        let place = begin + token.place as usize;
        self.keys.get(place).copied().filter(|_| self.ends.get(at).is_some_and(|end| place < *end))
    }
}

fn note_command(
    done: &mut BTreeMap<Key, Done>,
    rows: &mut BTreeMap<(Nsid, Jid), Key>,
    index: LogIndex,
    command: &[u8],
    outcome: &[u8],
) -> Result<Key, Violation> {
    let none = (SessionId(0), Sequence(0));
    let (Ok((header, asked)), Ok(outcome)) = (decode_command(command), Outcome::decode(outcome)) else {
        return Ok(none);
    };
    if header.session == SessionId(0) || is_refusal(&outcome) {
        return Ok((header.session, header.sequence));
    }
    let key = (header.session, header.sequence);
    let effect = effect_of(&outcome);
    let body = &command[COMMAND_HEADER_BYTES..];
    let kept = done.entry(key).or_insert_with(|| Done { body: body.to_vec(), effect, operation: None });
    ensure!(NAME, kept.body == body, "entry {index}: {key:?} is another command than before");
    ensure!(NAME, kept.effect == effect, "entry {index}: {key:?} came to {effect:?}, and before to {:?}", kept.effect);
    // What is done once under an id of its own is told to each that asks for it.
    if let Some(row) = effect.row.filter(|_| !may_be_told_again(&asked)) {
        let maker = *rows.entry(row).or_insert(key);
        ensure!(NAME, maker == key, "entry {index}: row {row:?} was made by {maker:?} and by {key:?}");
    }
    Ok(key)
}

/// See the claim above.
#[derive(Default)]
pub struct Once {
    groups: Slots<GroupId, Group>,
}

impl Once {
    fn note_outcome(&mut self, operation: u64, outcome: &Outcome, token: &Token) -> Result<(), Violation> {
        let group = self.groups.of(token.group);
        let Some(key) = group.key(token).filter(|(session, _)| *session != SessionId(0)) else { return Ok(()) };
        let Some(done) = group.done.get_mut(&key).filter(|_| !is_refusal(outcome)) else { return Ok(()) };
        let effect = effect_of(outcome);
        ensure!(
            NAME,
            done.effect == effect,
            "operation {operation}: {key:?} told as {effect:?}, and is {:?}",
            done.effect
        );
        let first = *done.operation.get_or_insert(operation);
        ensure!(NAME, first == operation, "operations {first} and {operation} were both told of {key:?}");
        Ok(())
    }
}

impl Checker for Once {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Turn(view) => self.groups.of(view.group).follow(view),
            Event::Return { operation, ended: Ended::Outcome(outcome, token) } => {
                self.note_outcome(*operation, outcome, token)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{NodeId, Term};

    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, fires, ms, turn};
    use crate::linear::replay::testing::*;
    use crate::observe::Path;

    fn seat(entries: &[Vec<u8>]) -> Seat {
        let commit = entries.len() as u64;
        let mut seat = Seat { commit, applied: commit, term: 1, ..Seat::new(1) };
        entries.iter().for_each(|entry| seat.log.push(1, entry));
        seat
    }

    fn outcome_at(entries: &[Vec<u8>], index: usize) -> Outcome {
        let mut replay = Replay::new(GROUP);
        let mut outcome = Outcome::Done;
        for (entry, at) in entries[..index].iter().zip(1..) {
            let applied = replay.apply(LogIndex(at), Term(1), entry);
            outcome = Outcome::decode(applied.outcomes().next().unwrap()).unwrap();
        }
        outcome
    }

    fn acknowledge(checker: &mut Once, operation: u64, outcome: &Outcome, index: u64) -> Seen {
        let (index, term, node) = (LogIndex(index), Term(1), NodeId(1));
        let token = Token { group: GROUP, index, term, place: 0, path: Path::Write, node };
        checker.observe(ms(0), &Event::Return { operation, ended: Ended::Outcome(outcome, token) })
    }

    #[test]
    fn a_command_that_was_sent_twice_and_done_once_is_well() {
        let make = payload(&[in_session(1, mkdir("/a"))]);
        let entries = [founding(), make.clone(), payload(&[in_session(2, mkdir("/b"))]), make];
        let mut checker = Once::default();
        turn(&mut checker, &seat(&entries)).unwrap();
        acknowledge(&mut checker, 1, &outcome_at(&entries, 2), 4).unwrap();
        acknowledge(&mut checker, 2, &outcome_at(&entries, 3), 3).unwrap();
        acknowledge(&mut checker, 3, &Outcome::SessionGone, 3).unwrap();
    }

    #[test]
    fn another_command_of_the_same_sequence_is_seen() {
        let entries = [founding(), payload(&[in_session(1, mkdir("/a"))]), payload(&[in_session(1, mkdir("/b"))])];
        fires(NAME, turn(&mut Once::default(), &seat(&entries)));
    }

    #[test]
    fn two_outcomes_of_one_command_and_two_operations_of_one_are_seen() {
        let entries = [founding(), payload(&[in_session(1, mkdir("/a"))]), payload(&[in_session(2, mkdir("/b"))])];
        let mut checker = Once::default();
        turn(&mut checker, &seat(&entries)).unwrap();
        fires(NAME, acknowledge(&mut checker, 1, &outcome_at(&entries, 3), 2));
        acknowledge(&mut checker, 1, &outcome_at(&entries, 2), 2).unwrap();
        fires(NAME, acknowledge(&mut checker, 2, &outcome_at(&entries, 2), 2));
    }

    #[test]
    fn a_machine_that_forgets_what_it_did_is_seen() {
        let command = payload(&[in_session(1, mkdir("/a"))]);
        let command = Commands::parse(&command).next().unwrap().unwrap().to_vec();
        let (mut done, mut rows) = (BTreeMap::new(), BTreeMap::new());
        let encoded = |outcome: &Outcome| {
            let mut bytes = Vec::new();
            outcome.encode(&mut bytes);
            bytes
        };
        let conflict = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
        note_command(&mut done, &mut rows, LogIndex(2), &command, &encoded(&Outcome::Done)).unwrap();
        note_command(&mut done, &mut rows, LogIndex(3), &command, &encoded(&Outcome::Acknowledged)).unwrap();
        let again = note_command(&mut done, &mut rows, LogIndex(4), &command, &encoded(&conflict));
        fires(NAME, again.map(|_| ()));
    }
}
