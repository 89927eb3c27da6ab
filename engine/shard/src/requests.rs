//! Requests of clients and tools: taken, refused at the bounds, or answered when their turn comes.

use base::limits::{COMMAND_BYTES_MAX, ENTRY_BYTES_SOFT, ENTRY_COMMANDS_MAX, READS_WAITING_MAX};
use base::stages::OpClass;
use base::{Acct, GroupId, Mono, NodeId, Nsid, mutate};
use meta::{Pressure, Store};
use raft::{ConfigChange, HANDOVER_LAG_MAX, Input, Outcome};
use seglog::Disk;

use crate::group::{Form, Read, Watcher};
use crate::stages::{class_of_command, class_of_query};
use crate::sweep::SWEEPER;
use crate::{Shard, Status, Ticket};

/// Completes "node N ..".
const NO_ROOM: &str = "has less free disk space than its reserve: only deletes are taken until space is freed";

impl<D: Disk, S: Store> Shard<D, S> {
    /// Takes a command for the entry that its group will propose this turn. `command` is `meta`'s encoding.
    pub fn handle_command(&mut self, ticket: Ticket, group: GroupId, command: &[u8]) {
        let Some(at) = self.local(group) else {
            return self.replies.text(ticket, group, Status::Malformed, "no such group on this core");
        };
        if !self.holds_files(ticket, group) {
            return;
        }
        if command.len() > COMMAND_BYTES_MAX || !meta::payload::is_framed(command) {
            return self.replies.text(ticket, group, Status::Malformed, "not a command of a known format");
        }
        if !self.leads(at, ticket) || !self.is_of_level(at, ticket, command) {
            return;
        }
        let lacks_room = self.is_out_of_room && !meta::frees::may_pass(command);
        if !self.has_place(at, ticket, lacks_room) {
            return;
        }
        self.add_to_batch(at, ticket, command, class_of_command(command));
    }

    /// Does this node lead the group, with its state whole? If not, the asker was told.
    pub(crate) fn leads(&mut self, at: u32, ticket: Ticket) -> bool {
        let slot = &self.groups[at as usize];
        if !slot.is_leader {
            base::mark::hit!("shard.command.not_leader");
            let hint = slot.leader_hint();
            self.replies.bare(ticket, slot.id, Status::NotLeader(hint));
            return false;
        }
        if slot.lost.is_some() {
            base::mark::hit!("shard.lost.command_refused");
            self.replies.bare(ticket, slot.id, Status::NotLeader(NodeId(0)));
            return false;
        }
        true
    }

    /// May one more command come in? If not, the asker was told. `lacks_room`: the disk has none for it.
    pub(crate) fn has_place(&mut self, at: u32, ticket: Ticket, lacks_room: bool) -> bool {
        let group = self.groups[at as usize].id;
        if self.is_overloaded(at) {
            base::mark::hit!("shard.command.overloaded");
            self.replies.bare(ticket, group, Status::Overloaded);
            return false;
        }
        if lacks_room {
            base::mark::hit!("shard.command.no_room");
            self.replies.text(ticket, group, Status::Overloaded, NO_ROOM);
            return false;
        }
        // The shard's own steps would be lost, not repeated.
        let is_own = ticket.connection == SWEEPER;
        if !is_own && !self.admit.take(self.store.pressure() == Pressure::Slow, self.turn_now) {
            base::mark::hit!("shard.command.slowed");
            self.replies.text(ticket, group, Status::Overloaded, "is slowed down: its store's compaction is behind");
            return false;
        }
        true
    }

    /// Adds a command to the entry that its group proposes this turn; a full one is proposed first.
    pub(crate) fn add_to_batch(&mut self, at: u32, ticket: Ticket, command: &[u8], class: OpClass) {
        let slot = &self.groups[at as usize];
        let (group, batch) = (slot.id, &slot.batch);
        if batch.count() >= ENTRY_COMMANDS_MAX
            || (batch.count() > 0 && batch.bytes() + command.len() + 16 > ENTRY_BYTES_SOFT)
        {
            if slot.raft.is_transferring() {
                base::mark::hit!("shard.command.held_full");
                return self.replies.bare(ticket, group, Status::Overloaded);
            }
            self.note_turn(at);
            base::mark::hit!("shard.command.batch_full");
            self.propose(at, self.turn_now, self.turn_wall_ms);
        }
        let slot = &mut self.groups[at as usize];
        slot.batch.push(command);
        slot.batch_tickets.push(ticket);
        slot.batch_classes.push(class);
        self.note_turn(at);
    }

