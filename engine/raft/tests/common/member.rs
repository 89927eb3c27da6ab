//! One node alone, driven by hand: what arrives is written in the test, what leaves is looked at.

use base::mono::Span;
use base::record::{EntryKind, Records};
use base::{LogIndex, Mono, NodeId, SyncEpoch, Term};
use raft::{Body, Boot, Config, Effects, HardState, Health, Input, Log, NO_HINT, Outcome, Outgoing, Raft, Settings};

use super::{Entry, GROUP, Image, TestLog, entry, records};

/// The entries of a log whose terms are these; the same terms give the same bytes.
pub fn chain(terms: &[u64]) -> Vec<Entry> {
    let mut prev_crc = 0;
    let mut entries = Vec::new();
    for (index, term) in (1..).zip(terms) {
        let kind = if index % 7 == 0 { EntryKind::Noop } else { EntryKind::Commands };
        let made = entry(kind, index, *term, prev_crc, &index.to_le_bytes());
        prev_crc = made.crc;
        entries.push(made);
    }
    entries
}

/// A node and its log.
pub struct Member {
    pub raft: Raft,
    pub log: TestLog,
    pub now: Mono,
}

impl Member {
    /// Node `id` among `config`, with a persisted log of these terms, 2 s after its start.
    pub fn new(id: u64, config: Config, terms: &[u64]) -> Member {
        Member::new_with(id, config, terms, Settings::default())
    }

    pub fn new_with(id: u64, config: Config, terms: &[u64], settings: Settings) -> Member {
        let hard_state = HardState { term: Term(terms.last().copied().unwrap_or(0)), vote: NodeId(0) };
        let mut member = Member::boot(id, config, terms, hard_state, settings, Health::Clean, &[]);
        member.drain();
        member.now = member.now + Span::from_ms(2000);
        member
    }

    pub fn just_booted(id: u64, config: Config, terms: &[u64], hard_state: HardState) -> Member {
        Member::damaged(id, config, terms, hard_state, Health::Clean, &[])
    }

    /// Just booted with a log that lost the bytes of some entries.
    pub fn damaged(
        id: u64,
        config: Config,
        terms: &[u64],
        hard_state: HardState,
        health: Health,
        lost: &[u64],
    ) -> Member {
        Member::boot(id, config, terms, hard_state, Settings::default(), health, lost)
    }

    #[allow(clippy::too_many_arguments, reason = "what a life begins with")]
    fn boot(
        id: u64,
        config: Config,
        terms: &[u64],
        hard_state: HardState,
        settings: Settings,
        health: Health,
        lost: &[u64],
    ) -> Member {
        let mut image = Image::empty();
        image.hard_state = hard_state;
        image.lost = lost.iter().copied().collect();
        image.entries = chain(terms).into_iter().map(std::rc::Rc::new).collect();
        let log = TestLog::new(image, 1, id);
        let now = Mono(5_000_000_000);
        let boot = Boot {
            id: NodeId(id),
            group: GROUP,
            seed: 42,
            incarnation: 7,
            hard_state,
            applied_index: LogIndex(0),
            commit_floor: LogIndex(0),
            config,
            config_index: LogIndex(0),
            health,
            now,
            settings,
        };
        Member { raft: Raft::new(boot, &log), log, now }
    }

    /// What node `id` boots from, with a log of these terms applied from its beginning.
    pub fn boot_of(id: u64, config: Config, terms: &[u64]) -> Boot {
        Boot {
            id: NodeId(id),
            group: GROUP,
            seed: 42,
            incarnation: 7,
            hard_state: HardState { term: Term(terms.last().copied().unwrap_or(0)), vote: NodeId(0) },
            applied_index: LogIndex(0),
            commit_floor: LogIndex(0),
            config,
            config_index: LogIndex(0),
            health: Health::Clean,
            now: Mono(5_000_000_000),
            settings: Settings::default(),
        }
    }

    /// The node starts again with other settings and what its log holds, as a follower.
    pub fn with_settings(&mut self, change: impl Fn(&mut Settings)) {
        let mut boot = Member::boot_of(self.raft.id().0, super::voters(&[1, 2, 3]), &self.terms());
        change(&mut boot.settings);
        boot.now = self.now;
        self.raft = Raft::new(boot, &self.log);
        self.drain();
        self.wait(2_000);
    }

    /// Wins an election by the votes of these.
    pub fn become_leader(&mut self, others: &[u64]) {
        self.step(Input::Campaign { now: self.now });
        self.drain();
        let term = Term(self.raft.term().0 + 1);
        others.iter().for_each(|id| self.receive(*id, Body::PreVoteResp { term, rejected: false, incarnation: 7 }));
        self.drain();
        self.sync();
        others.iter().for_each(|id| self.receive(*id, Body::VoteResp { term, rejected: false, incarnation: 7 }));
        assert!(self.raft.is_leader());
    }

    /// A leader of `config` in the term after the last of `terms`, with its no-op in the log; nothing of it is sent.
    pub fn leader(id: u64, config: Config, terms: &[u64]) -> Member {
        Member::leader_with(id, config, terms, Settings::default())
    }

