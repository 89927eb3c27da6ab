//! One node under the hand of a test: what goes in, what leaves at once, what leaves after a sync.

use base::mono::Span;
use base::record::{EntryKind, Records};
use base::{LogIndex, Mono, NodeId, SyncEpoch, Term};
use raft::{Body, Boot, Config, ConfigChange, Effects, HardState, Input, Log, Outcome, Outgoing, Raft, Settings};

use crate::log_twin::{GROUP, TwinLog};

pub const LEASE: Span = Span::from_ms(500);
pub const INCARNATION: u64 = 3;

pub fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// A log with entries of these terms from index 1 on, all on disk.
pub fn log_of(terms: &[u64]) -> TwinLog {
    let mut log = TwinLog::new();
    for (at, term) in terms.iter().enumerate() {
        log.append_new(EntryKind::Commands, LogIndex(at as u64 + 1), Term(*term), &[]);
    }
    let epoch = log.close();
    log.sync(epoch);
    log
}

pub struct Rig {
    pub raft: Raft,
    pub log: TwinLog,
    pub now: Mono,
    /// Told by the drains so far.
    pub commit: LogIndex,
    pub reads: Vec<(u64, LogIndex)>,
    waiting: Vec<Outgoing>,
}

impl Rig {
    /// Node 1 of `voters` in `term`, whose log has these terms; it started longer ago than a voter stays loyal.
    pub fn new(voters: &[u64], term: u64, terms: &[u64]) -> Rig {
        let mut rig = Rig::just_booted(voters, term, terms);
        rig.now = rig.now + LEASE;
        rig.raft.step(&mut rig.log, Input::Tick { now: rig.now });
        rig.drain();
        rig
    }

    pub fn just_booted(voters: &[u64], term: u64, terms: &[u64]) -> Rig {
        let (log, now) = (log_of(terms), Mono(1_000_000_000));
        let boot = Boot {
            id: NodeId(1),
            group: GROUP,
            seed: 5,
            incarnation: INCARNATION,
            hard_state: HardState { term: Term(term), vote: NodeId(0) },
            applied_index: LogIndex(0),
            commit_floor: LogIndex(0),
            config: Config::single(&nodes(voters)),
            config_index: LogIndex(0),
            health: raft::Health::Clean,
            now,
            settings: Settings::default(),
        };
        let raft = Raft::new(boot, &log);
        Rig { raft, log, now, commit: LogIndex(0), reads: Vec::new(), waiting: Vec::new() }
    }

    /// A leader of `term`, elected by node 2 and, if there are more, node 3; its no-op is not synced.
    pub fn leader(voters: &[u64], term: u64, terms: &[u64]) -> Rig {
        let mut rig = Rig::new(voters, term - 1, terms);
        rig.campaign();
        rig.sync();
        for from in [2, 3].into_iter().filter(|id| voters.contains(id)) {
            rig.message(from, Body::VoteResp { term: Term(term), rejected: false, incarnation: INCARNATION });
        }
        assert!(rig.raft.is_leader() && rig.raft.term() == Term(term));
        rig.drain();
        rig
    }

    /// Asks for pre-votes, gets them all, and is a candidate whose own vote is not synced.
    pub fn campaign(&mut self) {
        let now = self.now;
        self.raft.step(&mut self.log, Input::Campaign { now });
        let term = self.raft.term().0 + 1;
        for from in self.raft.config().voters().filter(|id| *id != NodeId(1)).collect::<Vec<_>>() {
            let body = Body::PreVoteResp { term: Term(term), rejected: false, incarnation: INCARNATION };
            self.message(from.0, body);
        }
    }

    pub fn message(&mut self, from: u64, body: Body) {
        let input = Input::Message { from: NodeId(from), body, entries: Records::EMPTY, now: self.now };
        self.raft.step(&mut self.log, input);
    }

    /// Entries behind `prev` of a leader whose log has these terms.
    pub fn append(&mut self, from: u64, term: u64, terms: &[u64], prev: u64, commit: u64) {
        let sender = log_of(terms);
        let count = terms.len() as u16 - prev as u16;
        let bytes = sender.records(LogIndex(prev + 1), count);
        let entries = Records::check_entries(&bytes, count, GROUP, LogIndex(prev + 1)).expect("sound");
        let body = Body::AppendEntries {
            term: Term(term),
            prev_index: LogIndex(prev),
            prev_term: sender.term(LogIndex(prev)).expect("held"),
            prev_crc: sender.crc(LogIndex(prev)).expect("held"),
            commit_index: LogIndex(commit),
            read_position: 0,
            count,
            send_mono: self.now,
        };
        self.raft.step(&mut self.log, Input::Message { from: NodeId(from), body, entries, now: self.now });
    }