    /// Takes a query: a linearizable read of its namespace.
    pub fn handle_query(&mut self, ticket: Ticket, group: GroupId, acct: Acct, nsid: Nsid, query: &[u8]) {
        let Some((at, query)) = self.take_query(ticket, group, query) else { return };
        let class = class_of_query(&query);
        self.join_query(ticket, at, (acct, nsid), (query, Form::Native), class);
    }

    /// A query joins this turn's reads of its group.
    pub(crate) fn join_query(
        &mut self,
        ticket: Ticket,
        at: u32,
        (acct, nsid): (Acct, Nsid),
        (query, form): (meta::Query, Form),
        class: OpClass,
    ) {
        let slot = &mut self.groups[at as usize];
        if !slot.is_leader {
            base::mark::hit!("shard.query.not_leader");
            let hint = slot.leader_hint();
            return self.replies.bare(ticket, slot.id, Status::NotLeader(hint));
        }
        let timed = self.stages.begin_slot();
        slot.turn_reads.push(Read { ticket, acct, nsid, query, form, path: None, slot: timed, class });
        self.note_turn(at);
    }

    /// The group's place here and the query; `None` when that was answered already.
    pub(crate) fn take_query(&mut self, ticket: Ticket, group: GroupId, query: &[u8]) -> Option<(u32, meta::Query)> {
        let Some(at) = self.local(group) else {
            self.replies.text(ticket, group, Status::Malformed, "no such group on this core");
            return None;
        };
        if !self.holds_files(ticket, group) {
            return None;
        }
        let query = match meta::Query::decode(query) {
            Ok(query) => query,
            Err(error) => {
                self.replies.text(ticket, group, Status::Malformed, &error.to_string());
                return None;
            }
        };
        self.may_wait(at, ticket).then_some((at, query))
    }

    /// May one more read wait in the group? If not, the asker was told.
    pub(crate) fn may_wait(&mut self, at: u32, ticket: Ticket) -> bool {
        let slot = &self.groups[at as usize];
        let is_full = slot.reads_waiting() >= mutate!(MUT_38B, READS_WAITING_MAX, usize::MAX);
        if is_full {
            base::mark::hit!("shard.query.too_many");
            self.replies.bare(ticket, slot.id, Status::Overloaded);
        }
        !is_full
    }

    /// Answers with the head of `nsid`'s journal (u64) now and whenever it has moved, until this node leads no more, the
    /// connection closes, or `acct` may not read the namespace: then with `Refused`.
    pub fn handle_watch(&mut self, ticket: Ticket, group: GroupId, acct: Acct, nsid: Nsid) {
        let Some(at) = self.local(group) else {
            return self.replies.text(ticket, group, Status::Malformed, "no such group on this core");
        };
        if !self.holds_files(ticket, group) {
            return;
        }
        let slot = &mut self.groups[at as usize];
        if !slot.is_leader || slot.lost.is_some() {
            base::mark::hit!("shard.watch.not_leader");
            let hint = slot.leader_hint();
            return self.replies.bare(ticket, group, Status::NotLeader(hint));
        }
        slot.watchers.entry(nsid).or_default().push(Watcher { ticket, acct, told: None });
        self.look_for_watchers(at, nsid);
        mutate!(MUT_23A, (), self.stop_listening(at, nsid, ticket));
    }

    /// MUT_23A: a watcher that was told a head hears nothing until the next heartbeats.
    #[cfg(mutations)]
    fn stop_listening(&mut self, at: u32, nsid: Nsid, ticket: Ticket) {
        let watchers = self.groups[at as usize].watchers.get_mut(&nsid).into_iter().flatten();
        for watcher in watchers.filter(|watcher| watcher.ticket == ticket && watcher.told.is_some()) {
            watcher.told = Some(base::Jid(u64::MAX));
        }
    }

