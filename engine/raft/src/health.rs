//! What a group's log is worth after a storage fault, and what that bars the node from (docs/design/raft.md, "Storage
//! faults").
//!
//! ```text
//! Clean ◀──────── all faulty entries written again, or cut ──────── Faulty
//! Clean ◀── the leader vouches, or the floor is reached ── RecoveringHead
//!           told that acked entries are gone ──▶ Quarantined, for ever
//! ```

use base::{LogIndex, Mono, NodeId, SyncEpoch, Term};

use crate::repair::{Answer, Ask};
use crate::{Boot, Log};

/// What the log of a group is worth on this node. The numbers are those on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Health {
    /// At most a torn tail was cut that nobody can have counted on.
    #[default]
    Clean = 0,
    /// Entries that were persisted lost their bytes, above what is applied; index, term and crc are known. They count
    /// as present in votes; they are not sent, applied or acked, and the node does not campaign.
    Faulty = 1,
    /// The last frame is damaged and may have been acked: no vote and no campaign until the doubt ends.
    RecoveringHead = 2,
    /// Votes or acked entries are lost: no vote, no campaign, no ack, ever. Replaced under a new node id.
    Quarantined = 3,
}

impl Health {
    /// From its number on the wire.
    #[must_use]
    pub fn from_u32(number: u32) -> Option<Health> {
        [Health::Clean, Health::Faulty, Health::RecoveringHead, Health::Quarantined].get(number as usize).copied()
    }

    /// It knows the identity of every entry that it ever acked.
    pub(crate) fn knows_all(self) -> bool {
        matches!(self, Health::Clean | Health::Faulty)
    }
}

/// Faults of one group's log, and what is being done about them. Small and unused while the log is clean.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Faults {
    /// Clean, RecoveringHead or Quarantined: what no list of faulty entries tells.
    pub(crate) base: Health,
    /// What the caller was told last.
    pub(crate) told: Health,
    /// The lowest faulty entry above what is applied.
    pub(crate) lowest: Option<LogIndex>,
    /// The lowest faulty entry at or below what is applied, found in this life: asked for, and nothing waits for it.
    pub(crate) behind: Option<LogIndex>,
    /// What the log's first faulty entry was when it was looked at last.
    pub(crate) seen: Option<LogIndex>,
    /// Entries written again whose epoch is not synced: the newest epoch, and the lowest of them.
    pub(crate) rewriting: Option<(SyncEpoch, LogIndex)>,
    /// Applied at the start, durably: nothing at or below needs repair.
    pub(crate) applied_before: LogIndex,
    /// Above every term in which this node can have acked what it now lost; 0 when nothing is lost.
    pub(crate) doubt_term: Term,
    /// The doubt began then.
    pub(crate) since: Mono,
    /// Votes go to nobody whose last entry is below, and the doubt ends when the own one is persisted.
    pub(crate) floor: Option<(Term, LogIndex)>,
    /// A leader of this term vouched that all that it ever counted this node for is in the log up to here.
    pub(crate) vouched: Option<(Term, LogIndex)>,
    pub(crate) next_ask: Mono,
    /// Something was written again since all peers were asked.
    pub(crate) has_progressed: bool,
    /// The newest answer of each peer.
    pub(crate) answers: Vec<(NodeId, Answer)>,
    /// Peers that ask; answered when the next drain finds the term on disk.
    pub(crate) asks: Vec<(NodeId, Ask)>,
}

impl Faults {
    pub(crate) fn new(boot: &Boot, term: Term, log: &impl Log) -> Faults {
        let mut faults = Faults {
            base: if boot.health == Health::Faulty { Health::Clean } else { boot.health },
            told: boot.health,
            lowest: None,
            behind: None,
            seen: None,
            rewriting: None,
            applied_before: boot.applied_index,
            doubt_term: Term(0),
            since: boot.now,
            floor: None,
            vouched: None,
            next_ask: boot.now,
            has_progressed: false,
            answers: Vec::new(),
            asks: Vec::new(),
        };
        faults.find(log, boot.applied_index, term);
        faults
    }

    /// Looks for faulty entries anew; `term` is the own one, of the newest ack that can have left.
    pub(crate) fn find(&mut self, log: &impl Log, applied_index: LogIndex, term: Term) {
        let before = self.lowest;
        self.seen = log.first_faulty();
        self.lowest = log.first_faulty_above(applied_index);
        self.behind = log.first_faulty_above(self.applied_before).filter(|index| *index <= applied_index);
        if self.lowest != before {
            self.answers.clear();
        }
        // Acks up to a fault that is known never leave, so a higher one changes nothing.
        let is_lower = self.lowest.is_some_and(|index| before.is_none_or(|before| index < before));
        base::mark::hit!("raft.health.lower_fault", is_lower);
        base::mark::hit!("raft.health.fault_behind_applied", self.behind.is_some());
        if self.health() == Health::Clean {
            self.doubt_term = Term(0);
        } else if is_lower || self.doubt_term == Term(0) {
            self.doubt_term = Term(term.0 + 1);
        }
    }

    /// What the log is worth now.
    pub(crate) fn health(&self) -> Health {
        match self.base {
            Health::Clean | Health::Faulty if self.lowest.is_some() || self.rewriting.is_some() => Health::Faulty,
            base => base,
        }
    }

    /// Something is wrong, or was until now and nobody was told.
    pub(crate) fn is_active(&self) -> bool {
        self.health() != Health::Clean || self.told != Health::Clean || self.seen.is_some()
    }

    /// The last entry up to which no bytes are lost.
    pub(crate) fn readable_index(&self) -> LogIndex {
        self.lowest.map_or(LogIndex(u64::MAX), LogIndex::prev)
    }

    /// The last entry below which nothing is faulty or being written again.
    pub(crate) fn sound_index(&self) -> LogIndex {
        let rewriting = self.rewriting.map(|(_, index)| index);
        let first = self.lowest.into_iter().chain(rewriting).min();
        first.map_or(LogIndex(u64::MAX), LogIndex::prev)
    }

    pub(crate) fn note_rewritten(&mut self, epoch: SyncEpoch, index: LogIndex) {
        let (newest, lowest) = self.rewriting.unwrap_or((epoch, index));
        self.rewriting = Some((newest.max(epoch), lowest.min(index)));
    }

    /// True if something that was written again is now on disk.
    pub(crate) fn handle_synced(&mut self, epoch: SyncEpoch) -> bool {
        self.rewriting.take_if(|(newest, _)| *newest <= epoch).is_some()
    }

    /// Entries from `index` on are gone.
    pub(crate) fn note_truncated(&mut self, index: LogIndex) {
        self.rewriting.take_if(|(_, lowest)| *lowest >= index);
    }

    /// The log restarted behind a snapshot at `index`.
    pub(crate) fn note_installed(&mut self, index: LogIndex) {
        // What lies above may still wait for its sync: its lowest is then the first that can.
        if let Some((_, lowest)) = &mut self.rewriting {
            *lowest = (*lowest).max(index.next());
        }
    }
}
