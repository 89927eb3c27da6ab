//! Groups whose state is gone while their log is whole: a table of the store was damaged.
//!
//! ```text
//! damaged ──▶ dropped ──▶ the log has all from entry 1: applied anew from there ──────▶ as far as before: it serves again
//!                    └──▶ it has not: the leader is asked for its state; a snapshot ───┘
//! ```
//! Such a group votes, takes entries and acks them as ever: what it promised lies in the log. It answers no reads and takes
//! no commands, and whoever leads it hands that over. Nothing is made up: a group all of whose voters have lost their state
//! stands still and says so.
//!
//! A group that dropped its rows by itself, since this node was out, is no damaged one: nobody has counted it among those
//! that may fail. Taken in again it is a new member: before it has a state it takes no entries and acks none.

use base::mono::Span;
use base::{GroupId, LogIndex, Mono, NodeId, mutate};
use meta::Store;
use raft::{Body, Input};
use seglog::Disk;

use crate::Shard;
use crate::group::ApplyWait;

/// A leader is asked for its state so often, and asked to lead instead.
const ASK_EVERY: Span = Span::from_ms(1_000);
/// A member that asked so lately has lost its state too.
const ASKED_LATELY: Span = Span::from_ms(5_000);

/// What happened to a group's state on this node: for the log, and for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// It is gone, and is on its way back.
    StateLost {
        /// What was found.
        reason: String,
    },
    /// It is gone, and no voter of the group has it: nothing but a backup brings it back.
    NoneHasIt,
    /// It is as it was, and the group is served again.
    StateBack,
}

/// A group's way back.
#[derive(Debug)]
pub(crate) struct Lost {
    /// It was applied so far: before that nothing is served.
    until: LogIndex,
    next_ask: Mono,
    /// Members that asked this node, which led, for a state that it has not.
    askers: Vec<(NodeId, Mono)>,
    is_hopeless: bool,
    /// It takes entries and acks them though it lacks what lies before its log: as one that was damaged in this life does.
    acks: bool,
}