    /// MUT_23A: those watchers are listened for.
    #[cfg(mutations)]
    pub(crate) fn begin_listening(&mut self) {
        let groups = self.groups.iter_mut();
        for watcher in groups.flat_map(|group| group.watchers.values_mut()).flatten() {
            watcher.told = watcher.told.map(|told| if told == base::Jid(u64::MAX) { base::Jid(0) } else { told });
        }
    }

    /// Forgets what a closed connection waits for; its commands run on.
    pub fn handle_connection_closed(&mut self, connection: u64) {
        self.feeds.handle_connection_closed(connection);
        for group in &mut self.groups {
            group.watchers.retain(|_, list| {
                list.retain(|watcher| watcher.ticket.connection != connection);
                !list.is_empty()
            });
        }
    }

    /// Answers from what is applied here, leader or not: for this node's own use.
    pub fn handle_stale_query(&mut self, ticket: Ticket, group: GroupId, nsid: Nsid, query: meta::Query) {
        if let Some(at) = self.local(group) {
            let (slot, class) = (self.stages.begin_slot(), class_of_query(&query));
            let form = Form::Native;
            self.serve(at, Read { ticket, acct: Acct(0), nsid, query, form, path: None, slot, class }, Vec::new());
        }
    }

    /// Changes the members of a group (tools). The answer says that the change began, not that it is done.
    pub fn handle_change_members(&mut self, ticket: Ticket, group: GroupId, change: &ConfigChange, now: Mono) {
        let Some(at) = self.local(group) else {
            return self.replies.text(ticket, group, Status::Malformed, "no such group on this core");
        };
        let outcome = self.step(at, Input::ChangeConfig { change, now });
        self.answer_admin(ticket, group, outcome);
    }

    /// Hands the lead of a group to another node (tools).
    pub fn handle_transfer(&mut self, ticket: Ticket, group: GroupId, target: NodeId, now: Mono) {
        let Some(at) = self.local(group) else {
            return self.replies.text(ticket, group, Status::Malformed, "no such group on this core");
        };
        if let Some(reason) = self.unfit_to_lead(at, target) {
            base::mark::hit!("shard.admin.target_unfit");
            return self.replies.text(ticket, group, Status::Refused, &reason);
        }
        let outcome = match self.groups[at as usize].raft.is_leader() && target == self.settings.node {
            true => Outcome::Done,
            false => self.begin_transfer(at, target, now),
        };
        self.answer_admin(ticket, group, outcome);
    }

    /// Why a group that is led here is not handed to a node now, and what to do.
    fn unfit_to_lead(&self, at: u32, target: NodeId) -> Option<String> {
        let raft = &self.groups[at as usize].raft;
        if !raft.is_leader() || target == self.settings.node {
            return None;
        }
        if !raft.config().incoming().contains(&target) {
            return Some(format!(
                "node {target} does not vote in the group: name one that `dropstone admin status` shows"
            ));
        }
        if !self.pairs.is_up(target) {
            return Some(format!("node {target} has no link to the leader: start it, then repeat"));
        }
        if self.pairs.is_slow(target) {
            return Some(format!(
                "node {target} should not lead: its disk is slow or full, or it stops; repeat once it is well"
            ));
        }
        match raft.lag_of(target) {
            None => Some(format!("node {target} does not answer, or takes a snapshot: repeat once it has caught up")),
            Some(lag) if lag > HANDOVER_LAG_MAX => {
                Some(format!("node {target} is {lag} entries behind: repeat once it has caught up"))
            }
            Some(_) => None,
        }
    }

    fn answer_admin(&mut self, ticket: Ticket, group: GroupId, outcome: Outcome) {
        match outcome {
            Outcome::NotLeader { hint } => {
                base::mark::hit!("shard.admin.not_leader");
                self.replies.bare(ticket, group, Status::NotLeader(hint.unwrap_or_default()));
            }
            Outcome::ConfigBusy | Outcome::Transferring | Outcome::Overloaded => {
                base::mark::hit!("shard.admin.busy");
                self.replies.bare(ticket, group, Status::Overloaded);
            }
            Outcome::ConfigRefused => {
                base::mark::hit!("shard.admin.refused");
                let text = "the change names an unknown member, or leaves no voter, or too many";
                self.replies.text(ticket, group, Status::Refused, text);
            }
            _ => self.replies.bare(ticket, group, Status::Ok),
        }
    }
}
