//! One group's part of the index: where its entries lie, their terms and crcs, and its state records.

use std::collections::BTreeSet;

use base::{GroupId, LogIndex, NodeId, Term};

use crate::stretch::{Loc, Stretch};

/// What a group's log can be counted on for. The order is that of the wire (docs/design/raft.md, "Storage faults").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Health {
    /// At most a torn tail was cut that nobody can have counted on.
    #[default]
    Clean = 0,
    /// Entries lost their bytes; (index, term, crc) of each is known. Never set: it is what faulty entries make of Clean.
    Faulty = 1,
    /// The last frames were cut though they may have been acknowledged: their head was good, their body was not.
    RecoveringHead = 2,
    /// Identities, votes or acknowledged entries are lost: the node is to be replaced under a new id.
    Quarantined = 3,
}

impl Health {
    /// The number in a HEALTH record.
    pub(crate) fn to_disk(self) -> u8 {
        match self {
            Health::Clean | Health::Faulty => 0,
            Health::RecoveringHead => 1,
            Health::Quarantined => 2,
        }
    }

    pub(crate) fn from_disk(number: u8) -> Option<Health> {
        [Health::Clean, Health::RecoveringHead, Health::Quarantined]
            .into_iter()
            .find(|health| health.to_disk() == number)
    }
}

/// Segments that hold the newest record of each kind; 0 for none. They pin the oldest segment until copied forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StateAt {
    pub hard_state: u64,
    pub prefix: u64,
    pub checkpoint: u64,
    pub health: u64,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupLog {
    pub group: GroupId,
    /// GROUP_NEW or a snapshot made it; false when only a term or vote is known.
    pub is_begun: bool,
    pub life: u32,
    /// Its entries; but for `rewritten` ones their segments never fall.
    pub held: Stretch,
    /// Term and crc of the entry before the first one held.
    pub before: (Term, u32),
    /// Held entries whose bytes are lost; their crc and term are right all the same.
    pub faulty: BTreeSet<LogIndex>,
    /// Held entries that lie in a REWRITE, in a later segment than their neighbours.
    pub rewritten: BTreeSet<LogIndex>,
    /// In force at the entry before the first one held; opaque.
    pub config: Vec<u8>,
    /// Held entries of kind Config with their payload; few.
    pub configs: Vec<(LogIndex, Vec<u8>)>,
    pub term: Term,
    pub vote: NodeId,
    pub checkpoint: Option<(LogIndex, Term)>,
    /// As in the newest HEALTH record; [`GroupLog::health`] counts faulty entries too.
    pub stored_health: Health,
    pub at: StateAt,
    /// A truncation whose record waits for the entry that replaces it.
    pub truncated_from: Option<LogIndex>,
    /// The footer run being extended: (segment_seq, run, next index, term, life).
    pub footer_run: Option<(u64, u32, LogIndex, Term, u32)>,
}

impl GroupLog {
    pub fn new(group: GroupId) -> GroupLog {
        GroupLog {
            group,
            is_begun: false,
            life: 0,
            held: Stretch::at(LogIndex(1)),
            before: (Term(0), 0),
            faulty: BTreeSet::new(),
            rewritten: BTreeSet::new(),
            config: Vec::new(),
            configs: Vec::new(),
            term: Term(0),
            vote: NodeId(0),
            checkpoint: None,
            stored_health: Health::Clean,
            at: StateAt::default(),
            truncated_from: None,
            footer_run: None,
        }
    }

    /// The first index held, or to be held.
    pub fn first(&self) -> LogIndex {
        self.held.first()
    }

    /// `first - 1` when none is held.
    pub fn last(&self) -> LogIndex {
        self.held.end().prev()
    }

    pub fn loc(&self, index: LogIndex) -> Option<&Loc> {
        self.held.loc(index)
    }

    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index.next() == self.first() { Some(self.before.0) } else { self.held.term(index) }
    }

    pub fn crc_of(&self, index: LogIndex) -> Option<u32> {
        if index.next() == self.first() { Some(self.before.1) } else { self.loc(index).map(|loc| loc.crc) }
    }

    pub fn last_crc(&self) -> u32 {
        self.held.last().map_or(self.before.1, |loc| loc.crc)
    }

    /// The bytes of the entry at `index` are here from now on.
    pub fn rewrite(&mut self, index: LogIndex, loc: Loc) {
        self.held.put(index, loc);
        self.faulty.remove(&index);
        self.rewritten.insert(index);
    }

    /// The payload of the Config entry at `index` is known.
    pub fn put_config(&mut self, index: LogIndex, payload: &[u8]) {
        let at = self.configs.partition_point(|(held, _)| *held < index);
        if self.configs.get(at).is_none_or(|(held, _)| *held != index) {
            self.configs.insert(at, (index, payload.to_vec()));
        }
    }

    /// Drops the entries from `from` on.
    pub fn drop_suffix(&mut self, from: LogIndex) {
        self.held.drop_from(from);
        self.configs.retain(|(index, _)| *index < from);
        self.faulty.split_off(&from);
        self.rewritten.split_off(&from);
        self.footer_run = None;
    }

    /// Drops the entries before `first` and sets what precedes it.
    pub fn drop_prefix(&mut self, first: LogIndex, before: (Term, u32), config: &[u8]) {
        self.held.drop_before(first);
        self.configs.retain(|(index, _)| *index >= first);
        for set in [&mut self.faulty, &mut self.rewritten] {
            while set.first().is_some_and(|index| *index < first) {
                set.pop_first();
            }
        }
        self.before = before;
        self.config.clear();
        self.config.extend_from_slice(config);
    }

    /// Drops all entries; the next one is at `first`.
    pub fn reset(&mut self, life: u32, first: LogIndex, before: (Term, u32), config: &[u8]) {
        self.held.clear(first);
        self.faulty.clear();
        self.rewritten.clear();
        self.life = life;
        self.truncated_from = None;
        self.footer_run = None;
        self.drop_prefix(first, before, config);
    }

    /// Takes a term and vote if they are newer: the highest term wins, in one term a vote over none.
    pub fn merge_state(&mut self, term: Term, vote: NodeId, segment_seq: u64) {
        let is_newer = term > self.term || (term == self.term && (vote == self.vote || self.vote == NodeId(0)));
        base::mark::hit!("seglog.group.state_is_older", !is_newer);
        if is_newer {
            (self.term, self.vote) = (term, vote);
            self.at.hard_state = self.at.hard_state.max(segment_seq);
        }
    }

    pub fn has_state(&self) -> bool {
        self.term != Term(0) || self.vote != NodeId(0)
    }

    /// The oldest segment that an entry held lies in: entries after the first one that was not rewritten lie in its
    /// segment or in later ones.
    pub fn oldest_segment(&self) -> Option<u64> {
        let mut oldest = None;
        for (index, loc) in (self.first().0..).zip(self.held.locs().range(0, self.held.len())) {
            let segment = u64::from(loc.segment);
            oldest = Some(oldest.map_or(segment, |before: u64| before.min(segment)));
            if !self.rewritten.contains(&LogIndex(index)) {
                break;
            }
        }
        oldest
    }

    pub fn health(&self) -> Health {
        let has_faulty = !self.faulty.is_empty();
        if self.stored_health == Health::Clean && has_faulty { Health::Faulty } else { self.stored_health }
    }
}