impl Lost {
    fn new(until: LogIndex, now: Mono, acks: bool) -> Lost {
        Lost { until, next_ask: now, askers: Vec::new(), is_hopeless: false, acks }
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// At boot: groups whose log begins behind what is applied.
    pub(crate) fn find_lost(&mut self, now: Mono) {
        for at in 0..self.groups.len() as u32 {
            let slot = &self.groups[at as usize];
            let before = self.log.first_index(slot.id).prev();
            if slot.applied < before {
                base::mark::hit!("shard.lost.found_at_boot");
                let reason = "the store has no state of it: lost, or dropped when this node was voted out".to_owned();
                self.notices.push_back((slot.id, Notice::StateLost { reason }));
                // Whether it was damaged or dropped is not known any more.
                self.groups[at as usize].lost = Some(Lost::new(before, now, false));
                self.lost.insert(at);
            }
        }
    }

    /// Rows of a group lie in a damaged table: its state goes, here, and nothing else.
    pub(crate) fn handle_damaged(&mut self, group: GroupId, reason: String) {
        let Some(at) = self.local(group) else { return self.store.drop_group(group) };
        base::mark::hit!("shard.lost.damaged_while_leading", self.groups[at as usize].is_leader);
        self.notices.push_back((group, Notice::StateLost { reason }));
        self.lose_state(at, true);
    }

    /// Drops a group's state and begins its way back. It was damaged, and goes on to ack, or this node is out of it.
    pub(crate) fn lose_state(&mut self, at: u32, acks: bool) {
        let now = self.turn_now;
        let slot = &mut self.groups[at as usize];
        let group = slot.id;
        let until = slot.lost.as_ref().map_or(slot.applied, |lost| lost.until.max(slot.applied));
        let acks = acks && slot.lost.as_ref().is_none_or(|lost| lost.acks);
        slot.lost = Some(Lost::new(until, now, acks));
        slot.frozen_gone = self.frozen_last;
        slot.applied = LogIndex(0);
        slot.wait = ApplyWait::None;
        slot.apply_tokens.drain(..).for_each(|token| self.store.release(token));
        self.lost.insert(at);
        self.answer_waiting(at, NodeId(0));
        for (_, read) in std::mem::take(&mut self.groups[at as usize].confirmed) {
            self.serve(at, read, Vec::new());
        }
        self.forget_half(group, at);
        self.store.drop_group(group);
        self.forget_answers(at);
        self.forget_level(at);
        self.forget_states(at);
        self.queue_apply(at);
        self.watch_lost(now);
    }

    /// Does the log lack something of what is to be applied anew: what was cut off before it, or an entry whose bytes are
    /// gone? Nobody repairs those: when they went, they were applied.
    fn lacks_entries(&self, at: u32) -> bool {
        let slot = &self.groups[at as usize];
        let Some(lost) = &slot.lost else { return false };
        let is_cut = slot.applied.next() < self.log.first_index(slot.id);
        let faulty = self.log.first_faulty_above(slot.id, slot.applied).filter(|index| *index <= lost.until);
        base::mark::hit!("shard.lost.entry_faulty", !is_cut && faulty.is_some());
        is_cut || faulty.is_some()
    }

    /// Does the state have to come from elsewhere?
    fn wants_state(&self, at: u32) -> bool {
        self.groups[at as usize].installed.is_none() && self.lacks_entries(at)
    }

    /// An ack says that all entries up to its own are held here. Whoever dropped what some of them made, by its own will,
    /// must not be counted for that: else the last node that does hold it could go, and nobody would miss it.
    pub(crate) fn may_ack(&self, at: u32) -> bool {
        let is_new = self.groups[at as usize].lost.as_ref().is_some_and(|lost| !lost.acks);
        mutate!(MUT_19G, !(is_new && self.lacks_entries(at)), true)
    }

    /// A leader sends entries to a group that may ack none: so it is a member again, and asks for a state.
    pub(crate) fn note_entries_refused(&mut self, at: u32) {
        base::mark::hit!("shard.lost.entries_refused");
        let now = self.turn_now;
        if let Some(lost) = self.groups[at as usize].lost.as_mut().filter(|lost| lost.next_ask == Mono::MAX) {
            lost.next_ask = now;
        }
    }

    /// Asks leaders for what is lost, and gives away the lead of groups that cannot be served.
    pub(crate) fn watch_lost(&mut self, now: Mono) {
        let due: Vec<u32> =
            self.lost.iter().copied().filter(|at| self.lost_at(*at).is_some_and(|lost| lost.next_ask <= now)).collect();
        for at in due {
            if let Some(lost) = &mut self.groups[at as usize].lost {
                lost.next_ask = now + ASK_EVERY;
                lost.askers.retain(|(_, asked)| now.since(*asked) < ASKED_LATELY);
            }
            let slot = &self.groups[at as usize];
            if self.is_out(at) && !self.is_spoken_to(at) {
                // Nobody would send it; who takes this node in again sends entries.
                if let Some(lost) = &mut self.groups[at as usize].lost {
                    lost.next_ask = Mono::MAX;
                }
            } else if slot.raft.is_leader() {
                self.give_way(at, now);
            } else if self.wants_state(at) && !self.has_half(slot.id) {
                base::mark::hit!("shard.lost.asks_its_leader");
                self.step(at, Input::StateLost { is_lost: true, now });
            }
        }
    }

    /// Leads a group that it cannot serve: whoever still can is asked to lead.
    fn give_way(&mut self, at: u32, now: Mono) {
        let slot = &self.groups[at as usize];
        let Some(lost) = &slot.lost else { return };
        let has_lost = |id: NodeId| lost.askers.iter().any(|(asker, _)| *asker == id);
        let successor = slot.raft.best_successor(|id| !has_lost(id));
        let me = self.settings.node;
        let nobody = self.wants_state(at) && slot.raft.config().voters().all(|id| id == me || has_lost(id));
        let tells = nobody && !lost.is_hopeless;
        let group = slot.id;
        self.step(at, Input::StateLost { is_lost: true, now });
        if let Some(lost) = &mut self.groups[at as usize].lost {
            lost.is_hopeless = nobody;
        }
        if tells {
            base::mark::hit!("shard.lost.nobody_has_it");
            self.notices.push_back((group, Notice::NoneHasIt));
        }
        if let Some(target) = successor {
            base::mark::hit!("shard.lost.hands_over");
            self.step(at, Input::Transfer { target, now });
        }
    }

    /// A member asks for the state that is lost here as well.
    pub(crate) fn note_asker(&mut self, from: NodeId, at: u32, body: &Body, now: Mono) {
        let Some(lost) = &mut self.groups[at as usize].lost else { return };
        if matches!(body, Body::EntryFetch { first_index: LogIndex(0), .. }) {
            base::mark::hit!("shard.lost.asked_for_it_too");
            lost.askers.retain(|(asker, _)| *asker != from);
            lost.askers.push((from, now));
        }
    }

    /// Something was applied: is the group as far as it was?
    pub(crate) fn note_rebuilt(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        let applied = slot.applied;
        if slot.lost.take_if(|lost| lost.until <= applied).is_some() {
            base::mark::hit!("shard.lost.back");
            self.lost.remove(&at);
            let group = slot.id;
            self.notices.push_back((group, Notice::StateBack));
            let now = self.turn_now;
            self.step(at, Input::StateLost { is_lost: false, now });
        }
    }

    /// The members changed: who was out may be in again.
    pub(crate) fn ask_again(&mut self, at: u32) {
        let now = self.turn_now;
        if let Some(lost) = &mut self.groups[at as usize].lost {
            lost.next_ask = lost.next_ask.min(now);
        }
    }

    fn lost_at(&self, at: u32) -> Option<&Lost> {
        self.groups[at as usize].lost.as_ref()
    }

    /// When [`Shard::watch_lost`] has something to do.
    pub(crate) fn lost_deadline(&self) -> Mono {
        let asks = self.lost.iter().filter_map(|at| self.lost_at(*at)).map(|lost| lost.next_ask);
        asks.min().unwrap_or(Mono::MAX)
    }
}
