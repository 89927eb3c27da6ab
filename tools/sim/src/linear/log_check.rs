//! The check by the log: the committed log of each group is the order, each answer must be what a replay gives at the
//! index that the server told, and the indexes must fit time. O(n log n).

use std::collections::BTreeMap;

use base::{GroupId, LogIndex, Term};
use meta::payload::Commands;
use meta::{Answer, Outcome, decode_command};

use super::history::{Ask, End, Operation};
use super::replay::Replay;
use crate::observe::{Path, Token};

/// A committed entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its term.
    pub term: Term,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// The committed entries of a group from index 1.
pub type Log = Vec<Entry>;

/// What was compared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Checked {
    /// Outcomes.
    pub writes: u64,
    /// Answers.
    pub reads: u64,
}

/// What does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misfit {
    /// The log does not hold what was acknowledged.
    #[error("operation {id} was acknowledged at {token:?}, and the log holds {found} there")]
    NotInLog {
        /// The operation.
        id: u64,
        /// Where.
        token: Token,
        /// What is there.
        found: String,
    },
    /// One copy would have answered otherwise.
    #[error("operation {id} at {token:?} was told {told}, and one copy says {wanted}")]
    Told {
        /// The operation.
        id: u64,
        /// Where.
        token: Token,
        /// The answer.
        told: String,
        /// The right one.
        wanted: String,
    },
    /// It missed what had been answered before it began.
    #[error("operation {id} took effect at {index} of group {group}, and {floor} had been answered before it began")]
    Old {
        /// The operation.
        id: u64,
        /// The group.
        group: GroupId,
        /// Where.
        index: LogIndex,
        /// What it had to see.
        floor: LogIndex,
    },
    /// It showed what had not been asked for yet.
    #[error("operation {id} ended having seen entry {index} of group {group}, whose write {write} began later")]
    Early {
        /// The operation.
        id: u64,
        /// The group.
        group: GroupId,
        /// The entry.
        index: LogIndex,
        /// The write.
        write: u64,
    },
}

/// Do the operations fit the logs and time? Groups without a log are checked against time alone; so are indexes behind
/// the end of a log that is known in part.
///
/// # Errors
/// The first [`Misfit`] found.
pub fn check(logs: &BTreeMap<GroupId, Log>, operations: &[Operation]) -> Result<Checked, Misfit> {
    let mut by_group: BTreeMap<GroupId, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        if let Some((group, ..)) = operation.place() {
            by_group.entry(group).or_default().push(operation);
        }
    }
    let mut checked = Checked::default();
    for (group, mut operations) in by_group {
        check_freshness(group, &mut operations)?;
        check_causes(group, &mut operations)?;
        if let Some(log) = logs.get(&group) {
            replay(group, log, &operations, &mut checked)?;
        }
    }
    Ok(checked)
}

fn index_of(operation: &Operation) -> LogIndex {
    operation.place().map_or(LogIndex(0), |(_, index, _)| index)
}

/// What was answered before an operation began lies before it.
fn check_freshness(group: GroupId, operations: &mut [&Operation]) -> Result<(), Misfit> {
    operations.sort_by_key(|operation| operation.returned);
    let ended: Vec<(u64, LogIndex)> = operations
        .iter()
        .scan(LogIndex(0), |highest, operation| {
            *highest = index_of(operation).max(*highest);
            Some((operation.returned, *highest))
        })
        .collect();
    for operation in operations.iter() {
        let before = ended.partition_point(|(returned, _)| *returned < operation.invoked);
        let floor = before.checked_sub(1).map_or(LogIndex(0), |last| ended[last].1);
        let Some((_, index, path)) = operation.place() else { continue };
        let is_fresh = if path == Path::Write { index > floor } else { index >= floor };
        if !is_fresh {
            return Err(Misfit::Old { id: operation.id, group, index, floor });
        }
    }
    Ok(())
}

