//! Consensus: a leader and a follower each alone, and three members together.

use base::record::Records;
use base::{LogIndex, Mono, NodeId};
use raft::{Body as Message, Effects, Input, Log as _, Outcome, Raft};

use super::scripted::answer;
use crate::raft_rig::{GROUP, RingLog, Trio, member};
use crate::{Bench, Body};

/// Bytes of an encoded command, about.
const COMMAND_BYTES: usize = 256;
/// Messages made ahead for a follower.
const MESSAGES: u64 = 512;
/// Entries committed one after the other.
const ENTRIES: u64 = 16;
/// Groups of a core that does nothing.
const GROUPS: u64 = 1000;

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let step = |id, entries: u64| Bench::new(id, move |_| follower(entries)).operations(entries).state(MESSAGES);
    let round = |id, bytes, entries: u64| {
        Bench::new(id, move |_| {
            let mut trio = Trio::new(bytes);
            Box::new(move || {
                trio.propose(entries as usize);
                trio.messages
            })
        })
        .operations(entries)
    };
    vec![
        step("raft/step/append,b=1", 1).counted(256),
        step("raft/step/append,b=64", 64).counted(128),
        Bench::new("raft/propose/b=1", |_| leader(3, 1, 1)).counted(500),
        Bench::new("raft/propose/b=64", |_| leader(3, 64, 1)).counted(200),
        Bench::new("raft/commit_advance/peers=3", |_| leader(3, 1, ENTRIES)).operations(ENTRIES).counted(100),
        Bench::new("raft/commit_advance/peers=5", |_| leader(5, 1, ENTRIES)).operations(ENTRIES).counted(100),
        Bench::new("raft/tick/groups=1k,idle", |_| idle()).operations(GROUPS).counted(50),
        round("raft/round/b=1,n=64B", 64, 1).counted(500),
        round("raft/round/b=16,n=64B", 64, 16).counted(100),
        round("raft/round/b=1,n=1KiB", 1024, 1).counted(500),
        Bench::new("raft/read/one", |_| {
            let mut trio = Trio::new(64);
            Box::new(move || {
                trio.read();
                trio.messages
            })
        })
        .counted(500),
    ]
}

/// One member with its log; its peers are scripted.
struct Member {
    raft: Raft,
    log: RingLog,
    effects: Effects,
    now: Mono,
    /// What the peers say next.
    mail: Vec<(NodeId, Message)>,
    /// Of AppendEntries, as they leave.
    sent: Vec<(NodeId, Message)>,
}

impl Member {
    fn new(id: u64, members: u64, payload_bytes: usize) -> Member {
        let (log, now) = (RingLog::new(payload_bytes), Mono(2_000_000_000));
        // Nobody campaigns whose life has just begun.
        let raft = member(id, members, &log, Mono(0));
        Member { raft, log, effects: Effects::default(), now, mail: Vec::new(), sent: Vec::new() }
    }

    /// Its first entry is committed.
    fn leading(members: u64, payload_bytes: usize) -> Member {
        let mut leader = Member::new(1, members, payload_bytes);
        let now = leader.now;
        leader.raft.step(&mut leader.log, Input::Campaign { now });
        leader.settle();
        assert!(leader.raft.is_leader(), "nobody was against it");
        leader
    }

    /// Drains, syncs and applies until it wants nothing; what it sends is answered, AppendEntries when [`Member::hear`]
    /// is called.
    fn advance(&mut self) {
        let Member { raft, log, effects, mail, sent, .. } = self;
        while raft.is_dirty() {
            effects.clear();
            raft.drain(log, effects);
            if effects.hard_state.is_some() {
                raft.hard_state_epoch(log.write_state());
            }
            if let Some(epoch) = log.sync() {
                raft.step(log, Input::Synced { epoch });
            }
            let released = effects.send_after_sync.iter().filter_map(|message| raft.release(message));
            for message in released.chain(effects.send_now.iter().copied()) {
                match message.body {
                    Message::AppendEntries { .. } => sent.push((message.to, message.body)),
                    body => mail.extend(answer(&body).map(|body| (message.to, body))),
                }
            }
            if let Some(index) = effects.commit {
                raft.step(log, Input::Applied { index });
            }
        }
    }

