//! Answers to requests: collected through a turn, handed over at its end, in memory that is kept.

use std::ops::Range;

use base::stages::{OpClass, Stage, Stamp};
use base::{GroupId, LogIndex, NodeId, Term};

use crate::Timing;

/// Where an answer goes: opaque to the shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Ticket {
    /// The connection.
    pub connection: u64,
    /// The request on it.
    pub request: u64,
    /// The request's kind, for the answer's header.
    pub kind: u8,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// The body answers it.
    Ok,
    /// This node does not lead the group; the node named may (0: unknown). Nothing was done.
    NotLeader(NodeId),
    /// Leadership was lost with the command in the log: done or not, nobody knows yet. Repeating it under the same
    /// session and sequence is safe.
    Unavailable,
    /// A queue is at its bound; nothing was done.
    Overloaded,
    /// The request makes no sense; the body is a text.
    Malformed,
    /// The cluster refuses it; the body is a text.
    Refused,
    /// The release, or the group's feature level, does not have it yet; the body is a text. Nothing was done.
    Unsupported,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Where to.
    pub ticket: Ticket,
    /// Of which group.
    pub group: GroupId,
    /// How it ended.
    pub status: Status,
    /// Where it took effect, of a command or query that was done.
    pub effect: Option<Effect>,
    /// Of what was done: which of [`Replies::timings`] it shares, and what it was.
    pub timing: Option<(u32, OpClass)>,
    /// The answer's bytes.
    pub body: &'a [u8],
}

/// Where a request took effect in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// A command: its entry. A query: the applied index that it saw.
    pub index: LogIndex,
    /// A command: its entry's term; else 0.
    pub term: Term,
    /// A command: its place in the entry, from 0.
    pub place: u32,
    /// A query: how it was confirmed; none when nothing was.
    pub path: Option<raft::ReadPath>,
}

#[derive(Clone, Debug)]
struct Item {
    ticket: Ticket,
    group: GroupId,
    status: Status,
    effect: Option<Effect>,
    timing: Option<(u32, OpClass)>,
    body: Range<usize>,
}

/// The answers of a turn, in order.
#[derive(Default, Debug)]
pub struct Replies {
    bytes: Vec<u8>,
    items: Vec<Item>,
    timings: Vec<Timing>,
}

impl Replies {
    /// Adds an answer whose body `write` appends.
    pub(crate) fn push(&mut self, ticket: Ticket, group: GroupId, status: Status, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.items.push(Item { ticket, group, status, effect: None, timing: None, body: start..self.bytes.len() });
    }

    /// Adds the time of answers; one for all that share it, as the reads of a group do that were served together: each
    /// time is recorded stage by stage, however many share it.
    pub(crate) fn add_timing(&mut self, timing: Timing) -> u32 {
        if self.timings.last() != Some(&timing) {
            self.timings.push(timing);
        }
        self.timings.len() as u32 - 1
    }

    /// The answer just added took that time.
    pub(crate) fn time_last(&mut self, timing: u32, class: OpClass) {
        self.items.last_mut().expect("it was just pushed").timing = Some((timing, class));
    }

    /// The outcomes of all so far are known now.
    pub(crate) fn mark_done(&mut self, now: Stamp) {
        for timing in &mut self.timings {
            // A write was proposed, a read was not.
            let stage = if timing.slot.has(Stage::Propose) { Stage::Apply } else { Stage::Lookup };
            timing.slot.mark(stage, now);
        }
    }

    /// The times of the answers so far.
    pub fn timings(&self) -> &[Timing] {
        &self.timings
    }

    /// Adds the answer to what was done, and where that was.
    pub(crate) fn done(&mut self, ticket: Ticket, group: GroupId, effect: Effect, write: impl FnOnce(&mut Vec<u8>)) {
        self.push(ticket, group, Status::Ok, write);
        self.items.last_mut().expect("it was just pushed").effect = Some(effect);
    }

    /// Adds an answer that has no body.
    pub(crate) fn bare(&mut self, ticket: Ticket, group: GroupId, status: Status) {
        self.push(ticket, group, status, |_| ());
    }

    /// Adds an answer that is a text.
    pub(crate) fn text(&mut self, ticket: Ticket, group: GroupId, status: Status, text: &str) {
        self.push(ticket, group, status, |out| out.extend_from_slice(text.as_bytes()));
    }

    /// All answers so far.
    pub fn iter(&self) -> impl Iterator<Item = Reply<'_>> {
        self.items.iter().map(|item| Reply {
            ticket: item.ticket,
            group: item.group,
            status: item.status,
            effect: item.effect,
            timing: item.timing,
            body: &self.bytes[item.body.clone()],
        })
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets them, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.timings.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_out_in_order_with_their_bodies() {
        let mut replies = Replies::default();
        let ticket = |request| Ticket { connection: 1, request, kind: 1 };
        replies.text(ticket(1), GroupId(0), Status::Malformed, "no");
        replies.bare(ticket(2), GroupId(0), Status::Overloaded);
        replies.push(ticket(3), GroupId(0), Status::Ok, |out| out.extend([7, 8]));
        let seen: Vec<_> = replies.iter().map(|r| (r.ticket.request, r.body.to_vec())).collect();
        assert_eq!(seen, [(1, b"no".to_vec()), (2, vec![]), (3, vec![7, 8])]);
        replies.clear();
        assert!(replies.is_empty());
    }

    #[test]
    fn answers_of_the_same_time_share_it() {
        let mut replies = Replies::default();
        let of = |index| Timing { index: LogIndex(index), commands: 1, ..Timing::default() };
        assert_eq!([1, 1, 2, 1].map(|index| replies.add_timing(of(index))), [0, 0, 1, 2]);
        assert_eq!(replies.timings(), [of(1), of(2), of(1)]);
    }
}