/// What an operation shows had begun before it ended. Leaves the operations in order of their indexes, writes first.
fn check_causes(group: GroupId, operations: &mut [&Operation]) -> Result<(), Misfit> {
    operations.sort_by_key(|operation| (index_of(operation), operation.place().map(|place| place.2 != Path::Write)));
    let mut latest: Option<&Operation> = None;
    for operation in operations.iter() {
        if let Some(write) = latest.filter(|write| write.invoked > operation.returned) {
            let index = index_of(write);
            return Err(Misfit::Early { id: operation.id, group, index, write: write.id });
        }
        let is_write = operation.place().is_some_and(|(_, _, path)| path == Path::Write);
        if is_write && latest.is_none_or(|write| write.invoked < operation.invoked) {
            latest = Some(operation);
        }
    }
    Ok(())
}

/// `operations` are in order of their indexes, writes before reads.
fn replay(group: GroupId, log: &Log, operations: &[&Operation], checked: &mut Checked) -> Result<(), Misfit> {
    let mut replay = Replay::new(group);
    let mut operations = operations.iter().peekable();
    for (entry, index) in log.iter().zip((1..).map(LogIndex)) {
        let applied = replay.apply(index, entry.term, &entry.payload);
        while let Some(operation) = operations.next_if(|next| is_write_at(next, index)) {
            check_write(operation, entry, applied)?;
            checked.writes += 1;
        }
        while let Some(operation) = operations.next_if(|next| index_of(next) == index) {
            check_read(operation, &replay)?;
            checked.reads += 1;
        }
    }
    Ok(())
}

fn is_write_at(operation: &Operation, index: LogIndex) -> bool {
    matches!(operation.place(), Some((_, at, Path::Write)) if at == index)
}

fn check_write(operation: &Operation, entry: &Entry, applied: &meta::Applied) -> Result<(), Misfit> {
    let (End::Told { bytes, token }, Ask::Write(asked)) = (&operation.end, &operation.ask) else { return Ok(()) };
    let place = token.place as usize;
    let held = Commands::parse(&entry.payload).nth(place).flatten().map(decode_command);
    let is_held = matches!(&held, Some(Ok((_, command))) if command == asked.as_ref()) && entry.term == token.term;
    if !is_held {
        let found = format!("{held:?} of term {}", entry.term);
        return Err(Misfit::NotInLog { id: operation.id, token: *token, found });
    }
    let wanted = applied.outcomes().nth(place).unwrap_or_default();
    if wanted != bytes {
        let (told, wanted) = (format!("{:?}", Outcome::decode(bytes)), format!("{:?}", Outcome::decode(wanted)));
        return Err(Misfit::Told { id: operation.id, token: *token, told, wanted });
    }
    Ok(())
}