    /// The peers answer what was sent, one after the other.
    fn hear(&mut self) {
        let now = self.now;
        self.mail.extend(self.sent.drain(..).filter_map(|(to, body)| answer(&body).map(|body| (to, body))));
        let mut mail = std::mem::take(&mut self.mail);
        for (from, body) in mail.drain(..) {
            let input = Input::Message { from, body, entries: Records::EMPTY, now };
            self.raft.step(&mut self.log, input);
            self.advance();
        }
        // Allocated once; what was said meanwhile comes after it.
        mail.append(&mut self.mail);
        self.mail = mail;
    }

    fn settle(&mut self) {
        self.advance();
        while !self.mail.is_empty() || !self.sent.is_empty() {
            self.hear();
        }
    }
}

/// So many entries of so many commands, each from its proposal to its commit.
fn leader(members: u64, commands: usize, entries: u64) -> Body {
    let payload = vec![7; commands * COMMAND_BYTES];
    let mut leader = Member::leading(members, payload.len());
    Box::new(move || {
        leader.now = Mono(leader.now.0 + 100_000);
        let now = leader.now;
        for _ in 0..entries {
            let outcome = leader.raft.step(&mut leader.log, Input::Propose { payload: &payload, now });
            assert!(matches!(outcome, Outcome::Proposed { .. }), "{outcome:?}");
            leader.advance();
        }
        leader.settle();
        leader.raft.commit_index().0
    })
}

/// A message with so many entries arrives, is appended, synced and acknowledged.
fn follower(entries: u64) -> Body {
    let mut leader = Member::leading(3, COMMAND_BYTES);
    let payload = [7; COMMAND_BYTES];
    let mut follower = Member::new(2, 3, COMMAND_BYTES);
    let mut messages: Vec<(Message, Vec<u8>)> = Vec::new();
    // The leader's first entry, then those that are measured.
    let (term, mut prev) = (leader.raft.term(), LogIndex(0));
    for at in 0..=MESSAGES {
        for _ in 0..if at == 0 { 0 } else { entries } {
            let now = leader.now;
            leader.raft.step(&mut leader.log, Input::Propose { payload: &payload, now });
            leader.settle();
        }
        let last = leader.log.last_index();
        let prev_term = leader.log.term(prev).unwrap_or_default();
        let append = Message::AppendEntries {
            term,
            prev_index: prev,
            prev_term,
            prev_crc: leader.log.crc(prev).unwrap_or_default(),
            commit_index: prev,
            read_position: 0,
            count: (last.0 - prev.0) as u16,
            send_mono: leader.now,
        };
        let records = (prev.0 + 1..=last.0).flat_map(|index| leader.log.record(LogIndex(index)).to_vec());
        messages.push((append, records.collect()));
        prev = last;
    }
    let mut messages = messages.into_iter();
    let mut receive = move || {
        let (body, bytes) = messages.next().expect("the state is new before they end");
        let Message::AppendEntries { prev_index, count, .. } = body else { unreachable!("only such were made") };
        let entries = Records::check_entries(&bytes, count, GROUP, prev_index.next()).expect("they are whole");
        let input = Input::Message { from: NodeId(1), body, entries, now: follower.now };
        follower.raft.step(&mut follower.log, input);
        follower.advance();
        follower.mail.clear();
        follower.raft.persisted_index().0
    };
    assert_eq!(receive(), 1, "the leader's first entry");
    Box::new(receive)
}

/// A deadline is looked at in each of a thousand groups, and none has passed.
fn idle() -> Body {
    let mut log = RingLog::new(0);
    let now = Mono(2_000_000_000);
    let mut groups: Vec<Raft> = (0..GROUPS).map(|_| member(1, 3, &log, now)).collect();
    Box::new(move || {
        groups.iter_mut().fold(0, |dirty, raft| {
            if raft.next_deadline() > now {
                raft.step(&mut log, Input::Tick { now });
            }
            dirty + u64::from(raft.is_dirty())
        })
    })
}