    pub fn leader_with(id: u64, config: Config, terms: &[u64], settings: Settings) -> Member {
        let mut member = Member::new_with(id, config.clone(), terms, settings);
        member.step(Input::Campaign { now: member.now });
        member.drain();
        let others: Vec<u64> = config.voters().map(|id| id.0).filter(|other| *other != id).collect();
        let asked = Term(member.raft.term().0 + 1);
        for other in &others {
            member.receive(*other, Body::PreVoteResp { term: asked, rejected: false, incarnation: 7 });
        }
        member.drain();
        member.sync();
        for other in &others {
            member.receive(*other, Body::VoteResp { term: asked, rejected: false, incarnation: 7 });
        }
        assert!(member.raft.is_leader());
        member
    }

    pub fn step(&mut self, input: Input<'_>) -> Outcome {
        self.raft.step(&mut self.log, input)
    }

    pub fn receive(&mut self, from: u64, body: Body) {
        let (from, now) = (NodeId(from), self.now);
        self.step(Input::Message { from, body, entries: Records::EMPTY, now });
    }

    /// Entries `prev + 1 ..` of a log of these terms, from the leader `from` of `term`.
    pub fn receive_append(&mut self, from: u64, term: u64, terms: &[u64], prev: u64, commit: u64) {
        let model = chain(terms);
        let count = (terms.len() as u64 - prev) as u16;
        let bytes: Vec<u8> = model[prev as usize..].iter().flat_map(|entry| entry.raw.clone()).collect();
        let before = prev.checked_sub(1).map(|at| &model[at as usize]);
        let body = Body::AppendEntries {
            term: Term(term),
            prev_index: LogIndex(prev),
            prev_term: before.map_or(Term(0), |entry| entry.term),
            prev_crc: before.map_or(0, |entry| entry.crc),
            commit_index: LogIndex(commit),
            read_position: 0,
            count,
            send_mono: self.now,
        };
        let (from, now) = (NodeId(from), self.now);
        self.step(Input::Message { from, body, entries: records(&bytes, count, prev + 1), now });
    }

    pub fn receive_ack(&mut self, from: u64, index: u64) {
        let body = self.ack(index);
        self.receive(from, body);
    }

    fn ack(&self, index: u64) -> Body {
        Body::AppendResp {
            term: self.raft.term(),
            index: LogIndex(index),
            rejected: false,
            busy: false,
            faulty: false,
            hint_index: NO_HINT,
            hint_term: Term(0),
            read_position: 0,
            echo_mono: self.now,
        }
    }

    pub fn receive_rejection(&mut self, from: u64, prev: u64, hint: (u64, u64)) {
        let mut body = self.ack(prev);
        if let Body::AppendResp { rejected, hint_index, hint_term, .. } = &mut body {
            (*rejected, *hint_index, *hint_term) = (true, LogIndex(hint.0), Term(hint.1));
        }
        self.receive(from, body);
    }

    pub fn receive_heartbeat_ack(&mut self, from: u64, read_position: u64) {
        let term = self.raft.term();
        self.receive(from, Body::HeartbeatAck { term, read_position, quiesce: false, echo_mono: self.now });
    }

    pub fn receive_heartbeat(&mut self, from: u64, term: u64, commit: u64) {
        let (term, commit_index) = (Term(term), LogIndex(commit));
        self.receive(
            from,
            Body::Heartbeat { term, commit_index, read_position: 0, quiesce: false, send_mono: self.now },
        );
    }

    pub fn propose(&mut self, payload: &[u8]) -> Outcome {
        self.step(Input::Propose { payload, now: self.now })
    }

    pub fn wait(&mut self, ms: u64) {
        self.now = self.now + Span::from_ms(ms);
    }

    /// Time passes until the deadline, which is told.
    pub fn pass_deadline(&mut self) {
        self.now = self.now.max(self.raft.next_deadline());
        self.step(Input::Tick { now: self.now });
    }

    /// The effects; a hard state goes into the open epoch.
    pub fn drain(&mut self) -> Effects {
        let mut effects = Effects::default();
        self.raft.drain(&self.log, &mut effects);
        if let Some(hard_state) = effects.hard_state {
            self.log.image.hard_state = hard_state;
            self.raft.hard_state_epoch(SyncEpoch(self.log.open));
        }
        effects
    }

    /// What leaves at once.
    pub fn sends(&mut self) -> Vec<Outgoing> {
        self.drain().send_now
    }

    /// The open epoch is closed and synced.
    pub fn sync(&mut self) {
        let (epoch, _) = self.log.close();
        self.step(Input::Synced { epoch: SyncEpoch(epoch) });
    }

    pub fn terms(&self) -> Vec<u64> {
        self.log.image.entries.iter().map(|entry| entry.term.0).collect()
    }

    pub fn last(&self) -> u64 {
        self.log.last_index().0
    }

    pub fn commit(&self) -> u64 {
        self.raft.commit_index().0
    }
}

/// (receiver, prev_index, count) of every AppendEntries.
pub fn appends(sent: &[Outgoing]) -> Vec<(u64, u64, u16)> {
    let one = |message: &Outgoing| match message.body {
        Body::AppendEntries { prev_index, count, .. } => Some((message.to.0, prev_index.0, count)),
        _ => None,
    };
    sent.iter().filter_map(one).collect()
}

/// (index, rejected, hint) of every AppendResp.
pub fn acks(sent: &[Outgoing]) -> Vec<(u64, bool, (u64, u64))> {
    let one = |message: &Outgoing| match message.body {
        Body::AppendResp { index, rejected, hint_index, hint_term, .. } => {
            Some((index.0, rejected, (hint_index.0, hint_term.0)))
        }
        _ => None,
    };
    sent.iter().filter_map(one).collect()
}
