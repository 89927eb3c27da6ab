//! The seam to a target: operations in, answers out, never blocking but in `poll`.

use base::{Mono, Span};

use crate::op::Op;

/// Names an operation between submit and answer: a slot of the generator and which use of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Default)]
pub struct OpToken {
    /// The slot.
    pub slot: u32,
    /// Tells a reuse from the one before.
    pub generation: u32,
}

/// Whether an operation was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submit {
    /// It is on its way; one [`Done`] follows.
    Queued,
    /// No room before something is done: as good as no permit.
    Full,
}

/// Why an operation was answered with no.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Something else is at the place.
    Conflict,
    /// Nothing is there.
    NotFound,
    /// No room.
    Quota,
    /// Asked to come back.
    Busy,
    /// Anything else.
    Other,
}

/// Why an operation has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// Not done within its time, for sure.
    TimedOut,
    /// It may have been done.
    Unknown,
    /// The target does not want it.
    Refused,
    /// The answer could not be read.
    Undecodable,
}

/// What an operation came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A write was done: the last journal row it made, and the revision of its file (0 where there is none). Of a batch,
    /// `rev` is the revision of its first file.
    Applied {
        /// Journal row.
        jid: u64,
        /// Revision.
        rev: u64,
    },
    /// A file was found, with the first 8 bytes of its content hash.
    File {
        /// Revision.
        rev: u64,
        /// Bytes.
        size: u64,
        /// Of the content.
        content: u64,
    },
    /// A page of so many entries, as of this head.
    Page {
        /// Entries.
        entries: u32,
        /// Of the journal.
        head: u64,
    },
    /// Changes up to a place in the journal.
    Changes {
        /// How many were told.
        entries: u32,
        /// Read up to here.
        head: u64,
    },
    /// Where the journal stands.
    Head(u64),
    /// How many of the blocks asked for are known.
    Known(u32),
    /// The answer was no.
    Refused(Refusal),
    /// There was none.
    Failed(Failure),
}

/// An operation has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Which.
    pub token: OpToken,
    /// When it was handed to the network. Invariant: not before its submit.
    pub sent: Mono,
    /// When its answer had arrived.
    pub replied: Mono,
    /// What it came to.
    pub answer: Answer,
}

/// Where the service time of one operation went, as far as its target tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Breakdown {
    /// The target's name for this kind of operation; empty when it told nothing.
    pub class: &'static str,
    /// The node that answered; 0 when it told nothing.
    pub node: u64,
    /// The way there and back.
    pub net: Span,
    /// What the node did, in time order. Invariant: `net` and these are no longer than the service.
    pub stages: Vec<(&'static str, Span)>,
}

impl Breakdown {
    /// The time that the node accounts for.
    #[must_use]
    pub fn server(&self) -> Span {
        Span(self.stages.iter().map(|stage| stage.1.0).sum())
    }

    /// What of a service of this length nobody accounts for: tries that led nowhere, or all of it.
    #[must_use]
    pub fn unattributed(&self, service: Span) -> Span {
        Span(service.0.saturating_sub(self.net.0 + self.server().0))
    }
}

/// A target, as one generator core drives it.
pub trait Driver {
    /// The time now: of the machine, or virtual.
    fn now(&mut self) -> Mono;

    /// Takes an operation. `now` is the generator's time of this turn.
    fn submit(&mut self, op: &Op, token: OpToken, now: Mono) -> Submit;

    /// Lets time pass until something is done, or `until`; appends what is done. Returns how long it was idle.
    fn poll(&mut self, until: Mono, done: &mut Vec<Done>) -> Span;

    /// Operations that may be sent in one turn when they are late: 64 for each connection.
    fn burst_max(&self) -> usize {
        64
    }

    /// Of an operation that has just ended: where its time went, if the target was asked for that. Asked once for each.
    fn take_breakdown(&mut self, _token: OpToken) -> Option<Breakdown> {
        None
    }
}

/// What checks ask once the run is over.
pub trait Inspector {
    /// Why it could not be told.
    type Error: std::fmt::Display;

    /// The journal's head of a namespace, and all files in it.
    ///
    /// Errors: as the target's.
    fn inspect(&mut self, namespace: u32) -> Result<Inspection, Self::Error>;
}

/// A namespace as the target tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inspection {
    /// The journal's head.
    pub head: u64,
    /// Its files.
    pub files: Vec<Listed>,
    /// What the target says that they hold in all.
    pub bytes: u64,
}

/// A file as the target lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// From the namespace's root.
    pub path: String,
    /// Revision.
    pub rev: u64,
    /// Bytes.
    pub size: u64,
    /// The first 8 bytes of its content hash.
    pub content: u64,
}
