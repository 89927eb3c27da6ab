//! The null machine: it counts the commands of a group and does nothing else, so that consensus and log can be measured
//! without the machine and its rows (docs/design/bench.md, "The null machine").
//!
//! A command is any bytes. It is batched, logged, synced, replicated and committed as every other, and the answer is the
//! group's count with it, a u64. The count is where the state's hash is otherwise, in the machine row: it goes into
//! checkpoints and snapshots, replicas compare it, and a restart finds it. There are no sessions: a command that is sent
//! twice counts twice.

use base::limits::COMMAND_BYTES_MAX;
use base::stages::OpClass;
use base::{Acct, GroupId, LogIndex, Nsid, Term};
use meta::payload::Commands;
use meta::{EntryKind, EntryRef, Machine, Query, RowBatch, Store};
use seglog::Disk;

use crate::apply::Answered;
use crate::group::{Form, Read};
use crate::{Effect, Shard, Status, Ticket};

/// Said to who wants files of a cluster that counts.
const NOT_FILES: &str = "this cluster's machine is null: it counts commands and holds no files; use another cluster";
/// Said to who wants a count of a cluster that holds files.
const NOT_NULL: &str =
    "this cluster's machine is files, not null: format one with cluster.machine = \"null\" to count commands";

/// What a cluster does with committed commands; fixed at format, equal on all nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum MachineKind {
    /// Holds files: the product.
    #[default]
    Files,
    /// Counts commands: for measurements alone.
    Null,
}

impl MachineKind {
    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            MachineKind::Files => "files",
            MachineKind::Null => "null",
        }
    }

    /// It counts.
    #[must_use]
    pub const fn is_null(self) -> bool {
        matches!(self, MachineKind::Null)
    }

    /// The kind of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<MachineKind> {
        [MachineKind::Files, MachineKind::Null].into_iter().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for MachineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Counts; holds nothing between entries but buffers.
#[derive(Default)]
pub(crate) struct Counter {
    machine: Machine,
    /// No rows, ever.
    none: RowBatch,
    /// Commands of the entry applied last, and the count behind it.
    last: (u64, u64),
}

impl Counter {
    /// Counts the commands of one entry and writes the machine row.
    pub(crate) fn apply<S: Store>(&mut self, store: &mut S, group: GroupId, entry: EntryRef<'_>) {
        self.take(store.machine(group));
        let machine = &mut self.machine;
        assert!(entry.index == machine.applied_index.next(), "group {group}: entry {} out of order", entry.index);
        let mut commands = 0;
        match entry.kind {
            EntryKind::Commands => {
                let batch = Commands::parse(entry.payload);
                machine.stamp_ms = machine.stamp_ms.max(batch.stamp_ms());
                commands = batch.len() as u64;
            }
            EntryKind::Noop => {}
            EntryKind::Config => {
                machine.config_index = entry.index;
                machine.config.clear();
                machine.config.extend_from_slice(entry.payload);
            }
        }
        (machine.applied_index, machine.applied_term, machine.applied_crc) = (entry.index, entry.term, entry.crc);
        machine.state_hash += commands;
        self.last = (commands, machine.state_hash);
        store.write(group, &self.none, machine);
    }

    /// Commands of the entry applied last.
    pub(crate) fn commands(&self) -> usize {
        self.last.0 as usize
    }

