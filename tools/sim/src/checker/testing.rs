//! Hand-made nodes for the checkers' own tests.

use base::{GroupId, LogIndex, Mono, NodeId, Term, mix64};
use raft::{Body, Config, Role};

use crate::observe::{Checker, Event, GroupView, LogView, PeerMark, Time, Violation};

/// An AppendEntries without a commit index, sent at that time of its sender's clock. `prev` is term and index.
pub(crate) fn append(term: u64, (prev_term, prev_index): (u64, u64), count: u16, sent: u64) -> Body {
    Body::AppendEntries {
        term: Term(term),
        prev_index: LogIndex(prev_index),
        prev_term: Term(prev_term),
        prev_crc: 0,
        commit_index: LogIndex(0),
        read_position: 0,
        count,
        send_mono: Mono(sent),
    }
}

/// The ack of an AppendEntries that was sent at that time; 0 answers none.
pub(crate) fn ack(term: u64, index: u64, sent: u64) -> Body {
    Body::AppendResp {
        term: Term(term),
        index: LogIndex(index),
        rejected: false,
        busy: false,
        faulty: false,
        hint_index: LogIndex(0),
        hint_term: Term(0),
        read_position: 0,
        echo_mono: Mono(sent),
    }
}

/// A log as a list.
#[derive(Clone, Default, Debug)]
pub(crate) struct Twin {
    first: u64,
    before: (u64, u32),
    entries: Vec<(u64, u32, Vec<u8>)>,
    faulty: Vec<u64>,
}

impl Twin {
    /// Entries of these terms from index 1, without payload.
    pub(crate) fn of(terms: &[u64]) -> Twin {
        let mut twin = Twin::default();
        terms.iter().for_each(|term| twin.push(*term, &[]));
        twin
    }

    pub(crate) fn push(&mut self, term: u64, payload: &[u8]) {
        let previous = self.entries.last().map_or(self.before.1, |last| last.1);
        let seed = mix64(u64::from(previous) << 32 ^ term);
        let crc = payload.iter().fold(seed, |hash, byte| mix64(hash ^ u64::from(*byte))) as u32 | 1;
        self.entries.push((term, crc, payload.to_vec()));
    }

    /// Spoils the crc of an entry.
    pub(crate) fn rot(&mut self, index: u64) {
        let at = (index - self.first_index().0) as usize;
        self.entries[at].1 ^= 0x0100;
    }

    /// The bytes of an entry are lost, and the node knows.
    pub(crate) fn spoil(&mut self, index: u64) {
        self.faulty.push(index);
    }

    /// Drops the entries up to `index`.
    pub(crate) fn compact(&mut self, index: u64) {
        let count = (index + 1 - self.first_index().0) as usize;
        let last = &self.entries[count - 1];
        self.before = (last.0, last.1);
        self.first = index + 1;
        self.entries.drain(..count);
    }

    /// Drops the entries up to the last of `other`, and takes that for the one before the first.
    pub(crate) fn compact_as(&mut self, other: &Twin) {
        self.compact(other.last_index().0);
        let last = other.entries.last().expect("a log to compact by has entries");
        self.before = (last.0, last.1);
    }

    fn held(&self, index: LogIndex) -> Option<&(u64, u32, Vec<u8>)> {
        self.entries.get(index.0.checked_sub(self.first_index().0)? as usize)
    }
}

impl LogView for Twin {
    fn first_index(&self) -> LogIndex {
        LogIndex(self.first.max(1))
    }

    fn last_index(&self) -> LogIndex {
        LogIndex(self.first_index().0 + self.entries.len() as u64 - 1)
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        let before = (index.next() == self.first_index()).then_some(Term(self.before.0));
        self.held(index).map(|held| Term(held.0)).or(before)
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        let before = (index.next() == self.first_index()).then_some(self.before.1);
        self.held(index).map(|held| held.1).or(before)
    }