    pub fn ack(&mut self, from: u64, index: u64) {
        let body = append_resp(self.raft.term().0, index, false, (0, 0));
        self.message(from, body);
    }

    pub fn ask_vote(&mut self, from: u64, term: u64, (last_term, last_index): (u64, u64), forced: bool) {
        let (term, last_term) = (Term(term), Term(last_term));
        let body = Body::RequestVote { term, last_index: LogIndex(last_index), last_term, incarnation: 9, forced };
        self.message(from, body);
    }

    pub fn propose(&mut self) -> Outcome {
        let now = self.now;
        self.raft.step(&mut self.log, Input::Propose { payload: b"x", now })
    }

    pub fn read(&mut self) -> Outcome {
        let now = self.now;
        self.raft.step(&mut self.log, Input::Read { now })
    }

    pub fn change(&mut self, add: &[u64], remove: &[u64]) -> Outcome {
        let change = ConfigChange { add_voters: nodes(add), remove: nodes(remove), ..ConfigChange::default() };
        let now = self.now;
        self.raft.step(&mut self.log, Input::ChangeConfig { change: &change, now })
    }

    /// What leaves at once.
    pub fn drain(&mut self) -> Vec<Outgoing> {
        let mut sent = Vec::new();
        while self.raft.is_dirty() {
            let hard = HardState { term: self.raft.term(), vote: self.raft.vote().unwrap_or_default() };
            let saved = self.raft.wants_hard_state().then(|| self.log.set_state(hard));
            let mut effects = Effects::default();
            self.raft.drain(&self.log, &mut effects);
            if let Some(epoch) = saved {
                self.raft.hard_state_epoch(epoch);
            }
            sent.append(&mut effects.send_now);
            self.waiting.append(&mut effects.send_after_sync);
            self.commit = effects.commit.unwrap_or(self.commit);
            self.reads.extend(effects.reads_confirmed.map(|reads| (reads.position, reads.read_index)));
        }
        sent
    }

    /// What the sync of everything written so far lets go.
    pub fn sync(&mut self) -> Vec<Outgoing> {
        self.drain();
        let epoch = self.log.close();
        self.synced(epoch)
    }

    pub fn synced(&mut self, epoch: u64) -> Vec<Outgoing> {
        self.log.sync(epoch);
        self.raft.step(&mut self.log, Input::Synced { epoch: SyncEpoch(epoch) });
        let waiting = std::mem::take(&mut self.waiting);
        let released = waiting.iter().filter_map(|message| self.raft.release(message)).collect();
        self.drain();
        released
    }

    pub fn terms(&self) -> Vec<u64> {
        (1..=self.log.last_index().0).map(|index| self.log.term(LogIndex(index)).expect("held").0).collect()
    }
}

pub fn append_resp(term: u64, index: u64, rejected: bool, (hint_index, hint_term): (u64, u64)) -> Body {
    Body::AppendResp {
        term: Term(term),
        index: LogIndex(index),
        rejected,
        busy: false,
        faulty: false,
        hint_index: LogIndex(hint_index),
        hint_term: Term(hint_term),
        read_position: 0,
        echo_mono: Mono(0),
    }
}

/// Was a vote granted among these, and to whom?
pub fn granted(sent: &[Outgoing]) -> Vec<u64> {
    let is_grant = |message: &&Outgoing| matches!(message.body, Body::VoteResp { rejected: false, .. });
    sent.iter().filter(is_grant).map(|message| message.to.0).collect()
}

/// The indexes acked among these.
pub fn acked(sent: &[Outgoing]) -> Vec<u64> {
    let ack = |message: &Outgoing| match message.body {
        Body::AppendResp { index, rejected: false, busy: false, .. } => Some(index.0),
        _ => None,
    };
    sent.iter().filter_map(ack).collect()
}

/// The `prev_index` of the entries sent to a node, and how many.
pub fn appends(sent: &[Outgoing], to: u64) -> Vec<(u64, u16)> {
    let append = |message: &Outgoing| match message.body {
        Body::AppendEntries { prev_index, count, .. } if message.to == NodeId(to) => Some((prev_index.0, count)),
        _ => None,
    };
    sent.iter().filter_map(append).collect()
}
