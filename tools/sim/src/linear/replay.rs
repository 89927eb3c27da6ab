//! One group's committed log, run again on the plain machine in memory.

use base::{Acct, GroupId, LogIndex, Nsid, Term};
use meta::{Answer, Applied, Applier, EntryKind, EntryRef, MemoryStore, Query, Store};

/// The machine of one group, entry by entry.
pub struct Replay {
    group: GroupId,
    store: MemoryStore,
    applier: Applier,
    applied: Applied,
}

impl Replay {
    /// A group as it is born.
    #[must_use]
    pub fn new(group: GroupId) -> Replay {
        Replay { group, store: MemoryStore::new(), applier: Applier::new(), applied: Applied::default() }
    }

    /// Runs the next entry: from index 1, without gaps. What it brought about, outcomes in order of its commands.
    pub fn apply(&mut self, index: LogIndex, term: Term, payload: &[u8]) -> &Applied {
        self.applied.clear();
        let entry = EntryRef { index, term, crc: 0, kind: kind_of(payload), payload };
        let done = self.applier.apply(&mut self.store, self.group, entry, &mut self.applied);
        done.expect("everything is in memory");
        &self.applied
    }

    /// The last entry run.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.store.machine(self.group).map_or(LogIndex(0), |machine| machine.applied_index)
    }

    /// Rolling hash of all that was run.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.store.machine(self.group).map_or(0, |machine| machine.state_hash)
    }

    /// What the machine answers now.
    #[must_use]
    pub fn answer(&self, acct: Acct, nsid: Nsid, query: &Query) -> Answer {
        let mut wants = Vec::new();
        meta::query(&self.store, self.group, acct, nsid, query, &mut wants).expect("everything is in memory")
    }

    /// Do the invariants of the machine hold?
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), meta::invariants::Violation> {
        meta::invariants::check(&self.store.rows(self.group))
    }
}

/// What an entry is, by its bytes. Commands take at least 56 bytes each behind 16, a configuration 8 per member behind
/// 8, and both count at the same place: no bytes are both.
fn kind_of(payload: &[u8]) -> EntryKind {
    match payload {
        [] => EntryKind::Noop,
        _ if raft::Config::decode(payload).is_ok() => EntryKind::Config,
        _ => EntryKind::Commands,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use base::{Sequence, SessionId};
    use meta::payload::Builder;
    use meta::{At, Command, CommandHeader, Mkdir, encode_command};

    /// The payload of one entry.
    pub(crate) fn payload(commands: &[(CommandHeader, Command)]) -> Vec<u8> {
        let mut builder = Builder::default();
        for (header, command) in commands {
            let mut bytes = Vec::new();
            encode_command(header, command, &mut bytes);
            builder.push(&bytes);
        }
        builder.finish(1_800_000_000_000).to_vec()
    }

    pub(crate) const NSID: base::Nsid = base::Nsid(10_000_000_001);
    pub(crate) const OWNER: base::Acct = base::Acct(5);
    /// Of the entry at index 1 below.
    pub(crate) const SESSION: SessionId = SessionId(1 << 12);

    pub(crate) fn in_session(sequence: u64, command: Command) -> (CommandHeader, Command) {
        let (sequence, ack_below) = (Sequence(sequence), Sequence(1));
        (CommandHeader { session: SESSION, sequence, ack_below, acct: OWNER, nsid: NSID }, command)
    }

    pub(crate) fn mkdir(path: &str) -> Command {
        Command::Mkdir(Mkdir { at: At::path(path), autorename: false })
    }

    /// Opens the session and makes the namespace.
    pub(crate) fn founding() -> Vec<u8> {
        let init = Command::NamespaceInit { kind: meta::NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 40 };
        let system = CommandHeader { nsid: NSID, ..CommandHeader::default() };
        let register = CommandHeader { acct: OWNER, ..CommandHeader::default() };
        payload(&[(register, Command::Register { nonce: [9; 16] }), (system, init)])
    }
}

#[cfg(test)]
mod tests {
    use base::NodeId;
    use meta::Outcome;

    use super::testing::*;
    use super::*;

    #[test]
    fn a_log_runs_again() {
        let mut replay = Replay::new(GroupId(1));
        replay.apply(LogIndex(1), Term(1), &founding());
        replay.apply(LogIndex(2), Term(1), &[]);
        let config = raft::Config::single(&[NodeId(1), NodeId(2)]).encode();
        replay.apply(LogIndex(3), Term(1), &config);
        let applied = replay.apply(LogIndex(4), Term(1), &payload(&[in_session(1, mkdir("/a"))]));
        let outcomes: Vec<Outcome> = applied.outcomes().map(|bytes| Outcome::decode(bytes).unwrap()).collect();
        assert!(matches!(&outcomes[..], [Outcome::Applied(metadata)] if metadata.name == "a"), "{outcomes:?}");
        assert_eq!(replay.answer(OWNER, NSID, &Query::Head), Answer::Head(base::Jid(1)));
        assert_eq!(replay.applied_index(), LogIndex(4));
        assert_ne!(replay.state_hash(), 0);
        replay.check().unwrap();
    }
}