    fn is_faulty(&self, index: LogIndex) -> bool {
        self.faulty.contains(&index.0)
    }

    fn payload(&self, index: LogIndex, out: &mut Vec<u8>) -> bool {
        self.held(index).is_some_and(|held| {
            out.extend(&held.2);
            true
        })
    }
}

/// One node of group 1, to be put into any state.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) node: u64,
    pub(crate) incarnation: u64,
    pub(crate) now_ms: u64,
    pub(crate) role: Role,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
    pub(crate) persisted: u64,
    pub(crate) applied: u64,
    pub(crate) state_hash: u64,
    pub(crate) config: Config,
    pub(crate) config_index: u64,
    pub(crate) is_quarantined: bool,
    pub(crate) is_doubtful: bool,
    pub(crate) lease_until_ms: Option<u64>,
    pub(crate) peers: Vec<PeerMark>,
    pub(crate) log: Twin,
}

/// The group of every [`Seat`].
pub(crate) const GROUP: GroupId = GroupId(1);

impl Seat {
    /// A follower with an empty log in a group of the nodes 1 to 3.
    pub(crate) fn new(node: u64) -> Seat {
        Seat {
            node,
            incarnation: 1,
            now_ms: 0,
            role: Role::Follower,
            term: 0,
            vote: 0,
            commit: 0,
            persisted: 0,
            applied: 0,
            state_hash: 0,
            config: Config::single(&[NodeId(1), NodeId(2), NodeId(3)]),
            config_index: 0,
            is_quarantined: false,
            is_doubtful: false,
            lease_until_ms: None,
            peers: Vec::new(),
            log: Twin::default(),
        }
    }

    /// A follower in the term of its last entry, all persisted, committed and applied up to `commit`.
    pub(crate) fn with(node: u64, terms: &[u64], commit: u64) -> Seat {
        let term = terms.last().copied().unwrap_or(0);
        let persisted = terms.len() as u64;
        Seat { term, commit, persisted, applied: commit, log: Twin::of(terms), ..Seat::new(node) }
    }

    pub(crate) fn leading(mut self) -> Seat {
        self.role = Role::Leader;
        self.vote = self.node;
        self
    }

    pub(crate) fn view(&self) -> GroupView<'_> {
        GroupView {
            node: NodeId(self.node),
            incarnation: self.incarnation,
            group: GROUP,
            now: Mono(self.now_ms * 1_000_000),
            role: self.role,
            term: Term(self.term),
            vote: NodeId(self.vote),
            leader: if self.role == Role::Leader { NodeId(self.node) } else { NodeId(0) },
            commit: LogIndex(self.commit),
            persisted: LogIndex(self.persisted),
            applied: LogIndex(self.applied),
            state_hash: self.state_hash,
            config: &self.config,
            config_index: LogIndex(self.config_index),
            is_stopped: false,
            is_quarantined: self.is_quarantined,
            is_doubtful: self.is_doubtful,
            lease_until: self.lease_until_ms.map(|ms| Mono(ms * 1_000_000)),
            peers: &self.peers,
            log: &self.log,
        }
    }
}

pub(crate) type Seen = Result<(), Violation>;

/// A moment, in ms.
pub(crate) fn ms(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

pub(crate) fn turn(checker: &mut impl Checker, seat: &Seat) -> Seen {
    checker.observe(ms(seat.now_ms), &Event::Turn(seat.view()))
}

pub(crate) fn boot(checker: &mut impl Checker, seat: &Seat) -> Seen {
    let (node, incarnation) = (NodeId(seat.node), seat.incarnation);
    checker.observe(ms(seat.now_ms), &Event::Boot { node, incarnation, groups: &[seat.view()] })
}

/// The claim failed, in the words of `checker`.
pub(crate) fn fires(checker: &'static str, seen: Seen) {
    let violation = seen.expect_err("the checker saw nothing wrong");
    assert_eq!(violation.checker, checker, "{violation}");
}