fn check_read(operation: &Operation, replay: &Replay) -> Result<(), Misfit> {
    let (End::Told { bytes, token }, Ask::Read(query)) = (&operation.end, &operation.ask) else { return Ok(()) };
    let answer = replay.answer(operation.acct, operation.nsid, query);
    let mut wanted = Vec::new();
    answer.encode(&mut wanted);
    if wanted != *bytes {
        let (told, wanted) = (format!("{:?}", Answer::decode(bytes)), format!("{answer:?}"));
        return Err(Misfit::Told { id: operation.id, token: *token, told, wanted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::NodeId;
    use meta::{At, Command, Query, What};

    use super::super::replay::testing::*;
    use super::*;

    const GROUP: GroupId = GroupId(1);

    /// Founding, then one folder per entry.
    fn log(folders: &[&str]) -> BTreeMap<GroupId, Log> {
        let made = folders.iter().zip(1..).map(|(path, sequence)| payload(&[in_session(sequence, mkdir(path))]));
        let entries = std::iter::once(founding()).chain(made);
        let log = entries.map(|payload| Entry { term: Term(1), payload }).collect();
        BTreeMap::from([(GROUP, log)])
    }

    fn token(index: u64, path: Path) -> Token {
        Token { group: GROUP, index: LogIndex(index), term: Term(1), place: 0, path, node: NodeId(1) }
    }

    fn operation(id: u64, at: (u64, u64), ask: Ask, end: End) -> Operation {
        let (invoked, returned) = at;
        Operation { id, client: 1, acct: OWNER, nsid: NSID, invoked, returned, ask, end }
    }

    /// A folder made at `index`, as the log of `folders` says.
    fn made(id: u64, at: (u64, u64), folders: &[&str], index: u64) -> Operation {
        let mut replay = Replay::new(GROUP);
        let log = &log(folders)[&GROUP];
        let mut bytes = Vec::new();
        for (entry, at) in log.iter().zip(1..=index) {
            bytes = replay.apply(LogIndex(at), Term(1), &entry.payload).outcomes().next().unwrap().to_vec();
        }
        let command: Command = mkdir(folders[index as usize - 2]);
        operation(id, at, Ask::Write(Box::new(command)), End::Told { bytes, token: token(index, Path::Write) })
    }

    fn head(id: u64, at: (u64, u64), head: u64, index: u64, path: Path) -> Operation {
        let mut bytes = Vec::new();
        Answer::Head(base::Jid(head)).encode(&mut bytes);
        operation(id, at, Ask::Read(Box::new(Query::Head)), End::Told { bytes, token: token(index, path) })
    }

    #[test]
    fn a_history_of_one_copy_is_good() {
        let folders = ["/a", "/b", "/c"];
        let absent = Query::Lookup(What::At(At::path("/b")));
        let mut bytes = Vec::new();
        Answer::NotFound.encode(&mut bytes);
        let told = End::Told { bytes, token: token(2, Path::Lease) };
        let history = [
            made(1, (1, 10), &folders, 2),
            operation(2, (5, 30), Ask::Read(Box::new(absent)), told),
            made(3, (11, 25), &folders, 3),
            head(4, (12, 20), 1, 2, Path::ReadIndex),
            head(5, (26, 28), 2, 3, Path::Follower),
            head(6, (27, 28), 1, 2, Path::Stale),
            operation(7, (5, u64::MAX), Ask::Write(Box::new(mkdir("/c"))), End::Unknown),
        ];
        assert_eq!(check(&log(&folders), &history), Ok(Checked { writes: 2, reads: 3 }));
    }

    #[test]
    fn a_read_of_an_old_state_is_seen() {
        let folders = ["/a", "/b"];
        let history = [made(1, (1, 10), &folders, 2), head(2, (11, 12), 0, 1, Path::Lease)];
        assert!(matches!(check(&log(&folders), &history), Err(Misfit::Old { id: 2, .. })));
        let history = [head(1, (1, 2), 2, 3, Path::ReadIndex), head(2, (3, 4), 1, 2, Path::ReadIndex)];
        assert!(matches!(check(&log(&folders), &history), Err(Misfit::Old { id: 2, .. })));
        let history = [head(1, (1, 2), 2, 3, Path::ReadIndex), made(2, (3, 9), &folders, 3)];
        assert!(matches!(check(&log(&folders), &history), Err(Misfit::Old { id: 2, .. })));
    }

    #[test]
    fn a_read_of_the_future_is_seen() {
        let folders = ["/a", "/b"];
        let history = [head(1, (1, 2), 1, 2, Path::ReadIndex), made(2, (3, 9), &folders, 2)];
        // Whether as an index that goes back or as a cause behind its effect.
        assert!(check(&log(&folders), &history).is_err());
        let mut early = [made(1, (5, 9), &folders, 2)];
        let mut with_read = vec![head(2, (1, 4), 1, 2, Path::ReadIndex)];
        with_read.extend(early.iter_mut().map(|one| one.clone()));
        let mut borrowed: Vec<&Operation> = with_read.iter().collect();
        assert!(matches!(check_causes(GROUP, &mut borrowed), Err(Misfit::Early { id: 2, write: 1, .. })));
    }

    #[test]
    fn wrong_answers_and_lost_writes_are_seen() {
        let folders = ["/a", "/b"];
        let wrong = [head(1, (1, 2), 2, 2, Path::ReadIndex)];
        assert!(matches!(check(&log(&folders), &wrong), Err(Misfit::Told { id: 1, .. })));
        let other_log = log(&["/a", "/x"]);
        let lost = [made(1, (1, 2), &folders, 3)];
        assert!(matches!(check(&other_log, &lost), Err(Misfit::NotInLog { id: 1, .. })));
        let mut outcome = made(1, (1, 2), &folders, 2);
        outcome.end = made(1, (1, 2), &folders, 3).end;
        if let End::Told { token, .. } = &mut outcome.end {
            token.index = LogIndex(2);
        }
        assert!(matches!(check(&log(&folders), &[outcome]), Err(Misfit::Told { id: 1, .. })));
    }
}