    /// Copies the machine row into memory that is kept.
    fn take(&mut self, found: Option<&Machine>) {
        let mut config = std::mem::take(&mut self.machine.config);
        config.clear();
        self.machine = match found {
            None => Machine { config, ..Machine::default() },
            Some(found) => {
                config.extend_from_slice(&found.config);
                Machine { config, ..*found }
            }
        };
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// What becomes of committed commands here.
    #[must_use]
    pub fn machine(&self) -> MachineKind {
        self.settings.machine
    }

    pub(crate) fn is_null(&self) -> bool {
        self.settings.machine.is_null()
    }

    /// True when the cluster holds files; otherwise the asker was told that it does not.
    pub(crate) fn holds_files(&mut self, ticket: Ticket, group: GroupId) -> bool {
        if self.is_null() {
            base::mark::hit!("shard.null.files_refused");
            self.replies.text(ticket, group, Status::Refused, NOT_FILES);
        }
        !self.is_null()
    }

    /// True when the cluster counts; otherwise the asker was told that it does not.
    fn counts(&mut self, ticket: Ticket, group: GroupId) -> bool {
        if !self.is_null() {
            base::mark::hit!("shard.null.count_refused");
            self.replies.text(ticket, group, Status::Refused, NOT_NULL);
        }
        self.is_null()
    }

    /// Takes a command of the null machine, which is any bytes. The answer is the group's count with it, u64.
    pub fn handle_null_command(&mut self, ticket: Ticket, group: GroupId, command: &[u8]) {
        let Some(at) = self.local(group) else {
            return self.replies.text(ticket, group, Status::Malformed, "no such group on this core");
        };
        if !self.counts(ticket, group) {
            return;
        }
        if command.len() > COMMAND_BYTES_MAX {
            return self.replies.text(ticket, group, Status::Malformed, "the command is too long");
        }
        if !self.leads(at, ticket) || !self.has_place(at, ticket, self.is_out_of_room) {
            return;
        }
        self.add_to_batch(at, ticket, command, OpClass::Put);
    }

    /// Asks how many commands the null machine has counted in a group: a linearizable read. The answer is a u64.
    pub fn handle_null_count(&mut self, ticket: Ticket, group: GroupId) {
        let Some(at) = self.local(group) else {
            return self.replies.text(ticket, group, Status::Malformed, "no such group on this core");
        };
        if !self.counts(ticket, group) {
            return;
        }
        if !self.may_wait(at, ticket) {
            return;
        }
        // Which query it is makes no difference: every read of a null machine is its count.
        self.join_query(ticket, at, (Acct(0), Nsid(0)), (Query::Head, Form::Native), OpClass::Get);
    }

    /// The answer of every read, once it may be served.
    pub(crate) fn serve_count(&mut self, at: u32, read: &Read) {
        let slot = &self.groups[at as usize];
        let (group, index) = (slot.id, slot.applied);
        let count = self.store.machine(group).map_or(0, |machine| machine.state_hash);
        let effect = Effect { index, path: read.path, ..Effect::default() };
        self.replies.done(read.ticket, group, effect, |out| out.extend_from_slice(&count.to_le_bytes()));
        self.time_read(read, group, index, false);
    }

    /// Answers those who proposed the entry just counted, each with the count as of its own command.
    pub(crate) fn answer_counted(&mut self, at: u32, index: LogIndex, term: Term) {
        let (commands, count) = self.counter.last;
        let first = count - commands + 1;
        let entry = Answered { index, term, commands: commands as usize, is_cold: false, now: self.stages.now };
        entry.answer(&mut self.groups[at as usize], &mut self.replies, |replies, group, ticket, effect| {
            let count = first + u64::from(effect.place);
            replies.done(ticket, group, effect, |out| out.extend_from_slice(&count.to_le_bytes()));
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use meta::memory::MemoryStore;

    use super::*;

    fn entry(index: u64, kind: EntryKind, payload: &[u8]) -> EntryRef<'_> {
        EntryRef { index: LogIndex(index), term: Term(3), crc: 9, kind, payload }
    }

    #[test]
    fn commands_are_counted_and_nothing_else_is_but_all_move_the_applied_index() {
        let (mut store, mut counter) = (MemoryStore::new(), Counter::default());
        let mut batch = meta::payload::Builder::default();
        [&b""[..], b"sixteen bytes ..", &[7; 70_000]].into_iter().for_each(|command| batch.push(command));
        let group = GroupId(4);
        counter.apply(&mut store, group, entry(1, EntryKind::Noop, &[]));
        counter.apply(&mut store, group, entry(2, EntryKind::Commands, batch.finish(77)));
        counter.apply(&mut store, group, entry(3, EntryKind::Config, b"members"));
        counter.apply(&mut store, group, entry(4, EntryKind::Commands, batch.finish(50)));
        assert_eq!(counter.last, (3, 6));
        let machine = store.machine(group).expect("it was written");
        assert_eq!((machine.applied_index, machine.state_hash, machine.stamp_ms), (LogIndex(4), 6, 77));
        assert_eq!((&machine.config[..], machine.config_index), (&b"members"[..], LogIndex(3)));
        counter.apply(&mut store, GroupId(5), entry(1, EntryKind::Noop, &[]));
        let other = store.machine(GroupId(5)).expect("it was written");
        assert_eq!((other.state_hash, other.config.len()), (0, 0), "groups are counted apart");
    }

    #[test]
    fn kinds_have_names() {
        for kind in [MachineKind::Files, MachineKind::Null] {
            assert_eq!(MachineKind::of_name(kind.name()), Some(kind));
        }
        assert_eq!((MachineKind::of_name("nul"), MachineKind::default()), (None, MachineKind::Files));
    }
}
